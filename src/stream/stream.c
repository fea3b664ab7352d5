/* The TCP state machine of a session, as an observer on one of its hosts sees it. */
#include <stdlib.h>
#include <sys/mman.h>

#include "stream_internal.h"

#define MIDSTREAM_WSCALE 14    /* window scale of a session whose handshake was not seen: the largest (RFC 7323) */
#define WINDOW_SLACK     65536 /* tolerated beyond the advertised window, at least */

static const char *const state_names[] = {[STREAM_NONE] = "none",
                                          [STREAM_SYN_SENT] = "syn_sent",
                                          [STREAM_SYN_RECV] = "syn_recv",
                                          [STREAM_ESTABLISHED] = "established",
                                          [STREAM_FIN_WAIT1] = "fin_wait1",
                                          [STREAM_FIN_WAIT2] = "fin_wait2",
                                          [STREAM_TIME_WAIT] = "time_wait",
                                          [STREAM_LAST_ACK] = "last_ack",
                                          [STREAM_CLOSE_WAIT] = "close_wait",
                                          [STREAM_CLOSING] = "closing",
                                          [STREAM_CLOSED] = "closed"};

const char *stream_state_name(enum stream_state s)
{
    return (unsigned)s < sizeof state_names / sizeof state_names[0] ? state_names[s] : "none";
}

static const char *const event_names[] = {"",
#define X(id, name) name,
                                          STREAM_EVENTS(X)
#undef X
};

const char *stream_event_name(enum stream_event ev)
{
    return (unsigned)ev < STREAM_EV_COUNT ? event_names[ev] : "";
}

enum stream_event stream_event_find(const char *name)
{
    for (unsigned i = 1; i < STREAM_EV_COUNT; i++)
        if (strcmp(event_names[i], name) == 0)
            return (enum stream_event)i;
    return STREAM_EV_NONE;
}

int stream_create(const struct stream_conf *conf, struct sk_counters *c, struct stream_ctx **out)
{
    struct stream_ctx *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return SK_ENOMEM;
    ctx->conf = *conf;
    if (ctx->conf.max_segs == 0 || ctx->conf.max_segs > UINT16_MAX)
        ctx->conf.max_segs = UINT16_MAX;
    ctx->c = c;
    ctx->npieces = conf->memcap / (uint32_t)sizeof(struct stream_segment);
    size_t size = (size_t)ctx->npieces * sizeof(struct stream_segment);
    void *m = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) {
        free(ctx);
        return SK_ENOMEM;
    }
    ctx->slab = m;
    *out = ctx;
    return SK_OK;
}

void stream_free(struct stream_ctx *ctx)
{
    if (!ctx)
        return;
    size_t size = (size_t)ctx->npieces * sizeof(struct stream_segment);
    munmap(ctx->slab, size ? size : 1);
    free(ctx);
}

uint64_t stream_memory(const struct stream_ctx *ctx)
{
    return (uint64_t)ctx->used * sizeof(struct stream_segment);
}

void stream_event_add(struct stream_run *r, enum stream_event ev)
{
    if (r->nevents && *r->nevents < MAX_PKT_EVENT)
        r->events[(*r->nevents)++] = (uint8_t)ev;
}

static void invalid(struct stream_run *r, enum stream_event ev)
{
    r->v |= STREAM_V_INVALID;
    sk_count(r->ctx->c, SK_C_TCP_INVALID);
    if (ev != STREAM_EV_NONE)
        stream_event_add(r, ev);
}

static void set_state(struct stream_run *r, enum stream_state st)
{
    r->s->state = (uint8_t)st;
    if (st == STREAM_LAST_ACK || st == STREAM_TIME_WAIT || st == STREAM_CLOSED)
        r->v |= STREAM_V_CLOSED;
}

static void establish(struct stream_run *r)
{
    set_state(r, STREAM_ESTABLISHED);
    if (!r->s->established_seen)
        r->v |= STREAM_V_FIRST_EST;
    r->s->established_seen = true;
}

static void begin_half(struct stream_half *h, uint32_t isn)
{
    h->isn = isn;
    h->next = isn + 1;
    h->last_ack = isn + 1;
    h->has_isn = true;
}

