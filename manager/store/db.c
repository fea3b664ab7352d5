#include "db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct db_value db_t(const char *s)
{
    return (struct db_value){.type = DB_TEXT, .p = s, .len = strlen(s)};
}

struct db_value db_b(const void *p, size_t len)
{
    return (struct db_value){.type = DB_BYTES, .p = p, .len = len};
}

/* How long the sequence is that begins with c; 0: none does. */
static size_t utf8_len(uint8_t c)
{
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return 2;
    if (c >= 0xe0 && c <= 0xef)
        return 3;
    return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

/* Overlong forms, surrogates and what is above U+10FFFF: all seen in the second byte. */
static bool utf8_second_ok(uint8_t c, uint8_t next)
{
    switch (c) {
    case 0xe0: return next >= 0xa0;
    case 0xed: return next <= 0x9f;
    case 0xf0: return next >= 0x90;
    case 0xf4: return next <= 0x8f;
    default: return true;
    }
}

/* PostgreSQL refuses what is no UTF-8, and the transaction with it; so nothing of it gets there. */
static bool utf8_ok(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = utf8_len(p[i]);
        if (n == 0 || n > len - i || p[i] == 0)
            return false;
        for (size_t k = 1; k < n; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        if (n > 1 && !utf8_second_ok(p[i], p[i + 1]))
            return false;
        i += n;
    }
    return true;
}

bool db_text_ok(const char *text)
{
    return utf8_ok((const uint8_t *)text, strlen(text));
}

static bool texts_ok(const struct db_value *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].type == DB_TEXT && !utf8_ok(v[i].p, v[i].len))
            return false;
    return true;
}

static bool values_ok(const struct db_value *v, unsigned n)
{
    return n <= DB_PARAMS_MAX && texts_ok(v, n);
}

int db_fail(struct db *db, const char *what, const char *words)
{
    int len = (int)strcspn(words, "\n");
    snprintf(db->error, sizeof db->error, "%s: %.*s", what, len, words);
    return SK_EIO;
}

void **db_cache_slot(struct db *db, const char *sql)
{
    size_t at = ((uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15)) >> 56;
    for (size_t i = 0; i < DB_CACHE; i++) {
        size_t k = (at + i) % DB_CACHE;
        if (!db->cached_sql[k])
            db->cached_sql[k] = sql;
        if (db->cached_sql[k] == sql)
            return &db->cached[k];
    }
    return NULL;
}

char *db_dialect(const char *sql, const char *bytes)
{
    const size_t token = strlen(DB_BYTES_TOKEN);
    char *out = malloc(strlen(sql) + 1); /* no type's name is longer than the token */
    if (!out)
        return NULL;
    char *w = out;
    for (const char *p = sql; *p;) {
        if (strncmp(p, DB_BYTES_TOKEN, token) != 0) {
            *w++ = *p++;
            continue;
        }
        w = stpcpy(w, bytes);
        p += token;
    }
    *w = '\0';
    return out;
}

static size_t put(char *out, size_t cap, size_t len, const char *text)
{
    return len + (len < cap ? (size_t)snprintf(out + len, cap - len, "%s", text) : 0);
}

static size_t put_number(char *out, size_t cap, size_t len, const char *text, unsigned n)
{
    len = put(out, cap, len, text);
    return len + (len < cap ? (size_t)snprintf(out + len, cap - len, "%u", n) : 0);
}

static const char *word_at(const char *at, const char *word)
{
    size_t len = strlen(word);
    return strncmp(at, word, len) == 0 ? at + len : NULL;
}

/* There is no "?" and no "@" in a literal of ours. */
bool db_translate(const struct db_words *w, const char *sql, char *out, size_t cap)
{
    size_t len = 0;
    unsigned params = 0;
    const char *next;
    for (const char *p = sql; *p && len < cap; p = next) {
        const char *const words[][2] = {{"@ROWS", w->rows}, {"@LATERAL", w->lateral}, {"@LOCK", w->lock}};
        next = NULL;
        for (size_t i = 0; *p == '@' && !next && i < sizeof words / sizeof words[0]; i++)
            if ((next = word_at(p, words[i][0])) != NULL)
                len = put(out, cap, len, words[i][1]);
        if (next)
            continue;
        next = p + 1;
        if (*p == '@') {
            char *end;
            len = put_number(out, cap, len, w->column, (unsigned)strtoul(p + 1, &end, 10));
            next = end;
        } else if (*p == '?' && w->param)
            len = put_number(out, cap, len, w->param, ++params);
        else
            out[len++] = *p;
    }
    if (len >= cap)
        return false;
    out[len] = '\0';
    return true;
}

int db_open(const char *where, struct db **out, char *why, size_t cap)
{
    *out = NULL;
    struct db *db = calloc(1, sizeof *db);
    if (!db)
        return SK_ENOMEM;
    bool file = strncmp(where, "sqlite:", 7) == 0;
    db->ops = file ? &db_sqlite : &db_pg;
    int rc = db->ops->open(db, file ? where + 7 : where, why, cap);
    if (rc == SK_OK)
        *out = db;
    else
        db_close(db);
    return rc;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    db->ops->close(db);
    free(db);
}

