#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>

#include "base/clock.h"
#include "decide/score.h"

#define T0     (INT64_C(1700000000) * SK_NS_PER_S)
#define WINDOW (80 * SK_NS_PER_S) /* a bucket of ten seconds */

static const struct conf_score conf = {.enabled = true, .threshold = 100, .window = WINDOW};
static struct sk_counters counters;

static struct decide_scores *table(uint32_t clients)
{
    struct decide_scores *s = NULL;
    memset(&counters, 0, sizeof counters);
    assert_int_equal(decide_scores_create(&conf, clients, &s), SK_OK);
    return s;
}

static struct sk_addr client(uint32_t n)
{
    const uint8_t be[4] = {198, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    return sk_addr_from_v4(be);
}

static bool add(struct decide_scores *s, uint32_t who, uint32_t points, uint32_t sid, int64_t now,
                struct decide_request *q)
{
    struct sk_addr a = client(who);
    return decide_score_add(s, &a, points, 1, sid, now, &counters, q);
}

static uint32_t of(struct decide_scores *s, uint32_t who, int64_t now)
{
    struct sk_addr a = client(who);
    return decide_score_of(s, &a, now);
}

static void the_threshold_is_reached_and_explained(void **state)
{
    (void)state;
    struct decide_scores *s = table(1024);
    struct decide_request q;
    memset(&q, 0xa5, sizeof q);
    assert_false(add(s, 1, 40, 11, T0, &q));
    assert_false(add(s, 2, 40, 12, T0, &q)); /* somebody else's are not counted */
    assert_false(add(s, 1, 20, 13, T0 + 1, &q));
    assert_false(add(s, 1, 0, 14, T0 + 2, &q));
    assert_int_equal(q.score, 0xa5a5a5a5); /* untouched until then */
    assert_int_equal(of(s, 1, T0 + 2), 60);
    assert_true(add(s, 1, 40, 15, T0 + 3, &q));
    assert_int_equal(q.score, 100);
    assert_int_equal(q.threshold, 100);
    static const struct decide_score_item want[DECIDE_SCORES_MAX] = {
        {.ts = T0, .gid = 1, .sid = 11, .points = 40},
        {.ts = T0 + 1, .gid = 1, .sid = 13, .points = 20},
        {.ts = T0 + 2, .gid = 1, .sid = 14, .points = 0},
        {.ts = T0 + 3, .gid = 1, .sid = 15, .points = 40},
    };
    assert_memory_equal(q.scores, want, sizeof want);
    decide_scores_free(s);
}

/* The next alerts do not each ask for the same block. */
static void after_the_threshold_it_begins_anew(void **state)
{
    (void)state;
    struct decide_scores *s = table(1024);
    struct decide_request q;
    assert_true(add(s, 1, 400, 1, T0, &q));
    assert_int_equal(q.score, 400);
    assert_int_equal(of(s, 1, T0), 0);
    for (int i = 0; i < 4; i++)
        assert_false(add(s, 1, 20, 2, T0 + 1, &q));
    assert_true(add(s, 1, 20, 2, T0 + 1, &q));
    assert_int_equal(q.score, 100);
    assert_int_equal(q.scores[0].sid, 2); /* nor is what led to the block before told again */
    decide_scores_free(s);
}

static void of_many_alerts_the_latest_are_told(void **state)
{
    (void)state;
    struct decide_scores *s = table(1024);
    struct decide_request q;
    for (uint32_t i = 0; i < 19; i++)
        assert_false(add(s, 1, 5, i, T0 + i, &q));
    assert_true(add(s, 1, 5, 19, T0 + 19, &q));
    for (uint32_t i = 0; i < DECIDE_SCORES_MAX; i++)
        assert_int_equal(q.scores[i].sid, 20 - DECIDE_SCORES_MAX + i);
    decide_scores_free(s);
}

/* An alert counts for at least 7/8 of the window and at most all of it, wherever in a bucket it fell. */
static void points_leave_the_window(void **state)
{
    (void)state;
    struct decide_scores *s = table(1024);
    struct decide_request q;
    for (uint32_t i = 0; i < 200; i++) {
        int64_t t = T0 + (int64_t)i * WINDOW / 100;
        assert_false(add(s, i, 99, 1, t, &q));
        assert_int_equal(of(s, i, t + WINDOW * 7 / 8 - 1), 99);
        assert_int_equal(of(s, i, t + WINDOW), 0);
    }
    /* Each leaves on its own: what is forgotten is told no more. */
    assert_false(add(s, 500, 50, 1, T0, &q));
    assert_false(add(s, 500, 45, 2, T0 + WINDOW / 2, &q));
    assert_int_equal(of(s, 500, T0 + WINDOW * 3 / 4), 95);
    assert_false(add(s, 500, 50, 3, T0 + WINDOW, &q));
    assert_true(add(s, 500, 5, 4, T0 + WINDOW + 1, &q));
    assert_int_equal(q.score, 100);
    assert_int_equal(q.scores[0].sid, 2);
    assert_int_equal(q.scores[2].sid, 4);
    assert_int_equal(q.scores[3].ts, 0);
    decide_scores_free(s);
}

static void slow_alerts_never_add_up(void **state)
{
    (void)state;
    struct decide_scores *s = table(1024);
    struct decide_request q;
    for (int i = 0; i < 500; i++)
        assert_false(add(s, 1, 19, 1, T0 + i * (WINDOW / 4), &q)); /* at most five within a window */
    decide_scores_free(s);
}

static void points_of_nothing_make_no_client(void **state)
{
    (void)state;
    struct decide_scores *s = table(1); /* the smallest table */
    struct decide_request q;
    for (uint32_t i = 0; i < 100000; i++)
        assert_false(add(s, i, 0, 1, T0, &q));
    assert_false(add(s, 1, 99, 1, T0, &q));
    assert_int_equal(of(s, 1, T0), 99);
    assert_int_equal(sk_count_read(&counters, SK_C_SCORE_FULL), 0);
    decide_scores_free(s);
}

/* The smallest table holds 512. The client that was quiet longest is forgotten, and that is counted. */
static void a_full_table_forgets_the_oldest(void **state)
{
    (void)state;
    struct decide_scores *s = table(1);
    struct decide_request q;
    uint64_t memory = decide_scores_memory(s);
    const uint32_t n = 4096;
    for (uint32_t i = 0; i < n; i++)
        assert_false(add(s, i, 50, 1, T0 + i, &q));
    uint32_t known = 0, newest = 0;
    for (uint32_t i = 0; i < n; i++) {
        known += of(s, i, T0 + n) == 50;
        newest += i >= n - 64 && of(s, i, T0 + n) == 50;
    }
    assert_int_equal(known, 512);
    assert_int_equal(newest, 64);
    assert_int_equal(sk_count_read(&counters, SK_C_SCORE_FULL), n - 512);
    assert_int_equal(decide_scores_memory(s), memory);
    /* Whoever has no points left is no loss. */
    for (uint32_t i = 0; i < n; i++)
        assert_false(add(s, n + i, 0, 1, T0 + WINDOW + n, &q));
    for (uint32_t i = 0; i < 128; i++)
        assert_false(add(s, 2 * n + i, 50, 1, T0 + WINDOW + n, &q));
    assert_int_equal(sk_count_read(&counters, SK_C_SCORE_FULL), n - 512);
    decide_scores_free(s);
}

static void a_clock_that_goes_back_blocks_nobody_for_ever(void **state)
{
    (void)state;
    struct decide_scores *s = table(1);
    struct decide_request q;
    /* A little: packets of two workers do not come in order. */
    assert_false(add(s, 1, 60, 1, T0, &q));
    assert_true(add(s, 1, 40, 2, T0 - WINDOW / 4, &q));
    assert_int_equal(q.scores[0].sid, 1);
    assert_int_equal(q.scores[1].sid, 2);
    /* A day: the points of a time to come are gone, and so are their places in a full table. */
    for (uint32_t i = 0; i < 4096; i++)
        assert_false(add(s, i, 60, 1, T0, &q));
    memset(&counters, 0, sizeof counters);
    int64_t back = T0 - 86400 * SK_NS_PER_S;
    assert_false(add(s, 4095, 40, 2, back, &q));
    assert_int_equal(of(s, 4095, back), 40);
    for (uint32_t i = 0; i < 64; i++)
        assert_false(add(s, 5000 + i, 60, 1, back, &q));
    assert_int_equal(sk_count_read(&counters, SK_C_SCORE_FULL), 0);
    static const int64_t odd[] = {0, INT64_MIN, INT64_MAX, -1};
    for (int i = 0; i < 4; i++)
        assert_false(add(s, 1, 99, 1, odd[i], &q));
    decide_scores_free(s);
}

static void sums_do_not_wrap(void **state)
{
    (void)state;
    struct conf_score high = {.enabled = true, .threshold = UINT32_MAX, .window = WINDOW};
    struct decide_scores *s = NULL;
    struct decide_request q;
    struct sk_addr a = client(1);
    assert_int_equal(decide_scores_create(&high, 1, &s), SK_OK);
    assert_false(decide_score_add(s, &a, UINT32_MAX - 1, 1, 1, T0, &counters, &q));
    assert_true(decide_score_add(s, &a, UINT32_MAX - 1, 1, 1, T0 + WINDOW / 2, &counters, &q));
    assert_int_equal(q.score, UINT32_MAX);
    assert_false(decide_score_add(s, &a, UINT32_MAX - 1, 1, 1, T0, &counters, &q));
    assert_true(decide_score_add(s, &a, UINT32_MAX - 1, 1, 1, T0, &counters, &q)); /* in one bucket */
    assert_int_equal(q.score, UINT32_MAX);
    decide_scores_free(s);
}

/* --- several workers --- */

#define THREADS 4
#define CLIENTS 8
#define ROUNDS  5000

struct worker {
    struct decide_scores *s;
    struct sk_counters c;
    unsigned reached;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct decide_request q;
    for (uint32_t i = 0; i < ROUNDS * CLIENTS; i++) {
        struct sk_addr a = client(i % CLIENTS);
        if (decide_score_add(w->s, &a, 1, 1, 1, T0 + i, &w->c, &q)) {
            w->reached++;
            if (q.score != 100 || q.scores[DECIDE_SCORES_MAX - 1].ts == 0)
                w->reached += 1000000;
        }
        struct sk_addr other = client(1000 + i); /* others come and go in the same sets */
        decide_score_add(w->s, &other, 1, 1, 1, T0 + i, &w->c, &q);
    }
    return NULL;
}

/* No point is lost or counted twice: so many hundreds are so many thresholds. */
static void workers_share_it(void **state)
{
    (void)state;
    struct decide_scores *s = table(1 << 16);
    static struct worker w[THREADS];
    for (int i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.s = s};
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    unsigned reached = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(w[i].thread, NULL);
        reached += w[i].reached;
    }
    assert_int_equal(reached, THREADS * CLIENTS * ROUNDS / 100);
    decide_scores_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_threshold_is_reached_and_explained),
        cmocka_unit_test(after_the_threshold_it_begins_anew),
        cmocka_unit_test(of_many_alerts_the_latest_are_told),
        cmocka_unit_test(points_leave_the_window),
        cmocka_unit_test(slow_alerts_never_add_up),
        cmocka_unit_test(points_of_nothing_make_no_client),
        cmocka_unit_test(a_full_table_forgets_the_oldest),
        cmocka_unit_test(a_clock_that_goes_back_blocks_nobody_for_ever),
        cmocka_unit_test(sums_do_not_wrap),
        cmocka_unit_test(workers_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
