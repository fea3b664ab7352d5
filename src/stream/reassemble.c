/* Segments to contiguous bytes. */
#include "stream_internal.h"

static struct stream_segment *piece_get(struct stream_ctx *ctx)
{
    struct stream_segment *g = ctx->free_;
    if (g)
        ctx->free_ = g->next;
    else if (ctx->used < ctx->npieces)
        g = (struct stream_segment *)(void *)(ctx->slab + (size_t)ctx->used++ * sizeof *g);
    return g;
}

static void piece_put(struct stream_ctx *ctx, struct stream_segment *g)
{
    g->next = ctx->free_;
    ctx->free_ = g;
}

static void unlink_piece(struct stream_ctx *ctx, struct stream_half *h, struct stream_segment **at)
{
    struct stream_segment *g = *at;
    *at = g->next;
    h->held -= g->len;
    h->nsegs--;
    piece_put(ctx, g);
}

void stream_drop_held(struct stream_ctx *ctx, struct stream_half *h)
{
    while (h->segs)
        unlink_piece(ctx, h, &h->segs);
}

uint32_t stream_highest(const struct stream_half *h)
{
    uint32_t top = h->next;
    for (const struct stream_segment *g = h->segs; g; g = g->next)
        top = seq_max(top, g->seq + g->len);
    return top;
}

void stream_eof(struct stream_run *r, int dir)
{
    struct stream_half *h = &r->s->half[dir];
    if (h->fin_done)
        return;
    h->fin_done = true;
    if (!h->depth_reached && !h->stopped)
        r->fn(r->arg, dir, (struct sk_span){0}, h->delivered, STREAM_DATA_EOF);
}

/* Contiguous bytes at h->next. */
static void deliver(struct stream_run *r, int dir, struct sk_span d)
{
    struct stream_half *h = &r->s->half[dir];
    uint64_t at = h->delivered;
    h->next += d.len;
    h->delivered += d.len;
    h->seen_data = true;
    if (h->depth_reached || h->stopped)
        return;
    unsigned flags = 0;
    uint64_t depth = r->ctx->conf.depth;
    if (depth && at + d.len >= depth) {
        d.len = (uint32_t)(depth - at);
        flags = STREAM_DATA_EOF | STREAM_DATA_DEPTH;
        h->depth_reached = true;
        sk_count(r->ctx->c, SK_C_TCP_DEPTH);
    }
    r->v |= STREAM_V_DATA;
    r->fn(r->arg, dir, d, at, flags);
    if (h->depth_reached)
        stream_drop_held(r->ctx, h);
}

static void deliver_gap(struct stream_run *r, int dir, uint32_t len)
{
    struct stream_half *h = &r->s->half[dir];
    uint64_t at = h->delivered;
    h->next += len;
    h->delivered += len;
    h->had_gap = true;
    sk_count(r->ctx->c, SK_C_TCP_GAP);
    stream_event_add(r, STREAM_EV_REASSEMBLY_SEQ_GAP);
    if (!h->depth_reached && !h->stopped)
        r->fn(r->arg, dir, (struct sk_span){.p = NULL, .len = len}, at, STREAM_DATA_GAP);
}

static void check_fin(struct stream_run *r, int dir)
{
    struct stream_half *h = &r->s->half[dir];
    if (h->has_fin && !h->fin_done && !seq_lt(h->next, h->fin_seq))
        stream_eof(r, dir);
}

/* What is held and has become contiguous. */
void stream_deliver_held(struct stream_run *r, int dir)
{
    struct stream_half *h = &r->s->half[dir];
    while (h->segs && seq_le(h->segs->seq, h->next)) {
        struct stream_segment *g = h->segs;
        uint32_t end = g->seq + g->len;
        if (seq_lt(h->next, end)) {
            uint32_t skip = h->next - g->seq;
            /* The callback must not see this piece change: take it out first, give it back after. */
            h->segs = g->next;
            h->held -= g->len;
            h->nsegs--;
            deliver(r, dir, sk_span_of(g->data + skip, end - h->next));
            piece_put(r->ctx, g);
        } else {
            unlink_piece(r->ctx, h, &h->segs);
        }
    }
    check_fin(r, dir);
}

void stream_drain(struct stream_run *r, int dir)
{
    struct stream_half *h = &r->s->half[dir];
    while (h->segs) {
        if (seq_lt(h->next, h->segs->seq))
            deliver_gap(r, dir, h->segs->seq - h->next);
        stream_deliver_held(r, dir);
    }
}

void stream_acked(struct stream_run *r, int dir, uint32_t ack)
{
    struct stream_half *h = &r->s->half[dir];
    if (!h->has_isn || seq_le(ack, h->last_ack))
        return;
    h->last_ack = ack;
    uint32_t limit = h->has_fin && seq_lt(h->fin_seq, ack) ? h->fin_seq : ack;
    if (r->ctx->conf.is_inline)
        return;
    while (seq_lt(h->next, limit)) {
        uint32_t to = h->segs && seq_lt(h->segs->seq, limit) ? h->segs->seq : limit;
        if (seq_lt(h->next, to))
            deliver_gap(r, dir, to - h->next);
        stream_deliver_held(r, dir);
    }
    check_fin(r, dir);
}

