/* What the fleet blocks: one entry a target. */
#include "ahead.h"

/* Both of a target: the entry that there is, and what its blocks come to now. */
struct entry_now {
    bool was, is;
    int64_t was_expires, was_shrunk;
    char was_agent[STORE_AGENT_LEN], was_id[STORE_ID_LEN];
    struct store_entry e;
};

static void take_now(void *arg, const struct db_rows *r)
{
    struct known *k = known_find(arg, KNOWN_TARGET, db_text(r, 0), "");
    struct entry_now *n = k ? k->target.entry : NULL;
    if (!n)
        return;
    n->was = db_int(r, 1) != 0;
    n->was_expires = db_int(r, 2);
    n->was_shrunk = db_int(r, 3);
    db_copy(r, 4, n->was_agent, sizeof n->was_agent);
    db_copy(r, 5, n->was_id, sizeof n->was_id);
    n->is = db_int(r, 6) != 0;
    db_copy(r, 7, n->e.agent, sizeof n->e.agent);
    db_copy(r, 8, n->e.id, sizeof n->e.id);
    n->e.created = db_int(r, 9);
    n->e.expires = db_int(r, 10);
    db_copy(r, 11, n->e.origin, sizeof n->e.origin);
    db_copy(r, 12, n->e.reason, sizeof n->e.reason);
    n->e.sid = db_int(r, 13);
    n->e.gid = db_int(r, 14);
    db_copy(r, 15, n->e.host, sizeof n->e.host);
    n->e.agents = (unsigned)db_int(r, 16);
    n->e.score = db_int(r, 17);
    n->e.repeat = db_int(r, 18);
    n->e.last = db_int(r, 19);
}

#define RANKED   "256" /* a target of a whole fleet must not cost the more the more hosts have told of it */
#define IN_FORCE "FROM block WHERE target=@1 AND ended=0 AND expires > @2 ORDER BY expires DESC"

/* Of two that last equally long the older one counts, so that the entry does not change with each new block. */
static const char what_is[] =
    "SELECT @1,CASE WHEN e.target IS NULL THEN 0 ELSE 1 END,e.expires,e.shrunk,e.agent,e.id,"
    "CASE WHEN b.id IS NULL THEN 0 ELSE 1 END,b.agent,b.id,b.created,b.expires,b.origin,b.reason,b.sid,b.gid,a.host,"
    "m.agents,m.score,m.repeats,m.latest FROM @ROWS LEFT JOIN entry e ON e.target=@1"
    " LEFT JOIN @LATERAL (SELECT agent,id,created,expires,origin,reason,sid,gid " IN_FORCE ",created,agent,id LIMIT 1)"
    " AS b ON true LEFT JOIN agent a ON a.id=b.agent LEFT JOIN @LATERAL (SELECT count(DISTINCT CASE WHEN agent <> ''"
    " THEN agent END) AS agents,max(score) AS score,max(repeats) AS repeats,max(latest) AS latest FROM"
    " (SELECT agent,score,repeats,latest " IN_FORCE " LIMIT " RANKED ") AS longest) AS m ON true";

static int read_now(struct store *s, struct known *targets)
{
    struct rows *r = &s->later.other;
    r->n = 0;
    for (struct known *k = targets; k; k = k->more) {
        struct db_value *v = later_row(r, 2);
        k->target.entry = sk_arena_zalloc(&s->memory, sizeof *k->target.entry);
        if (!v || !k->target.entry)
            return SK_ENOMEM;
        v[0] = T(k->a);
        v[1] = I(k->target.now);
    }
    return db_query_many(s->db, what_is, r->v, 2, (unsigned)r->n, take_now, s);
}

/* ---- what is to be written of it ---- */

enum change { CHANGE_NOTHING, CHANGE_RANKS, CHANGE_ENTRY, CHANGE_LIFT };

/* Ranks alone are no news for the fleet. */
static enum change change_of(const struct entry_now *n, int64_t now)
{
    if (!n->is)
        return n->was_expires > now ? CHANGE_LIFT : CHANGE_NOTHING;
    bool same = n->was && n->was_expires == n->e.expires && strcmp(n->was_agent, n->e.agent) == 0 &&
                strcmp(n->was_id, n->e.id) == 0;
    return same ? CHANGE_RANKS : CHANGE_ENTRY;
}

