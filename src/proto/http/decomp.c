/*
 * Content codings. gzip and zlib wrappers are read here and the data by raw inflate, because browsers (and libhtp) do
 * not mind a wrong header or checksum. Data that is not what the header says is tried as the other kinds, then passed
 * on as it is. Output goes through the worker's scratch buffer to the next layer or into the body; it stops when the
 * body is full.
 */
#include <zlib.h>
#include <brotli/decode.h>
#include "http/internal.h"

#define SAVED_MAX  512 /* first bytes, to start again with when nothing came out of them */
#define ALLOCS_MAX 32  /* live allocations of a library's decoder */

enum dec_state { DS_START, DS_GZIP_HEADER, DS_INFLATE, DS_BROTLI, DS_PASS, DS_DONE };

/* Where in the gzip header (RFC 1952 section 2.3). */
enum gz_field { GZ_FIXED, GZ_XLEN, GZ_EXTRA, GZ_NAME, GZ_COMMENT, GZ_HEADER_CRC };
#define GZ_FHCRC    2
#define GZ_FEXTRA   4
#define GZ_FNAME    8
#define GZ_FCOMMENT 16

struct dec_alloc {
    void *p;
    uint32_t cap;
};

struct http_decoder {
    struct http_pool *pool;
    uint32_t cap; /* of this struct */
    uint8_t coding, state, field, gz_flags;
    bool zlib_open, produced;
    uint32_t count; /* bytes of the gzip header field so far */
    uint32_t skip;  /* bytes of a zlib header to pass over */
    uint32_t xlen;
    uint64_t out_total;
    z_stream z;
    BrotliDecoderState *br;
    uint32_t nsaved;
    bool saved_all; /* saved holds all input so far */
    uint8_t saved[SAVED_MAX];
    struct dec_alloc allocs[ALLOCS_MAX];
};

/* ---- the libraries' memory comes from the pool ---- */

static void *dec_malloc(void *opaque, size_t size)
{
    struct http_decoder *d = (struct http_decoder *)opaque;
    if (size > UINT32_MAX / 4)
        return NULL;
    for (unsigned i = 0; i < ALLOCS_MAX; i++) {
        struct dec_alloc *a = &d->allocs[i];
        if (a->p != NULL)
            continue;
        a->p = pool_get(d->pool, (uint32_t)size, &a->cap);
        return a->p;
    }
    return NULL;
}

static void dec_free(void *opaque, void *p)
{
    struct http_decoder *d = (struct http_decoder *)opaque;
    for (unsigned i = 0; i < ALLOCS_MAX && p != NULL; i++) {
        if (d->allocs[i].p != p)
            continue;
        pool_put(d->pool, p, d->allocs[i].cap);
        d->allocs[i].p = NULL;
        return;
    }
}

static void *dec_zalloc(void *opaque, unsigned items, unsigned size)
{
    return dec_malloc(opaque, (size_t)items * size);
}

struct http_decoder *decoder_create(struct http_ctx *ctx, enum http_coding coding)
{
    uint32_t cap;
    struct http_decoder *d = (struct http_decoder *)pool_get(&ctx->pool, sizeof *d, &cap);
    if (d == NULL)
        return NULL;
    memset(d, 0, sizeof *d);
    d->pool = &ctx->pool;
    d->cap = cap;
    d->coding = (uint8_t)coding;
    d->saved_all = true;
    return d;
}

static void close_libs(struct http_decoder *d)
{
    if (d->zlib_open)
        inflateEnd(&d->z);
    d->zlib_open = false;
    if (d->br != NULL)
        BrotliDecoderDestroyInstance(d->br);
    d->br = NULL;
}

void decoder_free(struct http_ctx *ctx, struct http_decoder *d)
{
    if (d == NULL)
        return;
    close_libs(d);
    pool_put(&ctx->pool, d, d->cap);
}

static bool open_inflate(struct http_decoder *d)
{
    if (d->zlib_open)
        return inflateReset(&d->z) == Z_OK;
    d->z = (z_stream){.zalloc = dec_zalloc, .zfree = dec_free, .opaque = d};
    d->zlib_open = inflateInit2(&d->z, -MAX_WBITS) == Z_OK;
    return d->zlib_open;
}

