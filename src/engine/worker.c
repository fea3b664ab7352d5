/*
 * A worker: one packet at a time, from frame to verdict. engine_packet() and inspect_packet() are the order of stages.
 */
#include <netinet/in.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine_internal.h"

#define WINDOW_MEMCAP (UINT64_C(64) << 20)       /* raw stream windows of a worker */
#define IPFRAG_TIME   (INT64_C(30) * 1000000000) /* Linux's default for IPv4 */
#define MAX_TX_NODES  65536                      /* rules under way in transactions of a worker */

static void on_flow_end(void *arg, struct flow *f, enum flow_end why, int64_t now);

static int create_flows(struct engine_worker *w)
{
    const struct conf_flow *cf = &w->e->conf->flow;
    struct flow_conf fc = {.max_flows = cf->max_flows,
                           .user_size = sizeof(struct engine_flow),
                           .timeout = {[FLOW_HALF_OPEN] = cf->tcp_new,
                                       [FLOW_CLOSED] = cf->tcp_closed,
                                       [FLOW_ICMP] = cf->icmp_new,
                                       [FLOW_UDP] = cf->udp_established,
                                       [FLOW_ESTABLISHED] = cf->tcp_established},
                           .random_ids = !w->e->opt.fixed_seeds};
    return flow_table_create(&fc, on_flow_end, w, w->c, &w->flows);
}

static int create_stages(struct engine_worker *w)
{
    const struct conf *conf = w->e->conf;
    struct defrag_conf dc = {.memcap = conf->defrag.memcap,
                             .max_pending = conf->defrag.max_trackers,
                             .timeout = conf->defrag.timeout,
                             .timeout4 = conf->defrag.timeout < IPFRAG_TIME ? conf->defrag.timeout : IPFRAG_TIME};
    struct stream_conf sc = {.memcap = conf->stream.memcap,
                             .max_segs = conf->stream.max_segments,
                             .depth = conf->stream.depth,
                             .midstream = conf->stream.midstream || !w->e->opt.offline,
                             .async_oneside = conf->stream.async_oneside,
                             .is_inline = conf->stream.is_inline == CONF_YES};
    struct http_conf hc;
    http_conf_defaults(&hc);
    hc.request_body_limit = conf->http.request_body_limit;
    hc.response_body_limit = conf->http.response_body_limit;
    hc.header_limit = conf->http.header_limit;
    hc.max_tx = conf->http.max_tx;
    hc.decompress_limit = conf->http.decompress_limit;
    hc.decompress_layer_limit = conf->http.decompress_layer_limit;
    hc.memcap = conf->http.memcap;
    hc.tx_user_size = sizeof(struct engine_tx);
    struct http_callbacks cb = engine_http_callbacks(w);
    struct detect_thread_conf tc = {.max_alerts = conf->detect.max_alerts_per_packet,
                                    .window_memcap = WINDOW_MEMCAP,
                                    .max_tx_nodes = MAX_TX_NODES,
                                    .every_packet = w->e->prevent};
    int rc = create_flows(w);
    if (rc == SK_OK)
        rc = defrag_create(&dc, w->c, &w->defrag);
    if (rc == SK_OK)
        rc = stream_create(&sc, w->c, &w->stream);
    if (rc == SK_OK)
        rc = http_create(&hc, &cb, w->c, &w->http);
    if (rc == SK_OK && w->e->floods)
        rc = flood_sketch_create(&w->sketch);
    if (rc == SK_OK)
        rc = detect_thread_create(&tc, &w->e->inspect, w->e->thresholds, w->c, &w->det);
    return rc;
}

static void take_up_rules(struct engine_worker *w)
{
    struct engine_rules *r = __atomic_load_n(&w->e->rules, __ATOMIC_ACQUIRE);
    if (r == w->rules || !r)
        return;
    /* The loader frees a generation only under the lock and when no worker names it: publish first, then look again. */
    pthread_mutex_lock(&w->e->lock);
    r = w->e->rules;
    if (detect_thread_use(w->det, r->set) == SK_OK)
        __atomic_store_n(&w->rules, r, __ATOMIC_RELEASE);
    engine_reap(w->e); /* the last worker to move on frees what it leaves */
    pthread_mutex_unlock(&w->e->lock);
}

