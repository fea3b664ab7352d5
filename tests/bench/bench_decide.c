/*
 * Speed of what a worker does for floods, active clients and scores: ns an event for crowds of several kinds, and the
 * time in which a full sketch is handed over and a window is looked at.
 *
 * Build by hand: cc -O2 with the base and decide modules, -lm -lpthread.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "decide/active.h"
#include "decide/flood.h"
#include "decide/score.h"

#define EVENTS 5000000

static struct sk_addr addrs[EVENTS];
static struct sk_counters counters;

static uint64_t random64(void)
{
    static uint64_t s = 88172645463325252u;
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return s;
}

static void fill(const char *kind)
{
    for (unsigned i = 0; i < EVENTS; i++) {
        double u = (double)(random64() >> 11) / 9007199254740992.0;
        uint32_t k = kind[0] == 'o' ? 1 : kind[0] == 'z' ? (uint32_t)pow(1e6, u) : (uint32_t)(u * 1e6);
        k = k * 2654435761u;
        const uint8_t be[4] = {(uint8_t)(k >> 24), (uint8_t)(k >> 16), (uint8_t)(k >> 8), (uint8_t)k};
        addrs[i] = sk_addr_from_v4(be);
    }
}

/* Processor time: other programs do not count. */
static int64_t cpu(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * SK_NS_PER_S + ts.tv_nsec;
}

static double since(int64_t t)
{
    return (double)(cpu() - t);
}

static void bench(const char *kind, struct flood_detector *d, struct flood_sketch *s, struct active_clients *a,
                  struct decide_scores *sc)
{
    static struct flood_found found[FLOOD_FOUND];
    static struct decide_request q;
    fill(kind);
    int64_t t = cpu();
    for (unsigned i = 0; i < EVENTS; i++)
        flood_count(s, &addrs[i], 1);
    double count = since(t);
    t = cpu();
    for (unsigned i = 0; i < EVENTS; i++)
        active_add(a, &addrs[i], 1700000000 * SK_NS_PER_S);
    double add = since(t);
    t = cpu();
    for (unsigned i = 0; i < EVENTS; i++)
        decide_score_add(sc, &addrs[i], 1, 1, 1, 1700000000 * SK_NS_PER_S, &counters, &q);
    double score = since(t), merge = 0;
    for (int part = 0; part < 20; part++) {
        (void)flood_due(d, s, part * SK_NS_PER_S);
        for (unsigned i = 0; i < 100000; i++)
            flood_count(s, &addrs[random64() % EVENTS], 1);
        t = cpu();
        flood_merge(d, s, (part + 1) * SK_NS_PER_S, &counters, found);
        merge += since(t);
    }
    printf("%-8s flood_count %5.1f ns, active_add %5.1f ns, decide_score_add %5.1f ns; flood_merge %.0f us\n", kind,
           count / EVENTS, add / EVENTS, score / EVENTS, merge / 20 / 1000);
}

int main(void)
{
    const struct conf_flood cf = {.window = 10 * SK_NS_PER_S, .host_rate = 500, .prefix_rate = 2000};
    const struct conf_score cs = {.threshold = 100, .window = 600 * SK_NS_PER_S};
    static const char *const kinds[] = {"one", "zipf", "uniform"};
    for (int i = 0; i < 3; i++) {
        struct flood_detector *d = NULL;
        struct flood_sketch *s = NULL;
        struct active_clients *a = NULL;
        struct decide_scores *sc = NULL;
        if (flood_detector_create(&cf, &d) != SK_OK || flood_sketch_create(&s) != SK_OK ||
            active_create(cs.window, NULL, &a) != SK_OK || decide_scores_create(&cs, 65536, &sc) != SK_OK)
            return 1;
        bench(kinds[i], d, s, a, sc);
        decide_scores_free(sc);
        active_free(a);
        flood_sketch_free(s);
        flood_detector_free(d);
    }
    return 0;
}
