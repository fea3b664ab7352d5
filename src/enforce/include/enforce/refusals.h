/*
 * Refusals to block, for events: the first of a target and cause is told at once; what follows within REFUSALS_QUIET is
 * counted, and told in one when that time is over. No refusal is told twice, and none is left out.
 *
 * Whoever can cause requests can cause refusals: fixed memory, REFUSALS_MAX targets. Full policy: the one told longest
 * ago makes room, after what it has counted has been told.
 *
 * Owner: guard; one thread. now: wall clock ns.
 */
#ifndef ENFORCE_REFUSALS_H
#define ENFORCE_REFUSALS_H

#include "enforce/enforcer.h"

#define REFUSALS_MAX   1024
#define REFUSALS_QUIET (10 * SK_NS_PER_S)

struct refusal {
    struct sk_prefix target;
    uint8_t origin;                  /* enum block_origin */
    uint8_t result;                  /* enum enforce_result */
    uint8_t why;                     /* enum policy_verdict; REFUSED_INVALID */
    uint8_t never;                   /* enum never_kind; REFUSED_NEVER */
    uint8_t reason;                  /* enum decide_reason */
    struct sk_prefix entry;          /* REFUSED_NEVER: what refused it ... */
    char entry_text[NEVER_TEXT_MAX]; /* ... and where that comes from */
    uint32_t gid, sid;               /* of the latest request */
    char msg[DECIDE_MSG_MAX];
    uint32_t count; /* refusals that this stands for; 1 or more */
};

struct refusals;
typedef void refusals_fn(void *arg, const struct refusal *r, int64_t now);

struct refusals *refusals_create(refusals_fn *fn, void *arg); /* NULL without memory */
void refusals_free(struct refusals *r);                       /* NULL is fine; tells nothing */

/* q is what was asked for, unchecked. out: what enforcer_request said; not a refusal: nothing happens. */
void refusals_add(struct refusals *r, const struct decide_request *q, enum block_origin origin,
                  const struct enforce_outcome *out, int64_t now);
/* Tells what has waited long enough; all: whatever has been counted. Call about once a second. */
void refusals_tick(struct refusals *r, bool all, int64_t now);

/* In one word: "gateway", "brake", "rate", "full", "invalid". And in a few. */
const char *refusal_kind(const struct refusal *r);
const char *refusal_text(const struct refusal *r);

#endif
