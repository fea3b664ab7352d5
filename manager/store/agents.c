#include "inside.h"

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

int store_agent_add(struct store *s, const struct store_agent *a)
{
    int rc = inside_change(s,
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
    return inside_change(s,
                         "UPDATE agent SET serial_before = CASE WHEN serial_before = '' THEN serial ELSE serial_before"
                         " END, serial=?, cert_until=? WHERE id=?",
                         ARGS(T(serial), I(cert_until), T(id)));
}

struct serials {
    int64_t state;
    char now[STORE_SERIAL_LEN], before[STORE_SERIAL_LEN];
};

static void take_serials(void *arg, const struct db_rows *r)
{
    struct serials *n = arg;
    n->state = db_int(r, 0);
    db_copy(r, 1, n->now, sizeof n->now);
    db_copy(r, 2, n->before, sizeof n->before);
}

int store_agent_check(struct store *s, const char *id, const char *serial)
{
    struct serials n;
    int rc = inside_one(s, "SELECT state,serial,serial_before FROM agent WHERE id=?", ARGS(T(id)), take_serials, &n);
    if (rc != SK_OK)
        return rc;
    if (n.state != STORE_AGENT_ACTIVE || !*serial)
        return SK_EPERM;
    if (strcmp(serial, n.now) != 0)
        return strcmp(serial, n.before) == 0 ? SK_OK : SK_EPERM;
    if (!*n.before)
        return SK_OK;
    return inside_change(s, "UPDATE agent SET serial_before='' WHERE id=? AND serial=?", ARGS(T(id), T(serial)));
}

int store_agent_beat(struct store *s, const char *id, int64_t now, const char *address, const char *version,
                     const char *status, int64_t rules_version, int64_t policy_version)
{
    struct store_agent *a;
    if (!inside_fits(address, sizeof a->address) || !inside_fits(version, sizeof a->version) ||
        !inside_fits(status, sizeof a->status))
        return SK_EFULL;
    return inside_change(
        s, "UPDATE agent SET seen=?,address=?,version=?,status=?,rules_version=?,policy_version=? WHERE id=?",
        ARGS(I(now), T(address), T(version), T(status), I(rules_version), I(policy_version), T(id)));
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
        rc = inside_change(s, "UPDATE agent SET state=?,changed=? WHERE id=?", ARGS(I(state), I(now), T(id)));
    return inside_leave(s, own, rc);
}

int store_agents_retire(struct store *s, int64_t since, int64_t now, unsigned *n)
{
    bool own;
    int64_t rows = 0;
    int rc = inside_enter(s, &own);
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
