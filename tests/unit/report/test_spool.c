#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "spool.h"

#define SIZE (4u << 20)

static char dir[64], path[96];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/uplink-spool-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/spool.db", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    char cmd[96];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd);
}

static struct spool *must_open(uint64_t size)
{
    struct spool *s = NULL;
    assert_int_equal(spool_open(path, size, &s, NULL), SK_OK);
    return s;
}

static void put_event(struct spool *s, unsigned n)
{
    char item[64];
    int len = snprintf(item, sizeof(item), "{\"event\":%u}", n);
    assert_int_equal(spool_event(s, item, (size_t)len), SK_OK);
}

static void put_block(struct spool *s, const char *id, const char *target, int64_t expires)
{
    char item[128];
    int len = snprintf(item, sizeof(item), "{\"block\":\"%s\"}", id);
    assert_int_equal(spool_set(s, id, target, expires, item, (size_t)len), SK_OK);
}

static struct spool_stats stats_of(const struct spool *s)
{
    struct spool_stats st;
    spool_stats(s, &st);
    return st;
}

static off_t size_of(const char *suffix)
{
    char file[128];
    struct stat st;
    snprintf(file, sizeof(file), "%s%s", path, suffix);
    return stat(file, &st) == 0 ? st.st_size : 0;
}

static void an_empty_spool_has_nothing_to_tell(void **state)
{
    (void)state;
    struct spool *s = must_open(SIZE);
    struct spool_batch b;
    assert_int_equal(strlen(spool_id(s)), SPOOL_ID_LEN - 1);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_EAGAIN);
    assert_int_equal(size_of("") > 0, 1);
    spool_close(s);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_batch_keeps_number_and_items_until_it_is_answered(void **state)
{
    (void)state;
    struct spool *s = must_open(SIZE);
    struct spool_batch b;
    char id[SPOOL_ID_LEN];
    snprintf(id, sizeof(id), "%s", spool_id(s));
    for (unsigned i = 0; i < 5; i++)
        put_event(s, i);
    assert_int_equal(spool_batch(s, 3, 1 << 19, &b), SK_OK);
    assert_int_equal(b.seq, 1);
    assert_int_equal(b.items, 3);
    assert_string_equal(b.text, "{\"event\":0},{\"event\":1},{\"event\":2}");
    put_event(s, 5);
    spool_close(s);
    s = must_open(SIZE); /* other limits change nothing of it */
    assert_string_equal(spool_id(s), id);
    assert_int_equal(spool_batch(s, 1, 1, &b), SK_OK);
    assert_int_equal(b.seq, 1);
    assert_string_equal(b.text, "{\"event\":0},{\"event\":1},{\"event\":2}");
    assert_int_equal(spool_answered(s), SK_OK);
    assert_int_equal(stats_of(s).items, 3);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_OK);
    assert_int_equal(b.seq, 2);
    assert_string_equal(b.text, "{\"event\":3},{\"event\":4},{\"event\":5}");
    assert_int_equal(spool_answered(s), SK_OK);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_EAGAIN);
    spool_close(s);
}

static void a_batch_is_cut_by_bytes(void **state)
{
    (void)state;
    struct spool *s = must_open(SIZE);
    struct spool_batch b;
    for (unsigned i = 0; i < 5; i++)
        put_event(s, i);
    assert_int_equal(spool_batch(s, 500, 23, &b), SK_OK); /* two items of 11, and a comma */
    assert_string_equal(b.text, "{\"event\":0},{\"event\":1}");
    assert_int_equal(spool_answered(s), SK_OK);
    assert_int_equal(spool_batch(s, 500, 3, &b), SK_OK); /* one at least */
    assert_string_equal(b.text, "{\"event\":2}");
    spool_close(s);
}

static void a_refused_batch_is_halved_down_to_the_item(void **state)
{
    (void)state;
    struct spool *s = must_open(SIZE);
    struct spool_batch b;
    for (unsigned i = 0; i < 4; i++)
        put_event(s, i);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_OK);
    assert_int_equal(spool_halve(s), SK_OK);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_OK);
    assert_int_equal(b.seq, 1);
    assert_string_equal(b.text, "{\"event\":0},{\"event\":1}");
    assert_int_equal(spool_halve(s), SK_OK);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_OK);
    assert_string_equal(b.text, "{\"event\":0}");
    assert_int_equal(spool_halve(s), SK_OK);
    assert_int_equal(stats_of(s).lost_events, 1);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_OK);
    assert_int_equal(b.seq, 1); /* it has not been used */
    assert_string_equal(b.text, "{\"event\":1},{\"event\":2},{\"event\":3}");
    spool_close(s);
}

struct ended {
    struct spool *s;
    unsigned n;
    char ids[256];
};

