/* Entry: one table of verbs. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include "cli.h"
#include "settings.h"

#define PROGRAM "sekisho-manager"
#define COMMON                                                                                                         \
    "  -c, --config FILE    configuration (" SETTINGS_PATH ")\n"                                                       \
    "      --set KEY=VALUE  override a configuration key; repeatable\n"
#define JSON "      --json           as JSON\n"

const struct cli_command cli_commands[] = {
    {"run", "[OPTION]...", "serve the fleet, in the foreground",
     COMMON
     "Makes what `init` makes when nothing is there. SIGTERM stops it; SIGHUP reads certificate and key again.\n",
     cmd_run},
    {"check", "[OPTION]...", "say whether `run` would start, without changing anything",
     COMMON
     "Looks at configuration, state folder, certificates, outputs and database. A database that does not answer now "
     "is\n"
     "said, and no failure: `run` is started again until it does. Exit code 0: it would start; 1: it would not.\n",
     cmd_check},
    {"init", "[OPTION]...", "make CA, certificate, signing key and database",
     COMMON "      --name NAME      DNS name or address that agents call this host; repeatable\n", cmd_init},
    {"token create", "[OPTION]...", "make a token, with which hosts enrol or operators work",
     COMMON JSON "      --kind KIND      enrol or operator (enrol)\n"
                 "      --uses N         hosts that it serves, or unlimited (1)\n"
                 "      --for TIME       how long: 90s, 15m, 24h, 7d, 2w, or never (24h; operator: 90d)\n"
                 "      --tag KEY=VALUE  given to each host that enrols with it; repeatable\n"
                 "      --role ROLE      of an operator: read or admin (read)\n"
                 "      --note TEXT      what it is for\n"
                 "The secret goes to standard output, this once; the manager keeps only its hash.\n",
     cmd_token_create},
    {"token list", "[OPTION]...", "list tokens; their secrets are not known", COMMON JSON, cmd_token_list},
    {"token revoke", "ID", "make a token invalid; what has enrolled with it stays", COMMON, cmd_token_revoke},
    {"agents", "[OPTION]...", "list the hosts of the fleet",
     COMMON JSON "      --state STATE    of those only: active, silent, revoked, retired\n", cmd_agents},
    {"agent", "AGENT [OPTION]...", "show one host, by ID or by its name", COMMON JSON, cmd_agent},
    {"revoke", "AGENT", "refuse a host's certificate from now on", COMMON, cmd_revoke},
    {"retire", "AGENT", "take a host that is gone off the fleet", COMMON, cmd_retire},
    {"blocks", "[OPTION]...", "list blocks, the newest first",
     COMMON JSON "      --target ADDR    of exactly that address or network\n"
                 "      --agent AGENT    that this host has set\n"
                 "      --history        those that have ended too\n"
                 "      --limit N        how many (100)\n",
     cmd_blocks},
    {"block", "ADDR[/LEN] [OPTION]...", "block an address or network on the whole fleet",
     COMMON "      --for TIME       90s, 15m, 1h, 7d, 2w (1h)\n"
            "      --reason TEXT    shown by `blocks` and `sekisho explain`\n",
     cmd_block},
    {"unblock", "ADDR[/LEN]", "end every block of it, on the whole fleet", COMMON, cmd_unblock},
    {"entries", "[OPTION]...", "list what the fleet blocks, one line a target", COMMON JSON, cmd_entries},
    {"events", "[OPTION]...", "list what the hosts have reported, the newest first",
     COMMON JSON "      --agent AGENT    of this host\n"
                 "      --type TYPE      alert, flood, block ...\n"
                 "      --after ID       those behind that one, the oldest first\n"
                 "      --limit N        how many (100)\n",
     cmd_events},
    {"audit", "[OPTION]...", "list who changed what, the newest first",
     COMMON JSON "      --limit N        how many (100)\n", cmd_audit},
    {"policy publish", "FILE [OPTION]...", "sign settings, and give them to all hosts",
     COMMON "      --key FILE       signing key (signing.key in state-dir)\n"
            "      --note TEXT      shown by `bundles`\n"
            "FILE is YAML as sekisho.yaml(5); only keys about detection and decisions are allowed.\n",
     cmd_policy_publish},
    {"rules publish", "FILE... [OPTION]...", "sign rule files, and give them to all hosts",
     COMMON "      --key FILE       signing key (signing.key in state-dir)\n"
            "      --note TEXT      shown by `bundles`\n"
            "They replace the files of the version before. Try them first: sekisho check -S FILE\n",
     cmd_rules_publish},
    {"bundles", "[OPTION]...", "list versions of policy and rules, and how many hosts have them", COMMON JSON,
     cmd_bundles},
    {"waf plan", "[OPTION]...", "show what would be written to AWS WAF", COMMON, cmd_waf_plan},
    {"waf apply", "[OPTION]...", "write to AWS WAF until it fits, without `run`", COMMON, cmd_waf_apply},
    {"waf status", "[OPTION]...", "show the IP sets as the running manager sees them", COMMON JSON, cmd_waf_status},
    {"status", "[OPTION]...", "show fleet, blocks, database and running managers", COMMON JSON, cmd_status},
    {"ca show", "[OPTION]...", "show the CA that hosts enrol with",
     COMMON "      --pem            the certificate itself\n", cmd_ca_show},
};
const unsigned cli_ncommands = sizeof(cli_commands) / sizeof(cli_commands[0]);

/* How many words of argv the verb takes up; 0: it is not this one. */
static int matches(const struct cli_command *c, int argc, char *const *argv)
{
    size_t first = strcspn(c->verb, " ");
    if (argc < 1 || strlen(argv[0]) != first || strncmp(argv[0], c->verb, first) != 0)
        return 0;
    if (c->verb[first] == '\0')
        return 1;
    return argc >= 2 && strcmp(argv[1], c->verb + first + 1) == 0 ? 2 : 0;
}

