/* Forwarded (RFC 7239): pairs, quoted strings, and clients that try to draw the hop's part into theirs. */
#include "identity_ask.h"

#define HOP "10.0.1.5"

static void test_elements(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"for=192.0.2.1", "192.0.2.1"},
        {"For=192.0.2.1", "192.0.2.1"},
        {"FOR=\"192.0.2.1\"", "192.0.2.1"},
        {"for=\"192.0.2.1:80\"", "192.0.2.1 80"},
        {"for=192.0.2.1:80", "192.0.2.1 80"},
        {"for=\"[2001:db8::1]\"", "2001:db8::1"},
        {"for=\"[2001:db8::1]:4711\"", "2001:db8::1 4711"},
        {"for=[2001:db8::1]", "2001:db8::1"},
        {"for=2001:db8::1", "2001:db8::1"},
        {"for=\"[::ffff:192.0.2.1]\"", "192.0.2.1"},
        {"for=\"1\\92.0\\.2.1\"", "192.0.2.1"}, /* escapes */
        {"for=\"192.0.2.1:_web\"", "192.0.2.1"},
        {"for=\"[2001:db8::1]:_x-1\"", "2001:db8::1"},
        {"for=\"192.0.2.1:_\"", "MALFORMED"},
        {"for=\"192.0.2.1:65536\"", "MALFORMED"},
        {"for=\"192.0.2.1:\"", "MALFORMED"},
        {"for=unknown", "HIDDEN"},
        {"for=\"Unknown\"", "HIDDEN"},
        {"for=_hidden", "HIDDEN"},
        {"for=\"_SEVKISEK\"", "HIDDEN"},
        {"for=127.0.0.1", "SPECIAL"},
        {"for=", "MALFORMED"},
        {"for=\"\"", "MALFORMED"},
        {"for", "MALFORMED"},
        {"=192.0.2.1", "MALFORMED"},
        {"192.0.2.1", "MALFORMED"},
        {"for =192.0.2.1", "MALFORMED"},
        {"for= 192.0.2.1", "MALFORMED"},
        {"for=\" 192.0.2.1\"", "MALFORMED"},
        {"for=\"192.0.2.1\"x", "MALFORMED"},
        {"for=\"192.0.2.1\"\"\"", "MALFORMED"},
        {"for=x\"192.0.2.1\"", "MALFORMED"},
        {"for=\"192.0.2.1\\\"\"", "MALFORMED"},
        {"for=192.0.2.1;bad", "MALFORMED"},
        {"for=192.0.2.1;b@d=1", "MALFORMED"},
        {"\"for\"=192.0.2.1", "MALFORMED"},
        {"for=192.0.2.1;proto=http;by=203.0.113.43", "192.0.2.1"},
        {"proto=http;for=192.0.2.1", "192.0.2.1"},
        {"by=9.9.9.9; for=192.0.2.1 ; host=\"a,b;for=8.8.8.8\"", "192.0.2.1"},
        {"host=\"a\\\",for=8.8.8.8;b\";for=192.0.2.1", "192.0.2.1"},
        {";;for=192.0.2.1;;", "192.0.2.1"},
        {"forx=8.8.8.8;xfor=8.8.8.8;for=192.0.2.1", "192.0.2.1"},
        {"proto=http", "NO_HEADER"},
        {"for=192.0.2.1, proto=http", "NO_HEADER"},
        {";", "NO_HEADER"},
        {"for=192.0.2.1;for=9.9.9.9", "AMBIGUOUS"},
        {"for=192.0.2.1;proto=http;FOR=192.0.2.1", "AMBIGUOUS"},
        {"for=9.9.9.9, for=192.0.2.1", "192.0.2.1"},
        {"for=192.0.2.1, for=10.0.1.6;proto=https", "192.0.2.1"},
        {"for=9.9.9.9,, ,for=192.0.2.1, ,for=10.0.1.6,", "192.0.2.1"},
        {"for=10.0.1.6, for=10.0.1.7", "EXHAUSTED"},
        {"bad, for=192.0.2.1", "192.0.2.1"},
        {"bad, for=10.0.1.6", "MALFORMED"},
        {"for=unknown, for=10.0.1.6", "HIDDEN"},
        {"for=\"a\\,b, c\", for=192.0.2.1", "192.0.2.1"},
        {",", "NO_HEADER"},
        {"", "NO_HEADER"},
        {"for=192.0.2.1\n", "192.0.2.1"},
        {"for=9.9.9.9\nfor=192.0.2.1\nfor=10.0.1.6", "192.0.2.1"},
        /* A backslash outside a string is no escape. */
        {"for=9.9.9.9\\, for=192.0.2.1", "192.0.2.1"},
        {"for=\\\"9.9.9.9, for=192.0.2.1", "AMBIGUOUS"},
        /* The client's part ends inside a string: nobody, never somebody else. */
        {"for=\", for=192.0.2.1", "AMBIGUOUS"},
        {"for=\"9.9.9.9, for=192.0.2.1", "AMBIGUOUS"},
        {"for=\"9.9.9.9\\, for=192.0.2.1", "AMBIGUOUS"},
        {"for=\"9.9.9.9\\\", for=192.0.2.1", "AMBIGUOUS"},
        {"for=9.9.9.9;x=\", for=192.0.2.1", "AMBIGUOUS"},
        {"\", for=192.0.2.1", "AMBIGUOUS"},
        {"for=9.9.9.9;x=\", for=\"[2001:db8::1]:80\"", "AMBIGUOUS"},
        {"for=\"9.9.9.9\";x=\"\\, for=\"[2001:db8::1]:80\", for=\"10.0.1.6:80\"", "AMBIGUOUS"},
        {"for=\"9.9.9.9\nx\", for=192.0.2.1", "AMBIGUOUS"},
        {"for=192.0.2.1, for=10.0.1.6\nfor=\"", "AMBIGUOUS"},
        {"for=192.0.2.1\nfor=\"\nfor=10.0.1.6", "AMBIGUOUS"},
        {"!for=192.0.2.1", "AMBIGUOUS"},
        {"for=192.0.2.1\n!for=9.9.9.9\nfor=10.0.1.6", "AMBIGUOUS"},
        /* In a line that the walk does not reach it is the client's own business. */
        {"for=\"\nfor=192.0.2.1", "192.0.2.1"},
        {"for=\"\nx, for=192.0.2.1\nfor=10.0.1.6", "192.0.2.1"},
        {"!for=9.9.9.9\nfor=192.0.2.1", "192.0.2.1"},
    };
    struct identity_rules *r = ask_rules("10.0.1.0/24", "", "forwarded");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char buf[64];
        const char *got = ask(r, HOP, cases[i].text, buf);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("\"%s\": \"%s\", not \"%s\"", cases[i].text, got, cases[i].want);
    }
    identity_rules_free(r);
}

