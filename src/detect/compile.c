/* Rules to runnable rules: kind, order, direction, fast pattern, compiled matches. */
#include <stdlib.h>

#include "decode/decode.h"
#include "detect_internal.h"

static uint8_t protos_of(enum rule_proto p)
{
    switch (p) {
    case RULE_P_TCP:
    case RULE_P_TCP_PKT:
    case RULE_P_TCP_STREAM:
    case RULE_P_HTTP: return 1 << DET_TCP;
    case RULE_P_UDP: return 1 << DET_UDP;
    case RULE_P_ICMP:
    case RULE_P_ICMP4:
    case RULE_P_ICMP6: return 1 << DET_ICMP;
    case RULE_P_SCTP: return 1 << DET_OTHER;
    case RULE_P_IP:
    case RULE_P_IP4:
    case RULE_P_IP6:
    case RULE_P_PKTHDR: break;
    }
    return (1 << DET_NPROTO) - 1;
}

static bool any_addr(const struct rule_addr_spec *s)
{
    return s->npos == 0 && s->nneg == 0;
}

static enum det_kind kind_of(const struct rule *r)
{
    bool payload = false;
    for (unsigned i = 0; i < r->ninspect; i++) {
        if (r->inspect[i].buf != RULE_BUF_PAYLOAD)
            return DET_TX;
        payload = true;
    }
    if (payload)
        return DET_PAYLOAD;
    if (r->proto == RULE_P_HTTP && r->npkt == 0)
        return DET_APP; /* with packet fields or flow bits, which change, it is asked at every packet */
    if (r->npkt == 0 && r->flow == 0 && r->sport->any && r->dport->any && r->proto != RULE_P_PKTHDR)
        return DET_HEADER;
    return DET_PKT;
}

static uint8_t dirs_of(const struct rule *r)
{
    uint8_t dirs = 3;
    if ((r->flow & RULE_FLOW_TOSERVER) && !(r->flow & RULE_FLOW_TOCLIENT))
        dirs = 1;
    else if ((r->flow & RULE_FLOW_TOCLIENT) && !(r->flow & RULE_FLOW_TOSERVER))
        dirs = 2;
    for (unsigned i = 0; i < r->ninspect; i++)
        dirs &= rule_buf_info[r->inspect[i].buf].dir;
    return dirs;
}

/* Fields that only a packet has: a rule on them looks at packets, not at the stream. */
static bool needs_packet_field(enum rule_match_type t)
{
    return t != RM_FLOWBITS && t != RM_STREAM_SIZE && t != RM_APP_PROTO && t != RM_STREAM_EVENT;
}

static bool is_negated(const struct rule_match *m)
{
    switch (m->type) {
    case RM_CONTENT: return m->content.flags & RC_NEGATED;
    case RM_PCRE: return m->pcre.flags & RP_NEGATED;
    case RM_ISDATAAT: return m->isdataat.negated;
    case RM_BYTE_TEST: return m->byte_test.negated;
    default: return false;
    }
}

/* Which of packets and stream a payload rule looks at: an offset or depth may be meant for each packet. */
static void payload_scope(struct det_rule *d)
{
    const struct rule *r = d->r;
    bool packet = r->proto == RULE_P_TCP_PKT || (r->flow & RULE_FLOW_NO_STREAM);
    bool stream = r->proto == RULE_P_TCP_STREAM || (r->flow & RULE_FLOW_ONLY_STREAM);
    bool stream_size = false;
    for (unsigned i = 0; i < r->npkt; i++) {
        packet |= needs_packet_field(r->pkt[i].type);
        stream_size |= r->pkt[i].type == RM_STREAM_SIZE;
    }
    d->stream_only = stream;
    d->need_stream = stream || !packet;
    d->need_packet = packet && !stream;
    for (unsigned i = 0; i < r->ninspect; i++)
        for (unsigned k = 0; k < r->inspect[i].n; k++)
            d->negates |= is_negated(&r->inspect[i].m[k]);
    if (packet || stream)
        return;
    d->need_packet = stream_size;
    for (unsigned i = 0; i < r->ninspect; i++)
        for (unsigned k = 0; k < r->inspect[i].n; k++)
            if (r->inspect[i].m[k].type == RM_CONTENT && (r->inspect[i].m[k].content.flags & (RC_OFFSET | RC_DEPTH)))
                d->need_packet = true;
}

