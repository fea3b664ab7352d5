/* Bodies: framing (length, chunks, until close), and the part that is kept for inspection. */
#include "http/internal.h"

#define CHUNK_LINE_MAX 1024       /* a chunk-size line that is longer is no chunk size */
#define CHUNK_MAX      0x7fffffff /* larger sizes are passed over, as libhtp does */

void body_stop(struct http_tx *tx, int dir, enum http_missed why)
{
    struct http_body *b = &tx->msg[dir].body;
    b->full = true;
    b->why = (uint8_t)why;
    if (b->want)
        tx->conn->missed |= b->why;
}

static void coding_add(struct http_tx *tx, int dir, enum http_coding c)
{
    struct http_ctx *ctx = tx->conn->ctx;
    struct http_body *b = &tx->msg[dir].body;
    if (c == HC_NONE)
        return;
    struct http_decoder *d = decoder_create(ctx, c);
    if (d == NULL) {
        body_stop(tx, dir, HTTP_MISSED_MEMORY);
        return;
    }
    /* Codings are listed in the order of their application: the last one is undone first. */
    memmove(&b->dec[1], &b->dec[0], b->ndec * sizeof b->dec[0]);
    b->dec[0] = d;
    b->coded = true;
    b->ndec++;
}

static enum http_coding coding_of(struct http_tx *tx, struct sk_span s)
{
    if (http_contains(s, "gzip")) {
        if (!sk_span_ieq(s, "gzip") && !sk_span_ieq(s, "x-gzip"))
            tx_event(tx, HTTP_EV_ABNORMAL_CE_HEADER);
        return HC_GZIP;
    }
    if (http_contains(s, "deflate")) {
        if (!sk_span_ieq(s, "deflate") && !sk_span_ieq(s, "x-deflate"))
            tx_event(tx, HTTP_EV_ABNORMAL_CE_HEADER);
        return HC_DEFLATE;
    }
    if (sk_span_ieq(s, "br"))
        return HC_BROTLI;
    if (!sk_span_ieq(s, "identity") && !sk_span_ieq(s, "none") && !sk_span_ieq(s, "inflate"))
        tx_event(tx, HTTP_EV_ABNORMAL_CE_HEADER);
    return HC_NONE;
}

static void codings_begin(struct http_tx *tx, int dir)
{
    uint8_t buf[HTTP_NOZERO_MAX];
    struct sk_span v = http_nozero(head_value(&tx->msg[dir], HK_CONTENT_ENCODING), buf, sizeof buf);
    unsigned layers = 0;
    while (v.len > 0) {
        uint32_t i = 0;
        while (i < v.len && v.p[i] != ',' && v.p[i] != ' ')
            i++;
        if (i > 0) {
            if (++layers > tx->conn->ctx->conf.decompress_layer_limit) {
                tx_event(tx, HTTP_EV_TOO_MANY_ENCODING_LAYERS);
                return;
            }
            coding_add(tx, dir, coding_of(tx, http_sub(v, 0, i)));
        }
        v = http_sub(v, i < v.len ? i + 1 : i, v.len);
    }
}

void body_begin(struct http_tx *tx, int dir)
{
    static const uint32_t body_bufs[2] = {1u << HTTP_BUF_REQUEST_BODY | 1u << HTTP_BUF_FILE_DATA,
                                          1u << HTTP_BUF_RESPONSE_BODY | 1u << HTTP_BUF_FILE_DATA};
    const struct http_conf *conf = &tx->conn->ctx->conf;
    struct http_body *b = &tx->msg[dir].body;
    b->want = (tx->conn->want[dir] & body_bufs[dir]) != 0;
    b->limit = dir == HTTP_TS ? conf->request_body_limit : conf->response_body_limit;
    if (b->limit == 0 || b->limit > HTTP_BODY_HARD_CAP)
        b->limit = HTTP_BODY_HARD_CAP;
    if (b->want && b->ndec == 0 && conf->decompress_layer_limit > 0)
        codings_begin(tx, dir);
}

