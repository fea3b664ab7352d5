/* Rule buffers, byte for byte as Suricata has them. */
#include "http_harness.h"

static struct harness *run(const struct step *steps, unsigned n)
{
    static struct harness h;
    free(h.log);
    h_init(&h);
    h.log_bufs = true;
    run_steps(&h, steps, n);
    return &h;
}
#define RUN2(steps) run(steps, sizeof(steps) / sizeof *(steps))

#define REQ                                                                                                            \
    "GET http://Www.Example.COM.:8080/p%61th/../q?x=%41+b HTTP/1.1\r\n"                                                \
    "Host: www.example.com:8080\r\n"                                                                                   \
    "User-Agent:  curl/8 \r\n"                                                                                         \
    "Accept: */*\r\n"                                                                                                  \
    "Accept-Encoding: gzip\r\n"                                                                                        \
    "Accept-Language: en\r\n"                                                                                          \
    "Referer: http://r/\r\n"                                                                                           \
    "Cookie: a=1\r\n"                                                                                                  \
    "X-Forwarded-For: 1.2.3.4\r\n"                                                                                     \
    "cookie: b=2\r\n"                                                                                                  \
    "x-forwarded-for: 5.6.7.8\r\n"                                                                                     \
    "Connection: close\r\n"                                                                                            \
    "Content-Type: text/x; c=d\r\n"                                                                                    \
    "Content-Length: 3\r\n\r\nabc"
#define RESP                                                                                                           \
    "HTTP/1.1 302  Found here\r\nServer: nginx\r\nLocation: /next\r\nSet-Cookie: s=1\r\nSet-Cookie: t=2\r\n"           \
    "Content-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"

static const struct step plain[] = {{0, REQ, 0, 0}, {1, RESP, 0, 0}};

static void request_buffers(void **state)
{
    (void)state;
    struct harness *h = RUN2(plain);
    expect(h, 0, HTTP_BUF_METHOD, 0, "GET");
    expect(h, 0, HTTP_BUF_URI, 0, "/q?x=A+b");
    expect(h, 0, HTTP_BUF_URI_RAW, 0, "http://Www.Example.COM.:8080/p%61th/../q?x=%41+b");
    expect(h, 0, HTTP_BUF_HOST, 0, "www.example.com");
    expect(h, 0, HTTP_BUF_HOST_RAW, 0, "www.example.com");
    expect(h, 0, HTTP_BUF_USER_AGENT, 0, "curl/8");
    expect(h, 0, HTTP_BUF_REFERER, 0, "http://r/");
    expect(h, 0, HTTP_BUF_COOKIE, 0, "a=1, b=2");
    expect(h, 0, HTTP_BUF_ACCEPT, 0, "*/*");
    expect(h, 0, HTTP_BUF_ACCEPT_ENC, 0, "gzip");
    expect(h, 0, HTTP_BUF_ACCEPT_LANG, 0, "en");
    expect(h, 0, HTTP_BUF_CONNECTION, 0, "close");
    expect(h, 0, HTTP_BUF_CONTENT_TYPE, 0, "text/x; c=d");
    expect(h, 0, HTTP_BUF_CONTENT_LEN, 0, "3");
    expect(h, 0, HTTP_BUF_PROTOCOL, 0, "HTTP/1.1");
    expect(h, 0, HTTP_BUF_REQUEST_BODY, 0, "abc");
    expect(h, 0, HTTP_BUF_RESPONSE_BODY, 0, NULL);
    expect(h, 0, HTTP_BUF_STAT_CODE, 0, NULL);
    expect(h, 0, HTTP_BUF_REQUEST_LINE, 0, "GET http://Www.Example.COM.:8080/p%61th/../q?x=%41+b HTTP/1.1");
    CHECK_SPLITS(plain);
}

