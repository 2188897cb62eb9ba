/* The safetensors reader against sound and hostile files. */
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "num.h"
#include "safetensors.h"

static void write_file(const char *path, uint64_t length, const char *header,
                       size_t n_header, size_t n_data) {
    FILE *f = fopen(path, "wb");
    fwrite(&length, 8, 1, f);
    fwrite(header, 1, n_header, f);
    for (size_t i = 0; i < n_data; i++)
        fputc((int)i, f);
    fclose(f);
}

/* Opens a file of this header and n_data bytes; the message of the refusal, "" if none.
 */
static const char *refusal(const char *header, size_t n_data) {
    static struct vn_error err;
    struct vn_tensors *t;
    write_file("x.safetensors", strlen(header), header, strlen(header), n_data);
    err.msg[0] = 0;
    int rc = vn_tensors_open_file("x.safetensors", &t, &err);
    CHECK(rc == VN_OK || (rc == VN_EDATA && !t));
    vn_tensors_close(t);
    return rc == VN_OK ? "" : err.msg;
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"

static void sound(void) {
    struct vn_error err;
    struct vn_tensors *t;
    const char *h =
        "{\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[24,32]}," A
        ",\"e\":{\"dtype\":\"BF16\",\"shape\":[4,0],\"data_offsets\":[32,32]},"
        "\"f8\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[32,35]},"
        "\"__metadata__\":{\"format\":\"pt\"}}   ";
    CHECK_STR(refusal(h, 35), "");
    CHECK_INT(vn_tensors_open_file("x.safetensors", &t, &err), VN_OK);
    CHECK_INT(vn_tensors_count(t), 4);
    CHECK_STR(vn_tensors_at(t, 0)->name, "a"); /* order of the file */
    const struct vn_tensor *a = vn_tensors_find(t, "a"), *b = vn_tensors_find(t, "b");
    CHECK(a && a->type == VN_F32 && a->n_dims == 2 && a->shape[0] == 2 &&
          a->shape[1] == 3);
    CHECK(a && a->bytes == 24 && vn_load32(a->data) == 0x03020100);
    CHECK(b && b->type == VN_I64 && b->n_dims == 0 && b->bytes == 8);
    CHECK(vn_tensors_find(t, "e")->bytes == 0);
    CHECK(vn_tensors_find(t, "f8")->type == VN_OTHER);
    CHECK(!vn_tensors_find(t, "c"));
    vn_tensors_close(t);
    CHECK_STR(refusal("{}", 0), "");
}

static void hostile(void) {
    static const struct {
        const char *header;
        size_t n_data;
        const char *message;
    } cases[] = {
        {"{" A "}", 23, "data_offsets are [0, 24], the file has 23"},
        {"{" A "}", 25, "the file has 25"},
        {"{}", 1, "the file has 1"},
        {"[" A "]", 24, "no '{'"},
        {" {" A "}", 24, "no '{'"},
        {"{" A "", 24, "not valid JSON"},
        {"{" A "}x", 24, "not valid JSON"},
        {"{" A "," A "}", 24, "duplicate"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,"
         "24]}}",
         24, "duplicate"},
        {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[20,28]}}", 28,
         "inside another"},
        {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", 24,
         "inside another"},
        {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[26,28]}}", 28,
         "after a hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3,
         "after a hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,0]}}", 2,
         "are [2, 0]"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[-2,0]}}", 2,
         "are [-2, 0]"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]"
         "}}",
         2, "the file has 2"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,9223372036854775808]"
         "}}",
         2, "not valid JSON"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0]}}", 2,
         "two integers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1,2]}}", 2,
         "two integers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2.0]}}", 2,
         "two integers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":2}}", 2,
         "expected an array"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-2],\"data_offsets\":[0,2]}}", 2,
         "dimension 0 is not"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2.0],\"data_offsets\":[0,2]}}", 2,
         "dimension 0 is not"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[NaN],\"data_offsets\":[0,2]}}", 2,
         "not valid JSON"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,"
         "0]}}",
         0, "too large"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952,1],\"data_offsets\":["
         "0,0]}}",
         0, "shape and type"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}"
         "}",
         1, "9 dimensions"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2,
         "has 2 bytes"},
        {"{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2,
         "has 2 bytes"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         "unknown type"},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         "expected a string"},
        {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "has 2 members"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offset\":[0,1]}}", 1, "missing"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1,
         "has 4 members"},
        {"{\"a\":[]}", 0, "not described by an object"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "is not a string"},
        {"{\"a\\u0000\":{}}", 0, "not valid JSON"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *found = refusal(cases[i].header, cases[i].n_data);
        if (!strstr(found, cases[i].message))
            printf("# case %zu '%s': '%s'\n", i, cases[i].header, found);
        CHECK(strstr(found, cases[i].message));
        CHECK(strstr(found, "x.safetensors"));
    }
}

