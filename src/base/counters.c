#include "base/counters.h"

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
