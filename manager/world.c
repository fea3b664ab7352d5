#include "world.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/log.h"

#define KEY_MAX     (WAFV2_NAME_MAX + 64)
#define AUDIT_WHILE (60 * SK_NS_PER_S)
#define AUDIT_MOST  64
#define READ_GAP    (250 * SK_NS_PER_MS) /* AWS: five reads a second */

static const char *const scopes[] = {"REGIONAL", "CLOUDFRONT"};

static const char *or_null(const char *s)
{
    return s[0] != '\0' ? s : NULL;
}

int world_aws(const struct settings *s, struct aws **out)
{
    struct aws_options o = {.endpoint = or_null(s->aws.endpoint),
                            .imds = or_null(s->aws.imds),
                            .profile = or_null(s->aws.profile),
                            .ca_file = or_null(s->aws.ca_file),
                            .timeout_ms = (int)(s->aws.timeout / SK_NS_PER_MS)};
    return aws_open(&o, out);
}

static int fill_region(struct waf_target *t, struct aws *aws, char *own, char *why, size_t cap)
{
    if (t->scope == WAFV2_CLOUDFRONT)
        strcpy(t->region, "us-east-1");
    if (t->region[0] != '\0')
        return SK_OK;
    if (own[0] == '\0' && aws_region(aws, own) != SK_OK) {
        snprintf(why, cap, "waf.targets: no region is named, and the instance metadata tells none");
        return SK_ENOENT;
    }
    snprintf(t->region, sizeof(t->region), "%s", own);
    return SK_OK;
}

/* `never` and waf.never in one list. */
static struct sk_prefix *join_never(const struct settings *s, size_t *n)
{
    *n = s->never.n + s->waf.never.n;
    struct sk_prefix *all = calloc(*n + 1, sizeof(*all));
    for (uint32_t i = 0; all != NULL && i < s->never.n; i++)
        all[i] = s->never.v[i];
    for (uint32_t i = 0; all != NULL && i < s->waf.never.n; i++)
        all[s->never.n + i] = s->waf.never.v[i];
    return all;
}

int world_options(const struct settings *s, struct aws *aws, struct waf_options *out, char *why, size_t cap)
{
    char own[32] = "";
    struct waf_target *t = calloc(s->waf.ntargets + 1, sizeof(*t));
    *out = (struct waf_options){.targets = t,
                                .ntargets = s->waf.ntargets,
                                .write_gap = s->waf.write_gap,
                                .coalesce = s->waf.coalesce,
                                .read_back = s->waf.read_back,
                                .capacity = s->waf.capacity,
                                .aggregate_v4 = (uint8_t)s->waf.aggregate_v4,
                                .aggregate_v6 = (uint8_t)s->waf.aggregate_v6,
                                .dry_run = s->waf.dry_run};
    out->never = join_never(s, &out->nnever);
    int rc = t != NULL && out->never != NULL ? SK_OK : SK_ENOMEM;
    for (uint32_t i = 0; rc == SK_OK && i < s->waf.ntargets; i++) {
        t[i] = s->waf.targets[i];
        rc = fill_region(&t[i], aws, own, why, cap);
    }
    if (rc != SK_OK)
        world_options_free(out);
    return rc;
}

void world_options_free(struct waf_options *o)
{
    free((void *)o->targets);
    free((void *)o->never);
    o->targets = NULL;
    o->never = NULL;
}

/* ---- waf_world ---- */

struct entry_put {
    void (*put)(void *arg, const struct waf_entry *e);
    void *arg;
};

static void put_entry(void *arg, const struct store_entry *e)
{
    const struct entry_put *p = arg;
    struct waf_entry w = {.target = e->target,
                          .expires = e->expires * SK_NS_PER_MS,
                          .last = e->last * SK_NS_PER_MS,
                          .score = e->score,
                          .repeat = e->repeat,
                          .agents = e->agents};
    p->put(p->arg, &w);
}

