/* What stands in every certificate that is made here (RFC 5280 section 4.2.1). */
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include "base/clock.h"
#include "ca.h"

struct ext {
    int nid;
    const char *value;
};

static const struct ext profile[][6] = {
    [PKI_P_CA] = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                  {NID_key_usage, "critical,keyCertSign"},
                  {NID_subject_key_identifier, "hash"}},
    [PKI_P_CLIENT] = {{NID_basic_constraints, "critical,CA:FALSE"},
                      {NID_key_usage, "critical,digitalSignature"},
                      {NID_ext_key_usage, "critical,clientAuth"},
                      {NID_subject_key_identifier, "hash"},
                      {NID_authority_key_identifier, "keyid:always"}},
    [PKI_P_SERVER] = {{NID_basic_constraints, "critical,CA:FALSE"},
                      {NID_key_usage, "critical,digitalSignature"},
                      {NID_ext_key_usage, "serverAuth"},
                      {NID_subject_key_identifier, "hash"},
                      {NID_authority_key_identifier, "keyid:always"}},
};

static int set_serial(X509 *cert)
{
    uint8_t raw[16];
    if (RAND_bytes(raw, sizeof(raw)) != 1)
        return SK_EIO;
    BIGNUM *bn = BN_bin2bn(raw, sizeof(raw), NULL);
    bool ok = bn != NULL && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) != NULL;
    BN_free(bn);
    return ok ? SK_OK : SK_ENOMEM;
}

static int set_times(X509 *cert, int64_t from, int64_t to)
{
    return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(from / SK_NS_PER_S)) != NULL &&
                   ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(to / SK_NS_PER_S)) != NULL
               ? SK_OK
               : SK_EINVAL;
}

static int add_extensions(X509 *cert, X509 *issuer, const struct ext *e)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    for (; e->value != NULL; e++) {
        X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, e->nid, e->value);
        int ok = x != NULL ? X509_add_ext(cert, x, -1) : 0;
        X509_EXTENSION_free(x);
        if (ok != 1)
            return SK_ENOMEM;
    }
    return SK_OK;
}

int pki_profile_apply(X509 *cert, X509 *issuer, EVP_PKEY *key, enum pki_profile p, int64_t from, int64_t to)
{
    if (X509_set_version(cert, X509_VERSION_3) != 1 || X509_set_pubkey(cert, key) != 1)
        return pki_fail();
    int rc = set_serial(cert);
    if (rc == SK_OK)
        rc = set_times(cert, from, to);
    if (rc == SK_OK && X509_set_issuer_name(cert, X509_get_subject_name(issuer != NULL ? issuer : cert)) != 1)
        rc = SK_ENOMEM;
    if (rc == SK_OK)
        rc = add_extensions(cert, issuer != NULL ? issuer : cert, profile[p]);
    ERR_clear_error();
    return rc;
}
