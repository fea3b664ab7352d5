/*
 * Becoming one of the fleet: key, request, certificate. Blocking; run as root by `sekisho enroll` and user data.
 *
 * Everything is written into DIR.enrol first, and put in DIR's place when the manager has agreed and all of it is on
 * disk: a failure leaves what there was. The token goes to the manager, and only when the manager's certificate is
 * right.
 */
#ifndef REPORT_ENROL_H
#define REPORT_ENROL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "base/err.h"

#define ENROL_TOKEN_MAX 128

enum enrol_identity { ENROL_NO_IDENTITY, ENROL_IF_THERE, ENROL_IDENTITY };

struct enrol_options {
    const char *manager, *token; /* URL; the token is wiped from nowhere: the caller's */
    const char *ca_file;         /* PEM that the manager's certificate is checked with; NULL: the system's CAs */
    const char *ca_sha256;       /* or: fingerprint (hex, colons allowed) of the CA certificate in its chain; NULL */
    const char *dir;             /* made, 0700, given to uid and gid */
    const char *guard_dir;       /* signing-keys go there, root's own */
    uid_t uid;
    gid_t gid;
    const char *version; /* of the agent */
    enum enrol_identity identity;
    const char *imds; /* "http://169.254.169.254" */
    const char *tags; /* JSON object, or NULL */
    bool again;       /* a new token for a host that has enrolled before; its old folder is replaced when that works */
};

/* agent: buf of 32 for its ID. SK_EEXIST: enrolled already. why: text that names the remedy; no secret. */
SK_MUST_USE int enrol(const struct enrol_options *o, char *agent, char *why, size_t cap);

#endif
