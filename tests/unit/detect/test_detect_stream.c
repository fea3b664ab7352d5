/* Rules on raw streams: what may lie in different segments, chunks and windows. */
#include "detect_case.h"
#include <stdio.h>

static uint8_t noise[3 * DETECT_WINDOW];

static void fill_noise(void)
{
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        x = x * 1664525 + 1013904223;
        noise[i] = (uint8_t)('A' + (x >> 24) % 20);
    }
}

static void pattern_straddles_segments(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"straddling\"; sid:1;)\n"
                  "alert tcp any any -> any any (pcre:\"/str[a-z]+ling/\"; sid:2;)\n"
                  "alert tcp-pkt any any -> any any (content:\"straddling\"; sid:3;)\n");
    const char *word = "xx straddling xx";
    for (const char *c = word; *c; c++)
        case_segment(&k, TS, c, 1, true);
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 3), 0);
    assert_true(fired(&k, 2) >= 1);
    case_text(&k, TC, "straddling");
    assert_int_equal(fired(&k, 1), 2);
    assert_int_equal(fired(&k, 3), 1);
    case_close(&k);
}

/* The fast pattern in one segment, the rest of the rule in a later one, each of them pushed. */
static void rest_of_the_rule_comes_later(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"longest-pattern\"; content:\"b1\"; distance:0; sid:1;)\n"
                  "alert tcp any any -> any any (content:\"longest-pattern\"; content:\"b1\"; within:4; sid:2;)\n"
                  "alert tcp any any -> any any (content:\"longest-pattern\"; pcre:\"/b[0-9]/R\"; sid:3;)\n");
    case_text(&k, TS, "longest-pattern");
    assert_int_equal(k.nfired, 0);
    case_text(&k, TS, "..........");
    case_text(&k, TS, "b1");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 2), 0);
    assert_int_equal(fired(&k, 3), 1);
    case_text(&k, TS, "b1 b1 b1 b1 b1 b1 b1 b1 b1"); /* said once */
    assert_int_equal(fired(&k, 1), 1);
    case_close(&k);
}

/* As above, but with so much before that a small segment does not trigger a new attempt: the end does. */
static void rest_of_the_rule_at_the_very_end(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"longest-pattern\"; content:\"b1\"; distance:0; sid:1;)\n");
    case_segment(&k, TS, noise, 6000, false);
    case_text(&k, TS, "longest-pattern");
    case_text(&k, TS, "b1");
    assert_int_equal(fired(&k, 1), 0);
    case_eof(&k, TS);
    assert_int_equal(fired(&k, 1), 1);
    case_close(&k);
}

static void too_many_rules_under_way_are_counted(void **state)
{
    (void)state;
    static char text[32768];
    size_t n = 0;
    for (int i = 0; i < 40; i++)
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "alert tcp any any -> any any (content:\"longest-pattern\"; content:\"x%d\"; sid:%d;)\n",
                              i, i + 1);
    struct tcase k;
    case_open(&k, text);
    case_text(&k, TS, "longest-pattern");
    assert_true(counted(&k, SK_C_DETECT_STREAM_FULL) > 0);
    assert_int_equal(k.nfired, 0);
    case_text(&k, TS, " x0 ");
    assert_int_equal(fired(&k, 1), 1);
    case_close(&k);
}

/* At each place around the borders of chunk and window, in segments of several sizes. */
static void pattern_anywhere_in_a_long_stream(void **state)
{
    (void)state;
    static uint8_t stream[3 * DETECT_WINDOW];
    static const uint32_t sizes[] = {1, 7, 1460, DETECT_CHUNK, DETECT_WINDOW, sizeof stream};
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"needle-1\"; content:\"needle-2\"; distance:300; within:500; "
                  "sid:1;)\n");
    unsigned runs = 0;
    for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (uint32_t at = DETECT_WINDOW - 420; at < DETECT_WINDOW + 40; at += sizes[s] == 1 ? 151 : 23) {
            memcpy(stream, noise, sizeof stream);
            memcpy(stream + at, "needle-1", 8);
            memcpy(stream + at + 400, "needle-2", 8);
            case_new_flow(&k);
            for (uint32_t off = 0; off < sizeof stream; off += sizes[s]) {
                uint32_t n = sizeof stream - off < sizes[s] ? (uint32_t)sizeof stream - off : sizes[s];
                case_segment(&k, TS, stream + off, n, false);
            }
            case_eof(&k, TS);
            runs++;
            if (fired(&k, 1) != runs)
                fail_msg("segments of %u, pattern at %u", sizes[s], at);
            assert_true(k.nfired < CASE_MAX_FIRED);
        }
    }
    case_close(&k);
}

static void chunks_wait_unless_pushed(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n");
    case_segment(&k, TS, "evil", 4, false);
    assert_int_equal(fired(&k, 1), 0);
    case_segment(&k, TS, noise, DETECT_CHUNK, false);
    assert_int_equal(fired(&k, 1), 1);
    case_close(&k);

    const struct detect_thread_conf prevent = {
        .max_alerts = 15, .window_memcap = 1 << 20, .max_tx_nodes = 64, .every_packet = true};
    case_open_conf(&k, "drop tcp any any -> any any (content:\"evil\"; sid:1;)\n", NULL, &prevent);
    case_segment(&k, TS, "evil", 4, false);
    assert_int_equal(fired(&k, 1), 1);
    assert_true(k.drop);
    case_close(&k);
}

