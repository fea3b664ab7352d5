/*
 * Requests and block life; what goes to the kernel and when is in enforcer_sync.c.
 */
#include "enforcer_priv.h"

#include <stdlib.h>

/* What the journal missed is written at the next read-back. */
void enforcer_journal_result(struct enforcer *e, int rc)
{
    if (rc == SK_OK)
        return;
    e->stats.journal_errors++;
    e->journal_stale = true;
}

struct enforcer *enforcer_create(const struct enforcer_setup *s)
{
    struct enforcer *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->s = *s;
    e->max = s->limits->max_blocks && s->limits->max_blocks < block_table_max(s->table) ? s->limits->max_blocks
                                                                                        : block_table_max(s->table);
    e->late_due = e->prefix_due[0] = e->prefix_due[1] = e->brake_look = INT64_MAX;
    e->table_no = 1;
    e->offenders = offenders_create(0);
    if (!e->offenders) {
        free(e);
        return NULL;
    }
    return e;
}

void enforcer_free(struct enforcer *e)
{
    if (!e)
        return;
    enforcer_journal_hits(e);
    targets_free(&e->fresh);
    targets_free(&e->late);
    targets_free(&e->gone);
    pieces_free(&e->shadow[0]);
    pieces_free(&e->shadow[1]);
    pieces_free(&e->want[0]);
    pieces_free(&e->want[1]);
    free(e->changes);
    free(e->fleet.spared);
    offenders_free(e->offenders);
    free(e);
}

void targets_free(struct targets *t)
{
    free(t->v);
    *t = (struct targets){0};
}

/* A list that cannot grow loses its entry and asks for a full comparison instead, which needs no list. */
void targets_add(struct enforcer *e, struct targets *t, const struct sk_prefix *p)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        struct sk_prefix *v = cap <= ENFORCER_PENDING_MAX ? realloc(t->v, cap * sizeof *v) : NULL;
        if (!v) {
            e->need_resync = true;
            return;
        }
        t->v = v;
        t->cap = cap;
    }
    t->v[t->n++] = *p;
}

void enforcer_fire(struct enforcer *e, enum enforcer_event ev, const struct block *b, int64_t now)
{
    if (e->s.hook)
        e->s.hook(e->s.hook_arg, ev, b, now);
}

static void due(int64_t *at, int64_t when)
{
    if (when < *at)
        *at = when;
}

/* A block that the kernel does not know yet. */
void enforcer_pend_new(struct enforcer *e, struct block *b, int64_t now)
{
    b->dirty = true;
    targets_add(e, &e->fresh, &b->target);
    if (!block_is_host(b))
        due(&e->prefix_due[!sk_addr_is_v4(&b->target.addr)], now);
}

void enforcer_pend_moved(struct enforcer *e, struct block *b, int64_t when)
{
    if (!b->dirty) {
        b->dirty = true;
        targets_add(e, &e->late, &b->target);
    }
    due(&e->late_due, when);
    if (!block_is_host(b))
        due(&e->prefix_due[!sk_addr_is_v4(&b->target.addr)], when);
}

/* One that lasts longer: soon enough is in time, and one kernel change covers many requests. */
static void pend_longer(struct enforcer *e, struct block *b, int64_t was, int64_t now)
{
    enforcer_pend_moved(e, b, was - SK_NS_PER_S < now ? now : now + ENFORCER_EXTEND_DELAY);
}

static enum enforce_result count(uint64_t *n, enum enforce_result r)
{
    ++*n;
    return r;
}

static void count_on(struct block *b, int64_t now)
{
    if (b->requests < UINT32_MAX)
        b->requests++;
    b->last = now;
}

/* ---- the brake ---- */

static uint64_t active_clients(struct enforcer *e, int64_t now)
{
    return e->s.active ? e->s.active(e->s.hook_arg, now) : 0;
}

