/*
 * What a set is to hold: what is foreign, what of ours is wanted here, and for a while what of ours is replaced by
 * something that is not written yet.
 */
#include "waf_priv.h"

/* Is what the group wants for p (itself elsewhere, a wider one, or the parts of it) not all in AWS yet? */
static bool unwritten(const struct group *g, const struct item *x)
{
    if (x->evicted || x->set < 0)
        return false;
    const struct set *s = &g->sets[x->set];
    return !s->known || !plist_has(&s->content, &x->p);
}

static bool wider_unwritten(const struct group *g, const struct sk_prefix *p)
{
    const struct items *l = &g->items;
    for (unsigned len = 0; len <= p->len; len++) {
        if (!plist_marked(l->lens, len))
            continue;
        struct sk_prefix wide = sk_prefix_make(&p->addr, (uint8_t)len);
        const struct item *x = items_find(l, &wide);
        if (x && unwritten(g, x))
            return true;
    }
    return false;
}

static bool parts_unwritten(const struct group *g, const struct sk_prefix *p)
{
    const struct items *l = &g->items;
    for (size_t i = items_lower(l, p); i < l->n && sk_prefix_covers(p, &l->e[i].p); i++)
        if (unwritten(g, &l->e[i]))
            return true;
    return false;
}

int64_t set_keeps(const struct set *s, const struct sk_prefix *p)
{
    const struct group *g = s->g;
    if (!wider_unwritten(g, p) && !parts_unwritten(g, p))
        return 0;
    /* Under pressure it goes somewhat before its end all the same: it must be gone in time. */
    int64_t until = items_blocked_until(&g->w->family[g->v6], p) - g->w->early / 2;
    return until > g->w->times.now ? until : 0;
}

/* Walks content and want side by side; fn gets each prefix once. */
struct walk {
    const struct set *s;
    size_t c, o, w;
};
struct step {
    const struct sk_prefix *p;
    bool there, owned, wanted;
    int64_t since, ready;
};

static const struct sk_prefix *wanted_at(const struct set *s, size_t i)
{
    return i < s->nwant ? &s->g->items.e[s->want[i]].p : NULL;
}

static bool walk_next(struct walk *k, struct step *out)
{
    const struct set *s = k->s;
    const struct sk_prefix *c = k->c < s->content.n ? &s->content.p[k->c] : NULL, *w = wanted_at(s, k->w);
    if (!c && !w)
        return false;
    int cmp = !c ? 1 : !w ? -1 : plist_cmp(c, w);
    out->p = cmp <= 0 ? c : w;
    out->there = cmp <= 0;
    out->wanted = cmp >= 0;
    out->since = cmp >= 0 ? s->g->items.e[s->want[k->w]].since : 0;
    out->ready = cmp >= 0 ? s->g->items.e[s->want[k->w]].ready : 0;
    while (k->o < s->owned.n && plist_cmp(&s->owned.p[k->o], out->p) < 0)
        k->o++;
    out->owned = k->o < s->owned.n && plist_same(&s->owned.p[k->o], out->p);
    k->c += cmp <= 0;
    k->w += cmp >= 0;
    return true;
}

static size_t spare_room(const struct set *s, size_t held)
{
    size_t cap = s->g->w->o.capacity;
    return held < cap ? cap - held : 0;
}

/* From when what is to be removed has waited: a lift cannot be foreseen, and is as urgent as an end that could. */
static int64_t waits_since(const struct set *s, const struct sk_prefix *p, int64_t now)
{
    const struct group *g = s->g;
    return items_blocked_until(&g->w->family[g->v6], p) > now ? now : now - g->w->early;
}

void set_diff(struct set *s, int64_t now)
{
    struct walk k = {.s = s};
    struct step x;
    int64_t del_since = s->del_since;
    s->nadd = s->ndel = s->nkeep = s->nforeign = s->nours = 0;
    s->add_since = s->add_ready = s->del_since = s->keep_until = INT64_MAX;
    if (!s->known)
        return;
    size_t spare = spare_room(s, s->nwant + s->content.n - plist_count_both(&s->content, &s->owned));
    while (walk_next(&k, &x)) {
        s->nforeign += x.there && !x.owned;
        s->nours += x.there && x.owned;
        if (x.wanted && !x.there) {
            s->nadd++;
            if (x.since < s->add_since)
                s->add_since = x.since;
            if (x.ready < s->add_ready)
                s->add_ready = x.ready;
        } else if (!x.wanted && x.there && x.owned) {
            int64_t until = s->nkeep < spare ? set_keeps(s, x.p) : 0;
            s->nkeep += until != 0;
            s->ndel += until == 0;
            if (until != 0 && until < s->keep_until)
                s->keep_until = until;
            int64_t since = until == 0 ? waits_since(s, x.p, now) : INT64_MAX;
            if (since < s->del_since)
                s->del_since = since;
        }
    }
    s->nstale = s->owned.n - s->nours;
    if (s->ndel > 0 && del_since < s->del_since)
        s->del_since = del_since;
}

int set_build(struct set *s, struct plist *out, struct plist *new, size_t *nadd)
{
    struct walk k = {.s = s};
    struct step x;
    size_t kept = 0, spare = spare_room(s, s->nwant + s->nforeign);
    *nadd = 0;
    plist_reset(out);
    plist_reset(new);
    while (walk_next(&k, &x)) {
        if (!x.there && (*nadd >= s->add_max || !x.wanted))
            continue;
        if (x.there && x.owned && !x.wanted && !(kept < spare && set_keeps(s, x.p) && ++kept))
            continue;
        *nadd += !x.there;
        if (plist_add(out, x.p) != SK_OK || (!x.there && !x.owned && plist_add(new, x.p) != SK_OK))
            return SK_ENOMEM;
    }
    plist_sort(out);
    plist_sort(new);
    return SK_OK;
}
