/* One worker: from ring to verdict on one core. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "engine_role.h"
#include "role.h"

#define WAIT_MS    100
#define GUARD_MS   1           /* for what the guard does about a block request */
#define DRAIN_TIME SK_NS_PER_S /* for what is in the rings when the agent stops */

void worker_init(struct worker *w, unsigned index, const struct capture_ring_conf *geometry, _Atomic bool *stop)
{
    w->index = index;
    w->geometry = geometry;
    w->stop = stop;
    pthread_mutex_init(&w->lock, NULL);
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        w->fd_of[i] = -1;
}

int worker_mail(struct worker *w, const struct mail *m)
{
    int rc = SK_EFULL;
    pthread_mutex_lock(&w->lock);
    if (w->nmail < MAILBOX_MAX) {
        w->mail[w->nmail++] = *m;
        atomic_store(&w->has_mail, true);
        rc = SK_OK;
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

static void on_event(void *arg, const void *rec, uint32_t len)
{
    struct worker *w = (struct worker *)arg;
    if (ipc_produce(&w->events, rec, len) != SK_OK)
        sk_count(&w->status->c, SK_C_EVENT_LOST);
}

static void on_block(void *arg, const struct decide_request *req)
{
    struct worker *w = (struct worker *)arg;
    w->asked = true;
    if (ipc_send(ROLE_FD_BLOCKS, IPC_BLOCK, req, NULL, 0) != SK_OK)
        sk_count(&w->status->c, SK_C_BLOCK_LOST);
}

static bool is_blocked(void *arg, const struct sk_addr *client, int64_t now)
{
    return ipc_blocked_has(((const struct worker *)arg)->blocked, client, now);
}

static void ring_gone(struct worker *w, uint16_t iface)
{
    if (w->fd_of[iface] < 0)
        return;
    capture_ring_remove(w->cap, iface);
    close(w->fd_of[iface]);
    w->fd_of[iface] = -1;
}

/* The guard may count what is left there. */
static void let_go(struct worker *w, uint16_t iface, uint32_t serial)
{
    ring_gone(w, iface);
    __atomic_store_n(&w->status->ring[iface].let_go, serial, __ATOMIC_RELEASE);
}

static void ring_new(struct worker *w, uint16_t iface, int fd)
{
    char err[256];
    ring_gone(w, iface);
    if (capture_ring_add(w->cap, fd, iface, &w->status->ring[iface], err) != SK_OK) {
        sk_log(SK_LOG_ERROR, "worker %u: %s", w->index, err);
        close(fd);
        return;
    }
    w->fd_of[iface] = fd;
}

/* Ends what the old engine knows of flows and goes on with the new one. */
static void switch_generation(struct worker *w, struct generation *gen)
{
    struct engine_sink sink = {.event = on_event, .block = on_block, .is_blocked = is_blocked, .arg = w};
    struct engine_worker *ew = NULL;
    if (engine_worker_create(gen->engine, w->index, &sink, &w->status->c, &ew) != SK_OK) {
        sk_log(SK_LOG_ERROR, "worker %u: out of memory for its tables", w->index);
        _exit(1); /* half of the workers must not go on alone: the guard starts all anew, and says so */
    }
    if (w->ew != NULL) {
        engine_worker_cut(w->ew, SK_C_LF_RELOAD);
        engine_worker_finish(w->ew);
        engine_worker_free(w->ew);
    }
    w->ew = ew;
    w->gen = gen;
    atomic_store(&w->current, gen);
}

static void read_mail(struct worker *w)
{
    struct mail mail[MAILBOX_MAX];
    pthread_mutex_lock(&w->lock);
    unsigned n = w->nmail;
    memcpy(mail, w->mail, n * sizeof(mail[0]));
    w->nmail = 0;
    atomic_store(&w->has_mail, false);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < n; i++) {
        switch (mail[i].kind) {
        case MAIL_RING: ring_new(w, mail[i].iface, mail[i].fd); break;
        case MAIL_RING_GONE: let_go(w, mail[i].iface, mail[i].serial); break;
        case MAIL_GENERATION: switch_generation(w, mail[i].gen); break;
        }
    }
}

/* One core each, of those that we may use. */
static void pin(const struct worker *w)
{
    cpu_set_t may, one;
    if (sched_getaffinity(0, sizeof(may), &may) != 0 || CPU_COUNT(&may) == 0)
        return;
    unsigned want = w->index % (unsigned)CPU_COUNT(&may);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &may) || want-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
        return;
    }
}

