/*
 * Address lists of rule headers. As in Suricata, a nested list is poured into the list around it, and a negated list is
 * first worked out on its own (its positives less its negatives) and then taken away. Lists are cached by their text.
 */
#include <stdlib.h>

#include "parse.h"

#define MAX_NESTING 16
#define MAX_RANGES  200000 /* of one list; more: the rule is rejected */

struct aset {
    struct rule_addr_range *r;
    uint32_t n, cap;
};

struct actx {
    struct rule_parse *p;
    const char *at;
    struct sk_span var; /* "$NAME" while its text is read */
    bool used_var, failed;
};

static const struct rule_addr_range everything = {.hi = {.q = {UINT64_MAX, UINT64_MAX}}};

static int afail(struct actx *c, struct sk_span what, const char *why)
{
    int n = (int)(what.len > 60 ? 60 : what.len), v = (int)(c->var.len > 60 ? 60 : c->var.len);
    if (!c->failed && v)
        (void)rule_fail(c->p, c->at, "address '%.*s' in %.*s: %s", n, (const char *)what.p, v, (const char *)c->var.p,
                        why);
    else if (!c->failed)
        (void)rule_fail(c->p, c->at, "address '%.*s': %s", n, (const char *)what.p, why);
    c->failed = true;
    return SK_EINVAL;
}

static int aset_add(struct actx *c, struct aset *s, struct rule_addr_range r)
{
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 8;
        struct rule_addr_range *n = cap > MAX_RANGES ? NULL : realloc(s->r, cap * sizeof *n);
        if (!n)
            return afail(c, sk_span_str("[...]"), "list is too long");
        s->r = n;
        s->cap = cap;
    }
    s->r[s->n++] = r;
    return SK_OK;
}

static bool addr_next(struct sk_addr *a)
{
    for (int i = 15; i >= 0; i--)
        if (++a->b[i] != 0)
            return true;
    return false;
}

static void addr_prev(struct sk_addr *a)
{
    for (int i = 15; i >= 0; i--)
        if (a->b[i]-- != 0)
            return;
}

static int range_cmp(const void *x, const void *y)
{
    const struct rule_addr_range *a = x, *b = y;
    return sk_addr_cmp(&a->lo, &b->lo);
}

static void aset_merge(struct aset *s)
{
    uint32_t n = 0;
    if (s->n > 1)
        qsort(s->r, s->n, sizeof *s->r, range_cmp);
    for (uint32_t i = 0; i < s->n; i++) {
        if (n) {
            struct sk_addr after = s->r[n - 1].hi;
            if (!addr_next(&after) || sk_addr_cmp(&s->r[i].lo, &after) <= 0) {
                if (sk_addr_cmp(&s->r[i].hi, &s->r[n - 1].hi) > 0)
                    s->r[n - 1].hi = s->r[i].hi;
                continue;
            }
        }
        s->r[n++] = s->r[i];
    }
    s->n = n;
}

/* out = a less b; both merged. */
static int aset_less(struct actx *c, const struct aset *a, const struct aset *b, struct aset *out)
{
    uint32_t j = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        struct rule_addr_range r = a->r[i];
        bool left = true;
        while (j < b->n && sk_addr_cmp(&b->r[j].hi, &r.lo) < 0)
            j++;
        for (uint32_t k = j; left && k < b->n && sk_addr_cmp(&b->r[k].lo, &r.hi) <= 0; k++) {
            if (sk_addr_cmp(&b->r[k].lo, &r.lo) > 0) {
                struct rule_addr_range piece = {.lo = r.lo, .hi = b->r[k].lo};
                addr_prev(&piece.hi);
                if (aset_add(c, out, piece) != SK_OK)
                    return SK_EINVAL;
            }
            r.lo = b->r[k].hi;
            left = addr_next(&r.lo) && sk_addr_cmp(&r.lo, &r.hi) <= 0;
        }
        if (left && aset_add(c, out, r) != SK_OK)
            return SK_EINVAL;
    }
    return SK_OK;
}

/* An IPv6 prefix or range that reaches over the IPv4-mapped block means IPv6 only. */
static int add_family(struct actx *c, struct aset *s, struct rule_addr_range r)
{
    static const struct rule_addr_range mapped = {
        .lo = {.b = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}},
        .hi = {.b = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}};
    bool inside = sk_addr_is_v4(&r.lo) && sk_addr_is_v4(&r.hi);
    bool apart = sk_addr_cmp(&r.hi, &mapped.lo) < 0 || sk_addr_cmp(&r.lo, &mapped.hi) > 0;
    if (inside || apart)
        return aset_add(c, s, r);
    struct aset a = {.r = &r, .n = 1}, b = {.r = (struct rule_addr_range *)&mapped, .n = 1};
    return aset_less(c, &a, &b, s);
}

