/* The read-back by slices, and what is done about what others did to the kernel table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "enforce/enforcer.h"
#include "enforce/nft_fake.h"

#define S    SK_NS_PER_S
#define T0   (INT64_C(1700000000) * S)
#define MANY 5000

struct rig {
    struct nft_fake *fake;
    struct never_list *never;
    struct block_table *table;
    struct policy_limits limits;
    struct enforcer *e;
    const struct enforcer_stats *stats;
};

static struct sk_prefix pfx(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    r->fake = nft_fake_create();
    r->never = never_create();
    r->table = block_table_create(20000);
    struct enforcer_setup s = {
        .ops = &nft_fake_ops, .ops_ctx = r->fake, .table = r->table, .never = r->never, .limits = &r->limits};
    r->e = enforcer_create(&s);
    r->stats = enforcer_stats(r->e);
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

static void block(struct rig *r, const char *target, int64_t seconds, int64_t now)
{
    struct decide_request q = {.target = pfx(target), .seconds = seconds};
    struct enforce_outcome o;
    enforcer_request(r->e, &q, BLOCK_OPERATOR, now, &o);
    assert_non_null(o.block);
}

static struct sk_addr host(uint32_t i)
{
    uint8_t b[4] = {11, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
    return sk_addr_from_v4(b);
}

static void block_many(struct rig *r, uint32_t n, int64_t now)
{
    struct decide_request q = {.seconds = 3600};
    struct enforce_outcome o;
    for (uint32_t i = 0; i < n; i++) {
        struct sk_addr a = host(i);
        q.target = sk_prefix_make(&a, 128);
        enforcer_request(r->e, &q, BLOCK_OPERATOR, now, &o);
        assert_int_equal(o.result, ENFORCE_BLOCKED);
    }
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
}

static bool drops(struct rig *r, const char *addr, int64_t now)
{
    struct sk_prefix p = pfx(addr);
    return nft_fake_drops(r->fake, &p.addr, now);
}

/* Somebody else's hand in the kernel. */
static void by_hand(struct rig *r, enum nft_op op, const char *target, int64_t expires, int64_t now)
{
    struct sk_prefix p = pfx(target);
    bool v4 = sk_addr_is_v4(&p.addr);
    struct nft_change c = {.op = (uint8_t)op, .expires = expires};
    c.set = p.len == 128 ? (v4 ? NFT_HOST4 : NFT_HOST6) : (v4 ? NFT_PREFIX4 : NFT_PREFIX6);
    sk_prefix_range(&p, &c.first, &c.last);
    assert_int_equal(nft_fake_ops.apply(r->fake, &c, 1, now), SK_OK);
}

static void hear_host(struct nft_news *n, const char *target)
{
    struct sk_prefix p = pfx(target);
    n->host[n->nhosts++] =
        (struct nft_elem){.set = sk_addr_is_v4(&p.addr) ? NFT_HOST4 : NFT_HOST6, .first = p.addr, .last = p.addr};
}

/* Ticks as the guard does, until nothing more is due. Returns how many it took. */
static unsigned settle(struct rig *r, int64_t now)
{
    unsigned n = 0;
    for (; enforcer_due(r->e, now); n++) {
        assert_true(n < 100000);
        assert_int_equal(enforcer_tick(r->e, now), SK_OK);
    }
    return n;
}

static void test_a_read_back_of_many_comes_in_slices(void **state)
{
    struct rig *r = *state;
    block_many(r, MANY, T0);
    int64_t now = T0 + 31 * S;
    uint64_t gets = nft_fake_log(r->fake)->gets, lists = nft_fake_log(r->fake)->lists, rounds = r->stats->resyncs;
    assert_int_equal(enforcer_tick(r->e, now), SK_OK);
    assert_true(nft_fake_log(r->fake)->gets - gets < MANY / 5); /* and comes back to whoever waits */
    assert_true(enforcer_due(r->e, now));
    block(r, "192.0.2.1", 60, now);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    assert_true(drops(r, "192.0.2.1", now));
    assert_true(settle(r, now) >= 5);
    assert_int_equal(r->stats->resyncs, rounds + 1);
    assert_in_range(nft_fake_log(r->fake)->gets - gets, MANY, MANY + 1); /* the new one may come or not */
    assert_int_equal(nft_fake_log(r->fake)->lists, lists);
    assert_int_equal(r->stats->repairs, 0);
    assert_true(enforcer_deadline(r->e) > now + 20 * S);
}

