/* decide.policy and proxies: what entries mean, and what is wrong with others. */
#include "base/clock.h"
#include "support.h"

static void policy_entries_are_read(void **state)
{
    (void)state;
    struct conf *c =
        load_good("decide:\n  policy:\n    - sid:2012345 never\n    - sid:3:77 block\n"
                  "    - class:web-application-attack block 2h\n    - \"tag:attack_target=Web_Server score 50\"\n"
                  "    - tag:malware score 0\n    - priority:2 score 7\n    - any never\n");
    const struct conf_policy *p = c->decide.policy.v;
    assert_int_equal(c->decide.policy.n, 7);
    assert_true(p[0].by == CONF_POLICY_SID && p[0].gid == 1 && p[0].sid == 2012345 && p[0].act == CONF_POLICY_NEVER);
    assert_true(p[1].by == CONF_POLICY_SID && p[1].gid == 3 && p[1].sid == 77 && p[1].act == CONF_POLICY_BLOCK);
    assert_true(p[1].duration == 0); /* decide.block-duration */
    assert_true(p[2].by == CONF_POLICY_CLASS && p[2].duration == 7200 * SK_NS_PER_S);
    assert_string_equal(p[2].name, "web-application-attack");
    assert_true(p[3].by == CONF_POLICY_TAG && p[3].act == CONF_POLICY_SCORE && p[3].points == 50);
    assert_string_equal(p[3].name, "attack_target");
    assert_string_equal(p[3].value, "Web_Server");
    assert_true(p[4].by == CONF_POLICY_TAG && p[4].value == NULL && p[4].points == 0);
    assert_true(p[5].by == CONF_POLICY_PRIORITY && p[5].sid == 2);
    assert_true(p[6].by == CONF_POLICY_ANY);
    conf_free(c);
}

static void policies_are_set_from_the_command_line(void **state)
{
    (void)state;
    struct conf *c = defaults();
    assert_int_equal(c->decide.policy.n, 0);
    set_good(c, "decide.policy", "sid:7 block 1m, any never");
    assert_int_equal(c->decide.policy.n, 2);
    conf_free(c);
}

static void wrong_policy_entries_are_told(void **state)
{
    (void)state;
#define HEAD "t.yaml:1:19: decide.policy: "
    load_bad("decide: {policy: [sid:5]}", HEAD "\"sid:5\": is not SELECTOR ACTION");
    load_bad("decide: {policy: [sid:x never]}",
             HEAD "\"sid:x never\": the selector is sid:, class:, tag:, priority: or any");
    load_bad("decide: {policy: [rule:5 never]}",
             HEAD "\"rule:5 never\": the selector is sid:, class:, tag:, priority: or any");
    load_bad("decide: {policy: [\"class: never\"]}",
             HEAD "\"class: never\": the selector is sid:, class:, tag:, priority: or any");
    load_bad("decide: {policy: [priority:0 never]}",
             HEAD "\"priority:0 never\": the selector is sid:, class:, tag:, priority: or any");
#define ACTIONS "the action is never, block [TIME] (1s..365d) or score POINTS"
    load_bad("decide: {policy: [any block 0]}", HEAD "\"any block 0\": " ACTIONS);
    load_bad("decide: {policy: [any block 2y]}", HEAD "\"any block 2y\": " ACTIONS);
    load_bad("decide: {policy: [any score]}", HEAD "\"any score\": " ACTIONS);
    load_bad("decide: {policy: [any score -1]}", HEAD "\"any score -1\": " ACTIONS);
    load_bad("decide: {policy: [any drop]}", HEAD "\"any drop\": " ACTIONS);
    load_bad("decide: {policy: [any never 1h]}", HEAD "\"any never 1h\": " ACTIONS);
}

static void proxies_are_declared(void **state)
{
    (void)state;
    struct conf *c = load_good(
        "proxies:\n  http: [10.0.1.0/24, 2001:db8::/64]\n  proxy-protocol: [10.0.2.9]\n  header: Forwarded\n");
    assert_int_equal(c->proxies.http.n, 2);
    assert_int_equal(c->proxies.proxy_protocol.n, 1);
    assert_string_equal(c->proxies.header, "Forwarded");
    conf_free(c);
    c = defaults();
    assert_true(c->proxies.http.n == 0 && c->proxies.proxy_protocol.n == 0); /* nobody is believed unasked */
    assert_string_equal(c->proxies.header, "X-Forwarded-For");
    conf_free(c);
}

static void proxies_that_believe_everybody_are_refused(void **state)
{
    (void)state;
    load_bad("proxies: {http: [0.0.0.0/0]}",
             "t.yaml:1:17: proxies.http: would believe everybody: name the balancers' addresses or subnets");
    load_bad("proxies:\n  proxy-protocol: [\"::/0\"]\n",
             "t.yaml:2:19: proxies.proxy-protocol: would believe everybody: name the balancers' addresses or subnets");
    load_bad("proxies: {header: 'X Forwarded'}", "t.yaml:1:19: proxies.header: is not the name of a header");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policy_entries_are_read),
        cmocka_unit_test(policies_are_set_from_the_command_line),
        cmocka_unit_test(wrong_policy_entries_are_told),
        cmocka_unit_test(proxies_are_declared),
        cmocka_unit_test(proxies_that_believe_everybody_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