/* ---- output ---- */

/* False: nobody wants more. */
static bool emit(struct http_tx *tx, int dir, unsigned layer, const uint8_t *p, uint32_t len)
{
    struct http_body *b = &tx->msg[dir].body;
    struct http_decoder *d = b->dec[layer];
    d->out_total += len;
    d->produced = d->produced || len > 0;
    if (layer + 1 == b->ndec) {
        body_keep(tx, dir, p, len);
    } else {
        /* A layer in the middle may swell without the last one giving anything. */
        if (d->out_total > tx->conn->ctx->conf.decompress_limit) {
            tx_event(tx, HTTP_EV_COMPRESSION_BOMB);
            body_stop(tx, dir, HTTP_MISSED_LIMIT);
        } else {
            decoder_run(tx, dir, layer + 1, p, len);
        }
    }
    return !b->full;
}

static void give_up(struct http_tx *tx, struct http_decoder *d)
{
    if (d->coding == HC_GZIP)
        tx_event(tx, HTTP_EV_GZIP_DECOMPRESSION_FAILED);
    d->state = DS_DONE;
}

/* 1: go on; 0: the stream has ended or nobody wants more; -1: error. */
static int run_inflate(struct http_tx *tx, int dir, unsigned layer, const uint8_t *p, uint32_t len)
{
    struct http_decoder *d = tx->msg[dir].body.dec[layer];
    uint8_t *out = tx->conn->ctx->scratch[layer];
    d->z.next_in = (Bytef *)p;
    d->z.avail_in = len;
    for (;;) {
        d->z.next_out = out;
        d->z.avail_out = HTTP_SCRATCH;
        int rc = inflate(&d->z, Z_NO_FLUSH);
        uint32_t n = HTTP_SCRATCH - d->z.avail_out;
        if (n > 0 && !emit(tx, dir, layer, out, n))
            return 0;
        if (rc == Z_STREAM_END)
            return 0;
        if (rc == Z_BUF_ERROR)
            return 1;
        if (rc != Z_OK)
            return -1;
        if (d->z.avail_in == 0 && d->z.avail_out > 0)
            return 1;
    }
}

static int run_brotli(struct http_tx *tx, int dir, unsigned layer, const uint8_t *p, uint32_t len)
{
    struct http_decoder *d = tx->msg[dir].body.dec[layer];
    uint8_t *scratch = tx->conn->ctx->scratch[layer];
    size_t left = len;
    for (;;) {
        uint8_t *out = scratch;
        size_t room = HTTP_SCRATCH;
        BrotliDecoderResult rc = BrotliDecoderDecompressStream(d->br, &left, &p, &room, &out, NULL);
        uint32_t n = HTTP_SCRATCH - (uint32_t)room;
        if (n > 0 && !emit(tx, dir, layer, scratch, n))
            return 0;
        if (rc == BROTLI_DECODER_RESULT_SUCCESS)
            return 0;
        if (rc == BROTLI_DECODER_RESULT_ERROR)
            return -1;
        if (rc == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT)
            return 1;
    }
}

/* ---- input ---- */

static bool is_zlib_header(const uint8_t *p)
{
    return (p[0] & 0x0f) == 8 && (p[0] >> 4) <= 7 && ((unsigned)p[0] << 8 | p[1]) % 31 == 0;
}

static bool is_gzip_header(const uint8_t *p)
{
    return p[0] == 0x1f && p[1] == 0x8b && p[2] == 8;
}

/* The field behind `field` that the flags say is there; DS_INFLATE's turn when none is. */
static void gz_next(struct http_decoder *d, enum gz_field field)
{
    static const struct {
        uint8_t flag, field;
    } order[] = {{GZ_FEXTRA, GZ_XLEN}, {GZ_FNAME, GZ_NAME}, {GZ_FCOMMENT, GZ_COMMENT}, {GZ_FHCRC, GZ_HEADER_CRC}};
    d->count = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (order[i].field > field && (d->gz_flags & order[i].flag)) {
            d->field = order[i].field;
            return;
        }
    }
    d->state = DS_INFLATE;
}

