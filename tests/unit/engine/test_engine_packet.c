/* From frame to record and verdict. */
#include "engine_case.h"
#include <stdio.h>

#define GET_EVIL "GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"
#define GET_GOOD "GET /good HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK_BODY  "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"

static void http_rules_and_records(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "alert http $EXTERNAL_NET any -> $HOME_NET any (msg:\"a\"; http.uri; content:\"/evil\"; "
               "flowbits:set,evil; sid:1;)\n"
               "alert http any any -> any any (flow:to_client; flowbits:isset,evil; file.data; content:\"secret\"; "
               "sid:2;)\n"
               "alert tcp any any -> any any (flags:S; sid:3;)\n"
               "alert http any any -> any any (sid:4;)\n"
               "alert tcp any any -> any any (content:\"200 OK\"; sid:5;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, GET_EVIL);
    conn_text(&k, &c, TC, OK_BODY);
    conn_text(&k, &c, TS, GET_GOOD);
    conn_text(&k, &c, TC, OK_BODY);
    conn_bye(&k, &c);
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(alerts(&k, 2), 2);
    assert_int_equal(alerts(&k, 3), 1);
    assert_int_equal(alerts(&k, 4), 2);
    assert_true(alerts(&k, 5) >= 1);
    assert_int_equal(k.nevents[EVENT_HTTP], 2);
    assert_int_equal(k.nevents[EVENT_FLOW], 0);
    engine_worker_finish(k.w);
    assert_int_equal(k.nevents[EVENT_FLOW], 1);
    assert_int_equal(k.nevents[EVENT_DROP], 0);
    ecase_close(&k);
}

static void what_is_held_is_inspected_at_the_end(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    c.seq[TS] += 10; /* a hole that nobody fills */
    conn_text(&k, &c, TS, "some evil words");
    assert_int_equal(alerts(&k, 1), 0);
    engine_worker_finish(k.w);
    assert_int_equal(alerts(&k, 1), 1);
    ecase_close(&k);
}

static void prevent_drops_packet_and_flow(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "mode=prevent", "drop http any any -> any any (http.uri; content:\"/evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000), d = conn_make(CLIENT, 40001);
    conn_handshake(&k, &c);
    conn_handshake(&k, &d);
    conn_text(&k, &c, TS, GET_GOOD);
    assert_false(k.dropped);
    conn_text(&k, &c, TC, OK_BODY);
    conn_text(&k, &c, TS, GET_EVIL);
    assert_true(k.dropped);
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.blocked[0], 1);
    conn_text(&k, &c, TS, "anything");
    assert_true(k.dropped);
    conn_text(&k, &c, TC, "anything");
    assert_true(k.dropped);
    conn_text(&k, &d, TS, GET_GOOD); /* another connection of the same client goes on */
    assert_false(k.dropped);
    assert_int_equal(k.nevents[EVENT_DROP], 3);
    assert_int_equal(ecounted(&k, SK_C_DROPPED), 3);
    ecase_close(&k);
}

/* Prevent mode does not wait for more: the segment that completes the pattern is the one that is dropped. */
static void prevent_decides_at_once(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "mode=prevent", "drop tcp any any -> any any (content:\"evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_send(&k, &c, TS, TCP_ACK, "xxev", 4);
    assert_false(k.dropped);
    conn_send(&k, &c, TS, TCP_ACK, "il", 2);
    assert_true(k.dropped);
    ecase_close(&k);
}

static void detect_mode_drops_nothing(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, "drop tcp any any -> any any (content:\"evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "evil");
    assert_false(k.dropped);
    conn_text(&k, &c, TS, "more");
    assert_false(k.dropped);
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.blocked[0], 0);
    assert_int_equal(k.nevents[EVENT_DROP], 0);
    ecase_close(&k);
}

static void pass_rule_ends_inspection(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "mode=prevent",
               "pass tcp any any -> any any (content:\"password-of-the-tester\"; sid:1;)\n"
               "drop tcp any any -> any any (content:\"evil\"; sid:2;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "password-of-the-tester ");
    conn_text(&k, &c, TS, "evil");
    assert_false(k.dropped);
    assert_int_equal(k.nalerts, 0);
    ecase_close(&k);
}

static void reused_tuple_is_a_new_flow(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "alert tcp any any -> $HOME_NET any (sid:1;)\n"
               "alert tcp any any -> any any (content:\"evil\"; sid:2;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "evil");
    conn_bye(&k, &c);
    c.seq[TS] += 1000000;
    c.seq[TC] += 1000000;
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "evil");
    assert_int_equal(alerts(&k, 1), 2);
    assert_int_equal(alerts(&k, 2), 2);
    engine_worker_finish(k.w);
    assert_int_equal(k.nevents[EVENT_FLOW], 2);
    ecase_close(&k);
}

