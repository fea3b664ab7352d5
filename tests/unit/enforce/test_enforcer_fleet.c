/*
 * What the fleet wants and what this host wants of the same targets: examples of each rule, and a property test against
 * a model that knows nothing but two ends a target, of which the later one counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "enforce/enforcer.h"
#include "enforce/nft_fake.h"

#define S  SK_NS_PER_S
#define T0 (1700000000 * S)

struct rig {
    struct nft_fake *fake;
    struct never_list *never;
    struct block_table *table;
    struct journal *journal;
    struct enforcer *e;
    struct policy_limits limits;
    char path[64];
    unsigned fired[ENFORCER_RECALLED + 1];
};

static struct sk_prefix pfx(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static void hook(void *arg, enum enforcer_event ev, const struct block *b, int64_t now)
{
    (void)b;
    (void)now;
    ((struct rig *)arg)->fired[ev]++;
}

static void start(struct rig *r, int64_t now)
{
    bool moved;
    assert_int_equal(journal_open(r->path, &r->journal, &moved), SK_OK);
    r->table = block_table_create(4000);
    struct enforcer_setup s = {.ops = &nft_fake_ops,
                               .ops_ctx = r->fake,
                               .table = r->table,
                               .journal = r->journal,
                               .never = r->never,
                               .limits = &r->limits,
                               .hook = hook,
                               .hook_arg = r};
    r->e = enforcer_create(&s);
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
}

static void stop(struct rig *r)
{
    enforcer_free(r->e);
    journal_close(r->journal);
    block_table_free(r->table);
}

static void restart(struct rig *r, int64_t now)
{
    stop(r);
    start(r, now);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    char dir[] = "/tmp/sekisho-fleet-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(r->path, sizeof r->path, "%s/j", dir);
    r->fake = nft_fake_create();
    r->never = never_create();
    r->limits =
        (struct policy_limits){.max_seconds = 7200, .max_blocks = 4000, .repeat_factor = 2, .repeat_memory = 86400 * S};
    start(r, T0);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    char cmd[96];
    stop(r);
    never_free(r->never);
    nft_fake_free(r->fake);
    *strrchr(r->path, '/') = '\0';
    snprintf(cmd, sizeof cmd, "rm -r %s", r->path);
    assert_int_equal(system(cmd), 0);
    free(r);
    return 0;
}

static enum enforce_result fleet_of(struct rig *r, const struct sk_prefix *p, const char *id, int64_t expires,
                                    int64_t now)
{
    struct block_fleet f = {.created = now, .expires = expires, .sid = 9, .gid = 1, .host = "web-2", .reason = "there"};
    struct decide_request q = {.target = *p, .sid = 9, .gid = 1, .msg = "there"};
    struct enforce_outcome o;
    snprintf(f.id, sizeof f.id, "%s", id);
    q.seconds = expires > now ? (expires - now - 1) / S + 1 : 0;
    enforcer_fleet_set(r->e, &q, &f, now, &o);
    return o.result;
}

static enum enforce_result fleet(struct rig *r, const char *target, const char *id, int64_t expires, int64_t now)
{
    struct sk_prefix p = pfx(target);
    return fleet_of(r, &p, id, expires, now);
}

static const struct block *ask(struct rig *r, const char *target, int64_t seconds, enum block_origin origin,
                               int64_t now)
{
    struct decide_request q = {.target = pfx(target), .seconds = seconds, .sid = 7, .msg = "here", .evidence_len = 2};
    struct enforce_outcome o;
    memcpy(q.evidence, "ev", 2);
    enforcer_request(r->e, &q, origin, now, &o);
    return o.block;
}

static struct block *find(struct rig *r, const char *target)
{
    struct sk_prefix p = pfx(target);
    return block_table_find(r->table, &p);
}

static bool drops(struct rig *r, const char *addr, int64_t now)
{
    struct sk_prefix p = pfx(addr);
    return nft_fake_drops(r->fake, &p.addr, now);
}

static void work(struct rig *r, int64_t now)
{
    do
        assert_int_equal(enforcer_tick(r->e, now), SK_OK);
    while (enforcer_due(r->e, now));
}

static void a_block_of_the_fleet_ends_at_the_managers_second(void **state)
{
    struct rig *r = *state;
    int64_t end = T0 + 90 * S + 123 * SK_NS_PER_MS;
    assert_int_equal(fleet(r, "192.0.2.1", "BOTHER", end, T0), ENFORCE_BLOCKED);
    work(r, T0);
    const struct block *b = find(r, "192.0.2.1");
    assert_true(b->origin == BLOCK_FLEET && b->expires == end && b->own == 0 && b->kernel_expires == end);
    assert_string_equal(b->fleet->host, "web-2");
    assert_string_equal(b->msg, "there");
    assert_true(drops(r, "192.0.2.1", end - SK_NS_PER_MS));
    work(r, end);
    assert_null(find(r, "192.0.2.1"));
    assert_false(drops(r, "192.0.2.1", end));
    assert_int_equal(r->fired[ENFORCER_EXPIRED], 1);
}

static void the_fleet_may_shorten_what_is_only_its_own(void **state)
{
    struct rig *r = *state;
    assert_int_equal(fleet(r, "192.0.2.1", "B1", T0 + 600 * S, T0), ENFORCE_BLOCKED);
    work(r, T0);
    assert_int_equal(fleet(r, "192.0.2.1", "B1", T0 + 60 * S, T0), ENFORCE_SHORTENED);
    work(r, T0);
    assert_int_equal(find(r, "192.0.2.1")->kernel_expires, T0 + 60 * S);
    assert_true(drops(r, "192.0.2.1", T0 + 59 * S));
    assert_false(drops(r, "192.0.2.1", T0 + 61 * S));
    assert_int_equal(fleet(r, "192.0.2.1", "B1", T0 + 60 * S, T0), ENFORCE_KNOWN);
    assert_int_equal(fleet(r, "192.0.2.1", "B1", T0 + 90 * S, T0), ENFORCE_EXTENDED);
    assert_int_equal(fleet(r, "192.0.2.1", "B1", T0 - S, T0), ENFORCE_NOT_BLOCKED); /* is over: no longer wanted */
    work(r, T0);
    assert_false(drops(r, "192.0.2.1", T0));
    assert_int_equal(r->fired[ENFORCER_RECALLED], 1);
}

