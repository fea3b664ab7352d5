/* Clock texts, hashes, escaping, findings, log lines, spans, counters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>
#include "base/path.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/diag.h"
#include "base/escape.h"
#include "base/hash.h"
#include "base/log.h"

static void durations_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t s;
    } good[] = {{"90", 90},     {"90s", 90},     {"15m", 900},        {"1h", 3600},
                {"7d", 604800}, {"2w", 1209600}, {"3650d", 315360000}};
    static const char *const bad[] = {
        "", "0", "0s", "h", "-1h", "1x", "1hh", "1h ", " 1h", "1.5h", "11w1d", "600w", "99999999999999999999"};
    int64_t s = 0;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(sk_duration_parse(good[i].text, &s), SK_OK);
        assert_int_equal(s, good[i].s);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(sk_duration_parse(bad[i], &s), SK_EINVAL);
}

static void durations_show_the_two_largest_units(void **state)
{
    (void)state;
    char b[32];
    assert_string_equal(sk_duration_format(0, b), "0s");
    assert_string_equal(sk_duration_format(59, b), "59s");
    assert_string_equal(sk_duration_format(90, b), "1m30s");
    assert_string_equal(sk_duration_format(3600, b), "1h");
    assert_string_equal(sk_duration_format(93784, b), "1d2h");
    assert_string_equal(sk_duration_format(86405, b), "1d");
}

static void times_are_eve_times(void **state)
{
    (void)state;
    char b[40];
    assert_string_equal(sk_time_format(INT64_C(1767323045123456789), b), "2026-01-02T03:04:05.123456+0000");
    assert_string_equal(sk_time_format(0, b), "1970-01-01T00:00:00.000000+0000");
    assert_string_equal(sk_time_format(-1, b), "1969-12-31T23:59:59.999999+0000");
    int64_t a = sk_now_mono();
    assert_true(sk_now_mono() >= a);
    assert_true(sk_now_wall() > INT64_C(1700000000) * SK_NS_PER_S);
}

/* Values of the reference SipHash-1-3: key 00..0f, message 00, 01, ..., as little-endian output bytes. */
static void siphash_is_siphash_1_3(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        uint64_t h;
    } known[] = {{0, UINT64_C(0xabac0158050fc4dc)},  {1, UINT64_C(0xc9f49bf37d57ca93)},
                 {7, UINT64_C(0xd3927d989bb11140)},  {8, UINT64_C(0x369095118d299a8e)},
                 {15, UINT64_C(0xd320d86d2a519956)}, {63, UINT64_C(0x9d199062b7bbb3a8)}};
    const struct sk_hash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    uint8_t msg[64];
    for (unsigned i = 0; i < sizeof(msg); i++)
        msg[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        assert_true(sk_siphash(&key, msg, known[i].len) == known[i].h);
}

static void words_hash_as_their_bytes(void **state)
{
    (void)state;
    struct sk_hash_key a, b;
    sk_hash_key_random(&a);
    sk_hash_key_random(&b);
    const uint64_t w[5] = {1, UINT64_C(0xfedcba9876543210), 3, 4, 5};
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (unsigned n = 2; n <= 5; n++)
        assert_true(sk_siphash_words(&a, w, n) == sk_siphash(&a, w, n * 8));
#endif
    assert_true(sk_siphash_words(&a, w, 5) != sk_siphash_words(&b, w, 5));
}

static const char *escaped(const char *s, uint32_t len, char *buf, size_t cap)
{
    return sk_escape(buf, cap, sk_span_of(s, len));
}

static void escape_leaves_only_printable_ascii(void **state)
{
    (void)state;
    char b[64], all[1200];
    assert_string_equal(escaped("GET /", 5, b, sizeof(b)), "GET /");
    assert_string_equal(escaped("a\0b\n\x1b[31m\\\xff", 11, b, sizeof(b)), "a\\x00b\\x0a\\x1b[31m\\\\\\xff");
    assert_string_equal(escaped("", 0, b, sizeof(b)), "");
    char every[256];
    for (int i = 0; i < 256; i++)
        every[i] = (char)i;
    escaped(every, 256, all, sizeof(all));
    for (const char *p = all; *p != '\0'; p++)
        assert_in_range(*p, 0x20, 0x7e);
}

static void escape_cuts_what_does_not_fit(void **state)
{
    (void)state;
    char b[8];
    assert_string_equal(escaped("1234567", 7, b, sizeof(b)), "1234567");
    assert_string_equal(escaped("12345678", 8, b, sizeof(b)), "1234...");
    /* An escape is never cut in two. */
    assert_string_equal(escaped("12\n4", 4, b, sizeof(b)), "12\\x0a4");
    assert_string_equal(escaped("12\n45", 5, b, sizeof(b)), "12...");
}

static void spans_compare_and_trim(void **state)
{
    (void)state;
    assert_true(sk_span_ieq(sk_span_str("Content-Type"), "content-type"));
    assert_false(sk_span_ieq(sk_span_str("Content"), "content-type"));
    assert_false(sk_span_ieq(sk_span_str("Content-Type"), "content"));
    assert_false(sk_span_ieq(sk_span_of("a\0b", 3), "a"));
    assert_true(sk_span_ieq(sk_span_of(NULL, 0), ""));
    assert_true(sk_span_eq(sk_span_trim(sk_span_str("\t a b \t")), sk_span_str("a b")));
    assert_int_equal(sk_span_trim(sk_span_str(" \t ")).len, 0);
}

struct got {
    struct sk_diag d;
    char text[64];
};

static void keep_diag(void *arg, const struct sk_diag *d)
{
    struct got *g = (struct got *)arg;
    g->d = *d;
    snprintf(g->text, sizeof(g->text), "%s", d->text);
}

