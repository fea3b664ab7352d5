/* Headers of answers, as hostile servers write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "transfer.h"

#define S INT64_C(1000000000)

static struct transfer t;

static void feed(const char *line)
{
    transfer_header(&t, line, strlen(line));
}

static void test_fields(void **state)
{
    (void)state;
    t = (struct transfer){0};
    feed("HTTP/1.1 400 Bad Request\r\n");
    feed("DATE:\t Tue, 02 Jan 2024 03:04:05 GMT \r\n");
    feed("Retry-After: 12\r\n");
    feed("x-amzn-errortype:WAFLimitsExceededException:http://x\r\n");
    feed("\r\n");
    assert_int_equal(t.r.date, 1704164645 * S);
    assert_string_equal(t.retry_after, "12");
    assert_string_equal(t.r.error_type, "WAFLimitsExceededException");
}

static void test_odd_lines(void **state)
{
    (void)state;
    t = (struct transfer){0};
    feed("");
    feed(":");
    feed("\r\n");
    feed("Date");
    feed("Date:");
    feed("Date: yesterday\r\n");
    feed("Retry-After:\r\n");
    feed("x-amzn-errortype: <script>\r\n");
    assert_int_equal(t.r.date, 0);
    assert_string_equal(t.retry_after, "");
    assert_string_equal(t.r.error_type, "");
    char line[300] = "x-amzn-errortype: ";
    memset(line + strlen(line), 'A', 200);
    feed(line);
    assert_int_equal(strlen(t.r.error_type), sizeof t.r.error_type - 1);
    feed("HTTP/1.1 200 OK\r\n");
    assert_string_equal(t.r.error_type, "");
}

static void test_retry_after(void **state)
{
    (void)state;
    int64_t date = 1704164645 * S;
    assert_int_equal(transfer_retry_after("", date), -1);
    assert_int_equal(transfer_retry_after("0", date), 0);
    assert_int_equal(transfer_retry_after("120", date), 120);
    assert_int_equal(transfer_retry_after("99999999999999999999999", date), 7 * 86400);
    assert_int_equal(transfer_retry_after("-5", date), -1);
    assert_int_equal(transfer_retry_after("soon", date), -1);
    assert_int_equal(transfer_retry_after("Tue, 02 Jan 2024 03:05:05 GMT", date), 60);
    assert_int_equal(transfer_retry_after("Tue, 02 Jan 2024 03:03:05 GMT", date), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_odd_lines),
        cmocka_unit_test(test_retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
