/* http.uri and http.host: what evasive targets become, as libhtp's IDS personality has them. */
#include "http_harness.h"

static struct seen *one(const char *uri)
{
    static struct harness h;
    static char req[2048];
    free(h.log);
    h_init(&h);
    snprintf(req, sizeof req, "GET %s HTTP/1.1\r\nHost: h.example\r\n\r\n", uri);
    struct step s[] = {{0, req, 0, 0}};
    RUN(&h, s);
    assert_int_equal(h.ndone, 1);
    return &h.tx[0];
}

static void normalized(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"/", "/"},
        {"/a/b?c=d#e", "/a/b?c=d#e"},
        {"/%61%2Fb", "/a/b"},
        {"/a%2", "/a%2"},
        {"/a%zz%4", "/a%zz%4"},
        {"/%2561", "/%61"}, /* decoded once */
        {"/a//b///c", "/a/b/c"},
        {"/a\\b\\\\c", "/a/b/c"},
        {"/a%5cb", "/a/b"},
        {"/a/./b/../c", "/a/c"},
        {"/../../etc/passwd", "/etc/passwd"},
        {"/%2e%2e/%2e%2e/etc/passwd", "/etc/passwd"},
        {"/a/..%2f..%2fetc", "/etc"},
        {"/a/.../b/..c/.d", "/a/.../b/..c/.d"},
        {"/a/.", "/a"},
        {"/a/b/..", "/a"},
        {"/a/./", "/a"},
        {"/%u0041%U0042", "/AB"},
        {"/%u00zz", "/%u00zz"},
        {"/%uff0e%uff0e%uff0fetc", "/etc"}, /* full-width dots and slash */
        {"/x/%c0%af../y", "/x//../y"},      /* an overlong slash comes after the squeezing */
        {"/%e2%82%ac%c3%a9", "/?\xe9"},
        {"/%ff%41", "/?A"},
        {"/%c4%80%c4%81%c5%a0%e2%88%95", "/Aa?/"},
        {"/A/B", "/A/B"}, /* case stays */
        {"/?q=a//b/../c\\d", "/?q=a//b/../c\\d"},
        {"/?q=%2e%2e%2f%00+%2b", "/?q=../"},
        {"/?q=%c3%a9", "/?q=\xc3\xa9"}, /* the query is not mapped */
        {"/a?b?c=%3f", "/a?b?c=?"},
        {"/a#f%41?g", "/a#fA?g"},
        {"http://x.y/p?q", "/p?q"},
        {"http://u:p@x.y:80/p", "/p"},
        {"index.html", "index.html"},
        {"*", "*"},
        {"a:b", NULL},
        {"http://only.host", NULL},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen *s = one(cases[i].in);
        if (cases[i].out == NULL) {
            assert_false(s->has_uri);
            continue;
        }
        if (strcmp(s->uri, cases[i].out) != 0)
            print_message("%s\n", cases[i].in);
        assert_string_equal(s->uri, cases[i].out);
    }
}

static void host_of_uri(void **state)
{
    (void)state;
    assert_string_equal(one("/x")->host, "h.example");
    assert_string_equal(one("http://WWW.Other:81/x")->host, "www.other");
    assert_true(one("http://other/x")->events & 1ull << HTTP_EV_HOST_HEADER_AMBIGUOUS);
    assert_false(one("http://H.EXAMPLE/x")->events & 1ull << HTTP_EV_HOST_HEADER_AMBIGUOUS);
    assert_string_equal(one("http://u:p@ex%41mple.com./x")->host, "example.com");
    assert_string_equal(one("http://[::1]:8080/x")->host, "[::1]");
}

static void host_header(void **state)
{
    (void)state;
    static const struct {
        const char *value, *host;
    } cases[] = {
        {"A.Example", "a.example"},
        {"a:8080", "a"},
        {"[2001:DB8::1]:80", "[2001:db8::1]"},
        {"a b", "a b"},
        {"/x", ""},
        {"", ""},
        {"1.2.3.4", "1.2.3.4"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct harness h;
        char req[256];
        h_init(&h);
        snprintf(req, sizeof req, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", cases[i].value);
        struct step s[] = {{0, req, 0, 0}};
        RUN(&h, s);
        assert_string_equal(h.tx[0].host, cases[i].host);
        free(h.log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalized),
        cmocka_unit_test(host_of_uri),
        cmocka_unit_test(host_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
