/* The roles as processes: started with nothing but what they need, watched, and started again. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "event_types.h"
#include "guard.h"
#include "ipc/ring.h"
#include "report/eve.h"
#include "role.h"

#define CHANNEL_BYTES       (2 << 20) /* the sockets of all interfaces and workers fit, unread */
#define BLOCK_CHANNEL_BYTES (4 << 20)
#define NOBODY              65534

static void choose_user(struct guard_child *c, const char *user)
{
    const struct passwd *pw = getpwnam(user);
    c->uid = pw != NULL ? pw->pw_uid : NOBODY;
    c->gid = pw != NULL ? pw->pw_gid : NOBODY;
    if (pw == NULL)
        sk_log(SK_LOG_WARN, "there is no user %s: the %s runs as nobody", user, c->name);
    if (c->uid == 0) {
        sk_log(SK_LOG_WARN, "the %s does not run as root: it runs as nobody", c->name);
        c->uid = c->gid = NOBODY;
    }
}

int guard_child_setup(struct guard *g)
{
    g->child[GUARD_ENGINE] = (struct guard_child){.name = "engine", .verb = "role-engine"};
    g->child[GUARD_REPORTER] = (struct guard_child){.name = "reporter", .verb = "role-reporter"};
    g->child[GUARD_EXPORTER] = (struct guard_child){.name = "exporter", .verb = "role-exporter"};
    g->child[GUARD_UPLINK] = (struct guard_child){.name = "uplink", .verb = "role-uplink"};
    choose_user(&g->child[GUARD_ENGINE], g->conf->guard.user);
    choose_user(&g->child[GUARD_REPORTER], g->conf->guard.reporter_user);
    g->child[GUARD_EXPORTER].uid = g->child[GUARD_UPLINK].uid = g->child[GUARD_REPORTER].uid;
    g->child[GUARD_EXPORTER].gid = g->child[GUARD_UPLINK].gid = g->child[GUARD_REPORTER].gid;
    if (role_files_version() == 0)
        sk_log(SK_LOG_WARN,
               "no Landlock in this kernel, or none for us: which files the uplink can open, its user and the "
               "unit alone say");
    for (int r = 0; r < GUARD_ROLES; r++) {
        g->child[r].chan = g->child[r].blocks = -1;
        g->child[r].wait = GUARD_RESTART_MIN;
        g->child[r].start_at = INT64_MAX;
    }
    int rc = ipc_rings_create(g->workers + 1, GUARD_RING_SIZE, &g->rings_fd);
    if (rc == SK_OK)
        rc = ipc_status_create(&g->status_fd, &g->status);
    g->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return rc == SK_OK && g->wake_fd < 0 ? SK_EIO : rc;
}

/* What whoever started us has left open is nothing for a role. close_range(2) is in Linux 5.9 and later. */
static void close_from(unsigned first)
{
    if (syscall(SYS_close_range, first, ~0u, 0) == 0)
        return;
    for (unsigned fd = first; fd < 4096; fd++)
        close((int)fd);
}

#define ROLE_ENV_MAX 16

/* Whoever started us may have secrets in the environment. */
static void role_environment(char *env[ROLE_ENV_MAX + 1])
{
    static const char *const wanted[] = {"JOURNAL_STREAM=", "TZ=",           "LD_LIBRARY_PATH=", "ASAN_OPTIONS=",
                                         "UBSAN_OPTIONS=",  "LSAN_OPTIONS=", "TSAN_OPTIONS="};
    unsigned n = 0;
    for (char **e = environ; e != NULL && *e != NULL; e++)
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
            if (n < ROLE_ENV_MAX && strncmp(*e, wanted[i], strlen(wanted[i])) == 0)
                env[n++] = *e;
    env[n] = NULL;
}

