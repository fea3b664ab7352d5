/* What a mistake looks like: place, cause, and what would have been right. */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void unknown_keys_name_the_nearest(void **state)
{
    (void)state;
    load_bad("flow:\n  max-flow: 3\n", "t.yaml:2:3: unknown key \"flow.max-flow\"; did you mean \"flow.max-flows\"?");
    load_bad("stremm:\n  memcap: 1mb\n", "t.yaml:1:1: unknown key \"stremm\"; did you mean \"stream\"?");
    load_bad("stream:\n  depth: 0\n",
             "t.yaml:2:3: unknown key \"stream.depth\"; did you mean \"stream.reassembly.depth\"?");
    load_bad("block-duration: 1h\n",
             "t.yaml:1:1: unknown key \"block-duration\"; did you mean \"decide.block-duration\"?");
    load_bad("stream:\n  reasembly: {depth: 0}\n",
             "t.yaml:2:3: unknown key \"stream.reasembly\"; did you mean \"stream.reassembly\"?");
    load_bad("zzzzzzzz: 1\n", "t.yaml:1:1: unknown key \"zzzzzzzz\"");
    load_bad("stream.midstream: yes\n", "t.yaml:1:1: \"stream.midstream\": write the parts of a key as nested keys");
    load_bad("\"\\e[2J\": yes\n", "t.yaml:1:1: unknown key \"\\x1b[2J\"");
}

static void wrong_values_say_what_is_allowed(void **state)
{
    (void)state;
    load_bad("mode: detct\n", "t.yaml:1:7: mode: \"detct\" is not valid here; allowed: detect or prevent");
    load_bad("flow: {max-flows: many}",
             "t.yaml:1:19: flow.max-flows: \"many\" is not valid here; allowed: a number, 64..16777216");
    load_bad("capture:\n  workers: 65\n",
             "t.yaml:2:12: capture.workers: \"65\" is not valid here; allowed: a number, 0..64");
    load_bad("capture:\n  workers: -1\n",
             "t.yaml:2:12: capture.workers: \"-1\" is not valid here; allowed: a number, 0..64");
    load_bad("capture:\n  snaplen: 1mb\n",
             "t.yaml:2:12: capture.snaplen: \"1mb\" is not valid here; allowed: a size, 256..256kb");
    load_bad("stream: {memcap: 64 megabytes}",
             "t.yaml:1:18: stream.memcap: \"64 megabytes\" is not valid here; allowed: a size, 64kb..2gb");
    load_bad("stream: {memcap: 99999999999999999999999gb}",
             "t.yaml:1:18: stream.memcap: \"99999999999999999999999gb\" is not valid here; allowed: a size, 64kb..2gb");
    load_bad("stream: {memcap: 18014398509481985kb}", /* 2^54 + 1: times 1024 it wraps to 1024 */
             "t.yaml:1:18: stream.memcap: \"18014398509481985kb\" is not valid here; allowed: a size, 64kb..2gb");
    load_bad("decide: {block-duration: soon}",
             "t.yaml:1:26: decide.block-duration: \"soon\" is not valid here; allowed: a duration, 1s..365d");
    load_bad("decide: {block-on-drop: maybe}",
             "t.yaml:1:25: decide.block-on-drop: \"maybe\" is not valid here; allowed: yes or no");
    load_bad("stream: {inline: perhaps}",
             "t.yaml:1:18: stream.inline: \"perhaps\" is not valid here; allowed: auto, yes or no");
    load_bad("outputs: {eve: {path: ''}}",
             "t.yaml:1:23: outputs.eve.path: \"\" is not valid here; allowed: a text of 1..4095 characters");
    load_bad("outputs: {eve: {types: [alert, dns]}}",
             "t.yaml:1:32: outputs.eve.types: \"dns\" is not valid here; allowed: a list of alert, http, flow, drop, "
             "stats, anomaly or fileinfo");
    load_bad(
        "decoder: {vxlan: {ports: [4789, 70000]}}",
        "t.yaml:1:33: decoder.vxlan.ports: \"70000\" is not valid here; allowed: a list of at most 4 ports, 1..65535");
}

