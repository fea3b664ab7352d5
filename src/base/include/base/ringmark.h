/*
 * How far the reader of a capture ring has come, in memory that outlives it. The reader notes each frame before it
 * looks at it, so that whoever follows it neither meets a frame twice nor meets the one that killed it, and so that the
 * frames taken can be told exactly, wherever the reader died.
 *
 *   at:   | sequence number of the block in hand, 44 bits | frames of it that were taken, 20 bits |
 *   done: frames taken from all blocks before it
 *
 * There are two records; the one with the larger `at` counts. A new block is begun in the other one: first `done`, then
 * `at`, which makes it count. One writer; whoever reads while it lives may see it between two frames.
 */
#ifndef BASE_RINGMARK_H
#define BASE_RINGMARK_H

#include <stdbool.h>
#include <stdint.h>

#define SK_RING_FRAME_BITS 20 /* a frame takes 96 bytes or more, a block 64 MiB or less */
#define SK_RING_FRAME_MASK ((UINT64_C(1) << SK_RING_FRAME_BITS) - 1)

struct sk_ring_mark {
    _Alignas(64) struct {
        uint64_t done, at;
    } rec[2];
    uint64_t let_go; /* serial number of the last ring here that its reader will not touch again */
};

static inline uint64_t sk_ring_load(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline unsigned sk_ring_mark_newest(const struct sk_ring_mark *m)
{
    return sk_ring_load(&m->rec[1].at) > sk_ring_load(&m->rec[0].at);
}

static inline uint64_t sk_ring_mark_at(const struct sk_ring_mark *m)
{
    return sk_ring_load(&m->rec[sk_ring_mark_newest(m)].at);
}

/* Frames taken since the mark was zero. */
static inline uint64_t sk_ring_mark_taken(const struct sk_ring_mark *m)
{
    unsigned i = sk_ring_mark_newest(m);
    return sk_ring_load(&m->rec[i].done) + (sk_ring_load(&m->rec[i].at) & SK_RING_FRAME_MASK);
}

/* The frame at `at` is about to be looked at. Frames come in order. */
static inline void sk_ring_mark_take(struct sk_ring_mark *m, uint64_t at)
{
    unsigned i = sk_ring_mark_newest(m);
    if (m->rec[i].at >> SK_RING_FRAME_BITS != at >> SK_RING_FRAME_BITS) {
        uint64_t taken = m->rec[i].done + (m->rec[i].at & SK_RING_FRAME_MASK);
        i ^= 1;
        __atomic_store_n(&m->rec[i].done, taken, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&m->rec[i].at, at, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* the compiler must not put it behind what may kill the reader */
}

#endif
