/* The prefilter finds what a naive search finds, shares equal databases, and honours bounds, skip and capacity. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "match/mpm.h"

#define IDS 512

struct fixture {
    struct mpm_builder *b;
    struct mpm_scratch *s;
    struct mpm_db *db;
    uint64_t hits[IDS / 64];
    uint32_t list[IDS];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f || mpm_builder_create(&f->b) || mpm_scratch_create(&f->s))
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mpm_db_release(f->db);
    mpm_builder_free(f->b);
    mpm_scratch_free(f->s);
    free(f);
    return 0;
}

#define PAT(s, i, ...)                                                                                                 \
    {                                                                                                                  \
        .p = (const uint8_t *)(s), .len = sizeof(s) - 1, .id = (i), __VA_ARGS__                                        \
    }
/* Patterns that never occur: they make a set too big for the one-by-one search, so that both ways are tested. */
#define FILLER                                                                                                         \
    PAT("~filler-one~", 500), PAT("~filler-two~", 501), PAT("~filler-three~", 502), PAT("~filler-four~", 503),         \
        PAT("~filler-five~", 504)

static void build(struct fixture *f, const struct mpm_pattern *p, uint32_t n)
{
    char err[256];
    mpm_db_release(f->db);
    if (mpm_build(f->b, p, n, &f->db, err))
        fail_msg("%s", err);
    assert_int_equal(mpm_scratch_fit(f->s, f->db), SK_OK);
}

/* Scans an exact-size copy; the bit of each id found is then set in f->hits. */
static uint32_t scan(struct fixture *f, const void *buf, uint32_t len, uint32_t skip)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, buf, len);
    memset(f->hits, 0, sizeof f->hits);
    uint32_t n = mpm_scan(f->db, f->s, sk_span_of(copy, len), skip, f->hits, f->list, 0, IDS);
    free(copy);
    for (uint32_t i = 0; i < n; i++)
        assert_true(f->hits[f->list[i] / 64] >> (f->list[i] % 64) & 1);
    return n;
}

static bool hit(const struct fixture *f, uint32_t id)
{
    return f->hits[id / 64] >> (id % 64) & 1;
}

#define BOTH_WAYS(f, p, check)                                                                                         \
    do {                                                                                                               \
        const struct mpm_pattern small[] = {p}, large[] = {p, FILLER};                                                 \
        build(f, small, sizeof small / sizeof small[0]);                                                               \
        check;                                                                                                         \
        build(f, large, sizeof large / sizeof large[0]);                                                               \
        check;                                                                                                         \
    } while (0)
#define SCAN(f, s) scan(f, s, sizeof(s) - 1, 0)
#define LIST(...)  __VA_ARGS__

static void finds_each_once(void **state)
{
    struct fixture *f = *state;
    BOTH_WAYS(f, LIST(PAT("abc", 1), PAT("bcd", 2), PAT("zzz", 3)), {
        assert_int_equal(SCAN(f, "xabcdxabcd"), 2);
        assert_true(hit(f, 1));
        assert_true(hit(f, 2));
        assert_false(hit(f, 3));
    });
}

static void nul_bytes(void **state)
{
    struct fixture *f = *state;
    BOTH_WAYS(f, LIST(PAT("\0\0\1", 1), PAT("\0", 2), PAT("a\0b", 3)), {
        assert_int_equal(SCAN(f, "\0\0\1"), 2);
        assert_int_equal(SCAN(f, "a\0b"), 2);
        assert_int_equal(SCAN(f, "ab"), 0);
    });
}

static void caseless_by_pattern(void **state)
{
    struct fixture *f = *state;
    BOTH_WAYS(f, LIST(PAT("Host", 1, .nocase = true), PAT("Host", 2)), {
        assert_int_equal(SCAN(f, "hOST"), 1);
        assert_true(hit(f, 1));
        assert_int_equal(SCAN(f, "Host"), 2);
    });
}

static void shared_and_repeated_ids(void **state)
{
    struct fixture *f = *state;
    BOTH_WAYS(f, LIST(PAT("same", 1), PAT("same", 2), PAT("other", 2), PAT("same", 1)), {
        assert_int_equal(SCAN(f, "the same other same"), 2);
        assert_true(hit(f, 1) && hit(f, 2));
        assert_int_equal(SCAN(f, "other"), 1);
        assert_true(hit(f, 2));
    });
}

