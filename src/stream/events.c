/* What Suricata's stream events call the things that the state machine finds. */
#include "stream_internal.h"

enum stream_event stream_ack_event(const struct stream_run *r)
{
    switch (r->s->state) {
    case STREAM_FIN_WAIT1: return STREAM_EV_FIN1_INVALID_ACK;
    case STREAM_FIN_WAIT2: return STREAM_EV_FIN2_INVALID_ACK;
    case STREAM_CLOSING: return STREAM_EV_CLOSING_INVALID_ACK;
    case STREAM_CLOSE_WAIT: return STREAM_EV_CLOSEWAIT_INVALID_ACK;
    case STREAM_LAST_ACK: return STREAM_EV_LASTACK_INVALID_ACK;
    case STREAM_TIME_WAIT: return STREAM_EV_TIMEWAIT_INVALID_ACK;
    default: return r->p->tcp.flags & TCP_FIN ? STREAM_EV_FIN_INVALID_ACK : STREAM_EV_EST_INVALID_ACK;
    }
}

enum stream_event stream_window_event(const struct stream_run *r)
{
    bool fin = r->p->tcp.flags & TCP_FIN;
    switch (r->s->state) {
    case STREAM_FIN_WAIT1: return fin ? STREAM_EV_FIN1_FIN_WRONG_SEQ : STREAM_EV_FIN1_ACK_WRONG_SEQ;
    case STREAM_FIN_WAIT2: return fin ? STREAM_EV_FIN2_FIN_WRONG_SEQ : STREAM_EV_FIN2_ACK_WRONG_SEQ;
    case STREAM_CLOSING: return STREAM_EV_CLOSING_ACK_WRONG_SEQ;
    case STREAM_CLOSE_WAIT: return fin ? STREAM_EV_CLOSEWAIT_FIN_OUT_OF_WINDOW : STREAM_EV_CLOSEWAIT_ACK_OUT_OF_WINDOW;
    case STREAM_LAST_ACK: return STREAM_EV_LASTACK_ACK_WRONG_SEQ;
    case STREAM_TIME_WAIT: return STREAM_EV_TIMEWAIT_ACK_WRONG_SEQ;
    default: return fin ? STREAM_EV_FIN_OUT_OF_WINDOW : STREAM_EV_EST_OUT_OF_WINDOW;
    }
}

/* A SYN, with or without ACK, that the session has no use for. */
enum stream_event stream_syn_event(const struct stream_run *r)
{
    bool half_open = r->s->state == STREAM_SYN_RECV;
    if (r->p->tcp.flags & TCP_ACK) {
        if (half_open && r->s->fourway)
            return STREAM_EV_4WHS_SYNACK_WRONG_SYN;
        if (r->dir == 0)
            return half_open ? STREAM_EV_3WHS_SYNACK_TOSERVER : STREAM_EV_EST_SYNACK_TOSERVER;
        return half_open ? STREAM_EV_3WHS_SYNACK_DIFF_SEQ : STREAM_EV_EST_SYNACK_DIFF_SEQ;
    }
    if (!half_open && r->s->state != STREAM_ESTABLISHED)
        return STREAM_EV_SHUTDOWN_SYN_RESEND;
    if (r->dir == 1)
        return half_open ? STREAM_EV_3WHS_SYN_TOCLIENT : STREAM_EV_EST_SYN_TOCLIENT;
    return half_open ? STREAM_EV_3WHS_SYN_DIFF_SEQ : STREAM_EV_EST_SYN_DIFF_SEQ;
}

/* A segment that should have completed the handshake, and does not. */
enum stream_event stream_third_event(const struct stream_run *r)
{
    bool seq_ok = r->p->tcp.seq == r->s->half[r->dir].next;
    if (r->s->fourway)
        return seq_ok ? STREAM_EV_4WHS_INVALID_ACK : STREAM_EV_4WHS_WRONG_SEQ;
    return seq_ok ? STREAM_EV_3WHS_RIGHT_SEQ_WRONG_ACK : STREAM_EV_3WHS_WRONG_SEQ_WRONG_ACK;
}

/* --- segments sent again --- */

static uint64_t word_at(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

struct chains {
    uint64_t a, b, c, d;
};

#define PRINT_MUL UINT64_C(0x9e3779b97f4a7c15)

/* n bytes; a multiple of 32, but for the last call. */
static void add_bytes(struct chains *x, const uint8_t *p, uint32_t n)
{
    uint8_t last[32] = {0};
    for (; n >= 32; p += 32, n -= 32) {
        x->a = (x->a ^ word_at(p)) * PRINT_MUL;
        x->b = (x->b ^ word_at(p + 8)) * PRINT_MUL;
        x->c = (x->c ^ word_at(p + 16)) * PRINT_MUL;
        x->d = (x->d ^ word_at(p + 24)) * PRINT_MUL;
    }
    if (n) {
        memcpy(last, p, n);
        add_bytes(x, last, 32);
    }
}

/*
 * Every delivered segment pays for this, so of a long one only the beginning, the middle and the end count. It is not
 * proof against an attacker, who gains only that an overlap is not told: what was delivered stays delivered.
 */
static uint32_t fingerprint(struct sk_span d)
{
    struct chains x = {.a = d.len, .b = 1, .c = 2, .d = 3};
    if (d.len <= 256) {
        add_bytes(&x, d.p, d.len);
    } else {
        add_bytes(&x, d.p, 128);
        add_bytes(&x, d.p + d.len / 2, 64);
        add_bytes(&x, d.p + d.len - 64, 64);
    }
    x.a = ((x.a ^ x.a >> 32) + (x.b ^ x.b >> 29) * 3 + (x.c ^ x.c >> 31) * 5 + (x.d ^ x.d >> 27) * 7) * PRINT_MUL;
    return (uint32_t)(x.a >> 32);
}

void stream_print_keep(struct stream_half *h, uint32_t seq, struct sk_span d)
{
    unsigned i = h->print_at++ % STREAM_PRINTS;
    h->print[i].seq = seq;
    h->print[i].len = d.len;
    h->print[i].hash = fingerprint(d);
}

static bool differs(const struct stream_half *h, uint32_t seq, struct sk_span d)
{
    for (unsigned i = 0; i < STREAM_PRINTS; i++)
        if (h->print[i].len == d.len && h->print[i].seq == seq)
            return h->print[i].hash != fingerprint(d);
    return false;
}

void stream_note_again(struct stream_run *r, const struct stream_half *h, uint32_t seq, struct sk_span d)
{
    uint32_t end = seq + d.len;
    if (d.len == 1 && end == h->next)
        return; /* keep-alive: the last byte, whatever it says */
    if (differs(h, seq, d)) {
        sk_count(r->ctx->c, SK_C_TCP_OVERLAP_DIFF);
        stream_event_add(r, STREAM_EV_REASSEMBLY_OVERLAP_DIFF);
    }
    stream_event_add(r, STREAM_EV_PKT_RETRANSMISSION);
    if (end == h->last_ack)
        stream_event_add(r, STREAM_EV_REASSEMBLY_BEFORE_BASE_SEQ);
    else if (seq_lt(end, h->last_ack))
        stream_event_add(r, r->s->state == STREAM_CLOSE_WAIT ? STREAM_EV_CLOSEWAIT_BEFORE_LAST_ACK
                                                             : STREAM_EV_EST_PKT_BEFORE_LAST_ACK);
}
