/* What bounds an evaluation, what is counted, and what compiling refuses. */
#include "inspect_case.h"

#include "match/mpm.h"

static struct sk_counters counters;

struct heard {
    unsigned n, line, col;
};

static void hear(void *arg, const struct sk_diag *d)
{
    struct heard *h = arg;
    h->n++;
    h->line = d->line;
    h->col = d->col;
}

static bool run_on(const struct rule_match *m, uint16_t n, const struct inspect_conf *conf, const uint8_t *buf,
                   uint32_t len)
{
    struct rule_inspect in = {.n = n, .m = m};
    struct inspect_prog *p;
    struct inspect_scratch *s;
    uint64_t vars[RULE_MAX_VARS] = {0};
    assert_int_equal(inspect_compile(&in, conf, "limits", &sk_diag_stderr, &p), SK_OK);
    assert_int_equal(inspect_scratch_create(conf, &counters, &s), SK_OK);
    struct inspect_input input = {.buf = sk_span_of(buf, len), .at_start = true, .complete = true};
    bool got = inspect_run(p, s, &input, vars);
    inspect_scratch_free(s);
    inspect_free(p);
    return got;
}

/* Every pair of a's is tried for the third: quadratic work that must stop, count, and not match. */
static void backtracking_is_bounded(void **state)
{
    (void)state;
    const struct rule_match m[] = {PLAIN("a"), WITHIN("a", 60000), WITHIN("a", 60000), WITHIN("b", 1)};
    uint8_t *buf = malloc(60000);
    assert_non_null(buf);
    memset(buf, 'a', 60000);
    uint64_t before = sk_count_read(&counters, SK_C_INSPECT_LIMIT);
    assert_false(run_on(m, 4, &case_conf, buf, 60000));
    assert_int_equal(sk_count_read(&counters, SK_C_INSPECT_LIMIT), before + 1);
    free(buf);
}

/* The same shape on a small buffer stays below the limit and finds the only solution. */
static void deep_backtracking_finds(void **state)
{
    (void)state;
    const struct rule_match m[] = {PLAIN("a"), WITHIN("a", 40), WITHIN("a", 40), WITHIN("b", 1)};
    uint8_t buf[41];
    memset(buf, 'a', sizeof buf);
    buf[40] = 'b';
    uint64_t before = sk_count_read(&counters, SK_C_INSPECT_LIMIT);
    assert_true(run_on(m, 4, &case_conf, buf, sizeof buf));
    assert_int_equal(sk_count_read(&counters, SK_C_INSPECT_LIMIT), before);
}

/* Searching costs too: an expression run again from each of many anchors must not go on for ever. */
static void searched_bytes_are_bounded(void **state)
{
    (void)state;
    const struct rule_match m[] = {PLAIN("a"), PCRE("b.c", 0, RP_RELATIVE)};
    const uint32_t len = 1 << 20;
    uint8_t *buf = malloc(len);
    assert_non_null(buf);
    memset(buf, 'a', len);
    uint64_t before = sk_count_read(&counters, SK_C_INSPECT_LIMIT);
    assert_false(run_on(m, 2, &case_conf, buf, len));
    assert_int_equal(sk_count_read(&counters, SK_C_INSPECT_LIMIT), before + 1);
    free(buf);
}

static void a_long_buffer_is_not_cut_short(void **state)
{
    (void)state;
    const struct rule_match m[] = {PLAIN("needle"), PCRE("need.e", 0, 0)};
    const uint32_t len = 1 << 20;
    uint8_t *buf = malloc(len);
    assert_non_null(buf);
    memset(buf, 'a', len);
    memcpy(buf + len - 6, "needle", 6);
    assert_true(run_on(m, 2, &case_conf, buf, len));
    free(buf);
}

static void pcre_limit_is_counted_and_no_match(void **state)
{
    (void)state;
    const struct rule_match m[] = {PCRE("^(a+)+$", 0, 0)}, negated[] = {PCRE("^(a+)+$", 0, RP_NEGATED)};
    uint8_t buf[40];
    memset(buf, 'a', sizeof buf);
    buf[sizeof buf - 1] = 'b';
    uint64_t before = sk_count_read(&counters, SK_C_DETECT_PCRE_LIMIT);
    assert_false(run_on(m, 1, &case_conf, buf, sizeof buf));
    assert_false(run_on(negated, 1, &case_conf, buf, sizeof buf));
    assert_int_equal(sk_count_read(&counters, SK_C_DETECT_PCRE_LIMIT), before + 2);
}

