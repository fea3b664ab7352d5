#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/strbuf.h"

#define SCHEMA      1
#define PAGE        4096
#define WAL_MIN     (128u << 10)
#define DROP_CHUNK  64  /* events that go at once */
#define SEE_CHUNK   256 /* open blocks looked at at once */
#define BUSY_MS     100 /* nobody else has business with this file */
#define PATH_LEN    4096
#define ITEM_OVER   64 /* bytes of a row beside its body, about */
#define BATCH_BYTES (4u << 20)

enum kind { KIND_EVENT, KIND_BLOCK };

static const char schema_sql[] =
    "CREATE TABLE item(n INTEGER PRIMARY KEY, kind INTEGER NOT NULL, target TEXT, body TEXT NOT NULL);"
    "CREATE INDEX item_event ON item(n) WHERE kind=0;"
    "CREATE INDEX item_target ON item(target) WHERE target IS NOT NULL;"
    "CREATE TABLE open(id TEXT PRIMARY KEY, target TEXT NOT NULL, expires INTEGER NOT NULL, seen INTEGER NOT NULL,"
    " body TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX open_expires ON open(expires);"
    "CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one=1), id TEXT NOT NULL, seq INTEGER NOT NULL,"
    " last INTEGER NOT NULL);";

/* X(identifier, SQL) */
#define STATEMENTS(X)                                                                                                  \
    X(PUT, "INSERT INTO item(kind,target,body) VALUES(?1,?2,?3)")                                                      \
    X(OPEN, "INSERT OR REPLACE INTO open(id,target,expires,seen,body) VALUES(?1,?2,?3,1,?4)")                          \
    X(END, "DELETE FROM open WHERE id=?1")                                                                             \
    X(HAS, "SELECT expires FROM open WHERE id=?1")                                                                     \
    X(UNSEE, "UPDATE open SET seen=0")                                                                                 \
    X(SEE, "UPDATE open SET seen=1 WHERE id=?1")                                                                       \
    X(UNSEEN, "SELECT id,target,expires FROM open WHERE seen=0 AND id>?1 ORDER BY id LIMIT ?2")                        \
    X(PRUNE, "DELETE FROM open WHERE expires<=?1")                                                                     \
    X(WAITS, "SELECT 1 FROM item WHERE target=?1 LIMIT 1")                                                             \
    X(OLDEST, "DELETE FROM item WHERE n IN (SELECT n FROM item WHERE kind=0 AND n>?1 ORDER BY n LIMIT ?2)")            \
    X(READ, "SELECT n,body FROM item WHERE n>?1 AND n<=?2 ORDER BY n LIMIT ?3")                                        \
    X(TAKEN, "DELETE FROM item WHERE n<=?1")                                                                           \
    X(STATE, "UPDATE state SET id=?1,seq=?2,last=?3")                                                                  \
    X(REOPEN, "INSERT INTO item(kind,target,body) SELECT 1,target,body FROM open ORDER BY id")                         \
    X(COUNT, "SELECT count(*),coalesce(sum(length(CAST(body AS BLOB))),0),(SELECT count(*) FROM open) FROM item")      \
    X(PAGES, "SELECT page_count-freelist_count FROM pragma_page_count,pragma_freelist_count")

enum statement {
#define X(id, sql) S_##id,
    STATEMENTS(X)
#undef X
        S_COUNT_OF
};

struct spool {
    sqlite3 *db;
    sqlite3_stmt *st[S_COUNT_OF];
    char id[SPOOL_ID_LEN];
    int64_t seq, last; /* last 0: no batch is under way */
    unsigned batch_items;
    struct sk_strbuf batch; /* empty: not read */
    uint64_t soft_pages;
    size_t check_bytes, since_check, txn_bytes;
    unsigned txn_events, txn_blocks;
    bool in_txn, full, damaged, complained;
    struct spool_stats stats;
};

static int sql_err(struct spool *s, const char *what)
{
    int code = sqlite3_errcode(s->db) & 0xff;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        s->damaged = true;
    if (!s->complained)
        sk_log(SK_LOG_ERROR, "spool: %s: %s", what, sqlite3_errmsg(s->db));
    s->complained = true;
    return code == SQLITE_FULL ? SK_EFULL : SK_EIO;
}

