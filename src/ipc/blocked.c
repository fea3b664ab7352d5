#include "ipc/blocked.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/hash.h"
#include "memfd.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define HEADER_BYTES 4096
#define LENGTHS      129

/* What a slot holds: a prefix length and more than these. */
enum { SLOT_EMPTY, SLOT_GONE, SLOT_LEN };

struct header {
    struct sk_hash_key key;      /* written once, before anybody else sees it */
    _Atomic uint64_t lengths[3]; /* bit n: there may be a prefix of length n */
};

struct slot {
    _Atomic uint32_t seq, what;
    _Atomic uint64_t a0, a1;
    _Atomic int64_t expires;
};

_Static_assert(sizeof(struct slot) == 32 && sizeof(struct header) <= HEADER_BYTES, "as drawn");

struct ipc_blocked_writer {
    struct header *h;
    struct slot *s;
    uint32_t slots, n;
    uint32_t of_length[LENGTHS];
    uint64_t refused;
};

struct ipc_blocked {
    const struct header *h;
    const struct slot *s;
    uint32_t slots;
    struct sk_hash_key key;
};

static size_t bytes_of(uint32_t slots)
{
    return HEADER_BYTES + (size_t)slots * sizeof(struct slot);
}

static uint32_t place_of(const struct sk_hash_key *k, const struct sk_prefix *p)
{
    const uint64_t w[3] = {p->addr.q[0], p->addr.q[1], p->len};
    return (uint32_t)sk_siphash_words(k, w, 3);
}

static uint32_t probes_of(uint32_t slots)
{
    return slots < IPC_BLOCKED_PROBES ? slots : IPC_BLOCKED_PROBES;
}

/* ---- the writer ---- */

/* The seals come last: F_SEAL_FUTURE_WRITE leaves the mapping that is there as it is. */
static int make_memory(size_t size, int *out, void **map)
{
    int fd = memfd_create("sekisho-blocked", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return SK_EIO;
    void *p =
        ftruncate(fd, (off_t)size) == 0 ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p != MAP_FAILED &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0) {
        *out = fd;
        *map = p;
        return SK_OK;
    }
    if (p != MAP_FAILED)
        munmap(p, size);
    close(fd);
    return SK_EIO;
}

int ipc_blocked_create(uint32_t slots, int *fd, struct ipc_blocked_writer **out)
{
    void *map;
    if (slots < IPC_BLOCKED_MIN || slots > IPC_BLOCKED_MAX || (slots & (slots - 1)) != 0)
        return SK_EINVAL;
    struct ipc_blocked_writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return SK_ENOMEM;
    int rc = make_memory(bytes_of(slots), fd, &map);
    if (rc != SK_OK) {
        free(w);
        return rc;
    }
    w->h = map;
    w->s = (struct slot *)(void *)((char *)map + HEADER_BYTES);
    w->slots = slots;
    sk_hash_key_random(&w->h->key);
    *out = w;
    return SK_OK;
}

void ipc_blocked_free(struct ipc_blocked_writer *w)
{
    if (w == NULL)
        return;
    munmap(w->h, bytes_of(w->slots));
    free(w);
}

static uint32_t what_of(const struct slot *s)
{
    return atomic_load_explicit(&s->what, memory_order_relaxed);
}

/* Released one by one: who reads a new value reads an odd or a later seq behind it. */
static void slot_write(struct slot *s, uint32_t what, const struct sk_addr *a, int64_t expires)
{
    uint32_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed);
    atomic_store_explicit(&s->seq, seq + 1, memory_order_relaxed);
    atomic_store_explicit(&s->what, what, memory_order_release);
    atomic_store_explicit(&s->a0, a->q[0], memory_order_release);
    atomic_store_explicit(&s->a1, a->q[1], memory_order_release);
    atomic_store_explicit(&s->expires, expires, memory_order_release);
    atomic_store_explicit(&s->seq, seq + 2, memory_order_release);
}

static bool holds(const struct slot *s, const struct sk_prefix *p)
{
    return what_of(s) == SLOT_LEN + (uint32_t)p->len &&
           atomic_load_explicit(&s->a0, memory_order_relaxed) == p->addr.q[0] &&
           atomic_load_explicit(&s->a1, memory_order_relaxed) == p->addr.q[1];
}

/* p's slot, or NULL; then *room is where it may go, or NULL. */
static struct slot *find(const struct ipc_blocked_writer *w, const struct sk_prefix *p, struct slot **room)
{
    uint32_t at = place_of(&w->h->key, p), n = probes_of(w->slots);
    *room = NULL;
    for (uint32_t i = 0; i < n; i++) {
        struct slot *s = &w->s[(at + i) & (w->slots - 1)];
        if (holds(s, p))
            return s;
        if (what_of(s) < SLOT_LEN && *room == NULL)
            *room = s;
        if (what_of(s) == SLOT_EMPTY)
            return NULL;
    }
    return NULL;
}

static void length_used(struct ipc_blocked_writer *w, uint8_t len, bool used)
{
    uint64_t bit = UINT64_C(1) << (len & 63);
    if (used && w->of_length[len]++ == 0)
        atomic_fetch_or_explicit(&w->h->lengths[len >> 6], bit, memory_order_release);
    if (!used && --w->of_length[len] == 0)
        atomic_fetch_and_explicit(&w->h->lengths[len >> 6], ~bit, memory_order_release);
}