/* Metrics are for this host alone: anything that others could reach is refused. */
static void metrics_stay_on_this_host(void **state)
{
    (void)state;
    static const char *const good[] = {"",  "/run/sekisho/metrics.sock", "127.0.0.1:9469", "127.1.2.3:1", "[::1]:9469",
                                       "/m"};
    static const char *const bad[] = {"0.0.0.0:9469",
                                      "10.0.0.1:9469",
                                      "[::]:9469",
                                      "[2001:db8::1]:9469",
                                      "[127.0.0.1]:9469",
                                      "::1:9469",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:0",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:+80",
                                      "127.0.0.1:080808",
                                      ":9469",
                                      "localhost:9469",
                                      "9469",
                                      "metrics.sock",
                                      "/run/sekisho/",
                                      "[::1]",
                                      "[]:80",
                                      "[:80"};
    char text[128];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text), "metrics:\n  listen: \"%s\"\n", good[i]);
        struct conf *c = load_good(text);
        assert_string_equal(c->metrics_listen, good[i]);
        conf_free(c);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "metrics:\n  listen: \"%s\"\n", bad[i]);
        load_bad(text,
                 "t.yaml:2:11: metrics.listen: want the path of a unix socket, or a loopback address with a port: "
                 "\"/run/sekisho/metrics.sock\", \"127.0.0.1:9469\", \"[::1]:9469\"");
    }
    struct conf_listen l;
    assert_int_equal(conf_listen_parse("[::1]:9469", &l), SK_OK);
    assert_null(l.path);
    assert_int_equal(l.port, 9469);
    assert_false(sk_addr_is_v4(&l.addr));
}

static void prefixes_are_checked(void **state)
{
    (void)state;
    load_bad("never:\n  - 10.0.0.0/8\n  - 10.1.2.3/24\n",
             "t.yaml:3:5: never: \"10.1.2.3/24\" has bits set behind its length; did you mean \"10.1.2.0/24\"?");
    load_bad("never: [example.com]",
             "t.yaml:1:9: never: \"example.com\" is not valid here; allowed: a list of at most 4096 ADDRESS or "
             "ADDRESS/LENGTH");
}

static void wrong_shapes_are_told(void **state)
{
    (void)state;
    load_bad("mode: [detect]", "t.yaml:1:7: mode: a list is not valid here; allowed: detect or prevent");
    load_bad("mode:\n", "t.yaml:1:6: mode: no value; allowed: detect or prevent");
    load_bad("mode: {a: b}\nflow: 7\n", "t.yaml:1:7: mode: a mapping is not valid here\n"
                                        "t.yaml:2:7: flow: expected keys below it, found a value");
    load_bad("flow: [max-flows]", "t.yaml:1:7: flow: expected keys below it, found a list");
    load_bad("never: [[10.0.0.0/8]]", "t.yaml:1:9: never: a list is not valid here");
    load_bad("- a\n- b\n", "t.yaml:1:1: expected keys, found a list");
    load_bad("detect", "t.yaml:1:1: expected keys, found a value");
    load_bad("? [a]\n: b\n", "t.yaml:1:3: a list cannot be a key");
    load_bad("a: &x 1\nmode: *x\n", "t.yaml:1:1: unknown key \"a\"\nt.yaml:2:7: mode: aliases are not supported");
    load_bad("flow: &f {max-flows: 100}\nstream: *f\n", "t.yaml:2:9: stream: expected keys below it, found an alias");
    load_bad("mode: \"detect\\0x\"", "t.yaml:1:7: mode: a value cannot hold a NUL");
    load_bad("--- {}\n--- {}\n", "t.yaml:2:1: only one document is read");
}

static void duplicate_keys_are_refused(void **state)
{
    (void)state;
    load_bad("mode: detect\nmode: prevent\n", "t.yaml:2:1: duplicate key \"mode\"");
    load_bad("flow:\n  max-flows: 100\nstream:\nflow:\n  max-flows: 200\n", "t.yaml:4:1: duplicate key \"flow\"");
    load_bad("flow:\n  max-flows: 100\n  max-flows: 100\n", "t.yaml:3:3: duplicate key \"max-flows\"");
    load_bad("vars:\n  port-groups:\n    P: 1\n    P: 2\n", "t.yaml:4:5: duplicate key \"P\"");
}

static void groups_are_checked(void **state)
{
    (void)state;
    load_bad("vars:\n  address-groups:\n    EXTERNAL_NET: !$HOME_NET\n",
             "t.yaml:3:19: vars.address-groups.EXTERNAL_NET: put a value that begins with \"!\" in quotes");
    load_bad(
        "vars:\n  address-groups:\n    HOME NET: any\n",
        "t.yaml:3:15: vars.address-groups: \"HOME NET\" cannot name a group; allowed: up to 64 of A-Z a-z 0-9 _ -");
    load_bad("vars:\n  address-groups:\n    A:\n", "t.yaml:3:7: vars.address-groups.A: no value");
    load_bad("vars: {port-groups: {P: {a: 1}}}", "t.yaml:1:25: vars.port-groups.P: a mapping is not valid here");
    load_bad("vars: {port-groups: {P: [[[[[[[[[1]]]]]]]]]}}",
             "t.yaml:1:33: vars.port-groups.P: lists nest deeper than 8");
}

