/* What compiles, what is refused, and what is said about it. */
#include "detect_case.h"
#include <stdio.h>

static void stats_of(const struct rules *r, struct detect_stats *st)
{
    detect_set_stats(r->set, st);
}

static void unknown_events_are_refused(void **state)
{
    (void)state;
    struct rules r = rules_try("alert pkthdr any any -> any any (decode-event:ipv4.trunc_pkt; sid:1;)\n"
                               "alert pkthdr any any -> any any (decode-event:ipv4.no_such_thing; sid:2;)\n"
                               "alert tcp any any -> any any (stream-event:est_invalid_ack; sid:3;)\n"
                               "alert tcp any any -> any any (stream-event:no_such_thing; sid:4;)\n");
    struct detect_stats st;
    stats_of(&r, &st);
    assert_int_equal(st.rules, 2);
    assert_int_equal(st.rejected, 2);
    assert_non_null(strstr(r.said, "t:2: sid 2"));
    assert_non_null(strstr(r.said, "t:4: sid 4"));
    rules_free(&r);
}

static void impossible_direction_is_refused(void **state)
{
    (void)state;
    struct rules r =
        rules_try("alert http any any -> any any (http.uri; content:\"a\"; http.stat_code; content:\"200\"; "
                  "sid:1;)\n"
                  "alert http any any -> any any (http.uri; content:\"a\"; sid:2;)\n");
    struct detect_stats st;
    stats_of(&r, &st);
    assert_int_equal(st.rules, 1);
    assert_true(r.said[0] != 0);
    rules_free(&r);
}

static void bad_expression_is_refused(void **state)
{
    (void)state;
    struct rules r = rules_try("alert tcp any any -> any any (pcre:\"/(/\"; sid:1;)\n"
                               "alert tcp any any -> any any (content:\"x\"; sid:2;)\n");
    struct detect_stats st;
    stats_of(&r, &st);
    assert_int_equal(st.rules, 1);
    assert_non_null(strstr(r.said, "t:1:"));
    rules_free(&r);
}

static void rules_without_pattern_are_called_slow(void **state)
{
    (void)state;
    struct rules r = rules_load("alert tcp any any -> any any (content:!\"x\"; sid:1;)\n"
                                "alert tcp any any -> any any (pcre:\"/^[a-z]$/\"; sid:2;)\n"
                                "alert tcp any any -> any any (pcre:\"/literal[0-9]/\"; sid:3;)\n"
                                "alert tcp any any -> any any (ttl:1; sid:4;)\n",
                                NULL);
    struct detect_stats st;
    stats_of(&r, &st);
    assert_int_equal(st.slow, 2);
    assert_true(st.memory > 0);
    assert_true(st.databases > 0);
    rules_free(&r);
}

static void no_rules_at_all(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "");
    case_packet(&k, TS, "anything");
    case_text(&k, TS, "anything");
    struct fake_tx tx = {0};
    fake_set(&tx, RULE_BUF_HTTP_URI, "/", true);
    case_tx(&k, &tx, TS, true);
    assert_int_equal(k.nfired, 0);
    assert_false(detect_wants_stream(&k.df, TS));
    assert_int_equal(detect_wants_buffers(&k.df, TS), 0);
    case_close(&k);
}

static void wants_are_those_of_the_direction(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert http any any -> any any (http.uri; content:\"a\"; sid:1;)\n"
                  "alert http any any -> any any (flow:to_client; http.header; content:\"a\"; sid:2;)\n"
                  "alert tcp any any -> any any (flow:to_client; content:\"a\"; sid:3;)\n");
    case_packet(&k, TS, "x");
    assert_int_equal(detect_wants_buffers(&k.df, TS), UINT64_C(1) << RULE_BUF_HTTP_URI);
    assert_int_equal(detect_wants_buffers(&k.df, TC), UINT64_C(1) << RULE_BUF_HTTP_HEADER);
    assert_false(detect_wants_stream(&k.df, TS));
    assert_true(detect_wants_stream(&k.df, TC));
    case_close(&k);
}

/* Before the first rules: packets pass, and the flow meets the rules when they come. */
static void no_rules_yet(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n");
    struct detect_thread *with = k.t;
    const struct detect_thread_conf conf = {.max_alerts = 15, .window_memcap = 1 << 20, .max_tx_nodes = 64};
    const struct inspect_conf ic = {.pcre_match_limit = 100, .pcre_depth_limit = 100, .pcre_heap_limit_kib = 100};
    assert_int_equal(detect_thread_create(&conf, &ic, k.th, &k.c, &k.t), SK_OK);
    case_text(&k, TS, "evil");
    assert_int_equal(k.nfired, 0);
    assert_int_equal(detect_thread_use(k.t, k.rules.set), SK_OK);
    case_text(&k, TS, "evil");
    assert_int_equal(k.nfired, 1);
    detect_thread_free(with);
    case_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_events_are_refused),
        cmocka_unit_test(impossible_direction_is_refused),
        cmocka_unit_test(bad_expression_is_refused),
        cmocka_unit_test(rules_without_pattern_are_called_slow),
        cmocka_unit_test(no_rules_at_all),
        cmocka_unit_test(wants_are_those_of_the_direction),
        cmocka_unit_test(no_rules_yet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
