/* t_emu.cu - the emulation itself: kernels with one fault each, and what is said of it. A
 * fault that makes numbers wrong does so in one of two orders of threads. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "hopper.cuh"

#define THREADS 128

static cudaStream_t stream;

/* n floats on the device, 0, 1, 2, ... */
static float *numbers(int n) {
    void *p = NULL;
    cudaMalloc(&p, (size_t)n * sizeof(float));
    for (int i = 0; i < n; i++)
        ((float *)p)[i] = (float)i;
    return (float *)p;
}

/* Whether f ended by itself and found its numbers right; what it said is in `said`. */
static char said[8192];
static bool passes(bool (*f)(), const char *seed) {
    int out[2], status = 0;
    size_t n = 0;
    if (pipe(out))
        return false;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], 2);
        close(out[0]);
        setenv("VN_EMU_SEED", seed, 1);
        cudaSetDevice(0);
        cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
        bool right = f() && !cudaGetLastError();
        _exit(right ? 0 : 3);
    }
    close(out[1]);
    const size_t most = sizeof said - 1;
    for (ssize_t m; n < most && (m = read(out[0], said + n, most - n)) > 0;)
        n += (size_t)m;
    said[n] = 0;
    close(out[0]);
    while (waitpid(child, &status, 0) < 0) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void right(bool (*f)()) {
    const char *seeds[] = {"0", "1", "2", "3"};
    for (const char *s : seeds)
        if (!passes(f, s))
            check_fail("seed", atoi(s), said);
}
static void wrong_numbers(bool (*f)()) {
    CHECK(!passes(f, "0") || !passes(f, "1"));
    CHECK_STR(said, "");
}
static void refused(bool (*f)(), const char *with) {
    const char *seeds[] = {"0", "1", "2"};
    for (const char *s : seeds) {
        CHECK(!passes(f, s));
        if (!strstr(said, with))
            check_str("seed", atoi(s), "said", said, with);
    }
}

/* ---- barriers -------------------------------------------------------------------- */

/* x[i] = sum of the neighbours', through shared memory, `times` times. */
template <bool BEFORE, bool AFTER> __global__ void neighbours(float *x, int times) {
    __shared__ float s[THREADS];
    int i = (int)threadIdx.x;
    for (int k = 0; k < times; k++) {
        s[i] = x[i];
        if (BEFORE)
            __syncthreads();
        x[i] = s[(i + 1) % THREADS] + s[(i + THREADS - 1) % THREADS];
        if (AFTER)
            __syncthreads();
    }
}
template <bool BEFORE, bool AFTER> static bool run_neighbours() {
    float *x = numbers(THREADS), want[2][THREADS];
    for (int i = 0; i < THREADS; i++)
        want[0][i] = (float)i;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < THREADS; i++)
            want[1 - k][i] = want[k][(i + 1) % THREADS] + want[k][(i + THREADS - 1) % THREADS];
    neighbours<BEFORE, AFTER><<<1, THREADS, 0, stream>>>(x, 2);
    cudaStreamSynchronize(stream);
    return !memcmp(x, want[0], sizeof want[0]);
}
static void barriers() {
    right(run_neighbours<true, true>);
}
static void no_barrier_before_reading() {
    wrong_numbers(run_neighbours<false, true>);
}
static void no_barrier_before_writing_again() {
    wrong_numbers(run_neighbours<true, false>);
}

