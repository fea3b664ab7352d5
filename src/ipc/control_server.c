/* The guard's side: an inner epoll, so that the guard polls one descriptor whatever clients do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "ipc/control.h"
#include "ipc/listen.h"

enum conn_state { CONN_FREE, CONN_READING, CONN_WAITING, CONN_WRITING };

struct conn {
    int fd;
    enum conn_state state;
    uint64_t id;
    int64_t deadline; /* reading and writing */
    struct ipc_peer peer;
    uint32_t head[2];
    char *buf; /* request, then answer with its head in front */
    size_t got, len;
};

struct ipc_control {
    int epfd, listen_fd;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    ipc_control_fn *fn;
    void *arg;
    uint64_t next_id;
    unsigned nconns;
    int64_t pause_end; /* until then nothing is accepted: there were no descriptors */
    bool listening;    /* listen_fd is in the epoll set: not while all slots are taken */
    struct conn conn[IPC_CONTROL_CLIENTS];
};

#define LISTEN_TAG UINT64_MAX

static int watch(struct ipc_control *c, int op, int fd, uint32_t events, uint64_t tag)
{
    struct epoll_event ev = {.events = events, .data.u64 = tag};
    return epoll_ctl(c->epfd, op, fd, &ev) == 0 ? SK_OK : SK_EIO;
}

static void listen_on(struct ipc_control *c, bool on)
{
    if (c->listening == on)
        return;
    if (watch(c, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, c->listen_fd, EPOLLIN, LISTEN_TAG) == SK_OK)
        c->listening = on;
}

static void conn_close(struct ipc_control *c, struct conn *k)
{
    if (k->state == CONN_FREE)
        return;
    close(k->fd);
    free(k->buf);
    *k = (struct conn){.fd = -1};
    c->nconns--;
    if (c->pause_end == 0)
        listen_on(c, true);
}

int ipc_control_listen(const char *path, gid_t gid, ipc_control_fn *fn, void *arg, struct ipc_control **out)
{
    struct ipc_control *c = (struct ipc_control *)calloc(1, sizeof(*c));
    if (c == NULL)
        return SK_ENOMEM;
    c->fn = fn;
    c->arg = arg;
    c->listen_fd = -1;
    c->epfd = epoll_create1(EPOLL_CLOEXEC);
    int rc = c->epfd < 0 ? SK_EIO : ipc_listen_path(path, gid, IPC_CONTROL_CLIENTS, &c->listen_fd);
    if (rc == SK_OK) {
        strcpy(c->path, path);
        listen_on(c, true);
        *out = c;
        return SK_OK;
    }
    int err = errno;
    ipc_control_free(c);
    errno = err;
    return rc;
}

void ipc_control_free(struct ipc_control *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < IPC_CONTROL_CLIENTS; i++)
        conn_close(c, &c->conn[i]);
    if (c->path[0] != '\0')
        (void)unlink(c->path);
    if (c->listen_fd >= 0)
        close(c->listen_fd);
    if (c->epfd >= 0)
        close(c->epfd);
    free(c);
}

int ipc_control_fd(const struct ipc_control *c)
{
    return c->epfd;
}

static struct conn *free_slot(struct ipc_control *c)
{
    for (unsigned i = 0; i < IPC_CONTROL_CLIENTS; i++)
        if (c->conn[i].state == CONN_FREE)
            return &c->conn[i];
    return NULL;
}

/* Others than root cannot keep root out. */
static bool may_enter(const struct ipc_control *c, uid_t uid)
{
    unsigned others = 0;
    for (unsigned i = 0; i < IPC_CONTROL_CLIENTS; i++)
        others += c->conn[i].state != CONN_FREE && c->conn[i].peer.uid != 0;
    return uid == 0 || others < IPC_CONTROL_OTHERS;
}

/* A listening socket from which nothing can be taken stays readable, and would keep the caller awake. */
static void pause_listening(struct ipc_control *c, int64_t now)
{
    if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
        return;
    listen_on(c, false);
    c->pause_end = now + SK_NS_PER_S;
}

static void accept_one(struct ipc_control *c, int64_t now)
{
    struct conn *k = free_slot(c);
    if (k == NULL) {
        listen_on(c, false);
        return;
    }
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        pause_listening(c, now);
        return;
    }
    struct ucred cred;
    socklen_t len = sizeof(cred);
    uint64_t slot = (uint64_t)(k - c->conn);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 || !may_enter(c, cred.uid) ||
        watch(c, EPOLL_CTL_ADD, fd, EPOLLIN, slot) != SK_OK) {
        close(fd);
        return;
    }
    *k = (struct conn){.fd = fd,
                       .state = CONN_READING,
                       .id = ++c->next_id,
                       .deadline = now + IPC_CONTROL_DEADLINE_S * SK_NS_PER_S,
                       .peer = {cred.pid, cred.uid, cred.gid}};
    c->nconns++;
}

