/* IPv6 (RFC 8200) and its extension headers. */
#include <netinet/in.h>
#include "internal.h"

enum { IP6_HLEN = 40, FRAG_HLEN = 8 };
enum { OPT_PAD1 = 0, OPT_PADN = 1, OPT_RTALERT = 5, OPT_JUMBO = 0xc2, OPT_HOMEADDR = 0xc9 };

/* The walk along the extension headers. */
struct walk {
    uint8_t next; /* what stands at rest */
    struct sk_span rest;
    unsigned seen_hh, seen_dh, seen_rh, seen_fh, seen_ah;
    bool stop; /* a fragment other than whole, or an error */
};

static void step(struct walk *w, uint32_t len)
{
    w->next = w->rest.p[0];
    w->rest = dec_behind(w->rest, len);
}

/* Hop-by-hop and destination options: type, length, value; Pad1 is a byte alone. */
static void options(struct dec *d, struct sk_span o, bool hop)
{
    struct sk_reader r = rd_init(o.p, o.len);
    bool only_padding = true;
    while (!r.bad && rd_left(&r) > 0) {
        uint8_t type = rd_u8(&r);
        if (type == OPT_PAD1)
            continue;
        uint8_t len = rd_u8(&r);
        rd_skip(&r, len);
        if (type == OPT_PADN) {
            if (len == 0)
                dec_event(d, DECODE_EV_IPV6_ZERO_LEN_PADN);
            continue;
        }
        only_padding = false;
        if ((type == OPT_JUMBO && len != 4) || (type == OPT_RTALERT && len != 2) || (type == OPT_HOMEADDR && len != 16))
            dec_event(d, DECODE_EV_IPV6_EXTHDR_INVALID_OPTLEN);
        else if (type != OPT_JUMBO && type != OPT_RTALERT && type != OPT_HOMEADDR)
            dec_event(d, hop ? DECODE_EV_IPV6_HOPOPTS_UNKNOWN_OPT : DECODE_EV_IPV6_DSTOPTS_UNKNOWN_OPT);
    }
    if (r.bad)
        dec_event(d, DECODE_EV_IPV6_EXTHDR_INVALID_OPTLEN);
    else if (only_padding)
        dec_event(d, hop ? DECODE_EV_IPV6_HOPOPTS_ONLY_PADDING : DECODE_EV_IPV6_DSTOPTS_ONLY_PADDING);
}

static void truncated(struct dec *d, struct walk *w)
{
    dec_invalid(d, DECODE_EV_IPV6_TRUNC_EXTHDR);
    w->stop = true;
}

/* Hop-by-hop, destination options, routing, mobility, HIP, shim6: the second byte counts further units of 8. */
static void generic_header(struct dec *d, struct walk *w)
{
    uint32_t len = w->rest.len < 8 ? 8 : (w->rest.p[1] + 1U) * 8;
    if (len > w->rest.len) {
        truncated(d, w);
        return;
    }
    struct sk_span body = sk_span_of(w->rest.p + 2, len - 2);
    switch (w->next) {
    case IPPROTO_HOPOPTS:
        if (w->seen_hh++)
            dec_event(d, DECODE_EV_IPV6_EXTHDR_DUPL_HH);
        options(d, body, true);
        break;
    case IPPROTO_DSTOPTS:
        if (w->seen_dh++ > 1) /* one before and one after a routing header is allowed */
            dec_event(d, DECODE_EV_IPV6_EXTHDR_DUPL_DH);
        options(d, body, false);
        break;
    case IPPROTO_ROUTING:
        if (w->seen_rh++)
            dec_event(d, DECODE_EV_IPV6_EXTHDR_DUPL_RH);
        if (body.p[0] == 0) /* deprecated, RFC 5095 */
            dec_event(d, DECODE_EV_IPV6_RH_TYPE_0);
        break;
    default: break;
    }
    step(w, len);
}

/* RFC 4302: the second byte counts units of 4, less two. */
static void auth_header(struct dec *d, struct walk *w)
{
    uint32_t len = w->rest.len < 8 ? 8 : (w->rest.p[1] + 2U) * 4;
    if (len > w->rest.len || len < 8) {
        truncated(d, w);
        return;
    }
    if (w->seen_ah++)
        dec_event(d, DECODE_EV_IPV6_EXTHDR_DUPL_AH);
    if (dec_be16(w->rest.p + 2) != 0)
        dec_event(d, DECODE_EV_IPV6_EXTHDR_AH_RES_NOT_NULL);
    step(w, len);
}

