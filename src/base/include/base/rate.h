/* Token bucket: so many a second on the average, and so many at once. Zero-initialise. A plain value; no clock. */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct sk_rate {
    int64_t last;   /* ns */
    int64_t credit; /* ns of refill: one token costs the time in which the rate allows one */
    bool started;
};

/* Takes one token; false when there is none. per_second 0 allows one a second. A clock that goes back refills nothing.
 */
bool sk_rate_take(struct sk_rate *r, uint32_t per_second, uint32_t burst, int64_t now);

#endif
