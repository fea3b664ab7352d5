/* Rules on packets: headers, fields, payload, addresses and ports, flow bits. */
#include "decode/decode.h"
#include "detect_case.h"
#include <stdio.h>

/* Enough rules on HOME_NET and EXTERNAL_NET that both make address classes. */
static const char *with_classes(const char *rules)
{
    static char text[65536];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", rules);
    for (int i = 0; i < 10; i++)
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "alert tcp $EXTERNAL_NET any -> $HOME_NET any (content:\"in%d\"; sid:%d;)\n"
                              "alert tcp $HOME_NET any -> $EXTERNAL_NET any (content:\"out%d\"; sid:%d;)\n",
                              i, 9000 + i, i, 9100 + i);
    return text;
}

static void header_rule_once_per_flow_and_direction(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (sid:1;)\n"
                  "alert tcp 10.0.0.1 any -> any any (sid:2;)\n"
                  "alert udp any any -> any any (sid:3;)\n");
    for (int i = 0; i < 3; i++)
        case_packet(&k, TS, "x");
    assert_int_equal(fired(&k, 1), 1);
    for (int i = 0; i < 3; i++)
        case_packet(&k, TC, "x");
    assert_int_equal(fired(&k, 1), 2);
    assert_int_equal(fired(&k, 2), 1); /* the server's address is the source only of what comes back */
    case_new_flow(&k);
    case_packet(&k, TS, "x");
    assert_int_equal(fired(&k, 1), 3);
    assert_int_equal(fired(&k, 3), 0);
    case_close(&k);
}

static void field_rule_on_every_packet(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (ttl:64; sid:1;)\n"
                  "alert tcp any any -> any any (flags:S; sid:2;)\n"
                  "alert tcp any any -> any any (dsize:>3; sid:3;)\n"
                  "alert ip any any -> any any (ip_proto:6; sameip; sid:4;)\n"
                  "alert tcp any any -> any any (flags:!A; sid:5;)\n"
                  "alert tcp any any -> any any (flow:to_server; window:5; sid:6;)\n");
    k.p.ttl = 64;
    k.p.flags = PKT_TCP;
    k.p.tcp.flags = TCP_SYN;
    k.p.tcp.win = 5;
    case_packet(&k, TS, "");
    k.p.tcp.flags = TCP_SYN | TCP_ACK;
    case_packet(&k, TC, "long enough");
    k.p.ttl = 63;
    case_packet(&k, TS, "abc");
    assert_int_equal(fired(&k, 1), 2);
    assert_int_equal(fired(&k, 2), 1);
    assert_int_equal(fired(&k, 3), 1);
    assert_int_equal(fired(&k, 4), 0);
    assert_int_equal(fired(&k, 5), 1);
    assert_int_equal(fired(&k, 6), 2);
    case_close(&k);
}

static void orientation_follows_the_networks(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, with_classes("alert tcp $EXTERNAL_NET any -> $HOME_NET any (content:\"abc\"; sid:1;)\n"
                               "alert tcp $HOME_NET any -> $EXTERNAL_NET any (content:\"abc\"; sid:2;)\n"
                               "alert tcp any any -> any any (content:\"abc\"; sid:3;)\n"
                               "alert tcp any any -> any any (content:\"abc\"; flow:to_client; sid:4;)\n"
                               "alert tcp $HOME_NET any <> $EXTERNAL_NET any (content:\"abc\"; sid:5;)\n"
                               "alert tcp !$HOME_NET any -> !$HOME_NET any (content:\"abc\"; sid:6;)\n"));
    case_packet(&k, TS, "xxabcxx");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 0);
    case_packet(&k, TC, "xxabcxx");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 1);
    assert_int_equal(fired(&k, 3), 2);
    assert_int_equal(fired(&k, 4), 1);
    assert_int_equal(fired(&k, 5), 2);
    assert_int_equal(fired(&k, 6), 0);

    case_new_flow(&k); /* now from home to the outside */
    k.client = case_addr("10.1.2.3");
    k.server = case_addr("203.0.113.9");
    case_packet(&k, TS, "abc");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 2);
    case_new_flow(&k);
    k.client = case_addr("2001:db8::1");
    k.server = case_addr("2001:db8::2");
    case_packet(&k, TS, "abc");
    assert_int_equal(fired(&k, 6), 1);
    assert_int_equal(fired(&k, 1), 1);
    case_close(&k);
}

