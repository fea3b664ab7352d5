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
    assert_int_equal(journal_load(j, u, false, 50 * S, &loaded), SK_OK);
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

/* A client behind two hops, whose alerts added up. */
static void behind_hops(struct decide_request *r)
{
    struct identity *id = &r->identity;
    *id = (struct identity){.port = 555, .state = IDENTITY_PROVEN, .source = IDENTITY_BY_XFF, .nhops = 2};
    assert_int_equal(sk_addr_parse("203.0.113.9", 11, &id->client), SK_OK);
    assert_int_equal(sk_addr_parse("10.0.1.5", 8, &id->hop[0].addr), SK_OK);
    assert_int_equal(sk_addr_parse("2001:db8::7", 11, &id->hop[1].addr), SK_OK);
    id->hop[0].source = IDENTITY_BY_PEER;
    id->hop[1].source = IDENTITY_BY_PROXY2;
    r->target = sk_prefix_make(&id->client, 128);
    r->src = id->hop[0].addr;
    r->reason = DECIDE_BY_SCORE;
    r->score = 120;
    r->threshold = 100;
    for (unsigned i = 0; i < 3; i++)
        r->scores[i] = (struct decide_score_item){.ts = (10 + i) * S, .gid = 1, .sid = 100 + i, .points = 40};
}

static void test_what_it_was_decided_on_comes_back(void **state)
{
    (void)state;
    struct decide_request r = {.seconds = 60, .sid = 1, .gid = 1, .msg = "m", .evidence = "e", .evidence_len = 1};
    struct block_table *t = block_table_create(10), *u = block_table_create(10);
    struct block *b;
    behind_hops(&r);
    assert_int_equal(block_table_add(t, &r, NULL, BLOCK_RULE, 5 * S, 100 * S, &b), SK_OK);
    b->repeat = 2;
    b->dry_run = true;
    struct journal *j = open_it(NULL);
    assert_int_equal(journal_add(j, b), SK_OK);
    journal_close(j);
    j = open_it(NULL);
    size_t loaded;
    assert_int_equal(journal_load(j, u, false, 50 * S, &loaded), SK_OK);
    assert_int_equal(loaded, 0); /* not of this kind */
    assert_int_equal(journal_load(j, u, true, 50 * S, &loaded), SK_OK);
    assert_int_equal(loaded, 1);
    const struct block *c = block_table_find_id(u, b->id);
    struct identity id;
    block_identity(c, &id);
    assert_memory_equal(&id, &r.identity, sizeof id);
    assert_true(c->repeat == 2 && c->dry_run && c->reason == DECIDE_BY_SCORE && c->score == 120 && c->threshold == 100);
    assert_int_equal(c->nscores, 3);
    assert_memory_equal(c->scores, r.scores, 3 * sizeof r.scores[0]);
    assert_string_equal(c->msg, "m");
    assert_memory_equal(c->evidence, "e", 1);
    journal_close(j);
    block_table_free(t);
    block_table_free(u);
}

static void sql(const char *text)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Whoever can write to the file decides who is blocked anyway; but nothing in it may be read past its end. */
static void test_columns_that_make_no_sense(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "identity='{'",
        "identity='{\"client\":\"x\",\"source\":\"PROXY v2\",\"hops\":[]}'",
        "identity='{\"client\":\"192.0.2.1\",\"source\":\"rumour\",\"hops\":[]}'",
        "identity='{\"client\":\"192.0.2.1\",\"source\":\"PROXY v2\",\"hops\":[{},1]}'",
        "identity='{\"client\":\"192.0.2.1\",\"source\":\"PROXY v2\",\"hops\":[1,2,3,4,5,6,7,8,9]}'",
        "identity='{\"client\":\"192.0.2.1\",\"source\":\"connection\",\"hops\":[]}'",
        "identity=x'00ff', scores='[]]'",
        "scores='[{\"ts\":1,\"gid\":-1,\"sid\":99999999999,\"points\":\"x\"}]', reason=77, repeat=-1, score=-5",
        "scores='[1,2,3,4,5,6,7,8,9,10,11,12]', dry_run=0",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct block_table *t = block_table_create(10), *u = block_table_create(10);
        struct journal *j = open_it(NULL);
        char text[512];
        size_t loaded;
        assert_int_equal(journal_add(j, add(t, "192.0.2.1", 100 * S)), SK_OK);
        journal_close(j);
        snprintf(text, sizeof text, "UPDATE block SET %s", bad[i]);
        sql(text);
        j = open_it(NULL);
        assert_int_equal(journal_load(j, u, false, 50 * S, &loaded), SK_OK);
        assert_int_equal(loaded, 1);
        const struct block *b = block_table_at(u, 0);
        assert_true(b->chain == NULL && b->reason < DECIDE_REASON_COUNT && b->nscores <= DECIDE_SCORES_MAX);
        journal_close(j);
        block_table_free(t);
        block_table_free(u);
        assert_int_equal(unlink(path), 0);
    }
}

