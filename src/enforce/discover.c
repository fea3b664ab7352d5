#include "enforce/discover.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "attrs.h"

#define DUMP_TRIES       5
#define DRAIN_MAX        10000 /* notifications taken at once */
#define RESOLV_LINE_MAX  512
#define RESOLV_LINES_MAX 1000

/* What an iteration over messages carries; the first failure sticks. */
struct find {
    struct never_list *l;
    bool local_nets;
    int rc;
};

static void found(struct find *f, enum never_kind kind, const struct sk_prefix *p, const char *text)
{
    int rc = never_add(f->l, kind, p, text);
    if (rc != SK_OK && f->rc == SK_OK)
        f->rc = rc;
}

static bool attr_addr(const struct nlattr *a, struct sk_addr *out)
{
    if (mnl_attr_get_payload_len(a) == 4)
        *out = sk_addr_from_v4(mnl_attr_get_payload(a));
    else if (mnl_attr_get_payload_len(a) == 16)
        *out = sk_addr_from_v6(mnl_attr_get_payload(a));
    else
        return false;
    return true;
}

static const char *if_name(unsigned index, char buf[IF_NAMESIZE])
{
    if (index == 0 || !if_indextoname(index, buf))
        snprintf(buf, IF_NAMESIZE, "if%u", index);
    return buf;
}

static void found_host(struct find *f, enum never_kind kind, const struct sk_addr *a, const char *what,
                       unsigned ifindex)
{
    char name[IF_NAMESIZE], text[NEVER_TEXT_MAX];
    struct sk_prefix p = sk_prefix_make(a, 128);
    snprintf(text, sizeof text, "%s %s", what, if_name(ifindex, name));
    found(f, kind, &p, text);
}

/* rtnetlink(7): IFA_LOCAL is the own address, on a point-to-point link IFA_ADDRESS is the peer's; IPv6 has only the
 * latter unless there is a peer. The peer is spared too: it is what the link leads to. */
static int see_addr(const struct nlmsghdr *h, void *arg)
{
    struct find *f = arg;
    if (h->nlmsg_type != RTM_NEWADDR || mnl_nlmsg_get_payload_len(h) < sizeof(struct ifaddrmsg))
        return MNL_CB_OK;
    const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
    const struct nlattr *a;
    attrs_for_each(a, h, sizeof *m)
    {
        struct sk_addr addr;
        uint16_t type = mnl_attr_get_type(a);
        if ((type == IFA_LOCAL || type == IFA_ADDRESS || type == IFA_ANYCAST) && attr_addr(a, &addr))
            found_host(f, NEVER_OWN, &addr, "address of", m->ifa_index);
        else if (type == IFA_BROADCAST && attr_addr(a, &addr))
            found_host(f, NEVER_BROADCAST, &addr, "broadcast address of", m->ifa_index);
    }
    return MNL_CB_OK;
}

/* RTA_VIA: a next hop of the other family (struct rtvia: family, then the address). */
static void see_via(struct find *f, const struct nlattr *a, unsigned oif)
{
    const uint8_t *p = mnl_attr_get_payload(a);
    size_t len = mnl_attr_get_payload_len(a);
    struct sk_addr addr;
    if (len == 2 + 4)
        addr = sk_addr_from_v4(p + 2);
    else if (len == 2 + 16)
        addr = sk_addr_from_v6(p + 2);
    else
        return;
    found_host(f, NEVER_GATEWAY, &addr, "next hop via", oif);
}

static void see_multipath(struct find *f, const struct nlattr *a)
{
    const struct rtnexthop *nh = mnl_attr_get_payload(a);
    size_t left = mnl_attr_get_payload_len(a);
    while (left >= sizeof *nh && nh->rtnh_len >= sizeof *nh && nh->rtnh_len <= left) {
        const struct nlattr *x;
        for (x = (const struct nlattr *)RTNH_DATA(nh);
             mnl_attr_ok(x, (int)((const char *)nh + nh->rtnh_len - (const char *)x)); x = mnl_attr_next(x)) {
            struct sk_addr addr;
            if (mnl_attr_get_type(x) == RTA_GATEWAY && attr_addr(x, &addr))
                found_host(f, NEVER_GATEWAY, &addr, "next hop via", (unsigned)nh->rtnh_ifindex);
            else if (mnl_attr_get_type(x) == RTA_VIA)
                see_via(f, x, (unsigned)nh->rtnh_ifindex);
        }
        size_t step = RTNH_ALIGN(nh->rtnh_len);
        if (step >= left)
            return;
        left -= step;
        nh = (const struct rtnexthop *)((const char *)nh + step);
    }
}