/* In the child, before exec. Only async-signal-safe calls that need no memory. */
static void become_role(const struct guard_child *c, int chan, int blocks, char *ids[4], char **env)
{
    /* Ctrl-C, a service manager's stop and `killall -HUP` reach every process: roles end when the guard says so. */
    static const int for_the_guard[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t none;
    for (size_t i = 0; i < sizeof(for_the_guard) / sizeof(for_the_guard[0]); i++)
        signal(for_the_guard[i], SIG_IGN); /* stays so over exec */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC); /* a terminal is nothing for a role, but to write errors */
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        _exit(1);
    /* Out of the way of each other first: chan may be 4, blocks may be 3. */
    int a = fcntl(chan, F_DUPFD, 10), b = blocks >= 0 ? fcntl(blocks, F_DUPFD, 10) : -1;
    if (a < 0 || dup2(a, ROLE_FD_CHANNEL) < 0 || (b >= 0 && dup2(b, ROLE_FD_BLOCKS) < 0))
        _exit(1);
    close_from(b >= 0 ? ROLE_FD_BLOCKS + 1 : ROLE_FD_CHANNEL + 1);
    char *argv[] = {(char *)(uintptr_t) "sekisho", (char *)(uintptr_t)c->verb, ids[0], ids[1], ids[2], ids[3], NULL};
    execve("/proc/self/exe", argv, env);
    _exit(1);
}

/* folder: of the uplink. */
static int spawn(struct guard_child *c, const char *folder)
{
    int chan[2], blocks[2] = {-1, -1};
    char uid[16], gid[16], guard[16], *ids[4] = {uid, gid, guard, (char *)(uintptr_t)folder}, *env[ROLE_ENV_MAX + 1];
    int rc = ipc_pair(chan, CHANNEL_BYTES);
    if (rc != SK_OK)
        return rc;
    bool engine = strcmp(c->name, "engine") == 0;
    if (engine && ipc_pair(blocks, BLOCK_CHANNEL_BYTES) != SK_OK) {
        close(chan[0]);
        close(chan[1]);
        return SK_EIO;
    }
    snprintf(uid, sizeof(uid), "%u", c->uid);
    snprintf(gid, sizeof(gid), "%u", c->gid);
    snprintf(guard, sizeof(guard), "%d", (int)getpid());
    role_environment(env);
    pid_t pid = fork();
    if (pid == 0)
        become_role(c, chan[1], blocks[1], ids, env);
    close(chan[1]);
    if (engine)
        close(blocks[1]);
    c->pid = pid > 0 ? pid : 0;
    c->chan = chan[0];
    c->blocks = blocks[0];
    return pid > 0 ? SK_OK : SK_EIO;
}

static void close_channels(struct guard_child *c)
{
    if (c->chan >= 0)
        close(c->chan);
    if (c->blocks >= 0)
        close(c->blocks);
    c->chan = c->blocks = -1;
}

/* The exporter gets neither events nor the status page: what it may know it asks for. */
static int send_start_exporter(struct guard *g)
{
    const struct ipc_empty e = {0};
    int chan = g->child[GUARD_EXPORTER].chan, rc = ipc_send(chan, IPC_LISTEN, &e, &g->metrics.listen_fd, 1);
    return rc == SK_OK ? ipc_send(chan, IPC_START, &e, NULL, 0) : rc;
}

