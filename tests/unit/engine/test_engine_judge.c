/* Scores, policy, floods and active clients, in a whole engine. */
#include <stdio.h>
#include "engine_case.h"

#define EVIL   "GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"
#define GOOD   "GET /good HTTP/1.1\r\nHost: h\r\n\r\n"
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define HOP    0x0a000905u /* 10.0.9.5 appends X-Forwarded-For */
#define PROXY  0x0a000805u /* 10.0.8.5 sends PROXY headers */
#define HOPS   "proxies.http=10.0.9.0/24;proxies.proxy-protocol=10.0.8.0/24;vars.address-groups.EXTERNAL_NET=any;"

/* Forty points. */
#define RULE "alert http any any -> any any (msg:\"evil\"; http.uri; content:\"/evil\"; priority:1; sid:1; rev:2;)\n"

static void assert_addr(const struct sk_prefix *p, uint32_t addr, unsigned len)
{
    uint8_t be[4] = {(uint8_t)(addr >> 24), (uint8_t)(addr >> 16), (uint8_t)(addr >> 8), (uint8_t)addr};
    struct sk_addr a = sk_addr_from_v4(be);
    assert_int_equal(p->len, len);
    assert_memory_equal(&p->addr, &a, sizeof a);
}

static void ask(struct ecase *k, struct conn *c, const char *request)
{
    conn_text(k, c, TS, request);
    conn_text(k, c, TC, ANSWER);
}

static void ask_as(struct ecase *k, struct conn *c, const char *path, const char *client)
{
    char request[200];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: %s\r\n\r\n", path, client);
    ask(k, c, request);
}

/* A connection of its own for each request. */
static void evil_requests(struct ecase *k, uint32_t client, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct conn c = conn_make(client, (uint16_t)(20000 + k->number % 40000));
        conn_handshake(k, &c);
        ask(k, &c, EVIL);
        conn_bye(k, &c);
    }
}

/* --- scores --- */

static void alerts_add_up_to_a_block(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "decide.block-duration=10m",
               RULE "alert http any any -> any any (msg:\"cookie\"; http.cookie; content:\"x\"; priority:2; sid:2;)\n");
    evil_requests(&k, CLIENT, 2);
    evil_requests(&k, CLIENT + 1, 2); /* somebody else */
    assert_int_equal(k.nblocks, 0);
    int64_t before = k.now;
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    ask(&k, &c, "GET /good HTTP/1.1\r\nHost: h\r\nCookie: x\r\n\r\n");
    assert_int_equal(k.nblocks, 1);
    const struct decide_request *q = &k.blocks[0];
    assert_addr(&q->target, CLIENT, 128);
    assert_int_equal(q->reason, DECIDE_BY_SCORE);
    assert_int_equal(q->seconds, 600);
    assert_int_equal(q->score, 100);
    assert_int_equal(q->threshold, 100);
    assert_int_equal(q->scores[0].sid, 1);
    assert_int_equal(q->scores[0].points, 40);
    assert_true(q->scores[0].ts > 0 && q->scores[0].ts < before);
    assert_int_equal(q->scores[2].sid, 2);
    assert_int_equal(q->scores[2].points, 20);
    assert_int_equal(q->scores[3].ts, 0);
    assert_int_equal(q->sid, 2); /* what tipped the scales */
    assert_string_equal(q->msg, "cookie");
    assert_int_equal(q->evidence_len, 1);
    assert_int_equal(q->sport, 40000);
    assert_int_equal(q->kill, 1);
    assert_int_equal(q->identity.state, IDENTITY_DIRECT);
    assert_int_equal(ecounted(&k, SK_C_BLOCK_REQUESTS), 1);
    ask(&k, &c, EVIL); /* anew from 0 */
    ask(&k, &c, EVIL);
    assert_int_equal(k.nblocks, 1);
    ask(&k, &c, EVIL);
    assert_int_equal(k.nblocks, 2);
    ecase_close(&k);
}

static void slow_alerts_do_not(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "decide.score.window=10m", RULE);
    for (int i = 0; i < 10; i++) {
        evil_requests(&k, CLIENT, 1);
        k.now += 301 * SK_NS_PER_S;
    }
    assert_int_equal(alerts(&k, 1), 10);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

static void scores_can_be_off(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "decide.score.enabled=no", RULE);
    evil_requests(&k, CLIENT, 10);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

