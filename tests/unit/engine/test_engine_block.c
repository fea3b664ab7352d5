/* Who is asked to be blocked, and who must not be. */
#include "engine_case.h"

#define EVIL "GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"

static void assert_target(const struct decide_request *q, uint32_t addr)
{
    uint8_t be[4] = {(uint8_t)(addr >> 24), (uint8_t)(addr >> 16), (uint8_t)(addr >> 8), (uint8_t)addr};
    struct sk_addr a = sk_addr_from_v4(be);
    assert_int_equal(q->target.len, 128);
    assert_memory_equal(&q->target.addr, &a, sizeof a);
}

static void drop_rule_blocks_the_proven_client(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "decide.block-duration=10m",
               "drop http any any -> any any (msg:\"an attack\"; http.uri; content:\"/evil\"; sid:7; rev:3;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, EVIL);
    assert_int_equal(k.nblocks, 1);
    const struct decide_request *q = &k.blocks[0];
    assert_target(q, CLIENT);
    assert_int_equal(q->seconds, 600);
    assert_int_equal(q->sid, 7);
    assert_int_equal(q->rev, 3);
    assert_int_equal(q->proto, IPPROTO_TCP);
    assert_int_equal(q->to_server, 1);
    assert_int_equal(q->dropped, 0); /* detect mode: blocked from now on, but this packet has passed */
    assert_int_equal(q->sport, 40000);
    assert_int_equal(q->dport, 80);
    assert_int_equal(q->packet, 4);
    assert_string_equal(q->msg, "an attack");
    assert_int_equal(q->evidence_len, 5);
    assert_memory_equal(q->evidence, "/evil", 5);
    assert_int_equal(ecounted(&k, SK_C_BLOCK_REQUESTS), 1);
    ecase_close(&k);
}

static void prevent_mode_says_that_it_dropped(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "mode=prevent", "drop tcp any any -> any any (content:\"/evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, EVIL);
    assert_int_equal(k.nblocks, 1);
    assert_int_equal(k.blocks[0].dropped, 1);
    ecase_close(&k);
}

