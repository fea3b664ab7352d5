/*
 * HTTPS requests, as agent and manager make them: libcurl behind a small interface. HTTP/1.1, TLS 1.2 or later, no
 * redirects, no cookies, no proxy and no .netrc from the environment; bodies of answers are bounded.
 *
 *   one at a time:   fetch_do(&request, &response)
 *   many at once:    fetch_loop_create → { fetch_start* → fetch_loop_run }* → fetch_loop_free
 *
 * A loop and what was started in it belong to one thread; fetch_do may be called by any thread. Connections of a loop,
 * and of fetch_do within one thread, are kept and used again, with the certificate with which they were made: after a
 * new one has been written to its files, make a new loop, or call fetch_thread_end. Call fetch_init before any thread.
 */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define FETCH_HEADERS_MAX  24
#define FETCH_RESPONSE_MAX (1u << 20) /* bytes of a body where the request does not say */
#define FETCH_TEXT_MAX     256

struct fetch_tls {
    const char *ca_file;              /* PEM; NULL: the system's */
    const char *cert_file, *key_file; /* PEM; NULL: no client certificate */
};

struct fetch_request {
    const char *method;         /* "GET", "POST", "PUT", "DELETE" */
    const char *url;            /* https:// or http:// */
    const char *const *headers; /* "Name: value", nheaders of them; sent as they are, in this order; no empty value */
    unsigned nheaders;
    const void *body; /* NULL: none; copied by fetch_start */
    size_t body_len;
    const struct fetch_tls *tls; /* NULL: the system's CAs, no certificate; must outlive the request */
    int timeout_ms;              /* of the whole; > 0 */
    int connect_timeout_ms;      /* 0: as timeout_ms */
    size_t response_max;         /* 0: FETCH_RESPONSE_MAX */
    bool once; /* on a connection of its own: libcurl sends again, unasked, what got no answer on one that was kept */
};

enum fetch_result {
    FETCH_ANSWERED,    /* status says how */
    FETCH_UNREACHABLE, /* name, connection, or it broke before the answer was whole; a peer that refuses our
                          certificate and hangs up at once may look like this too */
    FETCH_TLS,         /* the peer's certificate was refused, or it refused ours */
    FETCH_TIMEOUT,
    FETCH_TOO_LARGE,
    FETCH_FAILED, /* memory, a request that makes no sense, a file of tls that cannot be read */
};

struct fetch_response {
    enum fetch_result result;
    int status; /* 100..599; 0 without an answer */
    char *body; /* NUL-terminated behind body_len bytes; never NULL when FETCH_ANSWERED */
    size_t body_len;
    int64_t date;              /* of the Date header, wall ns; 0: none */
    int64_t retry_after;       /* seconds, of the Retry-After header; -1: none */
    char error_type[64];       /* of x-amzn-errortype, up to ':'; "" */
    char peer[48];             /* address that answered; "" */
    char text[FETCH_TEXT_MAX]; /* why not, for a log; no secret is in it */
};

SK_MUST_USE int fetch_init(void);

/* Fills *r in any case; fetch_response_free it. SK_OK: answered; else SK_EIO, and r->result and r->text say why. */
SK_MUST_USE int fetch_do(const struct fetch_request *q, struct fetch_response *r);
void fetch_response_free(struct fetch_response *r);
/* The connections that fetch_do keeps for this thread. Before the thread ends. */
void fetch_thread_end(void);

struct fetch_loop;
/* r is the callback's to read until it returns. It may start further requests, and cancel others. */
typedef void fetch_fn(void *arg, const struct fetch_response *r);

SK_MUST_USE int fetch_loop_create(struct fetch_loop **out);
void fetch_loop_free(struct fetch_loop *l); /* what is under way ends without its callback; NULL is fine */
/* *id: for fetch_cancel; may be NULL. Everything of q but tls is copied. */
SK_MUST_USE int fetch_start(struct fetch_loop *l, const struct fetch_request *q, fetch_fn *fn, void *arg, uint64_t *id);
/* No callback comes. An id that is over is ignored. */
void fetch_cancel(struct fetch_loop *l, uint64_t id);
unsigned fetch_active(const struct fetch_loop *l);
/* Waits at most timeout_ms for the network or for one of extra[0..n) (as poll(2), revents filled), runs callbacks. */
SK_MUST_USE int fetch_loop_run(struct fetch_loop *l, struct pollfd *extra, unsigned n, int timeout_ms);

#endif
