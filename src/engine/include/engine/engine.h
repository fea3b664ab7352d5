/*
 * The pipeline, and the only module that knows the order of its stages: decode, flow, stream, protocol, detect, decide.
 * `struct engine` holds what workers share (configuration, the rule set in force); a `struct engine_worker` is used by
 * one thread. engine_packet() is the tour: read it first.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/counters.h"
#include "base/diag.h"
#include "capture/capture.h"
#include "conf/conf.h"
#include "decide/request.h"

struct engine;
struct engine_worker;

/* One input text: a rule file, classification or threshold file. Names are for messages. */
struct engine_text {
    enum { ENGINE_RULES, ENGINE_CLASSES, ENGINE_THRESHOLDS } kind;
    const char *name, *text;
    size_t len;
};

struct engine_rule_stats {
    uint32_t loaded, rejected, slow; /* slow: neither pattern nor expression narrows them */
    uint32_t groups, databases;
    uint64_t memory; /* bytes of compiled databases */
    double parse_seconds, compile_seconds;
};

/* Where a worker's results go; all run on the worker's thread and must not block. */
struct engine_sink {
    void (*event)(void *arg, const void *rec, uint32_t len); /* one event record (event/event.h), borrowed */
    void (*block)(void *arg, const struct decide_request *req);
    /* Is this client, who comes through a proxy, blocked now? NULL: nobody is. Called once a request; must be cheap. */
    bool (*is_blocked)(void *arg, const struct sk_addr *client, int64_t now);
    void *arg;
};

struct engine_options {
    bool offline;         /* capture files: nothing is picked up in midstream unless the configuration says so */
    bool fixed_seeds;     /* reproducible flow ids and hashes, for tests */
    uint32_t event_mask;  /* 1 << enum event_type: records that nobody wants are not built */
    const char *home_net; /* what HOME_NET "auto" stands for, as rules write it; NULL: the private networks */
};

SK_MUST_USE int engine_create(const struct conf *conf, const struct engine_options *opt, struct engine **out);
void engine_free(struct engine *e);

/* Different clients from outside that were at work within decide.brake.window. Any thread. now: wall clock ns. */
uint64_t engine_active_clients(const struct engine *e, int64_t now);

/*
 * Parses and compiles rules beside those in force (any thread but a worker's), then swaps. SK_OK, or an error with
 * diagnostics, and then the old rules stay in force. Single bad rules are rejected with a diagnostic, and the rest
 * loads; with `strict`, or when nothing is left to load, a rule that is wrong fails the whole load (one that is merely
 * not supported does not). Old rules are freed when every worker has moved on.
 */
SK_MUST_USE int engine_load(struct engine *e, const struct engine_text *texts, unsigned n, bool strict,
                            const struct sk_diag_sink *diag, struct engine_rule_stats *stats);

SK_MUST_USE int engine_worker_create(struct engine *e, unsigned index, const struct engine_sink *sink,
                                     struct sk_counters *c, struct engine_worker **out);
void engine_worker_free(struct engine_worker *w);
/*
 * Several workers that read the same input: this one takes the flows that fall to it (flow_worker_of), and passes over
 * the other packets without counting them. Before the first packet; without it a worker takes all.
 */
void engine_worker_share(struct engine_worker *w, unsigned index, unsigned n);

enum engine_verdict { ENGINE_PASS, ENGINE_DROP };
/* One frame, to a verdict (drop only in prevent mode). */
enum engine_verdict engine_packet(struct engine_worker *w, const struct sk_frame *f);
/* Between batches: takes up new rules, ends flows whose time is over. now: wall clock ns (packet time offline). */
void engine_worker_idle(struct engine_worker *w, int64_t now);
/* End of input: ends all flows, with their last inspection and flow records. */
void engine_worker_finish(struct engine_worker *w);
/* Before that, where the traffic goes on: flows that were whole so far belong to this class (SK_C_LF_...) instead. */
void engine_worker_cut(struct engine_worker *w, enum sk_counter why);
/* Bytes held by the worker's tables and pools, for status. */
uint64_t engine_worker_memory(const struct engine_worker *w);

#endif