static const struct cli_command *find(int argc, char *const *argv, int *words)
{
    for (unsigned i = 0; i < cli_ncommands; i++)
        if ((*words = matches(&cli_commands[i], argc, argv)) > 0)
            return &cli_commands[i];
    return NULL;
}

int cli_usage(const char *verb, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, PROGRAM "%s%s: ", verb != NULL ? " " : "", verb != NULL ? verb : "");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry `" PROGRAM " help%s%s`.\n", verb != NULL ? " " : "", verb != NULL ? verb : "");
    return CLI_USAGE;
}

int cli_bad_option(const char *verb, char *const *argv, int refused)
{
    const char *word = argv[optind - 1];
    const char *problem = refused == ':' ? "needs a value" : "is not known, or takes no value";
    if (strncmp(word, "--", 2) == 0)
        return cli_usage(verb, "option '%s' %s", word, problem);
    return cli_usage(verb, "option '-%c' %s", optopt, problem);
}

int cli_fail(const char *fmt, ...)
{
    va_list ap;
    fputs(PROGRAM ": ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return CLI_FAILED;
}

void cli_print_help(FILE *out, const struct cli_command *c)
{
    fprintf(out, "Usage: " PROGRAM " %s%s%s\n%c%s.\n\n%s", c->verb, c->arguments[0] != '\0' ? " " : "", c->arguments,
            c->summary[0] - 'a' + 'A', c->summary + 1, c->help);
}

static void print_overview(FILE *out)
{
    fputs("Usage: " PROGRAM " VERB [ARGUMENT]...\nManager of a fleet of hosts that run Sekisho.\n\n", out);
    for (unsigned i = 0; i < cli_ncommands; i++)
        fprintf(out, "  %-14s %s\n", cli_commands[i].verb, cli_commands[i].summary);
    fputs("  help           show the options of a verb\n\n"
          "`" PROGRAM " --version` prints the version.\n"
          "Exit codes: 0 done, 1 bad input or failure, 2 wrong usage.\n",
          out);
}

/* verb TAB arguments TAB summary: for the tests that compare man pages and completion with this table. */
static void print_table(void)
{
    for (unsigned i = 0; i < cli_ncommands; i++)
        printf("%s\t%s\t%s\n", cli_commands[i].verb, cli_commands[i].arguments, cli_commands[i].summary);
}

static void print_key(void *arg, const struct settings_key *k)
{
    (void)arg;
    printf("%s\t%s\t%s\t%s\n", k->path, k->def, k->allowed, k->help);
}

/* What begins with that word: `help token`. */
static int help_about(int argc, char **argv)
{
    int words, n = 0;
    const struct cli_command *c = find(argc, argv, &words);
    if (c != NULL) {
        cli_print_help(stdout, c);
        return CLI_OK;
    }
    for (unsigned i = 0; i < cli_ncommands; i++) {
        size_t first = strcspn(cli_commands[i].verb, " ");
        if (strlen(argv[0]) != first || strncmp(argv[0], cli_commands[i].verb, first) != 0)
            continue;
        if (n++ > 0)
            putchar('\n');
        cli_print_help(stdout, &cli_commands[i]);
    }
    return n > 0 ? CLI_OK : cli_usage(NULL, "no such verb: %s", argv[0]);
}

static int help(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        print_overview(stdout);
    else if (strcmp(argv[1], "--table") == 0)
        print_table();
    else if (strcmp(argv[1], "--keys") ==
             0) /* key TAB default TAB allowed TAB meaning: the manual page is made of it */
        settings_describe(print_key, NULL);
    else
        return help_about(argc - 1, argv + 1);
    return CLI_OK;
}

static int wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return 1;
    return 0;
}

static int no_such_verb(int argc, char **argv)
{
    for (unsigned i = 0; i < cli_ncommands; i++) {
        size_t first = strcspn(cli_commands[i].verb, " ");
        if (cli_commands[i].verb[first] == ' ' && strlen(argv[0]) == first &&
            strncmp(argv[0], cli_commands[i].verb, first) == 0)
            return wants_help(argc, argv) ? help_about(1, argv)
                   : argc > 1             ? cli_usage(argv[0], "no such verb: %s %s", argv[0], argv[1])
                                          : cli_usage(argv[0], "a second word is missing");
    }
    return cli_usage(NULL, "no such verb: %s", argv[0]);
}

static int run_verb(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return CLI_USAGE;
    }
    const char *verb = argv[1];
    if (strcmp(verb, "--version") == 0 || strcmp(verb, "-V") == 0) {
        puts(PROGRAM " " SK_VERSION);
        return CLI_OK;
    }
    if (strcmp(verb, "help") == 0 || strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
        return help(argc - 1, argv + 1);
    int words;
    const struct cli_command *c = find(argc - 1, argv + 1, &words);
    if (c == NULL)
        return no_such_verb(argc - 1, argv + 1);
    if (wants_help(argc - words, argv + words)) {
        cli_print_help(stdout, c);
        return CLI_OK;
    }
    argv[words] = (char *)c->verb; /* both words, so that messages name it whole */
    return c->fn(argc - words, argv + words);
}

/* What was asked for and could not be written must not look as if it had been. */
int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* connections that break; and a reader of our output that left is an error below */
    int rc = run_verb(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && rc == CLI_OK)
        return cli_fail("cannot write to standard output: %s", strerror(errno));
    return rc;
}
