/*
 * TCP state and reassembly (RFC 9293), both directions of a session, as the Linux stack at one of its ends would do it.
 *
 *   isn+1        next (contiguous)          held segments (whole, sorted by start)        edge
 *     |--delivered--|......hole......[seg]..[seg]                                            |
 *                   ^ data at `next` is delivered in place, without a copy, the moment it arrives
 *
 * The engine sits on the host: what it sees here has reached the host, so data is delivered when it is contiguous and
 * in window, without waiting for its ACK. A hole is given up (gap) when the receiver has acknowledged past it, when the
 * segment pool is full, or at the end.
 *
 * Overlaps (tcp_data_queue_ofo): of held segments the one that starts earlier wins; a new one that covers a held one
 * whole replaces it; at the same start the longer wins. In-order data wins over all that is held. (Linux may also merge
 * neighbours in its queue, which depends on the driver's buffers and is not imitated.)
 *
 * Doubt. A segment that Linux would discard is not delivered, but kept aside: with an acknowledgement of data not yet
 * sent, or older than a window (RFC 5961), without ACK flag, with an old timestamp (PAWS, RFC 7323), beyond the offered
 * window; signed (RFC 2385, RFC 5925) in a session whose SYN was not; the data of a SYN too (RFC 7413). It is delivered
 * only when the receiver acknowledges it and nothing better came: so neither a packet that the host throws away nor a
 * packet that capture has missed misleads.
 *
 * RST counts only where Linux takes it, and when it is not signed out of turn: exactly at the next byte, at the end of
 * held data (SACK), or at a FIN. A FIN counts when the data before it is complete, and not when data goes on past it. A
 * SYN within a session changes nothing until a SYN/ACK answers it. The urgent byte is taken out of the stream, as Linux
 * does without SO_OOBINLINE (TCP_URG counts it); an application that sets SO_OOBINLINE sees a byte more.
 *
 * One stream_ctx per worker; a struct stream_session lives in the flow's user area. Memory: a fixed pool of segments.
 */
#ifndef STREAM_STREAM_H
#define STREAM_STREAM_H

#include "base/counters.h"
#include "decode/packet.h"

/* Suricata's names in EVE tcp.state */
enum stream_state {
    STREAM_NONE,
    STREAM_SYN_SENT,
    STREAM_SYN_RECV,
    STREAM_ESTABLISHED,
    STREAM_FIN_WAIT1,
    STREAM_FIN_WAIT2,
    STREAM_TIME_WAIT,
    STREAM_LAST_ACK,
    STREAM_CLOSE_WAIT,
    STREAM_CLOSING,
    STREAM_CLOSED
};
const char *stream_state_name(enum stream_state s);