static int run_sql(struct spool *s, const char *sql)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

/* Steps once and leaves the statement ready for the next time, unless a row is to be read. */
static int step(struct spool *s, enum statement i)
{
    int rc = sqlite3_step(s->st[i]);
    if (rc == SQLITE_ROW)
        return SK_OK;
    int err = rc == SQLITE_DONE ? SK_EEND : sql_err(s, "cannot write");
    sqlite3_reset(s->st[i]);
    sqlite3_clear_bindings(s->st[i]);
    return err;
}

static void done(struct spool *s, enum statement i)
{
    sqlite3_reset(s->st[i]);
    sqlite3_clear_bindings(s->st[i]);
}

static void bind_text(struct spool *s, enum statement i, int at, const char *p, size_t len)
{
    sqlite3_bind_text(s->st[i], at, p, (int)len, SQLITE_STATIC);
}

static int run(struct spool *s, enum statement i)
{
    int rc = step(s, i);
    if (rc == SK_OK)
        done(s, i);
    return rc == SK_EEND || rc == SK_OK ? SK_OK : rc;
}

/* --- transactions --- */

static int recount(struct spool *s)
{
    int rc = step(s, S_COUNT);
    if (rc != SK_OK)
        return rc == SK_EEND ? SK_EIO : rc;
    s->stats.items = (uint64_t)sqlite3_column_int64(s->st[S_COUNT], 0);
    s->stats.bytes = (uint64_t)sqlite3_column_int64(s->st[S_COUNT], 1);
    s->stats.open = (uint64_t)sqlite3_column_int64(s->st[S_COUNT], 2);
    done(s, S_COUNT);
    return SK_OK;
}

/* What the transaction held is gone. */
static void rolled_back(struct spool *s)
{
    if (sqlite3_get_autocommit(s->db) == 0)
        (void)run_sql(s, "ROLLBACK");
    s->stats.lost_events += s->txn_events;
    s->stats.lost_blocks += s->txn_blocks;
    s->in_txn = false;
    s->txn_events = s->txn_blocks = 0;
    (void)!recount(s);
}

static int begin(struct spool *s)
{
    if (s->in_txn)
        return SK_OK;
    if (run_sql(s, "BEGIN IMMEDIATE") != SQLITE_OK)
        return sql_err(s, "cannot begin");
    s->in_txn = true;
    s->txn_bytes = 0;
    s->txn_events = s->txn_blocks = 0;
    return SK_OK;
}

int spool_commit(struct spool *s)
{
    if (!s->in_txn)
        return SK_OK;
    if (run_sql(s, "COMMIT") != SQLITE_OK) {
        int rc = sql_err(s, "cannot commit");
        rolled_back(s);
        return rc;
    }
    s->in_txn = s->complained = false;
    return SK_OK;
}

/* id, number and end of the batch under way, on the disk when this returns. */
static int write_state(struct spool *s, const char *id, int64_t seq, int64_t last)
{
    int rc = begin(s);
    if (rc != SK_OK)
        return rc;
    bind_text(s, S_STATE, 1, id, strlen(id));
    sqlite3_bind_int64(s->st[S_STATE], 2, seq);
    sqlite3_bind_int64(s->st[S_STATE], 3, last);
    rc = run(s, S_STATE);
    if (rc != SK_OK) {
        rolled_back(s);
        return rc;
    }
    rc = spool_commit(s);
    if (rc != SK_OK)
        return rc;
    memmove(s->id, id, strlen(id) + 1);
    s->seq = seq;
    s->last = last;
    return SK_OK;
}

/* The same, flushed to the disk with everything before it. Not within a transaction: it is committed first. */
static int write_state_durably(struct spool *s, const char *id, int64_t seq, int64_t last)
{
    int rc = spool_commit(s);
    if (rc != SK_OK)
        return rc;
    if (run_sql(s, "PRAGMA synchronous=FULL") != SQLITE_OK)
        return sql_err(s, "cannot set up");
    rc = write_state(s, id, seq, last);
    (void)run_sql(s, "PRAGMA synchronous=NORMAL");
    return rc;
}

