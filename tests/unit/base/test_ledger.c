/* The ledger's classes, and marks of capture rings: exact wherever their writer dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/counters.h"
#include "base/ringmark.h"

static void classes_lie_together(void **state)
{
    (void)state;
    for (unsigned c = SK_LP_FIRST; c <= SK_LP_LAST; c++)
        assert_memory_equal(sk_counter_name((enum sk_counter)c), "ledger.packets.", 15);
    for (unsigned c = SK_LF_FIRST; c <= SK_LF_LAST; c++)
        assert_memory_equal(sk_counter_name((enum sk_counter)c), "ledger.flows.", 13);
    assert_string_equal(sk_counter_leaf(SK_C_LP_RING_DROP), "ring_drop");
    assert_string_equal(sk_counter_name((enum sk_counter)(SK_LP_FIRST - 1)), "ledger.packets.sent");
    struct sk_counters k = {{0}};
    for (unsigned c = 0; c < SK_C_COUNT; c++)
        k.v[c] = 1;
    assert_int_equal(sk_count_sum(&k, SK_LP_FIRST, SK_LP_LAST), SK_LP_LAST - SK_LP_FIRST + 1);
}

static uint64_t at(uint64_t seq, uint64_t frame)
{
    return seq << SK_RING_FRAME_BITS | frame;
}

/* As if the writer had died after each single store of the step from `before` to `after`. */
static void check_torn(const struct sk_ring_mark *before, const struct sk_ring_mark *after)
{
    for (unsigned i = 0; i < 2; i++) {
        struct sk_ring_mark torn = *before;
        torn.rec[i].done = after->rec[i].done;
        assert_int_equal(sk_ring_mark_taken(&torn), sk_ring_mark_taken(before));
        assert_int_equal(sk_ring_mark_at(&torn), sk_ring_mark_at(before));
    }
}

static void marks_count_exactly(void **state)
{
    (void)state;
    struct sk_ring_mark m = {0};
    uint64_t seq = 1, taken = 0;
    assert_int_equal(sk_ring_mark_taken(&m), 0);
    for (unsigned blocks = 0; blocks < 3000; blocks++) {
        unsigned frames = 1 + (unsigned)rand() % 40;
        for (unsigned f = 1; f <= frames; f++) {
            struct sk_ring_mark before = m;
            sk_ring_mark_take(&m, at(seq, f));
            check_torn(&before, &m);
            assert_int_equal(sk_ring_mark_taken(&m), ++taken);
            assert_int_equal(sk_ring_mark_at(&m), at(seq, f));
        }
        seq += 1 + (unsigned)rand() % 3; /* blocks of which no frame was taken */
    }
}

/* A new reader goes on in the middle of a block, or at its first frame. */
static void marks_go_on(void **state)
{
    (void)state;
    struct sk_ring_mark m = {0};
    sk_ring_mark_take(&m, at(7, 1));
    sk_ring_mark_take(&m, at(7, 2));
    sk_ring_mark_take(&m, at(8, 1));
    assert_int_equal(sk_ring_mark_taken(&m), 3);
    sk_ring_mark_take(&m, at(8, 2));
    assert_int_equal(sk_ring_mark_taken(&m), 4);
    sk_ring_mark_take(&m, at(UINT64_C(1) << 40, SK_RING_FRAME_MASK));
    assert_int_equal(sk_ring_mark_taken(&m), 4 + SK_RING_FRAME_MASK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_lie_together),
        cmocka_unit_test(marks_count_exactly),
        cmocka_unit_test(marks_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
