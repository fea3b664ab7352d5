/* Up to the established session: SYN, SYN/ACK, ACK; Fast Open; pick-up in midstream. */
#include "stream_internal.h"

#define MIDSTREAM_WSCALE 14 /* window scale of a session whose handshake was not seen: the largest (RFC 7323) */

static void establish(struct stream_run *r)
{
    stream_set_state(r, STREAM_ESTABLISHED);
    if (!r->s->established_seen)
        r->v |= STREAM_V_FIRST_EST;
    r->s->established_seen = true;
}

void stream_begin_half(struct stream_half *h, uint32_t isn)
{
    h->isn = isn;
    h->next = h->high = h->last_ack = isn + 1;
    h->has_isn = true;
}

static struct stream_syn read_syn(const struct sk_packet *p)
{
    return (struct stream_syn){.seen = true,
                               .has_wscale = p->tcp.has_wscale,
                               .has_ts = p->tcp.has_ts,
                               .has_sack = p->tcp.sack_ok,
                               .has_sig = p->tcp.has_sig,
                               .has_tfo = p->tcp.has_tfo,
                               .wscale = p->tcp.wscale > 14 ? 14 : p->tcp.wscale,
                               .win = p->tcp.win,
                               .isn = p->tcp.seq,
                               .tsval = p->tcp.tsval,
                               .when = p->ts};
}

static void begin_offer(struct stream_half *h, const struct stream_syn *syn)
{
    stream_begin_half(h, syn->isn);
    h->offer = *syn;
}

/* What both sides have offered holds: scaling and timestamps (RFC 7323). The window of a SYN is never scaled. */
static void settle_offers(struct stream_session *s)
{
    const struct stream_syn *a = &s->half[0].offer, *b = &s->half[1].offer;
    for (int d = 0; d < 2; d++) {
        struct stream_half *h = &s->half[d];
        const struct stream_syn *other = &s->half[!d].offer;
        h->wscale = a->has_wscale && b->has_wscale ? h->offer.wscale : 0;
        h->has_ts = a->has_ts && b->has_ts;
        h->tsval = h->offer.tsval;
        h->ts_when = h->offer.when;
        h->max_win = other->win;
        h->edge = h->isn + 1 + other->win;
        h->has_edge = true;
    }
}

/* --- without a handshake --- */

/* Whose packet is this? The lower of a well-known and a high port is the server's. */
static bool looks_like_server(const struct sk_packet *p)
{
    return p->sport < 1024 && p->dport >= 1024;
}

static void pick_up(struct stream_run *r)
{
    struct stream_session *s = r->s;
    const struct sk_packet *p = r->p;
    if (r->dir == 0 && !s->swap_asked && looks_like_server(p)) {
        s->swap_asked = true;
        r->v |= STREAM_V_SWAP;
        return;
    }
    s->midstream = true;
    struct stream_half *me = stream_me(r), *other = stream_other(r);
    stream_begin_half(me, p->tcp.seq - 1);
    if (p->tcp.flags & TCP_ACK)
        stream_begin_half(other, p->tcp.ack - 1);
    me->wscale = other->wscale = MIDSTREAM_WSCALE;
    s->async = r->ctx->conf.async_oneside;
    sk_count(r->ctx->c, SK_C_TCP_MIDSTREAM);
    establish(r);
    stream_process_segment(r);
}

static void pick_up_synack(struct stream_run *r)
{
    struct stream_session *s = r->s;
    struct stream_half *client = stream_other(r);
    s->midstream = true;
    s->async = r->ctx->conf.async_oneside;
    stream_begin_half(client, r->p->tcp.ack - 1);
    client->wscale = MIDSTREAM_WSCALE;
    client->edge = r->p->tcp.ack + r->p->tcp.win;
    client->max_win = r->p->tcp.win;
    client->has_edge = true;
    struct stream_syn syn = read_syn(r->p);
    begin_offer(stream_me(r), &syn);
    stream_me(r)->wscale = syn.wscale;
    sk_count(r->ctx->c, SK_C_TCP_MIDSTREAM);
    stream_set_state(r, STREAM_SYN_RECV);
}

/* --- with one --- */

/* Data of a SYN (RFC 7413) waits for the SYN/ACK: the server may refuse it. */
static void syn_data(struct stream_run *r)
{
    if (!r->p->payload.len)
        return;
    r->s->tfo = true;
    stream_doubt(r, r->p->tcp.seq + 1, r->p->payload);
    r->v |= STREAM_V_OOO;
    if (r->p->tcp.has_tfo)
        r->v |= STREAM_V_ADDED;
}

