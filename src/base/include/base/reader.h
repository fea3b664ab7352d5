/*
 * Bounded reader for hostile bytes, with a sticky error: once a read does not fit, `bad` is set, that read and every
 * later one return zero (or an empty span), and the position stays. Check `bad` once at the end of a structure.
 * Multi-byte integers are big-endian unless the name says otherwise.
 */
#ifndef BASE_READER_H
#define BASE_READER_H

#include "base/span.h"

struct sk_reader {
    const uint8_t *p;   /* next byte */
    const uint8_t *end; /* one past the last byte */
    bool bad;
};

static inline struct sk_reader rd_init(const void *p, size_t len)
{
    const uint8_t *b = (const uint8_t *)p;
    return (struct sk_reader){.p = b, .end = b + len, .bad = false};
}

static inline size_t rd_left(const struct sk_reader *r)
{
    return (size_t)(r->end - r->p);
}

static inline bool rd_need(struct sk_reader *r, size_t need)
{
    if (r->bad || need > rd_left(r)) {
        r->bad = true;
        return false;
    }
    return true;
}

static inline uint8_t rd_u8(struct sk_reader *r)
{
    return rd_need(r, 1) ? *r->p++ : 0;
}

static inline uint16_t rd_u16(struct sk_reader *r)
{
    if (!rd_need(r, 2))
        return 0;
    uint16_t v = (uint16_t)(r->p[0] << 8 | r->p[1]);
    r->p += 2;
    return v;
}

static inline uint32_t rd_u24(struct sk_reader *r)
{
    if (!rd_need(r, 3))
        return 0;
    uint32_t v = (uint32_t)r->p[0] << 16 | (uint32_t)r->p[1] << 8 | r->p[2];
    r->p += 3;
    return v;
}

static inline uint32_t rd_u32(struct sk_reader *r)
{
    if (!rd_need(r, 4))
        return 0;
    uint32_t v = (uint32_t)r->p[0] << 24 | (uint32_t)r->p[1] << 16 | (uint32_t)r->p[2] << 8 | r->p[3];
    r->p += 4;
    return v;
}

static inline uint64_t rd_u64(struct sk_reader *r)
{
    uint64_t hi = rd_u32(r);
    return hi << 32 | rd_u32(r);
}

static inline void rd_skip(struct sk_reader *r, size_t n)
{
    if (rd_need(r, n))
        r->p += n;
}

static inline struct sk_span rd_span(struct sk_reader *r, size_t n)
{
    if (!rd_need(r, n))
        return (struct sk_span){0};
    struct sk_span s = {.p = r->p, .len = (uint32_t)n};
    r->p += n;
    return s;
}

#endif
