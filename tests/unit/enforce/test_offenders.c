#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "enforce/offenders.h"

static struct sk_prefix host(uint32_t i)
{
    uint8_t b[4] = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
    struct sk_addr a = sk_addr_from_v4(b);
    return sk_prefix_make(&a, 128);
}

static void test_counts_and_forgives(void **state)
{
    (void)state;
    struct offenders *o = offenders_create(0);
    struct sk_prefix a = host(1), b = host(2), net = sk_prefix_make(&a.addr, 120);
    assert_int_equal(offenders_count(o, &a, 0), 0);
    offenders_ended(o, &a, 1, 100);
    offenders_ended(o, &a, 2, 200);
    offenders_ended(o, &net, 1, 300);
    assert_int_equal(offenders_count(o, &a, 0), 2);
    assert_int_equal(offenders_count(o, &a, 200), 2);
    assert_int_equal(offenders_count(o, &a, 201), 0); /* too long ago */
    assert_int_equal(offenders_count(o, &b, 0), 0);
    assert_int_equal(offenders_count(o, &net, 0), 1); /* another target */
    offenders_forgive(o, &a);
    offenders_forgive(o, &b);
    assert_int_equal(offenders_count(o, &a, 0), 0);
    assert_int_equal(offenders_count(o, &net, 0), 1);
    assert_int_equal(offenders_known(o), 1);
    offenders_free(o);
}

static void test_the_oldest_goes_first_and_is_counted(void **state)
{
    (void)state;
    struct offenders *o = offenders_create(0);
    for (uint32_t i = 0; i < OFFENDERS_MAX; i++) {
        struct sk_prefix p = host(i);
        offenders_ended(o, &p, 1, i);
    }
    assert_int_equal(offenders_known(o), OFFENDERS_MAX);
    assert_int_equal(offenders_forgotten(o), 0);
    struct sk_prefix first = host(0), second = host(1), third = host(2), more = host(OFFENDERS_MAX);
    offenders_ended(o, &first, 2, OFFENDERS_MAX); /* young again */
    offenders_ended(o, &more, 1, OFFENDERS_MAX + 1);
    assert_int_equal(offenders_known(o), OFFENDERS_MAX);
    assert_int_equal(offenders_forgotten(o), 1);
    assert_int_equal(offenders_count(o, &first, 0), 2);
    assert_int_equal(offenders_count(o, &second, 0), 0);
    assert_int_equal(offenders_count(o, &third, 0), 1);
    assert_int_equal(offenders_count(o, &more, 0), 1);
    offenders_free(o);
}

/* Against a list of few targets, with little room. */
static void test_random_against_a_list(void **state)
{
    (void)state;
    enum { TARGETS = 40, ROOM = 16 };
    uint32_t n[TARGETS] = {0};
    int64_t when[TARGETS] = {0};
    struct offenders *o = offenders_create(ROOM);
    size_t known = 0;
    srandom(3);
    for (int64_t step = 1; step < 20000; step++) {
        uint32_t i = (uint32_t)random() % TARGETS, oldest = TARGETS;
        struct sk_prefix p = host(i);
        if (random() % 5 == 0) {
            offenders_forgive(o, &p);
            known -= n[i] != 0;
            n[i] = 0;
        } else {
            if (n[i] == 0 && known == ROOM) {
                for (uint32_t k = 0; k < TARGETS; k++)
                    if (n[k] && (oldest == TARGETS || when[k] < when[oldest]))
                        oldest = k;
                n[oldest] = 0;
                known--;
            }
            known += n[i] == 0;
            offenders_ended(o, &p, ++n[i], step);
            when[i] = step;
        }
        assert_int_equal(offenders_known(o), known);
        for (uint32_t k = 0; k < TARGETS; k++) {
            struct sk_prefix q = host(k);
            assert_int_equal(offenders_count(o, &q, 0), n[k]);
        }
    }
    assert_true(offenders_forgotten(o) > 1000);
    offenders_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_and_forgives),
        cmocka_unit_test(test_the_oldest_goes_first_and_is_counted),
        cmocka_unit_test(test_random_against_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
