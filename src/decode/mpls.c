/* MPLS label stack (RFC 3032) and pseudo-wires (RFC 4385, RFC 4448). */
#include "internal.h"

enum { MPLS_HLEN = 4, MPLS_MAX_LABELS = 16, PW_CONTROL_LEN = 4 };
enum {
    LABEL_IP4_NULL = 0,
    LABEL_ROUTER_ALERT = 1,
    LABEL_IP6_NULL = 2,
    LABEL_IMPLICIT_NULL = 3,
    LABEL_RESERVED_END = 16
};

/* Below the last label nothing names the payload: the first nibble has to tell (RFC 4928). */
static void mpls_payload(struct dec *d, uint32_t label, struct sk_span s)
{
    if (s.len == 0) {
        dec_invalid(d, DECODE_EV_MPLS_PKT_TOO_SMALL);
        return;
    }
    unsigned nibble = s.p[0] >> 4;
    if (label == LABEL_IP4_NULL || (label >= LABEL_RESERVED_END && nibble == 4))
        dec_ipv4(d, s);
    else if (label == LABEL_IP6_NULL || (label >= LABEL_RESERVED_END && nibble == 6))
        dec_ipv6(d, s);
    else if (label == LABEL_ROUTER_ALERT)
        dec_invalid(d, DECODE_EV_MPLS_BAD_LABEL_ROUTER_ALERT);
    else if (label == LABEL_IMPLICIT_NULL)
        dec_invalid(d, DECODE_EV_MPLS_BAD_LABEL_IMPLICIT_NULL);
    else if (label < LABEL_RESERVED_END)
        dec_event(d, DECODE_EV_MPLS_BAD_LABEL_RESERVED);
    else if (nibble == 0 && s.len > PW_CONTROL_LEN)
        dec_ethertype(d, ETHERTYPE_TEB, dec_behind(s, PW_CONTROL_LEN));
    else
        dec_event(d, DECODE_EV_MPLS_UNKNOWN_PAYLOAD_TYPE);
}

void dec_mpls(struct dec *d, struct sk_span s)
{
    for (unsigned i = 0; i < MPLS_MAX_LABELS; i++) {
        if (s.len < MPLS_HLEN) {
            dec_invalid(d, DECODE_EV_MPLS_HEADER_TOO_SMALL);
            return;
        }
        uint32_t entry = dec_be32(s.p);
        s = dec_behind(s, MPLS_HLEN);
        if (entry & 0x100) { /* bottom of stack */
            mpls_payload(d, entry >> 12, s);
            return;
        }
    }
    dec_invalid(d, DECODE_EV_TOO_MANY_LAYERS);
}
