/* The page of metrics: every line as the exposition format wants it, values where they belong, hostile text escaped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/counters.h"
#include "metrics.h"

#define SEEN_MAX 1024

struct page {
    char *text;
    char *line[SEEN_MAX];
    unsigned n;
};

static struct page render(json_t *status)
{
    struct sk_strbuf b;
    struct page p = {0};
    sk_strbuf_init(&b, METRICS_MAX);
    assert_int_equal(metrics_render(status, &b), SK_OK);
    json_decref(status);
    p.text = b.p;
    assert_int_equal(b.p[b.len - 1], '\n');
    for (char *s = strtok(p.text, "\n"); s != NULL; s = strtok(NULL, "\n")) {
        assert_true(p.n < SEEN_MAX);
        p.line[p.n++] = s;
    }
    return p;
}

static size_t name_len(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz_0123456789");
    assert_true(n > 0 && !(s[0] >= '0' && s[0] <= '9'));
    return n;
}

/* {name="value",...}: where it ends. */
static const char *check_labels(const char *s)
{
    if (*s != '{')
        return s;
    do {
        s += 1;
        s += name_len(s);
        assert_memory_equal(s, "=\"", 2);
        for (s += 2; *s != '"'; s++) {
            assert_true(*s != '\0');
            if (*s == '\\')
                assert_non_null(strchr("\\\"n", *++s));
        }
        s++;
    } while (*s == ',');
    assert_int_equal(*s, '}');
    return s + 1;
}

static void check_sample(const char *line, const char *name, size_t len)
{
    char *end;
    assert_int_equal(name_len(line), len);
    assert_memory_equal(line, name, len);
    const char *s = check_labels(line + len);
    assert_int_equal(*s, ' ');
    (void)strtod(s + 1, &end);
    assert_true(end > s + 1 && *end == '\0');
}

/* HELP, TYPE, then one sample or more; no name twice, no series twice. */
static void check_page(const struct page *p)
{
    for (unsigned i = 0; i < p->n;) {
        assert_memory_equal(p->line[i], "# HELP sekisho_", 15);
        const char *name = p->line[i] + 7;
        size_t len = name_len(name);
        assert_true(name[len] == ' ' && name[len + 1] != '\0');
        assert_memory_equal(p->line[i + 1], "# TYPE ", 7);
        assert_memory_equal(p->line[i + 1] + 7, name, len);
        const char *type = p->line[i + 1] + 7 + len;
        bool counter = strcmp(type, " counter") == 0, total = len > 6 && memcmp(name + len - 6, "_total", 6) == 0;
        assert_true(counter || strcmp(type, " gauge") == 0);
        assert_int_equal(counter, total);
        for (unsigned k = 0; k < i; k++)
            if (strncmp(p->line[k], "# HELP ", 7) == 0)
                assert_false(name_len(p->line[k] + 7) == len && memcmp(p->line[k] + 7, name, len) == 0);
        for (i += 2; i < p->n && p->line[i][0] != '#'; i++)
            check_sample(p->line[i], name, len);
    }
    for (unsigned i = 0; i < p->n; i++)
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(p->line[i], p->line[k]);
}

static bool has(const struct page *p, const char *line)
{
    for (unsigned i = 0; i < p->n; i++)
        if (strcmp(p->line[i], line) == 0)
            return true;
    print_message("there is no line: %s\n", line);
    return false;
}

static json_t *counters(void)
{
    json_t *o = json_object();
    for (unsigned c = 0; c < SK_C_COUNT; c++)
        json_object_set_new(o, sk_counter_name((enum sk_counter)c), json_integer(1000 + c));
    return o;
}

