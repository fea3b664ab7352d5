/* Contexts, connections and transactions: their lives, and the loop that takes bytes through the states. */
#include <stdlib.h>
#include "http/internal.h"

#define TX_BLOCK                                                                                                       \
    4096 /* first memory block of a transaction; it holds the transaction, its user area and most heads                \
          */
#define ALIGN16(n) (((n) + 15u) & ~15u)

void http_conf_defaults(struct http_conf *conf)
{
    *conf = (struct http_conf){
        .request_body_limit = 100 * 1024,
        .response_body_limit = 100 * 1024,
        .header_limit = 64 * 1024,
        .max_tx = 512,
        .decompress_limit = 4 << 20,
        .decompress_layer_limit = HTTP_MAX_LAYERS,
        .memcap = 64 << 20,
    };
}

int http_create(const struct http_conf *conf, const struct http_callbacks *cb, struct sk_counters *c,
                struct http_ctx **out)
{
    if (conf->header_limit < 64 || conf->max_tx == 0 || conf->tx_user_size > 65536)
        return SK_EINVAL;
    struct http_ctx *ctx = (struct http_ctx *)calloc(1, sizeof *ctx);
    if (ctx == NULL)
        return SK_ENOMEM;
    ctx->conf = *conf;
    if (ctx->conf.decompress_layer_limit > HTTP_MAX_LAYERS)
        ctx->conf.decompress_layer_limit = HTTP_MAX_LAYERS;
    ctx->cb = *cb;
    ctx->counters = c;
    ctx->pool = (struct http_pool){.limit = conf->memcap, .counters = c};
    for (unsigned i = 0; i < HTTP_MAX_LAYERS; i++) {
        ctx->scratch[i] = (uint8_t *)malloc(HTTP_SCRATCH);
        if (ctx->scratch[i] == NULL) {
            http_free(ctx);
            return SK_ENOMEM;
        }
    }
    *out = ctx;
    return SK_OK;
}

void http_free(struct http_ctx *ctx)
{
    if (ctx == NULL)
        return;
    pool_destroy(&ctx->pool);
    for (unsigned i = 0; i < HTTP_MAX_LAYERS; i++)
        free(ctx->scratch[i]);
    free(ctx);
}

uint64_t http_memory(const struct http_ctx *ctx)
{
    return ctx->pool.taken;
}

struct http_conn *http_conn_create(struct http_ctx *ctx, void *user)
{
    uint32_t cap;
    struct http_conn *conn = (struct http_conn *)pool_get(&ctx->pool, sizeof *conn, &cap);
    if (conn == NULL)
        return NULL;
    *conn = (struct http_conn){.ctx = ctx, .user = user, .cap = cap};
    sk_count(ctx->counters, SK_C_HTTP_FLOWS);
    return conn;
}

void *http_conn_user(const struct http_conn *conn)
{
    return conn->user;
}

void http_set_want(struct http_conn *conn, int dir, uint32_t bufs)
{
    conn->want[dir] = bufs;
}

unsigned http_conn_missed(struct http_conn *conn)
{
    unsigned missed = conn->missed | (conn->result == HTTP_R_ERROR ? HTTP_MISSED_ERROR : 0u);
    conn->missed = 0;
    return missed;
}

struct sk_span http_conn_upgrade(const struct http_conn *conn)
{
    return conn->upgrade;
}

/* ---- transactions ---- */

void *tx_alloc(struct http_tx *tx, uint32_t size)
{
    if (size > UINT32_MAX / 4)
        return NULL;
    uint32_t want = ALIGN16(size + (size == 0));
    struct arena_block *b = tx->blocks;
    if (want > b->cap - b->used) {
        uint32_t cap, head = ALIGN16((uint32_t)sizeof *b);
        struct arena_block *n = (struct arena_block *)pool_get(&tx->conn->ctx->pool, head + want, &cap);
        if (n == NULL)
            return NULL;
        *n = (struct arena_block){.next = b, .cap = cap, .used = head};
        tx->blocks = b = n;
    }
    void *p = (uint8_t *)b + b->used;
    b->used += want;
    return p;
}

