/* Which class of the ledger (base/ledger.h) a packet, its frame and its flow belong to. One increment a frame. */
#include <netinet/in.h>

#include "engine_internal.h"

_Static_assert((int)SK_LF_LAST <= UINT8_MAX, "a class fits into a byte");

/* What a class of packets makes of its flow; 0: the flow may be whole all the same. */
static const uint8_t of_flow[SK_LP_LAST - SK_LP_FIRST + 1] = {
#define AT(lp, lf) [SK_C_##lp - SK_LP_FIRST] = SK_C_##lf
    AT(LP_TRUNCATED, LF_TRUNCATED),   AT(LP_PASSED, LF_PASSED),
    AT(LP_ENCRYPTED, LF_ENCRYPTED),   AT(LP_GAP, LF_GAP),
    AT(LP_DEPTH, LF_DEPTH),           AT(LP_SEGMENT_MEMORY, LF_SEGMENT_MEMORY),
    AT(LP_PARSER, LF_PARSER),         AT(LP_NOT_PARSED, LF_NOT_PARSED),
    AT(LP_BODY_LIMIT, LF_BODY_LIMIT), AT(LP_HTTP_MEMORY, LF_HTTP_MEMORY),
#undef AT
};

void engine_ledger_begin(struct engine_worker *w)
{
    w->frame.class_ = SK_C_LP_INSPECTED;
    w->frame.frames = 1;
}

/* HTTP: the parser has given up, or kept less than rules want to see. */
static enum sk_counter http_class(unsigned missed)
{
    if (missed & HTTP_MISSED_ERROR)
        return SK_C_LP_PARSER;
    if (missed & HTTP_MISSED_MEMORY)
        return SK_C_LP_HTTP_MEMORY;
    return missed & HTTP_MISSED_LIMIT ? SK_C_LP_BODY_LIMIT : SK_C_LP_GAP;
}

/* Of a segment with data, by what its protocol made of it. */
static enum sk_counter app_class(const struct engine_current *cur)
{
    const struct engine_flow *ef = cur->ef;
    unsigned missed = ef->http ? http_conn_missed(ef->http) : 0;
    if (missed)
        return http_class(missed);
    if (ef->encrypted)
        return SK_C_LP_ENCRYPTED;
    if (ef->no_http)
        return SK_C_LP_HTTP_MEMORY;
    if (cur->past_depth)
        return SK_C_LP_DEPTH;
    return ef->app == PROTO_HTTP2 ? SK_C_LP_NOT_PARSED : SK_C_LP_INSPECTED;
}

/* Of a segment with data, that the stream did not simply take. */
static enum sk_counter refused_class(const struct engine_current *cur)
{
    if (cur->v & STREAM_V_NO_ROOM)
        return SK_C_LP_SEGMENT_MEMORY;
    if (cur->v & STREAM_V_INVALID)
        return SK_C_LP_TCP_INVALID;
    if (cur->ef->encrypted)
        return SK_C_LP_ENCRYPTED;
    if (cur->v & STREAM_V_LATE)
        return SK_C_LP_GAP;
    return cur->v & STREAM_V_RETRANS ? SK_C_LP_INSPECTED : SK_C_LP_DEPTH; /* what comes again was counted before */
}

static enum sk_counter flow_class(const struct engine_current *cur)
{
    const unsigned odd = STREAM_V_NO_ROOM | STREAM_V_INVALID | STREAM_V_LATE | STREAM_V_RETRANS | STREAM_V_PAST_DEPTH;
    if (cur->ef->det.passed)
        return SK_C_LP_PASSED;
    if (!cur->detected)
        return SK_C_LP_DROPPED;
    if (!(cur->p->flags & PKT_TCP) || !cur->p->payload.len)
        return SK_C_LP_INSPECTED;
    return cur->v & odd ? refused_class(cur) : app_class(cur);
}

static bool has_event(const struct sk_packet *p, enum decode_event ev)
{
    for (unsigned i = 0; i < p->nevents; i++)
        if (p->events[i] == ev)
            return true;
    return false;
}

/* Of a packet without a flow: is that because there was no room for one? */
static enum sk_counter alone_class(struct engine_worker *w)
{
    uint64_t n = sk_count_read(w->c, SK_C_FLOW_NOT_TRACKED);
    bool full = n != w->untracked;
    w->untracked = n;
    return full ? SK_C_LP_NO_FLOW : SK_C_LP_INSPECTED;
}

static enum sk_counter odd_class(const struct sk_packet *p)
{
    if (p->flags & PKT_TRUNCATED)
        return SK_C_LP_TRUNCATED;
    return p->flags & PKT_INVALID ? SK_C_LP_INVALID : SK_C_LP_BAD_CSUM;
}

static enum sk_counter packet_class(struct engine_worker *w)
{
    const struct engine_current *cur = &w->cur;
    const struct sk_packet *p = cur->p;
    if (p->flags & (PKT_TRUNCATED | PKT_INVALID | PKT_BAD_CSUM))
        return odd_class(p);
    if (p->nevents && has_event(p, DECODE_EV_TOO_MANY_LAYERS))
        return SK_C_LP_INVALID;
    if (cur->f)
        return flow_class(cur);
    return p->flags & (PKT_IPV4 | PKT_IPV6) ? alone_class(w) : SK_C_LP_NON_IP;
}

/* The innermost packet comes last, and decides. */
void engine_ledger_packet(struct engine_worker *w)
{
    struct engine_flow *ef = w->cur.ef;
    enum sk_counter c = packet_class(w);
    w->frame.class_ = c;
    if (c != SK_C_LP_INSPECTED && ef && !ef->missed)
        ef->missed = of_flow[c - SK_LP_FIRST];
}

void engine_ledger_fragment(struct engine_worker *w)
{
    w->frame.frames = defrag_frames(w->defrag);
    if (w->frame.class_ == SK_C_LP_INSPECTED) /* unless more is said of it, or its datagram becomes whole */
        w->frame.class_ = SK_C_LP_FRAGMENT;
}

void engine_ledger_nested(struct engine_worker *w)
{
    w->frame.class_ = SK_C_LP_FRAGMENT;
}

void engine_ledger_frame(struct engine_worker *w)
{
    sk_count_add(w->c, (enum sk_counter)w->frame.class_, w->frame.frames);
}

/* --- flows --- */

void engine_ledger_gap(struct engine_worker *w)
{
    if (!w->cur.ef->missed)
        w->cur.ef->missed = SK_C_LF_GAP;
}

void engine_ledger_flow(struct engine_worker *w, const struct flow *f, enum flow_end why)
{
    const struct engine_flow *ef = (const struct engine_flow *)(const void *)f->user;
    enum sk_counter c = SK_C_LF_INSPECTED;
    bool tcp = f->proto == IPPROTO_TCP;
    if (tcp && (ef->tcp.midstream || ef->tcp.state == STREAM_NONE))
        c = SK_C_LF_MIDSTREAM;
    else if (ef->missed)
        c = (enum sk_counter)ef->missed;
    else if (why == FLOW_END_EVICTED)
        c = SK_C_LF_EVICTED;
    else if (why == FLOW_END_SHUTDOWN && w->cut)
        c = (enum sk_counter)w->cut;
    sk_count(w->c, c);
}
