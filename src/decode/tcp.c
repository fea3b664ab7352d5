/* TCP (RFC 9293) and its options (RFC 7323, RFC 2018, RFC 7413). */
#include "internal.h"

enum { TCP_HLEN = 20 };
enum {
    OPT_EOL = 0,
    OPT_NOP = 1,
    OPT_MSS = 2,
    OPT_WSCALE = 3,
    OPT_SACKOK = 4,
    OPT_SACK = 5,
    OPT_TS = 8,
    OPT_MD5 = 19, /* RFC 2385 */
    OPT_AO = 29,  /* RFC 5925 */
    OPT_TFO = 34,
    OPT_EXP = 254,
};
#define TFO_EXP_MAGIC 0xf989 /* experimental option of RFC 7413 before it had its own number */

static void opt_seen(struct dec *d, bool *seen)
{
    if (*seen)
        dec_event(d, DECODE_EV_TCP_OPT_DUPLICATE);
    *seen = true;
}

static bool length_ok(uint8_t kind, uint8_t len)
{
    switch (kind) {
    case OPT_MSS: return len == 4;
    case OPT_WSCALE: return len == 3;
    case OPT_SACKOK: return len == 2;
    case OPT_SACK: return len >= 10 && (len - 2) % 8 == 0;
    case OPT_TS: return len == 10;
    case OPT_MD5: return len == 18;
    case OPT_AO: return len >= 4;
    default: return true;
    }
}

/* o: kind, length, value; the length is right for the kind. */
static void take_option(struct dec *d, const uint8_t *o)
{
    struct sk_packet *p = d->p;
    switch (o[0]) {
    case OPT_MSS:
        opt_seen(d, &p->tcp.has_mss);
        p->tcp.mss = dec_be16(o + 2);
        break;
    case OPT_WSCALE:
        opt_seen(d, &p->tcp.has_wscale);
        p->tcp.wscale = o[2] > 14 ? 14 : o[2]; /* RFC 7323 section 2.3 */
        break;
    case OPT_SACKOK: opt_seen(d, &p->tcp.sack_ok); break;
    case OPT_TS:
        opt_seen(d, &p->tcp.has_ts);
        p->tcp.tsval = dec_be32(o + 2);
        p->tcp.tsecr = dec_be32(o + 6);
        break;
    case OPT_MD5:
    case OPT_AO: p->tcp.has_sig = true; break;
    case OPT_TFO: opt_seen(d, &p->tcp.has_tfo); break;
    case OPT_EXP: p->tcp.has_tfo |= o[1] >= 4 && dec_be16(o + 2) == TFO_EXP_MAGIC; break;
    default: break;
    }
}

/* A bad option ends the list; the segment stays good, as in Linux (tcp_parse_options). */
static void tcp_options(struct dec *d, const uint8_t *o, uint32_t left)
{
    while (left > 0 && o[0] != OPT_EOL) {
        if (o[0] == OPT_NOP) {
            o++;
            left--;
            continue;
        }
        if (left < 2 || o[1] < 2 || o[1] > left || !length_ok(o[0], o[1])) {
            dec_event(d, DECODE_EV_TCP_OPT_INVALID_LEN);
            return;
        }
        take_option(d, o);
        left -= o[1];
        o += o[1];
    }
}

void dec_tcp(struct dec *d, struct sk_span s)
{
    struct sk_packet *p = d->p;
    if (s.len < TCP_HLEN) {
        dec_invalid(d, DECODE_EV_TCP_PKT_TOO_SMALL);
        return;
    }
    uint8_t hlen = (uint8_t)(s.p[12] >> 4 << 2);
    if (hlen > s.len) {
        dec_invalid(d, DECODE_EV_TCP_HLEN_TOO_SMALL);
        return;
    }
    if (hlen < TCP_HLEN) {
        dec_invalid(d, DECODE_EV_TCP_INVALID_OPTLEN);
        return;
    }
    p->flags |= PKT_TCP;
    sk_count(d->c, SK_C_TCP);
    p->sport = dec_be16(s.p);
    p->dport = dec_be16(s.p + 2);
    p->tcp.seq = dec_be32(s.p + 4);
    p->tcp.ack = dec_be32(s.p + 8);
    p->tcp.hlen = hlen;
    p->tcp.flags = s.p[13];
    p->tcp.win = dec_be16(s.p + 14);
    p->tcp.urg = dec_be16(s.p + 18);
    p->l4 = s;
    p->payload = dec_behind(s, hlen);
    tcp_options(d, s.p + TCP_HLEN, (uint32_t)(hlen - TCP_HLEN));
    if (dec_verify_csum(d) && !csum_ok_pseudo(p, s))
        dec_bad_csum(d);
}
