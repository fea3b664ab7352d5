#include "enforce/admins.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <systemd/sd-login.h>
#include <unistd.h>
#include <utmpx.h>

#define USER_MAX     32
#define LINE_MAX_LEN 128
#define SESSIONS     "/run/systemd/sessions"
#define SAVE_EVERY   (600 * SK_NS_PER_S) /* how old what is remembered of a session may be after a crash */
#define DRAIN_MAX    64                  /* reads of notifications at once */

struct admin {
    struct sk_addr addr;
    int64_t seen;
    char user[USER_MAX];
};

struct admins {
    char *utmp, *state;
    bool logind;
    int watch;
    struct admin v[ADMINS_MAX];
    unsigned n;
    struct admin fresh[ADMINS_MAX]; /* found by the look under way, and not in v */
    unsigned nfresh;
    uint64_t dropped;
    int64_t next_save;
};

/* What goes into log lines and JSON. */
static void plain_user(char to[USER_MAX], const char *from, size_t cap)
{
    size_t n = strnlen(from, cap < USER_MAX - 1 ? cap : USER_MAX - 1);
    for (size_t i = 0; i < n; i++)
        to[i] = from[i] > ' ' && from[i] < 0x7f ? from[i] : '?';
    to[n] = '\0';
}

static struct admin *find(struct admin *v, unsigned n, const struct sk_addr *addr)
{
    for (unsigned i = 0; i < n; i++)
        if (sk_addr_eq(&v[i].addr, addr))
            return &v[i];
    return NULL;
}

static void seen(struct admins *a, const struct sk_addr *addr, const char *user, size_t cap, int64_t now)
{
    struct admin *m = find(a->v, a->n, addr);
    if (sk_addr_is_special(addr))
        return;
    if (!m)
        m = find(a->fresh, a->nfresh, addr);
    if (!m && a->nfresh == ADMINS_MAX) {
        a->dropped++;
        return;
    }
    if (!m) {
        m = &a->fresh[a->nfresh++];
        *m = (struct admin){.addr = *addr};
    }
    m->seen = now;
    if (m->user[0] == '\0')
        plain_user(m->user, user, cap);
}

/* Where a new one goes: never in the place of somebody who is there now. */
static struct admin *room(struct admins *a, int64_t now)
{
    if (a->n < ADMINS_MAX)
        return &a->v[a->n++];
    struct admin *oldest = &a->v[0];
    for (unsigned i = 1; i < a->n; i++)
        if (a->v[i].seen < oldest->seen)
            oldest = &a->v[i];
    a->dropped++;
    return oldest->seen < now ? oldest : NULL;
}

/* Behind a look: whoever was there already has been seen by now. */
static bool take_fresh(struct admins *a, int64_t now)
{
    bool changed = false;
    for (unsigned i = 0; i < a->nfresh; i++) {
        struct admin *to = room(a, now);
        if (to) {
            *to = a->fresh[i];
            changed = true;
        }
    }
    a->nfresh = 0;
    return changed;
}

/* ---- utmp ---- */