/* Does ack answer the SYN with this number, perhaps with its data? */
static bool answers(const struct stream_half *h, uint32_t isn, uint32_t ack)
{
    if (ack == isn + 1)
        return true;
    for (const struct stream_segment *g = h->doubt; g; g = g->next)
        if (g->from == isn + 1 && seq_lt(isn, ack) && seq_le(ack, g->to))
            return true;
    return false;
}

static void synack(struct stream_run *r)
{
    struct stream_half *me = stream_me(r), *client = stream_other(r);
    uint32_t ack = r->p->tcp.ack;
    if (!answers(client, client->isn, ack)) {
        if (!client->alt.seen || !answers(client, client->alt.isn, ack)) {
            stream_invalid(r, STREAM_EV_3WHS_SYNACK_WRONG_ACK);
            return;
        }
        begin_offer(client, &client->alt);
    }
    client->alt.seen = false;
    struct stream_syn syn = read_syn(r->p);
    begin_offer(me, &syn);
    me->seen = true;
    settle_offers(r->s);
    stream_set_state(r, STREAM_SYN_RECV);
    client->edge = ack + r->p->tcp.win;
    if (ack != client->isn + 1)
        stream_acked(r, !r->dir, ack);
    else if (client->doubt && client->offer.has_tfo)
        stream_event_add(r, STREAM_EV_3WHS_SYNACK_TFO_IGNORED);
    held_drop_doubt(r->ctx, client); /* what was not acknowledged was refused: the client sends it again */
}

