/*
 * Table to kernel: what is pending is carried over in one batch. When the kernel turns out to hold something else than
 * believed, the table is made right and the batch is carried over again in a form that needs no belief; when that fails
 * too, it is tried again later.
 */
#include "enforcer_priv.h"

#include <stdlib.h>

static uint8_t host_set(const struct sk_prefix *p)
{
    return sk_addr_is_v4(&p->addr) ? NFT_HOST4 : NFT_HOST6;
}

bool enforcer_far(int64_t a, int64_t b)
{
    return (a > b ? a - b : b - a) > ENFORCER_SLACK;
}

/* ---- change list ---- */

int enforcer_change(struct enforcer *e, enum nft_op op, uint8_t set, const struct sk_addr *first,
                    const struct sk_addr *last, int64_t expires)
{
    if (e->nchanges == e->changes_cap) {
        size_t cap = e->changes_cap ? e->changes_cap * 2 : 64;
        struct nft_change *c = realloc(e->changes, cap * sizeof *c);
        if (!c)
            return SK_ENOMEM;
        e->changes = c;
        e->changes_cap = cap;
    }
    e->changes[e->nchanges++] =
        (struct nft_change){.set = set, .op = (uint8_t)op, .first = *first, .last = *last, .expires = expires};
    return SK_OK;
}

int enforcer_change_host(struct enforcer *e, enum nft_op op, const struct sk_prefix *p, int64_t expires)
{
    return enforcer_change(e, op, host_set(p), &p->addr, &p->addr, expires);
}

static int change_piece(struct enforcer *e, enum nft_op op, unsigned fam, const struct piece *p)
{
    return enforcer_change(e, op, (uint8_t)(NFT_PREFIX4 + fam), &p->first, &p->last, p->expires);
}

/* After much work the memory goes back. */
static void changes_reset(struct enforcer *e)
{
    if (e->changes_cap > 65536) {
        free(e->changes);
        e->changes = NULL;
        e->changes_cap = 0;
    }
    e->nchanges = 0;
}

int enforcer_carry(struct enforcer *e, int64_t now)
{
    int rc = e->nchanges > 0 ? e->s.ops->apply(e->s.ops_ctx, e->changes, e->nchanges, now) : SK_OK;
    changes_reset(e);
    return rc;
}

/* ---- prefix sets ---- */

static bool piece_same(const struct piece *a, const struct piece *b)
{
    return sk_addr_eq(&a->first, &b->first) && sk_addr_eq(&a->last, &b->last) && !enforcer_far(a->expires, b->expires);
}

/* Everything anew, in one transaction. */
static int rewrite_pieces(struct enforcer *e, unsigned fam)
{
    static const struct sk_addr none;
    int rc = enforcer_change(e, NFT_FLUSH, (uint8_t)(NFT_PREFIX4 + fam), &none, &none, 0);
    for (size_t i = 0; rc == SK_OK && i < e->want[fam].n; i++)
        rc = change_piece(e, NFT_ADD, fam, &e->want[fam].p[i]);
    return rc;
}

/*
 * Both lists by ascending first. Deletions come before additions, because the ranges of both overlap. A piece that is
 * about to expire may be there or not: then nothing can be said about it, and an addition forces the rewrite.
 */
static int diff_pieces(struct enforcer *e, unsigned fam, int64_t now)
{
    struct pieces *have = &e->shadow[fam], *want = &e->want[fam];
    size_t start = e->nchanges;
    bool unsure = false;
    int rc = SK_OK;
    for (size_t i = 0, k = 0; rc == SK_OK && i < have->n; i++) {
        const struct piece *h = &have->p[i];
        while (k < want->n && sk_addr_cmp(&want->p[k].first, &h->first) < 0)
            k++;
        if (k < want->n && piece_same(h, &want->p[k])) {
            want->p[k].seen_packets = h->seen_packets;
            want->p[k].seen_bytes = h->seen_bytes;
        } else if (h->expires > now + ENFORCER_SLACK) {
            rc = change_piece(e, NFT_DEL, fam, h);
        } else {
            unsure = unsure || h->expires > now - 2 * SK_NS_PER_S;
        }
    }
    size_t dels = e->nchanges;
    for (size_t i = 0, k = 0; rc == SK_OK && i < want->n; i++) {
        while (k < have->n && sk_addr_cmp(&have->p[k].first, &want->p[i].first) < 0)
            k++;
        if (k >= have->n || !piece_same(&have->p[k], &want->p[i]))
            rc = change_piece(e, NFT_ADD, fam, &want->p[i]);
    }
    if (rc == SK_OK && unsure && e->nchanges > dels) {
        e->nchanges = start;
        rc = rewrite_pieces(e, fam);
    }
    return rc;
}

static int plan_pieces(struct enforcer *e, unsigned fam, int64_t now)
{
    int rc = pieces_compute(e->s.table, fam == 0, now, &e->want[fam]);
    if (rc != SK_OK)
        return rc;
    return e->rewrite[fam] ? rewrite_pieces(e, fam) : diff_pieces(e, fam, now);
}

int enforcer_plan_ranges(struct enforcer *e, unsigned fam, int64_t now)
{
    size_t before = e->nchanges;
    bool pending = e->prefix_due[fam] != INT64_MAX;
    int rc = plan_pieces(e, fam, now);
    for (size_t i = before; rc == SK_OK && !pending && i < e->nchanges; i++)
        e->stats.repairs += e->changes[i].op == NFT_ADD;
    return rc;
}

void enforcer_ranges_done(struct enforcer *e, unsigned fam)
{
    struct pieces old = e->shadow[fam];
    e->shadow[fam] = e->want[fam];
    e->want[fam] = old;
    e->prefix_due[fam] = INT64_MAX;
    e->rewrite[fam] = false;
}