/* --- room --- */

static uint64_t used_pages(struct spool *s)
{
    if (step(s, S_PAGES) != SK_OK)
        return UINT64_MAX;
    uint64_t n = (uint64_t)sqlite3_column_int64(s->st[S_PAGES], 0);
    done(s, S_PAGES);
    return n;
}

/* SK_EEND: there are no events but those of the batch. */
static int drop_oldest(struct spool *s)
{
    sqlite3_bind_int64(s->st[S_OLDEST], 1, s->last);
    sqlite3_bind_int(s->st[S_OLDEST], 2, DROP_CHUNK);
    int rc = run(s, S_OLDEST), n = sqlite3_changes(s->db);
    if (rc != SK_OK)
        return rc;
    s->stats.lost_events += (uint64_t)n;
    s->txn_bytes += PAGE;
    return n > 0 ? SK_OK : SK_EEND;
}

/* Before len bytes are put in. SK_EFULL: nothing can go. */
static int make_room(struct spool *s, size_t len)
{
    s->since_check += len + ITEM_OVER;
    if (!s->full && s->since_check < s->check_bytes)
        return SK_OK;
    s->since_check = 0;
    int rc = SK_OK;
    bool dropped = false;
    while (rc == SK_OK && used_pages(s) >= s->soft_pages) {
        rc = drop_oldest(s);
        dropped |= rc == SK_OK;
    }
    s->full = rc == SK_EEND;
    if (dropped)
        (void)!recount(s);
    return rc == SK_EEND ? SK_EFULL : rc;
}

/* --- items --- */

static int insert(struct spool *s, enum kind kind, const char *target, const char *item, size_t len)
{
    int rc = len > SPOOL_ITEM_MAX ? SK_EFULL : begin(s);
    if (rc == SK_OK)
        rc = make_room(s, len);
    if (rc != SK_OK)
        return rc;
    sqlite3_bind_int(s->st[S_PUT], 1, kind);
    if (target != NULL)
        bind_text(s, S_PUT, 2, target, strlen(target));
    bind_text(s, S_PUT, 3, item, len);
    rc = run(s, S_PUT);
    if (rc != SK_OK)
        return rc;
    s->stats.items++;
    s->stats.bytes += len;
    s->txn_bytes += len + ITEM_OVER;
    return SK_OK;
}

/* A long transaction is a long log. */
static int end_of_item(struct spool *s, enum kind kind, int rc)
{
    if (rc != SK_OK) {
        if (s->in_txn && sqlite3_get_autocommit(s->db) != 0)
            rolled_back(s);
        *(kind == KIND_EVENT ? &s->stats.lost_events : &s->stats.lost_blocks) += 1;
        return rc;
    }
    if (kind == KIND_EVENT)
        s->txn_events++;
    else
        s->txn_blocks++;
    if (s->txn_events + s->txn_blocks >= SPOOL_TURN || s->txn_bytes >= s->check_bytes)
        return spool_commit(s);
    return SK_OK;
}

int spool_event(struct spool *s, const char *item, size_t len)
{
    return end_of_item(s, KIND_EVENT, insert(s, KIND_EVENT, NULL, item, len));
}

static int put_open(struct spool *s, const char *id, const char *target, int64_t expires_ms, const char *item,
                    size_t len)
{
    bind_text(s, S_OPEN, 1, id, strlen(id));
    bind_text(s, S_OPEN, 2, target, strlen(target));
    sqlite3_bind_int64(s->st[S_OPEN], 3, expires_ms);
    bind_text(s, S_OPEN, 4, item, len);
    return run(s, S_OPEN);
}

int spool_set(struct spool *s, const char *id, const char *target, int64_t expires_ms, const char *item, size_t len)
{
    bool known = spool_has(s, id, -1);
    int rc = insert(s, KIND_BLOCK, target, item, len);
    if (rc == SK_OK)
        rc = put_open(s, id, target, expires_ms, item, len);
    if (rc == SK_OK && !known)
        s->stats.open++;
    return end_of_item(s, KIND_BLOCK, rc);
}

