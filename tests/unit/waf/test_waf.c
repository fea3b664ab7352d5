/* The writer, case by case, against the fake. */
#include "waf_fake.h"

static struct waf_target one = {WAFV2_REGIONAL, "eu-west-1", "sk", 1, 1, false};

static struct waf *start(struct fake *f, struct waf_target *t, unsigned n, uint32_t capacity, uint8_t aggregate)
{
    struct waf_options o = {.targets = t,
                            .ntargets = n,
                            .never = f->never,
                            .nnever = f->nnever,
                            .write_gap = S,
                            .coalesce = 2 * S,
                            .read_back = 60 * S,
                            .capacity = capacity,
                            .aggregate_v4 = aggregate,
                            .aggregate_v6 = aggregate ? 48 : 0};
    struct waf_world world = fake_world(f);
    struct waf *w;
    assert_int_equal(waf_create(&o, &world, &fake_ops, f, &w), SK_OK);
    return w;
}

static void sets(struct fake *f, unsigned v4, unsigned v6)
{
    char name[64];
    for (unsigned i = 0; i < v4; i++) {
        snprintf(name, sizeof name, "sk-v4-%u", i);
        fake_make_set(f, WAFV2_REGIONAL, "eu-west-1", name, false);
    }
    for (unsigned i = 0; i < v6; i++) {
        snprintf(name, sizeof name, "sk-v6-%u", i);
        fake_make_set(f, WAFV2_REGIONAL, "eu-west-1", name, true);
    }
}

static bool in_set(struct fake *f, const char *set, const char *p)
{
    struct sk_prefix x = fake_prefix(p);
    return list_has(&fake_find(f, set)->addr, &x);
}

static void test_blocks_and_ends(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 1);
    sets(&f, 1, 1);
    fake_block(&f, "203.0.113.5", 60, 1);
    fake_block(&f, "198.51.100.0/24", 600, 1);
    fake_block(&f, "2001:db8::1", 600, 1);
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 15 * S, true);
    assert_true(in_set(&f, "sk-v4-0", "203.0.113.5") && in_set(&f, "sk-v4-0", "198.51.100.0/24"));
    assert_true(in_set(&f, "sk-v6-0", "2001:db8::1"));
    assert_int_equal(fake_total(&f), 3);
    assert_int_equal(waf_stats(w)->writes, 2);
    char buf[128];
    struct sk_prefix p = fake_prefix("198.51.100.77");
    assert_true(waf_has(w, &p, buf, sizeof buf));
    assert_string_equal(buf, "REGIONAL/eu-west-1/sk-v4-0");
    fake_run(&f, w, START + 54 * S, false); /* in the first minute ends are some seconds early */
    assert_true(in_set(&f, "sk-v4-0", "203.0.113.5"));
    fake_run(&f, w, START + 62 * S, false);
    assert_false(in_set(&f, "sk-v4-0", "203.0.113.5"));
    fake_run(&f, w, START + 603 * S, false);
    assert_int_equal(fake_total(&f), 0);
    assert_int_equal(fake_owned_count(&f, fake_find(&f, "sk-v4-0")), 0);
    waf_free(w);
    fake_free(&f);
}

static void test_never_and_zero(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 1);
    sets(&f, 1, 1);
    struct sk_prefix never[] = {fake_prefix("10.0.0.0/8"), fake_prefix("192.0.2.7"), fake_prefix("2001:db8:1::/48")};
    f.never = never;
    f.nnever = 3;
    fake_block(&f, "10.1.2.3", 600, 1);
    fake_block(&f, "192.0.2.0/24", 600, 1); /* holds one of them */
    fake_block(&f, "192.0.2.7", 600, 1);
    fake_block(&f, "192.0.2.6", 600, 1);
    fake_block(&f, "0.0.0.0/0", 600, 1);
    fake_block(&f, "::/0", 600, 1);
    fake_block(&f, "2001:db8:1:2::/64", 600, 1);
    fake_block(&f, "2001:db8::/32", 600, 1);
    fake_block(&f, "2001:db9::/32", 600, 1);
    struct fake_entry *x = fake_block(&f, "203.0.113.0/24", 600, 1);
    x->e.target.addr.b[15] = 9; /* host bits */
    struct waf *w = start(&f, &one, 1, 0, 8);
    fake_run(&f, w, f.now + 15 * S, true);
    assert_true(in_set(&f, "sk-v4-0", "192.0.2.6") && in_set(&f, "sk-v4-0", "203.0.113.0/24"));
    assert_true(in_set(&f, "sk-v6-0", "2001:db9::/32"));
    assert_int_equal(fake_total(&f), 3);
    waf_free(w);
    fake_free(&f);
}

