/*
 * The kernel's sets whole: at the start, and when anything may have happened. What a block explains is compared with
 * it, what none explains becomes one. Holds the guard while it runs (1.2 s for 100,000 hosts, nearly all of it the
 * kernel's dump); for every day there is enforcer_check.c.
 */
#include "enforcer_priv.h"

#include <stdlib.h>

struct readback {
    struct enforcer *e;
    struct pieces seen[2];
    struct nft_elem *foreign; /* hosts that no block explains */
    size_t nforeign, cap;
    int rc;
};

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
    b->table_no = r->e->table_no;
    b->kernel_expires = el->expires ? el->expires : INT64_MAX;
    if (r->e->restored) {
        enforcer_credit(b, el->packets, el->bytes, &b->seen_packets, &b->seen_bytes);
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

static void mark_foreign(struct pieces *seen, const struct pieces *believed)
{
    for (size_t i = 0, k = 0; i < seen->n; i++) {
        while (k < believed->n && sk_addr_cmp(&believed->p[k].last, &seen->p[i].first) < 0)
            k++;
        seen->p[i].foreign = k == believed->n || sk_addr_cmp(&seen->p[i].last, &believed->p[k].first) < 0;
    }
}

/* Credits what kernel pieces counted to the block that each stands for, and takes them over as believed state. */
static void take_pieces(struct enforcer *e, unsigned fam, struct pieces *seen)
{
    struct pieces *old = &e->shadow[fam];
    pieces_sort(seen);
    mark_foreign(seen, old);
    for (size_t i = 0, k = 0; i < seen->n; i++) {
        struct piece *p = &seen->p[i];
        while (k < old->n && sk_addr_cmp(&old->p[k].first, &p->first) < 0)
            k++;
        bool known = k < old->n && sk_addr_eq(&old->p[k].first, &p->first) && sk_addr_eq(&old->p[k].last, &p->last);
        uint64_t packets = known ? old->p[k].seen_packets : 0, bytes = known ? old->p[k].seen_bytes : 0;
        struct sk_prefix at = sk_prefix_make(&p->first, 127);
        if (e->restored)
            enforcer_credit(block_table_covering(e->s.table, &at), p->seen_packets, p->seen_bytes, &packets, &bytes);
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
    b->table_no = e->table_no;
    b->kernel_expires = !host_set_has_it ? 0 : capped ? INT64_MAX : expires;
    e->stats.adopted++;
    enforcer_journal_block(e, b);
    enforcer_fire(e, ENFORCER_ADOPTED, b, now);
    return true;
}

int enforcer_adopt_hosts(struct enforcer *e, const struct nft_elem *v, size_t n, int64_t now)
{
    int rc = SK_OK;
    if (e->gone.n > 1)
        qsort(e->gone.v, e->gone.n, sizeof *e->gone.v, target_cmp);
    for (size_t i = 0; rc == SK_OK && i < n; i++) {
        const struct nft_elem *el = &v[i];
        struct sk_prefix p = sk_prefix_make(&el->first, 128);
        if (el->expires && el->expires <= now + 2 * SK_NS_PER_S && !pending_gone(e, &p))
            continue; /* runs out by itself */
        if (pending_gone(e, &p) || !adopt(e, &p, el->expires, true, now)) {
            rc = enforcer_change_host(e, NFT_PUT, &p, now + SK_NS_PER_S);
            if (rc == SK_OK)
                rc = enforcer_change_host(e, NFT_DEL, &p, 0);
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

/* While changes of ours are pending (unblocked, lifted), what the kernel has where we had something counts for nothing.
 */
static void adopt_pieces(struct enforcer *e, unsigned fam, int64_t now)
{
    bool pending = e->prefix_due[fam] != INT64_MAX;
    for (size_t i = 0; i < e->shadow[fam].n; i++) {
        struct adopt_arg a = {.e = e, .p = &e->shadow[fam].p[i], .now = now};
        if ((!pending || a.p->foreign) && a.p->expires > now + 2 * SK_NS_PER_S)
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
        if (!block_is_host(b) || b->expires <= now || !enforcer_far(b->kernel_expires, b->expires))
            continue;
        if (!b->dirty)
            e->stats.repairs++;
        rc = enforcer_change_host(e, NFT_PUT, &b->target, b->expires);
    }
    return rc;
}

static int compare(struct enforcer *e, struct readback *r, bool emptied, int64_t now)
{
    for (unsigned f = 0; f < 2; f++)
        take_pieces(e, f, &r->seen[f]);
    int rc = enforcer_adopt_hosts(e, r->foreign, r->nforeign, now);
    for (unsigned f = 0; f < 2; f++)
        adopt_pieces(e, f, now);
    if (rc == SK_OK)
        rc = repair_hosts(e, emptied, now);
    for (unsigned f = 0; rc == SK_OK && f < 2; f++)
        rc = enforcer_plan_ranges(e, f, now);
    return rc;
}

static void readback_free(struct readback *r)
{
    pieces_free(&r->seen[0]);
    pieces_free(&r->seen[1]);
    free(r->foreign);
}

int enforcer_repair_ranges(struct enforcer *e, unsigned fam, int64_t now)
{
    struct readback r = {.e = e};
    int rc = e->s.ops->list_ranges(e->s.ops_ctx, NFT_PREFIX4 + fam, now, see, &r);
    if (rc == SK_OK)
        rc = r.rc;
    if (rc == SK_OK) {
        take_pieces(e, fam, &r.seen[fam]);
        adopt_pieces(e, fam, now);
        rc = enforcer_plan_ranges(e, fam, now);
    }
    int sent = enforcer_carry(e, now);
    rc = rc == SK_OK ? sent : rc;
    if (rc == SK_OK)
        enforcer_ranges_done(e, fam);
    readback_free(&r);
    return rc;
}

static void all_in_kernel(struct enforcer *e, int64_t now)
{
    enforcer_ranges_done(e, 0);
    enforcer_ranges_done(e, 1);
    e->gone.n = 0;
    enforcer_settle_pending(e, true, now);
    for (size_t i = 0; i < block_table_count(e->s.table); i++) {
        struct block *b = block_table_at(e->s.table, i);
        b->table_no = e->table_no;
        if (block_is_host(b) && enforcer_far(b->kernel_expires, b->expires))
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
    enum nft_setup done = NFT_KEPT;
    int64_t began = e->s.ops->clock(e->s.ops_ctx);
    /* Listed before setup as well: a table of the wrong shape is replaced, but what it held is kept. */
    int rc = e->s.ops->list(e->s.ops_ctx, now, see, &r);
    bool listed = rc == SK_OK;
    if (listed || rc == SK_ENOENT)
        rc = e->s.ops->setup(e->s.ops_ctx, &done);
    if (rc == SK_OK && done != NFT_KEPT)
        e->stats.rebuilds += e->restored || listed;
    if (rc == SK_OK && done == NFT_REBUILT) {
        e->table_no++;
        e->rewrite[0] = e->rewrite[1] = true;
    }
    if (rc == SK_OK)
        rc = r.rc;
    if (rc == SK_OK)
        rc = compare(e, &r, done == NFT_REBUILT, now);
    if (rc == SK_OK) /* what reading took is gone from the time that is left of a block */
        rc = enforcer_carry(e, now + e->s.ops->clock(e->s.ops_ctx) - began);
    e->nchanges = 0;
    readback_free(&r);
    return rc;
}

int enforcer_resync(struct enforcer *e, int64_t now)
{
    int64_t began = e->s.ops->clock(e->s.ops_ctx);
    e->stats.resyncs++;
    int rc = read_and_repair(e, now);
    if (rc == SK_EEXIST || rc == SK_ENOENT || rc == SK_EAGAIN) {
        /* The kernel moved between reading and writing: once more, and the prefix sets anew. */
        e->rewrite[0] = e->rewrite[1] = true;
        now += e->s.ops->clock(e->s.ops_ctx) - began;
        rc = read_and_repair(e, now);
    }
    e->need_resync = rc != SK_OK;
    if (rc == SK_OK) {
        e->degraded = false;
        e->check.running = false;
        e->check.due = now + ENFORCER_RESYNC;
        all_in_kernel(e, now);
    } else {
        (void)enforcer_failed(e, rc, now);
    }
    e->restored = e->restored || rc == SK_OK;
    enforcer_journal_round(e, now);
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

struct unblocked {
    struct enforcer *e;
    int64_t now;
};

static void on_unblocked(void *arg, const struct block *b)
{
    struct unblocked *u = arg;
    enforcer_spare_restored(u->e, b, u->now);
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
    struct unblocked u = {e, now};
    int spared = journal_unblocked(j, now, ENFORCER_SPARED_MAX, on_unblocked, &u);
    known = known != SK_OK ? known : spared;
    return rc != SK_OK ? rc : known;
}

int enforcer_restore(struct enforcer *e, int64_t now)
{
    int64_t began = e->s.ops->clock(e->s.ops_ctx);
    int rc = e->s.journal ? load_journal(e, now) : SK_OK;
    if (rc != SK_OK)
        e->stats.journal_errors++;
    (void)enforcer_never_changed(e, now);
    int kernel = enforcer_resync(e, now + e->s.ops->clock(e->s.ops_ctx) - began);
    e->stats.repairs = 0; /* what was set up at the start is no repair */
    return kernel != SK_OK ? kernel : rc;
}
