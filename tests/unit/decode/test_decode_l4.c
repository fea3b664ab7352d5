/* Transports and checksums. */
#include "build.h"
#include <string.h>

static struct build b;
static struct tried t;

static void test_tcp_fields(void **state)
{
    (void)state;
    static const uint8_t opts[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7, 34, 2, 0, 0};
    b_init(&b, "x", 1);
    b_tcp(&b, 1234, 80, TCP_SYN | TCP_ECE | TCP_CWR, opts, sizeof opts);
    b_ip4(&b, 6, 1, 2, NULL, 0);
    t_decode(&t, &b, 101, NULL);
    const struct sk_packet *p = &t.out[0];
    assert_int_equal(p->flags, PKT_IPV4 | PKT_TCP);
    assert_int_equal(p->tcp.seq, 0x11223344);
    assert_int_equal(p->tcp.ack, 0x55667788);
    assert_int_equal(p->tcp.flags, TCP_SYN | TCP_ECE | TCP_CWR);
    assert_int_equal(p->tcp.win, 0x1000);
    assert_int_equal(p->tcp.hlen, 44);
    assert_true(p->tcp.has_mss && p->tcp.sack_ok && p->tcp.has_ts && p->tcp.has_wscale && p->tcp.has_tfo);
    assert_int_equal(p->tcp.mss, 1460);
    assert_int_equal(p->tcp.tsval, 1);
    assert_int_equal(p->tcp.tsecr, 2);
    assert_int_equal(p->tcp.wscale, 7);
    assert_int_equal(p->l4.len, 45);
    assert_int_equal(p->payload.len, 1);
    assert_int_equal(p->nevents, 0);
    t_free(&t);
}

static void decode_tcp_options(const void *opts, uint32_t len)
{
    b_init(&b, "hello", 5);
    b_tcp(&b, 1234, 80, TCP_SYN, opts, len);
    b_ip4(&b, 6, 1, 2, NULL, 0);
    t_decode(&t, &b, 101, NULL);
    t_assert_hello(&t.out[0]); /* Linux takes the segment whatever its options say */
    t_free(&t);
}

static void test_tcp_option_events(void **state)
{
    (void)state;
    decode_tcp_options("\x02\x05\x05\xb4", 4);
    assert_true(t_has_event(&t.out[0], DECODE_EV_TCP_OPT_INVALID_LEN));
    decode_tcp_options("\x1d\x03\x61\0", 4); /* CVE-2019-12260 */
    assert_true(t_has_event(&t.out[0], DECODE_EV_TCP_OPT_INVALID_LEN));
    decode_tcp_options("\x05\x08\0\0\0\0\0\0", 8);
    assert_true(t_has_event(&t.out[0], DECODE_EV_TCP_OPT_INVALID_LEN));
    decode_tcp_options("\x63\x01\0\0", 4);
    assert_true(t_has_event(&t.out[0], DECODE_EV_TCP_OPT_INVALID_LEN));
    decode_tcp_options("\x01\x01\x01\x02", 4);
    assert_true(t_has_event(&t.out[0], DECODE_EV_TCP_OPT_INVALID_LEN));
    decode_tcp_options("\x02\x04\x05\xb4\x02\x04\x05\xb5", 8);
    assert_true(t_has_event(&t.out[0], DECODE_EV_TCP_OPT_DUPLICATE));
    assert_int_equal(t.out[0].tcp.mss, 0x5b5);
    decode_tcp_options("\x03\x03\xff\0", 4);
    assert_int_equal(t.out[0].tcp.wscale, 14);
    decode_tcp_options("\xfe\x04\xf9\x89", 4);
    assert_true(t.out[0].tcp.has_tfo);
    decode_tcp_options("\xfe\x04\xf9\x88", 4);
    assert_false(t.out[0].tcp.has_tfo);
}

static void expect_l4(uint8_t proto, const void *l4, uint32_t len, enum decode_event ev, bool invalid)
{
    b_init(&b, l4, len);
    b_ip4(&b, proto, 1, 2, NULL, 0);
    t_decode(&t, &b, 101, NULL);
    if (!t_has_event(&t.out[0], ev))
        fail_msg("no event %s", decode_event_name(ev));
    assert_int_equal(!!(t.out[0].flags & PKT_INVALID), invalid);
    t_free(&t);
}

