/* Rules on transactions: buffers that come one after the other, bodies that grow, limits. */
#include "detect_case.h"
#include <stdio.h>

static void several_buffers_over_several_steps(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert http any any -> any any (http.method; content:\"POST\"; http.uri; content:\"/login\"; "
                  "http.request_body; content:\"admin\"; sid:1;)\n"
                  "alert http any any -> any any (http.uri; content:\"/login\"; sid:2;)\n"
                  "alert http any any -> any any (http.uri; content:\"/login\"; http.request_body; content:!\"admin\"; "
                  "sid:3;)\n"
                  "alert http any any -> any any (http.uri; content:!\"/login\"; sid:4;)\n"
                  "alert http any any -> any any (http.stat_code; content:\"200\"; sid:5;)\n");
    struct fake_tx tx = {.id = 7};
    fake_set(&tx, RULE_BUF_HTTP_METHOD, "POST", true);
    fake_set(&tx, RULE_BUF_HTTP_URI, "/login", true);
    case_tx(&k, &tx, TS, false);
    assert_int_equal(fired(&k, 1), 0);
    assert_int_equal(fired(&k, 2), 1);
    fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "user=ad", false);
    case_tx(&k, &tx, TS, false);
    fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "user=admin&x", false);
    case_tx(&k, &tx, TS, false);
    assert_int_equal(fired(&k, 1), 1);
    tx.buf[RULE_BUF_HTTP_REQUEST_BODY].complete = true;
    case_tx(&k, &tx, TS, true);
    fake_set(&tx, RULE_BUF_HTTP_STAT_CODE, "200", true);
    case_tx(&k, &tx, TC, true);
    assert_int_equal(fired(&k, 1), 1); /* once a transaction */
    assert_int_equal(fired(&k, 2), 1);
    assert_int_equal(fired(&k, 3), 0);
    assert_int_equal(fired(&k, 4), 0);
    assert_int_equal(fired(&k, 5), 1);
    detect_tx_release(k.t, &tx.dt);

    struct fake_tx next = {.id = 8};
    fake_set(&next, RULE_BUF_HTTP_METHOD, "GET", true);
    fake_set(&next, RULE_BUF_HTTP_URI, "/other", true);
    next.buf[RULE_BUF_HTTP_REQUEST_BODY].have = DETECT_ABSENT;
    case_tx(&k, &next, TS, true);
    assert_int_equal(fired(&k, 2), 1);
    assert_int_equal(fired(&k, 4), 1);
    detect_tx_release(k.t, &next.dt);
    case_close(&k);
}

static void absent_buffer_fails_the_rule(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert http any any -> any any (http.uri; content:\"/a\"; http.cookie; content:!\"x\"; sid:1;)\n");
    struct fake_tx tx = {0};
    fake_set(&tx, RULE_BUF_HTTP_URI, "/a", true);
    tx.buf[RULE_BUF_HTTP_COOKIE].have = DETECT_ABSENT;
    case_tx(&k, &tx, TS, true);
    assert_int_equal(k.nfired, 0);
    detect_tx_release(k.t, &tx.dt);
    case_close(&k);
}

static void transforms_before_the_search(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert http any any -> any any (http.uri; strip_whitespace; content:\"unionselect\"; sid:1;)\n"
                  "alert http any any -> any any (http.uri; to_lowercase; content:\"union select\"; sid:2;)\n"
                  "alert http any any -> any any (http.uri; content:\"unionselect\"; sid:3;)\n"
                  "alert http any any -> any any (http.request_body; to_md5; content:\"|90 01 50 98|\"; depth:4; "
                  "sid:4;)\n");
    struct fake_tx tx = {0};
    fake_set(&tx, RULE_BUF_HTTP_URI, "/?UNION SELECT union select", true);
    fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "ab", false);
    case_tx(&k, &tx, TS, false);
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 1);
    assert_int_equal(fired(&k, 3), 0);
    assert_int_equal(fired(&k, 4), 0);
    fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "abc", true);
    case_tx(&k, &tx, TS, true);
    assert_int_equal(fired(&k, 4), 1); /* MD5("abc") begins 90015098: of the whole, not of a part */
    detect_tx_release(k.t, &tx.dt);
    case_close(&k);
}

static void pattern_across_the_pieces_of_a_body(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert http any any -> any any (http.request_body; content:\"straddling\"; sid:1;)\n"
                  "alert http any any -> any any (file.data; content:\"straddling\"; sid:2;)\n");
    static char body[9000];
    for (uint32_t at = DETECT_CHUNK - 12; at < DETECT_CHUNK + 3; at++) {
        memset(body, '.', sizeof body);
        memcpy(body + at, "straddling", 10);
        struct fake_tx tx = {.id = at};
        fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "", false);
        unsigned before = fired(&k, 1);
        for (uint32_t n = 1; n < sizeof body; n += 853) {
            tx.buf[RULE_BUF_HTTP_REQUEST_BODY].data = sk_span_of(body, n);
            case_tx(&k, &tx, TS, false);
        }
        case_tx(&k, &tx, TS, true);
        assert_int_equal(fired(&k, 1), before + 1);
        detect_tx_release(k.t, &tx.dt);
    }
    struct fake_tx tx = {0}; /* the last bytes of a body that is never called complete */
    fake_set(&tx, RULE_BUF_FILE_DATA, "a short straddling tail", false);
    case_tx(&k, &tx, TC, false);
    assert_int_equal(fired(&k, 2), 0);
    case_tx(&k, &tx, TC, true);
    assert_int_equal(fired(&k, 2), 1);
    detect_tx_release(k.t, &tx.dt);
    case_close(&k);
}