int engine_worker_create(struct engine *e, unsigned index, const struct engine_sink *sink, struct sk_counters *c,
                         struct engine_worker **out)
{
    if (index >= SK_MAX_WORKERS)
        return SK_EFULL;
    struct engine_worker *w = calloc(1, sizeof *w);
    if (!w)
        return SK_ENOMEM;
    w->e = e;
    w->index = index;
    w->sink = *sink;
    w->c = c;
    w->untracked = sk_count_read(c, SK_C_FLOW_NOT_TRACKED);
    int rc = create_stages(w);
    if (rc != SK_OK) {
        engine_worker_free(w);
        return rc;
    }
    pthread_mutex_lock(&e->lock);
    e->workers[index] = w;
    pthread_mutex_unlock(&e->lock);
    take_up_rules(w);
    *out = w;
    return SK_OK;
}

static void no_event(void *arg, const void *rec, uint32_t len)
{
    (void)arg, (void)rec, (void)len;
}

static void no_block(void *arg, const struct decide_request *req)
{
    (void)arg, (void)req;
}

/* Flows that nobody has finished go without a word: they hold memory of the stages below. */
static void abandon_flows(struct engine_worker *w)
{
    w->sink = (struct engine_sink){.event = no_event, .block = no_block};
    if (w->flows && flow_count(w->flows))
        flow_end_all(w->flows, FLOW_END_SHUTDOWN, w->now);
}

void engine_worker_free(struct engine_worker *w)
{
    if (!w)
        return;
    abandon_flows(w);
    pthread_mutex_lock(&w->e->lock);
    if (w->e->workers[w->index] == w)
        w->e->workers[w->index] = NULL;
    pthread_mutex_unlock(&w->e->lock);
    if (w->flows)
        flow_table_free(w->flows);
    if (w->defrag)
        defrag_free(w->defrag);
    if (w->http)
        http_free(w->http);
    if (w->stream)
        stream_free(w->stream);
    detect_thread_free(w->det);
    flood_sketch_free(w->sketch);
    engine_client_free(w);
    free(w);
}

/* --- what rules see of the packet at hand --- */

static const char *app_name(uint8_t app)
{
    return app == PROTO_UNKNOWN ? NULL : proto_name(app);
}

static const char *stream_event_text(unsigned ev)
{
    return stream_event_name((enum stream_event)ev);
}

static void flow_input(const struct engine_worker *w, int dir, struct detect_input *in)
{
    const struct flow *f = w->cur.f;
    const struct engine_flow *ef = w->cur.ef;
    const struct sk_addr *client = ef->hop ? &ef->hop->rule_addr : &f->client;
    in->src = dir == FLOW_TOSERVER ? client : &f->server;
    in->dst = dir == FLOW_TOSERVER ? &f->server : client;
    if (ef->hop && ef->hop->now.state != IDENTITY_PROVEN) { /* rates of nobody in particular are the hop's */
        in->count_src = dir == FLOW_TOSERVER ? &f->client : &f->server;
        in->count_dst = dir == FLOW_TOSERVER ? &f->server : &f->client;
    }
    in->sport = dir == FLOW_TOSERVER ? f->cport : f->sport;
    in->dport = dir == FLOW_TOSERVER ? f->sport : f->cport;
    in->proto = f->proto;
    in->has_flow = true;
    if (f->proto == IPPROTO_TCP)
        in->established = w->cur.p ? (w->cur.v & STREAM_V_ESTABLISHED) != 0 : ef->tcp.established_seen;
    else
        in->established = f->pkts[0] && f->pkts[1];
    in->app = ef->http || ef->app == PROTO_HTTP ? DETECT_APP_HTTP
              : ef->app == PROTO_UNKNOWN        ? DETECT_APP_UNKNOWN
                                                : DETECT_APP_OTHER;
    in->app_name[0] = app_name(ef->app);
    in->app_name[1] = app_name(ef->app_dir[0]);
    in->app_name[2] = app_name(ef->app_dir[1]);
    in->app_decided = w->cur.app_decided;
    in->stream_bytes[0] = ef->tcp.half[0].delivered;
    in->stream_bytes[1] = ef->tcp.half[1].delivered;
    in->first = !ef->seen_packet[dir];
    in->flow_id = f->id;
}

