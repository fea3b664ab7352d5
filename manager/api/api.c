/* Start and end. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api_priv.h"
#include "base/log.h"

#define BACKLOG     1024
#define SILENT_S    120 /* the library's own limit; ours (conn.c) are shorter */
#define OTHER_FILES 256 /* descriptors besides connections */
#define PRIORITIES                                                                                                     \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:-AES-128-CBC:-AES-256-CBC:-CAMELLIA-128-CBC:"            \
    "-CAMELLIA-256-CBC:-AES-128-CCM:-AES-256-CCM:-SHA1:%SERVER_PRECEDENCE"

static bool running; /* one a process: tls.c */

static int fail(char *why, size_t cap, int rc, const char *text)
{
    snprintf(why, cap, "%s", text);
    return rc;
}

/* --- options --- */

static int copy_options(struct api *a, const struct api_options *o)
{
    a->o = *o;
    a->where = strdup(o->store);
    a->never = (struct sk_prefix *)calloc(o->nnever + 1, sizeof(*a->never));
    a->keys = (uint8_t(*)[PKI_ED25519_KEY])calloc(o->nsigning_keys + 1, PKI_ED25519_KEY);
    if (a->where == NULL || a->never == NULL || a->keys == NULL)
        return SK_ENOMEM;
    if (o->nnever > 0)
        memcpy(a->never, o->never, o->nnever * sizeof(*a->never));
    if (o->nsigning_keys > 0)
        memcpy(a->keys, o->signing_keys, o->nsigning_keys * PKI_ED25519_KEY);
    a->o.store = NULL;
    a->o.cert_pem = a->o.key_pem = NULL;
    a->rules = (struct item_rules){.never = a->never, .nnever = o->nnever, .max_block = o->max_block / SK_NS_PER_MS};
    return SK_OK;
}

/* Each connection is a descriptor: fewer of those, fewer of these. */
static void fit_descriptors(struct api *a)
{
    struct rlimit r;
    rlim_t want = (rlim_t)a->o.max_connections + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want)
        return;
    r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
    (void)setrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_cur < want) {
        a->o.max_connections = r.rlim_cur > 2 * OTHER_FILES ? (uint32_t)(r.rlim_cur - OTHER_FILES) : OTHER_FILES;
        sk_log(SK_LOG_WARN, "api: at most %u connections: there are no more file descriptors", a->o.max_connections);
    }
}

/* --- the listening socket --- */

static socklen_t sockaddr_of(const struct sk_addr *a, uint16_t port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (sk_addr_is_v4(a)) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)out;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        memcpy(&v4->sin_addr, a->b + 12, 4);
        return sizeof(*v4);
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    memcpy(&v6->sin6_addr, a->b, 16);
    return sizeof(*v6);
}

static int open_socket(struct api *a, char *why, size_t cap)
{
    struct sockaddr_storage sa;
    socklen_t len = sockaddr_of(&a->o.listen, a->o.port, &sa);
    int on = 1;
    a->listen_fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->listen_fd < 0)
        return fail(why, cap, SK_EIO, strerror(errno));
    (void)setsockopt(a->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(a->listen_fd, (struct sockaddr *)&sa, len) != 0 || listen(a->listen_fd, BACKLOG) != 0 ||
        getsockname(a->listen_fd, (struct sockaddr *)&sa, &len) != 0)
        return fail(why, cap, SK_EIO, strerror(errno));
    a->port = ntohs(sa.ss_family == AF_INET ? ((struct sockaddr_in *)&sa)->sin_port
                                            : ((struct sockaddr_in6 *)&sa)->sin6_port);
    return SK_OK;
}

/* --- the library --- */

static void on_http_error(void *arg, const char *fmt, va_list ap)
{
    (void)arg, (void)fmt, (void)ap; /* what clients do wrong, in the library's words */
}

static int start_http(struct api *a, char *why, size_t cap)
{
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_http_error, a},
        {MHD_OPTION_LISTEN_SOCKET, a->listen_fd, NULL},
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)tls_retrieve},
        {MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)(uintptr_t)pki_ca_pem(a->o.ca)},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)PRIORITIES},
        {MHD_OPTION_CONNECTION_LIMIT, a->o.max_connections, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, a->o.max_per_address, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, SILENT_S, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, API_POOL, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_INCREMENT, 1024, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)conns_notify, a},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http_completed, a},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TLS | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    a->http = MHD_start_daemon(flags, 0, http_accept, a, http_request, a, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (a->http == NULL)
        return fail(why, cap, SK_EIO, "the HTTPS server does not start");
    a->listen_fd = -1; /* the library's */
    return SK_OK;
}

