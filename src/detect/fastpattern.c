/*
 * The fast pattern of a rule: the author's choice, or the positive content that is rarest in ordinary traffic. Names a
 * content where it stands; a rule with expressions only gets a literal that each match must contain.
 */
#include <ctype.h>

#include "detect_internal.h"

/* How much a byte narrows: letters and digits are everywhere, control bytes and high bytes are not. */
static unsigned byte_weight(uint8_t c)
{
    if (c == 0x00 || c == 0xff || c == 0x20)
        return 2;
    if (c == 'e' || c == 't' || c == 'a' || c == 'o' || c == 'i' || c == '\r' || c == '\n')
        return 4;
    if (isalnum(c))
        return 5;
    return isprint(c) ? 6 : 7;
}

static unsigned pattern_score(const uint8_t *p, uint16_t len)
{
    bool seen[256] = {false};
    unsigned score = 0;
    for (uint16_t i = 0; i < len && i < MPM_MAX_LEN; i++) {
        score += seen[p[i]] ? 1 : byte_weight(p[i]);
        seen[p[i]] = true;
    }
    return score;
}

/* A body or raw stream is long, a header short: only a clearly better pattern is worth the longer scan. */
static unsigned buffer_bonus(enum rule_buf buf)
{
    if (buf == RULE_BUF_PAYLOAD)
        return 0;
    if (rule_buf_info[buf].body)
        return 4;
    switch (buf) {
    case RULE_BUF_HTTP_METHOD:
    case RULE_BUF_HTTP_PROTOCOL:
    case RULE_BUF_HTTP_STAT_CODE:
    case RULE_BUF_HTTP_STAT_MSG: return 0; /* the same few words in all traffic */
    default: return 40;
    }
}

static bool common_word(enum rule_buf buf)
{
    return buf == RULE_BUF_HTTP_METHOD || buf == RULE_BUF_HTTP_PROTOCOL || buf == RULE_BUF_HTTP_STAT_CODE ||
           buf == RULE_BUF_HTTP_STAT_MSG;
}

/* Where in the buffer an absolute content must end; 0: anywhere. */
static uint32_t content_bound(const struct rule_content *c)
{
    if (!(c->flags & RC_DEPTH) || (c->flags & RC_RELATIVE) || c->depth_var != RULE_VAR_NONE ||
        c->offset_var != RULE_VAR_NONE)
        return 0;
    int64_t end = (int64_t)c->depth + ((c->flags & RC_OFFSET) ? c->offset : 0);
    return end > 0 && end < 65536 ? (uint32_t)end : 0;
}

static void use_content(struct det_rule *d, const struct rule_content *c, unsigned inspect)
{
    uint16_t off = 0, len = c->len;
    if (c->flags & RC_FAST_PATTERN_CHOP) {
        off = c->fp_off;
        len = c->fp_len;
    }
    if (len > MPM_MAX_LEN)
        len = MPM_MAX_LEN;
    d->fp = c->p + off;
    d->fp_len = len;
    d->fp_nocase = (c->flags & RC_NOCASE) != 0;
    d->fp_inspect = (uint8_t)inspect;
    d->fp_bound = content_bound(c);
}

static bool usable(const struct rule_content *c)
{
    return !(c->flags & RC_NEGATED) && c->len > 0;
}

/* A transform changes bytes: only those that keep the content's meaning as text may be prefiltered, and all of ours are
 * applied before the scan, so any will do. What cannot serve is a buffer whose rule is also satisfied by its absence.
 */
static bool choose_content(struct det_rule *d)
{
    unsigned best = 0;
    bool found = false;
    for (unsigned i = 0; i < d->r->ninspect; i++) {
        const struct rule_inspect *in = &d->r->inspect[i];
        for (unsigned k = 0; k < in->n; k++) {
            if (in->m[k].type != RM_CONTENT || !usable(&in->m[k].content))
                continue;
            const struct rule_content *c = &in->m[k].content;
            if (c->flags & (RC_FAST_PATTERN | RC_FAST_PATTERN_ONLY | RC_FAST_PATTERN_CHOP)) {
                use_content(d, c, i);
                return true;
            }
            unsigned score = pattern_score(c->p, c->len);
            score += score >= 16 || common_word(in->buf) ? buffer_bonus(in->buf) : buffer_bonus(in->buf) / 4;
            if (!found || score > best) {
                best = score;
                use_content(d, c, i);
                found = true;
            }
        }
    }
    return found;
}

static int choose_pcre(struct detect_set *s, struct det_rule *d)
{
    for (unsigned i = 0; i < d->r->ninspect; i++) {
        const struct rule_inspect *in = &d->r->inspect[i];
        for (unsigned k = 0; k < in->n; k++) {
            if (in->m[k].type != RM_PCRE || (in->m[k].pcre.flags & RP_NEGATED))
                continue;
            uint8_t lit[256];
            uint16_t len = sizeof lit;
            bool nocase;
            if (!inspect_pcre_literal(in->m[k].pcre.expr, in->m[k].pcre.options, lit, &len, &nocase) || len < 2)
                continue;
            if (d->fp && len <= d->fp_len)
                continue;
            struct sk_span copy = sk_arena_copy(&s->arena, sk_span_of(lit, len));
            if (!copy.p)
                return SK_ENOMEM;
            d->fp = copy.p;
            d->fp_len = len > MPM_MAX_LEN ? MPM_MAX_LEN : len;
            d->fp_nocase = nocase;
            d->fp_inspect = (uint8_t)i;
            d->fp_bound = 0;
        }
    }
    return SK_OK;
}

int det_fast_pattern(struct detect_set *s, struct det_rule *d)
{
    return choose_content(d) ? SK_OK : choose_pcre(s, d);
}
