#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "enforce/enforcer.h"
#include "enforce/nft_fake.h"

#define S  SK_NS_PER_S
#define T0 (INT64_C(1700000000) * S)

struct rig {
    struct nft_fake *fake;
    struct never_list *never;
    struct block_table *table;
    struct policy_limits limits;
    struct conf_brake brake;
    uint64_t active;
    struct enforcer *e;
    unsigned events[ENFORCER_ADOPTED + 1];
    bool kernel_had_it; /* at the last ADDED */
    struct enforcer_brake told;
    unsigned brakes, releases;
};

static struct sk_prefix pfx(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static void hook(void *arg, enum enforcer_event ev, const struct block *b, int64_t now)
{
    struct rig *r = arg;
    r->events[ev]++;
    if (ev == ENFORCER_ADDED)
        r->kernel_had_it = nft_fake_drops(r->fake, &b->target.addr, now);
}

static uint64_t active(void *arg, int64_t now)
{
    (void)now;
    return ((struct rig *)arg)->active;
}

static void braked(void *arg, const struct enforcer_brake *b, int64_t now)
{
    struct rig *r = arg;
    (void)now;
    r->told = *b;
    r->brakes += b->braking;
    r->releases += !b->braking;
}

static int setup_of(void **state, uint32_t max_blocks)
{
    struct rig *r = calloc(1, sizeof *r);
    r->brake = (struct conf_brake){.share = 10, .minimum = 20, .rate = 200, .window = 600 * S};
    r->fake = nft_fake_create();
    r->never = never_create();
    r->table = block_table_create(1000);
    r->limits = (struct policy_limits){.max_seconds = 7200, .max_blocks = max_blocks};
    struct enforcer_setup s = {.ops = &nft_fake_ops,
                               .ops_ctx = r->fake,
                               .table = r->table,
                               .never = r->never,
                               .limits = &r->limits,
                               .brake = &r->brake,
                               .hook = hook,
                               .active = active,
                               .braked = braked,
                               .hook_arg = r};
    r->e = enforcer_create(&s);
    assert_int_equal(enforcer_restore(r->e, T0), SK_OK);
    *state = r;
    return 0;
}

static int setup(void **state)
{
    return setup_of(state, 1000);
}

static int setup_small(void **state)
{
    return setup_of(state, 10);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    enforcer_free(r->e);
    block_table_free(r->table);
    never_free(r->never);
    nft_fake_free(r->fake);
    free(r);
    return 0;
}

static struct enforce_outcome ask(struct rig *r, const char *target, int64_t seconds, int64_t now)
{
    struct decide_request q = {.target = pfx(target), .seconds = seconds};
    struct enforce_outcome o;
    enforcer_request(r->e, &q, BLOCK_RULE, now, &o);
    return o;
}

static struct enforce_outcome ask_as(struct rig *r, const char *target, int64_t seconds, enum block_origin origin,
                                     int64_t now)
{
    struct decide_request q = {.target = pfx(target), .seconds = seconds};
    struct enforce_outcome o;
    enforcer_request(r->e, &q, origin, now, &o);
    return o;
}

/* A rule's block of the ith of many hosts. */
static struct enforce_outcome ask_host(struct rig *r, int i, int64_t now)
{
    char text[32];
    snprintf(text, sizeof text, "10.9.%d.%d", i / 250, i % 250);
    return ask(r, text, 600, now);
}

static bool drops(struct rig *r, const char *addr, int64_t now)
{
    struct sk_prefix p = pfx(addr);
    return nft_fake_drops(r->fake, &p.addr, now);
}

static void test_block_holds_until_its_end(void **state)
{
    struct rig *r = *state;
    struct enforce_outcome o = ask(r, "192.0.2.1", 60, T0);
    assert_int_equal(o.result, ENFORCE_BLOCKED);
    assert_true(o.block->expires == T0 + 60 * S);
    assert_false(drops(r, "192.0.2.1", T0)); /* pending */
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_true(drops(r, "192.0.2.1", T0));
    assert_int_equal(r->events[ENFORCER_ADDED], 1);
    assert_true(r->kernel_had_it);
    assert_true(enforcer_deadline(r->e) <= T0 + 60 * S);
    assert_int_equal(enforcer_tick(r->e, T0 + 59 * S), SK_OK);
    assert_true(drops(r, "192.0.2.1", T0 + 59 * S));
    assert_int_equal(enforcer_tick(r->e, T0 + 60 * S), SK_OK);
    assert_false(drops(r, "192.0.2.1", T0 + 60 * S));
    assert_int_equal(r->events[ENFORCER_EXPIRED], 1);
    assert_int_equal(block_table_count(r->table), 0);
}

static void test_repeats_extend_never_shorten(void **state)
{
    struct rig *r = *state;
    ask(r, "192.0.2.1", 60, T0);
    assert_int_equal(ask(r, "192.0.2.1", 30, T0 + S).result, ENFORCE_KNOWN);
    struct enforce_outcome o = ask(r, "192.0.2.1", 100, T0 + S);
    assert_int_equal(o.result, ENFORCE_EXTENDED);
    assert_int_equal(o.block->requests, 3);
    assert_true(o.block->expires == T0 + 101 * S);
    /* Cut to the maximum. */
    o = ask(r, "192.0.2.9", 999999, T0);
    assert_true(o.block->expires == T0 + 7200 * S);
}

static void test_many_extensions_are_one_kernel_change(void **state)
{
    struct rig *r = *state;
    ask(r, "192.0.2.1", 60, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    uint64_t before = nft_fake_log(r->fake)->applies;
    for (int i = 1; i <= 900; i++) {
        int64_t now = T0 + i * SK_NS_PER_MS;
        assert_int_equal(ask(r, "192.0.2.1", 60, now).result, ENFORCE_EXTENDED);
        assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    }
    assert_int_equal(nft_fake_log(r->fake)->applies, before);
    assert_true(enforcer_deadline(r->e) <= T0 + 1001 * SK_NS_PER_MS);
    assert_int_equal(enforcer_tick(r->e, T0 + 2 * S), SK_OK);
    assert_int_equal(nft_fake_log(r->fake)->applies, before + 1);
    assert_true(drops(r, "192.0.2.1", T0 + 60 * S + 500 * SK_NS_PER_MS));
    /* One that is about to end cannot wait. */
    assert_int_equal(ask(r, "192.0.2.1", 60, T0 + 60 * S).result, ENFORCE_EXTENDED);
    assert_int_equal(enforcer_flush(r->e, T0 + 60 * S), SK_OK);
    assert_true(drops(r, "192.0.2.1", T0 + 119 * S));
}

static void test_refusals_name_their_reason(void **state)
{
    struct rig *r = *state;
    struct sk_prefix gw = pfx("192.0.2.1");
    assert_int_equal(never_add_static(r->never, NEVER_GATEWAY, &gw, "via eth0"), SK_OK);
    struct enforce_outcome o = ask(r, "192.0.2.0/24", 60, T0);
    assert_int_equal(o.result, ENFORCE_REFUSED_NEVER);
    assert_string_equal(o.never->text, "via eth0");
    assert_null(o.block);
    assert_int_equal(ask(r, "169.254.169.254", 60, T0).never->kind, NEVER_METADATA);
    o = ask(r, "10.0.0.0/7", 60, T0);
    assert_true(o.result == ENFORCE_REFUSED_INVALID && o.why == POLICY_TOO_WIDE);
    o = ask(r, "192.0.2.7", 0, T0);
    assert_true(o.result == ENFORCE_REFUSED_INVALID && o.why == POLICY_BAD_DURATION);
    for (int i = 0; i < 15; i++) {
        char text[32];
        snprintf(text, sizeof text, "198.51.100.%d", i + 1);
        assert_int_equal(ask(r, text, 60, T0).result, i < 10 ? ENFORCE_BLOCKED : ENFORCE_REFUSED_FULL);
    }
    const struct enforcer_stats *st = enforcer_stats(r->e);
    assert_true(st->refused_never == 2 && st->refused_invalid == 2 && st->refused_full == 5 && st->blocked == 10);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_int_equal(nft_fake_count(r->fake, T0), 10);
}

static void test_rate_limits_rules_not_the_operator(void **state)
{
    struct rig *r = *state;
    r->brake.rate = 1;
    for (int i = 0; i < BRAKE_BURST_S; i++)
        assert_int_equal(ask_host(r, i, T0).result, ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "192.0.2.3", 60, T0).result, ENFORCE_REFUSED_RATE);
    assert_int_equal(ask_as(r, "192.0.2.4", 60, BLOCK_OPERATOR, T0).result, ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "192.0.2.3", 60, T0 + S).result, ENFORCE_BLOCKED);
    assert_int_equal(enforcer_stats(r->e)->refused_rate, 1);
}

