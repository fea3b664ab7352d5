#include "inspect_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "match/mpm.h"

#define JIT_STACK_MIN (32u * 1024)
#define JIT_STACK_MAX (512u * 1024)

static bool is_relative(const struct rule_match *m)
{
    switch (m->type) {
    case RM_CONTENT: return m->content.flags & RC_RELATIVE;
    case RM_PCRE: return m->pcre.flags & RP_RELATIVE;
    case RM_ISDATAAT: return m->isdataat.relative;
    case RM_BYTE_TEST: return m->byte_test.c.relative;
    case RM_BYTE_JUMP: return m->byte_jump.c.relative;
    case RM_BYTE_EXTRACT: return m->byte_extract.c.relative;
    case RM_BYTE_MATH: return m->byte_math.c.relative;
    default: return false;
    }
}

/*
 * Marks the matches whose next occurrence is worth trying when a later one fails. A content with only `distance` after
 * it gains nothing from a later anchor: its search window would only become smaller. A negated one does gain.
 */
static void mark_retries(struct inspect_prog *p)
{
    struct inspect_op *anchor = NULL;
    for (uint16_t i = 0; i < p->n; i++) {
        struct inspect_op *op = &p->op[i];
        const struct rule_match *m = op->m;
        bool distance_only = m->type == RM_CONTENT && !(m->content.flags & (RC_WITHIN | RC_NEGATED));
        if (anchor && is_relative(m) && (anchor->m->type == RM_PCRE || !distance_only))
            anchor->retry = true;
        if (m->type == RM_CONTENT || m->type == RM_PCRE)
            anchor = op;
    }
}

static bool is_content_only(const struct rule_inspect *in)
{
    const unsigned harmless = RC_NOCASE | RC_FAST_PATTERN | RC_FAST_PATTERN_ONLY | RC_RAWBYTES;
    return in->n == 1 && in->m[0].type == RM_CONTENT && (in->m[0].content.flags & ~harmless) == 0 &&
           in->m[0].content.len <= MPM_MAX_LEN;
}

static bool var_ok(int8_t v)
{
    return v >= RULE_VAR_NONE && v < RULE_MAX_VARS;
}

static bool byte_ok(const struct rule_byte_common *c)
{
    return var_ok(c->nbytes_var) && var_ok(c->offset_var) && c->nbytes <= (c->base == BB_BIN ? 8 : 23) &&
           c->bitmask_shift < 64;
}

/* The evaluator indexes by these without looking again. */
static const char *check_match(const struct rule_match *m)
{
    bool ok = true;
    switch (m->type) {
    case RM_CONTENT:
        if (m->content.len == 0)
            return "empty content";
        ok = var_ok(m->content.offset_var) && var_ok(m->content.depth_var) && var_ok(m->content.distance_var) &&
             var_ok(m->content.within_var);
        break;
    case RM_ISDATAAT: ok = var_ok(m->isdataat.pos_var); break;
    case RM_BYTE_TEST: ok = byte_ok(&m->byte_test.c) && var_ok(m->byte_test.value_var); break;
    case RM_BYTE_JUMP: ok = byte_ok(&m->byte_jump.c) && var_ok(m->byte_jump.post_offset_var); break;
    case RM_BYTE_EXTRACT:
        ok = byte_ok(&m->byte_extract.c) && var_ok(m->byte_extract.var) && m->byte_extract.var >= 0;
        break;
    case RM_BYTE_MATH:
        ok = byte_ok(&m->byte_math.c) && var_ok(m->byte_math.rvalue_var) && var_ok(m->byte_math.result_var) &&
             m->byte_math.result_var >= 0;
        break;
    case RM_PCRE:
    case RM_BSIZE:
    case RM_URILEN: break;
    default: return "this match is not on the bytes of a buffer";
    }
    return ok ? NULL : "number of bytes or variable out of range";
}

