/* What is sent: Deep Security's event, subject and region of SNS, signature and address of a webhook. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "output_priv.h"

static const struct store_agent web1 = {.id = "AABCDEFGHIJKLMNOPQRSTUVWXYZ",
                                        .host = "web-1",
                                        .version = "0.1.0",
                                        .address = "10.0.0.7",
                                        .instance = "i-1234567890abcdef0",
                                        .account = "123456789012",
                                        .region = "eu-west-1",
                                        .tags = "{\"group\":\"shop\"}",
                                        .policy_version = 3};

static const char alert[] =
    "{\"type\":\"event\",\"time_ms\":1470272837080,\"event\":{\"timestamp\":\"2016-08-04T01:07:17.080110+0000\","
    "\"flow_id\":1,\"in_iface\":\"eth0\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.5\",\"src_port\":40000,"
    "\"dest_ip\":\"10.0.0.7\",\"dest_port\":80,\"proto\":\"TCP\",\"direction\":\"to_server\",\"alert\":{\"action\":"
    "\"blocked\",\"gid\":1,\"signature_id\":2001,\"rev\":1,\"signature\":\"SQL injection \\\"union\\\"\",\"category\":"
    "\"Web\",\"severity\":1}}}";
static const char block[] =
    "{\"type\":\"block\",\"id\":\"BNI6BDS6TH6IEB\",\"target\":\"2001:db8::/64\",\"created_ms\":1470272837080,"
    "\"expires_ms\":1470276437080,\"origin\":\"rule\",\"cause\":\"score\",\"sid\":7,\"gid\":1,\"repeat\":2,"
    "\"reason\":\"too many\"}";
static const char flood[] =
    "{\"type\":\"event\",\"time_ms\":1700000000500,\"event\":{\"event_type\":\"flood\",\"flood\":{\"prefix\":"
    "\"203.0.113.0/24\",\"level\":\"range\",\"rate\":67,\"limit\":50,\"action\":\"alert\"}}}";

/* The fields of the sample that is published for PacketLog, with their types there, but Type and Data*, which are
 * about its firewall; then what the converters of PayloadLog want besides. */
static const char *const numbers[] = {"Action",
                                      "DestinationPort",
                                      "Direction",
                                      "DriverTime",
                                      "EventID",
                                      "Flow",
                                      "Frame",
                                      "HostAssetValue",
                                      "HostGroupID",
                                      "HostID",
                                      "HostSecurityPolicyID",
                                      "Origin",
                                      "PacketSize",
                                      "Protocol",
                                      "Rank",
                                      "RepeatCount",
                                      "SourcePort",
                                      "Status",
                                      "TenantID",
                                      "Severity"};
static const char *const texts[] = {"ActionString",
                                    "DestinationIP",
                                    "DestinationMAC",
                                    "DirectionString",
                                    "EventType",
                                    "Flags",
                                    "FlowString",
                                    "FrameString",
                                    "HostAgentVersion",
                                    "HostCloudType",
                                    "HostGroupName",
                                    "HostInstanceID",
                                    "HostOS",
                                    "HostSecurityPolicyName",
                                    "Hostname",
                                    "Interface",
                                    "LogDate",
                                    "OriginString",
                                    "ProtocolString",
                                    "Reason",
                                    "SourceIP",
                                    "SourceMAC",
                                    "Tags",
                                    "TenantName",
                                    "HostOwnerID"};

static json_t *event_of(const struct store_agent *a, const char *item, int64_t id)
{
    char *text;
    assert_int_equal(output_deep_security(a, item, id, &text), SK_OK);
    json_t *list = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_array(list));
    assert_int_equal(json_array_size(list), 1);
    json_t *o = json_incref(json_array_get(list, 0));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (!json_is_integer(json_object_get(o, numbers[i])))
            fail_msg("%s is no number", numbers[i]);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!json_is_string(json_object_get(o, texts[i])))
            fail_msg("%s is no text", texts[i]);
    json_decref(list);
    free(text);
    return o;
}

static void assert_text(const json_t *o, const char *key, const char *want)
{
    assert_string_equal(json_string_value(json_object_get(o, key)), want);
}

static void assert_number(const json_t *o, const char *key, json_int_t want)
{
    assert_int_equal(json_integer_value(json_object_get(o, key)), want);
}

static void test_alert(void **state)
{
    (void)state;
    json_t *o = event_of(&web1, alert, 838236);
    assert_text(o, "EventType", "PayloadLog");
    assert_number(o, "EventID", 838236);
    assert_text(o, "LogDate", "2016-08-04T01:07:17.080Z");
    assert_number(o, "DriverTime", 1470272837080000);
    assert_number(o, "Action", 1);
    assert_text(o, "ActionString", "Deny");
    assert_number(o, "Severity", 4);
    assert_text(o, "Reason", "SQL injection \"union\"");
    assert_text(o, "SourceIP", "203.0.113.5");
    assert_number(o, "SourcePort", 40000);
    assert_text(o, "DestinationIP", "10.0.0.7");
    assert_number(o, "DestinationPort", 80);
    assert_number(o, "Protocol", 6);
    assert_text(o, "ProtocolString", "TCP");
    assert_text(o, "DirectionString", "Incoming");
    assert_text(o, "FrameString", "IP");
    assert_text(o, "Interface", "eth0");
    assert_text(o, "Hostname", "web-1");
    assert_text(o, "HostInstanceID", "i-1234567890abcdef0");
    assert_text(o, "HostOwnerID", "123456789012");
    assert_text(o, "HostCloudType", "amazon");
    assert_text(o, "HostGroupName", "shop");
    assert_number(o, "HostSecurityPolicyID", 3);
    assert_text(o, "HostSecurityPolicyName", "Sekisho policy 3");
    assert_text(o, "HostAgentVersion", "0.1.0");
    json_decref(o);
}

