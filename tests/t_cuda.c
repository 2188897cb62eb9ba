/* What the CUDA backend promises beyond t_ops: the order of its copies, and rows that do
 * not depend on how many there are, at the shapes of the published models. Without a GPU
 * only the host's side is tested. */
#include "check.h"

#include <math.h>
#include <stdbool.h>

#include "../cuda/tile.h"
#include "backend.h"
#include "num.h"
#include "plans.h"

static const enum vn_dtype types[] = {VN_F16, VN_BF16, VN_F32};
static struct vn_error err;
static bool only_small; /* what is quick under a sanitizer */

/* NULL, and a reason to skip, where there is no device. */
static struct vn_backend *open_cuda(enum vn_dtype act) {
    struct vn_backend *b = NULL;
    struct vn_backend_options o = {.device = "cuda", .act = act, .threads = 1};
    int rc = vn_backend_open(&o, &b, &err);
    if (rc == VN_ENODEVICE)
        check_skip_why = err.msg;
    else
        CHECK_INT(rc, VN_OK);
    return b;
}

static void *device_memory(struct vn_backend *b, size_t bytes) {
    void *p = NULL;
    if (b->ops.alloc(b, bytes, &p, &err) < 0)
        check_fail(__FILE__, __LINE__, err.msg);
    return p;
}

static void to_device(struct vn_backend *b, void *device, const void *host,
                      size_t bytes) {
    CHECK_INT(b->ops.copy_in(b, device, host, bytes, &err), VN_OK);
}

static void from_device(struct vn_backend *b, void *host, const void *device,
                        size_t bytes) {
    CHECK_INT(b->ops.copy_out(b, host, device, bytes, &err), VN_OK);
    CHECK_INT(b->ops.mark(b, 0, &err), VN_OK);
    CHECK_INT(b->ops.wait(b, 0, &err), VN_OK);
}

/* ---- on the host ----------------------------------------------------------------- */

static void tiles_cover_every_width(void) {
    for (int64_t d = 1; d <= 8192; d++) {
        struct vn_tile_norm t = vn_tile_norm(d);
        if (t.vecs && (d % 4 || d / 4 > (int64_t)t.threads * t.vecs))
            check_int(__FILE__, __LINE__, "width", d, 0);
    }
    CHECK_INT(vn_tile_norm(2560).vecs, 5);
    CHECK_INT(vn_tile_norm(33).vecs, 0);
    CHECK_INT(vn_tile_norm(5124).vecs, 0);
    CHECK_INT(vn_tile_attn_warps(64, 64), 4);
    CHECK_INT(vn_tile_attn_warps(65, 64), 8);
    CHECK_INT(vn_tile_attn_warps(128, 64), 8);
    CHECK_INT(vn_tile_attn_warps(168, 64), 4);
    CHECK_INT(vn_tile_attn_warps(0, 64), 4);
    CHECK_INT(vn_tile_attn_warps(65, 128), 4);
    CHECK_INT(vn_tile_attn_short(9, 9 * 52, 52, 64), 4);
    CHECK_INT(vn_tile_attn_short(9, 9, 64, 64), 4);
    CHECK_INT(vn_tile_attn_short(1, 192, 192, 64), 12);
    CHECK_INT(vn_tile_attn_short(2, 193, 192, 64), 12);
    CHECK_INT(vn_tile_attn_short(2, 191, 192, 64), 0); /* most warps would be idle */
    CHECK_INT(vn_tile_attn_short(1, 193, 193, 64), 0);
    CHECK_INT(vn_tile_attn_short(1, 160, 160, 24), 10);
    CHECK_INT(vn_tile_attn_short(1, 161, 161, 24), 0);
    CHECK_INT(vn_tile_attn_short(1, 112, 112, 128), 7);
    CHECK_INT(vn_tile_attn_short(1, 113, 113, 128), 0);
    CHECK_INT(vn_tile_blocks(0, 64), 1);
    CHECK_INT(vn_tile_blocks(64, 64), 1);
    CHECK_INT(vn_tile_blocks(65, 64), 2);
}

