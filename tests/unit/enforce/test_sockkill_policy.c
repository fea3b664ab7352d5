/* Which connections may be destroyed, against a kernel that only records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "enforce/sockkill.h"

#define NOW (INT64_C(1800000000) * SK_NS_PER_S)

struct rig {
    struct never_list *never;
    struct block_table *table;
    struct sockkill *k;
    struct sockkill_conn last;
    unsigned calls;
    int rc;
};

static struct sk_addr addr(const char *s)
{
    struct sk_addr a;
    assert_int_equal(sk_addr_parse(s, strlen(s), &a), SK_OK);
    return a;
}

static struct sk_prefix pfx(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static int record(void *ctx, const struct sockkill_conn *c)
{
    struct rig *r = ctx;
    r->last = *c;
    r->calls++;
    return r->rc;
}

static const struct sockkill_ops recording = {.destroy = record};

static void block(struct rig *r, const char *target, int64_t seconds)
{
    struct decide_request q = {.target = pfx(target), .msg = "x"};
    struct block *b;
    assert_int_equal(block_table_add(r->table, &q, NULL, BLOCK_RULE, NOW, NOW + seconds * SK_NS_PER_S, &b), SK_OK);
}

/* Own: 192.0.2.1, 2001:db8::1; hops: 10.0.0.0/24; blocked: 198.51.100.7, 203.0.113.0/24, 2001:db8:f::7. */
static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct sk_prefix own4 = pfx("192.0.2.1"), own6 = pfx("2001:db8::1"), hops = pfx("10.0.0.0/24");
    r->never = never_create();
    r->table = block_table_create(100);
    never_begin(r->never);
    assert_int_equal(never_add(r->never, NEVER_OWN, &own4, "eth0"), SK_OK);
    assert_int_equal(never_add(r->never, NEVER_OWN, &own6, "eth0"), SK_OK);
    (void)never_commit(r->never);
    assert_int_equal(never_add_static(r->never, NEVER_PROXY, &hops, "proxies.http"), SK_OK);
    block(r, "198.51.100.7", 60);
    block(r, "203.0.113.0/24", 60);
    block(r, "2001:db8:f::7", 60);
    struct sockkill_setup s = {.ops = &recording, .ctx = r, .never = r->never, .table = r->table};
    r->k = sockkill_create(&s);
    *state = r;
    return r->k ? 0 : -1;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    sockkill_free(r->k);
    block_table_free(r->table);
    never_free(r->never);
    free(r);
    return 0;
}

static struct decide_request of(const char *target, const char *src, const char *dst)
{
    struct decide_request q = {.target = pfx(target),
                               .src = addr(src),
                               .dst = addr(dst),
                               .sport = 40000,
                               .dport = 80,
                               .proto = IPPROTO_TCP,
                               .to_server = 1,
                               .kill = 1};
    return q;
}

/* True: the kernel was asked. */
static bool tried(struct rig *r, const struct decide_request *q)
{
    unsigned before = r->calls;
    uint64_t refused = sockkill_stats(r->k)->refused;
    sockkill_ask(r->k, q);
    assert_int_equal(r->calls, before); /* not before the block is where it belongs */
    sockkill_run(r->k, NOW);
    assert_int_equal(sockkill_stats(r->k)->refused - refused, before + 1 - r->calls);
    return r->calls != before;
}

static void test_a_blocked_client_loses_its_connection(void **state)
{
    struct rig *r = *state;
    struct decide_request q = of("198.51.100.7", "198.51.100.7", "192.0.2.1");
    assert_true(tried(r, &q));
    struct sk_addr local = addr("192.0.2.1"), peer = addr("198.51.100.7");
    assert_true(sk_addr_eq(&r->last.local, &local) && sk_addr_eq(&r->last.peer, &peer));
    assert_int_equal(r->last.lport, 80);
    assert_int_equal(r->last.pport, 40000);
    q = of("203.0.113.0/24", "203.0.113.9", "192.0.2.1"); /* one of a blocked network */
    assert_true(tried(r, &q));
    q = of("203.0.113.9", "203.0.113.9", "192.0.2.1"); /* covered by it */
    assert_true(tried(r, &q));
    q = of("2001:db8:f::7", "2001:db8:f::7", "2001:db8::1");
    assert_true(tried(r, &q));
    assert_int_equal(sockkill_stats(r->k)->killed, 4);
}

static void test_an_attack_in_the_answer_is_the_right_way_round(void **state)
{
    struct rig *r = *state;
    struct decide_request q = of("198.51.100.7", "192.0.2.1", "198.51.100.7");
    struct sk_addr local = addr("192.0.2.1"), peer = addr("198.51.100.7");
    q.to_server = 0;
    q.sport = 80;
    q.dport = 40000;
    assert_true(tried(r, &q));
    assert_true(sk_addr_eq(&r->last.local, &local) && sk_addr_eq(&r->last.peer, &peer));
    assert_int_equal(r->last.lport, 80);
    assert_int_equal(r->last.pport, 40000);
    q.to_server = 1; /* as a request it would come from this host */
    assert_false(tried(r, &q));
}

