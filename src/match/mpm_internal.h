/* What building and scanning of a database share. Private to match. */
#ifndef MATCH_MPM_INTERNAL_H
#define MATCH_MPM_INTERNAL_H

#include <hs.h>

#include "lit.h"
#include "match/mpm.h"

/*
 * A set of up to MPM_TINY_MAX distinct patterns is searched pattern by pattern where that costs less than the 60 to 70
 * ns that any call of hs_scan takes (tests/bench/bench_mpm.c): a single pattern always, more of them in short buffers.
 */
#define MPM_TINY_MAX  4
#define MPM_TINY_WORK 320 /* patterns x (bytes + 16) */

struct mpm_tiny {
    struct match_lit lit;
    uint32_t min_off, max_off;
    uint8_t store[MPM_MAX_LEN];
};

struct mpm_db {
    _Atomic uint32_t refs;
    uint32_t nexpr;  /* distinct patterns */
    uint32_t *first; /* nexpr + 1: where the ids of an expression begin in ids */
    uint32_t *ids;
    hs_database_t *hs;     /* NULL: a single pattern */
    struct mpm_tiny *tiny; /* NULL: more than MPM_TINY_MAX */
    uint64_t memory;
};

struct mpm_scratch {
    hs_scratch_t *hs;
};

#endif