/* What people want to be told less often does not weigh more for it; and a rule that lets pass accuses nobody. */
static void only_alerts_that_are_told_count(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "alert http any any -> any any (http.uri; content:\"/evil\"; priority:1; threshold:type limit, track "
               "by_src, count 1, seconds 60; sid:1;)\n"
               "pass http any any -> any any (http.uri; content:\"/good\"; priority:1; alert; sid:2;)\n");
    evil_requests(&k, CLIENT, 10);
    struct conn c = conn_make(CLIENT, 50000);
    for (int i = 0; i < 5; i++) {
        c = conn_make(CLIENT, (uint16_t)(50000 + i));
        conn_handshake(&k, &c);
        ask(&k, &c, GOOD);
    }
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(alerts(&k, 2), 5);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

/* `home`: HOME_NET; the client is 192.0.2.1, the server 10.0.0.1. */
static unsigned blocks_with_home(const char *home)
{
    struct ecase k;
    char setting[100];
    snprintf(setting, sizeof setting, "vars.address-groups.HOME_NET=%s", home);
    ecase_open(&k, setting, RULE);
    evil_requests(&k, CLIENT, 3);
    assert_int_equal(alerts(&k, 1), 3);
    assert_int_equal(ecounted(&k, SK_C_SCORE_UNPROVEN), 0);
    unsigned n = k.nblocks;
    ecase_close(&k);
    return n;
}

static void only_who_comes_from_outside_scores(void **state)
{
    (void)state;
    assert_int_equal(blocks_with_home("10.0.0.1"), 1);
    assert_int_equal(blocks_with_home("any"), 1);
    assert_int_equal(blocks_with_home("192.0.2.0/24"), 0);              /* this host's own connection */
    assert_int_equal(blocks_with_home("[10.0.0.0/8,192.0.2.0/24]"), 0); /* one of ours to one of ours */
    assert_int_equal(blocks_with_home("[10.0.0.0/8,!10.0.0.0/24]"), 0); /* a stranger to a stranger */
    assert_int_equal(blocks_with_home("[0.0.0.0/0,!192.0.2.0/24]"), 1);
}

/* An alert on what the server says is about the server, unless the rule says that the other side is to blame. */
static void the_server_does_not_score(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "vars.address-groups.HOME_NET=any",
               "alert tcp any any -> any any (content:\"uid=0\"; priority:1; sid:1;)\n"
               "alert tcp any any -> any any (content:\"gid=0\"; priority:1; target:src_ip; sid:2;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, "id\n");
    for (int i = 0; i < 5; i++)
        conn_text(&k, &c, TC, "uid=0(root)\n");
    assert_int_equal(alerts(&k, 1), 5);
    assert_int_equal(k.nblocks, 0);
    assert_int_equal(ecounted(&k, SK_C_SCORE_UNPROVEN), 0);
    for (int i = 0; i < 3; i++)
        conn_text(&k, &c, TC, "gid=0(root)\n");
    assert_int_equal(k.nblocks, 1);
    assert_addr(&k.blocks[0].target, CLIENT, 128);
    assert_int_equal(k.blocks[0].reason, DECIDE_BY_SCORE);
    ecase_close(&k);
}

static void unproven_alerts_do_not_score_and_are_counted(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "alert udp any any -> any any (content:\"evil\"; priority:1; sid:1;)\n"
               "alert tcp any any -> any any (flags:S; priority:1; sid:2;)\n");
    for (int i = 0; i < 5; i++) {
        udp_send(&k, CLIENT, SERVER, 4000, 53, "evil");
        struct conn syn = conn_make(CLIENT, (uint16_t)(40000 + i));
        conn_send(&k, &syn, TS, TCP_SYN, NULL, 0);
    }
    assert_int_equal(k.nalerts, 10);
    assert_int_equal(k.nblocks, 0);
    assert_int_equal(ecounted(&k, SK_C_SCORE_UNPROVEN), 10);
    assert_int_equal(ecounted(&k, SK_C_BLOCK_UNPROVEN), 0);
    ecase_close(&k);
}

