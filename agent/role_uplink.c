/*
 * The uplink: this host's connection to the manager (report/uplink.h), in a process that sees neither packets nor
 * rings of the engine. It holds the key of its certificate and nothing else; what it says of the fleet the guard
 * checks.
 */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "cli.h"
#include "conf/conf.h"
#include "ipc/blob.h"
#include "ipc/bundle.h"
#include "ipc/ring.h"
#include "report/uplink.h"
#include "role.h"

#define TURN_MESSAGES 512  /* of the guard, before the network has its turn */
#define TURN_EVENTS   1024 /* of the ring */
#define DRAIN_MS      3000 /* on the way out; the guard waits for five seconds */

struct role_uplink {
    struct conf *conf;
    struct uplink *u; /* NULL: START has not come */
    struct ipc_rings *rings;
    struct ipc_consumer ring;
    int wake_fd;
    int64_t next_alive;
    bool stopping;
    struct ipc_msg msg;
    char line[IPC_RING_REC_MAX];
};

static int tell(enum ipc_type type)
{
    const struct ipc_empty e = {0};
    return ipc_send(ROLE_FD_CHANNEL, type, &e, NULL, 0);
}

/* --- what the manager says, to the guard: SK_EAGAIN goes back to the feed, which waits --- */

static int on_fleet(void *arg, const struct ipc_fleet *f)
{
    (void)arg;
    return ipc_send(ROLE_FD_CHANNEL, IPC_FLEET, f, NULL, 0);
}

static int on_fleet_done(void *arg, uint64_t seq)
{
    const struct ipc_fleet_done d = {.seq = seq};
    (void)arg;
    return ipc_send(ROLE_FD_CHANNEL, IPC_FLEET_DONE, &d, NULL, 0);
}

static int on_bundle(void *arg, const struct ipc_signed *s, const void *payload, size_t len)
{
    int fd;
    (void)arg;
    int rc = ipc_blob_make("sekisho-signed", payload, len, &fd);
    if (rc != SK_OK)
        return rc;
    rc = ipc_send(ROLE_FD_CHANNEL, IPC_SIGNED, s, &fd, 1);
    close(fd);
    return rc;
}

/* Said again every second. */
static void on_state(void *arg, const struct ipc_manager *m)
{
    (void)arg;
    (void)!ipc_send(ROLE_FD_CHANNEL, IPC_MANAGER, m, NULL, 0);
}

/* The guard does not wait for ever. */
static void on_found(void *arg, const struct ipc_found *f)
{
    (void)arg;
    (void)!ipc_send(ROLE_FD_CHANNEL, IPC_FOUND, f, NULL, 0);
}

/* --- what the guard says --- */

static int read_texts(const struct ipc_bundle *b, struct conf **out)
{
    struct conf *c = NULL;
    int rc = SK_OK;
    for (unsigned i = 0; i < ipc_bundle_count(b) && rc == SK_OK; i++) {
        struct ipc_text t = ipc_bundle_text(b, i);
        if (t.kind == IPC_TEXT_CONF && c == NULL)
            rc = conf_load(t.name, t.text, t.len, NULL, &c);
        else if (c == NULL)
            rc = conf_default(&c);
        if (rc == SK_OK && t.kind == IPC_TEXT_SET)
            rc = conf_set_arg(c, t.text, NULL);
    }
    if (rc == SK_OK && c == NULL)
        rc = conf_default(&c);
    *out = c;
    return rc;
}

static int on_conf(struct role_uplink *r)
{
    struct ipc_bundle *b;
    if (r->conf != NULL)
        return SK_EPROTO;
    int rc = ipc_bundle_open(r->msg.fd[0], &b);
    if (rc != SK_OK)
        return rc;
    rc = read_texts(b, &r->conf);
    ipc_bundle_free(b);
    return rc;
}

static int on_forward(struct role_uplink *r)
{
    const struct ipc_setup *s = (const struct ipc_setup *)(const void *)r->msg.body;
    if (r->rings != NULL)
        return SK_EPROTO;
    int rc = ipc_rings_map(r->msg.fd[0], s->rings, s->ring_size, &r->rings);
    if (rc != SK_OK)
        return rc;
    ipc_consumer_init(&r->ring, r->rings, 0);
    r->wake_fd = r->msg.fd[1];
    r->msg.fd[1] = -1;
    return SK_OK;
}

static int on_start(struct role_uplink *r)
{
    char why[512];
    if (r->u != NULL || r->conf == NULL || r->rings == NULL)
        return SK_EPROTO;
    const struct conf_manager *m = &r->conf->manager;
    const struct uplink_options o = {.dir = m->state_dir,
                                     .spool_size = m->spool_size,
                                     .version = SK_VERSION,
                                     .take_blocks = m->fleet_blocks,
                                     .take_rules = m->rules,
                                     .take_policy = m->policy};
    const struct uplink_sink s = {.arg = r,
                                  .fleet = on_fleet,
                                  .fleet_done = on_fleet_done,
                                  .bundle = on_bundle,
                                  .state = on_state,
                                  .found = on_found};
    int rc = uplink_open(&o, &s, &r->u, why, sizeof(why));
    if (rc != SK_OK) {
        sk_log(SK_LOG_ERROR, "%s", why);
        return rc;
    }
    return tell(IPC_READY);
}

