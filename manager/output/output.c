#include "output/output.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "output_priv.h"

#define BATCH       32
#define IDLE_MS     200
#define STORE_MS    5000              /* until a store that failed is tried again */
#define BACKOFF     (2 * SK_NS_PER_S) /* aws_backoff: doubles with each try */
#define BACKOFF_MAX (60 * SK_NS_PER_S)
#define AFTER_MAX   300                  /* seconds; a receiver may ask for more, and does not get it */
#define SHED_MS     (30 * INT64_C(1000)) /* between looks at how much waits */
#define SHED_BATCH  1000

/* Guarded by output.lock. */
struct counts {
    int64_t sent, failed, given_up, dropped, last_sent_ms;
    char last_error[OUTPUT_WHY_MAX];
};

struct sender {
    struct output *o;
    struct output_sink sink;
    struct webhook hook;
    struct counts counts;
    pthread_t thread;
    bool started;
    /* the thread's own: */
    struct store *store;
    int64_t wait_until; /* monotonic ns: nothing is tried before */
    int64_t shed_at;
    unsigned failures;  /* tries in a row */
    int64_t refused_id; /* the item that was refused last, and how often in a row */
    int refusals;
};

struct output {
    char *where;
    struct aws *aws;
    atomic_bool leads;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping; /* guarded by lock */
    unsigned n;
    struct sender senders[OUTPUT_SINKS_MAX];
};

static int64_t now_ms(void)
{
    return sk_now_wall() / SK_NS_PER_MS;
}

/* False: it is time to stop. */
static bool sleep_ms(struct output *o, int64_t ms)
{
    int64_t until = sk_now_mono() + ms * SK_NS_PER_MS;
    struct timespec ts = {.tv_sec = until / SK_NS_PER_S, .tv_nsec = until % SK_NS_PER_S};
    pthread_mutex_lock(&o->lock);
    while (!o->stopping && pthread_cond_timedwait(&o->wake, &o->lock, &ts) != ETIMEDOUT)
        ;
    bool go_on = !o->stopping;
    pthread_mutex_unlock(&o->lock);
    return go_on;
}

static bool stopping(struct output *o)
{
    pthread_mutex_lock(&o->lock);
    bool is = o->stopping;
    pthread_mutex_unlock(&o->lock);
    return is;
}

/* ---- what waits ---- */

struct waiting {
    unsigned n;
    struct {
        int64_t id, created, next;
        int attempts;
        char *payload;
    } v[BATCH];
    bool failed;
};

static void keep_waiting(void *arg, const struct store_out *o)
{
    struct waiting *w = (struct waiting *)arg;
    char *payload = w->n < BATCH ? strdup(o->payload) : NULL;
    if (payload == NULL) {
        w->failed = true;
        return;
    }
    w->v[w->n].id = o->id;
    w->v[w->n].created = o->created;
    w->v[w->n].next = o->next;
    w->v[w->n].attempts = o->attempts;
    w->v[w->n].payload = payload;
    w->n++;
}

static void free_waiting(struct waiting *w)
{
    for (unsigned i = 0; i < w->n; i++)
        free(w->v[i].payload);
}

static int store_trouble(struct sender *k, const char *what)
{
    sk_log(SK_LOG_WARN, "output %s: %s: %s", k->sink.name, what, store_error(k->store));
    return SK_EIO;
}

/* ---- one item ---- */

static void note_sent(struct sender *k)
{
    pthread_mutex_lock(&k->o->lock);
    k->counts.sent++;
    k->counts.last_sent_ms = now_ms();
    k->counts.last_error[0] = '\0';
    pthread_mutex_unlock(&k->o->lock);
}

static void note_failed(struct sender *k, const char *why)
{
    pthread_mutex_lock(&k->o->lock);
    k->counts.failed++;
    snprintf(k->counts.last_error, sizeof(k->counts.last_error), "%s", why);
    pthread_mutex_unlock(&k->o->lock);
}

static void note_lost(struct sender *k, int64_t given_up, int64_t dropped)
{
    pthread_mutex_lock(&k->o->lock);
    k->counts.given_up += given_up;
    k->counts.dropped += dropped;
    pthread_mutex_unlock(&k->o->lock);
}