static void test_behind_a_trusted_hop_the_hops_connection_ends(void **state)
{
    struct rig *r = *state;
    struct decide_request q = of("198.51.100.7", "10.0.0.5", "192.0.2.1");
    struct sk_addr hop = addr("10.0.0.5");
    assert_true(tried(r, &q));
    assert_true(sk_addr_eq(&r->last.peer, &hop));
    q = of("198.51.100.7", "10.0.1.5", "192.0.2.1"); /* no hop */
    assert_false(tried(r, &q));
}

static void test_nothing_else_is_destroyed(void **state)
{
    struct rig *r = *state;
    struct decide_request q = of("198.51.100.8", "198.51.100.8", "192.0.2.1"); /* not blocked */
    assert_false(tried(r, &q));
    q = of("198.51.100.8", "10.0.0.5", "192.0.2.1"); /* nor behind a hop */
    assert_false(tried(r, &q));
    q = of("198.51.100.7", "198.51.100.8", "192.0.2.1"); /* another's connection */
    assert_false(tried(r, &q));
    q = of("203.0.112.0/22", "203.0.113.9", "192.0.2.1"); /* wider than what is blocked */
    assert_false(tried(r, &q));
    q = of("198.51.100.7", "198.51.100.7", "192.0.2.2"); /* passes through this host */
    assert_false(tried(r, &q));
    q = of("198.51.100.7", "198.51.100.7", "10.0.0.5"); /* a hop is not this host */
    assert_false(tried(r, &q));
    q = of("198.51.100.7", "198.51.100.7", "192.0.2.1");
    q.proto = IPPROTO_UDP;
    assert_false(tried(r, &q));
    q.proto = IPPROTO_TCP;
    q.dport = 0;
    assert_false(tried(r, &q));
    q.dport = 80;
    q.sport = 0;
    assert_false(tried(r, &q));
    q.sport = 40000;
    q.target.len = 255; /* from an enemy */
    assert_false(tried(r, &q));
    block(r, "198.51.100.99", 0); /* its time is over, the tick has only not come yet */
    q = of("198.51.100.99", "198.51.100.99", "192.0.2.1");
    assert_false(tried(r, &q));
    assert_int_equal(r->calls, 0);
    assert_int_equal(sockkill_stats(r->k)->refused, 11);
}

static void test_attempts_are_limited(void **state)
{
    struct rig *r = *state;
    struct decide_request q = of("198.51.100.7", "198.51.100.7", "192.0.2.1");
    for (unsigned i = 0; i < SOCKKILL_QUEUE + 5; i++)
        sockkill_ask(r->k, &q);
    assert_int_equal(sockkill_stats(r->k)->too_fast, 5); /* the queue was full */
    sockkill_run(r->k, NOW);
    assert_int_equal(r->calls, SOCKKILL_RATE);
    assert_int_equal(sockkill_stats(r->k)->too_fast, 5 + SOCKKILL_QUEUE - SOCKKILL_RATE);
    sockkill_run(r->k, NOW); /* nothing is left over */
    assert_int_equal(r->calls, SOCKKILL_RATE);
    sockkill_ask(r->k, &q);
    sockkill_run(r->k, NOW + SK_NS_PER_S / SOCKKILL_RATE);
    assert_int_equal(r->calls, SOCKKILL_RATE + 1);
}

static void test_outcomes_are_counted(void **state)
{
    struct rig *r = *state;
    const struct sockkill_stats *s = sockkill_stats(r->k);
    struct decide_request q = of("198.51.100.7", "198.51.100.7", "192.0.2.1");
    r->rc = SK_ENOENT;
    assert_true(tried(r, &q));
    assert_int_equal(s->gone, 1);
    r->rc = SK_EIO;
    assert_true(tried(r, &q));
    assert_int_equal(s->failed, 1);
    assert_int_equal(s->last_error, SK_EIO);
    assert_false(s->unsupported);
    r->rc = SK_ENOTSUP;
    assert_true(tried(r, &q));
    assert_true(s->unsupported);
    unsigned calls = r->calls;
    sockkill_ask(r->k, &q);
    sockkill_run(r->k, NOW);
    assert_int_equal(r->calls, calls); /* the kernel is not asked again */
    assert_int_equal(s->failed, 3);
    assert_int_equal(s->killed, 0);
}

static void test_without_a_kernel_that_can_every_attempt_fails(void **state)
{
    struct rig *r = *state;
    struct sockkill_setup s = {.never = r->never, .table = r->table};
    struct sockkill *k = sockkill_create(&s);
    struct decide_request q = of("198.51.100.7", "198.51.100.7", "192.0.2.1");
    sockkill_ask(k, &q);
    sockkill_run(k, NOW);
    assert_int_equal(sockkill_stats(k)->failed, 1);
    assert_true(sockkill_stats(k)->unsupported);
    sockkill_free(k);
    sockkill_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_a_blocked_client_loses_its_connection),
        TEST(test_an_attack_in_the_answer_is_the_right_way_round),
        TEST(test_behind_a_trusted_hop_the_hops_connection_ends),
        TEST(test_nothing_else_is_destroyed),
        TEST(test_attempts_are_limited),
        TEST(test_outcomes_are_counted),
        TEST(test_without_a_kernel_that_can_every_attempt_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
