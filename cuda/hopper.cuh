// hopper.cuh - what compute capability 9.0 has and earlier ones have not: barriers in
// shared memory that count bytes, tiles copied by the tensor memory accelerator (TMA),
// clusters, products of a warpgroup (wgmma).
//
// Only code compiled for sm_90a may call these (VN_HOPPER). As in ptx.cuh, nothing but
// instructions.
#ifndef VN_HOPPER_CUH
#define VN_HOPPER_CUH

#include <cuda.h>

#include "ptx.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define VN_HOPPER 1
#else
#define VN_HOPPER 0
#endif

#if VN_HOPPER

// ---- barriers -------------------------------------------------------------------------

static __device__ __forceinline__ void barrier_init(uint64_t *bar, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(smem_address(bar)),
                 "r"(arrivals)
                 : "memory");
}
// After the last barrier_init, before any other thread or copy uses one.
static __device__ __forceinline__ void barriers_ready() {
    asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}
static __device__ __forceinline__ void barrier_arrive(uint64_t *bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(
                     smem_address(bar))
                 : "memory");
}
// Arrives at the same barrier of block `rank` of the cluster.
static __device__ __forceinline__ void barrier_arrive_at(uint64_t *bar, uint32_t rank) {
    asm volatile("{\n.reg .b32 remote;\n"
                 "mapa.shared::cluster.u32 remote, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}\n" ::"r"(
                     smem_address(bar)),
                 "r"(rank)
                 : "memory");
}
// Arrives, and tells how many bytes will still come by copies.
static __device__ __forceinline__ void barrier_expect(uint64_t *bar, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(
                     smem_address(bar)),
                 "r"(bytes)
                 : "memory");
}
// Waits until the phase of the given parity is over.
static __device__ __forceinline__ void barrier_wait(uint64_t *bar, uint32_t parity) {
    asm volatile("{\n.reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n}\n" ::"r"(smem_address(bar)),
                 "r"(parity)
                 : "memory");
}

// 16 bytes to the same place of block `rank` of the cluster, and to its barrier.
static __device__ __forceinline__ void send(float *to, float4 v, uint64_t *bar,
                                            uint32_t rank) {
    asm volatile("{\n.reg .b32 there, bar;\n"
                 "mapa.shared::cluster.u32 there, %0, %2;\n"
                 "mapa.shared::cluster.u32 bar, %1, %2;\n"
                 "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [there], "
                 "{%3, %4, %5, %6}, [bar];\n}\n" ::"r"(smem_address(to)),
                 "r"(smem_address(bar)), "r"(rank), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
                 : "memory");
}

static __device__ __forceinline__ uint32_t cluster_rank() {
    uint32_t r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(r));
    return r;
}
static __device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release;\n"
                 "barrier.cluster.wait.acquire;\n" ::
                     : "memory");
}

// ---- copies ---------------------------------------------------------------------------

static __device__ __forceinline__ void tma_prefetch(const CUtensorMap *map) {
    asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}
// A tile of a matrix whose first element is (x, y), x running along the rows.
static __device__ __forceinline__ void tma_tile(void *to, const CUtensorMap *map,
                                                uint64_t *bar, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4}], [%2];\n" ::"r"(smem_address(to)),
                 "l"(map), "r"(smem_address(bar)), "r"(x), "r"(y)
                 : "memory");
}
// The same to the same place of every block in `mask`, and to their barriers.
static __device__ __forceinline__ void tma_tile_multicast(void *to, const CUtensorMap *map,
                                                          uint64_t *bar, int x, int y,
                                                          uint16_t mask) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;\n" ::"r"(
                     smem_address(to)),
                 "l"(map), "r"(smem_address(bar)), "r"(x), "r"(y), "h"(mask)
                 : "memory");
}
// The same of a tensor of four dimensions, at (x, 0, 0, y).
static __device__ __forceinline__ void tma_tile4_multicast(void *to, const CUtensorMap *map,
                                                           uint64_t *bar, int x, int y,
                                                           uint16_t mask) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%3, %6, %6, %4}], [%2], %5;\n" ::"r"(
                     smem_address(to)),
                 "l"(map), "r"(smem_address(bar)), "r"(x), "r"(y), "h"(mask), "r"(0)
                 : "memory");
}
// A tile of a tensor of five dimensions, at (x, 0, 0, 0, y), to this block alone.
static __device__ __forceinline__ void tma_tile5(void *to, const CUtensorMap *map,
                                                 uint64_t *bar, int x, int y) {
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %5, %5, %5, %4}], [%2];\n" ::"r"(smem_address(to)),
                 "l"(map), "r"(smem_address(bar)), "r"(x), "r"(y), "r"(0)
                 : "memory");
}
// `bytes`, a multiple of 16, from 16-byte aligned memory.
static __device__ __forceinline__ void bulk_copy(void *to, const void *from, uint32_t bytes,
                                                 uint64_t *bar) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];\n" ::"r"(smem_address(to)),
                 "l"(from), "r"(bytes), "r"(smem_address(bar))
                 : "memory");
}

// A tile from shared memory to a matrix, by a thread of the warp that wrote it; what lies
// outside is left out. Before: store_ready by all threads of the warp, and a barrier among
// them. The tile may be written again after store_wait_read, by the thread that stored.
static __device__ __forceinline__ void store_ready() {
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}
static __device__ __forceinline__ void tma_store(const CUtensorMap *map, const void *from,
                                                 int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], "
                 "[%1];\n" ::"l"(map),
                 "r"(smem_address(from)), "r"(x), "r"(y)
                 : "memory");
}
static __device__ __forceinline__ void store_commit() {
    asm volatile("cp.async.bulk.commit_group;\n" ::: "memory");
}
// Until all stores but the last N have read shared memory.
template <int N> static __device__ __forceinline__ void store_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;\n" ::"n"(N) : "memory");
}
static __device__ __forceinline__ void store_wait() {
    asm volatile("cp.async.bulk.wait_group 0;\n" ::: "memory");
}

