#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "enroll.h"

#define SECRET_MAX 8192 /* bytes of a secret: it may be JSON with more than the token in it */

/* --- kept at AWS --- */

static int ask_once(struct enroll_args *a, struct aws *aws, enum aws_kept kind, const char *name, char *buf, size_t cap,
                    struct aws_answer *e, char *why, size_t why_cap)
{
    char region[32];
    *e = (struct aws_answer){.error = AWS_RETRY, .retry_after = -1};
    if (cloud_region(aws, &a->cloud, name, region, why, why_cap) != CLI_OK)
        return SK_EIO;
    int rc = aws_kept_get(aws, region, kind, name, buf, cap, e);
    if (rc != SK_OK)
        snprintf(why, why_cap, "%s %s in %s: %s%s%s", kind == AWS_PARAMETER ? "parameter" : "secret", name, region,
                 e->code, e->code[0] != '\0' ? ": " : "", e->message);
    aws_answer_free(e);
    return rc;
}

static int exit_code(enum aws_error e)
{
    if (e == AWS_AUTH)
        return ENROLL_REFUSED;
    return cloud_may_pass(e) ? ENROLL_AWAY : CLI_FAILED;
}

static int ask_kept(struct enroll_args *a, struct aws *aws, struct retry *r, enum aws_kept kind, const char *name,
                    char *buf, size_t cap)
{
    char why[1024];
    struct aws_answer e;
    while (ask_once(a, aws, kind, name, buf, cap, &e, why, sizeof(why)) != SK_OK)
        if (!cloud_may_pass(e.error) || !retry_wait(r, e.retry_after > 0 ? e.retry_after : 0, why)) {
            (void)cli_fail("%s", why);
            return exit_code(e.error);
        }
    return CLI_OK;
}

/* Secrets Manager's console makes JSON of what is entered: {"token": "ske_..."}. */
static int open_secret(const struct enroll_args *a, char *text, char *out, size_t cap)
{
    json_t *o = text[0] == '{' ? json_loads(text, 0, NULL) : NULL;
    json_t *v = json_object_get(o, "token");
    const char *s = o != NULL ? json_string_value(v) : text;
    int rc = CLI_OK;
    if (s == NULL)
        rc = cli_fail("secret %s: its JSON has no \"token\"", a->kept);
    else if (strlen(s) >= cap)
        rc = cli_fail("%s: that is too long for a token", a->kept);
    else
        memcpy(out, s, strlen(s) + 1);
    if (json_is_string(v))
        OPENSSL_cleanse((void *)json_string_value(v), json_string_length(v));
    json_decref(o);
    return rc;
}

static int token_from_aws(struct enroll_args *a, struct aws *aws, struct retry *r)
{
    char text[SECRET_MAX];
    int rc = ask_kept(a, aws, r, a->kept_kind, a->kept, text, sizeof(text));
    if (rc == CLI_OK)
        rc = open_secret(a, text, a->token, sizeof(a->token));
    OPENSSL_cleanse(text, sizeof(text));
    return rc;
}

/* --- kept here --- */

/* Its first line. */
static int read_token(struct enroll_args *a, FILE *f, const char *name)
{
    bool got = f != NULL && fgets(a->token, sizeof(a->token), f) != NULL;
    if (f != NULL && f != stdin)
        fclose(f);
    if (!got)
        return cli_fail("%s: %s", name, f == NULL ? strerror(errno) : "no token is in it");
    a->token[strcspn(a->token, " \t\r\n")] = '\0';
    a->have_token = true;
    return CLI_OK;
}

/* On a command line everybody can read it; "-" is standard input. */
int enroll_find_token(struct enroll_args *a, struct aws *aws, struct retry *r)
{
    const char *env = getenv("SEKISHO_TOKEN");
    if (a->have_token && strcmp(a->token, "-") == 0)
        return read_token(a, stdin, "standard input");
    if (a->have_token)
        return CLI_OK;
    if (a->token_file != NULL)
        return read_token(a, fopen(a->token_file, "re"), a->token_file);
    if (a->kept != NULL)
        return token_from_aws(a, aws, r);
    if (env != NULL && env[0] != '\0' && strlen(env) < sizeof(a->token)) {
        memcpy(a->token, env, strlen(env) + 1);
        return CLI_OK;
    }
    return cli_usage("enroll",
                     "a token is wanted: --token-file FILE, --token-parameter NAME, --token-secret ID, --token "
                     "-, or the environment's SEKISHO_TOKEN");
}

/* The parameter holds the certificate itself, or its fingerprint. */
int enroll_find_ca(struct enroll_args *a, struct aws *aws, struct retry *r)
{
    if (a->ca_parameter == NULL)
        return CLI_OK;
    int rc = ask_kept(a, aws, r, AWS_PARAMETER, a->ca_parameter, a->ca, sizeof(a->ca));
    if (rc != CLI_OK)
        return rc;
    if (strncmp(a->ca, "-----BEGIN", 10) == 0)
        a->o.ca_pem = a->ca;
    else
        a->o.ca_sha256 = a->ca;
    return CLI_OK;
}
