/* Interfaces: which are watched, and their capture sockets, one a worker. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "capture/capture.h"
#include "guard.h"

static unsigned flags_of(const char *name)
{
    struct ifreq r = {0};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return 0;
    strncpy(r.ifr_name, name, sizeof(r.ifr_name) - 1);
    int rc = ioctl(s, SIOCGIFFLAGS, &r);
    close(s);
    return rc == 0 ? (unsigned short)r.ifr_flags : 0;
}

/* A port of a bridge or bond: its packets are seen at the master. */
static bool is_slave(const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/class/net/%s/master", name);
    return access(path, F_OK) == 0;
}

static bool wanted(const struct guard *g, const char *name)
{
    if (g->iface_auto) {
        unsigned f = flags_of(name);
        return (f & IFF_UP) && !(f & IFF_LOOPBACK) && !is_slave(name);
    }
    for (uint32_t i = 0; i < g->conf->capture.interfaces.n; i++)
        if (strcmp(g->conf->capture.interfaces.v[i], name) == 0)
            return true;
    return false;
}

static struct guard_iface *find(struct guard *g, const char *name)
{
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        if (strcmp(g->iface[i].name, name) == 0 && g->iface[i].leave_at == 0)
            return &g->iface[i];
    return NULL;
}

/* Other programs may use fanout groups too; a group that is taken is another kind of error, and is said. */
static uint16_t fanout_id(const struct guard *g, unsigned ifindex)
{
    if (g->workers == 1)
        return 0;
    uint16_t id = (uint16_t)((unsigned)getpid() * 31u + ifindex);
    return id != 0 ? id : 1;
}

static unsigned count(const struct guard *g)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        n += g->iface[i].name[0] != '\0';
    return n;
}

static void close_fds(struct guard_iface *f)
{
    for (unsigned w = 0; w < SK_MAX_WORKERS; w++) {
        if (f->fd[w] >= 0)
            close(f->fd[w]);
        f->fd[w] = -1;
    }
}

/* Rings are memory that the kernel does not give back: a typing error must not take all of it. */
static bool too_much(struct guard *g, const char *name)
{
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t need = (uint64_t)(count(g) + 1) * g->workers * g->geometry.ring_size;
    if (need <= all / 2)
        return false;
    if (!g->iface_full_said)
        sk_log(SK_LOG_ERROR,
               "%s is not watched: capture rings would take %llu MiB, more than half of the memory; lower "
               "capture.ring-size or capture.workers, or name fewer interfaces",
               name, (unsigned long long)(need >> 20));
    g->iface_full_said = true;
    return true;
}

static int open_iface(struct guard *g, struct guard_iface *f, const char *name, unsigned ifindex)
{
    char err[256];
    struct capture_ring_conf rc = {.ring_size = g->geometry.ring_size,
                                   .block_size = g->geometry.block_size,
                                   .block_timeout = g->geometry.block_timeout,
                                   .snaplen = g->geometry.snaplen < SK_MAX_FRAME ? g->geometry.snaplen : 0,
                                   .fanout_id = fanout_id(g, ifindex),
                                   .promisc = g->conf->capture.promisc,
                                   .outgoing = true};
    if (too_much(g, name))
        return SK_EFULL;
    for (unsigned w = 0; w < g->workers; w++) {
        int e = capture_ring_socket(name, &rc, &f->fd[w], err);
        if (e != SK_OK) {
            f->fd[w] = -1;
            close_fds(f);
            sk_log(SK_LOG_ERROR, "%s", err);
            return e;
        }
    }
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->ifindex = ifindex;
    f->serial = ++g->iface_serial;
    f->leave_at = 0;
    f->told = false;
    return SK_OK;
}

