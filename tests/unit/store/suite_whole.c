/* What holds for all calls: texts, what is read ahead and said later, transactions, the schema. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "schema.h"

/* ---- strings ---- */

static const char *const nasty[] = {
    "'; DROP TABLE block; --",
    "\" OR \"\"=\"",
    "%s%n$1?",
    "\\'; SELECT pg_sleep(9); --",
    "a\\0b",
    "ä€𝄞",
    "' || x'00'",
    "/*",
    "$$",
    "{\"a\":\"'\"}",
    "\xef\xbf\xbd\xef\xbb\xbf",
    "?1",
    ":name",
    "'",
};
#define NASTY (sizeof nasty / sizeof nasty[0])

#define FILL(field) snprintf((field), sizeof(field), "%.*s", (int)sizeof(field) - 1, text)

static void same_text(void *arg, const void *row)
{
    (void)row;
    ++*(unsigned *)arg;
}

static void nasty_agent_and_token(const char *text)
{
    struct store_agent a = {.enrolled = T0}, got;
    struct store_token t = {.uses_left = -1, .expires = STORE_FOREVER}, found;
    FILL(a.id), FILL(a.host), FILL(a.version), FILL(a.address), FILL(a.account), FILL(a.region);
    FILL(a.tags), FILL(a.token), FILL(a.status), FILL(a.serial), FILL(a.instance);
    assert_int_equal(store_agent_add(s, &a), SK_OK);
    assert_int_equal(store_agent_get(s, a.id, &got), SK_OK);
    assert_memory_equal(&a, &got, sizeof a);
    assert_int_equal(store_agent_check(s, a.id, a.serial), SK_OK);
    assert_int_equal(store_agent_beat(s, a.id, T0, text, text, text, 1, 2), SK_OK);
    assert_int_equal(store_agent_renewed(s, a.id, a.serial, T0), SK_OK);
    FILL(t.id), FILL(t.hash), FILL(t.note), FILL(t.tags);
    snprintf(t.role, sizeof t.role, "'");
    assert_int_equal(store_token_add(s, &t), SK_OK);
    assert_int_equal(store_token_find(s, t.hash, &found), SK_OK);
    assert_memory_equal(&t, &found, sizeof t);
    assert_int_equal(store_token_use(s, t.hash, STORE_TOKEN_ENROL, T0, &found), SK_OK);
    assert_int_equal(store_token_revoke(s, t.id), SK_OK);
}

static void nasty_rest(const char *text)
{
    struct store_event e = {.json = text};
    struct store_bundle b = {.version = 1, .payload = text, .len = strlen(text)};
    struct sk_prefix p = prefix("203.0.113.1");
    unsigned n = 0;
    int64_t next, id;
    char *memo;
    snprintf(e.agent, sizeof e.agent, "%s", text);
    snprintf(e.type, sizeof e.type, "%.6s", "'?\"$1;");
    snprintf(b.kind, sizeof b.kind, "%.12s", strlen(text) < 12 ? text : "';--");
    assert_int_equal(store_event_add(s, &e), SK_OK);
    assert_int_equal(store_events(s, text, e.type, 0, 9, (store_event_fn *)same_text, &n), SK_OK);
    assert_int_equal(store_batch(s, text, text, 1, &next), SK_OK);
    int rc = store_bundle_add(s, &b);
    assert_true(rc == SK_OK || rc == SK_EEXIST);
    assert_int_equal(store_waf_own(s, text, &p, 1, NULL, 0), SK_OK);
    assert_int_equal(store_waf_owned(s, text, (store_prefix_fn *)same_text, &n), SK_OK);
    assert_int_equal(store_memo_set(s, text, text), SK_OK);
    assert_int_equal(store_memo_get(s, text, &memo), SK_OK);
    assert_string_equal(memo, text);
    free(memo);
    assert_int_equal(store_out_add(s, text, text, T0), SK_OK);
    assert_int_equal(store_out_due(s, text, T0, 9, (store_out_fn *)same_text, &n), SK_OK);
    assert_int_equal(inside_int(s, "SELECT max(id) FROM outgoing", NULL, 0, &id), SK_OK);
    assert_int_equal(store_out_retry(s, id, T0, text), SK_OK);
    assert_int_equal(store_audit(s, T0, text, text, text), SK_OK);
    assert_int_equal(store_audits(s, 0, 1, (store_audit_fn *)same_text, &n), SK_OK);
    assert_int_equal(n, 4);
}

