#include "cloud.h"

#include <stdio.h>
#include <string.h>
#include "cli.h"

bool cloud_is_ec2(void)
{
    char vendor[64] = "";
    FILE *f = fopen("/sys/devices/virtual/dmi/id/sys_vendor", "re");
    if (f == NULL)
        return false;
    bool read = fgets(vendor, sizeof(vendor), f) != NULL;
    fclose(f);
    return read && strncmp(vendor, "Amazon EC2", 10) == 0;
}

int cloud_open(const char *verb, const struct cloud_args *a, struct aws **out)
{
    const struct aws_options o = {.endpoint = a->endpoint, .imds = a->imds, .no_files = true};
    int rc = aws_open(&o, out);
    if (rc == SK_EINVAL)
        return cli_usage(verb, "--imds and --aws-endpoint want http://HOST[:PORT] or https://HOST[:PORT], as does the "
                               "environment's AWS_EC2_METADATA_SERVICE_ENDPOINT");
    return rc == SK_OK ? CLI_OK : cli_fail("%s", sk_strerror(rc));
}

int cloud_region(struct aws *aws, const struct cloud_args *a, const char *arn, char *buf, char *why, size_t cap)
{
    if (arn != NULL && aws_arn_region(arn, buf))
        return CLI_OK;
    if (a->region != NULL && strlen(a->region) < 32) {
        snprintf(buf, 32, "%s", a->region);
        return CLI_OK;
    }
    if (aws_region(aws, buf) == SK_OK)
        return CLI_OK;
    snprintf(why, cap, "the region is not known: give --region, set AWS_REGION, or let %s be reached",
             aws_imds_url(aws));
    return CLI_FAILED;
}

bool cloud_may_pass(enum aws_error e)
{
    return e == AWS_THROTTLED || e == AWS_RETRY || e == AWS_AUTH || e == AWS_SKEW || e == AWS_UNAVAILABLE;
}