static int entries(void *ctx, int64_t now, void (*put)(void *arg, const struct waf_entry *e), void *arg)
{
    struct world *w = ctx;
    struct entry_put p = {.put = put, .arg = arg};
    return store_entries(w->store, now / SK_NS_PER_MS, put_entry, &p);
}

uint64_t world_changed(void *world)
{
    struct world *w = world;
    int64_t last, first;
    char epoch[STORE_SPOOL_LEN];
    if (store_seq(w->store, &last, &first, epoch) == SK_OK)
        w->seq = (uint64_t)last; /* a database that is away changes nothing */
    return w->seq;
}

static int owned(void *ctx, const char *set, void (*put)(void *arg, const struct sk_prefix *p), void *arg)
{
    return store_waf_owned(((struct world *)ctx)->store, set, put, arg);
}

static int own(void *ctx, const char *set, const struct sk_prefix *add, size_t nadd, const struct sk_prefix *del,
               size_t ndel)
{
    return store_waf_own(((struct world *)ctx)->store, set, add, nadd, del, ndel);
}

/* Of what attackers can cause in thousands the log has each, and the audit the first of a while and the sum. */
static bool is_for_audit(struct world *w, const char *what)
{
    if (strcmp(what, "waf-evicted") != 0 && strcmp(what, "waf-returned") != 0)
        return true;
    int64_t now = sk_now_mono();
    if (now - w->audit_since > AUDIT_WHILE) {
        w->audit_since = now;
        w->audited = 0;
    }
    return w->audited++ < AUDIT_MOST;
}

static void note(void *ctx, const char *what, const char *detail)
{
    struct world *w = ctx;
    if (w->quiet)
        return;
    sk_log(SK_LOG_WARN, "%s: %s", what, detail);
    if (!is_for_audit(w, what))
        return;
    if (store_audit(w->store, sk_now_wall() / SK_NS_PER_MS, "manager", what, detail) != SK_OK)
        sk_log(SK_LOG_ERROR, "the audit log cannot be written: %s", store_error(w->store));
}

static bool leading(void *ctx)
{
    struct world *w = ctx;
    return w->leads && store_lead(w->store) == SK_OK;
}

static const char *memo_of(enum waf_event what)
{
    return what == WAF_WRITES ? "waf.writing" : "waf.failing";
}

/* Not kept: whoever leads next waits for a second that it need not wait. */
static void happens(void *ctx, enum waf_event what)
{
    struct world *w = ctx;
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)(sk_now_wall() / SK_NS_PER_MS));
    if (store_memo_set(w->store, memo_of(what), text) != SK_OK)
        sk_log(SK_LOG_WARN, "AWS WAF: the time of %s cannot be kept: %s",
               what == WAF_WRITES ? "the write" : "the failure", store_error(w->store));
}

static int64_t happened(void *ctx, enum waf_event what)
{
    char *text = NULL;
    if (store_memo_get(((struct world *)ctx)->store, memo_of(what), &text) != SK_OK)
        return 0;
    int64_t ms = strtoll(text, NULL, 10);
    free(text);
    return ms > 0 && ms < INT64_MAX / SK_NS_PER_MS ? ms * SK_NS_PER_MS : 0;
}

/* ---- the copy of the sets ---- */

static struct world_set *slot(struct world *w, enum wafv2_scope scope, const char *region, const char *name)
{
    for (unsigned i = 0; i < w->nsets; i++)
        if (w->sets[i].scope == scope && strcmp(w->sets[i].region, region) == 0 && strcmp(w->sets[i].name, name) == 0)
            return &w->sets[i];
    if (w->nsets == WORLD_SETS)
        return NULL;
    struct world_set *s = &w->sets[w->nsets++];
    s->scope = scope;
    snprintf(s->region, sizeof(s->region), "%s", region);
    snprintf(s->name, sizeof(s->name), "%s", name);
    return s;
}