int spool_end(struct spool *s, const char *id, const char *target, const char *item, size_t len)
{
    int rc = begin(s);
    if (rc == SK_OK) {
        bind_text(s, S_END, 1, id, strlen(id));
        rc = run(s, S_END);
    }
    if (rc == SK_OK)
        s->stats.open -= sqlite3_changes(s->db) > 0;
    if (item == NULL)
        return rc;
    if (rc == SK_OK)
        rc = insert(s, KIND_BLOCK, target, item, len);
    return end_of_item(s, KIND_BLOCK, rc);
}

/* --- batches --- */

/* Reads at most that much from behind the last answered item; up to `to`. *last: of the items read. */
static int read_items(struct spool *s, int64_t to, unsigned max_items, size_t max_bytes, int64_t *last)
{
    int rc;
    sk_strbuf_clear(&s->batch);
    s->batch_items = 0;
    *last = 0;
    sqlite3_bind_int64(s->st[S_READ], 1, 0);
    sqlite3_bind_int64(s->st[S_READ], 2, to);
    sqlite3_bind_int64(s->st[S_READ], 3, max_items);
    while ((rc = step(s, S_READ)) == SK_OK) {
        size_t len = (size_t)sqlite3_column_bytes(s->st[S_READ], 1);
        if (s->batch_items > 0 && s->batch.len + 1 + len > max_bytes) {
            done(s, S_READ);
            break;
        }
        if (s->batch_items++ > 0)
            sk_strbuf_add(&s->batch, ",", 1);
        sk_strbuf_add(&s->batch, sqlite3_column_text(s->st[S_READ], 1), len);
        *last = sqlite3_column_int64(s->st[S_READ], 0);
    }
    if (rc != SK_OK && rc != SK_EEND)
        return rc;
    return s->batch.full ? SK_ENOMEM : SK_OK;
}

static void forget_batch(struct spool *s)
{
    sk_strbuf_clear(&s->batch);
    s->batch_items = 0;
}

static int make_batch(struct spool *s, unsigned max_items, size_t max_bytes)
{
    int64_t last;
    int rc = read_items(s, INT64_MAX, max_items, max_bytes, &last);
    if (rc == SK_OK && s->batch_items == 0)
        return SK_EAGAIN;
    if (rc == SK_OK)
        rc = write_state_durably(s, s->id, s->seq + 1, last);
    if (rc != SK_OK)
        forget_batch(s);
    return rc;
}

int spool_batch(struct spool *s, unsigned max_items, size_t max_bytes, struct spool_batch *out)
{
    int64_t last;
    int rc = spool_commit(s);
    if (rc == SK_OK && s->last == 0)
        rc = make_batch(s, max_items, max_bytes);
    else if (rc == SK_OK && s->batch_items == 0)
        rc = read_items(s, s->last, UINT32_MAX, BATCH_BYTES, &last); /* as it was, whatever the limits are now */
    if (rc == SK_OK && s->batch_items == 0)
        rc = spool_answered(s) == SK_OK ? SK_EAGAIN : SK_EIO; /* its items are not there: nothing is owed */
    if (rc != SK_OK)
        return rc;
    *out =
        (struct spool_batch){.seq = (uint64_t)s->seq, .items = s->batch_items, .text = s->batch.p, .len = s->batch.len};
    return SK_OK;
}

int spool_answered(struct spool *s)
{
    int rc = begin(s);
    if (rc != SK_OK || s->last == 0)
        return rc;
    sqlite3_bind_int64(s->st[S_TAKEN], 1, s->last);
    rc = run(s, S_TAKEN);
    if (rc == SK_OK)
        rc = write_state(s, s->id, s->seq, 0);
    else
        rolled_back(s);
    forget_batch(s);
    s->full = false;
    s->since_check = s->check_bytes; /* looks at the next item */
    int count = recount(s);
    return rc == SK_OK ? count : rc;
}

