/* Headers: actions, protocols, address and port lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "load.h"

static bool hits(const struct rule_addr_spec *s, const char *text)
{
    struct sk_addr a;
    assert_int_equal(sk_addr_parse(text, strlen(text), &a), SK_OK);
    return rule_addr_match(s, &a);
}

static void address_lists(void **state)
{
    (void)state;
    static const struct {
        const char *list, *in, *out; /* blank-separated addresses */
    } cases[] = {
        {"any", "1.2.3.4 ::1 255.255.255.255", ""},
        {"1.2.3.4", "1.2.3.4", "1.2.3.5 ::1"},
        {"10.0.0.7/8", "10.255.0.1", "11.0.0.0"},
        {"10.0.0.0/255.255.0.0", "10.0.255.1", "10.1.0.0"},
        {"1.1.1.5-1.1.1.9", "1.1.1.5 1.1.1.9", "1.1.1.4 1.1.1.10"},
        {"[10.0.0.0/8,!10.1.0.0/16]", "10.0.255.255 10.2.0.0", "10.1.0.0 10.1.255.255 11.0.0.0"},
        {"!10.0.0.0/8", "9.0.0.1 2001:db8::1", "10.0.0.1"},
        {"[!10.0.0.0/8,!11.0.0.0/8]", "9.0.0.1", "10.0.0.1 11.0.0.1"},
        {"$HOME_NET", "10.1.2.3", "10.9.1.1 192.0.2.1"},
        {"$EXTERNAL_NET", "192.0.2.1 10.9.1.1", "10.1.2.3"},
        {"!$HOME_NET", "192.0.2.1 10.9.1.1", "10.1.2.3"},
        {"[$HOME_NET,$V6]", "10.0.0.1 fd12::1", "10.9.0.1 fe80::1"},
        {"![10.0.0.0/8,!10.1.0.0/16]", "10.1.2.3 9.9.9.9", "10.2.0.0"},
        {"[10.0.0.0/8,![10.1.0.0/16,!10.1.1.0/24]]", "10.0.0.1 10.1.1.9", "10.1.2.0"},
        {"[10.0.0.0/8, [192.0.2.0/24, !192.0.2.9] ]", "10.0.0.1 192.0.2.8", "192.0.2.9"},
        {"::/0", "::1 2001:db8::5", "1.2.3.4"},
        {"0.0.0.0/0", "1.2.3.4", "::1"},
        {"[255.255.255.255,0.0.0.0]", "255.255.255.255 0.0.0.0", "128.0.0.0"},
        {"$NOT_ANY", "", "1.2.3.4 ::1"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char rule[256], list[128];
        snprintf(rule, sizeof rule, "alert ip %s any -> any any (sid:1;)", cases[i].list);
        struct loaded l = load(rule);
        if (l.set->n != 1)
            fail_msg("%s", l.said);
        for (int want = 1; want >= 0; want--) {
            snprintf(list, sizeof list, "%s", want ? cases[i].in : cases[i].out);
            for (char *save, *a = strtok_r(list, " ", &save); a; a = strtok_r(NULL, " ", &save))
                if (hits(l.set->rules[0]->src, a) != want)
                    fail_msg("%s %s %s", cases[i].list, want ? "misses" : "hits", a);
        }
        unload(&l);
    }
}

static void port_lists(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        uint16_t in[4], out[4]; /* up to the first 0 */
    } cases[] = {
        {"any", {1, 80, 65535}, {0}},
        {"80", {80}, {79, 81}},
        {"1024:", {1024, 65535}, {1023}},
        {":1024", {1, 1024}, {1025}},
        {"[80,443,8000:8010]", {80, 443, 8005}, {81, 7999, 8011}},
        {"!80", {79, 81}, {80}},
        {"[1:100,!50]", {49, 51}, {50, 101}},
        {"!$HTTP_PORTS", {81, 8011}, {80, 8000}},
        {"[$HTTP_PORTS,!8005]", {80, 8004}, {8005}},
        {"[1:10,![3:5,!4]]", {2, 4, 6}, {3, 5}},
        {"[ 80 , 81 ]", {80, 81}, {82}},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char rule[256];
        snprintf(rule, sizeof rule, "alert tcp any any -> any %s (sid:1;)", cases[i].list);
        struct loaded l = load_one(rule);
        for (unsigned k = 0; k < 4 && cases[i].in[k]; k++)
            if (!rule_port_match(l.set->rules[0]->dport, cases[i].in[k]))
                fail_msg("%s misses %u", cases[i].list, cases[i].in[k]);
        for (unsigned k = 0; k < 4 && cases[i].out[k]; k++)
            if (rule_port_match(l.set->rules[0]->dport, cases[i].out[k]))
                fail_msg("%s hits %u", cases[i].list, cases[i].out[k]);
        unload(&l);
    }
}

