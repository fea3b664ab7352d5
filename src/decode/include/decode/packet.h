/*
 * One decoded packet: plain values and spans into the captured frame. Filled by decode_frame() and decode_ip(), valid
 * as long as the frame is borrowed from capture (or from the defragmenter). Owned by the worker; never shared between
 * threads.
 */
#ifndef DECODE_PACKET_H
#define DECODE_PACKET_H

#include "base/addr.h"
#include "base/counters.h"
#include "base/limits.h"
#include "base/span.h"

/* A frame as capture hands it out; the bytes are borrowed until capture_release(). */
struct sk_frame {
    const uint8_t *data;
    uint32_t caplen;   /* bytes at data */
    uint32_t wirelen;  /* bytes on the wire; > caplen when capture cut the frame */
    int64_t ts;        /* wall clock, ns */
    uint64_t number;   /* 1-based position in the capture (EVE pcap_cnt); 0 when live */
    int linktype;      /* LINKTYPE_* of pcap-linktype(7) */
    uint16_t iface;    /* index into the worker's interface list */
    uint16_t vlan_tci; /* VLAN tag that the kernel has taken out of the frame (tpacket), when has_vlan_tci */
    uint16_t vlan_tpid;
    bool has_vlan_tci;
    bool csum_unfilled; /* checksum left to hardware (TP_STATUS_CSUMNOTREADY): do not verify */
    bool csum_valid;    /* verified by hardware (TP_STATUS_CSUM_VALID) */
    bool outgoing;      /* sent by this host (PACKET_OUTGOING) */
};

enum pkt_flag {
    PKT_IPV4 = 1 << 0,
    PKT_IPV6 = 1 << 1,
    PKT_TCP = 1 << 2,
    PKT_UDP = 1 << 3,
    PKT_ICMP4 = 1 << 4,
    PKT_ICMP6 = 1 << 5,
    PKT_SCTP = 1 << 6,
    /*
     * An IP fragment: l4 is not decoded; hand to the defragmenter. payload is the fragment's data, at ip.p +
     * ip_hdr_len; in IPv6 the fragment header is the last 8 bytes before it, and proto is what that header names.
     */
    PKT_FRAGMENT = 1 << 7,
    PKT_REASSEMBLED = 1 << 8, /* built by the defragmenter */
    PKT_TUNNELED = 1 << 9,    /* inner packet of a tunnel */
    PKT_BAD_CSUM = 1 << 10,   /* IPv4 header or l4 checksum is wrong (and was verified) */
    PKT_INVALID = 1 << 11,    /* headers do not decode; only `events` and what precedes them are valid */
    PKT_TRUNCATED = 1 << 12,  /* the capture cut the frame within this packet */
};

enum tcp_flag {
    TCP_FIN = 1,
    TCP_SYN = 2,
    TCP_RST = 4,
    TCP_PSH = 8,
    TCP_ACK = 16,
    TCP_URG = 32,
    TCP_ECE = 64,
    TCP_CWR = 128
};

/* IPv4 options seen, as bits (RFC 791 and successors); `ipopts` rules match on these. */
enum ip4_opt {
    IP4_OPT_RR = 1,
    IP4_OPT_EOL = 2,
    IP4_OPT_NOP = 4,
    IP4_OPT_TS = 8,
    IP4_OPT_SEC = 16,
    IP4_OPT_ESEC = 32,
    IP4_OPT_LSRR = 64,
    IP4_OPT_SATID = 128,
    IP4_OPT_SSRR = 256,
    IP4_OPT_QS = 512,
    IP4_OPT_OTHER = 1024
};

#define PKT_MAX_EVENTS 8 /* further decoder events of one packet are not kept */

struct sk_packet {
    const struct sk_frame *frame; /* outermost frame */
    int64_t ts;                   /* wall clock, ns */
    uint32_t flags;               /* enum pkt_flag */
    uint8_t tunnel_depth;
    uint8_t vlan_count;
    uint16_t vlan_id[SK_MAX_VLAN_LAYERS]; /* outermost first, 12 bits */

    /* IP */
    struct sk_addr src, dst;
    struct sk_span ip;            /* IP header up to the end of the datagram (link padding cut) */
    uint16_t ip_hdr_len;          /* IPv4: header with options; IPv6: fixed header and extension headers */
    uint8_t proto;                /* IPPROTO_* of the transport (after IPv6 extension headers) */
    uint8_t ttl;                  /* or hop limit */
    uint8_t tos;                  /* or traffic class */
    uint32_t ip_id;               /* IPv4 id, or IPv6 fragment id */
    uint16_t frag_offset;         /* in bytes */
    bool frag_more, ip_df, ip_rf; /* MF, DF, reserved bit */
    uint16_t ip4_opts;            /* enum ip4_opt */

    /* transport; spans are empty unless the flag says that it decoded */
    struct sk_span l4;      /* transport header and payload */
    struct sk_span payload; /* behind the transport header (for other protocols: behind the IP header) */
    uint16_t sport, dport;  /* TCP, UDP, SCTP */
    struct {
        uint32_t seq, ack, tsval, tsecr;
        uint16_t win, urg, mss;
        uint8_t flags;                                      /* enum tcp_flag */
        uint8_t hlen;                                       /* header length in bytes */
        uint8_t wscale;                                     /* shift count, valid when has_wscale */
        bool has_ts, has_mss, has_wscale, sack_ok, has_tfo; /* tfo: Fast Open option, RFC 7413 */
        bool has_sig;                                       /* signed: RFC 2385 or RFC 5925 */
    } tcp;
    struct {
        uint8_t type, code;
        uint16_t id, seq; /* echo messages only */
        /* The packet that an error message quotes (RFC 792, RFC 4443), when has_inner. */
        bool has_inner;
        struct sk_addr in_src, in_dst;
        uint8_t in_proto;
        uint16_t in_sport, in_dport;
    } icmp;

    uint8_t nevents;
    uint16_t events[PKT_MAX_EVENTS]; /* enum decode_event (decode/decode.h) */
};

#endif
