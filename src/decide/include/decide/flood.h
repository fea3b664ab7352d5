/*
 * Floods: mass traffic from an address or from a range of addresses, found without a rule, in memory that does not
 * depend on how many addresses there are.
 *
 * Each worker counts events (a connection whose handshake completed, a request of a proven client) in a sketch of its
 * own: Space-Saving (Metwally, Agrawal, El Abbadi 2005) with FLOOD_ENTRIES counters for each level: host, IPv4 /24 or
 * IPv6 /64, and IPv4 /16 or IPv6 /48. A count is too high by at most N / FLOOD_ENTRIES, N being the events of the
 * interval, and that error is kept with each counter; a prefix is reported only for what it had for certain (count -
 * error), so a flood may be found late, and nobody is taken for one by mistake. When an interval (window / FLOOD_PARTS)
 * is over a worker hands its sketch to the shared detector, where sketches add up (the errors too: Agarwal et al. 2012,
 * mergeable summaries; Cafaro et al. 2016).
 *
 *   worker 0   |--- sketch ---|--- sketch ---|     an event: flood_due (and if so flood_merge), then flood_count
 *   worker 1   |--- sketch ---|--- sketch ---|
 *   detector  [p-10][p-9] ... [p-2][p-1]           what is looked at in part p: the window before it
 *
 * Reported is the narrowest level that explains it: a host over host-rate; a /24 (or /64) over prefix-rate without the
 * hosts that are reported themselves; a /16 (or /48) over FLOOD_WIDE times prefix-rate without the ranges that are.
 */
#ifndef DECIDE_FLOOD_H
#define DECIDE_FLOOD_H

#include "base/addr.h"
#include "base/counters.h"
#include "conf/conf.h"

#define FLOOD_ENTRIES 512 /* counters of a level; policy when all are in use: Space-Saving's */
#define FLOOD_PARTS   10  /* intervals of a window */
#define FLOOD_WIDE    4
#define FLOOD_FOUND                                                                                                    \
    64                  /* floods reported at once, new ones first; further ones come with the next interval, counted  \
                           (SK_C_FLOOD_FULL) */
#define FLOOD_KNOWN 256 /* floods that are remembered; past that the one that was quiet longest would be news again */

enum flood_level {
    FLOOD_HOST,
    FLOOD_RANGE,      /* IPv4 /24, IPv6 /64 */
    FLOOD_WIDE_RANGE, /* IPv4 /16, IPv6 /48 */
    FLOOD_LEVELS
};

struct flood_sketch;   /* a worker's; one thread */
struct flood_detector; /* shared; its own lock */

struct flood_found {
    struct sk_prefix prefix;
    enum flood_level level;
    double rate;    /* events a second over the window, for certain, without those of narrower floods in it */
    uint32_t limit; /* the rate allowed */
    bool fresh;     /* not reported before within this flood, which is over when it was not found for a window */
    bool again;     /* fresh, or a window or more has passed since the last time that this was said of it */
};

SK_MUST_USE int flood_detector_create(const struct conf_flood *conf, struct flood_detector **out); /* SK_ENOMEM */
void flood_detector_free(struct flood_detector *d);                                                /* NULL is fine */
uint64_t flood_detector_memory(const struct flood_detector *d);
SK_MUST_USE int flood_sketch_create(struct flood_sketch **out); /* SK_ENOMEM */
void flood_sketch_free(struct flood_sketch *s);                 /* NULL is fine */
uint64_t flood_sketch_memory(const struct flood_sketch *s);

/* O(1), amortised over events. Before it: flood_due, with the time of these events. */
void flood_count(struct flood_sketch *s, const struct sk_addr *client, uint32_t events);
/* Is it time for the worker to hand over? Cheap. Also notes when what an empty sketch will count began. */
bool flood_due(const struct flood_detector *d, struct flood_sketch *s, int64_t now);
/*
 * Hands the sketch over, empties it, and looks. Returns how many floods there are (at most FLOOD_FOUND), each reported
 * at most once an interval whichever worker asks. A sketch that comes a window later than another worker's is lost
 * (SK_C_FLOOD_LATE: that happens only in a replay, whose workers go through the files each at its own pace). Of a
 * worker whose own clock went back by a window that clock is believed. c: the calling worker's.
 */
unsigned flood_merge(struct flood_detector *d, struct flood_sketch *s, int64_t now, struct sk_counters *c,
                     struct flood_found *out);
/* A worker's last: looks in any case, also at the interval under way. */
unsigned flood_finish(struct flood_detector *d, struct flood_sketch *s, int64_t now, struct sk_counters *c,
                      struct flood_found *out);

#endif