static void end_it(void *arg, const char *id, const char *target, int64_t expires_ms)
{
    struct ended *e = (struct ended *)arg;
    (void)expires_ms;
    e->n++;
    strncat(e->ids, id, sizeof(e->ids) - strlen(e->ids) - 1);
    assert_int_equal(spool_end(e->s, id, target, "{}", 2), SK_OK);
}

static void open_blocks_are_compared(void **state)
{
    (void)state;
    struct spool *s = must_open(SIZE);
    put_block(s, "B1", "203.0.113.1", 1000);
    put_block(s, "B2", "203.0.113.2", 2000);
    put_block(s, "B3", "203.0.113.3", 3000);
    put_block(s, "B1", "203.0.113.1", 1500); /* a later end */
    assert_int_equal(stats_of(s).open, 3);
    assert_true(spool_has(s, "B1", 1500));
    assert_false(spool_has(s, "B1", 1000));
    assert_true(spool_waits(s, "203.0.113.2"));
    assert_false(spool_waits(s, "203.0.113.4"));
    spool_close(s);
    s = must_open(SIZE);
    struct ended e = {.s = s};
    spool_sync_begin(s);
    spool_see(s, "B2");
    put_block(s, "B4", "203.0.113.4", 4000);
    assert_int_equal(spool_unseen(s, end_it, &e), SK_OK);
    assert_string_equal(e.ids, "B1B3");
    assert_int_equal(stats_of(s).open, 2);
    spool_prune(s, 2000);
    assert_int_equal(stats_of(s).open, 1);
    assert_true(spool_has(s, "B4", 4000));
    spool_close(s);
}

static void many_open_blocks_are_compared(void **state)
{
    (void)state;
    struct spool *s = must_open(SIZE);
    char id[16];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(id, sizeof(id), "B%05u", i);
        put_block(s, id, "203.0.113.1", 1000);
    }
    struct ended e = {.s = s};
    spool_sync_begin(s);
    for (unsigned i = 0; i < 1000; i += 10) {
        snprintf(id, sizeof(id), "B%05u", i);
        spool_see(s, id);
    }
    assert_int_equal(spool_unseen(s, end_it, &e), SK_OK);
    assert_int_equal(e.n, 900);
    assert_int_equal(stats_of(s).open, 100);
    spool_close(s);
}

static void a_new_id_tells_open_blocks_again(void **state)
{
    (void)state;
    struct spool *s = must_open(SIZE);
    struct spool_batch b;
    char id[SPOOL_ID_LEN];
    snprintf(id, sizeof(id), "%s", spool_id(s));
    put_block(s, "B1", "203.0.113.1", 1000);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_OK);
    assert_int_equal(spool_answered(s), SK_OK);
    put_event(s, 7);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_OK);
    assert_int_equal(b.seq, 2);
    assert_int_equal(spool_renew(s), SK_OK);
    assert_string_not_equal(spool_id(s), id);
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_OK);
    assert_int_equal(b.seq, 1);
    assert_string_equal(b.text, "{\"event\":7},{\"block\":\"B1\"}");
    spool_close(s);
}

/* --- bounds --- */

static void when_full_the_oldest_events_go_and_blocks_stay(void **state)
{
    (void)state;
    struct spool *s = must_open(SIZE);
    struct spool_batch b;
    char item[1000];
    for (unsigned i = 0; i < 20000; i++) {
        char id[16];
        int len = snprintf(item, sizeof(item), "{\"event\":%u,\"pad\":\"%0800d\"}", i, 0);
        assert_int_equal(spool_event(s, item, (size_t)len), SK_OK);
        if (i % 50 == 0) {
            snprintf(id, sizeof(id), "B%u", i);
            put_block(s, id, "203.0.113.1", 1000);
        }
        if (i == 10) { /* what is under way stays */
            assert_int_equal(spool_batch(s, 5, 1 << 19, &b), SK_OK);
            assert_int_equal(b.items, 5);
        }
    }
    assert_int_equal(spool_commit(s), SK_OK);
    struct spool_stats st = stats_of(s);
    assert_int_equal(st.lost_blocks, 0);
    assert_int_equal(st.items + st.lost_events, 20000 + 400);
    assert_true(size_of("") + size_of("-wal") <= SIZE);
    assert_true(st.bytes > SIZE / 2); /* the room is used */
    assert_int_equal(spool_batch(s, 5, 1 << 19, &b), SK_OK);
    assert_int_equal(b.seq, 1);
    assert_non_null(strstr(b.text, "\"event\":0,"));
    assert_int_equal(spool_answered(s), SK_OK);
    unsigned blocks = 0, last = 0, events = 0;
    while (spool_batch(s, 100, 1 << 19, &b) == SK_OK) {
        for (const char *p = b.text; (p = strstr(p, "\"block\":")) != NULL; p++)
            blocks++;
        for (const char *p = b.text; (p = strstr(p, "\"event\":")) != NULL; p++) {
            unsigned n = (unsigned)strtoul(p + 8, NULL, 10);
            assert_true(n > last);
            last = n;
            events++;
        }
        assert_int_equal(spool_answered(s), SK_OK);
    }
    assert_int_equal(last, 19999);
    assert_int_equal(events + 4 + st.lost_events, 20000); /* the first batch: four, and a block */
    assert_int_equal(blocks + 1, 400);
    spool_close(s);
}

