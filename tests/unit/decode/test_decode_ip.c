/* IPv4 and IPv6 headers: fields, options, extension headers, lengths, fragments. */
#include "build.h"
#include <string.h>

static struct build b;
static struct tried t;

static void test_ip4_fields(void **state)
{
    (void)state;
    b_hello(&b);
    t_decode(&t, &b, 101, NULL);
    const struct sk_packet *p = &t.out[0];
    t_assert_hello(p);
    assert_int_equal(p->ttl, 64);
    assert_int_equal(p->tos, 0x10);
    assert_int_equal(p->ip_id, 0x1234);
    assert_true(p->ip_df && !p->ip_rf && !p->frag_more);
    assert_int_equal(p->ip_hdr_len, 20);
    assert_int_equal(p->ip.len, 45);
    assert_int_equal(p->proto, 6);
    assert_int_equal(t.c.v[SK_C_IPV4], 1);
    assert_int_equal(t.c.v[SK_C_TCP], 1);
    assert_int_equal(t.c.v[SK_C_BYTES], 45);
    t_free(&t);
}

/* Ethernet pads to 60 bytes; the padding belongs to nobody. */
static void test_padding_is_cut(void **state)
{
    (void)state;
    b_init(&b, "", 0);
    b.p -= 8; /* room for the padding */
    b_put(&b, "hello", 5);
    b_tcp(&b, 1234, 80, TCP_ACK, NULL, 0);
    b_ip4(&b, 6, 1, 2, NULL, 0);
    b.len += 8;
    b_eth(&b, 0x0800);
    t_decode(&t, &b, 1, NULL);
    t_assert_hello(&t.out[0]);
    assert_int_equal(t.out[0].ip.len, 45);
    t_free(&t);
}

static void set_total(uint32_t total)
{
    b.p[2] = (uint8_t)(total >> 8);
    b.p[3] = (uint8_t)total;
    b_ip4_fix(&b, 0);
}

static void expect_ip4(uint32_t wirelen, enum decode_event ev, uint32_t invalid)
{
    t_decode_bytes(&t, b.p, b.len, wirelen, 101, NULL);
    assert_true(t_has_event(&t.out[0], ev));
    assert_int_equal(t.out[0].flags & PKT_INVALID, invalid);
    t_free(&t);
}

static void test_ip4_lengths(void **state)
{
    (void)state;
    b_hello(&b);
    set_total(46);
    expect_ip4(b.len, DECODE_EV_IPV4_TRUNC_PKT, PKT_INVALID);
    expect_ip4(b.len + 1, DECODE_EV_IPV4_TRUNC_PKT, 0); /* the capture cut it: the packet itself is sound */
    set_total(19);
    expect_ip4(b.len, DECODE_EV_IPV4_IPLEN_SMALLER_THAN_HLEN, PKT_INVALID);
    b.p[0] = 0x44;
    expect_ip4(b.len, DECODE_EV_IPV4_HLEN_TOO_SMALL, PKT_INVALID);
    b.p[0] = 0x4f;
    expect_ip4(b.len, DECODE_EV_IPV4_HLEN_TOO_SMALL, PKT_INVALID);
    b.p[0] = 0x65;
    t_decode(&t, &b, 228, NULL);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_WRONG_IP_VERSION));
    t_free(&t);
}

/* Nothing of a packet that does not decode may be taken for an address. */
static void test_invalid_has_no_addresses(void **state)
{
    (void)state;
    b_hello(&b);
    set_total(46);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_INVALID);
    assert_int_equal(t.c.v[SK_C_INVALID], 1);
    assert_int_equal(t.c.v[SK_C_TCP], 0);
    t_free(&t);
}

static void outgoing(struct sk_frame *f)
{
    f->outgoing = true;
}

