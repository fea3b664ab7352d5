/* Rules built by hand, a buffer, and whether they match: what the tables of the inspect tests are made of. */
#ifndef TESTS_INSPECT_CASE_H
#define TESTS_INSPECT_CASE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "match/inspect.h"

#define NV RULE_VAR_NONE
/* A content whose offset, depth, distance, within are variables (or NV). */
#define CONTENT_VAR(s, ov, dv, iv, wv, ...)                                                                            \
    {                                                                                                                  \
        .type = RM_CONTENT, .content = {                                                                               \
            .p = (const uint8_t *)(s),                                                                                 \
            .len = sizeof(s) - 1,                                                                                      \
            .offset_var = (ov),                                                                                        \
            .depth_var = (dv),                                                                                         \
            .distance_var = (iv),                                                                                      \
            .within_var = (wv),                                                                                        \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define CONTENT(s, ...)      CONTENT_VAR(s, NV, NV, NV, NV, __VA_ARGS__)
#define PLAIN(s)             CONTENT(s, .flags = 0)
#define NOT(s)               CONTENT(s, .flags = RC_NEGATED)
#define DISTANCE(s, d)       CONTENT(s, .flags = RC_DISTANCE, .distance = (d))
#define WITHIN(s, w)         CONTENT(s, .flags = RC_WITHIN, .within = (w))
#define DIST_WITHIN(s, d, w) CONTENT(s, .flags = RC_DISTANCE | RC_WITHIN, .distance = (d), .within = (w))
#define OFFSET(s, o)         CONTENT(s, .flags = RC_OFFSET, .offset = (o))
#define DEPTH(s, d)          CONTENT(s, .flags = RC_DEPTH, .depth = (d))
#define OFF_DEPTH(s, o, d)   CONTENT(s, .flags = RC_OFFSET | RC_DEPTH, .offset = (o), .depth = (d))
#define STARTSWITH(s)        CONTENT(s, .flags = RC_STARTSWITH | RC_DEPTH, .depth = sizeof(s) - 1)
#define ENDSWITH(s)          CONTENT(s, .flags = RC_ENDSWITH)
#define PCRE(e, o, f)                                                                                                  \
    {                                                                                                                  \
        .type = RM_PCRE, .pcre = {.expr = (e), .options = (o), .flags = (f) }                                          \
    }
#define ISDATAAT(p, v, r, n)                                                                                           \
    {                                                                                                                  \
        .type = RM_ISDATAAT, .isdataat = {.pos = (p), .pos_var = (v), .relative = (r), .negated = (n) }                \
    }
#define BSIZE(o, x, y)                                                                                                 \
    {                                                                                                                  \
        .type = RM_BSIZE, .num = {.n = {.op = (o), .a = (x), .b = (y)} }                                               \
    }
#define URILEN(o, x, y)                                                                                                \
    {                                                                                                                  \
        .type = RM_URILEN, .num = {.n = {.op = (o), .a = (x), .b = (y)} }                                              \
    }
/* nbytes, base, relative, offset, then further fields */
#define BYTES(n, b, r, o, ...)                                                                                         \
    {                                                                                                                  \
        .nbytes = (n), .base = (b), .relative = (r), .offset = (o), .nbytes_var = NV, .offset_var = NV, __VA_ARGS__    \
    }

#define MATCHES(...)                                                                                                   \
    .m = (const struct rule_match[]){__VA_ARGS__},                                                                     \
    .n = sizeof((const struct rule_match[]){__VA_ARGS__}) / sizeof(struct rule_match)
#define BUF(s) .buf = (s), .len = sizeof(s) - 1

struct inspect_case {
    const char *name;
    const struct rule_match *m;
    uint16_t n;
    const char *buf;
    uint32_t len;
    bool want;
    const char *evidence; /* when given: what the last match covers */
    uint64_t offset;      /* of the window */
    bool open;            /* not complete */
    uint64_t vars[RULE_MAX_VARS];
};

static const struct inspect_conf case_conf = {
    .pcre_match_limit = 3500, .pcre_depth_limit = 1500, .pcre_heap_limit_kib = 20000};

static inline bool case_matches(const struct inspect_case *c, struct sk_counters *counters)
{
    struct rule_inspect in = {.n = c->n, .m = c->m};
    struct inspect_prog *p;
    struct inspect_scratch *s;
    uint64_t vars[RULE_MAX_VARS];
    memcpy(vars, c->vars, sizeof vars);
    assert_int_equal(inspect_compile(&in, &case_conf, "case", &sk_diag_stderr, &p), SK_OK);
    assert_int_equal(inspect_scratch_create(&case_conf, counters, &s), SK_OK);
    /* Exactly as big as the buffer, so that ASan sees a read past it. */
    uint8_t *buf = malloc(c->len ? c->len : 1);
    assert_non_null(buf);
    memcpy(buf, c->buf, c->len);
    struct inspect_input input = {
        .buf = sk_span_of(buf, c->len), .offset = c->offset, .at_start = c->offset == 0, .complete = !c->open};
    bool got = inspect_run(p, s, &input, vars);
    if (got && c->evidence) {
        struct sk_span ev = inspect_evidence(s), want = sk_span_str(c->evidence);
        if (!sk_span_eq(ev, want))
            fail_msg("%s: evidence is \"%.*s\", not \"%s\"", c->name, (int)ev.len, (const char *)ev.p, c->evidence);
    }
    free(buf);
    inspect_scratch_free(s);
    inspect_free(p);
    return got;
}

static inline void cases_run(const struct inspect_case *c, size_t n)
{
    static struct sk_counters counters;
    unsigned wrong = 0;
    for (size_t i = 0; i < n; i++) {
        if (case_matches(&c[i], &counters) == c[i].want)
            continue;
        print_error("%s: should %smatch\n", c[i].name, c[i].want ? "" : "not ");
        wrong++;
    }
    assert_int_equal(wrong, 0);
}
#define CASES_RUN(table) cases_run(table, sizeof(table) / sizeof(table[0]))

#endif