/* What names a proven connection is not therefore part of it: anybody can send it with the client's address. */
static void forged_packets_beside_a_connection_prove_nothing(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               RULE "drop tcp any any -> any any (content:\"forged\"; sid:2;)\n"
                    "drop icmp any any -> any any (itype:3; sid:3;)\n"
                    "alert icmp any any -> any any (itype:3; priority:1; sid:4;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    ask(&k, &c, GOOD);
    struct conn far = c;
    far.seq[TS] += 100000000;
    uint8_t buf[200];
    uint32_t n = tcp_packet(buf + 28, SERVER, CLIENT, 80, 40000, c.seq[TC], c.seq[TS], TCP_ACK, NULL, 0);
    for (int i = 0; i < 5; i++) {
        conn_text(&k, &far, TS, "forged");
        uint32_t len = tcp_packet(buf, CLIENT, SERVER, 0, 0, 0, 0, 0, NULL, 0);
        assert_int_equal(len, 40);
        buf[3] = (uint8_t)(28 + n); /* "unreachable", about a segment of the server */
        buf[9] = IPPROTO_ICMP;
        memset(buf + 20, 0, 8);
        buf[20] = 3;
        tcp_packet(buf + 28, SERVER, CLIENT, 80, 40000, c.seq[TC], c.seq[TS], TCP_ACK, NULL, 0);
        ecase_frame(&k, buf, 28 + n);
    }
    assert_int_equal(alerts(&k, 2), 5);
    assert_int_equal(alerts(&k, 3), 5);
    assert_int_equal(alerts(&k, 4), 5);
    assert_int_equal(k.nblocks, 0);
    assert_int_equal(ecounted(&k, SK_C_BLOCK_UNPROVEN), 10);
    assert_int_equal(ecounted(&k, SK_C_SCORE_UNPROVEN), 5);
    conn_text(&k, &c, TS, "forged"); /* the same from the client itself */
    assert_int_equal(k.nblocks, 1);
    ecase_close(&k);
}

/* --- behind proxies --- */

static void clients_behind_a_hop_score_each_for_itself(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, HOPS, RULE);
    struct conn c = conn_make(HOP, 40000);
    conn_handshake(&k, &c);
    for (int i = 0; i < 2; i++) {
        ask_as(&k, &c, "/evil", "198.51.100.1");
        ask_as(&k, &c, "/evil", "198.51.100.2");
        ask_as(&k, &c, "/evil", "unknown");
    }
    ask_as(&k, &c, "/evil", "unknown"); /* three of nobody */
    assert_int_equal(k.nblocks, 0);
    assert_int_equal(ecounted(&k, SK_C_SCORE_UNPROVEN), 3);
    ask_as(&k, &c, "/evil", "198.51.100.2");
    assert_int_equal(k.nblocks, 1);
    assert_addr(&k.blocks[0].target, 0xc6336402, 128);
    assert_int_equal(k.blocks[0].reason, DECIDE_BY_SCORE);
    assert_int_equal(k.blocks[0].identity.state, IDENTITY_PROVEN);
    for (int i = 0; i < 3; i++) /* a machine of ours, through the balancer */
        ask_as(&k, &c, "/evil", "10.0.7.7");
    assert_int_equal(k.nblocks, 1);
    ecase_close(&k);
}

/* --- policy --- */

static void policy_says_what_alerts_do(void **state)
{
    (void)state;
    static const struct {
        const char *policy;
        unsigned blocks, reason, seconds; /* of three requests */
    } cases[] = {
        {"sid:1 block 5m", 3, DECIDE_BY_POLICY, 300},
        {"class:trojan-activity block", 3, DECIDE_BY_POLICY, 3600},
        {"tag:cve=2021_44228 block 1h", 3, DECIDE_BY_POLICY, 3600},
        {"sid:1 never", 0, 0, 0},
        {"any score 0", 0, 0, 0},
        {"any score 100", 3, DECIDE_BY_SCORE, 3600},
        {"sid:2 block", 1, DECIDE_BY_SCORE, 3600},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ecase k;
        char setting[100];
        snprintf(setting, sizeof setting, "decide.policy=%s", cases[i].policy);
        ecase_open(&k, setting,
                   "alert http any any -> any any (http.uri; content:\"/evil\"; classtype:trojan-activity; "
                   "metadata:cve 2021_44228; sid:1;)\n");
        evil_requests(&k, CLIENT, 3);
        assert_int_equal(k.nblocks, cases[i].blocks);
        for (unsigned n = 0; n < k.nblocks; n++) {
            assert_int_equal(k.blocks[n].reason, cases[i].reason);
            assert_int_equal(k.blocks[n].seconds, cases[i].seconds);
        }
        ecase_close(&k);
    }
}

