/*
 * Property test of durations that grow: random requests of a few targets, unblocks, restarts and the passing of time
 * against a model that counts by itself. Each block has the number and the length that the model says, whether or not
 * the guard has been restarted, in a dry run or not.
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

#define S       SK_NS_PER_S
#define TARGETS 6
#define MEMORY  (1000 * S)

struct client {
    uint32_t n;           /* blocks that ran out */
    int64_t last;         /* when the last one did */
    int64_t begun, until; /* the block in force; until 0: none */
};

struct world {
    uint64_t rng;
    int64_t now;
    struct nft_fake *fake;
    struct never_list *never;
    struct block_table *table;
    struct journal *journal;
    struct enforcer *e;
    struct policy_limits limits;
    bool dry_run;
    struct client client[2][TARGETS]; /* [dry_run] */
};

static uint32_t rnd(struct world *w, uint32_t below)
{
    w->rng ^= w->rng << 13;
    w->rng ^= w->rng >> 7;
    w->rng ^= w->rng << 17;
    return (uint32_t)(w->rng >> 20) % below;
}

static struct sk_prefix target(uint32_t i)
{
    uint8_t b[4] = {192, 0, 2, (uint8_t)(i == 0 ? 0 : i)};
    struct sk_addr a = sk_addr_from_v4(b);
    return sk_prefix_make(&a, i == 0 ? 126 : 128); /* .0/30 covers .1 to .3 */
}

static void start(struct world *w)
{
    w->fake = nft_fake_create();
    w->table = block_table_create(100);
    struct enforcer_setup s = {.ops = &nft_fake_ops,
                               .ops_ctx = w->fake,
                               .table = w->table,
                               .journal = w->journal,
                               .never = w->never,
                               .limits = &w->limits,
                               .dry_run = w->dry_run};
    w->e = enforcer_create(&s);
    assert_int_equal(enforcer_restore(w->e, w->now), SK_OK);
}

static void stop(struct world *w)
{
    enforcer_free(w->e);
    block_table_free(w->table);
    nft_fake_free(w->fake);
}

/* The model's own clock. */
static void expire(struct world *w)
{
    for (uint32_t i = 0; i < TARGETS; i++) {
        struct client *c = &w->client[w->dry_run][i];
        if (c->until == 0 || c->until > w->now)
            continue;
        c->n++;
        c->last = c->until;
        c->until = 0;
    }
}

static int64_t grown(struct world *w, int64_t seconds, uint32_t n)
{
    int64_t x = seconds;
    while (n-- > 0 && x < w->limits.max_seconds)
        x *= w->limits.repeat_factor;
    return x < w->limits.max_seconds ? x : w->limits.max_seconds;
}

static void request(struct world *w)
{
    uint32_t i = rnd(w, TARGETS);
    struct client *c = &w->client[w->dry_run][i];
    struct decide_request q = {.target = target(i), .seconds = 1 + rnd(w, 30), .msg = "m"};
    struct enforce_outcome o;
    enforcer_request(w->e, &q, BLOCK_RULE, w->now, &o);
    if (c->until == 0 && c->last < w->now - MEMORY)
        c->n = 0;
    int64_t until = w->now + grown(w, q.seconds, c->n) * S;
    if (o.result == ENFORCE_COVERED) {
        assert_true(o.block->expires >= until);
        return;
    }
    assert_int_equal(o.result, c->until == 0 ? ENFORCE_BLOCKED : until > c->until ? ENFORCE_EXTENDED : ENFORCE_KNOWN);
    c->until = until > c->until ? until : c->until;
    assert_true(o.block->expires == c->until);
    assert_int_equal(o.block->repeat, c->n);
    assert_int_equal(o.block->dry_run, w->dry_run);
    assert_int_equal(enforcer_flush(w->e, w->now), SK_OK);
}

static void unblock(struct world *w)
{
    uint32_t i = rnd(w, TARGETS);
    struct client *c = &w->client[w->dry_run][i];
    struct sk_prefix p = target(i);
    assert_int_equal(enforcer_unblock(w->e, &p, w->now), c->until ? SK_OK : SK_ENOENT);
    if (c->until)
        *c = (struct client){0};
}

/* Of the kind that is over nothing is in force any more; what it counted is kept for its next time. */
static void restart(struct world *w)
{
    w->now += 2 * S; /* extensions are collected for a while */
    expire(w);
    assert_int_equal(enforcer_tick(w->e, w->now), SK_OK);
    stop(w);
    if (rnd(w, 4) == 0) {
        for (uint32_t i = 0; i < TARGETS; i++)
            w->client[w->dry_run][i].until = 0;
        w->dry_run = !w->dry_run;
    }
    start(w);
    expire(w);
    for (uint32_t i = 0; i < TARGETS; i++) {
        struct sk_prefix p = target(i);
        const struct block *b = block_table_find(w->table, &p);
        const struct client *c = &w->client[w->dry_run][i];
        assert_int_equal(b != NULL, c->until != 0);
        assert_true(b == NULL || (b->expires == c->until && b->repeat == c->n && b->dry_run == w->dry_run));
    }
}

static void run(uint64_t seed, const char *path)
{
    struct world *w = calloc(1, sizeof *w);
    w->rng = seed;
    w->now = 1700000000 * S;
    w->limits = (struct policy_limits){.max_seconds = 500, .repeat_factor = 3, .repeat_memory = MEMORY};
    w->never = never_create();
    assert_int_equal(journal_open(path, &w->journal, NULL), SK_OK);
    start(w);
    for (unsigned i = 0; i < 800; i++) {
        unsigned what = rnd(w, 100);
        expire(w);
        assert_int_equal(enforcer_tick(w->e, w->now), SK_OK);
        if (what < 50)
            request(w);
        else if (what < 53)
            unblock(w);
        else if (what < 95)
            w->now += (int64_t)rnd(w, 60000) * SK_NS_PER_MS;
        else if (what < 97)
            w->now += 2 * MEMORY;
        else
            restart(w);
    }
    stop(w);
    journal_close(w->journal);
    assert_int_equal(unlink(path), 0);
    never_free(w->never);
    free(w);
}

static void test_numbers_and_lengths_over_restarts(void **state)
{
    (void)state;
    char dir[] = "/tmp/sekisho-repeat-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/j", dir);
    for (uint64_t seed = 1; seed <= 4; seed++)
        run(seed * UINT64_C(0x9e3779b97f4a7c15), path);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_and_lengths_over_restarts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
