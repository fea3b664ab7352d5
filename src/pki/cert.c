#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "pki_priv.h"

static int wall_of(const ASN1_TIME *t, int64_t *out)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return SK_EINVAL;
    int64_t s = timegm(&tm);
    if (s > INT64_MAX / SK_NS_PER_S) /* "99991231235959Z" is RFC 5280's way to say never */
        s = INT64_MAX / SK_NS_PER_S;
    if (s < INT64_MIN / SK_NS_PER_S)
        s = INT64_MIN / SK_NS_PER_S;
    *out = s * SK_NS_PER_S;
    return SK_OK;
}

/* 32 digits; "" when it is negative or has more than 128 bits: not one of ours. */
static int serial_text(X509 *cert, char buf[PKI_SERIAL_LEN])
{
    uint8_t raw[16];
    BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    buf[0] = '\0';
    if (bn == NULL)
        return pki_fail();
    if (!BN_is_negative(bn) && BN_bn2binpad(bn, raw, sizeof(raw)) == sizeof(raw))
        for (size_t i = 0; i < sizeof(raw); i++)
            snprintf(buf + 2 * i, 3, "%02x", raw[i]);
    BN_free(bn);
    return SK_OK;
}

/* A subject that is one CN and nothing else, of an agent ID's form. */
static void agent_text(X509 *cert, char buf[PKI_AGENT_LEN])
{
    const X509_NAME *name = X509_get_subject_name(cert);
    buf[0] = '\0';
    if (X509_NAME_entry_count(name) != 1)
        return;
    const X509_NAME_ENTRY *e = X509_NAME_get_entry(name, 0);
    const ASN1_STRING *s = X509_NAME_ENTRY_get_data(e);
    char text[PKI_AGENT_LEN] = "";
    if (OBJ_obj2nid(X509_NAME_ENTRY_get_object(e)) != NID_commonName || ASN1_STRING_length(s) != PKI_AGENT_LEN - 1)
        return;
    memcpy(text, ASN1_STRING_get0_data(s), PKI_AGENT_LEN - 1);
    if (pki_agent_valid(text))
        memcpy(buf, text, PKI_AGENT_LEN);
}

int pki_cert_fill(X509 *cert, struct pki_cert *out)
{
    memset(out, 0, sizeof(*out));
    int rc = serial_text(cert, out->serial);
    if (rc == SK_OK)
        rc = wall_of(X509_get0_notBefore(cert), &out->not_before);
    if (rc == SK_OK)
        rc = wall_of(X509_get0_notAfter(cert), &out->not_after);
    agent_text(cert, out->agent);
    ERR_clear_error();
    return rc;
}

int pki_cert_read(const char *pem, struct pki_cert *out)
{
    X509 *cert;
    int rc = pki_pem_cert(pem, &cert);
    if (rc == SK_OK)
        rc = pki_cert_fill(cert, out);
    X509_free(cert);
    return rc;
}

int pki_cert_fingerprint(const char *pem, char buf[65])
{
    X509 *cert;
    uint8_t *der = NULL;
    int rc = pki_pem_cert(pem, &cert), len = 0;
    if (rc == SK_OK && (len = i2d_X509(cert, &der)) <= 0)
        rc = pki_fail();
    if (rc == SK_OK)
        pki_hash_text(der, (size_t)len, buf);
    OPENSSL_free(der);
    X509_free(cert);
    return rc;
}

int pki_cert_fits(const char *cert_pem, const char *key_pem)
{
    X509 *cert = NULL;
    EVP_PKEY *key = NULL;
    int rc = pki_pem_cert(cert_pem, &cert);
    if (rc == SK_OK)
        rc = pki_pem_key(key_pem, &key);
    if (rc == SK_OK && X509_check_private_key(cert, key) != 1)
        rc = SK_EPERM;
    EVP_PKEY_free(key);
    X509_free(cert);
    ERR_clear_error();
    return rc;
}