static char *changed(const char *item, const char *from, const char *to)
{
    char *at = strstr(item, from), *out;
    assert_non_null(at);
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - item), item, to, at + strlen(from)) > 0);
    return out;
}

static void assert_severity(const char *eve, json_int_t want)
{
    char *item = changed(alert, "\"severity\":1", eve);
    json_t *o = event_of(&web1, item, 1);
    assert_number(o, "Severity", want);
    json_decref(o);
    free(item);
}

static void test_severity(void **state)
{
    (void)state;
    assert_severity("\"severity\":1", 4);
    assert_severity("\"severity\":2", 3);
    assert_severity("\"severity\":3", 2);
    assert_severity("\"severity\":4", 1);
    assert_severity("\"severity\":255", 1);
    assert_severity("\"severity\":-9", 1);
    assert_severity("\"severity\":\"x\"", 1);
    assert_severity("\"x\":0", 1);
}

static void test_log_only(void **state)
{
    (void)state;
    char *item = changed(alert, "\"blocked\"", "\"allowed\"");
    json_t *o = event_of(&web1, item, 1);
    assert_number(o, "Action", 6);
    assert_text(o, "ActionString", "Log Only");
    json_decref(o);
    free(item);
}

static void test_block(void **state)
{
    (void)state;
    json_t *o = event_of(&web1, block, 5);
    assert_number(o, "Action", 1);
    assert_text(o, "SourceIP", "2001:db8::/64");
    assert_text(o, "FrameString", "IPv6");
    assert_text(o, "DestinationIP", "10.0.0.7");
    assert_text(o, "Reason", "too many");
    assert_number(o, "RepeatCount", 3);
    assert_text(o, "SekishoBlockID", "BNI6BDS6TH6IEB");
    assert_number(o, "SekishoBlockEnds", 1470276437080);
    json_decref(o);
}

static void test_flood(void **state)
{
    (void)state;
    json_t *o = event_of(&web1, flood, 5);
    assert_number(o, "Action", 6);
    assert_number(o, "Severity", 3);
    assert_text(o, "SourceIP", "203.0.113.0/24");
    assert_text(o, "LogDate", "2023-11-14T22:13:20.500Z");
    json_decref(o);
}

/* An agent that is gone, or the manager itself. */
static void test_nobody(void **state)
{
    (void)state;
    struct store_agent none = {.id = ""}, odd = {.id = "A", .tags = "no json", .region = "eu-west-1"};
    json_t *o = event_of(&none, block, 5);
    assert_text(o, "Hostname", "sekisho-manager");
    assert_text(o, "HostCloudType", "");
    assert_text(o, "HostGroupName", "Sekisho");
    assert_text(o, "HostSecurityPolicyName", "Sekisho, local configuration");
    json_decref(o);
    o = event_of(&odd, block, 5);
    assert_text(o, "HostGroupName", "eu-west-1");
    json_decref(o);
}

static void test_no_form(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "7",
                                      "{\"type\":\"end\",\"id\":\"B\",\"ended_ms\":1,\"why\":\"x\"}",
                                      "{\"type\":\"event\",\"event\":{\"event_type\":\"http\"}}",
                                      "{\"type\":7}",
                                      "{\"type\":\"event\",\"event\":[]}"};
    char *text;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(output_deep_security(&web1, bad[i], 1, &text), SK_EINVAL);
        assert_null(text);
    }
    json_t *o =
        event_of(&web1, "{\"type\":\"event\",\"time_ms\":-5,\"event\":{\"event_type\":\"alert\",\"alert\":7}}", 1);
    assert_text(o, "Reason", "");
    json_decref(o);
}

/* ---- SNS ---- */

static void subject_of(const char *item, const char *host, char buf[100])
{
    struct parcel p = {.item = json_loads(item, 0, NULL)};
    snprintf(p.agent.host, sizeof(p.agent.host), "%s", host);
    sns_subject(&p, buf);
    json_decref(p.item);
}

