/* Blocks, and the entries that they come to. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sk_prefix prefix(const char *text)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(text, strlen(text), false, &p), SK_OK);
    return p;
}

struct store_block block(const char *agent, const char *id, const char *target, int64_t created, int64_t expires)
{
    struct store_block b = {.created = created,
                            .expires = expires,
                            .origin = "rule",
                            .cause = "alert",
                            .sid = 1000001,
                            .gid = 1,
                            .score = 10,
                            .repeat = 1};
    b.target = prefix(target);
    snprintf(b.agent, sizeof b.agent, "%s", agent);
    snprintf(b.id, sizeof b.id, "%s", id);
    snprintf(b.reason, sizeof b.reason, "because of %s", id);
    return b;
}

void put(const char *agent, const char *id, const char *target, int64_t expires, int64_t now)
{
    struct store_block b = block(agent, id, target, now, expires);
    assert_int_equal(store_block_put(s, &b, now), SK_OK);
}

int64_t entry_end(const char *target, int64_t now)
{
    struct store_entry e;
    struct sk_prefix p = prefix(target);
    int rc = store_entry_get(s, &p, now, &e);
    assert_true(rc == SK_OK || rc == SK_ENOENT);
    return rc == SK_OK ? e.expires : 0;
}

static void an_entry_is_of_the_longest_block(void **state)
{
    (void)state;
    struct sk_prefix p = prefix("203.0.113.1");
    struct store_agent a = {.id = "A2", .host = "db-1"};
    struct store_entry e;
    assert_int_equal(store_agent_add(s, &a), SK_OK);
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    put("A2", "b2", "203.0.113.1", T0 + 3000, T0 + 1);
    put("", "op", "203.0.113.1", T0 + 2000, T0 + 2);
    assert_int_equal(store_entry_get(s, &p, T0, &e), SK_OK);
    assert_string_equal(e.agent, "A2");
    assert_string_equal(e.host, "db-1");
    assert_string_equal(e.id, "b2");
    assert_string_equal(e.reason, "because of b2");
    assert_string_equal(e.origin, "rule");
    assert_int_equal(e.sid, 1000001);
    assert_int_equal(e.gid, 1);
    assert_int_equal(e.created, T0 + 1);
    assert_int_equal(e.expires, T0 + 3000);
    assert_int_equal(e.agents, 2); /* the operator is none */
    assert_int_equal(e.last, T0 + 2);
    assert_true(sk_addr_eq(&e.target.addr, &p.addr));
    assert_int_equal(e.target.len, 128);
    assert_int_equal(store_entry_get(s, &p, T0 + 3000, &e), SK_ENOENT);
}

static void ends_move_away_only(void **state)
{
    (void)state;
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    put("A1", "b1", "203.0.113.1", T0 + 500, T0);
    assert_int_equal(entry_end("203.0.113.1", T0), T0 + 1000);
    put("A1", "b1", "203.0.113.1", T0 + 5000, T0);
    assert_int_equal(entry_end("203.0.113.1", T0), T0 + 5000);
    struct store_block b = block("A1", "b1", "203.0.113.2", T0, T0 + 1000);
    assert_int_equal(store_block_put(s, &b, T0), SK_EINVAL);
    assert_int_equal(entry_end("203.0.113.2", T0), 0);
}

static void the_end_of_one_leaves_the_rest(void **state)
{
    (void)state;
    put("A1", "b1", "203.0.113.0/24", T0 + 1000, T0);
    put("A2", "b1", "203.0.113.0/24", T0 + 3000, T0);
    assert_int_equal(store_block_end(s, "A1", "b2", T0, "lifted"), SK_ENOENT);
    assert_int_equal(store_block_end(s, "A3", "b1", T0, "lifted"), SK_ENOENT);
    assert_int_equal(store_block_end(s, "A2", "b1", T0 + 1, "lifted"), SK_OK);
    assert_int_equal(entry_end("203.0.113.0/24", T0), T0 + 1000);
    assert_int_equal(store_block_end(s, "A2", "b1", T0 + 2, "lifted"), SK_OK);
    assert_int_equal(store_block_end(s, "A1", "b1", T0 + 2, "lifted"), SK_OK);
    assert_int_equal(entry_end("203.0.113.0/24", T0), 0);
    put("A1", "b1", "203.0.113.0/24", T0 + 9000, T0 + 3); /* it came late */
    assert_int_equal(entry_end("203.0.113.0/24", T0), 0);
    put("A1", "b3", "203.0.113.0/24", T0 + 9000, T0 + 3);
    assert_int_equal(entry_end("203.0.113.0/24", T0), T0 + 9000);
}

