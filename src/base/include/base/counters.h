/*
 * What a worker counts. One struct a worker, on its own cache lines; only its worker writes (sk_count), anybody may
 * read (sk_count_read). In `run` it lies in shared memory, so that the guard can show it, beside a second struct for
 * what only the guard knows of that worker; names are those of `stats` events, Suricata's where the thing is the same.
 */
#ifndef BASE_COUNTERS_H
#define BASE_COUNTERS_H

#include <stdint.h>

#include "base/ledger.h"

/* X(identifier, "stats name", "meaning") */
#define SK_COUNTERS(X)                                                                                                 \
    X(PKTS, "decoder.pkts", "packets taken from capture")                                                              \
    X(BYTES, "decoder.bytes", "bytes on the wire of those packets")                                                    \
    X(INVALID, "decoder.invalid", "packets whose headers could not be decoded")                                        \
    X(IPV4, "decoder.ipv4", "IPv4 packets")                                                                            \
    X(IPV6, "decoder.ipv6", "IPv6 packets")                                                                            \
    X(TCP, "decoder.tcp", "TCP packets")                                                                               \
    X(UDP, "decoder.udp", "UDP packets")                                                                               \
    X(ICMPV4, "decoder.icmpv4", "ICMP packets")                                                                        \
    X(ICMPV6, "decoder.icmpv6", "ICMPv6 packets")                                                                      \
    X(SCTP, "decoder.sctp", "SCTP packets")                                                                            \
    X(VLAN, "decoder.vlan", "VLAN tags")                                                                               \
    X(TUNNEL, "decoder.tunnel", "packets found inside tunnels")                                                        \
    X(TRUNCATED, "decoder.truncated", "frames that the capture had cut")                                               \
    X(BAD_CSUM, "decoder.bad_checksum", "packets with a wrong checksum; not inspected further")                        \
    X(NON_IP, "decoder.non_ip", "frames that carry no IP")                                                             \
    X(KERNEL_PKTS, "capture.kernel_packets", "packets that the kernel offered")                                        \
    X(KERNEL_DROPS, "capture.kernel_drops", "packets that the kernel dropped because the ring was full")               \
    X(DEFRAG_FRAGS, "defrag.fragments", "IP fragments")                                                                \
    X(DEFRAG_DONE, "defrag.reassembled", "datagrams reassembled")                                                      \
    X(DEFRAG_TIMEOUT, "defrag.timeouts", "datagrams given up incomplete")                                              \
    X(DEFRAG_FULL, "defrag.memcap", "fragments dropped because the defragmentation memory was full")                   \
    X(DEFRAG_OVERLAP, "defrag.overlaps", "fragments that overlapped")                                                  \
    X(DEFRAG_BAD, "defrag.invalid", "fragments with impossible offsets")                                               \
    X(FLOWS, "flow.total", "flows created")                                                                            \
    X(FLOWS_TCP, "flow.tcp", "TCP flows")                                                                              \
    X(FLOWS_UDP, "flow.udp", "UDP flows")                                                                              \
    X(FLOWS_ICMP, "flow.icmp", "ICMP flows")                                                                           \
    X(FLOWS_ACTIVE, "flow.active", "flows in the table now")                                                           \
    X(FLOW_EVICTED, "flow.evicted_full", "flows ended early because the flow table was full")                          \
    X(FLOW_NOT_TRACKED, "flow.not_tracked", "packets without a flow because the table had no room")                    \
    X(TCP_SYN, "tcp.syn", "TCP SYN packets")                                                                           \
    X(TCP_SESSIONS, "tcp.sessions", "TCP sessions begun")                                                              \
    X(TCP_MIDSTREAM, "tcp.midstream_pickups", "TCP sessions picked up in midstream")                                   \
    X(TCP_INVALID, "tcp.invalid", "TCP packets that no state allows; not inspected as stream")                         \
    X(TCP_RST, "tcp.rst", "TCP RST packets")                                                                           \
    X(TCP_OOO, "tcp.out_of_order", "segments held because earlier data is missing")                                    \
    X(TCP_RETRANS, "tcp.retransmissions", "segments with data that was there already")                                 \
    X(TCP_OVERLAP, "tcp.overlap", "segments that overlap held data")                                                   \
    X(TCP_OVERLAP_DIFF, "tcp.overlap_diff_data", "segments that overlap held data with other bytes")                   \
    X(TCP_GAP, "tcp.reassembly_gap", "holes in streams that were given up")                                            \
    X(TCP_SEG_FULL, "tcp.segment_memcap_drop", "segments dropped because the segment memory was full")                 \
    X(TCP_DEPTH, "tcp.stream_depth_reached", "stream directions no longer reassembled past the depth")                 \
    X(TCP_URG, "tcp.urgent_oob_data", "urgent bytes taken out of streams, as the host does")                           \
    X(TCP_BYPASS, "tcp.bypassed", "flows no longer inspected by choice")                                               \
    X(HTTP_TX, "app_layer.tx.http", "HTTP transactions")                                                               \
    X(HTTP_FLOWS, "app_layer.flow.http", "HTTP flows")                                                                 \
    X(HTTP_FAIL, "app_layer.flow.failed_tcp", "TCP flows of no known protocol")                                        \
    X(HTTP_PARSE_ERR, "app_layer.error.http.parser", "HTTP connections given up by the parser")                        \
    X(HTTP_MEMCAP, "http.memcap", "HTTP data not kept because its memory was full")                                    \
    X(HTTP_BODY_LIMIT, "http.body_limit", "HTTP bodies inspected only up to their limit")                              \
    X(IDENTITY_PROVEN, "identity.proven", "requests through a proxy whose client is proven")                           \
    X(IDENTITY_UNPROVEN, "identity.unproven", "requests through a proxy whose client is not proven; never blocked")    \
    X(IDENTITY_PROXY, "identity.proxy_headers", "connections that began with a PROXY protocol header")                 \
    X(IDENTITY_CUT, "identity.cut", "requests of blocked clients through a proxy")                                     \
    X(DETECT_ALERTS, "detect.alert", "alerts")                                                                         \
    X(DETECT_SUPPRESSED, "detect.alerts_suppressed", "alerts that a threshold held back")                              \
    X(DETECT_ALERT_OVERFLOW, "detect.alert_queue_overflow", "alerts of one packet beyond its maximum")                 \
    X(DETECT_PCRE_LIMIT, "detect.pcre_limit", "expressions that ran into a PCRE2 limit; not a match")                  \
    X(INSPECT_LIMIT, "detect.inspect_limit", "evaluations that ran out of steps; not a match")                         \
    X(DETECT_CANDIDATES, "detect.candidates", "rules evaluated after the prefilter")                                   \
    X(DETECT_FLOWBIT_FULL, "detect.flowbit_full", "flowbits not set because the flow had too many")                    \
    X(DETECT_WINDOW_FULL, "detect.window_memcap", "stream chunks inspected alone because window memory was full")      \
    X(DETECT_STREAM_FULL, "detect.stream_rule_full", "rules given up in a stream window because its list was full")    \
    X(DETECT_TX_FULL, "detect.tx_node_full", "rules given up in a transaction because their table was full")           \
    X(THRESHOLD_FULL, "detect.threshold_memcap", "threshold entries not kept because their table was full")            \
    X(DROPPED, "ips.blocked", "packets or requests dropped by rules")                                                  \
    X(BLOCK_REQUESTS, "decide.block_requests", "blocks asked of the guard")                                            \
    X(BLOCK_UNPROVEN, "decide.block_unproven", "blocks not asked for because the source address is not proven")        \
    X(BLOCK_REFUSED, "decide.block_refused", "blocks that the never-list refused")                                     \
    X(BLOCK_LOST, "decide.block_lost", "blocks that could not be asked for: channel full")                             \
    X(SCORE_FULL, "decide.score_memcap", "scores forgotten early because their table was full")                        \
    X(SCORE_UNPROVEN, "decide.score_unproven", "alerts that no score counts because the client is not proven")         \
    X(FLOODS, "decide.floods", "floods found")                                                                         \
    X(FLOOD_LATE, "decide.flood_late", "events not counted for floods: the worker was a window behind")                \
    X(FLOOD_FULL, "decide.flood_memcap", "floods told later because too many were found at once")                      \
    X(EVENT_LOST, "event.lost", "events dropped because the ring to the reporter was full")                            \
    SK_LEDGER(X)

