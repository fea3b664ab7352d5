#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>

#include "base/clock.h"
#include "decide/flood.h"

#define T0       (INT64_C(1700000000) * SK_NS_PER_S)
#define INTERVAL SK_NS_PER_S /* the default window is ten seconds */
#define SECONDS  FLOOD_PARTS

static const struct conf_flood defaults = {.window = 10 * SK_NS_PER_S, .host_rate = 500, .prefix_rate = 2000};

struct watch {
    struct flood_detector *d;
    struct flood_sketch *s[8]; /* of workers; events go round */
    unsigned workers, turn;
    uint64_t events;
    struct sk_counters c;
    struct flood_found found[1024]; /* each once, as it was when it was new; rate: the highest */
    unsigned nfound, reports, again;
    unsigned most_at_once;
};

static void watch_open(struct watch *w, const struct conf_flood *conf, unsigned workers)
{
    *w = (struct watch){.workers = workers};
    assert_int_equal(flood_detector_create(conf, &w->d), SK_OK);
    for (unsigned i = 0; i < workers; i++)
        assert_int_equal(flood_sketch_create(&w->s[i]), SK_OK);
}

static void watch_close(struct watch *w)
{
    for (unsigned i = 0; i < w->workers; i++)
        flood_sketch_free(w->s[i]);
    flood_detector_free(w->d);
}

static struct flood_found *watch_find(struct watch *w, const struct sk_prefix *p)
{
    for (unsigned i = 0; i < w->nfound; i++)
        if (w->found[i].prefix.len == p->len && sk_addr_eq(&w->found[i].prefix.addr, &p->addr))
            return &w->found[i];
    return NULL;
}

static void hand_over(struct watch *w, unsigned worker, int64_t now)
{
    struct flood_found f[FLOOD_FOUND];
    unsigned n = flood_merge(w->d, w->s[worker], now, &w->c, f);
    w->most_at_once = n > w->most_at_once ? n : w->most_at_once;
    w->reports += n;
    for (unsigned i = 0; i < n; i++) {
        struct flood_found *have = watch_find(w, &f[i].prefix);
        assert_int_equal(f[i].fresh, have == NULL);
        assert_true(f[i].again || !f[i].fresh);
        w->again += f[i].again;
        if (have && f[i].rate > have->rate)
            have->rate = f[i].rate;
        if (!have && w->nfound < sizeof w->found / sizeof w->found[0])
            w->found[w->nfound++] = f[i];
    }
}

/* As a worker does it. */
static void event(struct watch *w, const struct sk_addr *a, int64_t now)
{
    unsigned i = w->turn++ % w->workers;
    if (flood_due(w->d, w->s[i], now))
        hand_over(w, i, now);
    flood_count(w->s[i], a, 1);
    w->events++;
}

/* Between batches. */
static void idle(struct watch *w, int64_t now)
{
    for (unsigned i = 0; i < w->workers; i++)
        if (flood_due(w->d, w->s[i], now))
            hand_over(w, i, now);
}

static struct sk_addr v4(uint32_t a)
{
    const uint8_t be[4] = {(uint8_t)(a >> 24), (uint8_t)(a >> 16), (uint8_t)(a >> 8), (uint8_t)a};
    return sk_addr_from_v4(be);
}

static struct sk_prefix prefix(const char *text)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(text, strlen(text), false, &p), SK_OK);
    return p;
}

static void assert_found(struct watch *w, const char *text, double rate)
{
    struct sk_prefix p = prefix(text);
    struct flood_found *f = watch_find(w, &p);
    if (!f)
        fail_msg("%s is not found", text);
    if (f->rate > rate + 1e-6 || f->rate < rate * 0.999)
        fail_msg("%s: %f, wanted %f", text, f->rate, rate);
}

/* `rate` events a second from hosts[0..n-1] in turn, evenly over `seconds`. */
static int64_t flood(struct watch *w, const struct sk_addr *hosts, unsigned n, unsigned rate, unsigned seconds,
                     int64_t from)
{
    for (unsigned i = 0; i < rate * seconds; i++)
        event(w, &hosts[i % n], from + (int64_t)i * SK_NS_PER_S / rate);
    return from + seconds * SK_NS_PER_S;
}

