/* IP fragments: what Linux puts together, and what it throws away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flow/defrag.h"

#define SECOND INT64_C(1000000000)

struct fix {
    struct defrag *d;
    struct sk_counters c;
    uint8_t ip[70000];
    struct sk_packet p;
    struct sk_span out;
    bool v6;
    int64_t now;
    uint32_t id;
    uint8_t tos;
    uint8_t proto;      /* 0: UDP */
    uint32_t and_flags; /* further enum pkt_flag */
};

static void start_with(struct fix *f, uint32_t memcap, uint32_t max_pending)
{
    memset(f, 0, sizeof *f);
    f->id = 7;
    struct defrag_conf conf = {
        .memcap = memcap, .max_pending = max_pending, .timeout = 60 * SECOND, .timeout4 = 30 * SECOND};
    assert_int_equal(defrag_create(&conf, &f->c, &f->d), SK_OK);
}

static int setup(void **state)
{
    struct fix *f = malloc(sizeof *f);
    assert_non_null(f);
    start_with(f, 1 << 20, 64);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    defrag_free(f->d);
    free(f);
    return 0;
}

static uint8_t byte_at(uint32_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

/* A fragment [from, from+len) of the datagram, its bytes xor `change`; true: a datagram is whole. */
static bool frag_as(struct fix *f, uint32_t from, uint32_t len, bool more, uint8_t change)
{
    uint32_t hl = f->v6 ? 48 : 20;
    memset(f->ip, 0, hl);
    f->ip[0] = f->v6 ? 0x60 : 0x45;
    if (f->v6)
        f->ip[40] = 17;
    f->ip[f->v6 ? 6 : 9] = f->v6 ? 44 : 17;
    for (uint32_t i = 0; i < len; i++)
        f->ip[hl + i] = byte_at(from + i) ^ change;
    f->p = (struct sk_packet){.flags = f->and_flags | PKT_FRAGMENT | (f->v6 ? PKT_IPV6 : PKT_IPV4),
                              .ts = f->now,
                              .ip = sk_span_of(f->ip, hl + len),
                              .ip_hdr_len = (uint16_t)hl,
                              .proto = f->proto ? f->proto : 17,
                              .tos = f->tos,
                              .ip_id = f->id,
                              .frag_offset = (uint16_t)from,
                              .frag_more = more};
    f->p.src = sk_addr_from_v4("\x0a\x00\x00\x01");
    f->p.dst = sk_addr_from_v4("\x0a\x00\x00\x02");
    return defrag_packet(f->d, &f->p, &f->out);
}

static bool frag(struct fix *f, uint32_t from, uint32_t len, bool more)
{
    return frag_as(f, from, len, more, 0);
}

static void assert_whole(const struct fix *f, uint32_t total)
{
    uint32_t hl = f->v6 ? 40 : 20;
    assert_int_equal(f->out.len, hl + total);
    for (uint32_t i = 0; i < total; i++)
        if (f->out.p[hl + i] != byte_at(i))
            fail_msg("byte %u is %#x", i, f->out.p[hl + i]);
    if (f->v6) {
        assert_int_equal(f->out.p[4] << 8 | f->out.p[5], total);
        assert_int_equal(f->out.p[6], 17);
        return;
    }
    uint32_t sum = 0;
    for (unsigned i = 0; i < 20; i += 2)
        sum += (uint32_t)f->out.p[i] << 8 | f->out.p[i + 1];
    assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);
    assert_int_equal(f->out.p[2] << 8 | f->out.p[3], 20 + total);
    assert_int_equal(f->out.p[6] << 8 | f->out.p[7], 0);
}

static void test_in_order(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 0, 1480, true));
    assert_false(frag(f, 1480, 1480, true));
    assert_true(frag(f, 2960, 33, false));
    assert_whole(f, 2993);
    assert_int_equal(f->c.v[SK_C_DEFRAG_DONE], 1);
    assert_int_equal(f->c.v[SK_C_DEFRAG_FRAGS], 3);
}

/* As fine as it gets, backwards. */
static void test_reverse(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 2992, 5, false));
    for (uint32_t at = 2984; at > 0; at -= 8)
        assert_false(frag(f, at, 8, true));
    assert_true(frag(f, 0, 8, true));
    assert_whole(f, 2997);
}

static void shuffle(uint32_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = (uint32_t)rand() % n, x = order[i];
        order[i] = order[k];
        order[k] = x;
    }
}

