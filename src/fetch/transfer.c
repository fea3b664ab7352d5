#include "transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/escape.h"

#define BODY_FIRST     4096
#define KEEPALIVE_IDLE 60L /* seconds: a dead peer of a long poll is found out */
#define KEEPALIVE_INTV 30L

/* Grows without realloc: an answer may hold credentials, and no copy of them is left behind. */
static bool grow_body(struct transfer *t, size_t need)
{
    size_t cap = t->body_cap ? t->body_cap : BODY_FIRST;
    while (cap < need)
        cap *= 2;
    char *p = (char *)malloc(cap);
    if (p == NULL)
        return false;
    if (t->r.body != NULL) {
        memcpy(p, t->r.body, t->r.body_len);
        explicit_bzero(t->r.body, t->body_cap);
        free(t->r.body);
    }
    t->r.body = p;
    t->body_cap = cap;
    return true;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = (struct transfer *)arg;
    size_t len = size * n;
    if (len > t->body_max - t->r.body_len) {
        t->too_large = true;
        return 0;
    }
    if (t->r.body_len + len + 1 > t->body_cap && !grow_body(t, t->r.body_len + len + 1)) {
        t->no_memory = true;
        return 0;
    }
    memcpy(t->r.body + t->r.body_len, p, len);
    t->r.body_len += len;
    return len;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = (struct transfer *)arg;
    size_t len = size * n;
    if (len > TRANSFER_HEADER_BYTES - t->header_bytes) {
        t->too_large = true;
        return 0;
    }
    t->header_bytes += len;
    transfer_header(t, p, len);
    return len;
}

static int refuse(struct transfer *t, const char *why)
{
    t->r.result = FETCH_FAILED;
    snprintf(t->r.text, sizeof t->r.text, "%s", why);
    return SK_EINVAL;
}

static int add_header(struct transfer *t, const char *line)
{
    struct curl_slist *l = curl_slist_append(t->headers, line);
    if (l == NULL) {
        refuse(t, "out of memory");
        return SK_ENOMEM;
    }
    t->headers = l;
    return SK_OK;
}

static bool header_is_sane(const char *h)
{
    const char *colon = strchr(h, ':');
    if (colon == NULL || colon == h || strpbrk(h, "\r\n") != NULL)
        return false;
    return colon[1 + strspn(colon + 1, " \t")] != '\0'; /* curl takes an empty one as an order to leave it out */
}

static bool has_header(const struct fetch_request *q, const char *name)
{
    size_t len = strlen(name);
    for (unsigned i = 0; i < q->nheaders; i++)
        if (strncasecmp(q->headers[i], name, len) == 0 && q->headers[i][len] == ':')
            return true;
    return false;
}

/* The caller's headers, and none of those that curl would add on its own. */
static int set_headers(struct transfer *t, const struct fetch_request *q)
{
    static const char *const unwanted[] = {"Expect", "Accept", "Content-Type"};
    if (q->nheaders > FETCH_HEADERS_MAX)
        return refuse(t, "too many headers");
    int rc = SK_OK;
    for (unsigned i = 0; i < q->nheaders && rc == SK_OK; i++)
        rc = header_is_sane(q->headers[i]) ? add_header(t, q->headers[i]) : refuse(t, "a header is malformed");
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted && rc == SK_OK; i++) {
        char line[32];
        snprintf(line, sizeof line, "%s:", unwanted[i]);
        if (!has_header(q, unwanted[i]))
            rc = add_header(t, line);
    }
    return rc;
}

static int copy_body(struct transfer *t, const struct fetch_request *q)
{
    if (q->body == NULL || q->body_len == 0)
        return SK_OK;
    t->body = (char *)malloc(q->body_len);
    if (t->body == NULL) {
        refuse(t, "out of memory");
        return SK_ENOMEM;
    }
    memcpy(t->body, q->body, q->body_len);
    t->body_len = q->body_len;
    return SK_OK;
}

#define SET(opt, value) ok &= curl_easy_setopt(t->easy, opt, value) == CURLE_OK

static bool set_method(struct transfer *t, const struct fetch_request *q, const void *body)
{
    bool ok = true;
    bool sends = q->body != NULL || strcmp(q->method, "POST") == 0 || strcmp(q->method, "PUT") == 0;
    if (sends) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, body != NULL ? (const char *)body : "");
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
    } else {
        SET(CURLOPT_HTTPGET, 1L);
    }
    SET(CURLOPT_CUSTOMREQUEST, q->method);
    SET(CURLOPT_FRESH_CONNECT, q->once ? 1L : 0L);
    SET(CURLOPT_FORBID_REUSE, q->once ? 1L : 0L);
    return ok;
}

/*
 * What libcurl can do is asked of the one that is there: a package may be built with newer headers than the libcurl of
 * the distribution that it runs on.
 */
static bool curl_has(unsigned version)
{
    return curl_version_info(CURLVERSION_NOW)->version_num >= version;
}

static bool set_protocols(struct transfer *t)
{
    bool ok = true;
#if LIBCURL_VERSION_NUM >= 0x075500
    if (curl_has(0x075500)) {
        SET(CURLOPT_PROTOCOLS_STR, "http,https");
        return ok;
    }
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    SET(CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#pragma GCC diagnostic pop
    return ok;
}

/* Nothing from the environment, no redirects, no signals. */
static bool set_manners(struct transfer *t)
{
    bool ok = set_protocols(t);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_USERAGENT, "sekisho/" SK_VERSION);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE);
    SET(CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTV);
    return ok;
}

/*
 * With a CA file only that one counts: curl would trust its built-in folder of CAs beside it. These files are replaced
 * when certificates are renewed, so nothing of them is kept: neither the parsed CAs nor, with a certificate of ours,
 * sessions, which would speak for the old one.
 */