/* --- few addresses: exact --- */

static void a_host_over_its_rate_is_found_once(void **state)
{
    (void)state;
    struct watch w;
    watch_open(&w, &defaults, 1);
    struct sk_addr a = v4(0xc0000201);
    int64_t t = flood(&w, &a, 1, 600, 30, T0);
    idle(&w, t);
    assert_int_equal(w.nfound, 1);
    assert_found(&w, "192.0.2.1", 600);
    assert_int_equal(w.found[0].limit, 500);
    assert_true(w.reports > 15);  /* it goes on: told in each interval, but not as new */
    assert_int_equal(w.again, 3); /* and once a window it may be acted on again */
    assert_int_equal(w.most_at_once, 1);
    /* Quiet for a window: it is over, and the next one is another flood. */
    t = flood(&w, &a, 1, 10, 25, t);
    w.nfound = 0;
    t = flood(&w, &a, 1, 600, 12, t);
    idle(&w, t);
    assert_int_equal(w.nfound, 1);
    watch_close(&w);
}

static void the_limit_itself_is_allowed(void **state)
{
    (void)state;
    struct watch w;
    watch_open(&w, &defaults, 1);
    struct sk_addr a = v4(0xc0000201);
    int64_t t = flood(&w, &a, 1, 500, 30, T0);
    idle(&w, t);
    assert_int_equal(w.reports, 0);
    flood(&w, &a, 1, 500, 10, t);
    for (int i = 0; i < 10; i++) /* all of this interval */
        event(&w, &a, t + 10 * SK_NS_PER_S);
    for (unsigned i = 0; i < 491; i++)
        event(&w, &a, t + 10 * SK_NS_PER_S);
    idle(&w, t + 11 * SK_NS_PER_S);
    assert_found(&w, "192.0.2.1", 500.1);
    watch_close(&w);
}

/* A burst that is over counts as what it is over the window. */
static void a_burst_is_averaged(void **state)
{
    (void)state;
    struct watch w;
    watch_open(&w, &defaults, 1);
    struct sk_addr a = v4(0xc0000201), b = v4(0xc0000202);
    for (int i = 0; i < 4999; i++)
        event(&w, &a, T0);
    for (int i = 0; i < 5001; i++)
        event(&w, &b, T0);
    idle(&w, T0 + INTERVAL);
    assert_int_equal(w.nfound, 1);
    assert_found(&w, "192.0.2.2", 500.1);
    watch_close(&w);
}

/* --- the narrowest level that explains it --- */

static void make_hosts(struct sk_addr *hosts, unsigned n, uint32_t first, uint32_t step)
{
    for (unsigned i = 0; i < n; i++)
        hosts[i] = v4(first + i * step);
}

static void many_hosts_of_a_24(void **state)
{
    (void)state;
    struct watch w;
    struct sk_addr hosts[100];
    watch_open(&w, &defaults, 1);
    make_hosts(hosts, 100, 0xc6336400, 1);
    idle(&w, flood(&w, hosts, 100, 3000, 11, T0));
    assert_int_equal(w.nfound, 1);
    assert_found(&w, "198.51.100.0/24", 3000);
    assert_int_equal(w.found[0].limit, 2000);
    watch_close(&w);
}

static void many_24s_of_a_16(void **state)
{
    (void)state;
    struct watch w;
    struct sk_addr hosts[100];
    watch_open(&w, &defaults, 1);
    make_hosts(hosts, 100, 0xc6330001, 256);
    idle(&w, flood(&w, hosts, 100, 9000, 11, T0));
    assert_int_equal(w.nfound, 1);
    assert_found(&w, "198.51.0.0/16", 9000);
    assert_int_equal(w.found[0].limit, FLOOD_WIDE * 2000);
    watch_close(&w);
}

