/*
 * Multi-pattern prefilter over Vectorscan (Hyperscan API), block mode. A database is immutable and shared; a scratch
 * belongs to one worker. Patterns are literals, at most MPM_MAX_LEN bytes (longer ones are clipped by the caller).
 */
#ifndef MATCH_MPM_H
#define MATCH_MPM_H

#include "base/err.h"
#include "base/span.h"

#define MPM_MAX_LEN 24 /* what a chunk's carried tail must cover: MPM_MAX_LEN - 1 bytes */

struct mpm_pattern {
    const uint8_t *p;
    uint16_t len;
    bool nocase;
    uint32_t id;               /* reported on a hit; several patterns may share one */
    uint32_t min_off, max_off; /* the match must lie within [min_off, max_off) of the scanned buffer; max 0: no bound */
};

struct mpm_db;
/* Compiles; equal pattern sets within one builder share one database (reference counted). */
struct mpm_builder;
SK_MUST_USE int mpm_builder_create(struct mpm_builder **out);
/*
 * No pattern, or only such as their bounds make impossible, gives *out = NULL (nothing to scan for). SK_EINVAL with the
 * reason in errbuf (256 bytes) for an empty or too long pattern. About 0.1 s for 3,000 patterns, 0.2 s for 10,000.
 */
SK_MUST_USE int mpm_build(struct mpm_builder *b, const struct mpm_pattern *pat, uint32_t n, struct mpm_db **out,
                          char *errbuf);
/*
 * Compiling takes nearly all of the time, and sets do not depend on each other: after mpm_builder_defer(), mpm_build()
 * only registers a set, and mpm_builder_compile() compiles all of them in up to `threads` threads (fewer when threads
 * cannot be had; the caller's is one of them). Until then nothing may be scanned. An error is that of the first set
 * that fails.
 */
#define MPM_MAX_COMPILERS 15
void mpm_builder_defer(struct mpm_builder *b);
SK_MUST_USE int mpm_builder_compile(struct mpm_builder *b, unsigned threads, char *errbuf);
void mpm_builder_free(struct mpm_builder *b); /* databases live on */
void mpm_db_release(struct mpm_db *db);
uint64_t mpm_db_memory(const struct mpm_db *db);

struct mpm_scratch;
SK_MUST_USE int mpm_scratch_create(struct mpm_scratch **out);
/* Makes the scratch big enough for db; call for every database before scanning. Not on the packet path. */
SK_MUST_USE int mpm_scratch_fit(struct mpm_scratch *s, const struct mpm_db *db);
void mpm_scratch_free(struct mpm_scratch *s);

/*
 * Sets bit id of `hits` for each pattern found and appends newly set ids to list (cap entries); returns how many ids
 * are in list. An id for which list has no room is neither listed nor set: give cap the number of ids. A match that
 * ends within the first `skip` bytes of buf does not count: those bytes are the tail carried over from the chunk
 * before, which has been scanned already. Should the scan itself fail (a scratch that was not fitted), every pattern
 * counts as found.
 */
uint32_t mpm_scan(const struct mpm_db *db, struct mpm_scratch *s, struct sk_span buf, uint32_t skip, uint64_t *hits,
                  uint32_t *list, uint32_t n, uint32_t cap);

#endif
