/* The store on PostgreSQL; and what only PostgreSQL has: a connection that can be lost, and a password. */
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "pg_server.h"
#include "suite.h"

#define SKIP 77

static struct pg_server server;

static int raw(const char *sql)
{
    PGconn *c = PQconnectdb(bed.where);
    PGresult *res = PQexec(c, sql);
    ExecStatusType st = PQresultStatus(res);
    bool ok = st == PGRES_COMMAND_OK || st == PGRES_TUPLES_OK;
    if (!ok)
        print_message("%s", PQerrorMessage(c));
    PQclear(res);
    PQfinish(c);
    return ok ? 0 : -1;
}

static int fresh(void)
{
    return raw("SET client_min_messages=warning;DROP SCHEMA public CASCADE;CREATE SCHEMA public");
}

/* Ours is the one that is left. */
static void settle(void)
{
    int64_t n = 2;
    for (int i = 0; i < 1000 && n > 1; i++) {
        assert_int_equal(inside_int(s, "SELECT count(*) FROM pg_stat_activity WHERE application_name='sekisho-manager'",
                                    NULL, 0, &n),
                         SK_OK);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_int_equal(n, 1);
}

static void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static void end_session(struct store *who)
{
    int64_t pid;
    char sql[128];
    assert_int_equal(inside_int(who, "SELECT pg_backend_pid()", NULL, 0, &pid), SK_OK);
    snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%lld, 5000)", (long long)pid);
    assert_int_equal(raw(sql), 0);
}

static void a_lost_connection_is_made_again(void **state)
{
    (void)state;
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    (void)store_changed(s);
    end_session(s);
    assert_int_equal(entry_end("203.0.113.1", T0), T0 + 1000);
    assert_true(store_changed(s)); /* who knows what was missed */
    end_session(s);
    put("A1", "b2", "203.0.113.2", T0 + 1000, T0);
    end_session(s);
    assert_true(store_changed(s));
    assert_int_equal(entry_end("203.0.113.2", T0), T0 + 1000);
}

static void a_transaction_is_lost_with_its_connection(void **state)
{
    (void)state;
    assert_int_equal(store_begin(s), SK_OK);
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    end_session(s);
    struct store_block b = block("A1", "b2", "203.0.113.2", T0, T0 + 1000);
    assert_int_equal(store_block_put(s, &b, T0), SK_EIO);
    assert_int_equal(store_block_put(s, &b, T0), SK_EIO);
    assert_int_equal(store_commit(s), SK_EIO);
    assert_int_equal(entry_end("203.0.113.1", T0), 0);
    assert_int_equal(store_begin(s), SK_OK);
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    end_session(s);
    assert_int_equal(store_commit(s), SK_EIO);
    put("A1", "b1", "203.0.113.1", T0 + 2000, T0);
    assert_int_equal(entry_end("203.0.113.1", T0), T0 + 2000);
}

static void who_loses_the_connection_leads_no_more(void **state)
{
    (void)state;
    struct store *other = suite_open();
    assert_int_equal(store_lead(s), SK_OK);
    assert_int_equal(store_lead(other), SK_EAGAIN);
    end_session(s);
    assert_int_equal(store_lead(other), SK_OK);
    assert_int_equal(store_lead(s), SK_EAGAIN);
    assert_int_equal(store_lead(s), SK_EAGAIN);
    end_session(other);
    assert_int_equal(store_lead(s), SK_OK);
    store_close(other);
}

static void the_server_goes_and_comes(void **state)
{
    (void)state;
    int rc = SK_EIO;
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    (void)store_changed(s);
    pg_server_stop(&server);
    struct store_block b = block("A1", "b2", "203.0.113.2", T0, T0 + 1000);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(store_block_put(s, &b, T0), SK_EIO);
        assert_false(store_changed(s));
        assert_int_equal(store_lead(s), SK_EIO);
    }
    assert_true(strlen(store_error(s)) > 0);
    assert_null(pg_server_start(&server));
    for (int i = 0; i < 100 && rc != SK_OK; i++, nap(50))
        rc = store_block_put(s, &b, T0);
    assert_int_equal(rc, SK_OK);
    assert_int_equal(entry_end("203.0.113.1", T0), T0 + 1000);
    assert_true(store_changed(s));
}

