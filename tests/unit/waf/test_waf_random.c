/*
 * Property test: random entries, lifts, ends, a rival, failures, lost races, late effects, and deaths of the process at
 * any call, for hours of virtual time. After each step: nothing of ours outlives the end of what it blocks by more than
 * five seconds; what was in AWS stays there until shortly before its end; what is foreign stays; one write a second.
 * When it gets quiet everything converges, and the store knows exactly what is ours. An argument multiplies the runs.
 */
#include "waf_fake.h"

#define GRACE (5 * S)
#define LIFT  (10 * S) /* a lift cannot be foreseen: with failures it takes some writes more */
#define EARLY (95 * S) /* entries may leave that long before their end under pressure */

struct world {
    const char *name;
    unsigned ntargets, sets_v4, sets_v6;
    uint32_t capacity;
    uint8_t aggregate;
    unsigned nets;    /* distinct /24 and /64: few, so that everything overlaps */
    unsigned percent; /* of each kind of failure */
    bool rival, crash, full;
    unsigned longest, per_minute; /* seconds of a block; new ones */
    unsigned rounds;              /* ten minutes each, and some of rest */
};

static const struct world worlds[] = {
    {"calm", 1, 2, 1, 0, 0, 8, 0, false, false, false, 900, 20, 1},
    {"failures", 1, 3, 1, 0, 0, 8, 5, false, false, false, 900, 20, 1},
    {"rival", 1, 2, 1, 0, 0, 6, 0, true, false, false, 900, 20, 1},
    {"crashes", 1, 2, 1, 0, 0, 6, 2, false, true, false, 900, 20, 1},
    {"all", 2, 2, 1, 0, 0, 6, 3, true, true, false, 900, 20, 2},
    {"full", 1, 2, 1, 40, 0, 32, 4, true, true, true, 1800, 30, 1},
    {"aggregates", 1, 2, 1, 60, 26, 2, 4, true, true, true, 1800, 60, 1},
};
static unsigned more = 1;

struct run {
    const struct world *c;
    struct fake f;
    struct waf *w;
    struct waf_target t[2];
    struct list alive; /* what was in force within GRACE */
    int64_t excused;   /* after a restart the sets must be read first */
    unsigned crashes, tampered, lifted;
};
static struct run *the_run;

static struct sk_prefix random_prefix(struct run *r)
{
    struct fake *f = &r->f;
    static const uint8_t lens4[] = {128, 128, 128, 128, 127, 126, 124, 122}, lens6[] = {128, 128, 127, 126, 64, 48};
    if (fake_rnd(f, 4)) {
        uint8_t b[4] = {11, 1, (uint8_t)fake_rnd(f, r->c->nets), (uint8_t)fake_rnd(f, 64)};
        struct sk_addr a = sk_addr_from_v4(b);
        return sk_prefix_make(&a, fake_rnd(f, 60) ? lens4[fake_rnd(f, sizeof lens4)] : 120);
    }
    uint8_t b[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, (uint8_t)fake_rnd(f, r->c->nets), [14] = (uint8_t)fake_rnd(f, 4)};
    b[15] = (uint8_t)fake_rnd(f, 256);
    struct sk_addr a = sk_addr_from_v6(b);
    return sk_prefix_make(&a, fake_rnd(f, 40) ? lens6[fake_rnd(f, 4)] : lens6[fake_rnd(f, sizeof lens6)]);
}

static void forget_seen(struct run *r, const struct sk_prefix *p)
{
    for (size_t i = 0; i < r->f.nentries; i++)
        if (sk_prefix_overlaps(&r->f.entry[i].e.target, p))
            r->f.entry[i].unsure = r->f.now + 80 * S;
}

/* ---- the rival ---- */

static void foreign_leaves(struct run *r, struct fake_set *s)
{
    struct sk_prefix p = s->foreign.p[fake_rnd(&r->f, (uint32_t)s->foreign.n)];
    fake_foreign_del(&r->f, s, &p);
    forget_seen(r, &p); /* it may have been blocked by that: ours is written after the next look */
}

