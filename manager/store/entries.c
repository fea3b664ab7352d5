/* What the fleet blocks: one entry a target. */
#include "inside_blocks.h"

struct before {
    bool found;
    int64_t expires, shrunk;
    char agent[STORE_AGENT_LEN], id[STORE_ID_LEN];
};

static void take_longest(void *arg, const struct db_rows *r)
{
    struct store_entry *e = arg;
    db_copy(r, 0, e->agent, sizeof e->agent);
    db_copy(r, 1, e->id, sizeof e->id);
    e->created = db_int(r, 2);
    e->expires = db_int(r, 3);
    db_copy(r, 4, e->origin, sizeof e->origin);
    db_copy(r, 5, e->reason, sizeof e->reason);
    e->sid = db_int(r, 6);
    e->gid = db_int(r, 7);
}

static void take_host(void *arg, const struct db_rows *r)
{
    struct store_entry *e = arg;
    db_copy(r, 0, e->host, sizeof e->host);
}

static void take_sums(void *arg, const struct db_rows *r)
{
    struct store_entry *e = arg;
    e->agents = (unsigned)db_int(r, 0);
    e->score = db_int(r, 1);
    e->repeat = db_int(r, 2);
    e->last = db_int(r, 3);
}

#define RANKED "256" /* a target of a whole fleet must not cost the more the more hosts have told of it */

/* Of two that last equally long the older one counts, so that the entry does not change with each new block. */
static int longest(struct store *s, const char *target, int64_t now, struct store_entry *e)
{
    int rc = inside_one(s,
                        "SELECT agent,id,created,expires,origin,reason,sid,gid FROM block WHERE target=? AND ended=0"
                        " AND expires > ? ORDER BY expires DESC, created, agent, id LIMIT 1",
                        ARGS(T(target), I(now)), take_longest, e);
    if (rc != SK_OK)
        return rc;
    if (*e->agent)
        rc = inside_one(s, "SELECT host FROM agent WHERE id=?", ARGS(T(e->agent)), take_host, e);
    if (rc == SK_OK || rc == SK_ENOENT)
        rc =
            inside_one(s,
                       "SELECT count(DISTINCT CASE WHEN agent <> '' THEN agent END),max(score),max(repeats),max(latest)"
                       " FROM (SELECT agent,score,repeats,latest FROM block WHERE target=? AND ended=0 AND expires > ?"
                       " ORDER BY expires DESC LIMIT " RANKED ") AS longest",
                       ARGS(T(target), I(now)), take_sums, e);
    return rc;
}

static void take_before(void *arg, const struct db_rows *r)
{
    struct before *b = arg;
    b->found = true;
    b->expires = db_int(r, 0);
    b->shrunk = db_int(r, 1);
    db_copy(r, 2, b->agent, sizeof b->agent);
    db_copy(r, 3, b->id, sizeof b->id);
}

static int write_entry(struct store *s, const char *target, int64_t now, const struct store_entry *e, int64_t shrunk)
{
    int rc = db_exec(
        s->db,
        "INSERT INTO entry(target,seq,created,expires,changed,agent,host,id,origin,reason,sid,gid,agents,"
        "score,repeats,latest,shrunk) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(target) DO UPDATE SET"
        " seq=excluded.seq, created=excluded.created, expires=excluded.expires, changed=excluded.changed,"
        " agent=excluded.agent, host=excluded.host, id=excluded.id, origin=excluded.origin,"
        " reason=excluded.reason, sid=excluded.sid, gid=excluded.gid, agents=excluded.agents,"
        " score=excluded.score, repeats=excluded.repeats, latest=excluded.latest, shrunk=excluded.shrunk",
        ARGS(T(target), I(s->numbers.entry + 1), I(e->created), I(e->expires), I(now), T(e->agent), T(e->host),
             T(e->id), T(e->origin), T(e->reason), I(e->sid), I(e->gid), I(e->agents), I(e->score), I(e->repeat),
             I(e->last), I(shrunk)),
        NULL);
    if (rc == SK_OK)
        s->numbers.entry++;
    s->notify = true;
    return rc;
}

static int lift_entry(struct store *s, const char *target, int64_t now)
{
    int64_t seq = ++s->numbers.entry;
    s->notify = true;
    return db_exec(s->db, "UPDATE entry SET expires=0,agents=0,changed=?,seq=?,shrunk=? WHERE target=?",
                   ARGS(I(now), I(seq), I(seq), T(target)), NULL);
}

