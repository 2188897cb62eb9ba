/* runtime.cc - devices, memory, streams and events, emulated. What is queued on a stream
 * runs when somebody waits for it, and no sooner; with VN_EMU_SEED > 1 at times drawn. All
 * of it runs in the thread that waits. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "cuda_runtime.h"

#define MEMORY ((size_t)2 << 30) /* of a device */
#define PROCESSORS 6
#define MAX_DEVICES 8

/* What is queued; outlives the stream while an event refers to it. */
struct emu_work {
    std::deque<std::function<void()>> todo;
    uint64_t queued = 0, done = 0;
};

struct emu_stream {
    int device;
    std::shared_ptr<emu_work> work;
};

struct emu_event {
    bool timing;
    std::shared_ptr<emu_work> work; /* NULL: never recorded */
    uint64_t at;                    /* what of it must have been done */
    std::shared_ptr<double> time;   /* NULL: not yet known */
};

struct allocation {
    size_t bytes;
    int device;
};

static std::recursive_mutex lock;
static thread_local int device;
static thread_local cudaError_t last;
static std::map<void *, allocation> memory;
static size_t used[MAX_DEVICES];
static std::set<emu_stream *> streams;
static std::map<const void *, size_t> dynamic_shared; /* of kernels that may have more */

typedef std::lock_guard<std::recursive_mutex> guard;

static cudaError_t say(cudaError_t e) {
    return e ? last = e : e;
}

static int number(const char *name, int otherwise) {
    const char *s = getenv(name);
    return s && *s ? atoi(s) : otherwise;
}

static int devices() {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int n = visible && !*visible ? 0 : number("VN_EMU_DEVICES", 2);
    return n < MAX_DEVICES ? n : MAX_DEVICES;
}

/* ---- devices --------------------------------------------------------------------- */

const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle: return "invalid resource handle";
    default: return "another error";
    }
}

cudaError_t cudaGetLastError() {
    cudaError_t e = last;
    last = cudaSuccess;
    return e;
}

cudaError_t cudaGetDeviceCount(int *n) {
    *n = devices();
    return say(*n ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int i) {
    if (i < 0 || i >= devices())
        return say(cudaErrorInvalidDevice);
    device = i;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int i) {
    if (i < 0 || i >= devices())
        return say(cudaErrorInvalidDevice);
    int sm = number("VN_EMU_SM", 90);
    *p = cudaDeviceProp();
    snprintf(p->name, sizeof p->name, "emulated on a processor");
    p->major = sm / 10;
    p->minor = sm % 10;
    p->multiProcessorCount = PROCESSORS;
    return cudaSuccess;
}

/* ---- memory ---------------------------------------------------------------------- */

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    guard g(lock);
    *free_bytes = MEMORY - used[device];
    *total = MEMORY;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t bytes) {
    guard g(lock);
    *p = NULL;
    if (bytes > MEMORY - used[device])
        return say(cudaErrorMemoryAllocation);
    if (posix_memalign(p, 256, bytes))
        return say(cudaErrorMemoryAllocation);
    memset(*p, 0xff, bytes);
    memory[*p] = allocation{bytes, device};
    used[device] += bytes;
    return cudaSuccess;
}

/* All that has been queued anywhere. */
static void run_all();

cudaError_t cudaFree(void *p) {
    guard g(lock);
    if (!p)
        return cudaSuccess;
    run_all();
    auto it = memory.find(p);
    if (it == memory.end())
        emu_fail({NULL, 0}, "cudaFree of what cudaMalloc has not given");
    used[it->second.device] -= it->second.bytes;
    memory.erase(it);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) {
    if (posix_memalign(p, 256, bytes))
        return say(cudaErrorMemoryAllocation);
    memset(*p, 0xff, bytes);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p) {
    guard g(lock);
    if (p)
        run_all();
    free(p);
    return cudaSuccess;
}

/* ---- streams --------------------------------------------------------------------- */

static void run_to(emu_work *w, uint64_t at) {
    while (w->done < at) {
        std::function<void()> f = std::move(w->todo.front());
        w->todo.pop_front();
        f();
        w->done++;
    }
}

static void run_all() {
    for (emu_stream *s : streams)
        run_to(s->work.get(), s->work->queued);
}

