/* The response side: status line, framing of the body, interim responses, the end of HTTP on a connection. */
#include "http/internal.h"

static bool starts_like_http(const uint8_t *p, uint32_t len)
{
    uint32_t i = 0;
    while (i < len && (http_is_space(p[i]) || p[i] == 0))
        i++;
    return http_starts(sk_span_of(p + i, len - i), "http");
}

static unsigned status_number(struct sk_span s)
{
    unsigned n = 0;
    if (s.len == 0 || s.len > 5)
        return 0;
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return 0;
        n = n * 10 + (s.p[i] - '0');
    }
    return n >= 100 && n <= 999 ? n : 0;
}

static void response_line(struct http_tx *tx)
{
    struct http_msg *m = &tx->msg[HTTP_TC];
    struct sk_span l = m->start;
    uint32_t i = 0, from;
    while (i < l.len && (http_is_space(l.p[i]) || l.p[i] == 0))
        i++;
    for (from = i; i < l.len && !http_is_space(l.p[i]);)
        i++;
    m->proto = http_sub(l, from, i);
    m->proto_num = head_proto(m->proto);
    while (i < l.len && http_is_space(l.p[i]))
        i++;
    for (from = i; i < l.len && !http_is_space(l.p[i]);)
        i++;
    tx->status_text = http_sub(l, from, i);
    tx->status = (uint16_t)status_number(tx->status_text);
    tx->message = (struct sk_span){0};
    if (i == l.len)
        return;
    while (i < l.len && http_is_space(l.p[i]))
        i++;
    tx->message = http_sub(l, i, l.len);
    while (tx->message.len > 0 && (l.p[i + tx->message.len - 1] == '\r' || l.p[i + tx->message.len - 1] == '\n'))
        tx->message.len--;
}

/* ---- what follows the headers ---- */

/* A 100 (Continue) is only an interim response: forget it, the real one is to come. */
static void forget_interim(struct http_tx *tx)
{
    struct http_msg *m = &tx->msg[HTTP_TC];
    struct http_body body = m->body;
    *m = (struct http_msg){.body = body};
    tx->status = 0;
    tx->status_text = tx->message = (struct sk_span){0};
}

static enum step finish_tunnel(struct http_conn *conn, struct http_tx *tx, enum http_result result)
{
    tx_progress(tx, HTTP_TC, HTTP_P_HEADERS);
    conn->side[HTTP_TC].state = conn->side[HTTP_TS].state = ST_IDLE;
    mem_release(&conn->ctx->pool, &conn->side[HTTP_TS].hold);
    bool own_request = conn->cur[HTTP_TS] == tx;
    if (own_request)
        tx_complete(tx, HTTP_TS);
    tx_complete(tx, HTTP_TC);
    conn->result = (uint8_t)result;
    return STEP_GO;
}

static enum step switch_protocol(struct http_conn *conn, struct http_tx *tx)
{
    struct sk_span up = head_value(&tx->msg[HTTP_TC], HK_UPGRADE);
    uint32_t n = up.len < sizeof conn->upgrade_buf ? up.len : (uint32_t)sizeof conn->upgrade_buf;
    if (n > 0)
        memcpy(conn->upgrade_buf, up.p, n);
    conn->upgrade = sk_span_of(conn->upgrade_buf, n);
    return finish_tunnel(conn, tx, HTTP_R_UPGRADE);
}

/* The proxy said no: what the client sends next is another request. */
static void connect_refused(struct http_conn *conn, struct http_tx *tx)
{
    struct http_side *s = &conn->side[HTTP_TS];
    if (s->state != ST_CONNECT_WAIT || conn->cur[HTTP_TS] != tx)
        return;
    s->state = ST_IDLE;
    conn->replay = s->hold.len > 0;
    if (conn->sync.tc_doubt)
        sync_doubt(conn); /* did the proxy write that, or somebody behind the tunnel? */
    tx_complete(tx, HTTP_TS);
}

/* A client that waits for 100 (Continue) and is refused does not send its body. */
static void expect_refused(struct http_conn *conn, struct http_tx *tx)
{
    struct http_msg *req = &tx->msg[HTTP_TS];
    struct http_side *s = &conn->side[HTTP_TS];
    if (conn->cur[HTTP_TS] != tx || s->state != ST_LENGTH || s->left != req->content_length)
        return;
    if (sk_span_ieq(head_value(req, HK_EXPECT), "100-continue")) {
        s->state = ST_IDLE;
        req->refused = true;
        sync_doubt(conn); /* it may come all the same */
        tx_complete(tx, HTTP_TS);
    }
}

