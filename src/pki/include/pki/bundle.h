/*
 * What the manager gives to all agents, signed: a policy (settings over sekisho.yaml) or rules. The signature is over
 * the exact bytes of the payload; who verifies has the public keys from its enrolment, and the manager's TLS key is
 * none of them: a stolen manager cannot sign unless the signing key was kept on it.
 *
 *   payload, JSON: {"kind": "policy" | "rules", "version": N, "created_ms": T, "note": TEXT,
 *                   "settings": {"decide.block-duration": "2h", ...},                       policy
 *                   "files": [{"name": "local.rules", "text": "alert ..."}, ...]}           rules
 *
 * Versions of a kind only grow. Which settings a policy may hold: bundle_setting_allowed().
 */
#ifndef PKI_BUNDLE_H
#define PKI_BUNDLE_H

#include <jansson.h>
#include "pki/pki.h"

#define BUNDLE_MAX       (64u << 20) /* bytes of a payload */
#define BUNDLE_FILES     256
#define BUNDLE_SETTINGS  512
#define BUNDLE_NAME_MAX  64 /* [A-Za-z0-9._-], not beginning with a dot */
#define BUNDLE_KEY_MAX   128
#define BUNDLE_VALUE_MAX 131072 /* lists and groups are one text, as --set takes them */
#define BUNDLE_NOTE_MAX  512

enum bundle_kind { BUNDLE_POLICY, BUNDLE_RULES, BUNDLE_KINDS };

struct bundle {
    enum bundle_kind kind;
    int64_t version, created_ms;
    json_t *root; /* borrowed views: "settings", "files" */
};

/* Payload of a new bundle; body: what stands under "settings" or "files"; its reference stays the caller's. *payload is
 * the caller's (free). SK_EINVAL: something in it is not allowed; SK_EFULL. */
SK_MUST_USE int bundle_make(enum bundle_kind kind, int64_t version, int64_t created_ms, const char *note, json_t *body,
                            char **payload, size_t *len);
/* Verifies, then parses and checks every field; nothing is parsed before the signature is right. keys: nkeys public
 * keys, any of which may have signed. SK_EPERM: signature; SK_EINVAL: content, why is static text. bundle_free. */
SK_MUST_USE int bundle_open(const void *payload, size_t len, const uint8_t sig[PKI_ED25519_SIG],
                            const uint8_t (*keys)[PKI_ED25519_KEY], unsigned nkeys, struct bundle *out,
                            const char **why);
/* Parses and checks without a signature: for whoever is about to sign. Agents never call it. */
SK_MUST_USE int bundle_parse(const void *payload, size_t len, struct bundle *out, const char **why);
void bundle_free(struct bundle *b); /* one that was never filled is fine when it is zero */
/* Only what is about detection and decisions: mode and paths, users, sockets and the manager itself stay this host's.
 */
bool bundle_setting_allowed(const char *key);
const char *bundle_kind_name(enum bundle_kind k); /* "policy", "rules" */

#endif