/* Length 0 is what offloads leave; an attacker who writes it into a small packet must not be believed. */
static void test_ip4_length_zero(void **state)
{
    (void)state;
    b_hello(&b);
    set_total(0);
    expect_ip4(b.len, DECODE_EV_IPV4_IPLEN_SMALLER_THAN_HLEN, PKT_INVALID);
    t_decode(&t, &b, 101, outgoing);
    t_assert_hello(&t.out[0]);
    t_free(&t);

    static uint8_t big[100000];
    b_init(&b, big, sizeof big);
    b_tcp(&b, 1, 2, TCP_ACK, NULL, 0);
    b_ip4(&b, 6, 1, 2, NULL, 0);
    set_total(0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_TCP);
    assert_int_equal(t.out[0].payload.len, sizeof big);
    t_free(&t);
}

static void test_gro_frame_of_64k(void **state)
{
    (void)state;
    static uint8_t big[65535 - 40];
    memset(big, 0xa7, sizeof big);
    b_init(&b, big, sizeof big);
    b_tcp(&b, 1, 2, TCP_ACK, NULL, 0);
    b_ip4(&b, 6, 1, 2, NULL, 0);
    b_eth(&b, 0x0800);
    t_decode(&t, &b, 1, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_TCP);
    assert_int_equal(t.out[0].payload.len, sizeof big);
    t_free(&t);
}

static void test_ip4_fragments(void **state)
{
    (void)state;
    b_hello(&b);
    b.p[6] = 0x20;
    b_ip4_fix(&b, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_FRAGMENT);
    assert_true(t.out[0].frag_more);
    assert_int_equal(t.out[0].l4.len, 0);
    assert_int_equal(t.out[0].payload.len, 25);
    t_free(&t);
    b.p[6] = 0x1f;
    b.p[7] = 0xff;
    b_ip4_fix(&b, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_FRAGMENT);
    assert_int_equal(t.out[0].frag_offset, 65528);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_FRAG_PKT_TOO_LARGE)); /* the "ping of death" */
    assert_false(t.out[0].frag_more);
    t_free(&t);
}

static uint16_t decode_options(const void *opts, uint32_t len)
{
    b_init(&b, "hello", 5);
    b_tcp(&b, 1234, 80, TCP_ACK, NULL, 0);
    b_ip4(&b, 6, 1, 2, opts, len);
    t_decode(&t, &b, 101, NULL);
    t_assert_hello(&t.out[0]); /* options never move the transport header */
    t_free(&t);
    return t.out[0].ip4_opts;
}

static void test_ip4_options(void **state)
{
    (void)state;
    assert_int_equal(decode_options("\x07\x07\x04\0\0\0\0\x01", 8), IP4_OPT_RR | IP4_OPT_NOP);
    assert_int_equal(decode_options("\x83\x07\x04\0\0\0\0\0", 8), IP4_OPT_LSRR | IP4_OPT_EOL);
    assert_int_equal(decode_options("\x89\x07\x04\0\0\0\0\0", 8), IP4_OPT_SSRR | IP4_OPT_EOL);
    assert_int_equal(decode_options("\x44\x08\x05\0\0\0\0\0", 8), IP4_OPT_TS);
    assert_int_equal(decode_options("\x88\x04\0\x01\x94\x04\0\0", 8), IP4_OPT_SATID | IP4_OPT_OTHER);
    assert_int_equal(decode_options("\x82\x0b\0\0\0\0\0\0\0\0\0\x01\x19\x08\0\0\0\0\0\0\x85\x03\0\0", 24),
                     IP4_OPT_SEC | IP4_OPT_NOP | IP4_OPT_QS | IP4_OPT_ESEC | IP4_OPT_EOL);
}

static void test_ip4_option_events(void **state)
{
    (void)state;
    decode_options("\x82\x02\x01\x01", 4);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_OPT_INVALID_LEN));
    decode_options("\x07\x07\x03\0\0\0\0\x01", 8);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_OPT_MALFORMED));
    decode_options("\x88\x04\0\x01\x88\x04\0\x01", 8);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_OPT_DUPLICATE));
    decode_options("\x63\x04\0\x01", 4);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_OPT_INVALID));
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_OPT_PAD_REQUIRED));
    decode_options("\x01\x01\x01\x01\x01\x01\x01\x07", 8);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_OPT_EOL_REQUIRED));
    /* A bad option does not hide the next one; events beyond the maximum are dropped. */
    decode_options("\x82\x02\x63\x02", 4);
    assert_int_equal(t.out[0].nevents, 3);
    decode_options("\x63\x02\x63\x02\x63\x02\x63\x02\x63\x02\x63\x02\x63\x02\x63\x02\x63\x02\x63\x02", 20);
    assert_int_equal(t.out[0].nevents, PKT_MAX_EVENTS);
}

