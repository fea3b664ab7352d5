/*
 * Ends the connection that carried an attack, by destroying this host's socket of it: what the server still has to say
 * is not sent, and of a client who came through a proxy, whom no packet filter can tell from others, the one connection
 * dies and not the proxy.
 *
 *   { sockkill_ask* → (the block goes to the kernel) → sockkill_run }*
 *
 * Asked for by the engine, and checked as if an enemy had written it. A connection is destroyed only when
 *   - it is TCP, and its server side is an own address of this host (NEVER_OWN),
 *   - its target is blocked at that moment, and
 *   - its other side lies in the target, or is a trusted hop (NEVER_PROXY);
 * and not more than SOCKKILL_RATE a second. Exactly the socket of the four numbers goes, never a listening one.
 *
 * Sockets of other network namespaces (containers) and those bound to one interface (SO_BINDTODEVICE) are not found.
 *
 * Owner: the guard; one thread. Full policy: what does not fit into the queue, or comes too fast, is not done, and
 * counted.
 */
#ifndef ENFORCE_SOCKKILL_H
#define ENFORCE_SOCKKILL_H

#include "decide/never.h"
#include "decide/request.h"
#include "enforce/blocktable.h"

#define SOCKKILL_QUEUE 1024 /* asked for between two runs */
#define SOCKKILL_RATE  1000 /* attempts a second, averaged; as many at once */

/* A connection as this host's socket has it. */
struct sockkill_conn {
    struct sk_addr local, peer;
    uint16_t lport, pport;
};

struct sockkill_ops {
    /* SK_ENOENT: there is no such connection (any more). SK_ENOTSUP: this kernel destroys none. SK_EPERM, SK_EIO. */
    int (*destroy)(void *ctx, const struct sockkill_conn *c);
};

/* The kernel: sock_diag(7). */
struct sockkill_diag;
/* SK_ENOTSUP: the kernel has no inet_diag. SK_EIO, SK_ENOMEM. */
SK_MUST_USE int sockkill_diag_open(struct sockkill_diag **out);
void sockkill_diag_close(struct sockkill_diag *d);    /* NULL is fine */
extern const struct sockkill_ops sockkill_kernel_ops; /* ctx is struct sockkill_diag * */

struct sockkill_stats {
    uint64_t killed;
    uint64_t gone;     /* had ended before */
    uint64_t failed;   /* the kernel would or could not */
    uint64_t refused;  /* by the rules above */
    uint64_t too_fast; /* over the rate, or the queue was full */
    bool unsupported;  /* SK_ENOTSUP was the answer: the kernel is not asked again */
    int last_error;    /* of `failed`; 0: none yet */
};

struct sockkill_setup {
    const struct sockkill_ops *ops; /* NULL: nothing can be destroyed; every attempt fails */
    void *ctx;
    const struct never_list *never;
    const struct block_table *table;
};

struct sockkill;

struct sockkill *sockkill_create(const struct sockkill_setup *s); /* s is copied; NULL without memory */
void sockkill_free(struct sockkill *k);                           /* NULL is fine */

/* Keeps what q says of the connection until the next run. */
void sockkill_ask(struct sockkill *k, const struct decide_request *q);
/* Checks and carries out all that was asked for. now: wall clock ns. */
void sockkill_run(struct sockkill *k, int64_t now);

const struct sockkill_stats *sockkill_stats(const struct sockkill *k);

#endif