static void remember(struct world *w, const struct wafv2_set *set, const struct sk_prefix *addr, size_t n)
{
    struct sk_prefix *copy = malloc((n + 1) * sizeof(*copy));
    if (copy == NULL)
        return; /* the older copy stays */
    if (n > 0)
        memcpy(copy, addr, n * sizeof(*copy));
    pthread_mutex_lock(&w->lock);
    struct world_set *s = slot(w, set->scope, set->region, set->name);
    if (s != NULL) {
        free(s->addr);
        s->addr = copy;
        s->n = n;
        copy = NULL;
    }
    pthread_mutex_unlock(&w->lock);
    free(copy);
}

void world_pace(struct world *w)
{
    int64_t left = w->paced ? w->read_at + READ_GAP - sk_now_mono() : 0;
    struct timespec ts = {.tv_sec = left / SK_NS_PER_S, .tv_nsec = left % SK_NS_PER_S};
    if (w->read_at != 0 && left > 0)
        nanosleep(&ts, NULL);
    w->read_at = sk_now_mono();
}

static int op_get(void *ctx, struct wafv2_set *s, struct aws_answer *e)
{
    struct world *w = ctx;
    world_pace(w);
    int rc = wafv2_aws_ops.get(w->aws, s, e);
    if (rc == SK_OK)
        remember(w, s, s->addr, s->n);
    return rc;
}

static int op_update(void *ctx, struct wafv2_set *s, const struct sk_prefix *addr, size_t n, struct aws_answer *e)
{
    struct world *w = ctx;
    int rc = wafv2_aws_ops.update(w->aws, s, addr, n, e);
    if (rc == SK_OK)
        remember(w, s, addr, n);
    return rc;
}

static int op_create(void *ctx, struct wafv2_set *s, struct aws_answer *e)
{
    return wafv2_aws_ops.create(((struct world *)ctx)->aws, s, e);
}

static int op_find(void *ctx, struct wafv2_set *s, struct aws_answer *e)
{
    world_pace(ctx);
    return wafv2_aws_ops.find(((struct world *)ctx)->aws, s, e);
}

static const struct wafv2_ops ops = {.get = op_get, .update = op_update, .create = op_create, .find = op_find};

char *world_where(void *world, const struct sk_prefix *target)
{
    struct world *w = world;
    json_t *found = json_array();
    pthread_mutex_lock(&w->lock);
    for (unsigned i = 0; i < w->nsets; i++) {
        const struct world_set *s = &w->sets[i];
        for (size_t k = 0; k < s->n; k++)
            if (sk_prefix_covers(&s->addr[k], target)) {
                json_array_append_new(
                    found, json_pack("{s:s,s:s,s:s}", "set", s->name, "scope", scopes[s->scope], "region", s->region));
                break;
            }
    }
    pthread_mutex_unlock(&w->lock);
    char *text = json_array_size(found) > 0 ? json_dumps(found, JSON_COMPACT) : NULL;
    json_decref(found);
    return text;
}

/* ---- a manager that does not write ---- */

struct gather {
    struct sk_prefix *p;
    size_t n, cap;
};

static void gather_one(void *arg, const struct sk_prefix *p)
{
    struct gather *g = arg;
    if (g->n == g->cap) {
        size_t cap = g->cap != 0 ? 2 * g->cap : 256;
        struct sk_prefix *more = realloc(g->p, cap * sizeof(*more));
        if (more == NULL)
            return;
        g->p = more;
        g->cap = cap;
    }
    g->p[g->n++] = *p;
}

