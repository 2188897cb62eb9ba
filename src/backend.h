/* backend.h - what a device can do: the only way the forward pass touches numbers.
 *
 * A backend is a table of operations on device memory. cpu_ref.c fills every entry with
 * plain loops and is the specification: another backend gives the same numbers within its
 * precision, and the same bits from run to run. Operations are queued in order and may
 * return before they have run; `mark` and `wait` say when results are there. On the CPU
 * they have run when the call returns.
 *
 * Precision. A backend is opened for one activation type `act`: VN_F32, VN_BF16 or VN_F16.
 * Rows that feed a matrix product (norm's output, qkv, attention's output, the inner FFN
 * row) have that type; the residual stream x, normalisation, softmax, GELU and pooling are
 * f32 inside. Matrix products accumulate in f32.
 *
 * Attention. VN_ATTN_FLASH is the above. VN_ATTN_STANDARD, with act VN_F16 only, rounds as
 * fair-esm's ESM2 does after .half() (esm2.py, modules.py, multihead_attention.py,
 * rotary_embedding.py): every tensor operation of PyTorch ends in a rounding to half, sums
 * inside one are f32. The x of all operations is f32 still, but holds values of half; what
 * changes is written in cpu_standard.c, which is the specification. rope tables then hold
 * values of half as well, of angles in half: see rope_fill of engine.c. It is ESM-2's: there
 * is no ALiBi, no second copy of norm's output, no VN_EPI_GLU and no matrix without bias.
 *
 * Batch invariance. A row's result may not depend on how many rows there are, on its
 * position, on the other rows, or on the number of threads. t_ops and t_attn check it, bit
 * for bit.
 *
 * Sequences are packed: cu_seqlens [B + 1] i32, cu_seqlens[0] = 0, non-decreasing, token
 * rows of sequence b are [cu_seqlens[b], cu_seqlens[b + 1]). Empty sequences are legal.
 * Device pointers come from alloc and are 64-byte aligned at least. Shapes are row-major
 * and contiguous. Arguments are checked by the engine, not again here.
 *
 * Compiles as C11 and as C++17. */
#ifndef VN_BACKEND_H
#define VN_BACKEND_H

#include <stdbool.h>

#include "dtype.h"
#include "err.h"
#include "pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct vn_backend;
struct vn_matrix; /* a weight matrix and its bias, in the layout the device likes */

#define VN_SLOTS 4      /* marks that may be outstanding */
#define VN_STAMPS 32768 /* times that may be remembered */
#define VN_COPY_SPARE 8 /* an eighth more room than copies are expected to need: jobs differ */

/* What happens to a matrix product before it is stored. */
enum vn_epilogue {
    VN_EPI_BIAS,     /* y = x W' + b                     y: act type  */
    VN_EPI_GELU,     /* y = gelu_erf(x W' + b)           y: act type  */
    VN_EPI_RESIDUAL, /* y = y + (x W' + b)               y: f32       */
    VN_EPI_GLU       /* y = gelu_erf(g[:, :n_out / 2]) * g[:, n_out / 2:], g = x W' + b;
                        y [T, n_out / 2]: act type */
};

/* A packed batch as the operations see it: both copies hold the same numbers. */
struct vn_seqs {
    int64_t n_seq, n_tok;
    int32_t max_len;           /* tokens of the longest sequence */
    const int32_t *host;       /* [B + 1] cu_seqlens, on the host, until `wait` */
    const int32_t *device;     /* [B + 1] cu_seqlens, on the device */
};

/* embed: x[t] = table[tokens[t]] scaled as fair-esm's token dropout does at inference.
 * If mask_token >= 0: rows of mask_token become 0, and all rows of sequence b are scaled by
 * (1 - 0.15 * 0.8) / (1 - m / n), m of its n tokens being masks. (fair-esm esm2.py) */
struct vn_embed_args {
    const uint16_t *tokens; /* [T] each < n_vocab */
    const float *table;     /* [V, D] f32 */
    float *x;               /* [T, D] f32 */
    int64_t d;
    int mask_token;         /* -1: no scaling */
};

/* norm: LayerNorm over D, y = (x - mean) / sqrt(var + eps) * gamma + beta, var biased. */
struct vn_norm_args {
    const float *x;             /* [T, D] f32 */
    const float *gamma, *beta;  /* [D] f32 */
    void *y;                    /* [T, D] y_type; may be x when y_type is VN_F32 */
    enum vn_dtype y_type;       /* act or VN_F32 */
    int64_t n_tok, d;
    float eps;
    void *also;                 /* [T, D] act type: y once more, rounded; or NULL; not x, y */
};

