/*
 * Frame to packet. Stateless but for its configuration; one decoder may serve one worker. Never allocates.
 * Malformed input sets PKT_INVALID and names a decoder event; it is never an error of the call.
 */
#ifndef DECODE_DECODE_H
#define DECODE_DECODE_H

#include "decode/packet.h"

/* X(identifier, "rule name"): names as Suricata's decode-event keyword has them (decoder-events.rules). */
#define DECODE_EVENTS(X)                                                                                               \
    X(IPV4_PKT_TOO_SMALL, "ipv4.pkt_too_small")                                                                        \
    X(IPV4_HLEN_TOO_SMALL, "ipv4.hlen_too_small")

enum decode_event {
    DECODE_EV_NONE,
#define X(id, name) DECODE_EV_##id,
    DECODE_EVENTS(X)
#undef X
    DECODE_EV_COUNT
};

const char *decode_event_name(enum decode_event ev);
/* 0 (DECODE_EV_NONE) when the name is unknown. */
enum decode_event decode_event_find(const char *name);

struct decode_conf {
    bool verify_csum;      /* off: `-k none` */
    bool vxlan, geneve, teredo;
    uint16_t vxlan_ports[4], geneve_ports[4], teredo_ports[4]; /* 0 ends the list */
};

/*
 * Decodes one frame. A tunnel yields several packets: the outer one first, then what is inside, at most
 * SK_MAX_TUNNEL_DEPTH + 1 in all. Fills out[0..n-1] and returns n >= 1.
 */
unsigned decode_frame(const struct decode_conf *conf, const struct sk_frame *f, struct sk_packet *out, struct sk_counters *c);

/*
 * Decodes an IP datagram that the defragmenter has put together; `tmpl` gives frame, time and VLANs.
 * As decode_frame: returns n >= 1 (a reassembled datagram may itself be a tunnel).
 */
unsigned decode_ip(const struct decode_conf *conf, const struct sk_packet *tmpl, struct sk_span ip, struct sk_packet *out,
                   struct sk_counters *c);

#endif
