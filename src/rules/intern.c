#include "intern.h"

#include <stdlib.h>

void intern_init(struct intern *t)
{
    *t = (struct intern){0};
    sk_hash_key_random(&t->key);
}

void intern_free(struct intern *t)
{
    free(t->slot);
    t->slot = NULL;
    t->n = t->cap = 0;
}

static struct intern_slot *find(const struct intern *t, uint64_t h, struct sk_span key)
{
    for (uint32_t i = (uint32_t)h & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        struct intern_slot *s = &t->slot[i];
        if (!s->val || (s->hash == h && sk_span_eq(s->key, key)))
            return s;
    }
}

void *intern_get(const struct intern *t, struct sk_span key)
{
    if (t->cap == 0)
        return NULL;
    return find(t, sk_siphash(&t->key, key.p, key.len), key)->val;
}

static bool grow(struct intern *t)
{
    struct intern old = *t;
    t->cap = old.cap ? old.cap * 2 : 64;
    t->slot = calloc(t->cap, sizeof *t->slot);
    if (!t->slot) {
        *t = old;
        return false;
    }
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.slot[i].val)
            *find(t, old.slot[i].hash, old.slot[i].key) = old.slot[i];
    free(old.slot);
    return true;
}

bool intern_put(struct intern *t, struct sk_span key, void *val)
{
    if (t->n >= t->cap / 2 && !grow(t))
        return false;
    uint64_t h = sk_siphash(&t->key, key.p, key.len);
    struct intern_slot *s = find(t, h, key);
    if (!s->val)
        t->n++;
    *s = (struct intern_slot){.hash = h, .key = key, .val = val};
    return true;
}
