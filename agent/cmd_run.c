/* `sekisho run`: options to the guard. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "guard.h"

struct args {
    struct guard_options opt;
    char ifaces[512], mode[64];
};

static int add_iface(struct args *a, const char *name)
{
    size_t n = strlen(a->ifaces);
    const char *sep = n == 0 ? "capture.interfaces=" : ",";
    if (name[0] == '\0' || strpbrk(name, ",[] /") != NULL)
        return cli_usage("run", "not the name of an interface: '%s'", name);
    if ((size_t)snprintf(a->ifaces + n, sizeof(a->ifaces) - n, "%s%s", sep, name) >= sizeof(a->ifaces) - n)
        return cli_usage("run", "too many interfaces");
    return CLI_OK;
}

static int add_to(const char **list, unsigned *n, const char *what)
{
    if (*n == GUARD_ARGS_MAX - 2) /* room for -i and --mode */
        return cli_usage("run", "too many options");
    list[(*n)++] = what;
    return CLI_OK;
}

static int take_option(struct args *a, char *const *argv, int c)
{
    switch (c) {
    case 'c': a->opt.conf_path = optarg; return CLI_OK;
    case 'i': return add_iface(a, optarg);
    case 'S': return add_to(a->opt.rules, &a->opt.nrules, optarg);
    case 's': return add_to(a->opt.sets, &a->opt.nsets, optarg);
    case 'm':
        if (strcmp(optarg, "detect") != 0 && strcmp(optarg, "prevent") != 0)
            return cli_usage("run", "--mode is detect or prevent, not '%s'", optarg);
        snprintf(a->mode, sizeof(a->mode), "mode=%s", optarg);
        return CLI_OK;
    default: return cli_bad_option("run", argv, c);
    }
}

int run_options(int argc, char **argv, struct guard_options *out)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'}, {"interface", required_argument, NULL, 'i'},
        {"rules", required_argument, NULL, 'S'},  {"set", required_argument, NULL, 's'},
        {"mode", required_argument, NULL, 'm'},   {NULL, 0, NULL, 0},
    };
    static struct args a;
    int c;
    a = (struct args){0};
    optind = 0; /* begins anew, also when another command line was read before */
    while ((c = getopt_long(argc, argv, ":c:i:S:", longs, NULL)) != -1) {
        int rc = take_option(&a, argv, c);
        if (rc != CLI_OK)
            return rc;
    }
    if (optind < argc)
        return cli_usage("run", "unexpected argument '%s'", argv[optind]);
    if (a.ifaces[0] != '\0')
        a.opt.sets[a.opt.nsets++] = a.ifaces;
    if (a.mode[0] != '\0')
        a.opt.sets[a.opt.nsets++] = a.mode;
    *out = a.opt;
    return CLI_OK;
}

int cmd_run(int argc, char **argv)
{
    static struct guard_options opt;
    int rc = run_options(argc, argv, &opt);
    return rc == CLI_OK ? guard_run(&opt) : rc;
}