/* X(identifier, "rule name"): names as Suricata's stream-event keyword has them (stream-events.rules). */
#define STREAM_EVENTS(X)                                                                                               \
    X(3WHS_ACK_IN_WRONG_DIR, "3whs_ack_in_wrong_dir")                                                                  \
    X(3WHS_ACK_DATA_INJECT, "3whs_ack_data_inject")                                                                    \
    X(3WHS_ASYNC_WRONG_SEQ, "3whs_async_wrong_seq")                                                                    \
    X(3WHS_RIGHT_SEQ_WRONG_ACK, "3whs_right_seq_wrong_ack_evasion")                                                    \
    X(3WHS_SYNACK_WRONG_DIR, "3whs_synack_in_wrong_direction")                                                         \
    X(3WHS_SYNACK_DIFF_ACK, "3whs_synack_resend_with_different_ack")                                                   \
    X(3WHS_SYNACK_DIFF_SEQ, "3whs_synack_resend_with_diff_seq")                                                        \
    X(3WHS_SYNACK_TOSERVER, "3whs_synack_toserver_on_syn_recv")                                                        \
    X(3WHS_SYNACK_WRONG_ACK, "3whs_synack_with_wrong_ack")                                                             \
    X(3WHS_SYNACK_TFO_IGNORED, "3whs_synack_tfo_data_ignored")                                                         \
    X(3WHS_SYN_DIFF_SEQ, "3whs_syn_resend_diff_seq_on_syn_recv")                                                       \
    X(3WHS_SYN_TOCLIENT, "3whs_syn_toclient_on_syn_recv")                                                              \
    X(3WHS_WRONG_SEQ_WRONG_ACK, "3whs_wrong_seq_wrong_ack")                                                            \
    X(4WHS_SYNACK_WRONG_ACK, "4whs_synack_with_wrong_ack")                                                             \
    X(4WHS_SYNACK_WRONG_SYN, "4whs_synack_with_wrong_syn")                                                             \
    X(4WHS_WRONG_SEQ, "4whs_wrong_seq")                                                                                \
    X(4WHS_INVALID_ACK, "4whs_invalid_ack")                                                                            \
    X(EST_OUT_OF_WINDOW, "est_packet_out_of_window")                                                                   \
    X(EST_PKT_BEFORE_LAST_ACK, "est_pkt_before_last_ack")                                                              \
    X(EST_SYNACK_RESEND, "est_synack_resend")                                                                          \
    X(EST_SYNACK_DIFF_ACK, "est_synack_resend_with_different_ack")                                                     \
    X(EST_SYNACK_DIFF_SEQ, "est_synack_resend_with_diff_seq")                                                          \
    X(EST_SYNACK_TOSERVER, "est_synack_toserver")                                                                      \
    X(EST_SYN_RESEND, "est_syn_resend")                                                                                \
    X(EST_SYN_DIFF_SEQ, "est_syn_resend_diff_seq")                                                                     \
    X(EST_SYN_TOCLIENT, "est_syn_toclient")                                                                            \
    X(EST_INVALID_ACK, "est_invalid_ack")                                                                              \
    X(FIN_INVALID_ACK, "fin_invalid_ack")                                                                              \
    X(FIN_OUT_OF_WINDOW, "fin_out_of_window")                                                                          \
    X(FIN_NO_SESSION, "fin_but_no_session")                                                                            \
    X(FIN1_ACK_WRONG_SEQ, "fin1_ack_wrong_seq")                                                                        \
    X(FIN1_FIN_WRONG_SEQ, "fin1_fin_wrong_seq")                                                                        \
    X(FIN1_INVALID_ACK, "fin1_invalid_ack")                                                                            \
    X(FIN2_ACK_WRONG_SEQ, "fin2_ack_wrong_seq")                                                                        \
    X(FIN2_FIN_WRONG_SEQ, "fin2_fin_wrong_seq")                                                                        \
    X(FIN2_INVALID_ACK, "fin2_invalid_ack")                                                                            \
    X(CLOSEWAIT_ACK_OUT_OF_WINDOW, "closewait_ack_out_of_window")                                                      \
    X(CLOSEWAIT_FIN_OUT_OF_WINDOW, "closewait_fin_out_of_window")                                                      \
    X(CLOSEWAIT_INVALID_ACK, "closewait_invalid_ack")                                                                  \
    X(CLOSEWAIT_BEFORE_LAST_ACK, "closewait_pkt_before_last_ack")                                                      \
    X(CLOSING_ACK_WRONG_SEQ, "closing_ack_wrong_seq")                                                                  \
    X(CLOSING_INVALID_ACK, "closing_invalid_ack")                                                                      \
    X(LASTACK_ACK_WRONG_SEQ, "lastack_ack_wrong_seq")                                                                  \
    X(LASTACK_INVALID_ACK, "lastack_invalid_ack")                                                                      \
    X(TIMEWAIT_ACK_WRONG_SEQ, "timewait_ack_wrong_seq")                                                                \
    X(TIMEWAIT_INVALID_ACK, "timewait_invalid_ack")                                                                    \
    X(PKT_INVALID_TIMESTAMP, "pkt_invalid_timestamp")                                                                  \
    X(PKT_INVALID_ACK, "pkt_invalid_ack")                                                                              \
    X(PKT_BROKEN_ACK, "pkt_broken_ack")                                                                                \
    X(PKT_RETRANSMISSION, "pkt_retransmission")                                                                        \
    X(RST_INVALID_ACK, "rst_invalid_ack")                                                                              \
    X(RST_NO_SESSION, "rst_but_no_session")                                                                            \
    X(SUSPECTED_RST_INJECT, "suspected_rst_inject")                                                                    \
    X(SHUTDOWN_SYN_RESEND, "shutdown_syn_resend")                                                                      \
    X(FIN_SYN, "fin_syn")                                                                                              \
    X(REASSEMBLY_BEFORE_BASE_SEQ, "reassembly_segment_before_base_seq")                                                \
    X(REASSEMBLY_NO_SEGMENT, "reassembly_no_segment")                                                                  \
    X(REASSEMBLY_SEQ_GAP, "reassembly_seq_gap")                                                                        \
    X(REASSEMBLY_OVERLAP_DIFF, "reassembly_overlap_different_data")

