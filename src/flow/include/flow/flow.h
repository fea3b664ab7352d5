/*
 * Flow table of one worker: no locks; fixed memory, taken once. A `struct flow *` is valid until the next
 * flow_lookup() or flow_sweep() of its table, which may end flows (the end callback runs first).
 *
 *   buckets (power of two)        slab of max_flows entries, each sizeof(struct flow) + user_size
 *   [h] -> flow -> flow -> nil    every flow is also in one LRU list of its class:
 *                                 half-open TCP | established | closed | udp | icmp/other
 * A full table evicts the oldest of the classes in this order: half-open, closed, icmp/other, udp, established.
 * The key is symmetric: both directions find the same flow. Hash: SipHash with a random key.
 */
#ifndef FLOW_FLOW_H
#define FLOW_FLOW_H

#include "base/addr.h"
#include "base/counters.h"
#include "base/hash.h"
#include "decode/packet.h"

enum flow_dir { FLOW_TOSERVER = 0, FLOW_TOCLIENT = 1 };

enum flow_class { FLOW_HALF_OPEN, FLOW_CLOSED, FLOW_ICMP, FLOW_UDP, FLOW_ESTABLISHED, FLOW_NCLASS };

enum flow_end {
    FLOW_END_TIMEOUT,  /* EVE reason "timeout" */
    FLOW_END_SHUTDOWN, /* the input ended or the engine stops: "shutdown" */
    FLOW_END_EVICTED,  /* table full: "forced" */
    FLOW_END_REUSED,   /* a new connection uses the same tuple: "tcp_reuse" */
};

enum flow_state { FLOW_NEW, FLOW_EST, FLOW_ENDED }; /* EVE flow.state: new, established, closed */

struct flow {
    /* What a look-up reads lies in the first cache line. */
    uint64_t hash;
    struct flow *hnext; /* of the table, as lru_prev and lru_next */
    /* key: client and server are as the first packet, or flow_swap(), has decided */
    struct sk_addr client, server;
    uint16_t kcport, ksport; /* as the key has them: ports, or what stands for them */
    uint16_t vlan_id[SK_MAX_VLAN_LAYERS];
    uint8_t proto;
    uint8_t vlan_count;
    uint8_t recursion;  /* tunnel depth */
    uint8_t ip_version; /* 4 or 6 */

    uint16_t cport, sport; /* ICMP: type and code of the first packet in cport, sport */
    uint16_t iface;
    uint8_t class_; /* enum flow_class: which LRU list; change with flow_set_class */
    uint8_t state;  /* enum flow_state */
    bool alerted, bypassed, dropped;
    bool dir_certain; /* somebody saw who opened it (SYN), or a socket listens here */
    bool swapped;     /* flow_swap() has been called an odd number of times */
    uint8_t ttl_min[2], ttl_max[2];
    uint16_t tos_ts, tos_tc; /* TOS or traffic class of the packets to the server, to the client: bits that any had */
    struct flow *lru_prev, *lru_next;

    int64_t first_ts, last_ts;         /* wall clock, ns */
    uint64_t pkts[2], bytes[2];        /* [enum flow_dir]; bytes of IP datagrams plus link header, as Suricata counts */
    uint64_t id;                       /* random-looking, unique for the process: EVE flow_id */
    _Alignas(16) unsigned char user[]; /* user_size bytes, zeroed at creation: the upper layers' state */
};

struct flow_conf {
    uint32_t max_flows; /* exactly that many are allocated; policy when full: evict, see above */
    uint32_t user_size;
    int64_t timeout[FLOW_NCLASS]; /* ns */
    bool random_ids;              /* off: ids count from 1 (reproducible tests) */
};

struct flow_table;

/* Runs when a flow ends, before its memory is reused. */
typedef void (*flow_end_fn)(void *arg, struct flow *f, enum flow_end why, int64_t now);

SK_MUST_USE int flow_table_create(const struct flow_conf *conf, flow_end_fn end, void *arg, struct sk_counters *c,
                                  struct flow_table **out);
void flow_table_free(struct flow_table *t); /* ends no flow; see flow_end_all */

/*
 * Finds or makes the flow of a packet and says in which direction the packet goes. Updates last_ts, pkts, bytes, ttl,
 * tos. A TCP packet with SYN|ACK that begins a flow is taken as the server's. ICMP requests and their answers are one
 * flow a pair of hosts, as in Suricata. ICMP errors belong to the flow that they quote, and begin none. NULL: no flow
 * for this kind of packet (neither TCP, UDP, SCTP, ICMP nor ESP, or an error about nothing that we know), or, counted
 * FLOW_NOT_TRACKED, no room.
 * Also ends up to a few flows whose time is over (amortised sweep): no timer is needed while packets come.
 */
struct flow *flow_lookup(struct flow_table *t, const struct sk_packet *p, enum flow_dir *dir);

/* The end of flow f, now: for a reused tuple. */
void flow_end(struct flow_table *t, struct flow *f, enum flow_end why, int64_t now);
void flow_set_class(struct flow_table *t, struct flow *f, enum flow_class c);
/* Client and server change places (the first packet seen was the server's). Swaps pkts, bytes and ttl too. */
void flow_swap(struct flow *f);
/* Ends flows whose time is over; at most `budget` of them (0: all). Returns how many. */
unsigned flow_sweep(struct flow_table *t, int64_t now, unsigned budget);
void flow_end_all(struct flow_table *t, enum flow_end why, int64_t now);
uint32_t flow_count(const struct flow_table *t);
/* Bytes that the table holds. */
uint64_t flow_memory(const struct flow_table *t);

/*
 * Worker that a frame's flow belongs to, 0..n-1: a symmetric hash over the two addresses only, so that fragments,
 * both directions and all connections of a pair meet at one worker. For an ICMP error: the addresses that it quotes.
 */
unsigned flow_worker_of(const struct sk_packet *p, unsigned n);

#endif
