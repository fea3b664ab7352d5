#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "rules/buffer.h"

static void transforms(void **state)
{
    (void)state;
    static const struct {
        uint8_t xf[3], n;
        const char *in, *out;
    } cases[] = {
        {{0}, 0, "as is", "as is"},
        {{RULE_XF_DOTPREFIX}, 1, "example.com", ".example.com"},
        {{RULE_XF_DOTPREFIX}, 1, "", "."},
        {{RULE_XF_STRIP_WHITESPACE}, 1, " a \t\r\nb ", "ab"},
        {{RULE_XF_COMPRESS_WHITESPACE}, 1, "  a \t b", " a b"},
        {{RULE_XF_TO_LOWERCASE}, 1, "AbZ[@`1", "abz[@`1"},
        {{RULE_XF_TO_UPPERCASE}, 1, "aBz{@`1", "ABZ{@`1"},
        {{RULE_XF_URL_DECODE}, 1, "a%20b+c%2Fd%zz%4", "a b c/d%zz%4"},
        {{RULE_XF_HEADER_LOWERCASE}, 1, "Host: A.B\r\nX-Y: Z:Q\r\n", "host: A.B\r\nx-y: Z:Q\r\n"},
        {{RULE_XF_STRIP_PSEUDO_HEADERS}, 1, ":path: /\r\nhost: a\r\n:scheme: x", "host: a\r\n"},
        {{RULE_XF_URL_DECODE, RULE_XF_TO_UPPERCASE, RULE_XF_DOTPREFIX}, 3, "%61b", ".AB"},
        {{RULE_XF_DOTPREFIX, RULE_XF_DOTPREFIX}, 2, "a", "..a"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t out[128];
        int n = rule_transform_apply(cases[i].xf, cases[i].n, sk_span_str(cases[i].in), out, sizeof out);
        if (n != (int)strlen(cases[i].out) || memcmp(out, cases[i].out, (size_t)n) != 0)
            fail_msg("%s -> %.*s, not %s", cases[i].in, n, (char *)out, cases[i].out);
    }
}

static void hashes(void **state)
{
    (void)state;
    static const struct {
        uint8_t xf;
        int len;
        const char *hex;
    } cases[] = {{RULE_XF_TO_MD5, 16, "900150983cd24fb0d6963f7d28e17f72"},
                 {RULE_XF_TO_SHA1, 20, "a9993e364706816aba3e25717850c26c9cd0d89d"},
                 {RULE_XF_TO_SHA256, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}};
    for (unsigned i = 0; i < 3; i++) {
        uint8_t out[32];
        char hex[65];
        assert_int_equal(rule_transform_apply(&cases[i].xf, 1, sk_span_str("abc"), out, sizeof out), cases[i].len);
        for (int k = 0; k < cases[i].len; k++)
            snprintf(hex + 2 * k, 3, "%02x", out[k]);
        assert_string_equal(hex, cases[i].hex);
        assert_int_equal(rule_transform_apply(&cases[i].xf, 1, sk_span_str("abc"), out, 15), -1);
    }
}

static void output_that_does_not_fit(void **state)
{
    (void)state;
    for (uint8_t xf = 0; xf <= RULE_XF_STRIP_PSEUDO_HEADERS; xf++) {
        uint8_t out[8];
        assert_int_equal(rule_transform_apply(&xf, 1, sk_span_str("123456789"), out, sizeof out), -1);
    }
    uint8_t out[4], dot = RULE_XF_DOTPREFIX;
    assert_int_equal(rule_transform_apply(&dot, 1, sk_span_str("1234"), out, 4), -1);
    assert_int_equal(rule_transform_apply(&dot, 1, sk_span_str("123"), out, 4), 4);
    assert_int_equal(rule_transform_apply(NULL, 0, sk_span_str("12345"), out, 4), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transforms),
        cmocka_unit_test(hashes),
        cmocka_unit_test(output_that_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
