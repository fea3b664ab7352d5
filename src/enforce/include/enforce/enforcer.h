/*
 * The enforcer: from a request to an element in the kernel, a line in the journal and back out at the right second. The
 * only writer of block table, journal and kernel sets.
 *
 *   enforcer_create → enforcer_restore → { enforcer_request* → enforcer_flush | enforcer_tick }* → enforcer_free
 *
 * Requests only change the table; enforcer_flush carries all that is pending to the kernel in one batch and then to the
 * journal: call it once after draining the request channel. enforcer_tick(now) does what is due: expiry, extensions
 * (collected for ENFORCER_EXTEND_DELAY, because a blocked sender goes on asking), the read-back that begins every
 * ENFORCER_RESYNC; call it at enforcer_deadline or earlier. It does some of each and comes back, so that requests do
 * not wait for it: what is left is due at once. What nft_monitor_read has heard goes to enforcer_heard. enforcer_free
 * leaves the kernel as it is: elements run out by themselves.
 *
 * A clock step is caught by the next read-back: expiry is absolute wall time.
 *
 * A rule's block lasts longer with each earlier block of its target that ran out (struct policy_limits,
 * enforce/offenders.h); unblocking forgives. New blocks of rules pass the brake (decide/brake.h), which is looked at
 * again each ENFORCER_BRAKE_LOOK while it brakes.
 *
 * What the fleet wants blocked comes by enforcer_fleet_set, with the end that the manager says, and is checked like any
 * request; the brake's share and rate are for rules alone. Of a block that both want the later end counts; what the
 * fleet says never changes whose block it is, nor what it was decided on. What somebody unblocks here is not set again
 * for the fleet until the fleet says something else of it; ENFORCER_SPARED_MAX of these are remembered, in the journal
 * too. Fleet blocks may fill three quarters of the table, so that this host always has room for its own.
 *
 * Owner: guard; one thread. ops, table, journal (may be NULL), never, limits and brake are borrowed and must outlive
 * it; what stands in limits and brake may change between calls.
 */
#ifndef ENFORCE_ENFORCER_H
#define ENFORCE_ENFORCER_H

#include "base/clock.h"
#include "decide/brake.h"
#include "decide/never.h"
#include "decide/policy.h"
#include "enforce/blocktable.h"
#include "enforce/journal.h"
#include "enforce/nft.h"
#include "enforce/offenders.h"

#define ENFORCER_RESYNC       (30 * SK_NS_PER_S)
#define ENFORCER_EXTEND_DELAY SK_NS_PER_S
#define ENFORCER_SLACK        (SK_NS_PER_S / 2) /* kernel and table may differ by this much without a repair */
#define ENFORCER_RETRY        SK_NS_PER_S       /* after a kernel error */
#define ENFORCER_BRAKE_LOOK   SK_NS_PER_S
#define ENFORCER_SPARED_MAX   4096
#define ENFORCER_ECHO         SK_NS_PER_MS /* the manager counts milliseconds: ends that differ by less are the same */

/* X(identifier, "name") */
#define ENFORCE_RESULTS(X)                                                                                             \
    X(BLOCKED, "blocked")                                                                                              \
    X(EXTENDED, "extended")                                                                                            \
    X(KNOWN, "already-blocked")                                                                                        \
    X(COVERED, "covered")                                                                                              \
    X(REFUSED_NEVER, "refused-never-list")                                                                             \
    X(REFUSED_INVALID, "refused-invalid")                                                                              \
    X(REFUSED_FULL, "refused-full")                                                                                    \
    X(REFUSED_BRAKE, "refused-brake")                                                                                  \
    X(REFUSED_RATE, "refused-rate")                                                                                    \
    X(NOT_BLOCKED, "not-blocked") /* reason AGAIN, and the block is gone */                                            \
    X(SHORTENED, "shortened")     /* what the fleet wants */                                                           \
    X(SPARED, "unblocked-here")   /* the fleet wants what somebody has unblocked here */

