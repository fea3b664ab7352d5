/* What a transaction has still to say: one statement for all rows of a kind. */
#include <stdlib.h>
#include "ahead.h"

#define SPOOLS_MAX "8" /* of one agent; a new spool is a new disk, and rare. The oldest is forgotten. */

struct db_value *later_row(struct rows *r, unsigned cols)
{
    if (r->cap < (r->n + 1) * cols) {
        size_t cap = r->cap ? r->cap * 2 : 64u * cols;
        struct db_value *v = realloc(r->v, cap * sizeof *v);
        if (!v)
            return NULL;
        r->v = v;
        r->cap = cap;
    }
    return r->v + r->n++ * cols;
}

const char *later_text(struct store *s, const char *text)
{
    size_t len = strlen(text);
    s->later.bytes += len;
    return sk_arena_strdup(&s->memory, text);
}

#define KEPT_CAP 65536 /* values of a kind for which memory is kept between transactions */

static void rows_clear(struct rows *r)
{
    if (r->cap > KEPT_CAP) {
        free(r->v);
        r->v = NULL;
        r->cap = 0;
    }
    r->n = 0;
}

static void list_clear(struct known_list *l)
{
    l->head = NULL;
    l->tail = &l->head;
}

void later_list(struct known_list *l, struct known *k)
{
    if (k->listed)
        return;
    k->listed = true;
    k->more = NULL;
    *l->tail = k;
    l->tail = &k->more;
}

void later_clear(struct store *s)
{
    struct later *l = &s->later;
    rows_clear(&l->events);
    rows_clear(&l->outgoing);
    rows_clear(&l->beats);
    rows_clear(&l->puts);
    rows_clear(&l->ends);
    rows_clear(&l->other);
    list_clear(&l->spools);
    list_clear(&l->debts);
    list_clear(&l->targets);
    l->bytes = 0;
    l->any = false;
}

void later_free(struct store *s)
{
    struct later *l = &s->later;
    struct rows *const all[] = {&l->events, &l->outgoing, &l->beats, &l->puts, &l->ends, &l->other};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]->v);
}

/* ---- statements ---- */

static int say(struct store *s, const char *sql, const struct rows *r, unsigned cols)
{
    return db_exec_many(s->db, sql, r->v, cols, (unsigned)r->n, NULL);
}

/* Each of the rows must change one: else somebody else has, who does not lock as we do. */
static int say_strictly(struct store *s, const char *sql, const struct rows *r, unsigned cols)
{
    int64_t rows;
    int rc = db_exec_many(s->db, sql, r->v, cols, (unsigned)r->n, &rows);
    return rc == SK_OK && rows != (int64_t)r->n ? db_fail(s->db, "spools", "taken by another at the same time") : rc;
}

static int say_debts(struct store *s)
{
    struct rows *r = &s->later.other;
    r->n = 0;
    for (struct known *k = s->later.debts.head; k; k = k->more) {
        struct db_value *v = later_row(r, 2);
        if (!v)
            return SK_ENOMEM;
        v[0] = T(k->a);
        v[1] = I(k->agent.debt);
        k->listed = false;
    }
    return say(s, "UPDATE agent SET block_debt=@2 FROM @ROWS WHERE id=@1", r, 2);
}

/* The number stands in the condition: the same batch over two managers is taken by one, whatever either locks. */
static int say_spools(struct store *s, bool begin)
{
    struct rows *r = &s->later.other;
    r->n = 0;
    for (struct known *k = s->later.spools.head; k; k = k->more) {
        if ((k->spool.stored == 0) != begin)
            continue;
        struct db_value *v = later_row(r, 4);
        if (!v)
            return SK_ENOMEM;
        v[0] = T(k->a);
        v[1] = T(k->b);
        v[2] = I(k->spool.seq);
        v[3] = I(k->spool.stored);
    }
    if (!begin)
        return say_strictly(s, "UPDATE spool SET seq=@3 FROM @ROWS WHERE agent=@1 AND spool=@2 AND seq=@4", r, 4);
    int rc = say_strictly(s,
                          "INSERT INTO spool(agent,spool,seq,began) SELECT @1,@2,@3,(SELECT coalesce(max(began),0)+1"
                          " FROM spool WHERE agent=@1) FROM @ROWS WHERE @4=0 ON CONFLICT DO NOTHING",
                          r, 4);
    for (size_t i = 0; i < r->n; i++) /* the first column alone, one behind the other */
        r->v[i] = r->v[i * 4];
    return rc != SK_OK ? rc
                       : say(s,
                             "DELETE FROM spool WHERE (agent,spool) IN (SELECT p.agent,p.spool FROM @ROWS JOIN spool p"
                             " ON p.agent=@1 WHERE p.began < (SELECT min(began) FROM (SELECT began FROM spool WHERE"
                             " agent=@1 ORDER BY began DESC LIMIT " SPOOLS_MAX ") AS newest))",
                             r, 1);
}

