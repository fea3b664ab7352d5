/* Link layers: whatever stands in front, the same packet comes out. */
#include "build.h"

static struct build b;
static struct tried t;

static void same_packet_behind(int linktype, const void *hdr, uint32_t len)
{
    b_hello(&b);
    b_put(&b, hdr, len);
    t_decode(&t, &b, linktype, NULL);
    assert_int_equal(t.n, 1);
    t_assert_hello(&t.out[0]);
    assert_int_equal(t.out[0].nevents, 0);
    t_free(&t);
}

static void test_link_types(void **state)
{
    (void)state;
    static const uint8_t eth[14] = {[12] = 8};
    static const uint8_t sll[16] = {0, 0, 0, 1, 0, 6, [14] = 8};
    static const uint8_t sll2[20] = {8, 0, [8] = 0, 1};
    static const uint8_t null_le[4] = {2}, null_be[4] = {0, 0, 0, 2};
    static const uint8_t ppp[4] = {0xff, 0x03, 0x00, 0x21}, ppp_short[1] = {0x21};
    static const uint8_t chdlc[4] = {0x0f, 0, 8, 0};
    same_packet_behind(1, eth, sizeof eth);
    same_packet_behind(113, sll, sizeof sll);
    same_packet_behind(276, sll2, sizeof sll2);
    same_packet_behind(0, null_le, sizeof null_le);
    same_packet_behind(0, null_be, sizeof null_be);
    same_packet_behind(108, null_be, sizeof null_be);
    same_packet_behind(9, ppp, sizeof ppp);
    same_packet_behind(9, ppp_short, sizeof ppp_short);
    same_packet_behind(104, chdlc, sizeof chdlc);
    same_packet_behind(101, "", 0);
    same_packet_behind(12, "", 0);
    same_packet_behind(14, "", 0);
    same_packet_behind(228, "", 0);
}

static void test_link_headers_between(void **state)
{
    (void)state;
    static const uint8_t pppoe[8 + 14] = {[12] = 0x88, 0x64, 0x11, 0, 0, 1, 0, 47, 0x00, 0x21};
    static const uint8_t mpls[8 + 14] = {[12] = 0x88, 0x47, 0, 1, 0x00, 64, 0, 1, 0x11, 64};
    static const uint8_t pseudo_wire[14 + 4 + 4 + 14] = {[12] = 0x88, 0x47, 0, 1, 0x01, 64, 0, 0, 0, 0, [34] = 8};
    static const uint8_t pbb[14 + 4 + 14] = {[12] = 0x88, 0xe7, [30] = 8};
    same_packet_behind(1, pppoe, sizeof pppoe);
    same_packet_behind(1, mpls, sizeof mpls);
    same_packet_behind(1, pseudo_wire, sizeof pseudo_wire);
    same_packet_behind(1, pbb, sizeof pbb);
    static const uint8_t dce[14 + 2 + 14] = {[12] = 0x89, 0x03, [28] = 8};
    static const uint8_t vntag[14 + 6] = {[12] = 0x89, 0x26, [18] = 8};
    static const uint8_t nsh[14 + 12] = {[12] = 0x89, 0x4f, 0, 3, 2, 1};
    same_packet_behind(1, dce, sizeof dce);
    same_packet_behind(1, vntag, sizeof vntag);
    same_packet_behind(1, nsh, sizeof nsh);
}

static void test_ipv6_link_types(void **state)
{
    (void)state;
    static const uint8_t families[] = {10, 24, 28, 30};
    for (unsigned i = 0; i < 6; i++) {
        b_init(&b, "x", 1);
        b_udp(&b, 5, 6);
        b_ip6(&b, 17, 1, 2, 0, 0);
        if (i < 4)
            b_put(&b, (uint8_t[]){families[i], 0, 0, 0}, 4);
        t_decode(&t, &b, i < 4 ? 0 : i == 4 ? 101 : 229, NULL);
        assert_int_equal(t.out[0].flags, PKT_IPV6 | PKT_UDP);
        t_free(&t);
    }
}

/* tags VLAN tags, the outermost with id 1. */
static void decode_vlans(unsigned tags)
{
    b_hello(&b);
    for (unsigned i = tags; i > 0; i--)
        b_vlan(&b, (uint16_t)(0xe000 | i), i == tags ? 0x0800 : 0x8100);
    b_eth(&b, tags == 0 ? 0x0800 : tags == 1 ? 0x8100 : 0x88a8);
    t_decode(&t, &b, 1, NULL);
}

static void test_vlan_tags(void **state)
{
    (void)state;
    for (unsigned tags = 0; tags <= SK_MAX_VLAN_LAYERS; tags++) {
        decode_vlans(tags);
        t_assert_hello(&t.out[0]);
        assert_int_equal(t.out[0].vlan_count, tags);
        for (unsigned i = 0; i < tags; i++)
            assert_int_equal(t.out[0].vlan_id[i], i + 1);
        assert_int_equal(t.c.v[SK_C_VLAN], tags);
        t_free(&t);
    }
}

