/* `blocks`, `block`, `unblock`, `entries`. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/escape.h"
#include "cli.h"
#include "options.h"
#include "pki/pki.h"
#include "show.h"

#define ID_BYTES    8  /* as long as agents' own IDs: they keep no longer ones */
#define WIDEST_V4   16 /* as for what agents send */
#define WIDEST_V6   32
#define DEFAULT_FOR "1h"

struct listing {
    json_t *rows;
    struct store *store;
    int64_t now;
};

static void add_block(void *arg, const struct store_block *b)
{
    struct listing *l = arg;
    const char *state = b->ended != 0 ? b->why : b->expires <= l->now ? "expired" : "in force";
    json_array_append_new(l->rows,
                          json_pack("{s:s,s:s,s:o,s:s,s:I,s:o,s:o,s:I,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:o}", "id", b->id,
                                    "agent", b->agent, "target", show_prefix(&b->target), "state", state, "created_ms",
                                    (json_int_t)b->created, "expires_ms", show_ms(b->expires), "ends_ms",
                                    show_ms(b->ended != 0 ? b->ended : b->expires), "ended_ms", (json_int_t)b->ended,
                                    "why", b->why, "origin", b->origin, "cause", b->cause, "sid", (json_int_t)b->sid,
                                    "gid", (json_int_t)b->gid, "score", (json_int_t)b->score, "repeat",
                                    (json_int_t)b->repeat, "reason", show_string(b->reason)));
}

/* Whose block it is, for people: a host name instead of an ID. */
static void name_hosts(struct listing *l)
{
    size_t i;
    json_t *row;
    struct store_agent a;
    json_array_foreach(l->rows, i, row)
    {
        const char *id = json_string_value(json_object_get(row, "agent"));
        if (id == NULL || id[0] == '\0')
            json_object_set_new(row, "host", json_string("the manager"));
        else if (store_agent_get(l->store, id, &a) == SK_OK)
            json_object_set_new(row, "host", show_string(a.host));
    }
}

static int list_blocks(struct options *o)
{
    static const struct show_column columns[] = {
        {"TARGET", "target", SHOW_TEXT, 0}, {"STATE", "state", SHOW_TEXT, 0},
        {"LEFT", "ends_ms", SHOW_LEFT, 0},  {"SET (UTC)", "created_ms", SHOW_TIME, 0},
        {"HOST", "host", SHOW_TEXT, 40},    {"ID", "id", SHOW_TEXT, 0},
        {"BY", "origin", SHOW_TEXT, 0},     {"REASON", "reason", SHOW_TEXT, 80},
    };
    struct listing l = {.store = o->store, .now = options_now()};
    struct sk_prefix target;
    struct store_agent a = {.id = ""};
    unsigned limit;
    int rc = options_limit(o, &limit);
    if (rc == CLI_OK && o->target != NULL)
        rc = options_prefix(o->target, &target);
    if (rc == CLI_OK && o->agent != NULL)
        rc = options_agent(o, o->agent, &a);
    if (rc != CLI_OK)
        return rc;
    l.rows = json_array();
    if (store_blocks(o->store, o->target != NULL ? &target : NULL, o->agent != NULL ? a.id : NULL, !o->history, 0,
                     limit, l.now, add_block, &l) != SK_OK) {
        json_decref(l.rows);
        return options_store_failed(o);
    }
    name_hosts(&l);
    show_rows(l.rows, o->json, columns, sizeof(columns) / sizeof(columns[0]), l.now,
              o->target != NULL || o->agent != NULL ? "no block fits" : "nothing is blocked");
    return CLI_OK;
}

int cmd_blocks(int argc, char **argv)
{
    struct options o;
    int rc = options_open(&o, argc, argv, "jTaHl", 0, 0);
    if (rc == CLI_OK)
        rc = list_blocks(&o);
    return options_close(&o, rc);
}

static int check_target(const struct options *o, const struct sk_prefix *p)
{
    char buf[SK_PREFIX_STRLEN], net[SK_PREFIX_STRLEN];
    uint8_t len = sk_prefix_family_len(p), widest = sk_addr_is_v4(&p->addr) && p->len >= 96 ? WIDEST_V4 : WIDEST_V6;
    if (len < widest)
        return cli_fail("%s is too wide: /%u at the most", sk_prefix_format(p, buf), widest);
    if (sk_addr_is_special(&p->addr))
        return cli_fail("%s cannot be blocked", sk_prefix_format(p, buf));
    for (uint32_t i = 0; i < o->settings->never.n; i++)
        if (sk_prefix_overlaps(&o->settings->never.v[i], p))
            return cli_fail("%s is never blocked: `never` holds %s", sk_prefix_format(p, buf),
                            sk_prefix_format(&o->settings->never.v[i], net));
    return CLI_OK;
}

