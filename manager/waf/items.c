#include "items.h"

#include <stdlib.h>
#include "base/clock.h"

#define RANK_STEP (600 * SK_NS_PER_S)
#define DEPTH     130 /* nested prefixes: one a length */

int items_add(struct items *l, const struct item *x)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        struct item *m = realloc(l->e, cap * sizeof *m);
        if (!m)
            return SK_ENOMEM;
        l->e = m;
        l->cap = cap;
    }
    l->e[l->n++] = *x;
    return SK_OK;
}

void items_free(struct items *l)
{
    free(l->e);
    memset(l, 0, sizeof *l);
}

void items_item(struct item *x, const struct sk_prefix *p, const struct waf_entry *e)
{
    memset(x, 0, sizeof *x);
    x->p = *p;
    x->expires = x->latest = e->expires;
    x->own = (struct rank){e->score, e->repeat, e->agents, e->last / RANK_STEP, e->expires / RANK_STEP};
    x->rank = x->own;
    x->ready = e->last; /* plus `coalesce`: one that has been blocked for long does not wait */
    x->set = -1;
}

int rank_cmp(const struct rank *a, const struct rank *b)
{
    if (a->score != b->score)
        return a->score > b->score ? 1 : -1;
    if (a->repeat != b->repeat)
        return a->repeat > b->repeat ? 1 : -1;
    if (a->agents != b->agents)
        return a->agents > b->agents ? 1 : -1;
    if (a->last != b->last)
        return a->last > b->last ? 1 : -1;
    return (a->expires > b->expires) - (a->expires < b->expires);
}

static int cmp_void(const void *a, const void *b)
{
    return plist_cmp(&((const struct item *)a)->p, &((const struct item *)b)->p);
}

static bool in_order(const struct items *l)
{
    for (size_t i = 1; i < l->n; i++)
        if (plist_cmp(&l->e[i - 1].p, &l->e[i].p) > 0)
            return false;
    return true;
}

static void join_same(struct item *into, const struct item *x)
{
    if (into->expires < x->expires)
        into->expires = into->latest = x->expires;
    if (rank_cmp(&into->own, &x->own) < 0)
        into->own = into->rank = x->own;
}

static void index_lens(struct items *l)
{
    memset(l->lens, 0, sizeof l->lens);
    for (size_t i = 0; i < l->n; i++)
        plist_mark_len(l->lens, l->e[i].p.len);
}

void items_sort(struct items *l)
{
    if (!in_order(l))
        qsort(l->e, l->n, sizeof *l->e, cmp_void);
    size_t k = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (k > 0 && plist_same(&l->e[k - 1].p, &l->e[i].p))
            join_same(&l->e[k - 1], &l->e[i]);
        else
            l->e[k++] = l->e[i];
    }
    l->n = k;
    index_lens(l);
}

size_t items_lower(const struct items *l, const struct sk_prefix *p)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (plist_cmp(&l->e[mid].p, p) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct item *items_find(const struct items *l, const struct sk_prefix *p)
{
    size_t i = items_lower(l, p);
    return i < l->n && plist_same(&l->e[i].p, p) ? &l->e[i] : NULL;
}

static void earlier(int64_t *t, int64_t when)
{
    if (when < *t)
        *t = when;
}

/* Is x covered by one of those that stand over it, for long enough? Then their rank is at least its own. */
static bool covered(struct items *l, const size_t *over, unsigned depth, const struct item *x, const struct times *t,
                    int64_t *next)
{
    bool is = false;
    for (unsigned i = 0; i < depth; i++) {
        struct item *o = &l->e[over[i]];
        if (o->over || (o->expires < x->expires && o->expires <= t->cutoff + t->lead))
            continue;
        if (o->expires < x->expires)
            earlier(next, o->expires - t->lead);
        if (rank_cmp(&o->rank, &x->own) < 0)
            o->rank = x->own;
        is = true;
    }
    return is;
}

int64_t items_sweep(struct items *l, const struct times *t)
{
    int64_t next = INT64_MAX;
    size_t over[DEPTH], k = 0;
    unsigned depth = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (l->e[i].expires <= t->now)
            continue;
        struct item *x = &l->e[k];
        *x = l->e[i];
        x->rank = x->own;
        x->over = x->expires <= t->cutoff;
        if (!x->over)
            earlier(&next, x->expires);
        while (depth > 0 && !sk_prefix_covers(&l->e[over[depth - 1]].p, &x->p))
            depth--;
        x->shown = !x->over && !covered(l, over, depth, x, t, &next);
        over[depth++] = k++;
    }
    l->n = k;
    index_lens(l);
    return next;
}

