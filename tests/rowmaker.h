/* rowmaker.h - for programs that make a stream row by row: mkrecords, mkscores, mkvectors.
 *
 * One file includes it: arguments KEY=VALUE, a schema, a builder for each of its columns. The
 * argument batch=64 says how many rows a batch has. */
#ifndef VN_ROWMAKER_H
#define VN_ROWMAKER_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

#define MAX_COLUMNS 24

static int n_args;
static char **args;

/* The value of the argument KEY=VALUE. */
static const char *text(const char *key, const char *otherwise) {
    size_t n = strlen(key);
    for (int i = 1; i < n_args; i++)
        if (!strncmp(args[i], key, n) && args[i][n] == '=')
            return args[i] + n + 1;
    return otherwise;
}

static int64_t integer(const char *key, int64_t otherwise) {
    const char *s = text(key, NULL);
    return s ? strtoll(s, NULL, 10) : otherwise;
}

static struct vn_error err;
static void must(int rc) {
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, err.msg);
        exit(-rc);
    }
}

static struct vn_schema schema;
static struct vn_builder builders[MAX_COLUMNS]; /* [schema.n_fields] */
static struct vn_writer *writer;
static int64_t rows, batch; /* that wait in the builders; that make a batch */

/* The schema is complete: writes it to standard output. */
static void begin(void) {
    struct vn_sink *sink;
    batch = integer("batch", 64);
    for (int i = 0; i < schema.n_fields; i++)
        vn_builder_init(&builders[i], &schema.fields[i]);
    must(vn_sink_open(NULL, &sink, &err));
    must(vn_writer_open(sink, &schema, &writer, &err));
}

static void send(void) {
    struct vn_batch b;
    vn_batch_init(&b);
    must(vn_batch_set_columns(&b, schema.n_fields, &err));
    for (int i = 0; i < schema.n_fields; i++)
        vn_builder_view(&builders[i], &b.columns[i]);
    b.n_rows = rows;
    must(vn_writer_put(writer, &b, &err));
    for (int i = 0; i < schema.n_fields; i++)
        vn_builder_clear(&builders[i]);
    vn_batch_release(&b);
    rows = 0;
}

/* All builders have one row more. */
static void row_done(void) {
    if (++rows == batch)
        send();
}

static void end(void) {
    if (rows)
        send();
    must(vn_writer_close(writer, &err));
    for (int i = 0; i < schema.n_fields; i++)
        vn_builder_release(&builders[i]);
    vn_schema_release(&schema);
}

#endif
