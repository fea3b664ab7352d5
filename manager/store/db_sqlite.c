/* One file in WAL mode. synchronous=FULL: a commit that has returned is on the disk. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "db.h"

#define PATH_CAP    4096
#define BUSY_MS_MAX 10000
#define SETUP                                                                                                          \
    "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA trusted_schema=OFF;PRAGMA cache_size=-16384;"              \
    "PRAGMA temp_store=MEMORY;PRAGMA journal_size_limit=67108864"

struct lite {
    sqlite3 *db;
    char path[PATH_CAP];
    int lead_fd;
    int64_t seen_version; /* data_version at the last db_changed */
    bool own_commit;
    int busy_ms;
};

static int lite_fail(struct db *db, const char *what)
{
    struct lite *l = db->impl;
    return db_fail(db, what, sqlite3_errmsg(l->db));
}

/* SQLite's own waits longer and longer, up to 100 ms a time; transactions here are short. */
static int on_busy(void *arg, int calls)
{
    struct lite *l = arg;
    l->busy_ms = calls == 0 ? 0 : l->busy_ms;
    int ms = calls < 10 ? 1 : 4;
    if (l->busy_ms >= BUSY_MS_MAX)
        return 0;
    l->busy_ms += ms;
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
    return 1;
}

static pthread_mutex_t touching = PTHREAD_MUTEX_INITIALIZER;

/*
 * The file exists with mode 0600 before SQLite opens it; SQLite gives -wal and -shm the same mode. One that is there is
 * never opened here: closing it would give up the locks that this process's other connections have on it (fcntl(2)),
 * and the next process to leave would take the WAL away from under them.
 */
