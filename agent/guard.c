/* Start, main loop, stop. */
#include "guard.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "cli.h"
#include "enforce/discover.h"
#include "report/eve.h"
#include "role.h"

static int check_privilege(void)
{
    capng_get_caps_process();
    if (capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN) && capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_RAW) &&
        (geteuid() == 0 || capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID)))
        return SK_OK;
    cli_fail("`run` needs root, to capture packets and to change nftables: try `sudo sekisho run`");
    return SK_EPERM;
}

/*
 * What remains of root: netlink and capture; starting roles as other users, and ending them; the socket's group; files
 * of whoever called sudo. Not loading modules, tracing, mounting, rebooting and the rest.
 */
static void keep_capabilities(void)
{
    static const unsigned wanted[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_SETUID,       CAP_SETGID,         CAP_SETPCAP,
                                      CAP_KILL,      CAP_CHOWN,   CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH};
    bool have[sizeof(wanted) / sizeof(wanted[0])];
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        have[i] = capng_have_capability(CAPNG_EFFECTIVE, wanted[i]);
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        if (have[i])
            capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, wanted[i]);
    if (capng_apply(CAPNG_SELECT_BOTH) != 0)
        sk_log(SK_LOG_WARN, "cannot give up capabilities that are not needed");
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* 0, 1 and 2 are taken, so that what is written for people never lands in a socket or the journal. */
static void hold_standard_files(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* The usual soft limit of 1024 is less than the sockets of many interfaces and workers. */
static void raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= GUARD_FILES)
        return;
    r.rlim_cur = r.rlim_max < GUARD_FILES ? r.rlim_max : GUARD_FILES;
    (void)setrlimit(RLIMIT_NOFILE, &r);
}

static unsigned worker_count(const struct conf *c)
{
    long n = c->capture.workers != 0 ? (long)c->capture.workers : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > SK_MAX_WORKERS ? SK_MAX_WORKERS : (unsigned)n;
}

static int take_signals(struct guard *g)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return SK_EIO;
    g->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return g->signal_fd >= 0 ? SK_OK : SK_EIO;
}

void guard_make_folder(const char *path, mode_t mode)
{
    char dir[4096];
    snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL || slash == dir)
        return;
    *slash = '\0';
    (void)mkdir(dir, mode); /* if it cannot be made, opening the file says so */
}

static int open_control(struct guard *g)
{
    const char *path = g->conf->guard.control_socket;
    const struct group *gr = getgrnam("sekisho");
    guard_make_folder(path, 0755);
    int rc = ipc_control_listen(path, gr != NULL ? gr->gr_gid : (gid_t)-1, guard_control, g, &g->control);
    if (rc == SK_EEXIST)
        sk_log(SK_LOG_ERROR, "sekisho is running already (it answers on %s)", path);
    else if (rc != SK_OK)
        sk_log(SK_LOG_ERROR, "cannot open the control socket %s: %s", path, strerror(errno));
    return rc;
}

static int open_log(struct guard *g)
{
    if (!g->conf->eve.enabled)
        return SK_OK;
    guard_make_folder(g->conf->eve.path, 0750);
    guard_log_open(g);
    return g->log_fd >= 0 ? SK_OK : SK_EIO;
}

/* In the order in which a failure leaves least behind; the roles come last. */
static int start(struct guard *g)
{
    g->workers = worker_count(g->conf);
    g->geometry.ring_size = g->conf->capture.ring_size;
    g->geometry.block_size = g->conf->capture.block_size;
    g->geometry.block_timeout = g->conf->capture.block_timeout_ms;
    g->geometry.snaplen = g->conf->capture.snaplen;
    (void)guard_home_update(g);
    int rc = guard_make_bundle(g, g->conf, &sk_diag_stderr, &g->bundle_fd);
    if (rc == SK_OK)
        rc = take_signals(g);
    if (rc == SK_OK)
        rc = guard_iface_start(g);
    int64_t opened = sk_now_mono();
    if (rc == SK_OK)
        rc = guard_block_lock(g); /* before the socket: of two that start at once one must not remove the other's */
    if (rc == SK_OK)
        guard_gap_start(g, opened);
    if (rc == SK_OK)
        rc = open_control(g);
    if (rc == SK_OK)
        rc = guard_child_setup(g);
    if (rc == SK_OK && !guard_metrics_start(g))
        rc = SK_ENOMEM;
    if (rc == SK_OK)
        rc = open_log(g);
    if (rc == SK_OK)
        rc = discover_watch_open(&g->watch_fd);
    if (rc == SK_OK)
        rc = guard_block_start(g);
    if (rc != SK_OK)
        return rc;
    g->generation = 1;
    guard_uplink_look(g);
    guard_child_start(g, GUARD_REPORTER);
    guard_child_start(g, GUARD_ENGINE);
    guard_uplink_start(g);
    return SK_OK;
}

