/*
 * What is wanted: the entries of one family, sorted as plist sorts; and what is made of them: which need a place of
 * their own, aggregates, ranks.
 */
#ifndef WAF_ITEMS_H
#define WAF_ITEMS_H

#include "plist.h"
#include "waf/waf.h"

struct rank { /* the first that differs decides */
    int64_t score, repeat;
    unsigned agents;
    int64_t last, expires; /* in steps of ten minutes: an attacker that goes on must not change places with another */
};

struct item {
    struct sk_prefix p;
    int64_t expires, latest; /* of an aggregate: the first and the last of its parts */
    int64_t since;           /* wanted from then on */
    int64_t ready;           /* need not wait for others after that */
    struct rank rank;        /* the best of what it stands for */
    struct rank own;
    int16_t set;  /* of the group; -1 without a place */
    bool over;    /* ends by the cutoff */
    bool shown;   /* needs a place of its own */
    bool merged;  /* an aggregate */
    bool evicted; /* does not fit */
};

struct items {
    struct item *e;
    size_t n, cap;
    uint64_t lens[PLIST_LENS];
};

SK_MUST_USE int items_add(struct items *l, const struct item *x);
void items_sort(struct items *l); /* of equal prefixes one remains: the later end, the higher rank */
void items_free(struct items *l);
void items_item(struct item *x, const struct sk_prefix *p, const struct waf_entry *e);
/* Index of the first that is not before p. */
size_t items_lower(const struct items *l, const struct sk_prefix *p);
struct item *items_find(const struct items *l, const struct sk_prefix *p);
int rank_cmp(const struct rank *a, const struct rank *b);

/* What must stay is written before what must go: an entry that a wider one covers gets its own place `lead` before the
 * wider one ends, and an aggregate is taken apart as long before the first of its parts ends. */
struct times {
    int64_t now;    /* what has ended by then is gone */
    int64_t cutoff; /* not before now: what ends by then is over; it stays in AWS only for what it covers */
    int64_t lead;
};
/* Drops what is gone, says which need a place of their own, and when (in terms of cutoff) this is to be done again:
 * INT64_MAX never. */
int64_t items_sweep(struct items *l, const struct times *t);
/* Until when is every address of p blocked by what is in l, over or not? 0: not even now. */
int64_t items_blocked_until(const struct items *l, const struct sk_prefix *p);
/* The shown ones of `in`; siblings joined as far as `widest` (length over 128 bits; 128: not at all). *next as
 * items_sweep. */
SK_MUST_USE int items_collect(const struct items *in, uint8_t widest, const struct times *t, struct items *out,
                              int64_t *next);

#endif
