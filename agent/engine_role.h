/*
 * The engine role: one main thread that talks to the guard, one thread that loads rules, N pinned worker threads that
 * meet nobody on the packet path.
 *
 *   guard --channel--> main thread --mailbox--> worker i: rings -> engine_packet -> event ring i -> reporter
 *                         |  bundle                                 `-> block channel -> guard
 *                         v
 *                      loader thread: engine_load beside the rules in force
 *
 * A reload swaps rules inside the engine. One that changes what an engine is made of (limits, address groups, ...)
 * makes a second engine beside the first and hands it to the workers (struct generation); they end their flows and go
 * on with the new one, on the same capture rings.
 */
#ifndef AGENT_ENGINE_ROLE_H
#define AGENT_ENGINE_ROLE_H

#include <pthread.h>
#include <stdatomic.h>
#include "engine/engine.h"
#include "ipc/blocked.h"
#include "ipc/bundle.h"
#include "ipc/message.h"
#include "ipc/ring.h"
#include "ipc/status.h"

/* An engine with the configuration that it was made of. */
struct generation {
    struct conf *conf;
    char *home; /* what HOME_NET "auto" stands for, or NULL */
    struct engine *engine;
};

#define MAILBOX_MAX (4 * SK_MAX_INTERFACES)

struct mail {
    enum { MAIL_RING, MAIL_RING_GONE, MAIL_GENERATION } kind;
    uint16_t iface;
    uint32_t serial;
    int fd;
    struct generation *gen;
};

struct worker {
    unsigned index;
    pthread_t thread;
    bool started;
    const struct capture_ring_conf *geometry;
    _Atomic bool *stop;

    pthread_mutex_t lock; /* guards mail and nmail; taken by the worker only when has_mail says so */
    struct mail mail[MAILBOX_MAX];
    unsigned nmail;
    _Atomic bool has_mail;

    /* the thread's own */
    struct capture *cap;
    struct generation *gen;
    struct engine_worker *ew;
    struct ipc_producer events;
    struct ipc_worker_status *status;
    const struct ipc_blocked *blocked;
    int fd_of[SK_MAX_INTERFACES]; /* -1: none */
    int64_t next_second;
    bool asked;                           /* for a block, since the reporter was last woken */
    _Atomic(struct generation *) current; /* what it works with, for the loader */
};

/* Before the first mail. */
void worker_init(struct worker *w, unsigned index, const struct capture_ring_conf *geometry, _Atomic bool *stop);
SK_MUST_USE int worker_start(struct worker *w);
/* Any thread. SK_EFULL: the worker has not read its mail for a long time. */
SK_MUST_USE int worker_mail(struct worker *w, const struct mail *m);

struct loader {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards bundle_fd, generation, shown, before, exchanged */
    pthread_cond_t wake;
    int bundle_fd; /* the newest that waits; -1: none */
    uint64_t generation;
    struct worker *workers;
    unsigned nworkers;
    struct generation *current;     /* the loader's own */
    struct generation *shown;       /* for other threads: the same, until the workers have left it */
    uint64_t before;                /* clients that were active when engines were last exchanged ... */
    int64_t exchanged;              /* ... at this time, monotonic ns */
    _Atomic int64_t stats_interval; /* 0: no stats events */
    _Atomic bool loaded;            /* once there is a generation */
};

/* Lives as long as the process. */
SK_MUST_USE int loader_start(struct loader *l, struct worker *workers, unsigned n);
/* The configuration and rules of a bundle, as an engine takes them that begins; without any thread. Takes fd. */
SK_MUST_USE int loader_try(int fd, const struct sk_diag_sink *diag, struct engine_rule_stats *stats);
/* fd becomes the loader's. One that still waits is replaced by it. */
void loader_give(struct loader *l, int fd, uint64_t generation);
/*
 * Different clients within decide.brake.window, for the guard's brake. Any thread, once loader_start has been called.
 * An engine that has just taken over has not seen a window yet: as long the number that the one before it had counts if
 * it is higher, or each reload would make the brake strict.
 */
uint64_t loader_active_clients(struct loader *l, int64_t wall, int64_t mono);

#endif