static void syntax_errors_have_a_place(void **state)
{
    (void)state;
    load_bad("flow:\n  max-flows: 100\n bad\n",
             "t.yaml:3:2: did not find expected key (while parsing a block mapping)");
    load_bad("flow: {max-flows: 100\n", "t.yaml:2:1: did not find expected ',' or '}' (while parsing a flow mapping)");
    load_bad("flow:\n\tmax-flows: 1\n",
             "t.yaml:2:1: found character that cannot start any token (while scanning for the next token)");
    load_bad("mode: \"detect\n", "t.yaml:2:1: found unexpected end of stream (while scanning a quoted scalar)");
}

static void several_mistakes_are_told_at_once(void **state)
{
    (void)state;
    load_bad("mode: x\nflow:\n  max-flows: y\ncapture:\n  promisc: z\n",
             "t.yaml:1:7: mode: \"x\" is not valid here; allowed: detect or prevent\n"
             "t.yaml:3:14: flow.max-flows: \"y\" is not valid here; allowed: a number, 64..16777216\n"
             "t.yaml:5:12: capture.promisc: \"z\" is not valid here; allowed: yes or no");
}

static void findings_are_bounded(void **state)
{
    (void)state;
    static char text[40000];
    size_t n = 0;
    for (int i = 0; i < 3000; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "zz%d: 1\n", i);
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    struct conf *c;
    assert_int_equal(conf_load("t.yaml", text, n, &sink, &c), SK_EINVAL);
    assert_int_equal(f.n, CONF_MAX_DIAGS);
}

static void keys_must_fit_each_other(void **state)
{
    (void)state;
    load_bad("capture:\n  block-size: 300kb\n", "t.yaml:2:15: capture.block-size: must be a power of two");
    load_bad("capture:\n  block-size: 1mb\n  ring-size: 1mb\n",
             "t.yaml:3:14: capture.ring-size: must hold at least two of capture.block-size");
    load_bad("capture:\n  block-size: 64mb\n",
             "t.yaml:2:15: capture.ring-size: must hold at least two of capture.block-size");
    load_bad("decide:\n  max-block-duration: 1h\n  block-duration: 2h\n",
             "t.yaml:3:19: decide.block-duration: must not be longer than decide.max-block-duration");
}

/* Two keys that only fit together can be set one after the other; the check comes last. */
static void set_is_checked_at_the_end(void **state)
{
    (void)state;
    struct conf *c = defaults();
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    set_good(c, "decide.block-duration", "10w");
    assert_int_equal(conf_check(c, &sink), SK_EINVAL);
    assert_string_equal(f.text, "--set:0:0: decide.block-duration: must not be longer than decide.max-block-duration");
    set_good(c, "decide.max-block-duration", "10w");
    assert_int_equal(conf_check(c, &sink), SK_OK);
    conf_free(c);
}

static void set_refuses_and_leaves_the_value(void **state)
{
    (void)state;
    struct conf *c = defaults();
    set_bad(c, "stream.midstraem", "yes",
            "--set:0:0: unknown key \"stream.midstraem\"; did you mean \"stream.midstream\"?");
    set_bad(c, "steram.midstream", "yes",
            "--set:0:0: unknown key \"steram.midstream\"; did you mean \"stream.midstream\"?");
    set_bad(c, "stream", "yes", "--set:0:0: \"stream\" is a section; name one of its keys");
    set_bad(c, "vars.address-groups", "x", "--set:0:0: \"vars.address-groups\" is a section; name one of its keys");
    set_bad(c, "vars.port-groups.P", "", "--set:0:0: vars.port-groups.P: no value");
    set_bad(c, "flow.max-flows", "3",
            "--set:0:0: flow.max-flows: \"3\" is not valid here; allowed: a number, 64..16777216");
    set_bad(c, "never", "10.0.0.0/8,x",
            "--set:0:0: never: \"x\" is not valid here; allowed: a list of at most 4096 ADDRESS or ADDRESS/LENGTH");
    set_bad(c, "decoder.vxlan.ports", "1,2,3,4,5",
            "--set:0:0: decoder.vxlan.ports: 5 entries are too many; allowed: a list of at most 4 ports, 1..65535");
    assert_int_equal(c->flow.max_flows, 65536);
    assert_int_equal(c->never.n, 0);
    assert_int_equal(c->vxlan.ports[1], 0);
    conf_free(c);
}