static int touch(const char *path, char *why, size_t cap)
{
    struct stat st;
    pthread_mutex_lock(&touching);
    int rc = lstat(path, &st) == 0 ? SK_OK : SK_EIO;
    if (rc != SK_OK && errno == ENOENT) {
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        rc = fd >= 0 && fstat(fd, &st) == 0 ? SK_OK : errno == EEXIST && lstat(path, &st) == 0 ? SK_OK : SK_EIO;
        if (fd >= 0)
            close(fd);
    }
    pthread_mutex_unlock(&touching);
    if (rc != SK_OK) {
        snprintf(why, cap, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        snprintf(why, cap, "%s: this is no regular file", path);
        rc = SK_EIO;
    }
    return rc;
}

static int64_t data_version(struct db *db)
{
    struct db_rows r;
    int64_t v = -1;
    if (db_query(db, "PRAGMA data_version", NULL, 0, &r) == SK_OK && db_next(&r) == SK_OK)
        v = db_int(&r, 0);
    db_done(&r);
    return v;
}

/* Going over to WAL is refused at once, without a wait, while another process does the same. */
static int set_up(struct lite *l)
{
    int rc = sqlite3_exec(l->db, SETUP, NULL, NULL, NULL);
    for (int i = 0; rc == SQLITE_BUSY && i < BUSY_MS_MAX / 10; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        rc = sqlite3_exec(l->db, SETUP, NULL, NULL, NULL);
    }
    return rc;
}

static int lite_open(struct db *db, const char *path, char *why, size_t cap)
{
    struct lite *l = calloc(1, sizeof *l);
    if (!l)
        return SK_ENOMEM;
    db->impl = l;
    l->lead_fd = -1;
    if ((size_t)snprintf(l->path, sizeof l->path, "%s", path) >= sizeof l->path - 16 || !*path) {
        snprintf(why, cap, "sqlite: the path is empty or too long");
        return SK_EINVAL;
    }
    int rc = touch(path, why, cap);
    if (rc != SK_OK)
        return rc;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    rc = sqlite3_open_v2(path, &l->db, flags, NULL);
    if (l->db)
        sqlite3_busy_handler(l->db, on_busy, l);
    if (rc != SQLITE_OK || set_up(l) != SQLITE_OK) {
        snprintf(why, cap, "%s: %s", path, sqlite3_errmsg(l->db));
        return SK_EIO;
    }
    db->generation = 1;
    l->seen_version = data_version(db);
    return SK_OK;
}

static void lite_close(struct db *db)
{
    struct lite *l = db->impl;
    if (!l)
        return;
    for (size_t i = 0; i < DB_CACHE; i++)
        sqlite3_finalize(db->cached[i]);
    sqlite3_close(l->db);
    if (l->lead_fd >= 0)
        close(l->lead_fd);
    free(l);
}

static int run(struct db *db, const char *sql)
{
    struct lite *l = db->impl;
    return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK ? SK_OK : lite_fail(db, "sqlite");
}

static int lite_begin(struct db *db)
{
    return run(db, "BEGIN IMMEDIATE");
}

static void lite_rollback(struct db *db)
{
    struct lite *l = db->impl;
    if (!sqlite3_get_autocommit(l->db))
        (void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
}

static int lite_commit(struct db *db, const char *last, bool notify)
{
    (void)notify; /* data_version tells the others */
    struct lite *l = db->impl;
    int rc = last ? run(db, last) : SK_OK;
    if (rc == SK_OK)
        rc = run(db, "COMMIT");
    if (rc != SK_OK)
        lite_rollback(db);
    else
        l->own_commit = true;
    return rc;
}

static int lite_script(struct db *db, const char *sql)
{
    char *text = db_dialect(sql, "BLOB");
    int rc = text ? run(db, text) : SK_ENOMEM;
    free(text);
    return rc;
}

static int bind(sqlite3_stmt *st, const struct db_value *v, unsigned n, sqlite3_destructor_type keep)
{
    int rc = SQLITE_OK;
    for (unsigned i = 0; i < n && rc == SQLITE_OK; i++) {
        int k = (int)i + 1;
        switch (v[i].type) {
        case DB_INT: rc = sqlite3_bind_int64(st, k, v[i].i); break;
        case DB_TEXT: rc = sqlite3_bind_text(st, k, v[i].p, (int)v[i].len, keep); break;
        case DB_BYTES: rc = sqlite3_bind_blob(st, k, v[i].len ? v[i].p : "", (int)v[i].len, keep); break;
        }
    }
    return rc;
}

static int compile(struct db *db, const char *sql, sqlite3_stmt **out)
{
    static const struct db_words words = {.column = "?", .rows = "(SELECT 1) AS r", .lateral = "", .lock = ""};
    struct lite *l = db->impl;
    char text[DB_SQL_MAX];
    if (!db_translate(&words, sql, text, sizeof text))
        return db_fail(db, "sqlite", "statement too long");
    return sqlite3_prepare_v3(l->db, text, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK
               ? SK_OK
               : lite_fail(db, "sqlite");
}

/* The cached statement, or one of its own when that is being read: a row's callback may ask the same again. */
static int prepare(struct db *db, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r,
                   sqlite3_destructor_type keep)
{
    void **slot = db_cache_slot(db, sql);
    sqlite3_stmt *st = slot ? *slot : NULL;
    r->owned = !slot || (st && sqlite3_stmt_busy(st));
    if ((!st || r->owned) && compile(db, sql, &st) != SK_OK)
        return SK_EIO;
    if (!r->owned)
        *slot = st;
    r->result = st;
    if (sqlite3_bind_parameter_count(st) != (int)n || bind(st, v, n, keep) != SQLITE_OK)
        return lite_fail(db, "sqlite");
    return SK_OK;
}

static void lite_done(struct db_rows *r)
{
    if (r->owned) {
        sqlite3_finalize(r->result);
        return;
    }
    sqlite3_reset(r->result);
    sqlite3_clear_bindings(r->result);
}

static int lite_next(struct db_rows *r)
{
    switch (sqlite3_step(r->result)) {
    case SQLITE_ROW: return SK_OK;
    case SQLITE_DONE: return SK_EEND;
    default: return lite_fail(r->db, "sqlite");
    }
}

static int lite_query(struct db *db, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r)
{
    int rc = prepare(db, sql, v, n, r, SQLITE_TRANSIENT);
    if (rc != SK_OK)
        db_done(r);
    return rc;
}

static int lite_exec(struct db *db, const char *sql, const struct db_value *v, unsigned n, int64_t *rows)
{
    struct lite *l = db->impl;
    struct db_rows r = {.db = db};
    int rc = prepare(db, sql, v, n, &r, SQLITE_STATIC);
    while (rc == SK_OK)
        rc = lite_next(&r);
    *rows = rc == SK_EEND ? sqlite3_changes(l->db) : 0;
    db_done(&r);
    return rc == SK_EEND ? SK_OK : rc;
}

/* BEGIN IMMEDIATE has locked everything. */
static int lite_lock(struct db *db, const char *sql, struct db_rows *r)
{
    return lite_query(db, sql, NULL, 0, r);
}

static int64_t lite_int(const struct db_rows *r, int col)
{
    return sqlite3_column_int64(r->result, col);
}

static const char *lite_text(const struct db_rows *r, int col)
{
    return (const char *)sqlite3_column_text(r->result, col);
}

static const void *lite_bytes(const struct db_rows *r, int col, size_t *len)
{
    const void *p = sqlite3_column_blob(r->result, col);
    *len = (size_t)sqlite3_column_bytes(r->result, col);
    return p;
}

static int lite_lock_schema(struct db *db)
{
    (void)db; /* BEGIN IMMEDIATE is that lock */
    return SK_OK;
}

static int lite_lead(struct db *db)
{
    struct lite *l = db->impl;
    char path[PATH_CAP + 8];
    if (l->lead_fd >= 0)
        return SK_OK;
    snprintf(path, sizeof path, "%s.lead", l->path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return db_fail(db, path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        l->lead_fd = fd;
        return SK_OK;
    }
    int err = errno;
    close(fd);
    return err == EWOULDBLOCK ? SK_EAGAIN : db_fail(db, path, strerror(err));
}

static bool lite_changed(struct db *db)
{
    struct lite *l = db->impl;
    int64_t v = data_version(db);
    bool changed = l->own_commit || v != l->seen_version;
    l->own_commit = false;
    l->seen_version = v;
    return changed;
}

static int lite_changed_fd(const struct db *db)
{
    (void)db;
    return -1;
}

static int64_t lite_size(struct db *db)
{
    struct lite *l = db->impl;
    char path[PATH_CAP + 8];
    struct stat st;
    int64_t bytes = stat(l->path, &st) == 0 ? st.st_size : -1;
    snprintf(path, sizeof path, "%s-wal", l->path);
    return bytes >= 0 && stat(path, &st) == 0 ? bytes + st.st_size : bytes;
}

const struct db_ops db_sqlite = {
    .kind = "sqlite",
    .open = lite_open,
    .close = lite_close,
    .begin = lite_begin,
    .commit = lite_commit,
    .rollback = lite_rollback,
    .script = lite_script,
    .exec = lite_exec,
    .query = lite_query,
    .lock = lite_lock,
    .next = lite_next,
    .col_int = lite_int,
    .col_text = lite_text,
    .col_bytes = lite_bytes,
    .done = lite_done,
    .lock_schema = lite_lock_schema,
    .lead = lite_lead,
    .changed = lite_changed,
    .changed_fd = lite_changed_fd,
    .size = lite_size,
};
