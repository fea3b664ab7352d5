/* `status`: counts, and the managers that run. */
#include <inttypes.h>
#include <stdlib.h>
#include "base/clock.h"
#include "cli.h"
#include "options.h"
#include "show.h"

static int gather(const struct options *o, json_t **out)
{
    struct store_counts c;
    char *text = NULL;
    if (store_counts(o->store, options_now(), &c) != SK_OK)
        return options_store_failed(o);
    int rc = store_memo_get(o->store, "managers", &text);
    if (rc != SK_OK && rc != SK_ENOENT)
        return options_store_failed(o);
    int64_t rules = 0, policy = 0;
    if (store_bundle_latest(o->store, "rules", &rules) != SK_OK ||
        store_bundle_latest(o->store, "policy", &policy) != SK_OK)
        rc = SK_EIO;
    *out = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "store", store_kind(o->store), "agents",
                     (json_int_t)c.agents, "silent", (json_int_t)c.silent, "blocks", (json_int_t)c.blocks, "entries",
                     (json_int_t)c.entries, "events", (json_int_t)c.events, "outgoing", (json_int_t)c.outgoing, "bytes",
                     (json_int_t)c.bytes, "rules_version", (json_int_t)rules, "policy_version", (json_int_t)policy,
                     "managers", text != NULL ? show_nested(text) : json_object());
    free(text);
    return rc == SK_EIO ? options_store_failed(o) : CLI_OK;
}

static void print_managers(const json_t *all)
{
    const char *name;
    json_t *m, *rows = json_array();
    static const struct show_column columns[] = {
        {"MANAGER", "name", SHOW_TEXT, 60}, {"VERSION", "version", SHOW_TEXT, 16}, {"LEADS", "leads", SHOW_TEXT, 0},
        {"UP", "started_ms", SHOW_AGO, 0},  {"HEARD", "time_ms", SHOW_AGO, 0},
    };
    json_object_foreach((json_t *)all, name, m)
    {
        json_object_set_new(m, "name", json_string(name));
        json_array_append(rows, m);
    }
    show_rows(rows, false, columns, sizeof(columns) / sizeof(columns[0]), options_now(), "no manager is running");
}

int cmd_status(int argc, char **argv)
{
    static const struct show_column columns[] = {
        {"Database", "store", SHOW_TEXT, 0},        {"Bytes", "bytes", SHOW_NUMBER, 0},
        {"Agents", "agents", SHOW_NUMBER, 0},       {"Silent", "silent", SHOW_NUMBER, 0},
        {"Blocks", "blocks", SHOW_NUMBER, 0},       {"Targets", "entries", SHOW_NUMBER, 0},
        {"Events", "events", SHOW_NUMBER, 0},       {"To be sent", "outgoing", SHOW_NUMBER, 0},
        {"Rules", "rules_version", SHOW_NUMBER, 0}, {"Policy", "policy_version", SHOW_NUMBER, 0},
    };
    struct options o;
    json_t *j = NULL;
    int rc = options_open(&o, argc, argv, "j", 0, 0);
    if (rc == CLI_OK)
        rc = gather(&o, &j);
    if (rc != CLI_OK || o.json) {
        if (rc == CLI_OK)
            show_object(j, true, NULL, 0, 0);
        else
            json_decref(j);
        return options_close(&o, rc);
    }
    json_t *managers = json_incref(json_object_get(j, "managers"));
    show_object(j, false, columns, sizeof(columns) / sizeof(columns[0]), options_now());
    putchar('\n');
    print_managers(managers);
    json_decref(managers);
    return options_close(&o, rc);
}