static int compile_inspects(struct detect_set *s, struct det_rule *d, const struct detect_conf *conf,
                            const struct sk_diag_sink *diag)
{
    const struct rule *r = d->r;
    if (!r->ninspect)
        return SK_OK;
    d->prog = sk_arena_zalloc(&s->arena, r->ninspect * sizeof *d->prog);
    if (!d->prog)
        return SK_ENOMEM;
    for (unsigned i = 0; i < r->ninspect; i++) {
        int rc = inspect_compile(&r->inspect[i], &conf->inspect, r->file, diag, &d->prog[i]);
        if (rc != SK_OK)
            return rc;
    }
    return SK_OK;
}

static void free_inspects(struct det_rule *d)
{
    for (unsigned i = 0; d->prog && i < d->r->ninspect; i++)
        if (d->prog[i])
            inspect_free(d->prog[i]);
    d->prog = NULL;
}

static bool events_known(const struct rule *r, const struct detect_conf *conf, const struct sk_diag_sink *diag)
{
    for (unsigned i = 0; i < r->npkt; i++) {
        const struct rule_match *m = &r->pkt[i];
        bool known = true;
        if (m->type == RM_DECODE_EVENT)
            known = decode_event_find(m->name.name) != DECODE_EV_NONE;
        else if (m->type == RM_STREAM_EVENT)
            known = !conf->stream_event_known || conf->stream_event_known(m->name.name);
        if (!known) {
            sk_diag(diag, SK_DIAG_UNSUPPORTED, r->file, m->line, m->col, "sid %u: no event is named %s", r->sid,
                    m->name.name);
            return false;
        }
    }
    return true;
}

static int compile_rule(struct detect_set *s, struct det_rule *d, const struct rule *r, const struct detect_conf *conf,
                        const struct sk_diag_sink *diag)
{
    *d = (struct det_rule){.r = r, .protos = protos_of(r->proto), .kind = (uint8_t)kind_of(r), .dirs = dirs_of(r)};
    d->need_http = r->proto == RULE_P_HTTP || d->kind == DET_TX;
    if (d->kind == DET_TX)
        d->protos = 1 << DET_TCP;
    for (unsigned i = 0; d->kind == DET_PKT && i < r->npkt; i++)
        d->on_decision |= r->pkt[i].type == RM_APP_PROTO;
    for (unsigned i = 0; i < r->npkt; i++)
        d->on_decode_event |= r->pkt[i].type == RM_DECODE_EVENT;
    if (!events_known(r, conf, diag))
        return SK_EINVAL;
    if (d->dirs == 0) {
        sk_diag(diag, SK_DIAG_ERROR, r->file, r->line, 0, "sid %u: no direction has all the buffers that it names",
                r->sid);
        return SK_EINVAL;
    }
    int rc = compile_inspects(s, d, conf, diag);
    if (rc == SK_OK && d->kind == DET_PAYLOAD)
        payload_scope(d);
    if (rc == SK_OK)
        rc = det_fast_pattern(s, d);
    if (rc != SK_OK)
        free_inspects(d);
    return rc;
}

static bool sets_bits(const struct rule *r, bool want_set)
{
    for (unsigned i = 0; i < r->npkt; i++) {
        if (r->pkt[i].type != RM_FLOWBITS)
            continue;
        enum rule_flowbits_op op = r->pkt[i].flowbits.op;
        bool test = op == FB_ISSET || op == FB_ISNOTSET;
        if (test != want_set)
            return true;
    }
    return false;
}

/* Before all others the rules that set what others test; those that do both in between. */
static int flowbit_order(const struct rule *r)
{
    bool sets = sets_bits(r, true), tests = sets_bits(r, false);
    if (sets)
        return tests ? 1 : 0;
    return tests ? 2 : 3;
}

static int action_order(enum rule_action a)
{
    switch (a) {
    case RULE_PASS: return 0;
    case RULE_DROP: return 1;
    case RULE_REJECT:
    case RULE_REJECT_SRC:
    case RULE_REJECT_DST:
    case RULE_REJECT_BOTH: return 2;
    case RULE_ALERT: break;
    }
    return 3;
}

/* Order of evaluation and of alerts: action, flow bits, priority, place in the files. As Suricata's. */
static int cmp_rank(const void *a, const void *b)
{
    const struct rule *x = ((const struct det_rule *)a)->r, *y = ((const struct det_rule *)b)->r;
    int c = action_order(x->action) - action_order(y->action);
    if (c == 0)
        c = flowbit_order(x) - flowbit_order(y);
    if (c == 0)
        c = (int)x->priority - (int)y->priority;
    return c ? c : (x->index > y->index) - (x->index < y->index);
}

