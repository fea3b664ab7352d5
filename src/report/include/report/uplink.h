/*
 * This host's connection to the manager: what it has to tell, kept on disk until the manager has it, and what the fleet
 * has to tell it. Knows neither guard nor process: what comes in and goes out are functions.
 *
 *   uplink_open → { uplink_event | uplink_block }* , uplink_run … → uplink_close
 *
 * Items go into the spool (SQLite, <dir>/spool.db) at once and leave it when the manager has answered for the batch
 * that held them. A batch has a number; the same number is sent again with the same items until it is answered, so that
 * nothing is counted twice. Full policy: the spool keeps within `spool_size`; when it is full the oldest events go
 * first, then the newest blocks are refused; both counted (lost). Order is kept.
 *
 * Failures are retried with exponential backoff and full jitter, from 1 s to 10 s, by one request that finds out for
 * all; Retry-After is obeyed. A manager that refuses us (401, 403: revoked) is asked again every 10 minutes. Works for
 * ever without one. One thread (names are looked up in another); built on fetch/fetch.h.
 */
#ifndef REPORT_UPLINK_H
#define REPORT_UPLINK_H

#include "ipc/message.h"
#include "fetch/fetch.h"

#define UPLINK_BATCH_ITEMS 500
#define UPLINK_BATCH_BYTES (512u << 10)

struct uplink_options {
    const char *dir;     /* agent.json, key.pem, cert.pem, ca.pem; spool.db is made there */
    uint64_t spool_size; /* bytes of the database file */
    const char *version; /* of the agent */
    bool take_blocks, take_rules, take_policy;
};

/* What it hands on. All are called from uplink_run. */
struct uplink_sink {
    void *arg;
    /* SK_EAGAIN: no room now; the feed waits and tells it again. */
    int (*fleet)(void *arg, const struct ipc_fleet *f);
    int (*fleet_done)(void *arg, uint64_t seq);
    int (*bundle)(void *arg, const struct ipc_signed *s, const void *payload, size_t len);
    void (*state)(void *arg, const struct ipc_manager *m);
    void (*found)(void *arg, const struct ipc_found *f);
};

struct uplink;
/* SK_ENOENT: not enrolled. SK_EPERM: key.pem can be read by others. why: text. */
SK_MUST_USE int uplink_open(const struct uplink_options *o, const struct uplink_sink *s, struct uplink **out, char *why,
                            size_t cap);
void uplink_close(struct uplink *u); /* NULL is fine */

/* An event as one line of EVE JSON. */
void uplink_event(struct uplink *u, const char *line, size_t len);
void uplink_block(struct uplink *u, const struct ipc_block_news *n);
/* What the guard says of a bundle, and of itself (for the heartbeat). */
void uplink_bundle_done(struct uplink *u, const struct ipc_signed_done *d);
void uplink_look_up(struct uplink *u, const struct ipc_look_up *l);

/* Network, timers and spool; waits at most timeout_ms, or until one of extra is ready (fetch_loop_run). */
SK_MUST_USE int uplink_run(struct uplink *u, struct pollfd *extra, unsigned n, int timeout_ms);
/* On the way out: sends what is spooled, for at most that long; a manager that is away is not waited for. SK_OK: the
 * spool is empty. */
SK_MUST_USE int uplink_drain(struct uplink *u, int timeout_ms);

#endif
