/*
 * What an EC2 instance asks for itself: its metadata, a parameter or secret that was left for it, and its place in an
 * Auto Scaling group. One try each, no waiting; threads and life as of aws/aws.h.
 * Reference: EC2 user guide "Instance metadata" (IMDSv2), API references of Systems Manager (GetParameter), Secrets
 * Manager (GetSecretValue) and Auto Scaling (DescribeAutoScalingInstances, CompleteLifecycleAction).
 */
#ifndef AWS_INSTANCE_H
#define AWS_INSTANCE_H

#include "aws/aws.h"

#define AWS_INSTANCE_LEN 32  /* of an instance ID, with its NUL */
#define AWS_GROUP_LEN    256 /* of a group's name, or a hook's, with its NUL */

/*
 * Metadata at that path ("/latest/..."), NUL-terminated; *out is the caller's (free). SK_ENOENT: the service answers,
 * and has no such thing, or is switched off. SK_EIO: no answer; SK_EAGAIN: it fails, or has no time: ask again.
 * SK_EPROTO: it refuses, or there is another one. why: text.
 */
SK_MUST_USE int aws_imds(struct aws *a, const char *path, char **out, char *why, size_t cap);
const char *aws_imds_url(const struct aws *a);
/* "i-0123456789abcdef0": buf of AWS_INSTANCE_LEN. As aws_imds; SK_EPROTO: that is no ID. */
SK_MUST_USE int aws_imds_instance(struct aws *a, char *buf, char *why, size_t cap);

enum aws_kept { AWS_PARAMETER, AWS_SECRET }; /* of Parameter Store (decrypted), of Secrets Manager (its text) */

/* Its value, without space at its ends. SK_EIO: e says why; also (AWS_INVALID) when it is empty or does not fit. The
 * caller wipes buf. */
SK_MUST_USE int aws_kept_get(struct aws *a, const char *region, enum aws_kept kind, const char *name, char *buf,
                             size_t cap, struct aws_answer *e);
/* The region that an ARN names: buf of 32; false: it is no ARN. */
bool aws_arn_region(const char *arn, char *buf);

/* The group that the instance is in: buf of AWS_GROUP_LEN. SK_EIO: e says why; AWS_MISSING: in none. */
SK_MUST_USE int aws_group_find(struct aws *a, const char *region, const char *instance, char *buf,
                               struct aws_answer *e);
/* The instance may go: CompleteLifecycleAction, CONTINUE. SK_EIO: e says why. */
SK_MUST_USE int aws_lifecycle_complete(struct aws *a, const char *region, const char *group, const char *hook,
                                       const char *instance, struct aws_answer *e);

#endif