/* RFC 9112 section 6.3, as tolerant as libhtp. The state that reads the body, or -1 when it cannot be known. */
static int response_framing(struct http_tx *tx, struct http_side *s)
{
    struct http_msg *m = &tx->msg[HTTP_TC];
    const struct http_header *te = head_known(m, HK_TRANSFER_ENCODING), *cl = head_known(m, HK_CONTENT_LENGTH);
    bool bare = te == NULL && cl == NULL;
    uint8_t buf[HTTP_NOZERO_MAX];
    unsigned st = tx->status;
    /* libhtp believes a Content-Length in a 304, which real servers send, and loses the next response to it. */
    if (tx->method_id == HM_HEAD || st == 304 || (bare && ((st >= 100 && st < 200) || st == 204)))
        return ST_FINALIZE;
    if (te != NULL && http_contains(http_nozero(te->value, buf, sizeof buf), "chunked")) {
        m->chunked = true;
        return ST_CHUNK_LEN;
    }
    if (cl != NULL) {
        if (!head_content_length(cl->value, &m->content_length)) {
            tx_event(tx, HTTP_EV_INVALID_CONTENT_LENGTH_RESPONSE);
            return -1;
        }
        m->has_cl = true;
        s->left = m->content_length;
        return s->left > 0 ? ST_LENGTH : ST_FINALIZE;
    }
    return http_contains(head_value(m, HK_CONTENT_TYPE), "multipart/byteranges") ? -1 : ST_CLOSE;
}

static bool is_interim(const struct http_tx *tx)
{
    const struct http_msg *m = &tx->msg[HTTP_TC];
    uint64_t n;
    if (tx->status != 100 || head_known(m, HK_TRANSFER_ENCODING) != NULL)
        return false;
    const struct http_header *cl = head_known(m, HK_CONTENT_LENGTH);
    return cl == NULL || !head_content_length(cl->value, &n) || n == 0;
}

static enum step response_headers_done(struct http_conn *conn, struct http_tx *tx)
{
    struct http_msg *m = &tx->msg[HTTP_TC];
    struct http_side *s = &conn->side[HTTP_TC];
    if (tx->method_id == HM_CONNECT && tx->status >= 200 && tx->status < 300)
        return finish_tunnel(conn, tx, HTTP_R_TUNNEL);
    bool believed = conn->sync.state != SYNC_NEVER && !conn->sync.tc_doubt;
    if (tx->status == 101 && believed && head_known(m, HK_TRANSFER_ENCODING) == NULL &&
        head_known(m, HK_CONTENT_LENGTH) == NULL)
        return switch_protocol(conn, tx);
    if (is_interim(tx)) {
        forget_interim(tx);
        s->state = ST_HEAD;
        return STEP_GO;
    }
    int state = response_framing(tx, s);
    body_begin(tx, HTTP_TC);
    tx_progress(tx, HTTP_TC, HTTP_P_HEADERS);
    if (state < 0)
        return STEP_ERROR;
    s->state = (uint8_t)state;
    if (tx->method_id == HM_CONNECT)
        connect_refused(conn, tx);
    if (tx->status >= 400 && tx->status < 500)
        expect_refused(conn, tx);
    return STEP_GO;
}

/* ---- the head ---- */

static uint32_t skip_blank(const uint8_t *p, uint32_t len)
{
    uint32_t i = 0;
    while (i < len && (p[i] == '\n' || p[i] == '\r'))
        i++;
    return i;
}

struct head_at {
    uint32_t skip, line, next, total;
    bool junk; /* the line is no status line */
};

/* Where the head in p..len ends. False: not there yet. */
static bool response_measure(struct http_side *s, const uint8_t *p, uint32_t len, bool eof, struct head_at *at)
{
    at->skip = skip_blank(p, len);
    if (at->skip == len || !head_line(HTTP_TC, p + at->skip, len - at->skip, eof, &at->line, &at->next))
        return false;
    uint32_t start = at->skip + at->next;
    at->junk = !starts_like_http(p + at->skip, at->line);
    at->total = start;
    if (at->junk)
        return true;
    uint32_t resume = s->scanned > start ? s->scanned - start : 0;
    uint32_t head = head_find_end(HTTP_TC, p + start, len - start, &resume);
    if (head == 0 && !eof) {
        s->scanned = start + resume;
        return false;
    }
    at->total = start + (head ? head : len - start);
    return true;
}

