/* The store on SQLite; and what only SQLite has: plans without whole tables, and the file's mode. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "suite.h"

static char dir[] = "/tmp/sekisho-store-XXXXXX";

static void remove_file(void)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lead"};
    char path[600];
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        snprintf(path, sizeof path, "%s%s", bed.where + 7, ends[i]);
        unlink(path);
    }
}

static int fresh(void)
{
    remove_file();
    return 0;
}

static void the_file_is_the_owners_alone(void **state)
{
    (void)state;
    static const char *const ends[] = {"", "-wal"};
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    for (size_t i = 0; i < 2; i++) {
        char path[600];
        struct stat st;
        snprintf(path, sizeof path, "%s%s", bed.where + 7, ends[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    struct store *other;
    char why[256];
    assert_int_not_equal(store_open("sqlite:", &other, why, sizeof why), SK_OK);
    assert_int_not_equal(store_open("sqlite:/tmp", &other, why, sizeof why), SK_OK);
    assert_int_not_equal(store_open("sqlite:/nowhere/at/all.db", &other, why, sizeof why), SK_OK);
    assert_non_null(strstr(why, "/nowhere/at/all.db"));
    int64_t there, known;
    assert_int_equal(store_look("sqlite:/nowhere/at/all.db", &there, &known, why, sizeof why), SK_EIO);
    assert_non_null(strstr(why, "/nowhere/at: "));
    assert_int_equal(store_look("sqlite:/tmp/none-of-these.db", &there, &known, why, sizeof why), SK_ENOENT);
    assert_int_equal(access("/tmp/none-of-these.db", F_OK), -1);
    assert_int_not_equal(store_open("sqlite:/etc/passwd", &other, why, sizeof why), SK_OK);
    assert_null(other);
}

static void commits_are_on_the_disk(void **state)
{
    (void)state;
    int64_t v = 0;
    assert_int_equal(inside_int(s, "PRAGMA synchronous", NULL, 0, &v), SK_OK);
    assert_int_equal(v, 2);
}

static void none(void *arg, const void *row)
{
    (void)arg;
    (void)row;
}

static void ask_everything(void)
{
    struct sk_prefix p = prefix("203.0.113.1");
    struct store_entry e;
    struct store_counts c;
    struct store_agent a;
    struct store_token t;
    struct store_keep k = {.events_most = 1};
    int64_t v, first, next;
    char epoch[STORE_SPOOL_LEN], *text;
    unsigned n;
    bool more;
    int rc = 0;
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    put("A1", "b1", "203.0.113.1", T0 + 2000, T0);
    rc |= store_block_end(s, "A1", "b1", T0, "lifted") | store_unblock(s, &p, T0, "unblocked", &n);
    for (int i = 0; i < 8; i++) {
        const char *agent = i & 1 ? "A1" : NULL;
        rc |= store_blocks(s, i & 2 ? &p : NULL, agent, i & 4, 0, 10, T0, (store_block_fn *)none, NULL);
        rc |= store_events(s, agent, i & 2 ? "alert" : NULL, i & 4 ? -1 : 0, 10, (store_event_fn *)none, NULL);
    }
    rc |= store_entries_since(s, 0, 10, T0, (store_entry_fn *)none, NULL) | store_entry_get(s, &p, T0, &e);
    rc |= store_seq(s, &v, &first, epoch) | store_counts(s, T0, &c) | store_prune(s, &k, T0, 10, &more);
    rc |= store_agent_get(s, "A1", &a) | store_agent_check(s, "A1", "01") | store_agent_renewed(s, "A1", "02", T0);
    rc |= store_agent_beat(s, "A1", T0, "", "", "", 0, 0) | store_agents_retire(s, T0, T0, &n);
    rc |= store_agent_set_state(s, "A1", STORE_AGENT_REVOKED, T0) | store_batch(s, "A1", "x", 1, &next);
    rc |= store_batch(s, "A1", "x", 2, &next) | store_token_use(s, "h", STORE_TOKEN_ENROL, T0, &t);
    rc |= store_token_find(s, "h", &t) | store_token_revoke(s, "t") | store_bundle_latest(s, "rules", &v);
    rc |= store_bundle_get(s, "rules", 0, (store_bundle_fn *)none, NULL);
    rc |=
        store_out_due(s, "x", T0, 10, (store_out_fn *)none, NULL) | store_out_done(s, 1) | store_out_retry(s, 1, 1, "");
    rc |= store_audits(s, 0, 10, (store_audit_fn *)none, NULL) | store_waf_owned(s, "x", (store_prefix_fn *)none, NULL);
    rc |= store_memo_set(s, "m", "x") | store_memo_get(s, "m", &text) | store_audit(s, T0, "a", "b", "c");
    (void)rc; /* most find nothing: the statements are what matters here */
    free(text);
}

