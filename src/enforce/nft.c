#include "nft_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include "base/clock.h"

#define DUMP_TRIES 8
#define SNDBUF     (2 * NFT_TXN_BYTES)
#define RCVBUF     (4 << 20)

static int64_t kernel_clock(void *ctx)
{
    (void)ctx;
    return sk_now_mono();
}

const struct nft_ops nft_kernel_ops = {.setup = nft_shape_setup,
                                       .apply = nft_elems_apply,
                                       .list = nft_elems_list,
                                       .list_ranges = nft_elems_list_ranges,
                                       .get = nft_elems_get,
                                       .teardown = nft_shape_teardown,
                                       .clock = kernel_clock};

/* In-place timeout updates came with 6.12; before, a NEWSETELEM of a present element changes nothing. */
static bool kernel_updates(void)
{
    struct utsname u;
    unsigned major = 0, minor = 0;
    if (uname(&u) != 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
        return false;
    return major > 6 || (major == 6 && minor >= 12);
}

int nft_fail(struct nft *n, const char *what, int err)
{
    char text[96];
    snprintf(n->error, sizeof n->error, "%s: %s", what, strerror_r(err, text, sizeof text));
    errno = err;
    switch (err) {
    case EPERM:
    case EACCES: return SK_EPERM;
    case ENOENT: return SK_ENOENT;
    case EEXIST:
    case ENOTEMPTY: return SK_EEXIST;
    case EINTR:
    case EAGAIN:
    case EBUSY:
    case ENOBUFS: return SK_EAGAIN;
    case ENOMEM: return SK_ENOMEM;
    default: return SK_EIO;
    }
}

int nft_open(struct nft **out)
{
    struct nft *n = calloc(1, sizeof *n);
    if (!n)
        return SK_ENOMEM;
    int rc = SK_EIO;
    n->sk = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (!n->sk || mnl_socket_bind(n->sk, 0, MNL_SOCKET_AUTOPID) < 0) {
        rc = errno == EPERM ? SK_EPERM : SK_EIO;
        nft_close(n);
        return rc;
    }
    int fd = mnl_socket_get_fd(n->sk), size = SNDBUF, rsize = RCVBUF, one = 1;
    struct timeval tv = {.tv_sec = 10};
    /* Without CAP_NET_ADMIN the first command says so; the sizes do not matter then. */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &rsize, sizeof rsize);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    /* Errors without the message that they are about, which may be longer than what is read at once. */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
    n->portid = mnl_socket_get_portid(n->sk);
    n->seq = (uint32_t)time(NULL);
    n->no_update = !kernel_updates();
    *out = n;
    return SK_OK;
}

void nft_close(struct nft *n)
{
    if (!n)
        return;
    if (n->sk)
        mnl_socket_close(n->sk);
    free(n->buf);
    free(n);
}

void nft_set_no_update(struct nft *n)
{
    n->no_update = true;
}

const char *nft_error(const struct nft *n)
{
    return n->error;
}

/* ---- transactions ---- */

static char *txn_room(struct nft *n)
{
    if (n->cap - n->len < NFT_MSG_ROOM) {
        size_t cap = n->cap ? n->cap * 2 : 4 * NFT_MSG_ROOM;
        char *p = cap <= NFT_TXN_BYTES ? realloc(n->buf, cap) : NULL;
        if (!p) {
            n->txn_full = true;
            return NULL;
        }
        n->buf = p;
        n->cap = cap;
    }
    return n->buf + n->len;
}

void nft_txn_begin(struct nft *n)
{
    n->len = 0;
    n->txn_full = false;
    char *p = txn_room(n);
    if (p)
        nft_txn_done(n, nftnl_batch_begin(p, ++n->seq));
}

struct nlmsghdr *nft_txn_msg(struct nft *n, uint16_t type, uint16_t flags)
{
    char *p = txn_room(n);
    if (!p || n->txn_full)
        return NULL;
    return nftnl_nlmsg_build_hdr(p, type, NFPROTO_INET, flags, ++n->seq);
}

void nft_txn_done(struct nft *n, const struct nlmsghdr *nlh)
{
    n->last_seq = nlh->nlmsg_seq;
    n->len += MNL_ALIGN(nlh->nlmsg_len);
}

/* The kernel has queued every answer when sendmsg returns: errors in message order, then the one ACK asked for. */
static int txn_verdict(struct nft *n, const char *what)
{
    _Alignas(8) char buf[8192];
    int err = 0;
    bool acked = false;
    for (;;) {
        ssize_t r = recv(mnl_socket_get_fd(n->sk), buf, sizeof buf, MSG_DONTWAIT);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            if (errno != EAGAIN && err == 0)
                err = errno;
            break;
        }
        int len = (int)r;
        for (struct nlmsghdr *h = (struct nlmsghdr *)buf; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
            if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(struct nlmsgerr))
                continue;
            const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
            if (e->error != 0 && err == 0)
                err = -e->error;
            acked = acked || (e->error == 0 && h->nlmsg_seq == n->last_seq);
        }
    }
    if (err == 0 && !acked)
        err = EPROTO;
    return err == 0 ? SK_OK : nft_fail(n, what, err);
}