/* linear: y = epilogue(x W' + b). */
struct vn_linear_args {
    const void *x;             /* [T, n_in] act type; not y */
    const struct vn_matrix *w; /* [n_out, n_in] */
    void *y;                   /* [T, n_out] */
    int64_t n_tok;
    enum vn_epilogue epilogue;
    void *wide;                /* VN_EPI_GLU: [T, n_out] act type, scratch memory; not x, y */
};

/* rows: norms and products one after another, over the same n_tok rows. Row t of a stage
 * needs of what the stages before it wrote row t alone, so that a backend may take a few
 * rows through all stages before the next. The y of a stage that is `passed` is the next
 * one's x, which is a product, and nobody else's: it may stay unwritten, and only it may lie
 * where another stage writes. `wide` is not used. */
struct vn_row_stage {
    bool is_norm, passed;
    union {
        struct vn_norm_args norm;
        struct vn_linear_args linear;
    };
};

/* attn: for every sequence and head, out = softmax(s q k') v with s = d_head^-1/2.
 * With rope: q and k are rotated first, rotate-half layout, position p counted from the
 * sequence's first token: out_i = x_i cos - x_{i+K/2} sin, out_{i+K/2} = x_{i+K/2} cos +
 * x_i sin with the angle p * inv_freq[i]. Angles, sin, cos, softmax in f32.
 * With alibi: the score of query i and key j of head h is s q k' - alibi[h] |i - j|. */
struct vn_attn_args {
    void *qkv;             /* [T, 3, H, K] act type; nobody's afterwards: keys may be rotated
                            * where they are */
    void *out;             /* [T, H, K] act type; not qkv */
    const float *rope_cos; /* [>= max_len, K / 2] f32, or NULL for none */
    const float *rope_sin;
    int n_heads, d_head;   /* K in 16, 24, 32, 64, 128 */
    const float *alibi;    /* [H] f32 slopes, or NULL for none */
};

/* pool: vn_pool_rows of every sequence; zeros for an empty one. */
struct vn_pool_args {
    const float *x; /* [T, D] f32 */
    float *out;     /* [B, D] f32 */
    int64_t d;
    enum vn_pooling pool;
};

struct vn_matrix_spec {
    const void *weight[3];  /* host: n_parts blocks [n_out / n_parts, n_in] stacked */
    const void *bias[3];    /* host: n_parts blocks [n_out / n_parts]; all NULL: no bias */
    enum vn_dtype type;     /* of weights and biases: VN_F32, VN_F16 or VN_BF16 */
    int n_parts;            /* 1, or 3 for q, k, v */
    int64_t n_out, n_in;
    enum vn_epilogue epilogue; /* the one that linear will be called with */
    bool stays;                /* weight and bias stay until matrix_free: see matrix_new */
};

/* What loading has taken so far, in seconds, on a device where weights arrive while others
 * are computed with. */
struct vn_loading {
    double start;  /* device, libraries */
    double upload; /* from the first weight asked for to the last one on its way */
    double plans;  /* trying algorithms */
    int64_t bytes; /* of weights, as they are in the file */
    int plans_known, plans_tried; /* of shapes */
};

enum vn_attention {
    VN_ATTN_AUTO,    /* flash, or standard on a device that can do no other */
    VN_ATTN_FLASH,
    VN_ATTN_STANDARD
};

struct vn_backend_ops {
    const char *name; /* "cpu", "cpu-reference", "cuda" */

    /* Memory of the device. alloc: VN_EBUSY (device) or VN_EFAIL (host) when there is
     * none, with the size. */
    int (*alloc)(struct vn_backend *, size_t bytes, void **out, struct vn_error *);
    void (*release)(struct vn_backend *, void *);

    /* Bytes that alloc may still give: of a GPU, what is free now; of the host SIZE_MAX, for
     * it promises more than it has. */
    int (*available)(struct vn_backend *, size_t *bytes, struct vn_error *);

    /* Queued copies; the host memory must stay until `wait` of a later mark. */
    int (*copy_in)(struct vn_backend *, void *device, const void *host, size_t bytes,
                   struct vn_error *);
    int (*copy_out)(struct vn_backend *, void *host, const void *device, size_t bytes,
                    struct vn_error *);

    /* What copies come to until the next mark, at most, in and out: room that they need is
     * made now, before there is work to wait for. NULL where copies need none. */
    int (*expect)(struct vn_backend *, size_t in, size_t out, struct vn_error *);

    /* mark: remembers what has been queued so far under slot 0..VN_SLOTS-1.
     * wait: returns when that has run; VN_EFAIL for errors of the device since. */
    int (*mark)(struct vn_backend *, int slot, struct vn_error *);
    int (*wait)(struct vn_backend *, int slot, struct vn_error *);

    /* stamp: remembers as time i, 0..VN_STAMPS-1, when the queue gets here.
     * between: seconds from time i to time j, both of before a mark that was waited for.
     * What it takes to keep time is made by the first stamps. */
    int (*stamp)(struct vn_backend *, int i, struct vn_error *);
    int (*between)(struct vn_backend *, int i, int j, double *seconds, struct vn_error *);

