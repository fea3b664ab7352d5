/* Batches of the agents, and the events in them. */
#include "ahead.h"

#define COLUMNS "id,agent,time,type,json"

/* A spool that is not known begins at 1. */
static int take_batch(struct store *s, const char *agent, const char *spool, int64_t seq, int64_t *next)
{
    struct known *k;
    int rc = known_spool(s, agent, spool, &k);
    if (rc != SK_OK)
        return rc;
    *next = k->spool.seq + 1;
    if (seq != *next)
        return seq < *next ? SK_EEXIST : SK_EPROTO;
    k->spool.seq = seq;
    k->found = true;
    later_list(&s->later.spools, k);
    s->later.any = true;
    *next = seq + 1;
    return SK_OK;
}

int store_batch(struct store *s, const char *agent, const char *spool, int64_t seq, int64_t *next)
{
    bool own;
    *next = 0;
    if (seq < 1 || !inside_fits(spool, STORE_SPOOL_LEN) || !db_text_ok(agent) || !db_text_ok(spool))
        return SK_EINVAL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = take_batch(s, agent, spool, seq, next);
    return inside_leave(s, own, rc);
}

static int take_event(struct store *s, const struct store_event *e)
{
    const char *agent = later_text(s, e->agent), *type = later_text(s, e->type), *json = later_text(s, e->json);
    struct db_value *v = agent && type && json ? later_row(&s->later.events, 5) : NULL;
    if (!v)
        return SK_ENOMEM;
    v[0] = I(++s->numbers.event);
    v[1] = T(agent);
    v[2] = I(e->time);
    v[3] = T(type);
    v[4] = T(json);
    s->later.any = true;
    return SK_OK;
}

int store_event_add(struct store *s, const struct store_event *e)
{
    bool own;
    if (!inside_fits(e->json, STORE_JSON_MAX))
        return SK_EFULL;
    if (!db_text_ok(e->agent) || !db_text_ok(e->type) || !db_text_ok(e->json))
        return SK_EINVAL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_lock(s);
    if (rc == SK_OK)
        rc = take_event(s, e);
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