static void rival_turn(struct fake *f, struct fake_set *s)
{
    struct sk_prefix p;
    uint8_t b[4] = {fake_rnd(f, 2) ? 11 : 100, 1, (uint8_t)fake_rnd(f, 4), (uint8_t)fake_rnd(f, 64)};
    struct sk_addr a = sk_addr_from_v4(b);
    if (s->v6) {
        uint8_t c[16] = {
            0x20, 1, 0xd, 0xb8, 0, 1, 0, (uint8_t)fake_rnd(f, 4), [14] = 0, [15] = (uint8_t)fake_rnd(f, 64)};
        a = sk_addr_from_v6(c);
    }
    p = sk_prefix_make(&a, (uint8_t)(128 - fake_rnd(f, 2)));
    if (s->foreign.n > 10 || list_has(&s->foreign, &p))
        foreign_leaves(the_run, s);
    else
        fake_foreign_add(f, s, &p);
}

static void rival(struct run *r)
{
    struct fake *f = &r->f;
    struct fake_set *s = &f->set[fake_rnd(f, f->nsets)];
    if (fake_rnd(f, 20) || s->addr.n == 0) {
        rival_turn(f, s);
        return;
    }
    struct sk_prefix p = s->addr.p[fake_rnd(f, (uint32_t)s->addr.n)];
    if (list_has(&s->foreign, &p))
        return;
    fake_tamper_del(f, s, &p);
    forget_seen(r, &p);
    r->tampered++;
}

/* ---- the process ---- */

static void start(struct run *r)
{
    struct fake *f = &r->f;
    struct waf_options o = {.targets = r->t,
                            .ntargets = r->c->ntargets,
                            .never = f->never,
                            .nnever = f->nnever,
                            .write_gap = S,
                            .coalesce = 2 * S,
                            .read_back = 60 * S,
                            .capacity = r->c->capacity,
                            .seed = 1 + fake_rnd(f, 1000000),
                            .aggregate_v4 = r->c->aggregate,
                            .aggregate_v6 = r->c->aggregate ? 64 : 0};
    struct waf_world world = fake_world(f);
    assert_int_equal(waf_create(&o, &world, &fake_ops, f, &r->w), SK_OK);
    r->excused = f->now + 40 * S;
}

static void crash(struct run *r)
{
    r->crashes++;
    waf_free(r->w);
    r->f.dead = false;
    r->f.die_in = -1;
    r->f.now += fake_rnd(&r->f, 5000) * SK_NS_PER_MS;
    start(r);
}

/* ---- what must hold ---- */

static void collect_alive(struct run *r)
{
    r->alive.n = 0;
    for (size_t i = 0; i < r->f.nentries; i++)
        if (r->f.entry[i].end > r->f.now - (r->f.entry[i].lifted && r->c->percent ? LIFT : GRACE))
            list_add(&r->alive, &r->f.entry[i].e.target);
}

static bool any_under(const struct list *l, const struct sk_prefix *p)
{
    for (size_t i = 0; i < l->n; i++)
        if (sk_prefix_covers(p, &l->p[i]))
            return true;
    return false;
}

/* Is every address of p in the list? */
static bool all_in(const struct list *l, const struct sk_prefix *p)
{
    for (unsigned len = 1; len <= p->len; len++) {
        struct sk_prefix wide = sk_prefix_make(&p->addr, (uint8_t)len);
        if (list_has(l, &wide))
            return true;
    }
    if (p->len == 128 || !any_under(l, p))
        return false;
    struct sk_prefix low = sk_prefix_make(&p->addr, (uint8_t)(p->len + 1)), high = low;
    high.addr.b[p->len / 8] = (uint8_t)(high.addr.b[p->len / 8] | 0x80 >> (p->len % 8));
    return all_in(l, &low) && all_in(l, &high);
}

static int ms(int64_t ns)
{
    return (int)(ns / SK_NS_PER_MS);
}

