/*
 * HTTP/1 (RFC 9112), read as a tolerant server reads it and as Suricata 8 reports it (libhtp's IDS personality), so
 * that EVE records and rule buffers come out the same on ordinary and on evasive traffic.
 *
 *   struct http_ctx    one per worker: limits, memory pool (memcap), callbacks, decompressors
 *     struct http_conn   one per flow, created when the flow is recognised
 *       struct http_tx     a request and its response; several at once when pipelined
 *
 * Bytes go in through http_input, in order; callbacks come out of it:
 *
 *   on_progress   a direction reached its headers, its kept body grew, or it is complete
 *   on_tx_done    both directions are complete, or the connection ends; the transaction is freed behind it
 *
 * Ownership: everything belongs to the worker of the ctx; no locks. Spans that http_buffer and the accessors return
 * live as long as their transaction; spans of body buffers only until the next http_input of the connection (they
 * grow). Memory: header block, derived buffers and bodies come from the ctx pool. When http_conf.memcap is reached the
 * thing is not kept (HTTP_MEMCAP): a body is cut, a buffer is absent, a transaction that cannot be created ends the
 * connection.
 */
#ifndef PROTO_HTTP_H
#define PROTO_HTTP_H

#include "base/counters.h"
#include "base/err.h"
#include "base/span.h"

#define HTTP_TS 0 /* to the server: requests */
#define HTTP_TC 1 /* to the client: responses */

#define HTTP_MAX_HEADERS   1024 /* header lines of a message; more: the connection is given up (as libhtp) */
#define HTTP_MAX_REPEATS   64   /* repetitions joined into a header; further ones are no part of it (as libhtp) */
#define HTTP_MAX_LAYERS    3    /* content codings on top of each other that are undone; the body of more stays raw */
#define HTTP_MAX_PARTS     16 /* file parts of a multipart body that are kept apart; further ones are not looked into */
#define HTTP_MAX_ARGS      256         /* arguments that http_tx_arg can see */
#define HTTP_BODY_HARD_CAP (16u << 20) /* bytes of a body kept when the configured limit is 0 */
#define HTTP_BOMB_RATIO                                                                                                \
    2048 /* output to input; beyond, past HTTP_BOMB_MIN: the rest is not decompressed (as libhtp)                      \
          */
#define HTTP_BOMB_MIN (1u << 20)

/* What a direction has reached. Buffers of the start line and headers are there from HEADERS on. */
enum http_progress {
    HTTP_P_NONE,
    HTTP_P_LINE,    /* start line complete (or as much as came before the end) */
    HTTP_P_HEADERS, /* header block complete */
    HTTP_P_BODY,    /* body bytes seen */
    HTTP_P_TRAILER, /* last chunk seen, trailer not yet complete */
    HTTP_P_COMPLETE,
};

/* Inspection buffers; the order and names are those of rules/buffer.h from HTTP_URI on. */
#define HTTP_BUFFERS(X)                                                                                                \
    X(URI)                                                                                                             \
    X(URI_RAW)                                                                                                         \
    X(METHOD)                                                                                                          \
    X(HEADER)                                                                                                          \
    X(HEADER_RAW)                                                                                                      \
    X(COOKIE)                                                                                                          \
    X(HOST)                                                                                                            \
    X(HOST_RAW)                                                                                                        \
    X(USER_AGENT)                                                                                                      \
    X(REFERER)                                                                                                         \
    X(CONTENT_TYPE)                                                                                                    \
    X(CONTENT_LEN)                                                                                                     \
    X(ACCEPT)                                                                                                          \
    X(ACCEPT_ENC)                                                                                                      \
    X(ACCEPT_LANG)                                                                                                     \
    X(CONNECTION)                                                                                                      \
    X(START)                                                                                                           \
    X(REQUEST_LINE)                                                                                                    \
    X(RESPONSE_LINE)                                                                                                   \
    X(REQUEST_BODY)                                                                                                    \
    X(RESPONSE_BODY)                                                                                                   \
    X(STAT_CODE)                                                                                                       \
    X(STAT_MSG)                                                                                                        \
    X(HEADER_NAMES)                                                                                                    \
    X(PROTOCOL)                                                                                                        \
    X(LOCATION)                                                                                                        \
    X(SERVER)                                                                                                          \
    X(REQUEST_HEADER)  /* multi: one header "name: value" an index */                                                  \
    X(RESPONSE_HEADER) /* multi */                                                                                     \
    X(FILE_DATA)       /* to the server multi: one file an index */