static void gz_byte(struct http_decoder *d, uint8_t c)
{
    d->count++;
    switch ((enum gz_field)d->field) {
    case GZ_FIXED:
        if (d->count == 4)
            d->gz_flags = c;
        if (d->count == 10)
            gz_next(d, GZ_FIXED);
        break;
    case GZ_XLEN:
        d->xlen |= (uint32_t)c << (8 * (d->count - 1));
        if (d->count == 2) {
            if (d->xlen == 0)
                gz_next(d, GZ_EXTRA);
            else
                d->field = GZ_EXTRA;
            d->count = 0;
        }
        break;
    case GZ_EXTRA:
        if (d->count == d->xlen)
            gz_next(d, GZ_EXTRA);
        break;
    case GZ_NAME:
    case GZ_COMMENT:
        if (c == 0)
            gz_next(d, (enum gz_field)d->field);
        break;
    case GZ_HEADER_CRC:
        if (d->count == 2)
            gz_next(d, GZ_HEADER_CRC);
        break;
    }
}

static uint32_t gz_read(struct http_decoder *d, const uint8_t *p, uint32_t len)
{
    uint32_t i = 0;
    while (i < len && d->state == DS_GZIP_HEADER)
        gz_byte(d, p[i++]);
    return i;
}

static void save(struct http_decoder *d, const uint8_t *p, uint32_t len)
{
    if (d->produced)
        return;
    uint32_t n = len < SAVED_MAX - d->nsaved ? len : SAVED_MAX - d->nsaved;
    memcpy(d->saved + d->nsaved, p, n);
    d->nsaved += n;
    d->saved_all = d->saved_all && n == len;
}

static void choose_brotli(struct http_decoder *d)
{
    d->br = BrotliDecoderCreateInstance(dec_malloc, dec_free, d);
    d->state = d->br ? DS_BROTLI : DS_DONE;
}

/* Which kind is it really? It stays DS_START when there are too few bytes to tell: three for a header, as many as can
 * be saved when there is none. */
static void choose(struct http_decoder *d, bool may_be_zlib, bool whole)
{
    if (d->coding == HC_BROTLI) {
        choose_brotli(d);
        return;
    }
    if (d->nsaved < 3)
        return;
    bool header = is_gzip_header(d->saved) || (may_be_zlib && is_zlib_header(d->saved));
    if (!header && may_be_zlib && !whole && d->nsaved < SAVED_MAX)
        return;
    d->state = DS_INFLATE;
    d->skip = 0;
    if (is_gzip_header(d->saved)) {
        d->state = DS_GZIP_HEADER;
        d->field = GZ_FIXED;
        d->count = d->xlen = 0;
    } else if (may_be_zlib && is_zlib_header(d->saved)) {
        d->skip = 2; /* raw deflate has no header */
    }
    if (!open_inflate(d))
        d->state = DS_DONE;
}

/* 1: go on; 0: the stream has ended or nobody wants more; -1: error. */
static int feed(struct http_tx *tx, int dir, unsigned layer, const uint8_t *p, uint32_t len)
{
    struct http_decoder *d = tx->msg[dir].body.dec[layer];
    uint32_t n = 0;
    if (d->state == DS_DONE)
        return 0;
    if (d->state == DS_GZIP_HEADER)
        n = gz_read(d, p, len);
    else if (d->skip > 0)
        n = d->skip < len ? d->skip : len;
    if (d->state == DS_INFLATE)
        d->skip -= d->skip < n ? d->skip : n;
    if (n == len)
        return 1;
    return d->state == DS_BROTLI ? run_brotli(tx, dir, layer, p + n, len - n)
                                 : run_inflate(tx, dir, layer, p + n, len - n);
}

/*
 * Neither gzip nor zlib by its header: is it raw deflate, or text that somebody has labelled? Text soon breaks the
 * format, but not before some bytes have come out; so a first run gives its output to nobody.
 */
