/* Prints what the readers of configuration and rules find, and counts it. Not thread-safe. */
#ifndef AGENT_FINDINGS_H
#define AGENT_FINDINGS_H

#include <stdbool.h>
#include "base/diag.h"

struct findings {
    unsigned errors;      /* what is wrong */
    unsigned unsupported; /* what is right, and not supported */
    unsigned warnings, notes;
    bool quiet_unsupported, quiet_notes;
};

struct sk_diag_sink findings_sink(struct findings *f);

#endif
