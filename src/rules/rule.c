/* One rule: header, then options one by one through the keyword table, then the checks and the copy into the set. */
#include <ctype.h>

#include "parse.h"

static void reset(struct rule_parse *p)
{
    p->r = (struct rule){.gid = 1, .priority = 3, .msg = "", .class_text = ""};
    p->n = p->nbuf = p->nvar = 0;
    p->cur = -1;
    p->fresh = false;
    p->seen = 0;
    p->http_at = p->packet_at = p->flow_at = p->thresh_at = NULL;
}

static int unknown_keyword(struct rule_parse *p, struct sk_span name)
{
    const char *near = rule_keyword_near((const char *)name.p, name.len);
    int n = (int)(name.len > 64 ? 64 : name.len);
    if (n == 0)
        return rule_fail(p, (const char *)name.p, "empty option");
    if (near)
        return rule_fail(p, (const char *)name.p, "unknown keyword '%.*s'; did you mean '%s'?", n, (const char *)name.p,
                         near);
    return rule_fail(p, (const char *)name.p, "unknown keyword '%.*s'", n, (const char *)name.p);
}

/* There is a closing quote before the end. */
static bool quote_ends(struct sk_span v)
{
    for (uint32_t i = 1; i < v.len; i++) {
        if (v.p[i] == '\\')
            i++;
        else if (v.p[i] == '"')
            return true;
    }
    return false;
}

/* Takes quotes and negation off the value, as the keyword's flags say. */
static int prepare_value(struct rule_parse *p)
{
    const struct rule_keyword *k = p->kw;
    p->negated = false;
    if (!p->has_val)
        return k->flags & KW_VAL ? rule_fail(p, p->kw_at, "'%s' needs a value", k->name) : SK_OK;
    if (!(k->flags & (KW_VAL | KW_OPT)))
        return rule_fail(p, p->val_at, "'%s' takes no value", k->name);
    if (p->val.len == 0)
        return rule_fail(p, p->kw_at, "'%s' has an empty value", k->name);
    if ((k->flags & KW_NEG) && p->val.p[0] == '!') {
        p->negated = true;
        p->val = text_trim(sk_span_of(p->val.p + 1, p->val.len - 1));
    }
    bool quoted = p->val.len && p->val.p[0] == '"';
    p->val_at = (const char *)p->val.p;
    if (!quoted)
        return k->flags & KW_QUOTED ? rule_fail(p, p->val_at, "value of '%s' must stand in quotes", k->name) : SK_OK;
    if (!(k->flags & (KW_QUOTED | KW_QUOTES)))
        return rule_fail(p, p->val_at, "value of '%s' must not stand in quotes", k->name);
    if (p->val.len >= 2 && p->val.p[p->val.len - 1] != '"' && quote_ends(p->val))
        return rule_fail(p, p->val_at, "';' is missing behind the closing quote");
    if (p->val.len < 2 || p->val.p[p->val.len - 1] != '"')
        return rule_fail(p, p->val_at, "quote is not closed (a ';' inside quotes is written '\\;')");
    p->val = sk_span_of(p->val.p + 1, p->val.len - 2);
    p->val_at++;
    return SK_OK;
}

static int option(struct rule_parse *p, struct sk_span o)
{
    const uint8_t *colon = memchr(o.p, ':', o.len);
    struct sk_span name = text_trim(colon ? sk_span_of(o.p, (uint32_t)(colon - o.p)) : o);
    p->kw_at = (const char *)name.p;
    p->has_val = colon != NULL;
    p->val = colon ? text_trim(sk_span_of(colon + 1, o.len - (uint32_t)(colon - o.p) - 1)) : (struct sk_span){0};
    p->val_at = p->val.len ? (const char *)p->val.p : p->kw_at;
    p->kw = rule_keyword_find((const char *)name.p, name.len);
    if (!p->kw)
        return unknown_keyword(p, name);
    if (!p->kw->fn)
        return rule_unsupported(p, p->kw_at, "keyword '%s' is not supported yet", p->kw->name);
    int rc = prepare_value(p);
    if (rc != SK_OK)
        return rc;
    if ((p->kw->flags & KW_PACKET) && !p->packet_at)
        p->packet_at = p->kw_at;
    return p->kw->fn(p);
}

/* body..end lies between the parentheses. */
static int options(struct rule_parse *p, const char *body, const char *end)
{
    while (body < end && isspace((unsigned char)*body))
        body++;
    while (body < end) {
        const char *q = body;
        while ((q = memchr(q, ';', (size_t)(end - q))) && q > body && q[-1] == '\\')
            q++;
        if (!q)
            return rule_fail(p, body, "option does not end with ';'");
        int rc = option(p, text_trim(sk_span_of(body, (uint32_t)(q - body))));
        if (rc != SK_OK)
            return rc;
        body = q + 1;
        while (body < end && isspace((unsigned char)*body))
            body++;
    }
    return SK_OK;
}

int rule_one(struct rule_loader *l)
{
    struct rule_parse *p = &l->p;
    const char *body;
    reset(p);
    if (memchr(p->text, '\0', p->len))
        return rule_fail(p, p->text, "rule contains a NUL byte");
    int rc = rule_header(p, &body);
    if (rc != SK_OK)
        return rc;
    const char *end = p->text + p->len;
    if (end[-1] != ')' || end <= body)
        return rule_fail(p, end - 1, "rule does not end with ')'");
    rc = options(p, body, end - 1);
    if (rc == SK_OK)
        rc = rule_check(p);
    return rc == SK_OK ? rule_build(p) : rc;
}
