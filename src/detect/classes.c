/* Address and port classes, and the index of rules by listed address. */
#include <stdlib.h>

#include "detect_internal.h"

static int cmp_addr(const void *a, const void *b)
{
    return sk_addr_cmp(a, b);
}

static bool addr_inc(struct sk_addr *a)
{
    for (int i = 15; i >= 0; i--)
        if (++a->b[i])
            return true;
    return false;
}

/* Sorted distinct interval starts: zero, each lo, and what follows each hi. */
static struct sk_addr *collect_edges(const struct rule_addr_range *const *ranges, const uint32_t *counts,
                                     uint32_t nlists, uint32_t *n)
{
    size_t total = 1;
    for (uint32_t i = 0; i < nlists; i++)
        total += 2 * (size_t)counts[i];
    struct sk_addr *e = malloc(total * sizeof *e);
    if (!e)
        return NULL;
    size_t k = 0;
    e[k++] = (struct sk_addr){.q = {0, 0}};
    for (uint32_t i = 0; i < nlists; i++) {
        for (uint32_t j = 0; j < counts[i]; j++) {
            e[k++] = ranges[i][j].lo;
            struct sk_addr next = ranges[i][j].hi;
            if (addr_inc(&next))
                e[k++] = next;
        }
    }
    qsort(e, k, sizeof *e, cmp_addr);
    size_t out = 0;
    for (size_t i = 0; i < k; i++)
        if (out == 0 || !sk_addr_eq(&e[out - 1], &e[i]))
            e[out++] = e[i];
    *n = (uint32_t)out;
    return e;
}

uint32_t det_addr_map_find(const struct det_addr_map *m, const struct sk_addr *a)
{
    uint32_t lo = 0, hi = m->n;
    if (!hi)
        return 0;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (sk_addr_cmp(&m->first[mid], a) <= 0)
            lo = mid;
        else
            hi = mid;
    }
    return m->value[lo];
}

int det_addr_class_spec(const struct det_addr_classes *c, const struct rule_addr_spec *spec)
{
    for (uint32_t i = 0; i < c->nspec; i++)
        if (c->spec[i] == spec)
            return (int)i;
    return -1;
}

static bool spec_is_any(const struct rule_addr_spec *s)
{
    return s->npos == 0 && s->nneg == 0;
}

/* The most used specs, most used first. */
static void choose_addr_specs(struct det_addr_classes *c, const struct rule_set *rs)
{
    c->nspec = 0;
    for (uint32_t i = 0; i < rs->naddr; i++) {
        const struct rule_addr_spec *s = rs->addrs[i];
        if (spec_is_any(s) || s->uses < DET_MIN_SHARED)
            continue;
        uint32_t at = c->nspec < DET_MAX_ADDR_SPECS ? c->nspec++ : DET_MAX_ADDR_SPECS - 1;
        if (at == DET_MAX_ADDR_SPECS - 1 && c->spec[at] && c->spec[at]->uses >= s->uses)
            continue;
        for (; at > 0 && c->spec[at - 1]->uses < s->uses; at--)
            c->spec[at] = c->spec[at - 1];
        c->spec[at] = s;
    }
}

static uint32_t addr_vector(const struct det_addr_classes *c, const struct sk_addr *a)
{
    uint32_t v = 0;
    for (uint32_t k = 0; k < c->nspec; k++)
        if (rule_addr_match(c->spec[k], a))
            v |= 1u << k;
    return v;
}

/* SK_EFULL: more than DET_MAX_ADDR_CLASS classes. */
static int number_classes(struct det_addr_classes *c, const struct sk_addr *edges, uint32_t n, uint32_t *value)
{
    c->n = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = addr_vector(c, &edges[i]), k = 0;
        while (k < c->n && c->vec[k] != v)
            k++;
        if (k == c->n) {
            if (c->n == DET_MAX_ADDR_CLASS)
                return SK_EFULL;
            c->vec[c->n++] = v;
        }
        value[i] = k;
    }
    return SK_OK;
}