static int describe(const struct options *o, struct store_block *b)
{
    char id[ID_BYTES * 8 / 5 + 2];
    const char *reason = o->reason != NULL ? o->reason : "";
    int rc = options_prefix(o->arg[0], &b->target);
    if (rc == CLI_OK)
        rc = check_target(o, &b->target);
    b->created = options_now();
    if (rc == CLI_OK)
        rc = options_until(o->duration != NULL ? o->duration : DEFAULT_FOR, false, b->created, &b->expires);
    if (rc != CLI_OK)
        return rc;
    for (const char *p = reason; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return cli_usage(o->verb, "--reason holds control characters");
    if (strlen(reason) >= sizeof(b->reason))
        return cli_usage(o->verb, "--reason is longer than %zu characters", sizeof(b->reason) - 1);
    if (pki_random_text(ID_BYTES, id) != SK_OK)
        return cli_fail("no random numbers");
    snprintf(b->id, sizeof(b->id), "M%s", id);
    strcpy(b->origin, "operator");
    strcpy(b->cause, "operator");
    strcpy(b->reason, reason);
    return CLI_OK;
}

int cmd_block(int argc, char **argv)
{
    struct options o;
    struct store_block b = {.created = 0};
    char target[SK_PREFIX_STRLEN], detail[STORE_TEXT_MAX], left[32];
    int rc = options_open(&o, argc, argv, "fR", 1, 1);
    if (rc == CLI_OK)
        rc = describe(&o, &b);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    sk_prefix_format(&b.target, target);
    sk_duration_format((b.expires - b.created) / 1000, left);
    snprintf(detail, sizeof(detail), "%s for %s%s%.300s", target, left, b.reason[0] != '\0' ? ": " : "", b.reason);
    int err = store_begin(o.store);
    if (err == SK_OK)
        err = store_block_put(o.store, &b, b.created);
    if (err == SK_OK)
        err = store_audit(o.store, b.created, o.who, "block", detail);
    if (err == SK_OK)
        err = store_commit(o.store);
    else
        store_rollback(o.store);
    if (err != SK_OK)
        rc = options_store_failed(&o);
    else
        printf("%s is blocked on the whole fleet for %s (%s)\n", target, left, b.id);
    return options_close(&o, rc);
}

int cmd_unblock(int argc, char **argv)
{
    struct options o;
    struct sk_prefix p;
    char target[SK_PREFIX_STRLEN];
    unsigned n = 0;
    int rc = options_open(&o, argc, argv, "", 1, 1);
    if (rc == CLI_OK)
        rc = options_prefix(o.arg[0], &p);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    sk_prefix_format(&p, target);
    int err = store_begin(o.store);
    if (err == SK_OK)
        err = store_unblock(o.store, &p, options_now(), "unblocked", &n);
    if (err == SK_OK)
        err = store_audit(o.store, options_now(), o.who, "unblock", target);
    if (err == SK_OK)
        err = store_commit(o.store);
    else
        store_rollback(o.store);
    if (err == SK_ENOENT)
        rc = cli_fail("%s is not blocked", target);
    else if (err != SK_OK)
        rc = options_store_failed(&o);
    else
        printf("%s is unblocked on the whole fleet: %u block%s ended\n", target, n, n == 1 ? "" : "s");
    return options_close(&o, rc);
}

static void add_entry(void *arg, const struct store_entry *e)
{
    struct listing *l = arg;
    json_array_append_new(
        l->rows, json_pack("{s:o,s:I,s:o,s:I,s:s,s:o,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "target",
                           show_prefix(&e->target), "created_ms", (json_int_t)e->created, "expires_ms",
                           show_ms(e->expires), "last_ms", (json_int_t)e->last, "agent", e->agent, "host",
                           show_string(e->agent[0] == '\0' ? "the manager" : e->host), "id", e->id, "origin", e->origin,
                           "sid", (json_int_t)e->sid, "gid", (json_int_t)e->gid, "agents", (json_int_t)e->agents,
                           "score", (json_int_t)e->score, "repeat", (json_int_t)e->repeat, "seq", (json_int_t)e->seq,
                           "reason", show_string(e->reason)));
}

int cmd_entries(int argc, char **argv)
{
    static const struct show_column columns[] = {
        {"TARGET", "target", SHOW_TEXT, 0},  {"LEFT", "expires_ms", SHOW_LEFT, 0},
        {"HOSTS", "agents", SHOW_NUMBER, 0}, {"LONGEST BY", "host", SHOW_TEXT, 40},
        {"BY", "origin", SHOW_TEXT, 0},      {"REASON", "reason", SHOW_TEXT, 80},
    };
    struct options o;
    struct listing l = {.now = options_now()};
    int rc = options_open(&o, argc, argv, "j", 0, 0);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    l.rows = json_array();
    if (store_entries(o.store, l.now, add_entry, &l) != SK_OK) {
        json_decref(l.rows);
        return options_close(&o, options_store_failed(&o));
    }
    show_rows(l.rows, o.json, columns, sizeof(columns) / sizeof(columns[0]), l.now, "nothing is blocked");
    return options_close(&o, CLI_OK);
}
