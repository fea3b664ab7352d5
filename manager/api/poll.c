/*
 * Waiting polls, and the thread that wakes them. To answer one takes the network thread some tens of microseconds: a
 * large fleet is woken at a bounded rate, oldest first, so that other requests do not wait behind it; whatever else
 * changes meanwhile goes out with the same answer. A small fleet is woken at once.
 */
#include <stdlib.h>
#include <unistd.h>
#include "api_priv.h"

#define WAKES_PER_S  2000
#define WAKES_BURST  200
#define AGENT_GAP    (100 * SK_NS_PER_MS) /* between two answers with news to one agent */
#define RECHECK      (50 * SK_NS_PER_MS)  /* a certificate that was looked at longer ago is looked at again */
#define PASS_MS      5                    /* between two passes over the list, when there is news */
#define IDLE_MS      100                  /* and when there is none: polls end so exactly */
#define SWEEP        (100 * SK_NS_PER_MS) /* between two looks at all connections */
#define HOUSEKEEPING SK_NS_PER_S
#define COMPACT      (60 * SK_NS_PER_S)
#define FORGET       (600 * SK_NS_PER_S) /* an agent that is silent for so long */
#define BUCKETS      4096
#define BURST        10

/* --- agents --- */

static struct agent **bucket_of(struct feed *f, const char *id)
{
    return &f->agents[sk_siphash(&f->key, id, strlen(id)) % BUCKETS];
}

struct agent *agent_find(struct feed *f, const char *id, int64_t now)
{
    struct agent **b = bucket_of(f, id), *g;
    for (g = *b; g != NULL && strcmp(g->id, id) != 0;)
        g = g->next;
    if (g == NULL) {
        g = (struct agent *)calloc(1, sizeof(*g));
        if (g == NULL)
            return NULL;
        strcpy(g->id, id);
        g->told[0] = g->told[1] = g->paging = g->base = -1;
        g->next = *b;
        *b = g;
        f->nagents++;
    }
    g->seen = now;
    return g;
}

bool agent_admit(struct api *a, const char *id, int64_t now, bool poll)
{
    feed_lock(&a->feed);
    struct agent *g = agent_find(&a->feed, id, now);
    bool ok = g != NULL && sk_rate_take(&g->rate, a->o.agent_rate, a->o.agent_rate * BURST, now) &&
              (poll || g->held < API_AGENT_HELD);
    if (ok && !poll)
        g->held++;
    feed_unlock(&a->feed);
    return ok;
}

void agent_leave(struct api *a, const char *id)
{
    feed_lock(&a->feed);
    struct agent *g = agent_find(&a->feed, id, sk_now_mono());
    if (g != NULL && g->held > 0)
        g->held--;
    feed_unlock(&a->feed);
}

static void agents_forget(struct feed *f, int64_t now, bool all)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct agent **p = &f->agents[i]; *p != NULL;) {
            struct agent *g = *p;
            bool busy = g->held > 0 || g->poll[0] != NULL;
            if (!all && (busy || now - g->seen < FORGET)) {
                p = &g->next;
                continue;
            }
            *p = g->next;
            free(g);
            f->nagents--;
        }
    }
}

/* --- the list --- */

static void poll_unlink(struct feed *f, struct req *r)
{
    if (r->poll_prev != NULL)
        r->poll_prev->poll_next = r->poll_next;
    else
        f->polls = r->poll_next;
    if (r->poll_next != NULL)
        r->poll_next->poll_prev = r->poll_prev;
    else
        f->polls_last = r->poll_prev;
    f->npolls--;
    if (r->agent->poll[0] == r)
        r->agent->poll[0] = r->agent->poll[1];
    r->agent->poll[1] = NULL;
    r->poll_prev = r->poll_next = NULL;
}

static void poll_link(struct feed *f, struct req *r)
{
    r->poll_next = NULL;
    r->poll_prev = f->polls_last;
    if (f->polls_last != NULL)
        f->polls_last->poll_next = r;
    else
        f->polls = r;
    f->polls_last = r;
    f->npolls++;
    r->agent->poll[r->agent->poll[0] != NULL] = r;
}

/* Lock held. The answer is set, and sent when the lock has been let go. */
static void set_page(struct api *a, struct req *r)
{
    struct agent *g = agent_find(&a->feed, r->cert.agent, sk_now_mono());
    struct body *b = feed_page(&a->feed, g, r->in.epoch, r->in.after, r->renew, now_ms());
    answer_body(r, MHD_HTTP_OK, b);
}

void poll_answer(struct api *a, struct req *r)
{
    feed_lock(&a->feed);
    set_page(a, r);
    feed_unlock(&a->feed);
    http_resume(r);
}

/* Is it its turn? *waiting: there is news for it, and it must wait. */
static bool is_ripe(const struct api *a, const struct req *r, int64_t now, bool *waiting)
{
    const struct feed *f = &a->feed;
    const struct agent *g = r->agent;
    if (api_flag(&a->stopping) || now >= r->until)
        return true;
    if (!feed_has_news(f, g, r->in.epoch, r->in.after))
        return false;
    if (g->paging < 0 && g->answered != 0 && now - g->answered < AGENT_GAP) {
        *waiting = true;
        return false;
    }
    return true;
}

