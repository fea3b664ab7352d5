/*
 * When what is done. A step is: are we leading? what is wanted (at most once a write's gap)? then one call to AWS: the
 * write whose turn it is, or a read that is due.
 *
 * Turns: the set that has waited longest writes. A removal waits from the moment that it is due, and a lift as if it
 * had been due w->early (below) ago, as an end would; an addition from `coalesce` plus HANDICAP behind the moment that
 * it came. So removals go first, nothing starves, and targets share the one write a second.
 *
 * Pressure: when more sets wait than can be written in LATE, entries are taken for over that much earlier (w->early):
 * rather a few seconds too early in AWS, where the host still blocks, than too late.
 *
 * Trouble: for some minutes after a failure an end is begun TROUBLE_EARLY before it. With the five seconds after it
 * that makes room for eight tries or more, of which one must succeed; they come once a second. It must be so much from
 * the first failure on: what grows only with the failures seen is too little whenever it begins, and too much later.
 * When somebody else led before, or this one before it was started again, his last failure counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include "base/hash.h"
#include "waf_priv.h"

#define HANDICAP      (3 * SK_NS_PER_S)
#define LATE          SK_NS_PER_S
#define FAILS_MAX     500 /* per mille */
#define LEAD          (30 * SK_NS_PER_S)
#define EARLY_MAX     (90 * SK_NS_PER_S)
#define TROUBLE_EARLY (7 * SK_NS_PER_S)
#define TROUBLE_LASTS (300 * SK_NS_PER_S)
#define LANDING       (READ_FRESH + 300 * SK_NS_PER_MS) /* from the announcement of a write until it is at AWS */
#define REFRESH_GAP   (500 * SK_NS_PER_MS)              /* between two plans while nothing is written */
#define CLOCK_BACK    (600 * SK_NS_PER_S)               /* cutoff ahead of now by that: the clock was put back */
#define IDLE          (60 * SK_NS_PER_S)
#define MAKE_TRIES    3 /* then the others go on without it */
#define TARGETS_MAX   32

/* ---- making ---- */

static bool name_is_valid(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > 63)
        return false;
    for (; *s; s++)
        if (!((*s >= '0' && *s <= '9') || ((*s | 0x20) >= 'a' && (*s | 0x20) <= 'z') || *s == '_' || *s == '-'))
            return false;
    return true;
}

static int take_target(struct where *at, const struct waf_target *t)
{
    at->t = *t;
    if (t->scope == WAFV2_CLOUDFRONT)
        snprintf(at->t.region, sizeof at->t.region, "us-east-1");
    if (!name_is_valid(t->prefix) || at->t.region[0] == '\0' || strnlen(t->region, sizeof t->region) >= 32)
        return SK_EINVAL;
    return t->sets_v4 + t->sets_v6 >= 1 && t->sets_v4 <= WAF_SETS_MAX && t->sets_v6 <= WAF_SETS_MAX &&
                   t->sets_v4 + t->sets_v6 <= WAF_SETS_MAX
               ? SK_OK
               : SK_EINVAL;
}

static bool same_target(const struct waf_target *a, const struct waf_target *b)
{
    return a->scope == b->scope && strcmp(a->region, b->region) == 0 && strcmp(a->prefix, b->prefix) == 0;
}

static int take_targets(struct waf *w, const struct waf_options *o)
{
    if (o->ntargets == 0 || o->ntargets > TARGETS_MAX)
        return SK_EINVAL;
    w->where = calloc(o->ntargets, sizeof *w->where);
    if (!w->where)
        return SK_ENOMEM;
    for (unsigned i = 0; i < o->ntargets; i++) {
        int rc = take_target(&w->where[i], &o->targets[i]);
        for (unsigned j = 0; rc == SK_OK && j < i; j++)
            if (same_target(&w->where[i].t, &w->where[j].t))
                rc = SK_EINVAL;
        if (rc != SK_OK)
            return rc;
    }
    return SK_OK;
}

static void name_set(struct set *s, unsigned i)
{
    const struct waf_target *t = &s->g->at->t;
    snprintf(s->name, sizeof s->name, "%s-v%c-%u", t->prefix, s->g->v6 ? '6' : '4', i);
    snprintf(s->key, sizeof s->key, "%s/%s/%s", t->scope == WAFV2_CLOUDFRONT ? "CLOUDFRONT" : "REGIONAL", t->region,
             s->name);
}