static bool same_buffer(const struct rule_inspect *a, const struct rule_inspect *b)
{
    return a->buf == b->buf && a->nxf == b->nxf && memcmp(a->xf, b->xf, a->nxf) == 0;
}

/* A transaction remembers DET_MAX_SLOTS buffers that have been scanned: rules on further ones run without prefilter. */
static void limit_slots(struct detect_set *s)
{
    const struct rule_inspect *slot[DET_MAX_SLOTS];
    unsigned n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        struct det_rule *d = &s->rules[i];
        if (d->kind != DET_TX || !d->fp)
            continue;
        const struct rule_inspect *in = &d->r->inspect[d->fp_inspect];
        unsigned k = 0;
        while (k < n && !same_buffer(slot[k], in))
            k++;
        if (k == DET_MAX_SLOTS)
            d->fp = NULL;
        else if (k == n)
            slot[n++] = in;
    }
}

/* With the classes known: which address tests the group saves, and which rules are found by address. */
static void place_rules(struct detect_set *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct det_rule *d = &s->rules[i];
        const struct rule *r = d->r;
        bool src_class = any_addr(r->src) || det_addr_class_spec(&s->addr, r->src) >= 0;
        bool dst_class = any_addr(r->dst) || det_addr_class_spec(&s->addr, r->dst) >= 0;
        d->src_exact = src_class && !r->bidir;
        d->dst_exact = dst_class && !r->bidir;
        if (r->bidir || (d->kind != DET_HEADER && d->kind != DET_PKT))
            continue;
        d->by_addr_src = !src_class && r->src->npos > 0;
        d->by_addr_dst = !d->by_addr_src && !dst_class && r->dst->npos > 0;
        if (d->by_addr_src || d->by_addr_dst) { /* no group has looked at the other address */
            d->src_exact = any_addr(r->src);
            d->dst_exact = any_addr(r->dst);
        }
    }
}

static void count_slow(struct detect_set *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (!s->rules[i].fp && (s->rules[i].kind == DET_PAYLOAD || s->rules[i].kind == DET_TX))
            s->slow++;
}

static int compile_rules(struct detect_set *s, const struct detect_conf *conf, const struct sk_diag_sink *diag)
{
    s->rules = calloc(s->src->n + 1, sizeof *s->rules);
    if (!s->rules)
        return SK_ENOMEM;
    for (uint32_t i = 0; i < s->src->n; i++) {
        int rc = compile_rule(s, &s->rules[s->n], s->src->rules[i], conf, diag);
        if (rc == SK_ENOMEM)
            return rc;
        if (rc == SK_OK)
            s->n++;
        else
            s->rejected++;
    }
    qsort(s->rules, s->n, sizeof *s->rules, cmp_rank);
    limit_slots(s);
    return SK_OK;
}

int detect_compile(const struct rule_set *rules, const struct detect_conf *conf, const struct sk_diag_sink *diag,
                   struct detect_set **out)
{
    static uint64_t stamps;
    struct detect_set *s = calloc(1, sizeof *s);
    if (!s)
        return SK_ENOMEM;
    sk_arena_init(&s->arena, 1 << 16, 0);
    s->src = rules;
    s->stamp = __atomic_add_fetch(&stamps, 1, __ATOMIC_RELAXED);
    int rc = compile_rules(s, conf, diag);
    if (rc == SK_OK)
        rc = det_addr_classes_build(s);
    if (rc == SK_OK)
        rc = det_port_classes_build(s);
    if (rc == SK_OK) {
        place_rules(s);
        count_slow(s);
        rc = det_addr_index_build(s, false);
    }
    if (rc == SK_OK)
        rc = det_addr_index_build(s, true);
    if (rc == SK_OK)
        rc = det_groups_build(s, conf->threads);
    if (rc != SK_OK) {
        detect_set_free(s);
        return rc;
    }
    *out = s;
    return SK_OK;
}

void detect_set_free(struct detect_set *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; s->rules && i < s->n; i++)
        free_inspects(&s->rules[i]);
    free(s->rules);
    det_groups_free(s);
    sk_arena_free(&s->arena);
    free(s);
}

void detect_set_stats(const struct detect_set *s, struct detect_stats *st)
{
    *st = (struct detect_stats){.rules = s->n,
                                .rejected = s->rejected,
                                .slow = s->slow,
                                .groups = s->ngroups,
                                .databases = s->distinct,
                                .memory = s->memory};
}

const struct rule_set *detect_set_rules(const struct detect_set *s)
{
    return s->src;
}