enum stream_event {
    STREAM_EV_NONE,
#define X(id, name) STREAM_EV_##id,
    STREAM_EVENTS(X)
#undef X
        STREAM_EV_COUNT
};
const char *stream_event_name(enum stream_event ev);
enum stream_event stream_event_find(const char *name);

struct stream_segment; /* private */

/* What a SYN (or SYN/ACK) offers. */
struct stream_syn {
    bool seen, has_wscale, has_ts, has_sack, has_tfo, has_sig;
    uint8_t wscale;
    uint16_t win;
    uint32_t isn, tsval;
    int64_t when;
};

#define STREAM_PRINTS 4 /* further back, a retransmission is not compared */

/* One direction: what one side sends. */
struct stream_half {
    uint32_t isn;              /* initial sequence number (of the SYN) */
    uint32_t next;             /* sequence number of the next contiguous byte */
    uint32_t high;             /* end of the farthest data seen, even doubtful */
    uint32_t last_ack;         /* highest acknowledgement that the other side sent for this direction */
    uint32_t edge;             /* right edge of the window that the OTHER side offered, when has_edge */
    uint32_t max_win;          /* widest window that the other side offered */
    uint32_t fin_seq;          /* sequence number of the FIN, when has_fin */
    uint32_t urg_seq;          /* the urgent byte, when has_urg */
    uint32_t gap_from, gap_to; /* the last hole given up */
    uint64_t delivered;        /* bytes delivered so far: stream offset of `next` (gaps count) */
    uint32_t tsval;            /* newest timestamp, PAWS (RFC 7323) */
    int64_t ts_when;
    struct stream_segment *segs, *segs_last; /* held, by start */
    struct stream_segment *doubt;            /* in order of arrival */
    uint32_t held;                           /* bytes in segs */
    uint16_t nsegs;                          /* pieces in segs and doubt */
    uint8_t wscale;
    uint8_t tcp_flags; /* all flags seen */
    bool has_isn, has_edge, has_ts, has_urg, seen;
    bool has_fin, fin_in; /* a FIN has been seen; it has been reached */
    bool fin_done;        /* EOF has been given */
    bool depth_reached, had_gap, stopped;
    uint8_t print_at;
    bool unlimited;          /* stream_unlimit(): the depth does not apply */
    struct stream_syn offer; /* the SYN that counts */
    struct stream_syn alt;   /* another one: an answer decides between them */
    struct {
        uint32_t seq, len, hash;
    } print[STREAM_PRINTS]; /* segments taken last, to tell one that comes again with other bytes */
};

struct stream_session {
    struct stream_half half[2]; /* [enum flow_dir]: 0 client's bytes, 1 server's */
    uint8_t state;              /* enum stream_state */
    uint8_t tcp_flags;
    bool midstream, async, established_seen, rst_seen, tfo;
    bool swap_asked; /* STREAM_V_SWAP has been answered */
    bool fourway;    /* both sides have sent a SYN (RFC 9293 section 3.5) */
};

enum stream_data_flag {
    STREAM_DATA_GAP = 1,   /* p is NULL: len bytes are missing at this offset */
    STREAM_DATA_EOF = 2,   /* no more data in this direction (FIN, RST, depth); len may be 0 */
    STREAM_DATA_DEPTH = 4, /* with EOF: because the reassembly depth is reached */
};

