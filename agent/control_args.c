/* See control_args.h. */
#include "control_args.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "cli.h"
#include "conf/conf.h"
#include "ipc/control.h"

/* The letters are for control_parse alone: only -c is one on the command line. */
static const struct option longs[] = {
    {"config", required_argument, NULL, 'c'}, {"socket", required_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},         {"for", required_argument, NULL, 'f'},
    {"reason", required_argument, NULL, 'r'}, {"sort", required_argument, NULL, 'S'},
    {"origin", required_argument, NULL, 'o'}, {"net", required_argument, NULL, 'n'},
    {"match", required_argument, NULL, 'm'},  {"limit", required_argument, NULL, 'l'},
    {"count", no_argument, NULL, 'C'},        {"history", no_argument, NULL, 'H'},
    {"all", no_argument, NULL, 'A'},          {"release", no_argument, NULL, 'R'},
    {"clear", no_argument, NULL, 'X'},        {NULL, 0, NULL, 0},
};

static void take_option(struct control_args *a, int c)
{
    switch (c) {
    case 'c': a->conf = optarg; break;
    case 's': a->socket = optarg; break;
    case 'j': a->json = true; break;
    case 'f': a->for_time = optarg; break;
    case 'S': a->sort = optarg; break;
    case 'o': a->origin = optarg; break;
    case 'n': a->net = optarg; break;
    case 'm': a->match = optarg; break;
    case 'l': a->limit = optarg; break;
    case 'C': a->count = true; break;
    case 'H': a->history = true; break;
    case 'A': a->all = true; break;
    case 'R': a->release = true; break;
    case 'X': a->clear = true; break;
    default: a->reason = optarg; break;
    }
}

/* Options of the verb and `want` arguments behind them (none with --all); which: letters that this verb knows beside
 * c and s. */
int control_parse(struct control_args *a, int argc, char **argv, const char *which, int want)
{
    int c, index = 0;
    *a = (struct control_args){.verb = argv[0]};
    while ((c = getopt_long(argc, argv, ":c:", longs, &index)) != -1) {
        if (c == '?' || c == ':')
            return cli_bad_option(a->verb, argv, c);
        if (c != 'c' && c != 's' && strchr(which, c) == NULL)
            return cli_usage(a->verb, "option '--%s' is for other verbs", longs[index].name);
        take_option(a, c);
    }
    want = a->all ? 0 : want;
    if (argc - optind != want)
        return cli_usage(a->verb, argc - optind < want ? "an argument is missing" : "too many arguments");
    return CLI_OK;
}

/* The socket that options, configuration or default name; false: has been said. */
static bool socket_path(const struct control_args *a, char *path, size_t cap)
{
    struct conf *c = NULL;
    int rc = SK_OK;
    if (a->socket != NULL) {
        snprintf(path, cap, "%s", a->socket);
        return true;
    }
    if (a->conf != NULL)
        rc = conf_load_file(a->conf, &sk_diag_stderr, &c);
    else if (access(CLI_CONF_PATH, R_OK) != 0 || conf_load_file(CLI_CONF_PATH, NULL, &c) != SK_OK)
        rc = conf_default(&c); /* a mistake in the file must keep nobody from asking a running agent */
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

static int call(const struct control_args *a, json_t *req, int timeout, bool if_any, json_t **answer)
{
    char path[256];
    *answer = NULL;
    if (!socket_path(a, path, sizeof(path))) {
        json_decref(req);
        return CLI_FAILED;
    }
    if (json_object_get(req, "verb") == NULL)
        json_object_set_new(req, "verb", json_string(a->verb));
    int rc = ipc_control_call(path, req, timeout, answer);
    json_decref(req);
    if (rc == SK_ENOENT && if_any)
        return CLI_OK;
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

/* Sends, and gives the answer when it is a good one. Steals req. Its verb is a->verb unless it has one. */
int control_call(const struct control_args *a, json_t *req, int timeout, json_t **answer)
{
    return call(a, req, timeout, false, answer);
}

int control_call_if_any(const struct control_args *a, json_t *req, int timeout, json_t **answer)
{
    return call(a, req, timeout, true, answer);
}

void control_print_json(const json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
}

int control_bad_target(const char *text)
{
    struct sk_prefix p;
    char buf[SK_PREFIX_STRLEN];
    if (sk_prefix_parse(text, strlen(text), true, &p) != SK_OK)
        return cli_fail("not an address or network: '%s'", text);
    return cli_fail("'%s' has bits set behind its length: '%s' is the network", text, sk_prefix_format(&p, buf));
}

int control_bad_time(const char *text)
{
    return cli_fail("not a time from 1s to 3650d: '%s' (90s, 15m, 1h, 7d, 2w)", text);
}
