/* Credentials from the environment and from files, and what is refused. IMDS and containers:
 * tests/manager/aws_calls.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "aws_priv.h"
#include "base/clock.h"

static char dir[] = "/tmp/sekisho-creds-XXXXXX", creds_path[64], config_path[64];
static struct aws *a;
static struct aws_creds c;
static char why[256];

static int make_dir(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(creds_path, sizeof creds_path, "%s/credentials", dir);
    snprintf(config_path, sizeof config_path, "%s/config", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    fetch_thread_end();
    return rmdir(dir);
}

static int setup(void **state)
{
    (void)state;
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_PROFILE",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", creds_path, 1);
    setenv("AWS_CONFIG_FILE", config_path, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    aws_close(a);
    a = NULL;
    unlink(creds_path);
    unlink(config_path);
    return 0;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

static void open_with(const char *profile)
{
    struct aws_options o = {.profile = profile};
    aws_close(a);
    assert_int_equal(aws_open(&o, &a), SK_OK);
}

static int get_at(int64_t now)
{
    return aws_creds_get(a, now, &c, why, sizeof why);
}

static int get(void)
{
    return get_at(sk_now_wall());
}

static void test_none(void **state)
{
    (void)state;
    open_with(NULL);
    assert_int_equal(get(), SK_ENOENT);
    assert_string_not_equal(why, "");
    assert_string_equal(c.secret_key, "");
}

static void test_environment(void **state)
{
    (void)state;
    setenv("AWS_ACCESS_KEY_ID", "AK", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "SK", 1);
    open_with(NULL);
    assert_int_equal(get(), SK_OK);
    assert_string_equal(c.access_key, "AK");
    assert_string_equal(c.secret_key, "SK");
    assert_string_equal(c.token, "");
    assert_string_equal(c.source, "environment");
    assert_int_equal(c.expires, 0);
    setenv("AWS_SESSION_TOKEN", "T", 1);
    open_with(NULL);
    assert_int_equal(get(), SK_OK);
    assert_string_equal(c.token, "T");
    setenv("AWS_SESSION_TOKEN", "T\r\nX-Evil: 1", 1);
    open_with(NULL);
    assert_int_equal(get(), SK_EINVAL);
    unsetenv("AWS_SECRET_ACCESS_KEY");
    open_with(NULL);
    assert_int_equal(get(), SK_EINVAL);
}

static void test_file(void **state)
{
    (void)state;
    put(creds_path, "# comment\r\n[default]\r\naws_access_key_id = AKD\r\n aws_secret_access_key = nested\r\n"
                    "AWS_Secret_Access_Key=a=b/c+\r\n[other]\naws_access_key_id=AKO\naws_secret_access_key=SO\n"
                    "aws_session_token = TO\n[half]\naws_access_key_id=AKH\n");
    open_with(NULL);
    assert_int_equal(get(), SK_OK);
    assert_string_equal(c.access_key, "AKD");
    assert_string_equal(c.secret_key, "a=b/c+");
    assert_string_equal(c.token, "");
    assert_string_equal(c.source, "shared-file");
    setenv("AWS_PROFILE", "other", 1);
    open_with(NULL);
    assert_int_equal(get(), SK_OK);
    assert_string_equal(c.access_key, "AKO");
    assert_string_equal(c.token, "TO");
    open_with("half");
    assert_int_equal(get(), SK_EINVAL);
    open_with("nobody");
    assert_int_equal(get(), SK_EINVAL);
    assert_null(strstr(why, "SO"));
}

static void test_config_file(void **state)
{
    (void)state;
    put(creds_path, "[default]\nregion = x\n");
    put(config_path, "[default]\naws_access_key_id=A1\naws_secret_access_key=S1\n[profile p]\naws_access_key_id=A2\n"
                     "aws_secret_access_key=S2\n[p]\naws_access_key_id=A3\naws_secret_access_key=S3\n");
    open_with(NULL);
    assert_int_equal(get(), SK_OK);
    assert_string_equal(c.access_key, "A1");
    open_with("p");
    assert_int_equal(get(), SK_OK);
    assert_string_equal(c.access_key, "A2");
}

static void test_order(void **state)
{
    (void)state;
    put(creds_path, "[default]\naws_access_key_id=AF\naws_secret_access_key=SF\n");
    setenv("AWS_ACCESS_KEY_ID", "AE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "SE", 1);
    open_with(NULL);
    assert_int_equal(get(), SK_OK);
    assert_string_equal(c.access_key, "AE");
    open_with("default"); /* who names a profile means it */
    assert_int_equal(get(), SK_OK);
    assert_string_equal(c.access_key, "AF");
}

static void test_file_is_read_again(void **state)
{
    (void)state;
    int64_t now = sk_now_wall();
    put(creds_path, "[default]\naws_access_key_id=A1\naws_secret_access_key=S1\n");
    open_with(NULL);
    assert_int_equal(get_at(now), SK_OK);
    put(creds_path, "[default]\naws_access_key_id=A2\naws_secret_access_key=S2\n");
    assert_int_equal(get_at(now + 59 * SK_NS_PER_S), SK_OK);
    assert_string_equal(c.access_key, "A1");
    assert_int_equal(get_at(now + 61 * SK_NS_PER_S), SK_OK);
    assert_string_equal(c.access_key, "A2");
    unlink(creds_path);
    assert_int_equal(get_at(now + 200 * SK_NS_PER_S), SK_OK); /* kept */
    assert_string_equal(c.access_key, "A2");
}

