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
#define MPM_IGNORED_ID UINT32_MAX /* of an expression that is no pattern */
#define MPM_TINY_MAX   4
#define MPM_TINY_WORK  320 /* patterns x (bytes + 16) */

/*
 * An id that an expression stands for, and where a match of it must end. Looked at when a match is reported: given to
 * the compiler, bounds make databases ten times as large, seconds to compile, and several times slower.
 */
struct mpm_entry {
    uint32_t id;
    uint64_t min_end, max_end;
};

struct mpm_tiny {
    struct match_lit lit;
    uint8_t store[MPM_MAX_LEN];
};

struct mpm_db {
    _Atomic uint32_t refs;
    uint32_t nexpr;  /* distinct patterns */
    uint32_t *first; /* nexpr + 1: where the entries of an expression begin */
    struct mpm_entry *entry;
    bool bounded;          /* some entry has bounds */
    hs_database_t *hs;     /* NULL: a single pattern */
    struct mpm_tiny *tiny; /* NULL: more than MPM_TINY_MAX */
    uint64_t memory;
};

struct mpm_scratch {
    hs_scratch_t *hs;
};

#endif
