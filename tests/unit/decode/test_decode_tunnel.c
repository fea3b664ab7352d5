/* Packets in packets: the outer one first, then what is inside; and datagrams put together from fragments. */
#include "build.h"
#include <string.h>

static struct build b;
static struct tried t;

/* Two packets: the outer one of `proto`, and b_hello's. */
static void assert_hello_inside(uint8_t proto)
{
    assert_int_equal(t.n, 2);
    assert_int_equal(t.out[0].proto, proto);
    assert_false(t.out[0].flags & (PKT_TUNNELED | PKT_INVALID | PKT_BAD_CSUM));
    assert_int_equal(t.out[0].tunnel_depth, 0);
    assert_true(t.out[1].flags & PKT_TUNNELED);
    assert_int_equal(t.out[1].tunnel_depth, 1);
    assert_ptr_equal(t.out[1].frame, &t.frame);
    t_assert_hello(&t.out[1]);
    assert_int_equal(t.c.v[SK_C_TUNNEL], 1);
    assert_int_equal(t.c.v[SK_C_PKTS], 1);
    t_free(&t);
}

static void wrap_udp(uint16_t sport, uint16_t dport)
{
    b_udp(&b, sport, dport);
    b_ip4(&b, 17, 3, 4, NULL, 0);
    t_decode(&t, &b, 101, NULL);
}

static void test_vxlan(void **state)
{
    (void)state;
    b_hello(&b);
    b_eth(&b, 0x0800);
    b_put(&b, "\x08\0\0\0\0\0\x2a\0", 8);
    wrap_udp(50000, 4789);
    assert_hello_inside(17);
}

static void test_vxlan_is_more_than_a_port(void **state)
{
    (void)state;
    b_hello(&b);
    b_eth(&b, 0x0800);
    b_put(&b, "\0\0\0\0\0\0\x2a\0", 8);
    wrap_udp(50000, 4789);
    assert_int_equal(t.n, 1);
    assert_true(t_has_event(&t.out[0], DECODE_EV_VXLAN_UNKNOWN_PAYLOAD_TYPE));
    assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_UDP);
    t_free(&t);
}

static void test_geneve(void **state)
{
    (void)state;
    b_hello(&b);
    b_put(&b, "\x02\0\x08\0\0\0\x01\0\1\2\3\4\5\6\7\x08", 16); /* two words of options */
    wrap_udp(50000, 6081);
    assert_hello_inside(17);
    b_hello(&b);
    b_eth(&b, 0x0800);
    b_put(&b, "\0\0\x65\x58\0\0\x01\0", 8);
    wrap_udp(6081, 50000);
    assert_hello_inside(17);
    b_init(&b, "\x3f\0\x08\0\0\0\x01\0", 8);
    wrap_udp(50000, 6081);
    assert_int_equal(t.n, 1);
    assert_true(t_has_event(&t.out[0], DECODE_EV_GENEVE_UNKNOWN_PAYLOAD_TYPE));
    t_free(&t);
}

static void test_teredo(void **state)
{
    (void)state;
    static const struct {
        const char *p;
        uint32_t len;
    } before[] = {
        {"", 0},
        {"\0\0\x12\x34\x0a\0\0\1", 8},
        {"\0\1\2\3iiaaa12345678\0", 18},
        {"\0\1\0\0\x31\x32\x33\x34\x35\x36\x37\x38\0\0\0\x12\x34\x0a\0\0\1", 21},
    };
    for (unsigned i = 0; i < 4; i++) {
        b_init(&b, "hi", 2);
        b_udp(&b, 53, 5353);
        b_ip6(&b, 17, 1, 2, 0, 0);
        b_put(&b, before[i].p, before[i].len);
        wrap_udp(3544, 40000);
        assert_int_equal(t.n, 2);
        assert_int_equal(t.out[1].flags, PKT_IPV6 | PKT_UDP | PKT_TUNNELED);
        t_free(&t);
    }
    b_init(&b, "just some bytes that no Teredo relay has ever sent", 50);
    wrap_udp(3544, 40000);
    assert_int_equal(t.n, 1);
    assert_int_equal(t.out[0].nevents, 0);
    t_free(&t);
}

