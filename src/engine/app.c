/* Between stream and protocol: detection of the protocol, HTTP, and what its transactions tell the rules. */
#include "engine_internal.h"

_Static_assert(RULE_BUF_COUNT == HTTP_BUF_COUNT + 1, "rules/buffer.h and proto/http.h name the same buffers");
_Static_assert((int)RULE_BUF_FILE_DATA - 1 == (int)HTTP_BUF_FILE_DATA, "in the same order");

enum event_app engine_event_app(uint8_t proto)
{
    switch (proto) {
    case PROTO_HTTP: return EVENT_APP_HTTP;
    case PROTO_TLS: return EVENT_APP_TLS;
    case PROTO_DNS: return EVENT_APP_DNS;
    case PROTO_SSH: return EVENT_APP_SSH;
    case PROTO_HTTP2: return EVENT_APP_HTTP2;
    case PROTO_FAILED: return EVENT_APP_FAILED;
    default: return EVENT_APP_NONE;
    }
}

/* --- HTTP --- */

static bool is_body(enum rule_buf buf)
{
    return rule_buf_info[buf].body;
}

static enum detect_have tx_buffer(void *arg, enum rule_buf buf, int dir, unsigned index, struct inspect_input *in)
{
    struct http_tx *tx = arg;
    enum http_progress progress = http_tx_progress(tx, dir);
    if (buf == RULE_BUF_PAYLOAD || !(rule_buf_info[buf].dir >> dir & 1))
        return DETECT_ABSENT;
    if (progress < HTTP_P_HEADERS)
        return DETECT_NOT_YET;
    struct http_buf_info info = {0};
    if (http_buffer(tx, dir, (enum http_buf)(buf - 1), index, &in->buf, &info)) {
        in->offset = info.offset;
        in->at_start = info.offset == 0;
        in->complete = info.complete;
        return DETECT_READY;
    }
    return is_body(buf) && progress < HTTP_P_COMPLETE ? DETECT_NOT_YET : DETECT_ABSENT;
}

static void tell_wants(struct engine_worker *w, struct engine_flow *ef)
{
    (void)w;
    if (ef->want_stamp == ef->det.stamp && ef->want_stamp)
        return;
    ef->want_stamp = ef->det.stamp;
    for (int dir = 0; dir < 2; dir++)
        http_set_want(ef->http, dir, (uint32_t)(detect_wants_buffers(&ef->det, dir) >> 1));
}

static void on_progress(void *arg, struct http_conn *conn, struct http_tx *tx, int dir, enum http_progress progress)
{
    (void)conn;
    struct engine_worker *w = arg;
    struct engine_current *cur = &w->cur;
    if (cur->ef->hop) {
        engine_client_tx(w, tx, dir, progress);
        tell_wants(w, cur->ef);
    }
    struct engine_tx *et = http_tx_user(tx);
    if (dir == HTTP_TS && progress >= HTTP_P_HEADERS && !et->counted) {
        et->counted = true;
        engine_judge_request(w, tx);
    }
    engine_detect_packet(w);
    engine_turn(w, dir);
    struct detect_input in;
    engine_input(w, dir, &in);
    struct detect_tx_view v = {
        .arg = tx, .tx_id = http_tx_id(tx), .buffer = tx_buffer, .done = progress == HTTP_P_COMPLETE};
    detect_tx(w->det, &cur->ef->det, &et->det, &in, dir, &v);
    if (progress == HTTP_P_COMPLETE)
        cur->ef->message_from[dir] = cur->ef->tcp.half[dir].delivered;
    engine_conclude(w, dir, tx);
}

static void on_tx_done(void *arg, struct http_conn *conn, struct http_tx *tx)
{
    (void)conn;
    struct engine_worker *w = arg;
    engine_emit_http(w, tx);
    engine_emit_files(w, tx);
    if (w->cur.ef->hop)
        engine_client_tx_done(w, tx);
    detect_tx_release(w->det, &((struct engine_tx *)http_tx_user(tx))->det);
}

