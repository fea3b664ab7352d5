/* From what came in to what waits: {"agent": ID, "item": {...}}. */
#include <stdlib.h>
#include <string.h>
#include "output_priv.h"

static bool is(const json_t *v, const char *s)
{
    return json_is_string(v) && strcmp(json_string_value(v), s) == 0;
}

/* SNS: the end of a block has no form that Deep Security's readers know. */
static bool wants(const struct output_sink *k, const json_t *item)
{
    const json_t *type = json_object_get(item, "type");
    const json_t *event = json_object_get(json_object_get(item, "event"), "event_type");
    if (is(type, "block"))
        return k->blocks;
    if (is(type, "end"))
        return k->blocks && k->kind == OUTPUT_WEBHOOK;
    return k->events && is(type, "event") && (is(event, "alert") || is(event, "flood"));
}

/* The fields that an item has (docs/manager-api.yaml): what else an agent writes into it is not passed on. */
static json_t *known_fields(json_t *item)
{
    static const char *const known[] = {"type",       "time_ms", "event",    "id",  "target", "created_ms",
                                        "expires_ms", "origin",  "cause",    "sid", "gid",    "score",
                                        "repeat",     "reason",  "ended_ms", "why"};
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (json_object_get(item, known[i]) != NULL)
            json_object_set(out, known[i], json_object_get(item, known[i]));
    if (!is(json_object_get(item, "type"), "event"))
        json_object_del(out, "event");
    return out;
}

static char *payload_make(const char *agent, json_t *item)
{
    json_t *root = json_pack("{s:s, s:o}", "agent", agent, "item", known_fields(item));
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

void output_take(struct store *s, const struct output_sink *sinks, unsigned n, const char *agent, const char *item_json,
                 int64_t now_ms)
{
    json_t *item = n > 0 ? json_loads(item_json, 0, NULL) : NULL;
    char *payload = NULL;
    for (unsigned i = 0; item != NULL && i < n; i++) {
        if (!wants(&sinks[i], item))
            continue;
        if (payload == NULL)
            payload = payload_make(agent, item);
        if (payload == NULL)
            break;
        (void)(store_out_add(s, sinks[i].name, payload, now_ms) == SK_OK); /* the commit says what failed */
    }
    free(payload);
    json_decref(item);
}

int payload_open(const char *payload, char agent[STORE_AGENT_LEN], json_t **item)
{
    json_t *root = json_loads(payload, JSON_REJECT_DUPLICATES, NULL), *a = json_object_get(root, "agent");
    agent[0] = '\0';
    *item = json_incref(json_object_get(root, "item"));
    bool ok = json_is_object(*item) && json_is_string(a) && json_string_length(a) < STORE_AGENT_LEN;
    if (ok) {
        memcpy(agent, json_string_value(a), json_string_length(a) + 1);
    } else {
        json_decref(*item);
        *item = NULL;
    }
    json_decref(root);
    return ok ? SK_OK : SK_EINVAL;
}
