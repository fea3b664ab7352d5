/* The feed in memory: pages, resets, what is lifted, what has run out, and answers that are made once for all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "api_priv.h"

#define NOW INT64_C(1800000000000)

static struct feed f;
static struct agent g;
static int64_t versions[2];

static int setup(void **state)
{
    (void)state;
    memset(&f, 0, sizeof(f));
    versions[0] = versions[1] = 0;
    g = (struct agent){.told = {-1, -1}, .paging = -1, .base = -1};
    int rc = feed_init(&f);
    feed_clear(&f, "epoch");
    return rc;
}

static int teardown(void **state)
{
    (void)state;
    feed_free(&f);
    return 0;
}

/* Entry number i as of seq; expires 0: lifted. */
static void change(int64_t seq, unsigned i, int64_t expires)
{
    struct store_entry e = {.seq = seq, .created = NOW, .expires = expires, .origin = "rule"};
    uint8_t v4[4] = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
    struct sk_addr a = sk_addr_from_v4(v4);
    e.target = sk_prefix_make(&a, 128);
    snprintf(e.id, sizeof(e.id), "B%u", i);
    snprintf(e.reason, sizeof(e.reason), "a \"reason\"\\");
    feed_lock(&f);
    feed_entry(&f, &e);
    feed_unlock(&f);
}

static void publish(int64_t last, int64_t first)
{
    feed_publish(&f, last, first, versions);
}

/* What an agent keeps of it: which entries it has, by number. */
struct client {
    char epoch[STORE_SPOOL_LEN];
    int64_t after;
    unsigned char has[20000];
    unsigned n, pages;
    bool reset, more;
};

static struct client c;

static unsigned number_of(const json_t *entry)
{
    unsigned b2, b3, b4;
    const char *target = json_string_value(json_object_get(entry, "target"));
    assert_non_null(target);
    assert_int_equal(sscanf(target, "10.%u.%u.%u", &b2, &b3, &b4), 3);
    return b2 << 16 | b3 << 8 | b4;
}

static void take_entry(struct client *k, const json_t *entry)
{
    unsigned i = number_of(entry);
    bool set = strcmp(json_string_value(json_object_get(entry, "op")), "set") == 0;
    assert_true(i < sizeof(k->has));
    if (set)
        assert_string_equal(json_string_value(json_object_get(entry, "reason")), "a \"reason\"\\");
    k->n += set && !k->has[i];
    k->n -= !set && k->has[i];
    k->has[i] = set;
}

static void take_page(struct client *k, const json_t *j)
{
    size_t i;
    json_t *entry;
    k->reset = json_is_true(json_object_get(j, "reset"));
    k->more = json_is_true(json_object_get(j, "more"));
    k->after = json_integer_value(json_object_get(j, "seq"));
    strcpy(k->epoch, json_string_value(json_object_get(j, "epoch")));
    if (k->reset) {
        memset(k->has, 0, sizeof(k->has));
        k->n = 0;
    }
    json_array_foreach(json_object_get(j, "entries"), i, entry) take_entry(k, entry);
}

static void ask(struct client *k, int64_t now)
{
    feed_lock(&f);
    struct body *b = feed_page(&f, &g, k->epoch, k->after, false, now);
    feed_unlock(&f);
    assert_non_null(b);
    json_t *j = json_loadb(b->text, b->len, 0, NULL);
    assert_non_null(j);
    take_page(k, j);
    json_decref(j);
    body_drop(b);
}

static void ask_all(struct client *k, int64_t now)
{
    k->pages = 0;
    do {
        ask(k, now);
        assert_true(++k->pages < 100);
    } while (k->more);
}

static void a_new_agent_gets_everything_and_then_changes(void **state)
{
    (void)state;
    memset(&c, 0, sizeof(c));
    change(1, 1, NOW + 1000);
    change(2, 2, NOW + 9000);
    publish(2, 1);
    ask_all(&c, NOW);
    assert_true(c.reset);
    assert_int_equal(c.n, 2);
    change(3, 2, 0);
    change(4, 3, NOW + 9000);
    publish(4, 1);
    ask_all(&c, NOW);
    assert_false(c.reset);
    assert_int_equal(c.n, 2);
    assert_true(c.has[1] && !c.has[2] && c.has[3]);
    assert_int_equal(c.after, 4);
}