enum sk_counter {
#define X(id, name, help) SK_C_##id,
    SK_COUNTERS(X)
#undef X
        SK_C_COUNT
};

/* The classes of the ledger: each frame and each flow counts once in its range. */
enum {
    SK_LP_FIRST = SK_C_LP_INSPECTED,
    SK_LP_LAST = SK_C_LP_STOPPING,
    SK_LF_FIRST = SK_C_LF_INSPECTED,
    SK_LF_LAST = SK_C_LF_STOPPING,
};

struct sk_counters {
    _Alignas(64) uint64_t v[SK_C_COUNT];
};

static inline void sk_count_add(struct sk_counters *c, enum sk_counter id, uint64_t n)
{
    /* A plain store that another process may read: relaxed, so no lock prefix. */
    __atomic_store_n(&c->v[id], c->v[id] + n, __ATOMIC_RELAXED);
}

static inline void sk_count(struct sk_counters *c, enum sk_counter id)
{
    sk_count_add(c, id, 1);
}

static inline void sk_count_set(struct sk_counters *c, enum sk_counter id, uint64_t n)
{
    __atomic_store_n(&c->v[id], n, __ATOMIC_RELAXED);
}

static inline uint64_t sk_count_read(const struct sk_counters *c, enum sk_counter id)
{
    return __atomic_load_n(&c->v[id], __ATOMIC_RELAXED);
}

/* Sum of the counters first..last. */
uint64_t sk_count_sum(const struct sk_counters *c, unsigned first, unsigned last);

const char *sk_counter_name(enum sk_counter id);
const char *sk_counter_help(enum sk_counter id);
/* What stands behind the last dot of its name: the cause, of a class of the ledger. */
const char *sk_counter_leaf(enum sk_counter id);

#endif
