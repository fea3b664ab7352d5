/* Expressions: PCRE2, compiled with JIT where the library has it. */
#include "inspect_internal.h"

#include <stdio.h>

int inspect_pcre_compile(const struct rule_pcre *p, pcre2_code **out, char *errbuf, size_t errcap)
{
    int code;
    PCRE2_SIZE at;
    /* Traffic is bytes: an expression that asks for UTF would fail on most of it. */
    pcre2_code *re =
        pcre2_compile((PCRE2_SPTR)p->expr, PCRE2_ZERO_TERMINATED, p->options | PCRE2_NEVER_UTF, &code, &at, NULL);
    if (!re) {
        PCRE2_UCHAR text[160];
        if (pcre2_get_error_message(code, text, sizeof text) < 0)
            text[0] = '\0';
        snprintf(errbuf, errcap, "expression does not compile at offset %zu: %s", (size_t)at, (const char *)text);
        return SK_EINVAL;
    }
    /* Without JIT (not built in, or no executable memory) pcre2_match interprets. */
    (void)pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
    *out = re;
    return SK_OK;
}

static bool is_anchored(const struct rule_pcre *p)
{
    return (p->options & PCRE2_ANCHORED) != 0;
}

static uint32_t match_options(const struct run *r, const struct rule_pcre *p)
{
    uint32_t opt = 0;
    /* What is not the whole's end is no end of line either; likewise the beginning. */
    if (!r->in->complete)
        opt |= PCRE2_NOTEOL;
    if (!(p->flags & RP_RELATIVE) && r->base < 0)
        opt |= PCRE2_NOTBOL;
    return opt;
}

static enum verdict matched(struct run *r, int64_t start, int64_t *next)
{
    const PCRE2_SIZE *ov = pcre2_get_ovector_pointer(r->s->md);
    /* \K in a lookahead can put the start behind the end. */
    int64_t to = start + (int64_t)ov[1], from = ov[0] > ov[1] ? to : start + (int64_t)ov[0];
    r->cur = to;
    r->ev_pos = from;
    r->ev_len = to - from;
    *next = start + (int64_t)ov[0] + 1;
    return V_MATCH;
}

enum verdict inspect_pcre(struct run *r, const struct inspect_op *op, int64_t from, int64_t *next)
{
    const struct rule_pcre *p = &op->m->pcre;
    bool relative = p->flags & RP_RELATIVE, negated = p->flags & RP_NEGATED;
    int64_t start = relative && r->cur > 0 ? r->cur : 0;
    *next = -1;
    if (start > r->len || (from >= 0 && from > r->len))
        return V_FAIL;
    if (!relative && is_anchored(p) && r->base < 0)
        return negated ? V_MATCH : V_FAIL; /* the place it is anchored to has gone */
    static const uint8_t nothing[1];
    const uint8_t *subject = r->in->buf.p ? r->in->buf.p + start : nothing;
    PCRE2_SIZE offset = from > start ? (PCRE2_SIZE)(from - start) : 0;
    r->steps -= (r->len - start - (int64_t)offset) / INSPECT_PCRE_BYTES;
    int rc =
        pcre2_match(op->re, subject, (PCRE2_SIZE)(r->len - start), offset, match_options(r, p), r->s->md, r->s->mctx);
    if (rc == PCRE2_ERROR_NOMATCH)
        return negated && r->in->complete ? V_MATCH : V_FAIL;
    if (rc < 0) {
        sk_count(r->s->c, SK_C_DETECT_PCRE_LIMIT);
        return V_FAIL;
    }
    return negated ? V_FAIL : matched(r, start, next);
}