/* The narrow one has no place of its own, and gets it before the wide one ends: never without. */
static void test_covered(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 3);
    sets(&f, 4, 1);
    struct waf_target t = one;
    t.sets_v4 = 4;
    fake_block(&f, "203.0.113.0/24", 300, 1);
    for (int i = 0; i < 32; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)(i * 8);
        fake_block_p(&f, &p, 900, 1);
    }
    struct waf *w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + 30 * S, true);
    assert_int_equal(fake_total(&f), 1);
    struct sk_prefix probe = fake_prefix("203.0.113.64");
    while (f.now < START + 310 * S) {
        fake_run(&f, w, f.now + S / 4, false);
        assert_true(fake_blocked(&f, &probe));
    }
    assert_int_equal(fake_total(&f), 32);
    struct sk_prefix other = fake_prefix("203.0.113.65");
    assert_false(fake_blocked(&f, &other));
    waf_free(w);
    fake_free(&f);
}

static void test_foreign(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 4);
    sets(&f, 1, 1);
    struct fake_set *s = fake_find(&f, "sk-v4-0");
    struct sk_prefix a = fake_prefix("192.0.2.0/25"), b = fake_prefix("203.0.113.9"), c = fake_prefix("198.51.100.1");
    fake_foreign_add(&f, s, &a);
    fake_foreign_add(&f, s, &b);
    fake_block(&f, "203.0.113.9", 100, 1); /* foreign and wanted */
    fake_block(&f, "203.0.113.10", 100, 1);
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 15 * S, true);
    assert_int_equal(fake_total(&f), 3);
    struct waf_set_status st;
    waf_set_status(w, 0, &st);
    assert_int_equal(st.foreign, 2);
    assert_int_equal(st.ours, 1);
    assert_true(st.converged);
    fake_foreign_add(&f, s, &c);
    fake_run(&f, w, START + 110 * S, false);
    assert_int_equal(fake_total(&f), 3);
    assert_true(list_has(&s->addr, &b) && list_has(&s->addr, &a) && list_has(&s->addr, &c));
    waf_free(w);
    fake_free(&f);
}

static void test_foreign_that_leaves_is_ours_then(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 5);
    sets(&f, 1, 1);
    struct fake_set *s = fake_find(&f, "sk-v4-0");
    struct sk_prefix b = fake_prefix("203.0.113.9");
    fake_foreign_add(&f, s, &b);
    fake_block(&f, "203.0.113.9", 1000, 1);
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 15 * S, true);
    assert_int_equal(s->updates, 0);
    fake_foreign_del(&f, s, &b);
    fake_run(&f, w, f.now + 70 * S, false); /* the next look */
    assert_true(list_has(&s->addr, &b));
    fake_run(&f, w, START + 1003 * S, false);
    assert_int_equal(fake_total(&f), 0);
    waf_free(w);
    fake_free(&f);
}

static void test_read_back_repairs(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 6);
    sets(&f, 1, 1);
    struct fake_set *s = fake_find(&f, "sk-v4-0");
    fake_block(&f, "203.0.113.9", 10000, 1);
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 15 * S, true);
    struct sk_prefix b = fake_prefix("203.0.113.9");
    fake_tamper_del(&f, s, &b);
    fake_run(&f, w, f.now + 65 * S, false);
    assert_true(list_has(&s->addr, &b));
    waf_free(w);
    fake_free(&f);
}

/* Removals are on time even then: 10 % each of failures before and after, of throttling and of lost races. */
static void race(struct fake *f, struct fake_set *s)
{
    struct sk_prefix p = fake_prefix("100.64.0.0");
    p.addr.b[14] = (uint8_t)fake_rnd(f, 4);
    p.addr.b[15] = (uint8_t)fake_rnd(f, 256);
    if (list_has(&s->foreign, &p))
        fake_foreign_del(f, s, &p);
    else
        fake_foreign_add(f, s, &p);
}