/* ---- the walk from the right against a tokenizer that only knows left to right ---- */

static uint64_t seed = 0x5eed;

static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 32) % n);
}

/* The last element of one line, read as RFC 7230 quoted strings; NULL: the last string has no end. */
static const char *last_element(const char *s)
{
    const char *begin = s, *last = "";
    for (;;) {
        while (*s != '\0' && *s != ',') {
            if (*s++ != '"')
                continue;
            while (*s != '"') {
                if (*s == '\\' && s[1] != '\0')
                    s++;
                if (*s == '\0' || *++s == '\0')
                    return NULL;
            }
            s++;
        }
        static char copy[2][512];
        static unsigned turn;
        int n = (int)(s - begin);
        if (strspn(begin, " \t") < (size_t)n) {
            snprintf(copy[turn], sizeof copy[turn], "%.*s", n, begin);
            last = copy[turn];
            turn = !turn;
        }
        if (*s++ == '\0')
            return last;
        begin = s;
    }
}

static void test_agrees_with_a_reader_from_the_left(void **state)
{
    (void)state;
    static const char *const atoms[] = {"\"", "\\",   ",",         ";",  "=",           "for=", "for=\"",    " ",
                                        "a",  "\\\"", "192.0.2.1", ", ", "for=9.9.9.9", "\",",  "proto=http"};
    struct identity_rules *r = ask_rules("10.0.1.0/24", "", "Forwarded");
    unsigned open = 0, proven = 0;
    for (unsigned i = 0; i < 100000; i++) {
        char text[512] = "", got[64], want[64];
        for (unsigned n = rnd(12); n > 0; n--)
            strcat(text, atoms[rnd(sizeof atoms / sizeof atoms[0])]);
        const char *last = last_element(text), *a = ask(r, HOP, text, got);
        if (last == NULL) {
            open++;
            assert_string_equal(a, "AMBIGUOUS");
        } else {
            /* Alone it means what it meant there. */
            const char *b = ask(r, HOP, last, want);
            if (strcmp(a, b) != 0)
                fail_msg("\"%s\": \"%s\", its last element \"%s\": \"%s\"", text, a, last, b);
            proven += strchr(a, '.') != NULL;
        }
    }
    assert_true(open > 10000 && proven > 1000); /* the cases are worth something */
    identity_rules_free(r);
}

static void test_padding(void **state)
{
    (void)state;
    static const struct {
        const char *fill, *want; /* what is read when the first byte becomes a quote */
    } cases[] = {{"for=9.9.9.9,", "AMBIGUOUS"},
                 {",", "AMBIGUOUS"},
                 {";", "AMBIGUOUS"},
                 {"\"\"", "192.0.2.1"},
                 {"\"\\\"\"", "192.0.2.1"}};
    static const char tail[] = ",for=192.0.2.1,for=10.0.1.6";
    struct identity_rules *r = ask_rules("10.0.1.0/24", "", "Forwarded");
    size_t size = 4 << 20;
    char *text = (char *)malloc(size), buf[64];
    assert_non_null(text);
    for (size_t f = 0; f < sizeof cases / sizeof cases[0]; f++) {
        size_t n = strlen(cases[f].fill), len = (size - sizeof tail) / n * n;
        for (size_t i = 0; i < len; i++)
            text[i] = cases[f].fill[i % n];
        memcpy(text + len, tail, sizeof tail);
        assert_string_equal(ask(r, HOP, text, buf), "192.0.2.1");
        text[0] = '"';
        assert_string_equal(ask(r, HOP, text, buf), cases[f].want);
    }
    free(text);
    identity_rules_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_agrees_with_a_reader_from_the_left),
        cmocka_unit_test(test_padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
