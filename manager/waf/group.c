/*
 * Which entries a group holds, and in which of its sets. An entry stays where it is; a new one goes to the set that a
 * hash of its own prefers among those with room, so that a change of one entry is a change of one set, and one more
 * set moves nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include "base/hash.h"
#include "waf_priv.h"

#define MANY 64 /* evictions at once that are also told as a number */

size_t set_room(const struct set *s)
{
    if (s->missing || s->retired)
        return 0;
    if (!s->known)
        return s->owned.n < s->g->w->o.capacity ? s->owned.n : s->g->w->o.capacity;
    size_t foreign = s->content.n - plist_count_both(&s->content, &s->owned);
    return foreign < s->g->w->o.capacity ? s->g->w->o.capacity - foreign : 0;
}

/* Rendezvous hashing (Thaler, Ravishankar): the set with the highest weight for this prefix. */
static uint64_t weight(const struct sk_prefix *p, unsigned set)
{
    uint64_t h = sk_mix64(p->addr.q[0] + UINT64_C(0x9e3779b97f4a7c15) * (p->len + 1));
    h = sk_mix64(h ^ p->addr.q[1]);
    return sk_mix64(h + UINT64_C(0xd1342543de82ef95) * (set + 1));
}

unsigned group_home(const struct group *g, const struct sk_prefix *p)
{
    unsigned best = 0;
    for (unsigned i = 1; i < g->nconfigured; i++)
        if (weight(p, i) > weight(p, best))
            best = i;
    return best;
}

/* ---- what is carried over from the plan before ---- */

static void carry_over(struct items *to, const struct items *from)
{
    for (size_t i = 0, j = 0; i < to->n; i++) {
        while (j < from->n && plist_cmp(&from->e[j].p, &to->e[i].p) < 0)
            j++;
        if (j >= from->n || !plist_same(&from->e[j].p, &to->e[i].p))
            continue;
        to->e[i].set = from->e[j].set;
        to->e[i].since = from->e[j].since;
        to->e[i].ready = from->e[j].ready;
        to->e[i].evicted = from->e[j].evicted;
    }
}

/* After a start: an entry is where it was. */
static void carry_owned(struct group *g, struct items *to)
{
    for (unsigned i = 0; i < g->nsets; i++) {
        const struct set *s = &g->sets[i];
        for (size_t j = 0; j < s->owned.n; j++) {
            struct item *x = items_find(to, &s->owned.p[j]);
            if (x && x->set < 0 && (!s->known || plist_has(&s->content, &x->p)))
                x->set = (int16_t)i;
        }
    }
}

static void drop_refused(struct group *g, struct items *l)
{
    size_t k = 0;
    for (size_t i = 0; i < l->n; i++)
        if (g->refused.n == 0 || !plist_has(&g->refused, &l->e[i].p))
            l->e[k++] = l->e[i];
    l->n = k;
}

static uint8_t widest(const struct group *g)
{
    uint8_t fam = g->v6 ? g->w->o.aggregate_v6 : g->w->o.aggregate_v4;
    return fam == 0 ? 128 : (uint8_t)(g->v6 ? fam : fam + 96);
}

/* Aggregates once it does not fit, and until it would fit well again. */
static int collect(struct group *g, size_t room, struct items *out)
{
    const struct items *in = &g->w->family[g->v6];
    size_t shown = 0;
    for (size_t i = 0; i < in->n; i++)
        shown += in->e[i].shown;
    g->aggregating = shown > room || (g->aggregating && shown > room / 10 * 9);
    g->next = INT64_MAX;
    int rc = items_collect(in, g->aggregating ? widest(g) : 128, &g->w->times, out, &g->next);
    if (rc == SK_OK)
        drop_refused(g, out);
    return rc;
}

/* ---- eviction ---- */

struct ranked {
    struct rank rank;
    bool placed;
    uint32_t i;
};

/* The highest first. At equal rank those that are in stay in. */
static int cmp_ranked(const void *va, const void *vb)
{
    const struct ranked *a = va, *b = vb;
    int c = rank_cmp(&b->rank, &a->rank);
    if (c != 0)
        return c;
    if (a->placed != b->placed)
        return a->placed ? -1 : 1;
    return (a->i > b->i) - (a->i < b->i);
}

static struct ranked *rank_items(const struct items *l, int only_set, size_t *n)
{
    struct ranked *r = calloc(l->n ? l->n : 1, sizeof *r);
    *n = 0;
    for (size_t i = 0; r && i < l->n; i++)
        if (only_set < 0 || l->e[i].set == only_set)
            r[(*n)++] = (struct ranked){l->e[i].rank, l->e[i].set >= 0, (uint32_t)i};
    if (r)
        qsort(r, *n, sizeof *r, cmp_ranked);
    return r;
}

static void note_change(struct group *g, const struct item *x, unsigned *told)
{
    if (x->evicted)
        g->w->stats.evicted++;
    ++*told;
    char buf[SK_PREFIX_STRLEN];
    waf_note(g->w, x->evicted ? "waf-evicted" : "waf-returned", "%s %s %s %s-v%c", sk_prefix_format(&x->p, buf),
             g->at->t.scope == WAFV2_CLOUDFRONT ? "CLOUDFRONT" : "REGIONAL", g->at->t.region, g->at->t.prefix,
             g->v6 ? '6' : '4');
}

