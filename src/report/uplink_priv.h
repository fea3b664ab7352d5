/*
 * Inside of the uplink.
 *
 *   uplink.c        life cycle, turn of the loop, state     uplink_link.c   requests, their outcome, when to try again
 *   uplink_tell.c   what this host tells: spool, heartbeat   uplink_take.c   what the fleet tells: feed, bundles,
 * look-ups uplink_renew.c  certificate                              answer.c, item.c, certs.c, resolve.c, spool.c
 *
 * One job a kind of request. A job is started by its function when it has something to do, uplink_may_start agrees, and
 * its time has come; its answer function runs in the loop.
 */
#ifndef REPORT_UPLINK_PRIV_H
#define REPORT_UPLINK_PRIV_H

#include "answer.h"
#include "base/clock.h"
#include "certs.h"
#include "pki/bundle.h"
#include "report/uplink.h"
#include "resolve.h"
#include "spool.h"

#define UPLINK_BACKOFF_MIN SK_NS_PER_S
#define UPLINK_BACKOFF_MAX (10 * SK_NS_PER_S)
#define UPLINK_REFUSED     (600 * SK_NS_PER_S)  /* between questions to a manager that refuses us */
#define UPLINK_WAIT_MAX    (3600 * SK_NS_PER_S) /* of Retry-After */
#define UPLINK_LOOK_UPS    16

enum uplink_kind { JOB_EVENTS, JOB_BEAT, JOB_FEED, JOB_RENEW, JOB_POLICY, JOB_RULES, JOB_KINDS };

struct uplink;
/* r: of an answer with a status that is neither a failure of the connection nor a refusal. */
typedef void uplink_answer_fn(struct uplink *u, const struct fetch_response *r);

struct uplink_job {
    struct uplink *u;
    enum uplink_kind kind;
    uint64_t id;
    bool active;
    unsigned fails;
    int64_t next; /* monotonic: not before */
};

/* A question of the guard's; its answer is not waited for longer than a few seconds. */
struct uplink_look {
    struct uplink *u;
    bool active;
    uint64_t id, fetch;
};

/* Rules or policy. */
struct uplink_bundle {
    int64_t offered;     /* version that the manager has */
    int64_t in_force;    /* as the guard says; 0: none, or not known yet */
    int64_t handed;      /* version that the guard has been given last */
    int64_t retry;       /* when that one may be given once more: it was refused, or is not answered for */
    json_t *root;        /* fetched, and not yet handed on; owns payload */
    const char *payload; /* len bytes */
    size_t len;
    struct ipc_signed head;
};

struct uplink {
    struct uplink_options opt;
    struct uplink_sink sink;
    char dir[CERTS_PATH], version[64], url[256], host[256], agent[32];
    struct certs certs;
    struct fetch_loop *loop;
    struct uplink_job job[JOB_KINDS];
    int64_t started, heartbeat;

    /* connection */
    enum ipc_manager_state state;
    int64_t since, last_ok; /* wall */
    unsigned fails;         /* in a row */
    int64_t next;           /* monotonic: nothing starts before */
    bool probing;           /* one request finds out whether it is better */
    bool reconnect;         /* with a new certificate: connections are begun anew at the next turn */
    bool draining;
    char text[IPC_TEXT_MAX];
    bool state_changed;
    int64_t next_state;

    /* addresses */
    struct resolve *resolve;
    int64_t next_resolve;
    struct resolve_result found;
    struct sk_addr peer; /* that answered last; zero: none */

    /* spool */
    struct spool *spool; /* NULL: it cannot be opened just now */
    char spool_path[CERTS_PATH + 16];
    int64_t spool_retry, send_at, last_batch, next_prune;
    bool syncing;
    uint64_t sent, lost, refused_items;
    unsigned poison; /* single items refused, one after another */
    int64_t next_renew_spool;

    /* feed */
    struct answer_feed page; /* being handed on; root NULL: none */
    size_t page_at;
    bool begun;      /* of a snapshot BEGIN has been told, and DONE has not */
    bool page_begun; /* and that for this page */
    char epoch[ANSWER_EPOCH_LEN];
    int64_t feed_seq;
    uint64_t feed_malformed;

    struct uplink_bundle bundle[BUNDLE_KINDS];
    struct uplink_look look[UPLINK_LOOK_UPS];
    bool renew_wanted;
    bool clock_said;
};

/* uplink_link.c */
/* path from "/v1" on. The answer comes to the job's function. */
void uplink_start(struct uplink_job *j, const char *method, const char *path, const void *body, size_t len,
                  int timeout_ms, size_t response_max);
/* May that job begin a request now? */
bool uplink_may_start(const struct uplink *u, enum uplink_kind k, int64_t now);
void uplink_job_failed(struct uplink_job *j, int64_t retry_after_s, const char *fmt, ...) SK_PRINTF(3, 4);
void uplink_cancel_all(struct uplink *u);
SK_MUST_USE int uplink_connect(struct uplink *u); /* the loop, anew */
/* A request of its own, beside the jobs: it changes nothing of the connection's state. */
SK_MUST_USE int uplink_ask(struct uplink *u, const char *path, fetch_fn *fn, void *arg, int timeout_ms, uint64_t *id);
/* Random, 0..max. */
int64_t uplink_random(int64_t max);

/* uplink_tell.c */
SK_MUST_USE int uplink_spool_open(struct uplink *u);
void uplink_tell_events(struct uplink *u, int64_t now);
void uplink_tell_beat(struct uplink *u, int64_t now);
void uplink_spool_tick(struct uplink *u, int64_t now);
uplink_answer_fn uplink_on_events, uplink_on_beat;
bool uplink_has_items(struct uplink *u);

/* uplink_take.c */
void uplink_take_feed(struct uplink *u, int64_t now);
void uplink_take_bundles(struct uplink *u, int64_t now);
/* Hands on what waits. */
void uplink_hand_on(struct uplink *u);
void uplink_news(struct uplink *u, const struct answer_news *n);
uplink_answer_fn uplink_on_feed, uplink_on_policy, uplink_on_rules;
void uplink_take_free(struct uplink *u);

/* uplink_renew.c */
/* The certificate has run out: nothing but a renewal is answered. */
bool uplink_expired(const struct uplink *u);
/* refused: with that code. */
void uplink_renew_refused(struct uplink *u, const char *code, int status);
void uplink_renew(struct uplink *u, int64_t now);
uplink_answer_fn uplink_on_renew;

#endif
