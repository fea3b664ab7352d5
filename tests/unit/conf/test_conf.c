/* What a configuration means: defaults, YAML, --set, --vars, and the file that is shipped. */
#include "support.h"

#include <unistd.h>
#include "base/clock.h"

static const char *group(const struct conf *c, const char *name)
{
    const struct conf_var *v = conf_group(&c->address_groups, name);
    if (v == NULL)
        v = conf_group(&c->port_groups, name);
    assert_non_null(v);
    return v->text;
}

static void defaults_are_suricatas(void **state)
{
    (void)state;
    struct conf *c = defaults();
    assert_int_equal(c->mode, CONF_DETECT);
    assert_string_equal(group(c, "HOME_NET"), "[192.168.0.0/16,10.0.0.0/8,172.16.0.0/12]");
    assert_false(conf_group(&c->address_groups, "HOME_NET")->given);
    assert_string_equal(group(c, "EXTERNAL_NET"), "!$HOME_NET");
    assert_string_equal(group(c, "AIM_SERVERS"), "$EXTERNAL_NET");
    assert_string_equal(group(c, "ENIP_SERVER"), "$HOME_NET");
    assert_string_equal(group(c, "FILE_DATA_PORTS"), "[$HTTP_PORTS,110,143]");
    assert_string_equal(group(c, "TEREDO_PORTS"), "3544");
    assert_int_equal(c->address_groups.n, 15);
    assert_int_equal(c->port_groups.n, 11);
    assert_null(conf_group(&c->address_groups, "home_net"));
    assert_int_equal(c->rule_files.n, 1);
    assert_string_equal(c->rule_files.v[0], "/usr/share/sekisho/rules/*.rules");
    assert_string_equal(c->threshold_file, "");
    assert_int_equal(c->capture.interfaces.n, 0);
    assert_int_equal(c->capture.ring_size, 64 << 20);
    assert_int_equal(c->capture.checksum_validation, CONF_AUTO);
    assert_int_equal(c->flow.tcp_new, 60 * SK_NS_PER_S);
    assert_int_equal(c->flow.tcp_established, 600 * SK_NS_PER_S);
    assert_int_equal(c->stream.depth, 1 << 20);
    assert_int_equal(c->stream.is_inline, CONF_AUTO);
    assert_int_equal(c->http.request_body_limit, 100 << 10);
    assert_int_equal(c->detect.pcre_match_limit, 3500);
    assert_int_equal(c->detect.max_alerts_per_packet, 15);
    assert_int_equal(c->decide.block_duration, 3600 * SK_NS_PER_S);
    assert_true(c->decide.block_on_drop);
    assert_int_equal(c->never.n, 0);
    assert_string_equal(c->guard.control_socket, "/run/sekisho/control.sock");
    assert_int_equal(c->eve.types, 127);
    assert_int_equal(c->vxlan.ports[0], 4789);
    assert_int_equal(c->vxlan.ports[1], 0);
    conf_free(c);
}

static void empty_texts_are_the_defaults(void **state)
{
    (void)state;
    static const char *const text[] = {"",
                                       "\n",
                                       "# nothing\n",
                                       "---\n",
                                       "%YAML 1.1\n---\n",
                                       "{}",
                                       "~\n",
                                       "flow:\nstream:\n  reassembly:\nvars:\n  address-groups:\n"};
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
        struct conf *c = load_good(text[i]);
        assert_int_equal(c->flow.max_flows, 65536);
        conf_free(c);
    }
}

static void every_kind_of_value_is_read(void **state)
{
    (void)state;
    struct conf *c = load_good("mode: prevent\n"
                               "rule-files:\n  - a.rules\n  - rules/*.rules\n"
                               "capture:\n  interfaces: [eth0, eth1]\n  promisc: on\n  checksum-validation: false\n"
                               "  block-size: 256 KiB\n"
                               "stream:\n  inline: yes\n  midstream: true\n  reassembly:\n    depth: 3gb\n"
                               "decide:\n  block-duration: 15m\n"
                               "never:\n  - 203.0.113.0/24\n  - 2001:db8::1\n"
                               "outputs:\n  eve:\n    types: [alert, drop]\n    path: \"/tmp/e.json\"\n"
                               "decoder:\n  vxlan:\n    enabled: no\n    ports: [4789, 8472]\n");
    assert_int_equal(c->mode, CONF_PREVENT);
    assert_int_equal(c->rule_files.n, 2);
    assert_string_equal(c->rule_files.v[1], "rules/*.rules");
    assert_int_equal(c->capture.interfaces.n, 2);
    assert_string_equal(c->capture.interfaces.v[0], "eth0");
    assert_true(c->capture.promisc);
    assert_int_equal(c->capture.checksum_validation, CONF_NO);
    assert_int_equal(c->capture.block_size, 256 << 10);
    assert_int_equal(c->stream.is_inline, CONF_YES);
    assert_true(c->stream.midstream);
    assert_true(c->stream.depth == UINT64_C(3) << 30);
    assert_int_equal(c->decide.block_duration, 900 * SK_NS_PER_S);
    char buf[SK_PREFIX_STRLEN];
    assert_int_equal(c->never.n, 2);
    assert_string_equal(sk_prefix_format(&c->never.v[0], buf), "203.0.113.0/24");
    assert_string_equal(sk_prefix_format(&c->never.v[1], buf), "2001:db8::1");
    assert_int_equal(c->eve.types, CONF_EVE_ALERT | CONF_EVE_DROP);
    assert_string_equal(c->eve.path, "/tmp/e.json");
    assert_false(c->vxlan.enabled);
    assert_int_equal(c->vxlan.ports[1], 8472);
    assert_true(c->geneve.enabled);
    conf_free(c);
}

