/*
 * Property test: random requests, unblocks, other people's hands in the kernel, restarts and the passing of time
 * against a model that is a plain list of (prefix, end). At each step an address is dropped exactly if the list says
 * so. An argument multiplies the number of random runs.
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
#define MODEL 32768
#define LOOKS 40 /* addresses compared after each step */

/* How crowded the world is. */
struct scale {
    unsigned steps, batch; /* batch: requests a step, at most */
    unsigned nets;         /* distinct /24 (IPv4) and /64 (IPv6): few, so that everything overlaps */
    uint32_t longest;      /* seconds of a block */
    size_t least;          /* so many blocks are in force at some time, at least */
};

static const struct scale dense = {.steps = 1500, .batch = 1, .nets = 4, .longest = 40};
static const struct scale large = {.steps = 300, .batch = 300, .nets = 64, .longest = 900, .least = 10000};

static uint64_t more = 1;

struct world {
    uint64_t rng;
    int64_t now;
    const struct scale *scale;
    struct nft_fake *fake;
    struct never_list *never;
    struct block_table *table;
    struct journal *journal;
    struct enforcer *e;
    struct policy_limits limits;
    uint64_t rebuilds, before; /* expected; of enforcers before this one */
    struct {
        struct sk_prefix p;
        int64_t end;
    } model[MODEL];
    size_t n, peak;
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
    w->before += enforcer_stats(w->e)->rebuilds;
    enforcer_free(w->e);
    block_table_free(w->table);
}

/* The guard goes on as long as something is due. */
static void work(struct world *w)
{
    for (int i = 0; enforcer_due(w->e, w->now) || i == 0; i++) {
        assert_true(i < 10000);
        assert_int_equal(enforcer_tick(w->e, w->now), SK_OK);
    }
}

/* Nested and adjacent ones come by themselves. Wide ones swallow what is in them: of few blocks as many as others. */
static uint8_t random_length(struct world *w, bool v4)
{
    static const uint8_t lens4[] = {128, 128, 127, 124, 122, 120, 116, 112}, lens6[] = {128, 128, 126, 120, 64, 48};
    if (w->scale->least == 0 || rnd(w, 500) == 0)
        return v4 ? lens4[rnd(w, sizeof lens4)] : lens6[rnd(w, sizeof lens6)];
    return (uint8_t)(rnd(w, 2) ? 128 : 128 - rnd(w, 5));
}

static struct sk_prefix random_prefix(struct world *w)
{
    struct sk_addr a;
    if (rnd(w, 3)) {
        uint8_t b[4] = {11, (uint8_t)(rnd(w, w->scale->nets) >> 4), (uint8_t)rnd(w, w->scale->nets),
                        (uint8_t)rnd(w, 256)};
        a = sk_addr_from_v4(b);
        return sk_prefix_make(&a, random_length(w, true));
    }
    uint8_t b[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, (uint8_t)rnd(w, w->scale->nets), [14] = (uint8_t)rnd(w, 4)};
    b[15] = (uint8_t)rnd(w, 256);
    a = sk_addr_from_v6(b);
    return sk_prefix_make(&a, random_length(w, false));
}

static void model_tidy(struct world *w)
{
    size_t k = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->model[i].end > w->now - S)
            w->model[k++] = w->model[i];
    w->n = k;
}

static void model_add(struct world *w, const struct sk_prefix *p, int64_t end)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->model[i].p.len != p->len || !sk_addr_eq(&w->model[i].p.addr, &p->addr))
            continue;
        if (w->model[i].end < end)
            w->model[i].end = end;
        return;
    }
    assert_true(w->n < MODEL);
    w->model[w->n].p = *p;
    w->model[w->n++].end = end;
}