static void ipv6_has_levels_of_its_own(void **state)
{
    (void)state;
    struct watch w;
    struct sk_addr in64[100], in48[100];
    watch_open(&w, &defaults, 1);
    for (unsigned i = 0; i < 100; i++) {
        in64[i] = prefix("2001:db8:1:2::").addr;
        in64[i].b[8] = (uint8_t)(i + 1);
        in48[i] = prefix("2001:db8:3::").addr;
        in48[i].b[7] = (uint8_t)i;
        in48[i].b[15] = 1;
    }
    struct sk_addr one = prefix("2001:db8:4::1").addr;
    for (int s = 0; s < 11; s++) {
        flood(&w, in64, 100, 3000, 1, T0 + s * SK_NS_PER_S);
        flood(&w, in48, 100, 9000, 1, T0 + s * SK_NS_PER_S);
        flood(&w, &one, 1, 600, 1, T0 + s * SK_NS_PER_S);
    }
    idle(&w, T0 + 11 * SK_NS_PER_S);
    assert_int_equal(w.nfound, 3);
    assert_found(&w, "2001:db8:1:2::/64", 3000);
    assert_found(&w, "2001:db8:3::/48", 9000);
    assert_found(&w, "2001:db8:4::1", 600);
    watch_close(&w);
}

/* One host's flood accuses neither its /24 nor its /16, also while it ebbs; what the others of the range do counts. */
static void a_range_answers_for_the_rest_of_it(void **state)
{
    (void)state;
    struct watch w;
    struct sk_addr one = v4(0xc6336401), others[50];
    watch_open(&w, &defaults, 1);
    int64_t t = flood(&w, &one, 1, 30000, 12, T0);
    t = flood(&w, &one, 1, 10, 25, t);
    assert_int_equal(w.nfound, 1);
    assert_found(&w, "198.51.100.1", 30000);
    w.nfound = 0;
    make_hosts(others, 50, 0xc6336410, 1);
    for (int s = 0; s < 11; s++) {
        flood(&w, &one, 1, 700, 1, t + s * SK_NS_PER_S);
        flood(&w, others, 50, 2500, 1, t + s * SK_NS_PER_S);
    }
    idle(&w, t + 11 * SK_NS_PER_S);
    assert_int_equal(w.nfound, 2);
    assert_found(&w, "198.51.100.0/24", 2500);
    watch_close(&w);
}

/* A /16 likewise, and what a host of a /24 did is not taken off twice. */
static void a_wide_range_answers_for_the_rest_of_it(void **state)
{
    (void)state;
    struct watch w;
    struct sk_addr one = v4(0xc63364c8), in24[100], in16[100];
    watch_open(&w, &defaults, 1);
    make_hosts(in24, 100, 0xc6336400, 1);
    make_hosts(in16, 100, 0xc6338001, 256);
    for (int s = 0; s < 22; s++) { /* first 9,900 a second of the /16, 6,200 without the others; then 8,100 */
        flood(&w, &one, 1, 700, 1, T0 + s * SK_NS_PER_S);
        flood(&w, in24, 100, 3000, 1, T0 + s * SK_NS_PER_S);
        flood(&w, in16, 100, s < 11 ? 6200 : 8100, 1, T0 + s * SK_NS_PER_S);
        if (s == 10)
            assert_int_equal(w.nfound, 2);
    }
    idle(&w, T0 + 22 * SK_NS_PER_S);
    assert_found(&w, "198.51.100.200", 700);
    assert_found(&w, "198.51.100.0/24", 3000);
    assert_found(&w, "198.51.0.0/16", 8100);
    watch_close(&w);
}

/* --- very many addresses: within the error --- */

#define CROWD 1000000

static uint64_t random_state;

static uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* The k-th of the crowd, all different, spread over 16.0.0.0/8. */
static uint32_t crowd(uint32_t k)
{
    return 0x10000000u | ((k * 2654435761u) & 0x00ffffffu);
}

