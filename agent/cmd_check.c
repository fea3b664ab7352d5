/* `sekisho check`: configuration and rules, and everything that is wrong with them. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "findings.h"
#include "inputs.h"
#include "instance_conf.h"
#include "rules/keyword.h"

#define MAX_RULES 256

struct check_args {
    const char *conf, *home, *pid;
    const char *rules[MAX_RULES], *sets[MAX_RULES];
    unsigned nrules, nsets;
    bool list_keywords, restart;
};

static int parse(struct check_args *a, int argc, char **argv)
{
    enum { OPT_SET = 256, OPT_HOME, OPT_KEYWORDS, OPT_RESTART };
    static const struct option opts[] = {{"set", required_argument, NULL, OPT_SET},
                                         {"home", required_argument, NULL, OPT_HOME},
                                         {"restart", optional_argument, NULL, OPT_RESTART},
                                         {"list-keywords", no_argument, NULL, OPT_KEYWORDS},
                                         {"config", required_argument, NULL, 'c'},
                                         {"rules", required_argument, NULL, 'S'},
                                         {0}};
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, ":c:S:", opts, NULL)) != -1;) {
        if (c == 'c')
            a->conf = optarg;
        else if ((c == 'S' && a->nrules == MAX_RULES) || (c == OPT_SET && a->nsets == MAX_RULES))
            return cli_usage("check", "more than %d options of one kind", MAX_RULES);
        else if (c == 'S')
            a->rules[a->nrules++] = optarg;
        else if (c == OPT_SET)
            a->sets[a->nsets++] = optarg;
        else if (c == OPT_HOME)
            a->home = optarg;
        else if (c == OPT_KEYWORDS)
            a->list_keywords = true;
        else if (c == OPT_RESTART) {
            a->restart = true;
            a->pid = optarg;
        } else
            return cli_bad_option("check", argv, c);
    }
    if (optind < argc)
        return cli_usage("check", "unexpected argument '%s'; rule files are named with -S", argv[optind]);
    return CLI_OK;
}

static void list_keywords(void)
{
    struct rule_keyword_info k;
    for (unsigned i = 0; rule_keyword_list(i, &k); i++)
        printf("%-28s %-14s %s\n", k.name, k.supported ? "" : "not supported", k.help);
}

int command_load_rules(const struct conf *conf, const char *const *rules, unsigned nrules, struct findings *f,
                       struct engine_rule_stats *st)
{
    struct sk_diag_sink sink = findings_sink(f);
    struct inputs in = {0};
    struct engine *e = NULL;
    struct engine_options opt = {.offline = true};
    int rc = inputs_read(&in, conf, rules, nrules, &sink);
    if (rc == SK_OK)
        rc = engine_create(conf, &opt, &e);
    if (rc == SK_OK)
        rc = engine_load(e, in.v, in.n, false, &sink, st);
    engine_free(e);
    inputs_free(&in);
    return rc;
}

static int check_rules(const struct conf *conf, const struct check_args *a, struct findings *f)
{
    struct engine_rule_stats st = {0};
    int rc = command_load_rules(conf, a->rules, a->nrules, f, &st);
    if (rc == SK_OK)
        printf("%u rules loaded, %u rejected (%u invalid, %u not supported), %u slow; %u groups, %u databases; parsed "
               "in %.2f s, "
               "compiled in %.2f s\n",
               st.loaded, st.rejected, f->errors, f->unsupported, st.slow, st.groups, st.databases, st.parse_seconds,
               st.compile_seconds);
    else if (!f->errors)
        fprintf(stderr, "sekisho: cannot load rules: %s\n", sk_strerror(rc));
    return rc == SK_OK && !f->errors && !f->unsupported ? 0 : 1;
}

/* What this instance has of its own, and where it comes from. */
static void show_instance(const char *conf_path, struct findings *f)
{
    struct sk_diag_sink sink = findings_sink(f);
    struct instance_conf *s = calloc(1, sizeof(*s));
    if (s != NULL && instance_conf_read(conf_path, &sink, s) == SK_OK)
        for (unsigned i = 0; i < s->n; i++)
            printf("%s:%u: %s  (%s)\n", s->path, s->v[i].line, s->v[i].text, s->v[i].origin);
    if (s != NULL)
        instance_conf_clear(s);
    free(s);
}

int cmd_check(int argc, char **argv)
{
    struct check_args a = {0};
    int rc = parse(&a, argc, argv);
    if (rc)
        return rc;
    if (a.list_keywords) {
        list_keywords();
        return 0;
    }
    if (a.restart)
        return check_restart(a.pid, a.conf, a.rules, a.nrules, a.sets, a.nsets);
    struct findings f = {0};
    struct conf *conf = command_conf(a.conf, a.home, a.sets, a.nsets, NULL, &f);
    if (!conf)
        return 1;
    show_instance(a.conf, &f);
    rc = check_rules(conf, &a, &f);
    conf_free(conf);
    return rc;
}
