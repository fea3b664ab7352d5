/*
 * Rules compiled into groups, and their evaluation over a flow's packets, streams and transactions.
 *
 * Compilation: the address variables that many rules share cut the address space into a few classes (in HOME_NET,
 * outside,
 * ...), the port specs cut the ports into classes. A group is what is left of the rules for one (transport, direction,
 * class of the source, class of the destination, class of the server's port); a flow looks its two groups up once and
 * meets only rules that could match it. Each group has one prefilter database per buffer that one of its rules names;
 * equal pattern sets share one database.
 *
 *   flow ---> group[to server] --> packet payload db, stream db, http.uri db, ... --hit--> rule --> evaluate, cheapest
 * test first
 *        \--> group[to client] --> ...
 *
 * A detect_set is immutable and shared by all workers. A detect_thread belongs to one worker: scratch, alert queue,
 * pools. Nothing on the packet path allocates but from bounded pools. "Source" is always the sender's side as a rule
 * means it.
 */
#ifndef DETECT_DETECT_H
#define DETECT_DETECT_H

#include "base/counters.h"
#include "base/diag.h"
#include "decode/packet.h"
#include "match/inspect.h"
#include "rules/rule.h"

#define DETECT_MAX_FLOWBITS 32   /* set bits of one flow; further ones are not set (DETECT_FLOWBIT_FULL) */
#define DETECT_MAX_ALERTS   64   /* upper limit of conf.max_alerts */
#define DETECT_WINDOW       8192 /* bytes of a raw stream that rules can look at together */
#define DETECT_LOOKBACK     2048 /* bytes kept of it when the window moves on */
#define DETECT_CHUNK        2560 /* new bytes that are worth a scan when nothing else asks for one */
#define DETECT_EVIDENCE_MAX 256

struct detect_set;
struct detect_group;
struct detect_thread;
struct detect_thresholds;

struct detect_conf {
    struct inspect_conf inspect;
    unsigned threads;                             /* that compile; 0 and 1: the caller's alone */
    bool (*stream_event_known)(const char *name); /* NULL: every name is taken */
};

struct detect_stats {
    uint32_t rules, rejected, slow, groups, databases;
    uint64_t memory;
};

/*
 * Compiles; `rules` must outlive the set. Rules whose expressions do not compile, or that name an event which nothing
 * reports, are rejected with a diagnostic.
 */
SK_MUST_USE int detect_compile(const struct rule_set *rules, const struct detect_conf *conf,
                               const struct sk_diag_sink *diag, struct detect_set **out);
void detect_set_free(struct detect_set *s);
void detect_set_stats(const struct detect_set *s, struct detect_stats *st);
const struct rule_set *detect_set_rules(const struct detect_set *s);

/* --- what the engine tells of a packet --- */
enum detect_app { DETECT_APP_UNKNOWN, DETECT_APP_HTTP, DETECT_APP_OTHER };

struct detect_input {
    const struct sk_packet *p;                   /* NULL: no packet (end of a flow) */
    const struct sk_addr *src, *dst;             /* sender and receiver, as rules see them */
    const struct sk_addr *count_src, *count_dst; /* by which thresholds count; NULL: src, dst */
    uint16_t sport, dport;
    uint8_t proto; /* IPPROTO_* */
    uint8_t dir;   /* 0 to server, 1 to client */
    bool has_flow, established;
    bool quoted;    /* an ICMP error about the flow: addresses and protocol above are its own, not the flow's */
    bool in_stream; /* the payload became part of the stream (now or held) */
    bool first;     /* first packet of the flow in this direction */
    enum detect_app app;
    bool app_decided;             /* protocol detection ended with this packet, in some direction */
    const char *app_name[3];      /* app-layer-protocol: of the flow, to server, to client; NULL: unknown */
    uint64_t flow_id;             /* unique for the process, for thresholds by flow; 0: no flow */
    uint64_t stream_bytes[2];     /* stream_size: bytes seen, [0] client's, [1] server's */
    const uint8_t *stream_events; /* enum stream_event numbers; names through event_name */
    unsigned nstream_events;
    const char *(*stream_event_name)(unsigned ev);
    int64_t now;
};

/* --- state of a flow: embed, zeroed at creation --- */
struct detect_window;
struct detect_flow {
    const struct detect_set *set; /* of the groups below */
    const struct detect_group *group[2];
    const void *addr_rules[2][2]; /* [direction][source, destination]: rules that list this very address */
    uint64_t stamp;
    struct detect_window *win[2];
    uint16_t bits[DETECT_MAX_FLOWBITS];
    uint8_t nbits;
    bool passed;  /* a pass rule took the flow */
    bool dropped; /* a drop rule took the flow (prevent mode) */
    bool looked_up;
    uint8_t renewed;  /* new rules since: rules on the header alone run again, bit per direction */
    uint8_t app_done; /* rules on the application protocol alone have run, bit per direction */
};
/* The flow ends: gives pool memory back. */
void detect_flow_release(struct detect_thread *t, struct detect_flow *df);

/* --- state of a transaction: embed, zeroed at creation --- */
struct detect_tx_node;
struct detect_tx {
    uint64_t stamp;               /* of the set that the state below belongs to */
    uint64_t scanned[2];          /* per direction, bit per buffer slot of the group */
    uint64_t body_scanned[2][2];  /* bytes of [direction][request/response body, file.data] scanned */
    struct detect_tx_node *nodes; /* rules under way, matched or failed */
    bool unpatterned[2];          /* rules without a pattern have been taken up */
};
void detect_tx_release(struct detect_thread *t, struct detect_tx *dt);