static void note_rest(struct group *g, unsigned out, unsigned back)
{
    if (out > MANY || back > MANY)
        waf_note(g->w, "waf-full", "%s %s-v%c: %u evicted and %u returned at once; %zu do not fit", g->at->t.region,
                 g->at->t.prefix, g->v6 ? '6' : '4', out, back, g->evicted);
}

static int evict(struct group *g, struct items *l, size_t room)
{
    unsigned out = 0, back = 0;
    size_t n = 0;
    struct ranked *r = l->n > room ? rank_items(l, -1, &n) : NULL;
    if (l->n > room && !r)
        return SK_ENOMEM;
    g->evicted = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct item *x = &l->e[r ? r[i].i : i];
        bool was = x->evicted;
        x->evicted = i >= room;
        g->evicted += x->evicted;
        if (x->evicted)
            x->set = -1;
        if (was != x->evicted)
            note_change(g, x, x->evicted ? &out : &back);
    }
    free(r);
    note_rest(g, out, back);
    return SK_OK;
}

/* ---- placement ---- */

/* A set that has more than it may hold, because others have put something in or it is gone: its lowest must move. */
static int unplace(struct group *g, struct items *l, unsigned set, size_t have, size_t room)
{
    if (have <= room)
        return SK_OK;
    size_t n;
    struct ranked *r = rank_items(l, (int)set, &n);
    if (!r)
        return SK_ENOMEM;
    for (size_t i = room; i < n; i++)
        l->e[r[i].i].set = -1;
    free(r);
    (void)g;
    return SK_OK;
}

/* Where it still is, else where the hash wants it, else the next that has room. */
static int choose_set(const struct group *g, const struct sk_prefix *p, const size_t *left)
{
    int best = -1;
    uint64_t most = 0;
    for (unsigned i = 0; i < g->nsets; i++) {
        if (left[i] == 0)
            continue;
        if (plist_has(&g->sets[i].content, p))
            return (int)i;
        uint64_t h = weight(p, i);
        if (best < 0 || h > most) {
            best = (int)i;
            most = h;
        }
    }
    return best;
}

static int place(struct group *g, struct items *l, int64_t now)
{
    size_t left[WAF_SETS_MAX], have[WAF_SETS_MAX] = {0};
    for (size_t i = 0; i < l->n; i++)
        if (l->e[i].set >= 0)
            have[l->e[i].set]++;
    for (unsigned s = 0; s < g->nsets; s++) {
        size_t room = set_room(&g->sets[s]);
        if (unplace(g, l, s, have[s], room) != SK_OK)
            return SK_ENOMEM;
        left[s] = have[s] < room ? room - have[s] : 0;
    }
    for (size_t i = 0; i < l->n; i++) {
        struct item *x = &l->e[i];
        if (x->since == 0) {
            x->since = now;
            x->ready = (x->ready < now ? x->ready : now) + g->w->o.coalesce;
        }
        if (x->set >= 0 || x->evicted)
            continue;
        int s = choose_set(g, &x->p, left);
        if (s < 0)
            continue; /* evict() left no more than there is room for */
        x->set = (int16_t)s;
        left[s]--;
    }
    return SK_OK;
}

static int want_reserve(struct set *s, size_t n)
{
    if (n <= s->want_cap)
        return SK_OK;
    uint32_t *m = realloc(s->want, n * sizeof *m);
    if (!m)
        return SK_ENOMEM;
    s->want = m;
    s->want_cap = n;
    return SK_OK;
}

static int deal_out(struct group *g, const struct items *l)
{
    size_t count[WAF_SETS_MAX] = {0};
    for (size_t i = 0; i < l->n; i++)
        if (l->e[i].set >= 0)
            count[l->e[i].set]++;
    for (unsigned s = 0; s < g->nsets; s++)
        if (want_reserve(&g->sets[s], count[s]) != SK_OK)
            return SK_ENOMEM;
    for (unsigned s = 0; s < g->nsets; s++)
        g->sets[s].nwant = 0;
    g->merged = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (l->e[i].set < 0)
            continue;
        struct set *s = &g->sets[l->e[i].set];
        s->want[s->nwant++] = (uint32_t)i;
        g->merged += l->e[i].merged;
    }
    return SK_OK;
}

int group_plan(struct group *g, int64_t now)
{
    size_t room = 0;
    for (unsigned i = 0; i < g->nsets; i++)
        room += set_room(&g->sets[i]);
    struct items *l = &g->spare;
    if (collect(g, room, l) != SK_OK)
        return SK_ENOMEM;
    carry_over(l, &g->items);
    if (g->fresh)
        carry_owned(g, l);
    if (evict(g, l, room) != SK_OK || place(g, l, now) != SK_OK || deal_out(g, l) != SK_OK)
        return SK_ENOMEM; /* the sets' lists may be of the old plan: the caller plans again before it writes */
    struct items t = g->items;
    g->items = g->spare;
    g->spare = t;
    g->fresh = g->dirty = false;
    g->planned = true;
    return SK_OK;
}

void group_diff(struct group *g, int64_t now)
{
    for (unsigned i = 0; i < g->nsets; i++)
        set_diff(&g->sets[i], now);
}
