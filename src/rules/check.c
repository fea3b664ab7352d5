/* What can be said only of a whole rule: contradictions, and matches that can never be. */
#include <ctype.h>

#include "parse.h"

static int check_buffers(struct rule_parse *p)
{
    const char *ts = NULL, *tc = NULL;
    for (unsigned i = 0; i < p->nbuf; i++) {
        const struct draft_buf *b = &p->buf[i];
        const struct rule_buf_info *info = &rule_buf_info[b->buf];
        if (b->sticky && !b->used)
            return rule_fail(p, b->at, "nothing is matched on buffer '%s'", info->name);
        if (!b->used)
            continue;
        if (info->dir == RULE_BUF_TS && !ts)
            ts = info->name;
        if (info->dir == RULE_BUF_TC && !tc)
            tc = info->name;
        if (ts && tc)
            return rule_fail(p, b->at, "'%s' is about requests and '%s' about responses; a rule sees one direction", ts,
                             tc);
        if ((info->dir == RULE_BUF_TS && (p->r.flow & RULE_FLOW_TOCLIENT)) ||
            (info->dir == RULE_BUF_TC && (p->r.flow & RULE_FLOW_TOSERVER)))
            return rule_fail(p, b->at, "buffer '%s' is never in the direction that 'flow' asks for", info->name);
    }
    return SK_OK;
}

/* HTTP needs a TCP stream. */
static int check_http(struct rule_parse *p)
{
    if (!p->http_at || p->r.proto == RULE_P_HTTP)
        return SK_OK;
    switch (p->r.proto) {
    case RULE_P_TCP:
    case RULE_P_TCP_STREAM:
    case RULE_P_IP:
    case RULE_P_IP4:
    case RULE_P_IP6: break;
    default: return rule_fail(p, p->http_at, "HTTP keyword in a rule whose protocol does not carry HTTP");
    }
    return SK_OK;
}

static int check_packet(struct rule_parse *p)
{
    if (!p->packet_at)
        return SK_OK;
    if (p->r.flow & RULE_FLOW_ONLY_STREAM)
        return rule_fail(p, p->packet_at, "keyword about a packet in a rule with flow:only_stream");
    if (p->r.proto == RULE_P_TCP_STREAM)
        return rule_fail(p, p->packet_at, "keyword about a packet in a rule with protocol tcp-stream");
    for (unsigned i = 0; i < p->nbuf; i++)
        if (p->buf[i].used && p->buf[i].buf != RULE_BUF_PAYLOAD)
            return rule_fail(p, p->packet_at, "keyword about a packet together with buffer '%s'",
                             rule_buf_info[p->buf[i].buf].name);
    return SK_OK;
}

/* The largest size that `n` allows, or UINT32_MAX. */
static int64_t largest(const struct rule_num *n)
{
    switch (n->op) {
    case RULE_EQ:
    case RULE_LE: return n->a;
    case RULE_LT: return n->a - 1;
    case RULE_RANGE: return n->b - 1;
    default: return UINT32_MAX;
    }
}

/* The fewest bytes that the positive contents of a buffer need. */
static int64_t needed(const struct rule_parse *p, int buf)
{
    int64_t need = 0, end = 0;
    for (unsigned i = 0; i < p->n; i++) {
        const struct rule_content *c = &p->m[i].m.content;
        if (p->m[i].buf != buf)
            continue;
        if (p->m[i].m.type != RM_CONTENT) {
            end = 0; /* an expression or jump may lead anywhere */
            continue;
        }
        if (c->flags & RC_NEGATED)
            continue;
        int64_t start = 0;
        if (c->flags & RC_RELATIVE)
            start = end + (c->distance_var == RULE_VAR_NONE ? c->distance : -end);
        else if (c->offset_var == RULE_VAR_NONE)
            start = c->offset;
        end = (start > 0 ? start : 0) + c->len;
        if (end > need)
            need = end;
    }
    return need;
}

static int check_sizes(struct rule_parse *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        const struct draft_match *d = &p->m[i];
        int buf = d->buf;
        if (d->m.type != RM_BSIZE && d->m.type != RM_URILEN && d->m.type != RM_DSIZE)
            continue;
        if (d->m.type == RM_DSIZE) {
            buf = -1;
            for (unsigned b = 0; b < p->nbuf; b++)
                if (p->buf[b].buf == RULE_BUF_PAYLOAD)
                    buf = (int)b;
            if (buf < 0)
                continue;
        }
        int64_t most = d->m.num.negated ? UINT32_MAX : largest(&d->m.num.n), need = needed(p, buf);
        if (need > most)
            return rule_fail(p, d->at, "can never match: the contents need %lld bytes, and the size is at most %lld",
                             (long long)need, (long long)most);
    }
    return SK_OK;
}

static const struct draft_var *var_of(const struct rule_parse *p, int8_t v)
{
    return v == RULE_VAR_NONE ? NULL : &p->var[v];
}