static void request(struct world *w)
{
    struct decide_request q = {.target = random_prefix(w), .seconds = 1 + rnd(w, w->scale->longest)};
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

/* ---- other people's hands ---- */

static uint8_t set_of(const struct sk_prefix *p)
{
    bool v4 = sk_addr_is_v4(&p->addr);
    return p->len == 128 ? (v4 ? NFT_HOST4 : NFT_HOST6) : (v4 ? NFT_PREFIX4 : NFT_PREFIX6);
}

static bool host_set(uint8_t set)
{
    return set == NFT_HOST4 || set == NFT_HOST6;
}

static void told_of(struct nft_news *n, uint8_t set, const struct sk_addr *a)
{
    if (!host_set(set))
        n->ranges[set - NFT_PREFIX4] = true;
    else if (n->nhosts < NFT_NEWS_MAX)
        n->host[n->nhosts++] = (struct nft_elem){.set = set, .first = *a, .last = *a};
    else
        n->lost = true;
}

struct nth {
    struct nft_elem e;
    uint32_t left;
    bool found;
};

static void take_nth(void *arg, const struct nft_elem *e)
{
    struct nth *n = arg;
    if (n->left-- != 0)
        return;
    n->e = *e;
    n->found = true;
}

/* Some elements, wherever they are. */
static void delete_some(struct world *w, struct nft_news *news)
{
    size_t all = nft_fake_count(w->fake, w->now);
    for (uint32_t i = rnd(w, 20); all > 0 && i > 0; i--) {
        struct nth n = {.left = rnd(w, (uint32_t)all)};
        assert_int_equal(nft_fake_ops.list(w->fake, w->now, take_nth, &n), SK_OK);
        struct nft_change c = {.set = n.e.set, .op = NFT_DEL, .first = n.e.first, .last = n.e.last};
        if (n.found && nft_fake_ops.apply(w->fake, &c, 1, w->now) == SK_OK)
            told_of(news, c.set, &c.first);
    }
}

struct telling {
    struct nft_news *news;
    uint8_t set;
};

static void tell(void *arg, const struct nft_elem *e)
{
    struct telling *t = arg;
    if (e->set == t->set)
        told_of(t->news, e->set, &e->first);
}

static void flush_set(struct world *w, struct nft_news *news)
{
    uint8_t set = (uint8_t)rnd(w, NFT_SET_IDS);
    struct telling t = {news, set};
    struct nft_change c = {.set = set, .op = NFT_FLUSH};
    assert_int_equal(nft_fake_ops.list(w->fake, w->now, tell, &t), SK_OK);
    assert_int_equal(nft_fake_ops.apply(w->fake, &c, 1, w->now), SK_OK);
}

/* What is added by hand becomes a block: so says the model as well. */
static void add_foreign(struct world *w, struct nft_news *news)
{
    struct sk_prefix p = random_prefix(w);
    struct nft_change c = {.set = set_of(&p), .op = NFT_ADD, .expires = w->now + (5 + rnd(w, 60)) * S};
    sk_prefix_range(&p, &c.first, &c.last);
    struct nft_elem there = {.set = c.set, .first = c.first, .last = c.last};
    assert_int_equal(nft_fake_ops.get(w->fake, &there, 1, w->now), SK_OK);
    if (there.there || nft_fake_ops.apply(w->fake, &c, 1, w->now) != SK_OK)
        return;
    told_of(news, c.set, &c.first);
    model_add(w, &p, c.expires);
}

static void disturb(struct world *w, struct nft_news *news)
{
    *news = (struct nft_news){0};
    switch (rnd(w, 7)) {
    case 0:
        nft_fake_wipe(w->fake);
        news->shape = true;
        w->rebuilds++;
        break;
    case 1:
        nft_fake_misshape(w->fake);
        news->shape = true;
        w->rebuilds++;
        break;
    case 2: flush_set(w, news); break;
    case 3: add_foreign(w, news); break;
    case 4: news->lost = true; break;
    default: delete_some(w, news); break;
    }
}

static void disturbed(struct world *w)
{
    static struct nft_news news;
    disturb(w, &news);
    if (rnd(w, 4) == 0)
        nft_fake_fail(w->fake, 1, SK_EAGAIN);
    bool told = news.nhosts + news.ranges[0] + news.ranges[1] > 0; /* untold only what is missing is found */
    if (!told && !news.shape && !news.lost)
        enforcer_check_now(w->e, w->now);
    else
        (void)!enforcer_heard(w->e, &news, w->now);
    for (int i = 0; enforcer_degraded(w->e); i++) {
        assert_true(i < 5);
        w->now += ENFORCER_RETRY;
        (void)!enforcer_tick(w->e, w->now);
    }
    nft_fake_fail(w->fake, 0, SK_OK);
    work(w);
}

/* Nobody tells of it: the next read-back has it. */
static void damaged_in_silence(struct world *w)
{
    static struct nft_news unheard;
    unheard = (struct nft_news){0};
    delete_some(w, &unheard);
    enforcer_check_now(w->e, w->now);
    work(w);
}

static void restart(struct world *w)
{
    w->now += 1100 * SK_NS_PER_MS; /* extensions that are still being collected would be forgotten */
    work(w);
    stop(w);
    if (rnd(w, 2))
        nft_fake_wipe(w->fake); /* as after a reboot */
    start(w);
}

/* ---- comparing ---- */

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
    for (int i = 0; i < LOOKS; i++) {
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

/* The block table too: neither more nor less than the model has. */
static void compare_table(struct world *w)
{
    size_t alive = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct block *b = block_table_find(w->table, &w->model[i].p);
        if (w->model[i].end <= w->now)
            continue;
        alive++;
        assert_non_null(b);
        assert_true(llabs(b->expires - w->model[i].end) <= ENFORCER_SLACK);
    }
    assert_int_equal(block_table_count(w->table), alive);
}

static void step(struct world *w, bool faults)
{
    unsigned what = rnd(w, 100);
    model_tidy(w);
    if (what < 60)
        for (uint32_t i = 1 + rnd(w, w->scale->batch); i > 0; i--)
            request(w);
    else if (what < 70)
        for (uint32_t i = 1 + rnd(w, 1 + w->scale->batch / 8); i > 0; i--)
            unblock(w);
    else if (what < 90)
        w->now += (int64_t)rnd(w, 3000) * SK_NS_PER_MS;
    work(w);
    if (faults && what >= 93 && what < 97)
        disturbed(w);
    else if (faults && what == 97)
        damaged_in_silence(w);
    else if (w->journal && what == 99)
        restart(w);
}

static void run(uint64_t seed, const struct scale *scale, bool faults, struct journal *journal)
{
    struct world *w = calloc(1, sizeof *w);
    w->rng = seed;
    w->scale = scale;
    w->now = 1700000000 * S;
    w->fake = nft_fake_create();
    w->never = never_create();
    w->journal = journal;
    start(w);
    for (unsigned i = 0; i < scale->steps; i++) {
        step(w, faults);
        compare(w, i);
        if (block_table_count(w->table) > w->peak)
            w->peak = block_table_count(w->table);
        if (i % 50 == 0)
            compare_table(w);
    }
    compare_table(w);
    if (scale->least)
        print_message("up to %zu blocks; at the end %zu, %zu of them prefixes, %zu elements\n", w->peak,
                      block_table_count(w->table), block_table_prefixes(w->table), nft_fake_count(w->fake, w->now));
    assert_true(w->peak >= scale->least);
    const struct enforcer_stats *s = enforcer_stats(w->e);
    if (!faults)
        assert_int_equal(s->kernel_errors + s->repairs, 0);
    assert_int_equal(w->before + s->rebuilds, w->rebuilds);
    stop(w);
    never_free(w->never);
    nft_fake_free(w->fake);
    free(w);
}

static void with_journal(uint64_t seeds, const struct scale *scale)
{
    char dir[] = "/tmp/sekisho-model-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/j", dir);
    for (uint64_t seed = 1; seed <= seeds * more; seed++) {
        struct journal *j;
        assert_int_equal(journal_open(path, &j, NULL), SK_OK);
        run(seed * UINT64_C(0x94d049bb133111eb), scale, true, j);
        journal_close(j);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void test_kernel_holds_exactly_what_the_model_says(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20 * more; seed++)
        run(seed * UINT64_C(0x9e3779b97f4a7c15), &dense, false, NULL);
}

static void test_also_when_the_kernel_is_disturbed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20 * more; seed++)
        run(seed * UINT64_C(0xbf58476d1ce4e5b9), &dense, true, NULL);
}

static void test_also_over_restarts(void **state)
{
    (void)state;
    with_journal(5, &dense);
}

static void test_ten_thousand_blocks(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= more; seed++)
        run(seed * UINT64_C(0x9e3779b97f4a7c15), &large, false, NULL);
}

static void test_ten_thousand_blocks_disturbed_and_restarted(void **state)
{
    (void)state;
    with_journal(2, &large);
}

int main(int argc, char **argv)
{
    more = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_holds_exactly_what_the_model_says),
        cmocka_unit_test(test_also_when_the_kernel_is_disturbed),
        cmocka_unit_test(test_also_over_restarts),
        cmocka_unit_test(test_ten_thousand_blocks),
        cmocka_unit_test(test_ten_thousand_blocks_disturbed_and_restarted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
