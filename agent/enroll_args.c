#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "cli.h"
#include "enroll.h"

#define TAGS_MAX 8

static int take_token(struct enroll_args *a, const char *text)
{
    size_t len = strlen(text);
    if (len > ENROL_TOKEN_MAX)
        return cli_fail("that is too long for a token");
    memcpy(a->token, text, len + 1);
    a->have_token = true;
    return CLI_OK;
}

/* What stands on the command line is not shown by ps(1) for longer than it must. */
static void hide(char *arg)
{
    if (strcmp(arg, "-") != 0)
        memset(arg, '*', strlen(arg));
}

static int take_tag(struct enroll_args *a, const char *text)
{
    char key[64];
    size_t len = strcspn(text, "=");
    if (text[len] != '=' || len == 0 || len >= sizeof(key) || json_object_size(a->tags) == TAGS_MAX)
        return cli_usage("enroll", "--tag wants KEY=VALUE, %d times at most", TAGS_MAX);
    memcpy(key, text, len);
    key[len] = '\0';
    if (json_object_set_new(a->tags, key, json_string(text + len + 1)) != 0)
        return cli_usage("enroll", "--tag: that is no text");
    return CLI_OK;
}

static int take_kept(struct enroll_args *a, enum aws_kept kind, const char *name)
{
    if (a->kept != NULL)
        return cli_usage("enroll", "--token-parameter and --token-secret do not go together");
    a->kept = name;
    a->kept_kind = kind;
    return CLI_OK;
}

static int take_retry(struct enroll_args *a, const char *text)
{
    if (sk_duration_parse(text, &a->retry_s) != SK_OK)
        return cli_usage("enroll", "--retry wants a time as 90s, 10m or 1h, not '%s'", text);
    return CLI_OK;
}

static int take_set(struct enroll_args *a, const char *arg)
{
    if (a->nsets == sizeof(a->sets) / sizeof(a->sets[0]))
        return cli_usage("enroll", "too many --set");
    a->sets[a->nsets++] = arg;
    return CLI_OK;
}

static int take_secret_word(struct enroll_args *a, char *arg)
{
    int rc = take_token(a, arg);
    hide(arg);
    return rc;
}

static int take_option(struct enroll_args *a, int c, char *arg)
{
    switch (c) {
    case 'c': a->conf = arg; break;
    case 'm': a->o.manager = arg; break;
    case 't': return take_secret_word(a, arg);
    case 'f': a->token_file = arg; break;
    case 'P': return take_kept(a, AWS_PARAMETER, arg);
    case 'S': return take_kept(a, AWS_SECRET, arg);
    case 'C': a->o.ca_file = arg; break;
    case 'F': a->o.ca_sha256 = arg; break;
    case 'A': a->ca_parameter = arg; break;
    case 'i': a->o.identity = ENROL_IDENTITY; break;
    case 'I': a->cloud.imds = arg; break;
    case 'r': a->cloud.region = arg; break;
    case 'e': a->cloud.endpoint = arg; break;
    case 'R': return take_retry(a, arg);
    case 'g': return take_tag(a, arg);
    case 'a': a->o.again = true; break;
    case 'n': a->o.if_needed = true; break;
    default: return take_set(a, arg);
    }
    return CLI_OK;
}

static const struct option longs[] = {
    {"config", required_argument, NULL, 'c'},
    {"manager", required_argument, NULL, 'm'},
    {"token", required_argument, NULL, 't'},
    {"token-file", required_argument, NULL, 'f'},
    {"token-parameter", required_argument, NULL, 'P'},
    {"token-secret", required_argument, NULL, 'S'},
    {"ca", required_argument, NULL, 'C'},
    {"ca-fingerprint", required_argument, NULL, 'F'},
    {"ca-parameter", required_argument, NULL, 'A'},
    {"identity", no_argument, NULL, 'i'},
    {"imds", required_argument, NULL, 'I'},
    {"region", required_argument, NULL, 'r'},
    {"aws-endpoint", required_argument, NULL, 'e'},
    {"retry", required_argument, NULL, 'R'},
    {"tag", required_argument, NULL, 'g'},
    {"again", no_argument, NULL, 'a'},
    {"if-needed", no_argument, NULL, 'n'},
    {"set", required_argument, NULL, 's'},
    {NULL, 0, NULL, 0},
};

static int check(const struct enroll_args *a, int argc)
{
    unsigned cas = (a->o.ca_file != NULL) + (a->o.ca_sha256 != NULL) + (a->ca_parameter != NULL);
    unsigned tokens = a->have_token + (a->token_file != NULL) + (a->kept != NULL);
    if (optind != argc)
        return cli_usage("enroll", "too many arguments");
    if (a->o.manager == NULL)
        return cli_usage("enroll", "--manager URL is wanted");
    if (cas > 1)
        return cli_usage("enroll", "--ca, --ca-fingerprint and --ca-parameter do not go together");
    if (tokens > 1)
        return cli_usage("enroll", "--token, --token-file, --token-parameter and --token-secret do not go together");
    if (a->o.again && a->o.if_needed)
        return cli_usage("enroll", "--again and --if-needed do not go together");
    return CLI_OK;
}

int enroll_parse(struct enroll_args *a, int argc, char **argv)
{
    int c, rc = CLI_OK;
    while (rc == CLI_OK && (c = getopt_long(argc, argv, ":c:", longs, NULL)) != -1)
        rc = c == '?' || c == ':' ? cli_bad_option("enroll", argv, c) : take_option(a, c, optarg);
    return rc == CLI_OK ? check(a, argc) : rc;
}
