/* Entries in one array, chained by hash; a ring through them by age, whose head (entry 0) is no entry. */
#include "enforce/offenders.h"

#include <stdlib.h>
#include "base/hash.h"

struct entry {
    struct sk_prefix p;
    uint32_t n;
    uint32_t next;         /* of the hash chain, or of the free list; 0: end */
    uint32_t older, newer; /* ring */
    int64_t when;
};

struct offenders {
    struct sk_hash_key key;
    uint32_t max, used, mask;
    uint32_t free;  /* list of entries given back */
    uint32_t fresh; /* entries from here on were never used */
    uint64_t forgotten;
    uint32_t *slot;
    struct entry *e; /* [1 .. max] */
};

struct offenders *offenders_create(uint32_t max)
{
    struct offenders *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->max = max == 0 || max > OFFENDERS_MAX ? OFFENDERS_MAX : max;
    uint32_t slots = 64;
    while (slots < o->max)
        slots *= 2;
    o->mask = slots - 1;
    o->fresh = 1;
    sk_hash_key_random(&o->key);
    o->slot = calloc(slots, sizeof *o->slot);
    o->e = calloc((size_t)o->max + 1, sizeof *o->e);
    if (!o->slot || !o->e) {
        offenders_free(o);
        return NULL;
    }
    return o;
}

void offenders_free(struct offenders *o)
{
    if (!o)
        return;
    free(o->slot);
    free(o->e);
    free(o);
}

static uint32_t *slot_of(const struct offenders *o, const struct sk_prefix *p)
{
    uint64_t w[3] = {p->addr.q[0], p->addr.q[1], p->len};
    return &o->slot[(uint32_t)sk_siphash_words(&o->key, w, 3) & o->mask];
}

/* Where the number of p's entry stands; the number is 0 when there is none. */
static uint32_t *find(const struct offenders *o, const struct sk_prefix *p)
{
    uint32_t *at = slot_of(o, p);
    while (*at && (o->e[*at].p.len != p->len || !sk_addr_eq(&o->e[*at].p.addr, &p->addr)))
        at = &o->e[*at].next;
    return at;
}

static void ring_take(struct offenders *o, uint32_t i)
{
    o->e[o->e[i].older].newer = o->e[i].newer;
    o->e[o->e[i].newer].older = o->e[i].older;
}

static void ring_put_newest(struct offenders *o, uint32_t i)
{
    o->e[i].newer = 0;
    o->e[i].older = o->e[0].older;
    o->e[o->e[0].older].newer = i;
    o->e[0].older = i;
}

static void take_out(struct offenders *o, uint32_t *at)
{
    uint32_t i = *at;
    *at = o->e[i].next;
    ring_take(o, i);
    o->e[i].next = o->free;
    o->free = i;
    o->used--;
}

static uint32_t new_entry(struct offenders *o)
{
    if (o->used == o->max) {
        take_out(o, find(o, &o->e[o->e[0].newer].p));
        o->forgotten++;
    }
    uint32_t i = o->free ? o->free : o->fresh++;
    if (i == o->free)
        o->free = o->e[i].next;
    o->used++;
    return i;
}

void offenders_ended(struct offenders *o, const struct sk_prefix *p, uint32_t n, int64_t when)
{
    uint32_t i = *find(o, p);
    if (i) {
        ring_take(o, i);
    } else {
        i = new_entry(o);
        uint32_t *slot = slot_of(o, p);
        o->e[i].p = *p;
        o->e[i].next = *slot;
        *slot = i;
    }
    o->e[i].n = n;
    o->e[i].when = when;
    ring_put_newest(o, i);
}

void offenders_forgive(struct offenders *o, const struct sk_prefix *p)
{
    uint32_t *at = find(o, p);
    if (*at)
        take_out(o, at);
}

uint32_t offenders_count(const struct offenders *o, const struct sk_prefix *p, int64_t since)
{
    uint32_t i = *find(o, p);
    return i && o->e[i].when >= since ? o->e[i].n : 0;
}

size_t offenders_known(const struct offenders *o)
{
    return o->used;
}

uint64_t offenders_forgotten(const struct offenders *o)
{
    return o->forgotten;
}
