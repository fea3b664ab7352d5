/*
 * How many different clients were active within a time: HyperLogLog (Flajolet et al. 2007) with Ertl's estimator
 * (2017), which has no bias from the first client on, in fixed memory, for the brake. ACTIVE_PARTS parts of the window
 * each have registers of their own; the count is that of the parts within the window together: of those who were active
 * in the last 7/8 to 8/8 of it. Standard error 1.04 / sqrt(ACTIVE_REGISTERS) = 1.6 %, of some thousand clients less.
 * Keyed hash: an attacker cannot choose addresses that look like more or fewer.
 *
 * Shared by all workers without locks: registers only grow within a part (relaxed atomics; a lost race, or a part that
 * begins just then, loses one client's mark until it is seen again). active_count may run on any thread. A clock that
 * goes back counts from there: marks of a time to come are not counted, and are overwritten.
 */
#ifndef DECIDE_ACTIVE_H
#define DECIDE_ACTIVE_H

#include "base/addr.h"
#include "base/hash.h"

#define ACTIVE_REGISTERS 4096
#define ACTIVE_PARTS     8

struct active_clients;

/* window: ns. key: for tests; NULL: random. SK_ENOMEM. */
SK_MUST_USE int active_create(int64_t window, const struct sk_hash_key *key, struct active_clients **out);
void active_free(struct active_clients *a); /* NULL is fine */
void active_add(struct active_clients *a, const struct sk_addr *client, int64_t now);
uint64_t active_count(const struct active_clients *a, int64_t now);

#endif
