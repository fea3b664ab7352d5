#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "aws_priv.h"
#include "base/clock.h"

#define IMDS_V4 "http://169.254.169.254"
#define IMDS_V6 "http://[fd00:ec2::254]"

static char *copy(const char *s, bool *ok)
{
    if (s == NULL || s[0] == '\0')
        return NULL;
    char *p = strdup(s);
    *ok &= p != NULL;
    return p;
}

static char *copy_env(const char *name, bool *ok)
{
    return copy(getenv(name), ok);
}

/* From the environment, else a file below the home directory. */
static char *file_path(const char *name, const char *below_home, bool *ok)
{
    char *given = copy_env(name, ok), *path = NULL;
    const char *home = getenv("HOME");
    if (given != NULL || home == NULL || home[0] == '\0')
        return given;
    *ok &= asprintf(&path, "%s/%s", home, below_home) > 0;
    return path;
}

static bool env_is(const char *name, const char *value)
{
    const char *s = getenv(name);
    return s != NULL && strcasecmp(s, value) == 0;
}

static bool read_env(struct aws_env *e)
{
    bool ok = true;
    e->access_key = copy_env("AWS_ACCESS_KEY_ID", &ok);
    e->secret_key = copy_env("AWS_SECRET_ACCESS_KEY", &ok);
    e->token = copy_env("AWS_SESSION_TOKEN", &ok);
    e->profile = copy_env("AWS_PROFILE", &ok);
    e->region = copy_env("AWS_REGION", &ok);
    if (e->region == NULL)
        e->region = copy_env("AWS_DEFAULT_REGION", &ok);
    e->credentials_file = file_path("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", &ok);
    e->config_file = file_path("AWS_CONFIG_FILE", ".aws/config", &ok);
    e->container_relative = copy_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", &ok);
    e->container_full = copy_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &ok);
    e->container_token = copy_env("AWS_CONTAINER_AUTHORIZATION_TOKEN", &ok);
    e->container_token_file = copy_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &ok);
    e->imds_disabled = env_is("AWS_EC2_METADATA_DISABLED", "true");
    return ok;
}

static void wipe(char *s)
{
    if (s != NULL)
        OPENSSL_cleanse(s, strlen(s));
    free(s);
}

static void free_env(struct aws_env *e)
{
    wipe(e->secret_key);
    wipe(e->token);
    wipe(e->container_token);
    free(e->access_key);
    free(e->profile);
    free(e->region);
    free(e->credentials_file);
    free(e->config_file);
    free(e->container_relative);
    free(e->container_full);
    free(e->container_token_file);
}

static void trim_slashes(char *url)
{
    for (size_t n = url != NULL ? strlen(url) : 0; n > 0 && url[n - 1] == '/'; n--)
        url[n - 1] = '\0';
}

/* An address without path, query or user: those would have to be signed, and shown. */
static bool is_base_url(const char *url)
{
    const char *h = strncmp(url, "https://", 8) == 0 ? url + 8 : strncmp(url, "http://", 7) == 0 ? url + 7 : NULL;
    return h != NULL && h[0] != '\0' && strpbrk(h, "/?#@ \t\r\n") == NULL;
}

static char *imds_url(const char *given, bool *ok)
{
    char *url = copy(given, ok);
    if (url == NULL)
        url = copy_env("AWS_EC2_METADATA_SERVICE_ENDPOINT", ok);
    if (url == NULL)
        url = copy(env_is("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6") ? IMDS_V6 : IMDS_V4, ok);
    trim_slashes(url);
    return url;
}

static int set_up(struct aws *a, const struct aws_options *o)
{
    bool ok = read_env(&a->env);
    a->endpoint = copy(o->endpoint, &ok);
    trim_slashes(a->endpoint);
    a->ca_file = copy(o->ca_file, &ok);
    a->imds = imds_url(o->imds, &ok);
    if (o->profile != NULL && o->profile[0] != '\0') {
        free(a->env.profile);
        a->env.profile = copy(o->profile, &ok);
        a->profile_given = true;
    }
    a->no_files = o->no_files;
    a->tls.ca_file = a->ca_file;
    a->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : AWS_TIMEOUT_MS;
    if (!ok)
        return SK_ENOMEM;
    return (a->endpoint == NULL || is_base_url(a->endpoint)) && is_base_url(a->imds) ? SK_OK : SK_EINVAL;
}

int aws_open(const struct aws_options *o, struct aws **out)
{
    *out = NULL;
    int rc = fetch_init();
    struct aws *a = rc == SK_OK ? (struct aws *)calloc(1, sizeof *a) : NULL;
    if (a == NULL)
        return SK_ENOMEM;
    pthread_mutex_init(&a->lock, NULL);
    rc = set_up(a, o);
    if (rc != SK_OK) {
        aws_close(a);
        return rc;
    }
    *out = a;
    return SK_OK;
}

void aws_close(struct aws *a)
{
    if (a == NULL)
        return;
    pthread_mutex_destroy(&a->lock);
    free_env(&a->env);
    free(a->endpoint);
    free(a->imds);
    free(a->ca_file);
    OPENSSL_cleanse(a, sizeof *a);
    free(a);
}

static bool is_region(const char *s, size_t len)
{
    if (len == 0 || len > 31)
        return false;
    for (size_t i = 0; i < len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789-", s[i]) == NULL || s[i] == '\0')
            return false;
    return true;
}

int aws_region(struct aws *a, char *buf)
{
    const char *env = a->env.region;
    if (env != NULL && is_region(env, strlen(env))) {
        snprintf(buf, 32, "%s", env);
        return SK_OK;
    }
    struct fetch_response r;
    char why[256];
    int rc = imds_get(a, "/latest/meta-data/placement/region", &r, why, sizeof why);
    if (rc == SK_OK && is_region(r.body, r.body_len))
        snprintf(buf, 32, "%s", r.body);
    else if (rc == SK_OK)
        rc = SK_EPROTO;
    fetch_response_free(&r);
    return rc;
}
