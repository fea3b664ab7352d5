#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "enforce/blocktable.h"

static struct sk_prefix pfx(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static struct block *add(struct block_table *t, const char *target, int64_t expires)
{
    struct decide_request r = {.target = pfx(target), .sid = 5, .msg = "m", .evidence = "ev", .evidence_len = 2};
    struct block *b = NULL;
    assert_int_equal(block_table_add(t, &r, NULL, BLOCK_RULE, 1, expires, &b), SK_OK);
    return b;
}

static void test_found_by_target_id_and_address(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(100);
    struct block *host = add(t, "192.0.2.1", 100), *net = add(t, "192.0.2.0/24", 50),
                 *wide = add(t, "192.0.0.0/16", 70);
    struct sk_prefix p = pfx("192.0.2.1"), q = pfx("192.0.2.0/24"), r = pfx("192.0.9.9"), x = pfx("198.51.100.1");
    assert_ptr_equal(block_table_find(t, &p), host);
    assert_ptr_equal(block_table_find(t, &q), net);
    assert_ptr_equal(block_table_find_id(t, wide->id), wide);
    assert_null(block_table_find(t, &r));
    assert_ptr_equal(block_table_covering(t, &p), host);
    assert_ptr_equal(block_table_covering(t, &q), wide); /* lasts longer than its own */
    assert_ptr_equal(block_table_covering(t, &r), wide);
    assert_null(block_table_covering(t, &x));
    assert_int_equal(strlen(host->id), 14);
    assert_int_equal(host->id[0], 'B');
    assert_string_equal(host->msg, "m");
    assert_memory_equal(host->evidence, "ev", 2);
    struct decide_request again = {.target = p};
    struct block *b;
    assert_int_equal(block_table_add(t, &again, NULL, BLOCK_RULE, 1, 5, &b), SK_EEXIST);
    block_table_remove(t, host);
    assert_null(block_table_find(t, &p));
    assert_ptr_equal(block_table_covering(t, &p), wide);
    block_free(host);
    block_table_free(t);
}

static void mark_seen(void *arg, struct block *b)
{
    ++*(unsigned *)arg;
    b->requests++;
}

static void test_scan_gives_each_block_once(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(5000);
    static struct block *b[3000];
    unsigned seen = 0, calls = 0;
    uint32_t cursor = 0;
    for (unsigned i = 0; i < 3000; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.0.%u.%u", i / 250, i % 250);
        b[i] = add(t, text, 1000 + i % 7);
    }
    while (block_table_scan(t, &cursor, 100, mark_seen, &seen)) {
        calls++;
        if (calls == 10) { /* others end and come meanwhile */
            for (unsigned i = 0; i < 3000; i += 3) {
                block_table_remove(t, b[i]);
                block_free(b[i]);
                b[i] = NULL;
            }
            for (unsigned i = 0; i < 500; i++) {
                char text[32];
                snprintf(text, sizeof text, "10.1.%u.%u", i / 250, i % 250);
                add(t, text, 5);
            }
        }
    }
    assert_in_range(calls, 15, 45);
    for (unsigned i = 0; i < 3000; i++)
        assert_true(!b[i] || b[i]->requests == 2);
    assert_false(block_table_scan(t, &cursor, 100, mark_seen, &seen));
    block_table_free(t);
}

static void test_what_it_was_decided_on_is_kept_in_few_bytes(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(10);
    struct block *b = add(t, "192.0.2.1", 100), *c;
    struct identity id;
    assert_true(!b->chain && b->nscores == 0);
    block_identity(b, &id);
    assert_true(id.state == IDENTITY_DIRECT && id.nhops == 0);
    struct decide_request r = {.target = pfx("192.0.2.2"), .msg = "m", .evidence = "ev", .evidence_len = 2};
    r.identity =
        (struct identity){.client = r.target.addr, .port = 7, .state = IDENTITY_PROVEN, .nhops = IDENTITY_HOPS_MAX};
    for (unsigned i = 0; i < IDENTITY_HOPS_MAX; i++)
        r.identity.hop[i] = (struct identity_hop){.addr = pfx("10.0.0.1").addr, .source = IDENTITY_BY_XFF};
    for (unsigned i = 0; i < DECIDE_SCORES_MAX; i++)
        r.scores[i] = (struct decide_score_item){.ts = 1 + i, .sid = i};
    assert_int_equal(block_table_add(t, &r, NULL, BLOCK_RULE, 1, 100, &c), SK_OK);
    block_identity(c, &id);
    assert_memory_equal(&id, &r.identity, sizeof id);
    assert_int_equal(c->nscores, DECIDE_SCORES_MAX);
    assert_memory_equal(c->scores, r.scores, sizeof r.scores);
    assert_string_equal(c->msg, "m");
    assert_memory_equal(c->evidence, "ev", 2);
    assert_true(sizeof *b <= 512); /* of a hundred thousand */
    block_table_free(t);
}

static void test_ends_come_in_order(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(2000);
    uint32_t x = 12345;
    for (uint32_t i = 0; i < 1000; i++) {
        char text[32];
        x = x * 1664525 + 1013904223;
        snprintf(text, sizeof text, "10.0.%u.%u", i / 250, i % 250);
        struct block *b = add(t, text, 1 + (x >> 8) % 5000);
        if (i % 3 == 0)
            assert_true(block_table_extend(t, b, b->expires + (x >> 4) % 3000 + 1));
        assert_false(block_table_extend(t, b, b->expires));
        assert_false(block_table_extend(t, b, b->expires - 1));
    }
    for (size_t i = 0; i < 300; i++) { /* from the middle */
        struct block *b = block_table_at(t, (i * 7919) % block_table_count(t));
        block_table_remove(t, b);
        block_free(b);
    }
    int64_t last = 0;
    size_t n = 0;
    for (struct block *b; (b = block_table_first(t)); n++) {
        assert_true(b->expires >= last);
        last = b->expires;
        block_table_remove(t, b);
        block_free(b);
    }
    assert_int_equal(n, 700);
    block_table_free(t);
}

static void test_full_table_refuses_and_keeps(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(3);
    add(t, "192.0.2.1", 1);
    struct block *b = add(t, "192.0.2.2", 2), *c;
    add(t, "192.0.2.3", 3);
    struct decide_request r = {.target = pfx("192.0.2.4")};
    assert_int_equal(block_table_add(t, &r, NULL, BLOCK_RULE, 1, 9, &c), SK_EFULL);
    assert_int_equal(block_table_count(t), 3);
    block_table_remove(t, b);
    block_free(b);
    assert_int_equal(block_table_add(t, &r, NULL, BLOCK_RULE, 1, 9, &c), SK_OK);
    block_table_free(t);
}

static void test_prefixes_have_a_maximum_of_their_own(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(BLOCK_PREFIXES_MAX + 10);
    struct decide_request r = {0};
    struct block *b;
    for (uint32_t i = 0; i <= BLOCK_PREFIXES_MAX; i++) {
        uint8_t a[4] = {11, (uint8_t)(i >> 12), (uint8_t)(i >> 4), (uint8_t)(i << 4)};
        struct sk_addr addr = sk_addr_from_v4(a);
        r.target = sk_prefix_make(&addr, 124);
        assert_int_equal(block_table_add(t, &r, NULL, BLOCK_RULE, 1, 9, &b), i < BLOCK_PREFIXES_MAX ? SK_OK : SK_EFULL);
    }
    r.target.len = 128;
    assert_int_equal(block_table_add(t, &r, NULL, BLOCK_RULE, 1, 9, &b), SK_OK);
    block_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_by_target_id_and_address),
        cmocka_unit_test(test_scan_gives_each_block_once),
        cmocka_unit_test(test_what_it_was_decided_on_is_kept_in_few_bytes),
        cmocka_unit_test(test_ends_come_in_order),
        cmocka_unit_test(test_full_table_refuses_and_keeps),
        cmocka_unit_test(test_prefixes_have_a_maximum_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
