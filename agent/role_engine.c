/* The engine's main thread: messages of the guard, and one stats event now and then. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "cli.h"
#include "engine_role.h"
#include "event/event.h"
#include "role.h"

struct role {
    struct ipc_rings *rings;
    struct ipc_status *status;
    struct ipc_blocked *blocked;
    int wake_fd;
    struct capture_ring_conf geometry;
    struct worker *workers;
    unsigned nworkers;
    struct loader loader;
    struct ipc_producer events; /* the role's own ring, behind those of the workers */
    _Atomic bool stop;
    bool ready, ending;
    int64_t started, next_stats, next_active;
    struct ipc_msg msg;
};

static int take_fd(struct ipc_msg *m, unsigned i)
{
    int fd = m->fd[i];
    m->fd[i] = -1;
    return fd;
}

static int on_setup(struct role *r)
{
    const struct ipc_setup *s = (const struct ipc_setup *)(const void *)r->msg.body;
    if (r->workers != NULL)
        return SK_EPROTO;
    int rc = ipc_rings_map(r->msg.fd[0], s->rings, s->ring_size, &r->rings);
    if (rc != SK_OK)
        return rc;
    r->wake_fd = take_fd(&r->msg, 1);
    r->geometry = (struct capture_ring_conf){
        .ring_size = s->capture_ring, .block_size = s->capture_block, .block_timeout = s->capture_timeout};
    r->workers = (struct worker *)calloc(s->workers, sizeof(*r->workers));
    if (r->workers == NULL)
        return SK_ENOMEM;
    r->nworkers = s->workers;
    for (unsigned i = 0; i < r->nworkers; i++) {
        worker_init(&r->workers[i], i, &r->geometry, &r->stop);
        ipc_producer_init(&r->workers[i].events, r->rings, i, r->wake_fd);
    }
    ipc_producer_init(&r->events, r->rings, r->nworkers, r->wake_fd);
    return SK_OK;
}

static int on_blocked(struct role *r)
{
    return r->blocked == NULL ? ipc_blocked_map(r->msg.fd[0], &r->blocked) : SK_EPROTO;
}

static int on_start(struct role *r)
{
    if (r->workers == NULL || r->status == NULL || r->blocked == NULL || r->workers[0].started)
        return SK_EPROTO;
    int rc = SK_OK;
    for (unsigned i = 0; i < r->nworkers && rc == SK_OK; i++) {
        r->workers[i].status = &r->status->worker[i];
        r->workers[i].blocked = r->blocked;
        rc = worker_start(&r->workers[i]);
    }
    return rc == SK_OK ? loader_start(&r->loader, r->workers, r->nworkers) : rc;
}

static int on_ring(struct role *r)
{
    const struct ipc_ring_note *note = (const struct ipc_ring_note *)(const void *)r->msg.body;
    if (note->worker >= r->nworkers)
        return SK_EPROTO;
    struct mail m = {.kind = MAIL_RING_GONE, .iface = note->iface, .serial = note->serial, .fd = -1};
    if (r->msg.type == IPC_RING) {
        m.kind = MAIL_RING;
        m.fd = take_fd(&r->msg, 0);
    }
    return worker_mail(&r->workers[note->worker], &m);
}

static int on_bundle(struct role *r)
{
    const struct ipc_bundle_note *note = (const struct ipc_bundle_note *)(const void *)r->msg.body;
    if (!r->loader.started)
        return SK_EPROTO;
    loader_give(&r->loader, take_fd(&r->msg, 0), note->generation);
    return SK_OK;
}

static int on_message(struct role *r)
{
    switch (r->msg.type) {
    case IPC_SETUP: return on_setup(r);
    case IPC_STATUS: return ipc_status_map(r->msg.fd[0], &r->status);
    case IPC_BLOCKED: return on_blocked(r);
    case IPC_START: return on_start(r);
    case IPC_RING:
    case IPC_RING_GONE: return on_ring(r);
    case IPC_BUNDLE: return on_bundle(r);
    case IPC_STOP: r->ending = true; return SK_OK;
    default: return SK_EPROTO;
    }
}

