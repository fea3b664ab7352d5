/* Entry: one table of verbs. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>
#include "base/counters.h"
#include "cli.h"
#include "conf/conf.h"

#define CONTROL_OPTIONS                                                                                                \
    "  -c, --config FILE    that names the socket (" CLI_CONF_PATH ")\n"                                               \
    "      --socket PATH    control socket itself\n"

const struct cli_command cli_commands[] = {
    {"replay", "[OPTION]... PCAP...", "inspect capture files",
     "  -c, --config FILE    configuration\n"
     "  -S, --rules FILE     instead of the configured rules: file or glob; repeatable\n"
     "      --home CIDR,...  networks that are protected (HOME_NET); private ones\n"
     "  -l, --log DIR        write DIR/eve.json; the folder is made\n"
     "  -j, --workers N      threads, 1 to 64; 1\n"
     "      --mode MODE      detect, or prevent: drop rules drop\n"
     "  -k none              accept wrong checksums; all: ignore such packets\n"
     "      --set KEY=VALUE  override a configuration key; repeatable\n"
     "      --vars FILE      address and port groups as JSON\n"
     "  -q, --quiet          print the summary only\n"
     "PCAP is a pcap or pcapng file; - is standard input: zcat FILE | sekisho replay -\n",
     cmd_replay},
    {"run", "[OPTION]...", "watch this host's interfaces and block attackers",
     "  -c, --config FILE    configuration (" CLI_CONF_PATH ")\n"
     "  -i, --interface IF   interface to watch; repeatable; auto: all that are up\n"
     "      --mode MODE      detect; prevent works in `replay` only, so far\n"
     "  -S, --rules FILE     instead of the configured rules: file or glob; repeatable\n"
     "      --set KEY=VALUE  override a configuration key; repeatable\n"
     "Runs in the foreground, as root. SIGTERM stops it, SIGHUP reloads.\n",
     cmd_run},
    {"check", "[OPTION]...", "validate configuration and rules",
     "  -c, --config FILE    configuration (" CLI_CONF_PATH ")\n"
     "  -S, --rules FILE     instead of the configured rules: file or glob; repeatable\n"
     "      --home CIDR,...  networks that are protected (HOME_NET)\n"
     "      --set KEY=VALUE  override a configuration key; repeatable\n"
     "      --restart[=PID]  would this version start in place of the agent that runs (PID), with its options?\n"
     "      --list-keywords  print the keywords of the rule language\n",
     cmd_check},
    {"configure", "[OPTION]... [KEY=VALUE]...", "settings of this one instance, from its tags or the environment",
     "  -c, --config FILE    configuration (" CLI_CONF_PATH "); the settings are beside it, in instance.conf\n"
     "      --from-tags      the instance's tags sekisho:KEY\n"
     "      --from-environment  variables SEKISHO_SET_KEY, in capitals, with _ for . and -\n"
     "      --clear          none any more\n"
     "      --list           the keys that may be set so\n"
     "      --imds URL       metadata service (http://169.254.169.254)\n"
     "They are checked, written anew as a whole, and taken up by a running agent. Without sources: shows them.\n",
     cmd_configure},
    {"enroll", "--manager URL [OPTION]...", "make this host one of a fleet, with a token of its manager",
     "  -c, --config FILE    configuration (" CLI_CONF_PATH ")\n"
     "      --manager URL    https://HOST:PORT\n"
     "      --token TOKEN    of the manager; - reads it from standard input\n"
     "      --token-file FILE  the same from a file\n"
     "      --token-parameter NAME  the same from AWS Parameter Store, decrypted\n"
     "      --token-secret ID  the same from AWS Secrets Manager: its text, or \"token\" in its JSON\n"
     "                       without any of these: the environment's SEKISHO_TOKEN\n"
     "      --ca FILE        PEM that the manager's certificate is checked with; else the system's CAs\n"
     "      --ca-fingerprint SHA256  the same by the CA's fingerprint, as the manager shows it\n"
     "      --ca-parameter NAME  fingerprint, or the certificate itself, from Parameter Store\n"
     "      --identity       prove to be an EC2 instance; on EC2 that is done if it can be\n"
     "      --imds URL       metadata service (http://169.254.169.254)\n"
     "      --region REGION  of parameter and secret; else of their ARN, AWS_REGION, or this instance\n"
     "      --aws-endpoint URL  asked in AWS's place\n"
     "      --retry TIME     until the manager answers, for so long: 90s, 10m, 1h\n"
     "      --tag KEY=VALUE  shown with this host; repeatable\n"
     "      --again          enrol once more, as another agent\n"
     "      --if-needed      only if it has not enrolled, or its disk is another instance's\n"
     "      --set KEY=VALUE  override a configuration key; repeatable\n"
     "A token on the command line can be read by every user of this host while it runs.\n"
     "Exit codes: 3 nobody answers, 4 token or instance refused, 5 certificate not trusted.\n",
     cmd_enroll},
    {"drain", "[OPTION]...", "take this host out of the fleet: tell the manager what waits, and retire",
     "  -c, --config FILE    configuration (" CLI_CONF_PATH ")\n"
     "      --timeout TIME   for the manager: 90s, 10m (60s)\n"
     "      --no-retire      tell only; the host stays in the manager's list\n"
     "      --wait           when the Auto Scaling group, or EC2 a spot instance, ends this instance\n"
     "      --lifecycle-hook NAME  of the group, which is told then that the instance may go\n"
     "      --asg NAME       the group; else of the instance's tags, or asked for\n"
     "      --region REGION  of the group; else AWS_REGION, or this instance's\n"
     "      --imds URL       metadata service (http://169.254.169.254)\n"
     "      --aws-endpoint URL  asked in AWS's place\n"
     "      --set KEY=VALUE  override a configuration key; repeatable\n"
     "May be run again. The agent goes on protecting this host until it is stopped.\n",
     cmd_drain},
    {"doctor", "[--json]", "look at all that the agent needs here, and say what helps",
     "  -c, --config FILE    configuration (" CLI_CONF_PATH ")\n"
     "      --json           as JSON\n"
     "      --set KEY=VALUE  override a configuration key; repeatable\n"
     "Changes nothing. Exit code 1 when something fails that the agent cannot do without.\n",
     cmd_doctor},
    {"status", "[--json]", "show workers, what was not inspected, memory, rules and blocks",
     CONTROL_OPTIONS "      --json           as JSON\n", cmd_status},
    {"blocks", "[OPTION]...", "list the blocks in force, or those that have ended",
     CONTROL_OPTIONS "      --json           as JSON\n"
                     "      --sort ORDER     created, left, hits or target; most stands last (created)\n"
                     "      --origin WHO     of those only: rule, operator, fleet, kernel\n"
                     "      --net CIDR       only targets within that network\n"
                     "      --match TEXT     only those with that in their reason\n"
                     "      --limit N        the last N of that order\n"
                     "      --count          only how many there are\n"
                     "      --history        those that have ended, with when and why (--limit 1000)\n"
                     "      --for TIME       of the history, what ended within 90s, 15m, 1h, 7d, 2w\n",
     cmd_blocks},
    {"block", "ADDR[/LEN] [--for TIME] [--reason TEXT]", "block an address or network",
     CONTROL_OPTIONS "      --for TIME       90s, 15m, 1h, 7d, 2w (1h)\n"
                     "      --reason TEXT    shown by `blocks` and `explain`\n",
     cmd_block},
    {"unblock", "ADDR[/LEN]|BLOCK-ID|--all", "end a block, or all of them",
     CONTROL_OPTIONS "      --all            every block that is in force\n", cmd_unblock},
    {"explain", "ADDR[/LEN]|BLOCK-ID [--json]", "show why a block was set and where it is in force",
     CONTROL_OPTIONS "      --json           as JSON\n", cmd_explain},
    {"brake", "[--release] [--json]", "show whether too many new blocks are being stopped",
     CONTROL_OPTIONS "      --release        let new blocks be set again\n"
                     "      --json           as JSON\n",
     cmd_brake},
    {"reload", "", "take up changed configuration and rules without losing a packet", CONTROL_OPTIONS, cmd_reload},
    {"stop", "[--clear]", "end the running agent",
     CONTROL_OPTIONS
     "      --clear          block nobody any more: remove the table from the kernel, also without an agent\n",
     cmd_stop},
};
const unsigned cli_ncommands = sizeof(cli_commands) / sizeof(cli_commands[0]);

static const struct cli_command roles[] = {
    {"role-engine", "", "", "", role_engine},
    {"role-reporter", "", "", "", role_reporter},
    {"role-exporter", "", "", "", role_exporter},
    {"role-uplink", "", "", "", role_uplink},
};

static const struct cli_command *find_in(const struct cli_command *t, unsigned n, const char *verb)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(t[i].verb, verb) == 0)
            return &t[i];
    return NULL;
}

const struct cli_command *cli_find(const char *verb)
{
    return find_in(cli_commands, cli_ncommands, verb);
}

int cli_usage(const char *verb, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "sekisho%s%s: ", verb != NULL ? " " : "", verb != NULL ? verb : "");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry `sekisho help%s%s`.\n", verb != NULL ? " " : "", verb != NULL ? verb : "");
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
    fputs("sekisho: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return CLI_FAILED;
}

void cli_print_help(FILE *out, const struct cli_command *c)
{
    fprintf(out, "Usage: sekisho %s%s%s\n%c%s.\n\n%s", c->verb, c->arguments[0] != '\0' ? " " : "", c->arguments,
            c->summary[0] - 'a' + 'A', c->summary + 1, c->help);
}

static void print_overview(FILE *out)
{
    fputs("Usage: sekisho VERB [ARGUMENT]...\nIntrusion detection and prevention for this host.\n\n", out);
    for (unsigned i = 0; i < cli_ncommands; i++)
        fprintf(out, "  %-9s %s\n", cli_commands[i].verb, cli_commands[i].summary);
    fputs("  help      show the options of a verb\n\n"
          "`sekisho --version` prints the version.\n"
          "Exit codes: 0 done, 1 bad input or failure, 2 wrong usage.\n",
          out);
}

/* verb TAB arguments TAB summary: for the tests that compare man pages and completion with this table. */
static void print_table(void)
{
    for (unsigned i = 0; i < cli_ncommands; i++)
        printf("%s\t%s\t%s\n", cli_commands[i].verb, cli_commands[i].arguments, cli_commands[i].summary);
}