static bool lives(pid_t pid)
{
    return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

static void see_record(struct admins *a, const struct utmpx *u, int64_t now)
{
    if (u->ut_type != USER_PROCESS || !lives(u->ut_pid))
        return; /* what crashed leaves its record behind */
    bool v4 = u->ut_addr_v6[1] == 0 && u->ut_addr_v6[2] == 0 && u->ut_addr_v6[3] == 0;
    if (v4 && u->ut_addr_v6[0] == 0)
        return; /* at the machine itself */
    struct sk_addr addr = v4 ? sk_addr_from_v4(u->ut_addr_v6) : sk_addr_from_v6(u->ut_addr_v6);
    seen(a, &addr, u->ut_user, sizeof u->ut_user, now);
}

/* Not getutxent(3), which waits up to ten seconds for whoever holds a lock on the file. */
static void read_utmp(struct admins *a, int64_t now)
{
    struct stat st;
    struct utmpx u;
    int fd = open(a->utmp, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        for (int i = 0; i < ADMINS_RECORDS && read(fd, &u, sizeof u) == (ssize_t)sizeof u; i++)
            see_record(a, &u, now);
    close(fd);
}

/* ---- logind ---- */

static void see_session(struct admins *a, const char *id, int64_t now)
{
    char *service = NULL, *host = NULL, *state = NULL, user[USER_MAX];
    struct sk_addr addr;
    uid_t uid = 0;
    if (sd_session_get_service(id, &service) >= 0 && strcmp(service, "sshd") == 0 &&
        sd_session_get_state(id, &state) >= 0 && strcmp(state, "closing") != 0 &&
        sd_session_get_remote_host(id, &host) >= 0 && sk_addr_parse(host, strcspn(host, "%"), &addr) == SK_OK) {
        /* Not by name: that might be asked of a server. */
        (void)sd_session_get_uid(id, &uid);
        snprintf(user, sizeof user, "uid=%u", (unsigned)uid);
        seen(a, &addr, user, sizeof user, now);
    }
    free(service);
    free(host);
    free(state);
}

static void ask_logind(struct admins *a, int64_t now)
{
    char **ids = NULL;
    int n = sd_get_sessions(&ids);
    for (int i = 0; i < n; i++) {
        if (i < ADMINS_RECORDS)
            see_session(a, ids[i], now);
        free(ids[i]);
    }
    free(ids);
}

/* ---- what is remembered ---- */

static void recall_line(struct admins *a, const char *line, int64_t now)
{
    char addr[SK_ADDR_STRLEN], user[USER_MAX] = "";
    long long s;
    struct sk_addr x;
    if (sscanf(line, "%45s %lld %31s", addr, &s, user) < 2 || sk_addr_parse(addr, strlen(addr), &x) != SK_OK)
        return;
    /* From the future: the clock has been set. */
    int64_t at = s < 0 ? 0 : s > now / SK_NS_PER_S ? now : s * SK_NS_PER_S;
    if (now - at < ADMINS_LINGER)
        seen(a, &x, user, sizeof user, at);
}

static FILE *open_regular(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    FILE *f = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
    if (f == NULL && fd >= 0)
        close(fd);
    return f;
}

static void recall(struct admins *a, int64_t now)
{
    char line[LINE_MAX_LEN];
    FILE *f = a->state ? open_regular(a->state) : NULL;
    if (!f)
        return;
    for (int i = 0; i < ADMINS_MAX && fgets(line, sizeof line, f); i++)
        recall_line(a, line, now);
    fclose(f);
    (void)take_fresh(a, now);
}

static bool write_all(const struct admins *a, FILE *f)
{
    char addr[SK_ADDR_STRLEN];
    for (unsigned i = 0; i < a->n; i++)
        fprintf(f, "%s %lld %s\n", sk_addr_format(&a->v[i].addr, addr), (long long)(a->v[i].seen / SK_NS_PER_S),
                a->v[i].user);
    bool good = !ferror(f);
    return fclose(f) == 0 && good;
}

/* A failure is no loss but that of memory over a restart. */
static void save(struct admins *a, int64_t now)
{
    char tmp[4096];
    if (!a->state || snprintf(tmp, sizeof tmp, "%s.new", a->state) >= (int)sizeof tmp)
        return;
    a->next_save = now + SAVE_EVERY;
    (void)unlink(tmp);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f && fd >= 0)
        close(fd);
    if (!f || !write_all(a, f) || rename(tmp, a->state) != 0)
        (void)unlink(tmp);
}

/* ---- watching ---- */

/* On every refresh, because files are made anew; what is watched already stays so. */
static void watch(struct admins *a)
{
    if (a->watch < 0)
        return;
    (void)inotify_add_watch(a->watch, a->utmp, IN_MODIFY);
    if (a->logind)
        (void)inotify_add_watch(a->watch, SESSIONS, IN_MOVED_TO | IN_DELETE | IN_ONLYDIR);
}

int admins_watch_fd(const struct admins *a)
{
    return a->watch;
}

bool admins_watch_read(struct admins *a)
{
    _Alignas(8) char buf[4096];
    bool any = false;
    for (int i = 0; i < DRAIN_MAX && a->watch >= 0; i++) { /* what is left keeps it readable */
        ssize_t n = read(a->watch, buf, sizeof buf);
        if (n <= 0)
            break;
        any = true;
    }
    return any;
}

/* ---- life ---- */

int admins_open(const struct admins_setup *s, int64_t now, struct admins **out)
{
    struct admins *a = calloc(1, sizeof *a);
    if (!a)
        return SK_ENOMEM;
    a->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    a->logind = s->logind;
    a->utmp = strdup(s->utmp);
    a->state = s->state ? strdup(s->state) : NULL;
    if (!a->utmp || (s->state && !a->state)) {
        admins_close(a, now);
        return SK_ENOMEM;
    }
    recall(a, now);
    *out = a;
    return SK_OK;
}

void admins_close(struct admins *a, int64_t now)
{
    if (!a)
        return;
    if (a->utmp)
        save(a, now);
    if (a->watch >= 0)
        close(a->watch);
    free(a->utmp);
    free(a->state);
    free(a);
}

static bool forget(struct admins *a, int64_t now)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < a->n; i++) {
        if (a->v[i].seen > now) /* the clock was set back */
            a->v[i].seen = now;
        if (now - a->v[i].seen < ADMINS_LINGER)
            a->v[kept++] = a->v[i];
    }
    bool changed = kept != a->n;
    a->n = kept;
    return changed;
}

bool admins_refresh(struct admins *a, int64_t now)
{
    watch(a); /* before looking, so that nothing comes in between */
    read_utmp(a, now);
    if (a->logind)
        ask_logind(a, now);
    bool changed = forget(a, now);
    changed |= take_fresh(a, now);
    if (changed || (a->n > 0 && (now >= a->next_save || now + 2 * SAVE_EVERY < a->next_save)))
        save(a, now);
    return changed;
}

void admins_spare(void *arg, struct never_list *l)
{
    const struct admins *a = arg;
    for (unsigned i = 0; i < a->n; i++) {
        char text[NEVER_TEXT_MAX];
        struct sk_prefix p = sk_prefix_make(&a->v[i].addr, 128);
        snprintf(text, sizeof text, "SSH login of %s", a->v[i].user[0] ? a->v[i].user : "somebody");
        (void)never_add(l, NEVER_ADMIN, &p, text); /* what does not fit makes the list refuse everything */
    }
}

unsigned admins_count(const struct admins *a)
{
    return a->n;
}

uint64_t admins_dropped(const struct admins *a)
{
    return a->dropped;
}