enum enforce_result {
#define X(id, name) ENFORCE_##id,
    ENFORCE_RESULTS(X)
#undef X
};

struct enforce_outcome {
    enum enforce_result result;
    enum policy_verdict why;         /* REFUSED_INVALID */
    const struct never_entry *never; /* REFUSED_NEVER */
    const struct block *block;       /* BLOCKED, EXTENDED, KNOWN, COVERED (then the wider one); else NULL */
};

struct enforcer_stats {
    uint64_t requests, blocked, extended, covered, refused_never, refused_invalid, refused_full;
    uint64_t refused_brake, refused_rate;
    uint64_t again;                      /* requests of reason AGAIN */
    uint64_t expired, unblocked, lifted; /* lifted: because the never-list grew */
    uint64_t adopted;                    /* found in the kernel, unknown to us */
    uint64_t switched;                   /* ended at the start: of a former dry run, or because this is one */
    uint64_t resyncs, repairs;           /* read-backs; elements that were missing or wrong */
    uint64_t rebuilds;                   /* table was missing or misshapen */
    uint64_t kernel_errors, journal_errors;
    uint64_t fleet, fleet_refused, fleet_spared, fleet_ended; /* what the manager said, and what became of it */
};

/* What happened to a block, for events. ADDED and EXTENDED once the kernel has it. */
enum enforcer_event {
    ENFORCER_ADDED,
    ENFORCER_CHANGED,
    ENFORCER_EXPIRED,
    ENFORCER_UNBLOCKED,
    ENFORCER_LIFTED,
    ENFORCER_ADOPTED,
    ENFORCER_RECALLED /* the fleet wants it no more, or the manager lifted it */
};
typedef void enforcer_hook(void *arg, enum enforcer_event ev, const struct block *b, int64_t now);

/* Where the brake stands: shown, and told when it begins to stop or lets go. */
struct enforcer_brake {
    bool braking;
    int64_t since;             /* the last time that it began; 0: never */
    uint64_t stopped;          /* blocks refused since then */
    uint64_t set, limit, room; /* new blocks of the window, how many it may hold, and how many more */
    uint64_t active;           /* clients of the window */
};

struct enforcer_setup {
    const struct nft_ops *ops;
    void *ops_ctx;
    struct block_table *table;
    struct journal *journal; /* NULL: nothing survives (replay) */
    const struct never_list *never;
    const struct policy_limits *limits;
    const struct conf_brake *brake; /* NULL: nothing brakes */
    bool dry_run;                   /* what the blocks are marked with; ops are the caller's to choose */
    enforcer_hook *hook;            /* may be NULL */
    /* Clients that were active within the brake's window. NULL: not known; then its minimum and rate count. */
    uint64_t (*active)(void *arg, int64_t now);
    /* It begins to stop, or lets go. May be NULL. */
    void (*braked)(void *arg, const struct enforcer_brake *b, int64_t now);
    void *hook_arg; /* of the three */
};

struct enforcer;

struct enforcer *enforcer_create(const struct enforcer_setup *s); /* s is copied; NULL without memory */
/* Journals hit counts, frees. Does not touch the kernel. */
void enforcer_free(struct enforcer *e);

/* At start: journal into table, kernel table made right, elements adopted. On an error the enforcer works on and
 * retries by itself; the error is for saying so. */
SK_MUST_USE int enforcer_restore(struct enforcer *e, int64_t now);

/* A request of reason AGAIN only counts on the block that is there. */
void enforcer_request(struct enforcer *e, const struct decide_request *req, enum block_origin origin, int64_t now,
                      struct enforce_outcome *out);
/* Ends a block (of any origin), and forgives its target. SK_ENOENT. Pending until the next flush. */
SK_MUST_USE int enforcer_unblock_id(struct enforcer *e, const char *id, int64_t now);
SK_MUST_USE int enforcer_unblock(struct enforcer *e, const struct sk_prefix *target, int64_t now);