static void equal_lists_are_one(void **state)
{
    (void)state;
    struct loaded l = load("alert ip [10.0.0.0/9,10.128.0.0/9] [80,81] -> any any (sid:1;)\n"
                           "alert ip 10.0.0.0/8 80:81 -> 0.0.0.0/0 any (sid:2;)\n"
                           "alert ip [10.0.0.0/8,!11.0.0.0/8] any -> [any] 0:65535 (sid:3;)\n");
    const struct rule *const *r = l.set->rules;
    assert_int_equal(l.set->n, 3);
    assert_ptr_equal(r[0]->src, r[1]->src);
    assert_ptr_equal(r[0]->src, r[2]->src);
    assert_ptr_equal(r[0]->sport, r[1]->sport);
    assert_int_equal(r[0]->src->uses, 3);
    assert_ptr_not_equal(r[0]->dst, r[1]->dst);
    assert_int_equal(r[2]->dst->id, 0);
    assert_int_equal(r[2]->dport->id, 0);
    assert_true(r[2]->dport->any);
    for (uint32_t i = 0; i < l.set->naddr; i++)
        assert_int_equal(l.set->addrs[i]->id, i);
    for (uint32_t i = 0; i < l.set->nport; i++)
        assert_int_equal(l.set->ports[i]->id, i);
    unload(&l);
}

static void spec_that_matches_nothing_is_said_once(void **state)
{
    (void)state;
    struct loaded l = load("alert ip $NOT_ANY any -> any any (sid:1;)\nalert ip !$ANY any -> any any (sid:2;)\n");
    assert_int_equal(l.set->n, 2);
    assert_non_null(strstr(l.said, "1:10: W: address '$NOT_ANY' matches nothing"));
    assert_null(strstr(l.said, "2:10"));
    unload(&l);
}

static void actions_protocols_direction(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum rule_action action;
    } actions[] = {{"alert", RULE_ALERT},
                   {"pass", RULE_PASS},
                   {"drop", RULE_DROP},
                   {"reject", RULE_REJECT},
                   {"rejectsrc", RULE_REJECT_SRC},
                   {"rejectdst", RULE_REJECT_DST},
                   {"rejectboth", RULE_REJECT_BOTH}};
    static const struct {
        const char *word;
        enum rule_proto proto;
    } protos[] = {
        {"ip", RULE_P_IP},     {"tcp", RULE_P_TCP},   {"tcp-pkt", RULE_P_TCP_PKT}, {"tcp-stream", RULE_P_TCP_STREAM},
        {"udp", RULE_P_UDP},   {"icmp", RULE_P_ICMP}, {"icmpv4", RULE_P_ICMP4},    {"icmpv6", RULE_P_ICMP6},
        {"ip4", RULE_P_IP4},   {"ipv6", RULE_P_IP6},  {"sctp", RULE_P_SCTP},       {"pkthdr", RULE_P_PKTHDR},
        {"http", RULE_P_HTTP}, {"IP", RULE_P_IP}};
    char text[128];
    for (unsigned i = 0; i < sizeof actions / sizeof *actions; i++) {
        snprintf(text, sizeof text, "%s ip any any -> any any (sid:1;)", actions[i].word);
        struct loaded l = load_one(text);
        assert_int_equal(l.set->rules[0]->action, actions[i].action);
        assert_false(l.set->rules[0]->bidir);
        unload(&l);
    }
    for (unsigned i = 0; i < sizeof protos / sizeof *protos; i++) {
        snprintf(text, sizeof text, "alert %s any any <> any any (sid:1;)", protos[i].word);
        struct loaded l = load_one(text);
        assert_int_equal(l.set->rules[0]->proto, protos[i].proto);
        assert_true(l.set->rules[0]->bidir);
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_lists),
        cmocka_unit_test(port_lists),
        cmocka_unit_test(equal_lists_are_one),
        cmocka_unit_test(spec_that_matches_nothing_is_said_once),
        cmocka_unit_test(actions_protocols_direction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
