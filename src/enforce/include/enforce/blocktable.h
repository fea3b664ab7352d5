/*
 * The guard's table of blocks in force: what the kernel sets must hold is a function of it. Plain bookkeeping: knows
 * neither netlink nor disk nor clock.
 *
 * One block a target prefix. A second request for the same target extends it, never shortens it. A request that lies in
 * a wider block which lasts as long creates nothing: the wider one counts it. Hosts and prefixes may otherwise overlap.
 *
 * Two may want a target blocked: this host (`own`) and the fleet (`fleet`). The block lasts as long as either says.
 * What the fleet says may also become shorter, or end; of origin BLOCK_FLEET is what the fleet alone wants.
 *
 * Owner: enforcer; one thread. A struct block * is valid until its block ends. Lookup O(1) by target and id, O(prefix
 * lengths in use) by address; expiry is a binary heap, O(log n).
 * Full policy: a new block is refused (SK_EFULL); blocks in force stay.
 */
#ifndef ENFORCE_BLOCKTABLE_H
#define ENFORCE_BLOCKTABLE_H

#include <stddef.h>
#include "decide/request.h"

#define BLOCK_TABLE_MAX    1000000 /* largest max_blocks */
#define BLOCK_PREFIXES_MAX 32768   /* blocks that are not hosts: they share one kernel transaction */
#define BLOCK_ID_LEN       15      /* 'B', 13 base32 characters (RFC 4648) of 64 random bits, NUL */
#define BLOCK_FLEET_ID     16      /* ID of a block of another host */
#define BLOCK_HOST_MAX     64      /* name of that host */

enum block_origin { BLOCK_RULE, BLOCK_OPERATOR, BLOCK_FLEET, BLOCK_KERNEL, BLOCK_ORIGINS };

/* How a client is known that is not the sender of the packet: struct identity without what is unused of it. */
struct block_chain {
    struct sk_addr client;
    uint16_t port;
    uint8_t source; /* enum identity_source */
    uint8_t nhops;
    struct identity_hop hop[];
};

/* What the manager says: the fleet blocks the target until then. */
struct block_fleet {
    int64_t created, expires; /* wall clock, ns */
    uint32_t sid, gid;
    uint32_t round;          /* the snapshot that it was in last; enforcer's */
    char id[BLOCK_FLEET_ID]; /* of the block that made it, on its host; texts are NUL-terminated */
    char host[BLOCK_HOST_MAX];
    char reason[DECIDE_MSG_MAX];
};

struct block {
    char id[BLOCK_ID_LEN]; /* unique over restarts */
    uint8_t origin;        /* enum block_origin; KERNEL: found in the kernel set, unknown to the journal */
    uint8_t proto, dropped, to_server;
    uint8_t reason; /* enum decide_reason, of a rule's block */
    bool dry_run;   /* only as if */
    struct sk_prefix target;
    int64_t created, expires;  /* wall clock, ns; absolute. expires: the later of the next two */
    int64_t own;               /* the end that this host has decided on; 0: only the fleet wants it (BLOCK_FLEET) */
    struct block_fleet *fleet; /* NULL: the fleet does not, as far as is known */
    int64_t last;              /* last request */
    int64_t told;              /* `own` as the manager was told it; the guard's */
    uint32_t requests;
    uint32_t repeat; /* blocks of this target that ran out before it, one after another */
    /* Of the first request; zero for an operator's block. */
    uint32_t sid, gid, rev;
    uint16_t sport, dport;
    struct sk_addr src, dst;
    uint64_t flow_id, packet;
    int64_t packet_ts;
    const char *msg;         /* never NULL */
    const uint8_t *evidence; /* raw: escape before showing */
    uint16_t evidence_len;
    uint8_t nscores;
    uint32_t score, threshold;              /* as in struct decide_request */
    const struct decide_score_item *scores; /* oldest first */
    const struct block_chain *chain;        /* NULL: the sender of the packet itself */
    /* As of the last read-back of the kernel. */
    uint64_t hit_packets, hit_bytes;