/* Everything that a fresh role must know. */
static int send_start(struct guard *g, enum guard_role r)
{
    struct guard_child *c = &g->child[r];
    struct ipc_setup s = {.workers = g->workers,
                          .rings = g->workers + 1,
                          .ring_size = GUARD_RING_SIZE,
                          .capture_ring = g->geometry.ring_size,
                          .capture_block = g->geometry.block_size,
                          .capture_timeout = g->geometry.block_timeout};
    struct ipc_bundle_note note = {.generation = g->generation};
    struct ipc_log log = {g->conf->eve.payload, g->conf->eve.payload_printable, event_types_of_file(g->conf), 0};
    const struct ipc_empty e = {0};
    int fds[2] = {g->rings_fd, g->wake_fd};
    int rc = ipc_send(c->chan, IPC_SETUP, &s, fds, 2);
    if (rc == SK_OK)
        rc = ipc_send(c->chan, IPC_STATUS, &e, &g->status_fd, 1);
    if (rc == SK_OK && r == GUARD_ENGINE)
        rc = ipc_send(c->chan, IPC_BLOCKED, &e, &g->blocked_fd, 1);
    if (rc == SK_OK && r == GUARD_REPORTER && g->log_fd >= 0)
        rc = ipc_send(c->chan, IPC_LOG, &log, &g->log_fd, 1);
    if (rc == SK_OK && r == GUARD_REPORTER)
        rc = guard_uplink_send_forward(g);
    if (rc == SK_OK)
        rc = ipc_send(c->chan, IPC_START, &e, NULL, 0);
    if (rc == SK_OK && r == GUARD_ENGINE) {
        rc = ipc_send(c->chan, IPC_BUNDLE, &note, &g->bundle_fd, 1);
        g->loads_due = 1;
    }
    if (rc == SK_OK)
        guard_iface_send_all(g, r);
    return rc;
}

static int send_all(struct guard *g, enum guard_role r)
{
    switch (r) {
    case GUARD_EXPORTER: return send_start_exporter(g);
    case GUARD_UPLINK: return guard_uplink_send_start(g);
    default: return send_start(g, r);
    }
}

void guard_child_start(struct guard *g, enum guard_role r)
{
    struct guard_child *c = &g->child[r];
    int64_t now = sk_now_mono();
    c->start_at = INT64_MAX;
    c->ready = c->killed = c->confined = false;
    c->started = c->beat_time = now;
    if (spawn(c, r == GUARD_UPLINK ? g->conf->manager.state_dir : "") != SK_OK) {
        sk_log(SK_LOG_ERROR, "cannot start the %s: %s", c->name, strerror(errno));
        close_channels(c);
        c->start_at = now + GUARD_RESTART_MAX;
        return;
    }
    if (send_all(g, r) != SK_OK)
        guard_child_kill(g, r, "does not take messages");
}

void guard_child_kill(struct guard *g, enum guard_role r, const char *why)
{
    struct guard_child *c = &g->child[r];
    if (c->pid == 0 || c->killed)
        return;
    sk_log(SK_LOG_ERROR, "the %s %s: killed", c->name, why);
    c->killed = true;
    kill(c->pid, SIGKILL); /* the rest follows when it has been reaped */
}

static void say_death(const struct guard_child *c, int status)
{
    if (WIFSIGNALED(status))
        sk_log(SK_LOG_ERROR, "the %s (pid %d) died of signal %d (%s)", c->name, (int)c->pid, WTERMSIG(status),
               strsignal(WTERMSIG(status)));
    else
        sk_log(SK_LOG_ERROR, "the %s (pid %d) ended with status %d", c->name, (int)c->pid, WEXITSTATUS(status));
}

/* The first restart comes at once; a role that dies again and again waits longer each time. */
static void plan_restart(struct guard_child *c)
{
    int64_t now = sk_now_mono();
    if (now - c->started >= GUARD_STEADY)
        c->wait = GUARD_RESTART_MIN;
    c->start_at = now + c->wait;
    c->wait = c->wait * 2 > GUARD_RESTART_MAX ? GUARD_RESTART_MAX : c->wait * 2;
}

/* One that was told to end, for another one to begin at once, or none. */
static bool replaced(struct guard *g)
{
    if (!g->uplink.replace)
        return false;
    g->uplink.replace = false;
    g->child[GUARD_UPLINK].start_at = g->uplink.wanted ? sk_now_mono() : INT64_MAX;
    return true;
}