/* 1,000 listed addresses, found through the index; the other side of the rule still counts. */
static void long_address_list(void **state)
{
    (void)state;
    static char list[32768], rules[80000];
    size_t n = (size_t)snprintf(list, sizeof list, "[203.0.113.77");
    for (int i = 0; i < 999; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, ",198.%d.%d.7", 18 + i / 250, i % 250);
    snprintf(list + n, sizeof list - n, "]");
    snprintf(rules, sizeof rules,
             "alert tcp %s any -> $HOME_NET any (sid:1;)\n"
             "alert ip $HOME_NET any -> %s any (sid:2;)\n"
             "alert tcp [198.18.7.0/24,203.0.113.0/24] 1:1023 -> any any (sid:3;)\n"
             "alert tcp [198.18.7.0/24,203.0.113.0/24] 40000 -> any 80 (sid:4;)\n",
             list, list);
    struct tcase k;
    static char all[150000];
    snprintf(all, sizeof all, "%s", rules);
    const char *classes = with_classes("");
    strcat(all, classes);
    case_open(&k, all);
    case_packet(&k, TS, "x");
    case_packet(&k, TC, "x");
    assert_int_equal(k.nfired, 0); /* 192.0.2.1 is not listed */

    case_new_flow(&k);
    k.client = case_addr("198.21.248.7"); /* the last of the list */
    case_packet(&k, TS, "x");
    case_packet(&k, TC, "x");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 1);

    case_new_flow(&k);
    k.client = case_addr("203.0.113.77");
    k.server = case_addr("192.0.2.200"); /* listed, but not going home */
    case_packet(&k, TS, "x");
    case_packet(&k, TC, "x");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 1);
    assert_int_equal(fired(&k, 3), 0);
    assert_int_equal(fired(&k, 4), 1);
    case_close(&k);
}

static void port_classes_hide_nothing(void **state)
{
    (void)state;
    static char text[65536];
    size_t n = 0;
    for (int i = 0; i < 40; i++) /* two port specs with many uses */
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "alert tcp any any -> any %s (content:\"word\"; flow:to_server; sid:%d;)\n"
                              "alert tcp any %s -> any any (content:\"word\"; flow:to_client; sid:%d;)\n",
                              i % 2 ? "80" : "[8000:9000,!8080]", 100 + i, i % 2 ? "80" : "[8000:9000,!8080]", 200 + i);
    snprintf(text + n, sizeof text - n,
             "alert tcp any any -> any 8080 (content:\"word\"; sid:1;)\n"
             "alert tcp any any -> any 40000 (content:\"word\"; sid:2;)\n"
             "alert tcp any 80 -> any any (content:\"word\"; sid:3;)\n"
             "alert tcp any any <> any 80 (content:\"word\"; sid:4;)\n");
    const struct detect_thread_conf conf = {.max_alerts = 64, .window_memcap = 1 << 20, .max_tx_nodes = 64};
    struct tcase k;
    case_open_conf(&k, text, NULL, &conf);
    case_packet(&k, TS, "a word");
    assert_int_equal(fired(&k, 101), 1);
    assert_int_equal(fired(&k, 100), 0);
    assert_int_equal(fired(&k, 201), 0);
    assert_int_equal(fired(&k, 1), 0);
    assert_int_equal(fired(&k, 4), 1);
    case_packet(&k, TC, "a word");
    assert_int_equal(fired(&k, 101), 1);
    assert_int_equal(fired(&k, 201), 1);
    assert_int_equal(fired(&k, 2), 1); /* towards the client's port */
    assert_int_equal(fired(&k, 3), 1);
    assert_int_equal(fired(&k, 4), 2);
    case_close(&k);
}

static void payload_of_packets(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert udp any any -> any any (content:\"evil\"; sid:1;)\n"
                  "alert udp any any -> any any (content:\"evil\"; depth:6; sid:2;)\n"
                  "alert udp any any -> any any (content:!\"good\"; sid:3;)\n"
                  "alert udp any any -> any any (pcre:\"/e.il/\"; sid:4;)\n"
                  "alert tcp-pkt any any -> any any (content:\"evil\"; sid:5;)\n"
                  "alert tcp-stream any any -> any any (content:\"evil\"; sid:6;)\n");
    k.in.proto = IPPROTO_UDP;
    case_packet(&k, TS, "xxevil");
    case_packet(&k, TS, "xxxxxevil good");
    assert_int_equal(fired(&k, 1), 2);
    assert_int_equal(fired(&k, 2), 1);
    assert_int_equal(fired(&k, 3), 1);
    assert_int_equal(fired(&k, 4), 2);
    case_new_flow(&k);
    k.in.proto = IPPROTO_TCP;
    case_packet(&k, TS, "evil");
    assert_int_equal(fired(&k, 5), 1);
    assert_int_equal(fired(&k, 6), 0);
    assert_int_equal(fired(&k, 1), 2);
    case_close(&k);
}

