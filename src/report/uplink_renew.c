/* A new certificate, from two thirds of the old one's life on. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "uplink_priv.h"

#define RENEW_MS    30000
#define RETRY_FIRST (60 * SK_NS_PER_S)
#define RETRY_MAX   (3600 * SK_NS_PER_S)

static bool due(const struct uplink *u)
{
    const struct pki_cert *c = &u->certs.now;
    return u->renew_wanted || sk_now_wall() >= c->not_before + (c->not_after - c->not_before) / 3 * 2;
}

/* Longer than other jobs wait: there are days left. */
static void failed(struct uplink *u, const char *what, int status)
{
    struct uplink_job *j = &u->job[JOB_RENEW];
    unsigned shift = j->fails > 6 ? 6 : j->fails;
    int64_t wait = RETRY_FIRST << shift;
    if (j->fails == 0)
        sk_log(SK_LOG_WARN, "the certificate for the manager cannot be renewed: %s (%d)", what, status);
    uplink_job_failed(j, -1, "renewal: %s (%d)", what, status);
    j->next = sk_now_mono() + uplink_random(wait < RETRY_MAX ? wait : RETRY_MAX);
}

bool uplink_expired(const struct uplink *u)
{
    return sk_now_wall() >= u->certs.now.not_after;
}

void uplink_renew_refused(struct uplink *u, const char *code, int status)
{
    failed(u, code[0] != '\0' ? code : "refused", status);
}

void uplink_renew(struct uplink *u, int64_t now)
{
    char *csr = NULL;
    if (u->draining || !due(u) || !uplink_may_start(u, JOB_RENEW, now))
        return;
    json_t *o = certs_request(&u->certs, &csr) == SK_OK ? json_pack("{s:s}", "csr", csr) : NULL;
    char *body = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    if (body != NULL)
        uplink_start(&u->job[JOB_RENEW], "POST", "/v1/renew", body, strlen(body), RENEW_MS, 0);
    else
        failed(u, "a new key cannot be written", 0);
    json_decref(o);
    free(body);
    free(csr);
}

void uplink_on_renew(struct uplink *u, const struct fetch_response *r)
{
    struct answer_cert a;
    char code[ANSWER_CODE_LEN];
    if (r->status != 200) {
        answer_error(r->body, r->body_len, code);
        failed(u, code[0] != '\0' ? code : "refused", r->status);
        return;
    }
    int rc = answer_cert(r->body, r->body_len, false, &a);
    if (rc == SK_OK) {
        rc = certs_take(&u->certs, a.certificate, a.ca);
        answer_cert_free(&a);
    }
    if (rc != SK_OK) {
        failed(u, rc == SK_EPROTO ? "the answer makes no sense" : "the certificate cannot be written", r->status);
        return;
    }
    sk_log(SK_LOG_INFO, "the certificate for the manager has been renewed");
    u->renew_wanted = false;
    u->reconnect = u->state_changed = true;
    u->job[JOB_RENEW].next = sk_now_mono() + RETRY_FIRST;
}
