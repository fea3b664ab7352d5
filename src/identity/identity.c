/* Names; the walk is added with its tests. */
#include "identity/identity.h"

const char *identity_state_name(enum identity_state s)
{
    static const char *const names[] = {"direct", "proven", "unproven"};
    return (unsigned)s < IDENTITY_STATES ? names[s] : "unknown";
}

const char *identity_source_name(enum identity_source s)
{
    static const char *const names[] = {
#define X(id, name) name,
        IDENTITY_SOURCES(X)
#undef X
    };
    return (unsigned)s < IDENTITY_SOURCE_COUNT ? names[s] : "unknown";
}

const char *identity_why_text(enum identity_why w)
{
    static const char *const texts[] = {
#define X(id, text) text,
        IDENTITY_WHYS(X)
#undef X
    };
    return (unsigned)w < IDENTITY_WHY_COUNT ? texts[w] : "unknown";
}

bool identity_valid(const struct identity *id)
{
    if (id->state >= IDENTITY_STATES || id->source >= IDENTITY_SOURCE_COUNT || id->why >= IDENTITY_WHY_COUNT ||
        id->nhops > IDENTITY_HOPS_MAX)
        return false;
    for (unsigned i = 0; i < id->nhops; i++)
        if (id->hop[i].source >= IDENTITY_SOURCE_COUNT)
            return false;
    return true;
}
