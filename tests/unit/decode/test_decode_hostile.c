/* Frames cut at every byte and frames with bytes changed: nothing outside the frame is read or pointed to. */
#include "build.h"
#include <string.h>

static struct build b;
static struct tried t;
static struct tried cut;

static void inside(const struct sk_packet *p, struct sk_span s)
{
    if (s.len == 0)
        return;
    const struct sk_frame *f = p->frame;
    assert_true(s.p >= f->data && s.p <= f->data + f->caplen);
    assert_true(s.len <= (size_t)(f->data + f->caplen - s.p));
}

/* What the stages behind rely on. */
static void check(const struct tried *d)
{
    for (unsigned i = 0; i < d->n; i++) {
        const struct sk_packet *p = &d->out[i];
        inside(p, p->ip);
        inside(p, p->l4);
        inside(p, p->payload);
        assert_true(p->nevents <= PKT_MAX_EVENTS && p->vlan_count <= SK_MAX_VLAN_LAYERS);
        assert_int_equal(p->tunnel_depth, i);
        if (p->flags & (PKT_TCP | PKT_UDP | PKT_SCTP | PKT_ICMP4 | PKT_ICMP6)) {
            assert_true(p->flags & (PKT_IPV4 | PKT_IPV6));
            assert_true(p->l4.p == p->ip.p + p->ip_hdr_len && p->payload.p >= p->l4.p);
            assert_true(p->payload.p + p->payload.len == p->l4.p + p->l4.len);
        }
        if (p->flags & PKT_INVALID)
            assert_true(p->nevents > 0);
        if (p->flags & PKT_FRAGMENT)
            assert_true(p->ip_hdr_len <= p->ip.len && p->l4.len == 0);
    }
}

static void at_every_byte(int linktype)
{
    t_decode(&t, &b, linktype, NULL);
    check(&t);
    for (uint32_t len = 0; len < b.len; len++) {
        t_decode_bytes(&cut, b.p, len, len, linktype, NULL); /* it came so */
        check(&cut);
        for (unsigned i = 0; i < cut.n; i++)
            assert_false(cut.out[i].flags & PKT_TCP); /* every header's length is missed */
        t_free(&cut);
        t_decode_bytes(&cut, b.p, len, b.len, linktype, NULL); /* the capture cut it */
        check(&cut);
        assert_true(cut.out[0].flags & PKT_TRUNCATED);
        assert_false(cut.out[0].flags & PKT_BAD_CSUM && cut.out[0].flags & PKT_TCP);
        t_free(&cut);
    }
    t_free(&t);
}

/* The same generator everywhere, so that a failure repeats. */
static uint32_t next_random(uint64_t *s)
{
    *s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*s >> 33);
}

static void with_changes(int linktype)
{
    uint64_t seed = 1;
    uint8_t copy[512];
    assert_true(b.len <= sizeof copy);
    for (unsigned round = 0; round < 3000; round++) {
        memcpy(copy, b.p, b.len);
        for (unsigned i = 1 + next_random(&seed) % 4; i > 0; i--)
            copy[next_random(&seed) % b.len] = (uint8_t)next_random(&seed);
        uint32_t len = round % 3 ? b.len : next_random(&seed) % b.len;
        t_decode_bytes(&cut, copy, len, round % 2 ? b.len : len, linktype, NULL);
        check(&cut);
        t_free(&cut);
    }
}

static void torture(int linktype)
{
    at_every_byte(linktype);
    with_changes(linktype);
}

static void tcp4(void)
{
    static const uint8_t opts[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7};
    b_init(&b, "payload", 7);
    b_tcp(&b, 1234, 80, TCP_SYN, opts, sizeof opts);
    b_ip4(&b, 6, 1, 2, "\x07\x07\x04\0\0\0\0\x44\x08\x05\0\0\0\0\0\x01", 16);
}

