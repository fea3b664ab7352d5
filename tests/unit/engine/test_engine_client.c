/*
 * Clients behind proxies. HOME_NET is 10.0.0.0/8 and the hops lie in it: 10.0.9.0/24 append
 * X-Forwarded-For, 10.0.8.0/24 send PROXY headers. Rules see the client; nobody else is ever asked to be blocked.
 */
#include <stdio.h>
#include "engine_case.h"

#define HOP   0x0a000905u /* 10.0.9.5 */
#define PROXY 0x0a000805u /* 10.0.8.5 */
#define ALICE 0xc6336401u /* 198.51.100.1 */
#define SETTINGS                                                                                                       \
    "proxies.http=10.0.9.0/24;proxies.proxy-protocol=10.0.8.0/24;decide.block-duration=10m;"                           \
    "vars.address-groups.EXTERNAL_NET=!$HOME_NET"
#define RULE                                                                                                           \
    "drop http $EXTERNAL_NET any -> $HOME_NET any (msg:\"an attack\"; flow:established,to_server; http.uri; "          \
    "content:\"/evil\"; sid:1;)\n"
#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct sk_addr v4(uint32_t a)
{
    uint8_t be[4] = {(uint8_t)(a >> 24), (uint8_t)(a >> 16), (uint8_t)(a >> 8), (uint8_t)a};
    return sk_addr_from_v4(be);
}

static void assert_target(const struct decide_request *q, uint32_t addr)
{
    struct sk_addr a = v4(addr);
    assert_int_equal(q->target.len, 128);
    assert_memory_equal(&q->target.addr, &a, sizeof a);
}

static struct conn begin(struct ecase *k, const char *settings, const char *rules, uint32_t from)
{
    ecase_open(k, settings, rules);
    struct conn c = conn_make(from, 40000);
    conn_handshake(k, &c);
    return c;
}

static void ask(struct ecase *k, struct conn *c, const char *request)
{
    conn_text(k, c, TS, request);
    conn_text(k, c, TC, OK_ANSWER);
}

static void client_behind_a_hop_is_found_and_blocked(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    ask(&k, &c, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.77, 198.51.100.1\r\n\r\n");
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.nblocks, 1);
    const struct decide_request *q = &k.blocks[0];
    struct sk_addr hop = v4(HOP);
    assert_target(q, ALICE);
    assert_memory_equal(&q->src, &hop, sizeof hop); /* on the wire it was the hop */
    assert_int_equal(q->kill, 1);
    assert_int_equal(q->identity.state, IDENTITY_PROVEN);
    assert_int_equal(q->identity.source, IDENTITY_BY_XFF);
    assert_int_equal(q->identity.nhops, 1);
    assert_memory_equal(&q->identity.hop[0].addr, &hop, sizeof hop);
    assert_int_equal(ecounted(&k, SK_C_IDENTITY_PROVEN), 1);
    ecase_close(&k);
}

/* A hop inside HOME_NET does not silence rules that look for attacks from outside. */
static void unproven_client_alerts_and_blocks_nobody(void **state)
{
    (void)state;
    static const char *const heads[] = {"",
                                        "X-Forwarded-For: unknown\r\n",
                                        "X-Forwarded-For: 10.0.9.7\r\n",
                                        "X-Forwarded-For : 198.51.100.1\r\n",
                                        "Forwarded: for=198.51.100.1\r\n", /* not the header that the hops write */
                                        "X-Forwarded-For: 198.51.100.1\r\n , 203.0.113.77\r\n"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct ecase k;
        char request[256];
        struct conn c = begin(&k, SETTINGS, RULE, HOP);
        snprintf(request, sizeof request, "GET /evil HTTP/1.1\r\nHost: h\r\n%s\r\n", heads[i]);
        ask(&k, &c, request);
        assert_int_equal(alerts(&k, 1), 1);
        assert_int_equal(k.nblocks, 0);
        assert_int_equal(ecounted(&k, SK_C_BLOCK_UNPROVEN), 1);
        assert_int_equal(ecounted(&k, SK_C_IDENTITY_UNPROVEN), 1);
        ecase_close(&k);
    }
}

static void strangers_headers_say_nothing(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, CLIENT);
    ask(&k, &c, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    assert_int_equal(k.nblocks, 1);
    assert_target(&k.blocks[0], CLIENT);
    assert_int_equal(k.blocks[0].identity.state, IDENTITY_DIRECT);
    ecase_close(&k);
}

