/* Batches of the agents, and the events in them. */
#include "inside.h"

#define SPOOLS_MAX "8" /* of one agent; a new spool is a new disk, and rare. The oldest is forgotten. */
#define COLUMNS    "id,agent,time,type,json"

static int next_wanted(struct store *s, const char *agent, const char *spool, int64_t *next)
{
    int rc = inside_int(s, "SELECT seq FROM spool WHERE agent=? AND spool=?", ARGS(T(agent), T(spool)), next);
    ++*next;
    return rc;
}

/* first of a new spool */
static int begin_spool(struct store *s, const char *agent, const char *spool)
{
    int64_t began, rows;
    int rc = inside_int(s, "SELECT max(began)+1 FROM spool WHERE agent=?", ARGS(T(agent)), &began);
    if (rc == SK_OK)
        rc = db_exec(s->db, "INSERT INTO spool(agent,spool,seq,began) VALUES(?,?,1,?) ON CONFLICT DO NOTHING",
                     ARGS(T(agent), T(spool), I(began)), &rows);
    if (rc != SK_OK || rows == 0)
        return rc == SK_OK ? SK_EEXIST : rc;
    return db_exec(s->db,
                   "DELETE FROM spool WHERE agent=? AND began <= (SELECT min(began) FROM (SELECT began FROM spool"
                   " WHERE agent=? ORDER BY began DESC LIMIT " SPOOLS_MAX ") AS newest) - 1",
                   ARGS(T(agent), T(agent)), NULL);
}

/* The number stands in the condition: the same batch over two managers is taken by one. */
static int take_batch(struct store *s, const char *agent, const char *spool, int64_t seq, int64_t *next)
{
    int64_t rows;
    int rc = db_exec(s->db, "UPDATE spool SET seq=? WHERE agent=? AND spool=? AND seq=?",
                     ARGS(I(seq), T(agent), T(spool), I(seq - 1)), &rows);
    if (rc != SK_OK || rows > 0)
        return rc;
    if ((rc = next_wanted(s, agent, spool, next)) != SK_OK)
        return rc;
    if (*next == 1 && seq == 1)
        return begin_spool(s, agent, spool);
    return seq < *next ? SK_EEXIST : SK_EPROTO;
}

int store_batch(struct store *s, const char *agent, const char *spool, int64_t seq, int64_t *next)
{
    bool own;
    *next = 0;
    if (seq < 1 || !inside_fits(spool, STORE_SPOOL_LEN))
        return SK_EINVAL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = take_batch(s, agent, spool, seq, next);
    if (rc == SK_OK)
        *next = seq + 1;
    return inside_leave(s, own, rc);
}

int store_event_add(struct store *s, const struct store_event *e)
{
    bool own;
    if (!inside_fits(e->json, STORE_JSON_MAX))
        return SK_EFULL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_lock(s);
    if (rc == SK_OK)
        rc = db_exec(s->db, "INSERT INTO event(" COLUMNS ") VALUES(?,?,?,?,?)",
                     ARGS(I(s->numbers.event + 1), T(e->agent), I(e->time), T(e->type), T(e->json)), NULL);
    if (rc == SK_OK)
        s->numbers.event++;
    return inside_leave(s, own, rc);
}

struct event_reader {
    store_event_fn *fn;
    void *arg;
};

static void give_event(void *arg, const struct db_rows *r)
{
    const struct event_reader *g = arg;
    struct store_event e = {.id = db_int(r, 0), .time = db_int(r, 2), .json = db_text(r, 4)};
    db_copy(r, 1, e.agent, sizeof e.agent);
    db_copy(r, 3, e.type, sizeof e.type);
    g->fn(g->arg, &e);
}

#define SELECT_EVENTS "SELECT " COLUMNS " FROM event WHERE "
/* Of an agent's events, those of a type: read by the agent, who has few. An index on type would be tempting. */
#define OF_AGENT_AND_TYPE "agent=? AND type || '' = ? AND "
#define OLDEST            "id > ? ORDER BY id LIMIT ?"
#define NEWEST            "id > ? ORDER BY id DESC LIMIT ?"

int store_events(struct store *s, const char *agent, const char *type, int64_t after, unsigned limit,
                 store_event_fn *fn, void *arg)
{
    static const char *const sql[2][4] = {
        {SELECT_EVENTS OLDEST, SELECT_EVENTS "agent=? AND " OLDEST, SELECT_EVENTS "type=? AND " OLDEST,
         SELECT_EVENTS OF_AGENT_AND_TYPE OLDEST},
        {SELECT_EVENTS NEWEST, SELECT_EVENTS "agent=? AND " NEWEST, SELECT_EVENTS "type=? AND " NEWEST,
         SELECT_EVENTS OF_AGENT_AND_TYPE NEWEST},
    };
    struct event_reader g = {fn, arg};
    struct db_value v[4];
    unsigned n = 0;
    if (agent)
        v[n++] = T(agent);
    if (type)
        v[n++] = T(type);
    v[n++] = I(after < 0 ? 0 : after);
    v[n++] = I(limit);
    return inside_each(s, sql[after < 0][(agent ? 1 : 0) + (type ? 2 : 0)], v, n, give_event, &g);
}
