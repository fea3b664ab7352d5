/* What agents ask: enrolment, renewal, heartbeat, feed, bundles, entries, retirement. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include "api_priv.h"
#include "base/log.h"
#include "pki/bundle.h"

#define ANSWER_MAX (1u << 20)
#define AGAIN_MS   (60 * 60 * 1000) /* so long a request to enrol may come again */

enum api_code check_nothing(struct req *r)
{
    (void)r;
    return API_FINE;
}

enum api_code check_health(struct req *r)
{
    struct sk_strbuf b;
    if (!api_flag(&r->api->store_ok))
        return API_UNAVAILABLE;
    sk_strbuf_init(&b, 64);
    sk_strbuf_puts(&b, "{\"ok\":true}");
    answer_json(r, MHD_HTTP_OK, &b);
    return API_FINE;
}

/* --- may it? --- */

static int refuse_agent(struct api *a, struct req *r)
{
    struct store_agent g;
    int rc = store_agent_get(a->work.store, r->cert.agent, &g);
    if (rc != SK_OK && rc != SK_ENOENT)
        return SK_EIO;
    enum api_code c = rc == SK_ENOENT                  ? API_AGENT_UNKNOWN
                      : g.state == STORE_AGENT_REVOKED ? API_AGENT_REVOKED
                      : g.state == STORE_AGENT_RETIRED ? API_AGENT_RETIRED
                                                       : API_CERT_REPLACED;
    answer_code(r, c, NULL);
    return SK_EPERM;
}

int admit_agent(struct api *a, struct req *r)
{
    int rc = store_agent_check(a->work.store, r->cert.agent, r->cert.serial);
    if (rc == SK_EPERM || rc == SK_ENOENT)
        return refuse_agent(a, r);
    r->checked = sk_now_mono();
    return rc == SK_OK ? SK_OK : SK_EIO;
}

/* --- enrolment --- */

enum api_code check_enroll(struct req *r)
{
    const json_t *j = r->json;
    struct req_in *in = &r->in;
    if (!field_str(j, "token", true, SET_ANY, 128, &in->token) ||
        !field_str(j, "csr", true, SET_ANY, 16384, &in->csr) || !field_str(j, "host", true, SET_HOST, 253, &in->host) ||
        !field_str(j, "version", true, SET_VERSION, 63, &in->version) || !field_tags(j, "tags", in->tags) ||
        !field_str(j, "identity", false, SET_ANY, INSTANCE_DOC_MAX, &in->identity))
        return API_BAD_FIELD;
    pki_hash_text(in->token, strlen(in->token), in->token_hash);
    OPENSSL_cleanse((void *)(uintptr_t)in->token, strlen(in->token));
    in->token = NULL;
    return API_FINE;
}

static enum api_code judge_token(struct api *a, struct req *r, struct store_token *t, int *rc)
{
    int64_t now = now_ms();
    *rc = store_token_find(a->work.store, r->in.token_hash, t);
    if (*rc != SK_OK)
        return API_TOKEN_UNKNOWN;
    snprintf(r->who, sizeof(r->who), "%s", t->id);
    if (t->kind != STORE_TOKEN_ENROL)
        return API_TOKEN_UNKNOWN;
    if (t->revoked)
        return API_TOKEN_REVOKED;
    if (t->expires <= now)
        return API_TOKEN_EXPIRED;
    return t->uses_left == 0 ? API_TOKEN_USED_UP : API_FINE;
}

static enum api_code judge_identity(const struct api *a, struct req *r, struct store_agent *g, const char **why)
{
    struct instance_doc doc;
    const char *text = r->in.identity;
    if (text == NULL || a->o.instance_certs == NULL) /* with none to verify with, none is good enough */
        return a->o.instance_required ? API_IDENTITY_REQUIRED : API_FINE;
    if (instance_verify(a->o.instance_certs, &a->o.instance_policy, text, strlen(text), sk_now_wall(), &doc, why) !=
        SK_OK)
        return API_IDENTITY_REFUSED;
    snprintf(g->instance, sizeof(g->instance), "%s", doc.instance_id);
    snprintf(g->account, sizeof(g->account), "%s", doc.account);
    snprintf(g->region, sizeof(g->region), "%s", doc.region);
    return API_FINE;
}