/* Prefix length of 255.255.255.0 and the like. */
static bool netmask_len(struct sk_span m, unsigned *len)
{
    struct sk_addr a;
    if (!memchr(m.p, '.', m.len) || sk_addr_parse((const char *)m.p, m.len, &a) != SK_OK)
        return false;
    uint32_t v = (uint32_t)a.b[12] << 24 | (uint32_t)a.b[13] << 16 | (uint32_t)a.b[14] << 8 | a.b[15];
    uint32_t inv = ~v;
    if (inv & (inv + 1))
        return false;
    *len = (unsigned)(v ? __builtin_popcount(v) : 0);
    return true;
}

static int parse_literal(struct actx *c, struct sk_span s, struct aset *out)
{
    struct rule_addr_range r;
    struct sk_prefix px;
    const uint8_t *dash = memchr(s.p, '-', s.len), *slash = memchr(s.p, '/', s.len);
    if (dash) {
        struct sk_span a = text_trim(sk_span_of(s.p, (uint32_t)(dash - s.p)));
        struct sk_span b = text_trim(sk_span_of(dash + 1, s.len - (uint32_t)(dash - s.p) - 1));
        if (sk_addr_parse((const char *)a.p, a.len, &r.lo) != SK_OK ||
            sk_addr_parse((const char *)b.p, b.len, &r.hi) != SK_OK || sk_addr_is_v4(&r.lo) != sk_addr_is_v4(&r.hi))
            return afail(c, s, "is not a range of addresses");
        if (sk_addr_cmp(&r.lo, &r.hi) > 0)
            return afail(c, s, "range is reversed");
        return add_family(c, out, r);
    }
    unsigned ml;
    if (slash && netmask_len(sk_span_of(slash + 1, s.len - (uint32_t)(slash - s.p) - 1), &ml)) {
        struct sk_addr a;
        if (sk_addr_parse((const char *)s.p, (size_t)(slash - s.p), &a) != SK_OK || !sk_addr_is_v4(&a))
            return afail(c, s, "is not an address with a netmask");
        px = sk_prefix_make(&a, (uint8_t)(96 + ml));
    } else if (sk_prefix_parse((const char *)s.p, s.len, true, &px) != SK_OK) {
        return afail(c, s,
                     slash ? "is not an address and prefix length" : "is not an address (variables start with $)");
    }
    sk_prefix_range(&px, &r.lo, &r.hi);
    return add_family(c, out, r);
}

static int parse_list(struct actx *c, struct sk_span s, bool negate, struct aset *pos, struct aset *neg, int depth);

/* A list on its own: what it matches, as one set. */
static int parse_closed(struct actx *c, struct sk_span s, struct aset *out, int depth)
{
    struct aset pos = {0}, neg = {0};
    int rc = parse_list(c, s, false, &pos, &neg, depth);
    if (rc == SK_OK && pos.n == 0)
        rc = aset_add(c, &pos, everything);
    aset_merge(&pos);
    aset_merge(&neg);
    if (rc == SK_OK)
        rc = aset_less(c, &pos, &neg, out);
    free(pos.r);
    free(neg.r);
    return rc;
}

static const char *find_var(const struct rule_var *v, unsigned n, struct sk_span name)
{
    for (unsigned i = 0; i < n; i++)
        if (sk_span_eq(sk_span_str(v[i].name), name))
            return v[i].text;
    return NULL;
}

static int parse_item(struct actx *c, struct sk_span s, bool negate, struct aset *pos, struct aset *neg, int depth)
{
    if (s.len && s.p[0] == '!') {
        if (negate || (s.len > 1 && s.p[1] == '!'))
            return afail(c, s, "is negated twice");
        return parse_item(c, text_trim(sk_span_of(s.p + 1, s.len - 1)), true, pos, neg, depth);
    }
    if (s.len == 0)
        return afail(c, s, "is empty");
    if (depth > MAX_NESTING)
        return afail(c, s, "is nested too deeply, or a variable refers to itself");
    struct sk_span inner = s, before = c->var;
    if (s.p[0] == '[') {
        if (s.p[s.len - 1] != ']')
            return afail(c, s, "has an unbalanced bracket");
        inner = sk_span_of(s.p + 1, s.len - 2);
    } else if (s.p[0] == '$') {
        const struct rule_conf *conf = &c->p->l->conf;
        const char *text = find_var(conf->addr_vars, conf->naddr, sk_span_of(s.p + 1, s.len - 1));
        if (!text)
            return afail(c, s, "is not a known address variable");
        c->used_var = true;
        inner = sk_span_str(text);
        c->var = s;
    } else if (text_is(s, "any")) {
        return aset_add(c, negate ? neg : pos, everything);
    } else {
        return parse_literal(c, s, negate ? neg : pos);
    }
    int rc = negate ? parse_closed(c, inner, neg, depth + 1) : parse_list(c, inner, false, pos, neg, depth + 1);
    c->var = before;
    return rc;
}

static int parse_list(struct actx *c, struct sk_span s, bool negate, struct aset *pos, struct aset *neg, int depth)
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
    return level == 0 ? SK_OK : afail(c, s, "has an unbalanced bracket");
}