int spool_halve(struct spool *s)
{
    int64_t last;
    if (s->last == 0)
        return SK_OK;
    unsigned n = s->batch_items / 2;
    int rc = n > 0 ? read_items(s, s->last, n, SIZE_MAX, &last) : SK_OK;
    forget_batch(s);
    if (rc != SK_OK)
        return rc;
    if (n > 0)
        return write_state_durably(s, s->id, s->seq, last);
    rc = spool_answered(s);
    if (rc == SK_OK) { /* the number has not been used */
        rc = write_state_durably(s, s->id, s->seq - 1, 0);
        s->stats.lost_events++;
    }
    return rc;
}

/* --- blocks that are open --- */

bool spool_waits(struct spool *s, const char *target)
{
    bind_text(s, S_WAITS, 1, target, strlen(target));
    if (step(s, S_WAITS) != SK_OK)
        return false;
    done(s, S_WAITS);
    return true;
}

bool spool_has(struct spool *s, const char *id, int64_t expires_ms)
{
    bind_text(s, S_HAS, 1, id, strlen(id));
    if (step(s, S_HAS) != SK_OK)
        return false;
    bool same = expires_ms < 0 || sqlite3_column_int64(s->st[S_HAS], 0) == expires_ms;
    done(s, S_HAS);
    return same;
}

void spool_sync_begin(struct spool *s)
{
    if (begin(s) == SK_OK)
        (void)!run(s, S_UNSEE);
}

void spool_see(struct spool *s, const char *id)
{
    if (begin(s) != SK_OK)
        return;
    bind_text(s, S_SEE, 1, id, strlen(id));
    (void)!run(s, S_SEE);
}

struct seen {
    char id[64], target[64];
    int64_t expires_ms;
};

static void copy_text(char *to, size_t cap, sqlite3_stmt *st, int col)
{
    const char *text = (const char *)sqlite3_column_text(st, col);
    snprintf(to, cap, "%s", text != NULL ? text : "");
}

/* Some that are unseen, from behind *after on. */
static int read_unseen(struct spool *s, const char *after, struct seen *v, unsigned *n)
{
    int rc;
    *n = 0;
    bind_text(s, S_UNSEEN, 1, after, strlen(after));
    sqlite3_bind_int(s->st[S_UNSEEN], 2, SEE_CHUNK);
    while ((rc = step(s, S_UNSEEN)) == SK_OK) {
        copy_text(v[*n].id, sizeof(v->id), s->st[S_UNSEEN], 0);
        copy_text(v[*n].target, sizeof(v->target), s->st[S_UNSEEN], 1);
        v[(*n)++].expires_ms = sqlite3_column_int64(s->st[S_UNSEEN], 2);
    }
    return rc == SK_EEND ? SK_OK : rc;
}

int spool_unseen(struct spool *s, spool_open_fn *fn, void *arg)
{
    char after[sizeof(((struct seen *)0)->id)] = "";
    unsigned n;
    struct seen *v = (struct seen *)calloc(SEE_CHUNK, sizeof(*v));
    if (v == NULL)
        return SK_ENOMEM;
    int rc = SK_OK;
    do {
        rc = read_unseen(s, after, v, &n);
        for (unsigned i = 0; rc == SK_OK && i < n; i++)
            fn(arg, v[i].id, v[i].target, v[i].expires_ms);
        if (n > 0)
            memcpy(after, v[n - 1].id, sizeof(after));
    } while (rc == SK_OK && n == SEE_CHUNK);
    free(v);
    return rc; /* cppcheck-suppress uninitvar */
}

void spool_prune(struct spool *s, int64_t now_ms)
{
    if (begin(s) != SK_OK)
        return;
    sqlite3_bind_int64(s->st[S_PRUNE], 1, now_ms);
    if (run(s, S_PRUNE) == SK_OK)
        s->stats.open -= (uint64_t)sqlite3_changes(s->db);
}

/* --- opening --- */

static int new_id(char id[SPOOL_ID_LEN])
{
    uint8_t r[(SPOOL_ID_LEN - 1) / 2];
    if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r))
        return SK_EIO;
    for (size_t i = 0; i < sizeof(r); i++)
        snprintf(id + 2 * i, 3, "%02x", r[i]);
    return SK_OK;
}