struct sk_span tx_copy(struct http_tx *tx, struct sk_span s)
{
    uint8_t *p = (uint8_t *)tx_alloc(tx, s.len + TX_COPY_SPARE);
    if (p == NULL)
        return (struct sk_span){0};
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    return sk_span_of(p, s.len);
}

static void tx_link(struct http_conn *conn, struct http_tx *tx)
{
    if (conn->tail != NULL)
        conn->tail->next = tx;
    else
        conn->head = tx;
    conn->tail = tx;
    conn->ntx++;
}

struct http_tx *tx_create(struct http_conn *conn)
{
    struct http_ctx *ctx = conn->ctx;
    if (conn->ntx >= ctx->conf.max_tx) {
        if (conn->tail != NULL)
            tx_event(conn->tail, HTTP_EV_MAX_TX_REACHED);
        return NULL;
    }
    uint32_t head = ALIGN16((uint32_t)sizeof(struct arena_block)), self = ALIGN16((uint32_t)sizeof(struct http_tx));
    uint32_t user = ALIGN16(ctx->conf.tx_user_size), cap, need = head + self + user;
    struct arena_block *b = (struct arena_block *)pool_get(&ctx->pool, need > TX_BLOCK ? need : TX_BLOCK, &cap);
    if (b == NULL)
        return NULL;
    *b = (struct arena_block){.cap = cap, .used = need};
    struct http_tx *tx = (struct http_tx *)((uint8_t *)b + head);
    memset(tx, 0, self + user);
    tx->blocks = b;
    tx->conn = conn;
    tx->user = (uint8_t *)tx + self;
    tx->id = conn->next_id++;
    tx->ts = conn->ts;
    tx_link(conn, tx);
    sk_count(ctx->counters, SK_C_HTTP_TX);
    return tx;
}

static void tx_unlink(struct http_conn *conn, struct http_tx *tx)
{
    struct http_tx **pp = &conn->head, *prev = NULL;
    while (*pp != tx) {
        prev = *pp;
        pp = &(*pp)->next;
    }
    *pp = tx->next;
    if (conn->tail == tx)
        conn->tail = prev;
    conn->ntx--;
}

static void tx_free(struct http_tx *tx)
{
    struct http_conn *conn = tx->conn;
    struct http_ctx *ctx = conn->ctx;
    tx_unlink(conn, tx);
    if (ctx->cb.on_tx_done != NULL)
        ctx->cb.on_tx_done(ctx->cb.arg, conn, tx);
    for (int d = 0; d < 2; d++) {
        if (conn->cur[d] == tx)
            conn->cur[d] = NULL;
        body_free(ctx, &tx->msg[d].body);
    }
    struct arena_block *next;
    for (struct arena_block *b = tx->blocks; b != NULL; b = next) {
        next = b->next;
        pool_put(&ctx->pool, b, b->cap);
    }
}

void http_conn_free(struct http_conn *conn)
{
    if (conn == NULL)
        return;
    struct http_ctx *ctx = conn->ctx;
    while (conn->head != NULL)
        tx_free(conn->head);
    for (int d = 0; d < 2; d++)
        mem_release(&ctx->pool, &conn->side[d].hold);
    pool_put(&ctx->pool, conn, conn->cap);
}

void tx_progress(struct http_tx *tx, int dir, enum http_progress p)
{
    const struct http_callbacks *cb = &tx->conn->ctx->cb;
    if (p > tx->progress[dir])
        tx->progress[dir] = (uint8_t)p;
    if (p != HTTP_P_HEADERS && p != HTTP_P_COMPLETE)
        return;
    tx->msg[dir].body.grown = false;
    if (cb->on_progress != NULL)
        cb->on_progress(cb->arg, tx->conn, tx, dir, p);
}