static bool looks_deflated(struct http_tx *tx, unsigned layer, struct http_decoder *d, uint32_t earlier,
                           const uint8_t *p, uint32_t len)
{
    const uint8_t *part[2] = {d->saved, p};
    uint32_t part_len[2] = {earlier, len};
    bool ok = true;
    for (unsigned i = 0; ok && i < 2; i++) {
        d->z.next_in = (Bytef *)part[i];
        d->z.avail_in = part_len[i];
        int rc;
        do {
            d->z.next_out = tx->conn->ctx->scratch[layer];
            d->z.avail_out = HTTP_SCRATCH;
            rc = inflate(&d->z, Z_NO_FLUSH);
        } while (rc == Z_OK && (d->z.avail_in > 0 || d->z.avail_out == 0));
        ok = rc == Z_OK || rc == Z_BUF_ERROR;
        if (rc == Z_STREAM_END)
            return inflateReset(&d->z) == Z_OK;
    }
    return inflateReset(&d->z) == Z_OK && ok;
}

static bool headless(const struct http_decoder *d)
{
    return d->state == DS_INFLATE && d->skip == 0;
}

/* The bytes of earlier calls, then these. */
static int feed_both(struct http_tx *tx, int dir, unsigned layer, uint32_t earlier, const uint8_t *p, uint32_t len)
{
    struct http_decoder *d = tx->msg[dir].body.dec[layer];
    uint8_t first[SAVED_MAX];
    memcpy(first, d->saved, earlier);
    int rc = earlier > 0 ? feed(tx, dir, layer, first, earlier) : 1;
    return rc == 1 ? feed(tx, dir, layer, p, len) : rc;
}

/* An error before anything came out: it is not what its header says. Passed on as it is, and all that follows. */
static void pass_on(struct http_tx *tx, int dir, unsigned layer, uint32_t earlier, const uint8_t *p, uint32_t len)
{
    struct http_decoder *d = tx->msg[dir].body.dec[layer];
    uint8_t first[SAVED_MAX];
    if (d->coding == HC_GZIP)
        tx_event(tx, HTTP_EV_GZIP_DECOMPRESSION_FAILED);
    d->state = DS_PASS;
    memcpy(first, d->saved, earlier);
    if (earlier == 0 || emit(tx, dir, layer, first, earlier))
        emit(tx, dir, layer, p, len);
}

void decoder_run(struct http_tx *tx, int dir, unsigned layer, const uint8_t *p, uint32_t len)
{
    struct http_decoder *d = tx->msg[dir].body.dec[layer];
    if (d->state == DS_DONE || len == 0)
        return;
    if (d->state == DS_PASS) {
        emit(tx, dir, layer, p, len);
        return;
    }
    uint32_t earlier = d->nsaved;
    bool all = d->saved_all;
    save(d, p, len);
    int rc;
    if (d->state == DS_START) {
        choose(d, true, false);
        if (d->state == DS_START)
            return;
        bool text = headless(d) && !looks_deflated(tx, layer, d, earlier, p, len);
        rc = text ? -1 : feed_both(tx, dir, layer, earlier, p, len);
    } else {
        rc = feed(tx, dir, layer, p, len);
    }
    if (rc < 0 && !d->produced && all && d->state == DS_INFLATE && d->coding != HC_BROTLI && is_zlib_header(d->saved)) {
        choose(d, false, false);
        rc = feed_both(tx, dir, layer, earlier, p, len);
    }
    if (rc < 0 && !d->produced && all)
        pass_on(tx, dir, layer, earlier, p, len);
    else if (rc < 0)
        give_up(tx, d);
    else if (rc == 0)
        d->state = DS_DONE;
}

/* The body ends. What was never enough to tell its kind is told now. */
void decoder_finish(struct http_tx *tx, int dir)
{
    struct http_body *b = &tx->msg[dir].body;
    for (unsigned i = 0; i < b->ndec && !b->full; i++) {
        struct http_decoder *d = b->dec[i];
        if (d->state != DS_START || d->nsaved == 0)
            continue;
        uint8_t first[SAVED_MAX];
        uint32_t n = d->nsaved;
        memcpy(first, d->saved, n);
        choose(d, true, true);
        if (headless(d) && looks_deflated(tx, i, d, 0, first, n)) {
            feed(tx, dir, i, first, n);
        } else {
            d->state = DS_PASS;
            emit(tx, dir, i, first, n);
        }
    }
}
