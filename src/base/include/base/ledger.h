/*
 * The ledger: what was inspected and what was not, by cause, so that nothing is missing from the sum.
 *
 *   packets sent = inspected + every other class of packets + those that still wait (in a ring, or for a datagram)
 *   flows begun  = inspected + every other class of flows   + those that are in the table
 *
 * The unit of packets is the frame that capture gives. A frame belongs to one class: that of its innermost packet when
 * it is a tunnel, that of its datagram when it is a fragment; of several causes the first that applies counts. A flow's
 * class is the first cause that kept something of it from being inspected. Classes are counters; ranges are in
 * base/counters.h. A segment that waits for earlier data counts when it arrives.
 *
 * A hostile engine can write all that a worker counts. It cannot change what the kernel says was sent and dropped: that
 * the guard reads itself.
 */
#ifndef BASE_LEDGER_H
#define BASE_LEDGER_H

#include <stdint.h>

/* X(identifier, "stats name", "meaning"): LP_INSPECTED first, LP_STOPPING last. */
#define SK_LEDGER_PACKETS(X)                                                                                           \
    X(LP_INSPECTED, "ledger.packets.inspected", "every rule that is about them has looked at them")                    \
    X(LP_TRUNCATED, "ledger.packets.truncated", "capture kept only a part of them (capture.snaplen, ring block)")      \
    X(LP_INVALID, "ledger.packets.invalid", "their headers cannot be decoded, or lie in too many tunnels")             \
    X(LP_BAD_CSUM, "ledger.packets.bad_checksum", "a checksum is wrong: the host throws them away")                    \
    X(LP_NON_IP, "ledger.packets.non_ip", "they carry no IP (ARP and the like), for which there are no rules")         \
    X(LP_FRAGMENT, "ledger.packets.fragment", "IP fragments of which no whole datagram came")                          \
    X(LP_NO_FLOW, "ledger.packets.no_flow", "the flow table had no room for their flow: looked at alone")              \
    X(LP_DROPPED, "ledger.packets.dropped", "of a flow that a drop rule has ended; dropped unseen (prevent mode)")     \
    X(LP_PASSED, "ledger.packets.passed", "of a flow that a pass rule took")                                           \
    X(LP_TCP_INVALID, "ledger.packets.tcp_invalid",                                                                    \
      "TCP data of no session that was seen, or that the host refuses: looked at alone")                               \
    X(LP_ENCRYPTED, "ledger.packets.encrypted", "TLS data behind the handshake: only rules on packets looked at them") \
    X(LP_GAP, "ledger.packets.gap", "TCP data for or behind a hole that was given up: looked at alone")                \
    X(LP_SEGMENT_MEMORY, "ledger.packets.stream_memory", "TCP data that was not kept: the segment memory was full")    \
    X(LP_DEPTH, "ledger.packets.stream_depth",                                                                         \
      "TCP data past stream.reassembly.depth: only rules on packets looked at them")                                   \
    X(LP_PARSER, "ledger.packets.parser_error",                                                                        \
      "of an HTTP connection that the parser gave up: rules on the raw stream looked at them")                         \
    X(LP_NOT_PARSED, "ledger.packets.not_parsed",                                                                      \
      "HTTP/2, which is not taken apart: rules on the raw stream looked at them")                                      \
    X(LP_BODY_LIMIT, "ledger.packets.body_limit",                                                                      \
      "HTTP body past its limit: rules on the raw stream looked at them, as far as its depth")                         \
    X(LP_HTTP_MEMORY, "ledger.packets.http_memory",                                                                    \
      "HTTP data that was not kept, memory was full: rules on the raw stream looked at them")                          \
    X(LP_RING_DROP, "ledger.packets.ring_drop", "dropped by the kernel: the capture ring was full")                    \
    X(LP_RELOAD, "ledger.packets.reload", "dropped by the kernel while rules were being loaded anew")                  \
    X(LP_ENGINE_DOWN, "ledger.packets.engine_down",                                                                    \
      "dropped by the kernel while no engine was working, or in its hands when it died")                               \
    X(LP_RING_ERROR, "ledger.packets.ring_error", "in a block of the ring that made no sense")                         \
    X(LP_IFACE_GONE, "ledger.packets.interface_gone", "still in the ring when their interface had gone")               \
    X(LP_STOPPING, "ledger.packets.stopping", "still in the ring when the agent stopped")

/* LF_INSPECTED first, LF_STOPPING last. */
#define SK_LEDGER_FLOWS(X)                                                                                             \
    X(LF_INSPECTED, "ledger.flows.inspected", "inspected from their beginning to their end")                           \
    X(LF_MIDSTREAM, "ledger.flows.midstream", "TCP sessions whose beginning was not seen")                             \
    X(LF_TRUNCATED, "ledger.flows.truncated", "with packets of which capture kept only a part")                        \
    X(LF_PASSED, "ledger.flows.passed", "taken by a pass rule")                                                        \
    X(LF_ENCRYPTED, "ledger.flows.encrypted", "TLS: inspected up to the end of the handshake")                         \
    X(LF_GAP, "ledger.flows.gap", "with a hole in a TCP stream that was given up")                                     \
    X(LF_SEGMENT_MEMORY, "ledger.flows.stream_memory", "with TCP data that was not kept: the segment memory was full") \
    X(LF_DEPTH, "ledger.flows.stream_depth", "longer than stream.reassembly.depth")                                    \
    X(LF_PARSER, "ledger.flows.parser_error", "HTTP that the parser gave up")                                          \
    X(LF_NOT_PARSED, "ledger.flows.not_parsed", "HTTP/2, which is not taken apart")                                    \
    X(LF_BODY_LIMIT, "ledger.flows.body_limit", "with an HTTP body past its limit")                                    \
    X(LF_HTTP_MEMORY, "ledger.flows.http_memory", "with HTTP data that was not kept: memory was full")                 \
    X(LF_EVICTED, "ledger.flows.evicted", "ended early: the flow table was full")                                      \
    X(LF_RELOAD, "ledger.flows.reload", "ended by a reload that changed what the engine is made of")                   \
    X(LF_ENGINE_DOWN, "ledger.flows.engine_down", "in the table of an engine that died")                               \
    X(LF_STOPPING, "ledger.flows.stopping", "still open when the agent stopped")

#define SK_LEDGER(X)                                                                                                   \
    X(LEDGER_SENT, "ledger.packets.sent", "packets that capture was offered")                                          \
    SK_LEDGER_PACKETS(X)                                                                                               \
    SK_LEDGER_FLOWS(X)                                                                                                 \
    X(LEDGER_BLIND, "ledger.blind_seconds", "seconds in which interfaces were watched and no engine was working")

#endif