void enforcer_brake(struct enforcer *e, int64_t now, struct enforcer_brake *out)
{
    *out = (struct enforcer_brake){0};
    if (!e->s.brake)
        return;
    out->active = active_clients(e, now);
    out->limit = brake_limit(e->s.brake, out->active);
    out->room = brake_room(&e->brake, e->s.brake, out->active, now);
    out->set = e->brake.sum;
    out->braking = e->brake.braking;
    out->since = e->brake.braking_since;
    out->stopped = e->brake.stopped;
}

/* Says what has changed; looks again later while it brakes. */
static void follow_brake(struct enforcer *e, int64_t now)
{
    struct enforcer_brake b;
    enforcer_brake(e, now, &b);
    e->brake_look = b.braking ? now + ENFORCER_BRAKE_LOOK : INT64_MAX;
    if (b.braking == e->brake_said)
        return;
    e->brake_said = b.braking;
    if (e->s.braked)
        e->s.braked(e->s.hook_arg, &b, now);
}

static enum brake_verdict take_brake(struct enforcer *e, int64_t now)
{
    if (!e->s.brake)
        return BRAKE_GO;
    enum brake_verdict v = brake_take(&e->brake, e->s.brake, active_clients(e, now), now);
    if (e->brake.braking != e->brake_said)
        follow_brake(e, now);
    return v;
}

void enforcer_brake_release(struct enforcer *e, int64_t now)
{
    brake_release(&e->brake, now);
    follow_brake(e, now);
}

/* ---- requests ---- */

static enum enforce_result extend(struct enforcer *e, struct block *b, int64_t expires, int64_t now)
{
    int64_t was = b->expires;
    count_on(b, now);
    if (!block_table_extend(e->s.table, b, expires))
        return ENFORCE_KNOWN;
    pend_longer(e, b, was, now);
    return count(&e->stats.extended, ENFORCE_EXTENDED);
}

static enum enforce_result ask_brake(struct enforcer *e, enum block_origin origin, int64_t now)
{
    if (origin != BLOCK_RULE)
        return ENFORCE_BLOCKED;
    switch (take_brake(e, now)) {
    case BRAKE_SHARE: return count(&e->stats.refused_brake, ENFORCE_REFUSED_BRAKE);
    case BRAKE_RATE: return count(&e->stats.refused_rate, ENFORCE_REFUSED_RATE);
    default: return ENFORCE_BLOCKED;
    }
}

static enum enforce_result may_be_new(struct enforcer *e, enum block_origin origin, int64_t now)
{
    if (block_table_count(e->s.table) >= e->max)
        return count(&e->stats.refused_full, ENFORCE_REFUSED_FULL);
    return ask_brake(e, origin, now);
}

static enum enforce_result add_new(struct enforcer *e, const struct decide_request *r, enum block_origin origin,
                                   uint32_t repeat, int64_t expires, int64_t now, struct enforce_outcome *out)
{
    struct block *b;
    enum enforce_result may = may_be_new(e, origin, now);
    if (may != ENFORCE_BLOCKED)
        return may;
    if (block_table_add(e->s.table, r, NULL, origin, now, expires, &b) != SK_OK)
        return count(&e->stats.refused_full, ENFORCE_REFUSED_FULL);
    b->repeat = repeat;
    b->dry_run = e->s.dry_run;
    enforcer_pend_new(e, b, now);
    out->block = b;
    return count(&e->stats.blocked, ENFORCE_BLOCKED);
}

/* What only the fleet wanted blocked, this host wants too: it is a new block to the brake, and to the manager. */
static enum enforce_result join_fleet(struct enforcer *e, struct block *b, const struct decide_request *r,
                                      enum block_origin origin, uint32_t repeat, int64_t expires, int64_t now,
                                      struct enforce_outcome *out)
{
    enum enforce_result may = ask_brake(e, origin, now);
    out->block = NULL;
    if (may != ENFORCE_BLOCKED)
        return may;
    if (block_table_own(e->s.table, &b, r, origin, now, expires) != SK_OK)
        return count(&e->stats.refused_full, ENFORCE_REFUSED_FULL);
    b->repeat = repeat;
    count_on(b, now);
    enforcer_journal_block(e, b);
    enforcer_pend_moved(e, b, now);
    out->block = b;
    return count(&e->stats.blocked, ENFORCE_BLOCKED);
}

