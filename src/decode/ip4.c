/* IPv4 (RFC 791) and its options. */
#include "internal.h"

enum { IP4_HLEN = 20 };

enum {
    OPT_EOL = 0,
    OPT_NOP = 1,
    OPT_RR = 7,
    OPT_QS = 25,
    OPT_TS = 68,
    OPT_SEC = 130,
    OPT_LSRR = 131,
    OPT_ESEC = 133,
    OPT_CIPSO = 134,
    OPT_SATID = 136,
    OPT_SSRR = 137,
    OPT_RTRALT = 148,
};

/* An option's bit, and the lengths that it may have. */
struct opt_info {
    uint16_t bit;
    uint8_t min, max;
};

static struct opt_info opt_info(uint8_t type)
{
    switch (type) {
    case OPT_RR: return (struct opt_info){IP4_OPT_RR, 3, 40};
    case OPT_QS: return (struct opt_info){IP4_OPT_QS, 8, 8}; /* RFC 4782 */
    case OPT_TS: return (struct opt_info){IP4_OPT_TS, 5, 40};
    case OPT_SEC: return (struct opt_info){IP4_OPT_SEC, 11, 11}; /* RFC 791; RFC 1108 lets it vary */
    case OPT_LSRR: return (struct opt_info){IP4_OPT_LSRR, 3, 40};
    case OPT_ESEC: return (struct opt_info){IP4_OPT_ESEC, 3, 40}; /* RFC 1108 */
    case OPT_CIPSO: return (struct opt_info){IP4_OPT_OTHER, 6, 40};
    case OPT_SATID: return (struct opt_info){IP4_OPT_SATID, 4, 4};
    case OPT_SSRR: return (struct opt_info){IP4_OPT_SSRR, 3, 40};
    case OPT_RTRALT: return (struct opt_info){IP4_OPT_OTHER, 4, 4}; /* RFC 2113 */
    default: return (struct opt_info){0};
    }
}

/* The pointer of routes and timestamps counts from 1, stands behind the fixed part, and moves in whole records. */
static bool pointer_ok(const uint8_t *o, uint8_t len)
{
    switch (o[0]) {
    case OPT_RR:
    case OPT_LSRR:
    case OPT_SSRR: return o[2] >= 4 && o[2] % 4 == 0 && o[2] <= len + 1;
    case OPT_TS: {
        unsigned record = (o[3] & 15) == 1 || (o[3] & 15) == 3 ? 8 : 4; /* with an address, or the time alone */
        return o[2] >= 5 && (o[2] - 5U) % record == 0 && o[2] <= len + 1;
    }
    default: return true;
    }
}

/* o: type, length, value. An option that is bad in itself does not keep the walk from the next one. */
static void take_option(struct dec *d, const uint8_t *o, uint8_t len)
{
    struct sk_packet *p = d->p;
    struct opt_info info = opt_info(o[0]);
    if (info.bit == 0) {
        p->ip4_opts |= IP4_OPT_OTHER;
        dec_event(d, DECODE_EV_IPV4_OPT_INVALID);
    } else if (info.bit != IP4_OPT_OTHER && p->ip4_opts & info.bit) {
        dec_event(d, DECODE_EV_IPV4_OPT_DUPLICATE);
    } else if (len < info.min || len > info.max) {
        dec_event(d, DECODE_EV_IPV4_OPT_INVALID_LEN);
    } else if (!pointer_ok(o, len)) {
        dec_event(d, DECODE_EV_IPV4_OPT_MALFORMED);
    } else {
        p->ip4_opts |= info.bit;
    }
}

/*
 * False: the list itself is broken, and receivers drop the packet (Linux: ip_options_compile). What is wrong inside an
 * option is an event only.
 */
