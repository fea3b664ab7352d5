/* Inside of enrolment: enrol.c (what is asked and answered), enrol_files.c (what is written), enrol_chain.c (TLS). */
#ifndef REPORT_ENROL_PRIV_H
#define REPORT_ENROL_PRIV_H

#include "answer.h"
#include "certs.h"
#include "report/enrol.h"

#define ENROL_PATH 4400

struct enrolment {
    const struct enrol_options *o;
    char url[256];
    char stage[ENROL_PATH], old[ENROL_PATH]; /* beside o->dir */
    bool imds_failed;                        /* just now: it may have a document later */
    bool has_ca;                             /* the manager is checked with ca.pem */
    char instance[AWS_INSTANCE_LEN];         /* this EC2 instance; "" when not known */
    struct enrol_result *r;
};

/* Writes why, and returns rc. The outcome is ENROL_FAILED, or what enrol_fail_as is told. */
SK_MUST_USE int enrol_fail_as(struct enrolment *e, enum enrol_outcome as, int rc, const char *fmt, ...) SK_PRINTF(4, 5);
SK_MUST_USE int enrol_fail(struct enrolment *e, int rc, const char *fmt, ...) SK_PRINTF(3, 4);

/* enrol_files.c */
/* The folder beside, empty. */
SK_MUST_USE int enrol_stage(struct enrolment *e);
/* name in it; pki_secret_write. */
SK_MUST_USE int enrol_write(struct enrolment *e, const char *name, const char *text);
SK_MUST_USE int enrol_read_ca(struct enrolment *e);
SK_MUST_USE int enrol_take_pem(struct enrolment *e, const char *name, const char *text);
/* Gives all to the uplink's user and puts it in its place; signing-keys too. */
SK_MUST_USE int enrol_commit(struct enrolment *e, const json_t *keys);
void enrol_clear(struct enrolment *e);

/* enrol_chain.c */
/* Asks host:port for its certificates and gives the one with that SHA-256 (32 bytes), PEM: the caller's (free). */
SK_MUST_USE int enrol_find_ca(struct enrolment *e, const uint8_t sha256[32], char **pem);

#endif
