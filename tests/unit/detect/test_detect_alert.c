/* What becomes of matches: order, pass and drop, thresholds, suppression, limits. */
#include "detect_case.h"
#include <pthread.h>
#include <stdio.h>

#define HIT(k) case_packet(k, TS, "hit")

static void at(struct tcase *k, int64_t s)
{
    k->in.now = (1000 + s) * SK_NS_PER_S;
}

static void open_udp(struct tcase *k, const char *rules, const char *thresholds)
{
    const struct detect_thread_conf conf = {.max_alerts = 15, .window_memcap = 1 << 20, .max_tx_nodes = 64};
    case_open_conf(k, rules, thresholds, &conf);
    k->in.proto = IPPROTO_UDP;
}

static void alerts_in_rank_order(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "alert udp any any -> any any (content:\"hit\"; priority:3; sid:1;)\n"
             "alert udp any any -> any any (content:\"hit\"; priority:1; sid:2;)\n"
             "reject udp any any -> any any (content:\"hit\"; sid:3;)\n"
             "drop udp any any -> any any (content:\"hit\"; sid:4;)\n"
             "alert udp any any -> any any (content:\"hit\"; priority:1; sid:5;)\n",
             NULL);
    HIT(&k);
    const uint32_t want[] = {4, 3, 2, 5, 1};
    assert_int_equal(k.nfired, 5);
    assert_memory_equal(k.fired, want, sizeof want);
    assert_true(k.drop);
    case_close(&k);
}

static void pass_takes_the_packet(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "alert udp any any -> any any (content:\"hit\"; sid:1;)\n"
             "drop udp any any -> any any (content:\"hit\"; sid:2;)\n"
             "pass udp any any -> any any (content:\"friend\"; sid:3;)\n",
             NULL);
    case_packet(&k, TS, "hit friend");
    assert_int_equal(k.nfired, 0);
    assert_false(k.drop);
    HIT(&k); /* a packet of the same flow that has no such excuse */
    assert_int_equal(k.nfired, 2);
    assert_true(k.drop);
    case_close(&k);
}

static void pass_takes_the_flow(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"hit\"; sid:1;)\n"
                  "pass tcp any any -> any any (content:\"friend\"; sid:2;)\n"
                  "pass ip 192.0.2.9 any -> any any (sid:3;)\n");
    case_text(&k, TS, "friend ");
    case_text(&k, TS, "hit");
    case_text(&k, TC, "hit");
    assert_int_equal(k.nfired, 0);
    assert_false(detect_wants_stream(&k.df, TS));
    case_new_flow(&k);
    case_text(&k, TS, "hit");
    assert_int_equal(k.nfired, 1);
    case_new_flow(&k);
    k.client = case_addr("192.0.2.9"); /* by address alone */
    case_text(&k, TS, "hit");
    case_text(&k, TS, "hit");
    assert_int_equal(k.nfired, 1);
    case_close(&k);
}

/* A rule about the flow takes the flow; a match in a packet outside a stream takes that packet. */
static void actions_have_a_scope(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "drop tcp any any -> any any (content:\"evil\"; sid:1;)\n"
                  "drop tcp any any -> any any (dsize:3; sid:2;)\n"
                  "drop tcp 192.0.2.9 any -> any 80 (noalert; sid:3;)\n");
    case_text(&k, TS, "abc"); /* a field of the packet */
    assert_true(k.drop);
    assert_false(detect_drops_flow(k.t));
    assert_int_equal(detect_drop_rule(k.t)->sid, 2);
    case_text(&k, TS, "evil"); /* in the stream */
    assert_true(k.drop);
    assert_true(detect_drops_flow(k.t));
    case_new_flow(&k);
    k.in.in_stream = false;
    case_packet(&k, TS, "evil");
    assert_true(k.drop);
    assert_false(detect_drops_flow(k.t));
    case_new_flow(&k);
    k.client = case_addr("192.0.2.9"); /* addresses and ports alone */
    unsigned before = k.nfired;
    case_text(&k, TS, "hello");
    assert_true(k.drop);
    assert_true(detect_drops_flow(k.t));
    assert_int_equal(detect_drop_rule(k.t)->sid, 3);
    assert_int_equal(k.nfired, before);
    case_close(&k);
}