/* A variable must have been set earlier on the same buffer. */
static int check_vars(struct rule_parse *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        const struct draft_match *d = &p->m[i];
        const struct rule_content *c = &d->m.content;
        if (d->m.type != RM_CONTENT)
            continue;
        const int8_t used[] = {c->offset_var, c->depth_var, c->distance_var, c->within_var};
        for (unsigned k = 0; k < 4; k++) {
            const struct draft_var *v = var_of(p, used[k]);
            if (v && (v->buf != d->buf || v->match >= i))
                return rule_unsupported(p, d->at, "variable '%.*s' is set on another buffer, or after this content",
                                        (int)v->name.len, (const char *)v->name.p);
        }
    }
    return SK_OK;
}

/* Whether a content can be found in what a transform leaves. NULL: yes. */
static const char *beyond_transform(uint8_t xf, const struct rule_content *c)
{
    bool upper = false, lower = false, blank = false, blanks = false;
    for (uint32_t i = 0; i < c->len; i++) {
        upper |= c->p[i] >= 'A' && c->p[i] <= 'Z';
        lower |= c->p[i] >= 'a' && c->p[i] <= 'z';
        blank |= isspace(c->p[i]) != 0;
        blanks |= i && isspace(c->p[i]) && isspace(c->p[i - 1]);
    }
    bool exact = !(c->flags & RC_NOCASE);
    switch (xf) {
    case RULE_XF_TO_LOWERCASE: return upper && exact ? "content with upper-case letters after to_lowercase" : NULL;
    case RULE_XF_TO_UPPERCASE: return lower && exact ? "content with lower-case letters after to_uppercase" : NULL;
    case RULE_XF_STRIP_WHITESPACE: return blank ? "content with white space after strip_whitespace" : NULL;
    case RULE_XF_COMPRESS_WHITESPACE:
        return blanks ? "content with two blanks in a row after compress_whitespace" : NULL;
    case RULE_XF_TO_MD5: return c->len > 16 ? "content longer than the hash" : NULL;
    case RULE_XF_TO_SHA1: return c->len > 20 ? "content longer than the hash" : NULL;
    case RULE_XF_TO_SHA256: return c->len > 32 ? "content longer than the hash" : NULL;
    default: return NULL;
    }
}

/* The same for what the HTTP parser leaves in a buffer. */
static const char *beyond_buffer(enum rule_buf b, const struct rule_content *c)
{
    const uint8_t *s = c->p;
    if (b == RULE_BUF_HTTP_HOST && !(c->flags & RC_NOCASE)) {
        for (uint32_t i = 0; i < c->len; i++)
            if (s[i] >= 'A' && s[i] <= 'Z')
                return "content with upper-case letters on http.host, which is in lower case";
    }
    if (b == RULE_BUF_HTTP_METHOD) {
        if (s[0] == ' ' || s[0] == '\t' || s[c->len - 1] == ' ' || s[c->len - 1] == '\t')
            return "content on http.method with a blank at its start or end";
    }
    return NULL;
}

static bool is_relative(const struct rule_match *m)
{
    return (m->type == RM_CONTENT && (m->content.flags & RC_RELATIVE)) ||
           (m->type == RM_PCRE && (m->pcre.flags & RP_RELATIVE)) || (m->type == RM_ISDATAAT && m->isdataat.relative);
}

/* A content that is only looked for beforehand has no place for another to be relative to. */
static int check_relative(struct rule_parse *p)
{
    const struct draft_match *before[RULE_MAX_INSPECT] = {NULL};
    for (unsigned i = 0; i < p->n; i++) {
        const struct draft_match *d = &p->m[i];
        if (d->buf < 0)
            continue;
        const struct draft_match *b = before[d->buf];
        before[d->buf] = d;
        if (b && is_relative(&d->m) && b->m.type == RM_CONTENT && (b->m.content.flags & RC_FAST_PATTERN_ONLY))
            return rule_fail(p, d->at, "match relative to a content with fast_pattern:only");
    }
    return SK_OK;
}

static int check_contents(struct rule_parse *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        const struct draft_match *d = &p->m[i];
        if (d->m.type != RM_CONTENT)
            continue;
        const struct draft_buf *b = &p->buf[d->buf];
        const char *why =
            b->nxf ? beyond_transform(b->xf[b->nxf - 1], &d->m.content) : beyond_buffer(b->buf, &d->m.content);
        if (why)
            return rule_fail(p, d->at, "can never match: %s", why);
    }
    return SK_OK;
}

int rule_check(struct rule_parse *p)
{
    if (!(p->seen & SEEN_SID))
        return rule_fail(p, p->text, "rule has no sid");
    int (*const checks[])(struct rule_parse *) = {check_buffers, check_http,     check_packet,  check_vars,
                                                  check_sizes,   check_contents, check_relative};
    for (unsigned i = 0; i < sizeof checks / sizeof *checks; i++) {
        int rc = checks[i](p);
        if (rc != SK_OK)
            return rc;
    }
    return SK_OK;
}