/* The packet at hand as part of its flow. */
static void base_input(const struct engine_worker *w, int dir, struct detect_input *in)
{
    const struct engine_current *cur = &w->cur;
    *in = (struct detect_input){.p = dir == cur->dir ? cur->p : NULL,
                                .dir = (uint8_t)dir,
                                .in_stream = (cur->v & STREAM_V_ADDED) != 0,
                                .stream_events = cur->events,
                                .nstream_events = cur->nevents,
                                .stream_event_name = stream_event_text,
                                .first = true,
                                .now = cur->ts};
    if (cur->f) {
        flow_input(w, dir, in);
    } else {
        in->src = &cur->p->src;
        in->dst = &cur->p->dst;
        in->sport = cur->p->sport;
        in->dport = cur->p->dport;
        in->proto = cur->p->proto;
    }
}

void engine_input(const struct engine_worker *w, int dir, struct detect_input *in)
{
    const struct engine_current *cur = &w->cur;
    base_input(w, dir, in);
    if (cur->p && dir == cur->dir && cur->p->proto != IPPROTO_TCP && cur->p->proto != IPPROTO_UDP) {
        in->quoted = cur->f && cur->f->proto != cur->p->proto;
        in->count_src = in->count_dst = NULL;
        in->src = &cur->p->src; /* an ICMP error belongs to the flow that it quotes, but has addresses of its own */
        in->dst = &cur->p->dst;
        in->proto = cur->p->proto;
        in->sport = cur->p->sport;
        in->dport = cur->p->dport;
    }
}

void engine_detect_packet(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    if (cur->detected || !cur->p)
        return;
    cur->detected = true;
    struct detect_input in;
    engine_turn(w, cur->dir);
    engine_input(w, cur->dir, &in);
    detect_packet(w->det, cur->ef ? &cur->ef->det : NULL, &in);
    if (cur->ef && !in.quoted)
        cur->ef->seen_packet[cur->dir] = true;
}

void engine_turn(struct engine_worker *w, int dir)
{
    if (w->cur.matched_dir == dir)
        return;
    engine_conclude(w, w->cur.matched_dir, NULL);
    w->cur.matched_dir = (uint8_t)dir;
}

void engine_conclude(struct engine_worker *w, int dir, struct http_tx *tx)
{
    struct detect_input in;
    if (!detect_has_matches(w->det))
        return;
    engine_input(w, dir, &in);
    unsigned n;
    bool drop;
    struct detect_flow *df = w->cur.ef ? &w->cur.ef->det : NULL;
    const struct detect_alert *a = detect_end(w->det, df, &in, &n, &drop);
    /* Blocks first: until the guard hears of it the attack goes on. */
    for (unsigned i = 0; i < n; i++)
        engine_judge_alert(w, &a[i], dir, tx);
    for (unsigned i = 0; i < n; i++)
        engine_emit_alert(w, &a[i], dir, tx);
    if (n && w->cur.f)
        w->cur.f->alerted = true;
    if (drop && w->e->prevent)
        w->cur.drop = true;
    w->cur.drop_flow |= detect_drops_flow(w->det);
    if (!w->cur.drop_rule)
        w->cur.drop_rule = detect_drop_rule(w->det);
}

/* --- TCP --- */

