#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "aws_priv.h"
#include "base/clock.h"
#include "base/escape.h"
#include "base/log.h"
#include "base/strbuf.h"

#define HOST_MAX 256

struct call {
    const char *service, *region, *target, *content_type, *body; /* target: NULL for query */
    size_t len;
    char url[AWS_URL_MAX], host[HOST_MAX];
};

static int fail(struct aws_answer *out, enum aws_error e, const char *why)
{
    out->error = e;
    sk_escape(out->message, sizeof out->message, sk_span_str(why));
    return SK_EIO;
}

/* A part of a host name and of the signature's scope: nothing else may come in there. */
static bool is_label(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n > 0 && s[n] == '\0';
}

/* "https://host:port/": what goes into the Host header. libcurl leaves the scheme's own port out, so do we. */
static int host_of(const char *url, char *buf, size_t cap)
{
    bool https = strncmp(url, "https://", 8) == 0;
    const char *h = strstr(url, "://");
    if (h == NULL)
        return SK_EINVAL;
    h += 3;
    size_t n = strcspn(h, "/");
    const char *own = https ? ":443" : ":80";
    if (n > strlen(own) && memcmp(h + n - strlen(own), own, strlen(own)) == 0)
        n -= strlen(own);
    if (n == 0 || n >= cap)
        return SK_EINVAL;
    memcpy(buf, h, n);
    buf[n] = '\0';
    return SK_OK;
}

static int address_call(const struct aws *a, struct call *c)
{
    if (!is_label(c->service) || !is_label(c->region))
        return SK_EINVAL;
    const char *suffix = strncmp(c->region, "cn-", 3) == 0 ? ".cn" : "";
    int n = a->endpoint != NULL
                ? snprintf(c->url, sizeof c->url, "%s/", a->endpoint)
                : snprintf(c->url, sizeof c->url, "https://%s.%s.amazonaws.com%s/", c->service, c->region, suffix);
    return n < 0 || n >= (int)sizeof c->url ? SK_EINVAL : host_of(c->url, c->host, sizeof c->host);
}

static int sign_call(const struct call *c, const struct aws_creds *creds, int64_t now, struct aws_signature *sig)
{
    char type[128], target[160];
    const char *headers[2] = {type, target};
    snprintf(type, sizeof type, "content-type:%s", c->content_type);
    snprintf(target, sizeof target, "x-amz-target:%s", c->target != NULL ? c->target : "");
    struct aws_sign s = {.method = "POST", .host = c->host, .path = "/", .query = "", .region = c->region};
    s.service = c->service;
    s.headers = headers;
    s.n = c->target != NULL ? 2 : 1;
    s.body = c->body;
    s.body_len = c->len;
    s.now = now;
    return aws_sign(creds, &s, sig);
}

/* Sends it. The header lines hold the signature and the token: wiped. */
static int send_call(struct aws *a, const struct call *c, const struct aws_creds *creds,
                     const struct aws_signature *sig, struct fetch_response *r)
{
    static const char *const names[] = {"content-type", "x-amz-date", "authorization", "x-amz-target",
                                        "x-amz-security-token"};
    const char *const values[] = {c->content_type, sig->date, sig->authorization, c->target, creds->token};
    struct sk_strbuf b;
    const char *headers[6];
    size_t at[6];
    unsigned n = 0;
    sk_strbuf_init(&b, 8192);
    for (int i = 0; i < 5; i++) {
        if (values[i] == NULL || values[i][0] == '\0')
            continue;
        at[n++] = b.len;
        sk_strbuf_printf(&b, "%s: %s", names[i], values[i]);
        sk_strbuf_add(&b, "", 1);
    }
    for (unsigned i = 0; i < n; i++)
        headers[i] = b.p + at[i];
    struct fetch_request q = {.method = "POST", .url = c->url, .headers = headers, .nheaders = n};
    q.body = c->body;
    q.body_len = c->len;
    q.tls = &a->tls;
    q.timeout_ms = a->timeout_ms;
    q.response_max = AWS_RESPONSE_MAX;
    q.once = true; /* two writes within a second are one too many */
    *r = (struct fetch_response){.result = FETCH_FAILED, .text = "out of memory"};
    int rc = b.full ? SK_ENOMEM : fetch_do(&q, r);
    if (b.p != NULL)
        OPENSSL_cleanse(b.p, b.cap);
    sk_strbuf_free(&b);
    return rc;
}

/* No answer: everything that may be different next time is AWS_RETRY. */
static int take_silence(const struct fetch_response *r, struct aws_answer *out)
{
    bool again = r->result == FETCH_UNREACHABLE || r->result == FETCH_TIMEOUT || r->result == FETCH_TLS;
    return fail(out, again ? AWS_RETRY : AWS_OTHER, r->text);
}