struct http_callbacks engine_http_callbacks(struct engine_worker *w)
{
    return (struct http_callbacks){.arg = w, .on_progress = on_progress, .on_tx_done = on_tx_done};
}

static void begin_http(struct engine_worker *w, struct engine_flow *ef)
{
    ef->http = http_conn_create(w->http, w->cur.f);
    if (!ef->http) {
        ef->app = PROTO_FAILED;
        ef->no_http = true;
        return;
    }
    ef->want_stamp = 0;
    stream_unlimit(&ef->tcp, true);
    for (int dir = 0; dir < 2; dir++) /* what has been missed may be the head of what comes now */
        if (ef->tcp.half[dir].had_gap)
            http_input(ef->http, dir, (struct sk_span){.len = 1}, HTTP_F_GAP, w->cur.ts, NULL);
}

static void stop_http(struct engine_worker *w, struct engine_flow *ef)
{
    (void)w;
    http_conn_free(ef->http);
    ef->http = NULL;
    stream_unlimit(&ef->tcp, false);
}

/* After a tunnel has opened: what follows is another protocol, told from its first bytes. */
static void begin_probe_again(struct engine_flow *ef)
{
    ef->app = PROTO_UNKNOWN;
    ef->probe = (struct proto_probe){.server_port = ef->probe.server_port};
    ef->app_dir[0] = ef->app_dir[1] = PROTO_UNKNOWN;
    ef->seen[0] = ef->seen[1] = 0;
}

static void probe_data(struct engine_worker *w, int dir, struct sk_span data, unsigned flags);

static void http_data(struct engine_worker *w, int dir, struct sk_span data, unsigned flags)
{
    struct engine_flow *ef = w->cur.ef;
    unsigned hf = (flags & STREAM_DATA_GAP ? HTTP_F_GAP : 0) | (flags & STREAM_DATA_EOF ? HTTP_F_EOF : 0);
    uint32_t used = data.len;
    tell_wants(w, ef);
    enum http_result r = http_input(ef->http, dir, data, hf, w->cur.ts, &used);
    if (r == HTTP_R_ERROR)
        stream_unlimit(&ef->tcp, false);
    if (r == HTTP_R_ERROR && ef->hop)
        engine_client_lost(w);
    if (r == HTTP_R_OK || r == HTTP_R_ERROR)
        return;
    if (ef->hop)
        engine_client_tunnel(w);
    stop_http(w, ef);
    begin_probe_again(ef);
    if (used < data.len && !(flags & STREAM_DATA_GAP))
        probe_data(w, dir, sk_span_of(data.p + used, data.len - used), flags);
}

/* --- TLS --- */

/* Encrypted from here on, in both directions: no rule can match it, so it is no longer reassembled. */
static void stop_encrypted(struct engine_worker *w, struct engine_flow *ef)
{
    sk_count(w->c, SK_C_TCP_BYPASS);
    stream_stop(w->stream, &ef->tcp, FLOW_TOSERVER);
    stream_stop(w->stream, &ef->tcp, FLOW_TOCLIENT);
    ef->encrypted = true;
}

static void tls_data(struct engine_worker *w, int dir, struct sk_span data, unsigned flags)
{
    struct engine_flow *ef = w->cur.ef;
    if (ef->encrypted)
        return;
    if (flags & STREAM_DATA_GAP)
        tls_track_gap(&ef->tls[dir], data.len);
    else if (tls_track_input(&ef->tls[dir], data))
        stop_encrypted(w, ef);
}

/* --- protocol detection --- */

static void settle(struct engine_worker *w, int dir, enum proto_id id)
{
    struct engine_flow *ef = w->cur.ef;
    ef->app = (uint8_t)id;
    w->cur.app_decided = true;
    if (id == PROTO_FAILED) {
        sk_count(w->c, SK_C_HTTP_FAIL);
        ef->app_dir[0] = ef->app_dir[1] = PROTO_FAILED;
        return;
    }
    ef->app_dir[dir] = (uint8_t)id;
    if (id == PROTO_HTTP)
        begin_http(w, ef);
}