void guard_stop(struct guard *g, const char *why)
{
    if (!g->stopping)
        sk_log(SK_LOG_INFO, "stopping: %s", why);
    g->stopping = true;
}

void guard_tell_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(sk_now_mono() / SK_NS_PER_US));
}

static void on_hup(struct guard *g)
{
    char why[256];
    guard_tell_reloading(); /* also of one that comes to nothing: whoever sent the signal may wait for that */
    guard_log_open(g);      /* logrotate sends this too */
    if (guard_reload(g, 0, why, sizeof(why)) == SK_OK)
        return;
    sk_log(SK_LOG_ERROR, "not reloaded: %s", why);
    sd_notify(0, "READY=1");
}

static void on_signals(struct guard *g)
{
    struct signalfd_siginfo s;
    while (read(g->signal_fd, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
        if (s.ssi_signo == SIGTERM || s.ssi_signo == SIGINT)
            guard_stop(g, s.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
        else if (s.ssi_signo == SIGHUP)
            on_hup(g);
        else if (s.ssi_signo == SIGCHLD)
            guard_child_reap(g);
    }
}

/*
 * Addresses, routes or links changed. A look costs a dump of every route: however fast things change, most of the time
 * is left for blocks and roles. Now and then without a reason, for an interface that could not be opened.
 */
static void follow_watch(struct guard *g)
{
    int64_t now = sk_now_mono();
    if (!(g->watch_pending && now >= g->next_look) && now < g->next_rescan)
        return;
    g->watch_pending = false;
    guard_iface_rescan(g);
    guard_never_discover(g);
    if (guard_home_update(g) && guard_home_is_auto(g->conf))
        g->home_stale = true;
    int64_t end = sk_now_mono(), pause = 4 * (end - now);
    g->next_look = end + (pause > GUARD_LOOK_EVERY ? pause : GUARD_LOOK_EVERY);
    g->next_rescan = end + DISCOVER_PERIOD_S * SK_NS_PER_S;
}

/* Rules that name HOME_NET must be made anew. Waits until nothing else is being loaded. */
static void follow_home(struct guard *g)
{
    char why[256];
    if (!g->home_stale || !g->child[GUARD_ENGINE].ready || g->next_conf != NULL || sk_now_mono() < g->home_retry)
        return;
    g->home_retry = sk_now_mono() + GUARD_HOME_RETRY;
    sk_log(SK_LOG_INFO, "this host's addresses changed: rules are loaded again");
    g->home_reload = guard_reload(g, 0, why, sizeof(why)) == SK_OK;
    g->home_stale = !g->home_reload;
    if (g->home_stale)
        sk_log(SK_LOG_ERROR, "not reloaded: %s; until it can be, $HOME_NET lacks this host's new addresses", why);
}

static int timeout_ms(const struct guard *g)
{
    int64_t wall = enforcer_deadline(g->enforcer) - sk_now_wall();
    int64_t mono = guard_child_deadline(g);
    int64_t left = mono == INT64_MAX ? SK_NS_PER_S : mono - sk_now_mono();
    if (wall < left)
        left = wall;
    if (guard_uplink_deadline(g) != INT64_MAX && guard_uplink_deadline(g) - sk_now_mono() < left)
        left = guard_uplink_deadline(g) - sk_now_mono();
    if (g->watch_pending && g->next_look - sk_now_mono() < left)
        left = g->next_look - sk_now_mono();
    if (g->admins_pending && g->next_admins - sk_now_mono() < left)
        left = g->next_admins - sk_now_mono();
    if (left > SK_NS_PER_S)
        left = SK_NS_PER_S;
    return left <= 0 ? 0 : (int)((left + SK_NS_PER_MS - 1) / SK_NS_PER_MS);
}

static void notify(struct guard *g, bool *said)
{
    int64_t now = sk_now_mono();
    if (!*said && g->child[GUARD_ENGINE].ready && g->child[GUARD_REPORTER].ready) {
        *said = true;
        sd_notifyf(0, "READY=1\nSTATUS=%u rules, %u workers", g->loaded.loaded, g->workers);
        sk_log(SK_LOG_INFO, "ready: %s mode, %u workers%s", g->conf->mode == CONF_PREVENT ? "prevent" : "detect",
               g->workers, g->dry_run ? ", DRY RUN" : "");
    }
    if (g->watchdog_interval != 0 && now >= g->next_watchdog) {
        sd_notify(0, "WATCHDOG=1");
        g->next_watchdog = now + g->watchdog_interval / 2;
    }
}

/* Rotated away, or removed. */
static void follow_log(struct guard *g)
{
    int64_t now = sk_now_mono();
    if (g->log_fd < 0 || now < g->next_log_check)
        return;
    g->next_log_check = now + SK_NS_PER_S;
    int before = g->log_fd;
    if (!eve_file_moved(g->log_fd, g->conf->eve.path))
        return;
    guard_log_open(g);
    if (g->log_fd == before && eve_file_moved(g->log_fd, g->conf->eve.path))
        g->next_log_check = now + GUARD_SAY_EVERY; /* something else lies there, which was said */
}

static void each_turn(struct guard *g)
{
    guard_child_tick(g);
    guard_iface_leave(g, false);
    guard_ledger_tick(g);
    guard_gap_tick(g, false);
    guard_metrics_tick(g);
    guard_uplink_tick(g);
    follow_watch(g);
    follow_home(g);
    guard_block_tick(g, sk_now_wall());
    ipc_control_run(g->control, sk_now_mono());
    follow_log(g);
}

/* Blocks of the fleet go to the kernel together. */
static void take_fleet(struct guard *g)
{
    guard_child_receive(g, GUARD_UPLINK);
    (void)!enforcer_flush(g->enforcer, sk_now_wall()); /* a failure is counted, and repaired by the next tick */
}

enum {
    P_SIGNAL,
    P_CONTROL,
    P_WATCH,
    P_MONITOR,
    P_LOGINS,
    P_ENGINE,
    P_BLOCKS,
    P_REPORTER,
    P_EXPORTER,
    P_UPLINK,
    P_COUNT
};

static void loop(struct guard *g)
{
    bool said = false;
    while (!g->stopping) {
        struct pollfd p[P_COUNT] = {
            [P_SIGNAL] = {g->signal_fd, POLLIN, 0},
            [P_CONTROL] = {ipc_control_fd(g->control), POLLIN, 0},
            [P_WATCH] = {g->watch_fd, POLLIN, 0},
            [P_MONITOR] = {g->monitor != NULL ? nft_monitor_fd(g->monitor) : -1, POLLIN, 0},
            [P_LOGINS] = {guard_never_watch_fd(g), POLLIN, 0},
            [P_ENGINE] = {g->child[GUARD_ENGINE].chan, POLLIN, 0},
            [P_BLOCKS] = {g->child[GUARD_ENGINE].blocks, POLLIN, 0},
            [P_REPORTER] = {g->child[GUARD_REPORTER].chan, POLLIN, 0},
            [P_EXPORTER] = {g->child[GUARD_EXPORTER].chan, POLLIN, 0},
            [P_UPLINK] = {guard_uplink_paused(g) ? -1 : g->child[GUARD_UPLINK].chan,
                          guard_uplink_wants_out(g) ? POLLIN | POLLOUT : POLLIN, 0},
        };
        if (poll(p, P_COUNT, timeout_ms(g)) < 0 && errno != EINTR)
            usleep(10000);
        if (p[P_BLOCKS].revents)
            guard_block_receive(g);
        if (p[P_ENGINE].revents)
            guard_child_receive(g, GUARD_ENGINE);
        if (p[P_REPORTER].revents)
            guard_child_receive(g, GUARD_REPORTER);
        if (p[P_EXPORTER].revents)
            guard_child_receive(g, GUARD_EXPORTER);
        if (p[P_UPLINK].revents & ~POLLOUT)
            take_fleet(g);
        if (p[P_SIGNAL].revents)
            on_signals(g);
        if (p[P_MONITOR].revents)
            guard_block_monitor(g);
        if (p[P_WATCH].revents && discover_watch_read(g->watch_fd))
            g->watch_pending = true;
        if (p[P_LOGINS].revents)
            guard_never_watch_read(g);
        each_turn(g);
        notify(g, &said);
    }
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* The engine first: it inspects what is in the rings, and the reporter still takes what it has to say; and from both
 * the uplink. */
static void stop_roles(struct guard *g)
{
    guard_child_stop(g, GUARD_EXPORTER);
    guard_metrics_stop(g);
    guard_ledger_read(g);
    guard_iface_mute(g);
    guard_gap_tick(g, true);
    guard_child_stop(g, GUARD_ENGINE);
    guard_iface_close(g);
    guard_ledger_finish(g);
    guard_child_stop(g, GUARD_REPORTER);
    guard_news_tick(g, sk_now_wall());
    guard_child_stop(g, GUARD_UPLINK);
    guard_uplink_stop(g);
}

static void finish(struct guard *g)
{
    sd_notify(0, "STOPPING=1");
    g->stopping = g->stopping && g->enforcer != NULL;
    guard_reload_drop(g, "the agent is stopping");
    if (g->refusals != NULL)
        refusals_tick(g->refusals, true, sk_now_wall()); /* while there is somebody to write it */
    stop_roles(g);
    guard_block_stop(g);
    if (g->control != NULL)
        ipc_control_run(g->control, sk_now_mono()); /* a last answer */
    ipc_control_free(g->control);
    close_fd(g->rings_fd);
    close_fd(g->wake_fd);
    close_fd(g->status_fd);
    close_fd(g->log_fd);
    close_fd(g->bundle_fd);
    close_fd(g->next_bundle_fd);
    close_fd(g->signal_fd);
    close_fd(g->watch_fd);
    close_fd(g->lock_fd);
    ipc_status_unmap(g->status);
    conf_free(g->next_conf);
    conf_free(g->conf);
    guard_load_free(g);
}

int guard_run(const struct guard_options *opt)
{
    static struct guard g;
    g = (struct guard){.opt = *opt, .signal_fd = -1, .watch_fd = -1, .rings_fd = -1, .wake_fd = -1};
    g.uplink.forward_fd = g.uplink.forward_wake = -1;
    g.bundles.of[BUNDLE_POLICY].fd = g.bundles.of[BUNDLE_RULES].fd = -1;
    g.gap.fd = g.blocked_fd = g.lock_fd = g.status_fd = g.log_fd = g.bundle_fd = g.next_bundle_fd = -1;
    g.started_mono = sk_now_mono();
    g.started_wall = sk_now_wall();
    guard_program_note(&g.program);
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        memset(g.iface[i].fd, 0xff, sizeof(g.iface[i].fd));
    hold_standard_files();
    raise_file_limit();
    sk_log_setup("sekisho", SK_LOG_INFO, getenv("JOURNAL_STREAM") != NULL);
    if (guard_read_conf(&g, &sk_diag_stderr, &g.conf) != SK_OK)
        return CLI_FAILED;
    if (check_privilege() != SK_OK) {
        conf_free(g.conf);
        guard_load_free(&g);
        return CLI_FAILED;
    }
    keep_capabilities();
    role_urgent();
    uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) > 0)
        g.watchdog_interval = (int64_t)usec * SK_NS_PER_US;
    int rc = start(&g);
    if (rc == SK_OK)
        loop(&g);
    bool failed = rc != SK_OK || !g.have_loaded;
    finish(&g);
    return failed ? CLI_FAILED : CLI_OK;
}
