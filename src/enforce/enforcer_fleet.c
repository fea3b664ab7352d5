/*
 * What the fleet wants blocked. The manager is believed no more than an engine is: what it asks for is checked like any
 * request, and it can spare nobody but by lifting a block.
 */
#include "enforcer_priv.h"

#include <stdlib.h>

#define SWEEP 512 /* blocks that one call goes over */
#define CHAIN 64  /* beyond that, in the same slot of the table */

/* ---- what was unblocked here ---- */

static bool same_target(const struct sk_prefix *a, const struct sk_prefix *b)
{
    return a->len == b->len && sk_addr_eq(&a->addr, &b->addr);
}

static struct spared *spared_find(const struct enforcer *e, const struct sk_prefix *target)
{
    for (size_t i = 0; i < e->fleet.nspared; i++)
        if (same_target(&e->fleet.spared[i].target, target))
            return &e->fleet.spared[i];
    return NULL;
}

static void spared_drop(struct enforcer *e, const struct sk_prefix *target)
{
    struct spared *s = spared_find(e, target);
    if (s)
        *s = e->fleet.spared[--e->fleet.nspared];
}

static int64_t spared_end(const struct spared *s)
{
    return s->own > s->fleet ? s->own : s->fleet;
}

/* A free place; else that of the one which would be over first. */
static struct spared *spared_place(struct enforcer *e)
{
    struct fleet_state *f = &e->fleet;
    if (!f->spared && !(f->spared = calloc(ENFORCER_SPARED_MAX, sizeof *f->spared)))
        return NULL;
    struct spared *first = f->spared;
    for (size_t i = 1; i < f->nspared; i++)
        if (spared_end(&f->spared[i]) < spared_end(first))
            first = &f->spared[i];
    if (f->nspared < ENFORCER_SPARED_MAX)
        first = &f->spared[f->nspared++];
    *first = (struct spared){0};
    return first;
}

static void spare_fleets(struct spared *s, const struct block *b)
{
    if (!b->fleet)
        return;
    s->fleet = b->fleet->expires;
    memcpy(s->fleet_id, b->fleet->id, sizeof s->fleet_id);
}

void enforcer_spare(struct enforcer *e, const struct block *b, int64_t now)
{
    if (b->expires <= now)
        return;
    struct spared *s = spared_find(e, &b->target);
    if (!s && !(s = spared_place(e)))
        return;
    s->target = b->target;
    s->own = b->own;
    memset(s->own_id, 0, sizeof s->own_id);
    if (b->origin != BLOCK_FLEET)
        memcpy(s->own_id, b->id, sizeof s->own_id);
    spare_fleets(s, b); /* else it is still spared as it was before this host's own */
}

void enforcer_spare_restored(struct enforcer *e, const struct block *b, int64_t now)
{
    struct spared *s = spared_find(e, &b->target);
    const struct block *there = block_table_find(e->s.table, &b->target);
    if (there && there->fleet)
        return; /* that was news then */
    if (!s)
        enforcer_spare(e, b, now);
    else if (!s->fleet)
        spare_fleets(s, b);
}

/* Is that what was unblocked here, and no news? */
static bool is_spared(struct enforcer *e, const struct sk_prefix *target, const struct block_fleet *f)
{
    const struct spared *s = spared_find(e, target);
    if (!s)
        return false;
    return (s->fleet && strcmp(s->fleet_id, f->id) == 0 && f->expires <= s->fleet) ||
           (s->own_id[0] && strcmp(s->own_id, f->id) == 0 && f->expires <= s->own + ENFORCER_ECHO);
}

size_t enforcer_fleet_spared(const struct enforcer *e)
{
    return e->fleet.nspared;
}

/* ---- one of them ---- */

static enum enforce_result refuse(struct enforcer *e, enum enforce_result r)
{
    e->stats.fleet_refused++;
    return r;
}

