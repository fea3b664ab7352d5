/* `events`, `audit`. */
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "options.h"
#include "show.h"

static const char *text_at(const json_t *j, const char *a, const char *b)
{
    const char *s = json_string_value(json_object_get(b != NULL ? json_object_get(j, a) : j, b != NULL ? b : a));
    return s != NULL ? s : "";
}

/* One line for people: what an alert says, or the target of a block. */
static json_t *line_of(const json_t *event)
{
    char line[512];
    const char *signature = text_at(event, "alert", "signature"), *source = text_at(event, "src_ip", NULL);
    const char *target = text_at(event, "target", NULL), *id = text_at(event, "id", NULL);
    if (signature[0] != '\0')
        snprintf(line, sizeof(line), "%.45s: %.400s", source, signature);
    else
        snprintf(line, sizeof(line), "%.64s %.400s", target[0] != '\0' ? target : source,
                 target[0] != '\0' ? text_at(event, "reason", NULL) : id);
    return show_string(line);
}

static void add_event(void *rows, const struct store_event *e)
{
    json_t *body = show_nested(e->json),
           *line = line_of(json_is_object(json_object_get(body, "event")) ? json_object_get(body, "event") : body);
    json_array_append_new(rows,
                          json_pack("{s:I,s:s,s:I,s:s,s:o,s:o}", "id", (json_int_t)e->id, "agent", e->agent, "time_ms",
                                    (json_int_t)e->time, "type", e->type, "event", body, "line", line));
}

static int take_after(const struct options *o, int64_t *after)
{
    *after = -1;
    if (o->after == NULL)
        return CLI_OK;
    char *end;
    *after = strtoll(o->after, &end, 10);
    if (o->after[0] < '0' || o->after[0] > '9' || *end != '\0' || *after < 0)
        return cli_usage(o->verb, "--after is the ID of an event, not '%s'", o->after);
    return CLI_OK;
}

static int list_events(struct options *o)
{
    static const struct show_column columns[] = {
        {"ID", "id", SHOW_NUMBER, 0},   {"TIME (UTC)", "time_ms", SHOW_TIME, 0}, {"AGENT", "agent", SHOW_TEXT, 0},
        {"TYPE", "type", SHOW_TEXT, 0}, {"WHAT", "line", SHOW_TEXT, 120},
    };
    struct store_agent a;
    unsigned limit;
    int64_t after;
    int rc = options_limit(o, &limit);
    if (rc == CLI_OK)
        rc = take_after(o, &after);
    if (rc == CLI_OK && o->agent != NULL)
        rc = options_agent(o, o->agent, &a);
    if (rc != CLI_OK)
        return rc;
    json_t *rows = json_array();
    if (store_events(o->store, o->agent != NULL ? a.id : NULL, o->type, after, limit, add_event, rows) != SK_OK) {
        json_decref(rows);
        return options_store_failed(o);
    }
    show_rows(rows, o->json, columns, sizeof(columns) / sizeof(columns[0]), options_now(), "no event fits");
    return CLI_OK;
}

int cmd_events(int argc, char **argv)
{
    struct options o;
    int rc = options_open(&o, argc, argv, "jayAl", 0, 0);
    if (rc == CLI_OK)
        rc = list_events(&o);
    return options_close(&o, rc);
}

static void add_audit(void *rows, const struct store_audit *a)
{
    json_array_append_new(rows, json_pack("{s:I,s:I,s:o,s:o,s:o}", "id", (json_int_t)a->id, "time_ms",
                                          (json_int_t)a->time, "who", show_string(a->who), "what", show_string(a->what),
                                          "detail", show_string(a->detail)));
}

int cmd_audit(int argc, char **argv)
{
    static const struct show_column columns[] = {
        {"TIME (UTC)", "time_ms", SHOW_TIME, 0},
        {"WHO", "who", SHOW_TEXT, 0},
        {"WHAT", "what", SHOW_TEXT, 0},
        {"DETAIL", "detail", SHOW_TEXT, 0},
    };
    struct options o;
    unsigned limit;
    int rc = options_open(&o, argc, argv, "jl", 0, 0);
    if (rc == CLI_OK)
        rc = options_limit(&o, &limit);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    json_t *rows = json_array();
    if (store_audits(o.store, 0, limit, add_audit, rows) != SK_OK) {
        json_decref(rows);
        return options_close(&o, options_store_failed(&o));
    }
    show_rows(rows, o.json, columns, sizeof(columns) / sizeof(columns[0]), options_now(), "nothing has been changed");
    return options_close(&o, CLI_OK);
}