static void test_random_orders(void **state)
{
    struct fix *f = *state;
    srand(1);
    for (unsigned round = 0; round < 200; round++) {
        f->id = round;
        f->v6 = round % 2;
        uint32_t order[64], n = 2 + (uint32_t)rand() % 62, step = 8 * (1 + (uint32_t)rand() % 100);
        shuffle(order, n);
        bool whole = false;
        for (uint32_t i = 0; i < n; i++) {
            bool last = order[i] == n - 1;
            uint32_t at = order[i] * step, len = last ? 3 : step;
            assert_false(whole);
            whole = frag(f, at, len, !last);
            if (!whole && rand() % 4 == 0) /* again, with other bytes: ignored */
                assert_false(frag_as(f, at, len, !last, 0x55));
        }
        assert_true(whole);
        assert_whole(f, (n - 1) * step + 3);
    }
    assert_int_equal(f->c.v[SK_C_DEFRAG_OVERLAP], 0);
}

/* Within what is there: ignored, whatever it says. */
static void test_duplicate(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 0, 64, true));
    assert_false(frag_as(f, 0, 64, true, 0xff));
    assert_false(frag_as(f, 16, 8, true, 0xff));
    assert_true(frag(f, 64, 8, false));
    assert_whole(f, 72);
}

/* Any other overlap ends the datagram; and what follows with the same id begins a new one. */
static void test_overlap(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 0, 64, true));
    assert_false(frag_as(f, 56, 16, true, 0xff));
    assert_int_equal(f->c.v[SK_C_DEFRAG_OVERLAP], 1);
    assert_false(frag(f, 72, 8, false));
    assert_false(frag(f, 0, 64, true));
    assert_true(frag(f, 64, 8, true));
    assert_whole(f, 80);
}

/* Two runs that touch are two: a fragment over both is an overlap, not a duplicate (inet_frag_queue_insert). */
static void test_overlap_of_runs(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 8, 8, true));
    assert_false(frag(f, 0, 8, true));
    assert_false(frag_as(f, 0, 16, true, 0xff));
    assert_int_equal(f->c.v[SK_C_DEFRAG_OVERLAP], 1);
}

/* Teardrop: the second fragment lies within the first, and ends the datagram before its end. */
static void test_teardrop(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 0, 40, true));
    assert_false(frag(f, 24, 4, false));
    assert_int_equal(f->c.v[SK_C_DEFRAG_BAD], 1);
    assert_false(frag(f, 40, 8, false)); /* of a new one */
    assert_true(frag(f, 0, 40, true));
    assert_whole(f, 48);
}

static void most_of_it(struct fix *f, uint32_t to)
{
    for (uint32_t at = 0; at < to; at += 1024)
        assert_false(frag(f, at, to - at < 1024 ? to - at : 1024, true));
}

static void test_ping_of_death(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 65528, 1000, false));
    assert_int_equal(f->c.v[SK_C_DEFRAG_BAD], 1);
    most_of_it(f, 65528);
    f->id++;
    most_of_it(f, 64512);
    assert_true(frag(f, 64512, 65515 - 64512, false)); /* the longest that there is */
    assert_whole(f, 65515);
    f->id++;
    most_of_it(f, 64512);
    assert_false(frag(f, 64512, 65516 - 64512, false)); /* with its header over 65535 */
    assert_int_equal(f->c.v[SK_C_DEFRAG_BAD], 2);
}

static void test_bad_ends(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 64, 8, false));
    assert_false(frag(f, 72, 8, true)); /* beyond the end */
    assert_int_equal(f->c.v[SK_C_DEFRAG_BAD], 1);
    assert_false(frag(f, 64, 8, false));
    assert_false(frag(f, 72, 8, false)); /* another end */
    assert_int_equal(f->c.v[SK_C_DEFRAG_BAD], 2);
    assert_false(frag(f, 8, 0, true)); /* empty */
    assert_int_equal(f->c.v[SK_C_DEFRAG_BAD], 3);
}

/* IPv4: what is not a multiple of eight is cut. IPv6: dropped, and the datagram waits on. */
static void test_odd_length(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 0, 13, true));
    assert_true(frag(f, 8, 8, false));
    assert_whole(f, 16);
    f->v6 = true;
    assert_false(frag_as(f, 0, 13, true, 0xff));
    assert_false(frag(f, 8, 8, false));
    assert_true(frag(f, 0, 8, true));
    assert_whole(f, 16);
}

static void test_ipv6(void **state)
{
    struct fix *f = *state;
    f->v6 = true;
    assert_false(frag(f, 1448, 100, false));
    assert_true(frag(f, 0, 1448, true));
    assert_whole(f, 1548);
    assert_false(frag(f, 0, 64, true));
    assert_false(frag(f, 56, 64, true)); /* RFC 5722 */
    assert_int_equal(f->c.v[SK_C_DEFRAG_OVERLAP], 1);
}

