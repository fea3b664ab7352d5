/*
 * Floods: mass traffic from an address or from a range of addresses, found without a rule, in memory that does not
 * depend on how many addresses there are.
 *
 * Each worker counts events (a connection whose handshake completed, a request of a proven client) in a sketch of its
 * own: Space-Saving (Metwally, Agrawal, El Abbadi 2005) with FLOOD_ENTRIES counters for each level: host, IPv4 /24 or
 * IPv6 /64, and IPv4 /16 or IPv6 /48. A count is too high by at most N / FLOOD_ENTRIES, N being the events of the
 * interval, and that error is kept with each counter; a prefix is reported only for what it had for certain (count -
 * error), so a flood may be found late, and nobody is taken for one by mistake. Once an interval (window / FLOOD_PARTS)
 * a worker hands its sketch to the shared detector, where sketches add up (the errors too: Agarwal et al. 2012,
 * mergeable summaries).
 *
 * Reported is the narrowest level that explains it: a host over host-rate; a /24 (or /64) over prefix-rate without the
 * hosts that are reported themselves; a /16 (or /48) over FLOOD_WIDE times prefix-rate without the ranges that are.
 */
#ifndef DECIDE_FLOOD_H
#define DECIDE_FLOOD_H

#include "base/addr.h"
#include "conf/conf.h"

#define FLOOD_ENTRIES 512 /* counters of a level */
#define FLOOD_PARTS   10  /* intervals of a window */
#define FLOOD_WIDE    4
#define FLOOD_FOUND   64 /* floods reported at once; further ones come with the next interval */

struct flood_sketch;   /* a worker's; one thread */
struct flood_detector; /* shared; its own lock */

struct flood_found {
    struct sk_prefix prefix;
    double rate;    /* events a second over the window, for certain */
    uint32_t limit; /* the rate allowed */
    bool fresh;     /* not reported before within this flood */
};

SK_MUST_USE int flood_detector_create(const struct conf_flood *conf, struct flood_detector **out);
void flood_detector_free(struct flood_detector *d);
SK_MUST_USE int flood_sketch_create(struct flood_sketch **out);
void flood_sketch_free(struct flood_sketch *s);

void flood_count(struct flood_sketch *s, const struct sk_addr *client, uint32_t events);
/* Is it time for the worker to hand over? Cheap. */
bool flood_due(const struct flood_detector *d, const struct flood_sketch *s, int64_t now);
/* Hands the sketch over, empties it, and looks. Returns how many floods there are (at most FLOOD_FOUND), each reported
 * at most once an interval whichever worker asks. */
unsigned flood_merge(struct flood_detector *d, struct flood_sketch *s, int64_t now, struct flood_found *out);

#endif
