/*
 * PostgreSQL over libpq: values go and come in binary. A connection that was lost is made again by whoever begins
 * something; inside a transaction its loss is an error, for what has been done in it is gone.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "db.h"

struct type {
    Oid one, array;
    const char *name; /* of the array */
};
static const struct type types[] = {
    [DB_INT] = {20, 1016, "bigint[]"},
    [DB_TEXT] = {25, 1009, "text[]"},
    [DB_BYTES] = {17, 1001, "bytea[]"},
};

#define CHANNEL     "sekisho_changed"
#define LOCK_LEAD   "7310579606210376291" /* advisory locks are numbers; these two are ours */
#define LOCK_SCHEMA "7310579606210376292"
#define RETRY_NS    SK_NS_PER_S /* a server that is away is asked no more often than that */

/* A statement that waits for ever is worse than one that fails; a session whose peer is gone must end (advisory lock).
 */
#define SESSION                                                                                                        \
    "SET statement_timeout='30s';SET lock_timeout='10s';SET idle_in_transaction_session_timeout='60s';"                \
    "SET tcp_keepalives_idle=10;SET tcp_keepalives_interval=5;SET tcp_keepalives_count=3;"                             \
    "SELECT set_config('synchronous_commit','on',false) WHERE current_setting('synchronous_commit')='off';"            \
    "LISTEN " CHANNEL

struct pg {
    PGconn *conn;
    char *where, *password;
    int64_t tried; /* mono ns of the last attempt to connect, when it failed */
    uint64_t lead; /* generation in which the lock was taken */
    bool lost;     /* since the last db_changed */
    bool begun;    /* BEGIN has been said */
    bool told;     /* of a change, since the last db_changed */
};

/* No driver's message should have it; this makes it so. */
static void hide_password(const struct pg *p, char *text)
{
    size_t len = p->password ? strlen(p->password) : 0;
    for (char *at = text; len > 0 && (at = strstr(at, p->password)) != NULL; at += len)
        memset(at, '*', len);
}

static int pg_fail(struct db *db, const PGresult *res)
{
    struct pg *p = db->impl;
    const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    const char *words = res ? PQresultErrorMessage(res) : PQerrorMessage(p->conn);
    char what[32];
    snprintf(what, sizeof what, "postgresql%s%s", state ? " " : "", state ? state : "");
    (void)db_fail(db, what, *words ? words : "the connection is lost");
    hide_password(p, db->error);
    return SK_EIO;
}

/* They come with the answers to statements, and libpq keeps them until somebody takes them: who never asks for changes
 * must not hoard them. */
static void take_notifications(struct pg *p)
{
    for (PGnotify *n; (n = PQnotifies(p->conn)) != NULL; PQfreemem(n))
        p->told = true;
}

/* The answer, good or bad; a good one is the caller's. */
static int answered(struct db *db, PGresult *res, PGresult **out)
{
    ExecStatusType st = PQresultStatus(res);
    take_notifications(db->impl);
    if (st == PGRES_COMMAND_OK || st == PGRES_TUPLES_OK) {
        *out = res;
        return SK_OK;
    }
    int rc = pg_fail(db, res);
    PQclear(res);
    return rc;
}

/* Of several statements the last one's result. */
static int run_for(struct db *db, const char *sql, PGresult **out)
{
    const struct pg *p = db->impl;
    return answered(db, PQexec(p->conn, sql), out);
}

static int run(struct db *db, const char *sql)
{
    PGresult *res = NULL;
    int rc = run_for(db, sql, &res);
    PQclear(res);
    return rc;
}

/* The text of a broken connection string is not repeated: it may hold the password. */
static int keep_password(struct pg *p)
{
    char *err = NULL;
    PQconninfoOption *o = PQconninfoParse(p->where, &err);
    PQfreemem(err);
    if (!o)
        return SK_EINVAL;
    for (const PQconninfoOption *i = o; i->keyword; i++)
        if (strcmp(i->keyword, "password") == 0 && i->val && *i->val)
            p->password = strdup(i->val);
    PQconninfoFree(o);
    return SK_OK;
}