void tx_complete(struct http_tx *tx, int dir)
{
    struct http_conn *conn = tx->conn;
    if (tx->progress[dir] != HTTP_P_COMPLETE) {
        body_end(tx, dir);
        tx_progress(tx, dir, HTTP_P_COMPLETE);
    }
    if (conn->cur[dir] == tx)
        conn->cur[dir] = NULL;
    if (tx->progress[HTTP_TS] == HTTP_P_COMPLETE && tx->progress[HTTP_TC] == HTTP_P_COMPLETE)
        tx_free(tx);
}

/* Requests that are complete and whose responses, if they came, were not seen. */
static void end_waiting(struct http_conn *conn, bool with_latest)
{
    struct http_tx *next;
    for (struct http_tx *tx = conn->head; tx != NULL; tx = next) {
        next = tx->next;
        if ((with_latest || next != NULL) && tx != conn->cur[HTTP_TC] && tx->progress[HTTP_TS] == HTTP_P_COMPLETE)
            tx_complete(tx, HTTP_TC);
    }
}

/*
 * The oldest transaction that has no complete response; a made-up one when the request was never seen. Where holes
 * were, requests may be missing, and some that are not may be none: then it is the latest, and the others stay
 * unanswered.
 */
struct http_tx *tx_for_response(struct http_conn *conn)
{
    if (sync_is_shaky(conn, HTTP_TC))
        end_waiting(conn, false);
    for (struct http_tx *tx = conn->head; tx != NULL; tx = tx->next) {
        if (tx->progress[HTTP_TC] != HTTP_P_COMPLETE)
            return tx;
    }
    struct http_tx *tx = tx_create(conn);
    if (tx == NULL)
        return NULL;
    tx->no_request = true;
    tx->uri = sk_span_str("/libhtp::request_uri_not_seen");
    tx->progress[HTTP_TS] = HTTP_P_COMPLETE;
    tx_event(tx, HTTP_EV_UNABLE_TO_MATCH_RESPONSE);
    return tx;
}

/* ---- input ---- */

static enum step side_idle(struct http_conn *conn, int dir, struct http_in *in)
{
    if (in->left == 0)
        return STEP_MORE;
    struct http_side *s = &conn->side[dir];
    if (dir == HTTP_TS && conn->side[HTTP_TC].state == ST_LOST)
        end_waiting(conn, true); /* who asks has been answered */
    bool quiet = conn->head == NULL;
    if (dir == HTTP_TC)
        sync_response_begins(conn, sk_span_of(in->p, in->left));
    struct http_tx *tx = dir == HTTP_TS ? tx_create(conn) : tx_for_response(conn);
    if (tx == NULL)
        return STEP_ERROR;
    conn->cur[dir] = tx;
    if (dir == HTTP_TS)
        tx->alone = quiet;
    tx->msg[dir].body.limit = 0;
    s->scanned = 0;
    if (dir == HTTP_TC && tx->is_09) {
        s->state = ST_CLOSE;
        body_begin(tx, dir);
        return STEP_GO;
    }
    s->state = ST_HEAD;
    return STEP_GO;
}

/* Bytes that a client sends before the proxy has answered its CONNECT: kept, for it may be refused. */
static enum step side_connect_wait(struct http_conn *conn, struct http_in *in)
{
    struct http_side *s = &conn->side[HTTP_TS];
    uint32_t room = conn->ctx->conf.header_limit > s->hold.len ? conn->ctx->conf.header_limit - s->hold.len : 0;
    uint32_t n = in->left < room ? in->left : room;
    if (n > 0 && !mem_append(&conn->ctx->pool, &s->hold, in->p, n))
        return STEP_ERROR;
    in->p += in->left;
    in->left = 0;
    return STEP_MORE;
}

/* Not a message from its start, or not one that can be told: passed over. */
static enum step side_skip(struct http_conn *conn, struct http_in *in, enum http_missed why)
{
    if (in->left > 0)
        conn->missed |= (uint8_t)why;
    in->p += in->left;
    in->left = 0;
    return STEP_MORE;
}

