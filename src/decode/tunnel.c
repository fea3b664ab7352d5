/* What carries packets in packets. Nothing here decodes further: d->inner says what the next packet is. */
#include "internal.h"

enum { VXLAN_HLEN = 8, GENEVE_HLEN = 8, IP4_HLEN = 20, IP6_HLEN = 40, ETH_HLEN = 14 };
enum { ERSPAN2_HLEN = 8, ERSPAN3_HLEN = 12, ERSPAN3_SUBHDR_LEN = 8 };
enum { GRE_MAX_ROUTES = 16 };
enum { GRE_PROTO_ERSPAN = 0x88be, GRE_PROTO_ERSPAN3 = 0x22eb };
enum {
    GRE_C = 0x8000,
    GRE_R = 0x4000,
    GRE_K = 0x2000,
    GRE_S = 0x1000,
    GRE_SSR = 0x0800,
    GRE_RECUR = 0x0700,
    GRE_A = 0x0080,
    GRE_FLAGS0 = 0x00f8,
    GRE_FLAGS1 = 0x0078,
    GRE_VERSION = 0x0007,
};

static bool port_in(const uint16_t list[4], uint16_t registered, uint16_t port)
{
    if (list[0] == 0)
        return port == registered;
    for (unsigned i = 0; i < 4 && list[i] != 0; i++)
        if (list[i] == port)
            return true;
    return false;
}

/* VXLAN and Geneve are addressed by destination port; Teredo answers from its port, and so may Geneve gateways. */
static bool is_vxlan(const struct dec *d)
{
    return d->conf->vxlan && port_in(d->conf->vxlan_ports, 4789, d->p->dport);
}

static bool is_geneve(const struct dec *d)
{
    const uint16_t *ports = d->conf->geneve_ports;
    return d->conf->geneve && (port_in(ports, 6081, d->p->dport) || port_in(ports, 6081, d->p->sport));
}

static bool is_teredo(const struct dec *d)
{
    const uint16_t *ports = d->conf->teredo_ports;
    return d->conf->teredo && (port_in(ports, 3544, d->p->dport) || port_in(ports, 3544, d->p->sport));
}

bool dec_udp_tunnel_port(const struct dec *d)
{
    return is_vxlan(d) || is_geneve(d);
}

static void inner_ethertype(struct dec *d, uint16_t type, struct sk_span s)
{
    d->inner = (struct dec_inner){.kind = INNER_ETHERTYPE, .ethertype = type, .data = s};
}

/* RFC 7348: flags (0x08: the network identifier is valid), reserved, identifier of 3 bytes, reserved. */
static void vxlan(struct dec *d, struct sk_span s)
{
    if (s.len < VXLAN_HLEN + ETH_HLEN || !(s.p[0] & 0x08)) {
        dec_event(d, DECODE_EV_VXLAN_UNKNOWN_PAYLOAD_TYPE);
        return;
    }
    d->inner = (struct dec_inner){.kind = INNER_ETHERNET, .data = dec_behind(s, VXLAN_HLEN)};
}

/* RFC 8926: version and length of the options in words, flags, ethertype, identifier, options. */
static void geneve(struct dec *d, struct sk_span s)
{
    uint32_t hlen = s.len < GENEVE_HLEN ? GENEVE_HLEN : GENEVE_HLEN + (s.p[0] & 0x3fU) * 4;
    if (hlen > s.len || s.p[0] >> 6 != 0) {
        dec_event(d, DECODE_EV_GENEVE_UNKNOWN_PAYLOAD_TYPE);
        return;
    }
    uint16_t type = dec_be16(s.p + 2);
    bool control = s.p[1] & 0x80;
    if (type == ETHERTYPE_TEB || type == ETHERTYPE_IP4 || type == ETHERTYPE_IP6)
        inner_ethertype(d, type, dec_behind(s, hlen));
    else if (!control)
        dec_event(d, DECODE_EV_GENEVE_UNKNOWN_PAYLOAD_TYPE);
}

