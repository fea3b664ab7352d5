/* Notifications about our table from changes that others made. */
#include "nft_priv.h"
#include "attrs.h"

#include <endian.h>
#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <sys/socket.h>

#define DRAIN_MAX 10000 /* notifications taken at once */

struct nft_monitor {
    struct mnl_socket *sk;
    uint32_t own;
};

/*
 * The kernel passes our own notifications over before they are queued, so that a batch of ours neither wakes nor
 * overflows this socket. nlmsg_pid is the fourth word of the first message; all messages of one datagram come from one
 * transaction. BPF loads big-endian, the header is in host order.
 */
static int skip_own(int fd, uint32_t own)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htobe32(own), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
    };
    struct sock_fprog prog = {.len = sizeof code / sizeof code[0], .filter = code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog);
}

int nft_monitor_open(const struct nft *n, struct nft_monitor **out)
{
    struct nft_monitor *m = calloc(1, sizeof *m);
    if (!m)
        return SK_ENOMEM;
    m->own = n->portid;
    int group = NFNLGRP_NFTABLES, size = 1 << 20;
    m->sk = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!m->sk || mnl_socket_bind(m->sk, 0, MNL_SOCKET_AUTOPID) < 0 ||
        mnl_socket_setsockopt(m->sk, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0 ||
        skip_own(mnl_socket_get_fd(m->sk), n->portid) < 0) {
        int rc = errno == EPERM ? SK_EPERM : SK_EIO;
        nft_monitor_close(m);
        return rc;
    }
    (void)setsockopt(mnl_socket_get_fd(m->sk), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    *out = m;
    return SK_OK;
}

void nft_monitor_close(struct nft_monitor *m)
{
    if (!m)
        return;
    if (m->sk)
        mnl_socket_close(m->sk);
    free(m);
}

int nft_monitor_fd(const struct nft_monitor *m)
{
    return mnl_socket_get_fd(m->sk);
}

/* Table name is attribute 1 of every nftables message but NEWGEN. */
static bool ours(const struct nft_monitor *m, const struct nlmsghdr *h)
{
    if (NFNL_SUBSYS_ID(h->nlmsg_type) != NFNL_SUBSYS_NFTABLES || NFNL_MSG_TYPE(h->nlmsg_type) == NFT_MSG_NEWGEN ||
        h->nlmsg_pid == m->own || mnl_nlmsg_get_payload_len(h) < sizeof(struct nfgenmsg))
        return false;
    const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
    if (g->nfgen_family != NFPROTO_INET)
        return false;
    const struct nlattr *a;
    attrs_for_each(a, h, sizeof *g)
    {
        if (mnl_attr_get_type(a) == NFTA_TABLE_NAME)
            return mnl_attr_get_payload_len(a) == sizeof NFT_TABLE_NAME &&
                   memcmp(mnl_attr_get_payload(a), NFT_TABLE_NAME, sizeof NFT_TABLE_NAME) == 0;
    }
    return false;
}

int nft_monitor_read(struct nft_monitor *m, bool *changed)
{
    static _Alignas(8) char buf[65536];
    *changed = false;
    for (int i = 0; i < DRAIN_MAX; i++) { /* others may write faster than this reads; the rest comes next time */
        ssize_t r = recv(mnl_socket_get_fd(m->sk), buf, sizeof buf, MSG_DONTWAIT);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && errno == ENOBUFS) {
            *changed = true;
            continue;
        }
        if (r < 0)
            return errno == EAGAIN ? SK_OK : SK_EIO;
        int len = (int)r;
        for (const struct nlmsghdr *h = (struct nlmsghdr *)buf; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len))
            *changed = *changed || ours(m, h);
    }
    return SK_OK;
}
