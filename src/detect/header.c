/* The tests of a rule that look at no bytes: protocol, addresses, ports, flow, packet fields, flow bits. */
#include <netinet/in.h>
#include <strings.h>

#include "decode/decode.h"
#include "detect_internal.h"

static bool has_ports(const struct detect_input *in)
{
    return in->proto == IPPROTO_TCP || in->proto == IPPROTO_UDP || in->proto == IPPROTO_SCTP;
}

static bool ports_match(const struct rule *r, uint16_t sport, uint16_t dport)
{
    return rule_port_match(r->sport, sport) && rule_port_match(r->dport, dport);
}

static bool endpoints_match(const struct det_rule *d, const struct detect_input *in)
{
    const struct rule *r = d->r;
    bool ports = r->sport->any && r->dport->any;
    if (!ports && !has_ports(in))
        return false;
    if ((d->src_exact || rule_addr_match(r->src, in->src)) && (d->dst_exact || rule_addr_match(r->dst, in->dst)) &&
        (ports || ports_match(r, in->sport, in->dport)))
        return true;
    return r->bidir && rule_addr_match(r->src, in->dst) && rule_addr_match(r->dst, in->src) &&
           (ports || ports_match(r, in->dport, in->sport));
}

static bool proto_match(const struct rule *r, const struct detect_input *in)
{
    switch (r->proto) {
    case RULE_P_IP4: return sk_addr_is_v4(in->src);
    case RULE_P_IP6: return !sk_addr_is_v4(in->src);
    case RULE_P_ICMP4: return in->proto == IPPROTO_ICMP;
    case RULE_P_ICMP6: return in->proto == IPPROTO_ICMPV6;
    case RULE_P_SCTP: return in->proto == IPPROTO_SCTP;
    default: return true;
    }
}

static bool flow_match(const struct rule *r, const struct detect_input *in)
{
    uint16_t f = r->flow;
    if (!f)
        return true;
    if ((f & (RULE_FLOW_TOSERVER | RULE_FLOW_TOCLIENT)) && !in->has_flow)
        return false;
    if ((f & RULE_FLOW_ESTABLISHED) && !in->established)
        return false;
    if ((f & RULE_FLOW_NOT_ESTABLISHED) && in->established)
        return false;
    bool frag = in->p && (in->p->flags & (PKT_FRAGMENT | PKT_REASSEMBLED));
    if ((f & RULE_FLOW_ONLY_FRAG) && !frag)
        return false;
    return !((f & RULE_FLOW_NO_FRAG) && frag);
}

static bool tcp_flags_match(const struct rule_tcp_flags *f, uint8_t have)
{
    have &= (uint8_t)~f->ignore;
    switch (f->mod) {
    case '+': return (have & f->flags) == f->flags;
    case '*': return (have & f->flags) != 0;
    case '!': return (have & f->flags) != f->flags;
    default: return have == f->flags;
    }
}

static bool fragbits_match(const struct rule_fragbits *f, const struct sk_packet *p)
{
    uint8_t have = (uint8_t)((p->frag_more ? 1 : 0) | (p->ip_df ? 2 : 0) | (p->ip_rf ? 4 : 0));
    switch (f->mod) {
    case '+': return (have & f->bits) == f->bits;
    case '*': return (have & f->bits) != 0;
    case '!': return (have & f->bits) == 0;
    default: return have == f->bits;
    }
}

static bool stream_size_match(const struct rule_stream_size *s, const struct detect_input *in)
{
    struct rule_num n = {.op = s->op, .a = s->size};
    bool client = rule_num_match(&n, (int64_t)in->stream_bytes[0]),
         server = rule_num_match(&n, (int64_t)in->stream_bytes[1]);
    switch (s->which) {
    case 0: return server;
    case 1: return client;
    case 2: return client && server;
    default: return client || server;
    }
}

static bool bit_is_set(const struct detect_flow *df, uint16_t bit)
{
    for (unsigned i = 0; i < df->nbits; i++)
        if (df->bits[i] == bit)
            return true;
    return false;
}

