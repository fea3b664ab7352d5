/* A borrowed run of bytes. Owns nothing; valid as long as what it points into. p may be NULL only when len is 0. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sk_span {
    const uint8_t *p;
    uint32_t len;
};

static inline struct sk_span sk_span_of(const void *p, uint32_t len)
{
    return (struct sk_span){.p = (const uint8_t *)p, .len = len};
}

static inline struct sk_span sk_span_str(const char *s)
{
    return (struct sk_span){.p = (const uint8_t *)s, .len = (uint32_t)strlen(s)};
}

static inline bool sk_span_eq(struct sk_span a, struct sk_span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* ASCII case-insensitive comparison with a C string. */
bool sk_span_ieq(struct sk_span a, const char *s);
/* Without leading and trailing spaces and tabs. */
struct sk_span sk_span_trim(struct sk_span s);

#endif
