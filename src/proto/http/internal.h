/* What the files of the HTTP inspector share. Life cycles and threads: proto/http.h. */
#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H

#include "proto/http.h"

/* ---- pool: blocks of 256 << n bytes, kept in free lists, bounded by the memcap ---- */
#define POOL_MIN_SHIFT 8
#define POOL_CLASSES   18 /* up to 32 MiB */

struct pool_free {
    struct pool_free *next;
};

struct http_pool {
    struct pool_free *freelist[POOL_CLASSES];
    uint64_t taken; /* from malloc */
    uint64_t limit;
    struct sk_counters *counters;
};

/* NULL when the memcap is reached (counted). *cap is the usable size; give it back with the block. */
void *pool_get(struct http_pool *pool, uint32_t size, uint32_t *cap);
void pool_put(struct http_pool *pool, void *p, uint32_t cap);
void pool_destroy(struct http_pool *pool);

/* A growable buffer from the pool. */
struct http_mem {
    uint8_t *p;
    uint32_t len, cap;
};
/* Room for `more` further bytes, keeping what is there. */
bool mem_reserve(struct http_pool *pool, struct http_mem *m, uint32_t more);
bool mem_append(struct http_pool *pool, struct http_mem *m, const void *p, uint32_t len);
void mem_release(struct http_pool *pool, struct http_mem *m);

/* ---- known headers ---- */
enum http_known {
    HK_OTHER,
    HK_HOST,
    HK_USER_AGENT,
    HK_REFERER,
    HK_COOKIE,
    HK_SET_COOKIE,
    HK_CONTENT_TYPE,
    HK_CONTENT_LENGTH,
    HK_CONTENT_ENCODING,
    HK_CONTENT_DISPOSITION,
    HK_TRANSFER_ENCODING,
    HK_ACCEPT,
    HK_ACCEPT_ENC,
    HK_ACCEPT_LANG,
    HK_CONNECTION,
    HK_LOCATION,
    HK_SERVER,
    HK_UPGRADE,
    HK_EXPECT,
    HK_COUNT
};

/* One header line as it came, folded lines joined. */
struct http_line {
    struct sk_span name, value;
    struct sk_span raw; /* as sent, without its end; of a folded one the first */
    uint16_t header;    /* index of the header that it is a part of */
    bool folded;
    bool extra; /* one repetition too many: not part of the header's value */
};

struct http_header {
    struct sk_span name, value; /* value: of all its lines, joined with ", " */
    uint16_t lines;
    uint8_t known;
    bool cut; /* further lines of it were ignored */
};

/* ---- decompression ---- */
enum http_coding { HC_NONE, HC_GZIP, HC_DEFLATE, HC_BROTLI };
struct http_decoder; /* decomp.c */

struct http_body {
    struct http_mem mem;
    uint64_t message_len;                      /* on the wire, chunk framing included, as libhtp counts */
    uint64_t entity_len;                       /* after decompression (as far as it was done) */
    uint64_t data_len;                         /* on the wire, without chunk framing; gaps count */
    uint64_t limit;                            /* bytes to keep */
    struct http_decoder *dec[HTTP_MAX_LAYERS]; /* [0] takes the wire bytes */
    uint8_t ndec;
    bool want;   /* somebody inspects it: keep and decompress */
    bool full;   /* cut at its limit, by memcap, or by a gap */
    bool gap;    /* bytes are missing */
    bool coded;  /* entity_len differs from data_len */
    bool grown;  /* since the last callback */
    uint8_t why; /* full: enum http_missed */
};

/* One direction of a transaction. */
struct http_msg {
    struct sk_span start; /* start line without its end */
    struct sk_span block; /* raw headers with the empty line, then raw trailer */
    struct sk_span proto;
    struct http_line *lines;
    struct http_header *headers;
    uint16_t nlines, line_cap, nheaders, header_cap;
    uint16_t repeats;
    uint16_t known[HK_COUNT]; /* header index + 1 */
    uint8_t proto_num;        /* 9, 10, 11; 0 invalid */
    bool chunked, has_cl;
    bool odd_chunks; /* chunk lines that another reader may take otherwise */
    uint64_t content_length;
    struct http_body body;
    struct sk_span cache_header, cache_names, cache_start; /* p NULL: not built */
};

