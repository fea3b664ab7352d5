/* X-Forwarded-For and headers like it: entries, elements, lines. */
#include "identity_ask.h"

#define HOP "10.0.1.5"

struct list_case {
    const char *text, *want;
};

static void check(const char *header, const struct list_case *c, size_t n)
{
    struct identity_rules *r = ask_rules("10.0.1.0/24", "", header);
    for (size_t i = 0; i < n; i++) {
        char buf[64];
        const char *got = ask(r, HOP, c[i].text, buf);
        if (strcmp(got, c[i].want) != 0)
            fail_msg("%s: \"%s\": \"%s\", not \"%s\"", header, c[i].text, got, c[i].want);
    }
    identity_rules_free(r);
}

static void test_entries(void **state)
{
    (void)state;
    static const struct list_case cases[] = {
        {"192.0.2.1", "192.0.2.1"},
        {" \t192.0.2.1\t ", "192.0.2.1"},
        {"192.0.2.1:80", "192.0.2.1 80"},
        {"192.0.2.1:0", "192.0.2.1"},
        {"192.0.2.1:65535", "192.0.2.1 65535"},
        {"192.0.2.1:00080", "192.0.2.1 80"},
        {"192.0.2.1:65536", "MALFORMED"},
        {"192.0.2.1:000080", "MALFORMED"},
        {"192.0.2.1:", "MALFORMED"},
        {"192.0.2.1:x", "MALFORMED"},
        {"192.0.2.1:-1", "MALFORMED"},
        {"192.0.2.1:+1", "MALFORMED"},
        {"192.0.2.1: 80", "MALFORMED"},
        {"192.0.2.1 :80", "MALFORMED"},
        {"192.0.2.1:80:90", "MALFORMED"},
        {"192.0.2.1:_web", "MALFORMED"},
        {":80", "MALFORMED"},
        {":", "MALFORMED"},
        {"2001:db8::1", "2001:db8::1"},
        {"2001:DB8:0:0::1", "2001:db8::1"},
        {"[2001:db8::1]", "2001:db8::1"},
        {"[2001:db8::1]:443", "2001:db8::1 443"},
        {"[2001:db8:aaaa:bbbb:cccc:dddd:192.168.100.200]:65535", "2001:db8:aaaa:bbbb:cccc:dddd:c0a8:64c8 65535"},
        {"[2001:db8::1", "MALFORMED"},
        {"2001:db8::1]", "MALFORMED"},
        {"[2001:db8::1]443", "MALFORMED"},
        {"[2001:db8::1]:", "MALFORMED"},
        {"[2001:db8::1]:65536", "MALFORMED"},
        {"[2001:db8::1] ", "2001:db8::1"},
        {"[ 2001:db8::1]", "MALFORMED"},
        {"[[2001:db8::1]]", "MALFORMED"},
        {"[]", "MALFORMED"},
        {"[", "MALFORMED"},
        {"[192.0.2.1]", "MALFORMED"},
        {"[192.0.2.1]:80", "MALFORMED"},
        {"2001:db8::1%eth0", "MALFORMED"},
        {"[fe80::1%25eth0]", "MALFORMED"},
        {"2001:db8:1:2:3:4:5:6:443", "MALFORMED"}, /* eight groups and a port */
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"[::ffff:192.0.2.1]:80", "192.0.2.1 80"},
        {"::ffff:c000:201", "192.0.2.1"},
        {"\"192.0.2.1\"", "192.0.2.1"},
        {"\"192.0.2.1:80\"", "192.0.2.1 80"},
        {"\"[2001:db8::1]:80\"", "2001:db8::1 80"},
        {"\" 192.0.2.1\"", "MALFORMED"},
        {"\"\"", "MALFORMED"},
        {"\"", "MALFORMED"},
        {"\"192.0.2.1", "MALFORMED"},
        {"192.0.2.1\"", "MALFORMED"},
        {"\"\"192.0.2.1\"\"", "MALFORMED"},
        {"'192.0.2.1'", "MALFORMED"},
        {"010.0.0.1", "MALFORMED"},
        {"192.0.2.01", "MALFORMED"},
        {"0x0a.0.0.1", "MALFORMED"},
        {"192.0.513", "MALFORMED"},
        {"3221225985", "MALFORMED"},
        {"192.0.2.1.", "MALFORMED"},
        {"192.0.2.256", "MALFORMED"},
        {"192.0.2", "MALFORMED"},
        {"192.0.2.1/32", "MALFORMED"},
        {"::ffff:010.0.0.1", "MALFORMED"},
        {"1.1.1.1 192.0.2.1", "MALFORMED"},
        {"1.1.1.1;192.0.2.1", "MALFORMED"},
        {"192.0.2.1\v", "MALFORMED"},
        {"192.0.2.1\r", "MALFORMED"},
        {"\xc2\xa0"
         "192.0.2.1",
         "MALFORMED"},
        {"\xd9\xa1.1.1.1", "MALFORMED"},
        {"localhost", "MALFORMED"},
        {"unix:", "MALFORMED"},
        {"-", "MALFORMED"},
        {"for=192.0.2.1", "MALFORMED"},
        {"unknown", "HIDDEN"},
        {"UnKnown", "HIDDEN"},
        {"\"unknown\"", "HIDDEN"},
        {"unknown:80", "HIDDEN"},
        {"unknowns", "MALFORMED"},
        {"_hidden", "HIDDEN"},
        {"_gazonk.x-1:80", "HIDDEN"},
        {"_", "MALFORMED"},
        {"_a b", "MALFORMED"},
        {"0.0.0.0", "SPECIAL"},
        {"0.1.2.3", "SPECIAL"},
        {"127.0.0.1", "SPECIAL"},
        {"127.8.8.8:80", "SPECIAL"},
        {"224.0.0.1", "SPECIAL"},
        {"255.255.255.255", "SPECIAL"},
        {"169.254.169.254", "SPECIAL"},
        {"::ffff:127.0.0.1", "SPECIAL"},
        {"::1", "SPECIAL"},
        {"[::]:80", "SPECIAL"},
        {"ff02::1", "SPECIAL"},
        {"fe80::1", "SPECIAL"},
        {"febf::1", "SPECIAL"},
        {"fec0::1", "fec0::1"},
    };
    check("X-Forwarded-For", cases, sizeof cases / sizeof cases[0]);
    check("X-Real-IP", cases, sizeof cases / sizeof cases[0]);
    check("Forwarded-For", cases, sizeof cases / sizeof cases[0]);
}

