/* Signed bundles, and what the AWS WAF writer must remember. */
#include <stdlib.h>
#include "inside.h"

int store_bundle_add(struct store *s, const struct store_bundle *b)
{
    bool own;
    int64_t latest;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_lock(s); /* two at once: one after the other */
    if (rc == SK_OK)
        rc = store_bundle_latest(s, b->kind, &latest);
    if (rc == SK_OK && b->version <= latest)
        rc = SK_EEXIST;
    if (rc == SK_OK)
        rc = db_exec(
            s->db, "INSERT INTO bundle(kind,version,created,payload,signature) VALUES(?,?,?,?,?)",
            ARGS(T(b->kind), I(b->version), I(b->created), db_b(b->payload, b->len), db_b(b->sig, sizeof b->sig)),
            NULL);
    s->notify = s->notify || rc == SK_OK;
    return inside_leave(s, own, rc);
}

struct bundle_reader {
    store_bundle_fn *fn;
    void *arg;
};

static void give_bundle(void *arg, const struct db_rows *r)
{
    const struct bundle_reader *g = arg;
    struct store_bundle b = {.version = db_int(r, 1), .created = db_int(r, 2)};
    size_t len;
    db_copy(r, 0, b.kind, sizeof b.kind);
    const void *sig = db_bytes(r, 4, &len);
    if (sig && len == sizeof b.sig)
        memcpy(b.sig, sig, len);
    b.payload = db_bytes(r, 3, &b.len);
    if (!b.payload)
        b.payload = "";
    g->fn(g->arg, &b);
}

#define SELECT_BUNDLE "SELECT kind,version,created,payload,signature FROM bundle WHERE kind=? "

int store_bundle_get(struct store *s, const char *kind, int64_t version, store_bundle_fn *fn, void *arg)
{
    struct bundle_reader g = {fn, arg};
    if (version == 0)
        return inside_one(s, SELECT_BUNDLE "ORDER BY version DESC LIMIT 1", ARGS(T(kind)), give_bundle, &g);
    return inside_one(s, SELECT_BUNDLE "AND version=?", ARGS(T(kind), I(version)), give_bundle, &g);
}

int store_bundle_latest(struct store *s, const char *kind, int64_t *version)
{
    return inside_int(s, "SELECT max(version) FROM bundle WHERE kind=?", ARGS(T(kind)), version);
}

struct prefix_reader {
    store_prefix_fn *fn;
    void *arg;
};

static void give_prefix(void *arg, const struct db_rows *r)
{
    const struct prefix_reader *g = arg;
    struct sk_prefix p = inside_prefix(db_text(r, 0));
    g->fn(g->arg, &p);
}

int store_waf_owned(struct store *s, const char *set, store_prefix_fn *fn, void *arg)
{
    struct prefix_reader g = {fn, arg};
    return inside_each(s, "SELECT target FROM waf_owned WHERE ipset=?", ARGS(T(set)), give_prefix, &g);
}

struct set_reader {
    void (*fn)(void *arg, const char *set);
    void *arg;
};

static void give_set(void *arg, const struct db_rows *r)
{
    const struct set_reader *g = arg;
    g->fn(g->arg, db_text(r, 0));
}

int store_waf_sets(struct store *s, void (*fn)(void *arg, const char *set), void *arg)
{
    struct set_reader g = {fn, arg};
    return inside_each(s, "SELECT DISTINCT ipset FROM waf_owned ORDER BY ipset", NULL, 0, give_set, &g);
}

int store_waf_own(struct store *s, const char *set, const struct sk_prefix *add, size_t nadd,
                  const struct sk_prefix *del, size_t ndel)
{
    bool own;
    int rc = inside_enter(s, &own);
    for (size_t i = 0; i < ndel && rc == SK_OK; i++)
        rc = db_exec(s->db, "DELETE FROM waf_owned WHERE ipset=? AND target=?",
                     ARGS(T(set), T(inside_target(&del[i]).s)), NULL);
    for (size_t i = 0; i < nadd && rc == SK_OK; i++)
        rc = db_exec(s->db, "INSERT INTO waf_owned(ipset,target) VALUES(?,?) ON CONFLICT DO NOTHING",
                     ARGS(T(set), T(inside_target(&add[i]).s)), NULL);
    return inside_leave(s, own, rc);
}

int store_memo_set(struct store *s, const char *name, const char *text)
{
    return inside_change(
        s, "INSERT INTO memo(name,value) VALUES(?,?) ON CONFLICT(name) DO UPDATE SET value=excluded.value",
        ARGS(T(name), T(text)));
}

static void take_copy(void *arg, const struct db_rows *r)
{
    *(char **)arg = strdup(db_text(r, 0));
}

int store_memo_get(struct store *s, const char *name, char **text)
{
    *text = NULL;
    int rc = inside_one(s, "SELECT value FROM memo WHERE name=?", ARGS(T(name)), take_copy, text);
    return rc == SK_OK && !*text ? SK_ENOMEM : rc;
}