/* A body sent byte by byte must not be searched from its start each time. */
static void work_on_a_growing_body_is_bounded(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert http any any -> any any (http.uri; content:\"/upload\"; http.request_body; content:\"never\"; "
                  "sid:1;)\n");
    static char body[20000];
    memset(body, 'n', sizeof body);
    struct fake_tx tx = {0};
    fake_set(&tx, RULE_BUF_HTTP_URI, "/upload", true);
    fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "", false);
    for (uint32_t n = 1; n < sizeof body; n++) {
        tx.buf[RULE_BUF_HTTP_REQUEST_BODY].data = sk_span_of(body, n);
        case_tx(&k, &tx, TS, false);
    }
    uint64_t tries = tx.buf[RULE_BUF_HTTP_REQUEST_BODY].asked - sizeof body; /* beyond one look at its length each */
    assert_true(tries < 100);
    memcpy(body + sizeof body - 5, "never", 5);
    tx.buf[RULE_BUF_HTTP_REQUEST_BODY] = (struct fake_buf){sk_span_of(body, sizeof body), DETECT_READY, true, 0};
    case_tx(&k, &tx, TS, true);
    assert_int_equal(fired(&k, 1), 1);
    detect_tx_release(k.t, &tx.dt);
    case_close(&k);
}

/* Thousands of rules under way in one transaction, in both directions, one by one decided. */
static void many_rules_under_way(void **state)
{
    (void)state;
    enum { N = 3000 };
    char *text = malloc(N * 300), *body = malloc(N * 12);
    assert_non_null(text);
    assert_non_null(body);
    size_t n = 0, m = 0;
    for (int i = 0; i < N; i++) {
        n += (size_t)snprintf(text + n, N * 300 - n,
                              "alert http any any -> any any (http.request_body; content:\"<%d>\"; http.request_body; "
                              "content:\"[%d]\"; sid:%d;)\n",
                              i, i, i + 1);
        m += (size_t)snprintf(body + m, N * 12 - m, "<%d>", i);
    }
    const struct detect_thread_conf conf = {.max_alerts = 64, .window_memcap = 1 << 20, .max_tx_nodes = N};
    struct tcase k;
    case_open_conf(&k, text, NULL, &conf);
    struct fake_tx tx = {0};
    fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "", false);
    for (size_t at = m / 50; at < m; at += m / 50) {
        tx.buf[RULE_BUF_HTTP_REQUEST_BODY].data = sk_span_of(body, (uint32_t)at);
        case_tx(&k, &tx, TS, false);
    }
    snprintf(body + m, N * 12 - m, "[0] [17] [2999]");
    tx.buf[RULE_BUF_HTTP_REQUEST_BODY].data = sk_span_str(body);
    case_tx(&k, &tx, TS, true);
    assert_int_equal(k.nfired, 3);
    assert_int_equal(fired(&k, 1) + fired(&k, 18) + fired(&k, 3000), 3);
    assert_int_equal(counted(&k, SK_C_DETECT_TX_FULL), 0);
    detect_tx_release(k.t, &tx.dt);
    case_close(&k);
    free(text);
    free(body);
}

static void node_pool_is_a_limit(void **state)
{
    (void)state;
    const struct detect_thread_conf conf = {.max_alerts = 15, .window_memcap = 1 << 20, .max_tx_nodes = 2};
    struct tcase k;
    case_open_conf(
        &k,
        "alert http any any -> any any (http.uri; content:\"/a\"; http.request_body; content:\"1\"; sid:1;)\n"
        "alert http any any -> any any (http.uri; content:\"/a\"; http.request_body; content:\"2\"; sid:2;)\n"
        "alert http any any -> any any (http.uri; content:\"/a\"; http.request_body; content:\"3\"; sid:3;)\n",
        NULL, &conf);
    for (int round = 0; round < 3; round++) { /* nodes come back */
        struct fake_tx tx = {.id = (uint64_t)round};
        fake_set(&tx, RULE_BUF_HTTP_URI, "/a", true);
        case_tx(&k, &tx, TS, false);
        fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "1 2 3", true);
        case_tx(&k, &tx, TS, true);
        detect_tx_release(k.t, &tx.dt);
        assert_int_equal(k.nfired, 2 * (round + 1));
        assert_int_equal(counted(&k, SK_C_DETECT_TX_FULL), round + 1);
    }
    /* decided at once: needs no memory */
    struct fake_tx a = {.id = 10}, b = {.id = 11};
    fake_set(&a, RULE_BUF_HTTP_URI, "/a", true);
    case_tx(&k, &a, TS, false);
    fake_set(&b, RULE_BUF_HTTP_URI, "/a", true);
    fake_set(&b, RULE_BUF_HTTP_REQUEST_BODY, "1 2 3", true);
    unsigned before = k.nfired;
    case_tx(&k, &b, TS, true);
    assert_int_equal(k.nfired, before + 3);
    detect_tx_release(k.t, &a.dt);
    detect_tx_release(k.t, &b.dt);
    case_close(&k);
}

