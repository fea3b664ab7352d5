/* The CA's inside, for ca.c (its files) and issue.c (what it signs and checks). */
#ifndef PKI_CA_H
#define PKI_CA_H

#include "pki_priv.h"

struct pki_ca {
    EVP_PKEY *key;
    X509 *cert;
    char *pem;
    int64_t not_after;
};

enum pki_profile { PKI_P_CA, PKI_P_CLIENT, PKI_P_SERVER };

/* Version, serial number, times, key and extensions of a new certificate; its subject is there already. issuer NULL:
 * itself. Not signed yet. */
int pki_profile_apply(X509 *cert, X509 *issuer, EVP_PKEY *key, enum pki_profile p, int64_t from, int64_t to);

#endif
