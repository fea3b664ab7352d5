#include "mpm_internal.h"

#include <stdlib.h>

struct scan {
    const struct mpm_db *db;
    uint64_t *hits;
    uint32_t *list;
    uint32_t n, cap;
    uint32_t skip;
};

/* A match of the expression that ends at `end`. */
static void report(struct scan *c, uint32_t expr, uint64_t end)
{
    const struct mpm_db *db = c->db;
    for (uint32_t i = db->first[expr]; i < db->first[expr + 1]; i++) {
        const struct mpm_entry *e = &db->entry[i];
        uint64_t bit = UINT64_C(1) << (e->id & 63);
        if ((c->hits[e->id >> 6] & bit) || end < e->min_end || end > e->max_end || c->n == c->cap)
            continue;
        c->hits[e->id >> 6] |= bit;
        c->list[c->n++] = e->id;
    }
}

static int on_match(unsigned int expr, unsigned long long from, unsigned long long to, unsigned int flags, void *arg)
{
    struct scan *c = arg;
    (void)from;
    (void)flags;
    if (to > c->skip && expr != MPM_IGNORED_ID)
        report(c, expr, to);
    return 0;
}

static void scan_tiny(struct scan *c, struct sk_span buf)
{
    const struct mpm_db *db = c->db;
    for (uint32_t i = 0; i < db->nexpr; i++) {
        const struct match_lit *l = &db->tiny[i].lit;
        size_t at = c->skip >= l->len ? c->skip - l->len + 1u : 0;
        while ((at = lit_find(l, buf.p, at, buf.len)) != LIT_NONE) {
            report(c, i, at + l->len);
            if (!db->bounded)
                break;
            at++;
        }
    }
}

/* A scan that could not be made must not hide anything: everything becomes a candidate. */
static void report_all(struct scan *c)
{
    const struct mpm_db *db = c->db;
    for (uint32_t i = 0; i < db->nexpr; i++) {
        for (uint32_t k = db->first[i]; k < db->first[i + 1]; k++)
            report(c, i, db->entry[k].min_end);
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
    else if (hs_scan(db->hs, (const char *)buf.p, buf.len, 0, s->hs, on_match, &c) != HS_SUCCESS)
        report_all(&c);
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
