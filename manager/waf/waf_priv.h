/*
 * The writer's parts. A group is what shares its entries: the sets of one target and family.
 *
 *   entries (items.h) ── items_sweep ──> shown ones ── group_plan: aggregate, evict, place ──> items of the group
 *                                                                                                 │ by set
 *   set.content  what AWS has as far as is known          set_diff: to add, to remove, to keep    │
 *   set.owned    what of it is ours; may hold more than content: what was meant to be written  <──┘
 *   foreign = content without owned
 */
#ifndef WAF_PRIV_H
#define WAF_PRIV_H

#include "base/clock.h"
#include "items.h"

#define SET_KEY_MAX   224 /* "REGIONAL/eu-west-1/PREFIX-v4-0" */
#define RIVAL_LASTS   (30 * SK_NS_PER_S)
#define READ_FRESH    (400 * SK_NS_PER_MS) /* a read that old still counts as right before the write */
#define READ_GAP      (250 * SK_NS_PER_MS) /* AWS: five reads a second, shared with every other tool */
#define SETTLE        (120 * SK_NS_PER_S)  /* a write of unknown outcome cannot take effect later than that */
#define MISSING_RETRY (30 * SK_NS_PER_S)
#define REFUSED_MAX   1024

struct group;

struct set {
    struct group *g;
    char name[WAFV2_NAME_MAX + 1], key[SET_KEY_MAX];
    char id[WAFV2_ID_MAX + 1], arn[WAFV2_ARN_MAX + 1], token[64];
    char old_id[WAFV2_ID_MAX + 1]; /* what it was before it vanished */
    bool retired;                  /* no longer configured: emptied of what is ours */
    bool tried;                    /* has been looked for at least once */
    bool missing, known;           /* known: content is what it was at read_at or written_at */
    bool stale;                    /* to be read before the next write */
    bool owned_known;
    struct plist content, owned;
    uint32_t *want; /* indexes of g->items, sorted */
    size_t nwant, want_cap;
    /* set_diff */
    size_t nadd, ndel, nkeep, nforeign, nours, nstale;
    int64_t add_since, add_ready, del_since, keep_until; /* INT64_MAX: nothing */
    size_t add_max;                                      /* after a refusal: so many additions at once; SIZE_MAX all */
    unsigned refusals;                                   /* in a row, of a single addition */
    int64_t read_at, written_at, wait_until, settle_at;
    int64_t add_wait;      /* no additions before */
    int64_t rival_until;   /* somebody else writes into it: until then it is read right before each write */
    int64_t failing_since; /* 0: not */
    bool failing_write;    /* it is writing that fails */
    unsigned fails;
    bool noted;
    size_t dry_add, dry_del;
    char error[256];
};

enum call { CALL_READ, CALL_WRITE };
struct where { /* a target */
    struct waf_target t;
    int64_t wait[2];       /* by call: after throttling, or when the region does not answer */
    int64_t wait_short[2]; /* for a set from which something is due to be removed, or in which there may be */
    unsigned fails[2];
};

struct group {
    struct waf *w;
    struct where *at;
    bool v6;
    struct set *sets; /* WAF_SETS_MAX of them */
    unsigned nsets, nconfigured;
    bool looked; /* for sets of an earlier configuration */
    bool planned, fresh, dirty, aggregating;
    struct items items, spare;
    struct plist refused; /* AWS takes the set without it only */
    size_t evicted, merged;
    int64_t next; /* in terms of cutoff */
};

struct waf {
    struct waf_options o;
    struct waf_world world;
    const struct wafv2_ops *ops;
    void *ops_ctx;
    struct where *where;
    struct group *groups;
    unsigned ngroups;
    struct plist never;
    struct items family[2], loading[2]; /* [1]: IPv6 */
    bool loading_failed;
    bool loaded, led;
    uint64_t number, loaded_at; /* what `changed` says in this step, and said when the entries were loaded */
    struct times times;         /* cutoff: at least now; never goes back */
    int64_t early;              /* so much before its end an entry is over: see waf.c, pressure */
    int64_t sweep_next, refreshed_at, pressed_at, load_wait;
    int64_t write_at, read_at; /* the last calls, when they returned */
    int64_t trouble_at;        /* the last failure, whoever led */
    int64_t trouble_told;      /* to the world */
    int64_t announced_at;      /* the last write: at the read before it, if there was one */
    bool called[2];            /* the step before made such a call: it returned by this step's time */
    bool write_failed;         /* that write */
    int64_t write_takes;       /* moving averages: of a write's time, and of those that fail (per mille) */
    int64_t write_fails;
    bool complained;
    uint64_t rng;
    struct plist tmp, tmp2, tmp3;
    struct waf_stats stats;
};

/* util.c */
void waf_note(struct waf *w, const char *what, const char *fmt, ...) SK_PRINTF(3, 4);
/* Wait before try n (from 1): exponential with jitter. */
int64_t waf_backoff(struct waf *w, unsigned n, int64_t base, int64_t most);
void waf_answer_free(struct aws_answer *e);
void waf_set_clear(struct wafv2_set *s);

/* waf.c: everything read and planned now, for waf_plan. */
SK_MUST_USE int waf_prepare(struct waf *w, int64_t now);

/* group.c */
size_t set_room(const struct set *s);                                  /* for entries of ours */
unsigned group_home(const struct group *g, const struct sk_prefix *p); /* the set that the hash prefers */
SK_MUST_USE int group_plan(struct group *g, int64_t now);
/* What each set is to hold against what it holds. */
void group_diff(struct group *g, int64_t now);

/* content.c */
void set_diff(struct set *s, int64_t now);
/* What is to be written: all of it into `out`, with at most s->add_max additions; new: those that are not owned yet. */
SK_MUST_USE int set_build(struct set *s, struct plist *out, struct plist *new, size_t *nadd);
/* An entry of ours that is not wanted here, but stays until what replaces it is written: until when at most; 0: not. */
int64_t set_keeps(const struct set *s, const struct sk_prefix *p);

/* set.c: the world is told that a write comes within READ_FRESH. That takes time, and a rival uses what passes between
 * a read and its write: so before the read. */
void set_announce(struct waf *w, int64_t now);
/* One call to AWS each. */
void set_look(struct set *s, int64_t now);  /* find or read */
void set_make(struct set *s, int64_t now);  /* create */
void set_write(struct set *s, int64_t now); /* update */
void set_forget(struct set *s);             /* another manager may have written it */
void set_free(struct set *s);
int64_t set_look_due(const struct set *s);
/* Nothing of ours is in it, nor can be. */
bool set_is_drained(const struct set *s);

#endif