/* HTTP goes on past the stream's depth, which then counts for each message: long bodies are not matched raw to their
 * end. */
static bool within_depth(const struct engine_worker *w, int dir, uint64_t offset)
{
    const struct engine_flow *ef = w->cur.ef;
    uint64_t depth = w->e->conf->stream.depth;
    return !ef->http || !depth || offset < ef->message_from[dir] + depth;
}

static void raw_stream(struct engine_worker *w, int dir, struct sk_span data, uint64_t offset)
{
    struct engine_flow *ef = w->cur.ef;
    struct detect_input in;
    if (!detect_wants_stream(&ef->det, dir))
        return;
    if (!within_depth(w, dir, offset)) {
        w->cur.past_depth = true;
        return;
    }
    engine_turn(w, dir);
    engine_input(w, dir, &in);
    detect_stream_add(w->det, &ef->det, &in, dir, data, engine_client_offset(ef, dir, offset));
}

/* To the rules on the raw stream, and to the protocol. */
static void stream_bytes(struct engine_worker *w, int dir, struct sk_span data, uint64_t offset, unsigned flags)
{
    const struct engine_flow *ef = w->cur.ef;
    if (ef->hop && dir == FLOW_TOSERVER && (data.len || (flags & STREAM_DATA_GAP)))
        engine_client_bytes(w, flags);
    if (flags & STREAM_DATA_GAP)
        engine_ledger_gap(w);
    else if (data.len)
        raw_stream(w, dir, data, offset);
    engine_app_data(w, dir, data, flags);
}

/* The protocol begins behind a PROXY header, if there is one. False: it has not begun. */
static bool open_stream(struct engine_worker *w, struct sk_span *data, uint64_t *offset, unsigned flags)
{
    struct engine_flow *ef = w->cur.ef;
    uint8_t held[PROTO_PROBE_MAX];
    uint32_t nheld = 0, len = data->len, old = ef->proxy == ENGINE_PROXY_ASK ? ef->seen[FLOW_TOSERVER] : 0;
    const uint8_t *header = data->p;
    bool begins = engine_client_open(w, data, flags, held, &nheld);
    if (ef->proxy_shown && old) /* still there, and no longer needed */
        raw_stream(w, FLOW_TOSERVER, sk_span_of(ef->probe_buf[FLOW_TOSERVER], old), *offset - old);
    if (ef->proxy_shown && len > data->len)
        raw_stream(w, FLOW_TOSERVER, sk_span_of(header, len - data->len), *offset);
    if (!begins)
        return false;
    if (nheld)
        stream_bytes(w, FLOW_TOSERVER, sk_span_of(held, nheld), *offset - nheld, 0);
    *offset += len - data->len;
    return true;
}

/*
 * Who acknowledges the server's SYN has seen it, and so has the address that he claims. That the server goes on proves
 * nothing: it also answers segments that are out of place. Known before the packet's data is looked at, which may be
 * the attack.
 */
static void note_handshake(struct engine_worker *w)
{
    const struct engine_current *cur = &w->cur;
    const struct stream_session *s = &cur->ef->tcp;
    const struct stream_half *server = &s->half[FLOW_TOCLIENT];
    if (cur->ef->handshake || cur->f->recursion || !s->established_seen || s->midstream || s->async || !cur->p ||
        cur->dir != FLOW_TOSERVER || !(cur->p->tcp.flags & TCP_ACK))
        return;
    uint32_t ack = cur->p->tcp.ack - (server->isn + 1);
    if (ack > server->high - (server->isn + 1))
        return;
    cur->ef->handshake = true;
    engine_judge_connection(w);
}

