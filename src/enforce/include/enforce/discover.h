/*
 * What this host must never cut itself off from, asked of the kernel over rtnetlink: addresses of all interfaces, local
 * routes, every next hop of every table (IPv4 and IPv6), and the resolvers of resolv.conf. As an option the networks
 * that it is connected to: those of addresses and of router advertisements, not what lies behind a point-to-point link.
 */
#ifndef ENFORCE_DISCOVER_H
#define ENFORCE_DISCOVER_H

#include "decide/never.h"

#define DISCOVER_RESOLV_CONF   "/etc/resolv.conf"
#define DISCOVER_RESOLVED_CONF "/run/systemd/resolve/resolv.conf" /* looked at beside the former */
#define DISCOVER_PERIOD_S      60 /* refresh this often besides notifications: resolv.conf announces nothing */

typedef void never_extra_fn(void *arg, struct never_list *l);
struct discover_what {
    const char *resolv_conf;
    bool local_nets;
    never_extra_fn *extra; /* adds entries of the caller's own; may be NULL */
    void *arg;
};
/* Rebuilds the discovered layer between never_begin and never_commit. *changed (may be NULL) as never_commit. On
 * failure the old layer stays. SK_EIO, SK_ENOMEM, SK_EFULL. */
SK_MUST_USE int never_discover(struct never_list *l, const struct discover_what *what, bool *changed);

/* A socket that becomes readable when addresses, routes or links change. */
SK_MUST_USE int discover_watch_open(int *fd);
/* Drains it. True: refresh now (also when notifications were lost). */
bool discover_watch_read(int fd);

#endif