enum http_buf {
#define X(id) HTTP_BUF_##id,
    HTTP_BUFFERS(X)
#undef X
        HTTP_BUF_COUNT
};

/* X(identifier, "rule name"): names as Suricata's app-layer-event has them, without the "http." in front. */
#define HTTP_EVENTS(X)                                                                                                 \
    X(REQUEST_FIELD_TOO_LONG, "request_field_too_long")                                                                \
    X(RESPONSE_FIELD_TOO_LONG, "response_field_too_long")                                                              \
    X(INVALID_REQUEST_CHUNK_LEN, "invalid_request_chunk_len")                                                          \
    X(INVALID_RESPONSE_CHUNK_LEN, "invalid_response_chunk_len")                                                        \
    X(INVALID_CONTENT_LENGTH_REQUEST, "invalid_content_length_field_in_request")                                       \
    X(INVALID_CONTENT_LENGTH_RESPONSE, "invalid_content_length_field_in_response")                                     \
    X(DUPLICATE_CONTENT_LENGTH_REQUEST, "duplicate_content_length_field_in_request")                                   \
    X(DUPLICATE_CONTENT_LENGTH_RESPONSE, "duplicate_content_length_field_in_response")                                 \
    X(INVALID_TRANSFER_ENCODING_REQUEST, "invalid_transfer_encoding_value_in_request")                                 \
    X(INVALID_TRANSFER_ENCODING_RESPONSE, "invalid_transfer_encoding_value_in_response")                               \
    X(REQUEST_FIELD_MISSING_COLON, "request_field_missing_colon")                                                      \
    X(RESPONSE_FIELD_MISSING_COLON, "response_field_missing_colon")                                                    \
    X(REQUEST_HEADER_INVALID, "request_header_invalid")                                                                \
    X(RESPONSE_HEADER_INVALID, "response_header_invalid")                                                              \
    X(REQUEST_HEADER_REPETITION, "request_header_repetition")                                                          \
    X(RESPONSE_HEADER_REPETITION, "response_header_repetition")                                                        \
    X(MISSING_HOST_HEADER, "missing_host_header")                                                                      \
    X(HOST_HEADER_AMBIGUOUS, "host_header_ambiguous")                                                                  \
    X(REQUEST_LINE_LEADING_WHITESPACE, "request_line_leading_whitespace")                                              \
    X(REQUEST_LINE_MISSING_PROTOCOL, "request_line_missing_protocol")                                                  \
    X(REQUEST_LINE_INVALID, "request_line_invalid")                                                                    \
    X(UNABLE_TO_MATCH_RESPONSE, "unable_to_match_response_to_request")                                                 \
    X(COMPRESSION_BOMB, "compression_bomb")                                                                            \
    X(GZIP_DECOMPRESSION_FAILED, "gzip_decompression_failed")                                                          \
    X(TOO_MANY_ENCODING_LAYERS, "too_many_encoding_layers")                                                            \
    X(ABNORMAL_CE_HEADER, "abnormal_ce_header")                                                                        \
    X(DATA_AFTER_NOT_HTTP, "request_body_unexpected")                                                                  \
    X(TOO_MANY_HEADERS, "request_too_many_headers")                                                                    \
    X(MAX_TX_REACHED, "max_tx_reached")

enum http_event {
#define X(id, name) HTTP_EV_##id,
    HTTP_EVENTS(X)
#undef X
        HTTP_EV_COUNT
};
const char *http_event_name(enum http_event ev);
/* HTTP_EV_COUNT when there is none. */
enum http_event http_event_find(const char *name);

struct http_ctx;
struct http_conn;
struct http_tx;