static void an_own_block_that_comes_back_stays_what_it_was(void **state)
{
    struct rig *r = *state;
    const struct block *b = ask(r, "192.0.2.1", 600, BLOCK_RULE, T0);
    char id[BLOCK_ID_LEN];
    memcpy(id, b->id, sizeof id);
    work(r, T0);
    unsigned changed = r->fired[ENFORCER_CHANGED];
    assert_int_equal(fleet(r, "192.0.2.1", id, b->expires + SK_NS_PER_MS - 1, T0), ENFORCE_KNOWN);
    work(r, T0 + 2 * S);
    b = find(r, "192.0.2.1");
    assert_true(b->origin == BLOCK_RULE && b->expires == T0 + 600 * S && b->evidence_len == 2 && b->sid == 7);
    assert_string_equal(b->id, id);
    assert_string_equal(b->msg, "here");
    assert_int_equal(r->fired[ENFORCER_CHANGED], changed);
}

static void the_later_end_counts(void **state)
{
    struct rig *r = *state;
    (void)ask(r, "192.0.2.1", 100, BLOCK_RULE, T0);
    assert_int_equal(fleet(r, "192.0.2.1", "B2", T0 + 500 * S, T0), ENFORCE_EXTENDED);
    work(r, T0);
    const struct block *b = find(r, "192.0.2.1");
    assert_true(b->own == T0 + 100 * S && b->expires == T0 + 500 * S && b->origin == BLOCK_RULE);
    assert_int_equal(fleet(r, "192.0.2.1", "B2", T0 + 50 * S, T0), ENFORCE_SHORTENED); /* never below this host's own */
    work(r, T0);
    assert_int_equal(find(r, "192.0.2.1")->expires, T0 + 100 * S);
    assert_int_equal(find(r, "192.0.2.1")->kernel_expires, T0 + 100 * S);
}