static void a_device_that_is_not_there(void) {
    struct vn_backend *b = NULL;
    struct vn_backend_options o = {.device = "cuda:99", .act = VN_F16, .threads = 1};
    CHECK_INT(vn_backend_open(&o, &b, &err), VN_ENODEVICE);
    CHECK(b == NULL);
    CHECK(strstr(err.msg, "device") != NULL);
}

static void auto_is_the_gpu_or_the_cpu(void) {
    struct vn_backend *b = NULL, *gpu = open_cuda(VN_F32);
    struct vn_backend_options o = {.device = "auto", .act = VN_F32, .threads = 1};
    check_skip_why = NULL;
    CHECK_INT(vn_backend_open(&o, &b, &err), VN_OK);
    CHECK_STR(b->ops.name, gpu ? "cuda" : "cpu");
    b->ops.close(b);
    if (gpu)
        gpu->ops.close(gpu);
}

/* ---- copies ---------------------------------------------------------------------- */

enum { LARGE = 3 << 20 }; /* floats: beyond the size that leaves by the second stream */

/* Each round's result is overwritten on the device at once, while it may still be
 * leaving. */
static void results_survive_what_comes_next(void) {
    struct vn_backend *b = open_cuda(VN_F32);
    if (!b)
        return;
    const int count = only_small ? LARGE / 8 : LARGE;
    float *x = calloc(count, 4), *small = calloc(VN_SLOTS, 4), *got[VN_SLOTS];
    void *device = device_memory(b, count * 4);
    for (int i = 0; i < VN_SLOTS; i++)
        got[i] = calloc(count, 4);
    for (int round = 0; round < 3; round++) {
        for (int s = 0; s < VN_SLOTS; s++) {
            for (int i = 0; i < count; i++)
                x[i] = (float)(i % 1000 + 1000 * s + 10000 * round);
            to_device(b, device, x, count * 4);
            CHECK_INT(b->ops.copy_out(b, got[s], device, count * 4, &err), VN_OK);
            CHECK_INT(b->ops.copy_out(b, &small[s], device, 4, &err), VN_OK);
            CHECK_INT(b->ops.mark(b, s, &err), VN_OK);
        }
        for (int s = 0; s < VN_SLOTS; s++) {
            CHECK_INT(b->ops.wait(b, s, &err), VN_OK);
            int wrong = 0;
            for (int i = 0; i < count; i++)
                wrong += got[s][i] != (float)(i % 1000 + 1000 * s + 10000 * round);
            CHECK_INT(wrong, 0);
            CHECK(small[s] == (float)(1000 * s + 10000 * round));
        }
    }
    for (int i = 0; i < VN_SLOTS; i++)
        free(got[i]);
    b->ops.release(b, device);
    free(x);
    free(small);
    b->ops.close(b);
}

static size_t available(struct vn_backend *b) {
    size_t bytes = 0;
    CHECK_INT(b->ops.available(b, &bytes, &err), VN_OK);
    return bytes;
}

/* Room for what was expected is there before the first copy, for all slots. */
static void what_is_expected_has_room(void) {
    struct vn_backend *b = open_cuda(VN_F32);
    if (!b)
        return;
    const size_t bytes = (size_t)(only_small ? LARGE / 3 : LARGE) * 4;
    void *device = device_memory(b, bytes), *host = malloc(bytes);
    const size_t before = available(b);
    CHECK_INT(b->ops.expect(b, 100, bytes, &err), VN_OK);
    const size_t after = available(b);
    CHECK(after + (VN_SLOTS + 1) * bytes <= before);
    for (int i = 0; i < 3 * VN_SLOTS; i++) {
        CHECK_INT(b->ops.expect(b, 100, bytes + bytes / 16, &err), VN_OK); /* a little more */
        CHECK_INT(b->ops.copy_out(b, host, device, bytes, &err), VN_OK);
        CHECK_INT(b->ops.mark(b, i % VN_SLOTS, &err), VN_OK);
        CHECK(available(b) == after);
    }
    CHECK_INT(b->ops.wait(b, VN_SLOTS - 1, &err), VN_OK);
    CHECK_INT(b->ops.expect(b, 0, 2 * bytes, &err), VN_OK); /* none is on its way */
    CHECK(available(b) + (VN_SLOTS + 1) * bytes <= after);
    free(host);
    b->ops.release(b, device);
    b->ops.close(b);
}

