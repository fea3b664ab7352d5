/* What transforms do to a buffer. */
#include <ctype.h>

#include <openssl/evp.h>

#include "rules/buffer.h"

struct area {
    uint8_t *p;
    uint32_t len, cap;
};

static int hash(const EVP_MD *md, struct sk_span in, struct area *o)
{
    unsigned n = 0;
    uint8_t d[EVP_MAX_MD_SIZE];
    if (EVP_Digest(in.p ? in.p : (const uint8_t *)"", in.len, d, &n, md, NULL) != 1 || n > o->cap)
        return -1;
    memcpy(o->p, d, n);
    o->len = n;
    return 0;
}

static int dotprefix(struct sk_span in, struct area *o)
{
    if (in.len >= o->cap)
        return -1;
    if (in.len)
        memmove(o->p + 1, in.p, in.len);
    o->p[0] = '.';
    o->len = in.len + 1;
    return 0;
}

/* keep_one: one blank stays of each run (compress_whitespace); otherwise none. Which character stays: the run's first.
 */
static int whitespace(struct sk_span in, struct area *o, bool keep_one)
{
    bool before = false;
    o->len = 0;
    if (in.len > o->cap)
        return -1;
    for (uint32_t i = 0; i < in.len; i++) {
        bool now = isspace(in.p[i]);
        if (!now || (keep_one && !before))
            o->p[o->len++] = in.p[i];
        before = now;
    }
    return 0;
}

static int change_case(struct sk_span in, struct area *o, bool upper)
{
    if (in.len > o->cap)
        return -1;
    for (uint32_t i = 0; i < in.len; i++) {
        uint8_t c = in.p[i];
        if (upper ? (c >= 'a' && c <= 'z') : (c >= 'A' && c <= 'Z'))
            c ^= 0x20;
        o->p[i] = c;
    }
    o->len = in.len;
    return 0;
}

static int hexval(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int url_decode(struct sk_span in, struct area *o)
{
    o->len = 0;
    if (in.len > o->cap)
        return -1;
    for (uint32_t i = 0; i < in.len; i++) {
        uint8_t c = in.p[i];
        if (c == '%' && in.len - i > 2 && hexval(in.p[i + 1]) >= 0 && hexval(in.p[i + 2]) >= 0) {
            c = (uint8_t)(hexval(in.p[i + 1]) << 4 | hexval(in.p[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        o->p[o->len++] = c;
    }
    return 0;
}

/* Names of header lines in lower case; values stay. */
static int header_lowercase(struct sk_span in, struct area *o)
{
    bool name = true;
    if (in.len > o->cap)
        return -1;
    for (uint32_t i = 0; i < in.len; i++) {
        uint8_t c = in.p[i];
        if (c == ':')
            name = false;
        else if (c == '\n')
            name = true;
        o->p[i] = name && c >= 'A' && c <= 'Z' ? c | 0x20 : c;
    }
    o->len = in.len;
    return 0;
}

/* Without the lines that start with ':' (HTTP/2's pseudo headers). */
static int strip_pseudo(struct sk_span in, struct area *o)
{
    o->len = 0;
    if (in.len > o->cap)
        return -1;
    for (uint32_t i = 0; i < in.len;) {
        const uint8_t *nl = memchr(in.p + i, '\n', in.len - i);
        uint32_t end = nl ? (uint32_t)(nl - in.p) + 1 : in.len;
        if (in.p[i] != ':') {
            memmove(o->p + o->len, in.p + i, end - i);
            o->len += end - i;
        }
        i = end;
    }
    return 0;
}

static int one(enum rule_transform xf, struct sk_span in, struct area *o)
{
    switch (xf) {
    case RULE_XF_DOTPREFIX: return dotprefix(in, o);
    case RULE_XF_STRIP_WHITESPACE: return whitespace(in, o, false);
    case RULE_XF_COMPRESS_WHITESPACE: return whitespace(in, o, true);
    case RULE_XF_TO_LOWERCASE: return change_case(in, o, false);
    case RULE_XF_TO_UPPERCASE: return change_case(in, o, true);
    case RULE_XF_URL_DECODE: return url_decode(in, o);
    case RULE_XF_TO_MD5: return hash(EVP_md5(), in, o);
    case RULE_XF_TO_SHA1: return hash(EVP_sha1(), in, o);
    case RULE_XF_TO_SHA256: return hash(EVP_sha256(), in, o);
    case RULE_XF_HEADER_LOWERCASE: return header_lowercase(in, o);
    case RULE_XF_STRIP_PSEUDO_HEADERS: return strip_pseudo(in, o);
    }
    return -1;
}

int rule_transform_apply(const uint8_t *xf, unsigned n, struct sk_span in, uint8_t *out, uint32_t cap)
{
    struct area o = {.p = out, .cap = cap};
    for (unsigned i = 0; i < n; i++) {
        /* After the first, input and output are the same bytes: no step writes ahead of what it has read. */
        if (one(xf[i], in, &o) != 0)
            return -1;
        in = sk_span_of(out, o.len);
    }
    if (n > 0)
        return (int)o.len;
    if (in.len > cap)
        return -1;
    if (in.len)
        memcpy(out, in.p, in.len);
    return (int)in.len;
}