static void what_has_run_out_is_not_told(void **state)
{
    (void)state;
    memset(&c, 0, sizeof(c));
    change(1, 1, NOW + 1000);
    change(2, 2, NOW + 9000);
    publish(2, 1);
    ask_all(&c, NOW + 1000);
    assert_int_equal(c.n, 1);
    assert_int_equal(c.after, 2);
}

static void another_epoch_or_an_old_number_is_a_reset(void **state)
{
    (void)state;
    memset(&c, 0, sizeof(c));
    change(7, 1, NOW + 1000);
    publish(9, 5);
    strcpy(c.epoch, "other");
    c.after = 9;
    ask_all(&c, NOW);
    assert_true(c.reset);
    c.after = 3;
    ask_all(&c, NOW);
    assert_true(c.reset);
    c.after = 4;
    ask_all(&c, NOW);
    assert_false(c.reset);
    c.after = 10;
    ask_all(&c, NOW);
    assert_true(c.reset);
}

static void many_come_in_pages_and_old_ones_too(void **state)
{
    (void)state;
    memset(&c, 0, sizeof(c));
    for (unsigned i = 1; i <= 5500; i++)
        change(i, i, NOW + 9000);
    publish(9000, 8000); /* no change before 8000 is known any more, but the entries are there */
    ask_all(&c, NOW);
    assert_int_equal(c.n, 5500);
    assert_true(c.pages >= 6);
    assert_int_equal(c.after, 9000);
}

static void a_change_in_the_middle_of_the_pages_is_told(void **state)
{
    (void)state;
    memset(&c, 0, sizeof(c));
    for (unsigned i = 1; i <= 3000; i++)
        change(i, i, NOW + 9000);
    publish(3000, 2900);
    ask(&c, NOW);
    assert_true(c.more);
    change(3001, 5, 0);    /* has been told */
    change(3002, 2950, 0); /* has not */
    change(3003, 4000, NOW + 9000);
    publish(3003, 2900);
    do
        ask(&c, NOW);
    while (c.more);
    assert_int_equal(c.n, 2999);
    assert_true(!c.has[5] && !c.has[2950] && c.has[4000]);
}

static void the_same_question_has_the_same_answer(void **state)
{
    (void)state;
    memset(&c, 0, sizeof(c));
    change(1, 1, NOW + 9000);
    publish(1, 1);
    ask_all(&c, NOW);
    uint64_t made = f.made;
    for (unsigned i = 0; i < 100; i++)
        ask(&c, NOW);
    assert_int_equal(f.made, made + 1);
    change(2, 2, NOW + 9000);
    publish(2, 1);
    ask(&c, NOW);
    assert_int_equal(f.made, made + 2);
    assert_int_equal(c.n, 2);
}

static void new_versions_are_news_once(void **state)
{
    (void)state;
    memset(&c, 0, sizeof(c));
    publish(0, 1);
    ask_all(&c, NOW);
    assert_false(feed_has_news(&f, &g, c.epoch, c.after));
    versions[1] = 5;
    publish(0, 1);
    assert_true(feed_has_news(&f, &g, c.epoch, c.after));
    ask_all(&c, NOW);
    assert_false(feed_has_news(&f, &g, c.epoch, c.after));
}

static void entries_that_change_for_ever_take_no_more_memory(void **state)
{
    (void)state;
    memset(&c, 0, sizeof(c));
    int64_t seq = 0;
    for (unsigned round = 0; round < 200; round++)
        for (unsigned i = 1; i <= 500; i++)
            change(++seq, i, NOW + 9000 + round);
    publish(seq, 1);
    assert_true(f.cap <= 2048);
    ask_all(&c, NOW);
    assert_int_equal(c.n, 500);
    feed_lock(&f);
    feed_compact(&f, NOW + 100000);
    feed_unlock(&f);
    assert_int_equal(f.n, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_new_agent_gets_everything_and_then_changes),
        T(what_has_run_out_is_not_told),
        T(another_epoch_or_an_old_number_is_a_reset),
        T(many_come_in_pages_and_old_ones_too),
        T(a_change_in_the_middle_of_the_pages_is_told),
        T(the_same_question_has_the_same_answer),
        T(new_versions_are_news_once),
        T(entries_that_change_for_ever_take_no_more_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