static void test_lock_races(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 7);
    sets(&f, 1, 1);
    f.rival = race;
    f.race = 50;
    struct waf *w = start(&f, &one, 1, 0, 0);
    for (int i = 0; i < 200; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)i;
        fake_block_p(&f, &p, 300 + i, 1);
        fake_run(&f, w, f.now + S, false);
    }
    f.race = 0;
    fake_run(&f, w, f.now + 30 * S, true);
    assert_true(waf_stats(w)->conflicts > 10);
    assert_int_equal(fake_total(&f), 200 + fake_find(&f, "sk-v4-0")->foreign.n);
    fake_run(&f, w, f.now + 510 * S, false);
    assert_int_equal(fake_total(&f), fake_find(&f, "sk-v4-0")->foreign.n);
    waf_free(w);
    fake_free(&f);
}

/* An intent that lost the race is not ours: whoever won may have put it there. */
static void race_same(struct fake *f, struct fake_set *s)
{
    struct sk_prefix p = fake_prefix("203.0.113.77");
    if (list_has(&s->addr, &p))
        return;
    s->token = ++f->next_token;
    list_add(&s->addr, &p);
    list_add(&s->foreign, &p);
    f->race = 0;
}

static void test_race_for_the_same(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 8);
    sets(&f, 1, 1);
    f.rival = race_same;
    f.race = 100;
    fake_block(&f, "203.0.113.77", 60, 1);
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 30 * S, true);
    fake_run(&f, w, START + 200 * S, false);
    assert_true(in_set(&f, "sk-v4-0", "203.0.113.77"));
    waf_free(w);
    fake_free(&f);
}

static void test_full_evicts_by_rank(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 9);
    sets(&f, 2, 1);
    struct waf_target t = one;
    t.sets_v4 = 2;
    for (int i = 0; i < 60; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)(i * 4);
        fake_block_p(&f, &p, 3000, 1000 - i);
    }
    struct waf *w = start(&f, &t, 1, 20, 0);
    fake_run(&f, w, f.now + 30 * S, true);
    assert_int_equal(fake_total(&f), 40);
    assert_int_equal(waf_stats(w)->evicted, 20);
    assert_int_equal(f.notes, 20);
    for (int i = 0; i < 60; i++)
        assert_int_equal(fake_blocked(&f, &f.entry[i].e.target), i < 40);
    uint64_t writes = waf_stats(w)->writes;
    fake_run(&f, w, f.now + 600 * S, false);
    assert_int_equal(waf_stats(w)->writes, writes);
    assert_int_equal(f.notes, 20);
    struct waf_set_status a, b;
    waf_set_status(w, 0, &a);
    waf_set_status(w, 1, &b);
    assert_int_equal(a.evicted + b.evicted, 20);
    fake_lift(&f, &f.entry[3]);
    fake_run(&f, w, f.now + 30 * S, false);
    assert_true(fake_blocked(&f, &f.entry[40].e.target));
    assert_string_equal(f.last_note, "waf-returned 203.0.113.160 REGIONAL eu-west-1 sk-v4");
    assert_int_equal(f.notes, 21);
    waf_free(w);
    fake_free(&f);
}

/* Equal rank: who is in stays in, however often the others are seen again. */
static void test_no_flapping(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 10);
    sets(&f, 1, 1);
    for (int i = 0; i < 30; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)(i * 4);
        fake_block_p(&f, &p, 5000, 7);
    }
    struct waf *w = start(&f, &one, 1, 20, 0);
    fake_run(&f, w, f.now + 30 * S, true);
    uint64_t writes = waf_stats(w)->writes;
    for (int i = 0; i < 100; i++) {
        f.entry[fake_rnd(&f, 30)].e.last = f.now;
        f.changed++;
        fake_run(&f, w, f.now + S, false);
    }
    assert_true(waf_stats(w)->writes <= writes + 1); /* the ten minutes may turn once meanwhile */
    waf_free(w);
    fake_free(&f);
}