static void test_elements(void **state)
{
    (void)state;
    static const struct list_case cases[] = {
        {"1.1.1.1, 192.0.2.1", "192.0.2.1"},
        {"1.1.1.1,192.0.2.1", "192.0.2.1"},
        {"1.1.1.1 \t,\t 192.0.2.1", "192.0.2.1"},
        {"192.0.2.1,", "192.0.2.1"},
        {"192.0.2.1, \t,, ,", "192.0.2.1"},
        {",192.0.2.1", "192.0.2.1"},
        {",", "NO_HEADER"},
        {" , \t", "NO_HEADER"},
        {"10.0.1.6,", "EXHAUSTED"},
        {"x, 192.0.2.1", "192.0.2.1"},
        {"192.0.2.1, x", "MALFORMED"},
        {"192.0.2.1, unknown", "HIDDEN"},
        {"192.0.2.1, 10.0.1.6", "192.0.2.1"},
        {"192.0.2.1, \"\", 10.0.1.6", "MALFORMED"},
        {"9.9.9.9, 192.0.2.1:7, [::ffff:10.0.1.6]:80, \"10.0.1.7\"", "192.0.2.1 7"},
        /* A quote that the client leaves open takes nothing of what the hops append. */
        {"\", 192.0.2.1", "192.0.2.1"},
        {"\"9.9.9.9, 192.0.2.1", "192.0.2.1"},
        {"\"9.9.9.9, \"192.0.2.1\"", "192.0.2.1"},
        {"\\\", 192.0.2.1, 10.0.1.6", "192.0.2.1"},
        {"for=\"9.9.9.9, 192.0.2.1", "192.0.2.1"},
        /* And a client that opens one at its end does not hide either. */
        {"9.9.9.9, \", \"192.0.2.1:80\", \"10.0.1.6:80\"", "192.0.2.1 80"},
        /* Lines are one list, in their order. */
        {"1.1.1.1\n192.0.2.1", "192.0.2.1"},
        {"192.0.2.1\n", "192.0.2.1"},
        {"192.0.2.1\n\n,\n ", "192.0.2.1"},
        {"192.0.2.1\n10.0.1.6", "192.0.2.1"},
        {"9.9.9.9, 192.0.2.1\n10.0.1.6, 10.0.1.7\n10.0.1.8", "192.0.2.1"},
        {"\"9.9.9.9\n192.0.2.1", "192.0.2.1"},
        {"\n", "NO_HEADER"},
        {"10.0.1.6\n10.0.1.7", "EXHAUSTED"},
        {"x\n10.0.1.7", "MALFORMED"},
        /* An odd line ends the walk, if it comes to it. */
        {"!9.9.9.9\n192.0.2.1", "192.0.2.1"},
        {"!9.9.9.9\n192.0.2.1, 10.0.1.7\n10.0.1.6", "192.0.2.1"},
        {"!9.9.9.9\n10.0.1.6", "AMBIGUOUS"},
        {"!9.9.9.9\n,", "AMBIGUOUS"},
        {"192.0.2.1\n!9.9.9.9", "AMBIGUOUS"},
        {"192.0.2.1\n!", "AMBIGUOUS"},
        {"192.0.2.1\n!9.9.9.9\n10.0.1.6", "AMBIGUOUS"},
    };
    check("X-Forwarded-For", cases, sizeof cases / sizeof cases[0]);
    check("CF-Connecting-IP", cases, sizeof cases / sizeof cases[0]);
}