static void print_key(void *arg, const struct conf_key *k)
{
    (void)arg;
    printf("%s\t%s\t%s\t%s\n", k->path, k->def, k->allowed, k->help);
}

/* part TAB cause TAB meaning: for the test that compares sekisho(1) with it. */
static void print_ledger(void)
{
    for (unsigned c = SK_LP_FIRST; c <= SK_LF_LAST; c++)
        printf("%s\t%s\t%s\n", c <= SK_LP_LAST ? "packets" : "flows", sk_counter_leaf((enum sk_counter)c),
               sk_counter_help((enum sk_counter)c));
}

static int help(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_overview(stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--table") == 0) {
        print_table();
        return CLI_OK;
    }
    if (strcmp(argv[1], "--keys") == 0) { /* path TAB default TAB allowed TAB meaning: sekisho.yaml(5) is made of it */
        conf_describe(print_key, NULL);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--ledger") == 0) {
        print_ledger();
        return CLI_OK;
    }
    const struct cli_command *c = cli_find(argv[1]);
    if (c == NULL)
        return cli_usage(NULL, "no such verb: %s", argv[1]);
    cli_print_help(stdout, c);
    return CLI_OK;
}

static int wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return 1;
    return 0;
}

static int run_verb(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return CLI_USAGE;
    }
    const char *verb = argv[1];
    if (strcmp(verb, "--version") == 0 || strcmp(verb, "-V") == 0) {
        puts("sekisho " SK_VERSION);
        return CLI_OK;
    }
    if (strcmp(verb, "help") == 0 || strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
        return help(argc - 1, argv + 1);
    const struct cli_command *c = find_in(roles, sizeof(roles) / sizeof(roles[0]), verb);
    if (c != NULL)
        return c->fn(argc - 1, argv + 1);
    c = cli_find(verb);
    if (c == NULL)
        return cli_usage(NULL, "no such verb: %s", verb);
    if (wants_help(argc - 1, argv + 1)) {
        cli_print_help(stdout, c);
        return CLI_OK;
    }
    return c->fn(argc - 1, argv + 1);
}

/* What was asked for and could not be written must not look as if it had been. */
int main(int argc, char **argv)
{
    int rc = run_verb(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && rc == CLI_OK)
        return cli_fail("cannot write to standard output: %s", strerror(errno));
    return rc;
}
