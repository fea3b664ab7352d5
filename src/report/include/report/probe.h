/* Looks at this host's place in the fleet without changing anything: for `sekisho doctor`. Blocking. */
#ifndef REPORT_PROBE_H
#define REPORT_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum probe_outcome {
    PROBE_ANSWERS,
    PROBE_SILENT,    /* no connection */
    PROBE_UNTRUSTED, /* its certificate */
    PROBE_SICK,      /* it answers, and not well: its database, or something before it */
};

struct probe {
    char agent[32], url[256];
    int64_t not_before, not_after; /* wall ns, of this host's certificate */
    bool key_fits;                 /* and nobody else may read it */
    enum probe_outcome outcome;
    int64_t date, asked; /* wall ns: its clock (whole seconds), ours in the middle of the request; date 0: not told */
    char why[512];       /* text; no secret */
};

/* dir: of the uplink. SK_ENOENT: not enrolled. SK_EINVAL: its files make no sense; why says which. */
SK_MUST_USE int probe_manager(const char *dir, int timeout_ms, struct probe *out);

#endif