static bool ip4_options(struct dec *d, const uint8_t *o, uint32_t left)
{
    if (left % 8 != 0)
        dec_event(d, DECODE_EV_IPV4_OPT_PAD_REQUIRED);
    while (left > 0) {
        if (o[0] == OPT_EOL) {
            d->p->ip4_opts |= IP4_OPT_EOL;
            return true;
        }
        if (o[0] == OPT_NOP) {
            d->p->ip4_opts |= IP4_OPT_NOP;
            o++;
            left--;
            continue;
        }
        if (left < 2) {
            dec_event(d, DECODE_EV_IPV4_OPT_EOL_REQUIRED);
            return true;
        }
        uint8_t len = o[1];
        if (len < 2 || len > left) {
            dec_invalid(d, DECODE_EV_IPV4_OPT_INVALID_LEN);
            return false;
        }
        take_option(d, o, len);
        o += len;
        left -= len;
    }
    return true;
}

/* Length of the datagram; 0: invalid, and said so. */
static uint32_t ip4_length(struct dec *d, struct sk_span s, uint32_t hlen)
{
    uint32_t total = dec_be16(s.p + 2);
    if (total == 0 && dec_zero_len_ok(d, s.len))
        return s.len;
    if (total < hlen) {
        dec_invalid(d, DECODE_EV_IPV4_IPLEN_SMALLER_THAN_HLEN);
        return 0;
    }
    if (total <= s.len)
        return total;
    if (!(d->p->flags & PKT_TRUNCATED)) {
        dec_invalid(d, DECODE_EV_IPV4_TRUNC_PKT);
        return 0;
    }
    dec_event(d, DECODE_EV_IPV4_TRUNC_PKT);
    return s.len;
}

static void ip4_header(struct dec *d, struct sk_span s, uint32_t hlen)
{
    struct sk_packet *p = d->p;
    uint16_t frag = dec_be16(s.p + 6);
    p->flags |= PKT_IPV4;
    p->ip = s;
    p->ip_hdr_len = (uint16_t)hlen;
    p->tos = s.p[1];
    p->ip_id = dec_be16(s.p + 4);
    p->ip_rf = frag & 0x8000;
    p->ip_df = frag & 0x4000;
    p->frag_more = frag & 0x2000;
    p->frag_offset = (uint16_t)((frag & 0x1fff) << 3);
    p->ttl = s.p[8];
    p->proto = s.p[9];
    p->src = sk_addr_from_v4(s.p + 12);
    p->dst = sk_addr_from_v4(s.p + 16);
    if (p->frag_more || p->frag_offset != 0)
        p->flags |= PKT_FRAGMENT;
}

/* The header's checksum does not depend on the rest: verified in fragments and cut frames too. */
static bool ip4_csum_ok(const struct dec *d, struct sk_span hdr)
{
    const struct sk_frame *f = d->p->frame;
    if (!d->conf->verify_csum || f->csum_unfilled || (f->csum_valid && !(d->p->flags & PKT_TUNNELED)))
        return true;
    return csum_ok(hdr);
}

void dec_ipv4(struct dec *d, struct sk_span s)
{
    if (s.len < IP4_HLEN) {
        dec_invalid(d, DECODE_EV_IPV4_PKT_TOO_SMALL);
        return;
    }
    if (s.p[0] >> 4 != 4) {
        dec_invalid(d, DECODE_EV_IPV4_WRONG_IP_VERSION);
        return;
    }
    if (!d->counted_ip)
        sk_count(d->c, SK_C_IPV4);
    uint32_t hlen = (s.p[0] & 15U) * 4;
    if (hlen < IP4_HLEN || hlen > s.len) {
        dec_invalid(d, DECODE_EV_IPV4_HLEN_TOO_SMALL);
        return;
    }
    s.len = ip4_length(d, s, hlen);
    if (s.len == 0)
        return;
    ip4_header(d, s, hlen);
    if (!ip4_options(d, s.p + IP4_HLEN, hlen - IP4_HLEN))
        return;
    if (!ip4_csum_ok(d, sk_span_of(s.p, hlen)))
        dec_bad_csum(d);
    struct sk_span rest = dec_behind(s, hlen);
    if (d->p->flags & PKT_FRAGMENT) {
        d->p->payload = rest;
        if (d->p->frag_offset + rest.len > UINT16_MAX)
            dec_event(d, DECODE_EV_IPV4_FRAG_PKT_TOO_LARGE);
    } else {
        dec_transport(d, rest);
    }
}
