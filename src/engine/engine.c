/* What workers share: configuration, and the generation of rules in force. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine_internal.h"

#define SCORED_CLIENTS 65536 /* clients with points at once */

static const char private_networks[] = "[192.168.0.0/16,10.0.0.0/8,172.16.0.0/12]";

static void copy_ports(uint16_t *to, const struct conf_tunnel *t)
{
    for (unsigned i = 0; i < CONF_MAX_PORTS; i++)
        to[i] = t->ports[i];
}

static void set_decode(struct engine *e, const struct conf *conf)
{
    enum conf_tristate verify = conf->capture.checksum_validation;
    e->decode.verify_csum = verify != CONF_NO; /* auto: frames say where there is nothing to verify (decode/packet.h) */
    e->decode.vxlan = conf->vxlan.enabled;
    e->decode.geneve = conf->geneve.enabled;
    e->decode.teredo = conf->teredo.enabled;
    copy_ports(e->decode.vxlan_ports, &conf->vxlan);
    copy_ports(e->decode.geneve_ports, &conf->geneve);
    copy_ports(e->decode.teredo_ports, &conf->teredo);
}

static int create_hops(struct engine *e)
{
    const struct conf_proxies *p = &e->conf->proxies;
    struct identity_conf ic = {.http = p->http.v,
                               .nhttp = p->http.n,
                               .proxy = p->proxy_protocol.v,
                               .nproxy = p->proxy_protocol.n,
                               .opaque = p->opaque.v,
                               .nopaque = p->opaque.n,
                               .header = p->header};
    return p->http.n || p->proxy_protocol.n || p->opaque.n ? identity_rules_create(&ic, &e->hops) : SK_OK;
}

/* What all workers decide with. */
static int create_judgement(struct engine *e)
{
    static const struct sk_hash_key fixed = {1, 2};
    const struct conf_decide *d = &e->conf->decide;
    int rc = active_create(d->brake.window, e->opt.fixed_seeds ? &fixed : NULL, &e->active);
    if (rc == SK_OK && d->score.enabled)
        rc = decide_scores_create(&d->score, SCORED_CLIENTS, &e->scores);
    if (rc == SK_OK && d->flood.action != CONF_FLOOD_NONE)
        rc = flood_detector_create(&d->flood, &e->floods);
    return rc;
}

int engine_create(const struct conf *conf, const struct engine_options *opt, struct engine **out)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return SK_ENOMEM;
    e->conf = conf;
    e->opt = *opt;
    e->prevent = conf->mode == CONF_PREVENT;
    set_decode(e, conf);
    e->inspect = (struct inspect_conf){.pcre_match_limit = conf->detect.pcre_match_limit,
                                       .pcre_depth_limit = conf->detect.pcre_recursion_limit,
                                       .pcre_heap_limit_kib = conf->detect.pcre_heap_limit / 1024};
    pthread_mutex_init(&e->lock, NULL);
    e->home_found = opt->home_net != NULL;
    e->home_net = strdup(opt->home_net ? opt->home_net : private_networks);
    int rc = e->home_net ? detect_thresholds_create(conf->detect.threshold_memcap / 32, &e->thresholds) : SK_ENOMEM;
    if (rc == SK_OK)
        rc = create_hops(e);
    if (rc == SK_OK)
        rc = create_judgement(e);
    if (rc != SK_OK) {
        engine_free(e);
        return rc;
    }
    *out = e;
    return SK_OK;
}

static void free_rules(struct engine_rules *r)
{
    if (!r)
        return;
    detect_set_free(r->set);
    rule_set_free(r->tree);
    free(r);
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    while (e->retired) {
        struct engine_rules *r = e->retired;
        e->retired = r->next;
        free_rules(r);
    }
    free_rules(e->rules);
    detect_thresholds_free(e->thresholds);
    identity_rules_free(e->hops);
    decide_scores_free(e->scores);
    flood_detector_free(e->floods);
    active_free(e->active);
    pthread_mutex_destroy(&e->lock);
    free(e->home_net);
    free(e);
}

/* HOME_NET "auto", or one that nobody gave where the caller found the host's own. */
static bool is_auto_home(const struct engine *e, const struct conf_var *v)
{
    return strcmp(v->text, "auto") == 0 || (e->home_found && !v->given && strcmp(v->name, "HOME_NET") == 0);
}

/* Variables as the rule reader wants them. */
static struct rule_var *variables(const struct engine *e, const struct conf_vars *groups)
{
    struct rule_var *v = calloc(groups->n + 1, sizeof *v);
    for (uint32_t i = 0; v && i < groups->n; i++) {
        const struct conf_var *g = &groups->v[i];
        v[i] = (struct rule_var){.name = g->name, .text = is_auto_home(e, g) ? e->home_net : g->text};
    }
    return v;
}