static int try_addr_classes(struct detect_set *s)
{
    struct det_addr_classes *c = &s->addr;
    const struct rule_addr_range *ranges[2 * DET_MAX_ADDR_SPECS];
    uint32_t counts[2 * DET_MAX_ADDR_SPECS];
    for (uint32_t i = 0; i < c->nspec; i++) {
        ranges[2 * i] = c->spec[i]->pos;
        counts[2 * i] = c->spec[i]->npos;
        ranges[2 * i + 1] = c->spec[i]->neg;
        counts[2 * i + 1] = c->spec[i]->nneg;
    }
    uint32_t n;
    struct sk_addr *edges = collect_edges(ranges, counts, 2 * c->nspec, &n);
    if (!edges)
        return SK_ENOMEM;
    uint32_t *value = sk_arena_alloc(&s->arena, n * sizeof *value);
    struct sk_addr *first = sk_arena_alloc(&s->arena, n * sizeof *first);
    int rc = value && first ? number_classes(c, edges, n, value) : SK_ENOMEM;
    if (rc == SK_OK) {
        memcpy(first, edges, n * sizeof *first);
        c->map = (struct det_addr_map){.n = n, .first = first, .value = value};
    }
    free(edges);
    return rc;
}

int det_addr_classes_build(struct detect_set *s)
{
    choose_addr_specs(&s->addr, s->src);
    int rc;
    while ((rc = try_addr_classes(s)) == SK_EFULL)
        s->addr.nspec--;
    return rc;
}

int det_port_class_spec(const struct det_port_classes *c, const struct rule_port_spec *spec)
{
    for (uint32_t i = 0; i < c->nspec; i++)
        if (c->spec[i] == spec)
            return (int)i;
    return -1;
}

/* Splits every class by one more spec. False, and nothing changed, when there would be too many classes. */
static bool split_ports(struct det_port_classes *c, const struct rule_port_spec *spec)
{
    int16_t in_class[DET_MAX_PORT_CLASS], out_class[DET_MAX_PORT_CLASS];
    memset(in_class, -1, sizeof in_class);
    memset(out_class, -1, sizeof out_class);
    uint8_t *of = malloc(65536);
    uint16_t repr[DET_MAX_PORT_CLASS];
    uint32_t n = 0;
    bool ok = of != NULL;
    for (uint32_t p = 0; ok && p < 65536; p++) {
        int16_t *slot = rule_port_match(spec, (uint16_t)p) ? &in_class[c->of[p]] : &out_class[c->of[p]];
        if (*slot < 0) {
            if (n == DET_MAX_PORT_CLASS) {
                ok = false;
                break;
            }
            repr[n] = (uint16_t)p;
            *slot = (int16_t)n++;
        }
        of[p] = (uint8_t)*slot;
    }
    if (ok) {
        memcpy(c->of, of, 65536);
        memcpy(c->repr, repr, n * sizeof *repr);
        c->n = n;
    }
    free(of);
    return ok;
}

struct spec_use {
    const struct rule_port_spec *spec;
    uint32_t uses;
};

static int cmp_use(const void *a, const void *b)
{
    const struct spec_use *x = a, *y = b;
    return x->uses != y->uses ? (x->uses < y->uses ? 1 : -1)
                              : (x->spec->id > y->spec->id) - (x->spec->id < y->spec->id);
}

int det_port_classes_build(struct detect_set *s)
{
    struct det_port_classes *c = &s->port;
    c->n = 1;
    uint32_t nport = s->src->nport;
    struct spec_use *u = calloc(nport + 1, sizeof *u);
    c->spec = sk_arena_zalloc(&s->arena, (nport + 1) * sizeof *c->spec);
    if (!u || !c->spec) {
        free(u);
        return SK_ENOMEM;
    }
    for (uint32_t i = 0; i < nport; i++)
        u[i].spec = s->src->ports[i];
    for (uint32_t i = 0; i < s->n; i++) {
        u[s->rules[i].r->sport->id].uses++;
        u[s->rules[i].r->dport->id].uses++;
    }
    qsort(u, nport, sizeof *u, cmp_use);
    for (uint32_t i = 0; i < nport && u[i].uses >= DET_MIN_PORT_USES; i++)
        if (!u[i].spec->any && split_ports(c, u[i].spec))
            c->spec[c->nspec++] = u[i].spec;
    free(u);
    return SK_OK;
}