static void flow_bits_in_order(void **state)
{
    (void)state;
    struct tcase k;
    /* The one that tests stands first in the file; the one that sets runs first. */
    case_open(&k, "alert udp any any -> any any (flowbits:isset,seen; content:\"two\"; sid:1;)\n"
                  "alert udp any any -> any any (flowbits:set,seen; flowbits:noalert; content:\"one\"; sid:2;)\n"
                  "alert udp any any -> any any (flowbits:isnotset,seen; content:\"two\"; sid:3;)\n"
                  "alert udp any any -> any any (flowbits:isset,seen|other; content:\"three\"; sid:4;)\n"
                  "alert udp any any -> any any (flowbits:isnotset,seen|other; content:\"three\"; sid:5;)\n"
                  "alert udp any any -> any any (flowbits:unset,seen; content:\"four\"; sid:6;)\n");
    k.in.proto = IPPROTO_UDP;
    case_packet(&k, TS, "two");
    assert_int_equal(fired(&k, 1), 0);
    assert_int_equal(fired(&k, 3), 1);
    case_packet(&k, TC, "one two");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 0);
    assert_int_equal(fired(&k, 3), 1);
    case_packet(&k, TS, "three");
    assert_int_equal(fired(&k, 4), 1);
    assert_int_equal(fired(&k, 5), 1);
    const char *names[DETECT_MAX_FLOWBITS];
    assert_int_equal(detect_flowbit_names(&k.df, names, DETECT_MAX_FLOWBITS), 1);
    assert_string_equal(names[0], "seen");
    case_packet(&k, TS, "four");
    case_packet(&k, TS, "two");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 3), 2);
    case_new_flow(&k); /* bits are the flow's */
    case_packet(&k, TS, "three");
    assert_int_equal(fired(&k, 4), 1);
    case_close(&k);
}

static void too_many_flow_bits_are_counted(void **state)
{
    (void)state;
    static char text[16384];
    size_t n = 0;
    for (int i = 0; i < DETECT_MAX_FLOWBITS + 3; i++)
        n += (size_t)snprintf(
            text + n, sizeof text - n,
            "alert udp any any -> any any (flowbits:set,b%d; flowbits:noalert; content:\"x\"; sid:%d;)\n", i, i + 1);
    struct tcase k;
    case_open(&k, text);
    k.in.proto = IPPROTO_UDP;
    case_packet(&k, TS, "x");
    const char *names[2 * DETECT_MAX_FLOWBITS];
    assert_int_equal(detect_flowbit_names(&k.df, names, 2 * DETECT_MAX_FLOWBITS), DETECT_MAX_FLOWBITS);
    assert_int_equal(counted(&k, SK_C_DETECT_FLOWBIT_FULL), 3);
    case_close(&k);
}

static void without_a_flow(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert ip any any -> any any (content:\"x\"; sid:1;)\n"
                  "alert ip any any -> any any (content:\"x\"; flow:to_server; sid:2;)\n"
                  "alert ip any any -> any any (content:\"x\"; flowbits:isnotset,b; sid:3;)\n"
                  "alert ip any any -> any any (content:\"x\"; flowbits:set,b; sid:4;)\n"
                  "alert ip any any -> 10.0.0.1 any (sid:5;)\n");
    case_begin(&k, TS, "x", 1); /* fills in the packet */
    k.in.has_flow = false;
    k.in.proto = k.p.proto = 47;
    for (int i = 0; i < 2; i++) {
        unsigned n;
        detect_begin(k.t, NULL, &k.in);
        detect_packet(k.t, NULL, &k.in);
        const struct detect_alert *a = detect_end(k.t, NULL, &k.in, &n, &k.drop);
        for (unsigned j = 0; j < n; j++)
            k.fired[k.nfired++] = a[j].rule->sid;
    }
    assert_int_equal(fired(&k, 1), 2);
    assert_int_equal(fired(&k, 2), 0);
    assert_int_equal(fired(&k, 3), 0);
    assert_int_equal(fired(&k, 4), 2);
    assert_int_equal(fired(&k, 5), 2);
    case_close(&k);
}

