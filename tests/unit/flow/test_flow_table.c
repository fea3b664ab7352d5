/* The flow table: identity, ages, eviction, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flow/flow.h"

#define SECOND INT64_C(1000000000)

struct fix {
    struct flow_table *t;
    struct sk_counters c;
    unsigned ended[4];
    uint64_t last_ended;
};

static void on_end(void *arg, struct flow *f, enum flow_end why, int64_t now)
{
    struct fix *x = arg;
    (void)now;
    x->ended[why]++;
    x->last_ended = f->id;
    assert_int_equal(f->user[0], (uint8_t)f->id); /* still the flow's own memory */
}

static void start(struct fix *x, uint32_t max_flows)
{
    memset(x, 0, sizeof *x);
    struct flow_conf conf = {.max_flows = max_flows,
                             .user_size = 100,
                             .timeout = {[FLOW_HALF_OPEN] = 30 * SECOND,
                                         [FLOW_CLOSED] = 10 * SECOND,
                                         [FLOW_ICMP] = 20 * SECOND,
                                         [FLOW_UDP] = 60 * SECOND,
                                         [FLOW_ESTABLISHED] = 3600 * SECOND}};
    assert_int_equal(flow_table_create(&conf, on_end, x, &x->c, &x->t), SK_OK);
}

static int setup(void **state)
{
    struct fix *x = malloc(sizeof *x);
    assert_non_null(x);
    start(x, 8);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fix *x = *state;
    flow_table_free(x->t);
    free(x);
    return 0;
}

static struct sk_addr host(uint32_t n)
{
    uint8_t b[4] = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    return sk_addr_from_v4(b);
}

static struct sk_packet packet(uint8_t proto, uint32_t src, uint16_t sport, uint32_t dst, uint16_t dport)
{
    struct sk_packet p = {.flags = PKT_IPV4, .proto = proto, .ttl = 64, .sport = sport, .dport = dport};
    p.flags |= proto == 6 ? PKT_TCP : proto == 17 ? PKT_UDP : PKT_ICMP4;
    p.src = host(src);
    p.dst = host(dst);
    p.ip.len = 60;
    if (proto == 6)
        p.tcp.flags = TCP_SYN;
    return p;
}

static struct flow *look(struct fix *x, const struct sk_packet *p, enum flow_dir want)
{
    enum flow_dir dir = FLOW_TOSERVER;
    struct flow *f = flow_lookup(x->t, p, &dir);
    assert_non_null(f);
    assert_int_equal(dir, want);
    f->user[0] = (uint8_t)f->id;
    return f;
}

static void test_both_directions(void **state)
{
    struct fix *x = *state;
    struct sk_packet a = packet(6, 1, 40000, 2, 80), b = packet(6, 2, 80, 1, 40000);
    b.tcp.flags = TCP_SYN | TCP_ACK;
    b.ttl = 32;
    struct flow *f = look(x, &a, FLOW_TOSERVER);
    assert_ptr_equal(look(x, &b, FLOW_TOCLIENT), f);
    assert_int_equal(f->pkts[0], 1);
    assert_int_equal(f->pkts[1], 1);
    assert_int_equal(f->bytes[1], 60);
    assert_int_equal(f->ttl_min[1], 32);
    assert_int_equal(f->cport, 40000);
    assert_true(f->dir_certain);
    struct sk_packet other = packet(6, 1, 40001, 2, 80);
    assert_ptr_not_equal(look(x, &other, FLOW_TOSERVER), f);
    assert_int_equal(flow_count(x->t), 2);
}

/* One host with itself: the ports tell the directions apart. */
static void test_same_address(void **state)
{
    struct fix *x = *state;
    struct sk_packet a = packet(6, 1, 80, 1, 40000), b = packet(6, 1, 40000, 1, 80);
    struct flow *f = look(x, &a, FLOW_TOSERVER);
    assert_ptr_equal(look(x, &b, FLOW_TOCLIENT), f);
}

static void test_begun_by_server(void **state)
{
    struct fix *x = *state;
    struct sk_packet b = packet(6, 2, 80, 1, 40000);
    b.tcp.flags = TCP_SYN | TCP_ACK;
    struct flow *f = look(x, &b, FLOW_TOCLIENT);
    assert_int_equal(f->sport, 80);
}

