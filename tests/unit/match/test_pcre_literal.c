/* The literal that an expression requires: what is found, what is given up, and that no match is without it. */
#include "inspect_case.h"

static const struct {
    const char *expr;
    uint32_t options;
    const char *want; /* NULL: none */
    bool nocase;
} table[] = {
    {"abc", 0, "abc", false},
    {"abc", PCRE2_CASELESS, "abc", true},
    {"(?i)abc", 0, "abc", true},
    {"ab(?i:cd)", 0, "ab", true},
    {"^abc$", 0, "abc", false},
    {"a.bcd.e", 0, "bcd", false},
    {"abcd?", 0, "abc", false},
    {"abcd*ef", 0, "abc", false},
    {"abcd+ef", 0, "abcd", false},
    {"ab{2}cde", 0, "cde", false},
    {"ab{0,3}cde", 0, "cde", false},
    {"abc{0}d", 0, "ab", false},
    {"abc{,4}d", 0, "ab", false},
    {"abc+?de", 0, "abc", false},
    {"abc*+de", 0, "ab", false},
    {"\\x41\\x42c", 0, "ABc", false},
    {"\\x{41}b", 0, "Ab", false},
    {"a\\.b\\/c", 0, "a.b/c", false},
    {"a\\r\\nb", 0, "a\r\nb", false},
    {"[abc]defg", 0, "defg", false},
    {"[]x]defg[^]]", 0, "defg", false},
    {"[[:alpha:]]defg", 0, "defg", false},
    {"[\\]a]bc", 0, "bc", false},
    {"\\d+abc\\s\\w", 0, "abc", false},
    {"ab|cd", 0, NULL, false},
    {"abcd(ef|gh)ij", 0, "abcd", false},
    {"ab(cdef)gh", 0, "cdef", false},
    {"ab(cdef)?gh", 0, "ab", false},
    {"ab(cdef)*gh", 0, "ab", false},
    {"ab(cdef)+gh", 0, "cdef", false},
    {"ab(cdef){0,2}g", 0, "ab", false},
    {"(?:cd(?:efgh)x)", 0, "efgh", false},
    {"(?<name>abc)d", 0, "abc", false},
    {"(?P<name>abc)d", 0, "abc", false},
    {"(?=abcdef)gh", 0, "gh", false},
    {"(?!abcdef)gh", 0, "gh", false},
    {"(?<!abcdef)gh", 0, "gh", false},
    {"gh(?<=abcdef)", 0, "gh", false},
    {"(a)bc\\1d", 0, "bc", false},
    {"\\Qa.b\\E", 0, NULL, false},
    {"a b c", PCRE2_EXTENDED, NULL, false},
    {"(?x)a b c", 0, NULL, false},
    {"(*ACCEPT)abc", 0, NULL, false},
    {"a(?#bcd)*e", 0, NULL, false},
    {"abc\\kx", 0, NULL, false},
    {"[0-9]+", 0, NULL, false},
    {"", 0, NULL, false},
    {"a{b", 0, "a", false},
    {"\\p{Lu}abc\\pLd", 0, "abc", false},
    {"(?R)?ab", 0, "ab", false},
    {"(?(1)abc)de", 0, "de", false},
    {"/index\\.php\\?id=\\d{1,5}&cmd=", PCRE2_CASELESS, "/index.php?id=", true},
};

static void literals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint8_t out[64];
        uint16_t len = sizeof out;
        bool nocase = false;
        bool got = inspect_pcre_literal(table[i].expr, table[i].options, out, &len, &nocase);
        if (got != (table[i].want != NULL))
            fail_msg("/%s/: %s", table[i].expr, got ? "found one" : "found none");
        if (!got)
            continue;
        if (len != strlen(table[i].want) || memcmp(out, table[i].want, len) != 0)
            fail_msg("/%s/: \"%.*s\"", table[i].expr, len, (const char *)out);
        assert_int_equal(nocase, table[i].nocase);
    }
}

static void longer_literal_is_cut(void **state)
{
    (void)state;
    uint8_t out[4];
    uint16_t len = sizeof out;
    bool nocase;
    assert_true(inspect_pcre_literal("abcdefgh", 0, out, &len, &nocase));
    assert_int_equal(len, 4);
    assert_memory_equal(out, "abcd", 4);
}

static bool contains(const uint8_t *buf, size_t n, const uint8_t *lit, size_t len, bool nocase)
{
    for (size_t i = 0; i + len <= n; i++) {
        if (nocase ? strncasecmp((const char *)buf + i, (const char *)lit, len) == 0 : memcmp(buf + i, lit, len) == 0)
            return true;
    }
    return false;
}

/* Random expressions over few characters: whatever matches a random text must contain the literal. */
static void every_match_contains_it(void **state)
{
    (void)state;
    static const char *const parts[] = {"a",      "b",     "ab",   "(",     ")",    "(?:",   "|",    "?",     "*",
                                        "+",      "{0,1}", "{2}",  "[ab]",  "[^a]", "\\w",   ".",    "\\x61", "(?i)",
                                        "(?=",    "^",     "$",    "(?!",   "c",    "(?i:b", "(?<!", "\\b",   "??",
                                        "+?",     "{1,}",  "[]a]", "{",     "}",    "\\141", "A",    "(?-i)", "(?<n>a",
                                        "(?>ab)", "(?|a",  "\\c",  "\\x1b", "[[:",  ":]]",   "{,1}"};
    unsigned matched = 0;
    srand(7);
    pcre2_match_data *md = pcre2_match_data_create(1, NULL);
    for (int i = 0; i < 60000; i++) {
        char expr[128] = "";
        for (int k = 2 + rand() % 7; k > 0; k--)
            strcat(expr, parts[(size_t)rand() % (sizeof parts / sizeof parts[0])]);
        int code;
        PCRE2_SIZE at;
        pcre2_code *re = pcre2_compile((PCRE2_SPTR)expr, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
        if (!re)
            continue;
        uint8_t lit[32];
        uint16_t len = sizeof lit;
        bool nocase;
        bool have = inspect_pcre_literal(expr, 0, lit, &len, &nocase);
        for (int k = 0; have && k < 30; k++) {
            uint8_t text[13] = {0};
            size_t n = (size_t)rand() % 12;
            for (size_t j = 0; j < n; j++)
                text[j] = (uint8_t) "aabbcAB{}1"[rand() % 10];
            if (pcre2_match(re, text, n, 0, 0, md, NULL) < 0)
                continue;
            matched++;
            if (!contains(text, n, lit, len, nocase))
                fail_msg("/%s/ matches \"%s\" without \"%.*s\"", expr, (const char *)text, len, (const char *)lit);
        }
        pcre2_code_free(re);
    }
    pcre2_match_data_free(md);
    assert_true(matched > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals),
        cmocka_unit_test(longer_literal_is_cut),
        cmocka_unit_test(every_match_contains_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
