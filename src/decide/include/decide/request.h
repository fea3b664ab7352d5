/*
 * What a worker asks of the guard: block this address for that long, because of this rule and packet. A plain,
 * fixed-size value: it is also the body of the ipc message. The guard trusts none of it (decide/never.h, enforce/).
 */
#ifndef DECIDE_REQUEST_H
#define DECIDE_REQUEST_H

#include "identity/identity.h"

#define DECIDE_MSG_MAX      128
#define DECIDE_EVIDENCE_MAX 256
#define DECIDE_SCORES_MAX   8 /* alerts that are remembered of a score */

/* X(identifier, "name"): what led to the request. */
#define DECIDE_REASONS(X)                                                                                              \
    X(RULE, "rule")     /* a drop rule, or metadata: sekisho_block */                                                  \
    X(POLICY, "policy") /* decide.policy says block */                                                                 \
    X(SCORE, "score")   /* alerts added up; `scores` tells which */                                                    \
    X(FLOOD, "flood")   /* too many connections and requests from target */                                            \
    X(AGAIN, "again")   /* a client that is blocked has come through a proxy again: only its connection is to end */
enum decide_reason {
#define X(id, name) DECIDE_BY_##id,
    DECIDE_REASONS(X)
#undef X
        DECIDE_REASON_COUNT
};

/* One alert's part in a score. */
struct decide_score_item {
    int64_t ts; /* wall clock ns; 0: unused */
    uint32_t gid, sid;
    uint32_t points, pad;
};

struct decide_request {
    struct sk_prefix target; /* the source that attacked (detect: packet source or the proven client) */
    int64_t ts;              /* packet time, wall clock ns */
    int64_t seconds;         /* duration asked for */
    uint32_t sid, gid, rev;
    uint8_t proto;
    uint8_t dropped;   /* prevent mode dropped the packet */
    uint8_t to_server; /* the attack travelled from client to server */
    uint8_t reason;    /* enum decide_reason */
    uint8_t kill;      /* the connection that carried it is to be destroyed: src, dst, ports, proto name it */
    uint8_t pad[3];
    struct sk_addr src, dst; /* of the packet, on the wire: behind a proxy src is the hop */
    uint16_t sport, dport;
    uint64_t flow_id;
    uint64_t packet;           /* capture position, 0 when live */
    struct identity identity;  /* how the client is known */
    uint32_t score, threshold; /* reason SCORE: the sum; FLOOD: events a second, and what is allowed */
    struct decide_score_item scores[DECIDE_SCORES_MAX]; /* latest last */
    uint16_t evidence_len;
    char msg[DECIDE_MSG_MAX];              /* rule msg, NUL-terminated, cut */
    uint8_t evidence[DECIDE_EVIDENCE_MAX]; /* matched bytes, raw: escape before showing */
};

const char *decide_reason_name(enum decide_reason r);

#endif
