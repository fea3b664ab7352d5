/* Signed bundles: nothing is read before the signature, nothing is taken that a bundle may not hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "pki/bundle.h"

static uint8_t secret[32] = {1, 2, 3}, keys[2][32];

/* The public half, by way of a key file. */
static int setup(void **state)
{
    (void)state;
    char path[] = "/tmp/sekisho-bundle-XXXXXX", key[64];
    uint8_t other[32];
    int rc = mkdtemp(path) == NULL;
    for (int i = 0; i < 2 && rc == 0; i++) {
        snprintf(key, sizeof(key), "%s/k", path);
        rc = pki_sign_key_open(key, true, i == 1 ? secret : other, keys[i]);
        remove(key);
    }
    remove(path);
    return rc;
}

static int open_text(const char *text, size_t len, struct bundle *b, const char **why)
{
    uint8_t sig[64];
    assert_int_equal(pki_sign(secret, text, len, sig), SK_OK);
    return bundle_open(text, len, sig, (const uint8_t(*)[32])keys, 2, b, why);
}

static void assert_refused(const char *text, const char *part)
{
    struct bundle b;
    const char *why;
    assert_int_equal(open_text(text, strlen(text), &b, &why), SK_EINVAL);
    assert_null(b.root);
    if (strstr(why, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, why);
}

static void test_policy(void **state)
{
    (void)state;
    json_t *body = json_pack("{s:s, s:s}", "decide.block-duration", "2h", "never", "10.0.0.0/8,192.0.2.1");
    char *text;
    size_t len;
    const char *why;
    struct bundle b;
    assert_int_equal(bundle_make(BUNDLE_POLICY, 7, 1700000000123, "longer blocks", body, &text, &len), SK_OK);
    assert_int_equal(open_text(text, len, &b, &why), SK_OK);
    assert_int_equal(b.kind, BUNDLE_POLICY);
    assert_int_equal(b.version, 7);
    assert_int_equal(b.created_ms, 1700000000123);
    assert_true(json_equal(json_object_get(b.root, "settings"), body));
    bundle_free(&b);
    json_decref(body);
    free(text);
}

static void test_rules(void **state)
{
    (void)state;
    json_t *body = json_pack("[{s:s,s:s},{s:s,s:s}]", "name", "local.rules", "text", "# none\r\n\talert\n", "name",
                             "b.rules", "text", "");
    char *text;
    size_t len;
    const char *why;
    struct bundle b;
    assert_int_equal(bundle_make(BUNDLE_RULES, 1, 0, NULL, body, &text, &len), SK_OK);
    assert_int_equal(open_text(text, len, &b, &why), SK_OK);
    assert_int_equal(b.kind, BUNDLE_RULES);
    assert_true(json_equal(json_object_get(b.root, "files"), body));
    bundle_free(&b);
    json_decref(body);
    free(text);
}

static void test_signature(void **state)
{
    (void)state;
    const char text[] = "{\"kind\":\"rules\",\"version\":1,\"created_ms\":1,\"files\":[]}";
    uint8_t sig[64], mine[32] = {9};
    const char *why;
    struct bundle b;
    size_t len = sizeof(text) - 1;
    char changed[sizeof(text)];
    assert_int_equal(pki_sign(mine, text, len, sig), SK_OK);
    assert_int_equal(bundle_open(text, len, sig, (const uint8_t(*)[32])keys, 2, &b, &why), SK_EPERM);
    assert_int_equal(pki_sign(secret, text, len, sig), SK_OK);
    assert_int_equal(bundle_open(text, len, sig, (const uint8_t(*)[32])keys, 2, &b, &why), SK_OK);
    bundle_free(&b);
    assert_int_equal(bundle_open(text, len, sig, (const uint8_t(*)[32])keys, 1, &b, &why), SK_EPERM);
    assert_int_equal(bundle_open(text, len, sig, (const uint8_t(*)[32])keys, 0, &b, &why), SK_EPERM);
    for (size_t i = 0; i < len; i++) {
        memcpy(changed, text, sizeof(text));
        changed[i] ^= 1;
        assert_int_equal(bundle_open(changed, len, sig, (const uint8_t(*)[32])keys, 2, &b, &why), SK_EPERM);
    }
    assert_int_equal(bundle_open(text, len - 1, sig, (const uint8_t(*)[32])keys, 2, &b, &why), SK_EPERM);
}

/* An older version with its signature opens: whose version is greater is the caller's to know. */
static void test_replay_is_the_callers(void **state)
{
    (void)state;
    const char *why, *old = "{\"kind\":\"rules\",\"version\":1,\"created_ms\":1,\"files\":[]}";
    struct bundle b;
    assert_int_equal(open_text(old, strlen(old), &b, &why), SK_OK);
    assert_int_equal(b.version, 1);
    bundle_free(&b);
}

#define HEAD(kind) "{\"kind\":\"" kind "\",\"version\":1,\"created_ms\":1,"

static void test_content(void **state)
{
    (void)state;
    assert_refused("", "no JSON");
    assert_refused("[]", "no JSON");
    assert_refused(HEAD("rules") "\"files\":[]}x", "no JSON");
    assert_refused(HEAD("rules") "\"files\":[],\"version\":2}", "no JSON"); /* twice the same key */
    assert_refused(HEAD("program") "\"files\":[]}", "kind");
    assert_refused("{\"kind\":\"rules\",\"version\":0,\"created_ms\":1,\"files\":[]}", "version");
    assert_refused("{\"kind\":\"rules\",\"version\":1.5,\"created_ms\":1,\"files\":[]}", "version");
    assert_refused("{\"kind\":\"rules\",\"version\":\"1\",\"created_ms\":1,\"files\":[]}", "version");
    assert_refused("{\"kind\":\"rules\",\"version\":1,\"created_ms\":-1,\"files\":[]}", "created_ms");
    assert_refused("{\"kind\":\"rules\",\"version\":99999999999999999999,\"created_ms\":1,\"files\":[]}", "no JSON");
    assert_refused(HEAD("rules") "\"note\":7,\"files\":[]}", "note");
    assert_refused(HEAD("rules") "\"settings\":{}}", "files");
    assert_refused(HEAD("policy") "\"files\":[]}", "settings");
    assert_refused(HEAD("policy") "\"settings\":{\"decide.dry-run\":true}}", "value");
    assert_refused(HEAD("policy") "\"settings\":{\"never\":\"a\\nb\"}}", "value");
    assert_refused(HEAD("policy") "\"settings\":{\"never\":\"a\\u0000b\"}}", "no JSON");
    assert_refused(HEAD("policy") "\"settings\":{\"mode\":\"detect\"}}", "may not hold");
}

static void assert_name_refused(const char *name)
{
    char text[512];
    snprintf(text, sizeof(text), HEAD("rules") "\"files\":[{\"name\":\"%s\",\"text\":\"\"}]}", name);
    assert_refused(text, "name");
}

static void test_names(void **state)
{
    (void)state;
    char longer[BUNDLE_NAME_MAX + 2];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_name_refused("");
    assert_name_refused("../sekisho.yaml");
    assert_name_refused("/etc/passwd");
    assert_name_refused("a/b.rules");
    assert_name_refused("a\\\\b.rules");
    assert_name_refused(".hidden");
    assert_name_refused("..");
    assert_name_refused("a b");
    assert_name_refused("a\\nb");
    assert_name_refused("\\u00e9.rules");
    assert_name_refused(longer);
    assert_refused(HEAD("rules") "\"files\":[{\"name\":7,\"text\":\"\"}]}", "name");
    assert_refused(HEAD("rules") "\"files\":[7]}", "name");
    assert_refused(HEAD("rules") "\"files\":[{\"name\":\"a\"}]}", "text");
    assert_refused(HEAD("rules") "\"files\":[{\"name\":\"a\",\"text\":\"\\u001b[2J\"}]}", "text");
    assert_refused(HEAD("rules") "\"files\":[{\"name\":\"a\",\"text\":\"\"},{\"name\":\"a\",\"text\":\"\"}]}", "same");
}

static void test_make_refuses(void **state)
{
    (void)state;
    json_t *bad = json_pack("{s:s}", "guard.state-dir", "/tmp"), *list = json_array();
    char *text;
    size_t len;
    assert_int_equal(bundle_make(BUNDLE_POLICY, 1, 0, "", bad, &text, &len), SK_EINVAL);
    assert_null(text);
    assert_int_equal(bundle_make(BUNDLE_POLICY, 1, 0, "", list, &text, &len), SK_EINVAL);
    assert_int_equal(bundle_make(BUNDLE_RULES, 0, 0, "", list, &text, &len), SK_EINVAL);
    for (int i = 0; i <= BUNDLE_FILES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%d", i);
        json_array_append_new(list, json_pack("{s:s,s:s}", "name", name, "text", ""));
    }
    assert_int_equal(bundle_make(BUNDLE_RULES, 1, 0, "", list, &text, &len), SK_EINVAL);
    json_array_remove(list, 0);
    assert_int_equal(bundle_make(BUNDLE_RULES, 1, 0, "", list, &text, &len), SK_OK);
    free(text);
    json_decref(list);
    json_decref(bad);
}

static void test_settings(void **state)
{
    (void)state;
    static const char *const yes[] = {"decide.block-duration",
                                      "decide.score.threshold",
                                      "never",
                                      "proxies.http",
                                      "vars.address-groups.HOME_NET",
                                      "vars.port-groups.HTTP_PORTS",
                                      "detect.pcre.match-limit",
                                      "http.max-tx",
                                      "stream.memcap",
                                      "defrag.timeout",
                                      "flow.max-flows",
                                      "flow-timeouts.tcp.new",
                                      "decoder.vxlan.enabled"};
    static const char *const no[] = {"",
                                     "mode",
                                     "guard.state-dir",
                                     "guard.user",
                                     "capture.interfaces",
                                     "rule-files",
                                     "threshold-file",
                                     "classification-file",
                                     "outputs.eve.path",
                                     "metrics.listen",
                                     "manager.enabled",
                                     "manager.state-dir",
                                     "never.x",
                                     "nevermode",
                                     "decide",
                                     "decide.",
                                     "vars.",
                                     "vars.mode",
                                     "Decide.dry-run",
                                     "stats.interval",
                                     "decide.dry-run=yes",
                                     "never=0.0.0.0/0",
                                     "stream.checksum-validation=no",
                                     "decide.a b",
                                     "decide.\n",
                                     " never",
                                     "stream.checksum-validation",
                                     "capture.checksum-validation"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        if (!bundle_setting_allowed(yes[i]))
            fail_msg("%s is refused", yes[i]);
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        if (bundle_setting_allowed(no[i]))
            fail_msg("%s is allowed", no[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy),       cmocka_unit_test(test_rules),
        cmocka_unit_test(test_signature),    cmocka_unit_test(test_replay_is_the_callers),
        cmocka_unit_test(test_content),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_make_refuses), cmocka_unit_test(test_settings),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