enum http_method { HM_UNKNOWN, HM_GET, HM_HEAD, HM_POST, HM_PUT, HM_CONNECT, HM_KNOWN };

struct http_uri {
    struct sk_span host, port, path, query, fragment;
    bool has_host, has_port, has_path, has_query, has_fragment;
};

struct http_part {
    struct sk_span name, field;
    uint32_t off, len; /* of the data in the body */
    bool complete;
};

struct http_parts {
    uint32_t at_len; /* body length that this was made from */
    bool at_end;     /* the body was complete */
    bool made;
    uint8_t n;
    struct http_part part[HTTP_MAX_PARTS];
};

struct arena_block {
    struct arena_block *next;
    uint32_t cap, used;
};

struct http_tx {
    struct http_tx *next;
    struct http_conn *conn;
    struct arena_block *blocks; /* the first one holds the transaction itself */
    uint64_t events;
    int64_t ts;
    uint32_t id;
    uint8_t progress[2];
    uint8_t method_id;
    bool is_09, no_request, uri_parsed, host_done, norm_done;
    uint16_t status, port;
    struct http_msg msg[2];
    struct sk_span method, uri, status_text, message;
    struct http_uri parts;
    struct sk_span norm_uri, hostname;
    struct http_parts *files;
    void *user;
};

enum http_state {
    ST_IDLE,
    ST_HEAD,
    ST_LENGTH,
    ST_CHUNK_LEN,
    ST_CHUNK_DATA,
    ST_CHUNK_END,
    ST_TRAILER,
    ST_CLOSE,
    ST_FINALIZE,
    ST_CONNECT_WAIT,
    ST_IGNORE, /* whatever follows an HTTP/0.9 request */
};

struct http_side {
    struct http_mem hold; /* start of a head, line or trailer whose end has not come */
    uint64_t left;        /* of the body or chunk */
    uint32_t scanned;     /* of hold: looked through for the end of the head */
    uint8_t state;
    bool eof;
};

struct http_conn {
    struct http_ctx *ctx;
    void *user;
    struct http_tx *head, *tail;
    struct http_tx *cur[2]; /* transaction that the direction is in; NULL between messages */
    uint8_t missed;         /* enum http_missed bits */
    struct http_side side[2];
    uint32_t want[2];
    uint32_t next_id, ntx;
    uint32_t cap;
    int64_t ts;
    bool replay;    /* side[HTTP_TS].hold has requests that waited for the answer to a CONNECT */
    uint8_t result; /* enum http_result that stays */
    struct sk_span upgrade;
    uint8_t upgrade_buf[32];
};

struct http_ctx {
    struct http_conf conf;
    struct http_callbacks cb;
    struct sk_counters *counters;
    struct http_pool pool;
    uint8_t *scratch[HTTP_MAX_LAYERS]; /* output of a decoder, HTTP_SCRATCH bytes */
};
#define HTTP_SCRATCH 16384

/* The bytes of one http_input that are still to be read. */
struct http_in {
    const uint8_t *p;
    uint32_t left;
};

/* What a state did. */
enum step { STEP_MORE /* needs bytes */, STEP_GO /* state changed or bytes taken */, STEP_ERROR };

static inline bool http_is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline uint8_t http_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static inline struct sk_span http_sub(struct sk_span s, uint32_t from, uint32_t to)
{
    return sk_span_of(from ? s.p + from : s.p, to - from); /* p may be NULL when all is 0 */
}

/* Without leading and trailing white space of any kind (isspace). */
struct sk_span http_trim(struct sk_span s);
/* Does s contain the lower-case word, in any case? */
bool http_contains(struct sk_span s, const char *word);
bool http_starts(struct sk_span s, const char *word);
/* Without NUL bytes, which some readers pass over; s itself when it has none, else in buf, cut to cap. */
struct sk_span http_nozero(struct sk_span s, uint8_t *buf, uint32_t cap);
#define HTTP_NOZERO_MAX 64

static inline void tx_event(struct http_tx *tx, enum http_event ev)
{
    tx->events |= (uint64_t)1 << ev;
}