// ---- registers ------------------------------------------------------------------------

template <int N> static __device__ __forceinline__ void registers_fewer() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(N));
}
template <int N> static __device__ __forceinline__ void registers_more() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(N));
}

// Four 8 x 8 tiles of 16-bit values to shared memory; each lane names one row of 16 bytes.
static __device__ __forceinline__ void stmatrix4(void *p, uint32_t a, uint32_t b, uint32_t c,
                                                 uint32_t d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(
                     smem_address(p)),
                 "r"(a), "r"(b), "r"(c), "r"(d)
                 : "memory");
}

// A value that all lanes of a warp have, known to the compiler as such.
static __device__ __forceinline__ int uniform(int v) {
    return __shfl_sync(0xffffffffu, v, 0);
}

// Waits for all of the warpgroup.
static __device__ __forceinline__ void warpgroup_sync() {
    asm volatile("bar.sync %0, 128;\n" ::"r"(1 + (int)threadIdx.x / 128) : "memory");
}

// ---- products of a warpgroup ----------------------------------------------------------

static __device__ __forceinline__ void wgmma_begin() {
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
static __device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
template <int N> static __device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(N) : "memory");
}

#define VN_R32 \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
    "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define VN_R40 VN_R32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define VN_R64 VN_R40 \
    ", %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, " \
    "%56, %57, %58, %59, %60, %61, %62, %63"
#define VN_R80 VN_R64 \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define VN_R96 VN_R80 \
    ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define VN_R128 VN_R96 \
    ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, " \
    "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, " \
    "%124, %125, %126, %127"

#define VN_C4(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define VN_C16(j) VN_C4(j), VN_C4(j + 1), VN_C4(j + 2), VN_C4(j + 3)
#define VN_C32 VN_C16(0), VN_C16(4)
#define VN_C40 VN_C32, VN_C4(8), VN_C4(9)
#define VN_C64 VN_C32, VN_C16(8), VN_C16(12)
#define VN_C80 VN_C64, VN_C16(16)
#define VN_C96 VN_C80, VN_C16(20)
#define VN_C128 VN_C96, VN_C16(24), VN_C16(28)
// c [64, N] = a [64, 16] b' + (add ? c : 0), b [N, 16]: row 16 w + l / 4 (+ 8) of warp w,
// columns 8 j + 2 (l % 4) and the next one of lane l are c[j][0..1] (c[j][2..3]).
template <class T, int N> struct wgmma;
#define VN_WGMMA(T, type, n, regs, a_, b_, add_, ...)                                        \
    template <> struct wgmma<T, n> {                                                         \
        static __device__ __forceinline__ void add(float c[n / 8][4], uint64_t a,            \
                                                   uint64_t b, int add) {                    \
            asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " add_ ", 0;\n"               \
                         "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type     \
                         " {" regs "}, " a_ ", " b_ ", add, 1, 1, 0, 0;\n}\n"                \
                         : __VA_ARGS__                                                       \
                         : "l"(a), "l"(b), "r"(add));                                        \
        }                                                                                    \
    };
VN_WGMMA(__half, "f16", 64, VN_R32, "%32", "%33", "%34", VN_C32)
VN_WGMMA(__half, "f16", 80, VN_R40, "%40", "%41", "%42", VN_C40)
VN_WGMMA(__half, "f16", 128, VN_R64, "%64", "%65", "%66", VN_C64)
VN_WGMMA(__half, "f16", 160, VN_R80, "%80", "%81", "%82", VN_C80)
VN_WGMMA(__half, "f16", 192, VN_R96, "%96", "%97", "%98", VN_C96)
VN_WGMMA(__half, "f16", 256, VN_R128, "%128", "%129", "%130", VN_C128)
VN_WGMMA(__nv_bfloat16, "bf16", 64, VN_R32, "%32", "%33", "%34", VN_C32)
VN_WGMMA(__nv_bfloat16, "bf16", 80, VN_R40, "%40", "%41", "%42", VN_C40)
VN_WGMMA(__nv_bfloat16, "bf16", 128, VN_R64, "%64", "%65", "%66", VN_C64)
VN_WGMMA(__nv_bfloat16, "bf16", 160, VN_R80, "%80", "%81", "%82", VN_C80)
VN_WGMMA(__nv_bfloat16, "bf16", 192, VN_R96, "%96", "%97", "%98", VN_C96)
VN_WGMMA(__nv_bfloat16, "bf16", 256, VN_R128, "%128", "%129", "%130", VN_C128)

// The same for 64 columns, with a's rows in registers, as ldmatrix4 would leave those of each
// warp, and b turned: [16, 64], a tile of 64 values from row to row.
template <class T> struct wgmma_turned;
#define VN_WGMMA_TURNED(T, type)                                                             \
    template <> struct wgmma_turned<T> {                                                     \
        static __device__ __forceinline__ void add(float c[8][4], const uint32_t a[4],       \
                                                   uint64_t b) {                             \
            asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type         \
                         " {" VN_R32 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;\n"           \
                         : VN_C32                                                            \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));              \
        }                                                                                    \
    };
VN_WGMMA_TURNED(__half, "f16")
VN_WGMMA_TURNED(__nv_bfloat16, "bf16")

#endif // VN_HOPPER
#endif
