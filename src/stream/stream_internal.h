/* What the files of stream share. */
#ifndef STREAM_INTERNAL_H
#define STREAM_INTERNAL_H

#include "stream/stream.h"

#define SEG_DATA      2048 /* bytes of one piece; a longer segment is held as several */
#define MAX_PKT_EVENT 4

/* Sequence space is a circle (RFC 9293 section 3.4): a is before b when the way forward from a to b is the shorter one.
 */
static inline bool seq_lt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}
static inline bool seq_le(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}
static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
    return seq_lt(a, b) ? b : a;
}
static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
    return seq_lt(a, b) ? a : b;
}

/* A piece of a held segment. Its bytes lie elsewhere (stream_piece), so that a walk along many stays in few cache
 * lines. from and to are the whole segment's, which decide who wins. */
struct stream_segment {
    struct stream_segment *next; /* first: segs_last is found through it */
    uint32_t seq;
    uint32_t from, to;
    uint16_t len;
};

struct stream_ctx {
    struct stream_conf conf;
    struct sk_counters *c;
    struct stream_segment *pieces;
    uint8_t *data; /* SEG_DATA bytes a piece */
    uint32_t npieces, used, in_use;
    struct stream_segment *free_;
    struct stream_syn reuse; /* the SYN whose SYN/ACK has ended the session before: for the call that follows */
};

static inline uint8_t *stream_piece(const struct stream_ctx *ctx, const struct stream_segment *g)
{
    return ctx->data + (size_t)(g - ctx->pieces) * SEG_DATA;
}

/* One call of stream_packet. */
struct stream_run {
    struct stream_ctx *ctx;
    struct stream_session *s;
    const struct sk_packet *p;
    int dir;
    stream_data_fn fn;
    void *arg;
    unsigned v;    /* enum stream_verdict_flag */
    unsigned fins; /* directions (1 << dir) whose FIN was reached */
    uint8_t *events;
    unsigned *nevents;
};

static inline struct stream_half *stream_me(struct stream_run *r)
{
    return &r->s->half[r->dir];
}
static inline struct stream_half *stream_other(struct stream_run *r)
{
    return &r->s->half[!r->dir];
}

/* --- stream.c --- */
void stream_event_add(struct stream_run *r, enum stream_event ev);
/* The packet is not part of the session. */
void stream_invalid(struct stream_run *r, enum stream_event ev);
void stream_set_state(struct stream_run *r, enum stream_state st);

/* --- events.c --- */
enum stream_event stream_ack_event(const struct stream_run *r);
enum stream_event stream_window_event(const struct stream_run *r);
enum stream_event stream_syn_event(const struct stream_run *r);
enum stream_event stream_third_event(const struct stream_run *r);
/* Keeps what a taken segment was like. */
void stream_print_keep(struct stream_half *h, uint32_t seq, struct sk_span d);
/* Names a segment of which nothing is new. */
void stream_note_again(struct stream_run *r, const struct stream_half *h, uint32_t seq, struct sk_span d);

/* --- handshake.c --- */
void stream_state_none(struct stream_run *r);
void stream_state_syn_sent(struct stream_run *r);
void stream_state_syn_recv(struct stream_run *r);
/* A SYN, with or without ACK, within a session. */
void stream_late_syn(struct stream_run *r);
void stream_begin_half(struct stream_half *h, uint32_t isn);

/* --- session.c: established and closing --- */
void stream_process_segment(struct stream_run *r);
void stream_state_open(struct stream_run *r);

/* --- reassemble.c --- */
/* Payload at seq of the run's direction: delivered, held or dropped. */
void stream_take(struct stream_run *r, uint32_t seq, struct sk_span data);
/* Payload that counts only when it is acknowledged. */
void stream_doubt(struct stream_run *r, uint32_t seq, struct sk_span data);
/* The other side has acknowledged up to `ack` of what `dir` sends: holes before it will not be filled. */
void stream_acked(struct stream_run *r, int dir, uint32_t ack);
/* EOF, once. */
void stream_eof(struct stream_run *r, int dir);
void stream_check_fin(struct stream_run *r, int dir);
/* Delivers all that is held, with gaps. */
void stream_drain(struct stream_run *r, int dir);

/* --- held.c: the pool, and what waits in it --- */
enum held_result { HELD_NEW, HELD_KNOWN, HELD_FULL };
enum held_result held_add(struct stream_ctx *ctx, struct stream_half *h, uint32_t seq, struct sk_span d);
bool held_add_doubt(struct stream_ctx *ctx, struct stream_half *h, uint32_t seq, struct sk_span d);
/* The first piece, out of the list; give it back with held_put. */
struct stream_segment *held_take_first(struct stream_half *h);
/* The oldest doubtful piece that has bytes at seq, out of the list; or NULL. */
struct stream_segment *held_take_doubt(struct stream_half *h, uint32_t seq);
void held_put(struct stream_ctx *ctx, struct stream_segment *g);
void held_drop_doubt(struct stream_ctx *ctx, struct stream_half *h);
/* Doubtful pieces that end at or before seq. */
void held_drop_old_doubt(struct stream_ctx *ctx, struct stream_half *h, uint32_t seq);
void held_drop_all(struct stream_ctx *ctx, struct stream_half *h);

#endif
