/* The fleet's blocks, as the uplink passes them on: the enforcer looks at each as if an enemy had written it. */
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "guard.h"

void guard_make_plain(char *s)
{
    for (; *s != '\0'; s++)
        if (*s < 0x20 || *s > 0x7e)
            *s = '?';
}

static void claim_of(const struct ipc_fleet *m, struct block_fleet *f)
{
    *f = (struct block_fleet){.created = m->created, .expires = m->expires, .sid = m->sid, .gid = m->gid};
    snprintf(f->id, sizeof(f->id), "%s", m->id);
    snprintf(f->host, sizeof(f->host), "%s", m->host);
    snprintf(f->reason, sizeof(f->reason), "%s", m->reason);
    guard_make_plain(f->id);
    guard_make_plain(f->host);
    guard_make_plain(f->reason);
}

/* As many whole seconds as the end is in: less than one is one, and what is over is none. */
static int64_t seconds_until(int64_t end, int64_t now)
{
    return end > now ? (end - now - 1) / SK_NS_PER_S + 1 : 0;
}

static void set(struct guard *g, const struct ipc_fleet *m, int64_t now)
{
    struct block_fleet f;
    struct enforce_outcome out;
    claim_of(m, &f);
    struct decide_request q = {.target = m->target,
                               .ts = m->created,
                               .seconds = seconds_until(m->expires, now),
                               .sid = m->sid,
                               .gid = m->gid,
                               .src = m->target.addr};
    snprintf(q.msg, sizeof(q.msg), "%s", f.reason);
    enforcer_fleet_set(g->enforcer, &q, &f, now, &out);
    refusals_add(g->refusals, &q, BLOCK_FLEET, &out, now);
}

void guard_fleet_message(struct guard *g, const struct ipc_fleet *m)
{
    struct guard_uplink *u = &g->uplink;
    int64_t now = sk_now_wall(), mono = sk_now_mono();
    if (!g->conf->manager.fleet_blocks)
        return;
    if (!sk_rate_take(&u->rate, GUARD_FLEET_RATE, GUARD_FLEET_RATE, mono))
        u->paused_until = mono + GUARD_FLEET_PAUSE;
    if (m->op == IPC_BLOCK_BEGIN)
        enforcer_fleet_begin(g->enforcer);
    else if (m->op == IPC_BLOCK_END)
        (void)!enforcer_fleet_end(g->enforcer, &m->target, now); /* it has run out here, or was never set */
    else
        set(g, m, now);
}

void guard_fleet_done(struct guard *g, const struct ipc_fleet_done *d)
{
    g->uplink.feed_seq = d->seq;
    g->uplink.snapshot = sk_now_wall();
    enforcer_fleet_done(g->enforcer);
    g->uplink.sweeping = true;
}

void guard_fleet_tick(struct guard *g)
{
    if (!g->uplink.sweeping)
        return;
    g->uplink.sweeping = enforcer_fleet_sweep(g->enforcer, sk_now_wall());
    (void)!enforcer_flush(g->enforcer, sk_now_wall()); /* a failure is counted, and repaired by the next tick */
}

void guard_fleet_drop(struct guard *g)
{
    enforcer_fleet_begin(g->enforcer);
    enforcer_fleet_done(g->enforcer);
    g->uplink.sweeping = true;
}

static json_t *u64(uint64_t v)
{
    return json_integer((json_int_t)(v > INT64_MAX ? INT64_MAX : v));
}

json_t *guard_fleet_json(const struct guard *g)
{
    const struct enforcer_stats *s = enforcer_stats(g->enforcer);
    json_t *o = json_object();
    json_object_set_new(o, "taken", json_boolean(g->conf->manager.fleet_blocks));
    json_object_set_new(
        o, "in_force", u64(block_table_of(g->table, BLOCK_FLEET, true) + block_table_of(g->table, BLOCK_FLEET, false)));
    json_object_set_new(o, "heard", u64(s->fleet));
    json_object_set_new(o, "refused", u64(s->fleet_refused));
    json_object_set_new(o, "lifted", u64(s->fleet_ended));
    json_object_set_new(o, "unblocked_here", u64(enforcer_fleet_spared(g->enforcer)));
    json_object_set_new(o, "feed", u64(g->uplink.feed_seq));
    return o;
}
