/*
 * Who has been blocked before, so that each further block of a target lasts longer: of each target how many blocks have
 * run out one after another, and when the last one did. Plain bookkeeping: knows neither clock nor disk; the enforcer
 * fills it from the journal.
 *
 * Owner: enforcer; one thread. Lookup O(1). Fixed memory.
 * Full policy: the target whose last block ended longest ago is forgotten, and counted.
 */
#ifndef ENFORCE_OFFENDERS_H
#define ENFORCE_OFFENDERS_H

#include <stddef.h>
#include "base/addr.h"

#define OFFENDERS_MAX 65536

struct offenders;

/* max: 1 .. OFFENDERS_MAX; 0: that. NULL without memory. */
struct offenders *offenders_create(uint32_t max);
void offenders_free(struct offenders *o); /* NULL is fine */

/* The nth block of p has run out. Calls come in the order of `when`. */
void offenders_ended(struct offenders *o, const struct sk_prefix *p, uint32_t n, int64_t when);
/* Somebody has said that it was wrong: p begins anew. */
void offenders_forgive(struct offenders *o, const struct sk_prefix *p);
/* Blocks that p had before; 0 when the last ended before `since`. */
uint32_t offenders_count(const struct offenders *o, const struct sk_prefix *p, int64_t since);

size_t offenders_known(const struct offenders *o);
uint64_t offenders_forgotten(const struct offenders *o); /* because there was no room */

#endif
