/* Segments to contiguous bytes. */
#include "stream_internal.h"

void stream_eof(struct stream_run *r, int dir)
{
    struct stream_half *h = &r->s->half[dir];
    if (h->fin_done)
        return;
    h->fin_done = true;
    if (!h->depth_reached && !h->stopped)
        r->fn(r->arg, dir, (struct sk_span){0}, h->delivered, STREAM_DATA_EOF);
}

/* Nothing of this direction is delivered any more. */
static bool is_silent(const struct stream_half *h)
{
    return h->depth_reached || h->stopped;
}

/* Bytes at h->next, data or (p NULL) a hole, up to the depth. */
static void hand_over(struct stream_run *r, int dir, struct sk_span d, unsigned flags)
{
    struct stream_half *h = &r->s->half[dir];
    uint64_t at = h->delivered, depth = r->ctx->conf.depth;
    h->next += d.len;
    h->delivered += d.len;
    h->high = seq_max(h->high, h->next);
    if (is_silent(h))
        return;
    if (depth && !h->unlimited && at + d.len >= depth) {
        d.len = at < depth ? (uint32_t)(depth - at) : 0;
        flags |= STREAM_DATA_EOF | STREAM_DATA_DEPTH;
        h->depth_reached = true;
        if (dir == r->dir)
            r->v |= STREAM_V_PAST_DEPTH;
        sk_count(r->ctx->c, SK_C_TCP_DEPTH);
    }
    r->fn(r->arg, dir, d, at, flags);
    if (h->depth_reached)
        held_drop_all(r->ctx, h);
}

/* Contiguous bytes at h->next. */
static void deliver(struct stream_run *r, int dir, struct sk_span d)
{
    struct stream_half *h = &r->s->half[dir];
    if (h->has_urg && h->urg_seq - h->next < d.len) {
        uint32_t n = h->urg_seq - h->next;
        h->has_urg = false;
        if (n)
            hand_over(r, dir, sk_span_of(d.p, n), 0);
        h->next++; /* the urgent byte is not part of what the application reads */
        sk_count(r->ctx->c, SK_C_TCP_URG);
        d = sk_span_of(d.p + n + 1, d.len - n - 1);
    }
    if (!is_silent(h))
        r->v |= STREAM_V_DATA;
    if (d.len)
        hand_over(r, dir, d, 0);
    h->high = seq_max(h->high, h->next);
}

static void deliver_gap(struct stream_run *r, int dir, uint32_t len)
{
    struct stream_half *h = &r->s->half[dir];
    if (is_silent(h)) {
        h->next += len;
        h->delivered += len;
        return;
    }
    h->gap_from = h->next;
    h->gap_to = h->next + len;
    h->had_gap = true;
    sk_count(r->ctx->c, SK_C_TCP_GAP);
    stream_event_add(r, STREAM_EV_REASSEMBLY_SEQ_GAP);
    hand_over(r, dir, (struct sk_span){.p = NULL, .len = len}, STREAM_DATA_GAP);
}

/* A FIN counts when all before it is there, and not when data has gone on past it. */
void stream_check_fin(struct stream_run *r, int dir)
{
    struct stream_half *h = &r->s->half[dir];
    if (!h->has_fin || h->fin_in || seq_lt(h->next, h->fin_seq))
        return;
    if (h->next != h->fin_seq) {
        h->has_fin = false;
        return;
    }
    h->fin_in = true;
    r->fins |= 1u << dir;
    held_drop_all(r->ctx, h);
    stream_eof(r, dir);
}

/* The part of a piece, out of its list, that is not old; then the piece goes back. */
static void deliver_piece(struct stream_run *r, int dir, struct stream_segment *g, uint32_t limit)
{
    struct stream_half *h = &r->s->half[dir];
    uint32_t end = seq_min(g->seq + g->len, limit);
    if (seq_lt(h->next, end)) {
        uint32_t skip = h->next - g->seq;
        deliver(r, dir, sk_span_of(stream_piece(r->ctx, g) + skip, end - h->next));
    }
    held_put(r->ctx, g);
}

