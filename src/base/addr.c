#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>

#define V4_OFFSET 96 /* an IPv4 prefix length sits behind the mapping's 96 bits */

/* The bits of byte i that a prefix of len bits covers. */
static uint8_t mask_byte(unsigned len, unsigned i)
{
    unsigned have = len > i * 8 ? len - i * 8 : 0;
    return (uint8_t)(have >= 8 ? 0xffu : 0xff00u >> have);
}

bool sk_prefix_contains(const struct sk_prefix *p, const struct sk_addr *a)
{
    unsigned whole = p->len / 8;
    if (memcmp(p->addr.b, a->b, whole) != 0)
        return false;
    return p->len % 8 == 0 || ((p->addr.b[whole] ^ a->b[whole]) & mask_byte(p->len, whole)) == 0;
}

bool sk_prefix_covers(const struct sk_prefix *a, const struct sk_prefix *b)
{
    return a->len <= b->len && sk_prefix_contains(a, &b->addr);
}

bool sk_prefix_overlaps(const struct sk_prefix *a, const struct sk_prefix *b)
{
    return sk_prefix_covers(a, b) || sk_prefix_covers(b, a);
}

struct sk_prefix sk_prefix_make(const struct sk_addr *a, uint8_t len)
{
    struct sk_prefix p = {.addr = *a, .len = len};
    for (unsigned i = 0; i < 16; i++)
        p.addr.b[i] = (uint8_t)(p.addr.b[i] & mask_byte(len, i));
    return p;
}

void sk_prefix_range(const struct sk_prefix *p, struct sk_addr *first, struct sk_addr *last)
{
    for (unsigned i = 0; i < 16; i++) {
        uint8_t mask = mask_byte(p->len, i);
        first->b[i] = p->addr.b[i] & mask;
        last->b[i] = (uint8_t)(p->addr.b[i] | (uint8_t)~mask);
    }
}

static bool prefix_is_v4(const struct sk_prefix *p)
{
    return p->len >= V4_OFFSET && sk_addr_is_v4(&p->addr);
}

uint8_t sk_prefix_family_len(const struct sk_prefix *p)
{
    return prefix_is_v4(p) ? (uint8_t)(p->len - V4_OFFSET) : p->len;
}

int sk_addr_parse(const char *s, size_t len, struct sk_addr *out)
{
    char buf[SK_ADDR_STRLEN];
    if (len == 0 || len >= sizeof(buf) || memchr(s, '\0', len) != NULL)
        return SK_EINVAL;
    memcpy(buf, s, len);
    buf[len] = '\0';
    uint8_t raw[16];
    if (inet_pton(AF_INET, buf, raw) == 1)
        *out = sk_addr_from_v4(raw);
    else if (inet_pton(AF_INET6, buf, raw) == 1)
        *out = sk_addr_from_v6(raw);
    else
        return SK_EINVAL;
    return SK_OK;
}

/* One to three digits, no sign, no leading zero. */
static int parse_prefix_len(const char *s, size_t len, unsigned max, unsigned *out)
{
    unsigned v = 0;
    if (len == 0 || len > 3 || (len > 1 && s[0] == '0'))
        return SK_EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return SK_EINVAL;
        v = v * 10 + (unsigned)(s[i] - '0');
    }
    if (v > max)
        return SK_EINVAL;
    *out = v;
    return SK_OK;
}

int sk_prefix_parse(const char *s, size_t len, bool lax, struct sk_prefix *out)
{
    if (len == 0)
        return SK_EINVAL;
    const char *slash = (const char *)memchr(s, '/', len);
    size_t addr_len = slash ? (size_t)(slash - s) : len;
    struct sk_addr a;
    int err = sk_addr_parse(s, addr_len, &a);
    if (err != SK_OK)
        return err;
    unsigned plen = 128;
    if (slash != NULL) {
        /* The text, not the value, tells how the length is counted: ::ffff:0:0/96 is IPv6 text. */
        bool v4_text = memchr(s, ':', addr_len) == NULL;
        err = parse_prefix_len(slash + 1, len - addr_len - 1, v4_text ? 32 : 128, &plen);
        if (err != SK_OK)
            return err;
        plen += v4_text ? V4_OFFSET : 0;
    }
    struct sk_prefix p = sk_prefix_make(&a, (uint8_t)plen);
    if (!lax && !sk_addr_eq(&p.addr, &a))
        return SK_EINVAL;
    *out = p;
    return SK_OK;
}

/* The longest run of two or more zero groups, the first of equals (RFC 5952 section 4.2). */
static void longest_zero_run(const unsigned g[8], unsigned *start, unsigned *count)
{
    *start = 8;
    *count = 1;
    for (unsigned i = 0; i < 8; i++) {
        unsigned n = 0;
        while (i + n < 8 && g[i + n] == 0)
            n++;
        if (n > *count) {
            *start = i;
            *count = n;
        }
        i += n;
    }
}

static void format_v6(const struct sk_addr *a, char *buf)
{
    unsigned g[8], start, count;
    for (unsigned i = 0; i < 8; i++)
        g[i] = (unsigned)a->b[i * 2] << 8 | a->b[i * 2 + 1];
    longest_zero_run(g, &start, &count);
    char *p = buf;
    for (unsigned i = 0; i < 8; i++) {
        if (i == start) {
            p += snprintf(p, SK_ADDR_STRLEN - (size_t)(p - buf), "::");
            i += count - 1;
            continue;
        }
        bool colon = i > 0 && p[-1] != ':';
        p += snprintf(p, SK_ADDR_STRLEN - (size_t)(p - buf), "%s%x", colon ? ":" : "", g[i]);
    }
}

const char *sk_addr_format(const struct sk_addr *a, char *buf)
{
    if (sk_addr_is_v4(a))
        snprintf(buf, SK_ADDR_STRLEN, "%u.%u.%u.%u", a->b[12], a->b[13], a->b[14], a->b[15]);
    else
        format_v6(a, buf);
    return buf;
}

const char *sk_prefix_format(const struct sk_prefix *p, char *buf)
{
    sk_addr_format(&p->addr, buf);
    if (p->len < 128) {
        size_t n = strlen(buf);
        snprintf(buf + n, SK_PREFIX_STRLEN - n, "/%u", sk_prefix_family_len(p));
    }
    return buf;
}

bool sk_addr_is_special(const struct sk_addr *a)
{
    if (sk_addr_is_v4(a)) {
        const uint8_t *v4 = a->b + 12;
        bool broadcast = (v4[0] & v4[1] & v4[2] & v4[3]) == 0xff;
        return v4[0] == 0 || v4[0] == 127 || (v4[0] & 0xf0) == 0xe0 || broadcast;
    }
    if (a->b[0] == 0xff)
        return true;
    struct sk_addr high = *a;
    high.b[15] &= 0xfe; /* :: and ::1 */
    return high.q[0] == 0 && high.q[1] == 0;
}
