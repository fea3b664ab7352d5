/*
 * Space-Saving in its stream-summary: counters of equal count hang on one bucket, buckets stand in the order of their
 * counts, so that the least counter is at hand and one more event moves a counter by one bucket.
 *
 *   lowest -> [ 3 ] <-> [ 4 ] <-> [ 9 ]
 *              |         |         |
 *           a, b, c    d, e        f         first in, first out: of equals the one that was quiet longest goes
 */
#include <stdlib.h>
#include <string.h>

#include "flood_priv.h"

#define CHAINS 1024 /* power of two */
#define NONE   UINT16_MAX

struct counter {
    struct sk_addr key;
    uint64_t error;
    uint16_t bucket, prev, next; /* in its bucket */
    uint16_t head, chain;        /* of its hash: the list, and the next in it */
};

struct bucket {
    uint64_t count;
    uint16_t first, last;
    uint16_t prev, next; /* the lower and the higher bucket; next also in the list of free ones */
};

struct level {
    uint16_t n;            /* counters in use */
    uint16_t nbuckets;     /* buckets ever used; those past it are free */
    uint16_t lowest, free; /* buckets, or NONE */
    uint16_t head[CHAINS];
    struct counter c[FLOOD_ENTRIES];
    struct bucket b[FLOOD_ENTRIES + 1]; /* one more: a counter moves into its new bucket before the old one is freed */
};

struct flood_sketch {
    struct sk_hash_key key;
    int64_t part; /* in which the events came */
    bool back;
    uint64_t events;
    struct level level[FLOOD_LEVELS];
};

/* --- prefixes --- */

static uint8_t key_length(const struct sk_addr *a, enum flood_level level)
{
    static const uint8_t v4[] = {128, 96 + 24, 96 + 16}, v6[] = {128, 64, 48};
    return sk_addr_is_v4(a) ? v4[level] : v6[level];
}

struct sk_prefix flood_prefix(const struct sk_addr *key, enum flood_level level)
{
    return (struct sk_prefix){.addr = *key, .len = key_length(key, level)};
}

struct sk_addr flood_key(const struct sk_addr *a, enum flood_level level)
{
    return level == FLOOD_HOST ? *a : sk_prefix_make(a, key_length(a, level)).addr;
}

/* --- life --- */

static void clear_level(struct level *l)
{
    l->n = l->nbuckets = 0;
    l->lowest = l->free = NONE;
    memset(l->head, 0xff, sizeof l->head);
}

void flood_sketch_clear(struct flood_sketch *s)
{
    s->events = 0;
    for (unsigned i = 0; i < FLOOD_LEVELS; i++)
        clear_level(&s->level[i]);
}

int flood_sketch_create(struct flood_sketch **out)
{
    struct flood_sketch *s = calloc(1, sizeof *s);
    if (!s)
        return SK_ENOMEM;
    sk_hash_key_random(&s->key);
    flood_sketch_clear(s);
    *out = s;
    return SK_OK;
}

void flood_sketch_free(struct flood_sketch *s)
{
    free(s);
}

uint64_t flood_sketch_memory(const struct flood_sketch *s)
{
    return sizeof *s;
}

uint64_t flood_sketch_events(const struct flood_sketch *s)
{
    return s->events;
}

int64_t flood_sketch_part(const struct flood_sketch *s)
{
    return s->part;
}

void flood_sketch_begin(struct flood_sketch *s, int64_t part)
{
    s->back |= s->part - part >= FLOOD_PARTS;
    s->part = part;
}

bool flood_sketch_back(struct flood_sketch *s, int64_t part)
{
    bool back = s->back || s->part - part >= FLOOD_PARTS;
    s->back = false;
    return back;
}

/* --- buckets --- */

static uint16_t new_bucket(struct level *l, uint64_t count, uint16_t after)
{
    uint16_t i = l->free;
    if (i != NONE)
        l->free = l->b[i].next;
    else
        i = l->nbuckets++;
    uint16_t next = after == NONE ? l->lowest : l->b[after].next;
    l->b[i] = (struct bucket){.count = count, .first = NONE, .last = NONE, .prev = after, .next = next};
    if (next != NONE)
        l->b[next].prev = i;
    if (after != NONE)
        l->b[after].next = i;
    else
        l->lowest = i;
    return i;
}

