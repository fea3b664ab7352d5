/*
 * Many attackers: more than a set holds, 60,000 over 50 sets; and what the writer costs while a few entries come and go
 * each second. The numbers are printed; an optimised build is what they mean something for.
 */
#include <time.h>
#include "waf_fake.h"

static double cpu(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void attack(struct fake *f, uint32_t from, uint32_t n)
{
    f->entry = realloc(f->entry, (f->nentries + n) * sizeof *f->entry);
    f->entry_cap = f->nentries + n;
    for (uint32_t i = from; i < from + n; i++) {
        uint32_t at = i * 2654435761u; /* spread, and each once */
        uint8_t b[4] = {11, (uint8_t)(at >> 16), (uint8_t)(at >> 8), (uint8_t)at};
        struct sk_addr a = sk_addr_from_v4(b);
        struct fake_entry *x = &f->entry[f->nentries++];
        memset(x, 0, sizeof *x);
        x->e = (struct waf_entry){sk_prefix_make(&a, 128), f->now + (1000 + i % 7200) * S, f->now, i % 1000, 0, 1};
        x->end = x->e.expires;
    }
    f->changed++;
}

static void play(unsigned sets, uint32_t attackers, size_t expected)
{
    struct fake f;
    fake_init(&f, 1);
    struct waf_target t = {WAFV2_REGIONAL, "eu-west-1", "sk", sets, 0, true};
    struct waf_options o = {.targets = &t, .ntargets = 1, .coalesce = 2 * S, .read_back = 60 * S, .seed = 1};
    struct waf_world world = fake_world(&f);
    struct waf *w;
    assert_int_equal(waf_create(&o, &world, &fake_ops, &f, &w), SK_OK);
    attack(&f, 0, attackers);
    double began = cpu();
    fake_run(&f, w, f.now + 400 * S, true);
    double converged = cpu() - began;
    assert_int_equal(fake_total(&f), expected);
    assert_int_equal(waf_stats(w)->evicted, attackers - expected);
    int64_t took = f.now - START;
    began = cpu();
    for (int i = 0; i < 30; i++) {
        attack(&f, attackers + (uint32_t)i * 5, 5);
        fake_run(&f, w, f.now + S, false);
    }
    print_message(
        "%u attackers, %u sets: %zu in AWS after %d s and %.2f s of CPU; then %.1f ms of CPU a second, AWS and"
        " store of the test with it\n",
        attackers, sets, expected, (int)(took / S), converged, (cpu() - began) / 30 * 1000);
    waf_free(w);
    fake_free(&f);
}

static void test_scale(void **state)
{
    (void)state;
    play(2, 12000, 12000);
    play(1, 12000, 10000);
    play(50, 60000, 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scale)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
