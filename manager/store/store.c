#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include "inside.h"
#include "schema.h"

int store_open(const char *where, struct store **out, char *why, size_t cap)
{
    *out = NULL;
    snprintf(why, cap, "out of memory");
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return SK_ENOMEM;
    int rc = db_open(where, &s->db, why, cap);
    if (rc == SK_OK && (rc = schema_migrate(s->db, &schema_current)) != SK_OK)
        snprintf(why, cap, "%s", db_error(s->db));
    if (rc == SK_OK) {
        (void)db_changed(s->db);
        *out = s;
        *why = '\0';
    } else
        store_close(s);
    return rc;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    db_close(s->db);
    free(s);
}

const char *store_error(const struct store *s)
{
    return db_error(s->db);
}

const char *store_kind(const struct store *s)
{
    return db_kind(s->db);
}

bool store_changed(struct store *s)
{
    return db_changed(s->db);
}

int store_changed_fd(const struct store *s)
{
    return db_changed_fd(s->db);
}

int store_lead(struct store *s)
{
    return db_lead(s->db);
}

static void forget(struct store *s)
{
    s->open = s->failed = s->locked = s->notify = false;
}

static int write_numbers(struct store *s)
{
    const struct numbers *n = &s->numbers;
    if (!s->locked || memcmp(n, &s->stored, sizeof *n) == 0)
        return SK_OK;
    return db_exec(s->db, "UPDATE state SET entry=?,first=?,event=?,audit=?,outgoing=? WHERE one=1",
                   ARGS(I(n->entry), I(n->first), I(n->event), I(n->audit), I(n->outgoing)), NULL);
}

static int finish(struct store *s)
{
    int rc = write_numbers(s);
    if (rc == SK_OK)
        rc = db_commit(s->db, s->notify);
    else
        db_rollback(s->db);
    forget(s);
    return rc;
}

int store_begin(struct store *s)
{
    if (s->open)
        return SK_EINVAL;
    int rc = db_begin(s->db);
    forget(s);
    s->open = rc == SK_OK;
    return rc;
}

int store_commit(struct store *s)
{
    if (!s->open)
        return SK_EINVAL;
    if (!s->failed)
        return finish(s);
    store_rollback(s);
    return SK_EIO;
}

void store_rollback(struct store *s)
{
    if (s->open)
        db_rollback(s->db);
    forget(s);
}

int inside_enter(struct store *s, bool *own)
{
    *own = !s->open;
    if (!s->open)
        return store_begin(s);
    return s->failed ? SK_EIO : SK_OK;
}

int inside_leave(struct store *s, bool own, int rc)
{
    if (rc == SK_EIO || rc == SK_ENOMEM)
        s->failed = true;
    if (!own)
        return rc;
    if (rc == SK_OK)
        return store_commit(s);
    store_rollback(s);
    return rc;
}

static void take_numbers(void *arg, const struct db_rows *r)
{
    struct numbers *n = arg;
    *n = (struct numbers){db_int(r, 0), db_int(r, 1), db_int(r, 2), db_int(r, 3), db_int(r, 4)};
}

/* PostgreSQL locks the row with the UPDATE; the SELECT behind it sees what its last holder has committed. */
int inside_lock(struct store *s)
{
    if (s->locked)
        return SK_OK;
    int rc = db_exec(s->db, "UPDATE state SET entry=entry WHERE one=1", NULL, 0, NULL);
    if (rc == SK_OK)
        rc = inside_one(s, "SELECT entry,first,event,audit,outgoing FROM state WHERE one=1", NULL, 0, take_numbers,
                        &s->numbers);
    s->stored = s->numbers;
    s->locked = rc == SK_OK;
    return rc == SK_ENOENT ? SK_EIO : rc;
}

int inside_change(struct store *s, const char *sql, const struct db_value *v, unsigned n)
{
    bool own;
    int64_t rows = 0;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = db_exec(s->db, sql, v, n, &rows);
    if (rc == SK_OK && rows == 0)
        rc = SK_ENOENT;
    return inside_leave(s, own, rc);
}

int inside_query(struct store *s, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r)
{
    *r = (struct db_rows){.db = s->db};
    if (s->failed)
        return SK_EIO;
    int rc = db_query(s->db, sql, v, n, r);
    s->failed = s->open && rc == SK_EIO;
    return rc;
}

int inside_each(struct store *s, const char *sql, const struct db_value *v, unsigned n, inside_row *row, void *arg)
{
    struct db_rows r;
    int rc = inside_query(s, sql, v, n, &r);
    while (rc == SK_OK && (rc = db_next(&r)) == SK_OK)
        row(arg, &r);
    db_done(&r);
    if (rc == SK_EIO && s->open)
        s->failed = true;
    return rc == SK_EEND ? SK_OK : rc;
}

int inside_one(struct store *s, const char *sql, const struct db_value *v, unsigned n, inside_row *row, void *arg)
{
    struct db_rows r;
    int rc = inside_query(s, sql, v, n, &r);
    if (rc == SK_OK && (rc = db_next(&r)) == SK_OK)
        row(arg, &r);
    db_done(&r);
    if (rc == SK_EIO && s->open)
        s->failed = true;
    return rc == SK_EEND ? SK_ENOENT : rc;
}

static void take_int(void *arg, const struct db_rows *r)
{
    *(int64_t *)arg = db_int(r, 0);
}

int inside_int(struct store *s, const char *sql, const struct db_value *v, unsigned n, int64_t *out)
{
    *out = 0;
    int rc = inside_one(s, sql, v, n, take_int, out);
    return rc == SK_ENOENT ? SK_OK : rc;
}

struct target_text inside_target(const struct sk_prefix *p)
{
    struct target_text t = {.s = ""};
    sk_prefix_format(p, t.s);
    return t;
}

struct sk_prefix inside_prefix(const char *text)
{
    struct sk_prefix p = {.len = 128};
    if (sk_prefix_parse(text, strlen(text), true, &p) != SK_OK)
        memset(&p, 0, sizeof p); /* nobody but us writes them */
    return p;
}
