/*
 * Raw streams. Contiguous bytes are copied into a window; what is new in it is scanned, together with the last bytes
 * before it (a pattern may straddle), and a hit is evaluated over the whole window, so that matches relative to each
 * other may lie in different segments. A rule whose pattern is there and whose rest is not stays under way while the
 * pattern is in the window, and is tried again when the window has grown by an eighth (a short one: by any byte), moves
 * on, or ends.
 *
 *   buf  |---- looked at before ----|- tail -|---- new ----|
 *        base                       scanned-MPM_MAX_LEN+1   len
 */
#include <stdlib.h>

#include "detect_internal.h"

#define RETRY_ALWAYS 1024 /* bytes of a window that are cheap to search again */

static void reset(struct detect_window *w, uint64_t base)
{
    w->base = base;
    w->len = w->scanned = w->tried = w->nrules = 0;
}

static struct detect_window *window_get(struct detect_thread *t)
{
    struct detect_window *w = t->free_win;
    if (w) {
        t->free_win = w->next_free;
    } else {
        if (t->win_bytes + sizeof *w > t->conf.window_memcap)
            return NULL;
        w = malloc(sizeof *w);
        if (!w)
            return NULL;
        t->win_bytes += sizeof *w;
        w->next = t->all_win;
        t->all_win = w;
    }
    reset(w, 0);
    return w;
}

static void window_put(struct detect_thread *t, struct detect_window *w)
{
    if (!w)
        return;
    w->next_free = t->free_win;
    t->free_win = w;
}

void detect_flow_release(struct detect_thread *t, struct detect_flow *df)
{
    for (int dir = 0; dir < 2; dir++) {
        window_put(t, df->win[dir]);
        df->win[dir] = NULL;
    }
}

void detect_flow_renew(struct detect_thread *t, struct detect_flow *df)
{
    detect_flow_release(t, df);
    df->nbits = 0;
    df->passed = false;
    df->app_done = 0;
}

bool detect_wants_stream(const struct detect_flow *df, int dir)
{
    return df->looked_up && !df->passed && df->group[dir]->has_stream;
}

uint64_t detect_wants_buffers(const struct detect_flow *df, int dir)
{
    return df->looked_up && !df->passed ? df->group[dir]->wants : 0;
}

static bool bytes_match(struct detect_thread *t, const struct det_rule *d, const struct inspect_input *ii)
{
    uint64_t vars[RULE_MAX_VARS] = {0};
    for (unsigned i = 0; i < d->r->ninspect; i++)
        if (!inspect_run(d->prog[i], t->inspect, ii, vars))
            return false;
    return true;
}

/* The rule may match with more data. w NULL: there is no window to gather it in. */
static void keep_rule(struct detect_thread *t, struct detect_window *w, uint32_t rank)
{
    if (!w || t->set->rules[rank].fp == NULL)
        return;
    for (uint32_t i = 0; i < w->nrules; i++)
        if (w->rules[i].rank == rank)
            return;
    if (w->nrules == DET_WINDOW_RULES) {
        sk_count(t->c, SK_C_DETECT_STREAM_FULL);
        return;
    }
    w->rules[w->nrules].rank = rank;
    w->rules[w->nrules++].end = w->base + w->len;
}

static void forget_rule(struct detect_window *w, uint32_t rank)
{
    for (uint32_t i = 0; w && i < w->nrules; i++)
        if (w->rules[i].rank == rank)
            w->rules[i] = w->rules[--w->nrules];
}

static void renew_rules(const struct detect_thread *t, struct detect_window *w)
{
    if (w->stamp != t->set->stamp)
        w->nrules = 0;
    w->stamp = t->set->stamp;
}

/* Rules under way become candidates. */
static void resume_rules(struct detect_thread *t, struct detect_window *w, bool last)
{
    renew_rules(t, w);
    if (!last && !t->conf.every_packet && w->len > RETRY_ALWAYS && w->len - w->tried < w->len / 8)
        return;
    for (uint32_t i = 0; i < w->nrules; i++)
        det_candidate(t, w->rules[i].rank);
    w->tried = w->len;
}

