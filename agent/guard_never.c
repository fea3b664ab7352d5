/* Whom to spare: what the configuration says, what the kernel says of this host, and who administers it. */
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "enforce/discover.h"
#include "guard.h"
#include "never_conf.h"

/* A list that cannot take everything refuses every block, and is tried again with the next discovery. */
static bool configure(struct guard *g)
{
    bool changed = false;
    if (never_from_conf(g->never, g->conf, &changed) != SK_OK)
        sk_log(SK_LOG_ERROR, "never and proxies do not fit on the never-list: nothing is blocked");
    return changed;
}

/* Until the next success often, and said once: whom to spare is the one thing that must be known. */
static void discover_failed(struct guard *g)
{
    g->next_discover = sk_now_mono() + SK_NS_PER_S;
    if (g->discover_failures++ == 0)
        sk_log(SK_LOG_ERROR, "cannot find out this host's addresses, gateways and resolvers: %s; trying again",
               never_complete(g->never) ? "those found before stay protected" : "nothing is blocked until that works");
}

/* What neither kernel nor configuration tells. */
static void spare_others(void *arg, struct never_list *l)
{
    struct guard *g = (struct guard *)arg;
    guard_uplink_spare(g, l);
    if (g->conf->decide.spare_administrators)
        admins_spare(g->admins, l);
}

static bool discover(struct guard *g)
{
    bool changed = false;
    struct discover_what what = {.resolv_conf = DISCOVER_RESOLV_CONF,
                                 .local_nets = g->conf->decide.spare_local_networks,
                                 .extra = spare_others,
                                 .arg = g};
    g->next_discover = sk_now_mono() + DISCOVER_PERIOD_S * SK_NS_PER_S;
    if (never_discover(g->never, &what, &changed) != SK_OK)
        discover_failed(g);
    else
        g->discover_failures = 0;
    return changed;
}

/* Blocks of those who are spared now end. */
static void apply(struct guard *g)
{
    if (g->enforcer == NULL)
        return;
    size_t n = enforcer_never_changed(g->enforcer, sk_now_wall());
    if (n > 0)
        sk_log(SK_LOG_WARN, "%zu blocks lifted: their targets are on the never-list now", n);
    (void)!enforcer_flush(g->enforcer, sk_now_wall());
}

void guard_never_discover(struct guard *g)
{
    bool changed = never_complete(g->never) ? false : configure(g);
    (void)admins_refresh(g->admins, sk_now_wall());
    if (discover(g) || changed)
        apply(g);
}

void guard_never_reload(struct guard *g)
{
    bool changed = configure(g);
    if (discover(g) || changed)
        apply(g);
}

int guard_never_start(struct guard *g)
{
    char state[4096];
    struct admins_setup s = {.utmp = ADMINS_UTMP, .logind = true, .state = state};
    if (snprintf(state, sizeof(state), "%s/" ADMINS_FILE, g->conf->guard.state_dir) >= (int)sizeof(state))
        return SK_EINVAL;
    g->never = never_create();
    if (g->never == NULL)
        return SK_ENOMEM;
    int rc = admins_open(&s, sk_now_wall(), &g->admins);
    if (rc != SK_OK)
        return rc;
    (void)configure(g);
    guard_never_discover(g);
    return SK_OK;
}

int guard_never_watch_fd(const struct guard *g)
{
    return admins_watch_fd(g->admins);
}

void guard_never_watch_read(struct guard *g)
{
    g->admins_pending = admins_watch_read(g->admins) || g->admins_pending;
}

/* However often people log in and out, most of the time is left for other work. */
static void follow_admins(struct guard *g)
{
    int64_t now = sk_now_mono();
    if (!g->admins_pending || now < g->next_admins)
        return;
    g->admins_pending = false;
    bool changed = admins_refresh(g->admins, sk_now_wall());
    if (changed && g->conf->decide.spare_administrators && discover(g))
        apply(g);
    int64_t end = sk_now_mono(), pause = 4 * (end - now);
    g->next_admins = end + (pause > GUARD_LOOK_EVERY ? pause : GUARD_LOOK_EVERY);
}

void guard_never_tick(struct guard *g)
{
    follow_admins(g);
    if (sk_now_mono() >= g->next_discover)
        guard_never_discover(g);
}

void guard_never_stop(struct guard *g)
{
    admins_close(g->admins, sk_now_wall());
    if (g->never != NULL)
        never_free(g->never);
}