static void test_tunnels_by_configuration(void **state)
{
    (void)state;
    b_hello(&b);
    b_eth(&b, 0x0800);
    b_put(&b, "\x08\0\0\0\0\0\x2a\0", 8);
    b_udp(&b, 50000, 8472);
    b_ip4(&b, 17, 3, 4, NULL, 0);
    struct decode_conf conf = {.vxlan = true, .vxlan_ports = {4789, 8472}};
    struct sk_frame f = {.data = b.p, .caplen = b.len, .wirelen = b.len, .linktype = 101};
    struct sk_counters c = {0};
    assert_int_equal(decode_frame(&conf, &f, t.out, &c), 2);
    conf.vxlan_ports[1] = 0;
    assert_int_equal(decode_frame(&conf, &f, t.out, &c), 1);
    conf.vxlan_ports[0] = 8472;
    assert_int_equal(decode_frame(&conf, &f, t.out, &c), 2);
    conf.vxlan = false;
    assert_int_equal(decode_frame(&conf, &f, t.out, &c), 1);
}

static void wrap_gre(const void *hdr, uint32_t len)
{
    b_put(&b, hdr, len);
    b_ip4(&b, 47, 3, 4, NULL, 0);
    t_decode(&t, &b, 101, NULL);
}

static void gre_around_hello(const void *hdr, uint32_t len)
{
    b_hello(&b);
    wrap_gre(hdr, len);
    assert_hello_inside(47);
}

static void test_gre(void **state)
{
    (void)state;
    gre_around_hello("\0\0\x08\0", 4);
    gre_around_hello("\xb0\0\x08\0\0\0\0\0\0\0\0\1\0\0\0\2", 16);
    gre_around_hello("\x40\0\x08\0\0\0\0\0\0\2\0\3xyz\0\0\0\0", 19);
    gre_around_hello("\x30\x01\x88\x0b\0\2\0\1\0\0\0\1\x21", 13); /* PPTP */
    gre_around_hello("\x30\x81\x88\x0b\0\2\0\1\0\0\0\1\0\0\0\1\xff\x03\0\x21", 20);
    b_hello(&b);
    b_eth(&b, 0x0800);
    wrap_gre("\x20\0\x65\x58\0\0\x2a\0", 8); /* NVGRE */
    assert_hello_inside(47);
}