/* What is held and has become contiguous. */
static void deliver_held(struct stream_run *r, int dir)
{
    struct stream_half *h = &r->s->half[dir];
    while (h->segs && seq_le(h->segs->seq, h->next)) {
        struct stream_segment *g = held_take_first(h);
        deliver_piece(r, dir, g, g->seq + g->len);
    }
    stream_check_fin(r, dir);
    if (h->doubt)
        held_drop_old_doubt(r->ctx, h, h->next);
}

void stream_drain(struct stream_run *r, int dir)
{
    struct stream_half *h = &r->s->half[dir];
    while (h->segs) {
        if (seq_lt(h->next, h->segs->seq))
            deliver_gap(r, dir, h->segs->seq - h->next);
        deliver_held(r, dir);
    }
}

/* Where a hole at h->next ends: at data of any kind, or at `limit`. */
static uint32_t hole_end(const struct stream_half *h, uint32_t limit)
{
    uint32_t to = limit;
    if (h->segs)
        to = seq_min(to, h->segs->seq);
    for (const struct stream_segment *g = h->doubt; g; g = g->next)
        if (seq_lt(h->next, g->seq))
            to = seq_min(to, g->seq);
    return to;
}

void stream_acked(struct stream_run *r, int dir, uint32_t ack)
{
    struct stream_half *h = &r->s->half[dir];
    if (!h->has_isn || seq_le(ack, h->last_ack))
        return;
    h->last_ack = ack;
    uint32_t limit = h->has_fin && ack == h->fin_seq + 1 ? h->fin_seq : ack;
    while (seq_lt(h->next, limit) && !h->fin_in) {
        struct stream_segment *g = held_take_doubt(h, h->next);
        if (g)
            deliver_piece(r, dir, g, limit); /* the receiver had it, and nothing else explains that */
        else
            deliver_gap(r, dir, hole_end(h, limit) - h->next);
        deliver_held(r, dir);
    }
    stream_check_fin(r, dir);
}

/* --- holding --- */

static void note_difference(struct stream_run *r, const struct stream_segment *g, uint32_t seq, struct sk_span d)
{
    uint32_t from = seq_max(g->seq, seq), to = seq_min(g->seq + g->len, seq + d.len);
    if (!seq_lt(from, to))
        return;
    sk_count(r->ctx->c, SK_C_TCP_OVERLAP);
    if (memcmp(stream_piece(r->ctx, g) + (from - g->seq), d.p + (from - seq), to - from) == 0)
        return;
    sk_count(r->ctx->c, SK_C_TCP_OVERLAP_DIFF);
    stream_event_add(r, STREAM_EV_REASSEMBLY_OVERLAP_DIFF);
}

static void compare_held(struct stream_run *r, const struct stream_half *h, uint32_t seq, struct sk_span d)
{
    if (h->segs_last && seq_le(h->segs_last->to, seq))
        return;
    for (const struct stream_segment *g = h->segs; g && seq_lt(g->from, seq + d.len); g = g->next)
        note_difference(r, g, seq, d);
}

/* d starts at or before h->next and has something new. */
static void in_order(struct stream_run *r, struct stream_half *h, uint32_t seq, struct sk_span d)
{
    uint32_t old = h->next - seq;
    r->v |= STREAM_V_ADDED;
    deliver(r, r->dir, sk_span_of(d.p + old, d.len - old));
    deliver_held(r, r->dir);
}

