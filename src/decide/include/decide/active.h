/*
 * How many different clients were active within a time: HyperLogLog with linear counting for small numbers (Flajolet et
 * al. 2007), in fixed memory, for the brake. ACTIVE_PARTS parts of the window each have registers of their own; the
 * count is that of the parts within the window together. Standard error 1.04 / sqrt(ACTIVE_REGISTERS) = 1.6 %; up to
 * some thousand clients below 1 %. Keyed hash: an attacker cannot choose addresses that look like more or fewer.
 *
 * Shared by all workers without locks: registers only grow within a part (relaxed atomic maximum; a lost race loses one
 * client's mark until its next packet). active_count may run on any thread.
 */
#ifndef DECIDE_ACTIVE_H
#define DECIDE_ACTIVE_H

#include "base/addr.h"

#define ACTIVE_REGISTERS 4096
#define ACTIVE_PARTS     8

struct active_clients;

SK_MUST_USE int active_create(int64_t window, struct active_clients **out); /* ns. SK_ENOMEM */
void active_free(struct active_clients *a);
void active_add(struct active_clients *a, const struct sk_addr *client, int64_t now);
uint64_t active_count(struct active_clients *a, int64_t now);

#endif