static void pass_may_be_told(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "alert udp any any -> any any (content:\"hit\"; sid:1;)\n"
             "pass udp any any -> any any (content:\"friend\"; alert; sid:3;)\n",
             NULL);
    case_packet(&k, TS, "hit friend");
    assert_int_equal(fired(&k, 3), 1);
    assert_int_equal(fired(&k, 1), 0);
    assert_false(k.drop);
    case_close(&k);
}

static void noalert_still_acts(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k, "drop udp any any -> any any (content:\"hit\"; noalert; flowbits:set,x; sid:1;)\n", NULL);
    HIT(&k);
    assert_int_equal(k.nfired, 0);
    assert_true(k.drop);
    const char *name;
    assert_int_equal(detect_flowbit_names(&k.df, &name, 1), 1);
    case_close(&k);
}

static void queue_keeps_the_best(void **state)
{
    (void)state;
    static char text[8192];
    size_t n = 0;
    for (int i = 0; i < 20; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "alert tcp any any -> any any (ttl:64; sid:%d;)\n", 100 + i);
    snprintf(text + n, sizeof text - n, "drop http any any -> any any (http.uri; content:\"/evil\"; sid:1;)\n");
    struct tcase k;
    case_open(&k, text);
    k.p.ttl = 64;
    struct fake_tx tx = {0};
    fake_set(&tx, RULE_BUF_HTTP_URI, "/evil", true);
    case_tx(&k, &tx, TS, true); /* the packet's alerts fill the queue first */
    assert_int_equal(k.nfired, 15);
    assert_int_equal(fired(&k, 1), 1);
    assert_true(k.drop);
    assert_int_equal(counted(&k, SK_C_DETECT_ALERT_OVERFLOW), 6);
    detect_tx_release(k.t, &tx.dt);
    case_close(&k);
}

static void limit(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "drop udp any any -> any any (content:\"hit\"; threshold:type limit, track by_src, count 2, seconds 60; "
             "sid:1;)\n",
             NULL);
    for (int s = 0; s < 5; s++) {
        at(&k, s);
        HIT(&k);
        assert_true(k.drop); /* the limit is on alerts, not on what the rule does */
    }
    assert_int_equal(k.nfired, 2);
    assert_int_equal(counted(&k, SK_C_DETECT_SUPPRESSED), 3);
    at(&k, 60);
    HIT(&k);
    assert_int_equal(k.nfired, 2);
    at(&k, 61);
    HIT(&k);
    assert_int_equal(k.nfired, 3);
    k.client = case_addr("192.0.2.2"); /* another source has a count of its own */
    HIT(&k);
    assert_int_equal(k.nfired, 4);
    case_close(&k);
}

static void threshold_and_both(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(
        &k,
        "drop udp any any -> any any (content:\"hit\"; threshold:type threshold, track by_dst, count 3, seconds 10; "
        "sid:1;)\n"
        "alert udp any any -> any any (content:\"hit\"; threshold:type both, track by_dst, count 3, seconds 10; "
        "sid:2;)\n",
        NULL);
    for (int i = 0; i < 9; i++) {
        at(&k, 0);
        HIT(&k);
        assert_int_equal(k.drop, i % 3 == 2);
    }
    assert_int_equal(fired(&k, 1), 3); /* every third */
    assert_int_equal(fired(&k, 2), 1); /* once a window */
    at(&k, 20);
    HIT(&k);
    HIT(&k);
    assert_int_equal(fired(&k, 1), 3);
    HIT(&k);
    assert_int_equal(fired(&k, 1), 4);
    assert_int_equal(fired(&k, 2), 2);
    at(&k, 40); /* two hits, and the window is over */
    HIT(&k);
    HIT(&k);
    at(&k, 51);
    HIT(&k);
    assert_int_equal(fired(&k, 1), 4);
    case_close(&k);
}

