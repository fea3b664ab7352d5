/* The verbs that talk to a running agent. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "cli.h"
#include "conf/conf.h"
#include "ipc/control.h"
#include "show.h"

#define CALL_TIMEOUT_S   15
#define RELOAD_TIMEOUT_S 600
#define DEFAULT_SECONDS  3600

struct args {
    const char *verb, *conf, *socket, *for_time, *reason;
    bool json;
};

static const struct option longs[] = {
    {"config", required_argument, NULL, 'c'}, {"socket", required_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},         {"for", required_argument, NULL, 'f'},
    {"reason", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0},
};

/* Options of the verb and `want` arguments behind them; which: letters that this verb knows beside c and s. */
static int parse(struct args *a, int argc, char **argv, const char *which, int want)
{
    int c, index = 0;
    *a = (struct args){.verb = argv[0]};
    while ((c = getopt_long(argc, argv, ":c:", longs, &index)) != -1) {
        if (c == '?' || c == ':')
            return cli_bad_option(a->verb, argv, c);
        if (c != 'c' && c != 's' && strchr(which, c) == NULL)
            return cli_usage(a->verb, "option '--%s' is for other verbs", longs[index].name);
        switch (c) {
        case 'c': a->conf = optarg; break;
        case 's': a->socket = optarg; break;
        case 'j': a->json = true; break;
        case 'f': a->for_time = optarg; break;
        default: a->reason = optarg; break;
        }
    }
    if (argc - optind != want)
        return cli_usage(a->verb, argc - optind < want ? "an argument is missing" : "too many arguments");
    return CLI_OK;
}

/* The socket that options, configuration or default name; false: has been said. */
static bool socket_path(const struct args *a, char *path, size_t cap)
{
    struct conf *c = NULL;
    int rc = SK_OK;
    if (a->socket != NULL) {
        snprintf(path, cap, "%s", a->socket);
        return true;
    }
    if (a->conf != NULL)
        rc = conf_load_file(a->conf, &sk_diag_stderr, &c);
    else if (access(CLI_CONF_PATH, R_OK) == 0)
        rc = conf_load_file(CLI_CONF_PATH, &sk_diag_stderr, &c);
    else
        rc = conf_default(&c);
    if (rc != SK_OK)
        return false;
    snprintf(path, cap, "%s", c->guard.control_socket);
    conf_free(c);
    return true;
}

static int call_failed(int rc, const char *path)
{
    switch (rc) {
    case SK_ENOENT: return cli_fail("no agent answers on %s; is `sekisho run` running?", path);
    case SK_EPERM: return cli_fail("no permission to use %s; try sudo", path);
    case SK_EAGAIN: return cli_fail("the agent did not answer in time");
    case SK_EIO: return cli_fail("%s: %s", path, strerror(errno));
    default: return cli_fail("the agent's answer makes no sense");
    }
}

/* Sends, and gives the answer when it is a good one. Steals req. */
static int call(const struct args *a, json_t *req, int timeout, json_t **answer)
{
    char path[256];
    *answer = NULL;
    if (!socket_path(a, path, sizeof(path))) {
        json_decref(req);
        return CLI_FAILED;
    }
    json_object_set_new(req, "verb", json_string(a->verb));
    int rc = ipc_control_call(path, req, timeout, answer);
    json_decref(req);
    if (rc != SK_OK)
        return call_failed(rc, path);
    if (json_is_true(json_object_get(*answer, "ok")))
        return CLI_OK;
    const char *why = json_string_value(json_object_get(*answer, "error"));
    if (strcmp(a->verb, "reload") == 0)
        cli_fail("not reloaded, what was loaded before stays: %s", why != NULL ? why : "refused");
    else
        cli_fail("%s", why != NULL ? why : "refused");
    json_decref(*answer);
    *answer = NULL;
    return CLI_FAILED;
}

static void show_json(const json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
}