static void depth(void) {
    static char h[20000];
    strcpy(h, "{\"a\":");
    for (size_t n = strlen(h); n < sizeof h - 1; n++)
        h[n] = '[';
    CHECK(strstr(refusal(h, 0), "not valid JSON"));
}

static void lengths(void) {
    static const struct {
        uint64_t length;
        const char *message;
    } cases[] = {{0, "no '{'"},
                 {100000001, "at most 100000000"},
                 {UINT64_MAX, "at most 100000000"},
                 {(uint64_t)1 << 63, "at most 100000000"},
                 {UINT64_MAX - 7, "at most 100000000"},
                 {3, "ends inside its header"},
                 {100000000, "ends inside its header"}};
    struct vn_error err;
    struct vn_tensors *t;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file("x.safetensors", cases[i].length, "{}", 2, 0);
        CHECK_INT(vn_tensors_open_file("x.safetensors", &t, &err), VN_EDATA);
        CHECK(strstr(err.msg, cases[i].message));
    }
}

/* No prefix of a sound file is a sound file. */
static void prefixes(void) {
    struct vn_error err;
    struct vn_tensors *t;
    const char *h = "{" A "}  ";
    write_file("x.safetensors", strlen(h), h, strlen(h), 24);
    CHECK_INT(vn_tensors_open_file("x.safetensors", &t, &err), VN_OK);
    vn_tensors_close(t);
    for (off_t n = (off_t)(8 + strlen(h) + 24) - 1; n >= 0; n--) {
        CHECK(truncate("x.safetensors", n) == 0);
        CHECK_INT(vn_tensors_open_file("x.safetensors", &t, &err), VN_EDATA);
    }
}

static void not_files(void) {
    struct vn_error err;
    struct vn_tensors *t;
    CHECK_INT(vn_tensors_open_file("nothing", &t, &err), VN_ENOINPUT);
    CHECK_INT(vn_tensors_open_file(".", &t, &err), VN_ENOINPUT);
    CHECK_INT(vn_tensors_open_file("/dev/zero", &t, &err), VN_ENOINPUT);
    CHECK_INT(vn_tensors_open_dir(".", &t, &err), VN_ENOINPUT);
    CHECK(strstr(err.msg, "model.safetensors.index.json"));
}

static struct vn_tensor tensor(const char *name, enum vn_dtype type, int64_t n,
                               const void *data) {
    struct vn_tensor t = {
        .name = name, .type = type, .n_dims = 1, .shape = {n}, .data = data};
    t.bytes = (size_t)n * vn_dtype_size(type);
    return t;
}

static void round_trip(void) {
    static const float f[] = {1.5f, -2, 0.1f};
    static const uint16_t half[] = {0x3c00, 0x7c00}, bf[] = {0x3fc0};
    static const double d[] = {0.25};
    struct vn_tensor in[] = {tensor("odd \"name\" \xc3\xa9", VN_F32, 3, f),
                             tensor("h", VN_F16, 2, half), tensor("bf", VN_BF16, 1, bf),
                             tensor("d", VN_F64, 1, d), tensor("none", VN_U8, 0, NULL)};
    struct vn_error err;
    struct vn_tensors *t;
    struct stat st;
    CHECK_INT(vn_safetensors_write("w.safetensors", in, 5, &err), VN_OK);
    CHECK_INT(vn_tensors_open_file("w.safetensors", &t, &err), VN_OK);
    CHECK_INT(vn_tensors_count(t), 5);
    const struct vn_tensor *x = vn_tensors_find(t, in[0].name);
    CHECK(x && vn_tensor_at(x, 2) == 0.1f && (uintptr_t)x->data % 8 == 0);
    CHECK(vn_tensor_at(vn_tensors_find(t, "h"), 0) == 1);
    CHECK(vn_tensor_at(vn_tensors_find(t, "bf"), 0) == 1.5f);
    CHECK(vn_tensor_at(vn_tensors_find(t, "d"), 0) == 0.25f);
    vn_tensors_close(t);
    /* what cannot be stored is refused and leaves the old file */
    in[1].type = VN_OTHER;
    CHECK_INT(vn_safetensors_write("w.safetensors", in, 5, &err), VN_EDATA);
    in[1].type = VN_F16;
    in[1].name = "\xff";
    CHECK_INT(vn_safetensors_write("w.safetensors", in, 5, &err), VN_EDATA);
    CHECK(stat("w.safetensors", &st) == 0 && st.st_size > 100);
    CHECK_INT(vn_safetensors_write("no/where", in, 1, &err), VN_EWRITE);
}