static void test_the_brake_lets_a_share_through(void **state)
{
    struct rig *r = *state;
    unsigned set = 0, stopped = 0;
    r->active = 500;
    for (int i = 0; i < 500; i++) {
        struct enforce_outcome o = ask_host(r, i, T0 + i * S);
        set += o.result == ENFORCE_BLOCKED;
        stopped += o.result == ENFORCE_REFUSED_BRAKE;
        assert_true(o.result == ENFORCE_BLOCKED || o.result == ENFORCE_REFUSED_BRAKE);
    }
    assert_int_equal(set, 50);
    assert_int_equal(stopped, 450);
    assert_int_equal(enforcer_stats(r->e)->refused_brake, 450);
    assert_int_equal(block_table_count(r->table), 50);
    /* Said once, with its numbers. */
    assert_int_equal(r->brakes, 1);
    assert_true(r->told.braking && r->told.set == 50 && r->told.limit == 50 && r->told.active == 500);
    assert_true(r->told.room == 0 && r->told.since == T0 + 50 * S && r->told.stopped == 1);
    /* What is in force lasts longer, and the operator blocks whom he likes. */
    int64_t now = T0 + 500 * S;
    assert_int_equal(ask_host(r, 0, now).result, ENFORCE_EXTENDED);
    assert_int_equal(ask_as(r, "198.51.100.1", 60, BLOCK_OPERATOR, now).result, ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "198.51.100.2", 60, now).result, ENFORCE_REFUSED_BRAKE);
    /* Time lets go, without another request. */
    while (r->releases == 0 && now < T0 + 3600 * S) {
        now = enforcer_deadline(r->e);
        assert_int_equal(enforcer_tick(r->e, now), SK_OK);
    }
    assert_int_equal(r->releases, 1);
    assert_in_range(now - T0, 650 * S, 652 * S); /* a quarter of the window after the last refusal */
    assert_int_equal(r->told.stopped, 451);
    assert_int_equal(ask(r, "198.51.100.2", 60, now).result, ENFORCE_BLOCKED);
}