struct http_conf {
    uint64_t request_body_limit, response_body_limit; /* bytes kept; 0: HTTP_BODY_HARD_CAP */
    uint32_t header_limit;                            /* bytes of start line and headers; more: connection given up */
    uint32_t max_tx;                                  /* unfinished transactions; more: connection given up */
    uint32_t decompress_limit;                        /* output bytes of one body */
    uint32_t decompress_layer_limit;                  /* at most HTTP_MAX_LAYERS; 0: bodies are never decompressed */
    uint32_t memcap;                                  /* bytes of the pool */
    uint32_t tx_user_size;                            /* bytes of the user area of a transaction (zeroed, 16-aligned) */
};
void http_conf_defaults(struct http_conf *conf);

struct http_callbacks {
    void *arg;
    /* progress: HEADERS once; BODY whenever the kept body grew (only if one is wanted), at most once a call of
     * http_input and transaction direction; COMPLETE once, always. May call http_buffer and the accessors; not
     * http_input. */
    void (*on_progress)(void *arg, struct http_conn *conn, struct http_tx *tx, int dir, enum http_progress progress);
    /* Last call for tx; its progress says what is missing when the connection ended early. */
    void (*on_tx_done)(void *arg, struct http_conn *conn, struct http_tx *tx);
};

SK_MUST_USE int http_create(const struct http_conf *conf, const struct http_callbacks *cb, struct sk_counters *c,
                            struct http_ctx **out);
void http_free(struct http_ctx *ctx);
uint64_t http_memory(const struct http_ctx *ctx); /* bytes the pool has taken from malloc */

/* `user` is the caller's (its flow). NULL when the memcap is reached (counted). */
struct http_conn *http_conn_create(struct http_ctx *ctx, void *user);
/* Ends it: unfinished transactions get on_tx_done (no more on_progress: give EOF first for that), then all is freed. */
void http_conn_free(struct http_conn *conn);
void *http_conn_user(const struct http_conn *conn);

/*
 * Which buffers any rule asks for, a bit (1u << enum http_buf) each; default none. Without REQUEST_BODY, RESPONSE_BODY
 * or FILE_DATA of a direction its bodies are only counted: neither copied nor decompressed. Takes effect on messages
 * whose headers are not yet complete. A callback may call it (HEADERS progress: already in force for this body).
 */
void http_set_want(struct http_conn *conn, int dir, uint32_t bufs);

enum http_flag {
    HTTP_F_GAP = 1, /* data.len bytes are missing here; data.p is ignored */
    HTTP_F_EOF = 2, /* the direction ends behind data */
};

enum http_result {
    HTTP_R_OK,
    HTTP_R_TUNNEL,  /* CONNECT was accepted: bytes from *used on are another protocol (or HTTP: then a new
                       connection); probe again. Stays so */
    HTTP_R_UPGRADE, /* 101: the same; http_conn_upgrade() names the protocol. Stays so */
    HTTP_R_ERROR,   /* not HTTP any more, or out of bounds: given up (counted once), transactions so far reported. Stays
                       so */
};

/* *used (may be NULL): bytes of data taken as HTTP. ts: capture time, ns. */
enum http_result http_input(struct http_conn *conn, int dir, struct sk_span data, unsigned flags, int64_t ts,
                            uint32_t *used);
/* Value of the Upgrade header that led to HTTP_R_UPGRADE ("websocket", "h2c"); empty otherwise. */
struct sk_span http_conn_upgrade(const struct http_conn *conn);

enum http_missed {
    HTTP_MISSED_LIMIT = 1,  /* body past its limit */
    HTTP_MISSED_MEMORY = 2, /* body that was not kept: memcap */
    HTTP_MISSED_GAP = 4,    /* body behind a hole */
    HTTP_MISSED_ERROR = 8,  /* the parser has given up, or ignores what follows */
};
/* Why bytes that came since the last call were not kept although somebody wants them: enum http_missed bits. */
unsigned http_conn_missed(struct http_conn *conn);

/* Transactions not yet done, oldest first; NULL at the end. */
struct http_tx *http_tx_first(const struct http_conn *conn);
struct http_tx *http_tx_next(const struct http_tx *tx);

uint32_t http_tx_id(const struct http_tx *tx); /* counts from 0 in a connection: EVE tx_id */
enum http_progress http_tx_progress(const struct http_tx *tx, int dir);
void *http_tx_user(struct http_tx *tx); /* tx_user_size bytes, zeroed at creation; cleaned up in on_tx_done */
uint64_t http_tx_events(const struct http_tx *tx); /* bits 1 << enum http_event */
int64_t http_tx_time(const struct http_tx *tx);    /* ts of its first byte */