/* A blocked client has come again: whatever is asked for, nothing is set and nothing lasts longer. */
static enum enforce_result only_count(struct enforcer *e, const struct sk_prefix *target, int64_t now,
                                      struct enforce_outcome *out)
{
    struct block *b = block_table_find(e->s.table, target);
    bool own = b && b->expires > now;
    e->stats.again++;
    if (!own)
        b = block_table_covering(e->s.table, target);
    if (!b || b->expires <= now)
        return ENFORCE_NOT_BLOCKED;
    count_on(b, now);
    out->block = b;
    return own ? ENFORCE_KNOWN : count(&e->stats.covered, ENFORCE_COVERED);
}

/* The target's block in force, if it has one of its own. */
static struct block *own_block(struct enforcer *e, const struct sk_prefix *target, int64_t now)
{
    struct block *b = block_table_find(e->s.table, target);
    if (!b || b->expires > now)
        return b;
    enforcer_end(e, b, JOURNAL_EXPIRED, now); /* its time is over, the tick has only not come yet */
    return NULL;
}

static enum enforce_result carry_out(struct enforcer *e, const struct decide_request *r, enum block_origin origin,
                                     int64_t now, struct enforce_outcome *out)
{
    struct block *own = own_block(e, &r->target, now);
    bool fleets = own && own->origin == BLOCK_FLEET;
    uint32_t repeat = 0;
    if (origin == BLOCK_RULE)
        repeat =
            own && !fleets ? own->repeat : offenders_count(e->offenders, &r->target, now - e->s.limits->repeat_memory);
    int64_t expires = now + policy_grown(e->s.limits, r->seconds, repeat) * SK_NS_PER_S;
    struct block *wide = block_table_covering(e->s.table, &r->target);
    if (wide && wide->target.len < r->target.len && wide->expires >= expires) {
        count_on(wide, now);
        out->block = wide;
        return count(&e->stats.covered, ENFORCE_COVERED);
    }
    out->block = own;
    if (fleets)
        return join_fleet(e, own, r, origin, repeat, expires, now, out);
    return own ? extend(e, own, expires, now) : add_new(e, r, origin, repeat, expires, now, out);
}

void enforcer_request(struct enforcer *e, const struct decide_request *req, enum block_origin origin, int64_t now,
                      struct enforce_outcome *out)
{
    struct decide_request r;
    *out = (struct enforce_outcome){0};
    e->stats.requests++;
    out->why = policy_check(e->s.limits, req, &r);
    if (out->why == POLICY_OK && origin == BLOCK_RULE && !policy_rule_width(&r.target))
        out->why = POLICY_TOO_WIDE;
    if (out->why != POLICY_OK) {
        out->result = count(&e->stats.refused_invalid, ENFORCE_REFUSED_INVALID);
        return;
    }
    if (r.reason == DECIDE_BY_AGAIN) {
        out->result = only_count(e, &r.target, now, out);
        return;
    }
    out->never = never_check(e->s.never, &r.target);
    out->result =
        out->never ? count(&e->stats.refused_never, ENFORCE_REFUSED_NEVER) : carry_out(e, &r, origin, now, out);
}

/*
 * An end that comes much later than planned means that the clock was set (or the machine slept): the kernel, which
 * counts monotonic time, may believe in a later end.
 */
static bool kernel_lets_go(const struct block *b, enum journal_end why, int64_t now)
{
    return why == JOURNAL_EXPIRED && b->expires <= now && now - b->expires < ENFORCER_LATE &&
           b->kernel_expires <= now + ENFORCER_SLACK;
}

static void pend_gone(struct enforcer *e, const struct block *b, int64_t now)
{
    unsigned fam = !sk_addr_is_v4(&b->target.addr);
    if (block_is_host(b)) {
        if (b->kernel_expires != 0)
            targets_add(e, &e->gone, &b->target);
        return;
    }
    due(&e->prefix_due[fam], now);
    if (b->expires <= now + ENFORCER_SLACK) /* too near its end to be deleted by name */
        e->rewrite[fam] = true;
}