void stream_state_none(struct stream_run *r)
{
    uint8_t f = r->p->tcp.flags;
    const struct stream_conf *conf = &r->ctx->conf;
    const struct stream_syn *reuse = &r->ctx->reuse;
    if (f & TCP_RST) {
        stream_invalid(r, STREAM_EV_RST_NO_SESSION);
    } else if ((f & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
        if (reuse->seen && r->p->tcp.ack == reuse->isn + 1) {
            begin_offer(stream_other(r), reuse);
            synack(r);
        } else if (conf->midstream || conf->async_oneside) {
            pick_up_synack(r);
        } else {
            stream_invalid(r, STREAM_EV_NONE);
        }
    } else if ((f & (TCP_SYN | TCP_FIN)) == (TCP_SYN | TCP_FIN)) {
        stream_invalid(r, STREAM_EV_FIN_SYN); /* a listening Linux socket drops it */
    } else if (f & TCP_SYN) {
        struct stream_syn syn = read_syn(r->p);
        begin_offer(stream_me(r), &syn);
        stream_set_state(r, STREAM_SYN_SENT);
        syn_data(r);
    } else if (conf->midstream) {
        pick_up(r);
    } else {
        stream_invalid(r, f & TCP_FIN ? STREAM_EV_FIN_NO_SESSION : STREAM_EV_NONE);
    }
}

static void syn_while_sent(struct stream_run *r)
{
    struct stream_half *me = stream_me(r);
    struct stream_syn syn = read_syn(r->p);
    if (!me->has_isn) { /* both open at once, RFC 9293 section 3.5 */
        begin_offer(me, &syn);
        settle_offers(r->s);
        r->s->fourway = true;
        stream_set_state(r, STREAM_SYN_RECV);
        return;
    }
    /* The host answers one of them; which, its SYN/ACK tells. */
    if (syn.isn != me->isn)
        me->alt = syn;
    syn_data(r);
}

static void rst_while_sent(struct stream_run *r)
{
    const struct stream_half *me = stream_me(r), *other = stream_other(r);
    bool from_client = me->has_isn;
    if (from_client ? seq_lt(me->isn, r->p->tcp.seq) : answers(other, other->isn, r->p->tcp.ack))
        stream_set_state(r, STREAM_CLOSED);
    else
        stream_invalid(r, STREAM_EV_RST_INVALID_ACK);
}

static void early_segment(struct stream_run *r)
{
    struct stream_session *s = r->s;
    if (!r->ctx->conf.async_oneside) {
        stream_invalid(r, STREAM_EV_NONE);
        if (s->tfo)
            stream_doubt(r, r->p->tcp.seq, r->p->payload);
        return;
    }
    if (seq_lt(r->p->tcp.seq, stream_me(r)->next) || seq_lt(stream_me(r)->high, r->p->tcp.seq))
        stream_event_add(r, STREAM_EV_3WHS_ASYNC_WRONG_SEQ);
    s->async = true;
    if (r->p->tcp.flags & TCP_ACK)
        stream_begin_half(stream_other(r), r->p->tcp.ack - 1);
    if (seq_lt(stream_me(r)->next, r->p->tcp.seq)) /* data of the SYN: that the client goes on is its answer */
        stream_acked(r, r->dir, r->p->tcp.seq);
    establish(r);
    stream_process_segment(r);
}

void stream_state_syn_sent(struct stream_run *r)
{
    uint8_t f = r->p->tcp.flags;
    bool from_client = stream_me(r)->has_isn;
    if (f & TCP_RST) {
        rst_while_sent(r);
    } else if ((f & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
        if (from_client)
            stream_invalid(r, STREAM_EV_3WHS_SYNACK_WRONG_DIR);
        else
            synack(r);
    } else if (f & TCP_SYN) {
        syn_while_sent(r);
    } else if (from_client) {
        early_segment(r);
    } else {
        stream_invalid(r, STREAM_EV_NONE);
    }
}

static bool acks_syn(const struct stream_half *h, uint32_t ack)
{
    return !h->has_isn || (seq_lt(h->isn, ack) && !seq_lt(h->high, ack));
}

static enum stream_event synack_ack_event(const struct stream_run *r, bool half_open)
{
    if (!half_open)
        return STREAM_EV_EST_SYNACK_DIFF_ACK;
    return r->s->fourway ? STREAM_EV_4WHS_SYNACK_WRONG_ACK : STREAM_EV_3WHS_SYNACK_DIFF_ACK;
}

void stream_late_syn(struct stream_run *r)
{
    struct stream_half *me = stream_me(r), *other = stream_other(r);
    bool half_open = r->s->state == STREAM_SYN_RECV;
    uint32_t seq = r->p->tcp.seq, ack = r->p->tcp.ack;
    if ((r->p->tcp.flags & TCP_ACK) && other->alt.seen && ack == other->alt.isn + 1) {
        /* The host has answered the newer SYN: the end of the session before was not seen. */
        r->ctx->reuse = other->alt;
        r->v |= STREAM_V_NEW_SESSION;
        return;
    }
    if ((r->p->tcp.flags & TCP_ACK) && me->has_isn && seq == me->isn && !acks_syn(other, ack)) {
        stream_invalid(r, synack_ack_event(r, half_open));
        return;
    }
    if (me->has_isn && seq == me->isn) { /* sent again */
        if (!half_open)
            stream_event_add(r, r->p->tcp.flags & TCP_ACK ? STREAM_EV_EST_SYNACK_RESEND : STREAM_EV_EST_SYN_RESEND);
        return;
    }
    if (!(r->p->tcp.flags & TCP_ACK) || (half_open && ack == other->isn + 1))
        me->alt = read_syn(r->p);
    stream_invalid(r, stream_syn_event(r));
}

/* Is the segment an answer to the other side's SYN, or to the other of two? */
static bool completes(struct stream_run *r)
{
    struct stream_half *me = stream_me(r), *other = stream_other(r);
    uint32_t ack = r->p->tcp.ack;
    if (seq_lt(r->p->tcp.seq, me->isn))
        return false;
    if (!seq_lt(ack, other->isn + 1) && (!seq_lt(other->high, ack) || (r->s->midstream && !other->seen)))
        return true;
    if (!other->alt.seen || ack != other->alt.isn + 1)
        return false;
    begin_offer(other, &other->alt);
    settle_offers(r->s);
    return true;
}

/* The server goes on before its client has answered. */
static void note_direction(struct stream_run *r)
{
    const struct stream_session *s = r->s;
    if (r->dir == 0 || s->tfo || s->fourway || s->async || s->midstream)
        return;
    stream_event_add(r, STREAM_EV_3WHS_ACK_IN_WRONG_DIR);
    if (r->ctx->conf.is_inline && r->p->payload.len)
        stream_event_add(r, STREAM_EV_3WHS_ACK_DATA_INJECT);
}

/*
 * A RST here does not end all: with SYN cookies the host keeps nothing that it could reset, and an ACK completes the
 * handshake all the same.
 */
void stream_state_syn_recv(struct stream_run *r)
{
    struct stream_session *s = r->s;
    uint8_t f = r->p->tcp.flags;
    if (f & TCP_RST) {
        const struct stream_half *me = stream_me(r);
        if (seq_lt(me->isn, r->p->tcp.seq) && !(me->has_edge && seq_lt(me->edge, r->p->tcp.seq)))
            stream_set_state(r, STREAM_CLOSED);
        else
            stream_invalid(r, STREAM_EV_RST_INVALID_ACK);
    } else if (f & TCP_SYN) {
        stream_late_syn(r);
    } else if (!(f & TCP_ACK)) {
        stream_invalid(r, STREAM_EV_NONE);
    } else if (!s->async && !completes(r)) {
        stream_invalid(r, stream_third_event(r));
        stream_doubt(r, r->p->tcp.seq, r->p->payload);
    } else {
        note_direction(r);
        establish(r);
        stream_process_segment(r);
    }
}