static void test_kept_apart(void **state)
{
    struct fix *x = *state;
    struct sk_packet a = packet(6, 1, 40000, 2, 80), vlan = a, tunnel = a, udp = packet(17, 1, 40000, 2, 80);
    vlan.vlan_count = 1;
    vlan.vlan_id[0] = 5;
    tunnel.tunnel_depth = 1;
    look(x, &a, FLOW_TOSERVER);
    look(x, &vlan, FLOW_TOSERVER);
    look(x, &tunnel, FLOW_TOSERVER);
    look(x, &udp, FLOW_TOSERVER);
    assert_int_equal(flow_count(x->t), 4);
    assert_int_equal(x->c.v[SK_C_FLOWS_TCP], 3);
    assert_int_equal(x->c.v[SK_C_FLOWS_UDP], 1);
}

static void test_swap(void **state)
{
    struct fix *x = *state;
    struct sk_packet a = packet(6, 1, 80, 2, 40000), b = packet(6, 2, 40000, 1, 80);
    a.tcp.flags = b.tcp.flags = TCP_ACK;
    a.ttl = 10;
    struct flow *f = look(x, &a, FLOW_TOSERVER);
    flow_swap(f);
    assert_true(f->swapped);
    assert_int_equal(f->sport, 80);
    assert_int_equal(f->pkts[FLOW_TOCLIENT], 1);
    assert_int_equal(f->ttl_min[FLOW_TOCLIENT], 10);
    assert_ptr_equal(look(x, &a, FLOW_TOCLIENT), f);
    assert_ptr_equal(look(x, &b, FLOW_TOSERVER), f);
    flow_end(x->t, f, FLOW_END_REUSED, 0); /* still found in its bucket */
    assert_int_equal(flow_count(x->t), 0);
    assert_int_equal(x->ended[FLOW_END_REUSED], 1);
}

static void test_icmp(void **state)
{
    struct fix *x = *state;
    struct sk_packet ask = packet(1, 1, 0, 2, 0), answer = packet(1, 2, 0, 1, 0), other = ask;
    ask.icmp.type = 8;
    other.icmp.type = 13;
    struct flow *f = look(x, &ask, FLOW_TOSERVER);
    assert_ptr_equal(look(x, &answer, FLOW_TOCLIENT), f);
    assert_int_equal(f->cport, 8);
    assert_ptr_not_equal(look(x, &other, FLOW_TOSERVER), f);
}

/* An error belongs to the flow that it quotes, from whichever router; one that quotes nothing known begins none. */
static void test_icmp_error(void **state)
{
    struct fix *x = *state;
    struct sk_packet a = packet(17, 1, 5000, 2, 53);
    struct flow *f = look(x, &a, FLOW_TOSERVER);
    struct sk_packet e = packet(1, 99, 0, 1, 0);
    e.icmp.type = 3;
    e.icmp.code = 3;
    e.icmp.has_inner = true;
    e.icmp.in_src = a.src;
    e.icmp.in_dst = a.dst;
    e.icmp.in_proto = 17;
    e.icmp.in_sport = 5000;
    e.icmp.in_dport = 53;
    assert_ptr_equal(look(x, &e, FLOW_TOCLIENT), f);
    assert_int_equal(f->pkts[1], 1);
    e.icmp.in_sport = 5001;
    enum flow_dir dir;
    assert_null(flow_lookup(x->t, &e, &dir));
    assert_int_equal(flow_count(x->t), 1);
}

static void test_timeouts(void **state)
{
    struct fix *x = *state;
    struct sk_packet syn = packet(6, 1, 1, 2, 80), est = packet(6, 1, 2, 2, 80), closed = packet(6, 1, 3, 2, 80),
                     udp = packet(17, 1, 4, 2, 53), ping = packet(1, 1, 0, 2, 0);
    ping.icmp.type = 8;
    look(x, &syn, FLOW_TOSERVER);
    flow_set_class(x->t, look(x, &est, FLOW_TOSERVER), FLOW_ESTABLISHED);
    flow_set_class(x->t, look(x, &closed, FLOW_TOSERVER), FLOW_CLOSED);
    look(x, &udp, FLOW_TOSERVER);
    look(x, &ping, FLOW_TOSERVER);
    static const struct {
        int after;
        unsigned left;
    } steps[] = {{10, 5}, {11, 4}, {20, 4}, {21, 3}, {31, 2}, {60, 2}, {61, 1}, {3600, 1}, {3601, 0}};
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        flow_sweep(x->t, steps[i].after * SECOND, 0);
        assert_int_equal(flow_count(x->t), steps[i].left);
    }
    assert_int_equal(x->ended[FLOW_END_TIMEOUT], 5);
}

