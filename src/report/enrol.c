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

/* --- enrolled before? --- */

/* Of agent.json: the instance that enrolled; "" when it was none, or that is not known. */
static void read_instance(const char *path, char buf[AWS_INSTANCE_LEN])
{
    json_t *o = json_load_file(path, 0, NULL);
    const char *s = json_string_value(json_object_get(o, "instance"));
    snprintf(buf, AWS_INSTANCE_LEN, "%s", s != NULL && strlen(s) < AWS_INSTANCE_LEN ? s : "");
    json_decref(o);
}

/* A disk that was made from another instance's, as images are, brings that one's identity with it. */
static bool was_another(const struct enrolment *e, const char *path)
{
    char then[AWS_INSTANCE_LEN];
    read_instance(path, then);
    return then[0] != '\0' && e->instance[0] != '\0' && strcmp(then, e->instance) != 0;
}

static int not_yet(struct enrolment *e)
{
    char path[ENROL_PATH], why[256];
    snprintf(path, sizeof(path), "%s/agent.json", e->o->dir);
    if (e->o->again || access(path, F_OK) != 0 || (e->o->if_needed && was_another(e, path)))
        return SK_OK;
    struct certs *c = (struct certs *)calloc(1, sizeof(*c));
    if (c == NULL)
        return enrol_fail(e, SK_ENOMEM, "out of memory");
    bool known = certs_open(e->o->dir, c, why, sizeof(why)) == SK_OK;
    snprintf(e->r->agent, sizeof(e->r->agent), "%s", known ? c->now.agent : "");
    free(c);
    return enrol_fail_as(e, ENROL_WAS_DONE, SK_EEXIST,
                         "this host has enrolled already%s%s; with --again it enrols once more, as another",
                         known ? " as " : "", e->r->agent);
}

/* --- the manager's certificate --- */

static int take_ca(struct enrolment *e)
{
    uint8_t sha256[32];
    char *pem = NULL;
    if (e->o->ca_file != NULL)
        return enrol_read_ca(e);
    if (e->o->ca_pem != NULL)
        return enrol_take_pem(e, "what was given for the CA", e->o->ca_pem);
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

/* Which instance this is, where there is one to be asked. */
static void find_instance(struct enrolment *e)
{
    char why[256];
    if (e->o->aws == NULL || e->o->identity == ENROL_NO_IDENTITY)
        return;
    if (aws_imds_instance(e->o->aws, e->instance, why, sizeof(why)) != SK_OK)
        e->instance[0] = '\0';
}

/* *doc is the caller's (free); NULL: there is none, and none is needed. */
static int take_identity(struct enrolment *e, char **doc)
{
    char why[256] = "";
    *doc = NULL;
    if (e->o->aws == NULL || e->o->identity == ENROL_NO_IDENTITY)
        return SK_OK;
    int rc = aws_imds(e->o->aws, "/latest/dynamic/instance-identity/rsa2048", doc, why, sizeof(why));
    e->imds_failed = rc == SK_EIO || rc == SK_EAGAIN;
    if (rc == SK_OK || e->o->identity != ENROL_IDENTITY)
        return SK_OK;
    return enrol_fail_as(
        e, e->imds_failed ? ENROL_AWAY : ENROL_FAILED, SK_ENOENT,
        "%s gives no identity document (%s): this is no EC2 instance, its metadata service is switched "
        "off, or (in a container) its hop limit is 1",
        aws_imds_url(e->o->aws), why);
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
        return enrol_fail_as(e, ENROL_UNTRUSTED, SK_EPERM,
                             "%s: %s; when its certificate is its own CA's, give --ca FILE or --ca-fingerprint SHA256 "
                             "(`sekisho-manager ca show` shows both)",
                             e->url, r->text);
    if (r->result == FETCH_TLS)
        return enrol_fail_as(e, ENROL_UNTRUSTED, SK_EPERM, "%s: %s; it does not fit the CA that was given", e->url,
                             r->text);
    return enrol_fail_as(e, ENROL_AWAY, SK_EIO, "%s cannot be reached: %s", e->url, r->text);
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
    if (strcmp(code, "identity_required") == 0 && e->imds_failed)
        return enrol_fail_as(e, ENROL_AWAY, SK_EAGAIN,
                             "the manager wants the instance's identity document, and %s does not answer",
                             aws_imds_url(e->o->aws));
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(code, known[i].code) == 0)
            return enrol_fail_as(e, ENROL_REFUSED, SK_EPERM, "%s", known[i].text);
    if (r->status == 429 || r->status == 503) {
        e->r->retry_after = r->retry_after > 0 ? r->retry_after : 10;
        return enrol_fail_as(e, ENROL_AWAY, SK_EAGAIN, "the manager is busy (%d): try again in %lld s", r->status,
                             (long long)e->r->retry_after);
    }
    if (r->status >= 500)
        return enrol_fail_as(e, ENROL_AWAY, SK_EAGAIN, "%s fails (%d): the manager, or a load balancer before it",
                             e->url, r->status);
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
    if (o != NULL && e->instance[0] != '\0')
        (void)json_object_set_new(o, "instance", json_string(e->instance));
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

static int take_answer(struct enrolment *e, const struct fetch_response *r)
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
        snprintf(e->r->agent, sizeof(e->r->agent), "%s", a.agent);
    answer_cert_free(&a);
    return rc;
}