static void a_whole_page(void **state)
{
    (void)state;
    json_t *s =
        json_pack("{s:s,s:s,s:i,s:[{s:s,s:s,s:i},{s:s,s:s,s:i}],s:[s,s],s:[{s:i,s:i},{s:i,s:i}],"
                  "s:{s:{s:i,s:i,s:i,s:{s:i,s:i}},s:{s:i,s:i,s:i,s:{s:i}},s:f},s:i,s:{s:i,s:b},s:o}",
                  "version", "0.1.0", "mode", "detect", "uptime", 77, "roles", "name", "guard", "state", "working",
                  "restarts", 0, "name", "engine", "state", "waiting to restart", "restarts", 3, "interfaces", "eth0",
                  "eth1", "workers", "packets", 10, "kernel_drops", 2, "packets", 20, "kernel_drops", 0, "ledger",
                  "packets", "sent", 100, "inspected", 90, "waiting", 1, "causes", "ring_drop", 9, "gap", 0, "flows",
                  "begun", 7, "inspected", 5, "active", 1, "causes", "evicted", 1, "blind_seconds", 1.25, "memory",
                  4096, "blocks", "in_force", 6, "never_list_complete", 1, "counters", counters());
    assert_non_null(s);
    struct page p = render(s);
    check_page(&p);
    assert_true(has(&p, "sekisho_build_info{version=\"0.1.0\",mode=\"detect\"} 1"));
    assert_true(has(&p, "sekisho_role_up{role=\"guard\"} 1"));
    assert_true(has(&p, "sekisho_role_up{role=\"engine\"} 0"));
    assert_true(has(&p, "sekisho_role_restarts_total{role=\"engine\"} 3"));
    assert_true(has(&p, "sekisho_interfaces 2"));
    assert_true(has(&p, "sekisho_packets_sent_total 100"));
    assert_true(has(&p, "sekisho_packets_total{class=\"inspected\"} 90"));
    assert_true(has(&p, "sekisho_packets_total{class=\"ring_drop\"} 9"));
    assert_true(has(&p, "sekisho_packets_total{class=\"gap\"} 0"));
    assert_true(has(&p, "sekisho_flows_total{class=\"evicted\"} 1"));
    assert_true(has(&p, "sekisho_blind_seconds_total 1.250"));
    assert_true(has(&p, "sekisho_worker_packets_total{worker=\"1\"} 20"));
    assert_true(has(&p, "sekisho_blocks 6"));
    assert_true(has(&p, "sekisho_never_list_complete 1"));
    char line[96];
    snprintf(line, sizeof(line), "sekisho_tcp_syn_total %u", 1000 + SK_C_TCP_SYN);
    assert_true(has(&p, line));
    free(p.text);
}

/* Whatever the guard may say one day: nothing of it ends a line or a label early. */
static void hostile_text(void **state)
{
    (void)state;
    json_t *s = json_pack("{s:s,s:s,s:[{s:s,s:s}]}", "version", "1\"} 5\nsekisho_blocks 0\n", "mode", "\\", "roles",
                          "name", "a\\\"b\n", "state", "working");
    struct page p = render(s);
    check_page(&p);
    assert_true(has(&p, "sekisho_build_info{version=\"1\\\"} 5\\nsekisho_blocks 0\\n\",mode=\"\\\\\"} 1"));
    assert_true(has(&p, "sekisho_role_up{role=\"a\\\\\\\"b\\n\"} 1"));
    free(p.text);
}

static void nothing_to_show(void **state)
{
    (void)state;
    struct page p = render(json_object());
    check_page(&p);
    assert_true(has(&p, "sekisho_packets_sent_total 0"));
    free(p.text);
}

static void too_long_a_page(void **state)
{
    (void)state;
    struct sk_strbuf b;
    json_t *s = json_object();
    sk_strbuf_init(&b, 4096);
    assert_int_equal(metrics_render(s, &b), SK_EFULL);
    assert_true(b.len <= 4096);
    sk_strbuf_free(&b);
    json_decref(s);
}

static void of_a_host_of_a_fleet(void **state)
{
    (void)state;
    json_t *s = json_pack("{s:{s:s,s:i,s:i,s:i,s:i,s:i,s:{s:i,s:i}}}", "manager", "state", "connected", "spooled", 3,
                          "spooled_bytes", 4096, "sent", 17, "lost", 0, "certificate_seconds", 86400, "fleet",
                          "in_force", 5, "refused", 2);
    assert_non_null(s);
    struct page p = render(s);
    check_page(&p);
    assert_true(has(&p, "sekisho_manager_up 1"));
    assert_true(has(&p, "sekisho_manager_spooled 3"));
    assert_true(has(&p, "sekisho_manager_sent_total 17"));
    assert_true(has(&p, "sekisho_manager_certificate_seconds 86400"));
    assert_true(has(&p, "sekisho_fleet_blocks 5"));
    assert_true(has(&p, "sekisho_fleet_blocks_refused_total 2"));
    free(p.text);
    p = render(json_pack("{s:{s:s}}", "manager", "state", "none"));
    for (unsigned i = 0; i < p.n; i++)
        assert_null(strstr(p.line[i], "manager"));
    free(p.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_page),    cmocka_unit_test(hostile_text),         cmocka_unit_test(nothing_to_show),
        cmocka_unit_test(too_long_a_page), cmocka_unit_test(of_a_host_of_a_fleet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
