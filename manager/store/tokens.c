#include "inside.h"

#define COLUMNS "id,hash,kind,created,expires,uses_left,used,last_used,revoked,role,note,tags"

static void take_token(void *arg, const struct db_rows *r)
{
    struct store_token *t = arg;
    db_copy(r, 0, t->id, sizeof t->id);
    db_copy(r, 1, t->hash, sizeof t->hash);
    t->kind = db_int(r, 2) == STORE_TOKEN_OPERATOR ? STORE_TOKEN_OPERATOR : STORE_TOKEN_ENROL;
    t->created = db_int(r, 3);
    t->expires = db_int(r, 4);
    t->uses_left = db_int(r, 5);
    t->used = db_int(r, 6);
    t->last_used = db_int(r, 7);
    t->revoked = db_int(r, 8) != 0;
    db_copy(r, 9, t->role, sizeof t->role);
    db_copy(r, 10, t->note, sizeof t->note);
    db_copy(r, 11, t->tags, sizeof t->tags);
}

int store_token_add(struct store *s, const struct store_token *t)
{
    int rc = inside_change(s,
                           "INSERT INTO token(" COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?)"
                           " ON CONFLICT DO NOTHING",
                           ARGS(T(t->id), T(t->hash), I(t->kind), I(t->created), I(t->expires), I(t->uses_left),
                                I(t->used), I(t->last_used), I(t->revoked), T(t->role), T(t->note), T(t->tags)));
    return rc == SK_ENOENT ? SK_EEXIST : rc;
}

int store_token_find(struct store *s, const char *hash, struct store_token *out)
{
    memset(out, 0, sizeof *out);
    return inside_one(s, "SELECT " COLUMNS " FROM token WHERE hash=?", ARGS(T(hash)), take_token, out);
}

/* The conditions stand in the statement: two that come at the same time do not both get the last use. */
int store_token_use(struct store *s, const char *hash, enum store_token_kind kind, int64_t now, struct store_token *out)
{
    bool own;
    int64_t rows = 0;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = db_exec(s->db,
                     "UPDATE token SET used=used+1, last_used=?,"
                     " uses_left = CASE WHEN uses_left > 0 THEN uses_left - 1 ELSE uses_left END"
                     " WHERE hash=? AND kind=? AND revoked=0 AND expires > ? AND uses_left <> 0",
                     ARGS(I(now), T(hash), I(kind), I(now)), &rows);
    if (rc == SK_OK)
        rc = store_token_find(s, hash, out);
    if (rc == SK_OK && rows == 0)
        rc = out->kind == kind ? SK_EPERM : SK_ENOENT;
    return inside_leave(s, own, rc);
}

int store_token_revoke(struct store *s, const char *id)
{
    bool own;
    int rc = inside_enter(s, &own);
    s->notify = true;
    if (rc == SK_OK)
        rc = inside_change(s, "UPDATE token SET revoked=1 WHERE id=?", ARGS(T(id)));
    return inside_leave(s, own, rc);
}

struct token_reader {
    store_token_fn *fn;
    void *arg;
};

static void give_token(void *arg, const struct db_rows *r)
{
    const struct token_reader *g = arg;
    struct store_token t;
    take_token(&t, r);
    g->fn(g->arg, &t);
}

int store_tokens(struct store *s, store_token_fn *fn, void *arg)
{
    struct token_reader g = {fn, arg};
    return inside_each(s, "SELECT " COLUMNS " FROM token ORDER BY created, id", NULL, 0, give_token, &g);
}
