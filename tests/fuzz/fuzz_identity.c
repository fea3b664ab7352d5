/*
 * Byte 0: which header (and, of the lists, which addresses are hops of which kind), byte 1: the peer and what its
 * connection began with; then lines of the header with \n between them, of which one that begins with "!" is odd.
 */
#include <stdlib.h>
#include "identity/identity.h"
#include "identity/proxy.h"

#define LINES_MAX (IDENTITY_LINES_MAX + 1)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct sk_prefix prefix(const char *s)
{
    struct sk_prefix p;
    must(sk_prefix_parse(s, strlen(s), false, &p) == SK_OK);
    return p;
}

static const struct identity_rules *rules(unsigned i)
{
    static const char *const headers[] = {"X-Forwarded-For", "Forwarded", "X-Real-IP", "none"};
    static struct identity_rules *made[8];
    i %= 8;
    if (made[i] == NULL) {
        struct sk_prefix http[] = {prefix("10.0.1.0/24"), prefix("2001:db8::/32"), prefix("10.0.3.0/24")};
        struct sk_prefix proxy[] = {prefix("10.0.2.0/24"), prefix("10.0.3.0/24"), prefix("1.0.0.0/8")};
        struct identity_conf conf = {.http = http, .proxy = proxy, .nhttp = 3, .nproxy = 3, .header = headers[i % 4]};
        if (i >= 4)
            conf.nproxy = 0;
        must(identity_rules_create(&conf, &made[i]) == SK_OK);
    }
    return made[i];
}

static void check(const struct identity_rules *r, const struct identity *id)
{
    must(identity_valid(id));
    must(id->state != IDENTITY_PROVEN || (!identity_is_hop(r, &id->client) && !sk_addr_is_special(&id->client)));
    must(id->state != IDENTITY_DIRECT || !identity_is_hop(r, &id->client));
    for (unsigned i = 0; i < id->nhops; i++)
        must(identity_is_hop(r, &id->hop[i].addr));
    if (id->state == IDENTITY_UNPROVEN)
        must(sk_addr_eq(&id->client, &id->hop[0].addr));
}

static void begin(const struct identity_rules *r, uint8_t how, struct identity *conn)
{
    uint8_t raw[4] = {10, 0, how & 3, 5};
    struct sk_addr peer = sk_addr_from_v4(raw);
    struct proxy_header h = {.version = 1 + (how >> 2 & 1), .command = how >> 3 & 3, .src = peer, .sport = how};
    h.src.b[12] = how & 32 ? 203 : 10;
    h.src.b[14] = how >> 6;
    identity_begin(r, &peer, how, conn);
    check(r, conn);
    if (how & 0xf8)
        identity_proxy(r, how & 4 && how & 32 ? NULL : &h, conn);
    check(r, conn);
}

/* One line for all: the list is the same. */
static void joined(const struct identity_rules *r, const struct identity *conn, const struct identity_line *lines,
                   unsigned n, bool misframed, const struct identity *want)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++)
        len += lines[i].value.len + 1;
    uint8_t *text = (uint8_t *)malloc(len + 1), *p = text;
    must(text != NULL);
    struct identity_line one = {.value = sk_span_of(text, (uint32_t)(n ? len - 1 : 0))};
    for (unsigned i = 0; i < n; i++) {
        if (lines[i].value.len > 0)
            memcpy(p, lines[i].value.p, lines[i].value.len);
        p += lines[i].value.len;
        *p++ = ',';
    }
    struct identity id;
    identity_request(r, conn, &one, n > 0, misframed, &id);
    must(memcmp(&id, want, sizeof id) == 0);
    free(text);
}

static bool any_odd(const struct identity_line *lines, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (lines[i].odd)
            return true;
    return false;
}

static unsigned split(const uint8_t *p, size_t len, struct identity_line lines[LINES_MAX])
{
    unsigned n = 0;
    for (size_t i = 0; i < len && n < LINES_MAX; n++) {
        const uint8_t *end = (const uint8_t *)memchr(p + i, '\n', len - i);
        size_t to = end ? (size_t)(end - p) : len;
        lines[n].odd = p[i] == '!';
        lines[n].value = sk_span_of(p + i, (uint32_t)(to - i));
        i = to + 1;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct identity_line lines[LINES_MAX];
    struct identity conn, id;
    if (size < 2)
        return 0;
    const struct identity_rules *r = rules(data[0]);
    bool misframed = data[0] & 128;
    unsigned n = split(data + 2, size - 2, lines);
    begin(r, data[1], &conn);
    identity_request(r, &conn, lines, n, misframed, &id);
    check(r, &id);
    if (conn.state != IDENTITY_UNPROVEN)
        must(memcmp(&conn, &id, sizeof id) == 0);
    must(n == 0 || !lines[n - 1].odd || id.state != IDENTITY_PROVEN || conn.state == IDENTITY_PROVEN);
    if (data[0] % 4 != 1 && n <= IDENTITY_LINES_MAX && !any_odd(lines, n))
        joined(r, &conn, lines, n, misframed, &id);
    return 0;
}