static void test_what_is_missing_or_wrong_is_found_wherever_it_is(void **state)
{
    struct rig *r = *state;
    block_many(r, MANY, T0);
    for (uint32_t i = 0; i < MANY; i += 7) {
        char text[SK_ADDR_STRLEN];
        struct sk_addr a = host(i);
        sk_addr_format(&a, text);
        by_hand(r, i % 2 ? NFT_DEL : NFT_PUT, text, T0 + 100 * S, T0);
    }
    settle(r, T0 + 31 * S);
    for (uint32_t i = 0; i < MANY; i++) {
        struct sk_addr a = host(i);
        assert_true(nft_fake_drops(r->fake, &a, T0 + 3599 * S));
    }
    assert_int_equal(r->stats->repairs, (MANY + 6) / 7);
    settle(r, T0 + 80 * S);
    assert_int_equal(r->stats->repairs, (MANY + 6) / 7);
}

static void test_a_round_that_takes_long_comes_less_often(void **state)
{
    struct rig *r = *state;
    block_many(r, MANY, T0);
    int64_t now = T0 + 31 * S;
    for (; enforcer_due(r->e, now); now += S / 2)
        assert_int_equal(enforcer_tick(r->e, now), SK_OK);
    int64_t took = now - T0 - 31 * S;
    assert_true(took > 3 * S);
    assert_true(enforcer_deadline(r->e) - now > 15 * took);
}

