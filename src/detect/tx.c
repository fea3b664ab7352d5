/*
 * Transactions. Each buffer is scanned once when it is there (bodies as they grow); a rule whose pattern is found
 * becomes a node of the transaction, and stays under way until all its buffers have matched, one cannot match any more,
 * or the direction ends.
 */
#include "detect_internal.h"

enum part_result { PART_NO, PART_LATER, PART_YES };

static struct detect_tx_node *node_get(struct detect_thread *t)
{
    struct detect_tx_node *n = t->free_node;
    if (n)
        t->free_node = n->next;
    else if (t->node_used < t->conf.max_tx_nodes)
        n = &t->node_slab[t->node_used++];
    return n;
}

void detect_tx_release(struct detect_thread *t, struct detect_tx *dt)
{
    while (dt->nodes) {
        struct detect_tx_node *n = dt->nodes;
        dt->nodes = n->next;
        n->next = t->free_node;
        t->free_node = n;
    }
}

/* Nodes are sorted by rank, then direction: from *at on, the place where (rank, dir) stands or belongs. */
static struct detect_tx_node **node_place(struct detect_tx_node **at, uint32_t rank, int dir)
{
    while (*at && ((*at)->rank < rank || ((*at)->rank == rank && (*at)->dir < dir)))
        at = &(*at)->next;
    return at;
}

static unsigned body_index(enum rule_buf buf)
{
    return buf == RULE_BUF_FILE_DATA ? 1 : 0;
}

/* Applies the transforms of a slot or inspect; false: the result does not fit and counts as absent. */
static bool transform(struct detect_thread *t, const uint8_t *xf, unsigned nxf, struct inspect_input *in)
{
    if (!nxf)
        return true;
    int n = rule_transform_apply(xf, nxf, in->buf, t->xf_buf, t->xf_cap);
    if (n < 0)
        return false;
    in->buf = sk_span_of(t->xf_buf, (uint32_t)n);
    return true;
}

/* A growing buffer: only what is new, with the tail before it. */
static void scan_body(struct detect_thread *t, struct detect_tx *dt, const struct det_slot *slot, int dir, unsigned at,
                      const struct inspect_input *in)
{
    uint64_t *done = &dt->body_scanned[dir][body_index(slot->buf)];
    uint64_t end = in->offset + in->buf.len;
    if (*done < in->offset)
        *done = in->offset;
    if (end > *done && (in->complete || t->conf.every_packet || end - *done >= DETECT_CHUNK)) {
        uint32_t old = (uint32_t)(*done - in->offset), tail = old < MPM_MAX_LEN - 1 ? old : MPM_MAX_LEN - 1;
        det_scan(t, slot, sk_span_of(in->buf.p + old - tail, in->buf.len - old + tail), tail);
        dt->body_scanned[dir][body_index(slot->buf)] = end;
    }
    if (in->complete)
        dt->scanned[dir] |= UINT64_C(1) << at;
}

static void scan_slot(struct detect_thread *t, struct detect_tx *dt, const struct det_slot *slot, int dir, unsigned at,
                      const struct detect_tx_view *v)
{
    bool growing = rule_buf_info[slot->buf].body && !slot->nxf;
    for (unsigned index = 0;; index++) {
        struct inspect_input in = {.at_start = true};
        enum detect_have have = v->buffer(v->arg, slot->buf, dir, index, &in);
        if (have == DETECT_NOT_YET)
            return;
        if (have == DETECT_ABSENT)
            break;
        if (growing && index == 0 && !in.complete && !v->done) {
            scan_body(t, dt, slot, dir, at, &in);
            return;
        }
        if (slot->nxf && !in.complete && !v->done)
            return; /* a transform needs the whole */
        if (growing && index == 0) {
            in.complete = true; /* or the direction ends, and nothing more will come */
            scan_body(t, dt, slot, dir, at, &in);
        } else if (transform(t, slot->xf, slot->nxf, &in)) {
            if (slot->bound && in.buf.len > slot->bound)
                in.buf.len = slot->bound;
            det_scan(t, slot, in.buf, 0);
        }
    }
    dt->scanned[dir] |= UINT64_C(1) << at;
}

