/* The request side: start line, framing of the body, what stands between two requests. */
#include <strings.h>
#include "http/internal.h"

#define HTTP09_MAX_JUNK 16 /* white space behind a request line without protocol that is still HTTP/0.9 (as libhtp) */

enum http_method request_method(struct sk_span s)
{
    static const struct {
        const char *name;
        uint8_t len, id;
    } methods[] = {
        {"GET", 3, HM_GET},
        {"POST", 4, HM_POST},
        {"HEAD", 4, HM_HEAD},
        {"PUT", 3, HM_PUT},
        {"OPTIONS", 7, HM_KNOWN},
        {"CONNECT", 7, HM_CONNECT},
        {"DELETE", 6, HM_KNOWN},
        {"TRACE", 5, HM_KNOWN},
        {"PATCH", 5, HM_KNOWN},
        {"PROPFIND", 8, HM_KNOWN},
        {"PROPPATCH", 9, HM_KNOWN},
        {"MKCOL", 5, HM_KNOWN},
        {"COPY", 4, HM_KNOWN},
        {"MOVE", 4, HM_KNOWN},
        {"LOCK", 4, HM_KNOWN},
        {"UNLOCK", 6, HM_KNOWN},
        {"CHECKOUT", 8, HM_KNOWN},
        {"CHECKIN", 7, HM_KNOWN},
        {"UNCHECKOUT", 10, HM_KNOWN},
        {"UPDATE", 6, HM_KNOWN},
        {"LABEL", 5, HM_KNOWN},
        {"REPORT", 6, HM_KNOWN},
        {"MKWORKSPACE", 11, HM_KNOWN},
        {"MERGE", 5, HM_KNOWN},
        {"MKACTIVITY", 10, HM_KNOWN},
        {"INVALID", 7, HM_KNOWN},
        {"VERSION-CONTROL", 15, HM_KNOWN},
        {"BASELINE-CONTROL", 16, HM_KNOWN},
    };
    for (unsigned i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (s.len == methods[i].len && memcmp(s.p, methods[i].name, s.len) == 0)
            return (enum http_method)methods[i].id;
    }
    return HM_UNKNOWN;
}

/*
 * Splits s at its last byte that is a space (or any white space): targets may have spaces in them, as careless servers
 * take them. Both halves trimmed.
 */
static void split(struct sk_span s, bool any_space, struct sk_span *a, struct sk_span *b)
{
    uint32_t i = s.len;
    while (i > 0 && s.p[i - 1] != ' ' && !(any_space && http_is_space(s.p[i - 1])))
        i--;
    *a = http_trim(http_sub(s, 0, i > 0 ? i - 1 : s.len));
    *b = i > 0 ? http_trim(http_sub(s, i, s.len)) : (struct sk_span){0};
}

static bool has_other_space(struct sk_span s)
{
    for (uint32_t i = 0; i < s.len; i++) {
        if (http_is_space(s.p[i]) && s.p[i] != ' ')
            return true;
    }
    return false;
}

void request_line(struct http_tx *tx)
{
    struct http_msg *m = &tx->msg[HTTP_TS];
    struct sk_span l = m->start;
    uint32_t i = 0;
    while (i < l.len && http_is_space(l.p[i]))
        i++;
    if (i > 0)
        tx_event(tx, HTTP_EV_REQUEST_LINE_LEADING_WHITESPACE);
    uint32_t from = i;
    while (i < l.len && !http_is_space(l.p[i]))
        i++;
    tx->method = http_sub(l, from, i);
    tx->method_id = (uint8_t)request_method(tx->method);
    struct sk_span rest = http_trim(http_sub(l, i, l.len));
    if (rest.len > 0) {
        split(rest, false, &tx->uri, &m->proto);
        if (tx->uri.len == rest.len && has_other_space(tx->uri))
            split(rest, true, &tx->uri, &m->proto);
    }
    if (m->proto.len == 0) {
        tx->is_09 = true;
        m->proto_num = 9;
        return;
    }
    m->proto_num = head_proto(m->proto);
    if (m->proto_num == 0 && tx->method_id == HM_UNKNOWN)
        tx_event(tx, HTTP_EV_REQUEST_LINE_INVALID);
}

/* Nothing but a little white space behind a request line without protocol: HTTP/0.9. Anything else: headers. */
static bool is_really_09(const uint8_t *p, uint32_t len)
{
    uint32_t i = 0;
    while (i < len && http_is_space(p[i]))
        i++;
    return i == len && len <= HTTP09_MAX_JUNK;
}

static void check_host(struct http_tx *tx)
{
    struct http_msg *m = &tx->msg[HTTP_TS];
    const struct http_header *h = head_known(m, HK_HOST);
    if (h == NULL) {
        if (m->proto_num == 11)
            tx_event(tx, HTTP_EV_MISSING_HOST_HEADER);
        return;
    }
    if (tx->uri.len == 0 || tx->uri.p[0] == '/')
        return;
    struct sk_span uri = uri_host(tx), port, host;
    if (!tx->parts.has_host)
        return;
    if (!uri_hostport(h->value, &host, &port) || host.len != uri.len ||
        strncasecmp((const char *)host.p, (const char *)uri.p, uri.len) != 0)
        tx_event(tx, HTTP_EV_HOST_HEADER_AMBIGUOUS);
}

