/* What the CA signs, and whether it has signed something. */
#include <arpa/inet.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"
#include "base/clock.h"
#include "ca.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096
#define CERT_DER_MAX 16384

/* Curves by name only: explicit parameters are another curve that looks like one (CVE-2020-0601). */
static bool curve_allowed(EVP_PKEY *key)
{
    char name[32] = "";
    size_t len;
    int given = 0;
    if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &given) == 1 && given != 0)
        return false;
    if (EVP_PKEY_get_group_name(key, name, sizeof(name), &len) != 1)
        return false;
    return strcmp(name, SN_X9_62_prime256v1) == 0 || strcmp(name, SN_secp384r1) == 0;
}

static bool key_allowed(EVP_PKEY *key)
{
    if (EVP_PKEY_is_a(key, "EC"))
        return curve_allowed(key);
    if (EVP_PKEY_is_a(key, "RSA"))
        return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN && EVP_PKEY_get_bits(key) <= RSA_BITS_MAX;
    return EVP_PKEY_is_a(key, "ED25519");
}

static bool digest_allowed(const X509_REQ *req)
{
    switch (X509_REQ_get_signature_nid(req)) {
    case NID_ecdsa_with_SHA256:
    case NID_ecdsa_with_SHA384:
    case NID_ecdsa_with_SHA512:
    case NID_sha256WithRSAEncryption:
    case NID_sha384WithRSAEncryption:
    case NID_sha512WithRSAEncryption:
    case NID_ED25519: return true;
    default: return false;
    }
}

/* The key's size is looked at before it is used: a huge one would cost seconds. */
static int check_request(X509_REQ *req, const char **why)
{
    EVP_PKEY *key = X509_REQ_get0_pubkey(req);
    if (key == NULL)
        *why = "the request's key cannot be read";
    else if (!key_allowed(key))
        *why = "the key is none of EC P-256, EC P-384, Ed25519, RSA of 2048 to 4096 bits";
    else if (!digest_allowed(req))
        *why = "the request is signed with an algorithm that is not accepted";
    else if (X509_REQ_verify(req, key) != 1)
        *why = "the request is not signed by its own key";
    else
        return SK_OK;
    return SK_EINVAL;
}

static X509_REQ *read_request(const char *pem)
{
    size_t len = strnlen(pem, PKI_PEM_MAX + 1);
    BIO *b = len > PKI_PEM_MAX ? NULL : BIO_new_mem_buf(pem, (int)len);
    X509_REQ *req = b != NULL ? PEM_read_bio_X509_REQ(b, NULL, pki_no_password, NULL) : NULL;
    BIO_free(b);
    return req;
}

/* Name, profile, alternative names (NULL: none), signature. */
static int issue(const struct pki_ca *ca, const char *cn, EVP_PKEY *key, enum pki_profile p, GENERAL_NAMES *alt,
                 int64_t now, int64_t lifetime, X509 **out)
{
    X509 *cert = X509_new();
    int64_t to = lifetime > ca->not_after - now ? ca->not_after : now + lifetime;
    int rc = cert == NULL ? SK_ENOMEM : lifetime <= 0 || to <= now ? SK_EINVAL : SK_OK;
    if (rc == SK_OK)
        rc = pki_name_set(X509_get_subject_name(cert), cn);
    if (rc == SK_OK)
        rc = pki_profile_apply(cert, ca->cert, key, p, now - PKI_BACKDATE, to);
    if (rc == SK_OK && alt != NULL && X509_add1_ext_i2d(cert, NID_subject_alt_name, alt, 0, X509V3_ADD_DEFAULT) != 1)
        rc = pki_fail();
    if (rc == SK_OK && X509_sign(cert, ca->key, EVP_PKEY_is_a(ca->key, "ED25519") ? NULL : EVP_sha256()) <= 0)
        rc = pki_fail();
    if (rc == SK_OK)
        *out = cert;
    else
        X509_free(cert);
    return rc;
}

int pki_ca_sign(const struct pki_ca *ca, const char *csr_pem, const char *agent, int64_t now, int64_t lifetime,
                char **cert_pem, struct pki_cert *out, const char **why)
{
    X509 *cert = NULL;
    *cert_pem = NULL;
    *why = "";
    if (!pki_agent_valid(agent))
        return SK_EINVAL;
    X509_REQ *req = read_request(csr_pem);
    int rc = SK_EINVAL;
    if (req == NULL)
        *why = "no certificate request in PEM";
    else
        rc = check_request(req, why);
    if (rc == SK_OK)
        rc = issue(ca, agent, X509_REQ_get0_pubkey(req), PKI_P_CLIENT, NULL, now, lifetime, &cert);
    if (rc == SK_OK)
        rc = pki_cert_fill(cert, out);
    if (rc == SK_OK)
        rc = pki_cert_pem(cert, cert_pem);
    X509_free(cert);
    X509_REQ_free(req);
    ERR_clear_error();
    return rc;
}