int nft_txn_commit(struct nft *n, const char *what)
{
    if (n->txn_full)
        return nft_fail(n, what, ENOMEM);
    /* last_seq is that of the last real message: ask for its ACK. */
    uint32_t want = n->last_seq;
    size_t off = 0;
    struct nlmsghdr *h = NULL;
    for (; off < n->len; off += MNL_ALIGN(h->nlmsg_len))
        h = (struct nlmsghdr *)(n->buf + off);
    if (!h || h->nlmsg_type == NFNL_MSG_BATCH_BEGIN)
        return SK_OK; /* nothing in it */
    h->nlmsg_flags |= NLM_F_ACK;
    char *p = txn_room(n);
    if (!p)
        return nft_fail(n, what, ENOMEM);
    nft_txn_done(n, nftnl_batch_end(p, ++n->seq));
    n->last_seq = want;
    ssize_t s;
    do
        s = mnl_socket_sendto(n->sk, n->buf, n->len);
    while (s < 0 && errno == EINTR);
    return s < 0 ? nft_fail(n, what, errno) : txn_verdict(n, what);
}

/* ---- queries ---- */

struct nlmsghdr *nft_query_msg(struct nft *n, char *buf, uint16_t type, uint16_t flags)
{
    return nftnl_nlmsg_build_hdr(buf, type, NFPROTO_INET, flags, ++n->seq);
}

static int query_once(struct nft *n, struct nlmsghdr *req, mnl_cb_t cb, void *arg)
{
    static _Alignas(8) char buf[65536];
    if (mnl_socket_sendto(n->sk, req, req->nlmsg_len) < 0)
        return errno;
    for (;;) {
        ssize_t r = mnl_socket_recvfrom(n->sk, buf, sizeof buf);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return errno;
        int c = mnl_cb_run(buf, (size_t)r, req->nlmsg_seq, n->portid, cb, arg);
        if (c < 0)
            return errno;
        if (c == MNL_CB_STOP)
            return 0;
    }
}

static void drain(struct nft *n)
{
    _Alignas(8) char buf[8192];
    while (recv(mnl_socket_get_fd(n->sk), buf, sizeof buf, MSG_DONTWAIT) >= 0 || errno == EINTR)
        ;
}

int nft_query(struct nft *n, struct nlmsghdr *req, mnl_cb_t cb, void (*reset)(void *), void *arg, const char *what)
{
    int err = 0;
    for (int i = 0; i < DUMP_TRIES; i++) {
        if (reset)
            reset(arg);
        req->nlmsg_seq = ++n->seq;
        err = query_once(n, req, cb, arg);
        if (err == 0)
            return SK_OK;
        drain(n);
        if (err != EINTR && err != EBUSY && err != ENOBUFS)
            break;
    }
    return nft_fail(n, what, err);
}

int nft_exchange(struct nft *n, struct nlmsghdr *req, mnl_cb_t cb, void *arg, int *err)
{
    _Alignas(8) char buf[8192];
    bool ended = false;
    *err = 0;
    req->nlmsg_flags |= NLM_F_ACK;
    if (mnl_socket_sendto(n->sk, req, req->nlmsg_len) < 0)
        return nft_fail(n, "cannot ask for elements", errno);
    for (;;) {
        ssize_t r = recv(mnl_socket_get_fd(n->sk), buf, sizeof buf, MSG_DONTWAIT);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            break;
        int len = (int)r;
        for (struct nlmsghdr *h = (struct nlmsghdr *)buf; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
            if (h->nlmsg_seq != req->nlmsg_seq)
                continue;
            if (h->nlmsg_type != NLMSG_ERROR) {
                (void)cb(h, arg);
            } else if (h->nlmsg_len >= MNL_NLMSG_HDRLEN + sizeof(struct nlmsgerr)) {
                *err = -((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
                ended = true;
            }
        }
    }
    return ended ? SK_OK : nft_fail(n, "no answer about elements", errno == EAGAIN ? EPROTO : errno);
}

static void count_element(void *arg, const struct nft_elem *e)
{
    (void)e;
    ++*(size_t *)arg;
}

int nft_clear(int64_t now, size_t *elements, char *why, size_t cap)
{
    struct nft *n;
    *elements = 0;
    int rc = nft_open(&n);
    if (rc != SK_OK) {
        snprintf(why, cap, "%s", sk_strerror(rc));
        return rc;
    }
    rc = nft_kernel_ops.list(n, now, count_element, elements);
    if (rc == SK_OK)
        rc = nft_kernel_ops.teardown(n);
    else if (rc == SK_ENOENT)
        rc = SK_OK;
    if (rc != SK_OK)
        snprintf(why, cap, "%s", nft_error(n));
    nft_close(n);
    return rc;
}
