/* The detector: sketches of all workers added up by interval, and what a window of them shows. */
#include "decide/flood.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "flood_priv.h"

#define SET_MAX   (FLOOD_PARTS * FLOOD_ENTRIES) /* prefixes of a level within a window */
#define SET_SLOTS 8192                          /* power of two, more than SET_MAX */
#define NONE      UINT16_MAX

_Static_assert(SET_MAX < SET_SLOTS && SET_SLOTS < NONE, "a slot is always free");
_Static_assert(SET_MAX >= 2 * FLOOD_ENTRIES, "two summaries fit");

struct tally {
    struct sk_addr key;
    uint64_t excess; /* over the `rest` of the set: it had at most rest + excess */
    uint64_t certain;
    uint64_t explained; /* events of narrower floods in it, at most */
    bool known;         /* reported within the last window */
    bool flood;
};

/* Summaries added up. */
struct set {
    unsigned n;
    uint64_t rest;
    uint16_t slot[SET_SLOTS]; /* open addressing: index of a tally */
    struct tally t[SET_MAX];
};

struct part {
    int64_t number; /* since the epoch; INT64_MIN: empty */
    struct flood_summary level[FLOOD_LEVELS];
};

struct known {
    struct sk_prefix prefix;
    int64_t part;  /* in which it was last found; INT64_MIN: free */
    int64_t again; /* in which `again` was last said of it */
};

struct flood_detector {
    pthread_mutex_t lock;
    struct sk_hash_key key;
    int64_t interval;
    double seconds; /* of a window */
    uint32_t limit[FLOOD_LEVELS];
    int64_t looked;                /* part in which somebody has looked */
    struct part part[FLOOD_PARTS]; /* part n lies in n % FLOOD_PARTS */
    struct known known[FLOOD_KNOWN];
    struct set set[FLOOD_LEVELS];  /* scratch */
    struct flood_summary incoming; /* scratch */
    uint64_t order[SET_MAX];       /* scratch */
};

static void forget_all(struct flood_detector *d)
{
    for (unsigned i = 0; i < FLOOD_PARTS; i++)
        d->part[i].number = INT64_MIN;
    for (unsigned i = 0; i < FLOOD_KNOWN; i++)
        d->known[i].part = INT64_MIN;
    d->looked = INT64_MIN;
}

int flood_detector_create(const struct conf_flood *conf, struct flood_detector **out)
{
    struct flood_detector *d = calloc(1, sizeof *d);
    if (!d)
        return SK_ENOMEM;
    pthread_mutex_init(&d->lock, NULL);
    sk_hash_key_random(&d->key);
    d->interval = conf->window >= FLOOD_PARTS ? conf->window / FLOOD_PARTS : 1;
    d->seconds = (double)d->interval * FLOOD_PARTS / (double)SK_NS_PER_S;
    d->limit[FLOOD_HOST] = conf->host_rate;
    d->limit[FLOOD_RANGE] = conf->prefix_rate;
    d->limit[FLOOD_WIDE_RANGE] =
        conf->prefix_rate > UINT32_MAX / FLOOD_WIDE ? UINT32_MAX : conf->prefix_rate * FLOOD_WIDE;
    forget_all(d);
    *out = d;
    return SK_OK;
}

void flood_detector_free(struct flood_detector *d)
{
    if (!d)
        return;
    pthread_mutex_destroy(&d->lock);
    free(d);
}

uint64_t flood_detector_memory(const struct flood_detector *d)
{
    return sizeof *d;
}

/* --- sets --- */

static void set_clear(struct set *s)
{
    s->n = 0;
    s->rest = 0;
    memset(s->slot, 0xff, sizeof s->slot);
}

/* The slot of a key: an index, or NONE where it would stand. */
static uint16_t *set_slot(const struct flood_detector *d, struct set *s, const struct sk_addr *key)
{
    uint32_t i = (uint32_t)sk_siphash_words(&d->key, key->q, 2);
    for (;; i++) {
        uint16_t *at = &s->slot[i % SET_SLOTS];
        if (*at == NONE || sk_addr_eq(&s->t[*at].key, key))
            return at;
    }
}

static struct tally *set_find(const struct flood_detector *d, struct set *s, const struct sk_addr *key)
{
    uint16_t at = *set_slot(d, s, key);
    return at == NONE ? NULL : &s->t[at];
}

