/* Rates of addresses, in a table of fixed size. */
#include <stdlib.h>
#include "api_priv.h"

#define WAYS  4
#define BURST 10 /* times the rate */

int limiter_init(struct limiter *l)
{
    sk_hash_key_random(&l->key);
    l->slots = (struct limit_slot *)calloc(LIMIT_SLOTS, sizeof(*l->slots));
    return l->slots != NULL ? SK_OK : SK_ENOMEM;
}

/* Its own place, or that of the one of four that has been silent for longest. */
static struct limit_slot *slot_of(struct limiter *l, const struct sk_addr *a, int64_t now)
{
    struct limit_slot *set = l->slots + (sk_siphash(&l->key, a, sizeof(*a)) % (LIMIT_SLOTS / WAYS)) * WAYS;
    struct limit_slot *oldest = set;
    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].seen != 0 && sk_addr_eq(&set[i].addr, a))
            return set + i;
        if (set[i].seen < oldest->seen)
            oldest = set + i;
    }
    *oldest = (struct limit_slot){.addr = *a, .seen = now};
    return oldest;
}

bool limiter_take(struct limiter *l, const struct sk_addr *a, bool connect, uint32_t rate, int64_t now)
{
    struct sk_addr key = *a;
    if (!sk_addr_is_v4(a))
        key.q[1] = 0;
    struct limit_slot *s = slot_of(l, &key, now);
    s->seen = now;
    return sk_rate_take(connect ? &s->connects : &s->requests, rate, rate * BURST, now);
}
