/* The command table of `sekisho-manager`: what each verb takes, and the function that does it. */
#ifndef MANAGER_CLI_H
#define MANAGER_CLI_H

#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 }; /* exit codes */

struct cli_command {
    const char *verb; /* one word or two: "agents", "token create" */
    const char *arguments, *summary;
    const char *help;                 /* options, one a line */
    int (*fn)(int argc, char **argv); /* argv[0] is the verb, whole; returns an exit code */
};

extern const struct cli_command cli_commands[];
extern const unsigned cli_ncommands;

/* "sekisho-manager VERB: problem" and the way to help, on standard error. Returns CLI_USAGE. */
int cli_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What getopt_long just refused with '?' or ':', named as it was typed. Returns CLI_USAGE. */
int cli_bad_option(const char *verb, char *const *argv, int refused);
/* "sekisho-manager: problem". Returns CLI_FAILED. */
int cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_print_help(FILE *out, const struct cli_command *c);

int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_init(int argc, char **argv);
int cmd_token_create(int argc, char **argv);
int cmd_token_list(int argc, char **argv);
int cmd_token_revoke(int argc, char **argv);
int cmd_agents(int argc, char **argv);
int cmd_agent(int argc, char **argv);
int cmd_revoke(int argc, char **argv);
int cmd_retire(int argc, char **argv);
int cmd_blocks(int argc, char **argv);
int cmd_block(int argc, char **argv);
int cmd_unblock(int argc, char **argv);
int cmd_entries(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_audit(int argc, char **argv);
int cmd_policy_publish(int argc, char **argv);
int cmd_rules_publish(int argc, char **argv);
int cmd_bundles(int argc, char **argv);
int cmd_waf_plan(int argc, char **argv);
int cmd_waf_apply(int argc, char **argv);
int cmd_waf_status(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_ca_show(int argc, char **argv);

#endif
