/*
 * Inside of `sekisho doctor`: each look is a function that says what it found. None changes anything that lasts: what
 * is tried out in the kernel is tried in a network namespace of a process of its own, and gone with it.
 */
#ifndef AGENT_DOCTOR_H
#define AGENT_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include "conf/conf.h"

enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

struct doctor {
    const struct conf *conf; /* defaults, when the real one cannot be read */
    const char *conf_path;
    bool conf_bad, json;
    json_t *status; /* of the running agent; NULL: none runs, or it does not answer */
    json_t *checks; /* what has been found */
    unsigned n[3];  /* by level */
};

/* One line: what was looked at, what was found, and (remedy, NULL: none) what helps. */
void doctor_say(struct doctor *d, enum doctor_level level, const char *check, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

void doctor_conf(struct doctor *d); /* doctor_agent.c: configuration, rules, the running agent */
void doctor_rules(struct doctor *d);
void doctor_agent(struct doctor *d);
void doctor_limits(struct doctor *d);
void doctor_sandbox(struct doctor *d);
void doctor_kernel(struct doctor *d);     /* doctor_kernel.c: version, capabilities, capture, nftables, sockets */
void doctor_interfaces(struct doctor *d); /* doctor_host.c */
void doctor_clock(struct doctor *d);
void doctor_memory(struct doctor *d);
void doctor_disk(struct doctor *d);
void doctor_fleet(struct doctor *d); /* doctor_fleet.c: certificate, manager, its clock, spool */

#endif
