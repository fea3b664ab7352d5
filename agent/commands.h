/* Commands that run the engine in this process, and what they share. Each returns the exit status. */
#ifndef AGENT_COMMANDS_H
#define AGENT_COMMANDS_H

#include <jansson.h>
#include <sys/types.h>
#include "conf/conf.h"
#include "engine/engine.h"
#include "findings.h"

int cmd_replay(int argc, char **argv);
int cmd_check(int argc, char **argv);

/*
 * Configuration file (NULL: /etc/sekisho/sekisho.yaml if it is there, else defaults), then the instance's settings
 * (instance_conf.h), the file of --vars, --set in order, --home. NULL after the findings have been printed.
 */
struct conf *command_conf(const char *path, const char *home, const char *const *sets, unsigned nsets, const char *vars,
                          struct findings *f);

/* Loads them as the agent would, and lets them go again: rules, or (none) the configuration's. What is wrong goes to f.
 */
SK_MUST_USE int command_load_rules(const struct conf *conf, const char *const *rules, unsigned nrules,
                                   struct findings *f, struct engine_rule_stats *st);

/* The file alone (NULL: as above). */
SK_MUST_USE int command_conf_file(const char *path, const struct sk_diag_sink *sink, struct conf **out);

/* `check --restart[=PID]`. An exit code. */
int check_restart(const char *pid, const char *conf_path, const char *const *rules, unsigned nrules,
                  const char *const *sets, unsigned nsets);

/* The file's settings without a word, or defaults where it cannot be used: to find a running agent. NULL: no memory. */
struct conf *command_conf_quiet(const char *path);
/* What the agent says that answers at the configured socket. NULL: none does. */
json_t *command_ask_status(const struct conf *c);

/* A running agent takes changes up at once, which is said; one that does not run needs nothing. */
void command_tell_agent(const struct conf *c);

/* Whom the uplink's files belong to, as the guard chooses it. */
void command_uplink_user(const struct conf *c, uid_t *uid, gid_t *gid);

#endif