/* conn.c */
void *tx_alloc(struct http_tx *tx, uint32_t size);
/* A copy with TX_COPY_SPARE bytes of room behind it: the end of an empty trailer. */
#define TX_COPY_SPARE 2
struct sk_span tx_copy(struct http_tx *tx, struct sk_span s);
struct http_tx *tx_create(struct http_conn *conn);
void tx_progress(struct http_tx *tx, int dir, enum http_progress p);
/* The direction is complete; frees the transaction when both are. */
void tx_complete(struct http_tx *tx, int dir);
struct http_tx *tx_for_response(struct http_conn *conn);

/* head.c: the head of a message */
/*
 * Where does the header block that starts at `from` end? Returns the length behind its empty line, or 0 when the end is
 * not there; *resume is then where to go on. One line a step, both directions.
 */
uint32_t head_find_end(int dir, const uint8_t *p, uint32_t len, uint32_t *resume);
/* The start line's length without its end; *next is where the following line begins. False: not there yet. */
bool head_line(int dir, const uint8_t *p, uint32_t len, bool eof, uint32_t *line_len, uint32_t *next);
/* Adds the headers of a block (head or trailer), which lies in the transaction's memory. False: too many, or memcap. */
bool head_parse(struct http_tx *tx, int dir, struct sk_span block);
/* May another reader see another line, or none? */
bool head_line_odd(const struct http_line *l);
const struct http_header *head_known(const struct http_msg *m, enum http_known k);
struct sk_span head_value(const struct http_msg *m, enum http_known k);
uint8_t head_proto(struct sk_span proto);
/* Decimal digits with anything around them, as libhtp reads Content-Length. */
bool head_content_length(struct sk_span v, uint64_t *out);

/* request.c, response.c */
void request_line(struct http_tx *tx);
enum step request_head(struct http_conn *conn, struct http_in *in, bool eof);
enum step request_finalize(struct http_conn *conn, struct http_in *in);
enum step response_head(struct http_conn *conn, struct http_in *in, bool eof);
enum step response_finalize(struct http_conn *conn, struct http_in *in);
enum http_method request_method(struct sk_span s);

/* body.c */
void body_begin(struct http_tx *tx, int dir);
/* Nothing more of it is kept, for that reason. */
void body_stop(struct http_tx *tx, int dir, enum http_missed why);
/* Body bytes; gap: in.p is not there. */
void body_data(struct http_tx *tx, int dir, const uint8_t *p, uint32_t len);
void body_gap(struct http_tx *tx, int dir, uint32_t len);
void body_end(struct http_tx *tx, int dir);
void body_free(struct http_ctx *ctx, struct http_body *b);
enum step body_step(struct http_conn *conn, int dir, struct http_in *in);
/* The kept body grew by these decoded bytes. */
void body_keep(struct http_tx *tx, int dir, const uint8_t *p, uint32_t len);

/* decomp.c */
struct http_decoder *decoder_create(struct http_ctx *ctx, enum http_coding coding);
void decoder_free(struct http_ctx *ctx, struct http_decoder *d);
/* Runs wire bytes through the layers from `layer` on; the last one feeds body_keep. */
void decoder_run(struct http_tx *tx, int dir, unsigned layer, const uint8_t *p, uint32_t len);
void decoder_finish(struct http_tx *tx, int dir);

/* uri.c */
void uri_parse(struct http_tx *tx);
/* http.uri; an empty span without p when there is none. */
struct sk_span uri_normalized(struct http_tx *tx);
/* Percent-decoding as in a query; out has at least s.len bytes. */
uint32_t uri_decode(struct sk_span s, uint8_t *out, bool plus);
struct sk_span uri_host(struct http_tx *tx);
uint8_t uri_bestfit(uint32_t codepoint);
/* Host (and port, or an empty span) of a Host header's value or a CONNECT target. */
bool uri_hostport(struct sk_span v, struct sk_span *host, struct sk_span *port);

/* files.c */
unsigned files_update(struct http_tx *tx);
/* Value of a parameter ("boundary=") of a header value; false when it is not there. */
bool files_param(struct sk_span v, const char *name, struct sk_span *out);

#endif
