/*
 * Leaving the fleet: what waits in the spool is told, and the manager is asked to retire this agent, whose certificate
 * is refused from then on. Blocking, in a process of its own, with the rights of the uplink's user; while an uplink
 * runs the spool is its own: only leave_retire then.
 */
#ifndef REPORT_LEAVE_H
#define REPORT_LEAVE_H

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum leave_outcome {
    LEAVE_DONE,
    LEAVE_WAS_DONE,     /* the manager has retired it before */
    LEAVE_NOT_ENROLLED, /* there is nobody to leave */
    LEAVE_LATE,         /* the manager does not answer, or not with what is wanted, and the time is over */
    LEAVE_REFUSED,      /* for good: revoked, expired, unknown */
    LEAVE_FAILED,       /* this host's files */
};

struct leave_options {
    const char *dir; /* of the uplink */
    uint64_t spool_size;
    const char *version;
    int64_t until; /* monotonic ns */
};

struct leave_result {
    enum leave_outcome outcome;
    uint64_t sent, left; /* items; of leave_ship */
    char agent[32];
    char why[512]; /* text; no secret */
};

void leave_ship(const struct leave_options *o, struct leave_result *r);
void leave_retire(const struct leave_options *o, struct leave_result *r);

#endif
