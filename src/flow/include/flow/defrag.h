/*
 * IP defragmentation (RFC 791, RFC 8200 section 4.5) with Linux overlap behaviour: IPv4, as Linux since 4.20, and IPv6
 * (RFC 5722) drop the whole datagram when fragments overlap otherwise than as exact duplicates; `policy` may choose another.
 * One per worker; fixed memory. Policy when full: the oldest incomplete datagram goes (DEFRAG_FULL).
 */
#ifndef FLOW_DEFRAG_H
#define FLOW_DEFRAG_H

#include "decode/packet.h"

struct defrag;

struct defrag_conf {
    uint32_t memcap;      /* bytes of fragment data held */
    uint32_t max_pending; /* incomplete datagrams */
    int64_t timeout;      /* ns; Linux: 30 s (IPv4), 60 s (IPv6) */
};

SK_MUST_USE int defrag_create(const struct defrag_conf *conf, struct sk_counters *c, struct defrag **out);
void defrag_free(struct defrag *d);
/*
 * Takes a fragment (PKT_FRAGMENT). true: *ip is the whole datagram, header first (fragment header removed, lengths and
 * checksum made right), valid until the next call.
 */
bool defrag_packet(struct defrag *d, const struct sk_packet *p, struct sk_span *ip);

#endif