/* --- holding --- */

static void note_difference(struct stream_run *r, const struct stream_segment *g, uint32_t seq, struct sk_span d)
{
    uint32_t from = seq_max(g->seq, seq), ge = g->seq + g->len, de = seq + d.len;
    uint32_t to = seq_lt(ge, de) ? ge : de;
    if (!seq_lt(from, to))
        return;
    sk_count(r->ctx->c, SK_C_TCP_OVERLAP);
    if (memcmp(g->data + (from - g->seq), d.p + (from - seq), to - from) == 0)
        return;
    sk_count(r->ctx->c, SK_C_TCP_OVERLAP_DIFF);
    stream_event_add(r, STREAM_EV_REASSEMBLY_OVERLAP_DIFF);
}

static void compare_held(struct stream_run *r, const struct stream_half *h, uint32_t seq, struct sk_span d)
{
    for (const struct stream_segment *g = h->segs; g && seq_lt(g->seq, seq + d.len); g = g->next)
        note_difference(r, g, seq, d);
}

/* Puts d, which overlaps nothing to its left, at *at; long data as several pieces. False: no memory. */
static bool put_pieces(struct stream_run *r, struct stream_half *h, struct stream_segment **at, uint32_t seq,
                       struct sk_span d)
{
    while (d.len) {
        struct stream_segment *g = h->nsegs < r->ctx->conf.max_segs ? piece_get(r->ctx) : NULL;
        if (!g)
            return false;
        uint32_t n = d.len < SEG_DATA ? d.len : SEG_DATA;
        g->seq = seq;
        g->len = (uint16_t)n;
        memcpy(g->data, d.p, n);
        g->next = *at;
        *at = g;
        at = &g->next;
        h->held += n;
        h->nsegs++;
        seq += n;
        d.p += n;
        d.len -= n;
    }
    return true;
}

/*
 * Linux (tcp_data_queue_ofo): what an earlier-starting held segment covers is cut from the new one; held segments that
 * the new one covers wholly go; one that it covers in part stays, and loses the common part when it is delivered,
 * because it starts later.
 */
static bool hold(struct stream_run *r, struct stream_half *h, uint32_t seq, struct sk_span d, bool *fresh)
{
    struct stream_segment **at = &h->segs;
    uint32_t end = seq + d.len;
    *fresh = true;
    while (*at && seq_le((*at)->seq, seq)) {
        struct stream_segment *g = *at;
        uint32_t ge = g->seq + g->len;
        if (g->seq == seq && seq_lt(ge, end)) {
            unlink_piece(r->ctx, h, at); /* same start, and the new one is longer: it replaces */
            continue;
        }
        if (seq_lt(seq, ge)) {
            if (seq_le(end, ge)) {
                *fresh = false;
                return true;
            }
            d.p += ge - seq;
            d.len -= ge - seq;
            seq = ge;
        }
        at = &g->next;
    }
    while (*at && seq_le((*at)->seq + (*at)->len, end))
        unlink_piece(r->ctx, h, at);
    return put_pieces(r, h, at, seq, d);
}

static void out_of_order(struct stream_run *r, struct stream_half *h, uint32_t seq, struct sk_span d)
{
    bool fresh;
    compare_held(r, h, seq, d);
    sk_count(r->ctx->c, SK_C_TCP_OOO);
    r->v |= STREAM_V_OOO;
    if (hold(r, h, seq, d, &fresh)) {
        r->v |= fresh ? STREAM_V_ADDED : STREAM_V_RETRANS;
        if (!fresh)
            sk_count(r->ctx->c, SK_C_TCP_RETRANS);
        return;
    }
    sk_count(r->ctx->c, SK_C_TCP_SEG_FULL);
    stream_event_add(r, STREAM_EV_REASSEMBLY_NO_SEGMENT);
    if (r->ctx->conf.is_inline || !h->segs)
        return;
    /* No room to wait any longer for the oldest hole. */
    r->v |= STREAM_V_ADDED;
    if (seq_lt(h->next, h->segs->seq))
        deliver_gap(r, r->dir, h->segs->seq - h->next);
    stream_deliver_held(r, r->dir);
}

void stream_take(struct stream_run *r, uint32_t seq, struct sk_span d)
{
    struct stream_half *h = &r->s->half[r->dir];
    uint32_t end = seq + d.len;
    if (h->depth_reached || h->stopped) {
        if (seq_lt(h->next, end)) {
            h->delivered += end - h->next;
            h->next = end;
        }
        r->v |= STREAM_V_ADDED;
        return;
    }
    if (seq_le(end, h->next)) {
        sk_count(r->ctx->c, SK_C_TCP_RETRANS);
        r->v |= STREAM_V_RETRANS | STREAM_V_ADDED;
        return;
    }
    if (seq_lt(h->next, seq)) {
        out_of_order(r, h, seq, d);
        return;
    }
    uint32_t old = h->next - seq;
    if (old)
        sk_count(r->ctx->c, SK_C_TCP_RETRANS);
    if (h->segs)
        compare_held(r, h, seq, d);
    r->v |= STREAM_V_ADDED;
    deliver(r, r->dir, sk_span_of(d.p + old, d.len - old));
    stream_deliver_held(r, r->dir);
}
