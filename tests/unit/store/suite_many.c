/* Several connections, several processes, and processes that are killed. */
#include "suite.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 10000

static void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* A process with a connection of its own; its result is its exit status. */
static pid_t child(int (*work)(struct store *mine, int n), int n)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    struct store *mine = suite_open();
    int rc = mine ? work(mine, n) : 99;
    store_close(mine);
    _exit(rc);
}

static int reap(pid_t pid)
{
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static void reap_all(const pid_t *pids, int n)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(reap(pids[i]), 0);
}

static bool noticed(struct store *who)
{
    for (int i = 0; i < WAIT_MS; i += 10) {
        if (store_changed(who))
            return true;
        struct pollfd p = {.fd = store_changed_fd(who), .events = POLLIN};
        (void)poll(&p, 1, 10);
    }
    return false;
}

static void a_change_wakes_the_others(void **state)
{
    (void)state;
    struct store *other = suite_open();
    assert_non_null(other);
    assert_false(store_changed(other));
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    assert_true(noticed(other));
    assert_false(store_changed(other));
    assert_true(noticed(s)); /* one's own too */
    assert_int_equal(store_begin(s), SK_OK);
    put("A1", "b2", "203.0.113.2", T0 + 1000, T0);
    store_rollback(s);
    nap(20);
    assert_false(store_changed(other));
    store_close(other);
}

static int open_and_close(void)
{
    struct store *mine = suite_open();
    store_close(mine);
    return mine == NULL;
}

static int sees_the_block(void)
{
    s = suite_open();
    int rc = s == NULL || entry_end("203.0.113.1", T0) != T0 + 1000;
    store_close(s);
    return rc;
}

/* A process that was begun while nobody had the database open, and works when it is told: what a fork takes along of
 * open connections is no other process's. */