/* Ends at most `most` blocks so. Returns how many. */
size_t enforcer_unblock_some(struct enforcer *e, size_t most, int64_t now);

/*
 * The fleet blocks req->target until f->expires: at most for the longest time that is allowed here. req is what a
 * request for it would say (target, seconds, message, rule). An end that is over: as if the fleet wanted it no more.
 */
void enforcer_fleet_set(struct enforcer *e, const struct decide_request *req, const struct block_fleet *f, int64_t now,
                        struct enforce_outcome *out);
/* The manager lifts it, whoever wants it, and forgives its target. SK_ENOENT: also where this host has unblocked it
 * itself and blocked it again since: that is the end of the first one, which comes back. */
SK_MUST_USE int enforcer_fleet_end(struct enforcer *e, const struct sk_prefix *target, int64_t now);
/* Everything that the fleet wants follows by enforcer_fleet_set, then enforcer_fleet_done: the fleet wants nothing
 * else. Never done: nothing happens. */
void enforcer_fleet_begin(struct enforcer *e);
void enforcer_fleet_done(struct enforcer *e);
/* Goes over some blocks for that. True: there are more. */
bool enforcer_fleet_sweep(struct enforcer *e, int64_t now);
/* Has it been unblocked here, against what the fleet wants? */
size_t enforcer_fleet_spared(const struct enforcer *e);

void enforcer_brake(struct enforcer *e, int64_t now, struct enforcer_brake *out);
/* The operator looked at it. */
void enforcer_brake_release(struct enforcer *e, int64_t now);

/* Carries new blocks, unblocks and due extensions out. A kernel error resyncs at once; what fails then is retried. */
SK_MUST_USE int enforcer_flush(struct enforcer *e, int64_t now);
SK_MUST_USE int enforcer_tick(struct enforcer *e, int64_t now);
/* When enforcer_tick has something to do next (wall ns). */
int64_t enforcer_deadline(const struct enforcer *e);
/* Is it time for enforcer_tick? Also true when the deadline is further away than any can be: the clock was set back. */
bool enforcer_due(const struct enforcer *e, int64_t now);
/* Looks at what others have touched, and nothing else: repairs it, or adopts it. A table that had to be made anew has
 * its rules and prefix sets when this returns; its hosts come back with the next ticks. */
SK_MUST_USE int enforcer_heard(struct enforcer *e, const struct nft_news *news, int64_t now);
/* The next read-back begins at the next tick: for counters that are to be shown. Whoever asks again and again has a
 * fifth of the time. */
void enforcer_check_now(struct enforcer *e, int64_t now);
/* Reads the hit counts of one block. */
SK_MUST_USE int enforcer_refresh(struct enforcer *e, struct block *b, int64_t now);
/* Reads the kernel back whole, refreshes hit counts, repairs differences, adopts foreign elements: at the start, and
 * when news were lost. Takes more than a second when there are very many. */
SK_MUST_USE int enforcer_resync(struct enforcer *e, int64_t now);
/* The never-list changed: lifts blocks that it now forbids. Returns how many. */
size_t enforcer_never_changed(struct enforcer *e, int64_t now);
/* Ends every block, forgiving nobody, and removes the kernel table (stop without keep-blocks). */
SK_MUST_USE int enforcer_teardown(struct enforcer *e, int64_t now);

const struct enforcer_stats *enforcer_stats(const struct enforcer *e);
const struct offenders *enforcer_offenders(const struct enforcer *e);
/* True while the kernel is not known to hold what the table says. */
bool enforcer_degraded(const struct enforcer *e);
/* Blocks for listing: block_table_at(enforcer_table(e), i), hits as of the last resync. */
const struct block_table *enforcer_table(const struct enforcer *e);
const char *enforce_result_name(enum enforce_result r);

#endif