/* How the body is framed. False: cannot be known, the connection is lost. */
static bool request_framing(struct http_tx *tx, struct http_side *s)
{
    struct http_msg *m = &tx->msg[HTTP_TS];
    uint8_t buf[HTTP_NOZERO_MAX];
    const struct http_header *te = head_known(m, HK_TRANSFER_ENCODING), *cl = head_known(m, HK_CONTENT_LENGTH);
    if (te != NULL) {
        if (!http_contains(http_nozero(te->value, buf, sizeof buf), "chunked")) {
            tx_event(tx, HTTP_EV_INVALID_TRANSFER_ENCODING_REQUEST);
            return false;
        }
        if (m->proto_num < 11)
            tx_event(tx, HTTP_EV_INVALID_TRANSFER_ENCODING_REQUEST);
        m->chunked = true;
        s->state = ST_CHUNK_LEN;
        return true;
    }
    s->state = ST_FINALIZE;
    if (cl == NULL)
        return true;
    if (!head_content_length(cl->value, &m->content_length)) {
        tx_event(tx, HTTP_EV_INVALID_CONTENT_LENGTH_REQUEST);
        return false;
    }
    m->has_cl = true;
    s->left = m->content_length;
    if (s->left > 0)
        s->state = ST_LENGTH;
    return true;
}

static enum step request_headers_done(struct http_conn *conn, struct http_tx *tx)
{
    struct http_side *s = &conn->side[HTTP_TS];
    check_host(tx);
    bool ok = request_framing(tx, s);
    body_begin(tx, HTTP_TS);
    tx_progress(tx, HTTP_TS, HTTP_P_HEADERS);
    if (!ok)
        return STEP_ERROR;
    if (tx->method_id == HM_CONNECT)
        s->state = ST_CONNECT_WAIT;
    return STEP_GO;
}

/* Empty lines before a request are passed over. */
static uint32_t skip_blank(const uint8_t *p, uint32_t len)
{
    uint32_t i = 0;
    for (;;) {
        if (i < len && p[i] == '\n')
            i++;
        else if (len - i >= 2 && p[i] == '\r' && p[i + 1] == '\n')
            i += 2;
        else
            return i;
    }
}

/* The usual end of a request line saves parsing it twice. */
static bool line_has_protocol(struct sk_span l)
{
    if (l.len > 10 && memcmp(l.p + l.len - 9, " HTTP/1.", 8) == 0)
        return true;
    struct http_tx probe = {.msg[HTTP_TS].start = l};
    request_line(&probe);
    return !probe.is_09;
}

/* Length of the head (with empty lines before it) in p..len; 0: its end is not there yet. */
static uint32_t request_measure(struct http_side *s, const uint8_t *p, uint32_t len, bool eof, uint32_t *skip,
                                uint32_t *line, uint32_t *next, bool *is_09)
{
    *skip = skip_blank(p, len);
    if (*skip == len || !head_line(HTTP_TS, p + *skip, len - *skip, eof, line, next))
        return 0;
    uint32_t at = *skip + *next, left = len - at, resume = s->scanned > at ? s->scanned - at : 0;
    *is_09 = !line_has_protocol(sk_span_of(p + *skip, *line)) && is_really_09(p + at, left);
    if (*is_09)
        return len;
    uint32_t head = head_find_end(HTTP_TS, p + at, left, &resume);
    if (head == 0 && !eof) {
        s->scanned = at + resume;
        return 0;
    }
    return at + (head ? head : left);
}

/* Takes a whole head from p..len into the transaction. Returns its length, 0 when its end is not there. */
static uint32_t request_take(struct http_conn *conn, struct http_tx *tx, const uint8_t *p, uint32_t len, bool eof,
                             bool *oom)
{
    struct http_msg *m = &tx->msg[HTTP_TS];
    uint32_t skip, line, next;
    bool is_09;
    uint32_t total = request_measure(&conn->side[HTTP_TS], p, len, eof, &skip, &line, &next, &is_09);
    if (total == 0)
        return 0;
    struct sk_span all = tx_copy(tx, sk_span_of(p + skip, total - skip));
    *oom = all.p == NULL;
    if (*oom)
        return 0;
    m->start = http_sub(all, 0, line);
    m->block = http_sub(all, next, all.len);
    request_line(tx);
    if (tx->is_09)
        tx_event(tx, HTTP_EV_REQUEST_LINE_MISSING_PROTOCOL);
    tx->is_09 = is_09;
    return total;
}

