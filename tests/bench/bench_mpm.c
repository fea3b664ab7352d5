/*
 * Speed of the prefilter: bench_mpm RULES DATA. The longest content of each rule of RULES (any file in Suricata's
 * language) is taken as its pattern; DATA (a capture file will do) is scanned in buffers of several sizes by sets of
 * several sizes. Prints compile time, memory, ns a call, and GB/s.
 *
 * Build by hand: cc -O2 with the match and base modules and libhs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "match/mpm.h"

#define MAX_PATTERNS 40000
#define MAX_DATA     (64u << 20)

static struct mpm_pattern pats[MAX_PATTERNS];
static uint32_t npats;

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint8_t *slurp(const char *path, size_t max, size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = malloc(max + 1);
    if (!f || !p) {
        perror(path);
        exit(1);
    }
    *len = fread(p, 1, max, f);
    p[*len] = '\0';
    fclose(f);
    return p;
}

/* s stands behind the opening quote; returns the bytes written to out. */
static uint16_t decode_content(const char *s, uint8_t *out, uint16_t cap)
{
    uint16_t n = 0;
    while (*s && *s != '"' && n < cap) {
        if (*s == '|') {
            s++;
            unsigned v;
            int used;
            while (*s && *s != '|' && n < cap && sscanf(s, " %2x%n", &v, &used) == 1) {
                out[n++] = (uint8_t)v;
                s += used;
            }
            s += *s == '|';
            continue;
        }
        if (*s == '\\' && s[1])
            s++;
        out[n++] = (uint8_t)*s++;
    }
    return n;
}

static void take_rule(char *line)
{
    uint8_t best[256], one[256];
    uint16_t nbest = 0;
    bool nocase = false;
    for (char *c = line; (c = strstr(c, "content:\"")); c += 9) {
        uint16_t n = decode_content(c + 9, one, sizeof one);
        if (n <= nbest)
            continue;
        nbest = n;
        memcpy(best, one, n);
        const char *end = strstr(c, "\";");
        nocase = end && strncmp(end, "\"; nocase;", 10) == 0;
    }
    if (nbest == 0 || npats == MAX_PATTERNS)
        return;
    uint16_t len = nbest > MPM_MAX_LEN ? MPM_MAX_LEN : nbest;
    uint8_t *p = malloc(len);
    if (!p)
        exit(1);
    memcpy(p, best, len);
    pats[npats] = (struct mpm_pattern){.p = p, .len = len, .nocase = nocase, .id = npats};
    npats++;
}

static void take_rules(char *text)
{
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "alert", 5) == 0)
            take_rule(line);
    }
}

static void measure(const struct mpm_db *db, struct mpm_scratch *s, const uint8_t *data, size_t len, uint32_t chunk)
{
    static uint64_t hits[MAX_PATTERNS / 64 + 1];
    static uint32_t list[MAX_PATTERNS];
    /* Short buffers: fewer of them, so that each size takes about as long. */
    size_t calls = len / chunk, most = 400000, found = 0;
    if (calls > most)
        calls = most;
    double t = now();
    for (size_t i = 0; i < calls; i++) {
        uint32_t n = mpm_scan(db, s, sk_span_of(data + i * chunk, chunk), 0, hits, list, 0, MAX_PATTERNS);
        for (uint32_t k = 0; k < n; k++)
            hits[list[k] / 64] = 0;
        found += n;
    }
    t = now() - t;
    printf("  %6u bytes: %9.1f ns a call, %6.2f GB/s, %.3f hits a call\n", chunk, t * 1e9 / (double)calls,
           (double)calls * chunk / t / 1e9, (double)found / (double)calls);
}

static void bench(uint32_t n, const uint8_t *data, size_t len)
{
    struct mpm_builder *b;
    struct mpm_scratch *s;
    struct mpm_db *db;
    char err[256];
    /* Spread over the file, so that a set is mixed. */
    struct mpm_pattern *set = malloc(n * sizeof *set);
    if (!set || mpm_builder_create(&b) || mpm_scratch_create(&s))
        exit(1);
    for (uint32_t i = 0; i < n; i++)
        set[i] = pats[(uint64_t)i * npats / n];
    double t = now();
    if (mpm_build(b, set, n, &db, err) || mpm_scratch_fit(s, db)) {
        fprintf(stderr, "%s\n", err);
        exit(1);
    }
    printf("%u patterns: compiled in %.3f s, %.1f KiB\n", n, now() - t, (double)mpm_db_memory(db) / 1024);
    static const uint32_t chunks[] = {16, 64, 256, 1460, 16384};
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++)
        measure(db, s, data, len, chunks[i]);
    mpm_db_release(db);
    mpm_builder_free(b);
    mpm_scratch_free(s);
    free(set);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_mpm RULES DATA\n");
        return 2;
    }
    size_t nrules, ndata;
    char *rules = (char *)slurp(argv[1], 64u << 20, &nrules);
    uint8_t *data = slurp(argv[2], MAX_DATA, &ndata);
    take_rules(rules);
    printf("%u patterns, %zu bytes\n", npats, ndata);
    static const uint32_t sizes[] = {1, 2, 4, 5, 8, 50, 3000, 10000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i] <= npats)
            bench(sizes[i], data, ndata);
    }
    free(rules);
    free(data);
    return 0;
}
