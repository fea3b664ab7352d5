/*
 * The AWS WAF writer: IP sets converge to what the fleet blocks. The store is the truth; a set is read, compared in
 * binary, and written whole when it differs.
 *
 *   desired entries → usable? (family, no /0, not on the never-list) → aggregate when it does not fit → rank, evict →
 *   shard by stable hash over the sets of scope, region and family → per set: ours wanted + foreign → UpdateIPSet
 *
 * Entries that somebody else put into a set are foreign: never removed, and counted against its 10,000. Ours are those
 * that the store says we wrote; that is written down before the call, so that a crash at any moment loses and leaves
 * nothing. At most one write a second in all (AWS allows one for the account and region); the next write of all sets
 * that wait is the one with removals overdue or additions longest waiting. The lock token of an answer is chained; on
 * WAFOptimisticLockException the set is read again and everything recomputed. A set is read back now and then also when
 * nothing changes.
 *
 * waf_step does what is due and says when to call again: time, store and AWS are behind functions, so that a test plays
 * days in a second. One thread.
 */
#ifndef WAF_WAF_H
#define WAF_WAF_H

#include "wafv2/wafv2.h"
#include "base/addr.h"

#define WAF_SETS_MAX 50 /* references of a web ACL; both families together */

struct waf_entry {
    struct sk_prefix target;
    int64_t expires, last; /* wall ns */
    int64_t score, repeat;
    unsigned agents;
};

struct waf_target { /* one "where": a scope in a region */
    enum wafv2_scope scope;
    char region[32];
    char prefix[64];           /* sets are named PREFIX-v4-0, PREFIX-v4-1, ..., PREFIX-v6-0, ... */
    unsigned sets_v4, sets_v6; /* how many of each */
    bool create;               /* make those that are missing */
};

struct waf_options {
    const struct waf_target *targets;
    unsigned ntargets;
    const struct sk_prefix *never; /* never written, whoever asks */
    size_t nnever;
    int64_t write_gap;                  /* ns between writes; 1 s */
    int64_t coalesce;                   /* ns that an addition may wait for others */
    int64_t read_back;                  /* ns between looks at a set in which nothing changes */
    uint32_t capacity;                  /* of a set; WAFV2_SET_MAX, less in tests */
    uint8_t aggregate_v4, aggregate_v6; /* widest prefix that aggregation may make, family length; 0: no aggregation */
    bool dry_run;
    uint64_t seed; /* of the jitter between tries; 0: random */
};

enum waf_event { WAF_WRITES, WAF_FAILS }; /* a write is sent; a call has failed (told every few seconds) */

/* What the writer needs of the world. Wall ns. */
struct waf_world {
    void *ctx;
    /* Entries in force, all of them; calls put for each. Only when the number that `changed` gives has moved. */
    int (*entries)(void *ctx, int64_t now, void (*put)(void *arg, const struct waf_entry *e), void *arg);
    uint64_t (*changed)(void *ctx);
    /* Ours in a set, and changes of that, on disk when it returns. */
    int (*owned)(void *ctx, const char *set, void (*put)(void *arg, const struct sk_prefix *p), void *arg);
    int (*own)(void *ctx, const char *set, const struct sk_prefix *add, size_t nadd, const struct sk_prefix *del,
               size_t ndel);
    /* A set that was made, a failure, and each eviction and return: of these there may be tens of thousands at once,
     * which "waf-full" then sums up. For log and audit. */
    void (*note)(void *ctx, const char *what, const char *detail);
    /* Still the only writer? Asked before each write. */
    bool (*leading)(void *ctx);
    /* That it happens now; and when it last did, whoever led (0: not known). Whoever takes over waits no longer than it
     * must, and is as careful as who led before. */
    void (*happens)(void *ctx, enum waf_event what);
    int64_t (*happened)(void *ctx, enum waf_event what);
};

struct waf_stats {
    uint64_t writes, reads, conflicts, throttled, failures, evicted, aggregated;
    int64_t last_write, last_ok; /* wall ns; 0 never */
};
struct waf_set_status {
    const struct waf_target *target;
    char name[WAFV2_NAME_MAX + 1], id[WAFV2_ID_MAX + 1], arn[WAFV2_ARN_MAX + 1];
    bool v6, known, converged;
    size_t ours, foreign, wanted, evicted;
    int64_t read_at, written_at, failing_since;
    char error[256];
};

struct waf;
SK_MUST_USE int waf_create(const struct waf_options *o, const struct waf_world *w, const struct wafv2_ops *ops,
                           void *ops_ctx, struct waf **out);
void waf_free(struct waf *w);
/* Does what is due, at most one call that writes. *next: wall ns when to come again (sooner when `changed` moves). */
void waf_step(struct waf *w, int64_t now, int64_t *next);
/* Nothing more is to be done for the entries as they are now. */
bool waf_converged(const struct waf *w);
const struct waf_stats *waf_stats(const struct waf *w);
unsigned waf_sets(const struct waf *w);
void waf_set_status(const struct waf *w, unsigned i, struct waf_set_status *out);
/* Is this address in AWS WAF as of the last write or read (itself or in a wider one)? Names of sets into buf. */
bool waf_has(const struct waf *w, const struct sk_prefix *p, char *buf, size_t cap);
/* What the next writes would do, set by set: what `waf plan` prints. */
typedef void waf_plan_fn(void *arg, const struct waf_set_status *set, char sign, const struct sk_prefix *p,
                         const char *why); /* '+', '-', '!' evicted */
SK_MUST_USE int waf_plan(struct waf *w, int64_t now, waf_plan_fn *fn, void *arg);

#endif