static void test_vlan_tags_too_many(void **state)
{
    (void)state;
    decode_vlans(SK_MAX_VLAN_LAYERS + 1);
    assert_true(t.out[0].flags & PKT_INVALID);
    assert_true(t_has_event(&t.out[0], DECODE_EV_VLAN_TOO_MANY_LAYERS));
    assert_int_equal(t.c.v[SK_C_INVALID], 1);
    t_free(&t);
}

static void kernel_tag(struct sk_frame *f)
{
    f->has_vlan_tci = true;
    f->vlan_tci = 0x2007;
}

static void test_vlan_tag_of_the_kernel_is_outermost(void **state)
{
    (void)state;
    b_hello(&b);
    b_vlan(&b, 9, 0x0800);
    b_eth(&b, 0x8100);
    t_decode(&t, &b, 1, kernel_tag);
    t_assert_hello(&t.out[0]);
    assert_int_equal(t.out[0].vlan_count, 2);
    assert_int_equal(t.out[0].vlan_id[0], 7);
    assert_int_equal(t.out[0].vlan_id[1], 9);
    t_free(&t);
}

static void test_not_ip(void **state)
{
    (void)state;
    b_init(&b, "arp arp arp arp arp arp arp", 28);
    b_eth(&b, 0x0806);
    t_decode(&t, &b, 1, NULL);
    assert_int_equal(t.out[0].flags, 0);
    assert_int_equal(t.c.v[SK_C_NON_IP], 1);
    assert_int_equal(t.c.v[SK_C_INVALID], 0);
    t_free(&t);
    t_decode(&t, &b, 147, NULL);
    assert_int_equal(t.c.v[SK_C_NON_IP], 1);
    assert_false(decode_linktype_known(147));
    assert_true(decode_linktype_known(1) && decode_linktype_known(276));
    t_free(&t);
}

/* Pseudo-wires in pseudo-wires end at the layer limit instead of eating the stack. */
static void test_layer_limit(void **state)
{
    (void)state;
    b_hello(&b);
    b_eth(&b, 0x0800);
    for (unsigned i = 0; i < 100; i++) {
        b_put(&b, (uint8_t[]){0, 1, 0x01, 64, 0, 0, 0, 0}, 8);
        b_eth(&b, 0x8847);
    }
    t_decode(&t, &b, 1, NULL);
    assert_true(t.out[0].flags & PKT_INVALID);
    assert_true(t_has_event(&t.out[0], DECODE_EV_TOO_MANY_LAYERS));
    t_free(&t);
}

static void expect(int linktype, const void *bytes, uint32_t len, enum decode_event ev, bool invalid)
{
    t_decode_bytes(&t, bytes, len, len, linktype, NULL);
    if (!t_has_event(&t.out[0], ev))
        fail_msg("no event %s", decode_event_name(ev));
    assert_int_equal(!!(t.out[0].flags & PKT_INVALID), invalid);
    t_free(&t);
}

#define EXPECT(linktype, ev, invalid, ...)                                                                             \
    expect(linktype, (uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}), DECODE_EV_##ev, invalid)
#define ETH(hi, lo) 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, hi, lo