/* Each of a million talks once in the window, and one talks at twice the limit. */
static void a_flood_among_a_million(void **state)
{
    (void)state;
    struct watch w;
    struct sk_addr one = v4(0xc6336401);
    watch_open(&w, &defaults, 1);
    uint64_t memory = flood_detector_memory(w.d) + flood_sketch_memory(w.s[0]);
    const unsigned each = CROWD / SECONDS / (2 * 500);
    uint32_t k = 0;
    for (unsigned i = 0; i < 2 * 500 * SECONDS; i++) {
        int64_t t = T0 + (int64_t)i * SK_NS_PER_S / (2 * 500);
        event(&w, &one, t);
        for (unsigned n = 0; n < each; n++) {
            struct sk_addr a = v4(crowd(k++));
            event(&w, &a, t);
        }
    }
    assert_int_equal(k, CROWD);
    assert_int_equal(w.nfound, 1); /* before the window is over */
    struct sk_prefix p = prefix("198.51.100.1");
    assert_non_null(watch_find(&w, &p));
    idle(&w, T0 + SECONDS * SK_NS_PER_S);
    assert_int_equal(w.nfound, 1);
    assert_true(w.found[0].rate <= 1000);
    assert_true(w.found[0].rate >= 1000 - (double)w.events / FLOOD_ENTRIES / SECONDS);
    assert_int_equal(flood_detector_memory(w.d) + flood_sketch_memory(w.s[0]), memory);
    assert_true(memory < 2 << 20);
    watch_close(&w);
}

/* Both workers hand over what they have of the ninth second, and somebody looks after that. */
static void last_look(struct watch *w)
{
    struct sk_addr a = v4(0x0b000001);
    for (int s = 10; s < 12; s++) {
        idle(w, T0 + s * SK_NS_PER_S);
        for (unsigned i = 0; i < w->workers; i++)
            event(w, &a, T0 + s * SK_NS_PER_S);
    }
    idle(w, T0 + 12 * SK_NS_PER_S);
}

static const struct conf_flood low_limits = {.window = 10 * SK_NS_PER_S, .host_rate = 100, .prefix_rate = 300};

/* When all counters are taken a newcomer inherits the least count; that is not what it did. */
static void nobody_answers_for_the_count_it_inherits(void **state)
{
    (void)state;
    struct watch w;
    watch_open(&w, &low_limits, 2);
    uint32_t k = 0;
    for (int s = 1; s < 10; s++) {
        int64_t t = T0 + s * SK_NS_PER_S;
        for (int i = 0; i < 100000; i++) {
            struct sk_addr a = v4(crowd(k++)); /* 195 of each counter */
            event(&w, &a, t);
        }
        for (int i = 0; i < 3200; i++) { /* 16 newcomers in ranges of their own; eight of them over the limit */
            struct sk_addr a = v4(0xc6330001u + (uint32_t)(i % 16 << 16));
            if (i % 16 < 8 || i < 1600)
                event(&w, &a, t + 1);
        }
    }
    last_look(&w);
    assert_int_equal(w.nfound, 8);
    for (unsigned i = 0; i < w.nfound; i++)
        assert_true(w.found[i].rate <= 180 && w.found[i].rate >= 180 - (double)w.events / FLOOD_ENTRIES / SECONDS);
    watch_close(&w);
}

/* A host whose counter was taken by others again and again, before it became a flood: its range, whose counter never
 * was, does not answer for what is no longer known of it. */
static void what_a_host_may_have_done_is_not_its_ranges(void **state)
{
    (void)state;
    struct watch w;
    watch_open(&w, &low_limits, 1);
    struct sk_addr one = v4(0xc6336401);
    uint32_t k = 0, others = 0;
    for (int s = 1; s < 10; s++) {
        int64_t t = T0 + s * SK_NS_PER_S;
        for (uint32_t i = 0; i < 40000; i++) {
            struct sk_addr a = v4(crowd(k++)), other = v4(0xc6336410 + i / 100 % 80);
            event(&w, &a, t);
            if (i % 800 == 799)
                event(&w, &one, t);
            if (i % 100 == 50 && ++others)
                event(&w, &other, t);
        }
        for (int i = 0; i < 2000; i++)
            event(&w, &one, t);
    }
    last_look(&w);
    assert_int_equal(w.nfound, 2);
    struct sk_prefix range = prefix("198.51.100.0/24");
    assert_non_null(watch_find(&w, &range));
    assert_true(watch_find(&w, &range)->rate <= others / 10.0);
    watch_close(&w);
}

