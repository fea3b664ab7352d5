/* Which packets are one flow. */
#include <stdlib.h>

#include "make.h"
#include "flow/flow.h"

static struct sk_counters counters;

static int setup(void **state)
{
    struct flow_conf conf = {.max_flows = 64, .random_ids = true};
    struct flow_table *t;
    for (unsigned i = 0; i < FLOW_NCLASS; i++)
        conf.timeout[i] = 60 * SK_NS_PER_S;
    memset(&counters, 0, sizeof counters);
    if (flow_table_create(&conf, NULL, NULL, &counters, &t) != SK_OK)
        return -1;
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    flow_table_free(*state);
    return 0;
}

static struct flow *look(void **state, struct sk_packet p)
{
    enum flow_dir dir;
    return flow_lookup(*state, &p, &dir);
}

static void test_tuples_differ(void **state)
{
    struct sk_packet p = make_tcp("10.0.0.1", 1000, "10.0.0.2", 80, TCP_SYN), q;
    struct flow *f = look(state, p);
    q = make_udp("10.0.0.1", 1000, "10.0.0.2", 80);
    assert_ptr_not_equal(look(state, q), f);
    q = make_tcp("10.0.0.1", 1001, "10.0.0.2", 80, TCP_SYN);
    assert_ptr_not_equal(look(state, q), f);
    q = make_tcp("10.0.0.1", 80, "10.0.0.2", 1000, TCP_SYN); /* ports change places, addresses do not */
    assert_ptr_not_equal(look(state, q), f);
    q = make_tcp("2001:db8::1", 1000, "2001:db8::2", 80, TCP_SYN);
    assert_ptr_not_equal(look(state, q), f);
    assert_int_equal(flow_count(*state), 5);
    assert_ptr_equal(look(state, make_tcp("10.0.0.2", 80, "10.0.0.1", 1000, TCP_ACK)), f);
}

static void test_vlan_and_tunnel_are_part_of_the_key(void **state)
{
    struct sk_packet p = make_udp("10.0.0.1", 1, "10.0.0.2", 2), back = make_udp("10.0.0.2", 2, "10.0.0.1", 1);
    struct flow *plain = look(state, p);
    p.vlan_count = back.vlan_count = 1;
    p.vlan_id[0] = back.vlan_id[0] = 10;
    struct flow *vlan = look(state, p);
    assert_ptr_not_equal(vlan, plain);
    assert_ptr_equal(look(state, back), vlan);
    p.vlan_id[0] = 11;
    assert_ptr_not_equal(look(state, p), vlan);
    p.vlan_id[0] = 10;
    p.tunnel_depth = 1;
    assert_ptr_not_equal(look(state, p), vlan);
}

static void test_ipv6(void **state)
{
    struct flow *f = look(state, make_tcp("2001:db8::1", 1, "2001:db8::2", 443, TCP_SYN));
    assert_int_equal(f->ip_version, 6);
    assert_ptr_equal(look(state, make_tcp("2001:db8::2", 443, "2001:db8::1", 1, TCP_ACK)), f);
}

static void test_same_host_both_ends(void **state)
{
    enum flow_dir dir;
    struct sk_packet p = make_tcp("127.0.0.1", 50000, "127.0.0.1", 80, TCP_SYN);
    struct sk_packet q = make_tcp("127.0.0.1", 80, "127.0.0.1", 50000, TCP_SYN | TCP_ACK);
    struct flow *f = flow_lookup(*state, &p, &dir);
    assert_int_equal(dir, FLOW_TOSERVER);
    assert_ptr_equal(flow_lookup(*state, &q, &dir), f);
    assert_int_equal(dir, FLOW_TOCLIENT);
}

static void test_echo_and_reply(void **state)
{
    struct sk_packet req = make_icmp("10.0.0.1", "10.0.0.2", 8, 0), rep = make_icmp("10.0.0.2", "10.0.0.1", 0, 0);
    enum flow_dir dir;
    struct flow *f = look(state, req);
    assert_int_equal(f->cport, 8);
    assert_int_equal(f->class_, FLOW_ICMP);
    assert_ptr_equal(flow_lookup(*state, &rep, &dir), f);
    assert_int_equal(dir, FLOW_TOCLIENT);
    assert_ptr_not_equal(look(state, make_icmp("10.0.0.1", "10.0.0.2", 13, 0)), f);
    struct flow *six = look(state, make_icmp("2001:db8::1", "2001:db8::2", 128, 0));
    assert_ptr_equal(look(state, make_icmp("2001:db8::2", "2001:db8::1", 129, 0)), six);
}

static struct sk_packet unreachable(void)
{
    struct sk_packet p = make_icmp("10.9.9.9", "10.0.0.1", 3, 1); /* a router tells the client */
    p.icmp.has_inner = true;
    p.icmp.in_src = addr_of("10.0.0.1");
    p.icmp.in_dst = addr_of("10.0.0.2");
    p.icmp.in_proto = IPPROTO_UDP;
    p.icmp.in_sport = 1000;
    p.icmp.in_dport = 53;
    return p;
}

static void test_errors_belong_to_what_they_quote(void **state)
{
    struct flow *f = look(state, make_udp("10.0.0.1", 1000, "10.0.0.2", 53));
    struct sk_packet p = unreachable();
    enum flow_dir dir;
    assert_ptr_equal(flow_lookup(*state, &p, &dir), f);
    assert_int_equal(dir, FLOW_TOCLIENT);
    assert_int_equal(f->pkts[1], 1);
    assert_int_equal(flow_count(*state), 1);
}

static void test_errors_begin_no_flow(void **state)
{
    assert_null(look(state, unreachable()));
    struct sk_packet p = make_icmp("2001:db8::1", "2001:db8::2", 1, 0);
    assert_null(look(state, p));
    assert_int_equal(flow_count(*state), 0);
    assert_int_equal(sk_count_read(&counters, SK_C_FLOW_NOT_TRACKED), 0);
}

static void test_other_protocols(void **state)
{
    assert_null(look(state, make_ip("10.0.0.1", "10.0.0.2", IPPROTO_GRE)));
    struct flow *f = look(state, make_ip("10.0.0.1", "10.0.0.2", IPPROTO_ESP));
    assert_non_null(f);
    assert_ptr_equal(look(state, make_ip("10.0.0.2", "10.0.0.1", IPPROTO_ESP)), f);
}

static void test_ids_are_unique(void **state)
{
    uint64_t id[50];
    for (uint16_t i = 0; i < 50; i++) {
        id[i] = look(state, make_udp("10.0.0.1", i, "10.0.0.2", 53))->id;
        for (unsigned k = 0; k < i; k++)
            assert_true(id[k] != id[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tuples_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vlan_and_tunnel_are_part_of_the_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ipv6, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_host_both_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_echo_and_reply, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_belong_to_what_they_quote, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_begin_no_flow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_protocols, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ids_are_unique, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