/* Of the try before, or new. *csr is the caller's (free). */
static int make_key(struct enrolment *e, char **csr)
{
    struct enrol_memory none = {0}, *m = e->o->memory != NULL ? e->o->memory : &none;
    int rc = SK_OK;
    *csr = NULL;
    if (m->csr == NULL) {
        enrol_forget(m);
        rc = pki_key_make(&m->key);
        if (rc == SK_OK)
            rc = pki_csr_make(m->key, "sekisho", &m->csr);
    }
    *csr = rc == SK_OK ? strdup(m->csr) : NULL;
    if (*csr == NULL)
        rc = enrol_fail(e, rc != SK_OK ? rc : SK_ENOMEM, "a key cannot be made");
    else
        rc = enrol_write(e, "key.pem", m->key);
    enrol_forget(&none);
    return rc;
}

void enrol_forget(struct enrol_memory *m)
{
    pki_wipe(m->key);
    free(m->csr);
    *m = (struct enrol_memory){0};
}

static int join(struct enrolment *e)
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
        rc = take_answer(e, &r);
    if (body != NULL)
        OPENSSL_cleanse(body, strlen(body));
    free(body);
    free(csr);
    free(doc);
    fetch_response_free(&r);
    return rc;
}

static int prepare(struct enrolment *e)
{
    int rc = fetch_init() == SK_OK ? SK_OK : enrol_fail(e, SK_ENOMEM, "out of memory");
    if (rc == SK_OK)
        rc = check_url(e);
    if (rc != SK_OK)
        return rc;
    find_instance(e);
    return not_yet(e);
}

static int begin(const struct enrol_options *o, struct enrol_result *r, struct enrolment **out)
{
    *r = (struct enrol_result){.outcome = ENROL_FAILED};
    struct enrolment *e = *out = (struct enrolment *)calloc(1, sizeof(*e));
    if (e == NULL) {
        snprintf(r->why, sizeof(r->why), "out of memory");
        return SK_ENOMEM;
    }
    e->o = o;
    e->r = r;
    return prepare(e);
}

static void finish(struct enrolment *e)
{
    if (e != NULL)
        enrol_clear(e);
    fetch_thread_end();
    free(e);
}

void enrol_look(const struct enrol_options *o, struct enrol_result *r)
{
    struct enrolment *e;
    if (begin(o, r, &e) == SK_OK)
        r->outcome = ENROL_DONE;
    finish(e);
}

void enrol(const struct enrol_options *o, struct enrol_result *r)
{
    struct enrolment *e;
    int rc = begin(o, r, &e);
    if (rc == SK_OK)
        rc = check_token(e);
    if (rc == SK_OK)
        rc = enrol_stage(e);
    if (rc == SK_OK)
        rc = take_ca(e);
    if (rc == SK_OK)
        rc = join(e);
    if (rc == SK_OK)
        r->outcome = ENROL_DONE;
    finish(e);
}
