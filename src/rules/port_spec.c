/* Port lists of rule headers, worked out in bitmaps; the same semantics of nesting and negation as addresses. */
#include <stdlib.h>

#include "parse.h"

#define MAX_NESTING 16
#define NPORTS      65536

struct pset {
    uint64_t w[NPORTS / 64];
    bool any_set;
};

struct pctx {
    struct rule_parse *p;
    const char *at;
    bool used_var, failed;
};

static int pfail(struct pctx *c, struct sk_span what, const char *why)
{
    if (!c->failed)
        (void)rule_fail(c->p, c->at, "port '%.*s': %s", (int)(what.len > 60 ? 60 : what.len), (const char *)what.p,
                        why);
    c->failed = true;
    return SK_EINVAL;
}

static bool pset_has(const struct pset *s, unsigned port)
{
    return s->w[port / 64] >> (port % 64) & 1;
}

static void pset_add(struct pset *s, unsigned lo, unsigned hi)
{
    s->any_set = true;
    for (unsigned i = lo; i <= hi;) {
        if (i % 64 == 0 && hi - i >= 63) {
            s->w[i / 64] = UINT64_MAX;
            i += 64;
        } else {
            s->w[i / 64] |= UINT64_C(1) << (i % 64);
            i++;
        }
    }
}

/* pos (or everything, when it is empty) less neg, into pos. */
static void pset_less(struct pset *pos, const struct pset *neg)
{
    if (!pos->any_set)
        pset_add(pos, 0, NPORTS - 1);
    for (unsigned i = 0; i < NPORTS / 64; i++)
        pos->w[i] &= ~neg->w[i];
}

static int parse_list(struct pctx *c, struct sk_span s, bool negate, struct pset *pos, struct pset *neg, int depth);

static int parse_closed(struct pctx *c, struct sk_span s, struct pset *out, int depth)
{
    struct pset *t = calloc(2, sizeof *t);
    if (!t)
        return rule_nomem(c->p);
    int rc = parse_list(c, s, false, &t[0], &t[1], depth);
    if (rc == SK_OK) {
        pset_less(&t[0], &t[1]);
        for (unsigned i = 0; i < NPORTS / 64; i++)
            out->w[i] |= t[0].w[i];
        out->any_set = true;
    }
    free(t);
    return rc;
}

static int parse_literal(struct pctx *c, struct sk_span s, struct pset *out)
{
    uint64_t lo = 0, hi = NPORTS - 1;
    const uint8_t *colon = memchr(s.p, ':', s.len);
    if (!colon) {
        if (!text_dec(s, NPORTS - 1, &lo))
            return pfail(c, s, "is not a port from 0 to 65535 (variables start with $)");
        hi = lo;
    } else {
        struct sk_span a = text_trim(sk_span_of(s.p, (uint32_t)(colon - s.p)));
        struct sk_span b = text_trim(sk_span_of(colon + 1, s.len - (uint32_t)(colon - s.p) - 1));
        if ((a.len && !text_dec(a, NPORTS - 1, &lo)) || (b.len && !text_dec(b, NPORTS - 1, &hi)) || (!a.len && !b.len))
            return pfail(c, s, "is not a range of ports from 0 to 65535");
        if (lo > hi)
            return pfail(c, s, "range is reversed");
    }
    pset_add(out, (unsigned)lo, (unsigned)hi);
    return SK_OK;
}

static const char *find_var(const struct rule_var *v, unsigned n, struct sk_span name)
{
    for (unsigned i = 0; i < n; i++)
        if (sk_span_eq(sk_span_str(v[i].name), name))
            return v[i].text;
    return NULL;
}

static int parse_item(struct pctx *c, struct sk_span s, bool negate, struct pset *pos, struct pset *neg, int depth)
{
    if (s.len && s.p[0] == '!') {
        if (negate || (s.len > 1 && s.p[1] == '!'))
            return pfail(c, s, "is negated twice");
        return parse_item(c, text_trim(sk_span_of(s.p + 1, s.len - 1)), true, pos, neg, depth);
    }
    if (s.len == 0)
        return pfail(c, s, "is empty");
    if (depth > MAX_NESTING)
        return pfail(c, s, "is nested too deeply, or a variable refers to itself");
    struct sk_span inner = s;
    if (s.p[0] == '[') {
        if (s.p[s.len - 1] != ']')
            return pfail(c, s, "has an unbalanced bracket");
        inner = sk_span_of(s.p + 1, s.len - 2);
    } else if (s.p[0] == '$') {
        const struct rule_conf *conf = &c->p->l->conf;
        const char *text = find_var(conf->port_vars, conf->nport, sk_span_of(s.p + 1, s.len - 1));
        if (!text)
            return pfail(c, s, "is not a known port variable");
        c->used_var = true;
        inner = sk_span_str(text);
    } else if (text_is(s, "any")) {
        pset_add(negate ? neg : pos, 0, NPORTS - 1);
        return SK_OK;
    } else {
        return parse_literal(c, s, negate ? neg : pos);
    }
    if (negate)
        return parse_closed(c, inner, neg, depth + 1);
    return parse_list(c, inner, false, pos, neg, depth + 1);
}