/* As the version before wrote it. */
static const char schema_1[] =
    "CREATE TABLE block(id TEXT NOT NULL UNIQUE, addr BLOB NOT NULL, len INTEGER NOT NULL, origin INTEGER NOT NULL,"
    " created INTEGER NOT NULL, expires INTEGER NOT NULL, last INTEGER NOT NULL, requests INTEGER NOT NULL,"
    " sid INTEGER, gid INTEGER, rev INTEGER, proto INTEGER, dropped INTEGER, to_server INTEGER,"
    " src BLOB, dst BLOB, sport INTEGER, dport INTEGER, flow INTEGER, packet INTEGER, packet_ts INTEGER,"
    " msg TEXT, evidence BLOB, hit_packets INTEGER, hit_bytes INTEGER, ended INTEGER, why INTEGER);"
    "CREATE INDEX block_active ON block(expires) WHERE ended IS NULL;"
    "CREATE INDEX block_ended ON block(ended) WHERE ended IS NOT NULL;"
    "PRAGMA journal_mode=WAL; PRAGMA user_version=1;"
    "INSERT INTO block VALUES('BAAAAAAAAAAAAA',x'00000000000000000000ffffc0000201',128,0,5000000000,100000000000,"
    "6000000000,7,2001,1,3,6,0,1,x'00000000000000000000ffffc0000201',x'00000000000000000000ffff0a4d0101',40000,80,99,0,"
    "4000000000,'SQL injection',x'2700ff',12,720,NULL,NULL);"
    "INSERT INTO block VALUES('BBBBBBBBBBBBBB',x'00000000000000000000ffffc0000202',128,0,1000000000,20000000000,"
    "1000000000,1,2001,1,3,6,0,1,x'00000000000000000000ffffc0000202',x'00000000000000000000ffff0a4d0101',40000,80,99,0,"
    "1000000000,'SQL injection',x'27',0,0,20000000000,0);";

static void test_a_journal_of_schema_1_is_taken_over(void **state)
{
    (void)state;
    sql(schema_1);
    for (int turn = 0; turn < 2; turn++) { /* once migrated, once as it is then */
        struct block_table *t = block_table_create(10);
        bool moved = true;
        struct journal *j = open_it(&moved);
        size_t loaded;
        assert_false(moved);
        assert_int_equal(journal_load(j, t, false, 50 * S, &loaded), SK_OK);
        assert_int_equal(loaded, 1);
        const struct block *b = block_table_find_id(t, "BAAAAAAAAAAAAA");
        assert_true(b->expires == 100 * S && b->requests == 7 && b->hit_packets == 12 && b->sid == 2001);
        assert_true(b->own == b->expires && !b->fleet);
        assert_true(b->repeat == 0 && !b->dry_run && b->reason == DECIDE_BY_RULE && !b->chain && b->nscores == 0);
        assert_string_equal(b->msg, "SQL injection");
        assert_memory_equal(b->evidence, "'\0\xff", 3);
        struct seen s = {0};
        assert_int_equal(journal_history(j, "BBBBBBBBBBBBBB", 8, see, &s), SK_OK);
        assert_true(s.n == 1 && s.ended[0] == 20 * S && s.why[0] == JOURNAL_EXPIRED);
        journal_close(j);
        block_table_free(t);
    }
}

static void see_unblocked(void *arg, const struct block *b)
{
    ((struct seen *)arg)->n++;
    assert_string_equal(b->fleet->id, "BOTHER");
}