static void bad_expression_is_refused_where_it_stands(void **state)
{
    (void)state;
    const struct rule_match m[] = {PLAIN("a"), {.type = RM_PCRE, .line = 7, .col = 42, .pcre = {.expr = "a(b"}}};
    struct rule_inspect in = {.n = 2, .m = m};
    struct heard h = {0};
    struct sk_diag_sink sink = {.fn = hear, .arg = &h};
    struct inspect_prog *p;
    assert_int_equal(inspect_compile(&in, &case_conf, "x", &sink, &p), SK_EINVAL);
    assert_int_equal(h.n, 1);
    assert_int_equal(h.line, 7);
    assert_int_equal(h.col, 42);
}

static void too_many_matches_are_refused(void **state)
{
    (void)state;
    enum { N = 300 };
    struct rule_match *m = calloc(N, sizeof *m);
    assert_non_null(m);
    for (int i = 0; i < N; i++)
        m[i] = (struct rule_match)PLAIN("a");
    struct rule_inspect in = {.n = N, .m = m};
    struct heard h = {0};
    struct sk_diag_sink sink = {.fn = hear, .arg = &h};
    struct inspect_prog *p;
    assert_int_equal(inspect_compile(&in, &case_conf, "x", &sink, &p), SK_EFULL);
    assert_int_equal(h.n, 1);
    in.n = 255;
    assert_int_equal(inspect_compile(&in, &case_conf, "x", &sink, &p), SK_OK);
    inspect_free(p);
    free(m);
}

static void variable_out_of_range_is_refused(void **state)
{
    (void)state;
    const struct rule_match m[] = {CONTENT_VAR("a", RULE_MAX_VARS, NV, NV, NV, .flags = RC_OFFSET)};
    struct rule_inspect in = {.n = 1, .m = m};
    struct inspect_prog *p;
    assert_int_equal(inspect_compile(&in, &case_conf, "x", NULL, &p), SK_EINVAL);
}

static bool content_only(const struct rule_match *m, uint16_t n)
{
    struct rule_inspect in = {.n = n, .m = m};
    struct inspect_prog *p;
    assert_int_equal(inspect_compile(&in, &case_conf, "x", NULL, &p), SK_OK);
    bool only = inspect_is_content_only(p);
    inspect_free(p);
    return only;
}

static void content_only_means_nothing_else_to_check(void **state)
{
    (void)state;
    const struct rule_match plain[] = {PLAIN("abc")}, nocase[] = {CONTENT("abc", .flags = RC_NOCASE)};
    const struct rule_match longest[] = {PLAIN("123456789012345678901234")},
                            clipped[] = {PLAIN("1234567890123456789012345")};
    const struct rule_match negated[] = {NOT("abc")}, bound[] = {DEPTH("abc", 5)}, end[] = {ENDSWITH("abc")};
    const struct rule_match two[] = {PLAIN("abc"), PLAIN("d")};
    assert_true(content_only(plain, 1));
    assert_true(content_only(nocase, 1));
    assert_true(content_only(longest, 1));
    assert_false(content_only(clipped, 1));
    assert_false(content_only(negated, 1));
    assert_false(content_only(bound, 1));
    assert_false(content_only(end, 1));
    assert_false(content_only(two, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backtracking_is_bounded),
        cmocka_unit_test(deep_backtracking_finds),
        cmocka_unit_test(searched_bytes_are_bounded),
        cmocka_unit_test(a_long_buffer_is_not_cut_short),
        cmocka_unit_test(pcre_limit_is_counted_and_no_match),
        cmocka_unit_test(bad_expression_is_refused_where_it_stands),
        cmocka_unit_test(too_many_matches_are_refused),
        cmocka_unit_test(variable_out_of_range_is_refused),
        cmocka_unit_test(content_only_means_nothing_else_to_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