bool emu_queue(cudaStream_t s, std::function<void()> f) {
    guard g(lock);
    if (!s || !streams.count(s) || s->device != device)
        return false;
    s->work->todo.push_back(std::move(f));
    s->work->queued++;
    if (emu_random() % 2)
        run_to(s->work.get(), s->work->done + emu_random() % (s->work->todo.size() + 1));
    return true;
}

static cudaError_t queue(cudaStream_t s, std::function<void()> f) {
    return say(emu_queue(s, std::move(f)) ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
    guard g(lock);
    *s = new emu_stream{device, std::make_shared<emu_work>()};
    streams.insert(*s);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    guard g(lock);
    if (!streams.count(s))
        return say(cudaErrorInvalidResourceHandle);
    run_to(s->work.get(), s->work->queued);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
    guard g(lock);
    cudaError_t e = cudaStreamSynchronize(s);
    if (!e) {
        streams.erase(s);
        delete s;
    }
    return e;
}

/* ---- events ---------------------------------------------------------------------- */

static double seconds() {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
    *e = new emu_event{!(flags & cudaEventDisableTiming), nullptr, 0, nullptr};
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e) {
    guard g(lock);
    delete e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    guard g(lock);
    std::shared_ptr<double> time = std::make_shared<double>(0);
    if (!streams.count(s))
        return say(cudaErrorInvalidResourceHandle);
    e->work = s->work;
    e->at = s->work->queued + 1;
    e->time = time;
    return queue(s, [time] { *time = seconds(); });
}

/* Of the event as it was recorded last before. */
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
    guard g(lock);
    std::shared_ptr<emu_work> work = e->work;
    uint64_t at = e->at;
    return work ? queue(s, [work, at] { run_to(work.get(), at); }) : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    guard g(lock);
    if (e->work)
        run_to(e->work.get(), e->at);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    guard g(lock);
    if (!from->timing || !to->timing || !from->work || !to->work)
        return say(cudaErrorInvalidResourceHandle);
    if (from->work->done < from->at || to->work->done < to->at)
        return say(cudaErrorNotReady);
    *ms = (float)(1e3 * (*to->time - *from->time));
    return cudaSuccess;
}

/* ---- copies ---------------------------------------------------------------------- */

/* From pageable memory it would be another thing: cuda/ has none of that. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t s) {
    return queue(s, [=] { memcpy(to, from, bytes); });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind) {
    guard g(lock);
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s) {
    return queue(s, [=] { memset(p, value, bytes); });
}

/* ---- launching ------------------------------------------------------------------- */

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute what, int value) {
    guard g(lock);
    if (what != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        value > EMU_DYNAMIC_MAX)
        return say(cudaErrorInvalidValue);
    dynamic_shared[kernel] = (size_t)value;
    return cudaSuccess;
}

static unsigned cluster_of(const cudaLaunchConfig_t *c) {
    for (unsigned i = 0; i < c->numAttrs; i++)
        if (c->attrs[i].id == cudaLaunchAttributeClusterDimension)
            return c->attrs[i].val.clusterDim.x;
    return 1;
}

cudaError_t emu_queue_launch(const cudaLaunchConfig_t *c, const void *kernel,
                             const char *name, std::function<void()> thread) {
    guard g(lock);
    const dim3 grid = c->gridDim, block = c->blockDim;
    const unsigned cluster = cluster_of(c);
    auto asked = dynamic_shared.find(kernel);
    size_t most = kernel && asked != dynamic_shared.end() ? asked->second : 48 * 1024;
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 ||
        grid.z > 65535 || !block.x || !block.y || !block.z ||
        (uint64_t)block.x * block.y * block.z > 1024 || !cluster || cluster > 8 ||
        grid.x % cluster)
        return say(cudaErrorInvalidConfiguration);
    if (c->dynamicSmemBytes > most)
        return say(cudaErrorInvalidValue);
    emu_launch l = {name,    {grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
                    cluster, c->dynamicSmemBytes};
    return queue(c->stream, [l, thread] { emu_run(l, thread); });
}

cudaError_t cudaOccupancyMaxActiveClusters(int *n, const void *, const cudaLaunchConfig_t *c) {
    *n = PROCESSORS / (int)cluster_of(c);
    return cudaSuccess;
}

void *emu_encode_tiled(); /* tensor.cc */

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **p, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult *found) {
    *found = cudaDriverEntryPointSuccess;
    *p = !strcmp(name, "cuTensorMapEncodeTiled") ? emu_encode_tiled() : NULL;
    return say(*p ? cudaSuccess : cudaErrorSymbolNotFound);
}
