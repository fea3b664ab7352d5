#include "build.h"
#include <stdlib.h>
#include <string.h>

const struct decode_conf conf_all = {.verify_csum = true, .vxlan = true, .geneve = true, .teredo = true};

static void set16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* The checksum as RFC 1071 describes it, byte by byte: independent of the code under test. */
static uint32_t add(uint32_t sum, const uint8_t *p, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

void b_init(struct build *b, const void *payload, uint32_t len)
{
    b->p = b->mem + BUILD_CAP;
    b->len = 0;
    b_put(b, payload, len);
}

void b_put(struct build *b, const void *hdr, uint32_t len)
{
    b->p -= len;
    b->len += len;
    if (len > 0)
        memcpy(b->p, hdr, len);
}

void b_eth(struct build *b, uint16_t type)
{
    uint8_t h[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    set16(h + 12, type);
    b_put(b, h, sizeof h);
}

void b_vlan(struct build *b, uint16_t id, uint16_t next)
{
    uint8_t h[4];
    set16(h, id);
    set16(h + 2, next);
    b_put(b, h, sizeof h);
}

void b_tcp(struct build *b, uint16_t sport, uint16_t dport, uint8_t flags, const void *opts, uint32_t optlen)
{
    uint8_t h[20] = {0, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, flags, 0x10, 0x00};
    set16(h, sport);
    set16(h + 2, dport);
    h[12] = (uint8_t)((20 + optlen) / 4 << 4);
    b_put(b, opts, optlen);
    b_put(b, h, sizeof h);
}

void b_udp(struct build *b, uint16_t sport, uint16_t dport)
{
    uint8_t h[8] = {0};
    set16(h, sport);
    set16(h + 2, dport);
    set16(h + 4, b->len + 8);
    b_put(b, h, sizeof h);
}

static void fill_csum(uint8_t *l4, uint32_t len, uint8_t proto, const uint8_t *addrs, uint32_t addrlen)
{
    uint32_t at = proto == 6 ? 16 : proto == 17 ? 6 : 2;
    uint32_t pseudo = proto == 1 ? 0 : add(add(0, addrs, addrlen), (uint8_t[]){0, proto}, 2);
    if ((proto != 6 && proto != 17 && proto != 1 && proto != 58) || len < at + 2)
        return;
    if (proto != 1)
        pseudo =
            add(pseudo, (uint8_t[]){(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len}, 4);
    set16(l4 + at, 0);
    uint32_t sum = ~add(pseudo, l4, len) & 0xffff;
    set16(l4 + at, proto == 17 && sum == 0 ? 0xffff : sum);
}

void b_ip4_fix(struct build *b, uint32_t off)
{
    uint8_t *h = b->p + off;
    set16(h + 10, 0);
    set16(h + 10, ~add(0, h, (h[0] & 15U) * 4));
}

void b_ip4(struct build *b, uint8_t proto, uint8_t src, uint8_t dst, const void *opts, uint32_t optlen)
{
    uint8_t h[20] = {0x40, 0x10, 0, 0, 0x12, 0x34, 0x40, 0, 64, proto, 0, 0, 10, 0, 0, src, 10, 0, 0, dst};
    h[0] = (uint8_t)(0x40 | (20 + optlen) / 4);
    fill_csum(b->p, b->len, proto, h + 12, 8);
    b_put(b, opts, optlen);
    set16(h + 2, b->len + 20);
    b_put(b, h, sizeof h);
    b_ip4_fix(b, 0);
}

void b_ip6(struct build *b, uint8_t next, uint8_t src, uint8_t dst, uint8_t l4proto, uint32_t l4off)
{
    uint8_t h[40] = {0x6a, 0xb0, 0, 0, 0, 0, next, 63, 0xfd};
    h[23] = src;
    h[24] = 0xfd;
    h[39] = dst;
    fill_csum(b->p + l4off, b->len - l4off, l4proto ? l4proto : next, h + 8, 32);
    set16(h + 4, b->len);
    b_put(b, h, sizeof h);
}

void b_hello(struct build *b)
{
    b_init(b, "hello", 5);
    b_tcp(b, 1234, 80, TCP_ACK | TCP_PSH, NULL, 0);
    b_ip4(b, 6, 1, 2, NULL, 0);
}

void t_decode_bytes(struct tried *t, const void *p, uint32_t len, uint32_t wirelen, int linktype,
                    void (*edit)(struct sk_frame *f))
{
    memset(t, 0, sizeof *t);
    t->heap = malloc(len ? len : 1);
    assert_non_null(t->heap);
    memcpy(t->heap, p, len);
    t->frame = (struct sk_frame){
        .data = t->heap, .caplen = len, .wirelen = wirelen, .ts = 42, .number = 1, .linktype = linktype};
    if (edit)
        edit(&t->frame);
    t->n = decode_frame(&conf_all, &t->frame, t->out, &t->c);
    assert_in_range(t->n, 1, DECODE_MAX_PACKETS);
}

void t_decode(struct tried *t, const struct build *b, int linktype, void (*edit)(struct sk_frame *f))
{
    t_decode_bytes(t, b->p, b->len, b->len, linktype, edit);
}

void t_free(struct tried *t)
{
    free(t->heap);
    t->heap = NULL;
}

int t_has_event(const struct sk_packet *p, enum decode_event ev)
{
    for (unsigned i = 0; i < p->nevents; i++)
        if (p->events[i] == ev)
            return 1;
    return 0;
}

void t_assert_hello(const struct sk_packet *p)
{
    char text[SK_ADDR_STRLEN];
    assert_int_equal(p->flags & (PKT_IPV4 | PKT_TCP | PKT_INVALID | PKT_BAD_CSUM | PKT_FRAGMENT), PKT_IPV4 | PKT_TCP);
    assert_string_equal(sk_addr_format(&p->src, text), "10.0.0.1");
    assert_string_equal(sk_addr_format(&p->dst, text), "10.0.0.2");
    assert_int_equal(p->sport, 1234);
    assert_int_equal(p->dport, 80);
    assert_int_equal(p->payload.len, 5);
    assert_memory_equal(p->payload.p, "hello", 5);
    assert_int_equal(p->ts, 42);
}