/* An ICMP error that quotes a connection meets ICMP rules, with its own addresses; the connection goes on. */
static void icmp_error_about_a_connection(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "alert icmp 198.51.100.7 any -> any any (itype:3; sid:1;)\n"
               "alert tcp any any -> any any (content:\"evil\"; sid:2;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    uint8_t inner[40], pkt[20 + 8 + 40] = {0};
    tcp_packet(inner, SERVER, CLIENT, 80, 40000, c.seq[TC], c.seq[TS], TCP_ACK, NULL, 0);
    udp_send(&k, 0, 0, 0, 0, ""); /* an odd packet in between */
    memcpy(pkt, inner, 20);
    pkt[3] = sizeof pkt;
    pkt[9] = IPPROTO_ICMP;
    memcpy(pkt + 12, "\xc6\x33\x64\x07", 4);
    memcpy(pkt + 16, "\x0a\0\0\1", 4);
    pkt[20] = 3;
    pkt[21] = 1;
    memcpy(pkt + 28, inner, 40);
    assert_int_equal(ecase_load(&k,
                                "alert icmp 198.51.100.7 any -> any any (itype:3; sid:1;)\n"
                                "alert tcp any any -> any any (content:\"evil\"; sid:2;)\n",
                                true, NULL),
                     SK_OK);
    engine_worker_idle(k.w, k.now); /* the error is the first that the new rules see of this flow */
    ecase_frame(&k, pkt, sizeof pkt);
    assert_int_equal(alerts(&k, 1), 1);
    conn_text(&k, &c, TS, "ev");
    conn_text(&k, &c, TS, "il");
    assert_int_equal(alerts(&k, 2), 1);
    ecase_close(&k);
}

static void not_ip_is_no_match(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, "alert ip any any -> any any (sid:1;)\n");
    uint8_t junk[60] = {0};
    ecase_frame(&k, junk, sizeof junk);
    junk[0] = 0x45; /* a header that is longer than its datagram */
    ecase_frame(&k, junk, sizeof junk);
    assert_int_equal(k.nalerts, 0);
    assert_true(k.nevents[EVENT_ANOMALY] > 0);
    ecase_close(&k);
}

/* A million connections that are only begun: memory does not grow, flows that work are kept. */
static void half_open_flood(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "flow.max-flows=4096;outputs.eve.types=alert",
               "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "some ");
    uint64_t full = 0;
    uint8_t syn[40];
    for (uint32_t i = 0; i < 1000000; i++) {
        tcp_packet(syn, 0xc6120000u + i / 50000, SERVER, (uint16_t)(1024 + i % 50000), 80, i, 0, TCP_SYN, NULL, 0);
        const struct sk_frame f = {
            .data = syn, .caplen = sizeof syn, .wirelen = sizeof syn, .ts = k.now + i, .number = i, .linktype = 101};
        engine_packet(k.w, &f);
        if (i == 5000) /* the table is full */
            full = engine_worker_memory(k.w);
    }
    assert_int_equal(engine_worker_memory(k.w), full);
    conn_text(&k, &c, TS, "evil");
    assert_int_equal(alerts(&k, 1), 1);
    engine_worker_idle(k.w, k.now);
    assert_true(ecounted(&k, SK_C_FLOWS_ACTIVE) <= 4096);
    ecase_close(&k);
}

/* A worker that is freed with flows under way gives everything back (the address sanitizer looks). */
static void freed_in_mid_flow(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n"
               "alert http any any -> any any (http.uri; content:\"/evil\"; http.request_body; content:\"x\"; "
               "sid:2;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "POST /evil HTTP/1.1\r\nContent-Length: 1000\r\n\r\nbody");
    c.seq[TS] += 100;
    conn_text(&k, &c, TS, "held");
    engine_worker_free(k.w);
    k.w = NULL;
    ecase_close(&k);
}

/* The packets of these tests carry no checksum. From an interface they count only when the host itself has not filled
 * it in yet: a segment that the host's TCP would throw away must not stand for what the application read. */
static void live_checksums(void **state)
{
    (void)state;
    for (int unfilled = 0; unfilled < 2; unfilled++) {
        struct ecase k;
        ecase_open_live(&k, "capture.checksum-validation=auto",
                        "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n");
        k.csum_unfilled = unfilled;
        struct conn c = conn_make(CLIENT, 40000);
        conn_handshake(&k, &c);
        conn_text(&k, &c, TS, GET_EVIL);
        assert_int_equal(alerts(&k, 1), unfilled);
        assert_true(unfilled ? ecounted(&k, SK_C_BAD_CSUM) == 0 : ecounted(&k, SK_C_BAD_CSUM) > 0);
        ecase_close(&k);
    }
}

static void without_rules(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, NULL);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, GET_EVIL);
    conn_text(&k, &c, TC, OK_BODY);
    udp_send(&k, CLIENT, SERVER, 1, 53, "x");
    conn_bye(&k, &c);
    assert_int_equal(k.nalerts, 0);
    assert_int_equal(k.nevents[EVENT_HTTP], 1);
    ecase_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_rules_and_records),
        cmocka_unit_test(what_is_held_is_inspected_at_the_end),
        cmocka_unit_test(prevent_drops_packet_and_flow),
        cmocka_unit_test(prevent_decides_at_once),
        cmocka_unit_test(detect_mode_drops_nothing),
        cmocka_unit_test(pass_rule_ends_inspection),
        cmocka_unit_test(reused_tuple_is_a_new_flow),
        cmocka_unit_test(icmp_error_about_a_connection),
        cmocka_unit_test(not_ip_is_no_match),
        cmocka_unit_test(half_open_flood),
        cmocka_unit_test(freed_in_mid_flow),
        cmocka_unit_test(live_checksums),
        cmocka_unit_test(without_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