/* For whoever reads a failure. */
static void describe(struct run *r, const struct sk_prefix *p)
{
    char buf[SK_PREFIX_STRLEN];
    struct fake *f = &r->f;
    for (size_t k = 0; k < f->nentries; k++)
        if (sk_prefix_overlaps(&f->entry[k].e.target, p))
            print_message("entry %s ends in %d ms%s\n", sk_prefix_format(&f->entry[k].e.target, buf),
                          ms(f->entry[k].end - f->now), f->entry[k].lifted ? ", lifted" : "");
    for (unsigned k = 0; k < f->nsets; k++)
        print_message("%s: %u updates, ours %d, there %d, changed %d ms ago\n", f->set[k].name, f->set[k].updates,
                      fake_owns(f, &f->set[k], p), list_has(&f->set[k].addr, p), ms(f->now - f->set[k].changed_at));
    for (unsigned k = 0; k < waf_sets(r->w); k++) {
        struct waf_set_status st;
        waf_set_status(r->w, k, &st);
        print_message("%s: known %d converged %d wanted %zu ours %zu %s\n", st.name, st.known, st.converged, st.wanted,
                      st.ours, st.error);
    }
    print_message("last write %d ms ago; excused until %d ms ago\n%s\n", ms(f->now - f->last_write),
                  ms(f->now - r->excused), f->notes_text);
    fake_print_calls(f);
}

static void check_ends(struct run *r)
{
    if (r->f.now < r->excused)
        return;
    collect_alive(r);
    for (unsigned i = 0; i < r->f.nsets; i++) {
        struct fake_set *s = &r->f.set[i];
        for (size_t j = 0; j < s->addr.n; j++) {
            char buf[SK_PREFIX_STRLEN];
            if (list_has(&s->foreign, &s->addr.p[j]) || all_in(&r->alive, &s->addr.p[j]))
                continue;
            describe(r, &s->addr.p[j]);
            fail_msg("%s: %s in %s has outlived its end at %lld", r->c->name, sk_prefix_format(&s->addr.p[j], buf),
                     s->name, (long long)((r->f.now - START) / S));
        }
    }
}

static bool usable(struct run *r, const struct fake_entry *x)
{
    for (size_t i = 0; i < r->f.nnever; i++)
        if (sk_prefix_overlaps(&x->e.target, &r->f.never[i]))
            return false;
    return x->end > r->f.now + EARLY;
}

/* Every set of a family together, for a target. */
static bool in_target(struct run *r, unsigned target, const struct sk_prefix *p)
{
    static struct list all;
    all.n = 0;
    for (unsigned i = 0; i < r->f.nsets; i++)
        for (size_t j = 0; strcmp(r->f.set[i].region, r->t[target].region) == 0 && j < r->f.set[i].addr.n; j++)
            if (sk_prefix_overlaps(&r->f.set[i].addr.p[j], p))
                list_add(&all, &r->f.set[i].addr.p[j]);
    return all_in(&all, p);
}

/* What a wider one covered has its own place some seconds after that one was lifted; and who was not there when one
 * came or ended is late. */
static bool in_flux(struct run *r, const struct fake_entry *x)
{
    bool restarted = r->f.now < r->excused;
    int64_t since = r->f.now - (restarted ? 60 : 10) * S;
    for (size_t i = 0; i < r->f.nentries; i++) {
        const struct fake_entry *o = &r->f.entry[i];
        if (!sk_prefix_overlaps(&o->e.target, &x->e.target) || o->end <= since)
            continue;
        if (o->lifted || (restarted && (o->e.last > since || o->end < r->f.now + EARLY)))
            return true;
    }
    return false;
}

