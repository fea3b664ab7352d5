/* Link layers as capture names them: pcap-linktype(7). */
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

enum { SLL_HLEN = 16, SLL2_HLEN = 20, CHDLC_HLEN = 4 };
enum { ARPHRD_NETLINK_ = 824 };

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
