/* AWS's errors, in all the shapes in which they come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "aws/instance.h"
#include "aws_priv.h"
#include "base/clock.h"

static struct aws_answer a;

static void read_error(int status, const char *type, const char *body)
{
    a = (struct aws_answer){.status = status};
    answer_read_error(&a, type, sk_span_str(body));
}

static void expect(int status, const char *type, const char *body, enum aws_error want)
{
    read_error(status, type, body);
    if (a.error != want)
        print_error("%d %s: %s instead of %s\n", status, body, aws_error_name(a.error), aws_error_name(want));
    assert_int_equal(a.error, want);
}

static void test_json_shapes(void **state)
{
    (void)state;
    expect(400, "", "{\"__type\":\"WAFOptimisticLockException\",\"Message\":\"AWS WAF couldn't\"}", AWS_LOCKED);
    assert_string_equal(a.code, "WAFOptimisticLockException");
    assert_string_equal(a.message, "AWS WAF couldn't");
    expect(400, "", "{\"__type\":\"com.amazonaws.wafv2#WAFLimitsExceededException\",\"message\":\"m\"}", AWS_LIMIT);
    assert_string_equal(a.code, "WAFLimitsExceededException");
    assert_string_equal(a.message, "m");
    expect(400, "WAFDuplicateItemException", "{\"Message\":\"x\"}", AWS_EXISTS);
    expect(400, "WAFNonexistentItemException", "", AWS_MISSING);
    expect(400, "", "{\"__type\":\"ParameterNotFound\"}", AWS_MISSING);
    expect(400, "", "{\"code\":\"AccessDeniedException\"}", AWS_AUTH);
    assert_string_equal(a.message, "HTTP status 400");
}

static void test_arn_region(void **state)
{
    (void)state;
    char buf[32];
    assert_true(aws_arn_region("arn:aws:ssm:eu-west-1:123456789012:parameter/a", buf));
    assert_string_equal(buf, "eu-west-1");
    assert_true(aws_arn_region("arn:aws-cn:ssm:cn-north-1", buf));
    assert_string_equal(buf, "cn-north-1");
    static const char *const none[] = {"",
                                       "/a/b",
                                       "arn:",
                                       "arn:aws:s3",
                                       "arn:aws:s3:::bucket",
                                       "arn:aws:ssm:",
                                       "arn:aws:ssm:a-region-that-is-much-too-long-for-it:1"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(aws_arn_region(none[i], buf));
}

static void test_invalid_parameter(void **state)
{
    (void)state;
    expect(400, "WAFInvalidParameterException",
           "{\"__type\":\"WAFInvalidParameterException\",\"message\":\"Error reason: bad\",\"Field\":\"IP_ADDRESS\","
           "\"Parameter\":\"195.178.188.66/29\",\"Reason\":\"The parameter\\n contains\"}",
           AWS_INVALID);
    assert_string_equal(a.message, "Error reason: bad, Field: IP_ADDRESS, Parameter: 195.178.188.66/29, Reason: The "
                                   "parameter\\x0a contains");
}

static void test_xml(void **state)
{
    (void)state;
    expect(404, "",
           "<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error>"
           "<Type>Sender</Type><Code>NotFound</Code><Message>Topic does not exist</Message></Error></ErrorResponse>",
           AWS_MISSING);
    assert_string_equal(a.message, "Topic does not exist");
    expect(401, "",
           "<Response><Errors><Error><Code>AuthFailure</Code><Message>no</Message></Error></Errors></Response>",
           AWS_AUTH);
    expect(503, "", "<html>bad gateway</html>", AWS_RETRY);
    expect(400, "", "<Error><Code>Throttling</Code></Error>", AWS_THROTTLED);
    expect(403, "", "<Error><Code>Trunca", AWS_AUTH);
}

static void test_throttling(void **state)
{
    (void)state;
    static const char *const codes[] = {"Throttling",
                                        "ThrottlingException",
                                        "ThrottledException",
                                        "RequestLimitExceeded",
                                        "TooManyRequestsException",
                                        "SlowDown",
                                        "LimitExceededException",
                                        "BandwidthLimitExceeded",
                                        "EC2ThrottledException"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"__type\":\"x#%s\"}", codes[i]);
        expect(400, "", body, AWS_THROTTLED);
        expect(503, "", body, AWS_THROTTLED);
    }
    expect(429, "", "", AWS_THROTTLED);
}

static void test_by_status(void **state)
{
    (void)state;
    expect(500, "", "", AWS_RETRY);
    expect(503, "", "{\"__type\":\"Unheard\"}", AWS_RETRY);
    expect(500, "", "{\"__type\":\"WAFInternalErrorException\",\"Message\":\"\"}", AWS_RETRY);
    expect(403, "", "", AWS_AUTH);
    expect(404, "", "nothing here", AWS_MISSING);
    expect(400, "", "{\"__type\":\"WAFTagOperationException\"}", AWS_OTHER);
    expect(302, "", "", AWS_OTHER);
    expect(400, "", "{\"__type\":\"WAFUnavailableEntityException\"}", AWS_UNAVAILABLE);
}

static void test_hostile(void **state)
{
    (void)state;
    static const char *const bodies[] = {"{",
                                         "[]",
                                         "null",
                                         "{\"__type\":7}",
                                         "{\"__type\":\"\\u0000\"}",
                                         "{\"__type\":\"#\"}",
                                         "<",
                                         "<Code></Code>",
                                         "\x01\x02"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        expect(400, "", bodies[i], AWS_OTHER);
        assert_string_equal(a.code, "");
    }
    read_error(400, "", "{\"__type\":\"A<script>\",\"message\":\"\\u001b[31mred\"}");
    assert_string_equal(a.code, "A");
    assert_string_equal(a.message, "\\x1b[31mred");
    char *big = (char *)malloc(100000);
    memset(big, 'M', 99999);
    memcpy(big, "{\"__type\":\"", 11);
    memcpy(big + 50000, "\",\"message\":\"", 13);
    memcpy(big + 99997, "\"}", 3);
    read_error(400, "", big);
    assert_int_equal(strlen(a.code), sizeof a.code - 1);
    assert_true(strlen(a.message) < sizeof a.message && strlen(a.message) >= 400);
    free(big);
}

static void test_clock(void **state)
{
    (void)state;
    int64_t now = 1700000000 * SK_NS_PER_S, min = 60 * SK_NS_PER_S;
    expect(400, "", "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired: ...\"}", AWS_AUTH);
    assert_true(answer_blames_clock(&a, now + 6 * min, now));
    assert_true(answer_blames_clock(&a, now - 6 * min, now));
    assert_false(answer_blames_clock(&a, now + 3 * min, now));
    assert_false(answer_blames_clock(&a, 0, now));
    expect(403, "", "{\"__type\":\"AccessDeniedException\"}", AWS_AUTH);
    assert_false(answer_blames_clock(&a, now + 60 * min, now));
}

static void test_names(void **state)
{
    (void)state;
    for (int e = AWS_OK; e <= AWS_OTHER; e++)
        assert_string_not_equal(aws_error_name((enum aws_error)e), "?");
    assert_string_equal(aws_error_name((enum aws_error)99), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_shapes), cmocka_unit_test(test_arn_region), cmocka_unit_test(test_invalid_parameter),
        cmocka_unit_test(test_xml),         cmocka_unit_test(test_throttling), cmocka_unit_test(test_by_status),
        cmocka_unit_test(test_hostile),     cmocka_unit_test(test_clock),      cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