static void body_cut(struct http_tx *tx, int dir)
{
    struct http_body *b = &tx->msg[dir].body;
    if (!b->full)
        sk_count(tx->conn->ctx->counters, SK_C_HTTP_BODY_LIMIT);
    body_stop(tx, dir, HTTP_MISSED_LIMIT);
}

static bool is_bomb(const struct http_ctx *ctx, const struct http_body *b)
{
    if (b->ndec == 0)
        return false;
    return b->entity_len > ctx->conf.decompress_limit ||
           (b->entity_len > HTTP_BOMB_MIN && b->entity_len / HTTP_BOMB_RATIO > b->message_len);
}

void body_keep(struct http_tx *tx, int dir, const uint8_t *p, uint32_t len)
{
    struct http_ctx *ctx = tx->conn->ctx;
    struct http_body *b = &tx->msg[dir].body;
    b->entity_len += len;
    if (b->full || len == 0)
        return;
    uint64_t room = b->limit - b->mem.len;
    uint32_t n = len < room ? len : (uint32_t)room;
    if (b->mem.cap == 0 && b->ndec == 0 && tx->msg[dir].has_cl) {
        uint64_t whole = tx->msg[dir].content_length < b->limit ? tx->msg[dir].content_length : b->limit;
        if (whole > n && !mem_reserve(&ctx->pool, &b->mem, (uint32_t)whole)) {
            body_stop(tx, dir, HTTP_MISSED_MEMORY);
            return;
        }
    }
    if (!mem_append(&ctx->pool, &b->mem, p, n)) {
        body_stop(tx, dir, HTTP_MISSED_MEMORY);
        return;
    }
    b->grown = true;
    if (n < len)
        body_cut(tx, dir);
    if (is_bomb(ctx, b)) {
        tx_event(tx, HTTP_EV_COMPRESSION_BOMB);
        body_cut(tx, dir);
    }
}

void body_data(struct http_tx *tx, int dir, const uint8_t *p, uint32_t len)
{
    struct http_body *b = &tx->msg[dir].body;
    b->message_len += len;
    b->data_len += len;
    tx_progress(tx, dir, HTTP_P_BODY);
    if (!b->want)
        return;
    if (b->full) {
        tx->conn->missed |= b->why;
        return;
    }
    if (b->ndec > 0)
        decoder_run(tx, dir, 0, p, len);
    else
        body_keep(tx, dir, p, len);
}

/* Behind a hole nothing is kept: the body stays what was contiguous. */
void body_gap(struct http_tx *tx, int dir, uint32_t len)
{
    struct http_body *b = &tx->msg[dir].body;
    b->message_len += len;
    b->data_len += len;
    tx_progress(tx, dir, HTTP_P_BODY);
    b->gap = b->full = true;
    b->why = HTTP_MISSED_GAP;
}

void body_end(struct http_tx *tx, int dir)
{
    struct http_body *b = &tx->msg[dir].body;
    if (b->ndec > 0 && !b->full)
        decoder_finish(tx, dir);
    for (unsigned i = 0; i < b->ndec; i++) {
        decoder_free(tx->conn->ctx, b->dec[i]);
        b->dec[i] = NULL;
    }
    b->ndec = 0;
}

void body_free(struct http_ctx *ctx, struct http_body *b)
{
    for (unsigned i = 0; i < b->ndec; i++)
        decoder_free(ctx, b->dec[i]);
    b->ndec = 0;
    mem_release(&ctx->pool, &b->mem);
}

/* ---- chunks ---- */

static bool is_chunk_ctl(uint8_t c)
{
    return http_is_space(c);
}

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = http_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum chunk_line { CHUNK_SIZE, CHUNK_NONE, CHUNK_BAD };

static enum chunk_line chunk_parse(struct sk_span l, uint64_t *size)
{
    uint32_t i = 0, from;
    uint64_t n = 0;
    while (i < l.len && is_chunk_ctl(l.p[i]))
        i++;
    if (i == l.len)
        return CHUNK_NONE;
    for (from = i; i < l.len && hex(l.p[i]) >= 0; i++) {
        if (n > UINT64_MAX >> 4)
            return CHUNK_BAD;
        n = n << 4 | (uint64_t)hex(l.p[i]);
    }
    if (i == from)
        return CHUNK_BAD;
    *size = n;
    return n > CHUNK_MAX ? CHUNK_NONE : CHUNK_SIZE;
}

