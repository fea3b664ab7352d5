/* The alert queue of a packet, and what becomes of it: pass rules, detection filters, thresholds, suppression. */
#include "detect_internal.h"

/* A packet may be concluded several times, at each step of a transaction that it brings: a rule on its bytes that has
 * matched in the packet does not match once more in the stream. */
static bool is_told(const struct detect_thread *t, uint32_t rank)
{
    for (uint32_t i = 0; i < t->ntold; i++)
        if (t->told[i] == rank)
            return true;
    return false;
}

static void remember_told(struct detect_thread *t)
{
    for (uint32_t i = 0; i < t->nalerts && t->ntold < DETECT_MAX_ALERTS; i++)
        if (!t->alerts[i].has_tx)
            t->told[t->ntold++] = t->alert_rank[i];
}

static bool queued(const struct detect_thread *t, uint32_t rank, bool has_tx, uint64_t tx_id)
{
    for (uint32_t i = 0; i < t->nalerts; i++)
        if (t->alert_rank[i] == rank && t->alerts[i].has_tx == has_tx && (!has_tx || t->alerts[i].tx_id == tx_id))
            return true;
    return false;
}

/* A full queue keeps the best ranks: many alerts must not push out a pass or drop rule that is met later. */
static uint32_t queue_place(struct detect_thread *t, uint32_t rank)
{
    if (t->nalerts < t->conf.max_alerts)
        return t->nalerts++;
    sk_count(t->c, SK_C_DETECT_ALERT_OVERFLOW);
    uint32_t worst = 0;
    for (uint32_t i = 1; i < t->nalerts; i++)
        if (t->alert_rank[i] > t->alert_rank[worst])
            worst = i;
    return t->alert_rank[worst] > rank ? worst : DET_NONE;
}

void det_alert(struct detect_thread *t, uint32_t rank, bool stream, bool has_tx, uint64_t tx_id,
               struct sk_span evidence)
{
    if (t->packet_passed || queued(t, rank, has_tx, tx_id) || (!has_tx && is_told(t, rank)))
        return;
    uint32_t at = queue_place(t, rank);
    if (at == DET_NONE)
        return;
    struct detect_alert *a = &t->alerts[at];
    t->alert_rank[at] = rank;
    a->rule = t->set->rules[rank].r;
    a->noalert = a->rule->noalert;
    a->stream = stream;
    a->has_tx = has_tx;
    a->tx_id = tx_id;
    a->drop = false;
    uint32_t n = evidence.len < DETECT_EVIDENCE_MAX ? evidence.len : DETECT_EVIDENCE_MAX;
    a->evidence_len = (uint16_t)n;
    if (n)
        memcpy(a->evidence, evidence.p, n);
}

static void sort_alerts(struct detect_thread *t)
{
    for (uint32_t i = 1; i < t->nalerts; i++) {
        for (uint32_t k = i; k > 0 && t->alert_rank[k - 1] > t->alert_rank[k]; k--) {
            uint32_t r = t->alert_rank[k];
            struct detect_alert a = t->alerts[k];
            t->alert_rank[k] = t->alert_rank[k - 1];
            t->alerts[k] = t->alerts[k - 1];
            t->alert_rank[k - 1] = r;
            t->alerts[k - 1] = a;
        }
    }
}

static bool is_suppressed(const struct rule *r, const struct detect_input *in)
{
    for (unsigned i = 0; i < r->nsuppress; i++) {
        const struct rule_suppress *s = &r->suppress[i];
        if (!s->ip)
            return true;
        bool src = rule_addr_match(s->ip, in->src), dst = rule_addr_match(s->ip, in->dst);
        if ((s->track == RULE_BY_SRC && src) || (s->track == RULE_BY_DST && dst) ||
            (s->track == RULE_BY_BOTH && (src || dst)))
            return true;
    }
    return false;
}

