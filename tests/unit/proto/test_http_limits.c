/* Every maximum of the HTTP inspector, forced: what is cut, what is counted, what goes on. */
#include "http_harness.h"
#include <zlib.h>

static struct harness *fresh(void)
{
    static struct harness h;
    free(h.log);
    h_init(&h);
    return &h;
}

#define GET   "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK200 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static uint64_t count(struct harness *h, enum sk_counter c)
{
    return sk_count_read(&h->counters, c);
}

static void header_limit(void **state)
{
    (void)state;
    static char line[5000];
    for (int dir = 0; dir < 2; dir++) {
        struct harness *h = fresh();
        h->conf.header_limit = 1000;
        memset(line, 'a', sizeof line);
        h_begin(h);
        h_feed(h, 0, dir ? GET : "GET /", dir ? sizeof GET - 1 : 5, 0);
        h_feed(h, dir, dir ? "HTTP/1.1 " : "x", dir ? 9 : 1, 0);
        for (unsigned i = 0; i < 5 && h->result == HTTP_R_OK; i++)
            h_feed(h, dir, line, 500, 0);
        assert_int_equal(h->result, HTTP_R_ERROR);
        assert_int_equal(count(h, SK_C_HTTP_PARSE_ERR), 1);
        h_end(h);
        assert_int_equal(h->ndone, 1);
        enum http_event ev = dir ? HTTP_EV_RESPONSE_FIELD_TOO_LONG : HTTP_EV_REQUEST_FIELD_TOO_LONG;
        assert_true(h->tx[0].events & 1ull << ev);
    }
}

static void too_many_headers(void **state)
{
    (void)state;
    static char req[40000];
    for (unsigned n = HTTP_MAX_HEADERS; n <= HTTP_MAX_HEADERS + 1; n++) {
        char *o = req + sprintf(req, "GET / HTTP/1.1\r\n");
        for (unsigned i = 0; i < n; i++)
            o += sprintf(o, "X-%u: %u\r\n", i, i);
        strcpy(o, "\r\n");
        struct step s[] = {{0, req, 0, 0}};
        struct harness *h = fresh();
        RUN(h, s);
        bool over = n > HTTP_MAX_HEADERS;
        assert_int_equal(h->result, over ? HTTP_R_ERROR : HTTP_R_OK);
        assert_int_equal(!!(h->tx[0].events & 1ull << HTTP_EV_TOO_MANY_HEADERS), over);
    }
}

static void repetitions(void **state)
{
    (void)state;
    static char req[40000];
    char *o = req + sprintf(req, "GET / HTTP/1.1\r\n");
    for (unsigned i = 0; i < 2000; i++)
        o += sprintf(o, "Cookie: c%u\r\n", i);
    strcpy(o, "\r\n");
    struct step s[] = {{0, req, 0, 0}};
    struct harness *h = fresh();
    h->log_bufs = true;
    RUN(h, s);
    assert_int_equal(h->result, HTTP_R_OK);
    /* The first, the second, and HTTP_MAX_REPEATS more. */
    assert_non_null(strstr(h->log, ", c65\n"));
    assert_null(strstr(h->log, ", c66"));
}

static void max_tx(void **state)
{
    (void)state;
    struct harness *h = fresh();
    h->conf.max_tx = 3;
    h_begin(h);
    for (unsigned i = 0; i < 3; i++)
        h_feed(h, 0, GET, sizeof GET - 1, 0);
    assert_int_equal(h->result, HTTP_R_OK);
    h_feed(h, 0, GET, sizeof GET - 1, 0);
    assert_int_equal(h->result, HTTP_R_ERROR);
    h_end(h);
    assert_int_equal(h->ndone, 3);
    assert_true(h->tx[2].events & 1ull << HTTP_EV_MAX_TX_REACHED);
    /* Finished ones do not count. */
    h = fresh();
    h->conf.max_tx = 1;
    h_begin(h);
    for (unsigned i = 0; i < 50; i++) {
        h_feed(h, 0, GET, sizeof GET - 1, 0);
        h_feed(h, 1, OK200, sizeof OK200 - 1, 0);
    }
    assert_int_equal(h->result, HTTP_R_OK);
    h_end(h);
    assert_int_equal(h->ndone, 50);
}

