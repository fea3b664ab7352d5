/*
 * The reporter: event rings to the EVE file, and the kinds that the manager is told to the uplink's ring, as lines of
 * EVE JSON. Holds no privilege; opens nothing: the guard hands file and ring in.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "cli.h"
#include "event/json.h"
#include "ipc/ring.h"
#include "ipc/status.h"
#include "report/eve.h"
#include "role.h"

#define RINGS_MAX   (SK_MAX_WORKERS + 1)
#define TURN_BUDGET 4096 /* records of one ring before the next one has its turn */

/* For the manager. Full: the event is dropped and counted; the file has it. */
struct forward {
    struct ipc_rings *rings; /* NULL: there is no uplink */
    struct ipc_producer ring;
    uint32_t types; /* 1 << enum event_type */
    struct sk_strbuf line;
    struct event_json_opts opts;
    char iface[EVE_INTERFACES][EVE_IFNAME_MAX];
    const char *ifaces[EVE_INTERFACES];
    uint64_t lost;
};

struct reporter {
    struct ipc_rings *rings;
    struct ipc_consumer ring[RINGS_MAX];
    unsigned nrings;
    int wake_fd;
    struct ipc_status *status;
    struct eve_writer *eve;
    uint32_t types; /* 1 << enum event_type, of what is written */
    uint64_t garbage;
    struct ipc_reporter_status before; /* what earlier reporters had counted */
    struct forward forward;
    bool stopping;
    struct ipc_msg msg;
    _Alignas(8) uint8_t rec[IPC_RING_REC_MAX];
};

static int take_fd(struct ipc_msg *m, unsigned i)
{
    int fd = m->fd[i];
    m->fd[i] = -1;
    return fd;
}

static int on_setup(struct reporter *r)
{
    const struct ipc_setup *s = (const struct ipc_setup *)(const void *)r->msg.body;
    if (r->rings != NULL)
        return SK_EPROTO;
    int rc = ipc_rings_map(r->msg.fd[0], s->rings, s->ring_size, &r->rings);
    if (rc != SK_OK)
        return rc;
    r->nrings = s->rings;
    r->wake_fd = take_fd(&r->msg, 1);
    for (unsigned i = 0; i < r->nrings; i++)
        ipc_consumer_init(&r->ring[i], r->rings, i);
    return SK_OK;
}

static int on_status(struct reporter *r)
{
    int rc = ipc_status_map(r->msg.fd[0], &r->status);
    if (rc == SK_OK)
        r->before = r->status->reporter;
    return rc;
}

static void on_log(struct reporter *r)
{
    const struct ipc_log *l = (const struct ipc_log *)(const void *)r->msg.body;
    eve_reopen(r->eve, take_fd(&r->msg, 0));
    eve_set_payload(r->eve, l->payload, l->payload_printable);
    r->types = l->types;
}

/* The ring stays the same; which kinds are wanted may change. */
static int on_forward(struct reporter *r)
{
    const struct ipc_setup *s = (const struct ipc_setup *)(const void *)r->msg.body;
    struct forward *f = &r->forward;
    f->types = s->forward;
    if (f->rings != NULL)
        return SK_OK;
    int rc = ipc_rings_map(r->msg.fd[0], s->rings, s->ring_size, &f->rings);
    if (rc != SK_OK)
        return rc;
    ipc_producer_init(&f->ring, f->rings, 0, take_fd(&r->msg, 1));
    sk_strbuf_init(&f->line, IPC_RING_REC_MAX);
    return SK_OK;
}

static void set_iface(struct reporter *r, const struct ipc_ring_note *n)
{
    struct forward *f = &r->forward;
    eve_set_iface(r->eve, n->iface, n->name);
    if (n->iface >= EVE_INTERFACES)
        return;
    memcpy(f->iface[n->iface], n->name, EVE_IFNAME_MAX - 1);
    f->ifaces[n->iface] = f->iface[n->iface];
    if (n->iface >= f->opts.nifaces)
        f->opts.nifaces = n->iface + 1u;
}

static int forward_event(struct forward *f, const void *rec, uint32_t len)
{
    sk_strbuf_clear(&f->line);
    f->line.full = false;
    int rc = event_to_line(rec, len, &f->opts, &f->line);
    if (rc == SK_EPROTO)
        return rc;
    if (rc != SK_OK || ipc_produce(&f->ring, f->line.p, (uint32_t)f->line.len) != SK_OK)
        f->lost++;
    return SK_OK;
}

/* SK_EPROTO: garbage. Both ways check the record as a whole. */
static int take_event(struct reporter *r, const void *rec, uint32_t len)
{
    const struct event_rec *e = (const struct event_rec *)rec;
    if (len < sizeof(*e) || e->type >= EVENT_TYPE_COUNT)
        return eve_write(r->eve, rec, len); /* which counts it */
    int rc = (r->types & 1u << e->type) != 0 ? eve_write(r->eve, rec, len) : SK_OK;
    if (rc != SK_EPROTO && r->forward.rings != NULL && (r->forward.types & 1u << e->type) != 0)
        rc = forward_event(&r->forward, rec, len);
    return rc;
}

