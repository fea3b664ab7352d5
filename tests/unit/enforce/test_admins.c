/* Who has logged in, by a utmp file of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmpx.h>
#include <cmocka.h>

#include "enforce/admins.h"

#define S SK_NS_PER_S

static char dir[64], utmp[96], state[96];
static int64_t now;

static int setup(void **st)
{
    (void)st;
    snprintf(dir, sizeof dir, "/tmp/sekisho-admins-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(utmp, sizeof utmp, "%s/utmp", dir);
    snprintf(state, sizeof state, "%s/administrators", dir);
    now = INT64_C(1800000000) * S;
    return 0;
}

static int teardown(void **st)
{
    (void)st;
    char path[128];
    static const char *const names[] = {"utmp", "administrators", "administrators.new"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static struct utmpx record(const char *addr, const char *user, pid_t pid)
{
    struct utmpx u = {.ut_type = USER_PROCESS, .ut_pid = pid};
    memcpy(u.ut_user, user, strnlen(user, sizeof u.ut_user));
    memcpy(u.ut_line, "pts/0", 6);
    if (addr && inet_pton(AF_INET, addr, u.ut_addr_v6) != 1)
        assert_int_equal(inet_pton(AF_INET6, addr, u.ut_addr_v6), 1);
    return u;
}

static void put(const struct utmpx *u, size_t n)
{
    int fd = open(utmp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, u, n * sizeof *u), n * sizeof *u);
    close(fd);
}

static struct admins *begin(bool remember)
{
    struct admins *a;
    struct admins_setup s = {.utmp = utmp, .state = remember ? state : NULL};
    assert_int_equal(admins_open(&s, now, &a), SK_OK);
    return a;
}

/* The text of the entry that spares addr; NULL: it is not spared. */
static const char *spared(struct admins *a, const char *addr)
{
    static struct never_list *l;
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(addr, strlen(addr), false, &p), SK_OK);
    never_free(l);
    l = never_create();
    never_begin(l);
    admins_spare(a, l);
    (void)never_commit(l);
    const struct never_entry *e = never_check(l, &p);
    const char *text = e && e->kind == NEVER_ADMIN ? e->text : NULL;
    static char copy[NEVER_TEXT_MAX];
    if (text)
        snprintf(copy, sizeof copy, "%s", text);
    never_free(l);
    l = NULL;
    return text ? copy : NULL;
}

static pid_t dead_pid(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    return pid;
}

static void test_logins_that_are_there_are_spared(void **st)
{
    (void)st;
    struct utmpx u[] = {record("192.0.2.7", "alice", getpid()),    record("2001:db8::7", "bob", getpid()),
                        record("192.0.2.8", "gone", dead_pid()),   record("192.0.2.9", "out", getpid()),
                        record(NULL, "console", getpid()),         record("127.0.0.1", "self", getpid()),
                        record("192.0.2.10", "a\x1b\"b", getpid())};
    u[3].ut_type = DEAD_PROCESS;
    /* Whoever may write a name there, is not believed. */
    memcpy(u[4].ut_host, "192.0.2.66", 11);
    put(u, sizeof u / sizeof u[0]);
    struct admins *a = begin(false);
    assert_true(admins_refresh(a, now));
    assert_false(admins_refresh(a, now + S));
    assert_int_equal(admins_count(a), 3);
    assert_string_equal(spared(a, "192.0.2.7"), "SSH login of alice");
    assert_string_equal(spared(a, "2001:db8::7"), "SSH login of bob");
    assert_string_equal(spared(a, "192.0.2.10"), "SSH login of a?\"b");
    assert_null(spared(a, "192.0.2.8"));
    assert_null(spared(a, "192.0.2.9"));
    assert_null(spared(a, "192.0.2.66"));
    assert_null(spared(a, "0.0.0.0"));
    admins_close(a, now);
}