/* The parcel borrows the payload. */
static int open_parcel(struct sender *k, struct waiting *w, unsigned i, struct parcel *p)
{
    char agent[STORE_AGENT_LEN];
    memset(p, 0, sizeof(*p));
    p->id = w->v[i].id;
    p->created = w->v[i].created;
    p->attempts = w->v[i].attempts;
    p->sink = k->sink.name;
    p->payload = w->v[i].payload;
    int rc = payload_open(p->payload, agent, &p->item);
    if (rc == SK_OK && agent[0] != '\0' && (rc = store_agent_get(k->store, agent, &p->agent)) == SK_ENOENT) {
        memset(&p->agent, 0, sizeof(p->agent));
        rc = SK_OK;
    }
    if (rc == SK_OK)
        memcpy(p->agent.id, agent, sizeof(agent));
    return rc;
}

static void try_once(struct sender *k, const struct parcel *p, struct tried *t)
{
    if (k->sink.dry_run) {
        sk_log(SK_LOG_INFO, "output %s: dry run: item %" PRId64 " would be sent", k->sink.name, p->id);
        *t = (struct tried){.result = TRY_SENT, .after = -1};
    } else if (k->sink.kind == OUTPUT_SNS) {
        sns_try(k->o->aws, &k->sink, p, t);
    } else {
        webhook_try(&k->hook, &k->sink, p, sk_now_wall(), t);
    }
}

/* Gone, and never silently: counted, logged, in the audit record. */
static int give_up(struct sender *k, int64_t id, int tries, const char *why)
{
    char detail[STORE_TEXT_MAX];
    snprintf(detail, sizeof(detail), "%s: item %" PRId64 ": %s; tries: %d", k->sink.name, id, why, tries);
    int rc = store_begin(k->store);
    if (rc == SK_OK)
        rc = store_audit(k->store, now_ms(), "manager", "output-given-up", detail);
    if (rc == SK_OK)
        rc = store_out_done(k->store, id);
    if (rc != SK_OK) {
        store_rollback(k->store);
        return store_trouble(k, "giving up");
    }
    if (store_commit(k->store) != SK_OK)
        return store_trouble(k, "giving up");
    note_lost(k, 1, 0);
    sk_log(SK_LOG_ERROR, "output given up: %s", detail);
    return SK_OK;
}

static void set_wait(struct sender *k, int64_t after)
{
    int64_t wait = aws_backoff(++k->failures, BACKOFF, BACKOFF_MAX);
    if (after > 0 && after * SK_NS_PER_S > wait)
        wait = (after < AFTER_MAX ? after : AFTER_MAX) * SK_NS_PER_S;
    k->wait_until = sk_now_mono() + wait;
}

/* Its place in the queue stays: `next` is not moved, and the wait is this thread's own. */
static int try_later(struct sender *k, const struct parcel *p, int64_t next, const struct tried *t)
{
    set_wait(k, t->after);
    if (k->failures == 1)
        sk_log(SK_LOG_WARN, "output %s: item %" PRId64 ": %s; it is tried again", k->sink.name, p->id, t->why);
    return store_out_retry(k->store, p->id, next, t->why) == SK_OK ? SK_OK : store_trouble(k, "retry");
}

/* Refused often enough: the next one may be better. Too old: the receiver is no better than before. */
static int lose(struct sender *k, const struct parcel *p, const struct tried *t)
{
    if (t->result == TRY_REFUSED)
        k->failures = 0;
    else
        set_wait(k, t->after);
    return give_up(k, p->id, p->attempts + 1, t->why);
}

static bool is_over(struct sender *k, const struct parcel *p, const struct tried *t)
{
    if (t->result != TRY_REFUSED)
        return now_ms() - p->created > OUTPUT_AGE_MAX;
    if (k->refused_id != p->id)
        k->refusals = 0;
    k->refused_id = p->id;
    return ++k->refusals >= OUTPUT_TRIES;
}

static int settle(struct sender *k, const struct parcel *p, int64_t next, const struct tried *t)
{
    if (t->result == TRY_SENT) {
        if (k->failures > 0)
            sk_log(SK_LOG_INFO, "output %s: sends again", k->sink.name);
        k->failures = 0;
        note_sent(k);
        return store_out_done(k->store, p->id) == SK_OK ? SK_OK : store_trouble(k, "sent");
    }
    note_failed(k, t->why);
    return is_over(k, p, t) ? lose(k, p, t) : try_later(k, p, next, t);
}

