/* Life cycle, names, and the way of one packet into the state machine. */
#include <stdlib.h>
#include <sys/mman.h>

#include "stream_internal.h"

#define PIECE_COST ((uint32_t)(SEG_DATA + sizeof(struct stream_segment)))

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
    ctx->npieces = conf->memcap / PIECE_COST;
    size_t n = ctx->npieces ? ctx->npieces : 1;
    ctx->pieces = calloc(n, sizeof *ctx->pieces);
    /* Pages come as pieces are first used. */
    void *m = mmap(NULL, n * SEG_DATA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ctx->data = m == MAP_FAILED ? NULL : m;
    if (!ctx->data || !ctx->pieces) {
        stream_free(ctx);
        return SK_ENOMEM;
    }
    *out = ctx;
    return SK_OK;
}

void stream_free(struct stream_ctx *ctx)
{
    if (!ctx)
        return;
    if (ctx->data)
        munmap(ctx->data, (ctx->npieces ? ctx->npieces : 1) * (size_t)SEG_DATA);
    free(ctx->pieces);
    free(ctx);
}

uint64_t stream_memory(const struct stream_ctx *ctx)
{
    return (uint64_t)ctx->used * PIECE_COST;
}

void stream_event_add(struct stream_run *r, enum stream_event ev)
{
    for (unsigned i = 0; r->nevents && i < *r->nevents; i++)
        if (r->events[i] == ev)
            return;
    if (r->nevents && *r->nevents < MAX_PKT_EVENT)
        r->events[(*r->nevents)++] = (uint8_t)ev;
}

void stream_invalid(struct stream_run *r, enum stream_event ev)
{
    r->v |= STREAM_V_INVALID;
    sk_count(r->ctx->c, SK_C_TCP_INVALID);
    if (ev != STREAM_EV_NONE)
        stream_event_add(r, ev);
}

void stream_set_state(struct stream_run *r, enum stream_state st)
{
    r->s->state = (uint8_t)st;
    if (st == STREAM_LAST_ACK || st == STREAM_TIME_WAIT || st == STREAM_CLOSED)
        r->v |= STREAM_V_CLOSED;
}

static void dispatch(struct stream_run *r)
{
    switch (r->s->state) {
    case STREAM_NONE: stream_state_none(r); break;
    case STREAM_SYN_SENT: stream_state_syn_sent(r); break;
    case STREAM_SYN_RECV: stream_state_syn_recv(r); break;
    default: stream_state_open(r); break;
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
    if (!(p->tcp.flags & TCP_ACK) && p->tcp.ack != 0)
        stream_event_add(&r, STREAM_EV_PKT_BROKEN_ACK);
    dispatch(&r);
    if (!(r.v & STREAM_V_NEW_SESSION))
        ctx->reuse.seen = false;
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
    uint8_t ev[MAX_PKT_EVENT] = {0};
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
    held_drop_all(ctx, &s->half[0]);
    held_drop_all(ctx, &s->half[1]);
}

void stream_stop(struct stream_ctx *ctx, struct stream_session *s, int dir)
{
    s->half[dir].stopped = true;
    held_drop_all(ctx, &s->half[dir]);
}

void stream_unlimit(struct stream_session *s, bool unlimited)
{
    s->half[0].unlimited = s->half[1].unlimited = unlimited;
}

void stream_swap(struct stream_session *s)
{
    struct stream_half h = s->half[0];
    s->half[0] = s->half[1];
    s->half[1] = h;
}