static int make_group(struct waf *w, struct where *at, bool v6)
{
    struct group *g = &w->groups[w->ngroups++];
    g->w = w;
    g->at = at;
    g->v6 = v6;
    g->fresh = true;
    g->nsets = g->nconfigured = v6 ? at->t.sets_v6 : at->t.sets_v4;
    g->sets = calloc(WAF_SETS_MAX, sizeof *g->sets);
    if (!g->sets)
        return SK_ENOMEM;
    for (unsigned i = 0; i < WAF_SETS_MAX; i++) {
        g->sets[i].g = g;
        name_set(&g->sets[i], i);
        set_forget(&g->sets[i]);
    }
    return SK_OK;
}

static int make_groups(struct waf *w)
{
    w->groups = calloc((size_t)w->o.ntargets * 2, sizeof *w->groups);
    if (!w->groups)
        return SK_ENOMEM;
    for (unsigned i = 0; i < w->o.ntargets; i++)
        for (int v6 = 0; v6 < 2; v6++)
            if (make_group(w, &w->where[i], v6) != SK_OK)
                return SK_ENOMEM;
    return SK_OK;
}

static int take_options(struct waf *w, const struct waf_options *o)
{
    w->o = *o;
    w->o.targets = NULL;
    w->o.never = NULL;
    if (w->o.capacity == 0 || w->o.capacity > WAFV2_SET_MAX)
        w->o.capacity = WAFV2_SET_MAX;
    if (w->o.write_gap < SK_NS_PER_S)
        w->o.write_gap = SK_NS_PER_S;
    if (w->o.read_back < SK_NS_PER_S)
        w->o.read_back = 60 * SK_NS_PER_S;
    if (o->aggregate_v4 > 32 || o->aggregate_v6 > 128 || o->coalesce < 0)
        return SK_EINVAL;
    for (size_t i = 0; i < o->nnever; i++)
        if (plist_add(&w->never, &o->never[i]) != SK_OK)
            return SK_ENOMEM;
    plist_sort(&w->never);
    return take_targets(w, o);
}

int waf_create(const struct waf_options *o, const struct waf_world *world, const struct wafv2_ops *ops, void *ops_ctx,
               struct waf **out)
{
    struct waf *w = calloc(1, sizeof *w);
    if (!w)
        return SK_ENOMEM;
    w->world = *world;
    w->ops = ops;
    w->ops_ctx = ops_ctx;
    w->sweep_next = INT64_MAX;
    w->times.lead = LEAD;
    struct sk_hash_key k;
    sk_hash_key_random(&k);
    w->rng = o->seed ? o->seed : k.k0;
    int rc = take_options(w, o);
    if (rc == SK_OK)
        rc = make_groups(w);
    if (rc != SK_OK) {
        waf_free(w);
        return rc;
    }
    *out = w;
    return SK_OK;
}

static void free_group(struct group *g)
{
    for (unsigned i = 0; g->sets && i < WAF_SETS_MAX; i++)
        set_free(&g->sets[i]);
    free(g->sets);
    items_free(&g->items);
    items_free(&g->spare);
    plist_free(&g->refused);
}

void waf_free(struct waf *w)
{
    if (!w)
        return;
    for (unsigned i = 0; i < w->ngroups; i++)
        free_group(&w->groups[i]);
    for (int i = 0; i < 2; i++) {
        items_free(&w->family[i]);
        items_free(&w->loading[i]);
    }
    plist_free(&w->never);
    plist_free(&w->tmp);
    plist_free(&w->tmp2);
    plist_free(&w->tmp3);
    free(w->where);
    free(w->groups);
    free(w);
}

/* ---- what is wanted ---- */

static void put_entry(void *arg, const struct waf_entry *e)
{
    struct waf *w = arg;
    if (e->target.len > 128)
        return;
    struct sk_prefix p = sk_prefix_make(&e->target.addr, e->target.len);
    bool v4 = p.len >= 96 && sk_addr_is_v4(&p.addr);
    if (sk_prefix_family_len(&p) == 0 || plist_overlaps(&w->never, &p))
        return;
    struct item x;
    items_item(&x, &p, e);
    w->loading_failed |= items_add(&w->loading[!v4], &x) != SK_OK;
}