/* Options and window of a segment that carries SYN. */
static void learn_syn(struct stream_session *s, int dir, const struct sk_packet *p)
{
    struct stream_half *me = &s->half[dir], *other = &s->half[!dir];
    me->wscale = p->tcp.has_wscale ? (p->tcp.wscale > 14 ? 14 : p->tcp.wscale) : 0;
    other->win = p->tcp.win; /* the window of a SYN is never scaled */
    if (p->tcp.has_ts) {
        me->has_ts = true;
        me->tsval = p->tcp.tsval;
        me->ts_when = p->ts;
    }
}

/* --- handshake --- */

/* Whose packet is this? The lower of a well-known and a high port is the server's. */
static bool looks_like_server(const struct sk_packet *p)
{
    return p->sport < 1024 && p->dport >= 1024;
}

static void process_segment(struct stream_run *r);

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
    struct stream_half *me = &s->half[r->dir], *other = &s->half[!r->dir];
    begin_half(me, p->tcp.seq - 1);
    if (p->tcp.flags & TCP_ACK)
        begin_half(other, p->tcp.ack - 1);
    me->wscale = other->wscale = MIDSTREAM_WSCALE;
    s->async = r->ctx->conf.async_oneside;
    sk_count(r->ctx->c, SK_C_TCP_MIDSTREAM);
    establish(r);
    process_segment(r);
}

static void pick_up_synack(struct stream_run *r)
{
    struct stream_session *s = r->s;
    s->midstream = true;
    s->async = r->ctx->conf.async_oneside;
    begin_half(&s->half[r->dir], r->p->tcp.seq);
    begin_half(&s->half[!r->dir], r->p->tcp.ack - 1);
    learn_syn(s, r->dir, r->p);
    s->half[!r->dir].wscale = MIDSTREAM_WSCALE;
    sk_count(r->ctx->c, SK_C_TCP_MIDSTREAM);
    set_state(r, STREAM_SYN_RECV);
}

/* Data of a SYN (RFC 7413) waits for the SYN/ACK: the server may refuse it. */
static void syn_data(struct stream_run *r)
{
    if (!r->p->payload.len || !r->p->tcp.has_tfo)
        return;
    struct stream_half *h = &r->s->half[r->dir];
    r->s->tfo = true;
    h->next--; /* so that it counts as out of order */
    stream_take(r, r->p->tcp.seq + 1, r->p->payload);
    h->next++;
}

