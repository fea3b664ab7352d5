#include <openssl/err.h>
#include <string.h>
#include "pki_priv.h"

static int make_key(const char *path, EVP_PKEY **out)
{
    char *pem = NULL;
    *out = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    int rc = *out == NULL ? pki_fail() : pki_key_pem(*out, &pem);
    if (rc == SK_OK)
        rc = pki_secret_write(path, pem, false);
    pki_wipe(pem);
    return rc;
}

static int read_key(const char *path, EVP_PKEY **out)
{
    char *pem;
    int rc = pki_secret_read(path, &pem);
    if (rc == SK_OK)
        rc = pki_pem_key(pem, out);
    pki_wipe(pem);
    return rc;
}

int pki_sign_key_open(const char *path, bool make, uint8_t secret[PKI_ED25519_KEY], uint8_t public_key[PKI_ED25519_KEY])
{
    EVP_PKEY *key = NULL;
    size_t ns = PKI_ED25519_KEY, np = PKI_ED25519_KEY;
    int rc = read_key(path, &key);
    if (rc == SK_ENOENT && make)
        rc = make_key(path, &key);
    if (rc == SK_OK &&
        (!EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_get_raw_private_key(key, secret, &ns) != 1 ||
         EVP_PKEY_get_raw_public_key(key, public_key, &np) != 1 || ns != PKI_ED25519_KEY || np != PKI_ED25519_KEY))
        rc = SK_EINVAL;
    EVP_PKEY_free(key);
    ERR_clear_error();
    return rc;
}

int pki_sign(const uint8_t secret[PKI_ED25519_KEY], const void *p, size_t len, uint8_t sig[PKI_ED25519_SIG])
{
    size_t n = PKI_ED25519_SIG;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, PKI_ED25519_KEY);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = key != NULL && ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestSign(ctx, sig, &n, (const unsigned char *)p, len) == 1 && n == PKI_ED25519_SIG;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return ok ? SK_OK : pki_fail();
}

int pki_verify(const uint8_t public_key[PKI_ED25519_KEY], const void *p, size_t len, const uint8_t sig[PKI_ED25519_SIG])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, PKI_ED25519_KEY);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = key != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestVerify(ctx, sig, PKI_ED25519_SIG, (const unsigned char *)p, len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok ? SK_OK : SK_EPERM;
}