/* Can these bytes still become a chunk size? */
static bool chunk_possible(const uint8_t *p, uint32_t len)
{
    uint32_t i = 0;
    while (i < len && is_chunk_ctl(p[i]))
        i++;
    return i == len || hex(p[i]) >= 0;
}

/* No chunk size where one should be: a request is lost, a response goes on as body, as browsers take it. */
static enum step chunk_bad(struct http_conn *conn, int dir, struct sk_span seen)
{
    struct http_tx *tx = conn->cur[dir];
    struct http_side *s = &conn->side[dir];
    if (dir == HTTP_TS) {
        tx_event(tx, HTTP_EV_INVALID_REQUEST_CHUNK_LEN);
        return STEP_ERROR;
    }
    tx_event(tx, HTTP_EV_INVALID_RESPONSE_CHUNK_LEN);
    if (seen.len > 0)
        body_data(tx, dir, seen.p, seen.len);
    s->hold.len = 0;
    s->state = ST_CLOSE;
    return STEP_GO;
}

/* Hexadecimal digits and CR LF, and nothing else: what every reader takes for the same number. */
static bool is_plain_chunk_line(struct sk_span l)
{
    uint32_t i = 0;
    while (i < l.len && hex(l.p[i]) >= 0)
        i++;
    return i > 0 && l.len == i + 2 && l.p[i] == '\r' && l.p[i + 1] == '\n';
}

static enum step chunk_line(struct http_conn *conn, int dir, struct sk_span l)
{
    struct http_tx *tx = conn->cur[dir];
    struct http_side *s = &conn->side[dir];
    uint64_t size = 0;
    tx->msg[dir].odd_chunks |= !is_plain_chunk_line(l);
    switch (chunk_parse(l, &size)) {
    case CHUNK_BAD:
        if (dir == HTTP_TC)
            tx->msg[dir].body.message_len += l.len; /* counted as framing and as body, as libhtp does */
        return chunk_bad(conn, dir, l);
    case CHUNK_NONE:
        if (dir == HTTP_TS && http_trim(l).len > 0)
            return chunk_bad(conn, dir, l);
        break;
    case CHUNK_SIZE:
        s->left = size;
        s->state = size > 0 ? ST_CHUNK_DATA : ST_TRAILER;
        if (size == 0)
            tx_progress(tx, dir, HTTP_P_TRAILER);
        break;
    }
    tx->msg[dir].body.message_len += l.len;
    s->hold.len = 0;
    s->scanned = 0;
    return STEP_GO;
}

static enum step chunk_len(struct http_conn *conn, int dir, struct http_in *in)
{
    struct http_side *s = &conn->side[dir];
    if (in->left == 0)
        return STEP_MORE;
    const uint8_t *lf = (const uint8_t *)memchr(in->p, '\n', in->left);
    uint32_t n = lf ? (uint32_t)(lf - in->p) + 1 : in->left;
    struct sk_span l = sk_span_of(in->p, n);
    bool fits = s->hold.len + n <= CHUNK_LINE_MAX;
    if (!fits || (lf == NULL && s->hold.len == 0 && !chunk_possible(in->p, n))) {
        /* Bytes held so far belong to the body too. */
        struct sk_span held = sk_span_of(s->hold.p, s->hold.len);
        return chunk_bad(conn, dir, held);
    }
    in->p += n;
    in->left -= n;
    if (lf != NULL && s->hold.len == 0)
        return chunk_line(conn, dir, l);
    if (!mem_append(&conn->ctx->pool, &s->hold, l.p, n))
        return STEP_ERROR;
    l = sk_span_of(s->hold.p, s->hold.len);
    if (lf != NULL)
        return chunk_line(conn, dir, l);
    return chunk_possible(l.p, l.len) ? STEP_MORE : chunk_bad(conn, dir, l);
}