static void one_entry_or_none_is_a_list_too(void **state)
{
    (void)state;
    struct conf *c = load_good("rule-files: one.rules\nnever:\ncapture:\n  interfaces: auto\n");
    assert_int_equal(c->rule_files.n, 1);
    assert_string_equal(c->rule_files.v[0], "one.rules");
    assert_int_equal(c->never.n, 0);
    assert_int_equal(c->capture.interfaces.n, 0);
    conf_free(c);
}

static void groups_add_to_the_defaults(void **state)
{
    (void)state;
    struct conf *c = load_good("vars:\n  address-groups:\n    HOME_NET: \"[10.1.0.0/16]\"\n    MY_HOSTS: [10.1.1.1, "
                               "[10.1.2.0/24, '!10.1.2.9']]\n  port-groups:\n    HTTP_PORTS: 8080\n");
    assert_string_equal(group(c, "HOME_NET"), "[10.1.0.0/16]");
    assert_true(conf_group(&c->address_groups, "HOME_NET")->given);
    assert_string_equal(group(c, "MY_HOSTS"), "[10.1.1.1,[10.1.2.0/24,!10.1.2.9]]");
    assert_string_equal(group(c, "HTTP_PORTS"), "8080");
    assert_string_equal(group(c, "SSH_PORTS"), "22");
    conf_free(c);
}

static void set_takes_every_type(void **state)
{
    (void)state;
    struct conf *c = defaults();
    set_good(c, "stream.midstream", "true");
    set_good(c, "stream.async-oneside", "yes");
    set_good(c, "stream.inline", "true");
    set_good(c, "stream.reassembly.depth", "0");
    set_good(c, "threshold-file", "/tmp/threshold.config");
    set_good(c, "decoder.vxlan.ports", "4789,8472");
    set_good(c, "never", "[10.0.0.0/8, 192.0.2.1]");
    set_good(c, "rule-files", "a.rules, b.rules");
    set_good(c, "capture.interfaces", "auto");
    set_good(c, "vars.address-groups.HOME_NET", "[10.0.0.0/8,!10.1.1.1]");
    assert_true(c->stream.midstream && c->stream.async_oneside);
    assert_int_equal(c->stream.is_inline, CONF_YES);
    assert_int_equal(c->stream.depth, 0);
    assert_string_equal(c->threshold_file, "/tmp/threshold.config");
    assert_int_equal(c->vxlan.ports[1], 8472);
    assert_int_equal(c->never.n, 2);
    assert_int_equal(c->rule_files.n, 2);
    assert_string_equal(c->rule_files.v[1], "b.rules");
    assert_string_equal(group(c, "HOME_NET"), "[10.0.0.0/8,!10.1.1.1]");
    set_good(c, "never", "");
    assert_int_equal(c->never.n, 0);
    conf_free(c);
}

static void set_knows_suricatas_names(void **state)
{
    (void)state;
    struct conf *c = defaults();
    set_good(c, "stream.checksum-validation", "no");
    set_good(c, "pcre.match-limit", "9000");
    set_good(c, "app-layer.protocols.http.libhtp.default-config.response-body-decompress-layer-limit", "3");
    assert_int_equal(c->capture.checksum_validation, CONF_NO);
    assert_int_equal(c->detect.pcre_match_limit, 9000);
    assert_int_equal(c->http.decompress_layer_limit, 3);
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    assert_int_equal(conf_set(c, "detect.prefilter.default", "auto", &sink), SK_OK);
    assert_string_equal(f.text, "--set:0:0: detect.prefilter.default has no effect here");
    conf_free(c);
}

static void manager_keys(void **state)
{
    (void)state;
    static const char text[] = "manager:\n  enabled: no\n  spool-size: 2mb\n  forward: [flood]\n  rules: no\n";
    struct conf *c;
    assert_int_equal(conf_load("t.yaml", text, strlen(text), NULL, &c), SK_OK);
    assert_int_equal(c->manager.enabled, CONF_NO);
    assert_string_equal(c->manager.state_dir, "/var/lib/sekisho/uplink");
    assert_int_equal(c->manager.spool_size, 2 << 20);
    assert_int_equal(c->manager.forward, 1 << 8); /* EVENT_FLOOD */
    assert_false(c->manager.rules);
    assert_true(c->manager.policy && c->manager.fleet_blocks);
    assert_int_equal(conf_set(c, "manager.forward", "[]", NULL), SK_OK);
    assert_int_equal(c->manager.forward, 0);
    assert_int_equal(conf_set(c, "manager.spool-size", "1kb", NULL), SK_EINVAL);
    conf_free(c);
}

