/*
 * sock_diag(7), linux/inet_diag.h. Two steps: the socket is looked up by its four numbers and must be that connection;
 * then it is destroyed by the cookie that the answer bore. One step would not do: where there is no such connection the
 * kernel goes on to the socket that listens on the port, and destroys that. An IPv4 request also finds the IPv6 socket
 * of a connection that came to a dual-stack listener.
 */
#include "enforce/sockkill.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

struct sockkill_diag {
    struct mnl_socket *sk;
    uint32_t seq;
};

/* What an answer brought. */
struct seen {
    const struct sockkill_conn *want;
    bool found;
    uint32_t cookie[2];
};

static void put_addr(uint32_t to[4], const struct sk_addr *a, bool v4)
{
    memset(to, 0, 16);
    memcpy(to, v4 ? a->b + 12 : a->b, v4 ? 4 : 16);
}

static bool same_addr(const uint32_t is[4], const struct sk_addr *a, uint8_t family)
{
    struct sk_addr x = family == AF_INET ? sk_addr_from_v4(is) : sk_addr_from_v6(is);
    return sk_addr_eq(&x, a);
}

static int on_socket(const struct nlmsghdr *h, void *arg)
{
    struct seen *s = arg;
    if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || mnl_nlmsg_get_payload_len(h) < sizeof(struct inet_diag_msg))
        return MNL_CB_OK;
    const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);
    const struct sockkill_conn *c = s->want;
    if (m->idiag_state == TCP_LISTEN || m->idiag_state == TCP_CLOSE || m->idiag_state == TCP_TIME_WAIT ||
        m->id.idiag_sport != htons(c->lport) || m->id.idiag_dport != htons(c->pport) ||
        !same_addr(m->id.idiag_src, &c->local, m->idiag_family) ||
        !same_addr(m->id.idiag_dst, &c->peer, m->idiag_family))
        return MNL_CB_OK;
    memcpy(s->cookie, m->id.idiag_cookie, sizeof s->cookie);
    s->found = true;
    return MNL_CB_OK;
}

static int error_of(int err)
{
    switch (err) {
    case ENOENT: return SK_ENOENT;
    case EOPNOTSUPP: return SK_ENOTSUP;
    case EPERM:
    case EACCES: return SK_EPERM;
    default: return SK_EIO;
    }
}

/* One request and its answers. The kernel works while it is sent: they are there then. */
static int talk(struct sockkill_diag *d, struct nlmsghdr *h, mnl_cb_t cb, void *arg)
{
    _Alignas(8) char buf[8192];
    unsigned port = mnl_socket_get_portid(d->sk);
    h->nlmsg_seq = ++d->seq;
    if (mnl_socket_sendto(d->sk, h, h->nlmsg_len) < 0)
        return SK_EIO;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(d->sk, buf, sizeof buf);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return SK_EIO;
        const struct nlmsghdr *first = (const struct nlmsghdr *)(const void *)buf;
        if ((size_t)n >= sizeof *first && first->nlmsg_seq != d->seq)
            continue; /* late, of a request that was given up */
        int rc = mnl_cb_run(buf, (size_t)n, d->seq, port, cb, arg);
        if (rc < 0)
            return error_of(errno);
        if (rc == MNL_CB_STOP)
            return SK_OK;
    }
}

static struct nlmsghdr *request(char *buf, uint16_t type, uint16_t flags, const struct sockkill_conn *c)
{
    bool v4 = sk_addr_is_v4(&c->local) && sk_addr_is_v4(&c->peer);
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = flags;
    struct inet_diag_req_v2 *r = mnl_nlmsg_put_extra_header(h, sizeof *r);
    r->sdiag_family = v4 ? AF_INET : AF_INET6;
    r->sdiag_protocol = IPPROTO_TCP;
    r->id.idiag_sport = htons(c->lport);
    r->id.idiag_dport = htons(c->pport);
    put_addr(r->id.idiag_src, &c->local, v4);
    put_addr(r->id.idiag_dst, &c->peer, v4);
    r->id.idiag_cookie[0] = r->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    return h;
}

#define REQUEST_LEN (NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct inet_diag_req_v2)))

static int look_up(struct sockkill_diag *d, const struct sockkill_conn *c, struct seen *s)
{
    _Alignas(8) char buf[REQUEST_LEN];
    *s = (struct seen){.want = c};
    /* With NLM_F_ACK, so that the end of the answer is seen. */
    int rc = talk(d, request(buf, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_ACK, c), on_socket, s);
    return rc == SK_OK && !s->found ? SK_ENOENT : rc;
}

static int destroy(void *ctx, const struct sockkill_conn *c)
{
    _Alignas(8) char buf[REQUEST_LEN];
    struct sockkill_diag *d = ctx;
    struct seen s;
    int rc = look_up(d, c, &s);
    if (rc != SK_OK)
        return rc;
    struct nlmsghdr *h = request(buf, SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, c);
    struct inet_diag_req_v2 *r = mnl_nlmsg_get_payload(h);
    memcpy(r->id.idiag_cookie, s.cookie, sizeof s.cookie);
    rc = talk(d, h, NULL, NULL);
    /* Older kernels say so of a connection, too, that has come to TIME_WAIT meanwhile. */
    return rc == SK_ENOTSUP && look_up(d, c, &s) == SK_ENOENT ? SK_ENOENT : rc;
}

const struct sockkill_ops sockkill_kernel_ops = {.destroy = destroy};

/* A list of sockets in no state at all: empty, unless there is nobody to make it. A look-up would not tell the two
 * apart. */
static int probe(struct sockkill_diag *d)
{
    _Alignas(8) char buf[REQUEST_LEN];
    static const struct sockkill_conn none;
    struct nlmsghdr *h = request(buf, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, &none);
    struct inet_diag_req_v2 *r = mnl_nlmsg_get_payload(h);
    r->sdiag_family = AF_INET;
    int rc = talk(d, h, NULL, NULL);
    return rc == SK_ENOENT ? SK_ENOTSUP : rc;
}

int sockkill_diag_open(struct sockkill_diag **out)
{
    struct timeval tv = {.tv_sec = 1};
    struct sockkill_diag *d = calloc(1, sizeof *d);
    if (!d)
        return SK_ENOMEM;
    d->sk = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
    int rc = SK_EIO;
    if (d->sk && mnl_socket_bind(d->sk, 0, MNL_SOCKET_AUTOPID) == 0) {
        (void)setsockopt(mnl_socket_get_fd(d->sk), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        rc = probe(d);
    }
    if (rc != SK_OK) {
        sockkill_diag_close(d);
        return rc;
    }
    *out = d;
    return SK_OK;
}

void sockkill_diag_close(struct sockkill_diag *d)
{
    if (!d)
        return;
    if (d->sk)
        mnl_socket_close(d->sk);
    free(d);
}
