/* What a transaction knows. */
#include "ahead.h"

/* ---- the table ---- */

static struct known **bucket_of(struct store *s, enum known_kind kind, const char *a, const char *b)
{
    uint64_t h = sk_siphash(&s->key, a, strlen(a)) ^ (sk_siphash(&s->key, b, strlen(b)) * 31 + kind);
    return &s->known[sk_mix64(h) % KNOWN_BUCKETS];
}

struct known *known_find(struct store *s, enum known_kind kind, const char *a, const char *b)
{
    struct known *k = *bucket_of(s, kind, a, b);
    while (k && (k->kind != kind || strcmp(k->a, a) != 0 || strcmp(k->b, b) != 0))
        k = k->next;
    return k;
}

/* NULL: no memory. */
static struct known *known_of(struct store *s, enum known_kind kind, const char *a, const char *b)
{
    struct known *k = known_find(s, kind, a, b), **at;
    if (k)
        return k;
    k = sk_arena_zalloc(&s->memory, sizeof *k);
    if (!k || !(k->a = sk_arena_strdup(&s->memory, a)) || !(k->b = sk_arena_strdup(&s->memory, b)))
        return NULL;
    at = bucket_of(s, kind, a, b);
    k->kind = kind;
    k->next = *at;
    *at = k;
    return k;
}

void known_clear(struct store *s)
{
    memset(s->known, 0, KNOWN_BUCKETS * sizeof *s->known);
}

int known_touch(struct store *s, const char *target, int64_t now)
{
    struct known *k = known_of(s, KNOWN_TARGET, target, "");
    if (!k)
        return SK_ENOMEM;
    k->target.now = now;
    later_list(&s->later.targets, k);
    s->later.any = true;
    return SK_OK;
}

/* ---- reading ---- */

static void take_agent(struct known *k, const struct db_rows *r, bool locked)
{
    if (k->read && (k->locked || !locked))
        return;
    k->read = k->found = true;
    k->locked = locked;
    k->agent.state = db_int(r, 2);
    k->agent.debt = db_int(r, 3);
    db_copy(r, 4, k->agent.serial, sizeof k->agent.serial);
    db_copy(r, 5, k->agent.before, sizeof k->agent.before);
}

/* agent, spool, then the agent's, then the spool's number: 0 when there is no such spool. */
static void take_agent_and_spool(void *arg, const struct db_rows *r)
{
    struct store *s = arg;
    char spool[STORE_SPOOL_LEN];
    struct known *k = known_find(s, KNOWN_AGENT, db_text(r, 0), "");
    if (k)
        take_agent(k, r, s->locked);
    db_copy(r, 1, spool, sizeof spool);
    k = *spool ? known_find(s, KNOWN_SPOOL, db_text(r, 0), spool) : NULL;
    if (!k || k->read)
        return;
    k->spool.seq = k->spool.stored = db_int(r, 6);
    k->found = k->spool.seq > 0;
}

static void take_block(void *arg, const struct db_rows *r)
{
    struct known *k = known_find(arg, KNOWN_BLOCK, db_text(r, 0), db_text(r, 1));
    if (!k)
        return;
    k->found = true;
    db_copy(r, 2, k->block.target, sizeof k->block.target);
    k->block.ended = db_int(r, 3);
}

static int read_agents(struct store *s, const struct db_value *v, size_t n)
{
    return db_query_many(s->db,
                         "SELECT a.id,@2,a.state,a.block_debt,a.serial,a.serial_before,p.seq FROM @ROWS"
                         " JOIN agent a ON a.id=@1 LEFT JOIN spool p ON p.agent=@1 AND p.spool=@2",
                         v, 2, (unsigned)n, take_agent_and_spool, s);
}

static int read_blocks(struct store *s, const struct db_value *v, size_t n)
{
    return db_query_many(s->db,
                         "SELECT b.agent,b.id,b.target,b.ended FROM @ROWS JOIN block b ON b.agent=@1 AND b.id=@2", v, 2,
                         (unsigned)n, take_block, s);
}

/* Blocks of operators have no agent, and spools may be there without one: they are asked for by themselves. */
static int read_spool(struct store *s, struct known *k)
{
    struct db_rows r;
    int rc = db_query(s->db, "SELECT seq FROM spool WHERE agent=? AND spool=?", ARGS(T(k->a), T(k->b)), &r);
    if (rc == SK_OK && (rc = db_next(&r)) == SK_OK) {
        k->spool.seq = k->spool.stored = db_int(&r, 0);
        k->found = true;
    }
    db_done(&r);
    return rc == SK_EEND ? SK_OK : rc;
}

