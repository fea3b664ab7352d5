/* Other rules while packets run: in the middle of flows and transactions, with workers on threads of their own. */
#include "engine_case.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static void in_mid_flow_and_mid_transaction(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "alert http any any -> any any (http.uri; content:\"/up\"; http.request_body; content:\"old\"; "
               "sid:1;)\n"
               "alert tcp any any -> any any (content:\"pattern\"; content:\"old\"; sid:2;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\npattern ");
    struct engine_rule_stats st;
    assert_int_equal(ecase_load(&k,
                                "alert http any any -> any any (http.uri; content:\"/up\"; http.request_body; "
                                "content:\"new\"; sid:3;)\n"
                                "alert tcp any any -> any any (content:\"new\"; sid:4;)\n",
                                true, &st),
                     SK_OK);
    assert_int_equal(st.loaded, 2);
    conn_text(&k, &c, TS, "new");
    assert_int_equal(k.nalerts, 0); /* the worker has not taken them up */
    engine_worker_idle(k.w, k.now);
    conn_text(&k, &c, TS, "old  new.");
    assert_int_equal(alerts(&k, 1) + alerts(&k, 2), 0);
    assert_int_equal(alerts(&k, 3), 1);
    assert_int_equal(alerts(&k, 4), 1);
    for (int i = 0; i < 5; i++) { /* many generations under one flow */
        assert_int_equal(
            ecase_load(&k, "alert tcp any any -> any any (content:\"word\"; flowbits:set,x; sid:5;)\n", true, NULL),
            SK_OK);
        engine_worker_idle(k.w, k.now);
        conn_text(&k, &c, TS, "word ");
    }
    assert_int_equal(alerts(&k, 5), 5);
    ecase_close(&k);
}

static void a_new_address_list_reaches_old_connections(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "mode=prevent", "drop ip 203.0.113.1 any -> any any (sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "hello");
    assert_false(k.dropped);
    assert_int_equal(ecase_load(&k, "drop ip [203.0.113.1,192.0.2.1] any -> any any (sid:1;)\n", true, NULL), SK_OK);
    engine_worker_idle(k.w, k.now);
    conn_text(&k, &c, TS, "hello");
    assert_true(k.dropped);
    assert_int_equal(alerts(&k, 1), 1);
    ecase_close(&k);
}

static void a_failed_load_changes_nothing(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n");
    assert_int_equal(ecase_load(&k,
                                "alert tcp any any -> any any (content:\"evil\"; sid:2;)\n"
                                "alert tcp any any -> any any (content:\"evil; sid:3;)\n",
                                true, NULL),
                     SK_EINVAL);
    assert_int_equal(ecase_load(&k, "nonsense\n", false, NULL), SK_EINVAL);
    engine_worker_idle(k.w, k.now);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "evil");
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.nalerts, 1);
    /* Not strict: what is right counts. */
    struct engine_rule_stats st;
    assert_int_equal(ecase_load(&k,
                                "alert tcp any any -> any any (content:\"evil\"; sid:2;)\n"
                                "alert tcp any any -> any any (content:\"evil; sid:3;)\n",
                                false, &st),
                     SK_OK);
    assert_int_equal(st.loaded, 1);
    assert_int_equal(st.rejected, 1);
    engine_worker_idle(k.w, k.now);
    conn_text(&k, &c, TS, "evil");
    assert_int_equal(alerts(&k, 2), 1);
    ecase_close(&k);
}

/* Rules for events that nothing reports are said to be unsupported, and do not fail a load. */
static void unknown_events(void **state)
{
    (void)state;
    struct ecase k;
    struct engine_rule_stats st;
    ecase_open(&k, NULL, NULL);
    assert_int_equal(ecase_load(&k,
                                "alert tcp any any -> any any (stream-event:est_invalid_ack; sid:1;)\n"
                                "alert tcp any any -> any any (stream-event:no_such_thing; sid:2;)\n",
                                true, &st),
                     SK_OK);
    assert_int_equal(st.loaded, 1);
    assert_int_equal(st.rejected, 1);
    ecase_close(&k);
}

/* --- threads --- */

struct runner {
    struct ecase k;
    pthread_t thread;
    atomic_bool *stop;
    unsigned conversations;
};

static void *converse(void *arg)
{
    struct runner *r = arg;
    for (unsigned i = 0; !atomic_load(r->stop) || i < 20; i++) {
        struct conn c = conn_make(CLIENT + i % 100, (uint16_t)(10000 + i % 50000));
        conn_handshake(&r->k, &c);
        conn_text(&r->k, &c, TS, "POST /always HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nsome ");
        engine_worker_idle(r->k.w, r->k.now);
        conn_text(&r->k, &c, TS, "words");
        conn_text(&r->k, &c, TC, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        conn_bye(&r->k, &c);
        r->k.nalerts = 0;
        r->conversations++;
    }
    return NULL;
}

static void workers_and_reloads(void **state)
{
    (void)state;
    static const char *const rules[] = {
        "alert http any any -> any any (http.uri; content:\"/always\"; sid:1;)\n"
        "alert http any any -> any any (http.uri; content:\"/always\"; http.request_body; content:\"words\"; "
        "threshold:type limit, track by_src, count 5, seconds 1; sid:2;)\n",
        "alert http any any -> any any (http.uri; content:\"/always\"; flowbits:set,a; sid:1;)\n"
        "alert tcp [192.0.2.1,192.0.2.50] any -> any any (sid:3;)\n",
    };
    struct ecase base;
    ecase_open(&base, NULL, rules[0]);
    atomic_bool stop = false;
    static struct runner r[3];
    for (unsigned i = 0; i < 3; i++) {
        memset(&r[i], 0, sizeof r[i]);
        r[i].stop = &stop;
        r[i].k.now = base.now;
        ecase_sink(&r[i].k, &r[i].k.sink);
        assert_int_equal(engine_worker_create(base.e, i + 1, &r[i].k.sink, &r[i].k.c, &r[i].k.w), SK_OK);
        assert_int_equal(pthread_create(&r[i].thread, NULL, converse, &r[i]), 0);
    }
    for (int i = 0; i < 30; i++) {
        assert_int_equal(ecase_load(&base, rules[i % 2], true, NULL), SK_OK);
        engine_worker_idle(base.w, base.now);
        usleep(2000);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(r[i].thread, NULL);
        assert_true(r[i].conversations >= 20);
        assert_true(ecounted(&r[i].k, SK_C_DETECT_ALERTS) >= r[i].conversations); /* sid 1 is in every generation */
        assert_int_equal(ecounted(&r[i].k, SK_C_HTTP_TX), r[i].conversations);
        engine_worker_finish(r[i].k.w);
        engine_worker_free(r[i].k.w);
        assert_false(r[i].k.bad_record);
    }
    ecase_close(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_mid_flow_and_mid_transaction),
        cmocka_unit_test(a_new_address_list_reaches_old_connections),
        cmocka_unit_test(a_failed_load_changes_nothing),
        cmocka_unit_test(unknown_events),
        cmocka_unit_test(workers_and_reloads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
