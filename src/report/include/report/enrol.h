/*
 * Becoming one of the fleet: key, request, certificate. Blocking; run as root by `sekisho enroll` and user data.
 */
#ifndef REPORT_ENROL_H
#define REPORT_ENROL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "base/err.h"

struct enrol_options {
    const char *manager, *token; /* URL; the token is wiped from nowhere: the caller's */
    const char *ca_file;         /* PEM that the manager's certificate is checked with; NULL: the system's CAs */
    const char *ca_sha256;       /* or: hex digest of the CA certificate that the manager sends in its chain; NULL */
    const char *dir;             /* made, 0700, given to uid and gid */
    const char *guard_dir;       /* signing-keys go there, root's own */
    uid_t uid;
    gid_t gid;
    const char *imds; /* NULL: no identity document; else the address of IMDS */
    const char *tags; /* JSON object, or NULL */
    bool again;       /* a new token for a host that has enrolled before; its old folder is replaced when that works */
};

/* agent: buf of 32 for its ID. SK_EEXIST: enrolled already. why: text that names the remedy; no secret. */
SK_MUST_USE int enrol(const struct enrol_options *o, char *agent, char *why, size_t cap);

#endif
