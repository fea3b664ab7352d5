#include "base/arena.h"

#include <stdlib.h>

#define ARENA_ALIGN         16
#define ARENA_DEFAULT_BLOCK 4096

struct sk_arena_block {
    struct sk_arena_block *next;
    size_t size; /* of data */
    size_t used;
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

void sk_arena_init(struct sk_arena *a, size_t block_size, size_t limit)
{
    *a = (struct sk_arena){.block_size = block_size ? block_size : ARENA_DEFAULT_BLOCK, .limit = limit};
}

/* Bytes of data in an ordinary block: block_size is what malloc is asked for. */
static size_t ordinary_size(const struct sk_arena *a)
{
    size_t head = sizeof(struct sk_arena_block);
    return a->block_size > head + ARENA_ALIGN ? a->block_size - head : ARENA_ALIGN;
}

static struct sk_arena_block *block_new(struct sk_arena *a, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct sk_arena_block))
        return NULL;
    size_t total = sizeof(struct sk_arena_block) + size;
    if (a->limit != 0 && total > a->limit - a->taken)
        return NULL;
    struct sk_arena_block *b = (struct sk_arena_block *)malloc(total);
    if (b == NULL)
        return NULL;
    *b = (struct sk_arena_block){.size = size};
    a->taken += total;
    return b;
}

static void block_free(struct sk_arena *a, struct sk_arena_block *b)
{
    a->taken -= sizeof(*b) + b->size;
    free(b);
}

/* A large request gets a block of its own behind the head, so that the head's free room is not lost. */
static void block_link(struct sk_arena *a, struct sk_arena_block *b, size_t ordinary)
{
    if (b->size > ordinary && a->head != NULL) {
        b->next = a->head->next;
        a->head->next = b;
    } else {
        b->next = a->head;
        a->head = b;
    }
}

void *sk_arena_alloc(struct sk_arena *a, size_t size)
{
    if (size > SIZE_MAX - ARENA_ALIGN)
        return NULL;
    /* Zero bytes still get an address of their own. */
    size_t want = size == 0 ? ARENA_ALIGN : (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    struct sk_arena_block *b = a->head;
    if (b == NULL || want > b->size - b->used) {
        size_t ordinary = ordinary_size(a);
        b = block_new(a, want > ordinary ? want : ordinary);
        if (b == NULL)
            return NULL;
        block_link(a, b, ordinary);
    }
    void *p = b->data + b->used;
    b->used += want;
    return p;
}

void *sk_arena_zalloc(struct sk_arena *a, size_t size)
{
    void *p = sk_arena_alloc(a, size);
    return p ? memset(p, 0, size) : NULL;
}

char *sk_arena_strdup(struct sk_arena *a, const char *s)
{
    size_t len = strlen(s);
    char *p = (char *)sk_arena_alloc(a, len + 1);
    return p ? (char *)memcpy(p, s, len + 1) : NULL;
}

struct sk_span sk_arena_copy(struct sk_arena *a, struct sk_span s)
{
    uint8_t *p = (uint8_t *)sk_arena_alloc(a, (size_t)s.len + 1);
    if (p == NULL)
        return (struct sk_span){0};
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    return sk_span_of(p, s.len);
}

void sk_arena_reset(struct sk_arena *a)
{
    size_t ordinary = ordinary_size(a);
    struct sk_arena_block *keep = NULL, *next;
    for (struct sk_arena_block *b = a->head; b != NULL; b = next) {
        next = b->next;
        if (keep == NULL && b->size == ordinary) {
            keep = b;
            keep->used = 0;
            keep->next = NULL;
        } else {
            block_free(a, b);
        }
    }
    a->head = keep;
}

void sk_arena_free(struct sk_arena *a)
{
    struct sk_arena_block *next;
    for (struct sk_arena_block *b = a->head; b != NULL; b = next) {
        next = b->next;
        block_free(a, b);
    }
    a->head = NULL;
}