static void test_transport_events(void **state)
{
    (void)state;
    uint8_t tcp[24] = {[12] = 0x50};
    expect_l4(6, tcp, 19, DECODE_EV_TCP_PKT_TOO_SMALL, true);
    tcp[12] = 0x70;
    expect_l4(6, tcp, 24, DECODE_EV_TCP_HLEN_TOO_SMALL, true);
    tcp[12] = 0x40;
    expect_l4(6, tcp, 24, DECODE_EV_TCP_INVALID_OPTLEN, true);
    uint8_t udp[12] = {[5] = 12};
    expect_l4(17, udp, 7, DECODE_EV_UDP_HLEN_TOO_SMALL, true);
    expect_l4(17, udp, 11, DECODE_EV_UDP_PKT_TOO_SMALL, true);
    udp[5] = 7;
    expect_l4(17, udp, 12, DECODE_EV_UDP_LEN_INVALID, true);
    udp[5] = 0;
    expect_l4(17, udp, 12, DECODE_EV_UDP_LEN_INVALID, true);
    udp[5] = 10;
    expect_l4(132, udp, 11, DECODE_EV_SCTP_PKT_TOO_SMALL, true);
    expect_l4(1, udp, 7, DECODE_EV_ICMPV4_PKT_TOO_SMALL, true);
    expect_l4(58, udp, 12, DECODE_EV_IPV4_ICMPV6, true);
    expect_l4(1, "\x01\0\0\0\0\0\0\0", 8, DECODE_EV_ICMPV4_UNKNOWN_TYPE, false);
    expect_l4(1, "\x05\x04\0\0\0\0\0\0", 8, DECODE_EV_ICMPV4_UNKNOWN_CODE, false);
    expect_l4(1, "\x03\x01\0\0\0\0\0\0\x45", 9, DECODE_EV_ICMPV4_IPV4_TRUNC_PKT, false);
    expect_l4(1, "\x03\x01\0\0\0\0\0\0\x65 and more than twenty bytes", 34, DECODE_EV_ICMPV4_IPV4_UNKNOWN_VER, false);
}

/* What lies behind the length that the UDP header gives is not the application's. */
static void test_udp_trailing_bytes(void **state)
{
    (void)state;
    b_init(&b, "\0\1\0\2\0\x0a\0\0hi, trailing", 20);
    b_ip4(&b, 253, 1, 2, NULL, 0);
    b.p[9] = 17;
    b_ip4_fix(&b, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_UDP);
    assert_int_equal(t.out[0].l4.len, 10);
    assert_int_equal(t.out[0].payload.len, 2);
    assert_int_equal(t.out[0].nevents, 0);
    t_free(&t);
}

static void test_sctp(void **state)
{
    (void)state;
    b_init(&b, "\x0b\x59\x00\x50\0\0\0\0\0\0\0\0data", 16);
    b_ip4(&b, 132, 1, 2, NULL, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_SCTP);
    assert_int_equal(t.out[0].sport, 2905);
    assert_int_equal(t.out[0].dport, 80);
    assert_memory_equal(t.out[0].payload.p, "data", 4);
    t_free(&t);
}

static void test_other_protocol_has_a_payload(void **state)
{
    (void)state;
    b_init(&b, "esp esp", 7);
    b_ip4(&b, 50, 1, 2, NULL, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV4);
    assert_int_equal(t.out[0].l4.len, 0);
    assert_int_equal(t.out[0].payload.len, 7);
    t_free(&t);
}

static void test_icmp_echo(void **state)
{
    (void)state;
    b_init(&b, "\x08\0\0\0\x12\x34\0\x05ping", 12);
    b_ip4(&b, 1, 1, 2, NULL, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_ICMP4);
    assert_int_equal(t.out[0].icmp.type, 8);
    assert_int_equal(t.out[0].icmp.id, 0x1234);
    assert_int_equal(t.out[0].icmp.seq, 5);
    assert_int_equal(t.out[0].payload.len, 4);
    assert_false(t.out[0].icmp.has_inner);
    t_free(&t);
    b_init(&b, "\x80\0\0\0\x12\x34\0\x05ping", 12);
    b_ip6(&b, 58, 1, 2, 0, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV6 | PKT_ICMP6);
    assert_int_equal(t.out[0].icmp.seq, 5);
    t_free(&t);
}

static void test_icmp_quotes_a_packet(void **state)
{
    (void)state;
    char text[SK_ADDR_STRLEN];
    b_hello(&b);
    b.len -= 17; /* a router quotes the header and 8 bytes */
    b_put(&b, "\x03\x03\0\0\0\0\0\0", 8);
    b_ip4(&b, 1, 9, 1, NULL, 0);
    t_decode(&t, &b, 101, NULL);
    const struct sk_packet *p = &t.out[0];
    assert_int_equal(p->flags, PKT_IPV4 | PKT_ICMP4);
    assert_int_equal(p->nevents, 0);
    assert_true(p->icmp.has_inner);
    assert_string_equal(sk_addr_format(&p->icmp.in_src, text), "10.0.0.1");
    assert_string_equal(sk_addr_format(&p->icmp.in_dst, text), "10.0.0.2");
    assert_int_equal(p->icmp.in_proto, 6);
    assert_int_equal(p->icmp.in_sport, 1234);
    assert_int_equal(p->icmp.in_dport, 80);
    t_free(&t);
}

