#include "plist.h"

#include <stdlib.h>

int plist_cmp(const struct sk_prefix *a, const struct sk_prefix *b)
{
    int c = sk_addr_cmp(&a->addr, &b->addr);
    return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

int plist_add(struct plist *l, const struct sk_prefix *p)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct sk_prefix *m = realloc(l->p, cap * sizeof *m);
        if (!m)
            return SK_ENOMEM;
        l->p = m;
        l->cap = cap;
    }
    l->p[l->n++] = *p;
    return SK_OK;
}

static int cmp_void(const void *a, const void *b)
{
    return plist_cmp(a, b);
}

static bool in_order(const struct plist *l)
{
    for (size_t i = 1; i < l->n; i++)
        if (plist_cmp(&l->p[i - 1], &l->p[i]) > 0)
            return false;
    return true;
}

void plist_sort(struct plist *l)
{
    if (!in_order(l))
        qsort(l->p, l->n, sizeof *l->p, cmp_void);
    memset(l->lens, 0, sizeof l->lens);
    size_t k = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (k > 0 && plist_same(&l->p[k - 1], &l->p[i]))
            continue;
        l->p[k++] = l->p[i];
        plist_mark_len(l->lens, l->p[k - 1].len);
    }
    l->n = k;
}

void plist_reset(struct plist *l)
{
    l->n = 0;
    memset(l->lens, 0, sizeof l->lens);
}

void plist_free(struct plist *l)
{
    free(l->p);
    memset(l, 0, sizeof *l);
}

size_t plist_lower(const struct plist *l, const struct sk_prefix *p)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (plist_cmp(&l->p[mid], p) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool plist_has(const struct plist *l, const struct sk_prefix *p)
{
    size_t i = plist_lower(l, p);
    return i < l->n && plist_same(&l->p[i], p);
}

bool plist_covers(const struct plist *l, const struct sk_prefix *p)
{
    for (unsigned len = 0; len <= p->len; len++) {
        if (!plist_marked(l->lens, len))
            continue;
        struct sk_prefix wide = sk_prefix_make(&p->addr, (uint8_t)len);
        if (plist_has(l, &wide))
            return true;
    }
    return false;
}

bool plist_overlaps(const struct plist *l, const struct sk_prefix *p)
{
    size_t i = plist_lower(l, p); /* the first narrower one stands right here */
    return (i < l->n && sk_prefix_covers(p, &l->p[i])) || plist_covers(l, p);
}

/* What is in a and, as keep says, in b or not. */
static int pick(const struct plist *a, const struct plist *b, bool keep, struct plist *out)
{
    plist_reset(out);
    for (size_t i = 0, j = 0; i < a->n; i++) {
        while (j < b->n && plist_cmp(&b->p[j], &a->p[i]) < 0)
            j++;
        if ((j < b->n && plist_same(&b->p[j], &a->p[i])) != keep)
            continue;
        if (plist_add(out, &a->p[i]) != SK_OK)
            return SK_ENOMEM;
        plist_mark_len(out->lens, a->p[i].len);
    }
    return SK_OK;
}

int plist_minus(const struct plist *a, const struct plist *b, struct plist *out)
{
    return pick(a, b, false, out);
}

int plist_both(const struct plist *a, const struct plist *b, struct plist *out)
{
    return pick(a, b, true, out);
}

size_t plist_count_both(const struct plist *a, const struct plist *b)
{
    size_t n = 0;
    for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
        int c = plist_cmp(&a->p[i], &b->p[j]);
        n += c == 0;
        i += c <= 0;
        j += c >= 0;
    }
    return n;
}

int plist_join(struct plist *l, const struct plist *more)
{
    size_t before = l->n;
    for (size_t i = 0; i < more->n; i++) {
        if (plist_add(l, &more->p[i]) != SK_OK) {
            l->n = before;
            return SK_ENOMEM;
        }
    }
    plist_sort(l);
    return SK_OK;
}

void plist_remove(struct plist *l, const struct plist *less)
{
    size_t k = 0;
    memset(l->lens, 0, sizeof l->lens);
    for (size_t i = 0, j = 0; i < l->n; i++) {
        while (j < less->n && plist_cmp(&less->p[j], &l->p[i]) < 0)
            j++;
        if (j < less->n && plist_same(&less->p[j], &l->p[i]))
            continue;
        l->p[k++] = l->p[i];
        plist_mark_len(l->lens, l->p[k - 1].len);
    }
    l->n = k;
}
