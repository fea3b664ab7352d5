/* Requests to the manager, what became of them, and when to try again. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include "base/escape.h"
#include "base/log.h"
#include "uplink_priv.h"

#define CONNECT_MS 10000
#define SHIFT_MAX  10

int64_t uplink_random(int64_t max)
{
    uint64_t r = 0;
    (void)!getrandom(&r, sizeof(r), 0);
    return max > 0 ? (int64_t)(r % ((uint64_t)max + 1)) : 0;
}

/* Full jitter: all hosts of a fleet come back at different times. */
static int64_t backoff(unsigned fails)
{
    unsigned shift = fails > SHIFT_MAX ? SHIFT_MAX : fails;
    int64_t max = UPLINK_BACKOFF_MIN << shift;
    return uplink_random(max < UPLINK_BACKOFF_MAX ? max : UPLINK_BACKOFF_MAX);
}

static int64_t wait_after(unsigned fails, int64_t retry_after_s)
{
    int64_t wait = backoff(fails);
    if (retry_after_s < 0)
        return wait;
    int64_t asked = retry_after_s > UPLINK_WAIT_MAX / SK_NS_PER_S ? UPLINK_WAIT_MAX : retry_after_s * SK_NS_PER_S;
    return asked + wait / 4; /* not all of them at once */
}

static void set_state(struct uplink *u, enum ipc_manager_state state)
{
    if (state == u->state)
        return;
    u->state = state;
    u->since = sk_now_wall();
    u->state_changed = true;
}

static void say_failure(struct uplink *u, const char *fmt, va_list ap)
{
    char raw[IPC_TEXT_MAX];
    vsnprintf(raw, sizeof(raw), fmt, ap);
    sk_escape(u->text, sizeof(u->text), sk_span_str(raw));
}

/* --- failures: of the connection, of one job --- */

static void SK_PRINTF(4, 5)
    connection_failed(struct uplink *u, bool refused, int64_t retry_after_s, const char *fmt, ...)
{
    va_list ap;
    int64_t now = sk_now_mono();
    va_start(ap, fmt);
    say_failure(u, fmt, ap);
    va_end(ap);
    u->probing = false;
    if (refused) {
        u->next = now + UPLINK_REFUSED - uplink_random(UPLINK_REFUSED / 10);
        u->fails = 1;
    } else {
        u->next = now + wait_after(u->fails, retry_after_s);
        u->fails++;
    }
    if (u->job[JOB_BEAT].next > u->next) /* a host with nothing to tell would find out by its next heartbeat only */
        u->job[JOB_BEAT].next = u->next;
    set_state(u, refused ? IPC_MANAGER_REFUSED : IPC_MANAGER_TRYING);
}

void uplink_job_failed(struct uplink_job *j, int64_t retry_after_s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say_failure(j->u, fmt, ap);
    va_end(ap);
    j->next = sk_now_mono() + SK_NS_PER_S / 2 + wait_after(j->fails, retry_after_s);
    j->fails++;
}

static void connection_works(struct uplink *u, const struct fetch_response *r)
{
    struct sk_addr peer;
    u->fails = 0;
    u->next = 0;
    u->probing = false;
    u->last_ok = sk_now_wall();
    u->text[0] = '\0';
    if (sk_addr_parse(r->peer, strlen(r->peer), &peer) == SK_OK && !sk_addr_eq(&peer, &u->peer)) {
        u->peer = peer;
        u->state_changed = true;
    }
    set_state(u, IPC_MANAGER_UP);
}

void uplink_cancel_all(struct uplink *u)
{
    for (int k = 0; k < JOB_KINDS; k++) {
        if (u->job[k].active)
            fetch_cancel(u->loop, u->job[k].id);
        u->job[k].active = false;
    }
    u->probing = false;
}

/* --- answers --- */

static uplink_answer_fn *const answers[JOB_KINDS] = {
    [JOB_EVENTS] = uplink_on_events, [JOB_BEAT] = uplink_on_beat,     [JOB_FEED] = uplink_on_feed,
    [JOB_RENEW] = uplink_on_renew,   [JOB_POLICY] = uplink_on_policy, [JOB_RULES] = uplink_on_rules,
};