static void test_erspan(void **state)
{
    (void)state;
    static const uint8_t two[16] = {0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0x05};
    static const uint8_t three[28] = {0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    b_hello(&b);
    b_eth(&b, 0x0800);
    wrap_gre(two, sizeof two);
    assert_hello_inside(47);
    assert_int_equal(t.out[1].vlan_count, 1);
    assert_int_equal(t.out[1].vlan_id[0], 5);
    b_hello(&b);
    b_eth(&b, 0x0800);
    wrap_gre(three, sizeof three);
    assert_hello_inside(47);
    b_hello(&b);
    b_eth(&b, 0x0800);
    wrap_gre("\0\0\x88\xbe", 4);
    assert_hello_inside(47);
}

static void expect_gre(const void *hdr, uint32_t len, enum decode_event ev)
{
    b_init(&b, "", 0);
    wrap_gre(hdr, len);
    assert_int_equal(t.n, 1);
    if (!t_has_event(&t.out[0], ev))
        fail_msg("no event %s", decode_event_name(ev));
    assert_true(t.out[0].flags & PKT_INVALID);
    t_free(&t);
}

static void test_gre_events(void **state)
{
    (void)state;
    expect_gre("\0\0\x08", 3, DECODE_EV_GRE_PKT_TOO_SMALL);
    expect_gre("\0\x02\x08\0", 4, DECODE_EV_GRE_WRONG_VERSION);
    expect_gre("\x01\0\x08\0", 4, DECODE_EV_GRE_VERSION0_RECUR);
    expect_gre("\0\x08\x08\0", 4, DECODE_EV_GRE_VERSION0_FLAGS);
    expect_gre("\x20\0\x08\0\0", 5, DECODE_EV_GRE_VERSION0_HDR_TOO_BIG);
    expect_gre("\x40\0\x08\0\0\0\0\0\0\2\0\x09", 12, DECODE_EV_GRE_VERSION0_MALFORMED_SRE_HDR);
    expect_gre("\x80\x01\x88\x0b", 4, DECODE_EV_GRE_VERSION1_CHKSUM);
    expect_gre("\x40\x01\x88\x0b", 4, DECODE_EV_GRE_VERSION1_ROUTE);
    expect_gre("\x08\x01\x88\x0b", 4, DECODE_EV_GRE_VERSION1_SSR);
    expect_gre("\x01\x01\x88\x0b", 4, DECODE_EV_GRE_VERSION1_RECUR);
    expect_gre("\0\x09\x88\x0b", 4, DECODE_EV_GRE_VERSION1_FLAGS);
    expect_gre("\0\x01\x88\x0b", 4, DECODE_EV_GRE_VERSION1_NO_KEY);
    expect_gre("\x20\x01\x08\0", 4, DECODE_EV_GRE_VERSION1_WRONG_PROTOCOL);
    expect_gre("\x30\x01\x88\x0b\0\0\0\0", 8, DECODE_EV_GRE_VERSION1_HDR_TOO_BIG);
    expect_gre("\x10\0\x88\xbe\0\0\0\1\x10", 9, DECODE_EV_ERSPAN_HEADER_TOO_SMALL);
    expect_gre("\x10\0\x88\xbe\0\0\0\1\x30\0\0\0\0\0\0\0", 16, DECODE_EV_ERSPAN_UNSUPPORTED_VERSION);
}

static void test_ip_in_ip(void **state)
{
    (void)state;
    b_hello(&b);
    b_ip4(&b, 4, 3, 4, NULL, 0);
    t_decode(&t, &b, 101, NULL);
    assert_hello_inside(4);
    b_hello(&b);
    b_ip6(&b, 4, 3, 4, 255, 0);
    t_decode(&t, &b, 101, NULL);
    assert_hello_inside(4);
    b_init(&b, "hi", 2);
    b_udp(&b, 53, 5353);
    b_ip6(&b, 17, 1, 2, 0, 0);
    b_ip4(&b, 41, 3, 4, NULL, 0); /* 6in4 */
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.out[1].flags, PKT_IPV6 | PKT_UDP | PKT_TUNNELED);
    t_free(&t);
}

static void test_bad_inner_packet(void **state)
{
    (void)state;
    b_init(&b, "\x45\0\0", 3);
    b_ip6(&b, 4, 3, 4, 255, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.n, 2);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_IN_IPV6_TOO_SMALL));
    assert_false(t.out[0].flags & PKT_INVALID);
    assert_true(t.out[1].flags & PKT_INVALID);
    t_free(&t);
}

static void test_depth_limit(void **state)
{
    (void)state;
    for (unsigned depth = 0; depth <= SK_MAX_TUNNEL_DEPTH + 3; depth++) {
        b_hello(&b);
        for (unsigned i = 0; i < depth; i++)
            b_ip4(&b, 4, 3, 4, NULL, 0);
        t_decode(&t, &b, 101, NULL);
        bool deep = depth > SK_MAX_TUNNEL_DEPTH;
        assert_int_equal(t.n, deep ? DECODE_MAX_PACKETS : depth + 1);
        assert_int_equal(t_has_event(&t.out[t.n - 1], DECODE_EV_TOO_MANY_LAYERS), deep);
        if (!deep)
            t_assert_hello(&t.out[t.n - 1]);
        t_free(&t);
    }
}

static void vouched(struct sk_frame *f)
{
    f->csum_valid = true;
}

/* Hardware that vouches for the outer packet says nothing about the inner one. */
static void test_inner_csum_is_verified(void **state)
{
    (void)state;
    b_hello(&b);
    b.p[b.len - 1] ^= 1;
    b_ip4(&b, 4, 3, 4, NULL, 0);
    t_decode(&t, &b, 101, vouched);
    assert_int_equal(t.n, 2);
    assert_true(t.out[1].flags & PKT_BAD_CSUM);
    t_free(&t);
}