static void fill_entry(struct db_value *v, const struct known *k, int64_t seq)
{
    const struct entry_now *n = k->target.entry;
    const struct store_entry *e = &n->e;
    const struct db_value all[17] = {T(k->a),
                                     I(seq),
                                     I(e->created),
                                     I(e->expires),
                                     I(k->target.now),
                                     T(e->agent),
                                     T(e->host),
                                     T(e->id),
                                     T(e->origin),
                                     T(e->reason),
                                     I(e->sid),
                                     I(e->gid),
                                     I(e->agents),
                                     I(e->score),
                                     I(e->repeat),
                                     I(e->last),
                                     I(e->expires < n->was_expires ? seq : n->was_shrunk)};
    memcpy(v, all, sizeof all);
}

static void fill_lift(struct db_value *v, const struct known *k, int64_t seq)
{
    v[0] = T(k->a);
    v[1] = I(k->target.now);
    v[2] = I(seq);
}

static void fill_ranks(struct db_value *v, const struct known *k, int64_t seq)
{
    const struct store_entry *e = &k->target.entry->e;
    const struct db_value all[5] = {T(k->a), I(e->agents), I(e->score), I(e->repeat), I(e->last)};
    (void)seq;
    memcpy(v, all, sizeof all);
}

static const struct writing {
    unsigned cols;
    bool news; /* for the fleet: takes a number */
    void (*fill)(struct db_value *v, const struct known *k, int64_t seq);
    const char *sql;
} writings[] = {
    [CHANGE_RANKS] = {5, false, fill_ranks,
                      "UPDATE entry SET agents=@2,score=@3,repeats=@4,latest=@5 FROM @ROWS WHERE target=@1"},
    [CHANGE_ENTRY] =
        {17, true, fill_entry,
         "INSERT INTO entry(target,seq,created,expires,changed,agent,host,id,origin,reason,sid,gid,agents,"
         "score,repeats,latest,shrunk) SELECT @1,@2,@3,@4,@5,@6,@7,@8,@9,@10,@11,@12,@13,@14,@15,@16,@17"
         " FROM @ROWS WHERE true ON CONFLICT(target) DO UPDATE SET"
         " seq=excluded.seq, created=excluded.created, expires=excluded.expires, changed=excluded.changed,"
         " agent=excluded.agent, host=excluded.host, id=excluded.id, origin=excluded.origin,"
         " reason=excluded.reason, sid=excluded.sid, gid=excluded.gid, agents=excluded.agents,"
         " score=excluded.score, repeats=excluded.repeats, latest=excluded.latest, shrunk=excluded.shrunk"},
    [CHANGE_LIFT] = {3, true, fill_lift,
                     "UPDATE entry SET expires=0,agents=0,changed=@2,seq=@3,shrunk=@3 FROM @ROWS WHERE target=@1"},
};

static int write_changes(struct store *s, const struct known *targets, enum change which)
{
    const struct writing *w = &writings[which];
    struct rows *r = &s->later.other;
    r->n = 0;
    for (const struct known *k = targets; k; k = k->more) {
        if (change_of(k->target.entry, k->target.now) != which)
            continue;
        struct db_value *v = later_row(r, w->cols);
        if (!v)
            return SK_ENOMEM;
        s->numbers.entry += w->news;
        w->fill(v, k, s->numbers.entry);
    }
    s->notify = s->notify || (w->news && r->n > 0);
    return db_exec_many(s->db, w->sql, r->v, w->cols, (unsigned)r->n, NULL);
}

int entries_compute(struct store *s, struct known *targets)
{
    int rc = targets ? read_now(s, targets) : SK_OK;
    for (enum change c = CHANGE_RANKS; rc == SK_OK && targets && c <= CHANGE_LIFT; c++)
        rc = write_changes(s, targets, c);
    return rc;
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

static void take_news(void *arg, const struct db_rows *r)
{
    struct store_news *n = arg;
    n->last = db_int(r, 0);
    n->first = db_int(r, 1);
    db_copy(r, 2, n->epoch, sizeof n->epoch);
    n->rules = db_int(r, 3);
    n->policy = db_int(r, 4);
}

int store_news(struct store *s, struct store_news *out)
{
    *out = (struct store_news){0};
    int rc = inside_one(s,
                        "SELECT entry,first,epoch,(SELECT max(version) FROM bundle WHERE kind='rules'),"
                        "(SELECT max(version) FROM bundle WHERE kind='policy') FROM state WHERE one=1",
                        NULL, 0, take_news, out);
    if (s->locked)
        out->last = s->numbers.entry;
    return rc == SK_ENOENT ? SK_EIO : rc;
}

int store_seq(struct store *s, int64_t *last, int64_t *first, char epoch[STORE_SPOOL_LEN])
{
    struct store_news n;
    int rc = store_news(s, &n);
    *last = n.last;
    *first = n.first;
    memcpy(epoch, n.epoch, sizeof n.epoch);
    return rc;
}