static void state_none(struct stream_run *r)
{
    uint8_t f = r->p->tcp.flags;
    bool midstream = r->ctx->conf.midstream, async = r->ctx->conf.async_oneside;
    if (f & TCP_RST) {
        invalid(r, STREAM_EV_NONE);
    } else if ((f & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
        if (midstream || async)
            pick_up_synack(r);
        else
            invalid(r, STREAM_EV_NONE);
    } else if (f & TCP_SYN) {
        begin_half(&r->s->half[r->dir], r->p->tcp.seq);
        learn_syn(r->s, r->dir, r->p);
        set_state(r, STREAM_SYN_SENT);
        syn_data(r);
    } else if (midstream) {
        pick_up(r);
    } else {
        invalid(r, STREAM_EV_NONE);
    }
}

static void synack(struct stream_run *r)
{
    struct stream_session *s = r->s;
    struct stream_half *client = &s->half[!r->dir];
    uint32_t ack = r->p->tcp.ack;
    bool data_acked = s->tfo && client->segs && ack == client->segs->seq + client->segs->len;
    if (ack != client->isn + 1 && !(s->tfo && seq_lt(client->isn, ack) && seq_le(ack, stream_highest(client)))) {
        invalid(r, STREAM_EV_3WHS_SYNACK_WRONG_ACK);
        return;
    }
    begin_half(&s->half[r->dir], r->p->tcp.seq);
    learn_syn(s, r->dir, r->p);
    set_state(r, STREAM_SYN_RECV);
    if (!s->tfo)
        return;
    if (data_acked || ack != client->isn + 1)
        stream_deliver_held(r, !r->dir);
    else
        stream_drop_held(r->ctx, client); /* refused: the client sends it again */
}

static void state_syn_sent(struct stream_run *r)
{
    struct stream_session *s = r->s;
    uint8_t f = r->p->tcp.flags;
    bool from_client = s->half[r->dir].has_isn;
    if (f & TCP_RST) {
        bool valid = from_client || r->p->tcp.ack == s->half[!r->dir].isn + 1 || (s->tfo && !(f & TCP_SYN));
        if (valid)
            set_state(r, STREAM_CLOSED);
        else
            invalid(r, STREAM_EV_RST_INVALID_ACK);
    } else if ((f & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
        if (from_client)
            invalid(r, STREAM_EV_3WHS_SYNACK_WRONG_DIR);
        else
            synack(r);
    } else if (f & TCP_SYN) {
        if (from_client && r->p->tcp.seq != s->half[r->dir].isn)
            stream_drop_held(r->ctx, &s->half[r->dir]);
        if (!from_client) /* both open at once, RFC 9293 section 3.5 */
            set_state(r, STREAM_SYN_RECV);
        begin_half(&s->half[r->dir], r->p->tcp.seq);
        learn_syn(s, r->dir, r->p);
        if (from_client)
            syn_data(r);
    } else if (from_client && (r->ctx->conf.async_oneside || s->tfo)) {
        s->async = r->ctx->conf.async_oneside;
        if (s->async && (f & TCP_ACK))
            begin_half(&s->half[!r->dir], r->p->tcp.ack - 1);
        stream_deliver_held(r, r->dir);
        if (s->async)
            establish(r);
        process_segment(r);
    } else {
        invalid(r, STREAM_EV_NONE);
    }
}

static void state_syn_recv(struct stream_run *r)
{
    struct stream_session *s = r->s;
    struct stream_half *me = &s->half[r->dir], *other = &s->half[!r->dir];
    uint8_t f = r->p->tcp.flags;
    if (f & TCP_RST) {
        if (r->p->tcp.seq == me->next || r->p->tcp.seq == me->isn || r->p->tcp.seq == other->last_ack)
            set_state(r, STREAM_CLOSED);
        else
            invalid(r, STREAM_EV_RST_INVALID_ACK);
        return;
    }
    if (f & TCP_SYN) {
        if (r->p->tcp.seq == me->isn)
            return; /* sent again */
        if (f & TCP_ACK) {
            synack(r); /* the server has given up its first attempt */
            return;
        }
        r->v |= STREAM_V_NEW_SESSION;
        return;
    }
    if (!(f & TCP_ACK)) {
        invalid(r, STREAM_EV_NONE);
        return;
    }
    uint32_t ack = r->p->tcp.ack;
    if (!s->async && (seq_lt(ack, other->isn + 1) || seq_lt(stream_highest(other), ack)) && !s->midstream) {
        invalid(r, STREAM_EV_3WHS_WRONG_SEQ_WRONG_ACK);
        return;
    }
    establish(r);
    process_segment(r);
}

/* --- established and closing --- */

/* Is the segment where the receiver would take it? One window of tolerance: what it advertised may not have been seen.
 */
static bool in_window(const struct stream_run *r)
{
    const struct stream_half *me = &r->s->half[r->dir];
    uint32_t win = me->win > WINDOW_SLACK ? me->win : WINDOW_SLACK;
    if (r->s->midstream && !r->s->async)
        win = win > (1u << 20) ? win : 1u << 20;
    uint32_t seq = r->p->tcp.seq, end = seq + r->p->payload.len;
    uint32_t base = seq_max(me->next, me->last_ack), low = seq_lt(me->next, me->last_ack) ? me->next : me->last_ack;
    if (r->s->async)
        return true;
    return seq_le(low - win, end) && seq_le(seq, base + 2 * win);
}

/* Protection against wrapped sequence numbers, RFC 7323 section 5. */
static bool paws_ok(struct stream_run *r)
{
    struct stream_half *me = &r->s->half[r->dir];
    const struct sk_packet *p = r->p;
    if (!p->tcp.has_ts || !me->has_ts || (p->tcp.flags & TCP_RST))
        return true;
    int64_t age = p->ts - me->ts_when;
    if ((int32_t)(p->tcp.tsval - me->tsval) < 0 && age < INT64_C(24) * 86400 * 1000000000)
        return p->payload.len == 0; /* an old pure acknowledgement does no harm */
    if (seq_le(p->tcp.seq, me->next)) {
        me->tsval = p->tcp.tsval;
        me->ts_when = p->ts;
    }
    return true;
}

/* The acknowledgement moves the other direction on. */
static bool take_ack(struct stream_run *r)
{
    struct stream_half *me = &r->s->half[r->dir], *other = &r->s->half[!r->dir];
    const struct sk_packet *p = r->p;
    if (!(p->tcp.flags & TCP_ACK))
        return true;
    if (!other->has_isn) {
        if (r->s->async || r->s->midstream)
            begin_half(other, p->tcp.ack - 1);
        return true;
    }
    uint32_t win = other->win > WINDOW_SLACK ? other->win : WINDOW_SLACK;
    if (!r->s->async && !r->s->midstream &&
        seq_lt(seq_max(stream_highest(other), other->last_ack) + 1 + win, p->tcp.ack)) {
        invalid(r, STREAM_EV_EST_INVALID_ACK);
        return false;
    }
    if (r->s->async)
        return true;
    other->win = (uint32_t)p->tcp.win << me->wscale;
    stream_acked(r, !r->dir, p->tcp.ack);
    return true;
}

static void take_fin(struct stream_run *r)
{
    struct stream_half *me = &r->s->half[r->dir];
    if (!me->has_fin) {
        me->has_fin = true;
        me->fin_seq = r->p->tcp.seq + r->p->payload.len;
    }
    if (!seq_lt(me->next, me->fin_seq))
        stream_eof(r, r->dir);
}

static bool fin_acked(const struct stream_half *h)
{
    return h->has_fin && seq_lt(h->fin_seq, h->last_ack);
}

/* Suricata's view: FIN_WAIT when the server closes first, CLOSE_WAIT when the client does. */
static void closing_states(struct stream_run *r)
{
    struct stream_session *s = r->s;
    const struct stream_half *client = &s->half[0], *server = &s->half[1];
    bool fin = r->p->tcp.flags & TCP_FIN, ack = r->p->tcp.flags & TCP_ACK;
    switch (s->state) {
    case STREAM_ESTABLISHED:
        if (fin)
            set_state(r, r->dir == 0 ? STREAM_CLOSE_WAIT : STREAM_FIN_WAIT1);
        break;
    case STREAM_FIN_WAIT1:
        if (fin && r->dir == 0)
            set_state(r, fin_acked(server) ? STREAM_TIME_WAIT : STREAM_CLOSING);
        else if (ack && r->dir == 0 && fin_acked(server))
            set_state(r, STREAM_FIN_WAIT2);
        break;
    case STREAM_FIN_WAIT2:
        if (fin && r->dir == 0)
            set_state(r, STREAM_TIME_WAIT);
        break;
    case STREAM_CLOSING:
        if (ack && fin_acked(client) && fin_acked(server))
            set_state(r, STREAM_TIME_WAIT);
        break;
    case STREAM_CLOSE_WAIT:
        if (fin && r->dir == 1)
            set_state(r, STREAM_LAST_ACK);
        break;
    case STREAM_LAST_ACK:
        if (ack && r->dir == 0 && fin_acked(server))
            set_state(r, STREAM_CLOSED);
        break;
    case STREAM_TIME_WAIT:
        if (ack && !fin && fin_acked(client) && fin_acked(server))
            set_state(r, STREAM_CLOSED);
        break;
    default: break;
    }
}

/* A segment without SYN or RST of a session that is under way. */
static void process_segment(struct stream_run *r)
{
    const struct sk_packet *p = r->p;
    if (!paws_ok(r)) {
        invalid(r, STREAM_EV_PKT_INVALID_TIMESTAMP);
        return;
    }
    if (!in_window(r)) {
        invalid(r, STREAM_EV_EST_OUT_OF_WINDOW);
        return;
    }
    if (!take_ack(r))
        return;
    /* A keep-alive probe repeats the last byte (RFC 9293 section 3.8.4); it is old data and falls out as such. */
    if (p->payload.len)
        stream_take(r, p->tcp.seq, p->payload);
    if (p->tcp.flags & TCP_FIN)
        take_fin(r);
    closing_states(r);
}

static void take_rst(struct stream_run *r)
{
    struct stream_session *s = r->s;
    struct stream_half *me = &s->half[r->dir];
    uint32_t seq = r->p->tcp.seq;
    /* RFC 5961 section 3.2: exactly what the receiver expects next; here also what it may expect when data was not
     * seen. */
    bool valid = seq == me->next || seq == me->last_ack || seq == stream_highest(me) ||
                 (me->has_fin && seq == me->fin_seq + 1) || s->midstream || s->async;
    if (!valid) {
        invalid(r, STREAM_EV_RST_INVALID_ACK);
        return;
    }
    if ((r->p->tcp.flags & TCP_ACK) && s->half[!r->dir].has_isn && !s->async)
        stream_acked(r, !r->dir,
                     seq_lt(stream_highest(&s->half[!r->dir]), r->p->tcp.ack) ? stream_highest(&s->half[!r->dir])
                                                                              : r->p->tcp.ack);
    if (r->p->payload.len && seq == me->next) /* data of a RST is never delivered to the application */
        r->v |= STREAM_V_RETRANS;
    s->rst_seen = true;
    stream_eof(r, 0);
    stream_eof(r, 1);
    set_state(r, STREAM_CLOSED);
}

static bool is_over(const struct stream_session *s)
{
    return s->state == STREAM_CLOSED || s->state == STREAM_TIME_WAIT || s->state == STREAM_LAST_ACK;
}

static void state_open(struct stream_run *r)
{
    struct stream_session *s = r->s;
    uint8_t f = r->p->tcp.flags;
    if (f & TCP_RST) {
        if (s->state == STREAM_CLOSED)
            return;
        take_rst(r);
    } else if ((f & (TCP_SYN | TCP_ACK)) == TCP_SYN && is_over(s)) {
        r->v |= STREAM_V_NEW_SESSION;
    } else if (f & TCP_SYN) {
        bool again = r->p->tcp.seq == s->half[r->dir].isn;
        if (!again)
            invalid(r, STREAM_EV_EST_SYN_RESEND); /* the host answers with a challenge and stays as it is (RFC 5961) */
    } else if (s->rst_seen) {
        invalid(r, STREAM_EV_NONE);
    } else {
        process_segment(r);
    }
}

unsigned stream_packet(struct stream_ctx *ctx, struct stream_session *s, const struct sk_packet *p, int dir,
                       stream_data_fn fn, void *arg, uint8_t *events, unsigned *nevents)
{
    struct stream_run r = {
        .ctx = ctx, .s = s, .p = p, .dir = dir, .fn = fn, .arg = arg, .events = events, .nevents = nevents};
    if ((p->tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
        sk_count(ctx->c, SK_C_TCP_SYN);
    if (p->tcp.flags & TCP_RST)
        sk_count(ctx->c, SK_C_TCP_RST);
    switch (s->state) {
    case STREAM_NONE: state_none(&r); break;
    case STREAM_SYN_SENT: state_syn_sent(&r); break;
    case STREAM_SYN_RECV: state_syn_recv(&r); break;
    default: state_open(&r); break;
    }
    if (!(r.v & (STREAM_V_NEW_SESSION | STREAM_V_SWAP))) {
        s->tcp_flags |= p->tcp.flags;
        s->half[dir].tcp_flags |= p->tcp.flags;
    }
    if (s->established_seen && !(r.v & STREAM_V_NEW_SESSION))
        r.v |= STREAM_V_ESTABLISHED;
    return r.v;
}

void stream_finish(struct stream_ctx *ctx, struct stream_session *s, stream_data_fn fn, void *arg)
{
    unsigned n = MAX_PKT_EVENT;
    uint8_t ev[MAX_PKT_EVENT];
    struct stream_run r = {.ctx = ctx, .s = s, .fn = fn, .arg = arg, .events = ev, .nevents = &n};
    for (int dir = 0; dir < 2; dir++) {
        r.dir = dir;
        if (s->established_seen)
            stream_drain(&r, dir);
        if (s->half[dir].has_isn)
            stream_eof(&r, dir);
    }
}

void stream_release(struct stream_ctx *ctx, struct stream_session *s)
{
    stream_drop_held(ctx, &s->half[0]);
    stream_drop_held(ctx, &s->half[1]);
}

void stream_stop(struct stream_ctx *ctx, struct stream_session *s, int dir)
{
    s->half[dir].stopped = true;
    stream_drop_held(ctx, &s->half[dir]);
}

void stream_swap(struct stream_session *s)
{
    struct stream_half h = s->half[0];
    s->half[0] = s->half[1];
    s->half[1] = h;
}