static void spools_said(struct store *s)
{
    for (struct known *k = s->later.spools.head; k; k = k->more) {
        k->spool.stored = k->spool.seq;
        k->listed = false;
    }
}

#define BLOCK_COLUMNS "agent,id,target,created,expires,ended,why,origin,cause,sid,gid,score,repeats,reason,latest"

/* Ends only move away; what has been ended stays so, whatever arrives late. */
static const char put_blocks[] =
    "INSERT INTO block(" BLOCK_COLUMNS ") SELECT @1,@2,@3,@4,@5,@6,@7,@8,@9,@10,@11,@12,@13,@14,@15 FROM @ROWS"
    " WHERE true ON CONFLICT(agent,id) DO UPDATE SET"
    " expires = CASE WHEN block.expires < excluded.expires THEN excluded.expires ELSE block.expires END,"
    " score = CASE WHEN block.score < excluded.score THEN excluded.score ELSE block.score END,"
    " repeats = CASE WHEN block.repeats < excluded.repeats THEN excluded.repeats ELSE block.repeats END,"
    " latest = excluded.latest WHERE block.ended=0";

static int say_blocks(struct store *s)
{
    struct later *l = &s->later;
    int rc = say(s, put_blocks, &l->puts, 15);
    if (rc == SK_OK)
        rc = say(s, "UPDATE block SET ended=@3,why=@4 FROM @ROWS WHERE agent=@1 AND id=@2", &l->ends, 4);
    return rc == SK_OK ? entries_compute(s, l->targets.head) : rc;
}

/* From here on rows have other places. */
static void rows_said(struct store *s)
{
    struct known *k;
    for (size_t i = 0; i < s->later.puts.n; i++)
        if ((k = known_find(s, KNOWN_BLOCK, s->later.puts.v[i * 15].p, s->later.puts.v[i * 15 + 1].p)) != NULL)
            k->row = 0;
    for (size_t i = 0; i < s->later.beats.n; i++)
        if ((k = known_find(s, KNOWN_AGENT, s->later.beats.v[i * 7].p, "")) != NULL)
            k->row = 0;
    for (k = s->later.targets.head; k; k = k->more)
        k->listed = false;
}

static int flush(struct store *s)
{
    struct later *l = &s->later;
    int rc = say(s, "INSERT INTO event(id,agent,time,type,json) SELECT @1,@2,@3,@4,@5 FROM @ROWS", &l->events, 5);
    if (rc == SK_OK)
        rc = say(
            s, "INSERT INTO outgoing(id,sink,created,next,attempts,why,payload) SELECT @1,@2,@3,@3,0,'',@4 FROM @ROWS",
            &l->outgoing, 4);
    if (rc == SK_OK)
        rc =
            say(s,
                "UPDATE agent SET seen=@2,address=@3,version=@4,status=@5,rules_version=@6,policy_version=@7 FROM @ROWS"
                " WHERE id=@1",
                &l->beats, 7);
    if (rc == SK_OK && l->debts.head)
        rc = say_debts(s);
    if (rc == SK_OK && l->spools.head)
        rc = say_spools(s, false);
    if (rc == SK_OK && l->spools.head)
        rc = say_spools(s, true);
    spools_said(s);
    return rc == SK_OK ? say_blocks(s) : rc;
}

int later_flush(struct store *s)
{
    if (!s->later.any)
        return SK_OK;
    s->later.any = false;
    int rc = flush(s);
    rows_said(s);
    later_clear(s);
    return rc;
}
