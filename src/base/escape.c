#include "base/escape.h"

#include <string.h>

/* The form of one byte in out; returns its length. */
static size_t escape_byte(uint8_t c, char out[4])
{
    static const char hex[] = "0123456789abcdef";
    if (c == '\\') {
        memcpy(out, "\\\\", 2);
        return 2;
    }
    if (c >= 0x20 && c < 0x7f) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = hex[c >> 4];
    out[3] = hex[c & 15];
    return 4;
}

const char *sk_escape(char *buf, size_t cap, struct sk_span s)
{
    size_t n = 0, fit = 0; /* fit: the last boundary behind which "..." and NUL still have room */
    for (uint32_t i = 0; i < s.len; i++) {
        char form[4];
        size_t len = escape_byte(s.p[i], form);
        if (len > cap - 1 - n) {
            memcpy(buf + fit, "...", 4);
            return buf;
        }
        memcpy(buf + n, form, len);
        n += len;
        if (n <= cap - 4)
            fit = n;
    }
    buf[n] = '\0';
    return buf;
}
