/*
 * EC2 instance identity documents: the text that IMDS serves at /latest/dynamic/instance-identity/rsa2048, a PKCS7
 * SignedData with the document inside and, when genuine, no certificate. Verified with the certificates of the regions
 * that are pinned here and nothing else (PKCS7_NOINTERN: a certificate that comes inside is never used). A document is
 * a bearer: whoever has read it can send it again; limits on its age and one join an instance are the caller's to set.
 */
#ifndef PKI_INSTANCE_H
#define PKI_INSTANCE_H

#include "pki/pki.h"

#define INSTANCE_DOC_MAX   16384 /* bytes of base64 */
#define INSTANCE_CERTS_MAX 256

struct instance_doc {
    char instance_id[32], account[16], region[32], image_id[32], instance_type[32], private_ip[48];
    int64_t pending; /* pendingTime, wall ns */
};

struct instance_certs;
/*
 * A file of PEM certificates, each behind a line of its own "# region: eu-west-1" (several may share a region). Other
 * lines that begin with # and empty lines are passed over, and anything else is SK_EINVAL with the line in *line: a
 * certificate without its region never counts for the one before. SK_ENOENT: no file, or no certificate in it;
 * SK_EFULL.
 */
SK_MUST_USE int instance_certs_open(const char *path, struct instance_certs **out, int *line);
unsigned instance_certs_count(const struct instance_certs *c);
void instance_certs_free(struct instance_certs *c); /* NULL is fine */

struct instance_policy {
    const char *const *accounts; /* allowed; naccounts 0: any */
    unsigned naccounts;
    const char *const *regions;
    unsigned nregions;
    int64_t max_age; /* ns since pendingTime; 0: any */
};

/* By any thread. rsa2048: base64 as IMDS gives it, line breaks allowed. SK_EPERM: forged, another region's, too old,
 * from the future by more than a minute, not allowed; SK_EINVAL: no such document. why: static text. */
SK_MUST_USE int instance_verify(const struct instance_certs *c, const struct instance_policy *p, const char *rsa2048,
                                size_t len, int64_t now, struct instance_doc *out, const char **why);

#endif