static void refused(struct uplink_job *j, const struct fetch_response *r)
{
    struct uplink *u = j->u;
    char code[ANSWER_CODE_LEN];
    answer_error(r->body, r->body_len, code);
    if (j->kind == JOB_RENEW)
        uplink_renew_refused(u, code, r->status);
    if (j->kind == JOB_RENEW && !uplink_expired(u)) /* the old one may be good for something */
        return;
    uplink_cancel_all(u);
    if (u->state != IPC_MANAGER_REFUSED)
        sk_log(SK_LOG_ERROR, "the manager refuses this host: %s (%d)", code[0] != '\0' ? code : "no reason given",
               r->status);
    connection_failed(u, true, -1, "refused: %s (%d)%s", code[0] != '\0' ? code : "no reason given", r->status,
                      strcmp(code, "agent_unknown") == 0 || strcmp(code, "certificate_expired") == 0
                          ? "; run `sekisho enroll --again`"
                          : "");
}

static void on_answer(void *arg, const struct fetch_response *r)
{
    struct uplink_job *j = (struct uplink_job *)arg;
    struct uplink *u = j->u;
    j->active = false;
    if (r->result != FETCH_ANSWERED) { /* the others are not better off, and would wait for minutes */
        uplink_cancel_all(u);
        connection_failed(u, false, -1, "%s", r->text[0] != '\0' ? r->text : "no answer");
        return;
    }
    if (r->status == 429 || r->status == 503) {
        connection_failed(u, false, r->retry_after, "the manager asks to wait (%d)", r->status);
        return;
    }
    if (r->status == 401 || r->status == 403) {
        refused(j, r);
        return;
    }
    if (r->status >= 500) {
        u->probing = false;
        uplink_job_failed(j, r->retry_after, "the manager failed (%d)", r->status);
        return;
    }
    connection_works(u, r);
    unsigned fails = j->fails;
    answers[j->kind](u, r);
    if (j->fails == fails)
        j->fails = 0;
}

/* --- requests --- */

bool uplink_may_start(const struct uplink *u, enum uplink_kind k, int64_t now)
{
    const struct uplink_job *j = &u->job[k];
    if (j->active || now < j->next || now < u->next || u->probing || u->reconnect)
        return false;
    if (uplink_expired(u))
        return k == JOB_RENEW;
    return u->fails == 0 || k == JOB_EVENTS || k == JOB_BEAT; /* short ones find out */
}

static void make_request(const struct uplink *u, struct fetch_request *q, char *url, size_t cap, const char *path)
{
    static const char *const headers[] = {"Content-Type: application/json"};
    snprintf(url, cap, "%s%s", u->url, path);
    q->url = url;
    q->headers = headers;
    q->nheaders = q->body != NULL;
    q->tls = &u->certs.tls;
    q->connect_timeout_ms = CONNECT_MS;
}

void uplink_start(struct uplink_job *j, const char *method, const char *path, const void *body, size_t len,
                  int timeout_ms, size_t response_max)
{
    struct uplink *u = j->u;
    char url[1024];
    struct fetch_request q = {
        .method = method, .body = body, .body_len = len, .timeout_ms = timeout_ms, .response_max = response_max};
    make_request(u, &q, url, sizeof(url), path);
    if (fetch_start(u->loop, &q, on_answer, j, &j->id) != SK_OK) {
        uplink_job_failed(j, -1, "no memory for a request");
        return;
    }
    j->active = true;
    u->probing = u->fails > 0;
}

int uplink_ask(struct uplink *u, const char *path, fetch_fn *fn, void *arg, int timeout_ms, uint64_t *id)
{
    char url[1024];
    struct fetch_request q = {.method = "GET", .timeout_ms = timeout_ms};
    make_request(u, &q, url, sizeof(url), path);
    return fetch_start(u->loop, &q, fn, arg, id);
}

int uplink_connect(struct uplink *u)
{
    struct fetch_loop *loop;
    int rc = fetch_loop_create(&loop);
    if (rc != SK_OK)
        return rc;
    if (u->loop != NULL)
        uplink_cancel_all(u);
    fetch_loop_free(u->loop);
    u->loop = loop;
    for (int i = 0; i < UPLINK_LOOK_UPS; i++)
        u->look[i].active = false;
    u->reconnect = false;
    return SK_OK;
}