static enum step side_step(struct http_conn *conn, int dir, struct http_in *in, bool eof)
{
    switch ((enum http_state)conn->side[dir].state) {
    case ST_IDLE: return side_idle(conn, dir, in);
    case ST_HEAD: return dir == HTTP_TS ? request_head(conn, in, eof) : response_head(conn, in, eof);
    case ST_FINALIZE: return dir == HTTP_TS ? request_finalize(conn, in) : response_finalize(conn, in);
    case ST_CONNECT_WAIT: return side_connect_wait(conn, in);
    case ST_IGNORE: return side_skip(conn, in, HTTP_MISSED_ERROR);
    case ST_LOST: return side_skip(conn, in, HTTP_MISSED_GAP);
    default: return body_step(conn, dir, in);
    }
}

static void conn_fail(struct http_conn *conn)
{
    conn->result = HTTP_R_ERROR;
    sk_count(conn->ctx->counters, SK_C_HTTP_PARSE_ERR);
}

static bool in_body(const struct http_side *s)
{
    return s->state == ST_LENGTH || s->state == ST_CLOSE || (s->state >= ST_CHUNK_LEN && s->state <= ST_CHUNK_END);
}

/* The message under way, if there is one, ends here with what is known of it. */
static void side_cut(struct http_conn *conn, int dir)
{
    struct http_side *s = &conn->side[dir];
    struct http_tx *tx = conn->cur[dir];
    sk_count(conn->ctx->counters, SK_C_HTTP_LOST);
    sync_lost(conn, dir);
    if (tx != NULL && s->state == ST_HEAD && dir == HTTP_TS)
        request_cut(conn);
    else if (tx != NULL && s->state == ST_HEAD)
        response_cut(conn);
    else if (tx != NULL && in_body(s))
        body_gap(tx, dir, 0);
    mem_release(&conn->ctx->pool, &s->hold);
    s->scanned = 0;
    s->left = 0;
    s->state = ST_LOST;
    if (dir == HTTP_TS)
        conn->replay = false;
    if (tx != NULL)
        tx_complete(tx, dir);
}

/* The place in the direction is lost. Responses may have been, too; that to the latest request may be yet to come. */
static void side_lose(struct http_conn *conn, int dir)
{
    side_cut(conn, dir);
    if (dir == HTTP_TC && conn->side[HTTP_TS].state == ST_CONNECT_WAIT)
        side_cut(conn, HTTP_TS); /* the answer that it waits for may be among them */
    if (conn->side[HTTP_TC].state == ST_LOST)
        end_waiting(conn, dir == HTTP_TS);
}

static void side_run(struct http_conn *conn, int dir, struct http_in *in, bool eof)
{
    while (conn->result == HTTP_R_OK) {
        enum step s = side_step(conn, dir, in, eof);
        if (s == STEP_MORE)
            return;
        if (s == STEP_GO)
            continue;
        if (sync_is_shaky(conn, dir))
            side_lose(conn, dir);
        else
            conn_fail(conn);
    }
}

/*
 * In doubt, a message may be none, and its length swallow what follows: one that is answered, or is still in its head,
 * gives way to the next; so does a response, when another request waits for one.
 */
static bool gives_way(const struct http_conn *conn, int dir)
{
    const struct http_tx *tx = conn->cur[dir];
    if (tx == NULL)
        return false;
    if (dir == HTTP_TC)
        return tx->next != NULL;
    return conn->side[dir].state == ST_HEAD || tx->progress[HTTP_TC] == HTTP_P_COMPLETE;
}

/* A run of bytes begins. Behind a hole, a message too? */
static void side_begin(struct http_conn *conn, int dir, struct sk_span data)
{
    struct http_side *s = &conn->side[dir];
    if (s->state == ST_LOST || (sync_is_shaky(conn, dir) && gives_way(conn, dir))) {
        if (dir == HTTP_TS ? sync_request_starts(data) : sync_response_starts(data)) {
            if (s->state != ST_LOST)
                side_cut(conn, dir);
            s->state = ST_IDLE;
            sk_count(conn->ctx->counters, SK_C_HTTP_RESYNC);
        }
    }
    if (dir == HTTP_TS)
        sync_request_bytes(conn, data);
}