static void set_arg_splits_at_the_first_equals(void **state)
{
    (void)state;
    struct conf *c = defaults();
    assert_int_equal(conf_set_arg(c, "outputs.eve.path=/tmp/a=b", NULL), SK_OK);
    assert_string_equal(c->eve.path, "/tmp/a=b");
    assert_int_equal(conf_set_arg(c, "outputs.eve.path", NULL), SK_EINVAL);
    assert_int_equal(conf_set_arg(c, "=x", NULL), SK_EINVAL);
    assert_int_equal(conf_set_line(c, "instance.conf", 3, "outputs.eve.path=/tmp/b", NULL), SK_OK);
    assert_string_equal(c->eve.path, "/tmp/b");
    assert_int_equal(conf_set_line(c, "instance.conf", 4, "nothing=1", NULL), SK_EINVAL);
    conf_free(c);
}

static void vars_are_json(void **state)
{
    (void)state;
    struct conf *c = defaults();
    const char *text = "{\"address-groups\": {\"HOME_NET\": \"any\", \"A\": \"[1.1.1.1, 2.2.2.2]\"}, "
                       "\"port-groups\": {\"HTTP_PORTS\": 8080, \"P\": [1, 2]},\n"
                       "\"sets\": {\"x\": [\"y\", {\"z\": null}]}, \"ips\": false, \"yaml\": null}";
    assert_int_equal(conf_load_vars(c, "v.json", text, strlen(text), NULL), SK_OK);
    assert_string_equal(group(c, "HOME_NET"), "any");
    assert_string_equal(group(c, "A"), "[1.1.1.1, 2.2.2.2]");
    assert_string_equal(group(c, "HTTP_PORTS"), "8080");
    assert_string_equal(group(c, "P"), "[1,2]");
    assert_string_equal(group(c, "SSH_PORTS"), "22");
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    assert_int_equal(conf_load_vars(c, "v.json", "{\"port-groups\": {\"P\": {}}", 25, &sink), SK_EINVAL);
    assert_int_equal(f.n, 2); /* the mapping, and the brace that is missing */
    conf_free(c);
}

static void the_shipped_file_shows_the_defaults(void **state)
{
    (void)state;
    struct conf *c, *d = defaults();
    assert_int_equal(conf_load_file("agent/sekisho.yaml", &sk_diag_stderr, &c), SK_OK);
    assert_string_equal(group(c, "HOME_NET"), "auto"); /* what `run` does by default */
    assert_int_equal(c->mode, d->mode);
    assert_memory_equal(&c->flow, &d->flow, sizeof(c->flow));
    assert_int_equal(c->capture.ring_size, d->capture.ring_size);
    assert_int_equal(c->stream.memcap, d->stream.memcap);
    assert_int_equal(c->stream.depth, d->stream.depth);
    assert_int_equal(c->http.request_body_limit, d->http.request_body_limit);
    assert_int_equal(c->http.response_body_limit, d->http.response_body_limit);
    assert_int_equal(c->decide.block_duration, d->decide.block_duration);
    assert_int_equal(c->decide.max_block_duration, d->decide.max_block_duration);
    assert_int_equal(c->eve.types, d->eve.types);
    assert_int_equal(c->stats_interval, d->stats_interval);
    assert_string_equal(c->eve.path, d->eve.path);
    assert_string_equal(c->rule_files.v[0], d->rule_files.v[0]);
    conf_free(c);
    conf_free(d);
}

struct described {
    struct conf *c;
    unsigned n;
};

/* The manual's default is what the reader makes of it, and nothing in a line is cut. */
static void describe_one(void *arg, const struct conf_key *k)
{
    struct described *d = (struct described *)arg;
    assert_true(strlen(k->help) > 0 && strlen(k->allowed) > 0);
    assert_true(strlen(k->allowed) < sizeof(k->allowed) - 1);
    if (strncmp(k->path, "vars.", 5) != 0)
        set_good(d->c, k->path, k->def);
    d->n++;
}

static void description_lists_every_key(void **state)
{
    (void)state;
    struct described d = {.c = defaults()};
    conf_describe(describe_one, &d);
    assert_in_range(d.n, 60, 200);
    assert_int_equal(conf_check(d.c, &sk_diag_stderr), SK_OK);
    conf_free(d.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_suricatas),
        cmocka_unit_test(empty_texts_are_the_defaults),
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(one_entry_or_none_is_a_list_too),
        cmocka_unit_test(groups_add_to_the_defaults),
        cmocka_unit_test(set_takes_every_type),
        cmocka_unit_test(set_knows_suricatas_names),
        cmocka_unit_test(manager_keys),
        cmocka_unit_test(set_arg_splits_at_the_first_equals),
        cmocka_unit_test(vars_are_json),
        cmocka_unit_test(the_shipped_file_shows_the_defaults),
        cmocka_unit_test(description_lists_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