static void a_slot_may_be_marked_again(void) {
    struct vn_backend *b = open_cuda(VN_F32);
    if (!b)
        return;
    float in[20], out[20] = {0};
    void *device = device_memory(b, sizeof in);
    for (int i = 0; i < 20; i++) {
        in[i] = (float)i + 1;
        to_device(b, device, &in[i], 4);
        CHECK_INT(b->ops.copy_out(b, &out[i], device, 4, &err), VN_OK);
        CHECK_INT(b->ops.mark(b, i % 2, &err), VN_OK);
    }
    CHECK_INT(b->ops.wait(b, 1, &err), VN_OK);
    CHECK_INT(b->ops.wait(b, 3, &err), VN_OK); /* never marked: nothing to wait for */
    CHECK(!memcmp(in, out, sizeof in));
    CHECK_INT(b->ops.mark(b, VN_SLOTS, &err), VN_EINTERNAL);
    b->ops.release(b, device);
    b->ops.close(b);
}

/* A large result leaves beside the queue and keeps its own time; a small one does not. */
static void a_copy_beside_the_queue_is_timed(void) {
    struct vn_backend *b = open_cuda(VN_F32);
    if (!b)
        return;
    const size_t bytes = (size_t)(only_small ? LARGE / 8 : LARGE) * 4;
    void *device = device_memory(b, bytes), *host = malloc(bytes);
    double queued = -1, own = -1;
    CHECK_INT(b->ops.stamp(b, 1, &err), VN_OK);
    b->copy_stamp = 4;
    CHECK_INT(b->ops.copy_out(b, host, device, bytes, &err), VN_OK);
    CHECK_INT(b->copy_stamp, 0);
    CHECK_INT(b->ops.stamp(b, 2, &err), VN_OK);
    b->copy_stamp = 6;
    CHECK_INT(b->ops.copy_out(b, host, device, 4, &err), VN_OK);
    CHECK_INT(b->copy_stamp, 6);
    b->copy_stamp = 0;
    CHECK_INT(b->ops.mark(b, 0, &err), VN_OK);
    CHECK_INT(b->ops.wait(b, 0, &err), VN_OK);
    CHECK_INT(b->ops.between(b, 1, 2, &queued, &err), VN_OK);
    CHECK_INT(b->ops.between(b, 4, 5, &own, &err), VN_OK);
    CHECK(queued > 0 && own > 0);
    CHECK_INT(b->ops.between(b, 6, 7, &own, &err), VN_EINTERNAL);
    b->ops.release(b, device);
    free(host);
    b->ops.close(b);
}

static void too_much_memory_is_refused(void) {
    struct vn_backend *b = open_cuda(VN_F32);
    void *p = &p;
    if (!b)
        return;
    CHECK_INT(b->ops.alloc(b, (size_t)1 << 50, &p, &err), VN_EBUSY);
    CHECK(p == NULL);
    CHECK(strstr(err.msg, "1125899906842624 bytes") != NULL);
    p = device_memory(b, 100);
    CHECK(p != NULL);
    b->ops.release(b, p);
    b->ops.close(b);
}

/* ---- rows do not depend on how many there are ------------------------------------ */

static uint64_t state = 1;
static float gaussian(void) { /* near enough */
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(state >> 40) / 16777216.0f - 0.5f;
    }
    return sum * 1.7f;
}

/* n values of a type, standard normal times `scale`. */
static void *random_values(enum vn_dtype type, int64_t n, float scale) {
    void *p = malloc((size_t)n * vn_dtype_size(type));
    for (int64_t i = 0; i < n; i++) {
        float v = gaussian() * scale;
        if (type == VN_F32)
            ((float *)p)[i] = v;
        else
            ((uint16_t *)p)[i] = type == VN_F16 ? vn_f32_to_f16(v) : vn_f32_to_bf16(v);
    }
    return p;
}