/* RFC 4380 section 5.1.1: authentication (0x0001) and origin indication (0x0000) may stand before the IPv6 packet. */
static void teredo(struct dec *d, struct sk_span s)
{
    struct sk_reader r = rd_init(s.p, s.len);
    if (s.len >= 4 && dec_be16(s.p) == 1) {
        rd_skip(&r, 2);
        uint8_t id = rd_u8(&r), auth = rd_u8(&r);
        rd_skip(&r, id + auth + 9U); /* nonce of 8 bytes, confirmation */
    }
    if (!r.bad && rd_left(&r) >= 2 && dec_be16(r.p) == 0)
        rd_skip(&r, 8);
    /* Anything may use this port: only what is an IPv6 packet to the byte is taken for one. */
    if (r.bad || rd_left(&r) < IP6_HLEN || r.p[0] >> 4 != 6 || dec_be16(r.p + 4) != rd_left(&r) - IP6_HLEN)
        return;
    inner_ethertype(d, ETHERTYPE_IP6, sk_span_of(r.p, (uint32_t)rd_left(&r)));
}

void dec_udp_tunnel(struct dec *d)
{
    if (is_vxlan(d))
        vxlan(d, d->p->payload);
    else if (is_geneve(d))
        geneve(d, d->p->payload);
    else if (is_teredo(d))
        teredo(d, d->p->payload);
}

/* draft-foschiano-erspan: version, VLAN, class, encapsulation, truncated, session; index. */
static void erspan(struct dec *d, bool type3, struct sk_span s)
{
    uint32_t hlen = type3 ? ERSPAN3_HLEN : ERSPAN2_HLEN;
    if (s.len >= hlen && type3 && s.p[11] & 1)
        hlen += ERSPAN3_SUBHDR_LEN;
    if (s.len < hlen) {
        dec_invalid(d, DECODE_EV_ERSPAN_HEADER_TOO_SMALL);
        return;
    }
    if (s.p[0] >> 4 != (type3 ? 2 : 1)) {
        dec_invalid(d, DECODE_EV_ERSPAN_UNSUPPORTED_VERSION);
        return;
    }
    d->inner = (struct dec_inner){
        .kind = INNER_ETHERNET,
        .vlan_id = dec_be16(s.p) & 0x0fff,
        .truncated = s.p[2] & 0x04,
        .data = dec_behind(s, hlen),
    };
}

static void gre_payload(struct dec *d, uint16_t proto, uint16_t flags, struct sk_span s)
{
    switch (proto) {
    case GRE_PROTO_ERSPAN:
        if (flags & GRE_S)
            erspan(d, false, s);
        else /* type I has no header of its own */
            d->inner = (struct dec_inner){.kind = INNER_ETHERNET, .data = s};
        break;
    case GRE_PROTO_ERSPAN3: erspan(d, true, s); break;
    case ETHERTYPE_IP4:
    case ETHERTYPE_IP6:
    case ETHERTYPE_TEB:
    case ETHERTYPE_PPP:
    case 0x8100:
    case 0x8847:
    case 0x8848: inner_ethertype(d, proto, s); break;
    default: break;
    }
}

/* RFC 1701: address family, offset, length; family and length 0 end the list. */
static bool gre_routes(struct sk_reader *r)
{
    for (unsigned i = 0; i < GRE_MAX_ROUTES && !r->bad; i++) {
        uint16_t family = rd_u16(r);
        rd_u8(r);
        uint8_t len = rd_u8(r);
        if (family == 0 && len == 0)
            return true;
        rd_skip(r, len);
    }
    return false;
}

/* RFC 2784, RFC 2890, and what RFC 1701 had before them. */
static void gre_v0(struct dec *d, uint16_t flags, uint16_t proto, struct sk_reader *r)
{
    if (flags & GRE_RECUR) {
        dec_invalid(d, DECODE_EV_GRE_VERSION0_RECUR);
        return;
    }
    if (flags & GRE_FLAGS0) {
        dec_invalid(d, DECODE_EV_GRE_VERSION0_FLAGS);
        return;
    }
    rd_skip(r, (flags & (GRE_C | GRE_R) ? 4U : 0) + (flags & GRE_K ? 4U : 0) + (flags & GRE_S ? 4U : 0));
    if (r->bad) {
        dec_invalid(d, DECODE_EV_GRE_VERSION0_HDR_TOO_BIG);
        return;
    }
    if (flags & GRE_R && !gre_routes(r)) {
        dec_invalid(d, DECODE_EV_GRE_VERSION0_MALFORMED_SRE_HDR);
        return;
    }
    gre_payload(d, proto, flags, sk_span_of(r->p, (uint32_t)rd_left(r)));
}

