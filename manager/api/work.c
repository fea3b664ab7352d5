/*
 * The store's thread: whatever waits goes into one transaction, and is answered behind its commit. What it will ask is
 * asked at once, before it: the database may be far. What fails together is done once more one by one, so that one
 * request cannot spoil others'.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "api_priv.h"
#include "base/log.h"

#define TICK_MS    100  /* between looks at the store for others' changes */
#define REFRESH_MS 20   /* news that others, or heartbeats, may have brought: at most so often */
#define PROBE_MS   1000 /* the store is asked something at least so often: healthz */
#define NEWS_PAGE  4096

bool work_full(struct api *a)
{
    pthread_mutex_lock(&a->work.lock);
    bool full = a->work.n >= API_QUEUE_MAX;
    pthread_mutex_unlock(&a->work.lock);
    return full;
}

bool work_put(struct api *a, struct req *r)
{
    struct work *w = &a->work;
    r->next = NULL;
    pthread_mutex_lock(&w->lock);
    bool first = w->head == NULL;
    *w->tail = r;
    w->tail = &r->next;
    w->n++;
    pthread_mutex_unlock(&w->lock);
    if (first)
        (void)!write(w->wake, &(uint64_t){1}, sizeof(uint64_t));
    return true;
}

static unsigned take(struct work *w, struct req **list)
{
    unsigned n = 0;
    pthread_mutex_lock(&w->lock);
    while (w->head != NULL && n < API_GROUP_MAX) {
        list[n] = w->head;
        w->head = w->head->next;
        n++;
    }
    if (w->head == NULL)
        w->tail = &w->head;
    w->n -= n;
    pthread_mutex_unlock(&w->lock);
    return n;
}

/* --- one request, one group --- */

static bool is_agents(const struct req *r)
{
    return r->route->auth == AUTH_AGENT || r->route->auth == AUTH_AGENT_LATE;
}

static int run_one(struct api *a, struct req *r)
{
    int rc = SK_OK;
    r->park = false; /* a poll comes here twice, and may be refused the second time */
    if (is_agents(r))
        rc = admit_agent(a, r);
    else if (r->route->auth == AUTH_OPERATOR || r->route->auth == AUTH_ADMIN)
        rc = admit_operator(a, r);
    if (rc == SK_EPERM)
        return SK_OK; /* answered */
    return rc == SK_OK ? r->route->run(a, r) : rc;
}

static void store_failed(struct api *a)
{
    count_add(&a->counts.store_failures, 1);
    if (api_flag(&a->store_ok))
        sk_log(SK_LOG_ERROR, "api: the store fails: %s", store_error(a->work.store));
    api_flag_set(&a->store_ok, false);
}

static void forget(struct req *r)
{
    answer_clear(r);
    r->park = false;
}

static void fail(struct req *r)
{
    forget(r);
    answer_code(r, API_UNAVAILABLE, NULL);
}

static void run_alone(struct api *a, struct req *r)
{
    struct store *s = a->work.store;
    forget(r);
    count_add(&a->counts.retried, 1);
    int rc = store_begin(s);
    if (rc == SK_OK)
        rc = run_one(a, r);
    if (rc == SK_OK)
        rc = store_commit(s) == SK_OK ? SK_OK : SK_EIO;
    else
        store_rollback(s);
    if (rc != SK_OK && rc != SK_EAGAIN) {
        store_failed(a);
        fail(r);
    }
}

static size_t asks_of(const struct req *r, struct store_ask *asks)
{
    if (!is_agents(r))
        return 0;
    if (r->route->run == run_events)
        return ahead_events(r, asks);
    if (asks != NULL)
        *asks = (struct store_ask){.agent = r->cert.agent};
    return 1;
}

/* One question for all of them. */
static int look_ahead(struct api *a, struct req **list, unsigned n)
{
    size_t most = 0, have = 0;
    for (unsigned i = 0; i < n; i++)
        most += asks_of(list[i], NULL);
    if (most == 0)
        return SK_OK;
    struct store_ask *asks = (struct store_ask *)malloc(most * sizeof(*asks));
    if (asks == NULL)
        return SK_ENOMEM;
    for (unsigned i = 0; i < n; i++)
        have += asks_of(list[i], asks + have);
    int rc = store_ahead(a->work.store, asks, have);
    free(asks);
    return rc;
}

/* false: nothing of it has happened. */
static bool run_together(struct api *a, struct req **list, unsigned n)
{
    struct store *s = a->work.store;
    for (unsigned i = 0; i < n; i++) {
        if (run_one(a, list[i]) != SK_OK) {
            store_rollback(s);
            return false;
        }
    }
    return store_commit(s) == SK_OK;
}