static enum step chunk_end(struct http_conn *conn, int dir, struct http_in *in)
{
    if (in->left == 0)
        return STEP_MORE;
    const uint8_t *lf = (const uint8_t *)memchr(in->p, '\n', in->left);
    uint32_t n = lf ? (uint32_t)(lf - in->p) + 1 : in->left;
    struct http_msg *m = &conn->cur[dir]->msg[dir];
    m->body.message_len += n;
    m->odd_chunks |= n > 2 || (in->p[0] != '\r' && in->p[0] != '\n');
    in->p += n;
    in->left -= n;
    if (lf == NULL)
        return STEP_MORE;
    conn->side[dir].state = ST_CHUNK_LEN;
    return STEP_GO;
}

/* Trailer fields join the headers; their bytes join the raw headers. */
static bool trailer_take(struct http_tx *tx, int dir, struct sk_span raw)
{
    struct http_msg *m = &tx->msg[dir];
    if (raw.len <= TX_COPY_SPARE && m->block.p != NULL) {
        memcpy((uint8_t *)(uintptr_t)m->block.p + m->block.len, raw.p, raw.len);
        m->block.len += raw.len;
        return true;
    }
    uint8_t *p = (uint8_t *)tx_alloc(tx, m->block.len + raw.len);
    if (p == NULL)
        return false;
    memcpy(p, m->block.p, m->block.len);
    memcpy(p + m->block.len, raw.p, raw.len);
    struct sk_span copy = sk_span_of(p + m->block.len, raw.len);
    m->block = sk_span_of(p, m->block.len + raw.len);
    return head_parse(tx, dir, copy);
}

static enum step trailer(struct http_conn *conn, int dir, struct http_in *in)
{
    struct http_side *s = &conn->side[dir];
    struct http_tx *tx = conn->cur[dir];
    if (in->left == 0)
        return STEP_MORE;
    uint32_t before = s->hold.len, limit = conn->ctx->conf.header_limit, n = in->left, end;
    const uint8_t *p = in->p;
    if (before == 0) {
        end = head_find_end(dir, p, n, &s->scanned);
    } else {
        n = n < limit - before ? n : limit - before;
        if (!mem_append(&conn->ctx->pool, &s->hold, in->p, n))
            return STEP_ERROR;
        p = s->hold.p;
        end = head_find_end(dir, p, s->hold.len, &s->scanned);
    }
    if (end > 0)
        n = end > before ? end - before : 0;
    else if (before == 0 && (n >= limit || !mem_append(&conn->ctx->pool, &s->hold, in->p, n)))
        return STEP_ERROR;
    in->p += n;
    in->left -= n;
    if (end == 0)
        return s->hold.len < limit ? STEP_MORE : STEP_ERROR;
    bool ok = trailer_take(tx, dir, sk_span_of(p, end));
    s->hold.len = 0;
    s->scanned = 0;
    s->state = ST_FINALIZE;
    return ok ? STEP_GO : STEP_ERROR;
}

/* ---- data ---- */

static enum step data_counted(struct http_conn *conn, int dir, struct http_in *in, enum http_state next)
{
    struct http_side *s = &conn->side[dir];
    uint32_t n = in->left < s->left ? in->left : (uint32_t)s->left;
    if (n == 0)
        return STEP_MORE;
    body_data(conn->cur[dir], dir, in->p, n);
    in->p += n;
    in->left -= n;
    s->left -= n;
    if (s->left > 0)
        return STEP_MORE;
    s->state = (uint8_t)next;
    return STEP_GO;
}

enum step body_step(struct http_conn *conn, int dir, struct http_in *in)
{
    switch ((enum http_state)conn->side[dir].state) {
    case ST_LENGTH: return data_counted(conn, dir, in, ST_FINALIZE);
    case ST_CHUNK_DATA: return data_counted(conn, dir, in, ST_CHUNK_END);
    case ST_CHUNK_LEN: return chunk_len(conn, dir, in);
    case ST_CHUNK_END: return chunk_end(conn, dir, in);
    case ST_TRAILER: return trailer(conn, dir, in);
    case ST_CLOSE:
        if (in->left > 0)
            body_data(conn->cur[dir], dir, in->p, in->left);
        in->p += in->left;
        in->left = 0;
        return STEP_MORE;
    default: return STEP_ERROR;
    }
}