__global__ void half_a_warp() {
    if (threadIdx.x % 32 < 16)
        __syncthreads();
    else
        __syncwarp();
}
static bool run_half_a_warp() {
    half_a_warp<<<1, THREADS, 0, stream>>>();
    return !cudaStreamSynchronize(stream);
}
__global__ void other_lines() {
    if (threadIdx.x % 32 < 16)
        __syncthreads();
    else
        __syncthreads();
}
static bool run_other_lines() {
    other_lines<<<1, THREADS, 0, stream>>>();
    return !cudaStreamSynchronize(stream);
}
__global__ void sum_of_some(float *x) {
    if (threadIdx.x % 32 < 20)
        x[threadIdx.x] += __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
}
static bool run_sum_of_some() {
    sum_of_some<<<1, THREADS, 0, stream>>>(numbers(THREADS));
    return !cudaStreamSynchronize(stream);
}
static void divergence() {
    refused(run_half_a_warp, "no thread of half_a_warp can go on");
    refused(run_other_lines, "comes to a barrier without lane");
    refused(run_sum_of_some, "no thread of sum_of_some can go on");
}

/* ---- memory ---------------------------------------------------------------------- */

__global__ void beyond(const float *x, float *y, int i, int j) {
    __shared__ float s[THREADS], t[THREADS];
    s[threadIdx.x] = t[threadIdx.x] = 1;
    y[threadIdx.x] = x[(int)threadIdx.x + i] + s[(int)threadIdx.x + j] + t[threadIdx.x];
}
template <int I, int J> static bool run_beyond() {
    float *x = numbers(THREADS), *y = numbers(THREADS);
    beyond<<<1, THREADS, 0, stream>>>(x, y, I, J);
    cudaStreamSynchronize(stream);
    return y[0] == 2;
}
static bool run_misaligned() {
    float *x = numbers(8);
    float4 v = *reinterpret_cast<float4 *>(x + (stream ? 1 : 0));
    return v.x == 1;
}
__global__ void dynamic(int i) {
    extern __shared__ char more[];
    more[i] = 1;
}
template <int BYTES, int AT> static bool run_dynamic() {
    dynamic<<<1, 32, BYTES, stream>>>(AT);
    return !cudaGetLastError() && !cudaStreamSynchronize(stream);
}
template <int N> __device__ float *scratch() {
    __shared__ float s[N];
    return s;
}
template <int N, int M> __global__ void named_alike(float *x) {
    x[0] = scratch<N>() == scratch<M>();
}
template <int N, int M> static bool run_named_alike() {
    float *x = numbers(1);
    named_alike<N, M><<<1, 1, 0, stream>>>(x);
    cudaStreamSynchronize(stream);
    return x[0] == 1;
}
static bool run_unwritten() {
    float *x = NULL;
    cudaMalloc(&x, 4);
    return x[0] == x[0];
}
static void memory() {
    right(run_beyond<0, 0>);
    refused(run_beyond<1, 0>, "heap-buffer-overflow");
    refused(run_beyond<-1, 0>, "heap-buffer-overflow");
    refused(run_beyond<0, 1>, "use-after-poison");
    refused(run_beyond<0, -1>, "use-after-poison");
    refused(run_misaligned, "misaligned address");
    right(run_dynamic<1000, 999>);
    refused(run_dynamic<1000, 1000>, "use-after-poison");
    refused(run_dynamic<48 * 1024 + 1, 0>, "");
    right(run_named_alike<8, 8>);
    refused(run_named_alike<8, 12>, "are called 's': of 32 bytes and of 48");
    wrong_numbers(run_unwritten);
}

/* ---- streams --------------------------------------------------------------------- */

__global__ void twice(float *x) {
    x[threadIdx.x] *= 2;
}
/* A kernel on one stream, a copy of its result on another. */
template <bool WAITS> static bool run_streams() {
    cudaStream_t other;
    cudaEvent_t e;
    float *x = numbers(THREADS), *y = numbers(THREADS);
    cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
    twice<<<1, THREADS, 0, stream>>>(x);
    cudaEventRecord(e, stream);
    if (WAITS)
        cudaStreamWaitEvent(other, e, 0);
    cudaMemcpyAsync(y, x, THREADS * sizeof *y, cudaMemcpyDeviceToDevice, other);
    cudaStreamSynchronize(other);
    return y[3] == 6;
}
static bool run_another_device() {
    cudaSetDevice(1);
    twice<<<1, THREADS, 0, stream>>>(numbers(THREADS));
    return !cudaGetLastError();
}
static void streams() {
    right(run_streams<true>);
    wrong_numbers(run_streams<false>);
    wrong_numbers(run_another_device);
}