static pid_t stranger(int (*work)(void), int *go)
{
    int p[2];
    char c;
    assert_int_equal(pipe(p), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(read(p[0], &c, 1) == 1 ? work() : 98);
    close(p[0]);
    *go = p[1];
    return pid;
}

static int let_go(pid_t pid, int go)
{
    assert_int_equal(write(go, "x", 1), 1);
    close(go);
    return reap(pid);
}

/* Whoever closes any descriptor of a file loses its process's locks on it (fcntl(2)): another process then believes
 * itself to be the last one, and takes the log away under those that write to it. */
static void connections_of_a_process_do_not_unlock_each_other(void **state)
{
    (void)state;
    int go_visitor, go_reader;
    store_close(s);
    pid_t visitor = stranger(open_and_close, &go_visitor), reader = stranger(sees_the_block, &go_reader);
    s = suite_open();
    struct store *other = suite_open();
    assert_true(s != NULL && other != NULL);
    assert_int_equal(let_go(visitor, go_visitor), 0);
    put("A1", "b1", "203.0.113.1", T0 + 1000, T0);
    assert_int_equal(let_go(reader, go_reader), 0);
    store_close(other);
}

static bool leads_soon(struct store *who)
{
    for (int i = 0; i < WAIT_MS; i += 10, nap(10))
        if (store_lead(who) == SK_OK)
            return true;
    return false;
}

static void one_leads(void **state)
{
    (void)state;
    struct store *other = suite_open();
    assert_int_equal(store_lead(s), SK_OK);
    assert_int_equal(store_lead(s), SK_OK);
    assert_int_equal(store_lead(other), SK_EAGAIN);
    store_close(s);
    s = NULL;
    assert_true(leads_soon(other));
    store_close(other);
}

static int tell_fd[2];

static int lead_for_ever(struct store *mine, int n)
{
    (void)n;
    if (store_lead(mine) != SK_OK || write(tell_fd[1], "x", 1) != 1)
        return 1;
    for (;;)
        pause();
}

static void who_is_killed_leads_no_more(void **state)
{
    (void)state;
    char c;
    assert_int_equal(pipe2(tell_fd, O_CLOEXEC), 0);
    pid_t pid = child(lead_for_ever, 0);
    assert_int_equal(read(tell_fd[0], &c, 1), 1);
    assert_int_equal(store_lead(s), SK_EAGAIN);
    kill(pid, SIGKILL);
    assert_int_equal(reap(pid), -1);
    assert_true(leads_soon(s));
    close(tell_fd[0]);
    close(tell_fd[1]);
}

static int nothing(struct store *mine, int n)
{
    (void)n;
    int64_t v;
    return inside_int(mine, "SELECT count(*) FROM state", NULL, 0, &v) == SK_OK && v == 1 ? 0 : 1;
}

static void many_begin_at_once(void **state)
{
    (void)state;
    pid_t pids[8];
    store_close(s);
    s = NULL;
    assert_int_equal(bed.fresh(), 0);
    for (int i = 0; i < 8; i++)
        pids[i] = child(nothing, i);
    reap_all(pids, 8);
}

/* ---- numbers ---- */

#define WRITERS 4
#define WRITES  60

static int write_blocks_and_events(struct store *mine, int n)
{
    for (int i = 0; i < WRITES; i++) {
        char target[32], id[16];
        struct store_event e = {.time = T0, .json = "{}"};
        snprintf(target, sizeof target, "10.%d.0.%d", n, i);
        snprintf(id, sizeof id, "b%d", i);
        snprintf(e.agent, sizeof e.agent, "W%d", n);
        struct store_block b = block(e.agent, id, target, T0, T0 + 100000);
        if (store_begin(mine) != SK_OK || store_block_put(mine, &b, T0) != SK_OK || store_event_add(mine, &e) != SK_OK)
            return 1;
        if (i % 7 == 0)
            nap(1); /* the lock is held longer now and then */
        if (store_commit(mine) != SK_OK)
            return 2;
    }
    return 0;
}

struct seen {
    int64_t entry, event;
    unsigned entries, events;
};

static void see_entry(void *arg, const struct store_entry *e)
{
    struct seen *x = arg;
    assert_true(e->seq > x->entry);
    x->entry = e->seq;
    x->entries++;
}

static void see_event(void *arg, const struct store_event *e)
{
    struct seen *x = arg;
    assert_true(e->id > x->event);
    x->event = e->id;
    x->events++;
}

/* Reads on from where it is, while others write: what it has passed by would never be seen. */
static void a_reader_misses_no_number(void **state)
{
    (void)state;
    pid_t pids[WRITERS];
    struct seen x = {0};
    for (int i = 0; i < WRITERS; i++)
        pids[i] = child(write_blocks_and_events, i);
    for (int i = 0; i < WAIT_MS * 4 && x.entries < WRITERS * WRITES; i++, nap(1)) {
        assert_int_equal(store_entries_since(s, x.entry, 50, T0, see_entry, &x), SK_OK);
        assert_int_equal(store_events(s, NULL, NULL, x.event, 50, see_event, &x), SK_OK);
    }
    reap_all(pids, WRITERS);
    assert_int_equal(store_events(s, NULL, NULL, x.event, 500, see_event, &x), SK_OK);
    assert_int_equal(x.entries, WRITERS * WRITES);
    assert_int_equal(x.events, WRITERS * WRITES);
    assert_int_equal(x.entry, WRITERS * WRITES);
    assert_int_equal(x.event, WRITERS * WRITES);
}

static int write_one_target(struct store *mine, int n)
{
    for (int i = 0; i < WRITES; i++) {
        char agent[8], id[16];
        snprintf(agent, sizeof agent, "W%d", n);
        snprintf(id, sizeof id, "b%d", i);
        struct store_block b = block(agent, id, "203.0.113.7", T0, T0 + 1 + (i * 7919 + n * 104729) % 100000);
        if (store_block_put(mine, &b, T0) != SK_OK)
            return 1;
        if (i % 3 == 0 && store_block_end(mine, agent, id, T0, "lifted") != SK_OK)
            return 2;
    }
    return 0;
}

static void writers_of_one_target_agree(void **state)
{
    (void)state;
    pid_t pids[WRITERS];
    int64_t want, agents;
    for (int i = 0; i < WRITERS; i++)
        pids[i] = child(write_one_target, i);
    reap_all(pids, WRITERS);
    assert_int_equal(inside_int(s, "SELECT max(expires) FROM block WHERE ended=0", NULL, 0, &want), SK_OK);
    assert_int_equal(entry_end("203.0.113.7", T0), want);
    assert_int_equal(inside_int(s, "SELECT agents FROM entry", NULL, 0, &agents), SK_OK);
    assert_int_equal(agents, WRITERS);
}

static int same_batches(struct store *mine, int n)
{
    (void)n;
    for (int64_t seq = 1; seq <= WRITES; seq++) {
        struct store_event e = {.agent = "A1", .json = "{}"};
        int64_t next;
        if (store_begin(mine) != SK_OK)
            return 1;
        int rc = store_batch(mine, "A1", "spool", seq, &next);
        if (rc == SK_OK && store_event_add(mine, &e) != SK_OK)
            return 2;
        if (rc != SK_OK && rc != SK_EEXIST)
            return 3;
        if (store_commit(mine) != SK_OK)
            return 4;
    }
    return 0;
}

static void a_batch_over_two_managers_is_taken_once(void **state)
{
    (void)state;
    pid_t pids[3];
    int64_t n;
    for (int i = 0; i < 3; i++)
        pids[i] = child(same_batches, i);
    reap_all(pids, 3);
    assert_int_equal(inside_int(s, "SELECT count(*) FROM event", NULL, 0, &n), SK_OK);
    assert_int_equal(n, WRITES);
}

static int use_token(struct store *mine, int n)
{
    (void)n;
    struct store_token t;
    int used = 0;
    for (int i = 0; i < 30; i++) {
        int rc = store_token_use(mine, "h", STORE_TOKEN_ENROL, T0, &t);
        if (rc != SK_OK && rc != SK_EPERM)
            return 99;
        used += rc == SK_OK;
    }
    return used;
}

static void a_token_is_not_used_too_often(void **state)
{
    (void)state;
    struct store_token t = {.id = "t", .hash = "h", .expires = STORE_FOREVER, .uses_left = 50};
    pid_t pids[4];
    int used = 0;
    assert_int_equal(store_token_add(s, &t), SK_OK);
    for (int i = 0; i < 4; i++)
        pids[i] = child(use_token, i);
    for (int i = 0; i < 4; i++)
        used += reap(pids[i]);
    assert_int_equal(used, 50);
}

/* ---- kill -9 ---- */

/* Batches of three events each; the number of each goes into the pipe when its commit has returned. */
static int write_until_killed(struct store *mine, int n)
{
    (void)n;
    int64_t next = 1, seq = 1;
    while (store_batch(mine, "A1", "spool", INT64_MAX, &next) == SK_EPROTO) { /* asks which is wanted */
        seq = next;
        if (store_begin(mine) != SK_OK || store_batch(mine, "A1", "spool", seq, &next) != SK_OK)
            return 1;
        for (int i = 0; i < 3; i++) {
            struct store_event e = {.agent = "A1", .time = seq, .json = "{}"};
            if (store_event_add(mine, &e) != SK_OK)
                return 2;
        }
        if (store_commit(mine) != SK_OK || write(tell_fd[1], &seq, sizeof seq) != sizeof seq)
            return 3;
    }
    return 4;
}

static int64_t last_told(int64_t last)
{
    for (int64_t seq; read(tell_fd[0], &seq, sizeof seq) == sizeof seq; last = seq)
        assert_int_equal(seq, last + 1);
    return last;
}

static void what_was_committed_is_there(void **state)
{
    (void)state;
    int64_t told = 0, events, batch, next;
    srand(1);
    for (int i = 0; i < 25; i++) {
        assert_int_equal(pipe2(tell_fd, O_CLOEXEC | O_NONBLOCK), 0);
        pid_t pid = child(write_until_killed, 0);
        for (int k = 0; k < 500 && poll(&(struct pollfd){.fd = tell_fd[0], .events = POLLIN}, 1, 10) == 0; k++)
            ;
        nanosleep(&(struct timespec){.tv_nsec = rand() % 20000000}, NULL);
        kill(pid, SIGKILL);
        assert_int_equal(reap(pid), -1);
        if (bed.settle)
            bed.settle(); /* a COMMIT that the server has received is carried out without us */
        told = last_told(told);
        assert_int_equal(store_batch(s, "A1", "spool", INT64_MAX, &next), SK_EPROTO);
        batch = next - 1;
        assert_int_equal(inside_int(s, "SELECT count(*) FROM event", NULL, 0, &events), SK_OK);
        assert_true(batch == told || batch == told + 1); /* killed between commit and word of it */
        assert_int_equal(events, batch * 3);
        told = batch;
        close(tell_fd[0]);
        close(tell_fd[1]);
    }
    assert_true(told > 25);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, suite_setup, suite_teardown)

int suite_many(const char *name)
{
    const struct CMUnitTest tests[] = {
        TEST(a_change_wakes_the_others),
        TEST(connections_of_a_process_do_not_unlock_each_other),
        TEST(one_leads),
        TEST(who_is_killed_leads_no_more),
        TEST(many_begin_at_once),
        TEST(a_reader_misses_no_number),
        TEST(writers_of_one_target_agree),
        TEST(a_batch_over_two_managers_is_taken_once),
        TEST(a_token_is_not_used_too_often),
        TEST(what_was_committed_is_there),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
