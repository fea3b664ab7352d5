/* PROXY headers, versions 1 and 2, byte by byte. */
#include "identity_ask.h"

static const char *const results[] = {"NONE", "MORE", "FOUND", "BAD"};

static enum proxy_result parse(const void *p, size_t len, struct proxy_header *h)
{
    uint8_t *exact = (uint8_t *)malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, p, len);
    enum proxy_result r = proxy_parse(sk_span_of(len ? exact : NULL, (uint32_t)len), h);
    free(exact);
    return r;
}

/* "RESULT" or "FOUND command src sport dst dport len". */
static const char *parse_text(const void *p, size_t len, char buf[256])
{
    static const char *const commands[] = {"PROXY", "LOCAL", "UNKNOWN"};
    struct proxy_header h;
    char src[SK_ADDR_STRLEN], dst[SK_ADDR_STRLEN];
    enum proxy_result r = parse(p, len, &h);
    if (r != PROXY_FOUND)
        return results[r];
    if (h.command == PROXY_CMD_PROXY)
        snprintf(buf, 256, "PROXY %s %u %s %u %u", sk_addr_format(&h.src, src), h.sport, sk_addr_format(&h.dst, dst),
                 h.dport, h.len);
    else
        snprintf(buf, 256, "%s %u", commands[h.command], h.len);
    return buf;
}

#define LONGEST "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

