/* The guard's own events: what happens to blocks, and what is refused. They go to the reporter. */
#include <string.h>
#include "event/event.h"
#include "guard.h"

static const enum event_block_action action_of[] = {
    [ENFORCER_ADDED] = EVENT_BLOCK_SET,        [ENFORCER_CHANGED] = EVENT_BLOCK_SET,
    [ENFORCER_EXPIRED] = EVENT_BLOCK_EXPIRED,  [ENFORCER_UNBLOCKED] = EVENT_BLOCK_REMOVED,
    [ENFORCER_LIFTED] = EVENT_BLOCK_REMOVED,   [ENFORCER_ADOPTED] = EVENT_BLOCK_SET,
    [ENFORCER_RECALLED] = EVENT_BLOCK_REMOVED,
};

void guard_send_event(struct guard *g, const struct ipc_event *e)
{
    const struct guard_child *c = &g->child[GUARD_REPORTER];
    if (c->chan < 0 || ipc_send(c->chan, IPC_EVENT, e, NULL, 0) != SK_OK)
        g->events_lost++;
}

static struct event_rec *begin(struct event_builder *eb, struct ipc_event *e, int64_t now, const struct sk_prefix *p)
{
    struct event_rec *r = event_begin(eb, e->rec, sizeof(e->rec), EVENT_BLOCK);
    r->ts = now;
    r->has = EVENT_HAS_BLOCK;
    r->block.target = p->addr;
    r->block.plen = p->len;
    return r;
}

static void add_origin(struct event_builder *eb, uint8_t origin, uint8_t reason)
{
    event_add_str(eb, EVENT_I_BLOCK_ORIGIN, block_origin_name((enum block_origin)origin));
    if (origin == BLOCK_RULE)
        event_add_str(eb, EVENT_I_BLOCK_CAUSE, decide_reason_name((enum decide_reason)reason));
}

void guard_event_block(struct guard *g, enum enforcer_event ev, const struct block *b, int64_t now)
{
    struct ipc_event e = {0};
    struct event_builder eb;
    struct event_rec *r = begin(&eb, &e, now, &b->target);
    r->flow_id = b->flow_id;
    r->alert.sid = b->sid;
    r->alert.gid = b->gid;
    r->block.action = action_of[ev];
    r->block.expires = b->expires;
    r->block.dry_run = b->dry_run;
    r->block.repeat = b->repeat;
    r->block.score = b->score;
    r->block.threshold = b->threshold;
    event_add_str(&eb, EVENT_I_BLOCK_ID, b->id);
    event_add_str(&eb, EVENT_I_BLOCK_REASON, guard_block_reason(b));
    add_origin(&eb, b->origin, b->reason);
    e.len = event_end(&eb);
    guard_send_event(g, &e);
}

void guard_event_refused(void *arg, const struct refusal *f, int64_t now)
{
    struct guard *g = (struct guard *)arg;
    struct ipc_event e = {0};
    struct event_builder eb;
    char entry[SK_PREFIX_STRLEN];
    struct event_rec *r = begin(&eb, &e, now, &f->target);
    r->alert.sid = f->sid;
    r->alert.gid = f->gid;
    r->block.action = EVENT_BLOCK_REFUSED;
    r->block.dry_run = g->dry_run;
    r->block.count = f->count;
    event_add_str(&eb, EVENT_I_BLOCK_REASON, f->msg);
    add_origin(&eb, f->origin, f->reason);
    event_add_str(&eb, EVENT_I_REFUSED_KIND, refusal_kind(f));
    if (f->result == ENFORCE_REFUSED_NEVER)
        event_add_str(&eb, EVENT_I_REFUSED_ENTRY, sk_prefix_format(&f->entry, entry));
    event_add_str(&eb, EVENT_I_REFUSED_TEXT, refusal_text(f));
    e.len = event_end(&eb);
    guard_send_event(g, &e);
}
