/* Short ways to ask who the client is: rules, headers and answers as text. */
#ifndef IDENTITY_ASK_H
#define IDENTITY_ASK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "identity/identity.h"
#include "identity/proxy.h"

#define ASK_LINES_MAX (IDENTITY_LINES_MAX + 2)

static inline struct sk_addr ask_addr(const char *s)
{
    struct sk_addr a;
    assert_int_equal(sk_addr_parse(s, strlen(s), &a), SK_OK);
    return a;
}

/* Prefixes between spaces. */
static inline uint32_t ask_prefixes(const char *s, struct sk_prefix *out, uint32_t max)
{
    uint32_t n = 0;
    while (*s) {
        size_t len = strcspn(s, " ");
        assert_true(n < max);
        assert_int_equal(sk_prefix_parse(s, len, false, &out[n++]), SK_OK);
        s += len + (s[len] == ' ');
    }
    return n;
}

static inline struct identity_rules *ask_rules(const char *http, const char *proxy, const char *header)
{
    struct sk_prefix h[64], p[64];
    struct identity_conf conf = {.http = h, .proxy = p, .header = header};
    struct identity_rules *r = NULL;
    conf.nhttp = ask_prefixes(http, h, 64);
    conf.nproxy = ask_prefixes(proxy, p, 64);
    assert_int_equal(identity_rules_create(&conf, &r), SK_OK);
    return r;
}

/* text: lines of the header with \n between them, NULL none; a line that begins with "!" is odd. Each lies in memory of
 * its own, so that a read past it is seen. */
static inline struct identity ask_request(const struct identity_rules *r, const struct identity *conn, const char *text,
                                          size_t len, bool misframed)
{
    struct identity_line lines[ASK_LINES_MAX] = {0};
    void *owned[ASK_LINES_MAX];
    unsigned n = 0;
    for (size_t i = 0; text != NULL && i <= len; n++) {
        assert_true(n < ASK_LINES_MAX);
        const char *end = (const char *)memchr(text + i, '\n', len - i);
        size_t to = end ? (size_t)(end - text) : len;
        lines[n].odd = to > i && text[i] == '!';
        i += lines[n].odd;
        owned[n] = malloc(to - i);
        if (to > i)
            memcpy(owned[n], text + i, to - i);
        lines[n].value = sk_span_of(to > i ? owned[n] : NULL, (uint32_t)(to - i));
        i = to + 1;
    }
    struct identity id;
    identity_request(r, conn, lines, n, misframed, &id);
    for (unsigned i = 0; i < n; i++)
        free(owned[i]);
    assert_true(identity_valid(&id));
    return id;
}

/* "ADDRESS" or "ADDRESS PORT" of a client that is known, or the name of enum identity_why. */
static inline const char *ask_text(const struct identity *id, char buf[64])
{
    static const char *const whys[] = {
#define X(name, text) #name,
        IDENTITY_WHYS(X)
#undef X
    };
    if (id->state == IDENTITY_UNPROVEN)
        return whys[id->why];
    sk_addr_format(&id->client, buf);
    size_t n = strlen(buf);
    if (id->port != 0)
        snprintf(buf + n, 64 - n, " %u", id->port);
    return buf;
}

/* A request over a connection from peer. */
static inline const char *ask(const struct identity_rules *r, const char *peer, const char *text, char buf[64])
{
    struct sk_addr a = ask_addr(peer);
    struct identity conn, id;
    identity_begin(r, &a, 40000, &conn);
    id = ask_request(r, &conn, text, text ? strlen(text) : 0, false);
    return ask_text(&id, buf);
}

#endif
