#include "report/leave.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "uplink_priv.h"

#define RETIRE_MS 10000

static void SK_PRINTF(3, 4) end(struct leave_result *r, enum leave_outcome outcome, const char *fmt, ...)
{
    va_list ap;
    r->outcome = outcome;
    va_start(ap, fmt);
    vsnprintf(r->why, sizeof(r->why), fmt, ap);
    va_end(ap);
}

/* Half certain, half chance: 0.5 to 2 s, and never beyond the end. */
static void wait_a_little(unsigned n, int64_t until)
{
    int64_t most = (n < 3 ? (int64_t)n : 4) * SK_NS_PER_S / 2, left = until - sk_now_mono();
    int64_t wait = most / 2 + uplink_random(most / 2);
    if (wait > left)
        wait = left;
    if (wait > 0)
        (void)poll(NULL, 0, (int)(wait / SK_NS_PER_MS) + 1);
}

/* --- what waits --- */

/* Nobody is here who would take anything from the fleet. */
static int no_fleet(void *arg, const struct ipc_fleet *f)
{
    (void)arg;
    (void)f;
    return SK_EAGAIN;
}

static int no_end(void *arg, uint64_t seq)
{
    (void)arg;
    (void)seq;
    return SK_EAGAIN;
}

static int no_bundle(void *arg, const struct ipc_signed *s, const void *payload, size_t len)
{
    (void)arg;
    (void)s;
    (void)payload;
    (void)len;
    return SK_EAGAIN;
}

static void no_state(void *arg, const struct ipc_manager *m)
{
    (void)arg;
    (void)m;
}

static void no_answer(void *arg, const struct ipc_found *f)
{
    (void)arg;
    (void)f;
}

static uint64_t waiting(const struct uplink *u)
{
    struct spool_stats st = {0};
    if (u->spool != NULL)
        spool_stats(u->spool, &st);
    return st.items;
}

static void ship(struct uplink *u, const struct leave_options *o, struct leave_result *r)
{
    int rc = u->spool != NULL ? SK_EAGAIN : SK_EIO;
    for (unsigned n = 1; rc == SK_EAGAIN; n++) {
        int64_t left = o->until - sk_now_mono();
        rc = uplink_drain(u, (int)(left > 0 ? left / SK_NS_PER_MS : 0));
        if (rc != SK_EAGAIN || u->state == IPC_MANAGER_REFUSED || left <= 0)
            break;
        wait_a_little(n, o->until);
    }
    r->sent = u->sent;
    r->left = waiting(u);
    snprintf(r->agent, sizeof(r->agent), "%s", u->agent);
    if (rc == SK_OK)
        end(r, LEAVE_DONE, "%s", "");
    else if (u->state == IPC_MANAGER_REFUSED)
        end(r, LEAVE_REFUSED, "%s", u->text);
    else if (rc == SK_EAGAIN)
        end(r, LEAVE_LATE, "%s", u->text[0] != '\0' ? u->text : "the time was too short");
    else
        end(r, LEAVE_FAILED, "%s cannot be read: %s", u->spool_path, sk_strerror(rc));
}

void leave_ship(const struct leave_options *o, struct leave_result *r)
{
    static const struct uplink_sink nobody = {
        .fleet = no_fleet, .fleet_done = no_end, .bundle = no_bundle, .state = no_state, .found = no_answer};
    const struct uplink_options uo = {.dir = o->dir, .spool_size = o->spool_size, .version = o->version};
    struct uplink *u = NULL;
    char why[512];
    *r = (struct leave_result){.outcome = LEAVE_FAILED};
    int rc = uplink_open(&uo, &nobody, &u, why, sizeof(why));
    if (rc == SK_OK)
        ship(u, o, r);
    else
        end(r, rc == SK_ENOENT ? LEAVE_NOT_ENROLLED : LEAVE_FAILED, "%s", why);
    uplink_close(u);
}

