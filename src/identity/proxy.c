/* PROXY protocol v1 (text) and v2 (binary): doc/proxy-protocol.txt, sections 2.1 and 2.2. */
#include "identity/proxy.h"

#include "base/reader.h"

#define V1_MAX  107 /* with CRLF */
#define V2_SIG  12
#define V2_HEAD 16

static const uint8_t v2_signature[V2_SIG] = "\r\n\r\n\0\r\nQUIT\n";

/* How data compares with what has to stand at its start: all there, not all there yet, something else. */
enum start { START_IS, START_SHORT, START_OTHER };

static enum start begins_with(struct sk_span data, const void *sig, uint32_t len)
{
    uint32_t n = data.len < len ? data.len : len;
    if (n > 0 && memcmp(data.p, sig, n) != 0)
        return START_OTHER;
    return n == len ? START_IS : START_SHORT;
}

/* The next word; words are divided by one space each. */
static struct sk_span take_word(struct sk_span *s)
{
    const uint8_t *space = s->len ? (const uint8_t *)memchr(s->p, ' ', s->len) : NULL;
    uint32_t n = space ? (uint32_t)(space - s->p) : s->len, skip = space ? n + 1 : n;
    struct sk_span word = sk_span_of(s->p, n);
    s->p += skip;
    s->len -= skip;
    return word;
}

static bool take_addr(struct sk_span *s, bool v6, struct sk_addr *a)
{
    struct sk_span w = take_word(s);
    bool has_colon = w.len > 0 && memchr(w.p, ':', w.len) != NULL;
    return has_colon == v6 && sk_addr_parse((const char *)w.p, w.len, a) == SK_OK;
}

/* Decimal, without leading zeros. */
static bool parse_port(struct sk_span w, uint16_t *port)
{
    uint32_t v = 0;
    if (w.len == 0 || w.len > 5 || (w.len > 1 && w.p[0] == '0'))
        return false;
    for (uint32_t i = 0; i < w.len; i++) {
        if (w.p[i] < '0' || w.p[i] > '9')
            return false;
        v = v * 10 + (uint32_t)(w.p[i] - '0');
    }
    *port = (uint16_t)v;
    return v <= UINT16_MAX;
}

/* s: what stands behind "PROXY TCP4 ", without the end of the line. */
static bool parse_v1_tcp(struct sk_span s, bool v6, struct proxy_header *h)
{
    if (!take_addr(&s, v6, &h->src) || !take_addr(&s, v6, &h->dst) || !parse_port(take_word(&s), &h->sport))
        return false;
    return parse_port(s, &h->dport); /* all that is left */
}

static enum proxy_result parse_v1(struct sk_span data, uint32_t start, struct proxy_header *h)
{
    struct sk_span line = sk_span_of(data.p, data.len < V1_MAX ? data.len : V1_MAX);
    const uint8_t *end = (const uint8_t *)memmem(line.p, line.len, "\r\n", 2);
    if (end == NULL)
        return data.len < V1_MAX ? PROXY_MORE : PROXY_BAD;
    line.len = (uint32_t)(end - line.p);
    h->version = 1;
    h->len = line.len + 2;
    h->command = PROXY_CMD_UNKNOWN;
    if (line.p[6] == 'U')
        return PROXY_FOUND; /* whatever it says besides */
    h->command = PROXY_CMD_PROXY;
    bool good = parse_v1_tcp(sk_span_of(line.p + start, line.len - start), line.p[9] == '6', h);
    return good ? PROXY_FOUND : PROXY_BAD;
}

static void take_v2_addrs(struct sk_reader *r, bool v6, struct proxy_header *h)
{
    struct sk_span src = rd_span(r, v6 ? 16 : 4), dst = rd_span(r, v6 ? 16 : 4);
    h->sport = rd_u16(r);
    h->dport = rd_u16(r);
    if (r->bad)
        return;
    h->src = v6 ? sk_addr_from_v6(src.p) : sk_addr_from_v4(src.p);
    h->dst = v6 ? sk_addr_from_v6(dst.p) : sk_addr_from_v4(dst.p);
}

/* Data begins with the signature. */
static enum proxy_result parse_v2(struct sk_span data, struct proxy_header *h)
{
    static const uint8_t need[] = {0, 12, 36, 216}; /* bytes of addresses: AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX */
    struct sk_reader r = rd_init(data.p + V2_SIG, data.len - V2_SIG);
    uint8_t version_cmd = rd_u8(&r), family = rd_u8(&r);
    uint16_t len = rd_u16(&r);
    if (r.bad)
        return PROXY_MORE;
    if (version_cmd != 0x20 && version_cmd != 0x21)
        return PROXY_BAD;
    h->version = 2;
    h->len = V2_HEAD + (uint32_t)len;
    h->command = version_cmd == 0x20 ? PROXY_CMD_LOCAL : PROXY_CMD_UNKNOWN;
    if (h->command == PROXY_CMD_LOCAL)
        return PROXY_FOUND;
    if (family >> 4 < 4 && len < need[family >> 4])
        return PROXY_BAD;
    if (family == 0x11 || family == 0x21) {
        h->command = PROXY_CMD_PROXY;
        take_v2_addrs(&r, family == 0x21, h);
    }
    return r.bad ? PROXY_MORE : PROXY_FOUND;
}

enum proxy_result proxy_parse(struct sk_span data, struct proxy_header *h)
{
    static const char *const v1[] = {"PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN ", "PROXY UNKNOWN\r"};
    enum proxy_result result = PROXY_NONE;
    memset(h, 0, sizeof *h);
    enum start s = begins_with(data, v2_signature, V2_SIG);
    if (s == START_IS)
        return parse_v2(data, h);
    if (s == START_SHORT)
        result = PROXY_MORE;
    for (size_t i = 0; i < sizeof v1 / sizeof v1[0]; i++) {
        uint32_t len = (uint32_t)strlen(v1[i]);
        s = begins_with(data, v1[i], len);
        if (s == START_IS)
            return parse_v1(data, len, h);
        if (s == START_SHORT)
            result = PROXY_MORE;
    }
    return result;
}