static void maximums_are_kept(void **state)
{
    (void)state;
    struct conf *c = defaults();
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    char key[64];
    unsigned room = CONF_MAX_VARS - c->port_groups.n;
    for (unsigned i = 0; i < room; i++) {
        snprintf(key, sizeof(key), "vars.port-groups.P%u", i);
        set_good(c, key, "1");
    }
    set_bad(c, "vars.port-groups.ONE_MORE", "1", "--set:0:0: vars.port-groups: more than 256 groups");
    set_good(c, "vars.port-groups.P7", "2"); /* a known one still changes */
    assert_string_equal(conf_group(&c->port_groups, "P7")->text, "2");
    conf_free(c);

    char *text = (char *)calloc(1, CONF_MAX_TEXT + 1);
    memset(text, '\n', CONF_MAX_TEXT + 1);
    assert_int_equal(conf_load("t.yaml", text, CONF_MAX_TEXT + 1, &sink, &c), SK_EFULL);
    assert_string_equal(f.text, "t.yaml:0:0: longer than 1048576 bytes");
    assert_int_equal(conf_load("t.yaml", text, CONF_MAX_TEXT, &sink, &c), SK_OK);
    conf_free(c);
    size_t n = (size_t)sprintf(text, "rule-files: [a");
    for (int i = 0; i < CONF_MAX_LIST; i++)
        n += (size_t)sprintf(text + n, ",a");
    f = (struct findings){.n = 0};
    assert_int_equal(conf_load("t.yaml", text, n, &sink, &c), SK_EINVAL);
    assert_string_equal(f.text, "t.yaml:1:8206: rule-files: more than 4096 entries");
    free(text);
}

/* Replacing a long value over and over ends in an error, not in ever more memory. */
static void memory_is_bounded(void **state)
{
    (void)state;
    struct conf *c = defaults();
    static char value[CONF_MAX_TEXT];
    memset(value, 'x', sizeof(value) - 1);
    int err = SK_OK;
    for (int i = 0; i < 100 && err == SK_OK; i++)
        err = conf_set(c, "vars.address-groups.A", value, NULL);
    assert_int_equal(err, SK_ENOMEM);
    conf_free(c);
}

/* Neither the stack nor the time depends on how deep a text nests. */
static void deep_nesting_is_cut_short(void **state)
{
    (void)state;
    static char text[1000000];
    struct conf *c;
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    memset(text, '[', sizeof(text));
    assert_int_equal(conf_load("t.yaml", text, sizeof(text), &sink, &c), SK_EINVAL);
    assert_string_equal(f.text, "t.yaml:1:1: expected keys, found a list\nt.yaml:1:65: nests deeper than 64");
}

static void files_that_cannot_be_read_are_named(void **state)
{
    (void)state;
    struct conf *c;
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    assert_int_equal(conf_load_file("/nonexistent/sekisho.yaml", &sink, &c), SK_ENOENT);
    assert_string_equal(f.text, "/nonexistent/sekisho.yaml:0:0: No such file or directory");
    f = (struct findings){.n = 0};
    assert_int_equal(conf_load_file("/", &sink, &c), SK_EIO);
    assert_string_equal(f.text, "/:0:0: Is a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_keys_name_the_nearest),
        cmocka_unit_test(wrong_values_say_what_is_allowed),
        cmocka_unit_test(metrics_stay_on_this_host),
        cmocka_unit_test(prefixes_are_checked),
        cmocka_unit_test(wrong_shapes_are_told),
        cmocka_unit_test(duplicate_keys_are_refused),
        cmocka_unit_test(groups_are_checked),
        cmocka_unit_test(syntax_errors_have_a_place),
        cmocka_unit_test(several_mistakes_are_told_at_once),
        cmocka_unit_test(findings_are_bounded),
        cmocka_unit_test(keys_must_fit_each_other),
        cmocka_unit_test(set_is_checked_at_the_end),
        cmocka_unit_test(set_refuses_and_leaves_the_value),
        cmocka_unit_test(maximums_are_kept),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(deep_nesting_is_cut_short),
        cmocka_unit_test(files_that_cannot_be_read_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