static void detection_filter(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "drop udp any any -> any any (content:\"hit\"; detection_filter:track by_src, count 3, seconds 10; "
             "sid:1;)\n",
             NULL);
    for (int i = 0; i < 6; i++) {
        HIT(&k);
        assert_int_equal(k.drop, i >= 3);
    }
    assert_int_equal(k.nfired, 3);
    at(&k, 11);
    HIT(&k);
    assert_int_equal(k.nfired, 3);
    case_close(&k);
}

static void backoff(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "drop udp any any -> any any (content:\"hit\"; threshold:type backoff, track by_flow, count 2, "
             "multiplier 3; sid:1;)\n",
             NULL);
    for (unsigned i = 1; i <= 20; i++) {
        at(&k, i);
        unsigned before = k.nfired;
        HIT(&k);
        assert_true(k.drop);
        assert_int_equal(k.nfired - before, i == 2 || i == 6 || i == 18);
    }
    case_close(&k);
}

static void tracks(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "alert udp any any -> any any (content:\"hit\"; threshold:type limit, track by_both, count 1, seconds 60; "
             "sid:1;)\n"
             "alert udp any any -> any any (content:\"hit\"; threshold:type limit, track by_rule, count 1, seconds 60; "
             "sid:2;)\n"
             "alert udp any any -> any any (content:\"hit\"; threshold:type limit, track by_flow, count 1, seconds 60; "
             "sid:3;)\n",
             NULL);
    HIT(&k);
    case_packet(&k, TC, "hit"); /* the same pair, the other way round */
    assert_int_equal(fired(&k, 1), 1);
    case_new_flow(&k); /* in the very same memory */
    HIT(&k);
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 1);
    assert_int_equal(fired(&k, 3), 2);
    k.server = case_addr("10.0.0.2");
    HIT(&k);
    assert_int_equal(fired(&k, 1), 2);
    case_close(&k);
}

static void clock_set_back(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "alert udp any any -> any any (content:\"hit\"; threshold:type limit, track by_src, count 1, seconds 60; "
             "sid:1;)\n",
             NULL);
    at(&k, 500000);
    HIT(&k);
    at(&k, 0);
    HIT(&k);
    assert_int_equal(k.nfired, 2);
    case_close(&k);
}

static void full_table_counts_and_goes_on(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "alert udp any any -> any any (content:\"hit\"; threshold:type limit, track by_src, count 1, seconds 60; "
             "sid:1;)\n",
             NULL);
    for (uint32_t i = 0; i < 20000; i++) { /* more than the table's 4,096 */
        k.client.b[14] = (uint8_t)(i >> 8);
        k.client.b[15] = (uint8_t)i;
        k.client.b[13] = (uint8_t)(i >> 16);
        HIT(&k);
        k.nfired = 0;
    }
    uint64_t full = counted(&k, SK_C_THRESHOLD_FULL);
    assert_true(full >= 20000 - 4096);
    at(&k, 1000); /* windows that are over are no loss */
    HIT(&k);
    assert_int_equal(counted(&k, SK_C_THRESHOLD_FULL), full);
    case_close(&k);
}

static void suppress_lines(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k,
             "drop udp any any -> any any (content:\"hit\"; sid:1;)\n"
             "alert udp any any -> any any (content:\"hit\"; sid:2;)\n"
             "alert udp any any -> any any (content:\"hit\"; sid:3;)\n"
             "alert udp any any -> any any (content:\"hit\"; sid:4;)\n",
             "suppress gen_id 1, sig_id 1\n"
             "suppress gen_id 1, sig_id 2, track by_src, ip 192.0.2.0/24\n"
             "suppress gen_id 1, sig_id 3, track by_dst, ip 192.0.2.0/24\n"
             "suppress gen_id 1, sig_id 4, track by_either, ip 192.0.2.0/24\n");
    HIT(&k);
    assert_int_equal(fired(&k, 1), 0);
    assert_true(k.drop); /* hushed, not disarmed */
    assert_int_equal(fired(&k, 2), 0);
    assert_int_equal(fired(&k, 3), 1);
    assert_int_equal(fired(&k, 4), 0);
    case_packet(&k, TC, "hit");
    assert_int_equal(fired(&k, 2), 1);
    assert_int_equal(fired(&k, 3), 1);
    assert_int_equal(fired(&k, 4), 0);
    k.client = case_addr("198.51.100.1");
    HIT(&k);
    assert_int_equal(fired(&k, 4), 1);
    case_close(&k);
}

