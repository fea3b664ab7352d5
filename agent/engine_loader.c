/* Loading beside the running engine: the only thread that parses and compiles. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/escape.h"
#include "base/log.h"
#include "engine_role.h"
#include "event/event.h"
#include "event_types.h"
#include "role.h"

#define LOGGED_FINDINGS 10

struct load_findings {
    unsigned n;           /* mistakes */
    unsigned unsupported; /* rules that are right, and not supported: counted only */
    char first[IPC_TEXT_MAX];
};

static void on_finding(void *arg, const struct sk_diag *d)
{
    struct load_findings *f = (struct load_findings *)arg;
    f->unsupported += d->level == SK_DIAG_UNSUPPORTED;
    if (d->level == SK_DIAG_NOTE || d->level == SK_DIAG_UNSUPPORTED)
        return;
    char line[IPC_TEXT_MAX], safe[IPC_TEXT_MAX];
    snprintf(line, sizeof(line), "%s:%u:%u: %s", d->file != NULL ? d->file : "?", d->line, d->col, d->text);
    sk_escape(safe, sizeof(safe), sk_span_str(line));
    if (f->n == 0)
        memcpy(f->first, safe, sizeof(f->first));
    if (f->n < LOGGED_FINDINGS)
        sk_log(SK_LOG_WARN, "%s", safe);
    f->n++;
}

static bool is_setting(enum ipc_text_kind k)
{
    return k == IPC_TEXT_CONF || k == IPC_TEXT_SET || k == IPC_TEXT_HOME;
}

static bool same_vars(const struct conf_vars *a, const struct conf_vars *b)
{
    for (uint32_t i = 0; i < a->n && i < b->n; i++)
        if (strcmp(a->v[i].name, b->v[i].name) != 0 || strcmp(a->v[i].text, b->v[i].text) != 0)
            return false;
    return a->n == b->n;
}

static bool same_prefixes(const struct conf_prefixes *a, const struct conf_prefixes *b)
{
    for (uint32_t i = 0; i < a->n && i < b->n; i++)
        if (a->v[i].len != b->v[i].len || !sk_addr_eq(&a->v[i].addr, &b->v[i].addr))
            return false;
    return a->n == b->n;
}