static void an_operator_ends_all(void **state)
{
    (void)state;
    struct sk_prefix p = prefix("2001:db8::1"), q = prefix("2001:db8::/64");
    unsigned n;
    put("A1", "b1", "2001:db8::1", T0 + 1000, T0);
    put("A2", "b1", "2001:db8::1", T0 + 2000, T0);
    put("A2", "b2", "2001:db8::/64", T0 + 2000, T0);
    assert_int_equal(store_unblock(s, &p, T0 + 1500, "unblocked", &n), SK_OK);
    assert_int_equal(n, 1); /* the other had run out */
    assert_int_equal(store_unblock(s, &p, T0 + 1500, "unblocked", &n), SK_ENOENT);
    assert_int_equal(entry_end("2001:db8::1", T0), 0);
    assert_int_equal(entry_end("2001:db8::/64", T0), T0 + 2000);
    assert_int_equal(store_unblock(s, &q, T0, "unblocked", &n), SK_OK);
}

static void note_block(void *arg, const struct store_block *b)
{
    char *text = arg;
    sprintf(text + strlen(text), "%s%s%s ", b->agent, b->id, b->ended ? b->why : "");
}

static const char *blocks(const char *target, const char *agent, bool in_force, int64_t before, unsigned limit,
                          int64_t now)
{
    static char text[256];
    struct sk_prefix p = target ? prefix(target) : (struct sk_prefix){0};
    text[0] = '\0';
    assert_int_equal(store_blocks(s, target ? &p : NULL, agent, in_force, before, limit, now, note_block, text), SK_OK);
    return text;
}

static void blocks_are_found(void **state)
{
    (void)state;
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0 + 1);
    put("A2", "b2", "203.0.113.2", T0 + 2000, T0 + 2);
    put("A1", "b3", "203.0.113.2", T0 + 3000, T0 + 3);
    put("", "b4", "203.0.113.2", T0 + 4000, T0 + 4);
    assert_int_equal(store_block_end(s, "A1", "b3", T0 + 5, "lifted"), SK_OK);
    assert_string_equal(blocks(NULL, NULL, false, 0, 9, T0 + 10), "b4 A1b3lifted A2b2 A1b1 ");
    assert_string_equal(blocks(NULL, NULL, false, T0 + 4, 2, T0 + 10), "A1b3lifted A2b2 ");
    assert_string_equal(blocks(NULL, NULL, true, 0, 9, T0 + 1000), "b4 A2b2 ");
    assert_string_equal(blocks("203.0.113.2", NULL, false, 0, 9, T0), "b4 A1b3lifted A2b2 ");
    assert_string_equal(blocks("203.0.113.2", "A1", false, 0, 9, T0), "A1b3lifted ");
    assert_string_equal(blocks("203.0.113.2", "A1", true, 0, 9, T0), "");
    assert_string_equal(blocks("203.0.113.2", NULL, true, 0, 9, T0), "b4 A2b2 ");
    assert_string_equal(blocks(NULL, "A1", true, 0, 9, T0), "A1b1 ");
    assert_string_equal(blocks(NULL, "", false, 0, 9, T0), "b4 ");
}

static void note_entry(void *arg, const struct store_entry *e)
{
    char *text = arg;
    sprintf(text + strlen(text), "%lld:%d%s ", (long long)e->seq, e->target.addr.b[15], e->expires ? "" : "lifted");
}

static const char *since(int64_t seq, unsigned limit, int64_t now)
{
    static char text[256];
    text[0] = '\0';
    assert_int_equal(store_entries_since(s, seq, limit, now, note_entry, text), SK_OK);
    return text;
}

static void changes_are_told_in_order(void **state)
{
    (void)state;
    int64_t last, first;
    char epoch[STORE_SPOOL_LEN];
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    put("A1", "b2", "203.0.113.2", T0 + 2000, T0);
    put("A1", "b3", "203.0.113.3", T0 + 3000, T0);
    put("A1", "b1", "203.0.113.1", T0 + 1500, T0);
    put("A2", "c1", "203.0.113.1", T0 + 1500, T0 + 1); /* ranks alone change */
    assert_string_equal(since(0, 9, T0), "2:2 3:3 4:1 ");
    assert_string_equal(since(2, 1, T0), "3:3 ");
    assert_string_equal(since(0, 9, T0 + 1500), "2:2 3:3 ");
    assert_int_equal(store_block_end(s, "A1", "b2", T0, "lifted"), SK_OK);
    assert_string_equal(since(4, 9, T0), "5:2lifted ");
    assert_int_equal(store_block_end(s, "A1", "b1", T0 + 2000, "lifted"), SK_OK); /* it had run out */
    assert_string_equal(since(5, 9, T0 + 2000), "");
    assert_int_equal(store_seq(s, &last, &first, epoch), SK_OK);
    assert_int_equal(last, 5);
    assert_int_equal(first, 1);
}

