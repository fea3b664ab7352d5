#include "ipc/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/limits.h"

struct head {
    uint32_t magic;
    uint16_t version, type;
    uint32_t len;
};

static const struct {
    const char *name;
    uint32_t size;
    unsigned nfds;
} types[IPC_TYPE_COUNT] = {
#define X(id, body, n) [IPC_##id] = {#id, sizeof(body), n},
    IPC_TYPES(X)
#undef X
};

_Static_assert(sizeof(struct decide_request) <= IPC_BODY_MAX && sizeof(struct ipc_event) <= IPC_BODY_MAX &&
                   sizeof(struct ipc_loaded) <= IPC_BODY_MAX && sizeof(struct ipc_found) <= IPC_BODY_MAX &&
                   sizeof(struct ipc_manager) <= IPC_BODY_MAX,
               "every body fits");

static bool type_valid(unsigned type)
{
    return type > IPC_NONE && type < IPC_TYPE_COUNT;
}

uint32_t ipc_body_size(enum ipc_type type)
{
    return type_valid(type) ? types[type].size : 0;
}

unsigned ipc_type_fds(enum ipc_type type)
{
    return type_valid(type) ? types[type].nfds : 0;
}

const char *ipc_type_name(enum ipc_type type)
{
    return type_valid(type) ? types[type].name : "unknown";
}

int ipc_pair(int sv[2], int bytes)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) != 0)
        return SK_EIO;
    for (int i = 0; i < 2 && bytes > 0; i++) {
        /* With CAP_NET_ADMIN past the system's limit; without, cut to it silently, which is as good as it gets. */
        if (setsockopt(sv[i], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0)
            (void)setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    }
    return SK_OK;
}

static int send_error(int err)
{
    if (err == EAGAIN || err == EWOULDBLOCK || err == ENOBUFS || err == ETOOMANYREFS)
        return SK_EAGAIN;
    if (err == EPIPE || err == ECONNRESET || err == ENOTCONN || err == ECONNREFUSED)
        return SK_EEND;
    return SK_EIO;
}

int ipc_send(int fd, enum ipc_type type, const void *body, const int *fds, unsigned nfds)
{
    if (!type_valid(type) || nfds != types[type].nfds)
        return SK_EINVAL;
    struct head h = {.magic = IPC_MAGIC, .version = IPC_VERSION, .type = (uint16_t)type, .len = types[type].size};
    struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)(uintptr_t)body, types[type].size}};
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(IPC_FDS_MAX * sizeof(int))] = {0};
    if (nfds > 0) {
        mh.msg_control = control;
        mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? send_error(errno) : SK_OK;
}

static bool text_ends(const char *s, size_t cap)
{
    return memchr(s, '\0', cap) != NULL;
}

static bool time_valid(int64_t ns)
{
    return ns >= 0;
}

static bool news_valid(const struct ipc_block_news *n)
{
    return n->op < IPC_BLOCK_OPS && n->origin < IPC_ORIGINS && n->cause < DECIDE_REASON_COUNT && n->why < IPC_WHYS &&
           n->target.len <= 128 && time_valid(n->created) && time_valid(n->expires) && time_valid(n->ended) &&
           text_ends(n->id, sizeof(n->id)) && text_ends(n->reason, sizeof(n->reason));
}

/* Of what comes from the network by way of the uplink; whether anybody may be blocked so the enforcer says. */
static bool fleet_valid(const struct ipc_fleet *f)
{
    return (f->op == IPC_BLOCK_SET || f->op == IPC_BLOCK_END || f->op == IPC_BLOCK_BEGIN) && f->target.len <= 128 &&
           time_valid(f->created) && time_valid(f->expires) && text_ends(f->id, sizeof(f->id)) &&
           text_ends(f->host, sizeof(f->host)) && text_ends(f->reason, sizeof(f->reason));
}

static bool manager_valid(const struct ipc_manager *m)
{
    return m->state < IPC_MANAGER_STATES && m->naddr <= IPC_MANAGER_ADDR && time_valid(m->since) &&
           time_valid(m->last_ok) && time_valid(m->cert_until) && text_ends(m->agent, sizeof(m->agent)) &&
           text_ends(m->url, sizeof(m->url)) && text_ends(m->text, sizeof(m->text));
}

