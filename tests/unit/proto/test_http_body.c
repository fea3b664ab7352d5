/* Bodies: chunks, content codings, forms and files. */
#include "http_harness.h"
#include <zlib.h>

static struct harness *fresh(void)
{
    static struct harness h;
    free(h.log);
    h_init(&h);
    h.log_bufs = true;
    return &h;
}

static const char get[] = "GET /f HTTP/1.1\r\nHost: h\r\n\r\n";

/* window_bits as deflateInit2: 31 gzip, 15 zlib, -15 raw. */
static uint32_t pack(int window_bits, const void *in, uint32_t len, uint8_t *out, uint32_t cap)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = len;
    z.next_out = out;
    z.avail_out = cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    uint32_t n = cap - z.avail_out;
    deflateEnd(&z);
    return n;
}

/* A response with this content coding and body, and Content-Length; returns its size. */
static uint32_t response(char *out, const char *coding, const void *body, uint32_t len)
{
    int n = sprintf(out, "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %u\r\n\r\n", coding, len);
    memcpy(out + n, body, len);
    return (uint32_t)n + len;
}

static struct harness *run_coded(const char *coding, const void *body, uint32_t len, const char *want)
{
    static char resp[8192];
    uint32_t n = response(resp, coding, body, len);
    struct step steps[] = {{0, get, 0, 0}, {1, resp, n, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].body[1], want);
    assert_int_equal(h->tx[0].body_len[1], len);
    expect(h, 1, HTTP_BUF_FILE_DATA, 0, want);
    CHECK_SPLITS(steps);
    return h;
}

static const char text[] = "<html>The quick brown fox jumps over the lazy dog. The quick brown fox again.</html>";

static void codings(void **state)
{
    (void)state;
    uint8_t a[1024], b[1024];
    uint32_t gz = pack(31, text, sizeof text - 1, a, sizeof a);
    run_coded("gzip", a, gz, text);
    run_coded("x-gzip", a, gz, text);
    run_coded("deflate", a, gz, text); /* mislabelled */
    run_coded("identity", text, sizeof text - 1, text);
    uint32_t zl = pack(15, text, sizeof text - 1, b, sizeof b);
    run_coded("deflate", b, zl, text);
    run_coded("gzip", b, zl, text);
    uint32_t raw = pack(-15, text, sizeof text - 1, b, sizeof b);
    run_coded("deflate", b, raw, text);
}

static void brotli(void **state)
{
    (void)state;
    /* RFC 7932: WBITS 16, an uncompressed meta-block of 5 bytes, an empty last one. */
    static const uint8_t stored[] = {0x40, 0x00, 0x10, 'h', 'e', 'l', 'l', 'o', 0x03};
    /* 125 times "abcdefgh <html>\n". */
    static const uint8_t packed[] = {0xe2, 0xf9, 0x00, 0x80, 0x38, 0xe1, 0xd0, 0x13, 0x8a, 0x28, 0xf2, 0xda, 0x2d,
                                     0x5e, 0x2c, 0xab, 0x21, 0xd5, 0xa9, 0x9e, 0xbd, 0x67, 0x97, 0x50, 0x6f, 0x01};
    char want[2001] = "";
    for (unsigned i = 0; i < 125; i++)
        memcpy(want + 16 * i, "abcdefgh <html>\n", 17);
    run_coded("br", stored, sizeof stored, "hello");
    run_coded("br", packed, sizeof packed, want);
    run_coded("br", "\xff\xff not brotli", 13, "\xff\xff not brotli");
}

static void layers(void **state)
{
    (void)state;
    uint8_t a[1024], b[1024];
    uint32_t n = pack(31, text, sizeof text - 1, a, sizeof a);
    n = pack(15, a, n, b, sizeof b);
    run_coded("gzip, deflate", b, n, text);
    struct harness *h = fresh();
    char resp[2048];
    uint32_t len = response(resp, "gzip, deflate, br, gzip", b, n);
    struct step steps[] = {{0, get, 0, 0}, {1, resp, len, 0}};
    RUN(h, steps);
    assert_true(h->tx[0].events & 1ull << HTTP_EV_TOO_MANY_ENCODING_LAYERS);
}