/* The same when it was cut from the sum of two sketches, neither of which was full. */
static void what_was_cut_is_not_its_ranges(void **state)
{
    (void)state;
    struct watch w;
    watch_open(&w, &low_limits, 2);
    struct sk_addr one = v4(0xc6336401);
    for (int s = 1; s < 10; s++) {
        int64_t t = T0 + s * SK_NS_PER_S;
        for (uint32_t i = 0; i < 40 * 400; i++) { /* 20 events of each, half of them at either worker */
            struct sk_addr a = v4(crowd(i % 800));
            w.turn = i % 2;
            event(&w, &a, t);
        }
        for (uint32_t i = 0; i < 4000; i++) {
            struct sk_addr other = v4(0xc6336410 + i % 80);
            event(&w, &other, t);
        }
        for (int i = 0; i < (s < 9 ? 19 : 5000); i++) {
            w.turn = 0;
            event(&w, &one, t);
        }
    }
    last_look(&w);
    assert_int_equal(w.nfound, 2);
    struct sk_prefix range = prefix("198.51.100.0/24");
    assert_non_null(watch_find(&w, &range));
    assert_true(watch_find(&w, &range)->rate <= 9 * 4000 / 10.0);
    watch_close(&w);
}

/* A Zipf-like crowd (the one of rank r talks in proportion to 1/r), and what each of it did: 16.0.0.0/8. */
struct zipf {
    uint32_t *host, *in24, *in16;
};

/* The density of 1/r between 1 and CROWD, by its inverse: CROWD to the power of u in 0..1. */
static uint32_t zipf_rank(void)
{
    double u = (double)(random64() >> 11) / 9007199254740992.0, r = 1, root = CROWD;
    for (int bit = 0; bit < 30; bit++) {
        root = sqrt(root);
        u *= 2;
        if (u >= 1) {
            r *= root;
            u -= 1;
        }
    }
    return (uint32_t)r < CROWD ? (uint32_t)r : CROWD - 1;
}

static void zipf_event(struct watch *w, struct zipf *z, uint32_t address, int64_t now)
{
    struct sk_addr a = v4(address);
    event(w, &a, now);
    z->host[address & 0x00ffffff]++;
    z->in24[(address & 0x00ffffff) >> 8]++;
    z->in16[(address & 0x00ffffff) >> 16]++;
}

static uint32_t zipf_true(const struct zipf *z, const struct sk_prefix *p)
{
    uint32_t a = (uint32_t)p->addr.b[13] << 16 | (uint32_t)p->addr.b[14] << 8 | p->addr.b[15];
    return p->len == 128 ? z->host[a] : p->len == 120 ? z->in24[a >> 8] : z->in16[a >> 16];
}

static struct zipf zipf_make(void)
{
    struct zipf z = {calloc(1 << 24, sizeof *z.host), calloc(1 << 16, sizeof *z.in24), calloc(1 << 8, sizeof *z.in16)};
    assert_true(z.host && z.in24 && z.in16);
    return z;
}

static void zipf_free(struct zipf *z)
{
    free(z->host);
    free(z->in24);
    free(z->in16);
}

/* 9 s of it, so that a window holds all of it also when it is seen after the last worker handed over. */
static void zipf_run(struct watch *w, struct zipf *z)
{
    const unsigned total = 450000;
    for (unsigned i = 0; i < total; i++) {
        int64_t t = T0 + SK_NS_PER_S + (int64_t)i * (9 * SK_NS_PER_S / total);
        zipf_event(w, z, crowd(zipf_rank()), t);
        if (i % 50 == 0) /* 1,000 a second from hosts of a /24, and 1,000 of one */
            zipf_event(w, z, 0x10c80000u + (uint32_t)(random64() % 200), t);
        if (i % 50 == 25)
            zipf_event(w, z, 0x10c90001u, t);
    }
    last_look(w);
}

