#include "instances.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "fetch/fetch.h"
#include "store/store.h"

#define FORM_MAX (64u << 10)
#define ID_MAX   32

struct host {
    char agent[STORE_AGENT_LEN], instance[ID_MAX], region[32], name[STORE_HOST_MAX];
    bool over;
};

struct hosts {
    struct host *v;
    size_t n, cap;
    bool failed;
};

struct instances {
    const char *where;
    struct aws *aws;
    const struct leader *leader;
    struct store *store;
    pthread_t thread;
    int stop_fd;
    bool complained; /* of EC2: once until it answers again */
};

/* ---- who is to be asked for ---- */

/* An ID goes into a request: only what has an ID's form. */
static bool is_instance(const char *s)
{
    size_t n = strlen(s);
    return n > 2 && n < ID_MAX && strncmp(s, "i-", 2) == 0 && strspn(s + 2, "0123456789abcdef") == n - 2;
}

static void take_agent(void *arg, const struct store_agent *a)
{
    struct hosts *h = arg;
    if (a->state != STORE_AGENT_ACTIVE || !is_instance(a->instance) || a->region[0] == '\0')
        return;
    if (h->n == h->cap) {
        size_t cap = h->cap == 0 ? 64 : 2 * h->cap;
        struct host *v = realloc(h->v, cap * sizeof(*v));
        if (v == NULL) {
            h->failed = true;
            return;
        }
        h->v = v;
        h->cap = cap;
    }
    struct host *x = &h->v[h->n++];
    memset(x, 0, sizeof(*x));
    snprintf(x->agent, sizeof(x->agent), "%s", a->id);
    snprintf(x->instance, sizeof(x->instance), "%s", a->instance);
    snprintf(x->region, sizeof(x->region), "%s", a->region);
    snprintf(x->name, sizeof(x->name), "%s", a->host);
}

static int by_region(const void *a, const void *b)
{
    return strcmp(((const struct host *)a)->region, ((const struct host *)b)->region);
}

/* ---- EC2 ---- */

/* In the answer are only those that are over: no paging, however many are asked for. */
static int make_form(const struct host *h, size_t n, char *form)
{
    size_t len = (size_t)snprintf(form, FORM_MAX,
                                  "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=instance-state-name"
                                  "&Filter.1.Value.1=shutting-down&Filter.1.Value.2=terminated"
                                  "&Filter.2.Name=instance-id");
    for (size_t i = 0; i < n && len < FORM_MAX; i++)
        len += (size_t)snprintf(form + len, FORM_MAX - len, "&Filter.2.Value.%zu=%s", i + 1, h[i].instance);
    return len < FORM_MAX ? SK_OK : SK_EFULL;
}

/* Text of the first element `name` in *s, and *s behind it. */
static bool next_text(struct sk_span *s, const char *name, char *buf, size_t cap)
{
    char open[48];
    int n = snprintf(open, sizeof(open), "<%s>", name);
    const uint8_t *at = memmem(s->p, s->len, open, (size_t)n), *end = s->p + s->len;
    if (at == NULL)
        return false;
    at += n;
    const uint8_t *close = memchr(at, '<', (size_t)(end - at));
    if (close == NULL)
        return false;
    snprintf(buf, cap, "%.*s", (int)(close - at < (int)cap ? close - at : (int)cap - 1), (const char *)at);
    *s = sk_span_of(close, (uint32_t)(end - close));
    return true;
}

/* An item names itself first, then its state: instanceId, imageId, instanceState { code, name }. */
static void mark_over(struct host *h, size_t n, struct sk_span body)
{
    char id[ID_MAX], state[32];
    while (next_text(&body, "instanceId", id, sizeof(id)) && next_text(&body, "instanceState", state, sizeof(state)) &&
           next_text(&body, "name", state, sizeof(state)))
        for (size_t i = 0; i < n; i++)
            if (strcmp(h[i].instance, id) == 0)
                h[i].over = strcmp(state, "terminated") == 0 || strcmp(state, "shutting-down") == 0;
}

