#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "decide/brake.h"

#define S  SK_NS_PER_S
#define T0 (INT64_C(1700000000) * S)

static const struct conf_brake conf = {.share = 10, .minimum = 20, .rate = 200, .window = 600 * S};

/* n requests at once: how many may be set. */
static unsigned take(struct brake *b, const struct conf_brake *c, uint64_t active, unsigned n, int64_t now)
{
    unsigned got = 0;
    for (unsigned i = 0; i < n; i++)
        got += brake_take(b, c, active, now) == BRAKE_GO;
    return got;
}

static void test_exactly_the_share_passes_in_a_window(void **state)
{
    (void)state;
    struct brake b = {0};
    unsigned got = 0;
    for (int s = 0; s < 600; s++)
        got += take(&b, &conf, 500, 7, T0 + s * S);
    assert_int_equal(got, 50);
    assert_true(b.braking);
    assert_int_equal(b.braking_since, T0 + 7 * S); /* the 51st */
    assert_int_equal(b.stopped, 600 * 7 - 50);
    assert_int_equal(brake_room(&b, &conf, 500, T0 + 599 * S), 0);
}

static void test_the_minimum_is_always_allowed(void **state)
{
    (void)state;
    static const struct {
        uint64_t active;
        unsigned allowed;
    } cases[] = {{0, 20}, {1, 20}, {199, 20}, {200, 20}, {209, 20}, {210, 21}, {1000, 100}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct brake b = {0};
        assert_int_equal(brake_room(&b, &conf, cases[i].active, T0), cases[i].allowed);
        assert_int_equal(take(&b, &conf, cases[i].active, 500, T0), cases[i].allowed);
    }
    struct conf_brake none = conf;
    struct brake b = {0};
    none.minimum = 0;
    assert_int_equal(brake_take(&b, &none, 9, T0), BRAKE_SHARE); /* 10 % of 9 is not yet one */
    assert_int_equal(brake_take(&b, &none, 0, T0 + S), BRAKE_SHARE);
    assert_true(b.braking && b.braking_since == T0 && b.stopped == 2); /* one alarm, not one a request */
}

static void test_a_number_without_end_frees_no_more_than_the_rate(void **state)
{
    (void)state;
    struct brake b = {0};
    uint64_t got = 0;
    for (int i = 0; i < 60 * 1000; i++) /* a minute, a thousand a second */
        got += brake_take(&b, &conf, UINT64_MAX, T0 + i * SK_NS_PER_MS) == BRAKE_GO;
    assert_in_range(got, 200 * (60 + BRAKE_BURST_S) - 2, 200 * (60 + BRAKE_BURST_S));
    assert_false(b.braking);
}

static void test_too_fast(void **state)
{
    (void)state;
    struct conf_brake c = conf;
    struct brake b = {0};
    c.rate = 2;
    c.minimum = 1000;
    assert_int_equal(take(&b, &c, 0, 100, T0), 2 * BRAKE_BURST_S);
    assert_int_equal(brake_take(&b, &c, 0, T0 + S / 4), BRAKE_RATE);
    assert_int_equal(take(&b, &c, 0, 100, T0 + S), 2);
    assert_int_equal(take(&b, &c, 0, 100, T0 + 3600 * S), 2 * BRAKE_BURST_S); /* no more than the burst is saved up */
    assert_false(b.braking);
    assert_int_equal(brake_room(&b, &c, 0, T0 + 3600 * S),
                     1000 - 2 * BRAKE_BURST_S); /* what is refused is not counted */
}

/* Random requests: in no stretch as long as the window have more been let through than allowed. */
static void test_no_window_holds_more(void **state)
{
    (void)state;
    enum { N = 20000 };
    int64_t *at = calloc(N, sizeof *at);
    size_t n = 0, oldest = 0;
    struct brake b = {0};
    int64_t now = T0;
    srandom(7);
    for (int i = 0; i < N; i++) {
        now += random() % 4 ? random() % (S / 2) : random() % (60 * S);
        if (brake_take(&b, &conf, 500, now) != BRAKE_GO)
            continue;
        at[n++] = now;
        while (at[oldest] <= now - conf.window)
            oldest++;
        assert_true(n - oldest <= 50);
    }
    assert_true(n > 500); /* and it lets go again and again */
    free(at);
}