/* ---- flush ---- */

static int plan_hosts(struct enforcer *e, const struct targets *t, int64_t now)
{
    int rc = SK_OK;
    for (size_t i = 0; rc == SK_OK && i < t->n; i++) {
        const struct block *b = block_table_find(e->s.table, &t->v[i]);
        if (!b || !b->dirty || !block_is_host(b) || b->expires <= now)
            continue;
        /* PUT, not ADD: an earlier block of the same address may be running out in the kernel this very moment. */
        rc = enforcer_change_host(e, NFT_PUT, &b->target, b->expires);
    }
    return rc;
}

/* PUT, then DEL: works whether or not the element has just expired. */
static int plan_gone(struct enforcer *e, int64_t now)
{
    int rc = SK_OK;
    for (size_t i = 0; rc == SK_OK && i < e->gone.n; i++)
        rc = enforcer_change_host(e, NFT_PUT, &e->gone.v[i], now + 10 * SK_NS_PER_S);
    for (size_t i = 0; rc == SK_OK && i < e->gone.n; i++)
        rc = enforcer_change_host(e, NFT_DEL, &e->gone.v[i], 0);
    return rc;
}

void enforcer_host_put(struct enforcer *e, struct block *b)
{
    b->kernel_expires = b->expires;
    b->table_no = e->table_no;
}

static void settle(struct enforcer *e, struct targets *t, enum enforcer_event ev, int64_t now)
{
    for (size_t i = 0; i < t->n; i++) {
        struct block *b = block_table_find(e->s.table, &t->v[i]);
        if (!b || !b->dirty)
            continue;
        b->dirty = false;
        if (block_is_host(b))
            enforcer_host_put(e, b);
        enforcer_fire(e, ev, b, now);
    }
    t->n = 0;
    if (t->cap > 65536)
        targets_free(t);
}

void enforcer_settle_pending(struct enforcer *e, bool late, int64_t now)
{
    enforcer_journal_pending(e, &e->fresh, true);
    settle(e, &e->fresh, ENFORCER_ADDED, now);
    if (!late)
        return;
    enforcer_journal_pending(e, &e->late, false);
    settle(e, &e->late, ENFORCER_CHANGED, now);
    e->late_due = INT64_MAX;
}

struct batch {
    bool late, fam[2];
};

static int carry_batch(struct enforcer *e, const struct batch *b, int64_t now)
{
    int rc = plan_gone(e, now);
    if (rc == SK_OK)
        rc = plan_hosts(e, &e->fresh, now);
    if (rc == SK_OK && b->late)
        rc = plan_hosts(e, &e->late, now);
    for (unsigned f = 0; rc == SK_OK && f < 2; f++)
        if (b->fam[f])
            rc = plan_pieces(e, f, now);
    if (rc == SK_OK)
        return enforcer_carry(e, now);
    changes_reset(e);
    return rc;
}

int enforcer_shape(struct enforcer *e, int64_t now)
{
    enum nft_setup done;
    int rc = e->s.ops->setup(e->s.ops_ctx, &done);
    if (rc != SK_OK || done == NFT_KEPT)
        return rc;
    e->stats.rebuilds++;
    if (done != NFT_REBUILT)
        return SK_OK;
    e->table_no++;
    for (unsigned f = 0; rc == SK_OK && f < 2; f++) {
        e->shadow[f].n = 0;
        rc = enforcer_plan_ranges(e, f, now);
    }
    if (rc == SK_OK)
        rc = enforcer_carry(e, now);
    for (unsigned f = 0; rc == SK_OK && f < 2; f++)
        enforcer_ranges_done(e, f);
    changes_reset(e);
    return rc;
}

/* PUT and FLUSH need to know nothing of what is there; whatever else may have happened is looked at soon. */
static int recover(struct enforcer *e, struct batch *b, int64_t now)
{
    int rc = enforcer_shape(e, now);
    for (unsigned f = 0; rc == SK_OK && f < 2; f++)
        if (b->fam[f])
            rc = enforcer_repair_ranges(e, f, now);
    if (rc == SK_OK)
        rc = carry_batch(e, b, now);
    e->check.due = now;
    return rc;
}

int enforcer_failed(struct enforcer *e, int rc, int64_t now)
{
    e->stats.kernel_errors++;
    e->degraded = true;
    e->check.running = false;
    e->retry_at = now + ENFORCER_RETRY;
    return rc;
}

int enforcer_flush(struct enforcer *e, int64_t now)
{
    struct batch b = {.late = now >= e->late_due, .fam = {now >= e->prefix_due[0], now >= e->prefix_due[1]}};
    bool nothing = e->fresh.n + e->gone.n == 0 && !b.late && !b.fam[0] && !b.fam[1];
    if ((e->need_resync || e->degraded) && now < e->retry_at)
        return SK_EAGAIN;
    if (e->need_resync)
        return enforcer_resync(e, now);
    if (nothing && !e->degraded) {
        enforcer_journal_commit(e);
        return SK_OK;
    }
    int rc = e->degraded ? SK_EAGAIN : carry_batch(e, &b, now);
    if (rc != SK_OK) {
        e->stats.kernel_errors += !e->degraded;
        b.fam[0] = b.fam[1] = true;
        rc = recover(e, &b, now);
    }
    if (rc != SK_OK)
        return enforcer_failed(e, rc, now);
    e->degraded = false;
    for (unsigned f = 0; f < 2; f++)
        if (b.fam[f])
            enforcer_ranges_done(e, f);
    e->gone.n = 0;
    enforcer_settle_pending(e, b.late, now);
    enforcer_journal_commit(e);
    return SK_OK;
}