static void body_limit(void **state)
{
    (void)state;
    static const struct step s[] = {
        {0, GET, 0, 0}, {1, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", 0, 0}, {1, "56789" OK200, 0, 0}};
    struct harness *h = fresh();
    h->conf.response_body_limit = 7;
    RUN(h, s);
    assert_string_equal(h->tx[0].body[1], "0123456");
    assert_int_equal(h->tx[0].body_len[1], 10);
    assert_int_equal(count(h, SK_C_HTTP_BODY_LIMIT), 1);
    assert_int_equal(h->tx[0].progress[1], HTTP_P_COMPLETE);
}

static uint32_t zeros_gzip(uint8_t *out, uint32_t cap, uint32_t size)
{
    z_stream z = {0};
    static uint8_t zero[65536];
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = out;
    z.avail_out = cap;
    for (uint32_t done = 0; done < size; done += sizeof zero) {
        z.next_in = zero;
        z.avail_in = sizeof zero;
        deflate(&z, done + sizeof zero >= size ? Z_FINISH : Z_NO_FLUSH);
    }
    uint32_t n = cap - z.avail_out;
    deflateEnd(&z);
    return n;
}

static struct harness *run_bomb(const char *coding, const uint8_t *body, uint32_t len, uint64_t body_limit,
                                uint32_t decompress_limit)
{
    static char resp[200000];
    int n = sprintf(resp, "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %u\r\n\r\n", coding, len);
    memcpy(resp + n, body, len);
    struct step s[] = {{0, GET, 0, 0}, {1, resp, (uint32_t)n + len, 0}, {0, GET, 0, 0}, {1, OK200, 0, 0}};
    struct harness *h = fresh();
    h->conf.response_body_limit = body_limit;
    h->conf.decompress_limit = decompress_limit;
    RUN(h, s);
    assert_int_equal(h->ndone, 2); /* the connection goes on behind it */
    assert_string_equal(h->tx[1].body[1], "ok");
    return h;
}

static void bombs(void **state)
{
    (void)state;
    static uint8_t a[200000], b[200000];
    uint32_t n = zeros_gzip(a, sizeof a, 64 << 20);
    struct harness *h = run_bomb("gzip", a, n, 1000, 4 << 20);
    assert_int_equal(h->tx[0].kept[1], 1000);
    h = run_bomb("gzip", a, n, 0, 4 << 20);
    assert_true(h->tx[0].events & 1ull << HTTP_EV_COMPRESSION_BOMB);
    assert_true(h->tx[0].kept[1] <= (4 << 20) + 65536);
    /* In layers: the inner one is small. */
    uLongf m = sizeof b;
    assert_int_equal(compress2(b, &m, a, n, 9), Z_OK);
    h = run_bomb("gzip, deflate", b, (uint32_t)m, 0, 4 << 20);
    assert_true(h->tx[0].events & 1ull << HTTP_EV_COMPRESSION_BOMB);
    assert_true(h->tx[0].kept[1] <= (4 << 20) + 65536);
}

/* A ratio that no honest stream has, below the output limit. */
static void bomb_ratio(void **state)
{
    (void)state;
    static uint8_t a[200000], b[20000];
    uint32_t n = zeros_gzip(a, sizeof a, 16 << 20);
    uLongf m = sizeof b;
    assert_int_equal(compress2(b, &m, a, n, 9), Z_OK);
    struct harness *h = run_bomb("gzip, deflate", b, (uint32_t)m, 0, 64 << 20);
    assert_true(h->tx[0].events & 1ull << HTTP_EV_COMPRESSION_BOMB);
    assert_true(h->tx[0].kept[1] < 2 << 20);
}

static void memcap_bodies(void **state)
{
    (void)state;
    static char body[60000];
    struct harness *h = fresh();
    h->conf.memcap = 48000;
    memset(body, 'b', sizeof body);
    h_begin(h);
    h_feed(h, 0, GET GET, sizeof(GET GET) - 1, 0);
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
    h_feed(h, 1, head, sizeof head - 1, 0);
    for (unsigned i = 0; i < 6; i++)
        h_feed(h, 1, body, 10000, 0);
    assert_int_equal(h->result, HTTP_R_OK);
    h_feed(h, 1, OK200, sizeof OK200 - 1, 0);
    assert_true(http_memory(h->ctx) <= 48000);
    h_end(h);
    assert_int_equal(h->ndone, 2);
    assert_int_equal(h->tx[0].body_len[1], 60000);
    assert_true(count(h, SK_C_HTTP_MEMCAP) > 0);
    assert_string_equal(h->tx[1].body[1], "ok");
}

static void memcap_connections(void **state)
{
    (void)state;
    struct harness *h = fresh();
    struct http_conn *more[64];
    unsigned n = 0;
    h->conf.memcap = 16384;
    h_begin(h);
    while (n < 64 && (more[n] = http_conn_create(h->ctx, NULL)) != NULL)
        n++;
    assert_true(n < 64);
    assert_int_equal(count(h, SK_C_HTTP_MEMCAP), 1);
    h_feed(h, 0, GET, sizeof GET - 1, 0); /* no room for a transaction */
    assert_int_equal(h->result, HTTP_R_ERROR);
    while (n > 0)
        http_conn_free(more[--n]);
    http_conn_free(h->conn);
    h->conn = http_conn_create(h->ctx, NULL);
    h_feed(h, 0, GET, sizeof GET - 1, 0);
    assert_int_equal(h->result, HTTP_R_OK);
    h_end(h);
    assert_int_equal(h->ndone, 1);
}

/* A worker in its stride takes nothing more from malloc. */
static void steady(void **state)
{
    (void)state;
    struct harness *h = fresh();
    uint64_t after_ten = 0;
    h_begin(h);
    for (unsigned i = 0; i < 1000; i++) {
        h_feed(h, 0, GET, sizeof GET - 1, 0);
        h_feed(h, 1, OK200, sizeof OK200 - 1, 0);
        if (i == 10)
            after_ten = http_memory(h->ctx);
    }
    assert_int_equal(http_memory(h->ctx), after_ten);
    h_end(h);
}

static void impossible_limits(void **state)
{
    (void)state;
    struct http_conf conf;
    struct http_callbacks cb = {0};
    struct sk_counters c = {0};
    struct http_ctx *ctx;
    http_conf_defaults(&conf);
    conf.max_tx = 0;
    assert_int_equal(http_create(&conf, &cb, &c, &ctx), SK_EINVAL);
}

static void event_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HTTP_EV_COUNT; i++)
        assert_int_equal(http_event_find(http_event_name((enum http_event)i)), i);
    assert_int_equal(http_event_find("no such event"), HTTP_EV_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_limit), cmocka_unit_test(too_many_headers),  cmocka_unit_test(repetitions),
        cmocka_unit_test(max_tx),       cmocka_unit_test(body_limit),        cmocka_unit_test(bombs),
        cmocka_unit_test(bomb_ratio),   cmocka_unit_test(memcap_bodies),     cmocka_unit_test(memcap_connections),
        cmocka_unit_test(steady),       cmocka_unit_test(impossible_limits), cmocka_unit_test(event_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
