/* What the files of detect share. Everything reachable from struct detect_set is immutable once compiled. */
#ifndef DETECT_INTERNAL_H
#define DETECT_INTERNAL_H

#include "base/arena.h"
#include "detect/detect.h"
#include "match/mpm.h"

#define DET_MAX_SLOTS      64 /* buffers with a prefilter; rules on a further one run without */
#define DET_MAX_ADDR_SPECS 16 /* address specs that may split the address space into classes */
#define DET_MAX_ADDR_CLASS 16
#define DET_MAX_PORT_CLASS 8 /* each costs databases to compile for every orientation */
#define DET_MIN_PORT_USES                                                                                              \
    16 /* a port spec used by fewer rules makes no class: those rules stand in all, and test the port */
#define DET_MIN_SHARED 8 /* a spec used by fewer rules makes no class of its own */
#define DET_NPROTO     4 /* transports that have groups: TCP, UDP, ICMP, other */
#define DET_NONE       UINT32_MAX

enum det_proto { DET_TCP, DET_UDP, DET_ICMP, DET_OTHER };

enum det_kind {
    DET_HEADER,  /* addresses and ports alone: once a flow and direction */
    DET_PKT,     /* packet fields, no bytes: every packet */
    DET_PAYLOAD, /* bytes of packets and of the raw stream */
    DET_TX,      /* buffers of transactions */
    DET_APP,     /* the application protocol alone: once a flow and direction */
};

/* A rule, ready to run. The index in detect_set.rules is its rank: evaluation and alert order. */
struct det_rule {
    const struct rule *r;
    struct inspect_prog **prog; /* as r->inspect */
    const uint8_t *fp;          /* fast pattern; NULL: none */
    uint16_t fp_len;
    bool fp_nocase;
    uint8_t fp_inspect; /* where it stands: index into r->inspect */
    uint32_t fp_bound;  /* it ends within that many bytes of the buffer's start; 0: anywhere */
    uint8_t kind;       /* enum det_kind */
    uint8_t protos;     /* bits 1 << enum det_proto */
    uint8_t dirs;       /* bit 0 to server, bit 1 to client */
    bool need_http;
    bool on_decode_event;          /* tests a decoder event: looks also at packets that are not IP or do not decode */
    bool on_decision;              /* packet rule on app-layer-protocol: looks at packets that end protocol detection */
    bool src_exact, dst_exact;     /* the group's class decides the address: no test needed */
    bool by_addr_src, by_addr_dst; /* found through the address index, not through a group */
    bool need_stream, need_packet; /* payload: looks at the stream, at packets */
    bool stream_only;
    bool negates; /* payload: something must not be there, which can be judged no more when the window has moved on */
};

/* A prefilter: one buffer, one database. */
struct det_slot {
    enum rule_buf buf;
    uint8_t nxf;
    const uint8_t *xf;
    uint32_t bound; /* no pattern can end behind that many bytes; 0: none */
    struct mpm_db *db;
    uint32_t npat;
    const uint32_t *first; /* npat + 1: pattern id -> run of ranks */
    const uint32_t *rules;
};

struct detect_group {
    uint32_t n;                  /* rules in it */
    struct det_slot pkt;         /* packet payloads: of TCP the rules that must see every packet, else all */
    struct det_slot stream;      /* raw stream */
    struct det_slot stream_tail; /* of these, what can still match behind stream.bound of its start */
    uint64_t stream_bound;
    const uint32_t *pkt_rules, *stream_rules, *app_rules, *tx_rules; /* without pattern */
    uint32_t npkt, nstream, napp, ntxr;
    struct det_slot *tx;
    uint32_t ntx;
    uint64_t wants; /* 1 << enum rule_buf */
    bool has_stream, has_tail;
};

/* Sorted first addresses of intervals; interval i reaches to first[i + 1] - 1. */
struct det_addr_map {
    uint32_t n;
    const struct sk_addr *first;
    const uint32_t *value;
};

struct det_rule_list {
    uint32_t n;
    uint32_t rules[];
};

struct det_addr_classes {
    struct det_addr_map map;
    uint32_t n;
    uint32_t nspec;
    const struct rule_addr_spec *spec[DET_MAX_ADDR_SPECS];
    uint32_t vec[DET_MAX_ADDR_CLASS]; /* bit k: the class lies in spec[k] */
};

struct det_port_classes {
    uint32_t n, nspec;
    const struct rule_port_spec **spec;
    uint8_t of[65536];
    uint16_t repr[DET_MAX_PORT_CLASS]; /* a port of the class */
};

struct detect_set {
    struct sk_arena arena;
    const struct rule_set *src;
    uint64_t stamp; /* distinguishes sets; never 0 */
    uint32_t n, rejected, slow;
    struct det_rule *rules; /* by rank */
    struct det_addr_classes addr;
    struct det_port_classes port;
    uint32_t ngroups;
    struct detect_group **groups;
    uint32_t *table;                    /* [proto][dir][src class][dst class][port class] -> group */
    struct det_addr_map by_src, by_dst; /* value: index into lists, 0: none */
    const struct det_rule_list **src_lists, **dst_lists;
    uint32_t max_patterns;
    uint32_t ndb, distinct; /* uses of databases; databases */
    struct mpm_db **dbs;
    uint64_t memory;
};