static int on_message(struct reporter *r)
{
    const struct ipc_ring_note *note = (const struct ipc_ring_note *)(const void *)r->msg.body;
    const struct ipc_event *ev = (const struct ipc_event *)(const void *)r->msg.body;
    const struct ipc_empty ready = {0};
    switch (r->msg.type) {
    case IPC_SETUP: return on_setup(r);
    case IPC_STATUS: return on_status(r);
    case IPC_IFACE: set_iface(r, note); return SK_OK;
    case IPC_LOG: on_log(r); return SK_OK;
    case IPC_FORWARD: return on_forward(r);
    case IPC_EVENT: (void)!take_event(r, ev->rec, ev->len); return SK_OK;
    case IPC_START: return ipc_send(ROLE_FD_CHANNEL, IPC_READY, &ready, NULL, 0);
    case IPC_STOP: r->stopping = true; return SK_OK;
    default: return SK_EPROTO;
    }
}

/* All messages that are there. SK_EEND: the guard is gone. */
static int drain_channel(struct reporter *r)
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

static void tell_garbage(struct reporter *r, unsigned ring)
{
    struct ipc_garbage g = {.ring = ring};
    r->garbage++;
    (void)!ipc_send(ROLE_FD_CHANNEL, IPC_GARBAGE, &g, NULL, 0);
}

/* Returns how many records came; at most the budget of each ring, so that no writer holds the loop. */
static unsigned drain_rings(struct reporter *r)
{
    unsigned total = 0;
    for (unsigned i = 0; i < r->nrings; i++) {
        for (unsigned n = 0; n < TURN_BUDGET; n++) {
            uint32_t len;
            int rc = ipc_consume(&r->ring[i], r->rec, sizeof(r->rec), &len);
            if (rc == SK_EAGAIN)
                break;
            total++;
            if (rc == SK_EPROTO || (rc == SK_OK && take_event(r, r->rec, len) == SK_EPROTO)) {
                tell_garbage(r, i);
                break;
            }
        }
    }
    return total;
}

static void publish(struct reporter *r)
{
    if (r->status == NULL)
        return;
    const struct eve_stats *s = eve_stats(r->eve);
    struct ipc_reporter_status *p = &r->status->reporter;
    ipc_status_set(&p->events, r->before.events + s->events);
    ipc_status_set(&p->bytes, r->before.bytes + s->bytes);
    ipc_status_set(&p->write_errors, r->before.write_errors + s->write_errors);
    ipc_status_set(&p->invalid, r->before.invalid + s->invalid);
    ipc_status_set(&p->held, s->held);
    ipc_status_set(&p->forward_lost, r->before.forward_lost + r->forward.lost);
    ipc_status_set(&p->garbage, r->before.garbage + r->garbage);
    ipc_status_set(&p->heartbeat, p->heartbeat + 1);
}

/* True: something is there already. */
static bool going_to_sleep(struct reporter *r)
{
    bool more = false;
    for (unsigned i = 0; i < r->nrings; i++)
        more |= ipc_consumer_sleep(&r->ring[i]);
    return more;
}

static void wait_for_work(struct reporter *r)
{
    struct pollfd p[2] = {{.fd = ROLE_FD_CHANNEL, .events = POLLIN}, {.fd = r->wake_fd, .events = POLLIN}};
    if (poll(p, 2, 1000) > 0 && (p[1].revents & POLLIN)) {
        uint64_t v;
        (void)!read(r->wake_fd, &v, sizeof(v));
    }
}

static int loop(struct reporter *r)
{
    for (;;) {
        int rc = drain_channel(r);
        unsigned n = drain_rings(r);
        if (r->forward.rings != NULL)
            ipc_producer_wake(&r->forward.ring);
        publish(r);
        if (rc != SK_OK)
            return rc;
        if (n > 0)
            continue;
        (void)!eve_flush(r->eve); /* nothing more is coming just now */
        if (r->stopping)
            return SK_OK;
        if (!going_to_sleep(r))
            wait_for_work(r);
    }
}

int role_reporter(int argc, char **argv)
{
    bool confined = false;
    if (role_enter(ROLE_REPORTER, argc, argv, &confined) != SK_OK)
        return CLI_FAILED;
    static struct reporter r = {.wake_fd = -1};
    struct ipc_hello hello = {.pid = getpid(), .confined = confined};
    int rc = eve_create(-1, "the EVE log", false, false, &r.eve);
    if (rc == SK_OK)
        rc = ipc_send(ROLE_FD_CHANNEL, IPC_HELLO, &hello, NULL, 0);
    if (rc == SK_OK)
        rc = loop(&r);
    eve_free(r.eve);
    if (rc != SK_OK && rc != SK_EEND)
        sk_log(SK_LOG_ERROR, "stopped: %s", sk_strerror(rc));
    _exit(rc == SK_OK ? CLI_OK : CLI_FAILED);
}