/* However much the client writes, what the hop appends is found; and the work does not grow with its square. */
static void test_padding(void **state)
{
    (void)state;
    static const struct list_case fill[] = {
        {"9.9.9.9,", "9.9.9.9"}, {",", "TOO_MANY"},  {" ", "NO_HEADER"}, {"\"", "MALFORMED"},
        {"[", "MALFORMED"},      {"a", "MALFORMED"}, {":", "MALFORMED"}, {"_", "HIDDEN"},
    };
    static const char tail[] = ", 192.0.2.1, 10.0.1.6";
    struct identity_rules *r = ask_rules("10.0.1.0/24", "", "X-Forwarded-For");
    size_t size = 4 << 20;
    char *text = (char *)malloc(size), buf[64];
    assert_non_null(text);
    for (size_t f = 0; f < sizeof fill / sizeof fill[0]; f++) {
        size_t n = strlen(fill[f].text), len = (size - sizeof tail) / n * n;
        for (size_t i = 0; i < len; i++)
            text[i] = fill[f].text[i % n];
        memcpy(text + len, tail, sizeof tail);
        assert_string_equal(ask(r, HOP, text, buf), "192.0.2.1");
        text[len] = '\0'; /* without what the hops append */
        assert_string_equal(ask(r, HOP, text, buf), fill[f].want);
    }
    free(text);
    identity_rules_free(r);
}

/* Every byte value before, inside and behind an address. */
static void test_every_byte(void **state)
{
    (void)state;
    static const char *const parts[3][2] = {
        {"9.9.9.9, ", "192.0.2.1"}, {"9.9.9.9, 192.0", ".2.1"}, {"9.9.9.9, 192.0.2.1", ""}};
    struct identity_rules *r = ask_rules("10.0.1.0/24", "", "X-Forwarded-For");
    struct sk_addr peer = ask_addr(HOP), truth = ask_addr("192.0.2.1");
    struct identity conn;
    identity_begin(r, &peer, 1, &conn);
    for (unsigned i = 0; i < 3 * 256; i++) {
        unsigned c = i % 256, where = i / 256;
        bool divides = where != 1 && (c == ' ' || c == '\t' || c == ',');
        if (c == '\n' || (where == 2 && c >= '0' && c <= '9'))
            continue; /* lines are divided by it here; another address, which only the hop could write */
        char text[40];
        int n = snprintf(text, sizeof text, "%s%c%s", parts[where][0], (int)c, parts[where][1]);
        struct identity id = ask_request(r, &conn, text, (size_t)n, false);
        assert_int_equal(id.state, divides ? IDENTITY_PROVEN : IDENTITY_UNPROVEN);
        assert_true(!divides || sk_addr_eq(&id.client, &truth));
    }
    identity_rules_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