static void test_who_logs_out_stays_for_the_linger(void **st)
{
    (void)st;
    struct utmpx u = record("192.0.2.7", "alice", getpid());
    put(&u, 1);
    struct admins *a = begin(false);
    assert_true(admins_refresh(a, now));
    assert_false(admins_refresh(a, now + 20 * 3600 * S)); /* a long session */
    u.ut_type = DEAD_PROCESS;
    put(&u, 1);
    now += 20 * 3600 * S;
    assert_false(admins_refresh(a, now + ADMINS_LINGER - S));
    assert_non_null(spared(a, "192.0.2.7"));
    assert_true(admins_refresh(a, now + ADMINS_LINGER));
    assert_null(spared(a, "192.0.2.7"));
    admins_close(a, now);
}

static void test_a_clock_that_is_set_back_makes_nobody_stay_longer(void **st)
{
    (void)st;
    struct utmpx u = record("192.0.2.7", "alice", getpid());
    put(&u, 1);
    struct admins *a = begin(false);
    assert_true(admins_refresh(a, now));
    unlink(utmp);
    now -= 5 * 365 * INT64_C(86400) * S;
    assert_false(admins_refresh(a, now));
    assert_true(admins_refresh(a, now + ADMINS_LINGER));
    assert_int_equal(admins_count(a), 0);
    admins_close(a, now);
}