/* Limits so low that much is reported: what is told of anybody is never more than the truth, and of a host at most the
 * stated error less. The same bound for one worker and for several together. */
static void certain_is_never_too_high(void **state)
{
    (void)state;
    static const struct conf_flood low = {.window = 10 * SK_NS_PER_S, .host_rate = 300, .prefix_rate = 400};
    for (unsigned workers = 1; workers <= 4; workers *= 4) {
        static struct watch w;
        struct zipf z = zipf_make();
        random_state = 88172645463325252u + workers;
        watch_open(&w, &low, workers);
        zipf_run(&w, &z);
        const double error = (double)w.events / FLOOD_ENTRIES;
        double worst = 0;
        unsigned hosts = 0;
        for (unsigned i = 0; i < w.nfound; i++) {
            double had = zipf_true(&z, &w.found[i].prefix), said = w.found[i].rate * SECONDS;
            assert_true(said <= had + 1e-6);
            if (w.found[i].prefix.len < 128)
                continue;
            hosts++;
            assert_true(said >= had - error);
            worst = had - said > worst ? had - said : worst;
        }
        print_message("%u workers: %u floods, %u of them hosts, too low by at most %.0f; allowed %.0f\n", workers,
                      w.nfound, hosts, worst, error);
        assert_true(hosts >= 5 && hosts < w.nfound && w.nfound < FLOOD_FOUND);
        for (uint32_t a = 0; a < 1 << 24; a++) { /* nobody is missed by more than that */
            struct sk_prefix p = {.addr = v4(0x10000000u | a), .len = 128};
            if (z.host[a] > low.host_rate * SECONDS + error)
                assert_non_null(watch_find(&w, &p));
        }
        struct sk_prefix range = prefix("16.200.0.0/24");
        assert_non_null(watch_find(&w, &range));
        watch_close(&w);
        zipf_free(&z);
    }
}

/* --- when there is too much --- */

static void more_floods_than_can_be_told_at_once(void **state)
{
    (void)state;
    static struct watch w;
    static struct sk_addr hosts[100];
    watch_open(&w, &defaults, 1);
    make_hosts(hosts, 100, 0xc6330001, 65536); /* each in a range of its own */
    int64_t t = flood(&w, hosts, 100, 60000, 10, T0);
    idle(&w, t);
    assert_int_equal(w.most_at_once, FLOOD_FOUND);
    assert_int_equal(w.nfound, 100); /* the others came with the next interval */
    assert_int_equal(sk_count_read(&w.c, SK_C_FLOOD_FULL), 100 - FLOOD_FOUND);
    watch_close(&w);
}

/* More than are remembered: those that are forgotten are news again; no more than FLOOD_FOUND at once. */
static void more_floods_than_are_remembered(void **state)
{
    (void)state;
    static const struct conf_flood low = {.window = 10 * SK_NS_PER_S, .host_rate = 1, .prefix_rate = 2000};
    static struct sk_addr hosts[FLOOD_KNOWN + 100];
    struct flood_detector *d = NULL;
    struct flood_sketch *s = NULL;
    struct sk_counters c = {0};
    struct flood_found out[FLOOD_FOUND];
    unsigned fresh = 0;
    assert_int_equal(flood_detector_create(&low, &d), SK_OK);
    assert_int_equal(flood_sketch_create(&s), SK_OK);
    make_hosts(hosts, FLOOD_KNOWN + 100, 0x0b000001, 65536);
    for (int part = 0; part < 20; part++) {
        int64_t t = T0 + part * INTERVAL;
        if (flood_due(d, s, t)) {
            unsigned n = flood_merge(d, s, t, &c, out);
            assert_true(n <= FLOOD_FOUND);
            for (unsigned i = 0; i < n; i++)
                fresh += out[i].fresh;
        }
        for (unsigned i = 0; i < FLOOD_KNOWN + 100; i++)
            flood_count(s, &hosts[i], 50);
    }
    assert_true(fresh >= FLOOD_KNOWN + 100);
    assert_true(sk_count_read(&c, SK_C_FLOOD_FULL) > 0);
    flood_sketch_free(s);
    flood_detector_free(d);
}

