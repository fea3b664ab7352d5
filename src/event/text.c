/* Bytes of attackers as JSON strings. */
#include "event/json.h"

#include <stdlib.h>

/* A well-formed UTF-8 sequence at p (RFC 3629: no surrogates, no overlong forms); 0: none. */
static uint32_t utf8_len(const uint8_t *p, uint32_t left)
{
    uint8_t c = p[0], lo = 0x80, hi = 0xbf;
    uint32_t n;
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf) {
        n = 2;
    } else if (c >= 0xe0 && c <= 0xef) {
        n = 3;
        lo = c == 0xe0 ? 0xa0 : 0x80;
        hi = c == 0xed ? 0x9f : 0xbf;
    } else if (c >= 0xf0 && c <= 0xf4) {
        n = 4;
        lo = c == 0xf0 ? 0x90 : 0x80;
        hi = c == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (n > left || p[1] < lo || p[1] > hi)
        return 0;
    for (uint32_t i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return n;
}

static bool is_utf8(struct sk_span s)
{
    for (uint32_t i = 0; i < s.len;) {
        uint32_t n = utf8_len(s.p + i, s.len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

static uint32_t hex_byte(uint8_t c, char *out)
{
    static const char hex[] = "0123456789abcdef";
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

json_t *event_json_bytes(struct sk_span s)
{
    if (is_utf8(s))
        return json_stringn_nocheck(s.len > 0 ? (const char *)s.p : "", s.len);
    char *buf = (char *)malloc((size_t)s.len * 4);
    if (buf == NULL)
        return NULL;
    size_t n = 0;
    for (uint32_t i = 0; i < s.len; i++)
        n += hex_byte(s.p[i], buf + n);
    json_t *j = json_stringn_nocheck(buf, n);
    free(buf);
    return j;
}

json_t *event_json_printable(struct sk_span s)
{
    char *buf = (char *)malloc((size_t)s.len + 1);
    if (buf == NULL)
        return NULL;
    for (uint32_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        buf[i] = (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\r' ? (char)c : '.';
    }
    json_t *j = json_stringn_nocheck(buf, s.len);
    free(buf);
    return j;
}

json_t *event_json_base64(struct sk_span s)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *buf = (char *)malloc(((size_t)s.len + 2) / 3 * 4 + 1);
    if (buf == NULL)
        return NULL;
    size_t n = 0;
    for (uint32_t i = 0; i < s.len; i += 3) {
        uint32_t left = s.len - i;
        uint32_t v = (uint32_t)s.p[i] << 16;
        v |= left > 1 ? (uint32_t)s.p[i + 1] << 8 : 0;
        v |= left > 2 ? s.p[i + 2] : 0;
        buf[n++] = alphabet[v >> 18];
        buf[n++] = alphabet[v >> 12 & 63];
        buf[n++] = left > 1 ? alphabet[v >> 6 & 63] : '=';
        buf[n++] = left > 2 ? alphabet[v & 63] : '=';
    }
    json_t *j = json_stringn_nocheck(buf, n);
    free(buf);
    return j;
}