/* An option that reaches past the header, or does not move on: receivers drop the packet, and so must we. */
static void test_ip4_broken_option_list(void **state)
{
    (void)state;
    static const char *const lists[] = {"\x07\x09\x04\0\0\0\0\x01", "\x07\x01\x04\0\0\0\0\x01",
                                        "\x01\x01\x01\x01\x07\0\0\0"};
    for (unsigned i = 0; i < 3; i++) {
        b_init(&b, "hello", 5);
        b_tcp(&b, 1234, 80, TCP_ACK, NULL, 0);
        b_ip4(&b, 6, 1, 2, lists[i], 8);
        t_decode(&t, &b, 101, NULL);
        assert_int_equal(t.out[0].flags, PKT_IPV4 | PKT_INVALID);
        assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_OPT_INVALID_LEN));
        t_free(&t);
    }
}

static void test_ip6_fields(void **state)
{
    (void)state;
    b_init(&b, "hi", 2);
    b_udp(&b, 53, 5353);
    b_ip6(&b, 17, 1, 2, 0, 0);
    t_decode(&t, &b, 101, NULL);
    const struct sk_packet *p = &t.out[0];
    char text[SK_ADDR_STRLEN];
    assert_int_equal(p->flags, PKT_IPV6 | PKT_UDP);
    assert_string_equal(sk_addr_format(&p->src, text), "fd00::1");
    assert_string_equal(sk_addr_format(&p->dst, text), "fd00::2");
    assert_int_equal(p->ttl, 63);
    assert_int_equal(p->tos, 0xab);
    assert_int_equal(p->ip_hdr_len, 40);
    assert_int_equal(p->proto, 17);
    assert_int_equal(p->payload.len, 2);
    t_free(&t);
}

static const uint8_t hbh[8] = {60, 0, 5, 2, 0, 0, 1, 0};
static const uint8_t dst[8] = {43, 0, 1, 4};
static const uint8_t routing[8] = {51, 0, 2, 0};
static const uint8_t ah[12] = {44, 1};
static const uint8_t whole[8] = {17, 0, 0, 0, 0, 0, 0, 7};

static void build_chain(const void *frag, uint8_t hop)
{
    b_init(&b, "hi", 2);
    b_udp(&b, 53, 5353);
    b_put(&b, frag, 8);
    b_put(&b, ah, 12);
    b_put(&b, routing, 8);
    b_put(&b, dst, 8);
    b_put(&b, hbh, 8);
    b_ip6(&b, hop, 1, 2, 17, 44);
}

/* An atomic fragment is a whole packet, RFC 6946. */
static void test_ip6_extension_headers(void **state)
{
    (void)state;
    build_chain(whole, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV6 | PKT_UDP);
    assert_int_equal(t.out[0].ip_hdr_len, 84);
    assert_int_equal(t.out[0].ip_id, 7);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV6_EXTHDR_USELESS_FH));
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV6_ZERO_LEN_PADN));
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV6_DSTOPTS_ONLY_PADDING));
    assert_false(t.out[0].flags & PKT_INVALID);
    t_free(&t);
}

static void test_ip6_fragment(void **state)
{
    (void)state;
    static const uint8_t second[8] = {17, 0, 0x05, 0xa9, 0, 0, 0xbe, 0xef};
    build_chain(second, 0);
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV6 | PKT_FRAGMENT);
    assert_int_equal(t.out[0].frag_offset, 0x5a8);
    assert_true(t.out[0].frag_more);
    assert_int_equal(t.out[0].ip_id, 0xbeef);
    assert_int_equal(t.out[0].proto, 17);
    assert_int_equal(t.out[0].ip_hdr_len, 84); /* the fragment header is its last part */
    t_free(&t);
}

