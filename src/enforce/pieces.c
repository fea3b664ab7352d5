#include "pieces.h"

#include <stdlib.h>

struct sk_addr addr_next(const struct sk_addr *a)
{
    struct sk_addr r = *a;
    for (int i = 15; i >= 0 && ++r.b[i] == 0; i--)
        ;
    return r;
}

struct sk_addr addr_prev(const struct sk_addr *a)
{
    struct sk_addr r = *a;
    for (int i = 15; i >= 0 && r.b[i]-- == 0; i--)
        ;
    return r;
}

void pieces_free(struct pieces *ps)
{
    free(ps->p);
    *ps = (struct pieces){0};
}

int pieces_append(struct pieces *ps, const struct piece *p)
{
    if (ps->n == ps->cap) {
        size_t cap = ps->cap ? ps->cap * 2 : 64;
        struct piece *m = realloc(ps->p, cap * sizeof *m);
        if (!m)
            return SK_ENOMEM;
        ps->p = m;
        ps->cap = cap;
    }
    ps->p[ps->n++] = *p;
    return SK_OK;
}

static int piece_cmp(const void *a, const void *b)
{
    return sk_addr_cmp(&((const struct piece *)a)->first, &((const struct piece *)b)->first);
}

void pieces_sort(struct pieces *ps)
{
    if (ps->n > 1)
        qsort(ps->p, ps->n, sizeof *ps->p, piece_cmp);
}

struct range {
    struct sk_addr first, last;
    const struct block *b;
};

/* Prefixes are nested or disjoint: with the wider one first, a stack of the open ones is enough. */
static int range_cmp(const void *x, const void *y)
{
    const struct range *a = x, *b = y;
    int c = sk_addr_cmp(&a->first, &b->first);
    return c ? c : (int)a->b->target.len - (int)b->b->target.len;
}

static int collect(const struct block_table *t, bool v4, int64_t now, struct range **out, size_t *n)
{
    size_t have = 0;
    struct range *r = calloc(block_table_prefixes(t) + 1, sizeof *r);
    if (!r)
        return SK_ENOMEM;
    for (size_t i = 0; i < block_table_prefixes(t); i++) {
        const struct block *b = block_table_prefix_at(t, i);
        if (sk_addr_is_v4(&b->target.addr) != v4 || b->expires <= now)
            continue;
        sk_prefix_range(&b->target, &r[have].first, &r[have].last);
        r[have++].b = b;
    }
    if (have > 1)
        qsort(r, have, sizeof *r, range_cmp);
    *out = r;
    *n = have;
    return SK_OK;
}

struct sweep {
    struct pieces *out;
    struct sk_addr pos; /* everything before is emitted */
    const struct block *last_owner;
    unsigned depth;
    struct {
        struct sk_addr last;
        const struct block *owner; /* of this and all that enclose it, the one that lasts longest */
    } open[130];
    int rc;
};

static void emit(struct sweep *s, const struct sk_addr *last, const struct block *owner)
{
    if (s->rc != SK_OK || sk_addr_cmp(&s->pos, last) > 0)
        return;
    struct piece *prev = s->out->n ? &s->out->p[s->out->n - 1] : NULL;
    if (prev && s->last_owner == owner) {
        struct sk_addr next = addr_next(&prev->last);
        if (sk_addr_eq(&next, &s->pos)) {
            prev->last = *last;
            return;
        }
    }
    struct piece p = {.first = s->pos, .last = *last, .expires = owner->expires};
    s->rc = pieces_append(s->out, &p);
    s->last_owner = owner;
}

static void close_top(struct sweep *s)
{
    s->depth--;
    emit(s, &s->open[s->depth].last, s->open[s->depth].owner);
    s->pos = addr_next(&s->open[s->depth].last);
}

static void open_range(struct sweep *s, const struct range *r)
{
    while (s->depth > 0 && sk_addr_cmp(&s->open[s->depth - 1].last, &r->first) < 0)
        close_top(s);
    const struct block *owner = r->b;
    if (s->depth > 0) {
        const struct block *outer = s->open[s->depth - 1].owner;
        if (sk_addr_cmp(&s->pos, &r->first) < 0) {
            struct sk_addr before = addr_prev(&r->first);
            emit(s, &before, outer);
        }
        if (outer->expires >= owner->expires)
            owner = outer;
    }
    s->pos = r->first;
    s->open[s->depth].last = r->last;
    s->open[s->depth].owner = owner;
    s->depth++;
}

int pieces_compute(const struct block_table *t, bool v4, int64_t now, struct pieces *out)
{
    struct range *r;
    size_t n;
    out->n = 0;
    int rc = collect(t, v4, now, &r, &n);
    if (rc != SK_OK)
        return rc;
    struct sweep s = {.out = out};
    for (size_t i = 0; i < n; i++)
        open_range(&s, &r[i]);
    while (s.depth > 0)
        close_top(&s);
    free(r);
    return s.rc;
}

void pieces_to_prefixes(const struct piece *p, bool (*fn)(void *arg, const struct sk_prefix *p), void *arg)
{
    struct sk_addr at = p->first;
    for (;;) {
        struct sk_addr first, last = at;
        struct sk_prefix best = sk_prefix_make(&at, 128);
        /* Widen while it begins here and ends within the range. */
        for (uint8_t len = 128; len-- > 0;) {
            struct sk_prefix wide = sk_prefix_make(&at, len);
            struct sk_addr l;
            sk_prefix_range(&wide, &first, &l);
            if (!sk_addr_eq(&first, &at) || sk_addr_cmp(&l, &p->last) > 0)
                break;
            best = wide;
            last = l;
        }
        if (!fn(arg, &best) || sk_addr_cmp(&last, &p->last) >= 0)
            return;
        at = addr_next(&last);
    }
}
