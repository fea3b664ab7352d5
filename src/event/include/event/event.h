/*
 * One event as flat bytes: what a worker tells the reporter over shared memory. The engine builds records; the reporter
 * trusts none of them (the engine parses hostile bytes and may have been taken over): event_valid() first.
 *
 *   +--------------------+------+-----+-------+---------+------+-----+-------+----
 *   | struct event_rec   | id   | pad | len   | bytes.. | id   | pad | len   | ...      items, each padded to 4 bytes
 *   +--------------------+------+-----+-------+---------+------+-----+-------+----
 *                          u16    u16   u32
 *
 * The fixed part holds numbers; `has` says which groups of them are filled. Strings and bytes are items behind it
 * (enum event_item); those marked * may be repeated and keep their order. Host byte order: both ends are one machine.
 * Building allocates nothing, locks nothing, and cannot fail: what does not fit is cut, and EVENT_F_CUT says so.
 * A record belongs to whoever owns the buffer; no thread may share a builder.
 *
 *   struct event_builder b;
 *   struct event_rec *r = event_begin(&b, buf, sizeof(buf), EVENT_ALERT);      buf: EVENT_MAX bytes, 8-byte aligned
 *   r->ts = p->ts; r->src = p->src; ... r->has |= EVENT_HAS_ALERT;
 *   event_add_str(&b, EVENT_I_SIGNATURE, rule->msg);
 *   sink->event(sink->arg, buf, event_end(&b));
 */
#ifndef EVENT_EVENT_H
#define EVENT_EVENT_H

#include "base/addr.h"
#include "base/counters.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/span.h"

#define EVENT_MAGIC   0x534b4576u /* "SKEv" */
#define EVENT_VERSION 2
#define EVENT_MAX     65536 /* bytes of a record; more is cut, and EVENT_F_CUT set */
#define EVENT_ITEMS   256   /* items of a record; further ones are left out, and EVENT_F_CUT set */

/* engine_options.event_mask has 1 << these. */
enum event_type {
    EVENT_ALERT,
    EVENT_DROP,
    EVENT_HTTP,
    EVENT_FLOW,
    EVENT_STATS,
    EVENT_ANOMALY,
    EVENT_FILEINFO, /* a file that a transaction carried */
    EVENT_BLOCK,    /* of the guard: a block was set, refused, or ended; the brake */
    EVENT_FLOOD,    /* too many connections and requests from an address or a range */
    EVENT_TYPE_COUNT
};

enum event_has {
    EVENT_HAS_ADDRS = 1 << 0,   /* src, dst, proto, ip_v */
    EVENT_HAS_PORTS = 1 << 1,   /* sport, dport */
    EVENT_HAS_ICMP = 1 << 2,    /* icmp_type, icmp_code */
    EVENT_HAS_FLOW = 1 << 3,    /* flow.* but for what EVENT_FLOW alone has; flow_id */
    EVENT_HAS_TX = 1 << 4,      /* tx_id */
    EVENT_HAS_ALERT = 1 << 5,   /* alert.* */
    EVENT_HAS_TCP = 1 << 6,     /* tcp.*: flow events of TCP flows */
    EVENT_HAS_HTTP = 1 << 7,    /* an http object is written, from the items EVENT_I_HTTP_* and http.* */
    EVENT_HAS_STATUS = 1 << 8,  /* http.status */
    EVENT_HAS_LENGTH = 1 << 9,  /* http.length */
    EVENT_HAS_DROP = 1 << 10,   /* drop.* */
    EVENT_HAS_DIR = 1 << 11,    /* to_client */
    EVENT_HAS_IFACE = 1 << 12,  /* iface */
    EVENT_HAS_STREAM = 1 << 13, /* payload_stream: 0 or 1 is written as `stream` */
    EVENT_HAS_BLOCK = 1 << 14,  /* block.* */
    EVENT_HAS_FILE = 1 << 15,   /* file.* */
    EVENT_HAS_FLOOD = 1 << 16,  /* flood.* */
};

enum event_flag {
    EVENT_F_CUT = 1,     /* some of it did not fit */
    EVENT_F_BLOCKED = 2, /* alert.action "blocked" (else "allowed") */
};