static void test_v1(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n",
         "PROXY 192.0.2.1 56324 198.51.100.1 443 45"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 0 65535\r\n", "PROXY 192.0.2.1 0 198.51.100.1 65535 43"},
        {"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "PROXY 2001:db8::1 1 2001:db8::2 2 40"},
        {"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6401 1 2\r\n", "PROXY 192.0.2.1 1 198.51.100.1 2 50"},
        {"PROXY TCP6 " LONGEST " " LONGEST " 65535 65535\r\n", "PROXY " LONGEST " 65535 " LONGEST " 65535 104"},
        {"PROXY UNKNOWN\r\n", "UNKNOWN 15"},
        {"PROXY UNKNOWN \r\n", "UNKNOWN 16"},
        {"PROXY UNKNOWN " LONGEST " " LONGEST " 65535 65535\r\n", "UNKNOWN 107"},
        {"PROXY UNKNOWN \n \r what \r\r\n", "UNKNOWN 26"},
        /* One byte too many. */
        {"PROXY UNKNOWN " LONGEST " " LONGEST " 65535 65535x\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 \r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n", "BAD"},
        {"PROXY TCP4  192.0.2.1 198.51.100.1 56324 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1  198.51.100.1 56324 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1  56324 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1\t198.51.100.1 56324 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 56324 \r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1\r\n", "BAD"},
        {"PROXY TCP4 \r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 56324 0443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 00 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 -1 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 99999999999999999999 443\r\n", "BAD"},
        {"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "BAD"},
        {"PROXY TCP4 ::ffff:192.0.2.1 198.51.100.1 1 2\r\n", "BAD"},
        {"PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n", "BAD"},
        {"PROXY TCP6 2001:db8::1%eth0 2001:db8::2 1 2\r\n", "BAD"},
        {"PROXY TCP6 [2001:db8::1] 2001:db8::2 1 2\r\n", "BAD"},
        {"PROXY TCP4 192.0.02.1 198.51.100.1 1 2\r\n", "BAD"},
        {"PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 localhost 1 2\r\n", "BAD"},
        /* Not PROXY headers: requests with that method go on to the protocol. */
        {"PROXY / HTTP/1.1\r\nHost: a\r\n\r\n", "NONE"},
        {"PROXY /TCP4 HTTP/1.1\r\n", "NONE"},
        {"PROXY TCP4/ HTTP/1.1\r\n", "NONE"},
        {"PROXY UNKNOWN/x HTTP/1.1\r\n", "NONE"},
        {"PROXY UNKNOWN\n", "NONE"},
        {"PROXY TCP5 192.0.2.1 198.51.100.1 1 2\r\n", "NONE"},
        {"PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n", "NONE"},
        {"PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n", "NONE"},
        {"proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n", "NONE"},
        {" PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n", "NONE"},
        {"PROXYTCP4 192.0.2.1 198.51.100.1 1 2\r\n", "NONE"},
        {"GET / HTTP/1.1\r\n", "NONE"},
        {"P", "MORE"},
        {"PROXY ", "MORE"},
        {"PROXY UNKNOWN", "MORE"},
        {"PROXY UNKNOWN\r", "MORE"},
        {"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r", "MORE"},
        {"", "MORE"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char buf[256];
        const char *got = parse_text(cases[i].text, strlen(cases[i].text), buf);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("\"%s\": \"%s\", not \"%s\"", cases[i].text, got, cases[i].want);
    }
}

/* A v2 header: command byte, family byte, length as told, and so many bytes behind (01 02 03 ...). */
static size_t make_v2(uint8_t *p, unsigned ver_cmd, unsigned family, unsigned len, size_t behind)
{
    memcpy(p, "\r\n\r\n\0\r\nQUIT\n", 12);
    p[12] = (uint8_t)ver_cmd;
    p[13] = (uint8_t)family;
    p[14] = (uint8_t)(len >> 8);
    p[15] = (uint8_t)len;
    for (size_t i = 0; i < behind; i++)
        p[16 + i] = (uint8_t)(i + 1);
    return 16 + behind;
}

static void test_v2(void **state)
{
    (void)state;
    static const struct {
        unsigned ver_cmd, family, len;
        size_t behind;
        const char *want;
    } cases[] = {
        {0x21, 0x11, 12, 12, "PROXY 1.2.3.4 2314 5.6.7.8 2828 28"},
        {0x21, 0x11, 12, 11, "MORE"},
        {0x21, 0x11, 11, 200, "BAD"},
        {0x21, 0x11, 0, 200, "BAD"},
        {0x21, 0x11, 65535, 12, "PROXY 1.2.3.4 2314 5.6.7.8 2828 65551"}, /* TLVs that have not come yet */
        {0x21, 0x21, 36, 36,
         "PROXY 102:304:506:708:90a:b0c:d0e:f10 8482 1112:1314:1516:1718:191a:1b1c:1d1e:1f20 8996 52"},
        {0x21, 0x21, 100, 36,
         "PROXY 102:304:506:708:90a:b0c:d0e:f10 8482 1112:1314:1516:1718:191a:1b1c:1d1e:1f20 8996 116"},
        {0x21, 0x21, 36, 35, "MORE"},
        {0x21, 0x21, 35, 200, "BAD"},
        {0x21, 0x00, 0, 0, "UNKNOWN 16"},
        {0x21, 0x00, 500, 0, "UNKNOWN 516"},
        {0x21, 0x12, 12, 12, "UNKNOWN 28"}, /* UDP */
        {0x21, 0x22, 36, 0, "UNKNOWN 52"},
        {0x21, 0x22, 35, 100, "BAD"},
        {0x21, 0x31, 216, 10, "UNKNOWN 232"}, /* AF_UNIX */
        {0x21, 0x31, 215, 10, "BAD"},
        {0x21, 0x10, 12, 12, "UNKNOWN 28"},
        {0x21, 0x13, 12, 12, "UNKNOWN 28"},
        {0x21, 0x41, 12, 12, "UNKNOWN 28"},
        {0x21, 0xff, 0, 0, "UNKNOWN 16"},
        {0x20, 0x11, 12, 0, "LOCAL 28"},
        {0x20, 0x00, 0, 0, "LOCAL 16"},
        {0x20, 0xff, 65535, 0, "LOCAL 65551"},
        {0x22, 0x11, 12, 12, "BAD"},
        {0x2f, 0x11, 12, 12, "BAD"},
        {0x11, 0x11, 12, 12, "BAD"},
        {0x31, 0x11, 12, 12, "BAD"},
        {0x01, 0x11, 12, 12, "BAD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t p[512];
        char buf[256];
        size_t n = make_v2(p, cases[i].ver_cmd, cases[i].family, cases[i].len, cases[i].behind);
        const char *got = parse_text(p, n, buf);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("case %zu: \"%s\", not \"%s\"", i, got, cases[i].want);
    }
}

/* Growing by one byte each time: MORE until there is an answer, which then stays; an answer before PROXY_HEAD_MAX. */
static void test_prefixes(void **state)
{
    (void)state;
    uint8_t p[600];
    char filler[600];
    memset(filler, 'x', sizeof filler);
    struct {
        const char *what;
        size_t len;
        enum proxy_result want;
    } cases[] = {{"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET", 48, PROXY_FOUND},
                 {"PROXY UNKNOWN ", 14, PROXY_BAD},
                 {"PROXY TCP4 ", 11, PROXY_BAD},
                 {"PROXY TCP6 \r", 12, PROXY_BAD},
                 {"PROXX", 5, PROXY_NONE},
                 {"\r\n\r\n\0\r\nQUIT", 11, PROXY_NONE},
                 {"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 16, PROXY_FOUND},
                 {"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24", 16, PROXY_FOUND},
                 {"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8", 16, PROXY_FOUND},
                 {"\r\n\r\n\0\r\nQUIT\n\x41\x11\0\x0c", 16, PROXY_BAD}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(p, filler, sizeof p);
        memcpy(p, cases[i].what, cases[i].len);
        enum proxy_result r = PROXY_MORE;
        for (size_t n = 0; n <= sizeof p; n++) {
            struct proxy_header h;
            enum proxy_result now = parse(p, n, &h);
            if (r != PROXY_MORE)
                assert_int_equal(now, r);
            if (n >= PROXY_HEAD_MAX)
                assert_int_not_equal(now, PROXY_MORE);
            r = now;
        }
        assert_int_equal(r, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
