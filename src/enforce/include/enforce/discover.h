/*
 * What this host must never cut itself off from, asked of the kernel over rtnetlink: addresses of all interfaces, local
 * routes, every next hop of every table (IPv4 and IPv6), and the resolvers of resolv.conf.
 */
#ifndef ENFORCE_DISCOVER_H
#define ENFORCE_DISCOVER_H

#include "decide/never.h"

#define DISCOVER_RESOLV_CONF   "/etc/resolv.conf"
#define DISCOVER_RESOLVED_CONF "/run/systemd/resolve/resolv.conf" /* looked at beside the former */
#define DISCOVER_PERIOD_S      60 /* refresh this often besides notifications: resolv.conf announces nothing */

/* Rebuilds the discovered layer between never_begin and never_commit. extra (may be NULL) adds entries of the caller's
 * own. *changed (may be NULL) as never_commit. On failure the old layer stays. SK_EIO, SK_ENOMEM, SK_EFULL. */
typedef void never_extra_fn(void *arg, struct never_list *l);
SK_MUST_USE int never_discover(struct never_list *l, const char *resolv_conf, never_extra_fn *extra, void *arg,
                               bool *changed);

/* A socket that becomes readable when addresses, routes or links change. */
SK_MUST_USE int discover_watch_open(int *fd);
/* Drains it. True: refresh now (also when notifications were lost). */
bool discover_watch_read(int fd);

#endif
