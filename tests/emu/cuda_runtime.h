/* cuda_runtime.h - the part of CUDA's runtime and language that cuda/ uses, emulated: see
 * emu.h. Two devices of compute capability 9.0 (VN_EMU_DEVICES, VN_EMU_SM=80) with 2 GiB
 * of memory each. */
#ifndef VN_EMU_CUDA_RUNTIME_H
#define VN_EMU_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <tuple>

#include "emu.h"

#define CUDART_VERSION 13000
#define __CUDA_ARCH__ 900

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

/* ---- vectors --------------------------------------------------------------------- */

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline float2 make_float2(float x, float y) {
    return float2{x, y};
}
static inline float4 make_float4(float x, float y, float z, float w) {
    return float4{x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y) {
    return uint2{x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return uint4{x, y, z, w};
}

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {
    }
};

/* ---- functions of threads -------------------------------------------------------- */

static inline int min(int a, int b) {
    return a < b ? a : b;
}
static inline float __fadd_rn(float a, float b) {
    return a + b;
}
static inline float __fdiv_rn(float a, float b) {
    return a / b;
}
static inline unsigned __float_as_uint(float x) {
    unsigned u;
    memcpy(&u, &x, sizeof u);
    return u;
}
template <class T> static inline T __ldg(const T *p) {
    return *p;
}
[[noreturn]] static inline void __trap(EMU_HERE) {
    emu_fail(at, "trap");
}

static inline void __syncthreads(EMU_HERE) {
    emu_barrier(0, 0, 0, "__syncthreads", at);
}
static inline int __syncthreads_count(int value, EMU_HERE) {
    return emu_barrier(0, 0, value, "__syncthreads_count", at);
}
static inline int __syncthreads_or(int value, EMU_HERE) {
    return emu_barrier(0, 0, value, "__syncthreads_or", at) != 0;
}
static inline void __syncwarp(EMU_HERE) {
    emu_warp([](void *const *) {}, NULL, "__syncwarp", at);
}

/* The value of lane l ^ o; of all lanes alone. */
struct emu_shuffle {
    float v;
    int o;
};
static inline float __shfl_xor_sync(unsigned mask, float v, int o, EMU_HERE) {
    emu_shuffle mine = {v, o};
    if (mask != 0xffffffffu)
        emu_fail(at, "a shuffle of lanes %#x: emulated of all alone", mask);
    emu_warp(
        [](void *const *brought) {
            float all[EMU_LANES];
            emu_shuffle *const *s = (emu_shuffle *const *)brought;
            for (int i = 0; i < EMU_LANES; i++)
                all[i] = s[i ^ s[i]->o]->v;
            for (int i = 0; i < EMU_LANES; i++)
                s[i]->v = all[i];
        },
        &mine, "__shfl_xor_sync", at);
    return mine.v;
}

/* ---- the runtime ----------------------------------------------------------------- */

enum cudaError_t {
    cudaSuccess,
    cudaErrorInvalidValue,
    cudaErrorMemoryAllocation,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorDevicesUnavailable = 46,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorSymbolNotFound = 500,
    cudaErrorNotReady = 600,
    cudaErrorLaunchOutOfResources = 701
};
typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;
enum { cudaStreamNonBlocking = 1, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };
enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
};
struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount;
};

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
template <class T> static inline cudaError_t cudaMalloc(T **p, size_t bytes) {
    return cudaMalloc((void **)p, bytes);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
static inline cudaError_t cudaEventCreate(cudaEvent_t *e) {
    return cudaEventCreateWithFlags(e, 0);
}
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s);

/* ---- launching ------------------------------------------------------------------- */

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute what, int value);
template <class... P>
static inline cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute what,
                                               int value) {
    return cudaFuncSetAttribute((const void *)kernel, what, value);
}

enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        struct {
            unsigned x, y, z;
        } clusterDim;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};
cudaError_t cudaOccupancyMaxActiveClusters(int *n, const void *kernel,
                                           const cudaLaunchConfig_t *c);

enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess };
enum { cudaEnableDefault };
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **p, unsigned version,
                                             unsigned long long flags,
                                             cudaDriverEntryPointQueryResult *found);

/* Queues f on the stream. False where that is not one of the current device. */
bool emu_queue(cudaStream_t s, std::function<void()> f);

/* Queues a launch, or remembers why not. kernel NULL: one that has been given no
 * attributes. */
cudaError_t emu_queue_launch(const cudaLaunchConfig_t *c, const void *kernel,
                             const char *name, std::function<void()> thread);

template <class... P, class... A>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *c, void (*kernel)(P...),
                                             A &&...args) {
    std::tuple<P...> values(args...);
    return emu_queue_launch(c, (const void *)kernel, "a kernel with a configuration",
                            [kernel, values] { std::apply(kernel, values); });
}

/* What launch.py makes of kernel<<<grid, block, shared, stream>>>(args). */
static inline cudaLaunchConfig_t emu_config(dim3 grid, dim3 block, size_t shared,
                                            cudaStream_t stream) {
    return cudaLaunchConfig_t{grid, block, shared, stream, NULL, 0};
}
template <class K, class... A>
static inline void emu_launch_kernel(const cudaLaunchConfig_t &c, const void *kernel,
                                     const char *name, K call, A... args) {
    std::tuple<A...> values(args...);
    emu_queue_launch(&c, kernel, name, [call, values] { std::apply(call, values); });
}

#endif