static void test_aggregates_siblings_only(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 11);
    sets(&f, 1, 1);
    for (int i = 0; i < 256; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)i;
        if (i != 77)
            fake_block_p(&f, &p, i == 130 ? 300 : 3000, 1);
    }
    struct waf *w = start(&f, &one, 1, 20, 26);
    fake_run(&f, w, f.now + 20 * S, true);
    assert_true(in_set(&f, "sk-v4-0", "203.0.113.128/26") && in_set(&f, "sk-v4-0", "203.0.113.0/26"));
    assert_false(in_set(&f, "sk-v4-0", "203.0.113.128/25")); /* wider than allowed */
    struct sk_prefix hole = fake_prefix("203.0.113.77"), ends = fake_prefix("203.0.113.130");
    assert_false(fake_blocked(&f, &hole));
    assert_int_equal(waf_stats(w)->evicted, 0);
    assert_true(waf_stats(w)->aggregated > 3);
    while (f.now < START + 305 * S) {
        fake_run(&f, w, f.now + S, false);
        for (int i = 0; i < 256; i++)
            if (i != 77 && i != 130)
                assert_true(fake_blocked(&f, &f.entry[i > 77 ? i - 1 : i].e.target));
    }
    assert_false(fake_blocked(&f, &ends));
    assert_false(fake_blocked(&f, &hole));
    waf_free(w);
    fake_free(&f);
}

static void test_missing_and_made(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 12);
    struct waf_target t = one;
    t.sets_v6 = 0;
    fake_block(&f, "203.0.113.9", 10000, 1);
    struct waf *w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + 200 * S, false);
    assert_string_equal(f.notes_text, "waf-failing REGIONAL/eu-west-1/sk-v4-0: there is no IP set of this name\n");
    assert_non_null(strstr(f.last_note, "there is no IP set"));
    assert_int_equal(f.creates, 0);
    sets(&f, 1, 0); /* somebody makes it */
    fake_run(&f, w, f.now + 40 * S, true);
    assert_true(in_set(&f, "sk-v4-0", "203.0.113.9"));
    waf_free(w);

    fake_find(&f, "sk-v4-0")->exists = false; /* and deletes it; now we may make it */
    t.create = true;
    w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + 20 * S, true);
    assert_int_equal(f.creates, 1);
    assert_true(in_set(&f, "sk-v4-0", "203.0.113.9"));
    fake_find(&f, "sk-v4-0")->exists = false; /* under our hands */
    fake_run(&f, w, f.now + 80 * S, false);
    assert_true(in_set(&f, "sk-v4-0", "203.0.113.9"));
    assert_int_equal(f.creates, 2);
    waf_free(w);
    fake_free(&f);
}

/* Another set has taken the name: what is in it is not ours, although we had written it into the old one. */
static void test_replaced_set(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 13);
    sets(&f, 1, 1);
    fake_block(&f, "203.0.113.9", 300, 1);
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 15 * S, true);
    fake_find(&f, "sk-v4-0")->exists = false;
    struct fake_set *s = fake_make_set(&f, WAFV2_REGIONAL, "eu-west-1", "sk-v4-0", false);
    struct sk_prefix p = fake_prefix("203.0.113.9");
    list_add(&s->addr, &p);
    list_add(&s->foreign, &p);
    fake_run(&f, w, START + 400 * S, false);
    assert_true(in_set(&f, "sk-v4-0", "203.0.113.9"));
    waf_free(w);
    fake_free(&f);
}

static void test_nothing_without_entries(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 14);
    sets(&f, 1, 1);
    fake_block(&f, "203.0.113.9", 10000, 1);
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 15 * S, true);
    waf_free(w);
    f.entries_fail = true;
    w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 300 * S, false);
    assert_true(in_set(&f, "sk-v4-0", "203.0.113.9"));
    assert_int_equal(fake_find(&f, "sk-v4-0")->updates, 1);
    f.entries_fail = false;
    fake_run(&f, w, f.now + 15 * S, true);
    assert_int_equal(fake_find(&f, "sk-v4-0")->updates, 1);
    waf_free(w);
    fake_free(&f);
}

