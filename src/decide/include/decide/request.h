/*
 * What a worker asks of the guard: block this address for that long, because of this rule and packet. A plain,
 * fixed-size value: it is also the body of the ipc message. The guard trusts none of it (decide/never.h, enforce/).
 */
#ifndef DECIDE_REQUEST_H
#define DECIDE_REQUEST_H

#include "base/addr.h"

#define DECIDE_MSG_MAX      128
#define DECIDE_EVIDENCE_MAX 256

struct decide_request {
    struct sk_prefix target; /* the source that attacked (detect: packet source or the proven client) */
    int64_t ts;              /* packet time, wall clock ns */
    int64_t seconds;         /* duration asked for */
    uint32_t sid, gid, rev;
    uint8_t proto;
    uint8_t dropped;   /* prevent mode dropped the packet */
    uint8_t to_server; /* the attack travelled from client to server */
    uint8_t pad;
    struct sk_addr src, dst; /* of the packet */
    uint16_t sport, dport;
    uint64_t flow_id;
    uint64_t packet; /* capture position, 0 when live */
    uint16_t evidence_len;
    char msg[DECIDE_MSG_MAX];              /* rule msg, NUL-terminated, cut */
    uint8_t evidence[DECIDE_EVIDENCE_MAX]; /* matched bytes, raw: escape before showing */
};

#endif
