/* What the verbs that speak with EC2 and AWS share: options, and a session. */
#ifndef AGENT_CLOUD_H
#define AGENT_CLOUD_H

#include "aws/instance.h"

struct cloud_args {
    const char *region, *imds, *endpoint; /* of options; NULL: AWS's own */
};

/* Does this host say of itself that it is an EC2 instance? */
bool cloud_is_ec2(void);
/* An exit code; a bad URL is named. aws_close it. */
SK_MUST_USE int cloud_open(const char *verb, const struct cloud_args *a, struct aws **out);
/* Of the ARN (NULL or plain name: none), the option, the environment, the instance: buf of 32. An exit code's two
 * values: CLI_OK, CLI_FAILED; why: text. */
SK_MUST_USE int cloud_region(struct aws *aws, const struct cloud_args *a, const char *arn, char *buf, char *why,
                             size_t cap);
/* May that error be over soon? A role's rights, too, take some seconds to reach a new instance. */
bool cloud_may_pass(enum aws_error e);

#endif