static void header_buffers(void **state)
{
    (void)state;
    struct harness *h = RUN2(plain);
    expect(h, 0, HTTP_BUF_HEADER, 0,
           "Host: www.example.com:8080\r\nUser-Agent: curl/8\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n"
           "Accept-Language: en\r\nReferer: http://r/\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nConnection: close\r\n"
           "Content-Type: text/x; c=d\r\nContent-Length: 3\r\n");
    expect(h, 0, HTTP_BUF_HEADER_NAMES, 0,
           "\r\nHost\r\nUser-Agent\r\nAccept\r\nAccept-Encoding\r\nAccept-Language\r\nReferer\r\nCookie\r\n"
           "X-Forwarded-For\r\nConnection\r\nContent-Type\r\nContent-Length\r\n\r\n");
    expect(h, 0, HTTP_BUF_REQUEST_HEADER, 1, "User-Agent: curl/8");
    expect(h, 0, HTTP_BUF_REQUEST_HEADER, 6, "Cookie: a=1, b=2");
    expect(h, 0, HTTP_BUF_REQUEST_HEADER, 11, NULL);
    expect(h, 1, HTTP_BUF_HEADER, 0,
           "Server: nginx\r\nLocation: /next\r\nContent-Type: text/html\r\nContent-Length: 2\r\n");
    expect(h, 1, HTTP_BUF_HEADER_RAW, 0,
           "Server: nginx\r\nLocation: /next\r\nSet-Cookie: s=1\r\nSet-Cookie: t=2\r\nContent-Type: text/html\r\n"
           "Content-Length: 2\r\n\r\n");
    expect(h, 1, HTTP_BUF_START, 0,
           "HTTP/1.1 302  Found here\r\n\r\nServer: nginx\r\nLocation: /next\r\nSet-Cookie: s=1, t=2\r\n"
           "Content-Type: text/html\r\nContent-Length: 2\r\n\r\n");
    expect(h, 1, HTTP_BUF_RESPONSE_HEADER, 0, "Server: nginx");
}

static void response_buffers(void **state)
{
    (void)state;
    struct harness *h = RUN2(plain);
    expect(h, 1, HTTP_BUF_STAT_CODE, 0, "302");
    expect(h, 1, HTTP_BUF_STAT_MSG, 0, "Found here");
    expect(h, 1, HTTP_BUF_RESPONSE_LINE, 0, "HTTP/1.1 302  Found here\r\n");
    expect(h, 1, HTTP_BUF_SERVER, 0, "nginx");
    expect(h, 1, HTTP_BUF_LOCATION, 0, "/next");
    expect(h, 1, HTTP_BUF_COOKIE, 0, "s=1, t=2");
    expect(h, 1, HTTP_BUF_CONTENT_TYPE, 0, "text/html");
    expect(h, 1, HTTP_BUF_PROTOCOL, 0, "HTTP/1.1");
    expect(h, 1, HTTP_BUF_RESPONSE_BODY, 0, "hi");
    expect(h, 1, HTTP_BUF_FILE_DATA, 0, "hi");
    expect(h, 1, HTTP_BUF_URI, 0, NULL);
}

static void odd_headers(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0,
         "GET / HTTP/1.1\r\nHost:\r\n folded.example\r\nX-Long: a\r\n b\r\n\tc\r\nno colon here\r\n: nameless\r\n"
         "X-Empty:\r\nSpace Name : v\r\n\r\n",
         0, 0},
        {1, "HTTP/1.1 200 OK\r\nA: b\r\n C: d\r\nE: f\r\n g\r\nContent-Length: 0\r\n\r\n", 0, 0}};
    struct harness *h = RUN2(steps);
    expect(h, 0, HTTP_BUF_HOST, 0, "folded.example");
    expect(h, 0, HTTP_BUF_HEADER, 0,
           "Host: folded.example\r\nX-Long: a b\tc\r\n: no colon here, nameless\r\nX-Empty: \r\nSpace Name: v\r\n");
    /* In a response a folded "name: value" is a header of its own. */
    expect(h, 1, HTTP_BUF_HEADER, 0, "A: b\r\nC: d\r\nE: f g\r\nContent-Length: 0\r\n");
    assert_true(h->tx[0].events & 1ull << HTTP_EV_REQUEST_FIELD_MISSING_COLON);
    assert_true(h->tx[0].events & 1ull << HTTP_EV_REQUEST_HEADER_INVALID);
    CHECK_SPLITS(steps);
}

