#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "enforce/journal.h"

#define S SK_NS_PER_S

static char dir[64], path[96];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/sekisho-journal-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/journal.db", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return rmdir(dir);
}

static struct journal *open_it(bool *moved)
{
    struct journal *j = NULL;
    assert_int_equal(journal_open(path, &j, moved), SK_OK);
    return j;
}

static struct block *add(struct block_table *t, const char *target, int64_t expires)
{
    struct decide_request r = {.ts = 77,
                               .sid = 2001,
                               .gid = 1,
                               .rev = 3,
                               .proto = 6,
                               .dropped = 1,
                               .to_server = 1,
                               .sport = 40000,
                               .dport = 80,
                               .flow_id = UINT64_MAX - 5,
                               .packet = 12,
                               .evidence_len = 4};
    struct block *b = NULL;
    assert_int_equal(sk_prefix_parse(target, strlen(target), false, &r.target), SK_OK);
    r.src = r.target.addr;
    strcpy(r.msg, "SQL injection");
    memcpy(r.evidence, "\0'\xff;", 4);
    assert_int_equal(block_table_add(t, &r, NULL, BLOCK_OPERATOR, 5 * S, expires, &b), SK_OK);
    return b;
}

static void test_everything_comes_back(void **state)
{
    (void)state;
    struct journal *j = open_it(NULL);
    struct block_table *t = block_table_create(10), *u = block_table_create(10);
    struct block *b = add(t, "2001:db8::/48", 100 * S), *gone = add(t, "192.0.2.7", 100 * S);
    struct block *over = add(t, "192.0.2.8", 20 * S);
    assert_int_equal(journal_add(j, b), SK_OK);
    assert_int_equal(journal_add(j, gone), SK_OK);
    assert_int_equal(journal_add(j, over), SK_OK);
    block_table_extend(t, b, 200 * S);
    b->requests = 9;
    b->hit_packets = 1234;
    assert_int_equal(journal_update(j, b), SK_OK);
    assert_int_equal(journal_end(j, gone, JOURNAL_UNBLOCKED, 15 * S), SK_OK);
    assert_int_equal(journal_commit(j), SK_OK);
    journal_close(j);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    j = open_it(NULL);
    size_t loaded;
    assert_int_equal(journal_load(j, u, 50 * S, &loaded), SK_OK);
    assert_int_equal(loaded, 1); /* one was lifted, one has run out meanwhile */
    const struct block *c = block_table_find_id(u, b->id);
    assert_non_null(c);
    assert_memory_equal(&c->target.addr, &b->target.addr, 16);
    assert_int_equal(c->target.len, b->target.len);
    assert_true(c->expires == 200 * S && c->created == 5 * S && c->packet_ts == 77);
    assert_true(c->sid == 2001 && c->gid == 1 && c->rev == 3 && c->proto == 6 && c->dropped == 1 && c->to_server == 1);
    assert_true(c->sport == 40000 && c->dport == 80 && c->flow_id == UINT64_MAX - 5 && c->packet == 12);
    assert_true(c->requests == 9 && c->hit_packets == 1234 && c->origin == BLOCK_OPERATOR);
    assert_string_equal(c->msg, "SQL injection");
    assert_int_equal(c->evidence_len, 4);
    assert_memory_equal(c->evidence, "\0'\xff;", 4);
    journal_close(j);
    block_table_free(t);
    block_table_free(u);
}

static void test_what_nobody_may_ask_for_does_not_come_back(void **state)
{
    (void)state;
    struct journal *j = open_it(NULL);
    struct block_table *t = block_table_create(10), *u = block_table_create(10);
    const char *const targets[] = {"0.0.0.0/0", "8.0.0.0/6", "::/0", "2000::/3", "198.51.100.0/24"};
    size_t loaded;
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(journal_add(j, add(t, targets[i], 100 * S)), SK_OK);
    journal_close(j);
    j = open_it(NULL);
    assert_int_equal(journal_load(j, u, 50 * S, &loaded), SK_OK);
    assert_int_equal(loaded, 1);
    assert_int_equal(block_table_at(u, 0)->target.len, 96 + 24);
    journal_close(j);
    block_table_free(t);
    block_table_free(u);
}