static void test_truncation_reaches_the_inner_packet(void **state)
{
    (void)state;
    b_hello(&b);
    b_ip4(&b, 4, 3, 4, NULL, 0);
    t_decode_bytes(&t, b.p, b.len - 2, b.len, 101, NULL);
    assert_int_equal(t.n, 2);
    assert_true(t.out[1].flags & PKT_TRUNCATED);
    assert_false(t.out[1].flags & (PKT_INVALID | PKT_BAD_CSUM));
    assert_int_equal(t.out[1].payload.len, 3);
    t_free(&t);
}

/* --- decode_ip --- */

static unsigned reassembled(const struct sk_packet *tmpl, struct sk_counters *c)
{
    return decode_ip(&conf_all, tmpl, sk_span_of(b.p, b.len), t.out, c);
}

static void test_reassembled_datagram(void **state)
{
    (void)state;
    struct sk_frame f = {.ts = 42, .csum_valid = true};
    struct sk_packet tmpl = {.frame = &f,
                             .ts = 42,
                             .vlan_count = 1,
                             .vlan_id = {6},
                             .tunnel_depth = 1,
                             .flags = PKT_TUNNELED | PKT_FRAGMENT};
    struct sk_counters c = {0};
    b_hello(&b);
    assert_int_equal(reassembled(&tmpl, &c), 1);
    t_assert_hello(&t.out[0]);
    assert_true(t.out[0].flags & PKT_REASSEMBLED && t.out[0].flags & PKT_TUNNELED);
    assert_int_equal(t.out[0].tunnel_depth, 1);
    assert_int_equal(t.out[0].vlan_id[0], 6);
    assert_ptr_equal(t.out[0].frame, &f);
    assert_int_equal(c.v[SK_C_IPV4], 0); /* counted with the fragments */
    assert_int_equal(c.v[SK_C_TCP], 1);
    assert_int_equal(c.v[SK_C_PKTS], 0);
    b.p[b.len - 1] ^= 1;
    assert_int_equal(reassembled(&tmpl, &c), 1);
    assert_true(t.out[0].flags & PKT_BAD_CSUM);
}

static void test_reassembled_tunnel(void **state)
{
    (void)state;
    struct sk_frame f = {.ts = 42};
    struct sk_counters c = {0};
    t.out[0] = (struct sk_packet){.frame = &f, .ts = 42, .flags = PKT_IPV4 | PKT_FRAGMENT};
    b_hello(&b);
    b_ip4(&b, 4, 3, 4, NULL, 0);
    assert_int_equal(reassembled(&t.out[0], &c), 2); /* the template may be overwritten */
    t_assert_hello(&t.out[1]);
    assert_false(t.out[1].flags & PKT_REASSEMBLED);
    t.out[0] = (struct sk_packet){.frame = &f, .tunnel_depth = SK_MAX_TUNNEL_DEPTH};
    assert_int_equal(reassembled(&t.out[0], &c), 1);
    assert_true(t_has_event(&t.out[0], DECODE_EV_TOO_MANY_LAYERS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vxlan),
        cmocka_unit_test(test_vxlan_is_more_than_a_port),
        cmocka_unit_test(test_geneve),
        cmocka_unit_test(test_teredo),
        cmocka_unit_test(test_tunnels_by_configuration),
        cmocka_unit_test(test_gre),
        cmocka_unit_test(test_erspan),
        cmocka_unit_test(test_gre_events),
        cmocka_unit_test(test_ip_in_ip),
        cmocka_unit_test(test_bad_inner_packet),
        cmocka_unit_test(test_depth_limit),
        cmocka_unit_test(test_inner_csum_is_verified),
        cmocka_unit_test(test_truncation_reaches_the_inner_packet),
        cmocka_unit_test(test_reassembled_datagram),
        cmocka_unit_test(test_reassembled_tunnel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