static int on_message(struct role_uplink *r)
{
    const void *body = r->msg.body;
    switch (r->msg.type) {
    case IPC_BUNDLE: return on_conf(r);
    case IPC_FORWARD: return on_forward(r);
    case IPC_START: return on_start(r);
    case IPC_STOP: r->stopping = true; return SK_OK;
    default: break;
    }
    if (r->u == NULL)
        return SK_EPROTO;
    switch (r->msg.type) {
    case IPC_BLOCK_NEWS: uplink_block(r->u, (const struct ipc_block_news *)body); return SK_OK;
    case IPC_SIGNED_DONE: uplink_bundle_done(r->u, (const struct ipc_signed_done *)body); return SK_OK;
    case IPC_LOOK_UP: uplink_look_up(r->u, (const struct ipc_look_up *)body); return SK_OK;
    default: return SK_EPROTO;
    }
}

/* SK_EAGAIN: there may be more. SK_EEND: the guard is gone. */
static int drain_channel(struct role_uplink *r)
{
    for (unsigned i = 0; i < TURN_MESSAGES && !r->stopping; i++) {
        int rc = ipc_recv(ROLE_FD_CHANNEL, &r->msg);
        if (rc != SK_OK)
            return rc == SK_EAGAIN ? SK_OK : rc;
        rc = on_message(r);
        ipc_msg_close(&r->msg);
        if (rc != SK_OK)
            return rc;
    }
    return SK_EAGAIN;
}

/* Lines of events, from the reporter. True: there may be more. */
static bool drain_ring(struct role_uplink *r)
{
    for (unsigned i = 0; r->u != NULL && i < TURN_EVENTS; i++) {
        uint32_t len;
        int rc = ipc_consume(&r->ring, r->line, sizeof(r->line), &len);
        if (rc == SK_EAGAIN)
            return false;
        if (rc == SK_OK)
            uplink_event(r->u, r->line, len);
    }
    return r->u != NULL;
}

/* --- */

static void wait_without_uplink(void)
{
    struct pollfd p = {.fd = ROLE_FD_CHANNEL, .events = POLLIN};
    (void)poll(&p, 1, 1000);
}

static int turn(struct role_uplink *r, bool more)
{
    struct pollfd p[2] = {{.fd = ROLE_FD_CHANNEL, .events = POLLIN}, {.fd = r->wake_fd, .events = POLLIN}};
    more |= ipc_consumer_sleep(&r->ring);
    int rc = uplink_run(r->u, p, 2, more ? 0 : 1000);
    if (p[1].revents & POLLIN) {
        uint64_t v;
        (void)!read(r->wake_fd, &v, sizeof(v));
    }
    return rc;
}

static void say_alive(struct role_uplink *r)
{
    int64_t now = sk_now_mono();
    if (r->u == NULL || now < r->next_alive)
        return;
    r->next_alive = now + SK_NS_PER_S;
    (void)!tell(IPC_ALIVE);
}

static int loop(struct role_uplink *r)
{
    for (;;) {
        int rc = drain_channel(r);
        bool more = rc == SK_EAGAIN;
        if (rc != SK_OK && rc != SK_EAGAIN)
            return rc;
        more |= drain_ring(r);
        if (r->stopping)
            return SK_OK;
        say_alive(r);
        if (r->u == NULL)
            wait_without_uplink();
        else if ((rc = turn(r, more)) != SK_OK)
            return rc;
    }
}

/* What the reporter has passed on by now, and what waits, as far as there is time. */
static void finish(struct role_uplink *r)
{
    if (r->u == NULL)
        return;
    while (drain_ring(r))
        ;
    (void)!uplink_drain(r->u, DRAIN_MS);
    uplink_close(r->u);
}

int role_uplink(int argc, char **argv)
{
    bool confined = false;
    if (role_enter(ROLE_UPLINK, argc, argv, &confined) != SK_OK)
        return CLI_FAILED;
    static struct role_uplink r = {.wake_fd = -1};
    struct ipc_hello hello = {.pid = getpid(), .confined = confined};
    int rc = ipc_send(ROLE_FD_CHANNEL, IPC_HELLO, &hello, NULL, 0);
    if (rc == SK_OK)
        rc = loop(&r);
    if (rc == SK_OK)
        finish(&r);
    else if (rc != SK_EEND)
        sk_log(SK_LOG_ERROR, "stopped: %s", sk_strerror(rc));
    _exit(rc == SK_OK ? CLI_OK : CLI_FAILED); /* not exit: handlers of libraries would want system calls */
}
