/*
 * Everything at once, four minutes at a time: a rival changes the set every second, a fifth of all calls fails in every
 * way, the process is killed every few seconds. Measured is by how much an address outlives its end or its lift, and
 * how long before its end it is taken out. An argument: so many runs; then also what each of them had at worst.
 */
#include "waf_fake.h"

#define LATE   (5 * S)
#define EARLY  (10 * S)
#define LIFTED (10 * S)
#define LASTS  (240 * S)
#define QUIET  (40 * S) /* no kills at the end */

enum what { OUTLIVED, OUTLIVED_LIFT, WENT_EARLY, WHATS };

struct storm {
    struct fake f;
    struct waf *w;
    struct waf_target t;
    int64_t rival_at, kill_at, block_at, operator_at;
    uint32_t serial;
    unsigned kills, n[WHATS];
    int64_t worst[WHATS];
};
static unsigned runs = 12;
static bool tell;

static void start(struct storm *r)
{
    struct waf_options o = {.targets = &r->t,
                            .ntargets = 1,
                            .write_gap = S,
                            .coalesce = 2 * S,
                            .read_back = 5 * S,
                            .seed = 1 + fake_rnd(&r->f, 1000000)};
    struct waf_world world = fake_world(&r->f);
    assert_int_equal(waf_create(&o, &world, &fake_ops, &r->f, &r->w), SK_OK);
}

static int64_t between(struct storm *r, int64_t a, int64_t b)
{
    return a + (int64_t)fake_rnd(&r->f, (uint32_t)((b - a) / SK_NS_PER_MS)) * SK_NS_PER_MS;
}

static void rival(struct storm *r)
{
    struct fake *f = &r->f;
    struct sk_prefix p = fake_prefix("100.64.0.0");
    p.addr.b[15] = (uint8_t)fake_rnd(f, 40);
    if (list_has(&f->set[0].foreign, &p))
        fake_foreign_del(f, &f->set[0], &p);
    else
        fake_foreign_add(f, &f->set[0], &p);
    r->rival_at = f->now + S;
}

static void block(struct storm *r, int64_t lasting)
{
    struct sk_prefix p = fake_prefix("11.0.0.0");
    uint32_t a = ++r->serial * 263; /* spread, and each once */
    p.addr.b[13] = (uint8_t)(a >> 16);
    p.addr.b[14] = (uint8_t)(a >> 8);
    p.addr.b[15] = (uint8_t)a;
    struct fake_entry *e = fake_block_p(&r->f, &p, 1, 1);
    e->end = e->e.expires = r->f.now + lasting;
}

static void operate(struct storm *r)
{
    struct fake *f = &r->f;
    block(r, 40 * S);
    struct fake_entry *x = &f->entry[fake_rnd(f, (uint32_t)f->nentries)];
    if (fake_rnd(f, 3) == 0 && x->seen && x->end > f->now + EARLY)
        fake_lift(f, x);
    r->operator_at = f->now + 2 * S;
}

static void kill_it(struct storm *r)
{
    waf_free(r->w);
    r->kills++;
    r->f.now = between(r, r->f.now + S / 4, r->f.now + S);
    start(r);
    r->kill_at = between(r, r->f.now + 3 * S / 2, r->f.now + 6 * S);
}

static void happen(struct storm *r)
{
    struct fake *f = &r->f;
    if (f->now >= r->rival_at)
        rival(r);
    if (f->now >= r->block_at) {
        for (unsigned n = 1 + fake_rnd(f, 6); n > 0; n--)
            block(r, between(r, 18 * S, 35 * S));
        r->block_at = f->now + 400 * SK_NS_PER_MS;
    }
    if (f->now >= r->operator_at)
        operate(r);
    if (f->now >= r->kill_at && f->now < START + LASTS - QUIET)
        kill_it(r);
}

static void count(struct storm *r, enum what what, int64_t by)
{
    r->n[what]++;
    if (by > r->worst[what])
        r->worst[what] = by;
}

/* Has this one been in the set and left it, or outlived its end? Then it is counted; true: no more. */
static bool is_done(struct storm *r, struct fake_entry *x)
{
    int64_t now = r->f.now;
    bool in = list_has(&r->f.set[0].addr, &x->e.target);
    if (x->seen && !in && x->end > now)
        count(r, WENT_EARLY, x->end - now);
    else if (x->seen && x->end <= now)
        count(r, x->lifted ? OUTLIVED_LIFT : OUTLIVED, now - x->end);
    bool done = !in && (x->seen || x->end <= now);
    x->seen |= in;
    return done;
}

static void watch(struct storm *r)
{
    struct fake *f = &r->f;
    size_t k = 0;
    for (size_t i = 0; i < f->nentries; i++)
        if (!is_done(r, &f->entry[i]))
            f->entry[k++] = f->entry[i];
    f->nentries = k;
}

static void play(struct storm *r, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    fake_init(&r->f, seed);
    r->t = (struct waf_target){WAFV2_REGIONAL, "eu-west-1", "sk", 1, 0, false};
    fake_make_set(&r->f, WAFV2_REGIONAL, "eu-west-1", "sk-v4-0", false);
    r->f.fail_run = 5;
    r->f.throttle = 2;
    r->f.before = 7;
    r->f.hang = 2;
    r->f.after = r->f.lost_reads = 9;
    r->f.latency = 60 * SK_NS_PER_MS;
    start(r);
    r->kill_at = r->f.now + 3 * S;
    while (r->f.now < START + LASTS) {
        happen(r);
        fake_run(&r->f, r->w, r->f.now + S / 10, false);
        watch(r);
    }
    waf_free(r->w);
    fake_free(&r->f);
}

static double seconds(int64_t ns)
{
    return (double)(ns / SK_NS_PER_MS) / 1000;
}

static void test_storm(void **state)
{
    (void)state;
    static const char *const names[WHATS] = {"after the end", "after a lift", "before the end"};
    static const int64_t bounds[WHATS] = {LATE, LIFTED, EARLY};
    static struct storm r;
    int64_t worst[WHATS] = {0};
    unsigned n[WHATS] = {0}, over[WHATS] = {0}, kills = 0;
    for (unsigned i = 0; i < runs; i++) {
        play(&r, 1 + i);
        kills += r.kills;
        if (tell)
            print_message("%u: %.1f s, %.1f s, %.1f s\n", i, seconds(r.worst[0]), seconds(r.worst[1]),
                          seconds(r.worst[2]));
        for (int k = 0; k < WHATS; k++) {
            n[k] += r.n[k];
            over[k] += r.worst[k] > bounds[k];
            worst[k] = r.worst[k] > worst[k] ? r.worst[k] : worst[k];
        }
    }
    print_message("%u runs, %u kills\n", runs, kills);
    for (int k = 0; k < WHATS; k++)
        print_message("%s: at most %.1f s, more than %.0f s in %u of the runs\n", names[k], seconds(worst[k]),
                      seconds(bounds[k]), over[k]);
    for (int k = 0; k < WHATS; k++) {
        assert_true(n[k] > 0);
        assert_true(worst[k] <= bounds[k]);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        runs = (unsigned)atoi(argv[1]);
    tell = argc > 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_storm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
