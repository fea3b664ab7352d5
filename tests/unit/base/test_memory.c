/* Arena, growing buffer and reader: what fits, and what happens at the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/arena.h"
#include "base/reader.h"
#include "base/strbuf.h"

static void arena_gives_aligned_memory_that_stays(void **state)
{
    (void)state;
    struct sk_arena a;
    unsigned char *p[200];
    sk_arena_init(&a, 256, 0);
    assert_int_equal(a.taken, 0);
    for (unsigned i = 0; i < 200; i++) {
        p[i] = (unsigned char *)sk_arena_alloc(&a, i);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)i, i);
    }
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned j = 0; j < i; j++)
            assert_int_equal(p[i][j], i);
    }
    sk_arena_free(&a);
    assert_int_equal(a.taken, 0);
}

static void arena_refuses_past_its_limit(void **state)
{
    (void)state;
    struct sk_arena a;
    sk_arena_init(&a, 1024, 8192);
    unsigned n = 0;
    while (sk_arena_alloc(&a, 100) != NULL)
        n++;
    assert_in_range(n, 50, 81);
    assert_true(a.taken <= 8192);
    assert_null(sk_arena_zalloc(&a, 5000));
    sk_arena_reset(&a);
    assert_in_range(a.taken, 1, 1024);
    assert_non_null(sk_arena_alloc(&a, 5000));
    assert_null(sk_arena_alloc(&a, SIZE_MAX));
    assert_null(sk_arena_alloc(&a, SIZE_MAX - 32));
    sk_arena_free(&a);
}

/* A large object must not waste the room that is left in the block before it. */
static void arena_large_object_leaves_the_block_in_use(void **state)
{
    (void)state;
    struct sk_arena a;
    sk_arena_init(&a, 1024, 0);
    char *first = (char *)sk_arena_alloc(&a, 16);
    assert_non_null(sk_arena_alloc(&a, 10000));
    assert_ptr_equal(sk_arena_alloc(&a, 16), first + 16);
    sk_arena_free(&a);
}

static void arena_copies_end_in_nul(void **state)
{
    (void)state;
    struct sk_arena a;
    sk_arena_init(&a, 0, 0);
    struct sk_span s = sk_arena_copy(&a, sk_span_of("a\0b", 3));
    assert_int_equal(s.len, 3);
    assert_memory_equal(s.p, "a\0b", 4);
    assert_string_equal(sk_arena_strdup(&a, "text"), "text");
    s = sk_arena_copy(&a, sk_span_of(NULL, 0));
    assert_non_null(s.p);
    const unsigned char *z = (const unsigned char *)sk_arena_zalloc(&a, 64);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(z[i], 0);
    sk_arena_free(&a);
}

static void strbuf_grows_and_stops_at_its_maximum(void **state)
{
    (void)state;
    struct sk_strbuf b;
    sk_strbuf_init(&b, 1000);
    for (int i = 0; i < 100; i++)
        sk_strbuf_printf(&b, "%03d-", i);
    assert_int_equal(b.len, 400);
    assert_memory_equal(b.p + 396, "099-", 5);
    static const char fill[600];
    sk_strbuf_add(&b, fill, 600);
    assert_false(b.full);
    assert_int_equal(b.len, 1000);
    sk_strbuf_puts(&b, "x");
    assert_true(b.full);
    /* Sticky: not even what would fit goes in. */
    b.len = 10;
    sk_strbuf_puts(&b, "y");
    assert_int_equal(b.len, 10);
    sk_strbuf_clear(&b);
    assert_false(b.full);
    sk_strbuf_puts(&b, "again");
    assert_string_equal(b.p, "again");
    sk_strbuf_printf(&b, "%2000d", 1);
    assert_true(b.full);
    assert_string_equal(b.p, "again");
    sk_strbuf_free(&b);
    assert_null(b.p);
}

static void reader_errors_stick(void **state)
{
    (void)state;
    const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    struct sk_reader r = rd_init(data, sizeof(data));
    assert_int_equal(rd_u8(&r), 1);
    assert_int_equal(rd_u16(&r), 0x0203);
    assert_int_equal(rd_u24(&r), 0x040506);
    assert_int_equal(rd_u32(&r), 0x0708090a);
    assert_int_equal(rd_u16(&r), 0);
    assert_true(r.bad);
    assert_int_equal(rd_u8(&r), 0); /* one byte is left, but the error stands */
    assert_int_equal(rd_left(&r), 1);
    struct sk_reader s = rd_init(data, sizeof(data));
    rd_skip(&s, SIZE_MAX);
    assert_true(s.bad);
    assert_null(rd_span(&s, 1).p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_gives_aligned_memory_that_stays),      cmocka_unit_test(arena_refuses_past_its_limit),
        cmocka_unit_test(arena_large_object_leaves_the_block_in_use), cmocka_unit_test(arena_copies_end_in_nul),
        cmocka_unit_test(strbuf_grows_and_stops_at_its_maximum),      cmocka_unit_test(reader_errors_stick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
