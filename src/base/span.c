#include "base/span.h"

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

bool sk_span_ieq(struct sk_span a, const char *s)
{
    for (uint32_t i = 0; i < a.len; i++) {
        /* A NUL in s ends it, also when the span holds a NUL there. */
        if (s[i] == '\0' || lower(a.p[i]) != lower((uint8_t)s[i]))
            return false;
    }
    return s[a.len] == '\0';
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

struct sk_span sk_span_trim(struct sk_span s)
{
    while (s.len > 0 && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}
