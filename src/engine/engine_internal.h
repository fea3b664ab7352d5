/* What the files of engine share. */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include <pthread.h>

#include "decide/active.h"
#include "decide/flood.h"
#include "decide/score.h"
#include "decode/decode.h"
#include "detect/detect.h"
#include "engine/engine.h"
#include "event/event.h"
#include "flow/defrag.h"
#include "flow/flow.h"
#include "identity/identity.h"
#include "proto/http.h"
#include "proto/probe.h"
#include "proto/tls.h"
#include "stream/stream.h"

/* One generation of rules. */
struct engine_rules {
    const struct rule_set *tree;
    struct detect_set *set;
    /* What rules see in place of a hop whose client is not known: an address of $EXTERNAL_NET, [0] IPv4, [1] IPv6. */
    struct sk_addr outside[2];
    bool has_outside[2];               /* false: there is none; rules see the hop */
    const struct rule_addr_spec *home; /* $HOME_NET; NULL: none */
    struct engine_rules *next;         /* in the list of retired generations */
};

struct engine {
    const struct conf *conf;
    struct engine_options opt;
    char *home_net;
    bool home_found; /* home_net is this host's own, found by the caller */
    struct decode_conf decode;
    struct inspect_conf inspect;
    struct detect_thresholds *thresholds;
    struct identity_rules *hops;   /* NULL: no proxies are configured */
    struct decide_scores *scores;  /* NULL: alerts are not scored */
    struct flood_detector *floods; /* NULL: nobody asks for floods */
    struct active_clients *active;
    bool prevent;

    struct engine_rules *rules; /* in force; read by workers with acquire */
    pthread_mutex_t lock;       /* guards retired, workers, loading */
    struct engine_rules *retired;
    struct engine_worker *workers[SK_MAX_WORKERS];
};

/* Of a flow whose client is a trusted hop (client.c). From a pool of the worker. */
struct engine_hop {
    struct identity conn;     /* of the connection: the hop, or whom its PROXY header names */
    struct identity now;      /* of the request under way, or the last one */
    struct sk_addr rule_addr; /* what rules see in place of the hop */
    bool misframed;           /* hop and server may disagree about what is a request: no header is believed any more */
    uint8_t unsynced; /* picked up in the middle: no header is believed before so many requests and their answers have
                         passed */
    bool begun;       /* bytes of a request since the last renewal */
    bool several;     /* requests of more than one client have been seen */
    bool any;         /* one has been seen */
    struct sk_addr last; /* client of the last one; zero: not proven */
    struct engine_hop *next_free;
};

enum engine_proxy { ENGINE_PROXY_ASK, ENGINE_PROXY_SKIP /* in the middle of a header */, ENGINE_PROXY_DONE };

/* What lies in the user area of an HTTP transaction. */
struct engine_tx {
    struct detect_tx det;
    struct identity id; /* behind a hop, once `known` */
    bool known;
    bool counted; /* engine_judge_request() has had it */
};

/* What lies in a flow's user area. */
struct engine_flow {
    struct stream_session tcp;
    struct detect_flow det;
    struct proto_probe probe;
    struct http_conn *http;
    struct tls_track tls[2];
    struct engine_hop *hop;   /* NULL: the client is the flow's client */
    uint64_t want_stamp;      /* of the rules that http_set_want was told about */
    uint8_t app;              /* enum proto_id of the flow */
    uint8_t app_dir[2];       /* as each direction showed it */
    uint8_t seen[2];          /* bytes in probe_buf */
    bool seen_packet[2];      /* a packet of this direction has been inspected */
    bool blocked;             /* a block of its client has been asked for */
    uint64_t message_from[2]; /* HTTP: stream offset where the message under way began; the raw stream's depth counts
                                 from there */
    uint32_t proxy_left;      /* bytes of a PROXY header still to skip */
    uint32_t proxy_len;       /* bytes that stood before the first that rules see */
    uint8_t proxy;            /* enum engine_proxy */
    bool proxy_shown;         /* its header is nobody's that we believe: rules on the raw stream see it */
    bool client_asked;        /* engine_client_begin() has looked */
    bool encrypted;           /* TLS application data has begun: no longer reassembled */
    bool handshake;           /* three-way handshake seen: the client's address is proven */
    bool no_http;             /* HTTP for which there was no memory */
    uint8_t missed;           /* the flow's class in the ledger so far: SK_C_LF_..., or 0 */
    uint8_t probe_buf[2][PROTO_PROBE_MAX];
};