static void suppressed_and_filtered(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(
        &k,
        "drop udp any any -> any any (content:\"hit\"; detection_filter:track by_src, count 2, seconds 60; sid:1;)\n",
        "suppress gen_id 1, sig_id 1\n");
    for (int i = 0; i < 4; i++) {
        HIT(&k);
        assert_int_equal(k.drop, i >= 2); /* nothing is dropped below the rate of the filter */
    }
    assert_int_equal(k.nfired, 0);
    case_close(&k);
}

static void evidence_is_what_matched(void **state)
{
    (void)state;
    struct tcase k;
    open_udp(&k, "alert udp any any -> any any (content:\"ev\"; pcre:\"/i[a-z]+e/R\"; sid:1;)\n", NULL);
    case_begin(&k, TS, "xx evidence xx", 14);
    detect_packet(k.t, &k.df, &k.in);
    unsigned n;
    const struct detect_alert *a = detect_end(k.t, &k.df, &k.in, &n, &k.drop);
    assert_int_equal(n, 1);
    assert_true(a[0].evidence_len > 0);
    assert_non_null(memmem("xx evidence xx", 14, a[0].evidence, a[0].evidence_len));
    case_close(&k);
}

/* --- workers that share the counts --- */

struct worker {
    pthread_t thread;
    struct detect_thresholds *th;
    const struct detect_set *set;
    unsigned alerts;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct tcase k = {.client = {.q = {0, 1}}, .server = {.q = {0, 2}}, .first = {true, true}};
    const struct detect_thread_conf conf = {.max_alerts = 15, .window_memcap = 1 << 20, .max_tx_nodes = 64};
    const struct inspect_conf ic = {.pcre_match_limit = 3500, .pcre_depth_limit = 1500, .pcre_heap_limit_kib = 1024};
    if (detect_thread_create(&conf, &ic, w->th, &k.c, &k.t) != SK_OK || detect_thread_use(k.t, w->set) != SK_OK)
        return NULL;
    k.in.proto = IPPROTO_UDP;
    k.in.now = 1000 * SK_NS_PER_S;
    for (int i = 0; i < 2000; i++) {
        case_packet(&k, TS, "hit");
        w->alerts += k.nfired;
        k.nfired = 0;
    }
    detect_thread_free(k.t);
    return NULL;
}

static void counts_are_shared(void **state)
{
    (void)state;
    struct rules r =
        rules_load("alert udp any any -> any any (content:\"hit\"; threshold:type limit, track by_src, count "
                   "10, seconds 60; sid:1;)\n",
                   NULL);
    struct detect_thresholds *th;
    assert_int_equal(detect_thresholds_create(1024, &th), SK_OK);
    struct worker w[4];
    unsigned sum = 0;
    for (int i = 0; i < 4; i++) {
        w[i] = (struct worker){.th = th, .set = r.set};
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(w[i].thread, NULL);
        sum += w[i].alerts;
    }
    assert_int_equal(sum, 10);
    detect_thresholds_free(th);
    rules_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alerts_in_rank_order),
        cmocka_unit_test(pass_takes_the_packet),
        cmocka_unit_test(pass_takes_the_flow),
        cmocka_unit_test(actions_have_a_scope),
        cmocka_unit_test(pass_may_be_told),
        cmocka_unit_test(noalert_still_acts),
        cmocka_unit_test(queue_keeps_the_best),
        cmocka_unit_test(limit),
        cmocka_unit_test(threshold_and_both),
        cmocka_unit_test(detection_filter),
        cmocka_unit_test(backoff),
        cmocka_unit_test(tracks),
        cmocka_unit_test(clock_set_back),
        cmocka_unit_test(full_table_counts_and_goes_on),
        cmocka_unit_test(suppress_lines),
        cmocka_unit_test(suppressed_and_filtered),
        cmocka_unit_test(evidence_is_what_matched),
        cmocka_unit_test(counts_are_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
