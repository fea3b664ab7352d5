/* Notifications about our table from changes that others made. */
#include "nft_priv.h"
#include "attrs.h"

#include <endian.h>
#include <errno.h>
#include <libnftnl/set.h>
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

static bool named(const struct nlattr *a, const char *name)
{
    size_t len = strlen(name) + 1;
    return mnl_attr_get_payload_len(a) == len && memcmp(mnl_attr_get_payload(a), name, len) == 0;
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
            return named(a, NFT_TABLE_NAME);
    }
    return false;
}

struct hearing {
    struct nft_news *news;
    uint8_t set;
};

static int hear_host(struct nftnl_set_elem *el, void *arg)
{
    struct hearing *hear = arg;
    struct nft_news *n = hear->news;
    uint32_t len = 0, want = nft_sets[hear->set].key_len;
    const uint8_t *key = nftnl_set_elem_get(el, NFTNL_SET_ELEM_KEY, &len);
    if (!key || len < want || n->nhosts == NFT_NEWS_MAX) {
        n->lost = true;
        return 0;
    }
    struct nft_elem *e = &n->host[n->nhosts++];
    *e = (struct nft_elem){.set = hear->set, .first = want == 4 ? sk_addr_from_v4(key) : sk_addr_from_v6(key)};
    e->last = e->first;
    return 0;
}

/* Somebody else's set in our table is nothing to us. */
static void hear_elements(const struct nlmsghdr *h, struct nft_news *news)
{
    struct nftnl_set *s = nftnl_set_alloc();
    if (!s || nftnl_set_elems_nlmsg_parse(h, s) < 0) {
        news->lost = true;
        goto out;
    }
    const char *name = nftnl_set_get_str(s, NFTNL_SET_NAME);
    for (uint8_t i = 0; name && i < NFT_SET_IDS; i++) {
        struct hearing hear = {.news = news, .set = i};
        if (strcmp(name, nft_sets[i].name) != 0)
            continue;
        if (i == NFT_HOST4 || i == NFT_HOST6)
            (void)nftnl_set_elem_foreach(s, hear_host, &hear);
        else
            news->ranges[i - NFT_PREFIX4] = true;
    }
out:
    if (s)
        nftnl_set_free(s);
}

static void hear(const struct nlmsghdr *h, struct nft_news *news)
{
    uint16_t type = NFNL_MSG_TYPE(h->nlmsg_type);
    if (type == NFT_MSG_NEWSETELEM || type == NFT_MSG_DELSETELEM)
        hear_elements(h, news);
    else
        news->shape = true;
}

bool nft_monitor_read(struct nft_monitor *m, struct nft_news *news)
{
    static _Alignas(8) char buf[65536];
    news->shape = news->lost = news->ranges[0] = news->ranges[1] = false;
    news->nhosts = 0;
    for (int i = 0; i < DRAIN_MAX; i++) { /* others may write faster than this reads; the rest comes next time */
        ssize_t r = recv(mnl_socket_get_fd(m->sk), buf, sizeof buf, MSG_DONTWAIT);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && errno == ENOBUFS) {
            news->lost = true;
            continue;
        }
        if (r < 0)
            break;
        int len = (int)r;
        for (const struct nlmsghdr *h = (struct nlmsghdr *)buf; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len))
            if (ours(m, h))
                hear(h, news);
    }
    return news->shape || news->lost || news->ranges[0] || news->ranges[1] || news->nhosts > 0;
}