static void copy_set(struct world *w, const struct waf_target *t, bool v6, unsigned index)
{
    struct wafv2_set set = {.scope = t->scope, .v6 = v6};
    struct gather g = {.n = 0};
    char key[KEY_MAX + 64];
    snprintf(set.region, sizeof(set.region), "%s", t->region);
    snprintf(set.name, sizeof(set.name), "%.64s-v%d-%u", t->prefix, v6 ? 6 : 4, index);
    snprintf(key, sizeof(key), "%s/%s/%s", scopes[t->scope], t->region, set.name); /* as the writer calls it */
    if (store_waf_owned(w->store, key, gather_one, &g) == SK_OK)
        remember(w, &set, g.p, g.n);
    free(g.p);
}

void world_copy_owned(struct world *w)
{
    for (unsigned i = 0; i < w->options->ntargets; i++) {
        const struct waf_target *t = &w->options->targets[i];
        for (unsigned k = 0; k < t->sets_v4; k++)
            copy_set(w, t, false, k);
        for (unsigned k = 0; k < t->sets_v6; k++)
            copy_set(w, t, true, k);
    }
}

/* ---- life ---- */

int world_open(struct world *w, struct store *store, struct aws *aws, const struct waf_options *o)
{
    *w = (struct world){.store = store, .aws = aws, .options = o};
    w->sets = calloc(WORLD_SETS, sizeof(*w->sets));
    if (w->sets == NULL)
        return SK_ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    return SK_OK;
}

void world_close(struct world *w)
{
    if (w->sets == NULL)
        return;
    for (unsigned i = 0; i < w->nsets; i++)
        free(w->sets[i].addr);
    free(w->sets);
    w->sets = NULL;
    pthread_mutex_destroy(&w->lock);
}

int world_waf(struct world *w, struct waf **out)
{
    struct waf_world world = {.ctx = w,
                              .entries = entries,
                              .changed = world_changed,
                              .owned = owned,
                              .own = own,
                              .note = note,
                              .leading = leading,
                              .happens = happens,
                              .happened = happened};
    return waf_create(w->options, &world, &ops, w, out);
}

/* ---- status ---- */

static json_t *set_status(const struct waf *waf, unsigned i)
{
    struct waf_set_status s;
    waf_set_status(waf, i, &s);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s}", "set", s.name, "scope",
                     scopes[s.target->scope], "region", s.target->region, "id", s.id, "arn", s.arn, "v6", (int)s.v6,
                     "known", (int)s.known, "converged", (int)s.converged, "ours", (json_int_t)s.ours, "foreign",
                     (json_int_t)s.foreign, "wanted", (json_int_t)s.wanted, "evicted", (json_int_t)s.evicted, "read_ms",
                     (json_int_t)(s.read_at / SK_NS_PER_MS), "written_ms", (json_int_t)(s.written_at / SK_NS_PER_MS),
                     "failing_since_ms", (json_int_t)(s.failing_since / SK_NS_PER_MS), "error", s.error);
}

int world_status(const struct waf *waf, const struct waf_options *o, const char *manager, int64_t now, char **json)
{
    const struct waf_stats *t = waf_stats(waf);
    json_t *sets = json_array();
    for (unsigned i = 0; i < waf_sets(waf); i++)
        json_array_append_new(sets, set_status(waf, i));
    json_t *j = json_pack(
        "{s:s,s:I,s:b,s:b,s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I},s:I,s:I,s:o}", "manager", manager, "time_ms",
        (json_int_t)(now / SK_NS_PER_MS), "dry_run", (int)o->dry_run, "converged", (int)waf_converged(waf), "counters",
        "writes", (json_int_t)t->writes, "reads", (json_int_t)t->reads, "conflicts", (json_int_t)t->conflicts,
        "throttled", (json_int_t)t->throttled, "failures", (json_int_t)t->failures, "evicted", (json_int_t)t->evicted,
        "aggregated", (json_int_t)t->aggregated, "last_write_ms", (json_int_t)(t->last_write / SK_NS_PER_MS),
        "last_ok_ms", (json_int_t)(t->last_ok / SK_NS_PER_MS), "sets", sets);
    *json = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return *json != NULL ? SK_OK : SK_ENOMEM;
}
