/* Inside of `sekisho drain`: cmd_drain.c (options, order), drain_ship.c (spool, manager), drain_hook.c (EC2's side). */
#ifndef AGENT_DRAIN_H
#define AGENT_DRAIN_H

#include <stdbool.h>
#include "cloud.h"
#include "conf/conf.h"

struct drain_args {
    const char *conf, *sets[16];
    unsigned nsets;
    struct cloud_args cloud;
    const char *hook, *group;
    int64_t timeout_s;
    bool wait, no_retire;
};

/* drain_ship.c: what waits goes to the manager, through the running agent or, where none runs, from here. Says what it
 * did. until: monotonic ns. An exit code. */
int drain_ship(const struct conf *c, int64_t until);
int drain_retire(const struct conf *c, int64_t until);

/* drain_hook.c */
/* Returns when the instance is to be terminated: its Auto Scaling group says so, or (a spot instance) EC2 does;
 * *hooked: the group, which waits for its hook. */
void drain_wait(struct aws *aws, bool *hooked);
/* Tells the group that the instance may go; says so. An exit code. */
int drain_complete(const struct drain_args *a, struct aws *aws, int64_t until);

#endif