/* The writer holds its callers to what they announced. */
static void announced(void) {
    static const float f[3];
    struct vn_tensor t = tensor("a", VN_F32, 3, f);
    struct vn_safetensors_writer *w;
    struct vn_error err;
    CHECK_INT(vn_safetensors_create("v", &t, 1, &w, &err), VN_OK);
    CHECK_INT(vn_safetensors_put(w, f, 8, &err), VN_OK);
    CHECK_INT(vn_safetensors_put(w, f, 8, &err), VN_EINTERNAL);
    CHECK_INT(vn_safetensors_close(w, &err), VN_EINTERNAL);
    CHECK(access("v", F_OK) != 0);
}

static void shards(void) {
    static const float f[] = {1, 2};
    struct vn_tensor a = tensor("a", VN_F32, 2, f), b = tensor("b", VN_F32, 1, f + 1);
    struct vn_tensors *t = NULL;
    struct vn_error err;
    char sum[65];
    static const struct {
        const char *index, *message;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"1.st\",\"b\":\"2.st\"}}", NULL},
        {"{\"weight_map\":{\"a\":\"1.st\",\"b\":\"1.st\"}}",
         "tensor 'b' is not in '1.st'"},
        {"{\"weight_map\":{\"a\":\"2.st\",\"b\":\"1.st\"}}", "is not in"},
        {"{\"weight_map\":{\"a\":\"1.st\",\"c\":\"2.st\"}}",
         "tensor 'c' is not in '2.st'"},
        {"{\"weight_map\":{\"a\":\"1.st\",\"b\":\"3.st\"}}",
         "tensor 'a' is in two shards"},
        {"{\"weight_map\":{\"a\":\"../1.st\"}}", "not in a file of the directory"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "not in a file of the directory"},
        {"{\"weight_map\":{\"a\":7}}", "not in a file of the directory"},
        {"{\"weight_map\":{\"a\":\"9.st\"}}", "9.st"},
        {"{\"weight_map\":{}}", "names no tensor"},
        {"{\"weight_map\":[]}", "expected an object"},
        {"{}", "missing, expected an object"},
        {"[]", "not a JSON object"}};
    mkdir("s", 0777);
    CHECK_INT(vn_safetensors_write("s/1.st", &a, 1, &err), VN_OK);
    CHECK_INT(vn_safetensors_write("s/2.st", &b, 1, &err), VN_OK);
    CHECK_INT(vn_safetensors_write("s/3.st", (struct vn_tensor[]){a, b}, 2, &err), VN_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *x = fopen("s/model.safetensors.index.json", "w");
        fputs(cases[i].index, x);
        fclose(x);
        int rc = vn_tensors_open_dir("s", &t, &err);
        if (cases[i].message) {
            CHECK(rc == VN_EDATA || (rc == VN_ENOINPUT && strstr(err.msg, "9.st")));
            if (!strstr(err.msg, cases[i].message))
                printf("# case %zu: %s\n", i, err.msg);
            CHECK(strstr(err.msg, cases[i].message));
            continue;
        }
        CHECK_INT(rc, VN_OK);
        CHECK_INT(vn_tensors_count(t), 2);
        CHECK(vn_tensor_at(vn_tensors_find(t, "b"), 0) == 2);
        CHECK_INT(vn_tensors_sha256(t, sum, &err), VN_OK);
        FILE *p = popen("cd s && sha256sum 1.st 2.st | sha256sum", "r");
        char line[80] = "";
        CHECK(p && fgets(line, sizeof line, p));
        pclose(p);
        line[64] = 0;
        CHECK_STR(sum, line);
        CHECK_INT(vn_tensors_sha256(t, sum, &err), VN_OK); /* kept */
        CHECK_STR(sum, line);
        vn_tensors_close(t);
    }
}

int main(void) {
    TEST(sound);
    TEST(hostile);
    TEST(depth);
    TEST(lengths);
    TEST(prefixes);
    TEST(not_files);
    TEST(round_trip);
    TEST(announced);
    TEST(shards);
    return check_done();
}