static int feed(struct rule_loader *l, const struct engine_text *t, int kind, uint32_t *rejected)
{
    if ((int)t->kind != kind)
        return SK_OK;
    int rc;
    switch (t->kind) {
    case ENGINE_CLASSES: return rule_loader_classification(l, t->name, t->text, t->len);
    case ENGINE_THRESHOLDS: return rule_loader_thresholds(l, t->name, t->text, t->len);
    case ENGINE_RULES:
        rc = rule_loader_rules(l, t->name, t->text, t->len);
        if (rc < 0)
            return rc;
        *rejected += (uint32_t)rc;
        return SK_OK;
    }
    return SK_EINVAL;
}

static int parse_rules(struct engine *e, const struct engine_text *texts, unsigned n, const struct sk_diag_sink *diag,
                       struct engine_rules *r, uint32_t *rejected)
{
    struct rule_var *addr = variables(e, &e->conf->address_groups), *port = variables(e, &e->conf->port_groups);
    struct rule_loader *l = NULL;
    int rc = SK_ENOMEM;
    if (!addr || !port)
        goto out;
    struct rule_conf rcf = {
        .addr_vars = addr, .naddr = e->conf->address_groups.n, .port_vars = port, .nport = e->conf->port_groups.n};
    rc = rule_loader_create(&rcf, diag, &l);
    static const int order[] = {ENGINE_CLASSES, ENGINE_RULES, ENGINE_THRESHOLDS};
    for (unsigned k = 0; rc == SK_OK && k < 3; k++)
        for (unsigned i = 0; rc == SK_OK && i < n; i++)
            rc = feed(l, &texts[i], order[k], rejected);
    if (rc == SK_OK && e->hops)
        engine_client_outside(r, l);
    if (rc == SK_OK) {
        engine_judge_home(r, l);
        rc = rule_loader_finish(l, &r->tree);
        l = NULL;
    }
out:
    if (l)
        rule_loader_free(l);
    free(addr);
    free(port);
    return rc;
}

void engine_reap(struct engine *e)
{
    for (struct engine_rules **p = &e->retired; *p;) {
        struct engine_rules *r = *p;
        bool used = false;
        for (unsigned i = 0; i < SK_MAX_WORKERS; i++)
            used |= e->workers[i] && __atomic_load_n(&e->workers[i]->rules, __ATOMIC_ACQUIRE) == r;
        if (used) {
            p = &r->next;
            continue;
        }
        *p = r->next;
        free_rules(r);
    }
}

static void put_in_force(struct engine *e, struct engine_rules *r)
{
    pthread_mutex_lock(&e->lock);
    struct engine_rules *old = e->rules;
    __atomic_store_n(&e->rules, r, __ATOMIC_RELEASE);
    if (old) {
        old->next = e->retired;
        e->retired = old;
    }
    engine_reap(e);
    pthread_mutex_unlock(&e->lock);
}

static void fill_stats(struct engine_rule_stats *st, const struct engine_rules *r, uint32_t rejected)
{
    struct detect_stats d;
    detect_set_stats(r->set, &d);
    st->loaded = d.rules;
    st->rejected = rejected + d.rejected;
    st->slow = d.slow;
    st->groups = d.groups;
    st->databases = d.databases;
    st->memory = d.memory;
}

/* Passes findings on and counts those of level error. */
struct error_count {
    const struct sk_diag_sink *to;
    unsigned errors;
};

static void count_error(void *arg, const struct sk_diag *d)
{
    struct error_count *c = arg;
    c->errors += d->level == SK_DIAG_ERROR;
    if (c->to)
        c->to->fn(c->to->arg, d);
}

static bool is_stream_event(const char *name)
{
    return stream_event_find(name) != STREAM_EV_NONE;
}

int engine_load(struct engine *e, const struct engine_text *texts, unsigned n, bool strict,
                const struct sk_diag_sink *to, struct engine_rule_stats *stats)
{
    struct engine_rule_stats st = {0};
    struct error_count count = {.to = to};
    const struct sk_diag_sink counting = {.fn = count_error, .arg = &count}, *diag = &counting;
    struct engine_rules *r = calloc(1, sizeof *r);
    if (!r)
        return SK_ENOMEM;
    uint32_t rejected = 0;
    int64_t t0 = sk_now_mono();
    int rc = parse_rules(e, texts, n, diag, r, &rejected);
    int64_t t1 = sk_now_mono();
    struct detect_conf dc = {.inspect = e->inspect, .stream_event_known = is_stream_event};
    if (rc == SK_OK)
        rc = detect_compile(r->tree, &dc, diag, &r->set);
    if (rc == SK_OK) {
        st.parse_seconds = (double)(t1 - t0) / 1e9;
        st.compile_seconds = (double)(sk_now_mono() - t1) / 1e9;
        fill_stats(&st, r, rejected);
        if (stats)
            *stats = st;
        if (count.errors && (strict || st.loaded == 0))
            rc = SK_EINVAL;
    }
    if (rc != SK_OK) {
        free_rules(r);
        return rc;
    }
    put_in_force(e, r);
    return SK_OK;
}

uint64_t engine_active_clients(const struct engine *e, int64_t now)
{
    return active_count(e->active, now);
}