/* EVE pkt_src. */
enum event_pkt_src {
    EVENT_PKT_WIRE,         /* "wire/pcap" */
    EVENT_PKT_DEFRAG,       /* "defrag" */
    EVENT_PKT_FLOW_TIMEOUT, /* "stream (flow timeout)": a flow's last inspection */
    EVENT_PKT_STREAM_FLUSH, /* "stream (detect/log)" */
    EVENT_PKT_GRE,          /* "gre tunnel" */
    EVENT_PKT_IPV4_TUNNEL,  /* "ipv4 tunnel" */
    EVENT_PKT_IPV6_TUNNEL,  /* "ipv6 tunnel" */
    EVENT_PKT_TEREDO,       /* "teredo tunnel" */
    EVENT_PKT_VXLAN,        /* "vxlan encapsulation" */
    EVENT_PKT_GENEVE,       /* "geneve encapsulation" */
    EVENT_PKT_ERSPAN2,      /* "erspan2 tunnel" */
    EVENT_PKT_SRC_COUNT
};

/* app_proto and its kin; NONE writes nothing. */
enum event_app {
    EVENT_APP_NONE,
    EVENT_APP_FAILED,
    EVENT_APP_HTTP,
    EVENT_APP_TLS,
    EVENT_APP_DNS,
    EVENT_APP_SSH,
    EVENT_APP_HTTP2,
    EVENT_APP_COUNT
};

enum event_tcp_state {
    EVENT_TCP_NONE, /* "none" */
    EVENT_TCP_LISTEN,
    EVENT_TCP_SYN_SENT,
    EVENT_TCP_SYN_RECV,
    EVENT_TCP_ESTABLISHED,
    EVENT_TCP_FIN_WAIT1,
    EVENT_TCP_FIN_WAIT2,
    EVENT_TCP_TIME_WAIT,
    EVENT_TCP_LAST_ACK,
    EVENT_TCP_CLOSE_WAIT,
    EVENT_TCP_CLOSING,
    EVENT_TCP_CLOSED,
    EVENT_TCP_STATE_COUNT
};

enum event_flow_state {
    EVENT_FLOW_NEW,
    EVENT_FLOW_ESTABLISHED,
    EVENT_FLOW_CLOSED,
    EVENT_FLOW_BYPASSED,
    EVENT_FLOW_STATE_COUNT
};
enum event_flow_reason {
    EVENT_END_TIMEOUT,
    EVENT_END_SHUTDOWN,
    EVENT_END_FORCED,
    EVENT_END_TCP_REUSE,
    EVENT_END_COUNT
};
/* What rules did with the flow as a whole: nothing, a pass rule took it, a drop rule did. */
enum event_flow_action {
    EVENT_FLOW_ACTION_NONE,
    EVENT_FLOW_ACTION_PASS,
    EVENT_FLOW_ACTION_DROP,
    EVENT_FLOW_ACTION_COUNT
};
enum event_target { EVENT_TARGET_NONE, EVENT_TARGET_SRC, EVENT_TARGET_DST, EVENT_TARGET_COUNT };
enum event_drop_reason {
    EVENT_DROP_RULES,    /* "rules" */
    EVENT_DROP_FLOW,     /* "flow drop": an earlier packet of the flow was dropped */
    EVENT_DROP_DECODE,   /* "decode error" */
    EVENT_DROP_STREAM,   /* "stream error" */
    EVENT_DROP_DEFRAG,   /* "defrag error" */
    EVENT_DROP_APPLAYER, /* "applayer error" */
    EVENT_DROP_REASON_COUNT
};
enum event_anomaly { EVENT_ANOMALY_DECODE, EVENT_ANOMALY_STREAM, EVENT_ANOMALY_APPLAYER, EVENT_ANOMALY_COUNT };
enum event_block_action {
    EVENT_BLOCK_SET,
    EVENT_BLOCK_REFUSED,
    EVENT_BLOCK_REMOVED,
    EVENT_BLOCK_EXPIRED,
    EVENT_BLOCK_BRAKED,   /* the brake begins to stop new blocks; brake.*, no target */
    EVENT_BLOCK_RELEASED, /* it has let go; likewise */
    EVENT_BLOCK_ACTION_COUNT
};
enum event_flood_level { EVENT_FLOOD_HOST, EVENT_FLOOD_RANGE, EVENT_FLOOD_WIDE_RANGE, EVENT_FLOOD_LEVEL_COUNT };
enum event_flood_action {
    EVENT_FLOOD_ALERT, /* told only */
    EVENT_FLOOD_BLOCK, /* a block has been asked for */
    EVENT_FLOOD_ACTION_COUNT
};

