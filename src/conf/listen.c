/* Where something is served for this host alone: a unix socket, or a port of a loopback address. */
#include "conf/conf.h"

#include <string.h>

/* 1..65535, digits only. */
static bool read_port(const char *s, uint16_t *out)
{
    unsigned n = 0;
    size_t len = strlen(s);
    if (len < 1 || len > 5)
        return false;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9')
            return false;
        n = 10 * n + (unsigned)(*s - '0');
    }
    *out = (uint16_t)n;
    return n >= 1 && n <= 65535;
}

static bool is_loopback(const struct sk_addr *a)
{
    static const char *const nets[] = {"127.0.0.0/8", "::1/128"};
    struct sk_prefix p;
    for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++)
        if (sk_prefix_parse(nets[i], strlen(nets[i]), false, &p) == SK_OK && sk_prefix_contains(&p, a))
            return true;
    return false;
}

/* ADDRESS:PORT; an IPv6 address stands in brackets, so that its colons are its own. */
static bool read_address(const char *text, struct conf_listen *out)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !read_port(colon + 1, &out->port))
        return false;
    size_t len = (size_t)(colon - text);
    bool bracket = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (sk_addr_parse(text + bracket, len - 2u * bracket, &out->addr) != SK_OK)
        return false;
    return bracket != sk_addr_is_v4(&out->addr) && is_loopback(&out->addr);
}

int conf_listen_parse(const char *text, struct conf_listen *out)
{
    size_t len = strlen(text);
    *out = (struct conf_listen){0};
    if (text[0] == '/') {
        out->path = text;
        return text[len - 1] != '/' ? SK_OK : SK_EINVAL;
    }
    return read_address(text, out) ? SK_OK : SK_EINVAL;
}