static void test_icmp6_quotes_a_packet(void **state)
{
    (void)state;
    b_init(&b, "x", 1);
    b_udp(&b, 77, 88);
    b_ip6(&b, 17, 1, 2, 0, 0);
    b_put(&b, "\x01\x04\0\0\0\0\0\0", 8);
    b_ip6(&b, 58, 9, 1, 0, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV6 | PKT_ICMP6);
    assert_true(t.out[0].icmp.has_inner);
    assert_int_equal(t.out[0].icmp.in_sport, 77);
    assert_int_equal(t.out[0].icmp.in_dport, 88);
    t_free(&t);
}

static enum decode_event icmp6_event(uint8_t type, uint8_t code)
{
    uint8_t m[48] = {type, code};
    b_init(&b, m, type == 3 ? 48 : 8);
    b_ip6(&b, 58, 1, 2, 0, 0);
    t_decode(&t, &b, 101, NULL);
    assert_false(t.out[0].flags & (PKT_INVALID | PKT_BAD_CSUM));
    t_free(&t);
    return t.out[0].nevents > 0 ? t.out[0].events[0] : DECODE_EV_NONE;
}

static void test_icmp6_events(void **state)
{
    (void)state;
    assert_int_equal(icmp6_event(135, 0), DECODE_EV_NONE);
    assert_int_equal(icmp6_event(128, 1), DECODE_EV_ICMPV6_UNKNOWN_CODE);
    assert_int_equal(icmp6_event(2, 1), DECODE_EV_ICMPV6_UNKNOWN_CODE);
    assert_int_equal(icmp6_event(1, 0), DECODE_EV_ICMPV6_IPV6_TRUNC_PKT);
    assert_int_equal(icmp6_event(3, 0), DECODE_EV_ICMPV6_IPV6_UNKNOWN_VERSION);
    assert_int_equal(icmp6_event(131, 0), DECODE_EV_ICMPV6_MLD_INVALID_HL);
    assert_int_equal(icmp6_event(200, 0), DECODE_EV_ICMPV6_EXPERIMENTATION_TYPE);
    assert_int_equal(icmp6_event(50, 0), DECODE_EV_ICMPV6_UNASSIGNED_TYPE);
    assert_int_equal(icmp6_event(255, 0), DECODE_EV_ICMPV6_UNKNOWN_TYPE);
}

/* --- checksums --- */

static void unfilled(struct sk_frame *f)
{
    f->csum_unfilled = true;
}

static void valid(struct sk_frame *f)
{
    f->csum_valid = true;
}

static uint32_t flags_of(uint32_t wirelen_more, void (*edit)(struct sk_frame *))
{
    t_decode_bytes(&t, b.p, b.len, b.len + wirelen_more, 101, edit);
    assert_int_equal(t.c.v[SK_C_BAD_CSUM], t.out[0].flags & PKT_BAD_CSUM ? 1 : 0);
    t_free(&t);
    return t.out[0].flags;
}

/* Every single-bit error of the packet is found, at any length; the ends of the word-wise sum are where it could fail.
 */
static void every_bit_counts(uint32_t first)
{
    for (uint32_t i = first; i < b.len; i++) {
        b.p[i] = (uint8_t)(b.p[i] ^ 1U << (i % 8));
        t_decode(&t, &b, 101, NULL);
        if (!(t.out[0].flags & (PKT_BAD_CSUM | PKT_INVALID)))
            fail_msg("a flipped bit in byte %u of %u went unseen", i, b.len);
        t_free(&t);
        b.p[i] = (uint8_t)(b.p[i] ^ 1U << (i % 8));
    }
    assert_int_equal(flags_of(0, NULL) & (PKT_BAD_CSUM | PKT_INVALID), 0);
}

static void test_csum_of_every_length(void **state)
{
    (void)state;
    uint8_t data[80];
    for (uint32_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37 + 0xf1);
    for (uint32_t len = 0; len <= sizeof data; len++) {
        b_init(&b, data, len);
        b_tcp(&b, 1, 2, TCP_ACK, NULL, 0);
        b_ip4(&b, 6, 1, 2, NULL, 0);
        every_bit_counts(20);
        b_init(&b, data, len);
        b_udp(&b, 1, 2);
        b_ip6(&b, 17, 1, 2, 0, 0);
        every_bit_counts(40);
    }
}

