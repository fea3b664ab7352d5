/* Where TLS application data begins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proto/tls.h"

static const uint8_t hello[] = {22, 3, 1, 0, 4, 1, 0, 0, 0}, ccs[] = {20, 3, 3, 0, 1, 1};
static const uint8_t app[] = {23, 3, 3, 0, 3, 9, 9, 9};

static void handshake_then_data(void **state)
{
    (void)state;
    uint8_t all[sizeof hello + sizeof ccs + sizeof app];
    memcpy(all, hello, sizeof hello);
    memcpy(all + sizeof hello, ccs, sizeof ccs);
    memcpy(all + sizeof hello + sizeof ccs, app, sizeof app);
    for (uint32_t cut = 0; cut <= sizeof all; cut++) {
        struct tls_track t = {0};
        bool first = tls_track_input(&t, sk_span_of(all, cut));
        assert_int_equal(first, cut >= sizeof hello + sizeof ccs + 5);
        assert_true(tls_track_input(&t, sk_span_of(all + cut, (uint32_t)sizeof all - cut)) || first);
        assert_true(t.application);
        assert_false(t.lost);
    }
}

static void not_records(void **state)
{
    (void)state;
    struct tls_track t = {0};
    assert_true(tls_track_input(&t, sk_span_str("GET / HTTP/1.1\r\n")));
    assert_true(t.lost);
    struct tls_track big = {0};
    static const uint8_t too_long[] = {22, 3, 3, 0xff, 0xff};
    assert_true(tls_track_input(&big, sk_span_of(too_long, sizeof too_long)));
    assert_true(big.lost);
}

static void gaps(void **state)
{
    (void)state;
    struct tls_track t = {0};
    assert_false(tls_track_input(&t, sk_span_of(hello, 6)));
    tls_track_gap(&t, 3); /* the rest of the record */
    assert_false(t.lost);
    assert_true(tls_track_input(&t, sk_span_of(app, sizeof app)));
    assert_true(t.application);
    struct tls_track u = {0};
    assert_false(tls_track_input(&u, sk_span_of(hello, 6)));
    tls_track_gap(&u, 4);
    assert_true(u.lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake_then_data),
        cmocka_unit_test(not_records),
        cmocka_unit_test(gaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
