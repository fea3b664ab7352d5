/* Commands that run the engine in this process, and what they share. Each returns the exit status. */
#ifndef AGENT_COMMANDS_H
#define AGENT_COMMANDS_H

#include <sys/types.h>
#include "conf/conf.h"
#include "findings.h"

int cmd_replay(int argc, char **argv);
int cmd_check(int argc, char **argv);

/*
 * Configuration file (NULL: /etc/sekisho/sekisho.yaml if it is there, else defaults), then the file of --vars, --set in
 * order,
 * --home. NULL after the findings have been printed.
 */
struct conf *command_conf(const char *path, const char *home, const char *const *sets, unsigned nsets, const char *vars,
                          struct findings *f);

/* Whom the uplink's files belong to, as the guard chooses it. */
void command_uplink_user(const struct conf *c, uid_t *uid, gid_t *gid);

#endif
