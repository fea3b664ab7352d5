/* Addresses and prefixes: text both ways, and how prefixes lie to each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/addr.h"

static struct sk_addr addr(const char *s)
{
    struct sk_addr a;
    assert_int_equal(sk_addr_parse(s, strlen(s), &a), SK_OK);
    return a;
}

static struct sk_prefix prefix(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static void assert_text(const char *in, const char *want)
{
    char buf[SK_ADDR_STRLEN];
    struct sk_addr a = addr(in);
    assert_string_equal(sk_addr_format(&a, buf), want);
}

static void ipv4_is_mapped_and_comes_back_as_dotted_quad(void **state)
{
    (void)state;
    const uint8_t be[4] = {192, 0, 2, 7};
    struct sk_addr a = sk_addr_from_v4(be), b = addr("192.0.2.7"), c = addr("::ffff:192.0.2.7");
    assert_true(sk_addr_eq(&a, &b));
    assert_true(sk_addr_eq(&a, &c));
    assert_true(sk_addr_is_v4(&c));
    assert_text("::ffff:c000:207", "192.0.2.7");
    assert_text("255.255.255.255", "255.255.255.255");
}

/* RFC 5952 section 4, and the boundaries of the run of zeros. */
static void ipv6_is_written_as_rfc5952_says(void **state)
{
    (void)state;
    assert_text("2001:0DB8:0:0:0:0:0:1", "2001:db8::1");
    assert_text("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"); /* one zero group stays */
    assert_text("2001:0:0:1:0:0:0:1", "2001:0:0:1::1");          /* the longest run */
    assert_text("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1");    /* the first of equals */
    assert_text("::", "::");
    assert_text("::1", "::1");
    assert_text("1::", "1::");
    assert_text("1:0:0:2:3:4:0:0", "1::2:3:4:0:0");
    assert_text("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::");
    assert_text("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

static void malformed_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "1.2.3",
                                      "1.2.3.4.5",
                                      "256.1.1.1",
                                      "01.2.3.4",
                                      "1.2.3.4 ",
                                      " 1.2.3.4",
                                      "::1%eth0",
                                      "[::1]",
                                      "1.2.3.4:80",
                                      "12345::",
                                      ":::",
                                      "1:2:3:4:5:6:7:8:9",
                                      "a.b.c.d",
                                      "-1.2.3.4",
                                      "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"};
    struct sk_addr a;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(sk_addr_parse(bad[i], strlen(bad[i]), &a), SK_EINVAL);
    /* Only len bytes count, and a NUL does not hide what follows it. */
    assert_int_equal(sk_addr_parse("1.2.3.4junk", 7, &a), SK_OK);
    assert_int_equal(sk_addr_parse("1.2.3.4\0junk", 12, &a), SK_EINVAL);
}

static void prefix_lengths_count_in_the_family_of_the_text(void **state)
{
    (void)state;
    char buf[SK_PREFIX_STRLEN];
    struct sk_prefix p = prefix("10.1.2.0/24");
    assert_int_equal(p.len, 120);
    assert_int_equal(sk_prefix_family_len(&p), 24);
    assert_string_equal(sk_prefix_format(&p, buf), "10.1.2.0/24");
    p = prefix("0.0.0.0/0");
    assert_int_equal(p.len, 96);
    assert_string_equal(sk_prefix_format(&p, buf), "0.0.0.0/0");
    p = prefix("2001:db8::/32");
    assert_int_equal(p.len, 32);
    assert_string_equal(sk_prefix_format(&p, buf), "2001:db8::/32");
    p = prefix("::/0");
    assert_string_equal(sk_prefix_format(&p, buf), "::/0");
    p = prefix("192.0.2.1/32");
    assert_string_equal(sk_prefix_format(&p, buf), "192.0.2.1");
    p = prefix("2001:db8::1");
    assert_string_equal(sk_prefix_format(&p, buf), "2001:db8::1");
}

