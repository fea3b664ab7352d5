/*
 * Overlapping prefix blocks cut into disjoint ranges, each with the latest expiry of the blocks that cover it:
 *
 *     block A  |----------------------|        expires 1:00
 *     block B        |------|                  expires 2:00
 *     pieces   |--A--|--B---|----A----|
 *
 * The kernel's interval set holds exactly these, so that it lets every address go at the right second by itself, also
 * when the guard is dead. Private to enforce/.
 */
#ifndef ENFORCE_PIECES_H
#define ENFORCE_PIECES_H

#include "enforce/blocktable.h"

struct piece {
    struct sk_addr first, last;
    int64_t expires;
    uint64_t seen_packets, seen_bytes; /* of the kernel element, already credited to a block */
    bool foreign;                      /* read from the kernel, where nothing of ours was believed to be */
};

struct pieces {
    struct piece *p; /* by ascending first */
    size_t n, cap;
};

void pieces_free(struct pieces *ps);
SK_MUST_USE int pieces_append(struct pieces *ps, const struct piece *p);
void pieces_sort(struct pieces *ps);
/* The pieces of all prefix blocks of a family in force at now, into *out (emptied first). */
SK_MUST_USE int pieces_compute(const struct block_table *t, bool v4, int64_t now, struct pieces *out);
/* Splits a range into prefixes, ascending; fn returns false to stop. */
void pieces_to_prefixes(const struct piece *p, bool (*fn)(void *arg, const struct sk_prefix *p), void *arg);

/* The address after / before; wraps. */
struct sk_addr addr_next(const struct sk_addr *a);
struct sk_addr addr_prev(const struct sk_addr *a);

#endif
