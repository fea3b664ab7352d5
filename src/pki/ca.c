#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/log.h"
#include "ca.h"

#define CA_LIFETIME (3652 * 86400 * SK_NS_PER_S)

struct places {
    char cert[PKI_PATH_MAX], key[PKI_PATH_MAX];
};

static int make_places(const char *dir, struct places *p)
{
    if ((size_t)snprintf(p->cert, sizeof(p->cert), "%s/ca.pem", dir) >= sizeof(p->cert) ||
        (size_t)snprintf(p->key, sizeof(p->key), "%s/ca.key", dir) >= sizeof(p->key))
        return SK_EINVAL;
    return mkdir(dir, 0700) == 0 || errno == EEXIST ? SK_OK : SK_EIO;
}

static int key_make(const char *path)
{
    char *pem;
    int rc = pki_key_make(&pem);
    if (rc == SK_OK)
        rc = pki_secret_write(path, pem, false);
    pki_wipe(pem);
    return rc;
}

/* The name comes from the key: a certificate that is lost and made again has the same. */
static int ca_name(X509 *cert, EVP_PKEY *key)
{
    unsigned char *der = NULL;
    char hash[65], name[PKI_CN_MAX + 1];
    int len = i2d_PUBKEY(key, &der);
    if (len <= 0)
        return pki_fail();
    pki_hash_text(der, (size_t)len, hash);
    OPENSSL_free(der);
    snprintf(name, sizeof(name), "Sekisho CA %.16s", hash);
    return pki_name_set(X509_get_subject_name(cert), name);
}

static int cert_make(const char *path, EVP_PKEY *key, int64_t now)
{
    X509 *cert = X509_new();
    char *pem = NULL;
    int rc = cert == NULL ? SK_ENOMEM : ca_name(cert, key);
    if (rc == SK_OK)
        rc = pki_profile_apply(cert, NULL, key, PKI_P_CA, now - PKI_BACKDATE, now + CA_LIFETIME);
    if (rc == SK_OK && X509_sign(cert, key, EVP_sha256()) <= 0)
        rc = pki_fail();
    if (rc == SK_OK)
        rc = pki_cert_pem(cert, &pem);
    if (rc == SK_OK)
        rc = pki_file_write(path, pem, strlen(pem), 0644, false);
    free(pem);
    X509_free(cert);
    return rc;
}

static int key_load(struct pki_ca *ca, const char *path)
{
    char *pem;
    int rc = pki_secret_read(path, &pem);
    if (rc == SK_OK)
        rc = pki_pem_key(pem, &ca->key);
    pki_wipe(pem);
    return rc;
}

static int cert_load(struct pki_ca *ca, const char *path)
{
    struct pki_cert c;
    size_t len;
    char *text;
    int rc = pki_file_read(path, PKI_PEM_MAX, false, &text, &len);
    if (rc == SK_OK)
        rc = pki_pem_cert(text, &ca->cert);
    free(text);
    if (rc == SK_OK)
        rc = pki_cert_fill(ca->cert, &c);
    if (rc == SK_OK)
        rc = pki_cert_pem(ca->cert, &ca->pem); /* only the certificate, whatever else the file holds */
    if (rc == SK_OK)
        ca->not_after = c.not_after;
    return rc;
}

/* Key and certificate belong together, and the certificate is one of a CA. */
static int check_pair(const struct pki_ca *ca)
{
    bool ok = X509_check_private_key(ca->cert, ca->key) == 1 && X509_check_ca(ca->cert) == 1 &&
              (X509_get_key_usage(ca->cert) & KU_KEY_CERT_SIGN) != 0;
    ERR_clear_error();
    return ok ? SK_OK : SK_EINVAL;
}

/* A certificate without its key is somebody's mistake, and not replaced; a key without a certificate has been
 * interrupted here and is finished. */
static int load_or_make(struct pki_ca *ca, const struct places *p, int64_t now)
{
    struct stat st;
    bool have_cert = stat(p->cert, &st) == 0;
    int rc = key_load(ca, p->key);
    if (rc == SK_ENOENT && !have_cert) {
        rc = key_make(p->key);
        if (rc == SK_OK || rc == SK_EEXIST)
            rc = key_load(ca, p->key);
    }
    if (rc == SK_OK && !have_cert) {
        rc = cert_make(p->cert, ca->key, now);
        if (rc == SK_EEXIST)
            rc = SK_OK;
    }
    if (rc == SK_OK)
        rc = cert_load(ca, p->cert);
    return rc == SK_OK ? check_pair(ca) : rc;
}

int pki_ca_open(const char *dir, int64_t now, struct pki_ca **out)
{
    struct places p = {.cert = ""};
    *out = NULL;
    int rc = make_places(dir, &p);
    struct pki_ca *ca = rc == SK_OK ? (struct pki_ca *)calloc(1, sizeof(*ca)) : NULL;
    if (rc == SK_OK && ca == NULL)
        rc = SK_ENOMEM;
    if (rc == SK_OK)
        rc = load_or_make(ca, &p, now);
    if (rc == SK_OK)
        *out = ca;
    else {
        sk_log(SK_LOG_ERROR, "CA in %s: %s%s%s", dir, sk_strerror(rc), rc == SK_EIO ? ": " : "",
               rc == SK_EIO ? strerror(errno) : "");
        pki_ca_free(ca);
    }
    return rc;
}

void pki_ca_free(struct pki_ca *ca)
{
    if (ca == NULL)
        return;
    EVP_PKEY_free(ca->key);
    X509_free(ca->cert);
    free(ca->pem);
    free(ca);
}

const char *pki_ca_pem(const struct pki_ca *ca)
{
    return ca->pem;
}