static void test_csum_of_ones(void **state)
{
    (void)state;
    static uint8_t ones[60000];
    memset(ones, 0xff, sizeof ones);
    for (uint32_t len = sizeof ones - 9; len <= sizeof ones; len++) {
        b_init(&b, ones, len);
        b_udp(&b, 0xffff, 0xffff);
        b_ip4(&b, 17, 1, 2, NULL, 0);
        assert_int_equal(flags_of(0, NULL), PKT_IPV4 | PKT_UDP);
    }
}

static void test_bad_csum_by_protocol(void **state)
{
    (void)state;
    static const uint8_t protos[] = {1, 6, 17};
    static const uint8_t l4[20] = {8, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0};
    for (unsigned i = 0; i < 3; i++) {
        b_init(&b, l4, sizeof l4);
        b_ip4(&b, protos[i], 1, 2, NULL, 0);
        assert_false(flags_of(0, NULL) & PKT_BAD_CSUM);
        b.p[b.len - 1] ^= 0x10;
        assert_true(flags_of(0, NULL) & PKT_BAD_CSUM);
        assert_false(flags_of(0, unfilled) & PKT_BAD_CSUM); /* left to hardware */
        assert_false(flags_of(0, valid) & PKT_BAD_CSUM);    /* hardware vouches */
        assert_false(flags_of(1, NULL) & PKT_BAD_CSUM);     /* not all there to sum */
    }
}

static void test_bad_csum_of_ip_header(void **state)
{
    (void)state;
    b_hello(&b);
    b.p[8]--;
    assert_true(flags_of(0, NULL) & PKT_BAD_CSUM);
    assert_false(flags_of(0, unfilled) & PKT_BAD_CSUM);
}

static void test_csum_off(void **state)
{
    (void)state;
    b_hello(&b);
    b.p[8]--;
    b.p[44]++;
    struct decode_conf off = {.verify_csum = false};
    struct sk_frame f = {.data = b.p, .caplen = b.len, .wirelen = b.len, .linktype = 101};
    struct sk_counters c = {0};
    assert_int_equal(decode_frame(&off, &f, t.out, &c), 1);
    assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_TCP);
}

static void test_udp_without_csum(void **state)
{
    (void)state;
    b_init(&b, "x", 1);
    b_udp(&b, 1, 2);
    b_ip4(&b, 17, 1, 2, NULL, 0);
    b.p[26] = b.p[27] = 0;
    assert_false(flags_of(0, NULL) & PKT_BAD_CSUM);
    b_init(&b, "x", 1);
    b_udp(&b, 1, 2);
    b_ip6(&b, 17, 1, 2, 0, 0);
    b.p[46] = b.p[47] = 0;
    assert_true(flags_of(0, NULL) & PKT_BAD_CSUM); /* RFC 8200: not over IPv6 */
    b.p[42] = 6081 >> 8;
    b.p[43] = 6081 & 0xff;
    assert_false(flags_of(0, NULL) & PKT_BAD_CSUM); /* RFC 6935: but in tunnels */
}

static void test_fragment_has_no_csum_of_its_own(void **state)
{
    (void)state;
    b_hello(&b);
    b.p[6] = 0x20;
    b.p[44]++;
    b_ip4_fix(&b, 0);
    assert_int_equal(flags_of(0, NULL), PKT_IPV4 | PKT_FRAGMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_fields),
        cmocka_unit_test(test_tcp_option_events),
        cmocka_unit_test(test_transport_events),
        cmocka_unit_test(test_udp_trailing_bytes),
        cmocka_unit_test(test_sctp),
        cmocka_unit_test(test_other_protocol_has_a_payload),
        cmocka_unit_test(test_icmp_echo),
        cmocka_unit_test(test_icmp_quotes_a_packet),
        cmocka_unit_test(test_icmp6_quotes_a_packet),
        cmocka_unit_test(test_icmp6_events),
        cmocka_unit_test(test_csum_of_every_length),
        cmocka_unit_test(test_csum_of_ones),
        cmocka_unit_test(test_bad_csum_by_protocol),
        cmocka_unit_test(test_bad_csum_of_ip_header),
        cmocka_unit_test(test_csum_off),
        cmocka_unit_test(test_udp_without_csum),
        cmocka_unit_test(test_fragment_has_no_csum_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