struct event_rec {
    /* written by event_begin and event_end */
    uint32_t magic;
    uint16_t version;
    uint8_t type; /* enum event_type */
    uint8_t reserved;
    uint32_t len; /* of the whole record with its items */
    uint32_t nitems;

    uint32_t has;   /* enum event_has */
    uint32_t flags; /* enum event_flag */

    int64_t ts;        /* wall clock, ns */
    uint64_t flow_id;  /* 0: none; written modulo 2^53, so that JSON readers keep every digit */
    uint64_t pcap_cnt; /* 0: none (live) */
    uint64_t tx_id;
    struct sk_addr src, dst; /* as the packet went; flow events: client, server */
    uint16_t sport, dport;
    uint8_t proto; /* IPPROTO_* */
    uint8_t ip_v;  /* 4 or 6 */
    uint8_t icmp_type, icmp_code;
    uint16_t iface; /* index; the reporter knows the names */
    uint16_t vlan_id[SK_MAX_VLAN_LAYERS];
    uint8_t vlan_count;
    uint8_t pkt_src;                       /* enum event_pkt_src */
    uint8_t app, app_ts, app_tc, app_orig; /* enum event_app; app_ts/tc are written only where they differ from app */
    uint8_t to_client;                     /* direction of the packet */
    uint8_t payload_stream;                /* payload is reassembled data (1) or the packet's (0) */
    uint8_t pad[2];
    int32_t linktype; /* of EVENT_I_PACKET, LINKTYPE_* */

    struct {
        uint32_t gid, sid, rev;
        uint8_t severity; /* priority */
        uint8_t target;   /* enum event_target */
        uint8_t pad[2];
    } alert;

    struct {
        struct sk_addr client, server;
        uint16_t cport, sport;
        uint8_t state, reason; /* enum event_flow_state, enum event_flow_reason (EVENT_FLOW) */
        uint8_t alerted, swapped;
        uint8_t action; /* enum event_flow_action (EVENT_FLOW) */
        uint8_t pad[3];
        int64_t start, end; /* wall clock, ns */
        uint64_t pkts_ts, pkts_tc, bytes_ts, bytes_tc;
    } flow;

    struct {
        uint8_t flags, flags_ts, flags_tc; /* all flags seen, in the header's bits */
        uint8_t state;                     /* enum event_tcp_state */
        uint8_t ts_gap, tc_gap;
        uint16_t ts_max_regions, tc_max_regions;
        uint8_t pad[2];
    } tcp;

    struct {
        uint16_t status, port; /* port: of the Host header; 0: none */
        uint32_t pad;
        uint64_t length; /* response body bytes */
    } http;

    struct {
        uint16_t ip_len, tos, ttl, ip_id;
        uint32_t tcp_seq, tcp_ack;
        uint16_t tcp_win, tcp_urp;
        uint8_t tcp_flags;
        uint8_t reason; /* enum event_drop_reason */
        uint16_t udp_len, icmp_id, icmp_seq;
    } drop;

    struct {
        struct sk_addr target;
        int64_t expires; /* wall clock, ns */
        uint8_t plen;    /* prefix length over 128 bits */
        uint8_t action;  /* enum event_block_action */
        uint8_t dry_run; /* only as if */
        uint8_t pad;
        uint32_t repeat;           /* blocks of the target that ran out before this one */
        uint32_t score, threshold; /* 0: not by a score */
        uint32_t count;            /* REFUSED: how many refusals it stands for */
        uint32_t pad2;
    } block;

    struct {
        uint64_t set, limit; /* new blocks of the window, and how many it may hold */
        uint64_t active;     /* clients of the window */
        uint64_t stopped;    /* blocks refused since it began to stop */
        uint32_t share;      /* percent */
        uint32_t pad;
    } brake;

    struct {
        uint64_t size;     /* bytes seen of it, unpacked */
        uint8_t truncated; /* not all of it was seen */
        uint8_t gaps;
        uint8_t pad[6];
    } file;

    struct {
        struct sk_addr addr;
        uint64_t rate;  /* events a second */
        uint32_t limit; /* allowed */
        uint8_t plen;   /* prefix length over 128 bits */
        uint8_t level;  /* enum event_flood_level */
        uint8_t action; /* enum event_flood_action */
        uint8_t pad;
    } flood;