static void test_the_operator_releases_the_brake(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 30; i++)
        ask_host(r, i, T0);
    assert_int_equal(r->brakes, 1);
    assert_int_equal(block_table_count(r->table), 20);
    struct enforcer_brake b;
    enforcer_brake(r->e, T0 + S, &b);
    assert_true(b.braking && b.stopped == 10 && b.room == 0);
    enforcer_brake_release(r->e, T0 + S);
    assert_int_equal(r->releases, 1);
    assert_true(!r->told.braking && r->told.stopped == 10);
    enforcer_brake(r->e, T0 + S, &b);
    assert_true(!b.braking && b.room == 20 && b.set == 0);
    for (int i = 30; i < 60; i++)
        ask_host(r, i, T0 + S);
    assert_int_equal(block_table_count(r->table), 40);
    assert_int_equal(r->brakes, 2);
}

static void test_who_is_not_proven_is_refused(void **state)
{
    struct rig *r = *state;
    struct decide_request q = {.target = pfx("192.0.2.1"), .seconds = 60};
    q.identity =
        (struct identity){.client = q.target.addr, .state = IDENTITY_UNPROVEN, .why = IDENTITY_WHY_HIDDEN, .nhops = 1};
    q.identity.hop[0].addr = q.target.addr;
    static const enum block_origin origins[] = {BLOCK_RULE, BLOCK_OPERATOR, BLOCK_FLEET};
    struct enforce_outcome o;
    for (size_t i = 0; i < 3; i++) {
        enforcer_request(r->e, &q, origins[i], T0, &o);
        assert_true(o.result == ENFORCE_REFUSED_INVALID && o.why == POLICY_UNPROVEN);
    }
    q.reason = DECIDE_BY_AGAIN;
    enforcer_request(r->e, &q, BLOCK_RULE, T0, &o);
    assert_int_equal(o.why, POLICY_UNPROVEN);
    assert_int_equal(block_table_count(r->table), 0);
}