static int parse_list(struct pctx *c, struct sk_span s, bool negate, struct pset *pos, struct pset *neg, int depth)
{
    int level = 0;
    uint32_t start = 0;
    for (uint32_t i = 0; i <= s.len; i++) {
        if (i < s.len && s.p[i] == '[')
            level++;
        if (i < s.len && s.p[i] == ']' && --level < 0)
            break;
        if (i < s.len && (s.p[i] != ',' || level > 0))
            continue;
        int rc = parse_item(c, text_trim(sk_span_of(s.p + start, i - start)), negate, pos, neg, depth);
        if (rc != SK_OK)
            return rc;
        start = i + 1;
    }
    return level == 0 ? SK_OK : pfail(c, s, "has an unbalanced bracket");
}

/* Ranges of the set; r has room for NPORTS / 2. */
static uint32_t to_ranges(const struct pset *s, struct rule_port_range *r)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < NPORTS; i++) {
        if (i % 64 == 0 && s->w[i / 64] == 0) {
            i += 63;
            continue;
        }
        if (!pset_has(s, i))
            continue;
        unsigned lo = i;
        while (i + 1 < NPORTS && pset_has(s, i + 1))
            i++;
        r[n++] = (struct rule_port_range){.lo = (uint16_t)lo, .hi = (uint16_t)i};
    }
    return n;
}

static struct rule_port_spec *spec_new(struct rule_parse *p, struct sk_span text, struct sk_span ranges, uint32_t n)
{
    struct rule_loader *l = p->l;
    if (l->nport == l->port_cap) {
        uint32_t cap = l->port_cap ? l->port_cap * 2 : 64;
        void *m = realloc(l->ports, cap * sizeof *l->ports);
        if (!m)
            return NULL;
        l->ports = m;
        l->port_cap = cap;
    }
    struct rule_port_spec *s = sk_arena_zalloc(l->arena, sizeof *s);
    if (!s)
        return NULL;
    s->id = l->nport;
    s->n = n;
    s->r = (const struct rule_port_range *)(const void *)ranges.p;
    s->any = n == 1 && s->r[0].lo == 0 && s->r[0].hi == NPORTS - 1;
    s->text = rule_strdup(p, text);
    if (!s->text)
        return NULL;
    l->ports[l->nport++] = s;
    return s;
}

static struct rule_port_spec *spec_intern(struct rule_parse *p, struct sk_span text, const struct pset *set)
{
    struct rule_port_range *r = malloc(NPORTS / 2 * sizeof *r);
    if (!r)
        return NULL;
    uint32_t n = to_ranges(set, r);
    struct sk_span key = sk_span_of(r, n * (uint32_t)sizeof *r);
    struct rule_port_spec *s = intern_get(&p->l->port_canon, key);
    if (!s) {
        struct sk_span k = sk_arena_copy(p->l->arena, key);
        s = k.p ? spec_new(p, text, k, n) : NULL;
        if (s && !intern_put(&p->l->port_canon, k, s))
            s = NULL;
    }
    free(r);
    return s;
}

static bool is_empty(const struct pset *s)
{
    for (unsigned i = 0; i < NPORTS / 64; i++)
        if (s->w[i])
            return false;
    return true;
}

/* A list that the variables leave empty is loaded and never matches; written out, it is an error. */
static int check_empty(struct pctx *c, struct sk_span text, const struct pset *s)
{
    if (!is_empty(s))
        return SK_OK;
    if (!c->used_var)
        return pfail(c, text, "matches nothing");
    if (!c->p->l->warned_nothing)
        rule_warn(c->p, c->at, "port '%.*s' matches nothing with these variables; said once", (int)text.len,
                  (const char *)text.p);
    c->p->l->warned_nothing = true;
    return SK_OK;
}

static const struct rule_port_spec *parse_new(struct rule_parse *p, struct sk_span text, struct pset *t)
{
    struct pctx c = {.p = p, .at = (const char *)text.p};
    if (parse_list(&c, text, false, &t[0], &t[1], 0) != SK_OK)
        return NULL;
    pset_less(&t[0], &t[1]);
    if (check_empty(&c, text, &t[0]) != SK_OK)
        return NULL;
    struct rule_port_spec *s = spec_intern(p, text, &t[0]);
    struct sk_span k = sk_arena_copy(p->l->arena, text);
    if (s && k.p && intern_put(&p->l->port_text, k, s))
        return s;
    (void)rule_nomem(p);
    return NULL;
}

const struct rule_port_spec *rule_port_parse(struct rule_parse *p, struct sk_span text)
{
    const struct rule_port_spec *s = intern_get(&p->l->port_text, text);
    if (s)
        return s;
    struct pset *t = calloc(2, sizeof *t); /* what is wanted, and what is not */
    if (!t) {
        (void)rule_nomem(p);
        return NULL;
    }
    s = parse_new(p, text, t);
    free(t);
    return s;
}

bool rule_port_match(const struct rule_port_spec *s, uint16_t port)
{
    if (s->any)
        return true;
    uint32_t lo = 0, hi = s->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->r[mid].hi < port)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n && s->r[lo].lo <= port;
}

bool rule_num_match(const struct rule_num *n, int64_t x)
{
    switch (n->op) {
    case RULE_EQ: return x == n->a;
    case RULE_NE: return x != n->a;
    case RULE_LT: return x < n->a;
    case RULE_LE: return x <= n->a;
    case RULE_GT: return x > n->a;
    case RULE_GE: return x >= n->a;
    case RULE_RANGE: return x > n->a && x < n->b;
    case RULE_RANGE_INCL: return x >= n->a && x <= n->b;
    }
    return false;
}
