/* The journal's log is moved into its file without whoever writes it waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "enforce/journal.h"

#define S SK_NS_PER_S

static char dir[64], path[96], wal[112];
static struct journal *j;
static struct block_table *t;
static uint32_t next;

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/sekisho-checkpoint-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/journal.db", dir);
    snprintf(wal, sizeof wal, "%s-wal", path);
    t = block_table_create(100000);
    next = 0;
    return journal_open(path, &j, NULL);
}

static int teardown(void **state)
{
    (void)state;
    block_table_free(t);
    unlink(path);
    unlink(wal);
    return rmdir(dir);
}

static struct block *add(void)
{
    struct decide_request r = {0};
    struct block *b = NULL;
    uint8_t a[4] = {11, (uint8_t)(next >> 16), (uint8_t)(next >> 8), (uint8_t)next};
    next++;
    r.target.addr = sk_addr_from_v4(a);
    r.target.len = 128;
    assert_int_equal(block_table_add(t, &r, NULL, BLOCK_RULE, S, 100 * S, &b), SK_OK);
    assert_int_equal(journal_add(j, b), SK_OK);
    return b;
}

static off_t size_of(const char *file)
{
    struct stat st;
    return stat(file, &st) == 0 ? st.st_size : 0;
}

static bool grows_to(const char *file, off_t size)
{
    for (int i = 0; i < 1000 && size_of(file) < size; i++)
        usleep(10000);
    return size_of(file) >= size;
}

static void test_moved_when_asked_while_more_is_written(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++)
        add();
    assert_int_equal(journal_commit(j), SK_OK);
    off_t before = size_of(path);
    assert_true(before < 300000); /* what was committed is in the log */
    add();                        /* a transaction is open meanwhile */
    journal_checkpoint(j);
    assert_true(grows_to(path, 300000));
    for (int i = 0; i < 100; i++)
        add();
    assert_int_equal(journal_commit(j), SK_OK);
    journal_close(j);
    struct block_table *u = block_table_create(100000);
    size_t loaded = 0;
    assert_int_equal(journal_open(path, &j, NULL), SK_OK);
    assert_int_equal(journal_load(j, u, false, 2 * S, &loaded), SK_OK);
    assert_int_equal(loaded, 3101);
    block_table_free(u);
    journal_close(j);
}

/* As when the disk is slow: nobody waits for what is asked for again and again. */
static void test_asked_often_and_closed_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        add();
        assert_int_equal(journal_commit(j), SK_OK);
        journal_checkpoint(j);
    }
    journal_close(j);
    assert_int_equal(size_of(wal), 0);
}

static void test_a_log_that_grows_is_moved_unasked(void **state)
{
    (void)state;
    off_t most = 0;
    while (size_of(path) < (2 << 20) && next < 60000) {
        add();
        assert_int_equal(journal_commit(j), SK_OK);
        most = size_of(wal) > most ? size_of(wal) : most;
    }
    assert_true(size_of(path) >= (2 << 20));
    assert_true(most > (60 << 20) && most < (257 << 20));
    journal_close(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_moved_when_asked_while_more_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_asked_often_and_closed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_log_that_grows_is_moved_unasked, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
