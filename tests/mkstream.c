/* mkstream KIND|all BATCHES ROWS SEED [FILE] - writes a seeded stream (gen.h) for tests of
 * other readers. "all" has one column of every type. */
#include "gen.h"

int main(int argc, char **argv) {
    struct vn_sink *sink;
    struct vn_error err;
    if (argc < 5 || argc > 6) {
        fprintf(stderr, "usage: mkstream KIND|all BATCHES ROWS SEED [FILE]\n");
        return 2;
    }
    gen_state = strtoull(argv[4], NULL, 10) | 1;
    int rc = vn_sink_open(argc == 6 ? argv[5] : NULL, &sink, &err);
    if (rc != VN_OK) {
        fprintf(stderr, "mkstream: %s\n", err.msg);
        return -rc;
    }
    gen_stream(sink, vn_kind_of(argv[1]), atoi(argv[2]), atoll(argv[3]));
    return 0;
}
