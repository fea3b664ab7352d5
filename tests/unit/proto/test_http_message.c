/* Messages: where they begin and end, which request a response answers, what ends HTTP on a connection. */
#include "http_harness.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK200     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct harness *fresh(void)
{
    static struct harness h;
    free(h.log);
    h_init(&h);
    return &h;
}

static void ordinary(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, GET("/a?b=c"), 0, 0}, {1, OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].method, "GET");
    assert_string_equal(h->tx[0].url, "/a?b=c");
    assert_string_equal(h->tx[0].host, "h");
    assert_string_equal(h->tx[0].status, "200");
    assert_string_equal(h->tx[0].body[1], "ok");
    assert_int_equal(h->tx[0].body_len[1], 2);
    assert_int_equal(h->nheaders[0] + h->nheaders[1], 2);
    assert_int_equal(h->ncomplete[0] + h->ncomplete[1], 2);
    assert_int_equal(sk_count_read(&h->counters, SK_C_HTTP_TX), 1);
    CHECK_SPLITS(steps);
}

static void pipelined(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0, GET("/1") GET("/2") "POST /3 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" GET("/4"), 0, 0},
        {1, OK200 "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 0, 0},
        {1, OK200 OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 4);
    assert_string_equal(h->tx[1].url, "/2");
    assert_string_equal(h->tx[1].status, "404");
    assert_string_equal(h->tx[2].body[0], "abc");
    assert_string_equal(h->tx[3].url, "/4");
    CHECK_SPLITS(steps);
}

static void line_ends(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, "\r\n\nGET /x HTTP/1.0\nHost: a\n\n", 0, 0},
                                        {1, "HTTP/1.0 200 OK\nServer: s\n\nbody", 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].url, "/x");
    assert_string_equal(h->tx[0].host, "a");
    assert_string_equal(h->tx[0].body[1], "body");
    CHECK_SPLITS(steps);
}

static void response_cr_only(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, GET("/"), 0, 0},
                                        {1, "HTTP/1.1 200 OK\rServer: x\rContent-Length: 2\r\rhi", 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_string_equal(h->tx[0].status, "200");
    assert_string_equal(h->tx[0].body[1], "hi");
    CHECK_SPLITS(steps);
}

/* Responses whose heads readers take differently; all of them show a browser the same page. */
static void deformed_heads(void **state)
{
    (void)state;
#define CHUNKED_BODY "4\r\npage\r\n0\r\n\r\n"
    static const char *const heads[] = {
        "HTTP/1.1 200 ok\r\nConnection: close\r\n\r\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 ok\r\nConnection: close\r\n\r\r\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 ok\r\nConnection: close\r\n\r\rTransfer-Encoding: chunked\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 ok\r\nTransfer-Encoding\r :chunked\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 ok\r\nTransfer-Encoding\r\n :\r\n chunked\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 ok\r\nTransfer-Encoding\r\n \r\n :\r\n chunked\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 ok\n\rA: b\n\rTransfer-Encoding: chunked\n\rC: d\r\n\r\n",
        "HTTP/1.1 200 ok\r\nTransfer-Encoding: chunked\r\nA: b\n\t\n",
    };
    for (unsigned i = 0; i < sizeof heads / sizeof *heads; i++) {
        char resp[256];
        snprintf(resp, sizeof resp, "%s" CHUNKED_BODY, heads[i]);
        const struct step steps[] = {{0, GET("/"), 0, 0}, {1, resp, 0, 0}};
        struct harness *h = fresh();
        RUN(h, steps);
        assert_int_equal(h->ndone, 1);
        assert_string_equal(h->tx[0].body[1], "page");
        CHECK_SPLITS(steps);
    }
    static const char nul[] = "HTTP/1.1 200 ok\r\nTransfer\0-encoding:chun\0ked\r\n\r\n" CHUNKED_BODY;
    const struct step steps[] = {{0, GET("/"), 0, 0}, {1, nul, sizeof nul - 1, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_string_equal(h->tx[0].body[1], "page");
}

/* An empty line stays the end of the head, whatever comes behind it. */
static void whole_heads(void **state)
{
    (void)state;
    static const char *const bodies[] = {"\r\n\r\nbody", "\n\r\nbody", "\n\nbody", "\r\rbody"};
    static const struct step get = {0, GET("/"), 0, 0};
    for (unsigned i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        char resp[64];
        snprintf(resp, sizeof resp, "HTTP/1.1 200 ok\r\nA: b%s", bodies[i]);
        const struct step steps[] = {get, {1, resp, 0, 0}};
        struct harness *h = fresh();
        RUN(h, steps);
        assert_string_equal(h->tx[0].body[1], "body");
        CHECK_SPLITS(steps);
    }
}

/* Bytes behind a request that has no body, and that are no request: its body all the same, as for libhtp. */
static void unannounced_body(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, "POST /p HTTP/1.1\r\nHost: h\r\n\r\nhi=test", 0, 0}, {1, OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].body[0], "hi=test");
}

