/* `sekisho enroll`: this host becomes one of a fleet. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "cli.h"
#include "commands.h"
#include "enroll.h"

static int exit_code(enum enrol_outcome outcome)
{
    switch (outcome) {
    case ENROL_DONE:
    case ENROL_WAS_DONE: return CLI_OK;
    case ENROL_AWAY: return ENROLL_AWAY;
    case ENROL_REFUSED: return ENROLL_REFUSED;
    case ENROL_UNTRUSTED: return ENROLL_UNTRUSTED;
    default: return CLI_FAILED;
    }
}

/* With the token and the CA, until it works or the time is over. */
static int join(struct enroll_args *a, struct aws *aws, struct enrol_result *r)
{
    struct retry again;
    retry_begin(&again, a->retry_s);
    int rc = enroll_find_token(a, aws, &again);
    if (rc == CLI_OK)
        rc = enroll_find_ca(a, aws, &again);
    if (rc != CLI_OK)
        return rc;
    struct enrol_memory memory = {0};
    a->o.memory = &memory;
    do
        enrol(&a->o, r);
    while (r->outcome == ENROL_AWAY && retry_wait(&again, r->retry_after, r->why));
    enrol_forget(&memory);
    a->o.memory = NULL;
    if (r->outcome != ENROL_DONE)
        (void)cli_fail("%s", r->why);
    return exit_code(r->outcome);
}

static void fill_options(struct enroll_args *a, const struct conf *c, struct aws *aws)
{
    command_uplink_user(c, &a->o.uid, &a->o.gid);
    a->o.token = a->token;
    a->o.dir = c->manager.state_dir;
    a->o.guard_dir = c->guard.state_dir;
    a->o.version = SK_VERSION;
    if (a->o.identity == ENROL_NO_IDENTITY && (a->cloud.imds != NULL || cloud_is_ec2()))
        a->o.identity = ENROL_IF_THERE;
    a->o.aws = aws;
}

static int enroll(struct enroll_args *a, const struct conf *c, struct aws *aws)
{
    struct enrol_result r;
    char *tags = json_object_size(a->tags) > 0 ? json_dumps(a->tags, JSON_COMPACT) : NULL;
    fill_options(a, c, aws);
    a->o.tags = tags;
    enrol_look(&a->o, &r); /* before anybody is asked for a token */
    if (r.outcome == ENROL_WAS_DONE && a->o.if_needed) {
        printf("Enrolled already%s%s.\n", r.agent[0] != '\0' ? " as " : "", r.agent);
        free(tags);
        return CLI_OK;
    }
    int rc = r.outcome == ENROL_DONE ? join(a, aws, &r) : cli_fail("%s", r.why);
    free(tags);
    if (rc != CLI_OK)
        return rc;
    printf("Enrolled as %s with %s.\n", r.agent, a->o.manager);
    if (c->manager.enabled == CONF_NO)
        fprintf(stderr, "sekisho: manager.enabled is no in the configuration: the agent does not connect\n");
    else
        command_tell_agent(c);
    return CLI_OK;
}

static int with_conf(struct enroll_args *a)
{
    struct findings f = {0};
    struct aws *aws = NULL;
    struct conf *c = command_conf(a->conf, NULL, a->sets, a->nsets, NULL, &f);
    int rc = c == NULL ? CLI_FAILED : geteuid() != 0 ? cli_fail("enrolling needs root: try sudo") : CLI_OK;
    if (rc == CLI_OK)
        rc = cloud_open("enroll", &a->cloud, &aws);
    if (rc == CLI_OK)
        rc = enroll(a, c, aws);
    aws_close(aws);
    conf_free(c);
    return rc;
}

int cmd_enroll(int argc, char **argv)
{
    struct enroll_args *a = calloc(1, sizeof(*a));
    if (a == NULL || (a->tags = json_object()) == NULL) {
        free(a);
        return cli_fail("out of memory");
    }
    sk_log_setup("sekisho", SK_LOG_WARN, 0);
    int rc = enroll_parse(a, argc, argv);
    if (rc == CLI_OK)
        rc = with_conf(a);
    json_decref(a->tags);
    OPENSSL_cleanse(a->token, sizeof(a->token));
    free(a);
    return rc;
}
