/*
 * The state folder, and what is secret in it:
 *
 *   STATE/            0700
 *     ca/ca.pem, ca.key          the fleet's CA (pki/pki.h)
 *     server.pem, server.key     certificate that the CA made for this manager
 *     names                      what agents call it, one a line
 *     signing.key                signs policy and rules; may be kept elsewhere
 *     signing.pub                keys that agents are told to believe, base64, one a line
 *     manager.db                 unless the store is PostgreSQL
 *
 * Several managers on one database share ca/ and signing.key; each has its own server.pem.
 */
#ifndef MANAGER_PLACE_H
#define MANAGER_PLACE_H

#include "pki/pki.h"
#include "settings.h"

#define PLACE_PATH       4200
#define PLACE_KEYS_MAX   8 /* signing keys that agents believe */
#define PLACE_SERVER_DAY INT64_C(86400000000000)
#define PLACE_SERVER_FOR (397 * PLACE_SERVER_DAY) /* a server's certificate; renewed from two thirds of it on */

struct place {
    char dir[4096];
    struct pki_ca *ca;
    bool made; /* there was no CA before */
};

/* Root becomes whom the folder belongs to, so that nothing in it gets another owner. SK_EIO, errno (ENOENT: no folder);
 * who is not root stays who he is. */
SK_MUST_USE int place_become_owner(const char *state_dir);
/* Makes what is missing: folder, CA, signing key. why: text of cap bytes. */
SK_MUST_USE int place_open(const struct settings *s, int64_t now, struct place *out, char *why, size_t cap);
/* The same without making anything. SK_ENOENT: there is no folder, which
 * could be made, or no CA in it yet. */
SK_MUST_USE int place_look(const struct settings *s, int64_t now, struct place *out, char *why, size_t cap);
void place_close(struct place *p);
/* The names for a certificate: names[0..n) when given (and remembered), else the configuration's, else those that were
 * remembered, else this host's. Then the certificate, unless there is one for these names that lasts. */
SK_MUST_USE int place_server(const struct place *p, const struct settings *s, const char *const *names, unsigned n,
                             int64_t now, char *why, size_t cap);
/* Certificate with chain, and key, as they are in force; the caller's: free, pki_wipe. */
SK_MUST_USE int place_certificate(const struct place *p, const struct settings *s, char **cert, char **key, char *why,
                                  size_t cap);
/* Is the certificate that place_server made to be renewed? */
bool place_server_due(const struct place *p, int64_t now);
/* The public keys of signing.pub. SK_EINVAL: a line that is none. */
SK_MUST_USE int place_signing_keys(const char *state_dir, uint8_t keys[PLACE_KEYS_MAX][PKI_ED25519_KEY], unsigned *n);
/* A key as its line in signing.pub; buf of 48. */
const char *place_key_text(const uint8_t key[PKI_ED25519_KEY], char *buf);
/* Certificate of the CA without its key, the caller's (free). */
SK_MUST_USE int place_ca_pem(const char *state_dir, char **pem);
/* What agents call this manager, for hints: https://NAME:PORT. */
const char *place_url(const struct settings *s, char *buf, size_t cap);
/* DIR/NAME in buf of PLACE_PATH. */
const char *place_path(const struct place *p, const char *name, char *buf);

#endif
