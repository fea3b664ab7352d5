/* Single header lines, and requests that two readers may frame differently: what client identity rests on. */
#include "http_harness.h"

#define LINES 4 /* asked for */

/* The harness's log of each line of X-Forwarded-For: "value" or "value!" when it is odd; and what is said of the
 * request. */
struct lines {
    char text[512];
    unsigned n;
    bool misframed;
};
static struct lines got;

static void on_progress(void *arg, struct http_conn *conn, struct http_tx *tx, int dir, enum http_progress p)
{
    (void)arg, (void)conn;
    if (dir != HTTP_TS || p != HTTP_P_COMPLETE)
        return;
    struct http_header_line lines[LINES];
    size_t at = 0;
    got = (struct lines){.misframed = http_tx_misframed(tx)};
    got.n = http_tx_header_lines(tx, HTTP_TS, "x-forwarded-for", lines, LINES);
    assert_true(got.n <= LINES);
    for (unsigned i = 0; i < got.n; i++)
        at += (size_t)snprintf(got.text + at, sizeof got.text - at, "%s%.*s%s", i ? "|" : "", (int)lines[i].value.len,
                               lines[i].value.len ? (const char *)lines[i].value.p : "", lines[i].odd ? "!" : "");
}

static void on_done(void *arg, struct http_conn *conn, struct http_tx *tx)
{
    (void)arg, (void)conn, (void)tx;
}

static void feed(const char *text, uint32_t len)
{
    struct harness h;
    h_init(&h);
    struct http_callbacks cb = {.on_progress = on_progress, .on_tx_done = on_done};
    got = (struct lines){.n = 99};
    assert_int_equal(http_create(&h.conf, &cb, &h.counters, &h.ctx), SK_OK);
    h.conn = http_conn_create(h.ctx, NULL);
    assert_non_null(h.conn);
    h_feed(&h, HTTP_TS, text, len, 0);
    h_end(&h);
}

#define HEAD "GET / HTTP/1.1\r\nHost: h\r\n"
static void assert_lines(const char *lines, const char *want)
{
    char text[1024];
    int n = snprintf(text, sizeof text, HEAD "%s\r\n", lines);
    feed(text, (uint32_t)n);
    assert_string_equal(got.text, want);
    assert_false(got.misframed);
}

static void lines_come_in_the_order_sent(void **state)
{
    (void)state;
    assert_lines("", "");
    assert_lines("X-Forwarded-For: a\r\n", "a");
    assert_lines("X-Forwarded-For: a\r\nA: b\r\nx-forwarded-FOR:  c \r\nX-Forwarded-For:\r\n", "a|c|");
    assert_lines("X_Forwarded_For: a\r\nX-Forwarded-Fo: b\r\nX-Forwarded-Forr: c\r\n", ""); /* other names */
}

static void lines_that_others_may_read_differently_are_odd(void **state)
{
    (void)state;
    assert_lines("X-Forwarded-For : a\r\n", "a!");
    assert_lines("X-Forwarded-For\t: a\r\n", "a!");
    assert_lines("X-Forwarded-For: a\r\n b\r\nX-Forwarded-For: c\r\n", "a b!|c");
    assert_lines("X-Forwarded-For: a\rb\r\n", "a\rb!");
    static const char nul[] = HEAD "X-Forwarded-For: a\0b\r\n\r\n";
    feed(nul, sizeof nul - 1);
    assert_int_equal(got.n, 1);
    assert_memory_equal(got.text, "a", 1);
    assert_true(strchr(got.text, '!') != NULL || memchr(got.text, '!', 8) != NULL);
}

/* n lines of the header, numbered, and then an odd one if so wanted. */
static void feed_many(unsigned n, bool odd)
{
    static char text[64000];
    size_t at = (size_t)snprintf(text, sizeof text, HEAD);
    for (unsigned i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "X-Forwarded-For: %u\r\nX-Other: %u\r\n", i, i);
    at += (size_t)snprintf(text + at, sizeof text - at, "%s\r\n", odd ? "X-Forwarded-For : x\r\n" : "");
    feed(text, (uint32_t)at);
}

/* The last ones are those that a hop has written; they are there however many the client sends before. */
static void the_last_lines_are_kept(void **state)
{
    (void)state;
    feed_many(LINES + 1, false);
    assert_string_equal(got.text, "1|2|3|4");
    feed_many(LINES, true);
    assert_string_equal(got.text, "1|2|3|x!");
    feed_many(HTTP_MAX_REPEATS * 2, false);
    assert_string_equal(got.text, "124|125|126|127");
    feed_many(HTTP_MAX_REPEATS * 2, true);
    assert_string_equal(got.text, "125|126|127|x!");
    feed_many(HTTP_MAX_HEADERS + 10, false);
    assert_int_equal(got.n, LINES);
    assert_string_equal(got.text + strlen(got.text) - 2, "|!"); /* for those beyond what is kept */
}

static void assert_framing(const char *lines, bool misframed)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: h\r\n%s", lines);
    feed(text, (uint32_t)n);
    assert_int_equal(got.misframed, misframed);
}

static void misframed_requests_are_told(void **state)
{
    (void)state;
    assert_framing("\r\n", false);
    assert_framing("Content-Length: 3\r\n\r\nabc", false);
    assert_framing("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false);
    assert_framing("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true);
    assert_framing("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", true);
    assert_framing("Content-Length: 3\r\nContent-Length: 0\r\n\r\nabc", true);
    assert_framing("Content-Length : 3\r\n\r\nabc", true);
    assert_framing("Content-Length: 3\r\n 0\r\n\r\nabc", true);
    assert_framing("Transfer-Encoding: xchunked\r\n\r\n", true);
    assert_framing("Transfer-Encoding: gzip, chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true);
    assert_framing("Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", true);
    assert_framing("Transfer-Encoding: chunked\r\n\r\n3x\r\nabc\r\n0\r\n\r\n", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_in_the_order_sent),
        cmocka_unit_test(lines_that_others_may_read_differently_are_odd),
        cmocka_unit_test(the_last_lines_are_kept),
        cmocka_unit_test(misframed_requests_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
