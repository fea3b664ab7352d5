#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>

#include "base/clock.h"
#include "decide/active.h"

#define T0     (INT64_C(1700000000) * SK_NS_PER_S)
#define WINDOW (80 * SK_NS_PER_S) /* a part of ten seconds, which T0 begins */

static struct active_clients *make(uint64_t seed)
{
    const struct sk_hash_key key = {seed, seed * 77 + 1};
    struct active_clients *a = NULL;
    assert_int_equal(active_create(WINDOW, &key, &a), SK_OK);
    return a;
}

/* One client after the other: the low bits alone differ, as in a network. */
static struct sk_addr client(uint32_t n)
{
    const uint8_t be[4] = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    return sk_addr_from_v4(be);
}

static void add(struct active_clients *a, uint32_t from, uint32_t to, int64_t now)
{
    for (uint32_t i = from; i < to; i++) {
        struct sk_addr c = client(i);
        active_add(a, &c, now);
    }
}

static double error_of(const struct active_clients *a, uint32_t n, int64_t now)
{
    return ((double)active_count(a, now) - n) / n;
}

/* 16 keys: none is off by more than three standard errors (and half a client, by rounding), and together they have no
 * bias that matters. */
static void it_counts_within_its_error(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 10, 30, 100, 300, 1000, 3000, 10000, 11000, 13000, 20000, 30000, 100000};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        uint32_t n = sizes[k];
        const double deviation = 1.04 / sqrt(ACTIVE_REGISTERS), slack = 0.5 / n;
        double sum = 0, worst = 0;
        for (uint64_t seed = 1; seed <= 16; seed++) {
            struct active_clients *a = make(seed);
            add(a, 0, n, T0);
            double e = error_of(a, n, T0);
            sum += e;
            worst = fabs(e) > worst ? fabs(e) : worst;
            active_free(a);
        }
        print_message("%6u clients: mean error %+.2f %%, worst %.2f %%\n", n, 100 * sum / 16, 100 * worst);
        assert_true(worst <= 3 * deviation + slack);
        assert_true(fabs(sum / 16) <= deviation + slack);
    }
}

static void nobody_is_none_and_nobody_counts_twice(void **state)
{
    (void)state;
    struct active_clients *a = make(1);
    assert_int_equal(active_count(a, T0), 0);
    for (int i = 0; i < 100; i++)
        add(a, 0, 10, T0 + i * SK_NS_PER_S / 2); /* in several parts too */
    assert_int_equal(active_count(a, T0 + 50 * SK_NS_PER_S), 10);
    active_free(a);
}

static void both_families_count(void **state)
{
    (void)state;
    struct active_clients *a = make(1);
    for (uint8_t i = 0; i < 20; i++) {
        const uint8_t b[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = i};
        struct sk_addr c = sk_addr_from_v6(b);
        active_add(a, &c, T0);
    }
    add(a, 0, 20, T0);
    assert_int_equal(active_count(a, T0), 40);
    active_free(a);
}

/* Each is forgotten between 7/8 and 8/8 of the window later, whenever it came. */
static void the_window_moves_on(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct active_clients *a = make(1);
        int64_t t = T0 + i * WINDOW / 50;
        add(a, 0, 10, t);
        assert_int_equal(active_count(a, t + WINDOW * 7 / 8 - 1), 10);
        assert_int_equal(active_count(a, t + WINDOW), 0);
        active_free(a);
    }
    /* Ten new ones in each part: eight parts are within it, and a part that comes round again begins empty. */
    struct active_clients *a = make(1);
    for (uint32_t k = 0; k < 40; k++) {
        int64_t t = T0 + k * (WINDOW / ACTIVE_PARTS);
        add(a, 10 * k, 10 * k + 10, t);
        double e = error_of(a, k < 8 ? 10 * k + 10 : 80, t);
        assert_true(fabs(e) < 0.04);
    }
    active_free(a);
}

/* Whoever asks reads another clock than the packets'. */
static void a_worker_may_be_a_little_ahead(void **state)
{
    (void)state;
    struct active_clients *a = make(1);
    add(a, 0, 10, T0 + WINDOW / ACTIVE_PARTS);
    assert_int_equal(active_count(a, T0), 10);
    active_free(a);
}

static void a_clock_that_goes_back_counts_from_there(void **state)
{
    (void)state;
    struct active_clients *a = make(1);
    add(a, 0, 1000, T0);
    int64_t back = T0 - 86400 * SK_NS_PER_S;
    assert_int_equal(active_count(a, back), 0);
    add(a, 0, 10, back);
    assert_int_equal(active_count(a, back), 10);
    static const int64_t odd[] = {INT64_MIN, INT64_MAX, -1, 0};
    for (int i = 0; i < 4; i++) {
        add(a, 0, 10, odd[i]);
        assert_int_equal(active_count(a, odd[i]), 10);
    }
    active_free(a);
}

/* --- several workers, and somebody who asks --- */

#define THREADS 4
#define EACH    3000

#define ROUNDS 20

struct worker {
    struct active_clients *a;
    pthread_barrier_t *tick;
    uint32_t from;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(w->tick); /* all begin the new part at once */
        for (int again = 0; again < 2; again++)
            add(w->a, w->from, w->from + EACH, T0 + round * (WINDOW / ACTIVE_PARTS));
    }
    return NULL;
}

static void workers_share_it(void **state)
{
    (void)state;
    struct active_clients *a = make(1);
    static struct worker w[THREADS];
    pthread_barrier_t tick;
    pthread_barrier_init(&tick, NULL, THREADS);
    for (uint32_t i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.a = a, .tick = &tick, .from = i * EACH};
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    uint64_t most = 0;
    for (int i = 0; i < 200; i++) {
        uint64_t n = active_count(a, T0 + i / 10 * (WINDOW / ACTIVE_PARTS));
        most = n > most ? n : most;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(w[i].thread, NULL);
    pthread_barrier_destroy(&tick);
    assert_true(most <= THREADS * EACH * 1.05);
    assert_true(fabs(error_of(a, THREADS * EACH, T0 + (ROUNDS - 1) * (WINDOW / ACTIVE_PARTS))) < 0.05);
    active_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts_within_its_error),
        cmocka_unit_test(nobody_is_none_and_nobody_counts_twice),
        cmocka_unit_test(both_families_count),
        cmocka_unit_test(the_window_moves_on),
        cmocka_unit_test(a_worker_may_be_a_little_ahead),
        cmocka_unit_test(a_clock_that_goes_back_counts_from_there),
        cmocka_unit_test(workers_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
