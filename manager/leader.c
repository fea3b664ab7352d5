#include "leader.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "fetch/fetch.h"
#include "world.h"

#define LEAD_EVERY    SK_NS_PER_S
#define TIDY_EVERY    (60 * SK_NS_PER_S)
#define FOLLOW_EVERY  SK_NS_PER_S
#define STATUS_EVERY  (10 * SK_NS_PER_S) /* when nothing changes */
#define STATUS_SOONER SK_NS_PER_S        /* when something did */
#define PRUNE_ROWS    200                /* at once: others wait for the database meanwhile */
#define PRUNE_ROUNDS  10                 /* of them, then the rest of a second for others: more than a fleet brings */
#define PRUNE_GAP_MS  2
#define POLL_MS       100 /* of a store that wakes nobody */
#define BEAT          "leader.beat"

struct leader {
    const struct settings *settings;
    const char *where, *name;
    pthread_t thread;
    int stop_fd;
    struct store *store;
    atomic_bool leads;
    bool complained; /* of the database: once until it is well again */
    int64_t lead_at, tidy_at, step_at, follow_at, status_at;

    struct aws *aws; /* NULL: no AWS WAF */
    struct waf_options options;
    struct world world;
    struct waf *waf; /* while it leads */
    uint64_t seen;   /* calls, as they were in the last status */

    pthread_mutex_t lock; /* of status */
    char *status;
};

/* ---- retention ---- */

static int64_t ms(int64_t ns)
{
    return ns / SK_NS_PER_MS;
}

/* Since when there has been a manager without a break; keeps its word that there is one. */
static int up_since(struct leader *l, int64_t now_ms, int64_t *since)
{
    char *text = NULL, line[64];
    int64_t last = 0;
    *since = now_ms;
    int rc = store_memo_get(l->store, BEAT, &text);
    if (rc == SK_OK && (sscanf(text, "%" SCNd64 " %" SCNd64, since, &last) != 2 || now_ms - last > LEADER_BREAK))
        *since = now_ms;
    free(text);
    if (rc != SK_OK && rc != SK_ENOENT)
        return rc;
    snprintf(line, sizeof(line), "%" PRId64 " %" PRId64, *since, now_ms);
    return store_memo_set(l->store, BEAT, line);
}

static int retire(struct leader *l, int64_t now_ms)
{
    int64_t after = ms(l->settings->agents.retire_after), since;
    char detail[64];
    unsigned n = 0;
    int rc = up_since(l, now_ms, &since);
    if (rc != SK_OK || after == 0 || now_ms - since < after)
        return rc;
    rc = store_agents_retire(l->store, now_ms - after, now_ms, &n);
    if (rc != SK_OK || n == 0)
        return rc;
    snprintf(detail, sizeof(detail), "%u silent for too long", n);
    sk_log(SK_LOG_INFO, "agents retired: %s", detail);
    return store_audit(l->store, now_ms, "manager", "agents.retire", detail);
}

/* *more: there is more of it; in a second. */
static int prune(struct leader *l, int64_t now_ms, bool *more)
{
    const struct settings *s = l->settings;
    struct store_keep k = {.events = ms(s->keep.events),
                           .blocks = ms(s->keep.blocks),
                           .audit = ms(s->keep.audit),
                           .agents = ms(s->keep.agents),
                           .events_most = s->keep.events_most};
    int rc = SK_OK;
    *more = true;
    for (unsigned i = 0; rc == SK_OK && *more && i < PRUNE_ROUNDS; i++) {
        if (i > 0)
            (void)poll(NULL, 0, PRUNE_GAP_MS);
        rc = store_prune(l->store, &k, now_ms, PRUNE_ROWS, more);
    }
    return rc;
}

/* Often enough to be in time for a short time to retirement. */
static int64_t tidy_every(const struct leader *l)
{
    int64_t after = l->settings->agents.retire_after / 4;
    return after > 0 && after < TIDY_EVERY ? after : TIDY_EVERY;
}

static void tidy(struct leader *l, int64_t now)
{
    bool more = false;
    int rc = retire(l, ms(now));
    if (rc == SK_OK)
        rc = prune(l, ms(now), &more);
    l->tidy_at = more ? now - tidy_every(l) + SK_NS_PER_S : now;
    if (rc != SK_OK && !l->complained)
        sk_log(SK_LOG_ERROR, "the database failed: %s", store_error(l->store));
    l->complained = rc != SK_OK;
}

/* ---- AWS WAF ---- */

static uint64_t calls(const struct waf *w)
{
    const struct waf_stats *t = waf_stats(w);
    return t->writes + t->reads + t->conflicts + t->throttled + t->failures + t->evicted + waf_converged(w);
}

/* For the API at once, for `waf status` by way of the store. */
static void publish(struct leader *l, int64_t now)
{
    char *json;
    if (world_status(l->waf, &l->options, l->name, now, &json) != SK_OK)
        return;
    if (store_memo_set(l->store, "waf.status", json) != SK_OK)
        sk_log(SK_LOG_ERROR, "the state of AWS WAF cannot be kept: %s", store_error(l->store));
    pthread_mutex_lock(&l->lock);
    free(l->status);
    l->status = json;
    pthread_mutex_unlock(&l->lock);
    l->status_at = now;
    l->seen = calls(l->waf);
}