static void buried(struct guard *g, enum guard_role r, int status)
{
    struct guard_child *c = &g->child[r];
    bool planned = r == GUARD_UPLINK && g->uplink.replace;
    if (r == GUARD_ENGINE && c->blocks >= 0)
        guard_block_receive(g); /* what it asked for before it died still counts */
    bool was_ready = c->ready;
    if (r == GUARD_ENGINE)
        guard_ledger_died(g);
    if (!g->stopping && !planned)
        say_death(c, status);
    c->pid = 0;
    c->ready = false;
    close_channels(c);
    if (r == GUARD_UPLINK)
        guard_uplink_died(g);
    if (r == GUARD_ENGINE)
        guard_iface_leave(g, true);
    if (g->stopping || (planned && replaced(g)))
        return;
    if (r == GUARD_ENGINE)
        guard_reload_drop(g, "the engine died while loading");
    if (r == GUARD_ENGINE && !g->have_loaded && !was_ready && c->restarts >= 3) {
        guard_stop(g, "the engine does not start");
        return;
    }
    c->restarts++;
    plan_restart(c);
}

void guard_child_reap(struct guard *g)
{
    for (int r = 0; r < GUARD_ROLES; r++) {
        int status;
        if (g->child[r].pid != 0 && waitpid(g->child[r].pid, &status, WNOHANG) == g->child[r].pid)
            buried(g, (enum guard_role)r, status);
    }
}

static uint64_t beat_of(const struct guard *g, enum guard_role r, unsigned i)
{
    if (r == GUARD_EXPORTER)
        return g->metrics.beats;
    if (r == GUARD_UPLINK)
        return g->uplink.beats;
    return ipc_status_get(r == GUARD_ENGINE ? &g->status->worker[i].heartbeat : &g->status->reporter.heartbeat);
}

/* Has every thread of the role moved since the last time that all had? */
static bool all_moved(struct guard *g, enum guard_role r)
{
    struct guard_child *c = &g->child[r];
    unsigned n = r == GUARD_ENGINE ? g->workers : 1;
    for (unsigned i = 0; i < n; i++)
        if (beat_of(g, r, i) == c->beat[i])
            return false;
    for (unsigned i = 0; i < n; i++)
        c->beat[i] = beat_of(g, r, i);
    return true;
}

static void check_beat(struct guard *g, enum guard_role r, int64_t now)
{
    struct guard_child *c = &g->child[r];
    if (c->pid == 0)
        return;
    if (c->chan < 0 && now - c->gone > GUARD_GONE_TIME) {
        guard_child_kill(g, r, "has closed its channel");
        return;
    }
    if (!c->ready) {
        if (now - c->started > GUARD_LOAD_TIME)
            guard_child_kill(g, r, "is not ready in time");
        return;
    }
    if (all_moved(g, r))
        c->beat_time = now;
    else if (now - c->beat_time > GUARD_STUCK)
        guard_child_kill(g, r, "does not move");
}

void guard_child_tick(struct guard *g)
{
    int64_t now = sk_now_mono();
    if (g->next_conf != NULL && now - g->reload_at > GUARD_LOAD_TIME)
        guard_child_kill(g, GUARD_ENGINE, "does not finish loading");
    for (int r = 0; r < GUARD_ROLES && !g->stopping; r++) {
        if (g->child[r].pid == 0 && now >= g->child[r].start_at)
            guard_child_start(g, (enum guard_role)r);
        check_beat(g, (enum guard_role)r, now);
    }
}

int64_t guard_child_deadline(const struct guard *g)
{
    int64_t at = INT64_MAX;
    for (int r = 0; r < GUARD_ROLES; r++)
        if (g->child[r].pid == 0 && g->child[r].start_at < at)
            at = g->child[r].start_at;
    return at;
}

static void on_ready(struct guard *g, enum guard_role r)
{
    struct guard_child *c = &g->child[r];
    if (!c->ready)
        sk_log(SK_LOG_INFO, "the %s is working (pid %d)", c->name, (int)c->pid);
    if (r == GUARD_ENGINE)
        guard_ledger_ready(g, true);
    if (r == GUARD_UPLINK && !c->ready)
        guard_uplink_ready(g);
    bool first = !c->ready;
    c->ready = true;
    if (r == GUARD_UPLINK && first)
        guard_bundle_tell(g);
    c->beat_time = sk_now_mono();
}

