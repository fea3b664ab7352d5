/* Sources on this host: the environment and the shared files. */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "aws_priv.h"

int source_environment(struct aws *a, int64_t now, struct aws_creds *out, char *why, size_t cap)
{
    (void)now;
    const struct aws_env *e = &a->env;
    if (a->profile_given || e->access_key == NULL)
        return SK_ENOENT;
    if (e->secret_key == NULL) {
        snprintf(why, cap, "AWS_ACCESS_KEY_ID without AWS_SECRET_ACCESS_KEY");
        return SK_EINVAL;
    }
    snprintf(out->source, sizeof out->source, "environment");
    if (creds_copy(out->access_key, sizeof out->access_key, e->access_key) != SK_OK ||
        creds_copy(out->secret_key, sizeof out->secret_key, e->secret_key) != SK_OK ||
        (e->token != NULL && creds_copy(out->token, sizeof out->token, e->token) != SK_OK)) {
        snprintf(why, cap, "the environment's credentials make no sense");
        return SK_EINVAL;
    }
    return SK_OK;
}

/* The whole file in *out (free it, wiped); SK_ENOENT: there is none, or it is not ours to read. */
static int read_file(const char *path, char **out, size_t *len)
{
    *out = NULL;
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return SK_ENOENT;
    char *buf = (char *)malloc(AWS_FILE_MAX);
    size_t n = 0;
    ssize_t got = -1;
    while (buf != NULL && n < AWS_FILE_MAX && (got = read(fd, buf + n, AWS_FILE_MAX - n)) > 0)
        n += (size_t)got;
    close(fd);
    if (got != 0) {
        if (buf != NULL)
            OPENSSL_cleanse(buf, n);
        free(buf);
        return buf == NULL ? SK_ENOMEM : SK_EIO;
    }
    *out = buf;
    *len = n;
    return SK_OK;
}

static int take_setting(struct sk_span text, const char *section, const char *key, char *buf, size_t cap)
{
    char raw[4096];
    int rc = ini_get(text, section, key, raw, sizeof raw);
    if (rc == SK_OK)
        rc = creds_copy(buf, cap, raw) == SK_OK ? SK_OK : SK_EINVAL;
    OPENSSL_cleanse(raw, sizeof raw);
    return rc;
}

/* SK_ENOENT: the section has no key. A key without its secret, or what cannot be read, is SK_EINVAL. */
static int read_section(struct sk_span text, const char *section, struct aws_creds *out)
{
    int rc = take_setting(text, section, "aws_access_key_id", out->access_key, sizeof out->access_key);
    if (rc != SK_OK)
        return rc;
    if (take_setting(text, section, "aws_secret_access_key", out->secret_key, sizeof out->secret_key) != SK_OK)
        return SK_EINVAL;
    rc = take_setting(text, section, "aws_session_token", out->token, sizeof out->token);
    return rc == SK_ENOENT ? SK_OK : rc;
}

static int read_one(const char *path, const char *section, struct aws_creds *out)
{
    char *text;
    size_t len;
    int rc = read_file(path, &text, &len);
    if (rc != SK_OK)
        return rc;
    rc = read_section(sk_span_of(text, (uint32_t)len), section, out);
    OPENSSL_cleanse(text, len);
    free(text);
    return rc;
}

int source_file(struct aws *a, int64_t now, struct aws_creds *out, char *why, size_t cap)
{
    (void)now;
    if (a->no_files)
        return SK_ENOENT;
    const char *profile = a->env.profile != NULL ? a->env.profile : "default";
    char section[160];
    bool plain = strcmp(profile, "default") == 0;
    snprintf(section, sizeof section, "%s%s", plain ? "" : "profile ", profile);
    snprintf(out->source, sizeof out->source, "shared-file");
    int rc = read_one(a->env.credentials_file, profile, out);
    if (rc == SK_ENOENT)
        rc = read_one(a->env.config_file, section, out);
    if (rc == SK_ENOENT && a->env.profile != NULL) { /* asked for by name: nothing else will do */
        snprintf(why, cap, "the shared files have no keys for the profile that was asked for");
        return SK_EINVAL;
    }
    if (rc != SK_OK && rc != SK_ENOENT)
        snprintf(why, cap, "the shared credentials file cannot be read, or its keys make no sense");
    return rc;
}
