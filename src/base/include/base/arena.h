/*
 * Memory by lifetime: many small allocations, freed together. Not thread-safe; one owner.
 * An arena takes blocks from malloc up to `limit` bytes in all; past that, sk_arena_alloc returns NULL.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include "base/span.h"

struct sk_arena_block;

struct sk_arena {
    struct sk_arena_block *head;
    size_t block_size; /* size of an ordinary block */
    size_t limit;      /* most bytes taken from malloc; 0 is no limit */
    size_t taken;      /* bytes taken from malloc now */
};

/* block_size 0 means 4096. Takes no memory yet. */
void sk_arena_init(struct sk_arena *a, size_t block_size, size_t limit);
/* 16-byte aligned, not zeroed; NULL when the limit or malloc refuses. */
void *sk_arena_alloc(struct sk_arena *a, size_t size);
/* Zeroed. */
void *sk_arena_zalloc(struct sk_arena *a, size_t size);
/* A copy with a NUL behind it, which len does not count. NULL as above. */
char *sk_arena_strdup(struct sk_arena *a, const char *s);
struct sk_span sk_arena_copy(struct sk_arena *a, struct sk_span s);
/* Everything is gone; one ordinary block is kept for reuse. */
void sk_arena_reset(struct sk_arena *a);
/* Everything is gone and given back to malloc. */
void sk_arena_free(struct sk_arena *a);

#endif