/* --- the manager's list --- */

/* "https://HOST[:PORT]" of agent.json. */
static int read_url(const char *dir, char *url, size_t cap)
{
    char path[CERTS_PATH + 16];
    snprintf(path, sizeof(path), "%s/agent.json", dir);
    json_t *o = json_load_file(path, 0, NULL);
    const char *s = json_string_value(json_object_get(o, "manager"));
    size_t n = s != NULL ? strlen(s) : 0;
    while (n > 0 && s[n - 1] == '/')
        n--;
    bool good = n > 0 && n < cap && strncmp(s, "https://", 8) == 0;
    if (good)
        snprintf(url, cap, "%.*s", (int)n, s);
    json_decref(o);
    return good ? SK_OK : SK_EINVAL;
}

/* True: there is no use in asking again. */
static bool take(const struct fetch_response *a, struct leave_result *r)
{
    char code[ANSWER_CODE_LEN];
    if (a->result != FETCH_ANSWERED) {
        end(r, LEAVE_LATE, "%s", a->text[0] != '\0' ? a->text : "no answer");
        return a->result == FETCH_FAILED;
    }
    if (a->status == 204 || a->status == 200) {
        end(r, LEAVE_DONE, "%s", "");
        return true;
    }
    answer_error(a->body, a->body_len, code);
    if (strcmp(code, "agent_retired") == 0)
        end(r, LEAVE_WAS_DONE, "%s", "");
    else if (a->status == 429 || a->status >= 500)
        end(r, LEAVE_LATE, "the manager is busy or fails (%d)", a->status);
    else
        end(r, LEAVE_REFUSED, "refused: %s (%d)", code[0] != '\0' ? code : "no reason given", a->status);
    return r->outcome != LEAVE_LATE;
}

static bool ask_once(const char *url, const struct fetch_tls *tls, int64_t left, struct leave_result *r)
{
    static const char *const headers[] = {"Content-Type: application/json"};
    int64_t ms = left / SK_NS_PER_MS;
    const struct fetch_request q = {.method = "POST",
                                    .url = url,
                                    .headers = headers,
                                    .nheaders = 1,
                                    .body = "{}",
                                    .body_len = 2,
                                    .tls = tls,
                                    .timeout_ms = (int)(ms < 1000        ? 1000
                                                        : ms < RETIRE_MS ? ms
                                                                         : RETIRE_MS)};
    struct fetch_response a;
    (void)!fetch_do(&q, &a);
    bool over = take(&a, r);
    fetch_response_free(&a);
    return over;
}

static void retire(const struct leave_options *o, const struct certs *c, struct leave_result *r)
{
    char url[256], path[300];
    snprintf(r->agent, sizeof(r->agent), "%s", c->now.agent);
    if (fetch_init() != SK_OK || read_url(o->dir, url, sizeof(url)) != SK_OK) {
        end(r, LEAVE_FAILED, "%s/agent.json does not name the manager", o->dir);
        return;
    }
    snprintf(path, sizeof(path), "%s/v1/retire", url);
    for (unsigned n = 1; !ask_once(path, &c->tls, o->until - sk_now_mono(), r) && sk_now_mono() < o->until; n++)
        wait_a_little(n, o->until);
    fetch_thread_end();
}

void leave_retire(const struct leave_options *o, struct leave_result *r)
{
    char why[512];
    *r = (struct leave_result){.outcome = LEAVE_FAILED, .why = "out of memory"};
    struct certs *c = (struct certs *)calloc(1, sizeof(*c));
    int rc = c != NULL ? certs_open(o->dir, c, why, sizeof(why)) : SK_ENOMEM;
    if (rc == SK_OK)
        retire(o, c, r);
    else if (c != NULL)
        end(r, rc == SK_ENOENT ? LEAVE_NOT_ENROLLED : LEAVE_FAILED, "%s", why);
    free(c);
}