static void test_again_only_counts(void **state)
{
    struct rig *r = *state;
    struct decide_request q = {.target = pfx("192.0.2.1"), .seconds = 600, .reason = DECIDE_BY_AGAIN};
    struct enforce_outcome o;
    enforcer_request(r->e, &q, BLOCK_RULE, T0, &o);
    assert_int_equal(o.result, ENFORCE_NOT_BLOCKED);
    assert_null(o.block);
    assert_int_equal(block_table_count(r->table), 0);
    const struct block *b = ask(r, "192.0.2.1", 60, T0).block;
    for (int i = 1; i <= 5; i++) {
        enforcer_request(r->e, &q, BLOCK_RULE, T0 + i * S, &o);
        assert_int_equal(o.result, ENFORCE_KNOWN);
    }
    assert_true(b->requests == 6 && b->expires == T0 + 60 * S && b->last == T0 + 5 * S);
    ask(r, "198.51.100.0/24", 60, T0);
    q.target = pfx("198.51.100.7");
    enforcer_request(r->e, &q, BLOCK_RULE, T0, &o);
    assert_int_equal(o.result, ENFORCE_COVERED);
    assert_int_equal(block_table_count(r->table), 2);
    /* Over, though the tick has not come yet. */
    enforcer_request(r->e, &q, BLOCK_RULE, T0 + 61 * S, &o);
    assert_int_equal(o.result, ENFORCE_NOT_BLOCKED);
    assert_int_equal(enforcer_stats(r->e)->again, 8);
}

/* Asks, and lets the block run out. Returns how long it was to last, in seconds; the block's number in *repeat. */
static int64_t one_turn(struct rig *r, const char *target, int64_t *now, uint32_t *repeat)
{
    struct enforce_outcome o = ask(r, target, 60, *now);
    assert_int_equal(o.result, ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, *now), SK_OK);
    int64_t seconds = (o.block->expires - *now) / S;
    *repeat = o.block->repeat;
    *now = o.block->expires;
    assert_int_equal(enforcer_tick(r->e, *now), SK_OK);
    assert_null(block_table_find(r->table, &(struct sk_prefix){.addr = pfx(target).addr, .len = 128}));
    return seconds;
}

static void test_each_block_lasts_longer(void **state)
{
    struct rig *r = *state;
    static const int64_t want[] = {60, 240, 960, 3840, 7200, 7200}; /* max_seconds */
    int64_t now = T0;
    uint32_t repeat;
    r->limits.repeat_factor = 4;
    r->limits.repeat_memory = 10000 * S;
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(one_turn(r, "192.0.2.1", &now, &repeat), want[i]);
        assert_int_equal(repeat, i);
        now += 30 * S;
    }
    /* Others are as they were, and so is who keeps quiet for long enough. */
    assert_int_equal(one_turn(r, "192.0.2.2", &now, &repeat), 60);
    int64_t before = now;
    now += 10000 * S;
    assert_int_equal(one_turn(r, "192.0.2.2", &now, &repeat), 240);
    now += 10000 * S + 1;
    assert_int_equal(one_turn(r, "192.0.2.2", &now, &repeat), 60);
    assert_int_equal(repeat, 0);
    assert_true(now > before);
    /* Looked at before the tick comes. */
    struct enforce_outcome o = ask(r, "192.0.2.9", 60, now);
    o = ask(r, "192.0.2.9", 60, now + 60 * S);
    assert_true(o.result == ENFORCE_BLOCKED && o.block->repeat == 1 && o.block->expires == now + 300 * S);
    /* Also what is asked for while the block is in force. */
    o = ask(r, "192.0.2.9", 60, now + 100 * S);
    assert_true(o.result == ENFORCE_EXTENDED && o.block->expires == now + 340 * S && o.block->repeat == 1);
}

