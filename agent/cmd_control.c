/* The verbs that talk to a running agent. */
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/addr.h"
#include "base/clock.h"
#include "cli.h"
#include "control_args.h"
#include "enforce/nft.h"
#include "show.h"

#define RELOAD_TIMEOUT_S 600
#define DEFAULT_SECONDS  3600
#define STOP_TIMEOUT_S   60

/* A verb that asks and shows one member of the answer. */
static int ask_and_show(int argc, char **argv, const char *member, void (*show)(const json_t *), int want)
{
    struct control_args a;
    json_t *answer;
    int rc = control_parse(&a, argc, argv, "j", want);
    if (rc != CLI_OK)
        return rc;
    json_t *req = json_object();
    if (want > 0)
        json_object_set_new(req, "id", json_string(argv[optind]));
    rc = control_call(&a, req, CONTROL_TIMEOUT_S, &answer);
    if (rc != CLI_OK)
        return rc;
    const json_t *j = json_object_get(answer, member);
    if (a.json)
        control_print_json(j);
    else
        show(j);
    json_decref(answer);
    return CLI_OK;
}

int cmd_status(int argc, char **argv)
{
    return ask_and_show(argc, argv, "status", show_status, 0);
}

int cmd_explain(int argc, char **argv)
{
    return ask_and_show(argc, argv, "block", show_block, 1);
}

int cmd_block(int argc, char **argv)
{
    struct control_args a;
    struct sk_prefix p;
    json_t *answer;
    int64_t seconds = DEFAULT_SECONDS;
    int rc = control_parse(&a, argc, argv, "fr", 1);
    if (rc != CLI_OK)
        return rc;
    const char *target = argv[optind];
    if (sk_prefix_parse(target, strlen(target), false, &p) != SK_OK)
        return control_bad_target(target);
    if (a.for_time != NULL && sk_duration_parse(a.for_time, &seconds) != SK_OK)
        return control_bad_time(a.for_time);
    json_t *req = json_pack("{s:s,s:I}", "target", target, "seconds", (json_int_t)seconds);
    if (a.reason != NULL)
        json_object_set_new(req, "reason", json_string(a.reason));
    rc = control_call(&a, req, CONTROL_TIMEOUT_S, &answer);
    if (rc != CLI_OK)
        return rc;
    show_blocked(answer);
    json_decref(answer);
    return CLI_OK;
}

/* The agent ends some at a time. What is set meanwhile is not what was asked for. */
static int unblock_all(const struct control_args *a)
{
    json_int_t total = 0, first = -1, ended = 0, left = 0;
    do {
        json_t *answer;
        int rc = control_call(a, json_pack("{s:b}", "all", 1), CONTROL_TIMEOUT_S, &answer);
        if (rc != CLI_OK)
            return rc;
        ended = json_integer_value(json_object_get(answer, "ended"));
        left = json_integer_value(json_object_get(answer, "left"));
        const char *warning = json_string_value(json_object_get(answer, "warning"));
        if (warning != NULL && first < 0)
            fprintf(stderr, "sekisho: %s\n", warning);
        json_decref(answer);
        total += ended;
        first = first < 0 ? ended + left : first;
    } while (ended > 0 && left > 0 && total < first);
    printf("unblocked %lld\n", (long long)total);
    return CLI_OK;
}

int cmd_unblock(int argc, char **argv)
{
    struct control_args a;
    json_t *answer;
    int rc = control_parse(&a, argc, argv, "A", 1);
    if (rc != CLI_OK)
        return rc;
    if (a.all)
        return unblock_all(&a);
    rc = control_call(&a, json_pack("{s:s}", "target", argv[optind]), CONTROL_TIMEOUT_S, &answer);
    if (rc == CLI_OK)
        printf("unblocked %s\n", argv[optind]);
    const char *warning = json_string_value(json_object_get(answer, "warning"));
    if (rc == CLI_OK && warning != NULL)
        fprintf(stderr, "sekisho: %s\n", warning);
    json_decref(answer);
    return rc;
}

int cmd_brake(int argc, char **argv)
{
    struct control_args a;
    json_t *answer;
    int rc = control_parse(&a, argc, argv, "jR", 0);
    if (rc != CLI_OK)
        return rc;
    json_t *req = a.release ? json_pack("{s:s}", "verb", "brake-release") : json_object();
    rc = control_call(&a, req, CONTROL_TIMEOUT_S, &answer);
    if (rc != CLI_OK)
        return rc;
    const json_t *j = json_object_get(answer, "brake");
    if (a.json)
        control_print_json(j);
    else
        show_brake(j);
    json_decref(answer);
    return CLI_OK;
}

int cmd_reload(int argc, char **argv)
{
    struct control_args a;
    json_t *answer;
    int rc = control_parse(&a, argc, argv, "", 0);
    if (rc == CLI_OK)
        rc = control_call(&a, json_object(), RELOAD_TIMEOUT_S, &answer);
    else
        return rc;
    long long loaded = json_integer_value(json_object_get(answer, "loaded"));
    if (rc == CLI_OK)
        printf("%lld rules loaded, %lld rejected\n", loaded,
               (long long)json_integer_value(json_object_get(answer, "rejected")));
    size_t i;
    const json_t *later;
    json_array_foreach(json_object_get(answer, "later"), i, later)
        fprintf(stderr, "sekisho: %s changes with the next start\n", json_string_value(later));
    if (rc == CLI_OK && loaded == 0)
        fputs("sekisho: no rules are loaded: nothing is looked for\n", stderr);
    json_decref(answer);
    return rc;
}

/* Whoever stops the agent means to start another one, or to look at what is left. */
static int wait_for_end(pid_t agent)
{
    /* The call itself: its wrapper came with glibc 2.36, and packages run on older ones too. */
    struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, agent, 0), .events = POLLIN};
    if (ended.fd < 0) /* it has ended already */
        return CLI_OK;
    int n = poll(&ended, 1, STOP_TIMEOUT_S * 1000);
    close(ended.fd);
    return n > 0 ? CLI_OK : cli_fail("told the agent (pid %d) to stop, but it has not ended yet", (int)agent);
}

/* The journal is not touched: what has not ended by then is in force again with the next start. */
static int clear_kernel(void)
{
    size_t n;
    char why[256];
    int rc = nft_clear(sk_now_wall(), &n, why, sizeof(why));
    if (rc == SK_EPERM)
        return cli_fail("table inet %s can be removed by root only: try `sudo sekisho stop --clear`", NFT_TABLE_NAME);
    if (rc != SK_OK)
        return cli_fail("table inet %s cannot be removed: %s", NFT_TABLE_NAME, why);
    return CLI_OK;
}

int cmd_stop(int argc, char **argv)
{
    struct control_args a;
    json_t *answer;
    int rc = control_parse(&a, argc, argv, "X", 0);
    if (rc != CLI_OK)
        return rc;
    rc = a.clear ? control_call_if_any(&a, json_object(), CONTROL_TIMEOUT_S, &answer)
                 : control_call(&a, json_object(), CONTROL_TIMEOUT_S, &answer);
    if (rc == CLI_OK && answer != NULL)
        rc = wait_for_end((pid_t)json_integer_value(json_object_get(answer, "pid")));
    json_decref(answer);
    return rc == CLI_OK && a.clear ? clear_kernel() : rc;
}
