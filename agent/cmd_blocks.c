/* `sekisho blocks`: pages of the agent's list, filtered there, sorted here. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"
#include "base/clock.h"
#include "cli.h"
#include "control_args.h"
#include "show_list.h"

#define HISTORY_LIMIT 1000 /* without --limit: of what has ended there may be a million */
#define LIMIT_MAX     1000000

static int check_word(const struct control_args *a, const char *option, const char *word, const char *const *words)
{
    if (word == NULL)
        return CLI_OK;
    for (; *words != NULL; words++)
        if (strcmp(word, *words) == 0)
            return CLI_OK;
    return cli_usage(a->verb, "%s does not know '%s'", option, word);
}

static int check(const struct control_args *a, int64_t *seconds)
{
    static const char *const sorts[] = {"created", "left", "hits", "target", NULL};
    static const char *const origins[] = {"rule", "operator", "fleet", "kernel", NULL};
    struct sk_prefix p;
    *seconds = 0;
    int rc = check_word(a, "--sort", a->sort, sorts);
    if (rc == CLI_OK)
        rc = check_word(a, "--origin", a->origin, origins);
    if (rc != CLI_OK)
        return rc;
    if (a->for_time != NULL && !a->history)
        return cli_usage(a->verb, "--for goes with --history");
    if (a->for_time != NULL && sk_duration_parse(a->for_time, seconds) != SK_OK)
        return control_bad_time(a->for_time);
    if (a->net != NULL && sk_prefix_parse(a->net, strlen(a->net), false, &p) != SK_OK)
        return control_bad_target(a->net);
    return CLI_OK;
}

static int take_limit(const struct control_args *a, size_t *limit)
{
    char *end;
    *limit = a->history && !a->count ? HISTORY_LIMIT : SIZE_MAX;
    if (a->limit == NULL)
        return CLI_OK;
    unsigned long n = strtoul(a->limit, &end, 10);
    if (*a->limit < '0' || *a->limit > '9' || *end != '\0' || n < 1 || n > LIMIT_MAX)
        return cli_usage(a->verb, "--limit is a number from 1 to %d, not '%s'", LIMIT_MAX, a->limit);
    *limit = n;
    return CLI_OK;
}

static json_t *request(const struct control_args *a, int64_t seconds)
{
    json_t *req = json_pack("{s:b,s:b,s:b,s:I}", "history", (int)a->history, "count", (int)a->count, "brief", !a->json,
                            "seconds", (json_int_t)seconds);
    const char *const text[][2] = {{"origin", a->origin}, {"net", a->net}, {"match", a->match}};
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
        if (text[i][1] != NULL)
            json_object_set_new(req, text[i][0], json_string(text[i][1]));
    return req;
}

/* One page into the list. Where the next one begins goes into the request; false: there is none. */
static bool take_page(const json_t *answer, json_t *req, struct show_list *l, long long *count, int *rc)
{
    size_t i;
    json_t *b, *cursor = json_object_get(answer, "cursor");
    l->dry_run = json_is_true(json_object_get(answer, "dry_run"));
    *count += json_integer_value(json_object_get(answer, "count"));
    json_array_foreach(json_object_get(answer, "blocks"), i, b) if (!show_list_add(l, b)) *rc =
        cli_fail("out of memory");
    if (cursor != NULL)
        json_object_set(req, "cursor", cursor);
    return cursor != NULL;
}

/*
 * Page after page, until the agent has no more. What has ended comes latest first: when that is the order that was
 * asked for, no more of it than is shown. Steals req.
 */
static int gather(const struct control_args *a, json_t *req, struct show_list *l, long long *count)
{
    bool more = true;
    int rc = CLI_OK;
    while (rc == CLI_OK && more && !(l->order == SHOW_ENDED && l->n > l->limit)) {
        json_t *answer;
        rc = control_call(a, json_incref(req), CONTROL_TIMEOUT_S, &answer);
        more = rc == CLI_OK && take_page(answer, req, l, count, &rc);
        json_decref(answer);
    }
    json_decref(req);
    return rc;
}

static enum show_order order_of(const struct control_args *a)
{
    static const char *const names[] = {
        [SHOW_CREATED] = "created", [SHOW_LEFT] = "left", [SHOW_HITS] = "hits", [SHOW_TARGET] = "target"};
    for (unsigned i = 0; a->sort != NULL && i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], a->sort) == 0)
            return (enum show_order)i;
    return a->history ? SHOW_ENDED : SHOW_CREATED;
}

int cmd_blocks(int argc, char **argv)
{
    struct control_args a;
    struct show_list l = {0};
    int64_t seconds = 0;
    long long count = 0;
    int rc = control_parse(&a, argc, argv, "jSonmlCHf", 0);
    if (rc == CLI_OK)
        rc = check(&a, &seconds);
    if (rc == CLI_OK)
        rc = take_limit(&a, &l.limit);
    if (rc != CLI_OK)
        return rc;
    l.order = order_of(&a);
    l.limit_said = a.limit != NULL;
    l.history = a.history;
    l.as_json = a.json;
    rc = gather(&a, request(&a, seconds), &l, &count);
    if (rc == CLI_OK && a.count)
        printf(a.json ? "{\"count\": %lld}\n" : "%lld\n", count);
    else if (rc == CLI_OK)
        show_list_print(&l);
    show_list_free(&l);
    return rc;
}