/* The client's class decides which rules it meets: one from inside HOME_NET meets none for $EXTERNAL_NET. */
static void rules_see_the_client(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS,
                          RULE "alert http 10.0.3.0/24 any -> any any (http.uri; content:\"/evil\"; sid:2;)\n"
                               "alert http 198.51.100.1 any -> any any (http.uri; content:\"/evil\"; sid:3;)\n"
                               "alert http 10.0.9.5 any -> any any (http.uri; content:\"/evil\"; sid:4;)\n",
                          HOP);
    ask(&k, &c, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.3.3\r\n\r\n");
    assert_int_equal(alerts(&k, 1), 0);
    assert_int_equal(alerts(&k, 2), 1);
    ask(&k, &c, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(alerts(&k, 2), 1);
    assert_int_equal(alerts(&k, 3), 1);
    assert_int_equal(alerts(&k, 4), 0); /* the hop is not the source of what it passes on */
    ecase_close(&k);
}

static void each_request_has_its_own_client(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    for (unsigned i = 1; i <= 10; i++) {
        char request[160];
        snprintf(request, sizeof request, "GET /%s HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.%u\r\n\r\n",
                 i % 5 == 0 ? "evil" : "good", i);
        ask(&k, &c, request);
    }
    assert_int_equal(k.nblocks, 2);
    assert_target(&k.blocks[0], ALICE + 4);
    assert_target(&k.blocks[1], ALICE + 9);
    ecase_close(&k);
}

/* Rules on the raw stream, too, see each request as the start of a stream, and never two clients' bytes together. */
static void raw_stream_is_of_one_request(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS,
                          "drop tcp $EXTERNAL_NET any -> $HOME_NET any (flow:established,to_server; content:\"GET "
                          "/evil\"; startswith; sid:1;)\n"
                          "drop tcp any any -> $HOME_NET any (flow:established,to_server; content:\"first-half\"; "
                          "content:\"second-half\"; sid:2;)\n",
                          HOP);
    ask(&k, &c, "GET /first-half HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.2\r\n\r\n");
    ask(&k, &c, "GET /second-half HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.3\r\n\r\n");
    ask(&k, &c, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(alerts(&k, 2), 0);
    assert_int_equal(k.nblocks, 1);
    assert_target(&k.blocks[0], ALICE);
    ecase_close(&k);
}

static void flow_bits_and_passes_are_the_clients_own(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c =
        begin(&k, SETTINGS,
              "alert http any any -> any any (http.uri; content:\"/mark\"; flowbits:set,x; flowbits:noalert; sid:11;)\n"
              "alert http any any -> any any (http.uri; content:\"/look\"; flowbits:isset,x; sid:12;)\n"
              "pass http any any -> any any (http.uri; content:\"/pass\"; sid:13;)\n" RULE,
              HOP);
    ask(&k, &c, "GET /mark HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    ask(&k, &c, "GET /look HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.2\r\n\r\n");
    assert_int_equal(alerts(&k, 12), 0);
    ask(&k, &c, "GET /pass HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.3\r\n\r\n");
    ask(&k, &c, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    assert_int_equal(k.nblocks, 1);
    ecase_close(&k);
}

/* --- requests that hop and server may see differently --- */

static void no_blocks_after(const char *first, const char *second)
{
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    ask(&k, &c, first);
    ask(&k, &c, second);
    assert_int_equal(k.nblocks, 0);
    assert_true(alerts(&k, 1) > 0);
    ecase_close(&k);
}

static void smuggled_requests_block_nobody(void **state)
{
    (void)state;
#define FORGED "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"
    /* Pipelined behind another: hops do not do that. */
    no_blocks_after("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n" FORGED, FORGED);
    no_blocks_after("POST / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Length: 4\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    FORGED);
    no_blocks_after("POST / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Length: 4\r\n"
                    "Content-Length: 0\r\n\r\nabcd",
                    FORGED);
    no_blocks_after(
        "POST / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        FORGED);
}

/* Nobody hides behind many lines, nor behind odd ones: what the hop wrote is the last. */
static void lines_before_the_hops(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        unsigned n;
    } cases[] = {{"X-Forwarded-For: 203.0.113.77\r\n", 100},
                 {"X-Forwarded-For : 203.0.113.77\r\n", 2},
                 {"X-Forwarded-For: 203.0.113.77\r\n , 203.0.113.78\r\n", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ecase k;
        static char request[8192];
        struct conn c = begin(&k, SETTINGS, RULE, HOP);
        size_t n = (size_t)snprintf(request, sizeof request, "GET /evil HTTP/1.1\r\nHost: h\r\n");
        for (unsigned l = 0; l < cases[i].n; l++)
            n += (size_t)snprintf(request + n, sizeof request - n, "%s", cases[i].line);
        snprintf(request + n, sizeof request - n, "X-Forwarded-For: 198.51.100.1\r\n\r\n");
        for (const char *p = request; *p; p += strlen(p) < 1000 ? strlen(p) : 1000)
            conn_send(&k, &c, TS, 0x18, p, (uint32_t)(strlen(p) < 1000 ? strlen(p) : 1000));
        assert_int_equal(alerts(&k, 1), 1);
        assert_int_equal(k.nblocks, 1);
        assert_target(&k.blocks[0], ALICE);
        ecase_close(&k);
    }
}

static void head_in_pieces(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    static const char whole[] = "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.77, 198.51.100.1\r\n\r\n";
    for (size_t i = 0; i < sizeof whole - 1; i++)
        conn_send(&k, &c, TS, 0x18, whole + i, 1);
    assert_int_equal(k.nblocks, 1);
    assert_target(&k.blocks[0], ALICE);
    ecase_close(&k);
}

/* A connection that was there before the agent: its first request may be somebody's body. */
static void picked_up_in_the_middle(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open_live(&k, SETTINGS, RULE);
    struct conn c = conn_make(HOP, 40000);
    c.seq[TS] = 1000;
    c.seq[TC] = 5000;
    ask(&k, &c, FORGED);
    assert_int_equal(k.nblocks, 0);
    ask(&k, &c, FORGED); /* asked and answered: this one begins where a request begins */
    assert_int_equal(k.nblocks, 1);
    ecase_close(&k);
}

/* --- PROXY protocol --- */

static const char proxy1[] = "PROXY TCP4 198.51.100.1 10.0.0.1 5000 80\r\n";
static const uint8_t proxy2[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00,        0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
                                 0x21, 0x11, 0,    20,   198,         51,   100,  1,    10,   0,    0,    1,
                                 0x13, 0x88, 0,    80,   /* TLV */ 4, 0,    5,    1,    2,    3,    4,    5};
#define EVIL "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.77\r\n\r\n"

static void proxy_header_names_the_client(void **state)
{
    (void)state;
    for (unsigned v = 1; v <= 2; v++) {
        for (unsigned piece = 1; piece <= 64; piece += 21) {
            struct ecase k;
            uint8_t all[512];
            size_t n = v == 1 ? sizeof proxy1 - 1 : sizeof proxy2;
            struct conn c = begin(&k, SETTINGS, RULE, PROXY);
            memcpy(all, v == 1 ? (const void *)proxy1 : (const void *)proxy2, n);
            memcpy(all + n, EVIL, sizeof EVIL - 1);
            n += sizeof EVIL - 1;
            for (size_t i = 0; i < n; i += piece)
                conn_send(&k, &c, TS, 0x18, all + i, (uint32_t)(n - i < piece ? n - i : piece));
            assert_int_equal(alerts(&k, 1), 1);
            assert_int_equal(k.nblocks, 1);
            assert_target(&k.blocks[0], ALICE);
            assert_int_equal(k.blocks[0].identity.source, v == 1 ? IDENTITY_BY_PROXY1 : IDENTITY_BY_PROXY2);
            assert_int_equal(ecounted(&k, SK_C_IDENTITY_PROXY), 1);
            ecase_close(&k);
        }
    }
}

/* What is no HTTP has a client too. */
static void proxy_header_before_another_protocol(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(
        &k, SETTINGS,
        "drop tcp $EXTERNAL_NET any -> any any (flow:established,to_server; content:\"evil\"; startswith; sid:1;)\n",
        PROXY);
    conn_text(&k, &c, TS, proxy1);
    conn_text(&k, &c, TS, "evil bytes of a protocol of its own");
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.nblocks, 1);
    assert_target(&k.blocks[0], ALICE);
    ecase_close(&k);
}

static void proxy_hop_without_header_proves_nothing(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, PROXY);
    ask(&k, &c, EVIL);
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

/* An HTTP hop that passes TCP through would let the client write that line. */
static void proxy_header_from_an_http_hop_proves_nothing(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    conn_text(&k, &c, TS, proxy1);
    ask(&k, &c, EVIL);
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

/* What a stranger writes before his request hides nothing, and makes nobody else the client. */
static void proxy_header_of_a_stranger(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, CLIENT);
    conn_text(&k, &c, TS, proxy1);
    ask(&k, &c, EVIL);
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.nblocks, 1);
    assert_target(&k.blocks[0], CLIENT);
    ecase_close(&k);
}

/* --- what a tunnel carries is one client's --- */
static void headers_in_a_tunnel_are_the_clients_words(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    conn_text(&k, &c, TS, "CONNECT h:80 HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    conn_text(&k, &c, TC, "HTTP/1.1 200 OK\r\n\r\n");
    ask(&k, &c, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.77\r\n\r\n");
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.nblocks, 1);
    assert_target(&k.blocks[0], ALICE);
    ecase_close(&k);
}

/* --- blocked clients that come again --- */
static bool alice_is_blocked(void *arg, const struct sk_addr *client, int64_t now)
{
    (void)arg, (void)now;
    struct sk_addr a = v4(ALICE);
    return sk_addr_eq(client, &a);
}

static void blocked_client_is_cut(const char *mode, unsigned cuts, bool dropped)
{
    struct ecase k;
    ecase_open(&k, NULL, NULL);
    ecase_close(&k);
    char settings[512];
    snprintf(settings, sizeof settings, "%s;mode=%s", SETTINGS, mode);
    ecase_open(&k, settings, RULE);
    engine_worker_free(k.w);
    k.sink.is_blocked = alice_is_blocked;
    assert_int_equal(engine_worker_create(k.e, 0, &k.sink, &k.c, &k.w), SK_OK);
    struct conn c = conn_make(HOP, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.2\r\n\r\n");
    assert_false(k.dropped);
    conn_text(&k, &c, TC, OK_ANSWER);
    conn_text(&k, &c, TS, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    assert_int_equal(k.dropped, dropped);
    assert_int_equal(k.nblocks, cuts);
    for (unsigned i = 0; i < cuts; i++) {
        assert_int_equal(k.blocks[i].reason, DECIDE_BY_AGAIN);
        assert_int_equal(k.blocks[i].kill, 1);
        assert_target(&k.blocks[i], ALICE);
    }
    assert_int_equal(ecounted(&k, SK_C_IDENTITY_CUT), 1);
    ecase_close(&k);
}

static void blocked_clients_requests_are_cut(void **state)
{
    (void)state;
    blocked_client_is_cut("detect", 1, false);
    blocked_client_is_cut("prevent", 0, true);
}

/* Thresholds count clients, not the hop. */
static void rates_are_the_clients(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS,
                          "alert http any any -> any any (http.uri; content:\"/login\"; "
                          "threshold:type threshold, track by_src, count 3, seconds 60; sid:1;)\n",
                          HOP);
    for (unsigned i = 0; i < 4; i++) {
        char request[128];
        snprintf(request, sizeof request, "GET /login HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.%u\r\n\r\n",
                 10 + i);
        ask(&k, &c, request);
    }
    assert_int_equal(alerts(&k, 1), 0);
    for (unsigned i = 0; i < 3; i++)
        ask(&k, &c, "GET /login HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    assert_int_equal(alerts(&k, 1), 1);
    ecase_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_behind_a_hop_is_found_and_blocked),
        cmocka_unit_test(unproven_client_alerts_and_blocks_nobody),
        cmocka_unit_test(strangers_headers_say_nothing),
        cmocka_unit_test(rules_see_the_client),
        cmocka_unit_test(each_request_has_its_own_client),
        cmocka_unit_test(raw_stream_is_of_one_request),
        cmocka_unit_test(flow_bits_and_passes_are_the_clients_own),
        cmocka_unit_test(smuggled_requests_block_nobody),
        cmocka_unit_test(lines_before_the_hops),
        cmocka_unit_test(head_in_pieces),
        cmocka_unit_test(picked_up_in_the_middle),
        cmocka_unit_test(proxy_header_names_the_client),
        cmocka_unit_test(proxy_header_before_another_protocol),
        cmocka_unit_test(proxy_hop_without_header_proves_nothing),
        cmocka_unit_test(proxy_header_from_an_http_hop_proves_nothing),
        cmocka_unit_test(proxy_header_of_a_stranger),
        cmocka_unit_test(headers_in_a_tunnel_are_the_clients_words),
        cmocka_unit_test(blocked_clients_requests_are_cut),
        cmocka_unit_test(rates_are_the_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