static void bounds(void **state)
{
    struct fixture *f = *state;
    BOTH_WAYS(f,
              LIST(PAT("ab", 1, .max_off = 2), PAT("ab", 2, .min_off = 3), PAT("ab", 3, .min_off = 2, .max_off = 5),
                   PAT("ab", 4, .min_off = 4, .max_off = 5)),
              {
                  assert_int_equal(SCAN(f, "ab"), 1);
                  assert_true(hit(f, 1));
                  assert_int_equal(SCAN(f, "xab"), 0);
                  assert_int_equal(SCAN(f, "xxab"), 1);
                  assert_true(hit(f, 3));
                  assert_int_equal(SCAN(f, "xxxab"), 2);
                  assert_true(hit(f, 2) && hit(f, 3));
                  assert_int_equal(SCAN(f, "xxxxab"), 1);
                  assert_true(hit(f, 2));
                  assert_int_equal(SCAN(f, "abxxxxab"), 2);
                  assert_true(hit(f, 1) && hit(f, 2));
              });
}

/* What ends within the carried tail was reported with the chunk before; a later occurrence still counts. */
static void skip_carried_tail(void **state)
{
    struct fixture *f = *state;
    BOTH_WAYS(f, LIST(PAT("abc", 1), PAT("b", 2)), {
        assert_int_equal(scan(f, "abcxx", 5, 3), 0);
        assert_int_equal(scan(f, "abcxx", 5, 2), 1);
        assert_true(hit(f, 1));
        assert_int_equal(scan(f, "abcxabc", 7, 3), 2);
        assert_int_equal(scan(f, "xxabc", 5, 4), 1);
        assert_true(hit(f, 1));
        assert_int_equal(scan(f, "abc", 3, 30), 0);
    });
}

static void empty_buffer_and_no_patterns(void **state)
{
    struct fixture *f = *state;
    BOTH_WAYS(f, LIST(PAT("a", 1)), {
        assert_int_equal(scan(f, "", 0, 0), 0);
        assert_int_equal(mpm_scan(f->db, f->s, (struct sk_span){0}, 0, f->hits, f->list, 0, IDS), 0);
    });
    build(f, NULL, 0);
    assert_null(f->db);
    assert_int_equal(SCAN(f, "anything"), 0);
    assert_int_equal(mpm_db_memory(NULL), 0);
}

static void list_continues_and_stops_at_its_capacity(void **state)
{
    struct fixture *f = *state;
    BOTH_WAYS(f, LIST(PAT("a", 1), PAT("b", 2), PAT("c", 3)), {
        memset(f->hits, 0, sizeof f->hits);
        f->hits[0] = 1u << 1; /* found in another buffer already */
        f->list[0] = 1;
        assert_int_equal(mpm_scan(f->db, f->s, sk_span_str("abc"), 0, f->hits, f->list, 1, 2), 2);
        assert_int_equal(f->list[0], 1);
        assert_true(hit(f, f->list[1]));
        /* An id that found no room is not marked, so that it is not taken for listed. */
        assert_true(hit(f, 2) != hit(f, 3));
    });
}

static void equal_sets_share_a_database(void **state)
{
    struct fixture *f = *state;
    const struct mpm_pattern a[] = {PAT("abc", 1), PAT("DEF", 2, .nocase = true), FILLER};
    const struct mpm_pattern b[] = {FILLER, PAT("def", 2, .nocase = true), PAT("abc", 1), PAT("abc", 1)};
    const struct mpm_pattern c[] = {PAT("abc", 9), PAT("DEF", 2, .nocase = true), FILLER};
    struct mpm_db *x, *y, *z;
    char err[256];
    assert_int_equal(mpm_build(f->b, a, 7, &x, err), SK_OK);
    assert_int_equal(mpm_build(f->b, b, 8, &y, err), SK_OK);
    assert_int_equal(mpm_build(f->b, c, 7, &z, err), SK_OK);
    assert_ptr_equal(x, y);
    assert_ptr_not_equal(x, z);
    assert_true(mpm_db_memory(x) > 0);
    mpm_db_release(x);
    mpm_db_release(z);
    /* y lives on without the builder. */
    mpm_builder_free(f->b);
    f->b = NULL;
    f->db = y;
    assert_int_equal(mpm_scratch_fit(f->s, y), SK_OK);
    assert_int_equal(SCAN(f, "xabcx"), 1);
}

