/*
 * AWS, as far as manager and agent need it: credentials, Signature Version 4, and calls with AWS's errors understood.
 * Our own signer: libcurl's signs too few headers in the versions that RHEL 9 and Ubuntu 22.04 ship.
 *
 * struct aws may be used by several threads at once (credentials are refreshed under a lock). Blocking. A thread that
 * has made calls keeps connections: it ends with fetch_thread_end (fetch/fetch.h). The environment is read by aws_open
 * only: AWS_ACCESS_KEY_ID and its fellows, AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE, AWS_REGION,
 * AWS_DEFAULT_REGION, AWS_CONTAINER_*, AWS_EC2_METADATA_*.
 * Reference: AWS General Reference "Signature Version 4", botocore's retry and credential rules.
 */
#ifndef AWS_AWS_H
#define AWS_AWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct aws_creds {
    char access_key[128], secret_key[128];
    char token[4096]; /* "" : long-term */
    int64_t expires;  /* wall ns; 0: never */
    char source[32];  /* "environment", "shared-file", "container", "imds": shown; no secret */
};

struct aws_options {
    const char *endpoint; /* NULL: AWS's own; else every service is asked there (moto, a fake, a VPC endpoint) */
    const char *imds;     /* NULL: AWS_EC2_METADATA_SERVICE_ENDPOINT, or http://169.254.169.254, or its IPv6 address
                             when AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is IPv6 */
    const char *profile;  /* NULL: AWS_PROFILE or "default"; given: the keys in the environment do not count */
    const char *ca_file;  /* NULL: the system's */
    bool no_files;        /* credentials of the environment, a container or the instance only */
    int timeout_ms;       /* of one call; 0: 10 s */
};

struct aws;
SK_MUST_USE int aws_open(const struct aws_options *o, struct aws **out);
void aws_close(struct aws *a);
/* As a call would use them now; refreshed when they are about to run out: 15 minutes before their end if possible, and
 * old ones are kept as long as the source fails and they last. why: text, no secret. SK_ENOENT: no source has any;
 * else: the first source that is configured fails, and no other is asked in its place. */
SK_MUST_USE int aws_creds_get(struct aws *a, int64_t now, struct aws_creds *out, char *why, size_t cap);
/* For a configuration that names none: AWS_REGION, AWS_DEFAULT_REGION, or that of this instance from IMDS. buf of 32.
 */
SK_MUST_USE int aws_region(struct aws *a, char *buf);

/* ---- the signer ---- */

struct aws_sign {
    const char *method, *host, *path, *query; /* host as in the Host header, with a port that is not the default one;
                                                 path and query already encoded, path without "." and ".." and
                                                 "//"; query "" for none */
    const char *region, *service;
    const char *const *headers; /* "name:value", lower-case names, each once, without host, x-amz-date and
                                   x-amz-security-token (which is signed when c has a token); n of them, at most 16 */
    unsigned n;
    const void *body;
    size_t body_len;
    int64_t now; /* wall ns, with the clock's error already taken out */
};
struct aws_signature {
    char date[17];            /* x-amz-date: 20260102T030405Z */
    char authorization[1024]; /* the whole value of the Authorization header */
};
SK_MUST_USE int aws_sign(const struct aws_creds *c, const struct aws_sign *s, struct aws_signature *out);

/* ---- calls ---- */

enum aws_error {
    AWS_OK,
    AWS_THROTTLED,   /* ask later: any of the codes that botocore takes for throttling, 429 */
    AWS_RETRY,       /* 5xx, network, timeout: the call may or may not have been carried out */
    AWS_AUTH,        /* credentials missing, wrong or expired, or not allowed (AccessDenied) */
    AWS_SKEW,        /* the clock was wrong; it has been corrected from the answer's Date: try again */
    AWS_LOCKED,      /* WAFOptimisticLockException */
    AWS_LIMIT,       /* WAFLimitsExceededException */
    AWS_EXISTS,      /* WAFDuplicateItemException */
    AWS_MISSING,     /* WAFNonexistentItemException, NotFound */
    AWS_INVALID,     /* WAFInvalidParameterException, validation */
    AWS_UNAVAILABLE, /* WAFUnavailableEntityException: try again */
    AWS_OTHER,
};
struct aws_answer {
    enum aws_error error;
    int status;
    char code[96];     /* "WAFOptimisticLockException"; "" */
    char message[512]; /* escaped */
    char *body;        /* the caller's: aws_answer_free */
    size_t body_len;
    int64_t retry_after; /* seconds; -1 */
};
/* JSON 1.1: target "AWSWAF_20190729.UpdateIPSet". One try; no waiting. SK_OK when AWS_OK, else SK_EIO. */
SK_MUST_USE int aws_json(struct aws *a, const char *service, const char *region, const char *target, const char *body,
                         size_t len, struct aws_answer *out);
/* Query protocol: form is already encoded ("Action=Publish&..."). */
SK_MUST_USE int aws_query(struct aws *a, const char *service, const char *region, const char *form,
                          struct aws_answer *out);
void aws_answer_free(struct aws_answer *r);
const char *aws_error_name(enum aws_error e);
/* How long to wait before try n (from 1), ns: exponential with full jitter, at most `most`. */
int64_t aws_backoff(unsigned n, int64_t base, int64_t most);
/* application/x-www-form-urlencoded as botocore writes it (a space is '+'). SK_EFULL. */
SK_MUST_USE int aws_form_encode(const char *s, char *buf, size_t cap);

#endif