/* A packet keeps its flow; a budget bounds one sweep. */
static void test_sweep(void **state)
{
    struct fix *x = *state;
    struct sk_packet p = packet(17, 1, 1, 2, 53);
    for (uint16_t i = 0; i < 8; i++) {
        p.sport = i;
        look(x, &p, FLOW_TOSERVER);
    }
    p.sport = 0;
    p.ts = 50 * SECOND;
    look(x, &p, FLOW_TOSERVER);
    assert_int_equal(flow_sweep(x->t, 70 * SECOND, 3), 3);
    assert_int_equal(flow_sweep(x->t, 70 * SECOND, 0), 4);
    assert_int_equal(flow_count(x->t), 1);
    flow_end_all(x->t, FLOW_END_SHUTDOWN, 70 * SECOND);
    assert_int_equal(x->ended[FLOW_END_SHUTDOWN], 1);
}

/* Packets alone age the table: no timer is needed. */
static void test_sweep_by_packets(void **state)
{
    struct fix *x = *state;
    struct sk_packet old = packet(17, 1, 1, 2, 53), p = packet(17, 1, 2, 2, 53);
    look(x, &old, FLOW_TOSERVER);
    p.ts = 100 * SECOND;
    for (unsigned i = 0; i < 64; i++)
        look(x, &p, FLOW_TOSERVER);
    assert_int_equal(x->ended[FLOW_END_TIMEOUT], 1);
}

/* The least precious go first, however young they are. */
/* As many flows end as begin, so that a busy table does not fill with dead ones. */
static void test_sweep_keeps_pace(void **state)
{
    struct fix *x = *state;
    flow_table_free(x->t);
    start(x, 65536);
    for (uint32_t i = 0; i < 50000; i++) {
        struct sk_packet p = packet(17, i, 5000, 2, 53);
        p.ts = i < 10000 ? SECOND : 100 * SECOND + i;
        look(x, &p, FLOW_TOSERVER);
    }
    assert_int_equal(x->ended[FLOW_END_TIMEOUT], 10000);
    assert_int_equal(flow_count(x->t), 40000);
}

static void test_time_that_goes_back(void **state)
{
    struct fix *x = *state;
    struct sk_packet p = packet(17, 1, 5000, 2, 53);
    p.ts = 100 * SECOND;
    struct flow *f = look(x, &p, FLOW_TOSERVER);
    p.ts = 50 * SECOND;
    p.tos = 0x10;
    look(x, &p, FLOW_TOSERVER);
    assert_int_equal(f->last_ts, 100 * SECOND);
    assert_int_equal(f->tos_ts, 0x10);
    assert_int_equal(f->tos_tc, 0);
}

static void test_eviction_order(void **state)
{
    struct fix *x = *state;
    static const enum flow_class classes[] = {FLOW_ESTABLISHED, FLOW_UDP, FLOW_ICMP, FLOW_CLOSED, FLOW_HALF_OPEN};
    uint64_t id[5][2] = {{0}};
    flow_table_free(x->t);
    start(x, 10);
    for (uint16_t i = 0; i < 10; i++) {
        struct sk_packet p = packet(6, 1, i, 2, 80);
        struct flow *f = look(x, &p, FLOW_TOSERVER);
        flow_set_class(x->t, f, classes[i / 2]);
        id[i / 2][i % 2] = f->id;
    }
    for (uint16_t i = 0; i < 10; i++) {
        struct sk_packet p = packet(6, 3, i, 2, 80);
        flow_set_class(x->t, look(x, &p, FLOW_TOSERVER), FLOW_ESTABLISHED);
        assert_int_equal(x->last_ended, id[4 - i / 2][i % 2]);
        assert_int_equal(flow_count(x->t), 10);
    }
    assert_int_equal(x->c.v[SK_C_FLOW_EVICTED], 10);
}

