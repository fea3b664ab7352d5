/* Established and closing: which segments the host takes, acknowledgements, FIN and RST. */
#include "stream_internal.h"

#define OLD_SLACK  65536 /* a segment older than the window and this is not a retransmission */
#define PAWS_SLACK 1     /* ticks, as Linux (TCP_PAWS_WINDOW) */
#define PAWS_IDLE  (INT64_C(24) * 86400 * 1000000000) /* RFC 7323 section 5.5 */

static uint32_t sent_until(const struct stream_half *h)
{
    return h->has_fin ? seq_max(h->high, h->fin_seq + 1) : h->high;
}

/* Protection against wrapped sequence numbers, RFC 7323 section 5. An old pure acknowledgement does no harm. */
static bool is_too_old(const struct stream_run *r)
{
    const struct stream_half *me = &r->s->half[r->dir], *other = &r->s->half[!r->dir];
    const struct sk_packet *p = r->p;
    if (!p->tcp.has_ts || !me->has_ts || !other->has_ts || !me->tsval)
        return false;
    if (!p->payload.len && !(p->tcp.flags & TCP_FIN))
        return false;
    return (int32_t)(p->tcp.tsval - me->tsval) < -PAWS_SLACK && p->ts - me->ts_when < PAWS_IDLE;
}

/* Beyond what the receiver offers (tcp_sequence, and tcp_data_queue for data). */
static bool is_beyond_window(const struct stream_run *r)
{
    const struct stream_half *me = &r->s->half[r->dir];
    uint32_t seq = r->p->tcp.seq;
    if (!me->has_edge)
        return false;
    return seq_lt(me->edge, seq) || (r->p->payload.len && seq == me->edge);
}

static bool is_ancient(const struct stream_run *r)
{
    const struct stream_half *me = &r->s->half[r->dir];
    uint32_t low = seq_min(me->next, me->last_ack) - me->max_win - OLD_SLACK;
    return seq_lt(r->p->tcp.seq + r->p->payload.len, low);
}

/* RFC 5961 section 5: of data that was never sent, or from long ago. */
static bool is_bad_ack(const struct stream_run *r)
{
    const struct stream_half *other = &r->s->half[!r->dir];
    uint32_t ack = r->p->tcp.ack;
    if (!other->has_isn || (r->s->midstream && !other->seen))
        return false;
    return seq_lt(sent_until(other), ack) || seq_lt(ack, other->last_ack - other->max_win - OLD_SLACK);
}

/* Signed, though nobody agreed on it: Linux discards it (tcp_inbound_hash). */
static bool is_signed_alone(const struct stream_run *r)
{
    const struct stream_half *me = &r->s->half[r->dir];
    return r->p->tcp.has_sig && me->offer.seen && !me->offer.has_sig;
}

/* Would the host take the segment? If not, *why. */
static bool is_acceptable(const struct stream_run *r, enum stream_event *why)
{
    *why = STREAM_EV_NONE;
    if (r->s->async)
        return true;
    if (is_too_old(r))
        *why = STREAM_EV_PKT_INVALID_TIMESTAMP;
    else if (is_beyond_window(r) || is_ancient(r))
        *why = stream_window_event(r);
    else if ((r->p->tcp.flags & TCP_ACK) && is_bad_ack(r))
        *why = STREAM_EV_PKT_INVALID_ACK;
    return *why == STREAM_EV_NONE && (r->p->tcp.flags & TCP_ACK) && !is_signed_alone(r);
}

static void take_timestamp(struct stream_run *r)
{
    struct stream_half *me = stream_me(r);
    const struct sk_packet *p = r->p;
    if (p->tcp.has_ts && me->has_ts && seq_le(p->tcp.seq, me->last_ack) && (int32_t)(p->tcp.tsval - me->tsval) >= 0) {
        me->tsval = p->tcp.tsval;
        me->ts_when = p->ts;
    }
}

/* The acknowledgement moves the other direction on. */
static void take_ack(struct stream_run *r)
{
    struct stream_half *me = stream_me(r), *other = stream_other(r);
    const struct sk_packet *p = r->p;
    if (!(p->tcp.flags & TCP_ACK))
        return;
    bool unknown = r->s->midstream && !other->seen && seq_lt(other->next, p->tcp.ack);
    if (!other->has_isn || unknown) /* what is under way at the pick-up is not missing */
        stream_begin_half(other, p->tcp.ack - 1);
    if (r->s->async)
        return;
    uint32_t win = (uint32_t)p->tcp.win << me->wscale, edge = p->tcp.ack + win;
    other->edge = other->has_edge ? seq_max(other->edge, edge) : edge;
    other->has_edge = true;
    if (win > other->max_win)
        other->max_win = win;
    stream_acked(r, !r->dir, p->tcp.ack);
}

/* Where the urgent byte lies: before the one that the pointer names, as in BSD and Linux (RFC 6093). */
static void take_urgent(struct stream_run *r)
{
    struct stream_half *me = stream_me(r);
    const struct sk_packet *p = r->p;
    if (!(p->tcp.flags & TCP_URG) || !p->tcp.urg)
        return;
    uint32_t at = p->tcp.seq + p->tcp.urg - 1;
    if (seq_lt(at, me->next) || (me->has_urg && seq_le(at, me->urg_seq)))
        return;
    me->urg_seq = at;
    me->has_urg = true;
}

static void take_fin(struct stream_run *r)
{
    struct stream_half *me = stream_me(r);
    uint32_t seq = r->p->tcp.seq + r->p->payload.len;
    if (!me->fin_in && (!me->has_fin || seq_lt(seq, me->fin_seq))) {
        me->has_fin = true;
        me->fin_seq = seq;
    }
    stream_check_fin(r, r->dir);
}

