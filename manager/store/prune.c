/* Retention, in slices: each call is one short transaction. */
#include "ahead.h"

#define LIFTED_KEPT   MS_PER_DAY
#define RUN_OUT_KEPT  (10 * INT64_C(60000)) /* the clocks of managers may differ a little */
#define TOKENS_KEPT   (30 * MS_PER_DAY)
#define OUTGOING_KEPT (7 * MS_PER_DAY)

struct slice {
    struct store *s;
    int64_t left; /* rows that may still go */
    int rc;
};

static void del(struct slice *p, const char *sql, int64_t limit)
{
    int64_t rows = 0;
    if (p->rc != SK_OK || p->left <= 0)
        return;
    p->rc = db_exec(p->s->db, sql, ARGS(I(limit), I(p->left)), &rows);
    p->left -= rows;
}

static void prune_events(struct slice *p, const struct store_keep *k, int64_t now)
{
    int64_t newest = 0;
    del(p, "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE time < ? ORDER BY time LIMIT ?)",
        now - k->events);
    if (p->rc == SK_OK && k->events_most > 0)
        p->rc = inside_int(p->s, "SELECT max(id) FROM event", NULL, 0, &newest);
    if (newest > k->events_most)
        del(p, "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id <= ? ORDER BY id LIMIT ?)",
            newest - k->events_most);
}

#define DELETE_BLOCKS "DELETE FROM block WHERE (agent,id) IN (SELECT agent,id FROM block WHERE "

static void prune_blocks(struct slice *p, const struct store_keep *k, int64_t now)
{
    int64_t until = now - (k->blocks > RUN_OUT_KEPT ? k->blocks : RUN_OUT_KEPT);
    del(p, DELETE_BLOCKS "ended=0 AND expires < ? ORDER BY expires LIMIT ?)", until);
    del(p, DELETE_BLOCKS "ended <> 0 AND ended < ? ORDER BY ended LIMIT ?)", until);
}

static void prune_agents(struct slice *p, const struct store_keep *k, int64_t now)
{
    int64_t gone = 0;
    int64_t left = p->left;
    del(p, "DELETE FROM agent WHERE id IN (SELECT id FROM agent WHERE state <> 0 AND changed < ? LIMIT ?)",
        now - k->agents);
    gone = left - p->left;
    if (p->rc == SK_OK && gone > 0)
        p->rc = db_exec(p->s->db, "DELETE FROM spool WHERE agent NOT IN (SELECT id FROM agent)", NULL, 0, NULL);
}

#define OVER_AND_SHRUNK "FROM entry WHERE shrunk > 0 AND expires < ? AND changed < ? ORDER BY changed,seq LIMIT ?"

/* A reader who stands before what is forgotten here may know of a later end: he has to begin anew, `first` says so. */
static void prune_shrunk(struct slice *p, int64_t now)
{
    int64_t until = now - LIFTED_KEPT, last = 0, rows = 0;
    if (p->rc != SK_OK || (p->rc = inside_lock(p->s)) != SK_OK)
        return;
    p->rc = inside_int(p->s, "SELECT max(shrunk) FROM (SELECT shrunk " OVER_AND_SHRUNK ") AS over",
                       ARGS(I(until), I(until), I(p->left)), &last);
    if (p->rc == SK_OK)
        p->rc = db_exec(p->s->db, "DELETE FROM entry WHERE target IN (SELECT target " OVER_AND_SHRUNK ")",
                        ARGS(I(until), I(until), I(p->left)), &rows);
    p->left -= rows;
    if (p->rc == SK_OK && last >= p->s->numbers.first)
        p->s->numbers.first = last + 1;
}

static void prune_rest(struct slice *p, const struct store_keep *k, int64_t now)
{
    del(p,
        "DELETE FROM entry WHERE target IN (SELECT target FROM entry WHERE shrunk=0 AND expires < ?"
        " ORDER BY expires LIMIT ?)",
        now - RUN_OUT_KEPT);
    del(p, "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE time < ? ORDER BY time LIMIT ?)", now - k->audit);
    del(p, "DELETE FROM token WHERE id IN (SELECT id FROM token WHERE expires < ? LIMIT ?)", now - TOKENS_KEPT);
    del(p, "DELETE FROM outgoing WHERE id IN (SELECT id FROM outgoing WHERE created < ? ORDER BY created LIMIT ?)",
        now - OUTGOING_KEPT);
}

int store_prune(struct store *s, const struct store_keep *k, int64_t now, unsigned most, bool *more)
{
    bool own;
    struct slice p = {.s = s, .left = most};
    *more = false;
    p.rc = inside_enter(s, &own);
    if (p.rc == SK_OK)
        p.rc = inside_settle(s);
    known_clear(s);
    prune_shrunk(&p, now);
    prune_rest(&p, k, now);
    prune_events(&p, k, now);
    prune_blocks(&p, k, now);
    prune_agents(&p, k, now);
    *more = p.rc == SK_OK && p.left <= 0;
    return inside_leave(s, own, p.rc);
}

int store_counts(struct store *s, int64_t now, struct store_counts *out)
{
    memset(out, 0, sizeof *out);
    int rc = inside_int(s, "SELECT count(*) FROM agent WHERE state=0", NULL, 0, &out->agents);
    if (rc == SK_OK)
        rc = inside_int(s, "SELECT count(*) FROM agent WHERE state=0 AND seen < ?", ARGS(I(now - STORE_SILENT_MS)),
                        &out->silent);
    if (rc == SK_OK)
        rc = inside_int(s, "SELECT count(*) FROM block WHERE ended=0 AND expires > ?", ARGS(I(now)), &out->blocks);
    if (rc == SK_OK)
        rc = inside_int(s, "SELECT count(*) FROM entry WHERE expires > ?", ARGS(I(now)), &out->entries);
    if (rc == SK_OK)
        rc = inside_int(s, "SELECT (SELECT max(id) FROM event) - (SELECT min(id) FROM event) + 1", NULL, 0,
                        &out->events);
    if (rc == SK_OK)
        rc = inside_int(s, "SELECT count(*) FROM outgoing", NULL, 0, &out->outgoing);
    out->bytes = rc == SK_OK ? db_size(s->db) : -1;
    return rc;
}