static void test_leading(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 15);
    sets(&f, 1, 1);
    f.leading = false;
    fake_block(&f, "203.0.113.9", 10000, 1);
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 60 * S, false);
    assert_int_equal(f.writes, 0);
    f.leading = true;
    fake_run(&f, w, f.now + 15 * S, true);
    f.leading = false; /* another one writes */
    fake_block(&f, "203.0.113.10", 10000, 1);
    fake_run(&f, w, f.now + 15 * S, false);
    struct waf *other;
    f.leading = true;
    other = start(&f, &one, 1, 0, 0);
    fake_run(&f, other, f.now + 15 * S, true);
    waf_free(other);
    fake_lift(&f, &f.entry[1]);
    fake_run(&f, w, f.now + 15 * S, true); /* what the other has written is ours */
    assert_int_equal(fake_total(&f), 1);
    waf_free(w);
    fake_free(&f);
}

/* One address that AWS will not have does not keep the others out. */
static void test_refused(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 16);
    sets(&f, 1, 1);
    struct sk_prefix bad = fake_prefix("203.0.113.100");
    f.refuse = &bad;
    for (int i = 0; i < 200; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)i;
        fake_block_p(&f, &p, 3000, 1);
    }
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 60 * S, true);
    assert_int_equal(fake_total(&f), 199);
    assert_non_null(strstr(f.notes_text, "waf-refused REGIONAL/eu-west-1/sk-v4-0: 203.0.113.100"));
    assert_int_equal(fake_owned_count(&f, fake_find(&f, "sk-v4-0")), 199);
    waf_free(w);
    fake_free(&f);
}

static void test_denied(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 17);
    sets(&f, 1, 1);
    fake_block(&f, "203.0.113.100", 3000, 1);
    f.denied = 6;
    struct waf *w = start(&f, &one, 1, 0, 0);
    fake_run(&f, w, f.now + 300 * S, true);
    assert_int_equal(fake_total(&f), 1);
    assert_non_null(strstr(f.notes_text, "AccessDenied"));
    assert_non_null(strstr(f.notes_text, "waf-recovered"));
    waf_free(w);
    fake_free(&f);
}

/* Fewer sets than before: those that are left over are emptied of what is ours. */
static void test_retired_sets(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 18);
    sets(&f, 3, 1);
    struct waf_target t = one;
    t.sets_v4 = 3;
    for (int i = 0; i < 100; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)i;
        fake_block_p(&f, &p, 30000, 1);
    }
    struct sk_prefix foreign = fake_prefix("192.0.2.1");
    fake_foreign_add(&f, fake_find(&f, "sk-v4-2"), &foreign);
    struct waf *w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + 20 * S, true);
    assert_true(fake_find(&f, "sk-v4-0")->addr.n > 15 && fake_find(&f, "sk-v4-2")->addr.n > 15);
    waf_free(w);
    t.sets_v4 = 1;
    w = start(&f, &t, 1, 0, 0);
    int64_t until = f.now + 30 * S;
    while (f.now < until) {
        fake_run(&f, w, f.now + S / 4, false);
        for (size_t i = 0; i < f.nentries; i++)
            assert_true(fake_blocked(&f, &f.entry[i].e.target));
    }
    assert_true(waf_converged(w));
    assert_int_equal(fake_find(&f, "sk-v4-0")->addr.n, 100);
    assert_int_equal(fake_find(&f, "sk-v4-1")->addr.n, 0);
    assert_int_equal(fake_find(&f, "sk-v4-2")->addr.n, 1);
    assert_int_equal(waf_sets(w), 2);
    waf_free(w);
    fake_free(&f);
}

static void count_plan(void *arg, const struct waf_set_status *set, char sign, const struct sk_prefix *p,
                       const char *why)
{
    (void)set;
    (void)p;
    (void)why;
    ((unsigned *)arg)[(unsigned char)sign]++;
}