static void correct_clock(struct aws *a, int64_t date)
{
    int64_t skew = date - sk_now_wall();
    __atomic_store_n(&a->skew, skew, __ATOMIC_RELAXED);
    sk_log(SK_LOG_WARN, "aws: this host's clock is wrong by %lld s: requests are signed with AWS's time",
           (long long)(-skew / SK_NS_PER_S));
}

/* The service knows better than their end, if they have one, that these are over: the sources are asked again. */
static void reject_creds(struct aws *a, const struct aws_answer *r)
{
    if (strncmp(r->code, "ExpiredToken", 12) != 0 && strncmp(r->code, "Unrecognized", 12) != 0 &&
        strncmp(r->code, "InvalidClientToken", 18) != 0)
        return;
    pthread_mutex_lock(&a->lock);
    a->rejected = true;
    pthread_mutex_unlock(&a->lock);
}

static int take_answer(struct aws *a, struct fetch_response *r, int64_t signed_at, struct aws_answer *out)
{
    out->status = r->status;
    out->retry_after = r->retry_after;
    out->body = r->body;
    out->body_len = r->body_len;
    r->body = NULL;
    r->body_len = 0;
    if (out->status >= 200 && out->status <= 299)
        return SK_OK;
    answer_read_error(out, r->error_type, sk_span_of(out->body, (uint32_t)out->body_len));
    if (answer_blames_clock(out, r->date, signed_at)) {
        correct_clock(a, r->date);
        out->error = AWS_SKEW;
    } else if (out->error == AWS_AUTH) {
        reject_creds(a, out);
    }
    return SK_EIO;
}

static int perform(struct aws *a, struct call *c, struct aws_answer *out)
{
    struct aws_creds creds;
    struct aws_signature sig;
    char why[256];
    *out = (struct aws_answer){.error = AWS_OK, .retry_after = -1};
    if (address_call(a, c) != SK_OK)
        return fail(out, AWS_INVALID, "service, region or endpoint makes no sense");
    if (aws_creds_get(a, sk_now_wall(), &creds, why, sizeof why) != SK_OK)
        return fail(out, AWS_AUTH, why);
    struct fetch_response r = {.result = FETCH_FAILED};
    int64_t now = sk_now_wall() + __atomic_load_n(&a->skew, __ATOMIC_RELAXED);
    int rc = sign_call(c, &creds, now, &sig);
    if (rc != SK_OK)
        rc = fail(out, AWS_OTHER, "the request cannot be signed");
    else if (send_call(a, c, &creds, &sig, &r) != SK_OK)
        rc = take_silence(&r, out);
    else
        rc = take_answer(a, &r, now, out);
    fetch_response_free(&r);
    OPENSSL_cleanse(&creds, sizeof creds);
    return rc;
}

int aws_json(struct aws *a, const char *service, const char *region, const char *target, const char *body, size_t len,
             struct aws_answer *out)
{
    struct call c = {.service = service, .region = region, .target = target, .body = body, .len = len};
    c.content_type = "application/x-amz-json-1.1";
    return perform(a, &c, out);
}

int aws_query(struct aws *a, const char *service, const char *region, const char *form, struct aws_answer *out)
{
    struct call c = {.service = service, .region = region, .body = form, .len = strlen(form)};
    c.content_type = "application/x-www-form-urlencoded; charset=utf-8";
    return perform(a, &c, out);
}

int64_t aws_backoff(unsigned n, int64_t base, int64_t most)
{
    int64_t limit = base;
    for (unsigned i = 1; i < n && limit < most; i++)
        limit = limit > most / 2 ? most : limit * 2;
    if (limit > most)
        limit = most;
    uint64_t x = 0;
    if (limit <= 0 || RAND_bytes((unsigned char *)&x, sizeof x) != 1)
        return limit > 0 ? limit : 0;
    return (int64_t)(x % ((uint64_t)limit + 1));
}

int aws_form_encode(const char *s, char *buf, size_t cap)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        bool plain =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("-._~", c) != NULL;
        if (n + (plain || c == ' ' ? 1 : 3) >= cap)
            return SK_EFULL;
        if (plain) {
            buf[n++] = (char)c;
        } else if (c == ' ') {
            buf[n++] = '+';
        } else {
            buf[n++] = '%';
            buf[n++] = digits[c >> 4];
            buf[n++] = digits[c & 15];
        }
    }
    if (cap == 0)
        return SK_EFULL;
    buf[n] = '\0';
    return SK_OK;
}