/* The token's tags, and the host's own where they fit beside those. */
static void merge_tags(const char *token, const char *host, char *out)
{
    json_t *all = json_loads(token, 0, NULL), *own = json_loads(host, 0, NULL);
    const char *k;
    json_t *v;
    if (all == NULL)
        all = json_object();
    snprintf(out, STORE_TEXT_MAX, "%s", "{}");
    json_object_foreach(own, k, v)
    {
        if (json_object_get(all, k) != NULL)
            continue;
        (void)json_object_set(all, k, v);
        if (json_dumpb(all, NULL, 0, JSON_COMPACT) >= STORE_TEXT_MAX)
            (void)json_object_del(all, k);
    }
    size_t n = json_dumpb(all, out, STORE_TEXT_MAX - 1, JSON_COMPACT | JSON_SORT_KEYS);
    out[n < STORE_TEXT_MAX ? n : 0] = '\0';
    json_decref(all);
    json_decref(own);
}

static void put_trust(const struct api *a, struct sk_strbuf *b)
{
    out_str(b, "ca", pki_ca_pem(a->o.ca));
    out_open(b, "signing_keys", '[');
    for (unsigned i = 0; i < a->o.nsigning_keys; i++)
        out_base64(b, NULL, a->keys[i], PKI_ED25519_KEY);
    out_close(b, ']');
}

static void answer_enrolled(struct api *a, struct req *r, const struct store_agent *g, const char *pem)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, ANSWER_MAX);
    out_open(&b, NULL, '{');
    out_str(&b, "agent", g->id);
    out_str(&b, "certificate", pem);
    put_trust(a, &b);
    out_int(&b, "not_after_ms", g->cert_until);
    out_int(&b, "heartbeat_s", a->o.heartbeat_s);
    out_close(&b, '}');
    answer_json(r, MHD_HTTP_CREATED, &b);
}

static int audit_as(struct api *a, const char *agent, const char *what, const char *detail)
{
    char who[STORE_AGENT_LEN + 8];
    snprintf(who, sizeof(who), "agent:%s", agent);
    return store_audit(a->work.store, now_ms(), who, what, detail);
}

static int audit_enrolled(struct api *a, const struct store_agent *g)
{
    char who[STORE_AGENT_LEN + 8], detail[STORE_TEXT_MAX];
    snprintf(who, sizeof(who), "agent:%s", g->id);
    snprintf(detail, sizeof(detail), "token %s, host %.200s, address %s%s%s", g->token, g->host, g->address,
             g->instance[0] != '\0' ? ", instance " : "", g->instance);
    return store_audit(a->work.store, g->enrolled, who, "enrol", detail);
}

/* The agent first and the token's use behind it: what fails costs no use, and the caller undoes all of it. */
static int join(struct api *a, struct req *r, struct store_agent *g, const char *pem)
{
    struct store_token used;
    int rc = store_agent_add(a->work.store, g);
    if (rc == SK_EEXIST) {
        answer_code(r, API_INSTANCE_JOINED, NULL);
        return SK_EAGAIN;
    }
    if (rc == SK_OK)
        rc = store_token_use(a->work.store, r->in.token_hash, STORE_TOKEN_ENROL, g->enrolled, &used);
    if (rc == SK_EPERM || rc == SK_ENOENT) {
        answer_code(r, API_TOKEN_USED_UP, "by another, at the same time");
        return SK_EAGAIN;
    }
    if (rc == SK_OK)
        rc = audit_enrolled(a, g);
    if (rc != SK_OK)
        return SK_EIO;
    count_add(&a->counts.enrolled, 1);
    answer_enrolled(a, r, g, pem);
    return SK_OK;
}

static void describe(struct req *r, const struct store_token *t, struct store_agent *g)
{
    snprintf(g->host, sizeof(g->host), "%s", r->in.host);
    snprintf(g->version, sizeof(g->version), "%s", r->in.version);
    snprintf(g->token, sizeof(g->token), "%s", t->id);
    (void)sk_addr_format(&r->conn->addr, g->address);
    merge_tags(t->tags, r->in.tags, g->tags);
    strcpy(g->status, "{}");
    g->enrolled = g->seen = now_ms();
}

