/* Inspection buffers and the accessors of a transaction. Derived ones are built at the first call and kept. */
#include "http/internal.h"

static bool joined_header(const struct http_msg *m, enum http_known k, struct sk_span *out)
{
    const struct http_header *h = head_known(m, k);
    if (h == NULL)
        return false;
    *out = h->value;
    return true;
}

static bool present(struct sk_span s, struct sk_span *out)
{
    *out = s;
    return s.p != NULL && s.len > 0;
}

static uint8_t *put(uint8_t *o, struct sk_span s)
{
    if (s.len > 0)
        memcpy(o, s.p, s.len);
    return o + s.len;
}

static uint8_t *put_str(uint8_t *o, const char *s, uint32_t n)
{
    memcpy(o, s, n);
    return o + n;
}

/* What headers take when written as "name: value\r\n", with room for a start line and two line ends. */
static uint32_t headers_size(const struct http_msg *m)
{
    uint32_t n = m->start.len + 8;
    for (unsigned i = 0; i < m->nheaders; i++)
        n += m->headers[i].name.len + m->headers[i].value.len + 4;
    return n;
}

static uint8_t *put_header(uint8_t *o, const struct http_header *h)
{
    o = put(o, h->name);
    o = put_str(o, ": ", 2);
    o = put(o, h->value);
    return put_str(o, "\r\n", 2);
}

/* "Name: value\r\n" each, without cookies. */
static bool build_header(struct http_tx *tx, int dir, struct sk_span *out)
{
    struct http_msg *m = &tx->msg[dir];
    if (m->cache_header.p == NULL) {
        uint8_t *buf = (uint8_t *)tx_alloc(tx, headers_size(m)), *o = buf;
        if (buf == NULL)
            return false;
        enum http_known cookie = dir == HTTP_TS ? HK_COOKIE : HK_SET_COOKIE;
        for (unsigned i = 0; i < m->nheaders; i++) {
            if (m->headers[i].known != cookie)
                o = put_header(o, &m->headers[i]);
        }
        m->cache_header = sk_span_of(buf, (uint32_t)(o - buf));
    }
    return present(m->cache_header, out);
}

/* "\r\nName\r\nName\r\n\r\n" */
static bool build_names(struct http_tx *tx, int dir, struct sk_span *out)
{
    struct http_msg *m = &tx->msg[dir];
    if (m->nheaders == 0)
        return false;
    if (m->cache_names.p == NULL) {
        uint8_t *buf = (uint8_t *)tx_alloc(tx, headers_size(m)), *o = buf;
        if (buf == NULL)
            return false;
        o = put_str(o, "\r\n", 2);
        for (unsigned i = 0; i < m->nheaders; i++) {
            o = put(o, m->headers[i].name);
            o = put_str(o, "\r\n", 2);
        }
        o = put_str(o, "\r\n", 2);
        m->cache_names = sk_span_of(buf, (uint32_t)(o - buf));
    }
    return present(m->cache_names, out);
}

/* Start line (a response's has its end already, as in Suricata), headers, and an empty line when there are any. */
static bool build_start(struct http_tx *tx, int dir, struct sk_span *out)
{
    struct http_msg *m = &tx->msg[dir];
    if (m->start.p == NULL)
        return false;
    if (m->cache_start.p == NULL) {
        uint8_t *buf = (uint8_t *)tx_alloc(tx, headers_size(m)), *o = buf;
        if (buf == NULL)
            return false;
        o = put(o, m->start);
        o = put_str(o, "\r\n", 2);
        for (unsigned i = 0; i < m->nheaders; i++)
            o = put_header(o, &m->headers[i]);
        if (m->nheaders > 0)
            o = put_str(o, "\r\n", 2);
        m->cache_start = sk_span_of(buf, (uint32_t)(o - buf));
    }
    return present(m->cache_start, out);
}

/* "Name: value": a piece of the start buffer, where all headers stand in order. */
static bool one_header(struct http_tx *tx, int dir, unsigned index, struct sk_span *out)
{
    const struct http_msg *m = &tx->msg[dir];
    struct sk_span all;
    if (index >= m->nheaders || !build_start(tx, dir, &all))
        return false;
    uint32_t at = m->start.len + 2;
    for (unsigned i = 0; i < index; i++)
        at += m->headers[i].name.len + m->headers[i].value.len + 4;
    *out = http_sub(all, at, at + m->headers[index].name.len + m->headers[index].value.len + 2);
    return true;
}

static bool host_raw(struct http_tx *tx, struct sk_span *out)
{
    uri_parse(tx);
    if (tx->parts.has_host)
        return present(uri_host(tx), out);
    return joined_header(&tx->msg[HTTP_TS], HK_HOST, out);
}

static bool body_complete(const struct http_tx *tx, int dir)
{
    return tx->msg[dir].body.full || tx->progress[dir] == HTTP_P_COMPLETE;
}