static void write_some(struct ipc_control *c, struct conn *k)
{
    while (k->got < k->len) {
        ssize_t n = send(k->fd, k->buf + k->got, k->len - k->got, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (watch(c, EPOLL_CTL_MOD, k->fd, EPOLLOUT, (uint64_t)(k - c->conn)) != SK_OK)
                conn_close(c, k);
            return;
        }
        if (n <= 0)
            break;
        k->got += (size_t)n;
    }
    conn_close(c, k);
}

static void start_answer(struct ipc_control *c, struct conn *k, json_t *answer, int64_t now)
{
    size_t n = json_dumpb(answer, NULL, 0, JSON_COMPACT);
    free(k->buf);
    k->buf = n > 0 && n <= IPC_CONTROL_ANS_MAX ? (char *)malloc(n + 8) : NULL;
    if (k->buf == NULL) {
        conn_close(c, k);
    } else {
        uint32_t head[2] = {IPC_CONTROL_MAGIC, (uint32_t)n};
        memcpy(k->buf, head, sizeof(head));
        (void)json_dumpb(answer, k->buf + 8, n, JSON_COMPACT);
        k->got = 0;
        k->len = n + 8;
        k->state = CONN_WRITING;
        k->deadline = now + IPC_CONTROL_DEADLINE_S * SK_NS_PER_S;
        write_some(c, k);
    }
    json_decref(answer);
}

static void handle(struct ipc_control *c, struct conn *k, int64_t now)
{
    json_t *request = json_loadb(k->buf, k->len, 0, NULL);
    if (!json_is_object(request)) {
        json_decref(request);
        conn_close(c, k);
        return;
    }
    k->state = CONN_WAITING;
    /* Nothing more is expected from it; only its end is noticed. */
    if (watch(c, EPOLL_CTL_MOD, k->fd, EPOLLRDHUP, (uint64_t)(k - c->conn)) != SK_OK) {
        json_decref(request);
        conn_close(c, k);
        return;
    }
    json_t *answer = c->fn(c->arg, k->id, &k->peer, request);
    json_decref(request);
    if (answer != NULL)
        start_answer(c, k, answer, now);
}

/* Where the next bytes of the request go. */
static size_t read_target(struct conn *k, char **p)
{
    if (k->got < sizeof(k->head)) {
        *p = (char *)k->head + k->got;
        return sizeof(k->head) - k->got;
    }
    *p = k->buf + (k->got - sizeof(k->head));
    return k->len - (k->got - sizeof(k->head));
}

/* The head is complete: false for what cannot be a request. */
static bool head_done(struct conn *k)
{
    if (k->head[0] != IPC_CONTROL_MAGIC || k->head[1] < 2 || k->head[1] > IPC_CONTROL_REQ_MAX)
        return false;
    k->len = k->head[1];
    k->buf = (char *)malloc(k->len);
    return k->buf != NULL;
}

static void read_some(struct ipc_control *c, struct conn *k, int64_t now)
{
    for (;;) {
        char *p;
        size_t want = read_target(k, &p);
        ssize_t n = recv(k->fd, p, want, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0)
            break;
        k->got += (size_t)n;
        if (k->got == sizeof(k->head) && !head_done(k))
            break;
        if (k->got > sizeof(k->head) && k->got == sizeof(k->head) + k->len) {
            handle(c, k, now);
            return;
        }
    }
    conn_close(c, k);
}

static void conn_ready(struct ipc_control *c, struct conn *k, int64_t now)
{
    switch (k->state) {
    case CONN_READING: read_some(c, k, now); break;
    case CONN_WRITING: write_some(c, k); break;
    case CONN_WAITING: conn_close(c, k); break; /* the client has left */
    case CONN_FREE: break;
    }
}

static void close_late(struct ipc_control *c, int64_t now)
{
    for (unsigned i = 0; i < IPC_CONTROL_CLIENTS; i++) {
        struct conn *k = &c->conn[i];
        if ((k->state == CONN_READING || k->state == CONN_WRITING) && now > k->deadline)
            conn_close(c, k);
    }
}

void ipc_control_run(struct ipc_control *c, int64_t now)
{
    struct epoll_event ev[IPC_CONTROL_CLIENTS + 1];
    if (!c->listening && c->nconns < IPC_CONTROL_CLIENTS && now >= c->pause_end) {
        c->pause_end = 0;
        listen_on(c, true);
    }
    int n = epoll_wait(c->epfd, ev, IPC_CONTROL_CLIENTS + 1, 0);
    for (int i = 0; i < n; i++) {
        if (ev[i].data.u64 == LISTEN_TAG)
            accept_one(c, now);
        else if (ev[i].data.u64 < IPC_CONTROL_CLIENTS)
            conn_ready(c, &c->conn[ev[i].data.u64], now);
    }
    close_late(c, now);
}

void ipc_control_answer(struct ipc_control *c, uint64_t id, json_t *answer)
{
    for (unsigned i = 0; i < IPC_CONTROL_CLIENTS; i++) {
        if (c->conn[i].state == CONN_WAITING && c->conn[i].id == id) {
            start_answer(c, &c->conn[i], answer, sk_now_mono());
            return;
        }
    }
    json_decref(answer);
}
