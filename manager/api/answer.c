/* What is sent: bodies that requests may share, the table of refusals, JSON text. */
#include <openssl/evp.h>
#include <stdlib.h>
#include "api_priv.h"

#define ERROR_MAX 512

static const struct {
    unsigned status;
    const char *name, *text;
} codes[API_CODE_COUNT] = {
#define X(sym, status, name, text) [API_##sym] = {status, name, text},
    API_CODES(X)
#undef X
};

unsigned code_status(enum api_code c)
{
    return codes[c].status;
}

const char *code_name(enum api_code c)
{
    return codes[c].name;
}

static struct body *body_make(void *text, size_t len)
{
    struct body *b = (struct body *)calloc(1, sizeof(*b));
    struct MHD_Response *http = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
    if (b == NULL || http == NULL) {
        free(b);
        if (http != NULL)
            MHD_destroy_response(http);
        else
            free(text);
        return NULL;
    }
    *b = (struct body){.http = http, .text = (const char *)text, .len = len, .refs = 1};
    if (len > 0)
        body_header(b, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    body_header(b, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    body_header(b, "X-Content-Type-Options", "nosniff");
    return b;
}

struct body *body_of(struct sk_strbuf *t)
{
    if (t->full || t->p == NULL) {
        sk_strbuf_free(t);
        return NULL;
    }
    char *text = t->p;
    size_t len = t->len;
    sk_strbuf_init(t, t->max);
    return body_make(text, len);
}

struct body *body_empty(void)
{
    return body_make(NULL, 0);
}

struct body *body_of_code(enum api_code c)
{
    struct sk_strbuf t;
    sk_strbuf_init(&t, ERROR_MAX);
    sk_strbuf_printf(&t, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}", codes[c].name, codes[c].text);
    struct body *b = body_of(&t);
    if (b == NULL)
        return NULL;
    if (codes[c].status == 429 || codes[c].status == 503)
        body_header(b, MHD_HTTP_HEADER_RETRY_AFTER, codes[c].status == 429 ? "2" : "5");
    if (c == API_TOKEN_REQUIRED || c == API_OP_EXPIRED || c == API_OP_REVOKED || c == API_OP_USED_UP ||
        c == API_TOKEN_UNKNOWN)
        body_header(b, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    return b;
}

struct body *body_hold(struct body *b)
{
    __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);
    return b;
}

void body_drop(struct body *b)
{
    if (b == NULL || __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    MHD_destroy_response(b->http);
    free(b);
}

void body_header(struct body *b, const char *name, const char *value)
{
    (void)MHD_add_response_header(b->http, name, value);
}

/* --- */

void answer_clear(struct req *r)
{
    body_drop(r->answer);
    r->answer = NULL;
    r->status = 0;
    r->code = API_FINE;
    r->detail = NULL;
}

void answer_body(struct req *r, unsigned status, struct body *b)
{
    answer_clear(r);
    r->answer = b;
    r->status = status;
    if (b == NULL)
        answer_code(r, API_BUSY, "no memory, or too long an answer");
}

void answer_json(struct req *r, unsigned status, struct sk_strbuf *b)
{
    answer_body(r, status, body_of(b));
}

void answer_empty(struct req *r)
{
    answer_body(r, MHD_HTTP_NO_CONTENT, body_empty());
}

/* Without memory even for that, there is no answer, and the connection is closed. */
void answer_code(struct req *r, enum api_code c, const char *detail)
{
    answer_clear(r);
    r->answer = body_of_code(c);
    r->status = codes[c].status;
    r->code = c;
    r->detail = detail;
}

/* --- JSON --- */

static void out_key(struct sk_strbuf *b, const char *key)
{
    if (b->len > 0 && b->p[b->len - 1] != '{' && b->p[b->len - 1] != '[' && b->p[b->len - 1] != ':')
        sk_strbuf_add(b, ",", 1);
    if (key != NULL)
        sk_strbuf_printf(b, "\"%s\":", key);
}

void out_open(struct sk_strbuf *b, const char *key, char bracket)
{
    out_key(b, key);
    sk_strbuf_add(b, &bracket, 1);
}

void out_close(struct sk_strbuf *b, char bracket)
{
    sk_strbuf_add(b, &bracket, 1);
}

static void put_escaped(struct sk_strbuf *b, unsigned char c)
{
    switch (c) {
    case '"': sk_strbuf_add(b, "\\\"", 2); break;
    case '\\': sk_strbuf_add(b, "\\\\", 2); break;
    case '\n': sk_strbuf_add(b, "\\n", 2); break;
    case '\t': sk_strbuf_add(b, "\\t", 2); break;
    default: sk_strbuf_printf(b, "\\u%04x", c); break;
    }
}

void out_strn(struct sk_strbuf *b, const char *key, const char *s, size_t len)
{
    out_key(b, key);
    sk_strbuf_add(b, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        sk_strbuf_add(b, s + from, i - from);
        put_escaped(b, c);
        from = i + 1;
    }
    sk_strbuf_add(b, s + from, len - from);
    sk_strbuf_add(b, "\"", 1);
}

void out_str(struct sk_strbuf *b, const char *key, const char *s)
{
    out_strn(b, key, s, strlen(s));
}

void out_int(struct sk_strbuf *b, const char *key, int64_t n)
{
    out_key(b, key);
    sk_strbuf_printf(b, "%lld", (long long)n);
}

void out_bool(struct sk_strbuf *b, const char *key, bool v)
{
    out_raw(b, key, v ? "true" : "false");
}

void out_raw(struct sk_strbuf *b, const char *key, const char *json)
{
    out_key(b, key);
    sk_strbuf_puts(b, json);
}

void out_prefix(struct sk_strbuf *b, const char *key, const struct sk_prefix *p)
{
    char text[SK_PREFIX_STRLEN];
    out_str(b, key, sk_prefix_format(p, text));
}

void out_base64(struct sk_strbuf *b, const char *key, const uint8_t *p, size_t len)
{
    unsigned char text[4 * ((64 + 2) / 3) + 1];
    if (len > 64)
        return;
    int n = EVP_EncodeBlock(text, p, (int)len);
    out_strn(b, key, (const char *)text, (size_t)n);
}
