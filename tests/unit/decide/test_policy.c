#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "decide/policy.h"

static const struct policy_limits limits = {.max_seconds = 86400};

static struct decide_request request(const char *target)
{
    struct decide_request r = {.seconds = 60, .msg = "x"};
    assert_int_equal(sk_prefix_parse(target, strlen(target), false, &r.target), SK_OK);
    return r;
}

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum policy_verdict want;
    } cases[] = {
        {"192.0.2.1", POLICY_OK},        {"192.0.2.0/24", POLICY_OK},         {"10.0.0.0/8", POLICY_OK},
        {"10.0.0.0/7", POLICY_TOO_WIDE}, {"2001:db8::/32", POLICY_OK},        {"2001:db8::1", POLICY_OK},
        {"2000::/31", POLICY_TOO_WIDE},  {"::/0", POLICY_TOO_WIDE},           {"0.0.0.0", POLICY_SPECIAL},
        {"127.0.0.1", POLICY_SPECIAL},   {"255.255.255.255", POLICY_SPECIAL}, {"ff02::1", POLICY_SPECIAL},
        {"224.0.0.0/8", POLICY_SPECIAL}, {"::/80", POLICY_SPECIAL},           {"0.0.0.0/0", POLICY_TOO_WIDE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct decide_request r = request(cases[i].target), out;
        if (policy_check(&limits, &r, &out) != cases[i].want)
            fail_msg("%s: %s", cases[i].target, policy_verdict_text(policy_check(&limits, &r, &out)));
    }
}

static void test_what_no_honest_engine_sends(void **state)
{
    (void)state;
    struct decide_request r = request("192.0.2.0/24"), out;
    r.target.addr.b[15] = 1; /* host bits */
    assert_int_equal(policy_check(&limits, &r, &out), POLICY_BAD_TARGET);
    r = request("192.0.2.1");
    r.target.len = 255;
    assert_int_equal(policy_check(&limits, &r, &out), POLICY_BAD_TARGET);
    r = request("192.0.2.1");
    r.evidence_len = 65535;
    assert_int_equal(policy_check(&limits, &r, &out), POLICY_MALFORMED);
    r = request("192.0.2.1");
    r.dropped = 7;
    assert_int_equal(policy_check(&limits, &r, &out), POLICY_MALFORMED);
    static const int64_t bad[] = {0, -1, INT64_MIN};
    for (size_t i = 0; i < 3; i++) {
        r = request("192.0.2.1");
        r.seconds = bad[i];
        assert_int_equal(policy_check(&limits, &r, &out), POLICY_BAD_DURATION);
    }
}

static void test_the_copy_is_safe(void **state)
{
    (void)state;
    struct decide_request r = request("192.0.2.1"), out;
    memset(r.msg, 'A', sizeof r.msg); /* no NUL */
    r.msg[1] = '\n';
    r.msg[2] = '\x1b';
    memset(r.evidence, 0xcc, sizeof r.evidence);
    r.evidence_len = 3;
    r.seconds = INT64_MAX;
    assert_int_equal(policy_check(&limits, &r, &out), POLICY_OK);
    assert_int_equal(strlen(out.msg), DECIDE_MSG_MAX - 1);
    assert_memory_equal(out.msg, "A??A", 4);
    assert_int_equal(out.evidence[2], 0xcc);
    assert_int_equal(out.evidence[3], 0);
    assert_int_equal(out.seconds, 86400);
    struct policy_limits none = {0};
    assert_int_equal(policy_check(&none, &r, &r), POLICY_OK); /* in place */
    assert_int_equal(r.seconds, POLICY_MAX_SECONDS);
}

static void test_who_is_not_proven_is_not_blocked(void **state)
{
    (void)state;
    struct decide_request r = request("192.0.2.1"), out;
    r.identity.state = IDENTITY_PROVEN;
    r.identity.source = IDENTITY_BY_XFF;
    r.identity.client = r.target.addr;
    r.identity.nhops = 1;
    r.identity.hop[0].addr = request("10.0.0.1").target.addr;
    assert_int_equal(policy_check(&limits, &r, &out), POLICY_OK);
    r.identity.state = IDENTITY_UNPROVEN;
    r.identity.source = IDENTITY_BY_PEER;
    r.identity.why = IDENTITY_WHY_HIDDEN;
    for (uint8_t reason = 0; reason < DECIDE_REASON_COUNT; reason++) {
        r.reason = reason;
        assert_int_equal(policy_check(&limits, &r, &out), POLICY_UNPROVEN);
    }
    r.identity.state = IDENTITY_STATES;
    assert_int_equal(policy_check(&limits, &r, &out), POLICY_MALFORMED);
}

static void test_growth_stops_at_the_maximum(void **state)
{
    (void)state;
    struct policy_limits lim = {.max_seconds = 28 * 86400, .repeat_factor = 4};
    static const int64_t want[] = {3600, 14400, 57600, 230400, 921600, 28 * 86400, 28 * 86400};
    for (uint32_t n = 0; n < sizeof want / sizeof want[0]; n++)
        assert_int_equal(policy_grown(&lim, 3600, n), want[n]);
    assert_int_equal(policy_grown(&lim, 3600, UINT32_MAX), 28 * 86400);
    assert_int_equal(policy_grown(&lim, INT64_MAX, 3), 28 * 86400);
    lim.repeat_factor = 1;
    assert_int_equal(policy_grown(&lim, 3600, UINT32_MAX), 3600);
    assert_int_equal(policy_grown(&(struct policy_limits){0}, 3600, 9), 3600);
    lim = (struct policy_limits){.repeat_factor = 100};
    assert_int_equal(policy_grown(&lim, 86400, 60), POLICY_MAX_SECONDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_what_no_honest_engine_sends),
        cmocka_unit_test(test_the_copy_is_safe),
        cmocka_unit_test(test_who_is_not_proven_is_not_blocked),
        cmocka_unit_test(test_growth_stops_at_the_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
