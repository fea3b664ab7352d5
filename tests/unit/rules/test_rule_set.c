/* What concerns several rules, and the files beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "load.h"
#include "rules/keyword.h"

#define R(opts) "alert tcp any any -> any any (" opts ")\n"

static void duplicate_sid(void **state)
{
    (void)state;
    struct loaded l =
        load(R("sid:1; rev:2;") R("sid:1; rev:2;") R("sid:2;") R("sid:1; rev:5; msg:\"new\";") R("sid:1; gid:9;"));
    assert_int_equal(l.rejected, 1);
    assert_int_equal(l.set->n, 3);
    assert_string_equal(l.said, "2:1: E: sid 1 is already used, with rev 2, at test.rules:1\n"
                                "4:1: W: sid 1 replaces rev 2 of it at test.rules:1\n");
    assert_int_equal(l.set->rules[0]->sid, 2);
    assert_int_equal(l.set->rules[1]->rev, 5);
    for (uint32_t i = 0; i < l.set->n; i++)
        assert_int_equal(l.set->rules[i]->index, i);
    unload(&l);
}

/* Shipped with the host and published for all: the same file twice is no mistake, one that differs is. */
static void the_same_rule_from_two_files(void **state)
{
    (void)state;
    static const char first[] = R("sid:1; rev:2;") R("sid:2; rev:1;"),
                      second[] = R("sid:1; rev:2;") R("sid:2; rev:1; msg:\"other\";") R("sid:3;");
    const struct rule_conf conf = {0};
    const struct rule_set *set;
    struct rule_loader *l;
    assert_int_equal(rule_loader_create(&conf, &(struct sk_diag_sink){0}, &l), SK_OK);
    assert_int_equal(rule_loader_rules(l, "a.rules", first, strlen(first)), 0);
    assert_int_equal(rule_loader_rules(l, "b.rules", second, strlen(second)), 1);
    assert_int_equal(rule_loader_finish(l, &set), SK_OK);
    assert_int_equal(set->n, 3);
    assert_string_equal(set->rules[0]->file, "a.rules");
    rule_set_free(set);
}

static void flowbits_have_one_number_each(void **state)
{
    (void)state;
    struct loaded l = load(R("flowbits:set,a; flowbits:noalert; sid:1;") R("flowbits:isset,b|a; sid:2;")
                               R("flowbits:unset,a; sid:3;"));
    const struct rule *const *r = l.set->rules;
    assert_int_equal(l.set->n, 3);
    assert_int_equal(l.set->nbits, 2);
    assert_true(r[0]->noalert);
    uint16_t a = r[0]->pkt[0].flowbits.bits[0];
    assert_string_equal(l.set->bit_names[a], "a");
    assert_int_equal(r[1]->pkt[0].flowbits.op, FB_ISSET);
    assert_int_equal(r[1]->pkt[0].flowbits.nbits, 2);
    assert_int_equal(r[1]->pkt[0].flowbits.bits[1], a);
    assert_int_equal(r[2]->pkt[0].flowbits.bits[0], a);
    assert_string_equal(l.said, "0:0: N: flowbit 'b' is checked and never set\n");
    unload(&l);
}

static void classification(void **state)
{
    (void)state;
    struct loaded l = load_all(R("sid:1; classtype:mine;") R("sid:2; classtype:bad-unknown;"), NULL,
                               "# comment\n\nconfig classification: mine,My own class,4\nconfig classification: bad\n");
    assert_int_equal(l.set->n, 2);
    assert_int_equal(l.set->rules[0]->priority, 4);
    assert_string_equal(l.set->rules[0]->class_text, "My own class");
    assert_int_equal(l.set->rules[1]->priority, 3);
    assert_string_equal(l.said, "4:1: E: classification needs a name, a text and a priority from 1 to 255\n"
                                "2:48: W: classtype 'bad-unknown' is not defined; priority 3\n");
    unload(&l);
}

static void thresholds(void **state)
{
    (void)state;
    struct loaded l =
        load_all(R("sid:1;") R("sid:2; threshold:type limit, track by_src, count 1, seconds 5;"),
                 "# comment\n"
                 "threshold gen_id 1, sig_id 1, type limit, track by_rule, count 3, \\\n  seconds 1000\n"
                 "threshold gen_id 1, sig_id 0, type both, track by_dst, count 9, seconds 9\n"
                 "suppress gen_id 1, sig_id 2\n"
                 "suppress gen_id 1, sig_id 2, track by_either, ip [10.0.0.0/8,!10.9.0.0/16]\n"
                 "rate_filter gen_id 1, sig_id 1, track by_src, count 1, seconds 1, new_action drop, timeout 5\n"
                 "suppress gen_id 1, sig_id 99\n"
                 "suppress gen_id 1, sig_id 1, track by_src\n"
                 "threshold gen_id 1, sig_id 1, type limit\n"
                 "frob\n",
                 NULL);
    const struct rule *const *r = l.set->rules;
    assert_int_equal(r[0]->threshold.type, RULE_TH_LIMIT);
    assert_int_equal(r[0]->threshold.track, RULE_BY_RULE);
    assert_int_equal(r[0]->threshold.seconds, 1000);
    assert_int_equal(r[1]->threshold.count, 1); /* its own stands against the line for all */
    assert_int_equal(r[1]->nsuppress, 2);
    assert_null(r[1]->suppress[0].ip);
    assert_int_equal(r[1]->suppress[1].track, RULE_BY_BOTH);
    struct sk_addr in, out;
    assert_int_equal(sk_addr_parse("10.1.1.1", 8, &in) | sk_addr_parse("10.9.1.1", 8, &out), SK_OK);
    assert_true(rule_addr_match(r[1]->suppress[1].ip, &in));
    assert_false(rule_addr_match(r[1]->suppress[1].ip, &out));
    assert_string_equal(l.said,
                        "7:1: U: rate_filter is not supported: Sekisho's own thresholds and block durations do this\n"
                        "8:10: W: no loaded rule has gen_id 1, sig_id 99\n"
                        "9:10: E: suppress: track needs ', ip ADDRESS|LIST'\n"
                        "10:11: E: threshold: needs type, track, count and seconds\n"
                        "11:1: E: expected threshold, suppress or rate_filter\n");
    unload(&l);
}