static bool same_proxies(const struct conf_proxies *a, const struct conf_proxies *b)
{
    return same_prefixes(&a->http, &b->http) && same_prefixes(&a->proxy_protocol, &b->proxy_protocol) &&
           same_prefixes(&a->opaque, &b->opaque) && strcmp(a->header, b->header) == 0;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_policy(const struct conf_policies *a, const struct conf_policies *b)
{
    for (uint32_t i = 0; i < a->n && i < b->n; i++) {
        const struct conf_policy *x = &a->v[i], *y = &b->v[i];
        if (x->by != y->by || x->act != y->act || x->gid != y->gid || x->sid != y->sid || x->duration != y->duration ||
            x->points != y->points || !same_text(x->name, y->name) || !same_text(x->value, y->value))
            return false;
    }
    return a->n == b->n;
}

/* All of it but for the list of policies, which lies elsewhere. */
static bool same_decide(const struct conf_decide *a, const struct conf_decide *b)
{
    struct conf_decide x, y;
    memcpy(&x, a, sizeof(x)); /* padding too */
    memcpy(&y, b, sizeof(y));
    x.policy = y.policy = (struct conf_policies){0};
    return memcmp(&x, &y, sizeof(x)) == 0 && same_policy(&a->policy, &b->policy);
}

/*
 * Nothing that an engine is made of has changed; what else changes does not disturb its flows. Padding may differ
 * between equal structs: then the change of engines is only unnecessary.
 */
static bool same_engine_conf(const struct conf *a, const struct conf *b)
{
#define SAME(member) (memcmp(&a->member, &b->member, sizeof(a->member)) == 0)
    return a->mode == b->mode && same_vars(&a->address_groups, &b->address_groups) &&
           same_vars(&a->port_groups, &b->port_groups) && SAME(defrag) && SAME(flow) && SAME(stream) && SAME(http) &&
           SAME(detect) && same_decide(&a->decide, &b->decide) && same_proxies(&a->proxies, &b->proxies) &&
           SAME(vxlan) && SAME(geneve) && SAME(teredo) &&
           a->capture.checksum_validation == b->capture.checksum_validation && a->eve.enabled == b->eve.enabled &&
           a->eve.types == b->eve.types && a->eve.payload == b->eve.payload &&
           a->eve.payload_printable == b->eve.payload_printable &&
           event_types_of_manager(a) == event_types_of_manager(b);
#undef SAME
}

static int read_conf(const struct ipc_bundle *b, const struct sk_diag_sink *diag, struct conf **out)
{
    struct conf *c = NULL;
    int rc = SK_OK;
    for (unsigned i = 0; i < ipc_bundle_count(b) && rc == SK_OK; i++) {
        struct ipc_text t = ipc_bundle_text(b, i);
        if (t.kind == IPC_TEXT_CONF && c == NULL)
            rc = conf_load(t.name, t.text, t.len, diag, &c);
        else if (c == NULL)
            rc = conf_default(&c);
        if (rc == SK_OK && t.kind == IPC_TEXT_SET)
            rc = conf_set_arg(c, t.text, diag);
    }
    if (rc == SK_OK && c == NULL)
        rc = conf_default(&c);
    if (rc == SK_OK)
        rc = conf_check(c, diag);
    if (rc != SK_OK)
        conf_free(c);
    else
        *out = c;
    return rc;
}

static uint32_t event_mask(const struct conf *c)
{
    return event_types_of_file(c) | event_types_of_manager(c);
}

static const char *home_net(const struct ipc_bundle *b)
{
    for (unsigned i = 0; i < ipc_bundle_count(b); i++) {
        struct ipc_text t = ipc_bundle_text(b, i);
        if (t.kind == IPC_TEXT_HOME)
            return t.text;
    }
    return NULL;
}

static void generation_free(struct generation *g)
{
    if (g == NULL)
        return;
    if (g->engine != NULL)
        engine_free(g->engine);
    conf_free(g->conf);
    free(g->home);
    free(g);
}

/* Takes conf over, also on failure. */
static int generation_create(struct conf *conf, const char *home, struct generation **out)
{
    struct generation *g = (struct generation *)calloc(1, sizeof(*g));
    if (g == NULL) {
        conf_free(conf);
        return SK_ENOMEM;
    }
    g->conf = conf;
    g->home = home != NULL ? strdup(home) : NULL;
    struct engine_options opt = {.event_mask = event_mask(conf), .home_net = g->home};
    int rc = engine_create(conf, &opt, &g->engine);
    if (rc != SK_OK)
        generation_free(g);
    else
        *out = g;
    return rc;
}

static int load_rules(struct engine *e, const struct ipc_bundle *b, bool strict, const struct sk_diag_sink *diag,
                      struct engine_rule_stats *stats)
{
    unsigned n = 0, count = ipc_bundle_count(b);
    struct engine_text *texts = (struct engine_text *)calloc(count + 1, sizeof(*texts));
    if (texts == NULL)
        return SK_ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        struct ipc_text t = ipc_bundle_text(b, i);
        if (is_setting(t.kind))
            continue;
        texts[n].name = t.name;
        texts[n].text = t.text;
        texts[n].len = t.len;
        if (t.kind == IPC_TEXT_RULES)
            texts[n].kind = ENGINE_RULES;
        else
            texts[n].kind = t.kind == IPC_TEXT_CLASSES ? ENGINE_CLASSES : ENGINE_THRESHOLDS;
        n++;
    }
    int rc = engine_load(e, texts, n, strict, diag, stats);
    free(texts);
    return rc;
}

/* Every worker has gone over to g. */
static void wait_for_workers(const struct loader *l, const struct generation *g)
{
    for (unsigned i = 0; i < l->nworkers; i++)
        while (atomic_load(&l->workers[i].current) != g)
            usleep(10000);
}

/* The lock is held. */
static uint64_t active_clients(const struct loader *l, int64_t wall, int64_t mono)
{
    if (l->shown == NULL)
        return 0;
    uint64_t n = engine_active_clients(l->shown->engine, wall);
    bool young = mono - l->exchanged < l->shown->conf->decide.brake.window;
    return young && l->before > n ? l->before : n;
}

static void hand_out(struct loader *l, struct generation *g)
{
    struct mail m = {.kind = MAIL_GENERATION, .gen = g};
    for (unsigned i = 0; i < l->nworkers; i++)
        while (worker_mail(&l->workers[i], &m) != SK_OK)
            usleep(10000);
    wait_for_workers(l, g);
    pthread_mutex_lock(&l->lock);
    l->before = active_clients(l, sk_now_wall(), sk_now_mono());
    l->exchanged = sk_now_mono();
    l->shown = g;
    pthread_mutex_unlock(&l->lock);
    generation_free(l->current);
    l->current = g;
}

