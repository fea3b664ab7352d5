/* PPP (RFC 1661, RFC 1662) and PPPoE (RFC 2516). */
#include "internal.h"

enum { PPPOE_HLEN = 6 };

/* A protocol number by its range, RFC 1661 section 2: network layer, network control, low volume, link control. */
static bool ppp_proto_plausible(uint16_t proto)
{
    return (proto & 1) && !(proto & 0x0100);
}

static void ppp_payload(struct dec *d, uint16_t proto, struct sk_span s)
{
    switch (proto) {
    case 0x0021:
        if (s.len < 20)
            dec_invalid(d, DECODE_EV_PPP_IP4_PKT_TOO_SMALL);
        else
            dec_ipv4(d, s);
        break;
    case 0x0057:
        if (s.len < 40)
            dec_invalid(d, DECODE_EV_PPP_IP6_PKT_TOO_SMALL);
        else
            dec_ipv6(d, s);
        break;
    case 0x002f: /* Van Jacobson's uncompressed TCP/IP (RFC 1144): a protocol field that holds a slot; not followed */
        if (s.len < 40)
            dec_invalid(d, DECODE_EV_PPP_VJU_PKT_TOO_SMALL);
        else
            dec_event(d, DECODE_EV_PPP_UNSUP_PROTO);
        break;
    case 0x0281: dec_mpls(d, s); break;
    default:
        if (!ppp_proto_plausible(proto))
            dec_invalid(d, DECODE_EV_PPP_WRONG_TYPE);
        else if (proto < 0x8000)
            dec_event(d, DECODE_EV_PPP_UNSUP_PROTO); /* a network protocol; not the link's own control */
        break;
    }
}

void dec_ppp(struct dec *d, struct sk_span s)
{
    struct sk_reader r = rd_init(s.p, s.len);
    if (s.len >= 2 && s.p[0] == 0xff && s.p[1] == 0x03)
        rd_skip(&r, 2); /* HDLC address and control */
    uint16_t proto = rd_u8(&r);
    if (!(proto & 1)) /* odd: protocol field compression, RFC 1661 section 6.5 */
        proto = (uint16_t)(proto << 8 | rd_u8(&r));
    if (r.bad)
        dec_invalid(d, DECODE_EV_PPP_PKT_TOO_SMALL);
    else
        ppp_payload(d, proto, sk_span_of(r.p, (uint32_t)rd_left(&r)));
}

/* Version and type 1, code, session, length of what follows (padding cut). False: invalid, and said so. */
static bool pppoe_header(struct dec *d, struct sk_span s, uint8_t *code, struct sk_span *body)
{
    if (s.len < PPPOE_HLEN) {
        dec_invalid(d, DECODE_EV_PPPOE_PKT_TOO_SMALL);
        return false;
    }
    *code = s.p[1];
    *body = dec_behind(s, PPPOE_HLEN);
    uint16_t len = dec_be16(s.p + 4);
    if (len > body->len && !(d->p->flags & PKT_TRUNCATED)) {
        dec_invalid(d, DECODE_EV_PPPOE_PKT_TOO_SMALL);
        return false;
    }
    if (len < body->len)
        body->len = len;
    return true;
}

void dec_pppoe_session(struct dec *d, struct sk_span s)
{
    uint8_t code;
    struct sk_span body;
    if (!pppoe_header(d, s, &code, &body))
        return;
    if (code != 0)
        dec_invalid(d, DECODE_EV_PPPOE_WRONG_CODE);
    else
        dec_ppp(d, body);
}

void dec_pppoe_discovery(struct dec *d, struct sk_span s)
{
    uint8_t code;
    struct sk_span body;
    if (!pppoe_header(d, s, &code, &body))
        return;
    /* PADI, PADO, PADR, PADS, PADT */
    if (code != 0x09 && code != 0x07 && code != 0x19 && code != 0x65 && code != 0xa7) {
        dec_invalid(d, DECODE_EV_PPPOE_WRONG_CODE);
        return;
    }
    struct sk_reader r = rd_init(body.p, body.len);
    while (!r.bad && rd_left(&r) > 0) {
        rd_u16(&r);
        rd_skip(&r, rd_u16(&r));
    }
    if (r.bad && !(d->p->flags & PKT_TRUNCATED))
        dec_invalid(d, DECODE_EV_PPPOE_MALFORMED_TAGS);
}
