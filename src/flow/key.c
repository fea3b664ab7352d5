/* Which packets are of one flow. */
#include <netinet/in.h>

#include "flow_internal.h"

/* Requests and their answers share a number: the request's type. RFC 792, RFC 4443. */
static uint16_t icmp_class(const struct sk_packet *p)
{
    if (p->flags & PKT_ICMP4) {
        switch (p->icmp.type) {
        case 0: return 8;   /* echo */
        case 14: return 13; /* timestamp */
        case 16: return 15; /* information */
        case 18: return 17; /* address mask */
        default: return p->icmp.type;
        }
    }
    switch (p->icmp.type) {
    case 129: return 128; /* echo */
    case 134: return 133; /* router solicitation, advertisement */
    case 136: return 135; /* neighbor */
    default: return p->icmp.type;
    }
}

bool flow_is_tracked(const struct sk_packet *p)
{
    return p->flags & (PKT_TCP | PKT_UDP | PKT_SCTP | PKT_ICMP4 | PKT_ICMP6) || p->proto == IPPROTO_ESP;
}

bool flow_is_icmp_error(const struct sk_packet *p)
{
    if (p->flags & PKT_ICMP6)
        return p->icmp.type < 128;
    if (!(p->flags & PKT_ICMP4))
        return false;
    switch (p->icmp.type) {
    case 3:               /* unreachable */
    case 4:               /* source quench */
    case 5:               /* redirect */
    case 11:              /* time exceeded */
    case 12: return true; /* parameter problem */
    default: return false;
    }
}

void flow_ends_of(const struct sk_packet *p, bool quoted, struct flow_ends *e)
{
    *e = (struct flow_ends){.src = p->src, .dst = p->dst, .proto = p->proto, .quoted = quoted};
    if (quoted) {
        /* The error travels against the packet that it quotes. */
        e->src = p->icmp.in_dst;
        e->dst = p->icmp.in_src;
        e->sport = p->icmp.in_dport;
        e->dport = p->icmp.in_sport;
        e->proto = p->icmp.in_proto;
    } else if (p->flags & (PKT_TCP | PKT_UDP | PKT_SCTP)) {
        e->sport = p->sport;
        e->dport = p->dport;
    } else if (p->flags & (PKT_ICMP4 | PKT_ICMP6)) {
        e->sport = e->dport = icmp_class(p);
    }
}

void flow_key_of(const struct sk_packet *p, const struct flow_ends *e, struct flow_key *k)
{
    memset(k, 0, sizeof *k);
    int c = sk_addr_cmp(&e->src, &e->dst);
    bool src_first = c < 0 || (c == 0 && e->sport <= e->dport);
    k->a = src_first ? e->src : e->dst;
    k->b = src_first ? e->dst : e->src;
    k->aport = src_first ? e->sport : e->dport;
    k->bport = src_first ? e->dport : e->sport;
    k->proto = e->proto;
    k->recursion = p->tunnel_depth;
    k->vlan_count = p->vlan_count;
    memcpy(k->vlan_id, p->vlan_id, sizeof k->vlan_id);
}

uint64_t flow_key_hash(const struct sk_hash_key *hk, const struct flow_key *k)
{
    uint64_t w[5];
    /* An IPv4 pair fits into one word; the mapped prefix carries nothing. */
    if (sk_addr_is_v4(&k->a) && sk_addr_is_v4(&k->b)) {
        w[0] = (uint64_t)k->a.w[3] << 32 | k->b.w[3];
        w[1] = (uint64_t)k->aport << 48 | (uint64_t)k->bport << 32 | (uint64_t)k->proto << 24 |
               (uint64_t)k->recursion << 16 | k->vlan_count;
        w[2] = (uint64_t)k->vlan_id[0] << 32 | (uint64_t)k->vlan_id[1] << 16 | k->vlan_id[2];
        return sk_siphash_words(hk, w, 3);
    }
    w[0] = k->a.q[0];
    w[1] = k->a.q[1];
    w[2] = k->b.q[0];
    w[3] = k->b.q[1];
    w[4] = (uint64_t)k->aport << 48 | (uint64_t)k->bport << 32 | (uint64_t)k->proto << 24 |
           (uint64_t)k->recursion << 16 | (uint64_t)(k->vlan_id[0] ^ k->vlan_id[1] << 4 ^ k->vlan_id[2] << 8);
    return sk_siphash_words(hk, w, 5);
}

unsigned flow_worker_of(const struct sk_packet *p, unsigned n)
{
    /* Unkeyed: all workers of a run must agree, and an attacker gains nothing but an uneven share. An ICMP error goes
     * where the flow that it quotes is, whichever router sent it. */
    bool quoted = (p->flags & (PKT_ICMP4 | PKT_ICMP6)) && p->icmp.has_inner;
    const struct sk_addr *a = quoted ? &p->icmp.in_src : &p->src, *b = quoted ? &p->icmp.in_dst : &p->dst;
    uint64_t h = sk_mix64(a->q[0] ^ a->q[1] * UINT64_C(0x9e3779b97f4a7c15)) +
                 sk_mix64(b->q[0] ^ b->q[1] * UINT64_C(0x9e3779b97f4a7c15));
    return n ? (unsigned)(sk_mix64(h) % n) : 0;
}
