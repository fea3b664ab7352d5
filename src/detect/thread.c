/* A worker's scratch: prefilter hits, candidates, pools. */
#include <stdlib.h>

#include "detect_internal.h"

#define XF_CAP (1u << 17) /* a transformed buffer; longer ones count as absent */

int detect_thread_create(const struct detect_thread_conf *conf, const struct inspect_conf *ic,
                         struct detect_thresholds *th, struct sk_counters *c, struct detect_thread **out)
{
    struct detect_thread *t = calloc(1, sizeof *t);
    if (!t)
        return SK_ENOMEM;
    t->conf = *conf;
    if (t->conf.max_alerts == 0 || t->conf.max_alerts > DETECT_MAX_ALERTS)
        t->conf.max_alerts = DETECT_MAX_ALERTS;
    t->c = c;
    t->th = th;
    t->iconf = *ic;
    t->alerts = calloc(t->conf.max_alerts, sizeof *t->alerts);
    t->out = calloc(t->conf.max_alerts, sizeof *t->out);
    t->alert_rank = calloc(t->conf.max_alerts, sizeof *t->alert_rank);
    t->node_slab = calloc(conf->max_tx_nodes ? conf->max_tx_nodes : 1, sizeof *t->node_slab);
    t->xf_buf = malloc(XF_CAP);
    t->xf_cap = XF_CAP;
    int rc = t->alerts && t->out && t->alert_rank && t->node_slab && t->xf_buf ? SK_OK : SK_ENOMEM;
    if (rc == SK_OK)
        rc = mpm_scratch_create(&t->mpm);
    if (rc == SK_OK)
        rc = inspect_scratch_create(ic, c, &t->inspect);
    if (rc != SK_OK) {
        detect_thread_free(t);
        return rc;
    }
    *out = t;
    return SK_OK;
}

int detect_thread_use(struct detect_thread *t, const struct detect_set *s)
{
    for (uint32_t i = 0; i < s->ndb; i++) {
        int rc = s->dbs[i] ? mpm_scratch_fit(t->mpm, s->dbs[i]) : SK_OK;
        if (rc != SK_OK)
            return rc;
    }
    uint64_t *hits = calloc(s->max_patterns / 64 + 1, sizeof *hits), *cand = calloc(s->n / 64 + 1, sizeof *cand);
    uint32_t *list = calloc(s->max_patterns + 1, sizeof *list), *cands = calloc(s->n + 1, sizeof *cands);
    if (!hits || !cand || !list || !cands) {
        free(hits);
        free(cand);
        free(list);
        free(cands);
        return SK_ENOMEM;
    }
    free(t->hits);
    free(t->cand);
    free(t->list);
    free(t->cands);
    t->hits = hits;
    t->cand = cand;
    t->list = list;
    t->cands = cands;
    t->cap_pat = s->max_patterns + 1;
    t->cap_rules = s->n + 1;
    t->ncand = 0;
    t->nalerts = 0;
    t->set = s;
    t->nof = (struct detect_flow){0};
    return SK_OK;
}

void detect_thread_free(struct detect_thread *t)
{
    if (!t)
        return;
    while (t->all_win) { /* also those of flows that nobody has ended */
        struct detect_window *w = t->all_win;
        t->all_win = w->next;
        free(w);
    }
    mpm_scratch_free(t->mpm);
    inspect_scratch_free(t->inspect);
    free(t->hits);
    free(t->cand);
    free(t->list);
    free(t->cands);
    free(t->alerts);
    free(t->out);
    free(t->alert_rank);
    free(t->node_slab);
    free(t->xf_buf);
    free(t);
}

uint64_t detect_thread_memory(const struct detect_thread *t)
{
    return t->win_bytes + (uint64_t)t->conf.max_tx_nodes * sizeof *t->node_slab + t->xf_cap;
}

void det_candidate(struct detect_thread *t, uint32_t rank)
{
    uint64_t bit = UINT64_C(1) << (rank & 63);
    if (t->cand[rank >> 6] & bit)
        return;
    t->cand[rank >> 6] |= bit;
    t->cands[t->ncand++] = rank;
}

void det_scan(struct detect_thread *t, const struct det_slot *slot, struct sk_span buf, uint32_t skip)
{
    if (!slot->db || buf.len == 0)
        return;
    uint32_t n = mpm_scan(slot->db, t->mpm, buf, skip, t->hits, t->list, 0, t->cap_pat);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = t->list[i];
        t->hits[id >> 6] &= ~(UINT64_C(1) << (id & 63));
        for (uint32_t k = slot->first[id]; k < slot->first[id + 1]; k++)
            det_candidate(t, slot->rules[k]);
    }
}

static int cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sort_ranks(uint32_t *v, uint32_t n)
{
    if (n > 32) {
        qsort(v, n, sizeof *v, cmp_u32);
        return;
    }
    for (uint32_t i = 1; i < n; i++) {
        uint32_t x = v[i], k = i;
        for (; k > 0 && v[k - 1] > x; k--)
            v[k] = v[k - 1];
        v[k] = x;
    }
}

uint32_t det_take_candidates(struct detect_thread *t)
{
    uint32_t n = t->ncand;
    sort_ranks(t->cands, n);
    for (uint32_t i = 0; i < n; i++)
        t->cand[t->cands[i] >> 6] = 0;
    t->ncand = 0;
    sk_count_add(t->c, SK_C_DETECT_CANDIDATES, n);
    return n;
}