static enum step request_parsed(struct http_conn *conn, struct http_tx *tx)
{
    struct http_side *s = &conn->side[HTTP_TS];
    struct http_msg *m = &tx->msg[HTTP_TS];
    s->scanned = 0;
    if (conn->sync.state != SYNC_SURE && tx->method_id == HM_CONNECT)
        tx->method_id = HM_KNOWN; /* perhaps no request at all: no tunnel is believed */
    if (tx->is_09 && conn->sync.state != SYNC_SURE) {
        tx->is_09 = false;
        return STEP_ERROR; /* nothing could follow it */
    }
    if (tx->is_09) {
        tx_progress(tx, HTTP_TS, HTTP_P_HEADERS);
        s->state = ST_IGNORE;
        tx_complete(tx, HTTP_TS);
        return STEP_GO;
    }
    if (!head_parse(tx, HTTP_TS, m->block)) {
        tx_progress(tx, HTTP_TS, HTTP_P_HEADERS);
        return STEP_ERROR;
    }
    return request_headers_done(conn, tx);
}

void request_cut(struct http_conn *conn)
{
    struct http_tx *tx = conn->cur[HTTP_TS];
    const struct http_mem *held = &conn->side[HTTP_TS].hold;
    bool oom = false;
    if (held->len == 0 || request_take(conn, tx, held->p, held->len, true, &oom) == 0)
        return;
    if (tx->is_09) { /* the rest of the line is missing, not its protocol */
        tx->is_09 = false;
        tx->events &= ~((uint64_t)1 << HTTP_EV_REQUEST_LINE_MISSING_PROTOCOL);
    }
    (void)head_parse(tx, HTTP_TS, tx->msg[HTTP_TS].block);
    tx_progress(tx, HTTP_TS, HTTP_P_HEADERS);
}

enum step request_head(struct http_conn *conn, struct http_in *in, bool eof)
{
    struct http_tx *tx = conn->cur[HTTP_TS];
    struct http_side *s = &conn->side[HTTP_TS];
    bool oom = false;
    uint32_t before = s->hold.len, limit = conn->ctx->conf.header_limit;
    if (before == 0) {
        uint32_t used = in->left > 0 ? request_take(conn, tx, in->p, in->left, eof, &oom) : 0;
        if (used > 0) {
            in->p += used;
            in->left -= used;
            return request_parsed(conn, tx);
        }
    }
    uint32_t n = in->left < limit - before ? in->left : limit - before;
    if (oom || (n > 0 && !mem_append(&conn->ctx->pool, &s->hold, in->p, n)))
        return STEP_ERROR;
    uint32_t used = before > 0 ? request_take(conn, tx, s->hold.p, s->hold.len, eof, &oom) : 0;
    if (oom)
        return STEP_ERROR;
    if (used > 0)
        n = used > before ? used - before : 0;
    in->p += n;
    in->left -= n;
    if (used > 0) {
        mem_release(&conn->ctx->pool, &s->hold);
        return request_parsed(conn, tx);
    }
    if (s->hold.len < limit)
        return STEP_MORE;
    tx_event(tx, HTTP_EV_REQUEST_FIELD_TOO_LONG);
    return STEP_ERROR;
}

/* Does this look like the next request: a method that is known, or a protocol at the end? */
static bool looks_like_request(struct sk_span line)
{
    struct sk_span l = http_trim(line);
    uint32_t i = 0;
    while (i < l.len && !http_is_space(l.p[i]))
        i++;
    if (request_method(http_sub(l, 0, i)) != HM_UNKNOWN)
        return true;
    while (l.len > 0 && i < l.len) {
        if (l.len - i >= 6 && http_is_space(l.p[i]) && http_starts(http_sub(l, i + 1, l.len), "http/"))
            return true;
        i++;
    }
    return false;
}

/* A line whose end has not come: can it still become a request? */
static bool may_be_request(struct sk_span line)
{
    return line.len == 0 || http_is_space(line.p[0]) || (line.p[0] >= 'A' && line.p[0] <= 'Z');
}

/*
 * Behind a request, in the same run of bytes: lines that are no request belong to the body, as libhtp takes them
 * (browsers send an extra CRLF behind a POST body).
 */
enum step request_finalize(struct http_conn *conn, struct http_in *in)
{
    struct http_tx *tx = conn->cur[HTTP_TS];
    struct http_side *s = &conn->side[HTTP_TS];
    const uint8_t *lf = in->left > 0 ? (const uint8_t *)memchr(in->p, '\n', in->left) : NULL;
    uint32_t n = lf ? (uint32_t)(lf - in->p) + 1 : in->left;
    if (n == 0 || (lf == NULL && may_be_request(sk_span_of(in->p, n))) || looks_like_request(sk_span_of(in->p, n))) {
        s->state = ST_IDLE;
        tx_complete(tx, HTTP_TS);
        return STEP_GO;
    }
    if (http_trim(sk_span_of(in->p, n)).len > 0)
        tx_event(tx, HTTP_EV_DATA_AFTER_NOT_HTTP);
    body_data(tx, HTTP_TS, in->p, n);
    in->p += n;
    in->left -= n;
    return STEP_GO;
}