static void when_full_of_blocks_the_newest_are_refused(void **state)
{
    (void)state;
    struct spool *s = must_open(SPOOL_SIZE_MIN);
    char item[1000], id[16];
    unsigned refused = 0;
    for (unsigned i = 0; i < 3000; i++) {
        int len = snprintf(item, sizeof(item), "{\"block\":%u,\"pad\":\"%0400d\"}", i, 0);
        snprintf(id, sizeof(id), "B%u", i);
        int rc = spool_set(s, id, "203.0.113.1", 1000, item, (size_t)len);
        assert_true(rc == SK_OK || rc == SK_EFULL);
        refused += rc == SK_EFULL;
    }
    assert_true(refused > 0 && refused < 3000);
    assert_int_equal(spool_event(s, "{}", 2), SK_EFULL);
    struct spool_stats st = stats_of(s);
    assert_int_equal(st.lost_blocks, refused);
    assert_int_equal(st.lost_events, 1);
    assert_true(spool_has(s, "B0", 1000));
    assert_false(spool_has(s, "B2999", 1000));
    assert_true(size_of("") + size_of("-wal") <= SPOOL_SIZE_MIN);
    struct spool_batch b;
    assert_int_equal(spool_batch(s, 500, 1 << 19, &b), SK_OK);
    assert_int_equal(spool_answered(s), SK_OK);
    put_event(s, 1); /* there is room again */
    spool_close(s);
}

static void an_item_that_is_too_long_is_refused(void **state)
{
    (void)state;
    struct spool *s = must_open(SIZE);
    char *item = (char *)malloc(SPOOL_ITEM_MAX + 1);
    memset(item, 'x', SPOOL_ITEM_MAX + 1);
    assert_int_equal(spool_event(s, item, SPOOL_ITEM_MAX + 1), SK_EFULL);
    assert_int_equal(spool_event(s, item, SPOOL_ITEM_MAX), SK_OK);
    assert_int_equal(stats_of(s).lost_events, 1);
    free(item);
    spool_close(s);
}

/* --- damage --- */

static void scribble(long at, size_t len)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    char junk[512];
    memset(junk, 0xa5, sizeof(junk));
    for (size_t n = 0; n < len; n += sizeof(junk))
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at + (long)n), sizeof(junk));
    close(fd);
}

static void damaged_files_are_set_aside(void **state)
{
    (void)state;
    static const long places[] = {0, 4096, 8192};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct spool *s = must_open(SIZE);
        char id[SPOOL_ID_LEN];
        bool moved = false;
        snprintf(id, sizeof(id), "%s", spool_id(s));
        for (unsigned n = 0; n < 2000; n++)
            put_event(s, n);
        spool_close(s);
        scribble(places[i], 4096);
        assert_int_equal(spool_open(path, SIZE, &s, &moved), SK_OK);
        assert_true(moved);
        assert_string_not_equal(spool_id(s), id);
        assert_int_equal(stats_of(s).items, 0);
        put_event(s, 1);
        spool_close(s);
    }
    char aside[128];
    snprintf(aside, sizeof(aside), "%s.damaged", path);
    assert_int_equal(access(aside, F_OK), 0);
}

static void damage_while_open_is_noticed(void **state)
{
    (void)state;
    static char item[2048];
    struct spool *s = must_open(8 * SIZE); /* more than is held in memory */
    memset(item, '1', sizeof(item));
    for (unsigned n = 0; n < 10000; n++)
        assert_int_equal(spool_event(s, item, sizeof(item)), SK_OK);
    spool_close(s);
    s = must_open(8 * SIZE);
    scribble(4096, (size_t)size_of("") - 4096);
    struct spool_batch b;
    int rc = SK_OK;
    for (unsigned n = 0; n < 2000 && rc == SK_OK; n++) {
        rc = spool_batch(s, 500, 1 << 19, &b);
        if (rc == SK_OK)
            rc = spool_answered(s);
    }
    assert_int_not_equal(rc, SK_OK);
    assert_true(spool_damaged(s));
    spool_close(s);
    assert_int_equal(spool_set_aside(path), SK_OK);
    s = must_open(SIZE);
    put_event(s, 1);
    spool_close(s);
}