/* Signed before anything is written: a request that is no good costs nothing but time. */
static int sign(struct api *a, struct req *r, const char *agent, char **pem, struct pki_cert *cert)
{
    const char *why = NULL;
    int rc = pki_ca_sign(a->o.ca, r->in.csr, agent, sk_now_wall(), a->o.cert_lifetime, pem, cert, &why);
    if (rc == SK_OK)
        return SK_OK;
    if (rc == SK_EINVAL)
        answer_code(r, API_BAD_FIELD, why != NULL ? why : "certificate request");
    else
        answer_code(r, API_BUSY, "a certificate could not be signed");
    return SK_EPERM;
}

/* The same request once more: its answer did not arrive. It is answered with another certificate for the same key, and
 * costs no further use. SK_ENOENT: it is none of those. */
static int enroll_again(struct api *a, struct req *r, const struct store_token *t, const char *agent)
{
    struct store_agent g;
    struct pki_cert cert;
    char *pem = NULL;
    int rc = store_agent_get(a->work.store, agent, &g);
    if (rc != SK_OK)
        return rc;
    if (g.state != STORE_AGENT_ACTIVE || strcmp(g.token, t->id) != 0 || now_ms() - g.enrolled > AGAIN_MS)
        return SK_ENOENT;
    if (sign(a, r, g.id, &pem, &cert) != SK_OK)
        return SK_OK;
    g.cert_until = cert.not_after / SK_NS_PER_MS;
    rc = store_agent_renewed(a->work.store, g.id, cert.serial, g.cert_until);
    if (rc == SK_OK)
        rc = audit_as(a, g.id, "enrol.again", "");
    if (rc == SK_OK)
        answer_enrolled(a, r, &g, pem);
    free(pem);
    return rc == SK_OK ? SK_OK : SK_EIO;
}

/* An ID of its own request; when that was used for one that has left, one of chance. */
static int choose_id(struct api *a, const struct req *r, char *id)
{
    struct store_agent g;
    pki_agent_id_of(r->in.token_hash, r->in.csr, id);
    int rc = store_agent_get(a->work.store, id, &g);
    if (rc == SK_ENOENT)
        return SK_OK;
    return rc == SK_OK ? pki_agent_id(id) : rc;
}

int run_enroll(struct api *a, struct req *r)
{
    struct store_token t;
    struct store_agent g = {.state = STORE_AGENT_ACTIVE};
    struct pki_cert cert;
    const char *why = NULL;
    char *pem = NULL;
    int rc;
    enum api_code c = judge_token(a, r, &t, &rc);
    if (rc != SK_OK && rc != SK_ENOENT)
        return SK_EIO;
    if (c == API_FINE || c == API_TOKEN_USED_UP) {
        pki_agent_id_of(r->in.token_hash, r->in.csr, g.id);
        rc = enroll_again(a, r, &t, g.id);
        if (rc != SK_ENOENT)
            return rc;
    }
    if (c == API_FINE)
        c = judge_identity(a, r, &g, &why);
    if (c != API_FINE) {
        answer_code(r, c, why);
        return SK_OK;
    }
    describe(r, &t, &g);
    if (choose_id(a, r, g.id) != SK_OK)
        return SK_EIO;
    if (sign(a, r, g.id, &pem, &cert) != SK_OK)
        return SK_OK;
    memcpy(g.serial, cert.serial, sizeof(g.serial));
    g.cert_until = cert.not_after / SK_NS_PER_MS;
    rc = join(a, r, &g, pem);
    free(pem);
    return rc;
}

/* --- renewal --- */

enum api_code check_renew(struct req *r)
{
    return field_str(r->json, "csr", true, SET_ANY, 16384, &r->in.csr) ? API_FINE : API_BAD_FIELD;
}

static void answer_renewed(struct api *a, struct req *r, const char *pem, int64_t until)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, ANSWER_MAX);
    out_open(&b, NULL, '{');
    out_str(&b, "certificate", pem);
    out_int(&b, "not_after_ms", until);
    put_trust(a, &b);
    out_close(&b, '}');
    answer_json(r, MHD_HTTP_OK, &b);
}

