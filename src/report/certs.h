/*
 * This host's key and certificate for the manager, in the uplink's folder:
 *
 *   key.pem, cert.pem            that are used
 *   key.pem.new, cert.pem.new    of a renewal that is under way
 *   ca.pem                       whose certificates the manager may show; without it: the system's CAs
 *
 * A renewal puts cert.pem in its place first and key.pem behind it. Whoever opens the folder after a crash between the
 * two finds a certificate that fits key.pem.new, and finishes it. Everything is written beside its place, flushed, and
 * renamed.
 */
#ifndef REPORT_CERTS_H
#define REPORT_CERTS_H

#include "fetch/fetch.h"
#include "pki/pki.h"

#define CERTS_PATH 4200

struct certs {
    char key[CERTS_PATH], cert[CERTS_PATH], ca[CERTS_PATH], new_key[CERTS_PATH], new_cert[CERTS_PATH];
    struct fetch_tls tls; /* views of these */
    struct pki_cert now;  /* of cert.pem */
};

/* SK_ENOENT: not enrolled. SK_EPERM: key.pem can be read by others. why: text with the remedy. */
SK_MUST_USE int certs_open(const char *dir, struct certs *c, char *why, size_t cap);
/* A new key, on disk, and the request for it: the caller's (free). */
SK_MUST_USE int certs_request(struct certs *c, char **csr);
/* The manager's answer to it. SK_EPROTO: it is not for that key or this agent; the old ones stay. */
SK_MUST_USE int certs_take(struct certs *c, const char *certificate, const char *ca);

#endif