static void files_are_told(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0, GET("/dir/a.bin"), 0, 0},
        {1, "HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=\"b.txt\"\r\nContent-Length: 4\r\n\r\npage",
         0, 0},
        {0, "PUT /up HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort", 0, 0}};
    struct harness *h = fresh();
    h->log_bufs = true;
    RUN(h, steps);
    assert_non_null(strstr(h->log, "file 4 of 4 b.txt\n"));
    assert_non_null(strstr(h->log, "file 5 of 5 truncated /up\n"));
}

static void http09(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, "GET /old\r\n", 0, 0}, {1, "<html>no head</html>", 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].url, "/old");
    assert_string_equal(h->tx[0].body[1], "<html>no head</html>");
    assert_string_equal(h->tx[0].status, "");
}

/* Headers behind a request line without protocol: not HTTP/0.9 after all. */
static void not_http09(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, "GET /x\r\nHost: evil\r\n\r\n", 0, 0}, {1, OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].host, "evil");
    assert_string_equal(h->tx[0].body[1], "ok");
    assert_true(h->tx[0].events & 1ull << HTTP_EV_REQUEST_LINE_MISSING_PROTOCOL);
}

static void response_only(void **state)
{
    (void)state;
    static const struct step steps[] = {{1, OK200, 0, 0}, {0, GET("/next"), 0, 0}, {1, OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 2);
    assert_string_equal(h->tx[0].url, "/libhtp::request_uri_not_seen");
    assert_false(h->tx[0].has_uri && h->tx[0].uri[0] == 0);
    assert_true(h->tx[0].events & 1ull << HTTP_EV_UNABLE_TO_MATCH_RESPONSE);
    assert_string_equal(h->tx[1].url, "/next");
    CHECK_SPLITS(steps);
}

static void early_response(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, "POST /up HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc", 0, 0},
                                        {1, "HTTP/1.1 413 Big\r\nContent-Length: 0\r\n\r\n", 0, 0},
                                        {0, "def" GET("/2"), 0, 0},
                                        {1, OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 2);
    assert_string_equal(h->tx[0].body[0], "abcdef");
    assert_string_equal(h->tx[0].status, "413");
    assert_string_equal(h->tx[1].url, "/2");
    CHECK_SPLITS(steps);
}

static void continue_100(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0, "POST /u HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", 0, 0},
        {1, "HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n", 0, 0},
        {0, "hi", 0, 0},
        {1, OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].status, "200");
    assert_string_equal(h->tx[0].body[0], "hi");
    CHECK_SPLITS(steps);
}

static void expectation_failed(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0, "POST /u HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", 0, 0},
        {1, "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", 0, 0},
        {0, GET("/2"), 0, 0},
        {1, OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 2);
    assert_string_equal(h->tx[1].url, "/2");
    CHECK_SPLITS(steps);
}

static void no_body(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0, "HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n" GET("/304") GET("/204") GET("/e"), 0, 0},
        {1,
         "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"
         "HTTP/1.1 204 None\r\n\r\n" OK200,
         0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 4);
    assert_string_equal(h->tx[0].method, "HEAD");
    assert_int_equal(h->tx[0].body_len[1], 0);
    assert_string_equal(h->tx[1].status, "304");
    assert_string_equal(h->tx[2].status, "204");
    assert_string_equal(h->tx[3].body[1], "ok");
    CHECK_SPLITS(steps);
}

static void connect_tunnel(void **state)
{
    (void)state;
    static const char req[] = "CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
    static const char resp[] = "HTTP/1.1 200 Established\r\n\r\n";
    struct harness *h = fresh();
    h_begin(h);
    h_feed(h, 0, req, sizeof req - 1, 0);
    assert_int_equal(h->result, HTTP_R_OK);
    h_feed(h, 1, "HTTP/1.1 200 Established\r\n\r\n\x16\x03\x01", sizeof resp - 1 + 3, 0);
    assert_int_equal(h->result, HTTP_R_TUNNEL);
    assert_int_equal(h->used, sizeof resp - 1);
    assert_int_equal(h->ndone, 1);
    h_feed(h, 0, "\x16\x03\x01", 3, 0);
    assert_int_equal(h->result, HTTP_R_TUNNEL);
    assert_int_equal(h->used, 0);
    h_end(h);
    assert_string_equal(h->tx[0].host, "www.example.com");
    assert_false(h->tx[0].has_uri);
}

static void connect_refused(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, "CONNECT a:443 HTTP/1.1\r\n\r\n" GET("/after"), 0, 0},
                                        {1, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 0, 0},
                                        {0, GET("/later"), 0, 0},
                                        {1, OK200 OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 3);
    assert_string_equal(h->tx[1].url, "/after");
    assert_string_equal(h->tx[2].url, "/later");
    CHECK_SPLITS(steps);
}

