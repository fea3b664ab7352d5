/* The brake as the guard keeps it: how many clients are active, and what is said when it stops or lets go. */
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "event/event.h"
#include "guard.h"

/*
 * The engine's word. One that has just been started has seen few clients yet: for a window the number that the one
 * before it had counts as well, or each restart would make the brake stop at its minimum.
 */
uint64_t guard_active(void *arg, int64_t now)
{
    const struct guard *g = (const struct guard *)arg;
    uint64_t said = ipc_status_get(&g->status->engine.active_clients);
    bool young = sk_now_mono() - g->active_of < g->brake.window;
    (void)now;
    return young && g->active_before > said ? g->active_before : said;
}

/* Before the next engine has written its first number. */
void guard_brake_follow_engine(struct guard *g)
{
    int64_t started = g->child[GUARD_ENGINE].started;
    if (started != g->active_of) {
        g->active_before = g->active_last;
        g->active_of = started;
    }
    g->active_last = guard_active(g, 0);
}

static void send_event(struct guard *g, const struct enforcer_brake *b, int64_t now)
{
    struct ipc_event e = {0};
    struct event_builder eb;
    struct event_rec *r = event_begin(&eb, e.rec, sizeof(e.rec), EVENT_BLOCK);
    r->ts = now;
    r->has = EVENT_HAS_BLOCK;
    r->block.action = b->braking ? EVENT_BLOCK_BRAKED : EVENT_BLOCK_RELEASED;
    r->block.dry_run = g->dry_run;
    r->brake.set = b->set;
    r->brake.limit = b->limit;
    r->brake.active = b->active;
    r->brake.stopped = b->stopped;
    r->brake.share = g->brake.share;
    e.len = event_end(&eb);
    guard_send_event(g, &e);
}

void guard_braked(void *arg, const struct enforcer_brake *b, int64_t now)
{
    struct guard *g = (struct guard *)arg;
    char window[32];
    sk_duration_format(g->brake.window / SK_NS_PER_S, window);
    send_event(g, b, now);
    if (b->braking)
        sk_log(
            SK_LOG_WARN,
            "BRAKE: %llu new blocks within %s, of %llu active clients: more than that decide.brake allows to nobody, "
            "and rules block no more until there is room. See `sekisho blocks`: if customers are among them, "
            "`sekisho unblock` them and correct the rule; if all are attackers, `sekisho brake --release`",
            (unsigned long long)b->set, window, (unsigned long long)b->active);
    else
        sk_log(SK_LOG_WARN, "the brake has let go: %llu blocks were refused; there is room for %llu within %s",
               (unsigned long long)b->stopped, (unsigned long long)b->room, window);
}

json_t *guard_brake_json(const struct guard *g)
{
    struct enforcer_brake b;
    char since[40];
    enforcer_brake(g->enforcer, sk_now_wall(), &b);
    json_t *o = json_object();
    json_object_set_new(o, "braking", json_boolean(b.braking));
    if (b.since != 0) {
        json_object_set_new(o, "since", json_string(sk_time_format(b.since, since)));
        json_object_set_new(o, "stopped", json_integer((json_int_t)b.stopped));
    }
    json_object_set_new(o, "new_blocks", json_integer((json_int_t)b.set));
    json_object_set_new(o, "limit", json_integer((json_int_t)b.limit));
    json_object_set_new(o, "room", json_integer((json_int_t)b.room));
    json_object_set_new(o, "active_clients",
                        json_integer(b.active < INT64_MAX ? (json_int_t)b.active : (json_int_t)INT64_MAX));
    json_object_set_new(o, "share", json_integer(g->brake.share));
    json_object_set_new(o, "minimum", json_integer(g->brake.minimum));
    json_object_set_new(o, "rate", json_integer(g->brake.rate));
    json_object_set_new(o, "window", json_integer(g->brake.window / SK_NS_PER_S));
    return o;
}