static void test_unblocking_forgives(void **state)
{
    struct rig *r = *state;
    struct sk_prefix p = pfx("192.0.2.1");
    int64_t now = T0;
    uint32_t repeat;
    r->limits.repeat_factor = 4;
    r->limits.repeat_memory = 86400 * S;
    one_turn(r, "192.0.2.1", &now, &repeat);
    assert_int_equal(ask(r, "192.0.2.1", 60, now).block->repeat, 1);
    assert_int_equal(enforcer_unblock(r->e, &p, now), SK_OK);
    assert_int_equal(one_turn(r, "192.0.2.1", &now, &repeat), 60);
    /* The agent's own end is no pardon, an operator's block no offence. */
    assert_int_equal(ask(r, "192.0.2.1", 60, now).block->repeat, 1);
    assert_int_equal(enforcer_teardown(r->e, now), SK_OK);
    assert_int_equal(enforcer_resync(r->e, now), SK_OK);
    assert_int_equal(ask(r, "192.0.2.1", 60, now).block->repeat, 1);
    struct enforce_outcome o = ask_as(r, "192.0.2.5", 60, BLOCK_OPERATOR, now);
    assert_int_equal(enforcer_tick(r->e, now + 60 * S), SK_OK);
    o = ask(r, "192.0.2.5", 60, now + 60 * S);
    assert_true(o.result == ENFORCE_BLOCKED && o.block->repeat == 0);
    /* Nor does growth touch what an operator asks for. */
    assert_int_equal(enforcer_tick(r->e, now + 600 * S), SK_OK);
    o = ask_as(r, "192.0.2.1", 60, BLOCK_OPERATOR, now + 600 * S);
    assert_true(o.result == ENFORCE_BLOCKED && o.block->expires == now + 660 * S);
}

