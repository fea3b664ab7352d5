#include <stdio.h>
#include <stdlib.h>
#include "ahead.h"

#define COLUMNS "agent,id,target,created,expires,ended,why,origin,cause,sid,gid,score,repeats,reason"

/* Columns of a row that waits (later.c), which news of the same block meet there. */
enum { PUT_EXPIRES = 4, PUT_SCORE = 11, PUT_REPEATS = 12, PUT_LATEST = 14, PUT_COLUMNS = 15 };

static void grow(struct db_value *v, int64_t to)
{
    if (v->i < to)
        v->i = to;
}

static void meet(struct db_value *v, const struct store_block *b, int64_t now)
{
    grow(&v[PUT_EXPIRES], b->expires);
    grow(&v[PUT_SCORE], b->score);
    grow(&v[PUT_REPEATS], b->repeat);
    v[PUT_LATEST].i = now;
}

static int fill_put(struct store *s, struct known *k, const struct store_block *b, int64_t now)
{
    int64_t latest = !k->found && b->created < now ? b->created : now;
    const char *why = later_text(s, b->why), *origin = later_text(s, b->origin), *cause = later_text(s, b->cause),
               *reason = later_text(s, b->reason);
    struct db_value *v = why && origin && cause && reason ? later_row(&s->later.puts, PUT_COLUMNS) : NULL;
    if (!v)
        return SK_ENOMEM;
    const struct db_value all[PUT_COLUMNS] = {
        T(k->a),  T(k->b),   T(k->block.target), I(b->created), I(b->expires), I(b->ended), T(why),   T(origin),
        T(cause), I(b->sid), I(b->gid),          I(b->score),   I(b->repeat),  T(reason),   I(latest)};
    memcpy(v, all, sizeof all);
    k->row = s->later.puts.n;
    s->later.any = true;
    return SK_OK;
}

static int put_block(struct store *s, const struct store_block *b, const char *target, int64_t now)
{
    struct known *k;
    int rc = known_block(s, b->agent, b->id, &k);
    if (rc != SK_OK)
        return rc;
    if (k->found && strcmp(k->block.target, target) != 0)
        return SK_EINVAL;
    if (!k->found)
        snprintf(k->block.target, sizeof k->block.target, "%s", target);
    if (k->row)
        meet(s->later.puts.v + (k->row - 1) * PUT_COLUMNS, b, now);
    else if (!k->found || k->block.ended == 0)
        rc = fill_put(s, k, b, now);
    if (rc == SK_OK && !k->found)
        k->block.ended = b->ended;
    k->found = true;
    return rc == SK_OK ? known_touch(s, target, now) : rc;
}

static bool texts_ok(const struct store_block *b)
{
    return db_text_ok(b->agent) && db_text_ok(b->id) && db_text_ok(b->why) && db_text_ok(b->origin) &&
           db_text_ok(b->cause) && db_text_ok(b->reason);
}

int store_block_put(struct store *s, const struct store_block *b, int64_t now)
{
    bool own;
    struct target_text target = inside_target(&b->target);
    if (!texts_ok(b))
        return SK_EINVAL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = put_block(s, b, target.s, now);
    return inside_leave(s, own, rc);
}

static int end_block(struct store *s, const char *agent, const char *id, int64_t now, const char *why)
{
    struct known *k;
    int rc = known_block(s, agent, id, &k);
    if (rc != SK_OK || !k->found || k->block.ended != 0)
        return rc == SK_OK && !k->found ? SK_ENOENT : rc;
    const char *text = later_text(s, why);
    struct db_value *v = text ? later_row(&s->later.ends, 4) : NULL;
    if (!v)
        return SK_ENOMEM;
    v[0] = T(k->a);
    v[1] = T(k->b);
    v[2] = I(now);
    v[3] = T(text);
    k->block.ended = now;
    k->row = 0; /* what comes of it from here on changes nothing */
    return known_touch(s, k->block.target, now);
}

int store_block_end(struct store *s, const char *agent, const char *id, int64_t now, const char *why)
{
    bool own;
    if (!inside_fits(why, sizeof((struct store_block *)0)->why))
        return SK_EFULL;
    if (!db_text_ok(agent) || !db_text_ok(id) || !db_text_ok(why))
        return SK_EINVAL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = end_block(s, agent, id, now, why);
    return inside_leave(s, own, rc);
}

/* Past what is known of them. */
static int unblock(struct store *s, const char *target, int64_t now, const char *why, unsigned *n)
{
    int64_t rows;
    int rc = inside_settle(s);
    if (rc != SK_OK)
        return rc;
    known_clear(s);
    rc = db_exec(s->db, "UPDATE block SET ended=?,why=? WHERE target=? AND ended=0 AND expires > ?",
                 ARGS(I(now), T(why), T(target), I(now)), &rows);
    if (rc != SK_OK || rows == 0)
        return rc == SK_OK ? SK_ENOENT : rc;
    *n = (unsigned)rows;
    return known_touch(s, target, now);
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
