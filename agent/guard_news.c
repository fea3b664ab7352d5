/*
 * This host's blocks, told to the uplink. Each change when it happens; and everything, from BEGIN to DONE, when the
 * uplink has begun or a message found no room: so nothing is lost by either. Blocks that run out by themselves need no
 * word: whoever knows of them knows when they end.
 */
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "guard.h"

#define SLICE 256 /* blocks told in one turn */

/* What only the fleet wants is no news, nor what was found in the kernel: it may have been the fleet's. */
static bool is_ours(const struct block *b)
{
    return (b->origin == BLOCK_RULE || b->origin == BLOCK_OPERATOR) && !b->dry_run;
}

static bool send_news(struct guard *g, const struct ipc_block_news *n)
{
    struct guard_uplink *u = &g->uplink;
    const struct guard_child *c = &g->child[GUARD_UPLINK];
    if (c->chan < 0 || ipc_send(c->chan, IPC_BLOCK_NEWS, n, NULL, 0) != SK_OK)
        return false;
    u->told++;
    return true;
}

static bool send_block(struct guard *g, enum ipc_block_op op, const struct block *b, enum journal_end why,
                       int64_t ended)
{
    struct ipc_block_news n = {.op = (uint8_t)op,
                               .origin = b->origin,
                               .cause = b->reason,
                               .why = (uint8_t)why,
                               .repeat = b->repeat,
                               .sid = b->sid,
                               .gid = b->gid,
                               .score = b->score,
                               .target = b->target,
                               .created = b->created,
                               .expires = b->own,
                               .ended = ended};
    snprintf(n.id, sizeof(n.id), "%s", b->id);
    snprintf(n.reason, sizeof(n.reason), "%s", b->msg);
    return send_news(g, &n);
}

static bool tell(struct guard *g, struct block *b)
{
    if (!send_block(g, IPC_BLOCK_SET, b, JOURNAL_EXPIRED, 0))
        return false;
    b->told = b->own;
    return true;
}

/* What has not changed for this host (the fleet's end has) was told before. */
static bool tell_set(struct guard *g, const struct block *b)
{
    struct block *known = b->told == b->own ? NULL : block_table_find(g->table, &b->target);
    return known == NULL || tell(g, known);
}

void guard_news_event(struct guard *g, enum enforcer_event ev, const struct block *b, int64_t now)
{
    static const enum journal_end why[] = {[ENFORCER_UNBLOCKED] = JOURNAL_UNBLOCKED,
                                           [ENFORCER_LIFTED] = JOURNAL_NEVER,
                                           [ENFORCER_RECALLED] = JOURNAL_FLEET};
    struct guard_uplink *u = &g->uplink;
    bool sent = true;
    if ((u->news != NEWS_LIVE && u->news != NEWS_TELLING) || !is_ours(b) || b->own <= now)
        return;
    if (ev == ENFORCER_ADDED || ev == ENFORCER_CHANGED)
        sent = tell_set(g, b);
    else if (ev == ENFORCER_UNBLOCKED || ev == ENFORCER_LIFTED || ev == ENFORCER_RECALLED)
        sent = send_block(g, IPC_BLOCK_END, b, why[ev], now);
    if (!sent)
        u->news = NEWS_DUE;
}

/* ---- everything ---- */

static bool say(struct guard *g, enum ipc_block_op op)
{
    const struct ipc_block_news n = {.op = (uint8_t)op};
    return send_news(g, &n);
}

struct telling {
    struct guard *g;
    int64_t now;
    bool room;
};

static void on_block(void *arg, struct block *b)
{
    struct telling *t = (struct telling *)arg;
    if (t->room && is_ours(b) && b->own > t->now)
        t->room = tell(t->g, b);
}

/* A slot of the table at a time, which is told again when there was no room for all of it. */
static void tell_some(struct guard *g, int64_t now)
{
    struct guard_uplink *u = &g->uplink;
    struct telling t = {.g = g, .now = now, .room = true};
    bool more = true;
    for (unsigned i = 0; i < SLICE && more && t.room; i++) {
        uint32_t at = u->cursor;
        more = block_table_scan(g->table, &at, 1, on_block, &t);
        if (t.room)
            u->cursor = at;
    }
    if (!more && t.room && say(g, IPC_BLOCK_DONE)) {
        u->news = NEWS_LIVE;
        u->syncs++;
    }
}

void guard_news_tick(struct guard *g, int64_t now)
{
    struct guard_uplink *u = &g->uplink;
    if (u->news == NEWS_DUE && say(g, IPC_BLOCK_BEGIN)) {
        u->news = NEWS_TELLING;
        u->cursor = 0;
    }
    if (u->news == NEWS_TELLING)
        tell_some(g, now);
}
