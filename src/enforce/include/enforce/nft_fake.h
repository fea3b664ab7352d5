/*
 * A kernel that is not one: same rules (overlapping ranges and missing elements are refused, elements expire by the
 * `now` of the call), held in memory, with counts of what was asked and faults on demand. For replay and tests.
 */
#ifndef ENFORCE_NFT_FAKE_H
#define ENFORCE_NFT_FAKE_H

#include "enforce/nft.h"

struct nft_fake;

struct nft_fake_log {
    uint64_t setups, applies, transactions, adds, dels, puts, flushes, lists, range_lists, gets, teardowns;
    int64_t last_now; /* that the last apply was told */
};

struct nft_fake *nft_fake_create(void);
void nft_fake_free(struct nft_fake *f);
extern const struct nft_ops nft_fake_ops; /* ctx is struct nft_fake * */

const struct nft_fake_log *nft_fake_log(const struct nft_fake *f);
/* Is a packet from this address dropped at that time? Counts it as a hit. */
bool nft_fake_drops(struct nft_fake *f, const struct sk_addr *a, int64_t now);
size_t nft_fake_count(const struct nft_fake *f, int64_t now);
/* Somebody flushed the ruleset. */
void nft_fake_wipe(struct nft_fake *f);
/* Somebody changed the chain; the sets are as they were. */
void nft_fake_misshape(struct nft_fake *f);
/* Each list of everything takes so long. */
void nft_fake_slow(struct nft_fake *f, int64_t ns);
/* The next n calls of apply fail with err and change nothing. */
void nft_fake_fail(struct nft_fake *f, unsigned n, int err);

#endif
