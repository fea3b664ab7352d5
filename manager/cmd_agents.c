/* `agents`, `agent`, `revoke`, `retire`. */
#include <string.h>
#include "base/clock.h"
#include "cli.h"
#include "options.h"
#include "show.h"

#define SILENT_BEATS 3 /* heartbeats that may be missing */

static const char *const states[] = {"active", "silent", "revoked", "retired", NULL};

struct listing {
    json_t *rows;
    int64_t now, silent; /* ms */
    const char *only;
};

static const char *state_of(const struct listing *l, const struct store_agent *a)
{
    if (a->state == STORE_AGENT_REVOKED)
        return "revoked";
    if (a->state == STORE_AGENT_RETIRED)
        return "retired";
    return l->now - a->seen > l->silent ? "silent" : "active";
}

static json_t *row(const struct listing *l, const struct store_agent *a)
{
    json_t *status = show_nested(a->status), *blocks = json_object_get(status, "blocks");
    json_t *j = json_pack("{s:s,s:s,s:o,s:o,s:s,s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:o,s:s,s:s,s:o,s:O?}", "id", a->id,
                          "state", state_of(l, a), "host", show_string(a->host), "version", show_string(a->version),
                          "address", a->address, "seen_ms", (json_int_t)a->seen, "enrolled_ms", (json_int_t)a->enrolled,
                          "cert_until_ms", (json_int_t)a->cert_until, "rules_version", (json_int_t)a->rules_version,
                          "policy_version", (json_int_t)a->policy_version, "instance", a->instance, "account",
                          a->account, "region", a->region, "tags", show_nested(a->tags), "token", a->token, "serial",
                          a->serial, "status", status, "blocks", blocks);
    return j;
}

static void add_row(void *arg, const struct store_agent *a)
{
    struct listing *l = arg;
    if (l->only == NULL || strcmp(state_of(l, a), l->only) == 0)
        json_array_append_new(l->rows, row(l, a));
}

static void listing_of(const struct options *o, struct listing *l)
{
    *l = (struct listing){.now = options_now(), .only = o->state};
    l->silent = SILENT_BEATS * o->settings->agents.heartbeat / SK_NS_PER_MS;
}

int cmd_agents(int argc, char **argv)
{
    static const struct show_column columns[] = {
        {"ID", "id", SHOW_TEXT, 0},
        {"HOST", "host", SHOW_TEXT, 40},
        {"STATE", "state", SHOW_TEXT, 0},
        {"SEEN", "seen_ms", SHOW_AGO, 0},
        {"VERSION", "version", SHOW_TEXT, 16},
        {"RULES", "rules_version", SHOW_NUMBER, 0},
        {"POLICY", "policy_version", SHOW_NUMBER, 0},
        {"ADDRESS", "address", SHOW_TEXT, 0},
        {"TAGS", "tags", SHOW_TEXT, 60},
    };
    struct options o;
    struct listing l;
    int index, rc = options_parse(&o, argc, argv, "jS", 0, 0);
    if (rc == CLI_OK)
        rc = options_word(&o, "--state", o.state, states, &index);
    if (rc == CLI_OK)
        rc = options_store(&o);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    listing_of(&o, &l);
    l.rows = json_array();
    if (store_agents(o.store, add_row, &l) != SK_OK) {
        json_decref(l.rows);
        return options_close(&o, options_store_failed(&o));
    }
    show_rows(l.rows, o.json, columns, sizeof(columns) / sizeof(columns[0]), l.now,
              o.state != NULL ? "no agent is in that state" : "no host has enrolled yet");
    return options_close(&o, CLI_OK);
}

int cmd_agent(int argc, char **argv)
{
    static const struct show_column columns[] = {
        {"ID", "id", SHOW_TEXT, 0},
        {"Host", "host", SHOW_TEXT, 0},
        {"State", "state", SHOW_TEXT, 0},
        {"Version", "version", SHOW_TEXT, 0},
        {"Address", "address", SHOW_TEXT, 0},
        {"Seen", "seen_ms", SHOW_TIME, 0},
        {"Enrolled", "enrolled_ms", SHOW_TIME, 0},
        {"With token", "token", SHOW_TEXT, 0},
        {"Certificate to", "cert_until_ms", SHOW_TIME, 0},
        {"Serial", "serial", SHOW_TEXT, 0},
        {"Rules", "rules_version", SHOW_NUMBER, 0},
        {"Policy", "policy_version", SHOW_NUMBER, 0},
        {"Instance", "instance", SHOW_TEXT, 0},
        {"Account", "account", SHOW_TEXT, 0},
        {"Region", "region", SHOW_TEXT, 0},
        {"Tags", "tags", SHOW_TEXT, 0},
        {"Reports", "status", SHOW_TEXT, 0},
    };
    struct options o;
    struct store_agent a;
    struct listing l;
    int rc = options_open(&o, argc, argv, "j", 1, 1);
    if (rc == CLI_OK)
        rc = options_agent(&o, o.arg[0], &a);
    if (rc == CLI_OK) {
        listing_of(&o, &l);
        show_object(row(&l, &a), o.json, columns, sizeof(columns) / sizeof(columns[0]), l.now);
    }
    return options_close(&o, rc);
}

static int change(int argc, char **argv, enum store_agent_state to, const char *what, const char *done)
{
    struct options o;
    struct store_agent a;
    char detail[STORE_TEXT_MAX];
    int rc = options_open(&o, argc, argv, "", 1, 1);
    if (rc == CLI_OK)
        rc = options_agent(&o, o.arg[0], &a);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    snprintf(detail, sizeof(detail), "%s %.200s", a.id, a.host);
    int err = store_begin(o.store);
    if (err == SK_OK)
        err = store_agent_set_state(o.store, a.id, to, options_now());
    if (err == SK_OK)
        err = store_audit(o.store, options_now(), o.who, what, detail);
    if (err == SK_OK)
        err = store_commit(o.store);
    else
        store_rollback(o.store);
    if (err != SK_OK)
        rc = options_store_failed(&o);
    else
        printf("agent %s is %s\n", a.id, done);
    return options_close(&o, rc);
}

int cmd_revoke(int argc, char **argv)
{
    return change(argc, argv, STORE_AGENT_REVOKED, "agent.revoke", "revoked");
}

int cmd_retire(int argc, char **argv)
{
    return change(argc, argv, STORE_AGENT_RETIRED, "agent.retire", "retired");
}