/* --- worker --- */
struct detect_alert {
    const struct rule *rule;
    uint64_t tx_id;
    bool has_tx, stream, noalert;
    bool drop; /* a drop or reject action that holds for this packet */
    uint16_t evidence_len;
    uint8_t evidence[DETECT_EVIDENCE_MAX];
};

struct detect_thread_conf {
    uint32_t max_alerts;
    uint64_t
        window_memcap; /* bytes of raw stream windows; when full, each chunk is inspected alone (DETECT_WINDOW_FULL) */
    uint32_t max_tx_nodes; /* rules under way in all transactions; when full, a rule that cannot be decided at once is
                              lost (counted) */
    bool every_packet;     /* prevent mode: scan each chunk at once, never wait for more */
};
SK_MUST_USE int detect_thread_create(const struct detect_thread_conf *conf, const struct inspect_conf *ic,
                                     struct detect_thresholds *th, struct sk_counters *c, struct detect_thread **out);
/* Takes up a set (also a new one); not on the packet path: sizes the scratch. */
SK_MUST_USE int detect_thread_use(struct detect_thread *t, const struct detect_set *s);
void detect_thread_free(struct detect_thread *t);
uint64_t detect_thread_memory(const struct detect_thread *t);

/*
 * Begins a packet: forgets the alerts of the one before, looks up the flow's groups. df NULL: no flow. Addresses, ports
 * and protocol of `in` must be the flow's (that a packet may only quote).
 */
void detect_begin(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in);
/*
 * The flow's addresses, as rules see them, have changed: its client has become known, or the next request is another
 * client's. Looks up its groups anew; rules on addresses alone run once more in both directions.
 */
void detect_readdress(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in);
/*
 * What follows is no continuation of what came before: a request of somebody else on the same connection. Flow bits,
 * the raw stream's windows (what they hold has been looked at) and a pass rule's hold on the flow are forgotten.
 */
void detect_flow_renew(struct detect_thread *t, struct detect_flow *df);
/* Rules on the packet itself: headers, packet payload. Once a packet. */
void detect_packet(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in);

/* Does any rule of this direction look at the raw stream? Then give each run of contiguous bytes to detect_stream_add.
 */
bool detect_wants_stream(const struct detect_flow *df, int dir);
void detect_stream_add(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in, int dir,
                       struct sk_span data, uint64_t offset);
/* Scans what was added; without `force` only when it is worth it (DETECT_CHUNK). force: end of a message, push, end of
 * stream. */
void detect_stream_flush(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in, int dir,
                         bool force, bool eof);

/* Bit set (1 << enum rule_buf) of the buffers that rules of this direction name. */
uint64_t detect_wants_buffers(const struct detect_flow *df, int dir);

enum detect_have { DETECT_ABSENT = -1 /* and never will be there */, DETECT_NOT_YET = 0, DETECT_READY = 1 };
struct detect_tx_view {
    void *arg;
    uint64_t tx_id;
    /* Instance `index` of a buffer (0 but for multi buffers); DETECT_ABSENT ends them. in->complete: no more will come.
     */
    enum detect_have (*buffer)(void *arg, enum rule_buf buf, int dir, unsigned index, struct inspect_input *in);
    bool done; /* this direction of the transaction is complete */
};
/* New data or progress in one direction of a transaction. */
void detect_tx(struct detect_thread *t, struct detect_flow *df, struct detect_tx *dt, const struct detect_input *in,
               int dir, const struct detect_tx_view *v);

/*
 * Ends a packet: orders what matched, applies pass rules (one with `alert` is told), detection filters, thresholds and
 * suppression. Returns the alerts (noalert ones left out) until the next detect_begin; *drop: a drop or reject action
 * holds.
 */
const struct detect_alert *detect_end(struct detect_thread *t, struct detect_flow *df, const struct detect_input *in,
                                      unsigned *n, bool *drop);

/* Has anything matched since detect_begin or the last detect_end? If not, detect_end would change nothing. */
bool detect_has_matches(const struct detect_thread *t);
/* Is a part of a direction's raw stream held that detect_stream_flush could look at? */
static inline bool detect_has_window(const struct detect_flow *df, int dir)
{
    return df->win[dir] != NULL;
}
/* The first drop or reject rule that held at the last detect_end, also one that says nothing; NULL: none. */
const struct rule *detect_drop_rule(const struct detect_thread *t);
/* One of them was about the flow (its addresses, protocol, stream or transactions), not about one packet of it. */
bool detect_drops_flow(const struct detect_thread *t);

/* What is held of a direction's raw stream now; empty when nothing is. Valid until the next detect_stream_add. */
struct sk_span detect_stream_window(const struct detect_flow *df, int dir);

/* Names of the bits set on a flow, for EVE metadata.flowbits; returns how many. */
unsigned detect_flowbit_names(const struct detect_flow *df, const char **names, unsigned max);

/* --- thresholds: counts over flows and workers; locked stripes, reached only by alerts --- */
SK_MUST_USE int detect_thresholds_create(uint32_t max_entries, struct detect_thresholds **out);
void detect_thresholds_free(struct detect_thresholds *th);

#endif