static void send_iface(struct guard *g, enum guard_role role, const struct guard_iface *f)
{
    struct ipc_ring_note n = {.iface = (uint16_t)(f - g->iface), .serial = f->serial};
    struct guard_child *c = &g->child[role];
    if (c->pid == 0)
        return;
    memcpy(n.name, f->name, sizeof(n.name));
    int rc = SK_OK;
    if (role == GUARD_REPORTER)
        rc = ipc_send(c->chan, IPC_IFACE, &n, NULL, 0);
    for (unsigned w = 0; role == GUARD_ENGINE && w < g->workers && rc == SK_OK; w++) {
        n.worker = (uint16_t)w;
        rc = ipc_send(c->chan, IPC_RING, &n, &f->fd[w], 1);
    }
    if (rc != SK_OK && rc != SK_EEND)
        guard_child_kill(g, role, "does not take messages");
}

/* False: not all workers have been told; again later. */
static bool tell_gone(struct guard *g, const struct guard_iface *f)
{
    struct ipc_ring_note n = {.iface = (uint16_t)(f - g->iface), .serial = f->serial};
    for (unsigned w = 0; w < g->workers; w++) {
        n.worker = (uint16_t)w;
        if (ipc_send(g->child[GUARD_ENGINE].chan, IPC_RING_GONE, &n, NULL, 0) != SK_OK)
            return false; /* a dead engine is noticed elsewhere */
    }
    return true;
}

static bool is_let_go(const struct guard *g, const struct guard_iface *f)
{
    for (unsigned w = 0; w < g->workers; w++)
        if (sk_ring_load(&g->status->worker[w].ring[f - g->iface].let_go) != f->serial)
            return false;
    return true;
}

static void close_iface(struct guard *g, struct guard_iface *f, enum sk_counter cause)
{
    guard_ledger_close(g, f, cause);
    close_fds(f);
    f->name[0] = '\0';
    f->leave_at = 0;
    g->watch_pending = true; /* there is room for another one */
}

void guard_iface_leave(struct guard *g, bool all_gone)
{
    int64_t now = sk_now_mono();
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++) {
        struct guard_iface *f = &g->iface[i];
        if (f->name[0] == '\0' || f->leave_at == 0)
            continue;
        if (all_gone || (f->told && is_let_go(g, f)))
            close_iface(g, f, SK_C_LP_IFACE_GONE);
        else if (now > f->leave_at + GUARD_STUCK) /* places for interfaces are few */
            guard_child_kill(g, GUARD_ENGINE, "does not let go of an interface that has gone");
        else if (!f->told && now >= f->leave_at && g->child[GUARD_ENGINE].pid != 0)
            f->told = tell_gone(g, f);
    }
}

/* The kernel adds nothing to its rings any more; the engine reads what is there. */
static void drop(struct guard_iface *f)
{
    sk_log(SK_LOG_INFO, "interface %s is gone", f->name);
    f->leave_at = sk_now_mono() + GUARD_LEAVE_TIME;
}

static void add(struct guard *g, const char *name, unsigned ifindex)
{
    struct guard_iface *f = NULL;
    for (unsigned i = 0; f == NULL && i < SK_MAX_INTERFACES; i++)
        if (g->iface[i].name[0] == '\0')
            f = &g->iface[i];
    if (f == NULL) {
        g->iface_unwatched++;
        if (!g->iface_full_said)
            sk_log(SK_LOG_ERROR, "more than %d interfaces: %s is not watched", SK_MAX_INTERFACES, name);
        g->iface_full_said = true;
        return;
    }
    if (open_iface(g, f, name, ifindex) != SK_OK) {
        g->iface_unwatched++;
        return;
    }
    sk_log(SK_LOG_INFO, "watching interface %s", name);
    send_iface(g, GUARD_REPORTER, f);
    send_iface(g, GUARD_ENGINE, f);
}

void guard_iface_rescan(struct guard *g)
{
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++) {
        struct guard_iface *f = &g->iface[i];
        /* Down is not gone: the socket goes on when it comes back. A new index is a new interface of that name. */
        if (f->name[0] != '\0' && f->leave_at == 0 && if_nametoindex(f->name) != f->ifindex)
            drop(f);
    }
    struct if_nameindex *all = if_nameindex();
    g->iface_unwatched = 0;
    for (struct if_nameindex *p = all; p != NULL && p->if_index != 0; p++)
        if (find(g, p->if_name) == NULL && wanted(g, p->if_name))
            add(g, p->if_name, p->if_index);
    if (all != NULL)
        if_freenameindex(all);
}

