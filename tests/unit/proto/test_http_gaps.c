/* Holes in the stream: what comes behind them is inspected again, and believed only when the peers have shown it. */
#include "http_harness.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK200     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct harness *fresh(void)
{
    static struct harness h;
    free(h.log);
    h_init(&h);
    h_begin(&h);
    return &h;
}

static void feed(struct harness *h, int dir, const char *s)
{
    h_feed(h, dir, s, (uint32_t)strlen(s), 0);
}

static void hole(struct harness *h, int dir)
{
    h_feed(h, dir, NULL, 100, HTTP_F_GAP);
}

static void exchange(struct harness *h, const char *request)
{
    feed(h, 0, request);
    feed(h, 1, OK200);
}

static const struct seen *find(const struct harness *h, const char *url)
{
    const struct seen *found = NULL;
    for (unsigned i = 0; i < h->ndone && i < 64; i++) {
        if (strcmp(h->tx[i].url, url) != 0)
            continue;
        if (found)
            fail_msg("%s is there twice", url);
        found = &h->tx[i];
    }
    return found;
}

static uint64_t count(const struct harness *h, enum sk_counter c)
{
    return sk_count_read(&h->counters, c);
}

/* --- one segment is missing --- */

/* Request n asks for /n and is answered with status 200 + n. */
static const struct piece {
    int dir;
    int n; /* a request begins here */
    const char *data;
} talk[] = {
    {0, 0, GET("/0")},
    {1, -1, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234"},
    {1, -1, "56789"},
    {0, 1, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"},
    {0, -1, "abcde"},
    {0, -1, "fghij"},
    {1, -1, "HTTP/1.1 201 OK\r\nServer: s\r\n"},
    {1, -1, "Content-Length: 2\r\n\r\nok"},
    {0, 2, "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {0, -1, "5\r\nab"},
    {0, -1, "cde\r\n"},
    {0, -1, "3\r\nfgh\r\n0\r\n"},
    {0, -1, "\r\n"},
    {1, -1, "HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwx"},
    {1, -1, "yz\r\n"},
    {1, -1, "0\r\n\r\n"},
    {0, 3, "HEAD /3 HTTP/1.1\r\nHost: h\r\n\r\n"},
    {1, -1, "HTTP/1.1 203 OK\r\nContent-Length: 500\r\n\r\n"},
    {0, 4, "GET /4 HTTP/1.1\r\nHost: h\r\nCookie: a long"},
    {0, -1, " one\r\n\r\n"},
    {1, -1, "HTTP/1.1 204 None\r\n\r\n"},
    {0, 5, "PUT /5 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"},
    {1, -1, "HTTP/1.1 100 Continue\r\n\r\n"},
    {0, -1, "hello"},
    {1, -1, "HTTP/1.1 205 OK\r\nContent-Length: 0\r\n\r\n"},
    {0, 6, GET("/6")},
    {1, -1, "HTTP/1.1 206 OK\r\nContent-Length: 2\r\n\r\nok"},
    {0, 7, GET("/7")},
    {1, -1, "HTTP/1.1 207 OK\r\nContent-Length: 2\r\n\r\nok"},
};
#define NTALK (sizeof talk / sizeof *talk)

static void check_later(const struct harness *h, unsigned from, unsigned to)
{
    for (unsigned i = to + 1; i < NTALK; i++) {
        char url[16], status[16];
        if (talk[i].n < 0)
            continue;
        snprintf(url, sizeof url, "/%d", talk[i].n);
        snprintf(status, sizeof status, "%d", 200 + talk[i].n);
        const struct seen *s = find(h, url);
        if (s == NULL || strcmp(s->status, status) != 0)
            fail_msg("without %u to %u: %s has status '%s'", from, to, url, s ? s->status : "(not seen)");
    }
}

static void any_segments_missing(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 4; n++) {
        for (unsigned from = 0; from + n <= NTALK; from++) {
            struct harness *h = fresh();
            for (unsigned i = 0; i < NTALK; i++) {
                if (i >= from && i < from + n)
                    h_feed(h, talk[i].dir, NULL, (uint32_t)strlen(talk[i].data), HTTP_F_GAP);
                else
                    feed(h, talk[i].dir, talk[i].data);
            }
            assert_int_equal(h->result, HTTP_R_OK);
            assert_int_equal(count(h, SK_C_HTTP_PARSE_ERR), 0);
            h_end(h);
            check_later(h, from, from + n - 1);
        }
    }
}

/* The hole was found late: between requests and responses of other exchanges. */
static void hole_between_messages(void **state)
{
    (void)state;
    struct harness *h = fresh();
    exchange(h, GET("/1"));
    hole(h, 0);
    feed(h, 1, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(h->ndone, 2);
    assert_string_equal(h->tx[1].url, "/libhtp::request_uri_not_seen");
    assert_string_equal(h->tx[1].status, "404");
    exchange(h, GET("/3"));
    h_end(h);
    assert_int_equal(h->ndone, 3);
    assert_string_equal(find(h, "/3")->status, "200");
    assert_int_equal(count(h, SK_C_HTTP_LOST), 1);
    assert_int_equal(count(h, SK_C_HTTP_RESYNC), 1);
}

/* What was there of the transaction is told. */
static void what_is_cut_is_told(void **state)
{
    (void)state;
    struct harness *h = fresh();
    feed(h, 0, "GET /cut HTTP/1.1\r\nHost: x\r\nUser-Ag");
    hole(h, 0);
    assert_int_equal(h->nheaders[0], 1);
    assert_int_equal(h->ncomplete[0], 1);
    feed(h, 1, "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Le");
    hole(h, 1);
    assert_int_equal(h->nheaders[1], 1);
    assert_int_equal(h->ndone, 1);
    assert_string_equal(h->tx[0].url, "/cut");
    assert_string_equal(h->tx[0].host, "x");
    assert_string_equal(h->tx[0].status, "200");
    h_end(h);

    h = fresh();
    h->log_bufs = true;
    feed(h, 0, "POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    hole(h, 0);
    exchange(h, GET("/next"));
    h_end(h);
    assert_string_equal(find(h, "/up")->body[0], "hello");
    assert_non_null(strstr(h->log, "truncated gaps /up\n"));
    assert_string_equal(find(h, "/next")->status, "200");
}

/* A request line that a hole has cut is not one of HTTP/0.9, whose answer would be all that follows. */
static void cut_line(void **state)
{
    (void)state;
    struct harness *h = fresh();
    feed(h, 0, "GET /");
    hole(h, 0);
    feed(h, 1, OK200);
    exchange(h, GET("/2"));
    h_end(h);
    assert_int_equal(h->ndone, 2);
    assert_int_equal(h->tx[0].events, 0);
    assert_string_equal(h->tx[0].status, "200");
    assert_string_equal(h->tx[1].status, "200");
}

/* --- what begins like a message --- */

static void strict_starts(void **state)
{
    (void)state;
    static const char *const requests[] = {"G",
                                           "GET / HTTP/1.1",
                                           "GET / HTTP/1.1\n\n",
                                           "get / HTTP/1.1\r\n\r\n",
                                           "FETCH / HTTP/1.1\r\n\r\n",
                                           "GET  / HTTP/1.1\r\n\r\n",
                                           "GET / x HTTP/1.1\r\n\r\n",
                                           "GET /\r\n\r\n",
                                           "GET / HTTP/2.0\r\n\r\n",
                                           "\r\nGET / HTTP/1.1\r\n\r\n",
                                           "xGET / HTTP/1.1\r\n\r\n",
                                           "CONNECT h:443 HTTP/1.1\r\n\r\n",
                                           "some text\r\nGET / HTTP/1.1\r\n\r\n"};
    for (unsigned i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct harness *h = fresh();
        hole(h, 0);
        feed(h, 0, requests[i]);
        assert_int_equal(count(h, SK_C_HTTP_TX), 0);
        assert_int_equal(http_conn_missed(h->conn), HTTP_MISSED_GAP);
        exchange(h, GET("/"));
        h_end(h);
        assert_int_equal(h->ndone, 1);
    }
    static const char *const responses[] = {"HTTP/1.1 20",
                                            "HTTP/1.1 2000 OK\r\n\r\n",
                                            "http/1.1 200 OK\r\n\r\n",
                                            "HTTP/1.1 100 Continue\r\n\r\n",
                                            "HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n",
                                            "\nHTTP/1.1 200 OK\r\n\r\n"};
    for (unsigned i = 0; i < sizeof responses / sizeof *responses; i++) {
        struct harness *h = fresh();
        hole(h, 1);
        feed(h, 1, responses[i]);
        assert_int_equal(count(h, SK_C_HTTP_TX), 0);
        assert_int_equal(http_conn_missed(h->conn), HTTP_MISSED_GAP);
        exchange(h, GET("/"));
        h_end(h);
        assert_int_equal(h->ndone, 1);
        assert_string_equal(h->tx[0].status, "200");
    }
}

/* --- somebody makes his body look like requests --- */

/* Nothing that he writes there keeps the next request from being seen, with its answer. */
static void forged_requests_swallow_nothing(void **state)
{
    (void)state;
    static const char *const forged[] = {
        "POST /f HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n",
        "POST /f HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
        "POST /f HTTP/1.1\r\nTransfer-Encoding: nonsense\r\n\r\n",
        "GET /f HTTP/1.1\r\nHost: no end",
        "HEAD /f HTTP/1.1\r\n\r\n",
        "GET /f HTTP/1.1\r\n\r\nGET /old\r\n",
        "GET /f HTTP/1.1\r\n\r\nCONNECT x:1 HTTP/1.1\r\n\r\n",
        "PUT /f HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n",
        GET("/f") GET("/f2") GET("/f3"),
    };
    for (unsigned i = 0; i < sizeof forged / sizeof *forged; i++) {
        struct harness *h = fresh();
        hole(h, 0);
        feed(h, 0, forged[i]);
        feed(h, 0, "and so on\r\n");
        feed(h, 1, OK200);
        exchange(h, GET("/next"));
        exchange(h, GET("/after"));
        assert_int_equal(h->result, HTTP_R_OK);
        h_end(h);
        assert_non_null(find(h, "/next"));
        assert_non_null(find(h, "/after"));
        assert_string_equal(find(h, "/after")->status, "200");
    }
}

static void forged_responses_swallow_nothing(void **state)
{
    (void)state;
    static const char *const forged[] = {"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
                                         "HTTP/1.1 200 OK\r\n\r\n",
                                         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
                                         "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n"};
    for (unsigned i = 0; i < sizeof forged / sizeof *forged; i++) {
        struct harness *h = fresh();
        feed(h, 0, GET("/1"));
        hole(h, 1);
        feed(h, 1, forged[i]);
        exchange(h, GET("/2"));
        exchange(h, GET("/3"));
        assert_int_equal(h->result, HTTP_R_OK);
        h_end(h);
        assert_string_equal(find(h, "/3")->status, "200");
    }
}

/* As many as anybody likes: bounded, and over when the server answers. */
static void many_forged_requests(void **state)
{
    (void)state;
    static struct harness h;
    h_init(&h);
    h.conf.max_tx = 10;
    h_begin(&h);
    hole(&h, 0);
    for (unsigned i = 0; i < 1000; i++)
        feed(&h, 0, GET("/f"));
    unsigned n = 0;
    for (struct http_tx *tx = http_tx_first(h.conn); tx; tx = http_tx_next(tx))
        n++;
    assert_int_equal(n, 10);
    feed(&h, 1, OK200);
    h.ndone = 0;
    exchange(&h, GET("/next"));
    assert_string_equal(find(&h, "/next")->status, "200");
    h_end(&h);
    free(h.log);
}

/* --- doubt --- */

static bool doubt_after(const char *const *steps)
{
    struct harness *h = fresh();
    exchange(h, GET("/0"));
    assert_false(http_conn_in_doubt(h->conn));
    for (; *steps; steps++) {
        if (**steps == '?')
            assert_true(http_conn_in_doubt(h->conn));
        else if (strcmp(*steps, "<hole") == 0 || strcmp(*steps, ">hole") == 0)
            hole(h, **steps == '<');
        else
            feed(h, **steps == '<', *steps + 1);
    }
    bool in_doubt = http_conn_in_doubt(h->conn);
    h_end(h);
    return in_doubt;
}
#define DOUBT(...) doubt_after((const char *const[]){__VA_ARGS__, NULL})
#define EARLY      "<HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"
#define POST       ">POST /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"

static void doubt_ends(void **state)
{
    (void)state;
    /* the request was in the hole; its answer; the next one, and its */
    assert_false(DOUBT(">hole", "?", "<" OK200, "?", ">" GET("/1"), "?", "<" OK200));
    assert_false(DOUBT(">hole", "?", "<" OK200, "?", POST, "?", "<" OK200));
    /* its head was cut, or there was nothing more in the hole */
    assert_false(DOUBT(">GET / HTTP/1.1\r\nA: ", ">hole", "<" OK200, "?", ">" GET("/1"), "<" OK200));
    assert_false(DOUBT(">hole", ">" GET("/1"), "<" OK200, "?", ">" GET("/2"), "?", "<" OK200));
    /* in pieces */
    assert_false(DOUBT(">hole", "<" OK200, ">GET /1 HTTP/1.1\r\nHo", ">st: h\r\n\r\n", "?", "<" OK200));
    /* responses alone were lost */
    assert_false(DOUBT(">" GET("/1"), "<hole", "?", ">" GET("/2"), "?", "<" OK200));
    /* a hole in a body of known length */
    assert_false(DOUBT(">POST /p HTTP/1.1\r\nContent-Length: 103\r\n\r\nabc", ">hole", "<" OK200));
}

static void doubt_stays(void **state)
{
    (void)state;
    /* The answer came early, and the body that goes on looks like requests. */
    assert_true(DOUBT(">hole", EARLY, ">" GET("/f"), ">" GET("/f")));
    assert_true(DOUBT(">hole", ">" GET("/f"), EARLY, ">" GET("/f")));
    assert_true(DOUBT(">hole", EARLY, ">" GET("/f"), ">rest" GET("/1"), "<" OK200));
    assert_true(DOUBT(">hole", EARLY, ">POST /f HTTP/1.1\r\nContent-Length: 99\r\n\r\n", ">" GET("/1"), "<" OK200));
    /* Part of the head that follows is in it. */
    assert_true(DOUBT(">hole", EARLY, ">GET /f HTTP/1.1\r\nA: b", ">POST / HTTP/1.1\r\nB: c\r\n\r\n", "<" OK200));
    assert_true(DOUBT(">hole", EARLY, ">GET /f HTTP/1.1\r\nA: bPOST / HTTP/1.1\r\nB: c\r\n\r\n", "<" OK200));
    assert_true(DOUBT(">hole", EARLY, ">rest", ">" GET("/1"), "<" OK200));
    /* An interim answer is none. */
    assert_true(DOUBT(">hole", "<HTTP/1.1 103 Early Hints\r\n\r\n", ">" GET("/f"), "<" OK200));
    /* The length may have been that of an answer to HEAD. */
    assert_true(DOUBT(">hole", "<HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", ">" GET("/1"), "<" OK200,
                      ">" GET("/2"), "<" OK200, ">" GET("/3"), "<" OK200));
    assert_true(
        DOUBT(">hole", ">HEAD /f HTTP/1.1\r\n\r\n", "<" OK200, ">" GET("/1"), "<" OK200, ">" GET("/2"), "<" OK200));
    assert_true(DOUBT(">hole", "<HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", ">" GET("/1"), "<HTTP", ">" GET("/2"),
                      "<" OK200, ">" GET("/3"), "<" OK200, ">" GET("/4"), "<" OK200));
    /* Another hole meanwhile. */
    assert_true(DOUBT(">hole", "<" OK200, ">hole", ">" GET("/1"), "<" OK200));
    /* Responses, too, are lost: for good. */
    assert_true(DOUBT(">hole", "<hole", ">" GET("/1"), "<" OK200, ">" GET("/2"), "<" OK200, ">" GET("/3"), "<" OK200));
    assert_true(DOUBT("<hole", ">hole", ">" GET("/1"), "<" OK200, ">" GET("/2"), "<" OK200, ">" GET("/3"), "<" OK200));
    assert_true(DOUBT(">hole", "<" OK200 OK200, ">" GET("/1"), "<" OK200, ">" GET("/2"), "<" OK200));
    /* A body that was refused and may come all the same. */
    assert_true(DOUBT(">PUT /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n",
                      "<HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", ">" GET("/f"), ">" GET("/f")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_segments_missing),
        cmocka_unit_test(hole_between_messages),
        cmocka_unit_test(what_is_cut_is_told),
        cmocka_unit_test(cut_line),
        cmocka_unit_test(strict_starts),
        cmocka_unit_test(forged_requests_swallow_nothing),
        cmocka_unit_test(forged_responses_swallow_nothing),
        cmocka_unit_test(many_forged_requests),
        cmocka_unit_test(doubt_ends),
        cmocka_unit_test(doubt_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