/* --- clocks --- */

static void a_worker_that_is_late_is_not_counted(void **state)
{
    (void)state;
    struct watch w;
    struct sk_addr a = v4(0xc0000201), b = v4(0xc0000202);
    watch_open(&w, &defaults, 2);
    for (int i = 0; i < 6000; i++) {
        w.turn = 1;
        event(&w, &b, T0);
    }
    for (int i = 0; i < 6000; i++) {
        w.turn = 0;
        event(&w, &a, T0 + 100 * SK_NS_PER_S);
    }
    hand_over(&w, 0, T0 + 101 * SK_NS_PER_S);
    hand_over(&w, 1, T0 + 1 * SK_NS_PER_S);
    assert_int_equal(w.nfound, 1);
    assert_found(&w, "192.0.2.1", 600);
    assert_int_equal(sk_count_read(&w.c, SK_C_FLOOD_LATE), 6000);
    watch_close(&w);
}

/* The clock of all workers goes back by an hour: floods are found from then on, and those of a time to come are not. */
static void a_clock_that_goes_back_is_believed(void **state)
{
    (void)state;
    struct watch w;
    struct sk_addr a = v4(0xc0000201), b = v4(0xc0000202);
    watch_open(&w, &defaults, 2);
    int64_t t = flood(&w, &a, 1, 490, 11, T0 + 3600 * SK_NS_PER_S);
    idle(&w, t); /* with nothing under way */
    idle(&w, T0);
    t = flood(&w, &b, 1, 600, 12, T0);
    idle(&w, t);
    assert_int_equal(w.nfound, 1);
    assert_found(&w, "192.0.2.2", 570); /* of the last interval one worker's half is not there when the other looks */
    t = flood(&w, &a, 1, 20, 5, T0 + 3600 * SK_NS_PER_S);
    idle(&w, t);
    assert_int_equal(w.nfound, 1);
    /* In the middle of a flood, with events under way. */
    t = flood(&w, &a, 1, 600, 3, T0 + 3700 * SK_NS_PER_S);
    t = flood(&w, &a, 1, 600, 12, t - 600 * SK_NS_PER_S);
    idle(&w, t);
    assert_int_equal(w.nfound, 2);
    assert_int_equal(sk_count_read(&w.c, SK_C_FLOOD_LATE), 0);
    watch_close(&w);
}

static void nothing_is_nothing(void **state)
{
    (void)state;
    struct watch w;
    struct sk_addr a = v4(0xc0000201);
    watch_open(&w, &defaults, 1);
    for (int i = 0; i < 100; i++)
        assert_false(flood_due(w.d, w.s[0], T0 + i * SK_NS_PER_S));
    flood_count(w.s[0], &a, 0);
    assert_false(flood_due(w.d, w.s[0], T0 + 100 * SK_NS_PER_S));
    flood_count(w.s[0], &a, UINT32_MAX); /* events of one call do not wrap */
    flood_count(w.s[0], &a, UINT32_MAX);
    assert_false(flood_due(w.d, w.s[0], T0 + 101 * SK_NS_PER_S - 1));
    assert_true(flood_due(w.d, w.s[0], T0 + 101 * SK_NS_PER_S));
    hand_over(&w, 0, T0 + 101 * SK_NS_PER_S);
    assert_int_equal(w.nfound, 1);
    assert_true(w.found[0].rate > 2 * 429496729.0 - 1);
    watch_close(&w);
}