static void tcp6(void)
{
    b_init(&b, "payload", 7);
    b_tcp(&b, 1234, 80, TCP_SYN, "\x02\x04\x05\xb4", 4);
    b_put(&b, "\x06\0\0\0\0\0\0\7", 8);                    /* atomic fragment */
    b_put(&b, "\x2c\1\0\0\0\0\0\0\0\0\0\0", 12);           /* authentication */
    b_put(&b, "\x33\0\2\0\0\0\0\0", 8);                    /* routing */
    b_put(&b, "\x2b\1\5\2\0\0\1\1\0\xc2\4\0\0\0\0\0", 16); /* hop-by-hop */
    b_ip6(&b, 0, 1, 2, 6, 44);
}

static void test_ethernet(void **state)
{
    (void)state;
    tcp4();
    b_vlan(&b, 1, 0x0800);
    b_vlan(&b, 2, 0x8100);
    b_eth(&b, 0x88a8);
    torture(1);
}

static void test_ip6(void **state)
{
    (void)state;
    tcp6();
    torture(101);
    tcp6();
    b_put(&b, (uint8_t[20]){0x86, 0xdd, [8] = 0, 1}, 20);
    torture(276);
}

static void test_pppoe_and_mpls(void **state)
{
    (void)state;
    tcp4();
    uint8_t pppoe[8] = {0x11, 0, 0, 1, 0, (uint8_t)(b.len + 2), 0, 0x21};
    b_put(&b, pppoe, sizeof pppoe);
    b_eth(&b, 0x8864);
    torture(1);
    tcp4();
    b_eth(&b, 0x0800);
    b_put(&b, "\0\1\0\x40\0\1\x11\x40\0\0\0\0", 12);
    b_eth(&b, 0x8847);
    torture(1);
}

static void test_other_links(void **state)
{
    (void)state;
    tcp4();
    b_put(&b, (uint8_t[16]){0, 0, 0, 1, [14] = 8}, 16);
    torture(113);
    tcp4();
    b_put(&b, "\2\0\0\0", 4);
    torture(0);
    tcp4();
    b_put(&b, "\xff\3\0\x21", 4);
    torture(9);
}

static void test_tunnels(void **state)
{
    (void)state;
    tcp4();
    b_eth(&b, 0x0800);
    b_put(&b, "\x08\0\0\0\0\0\x2a\0", 8);
    b_udp(&b, 50000, 4789);
    b_ip6(&b, 17, 3, 4, 0, 0);
    b_put(&b, "\x01\0\x86\xdd\0\0\x01\0\1\2\3\4", 12);
    b_udp(&b, 50000, 6081);
    b_ip4(&b, 17, 3, 4, NULL, 0);
    torture(101);
    tcp6();
    b_put(&b, "\0\1\2\3iiaaa12345678\0", 18);
    b_udp(&b, 3544, 50000);
    b_ip4(&b, 17, 3, 4, NULL, 0);
    b_put(&b, "\x30\x81\x88\x0b\0\2\0\1\0\0\0\1\0\0\0\1\xff\x03\0\x21", 20);
    b_ip4(&b, 47, 3, 4, NULL, 0);
    torture(101);
    tcp4();
    b_eth(&b, 0x0800);
    b_put(&b, (uint8_t[28]){0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 28);
    b_ip4(&b, 47, 3, 4, NULL, 0);
    torture(101);
}

static void test_icmp_quotes(void **state)
{
    (void)state;
    tcp4();
    b_put(&b, "\x03\x03\0\0\0\0\0\0", 8);
    b_ip4(&b, 1, 9, 1, NULL, 0);
    torture(101);
    tcp6();
    b_put(&b, "\x01\x04\0\0\0\0\0\0", 8);
    b_ip6(&b, 58, 9, 1, 0, 0);
    torture(101);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ethernet),    cmocka_unit_test(test_ip6),     cmocka_unit_test(test_pppoe_and_mpls),
        cmocka_unit_test(test_other_links), cmocka_unit_test(test_tunnels), cmocka_unit_test(test_icmp_quotes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