static void test_committed_survives_a_kill(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct block_table *t = block_table_create(10);
        struct journal *j = NULL;
        int bad = journal_open(path, &j, NULL) | journal_add(j, add(t, "192.0.2.1", 100 * S)) | journal_commit(j) |
                  journal_add(j, add(t, "192.0.2.2", 100 * S));
        if (bad == SK_OK)
            raise(SIGKILL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    struct block_table *u = block_table_create(10);
    bool moved = true;
    struct journal *j = open_it(&moved);
    size_t loaded = 0;
    assert_int_equal(journal_load(j, u, S, &loaded), SK_OK);
    assert_false(moved);
    assert_int_equal(loaded, 1);
    journal_close(j);
    block_table_free(u);
}

struct seen {
    int n;
    int64_t ended[8];
    enum journal_end why[8];
    char target[8][SK_PREFIX_STRLEN];
};

static void see(void *arg, const struct block *b, int64_t ended, enum journal_end why)
{
    struct seen *s = arg;
    assert_true(s->n < 8);
    s->ended[s->n] = ended;
    s->why[s->n] = why;
    sk_prefix_format(&b->target, s->target[s->n++]);
}

static void test_history_and_pruning(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(10);
    struct journal *j = open_it(NULL);
    struct block *a = add(t, "192.0.2.1", 100 * S), *b = add(t, "192.0.2.2", 100 * S),
                 *c = add(t, "192.0.2.3", 100 * S);
    a->created = S;
    b->created = 2 * S;
    c->created = 3 * S;
    assert_int_equal(journal_add(j, a) + journal_add(j, b) + journal_add(j, c), SK_OK);
    assert_int_equal(journal_end(j, a, JOURNAL_NEVER, 10 * S), SK_OK);
    assert_int_equal(journal_end(j, b, JOURNAL_EXPIRED, 20 * S), SK_OK);
    assert_int_equal(journal_commit(j), SK_OK);
    struct seen s = {0};
    assert_int_equal(journal_history(j, NULL, 8, see, &s), SK_OK);
    assert_int_equal(s.n, 3);
    assert_string_equal(s.target[0], "192.0.2.3");
    assert_true(s.ended[0] == 0 && s.ended[1] == 20 * S && s.ended[2] == 10 * S && s.why[2] == JOURNAL_NEVER);
    s.n = 0;
    assert_int_equal(journal_history(j, NULL, 2, see, &s), SK_OK);
    assert_int_equal(s.n, 2);
    s.n = 0;
    assert_int_equal(journal_history(j, b->id, 8, see, &s), SK_OK);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.target[0], "192.0.2.2");
    assert_int_equal(journal_prune(j, 15 * S), SK_OK);
    s.n = 0;
    assert_int_equal(journal_history(j, NULL, 8, see, &s), SK_OK);
    assert_int_equal(s.n, 2); /* a is gone, c still holds */
    journal_close(j);
    block_table_free(t);
}

static void fill(const char *text, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

static int files_named(const char *part)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        n += strstr(e->d_name, part) != NULL;
    closedir(d);
    return n;
}

static void test_damaged_file_is_moved_aside(void **state)
{
    (void)state;
    static char junk[8192];
    memset(junk, 'x', sizeof junk);
    fill(junk, sizeof junk);
    bool moved = false;
    struct journal *j = open_it(&moved);
    assert_true(moved);
    assert_int_equal(files_named("corrupt-"), 1);
    struct block_table *t = block_table_create(10);
    size_t loaded = 9;
    assert_int_equal(journal_load(j, t, S, &loaded), SK_OK);
    assert_int_equal(loaded, 0);
    assert_int_equal(journal_add(j, add(t, "192.0.2.1", 100 * S)), SK_OK);
    assert_int_equal(journal_commit(j), SK_OK);
    journal_close(j);
    j = open_it(&moved);
    assert_false(moved);
    journal_close(j);
    block_table_free(t);
}

static void test_pages_overwritten_in_the_middle(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(1000);
    struct journal *j = open_it(NULL);
    for (int i = 0; i < 500; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.1.%d.%d", i / 200, i % 200);
        assert_int_equal(journal_add(j, add(t, text, 100 * S)), SK_OK);
    }
    journal_close(j);
    int fd = open(path, O_WRONLY);
    char junk[4096];
    memset(junk, 0x5a, sizeof junk);
    for (int page = 3; page < 20; page++)
        assert_int_equal(pwrite(fd, junk, sizeof junk, page * 4096), sizeof junk);
    close(fd);
    bool moved = false;
    j = open_it(&moved);
    assert_true(moved);
    journal_close(j);
    block_table_free(t);
}

/* What cannot be written now is not damaged: the blocks in it come back when there is room again. */
static void open_with_little_room(void)
{
    struct rlimit old, little;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 0; room <= 40960; room += 1024) {
        struct journal *j;
        bool moved = false;
        little = (struct rlimit){.rlim_cur = room, .rlim_max = old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
        int rc = journal_open(path, &j, &moved);
        if (rc == SK_OK)
            journal_close(j);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_true(rc == SK_OK || rc == SK_EIO);
        assert_false(moved);
    }
    signal(SIGXFSZ, before);
    assert_int_equal(files_named("corrupt-"), 0);
}

static void test_a_full_disk_is_no_damage(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(10), *u = block_table_create(10);
    size_t loaded = 0;
    open_with_little_room(); /* to be set up */
    struct journal *j = open_it(NULL);
    assert_int_equal(journal_add(j, add(t, "192.0.2.1", 100 * S)), SK_OK);
    journal_close(j);
    open_with_little_room(); /* with a block */
    j = open_it(NULL);
    assert_int_equal(journal_load(j, u, 50 * S, &loaded), SK_OK);
    assert_int_equal(loaded, 1);
    journal_close(j);
    block_table_free(t);
    block_table_free(u);
}

static void test_newer_schema_is_refused_and_left_alone(void **state)
{
    (void)state;
    journal_close(open_it(NULL));
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    struct journal *j = NULL;
    assert_int_equal(journal_open(path, &j, NULL), SK_ENOTSUP);
    assert_int_equal(files_named("corrupt-"), 0);
}

static void test_a_link_is_not_followed(void **state)
{
    (void)state;
    char target[128];
    struct stat st;
    struct journal *j = NULL;
    snprintf(target, sizeof target, "%s/elsewhere", dir);
    assert_int_equal(symlink(target, path), 0);
    assert_true(journal_open(path, &j, NULL) != SK_OK);
    assert_true(stat(target, &st) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_everything_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_nobody_may_ask_for_does_not_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_committed_survives_a_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_and_pruning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_file_is_moved_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages_overwritten_in_the_middle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk_is_no_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_schema_is_refused_and_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_link_is_not_followed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
