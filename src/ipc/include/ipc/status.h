/*
 * What roles tell the guard by writing it down: shared memory (memfd, sealed against resizing), one writer a field,
 * relaxed atomic 64-bit values. Only for showing and for the watchdog; the guard bases nothing else on it. An engine
 * that is started anew finds here how far the one before had come in each capture ring.
 */
#ifndef IPC_STATUS_H
#define IPC_STATUS_H

#include "base/counters.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/ringmark.h"

struct ipc_worker_status {
    struct sk_counters c; /* the worker counts here directly */
    uint64_t heartbeat;   /* grows with every turn of its loop, at least once a second */
    uint64_t memory;      /* bytes of its tables */
    uint64_t tid;
    uint64_t pad[5];
    struct sk_counters guard; /* the guard writes here what only it can count of this worker (base/ledger.h) */
    struct sk_ring_mark ring[SK_MAX_INTERFACES]; /* the worker writes; zeroed by the guard for a new ring */
};

struct ipc_reporter_status {
    uint64_t heartbeat;
    uint64_t events, bytes; /* written */
    uint64_t write_errors;  /* events lost because the file could not be written */
    uint64_t invalid;       /* records refused by event_valid */
    uint64_t garbage;       /* rings resynchronised */
    uint64_t held;          /* bytes of events that wait until the file can be written again */
    uint64_t forward_lost;  /* events that the uplink's ring had no room for */
};

/* Of the engine as a whole; its main thread writes once a second. */
struct ipc_engine_status {
    uint64_t active_clients; /* different clients within decide.brake.window */
    uint64_t pad[7];
};

struct ipc_status {
    struct ipc_worker_status worker[SK_MAX_WORKERS];
    struct ipc_engine_status engine;
    struct ipc_reporter_status reporter;
};

static inline void ipc_status_set(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline uint64_t ipc_status_get(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* Zeroed; *fd and the mapping are the caller's. */
SK_MUST_USE int ipc_status_create(int *fd, struct ipc_status **out);
/* In a role. SK_EPROTO: wrong size. */
SK_MUST_USE int ipc_status_map(int fd, struct ipc_status **out);
void ipc_status_unmap(struct ipc_status *s);

#endif