static int drain_channel(struct role *r)
{
    for (;;) {
        int rc = ipc_recv(ROLE_FD_CHANNEL, &r->msg);
        if (rc == SK_EAGAIN)
            return SK_OK;
        if (rc != SK_OK)
            return rc;
        rc = on_message(r);
        ipc_msg_close(&r->msg);
        if (rc != SK_OK)
            return rc;
    }
}

static void tell_ready(struct role *r)
{
    const struct ipc_empty e = {0};
    if (r->ready || !atomic_load(&r->loader.loaded))
        return;
    r->ready = ipc_send(ROLE_FD_CHANNEL, IPC_READY, &e, NULL, 0) == SK_OK;
    r->next_stats = sk_now_mono() + atomic_load(&r->loader.stats_interval);
}

static void write_stats(struct role *r, int64_t now)
{
    static _Alignas(8) uint8_t rec[8192];
    int64_t interval = atomic_load(&r->loader.stats_interval);
    if (!r->ready || interval == 0 || now < r->next_stats)
        return;
    r->next_stats = now + interval;
    struct sk_counters sum = {{0}};
    for (unsigned i = 0; i < r->nworkers; i++)
        for (unsigned c = 0; c < SK_C_COUNT; c++)
            sum.v[c] += sk_count_read(&r->status->worker[i].c, (enum sk_counter)c) +
                        sk_count_read(&r->status->worker[i].guard, (enum sk_counter)c);
    uint32_t len = event_build_stats(rec, sizeof(rec), &sum, sk_now_wall(), (now - r->started) / SK_NS_PER_S);
    if (ipc_produce(&r->events, rec, len) != SK_OK)
        sk_log(SK_LOG_WARN, "a stats event was lost: the reporter does not keep up");
    ipc_producer_wake(&r->events);
}

static void write_active(struct role *r, int64_t now)
{
    if (!r->loader.started || now < r->next_active)
        return;
    r->next_active = now + SK_NS_PER_S;
    ipc_status_set(&r->status->engine.active_clients, loader_active_clients(&r->loader, sk_now_wall(), now));
}

static int loop(struct role *r)
{
    while (!r->ending) {
        struct pollfd p = {.fd = ROLE_FD_CHANNEL, .events = POLLIN};
        (void)poll(&p, 1, r->ready ? 1000 : 20);
        int rc = drain_channel(r);
        if (rc != SK_OK)
            return rc;
        tell_ready(r);
        write_stats(r, sk_now_mono());
        write_active(r, sk_now_mono());
    }
    return SK_OK;
}

/* Flows get their last inspection and their records. Rules that are just being loaded are not waited for. */
static void finish(struct role *r)
{
    atomic_store(&r->stop, true);
    for (unsigned i = 0; i < r->nworkers; i++)
        if (r->workers[i].started)
            pthread_join(r->workers[i].thread, NULL);
}

int role_engine(int argc, char **argv)
{
    bool confined = false;
    if (role_enter(ROLE_ENGINE, argc, argv, &confined) != SK_OK)
        return CLI_FAILED;
    static struct role r = {.wake_fd = -1};
    struct ipc_hello hello = {.pid = getpid(), .confined = confined};
    r.started = sk_now_mono();
    int rc = ipc_send(ROLE_FD_CHANNEL, IPC_HELLO, &hello, NULL, 0);
    if (rc == SK_OK)
        rc = loop(&r);
    if (rc == SK_OK)
        finish(&r);
    else if (rc != SK_EEND)
        sk_log(SK_LOG_ERROR, "stopped: %s", sk_strerror(rc));
    _exit(rc == SK_OK ? CLI_OK : CLI_FAILED); /* not exit: handlers of libraries would want system calls */
}