static bool body_buffer(const struct http_tx *tx, int dir, struct sk_span *out, bool *complete)
{
    const struct http_body *b = &tx->msg[dir].body;
    *complete = body_complete(tx, dir);
    return present(sk_span_of(b->mem.p, b->mem.len), out);
}

static bool file_buffer(struct http_tx *tx, int dir, unsigned index, struct sk_span *out, bool *complete)
{
    struct http_file f;
    if (!http_tx_file(tx, dir, index, &f))
        return false;
    *complete = f.complete;
    return present(f.data, out);
}

static bool request_buffer(struct http_tx *tx, enum http_buf buf, struct sk_span *out)
{
    const struct http_msg *m = &tx->msg[HTTP_TS];
    switch (buf) {
    case HTTP_BUF_URI: return present(uri_normalized(tx), out);
    case HTTP_BUF_URI_RAW: return present(tx->uri, out);
    case HTTP_BUF_METHOD: return present(tx->method, out);
    case HTTP_BUF_HOST: return present(uri_host(tx), out);
    case HTTP_BUF_HOST_RAW: return host_raw(tx, out);
    case HTTP_BUF_USER_AGENT: return joined_header(m, HK_USER_AGENT, out);
    case HTTP_BUF_REFERER: return joined_header(m, HK_REFERER, out);
    case HTTP_BUF_ACCEPT: return joined_header(m, HK_ACCEPT, out);
    case HTTP_BUF_ACCEPT_ENC: return joined_header(m, HK_ACCEPT_ENC, out);
    case HTTP_BUF_ACCEPT_LANG: return joined_header(m, HK_ACCEPT_LANG, out);
    case HTTP_BUF_REQUEST_LINE: return present(m->start, out);
    default: return false;
    }
}

static bool response_buffer(struct http_tx *tx, enum http_buf buf, struct sk_span *out)
{
    const struct http_msg *m = &tx->msg[HTTP_TC];
    switch (buf) {
    case HTTP_BUF_RESPONSE_LINE: return present(m->start, out);
    case HTTP_BUF_STAT_CODE: return present(tx->status_text, out);
    case HTTP_BUF_STAT_MSG: return present(tx->message, out);
    case HTTP_BUF_LOCATION: return joined_header(m, HK_LOCATION, out);
    case HTTP_BUF_SERVER: return joined_header(m, HK_SERVER, out);
    default: return false;
    }
}

/* Buffers that both directions have. */
static bool common_buffer(struct http_tx *tx, int dir, enum http_buf buf, struct sk_span *out)
{
    const struct http_msg *m = &tx->msg[dir];
    switch (buf) {
    case HTTP_BUF_HEADER: return build_header(tx, dir, out);
    case HTTP_BUF_HEADER_RAW: return present(m->block, out);
    case HTTP_BUF_HEADER_NAMES: return build_names(tx, dir, out);
    case HTTP_BUF_START: return build_start(tx, dir, out);
    case HTTP_BUF_PROTOCOL: return present(m->proto, out);
    case HTTP_BUF_COOKIE: return joined_header(m, dir == HTTP_TS ? HK_COOKIE : HK_SET_COOKIE, out);
    case HTTP_BUF_CONTENT_TYPE: return joined_header(m, HK_CONTENT_TYPE, out);
    case HTTP_BUF_CONTENT_LEN: return joined_header(m, HK_CONTENT_LENGTH, out);
    case HTTP_BUF_CONNECTION: return joined_header(m, HK_CONNECTION, out);
    default: return dir == HTTP_TS ? request_buffer(tx, buf, out) : response_buffer(tx, buf, out);
    }
}

static bool dispatch(struct http_tx *tx, int dir, enum http_buf buf, unsigned index, struct sk_span *out,
                     bool *complete)
{
    switch (buf) {
    case HTTP_BUF_REQUEST_BODY: return dir == HTTP_TS && index == 0 && body_buffer(tx, dir, out, complete);
    case HTTP_BUF_RESPONSE_BODY: return dir == HTTP_TC && index == 0 && body_buffer(tx, dir, out, complete);
    case HTTP_BUF_FILE_DATA: return file_buffer(tx, dir, index, out, complete);
    case HTTP_BUF_REQUEST_HEADER: return dir == HTTP_TS && one_header(tx, dir, index, out);
    case HTTP_BUF_RESPONSE_HEADER: return dir == HTTP_TC && one_header(tx, dir, index, out);
    default: return index == 0 && common_buffer(tx, dir, buf, out);
    }
}

bool http_buffer(struct http_tx *tx, int dir, enum http_buf buf, unsigned index, struct sk_span *out,
                 struct http_buf_info *info)
{
    struct sk_span s = {0};
    bool complete = true, found = dispatch(tx, dir, buf, index, &s, &complete);
    *out = found ? s : (struct sk_span){0};
    if (info != NULL)
        *info = (struct http_buf_info){.offset = 0, .complete = complete};
    return found;
}