static void a_rule_here_makes_it_this_hosts_too(void **state)
{
    struct rig *r = *state;
    assert_int_equal(fleet(r, "192.0.2.1", "B2", T0 + 500 * S, T0), ENFORCE_BLOCKED);
    work(r, T0);
    char id[BLOCK_ID_LEN];
    memcpy(id, find(r, "192.0.2.1")->id, sizeof id);
    const struct block *b = ask(r, "192.0.2.1", 100, BLOCK_RULE, T0 + S);
    assert_true(b->origin == BLOCK_RULE && b->own == T0 + 101 * S && b->expires == T0 + 500 * S && b->sid == 7);
    assert_string_equal(b->id, id);
    assert_int_equal(block_table_of(r->table, BLOCK_FLEET, true), 0);
    work(r, T0 + S);
    restart(r, T0 + 2 * S);
    b = find(r, "192.0.2.1");
    assert_true(b->origin == BLOCK_RULE && b->own == T0 + 101 * S && b->expires == T0 + 500 * S && b->sid == 7);
    assert_true(b->fleet && b->fleet->expires == T0 + 500 * S && strcmp(b->fleet->id, "B2") == 0);
    (void)ask(r, "192.0.2.1", 1000, BLOCK_RULE, T0 + 3 * S); /* by its rule alone it lasts longer now */
    assert_int_equal(find(r, "192.0.2.1")->expires, T0 + 1003 * S);
}

static void the_manager_lifts_also_what_is_this_hosts(void **state)
{
    struct rig *r = *state;
    struct sk_prefix p = pfx("192.0.2.1");
    (void)ask(r, "192.0.2.1", 100, BLOCK_RULE, T0);
    work(r, T0);
    assert_int_equal(enforcer_unblock(r->e, &p, T0), SK_OK);
    (void)ask(r, "192.0.2.1", 100, BLOCK_RULE, T0);
    work(r, T0);
    assert_int_equal(enforcer_fleet_end(r->e, &p, T0), SK_ENOENT); /* of the first one, which this host has ended */
    assert_true(drops(r, "192.0.2.1", T0));
    assert_int_equal(enforcer_fleet_end(r->e, &p, T0 + S), SK_OK);
    work(r, T0 + S);
    assert_false(drops(r, "192.0.2.1", T0 + S));
    assert_int_equal(enforcer_fleet_end(r->e, &p, T0 + S), SK_ENOENT);
    assert_int_equal(r->fired[ENFORCER_RECALLED], 1);
}

/* Runs it out; the next own block is then longer. */
static int64_t next_length(struct rig *r, const char *target, int64_t now)
{
    const struct block *b = ask(r, target, 100, BLOCK_RULE, now);
    return (b->own - now) / S;
}

static void blocks_of_the_fleet_are_no_repeats(void **state)
{
    struct rig *r = *state;
    struct sk_prefix p = pfx("192.0.2.2");
    assert_int_equal(fleet(r, "192.0.2.1", "B2", T0 + 10 * S, T0), ENFORCE_BLOCKED);
    work(r, T0 + 11 * S);
    assert_int_equal(next_length(r, "192.0.2.1", T0 + 12 * S), 100);
    work(r, T0 + 112 * S);
    assert_int_equal(next_length(r, "192.0.2.1", T0 + 113 * S), 200);
    assert_int_equal(next_length(r, "192.0.2.2", T0), 100);
    work(r, T0 + 113 * S);
    assert_int_equal(next_length(r, "192.0.2.2", T0 + 114 * S), 200);
    (void)fleet(r, "192.0.2.2", "B", T0 + 200 * S, T0 + 114 * S);
    assert_int_equal(enforcer_fleet_end(r->e, &p, T0 + 115 * S), SK_OK); /* forgives */
    restart(r, T0 + 116 * S);
    assert_int_equal(next_length(r, "192.0.2.2", T0 + 116 * S), 100);
}

