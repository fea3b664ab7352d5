/* Blocks by size class; what is given back is kept for reuse, so that a worker soon runs without malloc. */
#include <stdlib.h>
#include "http/internal.h"

static unsigned class_of(uint32_t size)
{
    unsigned c = 0;
    while (c < POOL_CLASSES && ((uint64_t)1 << (c + POOL_MIN_SHIFT)) < size)
        c++;
    return c;
}

/* Under pressure: blocks of other sizes that nobody uses go back to malloc. */
static void pool_trim(struct http_pool *pool, uint64_t need)
{
    for (unsigned c = POOL_CLASSES; c-- > 0;) {
        while (pool->freelist[c] != NULL && pool->taken + need > pool->limit) {
            struct pool_free *f = pool->freelist[c];
            pool->freelist[c] = f->next;
            pool->taken -= (uint64_t)1 << (c + POOL_MIN_SHIFT);
            free(f);
        }
    }
}

static void *pool_grow(struct http_pool *pool, uint32_t size)
{
    if (pool->taken + size > pool->limit)
        pool_trim(pool, size);
    void *p = pool->taken + size > pool->limit ? NULL : malloc(size);
    if (p == NULL) {
        sk_count(pool->counters, SK_C_HTTP_MEMCAP);
        return NULL;
    }
    pool->taken += size;
    return p;
}

void *pool_get(struct http_pool *pool, uint32_t size, uint32_t *cap)
{
    unsigned c = class_of(size);
    if (c >= POOL_CLASSES) {
        sk_count(pool->counters, SK_C_HTTP_MEMCAP);
        return NULL;
    }
    *cap = (uint32_t)1 << (c + POOL_MIN_SHIFT);
    struct pool_free *f = pool->freelist[c];
    if (f == NULL)
        return pool_grow(pool, *cap);
    pool->freelist[c] = f->next;
    return f;
}

void pool_put(struct http_pool *pool, void *p, uint32_t cap)
{
    if (p == NULL)
        return;
    unsigned c = class_of(cap);
    struct pool_free *f = (struct pool_free *)p;
    f->next = pool->freelist[c];
    pool->freelist[c] = f;
}

void pool_destroy(struct http_pool *pool)
{
    for (unsigned c = 0; c < POOL_CLASSES; c++) {
        while (pool->freelist[c] != NULL) {
            struct pool_free *f = pool->freelist[c];
            pool->freelist[c] = f->next;
            free(f);
        }
    }
}

bool mem_reserve(struct http_pool *pool, struct http_mem *m, uint32_t more)
{
    if (more <= m->cap - m->len)
        return true;
    if (more > UINT32_MAX / 2 - m->len)
        return false;
    uint32_t want = m->len + more, cap;
    /* A class up, so that a body that grows packet by packet is not copied each time. */
    if (m->cap > 0 && want < m->cap * 2)
        want = m->cap * 2;
    uint8_t *p = (uint8_t *)pool_get(pool, want, &cap);
    if (p == NULL)
        return false;
    if (m->len > 0)
        memcpy(p, m->p, m->len);
    pool_put(pool, m->p, m->cap);
    m->p = p;
    m->cap = cap;
    return true;
}

bool mem_append(struct http_pool *pool, struct http_mem *m, const void *p, uint32_t len)
{
    if (!mem_reserve(pool, m, len))
        return false;
    if (len > 0)
        memcpy(m->p + m->len, p, len);
    m->len += len;
    return true;
}

void mem_release(struct http_pool *pool, struct http_mem *m)
{
    pool_put(pool, m->p, m->cap);
    *m = (struct http_mem){0};
}