static bool found_valid(const struct ipc_found *f)
{
    bool good = f->state < IPC_FOUND_STATES && f->nsets <= IPC_WAF_SETS && time_valid(f->expires) &&
                text_ends(f->host, sizeof(f->host)) && text_ends(f->block, sizeof(f->block));
    for (unsigned i = 0; i < IPC_WAF_SETS; i++)
        good = good && text_ends(f->set[i], sizeof(f->set[i]));
    return good;
}

static bool signed_done_valid(const struct ipc_signed_done *d)
{
    return d->kind < IPC_SIGNED_KINDS && text_ends(d->text, sizeof(d->text));
}

/* Values that receivers use as lengths or indices, or print. */
static bool body_valid(enum ipc_type type, const void *body)
{
    switch (type) {
    case IPC_SETUP: {
        const struct ipc_setup *s = (const struct ipc_setup *)body;
        return s->workers >= 1 && s->workers <= SK_MAX_WORKERS && s->rings == s->workers + 1;
    }
    case IPC_RING:
    case IPC_RING_GONE:
    case IPC_IFACE: {
        const struct ipc_ring_note *r = (const struct ipc_ring_note *)body;
        return r->iface < SK_MAX_INTERFACES && r->worker < SK_MAX_WORKERS && text_ends(r->name, sizeof(r->name));
    }
    case IPC_LOADED: return text_ends(((const struct ipc_loaded *)body)->text, IPC_TEXT_MAX);
    case IPC_BLOCK: {
        const struct decide_request *q = (const struct decide_request *)body;
        return q->target.len <= 128 && q->evidence_len <= DECIDE_EVIDENCE_MAX && text_ends(q->msg, sizeof(q->msg));
    }
    case IPC_EVENT: {
        const struct ipc_event *e = (const struct ipc_event *)body;
        return e->len <= sizeof(e->rec);
    }
    case IPC_FORWARD: return ((const struct ipc_setup *)body)->rings == 1;
    case IPC_BLOCK_NEWS: return news_valid((const struct ipc_block_news *)body);
    case IPC_FLEET: return fleet_valid((const struct ipc_fleet *)body);
    case IPC_SIGNED: return ((const struct ipc_signed *)body)->kind < IPC_SIGNED_KINDS;
    case IPC_SIGNED_DONE: return signed_done_valid((const struct ipc_signed_done *)body);
    case IPC_MANAGER: return manager_valid((const struct ipc_manager *)body);
    case IPC_LOOK_UP: return ((const struct ipc_look_up *)body)->target.len <= 128;
    case IPC_FOUND: return found_valid((const struct ipc_found *)body);
    default: return true;
    }
}

int ipc_decode(const void *buf, size_t len, unsigned nfds, struct ipc_msg *m)
{
    struct head h;
    if (len < sizeof(h))
        return SK_EPROTO;
    memcpy(&h, buf, sizeof(h));
    if (h.magic != IPC_MAGIC || h.version != IPC_VERSION || !type_valid(h.type))
        return SK_EPROTO;
    if (h.len != types[h.type].size || h.len != len - sizeof(h) || nfds != types[h.type].nfds)
        return SK_EPROTO;
    m->type = (enum ipc_type)h.type;
    m->len = h.len;
    memcpy(m->body, (const uint8_t *)buf + sizeof(h), h.len);
    return body_valid(m->type, m->body) ? SK_OK : SK_EPROTO;
}

void ipc_msg_close(struct ipc_msg *m)
{
    for (unsigned i = 0; i < m->nfds; i++)
        if (m->fd[i] >= 0)
            close(m->fd[i]);
    m->nfds = 0;
}

/* Descriptors beyond what m can hold are closed, and make the message garbage. */
static bool take_fds(struct msghdr *mh, struct ipc_msg *m)
{
    bool fit = true;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (m->nfds < IPC_FDS_MAX) {
                m->fd[m->nfds++] = fd;
            } else {
                close(fd);
                fit = false;
            }
        }
    }
    return fit;
}

int ipc_recv(int fd, struct ipc_msg *m)
{
    _Alignas(8) uint8_t buf[sizeof(struct head) + IPC_BODY_MAX];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
    struct iovec iov = {buf, sizeof(buf)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    m->nfds = 0;
    ssize_t n;
    do {
        n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? SK_EAGAIN : errno == ECONNRESET ? SK_EEND : SK_EIO;
    bool fit = take_fds(&mh, m);
    if (n == 0 && m->nfds == 0)
        return SK_EEND;
    int rc = !fit || (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? SK_EPROTO : ipc_decode(buf, (size_t)n, m->nfds, m);
    if (rc != SK_OK)
        ipc_msg_close(m);
    return rc;
}