#define DET_WINDOW_RULES                                                                                               \
    24 /* rules under way in a window; for a further one only the data at hand counts (counted)                        \
        */

struct detect_window {
    struct detect_window *next_free, *next; /* of the pool; of all */
    uint64_t base;                          /* stream offset of buf[0] */
    uint32_t len;                           /* bytes in buf */
    uint32_t scanned;                       /* of these, bytes already scanned */
    uint32_t tried;                         /* length when the rules below were last tried */
    uint32_t nrules;
    uint64_t stamp; /* of the set that their ranks belong to */
    struct {
        uint32_t rank;
        uint64_t end;          /* stream offset behind the data in which the pattern was found */
    } rules[DET_WINDOW_RULES]; /* pattern found, rest not yet: it may come with the next segments */
    uint8_t buf[DETECT_WINDOW];
};

enum det_node_state { DET_PENDING, DET_DONE, DET_FAILED };
struct detect_tx_node {
    struct detect_tx_node *next;
    uint32_t rank;
    uint32_t seen;    /* bytes of the growing buffer `part` at the last attempt; 0: it was not there */
    uint32_t matched; /* bit per inspect of the rule that has matched for good */
    uint16_t part;    /* inspect of the rule that it waits for */
    uint8_t dir, state;
};

struct detect_thread {
    struct detect_thread_conf conf;
    struct sk_counters *c;
    struct detect_thresholds *th;
    const struct detect_set *set;
    struct mpm_scratch *mpm;
    struct inspect_scratch *inspect;
    struct inspect_conf iconf;

    uint64_t *hits;  /* bitmap over pattern ids */
    uint32_t *list;  /* pattern ids of one scan */
    uint64_t *cand;  /* bitmap over ranks */
    uint32_t *cands; /* ranks to evaluate */
    uint32_t ncand, cap_pat, cap_rules;

    struct detect_alert *alerts; /* queue of this packet */
    uint32_t *alert_rank;
    uint32_t nalerts;
    uint32_t told[DETECT_MAX_ALERTS]; /* rules, not of a transaction, that this packet has had concluded already */
    uint32_t ntold;
    bool packet_passed; /* a pass rule took the packet at hand: nothing more of it alerts */
    struct detect_alert *out;
    const struct rule *drop_rule; /* of the last detect_end */
    bool drop_flow;

    const struct detect_group *bare[2]; /* groups of a packet without flow, by direction */
    struct detect_flow nof;             /* state for packets without flow */

    struct detect_window *free_win, *all_win;
    uint64_t win_bytes;
    struct detect_tx_node *free_node, *node_slab;
    uint32_t node_used;
    uint8_t *xf_buf;
    uint32_t xf_cap;
};

/* --- classes.c --- */
SK_MUST_USE int det_addr_classes_build(struct detect_set *s);
SK_MUST_USE int det_port_classes_build(struct detect_set *s);
uint32_t det_addr_map_find(const struct det_addr_map *m, const struct sk_addr *a);
/* Index of a spec among those that make classes, or -1. */
int det_addr_class_spec(const struct det_addr_classes *c, const struct rule_addr_spec *spec);
int det_port_class_spec(const struct det_port_classes *c, const struct rule_port_spec *spec);
/* Interval map: addresses -> list of ranks whose rule names them in its source (or destination). */
SK_MUST_USE int det_addr_index_build(struct detect_set *s, bool dst);

/* --- fastpattern.c: chooses d->fp --- */
SK_MUST_USE int det_fast_pattern(struct detect_set *s, struct det_rule *d);

/* --- group.c --- */
SK_MUST_USE int det_groups_build(struct detect_set *s, unsigned threads);
void det_groups_free(struct detect_set *s);
const struct detect_group *det_group_find(const struct detect_set *s, enum det_proto proto, int dir,
                                          const struct sk_addr *src, const struct sk_addr *dst, uint16_t server_port);

/* --- header.c --- */
/* Protocol, addresses, ports, flow flags and packet fields of a rule. */
bool det_rule_header(const struct det_rule *d, const struct detect_flow *df, const struct detect_input *in);
/* What a match does beyond an alert: flowbits. */
void det_rule_effects(struct detect_thread *t, const struct det_rule *d, struct detect_flow *df);

/* --- thread.c --- */
/* Prefilter: ranks of rules whose pattern is found become candidates. */
void det_scan(struct detect_thread *t, const struct det_slot *slot, struct sk_span buf, uint32_t skip);
void det_candidate(struct detect_thread *t, uint32_t rank);
/* Sorts the candidates by rank and forgets them; valid until the next det_candidate. */
uint32_t det_take_candidates(struct detect_thread *t);
void det_alert(struct detect_thread *t, uint32_t rank, bool stream, bool has_tx, uint64_t tx_id,
               struct sk_span evidence);

/* --- threshold.c --- */
enum det_threshold_result { DET_TH_ALERT, DET_TH_SILENT /* no alert, but the action holds */, DET_TH_NOTHING };
enum det_threshold_result det_threshold_check(struct detect_thresholds *th, const struct rule *r,
                                              const struct rule_threshold *t, const struct detect_input *in,
                                              struct sk_counters *c);

#endif
