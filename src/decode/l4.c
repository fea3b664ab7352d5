/* What stands behind the IP header: dispatch, UDP (RFC 768), SCTP (RFC 9260). */
#include <netinet/in.h>
#include "internal.h"

enum { UDP_HLEN = 8, SCTP_HLEN = 12 };

/*
 * The datagram as long as its header says; what lies behind is cut, as in Linux. Length 0 is a jumbogram (RFC 2675) or
 * the work of an offload.
 */
static bool udp_length(struct dec *d, struct sk_span *s)
{
    uint32_t ulen = dec_be16(s->p + 4);
    if (ulen == 0 && dec_zero_len_ok(d, s->len))
        return true;
    if (ulen < UDP_HLEN) {
        dec_invalid(d, DECODE_EV_UDP_LEN_INVALID);
        return false;
    }
    if (ulen > s->len) {
        if (d->p->flags & PKT_TRUNCATED)
            return true;
        dec_invalid(d, DECODE_EV_UDP_PKT_TOO_SMALL);
        return false;
    }
    s->len = ulen;
    return true;
}

/* Checksum 0 means none over IPv4; over IPv6 it is wrong, but for tunnels (RFC 8200 section 8.1, RFC 6935). */
static bool udp_csum_ok(const struct dec *d, struct sk_span s)
{
    if (dec_be16(s.p + 6) == 0)
        return d->p->flags & PKT_IPV4 || dec_udp_tunnel_port(d);
    return csum_ok_pseudo(d->p, s);
}

static void dec_udp(struct dec *d, struct sk_span s)
{
    struct sk_packet *p = d->p;
    if (s.len < UDP_HLEN) {
        dec_invalid(d, DECODE_EV_UDP_HLEN_TOO_SMALL);
        return;
    }
    if (!udp_length(d, &s))
        return;
    p->flags |= PKT_UDP;
    sk_count(d->c, SK_C_UDP);
    p->sport = dec_be16(s.p);
    p->dport = dec_be16(s.p + 2);
    p->l4 = s;
    p->payload = dec_behind(s, UDP_HLEN);
    if (dec_verify_csum(d) && !udp_csum_ok(d, s))
        dec_bad_csum(d);
    else
        dec_udp_tunnel(d);
}

/* The checksum is CRC32c over the whole packet; a wrong one is left to the receiver. */
static void dec_sctp(struct dec *d, struct sk_span s)
{
    struct sk_packet *p = d->p;
    if (s.len < SCTP_HLEN) {
        dec_invalid(d, DECODE_EV_SCTP_PKT_TOO_SMALL);
        return;
    }
    p->flags |= PKT_SCTP;
    sk_count(d->c, SK_C_SCTP);
    p->sport = dec_be16(s.p);
    p->dport = dec_be16(s.p + 2);
    p->l4 = s;
    p->payload = dec_behind(s, SCTP_HLEN);
}

void dec_transport(struct dec *d, struct sk_span s)
{
    struct sk_packet *p = d->p;
    bool v4 = p->flags & PKT_IPV4;
    p->payload = s;
    switch (p->proto) {
    case IPPROTO_TCP: dec_tcp(d, s); break;
    case IPPROTO_UDP: dec_udp(d, s); break;
    case IPPROTO_SCTP: dec_sctp(d, s); break;
    case IPPROTO_GRE: dec_gre(d, s); break;
    case IPPROTO_IPIP: dec_ip_in_ip(d, s, false); break;
    case IPPROTO_IPV6: dec_ip_in_ip(d, s, true); break;
    case IPPROTO_ICMP:
        if (v4)
            dec_icmp4(d, s);
        else
            dec_invalid(d, DECODE_EV_IPV6_ICMPV4);
        break;
    case IPPROTO_ICMPV6:
        if (v4)
            dec_invalid(d, DECODE_EV_IPV4_ICMPV6);
        else
            dec_icmp6(d, s);
        break;
    case IPPROTO_ESP:
    case IPPROTO_NONE: break;
    default:
        if (!v4)
            dec_event(d, DECODE_EV_IPV6_UNKNOWN_NEXT_HEADER);
        break;
    }
}