static bool load_entries(struct waf *w, int64_t now)
{
    uint64_t number = w->number = w->world.changed(w->world.ctx);
    w->loading[0].n = w->loading[1].n = 0;
    w->loading_failed = false;
    if (w->world.entries(w->world.ctx, now, put_entry, w) != SK_OK || w->loading_failed) {
        if (!w->complained)
            waf_note(w, "waf-failing", "the entries cannot be read; nothing is changed until they can");
        w->complained = true;
        w->load_wait = now + SK_NS_PER_S;
        return false;
    }
    for (int i = 0; i < 2; i++) {
        items_sort(&w->loading[i]);
        struct items t = w->family[i];
        w->family[i] = w->loading[i];
        w->loading[i] = t;
    }
    w->complained = false;
    w->loaded = true;
    w->loaded_at = number;
    return true;
}

static void sweep(struct waf *w)
{
    w->sweep_next = INT64_MAX;
    for (int i = 0; i < 2; i++) {
        int64_t next = items_sweep(&w->family[i], &w->times);
        if (next < w->sweep_next)
            w->sweep_next = next;
    }
    for (unsigned i = 0; i < w->ngroups; i++)
        w->groups[i].dirty = true;
}

/* Missing, and about to be made: it must not look as if there were no room. */
static bool is_coming(const struct set *s)
{
    return s->missing && !s->retired && s->g->at->t.create && s->fails < MAKE_TRIES && !s->g->w->o.dry_run;
}

/* All sets have been looked for, and there is at least one. */
static bool plannable(const struct group *g)
{
    bool any = false;
    for (unsigned i = 0; i < g->nsets; i++) {
        if (!g->sets[i].tried || is_coming(&g->sets[i]))
            return false;
        any |= !g->sets[i].missing;
    }
    return any;
}

/* ---- pressure ---- */

static int64_t next_end(const struct set *s, int64_t cutoff, int64_t now)
{
    if (s->ndel > 0 || s->nadd > 0)
        return now;
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < s->nwant; i++)
        if (s->g->items.e[s->want[i]].expires < next)
            next = s->g->items.e[s->want[i]].expires;
    return next == INT64_MAX ? next : now + (next - cutoff);
}

static int cmp_time(const void *va, const void *vb)
{
    int64_t a = *(const int64_t *)va, b = *(const int64_t *)vb;
    return (a > b) - (a < b);
}

/* How late the last removal would be if each set were written as soon as it has one, one a gap. */
static int64_t lateness(struct waf *w, int64_t now)
{
    int64_t *due = calloc((size_t)w->ngroups * WAF_SETS_MAX, sizeof *due), late = 0;
    size_t n = 0;
    for (unsigned i = 0; due && i < w->ngroups; i++)
        for (unsigned j = 0; j < w->groups[i].nsets; j++)
            if (w->groups[i].planned)
                due[n++] = next_end(&w->groups[i].sets[j], w->times.cutoff, now);
    if (n > 0)
        qsort(due, n, sizeof *due, cmp_time);
    int64_t fails = w->write_fails < FAILS_MAX ? w->write_fails : FAILS_MAX;
    int64_t each = (w->o.write_gap + w->write_takes) * 1000 / (1000 - fails);
    for (size_t i = 0; i < n && due[i] != INT64_MAX; i++) {
        int64_t at = now + (int64_t)(i + 1) * each;
        if (at - due[i] > late)
            late = at - due[i];
    }
    free(due);
    return late;
}

static bool is_recent(int64_t at, int64_t now)
{
    return at != 0 && now - at < TROUBLE_LASTS;
}

static int64_t trouble_early(const struct waf *w, int64_t now)
{
    return is_recent(w->trouble_at, now) ? TROUBLE_EARLY : 0;
}

/* Down slowly; before the cutoff moves, for it may have been long ago that anything was planned. */
static void relax(struct waf *w, int64_t passed, int64_t now)
{
    int64_t to = w->early - passed / 10, least = trouble_early(w, now);
    if (w->early > least)
        w->early = to > least ? to : least;
}

/* Up by two seconds a second, so that an entry does not end before what it covers is written (`lead`). */
static void feel_pressure(struct waf *w, int64_t passed, int64_t now)
{
    int64_t late = lateness(w, now), early = late > LATE ? (late - LATE) / 4 * 5 : 0, up = w->early + 2 * passed;
    early += trouble_early(w, now);
    if (early > EARLY_MAX)
        early = EARLY_MAX;
    if (early > w->early)
        w->early = early < up ? early : up;
    w->times.lead = LEAD + 2 * w->early;
    w->pressed_at = now;
}

