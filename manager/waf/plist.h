/*
 * Sorted lists of prefixes: what is in an IP set, what of it is ours. Order: address, then length, so that a wider
 * prefix stands before what it covers. No duplicates once sorted. Owner: whoever holds the struct; zero is empty.
 */
#ifndef WAF_PLIST_H
#define WAF_PLIST_H

#include <stddef.h>
#include "base/addr.h"

#define PLIST_LENS 3 /* words of a bitmap over lengths 0..128 */

struct plist {
    struct sk_prefix *p;
    size_t n, cap;
    uint64_t lens[PLIST_LENS]; /* lengths that occur; valid when sorted */
};

int plist_cmp(const struct sk_prefix *a, const struct sk_prefix *b);
static inline bool plist_same(const struct sk_prefix *a, const struct sk_prefix *b)
{
    return a->len == b->len && sk_addr_eq(&a->addr, &b->addr);
}
static inline void plist_mark_len(uint64_t *lens, uint8_t len)
{
    lens[len / 64] |= UINT64_C(1) << (len % 64);
}
static inline bool plist_marked(const uint64_t *lens, unsigned len)
{
    return lens[len / 64] >> (len % 64) & 1;
}

/* Appends; plist_sort makes it a sorted list. SK_ENOMEM. */
SK_MUST_USE int plist_add(struct plist *l, const struct sk_prefix *p);
void plist_sort(struct plist *l);
void plist_reset(struct plist *l); /* keeps the memory */
void plist_free(struct plist *l);

/* The rest takes sorted lists only. */
size_t plist_lower(const struct plist *l, const struct sk_prefix *p); /* first that is not before p; n if none */
bool plist_has(const struct plist *l, const struct sk_prefix *p);
bool plist_covers(const struct plist *l, const struct sk_prefix *p);   /* itself or a wider one is there */
bool plist_overlaps(const struct plist *l, const struct sk_prefix *p); /* itself, a wider or a narrower one */
/* out: what is in a, and in b (both) or not in b (minus). out is neither a nor b. SK_ENOMEM. */
SK_MUST_USE int plist_minus(const struct plist *a, const struct plist *b, struct plist *out);
SK_MUST_USE int plist_both(const struct plist *a, const struct plist *b, struct plist *out);
size_t plist_count_both(const struct plist *a, const struct plist *b);
SK_MUST_USE int plist_join(struct plist *l, const struct plist *more); /* l and what is in more */
/* l without what is in less. */
void plist_remove(struct plist *l, const struct plist *less);
static inline void plist_swap(struct plist *a, struct plist *b)
{
    struct plist t = *a;
    *a = *b;
    *b = t;
}

#endif