static void only_decoder_events_of_what_is_not_ip(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert ip any any -> any any (sid:1;)\n"
                  "alert pkthdr any any -> any any (decode-event:ipv4.trunc_pkt; sid:2;)\n"
                  "alert pkthdr any any -> any any (decode-event:ipv4.hlen_too_small; sid:3;)\n");
    case_begin(&k, TS, "", 0);
    k.p.flags = PKT_INVALID;
    k.p.nevents = 1;
    k.p.events[0] = DECODE_EV_IPV4_TRUNC_PKT;
    k.in.has_flow = false;
    k.in.proto = 0;
    unsigned n;
    detect_begin(k.t, NULL, &k.in);
    detect_packet(k.t, NULL, &k.in);
    const struct detect_alert *a = detect_end(k.t, NULL, &k.in, &n, &k.drop);
    assert_int_equal(n, 1);
    assert_int_equal(a[0].rule->sid, 2);
    case_close(&k);
}

/* An ICMP error that quotes a TCP flow meets ICMP rules, and leaves the flow's own rules alone. */
static void icmp_error_of_a_tcp_flow(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert icmp any any -> any any (itype:3; sid:1;)\n"
                  "alert icmp 198.51.100.1 any -> any any (sid:2;)\n"
                  "alert tcp any any -> any any (content:\"evil\"; sid:3;)\n");
    const struct sk_addr router = case_addr("198.51.100.1");
    case_begin(&k, TS, "", 0); /* the very first look-up of the flow happens with the error */
    k.p.flags = PKT_IPV4 | PKT_ICMP4;
    k.p.proto = IPPROTO_ICMP;
    k.p.icmp.type = 3;
    k.in.proto = IPPROTO_ICMP;
    k.in.quoted = true;
    k.in.src = &router;
    detect_packet(k.t, &k.df, &k.in);
    case_end(&k);
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 1);
    k.in.quoted = false;
    k.p.flags = PKT_TCP;
    case_text(&k, TS, "ev");
    case_text(&k, TS, "il");
    assert_int_equal(fired(&k, 3), 1);
    case_close(&k);
}

static void app_rule_once_http_is_known(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert http any any -> any any (sid:1;)\n"
                  "alert http any any -> any any (flow:to_server; sid:2;)\n"
                  "alert tcp any any -> any any (app-layer-protocol:http; sid:3;)\n"
                  "alert http any any -> any any (dsize:2; sid:4;)\n"); /* packet fields: every packet is asked */
    case_packet(&k, TS, "GET");
    assert_int_equal(k.nfired, 0);
    k.in.app = DETECT_APP_HTTP;
    k.in.app_name[0] = k.in.app_name[1] = k.in.app_name[2] = "http";
    k.in.app_decided = true;
    case_packet(&k, TS, "x");
    k.in.app_decided = false;
    case_packet(&k, TS, "x");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 3), 1);
    case_packet(&k, TC, "x");
    case_packet(&k, TC, "x");
    assert_int_equal(fired(&k, 1), 2);
    assert_int_equal(fired(&k, 2), 1);
    case_packet(&k, TC, "xy");
    case_packet(&k, TC, "xy");
    assert_int_equal(fired(&k, 4), 2);
    case_close(&k);
}

/* A reload in the middle of a flow: rules on addresses apply to it too, old pointers are gone. */
static void reload_in_a_flow(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"old\"; flowbits:set,a; sid:1;)\n"
                  "alert tcp [192.0.2.1,192.0.2.2] any -> any any (sid:2;)\n");
    case_text(&k, TS, "old new");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 1);
    case_reload(&k, "alert tcp any any -> any any (content:\"new\"; sid:3;)\n"
                    "alert tcp [192.0.2.1,192.0.2.3] any -> any any (sid:4;)\n"
                    "alert tcp any any -> any any (flowbits:isset,b; sid:5;)\n"
                    "alert tcp any any -> any any (flowbits:set,b; content:\"never\"; sid:6;)\n");
    case_text(&k, TS, "old new");
    case_text(&k, TS, "old");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 3), 1);
    assert_int_equal(fired(&k, 4), 1);
    assert_int_equal(fired(&k, 5), 0); /* bit numbers belong to the rules that are gone */
    case_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_rule_once_per_flow_and_direction),
        cmocka_unit_test(field_rule_on_every_packet),
        cmocka_unit_test(orientation_follows_the_networks),
        cmocka_unit_test(long_address_list),
        cmocka_unit_test(port_classes_hide_nothing),
        cmocka_unit_test(payload_of_packets),
        cmocka_unit_test(flow_bits_in_order),
        cmocka_unit_test(too_many_flow_bits_are_counted),
        cmocka_unit_test(without_a_flow),
        cmocka_unit_test(only_decoder_events_of_what_is_not_ip),
        cmocka_unit_test(icmp_error_of_a_tcp_flow),
        cmocka_unit_test(app_rule_once_http_is_known),
        cmocka_unit_test(reload_in_a_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