const char *db_kind(const struct db *db)
{
    return db->ops->kind;
}

const char *db_error(const struct db *db)
{
    return db->error;
}

uint64_t db_generation(const struct db *db)
{
    return db->generation;
}

int db_begin(struct db *db)
{
    int rc = db->ops->begin(db);
    db->in_txn = rc == SK_OK;
    return rc;
}

int db_commit(struct db *db, const char *last, bool notify)
{
    db->in_txn = false;
    return db->ops->commit(db, last, notify);
}

void db_rollback(struct db *db)
{
    db->in_txn = false;
    db->ops->rollback(db);
}

int db_script(struct db *db, const char *sql)
{
    return db->ops->script(db, sql);
}

int db_exec(struct db *db, const char *sql, const struct db_value *v, unsigned n, int64_t *rows)
{
    int64_t none;
    if (!values_ok(v, n))
        return SK_EINVAL;
    return db->ops->exec(db, sql, v, n, rows ? rows : &none);
}

int db_query(struct db *db, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r)
{
    *r = (struct db_rows){.db = db, .row = -1};
    return values_ok(v, n) ? db->ops->query(db, sql, v, n, r) : SK_EINVAL;
}

static int exec_each(struct db *db, const char *sql, const struct db_value *v, unsigned cols, unsigned n, int64_t *rows)
{
    int rc = SK_OK;
    for (unsigned i = 0; i < n && rc == SK_OK; i++) {
        int64_t changed = 0;
        rc = db->ops->exec(db, sql, v + (size_t)i * cols, cols, &changed);
        *rows += changed;
    }
    return rc;
}

int db_exec_many(struct db *db, const char *sql, const struct db_value *v, unsigned cols, unsigned n, int64_t *rows)
{
    int64_t none = 0;
    rows = rows ? rows : &none;
    *rows = 0;
    if (n == 0)
        return SK_OK;
    if (cols > DB_PARAMS_MAX || !texts_ok(v, (size_t)cols * n))
        return SK_EINVAL;
    return db->ops->many ? db->ops->many(db, sql, v, cols, n, NULL, rows) : exec_each(db, sql, v, cols, n, rows);
}

static int give_rows(struct db_rows *r, int rc, db_row_fn *row, void *arg)
{
    while (rc == SK_OK && (rc = db_next(r)) == SK_OK)
        row(arg, r);
    db_done(r);
    return rc == SK_EEND ? SK_OK : rc;
}

int db_query_many(struct db *db, const char *sql, const struct db_value *v, unsigned cols, unsigned n, db_row_fn *row,
                  void *arg)
{
    struct db_rows r = {.db = db, .row = -1};
    int rc = SK_OK;
    int64_t none;
    if (n == 0)
        return SK_OK;
    if (cols > DB_PARAMS_MAX || !texts_ok(v, (size_t)cols * n))
        return SK_EINVAL;
    if (db->ops->many)
        return give_rows(&r, db->ops->many(db, sql, v, cols, n, &r, &none), row, arg);
    for (unsigned i = 0; i < n && rc == SK_OK; i++) {
        r = (struct db_rows){.db = db, .row = -1};
        rc = give_rows(&r, db->ops->query(db, sql, v + (size_t)i * cols, cols, &r), row, arg);
    }
    return rc;
}

int db_lock(struct db *db, const char *sql, struct db_rows *r)
{
    *r = (struct db_rows){.db = db, .row = -1};
    return db->ops->lock(db, sql, r);
}

int db_next(struct db_rows *r)
{
    return r->db->ops->next(r);
}

int64_t db_int(const struct db_rows *r, int col)
{
    return r->db->ops->col_int(r, col);
}

const char *db_text(const struct db_rows *r, int col)
{
    const char *s = r->db->ops->col_text(r, col);
    return s ? s : "";
}

const void *db_bytes(const struct db_rows *r, int col, size_t *len)
{
    return r->db->ops->col_bytes(r, col, len);
}

void db_copy(const struct db_rows *r, int col, char *buf, size_t cap)
{
    const char *s = db_text(r, col);
    size_t len = strlen(s);
    if (len >= cap)
        for (len = cap - 1; len > 0 && ((uint8_t)s[len] & 0xc0) == 0x80;)
            len--;
    memcpy(buf, s, len);
    buf[len] = '\0';
}

void db_done(struct db_rows *r)
{
    if (r->result)
        r->db->ops->done(r);
    r->result = NULL;
}

int db_lock_schema(struct db *db)
{
    return db->ops->lock_schema(db);
}

int db_lead(struct db *db)
{
    return db->ops->lead(db);
}

bool db_changed(struct db *db)
{
    return db->ops->changed(db);
}

int db_changed_fd(const struct db *db)
{
    return db->ops->changed_fd(db);
}

int64_t db_size(struct db *db)
{
    return db->ops->size(db);
}