/* ---- asynchronous copies --------------------------------------------------------- */

template <bool WAITS> __global__ void copied(const float *x, float *y) {
    __shared__ float s[THREADS];
    int i = (int)threadIdx.x;
    if (i % 4 == 0)
        copy16(s + i, x + i, true);
    if (WAITS)
        copy_wait();
    __syncthreads();
    y[i] = s[i];
    copy_wait();
}
template <bool WAITS> static bool run_copied() {
    float *x = numbers(THREADS), *y = numbers(THREADS);
    copied<WAITS><<<1, THREADS, 0, stream>>>(x, y);
    cudaStreamSynchronize(stream);
    return !memcmp(x, y, THREADS * sizeof *x);
}
__global__ void left_behind(const float *x) {
    __shared__ float s[4];
    if (threadIdx.x == 0)
        copy16(s, x, true);
}
static bool run_left_behind() {
    left_behind<<<1, 32, 0, stream>>>(numbers(4));
    return !cudaStreamSynchronize(stream);
}
static void asynchronous_copies() {
    right(run_copied<true>);
    wrong_numbers(run_copied<false>);
    refused(run_left_behind, "ends before what it began");
}

/* Bytes to a barrier, which is waited for by its parity. */
template <bool WAITS> __global__ void bulk(const float *x, float *y, uint32_t said_bytes,
                                           uint32_t parity, int arrivals) {
    __shared__ float s[THREADS];
    __shared__ uint64_t bar[1];
    int i = (int)threadIdx.x;
    if (i == 0)
        barrier_init(bar, 1);
    __syncthreads();
    for (int k = 0; k < arrivals && i == 0; k++)
        barrier_expect(bar, k ? 0 : said_bytes);
    if (i == 0)
        bulk_copy(s, x, THREADS * 4, bar);
    if (WAITS)
        barrier_wait(bar, parity);
    y[i] = s[i];
    __syncthreads();
    barrier_wait(bar, 0);
}
template <bool WAITS, int BYTES, int PARITY, int ARRIVALS> static bool run_bulk() {
    float *x = numbers(THREADS), *y = numbers(THREADS);
    bulk<WAITS><<<1, THREADS, 0, stream>>>(x, y, BYTES, PARITY, ARRIVALS);
    cudaStreamSynchronize(stream);
    return !memcmp(x, y, THREADS * sizeof *x);
}
static void counting_barriers() {
    right(run_bulk<true, THREADS * 4, 0, 1>);
    wrong_numbers(run_bulk<false, THREADS * 4, 0, 1>);
    wrong_numbers(run_bulk<true, THREADS * 4, 1, 1>);
    refused(run_bulk<true, THREADS * 4 + 16, 0, 1>, "waits for phase 0 of a barrier");
    refused(run_bulk<true, THREADS * 4, 0, 0>, "waits for phase 0 of a barrier");
    refused(run_bulk<true, 0, 0, 1>, "has ended before a copy that it began");
}

/* Four blocks, in clusters of two. */
static void in_pairs(void (*kernel)(float *), float *x) {
    cudaLaunchAttribute cluster;
    cudaLaunchConfig_t c = emu_config(4, THREADS, 64, stream);
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {2, 1, 1};
    c.attrs = &cluster;
    c.numAttrs = 1;
    cudaLaunchKernelEx(&c, kernel, x);
}

/* Blocks of a cluster: each arrives at the other's barrier, and waits for the end of all
 * that comes to its own. */
