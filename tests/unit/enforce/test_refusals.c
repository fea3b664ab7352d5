#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "enforce/refusals.h"

#define S  SK_NS_PER_S
#define T0 (INT64_C(1700000000) * S)

static struct {
    unsigned n;
    uint64_t total;
    struct refusal last;
} told;

static void hear(void *arg, const struct refusal *r, int64_t now)
{
    (void)arg;
    (void)now;
    told.n++;
    told.total += r->count;
    told.last = *r;
    assert_true(r->count > 0);
}

static int setup(void **state)
{
    memset(&told, 0, sizeof told);
    *state = refusals_create(hear, NULL);
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    refusals_free(*state);
    return 0;
}

static struct decide_request request(uint32_t host)
{
    struct decide_request q = {.seconds = 60, .gid = 1, .sid = 7, .msg = "SQL injection"};
    uint8_t b[4] = {10, (uint8_t)(host >> 16), (uint8_t)(host >> 8), (uint8_t)host};
    struct sk_addr a = sk_addr_from_v4(b);
    q.target = sk_prefix_make(&a, 128);
    return q;
}

static void add(struct refusals *r, uint32_t host, enum enforce_result result, int64_t now)
{
    struct decide_request q = request(host);
    struct enforce_outcome o = {.result = result,
                                .why = result == ENFORCE_REFUSED_INVALID ? POLICY_UNPROVEN : POLICY_OK};
    refusals_add(r, &q, BLOCK_RULE, &o, now);
}

static void test_the_first_at_once_the_others_in_one(void **state)
{
    struct refusals *r = *state;
    add(r, 1, ENFORCE_REFUSED_BRAKE, T0);
    assert_true(told.n == 1 && told.last.count == 1 && told.last.sid == 7);
    assert_string_equal(told.last.msg, "SQL injection");
    for (int i = 1; i <= 99; i++)
        add(r, 1, ENFORCE_REFUSED_BRAKE, T0 + i * S / 10);
    assert_int_equal(told.n, 1);
    refusals_tick(r, false, T0 + 9 * S);
    assert_int_equal(told.n, 1);
    refusals_tick(r, false, T0 + 10 * S);
    assert_true(told.n == 2 && told.last.count == 99);
    refusals_tick(r, false, T0 + 30 * S);
    assert_int_equal(told.n, 2); /* nothing new */
    add(r, 1, ENFORCE_REFUSED_BRAKE, T0 + 30 * S);
    assert_true(told.n == 3 && told.last.count == 1);
    /* A tick that did not come: the next refusal tells the count. */
    add(r, 1, ENFORCE_REFUSED_BRAKE, T0 + 31 * S);
    add(r, 1, ENFORCE_REFUSED_BRAKE, T0 + 41 * S);
    assert_true(told.n == 4 && told.last.count == 2);
    add(r, 1, ENFORCE_REFUSED_BRAKE, T0 + 42 * S);
    refusals_tick(r, true, T0 + 42 * S);
    assert_true(told.n == 5 && told.last.count == 1);
}

static void test_each_cause_for_itself(void **state)
{
    struct refusals *r = *state;
    static const struct {
        enum enforce_result result;
        const char *kind;
    } causes[] = {{ENFORCE_REFUSED_BRAKE, "brake"},
                  {ENFORCE_REFUSED_RATE, "rate"},
                  {ENFORCE_REFUSED_FULL, "full"},
                  {ENFORCE_REFUSED_INVALID, "invalid"}};
    for (unsigned turn = 0; turn < 2; turn++)
        for (unsigned i = 0; i < 4; i++) {
            add(r, 1, causes[i].result, T0);
            assert_int_equal(told.n, turn == 0 ? i + 1 : 4);
            if (turn == 0)
                assert_string_equal(refusal_kind(&told.last), causes[i].kind);
        }
    assert_string_equal(refusal_text(&told.last), "the client is not proven");
    static const enum enforce_result none[] = {ENFORCE_BLOCKED, ENFORCE_EXTENDED, ENFORCE_KNOWN, ENFORCE_COVERED,
                                               ENFORCE_NOT_BLOCKED};
    for (unsigned i = 0; i < 5; i++)
        add(r, 2, none[i], T0);
    assert_int_equal(told.n, 4);
    struct never_entry e = {.kind = NEVER_GATEWAY, .text = "default route via eth0"};
    struct enforce_outcome o = {.result = ENFORCE_REFUSED_NEVER, .never = &e};
    struct decide_request q = request(1);
    e.prefix = q.target;
    refusals_add(r, &q, BLOCK_OPERATOR, &o, T0);
    memset(&e, 0, sizeof e); /* the list may change before it is told again */
    assert_string_equal(refusal_kind(&told.last), "gateway");
    assert_string_equal(refusal_text(&told.last), "default route via eth0");
    assert_true(told.last.entry.len == 128 && told.last.origin == BLOCK_OPERATOR);
}

static void test_many_targets_in_fixed_memory(void **state)
{
    struct refusals *r = *state;
    uint64_t asked = 0;
    for (int round = 0; round < 3; round++)
        for (uint32_t i = 0; i < 20 * REFUSALS_MAX; i++, asked += 2) {
            add(r, i, ENFORCE_REFUSED_BRAKE, T0 + (int64_t)asked * 1000);
            add(r, i, ENFORCE_REFUSED_BRAKE, T0 + (int64_t)asked * 1000);
        }
    refusals_tick(r, true, T0 + 100 * S);
    assert_int_equal(told.total, asked); /* none twice, none left out */
}

static void test_garbage_and_clocks(void **state)
{
    struct refusals *r = *state;
    struct decide_request q = request(1);
    struct enforce_outcome o = {.result = ENFORCE_REFUSED_INVALID, .why = POLICY_BAD_TARGET};
    memset(q.msg, 'A', sizeof q.msg);
    q.target.len = 255;
    q.reason = 200;
    refusals_add(r, &q, BLOCK_RULE, &o, T0);
    assert_true(told.last.target.len == 128 && told.last.reason < DECIDE_REASON_COUNT);
    assert_int_equal(strlen(told.last.msg), DECIDE_MSG_MAX - 1);
    refusals_add(r, &q, BLOCK_RULE, &o, T0 - 86400 * S); /* set back by a day */
    assert_true(told.n == 2 && told.total == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_the_first_at_once_the_others_in_one),
        TEST(test_each_cause_for_itself),
        TEST(test_many_targets_in_fixed_memory),
        TEST(test_garbage_and_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