/* Whoever is in one and not in the other may have had as much as the other's `rest`. */
static void set_add(const struct flood_detector *d, struct set *s, const struct flood_summary *from)
{
    for (unsigned i = 0; i < from->n; i++) {
        const struct flood_item *it = &from->item[i];
        uint16_t *at = set_slot(d, s, &it->key);
        if (*at == NONE) {
            *at = (uint16_t)s->n++;
            s->t[*at] = (struct tally){.key = it->key};
        }
        s->t[*at].excess += it->count - from->rest;
        s->t[*at].certain += it->certain;
    }
    s->rest += from->rest;
}

static int descending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The FLOOD_ENTRIES that had most. */
static void set_cut(struct flood_detector *d, const struct set *s, struct flood_summary *out)
{
    uint64_t cut = 0; /* what the first had that does not fit */
    unsigned equal = FLOOD_ENTRIES;
    if (s->n > FLOOD_ENTRIES) {
        for (unsigned i = 0; i < s->n; i++)
            d->order[i] = s->t[i].excess;
        qsort(d->order, s->n, sizeof d->order[0], descending);
        cut = d->order[FLOOD_ENTRIES];
        for (unsigned i = 0; i < FLOOD_ENTRIES && d->order[i] > cut; i++)
            equal--;
    }
    out->rest = s->rest + cut;
    out->n = 0;
    for (unsigned i = 0; i < s->n; i++) {
        const struct tally *t = &s->t[i];
        if (t->excess > cut || (t->excess == cut && equal && equal--))
            out->item[out->n++] =
                (struct flood_item){.key = t->key, .count = s->rest + t->excess, .certain = t->certain};
    }
}

/* --- handing over --- */

static int64_t part_of(const struct flood_detector *d, int64_t now)
{
    return now / d->interval;
}

bool flood_due(const struct flood_detector *d, struct flood_sketch *s, int64_t now)
{
    int64_t part = part_of(d, now);
    if (flood_sketch_events(s) == 0) {
        flood_sketch_begin(s, part);
        return false;
    }
    return part != flood_sketch_part(s);
}

/* The part to add to, emptied if it holds an older one; NULL: a newer one, the sketch comes too late. */
static struct part *part_at(struct flood_detector *d, int64_t number)
{
    for (unsigned i = 0; i < FLOOD_PARTS; i++)
        if (d->part[i].number >= number + FLOOD_PARTS)
            return NULL;
    struct part *p = &d->part[(uint64_t)number % FLOOD_PARTS];
    if (p->number != number) {
        p->number = number;
        for (unsigned i = 0; i < FLOOD_LEVELS; i++)
            p->level[i].n = 0, p->level[i].rest = 0;
    }
    return p;
}

static void take_in(struct flood_detector *d, const struct flood_sketch *s, struct part *p)
{
    for (unsigned i = 0; i < FLOOD_LEVELS; i++) {
        struct set *sum = &d->set[i];
        flood_sketch_read(s, (enum flood_level)i, &d->incoming);
        set_clear(sum);
        set_add(d, sum, &p->level[i]);
        set_add(d, sum, &d->incoming);
        set_cut(d, sum, &p->level[i]);
    }
}

/* --- looking --- */

static void add_up_window(struct flood_detector *d, int64_t part)
{
    for (unsigned l = 0; l < FLOOD_LEVELS; l++) {
        set_clear(&d->set[l]);
        for (unsigned i = 0; i < FLOOD_PARTS; i++)
            if (d->part[i].number < part && d->part[i].number >= part - FLOOD_PARTS)
                set_add(d, &d->set[l], &d->part[i].level[l]);
    }
}

static enum flood_level level_of(const struct sk_prefix *p)
{
    if (p->len == 128)
        return FLOOD_HOST;
    return p->len == (sk_addr_is_v4(&p->addr) ? 96 + 24 : 64) ? FLOOD_RANGE : FLOOD_WIDE_RANGE;
}

/* A flood is over when it was not found for a window. */
static void mark_known(struct flood_detector *d, int64_t part)
{
    for (unsigned i = 0; i < FLOOD_KNOWN; i++) {
        struct known *k = &d->known[i];
        if (k->part == INT64_MIN || k->part < part - FLOOD_PARTS) {
            k->part = INT64_MIN;
            continue;
        }
        struct tally *t = set_find(d, &d->set[level_of(&k->prefix)], &k->prefix.addr);
        if (t)
            t->known = true;
    }
}

static uint64_t own_events(const struct tally *t)
{
    return t->certain > t->explained ? t->certain - t->explained : 0;
}

/*
 * Its events explain as many of the ranges around it: at most as many as it may have had, so that what is left of
 * these is certain too. Those of floods within it have been told them already.
 */