static void broken_streams(void **state)
{
    (void)state;
    uint8_t a[1024];
    /* Plain text that is called gzip is shown as it is. */
    run_coded("gzip", text, sizeof text - 1, text);
    /* Text that the first bits make a valid deflate block of: nothing of that block may be shown. */
    static const char json[] =
        "{\"sdk_version\":11026,\"app_package\":\"com.example\",\"device_id\":\"350672920106648\"}";
    run_coded("gzip", json, sizeof json - 1, json);
    run_coded("gzip", "x", 1, "x");
    run_coded("deflate", "ab", 2, "ab");
    /* A wrong checksum does not matter. */
    uint32_t n = pack(31, text, sizeof text - 1, a, sizeof a);
    a[n - 6] ^= 0x55;
    run_coded("gzip", a, n, text);
    /* A broken end leaves what came before. Stored blocks make the place certain. */
    static const uint8_t stored[] = {0x1f, 0x8b, 8,    0,    0,   0,   0,   0,   0,   3, 0,
                                     5,    0,    0xfa, 0xff, 'h', 'e', 'l', 'l', 'o', 7};
    struct harness *h = run_coded("gzip", stored, sizeof stored, "hello");
    assert_true(h->tx[0].events & 1ull << HTTP_EV_GZIP_DECOMPRESSION_FAILED);
}

/* All optional fields of a gzip header, with a wrong header checksum. */
static void gzip_header_fields(void **state)
{
    (void)state;
    static const uint8_t z[] = {0x1f, 0x8b, 8,   0x1e, 0,    0,    0, 0, 0, 3,    3,    0,   'e', 'x', 't', 'n',
                                0,    'c',  'o', 0,    0xde, 0xad, 1, 5, 0, 0xfa, 0xff, 'h', 'e', 'l', 'l', 'o'};
    run_coded("gzip", z, sizeof z, "hello");
}

static void chunks(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0, get, 0, 0},
        {1,
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
         "5;ext=\"a;b\"\r\nhello\r\n 0001 \r\n,\r\n\r\n6\n world\nA\r\n0123456789\r\n0;last\r\nX-T: v\r\n\r\n",
         0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_string_equal(h->tx[0].body[1], "hello, world0123456789");
    assert_int_equal(h->tx[0].progress[1], HTTP_P_COMPLETE);
    CHECK_SPLITS(steps);
}

static void chunked_length_counts_framing(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0, get, 0, 0}, {1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->tx[0].body_len[1], 3 + 3 + 2 + 3); /* "3\r\n" "abc" "\r\n" "0\r\n" */
}

