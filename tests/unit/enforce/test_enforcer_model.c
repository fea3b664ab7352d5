/*
 * Property test: random requests, unblocks, faults, restarts and the passing of time against a model that is a plain
 * list of (prefix, end). At each step an address is dropped exactly if the list says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "enforce/enforcer.h"
#include "enforce/nft_fake.h"

#define S     SK_NS_PER_S
#define MODEL 4096

struct world {
    uint64_t rng;
    int64_t now;
    struct nft_fake *fake;
    struct never_list *never;
    struct block_table *table;
    struct journal *journal;
    struct enforcer *e;
    struct policy_limits limits;
    struct {
        struct sk_prefix p;
        int64_t end;
    } model[MODEL];
    size_t n;
};

static uint32_t rnd(struct world *w, uint32_t below)
{
    w->rng ^= w->rng << 13;
    w->rng ^= w->rng >> 7;
    w->rng ^= w->rng << 17;
    return (uint32_t)(w->rng >> 20) % below;
}

static void start(struct world *w)
{
    w->table = block_table_create(MODEL);
    struct enforcer_setup s = {.ops = &nft_fake_ops,
                               .ops_ctx = w->fake,
                               .table = w->table,
                               .journal = w->journal,
                               .never = w->never,
                               .limits = &w->limits};
    w->e = enforcer_create(&s);
    assert_int_equal(enforcer_restore(w->e, w->now), SK_OK);
}

static void stop(struct world *w)
{
    enforcer_free(w->e);
    block_table_free(w->table);
}

/* Few distinct addresses, so that everything overlaps. */
static struct sk_prefix random_prefix(struct world *w)
{
    static const uint8_t lens4[] = {128, 128, 127, 124, 122, 120, 116, 112}, lens6[] = {128, 128, 126, 120, 64, 48};
    struct sk_addr a;
    if (rnd(w, 3)) {
        uint8_t b[4] = {11, 0, (uint8_t)rnd(w, 4), (uint8_t)rnd(w, 256)};
        a = sk_addr_from_v4(b);
        return sk_prefix_make(&a, lens4[rnd(w, sizeof lens4)]);
    }
    uint8_t b[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, (uint8_t)rnd(w, 3), [15] = (uint8_t)rnd(w, 64)};
    a = sk_addr_from_v6(b);
    return sk_prefix_make(&a, lens6[rnd(w, sizeof lens6)]);
}

static void model_add(struct world *w, const struct sk_prefix *p, int64_t end)
{
    size_t k = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->model[i].end > w->now)
            w->model[k++] = w->model[i];
    w->n = k;
    for (size_t i = 0; i < w->n; i++) {
        if (w->model[i].p.len == p->len && sk_addr_eq(&w->model[i].p.addr, &p->addr)) {
            if (w->model[i].end < end)
                w->model[i].end = end;
            return;
        }
    }
    assert_true(w->n < MODEL);
    w->model[w->n].p = *p;
    w->model[w->n++].end = end;
}

static void request(struct world *w)
{
    struct decide_request q = {.target = random_prefix(w), .seconds = 1 + rnd(w, 40)};
    struct enforce_outcome o;
    enforcer_request(w->e, &q, BLOCK_OPERATOR, w->now, &o);
    switch (o.result) {
    case ENFORCE_COVERED: /* nothing of its own: it goes when the wider one is lifted */
        assert_true(sk_prefix_covers(&o.block->target, &q.target) && o.block->expires >= w->now + q.seconds * S);
        break;
    case ENFORCE_BLOCKED:
    case ENFORCE_EXTENDED:
    case ENFORCE_KNOWN: model_add(w, &q.target, w->now + q.seconds * S); break;
    default: fail_msg("refused: %s", enforce_result_name(o.result));
    }
}

static void unblock(struct world *w)
{
    if (w->n == 0)
        return;
    size_t i = rnd(w, (uint32_t)w->n);
    int rc = enforcer_unblock(w->e, &w->model[i].p, w->now);
    assert_true(rc == SK_OK || w->model[i].end <= w->now);
    w->model[i] = w->model[--w->n];
}

/* 1: must be dropped, 0: must not, -1: within the tolerance of an end, which may be late by the collecting of
 * extensions. */
static int expected(const struct world *w, const struct sk_addr *a)
{
    int r = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (!sk_prefix_contains(&w->model[i].p, a))
            continue;
        int64_t left = w->model[i].end - w->now;
        if (left > ENFORCER_SLACK)
            return 1;
        if (left > -ENFORCER_SLACK)
            r = -1;
    }
    return r;
}

static void compare(struct world *w, unsigned step)
{
    for (int i = 0; i < 40; i++) {
        struct sk_prefix p = random_prefix(w);
        struct sk_addr first, last;
        sk_prefix_range(&p, &first, &last);
        const struct sk_addr *a = i & 1 ? &first : &last;
        int want = expected(w, a);
        bool got = nft_fake_drops(w->fake, a, w->now);
        char text[SK_ADDR_STRLEN];
        if (want >= 0 && got != (want == 1))
            fail_msg("step %u: %s should be %s", step, sk_addr_format(a, text), want ? "dropped" : "let through");
    }
}

static void run(uint64_t seed, unsigned steps, bool faults, struct journal *journal)
{
    struct world *w = calloc(1, sizeof *w);
    w->rng = seed;
    w->now = 1700000000 * S;
    w->fake = nft_fake_create();
    w->never = never_create();
    w->journal = journal;
    start(w);
    for (unsigned i = 0; i < steps; i++) {
        unsigned what = rnd(w, 100);
        if (what < 60)
            request(w);
        else if (what < 70)
            unblock(w);
        else if (what < 90)
            w->now += (int64_t)rnd(w, 3000) * SK_NS_PER_MS;
        if (faults && what == 97)
            nft_fake_wipe(w->fake);
        else if (faults && what == 98)
            nft_fake_fail(w->fake, 1, SK_EAGAIN);
        bool disturbed = faults && what >= 97;
        /* The guard wakes at each deadline; what it is told of, it answers with a read-back. */
        int rc = disturbed ? enforcer_resync(w->e, w->now) : enforcer_tick(w->e, w->now);
        assert_int_equal(rc, SK_OK);
        if (journal && what == 99) {
            stop(w);
            start(w);
        }
        compare(w, i);
    }
    const struct enforcer_stats *s = enforcer_stats(w->e);
    if (!faults)
        assert_int_equal(s->kernel_errors + s->repairs, 0);
    stop(w);
    never_free(w->never);
    nft_fake_free(w->fake);
    free(w);
}

static void test_kernel_holds_exactly_what_the_model_says(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        run(seed * UINT64_C(0x9e3779b97f4a7c15), 1500, false, NULL);
}

static void test_also_when_the_kernel_is_disturbed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        run(seed * UINT64_C(0xbf58476d1ce4e5b9), 1500, true, NULL);
}

static void test_also_over_restarts(void **state)
{
    (void)state;
    char dir[] = "/tmp/sekisho-model-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/j", dir);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct journal *j;
        assert_int_equal(journal_open(path, &j, NULL), SK_OK);
        run(seed * UINT64_C(0x94d049bb133111eb), 1000, true, j);
        journal_close(j);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_holds_exactly_what_the_model_says),
        cmocka_unit_test(test_also_when_the_kernel_is_disturbed),
        cmocka_unit_test(test_also_over_restarts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