static bool same_engine(const struct generation *g, const struct conf *conf, const char *home)
{
    return g != NULL && same_engine_conf(g->conf, conf) &&
           strcmp(g->home != NULL ? g->home : "", home != NULL ? home : "") == 0;
}

static int load_into(struct loader *l, const struct ipc_bundle *b, const struct sk_diag_sink *diag,
                     struct engine_rule_stats *stats)
{
    struct conf *conf;
    struct generation *g;
    int rc = read_conf(b, diag, &conf);
    if (rc != SK_OK)
        return rc;
    int64_t interval = event_mask(conf) & 1u << EVENT_STATS ? conf->stats_interval : 0;
    if (same_engine(l->current, conf, home_net(b))) {
        conf_free(conf);
        rc = load_rules(l->current->engine, b, true, diag, stats);
    } else {
        rc = generation_create(conf, home_net(b), &g);
        if (rc != SK_OK)
            return rc;
        rc = load_rules(g->engine, b, l->current != NULL, diag, stats);
        if (rc != SK_OK)
            generation_free(g);
        else
            hand_out(l, g);
    }
    if (rc == SK_OK) {
        atomic_store(&l->stats_interval, interval);
        atomic_store(&l->loaded, true);
    }
    return rc;
}

static void load(struct loader *l, int fd, uint64_t generation)
{
    struct load_findings f = {0};
    struct sk_diag_sink diag = {on_finding, &f};
    struct engine_rule_stats st = {0};
    struct ipc_bundle *b;
    int rc = ipc_bundle_open(fd, &b);
    close(fd);
    if (rc == SK_OK) {
        rc = load_into(l, b, &diag, &st);
        ipc_bundle_free(b);
    }
    if (f.n > LOGGED_FINDINGS || f.unsupported > 0)
        sk_log(SK_LOG_WARN, "%u rules are not supported, %u more findings; `sekisho check` lists them all",
               f.unsupported, f.n > LOGGED_FINDINGS ? f.n - LOGGED_FINDINGS : 0);
    struct ipc_loaded msg = {.generation = generation,
                             .rc = rc,
                             .loaded = st.loaded,
                             .rejected = st.rejected,
                             .slow = st.slow,
                             .groups = st.groups,
                             .databases = st.databases,
                             .memory = st.memory,
                             .parse_seconds = st.parse_seconds,
                             .compile_seconds = st.compile_seconds};
    memcpy(msg.text, f.first, sizeof(msg.text));
    while (ipc_send(ROLE_FD_CHANNEL, IPC_LOADED, &msg, NULL, 0) == SK_EAGAIN)
        usleep(10000);
}

int loader_try(int fd, const struct sk_diag_sink *diag, struct engine_rule_stats *stats)
{
    struct loader l = {0}; /* without workers there is nobody to hand them to */
    struct ipc_bundle *b;
    int rc = ipc_bundle_open(fd, &b);
    close(fd);
    if (rc != SK_OK)
        return rc;
    pthread_mutex_init(&l.lock, NULL);
    rc = load_into(&l, b, diag, stats);
    pthread_mutex_destroy(&l.lock);
    generation_free(l.current);
    ipc_bundle_free(b);
    return rc;
}

static void *run(void *arg)
{
    struct loader *l = (struct loader *)arg;
    (void)pthread_setname_np(pthread_self(), "loader");
    pthread_mutex_lock(&l->lock);
    for (;;) {
        if (l->bundle_fd < 0) {
            pthread_cond_wait(&l->wake, &l->lock);
            continue;
        }
        int fd = l->bundle_fd;
        uint64_t generation = l->generation;
        l->bundle_fd = -1;
        pthread_mutex_unlock(&l->lock);
        load(l, fd, generation);
        pthread_mutex_lock(&l->lock);
    }
    return NULL;
}

int loader_start(struct loader *l, struct worker *workers, unsigned n)
{
    l->workers = workers;
    l->nworkers = n;
    l->bundle_fd = -1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake, NULL);
    if (pthread_create(&l->thread, NULL, run, l) != 0)
        return SK_ENOMEM;
    l->started = true;
    return SK_OK;
}

void loader_give(struct loader *l, int fd, uint64_t generation)
{
    pthread_mutex_lock(&l->lock);
    if (l->bundle_fd >= 0)
        close(l->bundle_fd);
    l->bundle_fd = fd;
    l->generation = generation;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

uint64_t loader_active_clients(struct loader *l, int64_t wall, int64_t mono)
{
    pthread_mutex_lock(&l->lock);
    uint64_t n = active_clients(l, wall, mono);
    pthread_mutex_unlock(&l->lock);
    return n;
}