/* The last interval is looked at too; what one worker has told another does not tell again. */
static void the_last_interval_is_looked_at(void **state)
{
    (void)state;
    struct watch w;
    struct flood_found f[FLOOD_FOUND];
    struct sk_addr a = v4(0xc0000201);
    watch_open(&w, &defaults, 2);
    for (int i = 0; i < 8000; i++)
        event(&w, &a, T0 + i);
    assert_int_equal(flood_finish(w.d, w.s[0], T0 + 8000, &w.c, f), 0);
    assert_int_equal(flood_finish(w.d, w.s[1], T0 + 8000, &w.c, f), 1);
    assert_true(f[0].fresh && f[0].rate > 799 && f[0].level == FLOOD_HOST);
    assert_int_equal(flood_finish(w.d, w.s[1], T0 + 8000, &w.c, f), 1);
    assert_false(f[0].fresh || f[0].again);
    watch_close(&w);
}

/* --- several workers on threads --- */

#define THREADS 4

struct worker {
    struct flood_detector *d;
    unsigned index, fresh, wrong;
    pthread_barrier_t *tick;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct flood_sketch *s = NULL;
    struct sk_counters c = {0};
    struct flood_found out[FLOOD_FOUND];
    struct sk_addr bad = v4(0xc0000201);
    if (flood_sketch_create(&s) != SK_OK)
        return NULL;
    for (int part = 0; part < 20; part++) {
        int64_t t = T0 + part * INTERVAL;
        pthread_barrier_wait(w->tick);
        unsigned n = flood_due(w->d, s, t) ? flood_merge(w->d, s, t, &c, out) : 0;
        for (unsigned i = 0; i < n; i++) {
            w->fresh += out[i].fresh;
            w->wrong += !sk_addr_eq(&out[i].prefix.addr, &bad) || out[i].rate > 600;
        }
        flood_count(s, &bad, 150); /* 600 a second of all together */
        for (uint32_t i = 0; i < 2000; i++) {
            struct sk_addr a = v4(crowd((uint32_t)part * 10000 + w->index * 2000 + i));
            flood_count(s, &a, 1);
        }
    }
    w->wrong += sk_count_read(&c, SK_C_FLOOD_LATE) != 0;
    flood_sketch_free(s);
    return NULL;
}

static void workers_share_it(void **state)
{
    (void)state;
    static struct worker w[THREADS];
    struct flood_detector *d = NULL;
    pthread_barrier_t tick;
    assert_int_equal(flood_detector_create(&defaults, &d), SK_OK);
    pthread_barrier_init(&tick, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.d = d, .index = i, .tick = &tick};
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    unsigned fresh = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(w[i].thread, NULL);
        fresh += w[i].fresh;
        assert_int_equal(w[i].wrong, 0);
    }
    assert_int_equal(fresh, 1); /* by one of them, once */
    pthread_barrier_destroy(&tick);
    flood_detector_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_over_its_rate_is_found_once),
        cmocka_unit_test(the_limit_itself_is_allowed),
        cmocka_unit_test(a_burst_is_averaged),
        cmocka_unit_test(many_hosts_of_a_24),
        cmocka_unit_test(many_24s_of_a_16),
        cmocka_unit_test(ipv6_has_levels_of_its_own),
        cmocka_unit_test(a_range_answers_for_the_rest_of_it),
        cmocka_unit_test(a_wide_range_answers_for_the_rest_of_it),
        cmocka_unit_test(a_flood_among_a_million),
        cmocka_unit_test(nobody_answers_for_the_count_it_inherits),
        cmocka_unit_test(what_a_host_may_have_done_is_not_its_ranges),
        cmocka_unit_test(what_was_cut_is_not_its_ranges),
        cmocka_unit_test(certain_is_never_too_high),
        cmocka_unit_test(more_floods_than_can_be_told_at_once),
        cmocka_unit_test(more_floods_than_are_remembered),
        cmocka_unit_test(a_worker_that_is_late_is_not_counted),
        cmocka_unit_test(a_clock_that_goes_back_is_believed),
        cmocka_unit_test(nothing_is_nothing),
        cmocka_unit_test(the_last_interval_is_looked_at),
        cmocka_unit_test(workers_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