static void test_plan_and_dry_run(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 19);
    sets(&f, 1, 1);
    for (int i = 0; i < 30; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)(i * 4);
        fake_block_p(&f, &p, 300, 30 - i);
    }
    struct waf_target t = one;
    struct waf_options o = {.targets = &t, .ntargets = 1, .capacity = 20, .dry_run = true};
    struct waf_world world = fake_world(&f);
    struct waf *w;
    assert_int_equal(waf_create(&o, &world, &fake_ops, &f, &w), SK_OK);
    unsigned signs[256] = {0};
    assert_int_equal(waf_plan(w, f.now, count_plan, signs), SK_OK);
    assert_int_equal(signs['+'], 20);
    assert_int_equal(signs['!'], 10);
    assert_int_equal(signs['-'], 0);
    fake_run(&f, w, f.now + 200 * S, false);
    assert_int_equal(f.writes, 0);
    assert_int_equal(fake_owned_count(&f, fake_find(&f, "sk-v4-0")), 0);
    assert_non_null(strstr(f.notes_text, "20 would be added"));
    waf_free(w);
    fake_free(&f);
}

static void test_options(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 20);
    struct waf_world world = fake_world(&f);
    struct waf *w;
    struct waf_target two[2] = {one, one};
    struct waf_options o = {.targets = two, .ntargets = 2};
    assert_int_equal(waf_create(&o, &world, &fake_ops, &f, &w), SK_EINVAL); /* the same twice */
    o.ntargets = 1;
    two[0].sets_v4 = 50; /* 51 references */
    assert_int_equal(waf_create(&o, &world, &fake_ops, &f, &w), SK_EINVAL);
    two[0].sets_v4 = 1;
    snprintf(two[0].prefix, sizeof two[0].prefix, "a b");
    assert_int_equal(waf_create(&o, &world, &fake_ops, &f, &w), SK_EINVAL);
    fake_free(&f);
}

/* Three targets share one write a second, and one that does not answer does not hold the others up. */
static void test_targets_share(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 21);
    struct waf_target t[3] = {{WAFV2_REGIONAL, "eu-west-1", "a", 2, 0, true},
                              {WAFV2_REGIONAL, "us-east-1", "b", 2, 0, true},
                              {WAFV2_CLOUDFRONT, "", "c", 2, 0, true}};
    struct waf *w = start(&f, t, 3, 0, 0);
    for (int i = 0; i < 200; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)i;
        fake_block_p(&f, &p, 3000, 1);
        fake_run(&f, w, f.now + S, false);
    }
    fake_run(&f, w, f.now + 15 * S, true);
    assert_int_equal(fake_total(&f), 600);
    for (unsigned i = 0; i < 6; i++)
        assert_true(f.set[i].updates > 20 && f.set[i].updates < 50);
    assert_string_equal(fake_find(&f, "c-v4-0")->region, "us-east-1");
    waf_free(w);
    fake_free(&f);
}

/* It reads at once, and writes as soon as a second has passed since the one before it wrote. */
static void test_takes_over_at_once(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 22);
    sets(&f, 1, 0);
    struct waf_target t = one;
    t.sets_v6 = 0;
    for (int i = 0; i < 3; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)i;
        fake_block_p(&f, &p, 3000, 1);
    }
    struct waf *w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + 15 * S, true);
    assert_int_equal(fake_total(&f), 3);
    waf_free(w); /* and nobody has written for some seconds */
    f.now += 5 * S;
    fake_lift(&f, &f.entry[0]);
    w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + S / 2, false);
    assert_int_equal(fake_total(&f), 2);
    waf_free(w); /* just after a write */
    fake_lift(&f, &f.entry[1]);
    w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.last_write + 2 * S, false);
    assert_int_equal(fake_total(&f), 1);
    waf_free(w);
    fake_lift(&f, &f.entry[2]);
    f.writing = f.now + 3600 * S; /* the clock was put back: as if it were not known */
    w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + 2 * S, false);
    assert_int_equal(fake_total(&f), 0);
    waf_free(w);
    fake_free(&f);
}