int ipc_blocked_put(struct ipc_blocked_writer *w, const struct sk_prefix *p, int64_t expires)
{
    struct slot *room, *s = find(w, p, &room);
    if (s != NULL) {
        slot_write(s, SLOT_LEN + (uint32_t)p->len, &p->addr, expires);
        return SK_OK;
    }
    /* A quarter stays free, so that searches are short. */
    if (room == NULL || w->n >= w->slots / 4 * 3) {
        w->refused++;
        return SK_EFULL;
    }
    length_used(w, p->len, true);
    slot_write(room, SLOT_LEN + (uint32_t)p->len, &p->addr, expires);
    w->n++;
    return SK_OK;
}

/* Places of the gone right before an empty one are as good as empty: no search has to go past them. */
static void sweep(struct ipc_blocked_writer *w, uint32_t at)
{
    static const struct sk_addr none;
    if (what_of(&w->s[(at + 1) & (w->slots - 1)]) != SLOT_EMPTY)
        return;
    for (uint32_t i = 0; i < w->slots; i++) {
        struct slot *s = &w->s[(at - i) & (w->slots - 1)];
        if (what_of(s) != SLOT_GONE)
            return;
        slot_write(s, SLOT_EMPTY, &none, 0);
    }
}

void ipc_blocked_remove(struct ipc_blocked_writer *w, const struct sk_prefix *p)
{
    static const struct sk_addr none;
    struct slot *room, *s = find(w, p, &room);
    if (s == NULL)
        return;
    slot_write(s, SLOT_GONE, &none, 0);
    sweep(w, (uint32_t)(s - w->s));
    length_used(w, p->len, false);
    w->n--;
}

void ipc_blocked_clear(struct ipc_blocked_writer *w)
{
    static const struct sk_addr none;
    for (uint32_t i = 0; i < w->slots; i++)
        if (what_of(&w->s[i]) != SLOT_EMPTY) /* untouched pages stay so */
            slot_write(&w->s[i], SLOT_EMPTY, &none, 0);
    for (unsigned i = 0; i < 3; i++)
        atomic_store_explicit(&w->h->lengths[i], 0, memory_order_release);
    memset(w->of_length, 0, sizeof(w->of_length));
    w->n = 0;
}

uint32_t ipc_blocked_count(const struct ipc_blocked_writer *w)
{
    return w->n;
}

uint64_t ipc_blocked_refused(const struct ipc_blocked_writer *w)
{
    return w->refused;
}

/* ---- readers ---- */

int ipc_blocked_map(int fd, struct ipc_blocked **out)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size < (off_t)bytes_of(IPC_BLOCKED_MIN) ||
        st.st_size > (off_t)bytes_of(IPC_BLOCKED_MAX))
        return SK_EPROTO;
    uint32_t slots = (uint32_t)(((size_t)st.st_size - HEADER_BYTES) / sizeof(struct slot));
    if ((slots & (slots - 1)) != 0 || memfd_check(fd, bytes_of(slots)) != SK_OK)
        return SK_EPROTO;
    struct ipc_blocked *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return SK_ENOMEM;
    const void *map = mmap(NULL, bytes_of(slots), PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        free(b);
        return SK_EIO;
    }
    b->h = map;
    b->s = (const struct slot *)(const void *)((const char *)map + HEADER_BYTES);
    b->slots = slots;
    b->key = b->h->key;
    *out = b;
    return SK_OK;
}

void ipc_blocked_unmap(struct ipc_blocked *b)
{
    if (b == NULL)
        return;
    munmap((void *)(uintptr_t)b->h, bytes_of(b->slots));
    free(b);
}

struct view {
    uint32_t what;
    struct sk_addr addr;
    int64_t expires;
};

/* False: it is being changed all the time. */
static bool slot_read(const struct slot *s, struct view *v)
{
    for (int i = 0; i < IPC_BLOCKED_TRIES; i++) {
        uint32_t seq = atomic_load_explicit(&s->seq, memory_order_acquire);
        v->what = atomic_load_explicit(&s->what, memory_order_acquire);
        v->addr.q[0] = atomic_load_explicit(&s->a0, memory_order_acquire);
        v->addr.q[1] = atomic_load_explicit(&s->a1, memory_order_acquire);
        v->expires = atomic_load_explicit(&s->expires, memory_order_acquire);
        if ((seq & 1) == 0 && atomic_load_explicit(&s->seq, memory_order_relaxed) == seq)
            return true;
    }
    return false;
}

static bool has_prefix(const struct ipc_blocked *b, const struct sk_prefix *p, int64_t now)
{
    uint32_t at = place_of(&b->key, p), n = probes_of(b->slots);
    for (uint32_t i = 0; i < n; i++) {
        struct view v;
        if (!slot_read(&b->s[(at + i) & (b->slots - 1)], &v))
            continue;
        if (v.what == SLOT_EMPTY)
            return false;
        if (v.what == SLOT_LEN + (uint32_t)p->len && sk_addr_eq(&v.addr, &p->addr))
            return v.expires > now;
    }
    return false;
}

bool ipc_blocked_has(const struct ipc_blocked *b, const struct sk_addr *a, int64_t now)
{
    for (unsigned word = 0; word < 3; word++) {
        uint64_t bits = atomic_load_explicit(&b->h->lengths[word], memory_order_acquire);
        for (; bits != 0; bits &= bits - 1) {
            unsigned len = word * 64 + (unsigned)__builtin_ctzll(bits);
            if (len > 128)
                break;
            struct sk_prefix p = sk_prefix_make(a, (uint8_t)len);
            if (has_prefix(b, &p, now))
                return true;
        }
    }
    return false;
}