enum { ROWS = 1100 };
static const int64_t counts[] = {1,   2,   7,   16,  17,  64,   100,
                                 127, 128, 129, 256, 512, 1000, 1099};

/* All counts of rows give the first rows of the full result. */
static void product(struct vn_backend *b, int64_t n_out, int64_t n_in,
                    enum vn_epilogue e) {
    enum vn_dtype act = b->act, out = e == VN_EPI_RESIDUAL ? VN_F32 : act;
    size_t size = vn_dtype_size(out), bytes = (size_t)(ROWS * n_out) * size;
    void *w = random_values(act, n_out * n_in, 1 / sqrtf((float)n_in));
    void *bias = random_values(act, n_out, 1), *x = random_values(act, ROWS * n_in, 1);
    void *y = random_values(out, ROWS * n_out, 1), *full = malloc(bytes),
         *part = malloc(bytes);
    struct vn_matrix_spec spec = {.weight = {w},
                                  .bias = {bias},
                                  .type = act,
                                  .n_parts = 1,
                                  .n_out = n_out,
                                  .n_in = n_in,
                                  .epilogue = e};
    struct vn_matrix *m = NULL;
    CHECK_INT(b->ops.matrix_new(b, &spec, &m, &err), VN_OK);
    void *dx = device_memory(b, (size_t)(ROWS * n_in) * vn_dtype_size(act));
    void *dy = device_memory(b, bytes);
    to_device(b, dx, x, (size_t)(ROWS * n_in) * vn_dtype_size(act));
    for (int i = -1; i < (int)(sizeof counts / sizeof *counts); i++) {
        int64_t n = i < 0 ? ROWS : counts[i];
        struct vn_linear_args a = {.x = dx, .w = m, .y = dy, .n_tok = n, .epilogue = e};
        to_device(b, dy, y, bytes);
        CHECK_INT(b->ops.linear(b, &a, &err), VN_OK);
        from_device(b, i < 0 ? full : part, dy, (size_t)(n * n_out) * size);
        if (i >= 0 && memcmp(full, part, (size_t)(n * n_out) * size)) {
            check_fail(__FILE__, __LINE__, "rows depend on their number");
            printf("# %lld x %lld, type %d, epilogue %d, %lld rows\n", (long long)n_out,
                   (long long)n_in, (int)act, (int)e, (long long)n);
        }
    }
    b->ops.matrix_free(b, m);
    b->ops.release(b, dx);
    b->ops.release(b, dy);
    free(w), free(bias), free(x), free(y), free(full), free(part);
}

/* The same memory with another number of rows: what a kernel knows of them is not the last
 * call's. An own product, on Hopper. */
static void more_rows_than_before(void) {
    enum { SIDE = 256, FEW = 10, MANY = 200 };
    struct vn_backend *b = open_cuda(VN_F16);
    if (!b)
        return;
    const size_t bytes = MANY * SIDE * 2;
    void *w = random_values(VN_F16, SIDE * SIDE, 0.1f);
    void *x = random_values(VN_F16, MANY * SIDE, 1);
    void *dx = device_memory(b, bytes), *dy = device_memory(b, bytes);
    char *want = malloc(bytes), *is = malloc(bytes);
    to_device(b, dx, x, bytes);
    for (int before = 0; before < 2; before++) {
        struct vn_matrix_spec spec = {.weight = {w}, .type = VN_F16, .n_parts = 1,
                                      .n_out = SIDE, .n_in = SIDE, .epilogue = VN_EPI_BIAS};
        struct vn_matrix *m = NULL;
        CHECK_INT(b->ops.matrix_new(b, &spec, &m, &err), VN_OK);
        struct vn_linear_args a = {.x = dx, .w = m, .y = dy, .n_tok = FEW};
        if (before)
            CHECK_INT(b->ops.linear(b, &a, &err), VN_OK);
        a.n_tok = MANY;
        CHECK_INT(b->ops.linear(b, &a, &err), VN_OK);
        from_device(b, before ? is : want, dy, bytes);
        to_device(b, dy, x, bytes); /* neither's result */
        b->ops.matrix_free(b, m);
    }
    CHECK(!memcmp(is, want, bytes));
    free(w), free(x), free(want), free(is);
    b->ops.release(b, dx);
    b->ops.release(b, dy);
    b->ops.close(b);
}