static void test_container_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {"http://192.0.2.1/x",     "http://localhost@192.0.2.1/",
                                      "ftp://localhost/",       "http://169.254.170.2.evil/",
                                      "http://127.0.0.1.evil/", "http://[fd00:ec2::24]/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", bad[i], 1);
        open_with(NULL);
        assert_int_equal(get(), SK_EINVAL);
        assert_non_null(strstr(why, "address"));
    }
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/", 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a\r\nb", 1);
    open_with(NULL);
    assert_int_equal(get(), SK_EINVAL);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nonexistent/token", 1);
    open_with(NULL);
    assert_int_equal(get(), SK_EINVAL);
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@192.0.2.1/", 1);
    open_with(NULL);
    assert_int_equal(get(), SK_EINVAL);
}

static int read_json(const char *body)
{
    c = (struct aws_creds){0};
    return creds_read_json(body, strlen(body), 1700000000 * SK_NS_PER_S, &c, why, sizeof why);
}

static void test_json(void **state)
{
    (void)state;
    assert_int_equal(read_json("{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\","
                               "\"Expiration\":\"2030-01-02T03:04:05Z\"}"),
                     SK_OK);
    assert_int_equal(c.expires, 1893553445 * SK_NS_PER_S);
    assert_int_equal(read_json("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\","
                               "\"Expiration\":\"2020-01-02T03:04:05Z\"}"),
                     SK_EPROTO); /* over */
    assert_int_equal(read_json("{\"Code\":\"Failed\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\","
                               "\"Expiration\":\"2030-01-02T03:04:05Z\"}"),
                     SK_EPROTO);
    assert_int_equal(read_json("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\\nX: y\","
                               "\"Expiration\":\"2030-01-02T03:04:05Z\"}"),
                     SK_EPROTO);
    assert_int_equal(read_json("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\"}"), SK_EPROTO);
    assert_int_equal(read_json("[]"), SK_EPROTO);
    assert_int_equal(read_json(""), SK_EPROTO);
}

static void test_times(void **state)
{
    (void)state;
    int64_t t;
    assert_int_equal(aws_time_parse("1970-01-01T00:01:00.123Z", &t), SK_OK);
    assert_int_equal(t, 60 * SK_NS_PER_S);
    assert_int_equal(aws_time_parse("2026-11-25T10:00:00+00:00", &t), SK_OK);
    assert_int_equal(aws_time_parse("2026-11-25T10:00:00+01:00", &t), SK_EPROTO);
    assert_int_equal(aws_time_parse("2026-11-25", &t), SK_EPROTO);
    assert_int_equal(aws_time_parse("9999999-01-01T00:00:00Z", &t), SK_EPROTO);
    assert_int_equal(aws_time_parse("", &t), SK_EPROTO);
}

static void test_region(void **state)
{
    (void)state;
    char buf[32];
    setenv("AWS_DEFAULT_REGION", "eu-west-1", 1);
    open_with(NULL);
    assert_int_equal(aws_region(a, buf), SK_OK);
    assert_string_equal(buf, "eu-west-1");
    setenv("AWS_REGION", "us-east-2", 1);
    open_with(NULL);
    assert_int_equal(aws_region(a, buf), SK_OK);
    assert_string_equal(buf, "us-east-2");
    unsetenv("AWS_DEFAULT_REGION");
    setenv("AWS_REGION", "evil.example/", 1);
    open_with(NULL);
    assert_int_equal(aws_region(a, buf), SK_ENOENT);
}

static void *get_many(void *arg)
{
    struct aws_creds mine;
    char text[256];
    int64_t now = *(int64_t *)arg;
    for (int i = 0; i < 200; i++) /* each finds it time to read the file again */
        if (aws_creds_get(a, now + i * 61 * SK_NS_PER_S, &mine, text, sizeof text) != SK_OK ||
            strcmp(mine.access_key + 1, mine.secret_key + 1) != 0)
            return arg;
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t t[4];
    int64_t now = sk_now_wall();
    void *wrong = NULL;
    put(creds_path, "[default]\naws_access_key_id=A-0123456789\naws_secret_access_key=S-0123456789\n");
    open_with(NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, get_many, &now), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &wrong);
        assert_null(wrong);
    }
}

static void test_options(void **state)
{
    (void)state;
    static const char *const bad[] = {"ftp://x", "http://", "http://u:p@h", "http://h/path", "http://h?x", "h:80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct aws_options o = {.endpoint = bad[i]};
        assert_int_equal(aws_open(&o, &a), SK_EINVAL);
        assert_null(a);
    }
}

static void test_call_without_credentials(void **state)
{
    (void)state;
    struct aws_answer e;
    open_with(NULL);
    assert_int_equal(aws_json(a, "wafv2", "us-east-1", "T", "{}", 2, &e), SK_EIO);
    assert_int_equal(e.error, AWS_AUTH);
    assert_string_not_equal(e.message, "");
    aws_answer_free(&e);
    assert_int_equal(aws_json(a, "wafv2", "us-east-1.evil.example/", "T", "{}", 2, &e), SK_EIO);
    assert_int_equal(e.error, AWS_INVALID);
    aws_answer_free(&e);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_none),
        T(test_environment),
        T(test_file),
        T(test_config_file),
        T(test_order),
        T(test_file_is_read_again),
        T(test_container_addresses),
        T(test_json),
        T(test_times),
        T(test_region),
        T(test_threads),
        T(test_options),
        T(test_call_without_credentials),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