static void variables_across_buffers(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k,
              "alert http any any -> any any (http.request_body; content:\"L\"; byte_extract:1,0,len,relative,string,"
              "dec; content:\"X\"; distance:len; within:1; sid:1;)\n");
    struct fake_tx tx = {0};
    fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "L3abc", false);
    case_tx(&k, &tx, TS, false);
    fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "L3abcX", true);
    case_tx(&k, &tx, TS, true);
    assert_int_equal(fired(&k, 1), 1);
    detect_tx_release(k.t, &tx.dt);
    case_close(&k);
}

/* A reload in a transaction: nodes with old ranks go, the new rules see what is there. */
static void reload_in_a_transaction(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k,
              "alert http any any -> any any (http.uri; content:\"/a\"; http.request_body; content:\"old\"; sid:1;)\n"
              "alert http any any -> any any (http.uri; content:\"/a\"; http.request_body; content:\"older\"; "
              "sid:2;)\n");
    struct fake_tx tx = {0};
    fake_set(&tx, RULE_BUF_HTTP_URI, "/a", true);
    case_tx(&k, &tx, TS, false);
    case_reload(&k, "alert http any any -> any any (http.uri; content:\"/a\"; http.request_body; content:\"new\"; "
                    "sid:3;)\n");
    fake_set(&tx, RULE_BUF_HTTP_REQUEST_BODY, "old new", true);
    case_tx(&k, &tx, TS, true);
    assert_int_equal(fired(&k, 1), 0);
    assert_int_equal(fired(&k, 3), 1);
    detect_tx_release(k.t, &tx.dt);
    assert_int_equal(counted(&k, SK_C_DETECT_TX_FULL), 0);
    case_close(&k);
}

static void payload_and_buffer_in_one_rule(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"RAW\"; http.uri; content:\"/a\"; sid:1;)\n");
    struct fake_tx tx = {0};
    case_text(&k, TS, "GET /a RAW");
    fake_set(&tx, RULE_BUF_HTTP_URI, "/a", true);
    case_tx(&k, &tx, TS, true);
    assert_int_equal(fired(&k, 1), 1);
    detect_tx_release(k.t, &tx.dt);
    case_close(&k);
}

/* A hundred different transforms: those beyond the table of scanned buffers run without prefilter. */
static void more_buffers_than_slots(void **state)
{
    (void)state;
    static const char *const xf[] = {"strip_whitespace", "compress_whitespace", "to_lowercase", "to_uppercase",
                                     "url_decode"};
    static char text[40000];
    size_t n = 0;
    for (int i = 0; i < 125; i++)
        n += (size_t)snprintf(
            text + n, sizeof text - n,
            "alert http any any -> any any (http.uri; %s; %s; %s; content:\"ab12\"; nocase; sid:%d;)\n", xf[i % 5],
            xf[i / 5 % 5], xf[i / 25], i + 1);
    const struct detect_thread_conf conf = {.max_alerts = 64, .window_memcap = 1 << 20, .max_tx_nodes = 256};
    struct tcase k;
    case_open_conf(&k, text, NULL, &conf);
    struct detect_stats st;
    detect_set_stats(k.rules.set, &st);
    assert_int_equal(st.rules, 125);
    assert_int_equal(st.slow, 125 - 64);
    struct fake_tx tx = {0};
    fake_set(&tx, RULE_BUF_HTTP_URI, "/aB12", true);
    case_tx(&k, &tx, TS, true);
    assert_int_equal(k.nfired, 64); /* the queue's maximum; all others counted */
    assert_int_equal(counted(&k, SK_C_DETECT_ALERT_OVERFLOW), 125 - 64);
    detect_tx_release(k.t, &tx.dt);
    case_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_buffers_over_several_steps),
        cmocka_unit_test(absent_buffer_fails_the_rule),
        cmocka_unit_test(transforms_before_the_search),
        cmocka_unit_test(pattern_across_the_pieces_of_a_body),
        cmocka_unit_test(work_on_a_growing_body_is_bounded),
        cmocka_unit_test(many_rules_under_way),
        cmocka_unit_test(node_pool_is_a_limit),
        cmocka_unit_test(variables_across_buffers),
        cmocka_unit_test(reload_in_a_transaction),
        cmocka_unit_test(payload_and_buffer_in_one_rule),
        cmocka_unit_test(more_buffers_than_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
