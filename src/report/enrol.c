#include "report/enrol.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "enrol_priv.h"
#include "fetch/fetch.h"

#define ENROL_MS    30000
#define IMDS_MS     3000
#define DOC_MAX     16384
#define HOST_MAX    253
#define TOKEN_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."

/* --- what was given --- */

static int check_url(struct enrolment *e)
{
    static const char scheme[] = "https://";
    const char *url = e->o->manager;
    if (strncmp(url, scheme, sizeof(scheme) - 1) != 0 || url[sizeof(scheme) - 1] == '\0' ||
        strpbrk(url, " \"\\?#@") != NULL || strlen(url) >= sizeof(e->url))
        return enrol_fail(e, SK_EINVAL, "the manager is named as https://HOST:PORT");
    snprintf(e->url, sizeof(e->url), "%s", url);
    for (size_t n = strlen(e->url); n > 0 && e->url[n - 1] == '/'; n--)
        e->url[n - 1] = '\0';
    return SK_OK;
}

static int check_token(struct enrolment *e)
{
    const char *t = e->o->token;
    if (t[0] == '\0' || strlen(t) > ENROL_TOKEN_MAX || t[strspn(t, TOKEN_CHARS)] != '\0')
        return enrol_fail(e, SK_EINVAL, "that is no token: `sekisho-manager token create` makes one (ske_...)");
    return SK_OK;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_fingerprint(struct enrolment *e, uint8_t out[32])
{
    unsigned n = 0;
    for (const char *p = e->o->ca_sha256; *p != '\0'; p++) {
        if (*p == ':')
            continue;
        int v = hex_value(*p);
        if (v < 0 || n == 64)
            return enrol_fail(e, SK_EINVAL, "a fingerprint is the SHA-256 of a certificate: 64 hex digits");
        out[n / 2] = (uint8_t)(n % 2 == 0 ? v << 4 : out[n / 2] | v);
        n++;
    }
    return n == 64
               ? SK_OK
               : enrol_fail(e, SK_EINVAL, "a fingerprint is the SHA-256 of a certificate: 64 hex digits, not %u", n);
}

static int not_yet(struct enrolment *e)
{
    char path[ENROL_PATH], why[256];
    struct certs *c = (struct certs *)calloc(1, sizeof(*c));
    snprintf(path, sizeof(path), "%s/agent.json", e->o->dir);
    int rc = SK_OK;
    if (c == NULL)
        rc = enrol_fail(e, SK_ENOMEM, "out of memory");
    else if (!e->o->again && access(path, F_OK) == 0)
        rc =
            enrol_fail(e, SK_EEXIST, "this host has enrolled already%s%s; with --again it enrols once more, as another",
                       certs_open(e->o->dir, c, why, sizeof(why)) == SK_OK ? " as " : "", c->now.agent);
    free(c);
    return rc;
}

/* --- the manager's certificate --- */

static int take_ca(struct enrolment *e)
{
    uint8_t sha256[32];
    char *pem = NULL;
    if (e->o->ca_file != NULL)
        return enrol_read_ca(e);
    if (e->o->ca_sha256 == NULL)
        return SK_OK;
    int rc = parse_fingerprint(e, sha256);
    if (rc == SK_OK)
        rc = enrol_find_ca(e, sha256, &pem);
    if (rc == SK_OK)
        rc = enrol_write(e, "ca.pem", pem);
    free(pem);
    e->has_ca = rc == SK_OK;
    return rc;
}

/* --- the identity document of an EC2 instance --- */

static int imds_call(const struct enrolment *e, const char *method, const char *path, const char *header,
                     struct fetch_response *r)
{
    char url[256];
    const char *headers[] = {header};
    snprintf(url, sizeof(url), "%s%s", e->o->imds, path);
    const struct fetch_request q = {.method = method,
                                    .url = url,
                                    .headers = headers,
                                    .nheaders = 1,
                                    .timeout_ms = IMDS_MS,
                                    .connect_timeout_ms = IMDS_MS,
                                    .response_max = DOC_MAX};
    int rc = fetch_do(&q, r);
    return rc == SK_OK && r->status != 200 ? SK_EIO : rc;
}

/* IMDSv2: a session first. *doc is the caller's (free); NULL: there is none. */
static void ask_imds(const struct enrolment *e, char **doc)
{
    struct fetch_response session, r = {.result = FETCH_FAILED};
    char header[512];
    *doc = NULL;
    if (imds_call(e, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60", &session) == SK_OK &&
        session.body_len < 400 && strpbrk(session.body, "\r\n") == NULL) {
        snprintf(header, sizeof(header), "X-aws-ec2-metadata-token: %s", session.body);
        if (imds_call(e, "GET", "/latest/dynamic/instance-identity/rsa2048", header, &r) == SK_OK)
            *doc = strdup(r.body);
        OPENSSL_cleanse(header, sizeof(header));
    }
    fetch_response_free(&session);
    fetch_response_free(&r);
}

static int take_identity(struct enrolment *e, char **doc)
{
    *doc = NULL;
    if (e->o->identity == ENROL_NO_IDENTITY)
        return SK_OK;
    ask_imds(e, doc);
    if (*doc == NULL && e->o->identity == ENROL_IDENTITY)
        return enrol_fail(e, SK_ENOENT,
                          "%s gives no identity document: this is no EC2 instance, its metadata service is switched "
                          "off, or (in a container) its hop limit is 1",
                          e->o->imds);
    return SK_OK;
}

/* --- the request --- */

static void host_name(char buf[HOST_MAX + 1])
{
    if (gethostname(buf, HOST_MAX) != 0 || buf[0] == '\0')
        snprintf(buf, HOST_MAX, "unnamed");
    buf[HOST_MAX] = '\0';
    for (char *p = buf; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL)
            *p = '-';
}

/* Without the token, and without its first brace. */
static char *rest_of_body(const struct enrolment *e, const char *csr, const char *doc)
{
    char host[HOST_MAX + 1];
    host_name(host);
    json_t *o = json_pack("{s:s,s:s,s:s}", "csr", csr, "host", host, "version", e->o->version);
    if (doc != NULL)
        (void)json_object_set_new(o, "identity", json_string(doc));
    if (e->o->tags != NULL)
        (void)json_object_set_new(o, "tags", json_loads(e->o->tags, 0, NULL));
    char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

/* {"token":"...",REST: the library of JSON keeps copies that cannot be wiped. */
static char *make_body(const struct enrolment *e, const char *csr, const char *doc)
{
    char *rest = rest_of_body(e, csr, doc);
    size_t cap = rest != NULL ? strlen(rest) + strlen(e->o->token) + 32 : 0;
    char *body = rest != NULL ? (char *)malloc(cap) : NULL;
    if (body != NULL)
        snprintf(body, cap, "{\"token\":\"%s\",%s", e->o->token, rest + 1);
    free(rest);
    return body;
}

static int explain_failure(struct enrolment *e, const struct fetch_response *r)
{
    if (r->result == FETCH_TLS && !e->has_ca)
        return enrol_fail(e, SK_EPERM,
                          "%s: %s; when its certificate is its own CA's, give --ca FILE or --ca-fingerprint SHA256 "
                          "(`sekisho-manager ca show` shows both)",
                          e->url, r->text);
    if (r->result == FETCH_TLS)
        return enrol_fail(e, SK_EPERM, "%s: %s; it does not fit the CA that was given", e->url, r->text);
    return enrol_fail(e, SK_EIO, "%s cannot be reached: %s", e->url, r->text);
}

static int explain_refusal(struct enrolment *e, const struct fetch_response *r)
{
    static const struct {
        const char *code, *text;
    } known[] = {
        {"token_unknown", "the manager does not know this token: it was typed wrongly, or is another manager's"},
        {"token_expired", "the token has expired: make a new one with `sekisho-manager token create`"},
        {"token_used_up", "the token has been used as often as it may be: make a new one with `sekisho-manager token "
                          "create --uses N`"},
        {"token_revoked", "the token has been revoked: make a new one with `sekisho-manager token create`"},
        {"identity_required", "the manager wants the instance's identity document: enrol on the EC2 instance itself, "
                              "with --identity"},
        {"identity_refused", "the manager does not accept this instance: its account, region or age is not allowed "
                             "(manager's configuration, enrol)"},
        {"instance_joined", "this instance has enrolled before: take it off at the manager first (`sekisho-manager "
                            "retire AGENT`)"},
    };
    char code[ANSWER_CODE_LEN];
    answer_error(r->body, r->body_len, code);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(code, known[i].code) == 0)
            return enrol_fail(e, SK_EPERM, "%s", known[i].text);
    if (r->status == 429 || r->status == 503)
        return enrol_fail(e, SK_EAGAIN, "the manager is busy (%d): try again in %lld s", r->status,
                          (long long)(r->retry_after > 0 ? r->retry_after : 10));
    return enrol_fail(e, SK_EPROTO, "%s answers %d%s%s: is that a manager of this version?", e->url, r->status,
                      code[0] != '\0' ? " " : "", code);
}

static int ask_manager(struct enrolment *e, const char *body, struct fetch_response *r)
{
    static const char *const headers[] = {"Content-Type: application/json"};
    char url[300], ca[ENROL_PATH + 16];
    snprintf(url, sizeof(url), "%s/v1/enroll", e->url);
    snprintf(ca, sizeof(ca), "%s/ca.pem", e->stage);
    const struct fetch_tls tls = {.ca_file = e->has_ca ? ca : NULL};
    const struct fetch_request q = {.method = "POST",
                                    .url = url,
                                    .headers = headers,
                                    .nheaders = 1,
                                    .body = body,
                                    .body_len = strlen(body),
                                    .tls = &tls,
                                    .timeout_ms = ENROL_MS};
    if (fetch_do(&q, r) != SK_OK)
        return explain_failure(e, r);
    return r->status == 201 ? SK_OK : explain_refusal(e, r);
}

/* --- the answer --- */

static int write_agent(struct enrolment *e, const struct answer_cert *a)
{
    json_t *o =
        json_pack("{s:s,s:s,s:I}", "manager", e->url, "agent", a->agent, "heartbeat_s", (json_int_t)a->heartbeat_s);
    char *text = o != NULL ? json_dumps(o, JSON_INDENT(2)) : NULL;
    int rc = text != NULL ? enrol_write(e, "agent.json", text) : enrol_fail(e, SK_ENOMEM, "out of memory");
    free(text);
    json_decref(o);
    return rc;
}

/* What the uplink will look at when it starts is looked at here. */
static int check_folder(struct enrolment *e, const char *agent)
{
    char why[256];
    struct certs *c = (struct certs *)calloc(1, sizeof(*c));
    int rc = c != NULL ? certs_open(e->stage, c, why, sizeof(why)) : SK_ENOMEM;
    if (rc != SK_OK || strcmp(c->now.agent, agent) != 0)
        rc = enrol_fail(e, SK_EPROTO, "%s has answered with a certificate that is not for this host's key", e->url);
    free(c);
    return rc;
}

static int take_answer(struct enrolment *e, const struct fetch_response *r, char *agent)
{
    struct answer_cert a;
    if (answer_cert(r->body, r->body_len, true, &a) != SK_OK)
        return enrol_fail(e, SK_EPROTO, "%s has answered with what makes no sense", e->url);
    int rc = enrol_write(e, "cert.pem", a.certificate);
    if (rc == SK_OK)
        rc = check_folder(e, a.agent);
    if (rc == SK_OK)
        rc = write_agent(e, &a);
    if (rc == SK_OK)
        rc = enrol_commit(e, a.keys);
    if (rc == SK_OK)
        snprintf(agent, 32, "%s", a.agent);
    answer_cert_free(&a);
    return rc;
}

static int make_key(struct enrolment *e, char **csr)
{
    char *key = NULL;
    *csr = NULL;
    int rc = pki_key_make(&key);
    if (rc == SK_OK)
        rc = pki_csr_make(key, "sekisho", csr);
    if (rc != SK_OK)
        rc = enrol_fail(e, rc, "a key cannot be made");
    else
        rc = enrol_write(e, "key.pem", key);
    pki_wipe(key);
    return rc;
}

static int join(struct enrolment *e, char *agent)
{
    struct fetch_response r = {.result = FETCH_FAILED};
    char *csr = NULL, *doc = NULL, *body = NULL;
    int rc = make_key(e, &csr);
    if (rc == SK_OK)
        rc = take_identity(e, &doc);
    if (rc == SK_OK)
        body = make_body(e, csr, doc);
    if (rc == SK_OK)
        rc = body != NULL ? ask_manager(e, body, &r) : enrol_fail(e, SK_ENOMEM, "out of memory");
    if (rc == SK_OK)
        rc = take_answer(e, &r, agent);
    if (body != NULL)
        OPENSSL_cleanse(body, strlen(body));
    free(body);
    free(csr);
    free(doc);
    fetch_response_free(&r);
    return rc;
}

int enrol(const struct enrol_options *o, char *agent, char *why, size_t cap)
{
    struct enrolment *e = (struct enrolment *)calloc(1, sizeof(*e));
    agent[0] = why[0] = '\0';
    if (e == NULL)
        return SK_ENOMEM;
    *e = (struct enrolment){.o = o, .why = why, .cap = cap};
    int rc = check_url(e);
    if (rc == SK_OK)
        rc = check_token(e);
    if (rc == SK_OK)
        rc = not_yet(e);
    if (rc == SK_OK && fetch_init() != SK_OK)
        rc = enrol_fail(e, SK_ENOMEM, "out of memory");
    if (rc == SK_OK)
        rc = enrol_stage(e);
    if (rc == SK_OK)
        rc = take_ca(e);
    if (rc == SK_OK)
        rc = join(e, agent);
    enrol_clear(e);
    fetch_thread_end();
    free(e);
    return rc;
}
