/*
 * Between the layers of the decoder. A layer function fills d->p from its span and calls the next one; a tunnel notes
 * what is inside in d->inner, and the loop in decode.c makes a packet of it. Recursion is bounded by DEC_MAX_LAYERS.
 */
#ifndef DECODE_INTERNAL_H
#define DECODE_INTERNAL_H

#include "base/reader.h"
#include "decode/decode.h"

#define DEC_MAX_LAYERS  16 /* link-level headers of one packet; deeper: event too_many_layers, packet invalid */
#define DEC_MAX_EXTHDRS 16 /* IPv6 extension headers of one packet; deeper: the same */

/* A datagram longer than an Ethernet MTU whose length field is 0 is the work of an offload, not of a sender. */
#define DEC_MTU 1500

enum { ETHERTYPE_IP4 = 0x0800, ETHERTYPE_IP6 = 0x86dd, ETHERTYPE_TEB = 0x6558, ETHERTYPE_PPP = 0x880b };

enum dec_inner_kind { INNER_NONE, INNER_ETHERTYPE, INNER_ETHERNET, INNER_PPP };

struct dec_inner {
    enum dec_inner_kind kind;
    uint16_t ethertype; /* INNER_ETHERTYPE */
    uint16_t vlan_id;   /* ERSPAN: VLAN of the mirrored frame; 0: none */
    bool truncated;     /* ERSPAN: the mirror has cut the frame */
    struct sk_span data;
};

struct dec {
    const struct decode_conf *conf;
    struct sk_counters *c;
    struct sk_packet *out;
    struct sk_packet *p; /* out[n - 1], being filled */
    unsigned n;
    unsigned layers; /* link layers of p so far */
    bool counted_ip; /* decode_ip: IPV4/IPV6 were counted with the fragments */
    struct dec_inner inner;
};

/* What lies behind the first n bytes; n <= s.len. */
static inline struct sk_span dec_behind(struct sk_span s, uint32_t n)
{
    return (struct sk_span){.p = s.p + n, .len = s.len - n};
}

static inline uint16_t dec_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t dec_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* decode.c */
void dec_event(struct dec *d, enum decode_event ev);
void dec_invalid(struct dec *d, enum decode_event ev);
void dec_add_vlan(struct dec *d, uint16_t id);
/* The transport's checksum of this packet can and shall be verified. */
bool dec_verify_csum(const struct dec *d);
void dec_bad_csum(struct dec *d);
/* A datagram of `have` bytes whose header gives length 0 may be taken whole. */
bool dec_zero_len_ok(const struct dec *d, uint32_t have);

/* link.c (capture's link types), ether.c (ethertypes), ppp.c, mpls.c */
void dec_link(struct dec *d, int linktype, struct sk_span s);
void dec_ethernet(struct dec *d, struct sk_span s);
/* False: a type that is not known here. */
bool dec_ethertype(struct dec *d, uint16_t type, struct sk_span s);
void dec_ip_by_version(struct dec *d, struct sk_span s);
void dec_ppp(struct dec *d, struct sk_span s);
void dec_pppoe_session(struct dec *d, struct sk_span s);
void dec_pppoe_discovery(struct dec *d, struct sk_span s);
void dec_mpls(struct dec *d, struct sk_span s);

/* ip4.c, ip6.c */
void dec_ipv4(struct dec *d, struct sk_span s);
void dec_ipv6(struct dec *d, struct sk_span s);
/* l4.c: what p->proto says, in the bytes behind the IP header. */
void dec_transport(struct dec *d, struct sk_span s);
void dec_tcp(struct dec *d, struct sk_span s);
void dec_icmp4(struct dec *d, struct sk_span s);
void dec_icmp6(struct dec *d, struct sk_span s);

/* tunnel.c: UDP payload on a tunnel's port; true when the checksum may be zero over IPv6 (RFC 6935). */
bool dec_udp_tunnel_port(const struct dec *d);
void dec_udp_tunnel(struct dec *d);
void dec_gre(struct dec *d, struct sk_span s);
void dec_ip_in_ip(struct dec *d, struct sk_span s, bool v6);

/* csum.c */
/* True when the Internet checksum (RFC 1071) over s is right. */
bool csum_ok(struct sk_span s);
/* The same with the pseudo-header of p's addresses and p->proto; s is the whole transport segment. */
bool csum_ok_pseudo(const struct sk_packet *p, struct sk_span s);

#endif
