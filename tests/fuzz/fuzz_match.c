/* A rule's matches made from the input, evaluated on the rest of it; and its contents as a prefilter. */
#include <stdlib.h>
#include <string.h>

#include "base/reader.h"
#include "match/inspect.h"
#include "match/mpm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MATCHES 8

static const char *const exprs[] = {"a.*b",  "^a",      "b$",    "(a|b)+c", "[^a]{1,3}",
                                    "\\x00", "(?<=a)b", "a\\Kb", "(a*)*c",  ""};

static int8_t var(struct sk_reader *r)
{
    return (int8_t)(rd_u8(r) % 18 < 10 ? RULE_VAR_NONE : rd_u8(r) % RULE_MAX_VARS);
}

static int32_t small(struct sk_reader *r)
{
    uint8_t v = rd_u8(r);
    return v == 255 ? (int32_t)rd_u32(r) : (int8_t)v;
}

static struct rule_content make_content(struct sk_reader *r)
{
    static const uint8_t fallback[] = "a";
    struct sk_span s = rd_span(r, 1 + rd_u8(r) % 5);
    struct rule_content c = {.p = s.len ? s.p : fallback, .len = (uint16_t)(s.len ? s.len : 1)};
    c.flags = rd_u8(r);
    c.offset = small(r);
    c.depth = small(r);
    c.distance = small(r);
    c.within = small(r);
    c.offset_var = var(r);
    c.depth_var = var(r);
    c.distance_var = var(r);
    c.within_var = var(r);
    return c;
}

static struct rule_byte_common make_bytes(struct sk_reader *r)
{
    struct rule_byte_common c = {.nbytes = rd_u8(r) % 9, .base = rd_u8(r) % 4, .relative = rd_u8(r) & 1};
    c.little = rd_u8(r) & 1;
    c.offset = small(r);
    c.nbytes_var = var(r);
    c.offset_var = var(r);
    c.bitmask = rd_u8(r);
    c.bitmask_shift = rd_u8(r) % 64;
    return c;
}

static void make_number(struct sk_reader *r, struct rule_match *m)
{
    struct rule_byte_common c = make_bytes(r);
    switch (m->type) {
    case RM_BYTE_TEST:
        m->byte_test = (struct rule_byte_test){.c = c, .op = rd_u8(r) % 7, .value = rd_u8(r), .value_var = var(r)};
        break;
    case RM_BYTE_JUMP:
        m->byte_jump = (struct rule_byte_jump){.c = c, .multiplier = small(r), .post_offset = small(r)};
        m->byte_jump.post_offset_var = var(r);
        m->byte_jump.from_beginning = rd_u8(r) & 1;
        m->byte_jump.from_end = rd_u8(r) & 1;
        m->byte_jump.align = rd_u8(r) & 1;
        break;
    case RM_BYTE_EXTRACT:
        m->byte_extract = (struct rule_byte_extract){.c = c, .var = (int8_t)(rd_u8(r) % RULE_MAX_VARS), .align = 4};
        m->byte_extract.multiplier = rd_u32(r);
        break;
    default:
        m->byte_math = (struct rule_byte_math){.c = c, .op = rd_u8(r) % 6, .rvalue = rd_u8(r), .rvalue_var = var(r)};
        m->byte_math.result_var = (int8_t)(rd_u8(r) % RULE_MAX_VARS);
    }
}

static struct rule_match make_match(struct sk_reader *r)
{
    struct rule_match m = {.type = RM_CONTENT + rd_u8(r) % 9};
    switch (m.type) {
    case RM_CONTENT: m.content = make_content(r); break;
    case RM_PCRE:
        m.pcre = (struct rule_pcre){.expr = exprs[rd_u8(r) % (sizeof exprs / sizeof exprs[0])], .flags = rd_u8(r) & 3};
        break;
    case RM_ISDATAAT:
        m.isdataat = (struct rule_isdataat){.pos = small(r), .pos_var = var(r), .relative = rd_u8(r) & 1};
        m.isdataat.negated = rd_u8(r) & 1;
        break;
    case RM_BSIZE:
    case RM_URILEN:
        m.num.n = (struct rule_num){.op = rd_u8(r) % 8, .a = rd_u8(r), .b = rd_u8(r)};
        m.num.negated = rd_u8(r) & 1;
        break;
    default: make_number(r, &m);
    }
    return m;
}

