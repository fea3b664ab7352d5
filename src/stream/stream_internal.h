/* What the files of stream share. */
#ifndef STREAM_INTERNAL_H
#define STREAM_INTERNAL_H

#include "stream/stream.h"

#define SEG_DATA      2032 /* bytes of one piece; a longer segment is held as several */
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

/* A piece of held data. Sorted by seq; pieces of one segment are neighbours. */
struct stream_segment {
    struct stream_segment *next;
    uint32_t seq;
    uint16_t len;
    uint16_t pad;
    uint8_t data[SEG_DATA];
};

struct stream_ctx {
    struct stream_conf conf;
    struct sk_counters *c;
    unsigned char *slab;
    uint32_t npieces, used;
    struct stream_segment *free_;
};

/* One call of stream_packet. */
struct stream_run {
    struct stream_ctx *ctx;
    struct stream_session *s;
    const struct sk_packet *p;
    int dir;
    stream_data_fn fn;
    void *arg;
    unsigned v; /* enum stream_verdict_flag */
    uint8_t *events;
    unsigned *nevents;
};

void stream_event_add(struct stream_run *r, enum stream_event ev);

/* --- reassemble.c --- */
/* Payload at seq of the run's direction: delivered, held or dropped. */
void stream_take(struct stream_run *r, uint32_t seq, struct sk_span data);
/* The other side has acknowledged up to `ack` of what `dir` sends: holes before it will not be filled. */
void stream_acked(struct stream_run *r, int dir, uint32_t ack);
/* End of one direction: EOF, once. */
void stream_eof(struct stream_run *r, int dir);
/* Delivers all that is held, with gaps. */
void stream_drain(struct stream_run *r, int dir);
void stream_drop_held(struct stream_ctx *ctx, struct stream_half *h);
/* Data of a SYN that was held until its acknowledgement. */
void stream_deliver_held(struct stream_run *r, int dir);
/* Highest sequence number seen of a direction. */
uint32_t stream_highest(const struct stream_half *h);

#endif