static void a_text_file_is_no_spool(void **state)
{
    (void)state;
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("This is not a database.\n", f);
    fclose(f);
    bool moved = false;
    struct spool *s;
    assert_int_equal(spool_open(path, SIZE, &s, &moved), SK_OK);
    assert_true(moved);
    spool_close(s);
}

/* --- kill -9, at any moment: the other side takes each batch once, as the manager does --- */

struct told {
    uint64_t seq;
    unsigned first, items;
};

/* Puts items, tells batches through fd as a manager would get them, and the count of what is committed. */
static void work_until_killed(int tell_fd, int committed_fd, unsigned next)
{
    struct spool *s;
    struct spool_batch b;
    if (spool_open(path, SIZE, &s, NULL) != SK_OK)
        _exit(1);
    for (;;) {
        for (unsigned i = 0; i < 17; i++) {
            char item[64];
            int len = snprintf(item, sizeof(item), "%u", next++);
            if (spool_event(s, item, (size_t)len) != SK_OK)
                _exit(2);
        }
        if (spool_commit(s) != SK_OK || write(committed_fd, &next, sizeof(next)) != sizeof(next))
            _exit(3);
        if (spool_batch(s, 10, 1 << 19, &b) != SK_OK)
            _exit(4);
        struct told t = {.seq = b.seq, .first = (unsigned)strtoul(b.text, NULL, 10), .items = b.items};
        if (write(tell_fd, &t, sizeof(t)) != sizeof(t))
            _exit(5);
        if (spool_answered(s) != SK_OK)
            _exit(6);
    }
}

struct manager {
    uint64_t seq;
    struct told last;
    unsigned next; /* item that is expected */
    unsigned duplicates;
};

static void manager_take(struct manager *m, const struct told *t)
{
    if (t->seq == m->seq) {
        assert_int_equal(t->first, m->last.first);
        assert_int_equal(t->items, m->last.items);
        m->duplicates++;
        return;
    }
    assert_int_equal(t->seq, m->seq + 1);
    assert_int_equal(t->first, m->next);
    m->seq = t->seq;
    m->next += t->items;
    m->last = *t;
}

static void killed_again_and_again(void **state)
{
    (void)state;
    struct manager m = {0};
    unsigned committed = 0;
    for (unsigned round = 0; round < 60; round++) {
        int tell[2], commit[2];
        struct told t;
        assert_int_equal(pipe(tell), 0);
        assert_int_equal(pipe(commit), 0);
        pid_t pid = fork();
        if (pid == 0)
            work_until_killed(tell[1], commit[1], committed);
        close(tell[1]);
        close(commit[1]);
        (void)!read(commit[0], &committed, sizeof(committed)); /* it works */
        usleep((unsigned)rand() % 20000);
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        while (read(commit[0], &committed, sizeof(committed)) > 0)
            ;
        while (read(tell[0], &t, sizeof(t)) == (ssize_t)sizeof(t))
            manager_take(&m, &t);
        close(tell[0]);
        close(commit[0]);
        /* Committed, and killed before it could say so: then those are told, under numbers that come once more. */
        struct spool *s = must_open(SIZE);
        unsigned have = m.next + (unsigned)stats_of(s).items;
        struct spool_batch b;
        if (spool_batch(s, 10, 1 << 19, &b) == SK_OK && b.seq == m.seq)
            have -= b.items;
        assert_true(have >= committed);
        committed = have;
        spool_close(s);
    }
    struct spool *s = must_open(SIZE);
    struct spool_batch b;
    while (spool_batch(s, 10, 1 << 19, &b) == SK_OK) {
        struct told t = {.seq = b.seq, .first = (unsigned)strtoul(b.text, NULL, 10), .items = b.items};
        manager_take(&m, &t);
        assert_int_equal(spool_answered(s), SK_OK);
    }
    spool_close(s);
    assert_int_equal(m.next, committed);
    assert_true(committed > 60 * 17 / 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_spool_has_nothing_to_tell),
        TEST(a_batch_keeps_number_and_items_until_it_is_answered),
        TEST(a_batch_is_cut_by_bytes),
        TEST(a_refused_batch_is_halved_down_to_the_item),
        TEST(open_blocks_are_compared),
        TEST(many_open_blocks_are_compared),
        TEST(a_new_id_tells_open_blocks_again),
        TEST(when_full_the_oldest_events_go_and_blocks_stay),
        TEST(when_full_of_blocks_the_newest_are_refused),
        TEST(an_item_that_is_too_long_is_refused),
        TEST(damaged_files_are_set_aside),
        TEST(damage_while_open_is_noticed),
        TEST(a_text_file_is_no_spool),
        TEST(killed_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
