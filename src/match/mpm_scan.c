#include "mpm_internal.h"

#include <stdlib.h>

struct scan {
    const struct mpm_db *db;
    uint64_t *hits;
    uint32_t *list;
    uint32_t n, cap;
    uint32_t skip;
};

static void report(struct scan *c, uint32_t expr)
{
    const struct mpm_db *db = c->db;
    for (uint32_t i = db->first[expr]; i < db->first[expr + 1]; i++) {
        uint32_t id = db->ids[i];
        uint64_t bit = UINT64_C(1) << (id & 63);
        if ((c->hits[id >> 6] & bit) || c->n == c->cap)
            continue;
        c->hits[id >> 6] |= bit;
        c->list[c->n++] = id;
    }
}

static int on_match(unsigned int expr, unsigned long long from, unsigned long long to, unsigned int flags, void *arg)
{
    struct scan *c = arg;
    (void)from;
    (void)flags;
    if (to > c->skip)
        report(c, expr);
    return 0;
}

static void scan_tiny(struct scan *c, struct sk_span buf)
{
    const struct mpm_db *db = c->db;
    for (uint32_t i = 0; i < db->nexpr; i++) {
        const struct mpm_tiny *t = &db->tiny[i];
        size_t hi = t->max_off && t->max_off < buf.len ? t->max_off : buf.len;
        size_t lo = c->skip >= t->lit.len ? c->skip - t->lit.len + 1u : 0;
        if (lit_find(&t->lit, buf.p, lo > t->min_off ? lo : t->min_off, hi) != LIT_NONE)
            report(c, i);
    }
}

uint32_t mpm_scan(const struct mpm_db *db, struct mpm_scratch *s, struct sk_span buf, uint32_t skip, uint64_t *hits,
                  uint32_t *list, uint32_t n, uint32_t cap)
{
    if (!db || buf.len == 0)
        return n;
    struct scan c = {.db = db, .hits = hits, .list = list, .n = n, .cap = cap, .skip = skip};
    if (!db->hs || (db->tiny && db->nexpr * (uint64_t)(buf.len + 16u) <= MPM_TINY_WORK))
        scan_tiny(&c, buf);
    else if (hs_scan(db->hs, (const char *)buf.p, buf.len, 0, s->hs, on_match, &c) != HS_SUCCESS) {
        /* A scan that could not be made must not hide anything: everything becomes a candidate. */
        for (uint32_t i = 0; i < db->nexpr; i++)
            report(&c, i);
    }
    return c.n;
}

int mpm_scratch_create(struct mpm_scratch **out)
{
    struct mpm_scratch *s = calloc(1, sizeof *s);
    if (!s)
        return SK_ENOMEM;
    *out = s;
    return SK_OK;
}

int mpm_scratch_fit(struct mpm_scratch *s, const struct mpm_db *db)
{
    if (!db || !db->hs)
        return SK_OK;
    return hs_alloc_scratch(db->hs, &s->hs) == HS_SUCCESS ? SK_OK : SK_ENOMEM;
}

void mpm_scratch_free(struct mpm_scratch *s)
{
    if (!s)
        return;
    hs_free_scratch(s->hs);
    free(s);
}