/* A verb that asks and shows one member of the answer. */
static int ask_and_show(int argc, char **argv, const char *member, void (*show)(const json_t *), int want)
{
    struct args a;
    json_t *answer;
    int rc = parse(&a, argc, argv, "j", want);
    if (rc != CLI_OK)
        return rc;
    json_t *req = json_object();
    if (want > 0)
        json_object_set_new(req, "id", json_string(argv[optind]));
    rc = call(&a, req, CALL_TIMEOUT_S, &answer);
    if (rc != CLI_OK)
        return rc;
    const json_t *j = json_object_get(answer, member);
    if (a.json)
        show_json(j);
    else
        show(j);
    json_decref(answer);
    return CLI_OK;
}

int cmd_status(int argc, char **argv)
{
    return ask_and_show(argc, argv, "status", show_status, 0);
}

int cmd_blocks(int argc, char **argv)
{
    return ask_and_show(argc, argv, "blocks", show_blocks, 0);
}

int cmd_explain(int argc, char **argv)
{
    return ask_and_show(argc, argv, "block", show_block, 1);
}

static int not_a_target(const char *text)
{
    struct sk_prefix p;
    char buf[SK_PREFIX_STRLEN];
    if (sk_prefix_parse(text, strlen(text), true, &p) != SK_OK)
        return cli_fail("not an address or network: '%s'", text);
    return cli_fail("'%s' has bits set behind its length: '%s' is the network", text, sk_prefix_format(&p, buf));
}

int cmd_block(int argc, char **argv)
{
    struct args a;
    struct sk_prefix p;
    json_t *answer;
    int64_t seconds = DEFAULT_SECONDS;
    int rc = parse(&a, argc, argv, "fr", 1);
    if (rc != CLI_OK)
        return rc;
    const char *target = argv[optind];
    if (sk_prefix_parse(target, strlen(target), false, &p) != SK_OK)
        return not_a_target(target);
    if (a.for_time != NULL && sk_duration_parse(a.for_time, &seconds) != SK_OK)
        return cli_fail("not a time from 1s to 3650d: '%s' (90s, 15m, 1h, 7d, 2w)", a.for_time);
    json_t *req = json_pack("{s:s,s:I}", "target", target, "seconds", (json_int_t)seconds);
    if (a.reason != NULL)
        json_object_set_new(req, "reason", json_string(a.reason));
    rc = call(&a, req, CALL_TIMEOUT_S, &answer);
    if (rc != CLI_OK)
        return rc;
    show_blocked(answer);
    json_decref(answer);
    return CLI_OK;
}

int cmd_unblock(int argc, char **argv)
{
    struct args a;
    json_t *answer;
    int rc = parse(&a, argc, argv, "", 1);
    if (rc != CLI_OK)
        return rc;
    rc = call(&a, json_pack("{s:s}", "target", argv[optind]), CALL_TIMEOUT_S, &answer);
    if (rc == CLI_OK)
        printf("unblocked %s\n", argv[optind]);
    json_decref(answer);
    return rc;
}

int cmd_reload(int argc, char **argv)
{
    struct args a;
    json_t *answer;
    int rc = parse(&a, argc, argv, "", 0);
    if (rc == CLI_OK)
        rc = call(&a, json_object(), RELOAD_TIMEOUT_S, &answer);
    else
        return rc;
    long long loaded = json_integer_value(json_object_get(answer, "loaded"));
    if (rc == CLI_OK)
        printf("%lld rules loaded, %lld rejected\n", loaded,
               (long long)json_integer_value(json_object_get(answer, "rejected")));
    if (rc == CLI_OK && loaded == 0)
        fputs("sekisho: no rules are loaded: nothing is looked for\n", stderr);
    json_decref(answer);
    return rc;
}

int cmd_stop(int argc, char **argv)
{
    struct args a;
    json_t *answer;
    int rc = parse(&a, argc, argv, "", 0);
    if (rc != CLI_OK)
        return rc;
    rc = call(&a, json_object(), CALL_TIMEOUT_S, &answer);
    json_decref(answer);
    return rc;
}