template <bool WAITS> __global__ void paired(float *x) {
    extern __shared__ uint64_t bars[];
    unsigned mine = cluster_rank();
    if (threadIdx.x == 0)
        barrier_init(bars, 1);
    cluster_sync();
    if (threadIdx.x == 0 && (mine || WAITS))
        barrier_arrive_at(bars, 1 - mine);
    if (WAITS || !mine)
        barrier_wait(bars, 0);
    if (!WAITS && !mine && threadIdx.x == 0)
        barrier_arrive_at(bars, 1);
    if (WAITS)
        cluster_sync();
    x[blockIdx.x * THREADS + threadIdx.x] = 5;
}
template <bool WAITS> static bool run_paired() {
    float *x = numbers(4 * THREADS);
    in_pairs(paired<WAITS>, x);
    return !cudaStreamSynchronize(stream) && x[3 * THREADS] == 5;
}
static void clusters() {
    right(run_paired<true>);
    CHECK(!passes(run_paired<false>, "0"));
    CHECK(strstr(said, "of the cluster, which has ended"));
}

/* ---- tensors --------------------------------------------------------------------- */

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                              const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                              const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* 128 rows of 64 half values, in boxes of 64 rows. */
static CUtensorMap described(void *at, cuuint64_t pitch) {
    CUtensorMap map;
    cudaDriverEntryPointQueryResult found;
    void *p = NULL;
    encode_fn encode;
    const cuuint64_t dims[2] = {64, 128}, strides[1] = {pitch};
    const cuuint32_t box[2] = {64, 64}, ones[2] = {1, 1};
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &p, 12000, 0, &found);
    memcpy(&encode, &p, sizeof encode);
    memset(&map, 0, sizeof map);
    (void)encode(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, at, dims, strides, box, ones,
                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return map;
}

enum { FINE, OVERWRITES, NO_FENCE, NO_WAIT, NO_END, NOT_ALIGNED };

/* y = x, by way of shared memory: what is stored is changed at once. */
template <int FAULT> __global__ void through(CUtensorMap x, CUtensorMap y) {
    extern __shared__ char tile[];
    uint64_t *bar = (uint64_t *)(tile + 16384);
    int i = (int)threadIdx.x;
    if (i == 0)
        barrier_init(bar, 1);
    __syncthreads();
    if (i == 0) {
        barrier_expect(bar, 8192);
        tma_tile(tile + (FAULT == NOT_ALIGNED ? 512 : 0), &x, bar, 0, 64);
    }
    barrier_wait(bar, 0);
    if (FAULT != NO_FENCE || i != 17)
        store_ready();
    __syncthreads();
    if (i == 0) {
        tma_store(&y, tile, 0, 64);
        store_commit();
        if (FAULT == OVERWRITES)
            tile[100] ^= 1;
        if (FAULT != NO_WAIT)
            store_wait_read<0>();
        tile[101] ^= 1;
        if (FAULT != NO_END)
            store_wait();
    }
}
template <int FAULT> static bool run_through() {
    __half *x = (__half *)numbers(64 * 64), *y = NULL;
    cudaMalloc(&y, 128 * 64 * 2);
    through<FAULT><<<1, THREADS, 16384 + 64, stream>>>(described(x, 128), described(y, 128));
    cudaStreamSynchronize(stream);
    return !memcmp(x + 64 * 64, y + 64 * 64, 8192);
}
static bool run_too_small() {
    __half *x = (__half *)numbers(64 * 64 - 1), *y = NULL;
    cudaMalloc(&y, 128 * 64 * 2);
    through<FINE><<<1, THREADS, 16384 + 64, stream>>>(described(x, 128), described(y, 128));
    return !cudaStreamSynchronize(stream);
}
static bool run_odd_pitch() {
    __half *x = (__half *)numbers(64 * 64);
    through<FINE><<<1, THREADS, 16384 + 64, stream>>>(described(x, 120), described(x, 128));
    return !cudaStreamSynchronize(stream);
}
static void tensors() {
    right(run_through<FINE>);
    refused(run_through<OVERWRITES>, "shared memory has changed while a store read it");
    refused(run_through<NO_WAIT>, "shared memory has changed while a store read it");
    refused(run_through<NO_FENCE>, "without fence.proxy.async of thread 17");
    refused(run_through<NOT_ALIGNED>, "its swizzle begins elsewhere");
    refused(run_too_small, "not all of what was allocated");
    refused(run_odd_pitch, "no description of a tensor");
}