static bool dns_allowed(const char *s)
{
    size_t len = strlen(s);
    return len > 0 && len <= 253 && s[0] != '.' && s[0] != '-' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == len;
}

static ASN1_STRING *name_value(const char *s, int *type)
{
    struct sk_addr a;
    bool is_addr = sk_addr_parse(s, strlen(s), &a) == SK_OK;
    if (!is_addr && !dns_allowed(s))
        return NULL;
    *type = is_addr ? GEN_IPADD : GEN_DNS;
    ASN1_STRING *v = ASN1_STRING_type_new(is_addr ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    bool v4 = is_addr && sk_addr_is_v4(&a);
    const void *p = is_addr ? (const void *)(a.b + (v4 ? 12 : 0)) : s;
    if (v != NULL && ASN1_STRING_set(v, p, is_addr ? (v4 ? 4 : 16) : -1) != 1) {
        ASN1_STRING_free(v);
        v = NULL;
    }
    return v;
}

static int add_name(GENERAL_NAMES *names, const char *s)
{
    int type = 0;
    ASN1_STRING *v = name_value(s, &type);
    GENERAL_NAME *g = v != NULL ? GENERAL_NAME_new() : NULL;
    if (g == NULL) {
        ASN1_STRING_free(v);
        return SK_EINVAL;
    }
    GENERAL_NAME_set0_value(g, type, v);
    if (sk_GENERAL_NAME_push(names, g) > 0)
        return SK_OK;
    GENERAL_NAME_free(g);
    return SK_ENOMEM;
}

static int make_names(const char *const *names, unsigned n, GENERAL_NAMES **out)
{
    *out = GENERAL_NAMES_new();
    int rc = *out == NULL ? SK_ENOMEM : n == 0 || n > PKI_NAMES_MAX ? SK_EINVAL : SK_OK;
    for (unsigned i = 0; rc == SK_OK && i < n; i++)
        rc = add_name(*out, names[i]);
    return rc;
}

int pki_ca_server(const struct pki_ca *ca, const char *const *names, unsigned n, int64_t now, int64_t lifetime,
                  char **key_pem, char **cert_pem)
{
    GENERAL_NAMES *alt;
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    *key_pem = *cert_pem = NULL;
    int rc = make_names(names, n, &alt);
    if (rc == SK_OK && (key = EVP_EC_gen("P-256")) == NULL)
        rc = pki_fail();
    if (rc == SK_OK)
        rc = issue(ca, strlen(names[0]) <= PKI_CN_MAX ? names[0] : "sekisho-manager", key, PKI_P_SERVER, alt, now,
                   lifetime, &cert);
    if (rc == SK_OK)
        rc = pki_cert_pem(cert, cert_pem);
    if (rc == SK_OK && (rc = pki_key_pem(key, key_pem)) != SK_OK) {
        free(*cert_pem);
        *cert_pem = NULL;
    }
    GENERAL_NAMES_free(alt);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return rc;
}

/* Only ours have this shape, because only we sign; a mistake in one place is to be caught in the other. */
static bool is_client(X509 *cert)
{
    uint32_t flags = X509_get_extension_flags(cert);
    return (flags & (EXFLAG_INVALID | EXFLAG_CRITICAL | EXFLAG_CA | EXFLAG_SS | EXFLAG_PROXY)) == 0 &&
           (flags & EXFLAG_BCONS) != 0 && (flags & EXFLAG_XKUSAGE) != 0 &&
           X509_get_extended_key_usage(cert) == XKU_SSL_CLIENT;
}

static int check_cert(const struct pki_ca *ca, X509 *cert, int64_t now, struct pki_cert *out)
{
    if (X509_verify(cert, X509_get0_pubkey(ca->cert)) != 1)
        return SK_EPERM;
    if (X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(ca->cert)) != 0 || !is_client(cert))
        return SK_EPERM;
    struct pki_cert c;
    if (pki_cert_fill(cert, &c) != SK_OK || c.agent[0] == '\0' || c.serial[0] == '\0' || now < c.not_before)
        return SK_EPERM;
    *out = c;
    return now > c.not_after || now > ca->not_after ? SK_EEND : SK_OK;
}

int pki_ca_check(const struct pki_ca *ca, const void *der, size_t len, int64_t now, struct pki_cert *out)
{
    const unsigned char *p = (const unsigned char *)der;
    memset(out, 0, sizeof(*out));
    if (len == 0 || len > CERT_DER_MAX)
        return SK_EPERM;
    X509 *cert = d2i_X509(NULL, &p, (long)len);
    int rc = cert == NULL || p != (const unsigned char *)der + len ? SK_EPERM : check_cert(ca, cert, now, out);
    X509_free(cert);
    ERR_clear_error();
    return rc;
}
