/* OpenSSL behind the module: what its files share. Errors of OpenSSL are emptied from its queue before a return. */
#ifndef PKI_PRIV_H
#define PKI_PRIV_H

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "pki/pki.h"

#define PKI_PATH_MAX 4096
#define PKI_CN_MAX   64 /* RFC 5280: ub-common-name */

/* Empties OpenSSL's queue; SK_ENOMEM. For calls that fail for want of memory only. */
int pki_fail(void);
/* A PEM password callback that has none: OpenSSL's own would ask at the terminal. */
int pki_no_password(char *buf, int size, int rwflag, void *arg);
/* SK_EINVAL: longer than PKI_PEM_MAX, or not that. */
int pki_pem_key(const char *pem, EVP_PKEY **out);
int pki_pem_cert(const char *pem, X509 **out);
int pki_key_pem(EVP_PKEY *key, char **pem);
int pki_cert_pem(X509 *cert, char **pem);
/* "CN=..." as subject or issuer. */
int pki_name_set(X509_NAME *name, const char *common_name);
/* The values that every reader of certificates wants. */
int pki_cert_fill(X509 *cert, struct pki_cert *out);
/* As pki_secret_write, with another mode for what is no secret. */
int pki_file_write(const char *path, const char *text, size_t len, unsigned mode, bool replace);
/* Whole regular file of at most max bytes, NUL behind it. secret: refused when others may read it. */
int pki_file_read(const char *path, size_t max, bool secret, char **text, size_t *len);

#endif