static int audit_agent(struct api *a, const struct req *r, const char *what, const char *detail)
{
    return audit_as(a, r->cert.agent, what, detail);
}

int run_renew(struct api *a, struct req *r)
{
    struct pki_cert cert;
    char *pem = NULL, detail[64];
    if (sign(a, r, r->cert.agent, &pem, &cert) != SK_OK)
        return SK_OK;
    int64_t until = cert.not_after / SK_NS_PER_MS;
    snprintf(detail, sizeof(detail), "serial %s", cert.serial);
    int rc = store_agent_renewed(a->work.store, r->cert.agent, cert.serial, until);
    if (rc == SK_OK)
        rc = audit_agent(a, r, "renew", detail);
    if (rc == SK_OK) {
        answer_renewed(a, r, pem, until);
        count_add(&a->counts.renewed, 1);
    }
    free(pem);
    return rc == SK_OK ? SK_OK : SK_EIO;
}

/* --- heartbeat --- */

static bool status_of(const json_t *j, struct req_in *in)
{
    json_t *s = json_object_get(j, "status");
    const char *k;
    json_t *v;
    if (s != NULL && (!json_is_object(s) || json_object_size(s) > 40))
        return false;
    json_t *out = json_object();
    bool ok = out != NULL;
    json_object_foreach(s, k, v)
    {
        int64_t n = 0;
        ok = ok && text_fits(k, strlen(k), SET_WORD, 1, 24) && strchr(k, '-') == NULL && k[0] >= 'a' &&
             field_int(s, k, true, 0, API_JSON_INT_MAX, &n) && json_object_set_new(out, k, json_integer(n)) == 0;
    }
    static const char *const own[] = {"uptime_s", "blocks"};
    for (unsigned i = 0; i < 2; i++) {
        int64_t n = -1;
        ok = ok && field_int(j, own[i], false, 0, API_JSON_INT_MAX, &n);
        if (ok && n >= 0)
            (void)json_object_set_new(out, own[i], json_integer(n));
    }
    in->status = ok ? json_dumps(out, JSON_COMPACT) : NULL;
    json_decref(out);
    return in->status != NULL && strlen(in->status) < sizeof(((struct store_agent *)NULL)->status);
}

enum api_code check_heartbeat(struct req *r)
{
    const json_t *j = r->json;
    struct req_in *in = &r->in;
    bool ok = field_str(j, "version", true, SET_VERSION, 63, &in->version) &&
              field_int(j, "rules_version", false, 0, API_JSON_INT_MAX, &in->rules) &&
              field_int(j, "policy_version", false, 0, API_JSON_INT_MAX, &in->policy) && status_of(j, in);
    return ok ? API_FINE : API_BAD_FIELD;
}

int run_heartbeat(struct api *a, struct req *r)
{
    char address[SK_ADDR_STRLEN];
    struct sk_strbuf b;
    int64_t versions[2];
    int rc = store_agent_beat(a->work.store, r->cert.agent, now_ms(), sk_addr_format(&r->conn->addr, address),
                              r->in.version, r->in.status, r->in.rules, r->in.policy);
    if (rc != SK_OK)
        return SK_EIO;
    feed_versions(&a->feed, versions);
    sk_strbuf_init(&b, 512);
    out_open(&b, NULL, '{');
    out_int(&b, "time_ms", now_ms());
    out_int(&b, "rules_version", versions[FEED_RULES]);
    out_int(&b, "policy_version", versions[FEED_POLICY]);
    out_bool(&b, "renew", r->renew);
    out_int(&b, "heartbeat_s", a->o.heartbeat_s);
    out_close(&b, '}');
    answer_json(r, MHD_HTTP_OK, &b);
    return SK_OK;
}

/* --- feed --- */

enum api_code check_feed(struct req *r)
{
    struct req_in *in = &r->in;
    int64_t wait = 0;
    bool ok = param_str(r, "epoch", SET_EPOCH, STORE_SPOOL_LEN - 1, in->epoch, sizeof(in->epoch)) &&
              param_int(r, "after", 0, API_JSON_INT_MAX, &in->after) && param_int(r, "wait", 0, API_WAIT_MAX, &wait);
    r->until = sk_now_mono() + wait * SK_NS_PER_S;
    return ok ? API_FINE : API_BAD_PARAMETER;
}

