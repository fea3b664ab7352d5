/*
 * Keys and certificates of the fleet (OpenSSL 3): the agent's key and request, the manager's CA, what it signs.
 *
 *   agent:   pki_key_make → pki_csr_make → (enrolment) → certificate        EC P-256, TLS client
 *   manager: pki_ca_open → pki_ca_sign(request) | pki_ca_server(names)
 *
 * The subject of an agent's certificate is CN=<agent id> and nothing that a request asked for: of a request only the
 * public key is taken, and its signature checked. An issued certificate is an end entity (CA:FALSE), for clientAuth or
 * serverAuth and not both. Serial numbers are 128 random bits. Times are wall-clock ns. PEM texts are NUL-terminated
 * and the caller's (free); key files are made with mode 0600 and never overwritten. Layouts: RFC 5280, RFC 2986, RFC
 * 8032.
 */
#ifndef PKI_PKI_H
#define PKI_PKI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define PKI_PEM_MAX     65536 /* of a request or certificate that is read */
#define PKI_SERIAL_LEN  33    /* 32 hex digits, NUL */
#define PKI_AGENT_LEN   28    /* 'A', 26 base32 characters of 128 random bits, NUL */
#define PKI_ED25519_KEY 32
#define PKI_ED25519_SIG 64
#define PKI_NAMES_MAX   16
#define PKI_RANDOM_MAX  64                          /* bytes of pki_random_text */
#define PKI_BACKDATE    (INT64_C(300) * 1000000000) /* certificates begin so long ago: clocks differ */

/* A new EC P-256 key in PEM. */
SK_MUST_USE int pki_key_make(char **pem);
/* Writes a secret: a new file, mode 0600, flushed to disk, in its place whole or not at all. SK_EEXIST, SK_EIO (errno).
 */
SK_MUST_USE int pki_secret_write(const char *path, const char *text, bool replace);
/* A file that others may read is refused (SK_EPERM). *text: to be wiped and freed with pki_wipe. */
SK_MUST_USE int pki_secret_read(const char *path, char **text);
void pki_wipe(char *text); /* NULL is fine */

SK_MUST_USE int pki_csr_make(const char *key_pem, const char *common_name, char **pem);

struct pki_cert {
    char serial[PKI_SERIAL_LEN];
    char agent[PKI_AGENT_LEN]; /* CN when it has an agent ID's form; else "" */
    int64_t not_before, not_after;
};
/* SK_EINVAL: no certificate. Nothing about its signature is checked. */
SK_MUST_USE int pki_cert_read(const char *pem, struct pki_cert *out);
/* SHA-256 of the DER, 64 hex digits and NUL: what a person compares. SK_EINVAL. */
SK_MUST_USE int pki_cert_fingerprint(const char *pem, char buf[65]);
/* Is the certificate's key that one? SK_EPERM: no; SK_EINVAL: one of them is malformed. */
SK_MUST_USE int pki_cert_fits(const char *cert_pem, const char *key_pem);

/* May be used by several threads at once. */
struct pki_ca;
/* Opens DIR/ca.pem and DIR/ca.key; where both are missing makes them (ten years); a key that is alone gets its
 * certificate, a certificate without its key is SK_ENOENT. The folder is made, mode 0700. Failures are logged. */
SK_MUST_USE int pki_ca_open(const char *dir, int64_t now, struct pki_ca **out);
void pki_ca_free(struct pki_ca *ca);
const char *pki_ca_pem(const struct pki_ca *ca);
/* An agent's certificate, which ends with the CA at the latest. SK_EINVAL: the request is malformed, not signed by its
 * key, or its key is neither EC P-256, P-384, Ed25519 nor RSA of 2048..4096 bits; why tells which, static text. */
SK_MUST_USE int pki_ca_sign(const struct pki_ca *ca, const char *csr_pem, const char *agent, int64_t now,
                            int64_t lifetime, char **cert_pem, struct pki_cert *out, const char **why);
/* A server's key and certificate for DNS names and addresses (as text). SK_EINVAL: a name that is neither. */
SK_MUST_USE int pki_ca_server(const struct pki_ca *ca, const char *const *names, unsigned n, int64_t now,
                              int64_t lifetime, char **key_pem, char **cert_pem);
/* Is it an agent's, issued by this CA, and within its time? DER as TLS hands it over. Nothing of it is believed before
 * the signature is right. SK_EPERM: no. SK_EEND: all is right but its time is over; *out is filled then too. */
SK_MUST_USE int pki_ca_check(const struct pki_ca *ca, const void *der, size_t len, int64_t now, struct pki_cert *out);

/* New agent ID, from the system's random numbers. buf of PKI_AGENT_LEN. */
SK_MUST_USE int pki_agent_id(char *buf);
/* The one that belongs to these two texts: the same for the same ones, and not to be guessed without them. */
void pki_agent_id_of(const char *secret, const char *text, char *buf);
bool pki_agent_valid(const char *s);

/* Ed25519 (RFC 8032), for policy and rule bundles. Key files hold PEM (RFC 8410). */
SK_MUST_USE int pki_sign_key_open(const char *path, bool make, uint8_t secret[PKI_ED25519_KEY],
                                  uint8_t public_key[PKI_ED25519_KEY]);
SK_MUST_USE int pki_sign(const uint8_t secret[PKI_ED25519_KEY], const void *p, size_t len,
                         uint8_t sig[PKI_ED25519_SIG]);
/* SK_OK or SK_EPERM. */
SK_MUST_USE int pki_verify(const uint8_t public_key[PKI_ED25519_KEY], const void *p, size_t len,
                           const uint8_t sig[PKI_ED25519_SIG]);

/* At most PKI_RANDOM_MAX random bytes as lower-case base32 text (RFC 4648 alphabet, no padding); buf holds len * 8 / 5
 * + 2. */
SK_MUST_USE int pki_random_text(size_t len, char *buf);
/* SHA-256 as 64 hex digits and NUL: how tokens are stored. */
void pki_hash_text(const void *p, size_t len, char buf[65]);

#endif