static void scan_slots(struct detect_thread *t, struct detect_tx *dt, const struct detect_group *g, int dir,
                       const struct detect_tx_view *v)
{
    for (unsigned i = 0; i < g->ntx; i++)
        if (!(dt->scanned[dir] >> i & 1))
            scan_slot(t, dt, &g->tx[i], dir, i, v);
    if (dt->unpatterned[dir])
        return;
    dt->unpatterned[dir] = true;
    for (uint32_t i = 0; i < g->ntxr; i++)
        det_candidate(t, g->tx_rules[i]);
}

/* The payload part of a rule that also names buffers: the raw stream at hand, or the packet. */
static enum part_result payload_part(struct detect_thread *t, const struct det_rule *d, unsigned i,
                                     struct detect_flow *df, const struct detect_input *in, int dir, uint64_t *vars)
{
    const struct detect_window *w = df->win[dir];
    struct inspect_input ii = {.at_start = true, .complete = true};
    if (w)
        ii = (struct inspect_input){
            .buf = sk_span_of(w->buf, w->len), .offset = w->base, .at_start = w->base == 0, .complete = true};
    else if (in->p)
        ii.buf = in->p->payload;
    return inspect_run(d->prog[i], t->inspect, &ii, vars) ? PART_YES : PART_LATER;
}

static enum part_result buffer_part(struct detect_thread *t, const struct det_rule *d, unsigned i, int dir,
                                    const struct detect_tx_view *v, uint64_t *vars, uint32_t *len)
{
    const struct rule_inspect *ri = &d->r->inspect[i];
    for (unsigned index = 0;; index++) {
        struct inspect_input in = {.at_start = true};
        enum detect_have have = v->buffer(v->arg, ri->buf, dir, index, &in);
        if (have == DETECT_NOT_YET)
            return v->done ? PART_NO : PART_LATER;
        if (have == DETECT_ABSENT)
            return PART_NO;
        bool whole = in.complete || v->done;
        in.complete = whole;
        *len = in.buf.len;
        if (ri->nxf && !whole)
            return PART_LATER;
        if (transform(t, ri->xf, ri->nxf, &in) && inspect_run(d->prog[i], t->inspect, &in, vars))
            return PART_YES;
        if (!whole)
            return PART_LATER;
    }
}

/* A rule under way. */
struct attempt {
    uint32_t matched; /* parts that hold for good */
    uint32_t seen;
    uint16_t part; /* the one that it waits for */
};

/* All parts of a rule. Rules with variables start over each time. */
static enum part_result all_parts(struct detect_thread *t, const struct det_rule *d, struct detect_flow *df,
                                  const struct detect_input *in, int dir, const struct detect_tx_view *v,
                                  struct attempt *a)
{
    uint64_t vars[RULE_MAX_VARS] = {0};
    enum part_result worst = PART_YES;
    uint32_t have = d->r->nvars ? 0 : a->matched;
    for (unsigned i = 0; i < d->r->ninspect; i++) {
        if (i < 32 && (have >> i & 1))
            continue;
        uint32_t len = 0;
        enum part_result pr = d->r->inspect[i].buf == RULE_BUF_PAYLOAD ? payload_part(t, d, i, df, in, dir, vars)
                                                                       : buffer_part(t, d, i, dir, v, vars, &len);
        if (pr == PART_NO)
            return PART_NO;
        if (pr == PART_YES) {
            if (i < 32)
                a->matched |= 1u << i;
            continue;
        }
        worst = PART_LATER;
        a->seen = len;
        a->part = (uint16_t)i;
        if (d->r->nvars)
            break;
    }
    return worst == PART_LATER && v->done ? PART_NO : worst;
}

