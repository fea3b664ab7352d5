/* What sketch and detector share. */
#ifndef DECIDE_FLOOD_PRIV_H
#define DECIDE_FLOOD_PRIV_H

#include "base/hash.h"
#include "decide/flood.h"

struct flood_item {
    struct sk_addr key;
    uint64_t count;   /* it had at most so many events ... */
    uint64_t certain; /* ... and at least so many */
};

struct flood_summary {
    unsigned n;
    uint64_t rest; /* whoever is not in it had at most so many */
    struct flood_item item[FLOOD_ENTRIES];
};

/* The prefix of an address at a level, as an address; and as a prefix. */
struct sk_addr flood_key(const struct sk_addr *a, enum flood_level level);
struct sk_prefix flood_prefix(const struct sk_addr *key, enum flood_level level);

/* --- flood_sketch.c --- */
/* Events since it was emptied. */
uint64_t flood_sketch_events(const struct flood_sketch *s);
/* The part in which they came. */
int64_t flood_sketch_part(const struct flood_sketch *s);
void flood_sketch_begin(struct flood_sketch *s, int64_t part);
/* Has the worker's clock gone back by a window, up to now or to that part? Told once. */
bool flood_sketch_back(struct flood_sketch *s, int64_t part);
void flood_sketch_read(const struct flood_sketch *s, enum flood_level level, struct flood_summary *out);
/* Empties it. */
void flood_sketch_clear(struct flood_sketch *s);

#endif