int run_feed(struct api *a, struct req *r)
{
    (void)a;
    r->park = true;
    return SK_OK;
}

/* --- bundles --- */

struct bundle_out {
    struct body *body;
    int64_t version;
};

static void on_bundle(void *arg, const struct store_bundle *s)
{
    struct bundle_out *o = (struct bundle_out *)arg;
    struct sk_strbuf b;
    sk_strbuf_init(&b, (size_t)BUNDLE_MAX * 2);
    out_open(&b, NULL, '{');
    out_str(&b, "kind", s->kind);
    out_int(&b, "version", s->version);
    out_strn(&b, "payload", s->payload, s->len);
    out_base64(&b, "signature", s->sig, sizeof(s->sig));
    out_close(&b, '}');
    o->body = body_of(&b);
    o->version = s->version;
}

/* Made once for all agents, and again when there is a newer one. */
static int run_bundle(struct api *a, struct req *r, unsigned which, const char *kind)
{
    struct work *w = &a->work;
    int64_t latest;
    struct bundle_out o = {0};
    int rc = store_bundle_latest(w->store, kind, &latest);
    if (rc != SK_OK)
        return SK_EIO;
    if (latest == 0) {
        answer_code(r, API_NOT_FOUND, NULL);
        return SK_OK;
    }
    if (w->bundle[which] == NULL || w->bundle_version[which] != latest) {
        if (store_bundle_get(w->store, kind, 0, on_bundle, &o) != SK_OK)
            return SK_EIO;
        body_drop(w->bundle[which]);
        w->bundle[which] = o.body;
        w->bundle_version[which] = o.version;
    }
    answer_body(r, MHD_HTTP_OK, w->bundle[which] != NULL ? body_hold(w->bundle[which]) : NULL);
    return SK_OK;
}

int run_policy(struct api *a, struct req *r)
{
    return run_bundle(a, r, FEED_POLICY, "policy");
}

int run_rules(struct api *a, struct req *r)
{
    return run_bundle(a, r, FEED_RULES, "rules");
}

/* --- one entry --- */

enum api_code check_entry(struct req *r)
{
    bool given;
    return param_prefix(r, "target", &given, &r->in.target) && given ? API_FINE : API_BAD_PARAMETER;
}

static void answer_entry(struct api *a, struct req *r, const struct store_entry *e)
{
    struct sk_strbuf b;
    char *waf = a->o.waf.where != NULL ? a->o.waf.where(a->o.waf.ctx, &e->target) : NULL;
    sk_strbuf_init(&b, ANSWER_MAX);
    out_open(&b, NULL, '{');
    out_prefix(&b, "target", &e->target);
    out_int(&b, "expires_ms", e->expires);
    out_int(&b, "agents", e->agents);
    out_str(&b, "host", e->host);
    out_str(&b, "agent", e->agent);
    out_str(&b, "id", e->id);
    out_raw(&b, "waf", waf != NULL ? waf : "[]");
    out_close(&b, '}');
    free(waf);
    answer_json(r, MHD_HTTP_OK, &b);
}

int run_entry(struct api *a, struct req *r)
{
    struct store_entry e;
    int rc = store_entry_get(a->work.store, &r->in.target, now_ms(), &e);
    if (rc == SK_ENOENT) {
        answer_code(r, API_NOT_FOUND, NULL);
        return SK_OK;
    }
    if (rc != SK_OK)
        return SK_EIO;
    answer_entry(a, r, &e);
    return SK_OK;
}

/* --- retirement --- */

int run_retire(struct api *a, struct req *r)
{
    int rc = store_agent_set_state(a->work.store, r->cert.agent, STORE_AGENT_RETIRED, now_ms());
    if (rc == SK_OK)
        rc = audit_agent(a, r, "retire", "");
    if (rc != SK_OK)
        return SK_EIO;
    answer_empty(r);
    return SK_OK;
}