/* Local routes: addresses that this host answers to, also without carrying them (ip route add local 192.0.2.0/24). */
static void see_local(struct find *f, const struct rtmsg *m, const struct nlattr *dst, unsigned oif)
{
    struct sk_addr addr;
    char name[IF_NAMESIZE], text[NEVER_TEXT_MAX];
    if (!dst || !attr_addr(dst, &addr))
        return;
    unsigned len = m->rtm_dst_len + (m->rtm_family == AF_INET ? 96u : 0u);
    if (len > 128)
        return;
    struct sk_prefix p = sk_prefix_make(&addr, (uint8_t)len);
    snprintf(text, sizeof text, "local route via %s", if_name(oif, name));
    found(f, m->rtm_type == RTN_BROADCAST ? NEVER_BROADCAST : NEVER_OWN, &p, text);
}

static bool is_point_to_point(const char *ifname)
{
    struct ifreq r = {0};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return true;
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", ifname);
    bool p2p = ioctl(s, SIOCGIFFLAGS, &r) != 0 || (r.ifr_flags & IFF_POINTOPOINT);
    close(s);
    return p2p;
}

/*
 * A network on the other end of the cable: the kernel's own route of an address, or one that a router has advertised
 * (systemd-networkd sets these itself). A link with one peer is no network, whatever length its address was given.
 */
static void see_network(struct find *f, const struct rtmsg *m, const struct nlattr *dst, unsigned oif)
{
    struct sk_addr addr;
    char name[IF_NAMESIZE], text[NEVER_TEXT_MAX];
    unsigned host = m->rtm_family == AF_INET ? 32 : 128;
    bool own = m->rtm_protocol == RTPROT_KERNEL || m->rtm_protocol == RTPROT_RA;
    if (!f->local_nets || m->rtm_type != RTN_UNICAST || !own || !dst || !attr_addr(dst, &addr))
        return;
    if (m->rtm_dst_len == 0 || m->rtm_dst_len >= host || is_point_to_point(if_name(oif, name)))
        return;
    struct sk_prefix p = sk_prefix_make(&addr, (uint8_t)(m->rtm_dst_len + 128 - host));
    snprintf(text, sizeof text, "network of %s", name);
    found(f, NEVER_LOCAL_NET, &p, text);
}

static int see_route(const struct nlmsghdr *h, void *arg)
{
    struct find *f = arg;
    if (h->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(h) < sizeof(struct rtmsg))
        return MNL_CB_OK;
    const struct rtmsg *m = mnl_nlmsg_get_payload(h);
    if ((m->rtm_family != AF_INET && m->rtm_family != AF_INET6) || (m->rtm_flags & RTM_F_CLONED))
        return MNL_CB_OK;
    const struct nlattr *a, *dst = NULL, *gw = NULL, *via = NULL, *multi = NULL;
    unsigned oif = 0;
    attrs_for_each(a, h, sizeof *m)
    {
        switch (mnl_attr_get_type(a)) {
        case RTA_DST: dst = a; break;
        case RTA_GATEWAY: gw = a; break;
        case RTA_VIA: via = a; break;
        case RTA_MULTIPATH: multi = a; break;
        case RTA_OIF: oif = mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0; break;
        default: break;
        }
    }
    struct sk_addr addr;
    if (m->rtm_type == RTN_LOCAL || m->rtm_type == RTN_ANYCAST || m->rtm_type == RTN_BROADCAST)
        see_local(f, m, dst, oif);
    if (!gw && !via && !multi)
        see_network(f, m, dst, oif);
    if (gw && attr_addr(gw, &addr))
        found_host(f, NEVER_GATEWAY, &addr, "next hop via", oif);
    if (via)
        see_via(f, via, oif);
    if (multi)
        see_multipath(f, multi);
    return MNL_CB_OK;
}

static int dump_once(struct mnl_socket *sk, uint16_t type, uint8_t family, uint32_t seq, mnl_cb_t cb, void *arg)
{
    static _Alignas(8) char buf[65536];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    h->nlmsg_seq = seq;
    /* Both bodies begin with the family; the kernel takes the longer one for either. */
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, type == RTM_GETADDR ? sizeof(struct ifaddrmsg) : sizeof *m);
    m->rtm_family = family;
    if (mnl_socket_sendto(sk, h, h->nlmsg_len) < 0)
        return SK_EIO;
    for (;;) {
        ssize_t r = mnl_socket_recvfrom(sk, buf, sizeof buf);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return SK_EIO;
        int c = mnl_cb_run(buf, (size_t)r, seq, mnl_socket_get_portid(sk), cb, arg);
        if (c < 0)
            return errno == EINTR ? SK_EAGAIN : SK_EIO;
        if (c == MNL_CB_STOP)
            return SK_OK;
    }
}