/* Of one both want, of one the fleet alone wants; and what was unblocked before its time. */
static void test_what_the_fleet_wants_comes_back(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(10), *u = block_table_create(10);
    struct journal *j = open_it(NULL);
    struct block_fleet f = {.created = 3, .expires = 90 * S, .sid = 9, .gid = 1, .host = "web \"2\"", .id = "BOTHER"};
    struct decide_request q = {.sid = 9, .msg = "there"};
    struct block *both = add(t, "192.0.2.1", 70 * S), *fleets;
    bool moved;
    strcpy(f.reason, "there");
    assert_int_equal(block_table_claim(t, both, &f, &moved), SK_OK);
    assert_true(moved && both->expires == 90 * S);
    assert_int_equal(sk_prefix_parse("192.0.2.2", 9, false, &q.target), SK_OK);
    assert_int_equal(block_table_add(t, &q, NULL, BLOCK_FLEET, 5 * S, 80 * S, &fleets), SK_OK);
    f.expires = 80 * S;
    assert_int_equal(block_table_claim(t, fleets, &f, &moved), SK_OK);
    assert_int_equal(journal_add(j, fleets), SK_OK);
    assert_int_equal(journal_add(j, both), SK_OK);
    f.expires = 75 * S; /* and an update takes it along */
    assert_int_equal(block_table_claim(t, both, &f, &moved), SK_OK);
    assert_int_equal(journal_update(j, both), SK_OK);
    journal_close(j);

    j = open_it(NULL);
    size_t loaded;
    assert_int_equal(journal_load(j, u, false, 50 * S, &loaded), SK_OK);
    const struct block *a = block_table_find_id(u, both->id), *b = block_table_find_id(u, fleets->id);
    assert_true(a->origin == BLOCK_OPERATOR && a->own == 70 * S && a->expires == 75 * S && a->fleet->expires == 75 * S);
    assert_string_equal(a->fleet->host, "web \"2\"");
    assert_string_equal(a->fleet->id, "BOTHER");
    assert_true(b->origin == BLOCK_FLEET && b->own == 0 && b->expires == 80 * S && b->fleet->created == 3);
    assert_true(b->fleet->sid == 9 && b->fleet->gid == 1 && strcmp(b->fleet->reason, "there") == 0);
    struct seen s = {0};
    assert_int_equal(journal_end(j, b, JOURNAL_UNBLOCKED, 60 * S), SK_OK);
    assert_int_equal(journal_end(j, a, JOURNAL_FLEET, 60 * S), SK_OK);
    assert_int_equal(journal_unblocked(j, 60 * S, 10, see_unblocked, &s), SK_OK);
    assert_true(s.n == 1);
    assert_int_equal(journal_unblocked(j, 80 * S, 10, see_unblocked, &s), SK_OK);
    assert_true(s.n == 1); /* would be over */
    journal_close(j);
    block_table_free(t);
    block_table_free(u);
}

static void test_a_dry_run_and_the_real_thing(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(10);
    struct journal *j = open_it(NULL);
    struct block *real = add(t, "192.0.2.1", 100 * S), *dry = add(t, "192.0.2.2", 100 * S);
    struct block *over = add(t, "192.0.2.3", 20 * S);
    dry->dry_run = over->dry_run = true;
    assert_int_equal(journal_add(j, real) + journal_add(j, dry) + journal_add(j, over), SK_OK);
    size_t n;
    struct seen s = {0};
    assert_int_equal(journal_switch(j, false, 50 * S, &n), SK_OK);
    assert_int_equal(n, 1);
    assert_int_equal(journal_history(j, dry->id, 8, see, &s), SK_OK);
    assert_true(s.ended[0] == 50 * S && s.why[0] == JOURNAL_SWITCHED);
    assert_int_equal(journal_history(j, over->id, 8, see, &s), SK_OK);
    assert_true(s.ended[1] == 20 * S && s.why[1] == JOURNAL_EXPIRED); /* it had ended by itself */
    assert_int_equal(journal_history(j, real->id, 8, see, &s), SK_OK);
    assert_int_equal(s.ended[2], 0);
    assert_int_equal(journal_switch(j, false, 50 * S, &n), SK_OK);
    assert_int_equal(n, 0);
    assert_int_equal(journal_switch(j, true, 60 * S, &n), SK_OK);
    assert_int_equal(n, 1);
    assert_string_equal(journal_end_name(JOURNAL_SWITCHED), "dry-run-switched");
    journal_close(j);
    block_table_free(t);
}

static void see_offender(void *arg, const struct sk_prefix *target, uint32_t repeat, int64_t ended,
                         enum journal_end why)
{
    struct seen *s = arg;
    assert_true(s->n < 8);
    s->ended[s->n] = ended + repeat;
    s->why[s->n] = why;
    sk_prefix_format(target, s->target[s->n++]);
}

static void test_offenders_in_the_order_of_their_end(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(10);
    struct journal *j = open_it(NULL);
    static const struct {
        const char *target;
        enum block_origin origin;
        int64_t ended;
        enum journal_end why;
    } rows[] = {
        {"192.0.2.1", BLOCK_RULE, 30 * S, JOURNAL_EXPIRED},
        {"192.0.2.2", BLOCK_RULE, 20 * S, JOURNAL_EXPIRED},
        {"192.0.2.3", BLOCK_OPERATOR, 25 * S, JOURNAL_EXPIRED},
        {"192.0.2.4", BLOCK_OPERATOR, 26 * S, JOURNAL_UNBLOCKED},
        {"192.0.2.5", BLOCK_RULE, 27 * S, JOURNAL_STOPPED},
        {"192.0.2.6", BLOCK_RULE, 9 * S, JOURNAL_EXPIRED},
        {"192.0.2.7", BLOCK_RULE, 28 * S, JOURNAL_NEVER},
        {"192.0.2.8", BLOCK_RULE, 29 * S, JOURNAL_EXPIRED},
    };
    for (size_t i = 0; i < 8; i++) {
        struct block *b = add(t, rows[i].target, 100 * S);
        b->origin = (uint8_t)rows[i].origin;
        b->repeat = (uint32_t)i;
        b->dry_run = i == 7;
        assert_int_equal(journal_add(j, b) + journal_end(j, b, rows[i].why, rows[i].ended), SK_OK);
    }
    struct seen s = {0};
    assert_int_equal(journal_offenders(j, false, 10 * S, see_offender, &s), SK_OK);
    assert_int_equal(s.n, 3);
    assert_true(strcmp(s.target[0], "192.0.2.2") == 0 && s.ended[0] == 20 * S + 1);
    assert_true(strcmp(s.target[1], "192.0.2.4") == 0 && s.why[1] == JOURNAL_UNBLOCKED);
    assert_true(strcmp(s.target[2], "192.0.2.1") == 0 && s.ended[2] == 30 * S);
    journal_close(j);
    block_table_free(t);
}