static void publish(struct worker *w)
{
    capture_count(w->cap, &w->status->c);
    if (w->ew != NULL)
        ipc_status_set(&w->status->memory, engine_worker_memory(w->ew));
}

static void each_second(struct worker *w, int64_t now)
{
    if (now < w->next_second)
        return;
    w->next_second = now + SK_NS_PER_S;
    publish(w);
}

/* Each frame is noted before it is looked at: if it kills us, it does not meet the next engine. */
static void inspect(struct worker *w, struct capture_batch *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        sk_ring_mark_take(&w->status->ring[b->f[i].iface], b->mark[i]);
        engine_packet(w->ew, &b->f[i]);
    }
    capture_release(w->cap, b);
}

static void wake_reporter(struct worker *w)
{
    w->asked = false;
    ipc_producer_wake(&w->events);
}

/* The reporter is woken once a batch. Behind a block request that is at the next batch, or a moment later: on this
 * processor it might come before the guard, and take a quarter of a millisecond. */
static void read_rings(struct worker *w, struct capture_batch *b)
{
    int rc = capture_recv(w->cap, b, w->asked ? GUARD_MS : WAIT_MS);
    if (w->asked)
        wake_reporter(w);
    engine_worker_idle(w->ew, sk_now_wall()); /* before the batch: what comes after a reload meets the new rules */
    if (rc == SK_OK)
        inspect(w, b);
    else if (rc != SK_EAGAIN)
        usleep(10000); /* an interface that fails again and again must not take the core */
    if (!w->asked)
        wake_reporter(w);
}

/* The guard has muted the sockets: what is there is all that will be. */
static void drain(struct worker *w, struct capture_batch *b)
{
    int64_t until = sk_now_mono() + DRAIN_TIME;
    int wait = 2 * (int)w->geometry->block_timeout + 10;
    for (unsigned quiet = 0; w->ew != NULL && quiet < 2 && sk_now_mono() < until;) {
        if (capture_recv(w->cap, b, wait) != SK_OK) {
            quiet++;
            continue;
        }
        quiet = 0;
        inspect(w, b);
        wake_reporter(w);
    }
}

static void loop(struct worker *w)
{
    static _Thread_local struct capture_batch batch;
    while (!atomic_load_explicit(w->stop, memory_order_relaxed)) {
        if (atomic_load_explicit(&w->has_mail, memory_order_relaxed))
            read_mail(w);
        if (w->ew != NULL)
            read_rings(w, &batch);
        else
            usleep(10000); /* the rings hold what comes until there are rules for it */
        each_second(w, sk_now_mono());
        ipc_status_set(&w->status->heartbeat, w->status->heartbeat + 1);
    }
    drain(w, &batch);
}

static void *run(void *arg)
{
    struct worker *w = (struct worker *)arg;
    char err[256], name[16];
    snprintf(name, sizeof(name), "worker-%u", w->index);
    (void)pthread_setname_np(pthread_self(), name);
    pin(w);
    ipc_status_set(&w->status->tid, (uint64_t)syscall(SYS_gettid));
    if (capture_open_ring(NULL, NULL, 0, w->geometry, &w->cap, err) != SK_OK) {
        sk_log(SK_LOG_ERROR, "worker %u: %s", w->index, err);
        _exit(1);
    }
    loop(w);
    publish(w);
    if (w->ew != NULL) {
        engine_worker_cut(w->ew, SK_C_LF_STOPPING);
        engine_worker_finish(w->ew);
        engine_worker_free(w->ew);
        wake_reporter(w);
    }
    capture_close(w->cap);
    return NULL;
}

int worker_start(struct worker *w)
{
    if (pthread_create(&w->thread, NULL, run, w) != 0)
        return SK_ENOMEM;
    w->started = true;
    return SK_OK;
}