/* A dump that the kernel says was interrupted is repeated: never_add ignores what is there already. */
static int dump(uint16_t type, uint8_t family, mnl_cb_t cb, void *arg)
{
    int rc = SK_EAGAIN;
    for (uint32_t i = 1; rc == SK_EAGAIN && i <= DUMP_TRIES; i++) {
        struct timeval tv = {.tv_sec = 10};
        struct mnl_socket *sk = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
        if (!sk || mnl_socket_bind(sk, 0, MNL_SOCKET_AUTOPID) < 0) {
            rc = SK_EIO;
        } else {
            (void)setsockopt(mnl_socket_get_fd(sk), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
            rc = dump_once(sk, type, family, i, cb, arg);
        }
        if (sk)
            mnl_socket_close(sk);
    }
    return rc;
}

/* Not a pipe, which could hold the guard: the file may belong to a resolver that runs without privileges. */
static FILE *open_text(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return NULL;
    FILE *in = NULL;
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
        errno = EINVAL;
    else
        in = fdopen(fd, "r");
    if (!in) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return in;
}

/*
 * resolv.conf(5): "nameserver ADDR", IPv6 perhaps with %zone. A missing file means the local host; one that is there
 * and cannot be read means that the resolvers are not known.
 */
static int resolvers(struct find *f, const char *path)
{
    char line[RESOLV_LINE_MAX];
    FILE *in = open_text(path);
    if (!in)
        return errno == ENOENT || errno == ENOTDIR ? SK_OK : SK_EIO;
    for (int n = 0; n < RESOLV_LINES_MAX && fgets(line, sizeof line, in); n++) {
        char *s = line + strspn(line, " \t");
        if (strncmp(s, "nameserver", 10) != 0 || (s[10] != ' ' && s[10] != '\t'))
            continue;
        s += 10;
        s += strspn(s, " \t");
        struct sk_addr addr;
        if (sk_addr_parse(s, strcspn(s, " \t\r\n%#;"), &addr) != SK_OK)
            continue;
        struct sk_prefix p = sk_prefix_make(&addr, 128);
        found(f, NEVER_RESOLVER, &p, "nameserver in resolv.conf");
    }
    int rc = ferror(in) ? SK_EIO : SK_OK;
    fclose(in);
    return rc;
}

/* systemd-resolved puts its own local address into resolv.conf, and those that it asks into another file. */
static int all_resolvers(struct find *f, const char *path)
{
    int rc = resolvers(f, path);
    if (rc == SK_OK && strcmp(path, DISCOVER_RESOLV_CONF) == 0)
        rc = resolvers(f, DISCOVER_RESOLVED_CONF);
    return rc;
}

int never_discover(struct never_list *l, const struct discover_what *what, bool *changed)
{
    struct find f = {.l = l, .local_nets = what->local_nets, .rc = SK_OK};
    if (changed)
        *changed = false;
    never_begin(l);
    int rc = dump(RTM_GETADDR, AF_UNSPEC, see_addr, &f);
    if (rc == SK_OK)
        rc = dump(RTM_GETROUTE, AF_INET, see_route, &f);
    if (rc == SK_OK)
        rc = dump(RTM_GETROUTE, AF_INET6, see_route, &f);
    if (rc == SK_OK)
        rc = all_resolvers(&f, what->resolv_conf);
    if (rc != SK_OK) {
        never_abort(l);
        return rc;
    }
    if (what->extra)
        what->extra(what->arg, l);
    bool c = never_commit(l);
    if (changed)
        *changed = c;
    return f.rc;
}

int discover_watch_open(int *fd)
{
    static const int groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
                                 RTNLGRP_IPV6_ROUTE};
    int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    struct sockaddr_nl any = {.nl_family = AF_NETLINK};
    if (s < 0)
        return SK_EIO;
    /* An unbound socket has port 0, which broadcasts by the kernel leave out. */
    if (bind(s, (struct sockaddr *)&any, sizeof any) != 0) {
        close(s);
        return SK_EIO;
    }
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof groups[i]) != 0) {
            close(s);
            return SK_EIO;
        }
    *fd = s;
    return SK_OK;
}

bool discover_watch_read(int fd)
{
    _Alignas(8) char buf[8192];
    bool any = false;
    for (int i = 0; i < DRAIN_MAX; i++) { /* what is left keeps the socket readable */
        ssize_t r = recv(fd, buf, sizeof buf, MSG_DONTWAIT | MSG_TRUNC);
        if (r >= 0 || errno == ENOBUFS)
            any = true;
        else if (errno != EINTR)
            break;
    }
    return any;
}
