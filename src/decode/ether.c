/* Ethernet, and what its type field can announce: tags, labels, whole frames in frames. */
#include "internal.h"

enum { ETH_HLEN = 14, VLAN_HLEN = 4, PBB_ITAG_LEN = 4, VNTAG_HLEN = 6, DCE_TAG_LEN = 2, NSH_HLEN = 8 };

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
    if (d->p->flags & PKT_INVALID)
        return;
    if (!dec_ethertype(d, dec_be16(s.p + 2), dec_behind(s, VLAN_HLEN)))
        dec_event(d, DECODE_EV_VLAN_UNKNOWN_TYPE);
}

/* IEEE 802.1ah: the I-TAG, then the customer's whole frame. */
static void dec_pbb(struct dec *d, struct sk_span s)
{
    if (s.len < PBB_ITAG_LEN + ETH_HLEN)
        dec_invalid(d, DECODE_EV_IEEE8021AH_HEADER_TOO_SMALL);
    else
        dec_ethernet(d, dec_behind(s, PBB_ITAG_LEN));
}

/* IEEE 802.1Qbh: direction and interfaces, then the next ethertype. */
static void dec_vntag(struct dec *d, struct sk_span s)
{
    if (s.len < VNTAG_HLEN)
        dec_invalid(d, DECODE_EV_VNTAG_HEADER_TOO_SMALL);
    else if (!dec_ethertype(d, dec_be16(s.p + 4), dec_behind(s, VNTAG_HLEN)))
        dec_event(d, DECODE_EV_VNTAG_UNKNOWN_TYPE);
}

/* Cisco FabricPath: a forwarding tag, then the customer's whole frame. */
static void dec_dce(struct dec *d, struct sk_span s)
{
    if (s.len < DCE_TAG_LEN + ETH_HLEN)
        dec_invalid(d, DECODE_EV_DCE_PKT_TOO_SMALL);
    else
        dec_ethernet(d, dec_behind(s, DCE_TAG_LEN));
}

/* RFC 8300: version, TTL, length in words; metadata type, next protocol; service path; context. */
static void dec_nsh(struct dec *d, struct sk_span s)
{
    uint32_t len = s.len < NSH_HLEN ? NSH_HLEN : (s.p[1] & 0x3fU) * 4;
    if (s.len < NSH_HLEN) {
        dec_invalid(d, DECODE_EV_NSH_HEADER_TOO_SMALL);
    } else if (s.p[0] >> 6 != 0) {
        dec_invalid(d, DECODE_EV_NSH_UNSUPPORTED_VERSION);
    } else if (len < NSH_HLEN || len > s.len) {
        dec_invalid(d, DECODE_EV_NSH_BAD_HEADER_LENGTH);
    } else {
        static const uint16_t types[] = {0, ETHERTYPE_IP4, ETHERTYPE_IP6, ETHERTYPE_TEB, 0, 0x8847};
        uint16_t type = s.p[3] < sizeof types / sizeof types[0] ? types[s.p[3]] : 0;
        if (type == 0 || !dec_ethertype(d, type, dec_behind(s, len)))
            dec_event(d, DECODE_EV_NSH_UNSUPPORTED_TYPE);
    }
}

bool dec_ethertype(struct dec *d, uint16_t type, struct sk_span s)
{
    if (!enter_layer(d))
        return true;
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
    case 0x8903: dec_dce(d, s); break;
    case 0x8926: dec_vntag(d, s); break;
    case 0x894f: dec_nsh(d, s); break;
    case ETHERTYPE_TEB: dec_ethernet(d, s); break;
    case ETHERTYPE_PPP: dec_ppp(d, s); break;
    case 0x0806: break; /* ARP */
    default: return false;
    }
    return true;
}

void dec_ethernet(struct dec *d, struct sk_span s)
{
    if (s.len < ETH_HLEN)
        dec_invalid(d, DECODE_EV_ETHERNET_PKT_TOO_SMALL);
    else if (!dec_ethertype(d, dec_be16(s.p + 12), dec_behind(s, ETH_HLEN)))
        dec_event(d, DECODE_EV_ETHERNET_UNKNOWN_ETHERTYPE);
}