/* Bytes that were held while the protocol was not known. The client's go first, whoever decided: an answer follows its
 * request. */
static void replay_probed(struct engine_worker *w, int dir, uint32_t len)
{
    struct engine_flow *ef = w->cur.ef;
    if (ef->http && len)
        http_data(w, dir, sk_span_of(ef->probe_buf[dir], len), 0);
}

static void probe_data(struct engine_worker *w, int dir, struct sk_span data, unsigned flags)
{
    struct engine_flow *ef = w->cur.ef;
    bool eof = flags & STREAM_DATA_EOF;
    if (flags & STREAM_DATA_GAP) {
        if (ef->seen[dir] == 0)
            ef->probe.failed[dir] = true;
        return;
    }
    struct sk_span whole = data;
    uint8_t before = ef->seen[dir];
    if (before) {
        uint32_t room = PROTO_PROBE_MAX - before, n = data.len < room ? data.len : room;
        memcpy(ef->probe_buf[dir] + before, data.p, n);
        whole = sk_span_of(ef->probe_buf[dir], before + n);
    }
    enum proto_id id = proto_probe(&ef->probe, dir, whole, eof, ef->tcp.async);
    if (id == PROTO_UNKNOWN) {
        if (!before && data.len) {
            ef->seen[dir] = (uint8_t)(data.len < PROTO_PROBE_MAX ? data.len : PROTO_PROBE_MAX);
            memcpy(ef->probe_buf[dir], data.p, ef->seen[dir]);
        } else if (before) {
            ef->seen[dir] = (uint8_t)whole.len;
        }
        return;
    }
    settle(w, dir, id);
    for (int d = 0; id == PROTO_TLS && d < 2; d++) /* what came before the decision; `data` follows */
        tls_data(w, d, sk_span_of(ef->probe_buf[d], d == dir ? before : ef->seen[d]), 0);
    if (!ef->http)
        return;
    replay_probed(w, FLOW_TOSERVER, dir == FLOW_TOSERVER ? before : ef->seen[FLOW_TOSERVER]);
    if (dir == FLOW_TOCLIENT)
        replay_probed(w, FLOW_TOCLIENT, before);
    if (ef->http)
        http_data(w, dir, data, flags);
    if (dir == FLOW_TOSERVER)
        replay_probed(w, FLOW_TOCLIENT, ef->seen[FLOW_TOCLIENT]);
}

/* The other direction of a flow whose protocol is known: as a rule the same, but it may speak another. */
static void settle_other(struct engine_worker *w, int dir, struct sk_span data)
{
    struct engine_flow *ef = w->cur.ef;
    struct proto_probe alone = {.server_port = ef->probe.server_port};
    enum proto_id id = proto_probe(&alone, dir, data, true, true);
    ef->app_dir[dir] = id == PROTO_UNKNOWN || id == PROTO_FAILED ? ef->app : (uint8_t)id;
    w->cur.app_decided = true;
}

void engine_app_data(struct engine_worker *w, int dir, struct sk_span data, unsigned flags)
{
    struct engine_flow *ef = w->cur.ef;
    if (ef->det.passed && !ef->http)
        return;
    if (ef->http) {
        if (ef->app_dir[dir] == PROTO_UNKNOWN && data.len && !(flags & STREAM_DATA_GAP))
            settle_other(w, dir, data);
        http_data(w, dir, data, flags);
    } else if (ef->app == PROTO_UNKNOWN && data.len) {
        probe_data(w, dir, data, flags);
    } else if (ef->app_dir[dir] == PROTO_UNKNOWN && data.len) {
        ef->app_dir[dir] = ef->app;
    }
    if (ef->app == PROTO_TLS)
        tls_data(w, dir, data, flags);
}

void engine_app_end(struct engine_worker *w, struct engine_flow *ef)
{
    if (ef->http)
        stop_http(w, ef);
}
