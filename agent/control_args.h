/* What the verbs that talk to a running agent share: their options, and the call. */
#ifndef AGENT_CONTROL_ARGS_H
#define AGENT_CONTROL_ARGS_H

#include <jansson.h>
#include <stdbool.h>

#define CONTROL_TIMEOUT_S 15

struct control_args {
    const char *verb, *conf, *socket, *for_time, *reason, *sort, *origin, *net, *match, *limit;
    bool json, count, history, all, release, clear;
};

/*
 * Options of the verb and `want` arguments behind them, from argv[optind] on; with --all none. which: letters (those
 * of control_args.c) that this verb knows beside --config and --socket. An exit code.
 */
int control_parse(struct control_args *a, int argc, char **argv, const char *which, int want);
/* Sends, and gives the answer when it is a good one; else says why not. Steals req, whose verb is a->verb unless it has
 * one. An exit code. */
int control_call(const struct control_args *a, json_t *req, int timeout, json_t **answer);
/* The same, but that no agent answers is no failure: *answer is NULL then, and nothing is said. */
int control_call_if_any(const struct control_args *a, json_t *req, int timeout, json_t **answer);
/* Says what is wrong with it. CLI_FAILED. */
int control_bad_target(const char *text);
int control_bad_time(const char *text);
void control_print_json(const json_t *j);

#endif