static int64_t until_wider(const struct items *l, const struct sk_prefix *p)
{
    int64_t until = 0;
    for (unsigned len = 0; len <= p->len; len++) {
        if (!plist_marked(l->lens, len))
            continue;
        struct sk_prefix wide = sk_prefix_make(&p->addr, (uint8_t)len);
        const struct item *x = items_find(l, &wide);
        if (x && x->expires > until)
            until = x->expires;
    }
    return until;
}

/* p in pieces: those under it must add up to all of it. */
static int64_t until_parts(const struct items *l, const struct sk_prefix *p)
{
    if (p->len == 0)
        return 0;
    unsigned __int128 whole = (unsigned __int128)1 << (128 - p->len), have = 0;
    int64_t until = INT64_MAX;
    const struct sk_prefix *last = NULL;
    for (size_t i = items_lower(l, p); i < l->n && sk_prefix_covers(p, &l->e[i].p); i++) {
        const struct item *x = &l->e[i];
        if (last && sk_prefix_covers(last, &x->p))
            continue;
        last = &x->p;
        have += (unsigned __int128)1 << (128 - x->p.len);
        earlier(&until, x->expires);
    }
    return have >= whole ? until : 0;
}

int64_t items_blocked_until(const struct items *l, const struct sk_prefix *p)
{
    int64_t wide = until_wider(l, p), parts = until_parts(l, p);
    return wide > parts ? wide : parts;
}

static bool siblings(const struct item *a, const struct item *b, uint8_t widest)
{
    if (a->p.len != b->p.len || a->p.len <= widest)
        return false;
    struct sk_prefix up = sk_prefix_make(&a->p.addr, (uint8_t)(a->p.len - 1));
    return sk_prefix_contains(&up, &b->p.addr);
}

/* Not those of which one part ends soon and the other does not. */
static bool joinable(const struct item *a, const struct item *b, const struct times *t, int64_t *next)
{
    int64_t first = a->expires < b->expires ? a->expires : b->expires;
    int64_t last = a->latest > b->latest ? a->latest : b->latest;
    if (first == last)
        return true;
    if (first <= t->cutoff + t->lead)
        return false;
    earlier(next, first - t->lead);
    return true;
}

static void join_into(struct item *a, const struct item *b)
{
    a->p = sk_prefix_make(&a->p.addr, (uint8_t)(a->p.len - 1));
    if (b->expires < a->expires)
        a->expires = b->expires;
    if (b->latest > a->latest)
        a->latest = b->latest;
    if (rank_cmp(&a->rank, &b->rank) < 0)
        a->rank = a->own = b->rank;
    a->merged = true;
}

int items_collect(const struct items *in, uint8_t widest, const struct times *t, struct items *out, int64_t *next)
{
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        if (!in->e[i].shown)
            continue;
        if (items_add(out, &in->e[i]) != SK_OK)
            return SK_ENOMEM;
        out->e[out->n - 1].own = out->e[out->n - 1].rank;
        while (out->n >= 2) {
            struct item *a = &out->e[out->n - 2], *b = a + 1;
            if (!siblings(a, b, widest) || !joinable(a, b, t, next))
                break;
            join_into(a, b);
            out->n--;
        }
    }
    items_sort(out); /* in order already, except where one is nested in another for a while */
    return SK_OK;
}
