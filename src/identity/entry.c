/* One address as hops write it into headers. */
#include "identity_internal.h"

/* RFC 7239 section 6: port = 1*5DIGIT. */
static bool parse_port(struct sk_span s, uint16_t *port)
{
    uint32_t v = 0;
    if (s.len == 0 || s.len > 5)
        return false;
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (uint32_t)(s.p[i] - '0');
    }
    *port = (uint16_t)v;
    return v <= UINT16_MAX;
}

static bool is_alias_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

static bool is_alias(struct sk_span s)
{
    if (s.len < 2 || s.p[0] != '_')
        return false;
    for (uint32_t i = 1; i < s.len; i++)
        if (!is_alias_byte(s.p[i]))
            return false;
    return true;
}

static struct sk_span behind(struct sk_span s, uint32_t n)
{
    return sk_span_of(s.p + n, s.len - n);
}

static const uint8_t *find(struct sk_span s, int c)
{
    return s.len ? (const uint8_t *)memchr(s.p, c, s.len) : NULL;
}

/* host, and what stands behind it: nothing, or ":" and a port. False: it is neither. */
static bool split_brackets(struct sk_span s, struct sk_span *host, struct sk_span *rest)
{
    const uint8_t *end = find(s, ']');
    if (end == NULL)
        return false;
    *host = sk_span_of(s.p + 1, (uint32_t)(end - s.p - 1));
    *rest = behind(s, (uint32_t)(end - s.p + 1));
    return find(*host, ':') != NULL; /* [192.0.2.1] is nobody's way to write it */
}

static bool split(struct sk_span s, struct sk_span *host, struct sk_span *rest)
{
    if (s.len > 0 && s.p[0] == '[')
        return split_brackets(s, host, rest);
    const uint8_t *colon = find(s, ':');
    uint32_t n = colon ? (uint32_t)(colon - s.p) : s.len;
    if (colon && find(behind(s, n + 1), ':') != NULL)
        n = s.len; /* bare IPv6 has no port */
    *host = sk_span_of(s.p, n);
    *rest = behind(s, n);
    return true;
}

static bool is_hidden(struct sk_span s)
{
    const uint8_t *colon = find(s, ':');
    struct sk_span name = sk_span_of(s.p, colon ? (uint32_t)(colon - s.p) : s.len);
    return sk_span_ieq(name, "unknown") || is_alias(name);
}

enum identity_why id_entry_parse(struct sk_span s, bool obfport, struct id_entry *e)
{
    struct sk_span host, rest;
    if (is_hidden(s))
        return IDENTITY_WHY_HIDDEN;
    if (s.len > ID_ENTRY_TEXT || !split(s, &host, &rest) ||
        sk_addr_parse((const char *)host.p, host.len, &e->addr) != SK_OK)
        return IDENTITY_WHY_MALFORMED;
    e->port = 0;
    if (rest.len == 0)
        return IDENTITY_WHY_NONE;
    bool good = rest.p[0] == ':' && (parse_port(behind(rest, 1), &e->port) || (obfport && is_alias(behind(rest, 1))));
    return good ? IDENTITY_WHY_NONE : IDENTITY_WHY_MALFORMED;
}