static void test_pending_blocks_are_no_repairs(void **state)
{
    struct rig *r = *state;
    block(r, "192.0.2.1", 60, T0);
    block(r, "198.51.100.0/24", 60, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    int64_t now = T0 + 31 * S;
    block(r, "192.0.2.1", 60, now); /* longer: collected for a while */
    block(r, "198.51.100.0/24", 60, now);
    settle(r, now);
    assert_int_equal(r->stats->repairs, 0);
    settle(r, now + 2 * S);
    assert_true(drops(r, "192.0.2.1", now + 59 * S) && drops(r, "198.51.100.9", now + 59 * S));
    assert_int_equal(r->stats->repairs, 0);
}

static void test_a_piece_that_is_gone_is_found(void **state)
{
    struct rig *r = *state;
    block(r, "198.51.100.0/24", 600, T0);
    block(r, "198.51.100.64/26", 900, T0);
    block(r, "2001:db8::/48", 600, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    by_hand(r, NFT_DEL, "198.51.100.64/26", 0, T0);
    by_hand(r, NFT_DEL, "2001:db8::/48", 0, T0);
    settle(r, T0 + 31 * S);
    assert_true(drops(r, "198.51.100.70", T0 + 850 * S) && drops(r, "198.51.100.1", T0 + 590 * S));
    assert_true(drops(r, "2001:db8::5", T0 + 590 * S));
    assert_int_equal(r->stats->repairs, 2);
}

static void test_heard_is_repaired_and_nothing_else_is_read(void **state)
{
    struct rig *r = *state;
    static struct nft_news news;
    block_many(r, MANY, T0);
    uint64_t gets = nft_fake_log(r->fake)->gets, lists = nft_fake_log(r->fake)->lists;
    by_hand(r, NFT_DEL, "11.0.1.1", 0, T0);
    by_hand(r, NFT_PUT, "11.0.1.2", T0 + 5 * S, T0);
    by_hand(r, NFT_ADD, "203.0.113.9", T0 + 100 * S, T0);
    by_hand(r, NFT_ADD, "169.254.169.254", T0 + 100 * S, T0);
    const char *const touched[] = {"11.0.1.1",        "11.0.1.2", "203.0.113.9",
                                   "169.254.169.254", "11.0.1.3", "203.0.113.77"};
    news = (struct nft_news){0};
    for (size_t i = 0; i < sizeof touched / sizeof touched[0]; i++)
        hear_host(&news, touched[i]);
    assert_int_equal(enforcer_heard(r->e, &news, T0), SK_OK);
    assert_true(drops(r, "11.0.1.1", T0 + 3000 * S) && drops(r, "11.0.1.2", T0 + 3000 * S));
    assert_true(drops(r, "203.0.113.9", T0 + 90 * S));
    assert_false(drops(r, "169.254.169.254", T0));
    struct sk_prefix p = pfx("203.0.113.9");
    assert_int_equal(block_table_find(r->table, &p)->origin, BLOCK_KERNEL);
    assert_int_equal(r->stats->repairs, 2);
    assert_int_equal(r->stats->adopted, 1);
    assert_int_equal(nft_fake_log(r->fake)->gets - gets, 6);
    assert_int_equal(nft_fake_log(r->fake)->lists, lists);
}

static void test_heard_ranges(void **state)
{
    struct rig *r = *state;
    static struct nft_news news;
    block(r, "198.51.100.0/24", 600, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    by_hand(r, NFT_DEL, "198.51.100.0/24", 0, T0);
    by_hand(r, NFT_ADD, "203.0.113.0/25", T0 + 300 * S, T0);
    news = (struct nft_news){.ranges = {true, false}};
    assert_int_equal(enforcer_heard(r->e, &news, T0), SK_OK);
    assert_true(drops(r, "198.51.100.9", T0 + 590 * S) && drops(r, "203.0.113.7", T0 + 290 * S));
    assert_int_equal(r->stats->repairs, 1);
    assert_int_equal(r->stats->adopted, 1);
    struct sk_prefix p = pfx("203.0.113.0/25");
    assert_int_equal(enforcer_unblock(r->e, &p, T0), SK_OK);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_false(drops(r, "203.0.113.7", T0));
}

static void test_a_table_that_is_gone_comes_back_whole(void **state)
{
    struct rig *r = *state;
    static struct nft_news news;
    block_many(r, MANY, T0);
    block(r, "198.51.100.0/24", 600, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    nft_fake_wipe(r->fake);
    news = (struct nft_news){.shape = true};
    assert_int_equal(enforcer_heard(r->e, &news, T0), SK_OK);
    assert_true(drops(r, "198.51.100.9", T0));
    /* A request in the middle of it, an end, and one that lasts longer. */
    block(r, "192.0.2.1", 60, T0);
    block(r, "11.0.0.5", 7200, T0);
    struct sk_prefix p = pfx("11.0.0.6");
    assert_int_equal(enforcer_unblock(r->e, &p, T0), SK_OK);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_true(drops(r, "192.0.2.1", T0));
    assert_true(settle(r, T0) > 3);
    settle(r, T0 + 2 * S);
    for (uint32_t i = 0; i < MANY; i++) {
        struct sk_addr a = host(i);
        assert_int_equal(nft_fake_drops(r->fake, &a, T0 + 3000 * S), i != 6);
    }
    assert_true(drops(r, "11.0.0.5", T0 + 7000 * S));
    assert_int_equal(r->stats->rebuilds, 1);
    assert_in_range(r->stats->repairs, MANY - 2, MANY);
    assert_int_equal(block_table_count(r->table), MANY + 1);
}

/* Again while it is still being filled. */
static void test_a_table_that_goes_again_and_again(void **state)
{
    struct rig *r = *state;
    static struct nft_news news;
    block_many(r, MANY, T0);
    news = (struct nft_news){.shape = true};
    for (int i = 0; i < 5; i++) {
        nft_fake_wipe(r->fake);
        assert_int_equal(enforcer_heard(r->e, &news, T0), SK_OK);
        assert_int_equal(enforcer_tick(r->e, T0), SK_OK);
    }
    settle(r, T0);
    assert_int_equal(nft_fake_count(r->fake, T0), MANY);
    assert_int_equal(r->stats->rebuilds, 5);
}

static void test_a_chain_alone_is_mended_and_elements_stay(void **state)
{
    struct rig *r = *state;
    static struct nft_news news;
    block_many(r, MANY, T0);
    uint64_t puts = nft_fake_log(r->fake)->puts;
    nft_fake_misshape(r->fake);
    news = (struct nft_news){.shape = true};
    assert_int_equal(enforcer_heard(r->e, &news, T0), SK_OK);
    settle(r, T0);
    assert_int_equal(r->stats->rebuilds, 1);
    assert_int_equal(r->stats->repairs, 0);
    assert_int_equal(nft_fake_log(r->fake)->puts, puts);
}

/* The table was there again when we looked, and empty: somebody loaded a ruleset that he had saved. */
static void test_a_table_that_somebody_else_made_anew(void **state)
{
    struct rig *r = *state;
    static struct nft_news news;
    enum nft_setup done;
    block_many(r, MANY, T0);
    nft_fake_wipe(r->fake);
    assert_int_equal(nft_fake_ops.setup(r->fake, &done), SK_OK);
    news = (struct nft_news){.shape = true};
    assert_int_equal(enforcer_heard(r->e, &news, T0), SK_OK);
    settle(r, T0);
    assert_int_equal(nft_fake_count(r->fake, T0), MANY);
    assert_int_equal(r->stats->repairs, MANY);
}

static void test_lost_news_read_everything(void **state)
{
    struct rig *r = *state;
    static struct nft_news news;
    block(r, "192.0.2.1", 600, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    by_hand(r, NFT_DEL, "192.0.2.1", 0, T0);
    by_hand(r, NFT_ADD, "203.0.113.9", T0 + 100 * S, T0);
    by_hand(r, NFT_ADD, "203.0.113.128/26", T0 + 100 * S, T0);
    news = (struct nft_news){.lost = true};
    assert_int_equal(enforcer_heard(r->e, &news, T0), SK_OK);
    assert_true(drops(r, "192.0.2.1", T0));
    assert_int_equal(r->stats->adopted, 2);
}

static void test_a_kernel_error_is_no_busy_loop_and_heals(void **state)
{
    struct rig *r = *state;
    static struct nft_news news;
    block_many(r, MANY, T0);
    nft_fake_wipe(r->fake);
    nft_fake_fail(r->fake, 2, SK_EIO);
    news = (struct nft_news){.shape = true};
    block(r, "198.51.100.0/24", 600, T0);
    assert_int_not_equal(enforcer_heard(r->e, &news, T0), SK_OK);
    assert_true(enforcer_degraded(r->e));
    assert_false(enforcer_due(r->e, T0));
    assert_true(enforcer_deadline(r->e) <= T0 + 2 * S);
    int64_t now = T0;
    for (int i = 0; i < 10 && enforcer_degraded(r->e); i++) {
        now = enforcer_deadline(r->e);
        (void)!enforcer_tick(r->e, now);
    }
    assert_false(enforcer_degraded(r->e));
    settle(r, now);
    assert_int_equal(nft_fake_count(r->fake, now), MANY + 1);
}

static void test_the_kernel_held_something_else_than_believed(void **state)
{
    struct rig *r = *state;
    block(r, "198.51.100.0/24", 600, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    by_hand(r, NFT_ADD, "203.0.113.0/25", T0 + 300 * S, T0);
    block(r, "203.0.113.0/24", 100, T0); /* overlaps what nobody has told of */
    block(r, "192.0.2.1", 100, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    assert_true(drops(r, "192.0.2.1", T0) && drops(r, "203.0.113.200", T0));
    assert_true(drops(r, "203.0.113.7", T0 + 290 * S)); /* and that is kept */
    assert_int_equal(r->stats->adopted, 1);
    assert_int_equal(r->stats->kernel_errors, 1);
    assert_false(enforcer_degraded(r->e));
}

static void test_many_ends_come_in_pieces_and_on_time(void **state)
{
    struct rig *r = *state;
    block_many(r, MANY, T0);
    int64_t now = T0 + 3600 * S;
    settle(r, now - 2 * S);
    assert_int_equal(enforcer_tick(r->e, now), SK_OK);
    size_t left = block_table_count(r->table);
    assert_true(left > MANY / 2 && left < MANY);
    block(r, "11.0.0.1", 60, now); /* of one whose end may not have been seen yet */
    settle(r, now);
    assert_int_equal(block_table_count(r->table), 1);
    assert_true(drops(r, "11.0.0.1", now + 50 * S));
    assert_int_equal(r->stats->expired, MANY);
}

static void test_who_asks_again_and_again_has_a_part_of_the_time(void **state)
{
    struct rig *r = *state;
    block_many(r, MANY, T0);
    settle(r, T0 + 10 * S);
    int64_t now = T0 + 10 * S;
    enforcer_check_now(r->e, now);
    for (; enforcer_due(r->e, now); now += S / 10)
        assert_int_equal(enforcer_tick(r->e, now), SK_OK);
    int64_t took = now - T0 - 10 * S;
    enforcer_check_now(r->e, now + S);
    assert_false(enforcer_due(r->e, now + S));
    enforcer_check_now(r->e, now + 5 * took);
    assert_true(enforcer_due(r->e, now + 5 * took));
}

/* As with very many elements: the end is that of the block, not later by what reading took. */
static void test_a_slow_read_back_makes_no_end_late(void **state)
{
    struct rig *r = *state;
    static struct nft_news news;
    block(r, "192.0.2.1", 100, T0);
    block(r, "198.51.100.0/24", 100, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    by_hand(r, NFT_DEL, "192.0.2.1", 0, T0);
    nft_fake_slow(r->fake, 5 * S);
    news = (struct nft_news){.lost = true};
    assert_int_equal(enforcer_heard(r->e, &news, T0), SK_OK);
    struct nft_elem e = {.set = NFT_HOST4, .first = pfx("192.0.2.1").addr};
    assert_int_equal(nft_fake_ops.get(r->fake, &e, 1, T0 + 5 * S), SK_OK);
    assert_true(e.there && e.expires == T0 + 100 * S);
    assert_int_equal(nft_fake_log(r->fake)->last_now, T0 + 5 * S);
}

static void test_hits_of_one_block(void **state)
{
    struct rig *r = *state;
    block(r, "192.0.2.1", 600, T0);
    block(r, "198.51.100.0/24", 600, T0);
    block(r, "198.51.100.64/26", 900, T0);
    assert_int_equal(enforcer_flush(r->e, T0), SK_OK);
    struct sk_prefix p = pfx("192.0.2.1"), q = pfx("198.51.100.0/24");
    struct block *b = block_table_find(r->table, &p), *c = block_table_find(r->table, &q);
    for (int i = 0; i < 3; i++) {
        drops(r, "192.0.2.1", T0);
        drops(r, "198.51.100.5", T0);
        drops(r, "198.51.100.250", T0);
    }
    assert_int_equal(enforcer_refresh(r->e, b, T0), SK_OK);
    assert_int_equal(enforcer_refresh(r->e, c, T0), SK_OK);
    assert_int_equal(b->hit_packets, 3);
    assert_int_equal(c->hit_packets, 6);
    settle(r, T0 + 31 * S); /* not twice */
    assert_int_equal(b->hit_packets, 3);
    assert_int_equal(c->hit_packets, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_a_read_back_of_many_comes_in_slices),
        TEST(test_what_is_missing_or_wrong_is_found_wherever_it_is),
        TEST(test_a_round_that_takes_long_comes_less_often),
        TEST(test_pending_blocks_are_no_repairs),
        TEST(test_a_piece_that_is_gone_is_found),
        TEST(test_heard_is_repaired_and_nothing_else_is_read),
        TEST(test_heard_ranges),
        TEST(test_a_table_that_is_gone_comes_back_whole),
        TEST(test_a_table_that_goes_again_and_again),
        TEST(test_a_chain_alone_is_mended_and_elements_stay),
        TEST(test_a_table_that_somebody_else_made_anew),
        TEST(test_lost_news_read_everything),
        TEST(test_a_kernel_error_is_no_busy_loop_and_heals),
        TEST(test_the_kernel_held_something_else_than_believed),
        TEST(test_many_ends_come_in_pieces_and_on_time),
        TEST(test_who_asks_again_and_again_has_a_part_of_the_time),
        TEST(test_a_slow_read_back_makes_no_end_late),
        TEST(test_hits_of_one_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