/* No room: the oldest hole is given up, until there is room or d is in order. */
static void hold_by_force(struct stream_run *r, struct stream_half *h, uint32_t seq, struct sk_span d)
{
    sk_count(r->ctx->c, SK_C_TCP_SEG_FULL);
    stream_event_add(r, STREAM_EV_REASSEMBLY_NO_SEGMENT);
    if (r->ctx->conf.is_inline) {
        r->v |= STREAM_V_INVALID | STREAM_V_NO_ROOM;
        return;
    }
    while (h->segs) {
        if (seq_lt(h->next, h->segs->seq))
            deliver_gap(r, r->dir, seq_min(h->segs->seq, seq) - h->next);
        deliver_held(r, r->dir);
        if (h->fin_in || is_silent(h))
            break; /* nothing is delivered any more */
        if (seq_le(seq, h->next)) {
            if (seq_lt(h->next, seq + d.len))
                in_order(r, h, seq, d);
            break;
        }
        if (held_add(r->ctx, h, seq, d) != HELD_FULL) {
            r->v |= STREAM_V_ADDED;
            break;
        }
    }
    if (!(r->v & STREAM_V_ADDED))
        r->v |= STREAM_V_NO_ROOM;
}

/* Where it lies nothing is delivered any more, although the stream has not come so far. */
static bool is_past_depth(const struct stream_run *r, const struct stream_half *h, uint32_t seq)
{
    uint64_t depth = r->ctx->conf.depth;
    return depth && !h->unlimited && h->delivered + (seq - h->next) >= depth;
}

static void out_of_order(struct stream_run *r, struct stream_half *h, uint32_t seq, struct sk_span d)
{
    if (is_past_depth(r, h, seq))
        r->v |= STREAM_V_PAST_DEPTH;
    compare_held(r, h, seq, d);
    sk_count(r->ctx->c, SK_C_TCP_OOO);
    r->v |= STREAM_V_OOO;
    switch (held_add(r->ctx, h, seq, d)) {
    case HELD_NEW:
        r->v |= STREAM_V_ADDED;
        h->high = seq_max(h->high, seq + d.len);
        break;
    case HELD_KNOWN:
        r->v |= STREAM_V_RETRANS;
        sk_count(r->ctx->c, SK_C_TCP_RETRANS);
        break;
    case HELD_FULL: hold_by_force(r, h, seq, d); break;
    }
}

/* Nothing new. Of a hole that was given up it is new to the rules, which then see it as a packet of its own. */
static void old_data(struct stream_run *r, const struct stream_half *h, uint32_t seq, struct sk_span d)
{
    uint32_t end = seq + d.len;
    sk_count(r->ctx->c, SK_C_TCP_RETRANS);
    r->v |= STREAM_V_RETRANS;
    bool was_hole = h->had_gap && seq_lt(seq, h->gap_to) && seq_lt(h->gap_from, end);
    if (was_hole) {
        r->v |= STREAM_V_LATE;
        return;
    }
    r->v |= STREAM_V_ADDED;
    stream_note_again(r, h, seq, d);
}

void stream_take(struct stream_run *r, uint32_t seq, struct sk_span d)
{
    struct stream_half *h = stream_me(r);
    uint32_t end = seq + d.len;
    if (seq_le(end, h->next)) {
        old_data(r, h, seq, d);
    } else if (h->fin_in) {
        stream_invalid(r, STREAM_EV_NONE); /* the host reads nothing behind a FIN */
    } else if (is_silent(h)) {
        h->delivered += end - h->next;
        h->next = end;
        h->high = seq_max(h->high, end);
        r->v |= STREAM_V_ADDED | (h->depth_reached ? STREAM_V_PAST_DEPTH : 0);
        stream_check_fin(r, r->dir);
    } else if (seq_lt(h->next, seq)) {
        stream_print_keep(h, seq, d);
        out_of_order(r, h, seq, d);
    } else {
        if (seq != h->next)
            sk_count(r->ctx->c, SK_C_TCP_RETRANS);
        if (h->segs)
            compare_held(r, h, seq, d);
        stream_print_keep(h, seq, d);
        in_order(r, h, seq, d);
    }
}

void stream_doubt(struct stream_run *r, uint32_t seq, struct sk_span d)
{
    struct stream_half *h = stream_me(r);
    if (!d.len || is_silent(h) || h->fin_in || seq_le(seq + d.len, h->next))
        return;
    if (!held_add_doubt(r->ctx, h, seq, d))
        sk_count(r->ctx->c, SK_C_TCP_SEG_FULL);
}