/* The contents as a prefilter: a single positive content without bounds matches exactly when the prefilter hits. */
static void prefilter(const struct rule_match *m, unsigned n, struct sk_span buf, bool single, bool matched)
{
    struct mpm_pattern p[MATCHES];
    struct mpm_builder *b;
    struct mpm_scratch *s;
    struct mpm_db *db;
    uint64_t hits = 0;
    uint32_t list[MATCHES], k = 0;
    char err[256];
    for (unsigned i = 0; i < n && k < 4; i++) {
        const struct rule_content *c = &m[i].content;
        if (m[i].type == RM_CONTENT)
            p[k] = (struct mpm_pattern){.p = c->p, .len = c->len, .nocase = c->flags & RC_NOCASE, .id = k};
        k += m[i].type == RM_CONTENT;
    }
    if (mpm_builder_create(&b))
        return;
    if (mpm_scratch_create(&s) == SK_OK) {
        if (mpm_build(b, p, k, &db, err) == SK_OK) {
            uint32_t got = mpm_scan(db, s, buf, 0, &hits, list, 0, MATCHES);
            if (single && (got == 1) != matched)
                abort();
            mpm_db_release(db);
        }
        mpm_scratch_free(s);
    }
    mpm_builder_free(b);
}

static void evaluate(const struct rule_inspect *in, const struct inspect_input *input, uint64_t *vars)
{
    static struct sk_counters counters;
    const struct inspect_conf conf = {.pcre_match_limit = 3500, .pcre_depth_limit = 1500, .pcre_heap_limit_kib = 1000};
    struct inspect_prog *p;
    struct inspect_scratch *s;
    if (inspect_compile(in, &conf, "fuzz", NULL, &p))
        return;
    if (inspect_scratch_create(&conf, &counters, &s) == SK_OK) {
        bool matched = inspect_run(p, s, input, vars);
        struct sk_span ev = matched ? inspect_evidence(s) : (struct sk_span){0};
        if (ev.len > 0 && (ev.p < input->buf.p || ev.p + ev.len > input->buf.p + input->buf.len))
            abort();
        prefilter(in->m, in->n, input->buf, inspect_is_content_only(p), matched);
        inspect_scratch_free(s);
    }
    inspect_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_reader r = rd_init(data, size);
    struct rule_match m[MATCHES];
    uint64_t vars[RULE_MAX_VARS] = {1, 2, 3, UINT64_MAX};
    struct rule_inspect in = {.n = (uint16_t)(1 + rd_u8(&r) % MATCHES), .m = m};
    uint8_t mode = rd_u8(&r);
    for (uint16_t i = 0; i < in.n; i++)
        m[i] = make_match(&r);
    size_t left = r.bad ? 0 : rd_left(&r);
    /* Of exact size, so that a read past its end shows. */
    uint8_t *buf = malloc(left ? left : 1);
    if (!buf)
        return 0;
    memcpy(buf, r.p, left);
    struct inspect_input input = {.buf = sk_span_of(buf, (uint32_t)left),
                                  .offset = mode & 4 ? mode : 0,
                                  .at_start = !(mode & 4),
                                  .complete = mode & 1};
    evaluate(&in, &input, vars);
    free(buf);

    char expr[65] = {0};
    uint8_t lit[32];
    uint16_t len = sizeof lit;
    bool nocase;
    memcpy(expr, data, size < 64 ? size : 64);
    (void)inspect_pcre_literal(expr, 0, lit, &len, &nocase);
    return 0;
}
