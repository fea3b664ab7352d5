/* What the files of engine share. */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include <pthread.h>

#include "decode/decode.h"
#include "detect/detect.h"
#include "engine/engine.h"
#include "event/event.h"
#include "flow/defrag.h"
#include "flow/flow.h"
#include "proto/http.h"
#include "proto/probe.h"
#include "proto/tls.h"
#include "stream/stream.h"

/* One generation of rules. */
struct engine_rules {
    const struct rule_set *tree;
    struct detect_set *set;
    struct engine_rules *next; /* in the list of retired generations */
};

struct engine {
    const struct conf *conf;
    struct engine_options opt;
    char *home_net;
    bool home_found; /* home_net is this host's own, found by the caller */
    struct decode_conf decode;
    struct inspect_conf inspect;
    struct detect_thresholds *thresholds;
    bool prevent;

    struct engine_rules *rules; /* in force; read by workers with acquire */
    pthread_mutex_t lock;       /* guards retired, workers, loading */
    struct engine_rules *retired;
    struct engine_worker *workers[SK_MAX_WORKERS];
};

/* What lies in a flow's user area. */
struct engine_flow {
    struct stream_session tcp;
    struct detect_flow det;
    struct proto_probe probe;
    struct http_conn *http;
    struct tls_track tls[2];
    uint64_t want_stamp;      /* of the rules that http_set_want was told about */
    uint8_t app;              /* enum proto_id of the flow */
    uint8_t app_dir[2];       /* as each direction showed it */
    uint8_t seen[2];          /* bytes in probe_buf */
    bool seen_packet[2];      /* a packet of this direction has been inspected */
    bool blocked;             /* a block of its client has been asked for */
    uint64_t message_from[2]; /* HTTP: stream offset where the message under way began; the raw stream's depth counts
                                 from there */
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
    bool detected; /* detect_packet has run */
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
/* The packet at hand, for rules, as seen in direction dir. */
void engine_input(const struct engine_worker *w, int dir, struct detect_input *in);
/* Rules on the packet itself, once: before the first rule on its transactions, so that flow bits are in order. */
void engine_detect_packet(struct engine_worker *w);
/* Ends the evaluation of what has matched so far: alerts, drop, blocks. tx: what the alerts are about, or NULL. */
void engine_conclude(struct engine_worker *w, int dir, struct http_tx *tx);

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
void engine_request_block(struct engine_worker *w, const struct detect_alert *a, int dir);

#endif
