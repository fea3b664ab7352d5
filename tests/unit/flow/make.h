/* Packets as the decoder would hand them out, for the tests of flow. */
#ifndef FLOW_MAKE_H
#define FLOW_MAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <netinet/in.h>

#include "base/clock.h"
#include "decode/packet.h"

#define T0 (INT64_C(1700000000) * SK_NS_PER_S)

static inline struct sk_addr addr_of(const char *text)
{
    struct sk_addr a;
    assert_int_equal(sk_addr_parse(text, strlen(text), &a), SK_OK);
    return a;
}

static inline struct sk_packet make_ip(const char *src, const char *dst, uint8_t proto)
{
    static const uint8_t bytes[100];
    struct sk_packet p = {.src = addr_of(src), .dst = addr_of(dst), .proto = proto, .ts = T0, .ttl = 64};
    p.flags = sk_addr_is_v4(&p.src) ? PKT_IPV4 : PKT_IPV6;
    p.ip = sk_span_of(bytes, 40);
    return p;
}

static inline struct sk_packet make_tcp(const char *src, uint16_t sport, const char *dst, uint16_t dport, uint8_t flags)
{
    struct sk_packet p = make_ip(src, dst, IPPROTO_TCP);
    p.flags |= PKT_TCP;
    p.sport = sport;
    p.dport = dport;
    p.tcp.flags = flags;
    return p;
}

static inline struct sk_packet make_udp(const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
    struct sk_packet p = make_ip(src, dst, IPPROTO_UDP);
    p.flags |= PKT_UDP;
    p.sport = sport;
    p.dport = dport;
    return p;
}

static inline struct sk_packet make_icmp(const char *src, const char *dst, uint8_t type, uint8_t code)
{
    struct sk_packet p = make_ip(src, dst, IPPROTO_ICMP);
    if (p.flags & PKT_IPV6) {
        p.proto = IPPROTO_ICMPV6;
        p.flags |= PKT_ICMP6;
    } else {
        p.flags |= PKT_ICMP4;
    }
    p.icmp.type = type;
    p.icmp.code = code;
    return p;
}

#endif