/* The body grew in this call and its message goes on. */
static void side_report(struct http_conn *conn, int dir)
{
    struct http_tx *tx = conn->cur[dir];
    const struct http_callbacks *cb = &conn->ctx->cb;
    if (tx == NULL || !tx->msg[dir].body.grown)
        return;
    tx->msg[dir].body.grown = false;
    if (cb->on_progress != NULL)
        cb->on_progress(cb->arg, conn, tx, dir, HTTP_P_BODY);
}

/* The direction ends: what has begun is as complete as it will ever be. */
static void side_eof(struct http_conn *conn, int dir)
{
    struct http_side *s = &conn->side[dir];
    if (s->eof)
        return;
    s->eof = true;
    struct http_in none = {.p = (const uint8_t *)"", .left = 0};
    if (conn->result == HTTP_R_OK && s->state == ST_HEAD)
        side_run(conn, dir, &none, true);
    struct http_tx *tx = conn->cur[dir];
    if (tx != NULL) {
        s->state = ST_IDLE;
        tx_complete(tx, dir);
    }
}

/* A hole: harmless in a body whose length is known or does not matter; elsewhere the place in the stream is lost. */
static void side_gap(struct http_conn *conn, int dir, uint32_t len)
{
    struct http_side *s = &conn->side[dir];
    struct http_tx *tx = conn->cur[dir];
    if (sync_is_shaky(conn, dir))
        sync_lost(conn, dir);
    while (len > 0 && conn->result == HTTP_R_OK) {
        if (s->state == ST_IGNORE || s->state == ST_LOST)
            return;
        if (tx == NULL || (s->state != ST_LENGTH && s->state != ST_CLOSE && s->state != ST_CHUNK_DATA)) {
            side_lose(conn, dir);
            return;
        }
        uint32_t n = s->state != ST_CLOSE && len > s->left ? (uint32_t)s->left : len;
        body_gap(tx, dir, n);
        len -= n;
        if (s->state == ST_CLOSE)
            continue;
        s->left -= n;
        if (s->left > 0)
            continue;
        if (s->state == ST_CHUNK_DATA) {
            s->state = ST_CHUNK_END;
        } else {
            s->state = ST_IDLE;
            if (dir == HTTP_TC)
                sync_response_ends(conn, tx);
            tx_complete(tx, dir);
            tx = NULL;
        }
    }
}

/* Requests that came behind a CONNECT which was then refused. */
static void side_replay(struct http_conn *conn)
{
    struct http_mem held = conn->side[HTTP_TS].hold;
    conn->side[HTTP_TS].hold = (struct http_mem){0};
    conn->replay = false;
    struct http_in in = {.p = held.p, .left = held.len};
    side_run(conn, HTTP_TS, &in, false);
    mem_release(&conn->ctx->pool, &held);
}

enum http_result http_input(struct http_conn *conn, int dir, struct sk_span data, unsigned flags, int64_t ts,
                            uint32_t *used)
{
    uint32_t before = data.len;
    struct http_in in = {.p = data.p, .left = data.len};
    conn->ts = ts;
    if (dir == HTTP_TS && conn->replay)
        side_replay(conn);
    if (conn->result == HTTP_R_OK && data.len > 0) {
        if (flags & HTTP_F_GAP) {
            side_gap(conn, dir, data.len);
            in.left = 0;
        } else {
            side_begin(conn, dir, data);
            side_run(conn, dir, &in, false);
        }
        side_report(conn, dir);
    }
    if (used != NULL)
        *used = before - in.left;
    if (flags & HTTP_F_EOF)
        side_eof(conn, dir);
    return (enum http_result)conn->result;
}
