/* gemm - what cuBLASLt's fp16 matrix products reach on ESM-2's shapes, and nothing else: the
 * ceiling of make bench-gpu.
 *
 *   gemm WIDTH ROWS SECONDS
 *
 * qkv, out, fc1, fc2 in turn, with the fastest algorithm of up to 16 for each, Gaussian data,
 * for some seconds, since a GPU slows down as it warms up. Writes one line:
 *   gemm WIDTH ROWS TFLOP/s, then TFLOP/s of qkv, out, fc1, fc2 */
#include <cublasLt.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STR_(x) #x
#define STR(x) STR_(x)
#define LIBRARY "libcublasLt.so." STR(CUBLAS_VER_MAJOR)
#define WORKSPACE ((size_t)64 << 20)
#define CANDIDATES 16
#define BURST 8 /* rounds between two looks at the clock */

static void *library;

static void die(const char *what, int status) {
    fprintf(stderr, "gemm: %s: %d\n", what, status);
    exit(69);
}
static void cuda(cudaError_t e, const char *what) {
    if (e) {
        fprintf(stderr, "gemm: %s: %s\n", what, cudaGetErrorString(e));
        exit(69);
    }
}
static void lt(cublasStatus_t s, const char *what) {
    if (s)
        die(what, (int)s);
}

static void *symbol(const char *name) {
    void *f = dlsym(library, name);
    if (!f)
        die(name, 0);
    return f;
}
#define LT(name) ((decltype(&name))symbol(#name))

/* Near enough to a normal distribution. */
__global__ void fill(__half *p, long n, float deviation) {
    long step = (long)gridDim.x * blockDim.x;
    for (long i = (long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        unsigned h = (unsigned)i * 2654435761u;
        h = (h ^ h >> 15) * 2246822519u;
        h = (h ^ h >> 13) * 3266489917u;
        h ^= h >> 16;
        float sum = (float)((h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24)) - 510;
        p[i] = __float2half(deviation * sum / 148);
    }
}

static __half *noise(long n, float deviation) {
    void *p;
    cuda(cudaMalloc(&p, (size_t)n * sizeof(__half)), "cannot allocate");
    fill<<<1024, 256>>>((__half *)p, n, deviation);
    cuda(cudaGetLastError(), "cannot start a kernel");
    return (__half *)p;
}

struct product {
    long n_out, n_in;
    __half *w;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t lw, lx, ly;
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int n_found, best;
};

static cublasLtHandle_t handle;
static void *workspace;
static __half *x, *y;
static decltype(&cublasLtMatmul) matmul;

static cublasStatus_t multiply(const struct product *p, int i) {
    const float one = 1, zero = 0;
    return matmul(handle, p->desc, &one, p->w, p->lw, x, p->lx, &zero, y, p->ly, y, p->ly,
                  &p->found[i].algo, workspace, WORKSPACE, 0);
}

/* Milliseconds of `times` products; -1 where the algorithm does not run. */
static float milliseconds(const struct product *p, int i, int times) {
    static cudaEvent_t from, to;
    float ms;
    if (!from) {
        cuda(cudaEventCreate(&from), "cannot create an event");
        cuda(cudaEventCreate(&to), "cannot create an event");
    }
    cuda(cudaEventRecord(from), "cannot record an event");
    for (int k = 0; k < times; k++)
        if (multiply(p, i))
            return -1;
    cuda(cudaEventRecord(to), "cannot record an event");
    cuda(cudaEventSynchronize(to), "the device stopped");
    cuda(cudaEventElapsedTime(&ms, from, to), "no time");
    return ms;
}

static void prepare(struct product *p, long n_out, long n_in, long rows) {
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtMatmulPreference_t wish;
    size_t room = WORKSPACE;
    float best = -1;
    p->n_out = n_out;
    p->n_in = n_in;
    p->w = noise(n_out * n_in, 0.02f);
    lt(LT(cublasLtMatmulDescCreate)(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "desc");
    lt(LT(cublasLtMatmulDescSetAttribute)(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                          sizeof transposed),
       "desc");
    lt(LT(cublasLtMatrixLayoutCreate)(&p->lw, CUDA_R_16F, n_in, n_out, n_in), "layout");
    lt(LT(cublasLtMatrixLayoutCreate)(&p->lx, CUDA_R_16F, n_in, rows, n_in), "layout");
    lt(LT(cublasLtMatrixLayoutCreate)(&p->ly, CUDA_R_16F, n_out, rows, n_out), "layout");
    lt(LT(cublasLtMatmulPreferenceCreate)(&wish), "preference");
    lt(LT(cublasLtMatmulPreferenceSetAttribute)(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &room, sizeof room),
       "preference");
    lt(LT(cublasLtMatmulAlgoGetHeuristic)(handle, p->desc, p->lw, p->lx, p->ly, p->ly, wish,
                                          CANDIDATES, p->found, &p->n_found),
       "no algorithm");
    for (int i = 0; i < p->n_found; i++) {
        if (milliseconds(p, i, 1) < 0)
            continue;
        float ms = milliseconds(p, i, 4);
        if (ms > 0 && (best < 0 || ms < best)) {
            best = ms;
            p->best = i;
        }
    }
    if (best < 0)
        die("no algorithm runs", 0);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    struct product p[4];
    if (argc != 4) {
        fprintf(stderr, "usage: gemm WIDTH ROWS SECONDS\n");
        return 2;
    }
    long d = atol(argv[1]), rows = atol(argv[2]);
    double seconds = atof(argv[3]), ms[4] = {0}, flop[4], all = 0, work = 0;
    if (d <= 0 || rows <= 0 || seconds <= 0) {
        fprintf(stderr, "gemm: expected three numbers above 0\n");
        return 2;
    }
    cuda(cudaFree(0), "no usable device");
    library = dlopen(LIBRARY, RTLD_NOW);
    if (!library)
        library = dlopen("/usr/local/cuda/lib64/" LIBRARY, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "gemm: cannot load '%s': %s\n", LIBRARY, dlerror());
        return 69;
    }
    matmul = LT(cublasLtMatmul);
    lt(LT(cublasLtCreate)(&handle), "cannot start cuBLASLt");
    cuda(cudaMalloc(&workspace, WORKSPACE), "cannot allocate");
    x = noise(rows * 4 * d, 1);
    y = noise(rows * 4 * d, 1);
    const long shapes[4][2] = {{3 * d, d}, {d, d}, {4 * d, d}, {d, 4 * d}};
    for (int i = 0; i < 4; i++) {
        prepare(&p[i], shapes[i][0], shapes[i][1], rows);
        flop[i] = 2.0 * (double)rows * (double)shapes[i][0] * (double)shapes[i][1];
    }
    /* the second half counts: the first is for the heat */
    int rounds = 0;
    for (double start = now(), at = start; at < start + seconds || !rounds; at = now()) {
        const bool counts = at > start + seconds / 2;
        for (int i = 0; i < 4; i++) {
            float took = milliseconds(&p[i], p[i].best, BURST);
            if (took < 0)
                die("a product failed", i);
            ms[i] += counts ? took : 0;
        }
        rounds += counts;
    }
    for (int i = 0; i < 4; i++) {
        all += ms[i];
        work += flop[i] * BURST * rounds;
    }
    printf("gemm %ld %ld %.1f", d, rows, work / all / 1e9);
    for (int i = 0; i < 4; i++)
        printf(" %.1f", flop[i] * BURST * rounds / ms[i] / 1e9);
    printf("\n");
    return 0;
}
