#include "http/internal.h"

static const char *const event_names[HTTP_EV_COUNT] = {
#define X(id, name) [HTTP_EV_##id] = name,
    HTTP_EVENTS(X)
#undef X
};

const char *http_event_name(enum http_event ev)
{
    return (unsigned)ev < HTTP_EV_COUNT ? event_names[ev] : "unknown";
}

enum http_event http_event_find(const char *name)
{
    for (unsigned i = 0; i < HTTP_EV_COUNT; i++) {
        if (strcmp(event_names[i], name) == 0)
            return (enum http_event)i;
    }
    return HTTP_EV_COUNT;
}
