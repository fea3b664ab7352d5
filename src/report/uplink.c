#include "report/uplink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "uplink_priv.h"

#define AGENT_FILE_MAX 16384
#define STATE_EVERY    SK_NS_PER_S
#define RESOLVE_EVERY  (60 * SK_NS_PER_S)
#define BLOCKED_MS     20 /* a turn while the guard has no room for what is to be handed on */
#define HEARTBEAT_S    30
#define DRAIN_AWAY_MS  300 /* on the way out, for a manager that has been away */

/* --- opening --- */

static json_t *read_json(const char *path, int *rc)
{
    char buf[AGENT_FILE_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? read(fd, buf, sizeof(buf)) : -1;
    *rc = fd >= 0 ? SK_OK : errno == ENOENT ? SK_ENOENT : errno == EACCES ? SK_EPERM : SK_EIO;
    if (fd >= 0)
        close(fd);
    json_t *o = n > 0 ? json_loadb(buf, (size_t)n, 0, NULL) : NULL;
    if (o == NULL && *rc == SK_OK)
        *rc = SK_EINVAL;
    return o;
}

/* "https://HOST[:PORT]", without a slash at the end. */
static int take_url(struct uplink *u, const char *url)
{
    static const char scheme[] = "https://";
    if (url == NULL || strncmp(url, scheme, sizeof(scheme) - 1) != 0 || strlen(url) >= sizeof(u->url))
        return SK_EINVAL;
    const char *host = url + sizeof(scheme) - 1;
    size_t len = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":/");
    snprintf(u->host, sizeof(u->host), "%.*s", (int)(host[0] == '[' ? len - 1 : len), host + (host[0] == '['));
    size_t end = strlen(url);
    while (end > 0 && url[end - 1] == '/')
        end--;
    snprintf(u->url, sizeof(u->url), "%.*s", (int)end, url);
    return u->host[0] != '\0' ? SK_OK : SK_EINVAL;
}

static int read_agent(struct uplink *u, char *why, size_t cap)
{
    char path[CERTS_PATH + 16];
    int rc;
    snprintf(path, sizeof(path), "%s/agent.json", u->dir);
    json_t *o = read_json(path, &rc);
    const char *agent = json_string_value(json_object_get(o, "agent"));
    const json_int_t beat = json_integer_value(json_object_get(o, "heartbeat_s"));
    if (rc == SK_OK)
        rc = take_url(u, json_string_value(json_object_get(o, "manager")));
    if (rc == SK_OK && (agent == NULL || strcmp(agent, u->certs.now.agent) != 0))
        rc = SK_EINVAL;
    u->heartbeat = (beat > 0 && beat <= 86400 ? beat : HEARTBEAT_S) * SK_NS_PER_S;
    json_decref(o);
    if (rc == SK_ENOENT)
        snprintf(why, cap, "this host has not enrolled: run `sekisho enroll`");
    else if (rc != SK_OK)
        snprintf(why, cap, "%s does not fit cert.pem, or cannot be read: run `sekisho enroll --again`", path);
    return rc;
}

static int open_parts(struct uplink *u, char *why, size_t cap)
{
    int rc = certs_open(u->dir, &u->certs, why, cap);
    if (rc == SK_OK)
        rc = read_agent(u, why, cap);
    if (rc != SK_OK)
        return rc;
    snprintf(u->agent, sizeof(u->agent), "%s", u->certs.now.agent);
    snprintf(u->spool_path, sizeof(u->spool_path), "%s/spool.db", u->dir);
    if (uplink_spool_open(u) != SK_OK) /* blocks of the fleet are taken all the same */
        sk_log(SK_LOG_ERROR, "%s cannot be opened: the manager is told nothing until it can", u->spool_path);
    rc = fetch_init();
    if (rc == SK_OK)
        rc = uplink_connect(u);
    if (rc != SK_OK)
        snprintf(why, cap, "cannot begin: %s", sk_strerror(rc));
    return rc;
}

int uplink_open(const struct uplink_options *o, const struct uplink_sink *s, struct uplink **out, char *why, size_t cap)
{
    *out = NULL;
    why[0] = '\0';
    struct uplink *u = (struct uplink *)calloc(1, sizeof(*u));
    if (u == NULL)
        return SK_ENOMEM;
    u->opt = *o;
    u->sink = *s;
    snprintf(u->dir, sizeof(u->dir), "%s", o->dir);
    snprintf(u->version, sizeof(u->version), "%s", o->version);
    u->opt.dir = u->dir;
    u->opt.version = u->version;
    u->started = sk_now_mono();
    u->since = sk_now_wall();
    u->next_state = u->started + SK_NS_PER_S; /* there is something to tell by then */
    for (int k = 0; k < JOB_KINDS; k++) {
        u->job[k].u = u;
        u->job[k].kind = (enum uplink_kind)k;
    }
    int rc = strlen(o->dir) < sizeof(u->dir) - 32 ? open_parts(u, why, cap) : SK_EINVAL;
    if (rc == SK_OK)
        *out = u;
    else
        uplink_close(u);
    return rc;
}

void uplink_close(struct uplink *u)
{
    if (u == NULL)
        return;
    fetch_loop_free(u->loop);
    spool_close(u->spool);
    uplink_take_free(u);
    resolve_free(u->resolve);
    free(u);
}

/* --- state --- */

