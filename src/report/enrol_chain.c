/*
 * A CA that is known by its fingerprint alone: the manager shows it behind its own certificate. Nothing is told to
 * whoever answers, and nothing believed of it but the certificate that has this fingerprint; the request itself goes
 * over another connection, which is checked with that certificate.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "enrol_priv.h"

#define CHAIN_MS  15000
#define CHAIN_MAX 10 /* certificates that are looked at */

/* HOST:PORT of the URL, the port 443 when it names none; *host without brackets. */
static void split_url(const char *url, char *connect, size_t cap, char *host, size_t host_cap)
{
    const char *at = url + strlen("https://");
    size_t len = strcspn(at, "/");
    const char *end = at[0] == '[' ? strchr(at, ']') : at;
    bool port = end != NULL && memchr(end, ':', len - (size_t)(end - at)) != NULL;
    snprintf(connect, cap, "%.*s%s", (int)len, at, port ? "" : ":443");
    size_t name = at[0] == '[' ? strcspn(at + 1, "]") : strcspn(at, ":/");
    snprintf(host, host_cap, "%.*s", (int)name, at + (at[0] == '['));
}

/* One step of a handshake that does not block. */
static int wait_for(BIO *b, int64_t until)
{
    int fd = -1;
    int64_t left = (until - sk_now_mono()) / SK_NS_PER_MS;
    if (left <= 0)
        return SK_EAGAIN;
    if (BIO_get_fd(b, &fd) < 0 || fd < 0)
        return poll(NULL, 0, 10) < 0 ? SK_EIO : SK_OK;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (BIO_should_read(b))
        p.events = POLLIN;
    return poll(&p, 1, (int)(left < 1000 ? left : 1000)) < 0 ? SK_EIO : SK_OK;
}

static int handshake(struct enrolment *e, BIO *b)
{
    int64_t until = sk_now_mono() + CHAIN_MS * SK_NS_PER_MS;
    BIO_set_nbio(b, 1);
    for (;;) {
        ERR_clear_error();
        if (BIO_do_connect(b) == 1 && BIO_do_handshake(b) == 1)
            return SK_OK;
        if (!BIO_should_retry(b))
            return enrol_fail_as(e, ENROL_AWAY, SK_EIO, "%s cannot be reached: no TLS connection", e->url);
        if (wait_for(b, until) != SK_OK)
            return enrol_fail_as(e, ENROL_AWAY, SK_EIO, "%s cannot be reached: no answer within %d s", e->url,
                                 CHAIN_MS / 1000);
    }
}

static char *to_pem(X509 *x)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p, *text = NULL;
    if (b != NULL && PEM_write_bio_X509(b, x) == 1) {
        long n = BIO_get_mem_data(b, &p);
        text = n > 0 ? strndup(p, (size_t)n) : NULL;
    }
    BIO_free(b);
    return text;
}

static int pick(struct enrolment *e, SSL *ssl, const uint8_t sha256[32], char **pem)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    for (int i = 0; chain != NULL && i < sk_X509_num(chain) && i < CHAIN_MAX; i++) {
        uint8_t md[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        X509 *x = sk_X509_value(chain, i);
        if (X509_digest(x, EVP_sha256(), md, &len) != 1 || len != 32 || CRYPTO_memcmp(md, sha256, 32) != 0)
            continue;
        if (X509_check_ca(x) == 0)
            return enrol_fail_as(e, ENROL_UNTRUSTED, SK_EPERM, "the certificate with that fingerprint is no CA's");
        *pem = to_pem(x);
        return *pem != NULL ? SK_OK : enrol_fail(e, SK_ENOMEM, "out of memory");
    }
    return enrol_fail_as(
        e, ENROL_UNTRUSTED, SK_EPERM,
        "%s shows no CA with that fingerprint: it is another manager, or somebody stands between; compare "
        "with `sekisho-manager ca show`",
        e->url);
}

int enrol_find_ca(struct enrolment *e, const uint8_t sha256[32], char **pem)
{
    char connect[300], host[256];
    SSL *ssl = NULL;
    split_url(e->url, connect, sizeof(connect), host, sizeof(host));
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    BIO *b = ctx != NULL ? BIO_new_ssl_connect(ctx) : NULL;
    if (b == NULL) {
        SSL_CTX_free(ctx);
        return enrol_fail(e, SK_ENOMEM, "out of memory");
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    (void)BIO_get_ssl(b, &ssl);
    (void)SSL_set_min_proto_version(ssl, TLS1_2_VERSION);
    (void)SSL_set_tlsext_host_name(ssl, host);
    (void)BIO_set_conn_hostname(b, connect);
    int rc = handshake(e, b);
    if (rc == SK_OK)
        rc = pick(e, ssl, sha256, pem);
    BIO_free_all(b);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return rc;
}