static void test_subject(void **state)
{
    (void)state;
    char buf[100], longer[200], *item = changed(alert, "SQL injection", "a\\nSubject: b\\u0000c\\u202e\\u00e9 d");
    subject_of(alert, "web-1", buf);
    assert_string_equal(buf, "Sekisho alert on web-1: SQL injection \"union\"");
    subject_of(block, "web-1", buf);
    assert_string_equal(buf, "Sekisho block on web-1: too many");
    subject_of(flood, "", buf);
    assert_string_equal(buf, "Sekisho alert on the manager: flood");
    free(item);
    item = changed(alert, "SQL injection", "a\\nSubject: b\\u0007c\\u202e\\u00e9 d");
    subject_of(item, "web\x1b[2J", buf);
    assert_string_equal(buf, "Sekisho alert on web?[2J: a?Subject: b?c????? d \"union\"");
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    subject_of(item, longer, buf);
    assert_true(strlen(buf) < 100 && strlen(buf) > 60);
    free(item);
}

static void test_region(void **state)
{
    (void)state;
    char buf[32];
    assert_int_equal(sns_region("arn:aws:sns:eu-west-1:123456789012:security", buf), SK_OK);
    assert_string_equal(buf, "eu-west-1");
    assert_int_equal(sns_region("arn:aws-cn:sns:cn-north-1:123456789012:a.fifo", buf), SK_OK);
    assert_string_equal(buf, "cn-north-1");
    assert_int_equal(sns_region("", buf), SK_EINVAL);
    assert_int_equal(sns_region("arn:aws:sqs:eu-west-1:1:q", buf), SK_EINVAL);
    assert_int_equal(sns_region("arn:aws:sns::1:q", buf), SK_EINVAL);
    assert_int_equal(sns_region("arn:aws:sns:evil.example.com/:1:q", buf), SK_EINVAL);
    assert_int_equal(sns_region("arn:aws:sns:eu-west-1", buf), SK_EINVAL);
    assert_int_equal(sns_region("arn:aws:sns:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1:q", buf), SK_EINVAL);
}

/* ---- webhooks ---- */

static void test_signature(void **state)
{
    (void)state;
    struct webhook w = {.secret = "0123456789abcdef", .secret_len = 16};
    char buf[128];
    assert_int_equal(webhook_sign(&w, 1700000000, "{\"a\":1}", 7, buf), SK_OK);
    /* printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef */
    assert_string_equal(buf, "t=1700000000,v1="
                             "9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23");
}

static void test_urls(void **state)
{
    (void)state;
    static const char *const yes[] = {"https://hooks.example.com/x", "http://127.0.0.1:8080/x", "http://[::1]/",
                                      "http://localhost"};
    static const char *const no[] = {"",
                                     "https://",
                                     "http://example.com/",
                                     "http://127.0.0.1.example.com/",
                                     "http://localhost.example.com/",
                                     "http://127.0.0.1:80@example.com/",
                                     "ftp://x/",
                                     "file:///etc/passwd",
                                     "//x",
                                     "HTTP://x/"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        if (!webhook_url_allowed(yes[i]))
            fail_msg("%s is refused", yes[i]);
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        if (webhook_url_allowed(no[i]))
            fail_msg("%s is allowed", no[i]);
}

static int open_with(const char *secret, mode_t mode, struct webhook *w, char *why)
{
    struct output_sink k = {.name = "hook", .url = "https://example.com/", .secret_file = "/tmp/sekisho-hook-XXXXXX"};
    int fd = mkstemp(k.secret_file);
    assert_true(fd >= 0 && write(fd, secret, strlen(secret)) == (ssize_t)strlen(secret));
    fchmod(fd, mode);
    close(fd);
    int rc = webhook_open(&k, w, why, 256);
    unlink(k.secret_file);
    return rc;
}

static void test_secret(void **state)
{
    (void)state;
    struct webhook w;
    char why[256] = "";
    assert_int_equal(open_with("0123456789abcdef\n", 0600, &w, why), SK_OK);
    assert_int_equal(w.secret_len, 16);
    assert_int_equal(open_with("0123456789abcdef", 0640, &w, why), SK_EPERM);
    assert_non_null(strstr(why, "others"));
    assert_int_equal(open_with("short\n", 0600, &w, why), SK_EINVAL);
    assert_null(strstr(why, "short"));
    assert_int_equal(open_with("", 0600, &w, why), SK_EINVAL);
    assert_int_equal(open_with("0123456789abcdef\nsecond line\n", 0600, &w, why), SK_EINVAL);
}

static void test_payload(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "{}", "{\"agent\":7,\"item\":{}}", "{\"agent\":\"A\",\"item\":[]}",
                                      "{\"agent\":\"AABCDEFGHIJKLMNOPQRSTUVWXYZZ\",\"item\":{}}"};
    char agent[STORE_AGENT_LEN];
    json_t *item;
    assert_int_equal(payload_open("{\"agent\":\"A1\",\"item\":{\"type\":\"x\"}}", agent, &item), SK_OK);
    assert_string_equal(agent, "A1");
    json_decref(item);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(payload_open(bad[i], agent, &item), SK_EINVAL);
        assert_null(item);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alert),     cmocka_unit_test(test_severity), cmocka_unit_test(test_log_only),
        cmocka_unit_test(test_block),     cmocka_unit_test(test_flood),    cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_no_form),   cmocka_unit_test(test_subject),  cmocka_unit_test(test_region),
        cmocka_unit_test(test_signature), cmocka_unit_test(test_urls),     cmocka_unit_test(test_secret),
        cmocka_unit_test(test_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
