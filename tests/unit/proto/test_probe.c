/* Protocol detection by first bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "proto/probe.h"

struct known {
    int dir;
    uint16_t port;
    const char *data;
    uint32_t len;
    enum proto_id id;
};

#define S(x) x, sizeof(x) - 1

static const struct known table[] = {
    {0, 80, S("GET / HTTP/1.1\r\n"), PROTO_HTTP},
    {0, 80, S("\r\n\nGET / HTTP/1.1\r\n"), PROTO_HTTP}, /* empty lines before it */
    {0, 8081, S("options * HTTP/1.1\r\n"), PROTO_HTTP},
    {0, 80, S("PROPFIND\t/x"), PROTO_HTTP},
    {1, 80, S("HTTP/1.1 200 OK\r\n"), PROTO_HTTP},
    {1, 80, S("http/1.0 200"), PROTO_HTTP},
    {0, 443, S("\x16\x03\x01\x02\x00\x01"), PROTO_TLS},
    {1, 443, S("\x15\x03\x03\x00\x02"), PROTO_TLS},
    {0, 443, S("\x80\x2e\x01\x03\x01\x00"), PROTO_TLS},
    {0, 80, S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), PROTO_HTTP2},
    {1, 22, S("SSH-2.0-OpenSSH_9\r\n"), PROTO_SSH},
    {0, 445, S("\x00\x00\x00\x2f\xffSMBr"), PROTO_SMB},
    {0, 445, S("\x00\x00\x00\x2f\xfeSMB@"), PROTO_SMB},
    {0, 53, S("\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x"), PROTO_DNS},
    {1, 25, S("220 mail.example ready\r\n"), PROTO_SMTP},
    {1, 2525, S("220 mail.example ESMTP ready\r\n"), PROTO_SMTP},
    {0, 2525, S("EHLO me\r\n"), PROTO_SMTP},
    {1, 21, S("220 welcome\r\n"), PROTO_FTP},
    {0, 21, S("USER anonymous\r\n"), PROTO_FTP},
};

static void recognised(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        const struct known *k = &table[i];
        struct proto_probe st = {.server_port = k->port};
        assert_int_equal(proto_probe(&st, k->dir, sk_span_of(k->data, k->len), false, false), k->id);
    }
}

/* Whatever the cut: never another answer on the way. */
static void growing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        const struct known *k = &table[i];
        struct proto_probe st = {.server_port = k->port};
        enum proto_id id = PROTO_UNKNOWN;
        for (uint32_t n = 1; n <= k->len && id == PROTO_UNKNOWN; n++) {
            uint8_t *exact = (uint8_t *)malloc(n);
            assert_non_null(exact);
            memcpy(exact, k->data, n);
            id = proto_probe(&st, k->dir, sk_span_of(exact, n), false, true);
            free(exact);
        }
        assert_int_equal(id, k->id);
    }
}

static void not_http(void **state)
{
    (void)state;
    static const char *const no[] = {"GETX / HTTP/1.1", " GET /", "HELLO", "GE\nT", "HTTP/1.1 200"};
    for (unsigned i = 0; i < 5; i++) {
        struct proto_probe st = {.server_port = 80};
        assert_int_not_equal(proto_probe(&st, 0, sk_span_str(no[i]), false, true), PROTO_HTTP);
    }
}

static void both_directions_must_fail(void **state)
{
    (void)state;
    struct proto_probe st = {0};
    assert_int_equal(proto_probe(&st, 0, sk_span_str("~~~~"), false, false), PROTO_UNKNOWN);
    assert_int_equal(proto_probe(&st, 1, sk_span_str("HTTP/1.1 400 Bad\r\n"), false, false), PROTO_HTTP);
    assert_int_equal(proto_probe(&st, 1, sk_span_str("????"), false, false), PROTO_FAILED);
    struct proto_probe cut = {0};
    assert_int_equal(proto_probe(&cut, 0, sk_span_str("GE"), true, true), PROTO_FAILED);
}

static void banner_waits_for_client(void **state)
{
    (void)state;
    struct proto_probe st = {.server_port = 2121};
    assert_int_equal(proto_probe(&st, 1, sk_span_str("220 hello\r\n"), false, false), PROTO_UNKNOWN);
    assert_int_equal(proto_probe(&st, 0, sk_span_str("USER x\r\n"), false, false), PROTO_FTP);
    assert_string_equal(proto_name(PROTO_FTP), "ftp");
    assert_string_equal(proto_name(PROTO_FAILED), "failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recognised),
        cmocka_unit_test(growing),
        cmocka_unit_test(not_http),
        cmocka_unit_test(both_directions_must_fail),
        cmocka_unit_test(banner_waits_for_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
