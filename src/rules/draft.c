/* The draft of one rule: diagnostics with positions, matches, buffers, variables. */
#include <stdarg.h>
#include <stdio.h>

#include "parse.h"

void rule_position(const struct rule_parse *p, const char *at, uint32_t *line, uint32_t *col)
{
    uint32_t off = at < p->text ? 0 : (uint32_t)(at - p->text);
    unsigned i = p->nseg;
    while (i > 1 && p->seg[i - 1].off > off)
        i--;
    *line = p->seg[i - 1].line;
    *col = p->seg[i - 1].col + off - p->seg[i - 1].off;
}

static void say(struct rule_parse *p, enum sk_diag_level lvl, const char *at, const char *fmt, va_list ap)
{
    char text[512];
    uint32_t line, col;
    vsnprintf(text, sizeof text, fmt, ap);
    rule_position(p, at, &line, &col);
    sk_diag(&p->l->sink, lvl, p->file, line, col, "%s", text);
}

int rule_unsupported(struct rule_parse *p, const char *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(p, SK_DIAG_UNSUPPORTED, at, fmt, ap);
    va_end(ap);
    return SK_EINVAL;
}

int rule_fail(struct rule_parse *p, const char *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(p, SK_DIAG_ERROR, at, fmt, ap);
    va_end(ap);
    return SK_EINVAL;
}

void rule_warn(struct rule_parse *p, const char *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(p, SK_DIAG_WARN, at, fmt, ap);
    va_end(ap);
}

int rule_nomem(struct rule_parse *p)
{
    p->l->nomem = true;
    return SK_ENOMEM;
}

char *rule_strdup(struct rule_parse *p, struct sk_span s)
{
    struct sk_span c = sk_arena_copy(p->l->arena, s);
    if (!c.p)
        (void)rule_nomem(p);
    return (char *)(uintptr_t)c.p;
}

struct draft_match *rule_add_match(struct rule_parse *p, enum rule_match_type t, int buf)
{
    if (p->n == RULE_MAX_MATCHES) {
        (void)rule_fail(p, p->kw_at, "rule has more than %d matches", RULE_MAX_MATCHES);
        return NULL;
    }
    struct draft_match *d = &p->m[p->n++];
    *d = (struct draft_match){.m.type = t, .buf = (int16_t)buf, .at = p->kw_at};
    rule_position(p, p->kw_at, &d->m.line, &d->m.col);
    if (buf >= 0) {
        p->buf[buf].used = true;
        if (buf == p->cur)
            p->fresh = false;
    }
    return d;
}

struct draft_match *rule_last_content(struct rule_parse *p)
{
    for (unsigned i = p->n; i-- > 0;)
        if (p->m[i].m.type == RM_CONTENT)
            return &p->m[i];
    (void)rule_fail(p, p->kw_at, "'%s' needs a content before it", p->kw->name);
    return NULL;
}

int rule_buf_get(struct rule_parse *p, enum rule_buf b)
{
    for (unsigned i = 0; i < p->nbuf; i++)
        if (p->buf[i].buf == b && p->buf[i].nxf == 0)
            return (int)i;
    if (p->nbuf == RULE_MAX_INSPECT) {
        (void)rule_fail(p, p->kw_at, "rule uses more than %d buffers", RULE_MAX_INSPECT);
        return -1;
    }
    p->buf[p->nbuf] = (struct draft_buf){.buf = b, .at = p->kw_at};
    return (int)p->nbuf++;
}

/* A sticky buffer is settled when its first match comes: with its transforms it may be one that was used before. */
static void settle(struct rule_parse *p)
{
    struct draft_buf *b = &p->buf[p->cur];
    p->fresh = false;
    if (rule_buf_info[b->buf].multi)
        return;
    for (unsigned i = 0; i < (unsigned)p->cur; i++) {
        struct draft_buf *o = &p->buf[i];
        if (o->buf == b->buf && o->nxf == b->nxf && memcmp(o->xf, b->xf, b->nxf) == 0) {
            p->nbuf--; /* a fresh buffer is the newest */
            p->cur = (int)i;
            return;
        }
    }
}

int rule_buf_current(struct rule_parse *p)
{
    if (p->cur < 0)
        return rule_buf_get(p, RULE_BUF_PAYLOAD);
    if (p->fresh)
        settle(p);
    return p->cur;
}

/* Where a byte test or isdataat goes: the sticky buffer, or else beside the match that it is relative to. */
int rule_buf_relative(struct rule_parse *p, bool relative)
{
    if (p->cur >= 0 || !relative)
        return rule_buf_current(p);
    for (unsigned i = p->n; i-- > 0;)
        if (p->m[i].m.type <= RM_BYTE_MATH && p->m[i].buf >= 0)
            return p->m[i].buf;
    return rule_buf_current(p);
}

bool rule_var_name_ok(struct sk_span s)
{
    if (s.len == 0 || s.len > 64 || !((s.p[0] | 0x20) >= 'a' && (s.p[0] | 0x20) <= 'z'))
        return false;
    for (uint32_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (!((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.')
            return false;
    }
    return true;
}

/* buf -1: in any buffer; rule_check looks at it again when contents have found their buffers. */
bool rule_var_find(struct rule_parse *p, struct sk_span name, int buf, int8_t *out)
{
    for (unsigned i = 0; i < p->nvar; i++) {
        if (!sk_span_eq(p->var[i].name, name) || (buf >= 0 && p->var[i].buf != buf))
            continue;
        *out = (int8_t)i;
        return true;
    }
    return false;
}

int rule_var_add(struct rule_parse *p, struct sk_span name, int buf, int8_t *out)
{
    int8_t old;
    if (!rule_var_name_ok(name))
        return rule_fail(p, (const char *)name.p, "'%.*s' is not a variable name", (int)name.len, (const char *)name.p);
    if (rule_var_find(p, name, -1, &old))
        return rule_fail(p, (const char *)name.p, "variable '%.*s' is set twice", (int)name.len, (const char *)name.p);
    if (p->nvar == RULE_MAX_VARS)
        return rule_fail(p, p->kw_at, "rule has more than %d variables", RULE_MAX_VARS);
    p->var[p->nvar] = (struct draft_var){.name = name, .buf = (int16_t)buf, .match = (uint16_t)p->n};
    *out = (int8_t)p->nvar++;
    return SK_OK;
}