/* Page by page, also where many end in the same moment. */
static void test_pages_of_what_has_ended(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(100);
    struct journal *j = open_it(NULL);
    for (int i = 0; i < 40; i++) {
        char text[32];
        snprintf(text, sizeof text, "192.0.2.%d", i);
        struct block *b = add(t, text, 1000 * S);
        assert_int_equal(journal_add(j, b), SK_OK);
        if (i < 30)
            assert_int_equal(journal_end(j, b, JOURNAL_EXPIRED, (10 + i / 10) * S), SK_OK);
    }
    struct journal_cursor c = {0};
    bool had[40] = {false};
    unsigned pages = 0, total = 0;
    int64_t before = INT64_MAX;
    for (; !c.end; pages++) {
        struct seen s = {0};
        assert_int_equal(journal_ended(j, 11 * S, &c, 7, see, &s), SK_OK);
        for (int i = 0; i < s.n; i++) {
            int host = atoi(s.target[i] + strlen("192.0.2."));
            assert_true(!had[host] && host >= 10 && host < 30 && s.ended[i] <= before);
            had[host] = true;
            before = s.ended[i];
        }
        total += (unsigned)s.n;
    }
    assert_int_equal(total, 20);
    assert_int_equal(pages, 3);
    journal_close(j);
    block_table_free(t);
}

static void test_blocks_of_one_target(void **state)
{
    (void)state;
    struct block_table *t = block_table_create(100);
    struct journal *j = open_it(NULL);
    for (int i = 0; i < 5; i++) {
        struct block *b = add(t, "192.0.2.1", 100 * S);
        b->created = (i + 1) * S;
        assert_int_equal(journal_add(j, b), SK_OK);
        if (i < 4)
            assert_int_equal(journal_end(j, b, JOURNAL_EXPIRED, (i + 2) * S), SK_OK);
        block_table_remove(t, b);
        block_free(b);
    }
    assert_int_equal(journal_add(j, add(t, "192.0.2.0/31", 100 * S)), SK_OK);
    struct seen s = {0};
    struct sk_prefix p, other;
    assert_int_equal(sk_prefix_parse("192.0.2.1", 9, false, &p) + sk_prefix_parse("192.0.2.2", 9, false, &other),
                     SK_OK);
    assert_int_equal(journal_target(j, &p, 3, see, &s), SK_OK);
    assert_int_equal(s.n, 3);
    assert_true(s.ended[0] == 0 && s.ended[1] == 5 * S && s.ended[2] == 4 * S);
    assert_int_equal(journal_target(j, &other, 3, see, &s), SK_OK);
    assert_int_equal(s.n, 3);
    journal_close(j);
    block_table_free(t);
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
    assert_int_equal(journal_load(j, u, false, 50 * S, &loaded), SK_OK);
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
    assert_int_equal(journal_load(j, u, false, S, &loaded), SK_OK);
    assert_false(moved);
    assert_int_equal(loaded, 1);
    journal_close(j);
    block_table_free(u);
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
    assert_int_equal(journal_load(j, t, false, S, &loaded), SK_OK);
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
    assert_int_equal(journal_load(j, u, false, 50 * S, &loaded), SK_OK);
    assert_int_equal(loaded, 1);
    journal_close(j);
    block_table_free(t);
    block_table_free(u);
}

static void test_newer_schema_is_refused_and_left_alone(void **state)
{
    (void)state;
    journal_close(open_it(NULL));
    sql("PRAGMA user_version=99");
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
        cmocka_unit_test_setup_teardown(test_what_the_fleet_wants_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_it_was_decided_on_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_columns_that_make_no_sense, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_journal_of_schema_1_is_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_dry_run_and_the_real_thing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offenders_in_the_order_of_their_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages_of_what_has_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(test_blocks_of_one_target, setup, teardown),
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