static int send_one(struct sender *k, struct waiting *w, unsigned i)
{
    struct parcel p;
    struct tried t;
    int rc = open_parcel(k, w, i, &p);
    if (rc == SK_EINVAL) {
        rc = give_up(k, w->v[i].id, w->v[i].attempts, "no item");
    } else if (rc != SK_OK) {
        rc = store_trouble(k, "agent");
    } else {
        try_once(k, &p, &t);
        rc = settle(k, &p, w->v[i].next, &t);
    }
    json_decref(p.item);
    return rc;
}

/* *some: more may be waiting. */
static int send_batch(struct sender *k, bool *some)
{
    struct waiting w = {.n = 0};
    *some = false;
    int rc = store_out_due(k->store, k->sink.name, STORE_FOREVER, BATCH, keep_waiting, &w);
    if (rc != SK_OK)
        store_trouble(k, "reading");
    for (unsigned i = 0; rc == SK_OK && i < w.n && !stopping(k->o) && atomic_load(&k->o->leads); i++) {
        rc = send_one(k, &w, i);
        *some = rc == SK_OK && k->failures == 0;
        if (k->failures > 0)
            break;
    }
    free_waiting(&w);
    return rc;
}

/* ---- too much waits ---- */

struct oldest {
    unsigned n;
    int64_t id[SHED_BATCH];
};

static void keep_id(void *arg, const struct store_out *o)
{
    struct oldest *l = (struct oldest *)arg;
    if (l->n < SHED_BATCH)
        l->id[l->n++] = o->id;
}

static int drop_oldest(struct sender *k, const struct oldest *l)
{
    char detail[STORE_TEXT_MAX];
    int rc = store_begin(k->store);
    for (unsigned i = 0; rc == SK_OK && i < l->n; i++)
        rc = store_out_done(k->store, l->id[i]);
    snprintf(detail, sizeof(detail), "%s: the oldest %u items: more than %d wait", k->sink.name, l->n,
             OUTPUT_QUEUE_MAX);
    if (rc == SK_OK)
        rc = store_audit(k->store, now_ms(), "manager", "output-dropped", detail);
    if (rc != SK_OK) {
        store_rollback(k->store);
        return store_trouble(k, "dropping");
    }
    if (store_commit(k->store) != SK_OK)
        return store_trouble(k, "dropping");
    note_lost(k, 0, l->n);
    sk_log(SK_LOG_ERROR, "output dropped: %s", detail);
    return SK_OK;
}

/* Only a sink that is behind drops, and only its own. */
static int shed(struct sender *k)
{
    struct store_counts c;
    int rc = SK_OK;
    if (k->failures == 0 || now_ms() < k->shed_at)
        return SK_OK;
    k->shed_at = now_ms() + SHED_MS;
    struct oldest *l = (struct oldest *)malloc(sizeof(*l));
    while (l != NULL && rc == SK_OK && !stopping(k->o)) {
        l->n = 0;
        if (store_counts(k->store, now_ms(), &c) != SK_OK || c.outgoing <= OUTPUT_QUEUE_MAX)
            break;
        rc = store_out_due(k->store, k->sink.name, STORE_FOREVER, SHED_BATCH, keep_id, l);
        if (rc != SK_OK || l->n == 0)
            break;
        rc = drop_oldest(k, l);
    }
    free(l);
    return rc;
}

/* ---- threads ---- */

static bool open_store(struct sender *k)
{
    char why[OUTPUT_WHY_MAX];
    if (k->store != NULL || store_open(k->o->where, &k->store, why, sizeof(why)) == SK_OK)
        return true;
    sk_log(SK_LOG_WARN, "output %s: %s", k->sink.name, why);
    k->store = NULL;
    return false;
}

static int64_t work(struct sender *k)
{
    bool some = false;
    if (!atomic_load(&k->o->leads))
        return IDLE_MS;
    if (!open_store(k) || shed(k) != SK_OK)
        return STORE_MS;
    if (sk_now_mono() < k->wait_until)
        return IDLE_MS;
    if (send_batch(k, &some) != SK_OK)
        return STORE_MS;
    return some ? 0 : IDLE_MS;
}

static void *run(void *arg)
{
    struct sender *k = (struct sender *)arg;
    while (sleep_ms(k->o, work(k)))
        ;
    store_close(k->store);
    fetch_thread_end();
    return NULL;
}