/* The packet at hand. */
struct engine_current {
    const struct sk_packet *p; /* NULL at the end of a flow */
    struct flow *f;
    struct engine_flow *ef;
    int dir;
    unsigned v; /* stream verdict flags */
    uint8_t events[8];
    unsigned nevents;
    uint8_t matched_dir; /* of what rules have matched and engine_conclude() has not seen */
    bool detected;       /* detect_packet has run */
    bool drop;
    bool drop_flow;               /* and every later packet of the flow */
    const struct rule *drop_rule; /* the first that says drop */
    bool app_decided;             /* protocol detection ended with this packet */
    bool past_depth;              /* rules on the raw stream were not shown all of it */
    int64_t ts;
    enum event_pkt_src src;
};

struct engine_worker {
    struct engine *e;
    unsigned index;
    struct engine_sink sink;
    struct sk_counters *c;
    struct flow_table *flows;
    struct defrag *defrag;
    struct stream_ctx *stream;
    struct http_ctx *http;
    struct detect_thread *det;
    struct flood_sketch *sketch; /* NULL: nobody asks for floods */
    struct engine_hop *free_hops;
    uint32_t nhops;             /* in use and free; at most as many as flows */
    struct engine_rules *rules; /* in use; atomic, read by the loader */
    struct engine_current cur;
    struct {
        uint32_t class_; /* SK_C_LP_... */
        uint32_t frames; /* that it counts for: more with the last fragment of a datagram, none with the others */
    } frame;             /* the frame at hand, for the ledger */
    uint64_t untracked;  /* FLOW_NOT_TRACKED at the last look */
    uint8_t cut;         /* class of flows that are cut off: SK_C_LF_..., or 0 */
    int64_t now;
    unsigned share, shares;      /* takes the flows that fall to `share` of `shares`; 0 shares: all */
    struct sk_counters scratch;  /* of frames whose worker is not yet known */
    uint64_t rec[EVENT_MAX / 8]; /* event record under construction */
};

static inline struct engine_flow *engine_flow_of(struct flow *f)
{
    return (struct engine_flow *)(void *)f->user;
}

/* --- engine.c --- */
/* Frees the retired generations that no worker uses any more. The lock is held. */
void engine_reap(struct engine *e);

/* --- worker.c --- */
/* The packet at hand, for rules, as seen in direction dir: behind a hop with the client's address in place of the
 * hop's. */
void engine_input(const struct engine_worker *w, int dir, struct detect_input *in);
/* Rules on the packet itself, once: before the first rule on its transactions, so that flow bits are in order. */
void engine_detect_packet(struct engine_worker *w);
/* Ends the evaluation of what has matched so far: alerts, drop, blocks. tx: what the alerts are about, or NULL. */
void engine_conclude(struct engine_worker *w, int dir, struct http_tx *tx);
/* What matches from here on is of direction dir: ends the evaluation of what has matched in the other, so that a side
 * whose bytes an answer delivers is not taken for the side that answers. */
void engine_turn(struct engine_worker *w, int dir);

/* --- client.c: who the client is --- */
/* The flow at hand is new, or has changed sides: is its client a hop? May swap its sides. */
void engine_client_begin(struct engine_worker *w);
void engine_client_end(struct engine_worker *w, struct engine_flow *ef);
/*
 * The client's first bytes: takes a PROXY header out of *data, and moves *offset to where the protocol begins. False:
 * nothing is left for the protocol yet. held: bytes of before that are to be given first, when it turned out to be
 * none; at least PROTO_PROBE_MAX bytes of room.
 */