/* Has just been checked by the store's thread: goes into the list, from where the feed's thread takes it as it may. */
void poll_park(struct api *a, struct req *r)
{
    struct feed *f = &a->feed;
    struct req *oldest = NULL;
    if (r->woken || api_flag(&a->stopping)) {
        poll_answer(a, r);
        return;
    }
    count_add(&a->counts.polls, 1);
    feed_lock(f);
    struct agent *g = r->agent = agent_find(f, r->cert.agent, sk_now_mono());
    if (g != NULL) {
        if (g->poll[1] != NULL) {
            oldest = g->poll[0];
            poll_unlink(f, oldest);
            set_page(a, oldest);
        }
        poll_link(f, r);
        bool waiting = false; /* to look through all the others for one that only waits would be a waste */
        if (is_ripe(a, r, sk_now_mono(), &waiting) || waiting) {
            f->news = true;
            pthread_cond_signal(&f->cond);
        }
    }
    feed_unlock(f); /* r is the other thread's from here on */
    if (oldest != NULL) {
        count_add(&a->counts.polls_superseded, 1);
        http_resume(oldest);
    }
    if (g == NULL) {
        answer_code(r, API_BUSY, "no memory");
        http_resume(r);
    }
}

/* --- the thread --- */

static void refill(struct feed *f, int64_t now)
{
    int64_t cost = SK_NS_PER_S / WAKES_PER_S;
    f->credit += now - f->credited;
    if (f->credit > cost * WAKES_BURST)
        f->credit = cost * WAKES_BURST;
    f->credited = now;
}

/* Those that are to be answered now. *waiting: come again soon. */
static struct req *collect(struct api *a, int64_t now, bool *waiting)
{
    struct feed *f = &a->feed;
    struct req *list = NULL, **tail = &list, *next;
    refill(f, now);
    f->news = false;
    for (struct req *r = f->polls; r != NULL; r = next) {
        next = r->poll_next;
        if (!is_ripe(a, r, now, waiting))
            continue;
        if (f->credit < SK_NS_PER_S / WAKES_PER_S && !api_flag(&a->stopping)) {
            *waiting = true;
            break;
        }
        f->credit -= SK_NS_PER_S / WAKES_PER_S;
        poll_unlink(f, r);
        r->next = NULL;
        *tail = r;
        tail = &r->next;
    }
    return list;
}

static void wake(struct api *a, struct req *list, int64_t now)
{
    while (list != NULL) {
        struct req *r = list;
        list = r->next;
        count_add(&a->counts.wakes, 1);
        if (now - r->checked < RECHECK) {
            poll_answer(a, r);
        } else {
            r->woken = true;
            (void)!work_put(a, r);
        }
    }
}

/* Lock held. An answer may hold what has run out since; for a second and no longer. */
static void keep_house(struct api *a, int64_t now, int64_t *last, int64_t *compacted)
{
    struct feed *f = &a->feed;
    if (now - *last < HOUSEKEEPING)
        return;
    *last = now;
    for (unsigned i = 0; i < FEED_CACHE; i++) {
        body_drop(f->cache[i].body);
        f->cache[i].body = NULL;
    }
    if (now - *compacted < COMPACT)
        return;
    *compacted = now;
    feed_compact(f, now_ms());
    agents_forget(f, now, false);
}

static void sleep_for(struct feed *f, unsigned ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&f->cond, &f->lock, &t);
}

static void *poll_main(void *arg)
{
    struct api *a = (struct api *)arg;
    struct feed *f = &a->feed;
    int64_t house = 0, swept = 0, compacted = sk_now_mono();
    feed_lock(f);
    while (!f->stop) {
        bool waiting = false;
        int64_t now = sk_now_mono();
        struct req *list = collect(a, now, &waiting);
        keep_house(a, now, &house, &compacted);
        feed_unlock(f);
        wake(a, list, now);
        if (now - swept >= SWEEP) {
            conns_sweep(a, now);
            swept = now;
        }
        (void)usleep(PASS_MS * 1000); /* what comes meanwhile goes together */
        feed_lock(f);
        if (!f->news && !waiting && !f->stop)
            sleep_for(f, IDLE_MS);
    }
    feed_unlock(f);
    return NULL;
}

/* The library does not stop while requests are suspended. */
static void answer_rest(struct api *a)
{
    struct feed *f = &a->feed;
    for (;;) {
        feed_lock(f);
        struct req *r = f->polls;
        if (r != NULL) {
            poll_unlink(f, r);
            set_page(a, r);
        }
        feed_unlock(f);
        if (r == NULL)
            return;
        http_resume(r);
    }
}

int poll_start(struct api *a)
{
    struct feed *f = &a->feed;
    f->credited = sk_now_mono();
    f->agents = (struct agent **)calloc(BUCKETS, sizeof(*f->agents));
    if (f->agents == NULL)
        return SK_ENOMEM;
    f->started = pthread_create(&f->thread, NULL, poll_main, a) == 0;
    return f->started ? SK_OK : SK_EIO;
}

void poll_stop(struct api *a)
{
    struct feed *f = &a->feed;
    feed_lock(f);
    f->stop = true;
    pthread_cond_signal(&f->cond);
    feed_unlock(f);
    if (f->started) {
        pthread_join(f->thread, NULL);
        answer_rest(a);
    }
}

void poll_free(struct api *a)
{
    struct feed *f = &a->feed;
    if (f->agents != NULL)
        agents_forget(f, 0, true);
    free(f->agents);
}
