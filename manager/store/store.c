#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ahead.h"
#include "base/path.h"
#include "schema.h"

#define SAID_AT (1u << 20) /* bytes: what waits to be said is in memory */

int store_open(const char *where, struct store **out, char *why, size_t cap)
{
    *out = NULL;
    snprintf(why, cap, "out of memory");
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return SK_ENOMEM;
    sk_hash_key_random(&s->key);
    sk_arena_init(&s->memory, 64u << 10, 0);
    s->known = calloc(KNOWN_BUCKETS, sizeof(struct known *));
    if (!s->known) {
        store_close(s);
        return SK_ENOMEM;
    }
    later_clear(s);
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

int store_look(const char *where, int64_t *version, int64_t *known, char *why, size_t cap)
{
    static const char file[] = "sqlite:";
    struct db *db = NULL;
    *version = 0;
    *known = schema_current.n;
    if (strncmp(where, file, sizeof file - 1) == 0 && access(where + sizeof file - 1, F_OK) != 0 && errno == ENOENT)
        return sk_path_makeable(where + sizeof file - 1, why, cap) == SK_OK ? SK_ENOENT : SK_EIO;
    int rc = db_open(where, &db, why, cap);
    if (rc != SK_OK)
        return rc;
    rc = schema_look(db, version);
    if (rc != SK_OK)
        snprintf(why, cap, "%s", db_error(db));
    db_close(db);
    return rc;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    db_close(s->db);
    later_free(s);
    sk_arena_free(&s->memory);
    free(s->known);
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
    known_clear(s);
    later_clear(s);
    sk_arena_reset(&s->memory);
    s->open = s->failed = s->locked = s->notify = false;
}

/* NULL: they are as they were. */
static const char *numbers_text(const struct store *s, char *buf, size_t cap)
{
    const struct numbers *n = &s->numbers;
    if (!s->locked || memcmp(n, &s->stored, sizeof *n) == 0)
        return NULL;
    (void)snprintf(buf, cap, "UPDATE state SET entry=%lld,first=%lld,event=%lld,audit=%lld,outgoing=%lld WHERE one=1",
                   (long long)n->entry, (long long)n->first, (long long)n->event, (long long)n->audit,
                   (long long)n->outgoing);
    return buf;
}

static int finish(struct store *s)
{
    char text[256];
    int rc = later_flush(s);
    if (rc == SK_OK)
        rc = db_commit(s->db, numbers_text(s, text, sizeof text), s->notify);
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
    if (rc == SK_OK && s->later.bytes > SAID_AT)
        rc = inside_settle(s);
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

/* Whoever had to wait reads what the last holder has committed. */
int inside_lock(struct store *s)
{
    struct db_rows r;
    if (s->locked)
        return SK_OK;
    if (s->failed)
        return SK_EIO;
    int rc = db_lock(s->db, "SELECT entry,first,event,audit,outgoing FROM state WHERE one=1 @LOCK", &r);
    if (rc == SK_OK && (rc = db_next(&r)) == SK_OK)
        take_numbers(&s->numbers, &r);
    db_done(&r);
    s->stored = s->numbers;
    s->locked = rc == SK_OK;
    s->failed = s->failed || rc != SK_OK;
    return rc == SK_OK ? SK_OK : SK_EIO;
}

int inside_settle(struct store *s)
{
    if (s->failed)
        return SK_EIO;
    int rc = later_flush(s);
    s->failed = rc != SK_OK;
    return rc;
}

int inside_change(struct store *s, const char *sql, const struct db_value *v, unsigned n)
{
    bool own;
    int64_t rows = 0;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_settle(s);
    if (rc == SK_OK)
        rc = db_exec(s->db, sql, v, n, &rows);
    if (rc == SK_OK && rows == 0)
        rc = SK_ENOENT;
    return inside_leave(s, own, rc);
}

int inside_query(struct store *s, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r)
{
    *r = (struct db_rows){.db = s->db};
    int rc = inside_settle(s);
    if (rc != SK_OK)
        return rc;
    rc = db_query(s->db, sql, v, n, r);
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