/* Whatever is wrong with the connection string, and whatever the server says of it. */
static void the_password_is_in_no_message(void **state)
{
    (void)state;
    static const char *const wheres[] = {
        "postgresql://u:s3cretpw@nowhere.invalid/db?connect_timeout=2",
        "postgresql://u:s3cretpw@[::bad/db",
        "postgresql://u:s3cretpw@/db?host=/nowhere&s3cretpw=1",
        "host=/nowhere password=s3cretpw",
        "host=/nowhere password='s3cretpw",
        "password s3cretpw",
        "s3cretpw",
        "host=/nowhere user=s3cretpw password=s3cretpw dbname=s3cretpw",
        "host=/s3cretpw password=s3cretpw",
    };
    for (size_t i = 0; i < sizeof wheres / sizeof wheres[0]; i++) {
        struct store *other;
        char why[512] = "";
        assert_int_not_equal(store_open(wheres[i], &other, why, sizeof why), SK_OK);
        assert_null(other);
        assert_true(strlen(why) > 0);
        assert_null(strstr(why, "s3cret"));
    }
}

/* A statement that the server refuses. */
static void a_failed_statement_leaves_the_connection(void **state)
{
    (void)state;
    int64_t v;
    assert_int_equal(inside_int(s, "SELECT 1/(SELECT 0::bigint)", NULL, 0, &v), SK_EIO);
    assert_non_null(strstr(store_error(s), "22012"));
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
}

/* Whoever does not lock as we do, an older manager: the number decides, and nothing of ours is stored. */
static void a_batch_that_another_took_meanwhile_is_not_taken(void **state)
{
    (void)state;
    int64_t next, n;
    struct store_event e = {.agent = "A1", .time = T0, .json = "{}"};
    assert_int_equal(store_batch(s, "A1", "x", 1, &next), SK_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_begin(s), SK_OK);
        assert_int_equal(store_batch(s, "A1", i ? "y" : "x", i ? 1 : 2, &next), SK_OK);
        assert_int_equal(store_event_add(s, &e), SK_OK);
        assert_int_equal(raw(i ? "INSERT INTO spool VALUES('A1','y',1,9)" : "UPDATE spool SET seq=2 WHERE spool='x'"),
                         0);
        assert_int_equal(store_commit(s), SK_EIO);
        assert_int_equal(store_batch(s, "A1", i ? "y" : "x", i ? 1 : 2, &next), SK_EEXIST);
    }
    assert_int_equal(inside_int(s, "SELECT count(*) FROM event", NULL, 0, &n), SK_OK);
    assert_int_equal(n, 0);
}

/* ---- how often the server is asked ---- */

static unsigned ways;
static struct db_ops counting;

static int counted_exec(struct db *db, const char *sql, const struct db_value *v, unsigned n, int64_t *rows)
{
    ways++;
    return db_pg.exec(db, sql, v, n, rows);
}

static int counted_query(struct db *db, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r)
{
    ways++;
    return db_pg.query(db, sql, v, n, r);
}

static int counted_many(struct db *db, const char *sql, const struct db_value *v, unsigned cols, unsigned n,
                        struct db_rows *r, int64_t *rows)
{
    ways++;
    return db_pg.many(db, sql, v, cols, n, r, rows);
}

static int counted_lock(struct db *db, const char *sql, struct db_rows *r)
{
    ways++;
    return db_pg.lock(db, sql, r);
}

static int counted_commit(struct db *db, const char *last, bool notify)
{
    ways++;
    return db_pg.commit(db, last, notify);
}