static void what_is_checked_of_every_request(void **state)
{
    struct rig *r = *state;
    struct sk_prefix bent = pfx("192.0.2.0/24");
    bent.addr.b[15] = 1;
    assert_int_equal(fleet(r, "127.0.0.1", "B", T0 + 60 * S, T0), ENFORCE_REFUSED_INVALID);
    assert_int_equal(fleet(r, "169.254.169.254", "B", T0 + 60 * S, T0), ENFORCE_REFUSED_NEVER);
    assert_int_equal(fleet(r, "10.0.0.0/15", "B", T0 + 60 * S, T0), ENFORCE_REFUSED_INVALID);
    assert_int_equal(fleet(r, "2001:db8::/31", "B", T0 + 60 * S, T0), ENFORCE_REFUSED_INVALID);
    assert_int_equal(fleet_of(r, &bent, "B", T0 + 60 * S, T0), ENFORCE_REFUSED_INVALID);
    assert_int_equal(fleet(r, "10.1.0.0/16", "B", T0 + 60 * S, T0), ENFORCE_BLOCKED);
    assert_int_equal(fleet(r, "192.0.2.9", "B", INT64_MAX, T0), ENFORCE_BLOCKED);
    assert_int_equal(find(r, "192.0.2.9")->expires, T0 + 7200 * S); /* no block lasts longer here */
    assert_int_equal(enforcer_stats(r->e)->fleet_refused, 5);
}

static void three_quarters_of_the_table_and_no_more(void **state)
{
    struct rig *r = *state;
    char text[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(text, sizeof text, "10.9.%d.%d", i / 250, i % 250);
        assert_int_equal(fleet(r, text, "B", T0 + 60 * S, T0), ENFORCE_BLOCKED);
    }
    assert_int_equal(fleet(r, "192.0.2.1", "B", T0 + 60 * S, T0), ENFORCE_REFUSED_FULL);
    assert_non_null(ask(r, "192.0.2.1", 60, BLOCK_RULE, T0));
    work(r, T0 + 61 * S);
    assert_int_equal(block_table_of(r->table, BLOCK_FLEET, true), 0);
    assert_int_equal(fleet(r, "192.0.2.2", "B", T0 + 160 * S, T0 + 61 * S), ENFORCE_BLOCKED);
}

static void a_snapshot_ends_what_is_not_in_it(void **state)
{
    struct rig *r = *state;
    (void)fleet(r, "192.0.2.1", "B1", T0 + 600 * S, T0);
    (void)fleet(r, "192.0.2.2", "B2", T0 + 600 * S, T0);
    (void)ask(r, "192.0.2.3", 100, BLOCK_RULE, T0);
    (void)fleet(r, "192.0.2.3", "B3", T0 + 600 * S, T0);
    (void)ask(r, "192.0.2.4", 100, BLOCK_OPERATOR, T0);
    work(r, T0);
    restart(r, T0 + S);
    enforcer_fleet_begin(r->e);
    assert_int_equal(fleet(r, "192.0.2.1", "B1", T0 + 600 * S, T0 + S), ENFORCE_KNOWN);
    assert_false(enforcer_fleet_sweep(r->e, T0 + S)); /* not whole yet: nothing ends */
    assert_int_equal(block_table_count(r->table), 4);
    enforcer_fleet_done(r->e);
    while (enforcer_fleet_sweep(r->e, T0 + S))
        ;
    work(r, T0 + S);
    assert_non_null(find(r, "192.0.2.1"));
    assert_null(find(r, "192.0.2.2"));
    assert_int_equal(find(r, "192.0.2.3")->expires, T0 + 100 * S);
    assert_int_equal(find(r, "192.0.2.4")->expires, T0 + 100 * S);
    assert_false(drops(r, "192.0.2.2", T0 + S));
    assert_false(drops(r, "192.0.2.3", T0 + 101 * S));
}