static void evaluate(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in,
                     const struct inspect_input *ii, struct detect_window *w)
{
    uint32_t n = det_take_candidates(t);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rank = t->cands[i];
        const struct det_rule *d = &t->set->rules[rank];
        if (!d->need_stream || !det_rule_header(d, df, in))
            continue;
        if (!bytes_match(t, d, ii)) {
            keep_rule(t, w, rank);
            continue;
        }
        forget_rule(w, rank);
        det_rule_effects(t, d, df);
        det_alert(t, rank, true, false, 0, inspect_context(t->inspect, DETECT_EVIDENCE_MAX));
    }
}

/* Scans buf, of which the first `old` bytes have been scanned, and evaluates what is found. w: the window it is of. */
static void scan_stream(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in, int dir,
                        struct sk_span buf, uint32_t old, uint64_t base, bool complete, struct detect_window *w)
{
    const struct detect_group *g = df->group[dir];
    uint32_t tail = old < MPM_MAX_LEN - 1 ? old : MPM_MAX_LEN - 1;
    bool past = g->stream_bound && base + old - tail >= g->stream_bound;
    const struct det_slot *slot = past && g->has_tail ? &g->stream_tail : &g->stream;
    det_scan(t, slot, sk_span_of(buf.p + (old - tail), buf.len - (old - tail)), tail);
    for (uint32_t i = 0; i < g->nstream; i++)
        det_candidate(t, g->stream_rules[i]);
    if (!t->ncand)
        return;
    struct inspect_input ii = {.buf = buf, .offset = base, .at_start = base == 0, .complete = complete};
    evaluate(t, df, in, &ii, w);
}

/* complete: as far as rules may know this is the end. last: these bytes will not be seen together again. */
static void scan_window(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in, int dir,
                        bool complete, bool last)
{
    struct detect_window *w = df->win[dir];
    if (w->scanned == w->len && !(last && w->tried < w->len))
        return;
    resume_rules(t, w, last);
    scan_stream(t, df, in, dir, sk_span_of(w->buf, w->len), w->scanned, w->base, complete, w);
    w->scanned = w->len;
}

/* Makes room: all but the last bytes leave the window. They have been scanned, just now. */
static void slide(const struct detect_thread *t, struct detect_window *w)
{
    uint32_t keep = w->len < DETECT_LOOKBACK ? w->len : DETECT_LOOKBACK;
    memmove(w->buf, w->buf + w->len - keep, keep);
    w->base += w->len - keep;
    w->len = w->scanned = w->tried = keep;
    renew_rules(t, w);
    for (uint32_t i = 0; i < w->nrules;) {
        if (w->rules[i].end <= w->base || t->set->rules[w->rules[i].rank].negates)
            w->rules[i] = w->rules[--w->nrules];
        else
            i++;
    }
}

void detect_stream_add(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in, int dir,
                       struct sk_span data, uint64_t offset)
{
    if (!t->set || !detect_wants_stream(df, dir))
        return;
    struct detect_window *w = df->win[dir];
    if (!w && !(w = df->win[dir] = window_get(t))) {
        sk_count(t->c, SK_C_DETECT_WINDOW_FULL);
        scan_stream(t, df, in, dir, data, 0, offset, true, NULL);
        return;
    }
    if (w->base + w->len != offset) { /* behind a gap nothing before it counts */
        scan_window(t, df, in, dir, true, true);
        reset(w, offset);
    }
    while (data.len) {
        if (w->len == DETECT_WINDOW) {
            scan_window(t, df, in, dir, false, true);
            slide(t, w);
        }
        uint32_t n = DETECT_WINDOW - w->len;
        if (n > data.len)
            n = data.len;
        memcpy(w->buf + w->len, data.p, n);
        w->len += n;
        data.p += n;
        data.len -= n;
    }
}

void detect_stream_flush(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in, int dir,
                         bool force, bool eof)
{
    struct detect_window *w = df->win[dir];
    if (!t->set || !w || !detect_wants_stream(df, dir))
        return;
    if (force || eof || t->conf.every_packet || w->len - w->scanned >= DETECT_CHUNK)
        scan_window(t, df, in, dir, force || eof, eof);
    if (eof) {
        window_put(t, w);
        df->win[dir] = NULL;
    }
}

struct sk_span detect_stream_window(const struct detect_flow *df, int dir)
{
    const struct detect_window *w = df->win[dir];
    return w ? sk_span_of(w->buf, w->len) : (struct sk_span){0};
}
