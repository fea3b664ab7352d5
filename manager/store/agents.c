#include "ahead.h"

#define COLUMNS                                                                                                        \
    "id,state,host,version,address,instance,account,region,tags,token,enrolled,seen,cert_until,rules_version,"         \
    "policy_version,status,serial"

static void take_agent(void *arg, const struct db_rows *r)
{
    struct store_agent *a = arg;
    int64_t state = db_int(r, 1);
    db_copy(r, 0, a->id, sizeof a->id);
    a->state = state == STORE_AGENT_ACTIVE    ? STORE_AGENT_ACTIVE
               : state == STORE_AGENT_RETIRED ? STORE_AGENT_RETIRED
                                              : STORE_AGENT_REVOKED;
    db_copy(r, 2, a->host, sizeof a->host);
    db_copy(r, 3, a->version, sizeof a->version);
    db_copy(r, 4, a->address, sizeof a->address);
    db_copy(r, 5, a->instance, sizeof a->instance);
    db_copy(r, 6, a->account, sizeof a->account);
    db_copy(r, 7, a->region, sizeof a->region);
    db_copy(r, 8, a->tags, sizeof a->tags);
    db_copy(r, 9, a->token, sizeof a->token);
    a->enrolled = db_int(r, 10);
    a->seen = db_int(r, 11);
    a->cert_until = db_int(r, 12);
    a->rules_version = db_int(r, 13);
    a->policy_version = db_int(r, 14);
    db_copy(r, 15, a->status, sizeof a->status);
    db_copy(r, 16, a->serial, sizeof a->serial);
}

/* Past what is known of it. */
static int change_agent(struct store *s, const char *id, const char *sql, const struct db_value *v, unsigned n)
{
    int rc = inside_change(s, sql, v, n);
    struct known *k = known_find(s, KNOWN_AGENT, id, "");
    if (k)
        k->read = false;
    return rc;
}

int store_agent_add(struct store *s, const struct store_agent *a)
{
    int rc = change_agent(s, a->id,
                          "INSERT INTO agent(" COLUMNS ",changed,serial_before)"
                          " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,'') ON CONFLICT DO NOTHING",
                          ARGS(T(a->id), I(a->state), T(a->host), T(a->version), T(a->address), T(a->instance),
                               T(a->account), T(a->region), T(a->tags), T(a->token), I(a->enrolled), I(a->seen),
                               I(a->cert_until), I(a->rules_version), I(a->policy_version), T(a->status), T(a->serial),
                               I(a->enrolled)));
    return rc == SK_ENOENT ? SK_EEXIST : rc;
}

int store_agent_get(struct store *s, const char *id, struct store_agent *out)
{
    memset(out, 0, sizeof *out);
    return inside_one(s, "SELECT " COLUMNS " FROM agent WHERE id=?", ARGS(T(id)), take_agent, out);
}

/* Who asks twice, because no answer came, still has only the certificate from before the first time: that one is kept.
 */
int store_agent_renewed(struct store *s, const char *id, const char *serial, int64_t cert_until)
{
    return change_agent(s, id,
                        "UPDATE agent SET serial_before = CASE WHEN serial_before = '' THEN serial ELSE serial_before"
                        " END, serial=?, cert_until=? WHERE id=?",
                        ARGS(T(serial), I(cert_until), T(id)));
}

int store_agent_check(struct store *s, const char *id, const char *serial)
{
    bool own;
    struct known *k;
    if (!db_text_ok(id) || !db_text_ok(serial))
        return SK_EINVAL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = known_agent(s, id, &k);
    if (rc == SK_OK && !k->found)
        rc = SK_ENOENT;
    else if (rc == SK_OK && (k->agent.state != STORE_AGENT_ACTIVE || !*serial))
        rc = SK_EPERM;
    else if (rc == SK_OK && strcmp(serial, k->agent.serial) != 0)
        rc = strcmp(serial, k->agent.before) == 0 ? SK_OK : SK_EPERM;
    else if (rc == SK_OK && *k->agent.before) {
        *k->agent.before = '\0';
        rc = inside_change(s, "UPDATE agent SET serial_before='' WHERE id=? AND serial=?", ARGS(T(id), T(serial)));
    }
    return inside_leave(s, own, rc);
}

enum { BEAT_COLUMNS = 7 };

struct beat {
    const char *address, *version, *status;
    int64_t now, rules, policy;
};