static void upgrade(void **state)
{
    (void)state;
    static const char resp[] = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    struct harness *h = fresh();
    h_begin(h);
    h_feed(h, 0, GET("/ws"), sizeof GET("/ws") - 1, 0);
    h_feed(h, 1, resp, sizeof resp - 1, 0);
    assert_int_equal(h->result, HTTP_R_UPGRADE);
    assert_int_equal(h->used, sizeof resp - 1);
    struct sk_span up = http_conn_upgrade(h->conn);
    assert_true(sk_span_ieq(up, "websocket"));
    assert_int_equal(h->ndone, 1);
    h_end(h);
}

static void junk_before_response(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, GET("/"), 0, 0}, {1, "junk line\r\n" OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_string_equal(h->tx[0].status, "200");
    assert_string_equal(h->tx[0].body[1], "ok");
}

static void response_without_head(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, GET("/"), 0, 0}, {1, "<html>\nno status</html>\n", 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].status, "");
    assert_string_equal(h->tx[0].body[1], "<html>\nno status</html>\n");
}

/* Browsers of old send CRLF behind a POST body; libhtp takes it as body. */
static void extra_crlf(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, "POST /p HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\r\n" GET("/2"), 0, 0},
                                        {1, OK200 OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 2);
    assert_string_equal(h->tx[0].body[0], "hi\r\n");
    assert_string_equal(h->tx[1].url, "/2");
}

static void incomplete(void **state)
{
    (void)state;
    static const struct step steps[] = {{0, "GET /cut HTTP/1.1\r\nHost: x\r\nUser-Ag", 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].url, "/cut");
    assert_string_equal(h->tx[0].host, "x");
    assert_int_equal(h->tx[0].progress[0], HTTP_P_COMPLETE);
    assert_int_equal(h->tx[0].progress[1], HTTP_P_NONE);
    CHECK_SPLITS(steps);
}

static void gap_in_body(void **state)
{
    (void)state;
    struct harness *h = fresh();
    static const char resp[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    h_begin(h);
    h_feed(h, 0, GET("/") GET("/2"), sizeof(GET("/") GET("/2")) - 1, 0);
    h_feed(h, 1, resp, sizeof resp - 1, 0);
    h_feed(h, 1, NULL, 5, HTTP_F_GAP);
    assert_int_equal(h->result, HTTP_R_OK);
    h_feed(h, 1, "yz" OK200, sizeof("yz" OK200) - 1, 0);
    h_end(h);
    assert_int_equal(h->ndone, 2);
    assert_string_equal(h->tx[0].body[1], "abc");
    assert_int_equal(h->tx[0].body_len[1], 10);
    assert_string_equal(h->tx[1].body[1], "ok");
}

static void bad_framing(void **state)
{
    (void)state;
    static const struct step te[] = {{0, "POST /t HTTP/1.1\r\nTransfer-Encoding: nope\r\n\r\n", 0, 0}};
    struct harness *h = fresh();
    RUN(h, te);
    assert_int_equal(h->nheaders[0], 1); /* rules still see the head */
    assert_true(h->tx[0].events & 1ull << HTTP_EV_INVALID_TRANSFER_ENCODING_REQUEST);
    assert_int_equal(h->result, HTTP_R_ERROR);
    static const struct step cl[] = {{0, "POST /c HTTP/1.1\r\nContent-Length: x\r\n\r\n", 0, 0}};
    h = fresh();
    RUN(h, cl);
    assert_int_equal(h->result, HTTP_R_ERROR);
    assert_true(h->tx[0].events & 1ull << HTTP_EV_INVALID_CONTENT_LENGTH_REQUEST);
}

static void duplicate_length(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0, "POST /d HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhi" GET("/2"), 0, 0},
        {1, OK200 OK200, 0, 0}};
    struct harness *h = fresh();
    RUN(h, steps);
    assert_string_equal(h->tx[0].body[0], "hi");
    assert_true(h->tx[0].events & 1ull << HTTP_EV_DUPLICATE_CONTENT_LENGTH_REQUEST);
    assert_int_equal(h->ndone, 2);
    CHECK_SPLITS(steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary),
        cmocka_unit_test(pipelined),
        cmocka_unit_test(line_ends),
        cmocka_unit_test(response_cr_only),
        cmocka_unit_test(deformed_heads),
        cmocka_unit_test(whole_heads),
        cmocka_unit_test(unannounced_body),
        cmocka_unit_test(files_are_told),
        cmocka_unit_test(http09),
        cmocka_unit_test(not_http09),
        cmocka_unit_test(response_only),
        cmocka_unit_test(early_response),
        cmocka_unit_test(continue_100),
        cmocka_unit_test(expectation_failed),
        cmocka_unit_test(no_body),
        cmocka_unit_test(connect_tunnel),
        cmocka_unit_test(connect_refused),
        cmocka_unit_test(upgrade),
        cmocka_unit_test(junk_before_response),
        cmocka_unit_test(response_without_head),
        cmocka_unit_test(extra_crlf),
        cmocka_unit_test(incomplete),
        cmocka_unit_test(gap_in_body),
        cmocka_unit_test(bad_framing),
        cmocka_unit_test(duplicate_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