    int64_t uptime;  /* stats: seconds */
    uint8_t anomaly; /* enum event_anomaly */
    uint8_t pad2[7];
};

/* Items. Text may hold any byte: an attacker wrote much of it. */
enum event_item {
    EVENT_I_END, /* not an item */
    EVENT_I_SIGNATURE,
    EVENT_I_CATEGORY,
    EVENT_I_META_KEY,   /* * key, then its value */
    EVENT_I_META_VALUE, /* * */
    EVENT_I_REFERENCE,  /* * "type,value" */
    EVENT_I_FLOWBIT,    /* * names of bits set now: metadata.flowbits, and `traffic` */
    EVENT_I_PAYLOAD,
    EVENT_I_PACKET,   /* frame */
    EVENT_I_XFF,      /* the client behind a proxy, as text */
    EVENT_I_IDENTITY, /* struct identity: how it is known, or why not */
    EVENT_I_HTTP_HOST,
    EVENT_I_HTTP_URL,
    EVENT_I_HTTP_USER_AGENT,
    EVENT_I_HTTP_CONTENT_TYPE,
    EVENT_I_HTTP_REFERER,
    EVENT_I_HTTP_METHOD,
    EVENT_I_HTTP_PROTOCOL,
    EVENT_I_HTTP_XFF,           /* X-Forwarded-For as sent */
    EVENT_I_HTTP_REDIRECT,      /* Location of a 3xx answer */
    EVENT_I_HTTP_STATUS_STRING, /* a status that is no number */
    EVENT_I_FILE_NAME,
    EVENT_I_ANOMALY_EVENT, /* name of the event, with or without the decoder. or stream. in front */
    EVENT_I_ANOMALY_LAYER,
    EVENT_I_COUNTERS,     /* stats: uint64_t[SK_C_COUNT] */
    EVENT_I_BLOCK_REASON, /* text */
    EVENT_I_BLOCK_ID,     /* text */
    EVENT_I_BLOCK_ORIGIN, /* who asked: "rule", "operator" */
    EVENT_I_BLOCK_CAUSE,  /* what led to it: "rule", "score" */
    EVENT_I_REFUSED_KIND, /* block.refused_by.kind, .entry, .text */
    EVENT_I_REFUSED_ENTRY,
    EVENT_I_REFUSED_TEXT,
    EVENT_I_COUNT
};

struct event_builder {
    uint8_t *buf;
    uint32_t cap, len, nitems;
};

/* Zeroes the fixed part. buf: 8-byte aligned; cap: sizeof(struct event_rec)..EVENT_MAX. */
struct event_rec *event_begin(struct event_builder *b, void *buf, uint32_t cap, enum event_type type);
/* Cut to the room that is left. An empty span adds an empty item. */
void event_add(struct event_builder *b, enum event_item id, struct sk_span s);
void event_add_str(struct event_builder *b, enum event_item id, const char *s); /* NULL adds nothing */
/* Bytes that an item may still have. */
uint32_t event_room(const struct event_builder *b);
/*
 * For an item of several pieces (a stream's payload): room for max bytes, or less; the caller fills *p and says with
 * event_commit how many. Between the two nothing else may be added. 0: no room.
 */
uint32_t event_reserve(struct event_builder *b, uint32_t max, uint8_t **p);
void event_commit(struct event_builder *b, enum event_item id, uint32_t len);
/* Finishes; returns the record's length. */
uint32_t event_end(struct event_builder *b);

/* A stats record of summed counters. Returns its length. */
uint32_t event_build_stats(void *buf, uint32_t cap, const struct sk_counters *sum, int64_t ts, int64_t uptime_s);

/*
 * Every length, count, enum and item of rec[0..len) is in bounds. rec is 8-byte aligned. SK_EPROTO else.
 * Nothing below may be called on a record that has not passed.
 */
SK_MUST_USE int event_valid(const void *rec, uint32_t len);

/* Items one after another: pos starts at 0; false at the end. */
bool event_next_item(const struct event_rec *r, uint32_t *pos, enum event_item *id, struct sk_span *s);
/* The first item of that kind; false: none. */
bool event_find_item(const struct event_rec *r, enum event_item id, struct sk_span *s);

const char *event_type_name(enum event_type t); /* "alert" */

#endif