/* Of several, the last. */
static int take_beat(struct store *s, struct known *k, const struct beat *b)
{
    const char *address = later_text(s, b->address), *version = later_text(s, b->version),
               *status = later_text(s, b->status);
    if (!address || !version || !status)
        return SK_ENOMEM;
    struct db_value *row =
        k->row ? s->later.beats.v + (k->row - 1) * BEAT_COLUMNS : later_row(&s->later.beats, BEAT_COLUMNS);
    if (!row)
        return SK_ENOMEM;
    if (!k->row)
        k->row = s->later.beats.n;
    const struct db_value all[BEAT_COLUMNS] = {T(k->a),   I(b->now),   T(address),  T(version),
                                               T(status), I(b->rules), I(b->policy)};
    memcpy(row, all, sizeof all);
    s->later.any = true;
    return SK_OK;
}

int store_agent_beat(struct store *s, const char *id, int64_t now, const char *address, const char *version,
                     const char *status, int64_t rules_version, int64_t policy_version)
{
    struct store_agent *a;
    struct known *k;
    bool own;
    if (!inside_fits(address, sizeof a->address) || !inside_fits(version, sizeof a->version) ||
        !inside_fits(status, sizeof a->status))
        return SK_EFULL;
    if (!db_text_ok(id) || !db_text_ok(address) || !db_text_ok(version) || !db_text_ok(status))
        return SK_EINVAL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = known_agent(s, id, &k);
    if (rc == SK_OK && !k->found)
        rc = SK_ENOENT;
    if (rc == SK_OK)
        rc = take_beat(s, k, &(struct beat){address, version, status, now, rules_version, policy_version});
    return inside_leave(s, own, rc);
}

int store_agent_may_block(struct store *s, const char *id, int64_t most, int64_t now)
{
    bool own;
    struct known *k;
    int64_t cost = most > 0 ? MS_PER_DAY / most : 0;
    if (!db_text_ok(id))
        return SK_EINVAL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = known_agent_locked(s, id, &k);
    if (rc == SK_OK && !k->found)
        rc = SK_ENOENT;
    if (rc == SK_OK) {
        int64_t debt = k->agent.debt < now ? now : k->agent.debt > now + MS_PER_DAY ? now + MS_PER_DAY : k->agent.debt;
        rc = debt + cost - now > MS_PER_DAY ? SK_EFULL : SK_OK;
        k->agent.debt = rc == SK_OK ? debt + cost : debt;
    }
    if (rc == SK_OK && cost > 0) {
        later_list(&s->later.debts, k);
        s->later.any = true;
    }
    return inside_leave(s, own, rc);
}

/* Back to active, while another agent of that instance is: refused before the index does. */
static int instance_is_free(struct store *s, const char *id)
{
    int64_t n;
    int rc = inside_int(s,
                        "SELECT count(*) FROM agent WHERE state <> 2 AND instance <> '' AND id <> ?"
                        " AND instance = (SELECT instance FROM agent WHERE id=?)",
                        ARGS(T(id), T(id)), &n);
    return rc != SK_OK ? rc : n > 0 ? SK_EEXIST : SK_OK;
}

int store_agent_set_state(struct store *s, const char *id, enum store_agent_state state, int64_t now)
{
    bool own;
    int rc = inside_enter(s, &own);
    s->notify = true;
    if (rc == SK_OK && state != STORE_AGENT_RETIRED)
        rc = instance_is_free(s, id);
    if (rc == SK_OK)
        rc = change_agent(s, id, "UPDATE agent SET state=?,changed=? WHERE id=?", ARGS(I(state), I(now), T(id)));
    return inside_leave(s, own, rc);
}

int store_agents_retire(struct store *s, int64_t since, int64_t now, unsigned *n)
{
    bool own;
    int64_t rows = 0;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_settle(s);
    known_clear(s);
    if (rc == SK_OK)
        rc = db_exec(s->db, "UPDATE agent SET state=2,changed=? WHERE state=0 AND seen < ?", ARGS(I(now), I(since)),
                     &rows);
    s->notify = s->notify || rows > 0;
    *n = (unsigned)rows;
    return inside_leave(s, own, rc);
}

struct agent_reader {
    store_agent_fn *fn;
    void *arg;
};

static void give_agent(void *arg, const struct db_rows *r)
{
    const struct agent_reader *g = arg;
    struct store_agent a;
    take_agent(&a, r);
    g->fn(g->arg, &a);
}

int store_agents(struct store *s, store_agent_fn *fn, void *arg)
{
    struct agent_reader g = {fn, arg};
    return inside_each(s, "SELECT " COLUMNS " FROM agent ORDER BY enrolled, id", NULL, 0, give_agent, &g);
}
