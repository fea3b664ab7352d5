/* Link layers: the headers of pcap-linktype(7), and ethertypes. */
#include "internal.h"

enum {
    LT_NULL = 0,
    LT_ETHERNET = 1,
    LT_PPP = 9,
    DLT_RAW_LINUX = 12,
    DLT_RAW_OPENBSD = 14,
    LT_PPP_HDLC = 50,
    LT_RAW = 101,
    LT_C_HDLC = 104,
    LT_LOOP = 108,
    LT_SLL = 113,
    LT_IPV4 = 228,
    LT_IPV6 = 229,
    LT_SLL2 = 276,
};

enum { ETH_HLEN = 14, SLL_HLEN = 16, SLL2_HLEN = 20, CHDLC_HLEN = 4, VLAN_HLEN = 4, PBB_ITAG_LEN = 4 };
enum { ARPHRD_NETLINK_ = 824 };

static bool enter_layer(struct dec *d)
{
    if (d->layers++ < DEC_MAX_LAYERS)
        return true;
    dec_invalid(d, DECODE_EV_TOO_MANY_LAYERS);
    return false;
}

/* IEEE 802.1Q and 802.1ad: TCI, then the next ethertype. */
static void dec_vlan(struct dec *d, struct sk_span s)
{
    if (s.len < VLAN_HLEN) {
        dec_invalid(d, DECODE_EV_VLAN_HEADER_TOO_SMALL);
        return;
    }
    dec_add_vlan(d, dec_be16(s.p));
    if (!(d->p->flags & PKT_INVALID))
        dec_ethertype(d, dec_be16(s.p + 2), dec_behind(s, VLAN_HLEN));
}

/* IEEE 802.1ah: the I-TAG, then the customer's whole frame. */
static void dec_pbb(struct dec *d, struct sk_span s)
{
    if (s.len < PBB_ITAG_LEN + ETH_HLEN)
        dec_invalid(d, DECODE_EV_IEEE8021AH_HEADER_TOO_SMALL);
    else
        dec_ethernet(d, dec_behind(s, PBB_ITAG_LEN));
}

void dec_ethertype(struct dec *d, uint16_t type, struct sk_span s)
{
    if (!enter_layer(d))
        return;
    switch (type) {
    case ETHERTYPE_IP4: dec_ipv4(d, s); break;
    case ETHERTYPE_IP6: dec_ipv6(d, s); break;
    case 0x8100:
    case 0x88a8:
    case 0x9100: dec_vlan(d, s); break;
    case 0x8847:
    case 0x8848: dec_mpls(d, s); break;
    case 0x8863: dec_pppoe_discovery(d, s); break;
    case 0x8864: dec_pppoe_session(d, s); break;
    case 0x88e7: dec_pbb(d, s); break;
    case ETHERTYPE_TEB: dec_ethernet(d, s); break;
    case ETHERTYPE_PPP: dec_ppp(d, s); break;
    default: break; /* ARP and everything else that carries no IP */
    }
}

void dec_ethernet(struct dec *d, struct sk_span s)
{
    if (s.len < ETH_HLEN)
        dec_invalid(d, DECODE_EV_ETHERNET_PKT_TOO_SMALL);
    else
        dec_ethertype(d, dec_be16(s.p + 12), dec_behind(s, ETH_HLEN));
}

void dec_ip_by_version(struct dec *d, struct sk_span s)
{
    if (s.len == 0)
        dec_invalid(d, DECODE_EV_IPV4_PKT_TOO_SMALL);
    else if (s.p[0] >> 4 == 4)
        dec_ipv4(d, s);
    else if (s.p[0] >> 4 == 6)
        dec_ipv6(d, s);
    else
        dec_invalid(d, DECODE_EV_IPRAW_INVALID_IP_VERSION);
}

/* LINKTYPE_LINUX_SLL: packet type, ARPHRD, address length, address of 8 bytes, protocol. */
static void dec_sll(struct dec *d, struct sk_span s)
{
    if (s.len < SLL_HLEN) {
        dec_invalid(d, DECODE_EV_SLL_PKT_TOO_SMALL);
        return;
    }
    if (dec_be16(s.p + 2) != ARPHRD_NETLINK_)
        dec_ethertype(d, dec_be16(s.p + 14), dec_behind(s, SLL_HLEN));
}

/* LINKTYPE_LINUX_SLL2: protocol, reserved, interface index, ARPHRD, packet type, address length, address of 8 bytes. */
static void dec_sll2(struct dec *d, struct sk_span s)
{
    if (s.len < SLL2_HLEN) {
        dec_invalid(d, DECODE_EV_SLL2_PKT_TOO_SMALL);
        return;
    }
    if (dec_be16(s.p + 8) != ARPHRD_NETLINK_)
        dec_ethertype(d, dec_be16(s.p), dec_behind(s, SLL2_HLEN));
}

/*
 * LINKTYPE_NULL, LINKTYPE_LOOP: an address family of 4 bytes, in the byte order of the capturing machine or of the
 * network; families are below 256, so that the order shows. AF_INET6 differs: Linux 10, BSDs 24 and 28, Darwin 30.
 */
static void dec_null(struct dec *d, struct sk_span s)
{
    if (s.len < 4) {
        dec_invalid(d, DECODE_EV_LTNULL_PKT_TOO_SMALL);
        return;
    }
    uint32_t af = dec_be32(s.p);
    if (af > 0xffff)
        af = __builtin_bswap32(af);
    switch (af) {
    case 2: dec_ipv4(d, dec_behind(s, 4)); break;
    case 10:
    case 24:
    case 28:
    case 30: dec_ipv6(d, dec_behind(s, 4)); break;
    default: dec_event(d, DECODE_EV_LTNULL_UNSUPPORTED_TYPE); break;
    }
}

/* Cisco HDLC: address, control, ethertype. */
static void dec_chdlc(struct dec *d, struct sk_span s)
{
    if (s.len < CHDLC_HLEN)
        dec_invalid(d, DECODE_EV_CHDLC_PKT_TOO_SMALL);
    else
        dec_ethertype(d, dec_be16(s.p + 2), dec_behind(s, CHDLC_HLEN));
}

void dec_link(struct dec *d, int linktype, struct sk_span s)
{
    if (d->p->flags & PKT_INVALID)
        return;
    switch (linktype) {
    case LT_ETHERNET: dec_ethernet(d, s); break;
    case LT_RAW:
    case DLT_RAW_LINUX:
    case DLT_RAW_OPENBSD: dec_ip_by_version(d, s); break;
    case LT_IPV4: dec_ipv4(d, s); break;
    case LT_IPV6: dec_ipv6(d, s); break;
    case LT_SLL: dec_sll(d, s); break;
    case LT_SLL2: dec_sll2(d, s); break;
    case LT_NULL:
    case LT_LOOP: dec_null(d, s); break;
    case LT_PPP:
    case LT_PPP_HDLC: dec_ppp(d, s); break;
    case LT_C_HDLC: dec_chdlc(d, s); break;
    default: break;
    }
}

bool decode_linktype_known(int linktype)
{
    static const int known[] = {LT_NULL, LT_ETHERNET, LT_PPP, DLT_RAW_LINUX, DLT_RAW_OPENBSD, LT_PPP_HDLC, LT_RAW,
                                LT_LOOP, LT_C_HDLC,   LT_SLL, LT_IPV4,       LT_IPV6,         LT_SLL2};
    for (unsigned i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i] == linktype)
            return true;
    return false;
}
