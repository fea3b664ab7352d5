/*
 * Event ring: one producer, one consumer, shared memory, bytes in records. Several rings lie in one memfd:
 *
 *   | ring 0: header page, data | ring 1: header page, data | ...      header: head | tail | waiting, a cache line each
 *
 *   data:   ... | len u32 | 0 u32 | payload, padded to 8 | len | ...   a record never wraps; len = IPC_RING_SKIP:
 *               ^ tail                             head ^              go on at the start
 *
 * head and tail count bytes and never wrap (64 bits); the place is count mod size. Each side keeps its own index
 * private and believes the other's only after checking it: a hostile producer can lose its own events and nothing else.
 * The consumer copies a record out before looking at it.
 *
 * Full: the record is dropped and the caller counts it. A consumer that is about to sleep says so (`waiting`); only
 * then does ipc_producer_wake write to the eventfd: one wake-up a sleep, whatever the rate.
 */
#ifndef IPC_RING_H
#define IPC_RING_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

#define IPC_RING_HEADER  4096
#define IPC_RING_MIN     (256u << 10)
#define IPC_RING_MAX     (64u << 20)
#define IPC_RING_REC_MAX 65536 /* longest record (event.h: EVENT_MAX) */
#define IPC_RING_SKIP    UINT32_MAX

struct ipc_rings; /* the memfd, mapped */

/* Makes the memfd for n rings of `size` data bytes (power of two, IPC_RING_MIN..MAX), sealed against resizing. */
SK_MUST_USE int ipc_rings_create(unsigned n, uint32_t size, int *fd);
/* Maps it in a role; fd may be closed behind it. SK_EPROTO: its size is not n rings of that size. */
SK_MUST_USE int ipc_rings_map(int fd, unsigned n, uint32_t size, struct ipc_rings **out);
void ipc_rings_unmap(struct ipc_rings *r); /* NULL is fine */

struct ipc_producer {
    uint8_t *base;
    uint64_t head;
    uint32_t size;
    int wake_fd; /* eventfd */
    bool news;   /* records since the last ipc_producer_wake */
};

struct ipc_consumer {
    uint8_t *base;
    uint64_t tail;
    uint32_t size;
    uint64_t garbage; /* times that the producer's side made no sense; everything up to its head was skipped */
};

/* Goes on where an earlier producer stopped. i < n. */
void ipc_producer_init(struct ipc_producer *p, struct ipc_rings *r, unsigned i, int wake_fd);
/* SK_EFULL: dropped. Never blocks; one copy. len 1..IPC_RING_REC_MAX, else SK_EINVAL. */
SK_MUST_USE int ipc_produce(struct ipc_producer *p, const void *rec, uint32_t len);
/* Behind the last of some records, and before the producer rests: a consumer that sleeps is woken. */
void ipc_producer_wake(struct ipc_producer *p);

void ipc_consumer_init(struct ipc_consumer *c, struct ipc_rings *r, unsigned i);
/* Copies the next record into buf (cap >= IPC_RING_REC_MAX). SK_EAGAIN: empty. SK_EPROTO: garbage, skipped; go on. */
SK_MUST_USE int ipc_consume(struct ipc_consumer *c, void *buf, uint32_t cap, uint32_t *len);
/* Before sleeping: asks for a wake-up. True: there is something already; do not sleep. */
bool ipc_consumer_sleep(struct ipc_consumer *c);
/* Bytes waiting, for status. */
uint64_t ipc_consumer_lag(const struct ipc_consumer *c);

#endif