static void quiet(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

static int connect_now(struct db *db)
{
    /* What stands behind dbname is stronger than what is before it. */
    static const char *const names[] = {"connect_timeout",  "keepalives_idle",  "keepalives_interval",
                                        "keepalives_count", "tcp_user_timeout", "application_name",
                                        "dbname",           "client_encoding",  NULL};
    struct pg *p = db->impl;
    const char *values[] = {"5", "10", "5", "3", "15000", "sekisho-manager", p->where, "UTF8", NULL};
    PQfinish(p->conn);
    memset(db->cached, 0, sizeof db->cached);
    p->tried = sk_now_mono();
    p->conn = PQconnectdbParams(names, values, 1);
    db->generation++;
    if (PQstatus(p->conn) != CONNECTION_OK)
        return pg_fail(db, NULL);
    PQsetNoticeProcessor(p->conn, quiet, NULL);
    p->tried = 0;
    p->lost = true;
    return run(db, SESSION);
}

static bool alive(const struct pg *p)
{
    return PQstatus(p->conn) == CONNECTION_OK;
}

static int ensure(struct db *db)
{
    struct pg *p = db->impl;
    if (alive(p))
        return SK_OK;
    if (p->tried && sk_now_mono() - p->tried < RETRY_NS)
        return SK_EIO; /* db->error still has the reason */
    return connect_now(db);
}

static int pg_open(struct db *db, const char *where, char *why, size_t cap)
{
    struct pg *p = calloc(1, sizeof *p);
    db->impl = p;
    if (!p || !(p->where = strdup(where)))
        return SK_ENOMEM;
    if (keep_password(p) != SK_OK) {
        snprintf(why, cap, "this is neither sqlite:PATH nor a connection string of PostgreSQL");
        return SK_EINVAL;
    }
    int rc = connect_now(db);
    if (rc != SK_OK)
        snprintf(why, cap, "%s", db->error);
    p->lost = false;
    return rc;
}

static void wipe(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

static void pg_close(struct db *db)
{
    struct pg *p = db->impl;
    if (!p)
        return;
    PQfinish(p->conn);
    wipe(p->where);
    wipe(p->password);
    free(p);
}

static int pg_begin(struct db *db)
{
    struct pg *p = db->impl;
    p->begun = false;
    return ensure(db);
}

/* Nothing has been changed yet: when the connection turns out to be dead, the same is tried on a new one. What has been
 * read before it is as good as what is read behind it: each statement sees what is committed when it begins. */
static int begin_with(struct db *db, const char *text, PGresult **out)
{
    struct pg *p = db->impl;
    int rc = ensure(db);
    if (rc == SK_OK)
        rc = run_for(db, text, out);
    if (rc != SK_OK && !alive(p) && connect_now(db) == SK_OK)
        rc = run_for(db, text, out);
    p->begun = rc == SK_OK;
    return rc;
}

static int begin_now(struct db *db)
{
    const struct pg *p = db->impl;
    PGresult *res = NULL;
    if (!db->in_txn || p->begun)
        return SK_OK;
    int rc = begin_with(db, "BEGIN", &res);
    PQclear(res);
    return rc;
}

static void pg_rollback(struct db *db)
{
    struct pg *p = db->impl;
    p->begun = false;
    if (alive(p) && PQtransactionStatus(p->conn) != PQTRANS_IDLE) {
        char kept[DB_ERROR_MAX];
        memcpy(kept, db->error, sizeof kept);
        (void)run(db, "ROLLBACK");
        memcpy(db->error, kept, sizeof kept);
    }
}

static int pg_commit(struct db *db, const char *last, bool notify)
{
    char text[512];
    struct pg *p = db->impl;
    int rc = SK_OK;
    if (!p->begun)
        return SK_OK;
    if ((size_t)snprintf(text, sizeof text, "%s%s%sCOMMIT", last ? last : "", last ? ";" : "",
                         notify ? "NOTIFY " CHANNEL ";" : "") >= sizeof text)
        rc = db_fail(db, "postgresql", "statement too long");
    else if (PQtransactionStatus(p->conn) != PQTRANS_INTRANS)
        rc = db_fail(db, "postgresql", "the transaction has failed"); /* COMMIT would say OK, and roll back */
    if (rc == SK_OK)
        rc = run(db, text);
    if (rc != SK_OK)
        pg_rollback(db);
    p->begun = false;
    return rc;
}

static int pg_script(struct db *db, const char *sql)
{
    char *text = db_dialect(sql, "BYTEA");
    int rc = text ? begin_now(db) : SK_ENOMEM;
    if (rc == SK_OK)
        rc = run(db, text);
    free(text);
    return rc;
}

/* The rows as a table of arrays: unnest($1::bigint[],$2::text[]) AS r(c1,c2) */
static void rows_text(const struct db_value *v, unsigned cols, char *out, size_t cap)
{
    size_t len = (size_t)snprintf(out, cap, "unnest(");
    for (unsigned i = 0; i < cols && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s$%u::%s", i ? "," : "", i + 1, types[v[i].type].name);
    for (unsigned i = 0; i < cols && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%sc%u", i ? "," : ") AS r(", i + 1);
    if (len < cap)
        (void)snprintf(out + len, cap - len, ")");
}

static bool translate(const char *sql, const char *rows, char *out, size_t cap)
{
    const struct db_words words = {
        .param = "$", .column = "r.c", .rows = rows, .lateral = "LATERAL", .lock = "FOR UPDATE"};
    return db_translate(&words, sql, out, cap);
}

/* Names are the slots' numbers; the slot remembers that the server knows it. many: v is the first of many rows. */
static int prepare(struct db *db, const char *sql, const struct db_value *v, unsigned n, bool many, char name[16])
{
    struct pg *p = db->impl;
    void **slot = db_cache_slot(db, sql);
    if (!slot)
        return db_fail(db, "postgresql", "too many statements");
    snprintf(name, 16, "s%zu", (size_t)(slot - db->cached));
    if (*slot)
        return SK_OK;
    char text[DB_SQL_MAX], rows[1024] = "";
    Oid oids[DB_PARAMS_MAX];
    if (many)
        rows_text(v, n, rows, sizeof rows);
    if (!translate(sql, rows, text, sizeof text))
        return db_fail(db, "postgresql", "statement too long");
    for (unsigned i = 0; i < n; i++)
        oids[i] = many ? types[v[i].type].array : types[v[i].type].one;
    PGresult *res = PQprepare(p->conn, name, text, (int)n, oids);
    int rc = PQresultStatus(res) == PGRES_COMMAND_OK ? SK_OK : pg_fail(db, res);
    PQclear(res);
    if (rc == SK_OK)
        *slot = p;
    return rc;
}

/* What goes with a statement, as libpq takes it. */
struct params {
    const char *values[DB_PARAMS_MAX];
    int lens[DB_PARAMS_MAX], formats[DB_PARAMS_MAX]; /* all of them binary; text is the same in both formats */
};

static int send_prepared(struct db *db, const char *name, const struct params *a, unsigned n, PGresult **out)
{
    const struct pg *p = db->impl;
    return answered(db, PQexecPrepared(p->conn, name, (int)n, a->values, a->lens, a->formats, 1), out);
}

static int execute(struct db *db, const char *sql, const struct db_value *v, unsigned n, PGresult **out)
{
    char name[16];
    int64_t ints[DB_PARAMS_MAX];
    struct params a;
    int rc = prepare(db, sql, v, n, false, name);
    if (rc != SK_OK)
        return rc;
    for (unsigned i = 0; i < n; i++) {
        ints[i] = (int64_t)htobe64((uint64_t)v[i].i);
        a.values[i] = v[i].type == DB_INT ? (const char *)&ints[i] : v[i].p ? v[i].p : "";
        a.lens[i] = v[i].type == DB_INT ? (int)sizeof ints[i] : (int)v[i].len;
        a.formats[i] = 1;
    }
    return send_prepared(db, name, &a, n, out);
}

static void put32(char **at, uint32_t v)
{
    v = htobe32(v);
    memcpy(*at, &v, sizeof v);
    *at += sizeof v;
}

static size_t value_len(const struct db_value *v)
{
    return v->type == DB_INT ? sizeof v->i : v->len;
}

#define ARRAY_HEAD 20 /* dimensions, nulls, type; length, first index */

static size_t array_len(const struct db_value *v, unsigned cols, unsigned n)
{
    size_t len = ARRAY_HEAD;
    for (unsigned i = 0; i < n; i++)
        len += sizeof(uint32_t) + value_len(&v[(size_t)i * cols]);
    return len;
}

/* One column of n rows. */
static void put_array(char *at, const struct db_value *v, unsigned cols, unsigned n)
{
    put32(&at, 1);
    put32(&at, 0);
    put32(&at, types[v->type].one);
    put32(&at, n);
    put32(&at, 1);
    for (unsigned i = 0; i < n; i++, v += cols) {
        int64_t number = (int64_t)htobe64((uint64_t)v->i);
        size_t len = value_len(v);
        put32(&at, (uint32_t)len);
        if (len > 0)
            memcpy(at, v->type == DB_INT ? (const void *)&number : v->p, len);
        at += len;
    }
}

static int execute_many(struct db *db, const char *sql, const struct db_value *v, unsigned cols, unsigned n,
                        PGresult **out)
{
    char name[16], *all, *at;
    struct params a;
    size_t size = 0;
    int rc = prepare(db, sql, v, cols, true, name);
    if (rc != SK_OK)
        return rc;
    for (unsigned i = 0; i < cols; i++) {
        size_t len = array_len(v + i, cols, n);
        if (len > INT32_MAX)
            return db_fail(db, "postgresql", "too much at once");
        a.lens[i] = (int)len;
        a.formats[i] = 1;
        size += len;
    }
    if (!(all = malloc(size)))
        return SK_ENOMEM;
    at = all;
    for (unsigned i = 0; i < cols; at += a.lens[i++]) {
        a.values[i] = at;
        put_array(at, v + i, cols, n);
    }
    rc = send_prepared(db, name, &a, cols, out);
    free(all);
    return rc;
}

struct question {
    const char *sql;
    const struct db_value *v;
    unsigned cols, n; /* n 0: cols parameters, no rows */
};

static int say(struct db *db, const struct question *q, PGresult **out)
{
    return q->n ? execute_many(db, q->sql, q->v, q->cols, q->n, out) : execute(db, q->sql, q->v, q->cols, out);
}

/* What has changed nothing may be said again on a new connection when the old one was found dead. */
static int ask(struct db *db, const struct question *q, PGresult **out)
{
    struct pg *p = db->impl;
    if (p->begun)
        return say(db, q, out);
    int rc = ensure(db);
    if (rc != SK_OK)
        return rc;
    rc = say(db, q, out);
    if (rc == SK_OK || alive(p) || connect_now(db) != SK_OK)
        return rc;
    return say(db, q, out);
}

static int change(struct db *db, const struct question *q, int64_t *rows)
{
    PGresult *res = NULL;
    int rc = begin_now(db);
    if (rc == SK_OK)
        rc = ask(db, q, &res);
    *rows = rc == SK_OK ? strtoll(PQcmdTuples(res), NULL, 10) : 0;
    PQclear(res);
    return rc;
}

static int pg_query(struct db *db, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r)
{
    PGresult *res = NULL;
    const struct question q = {sql, v, n, 0};
    int rc = ask(db, &q, &res);
    r->result = res;
    return rc;
}

static int pg_exec(struct db *db, const char *sql, const struct db_value *v, unsigned n, int64_t *rows)
{
    const struct question q = {sql, v, n, 0};
    return change(db, &q, rows);
}

static int pg_many(struct db *db, const char *sql, const struct db_value *v, unsigned cols, unsigned n,
                   struct db_rows *r, int64_t *rows)
{
    const struct question q = {sql, v, cols, n};
    PGresult *res = NULL;
    if (!r)
        return change(db, &q, rows);
    int rc = ask(db, &q, &res);
    r->result = res;
    return rc;
}

/* Begins the transaction on the same way. */
static int pg_lock(struct db *db, const char *sql, struct db_rows *r)
{
    const struct pg *p = db->impl;
    char text[512];
    PGresult *res = NULL;
    if (p->begun)
        return pg_query(db, sql, NULL, 0, r);
    size_t len = (size_t)snprintf(text, sizeof text, "BEGIN;");
    if (!translate(sql, "", text + len, sizeof text - len))
        return db_fail(db, "postgresql", "statement too long");
    int rc = begin_with(db, text, &res);
    r->result = res;
    return rc;
}

static int pg_next(struct db_rows *r)
{
    return ++r->row < PQntuples(r->result) ? SK_OK : SK_EEND;
}

static int64_t pg_int(const struct db_rows *r, int col)
{
    uint64_t v = 0;
    if (PQgetisnull(r->result, r->row, col))
        return 0;
    if (PQfformat(r->result, col) == 0) /* of a statement that went with others */
        return strtoll(PQgetvalue(r->result, r->row, col), NULL, 10);
    const uint8_t *p = (const uint8_t *)PQgetvalue(r->result, r->row, col);
    int len = PQgetlength(r->result, r->row, col);
    for (int i = 0; i < len && i < 8; i++)
        v = v << 8 | p[i];
    return len == 4 ? (int32_t)v : (int64_t)v; /* an integer or a bigint; a boolean is one byte */
}

static const char *pg_text(const struct db_rows *r, int col)
{
    return PQgetvalue(r->result, r->row, col);
}

static const void *pg_bytes(const struct db_rows *r, int col, size_t *len)
{
    *len = (size_t)PQgetlength(r->result, r->row, col);
    return PQgetvalue(r->result, r->row, col);
}

static void pg_done(struct db_rows *r)
{
    PQclear(r->result);
}

static int pg_lock_schema(struct db *db)
{
    int rc = begin_now(db);
    return rc == SK_OK ? run(db, "SELECT pg_advisory_xact_lock(" LOCK_SCHEMA ")") : rc;
}

static int one_int(struct db *db, const char *sql, int64_t *out)
{
    struct db_rows r;
    int rc = db_query(db, sql, NULL, 0, &r);
    if (rc == SK_OK && (rc = db_next(&r)) == SK_OK)
        *out = db_int(&r, 0);
    db_done(&r);
    return rc == SK_EEND ? SK_EIO : rc;
}

/* The lock is the session's. An answer over the connection on which it was taken shows that the session lives. */
static int pg_lead(struct db *db)
{
    struct pg *p = db->impl;
    int64_t v = 0;
    int rc = one_int(db, "SELECT 1", &v);
    if (rc != SK_OK || p->lead == db->generation)
        return rc;
    rc = one_int(db, "SELECT pg_try_advisory_lock(" LOCK_LEAD ")", &v);
    if (rc == SK_OK && v)
        p->lead = db->generation;
    return rc != SK_OK ? rc : v ? SK_OK : SK_EAGAIN;
}

static bool pg_changed(struct db *db)
{
    struct pg *p = db->impl;
    if (!p->begun && ensure(db) != SK_OK)
        return false;
    (void)PQconsumeInput(p->conn);
    take_notifications(p);
    bool changed = p->lost || p->told; /* what was told while it was lost, nobody knows */
    p->lost = p->told = false;
    return changed;
}

static int pg_changed_fd(const struct db *db)
{
    const struct pg *p = db->impl;
    return PQsocket(p->conn);
}

static int64_t pg_size(struct db *db)
{
    int64_t v = -1;
    return one_int(db, "SELECT pg_database_size(current_database())", &v) == SK_OK ? v : -1;
}

const struct db_ops db_pg = {
    .kind = "postgresql",
    .open = pg_open,
    .close = pg_close,
    .begin = pg_begin,
    .commit = pg_commit,
    .rollback = pg_rollback,
    .script = pg_script,
    .exec = pg_exec,
    .query = pg_query,
    .many = pg_many,
    .lock = pg_lock,
    .next = pg_next,
    .col_int = pg_int,
    .col_text = pg_text,
    .col_bytes = pg_bytes,
    .done = pg_done,
    .lock_schema = pg_lock_schema,
    .lead = pg_lead,
    .changed = pg_changed,
    .changed_fd = pg_changed_fd,
    .size = pg_size,
};