/* An operator's entry blocks the proven only; a rule's author may mean a lone packet. */
static void policy_blocks_need_proof(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "decide.policy=sid:1 block",
               "alert udp any any -> any any (content:\"evil\"; sid:1;)\n"
               "alert udp any any -> any any (content:\"evil\"; metadata:sekisho_block 1h; sid:2;)\n");
    udp_send(&k, CLIENT, SERVER, 4000, 53, "evil");
    assert_int_equal(k.nblocks, 1);
    assert_int_equal(k.blocks[0].sid, 2);
    assert_int_equal(k.blocks[0].reason, DECIDE_BY_RULE);
    assert_int_equal(ecounted(&k, SK_C_BLOCK_UNPROVEN), 1);
    ecase_close(&k);
}

static void drop_rules_score_where_they_do_not_block(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "decide.block-on-drop=no",
               "drop http any any -> any any (http.uri; content:\"/evil\"; priority:1; sid:1;)\n");
    evil_requests(&k, CLIENT, 3);
    assert_int_equal(k.nblocks, 1);
    assert_int_equal(k.blocks[0].reason, DECIDE_BY_SCORE);
    ecase_close(&k);
}

/* --- floods: a packet takes a millisecond --- */

#define FLOOD "decide.flood.window=1s;decide.flood.host-rate=100;decide.flood.prefix-rate=150;"

/* So many connections, from n addresses in turn, `step` apart. */
static void connect_many(struct ecase *k, unsigned count, uint32_t first, unsigned n, uint32_t step)
{
    for (unsigned i = 0; i < count; i++) {
        struct conn c = conn_make(first + i % n * step, (uint16_t)(10000 + i));
        conn_handshake(k, &c);
        engine_worker_idle(k->w, k->now);
    }
}

static void a_flood_is_told_once(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, FLOOD, RULE);
    connect_many(&k, 2000, CLIENT, 1, 0); /* 333 a second for six seconds */
    assert_int_equal(k.nevents[EVENT_FLOOD], 1);
    assert_int_equal(ecounted(&k, SK_C_FLOODS), 1);
    const struct sk_prefix p = {k.flood.flood.addr, k.flood.flood.plen};
    assert_addr(&p, CLIENT, 128);
    assert_int_equal(k.flood.flood.level, EVENT_FLOOD_HOST);
    assert_int_equal(k.flood.flood.limit, 100);
    assert_in_range(k.flood.flood.rate, 101, 333);
    assert_int_equal(k.flood.flood.action, EVENT_FLOOD_ALERT);
    assert_true(k.flood.ts > 1700000000 * SK_NS_PER_S && k.flood.ts < 1700000002 * SK_NS_PER_S);
    assert_int_equal(k.nblocks, 0); /* by default people are told, and nobody is blocked */
    ecase_close(&k);
    assert_int_equal(k.nevents[EVENT_FLOOD], 1);
}

static void a_flood_is_blocked_where_that_is_wanted(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, FLOOD "decide.flood.action=block;decide.block-duration=5m", RULE);
    connect_many(&k, 1000, CLIENT, 1, 0);
    assert_int_equal(k.nevents[EVENT_FLOOD], 1);
    assert_int_equal(k.flood.flood.action, EVENT_FLOOD_BLOCK);
    assert_in_range(k.nblocks, 2, 4); /* while it lasts once a window: the first may have been refused */
    assert_addr(&k.blocks[0].target, CLIENT, 128);
    assert_int_equal(k.blocks[0].reason, DECIDE_BY_FLOOD);
    assert_int_equal(k.blocks[0].seconds, 300);
    assert_int_equal(k.blocks[0].threshold, 100);
    assert_in_range(k.blocks[0].score, 101, 333);
    assert_int_equal(k.blocks[0].kill, 0);
    assert_true(identity_valid(&k.blocks[0].identity));
    ecase_close(&k);
}

