/* Which class of the ledger packets and flows belong to. That the sums are right is checked at the end of each case. */
#include "engine_case.h"

#define GET    "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define RULES  "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n"
#define RULE_F "alert http any any -> any any (file.data; content:\"evil\"; sid:1;)\n"

static void expect(const struct ecase *k, enum sk_counter c, uint64_t want)
{
    if (ecounted(k, c) != want)
        fail_msg("%s is %llu, not %llu", sk_counter_name(c), (unsigned long long)ecounted(k, c),
                 (unsigned long long)want);
}

static void bytes(struct ecase *k, struct conn *c, int dir, uint32_t n)
{
    static const char x[1400] = {'x'};
    for (; n; n -= n < sizeof x ? n : (uint32_t)sizeof x)
        conn_send(k, c, dir, TCP_ACK, x, n < sizeof x ? n : (uint32_t)sizeof x);
}

static void whole_flows_are_inspected(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, RULE_F);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, GET);
    conn_text(&k, &c, TC, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    conn_bye(&k, &c);
    udp_send(&k, CLIENT, SERVER, 1000, 53, "question");
    expect(&k, SK_C_LP_INSPECTED, 9);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_INSPECTED, 2);
    ecase_close(&k);
}

/* Up to the depth, with the segment that crosses it, and out of order beyond it. */
static void past_the_depth(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "stream.reassembly.depth=1000", RULES);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    bytes(&k, &c, TS, 900);
    expect(&k, SK_C_LP_DEPTH, 0);
    bytes(&k, &c, TS, 200);
    expect(&k, SK_C_LP_DEPTH, 1);
    bytes(&k, &c, TS, 2000);
    expect(&k, SK_C_LP_DEPTH, 3);
    conn_send(&k, &c, TS, TCP_ACK, NULL, 0); /* nothing in it to miss */
    bytes(&k, &c, TC, 500);
    expect(&k, SK_C_LP_DEPTH, 3);
    c.seq[TC] += 600;
    bytes(&k, &c, TC, 100);
    expect(&k, SK_C_LP_DEPTH, 4);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_DEPTH, 1);
    ecase_close(&k);
}

/* HTTP goes on; rules on the raw stream see the first bytes of each message. */
static void past_the_depth_of_a_message(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "stream.reassembly.depth=1000;http.response-body-limit=0", RULES);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    for (unsigned i = 1; i <= 2; i++) {
        conn_text(&k, &c, TS, GET);
        conn_text(&k, &c, TC, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n");
        bytes(&k, &c, TC, 3000);
        expect(&k, SK_C_LP_DEPTH, 2 * i);
    }
    ecase_close(&k);
}

static void behind_a_tls_handshake(void **state)
{
    (void)state;
    static const char hello[] = "\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03"
                                "0123456789012345678901234567890\x00\x00\x00\x02\x13\x01\x01\x00\x00\x00",
                      done[] = "\x14\x03\x03\x00\x01\x01", data[] = "\x17\x03\x03\x00\x04wxyz";
    struct ecase k;
    ecase_open(&k, NULL, RULES);
    struct conn c = conn_make(CLIENT, 40000);
    c.sport = 443;
    conn_handshake(&k, &c);
    conn_send(&k, &c, TS, TCP_ACK | TCP_PSH, hello, 52);
    conn_send(&k, &c, TC, TCP_ACK | TCP_PSH, "\x16\x03\x03\x00\x04\x02\x00\x00\x00", 9);
    conn_send(&k, &c, TS, TCP_ACK | TCP_PSH, done, 6);
    conn_send(&k, &c, TC, TCP_ACK | TCP_PSH, done, 6);
    expect(&k, SK_C_LP_ENCRYPTED, 0);
    conn_send(&k, &c, TS, TCP_ACK | TCP_PSH, data, 9);
    conn_send(&k, &c, TC, TCP_ACK | TCP_PSH, data, 9);
    conn_send(&k, &c, TC, TCP_ACK | TCP_PSH, data, 9);
    conn_send(&k, &c, TS, TCP_ACK, NULL, 0);
    expect(&k, SK_C_LP_ENCRYPTED, 3);
    conn_bye(&k, &c);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_ENCRYPTED, 1);
    expect(&k, SK_C_LP_INSPECTED, 11);
    ecase_close(&k);
}