/* A fragment that is the whole datagram is an ordinary packet (RFC 6946). */
static void fragment_header(struct dec *d, struct walk *w)
{
    struct sk_packet *p = d->p;
    if (w->rest.len < FRAG_HLEN) {
        truncated(d, w);
        return;
    }
    if (w->seen_fh++) {
        dec_invalid(d, DECODE_EV_IPV6_EXTHDR_DUPL_FH);
        w->stop = true;
        return;
    }
    uint16_t off = dec_be16(w->rest.p + 2);
    if (w->rest.p[1] != 0 || off & 6)
        dec_event(d, DECODE_EV_IPV6_FH_NON_ZERO_RESERVED);
    p->ip_id = dec_be32(w->rest.p + 4);
    p->frag_offset = off & 0xfff8;
    p->frag_more = off & 1;
    step(w, FRAG_HLEN);
    if (p->frag_offset == 0 && !p->frag_more) {
        dec_event(d, DECODE_EV_IPV6_EXTHDR_USELESS_FH);
        return;
    }
    p->flags |= PKT_FRAGMENT;
    w->stop = true;
    if (p->frag_more && w->rest.len % 8 != 0)
        dec_event(d, DECODE_EV_IPV6_FRAG_INVALID_LENGTH);
    if (p->frag_offset + w->rest.len > UINT16_MAX)
        dec_event(d, DECODE_EV_IPV6_FRAG_PKT_TOO_LARGE);
}

static bool is_generic(uint8_t next)
{
    return next == IPPROTO_HOPOPTS || next == IPPROTO_DSTOPTS || next == IPPROTO_ROUTING || next == IPPROTO_MH ||
           next == 139 /* HIP */ || next == 140 /* shim6 */;
}

static void walk_headers(struct dec *d, struct walk *w)
{
    for (unsigned n = 0; !w->stop; n++) {
        if (!is_generic(w->next) && w->next != IPPROTO_AH && w->next != IPPROTO_FRAGMENT)
            return;
        if (n == DEC_MAX_EXTHDRS) {
            dec_invalid(d, DECODE_EV_TOO_MANY_LAYERS);
            w->stop = true;
        } else if (w->next == IPPROTO_FRAGMENT) {
            fragment_header(d, w);
        } else if (w->next == IPPROTO_AH) {
            auth_header(d, w);
        } else {
            generic_header(d, w);
        }
    }
}

/* Length of the datagram; 0: invalid, and said so. */
static uint32_t ip6_length(struct dec *d, struct sk_span s)
{
    uint32_t plen = dec_be16(s.p + 4);
    if (plen == 0 && s.p[6] != IPPROTO_NONE && dec_zero_len_ok(d, s.len))
        return s.len; /* jumbogram, RFC 2675, or BIG TCP */
    if (plen <= s.len - IP6_HLEN)
        return plen + IP6_HLEN;
    if (!(d->p->flags & PKT_TRUNCATED)) {
        dec_invalid(d, DECODE_EV_IPV6_TRUNC_PKT);
        return 0;
    }
    dec_event(d, DECODE_EV_IPV6_TRUNC_PKT);
    return s.len;
}

static void fixed_header(struct dec *d, struct sk_span s)
{
    struct sk_packet *p = d->p;
    p->flags |= PKT_IPV6;
    p->src = sk_addr_from_v6(s.p + 8);
    p->dst = sk_addr_from_v6(s.p + 24);
    p->tos = (uint8_t)(dec_be16(s.p) >> 4);
    p->ttl = s.p[7];
    p->ip = s;
}

static void behind_headers(struct dec *d, const struct walk *w)
{
    struct sk_packet *p = d->p;
    p->proto = w->next;
    p->payload = w->rest;
    p->ip_hdr_len = (uint16_t)(w->rest.p - p->ip.p);
    if (p->flags & PKT_FRAGMENT)
        return;
    if (w->next == IPPROTO_NONE) {
        if (w->rest.len > 0)
            dec_event(d, DECODE_EV_IPV6_DATA_AFTER_NONE_HEADER);
        return;
    }
    dec_transport(d, w->rest);
}

void dec_ipv6(struct dec *d, struct sk_span s)
{
    if (s.len < IP6_HLEN) {
        dec_invalid(d, DECODE_EV_IPV6_PKT_TOO_SMALL);
        return;
    }
    if (s.p[0] >> 4 != 6) {
        dec_invalid(d, DECODE_EV_IPV6_WRONG_IP_VERSION);
        return;
    }
    if (!d->counted_ip)
        sk_count(d->c, SK_C_IPV6);
    s.len = ip6_length(d, s);
    if (s.len == 0)
        return;
    fixed_header(d, s);
    struct walk w = {.next = s.p[6], .rest = dec_behind(s, IP6_HLEN)};
    walk_headers(d, &w);
    if (!(d->p->flags & PKT_INVALID))
        behind_headers(d, &w);
}