    /* Private to enforce/ */
    bool dirty, mark;
    uint32_t heap_pos, prefix_pos;
    uint32_t table_no;      /* in which making of the kernel table it was put (enforcer_priv.h; hosts only) */
    int64_t kernel_expires; /* what the kernel set is believed to hold; 0 = nothing (hosts only) */
    uint64_t seen_packets, seen_bytes;
    struct block *next_target, *next_id;
};

struct block_table;

/* max: 1 .. BLOCK_TABLE_MAX blocks. NULL without memory. */
struct block_table *block_table_create(uint32_t max);
void block_table_free(struct block_table *t);

/*
 * Adds a block as req says (already checked by decide/policy.h), with a new random id, or with id if not NULL
 * (restored). SK_EEXIST: the target has a block. SK_EFULL, SK_ENOMEM.
 */
SK_MUST_USE int block_table_add(struct block_table *t, const struct decide_request *req, const char *id,
                                enum block_origin origin, int64_t created, int64_t expires, struct block **out);
/* Moves this host's end later (the fleet's, if the fleet alone wants the block); an earlier one is ignored. True if it
 * moved. */
bool block_table_extend(struct block_table *t, struct block *b, int64_t expires);
/* What the fleet says of it from now on; copied. NULL: nothing (not where the fleet alone wants the block). *moved: the
 * block ends at another time now, later or earlier. SK_ENOMEM: nothing has changed. */
SK_MUST_USE int block_table_claim(struct block_table *t, struct block *b, const struct block_fleet *f, bool *moved);
/* A block of the fleet alone becomes this host's too, as req and origin say: *b is replaced, with its ID, what the
 * fleet says, and what the kernel is known to hold. SK_ENOMEM. */
SK_MUST_USE int block_table_own(struct block_table *t, struct block **b, const struct decide_request *req,
                                enum block_origin origin, int64_t created, int64_t own);
/* Takes the block out; the caller frees it with block_free when done with it. */
void block_table_remove(struct block_table *t, struct block *b);
void block_free(struct block *b);
/* A block outside of any table: what the request says, and the rest zero. NULL without memory. block_free. */
struct block *block_new(const struct decide_request *r);

struct block *block_table_find(const struct block_table *t, const struct sk_prefix *target);
struct block *block_table_find_id(const struct block_table *t, const char *id);
/* The longest-lasting block that covers p, p's own included; NULL if none. */
struct block *block_table_covering(const struct block_table *t, const struct sk_prefix *p);
/* The block that ends first; NULL when empty. */
struct block *block_table_first(const struct block_table *t);

size_t block_table_count(const struct block_table *t);
size_t block_table_prefixes(const struct block_table *t);
/* Of an origin: hosts, or what is wider. */
size_t block_table_of(const struct block_table *t, enum block_origin origin, bool hosts);
uint32_t block_table_max(const struct block_table *t);
/*
 * All blocks by and by, from *cursor = 0 on; false at the end. The table may change in between: a block that is there
 * all the time comes exactly once. fn may change no table. Stops behind the block with which `most` are seen.
 */
typedef void block_table_fn(void *arg, struct block *b);
bool block_table_scan(const struct block_table *t, uint32_t *cursor, size_t most, block_table_fn *fn, void *arg);
/* In no order: i in 0 .. count-1. Any change of the table reorders. */
struct block *block_table_at(const struct block_table *t, size_t i);
/* The same of blocks that are not hosts: i in 0 .. block_table_prefixes-1. */
struct block *block_table_prefix_at(const struct block_table *t, size_t i);

static inline bool block_is_host(const struct block *b)
{
    return b->target.len == 128;
}

/* The identity that came with the request; of a client that speaks for itself: DIRECT, and which side of
 * the packet the target is. */
void block_identity(const struct block *b, struct identity *out);

const char *block_origin_name(enum block_origin o); /* "rule", "operator", "fleet", "kernel" */

#endif
