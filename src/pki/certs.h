/* Pinned certificates, for certs.c (the file) and instance.c (who verifies with them). */
#ifndef PKI_CERTS_H
#define PKI_CERTS_H

#include "pki/instance.h"
#include "pki_priv.h"

struct instance_cert {
    char region[32];
    X509 *cert;
};

struct instance_certs {
    unsigned n;
    struct instance_cert v[INSTANCE_CERTS_MAX];
};

#endif