static void on_stream_data(void *arg, int dir, struct sk_span data, uint64_t offset, unsigned flags)
{
    struct engine_worker *w = arg;
    struct engine_current *cur = &w->cur;
    struct detect_input in;
    note_handshake(w);
    /* Rules may run from here on, before stream_packet() has answered. */
    cur->v |= STREAM_V_ADDED | (cur->ef->tcp.established_seen ? STREAM_V_ESTABLISHED : 0);
    if (dir == FLOW_TOSERVER && cur->ef->proxy != ENGINE_PROXY_DONE && !open_stream(w, &data, &offset, flags))
        return;
    stream_bytes(w, dir, data, offset, flags);
    if (flags & STREAM_DATA_EOF) {
        engine_turn(w, dir);
        engine_input(w, dir, &in);
        detect_stream_flush(w->det, &cur->ef->det, &in, dir, true, true);
    }
}

static void set_class(struct engine_worker *w, struct flow *f, unsigned v)
{
    if (v & STREAM_V_CLOSED) {
        flow_set_class(w->flows, f, FLOW_CLOSED);
        f->state = FLOW_ENDED;
    } else if ((v & STREAM_V_FIRST_EST) || ((v & STREAM_V_ESTABLISHED) && f->class_ == FLOW_HALF_OPEN)) {
        flow_set_class(w->flows, f, FLOW_ESTABLISHED);
        f->state = FLOW_EST;
        if (v & STREAM_V_FIRST_EST)
            sk_count(w->c, SK_C_TCP_SESSIONS);
    }
}

static void begin_flow_packet(struct engine_worker *w)
{
    struct detect_input in;
    if (w->cur.ef)
        engine_client_begin(w);
    w->cur.matched_dir = (uint8_t)w->cur.dir;
    base_input(w, w->cur.dir, &in);
    detect_begin(w->det, w->cur.ef ? &w->cur.ef->det : NULL, &in);
}

static void swap_flow(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    flow_swap(cur->f);
    cur->dir = !cur->dir;
    cur->ef->det.looked_up = false;
    cur->ef->client_asked = false;
    engine_client_end(w, cur->ef);
    begin_flow_packet(w);
}

static unsigned feed_stream(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    cur->ef->probe.server_port = cur->f->sport;
    return stream_packet(w->stream, &cur->ef->tcp, cur->p, cur->dir, on_stream_data, w, cur->events, &cur->nevents);
}

static void tcp_packet(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    unsigned v = feed_stream(w);
    if (v & STREAM_V_SWAP) {
        swap_flow(w);
        v = feed_stream(w);
    }
    if (v & STREAM_V_NEW_SESSION) {
        flow_end(w->flows, cur->f, FLOW_END_REUSED, cur->ts);
        enum flow_dir dir;
        cur->f = flow_lookup(w->flows, cur->p, &dir);
        cur->ef = cur->f ? engine_flow_of(cur->f) : NULL;
        cur->dir = cur->f ? (int)dir : FLOW_TOSERVER;
        begin_flow_packet(w);
        if (!cur->f)
            return;
        v = feed_stream(w);
    }
    cur->v = v;
    if (!(v & STREAM_V_INVALID))
        note_handshake(w);
    set_class(w, cur->f, v);
}

/* Scans what the packet added to its stream: at once when the sender pushed, or when enough has gathered. */
static void flush_stream(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    if (!cur->f || cur->f->proto != IPPROTO_TCP)
        return;
    for (int dir = 0; dir < 2; dir++) {
        struct detect_input in;
        if (!detect_has_window(&cur->ef->det, dir))
            continue;
        engine_turn(w, dir);
        engine_input(w, dir, &in);
        bool push = dir == cur->dir && (cur->p->tcp.flags & (TCP_PSH | TCP_FIN | TCP_RST));
        detect_stream_flush(w->det, &cur->ef->det, &in, dir, push || dir != cur->dir, false);
    }
}

static void account_udp(struct flow *f)
{
    if (f->pkts[0] && f->pkts[1] && f->state == FLOW_NEW)
        f->state = FLOW_EST;
}

/* --- one packet --- */