static bool flowbits_match(const struct rule_flowbits *fb, const struct detect_flow *df)
{
    if (fb->op != FB_ISSET && fb->op != FB_ISNOTSET)
        return true;
    bool want = fb->op == FB_ISSET; /* of several, one is enough either way; without a flow there is nothing to ask */
    for (unsigned i = 0; df && i < fb->nbits; i++)
        if (bit_is_set(df, fb->bits[i]) == want)
            return true;
    return false;
}

static bool decode_event_match(const char *name, const struct sk_packet *p)
{
    if (!p->nevents)
        return false;
    enum decode_event ev = decode_event_find(name);
    for (unsigned i = 0; i < p->nevents; i++)
        if (p->events[i] == ev)
            return true;
    return false;
}

static bool stream_event_match(const char *name, const struct detect_input *in)
{
    for (unsigned i = 0; i < in->nstream_events; i++)
        if (strcmp(in->stream_event_name(in->stream_events[i]), name) == 0)
            return true;
    return false;
}

/* `http` means either version, `http1` the one that is named http elsewhere. */
static bool same_app(const char *rule, const char *app)
{
    if (strcasecmp(rule, "http1") == 0)
        return strcasecmp(app, "http") == 0;
    if (strcasecmp(rule, "http") == 0)
        return strcasecmp(app, "http") == 0 || strcasecmp(app, "http2") == 0;
    return strcasecmp(rule, app) == 0;
}

/* Direction 0: either of the two; 1: to server; 2: to client; 3: the one finally settled on. */
static bool app_proto_match(const struct rule_name *n, const struct detect_input *in)
{
    bool match = false, known = false;
    for (unsigned i = 0; i < 3; i++) {
        bool asked = n->dir == 0 || n->dir == 3 ? i == 0 : i == n->dir;
        if (!asked || !in->app_name[i])
            continue;
        known = true;
        match |= same_app(n->name, in->app_name[i]);
    }
    if (!known)
        return false;
    return match != n->negated;
}

static uint16_t ipopt_bit(const char *name)
{
    static const struct {
        const char *name;
        uint16_t bit;
    } opts[] = {{"rr", IP4_OPT_RR},     {"eol", IP4_OPT_EOL},   {"nop", IP4_OPT_NOP},   {"ts", IP4_OPT_TS},
                {"sec", IP4_OPT_SEC},   {"esec", IP4_OPT_ESEC}, {"lsrr", IP4_OPT_LSRR}, {"satid", IP4_OPT_SATID},
                {"ssrr", IP4_OPT_SSRR}, {"qs", IP4_OPT_QS}};
    for (unsigned i = 0; i < sizeof opts / sizeof opts[0]; i++)
        if (strcasecmp(name, opts[i].name) == 0)
            return opts[i].bit;
    return UINT16_MAX; /* "any" */
}

static bool num_match(const struct rule_match *m, int64_t x)
{
    return rule_num_match(&m->num.n, x) != m->num.negated;
}

static bool value_match(const struct rule_match *m, uint32_t x)
{
    return (x == m->value.value) != m->value.negated;
}

static bool tcp_field_match(const struct rule_match *m, const struct sk_packet *p)
{
    if (!(p->flags & PKT_TCP))
        return false;
    switch (m->type) {
    case RM_TCP_FLAGS: return tcp_flags_match(&m->tcp_flags, p->tcp.flags);
    case RM_TCP_SEQ: return value_match(m, p->tcp.seq);
    case RM_TCP_ACK: return value_match(m, p->tcp.ack);
    case RM_TCP_WINDOW: return value_match(m, p->tcp.win);
    case RM_TCP_MSS: return p->tcp.has_mss && num_match(m, p->tcp.mss);
    default: return false;
    }
}

static bool icmp_field_match(const struct rule_match *m, const struct sk_packet *p)
{
    if (!(p->flags & (PKT_ICMP4 | PKT_ICMP6)))
        return false;
    switch (m->type) {
    case RM_ITYPE: return num_match(m, p->icmp.type);
    case RM_ICODE: return num_match(m, p->icmp.code);
    case RM_ICMP_ID: return value_match(m, p->icmp.id);
    case RM_ICMP_SEQ: return value_match(m, p->icmp.seq);
    default: return false;
    }
}