static void alert_rule_blocks_nobody(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, "alert tcp any any -> any any (content:\"/evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, EVIL);
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

static void metadata_blocks_and_forbids(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "alert tcp any any -> any any (content:\"/evil\"; metadata:sekisho_block 2m; sid:1;)\n"
               "drop tcp any any -> any any (content:\"/evil\"; metadata:sekisho_block never; sid:2;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, EVIL);
    assert_int_equal(k.nalerts, 2);
    assert_int_equal(k.nblocks, 1);
    assert_int_equal(k.blocks[0].sid, 1);
    assert_int_equal(k.blocks[0].seconds, 120);
    ecase_close(&k);
}

static void block_on_drop_can_be_off(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "decide.block-on-drop=no", "drop tcp any any -> any any (content:\"/evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, EVIL);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

/* A lone packet may carry anybody's address: of UDP, of a SYN, of a stray segment, of a session half seen. */
static void forged_sources_are_not_blocked(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, "stream.midstream=yes",
               "drop udp any any -> any any (content:\"/evil\"; sid:1;)\n"
               "drop tcp any any -> any any (flags:S; sid:2;)\n"
               "drop tcp any any -> any any (content:\"/evil\"; sid:3;)\n");
    udp_send(&k, CLIENT, SERVER, 4000, 53, "/evil");
    assert_int_equal(alerts(&k, 1), 1);
    struct conn syn = conn_make(CLIENT, 40000);
    conn_send(&k, &syn, TS, TCP_SYN, NULL, 0);
    assert_int_equal(alerts(&k, 2), 1);
    struct conn stray = conn_make(CLIENT, 40001); /* the server answers what it does not know with resets */
    for (int i = 0; i < 4; i++) {
        conn_text(&k, &stray, TS, EVIL);
        conn_send(&k, &stray, TC, TCP_RST, NULL, 0);
    }
    assert_true(alerts(&k, 3) >= 1);
    assert_int_equal(k.nblocks, 0);
    assert_true(ecounted(&k, SK_C_BLOCK_UNPROVEN) >= 3);
    ecase_close(&k);
}

/* Data together with the last packet of the handshake that never was: the client has not seen the SYN/ACK. */
static void wrong_acknowledgement_proves_nothing(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL, "drop tcp any any -> any any (content:\"/evil\"; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_send(&k, &c, TS, TCP_SYN, NULL, 0);
    conn_send(&k, &c, TC, TCP_SYN | TCP_ACK, NULL, 0);
    c.seq[TC] += 777; /* what a blind sender would have to guess */
    conn_text(&k, &c, TS, EVIL);
    conn_text(&k, &c, TS, EVIL);
    assert_int_equal(k.nblocks, 0);
    ecase_close(&k);
}

static void target_source_blocks_the_other_side(void **state)
{
    (void)state;
    struct ecase k;
    /* What the server sends back shows that it has been broken into: the source is the victim. */
    ecase_open(&k, NULL,
               "drop tcp $HOME_NET any -> any any (content:\"uid=0\"; target:src_ip; sid:1;)\n"
               "drop tcp any any -> $HOME_NET any (content:\"/evil\"; target:dest_ip; sid:2;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_text(&k, &c, TS, EVIL);
    conn_text(&k, &c, TC, "uid=0(root)");
    assert_int_equal(k.nblocks, 2);
    assert_int_equal(k.blocks[0].sid, 2);
    assert_target(&k.blocks[0], CLIENT);
    assert_int_equal(k.blocks[1].sid, 1);
    assert_target(&k.blocks[1], CLIENT);
    assert_int_equal(k.blocks[1].to_server, 0);
    ecase_close(&k);
}

/* A limit on alerts is a limit on requests too: the guard need not be told a thousand times. */
static void limited_alerts_ask_once(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "drop tcp any any -> any any (content:\"/evil\"; threshold:type limit, track by_src, count 1, "
               "seconds 60; sid:1;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    for (int i = 0; i < 5; i++)
        conn_text(&k, &c, TS, EVIL);
    assert_int_equal(k.nblocks, 1);
    ecase_close(&k);
}

/* Without PSH, bytes wait for the other side's acknowledgement: the alert is still about who sent them. */
static void bytes_that_an_answer_delivers(void **state)
{
    (void)state;
    struct ecase k;
    ecase_open(&k, NULL,
               "drop tcp $EXTERNAL_NET any -> $HOME_NET any (content:\"evil-bytes\"; sid:1;)\n"
               "drop tcp $HOME_NET any -> $EXTERNAL_NET any (content:\"answer\"; sid:2;)\n");
    struct conn c = conn_make(CLIENT, 40000);
    conn_handshake(&k, &c);
    conn_send(&k, &c, TS, 0x10, "evil-bytes", 10);
    conn_send(&k, &c, TC, 0x18, "answer", 6);
    conn_send(&k, &c, TS, 0x10, NULL, 0);
    assert_int_equal(alerts(&k, 1), 1);
    assert_int_equal(alerts(&k, 2), 1);
    assert_int_equal(k.nblocks, 2);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t from[4] = {0xc0, 0, 2, 1}, server[4] = {10, 0, 0, 1};
        struct sk_addr want = sk_addr_from_v4(k.blocks[i].sid == 1 ? from : server);
        assert_true(sk_addr_eq(&k.blocks[i].src, &want));
        assert_int_equal(k.blocks[i].to_server, k.blocks[i].sid == 1);
    }
    ecase_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_that_an_answer_delivers),       cmocka_unit_test(drop_rule_blocks_the_proven_client),
        cmocka_unit_test(prevent_mode_says_that_it_dropped),   cmocka_unit_test(alert_rule_blocks_nobody),
        cmocka_unit_test(metadata_blocks_and_forbids),         cmocka_unit_test(block_on_drop_can_be_off),
        cmocka_unit_test(forged_sources_are_not_blocked),      cmocka_unit_test(wrong_acknowledgement_proves_nothing),
        cmocka_unit_test(target_source_blocks_the_other_side), cmocka_unit_test(limited_alerts_ask_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