static void tell_addresses(const struct uplink *u, struct ipc_manager *m)
{
    static const struct sk_addr none;
    for (unsigned i = 0; i < u->found.n && m->naddr < IPC_MANAGER_ADDR; i++)
        m->addr[m->naddr++] = u->found.addr[i];
    if (sk_addr_eq(&u->peer, &none))
        return;
    for (unsigned i = 0; i < m->naddr; i++)
        if (sk_addr_eq(&m->addr[i], &u->peer))
            return;
    if (m->naddr == IPC_MANAGER_ADDR)
        m->naddr--; /* the one that is spoken with */
    m->addr[m->naddr++] = u->peer;
}

static void tell_state(struct uplink *u, int64_t now)
{
    if (!u->state_changed && now < u->next_state)
        return;
    u->state_changed = false;
    u->next_state = now + STATE_EVERY;
    struct spool_stats st = {0};
    if (u->spool != NULL)
        spool_stats(u->spool, &st);
    struct ipc_manager m = {.state = u->state,
                            .since = u->since,
                            .last_ok = u->last_ok,
                            .spooled = st.items,
                            .spooled_bytes = st.bytes,
                            .sent = u->sent,
                            .lost = u->lost + st.lost_events + st.lost_blocks,
                            .feed_seq = (uint64_t)u->feed_seq,
                            .cert_until = u->certs.now.not_after};
    snprintf(m.agent, sizeof(m.agent), "%s", u->agent);
    snprintf(m.url, sizeof(m.url), "%.*s", (int)sizeof(m.url) - 1, u->url);
    snprintf(m.text, sizeof(m.text), "%s", u->spool != NULL ? u->text : "the spool cannot be opened");
    tell_addresses(u, &m);
    u->sink.state(u->sink.arg, &m);
}

/* Whoever does not answer has the addresses that it had. */
static void follow_addresses(struct uplink *u, int64_t now)
{
    struct resolve_result r;
    if (u->resolve != NULL && resolve_get(u->resolve, &r)) {
        if (r.n > 0 && (r.n != u->found.n || memcmp(r.addr, u->found.addr, r.n * sizeof(r.addr[0])) != 0)) {
            u->found = r;
            u->state_changed = true;
        }
        resolve_free(u->resolve);
        u->resolve = NULL;
    }
    if (u->resolve == NULL && now >= u->next_resolve) {
        u->next_resolve = now + RESOLVE_EVERY;
        u->resolve = resolve_start(u->host);
    }
}

/* --- a turn --- */

static void start_jobs(struct uplink *u, int64_t now)
{
    uplink_tell_events(u, now); /* first: it finds out whether the manager is there again */
    uplink_tell_beat(u, now);
    uplink_renew(u, now);
    uplink_take_feed(u, now);
    uplink_take_bundles(u, now);
}

static void earlier(int64_t *at, int64_t when)
{
    if (when < *at)
        *at = when;
}

/* Until something is due. */
static int wait_ms(const struct uplink *u, int64_t now, int timeout_ms)
{
    int64_t at = now + (int64_t)timeout_ms * SK_NS_PER_MS;
    for (int k = 0; k < JOB_KINDS; k++)
        if (!u->job[k].active && u->job[k].next > now)
            earlier(&at, u->job[k].next);
    if (u->next > now)
        earlier(&at, u->next);
    if (u->send_at > now)
        earlier(&at, u->send_at);
    if (u->page.root != NULL || u->bundle[BUNDLE_RULES].root != NULL || u->bundle[BUNDLE_POLICY].root != NULL)
        earlier(&at, now + BLOCKED_MS * SK_NS_PER_MS);
    return (int)((at - now + SK_NS_PER_MS - 1) / SK_NS_PER_MS);
}

int uplink_run(struct uplink *u, struct pollfd *extra, unsigned n, int timeout_ms)
{
    int64_t now = sk_now_mono();
    if (u->reconnect && uplink_connect(u) != SK_OK)
        return SK_ENOMEM;
    uplink_spool_tick(u, now);
    uplink_hand_on(u);
    start_jobs(u, now);
    follow_addresses(u, now);
    tell_state(u, now);
    int rc = fetch_loop_run(u->loop, extra, n, wait_ms(u, now, timeout_ms));
    if (rc == SK_OK)
        start_jobs(u, sk_now_mono()); /* behind what has just been answered */
    return rc;
}

int uplink_drain(struct uplink *u, int timeout_ms)
{
    /* A manager that is away is tried once more, and not waited for: nobody watches meanwhile, and the spool stays. */
    unsigned last = u->fails > 0 ? u->fails + 1 : 2;
    if (u->fails > 0 && timeout_ms > DRAIN_AWAY_MS)
        timeout_ms = DRAIN_AWAY_MS;
    int64_t until = sk_now_mono() + (int64_t)timeout_ms * SK_NS_PER_MS;
    u->draining = true;
    if (u->state == IPC_MANAGER_REFUSED)
        return uplink_has_items(u) ? SK_EAGAIN : SK_OK;
    u->next = u->job[JOB_EVENTS].next = 0;
    if (u->job[JOB_FEED].active)
        fetch_cancel(u->loop, u->job[JOB_FEED].id);
    u->job[JOB_FEED].active = false;
    while (uplink_has_items(u)) {
        int64_t left = until - sk_now_mono();
        if (left <= 0 || u->fails >= last)
            return SK_EAGAIN;
        int rc = uplink_run(u, NULL, 0, (int)(left / SK_NS_PER_MS) + 1);
        if (rc != SK_OK)
            return rc;
    }
    return SK_OK;
}
