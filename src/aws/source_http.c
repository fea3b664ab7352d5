/* Sources that are asked over HTTP: the container's endpoint and the instance metadata service, version 2 only. */
#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "aws_priv.h"
#include "base/addr.h"

#define TOKEN_MAX 4096
#define TOKEN_TTL "21600" /* seconds; the longest */
#define ROLE_MAX  128
#define ROLE_PATH "/latest/meta-data/iam/security-credentials/"

/* One header or none, two tries: a container's endpoint or IMDS may have no time for a moment. */
static int ask(struct aws *a, const char *method, const char *url, const char *header, struct fetch_response *r)
{
    struct fetch_request q = {.method = method, .url = url, .headers = &header, .nheaders = header != NULL};
    q.tls = &a->tls;
    q.timeout_ms = SOURCE_TIMEOUT;
    q.response_max = 1 << 16;
    int rc = fetch_do(&q, r);
    if (rc != SK_OK || r->status >= 500) {
        fetch_response_free(r);
        rc = fetch_do(&q, r);
    }
    return rc;
}

/* SK_OK: 200. SK_ENOENT: 404. SK_EAGAIN: it has no time, or fails. */
static int check(const char *who, int rc, const struct fetch_response *r, char *why, size_t cap)
{
    if (rc != SK_OK)
        snprintf(why, cap, "%s: %s", who, r->text);
    else if (r->status != 200)
        snprintf(why, cap, "%s: status %d", who, r->status);
    if (rc == SK_OK && r->status != 200)
        rc = r->status == 404 ? SK_ENOENT : r->status >= 500 || r->status == 429 ? SK_EAGAIN : SK_EPROTO;
    return rc;
}

/* ---- container ---- */

static bool is_loopback(const char *host)
{
    struct sk_addr a;
    return strcmp(host, "localhost") == 0 ||
           (sk_addr_parse(host, strlen(host), &a) == SK_OK && sk_addr_is_v4(&a) && a.b[12] == 127) ||
           strcmp(host, "::1") == 0;
}

/* The token that goes there is worth stealing: without TLS only to this host and to the addresses that AWS names. */
static bool may_be_asked(const char *url)
{
    static const char *const hosts[] = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23"};
    char host[128];
    if (strncmp(url, "https://", 8) == 0)
        return strpbrk(url, "@ \t\r\n") == NULL;
    if (strncmp(url, "http://", 7) != 0 || strpbrk(url, "@ \t\r\n\\") != NULL)
        return false;
    const char *h = url + 7;
    bool bracket = *h == '[';
    h += bracket;
    size_t n = strcspn(h, bracket ? "]" : ":/?#");
    if (n == 0 || n >= sizeof host)
        return false;
    memcpy(host, h, n);
    host[n] = '\0';
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (strcmp(host, hosts[i]) == 0)
            return true;
    return is_loopback(host);
}

static int read_token_file(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return SK_EIO;
    ssize_t n = read(fd, buf, cap - 1);
    close(fd);
    if (n <= 0 || n == (ssize_t)cap - 1)
        return SK_EIO;
    while (n > 0 && isspace((unsigned char)buf[n - 1]))
        n--;
    buf[n] = '\0';
    return SK_OK;
}

/* "Authorization: ..." into buf; "" when none is wanted. */
static int container_header(const struct aws_env *e, char *buf, size_t cap)
{
    char token[TOKEN_MAX] = "";
    int rc = SK_OK;
    if (e->container_token_file != NULL)
        rc = read_token_file(e->container_token_file, token, sizeof token);
    else if (e->container_token != NULL)
        rc = snprintf(token, sizeof token, "%s", e->container_token) < (int)sizeof token ? SK_OK : SK_EFULL;
    if (rc == SK_OK && strpbrk(token, "\r\n") != NULL)
        rc = SK_EINVAL;
    if (rc == SK_OK)
        snprintf(buf, cap, "%s%s", token[0] ? "Authorization: " : "", token);
    OPENSSL_cleanse(token, sizeof token);
    return rc;
}

static int container_url(const struct aws_env *e, char *url, size_t cap)
{
    int n = e->container_relative != NULL ? snprintf(url, cap, "http://169.254.170.2%s", e->container_relative)
                                          : snprintf(url, cap, "%s", e->container_full);
    if (n < 0 || n >= (int)cap || (e->container_relative != NULL && e->container_relative[0] != '/'))
        return SK_EINVAL;
    return may_be_asked(url) ? SK_OK : SK_EINVAL;
}

