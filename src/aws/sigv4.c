/* Signature Version 4. Names as in the AWS documentation: canonical request, string to sign, signing key. */
#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "aws/aws.h"
#include "base/clock.h"
#include "base/strbuf.h"

#define SIGN_HEADERS_MAX 16
#define SIGN_PARAMS_MAX  64
#define SIGN_TEXT_MAX    (1 << 16) /* bytes of a canonical request: path, query, headers */

struct pair {
    struct sk_span name, value;
};

static int cmp_span(struct sk_span a, struct sk_span b)
{
    uint32_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.p, b.p, n) : 0;
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static int cmp_param(const void *a, const void *b)
{
    const struct pair *x = (const struct pair *)a, *y = (const struct pair *)b;
    int c = cmp_span(x->name, y->name);
    return c != 0 ? c : cmp_span(x->value, y->value);
}

static int cmp_name(const void *a, const void *b)
{
    return cmp_span(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

static struct pair split(const char *s, size_t len, char at)
{
    const char *sep = (const char *)memchr(s, at, len);
    size_t n = sep != NULL ? (size_t)(sep - s) : len;
    struct sk_span rest = sep != NULL ? sk_span_of(sep + 1, (uint32_t)(len - n - 1)) : sk_span_of("", 0);
    return (struct pair){sk_span_of(s, (uint32_t)n), rest};
}

/* Once more: every service but S3 wants the path encoded on top of how it is sent. */
static void add_path(struct sk_strbuf *b, const char *path)
{
    for (const char *p = path; *p != '\0'; p++) {
        if (isalnum((unsigned char)*p) || strchr("-._~/", *p) != NULL)
            sk_strbuf_add(b, p, 1);
        else
            sk_strbuf_printf(b, "%%%02X", (unsigned char)*p);
    }
}

static int add_query(struct sk_strbuf *b, const char *query)
{
    struct pair params[SIGN_PARAMS_MAX] = {0};
    size_t n = 0;
    for (const char *p = query; *p != '\0';) {
        size_t len = strcspn(p, "&");
        if (n == SIGN_PARAMS_MAX)
            return SK_EFULL;
        params[n++] = split(p, len, '=');
        p += len + (p[len] == '&');
    }
    qsort(params, n, sizeof *params, cmp_param);
    for (size_t i = 0; i < n; i++) {
        sk_strbuf_puts(b, i > 0 ? "&" : "");
        sk_strbuf_add(b, params[i].name.p, params[i].name.len);
        sk_strbuf_puts(b, "=");
        sk_strbuf_add(b, params[i].value.p, params[i].value.len);
    }
    return SK_OK;
}

/* Without outer spaces, and runs of inner ones as one. */
static void add_value(struct sk_strbuf *b, struct sk_span v)
{
    v = sk_span_trim(v);
    for (uint32_t i = 0; i < v.len; i++) {
        bool space = v.p[i] == ' ' || v.p[i] == '\t';
        bool again = space && i > 0 && (v.p[i - 1] == ' ' || v.p[i - 1] == '\t');
        if (!again)
            sk_strbuf_add(b, space ? " " : (const char *)v.p + i, 1);
    }
}

struct headers {
    struct pair h[SIGN_HEADERS_MAX + 3];
    size_t n;
};

static int collect_headers(const struct aws_creds *c, const struct aws_sign *s, const char *date, struct headers *out)
{
    if (s->n > SIGN_HEADERS_MAX)
        return SK_EFULL;
    out->n = 0;
    for (unsigned i = 0; i < s->n; i++) {
        out->h[out->n] = split(s->headers[i], strlen(s->headers[i]), ':');
        if (strchr(s->headers[i], ':') == NULL || out->h[out->n].name.len == 0)
            return SK_EINVAL;
        out->n++;
    }
    out->h[out->n++] = (struct pair){sk_span_str("host"), sk_span_str(s->host)};
    out->h[out->n++] = (struct pair){sk_span_str("x-amz-date"), sk_span_str(date)};
    if (c->token[0] != '\0')
        out->h[out->n++] = (struct pair){sk_span_str("x-amz-security-token"), sk_span_str(c->token)};
    qsort(out->h, out->n, sizeof *out->h, cmp_name);
    for (size_t i = 1; i < out->n; i++)
        if (cmp_name(&out->h[i - 1], &out->h[i]) == 0)
            return SK_EINVAL;
    return SK_OK;
}

static void add_names(struct sk_strbuf *b, const struct headers *h)
{
    for (size_t i = 0; i < h->n; i++) {
        sk_strbuf_puts(b, i > 0 ? ";" : "");
        sk_strbuf_add(b, h->h[i].name.p, h->h[i].name.len);
    }
}

static void hex(const uint8_t *p, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static void add_hash(struct sk_strbuf *b, const void *p, size_t len)
{
    uint8_t md[SHA256_DIGEST_LENGTH];
    char text[2 * SHA256_DIGEST_LENGTH + 1];
    SHA256((const uint8_t *)(p != NULL ? p : ""), len, md);
    hex(md, sizeof md, text);
    sk_strbuf_puts(b, text);
}

static int canonical_request(struct sk_strbuf *b, const struct aws_sign *s, const struct headers *h)
{
    sk_strbuf_printf(b, "%s\n", s->method);
    add_path(b, s->path);
    sk_strbuf_puts(b, "\n");
    if (add_query(b, s->query) != SK_OK)
        return SK_EFULL;
    sk_strbuf_puts(b, "\n");
    for (size_t i = 0; i < h->n; i++) {
        sk_strbuf_add(b, h->h[i].name.p, h->h[i].name.len);
        sk_strbuf_puts(b, ":");
        add_value(b, h->h[i].value);
        sk_strbuf_puts(b, "\n");
    }
    sk_strbuf_puts(b, "\n");
    add_names(b, h);
    sk_strbuf_puts(b, "\n");
    add_hash(b, s->body, s->body_len);
    return b->full ? SK_EFULL : SK_OK;
}

static bool hmac(const void *key, size_t len, const char *text, uint8_t md[SHA256_DIGEST_LENGTH])
{
    unsigned n = 0;
    return HMAC(EVP_sha256(), key, (int)len, (const uint8_t *)text, strlen(text), md, &n) != NULL;
}

static bool sign_text(const struct aws_creds *c, const struct aws_sign *s, const char *day, const char *text,
                      char out[2 * SHA256_DIGEST_LENGTH + 1])
{
    char first[4 + sizeof c->secret_key];
    uint8_t a[SHA256_DIGEST_LENGTH], b[SHA256_DIGEST_LENGTH];
    int n = snprintf(first, sizeof first, "AWS4%s", c->secret_key);
    bool ok = hmac(first, (size_t)n, day, a) && hmac(a, sizeof a, s->region, b) && hmac(b, sizeof b, s->service, a) &&
              hmac(a, sizeof a, "aws4_request", b) && hmac(b, sizeof b, text, a);
    hex(a, sizeof a, out);
    OPENSSL_cleanse(first, sizeof first);
    OPENSSL_cleanse(a, sizeof a);
    OPENSSL_cleanse(b, sizeof b);
    return ok;
}

static bool format_date(int64_t now, char date[17])
{
    time_t t = (time_t)(now / SK_NS_PER_S);
    struct tm tm;
    return now >= 0 && gmtime_r(&t, &tm) != NULL && strftime(date, 17, "%Y%m%dT%H%M%SZ", &tm) == 16;
}

static int authorize(const struct aws_creds *c, const struct aws_sign *s, const struct headers *h,
                     const struct sk_strbuf *canonical, struct aws_signature *out)
{
    char day[9], scope[128], sig[2 * SHA256_DIGEST_LENGTH + 1];
    snprintf(day, sizeof day, "%.8s", out->date);
    int n = snprintf(scope, sizeof scope, "%s/%s/%s/aws4_request", day, s->region, s->service);
    if (n < 0 || n >= (int)sizeof scope)
        return SK_EFULL;
    struct sk_strbuf text, value;
    sk_strbuf_init(&text, 512);
    sk_strbuf_init(&value, sizeof out->authorization - 1);
    sk_strbuf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s\n", out->date, scope);
    add_hash(&text, canonical->p, canonical->len);
    int rc = text.full ? SK_EFULL : sign_text(c, s, day, text.p, sig) ? SK_OK : SK_ENOMEM;
    if (rc == SK_OK) {
        sk_strbuf_printf(&value, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=", c->access_key, scope);
        add_names(&value, h);
        sk_strbuf_printf(&value, ", Signature=%s", sig);
        rc = value.full ? SK_EFULL : SK_OK;
    }
    if (rc == SK_OK)
        memcpy(out->authorization, value.p, value.len + 1);
    sk_strbuf_free(&text);
    sk_strbuf_free(&value);
    return rc;
}

int aws_sign(const struct aws_creds *c, const struct aws_sign *s, struct aws_signature *out)
{
    struct headers h;
    if (!format_date(s->now, out->date))
        return SK_EINVAL;
    int rc = collect_headers(c, s, out->date, &h);
    if (rc != SK_OK)
        return rc;
    struct sk_strbuf canonical;
    sk_strbuf_init(&canonical, SIGN_TEXT_MAX);
    rc = canonical_request(&canonical, s, &h);
    if (rc == SK_OK)
        rc = authorize(c, s, &h, &canonical, out);
    sk_strbuf_free(&canonical);
    return rc;
}
