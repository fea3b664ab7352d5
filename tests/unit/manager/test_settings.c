/* manager.yaml: every default, every kind of value, and what a mistake looks like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "settings.h"

struct findings {
    char text[8192];
    unsigned n;
};

static void add(void *arg, const struct sk_diag *d)
{
    struct findings *f = arg;
    size_t used = strlen(f->text);
    snprintf(f->text + used, sizeof(f->text) - used, "%s%s:%u:%u: %s", f->n++ != 0 ? "\n" : "",
             d->file != NULL ? d->file : "-", d->line, d->col, d->text);
}

static struct settings *good(const char *text)
{
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = add, .arg = &f};
    struct settings *s;
    int rc = settings_load_text("m.yaml", text, strlen(text), &sink, &s);
    assert_string_equal(f.text, "");
    assert_int_equal(rc, SK_OK);
    assert_int_equal(settings_check(s, &sink), SK_OK);
    assert_string_equal(f.text, "");
    return s;
}

static void bad(const char *text, const char *want)
{
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = add, .arg = &f};
    struct settings *s;
    assert_int_equal(settings_load_text("m.yaml", text, strlen(text), &sink, &s), SK_EINVAL);
    assert_null(s);
    assert_string_equal(f.text, want);
}

static void bad_together(const char *text, const char *want)
{
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = add, .arg = &f};
    struct settings *s;
    assert_int_equal(settings_load_text("m.yaml", text, strlen(text), &sink, &s), SK_OK);
    assert_int_equal(settings_check(s, &sink), SK_EINVAL);
    assert_string_equal(f.text, want);
    settings_free(s);
}

static void bad_set(struct settings *s, const char *arg, const char *want)
{
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = add, .arg = &f};
    assert_int_equal(settings_set(s, arg, &sink), SK_EINVAL);
    assert_string_equal(f.text, want);
}

static void an_empty_text_is_the_defaults(void **state)
{
    (void)state;
    struct settings *s = good("");
    assert_string_equal(s->listen, "0.0.0.0:8443");
    assert_string_equal(s->state_dir, "/var/lib/sekisho-manager");
    assert_string_equal(s->store, "");
    assert_true(s->agents.cert_lifetime == 30 * 86400 * SK_NS_PER_S);
    assert_true(s->waf.coalesce == 200 * SK_NS_PER_MS);
    assert_int_equal(s->waf.capacity, WAFV2_SET_MAX);
    assert_int_equal(s->waf.ntargets, 0);
    assert_false(s->waf.enabled);
    assert_int_equal(s->names.n, 0);
    settings_free(s);
    settings_free(good("# nothing\n---\nwaf:\n"));
}

static void a_default_is_what_its_own_help_allows(void **state)
{
    (void)state;
    struct settings *s = good("");
    settings_free(s);
    s = good("outputs:\n  - {name: a, url: 'https://h/'}\nwaf: {targets: [{}]}\n");
    assert_int_equal(s->outputs[0].kind, OUTPUT_WEBHOOK);
    assert_true(s->outputs[0].blocks && s->outputs[0].events && !s->outputs[0].dry_run);
    assert_string_equal(s->waf.targets[0].prefix, "sekisho");
    assert_int_equal(s->waf.targets[0].sets_v4, 1);
    settings_free(s);
}

static void every_kind_of_value(void **state)
{
    (void)state;
    struct settings *s = good("listen: '[::1]:0'\n"
                              "names: [manager.example.com, 192.0.2.1]\n"
                              "never: 198.51.100.0/24, 2001:db8::/32\n"
                              "agents: {retire-after: never, heartbeat: 5}\n"
                              "identity:\n  max-age: any\n  accounts: ['123456789012']\n"
                              "waf:\n  enabled: yes\n  write-gap: 1500ms\n  targets:\n"
                              "    - {scope: CLOUDFRONT, sets-v4: 3, create: true}\n"
                              "    - region: eu-west-1\n      prefix: edge\n"
                              "outputs:\n  - {name: t, type: sns, topic: 'arn:aws:sns:r:1:t', events: no}\n");
    assert_string_equal(s->names.v[1], "192.0.2.1");
    assert_int_equal(s->never.n, 2);
    assert_int_equal(s->never.v[1].len, 32);
    assert_true(s->agents.retire_after == 0 && s->agents.heartbeat == 5 * SK_NS_PER_S);
    assert_true(s->identity.max_age == 0);
    assert_string_equal(s->identity.accounts.v[0], "123456789012");
    assert_true(s->waf.write_gap == 1500 * SK_NS_PER_MS);
    assert_int_equal(s->waf.ntargets, 2);
    assert_int_equal(s->waf.targets[0].scope, WAFV2_CLOUDFRONT);
    assert_int_equal(s->waf.targets[0].sets_v4, 3);
    assert_true(s->waf.targets[0].create);
    assert_string_equal(s->waf.targets[1].region, "eu-west-1");
    assert_int_equal(s->outputs[0].kind, OUTPUT_SNS);
    assert_false(s->outputs[0].events);
    settings_free(s);
}

static void mistakes_say_where_and_what(void **state)
{
    (void)state;
    bad("agent:\n  heartbeat: 5\n", "m.yaml:1:1: unknown key \"agent\"; did you mean \"agents\"?");
    bad("waf:\n  enable: yes\n", "m.yaml:2:3: unknown key \"waf.enable\"; did you mean \"waf.enabled\"?");
    bad("retire-after: 1d\n", "m.yaml:1:1: unknown key \"retire-after\"; did you mean \"agents.retire-after\"?");
    bad("qqqqqqqq: 1\n", "m.yaml:1:1: unknown key \"qqqqqqqq\"");
    bad("waf.enabled: yes\n", "m.yaml:1:1: \"waf.enabled\": write the parts of a key as nested keys");
    bad("waf: {enabled: maybe}\n", "m.yaml:1:16: waf.enabled: \"maybe\" is not valid here; allowed: yes or no");
    bad("waf: 3\n", "m.yaml:1:6: waf: expected keys below it");
    bad("listen: [a]\n", "m.yaml:1:9: listen: a list is not valid here; allowed: a text of 1..64 characters");
    bad("agents: {heartbeat: 2h}\n",
        "m.yaml:1:21: agents.heartbeat: \"2h\" is not valid here; allowed: a time, 1s..1h");
    bad("never: [10.0.0.1/8]\n",
        "m.yaml:1:9: never: \"10.0.0.1/8\" has bits set behind its length; did you mean \"10.0.0.0/8\"?");
    bad("never: [everybody]\n", "m.yaml:1:9: never: \"everybody\" is not valid here; allowed: a list of at most 4096 "
                                "addresses and networks");
    bad("listen: a\nlisten: b\n", "m.yaml:2:1: duplicate key \"listen\"");
    bad("a: &x 1\nlisten: *x\n", "m.yaml:2:9: aliases are not supported");
    bad("listen: \"\\e[2J\\0\"\n", "m.yaml:1:9: listen: \"\\x1b[2J\\x00\" is not valid here; allowed: a text of 1..64 "
                                   "characters");
    bad("listen: {\n", "m.yaml:2:1: did not find expected node content (while parsing a flow node)");
    bad("[1]\n", "m.yaml:1:1: expected keys");
    bad("[[[[[[[[[[[[[[[[[[[[[[[[[", "m.yaml:1:17: nests too deeply");
}

static void mistakes_within_records(void **state)
{
    (void)state;
    bad("waf: {targets: [{regoin: x}]}\n",
        "m.yaml:1:18: unknown key \"waf.targets[].regoin\"; did you mean \"waf.targets[].region\"?");
    bad("waf: {targets: [3]}\n", "m.yaml:1:17: waf.targets: each entry is a mapping of keys");
    bad("waf: {targets: {}}\n",
        "m.yaml:1:16: waf.targets: a mapping is not valid here; allowed: a list of at most 16 entries");
    bad("outputs: [{url: 'https://x'}]\n", "m.yaml:1:11: outputs[].name is missing");
    bad("outputs: [{name: a, name: b}]\n", "m.yaml:1:21: duplicate key \"outputs[].name\"");
    bad("outputs: [{name: a, type: fax}]\n", "m.yaml:1:27: type: \"fax\" is not valid here; allowed: sns or webhook");
}

static void keys_must_fit_each_other(void **state)
{
    (void)state;
    bad_together("listen: 8443\n", "m.yaml:1:9: listen: want ADDRESS:PORT, \"0.0.0.0:8443\" or \"[::]:8443\"");
    bad_together("certificate: /x\n", "m.yaml:1:14: certificate: certificate and key go together");
    bad_together("identity: {required: yes}\n", "m.yaml:1:22: identity.required: needs identity.certificates");
    bad_together("waf: {enabled: yes}\n", "m.yaml:1:16: waf.enabled: needs at least one of waf.targets");
    bad_together("waf: {targets: [{sets-v4: 30, sets-v6: 30}]}\n",
                 "m.yaml:1:16: waf.targets: a target has 1 to 50 sets, both families together");
    bad_together("waf: {targets: [{}, {}]}\n", "m.yaml:1:16: waf.targets: two targets are the same sets");
    bad_together("outputs: [{name: a, url: 'http://x'}]\n",
                 "m.yaml:1:10: outputs: an output of type webhook needs a url that begins with https://");
    bad_together("outputs: [{name: a, type: sns}]\n",
                 "m.yaml:1:10: outputs: an output of type sns needs the ARN of a topic");
}

static void set_takes_what_yaml_takes(void **state)
{
    (void)state;
    struct settings *s = good("names: [a]\n");
    struct sk_diag_sink sink = {.fn = NULL};
    assert_int_equal(settings_set(s, "listen=[::]:1", &sink), SK_OK);
    assert_string_equal(s->listen, "[::]:1");
    assert_int_equal(settings_set(s, "store=host=db user='x y'", &sink), SK_OK);
    assert_string_equal(s->store, "host=db user='x y'");
    assert_int_equal(settings_set(s, "names=b,c", &sink), SK_OK);
    assert_int_equal(s->names.n, 2);
    assert_int_equal(settings_set(s, "names=", &sink), SK_OK);
    assert_int_equal(s->names.n, 0);
    assert_int_equal(settings_set(s, "never=[192.0.2.0/24, 'fd00::']", &sink), SK_OK);
    assert_int_equal(s->never.n, 2);
    assert_int_equal(settings_set(s, "never=fd00::", &sink), SK_OK);
    assert_int_equal(s->never.n, 1);
    assert_int_equal(settings_set(s, "waf.targets=[{region: eu-west-1, sets-v6: 0}]", &sink), SK_OK);
    assert_int_equal(s->waf.targets[0].sets_v6, 0);
    assert_int_equal(settings_set(s, "agents.heartbeat=1s", &sink), SK_OK);
    bad_set(s, "listen", "--set:0:0: \"listen\" is not KEY=VALUE");
    bad_set(s, "waf=1", "--set:0:0: \"waf\" is a section; name one of its keys");
    bad_set(s, "waf.enabld=1", "--set:0:0: unknown key \"waf.enabld\"; did you mean \"waf.enabled\"?");
    bad_set(s, "waf.capacity=10001",
            "--set:0:0: waf.capacity: \"10001\" is not valid here; allowed: a number, 1..10000");
    bad_set(s, "waf.targets=[{sets-v4: x}]", "--set:0:0: sets-v4: \"x\" is not valid here; allowed: a number, 0..50");
    assert_string_equal(s->waf.targets[0].region, "eu-west-1"); /* as before */
    settings_free(s);
}

