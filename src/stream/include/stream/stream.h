/*
 * TCP state and reassembly (RFC 9293), both directions of a session, with Linux overlap behaviour (tcp_data_queue):
 * in-order data is taken at once; among held segments the earlier-starting one wins, a new segment that wholly covers a held one
 * replaces it.
 *
 *   isn+1        next (contiguous)          held segments (sorted, from a bounded pool)
 *     |--delivered--|......hole......[seg]..[seg]
 *                   ^ data at `next` is delivered in place, without a copy, the moment it arrives
 *
 * The engine sits on the host: what it sees here has reached the host, so data is delivered when it is contiguous and in window,
 * without waiting for its ACK. A hole is given up (gap) when the receiver has acknowledged past it, when the segment pool is full,
 * or at the end.
 *
 * One stream_ctx per worker; a struct stream_session lives in the flow's user area. Memory: a fixed pool of segments.
 */
#ifndef STREAM_STREAM_H
#define STREAM_STREAM_H

#include "base/counters.h"
#include "decode/packet.h"

/* Suricata's names in EVE tcp.state */
enum stream_state {
    STREAM_NONE, STREAM_SYN_SENT, STREAM_SYN_RECV, STREAM_ESTABLISHED, STREAM_FIN_WAIT1, STREAM_FIN_WAIT2,
    STREAM_TIME_WAIT, STREAM_LAST_ACK, STREAM_CLOSE_WAIT, STREAM_CLOSING, STREAM_CLOSED
};
const char *stream_state_name(enum stream_state s);

/* X(identifier, "rule name"): names as Suricata's stream-event keyword has them (stream-events.rules). */
#define STREAM_EVENTS(X)                                                                                               \
    X(3WHS_SYNACK_WRONG_ACK, "3whs_synack_with_wrong_ack")                                                             \
    X(3WHS_SYNACK_WRONG_DIR, "3whs_synack_in_wrong_direction")                                                         \
    X(3WHS_SYN_RESEND_DIFF_SEQ, "3whs_syn_resend_diff_seq_on_syn_recv")                                                \
    X(3WHS_WRONG_SEQ_WRONG_ACK, "3whs_wrong_seq_wrong_ack")                                                            \
    X(EST_SYN_RESEND, "est_syn_resend")                                                                                \
    X(EST_OUT_OF_WINDOW, "est_packet_out_of_window")                                                                   \
    X(EST_INVALID_ACK, "est_invalid_ack")                                                                              \
    X(PKT_INVALID_TIMESTAMP, "pkt_invalid_timestamp")                                                                  \
    X(RST_INVALID_ACK, "rst_invalid_ack")                                                                              \
    X(REASSEMBLY_OVERLAP_DIFF, "reassembly_overlap_different_data")                                                    \
    X(REASSEMBLY_NO_SEGMENT, "reassembly_no_segment")                                                                  \
    X(REASSEMBLY_SEQ_GAP, "reassembly_seq_gap")

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

/* One direction: what one side sends. */
struct stream_half {
    uint32_t isn;        /* initial sequence number (of the SYN) */
    uint32_t next;       /* sequence number of the next contiguous byte */
    uint32_t last_ack;   /* highest acknowledgement that the other side sent for this direction */
    uint32_t win;        /* receive window that the OTHER side advertised, scaled */
    uint32_t fin_seq;    /* sequence number of the FIN, when has_fin */
    uint64_t delivered;  /* bytes delivered so far: stream offset of `next` (gaps count) */
    uint32_t tsval;      /* newest timestamp, PAWS (RFC 7323) */
    int64_t ts_when;
    struct stream_segment *segs;
    uint32_t held;       /* bytes in segs */
    uint16_t nsegs;
    uint8_t wscale;
    uint8_t tcp_flags;   /* all flags seen */
    bool has_isn, has_fin, fin_done, has_ts, depth_reached, had_gap, stopped;
    bool seen_data;
};

struct stream_session {
    struct stream_half half[2]; /* [enum flow_dir]: 0 client's bytes, 1 server's */
    uint8_t state;              /* enum stream_state */
    uint8_t tcp_flags;
    bool midstream, async, established_seen, rst_seen, tfo;
    bool swap_asked; /* STREAM_V_SWAP has been answered */
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
    STREAM_V_ADDED = 1,       /* its payload was taken into the stream (now or held) */
    STREAM_V_DATA = 2,        /* contiguous data was delivered */
    STREAM_V_INVALID = 4,     /* no state allows it: not part of the session */
    STREAM_V_ESTABLISHED = 8, /* the session is established (three-way handshake complete, or midstream) */
    STREAM_V_NEW_SESSION = 16,/* a SYN that reuses the tuple of a closed session: the caller must end the flow and call again */
    STREAM_V_CLOSED = 32,     /* the session ended with this packet */
    STREAM_V_RETRANS = 64,    /* nothing in it was new */
    STREAM_V_SWAP = 128,      /* midstream pick-up from the server's side, nothing done: flow_swap(), then call again */
    STREAM_V_FIRST_EST = 256, /* this packet completed the handshake */
    STREAM_V_OOO = 512,       /* its payload is held: earlier data is missing */
};

struct stream_conf {
    uint32_t memcap;           /* bytes of held segments; policy when full: the new segment is not kept (TCP_SEG_FULL) */
    uint32_t max_segs;         /* held segments a direction; beyond: oldest hole is given up */
    uint64_t depth;            /* bytes a direction; 0: no limit. Past it data is no longer delivered (EOF|DEPTH once) */
    bool midstream;            /* pick up sessions without a handshake */
    bool async_oneside;        /* sessions of which only one direction is seen */
    bool is_inline;            /* a hole is never skipped: data behind it is not delivered before */
};

struct stream_ctx;
SK_MUST_USE int stream_create(const struct stream_conf *conf, struct sk_counters *c, struct stream_ctx **out);
void stream_free(struct stream_ctx *ctx);

/*
 * One TCP packet of a session; dir is the direction it travels. Calls `fn` zero or more times. Returns stream_verdict_flag bits.
 * events/nevents: up to 4 enum stream_event of this packet.
 */
unsigned stream_packet(struct stream_ctx *ctx, struct stream_session *s, const struct sk_packet *p, int dir,
                       stream_data_fn fn, void *arg, uint8_t *events, unsigned *nevents);

/* The session ends (flow timeout, end of input): held data behind holes is delivered with gaps, then EOF both ways. */
void stream_finish(struct stream_ctx *ctx, struct stream_session *s, stream_data_fn fn, void *arg);
/* Gives memory back; no more calls for this session, or for one direction. */
void stream_release(struct stream_ctx *ctx, struct stream_session *s);
void stream_stop(struct stream_ctx *ctx, struct stream_session *s, int dir);
/* Client and server change places: with flow_swap(), when the protocol shows that the pick-up guessed wrong. */
void stream_swap(struct stream_session *s);
uint64_t stream_memory(const struct stream_ctx *ctx);

#endif