static void taken_by_a_pass_rule(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, "pass tcp any any -> any any (content:\"password\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "not yet");
    expect(&k, SK_C_LP_PASSED, 0);
    conn_text(&k, &c, TS, "the password");
    conn_text(&k, &c, TC, "come in");
    conn_bye(&k, &c);
    expect(&k, SK_C_LP_PASSED, 5);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_PASSED, 1);
    ecase_close(&k);
}

static void given_up_by_the_parser(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, RULE_F);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    c.seq[TS] += 10; /* a hole where the chunk's length was */
    conn_text(&k, &c, TS, "5\r\nhello\r\n");
    conn_send(&k, &c, TC, TCP_ACK, NULL, 0);
    expect(&k, SK_C_LP_PARSER, 0);
    conn_text(&k, &c, TS, "4\r\nmore\r\n");
    conn_text(&k, &c, TC, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    expect(&k, SK_C_HTTP_PARSE_ERR, 1);
    expect(&k, SK_C_LP_PARSER, 2);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_GAP, 1); /* which came first */
    ecase_close(&k);
}

static void http2_is_not_parsed(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, RULES);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    conn_send(&k, &c, TC, TCP_ACK | TCP_PSH, "\0\0\0\x04\0\0\0\0\0", 9);
    expect(&k, SK_C_LP_NOT_PARSED, 2);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_NOT_PARSED, 1);
    ecase_close(&k);
}

/* Only where rules want the body. */
static void past_the_body_limit(void **state)
{
    (void)state;
    for (int wanted = 0; wanted < 2; wanted++) {
        struct ecase k;
        ecase_open(&k, "http.response-body-limit=2000",
                   wanted ? RULE_F : "alert http any any -> any any (http.uri; content:\"x\"; sid:1;)\n");
        struct conn c = conn_make(CLIENT, 40000);
        conn_handshake(&k, &c);
        conn_text(&k, &c, TS, GET);
        conn_text(&k, &c, TC, "HTTP/1.1 200 OK\r\nContent-Length: 7000\r\n\r\n");
        bytes(&k, &c, TC, 7000); /* five segments; the second crosses the limit */
        conn_text(&k, &c, TS, GET);
        conn_text(&k, &c, TC, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        expect(&k, SK_C_LP_BODY_LIMIT, wanted ? 4 : 0);
        engine_worker_finish(k.w);
        expect(&k, wanted ? SK_C_LF_BODY_LIMIT : SK_C_LF_INSPECTED, 1);
        ecase_close(&k);
    }
}

static void without_memory_for_http(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "http.memcap=64kb;http.response-body-limit=0", RULE_F);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, GET);
    conn_text(&k, &c, TC, "HTTP/1.1 200 OK\r\n\r\n");
    bytes(&k, &c, TC, 60000);
    assert_in_range(ecounted(&k, SK_C_LP_HTTP_MEMORY), 10, 40);
    expect(&k, SK_C_LP_INSPECTED, 5 + 43 - ecounted(&k, SK_C_LP_HTTP_MEMORY));
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_HTTP_MEMORY, 1);
    ecase_close(&k);
}

static void beginning_not_seen(void **state)
{
    (void)state;
    for (int midstream = 0; midstream < 2; midstream++) {
        struct ecase k;
        ecase_open(&k, midstream ? "stream.midstream=yes" : NULL, RULES);
        struct conn c = conn_make(CLIENT, 40000);
        conn_text(&k, &c, TS, "going on");
        conn_text(&k, &c, TC, "answer");
        conn_send(&k, &c, TS, TCP_ACK, NULL, 0);
        expect(&k, SK_C_LP_TCP_INVALID, midstream ? 0 : 2);
        engine_worker_finish(k.w);
        expect(&k, SK_C_LF_MIDSTREAM, 1);
        ecase_close(&k);
    }
}

static void holes(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, RULES);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    uint32_t hole = c.seq[TS];
    c.seq[TS] += 4;
    conn_text(&k, &c, TS, "behind");
    conn_send(&k, &c, TC, TCP_ACK, NULL, 0); /* the server has got it all */
    expect(&k, SK_C_TCP_GAP, 1);
    expect(&k, SK_C_LP_GAP, 0);
    c.seq[TS] = hole;
    conn_text(&k, &c, TS, "late");
    expect(&k, SK_C_LP_GAP, 1);
    c.seq[TS] = hole + 4;
    conn_text(&k, &c, TS, "behind"); /* once more: it was inspected the first time */
    expect(&k, SK_C_LP_INSPECTED, 6);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_GAP, 1);
    ecase_close(&k);
}