static void test_unblock_some(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 15; i++)
        ask_host(r, i, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_int_equal(enforcer_unblock_some(r->e, 10, T0), 10);
    assert_int_equal(block_table_count(r->table), 5);
    assert_int_equal(enforcer_unblock_some(r->e, 10, T0), 5);
    assert_int_equal(enforcer_unblock_some(r->e, 10, T0), 0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_int_equal(nft_fake_count(r->fake, T0), 0);
}

static void test_a_wider_block_covers(void **state)
{
    struct rig *r = *state;
    ask(r, "192.0.2.0/24", 100, T0);
    struct enforce_outcome o = ask(r, "192.0.2.77", 60, T0);
    assert_int_equal(o.result, ENFORCE_COVERED);
    assert_int_equal(o.block->target.len, 120);
    assert_int_equal(ask(r, "192.0.2.77", 200, T0).result, ENFORCE_BLOCKED); /* lasts longer: on its own */
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    struct sk_prefix net = pfx("192.0.2.0/24");
    assert_int_equal(enforcer_unblock(r->e, &net, T0), SK_OK);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_true(drops(r, "192.0.2.77", T0));
    assert_false(drops(r, "192.0.2.78", T0));
}

static void test_unblock_by_id_and_again(void **state)
{
    struct rig *r = *state;
    struct enforce_outcome o = ask(r, "192.0.2.1", 60, T0);
    char id[BLOCK_ID_LEN], old[BLOCK_ID_LEN];
    strcpy(id, o.block->id);
    strcpy(old, id);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_int_equal(enforcer_unblock_id(r->e, id, T0), SK_OK);
    assert_int_equal(enforcer_unblock_id(r->e, id, T0), SK_ENOENT);
    o = ask(r, "192.0.2.1", 60, T0); /* in the same batch */
    assert_int_equal(o.result, ENFORCE_BLOCKED);
    assert_string_not_equal(o.block->id, old);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_true(drops(r, "192.0.2.1", T0));
    assert_int_equal(enforcer_unblock_id(r->e, o.block->id, T0), SK_OK);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_false(drops(r, "192.0.2.1", T0));
}

static void test_kernel_errors_are_retried_until_healed(void **state)
{
    struct rig *r = *state;
    nft_fake_fail(r->fake, 3, SK_EIO);
    ask(r, "192.0.2.1", 60, T0);
    ask(r, "198.51.100.0/24", 60, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_EIO);
    assert_true(enforcer_degraded(r->e));
    assert_int_equal(r->events[ENFORCER_ADDED], 0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_EAGAIN); /* not in a tight loop */
    int64_t now = T0;
    for (int i = 0; i < 10 && enforcer_degraded(r->e); i++) {
        now = enforcer_deadline(r->e);
        (void)!enforcer_tick(r->e, now);
    }
    assert_false(enforcer_degraded(r->e));
    assert_true(now < T0 + 5 * S);
    assert_true(drops(r, "192.0.2.1", now) && drops(r, "198.51.100.4", now));
    assert_int_equal(r->events[ENFORCER_ADDED], 2);
    assert_true(enforcer_stats(r->e)->kernel_errors >= 2);
}

static void test_unblock_is_not_forgotten_when_the_kernel_fails(void **state)
{
    struct rig *r = *state;
    struct sk_prefix p = pfx("192.0.2.1"), net = pfx("198.51.100.0/24");
    ask(r, "192.0.2.1", 60, T0);
    ask(r, "198.51.100.0/24", 60, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    nft_fake_fail(r->fake, 1, SK_EAGAIN);
    assert_int_equal(enforcer_unblock(r->e, &p, T0) + enforcer_unblock(r->e, &net, T0), SK_OK);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_false(drops(r, "192.0.2.1", T0));
    assert_false(drops(r, "198.51.100.1", T0));
    assert_int_equal(enforcer_stats(r->e)->adopted, 0);
}

static void test_wiped_kernel_is_repaired_and_counted(void **state)
{
    struct rig *r = *state;
    ask(r, "192.0.2.1", 60, T0);
    ask(r, "198.51.100.0/24", 60, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    nft_fake_wipe(r->fake);
    assert_int_equal(enforcer_tick(r->e, T0 + 31 * S), SK_OK); /* no notification: the periodic read-back */
    assert_true(drops(r, "192.0.2.1", T0 + 31 * S) && drops(r, "198.51.100.255", T0 + 31 * S));
    assert_int_equal(enforcer_stats(r->e)->repairs, 2);
    assert_int_equal(enforcer_stats(r->e)->rebuilds, 1);
    assert_false(drops(r, "192.0.2.1", T0 + 60 * S));
}

static void test_hits_are_counted_over_everything(void **state)
{
    struct rig *r = *state;
    const struct block *host = ask(r, "192.0.2.1", 600, T0).block, *net = ask(r, "198.51.100.0/24", 600, T0).block;
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    uint64_t base = host->hit_packets;
    for (int i = 0; i < 5; i++) {
        drops(r, "192.0.2.1", T0 + S);
        drops(r, "198.51.100.9", T0 + S);
    }
    assert_int_equal(enforcer_resync(r->e, T0 + S), SK_OK);
    /* The hook's own look in `hook` hit each once. */
    assert_int_equal(host->hit_packets - base, 6);
    assert_int_equal(net->hit_packets, 6);
    ask(r, "198.51.100.64/26", 900, T0 + S); /* cuts the range: three elements now, counting from 0 */
    assert_int_equal(enforcer_flush(r->e, T0 + S), SK_OK);
    drops(r, "198.51.100.9", T0 + S);
    drops(r, "198.51.100.200", T0 + S);
    nft_fake_wipe(r->fake);
    assert_int_equal(enforcer_resync(r->e, T0 + S), SK_OK);
    drops(r, "192.0.2.1", T0 + S);
    drops(r, "198.51.100.200", T0 + S);
    assert_int_equal(enforcer_resync(r->e, T0 + S), SK_OK);
    assert_int_equal(host->hit_packets - base, 7);
    assert_int_equal(net->hit_packets, 7); /* two were wiped unread */
}

static void test_never_list_that_grows_lifts_blocks(void **state)
{
    struct rig *r = *state;
    ask(r, "192.0.2.1", 600, T0);
    ask(r, "192.0.2.0/25", 900, T0);
    ask(r, "198.51.100.1", 600, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    struct sk_prefix own = pfx("192.0.2.1");
    never_begin(r->never);
    assert_int_equal(never_add(r->never, NEVER_OWN, &own, "address of eth1"), SK_OK);
    assert_true(never_commit(r->never));
    assert_int_equal(enforcer_never_changed(r->e, T0), 2);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_false(drops(r, "192.0.2.1", T0));
    assert_true(drops(r, "198.51.100.1", T0));
    assert_int_equal(r->events[ENFORCER_LIFTED], 2);
}

static void test_whom_to_spare_is_not_known(void **state)
{
    struct rig *r = *state;
    struct sk_prefix foreign = pfx("192.0.2.50");
    struct nft_change c = {.op = NFT_ADD, .first = foreign.addr, .last = foreign.addr, .expires = T0 + 100 * S};
    ask(r, "192.0.2.1", 600, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    never_begin(r->never);
    never_abort(r->never);
    assert_int_equal(ask(r, "192.0.2.2", 600, T0).result, ENFORCE_REFUSED_NEVER);
    /* What is in force stays, and what is in the kernel is not thrown out for it. */
    assert_int_equal(nft_fake_ops.apply(r->fake, &c, 1, T0), SK_OK);
    assert_int_equal(enforcer_never_changed(r->e, T0), 0);
    assert_int_equal(enforcer_resync(r->e, T0), SK_OK);
    assert_true(drops(r, "192.0.2.1", T0));
    assert_true(drops(r, "192.0.2.50", T0));
    assert_false(drops(r, "192.0.2.2", T0));
}

static void test_what_rules_ask_for_is_narrow(void **state)
{
    struct rig *r = *state;
    assert_int_equal(ask(r, "198.51.0.0/16", 60, T0).why, POLICY_TOO_WIDE);
    assert_int_equal(ask(r, "2001:db8::/48", 60, T0).why, POLICY_TOO_WIDE);
    assert_int_equal(ask(r, "198.51.100.0/24", 60, T0).result, ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "2001:db8::/64", 60, T0).result, ENFORCE_BLOCKED);
    struct decide_request q = {.target = pfx("203.0.0.0/16"), .seconds = 60};
    struct enforce_outcome o;
    enforcer_request(r->e, &q, BLOCK_OPERATOR, T0, &o);
    assert_int_equal(o.result, ENFORCE_BLOCKED);
}

static void test_foreign_elements_become_blocks_unless_forbidden(void **state)
{
    struct rig *r = *state;
    struct sk_prefix a = pfx("192.0.2.50"), md = pfx("169.254.169.254");
    struct nft_change c[] = {
        {.set = NFT_HOST4, .op = NFT_ADD, .first = a.addr, .last = a.addr, .expires = T0 + 100 * S},
        {.set = NFT_HOST4, .op = NFT_ADD, .first = md.addr, .last = md.addr, .expires = T0 + 100 * S},
    };
    assert_int_equal(nft_fake_ops.apply(r->fake, c, 2, T0), SK_OK);
    assert_int_equal(enforcer_resync(r->e, T0), SK_OK);
    assert_int_equal(block_table_find(r->table, &a)->origin, BLOCK_KERNEL);
    assert_false(drops(r, "169.254.169.254", T0));
    assert_true(drops(r, "192.0.2.50", T0));
    assert_int_equal(enforcer_unblock(r->e, &a, T0), SK_OK);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_false(drops(r, "192.0.2.50", T0));
}

static void test_a_journal_that_failed_catches_up(void **state)
{
    (void)state;
    char dir[] = "/tmp/sekisho-enforcer-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/j", dir);
    struct rig r = {.fake = nft_fake_create(), .never = never_create(), .table = block_table_create(10)};
    struct enforcer_setup s = {
        .ops = &nft_fake_ops, .ops_ctx = r.fake, .table = r.table, .never = r.never, .limits = &r.limits};
    assert_int_equal(journal_open(path, &s.journal, NULL), SK_OK);
    r.e = enforcer_create(&s);
    assert_int_equal(enforcer_restore(r.e, T0), SK_OK);
    ask(&r, "192.0.2.1", 60, T0);
    assert_int_equal(enforcer_flush(r.e, T0), SK_OK);
    sqlite3 *other;
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct sk_prefix a = pfx("192.0.2.1"), b = pfx("192.0.2.2");
    ask(&r, "192.0.2.2", 60, T0);
    assert_int_equal(enforcer_unblock(r.e, &a, T0), SK_OK);
    assert_int_equal(enforcer_flush(r.e, T0), SK_OK); /* the kernel does not wait for the disk */
    assert_true(drops(&r, "192.0.2.2", T0) && !drops(&r, "192.0.2.1", T0));
    assert_true(enforcer_stats(r.e)->journal_errors > 0);
    sqlite3_close(other);
    assert_int_equal(enforcer_tick(r.e, T0 + 31 * S), SK_OK);
    struct block_table *t = block_table_create(10);
    size_t loaded;
    assert_int_equal(journal_load(s.journal, t, false, T0 + 32 * S, &loaded), SK_OK);
    assert_int_equal(loaded, 1);
    assert_non_null(block_table_find(t, &b));
    block_table_free(t);
    enforcer_free(r.e);
    journal_close(s.journal);
    block_table_free(r.table);
    never_free(r.never);
    nft_fake_free(r.fake);
    assert_int_equal(unlink(path) | rmdir(dir), 0);
}

static void test_clock_steps(void **state)
{
    struct rig *r = *state;
    ask(r, "192.0.2.1", 600, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    /* Forward by an hour: the block is over, though the kernel's own clock would go on. */
    struct sk_prefix a = pfx("192.0.2.1");
    struct nft_change c = {.set = NFT_HOST4, .op = NFT_PUT, .first = a.addr, .last = a.addr, .expires = T0 + 4200 * S};
    assert_int_equal(nft_fake_ops.apply(r->fake, &c, 1, T0), SK_OK);
    assert_int_equal(enforcer_tick(r->e, T0 + 3600 * S), SK_OK);
    assert_false(drops(r, "192.0.2.1", T0 + 3600 * S));
    assert_int_equal(block_table_count(r->table), 0);
    assert_int_equal(enforcer_stats(r->e)->adopted, 0);
    /* Back: the next tick reads back instead of waiting for a read-back that is an hour away. */
    uint64_t rounds = enforcer_stats(r->e)->resyncs;
    assert_false(enforcer_due(r->e, T0 + 3601 * S));
    assert_true(enforcer_due(r->e, T0));
    assert_int_equal(enforcer_tick(r->e, T0), SK_OK);
    assert_int_equal(enforcer_stats(r->e)->resyncs, rounds + 1);
}

static void test_teardown_leaves_nothing(void **state)
{
    struct rig *r = *state;
    ask(r, "192.0.2.1", 600, T0);
    ask(r, "192.0.2.0/25", 900, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_int_equal(enforcer_teardown(r->e, T0), SK_OK);
    assert_int_equal(nft_fake_count(r->fake, T0), 0);
    assert_int_equal(block_table_count(r->table), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_block_holds_until_its_end),
        TEST(test_repeats_extend_never_shorten),
        TEST(test_many_extensions_are_one_kernel_change),
        cmocka_unit_test_setup_teardown(test_refusals_name_their_reason, setup_small, teardown),
        TEST(test_rate_limits_rules_not_the_operator),
        TEST(test_the_brake_lets_a_share_through),
        TEST(test_the_operator_releases_the_brake),
        TEST(test_who_is_not_proven_is_refused),
        TEST(test_again_only_counts),
        TEST(test_each_block_lasts_longer),
        TEST(test_unblocking_forgives),
        TEST(test_unblock_some),
        TEST(test_a_wider_block_covers),
        TEST(test_unblock_by_id_and_again),
        TEST(test_kernel_errors_are_retried_until_healed),
        TEST(test_unblock_is_not_forgotten_when_the_kernel_fails),
        TEST(test_wiped_kernel_is_repaired_and_counted),
        TEST(test_hits_are_counted_over_everything),
        TEST(test_never_list_that_grows_lifts_blocks),
        TEST(test_whom_to_spare_is_not_known),
        TEST(test_what_rules_ask_for_is_narrow),
        TEST(test_foreign_elements_become_blocks_unless_forbidden),
        cmocka_unit_test(test_a_journal_that_failed_catches_up),
        TEST(test_clock_steps),
        TEST(test_teardown_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