/* The host drops a first fragment without the whole transport header; its datagram may yet come. */
static void test_ipv6_tiny_first(void **state)
{
    struct fix *f = *state;
    f->v6 = true;
    f->proto = 6;
    assert_false(frag_as(f, 0, 16, true, 0xff));
    assert_int_equal(f->c.v[SK_C_DEFRAG_BAD], 1);
    f->proto = 0;
    assert_false(frag(f, 0, 16, true));
    assert_true(frag(f, 16, 5, false));
    assert_whole(f, 21);
}

/* What the host never took, or capture has cut, must not stand in the way of the real ones. */
static void test_unusable_is_ignored(void **state)
{
    struct fix *f = *state;
    static const uint32_t flags[] = {PKT_BAD_CSUM, PKT_TRUNCATED};
    for (unsigned i = 0; i < 2; i++) {
        f->and_flags = flags[i];
        assert_false(frag_as(f, 0, 64, true, 0xff));
        f->and_flags = 0;
        assert_false(frag(f, 0, 64, true));
        assert_true(frag(f, 64, 5, false));
        assert_whole(f, 69);
    }
    assert_int_equal(f->c.v[SK_C_DEFRAG_BAD], 2);
}

static void test_timeout(void **state)
{
    struct fix *f = *state;
    assert_false(frag_as(f, 0, 8, true, 0xff));
    f->now = 31 * SECOND; /* the host has forgotten it: these bytes count */
    assert_false(frag(f, 0, 8, true));
    assert_int_equal(f->c.v[SK_C_DEFRAG_TIMEOUT], 1);
    f->now = 60 * SECOND;
    assert_true(frag(f, 8, 8, false));
    assert_whole(f, 16);
    f->v6 = true;
    assert_false(frag(f, 0, 8, true));
    f->now = 119 * SECOND;
    assert_true(frag(f, 8, 8, false));
}

static void test_ecn(void **state)
{
    struct fix *f = *state;
    f->tos = 2;
    assert_false(frag(f, 0, 8, true));
    f->tos = 3;
    assert_true(frag(f, 8, 8, false));
    f->tos = 0;
    assert_false(frag(f, 0, 8, true));
    f->tos = 3;
    assert_false(frag(f, 8, 8, false));
    assert_int_equal(f->c.v[SK_C_DEFRAG_BAD], 1);
}

static void test_kept_apart(void **state)
{
    struct fix *f = *state;
    assert_false(frag(f, 0, 8, true));
    f->id++;
    assert_false(frag(f, 8, 8, false));
    f->id--;
    assert_true(frag(f, 8, 8, false));
}

/* Full: the oldest goes. */
static void test_max_pending(void **state)
{
    struct fix *f = *state;
    for (f->id = 0; f->id < 65; f->id++)
        assert_false(frag(f, 0, 8, true));
    assert_int_equal(f->c.v[SK_C_DEFRAG_FULL], 1);
    f->id = 64;
    assert_true(frag(f, 8, 8, false));
    f->id = 1;
    assert_true(frag(f, 8, 8, false));
    f->id = 0;
    assert_false(frag(f, 8, 8, false));
}

static void test_memcap(void **state)
{
    struct fix *f = *state;
    defrag_free(f->d);
    start_with(f, 64 << 10, 1000);
    for (f->id = 0; f->id < 100; f->id++)
        assert_false(frag(f, 0, 8, true));
    assert_true(f->c.v[SK_C_DEFRAG_FULL] >= 60);
    f->id = 99;
    assert_true(frag(f, 8, 8, false));
    f->id = 0;
    assert_false(frag(f, 8, 8, false));
    defrag_free(f->d);
    start_with(f, 8 << 10, 10); /* one datagram alone is too much */
    for (uint32_t at = 0; at < 30000; at += 1000)
        assert_false(frag(f, at, 1000, true));
    assert_true(f->c.v[SK_C_DEFRAG_FULL] >= 1);
}

int main(void)
{
#define T(x) cmocka_unit_test_setup_teardown(x, setup, teardown)
    const struct CMUnitTest tests[] = {T(test_in_order),
                                       T(test_reverse),
                                       T(test_random_orders),
                                       T(test_duplicate),
                                       T(test_overlap),
                                       T(test_overlap_of_runs),
                                       T(test_teardrop),
                                       T(test_ping_of_death),
                                       T(test_bad_ends),
                                       T(test_odd_length),
                                       T(test_ipv6),
                                       T(test_ipv6_tiny_first),
                                       T(test_unusable_is_ignored),
                                       T(test_timeout),
                                       T(test_ecn),
                                       T(test_kept_apart),
                                       T(test_max_pending),
                                       T(test_memcap)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