static void later_line_for_all_keeps_the_first(void **state)
{
    (void)state;
    struct loaded l =
        load_all(R("sid:1;"), "threshold gen_id 0, sig_id 0, type both, track by_dst, count 9, seconds 9", NULL);
    assert_int_equal(l.set->rules[0]->threshold.count, 9);
    assert_string_equal(l.said, "");
    unload(&l);
}

static void keywords_are_sorted_and_findable(void **state)
{
    (void)state;
    struct rule_keyword_info k, before = {0};
    unsigned n = 0, supported = 0;
    for (; rule_keyword_list(n, &k); n++) {
        if (before.name && strcmp(before.name, k.name) >= 0)
            fail_msg("%s stands before %s", before.name, k.name);
        before = k;
        supported += k.supported;
        char rule[256];
        snprintf(rule, sizeof rule, "alert tcp any any -> any any (%s:\"(\"; sid:1;)", k.name);
        struct loaded l = load(rule);
        if (strstr(l.said, "unknown keyword"))
            fail_msg("%s is not found", k.name);
        if (!k.supported)
            assert_non_null(strstr(l.said, "is not supported yet"));
        unload(&l);
    }
    assert_true(supported > 100 && supported < n);
}

/* The set's flowbits are bounded; a rule past that is refused, and the rest goes on. */
static void too_many_flowbits(void **state)
{
    (void)state;
    size_t cap = 1 << 20, n = 0;
    char *text = malloc(cap);
    assert_non_null(text);
    for (unsigned rule = 0; rule < 1001; rule++) {
        n += (size_t)snprintf(text + n, cap - n, "alert ip any any -> any any (sid:%u; flowbits:isset,b%u", rule + 1,
                              rule);
        for (unsigned i = 1; i < 60 && rule < 1000; i++)
            n += (size_t)snprintf(text + n, cap - n, "|b%u.%u", rule, i);
        n += (size_t)snprintf(text + n, cap - n, "; flowbits:set,b0;)\n");
    }
    struct loaded l = load(text);
    assert_int_equal(l.set->n, 1000);
    assert_int_equal(l.set->nbits, 60000);
    assert_int_equal(l.rejected, 1);
    assert_non_null(strstr(l.said, "E: more than 60000 flowbits in one set"));
    unload(&l);
    free(text);
}

static void count_finding(void *arg, const struct sk_diag *d)
{
    (void)d;
    ++*(unsigned *)arg;
}

/* Address lists of no rule: what is wrong with one is not said, and changes nothing. */
static void lists_beside_the_rules(void **state)
{
    (void)state;
    static const struct rule_var vars[] = {{"GOOD", "[10.0.0.0/8,!10.1.0.0/16]"}, {"BAD", "[10.0.0.0/8,10.0.0.0/33]"}};
    const struct rule_conf conf = {.addr_vars = vars, .naddr = 2};
    unsigned said = 0;
    const struct sk_diag_sink sink = {count_finding, &said};
    struct rule_loader *l = NULL;
    const struct rule_addr_spec *s = NULL;
    const struct rule_set *set = NULL;
    assert_int_equal(rule_loader_create(&conf, &sink, &l), SK_OK);
    static const char *const bad[] = {"$BAD", "$MISSING", "[10.0.0.0/33]", "", "[", "nonsense"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(rule_loader_addrs(l, bad[i], &s), SK_EINVAL);
    assert_int_equal(rule_loader_addrs(l, "$GOOD", &s), SK_OK);
    assert_int_equal(said, 0);
    assert_int_equal(rule_loader_finish(l, &set), SK_OK);
    struct sk_addr in, out;
    assert_int_equal(sk_addr_parse("10.2.0.1", 8, &in), SK_OK);
    assert_int_equal(sk_addr_parse("10.1.0.1", 8, &out), SK_OK);
    assert_true(rule_addr_match(s, &in));
    assert_false(rule_addr_match(s, &out));
    rule_set_free(set);
}

static void empty_files(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n\n", "# only this", "\xef\xbb\xbf", "   \r\n\t\r\n"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct loaded l = load(texts[i]);
        assert_int_equal(l.set->n, 0);
        assert_string_equal(l.said, "");
        unload(&l);
    }
    struct loaded l = load("\\\n\\");
    assert_int_equal(l.rejected, 1);
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duplicate_sid),
        cmocka_unit_test(the_same_rule_from_two_files),
        cmocka_unit_test(flowbits_have_one_number_each),
        cmocka_unit_test(classification),
        cmocka_unit_test(thresholds),
        cmocka_unit_test(later_line_for_all_keeps_the_first),
        cmocka_unit_test(keywords_are_sorted_and_findable),
        cmocka_unit_test(lists_beside_the_rules),
        cmocka_unit_test(empty_files),
        cmocka_unit_test(too_many_flowbits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
