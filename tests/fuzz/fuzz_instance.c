/*
 * Byte 0: 0 what IMDS gives, as text; 1 the same as DER; 2 the document inside, which is signed here with a key that is
 * pinned for eu-west-1; 3 a file of pinned certificates.
 */
#include <openssl/evp.h>
#include <openssl/pkcs7.h>
#include <openssl/rsa.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "pki/instance.h"

#define NOW (INT64_C(1790000000) * SK_NS_PER_S)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static EVP_PKEY *key;
static X509 *cert;
static struct instance_certs *certs;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static int open_certs(const void *p, size_t len, struct instance_certs **out)
{
    char path[64];
    int line, fd = memfd_create("certs", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, p, len) == (ssize_t)len);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int rc = instance_certs_open(path, out, &line);
    close(fd);
    return rc;
}

static void setup(void)
{
    char *p;
    BIO *b = BIO_new(BIO_s_mem());
    key = EVP_RSA_gen(2048);
    cert = X509_new();
    must(b != NULL && key != NULL && cert != NULL && X509_set_pubkey(cert, key) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    ASN1_TIME_set(X509_getm_notBefore(cert), 1);
    ASN1_TIME_set(X509_getm_notAfter(cert), 2000000000);
    must(X509_sign(cert, key, EVP_sha256()) > 0 && BIO_puts(b, "# region: eu-west-1\n") > 0);
    must(PEM_write_bio_X509(b, cert) == 1);
    long len = BIO_get_mem_data(b, &p);
    must(open_certs(p, (size_t)len, &certs) == SK_OK);
    BIO_free(b);
}

static void verify(const char *text, size_t len, bool may_be_right)
{
    static const struct instance_policy policy = {.max_age = 0};
    struct instance_doc d;
    const char *why = NULL;
    int rc = instance_verify(certs, &policy, text, len, NOW, &d, &why);
    must(rc == SK_EINVAL || rc == SK_EPERM || (rc == SK_OK && may_be_right));
    must(why != NULL && (rc == SK_OK) == (why[0] == '\0') && (rc == SK_OK) == (d.instance_id[0] != '\0'));
    must(rc != SK_OK || (strcmp(d.region, "eu-west-1") == 0 && strlen(d.account) == 12));
    must(rc != SK_OK || d.pending <= NOW + 60 * SK_NS_PER_S);
}

static void verify_der(const uint8_t *p, size_t len, bool may_be_right)
{
    char *text = (char *)malloc(len * 2 + 8);
    must(text != NULL);
    int n = EVP_EncodeBlock((unsigned char *)text, p, (int)len);
    verify(text, (size_t)n, may_be_right);
    free(text);
}

static void sign_and_verify(const uint8_t *p, size_t len)
{
    BIO *in = BIO_new_mem_buf(p, (int)len);
    unsigned char *der = NULL;
    PKCS7 *p7 = PKCS7_sign(cert, key, NULL, in, PKCS7_BINARY | PKCS7_NOCERTS);
    must(p7 != NULL);
    int n = i2d_PKCS7(p7, &der);
    must(n > 0);
    verify_der(der, (size_t)n, true);
    OPENSSL_free(der);
    PKCS7_free(p7);
    BIO_free(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct instance_certs *c;
    if (certs == NULL)
        setup();
    if (size < 2)
        return 0;
    switch (data[0]) {
    case 0: verify((const char *)data + 1, size - 1, false); break;
    case 1: verify_der(data + 1, size - 1, false); break;
    case 2: sign_and_verify(data + 1, size - 1); break;
    default:
        if (open_certs(data + 1, size - 1, &c) == SK_OK) {
            must(instance_certs_count(c) > 0);
            instance_certs_free(c);
        }
    }
    return 0;
}