struct http_buf_info {
    uint64_t offset; /* of the span within the whole buffer; 0, since bodies are kept from their start */
    bool complete;   /* the span ends where the buffer ends: nothing is to come (a cut body is complete at its limit) */
};

/*
 * The buffer, computed at the first call and cached. False when it does not exist (no such header, direction that has
 * no such thing, index past the last, memcap); out is then empty. An existing empty buffer is true with len 0. Header
 * buffers exist from progress HEADERS on, bodies from the first byte on.
 */
bool http_buffer(struct http_tx *tx, int dir, enum http_buf buf, unsigned index, struct sk_span *out,
                 struct http_buf_info *info);

/* ---- for EVE records and identity: absent is an empty span or 0 ---- */
struct sk_span http_tx_method(const struct http_tx *tx);
struct sk_span http_tx_url(const struct http_tx *tx); /* as sent; "/libhtp::request_uri_not_seen" without request */
struct sk_span http_tx_hostname(struct http_tx *tx);  /* lower case, without port */
uint16_t http_tx_port(struct http_tx *tx);            /* named in the URI or Host header; 0: none */
struct sk_span http_tx_protocol(const struct http_tx *tx); /* of the request */
unsigned http_tx_status(const struct http_tx *tx); /* 100..999 (100..599 accepted by libhtp's number); 0: none */
struct sk_span http_tx_status_text(const struct http_tx *tx); /* as sent */
/* Body bytes of a direction as transferred, before decompression; chunk-size lines and gaps count: EVE `length`. */
uint64_t http_body_len(const struct http_tx *tx, int dir);
/*
 * Header by name (case-insensitive), joined value of repetitions as libhtp joins them. index 0 is that value; index 1
 * and on are the single header lines of that name in the order sent. False past the last.
 */
bool http_header_get(struct http_tx *tx, int dir, const char *name, unsigned index, struct sk_span *value);
/*
 * Up to max lines of a header, the last ones, in the order sent; returns how many. odd: another reader of the same
 * bytes may see another line, or none: white space before its colon, a continuation line, NUL or CR within. Lines that
 * are not joined into the header's value (HTTP_MAX_REPEATS) are among them; those beyond HTTP_MAX_HEADERS are not, and
 * an odd empty line stands for them at the end.
 */
struct http_header_line {
    struct sk_span value;
    bool odd;
};
unsigned http_tx_header_lines(struct http_tx *tx, int dir, const char *name, struct http_header_line *out,
                              unsigned max);
/*
 * May two readers of the request's head or body disagree about where it ends (RFC 9112 section 11.2)? Several or
 * malformed lengths, a length beside a coding, an unusual coding, such a line that is odd, a malformed chunk.
 */
bool http_tx_misframed(const struct http_tx *tx);
/* The index-th header, repetitions joined. */
bool http_header_at(struct http_tx *tx, int dir, unsigned index, struct sk_span *name, struct sk_span *value);

/* ---- files and arguments ---- */
struct http_file {
    struct sk_span name;  /* file name as sent (multipart), or the last path element's URI; may be empty */
    struct sk_span field; /* multipart field name */
    struct sk_span data;  /* as far as it is there; empty when no rule wants it */
    uint64_t size;        /* bytes of it that were seen, unpacked if somebody wanted it unpacked */
    bool complete;        /* data will not grow */
    bool truncated, gaps; /* less than all of it was seen; because the stream had a hole */
};
/* HTTP_TS: multipart file parts, or the whole body of PUT and POST without multipart; HTTP_TC: the response body. */
bool http_tx_file(struct http_tx *tx, int dir, unsigned index, struct http_file *out);

enum http_arg_source { HTTP_ARG_QUERY, HTTP_ARG_BODY };
struct http_arg {
    struct sk_span name, value; /* percent-decoded, '+' is a space; multipart fields as sent */
    enum http_arg_source source;
};
/* index-th argument of the query, then of an urlencoded or multipart body (as far as it is there, if wanted). */
bool http_tx_arg(struct http_tx *tx, unsigned index, struct http_arg *out);

#endif