static void find_again(void *arg, const struct store_entry *e)
{
    struct store_entry got;
    assert_int_equal(store_entry_get(s, &e->target, T0, &got), SK_OK);
    assert_int_equal(store_unblock(s, &e->target, T0, "x", &got.agents), SK_OK);
    ++*(unsigned *)arg;
}

static void a_callback_may_ask_and_change(void **state)
{
    (void)state;
    unsigned n = 0;
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    put("A1", "b2", "203.0.113.2", T0 + 2000, T0);
    assert_int_equal(store_entries(s, T0, find_again, &n), SK_OK);
    assert_int_equal(n, 2);
    assert_int_equal(entry_end("203.0.113.1", T0) + entry_end("203.0.113.2", T0), 0);
}

/* ---- random blocks against a plain model, and a follower who knows only what he is told ---- */

#define TARGETS 6
#define AGENTS  4
#define BLOCKS  40

struct model_block {
    bool there, ended;
    int agent, id, target;
    int64_t created, expires, ended_at, latest, score;
};
struct model {
    struct model_block b[BLOCKS];
    int64_t now, after;
    int64_t follower[TARGETS]; /* expires, 0 lifted or never told */
    unsigned ids, changes;
};

static const char *target_name(int t)
{
    static const char *const names[TARGETS] = {"203.0.113.1",   "203.0.113.0/24", "2001:db8::1",
                                               "2001:db8::/32", "192.0.2.7",      "198.51.100.0/25"};
    return names[t];
}

static const char *agent_name(int a)
{
    static const char *const names[AGENTS] = {"", "A1", "A2", "A3"};
    return names[a];
}

static struct model_block *pick(struct model *m, bool there)
{
    int start = rand() % BLOCKS;
    for (int i = 0; i < BLOCKS; i++)
        if (m->b[(start + i) % BLOCKS].there == there)
            return &m->b[(start + i) % BLOCKS];
    return NULL;
}

static void say(const struct model_block *x, int64_t now)
{
    char id[16];
    snprintf(id, sizeof id, "b%d", x->id);
    struct store_block b = block(agent_name(x->agent), id, target_name(x->target), x->created, x->expires);
    b.score = x->score;
    assert_int_equal(store_block_put(s, &b, now), SK_OK);
}

static void do_put(struct model *m)
{
    struct model_block *x = pick(m, false);
    if (!x)
        return;
    *x = (struct model_block){.there = true,
                              .agent = rand() % AGENTS,
                              .id = (int)++m->ids,
                              .target = rand() % TARGETS,
                              .created = m->now,
                              .expires = m->now + rand() % 8 * 100,
                              .latest = m->now,
                              .score = rand() % 50};
    say(x, m->now);
}

static void do_extend(struct model *m)
{
    struct model_block *x = pick(m, true);
    if (!x)
        return;
    struct model_block told = *x;
    told.expires += (rand() % 5 - 1) * 150;
    told.score = rand() % 60;
    say(&told, m->now);
    if (x->ended)
        return;
    x->expires = told.expires > x->expires ? told.expires : x->expires;
    x->score = told.score > x->score ? told.score : x->score;
    x->latest = m->now;
}

static void do_end(struct model *m)
{
    struct model_block *x = pick(m, true);
    char id[16];
    if (!x)
        return;
    snprintf(id, sizeof id, "b%d", x->id);
    assert_int_equal(store_block_end(s, agent_name(x->agent), id, m->now, "lifted"), SK_OK);
    x->ended_at = x->ended ? x->ended_at : m->now;
    x->ended = true;
}

static bool in_force(const struct model *m, const struct model_block *x, int target)
{
    return x->there && !x->ended && x->target == target && x->expires > m->now;
}

static void do_unblock(struct model *m)
{
    int t = rand() % TARGETS;
    unsigned n, want = 0;
    struct sk_prefix p = prefix(target_name(t));
    for (int i = 0; i < BLOCKS; i++)
        if (in_force(m, &m->b[i], t)) {
            m->b[i].ended = true;
            m->b[i].ended_at = m->now;
            want++;
        }
    assert_int_equal(store_unblock(s, &p, m->now, "unblocked", &n), want ? SK_OK : SK_ENOENT);
    assert_int_equal(n, want);
}

/* What is over for ten minutes goes. */
static void do_prune(struct model *m)
{
    const struct store_keep k = {0};
    bool more;
    m->now += rand() % 4 == 0 ? MS_PER_DAY : 0;
    assert_int_equal(store_prune(s, &k, m->now, 1000, &more), SK_OK);
    assert_false(more);
    for (int i = 0; i < BLOCKS; i++) {
        struct model_block *x = &m->b[i];
        if (x->there && (x->ended ? x->ended_at : x->expires) < m->now - 600000)
            x->there = false;
    }
}

