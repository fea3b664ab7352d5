/* Inside of `sekisho enroll`: cmd_enroll.c (the order of things), enroll_args.c (options), enroll_source.c (token, CA).
 */
#ifndef AGENT_ENROLL_H
#define AGENT_ENROLL_H

#include <jansson.h>
#include <stdbool.h>
#include "cloud.h"
#include "report/enrol.h"
#include "retry.h"

#define ENROLL_CA_MAX 16384 /* bytes of a CA that is kept at AWS */

/* Exit codes beside those of cli.h. */
enum {
    ENROLL_AWAY = 3,      /* the manager, or AWS, cannot be reached or is busy */
    ENROLL_REFUSED = 4,   /* the token, or this instance, or it may not be read */
    ENROLL_UNTRUSTED = 5, /* the manager's certificate */
};

struct enroll_args {
    const char *conf, *sets[16];
    unsigned nsets;
    struct cloud_args cloud;
    const char *token_file, *kept; /* kept: name of a parameter or secret that holds the token */
    enum aws_kept kept_kind;
    const char *ca_parameter;
    int64_t retry_s;
    bool have_token, if_needed;
    json_t *tags;
    struct enrol_options o;
    char token[ENROL_TOKEN_MAX + 2], ca[ENROLL_CA_MAX + 1]; /* token is wiped */
};

/* enroll_args.c; an exit code. What a word of the command line has that others need not see is covered. */
int enroll_parse(struct enroll_args *a, int argc, char **argv);
/* enroll_source.c: a->token, and what tells the CA. Exit codes; those that are kept at AWS are asked for until it works
 * or r is over. */
int enroll_find_token(struct enroll_args *a, struct aws *aws, struct retry *r);
int enroll_find_ca(struct enroll_args *a, struct aws *aws, struct retry *r);

#endif