/* On the command line, by somebody who sees what is there. */
static bool typed(const struct guard *g)
{
    static const char key[] = "capture.interfaces=";
    for (unsigned i = 0; i < g->opt.nsets; i++)
        if (strncmp(g->opt.sets[i], key, sizeof(key) - 1) == 0)
            return true;
    return false;
}

json_t *guard_iface_missing(const struct guard *g)
{
    const struct conf_list *names = &g->conf->capture.interfaces;
    json_t *a = json_array();
    for (uint32_t i = 0; !g->iface_auto && i < names->n; i++)
        if (if_nametoindex(names->v[i]) == 0)
            json_array_append_new(a, json_string(names->v[i]));
    return a;
}

int guard_iface_start(struct guard *g)
{
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        for (unsigned w = 0; w < SK_MAX_WORKERS; w++)
            g->iface[i].fd[w] = -1;
    const struct conf_list *names = &g->conf->capture.interfaces;
    g->iface_auto = names->n == 0 || (names->n == 1 && strcmp(names->v[0], "auto") == 0);
    for (uint32_t i = 0; !g->iface_auto && i < names->n; i++) {
        if (if_nametoindex(names->v[i]) != 0)
            continue;
        if (typed(g)) {
            sk_log(SK_LOG_ERROR, "no such interface: %s (`ip link` lists them)", names->v[i]);
            return SK_ENOENT;
        }
        sk_log(SK_LOG_WARN, "interface %s is not there yet: waiting for it", names->v[i]);
    }
    guard_iface_rescan(g);
    if (count(g) == 0 && g->iface_auto && g->iface_unwatched == 0)
        sk_log(SK_LOG_WARN, "no interface is up yet; waiting for one");
    for (uint32_t i = 0; !g->iface_auto && i < names->n; i++) /* one may be named twice */
        if (find(g, names->v[i]) == NULL && if_nametoindex(names->v[i]) != 0)
            return SK_EIO; /* which has been said */
    return SK_OK;
}

void guard_iface_send_all(struct guard *g, enum guard_role role)
{
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        if (g->iface[i].name[0] != '\0')
            send_iface(g, role, &g->iface[i]);
}

void guard_iface_mute(struct guard *g)
{
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        for (unsigned w = 0; w < g->workers; w++)
            if (g->iface[i].fd[w] >= 0)
                capture_ring_mute(g->iface[i].fd[w]);
}

void guard_iface_close(struct guard *g)
{
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        if (g->iface[i].name[0] != '\0')
            close_iface(g, &g->iface[i], g->iface[i].leave_at != 0 ? SK_C_LP_IFACE_GONE : SK_C_LP_STOPPING);
}

static bool addr_of(const struct sockaddr *sa, struct sk_addr *out)
{
    if (sa == NULL || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6))
        return false;
    if (sa->sa_family == AF_INET)
        *out = sk_addr_from_v4(&((const struct sockaddr_in *)(const void *)sa)->sin_addr);
    else
        *out = sk_addr_from_v6(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
    return !sk_addr_is_special(out);
}

bool guard_home_update(struct guard *g)
{
    char text[sizeof(g->home)], buf[SK_ADDR_STRLEN];
    size_t n = 0;
    struct ifaddrs *all, *p;
    if (getifaddrs(&all) != 0)
        return false;
    for (p = all; p != NULL; p = p->ifa_next) {
        struct sk_addr a;
        if (!addr_of(p->ifa_addr, &a) || (p->ifa_flags & IFF_LOOPBACK) || n + SK_ADDR_STRLEN + 3 > sizeof(text))
            continue;
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%c%s", n == 0 ? '[' : ',', sk_addr_format(&a, buf));
    }
    freeifaddrs(all);
    if (n == 0)
        return false; /* no address yet: keep what there was, or the private networks */
    text[n++] = ']';
    text[n] = '\0';
    if (strcmp(text, g->home) == 0)
        return false;
    memcpy(g->home, text, n + 1);
    return true;
}