static void test_events(void **state)
{
    (void)state;
    EXPECT(1, ETHERNET_PKT_TOO_SMALL, true, 1, 2, 3);
    EXPECT(113, SLL_PKT_TOO_SMALL, true, 1, 2, 3);
    EXPECT(276, SLL2_PKT_TOO_SMALL, true, 1, 2, 3);
    EXPECT(0, LTNULL_PKT_TOO_SMALL, true, 2, 0, 0);
    EXPECT(0, LTNULL_UNSUPPORTED_TYPE, false, 99, 0, 0, 0, 1);
    EXPECT(101, IPRAW_INVALID_IP_VERSION, true, 0x55, 0, 0, 0);
    EXPECT(104, CHDLC_PKT_TOO_SMALL, true, 1, 2);
    EXPECT(1, VLAN_HEADER_TOO_SMALL, true, ETH(0x81, 0), 0, 1, 8);
    EXPECT(1, MPLS_HEADER_TOO_SMALL, true, ETH(0x88, 0x47), 0, 1, 0);
    EXPECT(1, MPLS_PKT_TOO_SMALL, true, ETH(0x88, 0x47), 0, 1, 1, 64);
    EXPECT(1, MPLS_BAD_LABEL_ROUTER_ALERT, true, ETH(0x88, 0x47), 0, 0, 0x11, 64, 0x45);
    EXPECT(1, MPLS_BAD_LABEL_IMPLICIT_NULL, true, ETH(0x88, 0x47), 0, 0, 0x31, 64, 0x45);
    EXPECT(1, MPLS_BAD_LABEL_RESERVED, false, ETH(0x88, 0x47), 0, 0, 0x51, 64, 0x45);
    EXPECT(1, MPLS_UNKNOWN_PAYLOAD_TYPE, false, ETH(0x88, 0x47), 0, 1, 0x11, 64, 0x95);
    EXPECT(1, IEEE8021AH_HEADER_TOO_SMALL, true, ETH(0x88, 0xe7), 0, 0, 0, 0, 0, 0);
    EXPECT(1, DCE_PKT_TOO_SMALL, true, ETH(0x89, 3), 0, 0, 1, 2, 3);
    EXPECT(1, VNTAG_HEADER_TOO_SMALL, true, ETH(0x89, 0x26), 0, 0, 0, 0, 8);
    EXPECT(1, VNTAG_UNKNOWN_TYPE, false, ETH(0x89, 0x26), 0, 0, 0, 0, 0x88, 0xcc);
    EXPECT(1, NSH_HEADER_TOO_SMALL, true, ETH(0x89, 0x4f), 0, 2, 2, 1, 0, 0, 1);
    EXPECT(1, NSH_UNSUPPORTED_VERSION, true, ETH(0x89, 0x4f), 0x40, 2, 2, 1, 0, 0, 1, 2);
    EXPECT(1, NSH_BAD_HEADER_LENGTH, true, ETH(0x89, 0x4f), 0, 3, 2, 1, 0, 0, 1, 2);
    EXPECT(1, NSH_UNSUPPORTED_TYPE, false, ETH(0x89, 0x4f), 0, 2, 2, 9, 0, 0, 1, 2);
    EXPECT(9, PPP_PKT_TOO_SMALL, true, 0);
    EXPECT(9, PPP_IP4_PKT_TOO_SMALL, true, 0, 0x21, 0x45);
    EXPECT(9, PPP_IP6_PKT_TOO_SMALL, true, 0, 0x57, 0x60);
    EXPECT(9, PPP_VJU_PKT_TOO_SMALL, true, 0, 0x2f, 0x45);
    EXPECT(1, ETHERNET_UNKNOWN_ETHERTYPE, false, ETH(0x88, 0xcc), 1, 2, 3);
    EXPECT(1, VLAN_UNKNOWN_TYPE, false, ETH(0x81, 0), 0, 1, 0x88, 0xcc);
    EXPECT(9, PPP_UNSUP_PROTO, false, 0, 0x2b, 1);
    EXPECT(9, PPP_WRONG_TYPE, true, 2, 2, 1);
    EXPECT(1, PPPOE_PKT_TOO_SMALL, true, ETH(0x88, 0x64), 0x11, 0, 0);
    EXPECT(1, PPPOE_PKT_TOO_SMALL, true, ETH(0x88, 0x64), 0x11, 0, 0, 1, 0, 9, 0, 0x21);
    EXPECT(1, PPPOE_WRONG_CODE, true, ETH(0x88, 0x64), 0x11, 9, 0, 1, 0, 2, 0, 0x21);
    EXPECT(1, PPPOE_WRONG_CODE, true, ETH(0x88, 0x63), 0x11, 1, 0, 1, 0, 0);
    EXPECT(1, PPPOE_MALFORMED_TAGS, true, ETH(0x88, 0x63), 0x11, 9, 0, 0, 0, 5, 1, 1, 0, 9, 0);
}

static void test_ppp_control_is_quiet(void **state)
{
    (void)state;
    t_decode_bytes(&t, (uint8_t[]){0xc0, 0x21, 1, 1, 0, 4}, 6, 6, 9, NULL);
    assert_int_equal(t.out[0].nevents, 0);
    assert_int_equal(t.c.v[SK_C_NON_IP], 1);
    t_free(&t);
}

static void test_event_names(void **state)
{
    (void)state;
    for (unsigned i = 1; i < DECODE_EV_COUNT; i++)
        assert_int_equal(decode_event_find(decode_event_name((enum decode_event)i)), i);
    assert_int_equal(decode_event_find("ipv4.trunc_pkt"), DECODE_EV_IPV4_TRUNC_PKT);
    assert_int_equal(decode_event_find("ipv4.nothing"), DECODE_EV_NONE);
    assert_string_equal(decode_event_name(DECODE_EV_COUNT), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_link_types),
        cmocka_unit_test(test_link_headers_between),
        cmocka_unit_test(test_ipv6_link_types),
        cmocka_unit_test(test_vlan_tags),
        cmocka_unit_test(test_vlan_tags_too_many),
        cmocka_unit_test(test_vlan_tag_of_the_kernel_is_outermost),
        cmocka_unit_test(test_not_ip),
        cmocka_unit_test(test_layer_limit),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_ppp_control_is_quiet),
        cmocka_unit_test(test_event_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