/* A flood of SYNs costs the table nothing but half-open flows. */
static void test_syn_flood(void **state)
{
    struct fix *x = *state;
    flow_table_free(x->t);
    start(x, 65536);
    for (uint32_t i = 0; i < 1000; i++) {
        struct sk_packet p = packet(6, i, 1, 2, 443);
        flow_set_class(x->t, look(x, &p, FLOW_TOSERVER), FLOW_ESTABLISHED);
    }
    uint64_t full = 0;
    for (uint32_t i = 0; i < 1000000; i++) {
        struct sk_packet p = packet(6, 100000 + i / 4, (uint16_t)(i % 4 + 10), 2, 80);
        look(x, &p, FLOW_TOSERVER);
        if (i == 65536)
            full = flow_memory(x->t);
    }
    assert_int_equal(flow_count(x->t), 65536);
    assert_int_equal(flow_memory(x->t), full);
    assert_int_equal(x->c.v[SK_C_FLOW_EVICTED], 1001000 - 65536);
    assert_int_equal(x->ended[FLOW_END_EVICTED], 1001000 - 65536);
    for (uint32_t i = 0; i < 1000; i++) {
        struct sk_packet p = packet(6, i, 1, 2, 443);
        assert_int_equal(look(x, &p, FLOW_TOSERVER)->pkts[0], 2);
    }
}

static void test_no_flows_at_all(void **state)
{
    struct fix *x = *state;
    flow_table_free(x->t);
    start(x, 0);
    struct sk_packet p = packet(6, 1, 1, 2, 443);
    enum flow_dir dir;
    assert_null(flow_lookup(x->t, &p, &dir));
    assert_int_equal(x->c.v[SK_C_FLOW_NOT_TRACKED], 1);
}

static void test_user_memory_is_zero(void **state)
{
    struct fix *x = *state;
    struct sk_packet p = packet(6, 1, 1, 2, 443);
    struct flow *f = look(x, &p, FLOW_TOSERVER);
    memset(f->user + 1, 0xff, 99);
    flow_end(x->t, f, FLOW_END_REUSED, 0);
    f = look(x, &p, FLOW_TOSERVER);
    for (unsigned i = 1; i < 100; i++)
        assert_int_equal(f->user[i], 0);
}

static void test_worker_of(void **state)
{
    (void)state;
    unsigned share[4] = {0};
    for (uint32_t i = 0; i < 4000; i++) {
        struct sk_packet a = packet(6, i, 1000, 50000 + i, 80), b = packet(6, 50000 + i, 80, i, 1000), fr = b;
        fr.flags = PKT_IPV4 | PKT_FRAGMENT;
        fr.sport = fr.dport = 0;
        struct sk_packet e = packet(1, 77, 0, i, 0); /* a router's error about it */
        e.icmp.has_inner = true;
        e.icmp.in_src = a.src;
        e.icmp.in_dst = a.dst;
        unsigned w = flow_worker_of(&a, 4);
        assert_int_equal(flow_worker_of(&b, 4), w);
        assert_int_equal(flow_worker_of(&fr, 4), w);
        assert_int_equal(flow_worker_of(&e, 4), w);
        share[w]++;
    }
    for (unsigned i = 0; i < 4; i++)
        assert_in_range(share[i], 800, 1200);
    struct sk_packet a = packet(6, 1, 1000, 2, 80);
    assert_int_equal(flow_worker_of(&a, 1), 0);
}

int main(void)
{
#define T(x) cmocka_unit_test_setup_teardown(x, setup, teardown)
    const struct CMUnitTest tests[] = {T(test_both_directions),
                                       T(test_same_address),
                                       T(test_begun_by_server),
                                       T(test_kept_apart),
                                       T(test_swap),
                                       T(test_icmp),
                                       T(test_icmp_error),
                                       T(test_timeouts),
                                       T(test_sweep),
                                       T(test_sweep_by_packets),
                                       T(test_sweep_keeps_pace),
                                       T(test_time_that_goes_back),
                                       T(test_eviction_order),
                                       T(test_syn_flood),
                                       T(test_no_flows_at_all),
                                       T(test_user_memory_is_zero),
                                       T(test_worker_of)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