static bool fin_acked(const struct stream_half *h)
{
    return h->fin_in && seq_lt(h->fin_seq, h->last_ack);
}

/* Suricata's view: FIN_WAIT when the server closes first, CLOSE_WAIT when the client does. */
static void closing_states(struct stream_run *r)
{
    struct stream_session *s = r->s;
    const struct stream_half *client = &s->half[0], *server = &s->half[1];
    bool acked = fin_acked(server), both = acked && fin_acked(client);
    switch (s->state) {
    case STREAM_ESTABLISHED:
        if (r->fins)
            stream_set_state(r, r->fins & 1 ? STREAM_CLOSE_WAIT : STREAM_FIN_WAIT1);
        break;
    case STREAM_FIN_WAIT1:
        if (client->fin_in)
            stream_set_state(r, acked ? STREAM_TIME_WAIT : STREAM_CLOSING);
        else if (acked)
            stream_set_state(r, STREAM_FIN_WAIT2);
        break;
    case STREAM_FIN_WAIT2:
        if (client->fin_in)
            stream_set_state(r, STREAM_TIME_WAIT);
        break;
    case STREAM_CLOSING:
        if (both)
            stream_set_state(r, STREAM_TIME_WAIT);
        break;
    case STREAM_CLOSE_WAIT:
        if (server->fin_in)
            stream_set_state(r, STREAM_LAST_ACK);
        break;
    case STREAM_LAST_ACK:
        if (acked)
            stream_set_state(r, STREAM_CLOSED);
        break;
    case STREAM_TIME_WAIT:
        if (both && !(r->p->tcp.flags & TCP_FIN))
            stream_set_state(r, STREAM_CLOSED);
        break;
    default: break;
    }
}

/* A segment without SYN or RST of a session that is under way. */
void stream_process_segment(struct stream_run *r)
{
    const struct sk_packet *p = r->p;
    struct stream_half *me = stream_me(r);
    enum stream_event why;
    if (!is_acceptable(r, &why)) {
        stream_invalid(r, why);
        if (why == STREAM_EV_PKT_INVALID_ACK)
            stream_event_add(r, stream_ack_event(r));
        if (!is_ancient(r)) {
            stream_doubt(r, p->tcp.seq, p->payload);
            me->high = seq_max(me->high, p->tcp.seq + p->payload.len);
        }
        return;
    }
    me->seen = true;
    take_timestamp(r);
    take_ack(r);
    take_urgent(r);
    /* A keep-alive probe repeats the last byte (RFC 9293 section 3.8.4); it is old data and falls out as such. */
    if (p->payload.len)
        stream_take(r, p->tcp.seq, p->payload);
    if (p->tcp.flags & TCP_FIN)
        take_fin(r);
    closing_states(r);
}

/* Where the farthest SACK block ends; of a session without handshake SACK is supposed. */
static bool is_held_end(const struct stream_session *s, const struct stream_half *h, uint32_t seq)
{
    const struct stream_syn *a = &s->half[0].offer, *b = &s->half[1].offer;
    bool sack = (!a->seen || a->has_sack) && (!b->seen || b->has_sack);
    return sack && h->segs_last && seq == h->segs_last->to;
}

/* RFC 5961 section 3.2, with what Linux adds (tcp_validate_incoming, tcp_reset_check). */
static void take_rst(struct stream_run *r)
{
    struct stream_session *s = r->s;
    struct stream_half *me = stream_me(r);
    uint32_t seq = r->p->tcp.seq, expected = me->next + me->fin_in;
    bool valid =
        seq == expected || is_held_end(s, me, seq) || (me->fin_in && seq == me->fin_seq) || s->async || !me->has_isn;
    if (!valid || is_signed_alone(r)) {
        stream_invalid(r, valid ? STREAM_EV_SUSPECTED_RST_INJECT : STREAM_EV_RST_INVALID_ACK);
        return;
    }
    s->rst_seen = true;
    held_drop_all(r->ctx, &s->half[0]);
    held_drop_all(r->ctx, &s->half[1]);
    stream_eof(r, 0);
    stream_eof(r, 1);
    stream_set_state(r, STREAM_CLOSED);
}

static bool is_over(const struct stream_session *s)
{
    return s->state == STREAM_CLOSED || s->state == STREAM_TIME_WAIT || s->state == STREAM_LAST_ACK;
}

/* A reset before the handshake was complete. */
static void after_early_rst(struct stream_run *r)
{
    if (r->s->half[0].has_isn && r->s->half[1].has_isn)
        stream_state_syn_recv(r);
    else
        stream_state_syn_sent(r);
}

void stream_state_open(struct stream_run *r)
{
    const struct stream_session *s = r->s;
    uint8_t f = r->p->tcp.flags;
    bool closed = s->state == STREAM_CLOSED;
    if ((f & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN && is_over(s))
        r->v |= STREAM_V_NEW_SESSION;
    else if (closed && (f & TCP_RST))
        return;
    else if (closed && !s->established_seen)
        after_early_rst(r);
    else if (f & TCP_RST)
        take_rst(r);
    else if (f & TCP_SYN)
        stream_late_syn(r);
    else if (s->rst_seen) /* the host that got the RST goes on: it has not believed it */
        stream_invalid(r, s->half[!r->dir].tcp_flags & TCP_RST ? STREAM_EV_SUSPECTED_RST_INJECT : STREAM_EV_NONE);
    else
        stream_process_segment(r);
}