/* ---- accessors ---- */

struct http_tx *http_tx_first(const struct http_conn *conn)
{
    return conn->head;
}

struct http_tx *http_tx_next(const struct http_tx *tx)
{
    return tx->next;
}

uint32_t http_tx_id(const struct http_tx *tx)
{
    return tx->id;
}

enum http_progress http_tx_progress(const struct http_tx *tx, int dir)
{
    return (enum http_progress)tx->progress[dir];
}

void *http_tx_user(struct http_tx *tx)
{
    return tx->user;
}

uint64_t http_tx_events(const struct http_tx *tx)
{
    return tx->events;
}

int64_t http_tx_time(const struct http_tx *tx)
{
    return tx->ts;
}

struct sk_span http_tx_method(const struct http_tx *tx)
{
    return tx->method;
}

struct sk_span http_tx_url(const struct http_tx *tx)
{
    return tx->uri;
}

struct sk_span http_tx_hostname(struct http_tx *tx)
{
    return uri_host(tx);
}

uint16_t http_tx_port(struct http_tx *tx)
{
    uri_host(tx);
    return tx->port;
}

struct sk_span http_tx_protocol(const struct http_tx *tx)
{
    return tx->msg[HTTP_TS].proto;
}

unsigned http_tx_status(const struct http_tx *tx)
{
    return tx->status;
}

struct sk_span http_tx_status_text(const struct http_tx *tx)
{
    return tx->status_text;
}

uint64_t http_body_len(const struct http_tx *tx, int dir)
{
    return tx->msg[dir].body.message_len;
}

bool http_header_get(struct http_tx *tx, int dir, const char *name, unsigned index, struct sk_span *value)
{
    const struct http_msg *m = &tx->msg[dir];
    *value = (struct sk_span){0};
    for (unsigned i = 0; i < m->nheaders; i++) {
        if (!sk_span_ieq(m->headers[i].name, name))
            continue;
        if (index == 0) {
            *value = m->headers[i].value;
            return true;
        }
        for (unsigned k = 0, seen = 0; k < m->nlines; k++) {
            if (m->lines[k].header == i && !m->lines[k].extra && ++seen == index) {
                *value = m->lines[k].value;
                return true;
            }
        }
        return false;
    }
    return false;
}

static const struct http_header *find_header(const struct http_msg *m, const char *name)
{
    for (unsigned i = 0; i < m->nheaders; i++)
        if (sk_span_ieq(m->headers[i].name, name))
            return &m->headers[i];
    return NULL;
}

unsigned http_tx_header_lines(struct http_tx *tx, int dir, const char *name, struct http_header_line *out, unsigned max)
{
    const struct http_msg *m = &tx->msg[dir];
    const struct http_header *h = find_header(m, name);
    unsigned from = max;
    if (h != NULL && h->cut && from > 0)
        out[--from] = (struct http_header_line){.odd = true};
    for (unsigned k = h ? m->nlines : 0; k > 0 && from > 0; k--) {
        const struct http_line *l = &m->lines[k - 1];
        if (&m->headers[l->header] == h)
            out[--from] = (struct http_header_line){.value = l->value, .odd = head_line_odd(l)};
    }
    memmove(out, out + from, (max - from) * sizeof *out);
    return max - from;
}

static bool is_framing(uint8_t known)
{
    return known == HK_CONTENT_LENGTH || known == HK_TRANSFER_ENCODING;
}

bool http_tx_misframed(const struct http_tx *tx)
{
    static const uint64_t events =
        1u << HTTP_EV_INVALID_REQUEST_CHUNK_LEN | 1u << HTTP_EV_INVALID_CONTENT_LENGTH_REQUEST |
        1u << HTTP_EV_DUPLICATE_CONTENT_LENGTH_REQUEST | 1u << HTTP_EV_INVALID_TRANSFER_ENCODING_REQUEST;
    const struct http_msg *m = &tx->msg[HTTP_TS];
    unsigned framing = 0;
    if ((tx->events & events) || m->odd_chunks)
        return true;
    for (unsigned k = 0; k < m->nlines; k++) {
        if (!is_framing(m->headers[m->lines[k].header].known))
            continue;
        const struct http_line *l = &m->lines[k];
        if (head_line_odd(l) || framing++ > 0) /* also two equal lengths: a hop that repairs them sends one */
            return true;
        if (m->headers[l->header].known == HK_TRANSFER_ENCODING && !sk_span_ieq(l->value, "chunked"))
            return true;
    }
    return false;
}

bool http_header_at(struct http_tx *tx, int dir, unsigned index, struct sk_span *name, struct sk_span *value)
{
    const struct http_msg *m = &tx->msg[dir];
    if (index >= m->nheaders)
        return false;
    *name = m->headers[index].name;
    *value = m->headers[index].value;
    return true;
}