static void without_room_for_segments(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "mode=prevent;stream.memcap=64kb;stream.inline=yes", RULES);
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    c.seq[TS] += 10;
    bytes(&k, &c, TS, 40 * 1400); /* 30 pieces of 2 KiB is all that there is */
    assert_in_range(ecounted(&k, SK_C_LP_SEGMENT_MEMORY), 5, 15);
    expect(&k, SK_C_LP_SEGMENT_MEMORY, ecounted(&k, SK_C_TCP_SEG_FULL));
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_SEGMENT_MEMORY, 1);
    ecase_close(&k);
}

static void table_full(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "flow.max-flows=64", RULES);
    for (uint16_t i = 0; i < 80; i++) {
        struct conn c = conn_make(CLIENT, (uint16_t)(40000 + i));
        conn_send(&k, &c, TS, TCP_SYN, NULL, 0);
    }
    expect(&k, SK_C_LF_EVICTED, 16);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_INSPECTED, 64);
    expect(&k, SK_C_LP_INSPECTED, 80);
    ecase_close(&k);
}

static void dropped_flows(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "mode=prevent", "drop tcp any any -> any any (content:\"evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "evil"); /* this one was looked at */
    conn_text(&k, &c, TS, "more");
    conn_text(&k, &c, TC, "answer");
    expect(&k, SK_C_LP_DROPPED, 2);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_INSPECTED, 1);
    ecase_close(&k);
}

/* --- below TCP --- */

static void frame_of(struct ecase *k, const void *data, uint32_t caplen, uint32_t wirelen, int linktype)
{
    const struct sk_frame f = {
        .data = data, .caplen = caplen, .wirelen = wirelen, .ts = k->now, .number = ++k->number, .linktype = linktype};
    engine_packet(k->w, &f);
}

static void frames_that_are_not_whole(void **state)
{
    (void)state;
    struct ecase k;
    uint8_t p[200], arp[60] = {[12] = 8, [13] = 6};
    ecase_open(&k, "capture.checksum-validation=yes", RULES);
    uint32_t n = tcp_packet(p, CLIENT, SERVER, 1000, 80, 1, 0, TCP_SYN, NULL, 0);
    frame_of(&k, p, n, n, 101); /* the checksums are not filled in */
    expect(&k, SK_C_LP_BAD_CSUM, 1);
    frame_of(&k, p, 19, 19, 101);
    expect(&k, SK_C_LP_INVALID, 1);
    frame_of(&k, p, 30, n, 101); /* cut within the TCP header: cut comes before invalid */
    expect(&k, SK_C_LP_TRUNCATED, 1);
    frame_of(&k, arp, sizeof arp, sizeof arp, 1);
    expect(&k, SK_C_LP_NON_IP, 1);
    ecase_close(&k);

    ecase_open(&k, NULL, RULES);
    n = tcp_packet(p, CLIENT, SERVER, 1000, 80, 1, 0, TCP_SYN, NULL, 0);
    frame_of(&k, p, n, n + 10, 101);
    expect(&k, SK_C_LP_TRUNCATED, 1);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_TRUNCATED, 1);
    ecase_close(&k);
}

/* IP in IP, `depth` times around a UDP datagram. */
static uint32_t wrapped(uint8_t *buf, unsigned depth)
{
    static const uint8_t udp[28] = {0x45, 0, 0,  28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0,
                                    2,    1, 10, 0,  0, 1, 0, 9, 0,  9,  0, 8, 0,   0};
    uint32_t len = 28 + 20 * depth;
    for (unsigned i = 0; i < depth; i++) {
        memcpy(buf + 20 * i, udp, 20);
        buf[20 * i + 3] = (uint8_t)(len - 20 * i);
        buf[20 * i + 9] = 4;
    }
    memcpy(buf + 20 * depth, udp, 28);
    return len;
}