static void findings_reach_the_sink(void **state)
{
    (void)state;
    struct got g = {.text = ""};
    const struct sk_diag_sink sink = {.fn = keep_diag, .arg = &g}, deaf = {.fn = NULL};
    sk_diag(&sink, SK_DIAG_WARN, "a.rules", 3, 14, "unknown keyword \"%s\"", "contnet");
    assert_string_equal(g.text, "unknown keyword \"contnet\"");
    assert_string_equal(g.d.file, "a.rules");
    assert_int_equal(g.d.level, SK_DIAG_WARN);
    assert_int_equal(g.d.line, 3);
    assert_int_equal(g.d.col, 14);
    sk_diag(NULL, SK_DIAG_ERROR, "f", 1, 1, "dropped");
    sk_diag(&deaf, SK_DIAG_ERROR, "f", 1, 1, "dropped");
    assert_string_equal(g.text, "unknown keyword \"contnet\"");
}

/* Runs fn with standard error going to a buffer. */
static void capture_stderr(void (*fn)(void), char *buf, size_t cap)
{
    FILE *f = tmpfile();
    assert_non_null(f);
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    dup2(fileno(f), STDERR_FILENO);
    fn();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(f);
    buf[fread(buf, 1, cap - 1, f)] = '\0';
    fclose(f);
}

static void print_findings(void)
{
    sk_diag(&sk_diag_stderr, SK_DIAG_ERROR, "x.yaml", 3, 7, "no\x1b[2J");
    sk_diag(&sk_diag_stderr, SK_DIAG_NOTE, "x.yaml", 0, 0, "whole file");
    sk_diag(&sk_diag_stderr, SK_DIAG_WARN, NULL, 0, 0, "nowhere");
}

static void findings_are_printed_without_control_bytes(void **state)
{
    (void)state;
    char out[256];
    capture_stderr(print_findings, out, sizeof(out));
    assert_string_equal(out, "x.yaml:3:7: error: no\\x1b[2J\nx.yaml: note: whole file\nsekisho: warning: nowhere\n");
}

static void log_some(void)
{
    static char big[3000];
    memset(big, 'x', sizeof(big) - 1);
    sk_log_setup("guard", SK_LOG_INFO, 1);
    sk_log(SK_LOG_WARN, "block %d", 7);
    sk_log(SK_LOG_DEBUG, "not shown");
    sk_log_setup("engine", SK_LOG_DEBUG, 0);
    sk_log(SK_LOG_DEBUG, "shown");
    sk_log(SK_LOG_INFO, "%s", big);
}

static void log_lines_have_level_and_an_end(void **state)
{
    (void)state;
    static char out[4096];
    capture_stderr(log_some, out, sizeof(out));
    const char *want = "<4>guard: warning: block 7\nengine: debug: shown\nengine: xxx";
    assert_memory_equal(out, want, strlen(want));
    size_t n = strlen(out);
    assert_int_equal(out[n - 1], '\n');
    assert_true(n < 1200); /* the long line was cut */
}

static void counters_have_distinct_names(void **state)
{
    (void)state;
    assert_string_equal(sk_counter_name(SK_C_PKTS), "decoder.pkts");
    for (int i = 0; i < SK_C_COUNT; i++) {
        assert_true(strlen(sk_counter_help((enum sk_counter)i)) > 0);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(sk_counter_name((enum sk_counter)i), sk_counter_name((enum sk_counter)j));
    }
    static struct sk_counters c;
    sk_count(&c, SK_C_PKTS);
    sk_count_add(&c, SK_C_PKTS, 41);
    assert_int_equal(sk_count_read(&c, SK_C_PKTS), 42);
    assert_int_equal(sk_count_read(&c, SK_C_BYTES), 0);
}

static void errors_have_words(void **state)
{
    (void)state;
    for (int e = 0; e >= SK_ENOTSUP; e--)
        assert_string_not_equal(sk_strerror(e), "unknown error");
    assert_string_equal(sk_strerror(-1000), "unknown error");
}

static void test_what_can_be_made(void **state)
{
    (void)state;
    char why[128] = "", longer[SK_PATH_MAX + 8];
    memset(longer, 'a', sizeof longer);
    memcpy(longer + sizeof longer - 3, "/b", 3);
    assert_int_equal(sk_path_makeable("/tmp/none", why, sizeof why), SK_OK);
    assert_int_equal(sk_path_makeable("/tmp//none//", why, sizeof why), SK_OK);
    assert_int_equal(sk_path_makeable("none", why, sizeof why), access(".", W_OK) == 0 ? SK_OK : SK_EIO);
    assert_int_equal(sk_path_makeable("/nowhere/at/all", why, sizeof why), SK_EIO);
    assert_string_equal(why, "/nowhere/at: No such file or directory");
    assert_int_equal(sk_path_makeable("/etc/passwd/x", why, sizeof why), SK_EIO);
    assert_int_equal(sk_path_makeable(longer, why, sizeof why), SK_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_can_be_made),
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(durations_show_the_two_largest_units),
        cmocka_unit_test(times_are_eve_times),
        cmocka_unit_test(siphash_is_siphash_1_3),
        cmocka_unit_test(words_hash_as_their_bytes),
        cmocka_unit_test(escape_leaves_only_printable_ascii),
        cmocka_unit_test(escape_cuts_what_does_not_fit),
        cmocka_unit_test(spans_compare_and_trim),
        cmocka_unit_test(findings_reach_the_sink),
        cmocka_unit_test(findings_are_printed_without_control_bytes),
        cmocka_unit_test(log_lines_have_level_and_an_end),
        cmocka_unit_test(counters_have_distinct_names),
        cmocka_unit_test(errors_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
