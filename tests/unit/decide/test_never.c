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
    assert_int_equal(never_add(l, NEVER_OWN, &b, "eth0 again"), SK_OK); /* a kind holds a prefix once */
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

static struct never_entry entry(enum never_kind kind, const char *s, const char *text)
{
    struct never_entry e;
    struct sk_prefix p = pfx(s);
    never_entry_set(&e, kind, &p, text);
    return e;
}

static void test_a_new_configuration_replaces_the_old_one(void **state)
{
    (void)state;
    struct never_list *l = never_create();
    struct sk_prefix gw = pfx("192.0.2.1");
    struct never_entry old[] = {entry(NEVER_STATIC, "198.51.100.1", "configuration"),
                                entry(NEVER_PROXY, "10.1.0.0/16", "proxies.http"),
                                entry(NEVER_PROXY, "10.1.0.0/16", "proxies.proxy-protocol")};
    bool changed = false;
    never_begin(l);
    assert_int_equal(never_add(l, NEVER_GATEWAY, &gw, "eth0"), SK_OK);
    assert_true(never_commit(l));
    size_t before = never_count(l);
    assert_int_equal(never_replace_static(l, old, 3, &changed), SK_OK);
    assert_true(changed);
    assert_int_equal(never_count(l), before + 2);
    assert_int_equal(never_replace_static(l, old, 3, &changed), SK_OK);
    assert_false(changed);
    assert_int_equal(never_replace_static(l, old, 1, &changed), SK_OK);
    assert_true(changed);
    assert_null(check(l, "10.1.2.3")); /* no proxy any more */
    assert_int_equal(check(l, "198.51.100.1")->kind, NEVER_STATIC);
    assert_int_equal(never_replace_static(l, NULL, 0, NULL), SK_OK);
    assert_null(check(l, "198.51.100.1"));
    assert_int_equal(check(l, "192.0.2.1")->kind, NEVER_GATEWAY); /* the other layers stay */
    assert_int_equal(check(l, "169.254.169.254")->kind, NEVER_METADATA);
    never_free(l);
}

static void test_a_configuration_that_does_not_fit_blocks_nobody_until_one_does(void **state)
{
    (void)state;
    struct never_list *l = never_create();
    static struct never_entry many[NEVER_MAX + 1];
    bool changed = false;
    for (uint32_t i = 0; i <= NEVER_MAX; i++) {
        uint8_t b[4] = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        struct sk_addr a = sk_addr_from_v4(b);
        struct sk_prefix p = sk_prefix_make(&a, 128);
        never_entry_set(&many[i], NEVER_STATIC, &p, "configuration");
    }
    assert_int_equal(never_replace_static(l, many, 1, NULL), SK_OK);
    assert_int_equal(never_replace_static(l, many, NEVER_MAX + 1, &changed), SK_EFULL);
    assert_true(changed);
    assert_false(never_complete(l));
    assert_int_equal(check(l, "203.0.113.1")->kind, NEVER_OVERFLOW);
    assert_int_equal(check(l, "10.0.0.0")->kind, NEVER_STATIC); /* the old one stays in force */
    never_begin(l);
    (void)never_commit(l); /* a discovery does not heal it */
    assert_false(never_complete(l));
    assert_int_equal(never_replace_static(l, many, 2, &changed), SK_OK);
    assert_true(changed && never_complete(l));
    assert_null(check(l, "203.0.113.1"));
    never_free(l);
}

static void test_the_most_telling_entry_is_named(void **state)
{
    (void)state;
    struct never_list *l = never_create();
    struct sk_prefix net = pfx("10.0.0.0/24"), host = pfx("10.0.0.9"), gw = pfx("10.0.0.1"), admin = pfx("10.0.0.7");
    struct never_entry conf[] = {
        entry(NEVER_STATIC, "10.0.0.0/8", "wide"), entry(NEVER_STATIC, "10.0.0.8/30", "narrow"),
        entry(NEVER_PROXY, "10.0.0.0/16", "proxies.http"), entry(NEVER_STATIC, "192.0.2.0/24", "office"),
        entry(NEVER_STATIC, "0.0.0.0/0", "all")};
    never_begin(l);
    assert_int_equal(never_add(l, NEVER_LOCAL_NET, &net, "network of eth0"), SK_OK);
    assert_int_equal(never_add(l, NEVER_GATEWAY, &gw, "next hop via eth0"), SK_OK);
    assert_int_equal(never_add(l, NEVER_OWN, &gw, "address of eth1"), SK_OK);
    assert_int_equal(never_add(l, NEVER_ADMIN, &admin, "SSH session"), SK_OK);
    assert_true(never_commit(l));
    assert_int_equal(check(l, "10.0.0.9")->kind, NEVER_LOCAL_NET);
    assert_int_equal(check(l, "10.0.0.7")->kind, NEVER_ADMIN); /* tells more than the network that it lies in */
    assert_int_equal(check(l, "10.0.0.1")->kind, NEVER_OWN);   /* and own address more than gateway */
    assert_int_equal(never_replace_static(l, conf, 2, NULL), SK_OK);
    assert_string_equal(check(l, "10.0.0.9")->text, "narrow");
    assert_string_equal(check(l, "10.0.0.99")->text, "wide");
    assert_int_equal(never_replace_static(l, conf, 5, NULL), SK_OK);
    assert_string_equal(check(l, "10.0.0.9")->text, "proxies.http"); /* the proxy, though its network is the wider */
    assert_int_equal(check(l, "10.0.0.1")->kind, NEVER_OWN);
    assert_int_equal(check(l, "10.0.0.0/24")->kind, NEVER_OWN);
    assert_string_equal(check(l, "192.0.2.5")->text, "office");
    assert_int_equal(check(l, "169.254.169.254")->kind, NEVER_METADATA);
    assert_string_equal(check(l, "127.0.0.1")->text, "all"); /* what a person wrote tells more than what is built in */
    assert_true(never_has(l, NEVER_PROXY, &host.addr) && never_has(l, NEVER_OWN, &gw.addr));
    assert_true(never_has(l, NEVER_GATEWAY, &gw.addr) && !never_has(l, NEVER_OWN, &host.addr));
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
        cmocka_unit_test(test_a_new_configuration_replaces_the_old_one),
        cmocka_unit_test(test_a_configuration_that_does_not_fit_blocks_nobody_until_one_does),
        cmocka_unit_test(test_the_most_telling_entry_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
