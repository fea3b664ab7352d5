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
#include "aws/instance.h"

#define ENROL_TOKEN_MAX 128

enum enrol_identity { ENROL_NO_IDENTITY, ENROL_IF_THERE, ENROL_IDENTITY };

/* A request whose answer is lost is made once more with the same key, by which the manager knows it. Zeroed at first.
 */
struct enrol_memory {
    char *key, *csr;
};
void enrol_forget(struct enrol_memory *m);

struct enrol_options {
    const char *manager, *token; /* URL; the token is wiped from nowhere: the caller's */
    const char *ca_file;         /* PEM that the manager's certificate is checked with; NULL: the system's CAs */
    const char *ca_pem;          /* or: the PEM itself; NULL */
    const char *ca_sha256;       /* or: fingerprint (hex, colons allowed) of the CA certificate in its chain; NULL */
    const char *dir;             /* made, 0700, given to uid and gid */
    const char *guard_dir;       /* signing-keys go there, root's own */
    uid_t uid;
    gid_t gid;
    const char *version; /* of the agent */
    enum enrol_identity identity;
    struct aws *aws;             /* whose metadata service is asked; NULL where no identity is wanted */
    const char *tags;            /* JSON object, or NULL */
    struct enrol_memory *memory; /* of the tries of one enrolment; NULL: there is one */
    bool again;     /* a new token for a host that has enrolled before; its old folder is replaced when that works */
    bool if_needed; /* a host that has enrolled before is fine as it is, unless it was another instance then */
};

enum enrol_outcome {
    ENROL_DONE,
    ENROL_WAS_DONE,  /* enrolled already */
    ENROL_FAILED,    /* what was given, or this host's files */
    ENROL_AWAY,      /* the manager cannot be reached, is busy, or fails: try again */
    ENROL_REFUSED,   /* the token, or this instance */
    ENROL_UNTRUSTED, /* its certificate */
};
struct enrol_result {
    enum enrol_outcome outcome;
    char agent[32];      /* when enrolled */
    char why[768];       /* text that names the remedy; no secret */
    int64_t retry_after; /* seconds, when the manager says so; 0 */
};
void enrol(const struct enrol_options *o, struct enrol_result *r);
/* Has this host enrolled, and is there no reason to do it again? Asks nobody but the metadata service. With the outcome
 * ENROL_WAS_DONE, ENROL_DONE (go on), ENROL_FAILED. */
void enrol_look(const struct enrol_options *o, struct enrol_result *r);

#endif