static int check_sink(const struct output_sink *sink, struct webhook *hook, char *why, size_t cap)
{
    char region[32];
    if (sink->kind == OUTPUT_WEBHOOK)
        return webhook_open(sink, hook, why, cap);
    if (sns_region(sink->topic_arn, region) == SK_OK)
        return SK_OK;
    snprintf(why, cap, "output %s: \"%.100s\" is no topic of SNS", sink->name, sink->topic_arn);
    return SK_EINVAL;
}

int output_check(const struct output_sink *sinks, unsigned n, char *why, size_t cap)
{
    struct webhook hook;
    int rc = SK_OK;
    for (unsigned i = 0; rc == SK_OK && i < n; i++)
        rc = check_sink(&sinks[i], &hook, why, cap);
    explicit_bzero(&hook, sizeof(hook));
    return rc;
}

static int start_threads(struct output *o, char *why, size_t cap)
{
    for (unsigned i = 0; i < o->n; i++) {
        struct sender *k = &o->senders[i];
        k->started = pthread_create(&k->thread, NULL, run, k) == 0;
        if (!k->started) {
            snprintf(why, cap, "output %s: no thread", k->sink.name);
            return SK_ENOMEM;
        }
    }
    return SK_OK;
}

static struct output *make(const char *store, struct aws *aws, const struct output_sink *sinks, unsigned n)
{
    struct output *o = (struct output *)calloc(1, sizeof(*o));
    pthread_condattr_t attr;
    if (o == NULL)
        return NULL;
    o->where = strdup(store);
    o->aws = aws;
    o->n = n;
    atomic_init(&o->leads, true);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->wake, &attr);
    pthread_condattr_destroy(&attr);
    for (unsigned i = 0; i < n; i++) {
        o->senders[i].o = o;
        o->senders[i].sink = sinks[i];
    }
    if (o->where == NULL) {
        output_stop(o);
        return NULL;
    }
    return o;
}

int output_start(const char *store, struct aws *aws, const struct output_sink *sinks, unsigned n, struct output **out,
                 char *why, size_t cap)
{
    *out = NULL;
    if (n > OUTPUT_SINKS_MAX) {
        snprintf(why, cap, "more than %d outputs", OUTPUT_SINKS_MAX);
        return SK_EFULL;
    }
    struct output *o = make(store, aws, sinks, n);
    int rc = o == NULL ? SK_ENOMEM : SK_OK;
    if (rc != SK_OK)
        snprintf(why, cap, "out of memory");
    for (unsigned i = 0; rc == SK_OK && i < n; i++)
        rc = check_sink(&o->senders[i].sink, &o->senders[i].hook, why, cap);
    if (rc == SK_OK)
        rc = start_threads(o, why, cap);
    if (rc == SK_OK)
        *out = o;
    else
        output_stop(o);
    return rc;
}

void output_lead(struct output *o, bool leads)
{
    atomic_store(&o->leads, leads);
}

void output_stop(struct output *o)
{
    if (o == NULL)
        return;
    pthread_mutex_lock(&o->lock);
    o->stopping = true;
    pthread_cond_broadcast(&o->wake);
    pthread_mutex_unlock(&o->lock);
    for (unsigned i = 0; i < o->n; i++) {
        if (o->senders[i].started)
            pthread_join(o->senders[i].thread, NULL);
        explicit_bzero(&o->senders[i].hook, sizeof(o->senders[i].hook));
    }
    pthread_cond_destroy(&o->wake);
    pthread_mutex_destroy(&o->lock);
    free(o->where);
    free(o);
}

static json_t *status_of(const struct sender *k)
{
    const struct counts *c = &k->counts;
    return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:s}", "name", k->sink.name, "type",
                     k->sink.kind == OUTPUT_SNS ? "sns" : "webhook", "dry_run", k->sink.dry_run, "sent",
                     (json_int_t)c->sent, "failed", (json_int_t)c->failed, "given_up", (json_int_t)c->given_up,
                     "dropped", (json_int_t)c->dropped, "last_sent_ms", (json_int_t)c->last_sent_ms, "last_error",
                     c->last_error);
}

char *output_status(struct output *o)
{
    json_t *list = json_array(), *root;
    pthread_mutex_lock(&o->lock);
    for (unsigned i = 0; i < o->n; i++)
        json_array_append_new(list, status_of(&o->senders[i]));
    pthread_mutex_unlock(&o->lock);
    root = json_pack("{s:o}", "sinks", list);
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}
