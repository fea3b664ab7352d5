/*
 * What the fleet blocks, in memory, each entry as the JSON text that agents get, in the order of its last change:
 *
 *   items  | seq 3 (dead) | seq 7 | seq 8 lifted | seq 12 | ...        map: target → item
 *
 * An entry that changes leaves a dead item behind and a new one at the end. A page is the texts behind a number; it is
 * kept as a ready answer until the next change.
 */
#include <stdlib.h>
#include "api_priv.h"
#include "base/log.h"

#define ENTRY_JSON_MAX 8192
#define FIRST_ITEMS    1024

enum flavour { PLAIN = 0, RENEW = 1, RESET = 2 };

int feed_init(struct feed *f)
{
    pthread_condattr_t mono;
    pthread_mutex_init(&f->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&f->cond, &mono);
    pthread_condattr_destroy(&mono);
    sk_hash_key_random(&f->key);
    return SK_OK;
}

void feed_lock(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
}

void feed_unlock(struct feed *f)
{
    pthread_mutex_unlock(&f->lock);
}

static void cache_clear(struct feed *f)
{
    for (unsigned i = 0; i < FEED_CACHE; i++) {
        body_drop(f->cache[i].body);
        f->cache[i].body = NULL;
    }
}

static void items_clear(struct feed *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->items[i].json);
    free(f->items);
    free(f->map);
    f->items = NULL;
    f->map = NULL;
    f->n = f->cap = f->dead = f->map_size = 0;
}

void feed_free(struct feed *f)
{
    cache_clear(f);
    items_clear(f);
    pthread_cond_destroy(&f->cond);
    pthread_mutex_destroy(&f->lock);
}

void feed_clear(struct feed *f, const char *epoch)
{
    feed_lock(f);
    cache_clear(f);
    items_clear(f);
    strcpy(f->epoch, epoch);
    f->last = f->first = 0;
    f->loaded = true;
    feed_unlock(f);
}

/* --- items --- */

static uint32_t *map_slot(const struct feed *f, const struct sk_prefix *p)
{
    uint8_t key[17];
    memcpy(key, p->addr.b, 16);
    key[16] = p->len;
    for (size_t i = sk_siphash(&f->key, key, sizeof(key)) & (f->map_size - 1);; i = (i + 1) & (f->map_size - 1)) {
        uint32_t at = f->map[i];
        if (at == 0 || (f->items[at - 1].target.len == p->len && sk_addr_eq(&f->items[at - 1].target.addr, &p->addr)))
            return &f->map[i];
    }
}

/* All that is alive; the dead are overwritten by later ones, as they come in order. */
static bool map_rebuild(struct feed *f, size_t size)
{
    uint32_t *map = (uint32_t *)calloc(size, sizeof(*map));
    if (map == NULL)
        return false;
    free(f->map);
    f->map = map;
    f->map_size = size;
    for (size_t i = 0; i < f->n; i++)
        *map_slot(f, &f->items[i].target) = (uint32_t)i + 1;
    return true;
}

static bool is_over(const struct feed *f, const struct feed_item *i, int64_t now)
{
    if (i->json == NULL)
        return true;
    return i->expires != 0 ? i->expires <= now : i->seq < f->first;
}

void feed_compact(struct feed *f, int64_t now)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (is_over(f, &f->items[i], now))
            free(f->items[i].json);
        else
            f->items[n++] = f->items[i];
    }
    f->n = n;
    f->dead = 0;
    if (f->map != NULL) {
        memset(f->map, 0, f->map_size * sizeof(*f->map));
        for (size_t i = 0; i < f->n; i++)
            *map_slot(f, &f->items[i].target) = (uint32_t)i + 1;
    }
}

static bool items_grow(struct feed *f)
{
    if (f->n < f->cap)
        return true;
    if (f->dead > f->n / 4) {
        feed_compact(f, now_ms());
        return true;
    }
    size_t cap = f->cap > 0 ? f->cap * 2 : FIRST_ITEMS;
    if (f->n - f->dead >= API_ENTRIES_MAX)
        return false;
    struct feed_item *items = (struct feed_item *)realloc(f->items, cap * sizeof(*items));
    if (items == NULL)
        return false;
    f->items = items;
    if (!map_rebuild(f, cap * 2))
        return false;
    f->cap = cap;
    return true;
}

void out_entry(struct sk_strbuf *b, const struct store_entry *e)
{
    out_prefix(b, "target", &e->target);
    out_int(b, "expires_ms", e->expires);
    out_int(b, "created_ms", e->created);
    out_str(b, "id", e->id);
    out_str(b, "agent", e->agent);
    out_str(b, "host", e->host);
    out_str(b, "origin", e->origin);
    out_str(b, "reason", e->reason);
    out_int(b, "sid", e->sid);
    out_int(b, "gid", e->gid);
}

static char *entry_json(const struct store_entry *e, uint32_t *len)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, ENTRY_JSON_MAX);
    out_open(&b, NULL, '{');
    out_str(&b, "op", e->expires != 0 ? "set" : "del");
    if (e->expires != 0)
        out_entry(&b, e);
    else
        out_prefix(&b, "target", &e->target);
    out_close(&b, '}');
    if (b.full) {
        sk_strbuf_free(&b);
        return NULL;
    }
    *len = (uint32_t)b.len;
    char *fit = (char *)realloc(b.p, b.len + 1);
    return fit != NULL ? fit : b.p; /* cppcheck-suppress memleak */
}