static void nothing_matches_across_a_gap(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"front\"; content:\"back\"; distance:0; sid:1;)\n"
                  "alert tcp any any -> any any (content:\"frontback\"; sid:2;)\n"
                  "alert tcp any any -> any any (content:\"back\"; sid:3;)\n"
                  "alert tcp any any -> any any (content:\"waiting\"; sid:4;)\n");
    case_segment(&k, TS, "waiting front", 13, false);
    k.offset[TS] += 100;
    case_segment(&k, TS, "back", 4, true);
    assert_int_equal(fired(&k, 1), 0);
    assert_int_equal(fired(&k, 2), 0);
    assert_int_equal(fired(&k, 3), 1);
    assert_int_equal(fired(&k, 4), 1); /* what was not yet scanned is scanned before it goes */
    case_close(&k);
}

static void offsets_count_from_the_stream_and_the_packet(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"abc\"; depth:3; sid:1;)\n"
                  "alert tcp any any -> any any (content:\"abc\"; offset:4; depth:3; sid:2;)\n"
                  "alert tcp-stream any any -> any any (content:\"abc\"; depth:3; sid:3;)\n"
                  "alert tcp-stream any any -> any any (content:\"xyz\"; sid:4;)\n");
    case_text(&k, TS, "abc.");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(fired(&k, 3), 1);
    case_text(&k, TS, "abc"); /* at 4 in the stream; at 0 in the packet */
    assert_int_equal(fired(&k, 1), 2);
    assert_int_equal(fired(&k, 2), 1);
    unsigned before = fired(&k, 3);
    case_segment(&k, TS, noise, 3 * DETECT_WINDOW, true);
    case_text(&k, TS, "abc xyz");
    assert_int_equal(fired(&k, 3), before);
    assert_int_equal(fired(&k, 4), 1);
    case_close(&k);
}

/* No memory for windows: each chunk alone. */
static void window_memcap(void **state)
{
    (void)state;
    const struct detect_thread_conf conf = {.max_alerts = 15, .window_memcap = 100, .max_tx_nodes = 64};
    struct tcase k;
    case_open_conf(&k, "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n", NULL, &conf);
    case_text(&k, TS, "ev");
    case_text(&k, TS, "il");
    assert_int_equal(fired(&k, 1), 0);
    case_text(&k, TS, "an evil chunk");
    assert_int_equal(fired(&k, 1), 1);
    assert_int_equal(counted(&k, SK_C_DETECT_WINDOW_FULL), 3);
    assert_int_equal(detect_stream_window(&k.df, TS).len, 0);
    case_close(&k);
}

static void windows_go_back_to_the_pool(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"evil\"; sid:1;)\n");
    uint64_t before = 0;
    for (int i = 0; i < 1000; i++) {
        case_text(&k, TS, "some bytes");
        case_text(&k, TC, "some bytes");
        if (i == 0)
            before = detect_thread_memory(k.t);
        case_new_flow(&k);
    }
    assert_int_equal(detect_thread_memory(k.t), before);
    assert_int_equal(counted(&k, SK_C_DETECT_WINDOW_FULL), 0);
    case_close(&k);
}

/* What must not be there is judged on what is there; a window that moves on must not make it true. */
static void negation_and_the_window(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"needle\"; content:!\"excuse\"; sid:1;)\n");
    case_text(&k, TS, "excuse");
    case_segment(&k, TS, noise, 7000, true);
    case_text(&k, TS, "needle");
    case_segment(&k, TS, noise, 2 * DETECT_WINDOW, true);
    case_eof(&k, TS);
    assert_int_equal(fired(&k, 1), 0);
    case_new_flow(&k);
    case_text(&k, TS, "needle");
    assert_int_equal(fired(&k, 1), 1);
    case_close(&k);
}

static void reload_under_a_window(void **state)
{
    (void)state;
    struct tcase k;
    case_open(&k, "alert tcp any any -> any any (content:\"pattern-one\"; content:\"b1\"; sid:1;)\n"
                  "alert tcp any any -> any any (content:\"pattern-two\"; content:\"b1\"; sid:2;)\n");
    case_text(&k, TS, "pattern-one pattern-two ");
    case_reload(&k, "alert tcp any any -> any any (content:\"two b1\"; sid:3;)\n");
    case_text(&k, TS, "b1");
    assert_int_equal(fired(&k, 1) + fired(&k, 2), 0);
    assert_int_equal(fired(&k, 3), 1); /* old bytes of the window serve the new rules */
    case_segment(&k, TS, noise, sizeof noise, true);
    case_close(&k);
}

int main(void)
{
    fill_noise();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern_straddles_segments),
        cmocka_unit_test(rest_of_the_rule_comes_later),
        cmocka_unit_test(rest_of_the_rule_at_the_very_end),
        cmocka_unit_test(too_many_rules_under_way_are_counted),
        cmocka_unit_test(pattern_anywhere_in_a_long_stream),
        cmocka_unit_test(chunks_wait_unless_pushed),
        cmocka_unit_test(nothing_matches_across_a_gap),
        cmocka_unit_test(offsets_count_from_the_stream_and_the_packet),
        cmocka_unit_test(window_memcap),
        cmocka_unit_test(windows_go_back_to_the_pool),
        cmocka_unit_test(negation_and_the_window),
        cmocka_unit_test(reload_under_a_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