/* One row: state. Few rows, read seldom: tokens and agents that are over. */
static bool may_scan(const char *detail)
{
    return strcmp(detail, "SCAN CONSTANT ROW") == 0 || strcmp(detail, "SCAN schema_version") == 0 ||
           strcmp(detail, "SCAN r") == 0 /* what is said, row by row */ || strcmp(detail, "SCAN b LEFT-JOIN") == 0 ||
           strcmp(detail, "SCAN m LEFT-JOIN") == 0 /* one row each */ || strstr(detail, "SCAN token") ||
           strstr(detail, "SCAN agent") || strstr(detail, "SCAN newest") || strstr(detail, "SCAN (subquery") ||
           strstr(detail, "SCAN over") || strstr(detail, "SCAN longest") ||
           strstr(detail, "SCAN outgoing USING COVERING") || strstr(detail, "SCAN spool") ||
           strcmp(detail, "SCAN event") == 0 /* newest or oldest first, with a limit */ ||
           strcmp(detail, "SCAN audit") == 0;
}

static void no_statement_reads_whole_tables(void **state)
{
    (void)state;
    unsigned seen = 0, bad = 0;
    sqlite3 *db;
    ask_everything();
    assert_int_equal(sqlite3_open(bed.where + 7, &db), SQLITE_OK);
    for (size_t i = 0; i < DB_CACHE; i++) {
        const char *sql = s->db->cached_sql[i];
        char text[DB_SQL_MAX + 32];
        sqlite3_stmt *st = NULL;
        if (!sql || strncmp(sql, "PRAGMA", 6) == 0)
            continue;
        const struct db_words words = {.column = "?", .rows = "(SELECT 1) AS r", .lateral = "", .lock = ""};
        char said[DB_SQL_MAX];
        assert_true(db_translate(&words, sql, said, sizeof said));
        snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", said);
        assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
        for (seen++; sqlite3_step(st) == SQLITE_ROW;) {
            const char *detail = (const char *)sqlite3_column_text(st, 3);
            if (strncmp(detail, "SCAN", 4) == 0 && !may_scan(detail)) {
                print_message("%s\n    %s\n", sql, detail);
                bad++;
            }
        }
        sqlite3_finalize(st);
    }
    sqlite3_close(db);
    assert_true(seen > 60);
    assert_int_equal(bad, 0);
}

int main(void)
{
    sk_log_setup("test", SK_LOG_ERROR, 0);
    if (!mkdtemp(dir))
        return 1;
    snprintf(bed.where, sizeof bed.where, "sqlite:%s/manager.db", dir);
    bed.fresh = fresh;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_file_is_the_owners_alone, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_refused, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(commits_are_on_the_disk, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(no_statement_reads_whole_tables, suite_setup, suite_teardown),
    };
    int bad = cmocka_run_group_tests_name("sqlite: file", tests, NULL, NULL);
    bad += suite_calls("sqlite: calls") + suite_whole("sqlite: whole") + suite_blocks("sqlite: blocks") +
           suite_many("sqlite: many");
    remove_file();
    rmdir(dir);
    return bad != 0;
}
