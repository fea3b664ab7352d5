/*
 * A thin layer over two databases: one text of each statement, parameters as "?", values typed. SQLite behind
 * db_sqlite.c, PostgreSQL (libpq) behind db_pg.c. Statements are string literals: they are prepared once for each
 * connection and found again by their address. Types are BIGINT, TEXT and %BYTES% (schema.c); results are read by
 * column.
 *
 * Every statement is a way to the server and back: what is to be said of many rows is said at once (db_exec_many,
 * db_query_many). In such a statement @ROWS stands in FROM for the rows, @1, @2 ... for their columns, and @LATERAL
 * before a subquery in FROM that uses these. PostgreSQL gets one statement, with an array for each column; SQLite, to
 * which nothing is far, gets it row by row.
 *
 * One thread. A connection that was lost is made again by the next db_begin, or db_query outside a transaction;
 * whatever belonged to the session before (advisory lock) is gone then, and db_generation says so.
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define DB_PARAMS_MAX 24
#define DB_ERROR_MAX  512

enum db_type { DB_INT, DB_TEXT, DB_BYTES };
struct db_value {
    enum db_type type;
    int64_t i;
    const void *p;
    size_t len;
};
static inline struct db_value db_i(int64_t v)
{
    return (struct db_value){.type = DB_INT, .i = v};
}
struct db_value db_t(const char *s);
struct db_value db_b(const void *p, size_t len);

/* UTF-8 as both databases take it. */
bool db_text_ok(const char *text);

struct db;
struct db_rows { /* one result being read; on the caller's stack, ended by db_done */
    struct db *db;
    void *result; /* sqlite3_stmt, PGresult */
    int row;      /* PostgreSQL */
    bool owned;   /* SQLite: a statement of its own, because the cached one is being read */
};

SK_MUST_USE int db_open(const char *where, struct db **out, char *why, size_t cap);
void db_close(struct db *db);
const char *db_kind(const struct db *db);
const char *db_error(const struct db *db);
/* Grows with each new connection. */
uint64_t db_generation(const struct db *db);

/* A transaction begins with its first change, or with db_lock: one that only reads is nothing for PostgreSQL but what
 * it reads. The two below end it, whatever they return. last: one statement more of a transaction that has begun,
 * without parameters, that goes on the same way; NULL. notify: others are to know (db_changed). */
SK_MUST_USE int db_begin(struct db *db);
SK_MUST_USE int db_commit(struct db *db, const char *last, bool notify);
void db_rollback(struct db *db);

/* Statements without parameters, separated by ";", in a transaction. %BYTES% is replaced. */
SK_MUST_USE int db_script(struct db *db, const char *sql);
/* SK_EINVAL: a text that is no UTF-8; nothing has been asked of the database. rows: changed ones; may be NULL. */
SK_MUST_USE int db_exec(struct db *db, const char *sql, const struct db_value *v, unsigned n, int64_t *rows);
SK_MUST_USE int db_query(struct db *db, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r);
/* The same for n rows of cols columns each, one behind the other. All values of a column have one type. */
SK_MUST_USE int db_exec_many(struct db *db, const char *sql, const struct db_value *v, unsigned cols, unsigned n,
                             int64_t *rows);
typedef void db_row_fn(void *arg, const struct db_rows *r);
SK_MUST_USE int db_query_many(struct db *db, const char *sql, const struct db_value *v, unsigned cols, unsigned n,
                              db_row_fn *row, void *arg);
/* A query without parameters that locks what it reads until the transaction ends: @LOCK stands at its end. */
SK_MUST_USE int db_lock(struct db *db, const char *sql, struct db_rows *r);
/* SK_OK: a row; SK_EEND: no more. */
SK_MUST_USE int db_next(struct db_rows *r);
int64_t db_int(const struct db_rows *r, int col);
/* Valid until the next db_next. Never NULL. */
const char *db_text(const struct db_rows *r, int col);
const void *db_bytes(const struct db_rows *r, int col, size_t *len);
/* Into buf of cap; what is longer is cut at a character. */
void db_copy(const struct db_rows *r, int col, char *buf, size_t cap);
void db_done(struct db_rows *r);

/* Against other processes, until the transaction ends: for migrations. */
SK_MUST_USE int db_lock_schema(struct db *db);
/* SK_EAGAIN: somebody else has it. */
SK_MUST_USE int db_lead(struct db *db);
bool db_changed(struct db *db);
int db_changed_fd(const struct db *db);
int64_t db_size(struct db *db);

/* ---- for the two below ---- */

struct db_ops {
    const char *kind;
    int (*open)(struct db *db, const char *where, char *why, size_t cap);
    void (*close)(struct db *db);
    int (*begin)(struct db *db);
    int (*commit)(struct db *db, const char *last, bool notify);
    void (*rollback)(struct db *db);
    int (*script)(struct db *db, const char *sql);
    int (*exec)(struct db *db, const char *sql, const struct db_value *v, unsigned n, int64_t *rows);
    int (*query)(struct db *db, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r);
    /* NULL: row by row, by the two above. r NULL: a change */
    int (*many)(struct db *db, const char *sql, const struct db_value *v, unsigned cols, unsigned n, struct db_rows *r,
                int64_t *rows);
    int (*lock)(struct db *db, const char *sql, struct db_rows *r);
    int (*next)(struct db_rows *r);
    int64_t (*col_int)(const struct db_rows *r, int col);
    const char *(*col_text)(const struct db_rows *r, int col);
    const void *(*col_bytes)(const struct db_rows *r, int col, size_t *len);
    void (*done)(struct db_rows *r);
    int (*lock_schema)(struct db *db);
    int (*lead)(struct db *db);
    bool (*changed)(struct db *db);
    int (*changed_fd)(const struct db *db);
    int64_t (*size)(struct db *db);
};
extern const struct db_ops db_sqlite, db_pg;

#define DB_CACHE 256 /* statements of a connection; a power of two, far above what there are */
struct db {
    const struct db_ops *ops;
    void *impl;
    uint64_t generation;
    bool in_txn;
    const char *cached_sql[DB_CACHE];
    void *cached[DB_CACHE];
    char error[DB_ERROR_MAX];
};
/* Where this literal's statement is, or goes. NULL: the table is full. */
void **db_cache_slot(struct db *db, const char *sql);
int db_fail(struct db *db, const char *what, const char *words);
/* What stands in a statement for one of the two databases. */
struct db_words {
    const char *param;  /* "?", with its number where there is one */
    const char *column; /* "@1", with its number */
    const char *rows, *lateral, *lock;
};
/* false: it does not fit. */
bool db_translate(const struct db_words *w, const char *sql, char *out, size_t cap);
#define DB_SQL_MAX     4096
#define DB_BYTES_TOKEN "%BYTES%"
/* The schema's text for one database; the caller's (free). */
char *db_dialect(const char *sql, const char *bytes);

#endif