/* False: this role has no business sending that. */
static bool on_message(struct guard *g, enum guard_role r, struct ipc_msg *m)
{
    if (r == GUARD_EXPORTER && !guard_metrics_may_speak(g))
        return false;
    if (m->type == IPC_HELLO) {
        g->child[r].confined = ((const struct ipc_hello *)(const void *)m->body)->confined != 0;
        return true;
    }
    if (m->type == IPC_READY) {
        on_ready(g, r);
        return true;
    }
    if (m->type == IPC_LOADED && r == GUARD_ENGINE && g->loads_due > 0) {
        g->loads_due--;
        guard_loaded(g, (const struct ipc_loaded *)(const void *)m->body);
        return true;
    }
    if (m->type == IPC_ALIVE && r == GUARD_EXPORTER) {
        g->metrics.beats++;
        return true;
    }
    if (m->type == IPC_ASK && r == GUARD_EXPORTER) {
        guard_metrics_answer(g);
        return true;
    }
    if (r == GUARD_UPLINK)
        return guard_uplink_message(g, m);
    if (m->type == IPC_GARBAGE && r == GUARD_REPORTER) {
        guard_child_kill(g, GUARD_ENGINE, "writes garbage to its event ring");
        return true;
    }
    return false;
}

void guard_child_receive(struct guard *g, enum guard_role r)
{
    static struct ipc_msg m;
    struct guard_child *c = &g->child[r];
    for (int i = 0; i < 64 && c->chan >= 0 && !(r == GUARD_UPLINK && guard_uplink_paused(g)); i++) {
        int rc = ipc_recv(c->chan, &m);
        if (rc == SK_EAGAIN)
            return;
        if (rc == SK_EEND) { /* it is ending; SIGCHLD follows. Do not spin on the closed socket. */
            close(c->chan);
            c->chan = -1;
            c->gone = sk_now_mono();
            return;
        }
        bool good = rc == SK_OK && on_message(g, r, &m);
        ipc_msg_close(&m);
        if (!good) {
            guard_child_kill(g, r, "sends garbage");
            return;
        }
    }
}

static void wait_for(struct guard *g, enum guard_role r)
{
    int64_t until = sk_now_mono() + GUARD_STOP_TIME;
    while (g->child[r].pid != 0 && sk_now_mono() < until) {
        guard_child_reap(g);
        if (g->child[r].pid != 0)
            usleep(5000);
    }
}

void guard_child_stop(struct guard *g, enum guard_role r)
{
    const struct ipc_empty e = {0};
    struct guard_child *c = &g->child[r];
    if (c->pid == 0)
        return;
    if (c->chan < 0 || ipc_send(c->chan, IPC_STOP, &e, NULL, 0) != SK_OK)
        kill(c->pid, SIGKILL);
    wait_for(g, r);
    if (c->pid != 0) {
        sk_log(SK_LOG_WARN, "the %s does not end: killed", c->name);
        kill(c->pid, SIGKILL);
        wait_for(g, r);
    }
    if (c->pid != 0)
        sk_log(SK_LOG_ERROR, "the %s could not be ended", c->name);
}

void guard_log_open(struct guard *g)
{
    const struct conf_eve *e = &g->conf->eve;
    struct ipc_log log = {e->payload, e->payload_printable, event_types_of_file(g->conf), 0};
    struct guard_child *c = &g->child[GUARD_REPORTER];
    int fd;
    if (!e->enabled)
        return;
    if (eve_open_file(e->path, false, &fd) != SK_OK) {
        sk_log(SK_LOG_ERROR, "cannot open %s: %s", e->path, strerror(errno));
        return;
    }
    if (g->log_fd >= 0)
        close(g->log_fd);
    g->log_fd = fd;
    if (c->pid != 0 && ipc_send(c->chan, IPC_LOG, &log, &fd, 1) == SK_EAGAIN)
        guard_child_kill(g, GUARD_REPORTER, "does not take messages");
}
