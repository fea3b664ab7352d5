#include "load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static void keep(void *arg, const struct sk_diag *d)
{
    static const char level[] = {
        [SK_DIAG_ERROR] = 'E', [SK_DIAG_WARN] = 'W', [SK_DIAG_NOTE] = 'N', [SK_DIAG_UNSUPPORTED] = 'U'};
    struct loaded *l = arg;
    size_t n = strlen(l->said);
    snprintf(l->said + n, sizeof l->said - n, "%u:%u: %c: %s\n", d->line, d->col, level[d->level], d->text);
}

static const struct rule_var addrs[] = {{"HOME_NET", "[10.0.0.0/8,!10.9.0.0/16]"},
                                        {"EXTERNAL_NET", "!$HOME_NET"},
                                        {"ANY", "any"},
                                        {"NOT_ANY", "!$ANY"},
                                        {"LOOP", "[1.1.1.1,$LOOP]"},
                                        {"V6", "[fd00::/8]"}};
static const struct rule_var ports[] = {{"HTTP_PORTS", "[80,8000:8010]"}, {"LOOP", "$LOOP"}};

struct loaded load_all(const char *rules, const char *thresholds, const char *classes)
{
    struct loaded l = {0};
    const struct rule_conf conf = {.addr_vars = addrs,
                                   .naddr = sizeof addrs / sizeof *addrs,
                                   .port_vars = ports,
                                   .nport = sizeof ports / sizeof *ports};
    const struct sk_diag_sink sink = {keep, &l};
    struct rule_loader *ld;
    assert_int_equal(rule_loader_create(&conf, &sink, &ld), SK_OK);
    if (classes) {
        int rc = rule_loader_classification(ld, "classes", classes, strlen(classes));
        assert_true(rc == SK_OK || rc == SK_EINVAL);
    }
    l.rejected = rule_loader_rules(ld, "test.rules", rules, strlen(rules));
    assert_true(l.rejected >= 0);
    if (thresholds)
        assert_true(rule_loader_thresholds(ld, "threshold.config", thresholds, strlen(thresholds)) >= 0);
    assert_int_equal(rule_loader_finish(ld, &l.set), SK_OK);
    return l;
}

struct loaded load(const char *rules)
{
    return load_all(rules, NULL, NULL);
}

struct loaded load_one(const char *rule)
{
    struct loaded l = load(rule);
    if (l.set->n != 1 || l.said[0])
        fail_msg("%s\n-> %u rules; %s", rule, l.set->n, l.said);
    return l;
}

void unload(struct loaded *l)
{
    rule_set_free(l->set);
    l->set = NULL;
}
