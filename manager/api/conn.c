/*
 * Connections and the time each may take. The library knows only how long one is silent; a client that sends a byte now
 * and then would stay for ever. Who is late has its socket shut down, which the library sees as its end. The descriptor
 * is this connection's as long as it is in the list: the library closes it behind CLOSED.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include "api_priv.h"

struct conn *conn_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i != NULL ? (struct conn *)i->socket_context : NULL;
}

static struct sk_addr addr_of(const struct sockaddr *sa)
{
    struct sk_addr a = {0};
    if (sa != NULL && sa->sa_family == AF_INET)
        a = sk_addr_from_v4(&((const struct sockaddr_in *)(const void *)sa)->sin_addr);
    else if (sa != NULL && sa->sa_family == AF_INET6)
        a = sk_addr_from_v6(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
    return a;
}

static void begin(struct api *a, struct MHD_Connection *c, void **ctx)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *from = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct conn *k = (struct conn *)calloc(1, sizeof(*k));
    *ctx = k;
    if (k == NULL)
        return; /* its requests are refused */
    k->fd = fd != NULL ? fd->connect_fd : -1;
    k->addr = addr_of(from != NULL ? from->client_addr : NULL);
    k->deadline = sk_now_mono() + API_HEAD_S * SK_NS_PER_S;
    pthread_mutex_lock(&a->conns.lock);
    k->next = a->conns.head;
    if (k->next != NULL)
        k->next->prev = k;
    a->conns.head = k;
    a->conns.n++;
    pthread_mutex_unlock(&a->conns.lock);
}

static void end(struct api *a, struct conn *k)
{
    if (k == NULL)
        return;
    pthread_mutex_lock(&a->conns.lock);
    if (k->prev != NULL)
        k->prev->next = k->next;
    else
        a->conns.head = k->next;
    if (k->next != NULL)
        k->next->prev = k->prev;
    a->conns.n--;
    pthread_mutex_unlock(&a->conns.lock);
    free(k);
}

void conns_notify(void *arg, struct MHD_Connection *c, void **ctx, enum MHD_ConnectionNotificationCode code)
{
    struct api *a = (struct api *)arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        begin(a, c, ctx);
    else
        end(a, (struct conn *)*ctx);
}

void conn_deadline(struct api *a, struct conn *c, int64_t deadline)
{
    pthread_mutex_lock(&a->conns.lock);
    c->deadline = deadline;
    pthread_mutex_unlock(&a->conns.lock);
}

/* When nearly all places are taken, those that have never finished a request must be quicker. */
static int64_t due(const struct api *a, const struct conn *k)
{
    bool pressed = a->conns.n > a->o.max_connections / 10 * 9;
    return pressed && !k->handled && k->deadline != INT64_MAX ? k->deadline - (API_HEAD_S - API_PRESSED_S) * SK_NS_PER_S
                                                              : k->deadline;
}

void conns_sweep(struct api *a, int64_t now)
{
    unsigned closed = 0;
    pthread_mutex_lock(&a->conns.lock);
    for (struct conn *k = a->conns.head; k != NULL; k = k->next) {
        if (now < due(a, k))
            continue;
        (void)shutdown(k->fd, SHUT_RDWR);
        k->deadline = INT64_MAX;
        closed++;
    }
    pthread_mutex_unlock(&a->conns.lock);
    count_add(&a->counts.connections_closed_slow, closed);
}