static void test_addresses_are_remembered_over_a_restart(void **st)
{
    (void)st;
    struct stat s;
    struct utmpx u[] = {record("192.0.2.7", "alice", getpid()), record("2001:db8::7", "", getpid())};
    put(u, 2);
    struct admins *a = begin(true);
    assert_true(admins_refresh(a, now));
    admins_close(a, now);
    unlink(utmp);
    assert_int_equal(stat(state, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    now += 3600 * S;
    a = begin(true);
    assert_string_equal(spared(a, "192.0.2.7"), "SSH login of alice");
    assert_string_equal(spared(a, "2001:db8::7"), "SSH login of somebody");
    assert_true(admins_refresh(a, now + ADMINS_LINGER - 3600 * S));
    assert_int_equal(admins_count(a), 0); /* since they were seen, not since the restart */
    admins_close(a, now + ADMINS_LINGER);
}

static void test_a_killed_guard_forgets_no_login(void **st)
{
    (void)st;
    struct utmpx u = record("192.0.2.7", "alice", getpid());
    put(&u, 1);
    struct admins *killed = begin(true), *next;
    assert_true(admins_refresh(killed, now));
    next = begin(true); /* without admins_close */
    assert_non_null(spared(next, "192.0.2.7"));
    admins_close(next, now);
    now += 3600 * S;
    assert_false(admins_refresh(killed, now));
    next = begin(true);
    unlink(utmp);
    assert_false(admins_refresh(next, now + ADMINS_LINGER - S)); /* what is remembered is renewed while it lasts */
    assert_int_equal(admins_count(next), 1);
    admins_close(next, now);
    admins_close(killed, now);
}

static void test_a_damaged_memory_is_no_memory(void **st)
{
    (void)st;
    static const char *const texts[] = {"",
                                        "\n\n",
                                        "192.0.2.7",
                                        "192.0.2.7 x alice\n",
                                        "nonsense 1800000000 alice\n",
                                        "192.0.2.7 1700000000 alice\n",
                                        "127.0.0.1 1800000000 self\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FILE *f = fopen(state, "w");
        fputs(texts[i], f);
        fclose(f);
        struct admins *a = begin(true);
        assert_int_equal(admins_count(a), 0);
        admins_close(a, now);
    }
    FILE *f = fopen(state, "w");
    fputs("192.0.2.7 99999999999999 alice\n192.0.2.8 -5 bob\n", f);
    for (int i = 0; i < 1000; i++)
        fprintf(f, "192.0.3.%d 1800000000 x\n", i % 250);
    fclose(f);
    struct admins *a = begin(true);
    assert_true(admins_count(a) <= ADMINS_MAX);
    assert_non_null(spared(a, "192.0.2.7"));
    assert_true(admins_refresh(a, now + ADMINS_LINGER)); /* a time to come counts as now */
    assert_int_equal(admins_count(a), 0);
    admins_close(a, now);
    unlink(state);
    assert_int_equal(mkfifo(state, 0600), 0); /* is not waited for */
    a = begin(true);
    assert_int_equal(admins_count(a), 0);
    admins_close(a, now);
}

static void many(unsigned from, unsigned n)
{
    static struct utmpx u[ADMINS_RECORDS + 100];
    for (unsigned i = 0; i < n; i++) {
        char addr[32];
        snprintf(addr, sizeof addr, "10.0.%u.%u", (from + i) >> 8, (from + i) & 255);
        u[i] = record(addr, "x", getpid());
    }
    put(u, n);
}

static void test_the_oldest_go_when_there_are_too_many(void **st)
{
    (void)st;
    struct admins *a = begin(false);
    for (unsigned i = 0; i < ADMINS_MAX + 6; i++) { /* one after the other */
        many(i + 1, 1);
        assert_true(admins_refresh(a, now + i * S));
    }
    assert_int_equal(admins_count(a), ADMINS_MAX);
    assert_int_equal(admins_dropped(a), 6);
    assert_null(spared(a, "10.0.0.6"));
    assert_non_null(spared(a, "10.0.0.7"));
    admins_close(a, now);
    a = begin(false);
    many(1, ADMINS_MAX + 6); /* all at once: who is there stays */
    assert_true(admins_refresh(a, now));
    assert_false(admins_refresh(a, now + S));
    assert_int_equal(admins_count(a), ADMINS_MAX);
    assert_non_null(spared(a, "10.0.0.1"));
    assert_true(admins_dropped(a) > 0);
    admins_close(a, now);
}

static void test_records_past_the_limit_are_not_looked_at(void **st)
{
    (void)st;
    static struct utmpx u[ADMINS_RECORDS + 1];
    for (unsigned i = 0; i < ADMINS_RECORDS; i++)
        u[i] = record("192.0.2.7", "x", getpid());
    u[ADMINS_RECORDS] = record("192.0.2.8", "x", getpid());
    put(u, ADMINS_RECORDS + 1);
    struct admins *a = begin(false);
    assert_true(admins_refresh(a, now));
    assert_non_null(spared(a, "192.0.2.7"));
    assert_null(spared(a, "192.0.2.8"));
    admins_close(a, now);
}

static void test_a_login_is_noticed(void **st)
{
    (void)st;
    struct utmpx u = record("192.0.2.7", "alice", getpid());
    put(&u, 1);
    struct admins *a = begin(false);
    struct pollfd p = {.fd = admins_watch_fd(a), .events = POLLIN};
    assert_true(admins_refresh(a, now));
    assert_int_equal(poll(&p, 1, 0), 0);
    int fd = open(utmp, O_WRONLY | O_APPEND);
    u = record("192.0.2.8", "bob", getpid());
    assert_int_equal(write(fd, &u, sizeof u), sizeof u);
    close(fd);
    assert_int_equal(poll(&p, 1, 1000), 1);
    assert_true(admins_watch_read(a));
    assert_false(admins_watch_read(a));
    assert_true(admins_refresh(a, now));
    assert_int_equal(poll(&p, 1, 0), 0); /* looking is no event */
    admins_close(a, now);
}

static void test_no_file_and_no_memory_are_fine(void **st)
{
    (void)st;
    struct admins *a = begin(true);
    assert_false(admins_refresh(a, now));
    assert_int_equal(admins_count(a), 0);
    assert_int_equal(mkfifo(utmp, 0600), 0);
    assert_false(admins_refresh(a, now));
    admins_close(a, now);
    admins_close(NULL, now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_logins_that_are_there_are_spared),
        TEST(test_who_logs_out_stays_for_the_linger),
        TEST(test_a_clock_that_is_set_back_makes_nobody_stay_longer),
        TEST(test_addresses_are_remembered_over_a_restart),
        TEST(test_a_killed_guard_forgets_no_login),
        TEST(test_a_damaged_memory_is_no_memory),
        TEST(test_the_oldest_go_when_there_are_too_many),
        TEST(test_records_past_the_limit_are_not_looked_at),
        TEST(test_a_login_is_noticed),
        TEST(test_no_file_and_no_memory_are_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
