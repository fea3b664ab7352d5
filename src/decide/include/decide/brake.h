/*
 * The brake: one bad rule must not cut off the customers. New blocks from rules stop when those of the last window
 * exceed a share of the clients that were active in it (but a minimum is always allowed), or when they come too fast.
 * It lets go by itself as the window moves on, or by the operator's hand. Kept by the guard: what the engine says of
 * active clients is believed only as far as the rate allows.
 *
 * `braking` begins with the first block that the share refuses, and ends when the window has room for half of what it
 * may hold and a quarter of the window has passed without a refusal: while it lasts, blocks for which there is room are
 * set, so that it says "look at this", not "off".
 *
 * Plain value, one thread, no clock. Zero-initialise. Extensions of blocks in force and an operator's blocks do not
 * count. A clock that is set back frees nothing.
 */
#ifndef DECIDE_BRAKE_H
#define DECIDE_BRAKE_H

#include "base/err.h"
#include "base/rate.h"
#include "conf/conf.h"

#define BRAKE_PARTS   64 /* of the window, in which it moves on */
#define BRAKE_BURST_S 10 /* the blocks of so many seconds may come at once */

enum brake_verdict { BRAKE_GO, BRAKE_SHARE, BRAKE_RATE };

struct brake {
    int64_t part_start;         /* of the newest part; wall ns */
    uint32_t part[BRAKE_PARTS]; /* new blocks of each part, ring; `at` is the newest */
    uint32_t at, sum;
    struct sk_rate rate;
    bool braking;
    int64_t braking_since, last_stopped; /* the last time that it began, that it refused */
    uint64_t stopped;                    /* blocks that the share refused since then */
};

/* New blocks that a window may hold. active: clients of the last window; beyond UINT32_MAX none counts. */
uint64_t brake_limit(const struct conf_brake *conf, uint64_t active);
/* May one more be set? Counts it if so. */
enum brake_verdict brake_take(struct brake *b, const struct conf_brake *conf, uint64_t active, int64_t now);
/* How many new blocks the window has room for now. Also what makes the brake let go as time passes. */
uint64_t brake_room(struct brake *b, const struct conf_brake *conf, uint64_t active, int64_t now);
/* The operator looked at it: the window begins empty. */
void brake_release(struct brake *b, int64_t now);

#endif