void feed_entry(struct feed *f, const struct store_entry *e)
{
    struct feed_item it = {.seq = e->seq, .expires = e->expires, .target = e->target};
    if (f->n > 0 && e->seq <= f->items[f->n - 1].seq)
        return; /* known */
    it.json = entry_json(e, &it.len);
    if (it.json == NULL || !items_grow(f)) {
        free(it.json);
        if (!f->overfull)
            sk_log(SK_LOG_ERROR, "api: there are too many entries; further ones are not told to agents");
        f->overfull = true;
        return;
    }
    uint32_t *slot = map_slot(f, &it.target);
    if (*slot != 0) {
        free(f->items[*slot - 1].json);
        f->items[*slot - 1].json = NULL;
        f->dead++;
    }
    f->items[f->n++] = it;
    *slot = (uint32_t)f->n;
}

void feed_publish(struct feed *f, int64_t last, int64_t first, const int64_t versions[2])
{
    feed_lock(f);
    bool news = last != f->last || memcmp(versions, f->versions, sizeof(f->versions)) != 0;
    f->first = first;
    f->last = last;
    memcpy(f->versions, versions, sizeof(f->versions));
    if (news) {
        cache_clear(f);
        f->news = true;
        pthread_cond_signal(&f->cond);
    }
    feed_unlock(f);
}

void feed_versions(struct feed *f, int64_t versions[2])
{
    feed_lock(f);
    memcpy(versions, f->versions, sizeof(f->versions));
    feed_unlock(f);
}

/* --- pages --- */

/* In the middle of a reset `after` may be older than what is known of changes: entries that have not changed for long
 * are told too. */
static bool continues(const struct feed *f, const struct agent *g, int64_t after)
{
    return g != NULL && g->paging >= 0 && g->paging == after && g->base + 1 >= f->first;
}

static bool must_reset(const struct feed *f, const struct agent *g, const char *epoch, int64_t after)
{
    if (strcmp(epoch, f->epoch) != 0 || after > f->last)
        return true;
    return after + 1 < f->first && !continues(f, g, after);
}

bool feed_has_news(const struct feed *f, const struct agent *g, const char *epoch, int64_t after)
{
    if (must_reset(f, g, epoch, after) || after < f->last || continues(f, g, after))
        return true;
    return g != NULL && memcmp(g->told, f->versions, sizeof(g->told)) != 0;
}

/* First item behind a number. */
static size_t behind(const struct feed *f, int64_t after)
{
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (f->items[mid].seq <= after)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_told(const struct feed_item *i, bool reset, int64_t now)
{
    return i->json != NULL && (i->expires != 0 ? i->expires > now : !reset);
}

struct page {
    struct sk_strbuf list;
    int64_t seq;
    bool more;
};

static void page_fill(const struct feed *f, int64_t after, bool reset, int64_t now, struct page *p)
{
    unsigned n = 0;
    p->seq = reset ? 0 : after;
    for (size_t i = reset ? 0 : behind(f, after); i < f->n; i++) {
        const struct feed_item *it = &f->items[i];
        if (!is_told(it, reset, now))
            continue;
        if (n == API_PAGE_ENTRIES || p->list.len > API_PAGE_BYTES) {
            p->more = true;
            return;
        }
        if (n++ > 0)
            sk_strbuf_add(&p->list, ",", 1);
        sk_strbuf_add(&p->list, it->json, it->len);
        p->seq = it->seq;
    }
    p->seq = f->last;
}

static struct body *page_make(const struct feed *f, int64_t after, unsigned flavour, int64_t now, int64_t *seq,
                              bool *more)
{
    struct page p = {0};
    struct sk_strbuf b;
    sk_strbuf_init(&p.list, API_PAGE_BYTES * 2);
    sk_strbuf_init(&b, API_PAGE_BYTES * 2 + 1024);
    page_fill(f, after, (flavour & RESET) != 0, now, &p);
    out_open(&b, NULL, '{');
    out_str(&b, "epoch", f->epoch);
    out_int(&b, "seq", p.seq);
    out_bool(&b, "reset", (flavour & RESET) != 0);
    out_bool(&b, "more", p.more);
    out_int(&b, "rules_version", f->versions[FEED_RULES]);
    out_int(&b, "policy_version", f->versions[FEED_POLICY]);
    out_bool(&b, "renew", (flavour & RENEW) != 0);
    out_open(&b, "entries", '[');
    sk_strbuf_add(&b, p.list.p, p.list.len);
    sk_strbuf_puts(&b, "]}");
    b.full |= p.list.full;
    sk_strbuf_free(&p.list);
    *seq = p.seq;
    *more = p.more;
    return body_of(&b);
}

static void note_told(const struct feed *f, struct agent *g, unsigned flavour, int64_t seq, bool more)
{
    if (g == NULL)
        return;
    if ((flavour & RESET) != 0)
        g->base = f->last;
    bool paging = more && ((flavour & RESET) != 0 || g->paging >= 0);
    g->paging = paging ? seq : -1;
    memcpy(g->told, f->versions, sizeof(g->told));
    g->answered = sk_now_mono();
}

struct body *feed_page(struct feed *f, struct agent *g, const char *epoch, int64_t after, bool renew, int64_t now)
{
    unsigned flavour = (renew ? RENEW : PLAIN) | (must_reset(f, g, epoch, after) ? RESET : PLAIN);
    if ((flavour & RESET) != 0)
        after = 0;
    if (g != NULL && g->paging >= 0 && !continues(f, g, after))
        g->paging = -1;
    struct feed_cached *c = &f->cache[(sk_mix64((uint64_t)after) ^ flavour) % FEED_CACHE];
    f->served++;
    if (c->body == NULL || c->after != after || c->flavour != flavour) {
        f->made++;
        body_drop(c->body);
        c->body = page_make(f, after, flavour, now, &c->seq, &c->more);
        c->after = after;
        c->flavour = flavour;
        if (c->body == NULL)
            return NULL;
    }
    note_told(f, g, flavour, c->seq, c->more);
    return body_hold(c->body);
}