static void odd_request_lines(void **state)
{
    (void)state;
    static const struct {
        const char *in, *method, *uri, *proto;
    } cases[] = {
        {"  GET\t /x  HTTP/1.1 \r\n\r\n", "GET", "/x", "HTTP/1.1"},
        {"GET /a b HTTP/1.1\r\n\r\n", "GET", "/a b", "HTTP/1.1"},
        {"GET\t/x\tHTTP/1.0\r\n\r\n", "GET", "/x", "HTTP/1.0"},
        {"FOO /x HTTP/9.9\r\n\r\n", "FOO", "/x", "HTTP/9.9"},
        {"get /x http/1.1\r\n\r\n", "get", "/x", "http/1.1"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct step s[] = {{0, cases[i].in, 0, 0}};
        struct harness *h = RUN2(s);
        expect(h, 0, HTTP_BUF_METHOD, 0, cases[i].method);
        expect(h, 0, HTTP_BUF_URI, 0, cases[i].uri);
        expect(h, 0, HTTP_BUF_PROTOCOL, 0, cases[i].proto);
        CHECK_SPLITS(s);
    }
}

static void trailers_join_headers(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {0, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Late: 1\r\n\r\n", 0, 0}};
    struct harness *h = RUN2(steps);
    expect(h, 0, HTTP_BUF_HEADER, 0, "Transfer-Encoding: chunked\r\nX-Late: 1\r\n");
    expect(h, 0, HTTP_BUF_HEADER_RAW, 0, "Transfer-Encoding: chunked\r\n\r\nX-Late: 1\r\n\r\n");
    expect(h, 0, HTTP_BUF_REQUEST_BODY, 0, "x");
    CHECK_SPLITS(steps);
}

/* ---- accessors ---- */

static void check_accessors(void *arg, struct http_conn *conn, struct http_tx *tx)
{
    struct sk_span s;
    (void)conn;
    ++*(int *)arg;
    assert_int_equal(http_tx_port(tx), 8080);
    assert_int_equal(http_tx_status(tx), 302);
    assert_true(http_header_get(tx, HTTP_TS, "x-forwarded-for", 0, &s));
    assert_true(sk_span_ieq(s, "1.2.3.4, 5.6.7.8"));
    assert_true(http_header_get(tx, HTTP_TS, "X-Forwarded-For", 2, &s));
    assert_true(sk_span_ieq(s, "5.6.7.8"));
    assert_false(http_header_get(tx, HTTP_TS, "X-Forwarded-For", 3, &s));
    assert_false(http_header_get(tx, HTTP_TS, "X-None", 0, &s));
    assert_int_equal(*(uint64_t *)http_tx_user(tx), 0);
    assert_int_equal((uintptr_t)http_tx_user(tx) & 15, 0);
}

static void accessors(void **state)
{
    (void)state;
    int calls = 0;
    struct http_callbacks cb = {.arg = &calls, .on_tx_done = check_accessors};
    struct http_conf conf;
    struct sk_counters counters = {0};
    struct http_ctx *ctx;
    http_conf_defaults(&conf);
    conf.tx_user_size = 100;
    assert_int_equal(http_create(&conf, &cb, &counters, &ctx), SK_OK);
    struct http_conn *conn = http_conn_create(ctx, &calls);
    assert_ptr_equal(http_conn_user(conn), &calls);
    http_input(conn, HTTP_TS, sk_span_str(REQ), 0, 42, NULL);
    struct http_tx *tx = http_tx_first(conn);
    assert_non_null(tx);
    assert_null(http_tx_next(tx));
    assert_int_equal(http_tx_time(tx), 42);
    assert_int_equal(http_tx_progress(tx, HTTP_TS), HTTP_P_COMPLETE);
    assert_int_equal(http_tx_progress(tx, HTTP_TC), HTTP_P_NONE);
    http_input(conn, HTTP_TC, sk_span_str(RESP), 0, 43, NULL);
    assert_int_equal(calls, 1);
    http_conn_free(conn);
    http_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_buffers), cmocka_unit_test(header_buffers),    cmocka_unit_test(response_buffers),
        cmocka_unit_test(odd_headers),     cmocka_unit_test(odd_request_lines), cmocka_unit_test(trailers_join_headers),
        cmocka_unit_test(accessors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
