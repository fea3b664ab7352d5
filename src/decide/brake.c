/*
 * The window: BRAKE_PARTS parts of window / (BRAKE_PARTS - 1) each, so that a block is forgotten between one window and
 * 1/63 more of it later. In no stretch of time as long as the window are there more new blocks than allowed.
 */
#include "decide/brake.h"

#include <string.h>

static int64_t part_length(const struct conf_brake *conf)
{
    return conf->window / (BRAKE_PARTS - 1) + 1;
}

/*
 * Moves the window on to now. A clock that was set back by a little counts into the newest part; by more than the
 * window, what has been counted stays counted for a whole window from now.
 */
static void advance(struct brake *b, const struct conf_brake *conf, int64_t now)
{
    int64_t len = part_length(conf);
    if (now < b->part_start - conf->window)
        b->part_start = b->last_stopped = now;
    if (now - b->part_start >= BRAKE_PARTS * len) {
        memset(b->part, 0, sizeof b->part);
        b->sum = 0;
        b->part_start = now;
    }
    for (; now - b->part_start >= len; b->part_start += len) {
        b->at = (b->at + 1) % BRAKE_PARTS;
        b->sum -= b->part[b->at];
        b->part[b->at] = 0;
    }
}

uint64_t brake_limit(const struct conf_brake *conf, uint64_t active)
{
    uint64_t share = (active < UINT32_MAX ? active : UINT32_MAX) * conf->share / 100;
    return share > conf->minimum ? share : conf->minimum;
}

/*
 * Half of the room has to be free, and nothing refused for a quarter of the window, before it lets go: else it would
 * brake and let go with each part of the window.
 */
static bool over(const struct brake *b, const struct conf_brake *conf, uint64_t limit, uint64_t room, int64_t now)
{
    return room > 0 && room >= limit - limit / 2 && now - b->last_stopped >= conf->window / 4;
}

uint64_t brake_room(struct brake *b, const struct conf_brake *conf, uint64_t active, int64_t now)
{
    uint64_t limit = brake_limit(conf, active);
    advance(b, conf, now);
    uint64_t room = limit > b->sum ? limit - b->sum : 0;
    b->braking = b->braking && !over(b, conf, limit, room, now);
    return room;
}

static enum brake_verdict stop(struct brake *b, int64_t now)
{
    if (!b->braking) {
        b->braking = true;
        b->braking_since = now;
        b->stopped = 0;
    }
    b->stopped++;
    b->last_stopped = now;
    return BRAKE_SHARE;
}

enum brake_verdict brake_take(struct brake *b, const struct conf_brake *conf, uint64_t active, int64_t now)
{
    if (brake_room(b, conf, active, now) == 0)
        return stop(b, now);
    if (!sk_rate_take(&b->rate, conf->rate, conf->rate * BRAKE_BURST_S, now))
        return BRAKE_RATE;
    b->part[b->at]++;
    b->sum++;
    return BRAKE_GO;
}

void brake_release(struct brake *b, int64_t now)
{
    memset(b->part, 0, sizeof b->part);
    b->sum = 0;
    b->part_start = now;
    b->braking = false;
}
