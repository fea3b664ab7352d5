#include "base/rate.h"

#include "base/clock.h"

bool sk_rate_take(struct sk_rate *r, uint32_t per_second, uint32_t burst, int64_t now)
{
    int64_t cost = per_second > 0 ? SK_NS_PER_S / per_second : SK_NS_PER_S;
    if (cost == 0)
        cost = 1;
    int64_t full = cost * (burst > 0 ? burst : 1);
    if (!r->started)
        *r = (struct sk_rate){.started = true, .credit = full, .last = now};
    if (now > r->last) {
        int64_t gain = now - r->last;
        r->credit = gain >= full - r->credit ? full : r->credit + gain;
        r->last = now;
    } else if (now < r->last - full) { /* set back: or there would be none until the old time comes again */
        r->last = now;
    }
    if (r->credit < cost)
        return false;
    r->credit -= cost;
    return true;
}