static void nasty_block(const char *text)
{
    struct store_block b = {.created = T0, .expires = T0 + 1000};
    struct store_entry e;
    unsigned n = 0;
    b.target = prefix("203.0.113.9");
    FILL(b.agent), FILL(b.id), FILL(b.reason);
    snprintf(b.origin, sizeof b.origin, "'?\"");
    snprintf(b.cause, sizeof b.cause, "';--");
    assert_int_equal(store_block_put(s, &b, T0), SK_OK);
    assert_int_equal(store_blocks(s, NULL, b.agent, true, 0, 9, T0, (store_block_fn *)same_text, &n), SK_OK);
    assert_int_equal(n, 1);
    assert_int_equal(store_entry_get(s, &b.target, T0, &e), SK_OK);
    assert_string_equal(e.reason, b.reason);
    assert_string_equal(e.agent, b.agent);
    assert_string_equal(e.id, b.id);
    assert_int_equal(store_block_end(s, b.agent, b.id, T0, "'; --"), SK_OK);
}

static void no_string_is_ever_a_statement(void **state)
{
    (void)state;
    for (size_t i = 0; i < NASTY; i++) {
        nasty_agent_and_token(nasty[i]);
        nasty_block(nasty[i]);
        nasty_rest(nasty[i]);
    }
    assert_int_equal(count("SELECT count(*) FROM block"), NASTY);
    assert_int_equal(count("SELECT count(*) FROM agent"), NASTY);
    assert_int_equal(count("SELECT count(*) FROM memo"), NASTY);
}

static void what_is_no_utf8_harms_nobody_else(void **state)
{
    (void)state;
    static const char *const bad[] = {"\xff",        "a\x80", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "\xe0\x80\x80"};
    int64_t next;
    assert_int_equal(store_begin(s), SK_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct store_event e = {.json = bad[i]};
        struct store_block b = block("A1", "b1", "203.0.113.1", T0, T0 + 1000);
        snprintf(b.reason, sizeof b.reason, "%s", bad[i]);
        assert_int_equal(store_event_add(s, &e), SK_EINVAL);
        assert_int_equal(store_block_put(s, &b, T0), SK_EINVAL);
        assert_int_equal(store_batch(s, bad[i], "x", 1, &next), SK_EINVAL);
    }
    add_event("A1", "alert", T0);
    assert_int_equal(store_commit(s), SK_OK);
    assert_int_equal(count("SELECT count(*) FROM event"), 1);
    assert_int_equal(count("SELECT count(*) FROM block"), 0);
}

/* ---- many at once: what is read ahead, and what waits to be said ---- */

static int seen_rules(const char *id)
{
    struct store_agent a;
    assert_int_equal(store_agent_get(s, id, &a), SK_OK);
    return (int)a.rules_version;
}