static void explain(struct flood_detector *d, unsigned level, const struct tally *t)
{
    uint64_t most = d->set[level].rest + t->excess;
    for (unsigned l = level + 1; most > t->explained && l < FLOOD_LEVELS; l++) {
        struct sk_addr key = flood_key(&t->key, (enum flood_level)l);
        struct tally *around = set_find(d, &d->set[l], &key);
        if (around)
            around->explained += most - t->explained;
    }
}

/* A flood that ebbs is no reason to accuse its range. */
static void judge(struct flood_detector *d)
{
    for (unsigned l = 0; l < FLOOD_LEVELS; l++) {
        struct set *s = &d->set[l];
        for (unsigned i = 0; i < s->n; i++) {
            s->t[i].flood = (double)own_events(&s->t[i]) > d->limit[l] * d->seconds;
            if (s->t[i].flood || s->t[i].known)
                explain(d, l, &s->t[i]);
        }
    }
}

/* Is it time to say `again`, if there is room to say it? */
static bool remember(struct flood_detector *d, const struct sk_prefix *p, int64_t part, bool room)
{
    struct known *at = &d->known[0];
    for (unsigned i = 0; i < FLOOD_KNOWN; i++) {
        struct known *k = &d->known[i];
        if (k->part != INT64_MIN && k->prefix.len == p->len && sk_addr_eq(&k->prefix.addr, &p->addr)) {
            bool again = room && part - k->again >= FLOOD_PARTS;
            k->part = part;
            k->again = again ? part : k->again;
            return again;
        }
        if (k->part < at->part)
            at = k;
    }
    *at = (struct known){.prefix = *p, .part = part, .again = part};
    return true;
}

/* Floods of one kind, new or known, behind the n that are in out. */
static unsigned report(struct flood_detector *d, bool known, int64_t part, struct sk_counters *c, unsigned n,
                       struct flood_found *out)
{
    for (unsigned l = 0; l < FLOOD_LEVELS; l++) {
        for (unsigned i = 0; i < d->set[l].n; i++) {
            const struct tally *t = &d->set[l].t[i];
            if (!t->flood || t->known != known)
                continue;
            struct sk_prefix p = flood_prefix(&t->key, (enum flood_level)l);
            if (n == FLOOD_FOUND && !known) {
                sk_count(c, SK_C_FLOOD_FULL); /* not remembered: it is new in the next interval too */
                continue;
            }
            bool again = remember(d, &p, part, n < FLOOD_FOUND);
            if (n < FLOOD_FOUND)
                out[n++] = (struct flood_found){.prefix = p,
                                                .level = (enum flood_level)l,
                                                .rate = (double)own_events(t) / d->seconds,
                                                .limit = d->limit[l],
                                                .fresh = !known,
                                                .again = again};
        }
    }
    return n;
}

static unsigned look(struct flood_detector *d, int64_t part, struct sk_counters *c, struct flood_found *out)
{
    d->looked = part;
    add_up_window(d, part);
    mark_known(d, part);
    judge(d);
    unsigned n = report(d, false, part, c, 0, out);
    return report(d, true, part, c, n, out);
}

/* The lock is held. */
static void hand_over(struct flood_detector *d, struct flood_sketch *s, int64_t part, struct sk_counters *c)
{
    int64_t of = flood_sketch_part(s);
    if (flood_sketch_back(s, part)) { /* what was seen in a time to come counts no more */
        if (d->looked > part)
            forget_all(d);
        of = of < part ? of : part;
    }
    struct part *p = part_at(d, of);
    if (p)
        take_in(d, s, p);
    else
        sk_count_add(c, SK_C_FLOOD_LATE, flood_sketch_events(s));
    flood_sketch_clear(s);
    flood_sketch_begin(s, part);
}

unsigned flood_merge(struct flood_detector *d, struct flood_sketch *s, int64_t now, struct sk_counters *c,
                     struct flood_found *out)
{
    int64_t part = part_of(d, now);
    pthread_mutex_lock(&d->lock);
    hand_over(d, s, part, c);
    unsigned n = part > d->looked ? look(d, part, c, out) : 0;
    pthread_mutex_unlock(&d->lock);
    return n;
}

unsigned flood_finish(struct flood_detector *d, struct flood_sketch *s, int64_t now, struct sk_counters *c,
                      struct flood_found *out)
{
    int64_t part = part_of(d, now);
    pthread_mutex_lock(&d->lock);
    hand_over(d, s, part, c);
    unsigned n = look(d, part + 1, c, out);
    pthread_mutex_unlock(&d->lock);
    return n;
}