/* Why a header of PPTP's GRE is bad; DECODE_EV_NONE: it is not. RFC 2637 section 4.1. */
static enum decode_event gre_v1_bad(uint16_t flags, uint16_t proto)
{
    if (flags & GRE_C)
        return DECODE_EV_GRE_VERSION1_CHKSUM;
    if (flags & GRE_R)
        return DECODE_EV_GRE_VERSION1_ROUTE;
    if (flags & GRE_SSR)
        return DECODE_EV_GRE_VERSION1_SSR;
    if (flags & GRE_RECUR)
        return DECODE_EV_GRE_VERSION1_RECUR;
    if (flags & GRE_FLAGS1)
        return DECODE_EV_GRE_VERSION1_FLAGS;
    if (proto != ETHERTYPE_PPP)
        return DECODE_EV_GRE_VERSION1_WRONG_PROTOCOL;
    if (!(flags & GRE_K))
        return DECODE_EV_GRE_VERSION1_NO_KEY;
    return DECODE_EV_NONE;
}

static void gre_v1(struct dec *d, uint16_t flags, uint16_t proto, struct sk_reader *r)
{
    enum decode_event bad = gre_v1_bad(flags, proto);
    if (bad != DECODE_EV_NONE) {
        dec_invalid(d, bad);
        return;
    }
    rd_skip(r, 4U + (flags & GRE_S ? 4U : 0) + (flags & GRE_A ? 4U : 0));
    if (r->bad)
        dec_invalid(d, DECODE_EV_GRE_VERSION1_HDR_TOO_BIG);
    else if (flags & GRE_S && rd_left(r) > 0) /* without a sequence number it is an acknowledgement alone */
        d->inner = (struct dec_inner){.kind = INNER_PPP, .data = sk_span_of(r->p, (uint32_t)rd_left(r))};
}

void dec_gre(struct dec *d, struct sk_span s)
{
    struct sk_reader r = rd_init(s.p, s.len);
    uint16_t flags = rd_u16(&r), proto = rd_u16(&r);
    if (r.bad)
        dec_invalid(d, DECODE_EV_GRE_PKT_TOO_SMALL);
    else if ((flags & GRE_VERSION) == 0)
        gre_v0(d, flags, proto, &r);
    else if ((flags & GRE_VERSION) == 1)
        gre_v1(d, flags, proto, &r);
    else
        dec_invalid(d, DECODE_EV_GRE_WRONG_VERSION);
}

static void in_ip6_event(struct dec *d, bool v6, bool small)
{
    if (!(d->p->flags & PKT_IPV6))
        return;
    if (v6)
        dec_event(d, small ? DECODE_EV_IPV6_IN_IPV6_TOO_SMALL : DECODE_EV_IPV6_IN_IPV6_WRONG_VERSION);
    else
        dec_event(d, small ? DECODE_EV_IPV4_IN_IPV6_TOO_SMALL : DECODE_EV_IPV4_IN_IPV6_WRONG_VERSION);
}

/* RFC 2003, RFC 2473, RFC 4213. A bad inner header is the inner packet's event as well. */
void dec_ip_in_ip(struct dec *d, struct sk_span s, bool v6)
{
    if (s.len < (v6 ? IP6_HLEN : IP4_HLEN))
        in_ip6_event(d, v6, true);
    else if (s.p[0] >> 4 != (v6 ? 6 : 4))
        in_ip6_event(d, v6, false);
    inner_ethertype(d, v6 ? ETHERTYPE_IP6 : ETHERTYPE_IP4, s);
}
