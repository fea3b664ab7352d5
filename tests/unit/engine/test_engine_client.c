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

/* An ICMP error "port unreachable" that quotes the packet `of`. */
static uint32_t icmp_quoting(uint8_t *buf, uint32_t src, uint32_t dst, const uint8_t *of)
{
    const uint32_t n = 20 + 8 + 28;
    memset(buf, 0, n);
    memcpy(buf, (uint8_t[]){0x45, 0, 0, (uint8_t)n, 0, 0, 0, 0, 64, IPPROTO_ICMP}, 10);
    for (unsigned i = 0; i < 4; i++) {
        buf[12 + i] = (uint8_t)(src >> (24 - 8 * i));
        buf[16 + i] = (uint8_t)(dst >> (24 - 8 * i));
    }
    buf[20] = buf[21] = 3;
    memcpy(buf + 28, of, 28);
    return n;
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

/* A hop may pass on the body of a request that was refused before it came: what it holds is its client's. */
static void body_of_a_refused_request_blocks_nobody(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    conn_text(&k, &c, TS,
              "POST / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\nExpect: 100-continue\r\n"
              "Content-Length: 73\r\n\r\n");
    conn_text(&k, &c, TC, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    ask(&k, &c, FORGED);
    assert_int_equal(k.nblocks, 0);
    assert_true(alerts(&k, 1) > 0);
    ecase_close(&k);
}

/* Some hops take CONNECT for the start of a tunnel, or of a body, whatever the server says. */
static void bytes_behind_a_refused_connect_block_nobody(void **state)
{
    (void)state;
    static const char *const heads[] = {"", "Content-Length: 73\r\n"};
    for (unsigned early = 0; early < 2; early++) {
        for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
            struct ecase k;
            char request[256];
            struct conn c = begin(&k, SETTINGS, RULE, HOP);
            snprintf(request, sizeof request,
                     "CONNECT h:80 HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\n%s\r\n", heads[i]);
            conn_text(&k, &c, TS, request);
            if (early)
                conn_text(&k, &c, TS, FORGED);
            conn_text(&k, &c, TC, "HTTP/1.1 405 No\r\nContent-Length: 2\r\n\r\nno");
            ask(&k, &c, FORGED);
            assert_int_equal(k.nblocks, 0);
            assert_true(alerts(&k, 1) > 0);
            ecase_close(&k);
        }
    }
}

/* What another reader takes for a part of the head: the hop's line may come behind it. */
static void heads_with_an_odd_end_block_nobody(void **state)
{
    (void)state;
    static const char *const ends[] = {"X: y\n\n", "X: y\n\r\n", "X: y\r\n\n", "X: y\r\n \nZ: z\r\n\r\n",
                                       "X: y\r\n\t\nZ: z\r\n\r\n"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct ecase k;
        char request[256];
        struct conn c = begin(&k, SETTINGS, RULE, HOP);
        snprintf(request, sizeof request, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n%s",
                 ends[i]);
        ask(&k, &c, request);
        assert_int_equal(k.nblocks, 0);
        assert_int_equal(alerts(&k, 1), 1);
        ecase_close(&k);
    }
}

/* The hop's line stands at the end, which does not come when the server has read enough. */
static void heads_without_an_end_block_nobody(void **state)
{
    (void)state;
    static const uint8_t ends[] = {0x04 /* RST */, 0x11 /* FIN */, 0};
    static const char *const cut[] = {"", "X: y\r\n", "X: y"};
    for (size_t i = 0; i < sizeof ends * sizeof cut / sizeof cut[0]; i++) {
        struct ecase k;
        char request[256];
        struct conn c = begin(&k, SETTINGS, RULE, HOP);
        snprintf(request, sizeof request, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n%s",
                 cut[i / sizeof ends]);
        conn_text(&k, &c, TS, request);
        if (ends[i % sizeof ends])
            conn_send(&k, &c, ends[i % sizeof ends] == 0x04 ? TC : TS, ends[i % sizeof ends], NULL, 0);
        else
            engine_worker_finish(k.w);
        assert_int_equal(alerts(&k, 1), 1);
        assert_int_equal(k.nblocks, 0);
        ecase_close(&k);
    }
}

/* A packet that is not part of the connection is not its client's, whatever its rule says. */
static void strays_with_a_hops_address_block_nobody(void **state)
{
    (void)state;
    static const char rules[] = "alert tcp any any -> any any (content:\"stray\"; metadata:sekisho_block 10m; sid:1;)\n"
                                "alert icmp any any -> any any (itype:3; metadata:sekisho_block 10m; sid:2;)\n";
    struct ecase k;
    uint8_t buf[128], quote[128];
    struct conn c = begin(&k, SETTINGS, rules, HOP);
    ask(&k, &c, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    uint32_t n = tcp_packet(buf, HOP, SERVER, c.cport, c.sport, c.seq[TS] + 0x40000000, c.seq[TC], 0x18, "stray", 5);
    ecase_frame(&k, buf, n);
    assert_int_equal(alerts(&k, 1), 1);
    n = icmp_quoting(quote, HOP, SERVER, buf);
    ecase_frame(&k, quote, n);
    assert_int_equal(alerts(&k, 2), 1);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

#define RAW_RULE "drop tcp any any -> $HOME_NET any (flow:established,to_server; content:\"/evil\"; sid:1;)\n"

/* Where the parser has lost its way, or an answer is missing, the next bytes are not those of the last client. */
static void bytes_behind_a_lost_answer_are_not_the_last_clients(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 206 OK\r\nContent-Type: multipart/byteranges; boundary=x\r\n\r\n", /* the parser gives up */
        "HTTP/1.1 204 OK\r\nContent-Length: 500\r\n\r\n", ""};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct ecase k;
        static char start[4096];
        struct conn c = begin(&k, SETTINGS, RAW_RULE, HOP);
        conn_text(&k, &c, TS, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
        if (answers[i][0] != '\0')
            conn_text(&k, &c, TC, answers[i]);
        memset(start, 'a', sizeof start);
        memcpy(start, "GET /evil/", 10);
        for (unsigned at = 0; at < 3000; at += 1000) /* of somebody else, who is not named yet */
            conn_send(&k, &c, TS, 0x18, start + at, 1000);
        conn_text(&k, &c, TS, " HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
        conn_text(&k, &c, TC, OK_ANSWER);
        conn_text(&k, &c, TS, "GET /evil HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
        assert_true(alerts(&k, 1) > 0);
        for (unsigned b = 0; b < k.nblocks; b++)
            assert_true(k.blocks[b].identity.client.b[12] != 198);
        ecase_close(&k);
    }
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
    ask(&k, &c, FORGED);
    assert_int_equal(k.nblocks, 0);
    ask(&k, &c, FORGED); /* twice asked and answered: this one begins where a request begins */
    assert_int_equal(k.nblocks, 1);
    ecase_close(&k);
}

/* The answer may be one to the body in which the forged requests stand, which need not have come to its end. */
static void picked_up_in_a_body_that_is_refused(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open_live(&k, SETTINGS, RULE);
    struct conn c = conn_make(HOP, 40000);
    c.seq[TS] = 1000;
    c.seq[TC] = 5000;
    conn_text(&k, &c, TS, FORGED);
    conn_text(&k, &c, TC, "HTTP/1.1 102 Processing\r\n\r\n");
    conn_text(&k, &c, TS, FORGED);
    conn_text(&k, &c, TC, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    for (unsigned i = 0; i < 3; i++)
        conn_text(&k, &c, TS, FORGED);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

/* --- holes --- */

#define GOOD "GET /good HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.2\r\n\r\n"

/* Bytes that the kernel dropped, or somebody made it drop. */
static void hole(struct conn *c, int dir)
{
    c->seq[dir] += 100;
}

/* Inspected at once; believed when it is certain again where a request begins. */
static void request_behind_a_hole(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    ask(&k, &c, GOOD);
    hole(&c, TS); /* a whole request */
    conn_text(&k, &c, TC, OK_ANSWER);
    ask(&k, &c, FORGED);
    assert_int_equal(alerts(&k, 1), 1);
    ask(&k, &c, FORGED); /* the first that was begun when it was certain that none was under way */
    assert_int_equal(alerts(&k, 1), 2);
    assert_int_equal(k.nblocks, 0);
    ask(&k, &c, FORGED);
    assert_int_equal(alerts(&k, 1), 3);
    assert_int_equal(k.nblocks, 1);
    assert_target(&k.blocks[0], ALICE);
    ecase_close(&k);

    c = begin(&k, SETTINGS, RULE, CLIENT); /* without a hop there is nothing to prove */
    hole(&c, TS);
    conn_send(&k, &c, TC, 0x10, NULL, 0);
    conn_text(&k, &c, TC, OK_ANSWER);
    hole(&c, TS);
    ask(&k, &c, FORGED);
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.nblocks, 1);
    assert_target(&k.blocks[0], CLIENT);
    ecase_close(&k);
}

static void response_behind_a_hole(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    conn_text(&k, &c, TS, GOOD);
    hole(&c, TC);
    for (unsigned i = 1; i < 4; i++) {
        ask(&k, &c, FORGED);
        assert_int_equal(alerts(&k, 1), i);
    }
    assert_int_equal(k.nblocks, 0); /* the first of them seems to come before the answer that is missing */
    ecase_close(&k);
}

/* The head of a POST falls into a hole; its body is made to look like requests of somebody else, however answered. */
static void forged_bodies_name_nobody(void **state)
{
    (void)state;
    static const char *const answers[] = {"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno",
                                          "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
                                          "HTTP/1.1 204 None\r\n\r\n", OK_ANSWER};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        for (unsigned early = 0; early < 5; early++) { /* before which of its parts the answer comes */
            for (unsigned both = 0; both < 2; both++) {
                struct ecase k;
                struct conn c = begin(&k, SETTINGS, RULE, HOP);
                ask(&k, &c, GOOD);
                hole(&c, TS);
                if (both)
                    hole(&c, TC);
                for (unsigned part = 0; part < 4; part++) {
                    if (part == early || both) /* the client writes answers too */
                        conn_text(&k, &c, TC, answers[i]);
                    conn_text(&k, &c, TS, FORGED);
                    conn_send(&k, &c, TC, 0x10, NULL, 0);
                }
                conn_text(&k, &c, TC, OK_ANSWER);
                ask(&k, &c, FORGED);
                assert_true(alerts(&k, 1) > 0);
                assert_int_equal(k.nblocks, 0);
                assert_int_equal(ecounted(&k, SK_C_IDENTITY_PROVEN), 1);
                ecase_close(&k);
            }
        }
    }
}

/* A client who was proven before the hole is not the source of what comes behind it. */
static void proven_client_before_a_hole(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(
        &k, SETTINGS,
        "drop tcp $EXTERNAL_NET any -> any any (flow:established,to_server; content:\"evil-bytes\"; sid:1;)\n", HOP);
    conn_text(&k, &c, TS,
              "POST /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(ecounted(&k, SK_C_IDENTITY_PROVEN), 1);
    hole(&c, TS);
    conn_send(&k, &c, TC, 0x10, NULL, 0);
    conn_text(&k, &c, TS, "anybody's");
    conn_send(&k, &c, TC, 0x10, NULL, 0);
    conn_text(&k, &c, TS, "evil-bytes");
    conn_text(&k, &c, TC, OK_ANSWER);
    conn_text(&k, &c, TS, "evil-bytes");
    assert_int_equal(alerts(&k, 1), 2);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

/* The first bytes of the connection were missed. */
static void hole_before_the_protocol_is_known(void **state)
{
    (void)state;
    struct ecase k;
    struct conn c = begin(&k, SETTINGS, RULE, HOP);
    hole(&c, TS);
    conn_text(&k, &c, TS, FORGED);
    conn_send(&k, &c, TC, 0x10, NULL, 0);
    conn_text(&k, &c, TC, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    conn_text(&k, &c, TS, FORGED);
    assert_int_equal(alerts(&k, 1), 2);
    assert_int_equal(k.nblocks, 0);
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

/* Nor does it hide what stands in it, from rules on the raw stream: the server may be one that knows no such header. */
static void header_that_nobody_believes_is_shown(void **state)
{
    (void)state;
    static const uint32_t from[] = {CLIENT, HOP, PROXY};
    uint8_t all[1000];
    memset(all, ' ', sizeof all);
    memcpy(all, proxy2, sizeof proxy2);
    all[14] = (sizeof all - 16) >> 8;
    all[15] = (sizeof all - 16) & 0xff;
    memcpy(all + 200, "\r\nset first-half\r\n", 18);
    memcpy(all + 900, "\r\nset second-half\r\n", 19);
    for (size_t f = 0; f < sizeof from / sizeof from[0]; f++) {
        for (unsigned piece = 7; piece < 600; piece += 493) { /* none with both halves */
            struct ecase k;
            struct conn c =
                begin(&k, SETTINGS,
                      "alert tcp any any -> any any (flow:established,to_server; content:\"|0d 0a 0d 0a 00|\"; "
                      "startswith; content:\"first-half\"; content:\"second-half\"; sid:1;)\n",
                      from[f]);
            for (size_t i = 0; i < sizeof all; i += piece)
                conn_send(&k, &c, TS, 0x18, all + i, (uint32_t)(sizeof all - i < piece ? sizeof all - i : piece));
            assert_int_equal(alerts(&k, 1), from[f] == PROXY ? 0 : 1); /* of a hop's own words it has vouched */
            ecase_close(&k);
        }
    }
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
        cmocka_unit_test(body_of_a_refused_request_blocks_nobody),
        cmocka_unit_test(bytes_behind_a_refused_connect_block_nobody),
        cmocka_unit_test(heads_with_an_odd_end_block_nobody),
        cmocka_unit_test(heads_without_an_end_block_nobody),
        cmocka_unit_test(strays_with_a_hops_address_block_nobody),
        cmocka_unit_test(bytes_behind_a_lost_answer_are_not_the_last_clients),
        cmocka_unit_test(lines_before_the_hops),
        cmocka_unit_test(head_in_pieces),
        cmocka_unit_test(picked_up_in_the_middle),
        cmocka_unit_test(picked_up_in_a_body_that_is_refused),
        cmocka_unit_test(request_behind_a_hole),
        cmocka_unit_test(response_behind_a_hole),
        cmocka_unit_test(forged_bodies_name_nobody),
        cmocka_unit_test(proven_client_before_a_hole),
        cmocka_unit_test(hole_before_the_protocol_is_known),
        cmocka_unit_test(proxy_header_names_the_client),
        cmocka_unit_test(proxy_header_before_another_protocol),
        cmocka_unit_test(proxy_hop_without_header_proves_nothing),
        cmocka_unit_test(proxy_header_from_an_http_hop_proves_nothing),
        cmocka_unit_test(proxy_header_of_a_stranger),
        cmocka_unit_test(header_that_nobody_believes_is_shown),
        cmocka_unit_test(headers_in_a_tunnel_are_the_clients_words),
        cmocka_unit_test(blocked_clients_requests_are_cut),
        cmocka_unit_test(rates_are_the_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