static void listen_addresses(void **state)
{
    (void)state;
    struct sk_addr a;
    uint16_t port;
    char buf[SK_ADDR_STRLEN];
    assert_int_equal(settings_listen("192.0.2.1:8443", &a, &port), SK_OK);
    assert_int_equal(port, 8443);
    assert_string_equal(sk_addr_format(&a, buf), "192.0.2.1");
    assert_int_equal(settings_listen("[2001:db8::1]:0", &a, &port), SK_OK);
    assert_string_equal(sk_addr_format(&a, buf), "2001:db8::1");
    static const char *const wrong[] = {"",           ":",    "::1:80", "1.2.3.4", "1.2.3.4:",  "1.2.3.4:65536",
                                        "1.2.3.4:-1", "[]:1", "[::1]",  "host:80", "1.2.3.4: 1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(settings_listen(wrong[i], &a, &port), SK_EINVAL);
}

static void files(void **state)
{
    (void)state;
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = add, .arg = &f};
    struct settings *s;
    assert_int_equal(settings_load("/nonexistent/m.yaml", &sink, &s), SK_ENOENT);
    assert_string_equal(f.text, "/nonexistent/m.yaml:0:0: No such file or directory");
    assert_int_equal(settings_load("manager/manager.yaml", NULL, &s), SK_OK); /* the example that is delivered */
    assert_int_equal(settings_check(s, NULL), SK_OK);
    settings_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_text_is_the_defaults),
        cmocka_unit_test(a_default_is_what_its_own_help_allows),
        cmocka_unit_test(every_kind_of_value),
        cmocka_unit_test(mistakes_say_where_and_what),
        cmocka_unit_test(mistakes_within_records),
        cmocka_unit_test(keys_must_fit_each_other),
        cmocka_unit_test(set_takes_what_yaml_takes),
        cmocka_unit_test(listen_addresses),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