static size_t store_size(const struct rule_inspect *in)
{
    size_t n = 0;
    for (uint16_t i = 0; i < in->n; i++)
        n += in->m[i].type == RM_CONTENT ? in->m[i].content.len : 0;
    return n;
}

static int compile_op(struct inspect_op *op, const struct rule_match *m, uint8_t **store, char *errbuf, size_t errcap)
{
    op->m = m;
    const char *why = check_match(m);
    if (why) {
        snprintf(errbuf, errcap, "%s", why);
        return SK_EINVAL;
    }
    if (m->type == RM_CONTENT) {
        lit_init(&op->lit, m->content.p, m->content.len, m->content.flags & RC_NOCASE, *store);
        *store += m->content.len;
    }
    return m->type == RM_PCRE ? inspect_pcre_compile(&m->pcre, &op->re, errbuf, errcap) : SK_OK;
}

int inspect_compile(const struct rule_inspect *in, const struct inspect_conf *conf, const char *file,
                    const struct sk_diag_sink *sink, struct inspect_prog **out)
{
    char errbuf[256];
    (void)conf; /* the limits are the scratch's; the parameter keeps room for limits of compiling */
    if (in->n == 0 || in->n > INSPECT_MAX_MATCHES) {
        sk_diag(sink, SK_DIAG_ERROR, file, in->n ? in->m[0].line : 0, in->n ? in->m[0].col : 0,
                "%u matches on one buffer; 1 to %d are allowed", in->n, INSPECT_MAX_MATCHES);
        return SK_EFULL;
    }
    struct inspect_prog *p = calloc(1, sizeof *p + in->n * sizeof p->op[0]);
    uint8_t *store = malloc(store_size(in) + 1);
    if (!p || !store) {
        free(p);
        free(store);
        return SK_ENOMEM;
    }
    p->store = store;
    p->n = in->n;
    p->content_only = is_content_only(in);
    for (uint16_t i = 0; i < in->n; i++) {
        int rc = compile_op(&p->op[i], &in->m[i], &store, errbuf, sizeof errbuf);
        if (rc) {
            sk_diag(sink, SK_DIAG_ERROR, file, in->m[i].line, in->m[i].col, "%s", errbuf);
            inspect_free(p);
            return rc;
        }
    }
    mark_retries(p);
    *out = p;
    return SK_OK;
}

void inspect_free(struct inspect_prog *p)
{
    if (!p)
        return;
    for (uint16_t i = 0; i < p->n; i++)
        pcre2_code_free(p->op[i].re);
    free(p->store);
    free(p);
}

bool inspect_is_content_only(const struct inspect_prog *p)
{
    return p->content_only;
}

int inspect_scratch_create(const struct inspect_conf *conf, struct sk_counters *c, struct inspect_scratch **out)
{
    struct inspect_scratch *s = calloc(1, sizeof *s);
    if (!s)
        return SK_ENOMEM;
    s->c = c;
    s->md = pcre2_match_data_create(1, NULL);
    s->mctx = pcre2_match_context_create(NULL);
    if (!s->md || !s->mctx) {
        inspect_scratch_free(s);
        return SK_ENOMEM;
    }
    pcre2_set_match_limit(s->mctx, conf->pcre_match_limit);
    pcre2_set_depth_limit(s->mctx, conf->pcre_depth_limit);
    pcre2_set_heap_limit(s->mctx, conf->pcre_heap_limit_kib);
    /* NULL without JIT support: then it is not used either. */
    s->jit_stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    if (s->jit_stack)
        pcre2_jit_stack_assign(s->mctx, NULL, s->jit_stack);
    *out = s;
    return SK_OK;
}

void inspect_scratch_free(struct inspect_scratch *s)
{
    if (!s)
        return;
    pcre2_match_data_free(s->md);
    pcre2_match_context_free(s->mctx);
    pcre2_jit_stack_free(s->jit_stack);
    free(s);
}