static void what_waits_is_seen(void **state)
{
    (void)state;
    int64_t next;
    struct store_counts c;
    struct store_agent a = agent("A1", "");
    assert_int_equal(store_agent_add(s, &a), SK_OK);
    assert_int_equal(store_begin(s), SK_OK);
    assert_int_equal(store_agent_beat(s, "A1", T0 + 1, "", "", "{}", 8, 0), SK_OK);
    assert_int_equal(store_agent_beat(s, "A1", T0 + 2, "", "", "{}", 9, 0), SK_OK);
    assert_int_equal(seen_rules("A1"), 9);
    assert_int_equal(store_agent_beat(s, "A1", T0 + 3, "", "", "{}", 10, 0), SK_OK);
    assert_int_equal(store_batch(s, "A1", "x", 1, &next), SK_OK);
    add_event("A1", "alert", T0);
    assert_int_equal(store_batch(s, "A1", "x", 2, &next), SK_OK);
    assert_string_equal(events(NULL, NULL, 0, 9), "1A1a ");
    add_event("A1", "block", T0);
    assert_int_equal(store_batch(s, "A1", "x", 3, &next), SK_OK);
    assert_int_equal(store_batch(s, "A1", "x", 3, &next), SK_EEXIST);
    assert_int_equal(store_out_add(s, "web", "p", T0), SK_OK);
    assert_string_equal(due("web", T0), "1webp0 ");
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    assert_int_equal(entry_end("203.0.113.1", T0), T0 + 1000);
    put("A1", "b1", "203.0.113.1", T0 + 2000, T0);
    put("A1", "b1", "203.0.113.1", T0 + 1500, T0);
    assert_int_equal(store_counts(s, T0, &c), SK_OK);
    assert_int_equal(c.blocks + c.entries + c.events + c.outgoing, 5);
    assert_int_equal(store_commit(s), SK_OK);
    assert_int_equal(entry_end("203.0.113.1", T0), T0 + 2000);
    assert_int_equal(seen_rules("A1"), 10);
    assert_string_equal(events(NULL, NULL, 0, 9), "1A1a 2A1b ");
    assert_int_equal(store_batch(s, "A1", "x", INT64_MAX, &next), SK_EPROTO);
    assert_int_equal(next, 4);
}

/* Every answer is what it would be without. */
static void what_is_read_ahead_is_what_there_is(void **state)
{
    (void)state;
    int64_t next;
    struct store_agent a = agent("A1", ""), b = agent("A2", ""), c = agent("A3", "");
    const struct store_ask asks[] = {{"A1", NULL, NULL}, {"A1", "x", NULL},  {"A1", "x", NULL},  {"A1", "new", NULL},
                                     {"A2", "x", NULL},  {"A3", NULL, NULL}, {"A9", "x", NULL},  {"A1", NULL, "b1"},
                                     {"A1", NULL, "b9"}, {"A3", NULL, "b1"}, {"A1", NULL, "b2"}, {"A0", "x", NULL}};
    assert_int_equal(store_agent_add(s, &a) + store_agent_add(s, &b) + store_agent_add(s, &c), SK_OK);
    assert_int_equal(store_agent_set_state(s, "A2", STORE_AGENT_REVOKED, T0), SK_OK);
    assert_int_equal(store_agent_renewed(s, "A3", "0b", T0), SK_OK);
    assert_int_equal(store_batch(s, "A1", "x", 1, &next) + store_batch(s, "A0", "x", 1, &next), SK_OK);
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    put("A1", "b2", "203.0.113.2", T0 + 1000, T0);
    assert_int_equal(store_block_end(s, "A1", "b2", T0, "lifted"), SK_OK);

    assert_int_equal(store_begin(s), SK_OK);
    assert_int_equal(store_ahead(s, asks, sizeof asks / sizeof asks[0]), SK_OK);
    assert_int_equal(store_agent_check(s, "A1", "0a"), SK_OK);
    assert_int_equal(store_agent_check(s, "A1", "0b"), SK_EPERM);
    assert_int_equal(store_agent_check(s, "A2", "0a"), SK_EPERM);
    assert_int_equal(store_agent_check(s, "A9", "0a"), SK_ENOENT);
    assert_int_equal(store_agent_check(s, "A3", "0a"), SK_OK);
    assert_int_equal(store_agent_check(s, "A3", "0b"), SK_OK); /* which ends the older one */
    assert_int_equal(store_agent_check(s, "A3", "0a"), SK_EPERM);
    assert_int_equal(store_batch(s, "A1", "x", 1, &next), SK_EEXIST);
    assert_int_equal(store_batch(s, "A1", "x", 3, &next), SK_EPROTO);
    assert_int_equal(next, 2);
    assert_int_equal(store_batch(s, "A1", "x", 2, &next), SK_OK);
    assert_int_equal(store_batch(s, "A1", "x", 3, &next), SK_OK);
    assert_int_equal(store_batch(s, "A1", "new", 2, &next), SK_EPROTO);
    assert_int_equal(store_batch(s, "A1", "new", 1, &next), SK_OK);
    assert_int_equal(store_batch(s, "A0", "x", 2, &next), SK_OK);
    assert_int_equal(store_block_end(s, "A1", "b9", T0, "lifted"), SK_ENOENT);
    put("A1", "b2", "203.0.113.2", T0 + 5000, T0); /* it has ended */
    put("A3", "b1", "203.0.113.1", T0 + 3000, T0);
    struct store_block other = block("A1", "b1", "203.0.113.9", T0, T0 + 1000);
    assert_int_equal(store_block_put(s, &other, T0), SK_EINVAL);
    assert_int_equal(store_agent_set_state(s, "A1", STORE_AGENT_REVOKED, T0), SK_OK);
    assert_int_equal(store_agent_check(s, "A1", "0a"), SK_EPERM);
    assert_int_equal(store_commit(s), SK_OK);

    assert_int_equal(entry_end("203.0.113.1", T0), T0 + 3000);
    assert_int_equal(entry_end("203.0.113.2", T0), 0);
    assert_int_equal(store_batch(s, "A1", "x", 4, &next) + store_batch(s, "A1", "new", 2, &next), SK_OK);
    assert_int_equal(count("SELECT count(*) FROM spool"), 3);
}

