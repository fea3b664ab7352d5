#include "resolve.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct resolve {
    char host[256];
    struct resolve_result result; /* the thread's until done */
    atomic_bool done;
    atomic_int users; /* owner and thread: the last one frees */
};

static int compare(const void *a, const void *b)
{
    return sk_addr_cmp((const struct sk_addr *)a, (const struct sk_addr *)b);
}

static bool take(const struct addrinfo *a, struct sk_addr *out)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)a->ai_addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)a->ai_addr;
    if (a->ai_family == AF_INET)
        *out = sk_addr_from_v4(&v4->sin_addr);
    else if (a->ai_family == AF_INET6)
        *out = sk_addr_from_v6(&v6->sin6_addr);
    return a->ai_family == AF_INET || a->ai_family == AF_INET6;
}

static void release(struct resolve *r)
{
    if (atomic_fetch_sub(&r->users, 1) == 1)
        free(r);
}

static void *ask(void *arg)
{
    struct resolve *r = (struct resolve *)arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    if (getaddrinfo(r->host, NULL, &hints, &list) == 0) {
        for (const struct addrinfo *a = list; a != NULL && r->result.n < RESOLVE_MAX; a = a->ai_next)
            r->result.n += take(a, &r->result.addr[r->result.n]);
        qsort(r->result.addr, r->result.n, sizeof(r->result.addr[0]), compare);
        freeaddrinfo(list);
    }
    atomic_store(&r->done, true);
    release(r);
    return NULL;
}

struct resolve *resolve_start(const char *host)
{
    struct resolve *r = (struct resolve *)calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    snprintf(r->host, sizeof(r->host), "%s", host);
    atomic_init(&r->users, 2);
    pthread_attr_t attr;
    pthread_t t;
    bool ok = pthread_attr_init(&attr) == 0;
    if (ok) {
        ok = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0 && pthread_create(&t, &attr, ask, r) == 0;
        pthread_attr_destroy(&attr);
    }
    if (!ok) {
        free(r);
        return NULL;
    }
    return r;
}

bool resolve_get(struct resolve *r, struct resolve_result *out)
{
    if (!atomic_load(&r->done))
        return false;
    *out = r->result;
    return true;
}

void resolve_free(struct resolve *r)
{
    if (r != NULL)
        release(r);
}