static bool is_all(const struct aset *s)
{
    return s->n == 1 && memcmp(&s->r[0], &everything, sizeof everything) == 0;
}

/* Brings pos and neg into the one form that equal lists share. */
static int canonical(struct actx *c, struct sk_span s, struct aset *pos, struct aset *neg)
{
    struct aset out = {0};
    aset_merge(pos);
    aset_merge(neg);
    if (is_all(pos))
        pos->n = 0;
    bool nothing = is_all(neg);
    if (pos->n && neg->n) {
        if (aset_less(c, pos, neg, &out) != SK_OK) {
            free(out.r);
            return SK_EINVAL;
        }
        free(pos->r);
        *pos = out;
        neg->n = 0;
        nothing = pos->n == 0;
    }
    if (!nothing)
        return SK_OK;
    if (!c->used_var)
        return afail(c, s, "matches nothing");
    pos->n = neg->n = 0;
    if (!c->p->l->warned_nothing)
        rule_warn(c->p, c->at, "address '%.*s' matches nothing with these variables (is HOME_NET 'any'?); said once",
                  (int)s.len, (const char *)s.p);
    c->p->l->warned_nothing = true;
    return aset_add(c, neg, everything);
}

static struct rule_addr_range *keep(struct rule_parse *p, const struct aset *s)
{
    struct rule_addr_range *r = sk_arena_alloc(p->l->arena, s->n ? s->n * sizeof *r : 1);
    if (r && s->n)
        memcpy(r, s->r, s->n * sizeof *r);
    return r;
}

static struct rule_addr_spec *spec_new(struct rule_parse *p, struct sk_span text, const struct aset *pos,
                                       const struct aset *neg)
{
    struct rule_loader *l = p->l;
    if (l->naddr == l->addr_cap) {
        uint32_t cap = l->addr_cap ? l->addr_cap * 2 : 64;
        void *n = realloc(l->addrs, cap * sizeof *l->addrs);
        if (!n)
            return NULL;
        l->addrs = n;
        l->addr_cap = cap;
    }
    struct rule_addr_spec *s = sk_arena_zalloc(l->arena, sizeof *s);
    if (!s)
        return NULL;
    *s = (struct rule_addr_spec){.id = l->naddr,
                                 .npos = pos->n,
                                 .nneg = neg->n,
                                 .pos = keep(p, pos),
                                 .neg = keep(p, neg),
                                 .text = rule_strdup(p, text)};
    if (!s->pos || !s->neg || !s->text)
        return NULL;
    l->addrs[l->naddr++] = s;
    return s;
}

/* The spec with these very ranges, new or known. */
static struct rule_addr_spec *spec_intern(struct rule_parse *p, struct sk_span text, const struct aset *pos,
                                          const struct aset *neg)
{
    const struct aset *set = pos->n ? pos : neg;
    uint32_t bytes = set->n * (uint32_t)sizeof *set->r;
    uint8_t *key = malloc(bytes + 1);
    if (!key)
        return NULL;
    key[0] = pos->n ? 'p' : 'n';
    if (bytes)
        memcpy(key + 1, set->r, bytes);
    struct rule_addr_spec *s = intern_get(&p->l->addr_canon, sk_span_of(key, bytes + 1));
    if (!s) {
        struct sk_span k = sk_arena_copy(p->l->arena, sk_span_of(key, bytes + 1));
        s = k.p ? spec_new(p, text, pos, neg) : NULL;
        if (s && !intern_put(&p->l->addr_canon, k, s))
            s = NULL;
    }
    free(key);
    return s;
}

const struct rule_addr_spec *rule_addr_parse(struct rule_parse *p, struct sk_span text)
{
    struct rule_addr_spec *s = intern_get(&p->l->addr_text, text);
    if (s)
        return s;
    struct actx c = {.p = p, .at = (const char *)text.p};
    struct aset pos = {0}, neg = {0};
    if (parse_list(&c, text, false, &pos, &neg, 0) == SK_OK && canonical(&c, text, &pos, &neg) == SK_OK) {
        s = spec_intern(p, text, &pos, &neg);
        struct sk_span k = sk_arena_copy(p->l->arena, text);
        if (!s || !k.p || !intern_put(&p->l->addr_text, k, s)) {
            (void)rule_nomem(p);
            s = NULL;
        }
    }
    free(pos.r);
    free(neg.r);
    return s;
}

static bool in_ranges(const struct rule_addr_range *r, uint32_t n, const struct sk_addr *a)
{
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (sk_addr_cmp(&r[mid].hi, a) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && sk_addr_cmp(&r[lo].lo, a) <= 0;
}

bool rule_addr_match(const struct rule_addr_spec *s, const struct sk_addr *a)
{
    if (s->npos && !in_ranges(s->pos, s->npos, a))
        return false;
    return !s->nneg || !in_ranges(s->neg, s->nneg, a);
}