static void malformed_prefixes_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "/",
                                      "/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/08",
                                      "10.0.0.0/8 ",
                                      "::/129",
                                      "10.0.0.0/8/8",
                                      "10.0.0.0/+8",
                                      "10.0.0.0/x",
                                      "::/1000",
                                      "10.0.0.0/0000000008"};
    struct sk_prefix p;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(sk_prefix_parse(bad[i], strlen(bad[i]), true, &p), SK_EINVAL);
}

static void host_bits_are_refused_or_cleared(void **state)
{
    (void)state;
    char buf[SK_PREFIX_STRLEN];
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse("10.1.2.3/12", 11, false, &p), SK_EINVAL);
    assert_int_equal(sk_prefix_parse("10.17.2.3/12", 12, true, &p), SK_OK);
    assert_string_equal(sk_prefix_format(&p, buf), "10.16.0.0/12");
}

static bool contains(const char *p, const char *a)
{
    struct sk_prefix pp = prefix(p);
    struct sk_addr aa = addr(a);
    return sk_prefix_contains(&pp, &aa);
}

static void containment_at_odd_lengths(void **state)
{
    (void)state;
    assert_true(contains("10.0.0.0/9", "10.127.255.255"));
    assert_false(contains("10.0.0.0/9", "10.128.0.0"));
    assert_true(contains("192.0.2.7/32", "192.0.2.7"));
    assert_false(contains("192.0.2.7/32", "192.0.2.6"));
    assert_true(contains("0.0.0.0/0", "255.1.2.3"));
    assert_false(contains("0.0.0.0/0", "2001:db8::1"));
    assert_true(contains("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(contains("2001:db8::/33", "2001:db8:8000::"));
}

static void covers_and_overlaps(void **state)
{
    (void)state;
    struct sk_prefix wide = prefix("10.0.0.0/8"), narrow = prefix("10.2.0.0/16"), other = prefix("11.0.0.0/8");
    assert_true(sk_prefix_covers(&wide, &narrow));
    assert_true(sk_prefix_covers(&wide, &wide));
    assert_false(sk_prefix_covers(&narrow, &wide));
    assert_true(sk_prefix_overlaps(&narrow, &wide));
    assert_false(sk_prefix_overlaps(&narrow, &other));
}

static void range_has_first_and_last(void **state)
{
    (void)state;
    char buf[SK_ADDR_STRLEN];
    struct sk_prefix p = prefix("172.16.0.0/12");
    struct sk_addr first, last;
    sk_prefix_range(&p, &first, &last);
    assert_string_equal(sk_addr_format(&first, buf), "172.16.0.0");
    assert_string_equal(sk_addr_format(&last, buf), "172.31.255.255");
    assert_true(sk_addr_cmp(&first, &last) < 0);
    p = prefix("2001:db8::/125");
    sk_prefix_range(&p, &first, &last);
    assert_string_equal(sk_addr_format(&last, buf), "2001:db8::7");
}

static void special_addresses_cannot_attack(void **state)
{
    (void)state;
    static const char *const special[] = {"127.0.0.1",       "127.255.0.9", "0.0.0.0", "224.0.0.1", "239.255.255.250",
                                          "255.255.255.255", "::",          "::1",     "ff02::1"};
    static const char *const plain[] = {"10.0.0.1", "1.1.1.1", "223.255.255.255", "240.0.0.1",
                                        "::2",      "fe80::1", "2001:db8::1"};
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
        struct sk_addr a = addr(special[i]);
        assert_true(sk_addr_is_special(&a));
    }
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        struct sk_addr a = addr(plain[i]);
        assert_false(sk_addr_is_special(&a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_is_mapped_and_comes_back_as_dotted_quad),
        cmocka_unit_test(ipv6_is_written_as_rfc5952_says),
        cmocka_unit_test(malformed_addresses_are_refused),
        cmocka_unit_test(prefix_lengths_count_in_the_family_of_the_text),
        cmocka_unit_test(malformed_prefixes_are_refused),
        cmocka_unit_test(host_bits_are_refused_or_cleared),
        cmocka_unit_test(containment_at_odd_lengths),
        cmocka_unit_test(covers_and_overlaps),
        cmocka_unit_test(range_has_first_and_last),
        cmocka_unit_test(special_addresses_cannot_attack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