int spool_renew(struct spool *s)
{
    char id[SPOOL_ID_LEN];
    int rc = new_id(id);
    if (rc == SK_OK)
        rc = spool_commit(s);
    if (rc == SK_OK)
        rc = begin(s);
    if (rc != SK_OK)
        return rc;
    if (run(s, S_REOPEN) != SK_OK) /* no room: the guard tells of them when it next starts */
        rolled_back(s);
    rc = write_state(s, id, 0, 0);
    forget_batch(s);
    int count = recount(s);
    return rc == SK_OK ? count : rc;
}

static int first_state(struct spool *s)
{
    char id[SPOOL_ID_LEN], sql[160];
    int rc = new_id(id);
    if (rc != SK_OK)
        return rc;
    snprintf(sql, sizeof(sql), "INSERT INTO state VALUES(1,'%s',0,0);PRAGMA user_version=%d", id, SCHEMA);
    if (run_sql(s, "BEGIN IMMEDIATE") != SQLITE_OK || run_sql(s, schema_sql) != SQLITE_OK ||
        run_sql(s, sql) != SQLITE_OK || run_sql(s, "COMMIT") != SQLITE_OK)
        return sql_err(s, "cannot set up the file");
    return SK_OK;
}

/* One value of one row. SK_EPROTO: there is none. */
static int query(struct spool *s, const char *sql, sqlite3_stmt **st)
{
    int rc = sqlite3_prepare_v2(s->db, sql, -1, st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(*st);
    if (rc == SQLITE_ROW)
        return SK_OK;
    if (rc == SQLITE_DONE)
        return SK_EPROTO;
    int code = rc & 0xff;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR)
        return SK_EPROTO;
    return sql_err(s, "cannot read the file");
}

static int check_file(struct spool *s, int *version)
{
    sqlite3_stmt *st = NULL;
    int rc = query(s, "PRAGMA quick_check(1)", &st);
    if (rc == SK_OK && strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
        rc = SK_EPROTO;
    sqlite3_finalize(st);
    st = NULL;
    if (rc == SK_OK)
        rc = query(s, "PRAGMA user_version", &st);
    if (rc == SK_OK)
        *version = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return rc;
}

static int read_state(struct spool *s)
{
    sqlite3_stmt *st = NULL;
    int rc = query(s, "SELECT id,seq,last FROM state", &st);
    if (rc == SK_OK) {
        copy_text(s->id, sizeof(s->id), st, 0);
        s->seq = sqlite3_column_int64(st, 1);
        s->last = sqlite3_column_int64(st, 2);
        if (strlen(s->id) != SPOOL_ID_LEN - 1 || s->seq < 0 || s->last < 0)
            rc = SK_EPROTO;
    }
    sqlite3_finalize(st);
    return rc;
}

static int prepare(struct spool *s)
{
    static const char *const sql[] = {
#define X(id, text) text,
        STATEMENTS(X)
#undef X
    };
    for (int i = 0; i < S_COUNT_OF; i++)
        if (sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL) != SQLITE_OK)
            return SK_EPROTO;
    return SK_OK;
}

/* Of `size` an eighth is the log's, and a sixteenth is in reserve for what must be written when it is full. */
static int set_sizes(struct spool *s, uint64_t size)
{
    char sql[320];
    if (size < SPOOL_SIZE_MIN)
        size = SPOOL_SIZE_MIN;
    uint64_t wal = size / 8 > WAL_MIN ? size / 8 : WAL_MIN;
    s->soft_pages = (size - wal - size / 16) / PAGE;
    s->check_bytes = size / 64;
    if (s->check_bytes > (1u << 20))
        s->check_bytes = 1u << 20;
    uint64_t log_pages = wal / PAGE / 2 > 1000 ? 1000 : wal / PAGE / 2;
    snprintf(sql, sizeof(sql),
             "PRAGMA synchronous=NORMAL;PRAGMA trusted_schema=OFF;PRAGMA cache_size=-4096;PRAGMA temp_store=MEMORY;"
             "PRAGMA max_page_count=%llu;"
             "PRAGMA wal_autocheckpoint=%llu;PRAGMA journal_size_limit=%llu",
             (unsigned long long)((size - wal) / PAGE), (unsigned long long)log_pages, (unsigned long long)wal);
    return run_sql(s, sql) == SQLITE_OK ? SK_OK : sql_err(s, "cannot set up");
}