static void products_at_the_models_shapes(void) {
    static const int64_t widths[] = {32, 320, 480, 640, 1280, 2560};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct vn_backend *b = open_cuda(types[t]);
        if (!b)
            return;
        for (size_t i = 0; i < (only_small ? 1 : sizeof widths / sizeof *widths); i++) {
            int64_t d = widths[i];
            product(b, 3 * d, d, VN_EPI_BIAS);
            product(b, d, d, VN_EPI_RESIDUAL);
            product(b, 4 * d, d, VN_EPI_GELU);
            product(b, d, 4 * d, VN_EPI_RESIDUAL);
        }
        b->ops.close(b);
    }
}

/* A batch, attention over it; out on the host. */
/* A matrix of zeros of a shape of its own; what loading has taken then. */
static struct vn_loading try_shape(struct vn_backend *b, int64_t n_out) {
    static const float zeros[48 * 8 * (VN_MAX_PLANS + 2)];
    struct vn_matrix_spec s = {.weight = {zeros}, .bias = {zeros}, .type = VN_F32,
                               .n_parts = 1, .n_out = n_out, .n_in = 48,
                               .epilogue = VN_EPI_RESIDUAL};
    struct vn_matrix *m = NULL;
    CHECK_INT(b->ops.matrix_new(b, &s, &m, &err), VN_OK);
    b->ops.matrix_free(b, m);
    return *b->loading;
}

static void plans_of_more_shapes_than_are_kept(void) {
    struct vn_backend *b = open_cuda(VN_F32);
    if (!b)
        return;
    for (int i = 0; i < VN_MAX_PLANS + 2; i++)
        CHECK_INT(try_shape(b, 8 * (i + 1)).plans_tried, i + 1);
    CHECK_INT(try_shape(b, 8 * (VN_MAX_PLANS + 2)).plans_known, 1);
    CHECK_INT(try_shape(b, 8 * 3).plans_known, 2);
    CHECK_INT(try_shape(b, 8).plans_known, 2); /* the oldest made room */
    b->ops.close(b);
}

static void attention(struct vn_backend *b, const int32_t *cu, int n_seq, int heads,
                      int d_head, const void *qkv, const float *rope, int rope_len,
                      void *out) {
    size_t size = vn_dtype_size(b->act), row = (size_t)(heads * d_head) * size;
    size_t n = (size_t)cu[n_seq], angles = (size_t)(rope_len * d_head / 2) * 4;
    void *dcu = device_memory(b, (size_t)(n_seq + 1) * 4),
         *dq = device_memory(b, 3 * n * row);
    void *dout = device_memory(b, n * row), *dr = device_memory(b, 2 * angles);
    struct vn_seqs s = {.n_seq = n_seq, .n_tok = (int64_t)n, .host = cu, .device = dcu};
    for (int i = 0; i < n_seq; i++)
        if (cu[i + 1] - cu[i] > s.max_len)
            s.max_len = cu[i + 1] - cu[i];
    struct vn_attn_args a = {.qkv = dq,
                             .out = dout,
                             .rope_cos = dr,
                             .n_heads = heads,
                             .rope_sin = (float *)dr + rope_len * d_head / 2,
                             .d_head = d_head};
    to_device(b, dcu, cu, (size_t)(n_seq + 1) * 4);
    to_device(b, dq, qkv, 3 * n * row);
    to_device(b, dr, rope, 2 * angles);
    CHECK_INT(b->ops.attn(b, &s, &a, &err), VN_OK);
    from_device(b, out, dout, n * row);
    b->ops.release(b, dcu);
    b->ops.release(b, dq);
    b->ops.release(b, dout);
    b->ops.release(b, dr);
}

