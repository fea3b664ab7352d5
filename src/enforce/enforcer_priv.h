/* Shared by enforcer.c (requests, life of blocks) and enforcer_sync.c (kernel) only. */
#ifndef ENFORCE_ENFORCER_PRIV_H
#define ENFORCE_ENFORCER_PRIV_H

#include "enforce/enforcer.h"
#include "pieces.h"

#define ENFORCER_PENDING_MAX (2u << 20) /* entries of one list; beyond, a full comparison replaces it */

#define ENFORCER_LATE (2 * SK_NS_PER_S)

/* Targets by value: a block may be gone before its turn comes. */
struct targets {
    struct sk_prefix *v;
    size_t n, cap;
};

struct enforcer {
    struct enforcer_setup s;
    struct enforcer_stats stats;
    struct offenders *offenders;
    struct brake brake;
    bool brake_said;    /* what `braked` was told last */
    int64_t brake_look; /* when it is to be looked at again; INT64_MAX: it does not brake */
    uint32_t max;
    struct targets fresh; /* blocks that the kernel does not know */
    struct targets late;  /* extended blocks; due at late_due */
    struct targets gone;  /* hosts to take out */
    int64_t late_due, prefix_due[2], next_resync;
    /* Prefix sets, [0] IPv4, [1] IPv6: what the kernel is believed to hold, and what it should (rebuilt when needed).
     */
    struct pieces shadow[2], want[2];
    bool rewrite[2]; /* flush and fill instead of changing: the believed state was wrong */
    bool need_resync, degraded, restored, journal_stale;
    struct nft_change *changes;
    size_t nchanges, changes_cap;
};

void targets_free(struct targets *t);
void targets_add(struct enforcer *e, struct targets *t, const struct sk_prefix *p);
void enforcer_fire(struct enforcer *e, enum enforcer_event ev, const struct block *b, int64_t now);
/* Frees b. */
void enforcer_end(struct enforcer *e, struct block *b, enum journal_end why, int64_t now);
/* add: whole rows; else expiry and counts. */
void enforcer_journal_pending(struct enforcer *e, const struct targets *t, bool add);
void enforcer_journal_block(struct enforcer *e, const struct block *b);
void enforcer_journal_catch_up(struct enforcer *e, int64_t now);
void enforcer_journal_hits(struct enforcer *e);
void enforcer_journal_commit(struct enforcer *e);

#endif