static void remember(struct enforcer *e, const struct block *b, enum journal_end why, int64_t end)
{
    if (why == JOURNAL_EXPIRED && b->origin == BLOCK_RULE)
        offenders_ended(e->offenders, &b->target, b->repeat + 1, end);
    else if (why == JOURNAL_UNBLOCKED || (why == JOURNAL_FLEET && b->origin != BLOCK_FLEET))
        offenders_forgive(e->offenders, &b->target);
    if (why == JOURNAL_UNBLOCKED)
        enforcer_spare(e, b, end);
}

/* Takes a block out of table and journal, and has the kernel follow unless it lets go by itself right now. */
void enforcer_end(struct enforcer *e, struct block *b, enum journal_end why, int64_t now)
{
    static const enum enforcer_event events[] = {
        [JOURNAL_EXPIRED] = ENFORCER_EXPIRED, [JOURNAL_UNBLOCKED] = ENFORCER_UNBLOCKED,
        [JOURNAL_NEVER] = ENFORCER_LIFTED,    [JOURNAL_STOPPED] = ENFORCER_UNBLOCKED,
        [JOURNAL_FLEET] = ENFORCER_RECALLED,
    };
    uint64_t *counts[] = {&e->stats.expired,   &e->stats.unblocked, &e->stats.lifted,
                          &e->stats.unblocked, &e->stats.switched,  &e->stats.fleet_ended};
    int64_t end = why == JOURNAL_EXPIRED && b->expires < now ? b->expires : now;
    block_table_remove(e->s.table, b);
    if (!kernel_lets_go(b, why, now))
        pend_gone(e, b, now);
    if (e->s.journal)
        enforcer_journal_result(e, journal_end(e->s.journal, b, why, end));
    ++*counts[why];
    remember(e, b, why, end);
    enforcer_fire(e, events[why], b, now);
    block_free(b);
}

int enforcer_unblock_id(struct enforcer *e, const char *id, int64_t now)
{
    struct block *b = block_table_find_id(e->s.table, id);
    if (!b)
        return SK_ENOENT;
    enforcer_end(e, b, JOURNAL_UNBLOCKED, now);
    return SK_OK;
}

int enforcer_unblock(struct enforcer *e, const struct sk_prefix *target, int64_t now)
{
    struct block *b = block_table_find(e->s.table, target);
    if (!b)
        return SK_ENOENT;
    enforcer_end(e, b, JOURNAL_UNBLOCKED, now);
    return SK_OK;
}

size_t enforcer_unblock_some(struct enforcer *e, size_t most, int64_t now)
{
    size_t n = 0;
    for (struct block *b; n < most && (b = block_table_first(e->s.table)); n++)
        enforcer_end(e, b, JOURNAL_UNBLOCKED, now);
    return n;
}

size_t enforcer_never_changed(struct enforcer *e, int64_t now)
{
    /* Collected first: every removal reorders the table. */
    struct targets lift = {0};
    for (size_t i = 0; i < block_table_count(e->s.table); i++) {
        const struct block *b = block_table_at(e->s.table, i);
        const struct never_entry *n = never_check(e->s.never, &b->target);
        if (n && n->kind != NEVER_UNKNOWN) /* not to know is no reason to let go of what was blocked knowingly */
            targets_add(e, &lift, &b->target);
    }
    size_t lifted = lift.n;
    for (size_t i = 0; i < lifted; i++)
        enforcer_end(e, block_table_find(e->s.table, &lift.v[i]), JOURNAL_NEVER, now);
    targets_free(&lift);
    return lifted;
}

void enforcer_journal_pending(struct enforcer *e, const struct targets *t, bool add)
{
    for (size_t i = 0; e->s.journal && i < t->n; i++) {
        const struct block *b = block_table_find(e->s.table, &t->v[i]);
        if (b && add)
            enforcer_journal_result(e, journal_add(e->s.journal, b));
        else if (b)
            enforcer_journal_result(e, journal_update(e->s.journal, b));
    }
}