/* A sequence alone and among others, the longest of which decides the configuration. */
static void neighbours(struct vn_backend *b, int heads, int d_head) {
    static const int32_t cu[] = {0, 0, 1, 17, 69, 132, 133, 384, 390};
    enum { N = sizeof cu / sizeof *cu - 1 };
    size_t size = vn_dtype_size(b->act), row = (size_t)(heads * d_head) * size;
    char *qkv = random_values(b->act, (int64_t)cu[N] * 3 * heads * d_head, 1);
    float *rope = random_values(VN_F32, 300 * d_head, 1);
    char *all = malloc((size_t)cu[N] * row), *one = malloc((size_t)cu[N] * row);
    attention(b, cu, N, heads, d_head, qkv, rope, 300, all);
    for (int i = 0; i < N; i++) {
        int32_t alone[] = {0, cu[i + 1] - cu[i]};
        if (!alone[1])
            continue;
        attention(b, alone, 1, heads, d_head, qkv + (size_t)cu[i] * 3 * row, rope, 300,
                  one);
        if (memcmp(all + (size_t)cu[i] * row, one, (size_t)alone[1] * row)) {
            check_fail(__FILE__, __LINE__, "attention depends on neighbours");
            printf("# type %d, heads of %d, %d tokens\n", (int)b->act, d_head, alone[1]);
        }
    }
    free(qkv), free(rope), free(all), free(one);
}

static void attention_of_one_and_of_many(void) {
    static const int heads[] = {16, 24, 32, 64, 128};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct vn_backend *b = open_cuda(types[t]);
        if (!b)
            return;
        for (int i = 0; i < 5; i++)
            neighbours(b, 5, heads[i]);
        b->ops.close(b);
    }
}

/* The same memory with rows of another width: likewise, for attention of long records. */
static void other_heads_than_before(void) {
    enum { TOKENS = 256, HEADS = 3, K = 64, WIDTH = HEADS * K };
    const int32_t cu[2] = {0, TOKENS};
    const size_t bytes = (size_t)TOKENS * WIDTH * 2;
    void *qkv = random_values(VN_F16, TOKENS * 3 * WIDTH, 1);
    char *want = malloc(bytes), *is = malloc(bytes);
    for (int before = 0; before < 2; before++) {
        struct vn_backend *b = open_cuda(VN_F16); /* one that knows of nothing before */
        if (!b)
            break;
        void *dqkv = device_memory(b, 3 * bytes), *out = device_memory(b, bytes);
        void *dcu = device_memory(b, sizeof cu);
        const struct vn_seqs s = {1, TOKENS, TOKENS, cu, dcu};
        struct vn_attn_args a = {.qkv = dqkv, .out = out, .n_heads = HEADS - 1, .d_head = K};
        to_device(b, dqkv, qkv, 3 * bytes);
        to_device(b, dcu, cu, sizeof cu);
        to_device(b, out, qkv, bytes); /* no result */
        if (before)
            CHECK_INT(b->ops.attn(b, &s, &a, &err), VN_OK);
        a.n_heads = HEADS;
        CHECK_INT(b->ops.attn(b, &s, &a, &err), VN_OK);
        from_device(b, before ? is : want, out, bytes);
        b->ops.release(b, dqkv);
        b->ops.release(b, out);
        b->ops.release(b, dcu);
        b->ops.close(b);
        if (before)
            CHECK(!memcmp(is, want, bytes));
    }
    free(qkv), free(want), free(is);
}

int main(int argc, char **argv) {
    only_small = argc > 1 && !strcmp(argv[1], "small");
    TEST(tiles_cover_every_width);
    TEST(a_device_that_is_not_there);
    TEST(auto_is_the_gpu_or_the_cpu);
    TEST(results_survive_what_comes_next);
    TEST(what_is_expected_has_room);
    TEST(a_slot_may_be_marked_again);
    TEST(a_copy_beside_the_queue_is_timed);
    TEST(too_much_memory_is_refused);
    TEST(products_at_the_models_shapes);
    TEST(more_rows_than_before);
    TEST(plans_of_more_shapes_than_are_kept);
    TEST(attention_of_one_and_of_many);
    TEST(other_heads_than_before);
    return check_done();
}
