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

#define OID_INT8  20
#define OID_TEXT  25
#define OID_BYTEA 17

#define CHANNEL     "sekisho_changed"
#define LOCK_LEAD   "7310579606210376291" /* advisory locks are numbers; these two are ours */
#define LOCK_SCHEMA "7310579606210376292"
#define RETRY_NS    SK_NS_PER_S /* a server that is away is asked no more often than that */
#define SQL_CAP     4096

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

static int run(struct db *db, const char *sql)
{
    struct pg *p = db->impl;
    PGresult *res = PQexec(p->conn, sql);
    ExecStatusType st = PQresultStatus(res);
    int rc = st == PGRES_COMMAND_OK || st == PGRES_TUPLES_OK ? SK_OK : pg_fail(db, res);
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

/* Nothing has been done yet: when the connection turns out to be dead, the same is tried on a new one. */
static int pg_begin(struct db *db)
{
    struct pg *p = db->impl;
    int rc = ensure(db);
    if (rc == SK_OK)
        rc = run(db, "BEGIN");
    if (rc == SK_OK || alive(p) || connect_now(db) != SK_OK)
        return rc;
    return run(db, "BEGIN");
}

static void pg_rollback(struct db *db)
{
    struct pg *p = db->impl;
    if (alive(p) && PQtransactionStatus(p->conn) != PQTRANS_IDLE) {
        char kept[DB_ERROR_MAX];
        memcpy(kept, db->error, sizeof kept);
        (void)run(db, "ROLLBACK");
        memcpy(db->error, kept, sizeof kept);
    }
}

static int pg_commit(struct db *db, bool notify)
{
    struct pg *p = db->impl;
    int rc = notify ? run(db, "NOTIFY " CHANNEL) : SK_OK;
    if (rc == SK_OK && PQtransactionStatus(p->conn) != PQTRANS_INTRANS)
        rc = db_fail(db, "postgresql", "the transaction has failed"); /* COMMIT would say OK, and roll back */
    if (rc == SK_OK)
        rc = run(db, "COMMIT");
    if (rc != SK_OK)
        pg_rollback(db);
    return rc;
}

static int pg_script(struct db *db, const char *sql)
{
    char *text = db_dialect(sql, "BYTEA");
    int rc = text ? run(db, text) : SK_ENOMEM;
    free(text);
    return rc;
}

/* "?" to "$1", "$2" ... There is no "?" in a literal of ours. */
static bool number_params(const char *sql, char *out, size_t cap)
{
    size_t len = 0;
    unsigned n = 0;
    for (; *sql && len + 8 < cap; sql++) {
        if (*sql == '?')
            len += (size_t)snprintf(out + len, cap - len, "$%u", ++n);
        else
            out[len++] = *sql;
    }
    out[len] = '\0';
    return *sql == '\0';
}

static Oid oid_of(enum db_type t)
{
    return t == DB_INT ? OID_INT8 : t == DB_TEXT ? OID_TEXT : OID_BYTEA;
}

/* Names are the slots' numbers; the slot remembers that the server knows it. */
static int prepare(struct db *db, const char *sql, const struct db_value *v, unsigned n, char name[16])
{
    struct pg *p = db->impl;
    void **slot = db_cache_slot(db, sql);
    if (!slot)
        return db_fail(db, "postgresql", "too many statements");
    snprintf(name, 16, "s%zu", (size_t)(slot - db->cached));
    if (*slot)
        return SK_OK;
    char text[SQL_CAP];
    Oid types[DB_PARAMS_MAX];
    if (!number_params(sql, text, sizeof text))
        return db_fail(db, "postgresql", "statement too long");
    for (unsigned i = 0; i < n; i++)
        types[i] = oid_of(v[i].type);
    PGresult *res = PQprepare(p->conn, name, text, (int)n, types);
    int rc = PQresultStatus(res) == PGRES_COMMAND_OK ? SK_OK : pg_fail(db, res);
    PQclear(res);
    if (rc == SK_OK)
        *slot = p;
    return rc;
}

static int execute(struct db *db, const char *sql, const struct db_value *v, unsigned n, PGresult **out)
{
    struct pg *p = db->impl;
    char name[16];
    int64_t ints[DB_PARAMS_MAX];
    const char *values[DB_PARAMS_MAX];
    int lens[DB_PARAMS_MAX], formats[DB_PARAMS_MAX];
    int rc = prepare(db, sql, v, n, name);
    if (rc != SK_OK)
        return rc;
    for (unsigned i = 0; i < n; i++) {
        ints[i] = (int64_t)htobe64((uint64_t)v[i].i);
        values[i] = v[i].type == DB_INT ? (const char *)&ints[i] : v[i].p ? v[i].p : "";
        lens[i] = v[i].type == DB_INT ? (int)sizeof ints[i] : (int)v[i].len;
        formats[i] = 1; /* text is the same in both formats */
    }
    PGresult *res = PQexecPrepared(p->conn, name, (int)n, values, lens, formats, 1);
    ExecStatusType st = PQresultStatus(res);
    if (st != PGRES_COMMAND_OK && st != PGRES_TUPLES_OK) {
        rc = pg_fail(db, res);
        PQclear(res);
        return rc;
    }
    *out = res;
    return SK_OK;
}

/* A statement outside a transaction may be said again on a new connection when the old one was found dead: only reads
 * are ever said there. */
static int ask(struct db *db, const char *sql, const struct db_value *v, unsigned n, PGresult **out)
{
    struct pg *p = db->impl;
    if (db->in_txn)
        return execute(db, sql, v, n, out);
    int rc = ensure(db);
    if (rc != SK_OK)
        return rc;
    rc = execute(db, sql, v, n, out);
    if (rc == SK_OK || alive(p) || connect_now(db) != SK_OK)
        return rc;
    return execute(db, sql, v, n, out);
}

static int pg_exec(struct db *db, const char *sql, const struct db_value *v, unsigned n, int64_t *rows)
{
    PGresult *res = NULL;
    int rc = ask(db, sql, v, n, &res);
    *rows = rc == SK_OK ? strtoll(PQcmdTuples(res), NULL, 10) : 0;
    PQclear(res);
    return rc;
}

static int pg_query(struct db *db, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r)
{
    PGresult *res = NULL;
    int rc = ask(db, sql, v, n, &res);
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
    return run(db, "SELECT pg_advisory_xact_lock(" LOCK_SCHEMA ")");
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
    if (!db->in_txn && ensure(db) != SK_OK)
        return false;
    bool changed = p->lost; /* what was told in between, nobody knows */
    p->lost = false;
    (void)PQconsumeInput(p->conn);
    for (PGnotify *n; (n = PQnotifies(p->conn)) != NULL; PQfreemem(n))
        changed = true;
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