/* The later end counts; news of the same block that come back from the manager move nothing. */
static int64_t end_of(const struct enforcer *e, const struct block *b, const struct block_fleet *f, int64_t now)
{
    int64_t max = e->s.limits->max_seconds > 0 && e->s.limits->max_seconds < POLICY_MAX_SECONDS
                      ? e->s.limits->max_seconds
                      : POLICY_MAX_SECONDS;
    int64_t end = f->expires < now + max * SK_NS_PER_S ? f->expires : now + max * SK_NS_PER_S;
    return b && end > b->own && end - b->own < ENFORCER_ECHO ? b->own : end;
}

static bool has_room(const struct enforcer *e, bool host)
{
    const struct block_table *t = e->s.table;
    size_t hosts = block_table_of(t, BLOCK_FLEET, true), wide = block_table_of(t, BLOCK_FLEET, false);
    if (block_table_count(t) >= e->max || hosts + wide >= e->max - e->max / 4)
        return false;
    return host || wide < BLOCK_PREFIXES_MAX - BLOCK_PREFIXES_MAX / 4;
}

static enum enforce_result set_new(struct enforcer *e, const struct decide_request *r, const struct block_fleet *f,
                                   int64_t now, struct enforce_outcome *out)
{
    struct block *b;
    bool moved;
    if (!has_room(e, r->target.len == 128) ||
        block_table_add(e->s.table, r, NULL, BLOCK_FLEET, now, f->expires, &b) != SK_OK)
        return refuse(e, ENFORCE_REFUSED_FULL);
    if (block_table_claim(e->s.table, b, f, &moved) != SK_OK) {
        block_table_remove(e->s.table, b);
        block_free(b);
        return refuse(e, ENFORCE_REFUSED_FULL);
    }
    b->dry_run = e->s.dry_run;
    enforcer_pend_new(e, b, now);
    out->block = b;
    return ENFORCE_BLOCKED;
}

static bool same_claim(const struct block_fleet *a, const struct block_fleet *b)
{
    return a && a->expires == b->expires && a->created == b->created && a->sid == b->sid && a->gid == b->gid &&
           strcmp(a->id, b->id) == 0 && strcmp(a->host, b->host) == 0 && strcmp(a->reason, b->reason) == 0;
}

static enum enforce_result set_again(struct enforcer *e, struct block *b, const struct block_fleet *f, int64_t now)
{
    int64_t was = b->expires;
    bool moved;
    if (same_claim(b->fleet, f)) {
        b->fleet->round = f->round;
        return ENFORCE_KNOWN;
    }
    if (block_table_claim(e->s.table, b, f, &moved) != SK_OK)
        return refuse(e, ENFORCE_REFUSED_FULL);
    if (moved)
        enforcer_pend_moved(e, b, now);
    else if (b->own == 0)
        enforcer_journal_block(e, b); /* another host's block now, with the same end */
    return !moved ? ENFORCE_KNOWN : b->expires > was ? ENFORCE_EXTENDED : ENFORCE_SHORTENED;
}

/* The fleet wants it no more: it ends, unless this host does. */
static void drop_claim(struct enforcer *e, struct block *b, int64_t now)
{
    bool moved;
    if (!b->fleet)
        return;
    if (b->own <= now) {
        /* One of this host's own whose time was over, and which only the fleet has kept since, has run out. */
        enforcer_end(e, b, b->own ? JOURNAL_EXPIRED : JOURNAL_FLEET, now);
        return;
    }
    (void)!block_table_claim(e->s.table, b, NULL, &moved); /* takes no memory */
    if (moved)
        enforcer_pend_moved(e, b, now);
}