static void what_is_unblocked_here_is_not_set_again(void **state)
{
    struct rig *r = *state;
    struct sk_prefix p = pfx("192.0.2.1"), q = pfx("192.0.2.2");
    (void)fleet(r, "192.0.2.1", "B1", T0 + 600 * S, T0);
    const struct block *mine = ask(r, "192.0.2.2", 300, BLOCK_RULE, T0);
    char id[BLOCK_ID_LEN];
    memcpy(id, mine->id, sizeof id);
    work(r, T0);
    assert_int_equal(enforcer_unblock(r->e, &p, T0 + S), SK_OK);
    assert_int_equal(enforcer_unblock(r->e, &q, T0 + S), SK_OK); /* the manager has not told it back yet */
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(fleet(r, "192.0.2.1", "B1", T0 + 600 * S, T0 + S), ENFORCE_SPARED);
        assert_int_equal(fleet(r, "192.0.2.2", id, T0 + 300 * S, T0 + S), ENFORCE_SPARED);
        work(r, T0 + S);
        restart(r, T0 + S);
    }
    assert_int_equal(enforcer_fleet_spared(r->e), 2);
    assert_int_equal(fleet(r, "192.0.2.1", "B1", T0 + 700 * S, T0 + S), ENFORCE_BLOCKED); /* news */
    assert_int_equal(fleet(r, "192.0.2.2", "B9", T0 + 200 * S, T0 + S), ENFORCE_BLOCKED); /* another one */
    assert_int_equal(enforcer_fleet_spared(r->e), 0);
    work(r, T0 + S);
    (void)fleet(r, "192.0.2.5", "B5", T0 + 600 * S, T0 + S);
    struct sk_prefix s = pfx("192.0.2.5");
    assert_int_equal(enforcer_unblock(r->e, &s, T0 + 2 * S), SK_OK);
    assert_int_equal(enforcer_fleet_end(r->e, &s, T0 + 2 * S),
                     SK_ENOENT); /* over there: from now on anything is news */
    assert_int_equal(fleet(r, "192.0.2.5", "B5", T0 + 600 * S, T0 + 3 * S), ENFORCE_BLOCKED);
}

static void what_is_remembered_of_that_is_bounded(void **state)
{
    struct rig *r = *state;
    char text[32];
    for (int i = 0; i < ENFORCER_SPARED_MAX + 100; i++) {
        snprintf(text, sizeof text, "10.%d.%d.9", i / 250, i % 250);
        struct sk_prefix p = pfx(text);
        assert_int_equal(fleet(r, text, "B", T0 + (1000 + i) * S, T0), ENFORCE_BLOCKED);
        assert_int_equal(enforcer_unblock(r->e, &p, T0), SK_OK);
    }
    assert_int_equal(enforcer_fleet_spared(r->e), ENFORCER_SPARED_MAX);
    assert_int_equal(fleet(r, "10.0.0.9", "B", T0 + 1000 * S, T0), ENFORCE_BLOCKED); /* would be over first */
    assert_int_equal(fleet(r, text, "B", T0 + (1000 + ENFORCER_SPARED_MAX + 99) * S, T0), ENFORCE_SPARED);
}

/* ---- the model ---- */

#define TARGETS 24

struct model {
    int64_t own, fleet; /* ends; 0: none */
    int64_t spared;     /* what the fleet wanted when it was unblocked here ... */
    char spared_id;     /* ... and by which block */
    char id;            /* of the fleet's block */
    bool in;            /* the snapshot under way */
    bool ended_here;
    bool changed; /* it has wanted something else since: after a restart that is not known any more */
};

struct world {
    struct rig *r;
    uint64_t rng;
    int64_t now;
    bool restarted;
    struct sk_prefix p[TARGETS];
    struct model m[TARGETS];
};

