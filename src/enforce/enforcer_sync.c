/*
 * Table to kernel. Two ways: flush carries the pending lists over; resync reads everything back and repairs whatever
 * differs. Any surprise in the first leads to the second, so there is one path of recovery.
 */
#include "enforcer_priv.h"

#include <stdlib.h>

static uint8_t host_set(const struct sk_prefix *p)
{
    return sk_addr_is_v4(&p->addr) ? NFT_HOST4 : NFT_HOST6;
}

static bool far(int64_t a, int64_t b)
{
    return (a > b ? a - b : b - a) > ENFORCER_SLACK;
}

/* ---- change list ---- */

static int change(struct enforcer *e, enum nft_op op, uint8_t set, const struct sk_addr *first,
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

static int change_host(struct enforcer *e, enum nft_op op, const struct sk_prefix *p, int64_t expires)
{
    return change(e, op, host_set(p), &p->addr, &p->addr, expires);
}

static int change_piece(struct enforcer *e, enum nft_op op, unsigned fam, const struct piece *p)
{
    return change(e, op, (uint8_t)(NFT_PREFIX4 + fam), &p->first, &p->last, p->expires);
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

/* ---- prefix sets ---- */

static bool piece_same(const struct piece *a, const struct piece *b)
{
    return sk_addr_eq(&a->first, &b->first) && sk_addr_eq(&a->last, &b->last) && !far(a->expires, b->expires);
}

/* Everything anew, in one transaction. */
static int rewrite_pieces(struct enforcer *e, unsigned fam)
{
    static const struct sk_addr none;
    int rc = change(e, NFT_FLUSH, (uint8_t)(NFT_PREFIX4 + fam), &none, &none, 0);
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

/* The kernel took the plan. */
static void pieces_done(struct enforcer *e, unsigned fam)
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
        rc = change_host(e, NFT_PUT, &b->target, b->expires);
    }
    return rc;
}

/* PUT, then DEL: works whether or not the element has just expired. */
static int plan_gone(struct enforcer *e, int64_t now)
{
    int rc = SK_OK;
    for (size_t i = 0; rc == SK_OK && i < e->gone.n; i++)
        rc = change_host(e, NFT_PUT, &e->gone.v[i], now + 10 * SK_NS_PER_S);
    for (size_t i = 0; rc == SK_OK && i < e->gone.n; i++)
        rc = change_host(e, NFT_DEL, &e->gone.v[i], 0);
    return rc;
}

static void settle(struct enforcer *e, struct targets *t, enum enforcer_event ev, int64_t now)
{
    for (size_t i = 0; i < t->n; i++) {
        struct block *b = block_table_find(e->s.table, &t->v[i]);
        if (!b || !b->dirty)
            continue;
        b->dirty = false;
        if (block_is_host(b))
            b->kernel_expires = b->expires;
        enforcer_fire(e, ev, b, now);
    }
    t->n = 0;
    if (t->cap > 65536)
        targets_free(t);
}

static int flush_plan(struct enforcer *e, bool late, const bool fam[2], int64_t now)
{
    int rc = plan_gone(e, now);
    if (rc == SK_OK)
        rc = plan_hosts(e, &e->fresh, now);
    if (rc == SK_OK && late)
        rc = plan_hosts(e, &e->late, now);
    for (unsigned f = 0; rc == SK_OK && f < 2; f++)
        if (fam[f])
            rc = plan_pieces(e, f, now);
    return rc;
}

int enforcer_flush(struct enforcer *e, int64_t now)
{
    bool late = now >= e->late_due;
    bool fam[2] = {now >= e->prefix_due[0], now >= e->prefix_due[1]};
    if (e->need_resync)
        return now >= e->next_resync || !e->degraded ? enforcer_resync(e, now) : SK_EAGAIN;
    if (e->fresh.n + e->gone.n == 0 && !late && !fam[0] && !fam[1]) {
        enforcer_journal_commit(e);
        return SK_OK;
    }
    int rc = flush_plan(e, late, fam, now);
    if (rc == SK_OK && e->nchanges > 0)
        rc = e->s.ops->apply(e->s.ops_ctx, e->changes, e->nchanges, now);
    changes_reset(e);
    if (rc != SK_OK) {
        e->stats.kernel_errors++;
        return enforcer_resync(e, now);
    }
    for (unsigned f = 0; f < 2; f++)
        if (fam[f])
            pieces_done(e, f);
    e->gone.n = 0;
    enforcer_journal_pending(e, &e->fresh, true);
    settle(e, &e->fresh, ENFORCER_ADDED, now);
    if (late) {
        enforcer_journal_pending(e, &e->late, false);
        settle(e, &e->late, ENFORCER_CHANGED, now);
        e->late_due = INT64_MAX;
    }
    enforcer_journal_commit(e);
    return SK_OK;
}

/* ---- read-back ---- */

struct readback {
    struct enforcer *e;
    struct pieces seen[2];
    struct nft_elem *foreign; /* hosts that no block explains */
    size_t nforeign, cap;
    int rc;
};

static void credit(struct block *b, uint64_t packets, uint64_t bytes, uint64_t *seen_packets, uint64_t *seen_bytes)
{
    /* A counter that is lower than before belongs to a new element. */
    bool fresh = packets < *seen_packets;
    if (b) {
        b->hit_packets += fresh ? packets : packets - *seen_packets;
        b->hit_bytes += fresh || bytes < *seen_bytes ? bytes : bytes - *seen_bytes;
    }
    *seen_packets = packets;
    *seen_bytes = bytes;
}

static int foreign_add(struct readback *r, const struct nft_elem *el)
{
    if (r->nforeign == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        struct nft_elem *f = realloc(r->foreign, cap * sizeof *f);
        if (!f)
            return SK_ENOMEM;
        r->foreign = f;
        r->cap = cap;
    }
    r->foreign[r->nforeign++] = *el;
    return SK_OK;
}

/* After a restart the later end counts: the kernel had heard of an extension that the journal had not. */
static void longer_in_kernel(struct enforcer *e, struct block *b, int64_t expires)
{
    if (e->restored || expires <= b->expires + ENFORCER_SLACK || expires == INT64_MAX)
        return;
    (void)block_table_extend(e->s.table, b, expires);
    b->dirty = true;
    targets_add(e, &e->late, &b->target);
}

static void see_host(struct readback *r, const struct nft_elem *el)
{
    struct sk_prefix p = sk_prefix_make(&el->first, 128);
    struct block *b = block_table_find(r->e->s.table, &p);
    if (!b) {
        r->rc = foreign_add(r, el) == SK_OK ? r->rc : SK_ENOMEM;
        return;
    }
    b->mark = true;
    b->kernel_expires = el->expires ? el->expires : INT64_MAX;
    if (r->e->restored) {
        credit(b, el->packets, el->bytes, &b->seen_packets, &b->seen_bytes);
        return;
    }
    /* What the journal had saved is part of what the kernel still counts. */
    b->hit_packets = b->hit_packets > el->packets ? b->hit_packets : el->packets;
    b->hit_bytes = b->hit_bytes > el->bytes ? b->hit_bytes : el->bytes;
    b->seen_packets = el->packets;
    b->seen_bytes = el->bytes;
    longer_in_kernel(r->e, b, b->kernel_expires);
}

static void see(void *arg, const struct nft_elem *el)
{
    struct readback *r = arg;
    if (el->set == NFT_HOST4 || el->set == NFT_HOST6) {
        see_host(r, el);
        return;
    }
    struct piece p = {.first = el->first,
                      .last = el->last,
                      .expires = el->expires ? el->expires : INT64_MAX,
                      .seen_packets = el->packets,
                      .seen_bytes = el->bytes};
    int rc = pieces_append(&r->seen[el->set == NFT_PREFIX6], &p);
    if (rc != SK_OK)
        r->rc = rc;
}

/* Credits what kernel pieces counted to the block that each stands for, and takes them over as believed state. */
static void take_pieces(struct enforcer *e, unsigned fam, struct pieces *seen)
{
    struct pieces *old = &e->shadow[fam];
    pieces_sort(seen);
    for (size_t i = 0, k = 0; i < seen->n; i++) {
        struct piece *p = &seen->p[i];
        while (k < old->n && sk_addr_cmp(&old->p[k].first, &p->first) < 0)
            k++;
        bool known = k < old->n && sk_addr_eq(&old->p[k].first, &p->first) && sk_addr_eq(&old->p[k].last, &p->last);
        uint64_t packets = known ? old->p[k].seen_packets : 0, bytes = known ? old->p[k].seen_bytes : 0;
        struct sk_prefix at = sk_prefix_make(&p->first, 127);
        if (e->restored)
            credit(block_table_covering(e->s.table, &at), p->seen_packets, p->seen_bytes, &packets, &bytes);
    }
    pieces_free(old);
    *old = *seen;
    *seen = (struct pieces){0};
}

static int target_cmp(const void *x, const void *y)
{
    const struct sk_prefix *a = x, *b = y;
    int c = sk_addr_cmp(&a->addr, &b->addr);
    return c ? c : (int)a->len - (int)b->len;
}

/* e->gone is sorted by then. */
static bool pending_gone(const struct enforcer *e, const struct sk_prefix *p)
{
    return e->gone.n > 0 && bsearch(p, e->gone.v, e->gone.n, sizeof *p, target_cmp) != NULL;
}

/*
 * An element that nobody here asked for: left by an earlier run whose journal is lost, or added by hand. It becomes a
 * block like others, so that it is seen, journaled and ends. False: it must go.
 */
static bool adopt(struct enforcer *e, const struct sk_prefix *p, int64_t expires, bool host_set_has_it, int64_t now)
{
    struct decide_request r = {.target = *p, .msg = "found in the kernel set"};
    struct block *b;
    int64_t max = e->s.limits->max_seconds > 0 ? e->s.limits->max_seconds : POLICY_MAX_SECONDS;
    const struct never_entry *never = never_check(e->s.never, p);
    if (never && never->kind == NEVER_UNKNOWN)
        return true; /* looked at again when it is known whom to spare */
    if (policy_check_target(p) != POLICY_OK || never)
        return false;
    bool capped = expires == 0 || expires > now + max * SK_NS_PER_S;
    int64_t until = capped ? now + max * SK_NS_PER_S : expires;
    if (block_table_count(e->s.table) >= e->max ||
        block_table_add(e->s.table, &r, NULL, BLOCK_KERNEL, now, until, &b) != SK_OK)
        return true; /* no room to keep books of it: let the kernel run it out */
    b->dry_run = e->s.dry_run;
    b->mark = host_set_has_it;
    b->kernel_expires = !host_set_has_it ? 0 : capped ? INT64_MAX : expires;
    e->stats.adopted++;
    enforcer_journal_block(e, b);
    enforcer_fire(e, ENFORCER_ADOPTED, b, now);
    return true;
}

static int adopt_hosts(struct enforcer *e, const struct readback *r, int64_t now)
{
    int rc = SK_OK;
    for (size_t i = 0; rc == SK_OK && i < r->nforeign; i++) {
        const struct nft_elem *el = &r->foreign[i];
        struct sk_prefix p = sk_prefix_make(&el->first, 128);
        if (el->expires && el->expires <= now + 2 * SK_NS_PER_S && !pending_gone(e, &p))
            continue; /* runs out by itself */
        if (pending_gone(e, &p) || !adopt(e, &p, el->expires, true, now)) {
            rc = change_host(e, NFT_PUT, &p, now + SK_NS_PER_S);
            if (rc == SK_OK)
                rc = change_host(e, NFT_DEL, &p, 0);
        }
    }
    return rc;
}

struct adopt_arg {
    struct enforcer *e;
    const struct piece *p;
    int64_t now;
};

static bool adopt_prefix(void *arg, const struct sk_prefix *p)
{
    struct adopt_arg *a = arg;
    struct block *cover = block_table_covering(a->e->s.table, p), *same = block_table_find(a->e->s.table, p);
    if (cover && cover->expires >= a->p->expires - 2 * SK_NS_PER_S)
        return true;
    if (same)
        longer_in_kernel(a->e, same, a->p->expires);
    else
        (void)adopt(a->e, p, a->p->expires == INT64_MAX ? 0 : a->p->expires, false, a->now);
    return true;
}

/* A prefix that was to go (unblocked, lifted) is pending in prefix_due: then the kernel's word counts for nothing. */
static void adopt_pieces(struct enforcer *e, unsigned fam, int64_t now)
{
    if (e->prefix_due[fam] != INT64_MAX)
        return;
    for (size_t i = 0; i < e->shadow[fam].n; i++) {
        struct adopt_arg a = {.e = e, .p = &e->shadow[fam].p[i], .now = now};
        if (a.p->expires > now + 2 * SK_NS_PER_S)
            pieces_to_prefixes(a.p, adopt_prefix, &a);
    }
}

/* Hosts of the table against what the kernel listed (emptied: and has lost since). Pending ones differ rightly; others
 * are repairs. */
static int repair_hosts(struct enforcer *e, bool emptied, int64_t now)
{
    int rc = SK_OK;
    for (size_t i = 0; rc == SK_OK && i < block_table_count(e->s.table); i++) {
        struct block *b = block_table_at(e->s.table, i);
        if (!b->mark || emptied)
            b->kernel_expires = 0;
        b->mark = false;
        if (!block_is_host(b) || b->expires <= now || !far(b->kernel_expires, b->expires))
            continue;
        if (!b->dirty)
            e->stats.repairs++;
        rc = change_host(e, NFT_PUT, &b->target, b->expires);
    }
    return rc;
}

static int repair_pieces(struct enforcer *e, unsigned fam, int64_t now)
{
    size_t before = e->nchanges;
    bool pending = e->prefix_due[fam] != INT64_MAX;
    int rc = plan_pieces(e, fam, now);
    for (size_t i = before; rc == SK_OK && !pending && i < e->nchanges; i++)
        e->stats.repairs += e->changes[i].op == NFT_ADD;
    return rc;
}

static int compare(struct enforcer *e, struct readback *r, bool emptied, int64_t now)
{
    if (e->gone.n > 1)
        qsort(e->gone.v, e->gone.n, sizeof *e->gone.v, target_cmp);
    for (unsigned f = 0; f < 2; f++)
        take_pieces(e, f, &r->seen[f]);
    int rc = adopt_hosts(e, r, now);
    for (unsigned f = 0; f < 2; f++)
        adopt_pieces(e, f, now);
    if (rc == SK_OK)
        rc = repair_hosts(e, emptied, now);
    for (unsigned f = 0; rc == SK_OK && f < 2; f++)
        rc = repair_pieces(e, f, now);
    return rc;
}

static void all_in_kernel(struct enforcer *e, int64_t now)
{
    pieces_done(e, 0);
    pieces_done(e, 1);
    e->gone.n = 0;
    e->late_due = INT64_MAX;
    enforcer_journal_pending(e, &e->fresh, true);
    enforcer_journal_pending(e, &e->late, false);
    settle(e, &e->fresh, ENFORCER_ADDED, now);
    settle(e, &e->late, ENFORCER_CHANGED, now);
    for (size_t i = 0; i < block_table_count(e->s.table); i++) {
        struct block *b = block_table_at(e->s.table, i);
        if (block_is_host(b) && far(b->kernel_expires, b->expires))
            b->kernel_expires = b->expires;
        if (b->dirty) { /* a full list lost it */
            b->dirty = false;
            enforcer_journal_block(e, b);
            enforcer_fire(e, ENFORCER_ADDED, b, now);
        }
    }
}

static int read_and_repair(struct enforcer *e, int64_t now)
{
    struct readback r = {.e = e};
    bool rebuilt = false;
    /* Listed before setup as well: a table of the wrong shape is replaced, but what it held is kept. */
    int rc = e->s.ops->list(e->s.ops_ctx, now, see, &r);
    bool listed = rc == SK_OK;
    if (listed || rc == SK_ENOENT)
        rc = e->s.ops->setup(e->s.ops_ctx, &rebuilt);
    if (rc == SK_OK && rebuilt) {
        e->stats.rebuilds += e->restored || listed;
        e->rewrite[0] = e->rewrite[1] = true;
    }
    if (rc == SK_OK)
        rc = r.rc;
    if (rc == SK_OK)
        rc = compare(e, &r, rebuilt, now);
    if (rc == SK_OK && e->nchanges > 0)
        rc = e->s.ops->apply(e->s.ops_ctx, e->changes, e->nchanges, now);
    changes_reset(e);
    pieces_free(&r.seen[0]);
    pieces_free(&r.seen[1]);
    free(r.foreign);
    return rc;
}

int enforcer_resync(struct enforcer *e, int64_t now)
{
    e->stats.resyncs++;
    int rc = read_and_repair(e, now);
    if (rc == SK_EEXIST || rc == SK_ENOENT || rc == SK_EAGAIN) {
        /* The kernel moved between reading and writing: once more, and the prefix sets anew. */
        e->rewrite[0] = e->rewrite[1] = true;
        rc = read_and_repair(e, now);
    }
    e->degraded = e->need_resync = rc != SK_OK;
    e->next_resync = now + (rc == SK_OK ? ENFORCER_RESYNC : ENFORCER_RETRY);
    if (rc == SK_OK)
        all_in_kernel(e, now);
    else
        e->stats.kernel_errors++;
    e->restored = e->restored || rc == SK_OK;
    enforcer_journal_commit(e);
    enforcer_journal_catch_up(e, now);
    if (e->s.journal)
        journal_checkpoint(e->s.journal);
    return rc;
}

static void on_ended(void *arg, const struct sk_prefix *target, uint32_t repeat, int64_t ended, enum journal_end why)
{
    struct enforcer *e = arg;
    if (why == JOURNAL_EXPIRED)
        offenders_ended(e->offenders, target, repeat + 1, ended);
    else
        offenders_forgive(e->offenders, target);
}

static int load_journal(struct enforcer *e, int64_t now)
{
    size_t loaded = 0, switched = 0;
    struct journal *j = e->s.journal;
    int rc = journal_switch(j, e->s.dry_run, now, &switched);
    e->stats.switched += switched;
    if (rc == SK_OK)
        rc = journal_load(j, e->s.table, e->s.dry_run, now, &loaded);
    int known = journal_offenders(j, e->s.dry_run, now - e->s.limits->repeat_memory, on_ended, e);
    return rc != SK_OK ? rc : known;
}

int enforcer_restore(struct enforcer *e, int64_t now)
{
    int rc = e->s.journal ? load_journal(e, now) : SK_OK;
    if (rc != SK_OK)
        e->stats.journal_errors++;
    (void)enforcer_never_changed(e, now);
    int kernel = enforcer_resync(e, now);
    e->stats.repairs = 0; /* what was set up at the start is no repair */
    return kernel != SK_OK ? kernel : rc;
}
