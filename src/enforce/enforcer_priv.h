/*
 * Shared by the enforcer's files only: enforcer.c (requests, life of blocks), enforcer_fleet.c (what the fleet wants),
 * enforcer_sync.c (what is pending to the kernel), enforcer_check.c (is it still there?), enforcer_readback.c (what is
 * there at all?).
 */
#ifndef ENFORCE_ENFORCER_PRIV_H
#define ENFORCE_ENFORCER_PRIV_H

#include "enforce/enforcer.h"
#include "pieces.h"

#define ENFORCER_PENDING_MAX (2u << 20) /* entries of one list; beyond, a full comparison replaces it */

#define ENFORCER_LATE  (2 * SK_NS_PER_S)
#define ENFORCER_SLICE 512 /* elements that one call looks at: about 2 ms */
#define ENFORCER_ENDS  256 /* blocks that one call ends: about 6 ms, most of it the journal's */

/* Targets by value: a block may be gone before its turn comes. */
struct targets {
    struct sk_prefix *v;
    size_t n, cap;
};

/* A read-back that goes on a slice at a time. */
struct check {
    bool running;
    int64_t due, began;
    uint32_t cursor; /* of block_table_scan; then the prefix sets: */
    bool hosts_done, done[2];
    struct sk_addr at[2]; /* pieces that begin here or later are still to be looked at */
};

/* Somebody has unblocked it here: for the fleet it is not set again as it was. */
struct spared {
    struct sk_prefix target;
    char own_id[BLOCK_ID_LEN], fleet_id[BLOCK_FLEET_ID]; /* "": none */
    int64_t own, fleet;                                  /* ends */
};

struct fleet_state {
    uint32_t round, cursor; /* snapshots begun; where the sweep is */
    bool collecting, sweeping;
    struct spared *spared; /* in no order */
    size_t nspared;
};

struct enforcer {
    struct enforcer_setup s;
    struct fleet_state fleet;
    struct enforcer_stats stats;
    struct offenders *offenders;
    struct brake brake;
    bool brake_said;    /* what `braked` was told last */
    int64_t brake_look; /* when it is to be looked at again; INT64_MAX: it does not brake */
    uint32_t max;
    struct targets fresh; /* blocks that the kernel does not know */
    struct targets late;  /* extended blocks; due at late_due */
    struct targets gone;  /* hosts to take out */
    int64_t late_due, prefix_due[2];
    int64_t retry_at; /* while degraded or need_resync */
    int64_t last_tick;
    /* Prefix sets, [0] IPv4, [1] IPv6: what the kernel is believed to hold, and what it should (rebuilt when needed).
     */
    struct pieces shadow[2], want[2];
    bool rewrite[2];  /* flush and fill instead of changing: the believed state was wrong */
    bool need_resync; /* a list has lost something: everything must be compared */
    bool degraded, restored, journal_stale;
    /* Counts how often the kernel table was made anew: hosts with another number are not in it. From 1. */
    uint32_t table_no;
    struct check check;
    int64_t check_may; /* when somebody may have the next read-back before it is due */
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
/* What is done once a read-back. */
void enforcer_journal_round(struct enforcer *e, int64_t now);

void enforcer_journal_result(struct enforcer *e, int rc);
/* A block whose end has moved: the kernel follows at `when`. */
void enforcer_pend_moved(struct enforcer *e, struct block *b, int64_t when);
void enforcer_pend_new(struct enforcer *e, struct block *b, int64_t now);

/* enforcer_fleet.c */
/* b has been unblocked. */
void enforcer_spare(struct enforcer *e, const struct block *b, int64_t now);
/* As the journal tells it, the latest first. */
void enforcer_spare_restored(struct enforcer *e, const struct block *b, int64_t now);

/* enforcer_sync.c */
bool enforcer_far(int64_t a, int64_t b); /* more than kernel and table may differ */
SK_MUST_USE int enforcer_change(struct enforcer *e, enum nft_op op, uint8_t set, const struct sk_addr *first,
                                const struct sk_addr *last, int64_t expires);
SK_MUST_USE int enforcer_change_host(struct enforcer *e, enum nft_op op, const struct sk_prefix *p, int64_t expires);
/* Plans what makes a prefix set right; counts repairs unless it is pending anyway. */
SK_MUST_USE int enforcer_plan_ranges(struct enforcer *e, unsigned fam, int64_t now);
/* The kernel took the plan. */
void enforcer_ranges_done(struct enforcer *e, unsigned fam);
/* Sends the changes, and forgets them. */
SK_MUST_USE int enforcer_carry(struct enforcer *e, int64_t now);
void enforcer_host_put(struct enforcer *e, struct block *b); /* the kernel has it now, as the table says */
/* Looks at the table's shape, and makes it right. */
SK_MUST_USE int enforcer_shape(struct enforcer *e, int64_t now);
void enforcer_settle_pending(struct enforcer *e, bool late, int64_t now);
/* A kernel error: the next try comes later. */
int enforcer_failed(struct enforcer *e, int rc, int64_t now);

/* enforcer_check.c */
void enforcer_check_anew(struct enforcer *e); /* from the beginning, at once */
SK_MUST_USE int enforcer_check_some(struct enforcer *e, int64_t now);
/* What a counter of the kernel says goes to the block that it stands for. seen: credited before. */
void enforcer_credit(struct block *b, uint64_t packets, uint64_t bytes, uint64_t *seen_packets, uint64_t *seen_bytes);

/* enforcer_readback.c */
/* Reads a prefix set whole, takes in what is foreign, repairs. */
SK_MUST_USE int enforcer_repair_ranges(struct enforcer *e, unsigned fam, int64_t now);
/* Elements of host sets that no block explains: adopted, or to go (then among the changes). */
SK_MUST_USE int enforcer_adopt_hosts(struct enforcer *e, const struct nft_elem *v, size_t n, int64_t now);

#endif