/*
 * Is another attempt worth it? Where a rule waits for a body to grow, only when the body has grown by half since, or is
 * whole: a client that sends it byte by byte must not have it searched from its start each time.
 */
static bool worth_it(const struct detect_thread *t, const struct det_rule *d, const struct detect_tx_node *n,
                     const struct detect_tx_view *v)
{
    const struct rule_inspect *ri = &d->r->inspect[n->part];
    struct inspect_input in = {0};
    if (n->seen == 0 || v->done || t->conf.every_packet || !rule_buf_info[ri->buf].body)
        return true;
    if (v->buffer(v->arg, ri->buf, n->dir, 0, &in) != DETECT_READY || in.complete)
        return true;
    return in.buf.len >= n->seen + n->seen / 2;
}

/* Remembers how far a rule has come. *at: where its node stands, or belongs. */
static void remember(struct detect_thread *t, struct detect_tx_node **at, uint32_t rank, int dir, enum part_result pr,
                     const struct attempt *a)
{
    struct detect_tx_node *n = *at;
    if (!n || n->rank != rank || n->dir != dir) {
        n = node_get(t);
        if (!n) {
            if (pr == PART_LATER)
                sk_count(t->c, SK_C_DETECT_TX_FULL);
            return;
        }
        *n = (struct detect_tx_node){.next = *at, .rank = rank, .dir = (uint8_t)dir};
        *at = n;
    }
    n->matched = a->matched;
    n->seen = a->seen;
    n->part = a->part;
    n->state = pr == PART_YES ? DET_DONE : pr == PART_NO ? DET_FAILED : DET_PENDING;
}

/* Candidates and nodes have the same order, so one pass over both does. */
static void evaluate(struct detect_thread *t, struct detect_flow *df, struct detect_tx *dt,
                     const struct detect_input *in, int dir, const struct detect_tx_view *v)
{
    uint32_t n = det_take_candidates(t);
    struct detect_tx_node **at = &dt->nodes;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rank = t->cands[i];
        const struct det_rule *d = &t->set->rules[rank];
        at = node_place(at, rank, dir);
        const struct detect_tx_node *node = *at && (*at)->rank == rank && (*at)->dir == dir ? *at : NULL;
        if (node && (node->state != DET_PENDING || !worth_it(t, d, node, v)))
            continue;
        if (!det_rule_header(d, df, in))
            continue;
        struct attempt a = {.matched = node ? node->matched : 0};
        enum part_result pr = all_parts(t, d, df, in, dir, v, &a);
        remember(t, at, rank, dir, pr, &a);
        if (pr != PART_YES)
            continue;
        det_rule_effects(t, d, df);
        det_alert(t, rank, false, true, v->tx_id, inspect_context(t->inspect, DETECT_EVIDENCE_MAX));
    }
}

/* New rules: all that the transaction still shows is looked at again, with them. */
static void start_over(struct detect_thread *t, struct detect_tx *dt, uint64_t stamp)
{
    detect_tx_release(t, dt);
    *dt = (struct detect_tx){.stamp = stamp};
}

void detect_tx(struct detect_thread *t, struct detect_flow *df, struct detect_tx *dt, const struct detect_input *in,
               int dir, const struct detect_tx_view *v)
{
    if (!t->set || !df->looked_up || df->passed)
        return;
    const struct detect_group *g = df->group[dir];
    if (dt->stamp != df->stamp)
        start_over(t, dt, df->stamp);
    if (!g->ntx && !g->ntxr)
        return;
    scan_slots(t, dt, g, dir, v);
    for (struct detect_tx_node *n = dt->nodes; n; n = n->next)
        if (n->state == DET_PENDING && n->dir == dir)
            det_candidate(t, n->rank);
    if (t->ncand)
        evaluate(t, df, dt, in, dir, v);
}