static int read_one(struct store *s, struct known *k)
{
    const struct db_value v[2] = {T(k->a), T(k->b)};
    k->read = k->found = false;
    int rc = k->kind == KNOWN_AGENT   ? read_agents(s, v, 1)
             : k->kind == KNOWN_SPOOL ? read_spool(s, k)
                                      : read_blocks(s, v, 1);
    k->read = rc == SK_OK;
    k->locked = k->read && s->locked;
    s->failed = s->failed || rc == SK_EIO;
    return rc;
}

static int known_read(struct store *s, enum known_kind kind, const char *a, const char *b, bool lock,
                      struct known **out)
{
    int rc = lock ? inside_lock(s) : s->failed ? SK_EIO : SK_OK;
    struct known *k = *out = rc == SK_OK ? known_of(s, kind, a, b) : NULL;
    if (rc != SK_OK)
        return rc;
    if (!k)
        return SK_ENOMEM;
    return k->read && (k->locked || !lock) ? SK_OK : read_one(s, k);
}

int known_agent(struct store *s, const char *id, struct known **out)
{
    return known_read(s, KNOWN_AGENT, id, "", false, out);
}

int known_agent_locked(struct store *s, const char *id, struct known **out)
{
    return known_read(s, KNOWN_AGENT, id, "", true, out);
}

int known_spool(struct store *s, const char *agent, const char *spool, struct known **out)
{
    return known_read(s, KNOWN_SPOOL, agent, spool, true, out);
}

int known_block(struct store *s, const char *agent, const char *id, struct known **out)
{
    return known_read(s, KNOWN_BLOCK, agent, id, true, out);
}

/* ---- many at once ---- */

struct asked {
    struct known **k;
    struct db_value *v;
    size_t n;
};

/* Each once. */
static int ask_for(struct store *s, struct asked *q, enum known_kind kind, const char *a, const char *b)
{
    struct known *k = known_of(s, kind, a, b);
    if (!k)
        return SK_ENOMEM;
    if (k->read || k->listed)
        return SK_OK;
    k->listed = true;
    q->k[q->n] = k;
    q->v[2 * q->n] = T(k->a);
    q->v[2 * q->n + 1] = T(k->b);
    q->n++;
    return SK_OK;
}

static int room(struct store *s, struct asked *q, size_t n)
{
    q->k = sk_arena_alloc(&s->memory, (n + 1) * sizeof(struct known *));
    q->v = sk_arena_alloc(&s->memory, (n + 1) * 2 * sizeof *q->v);
    return q->k && q->v ? SK_OK : SK_ENOMEM;
}

/* A spool comes with its agent. */
static bool could_come(struct store *s, const struct known *k)
{
    const struct known *agent = k->kind == KNOWN_SPOOL ? known_find(s, KNOWN_AGENT, k->a, "") : k;
    return agent == k || (agent && agent->found);
}

/* What was asked for and did not come is not there. */
static void all_read(struct store *s, struct asked *q, bool ok)
{
    for (size_t i = 0; i < q->n; i++) {
        struct known *k = q->k[i];
        k->listed = false;
        if (!ok || k->read || !could_come(s, k))
            continue;
        k->read = true;
        k->locked = s->locked;
    }
}

static int ask_all(struct store *s, const struct store_ask *asks, size_t n, struct asked *agents, struct asked *blocks)
{
    int rc = room(s, agents, 2 * n);
    if (rc == SK_OK)
        rc = room(s, blocks, n);
    for (size_t i = 0; i < n && rc == SK_OK; i++) {
        const struct store_ask *a = &asks[i];
        if (a->block) {
            rc = ask_for(s, blocks, KNOWN_BLOCK, a->agent, a->block);
            continue;
        }
        rc = ask_for(s, agents, KNOWN_AGENT, a->agent, "");
        if (rc == SK_OK && a->spool)
            rc = ask_for(s, agents, KNOWN_SPOOL, a->agent, a->spool);
    }
    return rc;
}

int store_ahead(struct store *s, const struct store_ask *asks, size_t n)
{
    bool own, lock = false;
    struct asked agents = {0}, blocks = {0};
    for (size_t i = 0; i < n; i++) {
        lock = lock || asks[i].spool || asks[i].block;
        if (!db_text_ok(asks[i].agent) || (asks[i].spool && !db_text_ok(asks[i].spool)) ||
            (asks[i].block && !db_text_ok(asks[i].block)))
            return SK_EINVAL;
    }
    int rc = inside_enter(s, &own);
    if (rc == SK_OK && lock)
        rc = inside_lock(s);
    if (rc == SK_OK)
        rc = ask_all(s, asks, n, &agents, &blocks);
    if (rc == SK_OK)
        rc = read_agents(s, agents.v, agents.n);
    if (rc == SK_OK)
        rc = read_blocks(s, blocks.v, blocks.n);
    all_read(s, &agents, rc == SK_OK);
    all_read(s, &blocks, rc == SK_OK);
    return inside_leave(s, own, rc);
}
