#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include "pki_priv.h"

int pki_key_make(char **pem)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    *pem = NULL;
    int rc = key == NULL ? pki_fail() : pki_key_pem(key, pem);
    EVP_PKEY_free(key);
    return rc;
}

static int csr_pem(X509_REQ *req, char **pem)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p = NULL;
    long len = b != NULL && PEM_write_bio_X509_REQ(b, req) == 1 ? BIO_get_mem_data(b, &p) : 0;
    *pem = len > 0 ? strndup(p, (size_t)len) : NULL;
    BIO_free(b);
    return *pem == NULL ? pki_fail() : SK_OK;
}

static const EVP_MD *digest_for(EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
}

int pki_csr_make(const char *key_pem, const char *common_name, char **pem)
{
    EVP_PKEY *key;
    X509_REQ *req = X509_REQ_new();
    *pem = NULL;
    int rc = pki_pem_key(key_pem, &key);
    if (rc == SK_OK && req == NULL)
        rc = SK_ENOMEM;
    if (rc == SK_OK)
        rc = pki_name_set(X509_REQ_get_subject_name(req), common_name);
    if (rc == SK_OK && (X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(req, key) != 1 ||
                        X509_REQ_sign(req, key, digest_for(key)) <= 0))
        rc = pki_fail();
    if (rc == SK_OK)
        rc = csr_pem(req, pem);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    return rc;
}
