/* A JSON POST, signed: the receiver knows who sends, that nobody has changed it, and how old it is. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/escape.h"
#include "output_priv.h"
#include "pki/pki.h"

#define SECRET_MIN 16

static bool begins(const char *s, const char *head)
{
    return strncmp(s, head, strlen(head)) == 0;
}

/* Without TLS only where nobody can listen. */
bool webhook_url_allowed(const char *url)
{
    static const char *const here[] = {"http://127.0.0.1", "http://[::1]", "http://localhost"};
    for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++) {
        char next = begins(url, here[i]) ? url[strlen(here[i])] : 'x';
        if (next == ':' || next == '/' || next == '\0')
            return strchr(url, '@') == NULL;
    }
    return begins(url, "https://") && url[8] != '\0';
}

/* Line ends behind it belong to the editor, not to the secret. */
static int take_secret(struct webhook *w, const char *text)
{
    size_t len = strcspn(text, "\r\n");
    if (len < SECRET_MIN || len > sizeof(w->secret) || strspn(text + len, "\r\n") != strlen(text + len))
        return SK_EINVAL;
    memcpy(w->secret, text, len);
    w->secret_len = len;
    return SK_OK;
}

int webhook_open(const struct output_sink *sink, struct webhook *w, char *why, size_t cap)
{
    char *text = NULL;
    memset(w, 0, sizeof(*w));
    w->tls.ca_file = sink->ca_file[0] != '\0' ? sink->ca_file : NULL;
    if (!webhook_url_allowed(sink->url)) {
        snprintf(why, cap, "output %s: the URL is neither https nor this host's own", sink->name);
        return SK_EINVAL;
    }
    if (sink->secret_file[0] == '\0')
        return SK_OK;
    int rc = pki_secret_read(sink->secret_file, &text);
    if (rc == SK_OK)
        rc = take_secret(w, text);
    pki_wipe(text);
    if (rc == SK_EINVAL)
        snprintf(why, cap, "output %s: %s: one line of %d to %d characters is wanted", sink->name, sink->secret_file,
                 SECRET_MIN, OUTPUT_SECRET_MAX);
    else if (rc != SK_OK)
        snprintf(why, cap, "output %s: %s: %s", sink->name, sink->secret_file,
                 rc == SK_EPERM ? "others may read it" : sk_strerror(rc));
    return rc;
}

int webhook_sign(const struct webhook *w, int64_t seconds, const char *body, size_t len, char buf[128])
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    char head[32];
    unsigned n = 0;
    int head_len = snprintf(head, sizeof(head), "%lld.", (long long)seconds);
    char *all = (char *)malloc((size_t)head_len + len);
    if (all == NULL)
        return SK_ENOMEM;
    memcpy(all, head, (size_t)head_len);
    memcpy(all + head_len, body, len);
    bool ok = HMAC(EVP_sha256(), w->secret, (int)w->secret_len, (const unsigned char *)all, (size_t)head_len + len, mac,
                   &n) != NULL;
    free(all);
    if (!ok)
        return SK_ENOMEM;
    int at = snprintf(buf, 128, "t=%lld,v1=", (long long)seconds);
    for (unsigned i = 0; i < n; i++)
        at += snprintf(buf + at, 128 - (size_t)at, "%02x", mac[i]);
    return SK_OK;
}

static char *make_body(const struct output_sink *sink, const struct parcel *p)
{
    char id[96];
    const struct store_agent *a = &p->agent;
    snprintf(id, sizeof(id), "%s-%lld", sink->name, (long long)p->id);
    json_t *root = json_pack("{s:s, s:I, s:i, s:{s:s, s:s, s:s, s:s, s:s}, s:O}", "id", id, "taken_ms",
                             (json_int_t)p->created, "attempt", p->attempts + 1, "agent", "id", a->id, "host", a->host,
                             "instance", a->instance, "account", a->account, "region", a->region, "item", p->item);
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

/* "Too early", "too many" and a timeout pass; so may any 5xx. Another 4xx, or a redirection, does not by itself. */
static enum try_result result_of(const struct fetch_response *r)
{
    if (r->result != FETCH_ANSWERED)
        return r->result == FETCH_FAILED ? TRY_REFUSED : TRY_AGAIN;
    if (r->status >= 200 && r->status < 300)
        return TRY_SENT;
    if (r->status >= 500 || r->status == 408 || r->status == 425 || r->status == 429)
        return TRY_AGAIN;
    return TRY_REFUSED;
}

static void post(const struct webhook *w, const struct output_sink *sink, const char *body, const char *signature,
                 struct tried *out)
{
    char header[192];
    const char *headers[] = {"Content-Type: application/json", "User-Agent: sekisho-manager/" SK_VERSION, header};
    struct fetch_request q = {.method = "POST",
                              .url = sink->url,
                              .headers = headers,
                              .nheaders = signature[0] != '\0' ? 3 : 2,
                              .body = body,
                              .body_len = strlen(body),
                              .tls = &w->tls,
                              .timeout_ms = OUTPUT_TIMEOUT_MS,
                              .response_max = 65536};
    struct fetch_response r;
    snprintf(header, sizeof(header), "X-Sekisho-Signature: %s", signature);
    (void)(fetch_do(&q, &r) == SK_OK); /* r.result says it all */
    out->result = result_of(&r);
    out->after = r.result == FETCH_ANSWERED ? r.retry_after : -1;
    if (r.result == FETCH_ANSWERED)
        snprintf(out->why, sizeof(out->why), "status %d", r.status);
    else
        sk_escape(out->why, sizeof(out->why), sk_span_str(r.text));
    fetch_response_free(&r);
}

void webhook_try(const struct webhook *w, const struct output_sink *sink, const struct parcel *p, int64_t now,
                 struct tried *out)
{
    char signature[128] = "", *body = make_body(sink, p);
    *out = (struct tried){.result = TRY_REFUSED, .after = -1};
    if (body == NULL)
        snprintf(out->why, sizeof(out->why), "no body can be made of it");
    else if (w->secret_len > 0 && webhook_sign(w, now / SK_NS_PER_S, body, strlen(body), signature) != SK_OK)
        snprintf(out->why, sizeof(out->why), "it cannot be signed");
    else
        post(w, sink, body, signature, out);
    free(body);
}
