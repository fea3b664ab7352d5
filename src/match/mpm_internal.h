/* What building and scanning of a database share. Private to match. */
#ifndef MATCH_MPM_INTERNAL_H
#define MATCH_MPM_INTERNAL_H

#include <hs.h>

#include "lit.h"
#include "match/mpm.h"

/* Up to this many distinct patterns are searched one by one: cheaper than the fixed cost of an hs_scan call. */
#define MPM_TINY_MAX 4

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
    hs_database_t *hs; /* NULL: tiny */
    struct mpm_tiny *tiny;
    uint64_t memory;
};

struct mpm_scratch {
    hs_scratch_t *hs;
};

#endif
