/* ICMP (RFC 792) and ICMPv6 (RFC 4443). */
#include <netinet/in.h>
#include "internal.h"

enum { ICMP_HLEN = 8, IP4_HLEN = 20, IP6_HLEN = 40, PORTS_LEN = 4 };

/* Highest code of each ICMP type; -1: the type is not known. */
static const int8_t icmp4_max_code[] = {
    [0] = 0,  [1] = -1, [2] = -1, [3] = 15, [4] = 0,  [5] = 3,  [6] = -1, [7] = -1, [8] = 0,  [9] = 16,
    [10] = 0, [11] = 1, [12] = 2, [13] = 0, [14] = 0, [15] = 0, [16] = 0, [17] = 0, [18] = 0,
};

static void icmp4_known(struct dec *d)
{
    uint8_t type = d->p->icmp.type;
    if (type >= sizeof icmp4_max_code || icmp4_max_code[type] < 0)
        dec_event(d, DECODE_EV_ICMPV4_UNKNOWN_TYPE);
    else if (d->p->icmp.code > icmp4_max_code[type])
        dec_event(d, DECODE_EV_ICMPV4_UNKNOWN_CODE);
}

static void icmp6_known(struct dec *d)
{
    static const uint8_t error_max_code[] = {0, 8, 0, 1, 10};
    uint8_t type = d->p->icmp.type, code = d->p->icmp.code;
    if (type >= 1 && type <= 4) {
        if (code > error_max_code[type])
            dec_event(d, DECODE_EV_ICMPV6_UNKNOWN_CODE);
    } else if (type == 128 || type == 129) {
        if (code != 0)
            dec_event(d, DECODE_EV_ICMPV6_UNKNOWN_CODE);
    } else if ((type >= 130 && type <= 132) || type == 143) {
        if (d->p->ttl != 1) /* RFC 2710 section 3 */
            dec_event(d, DECODE_EV_ICMPV6_MLD_INVALID_HL);
    } else if (type == 100 || type == 101 || type == 200 || type == 201) {
        dec_event(d, DECODE_EV_ICMPV6_EXPERIMENTATION_TYPE);
    } else if (type == 0 || type == 127 || type == 255) {
        dec_event(d, DECODE_EV_ICMPV6_UNKNOWN_TYPE);
    } else if (type < 127 || type > 161) {
        dec_event(d, DECODE_EV_ICMPV6_UNASSIGNED_TYPE);
    }
}

static void quoted_ports(struct sk_packet *p, struct sk_span l4)
{
    bool ports = p->icmp.in_proto == IPPROTO_TCP || p->icmp.in_proto == IPPROTO_UDP || p->icmp.in_proto == IPPROTO_SCTP;
    if (ports && l4.len >= PORTS_LEN) {
        p->icmp.in_sport = dec_be16(l4.p);
        p->icmp.in_dport = dec_be16(l4.p + 2);
    }
}

/* The header of the datagram that caused the error, and at least 8 bytes of it. */
static void quote4(struct dec *d, struct sk_span s)
{
    struct sk_packet *p = d->p;
    if (s.len < IP4_HLEN) {
        dec_event(d, DECODE_EV_ICMPV4_IPV4_TRUNC_PKT);
        return;
    }
    uint32_t hlen = (s.p[0] & 15U) * 4;
    if (s.p[0] >> 4 != 4) {
        dec_event(d, DECODE_EV_ICMPV4_IPV4_UNKNOWN_VER);
        return;
    }
    if (hlen < IP4_HLEN || hlen > s.len) {
        dec_event(d, DECODE_EV_ICMPV4_IPV4_TRUNC_PKT);
        return;
    }
    p->icmp.has_inner = true;
    p->icmp.in_src = sk_addr_from_v4(s.p + 12);
    p->icmp.in_dst = sk_addr_from_v4(s.p + 16);
    p->icmp.in_proto = s.p[9];
    if ((dec_be16(s.p + 6) & 0x1fff) == 0)
        quoted_ports(p, dec_behind(s, hlen));
}

static void quote6(struct dec *d, struct sk_span s)
{
    struct sk_packet *p = d->p;
    if (s.len < IP6_HLEN) {
        dec_event(d, DECODE_EV_ICMPV6_IPV6_TRUNC_PKT);
        return;
    }
    if (s.p[0] >> 4 != 6) {
        dec_event(d, DECODE_EV_ICMPV6_IPV6_UNKNOWN_VERSION);
        return;
    }
    p->icmp.has_inner = true;
    p->icmp.in_src = sk_addr_from_v6(s.p + 8);
    p->icmp.in_dst = sk_addr_from_v6(s.p + 24);
    p->icmp.in_proto = s.p[6];
    quoted_ports(p, dec_behind(s, IP6_HLEN));
}

static void common(struct dec *d, struct sk_span s, bool echo)
{
    struct sk_packet *p = d->p;
    p->icmp.type = s.p[0];
    p->icmp.code = s.p[1];
    if (echo) {
        p->icmp.id = dec_be16(s.p + 4);
        p->icmp.seq = dec_be16(s.p + 6);
    }
    p->l4 = s;
    p->payload = dec_behind(s, ICMP_HLEN);
}

void dec_icmp4(struct dec *d, struct sk_span s)
{
    if (s.len < ICMP_HLEN) {
        dec_invalid(d, DECODE_EV_ICMPV4_PKT_TOO_SMALL);
        return;
    }
    uint8_t type = s.p[0];
    d->p->flags |= PKT_ICMP4;
    sk_count(d->c, SK_C_ICMPV4);
    common(d, s, type == 0 || type == 8);
    icmp4_known(d);
    if ((type >= 3 && type <= 5) || type == 11 || type == 12)
        quote4(d, d->p->payload);
    if (dec_verify_csum(d) && !csum_ok(s))
        dec_bad_csum(d);
}

void dec_icmp6(struct dec *d, struct sk_span s)
{
    if (s.len < ICMP_HLEN) {
        dec_invalid(d, DECODE_EV_ICMPV6_PKT_TOO_SMALL);
        return;
    }
    uint8_t type = s.p[0];
    d->p->flags |= PKT_ICMP6;
    sk_count(d->c, SK_C_ICMPV6);
    common(d, s, type == 128 || type == 129);
    icmp6_known(d);
    if (type >= 1 && type <= 4)
        quote6(d, d->p->payload);
    if (dec_verify_csum(d) && !csum_ok_pseudo(d->p, s))
        dec_bad_csum(d);
}