static void check_stays(struct run *r)
{
    for (size_t i = 0; i < r->f.nentries && !r->c->full; i++) {
        struct fake_entry *x = &r->f.entry[i];
        char buf[SK_PREFIX_STRLEN];
        if (!usable(r, x)) {
            x->seen = false; /* it may have left already when it is blocked anew */
            continue;
        }
        bool in = true;
        for (unsigned t = 0; t < r->c->ntargets; t++)
            in &= in_target(r, t, &x->e.target);
        if (x->seen && !in && r->f.now >= x->unsure && !in_flux(r, x)) {
            describe(r, &x->e.target);
            fail_msg("%s: %s was in AWS and is not any more at %lld", r->c->name, sk_prefix_format(&x->e.target, buf),
                     (long long)((r->f.now - START) / S));
        }
        if (r->f.now < x->unsure)
            in = false;
        x->seen = in && x->e.last < r->f.now - 10 * S; /* not only because of a wider one that is about to end */
    }
}

/* ---- the run ---- */

static void lift_one(struct run *r)
{
    struct fake *f = &r->f;
    if (f->nentries == 0)
        return;
    struct fake_entry *x = &f->entry[fake_rnd(f, (uint32_t)f->nentries)];
    if (x->end <= f->now)
        return;
    fake_lift(f, x);
    forget_seen(r, &x->e.target); /* what it covered is written in the next second */
    r->lifted++;
}

static void tidy(struct run *r)
{
    struct fake *f = &r->f;
    size_t k = 0;
    for (size_t i = 0; i < f->nentries; i++)
        if (f->entry[i].end > f->now - 60 * S)
            f->entry[k++] = f->entry[i];
    f->nentries = k;
}

static void happen(struct run *r)
{
    struct fake *f = &r->f;
    if (fake_rnd(f, 60) < r->c->per_minute) {
        struct sk_prefix p = random_prefix(r);
        fake_block_p(f, &p, 20 + fake_rnd(f, r->c->longest), fake_rnd(f, 100));
    }
    if (fake_rnd(f, 40) == 0)
        lift_one(r);
    if (r->c->rival && fake_rnd(f, 10) == 0)
        rival(r);
    if (r->c->crash && f->die_in < 0 && fake_rnd(f, 120) == 0)
        f->die_in = (int)fake_rnd(f, 12);
}

static void step(struct run *r)
{
    fake_run(&r->f, r->w, r->f.now + S, false);
    if (r->f.dead)
        crash(r);
    check_ends(r);
    if (fake_rnd(&r->f, 3) == 0)
        check_stays(r);
}

static void luck(struct run *r, bool bad)
{
    struct fake *f = &r->f;
    f->before = f->after = f->throttle = f->late = bad ? r->c->percent : 0;
    f->old_reads = bad && r->c->percent ? 20 : 0;
    f->race = bad && r->c->rival ? 8 : 0;
    f->db = bad && r->c->crash ? 1 : 0;
    if (!bad)
        f->die_in = -1;
}

static void check_full(struct run *r, bool v6)
{
    int64_t lowest_in = INT64_MAX, highest_out = -1;
    for (size_t i = 0; i < r->f.nentries; i++) {
        struct fake_entry *x = &r->f.entry[i];
        if ((x->e.target.len >= 96 && sk_addr_is_v4(&x->e.target.addr)) == v6 || !usable(r, x))
            continue;
        bool in = in_target(r, 0, &x->e.target), wide = false;
        for (size_t j = 0; j < r->f.nentries; j++)
            wide |= j != i && sk_prefix_overlaps(&r->f.entry[j].e.target, &x->e.target);
        for (unsigned j = 0; j < r->f.nsets; j++)
            for (size_t k = 0; k < r->f.set[j].foreign.n; k++)
                wide |= sk_prefix_overlaps(&r->f.set[j].foreign.p[k], &x->e.target);
        if (wide)
            continue; /* shares its rank with others */
        if (in && x->e.score < lowest_in)
            lowest_in = x->e.score;
        if (!in && x->e.score > highest_out)
            highest_out = x->e.score;
    }
    if (r->c->aggregate == 0)
        assert_true(highest_out <= lowest_in);
}