/* --- index of rules by address --- */

struct edge_rule {
    struct sk_addr lo, hi;
    uint32_t rank;
};

static int cmp_edge_rule(const void *a, const void *b)
{
    const struct edge_rule *x = a, *y = b;
    int c = sk_addr_cmp(&x->lo, &y->lo);
    return c ? c : (x->rank > y->rank) - (x->rank < y->rank);
}

static const struct rule_addr_spec *index_spec(const struct det_rule *d, bool dst)
{
    if (dst)
        return d->by_addr_dst ? d->r->dst : NULL;
    return d->by_addr_src ? d->r->src : NULL;
}

/* For each interval the rules whose ranges cover it: ranges are sorted by lo, `open` are those that may still cover. */
static int fill_lists(struct detect_set *s, const struct edge_rule *er, uint32_t ner, const struct sk_addr *edges,
                      uint32_t n, uint32_t *value, const struct det_rule_list **lists)
{
    uint32_t *open = malloc((ner + 1) * sizeof *open), nopen = 0, next = 0;
    if (!open)
        return SK_ENOMEM;
    int rc = SK_OK;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t keep = 0;
        for (uint32_t k = 0; k < nopen; k++)
            if (sk_addr_cmp(&er[open[k]].hi, &edges[i]) >= 0)
                open[keep++] = open[k];
        nopen = keep;
        for (; next < ner && sk_addr_cmp(&er[next].lo, &edges[i]) <= 0; next++)
            open[nopen++] = next;
        value[i] = 0;
        if (!nopen)
            continue;
        struct det_rule_list *l = sk_arena_alloc(&s->arena, sizeof *l + nopen * sizeof l->rules[0]);
        if (!l) {
            rc = SK_ENOMEM;
            break;
        }
        l->n = nopen;
        for (uint32_t k = 0; k < nopen; k++)
            l->rules[k] = er[open[k]].rank;
        value[i] = i + 1;
        lists[i + 1] = l;
    }
    free(open);
    return rc;
}

int det_addr_index_build(struct detect_set *s, bool dst)
{
    size_t total = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (index_spec(&s->rules[i], dst))
            total += index_spec(&s->rules[i], dst)->npos;
    if (!total)
        return SK_OK;
    int rc = SK_ENOMEM;
    struct sk_addr *edges = NULL;
    struct edge_rule *er = malloc(total * sizeof *er);
    struct rule_addr_range *flat = malloc(total * sizeof *flat);
    if (!er || !flat)
        goto out;
    uint32_t k = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct rule_addr_spec *spec = index_spec(&s->rules[i], dst);
        for (uint32_t j = 0; spec && j < spec->npos; j++, k++) {
            er[k] = (struct edge_rule){.lo = spec->pos[j].lo, .hi = spec->pos[j].hi, .rank = i};
            flat[k] = spec->pos[j];
        }
    }
    qsort(er, k, sizeof *er, cmp_edge_rule);
    uint32_t n;
    const struct rule_addr_range *one = flat;
    edges = collect_edges(&one, &k, 1, &n);
    if (!edges)
        goto out;
    struct sk_addr *first = sk_arena_alloc(&s->arena, n * sizeof *first);
    uint32_t *value = sk_arena_alloc(&s->arena, n * sizeof *value);
    const struct det_rule_list **lists = sk_arena_zalloc(&s->arena, (n + 1) * sizeof *lists);
    if (!first || !value || !lists)
        goto out;
    memcpy(first, edges, n * sizeof *first);
    rc = fill_lists(s, er, k, edges, n, value, lists);
    struct det_addr_map *m = dst ? &s->by_dst : &s->by_src;
    *m = (struct det_addr_map){.n = n, .first = first, .value = value};
    if (dst)
        s->dst_lists = lists;
    else
        s->src_lists = lists;
out:
    free(er);
    free(flat);
    free(edges);
    return rc;
}
