/*
 * A host's addresses, asked for again and again in a thread of its own: getaddrinfo(3) may wait for seconds.
 * Owner: uplink. resolve_get may be called by the owner's thread alone.
 */
#ifndef REPORT_RESOLVE_H
#define REPORT_RESOLVE_H

#include <stdbool.h>
#include "base/addr.h"

#define RESOLVE_MAX 8

struct resolve_result {
    unsigned n;
    struct sk_addr addr[RESOLVE_MAX]; /* sorted */
};

/* Begins to ask. NULL: no memory, or no thread. */
struct resolve *resolve_start(const char *host);
/* True, once: there is an answer (n 0: the name has no address, or nobody answers). Then resolve_free it. */
bool resolve_get(struct resolve *r, struct resolve_result *out);
/* Does not wait for the thread, which frees what is left. NULL is fine. */
void resolve_free(struct resolve *r);

#endif