/* Many sets, compiled in threads: each finds its own pattern, and none that is not in it. */
static void sets_compiled_together(void **state)
{
    struct fixture *f = *state;
    enum { SETS = 24 };
    struct mpm_db *db[SETS];
    char word[SETS][16], err[256];
    mpm_builder_defer(f->b);
    for (uint32_t i = 0; i < SETS; i++) {
        int len = snprintf(word[i], sizeof word[i], "needle-%02u", i);
        struct mpm_pattern p[] = {{.p = (const uint8_t *)word[i], .len = (uint16_t)len, .id = i}, FILLER};
        assert_int_equal(mpm_build(f->b, p, sizeof p / sizeof p[0], &db[i], err), SK_OK);
    }
    assert_int_equal(mpm_builder_compile(f->b, 3, err), SK_OK);
    for (uint32_t i = 0; i < SETS; i++) {
        assert_int_equal(mpm_scratch_fit(f->s, db[i]), SK_OK);
        mpm_db_release(f->db);
        f->db = db[i];
        assert_int_equal(scan(f, word[i], (uint32_t)strlen(word[i]), 0), 1);
        assert_true(hit(f, i));
        assert_int_equal(scan(f, word[(i + 1) % SETS], (uint32_t)strlen(word[0]), 0), 0);
    }
}

static void bad_patterns_are_refused(void **state)
{
    struct fixture *f = *state;
    const struct mpm_pattern empty[] = {PAT("", 1)}, longer[] = {PAT("1234567890123456789012345", 1)};
    const struct mpm_pattern never[] = {PAT("abc", 1, .min_off = 4, .max_off = 6)};
    struct mpm_db *db;
    char err[256];
    assert_int_equal(mpm_build(f->b, empty, 1, &db, err), SK_EINVAL);
    assert_true(err[0] != '\0');
    assert_int_equal(mpm_build(f->b, longer, 1, &db, err), SK_EINVAL);
    assert_int_equal(mpm_build(f->b, never, 1, &db, err), SK_OK);
    assert_null(db);
}

static uint8_t low(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static bool naive(const struct mpm_pattern *p, const uint8_t *buf, uint32_t len, uint32_t skip)
{
    uint32_t hi = p->max_off && p->max_off < len ? p->max_off : len;
    for (uint32_t i = p->min_off; i + p->len <= hi; i++) {
        uint16_t k = 0;
        while (k < p->len && (p->nocase ? low(buf[i + k]) == low(p->p[k]) : buf[i + k] == p->p[k]))
            k++;
        if (k == p->len && i + p->len > skip)
            return true;
    }
    return false;
}

static void fill(uint8_t *p, uint32_t n, const char *alphabet, uint32_t letters)
{
    for (uint32_t i = 0; i < n; i++)
        p[i] = (uint8_t)alphabet[(uint32_t)rand() % letters];
}

static void agrees_with_naive_search(void **state)
{
    struct fixture *f = *state;
    static const char alphabet[] = "aAb\0B\xffz@`[";
    static uint8_t text[64][MPM_MAX_LEN];
    uint8_t buf[300];
    unsigned found = 0;
    srand(11);
    for (int round = 0; round < 300; round++) {
        struct mpm_pattern p[64];
        uint32_t n = 1 + (uint32_t)rand() % (round % 2 ? 64 : 4), letters = 2 + (uint32_t)rand() % 8;
        for (uint32_t i = 0; i < n; i++) {
            uint16_t len = (uint16_t)(1 + rand() % (rand() % 4 ? 6 : MPM_MAX_LEN));
            fill(text[i], len, alphabet, letters);
            p[i] = (struct mpm_pattern){.p = text[i], .len = len, .nocase = rand() & 1, .id = i};
            if (rand() % 3 == 0)
                p[i].min_off = (uint32_t)rand() % 40;
            if (rand() % 3 == 0)
                p[i].max_off = p[i].min_off + len + (uint32_t)rand() % 60;
        }
        build(f, p, n);
        for (int k = 0; k < 40; k++) {
            uint32_t len = (uint32_t)rand() % (k % 2 ? 300 : 40), skip = rand() % 2 ? 0 : (uint32_t)rand() % 24;
            fill(buf, len, alphabet, letters);
            scan(f, buf, len, skip);
            for (uint32_t i = 0; i < n; i++) {
                bool want = naive(&p[i], buf, len, skip);
                found += want;
                if (hit(f, i) != want)
                    fail_msg("round %d: pattern %u should %sbe found", round, i, want ? "" : "not ");
            }
        }
    }
    assert_true(found > 500);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(finds_each_once),
        T(nul_bytes),
        T(caseless_by_pattern),
        T(shared_and_repeated_ids),
        T(bounds),
        T(skip_carried_tail),
        T(empty_buffer_and_no_patterns),
        T(list_continues_and_stops_at_its_capacity),
        T(equal_sets_share_a_database),
        T(sets_compiled_together),
        T(bad_patterns_are_refused),
        T(agrees_with_naive_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