void enforcer_journal_block(struct enforcer *e, const struct block *b)
{
    if (e->s.journal)
        enforcer_journal_result(e, journal_add(e->s.journal, b));
}

void enforcer_journal_catch_up(struct enforcer *e, int64_t now)
{
    if (!e->s.journal || !e->journal_stale)
        return;
    e->journal_stale = false;
    enforcer_journal_result(e, journal_rewrite(e->s.journal, e->s.table, now));
}

void enforcer_journal_commit(struct enforcer *e)
{
    if (e->s.journal)
        enforcer_journal_result(e, journal_commit(e->s.journal));
}

void enforcer_journal_round(struct enforcer *e, int64_t now)
{
    enforcer_journal_commit(e);
    enforcer_journal_catch_up(e, now);
    if (e->s.journal)
        journal_checkpoint(e->s.journal);
}

void enforcer_journal_hits(struct enforcer *e)
{
    for (size_t i = 0; e->s.journal && i < block_table_count(e->s.table); i++) {
        const struct block *b = block_table_at(e->s.table, i);
        if (b->hit_packets)
            enforcer_journal_result(e, journal_update(e->s.journal, b));
    }
    enforcer_journal_commit(e);
}

/* Was the clock set back, further than by what nobody minds? */
static bool clock_back(const struct enforcer *e, int64_t now)
{
    return now + ENFORCER_RESYNC < e->last_tick;
}

int enforcer_tick(struct enforcer *e, int64_t now)
{
    struct block *b;
    for (int i = 0; i < ENFORCER_ENDS && (b = block_table_first(e->s.table)) && b->expires <= now; i++)
        enforcer_end(e, b, JOURNAL_EXPIRED, now);
    if (e->brake.braking || e->brake_said)
        follow_brake(e, now);
    if (clock_back(e, now))
        enforcer_check_anew(e);
    e->last_tick = now;
    int rc = enforcer_flush(e, now);
    if (rc != SK_OK || !(e->check.running || now >= e->check.due))
        return rc;
    return enforcer_check_some(e, now);
}

int64_t enforcer_deadline(const struct enforcer *e)
{
    const struct block *b = block_table_first(e->s.table);
    int64_t at = b ? b->expires : INT64_MAX;
    due(&at, e->brake_look);
    if (e->degraded || e->need_resync) {
        due(&at, e->retry_at);
        return at;
    }
    due(&at, e->check.running ? e->last_tick : e->check.due);
    due(&at, e->late_due);
    due(&at, e->prefix_due[0]);
    due(&at, e->prefix_due[1]);
    return at;
}

bool enforcer_due(const struct enforcer *e, int64_t now)
{
    return now >= enforcer_deadline(e) || clock_back(e, now);
}

int enforcer_teardown(struct enforcer *e, int64_t now)
{
    struct block *b;
    while ((b = block_table_first(e->s.table)))
        enforcer_end(e, b, JOURNAL_STOPPED, now);
    enforcer_journal_commit(e);
    e->fresh.n = e->late.n = e->gone.n = 0;
    e->shadow[0].n = e->shadow[1].n = 0;
    e->late_due = e->prefix_due[0] = e->prefix_due[1] = INT64_MAX;
    return e->s.ops->teardown(e->s.ops_ctx);
}

const struct enforcer_stats *enforcer_stats(const struct enforcer *e)
{
    return &e->stats;
}

const struct offenders *enforcer_offenders(const struct enforcer *e)
{
    return e->offenders;
}

bool enforcer_degraded(const struct enforcer *e)
{
    return e->degraded;
}

const struct block_table *enforcer_table(const struct enforcer *e)
{
    return e->s.table;
}

const char *enforce_result_name(enum enforce_result r)
{
    static const char *const names[] = {
#define X(id, name) name,
        ENFORCE_RESULTS(X)
#undef X
    };
    return (unsigned)r < sizeof names / sizeof names[0] ? names[r] : "unknown";
}