static void move_cutoff(struct waf *w, int64_t now)
{
    if (w->times.cutoff > now + EARLY_MAX + CLOCK_BACK) {
        w->times.cutoff = now;
        w->loaded = false; /* what was over is not any more */
    }
    if (now + w->early > w->times.cutoff)
        w->times.cutoff = now + w->early;
    w->times.now = now;
}

/* ---- plan ---- */

static void sooner(int64_t *t, int64_t when)
{
    if (when < *t)
        *t = when;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* When the first of what is kept for something else must go whether or not that is written. */
static int64_t keep_due(const struct waf *w)
{
    int64_t due = INT64_MAX;
    for (unsigned i = 0; i < w->ngroups; i++)
        for (unsigned j = 0; j < w->groups[i].nsets; j++)
            sooner(&due, w->groups[i].sets[j].keep_until);
    return due;
}

static bool plan_groups(struct waf *w, int64_t now)
{
    bool planned = false;
    for (unsigned i = 0; i < w->ngroups; i++) {
        struct group *g = &w->groups[i];
        if (!plannable(g) || (g->planned && !g->dirty && w->times.cutoff < g->next))
            continue;
        if (group_plan(g, now) != SK_OK) {
            g->planned = false;
            continue;
        }
        group_diff(g, now);
        planned = true;
    }
    return planned;
}

static void count_merged(struct waf *w)
{
    w->stats.aggregated = 0;
    for (unsigned i = 0; i < w->ngroups; i++)
        w->stats.aggregated += w->groups[i].merged;
}

static bool is_changed(const struct waf *w)
{
    return !w->loaded || w->number != w->loaded_at;
}

/* False: the entries are not known; nothing may be done. */
static bool refresh(struct waf *w, int64_t now)
{
    int64_t passed = w->pressed_at ? now - w->pressed_at : 0;
    relax(w, passed, now);
    move_cutoff(w, now);
    bool load = is_changed(w);
    if (load && (now < w->load_wait || !load_entries(w, now)))
        return false;
    if (load || w->times.cutoff >= w->sweep_next || now >= keep_due(w))
        sweep(w);
    w->refreshed_at = now;
    if (plan_groups(w, now))
        count_merged(w);
    feel_pressure(w, passed, now);
    return true;
}

/* ---- sets of an earlier configuration ---- */

static void seen(void *arg, const struct sk_prefix *p)
{
    (void)p;
    *(bool *)arg = true;
}

/* Those beyond the configured number in which something is still ours are emptied. False: the store does not say. */
static bool look_for_retired(struct group *g)
{
    unsigned last = g->nconfigured;
    for (unsigned i = g->nconfigured; i < WAF_SETS_MAX; i++) {
        bool any = false;
        if (g->w->world.owned(g->w->world.ctx, g->sets[i].key, seen, &any) != SK_OK)
            return false;
        g->sets[i].retired = true;
        if (any)
            last = i + 1;
    }
    g->nsets = last;
    g->looked = true;
    return true;
}

static void drop_drained(struct group *g)
{
    while (g->nsets > g->nconfigured && set_is_drained(&g->sets[g->nsets - 1])) {
        waf_note(g->w, "waf-set-drained", "%s", g->sets[g->nsets - 1].key);
        set_forget(&g->sets[--g->nsets]);
        g->dirty = true;
    }
}

/* ---- turns ---- */

enum act { ACT_NONE, ACT_LOOK, ACT_MAKE, ACT_WRITE };
struct turn {
    enum act act;
    struct set *set;
    int64_t key;  /* of the write chosen: the longest wait is the smallest */
    int64_t next; /* when something may be due */
};

/* What must not outlive its end does not wait out a failure for as long as other things do. */
static int64_t wait_of(const struct set *s, enum call call)
{
    const struct where *at = s->g->at;
    return s->ndel > 0 || !s->known ? at->wait_short[call] : at->wait[call];
}

/* When this set wants to write (INT64_MAX: not), and its place in the queue. */
static int64_t write_wanted(const struct waf *w, const struct set *s, int64_t *key)
{
    int64_t due = INT64_MAX;
    *key = INT64_MAX;
    if (s->missing && s->g->at->t.create && !s->retired) {
        *key = 0;
        return s->wait_until;
    }
    if (!s->g->planned || s->g->dirty)
        return due;
    if (s->ndel > 0) {
        due = s->del_since;
        *key = s->del_since;
    }
    if (s->nadd > 0) {
        sooner(&due, later(s->add_ready, s->add_wait));
        sooner(key, later(s->add_since + w->o.coalesce + HANDICAP, s->add_wait));
    }
    return due == INT64_MAX ? due : later(due, s->wait_until);
}

static void consider_write(struct waf *w, struct set *s, int64_t now, struct turn *t)
{
    int64_t key, due = write_wanted(w, s, &key), slot = w->write_at ? w->write_at + w->o.write_gap : 0;
    if (due == INT64_MAX)
        return;
    due = later(later(due, wait_of(s, CALL_WRITE)), slot);
    bool rival = now < s->rival_until && now - s->read_at > READ_FRESH && now >= wait_of(s, CALL_READ);
    bool look = !s->missing && (s->stale || !s->known || rival); /* read right before it is written */
    if (look)
        due = later(later(due, wait_of(s, CALL_READ)), w->read_at ? w->read_at + READ_GAP : 0);
    sooner(&t->next, due);
    if (due > now || key >= t->key)
        return;
    t->key = key;
    t->set = s;
    t->act = look ? ACT_LOOK : s->missing ? ACT_MAKE : ACT_WRITE;
}

/* Reads for their own sake: the one that is due longest. */
static void consider_look(struct waf *w, struct set *s, int64_t now, struct turn *t)
{
    int64_t key, due = set_look_due(s);
    if (s->stale && s->known && !s->missing && write_wanted(w, s, &key) != INT64_MAX)
        return; /* together with its write */
    if (s->missing && s->g->at->t.create && !s->retired && !w->o.dry_run)
        return;
    int64_t at = later(later(due, wait_of(s, CALL_READ)), w->read_at ? w->read_at + READ_GAP : 0);
    sooner(&t->next, at);
    if (at > now || due >= t->key)
        return;
    t->key = due;
    t->set = s;
    t->act = ACT_LOOK;
}

static struct turn choose(struct waf *w, int64_t now,
                          void (*consider)(struct waf *, struct set *, int64_t, struct turn *))
{
    struct turn t = {ACT_NONE, NULL, INT64_MAX, INT64_MAX};
    for (unsigned i = 0; i < w->ngroups; i++)
        for (unsigned j = 0; j < w->groups[i].nsets; j++)
            consider(w, &w->groups[i].sets[j], now, &t);
    return t;
}

static void act(const struct turn *t, int64_t now)
{
    switch (t->act) {
    case ACT_LOOK: set_look(t->set, now); break;
    case ACT_MAKE: set_make(t->set, now); break;
    case ACT_WRITE: set_write(t->set, now); break;
    case ACT_NONE: break;
    }
}

/* One call at most. Returns when to come again. */
static int64_t take_turn(struct waf *w, int64_t now)
{
    struct turn t = choose(w, now, consider_write), r = {ACT_NONE, NULL, INT64_MAX, INT64_MAX};
    if (t.act == ACT_NONE)
        r = choose(w, now, consider_look);
    const struct turn *go = t.act != ACT_NONE ? &t : &r;
    if (go->act == ACT_NONE)
        return t.next < r.next ? t.next : r.next;
    if (t.act == ACT_LOOK)
        set_announce(w, now);
    act(go, now);
    return now; /* the time that the call took is known at the next step */
}

/* ---- leading ---- */

static void forget_all(struct waf *w)
{
    for (unsigned i = 0; i < w->ngroups; i++) {
        struct group *g = &w->groups[i];
        g->planned = g->looked = false;
        g->fresh = true;
        g->items.n = 0;
        g->nsets = g->nconfigured;
        for (unsigned j = 0; j < WAF_SETS_MAX; j++)
            set_forget(&g->sets[j]);
    }
    w->loaded = false;
}

/* Another may have written meanwhile, and just now. */
static void take_lead(struct waf *w, int64_t now)
{
    int64_t last = w->world.happened(w->world.ctx, WAF_WRITES), trouble = w->world.happened(w->world.ctx, WAF_FAILS);
    forget_all(w);
    w->write_at = last == 0 || last + LANDING > now ? now : last + LANDING;
    w->pressed_at = now;
    if (trouble <= now && trouble > w->trouble_at)
        w->trouble_at = trouble;
    w->early = later(w->early, trouble_early(w, now));
}

static bool lead(struct waf *w, int64_t now)
{
    bool leads = w->world.leading(w->world.ctx);
    if (leads && !w->led)
        take_lead(w, now);
    w->led = leads;
    return leads;
}

static bool look_back(struct waf *w)
{
    for (unsigned i = 0; i < w->ngroups; i++) {
        if (!w->groups[i].looked && !look_for_retired(&w->groups[i]))
            return false;
        drop_drained(&w->groups[i]);
    }
    return true;
}

static void clock_back(int64_t *t, int64_t now)
{
    if (*t > now)
        *t = now;
}

static void average(int64_t *of, int64_t x, int64_t most)
{
    *of += ((x > most ? most : x) - *of) / 16;
}

/* A call of the step before has returned by now. */
static void stamp(struct waf *w, int64_t now)
{
    if (w->called[CALL_WRITE]) {
        average(&w->write_takes, now > w->write_at ? now - w->write_at : 0, 5 * SK_NS_PER_S);
        average(&w->write_fails, w->write_failed ? 1000 : 0, 1000);
        w->write_at = now;
    }
    if (w->called[CALL_READ] || w->called[CALL_WRITE])
        w->read_at = w->called[CALL_READ] ? now : w->read_at;
    w->called[CALL_READ] = w->called[CALL_WRITE] = false;
    clock_back(&w->write_at, now);
    clock_back(&w->read_at, now);
    clock_back(&w->refreshed_at, now);
    clock_back(&w->trouble_at, now);
    clock_back(&w->announced_at, now);
    clock_back(&w->pressed_at, now);
}

/* When the plan is to be made anew: not between two writes, but when the next may be made. */
static int64_t refresh_due(struct waf *w, int64_t now)
{
    int64_t slot = w->write_at ? w->write_at + w->o.write_gap : 0, due = INT64_MAX;
    int64_t soonest = later(slot, w->refreshed_at ? w->refreshed_at + REFRESH_GAP : 0);
    if (!w->loaded)
        return w->load_wait; /* else nothing is read either */
    if (is_changed(w))
        return later(soonest, w->load_wait);
    for (unsigned i = 0; i < w->ngroups; i++) {
        const struct group *g = &w->groups[i];
        if (!plannable(g))
            continue;
        sooner(&due, g->dirty || !g->planned ? now : g->next == INT64_MAX ? g->next : g->next - w->early);
    }
    sooner(&due, keep_due(w));
    sooner(&due, w->sweep_next == INT64_MAX ? INT64_MAX : w->sweep_next - w->early);
    return due == INT64_MAX ? due : later(due, soonest);
}

void waf_step(struct waf *w, int64_t now, int64_t *next)
{
    stamp(w, now);
    *next = now + SK_NS_PER_S;
    if (!lead(w, now) || !look_back(w))
        return;
    w->number = w->world.changed(w->world.ctx);
    if (refresh_due(w, now) <= now && !refresh(w, now))
        return;
    if (!w->loaded || (is_changed(w) && now < w->load_wait))
        return;
    int64_t at = take_turn(w, now);
    sooner(&at, refresh_due(w, now));
    sooner(&at, now + IDLE);
    *next = later(at, now);
}

/* Everything read and planned, without regard to turns. */
int waf_prepare(struct waf *w, int64_t now)
{
    if (!w->led)
        forget_all(w);
    for (unsigned i = 0; i < w->ngroups; i++) {
        struct group *g = &w->groups[i];
        if (!g->looked && !look_for_retired(g))
            return SK_EIO;
        for (unsigned j = 0; j < g->nsets; j++)
            for (int tries = 0; tries < 3 && !g->sets[j].known && !g->sets[j].missing; tries++)
                set_look(&g->sets[j], now);
    }
    w->number = w->world.changed(w->world.ctx);
    if (!refresh(w, now))
        return SK_EIO;
    for (unsigned i = 0; i < w->ngroups; i++)
        for (unsigned j = 0; j < w->groups[i].nsets; j++)
            if (!w->groups[i].sets[j].known && !w->groups[i].sets[j].missing)
                return SK_EAGAIN;
    return SK_OK;
}