/* A line where a status line should be: body, unless a status line follows at once; so browsers do it. */
static enum step response_junk(struct http_conn *conn, struct http_tx *tx, const uint8_t *p, const struct head_at *at,
                               const struct http_in *rest)
{
    struct http_side *s = &conn->side[HTTP_TC];
    s->scanned = 0;
    sync_broken(conn);
    if (rest->left > 1 && (rest->p[0] == 'H' || at->line <= 2))
        return STEP_GO;
    body_begin(tx, HTTP_TC);
    body_data(tx, HTTP_TC, p + at->skip, at->next);
    if (rest->left == 0)
        s->state = ST_FINALIZE;
    return STEP_GO;
}

/* What is known of a head. False: it cannot be kept, or has too many lines. */
static bool response_keep(struct http_tx *tx, const uint8_t *p, const struct head_at *at)
{
    struct http_msg *m = &tx->msg[HTTP_TC];
    struct sk_span all = tx_copy(tx, sk_span_of(p + at->skip, at->total - at->skip));
    if (all.p == NULL)
        return false;
    m->start = http_sub(all, 0, at->next); /* with its end, as libhtp keeps it */
    m->block = http_sub(all, at->next, all.len);
    response_line(tx);
    if (head_parse(tx, HTTP_TC, m->block))
        return true;
    tx_progress(tx, HTTP_TC, HTTP_P_HEADERS);
    return false;
}

void response_cut(struct http_conn *conn)
{
    struct http_side *s = &conn->side[HTTP_TC];
    struct head_at at;
    if (s->hold.len > 0 && response_measure(s, s->hold.p, s->hold.len, true, &at) && !at.junk &&
        response_keep(conn->cur[HTTP_TC], s->hold.p, &at))
        tx_progress(conn->cur[HTTP_TC], HTTP_TC, HTTP_P_HEADERS);
}

static enum step response_take(struct http_conn *conn, struct http_tx *tx, const uint8_t *p, const struct head_at *at)
{
    if (!response_keep(tx, p, at))
        return STEP_ERROR;
    conn->side[HTTP_TC].scanned = 0;
    return response_headers_done(conn, tx);
}

static enum step response_done(struct http_conn *conn, struct http_tx *tx, const uint8_t *p, const struct head_at *at,
                               const struct http_in *rest)
{
    if (at->junk)
        return response_junk(conn, tx, p, at, rest);
    return response_take(conn, tx, p, at);
}

static enum step response_held(struct http_conn *conn, struct http_in *in, bool eof)
{
    struct http_tx *tx = conn->cur[HTTP_TC];
    struct http_side *s = &conn->side[HTTP_TC];
    struct head_at at;
    uint32_t before = s->hold.len, limit = conn->ctx->conf.header_limit;
    uint32_t n = in->left < limit - before ? in->left : limit - before;
    if (n > 0 && !mem_append(&conn->ctx->pool, &s->hold, in->p, n))
        return STEP_ERROR;
    bool whole = before > 0 && response_measure(s, s->hold.p, s->hold.len, eof, &at);
    if (whole)
        n = at.total > before ? at.total - before : 0;
    in->p += n;
    in->left -= n;
    if (whole) {
        struct http_mem held = s->hold;
        s->hold = (struct http_mem){0};
        enum step step = response_done(conn, tx, held.p, &at, in);
        mem_release(&conn->ctx->pool, &held);
        return step;
    }
    if (s->hold.len < limit)
        return STEP_MORE;
    tx_event(tx, HTTP_EV_RESPONSE_FIELD_TOO_LONG);
    return STEP_ERROR;
}

enum step response_head(struct http_conn *conn, struct http_in *in, bool eof)
{
    struct http_side *s = &conn->side[HTTP_TC];
    struct head_at at;
    if (s->hold.len > 0 || in->left == 0 || !response_measure(s, in->p, in->left, eof, &at))
        return response_held(conn, in, eof);
    const uint8_t *p = in->p;
    in->p += at.total;
    in->left -= at.total;
    return response_done(conn, conn->cur[HTTP_TC], p, &at, in);
}

/* Behind a response, in the same run of bytes: what is no status line belongs to the body, as libhtp takes it. */
enum step response_finalize(struct http_conn *conn, struct http_in *in)
{
    struct http_tx *tx = conn->cur[HTTP_TC];
    const uint8_t *lf = in->left > 0 ? (const uint8_t *)memchr(in->p, '\n', in->left) : NULL;
    uint32_t n = lf ? (uint32_t)(lf - in->p) + 1 : in->left;
    if (n == 0 || starts_like_http(in->p, n) || (lf == NULL && n < 4)) {
        conn->side[HTTP_TC].state = ST_IDLE;
        sync_response_ends(conn, tx);
        tx_complete(tx, HTTP_TC);
        return STEP_GO;
    }
    sync_broken(conn);
    body_data(tx, HTTP_TC, in->p, n);
    in->p += n;
    in->left -= n;
    return STEP_GO;
}