static void free_bucket(struct level *l, uint16_t i)
{
    struct bucket *b = &l->b[i];
    if (b->prev != NONE)
        l->b[b->prev].next = b->next;
    else
        l->lowest = b->next;
    if (b->next != NONE)
        l->b[b->next].prev = b->prev;
    b->next = l->free;
    l->free = i;
}

static void leave(struct level *l, uint16_t i)
{
    struct counter *c = &l->c[i];
    struct bucket *b = &l->b[c->bucket];
    if (c->prev != NONE)
        l->c[c->prev].next = c->next;
    else
        b->first = c->next;
    if (c->next != NONE)
        l->c[c->next].prev = c->prev;
    else
        b->last = c->prev;
    if (b->first == NONE)
        free_bucket(l, c->bucket);
}

static void enter(struct level *l, uint16_t i, uint16_t bucket)
{
    struct counter *c = &l->c[i];
    struct bucket *b = &l->b[bucket];
    c->bucket = bucket;
    c->prev = b->last;
    c->next = NONE;
    if (b->last != NONE)
        l->c[b->last].next = i;
    else
        b->first = i;
    b->last = i;
}

/* Passes at most one bucket for each event: counts in between are different numbers. */
static void advance(struct level *l, uint16_t i, uint32_t events)
{
    uint16_t from = l->c[i].bucket, at = from, next = from == NONE ? l->lowest : l->b[from].next;
    uint64_t count = (from == NONE ? 0 : l->b[from].count) + events;
    for (; next != NONE && l->b[next].count <= count; next = l->b[next].next)
        at = next;
    if (at == from && from != NONE && l->b[from].first == l->b[from].last) {
        l->b[from].count = count; /* alone, and still below the next */
        return;
    }
    if (at == NONE || l->b[at].count != count)
        at = new_bucket(l, count, at);
    if (from != NONE)
        leave(l, i);
    enter(l, i, at);
}

/* --- counters --- */

static void unchain(struct level *l, uint16_t i)
{
    uint16_t *p = &l->head[l->c[i].head];
    while (*p != i)
        p = &l->c[*p].chain;
    *p = l->c[i].chain;
}

/* A counter for a prefix that has none: a new one, or the least, whose count is then the error. */
static uint16_t take(struct level *l, uint16_t head, const struct sk_addr *key)
{
    uint16_t i;
    if (l->n < FLOOD_ENTRIES) {
        i = l->n++;
        l->c[i] = (struct counter){.bucket = NONE};
    } else {
        i = l->b[l->lowest].first;
        unchain(l, i);
        l->c[i].error = l->b[l->lowest].count;
    }
    l->c[i].key = *key;
    l->c[i].head = head;
    l->c[i].chain = l->head[head];
    l->head[head] = i;
    return i;
}

static void count_key(struct flood_sketch *s, struct level *l, const struct sk_addr *key, uint32_t events)
{
    uint16_t head = (uint16_t)(sk_siphash_words(&s->key, key->q, 2) % CHAINS), i = l->head[head];
    while (i != NONE && !sk_addr_eq(&l->c[i].key, key))
        i = l->c[i].chain;
    if (i == NONE)
        i = take(l, head, key);
    advance(l, i, events);
}

void flood_count(struct flood_sketch *s, const struct sk_addr *client, uint32_t events)
{
    if (!events)
        return;
    s->events += events;
    for (unsigned i = 0; i < FLOOD_LEVELS; i++) {
        struct sk_addr key = flood_key(client, (enum flood_level)i);
        count_key(s, &s->level[i], &key, events);
    }
}

void flood_sketch_read(const struct flood_sketch *s, enum flood_level level, struct flood_summary *out)
{
    const struct level *l = &s->level[level];
    out->n = l->n;
    out->rest = l->n == FLOOD_ENTRIES ? l->b[l->lowest].count : 0;
    for (unsigned i = 0; i < l->n; i++) {
        const struct counter *c = &l->c[i];
        uint64_t count = l->b[c->bucket].count;
        out->item[i] = (struct flood_item){.key = c->key, .count = count, .certain = count - c->error};
    }
}
