/*
 * Counts of alerts by rule and address, over all flows and workers. A set-associative table: buckets of eight entries,
 * a lock for every 64th bucket. Policy when a bucket is full: the entry whose window ends first goes (THRESHOLD_FULL,
 * unless it has ended already).
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "detect_internal.h"

#define WAYS    8
#define STRIPES 64

struct entry {
    uint64_t h; /* 0: free. 64 bits of a keyed hash stand for the key */
    int64_t start;
    uint32_t count, seconds;
};

struct detect_thresholds {
    struct sk_hash_key key;
    uint32_t nbuckets; /* power of two */
    pthread_mutex_t lock[STRIPES];
    struct entry (*bucket)[WAYS];
};

int detect_thresholds_create(uint32_t max_entries, struct detect_thresholds **out)
{
    struct detect_thresholds *th = calloc(1, sizeof *th);
    if (!th)
        return SK_ENOMEM;
    th->nbuckets = STRIPES;
    while ((uint64_t)th->nbuckets * 2 * WAYS <= max_entries)
        th->nbuckets *= 2;
    th->bucket = calloc(th->nbuckets, sizeof *th->bucket);
    if (!th->bucket) {
        free(th);
        return SK_ENOMEM;
    }
    sk_hash_key_random(&th->key);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_init(&th->lock[i], NULL);
    *out = th;
    return SK_OK;
}

void detect_thresholds_free(struct detect_thresholds *th)
{
    if (!th)
        return;
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&th->lock[i]);
    free(th->bucket);
    free(th);
}

static uint64_t key_hash(const struct detect_thresholds *th, const struct rule *r, const struct rule_threshold *t,
                         const struct detect_input *in)
{
    uint64_t w[5] = {(uint64_t)r->gid << 32 | r->sid, (uint64_t)t->type << 8 | t->track, 0, 0, 0};
    const struct sk_addr *src = in->count_src ? in->count_src : in->src;
    const struct sk_addr *dst = in->count_dst ? in->count_dst : in->dst;
    switch (t->track) {
    case RULE_BY_SRC: w[2] = src->q[0], w[3] = src->q[1]; break;
    case RULE_BY_DST: w[2] = dst->q[0], w[3] = dst->q[1]; break;
    case RULE_BY_BOTH: {
        const struct sk_addr *a = src, *b = dst;
        if (sk_addr_cmp(a, b) > 0)
            a = dst, b = src;
        w[2] = sk_mix64(a->q[0]) ^ a->q[1];
        w[3] = sk_mix64(b->q[0] + 1) ^ b->q[1];
        break;
    }
    case RULE_BY_FLOW: w[4] = in->flow_id; break;
    case RULE_BY_RULE: break;
    }
    uint64_t h = sk_siphash_words(&th->key, w, 5);
    return h ? h : 1;
}

static int64_t window_end(const struct entry *e)
{
    return e->h ? e->start + (int64_t)e->seconds * SK_NS_PER_S : INT64_MIN;
}

/* The last instant of a window belongs to it. A clock that was set back ends it too: a limit must not last for ever. */
static bool is_over(const struct entry *e, int64_t now)
{
    int64_t length = (int64_t)e->seconds * SK_NS_PER_S;
    return now - e->start > length || e->start - now > length;
}

/* The key's entry; a new one has count 0. */
static struct entry *find(struct entry *b, uint64_t h, uint32_t seconds, int64_t now, struct sk_counters *c)
{
    struct entry *victim = &b[0];
    for (unsigned i = 0; i < WAYS; i++) {
        if (b[i].h == h) {
            b[i].seconds = seconds;
            return &b[i];
        }
        if (window_end(&b[i]) < window_end(victim))
            victim = &b[i];
    }
    if (victim->h && !is_over(victim, now))
        sk_count(c, SK_C_THRESHOLD_FULL);
    *victim = (struct entry){.h = h, .start = now, .seconds = seconds};
    return victim;
}

/* Alerts at count, count * multiplier, count * multiplier^2, ... */
static bool backoff_alerts(const struct rule_threshold *t, uint32_t n)
{
    uint64_t at = t->count ? t->count : 1;
    while (at < n && t->multiplier > 1)
        at *= t->multiplier;
    return at == n;
}

static enum det_threshold_result judge(struct entry *e, const struct rule_threshold *t, int64_t now)
{
    if (t->type != RULE_TH_BACKOFF && is_over(e, now)) {
        e->start = now;
        e->count = 0;
    }
    if (e->count < UINT32_MAX)
        e->count++;
    switch (t->type) {
    case RULE_TH_LIMIT: return e->count <= t->count ? DET_TH_ALERT : DET_TH_SILENT;
    case RULE_TH_THRESHOLD:
        if (e->count < t->count)
            return DET_TH_NOTHING;
        e->count = 0;
        return DET_TH_ALERT;
    case RULE_TH_BOTH:
        if (e->count < t->count)
            return DET_TH_NOTHING;
        return e->count == t->count ? DET_TH_ALERT : DET_TH_SILENT;
    case RULE_TH_DETECTION_FILTER: return e->count > t->count ? DET_TH_ALERT : DET_TH_NOTHING;
    case RULE_TH_BACKOFF: return backoff_alerts(t, e->count) ? DET_TH_ALERT : DET_TH_SILENT;
    case RULE_TH_RATE:
    case RULE_TH_NONE: break;
    }
    return DET_TH_ALERT;
}

enum det_threshold_result det_threshold_check(struct detect_thresholds *th, const struct rule *r,
                                              const struct rule_threshold *t, const struct detect_input *in,
                                              struct sk_counters *c)
{
    uint64_t h = key_hash(th, r, t, in);
    uint32_t b = (uint32_t)(h >> 20) & (th->nbuckets - 1);
    pthread_mutex_t *lock = &th->lock[b % STRIPES];
    pthread_mutex_lock(lock);
    enum det_threshold_result res = judge(find(th->bucket[b], h, t->seconds, in->now, c), t, in->now);
    pthread_mutex_unlock(lock);
    return res;
}
