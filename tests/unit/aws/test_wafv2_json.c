/* Bodies of wafv2's calls and answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "wafv2_json.h"

static struct wafv2_set s;
static struct sk_strbuf b;

static int setup(void **state)
{
    (void)state;
    s = (struct wafv2_set){.scope = WAFV2_REGIONAL, .region = "eu-central-1", .name = "n", .id = "i"};
    sk_strbuf_init(&b, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    wafv2_set_clear(&s);
    sk_strbuf_free(&b);
    return 0;
}

static struct sk_prefix prefix(const char *text)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(text, strlen(text), false, &p), SK_OK);
    return p;
}

static void test_requests(void **state)
{
    (void)state;
    wafv2_put_get(&b, &s);
    assert_string_equal(b.p, "{\"Scope\":\"REGIONAL\",\"Name\":\"n\",\"Id\":\"i\"}");
    sk_strbuf_clear(&b);
    s.scope = WAFV2_CLOUDFRONT;
    s.v6 = true;
    strcpy(s.description, "a \"b\" \\");
    wafv2_put_create(&b, &s);
    assert_string_equal(b.p, "{\"Scope\":\"CLOUDFRONT\",\"Name\":\"n\",\"IPAddressVersion\":\"IPV6\",\"Description\":"
                             "\"a \\\"b\\\" \\\\\",\"Addresses\":[]}");
    sk_strbuf_clear(&b);
    wafv2_put_list(&b, WAFV2_REGIONAL, "");
    assert_string_equal(b.p, "{\"Scope\":\"REGIONAL\",\"Limit\":100}");
    sk_strbuf_clear(&b);
    wafv2_put_list(&b, WAFV2_REGIONAL, "x\n");
    assert_string_equal(b.p, "{\"Scope\":\"REGIONAL\",\"Limit\":100,\"NextMarker\":\"x\\u000a\"}");
}

static void test_update(void **state)
{
    (void)state;
    struct sk_prefix p[2] = {prefix("192.0.2.1"), prefix("198.51.100.0/24")};
    strcpy(s.lock_token, "t");
    wafv2_put_update(&b, &s, p, 2);
    assert_string_equal(b.p, "{\"Scope\":\"REGIONAL\",\"Name\":\"n\",\"Id\":\"i\",\"LockToken\":\"t\",\"Addresses\":["
                             "\"192.0.2.1/32\",\"198.51.100.0/24\"]}");
    sk_strbuf_clear(&b);
    wafv2_put_update(&b, &s, NULL, 0);
    assert_non_null(strstr(b.p, "\"Addresses\":[]}"));
}

static void test_format(void **state)
{
    (void)state;
    char buf[64];
    struct sk_prefix p = prefix("2001:db8::/32");
    assert_string_equal(wafv2_format(&p, true, buf), "2001:db8::/32");
    p = prefix("2001:db8::1");
    assert_string_equal(wafv2_format(&p, true, buf), "2001:db8::1/128");
    p = prefix("::ffff:192.0.2.1");
    assert_string_equal(wafv2_format(&p, true, buf), "::ffff:c000:201/128");
    assert_string_equal(wafv2_format(&p, false, buf), "192.0.2.1/32");
}

static const char got[] =
    "{\"IPSet\":{\"Name\":\"n\",\"Id\":\"i\",\"ARN\":\"arn:x\",\"Description\":\"d\",\"IPAddressVersion\":\"%s\","
    "\"Addresses\":[%s]},\"LockToken\":\"tok\"}";

static int read_get(const char *family, const char *addresses)
{
    char body[1024];
    snprintf(body, sizeof body, got, family, addresses);
    return wafv2_read_get(sk_span_str(body), &s);
}

static void test_get(void **state)
{
    (void)state;
    char buf[SK_PREFIX_STRLEN];
    assert_int_equal(read_get("IPV4", "\"203.0.113.0/24\",\"192.0.2.9/32\",\"192.0.2.1/32\""), SK_OK);
    assert_int_equal(s.n, 3);
    assert_string_equal(sk_prefix_format(&s.addr[0], buf), "192.0.2.1");
    assert_string_equal(sk_prefix_format(&s.addr[2], buf), "203.0.113.0/24");
    assert_string_equal(s.lock_token, "tok");
    assert_string_equal(s.arn, "arn:x");
    assert_string_equal(s.description, "d");
    assert_false(s.v6);
    assert_int_equal(read_get("IPV6", "\"2001:0db8:0000:0000:0000:0000:0000:0001/128\""), SK_OK);
    assert_true(s.v6);
    assert_int_equal(s.n, 1);
    assert_string_equal(sk_prefix_format(&s.addr[0], buf), "2001:db8::1");
    assert_int_equal(read_get("IPV6", "\"::ffff:192.0.2.0/120\""), SK_OK);
    assert_int_equal(s.addr[0].len, 120);
    assert_int_equal(read_get("IPV4", ""), SK_OK);
    assert_int_equal(s.n, 0);
}

static void test_get_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\"192.0.2.1/33\"",       "\"2001:db8::/32\"", "\"\"", "7", "\"192.0.2\"", "null",
                                      "\"192.0.2.1\\u0000/32\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(read_get("IPV4", bad[i]), SK_EPROTO);
        assert_int_equal(s.n, 0);
        assert_null(s.addr);
    }
    assert_int_equal(read_get("IPV6", "\"192.0.2.1/32\""), SK_EPROTO);
    assert_int_equal(read_get("IPV5", ""), SK_EPROTO);
    assert_int_equal(wafv2_read_get(sk_span_str("{}"), &s), SK_EPROTO);
    assert_int_equal(wafv2_read_get(sk_span_str("{\"IPSet\":[]}"), &s), SK_EPROTO);
    assert_int_equal(wafv2_read_get(sk_span_str(""), &s), SK_EPROTO);
    assert_string_equal(s.lock_token, "");
}

static void test_tokens(void **state)
{
    (void)state;
    assert_int_equal(wafv2_read_update(sk_span_str("{\"NextLockToken\":\"next\"}"), &s), SK_OK);
    assert_string_equal(s.lock_token, "next");
    assert_int_equal(wafv2_read_update(sk_span_str("{}"), &s), SK_EPROTO);
    assert_int_equal(wafv2_read_update(sk_span_str("{\"NextLockToken\":\"\"}"), &s), SK_EPROTO);
    assert_int_equal(wafv2_read_update(sk_span_str("{\"NextLockToken\":\"0123456789012345678901234567890123456789"
                                                   "0123456789012345678901234567890123456789\"}"),
                                       &s),
                     SK_EPROTO);
    assert_int_equal(
        wafv2_read_create(sk_span_str("{\"Summary\":{\"Id\":\"I\",\"ARN\":\"A\",\"LockToken\":\"L\"}}"), &s), SK_OK);
    assert_string_equal(s.id, "I");
    assert_string_equal(s.lock_token, "L");
    assert_int_equal(wafv2_read_create(sk_span_str("{\"Summary\":{\"Id\":\"J\"}}"), &s), SK_EPROTO);
    assert_string_equal(s.id, "I");
}

static void test_list(void **state)
{
    (void)state;
    char marker[257];
    const char *page = "{\"NextMarker\":\"m\",\"IPSets\":[{\"Name\":\"x\"},{\"Name\":\"n\",\"Id\":\"I\",\"ARN\":\"A\","
                       "\"LockToken\":\"L\"}]}";
    assert_int_equal(wafv2_read_list(sk_span_str(page), &s, marker), SK_OK);
    assert_string_equal(s.id, "I");
    strcpy(s.name, "other");
    assert_int_equal(wafv2_read_list(sk_span_str(page), &s, marker), SK_ENOENT);
    assert_string_equal(marker, "m");
    assert_int_equal(wafv2_read_list(sk_span_str("{\"NextMarker\":\"m\",\"IPSets\":[]}"), &s, marker), SK_ENOENT);
    assert_string_equal(marker, ""); /* AWS gives a marker also behind the last one */
    assert_int_equal(wafv2_read_list(sk_span_str("{\"IPSets\":{}}"), &s, marker), SK_EPROTO);
    strcpy(s.name, "x");
    assert_int_equal(wafv2_read_list(sk_span_str(page), &s, marker), SK_EPROTO);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_requests),    T(test_update), T(test_format), T(test_get),
                                       T(test_get_refused), T(test_tokens), T(test_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
