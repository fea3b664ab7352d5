#include "base/counters.h"

#include <string.h>

uint64_t sk_count_sum(const struct sk_counters *c, unsigned first, unsigned last)
{
    uint64_t n = 0;
    for (unsigned i = first; i <= last; i++)
        n += sk_count_read(c, (enum sk_counter)i);
    return n;
}

const char *sk_counter_name(enum sk_counter id)
{
    static const char *const name[] = {
#define X(id, name, help) [SK_C_##id] = name,
        SK_COUNTERS(X)
#undef X
    };
    return name[id];
}

const char *sk_counter_help(enum sk_counter id)
{
    static const char *const help[] = {
#define X(id, name, help) [SK_C_##id] = help,
        SK_COUNTERS(X)
#undef X
    };
    return help[id];
}

const char *sk_counter_leaf(enum sk_counter id)
{
    const char *name = sk_counter_name(id), *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}
