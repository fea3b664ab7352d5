/* Bytes to value, open addressing with a keyed hash; keys are borrowed (they lie in the set's arena). One owner. */
#ifndef RULES_INTERN_H
#define RULES_INTERN_H

#include "base/hash.h"
#include "base/span.h"

struct intern_slot {
    uint64_t hash;
    struct sk_span key;
    void *val; /* NULL: free */
};
struct intern {
    struct intern_slot *slot;
    uint32_t n, cap; /* cap: 0 or a power of two */
    struct sk_hash_key key;
};

void intern_init(struct intern *t);
void intern_free(struct intern *t);
void *intern_get(const struct intern *t, struct sk_span key);
/* Adds or replaces. val is not NULL. False when memory is out. */
bool intern_put(struct intern *t, struct sk_span key, void *val);

#endif