static void an_agent_has_its_blocks_a_day_at_all_managers(void **state)
{
    (void)state;
    struct store *other = suite_open();
    struct store_agent a = agent("A1", "");
    const int64_t hour = MS_PER_DAY / 24;
    assert_int_equal(store_agent_add(s, &a), SK_OK);
    for (int i = 0; i < 24; i++)
        assert_int_equal(store_agent_may_block(i % 2 ? other : s, "A1", 24, T0), SK_OK);
    assert_int_equal(store_agent_may_block(s, "A1", 24, T0), SK_EFULL);
    assert_int_equal(store_agent_may_block(other, "A1", 24, T0 + hour - 1), SK_EFULL);
    assert_int_equal(store_agent_may_block(other, "A1", 24, T0 + hour), SK_OK);
    assert_int_equal(store_agent_may_block(s, "A1", 24, T0 + hour), SK_EFULL);
    assert_int_equal(store_agent_may_block(s, "A1", 0, T0 + hour), SK_OK);
    assert_int_equal(store_agent_may_block(s, "A2", 24, T0), SK_ENOENT);
    assert_int_equal(store_begin(s), SK_OK); /* what is undone has not been taken */
    assert_int_equal(store_agent_may_block(s, "A1", 24, T0 + 2 * hour), SK_OK);
    assert_int_equal(store_agent_may_block(s, "A1", 24, T0 + 2 * hour), SK_EFULL);
    store_rollback(s);
    assert_int_equal(store_agent_may_block(other, "A1", 24, T0 + 2 * hour), SK_OK);
    /* A clock that was a year ahead costs a day, not a year. */
    assert_int_equal(store_agent_may_block(s, "A1", 24, T0 + 365 * MS_PER_DAY), SK_OK);
    assert_int_equal(store_agent_may_block(s, "A1", 24, T0), SK_EFULL);
    store_close(other);
}

/* ---- transactions, schema ---- */

static void a_failure_fails_all_of_a_transaction(void **state)
{
    (void)state;
    int64_t n;
    assert_int_equal(store_commit(s), SK_EINVAL);
    assert_int_equal(store_begin(s), SK_OK);
    assert_int_equal(store_begin(s), SK_EINVAL);
    add_event("A1", "alert", T0);
    assert_int_equal(inside_int(s, "SELECT nothing FROM nowhere", NULL, 0, &n), SK_EIO);
    assert_true(strlen(store_error(s)) > 10);
    assert_int_equal(store_memo_set(s, "a", "b"), SK_EIO);
    assert_int_equal(store_commit(s), SK_EIO);
    assert_int_equal(count("SELECT count(*) FROM event"), 0);
    add_event("A1", "alert", T0);
    assert_string_equal(events(NULL, NULL, 0, 9), "1A1a ");
}