/* How long before its end an entry goes that one writer wrote and the next takes out. */
static int64_t gone_before_end(int64_t failed_before)
{
    struct fake f;
    fake_init(&f, 25);
    sets(&f, 1, 0);
    struct waf_target t = one;
    t.sets_v6 = 0;
    struct fake_entry *x = fake_block(&f, "198.51.100.1", 30, 1);
    struct sk_prefix p = x->e.target;
    int64_t end = x->e.expires;
    struct waf *w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + 10 * S, false);
    assert_true(fake_blocked(&f, &p));
    waf_free(w);
    f.failing = failed_before ? f.now - failed_before : 0;
    w = start(&f, &t, 1, 0, 0);
    while (fake_blocked(&f, &p) && f.now < end + 10 * S)
        fake_run(&f, w, f.now + S / 10, false);
    waf_free(w);
    int64_t before = end - f.now;
    fake_free(&f);
    return before;
}

/* The same second everywhere, also after a start; but where AWS failed a moment ago, there is time to try again. */
static void test_ends_after_start(void **state)
{
    (void)state;
    int64_t calm = gone_before_end(0), long_ago = gone_before_end(600 * S), trouble = gone_before_end(60 * S);
    assert_true(calm < S && calm > -2 * S);
    assert_int_equal(long_ago, calm);
    assert_true(trouble > 5 * S && trouble < 9 * S);
}

/* Twenty sets wait to be written with what is new; a lift does not wait for them. */
static void test_lift_goes_first(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 23);
    sets(&f, 20, 0);
    struct waf_target t = one;
    t.sets_v4 = 20;
    t.sets_v6 = 0;
    struct fake_entry *x = fake_block(&f, "198.51.100.1", 3000, 1);
    struct sk_prefix lifted = x->e.target;
    struct waf *w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + 60 * S, true);
    assert_true(fake_blocked(&f, &lifted));
    for (int i = 0; i < 255; i++) {
        struct sk_prefix p = fake_prefix("203.0.113.0");
        p.addr.b[15] = (uint8_t)i;
        fake_block_p(&f, &p, 3000, 1);
    }
    fake_run(&f, w, f.now + 10 * S, false);
    unsigned waiting = 0;
    for (unsigned i = 0; i < f.nsets; i++)
        waiting += f.set[i].addr.n == 0;
    assert_true(waiting > 5);
    fake_lift(&f, &f.entry[0]);
    fake_run(&f, w, f.now + 2 * S, false);
    assert_false(fake_blocked(&f, &lifted));
    waf_free(w);
    fake_free(&f);
}

/* AWS throttles again and again: what is new waits longer and longer, but not a lift. */
static void test_lift_is_tried_again_at_once(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f, 24);
    sets(&f, 1, 0);
    struct waf_target t = one;
    t.sets_v6 = 0;
    fake_block(&f, "198.51.100.1", 3000, 1);
    struct waf *w = start(&f, &t, 1, 0, 0);
    fake_run(&f, w, f.now + 60 * S, true);
    for (int i = 0; i < 20; i++) {
        fake_run(&f, w, f.now + 100 * S, false);
        fake_block(&f, "198.51.100.1", 3000, 1);
        fake_run(&f, w, f.now + 10 * S, true);
        f.fail_run = 6;
        f.run = 0;
        f.throttle = 100;
        fake_lift(&f, &f.entry[f.nentries - 1]);
        fake_run(&f, w, f.now + 10 * S, false);
        f.throttle = 0;
        assert_int_equal(fake_total(&f), 0);
    }
    waf_free(w);
    fake_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_and_ends),
        cmocka_unit_test(test_never_and_zero),
        cmocka_unit_test(test_covered),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_foreign_that_leaves_is_ours_then),
        cmocka_unit_test(test_read_back_repairs),
        cmocka_unit_test(test_lock_races),
        cmocka_unit_test(test_race_for_the_same),
        cmocka_unit_test(test_full_evicts_by_rank),
        cmocka_unit_test(test_no_flapping),
        cmocka_unit_test(test_aggregates_siblings_only),
        cmocka_unit_test(test_missing_and_made),
        cmocka_unit_test(test_replaced_set),
        cmocka_unit_test(test_nothing_without_entries),
        cmocka_unit_test(test_leading),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_denied),
        cmocka_unit_test(test_retired_sets),
        cmocka_unit_test(test_plan_and_dry_run),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_targets_share),
        cmocka_unit_test(test_takes_over_at_once),
        cmocka_unit_test(test_ends_after_start),
        cmocka_unit_test(test_lift_goes_first),
        cmocka_unit_test(test_lift_is_tried_again_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