/* The blocks of a cluster send each other a number, by way of the other's barrier. */
template <int FAULT, int BYTES> __global__ void sent(float *x) {
    extern __shared__ __align__(16) uint64_t words[];
    float *place = (float *)(words + 2);
    const unsigned mine = cluster_rank();
    if (threadIdx.x == 0)
        barrier_init(words, 1);
    cluster_sync();
    if (threadIdx.x == 0) {
        barrier_expect(words, BYTES);
        send(place + (FAULT == NOT_ALIGNED), make_float4(3, (float)mine, 4, 5), words,
             1 - mine);
    }
    if (FAULT != NO_WAIT && FAULT != NO_END)
        barrier_wait(words, 0);
    x[blockIdx.x * THREADS + threadIdx.x] = place[1];
    if (FAULT == NO_WAIT)
        barrier_wait(words, 0);
}
template <int FAULT, int BYTES> static bool run_sent() {
    float *x = numbers(4 * THREADS);
    in_pairs(sent<FAULT, BYTES>, x);
    return !cudaStreamSynchronize(stream) && x[2 * THREADS + 7] == 1 && x[3 * THREADS] == 0;
}
static void sends() {
    right(run_sent<FINE, 16>);
    wrong_numbers(run_sent<NO_WAIT, 16>);
    refused(run_sent<NO_END, 16>, "has ended");
    refused(run_sent<FINE, 32>, "waits for phase 0 of a barrier");
    refused(run_sent<NOT_ALIGNED, 16>, "16 bytes sent to an address");
}

/* c = a b' of a warpgroup, 64 x 160 and 16 inner; a and b in boxes that numbers filled. */
template <int FAULT> __global__ void product(float *c, uint32_t stride) {
    extern __shared__ char tile[];
    float sums[20][4] = {};
    __half *half = (__half *)tile;
    for (int i = (int)threadIdx.x; i < 224 * 64; i += THREADS)
        half[i] = __float2half_rn(1);
    __syncthreads();
    uint64_t a = smem_address(tile) >> 4 | (uint64_t)1 << 16 | (uint64_t)stride << 32 |
                 (uint64_t)1 << 62;
    wgmma_begin();
    wgmma<__half, 160>::add(sums, a, a + (8192 >> 4), threadIdx.x == 5 && FAULT == NOT_ALIGNED);
    wgmma_commit();
    if (FAULT == OVERWRITES && threadIdx.x == 0)
        half[9000] = half[8999] = __float2half_rn(2);
    if (FAULT != NO_END)
        wgmma_wait<0>();
    c[threadIdx.x] = sums[3][2];
}
template <int FAULT, int STRIDE> static bool run_product() {
    float *c = numbers(THREADS);
    product<FAULT><<<1, THREADS, 224 * 128, stream>>>(c, STRIDE);
    cudaStreamSynchronize(stream);
    return c[77] == 16;
}
static void products() {
    right(run_product<FINE, 64>);
    refused(run_product<OVERWRITES, 64>, "shared memory has changed while a product read it");
    refused(run_product<NO_END, 64>, "ends before what it began");
    refused(run_product<NOT_ALIGNED, 64>, "disagree on a product");
    refused(run_product<FINE, 65>, "of shared memory");
}

int main() {
    TEST(barriers);
    TEST(no_barrier_before_reading);
    TEST(no_barrier_before_writing_again);
    TEST(divergence);
    TEST(memory);
    TEST(streams);
    TEST(asynchronous_copies);
    TEST(counting_barriers);
    TEST(clusters);
    TEST(tensors);
    TEST(sends);
    TEST(products);
    return check_done();
}
