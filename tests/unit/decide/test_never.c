#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "decide/never.h"

static struct sk_prefix pfx(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static const struct never_entry *check(const struct never_list *l, const char *s)
{
    struct sk_prefix p = pfx(s);
    return never_check(l, &p);
}

static void test_built_in_addresses_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *addr;
        enum never_kind kind;
    } cases[] = {
        {"169.254.169.254", NEVER_METADATA},
        {"fd00:ec2::254", NEVER_METADATA},
        {"169.254.169.253", NEVER_RESOLVER},
        {"169.254.169.123", NEVER_METADATA},
        {"127.0.0.1", NEVER_LOOPBACK},
        {"127.255.0.9", NEVER_LOOPBACK},
        {"::1", NEVER_LOOPBACK},
        {"0.0.0.0", NEVER_UNSPECIFIED},
        {"::", NEVER_UNSPECIFIED},
        {"224.0.0.5", NEVER_MULTICAST},
        {"239.255.255.255", NEVER_MULTICAST},
        {"ff02::1", NEVER_MULTICAST},
        {"169.254.7.7", NEVER_LINK_LOCAL},
        {"fe80::1", NEVER_LINK_LOCAL},
        {"255.255.255.255", NEVER_BROADCAST},
    };
    struct never_list *l = never_create();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct never_entry *e = check(l, cases[i].addr);
        assert_non_null(e);
        assert_int_equal(e->kind, cases[i].kind);
        assert_true(e->text[0] != '\0');
    }
    assert_null(check(l, "192.0.2.1"));
    assert_null(check(l, "2001:db8::1"));
    never_free(l);
}

static void test_any_overlap_refuses(void **state)
{
    (void)state;
    struct never_list *l = never_create();
    struct sk_prefix gw = pfx("192.0.2.1"), net = pfx("198.51.100.0/24");
    never_begin(l);
    assert_int_equal(never_add(l, NEVER_GATEWAY, &gw, "default route via eth0"), SK_OK);
    assert_int_equal(never_add(l, NEVER_LOCAL_NET, &net, "eth1"), SK_OK);
    assert_true(never_commit(l));
    assert_string_equal(check(l, "192.0.2.1")->text, "default route via eth0");
    assert_int_equal(check(l, "192.0.2.0/24")->kind, NEVER_GATEWAY);   /* the request is wider */
    assert_int_equal(check(l, "198.51.100.9")->kind, NEVER_LOCAL_NET); /* the entry is wider */
    assert_null(check(l, "192.0.2.2"));
    assert_null(check(l, "192.0.2.128/25"));
    never_free(l);
}

static void test_refresh_replaces_the_discovered_and_keeps_the_configured(void **state)
{
    (void)state;
    struct never_list *l = never_create();
    struct sk_prefix a = pfx("192.0.2.1"), b = pfx("192.0.2.2"), c = pfx("192.0.2.3");
    assert_int_equal(never_add_static(l, NEVER_STATIC, &a, "never-block"), SK_OK);
    never_begin(l);
    assert_int_equal(never_add(l, NEVER_OWN, &b, "eth0"), SK_OK);
    assert_null(check(l, "192.0.2.2")); /* not yet */
    assert_true(never_commit(l));
    assert_non_null(check(l, "192.0.2.2"));
    never_begin(l);
    assert_int_equal(never_add(l, NEVER_OWN, &b, "eth0"), SK_OK);
    assert_int_equal(never_add(l, NEVER_OWN, &b, "eth0 again"), SK_OK);
    assert_false(never_commit(l));
    never_begin(l);
    assert_int_equal(never_add(l, NEVER_OWN, &c, "eth0"), SK_OK);
    never_abort(l);
    assert_non_null(check(l, "192.0.2.2"));
    assert_null(check(l, "192.0.2.3"));
    never_begin(l);
    assert_true(never_commit(l));
    assert_null(check(l, "192.0.2.2"));
    assert_int_equal(check(l, "192.0.2.1")->kind, NEVER_STATIC);
    never_free(l);
}

static void test_a_list_that_nobody_could_fill_blocks_nobody(void **state)
{
    (void)state;
    struct never_list *l = never_create();
    struct sk_prefix own = pfx("192.0.2.1");
    assert_null(check(l, "198.51.100.1")); /* replay discovers nothing, and blocks */
    never_begin(l);
    never_abort(l);
    assert_int_equal(check(l, "198.51.100.1")->kind, NEVER_UNKNOWN);
    assert_int_equal(check(l, "2001:db8::1")->kind, NEVER_UNKNOWN);
    assert_false(never_complete(l));
    never_begin(l);
    assert_int_equal(never_add(l, NEVER_OWN, &own, "eth0"), SK_OK);
    assert_true(never_commit(l));
    assert_null(check(l, "198.51.100.1"));
    assert_true(never_complete(l));
    never_begin(l);
    never_abort(l); /* what was found before is enough to go on */
    assert_null(check(l, "198.51.100.1"));
    assert_int_equal(check(l, "192.0.2.1")->kind, NEVER_OWN);
    never_free(l);
}

static void test_a_list_that_does_not_fit_blocks_nobody(void **state)
{
    (void)state;
    struct never_list *l = never_create();
    int rc = SK_OK;
    never_begin(l);
    for (uint32_t i = 0; rc == SK_OK; i++) {
        assert_true(i <= NEVER_MAX);
        uint8_t b[4] = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        struct sk_addr a = sk_addr_from_v4(b);
        struct sk_prefix p = sk_prefix_make(&a, 128);
        rc = never_add(l, NEVER_OWN, &p, "eth0");
    }
    assert_int_equal(rc, SK_EFULL);
    assert_true(never_commit(l));
    assert_int_equal(never_count(l), NEVER_MAX);
    assert_int_equal(check(l, "203.0.113.1")->kind, NEVER_OVERFLOW);
    assert_int_equal(check(l, "2001:db8::/64")->kind, NEVER_OVERFLOW);
    never_begin(l);
    assert_true(never_commit(l));
    assert_null(check(l, "203.0.113.1"));
    never_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in_addresses_are_refused_by_name),
        cmocka_unit_test(test_any_overlap_refuses),
        cmocka_unit_test(test_refresh_replaces_the_discovered_and_keeps_the_configured),
        cmocka_unit_test(test_a_list_that_nobody_could_fill_blocks_nobody),
        cmocka_unit_test(test_a_list_that_does_not_fit_blocks_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
