/* Signature Version 4 against vectors of AWS's own test suite and documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "aws/aws.h"
#include "base/clock.h"

#define AT_2015_08_30_123600 (1440938160 * SK_NS_PER_S)

static struct aws_creds creds(void)
{
    struct aws_creds c = {0};
    strcpy(c.access_key, "AKIDEXAMPLE");
    strcpy(c.secret_key, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    return c;
}

static struct aws_sign request(const char *method)
{
    struct aws_sign s = {.method = method, .host = "example.amazonaws.com", .path = "/", .query = ""};
    s.region = "us-east-1";
    s.service = "service";
    s.now = AT_2015_08_30_123600;
    return s;
}

static void expect(const struct aws_sign *s, const char *names, const char *signature)
{
    struct aws_creds c = creds();
    struct aws_signature sig;
    char want[1024];
    assert_int_equal(aws_sign(&c, s, &sig), SK_OK);
    assert_string_equal(sig.date, "20150830T123600Z");
    snprintf(want, sizeof want,
             "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/%s/aws4_request, SignedHeaders=%s, "
             "Signature=%s",
             s->service, names, signature);
    assert_string_equal(sig.authorization, want);
}

static void test_suite(void **state)
{
    (void)state;
    struct aws_sign s = request("GET");
    expect(&s, "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    s.query = "Param2=value2&Param1=value1";
    expect(&s, "host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
    s = request("POST");
    expect(&s, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

static void test_spaces_in_values(void **state)
{
    (void)state;
    static const char *const headers[] = {"my-header1: value1", "my-header2: \"a   b   c\" "};
    struct aws_sign s = request("GET");
    s.headers = headers;
    s.n = 2;
    expect(&s, "host;my-header1;my-header2;x-amz-date",
           "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
}

/* From the documentation: IAM ListUsers. */
static void test_documented(void **state)
{
    (void)state;
    static const char *const headers[] = {"content-type:application/x-www-form-urlencoded; charset=utf-8"};
    struct aws_sign s = request("GET");
    s.host = "iam.amazonaws.com";
    s.query = "Action=ListUsers&Version=2010-05-08";
    s.service = "iam";
    s.headers = headers;
    s.n = 1;
    expect(&s, "content-type;host;x-amz-date", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

static void test_refuses(void **state)
{
    (void)state;
    static const char *const twice[] = {"a:1", "a:2"}, *const nameless[] = {":1"}, *const bare[] = {"a"};
    struct aws_creds c = creds();
    struct aws_signature sig;
    struct aws_sign s = request("GET");
    s.headers = twice;
    s.n = 2;
    assert_int_equal(aws_sign(&c, &s, &sig), SK_EINVAL);
    s.headers = nameless;
    s.n = 1;
    assert_int_equal(aws_sign(&c, &s, &sig), SK_EINVAL);
    s.headers = bare;
    assert_int_equal(aws_sign(&c, &s, &sig), SK_EINVAL);
    s.n = 17;
    assert_int_equal(aws_sign(&c, &s, &sig), SK_EFULL);
    s = request("GET");
    s.now = -1;
    assert_int_equal(aws_sign(&c, &s, &sig), SK_EINVAL);
    char region[512];
    memset(region, 'r', sizeof region - 1);
    region[sizeof region - 1] = '\0';
    s = request("GET");
    s.region = region;
    assert_int_equal(aws_sign(&c, &s, &sig), SK_EFULL);
}

static void test_form(void **state)
{
    (void)state;
    char buf[64], small[4];
    assert_int_equal(aws_form_encode("a b+c/d~e=\xc3\xa9&", buf, sizeof buf), SK_OK);
    assert_string_equal(buf, "a+b%2Bc%2Fd~e%3D%C3%A9%26");
    assert_int_equal(aws_form_encode("abc", small, sizeof small), SK_OK);
    assert_int_equal(aws_form_encode("abcd", small, sizeof small), SK_EFULL);
    assert_int_equal(aws_form_encode("&", small, 3), SK_EFULL);
    assert_int_equal(aws_form_encode("", small, 1), SK_OK);
    assert_int_equal(aws_form_encode("", small, 0), SK_EFULL);
}

static void test_backoff(void **state)
{
    (void)state;
    int64_t base = 100 * SK_NS_PER_MS, most = 5 * SK_NS_PER_S, top[12] = {0};
    for (int i = 0; i < 2000; i++)
        for (unsigned n = 1; n < 12; n++) {
            int64_t w = aws_backoff(n, base, most);
            int64_t limit = base << (n - 1) < most ? base << (n - 1) : most;
            assert_true(w >= 0 && w <= limit);
            top[n] = w > top[n] ? w : top[n];
        }
    for (unsigned n = 1; n < 12; n++) /* full jitter: the whole of it is used */
        assert_true(top[n] > (base << (n - 1) < most ? base << (n - 1) : most) * 9 / 10);
    assert_true(aws_backoff(4000000000u, base, INT64_MAX) >= 0);
    assert_int_equal(aws_backoff(1, 0, most), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suite),      cmocka_unit_test(test_spaces_in_values),
        cmocka_unit_test(test_documented), cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_form),       cmocka_unit_test(test_backoff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