static const struct sk_packet *decode_ip6(uint8_t next, const void *behind, uint32_t len)
{
    b_init(&b, behind, len);
    b_ip6(&b, next, 1, 2, 255, 0);
    t_decode(&t, &b, 101, NULL);
    t_free(&t);
    return &t.out[0];
}

static void test_ip6_events(void **state)
{
    (void)state;
    static const uint8_t many[17 * 8] = {0};
    assert_true(t_has_event(decode_ip6(0, many, sizeof many), DECODE_EV_TOO_MANY_LAYERS));
    assert_true(t.out[0].flags & PKT_INVALID);
    assert_true(t_has_event(decode_ip6(0, many, 16), DECODE_EV_IPV6_EXTHDR_DUPL_HH));
    assert_true(t_has_event(decode_ip6(0, "\x3b\x01\0\0\0\0\0\0", 8), DECODE_EV_IPV6_TRUNC_EXTHDR));
    assert_true(t_has_event(decode_ip6(44, "\x3b\0\0", 3), DECODE_EV_IPV6_TRUNC_EXTHDR));
    assert_true(t_has_event(decode_ip6(51, "\x3b\x05\0\0\0\0\0\0", 8), DECODE_EV_IPV6_TRUNC_EXTHDR));
    assert_true(t_has_event(decode_ip6(43, "\x3b\0\0\0\0\0\0\0", 8), DECODE_EV_IPV6_RH_TYPE_0));
    assert_true(t_has_event(decode_ip6(60, "\x3b\0\x1e\x02\0\0\0\0", 8), DECODE_EV_IPV6_DSTOPTS_UNKNOWN_OPT));
    assert_true(t_has_event(decode_ip6(60, "\x3b\0\x01\x09\0\0\0\0", 8), DECODE_EV_IPV6_EXTHDR_INVALID_OPTLEN));
    assert_true(t_has_event(decode_ip6(44, "\x2c\0\0\0\0\0\0\0\x3b\0\0\0\0\0\0\0", 16), DECODE_EV_IPV6_EXTHDR_DUPL_FH));
    assert_true(t_has_event(decode_ip6(44, "\x3b\x09\0\0\0\0\0\0", 8), DECODE_EV_IPV6_FH_NON_ZERO_RESERVED));
    assert_true(t_has_event(decode_ip6(59, "x", 1), DECODE_EV_IPV6_DATA_AFTER_NONE_HEADER));
    assert_true(t_has_event(decode_ip6(1, "12345678", 8), DECODE_EV_IPV6_ICMPV4));
    assert_true(t_has_event(decode_ip6(253, "x", 1), DECODE_EV_IPV6_UNKNOWN_NEXT_HEADER));
    assert_true(t_has_event(decode_ip6(51, "\x33\1\0\1\0\0\0\0\0\0\0\0\x3b\1\0\0\0\0\0\0\0\0\0\0", 24),
                            DECODE_EV_IPV6_EXTHDR_DUPL_AH));
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV6_EXTHDR_AH_RES_NOT_NULL));
    assert_true(t_has_event(decode_ip6(43, "\x2b\0\2\0\0\0\0\0\x3b\0\2\0\0\0\0\0", 16), DECODE_EV_IPV6_EXTHDR_DUPL_RH));
    assert_true(t_has_event(decode_ip6(60, "\x3c\0\1\4\0\0\0\0\x3c\0\1\4\0\0\0\0\x3b\0\1\4\0\0\0\0", 24),
                            DECODE_EV_IPV6_EXTHDR_DUPL_DH));
    assert_true(t_has_event(decode_ip6(0, "\x3b\0\1\4\0\0\0\0", 8), DECODE_EV_IPV6_HOPOPTS_ONLY_PADDING));
    assert_true(t_has_event(decode_ip6(0, "\x3b\0\x1e\2\0\0\0\0", 8), DECODE_EV_IPV6_HOPOPTS_UNKNOWN_OPT));
    assert_true(t_has_event(decode_ip6(44, "\x11\0\0\1\0\0\0\7seven b", 15), DECODE_EV_IPV6_FRAG_INVALID_LENGTH));
    assert_true(t_has_event(decode_ip6(44, "\x11\0\xff\xf8\0\0\0\7eight by", 16), DECODE_EV_IPV6_FRAG_PKT_TOO_LARGE));
    assert_true(t_has_event(decode_ip6(41, "\x60", 1), DECODE_EV_IPV6_IN_IPV6_TOO_SMALL));
    assert_int_equal(decode_ip6(59, "", 0)->nevents, 0);
    assert_int_equal(decode_ip6(50, "esp", 3)->nevents, 0);
    uint8_t inner[40] = {0x10};
    assert_true(t_has_event(decode_ip6(41, inner, 40), DECODE_EV_IPV6_IN_IPV6_WRONG_VERSION));
    assert_true(t_has_event(decode_ip6(4, inner, 40), DECODE_EV_IPV4_IN_IPV6_WRONG_VERSION));
    assert_true(t_has_event(decode_ip6(58, "\x80\0\0", 3), DECODE_EV_ICMPV6_PKT_TOO_SMALL));
    t_decode_bytes(&t, "\x60", 1, 1, 229, NULL);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV6_PKT_TOO_SMALL));
    t_free(&t);
    t_decode_bytes(&t, inner, 40, 40, 229, NULL);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV6_WRONG_IP_VERSION));
    t_free(&t);
    t_decode_bytes(&t, "\x45", 1, 1, 228, NULL);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV4_PKT_TOO_SMALL));
    t_free(&t);
}

