/*
 * IP defragmentation (RFC 791, RFC 8200 section 4.5) as Linux does it (ip_fragment.c, reassembly.c, inet_fragment.c): a
 * fragment within what is there already is a duplicate and ignored, whatever it says; any other overlap (RFC 5722), an
 * empty fragment, and one beyond the end discard the whole datagram, and a later fragment begins a new one. An IPv4
 * fragment that is not the last is cut to a multiple of eight bytes, an IPv6 one is dropped. Fragments with and without
 * ECN do not go together (RFC 3168).
 * One per worker; fixed memory. Policy when full: the oldest incomplete datagram goes (DEFRAG_FULL).
 */
#ifndef FLOW_DEFRAG_H
#define FLOW_DEFRAG_H

#include "decode/packet.h"

struct defrag;

struct defrag_conf {
    uint32_t memcap;      /* bytes of fragment data held, in pieces of 2 KiB */
    uint32_t max_pending; /* incomplete datagrams */
    int64_t timeout;      /* ns; Linux: 30 s (IPv4, /proc/sys/net/ipv4/ipfrag_time), 60 s (IPv6) */
    int64_t timeout4;     /* ns, for IPv4; 0: as timeout. A datagram held longer than the host holds it misleads */
};

SK_MUST_USE int defrag_create(const struct defrag_conf *conf, struct sk_counters *c, struct defrag **out);
void defrag_free(struct defrag *d);
/*
 * Takes a fragment (PKT_FRAGMENT). true: *ip is the whole datagram, header first (fragment header removed, lengths and
 * checksum made right), valid until the next call.
 */
bool defrag_packet(struct defrag *d, const struct sk_packet *p, struct sk_span *ip);
/*
 * For the ledger: how many frames the caller has to account for after that call. 1: the fragment was refused; 0: it
 * shares the fate of its datagram; n: the datagram is whole, and these are its fragments. Those of a datagram that
 * never becomes whole are counted here, as LP_FRAGMENT.
 */
uint32_t defrag_frames(const struct defrag *d);
/* Gives up what is too old. Also happens by itself, with the next fragment. */
void defrag_expire(struct defrag *d, int64_t now);
/* Gives up everything: the end of input. */
void defrag_flush(struct defrag *d);

#endif