/* Called for each run of contiguous bytes, in order; data is borrowed for the call. */
typedef void (*stream_data_fn)(void *arg, int dir, struct sk_span data, uint64_t offset, unsigned flags);

/* What a packet did. */
enum stream_verdict_flag {
    STREAM_V_ADDED = 1,        /* its payload was taken into the stream (now or held) */
    STREAM_V_DATA = 2,         /* contiguous data was delivered */
    STREAM_V_INVALID = 4,      /* the host will not take it (as far as is known): not part of the session */
    STREAM_V_ESTABLISHED = 8,  /* the session is established (three-way handshake complete, or midstream) */
    STREAM_V_NEW_SESSION = 16, /* a SYN (or the SYN/ACK to one) that reuses the tuple of an older session, nothing done:
                                  the caller must end the flow, look up a new one and call again */
    STREAM_V_CLOSED = 32,      /* the session ended with this packet */
    STREAM_V_RETRANS = 64,     /* nothing in it was new */
    STREAM_V_SWAP = 128,      /* midstream pick-up from the server's side, nothing done: flow_swap(), then call again */
    STREAM_V_FIRST_EST = 256, /* this packet completed the handshake */
    STREAM_V_OOO = 512,       /* its payload is held: earlier data is missing */
    STREAM_V_LATE = 1024,     /* its payload is for a hole that was given up: not part of the stream */
    STREAM_V_NO_ROOM = 2048,  /* its payload was not kept: no room */
    STREAM_V_PAST_DEPTH = 4096, /* its payload, or some of it, lies past the depth: not delivered */
};

struct stream_conf {
    uint32_t memcap;    /* bytes of held segments; policy when full: the oldest hole of the direction is given up,
                           and if it holds nothing the new segment is not kept (TCP_SEG_FULL) */
    uint32_t max_segs;  /* pieces (of up to 2032 bytes) held a direction; beyond: the oldest hole is given up */
    uint64_t depth;     /* bytes a direction; 0: no limit. Past it data is no longer delivered (EOF|DEPTH once) */
    bool midstream;     /* pick up sessions without a handshake */
    bool async_oneside; /* sessions of which only one direction is seen */
    bool is_inline;     /* the caller can drop: a segment for which there is no room is STREAM_V_INVALID, and no
                           hole is given up for it (the sender repeats it) */
};

struct stream_ctx;
SK_MUST_USE int stream_create(const struct stream_conf *conf, struct sk_counters *c, struct stream_ctx **out);
void stream_free(struct stream_ctx *ctx);

/*
 * One TCP packet of a session; dir is the direction it travels. Calls `fn` zero or more times. Returns
 * stream_verdict_flag bits. events/nevents: up to 4 enum stream_event of this packet.
 */
unsigned stream_packet(struct stream_ctx *ctx, struct stream_session *s, const struct sk_packet *p, int dir,
                       stream_data_fn fn, void *arg, uint8_t *events, unsigned *nevents);

/* The session ends (flow timeout, end of input): held data behind holes is delivered with gaps, then EOF both ways. */
void stream_finish(struct stream_ctx *ctx, struct stream_session *s, stream_data_fn fn, void *arg);
/* Gives memory back; no more calls for this session, or for one direction. */
void stream_release(struct stream_ctx *ctx, struct stream_session *s);
void stream_stop(struct stream_ctx *ctx, struct stream_session *s, int dir);
/*
 * The depth does not apply to this session: its protocol has messages, and the inspector bounds what it keeps of each.
 * A proxy's connection carries many clients' requests for hours; a depth from its start would make it blind after the
 * first megabyte.
 */
void stream_unlimit(struct stream_session *s, bool unlimited);
/* Client and server change places: with flow_swap(), when the protocol shows that the pick-up guessed wrong. */
void stream_swap(struct stream_session *s);
uint64_t stream_memory(const struct stream_ctx *ctx);

#endif