static bool set_tls(struct transfer *t, const struct fetch_tls *tls)
{
    bool ok = true;
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (tls != NULL && tls->ca_file != NULL) {
        SET(CURLOPT_CAINFO, tls->ca_file);
        SET(CURLOPT_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075700
        if (curl_has(0x075700))
            SET(CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
    }
    if (tls != NULL && tls->cert_file != NULL) {
        SET(CURLOPT_SSLCERT, tls->cert_file);
        SET(CURLOPT_SSLKEY, tls->key_file != NULL ? tls->key_file : tls->cert_file);
        SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
    }
    return ok;
}

static bool set_sinks(struct transfer *t)
{
    bool ok = true;
    SET(CURLOPT_ERRORBUFFER, t->errbuf);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_HTTPHEADER, t->headers);
    return ok;
}

static bool set_times(struct transfer *t, const struct fetch_request *q)
{
    bool ok = true;
    SET(CURLOPT_TIMEOUT_MS, (long)q->timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(q->connect_timeout_ms > 0 ? q->connect_timeout_ms : q->timeout_ms));
    return ok;
}

static bool is_sane(const struct fetch_request *q)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE"};
    if (q->method == NULL || q->url == NULL || q->timeout_ms <= 0 || (q->body == NULL && q->body_len > 0))
        return false;
    if (strncmp(q->url, "http://", 7) != 0 && strncmp(q->url, "https://", 8) != 0)
        return false;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(q->method, methods[i]) == 0)
            return true;
    return false;
}

int transfer_begin(struct transfer *t, CURL *easy, const struct fetch_request *q, bool copy)
{
    *t = (struct transfer){.easy = easy, .r = {.retry_after = -1}};
    t->body_max = q->response_max ? q->response_max : FETCH_RESPONSE_MAX;
    int rc = is_sane(q) ? set_headers(t, q) : refuse(t, "the request makes no sense");
    if (rc == SK_OK && copy)
        rc = copy_body(t, q);
    const void *body = copy ? t->body : q->body;
    if (rc == SK_OK && !(set_sinks(t) && set_manners(t) && set_tls(t, q->tls) && set_times(t, q) &&
                         set_method(t, q, body) && curl_easy_setopt(easy, CURLOPT_URL, q->url) == CURLE_OK))
        rc = refuse(t, "libcurl refuses an option");
    if (rc != SK_OK)
        transfer_clear(t);
    return rc;
}

/* A TLS alert that comes when the handshake is over on our side (TLS 1.3: our certificate was refused). */
static bool is_alert(const struct transfer *t)
{
    return strstr(t->errbuf, "alert ") != NULL && strstr(t->errbuf, "SSL") != NULL;
}

/* The handshake failed for what was said in it, not because the connection went. */
static bool is_handshake(const struct transfer *t)
{
    return strstr(t->errbuf, "error:") != NULL && strstr(t->errbuf, "unexpected eof") == NULL;
}

static enum fetch_result classify(const struct transfer *t, CURLcode rc)
{
    if (t->too_large)
        return FETCH_TOO_LARGE;
    if (t->no_memory)
        return FETCH_FAILED;
    switch (rc) {
    case CURLE_OK: return FETCH_ANSWERED;
    case CURLE_OPERATION_TIMEDOUT: return FETCH_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_SSL_CIPHER: return FETCH_TLS;
    case CURLE_SSL_CONNECT_ERROR: return is_handshake(t) ? FETCH_TLS : FETCH_UNREACHABLE;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR: return is_alert(t) ? FETCH_TLS : FETCH_UNREACHABLE;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_FAILED_INIT:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE: return FETCH_FAILED;
    default: return FETCH_UNREACHABLE;
    }
}

static void explain(struct transfer *t, CURLcode rc)
{
    const char *why = t->too_large   ? "the answer is too large"
                      : t->no_memory ? "out of memory"
                      : t->errbuf[0] ? t->errbuf
                                     : curl_easy_strerror(rc);
    sk_escape(t->r.text, sizeof t->r.text, sk_span_str(why));
}

static void note_peer(struct transfer *t)
{
    char *ip = NULL;
    if (curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &ip) == CURLE_OK && ip != NULL)
        snprintf(t->r.peer, sizeof t->r.peer, "%s", ip);
}

static void drop_body(struct transfer *t)
{
    if (t->r.body != NULL)
        explicit_bzero(t->r.body, t->body_cap);
    free(t->r.body);
    t->r.body = NULL;
    t->r.body_len = t->body_cap = 0;
}

static void take_answer(struct transfer *t)
{
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 100 || status > 599) {
        t->r.result = FETCH_UNREACHABLE;
        snprintf(t->r.text, sizeof t->r.text, "the answer's status makes no sense");
    } else if (t->r.body == NULL && !grow_body(t, 1)) {
        refuse(t, "out of memory");
    } else {
        t->r.status = (int)status;
        t->r.body[t->r.body_len] = '\0';
        t->r.retry_after = transfer_retry_after(t->retry_after, t->r.date ? t->r.date : sk_now_wall());
    }
}

void transfer_finish(struct transfer *t, CURLcode rc)
{
    t->r.result = classify(t, rc);
    note_peer(t);
    if (t->r.result == FETCH_ANSWERED)
        take_answer(t);
    else
        explain(t, rc);
    if (t->r.result != FETCH_ANSWERED)
        drop_body(t);
}

void transfer_clear(struct transfer *t)
{
    drop_body(t);
    if (t->body != NULL)
        explicit_bzero(t->body, t->body_len);
    free(t->body);
    t->body = NULL;
    curl_slist_free_all(t->headers);
    t->headers = NULL;
}
