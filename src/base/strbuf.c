#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define STRBUF_FIRST 256

void sk_strbuf_init(struct sk_strbuf *b, size_t max)
{
    *b = (struct sk_strbuf){.max = max};
}

/* Room for add more bytes and the NUL; sets full when there is none. */
static bool reserve(struct sk_strbuf *b, size_t add)
{
    if (b->full || add > b->max - b->len) {
        b->full = true;
        return false;
    }
    size_t need = b->len + add + 1;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap ? b->cap : STRBUF_FIRST;
    while (cap < need)
        cap *= 2;
    if (cap > b->max + 1)
        cap = b->max + 1;
    char *p = (char *)realloc(b->p, cap);
    if (p == NULL) {
        b->full = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    b->p[b->len] = '\0';
    return true;
}

void sk_strbuf_add(struct sk_strbuf *b, const void *p, size_t len)
{
    if (!reserve(b, len))
        return;
    if (len > 0)
        memcpy(b->p + b->len, p, len);
    b->len += len;
    b->p[b->len] = '\0';
}

void sk_strbuf_puts(struct sk_strbuf *b, const char *s)
{
    sk_strbuf_add(b, s, strlen(s));
}

void sk_strbuf_printf(struct sk_strbuf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        b->full = true;
    else if (reserve(b, (size_t)n)) {
        vsnprintf(b->p + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void sk_strbuf_clear(struct sk_strbuf *b)
{
    b->len = 0;
    b->full = false;
    if (b->p != NULL)
        b->p[0] = '\0';
}

void sk_strbuf_free(struct sk_strbuf *b)
{
    free(b->p);
    *b = (struct sk_strbuf){.max = b->max};
}