static void a_range_is_blocked_and_a_wide_one_only_told(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, FLOOD "decide.flood.action=block", RULE);
    connect_many(&k, 700, 0xc6336401, 50, 1);
    assert_int_equal(k.nevents[EVENT_FLOOD], 1);
    assert_int_equal(k.flood.flood.level, EVENT_FLOOD_RANGE);
    assert_in_range(k.nblocks, 1, 3);
    assert_addr(&k.blocks[0].target, 0xc6336400, 96 + 24);
    ecase_close(&k);
    ecase_open(&k, "decide.flood.window=1s;decide.flood.prefix-rate=60;decide.flood.action=block", RULE);
    connect_many(&k, 700, 0xc6330001, 50, 256);
    assert_int_equal(k.nevents[EVENT_FLOOD], 1);
    assert_int_equal(k.flood.flood.level, EVENT_FLOOD_WIDE_RANGE);
    assert_int_equal(k.flood.flood.plen, 96 + 16);
    assert_int_equal(k.flood.flood.action, EVENT_FLOOD_ALERT);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

static void requests_count_as_connections_do(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, FLOOD HOPS, RULE);
    struct conn c = conn_make(HOP, 40000), p = conn_make(CLIENT, 40001);
    conn_handshake(&k, &c);
    for (int i = 0; i < 500; i++) {
        ask_as(&k, &c, "/good", "198.51.100.1");
        ask_as(&k, &c, "/good", "unknown"); /* of nobody, not of the hop */
    }
    assert_int_equal(k.nevents[EVENT_FLOOD], 1);
    const struct sk_prefix found = {k.flood.flood.addr, k.flood.flood.plen};
    assert_addr(&found, 0xc6336401, 128);
    assert_in_range(k.flood.flood.rate, 101, 250);
    k.now += 5 * SK_NS_PER_S;
    conn_handshake(&k, &p);
    for (int i = 0; i < 500; i++)
        ask(&k, &p, GOOD); /* one connection, directly */
    assert_int_equal(k.nevents[EVENT_FLOOD], 2);
    const struct sk_prefix direct = {k.flood.flood.addr, k.flood.flood.plen};
    assert_addr(&direct, CLIENT, 128);
    ecase_close(&k);
}

/* Forged SYNs, this host's own connections, and a flood that nobody asks about. */
static void what_is_no_flood(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, FLOOD, RULE);
    for (uint16_t i = 0; i < 2000; i++) {
        struct conn syn = conn_make(CLIENT, (uint16_t)(10000 + i));
        conn_send(&k, &syn, TS, TCP_SYN, NULL, 0);
    }
    ecase_close(&k);
    assert_int_equal(k.nevents[EVENT_FLOOD], 0);
    ecase_open(&k, FLOOD "vars.address-groups.HOME_NET=192.0.2.0/24", RULE);
    connect_many(&k, 1000, CLIENT, 1, 0);
    ecase_close(&k);
    assert_int_equal(k.nevents[EVENT_FLOOD], 0);
    ecase_open(&k, FLOOD "decide.flood.action=none", RULE);
    connect_many(&k, 1000, CLIENT, 1, 0);
    ecase_close(&k);
    assert_int_equal(k.nevents[EVENT_FLOOD], 0);
    ecase_open(&k, "decide.flood.window=1s", RULE); /* the default limits are for more than this */
    connect_many(&k, 1000, CLIENT, 1, 0);
    ecase_close(&k);
    assert_int_equal(k.nevents[EVENT_FLOOD], 0);
}

/* A hop carries everybody's connections. */
static void a_hop_is_no_flood(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, FLOOD "proxies.http=192.0.2.0/24", RULE);
    connect_many(&k, 1000, CLIENT, 1, 0);
    assert_int_equal(engine_active_clients(k.e, k.now), 0);
    ecase_close(&k);
    assert_int_equal(k.nevents[EVENT_FLOOD], 0);
}

static void a_flood_at_the_end_of_a_capture_is_told(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "decide.flood.window=1s;decide.flood.host-rate=10", RULE);
    for (unsigned i = 0; i < 20; i++) { /* within one interval, and then nothing more */
        struct conn c = conn_make(CLIENT, (uint16_t)(10000 + i));
        conn_handshake(&k, &c);
    }
    assert_int_equal(k.nevents[EVENT_FLOOD], 0);
    ecase_close(&k);
    assert_int_equal(k.nevents[EVENT_FLOOD], 1);
    assert_int_equal(k.flood.flood.rate, 20);
    ecase_open(&k, "decide.flood.window=1s;decide.flood.host-rate=10", RULE);
    struct conn c = conn_make(CLIENT, 10000);
    conn_handshake(&k, &c);
    for (int i = 0; i < 15; i++) { /* each counts once, however many pieces it comes in */
        conn_text(&k, &c, TS, "POST /good HTTP/1.1\r\nHost: h\r\n");
        conn_text(&k, &c, TS, "Content-Length: 4\r\n\r\nab");
        conn_text(&k, &c, TS, "cd");
        conn_text(&k, &c, TC, ANSWER);
    }
    ecase_close(&k);
    assert_int_equal(k.flood.flood.rate, 16);
}