static void ask(struct instances *i, struct host *h, size_t n)
{
    struct aws_answer e;
    char *form = malloc(FORM_MAX);
    if (form == NULL || make_form(h, n, form) != SK_OK) {
        free(form);
        return;
    }
    int rc = aws_query(i->aws, "ec2", h->region, form, &e);
    if (rc == SK_OK)
        mark_over(h, n, sk_span_of(e.body, (uint32_t)e.body_len));
    else if (!i->complained)
        sk_log(SK_LOG_WARN, "EC2 does not tell which instances are terminated: %s %s", e.code, e.message);
    i->complained = rc != SK_OK;
    aws_answer_free(&e);
    free(form);
}

/* ---- retiring ---- */

static void retire(struct instances *i, const struct host *h, int64_t now_ms)
{
    char detail[STORE_TEXT_MAX];
    snprintf(detail, sizeof(detail), "%s, host %.200s: instance %s is terminated", h->agent, h->name, h->instance);
    if (store_agent_set_state(i->store, h->agent, STORE_AGENT_RETIRED, now_ms) != SK_OK ||
        store_audit(i->store, now_ms, "manager", "agent.retire", detail) != SK_OK)
        sk_log(SK_LOG_ERROR, "an agent is not retired: %s", store_error(i->store));
    else
        sk_log(SK_LOG_INFO, "agent retired: %s: instance %s is terminated", h->agent, h->instance);
}

static size_t same_region(const struct host *h, size_t n)
{
    size_t k = 1;
    while (k < n && k < INSTANCES_ASKED && strcmp(h[k].region, h->region) == 0)
        k++;
    return k;
}

static void look(struct instances *i)
{
    struct hosts h = {0};
    if (store_agents(i->store, take_agent, &h) == SK_OK && !h.failed && h.n > 0) {
        qsort(h.v, h.n, sizeof(*h.v), by_region);
        for (size_t at = 0, k; at < h.n && leader_leads(i->leader); at += k) {
            k = same_region(h.v + at, h.n - at);
            ask(i, h.v + at, k);
        }
        for (size_t at = 0; at < h.n; at++)
            if (h.v[at].over)
                retire(i, &h.v[at], sk_now_wall() / SK_NS_PER_MS);
    }
    free(h.v);
}

static bool wait_seconds(const struct instances *i, int seconds)
{
    struct pollfd p = {.fd = i->stop_fd, .events = POLLIN};
    return poll(&p, 1, seconds * 1000) == 0;
}

static void *loop(void *arg)
{
    struct instances *i = arg;
    char why[256];
    do {
        if (!leader_leads(i->leader))
            continue;
        if (i->store == NULL && store_open(i->where, &i->store, why, sizeof(why)) != SK_OK) {
            sk_log(SK_LOG_ERROR, "the database does not open: %s", why);
            continue;
        }
        look(i);
    } while (wait_seconds(i, leader_leads(i->leader) ? INSTANCES_EVERY : 1));
    fetch_thread_end();
    store_close(i->store);
    return NULL;
}

int instances_start(const char *where, struct aws *aws, const struct leader *leader, struct instances **out)
{
    struct instances *i = calloc(1, sizeof(*i));
    *out = NULL;
    if (i == NULL)
        return SK_ENOMEM;
    *i = (struct instances){.where = where, .aws = aws, .leader = leader, .stop_fd = eventfd(0, EFD_CLOEXEC)};
    if (i->stop_fd >= 0 && pthread_create(&i->thread, NULL, loop, i) == 0) {
        *out = i;
        return SK_OK;
    }
    if (i->stop_fd >= 0)
        close(i->stop_fd);
    free(i);
    return SK_EIO;
}

void instances_stop(struct instances *i)
{
    uint64_t one = 1;
    if (i == NULL)
        return;
    if (write(i->stop_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
        sk_log(SK_LOG_ERROR, "the thread that asks EC2 cannot be told to stop");
    pthread_join(i->thread, NULL);
    close(i->stop_fd);
    free(i);
}
