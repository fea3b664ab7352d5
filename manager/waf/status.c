/* What others ask: how far it is, where an address is, what would be done. */
#include <stdio.h>
#include "waf_priv.h"

const struct waf_stats *waf_stats(const struct waf *w)
{
    return &w->stats;
}

unsigned waf_sets(const struct waf *w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < w->ngroups; i++)
        n += w->groups[i].nsets;
    return n;
}

static struct set *set_at(const struct waf *w, unsigned i)
{
    for (unsigned g = 0; g < w->ngroups; g++) {
        if (i < w->groups[g].nsets)
            return &w->groups[g].sets[i];
        i -= w->groups[g].nsets;
    }
    return NULL;
}

static bool set_converged(const struct set *s)
{
    return s->known && !s->stale && s->g->planned && !s->g->dirty && s->nadd == 0 && s->ndel == 0;
}

bool waf_converged(const struct waf *w)
{
    if (!w->loaded || w->world.changed(w->world.ctx) != w->loaded_at)
        return false;
    for (unsigned i = 0; i < waf_sets(w); i++)
        if (!set_converged(set_at(w, i)))
            return false;
    return true;
}

static size_t evicted_from(const struct set *s)
{
    size_t n = 0;
    const struct group *g = s->g;
    if (g->evicted == 0 || s->retired)
        return 0;
    for (size_t i = 0; i < g->items.n; i++)
        n += g->items.e[i].evicted && &g->sets[group_home(g, &g->items.e[i].p)] == s;
    return n;
}

void waf_set_status(const struct waf *w, unsigned i, struct waf_set_status *out)
{
    const struct set *s = set_at(w, i);
    memset(out, 0, sizeof *out);
    if (!s)
        return;
    out->target = &s->g->at->t;
    snprintf(out->name, sizeof out->name, "%s", s->name);
    snprintf(out->id, sizeof out->id, "%s", s->id);
    snprintf(out->arn, sizeof out->arn, "%s", s->arn);
    snprintf(out->error, sizeof out->error, "%s", s->error);
    out->v6 = s->g->v6;
    out->known = s->known;
    out->converged = set_converged(s);
    out->ours = plist_count_both(&s->content, &s->owned);
    out->foreign = s->content.n - out->ours;
    out->wanted = s->nwant;
    out->evicted = evicted_from(s);
    out->read_at = s->read_at;
    out->written_at = s->written_at;
    out->failing_since = s->failing_since;
}

bool waf_has(const struct waf *w, const struct sk_prefix *p, char *buf, size_t cap)
{
    size_t len = 0;
    bool any = false;
    if (cap > 0)
        buf[0] = '\0';
    for (unsigned i = 0; i < waf_sets(w); i++) {
        const struct set *s = set_at(w, i);
        if (!s->known || !plist_covers(&s->content, p))
            continue;
        any = true;
        size_t need = strlen(s->key) + (len ? 2 : 0);
        if (len + need >= cap)
            continue;
        len += (size_t)snprintf(buf + len, cap - len, "%s%s", len ? ", " : "", s->key);
    }
    return any;
}

/* ---- plan ---- */

struct plan_call {
    waf_plan_fn *fn;
    void *arg;
};

static void plan_set(struct waf *w, struct set *s, const struct waf_set_status *st, const struct plan_call *c)
{
    size_t nadd;
    if (!s->known || set_build(s, &w->tmp, &w->tmp2, &nadd) != SK_OK)
        return;
    if (plist_minus(&w->tmp, &s->content, &w->tmp3) == SK_OK)
        for (size_t i = 0; i < w->tmp3.n; i++) {
            const struct item *x = items_find(&s->g->items, &w->tmp3.p[i]);
            c->fn(c->arg, st, '+', &w->tmp3.p[i], x && x->merged ? "wanted, aggregated" : "wanted");
        }
    if (plist_minus(&s->content, &w->tmp, &w->tmp3) == SK_OK)
        for (size_t i = 0; i < w->tmp3.n; i++) {
            const struct item *x = items_find(&s->g->items, &w->tmp3.p[i]);
            c->fn(c->arg, st, '-', &w->tmp3.p[i], x && x->evicted ? "evicted: full" : "not wanted any more");
        }
}

static void plan_evicted(const struct set *s, const struct waf_set_status *st, const struct plan_call *c)
{
    const struct group *g = s->g;
    for (size_t i = 0; st->evicted > 0 && i < g->items.n; i++)
        if (g->items.e[i].evicted && &g->sets[group_home(g, &g->items.e[i].p)] == s)
            c->fn(c->arg, st, '!', &g->items.e[i].p, "does not fit");
}

int waf_plan(struct waf *w, int64_t now, waf_plan_fn *fn, void *arg)
{
    struct plan_call c = {fn, arg};
    int rc = waf_prepare(w, now);
    for (unsigned i = 0; rc == SK_OK && i < waf_sets(w); i++) {
        struct set *s = set_at(w, i);
        struct waf_set_status st;
        waf_set_status(w, i, &st);
        plan_set(w, s, &st, &c);
        plan_evicted(s, &st, &c);
    }
    return rc;
}