static void inspect_flow_packet(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    begin_flow_packet(w);
    if (cur->f && (cur->p->flags & PKT_TCP) && cur->f->proto == IPPROTO_TCP)
        tcp_packet(w);
    else if (cur->f)
        account_udp(cur->f);
    engine_detect_packet(w);
    if (cur->f && !cur->f->bypassed)
        flush_stream(w);
    engine_conclude(w, cur->matched_dir, NULL);
}

static bool flow_dropped(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    if (!cur->f || !cur->f->dropped)
        return false;
    sk_count(w->c, SK_C_DROPPED);
    engine_emit_drop(w, true);
    return true;
}

static enum engine_verdict finish_packet(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    engine_emit_anomalies(w);
    if (!cur->drop)
        return ENGINE_PASS;
    sk_count(w->c, SK_C_DROPPED);
    if (cur->f && cur->drop_flow && cur->f->proto == IPPROTO_TCP)
        cur->f->dropped = true;
    engine_emit_drop(w, false);
    return ENGINE_DROP;
}

static enum event_pkt_src pkt_source(const struct sk_packet *p)
{
    if (p->flags & PKT_REASSEMBLED)
        return EVENT_PKT_DEFRAG;
    if (!(p->flags & PKT_TUNNELED))
        return EVENT_PKT_WIRE;
    return p->flags & PKT_IPV6 ? EVENT_PKT_IPV6_TUNNEL : EVENT_PKT_IPV4_TUNNEL;
}

/* Decode has named it; from here: flow, stream, protocol, detection, decision. */
static enum engine_verdict inspect_one(struct engine_worker *w, const struct sk_packet *p)
{
    struct engine_current *cur = &w->cur;
    *cur = (struct engine_current){.p = p, .ts = p->ts, .src = pkt_source(p)};
    if (!(p->flags & (PKT_INVALID | PKT_FRAGMENT | PKT_BAD_CSUM)) && (p->flags & (PKT_IPV4 | PKT_IPV6))) {
        enum flow_dir dir;
        cur->f = flow_lookup(w->flows, p, &dir);
        if (cur->f) {
            cur->ef = engine_flow_of(cur->f);
            cur->dir = (int)dir;
        }
    }
    if (flow_dropped(w))
        return ENGINE_DROP;
    if (!(p->flags & PKT_BAD_CSUM))
        inspect_flow_packet(w);
    return finish_packet(w);
}

static enum engine_verdict inspect_packet(struct engine_worker *w, const struct sk_packet *p)
{
    enum engine_verdict v = inspect_one(w, p);
    engine_ledger_packet(w);
    return v;
}

/* The datagram that a fragment has completed. */
static enum engine_verdict inspect_whole(struct engine_worker *w, const struct sk_packet *last, struct sk_span ip)
{
    struct sk_packet p[SK_MAX_TUNNEL_DEPTH + 1];
    enum engine_verdict v = ENGINE_PASS;
    unsigned n = decode_ip(&w->e->decode, last, ip, p, w->c);
    for (unsigned i = 0; i < n; i++) {
        if (p[i].flags & PKT_FRAGMENT)
            engine_ledger_nested(w);
        else if (inspect_packet(w, &p[i]) == ENGINE_DROP)
            v = ENGINE_DROP;
    }
    return v;
}

static enum engine_verdict inspect_all(struct engine_worker *w, const struct sk_packet *p, unsigned n)
{
    enum engine_verdict v = ENGINE_PASS;
    for (unsigned i = 0; i < n; i++) {
        if (inspect_packet(w, &p[i]) == ENGINE_DROP)
            v = ENGINE_DROP;
        if ((p[i].flags & (PKT_FRAGMENT | PKT_INVALID | PKT_BAD_CSUM)) != PKT_FRAGMENT)
            continue;
        struct sk_span ip;
        bool whole = defrag_packet(w->defrag, &p[i], &ip);
        engine_ledger_fragment(w);
        if (whole && inspect_whole(w, &p[i], ip) == ENGINE_DROP)
            v = ENGINE_DROP;
    }
    return v;
}