/* The file exists with mode 0600 before SQLite opens it; SQLite gives -wal and -shm the same mode. */
static int touch(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0) {
        sk_log(SK_LOG_ERROR, "spool: %s: %s", path, strerror(errno));
        return errno == EACCES || errno == EPERM ? SK_EPERM : SK_EIO;
    }
    int rc = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? SK_OK : SK_EIO;
    if (rc == SK_OK && (st.st_mode & 077) != 0 && fchmod(fd, 0600) != 0)
        rc = SK_EPERM;
    close(fd);
    return rc;
}

static void destroy(struct spool *s)
{
    for (int i = 0; i < S_COUNT_OF; i++)
        sqlite3_finalize(s->st[i]);
    sqlite3_close(s->db);
    sk_strbuf_free(&s->batch);
    free(s);
}

/* SK_EPROTO: damaged, or no database. */
static int set_up(struct spool *s, uint64_t size)
{
    int version = 0;
    sqlite3_busy_timeout(s->db, BUSY_MS);
    int mode = run_sql(s, "PRAGMA journal_mode=WAL");
    if (mode == SQLITE_NOTADB || mode == SQLITE_CORRUPT)
        return SK_EPROTO;
    if (mode != SQLITE_OK)
        return sql_err(s, "cannot set up");
    int rc = check_file(s, &version);
    if (rc == SK_OK && version > SCHEMA) {
        sk_log(SK_LOG_ERROR, "spool: schema %d is from a later version (this one knows %d)", version, SCHEMA);
        rc = SK_ENOTSUP;
    }
    if (rc == SK_OK)
        rc = set_sizes(s, size);
    if (rc == SK_OK && version == 0)
        rc = first_state(s);
    if (rc == SK_OK)
        rc = prepare(s);
    if (rc == SK_OK)
        rc = read_state(s);
    return rc == SK_OK ? recount(s) : rc;
}

static int open_once(const char *path, uint64_t size, struct spool **out)
{
    int rc = touch(path);
    if (rc != SK_OK)
        return rc;
    struct spool *s = (struct spool *)calloc(1, sizeof(*s));
    if (s == NULL)
        return SK_ENOMEM;
    sk_strbuf_init(&s->batch, BATCH_BYTES);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        rc = sql_err(s, "cannot open");
    if (rc == SK_OK)
        rc = set_up(s, size);
    if (rc == SK_OK)
        *out = s;
    else
        destroy(s);
    return rc;
}

int spool_set_aside(const char *path)
{
    char from[PATH_LEN], to[PATH_LEN];
    int n = snprintf(to, sizeof(to), "%s.damaged", path);
    if (n < 0 || (size_t)n >= sizeof(to) || rename(path, to) != 0)
        return SK_EIO;
    static const char *const suffix[] = {"-wal", "-shm"};
    for (int i = 0; i < 2; i++) {
        n = snprintf(from, sizeof(from), "%s%s", path, suffix[i]);
        if (n > 0 && (size_t)n < sizeof(from))
            (void)unlink(from);
    }
    sk_log(SK_LOG_ERROR, "spool: %s is damaged; moved to %s, beginning an empty one", path, to);
    return SK_OK;
}

int spool_open(const char *path, uint64_t size, struct spool **out, bool *moved)
{
    if (moved != NULL)
        *moved = false;
    int rc = open_once(path, size, out);
    if (rc != SK_EPROTO)
        return rc;
    rc = spool_set_aside(path);
    if (rc != SK_OK)
        return rc;
    if (moved != NULL)
        *moved = true;
    rc = open_once(path, size, out);
    return rc == SK_EPROTO ? SK_EIO : rc;
}

void spool_close(struct spool *s)
{
    if (s == NULL)
        return;
    (void)!spool_commit(s);
    destroy(s);
}

const char *spool_id(const struct spool *s)
{
    return s->id;
}

void spool_stats(const struct spool *s, struct spool_stats *out)
{
    *out = s->stats;
}

bool spool_damaged(const struct spool *s)
{
    return s->damaged;
}