int source_container(struct aws *a, int64_t now, struct aws_creds *out, char *why, size_t cap)
{
    char url[AWS_URL_MAX], header[TOKEN_MAX + 32];
    if (a->env.container_relative == NULL && a->env.container_full == NULL)
        return SK_ENOENT;
    if (container_url(&a->env, url, sizeof url) != SK_OK) {
        snprintf(why, cap, "container credentials: such an address is not asked");
        return SK_EINVAL;
    }
    if (container_header(&a->env, header, sizeof header) != SK_OK) {
        snprintf(why, cap, "container credentials: no authorization token can be read");
        return SK_EINVAL;
    }
    struct fetch_response r;
    int rc = check("container credentials", ask(a, "GET", url, header[0] ? header : NULL, &r), &r, why, cap);
    if (rc == SK_OK)
        rc = creds_read_json(r.body, r.body_len, now, out, why, cap);
    snprintf(out->source, sizeof out->source, "container");
    fetch_response_free(&r);
    OPENSSL_cleanse(header, sizeof header);
    return rc == SK_ENOENT ? SK_EPROTO : rc;
}

/* ---- IMDSv2 ---- */

static int imds_token(struct aws *a, char *header, size_t cap, char *why, size_t why_cap)
{
    char url[AWS_URL_MAX], token[512];
    struct fetch_response r;
    snprintf(url, sizeof url, "%s/latest/api/token", a->imds);
    int rc = ask(a, "PUT", url, "x-aws-ec2-metadata-token-ttl-seconds: " TOKEN_TTL, &r);
    rc = check("instance metadata", rc, &r, why, why_cap);
    if (rc == SK_OK && creds_copy(token, sizeof token, r.body) != SK_OK) {
        snprintf(why, why_cap, "instance metadata: the token makes no sense");
        rc = SK_EPROTO;
    }
    if (rc == SK_OK)
        snprintf(header, cap, "x-aws-ec2-metadata-token: %s", token);
    fetch_response_free(&r);
    return rc;
}

static int imds_get_with(struct aws *a, const char *header, const char *path, struct fetch_response *r, char *why,
                         size_t cap)
{
    char url[AWS_URL_MAX];
    snprintf(url, sizeof url, "%s%s", a->imds, path);
    return check("instance metadata", ask(a, "GET", url, header, r), r, why, cap);
}

int imds_get(struct aws *a, const char *path, struct fetch_response *r, char *why, size_t cap)
{
    char header[600];
    *r = (struct fetch_response){.result = FETCH_FAILED};
    if (a->env.imds_disabled) {
        snprintf(why, cap, "instance metadata: switched off by AWS_EC2_METADATA_DISABLED");
        return SK_ENOENT;
    }
    int rc = imds_token(a, header, sizeof header, why, cap);
    return rc == SK_OK ? imds_get_with(a, header, path, r, why, cap) : rc;
}

/* The name of the one role; it goes into a path. */
static int imds_role(struct aws *a, const char *header, char *role, char *why, size_t cap)
{
    struct fetch_response r;
    int rc = imds_get_with(a, header, ROLE_PATH, &r, why, cap);
    if (rc == SK_OK) {
        size_t n = strspn(r.body, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@_-");
        if (n == 0 || n >= ROLE_MAX || (r.body[n] != '\0' && r.body[n] != '\n'))
            rc = SK_EPROTO;
        else
            snprintf(role, ROLE_MAX, "%.*s", (int)n, r.body);
        if (rc != SK_OK)
            snprintf(why, cap, "instance metadata: the role's name makes no sense");
    } else if (rc == SK_ENOENT) {
        snprintf(why, cap, "no credentials in environment%s or container, and this instance has no role",
                 a->no_files ? "" : ", shared files");
    }
    fetch_response_free(&r);
    return rc;
}

int source_imds(struct aws *a, int64_t now, struct aws_creds *out, char *why, size_t cap)
{
    char header[600], role[ROLE_MAX], path[sizeof ROLE_PATH + ROLE_MAX];
    if (a->env.imds_disabled) {
        snprintf(why, cap, "no credentials in environment%s or container; instance metadata is switched off",
                 a->no_files ? "" : ", shared files");
        return SK_ENOENT;
    }
    int rc = imds_token(a, header, sizeof header, why, cap);
    if (rc == SK_OK)
        rc = imds_role(a, header, role, why, cap);
    if (rc != SK_OK)
        return SK_ENOENT; /* the last source: there may be no IMDS at all */
    struct fetch_response r;
    snprintf(path, sizeof path, ROLE_PATH "%s", role);
    rc = imds_get_with(a, header, path, &r, why, cap);
    if (rc == SK_OK)
        rc = creds_read_json(r.body, r.body_len, now, out, why, cap);
    snprintf(out->source, sizeof out->source, "imds");
    fetch_response_free(&r);
    return rc;
}
