/* What the files of flow share. */
#ifndef FLOW_INTERNAL_H
#define FLOW_INTERNAL_H

#include "flow/flow.h"

/* The symmetric identity of a flow: the lower endpoint first, so that both directions agree. */
struct flow_key {
    struct sk_addr a, b;
    uint16_t aport, bport;
    uint8_t proto, recursion, vlan_count, pad;
    uint16_t vlan_id[SK_MAX_VLAN_LAYERS];
};

/* The packet's sender and receiver as the key has them: ICMP has no ports, errors carry those of the packet they quote.
 */
struct flow_ends {
    struct sk_addr src, dst;
    uint16_t sport, dport;
    uint8_t proto;
    bool quoted; /* an ICMP error's inner packet: finds a flow, never makes one */
};

/* Does this kind of packet belong to a flow? */
bool flow_is_tracked(const struct sk_packet *p);
/* A message about a packet of somebody's: RFC 792, RFC 4443. */
bool flow_is_icmp_error(const struct sk_packet *p);
void flow_ends_of(const struct sk_packet *p, bool quoted, struct flow_ends *e);
void flow_key_of(const struct sk_packet *p, const struct flow_ends *e, struct flow_key *k);
uint64_t flow_key_hash(const struct sk_hash_key *hk, const struct flow_key *k);

#endif