/* --- active clients --- */

static void active_clients_are_those_from_outside(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, HOPS "decide.brake.window=10m", RULE);
    assert_int_equal(engine_active_clients(k.e, k.now), 0);
    connect_many(&k, 40, CLIENT, 20, 1); /* twice each */
    for (uint16_t i = 0; i < 50; i++) {  /* anybody's addresses */
        struct conn syn = conn_make(0xc6330000u + i, 10000);
        conn_send(&k, &syn, TS, TCP_SYN, NULL, 0);
    }
    struct conn own = conn_make(0x0a000b01, 10000), c = conn_make(HOP, 40000), p = conn_make(PROXY, 40000);
    conn_handshake(&k, &own);
    assert_int_equal(engine_active_clients(k.e, k.now), 20);
    conn_handshake(&k, &c);
    ask_as(&k, &c, "/good", "198.51.100.1");
    ask_as(&k, &c, "/good", "198.51.100.2");
    ask_as(&k, &c, "/good", "unknown");
    assert_int_equal(engine_active_clients(k.e, k.now), 22);
    conn_handshake(&k, &p);
    conn_text(&k, &p, TS, "PROXY TCP4 198.51.100.3 10.0.8.5 50000 80\r\nSSH-2.0-x\r\n");
    assert_int_equal(engine_active_clients(k.e, k.now), 23);
    assert_int_equal(engine_active_clients(k.e, k.now + 700 * SK_NS_PER_S), 0);
    ecase_close(&k);
}

/* Requests of connections that nobody has: whoever answers them resets them. */
static void stray_requests_are_of_nobody(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open_live(&k, NULL, RULE);
    for (uint16_t i = 0; i < 50; i++) {
        struct conn stray = conn_make(0xc6330000u + i, 10000);
        conn_text(&k, &stray, TS, EVIL);
        conn_send(&k, &stray, TC, TCP_RST, NULL, 0);
    }
    assert_int_equal(alerts(&k, 1), 50);
    assert_int_equal(engine_active_clients(k.e, k.now), 0);
    struct conn old = conn_make(CLIENT, 10000); /* one that was there before the engine */
    ask(&k, &old, GOOD);
    ask(&k, &old, GOOD);
    assert_int_equal(engine_active_clients(k.e, k.now), 1);
    ecase_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alerts_add_up_to_a_block),
        cmocka_unit_test(slow_alerts_do_not),
        cmocka_unit_test(scores_can_be_off),
        cmocka_unit_test(only_alerts_that_are_told_count),
        cmocka_unit_test(only_who_comes_from_outside_scores),
        cmocka_unit_test(the_server_does_not_score),
        cmocka_unit_test(unproven_alerts_do_not_score_and_are_counted),
        cmocka_unit_test(forged_packets_beside_a_connection_prove_nothing),
        cmocka_unit_test(clients_behind_a_hop_score_each_for_itself),
        cmocka_unit_test(policy_says_what_alerts_do),
        cmocka_unit_test(policy_blocks_need_proof),
        cmocka_unit_test(drop_rules_score_where_they_do_not_block),
        cmocka_unit_test(a_flood_is_told_once),
        cmocka_unit_test(a_flood_is_blocked_where_that_is_wanted),
        cmocka_unit_test(a_range_is_blocked_and_a_wide_one_only_told),
        cmocka_unit_test(requests_count_as_connections_do),
        cmocka_unit_test(what_is_no_flood),
        cmocka_unit_test(a_hop_is_no_flood),
        cmocka_unit_test(a_flood_at_the_end_of_a_capture_is_told),
        cmocka_unit_test(active_clients_are_those_from_outside),
        cmocka_unit_test(stray_requests_are_of_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