/* One frame, whatever it holds; the innermost packet decides. */
static void tunnels(void **state)
{
    (void)state;
    struct ecase k;
    uint8_t p[200];
    ecase_open(&k, NULL, RULES);
    ecase_frame(&k, p, wrapped(p, 2));
    expect(&k, SK_C_LP_INSPECTED, 1);
    ecase_frame(&k, p, wrapped(p, SK_MAX_TUNNEL_DEPTH + 1));
    expect(&k, SK_C_LP_INVALID, 1);
    uint32_t n = wrapped(p, 1);
    p[20] = 0x65; /* no IPv4 header */
    ecase_frame(&k, p, n);
    expect(&k, SK_C_LP_INVALID, 2);
    ecase_close(&k);
}

/* A third of a UDP datagram to port 80; part 2 is the last. */
static void third(struct ecase *k, uint8_t id, unsigned part)
{
    uint8_t p[36] = {0x45, 0, 0, 36, 0, id, 0x20, 0, 64, 17, 0, 0, 192, 0, 2, 1, 10, 0, 0, 1, 0, 9, 0, 80, 0, 48};
    p[6] = part < 2 ? 0x20 : 0;
    p[7] = (uint8_t)(2 * part);
    if (part)
        memset(p + 20, 'x', 16);
    ecase_frame(k, p, sizeof p);
}

static void fragments(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "defrag.timeout=30", RULES);
    third(&k, 1, 0);
    third(&k, 1, 1);
    expect(&k, SK_C_LP_INSPECTED, 0); /* nobody knows yet */
    third(&k, 1, 2);
    expect(&k, SK_C_LP_INSPECTED, 3);

    third(&k, 2, 0);
    third(&k, 2, 0); /* a duplicate shares the fate of its datagram */
    expect(&k, SK_C_LP_FRAGMENT, 0);
    k.now += 31 * SK_NS_PER_S;
    engine_worker_idle(k.w, k.now); /* given up without another fragment coming */
    expect(&k, SK_C_LP_FRAGMENT, 2);

    third(&k, 3, 0);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LP_FRAGMENT, 3);
    expect(&k, SK_C_LP_INSPECTED, 3);
    ecase_close(&k);
}

/* The class of a datagram is that of what it carries; a fragment that is refused counts alone. */
static void fragments_of_something(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, "pass udp any any -> any 80 (sid:1;)\n");
    third(&k, 1, 2);
    third(&k, 1, 0);
    third(&k, 1, 1);
    expect(&k, SK_C_LP_PASSED, 3);
    uint8_t empty[20] = {0x45, 0, 0, 20, 0, 9, 0x20, 1, 64, 17, 0, 0, 192, 0, 2, 1, 10, 0, 0, 1};
    third(&k, 9, 0);
    ecase_frame(&k, empty, sizeof empty); /* takes the datagram along */
    expect(&k, SK_C_LP_FRAGMENT, 2);
    ecase_close(&k);
}

/* --- ends --- */

static void cut_off(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, RULES);
    struct conn c = conn_make(CLIENT, 40000), d = conn_make(CLIENT, 40001);
    conn_handshake(&k, &c);
    conn_handshake(&k, &d);
    d.seq[TS] += 5;
    conn_text(&k, &d, TS, "behind a hole");
    conn_send(&k, &d, TC, TCP_ACK, NULL, 0);
    engine_worker_cut(k.w, SK_C_LF_RELOAD);
    engine_worker_finish(k.w);
    expect(&k, SK_C_LF_RELOAD, 1);
    expect(&k, SK_C_LF_GAP, 1); /* had its cause already */
    ecase_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_flows_are_inspected),
        cmocka_unit_test(past_the_depth),
        cmocka_unit_test(past_the_depth_of_a_message),
        cmocka_unit_test(behind_a_tls_handshake),
        cmocka_unit_test(taken_by_a_pass_rule),
        cmocka_unit_test(given_up_by_the_parser),
        cmocka_unit_test(http2_is_not_parsed),
        cmocka_unit_test(past_the_body_limit),
        cmocka_unit_test(without_memory_for_http),
        cmocka_unit_test(beginning_not_seen),
        cmocka_unit_test(holes),
        cmocka_unit_test(without_room_for_segments),
        cmocka_unit_test(table_full),
        cmocka_unit_test(dropped_flows),
        cmocka_unit_test(frames_that_are_not_whole),
        cmocka_unit_test(tunnels),
        cmocka_unit_test(fragments),
        cmocka_unit_test(fragments_of_something),
        cmocka_unit_test(cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