static void waf_work(struct leader *l, int64_t now)
{
    if (l->waf == NULL && world_waf(&l->world, &l->waf) != SK_OK) {
        sk_log(SK_LOG_ERROR, "AWS WAF: out of memory");
        return;
    }
    if (store_changed(l->store) || now >= l->step_at)
        waf_step(l->waf, now, &l->step_at);
    int64_t since = sk_now_wall() - l->status_at;
    if (since >= STATUS_EVERY || (since >= STATUS_SOONER && l->seen != calls(l->waf)))
        publish(l, sk_now_wall());
}

/* Not the leader: the writer's memory of the sets would be old when we lead again. */
static void follow(struct leader *l, int64_t now)
{
    if (l->waf != NULL) {
        waf_free(l->waf);
        l->waf = NULL;
        l->step_at = 0;
    }
    if (l->aws == NULL || now - l->follow_at < FOLLOW_EVERY)
        return;
    l->follow_at = now;
    world_copy_owned(&l->world);
    char *json;
    if (store_memo_get(l->store, "waf.status", &json) != SK_OK)
        return;
    pthread_mutex_lock(&l->lock);
    free(l->status);
    l->status = json;
    pthread_mutex_unlock(&l->lock);
}

static void ask_for_lead(struct leader *l, int64_t now)
{
    bool before = atomic_load(&l->leads);
    if (before && now - l->lead_at < LEAD_EVERY)
        return;
    l->lead_at = now;
    bool leads = store_lead(l->store) == SK_OK;
    if (leads != before)
        sk_log(SK_LOG_INFO, leads ? "this manager leads" : "another manager leads");
    atomic_store(&l->leads, leads);
    l->world.leads = leads;
}

/* The store's word of a change is waited for by the writer alone, which takes it: else it would end each wait at once.
 */
static bool wait_for(const struct leader *l, int64_t until)
{
    struct pollfd p[2] = {{.fd = l->stop_fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    int64_t left = (until - sk_now_wall()) / SK_NS_PER_MS;
    int fd = l->store != NULL ? store_changed_fd(l->store) : -1;
    if (l->waf != NULL)
        p[1].fd = fd;
    int64_t most = fd < 0 && l->aws != NULL && l->store != NULL ? POLL_MS : 1000;
    left = left > most ? most : left < 1 ? 1 : left;
    return poll(p, 2, (int)left) < 0 || (p[0].revents & POLLIN) == 0;
}

static bool connect_store(struct leader *l)
{
    char why[256];
    if (l->store != NULL)
        return true;
    if (store_open(l->where, &l->store, why, sizeof(why)) != SK_OK) {
        sk_log(SK_LOG_ERROR, "the database does not open: %s", why);
        return false;
    }
    l->world.store = l->store;
    return true;
}

static void *loop(void *arg)
{
    struct leader *l = arg;
    do {
        int64_t now = sk_now_wall();
        if (!connect_store(l))
            continue;
        ask_for_lead(l, now);
        if (!atomic_load(&l->leads))
            follow(l, now);
        else if (l->aws != NULL)
            waf_work(l, now);
        if (atomic_load(&l->leads) && now - l->tidy_at >= tidy_every(l))
            tidy(l, now);
    } while (wait_for(l, l->waf != NULL ? l->step_at : sk_now_wall() + SK_NS_PER_S));
    fetch_thread_end();
    return NULL;
}

/* ---- life ---- */

static char *api_status_text(void *arg)
{
    struct leader *l = arg;
    pthread_mutex_lock(&l->lock);
    char *copy = l->status != NULL ? strdup(l->status) : NULL;
    pthread_mutex_unlock(&l->lock);
    return copy;
}

static char *api_where(void *arg, const struct sk_prefix *target)
{
    return world_where(&((struct leader *)arg)->world, target);
}

struct api_waf leader_waf(struct leader *l)
{
    if (l->aws == NULL)
        return (struct api_waf){.ctx = NULL};
    return (struct api_waf){.ctx = l, .where = api_where, .status = api_status_text};
}

bool leader_leads(const struct leader *l)
{
    return atomic_load(&l->leads);
}

static int prepare(struct leader *l, char *why, size_t cap)
{
    if (l->aws != NULL) {
        int rc = world_options(l->settings, l->aws, &l->options, why, cap);
        if (rc != SK_OK)
            return rc;
    }
    l->stop_fd = eventfd(0, EFD_CLOEXEC);
    return l->stop_fd >= 0 ? world_open(&l->world, NULL, l->aws, &l->options) : SK_EIO;
}

int leader_start(const struct settings *s, const char *where, const char *name, struct aws *aws, struct leader **out,
                 char *why, size_t cap)
{
    struct leader *l = calloc(1, sizeof(*l));
    *out = NULL;
    if (l == NULL)
        return SK_ENOMEM;
    l->settings = s;
    l->where = where;
    l->name = name;
    l->aws = aws;
    l->stop_fd = -1;
    pthread_mutex_init(&l->lock, NULL);
    int rc = prepare(l, why, cap);
    if (rc == SK_OK && pthread_create(&l->thread, NULL, loop, l) == 0) {
        *out = l;
        return SK_OK;
    }
    if (l->stop_fd >= 0)
        close(l->stop_fd);
    world_close(&l->world);
    world_options_free(&l->options);
    pthread_mutex_destroy(&l->lock);
    free(l);
    return rc != SK_OK ? rc : SK_EIO;
}

void leader_stop(struct leader *l)
{
    uint64_t one = 1;
    if (l == NULL)
        return;
    if (write(l->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
        pthread_join(l->thread, NULL);
    if (l->waf != NULL)
        waf_free(l->waf);
    store_close(l->store);
    close(l->stop_fd);
    world_close(&l->world);
    world_options_free(&l->options);
    pthread_mutex_destroy(&l->lock);
    free(l->status);
    free(l);
}
