#include <stdlib.h>
#include "inside_blocks.h"

#define COLUMNS "agent,id,target,created,expires,ended,why,origin,cause,sid,gid,score,repeats,reason"

static int insert_block(struct store *s, const struct store_block *b, const char *target, int64_t now, int64_t *rows)
{
    return db_exec(s->db,
                   "INSERT INTO block(" COLUMNS ",latest) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                   ARGS(T(b->agent), T(b->id), T(target), I(b->created), I(b->expires), I(b->ended), T(b->why),
                        T(b->origin), T(b->cause), I(b->sid), I(b->gid), I(b->score), I(b->repeat), T(b->reason),
                        I(b->created < now ? b->created : now)),
                   rows);
}

struct known {
    char target[SK_PREFIX_STRLEN];
    int64_t ended;
};

static void take_known(void *arg, const struct db_rows *r)
{
    struct known *k = arg;
    db_copy(r, 0, k->target, sizeof k->target);
    k->ended = db_int(r, 1);
}

static int find_block(struct store *s, const char *agent, const char *id, struct known *k)
{
    return inside_one(s, "SELECT target,ended FROM block WHERE agent=? AND id=?", ARGS(T(agent), T(id)), take_known, k);
}

/* Ends only move away; what has been ended stays so, whatever arrives late. */
static int update_block(struct store *s, const struct store_block *b, const char *target, int64_t now)
{
    struct known k;
    int rc = find_block(s, b->agent, b->id, &k);
    if (rc != SK_OK)
        return rc;
    if (strcmp(k.target, target) != 0)
        return SK_EINVAL;
    return db_exec(
        s->db,
        "UPDATE block SET expires = CASE WHEN expires < ? THEN ? ELSE expires END,"
        " score = CASE WHEN score < ? THEN ? ELSE score END,"
        " repeats = CASE WHEN repeats < ? THEN ? ELSE repeats END, latest=? WHERE agent=? AND id=? AND ended=0",
        ARGS(I(b->expires), I(b->expires), I(b->score), I(b->score), I(b->repeat), I(b->repeat), I(now), T(b->agent),
             T(b->id)),
        NULL);
}

int store_block_put(struct store *s, const struct store_block *b, int64_t now)
{
    bool own;
    int64_t rows = 0;
    struct target_text target = inside_target(&b->target);
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_lock(s);
    if (rc == SK_OK)
        rc = insert_block(s, b, target.s, now, &rows);
    if (rc == SK_OK && rows == 0)
        rc = update_block(s, b, target.s, now);
    if (rc == SK_OK)
        rc = entry_compute(s, target.s, now);
    return inside_leave(s, own, rc);
}

static int end_block(struct store *s, const char *agent, const char *id, int64_t now, const char *why)
{
    struct known k;
    int rc = find_block(s, agent, id, &k);
    if (rc != SK_OK || k.ended != 0)
        return rc;
    rc = db_exec(s->db, "UPDATE block SET ended=?,why=? WHERE agent=? AND id=?", ARGS(I(now), T(why), T(agent), T(id)),
                 NULL);
    return rc != SK_OK ? rc : entry_compute(s, k.target, now);
}

int store_block_end(struct store *s, const char *agent, const char *id, int64_t now, const char *why)
{
    bool own;
    if (!inside_fits(why, sizeof((struct store_block *)0)->why))
        return SK_EFULL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_lock(s);
    if (rc == SK_OK)
        rc = end_block(s, agent, id, now, why);
    return inside_leave(s, own, rc);
}

static int unblock(struct store *s, const char *target, int64_t now, const char *why, unsigned *n)
{
    int64_t rows;
    int rc = db_exec(s->db, "UPDATE block SET ended=?,why=? WHERE target=? AND ended=0 AND expires > ?",
                     ARGS(I(now), T(why), T(target), I(now)), &rows);
    if (rc != SK_OK || rows == 0)
        return rc == SK_OK ? SK_ENOENT : rc;
    *n = (unsigned)rows;
    return entry_compute(s, target, now);
}

int store_unblock(struct store *s, const struct sk_prefix *target, int64_t now, const char *why, unsigned *n)
{
    bool own;
    *n = 0;
    if (!inside_fits(why, sizeof((struct store_block *)0)->why))
        return SK_EFULL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_lock(s);
    if (rc == SK_OK)
        rc = unblock(s, inside_target(target).s, now, why, n);
    return inside_leave(s, own, rc);
}

struct block_reader {
    store_block_fn *fn;
    void *arg;
};

static void give_block(void *arg, const struct db_rows *r)
{
    const struct block_reader *g = arg;
    struct store_block b = {.target = inside_prefix(db_text(r, 2)),
                            .created = db_int(r, 3),
                            .expires = db_int(r, 4),
                            .ended = db_int(r, 5),
                            .sid = db_int(r, 9),
                            .gid = db_int(r, 10),
                            .score = db_int(r, 11),
                            .repeat = db_int(r, 12)};
    db_copy(r, 0, b.agent, sizeof b.agent);
    db_copy(r, 1, b.id, sizeof b.id);
    db_copy(r, 6, b.why, sizeof b.why);
    db_copy(r, 7, b.origin, sizeof b.origin);
    db_copy(r, 8, b.cause, sizeof b.cause);
    db_copy(r, 13, b.reason, sizeof b.reason);
    g->fn(g->arg, &b);
}

#define SELECT_BLOCKS "SELECT " COLUMNS " FROM block WHERE "
#define NEWEST        "created < ? ORDER BY created DESC LIMIT ?"
#define IN_FORCE      "ended=0 AND expires > ? AND " NEWEST

int store_blocks(struct store *s, const struct sk_prefix *target, const char *agent, bool in_force, int64_t before,
                 unsigned limit, int64_t now, store_block_fn *fn, void *arg)
{
    static const char *const sql[2][4] = {
        {SELECT_BLOCKS NEWEST, SELECT_BLOCKS "agent=? AND " NEWEST, SELECT_BLOCKS "target=? AND " NEWEST,
         SELECT_BLOCKS "agent=? AND target=? AND " NEWEST},
        {SELECT_BLOCKS IN_FORCE, SELECT_BLOCKS "agent=? AND " IN_FORCE, SELECT_BLOCKS "target=? AND " IN_FORCE,
         SELECT_BLOCKS "agent=? AND target=? AND " IN_FORCE},
    };
    struct block_reader g = {fn, arg};
    struct target_text text;
    struct db_value v[5];
    unsigned n = 0;
    if (agent)
        v[n++] = T(agent);
    if (target) {
        text = inside_target(target);
        v[n++] = T(text.s);
    }
    if (in_force)
        v[n++] = I(now);
    v[n++] = I(before > 0 ? before : STORE_FOREVER);
    v[n++] = I(limit);
    return inside_each(s, sql[in_force][(agent ? 1 : 0) + (target ? 2 : 0)], v, n, give_block, &g);
}