void engine_worker_share(struct engine_worker *w, unsigned index, unsigned n)
{
    w->share = index;
    w->shares = n > 1 ? n : 0;
}

/* Decodes into scratch counters, and takes them over when the packet is this worker's. */
static unsigned decode_shared(struct engine_worker *w, const struct sk_frame *f, struct sk_packet *p)
{
    memset(&w->scratch, 0, sizeof w->scratch);
    unsigned n = decode_frame(&w->e->decode, f, p, &w->scratch);
    if (flow_worker_of(&p[0], w->shares) != w->share)
        return 0;
    for (unsigned i = 0; i < SK_C_COUNT; i++)
        sk_count_add(w->c, (enum sk_counter)i, w->scratch.v[i]);
    return n;
}

enum engine_verdict engine_packet(struct engine_worker *w, const struct sk_frame *f)
{
    struct sk_packet p[SK_MAX_TUNNEL_DEPTH + 1];
    w->now = f->ts;
    engine_ledger_begin(w);
    unsigned n = w->shares ? decode_shared(w, f, p) : decode_frame(&w->e->decode, f, p, w->c);
    enum engine_verdict v = inspect_all(w, p, n);
    if (n)
        engine_ledger_frame(w);
    return v;
}

/* --- the end of flows --- */

static void last_inspection(struct engine_worker *w, int dir)
{
    struct detect_input in;
    engine_input(w, dir, &in);
    detect_stream_flush(w->det, &w->cur.ef->det, &in, dir, true, true);
    engine_conclude(w, dir, NULL);
}

static void on_flow_end(void *arg, struct flow *f, enum flow_end why, int64_t now)
{
    struct engine_worker *w = arg;
    struct engine_current saved = w->cur;
    struct engine_flow *ef = engine_flow_of(f);
    w->cur = (struct engine_current){.f = f, .ef = ef, .ts = now, .src = EVENT_PKT_FLOW_TIMEOUT, .v = STREAM_V_ADDED};
    begin_flow_packet(w);
    if (f->proto == IPPROTO_TCP) {
        stream_finish(w->stream, &ef->tcp, on_stream_data, w);
        last_inspection(w, FLOW_TOSERVER);
        last_inspection(w, FLOW_TOCLIENT);
    }
    engine_app_end(w, ef);
    engine_ledger_flow(w, f, why);
    engine_emit_flow(w, f, why);
    engine_client_end(w, ef);
    stream_release(w->stream, &ef->tcp);
    detect_flow_release(w->det, &ef->det);
    w->cur = saved;
}

void engine_worker_idle(struct engine_worker *w, int64_t now)
{
    take_up_rules(w);
    if (now > w->now)
        w->now = now;
    engine_judge_idle(w);
    flow_sweep(w->flows, w->now, 256);
    defrag_expire(w->defrag, w->now);
    sk_count_set(w->c, SK_C_FLOWS_ACTIVE, flow_count(w->flows));
}

void engine_worker_finish(struct engine_worker *w)
{
    flow_end_all(w->flows, FLOW_END_SHUTDOWN, w->now);
    defrag_flush(w->defrag);
    engine_judge_finish(w);
    sk_count_set(w->c, SK_C_FLOWS_ACTIVE, 0);
}

void engine_worker_cut(struct engine_worker *w, enum sk_counter why)
{
    w->cut = (uint8_t)why;
}

/* What all share counts with the first. */
static uint64_t shared_memory(const struct engine *e)
{
    return (e->scores ? decide_scores_memory(e->scores) : 0) + (e->floods ? flood_detector_memory(e->floods) : 0);
}

uint64_t engine_worker_memory(const struct engine_worker *w)
{
    return flow_memory(w->flows) + stream_memory(w->stream) + http_memory(w->http) + detect_thread_memory(w->det) +
           engine_client_memory(w) + (w->sketch ? flood_sketch_memory(w->sketch) : 0) +
           (w->index == 0 ? shared_memory(w->e) : 0);
}
