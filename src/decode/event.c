/* Names of decoder events. */
#include "decode/decode.h"

static const char *const names[DECODE_EV_COUNT] = {"",
#define X(id, name) name,
                                                   DECODE_EVENTS(X)
#undef X
};

const char *decode_event_name(enum decode_event ev)
{
    return (unsigned)ev < DECODE_EV_COUNT ? names[ev] : "";
}

enum decode_event decode_event_find(const char *name)
{
    for (unsigned i = 1; i < DECODE_EV_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return (enum decode_event)i;
    return DECODE_EV_NONE;
}