static enum enforce_result carry_out(struct enforcer *e, const struct decide_request *r, const struct block_fleet *say,
                                     int64_t now, struct enforce_outcome *out)
{
    struct block *b = block_table_find(e->s.table, &r->target);
    struct block_fleet f = *say;
    if (b && b->expires <= now) {
        enforcer_end(e, b, JOURNAL_EXPIRED, now);
        b = NULL;
    }
    if (is_spared(e, &r->target, &f)) {
        e->stats.fleet_spared++;
        return ENFORCE_SPARED;
    }
    spared_drop(e, &r->target);
    f.round = e->fleet.round;
    f.expires = end_of(e, b, &f, now);
    if (!b)
        return set_new(e, r, &f, now, out);
    enum enforce_result res = set_again(e, b, &f, now);
    out->block = b;
    return res;
}

/* What was set before and is no longer allowed goes. */
static void no_more(struct enforcer *e, const struct sk_prefix *target, int64_t now)
{
    struct block *b = block_table_find(e->s.table, target);
    if (b)
        drop_claim(e, b, now);
}

void enforcer_fleet_set(struct enforcer *e, const struct decide_request *req, const struct block_fleet *f, int64_t now,
                        struct enforce_outcome *out)
{
    struct decide_request r;
    *out = (struct enforce_outcome){.result = ENFORCE_NOT_BLOCKED};
    e->stats.fleet++;
    out->why = policy_check(e->s.limits, req, &r);
    if (out->why == POLICY_OK && !policy_fleet_width(&r.target))
        out->why = POLICY_TOO_WIDE;
    if (out->why == POLICY_BAD_DURATION && f->expires <= now) {
        no_more(e, &req->target, now);
        return;
    }
    if (out->why != POLICY_OK) {
        out->result = refuse(e, ENFORCE_REFUSED_INVALID);
        return;
    }
    out->never = never_check(e->s.never, &r.target);
    out->result = out->never ? refuse(e, ENFORCE_REFUSED_NEVER) : carry_out(e, &r, f, now, out);
}

/* Unblocked here, and blocked anew since: the manager tells back the end of the first one. */
static bool is_echo(const struct enforcer *e, const struct block *b)
{
    const struct spared *s = spared_find(e, &b->target);
    return s && s->own_id[0] && b->own && !b->fleet && strcmp(s->own_id, b->id) != 0;
}

int enforcer_fleet_end(struct enforcer *e, const struct sk_prefix *target, int64_t now)
{
    struct block *b = block_table_find(e->s.table, target);
    bool echo = b && is_echo(e, b);
    spared_drop(e, target);
    if (!b || echo)
        return SK_ENOENT;
    enforcer_end(e, b, JOURNAL_FLEET, now);
    return SK_OK;
}

/* ---- snapshots ---- */

void enforcer_fleet_begin(struct enforcer *e)
{
    e->fleet.round++;
    e->fleet.collecting = true;
    e->fleet.sweeping = false;
}

void enforcer_fleet_done(struct enforcer *e)
{
    e->fleet.sweeping = e->fleet.sweeping || e->fleet.collecting;
    e->fleet.collecting = false;
    e->fleet.cursor = 0;
}

struct stale {
    uint32_t round;
    struct sk_prefix v[SWEEP + CHAIN];
    size_t n;
    bool more;
};

static void gather(void *arg, struct block *b)
{
    struct stale *s = arg;
    if (!b->fleet || b->fleet->round == s->round)
        return;
    s->more = s->more || s->n == sizeof s->v / sizeof s->v[0];
    if (!s->more)
        s->v[s->n++] = b->target;
}

bool enforcer_fleet_sweep(struct enforcer *e, int64_t now)
{
    struct stale s = {.round = e->fleet.round};
    uint32_t at = e->fleet.cursor;
    if (!e->fleet.sweeping)
        return false;
    e->fleet.sweeping = block_table_scan(e->s.table, &at, SWEEP, gather, &s);
    if (!s.more) /* else the same part once more */
        e->fleet.cursor = at;
    e->fleet.sweeping = e->fleet.sweeping || s.more;
    for (size_t i = 0; i < s.n; i++)
        no_more(e, &s.v[i], now);
    return e->fleet.sweeping;
}