static bool ip_field_match(const struct rule_match *m, const struct sk_packet *p)
{
    switch (m->type) {
    case RM_DSIZE: return !(p->flags & PKT_FRAGMENT) && num_match(m, p->payload.len);
    case RM_TTL: return num_match(m, p->ttl);
    case RM_IP_ID: return (p->flags & PKT_IPV4) && value_match(m, p->ip_id);
    case RM_TOS: return (p->flags & PKT_IPV4) && num_match(m, p->tos);
    case RM_IP_PROTO: return num_match(m, p->proto);
    case RM_SAMEIP: return sk_addr_eq(&p->src, &p->dst);
    case RM_FRAGBITS: return (p->flags & PKT_IPV4) && fragbits_match(&m->fragbits, p);
    case RM_FRAGOFFSET: return num_match(m, p->frag_offset / 8);
    case RM_IPOPTS: return (p->ip4_opts & ipopt_bit(m->name.name)) != 0;
    case RM_DECODE_EVENT: return decode_event_match(m->name.name, p);
    default: return false;
    }
}

static bool field_match(const struct rule_match *m, const struct detect_flow *df, const struct detect_input *in)
{
    switch (m->type) {
    case RM_FLOWBITS: return flowbits_match(&m->flowbits, df);
    case RM_STREAM_SIZE: return in->has_flow && in->proto == IPPROTO_TCP && stream_size_match(&m->stream_size, in);
    case RM_STREAM_EVENT: return stream_event_match(m->name.name, in);
    case RM_APP_PROTO: return app_proto_match(&m->name, in);
    case RM_TCP_FLAGS:
    case RM_TCP_SEQ:
    case RM_TCP_ACK:
    case RM_TCP_WINDOW:
    case RM_TCP_MSS: return in->p && tcp_field_match(m, in->p);
    case RM_ITYPE:
    case RM_ICODE:
    case RM_ICMP_ID:
    case RM_ICMP_SEQ: return in->p && icmp_field_match(m, in->p);
    default: return in->p && ip_field_match(m, in->p);
    }
}

/* Of a packet that is not IP, or does not decode, only its decoder events are to be trusted. */
static bool is_sound_ip(const struct detect_input *in)
{
    return !in->p || ((in->p->flags & (PKT_IPV4 | PKT_IPV6)) && !(in->p->flags & PKT_INVALID));
}

bool det_rule_header(const struct det_rule *d, const struct detect_flow *df, const struct detect_input *in)
{
    if (d->need_http && in->app != DETECT_APP_HTTP)
        return false;
    if (!d->on_decode_event && !is_sound_ip(in))
        return false;
    const struct rule *r = d->r;
    if (!flow_match(r, in) || !proto_match(r, in))
        return false;
    for (unsigned i = 0; i < r->npkt; i++)
        if (!field_match(&r->pkt[i], df, in))
            return false;
    return endpoints_match(d, in);
}

static void bit_set(struct detect_thread *t, struct detect_flow *df, uint16_t bit)
{
    if (bit_is_set(df, bit))
        return;
    if (df->nbits == DETECT_MAX_FLOWBITS)
        sk_count(t->c, SK_C_DETECT_FLOWBIT_FULL);
    else
        df->bits[df->nbits++] = bit;
}

static void bit_clear(struct detect_flow *df, uint16_t bit)
{
    for (unsigned i = 0; i < df->nbits; i++)
        if (df->bits[i] == bit)
            df->bits[i] = df->bits[--df->nbits];
}

void det_rule_effects(struct detect_thread *t, const struct det_rule *d, struct detect_flow *df)
{
    for (unsigned i = 0; df && i < d->r->npkt; i++) {
        if (d->r->pkt[i].type != RM_FLOWBITS)
            continue;
        const struct rule_flowbits *fb = &d->r->pkt[i].flowbits;
        for (unsigned k = 0; k < fb->nbits; k++) {
            bool clear = fb->op == FB_UNSET || (fb->op == FB_TOGGLE && bit_is_set(df, fb->bits[k]));
            if (clear)
                bit_clear(df, fb->bits[k]);
            else if (fb->op == FB_SET || fb->op == FB_TOGGLE)
                bit_set(t, df, fb->bits[k]);
        }
    }
}
