#include "decide/request.h"

const char *decide_reason_name(enum decide_reason r)
{
    static const char *const names[] = {
#define X(id, name) name,
        DECIDE_REASONS(X)
#undef X
    };
    return (unsigned)r < DECIDE_REASON_COUNT ? names[r] : "unknown";
}
