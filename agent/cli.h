/* The command table of `sekisho`: what each verb takes, and the function that does it. */
#ifndef AGENT_CLI_H
#define AGENT_CLI_H

#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 }; /* exit codes */

#define CLI_CONF_PATH "/etc/sekisho/sekisho.yaml" /* read when there is no -c; need not exist */

struct cli_command {
    const char *verb, *arguments, *summary;
    const char *help;                 /* options, one a line */
    int (*fn)(int argc, char **argv); /* argv[0] is the verb; returns an exit code */
};

extern const struct cli_command cli_commands[];
extern const unsigned cli_ncommands;

const struct cli_command *cli_find(const char *verb);
/* "sekisho VERB: problem" and the way to help, on standard error. Returns CLI_USAGE. */
int cli_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * What getopt_long just refused with '?' or ':' (the short options begin with ':', so that getopt itself says nothing),
 * named as it was typed. Returns CLI_USAGE.
 */
int cli_bad_option(const char *verb, char *const *argv, int refused);
/* "sekisho: problem". Returns CLI_FAILED. */
int cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_print_help(FILE *out, const struct cli_command *c);

int cmd_replay(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_run(int argc, char **argv);
struct guard_options;
/* The options of `run`, from argv[1] on, into out, which points into them. An exit code. */
int run_options(int argc, char **argv, struct guard_options *out);
int cmd_status(int argc, char **argv);
int cmd_blocks(int argc, char **argv);
int cmd_block(int argc, char **argv);
int cmd_unblock(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_brake(int argc, char **argv);
int cmd_enroll(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_configure(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_stop(int argc, char **argv);

/* Hidden verbs: what the guard re-executes itself as. */
int role_engine(int argc, char **argv);
int role_reporter(int argc, char **argv);
int role_exporter(int argc, char **argv);
int role_uplink(int argc, char **argv);

#endif
