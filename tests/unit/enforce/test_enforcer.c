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
    struct enforcer *e;
    unsigned events[ENFORCER_ADOPTED + 1];
    bool kernel_had_it; /* at the last ADDED */
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

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    r->fake = nft_fake_create();
    r->never = never_create();
    r->table = block_table_create(1000);
    r->limits = (struct policy_limits){.max_seconds = 7200, .max_blocks = 10};
    struct enforcer_setup s = {.ops = &nft_fake_ops,
                               .ops_ctx = r->fake,
                               .table = r->table,
                               .never = r->never,
                               .limits = &r->limits,
                               .hook = hook,
                               .hook_arg = r};
    r->e = enforcer_create(&s);
    assert_int_equal(enforcer_restore(r->e, T0), SK_OK);
    *state = r;
    return 0;
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
    r->limits.rate = 2;
    assert_int_equal(ask(r, "192.0.2.1", 60, T0).result, ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "192.0.2.2", 60, T0).result, ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "192.0.2.3", 60, T0).result, ENFORCE_REFUSED_RATE);
    struct decide_request q = {.target = pfx("192.0.2.4"), .seconds = 60};
    struct enforce_outcome o;
    enforcer_request(r->e, &q, BLOCK_OPERATOR, T0, &o);
    assert_int_equal(o.result, ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "192.0.2.3", 60, T0 + S).result, ENFORCE_BLOCKED);
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
    assert_int_equal(journal_load(s.journal, t, T0 + 32 * S, &loaded), SK_OK);
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
        TEST(test_refusals_name_their_reason),
        TEST(test_rate_limits_rules_not_the_operator),
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
