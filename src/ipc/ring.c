#include "ipc/ring.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "memfd.h"

/* At the start of the header page; each on its own cache line. */
struct ring_head {
    _Alignas(64) uint64_t head;
    _Alignas(64) uint64_t tail;
    _Alignas(64) uint32_t waiting;
};

#define REC_HEAD 8u

struct ipc_rings {
    uint8_t *map;
    size_t len;
    unsigned n;
    uint32_t size;
};

static size_t stride(uint32_t size)
{
    return (size_t)IPC_RING_HEADER + size;
}

static bool size_valid(unsigned n, uint32_t size)
{
    return n > 0 && n < 1024 && size >= IPC_RING_MIN && size <= IPC_RING_MAX && (size & (size - 1)) == 0;
}

int ipc_rings_create(unsigned n, uint32_t size, int *fd)
{
    if (!size_valid(n, size))
        return SK_EINVAL;
    return memfd_make("sekisho-events", n * stride(size), fd);
}

int ipc_rings_map(int fd, unsigned n, uint32_t size, struct ipc_rings **out)
{
    if (!size_valid(n, size))
        return SK_EPROTO;
    struct ipc_rings *r = (struct ipc_rings *)calloc(1, sizeof(*r));
    if (r == NULL)
        return SK_ENOMEM;
    *r = (struct ipc_rings){.len = n * stride(size), .n = n, .size = size};
    void *p;
    int rc = memfd_map_shared(fd, r->len, &p);
    if (rc != SK_OK) {
        free(r);
        return rc;
    }
    r->map = (uint8_t *)p;
    *out = r;
    return SK_OK;
}

void ipc_rings_unmap(struct ipc_rings *r)
{
    if (r == NULL)
        return;
    munmap(r->map, r->len);
    free(r);
}

static struct ring_head *head_of(uint8_t *base)
{
    return (struct ring_head *)(void *)base;
}

/* An index as it should be: records begin at multiples of 8, whatever a hostile side has written. */
static uint64_t load_index(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE) & ~UINT64_C(7);
}

static uint32_t padded(uint32_t len)
{
    return (len + 7u) & ~7u;
}

static void put_head(uint8_t *at, uint32_t len)
{
    uint32_t h[2] = {len, 0};
    memcpy(at, h, sizeof(h));
}

void ipc_producer_init(struct ipc_producer *p, struct ipc_rings *r, unsigned i, int wake_fd)
{
    *p = (struct ipc_producer){.base = r->map + i * stride(r->size), .size = r->size, .wake_fd = wake_fd};
    p->head = load_index(&head_of(p->base)->head);
}

/* The consumer may be hostile too: an impossible tail only means that nothing can be written. */
static uint64_t room_left(const struct ipc_producer *p)
{
    uint64_t used = p->head - __atomic_load_n(&head_of(p->base)->tail, __ATOMIC_ACQUIRE);
    return used > p->size ? 0 : p->size - used;
}

void ipc_producer_wake(struct ipc_producer *p)
{
    struct ring_head *h = head_of(p->base);
    if (!p->news)
        return;
    p->news = false;
    if (__atomic_load_n(&h->waiting, __ATOMIC_SEQ_CST) == 0 ||
        __atomic_exchange_n(&h->waiting, 0, __ATOMIC_RELAXED) == 0)
        return;
    uint64_t one = 1;
    ssize_t n = write(p->wake_fd, &one, sizeof(one)); /* can only fail when a wake-up is pending anyway */
    (void)n;
}

int ipc_produce(struct ipc_producer *p, const void *rec, uint32_t len)
{
    if (len == 0 || len > IPC_RING_REC_MAX)
        return SK_EINVAL;
    uint32_t need = REC_HEAD + padded(len);
    uint32_t at = (uint32_t)(p->head & (p->size - 1));
    uint32_t to_end = p->size - at;
    uint32_t skip = need > to_end ? to_end : 0;
    if ((uint64_t)need + skip > room_left(p))
        return SK_EFULL;
    uint8_t *data = p->base + IPC_RING_HEADER;
    if (skip > 0) {
        put_head(data + at, IPC_RING_SKIP);
        at = 0;
    }
    put_head(data + at, len);
    memcpy(data + at + REC_HEAD, rec, len);
    p->head += skip + need;
    /* Sequentially consistent on both sides: either a consumer that goes to sleep sees this head, or
     * ipc_producer_wake its wish. */
    __atomic_store_n(&head_of(p->base)->head, p->head, __ATOMIC_SEQ_CST);
    p->news = true;
    return SK_OK;
}

void ipc_consumer_init(struct ipc_consumer *c, struct ipc_rings *r, unsigned i)
{
    *c = (struct ipc_consumer){.base = r->map + i * stride(r->size), .size = r->size};
    c->tail = load_index(&head_of(c->base)->tail);
}

static void publish(struct ipc_consumer *c, uint64_t tail)
{
    c->tail = tail;
    __atomic_store_n(&head_of(c->base)->tail, tail, __ATOMIC_RELEASE);
}

static int give_up(struct ipc_consumer *c, uint64_t head)
{
    c->garbage++;
    publish(c, head);
    return SK_EPROTO;
}

int ipc_consume(struct ipc_consumer *c, void *buf, uint32_t cap, uint32_t *len)
{
    const uint8_t *data = c->base + IPC_RING_HEADER;
    uint64_t head = load_index(&head_of(c->base)->head);
    for (int turn = 0; turn < 2; turn++) {
        uint64_t used = head - c->tail;
        if (used == 0)
            return SK_EAGAIN;
        uint32_t at = (uint32_t)(c->tail & (c->size - 1)), to_end = c->size - at;
        if (used > c->size)
            return give_up(c, head);
        /* Read once: the producer may change it at any moment. tail and head are multiples of 8. */
        uint32_t n = __atomic_load_n((const uint32_t *)(const void *)(data + at), __ATOMIC_RELAXED);
        if (n == IPC_RING_SKIP && at != 0 && used >= to_end) {
            publish(c, c->tail + to_end);
            continue;
        }
        if (n == 0 || n > IPC_RING_REC_MAX || n > cap || REC_HEAD + padded(n) > used || REC_HEAD + padded(n) > to_end)
            return give_up(c, head);
        memcpy(buf, data + at + REC_HEAD, n);
        *len = n;
        publish(c, c->tail + REC_HEAD + padded(n));
        return SK_OK;
    }
    return give_up(c, head); /* two skips in a row */
}

bool ipc_consumer_sleep(struct ipc_consumer *c)
{
    struct ring_head *h = head_of(c->base);
    __atomic_store_n(&h->waiting, 1, __ATOMIC_SEQ_CST);
    return (__atomic_load_n(&h->head, __ATOMIC_SEQ_CST) & ~UINT64_C(7)) != c->tail;
}

uint64_t ipc_consumer_lag(const struct ipc_consumer *c)
{
    uint64_t used = load_index(&head_of(c->base)->head) - c->tail;
    return used > c->size ? 0 : used;
}