static int start(struct api *a, const struct api_options *o, char *why, size_t cap)
{
    int rc = copy_options(a, o);
    if (rc != SK_OK || limiter_init(&a->limiter) != SK_OK || feed_init(&a->feed) != SK_OK)
        return fail(why, cap, SK_ENOMEM, "no memory");
    pthread_mutex_init(&a->conns.lock, NULL);
    fit_descriptors(a);
    if (tls_set_certificate(o->cert_pem, o->key_pem) != SK_OK)
        return fail(why, cap, SK_EINVAL, "the server's certificate or key cannot be used");
    rc = open_socket(a, why, cap);
    if (rc == SK_OK)
        rc = work_start(a, why, cap);
    if (rc == SK_OK && poll_start(a) != SK_OK)
        rc = fail(why, cap, SK_EIO, "no thread");
    if (rc == SK_OK)
        rc = start_http(a, why, cap);
    return rc;
}

int api_start(const struct api_options *o, struct api **out, char *why, size_t cap)
{
    if (running)
        return fail(why, cap, SK_EEXIST, "there is one already");
    struct api *a = (struct api *)calloc(1, sizeof(*a));
    if (a == NULL)
        return fail(why, cap, SK_ENOMEM, "no memory");
    snprintf(why, cap, "%s", "");
    running = true;
    a->listen_fd = a->work.wake = -1;
    int rc = start(a, o, why, cap);
    if (rc != SK_OK) {
        if (why[0] == '\0')
            snprintf(why, cap, "%s", sk_strerror(rc));
        api_stop(a);
        return rc;
    }
    *out = a;
    return SK_OK;
}

uint16_t api_port(const struct api *a)
{
    return a->port;
}

int api_set_certificate(struct api *a, const char *cert_pem, const char *key_pem)
{
    (void)a;
    return tls_set_certificate(cert_pem, key_pem);
}

/* No new connections; polls are answered by the feed's thread, the rest by the store's. */
static void drain(struct api *a)
{
    int fd = MHD_quiesce_daemon(a->http);
    if (fd >= 0)
        close(fd);
    for (int ms = 0; __atomic_load_n(&a->held, __ATOMIC_ACQUIRE) > 0 && ms < API_STOP_MS; ms += 10)
        (void)usleep(10000);
}

void api_stop(struct api *a)
{
    if (a == NULL)
        return;
    api_flag_set(&a->stopping, true);
    if (a->http != NULL)
        drain(a);
    poll_stop(a);
    work_stop(a);
    if (a->http != NULL)
        MHD_stop_daemon(a->http);
    poll_free(a);
    if (a->listen_fd >= 0)
        close(a->listen_fd);
    feed_free(&a->feed);
    pthread_mutex_destroy(&a->conns.lock);
    tls_clear();
    free(a->limiter.slots);
    free(a->where);
    free(a->never);
    free(a->keys);
    free(a);
    running = false;
}

/* --- status --- */

static void out_refused(const struct api *a, struct sk_strbuf *b)
{
    out_open(b, "refused", '{');
    for (unsigned c = API_FINE + 1; c < API_CODE_COUNT; c++) {
        char key[48];
        uint64_t n = count_get(&a->counts.refused[c]);
        snprintf(key, sizeof(key), "%u_%s", code_status((enum api_code)c), code_name((enum api_code)c));
        if (n > 0)
            out_int(b, key, (int64_t)n);
    }
    out_close(b, '}');
}

char *api_status(struct api *a)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, API_BODY_SMALL);
    out_open(&b, NULL, '{');
    out_bool(&b, "store_ok", api_flag(&a->store_ok));
#define X(name) out_int(&b, #name, (int64_t)count_get(&a->counts.name));
    API_COUNTS(X)
#undef X
    out_refused(a, &b);
    pthread_mutex_lock(&a->conns.lock);
    out_int(&b, "connections", a->conns.n);
    pthread_mutex_unlock(&a->conns.lock);
    feed_lock(&a->feed);
    out_int(&b, "agents_seen", (int64_t)a->feed.nagents);
    out_int(&b, "polls_waiting", a->feed.npolls);
    out_int(&b, "feed_seq", a->feed.last);
    out_int(&b, "feed_items", (int64_t)(a->feed.n - a->feed.dead));
    out_int(&b, "feed_served", (int64_t)a->feed.served);
    out_int(&b, "feed_made", (int64_t)a->feed.made);
    feed_unlock(&a->feed);
    out_close(&b, '}');
    return b.p;
}