static void bad_chunks(void **state)
{
    (void)state;
    static const struct step resp[] = {{0, get, 0, 0},
                                       {1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nmore", 0, 0}};
    struct harness *h = fresh();
    RUN(h, resp);
    assert_string_equal(h->tx[0].body[1], "xyz\r\nmore");
    assert_true(h->tx[0].events & 1ull << HTTP_EV_INVALID_RESPONSE_CHUNK_LEN);
    assert_int_equal(h->tx[0].body_len[1], 14); /* the line is counted as framing and as body, as by libhtp */
    static const struct step cut[] = {
        {0, get, 0, 0}, {1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxy", 0, 0}, {1, "z\r\nmore", 0, 0}};
    h = fresh();
    RUN(h, cut);
    assert_string_equal(h->tx[0].body[1], "xyz\r\nmore");
    static const struct step req[] = {{0, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nmore", 0, 0}};
    h = fresh();
    RUN(h, req);
    assert_int_equal(h->result, HTTP_R_ERROR);
    assert_true(h->tx[0].events & 1ull << HTTP_EV_INVALID_REQUEST_CHUNK_LEN);
    CHECK_SPLITS(req);
}

static void request_body_coded(void **state)
{
    (void)state;
    uint8_t a[512];
    char req[1024];
    uint32_t n = pack(31, "cmd=id", 6, a, sizeof a);
    int head = sprintf(req, "POST /x HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: %u\r\n\r\n", n);
    memcpy(req + head, a, n);
    struct step steps[] = {{0, req, (uint32_t)head + n, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_string_equal(h->tx[0].body[0], "cmd=id");
    expect(h, 0, HTTP_BUF_FILE_DATA, 0, "cmd=id");
    CHECK_SPLITS(steps);
}

#define FORM                                                                                                           \
    "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue\r\n"                                              \
    "--XX\r\ncontent-disposition: form-data; name=\"f\"; filename=\"shell;1.php\"\r\nContent-Type: text/x\r\n\r\n"     \
    "<?php\r\nevil();\r\n?>\r\n--XX\r\nContent-Disposition: form-data; name=g; filename=b.txt\r\n\r\nBB\r\n--XX--\r\n"

static void multipart_files(void **state)
{
    (void)state;
    static char req[2048];
    sprintf(req,
            "POST /up HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=\"XX\"\r\nContent-Length: %zu\r\n\r\n%s",
            sizeof FORM - 1, FORM);
    struct step steps[] = {{0, req, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    expect(h, 0, HTTP_BUF_FILE_DATA, 0, "<?php\r\nevil();\r\n?>");
    expect(h, 0, HTTP_BUF_FILE_DATA, 1, "BB");
    expect(h, 0, HTTP_BUF_FILE_DATA, 2, NULL);
    assert_non_null(strstr(h->log, "file 18 of 18 shell;1.php\n"));
    assert_non_null(strstr(h->log, "file 2 of 2 b.txt\n"));
    CHECK_SPLITS(steps);
}

static void multipart_broken_off(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0,
         "POST /up HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 900\r\n\r\n"
         "--B\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\nhalf a fi",
         0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    expect(h, 0, HTTP_BUF_FILE_DATA, 0, "half a fi");
    CHECK_SPLITS(steps);
}

static void put_is_a_file(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, "PUT /dir/f.jsp?x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_non_null(strstr(h->log, "file 3 of 3 /dir/f.jsp\n"));
}

static void on_args(void *arg, struct http_conn *conn, struct http_tx *tx)
{
    static const char *const want[] = {"q=1 2", "r=", "a=A/", "b= x", "c="};
    struct http_arg a;
    char got[64];
    (void)conn;
    for (unsigned i = 0; i < 5; i++) {
        assert_true(http_tx_arg(tx, i, &a));
        snprintf(got, sizeof got, "%.*s=%.*s", (int)a.name.len, (const char *)a.name.p, (int)a.value.len,
                 (const char *)a.value.p);
        assert_string_equal(got, want[i]);
        assert_int_equal(a.source, i < 2 ? HTTP_ARG_QUERY : HTTP_ARG_BODY);
    }
    assert_false(http_tx_arg(tx, 5, &a));
    ++*(int *)arg;
}

static void arguments(void **state)
{
    (void)state;
    int calls = 0;
    struct http_callbacks cb = {.arg = &calls, .on_tx_done = on_args};
    struct http_conf conf;
    struct sk_counters counters = {0};
    struct http_ctx *ctx;
    http_conf_defaults(&conf);
    assert_int_equal(http_create(&conf, &cb, &counters, &ctx), SK_OK);
    struct http_conn *conn = http_conn_create(ctx, NULL);
    http_set_want(conn, HTTP_TS, 1u << HTTP_BUF_REQUEST_BODY);
    http_input(conn, HTTP_TS,
               sk_span_str("POST /p?q=1+2&&r HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                           "Content-Length: 15\r\n\r\na=%41%2f&b=+x&c"),
               0, 0, NULL);
    http_conn_free(conn);
    http_free(ctx);
    assert_int_equal(calls, 1);
}

/* Nobody asks for bodies: they are counted, not kept. */
static void unwanted(void **state)
{
    (void)state;
    uint8_t a[512];
    char resp[1024];
    uint32_t n = pack(31, text, sizeof text - 1, a, sizeof a), len = response(resp, "gzip", a, n);
    struct step steps[] = {{0, get, 0, 0}, {1, resp, len, 0}};
    struct harness *h = fresh();
    h->want[0] = h->want[1] = 1u << HTTP_BUF_URI;
    RUN(h, steps);
    assert_int_equal(h->tx[0].body_len[1], n);
    assert_int_equal(h->tx[0].kept[1], 0);
    assert_int_equal(h->nbody[1], 0);
    assert_int_equal(h->ncomplete[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codings),
        cmocka_unit_test(brotli),
        cmocka_unit_test(layers),
        cmocka_unit_test(broken_streams),
        cmocka_unit_test(gzip_header_fields),
        cmocka_unit_test(chunks),
        cmocka_unit_test(chunked_length_counts_framing),
        cmocka_unit_test(bad_chunks),
        cmocka_unit_test(request_body_coded),
        cmocka_unit_test(multipart_files),
        cmocka_unit_test(multipart_broken_off),
        cmocka_unit_test(put_is_a_file),
        cmocka_unit_test(arguments),
        cmocka_unit_test(unwanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