/* Ranks alone are no news for the fleet. */
static int rank_entry(struct store *s, const char *target, const struct store_entry *e)
{
    return db_exec(s->db, "UPDATE entry SET agents=?,score=?,repeats=?,latest=? WHERE target=?",
                   ARGS(I(e->agents), I(e->score), I(e->repeat), I(e->last), T(target)), NULL);
}

int entry_compute(struct store *s, const char *target, int64_t now)
{
    struct store_entry e = {0};
    struct before b = {0};
    int rc =
        inside_one(s, "SELECT expires,shrunk,agent,id FROM entry WHERE target=?", ARGS(T(target)), take_before, &b);
    if (rc != SK_OK && rc != SK_ENOENT)
        return rc;
    rc = longest(s, target, now, &e);
    if (rc == SK_ENOENT)
        return b.expires > now ? lift_entry(s, target, now) : SK_OK;
    if (rc != SK_OK)
        return rc;
    if (b.found && b.expires == e.expires && strcmp(b.agent, e.agent) == 0 && strcmp(b.id, e.id) == 0)
        return rank_entry(s, target, &e);
    return write_entry(s, target, now, &e, e.expires < b.expires ? s->numbers.entry + 1 : b.shrunk);
}

#define COLUMNS "target,seq,created,expires,agent,host,id,origin,reason,sid,gid,agents,score,repeats,latest"

static void take_entry(void *arg, const struct db_rows *r)
{
    struct store_entry *e = arg;
    e->target = inside_prefix(db_text(r, 0));
    e->seq = db_int(r, 1);
    e->created = db_int(r, 2);
    e->expires = db_int(r, 3);
    db_copy(r, 4, e->agent, sizeof e->agent);
    db_copy(r, 5, e->host, sizeof e->host);
    db_copy(r, 6, e->id, sizeof e->id);
    db_copy(r, 7, e->origin, sizeof e->origin);
    db_copy(r, 8, e->reason, sizeof e->reason);
    e->sid = db_int(r, 9);
    e->gid = db_int(r, 10);
    e->agents = (unsigned)db_int(r, 11);
    e->score = db_int(r, 12);
    e->repeat = db_int(r, 13);
    e->last = db_int(r, 14);
}

struct entry_reader {
    store_entry_fn *fn;
    void *arg;
    int64_t now;
};

static void give_entry(void *arg, const struct db_rows *r)
{
    const struct entry_reader *g = arg;
    struct store_entry e;
    take_entry(&e, r);
    if (e.expires <= g->now)
        e.expires = 0;
    g->fn(g->arg, &e);
}

int store_entries_since(struct store *s, int64_t seq, unsigned limit, int64_t now, store_entry_fn *fn, void *arg)
{
    struct entry_reader g = {fn, arg, now};
    return inside_each(s,
                       "SELECT " COLUMNS " FROM entry WHERE seq > ? AND (expires > ? OR shrunk > ?) ORDER BY seq"
                       " LIMIT ?",
                       ARGS(I(seq), I(now), I(seq), I(limit)), give_entry, &g);
}

int store_entries(struct store *s, int64_t now, store_entry_fn *fn, void *arg)
{
    struct entry_reader g = {fn, arg, now};
    return inside_each(s, "SELECT " COLUMNS " FROM entry WHERE expires > ?", ARGS(I(now)), give_entry, &g);
}

int store_entry_get(struct store *s, const struct sk_prefix *target, int64_t now, struct store_entry *out)
{
    struct target_text text = inside_target(target);
    memset(out, 0, sizeof *out);
    return inside_one(s, "SELECT " COLUMNS " FROM entry WHERE target=? AND expires > ?", ARGS(T(text.s), I(now)),
                      take_entry, out);
}

struct seq_reader {
    int64_t last, first;
    char *epoch;
};

static void take_seq(void *arg, const struct db_rows *r)
{
    struct seq_reader *q = arg;
    q->last = db_int(r, 0);
    q->first = db_int(r, 1);
    db_copy(r, 2, q->epoch, STORE_SPOOL_LEN);
}

int store_seq(struct store *s, int64_t *last, int64_t *first, char epoch[STORE_SPOOL_LEN])
{
    struct seq_reader q = {.epoch = epoch};
    epoch[0] = '\0';
    int rc = inside_one(s, "SELECT entry,first,epoch FROM state WHERE one=1", NULL, 0, take_seq, &q);
    *last = s->locked ? s->numbers.entry : q.last;
    *first = q.first;
    return rc == SK_ENOENT ? SK_EIO : rc;
}