static void test_it_lets_go_as_the_window_moves_on(void **state)
{
    (void)state;
    struct brake b = {0};
    for (int i = 0; i < 50; i++) /* one each 10 s */
        assert_int_equal(brake_take(&b, &conf, 500, T0 + i * 10 * S), BRAKE_GO);
    int64_t now = T0 + 500 * S;
    assert_int_equal(brake_take(&b, &conf, 500, now), BRAKE_SHARE);
    assert_true(b.braking);
    int64_t first = 0, gone = 0;
    for (; !gone && now < T0 + 3600 * S; now += S) {
        uint64_t room = brake_room(&b, &conf, 500, now);
        first = first == 0 && room > 0 ? now : first;
        gone = b.braking ? 0 : now;
    }
    assert_in_range(first - T0, 600 * S, 620 * S);                /* the first block is forgotten */
    assert_in_range(gone - T0, (600 + 240) * S, (600 + 260) * S); /* half of them are */
    assert_int_equal(b.stopped, 1);
    assert_int_equal(brake_room(&b, &conf, 500, gone + 700 * S), 50);
}

static void test_braking_is_one_state_while_it_goes_on(void **state)
{
    (void)state;
    struct brake b = {0};
    unsigned begins = 0;
    for (int s = 0; s < 7200; s++) { /* a rule that fires at everybody, for two hours */
        bool before = b.braking;
        take(&b, &conf, 500, 3, T0 + s * S);
        begins += !before && b.braking;
    }
    assert_int_equal(begins, 1);
}

static void test_the_operator_releases(void **state)
{
    (void)state;
    struct brake b = {0};
    assert_int_equal(take(&b, &conf, 500, 60, T0), 50);
    brake_release(&b, T0 + S);
    assert_false(b.braking);
    assert_int_equal(b.stopped, 10); /* for the one who asks how many it were */
    assert_int_equal(brake_room(&b, &conf, 500, T0 + S), 50);
    assert_int_equal(take(&b, &conf, 500, 60, T0 + S), 50);
    assert_true(b.braking && b.braking_since == T0 + S && b.stopped == 10);
}

static void test_a_clock_that_goes_back_frees_nothing(void **state)
{
    (void)state;
    struct brake b = {0};
    assert_int_equal(take(&b, &conf, 500, 40, T0), 40);
    assert_int_equal(take(&b, &conf, 500, 20, T0 - 5 * S), 10);
    int64_t back = T0 - 86400 * S;
    assert_int_equal(brake_take(&b, &conf, 500, back), BRAKE_SHARE);
    assert_int_equal(brake_room(&b, &conf, 500, back + 590 * S), 0); /* a whole window more, not a day */
    assert_int_equal(take(&b, &conf, 500, 60, back + 620 * S), 50);
    /* The rate: neither refilled by the step nor dried up until the old time comes again. */
    struct conf_brake c = {.share = 10, .minimum = 1000000, .rate = 2, .window = 600 * S};
    struct brake r = {0};
    take(&r, &c, 0, 100, T0);
    assert_int_equal(brake_take(&r, &c, 0, T0 - 86400 * S), BRAKE_RATE);
    assert_int_equal(brake_take(&r, &c, 0, T0 - 86399 * S), BRAKE_GO);
}

static void test_times_that_jump_between_two_do_not_help(void **state)
{
    (void)state;
    struct conf_brake c = {.share = 10, .minimum = 20, .rate = 2, .window = 600 * S};
    struct brake b = {0};
    unsigned got = 0;
    for (int i = 0; i < 1000; i++)
        got += brake_take(&b, &c, 0, T0 + (i % 2 ? -5 : 5) * S) == BRAKE_GO;
    assert_int_equal(got, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exactly_the_share_passes_in_a_window),
        cmocka_unit_test(test_the_minimum_is_always_allowed),
        cmocka_unit_test(test_a_number_without_end_frees_no_more_than_the_rate),
        cmocka_unit_test(test_too_fast),
        cmocka_unit_test(test_no_window_holds_more),
        cmocka_unit_test(test_it_lets_go_as_the_window_moves_on),
        cmocka_unit_test(test_braking_is_one_state_while_it_goes_on),
        cmocka_unit_test(test_the_operator_releases),
        cmocka_unit_test(test_a_clock_that_goes_back_frees_nothing),
        cmocka_unit_test(test_times_that_jump_between_two_do_not_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