static void one_agents_part(int i, int round)
{
    char id[16], target[32];
    int64_t next;
    struct store_event e = {.time = T0, .json = "{}"};
    snprintf(id, sizeof id, "A%d", i);
    snprintf(e.agent, sizeof e.agent, "A%d", i);
    snprintf(target, sizeof target, "203.0.113.%d", i % 50);
    assert_int_equal(store_agent_check(s, id, "0a"), SK_OK);
    assert_int_equal(store_agent_beat(s, id, T0, "", "", "{}", 0, 0), SK_OK);
    assert_int_equal(store_batch(s, id, "x", round, &next), SK_OK);
    for (int k = 0; k < 3; k++)
        assert_int_equal(store_event_add(s, &e), SK_OK);
    assert_int_equal(store_agent_may_block(s, id, 1000, T0), SK_OK);
    put(id, round == 1 ? "b1" : "b2", target, T0 + 1000 * round + i, T0);
    assert_int_equal(store_block_end(s, id, "b0", T0, "lifted"), SK_ENOENT);
}

/* Of what agents tell together, each its next batch. */
static unsigned ways_of(int from, int to, int round)
{
    static char ids[200][16];
    static struct store_ask asks[600];
    size_t nasks = 0;
    for (int i = from; i < to; i++) {
        snprintf(ids[i], sizeof ids[i], "A%d", i);
        asks[nasks++] = (struct store_ask){ids[i], "x", NULL};
        asks[nasks++] = (struct store_ask){ids[i], NULL, round == 1 ? "b1" : "b2"};
        asks[nasks++] = (struct store_ask){ids[i], NULL, "b0"};
    }
    ways = 0;
    assert_int_equal(store_begin(s), SK_OK);
    assert_int_equal(store_ahead(s, asks, nasks), SK_OK);
    for (int i = from; i < to; i++)
        one_agents_part(i, round);
    assert_int_equal(store_commit(s), SK_OK);
    return ways;
}

static void a_fleet_takes_no_more_ways_than_a_host(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct store_agent a = {.enrolled = T0, .serial = "0a"};
        snprintf(a.id, sizeof a.id, "A%d", i);
        assert_int_equal(store_agent_add(s, &a), SK_OK);
    }
    counting = db_pg;
    counting.exec = counted_exec;
    counting.query = counted_query;
    counting.many = counted_many;
    counting.lock = counted_lock;
    counting.commit = counted_commit;
    s->db->ops = &counting;
    unsigned new = ways_of(0, 200, 1), few = ways_of(0, 1, 2), many = ways_of(1, 200, 2);
    s->db->ops = &db_pg;
    assert_int_equal(few, many);
    assert_true(many <= 12);
    assert_true(new <= 14); /* spools begin, and older ones are looked for */
}

static int suite_pg(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lost_connection_is_made_again, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(a_transaction_is_lost_with_its_connection, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(who_loses_the_connection_leads_no_more, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(the_server_goes_and_comes, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(a_batch_that_another_took_meanwhile_is_not_taken, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(a_fleet_takes_no_more_ways_than_a_host, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(the_password_is_in_no_message, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(a_failed_statement_leaves_the_connection, suite_setup, suite_teardown),
    };
    int bad = suite_calls("postgresql: calls") + suite_whole("postgresql: whole") + suite_blocks("postgresql: blocks") +
              suite_many("postgresql: many");
    return bad + cmocka_run_group_tests_name("postgresql: connection", tests, NULL, NULL);
}

/* The tests are a process of their own: if it crashes, somebody is left to clean up. */
int main(void)
{
    sk_log_setup("test", SK_LOG_ERROR, 0);
    signal(SIGPIPE, SIG_IGN);
    const char *why = pg_server_make(&server);
    if (!why)
        why = pg_server_start(&server);
    if (why) {
        printf("SKIP: %s\n", why);
        pg_server_remove(&server);
        return SKIP;
    }
    snprintf(bed.where, sizeof bed.where, "host=%s user=postgres dbname=postgres", server.dir);
    bed.fresh = fresh;
    bed.settle = settle;
    int st = 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(suite_pg() != 0);
    if (pid < 0 || waitpid(pid, &st, 0) != pid)
        st = 1;
    pg_server_remove(&server);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 1;
}
