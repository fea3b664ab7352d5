/*
 * The exporter: one page, /metrics, over HTTP, on a socket that the guard has opened. What it shows it asks of the
 * guard, at most once a second. It holds no privilege and nothing else: neither packets nor events pass here.
 */
#include <microhttpd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "cli.h"
#include "ipc/blob.h"
#include "metrics.h"
#include "role.h"

#define CONNECTIONS    16          /* at once; a further one waits in the listen queue */
#define CONNECTION_MEM (16u << 10) /* bytes of a request's head; a longer one is refused by the library */
#define IDLE_S         10          /* a connection that is silent for so long is closed */
#define FRESH          SK_NS_PER_S /* a page that is younger is served again */
#define ANSWER_MS      2000        /* that a scrape waits for the guard */

struct exporter {
    struct MHD_Daemon *http;
    struct sk_strbuf page;
    int64_t made;   /* monotonic; 0: there is none */
    int64_t failed; /* when the guard did not answer */
    int64_t next_alive;
    bool stopping, broken;
    struct ipc_msg msg;
};

static int take_fd(struct ipc_msg *m)
{
    int fd = m->fd[0];
    m->fd[0] = -1;
    return fd;
}

/* A message without content. */
static void tell(enum ipc_type type)
{
    const struct ipc_empty e = {0};
    (void)!ipc_send(ROLE_FD_CHANNEL, type, &e, NULL, 0);
}

/* --- what the guard says --- */

static int take_answer(struct exporter *x)
{
    const void *text;
    size_t len;
    int rc = ipc_blob_map(x->msg.fd[0], METRICS_MAX, &text, &len);
    if (rc != SK_OK)
        return rc;
    json_t *status = json_loadb((const char *)text, len, 0, NULL);
    ipc_blob_unmap(text, len);
    sk_strbuf_clear(&x->page);
    rc = status != NULL ? metrics_render(status, &x->page) : SK_EPROTO;
    json_decref(status);
    x->made = rc == SK_OK ? sk_now_mono() : 0;
    return rc == SK_EFULL ? SK_OK : rc; /* too long a page is not served */
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **state);

static int on_listen(struct exporter *x)
{
    int fd = take_fd(&x->msg);
    if (x->http != NULL) {
        close(fd);
        return SK_EPROTO;
    }
    x->http = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, x, MHD_OPTION_LISTEN_SOCKET, fd,
                               MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
                               (unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEM,
                               MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    return x->http != NULL ? SK_OK : SK_EIO;
}

static int on_message(struct exporter *x)
{
    switch (x->msg.type) {
    case IPC_LISTEN: return on_listen(x);
    case IPC_ANSWER: return take_answer(x);
    case IPC_START: tell(IPC_READY); return SK_OK;
    case IPC_STOP: x->stopping = true; return SK_OK;
    default: return SK_EPROTO;
    }
}

/* All messages that are there. SK_EEND: the guard is gone. */
static int drain_channel(struct exporter *x)
{
    for (;;) {
        int rc = ipc_recv(ROLE_FD_CHANNEL, &x->msg);
        if (rc != SK_OK)
            return rc == SK_EAGAIN ? SK_OK : rc;
        rc = on_message(x);
        ipc_msg_close(&x->msg);
        if (rc != SK_OK)
            return rc;
    }
}

/* --- what is asked over HTTP --- */

static bool fresh(const struct exporter *x)
{
    return x->made != 0 && sk_now_mono() - x->made < FRESH;
}

/* The guard answers within milliseconds; whoever else asks meanwhile waits so long, and not once more each. */
static bool fetch(struct exporter *x)
{
    int64_t now = sk_now_mono(), until = now + ANSWER_MS * SK_NS_PER_MS;
    if (fresh(x))
        return true;
    if (x->failed != 0 && now - x->failed < FRESH)
        return false;
    x->made = 0;
    tell(IPC_ASK);
    while (!x->broken && !x->stopping && x->made == 0 && sk_now_mono() < until) {
        struct pollfd p = {.fd = ROLE_FD_CHANNEL, .events = POLLIN};
        (void)poll(&p, 1, 100);
        x->broken = drain_channel(x) != SK_OK;
    }
    x->failed = x->made == 0 ? sk_now_mono() : 0;
    return x->made != 0;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned code, const char *type, const void *text, size_t len)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (r == NULL)
        return MHD_NO;
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET");
    enum MHD_Result rc = MHD_queue_response(c, code, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned code, const char *text)
{
    return answer(c, code, "text/plain", text, strlen(text));
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **state)
{
    static int begun;
    struct exporter *x = (struct exporter *)arg;
    (void)version, (void)upload;
    if (*upload_size != 0)
        return MHD_NO; /* a GET with a body: closed */
    if (strcmp(url, "/metrics") != 0)
        return refuse(c, MHD_HTTP_NOT_FOUND, "There is only /metrics here.\n");
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
        return refuse(c, MHD_HTTP_METHOD_NOT_ALLOWED, "Only GET is answered.\n");
    if (*state == NULL) { /* the head is there; an answer now would end the connection */
        *state = &begun;
        return MHD_YES;
    }
    if (!fetch(x))
        return refuse(c, MHD_HTTP_SERVICE_UNAVAILABLE, "The agent does not answer.\n");
    return answer(c, MHD_HTTP_OK, METRICS_TYPE, x->page.p, x->page.len);
}

/* --- */

static int http_fd(const struct exporter *x)
{
    const union MHD_DaemonInfo *i = x->http != NULL ? MHD_get_daemon_info(x->http, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    return i != NULL ? i->epoll_fd : -1;
}

/* At most a second, for the sign of life. */
static int timeout_ms(const struct exporter *x)
{
    MHD_UNSIGNED_LONG_LONG left = 1000;
    if (x->http != NULL && MHD_get_timeout(x->http, &left) != MHD_YES)
        left = 1000;
    return left < 1000 ? (int)left : 1000;
}

static int loop(struct exporter *x)
{
    while (!x->stopping) {
        struct pollfd p[2] = {{.fd = ROLE_FD_CHANNEL, .events = POLLIN}, {.fd = http_fd(x), .events = POLLIN}};
        (void)poll(p, 2, timeout_ms(x));
        int rc = drain_channel(x);
        if (rc != SK_OK)
            return rc;
        if (x->http != NULL)
            (void)MHD_run(x->http);
        if (x->broken)
            return SK_EPROTO;
        if (sk_now_mono() >= x->next_alive) {
            x->next_alive = sk_now_mono() + SK_NS_PER_S;
            tell(IPC_ALIVE);
        }
    }
    return SK_OK;
}

int role_exporter(int argc, char **argv)
{
    bool confined = false;
    if (role_enter(ROLE_EXPORTER, argc, argv, &confined) != SK_OK)
        return CLI_FAILED;
    static struct exporter x;
    struct ipc_hello hello = {.pid = getpid(), .confined = confined};
    sk_strbuf_init(&x.page, METRICS_MAX);
    int rc = ipc_send(ROLE_FD_CHANNEL, IPC_HELLO, &hello, NULL, 0);
    if (rc == SK_OK)
        rc = loop(&x);
    if (rc != SK_OK && rc != SK_EEND)
        sk_log(SK_LOG_ERROR, "stopped: %s", sk_strerror(rc));
    _exit(rc == SK_OK ? CLI_OK : CLI_FAILED); /* not exit: handlers of libraries would want system calls */
}