static void run_group(struct api *a, struct req **list, unsigned n)
{
    a->work.changed = false;
    count_add(&a->counts.jobs, n);
    count_add(&a->counts.commits, 1);
    int rc = store_begin(a->work.store);
    if (rc == SK_OK && (rc = look_ahead(a, list, n)) != SK_OK)
        store_rollback(a->work.store);
    if (rc != SK_OK) {
        store_failed(a);
        for (unsigned i = 0; i < n; i++)
            fail(list[i]);
    } else if (!run_together(a, list, n)) {
        for (unsigned i = 0; i < n; i++)
            run_alone(a, list[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        if (list[i]->park)
            poll_park(a, list[i]);
        else
            http_resume(list[i]);
    }
}

/* --- news for the feed --- */

struct news {
    struct feed *feed;
    int64_t seen;
    unsigned n;
};

static void on_entry(void *arg, const struct store_entry *e)
{
    struct news *w = (struct news *)arg;
    feed_lock(w->feed); /* not while the store is asked: the network's thread waits for it */
    feed_entry(w->feed, e);
    feed_unlock(w->feed);
    if (e->seq > w->seen)
        w->seen = e->seq;
    w->n++;
}

/* Entries are read behind the number: whatever has that number, or a smaller one, is among them. */
static int load_entries(struct api *a, struct store_news *heads)
{
    struct work *w = &a->work;
    int rc = SK_OK;
    if (!a->feed.loaded || strcmp(heads->epoch, a->feed.epoch) != 0 || heads->last < w->loaded) {
        feed_clear(&a->feed, heads->epoch);
        w->loaded = 0;
    }
    struct news n = {.n = heads->last > w->loaded ? NEWS_PAGE : 0}; /* nothing new: nothing is asked */
    while (rc == SK_OK && n.n == NEWS_PAGE) {
        n = (struct news){.feed = &a->feed, .seen = w->loaded};
        rc = store_entries_since(w->store, w->loaded, NEWS_PAGE, now_ms(), on_entry, &n);
        w->loaded = n.seen;
    }
    heads->last = w->loaded > heads->last ? w->loaded : heads->last;
    w->loaded = heads->last;
    return rc;
}

static int refresh(struct api *a)
{
    struct store_news heads;
    int rc = store_news(a->work.store, &heads);
    if (rc == SK_OK)
        rc = load_entries(a, &heads);
    a->work.looked = sk_now_mono();
    if (rc != SK_OK) {
        store_failed(a);
        return rc;
    }
    const int64_t versions[2] = {[FEED_RULES] = heads.rules, [FEED_POLICY] = heads.policy};
    feed_publish(&a->feed, heads.last, heads.first, versions);
    return SK_OK;
}

/* Reading may go on where writing fails: only a write shows that it is over. */
static void try_again(struct api *a)
{
    char now[24];
    snprintf(now, sizeof(now), "%lld", (long long)now_ms());
    if (store_memo_set(a->work.store, "api.probe", now) != SK_OK)
        return;
    sk_log(SK_LOG_INFO, "api: the store works again");
    api_flag_set(&a->store_ok, true);
}

/* --- */

/* The store's word of a change is not waited for while it would not be read: it would end each wait at once. */
static void wait_for_work(struct work *w)
{
    struct pollfd p[2] = {{.fd = w->wake, .events = POLLIN}, {.fd = store_changed_fd(w->store), .events = POLLIN}};
    int64_t since = (sk_now_mono() - w->looked) / SK_NS_PER_MS;
    bool early = since < REFRESH_MS;
    uint64_t n;
    if (poll(p, early ? 1 : 2, early ? (int)(REFRESH_MS - since) : TICK_MS) > 0 && (p[0].revents & POLLIN) != 0)
        (void)!read(w->wake, &n, sizeof(n));
}

static void look_for_news(struct api *a, bool *pending)
{
    struct work *w = &a->work;
    int64_t since = (sk_now_mono() - w->looked) / SK_NS_PER_MS;
    if (since >= REFRESH_MS && store_changed(w->store))
        *pending = true;
    if (w->changed || (*pending && since >= REFRESH_MS) || since >= PROBE_MS) {
        (void)!refresh(a);
        *pending = false;
        if (!api_flag(&a->store_ok))
            try_again(a);
    }
    w->changed = false;
}

static void *work_main(void *arg)
{
    struct api *a = (struct api *)arg;
    struct req *list[API_GROUP_MAX];
    bool pending = false;
    for (;;) {
        unsigned n = take(&a->work, list);
        if (n > 0)
            run_group(a, list, n);
        else if (api_flag(&a->work.stop))
            return NULL;
        else
            wait_for_work(&a->work);
        look_for_news(a, &pending);
    }
}

int work_start(struct api *a, char *why, size_t cap)
{
    struct work *w = &a->work;
    pthread_mutex_init(&w->lock, NULL);
    w->tail = &w->head;
    w->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->wake < 0)
        return SK_EIO;
    int rc = store_open(a->where, &w->store, why, cap);
    if (rc != SK_OK)
        return rc;
    api_flag_set(&a->store_ok, true);
    rc = refresh(a);
    if (rc == SK_OK && pthread_create(&w->thread, NULL, work_main, a) != 0)
        rc = SK_EIO;
    w->started = rc == SK_OK;
    return rc;
}

void work_stop(struct api *a)
{
    struct work *w = &a->work;
    if (w->started) {
        api_flag_set(&w->stop, true);
        (void)!write(w->wake, &(uint64_t){1}, sizeof(uint64_t));
        pthread_join(w->thread, NULL);
    }
    store_close(w->store);
    if (w->wake >= 0)
        close(w->wake);
    body_drop(w->bundle[0]);
    body_drop(w->bundle[1]);
    pthread_mutex_destroy(&w->lock);
}