static void a_rollback_leaves_nothing(void **state)
{
    (void)state;
    int64_t last, first;
    char epoch[STORE_SPOOL_LEN], again[STORE_SPOOL_LEN];
    assert_int_equal(store_begin(s), SK_OK);
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    add_event("A1", "alert", T0);
    assert_int_equal(store_seq(s, &last, &first, epoch), SK_OK);
    assert_int_equal(last, 1);
    store_rollback(s);
    assert_int_equal(entry_end("203.0.113.1", T0), 0);
    assert_int_equal(store_seq(s, &last, &first, again), SK_OK);
    assert_int_equal(last, 0);
    assert_string_equal(epoch, again);
    assert_int_equal(strlen(epoch), 24);
}

static void a_later_schema_is_refused(void **state)
{
    (void)state;
    char why[256] = "";
    struct store *other;
    int64_t there, known;
    assert_int_equal(store_look(bed.where, &there, &known, why, sizeof why), SK_OK);
    assert_int_equal(there, schema_current.n);
    assert_int_equal(known, schema_current.n);
    assert_int_equal(inside_change(s, "UPDATE schema_version SET version=version+1", NULL, 0), SK_OK);
    assert_int_equal(store_look(bed.where, &there, &known, why, sizeof why), SK_OK);
    assert_int_equal(there, known + 1);
    assert_int_equal(store_open(bed.where, &other, why, sizeof why), SK_ENOTSUP);
    assert_null(other);
    assert_non_null(strstr(why, "later"));
    assert_int_equal(count("SELECT count(*) FROM agent"), 0);
}

static void looking_makes_nothing(void **state)
{
    (void)state;
    char why[256] = "";
    int64_t there, known;
    assert_int_equal(db_begin(s->db), SK_OK);
    assert_int_equal(db_script(s->db, "DROP TABLE schema_version"), SK_OK);
    assert_int_equal(db_commit(s->db, NULL, false), SK_OK);
    assert_int_equal(store_look(bed.where, &there, &known, why, sizeof why), SK_OK);
    assert_int_equal(there, 0);
    assert_int_equal(inside_int(s, "SELECT count(*) FROM schema_version", NULL, 0, &there), SK_EIO);
}

static void an_older_schema_is_brought_up(void **state)
{
    (void)state;
    static const char *const steps[] = {NULL, "ALTER TABLE memo ADD COLUMN extra BIGINT NOT NULL DEFAULT 7",
                                        "CREATE TABLE further(a BIGINT);ALTER TABLE memo ADD COLUMN extra BIGINT"};
    const char *all[8];
    const unsigned n = schema_current.n;
    for (unsigned i = 0; i < n; i++)
        all[i] = schema_current.steps[i];
    all[n] = steps[1];
    all[n + 1] = steps[2]; /* it fails at its second statement: nothing of it stays */
    const struct schema next = {all, n + 1}, broken = {all, n + 2};
    assert_int_equal(store_memo_set(s, "a", "b"), SK_OK);
    assert_int_equal(schema_migrate(s->db, &next), SK_OK);
    assert_int_equal(count("SELECT extra FROM memo WHERE name='a'"), 7);
    assert_int_equal(count("SELECT version FROM schema_version"), n + 1);
    assert_int_equal(schema_migrate(s->db, &broken), SK_EIO);
    assert_int_equal(count("SELECT version FROM schema_version"), n + 1);
    assert_int_equal(schema_migrate(s->db, &next), SK_OK);
    int64_t v;
    assert_int_equal(inside_int(s, "SELECT count(*) FROM further", NULL, 0, &v), SK_EIO);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, suite_setup, suite_teardown)

int suite_whole(const char *name)
{
    const struct CMUnitTest tests[] = {
        TEST(no_string_is_ever_a_statement),
        TEST(what_is_no_utf8_harms_nobody_else),
        TEST(what_waits_is_seen),
        TEST(what_is_read_ahead_is_what_there_is),
        TEST(an_agent_has_its_blocks_a_day_at_all_managers),
        TEST(a_failure_fails_all_of_a_transaction),
        TEST(a_rollback_leaves_nothing),
        TEST(a_later_schema_is_refused),
        TEST(looking_makes_nothing),
        TEST(an_older_schema_is_brought_up),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
