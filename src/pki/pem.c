#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include "pki_priv.h"

int pki_fail(void)
{
    ERR_clear_error();
    return SK_ENOMEM;
}

int pki_no_password(char *buf, int size, int rwflag, void *arg)
{
    (void)buf, (void)size, (void)rwflag, (void)arg;
    return -1;
}

static BIO *reader_of(const char *pem)
{
    size_t len = strnlen(pem, PKI_PEM_MAX + 1);
    return len > PKI_PEM_MAX ? NULL : BIO_new_mem_buf(pem, (int)len);
}

int pki_pem_key(const char *pem, EVP_PKEY **out)
{
    BIO *b = reader_of(pem);
    *out = b == NULL ? NULL : PEM_read_bio_PrivateKey(b, NULL, pki_no_password, NULL);
    BIO_free(b);
    ERR_clear_error();
    return *out == NULL ? SK_EINVAL : SK_OK;
}

int pki_pem_cert(const char *pem, X509 **out)
{
    BIO *b = reader_of(pem);
    *out = b == NULL ? NULL : PEM_read_bio_X509(b, NULL, pki_no_password, NULL);
    BIO_free(b);
    ERR_clear_error();
    return *out == NULL ? SK_EINVAL : SK_OK;
}

/* What was written to b as a text of the caller's. */
static int text_of(BIO *b, char **out)
{
    char *p = NULL;
    long len = BIO_get_mem_data(b, &p);
    *out = len > 0 ? strndup(p, (size_t)len) : NULL;
    return *out == NULL ? SK_ENOMEM : SK_OK;
}

int pki_key_pem(EVP_PKEY *key, char **pem)
{
    BIO *b = BIO_new(BIO_s_secmem()); /* wiped when it is freed */
    int rc = SK_ENOMEM;
    *pem = NULL;
    if (b != NULL && PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1)
        rc = text_of(b, pem);
    BIO_free(b);
    return rc == SK_OK ? SK_OK : pki_fail();
}

int pki_cert_pem(X509 *cert, char **pem)
{
    BIO *b = BIO_new(BIO_s_mem());
    int rc = SK_ENOMEM;
    *pem = NULL;
    if (b != NULL && PEM_write_bio_X509(b, cert) == 1)
        rc = text_of(b, pem);
    BIO_free(b);
    return rc == SK_OK ? SK_OK : pki_fail();
}

int pki_name_set(X509_NAME *name, const char *common_name)
{
    size_t len = strlen(common_name);
    if (len == 0 || len > PKI_CN_MAX)
        return SK_EINVAL;
    int rc = X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)common_name,
                                        (int)len, -1, 0);
    ERR_clear_error();
    return rc == 1 ? SK_OK : SK_EINVAL;
}