/* Nobody else acts, nothing fails: it converges, and the books agree. */
static void calm_down(struct run *r)
{
    luck(r, false);
    int64_t until = r->f.now + 60 * S;
    while (r->f.now < until)
        step(r);
    if (!waf_converged(r->w))
        fake_run(&r->f, r->w, r->f.now + 30 * S, true); /* between two ends */
    for (size_t i = 0; i < r->f.nentries && !r->c->full; i++)
        if (usable(r, &r->f.entry[i]))
            for (unsigned t = 0; t < r->c->ntargets; t++)
                assert_true(in_target(r, t, &r->f.entry[i].e.target));
    if (r->c->full) {
        check_full(r, false);
        check_full(r, true);
    }
    until = r->f.now + 200 * S;
    while (r->f.now < until)
        step(r);
    for (unsigned i = 0; i < r->f.nsets; i++) {
        struct fake_set *s = &r->f.set[i];
        for (size_t j = 0; j < s->addr.n; j++)
            assert_true(fake_owns(&r->f, s, &s->addr.p[j]) != list_has(&s->foreign, &s->addr.p[j]));
        assert_int_equal(fake_owned_count(&r->f, s), s->addr.n - s->foreign.n);
    }
}

static void make_sets(struct run *r)
{
    static const char *const regions[] = {"eu-west-1", "us-west-2"};
    char name[64];
    for (unsigned i = 0; i < r->c->ntargets; i++) {
        r->t[i] = (struct waf_target){WAFV2_REGIONAL, "", "sk", r->c->sets_v4, r->c->sets_v6, false};
        snprintf(r->t[i].region, sizeof r->t[i].region, "%s", regions[i]);
        for (unsigned j = 0; j < r->c->sets_v4 + r->c->sets_v6; j++) {
            bool v6 = j >= r->c->sets_v4;
            snprintf(name, sizeof name, "sk-v%c-%u", v6 ? '6' : '4', v6 ? j - r->c->sets_v4 : j);
            fake_make_set(&r->f, WAFV2_REGIONAL, regions[i], name, v6);
        }
    }
}

static void play(const struct world *c, uint64_t seed)
{
    static struct run r;
    static struct sk_prefix never[2];
    memset(&r, 0, sizeof r);
    r.c = c;
    the_run = &r;
    fake_init(&r.f, seed);
    never[0] = fake_prefix("11.1.0.32/29");
    never[1] = fake_prefix("2001:db8:1:0::8/125");
    r.f.never = never;
    r.f.nnever = 2;
    r.f.latency = 300 * SK_NS_PER_MS;
    r.f.rival = rival_turn;
    if (c->capacity)
        r.f.limit = c->capacity;
    make_sets(&r);
    start(&r);
    for (unsigned i = 0; i < c->rounds; i++) {
        luck(&r, true);
        for (int64_t until = r.f.now + 640 * S; r.f.now < until;) {
            happen(&r);
            step(&r);
        }
        calm_down(&r);
        tidy(&r);
    }
    const struct waf_stats *st = waf_stats(r.w);
    print_message("%-10s %u rounds: %u writes, %u reads, %u crashes, %u lifted, %u tampered, since the last start %u"
                  " conflicts, %u failures, %u evicted\n",
                  c->name, c->rounds, r.f.writes, r.f.reads, r.crashes, r.lifted, r.tampered, (unsigned)st->conflicts,
                  (unsigned)st->failures, (unsigned)st->evicted);
    waf_free(r.w);
    list_free(&r.alive);
    fake_free(&r.f);
}

static void test_random(void **state)
{
    const struct world *c = *state;
    for (unsigned i = 0; i < more; i++)
        play(c, 1 + i);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        more = (unsigned)atoi(argv[1]);
    struct CMUnitTest tests[sizeof worlds / sizeof worlds[0]];
    unsigned n = 0;
    for (unsigned i = 0; i < sizeof worlds / sizeof worlds[0]; i++)
        if (argc < 3 || strcmp(argv[2], worlds[i].name) == 0)
            tests[n++] = (struct CMUnitTest){worlds[i].name, test_random, NULL, NULL, (void *)(uintptr_t)&worlds[i]};
    return _cmocka_run_group_tests("waf_random", tests, n, NULL, NULL);
}
