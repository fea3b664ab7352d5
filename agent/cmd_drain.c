/* `sekisho drain`: this host leaves the fleet; nothing that it knows is lost. */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "cli.h"
#include "commands.h"
#include "drain.h"
#include "fetch/fetch.h"

#define TIMEOUT_S 60
#define HOOK_S    60 /* for the group, whatever became of the rest */

static int take_option(struct drain_args *a, int c, const char *arg)
{
    switch (c) {
    case 'c': a->conf = arg; break;
    case 'w': a->wait = true; break;
    case 'n': a->no_retire = true; break;
    case 'H': a->hook = arg; break;
    case 'G': a->group = arg; break;
    case 'I': a->cloud.imds = arg; break;
    case 'r': a->cloud.region = arg; break;
    case 'e': a->cloud.endpoint = arg; break;
    case 't':
        if (sk_duration_parse(arg, &a->timeout_s) != SK_OK)
            return cli_usage("drain", "--timeout wants a time as 90s or 10m, not '%s'", arg);
        break;
    default:
        if (a->nsets == sizeof(a->sets) / sizeof(a->sets[0]))
            return cli_usage("drain", "too many --set");
        a->sets[a->nsets++] = arg;
    }
    return CLI_OK;
}

static int parse(struct drain_args *a, int argc, char **argv)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},
        {"timeout", required_argument, NULL, 't'},
        {"no-retire", no_argument, NULL, 'n'},
        {"wait", no_argument, NULL, 'w'},
        {"asg", required_argument, NULL, 'G'},
        {"lifecycle-hook", required_argument, NULL, 'H'},
        {"region", required_argument, NULL, 'r'},
        {"aws-endpoint", required_argument, NULL, 'e'},
        {"imds", required_argument, NULL, 'I'},
        {"set", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    int c, rc = CLI_OK;
    while (rc == CLI_OK && (c = getopt_long(argc, argv, ":c:", longs, NULL)) != -1)
        rc = c == '?' || c == ':' ? cli_bad_option("drain", argv, c) : take_option(a, c, optarg);
    if (rc == CLI_OK && optind != argc)
        rc = cli_usage("drain", "too many arguments");
    if (rc == CLI_OK && a->group != NULL && a->hook == NULL)
        rc = cli_usage("drain", "--asg goes with --lifecycle-hook");
    return rc;
}

/* The group is told in any case: an instance that cannot tell its manager anything is not kept alive for it. */
static int drain(const struct drain_args *a, const struct conf *c, struct aws *aws)
{
    bool hooked = a->hook != NULL;
    if (a->wait)
        drain_wait(aws, &hooked);
    int64_t until = sk_now_mono() + a->timeout_s * SK_NS_PER_S;
    int rc = drain_ship(c, until);
    if (!a->no_retire) {
        int retired = drain_retire(c, until);
        rc = rc != CLI_OK ? rc : retired;
    }
    if (a->hook != NULL && hooked) {
        int completed = drain_complete(a, aws, sk_now_mono() + HOOK_S * SK_NS_PER_S);
        rc = rc != CLI_OK ? rc : completed;
    }
    return rc;
}

static int with_conf(struct drain_args *a)
{
    struct findings f = {0};
    struct aws *aws = NULL;
    struct conf *c = command_conf(a->conf, NULL, a->sets, a->nsets, NULL, &f);
    int rc = c == NULL ? CLI_FAILED : geteuid() != 0 ? cli_fail("draining needs root: try sudo") : CLI_OK;
    if (rc == CLI_OK && (a->wait || a->hook != NULL))
        rc = cloud_open("drain", &a->cloud, &aws);
    if (rc == CLI_OK)
        rc = drain(a, c, aws);
    fetch_thread_end();
    aws_close(aws);
    conf_free(c);
    return rc;
}

int cmd_drain(int argc, char **argv)
{
    struct drain_args a = {.timeout_s = TIMEOUT_S};
    sk_log_setup("sekisho", SK_LOG_WARN, 0);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a journal, or whoever waits, shall see each step */
    int rc = parse(&a, argc, argv);
    return rc == CLI_OK ? with_conf(&a) : rc;
}