    /* Weights: copied, converted and laid out. If the host memory stays, that may happen
     * in the background, in the order of the calls, and linear waits for what it needs; a
     * failure of it is linear's. Otherwise the host memory may go afterwards. */
    int (*matrix_new)(struct vn_backend *, const struct vn_matrix_spec *,
                      struct vn_matrix **out, struct vn_error *);
    void (*matrix_free)(struct vn_backend *, struct vn_matrix *);

    int (*embed)(struct vn_backend *, const struct vn_seqs *, const struct vn_embed_args *,
                 struct vn_error *);
    int (*norm)(struct vn_backend *, const struct vn_norm_args *, struct vn_error *);
    int (*linear)(struct vn_backend *, const struct vn_linear_args *, struct vn_error *);
    /* NULL where nothing is gained: norm and linear do the same (vn_net_rows). */
    int (*rows)(struct vn_backend *, const struct vn_row_stage *stages, int n,
                struct vn_error *);
    /* How many of n stages, from the first one on, rows runs as one operation: 1, or 2 of a
     * product and the norm of its y. NULL where rows has other ways, or is NULL. */
    int (*together)(struct vn_backend *, const struct vn_row_stage *stages, int n);
    int (*attn)(struct vn_backend *, const struct vn_seqs *, const struct vn_attn_args *,
                struct vn_error *);
    int (*pool)(struct vn_backend *, const struct vn_seqs *, const struct vn_pool_args *,
                struct vn_error *);
    /* bad[b] = 1 when a value of sequence b of x [T, D] is not finite, else 0. */
    int (*finite)(struct vn_backend *, const struct vn_seqs *, const float *x, int64_t d,
                  uint8_t *bad, struct vn_error *);
    /* y[i] = x[i] rounded to nearest even; y_type VN_F16, VN_BF16 or VN_F32. */
    int (*convert)(struct vn_backend *, const float *x, void *y, enum vn_dtype y_type,
                   int64_t n, struct vn_error *);

    void (*close)(struct vn_backend *); /* frees the backend */
};

/* Every backend's own struct begins with this. */
struct vn_backend {
    struct vn_backend_ops ops; /* a copy, so that faster entries can overlay it */
    enum vn_dtype act;
    enum vn_attention attention; /* VN_ATTN_FLASH or VN_ATTN_STANDARD */
    int64_t slice_tokens;      /* best run at once, at least; 0: few, to stay in the caches */
    size_t slice_bytes;        /* those are doubled until their scratch has so many; 0: never */
    int64_t wave;              /* tokens whose products fill the device evenly, as do multiples
                                * of so many; 0: any number */
    int copy_stamp;            /* > 0: a copy that runs beside the queue stamps its own
                                * beginning as this and its end as the next, and clears it */
    bool queues;               /* operations may return before they have run */
    const struct vn_loading *loading; /* NULL where weights are there at once */
    char device[128];          /* for people and provenance: "cpu (avx512_bf16, oneDNN)" */
};

struct vn_backend_options {
    const char *device;  /* "auto", "cpu", "cuda", "cuda:1"; also "reference" for tests */
    bool auto_act;       /* act is chosen: VN_F16 on a GPU, VN_F32 on the CPU */
    enum vn_dtype act;   /* VN_F32, VN_BF16 or VN_F16 */
    int threads;
    enum vn_attention attention;
};

/* Opens the device asked for. VN_ENODEVICE when it is not there or not built in,
 * VN_EINCOMPAT when it cannot do the precision, or standard is asked for and act is not
 * VN_F16. "auto" that takes the CPU where a GPU was looked for succeeds and leaves the
 * reason in err->msg. Free with b->ops.close(b). */
int vn_backend_open(const struct vn_backend_options *, struct vn_backend **out,
                    struct vn_error *) VN_NODISCARD;

#define VN_MAX_DEVICES 64

/* The same for a device that may also be a list, "cuda:0,2": fills out and n, at least one.
 * VN_EUSAGE for a device that is named twice. */
int vn_backends_open(const struct vn_backend_options *,
                     struct vn_backend *out[VN_MAX_DEVICES], int *n,
                     struct vn_error *) VN_NODISCARD;

/* Constructors behind vn_backend_open. */
int vn_cpu_reference_open(const struct vn_backend_options *, struct vn_backend **out,
                          struct vn_error *) VN_NODISCARD;
int vn_cpu_open(const struct vn_backend_options *, struct vn_backend **out,
                struct vn_error *) VN_NODISCARD;
int vn_cuda_open(const struct vn_backend_options *, int index, struct vn_backend **out,
                 struct vn_error *) VN_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