bool engine_client_open(struct engine_worker *w, struct sk_span *data, unsigned flags, uint8_t *held, uint32_t *nheld);
/* Bytes to the server are coming, before anybody looks at them: do they begin the next request? */
void engine_client_bytes(struct engine_worker *w, unsigned flags);
/* A transaction has come further: makes its client the one that rules see. First of all in its callback. */
void engine_client_tx(struct engine_worker *w, struct http_tx *tx, int dir, enum http_progress progress);
void engine_client_tx_done(struct engine_worker *w, struct http_tx *tx);
/* HTTP cannot be followed any further: nobody knows whose the next bytes are. */
void engine_client_lost(struct engine_worker *w);
/* The connection has become a tunnel: what follows is one client's, and headers in it are his own words. */
void engine_client_tunnel(struct engine_worker *w);
/* Behind a hop: whose the transaction is, or (NULL) what is being inspected. NULL: there is no hop. */
const struct identity *engine_client_of(const struct engine_flow *ef, struct http_tx *tx);
/* A rule's address back to that of the packet. */
const struct sk_addr *engine_client_on_wire(const struct engine_worker *w, const struct sk_addr *a);
/* Where in what rules see as the stream `offset` lies. */
uint64_t engine_client_offset(const struct engine_flow *ef, int dir, uint64_t offset);
uint64_t engine_client_memory(const struct engine_worker *w);
void engine_client_free(struct engine_worker *w);
/* Chooses r->outside. l: with all variables. */
void engine_client_outside(struct engine_rules *r, struct rule_loader *l);

/* --- judge.c: what becomes of clients --- */
/* Takes r->home. l: with all variables. */
void engine_judge_home(struct engine_rules *r, struct rule_loader *l);
/* An alert that no threshold held back; tx: what it is about, or NULL. */
void engine_judge_alert(struct engine_worker *w, const struct detect_alert *a, int dir, struct http_tx *tx);
/* A handshake is complete; the head of a request is there; a PROXY header has named a client. */
void engine_judge_connection(struct engine_worker *w);
void engine_judge_request(struct engine_worker *w, struct http_tx *tx);
void engine_judge_client(struct engine_worker *w, const struct sk_addr *client);
/* Between batches; at the end of input. Floods that have been found are told. */
void engine_judge_idle(struct engine_worker *w);
void engine_judge_finish(struct engine_worker *w);
/* Asks the guard to cut a blocked client's connection through a proxy. */
void engine_request_cut(struct engine_worker *w, const struct identity *id);

/* --- app.c --- */
/* Contiguous bytes of a stream: to the protocol's inspector, or to its detection. */
void engine_app_data(struct engine_worker *w, int dir, struct sk_span data, unsigned flags);
void engine_app_end(struct engine_worker *w, struct engine_flow *ef);
struct http_callbacks engine_http_callbacks(struct engine_worker *w);
enum event_app engine_event_app(uint8_t proto);

/* --- ledger.c: base/ledger.h --- */
void engine_ledger_begin(struct engine_worker *w);
/* The packet at hand has been dealt with. */
void engine_ledger_packet(struct engine_worker *w);
/* Its fragment has been through the defragmenter. */
void engine_ledger_fragment(struct engine_worker *w);
/* A fragment within a datagram that was put together: not put together once more. */
void engine_ledger_nested(struct engine_worker *w);
void engine_ledger_frame(struct engine_worker *w);
/* Bytes of the flow at hand are missing. */
void engine_ledger_gap(struct engine_worker *w);
void engine_ledger_flow(struct engine_worker *w, const struct flow *f, enum flow_end why);

/* --- emit.c --- */
void engine_emit_alert(struct engine_worker *w, const struct detect_alert *a, int dir, struct http_tx *tx);
void engine_emit_http(struct engine_worker *w, struct http_tx *tx);
void engine_emit_files(struct engine_worker *w, struct http_tx *tx);
void engine_emit_flow(struct engine_worker *w, const struct flow *f, enum flow_end why);
void engine_emit_drop(struct engine_worker *w, bool of_flow);
void engine_emit_anomalies(struct engine_worker *w);
void engine_emit_flood(struct engine_worker *w, const struct flood_found *f, bool block, int64_t now);

#endif
