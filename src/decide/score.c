#include "decide/score.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define WAYS    8
#define STRIPES 64
#define PARTS   SCORE_PARTS
#define ITEMS   DECIDE_SCORES_MAX

_Static_assert((PARTS & (PARTS - 1)) == 0 && (ITEMS & (ITEMS - 1)) == 0, "rings go on past the end of their counter");

struct entry {
    struct sk_addr client;
    bool used;
    uint32_t nitems;                      /* ever; the latest is item[(nitems - 1) % ITEMS] */
    int64_t part;                         /* number of the newest bucket since the epoch */
    int64_t last;                         /* its latest alert */
    uint32_t bucket[PARTS];               /* ring: part n lies in n % PARTS */
    struct decide_score_item item[ITEMS]; /* ring */
};

struct decide_scores {
    struct sk_hash_key key;
    int64_t part_length;
    uint32_t threshold;
    uint32_t nsets; /* power of two */
    pthread_mutex_t lock[STRIPES];
    struct entry (*set)[WAYS];
};

int decide_scores_create(const struct conf_score *conf, uint32_t max_clients, struct decide_scores **out)
{
    struct decide_scores *s = calloc(1, sizeof *s);
    if (!s)
        return SK_ENOMEM;
    s->nsets = STRIPES;
    while ((uint64_t)s->nsets * 2 * WAYS <= max_clients)
        s->nsets *= 2;
    s->set = calloc(s->nsets, sizeof *s->set);
    if (!s->set) {
        free(s);
        return SK_ENOMEM;
    }
    s->threshold = conf->threshold ? conf->threshold : 1;
    s->part_length = conf->window >= PARTS ? conf->window / PARTS : 1;
    sk_hash_key_random(&s->key);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_init(&s->lock[i], NULL);
    *out = s;
    return SK_OK;
}

void decide_scores_free(struct decide_scores *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&s->lock[i]);
    free(s->set);
    free(s);
}

uint64_t decide_scores_memory(const struct decide_scores *s)
{
    return sizeof *s + (uint64_t)s->nsets * sizeof *s->set;
}

static uint32_t set_of(const struct decide_scores *s, const struct sk_addr *client)
{
    return (uint32_t)sk_siphash_words(&s->key, client->q, 2) & (s->nsets - 1);
}

static int64_t part_of(const struct decide_scores *s, int64_t now)
{
    return now / s->part_length;
}

/* Has all that it holds left the window? Also when the clock was set back by a window: nothing may last for ever. */
static bool is_over(const struct entry *e, int64_t part)
{
    return part - e->part >= PARTS || e->part - part >= PARTS;
}

static uint32_t *bucket(struct entry *e, int64_t part)
{
    return &e->bucket[(uint64_t)part % PARTS];
}

/* Empties the buckets that have left the window. What comes a little late counts in the newest. */
static void move_on(struct entry *e, int64_t part)
{
    if (is_over(e, part)) {
        memset(e->bucket, 0, sizeof e->bucket);
        e->nitems = 0;
        e->part = part;
    }
    while (e->part < part)
        *bucket(e, ++e->part) = 0;
}

static uint64_t sum(const struct entry *e)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < PARTS; i++)
        n += e->bucket[i];
    return n;
}

static struct entry *find(struct entry *set, const struct sk_addr *client)
{
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].used && sk_addr_eq(&set[i].client, client))
            return &set[i];
    return NULL;
}

/* A place for a client that the set does not know. */
static struct entry *take(struct entry *set, const struct sk_addr *client, int64_t part, struct sk_counters *c)
{
    struct entry *victim = NULL;
    for (unsigned i = 0; i < WAYS; i++) {
        if (!set[i].used || is_over(&set[i], part)) {
            victim = &set[i];
            break;
        }
        if (!victim || set[i].last < victim->last)
            victim = &set[i];
    }
    if (victim->used && !is_over(victim, part)) {
        move_on(victim, part);
        if (sum(victim))
            sk_count(c, SK_C_SCORE_FULL);
    }
    *victim = (struct entry){.client = *client, .used = true, .part = part};
    return victim;
}

static void remember(struct entry *e, uint32_t points, uint32_t gid, uint32_t sid, int64_t now)
{
    uint32_t *b = bucket(e, e->part);
    *b = points > UINT32_MAX - *b ? UINT32_MAX : *b + points;
    e->last = now;
    e->item[e->nitems++ % ITEMS] = (struct decide_score_item){.ts = now, .gid = gid, .sid = sid, .points = points};
}

/* The alerts that are remembered and still within the window, latest last. */
static void explain(const struct decide_scores *s, const struct entry *e, uint64_t score, struct decide_request *req)
{
    req->score = score > UINT32_MAX ? UINT32_MAX : (uint32_t)score;
    req->threshold = s->threshold;
    memset(req->scores, 0, sizeof req->scores);
    uint32_t have = e->nitems < ITEMS ? e->nitems : ITEMS, n = 0;
    for (uint32_t i = e->nitems - have; i != e->nitems; i++) {
        const struct decide_score_item *it = &e->item[i % ITEMS];
        if (e->part - part_of(s, it->ts) < PARTS)
            req->scores[n++] = *it;
    }
}

bool decide_score_add(struct decide_scores *s, const struct sk_addr *client, uint32_t points, uint32_t gid,
                      uint32_t sid, int64_t now, struct sk_counters *c, struct decide_request *req)
{
    uint32_t at = set_of(s, client);
    int64_t part = part_of(s, now);
    bool reached = false;
    pthread_mutex_lock(&s->lock[at % STRIPES]);
    struct entry *e = find(s->set[at], client);
    if (!e && points)
        e = take(s->set[at], client, part, c);
    if (e) {
        move_on(e, part);
        remember(e, points, gid, sid, now);
        uint64_t score = sum(e);
        reached = score >= s->threshold;
        if (reached) {
            explain(s, e, score, req);
            e->used = false;
        }
    }
    pthread_mutex_unlock(&s->lock[at % STRIPES]);
    return reached;
}

uint32_t decide_score_of(struct decide_scores *s, const struct sk_addr *client, int64_t now)
{
    uint32_t at = set_of(s, client);
    uint64_t score = 0;
    pthread_mutex_lock(&s->lock[at % STRIPES]);
    struct entry *e = find(s->set[at], client);
    if (e) {
        move_on(e, part_of(s, now));
        score = sum(e);
    }
    pthread_mutex_unlock(&s->lock[at % STRIPES]);
    return score > UINT32_MAX ? UINT32_MAX : (uint32_t)score;
}