static uint32_t rnd(struct world *w, uint32_t below)
{
    w->rng ^= w->rng << 13;
    w->rng ^= w->rng >> 7;
    w->rng ^= w->rng << 17;
    return (uint32_t)(w->rng >> 20) % below;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* No target lies in another one: then what covers what does not matter. */
static void make_targets(struct world *w)
{
    char text[48];
    for (unsigned i = 0; i < TARGETS; i++) {
        snprintf(text, sizeof text,
                 i % 4 == 0   ? "10.%u.0.0/16"
                 : i % 4 == 1 ? "2001:db8:%x::/48"
                 : i % 4 == 2 ? "2001:db8:%x::1"
                              : "192.0.2.%u",
                 i + 1);
        w->p[i] = pfx(text);
    }
}

static void model_passes(struct world *w)
{
    for (unsigned i = 0; i < TARGETS; i++) {
        struct model *m = &w->m[i];
        if (later(m->own, m->fleet) <= w->now)
            m->own = m->fleet = 0;
    }
}

static void says_own(struct world *w, unsigned i)
{
    struct decide_request q = {.target = w->p[i], .seconds = 1 + rnd(w, 90)};
    struct enforce_outcome o;
    enforcer_request(w->r->e, &q, BLOCK_OPERATOR, w->now, &o);
    assert_non_null(o.block);
    w->m[i].own = later(w->m[i].own, w->now + q.seconds * S);
}

static void says_fleet(struct world *w, unsigned i)
{
    struct model *m = &w->m[i];
    char id[2] = {(char)('A' + rnd(w, 3)), 0};
    int64_t end = w->now + ((int64_t)rnd(w, 120) - 10) * S + rnd(w, 1000) * SK_NS_PER_MS;
    if (m->spared && rnd(w, 3) == 0) { /* the same again */
        id[0] = m->spared_id;
        end = m->spared;
    }
    enum enforce_result res = fleet_of(w->r, &w->p[i], id, end, w->now);
    bool same = m->spared && id[0] == m->spared_id && end <= m->spared && end > w->now;
    assert_true((res == ENFORCE_SPARED) == (same && !m->changed) || (same && w->restarted));
    if (res == ENFORCE_SPARED)
        return;
    if (end > w->now) {
        m->changed = true;
        m->id = id[0];
    }
    m->fleet = end > w->now ? end : 0;
    m->in = true;
    if (m->own <= w->now && m->fleet == 0)
        m->own = 0;
}

static void unblocks(struct world *w, unsigned i)
{
    struct model *m = &w->m[i];
    int rc = enforcer_unblock(w->r->e, &w->p[i], w->now);
    assert_int_equal(rc == SK_OK, m->own > w->now || m->fleet > w->now);
    m->ended_here = m->ended_here || m->own != 0; /* then the next end may be the one of that */
    if (rc == SK_OK && m->fleet) {
        m->spared = m->fleet;
        m->spared_id = m->id;
        m->changed = false;
    }
    m->own = m->fleet = 0;
}

static void lifts(struct world *w, unsigned i)
{
    struct model *m = &w->m[i];
    bool there = later(m->own, m->fleet) > w->now;
    int rc = enforcer_fleet_end(w->r->e, &w->p[i], w->now);
    assert_true(rc == SK_OK ? there : !there || (m->own && m->ended_here));
    if (rc == SK_OK)
        m->own = m->fleet = 0;
    m->changed = true;
}

static void snapshot(struct world *w)
{
    for (unsigned i = 0; i < TARGETS; i++)
        w->m[i].in = false;
    enforcer_fleet_begin(w->r->e);
    for (unsigned i = rnd(w, TARGETS); i > 0; i--)
        says_fleet(w, rnd(w, TARGETS));
    if (rnd(w, 3) == 0)
        return; /* the uplink dies meanwhile: nothing ends */
    enforcer_fleet_done(w->r->e);
    while (enforcer_fleet_sweep(w->r->e, w->now))
        ;
    for (unsigned i = 0; i < TARGETS; i++) {
        struct model *m = &w->m[i];
        m->fleet = m->in ? m->fleet : 0;
        if (m->own <= w->now && m->fleet == 0)
            m->own = 0;
    }
}

/* What is less than ENFORCER_SLACK is not written into the sets of networks. */
static int64_t slack_of(const struct sk_prefix *p)
{
    return p->len == 128 ? SK_NS_PER_MS : ENFORCER_SLACK + SK_NS_PER_MS;
}

static int64_t kernel_end(const struct world *w, const struct sk_prefix *p)
{
    bool v4 = sk_addr_is_v4(&p->addr), host = p->len == 128;
    struct nft_elem e = {.set = host ? (v4 ? NFT_HOST4 : NFT_HOST6) : (v4 ? NFT_PREFIX4 : NFT_PREFIX6)};
    sk_prefix_range(p, &e.first, &e.last);
    assert_int_equal(nft_fake_ops.get(w->r->fake, &e, 1, w->now), SK_OK);
    return e.there ? e.expires : 0;
}

static void compare(struct world *w, unsigned step)
{
    for (unsigned i = 0; i < TARGETS; i++) {
        const struct block *b = block_table_find(w->r->table, &w->p[i]);
        int64_t end = later(w->m[i].own, w->m[i].fleet);
        char text[SK_PREFIX_STRLEN];
        if ((b ? b->expires : 0) != end)
            fail_msg("step %u: %s ends at %+lld ms instead of %+lld", step, sk_prefix_format(&w->p[i], text),
                     b ? (long long)(b->expires - w->now) / 1000000 : -1, (long long)(end - w->now) / 1000000);
        assert_true(!b || (b->origin == BLOCK_FLEET) == (w->m[i].own == 0));
        int64_t kernel = kernel_end(w, &w->p[i]);
        assert_true(end <= w->now + ENFORCER_SLACK || llabs(kernel - end) < slack_of(&w->p[i]));
        assert_true(end != 0 || kernel <= w->now + ENFORCER_SLACK); /* it lets go by itself */
    }
}

static void step(struct world *w)
{
    unsigned what = rnd(w, 100), i = rnd(w, TARGETS);
    if (what < 25)
        says_own(w, i);
    else if (what < 60)
        says_fleet(w, i);
    else if (what < 65)
        unblocks(w, i);
    else if (what < 70)
        lifts(w, i);
    else if (what < 73)
        snapshot(w);
    else if (what < 97)
        w->now += (int64_t)rnd(w, 15000) * SK_NS_PER_MS;
    work(w->r, w->now);
    w->now += 1100 * SK_NS_PER_MS; /* extensions are collected for a second */
    work(w->r, w->now);
    model_passes(w);
    if (what < 97)
        return;
    restart(w->r, w->now);
    w->restarted = true;
}

static void the_later_end_wins_whatever_happens(void **state)
{
    struct world w = {.r = *state, .now = T0};
    make_targets(&w);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        w.rng = seed * 7919;
        for (unsigned i = 0; i < 400; i++) {
            step(&w);
            compare(&w, i);
        }
    }
    assert_int_equal(enforcer_stats(w.r->e)->kernel_errors, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_block_of_the_fleet_ends_at_the_managers_second),
        T(the_fleet_may_shorten_what_is_only_its_own),
        T(an_own_block_that_comes_back_stays_what_it_was),
        T(the_later_end_counts),
        T(a_rule_here_makes_it_this_hosts_too),
        T(the_manager_lifts_also_what_is_this_hosts),
        T(blocks_of_the_fleet_are_no_repeats),
        T(what_is_checked_of_every_request),
        T(three_quarters_of_the_table_and_no_more),
        T(a_snapshot_ends_what_is_not_in_it),
        T(what_is_unblocked_here_is_not_set_again),
        T(what_is_remembered_of_that_is_bounded),
        T(the_later_end_wins_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