static const struct model_block *model_longest(const struct model *m, int t)
{
    const struct model_block *best = NULL;
    for (int i = 0; i < BLOCKS; i++) {
        const struct model_block *x = &m->b[i];
        if (!in_force(m, x, t))
            continue;
        if (!best || x->expires > best->expires || (x->expires == best->expires && x->created < best->created))
            best = x;
    }
    return best;
}

static void check_entry(const struct model *m, int t)
{
    const struct model_block *best = model_longest(m, t);
    struct sk_prefix p = prefix(target_name(t));
    struct store_entry e;
    bool blocked[AGENTS] = {false};
    int64_t score = 0, latest = 0;
    int rc = store_entry_get(s, &p, m->now, &e);
    assert_int_equal(rc, best ? SK_OK : SK_ENOENT);
    if (!best)
        return;
    for (int i = 0; i < BLOCKS; i++)
        if (in_force(m, &m->b[i], t)) {
            blocked[m->b[i].agent] = true;
            score = m->b[i].score > score ? m->b[i].score : score;
            latest = m->b[i].latest > latest ? m->b[i].latest : latest;
        }
    assert_int_equal(e.expires, best->expires);
    assert_int_equal(e.created, best->created); /* of two as old, either */
    if (e.seq > m->after)                       /* ranks are of the entry's last change, or later */
        assert_true(e.agents <= AGENTS - 1);
    assert_true(e.score >= score);
    assert_true(e.last >= latest);
    assert_true((int)e.agents >= blocked[1] + blocked[2] + blocked[3]);
}

struct follow {
    struct model *m;
    int64_t last;
};

static void follow_one(void *arg, const struct store_entry *e)
{
    struct follow *f = arg;
    assert_true(e->seq > f->last);
    f->last = e->seq;
    for (int t = 0; t < TARGETS; t++) {
        struct sk_prefix p = prefix(target_name(t));
        if (sk_addr_eq(&p.addr, &e->target.addr) && p.len == e->target.len)
            f->m->follower[t] = e->expires;
    }
    f->m->changes++;
}

static void follow_and_check(struct model *m)
{
    struct follow f = {m, m->after};
    int64_t last, first;
    char epoch[STORE_SPOOL_LEN];
    assert_int_equal(store_seq(s, &last, &first, epoch), SK_OK);
    if (m->after + 1 < first) {
        memset(m->follower, 0, sizeof m->follower);
        f.last = 0;
    }
    assert_int_equal(store_entries_since(s, f.last, 1000, m->now, follow_one, &f), SK_OK);
    m->after = last;
    for (int t = 0; t < TARGETS; t++) {
        const struct model_block *best = model_longest(m, t);
        int64_t mine = m->follower[t] > m->now ? m->follower[t] : 0;
        assert_int_equal(mine, best ? best->expires : 0);
    }
}

/* At some of those that there are. */
static void look_ahead(const struct model *m)
{
    struct store_ask asks[BLOCKS];
    char ids[BLOCKS][16];
    size_t n = 0;
    for (int i = 0; i < BLOCKS; i++) {
        if (rand() % 3 == 0)
            continue;
        snprintf(ids[i], sizeof ids[i], "b%d", m->b[i].id);
        asks[n++] = (struct store_ask){.agent = agent_name(m->b[i].agent), .block = ids[i]};
    }
    assert_int_equal(store_ahead(s, asks, n), SK_OK);
}

static void random_blocks_come_to_what_the_model_says(void **state)
{
    (void)state;
    static struct model m;
    unsigned seed = getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : 20260101;
    srand(seed);
    m = (struct model){.now = T0};
    for (int i = 0; i < 3000; i++) {
        int what = rand() % 20;
        bool together = rand() % 8 == 0;
        if (together)
            assert_int_equal(store_begin(s), SK_OK);
        if (together && rand() % 2)
            look_ahead(&m);
        for (int k = together ? 4 : 1; k > 0; k--, what = rand() % 19)
            what < 8    ? do_put(&m)
            : what < 12 ? do_extend(&m)
            : what < 16 ? do_end(&m)
            : what < 17 ? do_unblock(&m)
            : what < 19 ? (void)(m.now += rand() % 120)
                        : do_prune(&m);
        if (together)
            assert_int_equal(store_commit(s), SK_OK);
        for (int t = 0; t < TARGETS; t++)
            check_entry(&m, t);
        if (rand() % 3 == 0)
            follow_and_check(&m);
    }
    assert_true(m.changes > 500);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, suite_setup, suite_teardown)

int suite_blocks(const char *name)
{
    const struct CMUnitTest tests[] = {
        TEST(an_entry_is_of_the_longest_block),
        TEST(ends_move_away_only),
        TEST(the_end_of_one_leaves_the_rest),
        TEST(an_operator_ends_all),
        TEST(blocks_are_found),
        TEST(changes_are_told_in_order),
        TEST(a_callback_may_ask_and_change),
        TEST(random_blocks_come_to_what_the_model_says),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