static enum det_threshold_result limits(struct detect_thread *t, const struct rule *r, const struct detect_input *in)
{
    if (r->det_filter.type != RULE_TH_NONE) { /* first: below its rate the rule has not matched at all */
        enum det_threshold_result f = det_threshold_check(t->th, r, &r->det_filter, in, t->c);
        if (f != DET_TH_ALERT)
            return DET_TH_NOTHING;
    }
    if (is_suppressed(r, in))
        return DET_TH_SILENT;
    if (r->threshold.type == RULE_TH_NONE)
        return DET_TH_ALERT;
    return det_threshold_check(t->th, r, &r->threshold, in, t->c);
}

/*
 * Does the action of a match hold for the whole flow? Yes when the rule is about the flow (addresses and ports alone,
 * its protocol, its stream or transactions); a match in one packet is about that packet.
 */
static bool is_of_flow(const struct det_rule *d, const struct detect_alert *a)
{
    switch ((enum det_kind)d->kind) {
    case DET_PKT: return d->r->npkt == 0 && d->r->flow == 0;
    case DET_PAYLOAD: return a->stream;
    default: return true;
    }
}

/* A pass rule matched: it takes the packet, and the flow when it looked at the flow's data. NULL: none did. */
static const struct detect_alert *take_pass(struct detect_thread *t, struct detect_flow *df)
{
    for (uint32_t i = 0; i < t->nalerts; i++) {
        if (t->alerts[i].rule->action != RULE_PASS)
            continue;
        if (df && is_of_flow(&t->set->rules[t->alert_rank[i]], &t->alerts[i]))
            df->passed = true;
        t->packet_passed = true;
        return &t->alerts[i];
    }
    return NULL;
}

/* Limits one match, and puts it among the alerts. */
static void take_match(struct detect_thread *t, struct detect_alert *a, uint32_t rank, const struct detect_input *in,
                       unsigned *n)
{
    enum det_threshold_result r = limits(t, a->rule, in);
    if (r != DET_TH_ALERT)
        sk_count(t->c, SK_C_DETECT_SUPPRESSED);
    if (r == DET_TH_NOTHING)
        return;
    a->drop = a->rule->action != RULE_ALERT && a->rule->action != RULE_PASS;
    if (a->drop && !t->drop_rule)
        t->drop_rule = a->rule;
    t->drop_flow |= a->drop && is_of_flow(&t->set->rules[rank], a);
    if (r == DET_TH_SILENT || a->noalert)
        return;
    sk_count(t->c, SK_C_DETECT_ALERTS);
    t->out[(*n)++] = *a;
}

const struct detect_alert *detect_end(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in,
                                      unsigned *n, bool *drop)
{
    *n = 0;
    *drop = false;
    t->drop_rule = NULL;
    t->drop_flow = false;
    if (!t->nalerts)
        return t->out;
    sort_alerts(t);
    const struct detect_alert *pass = take_pass(t, df);
    if (pass && pass->rule->pass_alert) {
        struct detect_alert a = *pass;
        take_match(t, &a, t->alert_rank[pass - t->alerts], in, n);
    }
    for (uint32_t i = 0; i < t->nalerts && !pass; i++)
        take_match(t, &t->alerts[i], t->alert_rank[i], in, n);
    *drop = t->drop_rule != NULL;
    remember_told(t);
    t->nalerts = 0;
    return t->out;
}

bool detect_has_matches(const struct detect_thread *t)
{
    return t->nalerts > 0;
}

const struct rule *detect_drop_rule(const struct detect_thread *t)
{
    return t->drop_rule;
}

bool detect_drops_flow(const struct detect_thread *t)
{
    return t->drop_flow;
}

unsigned detect_flowbit_names(const struct detect_flow *df, const char **names, unsigned max)
{
    if (!df->set)
        return 0;
    unsigned n = df->nbits < max ? df->nbits : max;
    for (unsigned i = 0; i < n; i++)
        names[i] = df->set->src->bit_names[df->bits[i]];
    return n;
}
