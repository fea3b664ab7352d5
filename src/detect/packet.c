/* Group look-up, and rules on the packet itself. */
#include <netinet/in.h>

#include "detect_internal.h"

static enum det_proto proto_of(uint8_t ipproto)
{
    switch (ipproto) {
    case IPPROTO_TCP: return DET_TCP;
    case IPPROTO_UDP: return DET_UDP;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6: return DET_ICMP;
    default: return DET_OTHER;
    }
}

static const struct det_rule_list *listed(const struct det_addr_map *m, const struct det_rule_list **lists,
                                          const struct sk_addr *a)
{
    uint32_t v = m->n ? det_addr_map_find(m, a) : 0;
    return v ? lists[v] : NULL;
}

static void look_up(const struct detect_set *s, struct detect_flow *df, const struct detect_input *in, int dir)
{
    const struct sk_addr *src = dir == in->dir ? in->src : in->dst, *dst = dir == in->dir ? in->dst : in->src;
    uint16_t server_port = in->dir == 0 ? in->dport : in->sport;
    enum det_proto proto = proto_of(in->proto);
    df->group[dir] = det_group_find(s, proto, dir, src, dst, server_port);
    df->addr_rules[dir][0] = listed(&s->by_src, s->src_lists, src);
    df->addr_rules[dir][1] = listed(&s->by_dst, s->dst_lists, dst);
}

void detect_begin(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in)
{
    t->nalerts = t->ntold = 0;
    t->packet_passed = false;
    if (!t->set)
        return;
    if (!df || (df->looked_up && df->stamp == t->set->stamp))
        return;
    if (df->stamp != t->set->stamp) {
        df->nbits = 0; /* bit numbers belong to the set */
        df->app_done = 0;
        df->renewed = df->stamp ? 3 : 0;
    }
    look_up(t->set, df, in, 0);
    look_up(t->set, df, in, 1);
    df->set = t->set;
    df->stamp = t->set->stamp;
    df->looked_up = true;
}

void detect_readdress(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in)
{
    if (!t->set || !df->looked_up || df->stamp != t->set->stamp)
        return;
    look_up(t->set, df, in, 0);
    look_up(t->set, df, in, 1);
    df->renewed = 3;
}

static bool payload_matches(struct detect_thread *t, const struct det_rule *d, const struct detect_input *in)
{
    struct inspect_input ii = {.buf = in->p->payload, .at_start = true, .complete = true};
    uint64_t vars[RULE_MAX_VARS] = {0};
    for (unsigned i = 0; i < d->r->ninspect; i++)
        if (!inspect_run(d->prog[i], t->inspect, &ii, vars))
            return false;
    return true;
}

/* May this rule look at this packet's payload, or has the stream it? */
static bool payload_applies(const struct det_rule *d, const struct detect_input *in)
{
    if (d->stream_only)
        return false;
    if (in->proto != IPPROTO_TCP || !d->need_stream)
        return true;
    return d->need_packet || !in->in_stream;
}

static bool packet_rule_matches(struct detect_thread *t, const struct det_rule *d, struct detect_flow *df,
                                const struct detect_input *in)
{
    bool again = df && (df->renewed >> in->dir & 1);
    if (d->kind == DET_HEADER && in->has_flow && !in->first && !again && !in->quoted)
        return false;
    if (d->on_decision && !in->app_decided)
        return false;
    if (d->kind == DET_PAYLOAD && !payload_applies(d, in))
        return false;
    if (!((d->protos >> proto_of(in->proto)) & 1) || !((d->dirs >> in->dir) & 1))
        return false;
    if (!det_rule_header(d, df, in))
        return false;
    return d->kind != DET_PAYLOAD || payload_matches(t, d, in);
}

static void add_list(struct detect_thread *t, const struct det_rule_list *l)
{
    for (uint32_t i = 0; l && i < l->n; i++)
        det_candidate(t, l->rules[i]);
}

static void scan_payload(struct detect_thread *t, const struct detect_group *g, const struct detect_input *in)
{
    struct sk_span pl = in->p->payload;
    if (g->pkt.bound && pl.len > g->pkt.bound)
        pl.len = g->pkt.bound;
    det_scan(t, &g->pkt, pl, 0);
    if (!in->in_stream) /* in no stream: the rules on streams see it here */
        det_scan(t, &g->stream, in->p->payload, 0);
}

/* Rules on the application protocol alone, once it is known. */
static void app_rules(struct detect_thread *t, struct detect_flow *df, const struct detect_group *g,
                      const struct detect_input *in)
{
    if (!g->napp || in->app != DETECT_APP_HTTP || (df->app_done >> in->dir & 1))
        return;
    df->app_done |= (uint8_t)(1 << in->dir);
    for (uint32_t i = 0; i < g->napp; i++) {
        const struct det_rule *d = &t->set->rules[g->app_rules[i]];
        if (!det_rule_header(d, df, in))
            continue;
        det_rule_effects(t, d, df);
        det_alert(t, g->app_rules[i], false, false, 0, (struct sk_span){0});
    }
}

void detect_packet(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in)
{
    if (!t->set || !in->p || (df && df->passed))
        return;
    struct detect_flow *look = df;
    if (!df || in->quoted) {
        look = &t->nof;
        look_up(t->set, look, in, in->dir);
    }
    const struct detect_group *g = look->group[in->dir];
    if (in->p->payload.len)
        scan_payload(t, g, in);
    for (uint32_t i = 0; i < g->npkt; i++)
        det_candidate(t, g->pkt_rules[i]);
    add_list(t, look->addr_rules[in->dir][0]);
    add_list(t, look->addr_rules[in->dir][1]);
    uint32_t n = t->ncand ? det_take_candidates(t) : 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rank = t->cands[i];
        const struct det_rule *d = &t->set->rules[rank];
        if (!packet_rule_matches(t, d, df, in))
            continue;
        det_rule_effects(t, d, df);
        det_alert(t, rank, false, false, 0,
                  d->kind == DET_PAYLOAD ? inspect_context(t->inspect, DETECT_EVIDENCE_MAX) : (struct sk_span){0});
    }
    if (!df || in->quoted)
        return;
    df->renewed &= (uint8_t) ~(1u << in->dir);
    app_rules(t, df, g, in);
}
