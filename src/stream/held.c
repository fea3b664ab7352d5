/* The pool of pieces, and the two lists of a direction that wait in it. */
#include "stream_internal.h"

static struct stream_segment *piece_get(struct stream_ctx *ctx)
{
    struct stream_segment *g = ctx->free_;
    if (g)
        ctx->free_ = g->next;
    else if (ctx->used < ctx->npieces)
        g = &ctx->pieces[ctx->used++];
    if (g)
        ctx->in_use++;
    return g;
}

void held_put(struct stream_ctx *ctx, struct stream_segment *g)
{
    g->next = ctx->free_;
    ctx->free_ = g;
    ctx->in_use--;
}

/* Takes *at, which is in h->segs, out of it. */
static struct stream_segment *unlink_held(struct stream_half *h, struct stream_segment **at)
{
    struct stream_segment *g = *at;
    if (g == h->segs_last)
        h->segs_last = at == &h->segs ? NULL : (struct stream_segment *)(void *)at;
    *at = g->next;
    h->held -= g->len;
    h->nsegs--;
    return g;
}

struct stream_segment *held_take_first(struct stream_half *h)
{
    return h->segs ? unlink_held(h, &h->segs) : NULL;
}

static bool room_for(const struct stream_ctx *ctx, const struct stream_half *h, uint32_t len)
{
    uint32_t need = (len + SEG_DATA - 1) / SEG_DATA;
    return need <= ctx->npieces - ctx->in_use && h->nsegs < ctx->conf.max_segs && need <= ctx->conf.max_segs - h->nsegs;
}

/* Puts d at *at as one or more pieces; there is room. Returns the last. */
static struct stream_segment *put_pieces(struct stream_ctx *ctx, struct stream_half *h, struct stream_segment **at,
                                         uint32_t seq, struct sk_span d)
{
    uint32_t from = seq, to = seq + d.len;
    struct stream_segment *g = NULL;
    while (d.len) {
        uint32_t n = d.len < SEG_DATA ? d.len : SEG_DATA;
        g = piece_get(ctx);
        g->seq = seq;
        g->from = from;
        g->to = to;
        g->len = (uint16_t)n;
        memcpy(stream_piece(ctx, g), d.p, n);
        g->next = *at;
        *at = g;
        at = &g->next;
        h->nsegs++;
        seq += n;
        d.p += n;
        d.len -= n;
    }
    return g;
}

static bool is_known(const struct stream_half *h, uint32_t seq, uint32_t end)
{
    for (const struct stream_segment *g = h->segs; g && seq_le(g->from, seq); g = g->next)
        if (seq_le(end, g->to))
            return true;
    return false;
}

static void drop_covered(struct stream_ctx *ctx, struct stream_half *h, uint32_t seq, uint32_t end)
{
    for (struct stream_segment **at = &h->segs; *at && seq_lt((*at)->from, end);) {
        if (seq_le(seq, (*at)->from) && seq_le((*at)->to, end))
            held_put(ctx, unlink_held(h, at));
        else
            at = &(*at)->next;
    }
}

/*
 * No held segment lies wholly within another, so that the order of starts is also the order of ends, and delivery in
 * that order gives each byte to the segment that starts first.
 */
enum held_result held_add(struct stream_ctx *ctx, struct stream_half *h, uint32_t seq, struct sk_span d)
{
    uint32_t end = seq + d.len;
    struct stream_segment **at = &h->segs;
    if (h->segs_last && seq_le(h->segs_last->to, seq)) {
        at = &h->segs_last->next; /* the common case: behind all others */
    } else {
        if (is_known(h, seq, end))
            return HELD_KNOWN;
        drop_covered(ctx, h, seq, end);
        while (*at && seq_lt((*at)->from, seq))
            at = &(*at)->next;
    }
    if (!room_for(ctx, h, d.len))
        return HELD_FULL;
    struct stream_segment *last = put_pieces(ctx, h, at, seq, d);
    if (last && !last->next)
        h->segs_last = last;
    h->held += d.len;
    return HELD_NEW;
}

bool held_add_doubt(struct stream_ctx *ctx, struct stream_half *h, uint32_t seq, struct sk_span d)
{
    struct stream_segment **at = &h->doubt;
    unsigned n = 0;
    for (; *at; at = &(*at)->next, n++)
        if ((*at)->from == seq && (*at)->to == seq + d.len)
            return true; /* sent again */
    if (n >= ctx->conf.max_segs / 4 || !room_for(ctx, h, d.len))
        return false;
    put_pieces(ctx, h, at, seq, d);
    return true;
}

struct stream_segment *held_take_doubt(struct stream_half *h, uint32_t seq)
{
    for (struct stream_segment **at = &h->doubt; *at; at = &(*at)->next) {
        struct stream_segment *g = *at;
        if (seq_le(g->seq, seq) && seq_lt(seq, g->seq + g->len)) {
            *at = g->next;
            h->nsegs--;
            return g;
        }
    }
    return NULL;
}

void held_drop_old_doubt(struct stream_ctx *ctx, struct stream_half *h, uint32_t seq)
{
    for (struct stream_segment **at = &h->doubt; *at;) {
        struct stream_segment *g = *at;
        if (seq_le(g->seq + g->len, seq)) {
            *at = g->next;
            h->nsegs--;
            held_put(ctx, g);
        } else {
            at = &g->next;
        }
    }
}

void held_drop_doubt(struct stream_ctx *ctx, struct stream_half *h)
{
    while (h->doubt) {
        struct stream_segment *g = h->doubt;
        h->doubt = g->next;
        h->nsegs--;
        held_put(ctx, g);
    }
}

void held_drop_all(struct stream_ctx *ctx, struct stream_half *h)
{
    while (h->segs)
        held_put(ctx, held_take_first(h));
    held_drop_doubt(ctx, h);
}