static void test_ip6_truncated(void **state)
{
    (void)state;
    b_init(&b, "hi", 2);
    b_udp(&b, 53, 5353);
    b_ip6(&b, 17, 1, 2, 0, 0);
    t_decode_bytes(&t, b.p, b.len - 1, b.len - 1, 101, NULL);
    assert_true(t_has_event(&t.out[0], DECODE_EV_IPV6_TRUNC_PKT));
    assert_int_equal(t.out[0].flags, PKT_INVALID);
    t_free(&t);
    t_decode_bytes(&t, b.p, b.len - 1, b.len, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV6 | PKT_UDP | PKT_TRUNCATED);
    assert_int_equal(t.out[0].payload.len, 1);
    assert_int_equal(t.c.v[SK_C_TRUNCATED], 1);
    t_free(&t);
}

static void test_ip6_length_zero(void **state)
{
    (void)state;
    static uint8_t big[80000];
    b_init(&b, big, sizeof big);
    b_tcp(&b, 1, 2, TCP_ACK, NULL, 0);
    b_put(&b, (uint8_t[]){6, 0, 0xc2, 4, 0, 1, 0x38, 0x9c}, 8); /* jumbo payload, as BIG TCP has it */
    b_ip6(&b, 0, 1, 2, 6, 8);
    b.p[4] = b.p[5] = 0;
    t_decode(&t, &b, 101, NULL);
    assert_int_equal(t.out[0].flags, PKT_IPV6 | PKT_TCP);
    assert_int_equal(t.out[0].payload.len, sizeof big);
    t_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ip4_fields),        cmocka_unit_test(test_padding_is_cut),
        cmocka_unit_test(test_ip4_lengths),       cmocka_unit_test(test_invalid_has_no_addresses),
        cmocka_unit_test(test_ip4_length_zero),   cmocka_unit_test(test_gro_frame_of_64k),
        cmocka_unit_test(test_ip4_fragments),     cmocka_unit_test(test_ip4_options),
        cmocka_unit_test(test_ip4_option_events), cmocka_unit_test(test_ip4_broken_option_list),
        cmocka_unit_test(test_ip6_fields),        cmocka_unit_test(test_ip6_extension_headers),
        cmocka_unit_test(test_ip6_fragment),      cmocka_unit_test(test_ip6_events),
        cmocka_unit_test(test_ip6_truncated),     cmocka_unit_test(test_ip6_length_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
