/* Growing byte buffer with a declared maximum and a sticky error: past max, `full` is set and appends do nothing. */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include "base/err.h"
#include "base/span.h"

struct sk_strbuf {
    char *p; /* NUL-terminated when not NULL */
    size_t len, cap, max;
    bool full;
};

void sk_strbuf_init(struct sk_strbuf *b, size_t max);
void sk_strbuf_add(struct sk_strbuf *b, const void *p, size_t len);
void sk_strbuf_puts(struct sk_strbuf *b, const char *s);
void sk_strbuf_printf(struct sk_strbuf *b, const char *fmt, ...) SK_PRINTF(2, 3);
/* Keeps the memory. */
void sk_strbuf_clear(struct sk_strbuf *b);
void sk_strbuf_free(struct sk_strbuf *b);

#endif
