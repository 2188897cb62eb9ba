#include "plans.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cache.h"
#include "crc.h"

#define LINE 256 /* bytes of a plan's line, and more than enough */
#define HEAD "vn plans 1\n"
#define MAX_KEY 512
#define CAP (sizeof HEAD + MAX_KEY + VN_MAX_PLANS * LINE)

/* Keys have characters that file names do not like; two of the same name take turns. */
static void entry_name(const char *key, char out[32]) {
    snprintf(out, 32, "plans-%08x", (unsigned)vn_crc32c(0, key, strlen(key)));
}

static bool usable(const char *key) {
    return strlen(key) < MAX_KEY && !strchr(key, '\n');
}

/* One line without its end; the whole of it must be a plan. */
static bool parse(const char *line, size_t n, struct vn_plan *p) {
    char text[LINE];
    int end = -1;
    uint64_t *a = p->algorithm;
    if (n >= sizeof text)
        return false;
    memcpy(text, line, n);
    text[n] = 0;
    int got = sscanf(text,
                     "%" SCNd64 " %" SCNd64 " %d %d %" SCNx64 " %" SCNx64 " %" SCNx64
                     " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 "%n",
                     &p->n_out, &p->n_in, &p->type, &p->variant, &a[0], &a[1], &a[2],
                     &a[3], &a[4], &a[5], &a[6], &a[7], &end);
    return got == 12 && end == (int)n;
}

int vn_plans_read(const char *key, struct vn_plan plans[VN_MAX_PLANS]) {
    char name[32], text[CAP], head[sizeof HEAD + MAX_KEY + 1];
    int n = 0;
    if (!usable(key))
        return 0;
    entry_name(key, name);
    int at = snprintf(head, sizeof head, HEAD "%s\n", key);
    int64_t bytes = vn_cache_read(name, text, sizeof text);
    if (bytes < at || memcmp(text, head, (size_t)at))
        return 0;
    for (char *p = text + at, *end; *p; p = end + 1, n++) {
        end = strchr(p, '\n');
        if (!end || n == VN_MAX_PLANS || !parse(p, (size_t)(end - p), &plans[n]))
            return 0;
    }
    return n;
}

void vn_plans_write(const char *key, const struct vn_plan *plans, int n) {
    char name[32], text[CAP];
    if (!usable(key) || n > VN_MAX_PLANS)
        return;
    entry_name(key, name);
    int at = snprintf(text, sizeof text, HEAD "%s\n", key);
    for (int i = 0; i < n; i++) {
        const struct vn_plan *p = &plans[i];
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "%" PRId64 " %" PRId64 " %d %d", p->n_out, p->n_in, p->type,
                       p->variant);
        for (int k = 0; k < 8; k++)
            at += snprintf(text + at, sizeof text - (size_t)at, " %" PRIx64,
                           p->algorithm[k]);
        at += snprintf(text + at, sizeof text - (size_t)at, "\n");
    }
    vn_cache_write(name, text, (size_t)at);
}
