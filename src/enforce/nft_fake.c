#include "enforce/nft_fake.h"

#include <stdlib.h>
#include "base/hash.h"

/* Hosts in chained buckets, ranges in arrays sorted by first. */
struct fake_host {
    struct fake_host *next;
    struct nft_elem e;
};

struct fake_ranges {
    struct nft_elem *e;
    size_t n, cap;
};

#define FAKE_SLOTS 16384

struct nft_fake {
    struct nft_fake_log log;
    struct fake_host *slot[FAKE_SLOTS];
    struct fake_ranges ranges[2];
    bool table, misshapen;
    int64_t clock, list_time;
    unsigned fail;
    int fail_err;
};

static struct fake_host **host_slot(struct nft_fake *f, const struct sk_addr *a)
{
    return &f->slot[sk_mix64(a->q[0] ^ sk_mix64(a->q[1])) % FAKE_SLOTS];
}

/* Also drops what expired on the way. */
static struct fake_host **host_find(struct nft_fake *f, const struct sk_addr *a, int64_t now)
{
    struct fake_host **p = host_slot(f, a);
    while (*p) {
        struct fake_host *h = *p;
        if (h->e.expires <= now) {
            *p = h->next;
            free(h);
        } else if (sk_addr_eq(&h->e.first, a)) {
            return p;
        } else {
            p = &h->next;
        }
    }
    return NULL;
}

static int host_change(struct nft_fake *f, const struct nft_change *c, int64_t now)
{
    struct fake_host **p = host_find(f, &c->first, now);
    if (c->op == NFT_DEL) {
        if (!p)
            return SK_ENOENT;
        struct fake_host *h = *p;
        *p = h->next;
        free(h);
        return SK_OK;
    }
    if (p) {
        if (c->op == NFT_PUT)
            (*p)->e.expires = c->expires;
        return SK_OK;
    }
    struct fake_host *h = calloc(1, sizeof *h);
    if (!h)
        return SK_ENOMEM;
    h->e = (struct nft_elem){.set = c->set, .first = c->first, .last = c->first, .expires = c->expires};
    struct fake_host **s = host_slot(f, &c->first);
    h->next = *s;
    *s = h;
    return SK_OK;
}

static void hosts_flush(struct nft_fake *f, uint8_t set)
{
    for (size_t i = 0; i < FAKE_SLOTS; i++)
        for (struct fake_host **p = &f->slot[i]; *p;) {
            struct fake_host *h = *p;
            if (h->e.set == set) {
                *p = h->next;
                free(h);
            } else {
                p = &h->next;
            }
        }
}

static void ranges_expire(struct fake_ranges *r, int64_t now)
{
    size_t k = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->e[i].expires > now)
            r->e[k++] = r->e[i];
    r->n = k;
}

/* The first range that does not end before a; r->n: none. */
static size_t range_find(const struct fake_ranges *r, const struct sk_addr *a)
{
    size_t lo = 0, hi = r->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (sk_addr_cmp(&r->e[mid].last, a) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int range_add(struct fake_ranges *r, const struct nft_change *c)
{
    size_t i = range_find(r, &c->first);
    if (i < r->n && sk_addr_cmp(&r->e[i].first, &c->last) <= 0)
        return SK_EEXIST;
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        struct nft_elem *e = realloc(r->e, cap * sizeof *e);
        if (!e)
            return SK_ENOMEM;
        r->e = e;
        r->cap = cap;
    }
    memmove(r->e + i + 1, r->e + i, (r->n - i) * sizeof *r->e);
    r->e[i] = (struct nft_elem){.set = c->set, .first = c->first, .last = c->last, .expires = c->expires};
    r->n++;
    return SK_OK;
}

static int range_del(struct fake_ranges *r, const struct nft_change *c)
{
    size_t i = range_find(r, &c->first);
    if (i == r->n || !sk_addr_eq(&r->e[i].first, &c->first) || !sk_addr_eq(&r->e[i].last, &c->last))
        return SK_ENOENT;
    memmove(r->e + i, r->e + i + 1, (r->n - i - 1) * sizeof *r->e);
    r->n--;
    return SK_OK;
}

static int change(struct nft_fake *f, const struct nft_change *c, int64_t now)
{
    uint64_t *counts[] = {&f->log.adds, &f->log.dels, &f->log.puts, &f->log.flushes};
    if (c->set >= NFT_SET_IDS || c->op > NFT_FLUSH || (c->op != NFT_FLUSH && sk_addr_cmp(&c->first, &c->last) > 0))
        return SK_EINVAL;
    (*counts[c->op])++;
    if ((c->op == NFT_ADD || c->op == NFT_PUT) && c->expires <= now)
        return SK_EINVAL;
    if (c->set == NFT_HOST4 || c->set == NFT_HOST6) {
        if (c->op != NFT_FLUSH)
            return host_change(f, c, now);
        hosts_flush(f, c->set);
        return SK_OK;
    }
    struct fake_ranges *r = &f->ranges[c->set - NFT_PREFIX4];
    switch (c->op) {
    case NFT_ADD: return range_add(r, c);
    case NFT_DEL: return range_del(r, c);
    case NFT_FLUSH: r->n = 0; return SK_OK;
    default: return SK_EINVAL;
    }
}

static int fake_setup(void *ctx, enum nft_setup *done)
{
    struct nft_fake *f = ctx;
    f->log.setups++;
    *done = !f->table ? NFT_REBUILT : f->misshapen ? NFT_MENDED : NFT_KEPT;
    f->table = true;
    f->misshapen = false;
    return SK_OK;
}

static int copy_ranges(struct fake_ranges *to, const struct fake_ranges *from)
{
    *to = (struct fake_ranges){0};
    if (from->n == 0)
        return SK_OK;
    to->e = malloc(from->n * sizeof *to->e);
    if (!to->e)
        return SK_ENOMEM;
    memcpy(to->e, from->e, from->n * sizeof *to->e);
    to->n = to->cap = from->n;
    return SK_OK;
}

/* Prefix changes are all or nothing, as in the kernel; of host changes those before the bad one stay. */
static int fake_apply(void *ctx, const struct nft_change *c, size_t n, int64_t now)
{
    struct nft_fake *f = ctx;
    f->log.applies++;
    f->log.last_now = now;
    if (f->fail > 0) {
        f->fail--;
        return f->fail_err;
    }
    if (!f->table)
        return SK_ENOENT;
    f->log.transactions += 1 + n / NFT_TXN_ELEMS;
    struct fake_ranges saved[2];
    int rc = SK_OK;
    for (int i = 0; i < 2; i++) {
        ranges_expire(&f->ranges[i], now);
        if (copy_ranges(&saved[i], &f->ranges[i]) != SK_OK)
            rc = SK_ENOMEM;
    }
    for (size_t i = 0; rc == SK_OK && i < n; i++)
        rc = change(f, &c[i], now);
    for (int i = 0; i < 2; i++) {
        struct fake_ranges drop = rc == SK_OK ? saved[i] : f->ranges[i];
        if (rc != SK_OK)
            f->ranges[i] = saved[i];
        free(drop.e);
    }
    return rc;
}

static int fake_list_ranges(void *ctx, enum nft_set_id set, int64_t now, nft_elem_fn *fn, void *arg)
{
    struct nft_fake *f = ctx;
    if (set != NFT_PREFIX4 && set != NFT_PREFIX6)
        return SK_EINVAL;
    f->log.range_lists++;
    const struct fake_ranges *r = &f->ranges[set - NFT_PREFIX4];
    for (size_t i = 0; f->table && i < r->n; i++)
        if (r->e[i].expires > now)
            fn(arg, &r->e[i]);
    return f->table ? SK_OK : SK_ENOENT;
}

static int fake_list(void *ctx, int64_t now, nft_elem_fn *fn, void *arg)
{
    struct nft_fake *f = ctx;
    f->log.lists++;
    f->clock += f->list_time;
    if (!f->table)
        return SK_ENOENT;
    for (size_t i = 0; i < FAKE_SLOTS; i++)
        for (struct fake_host *h = f->slot[i]; h; h = h->next)
            if (h->e.expires > now)
                fn(arg, &h->e);
    f->log.range_lists -= 2;
    (void)fake_list_ranges(ctx, NFT_PREFIX4, now, fn, arg);
    return fake_list_ranges(ctx, NFT_PREFIX6, now, fn, arg);
}

static const struct nft_elem *lookup(struct nft_fake *f, uint8_t set, const struct sk_addr *a, int64_t now)
{
    if (set == NFT_HOST4 || set == NFT_HOST6) {
        struct fake_host **h = host_find(f, a, now);
        return h ? &(*h)->e : NULL;
    }
    const struct fake_ranges *r = &f->ranges[set - NFT_PREFIX4];
    size_t i = range_find(r, a);
    return i < r->n && r->e[i].expires > now && sk_addr_eq(&r->e[i].first, a) ? &r->e[i] : NULL;
}

static int fake_get(void *ctx, struct nft_elem *e, size_t n, int64_t now)
{
    struct nft_fake *f = ctx;
    f->log.gets += n;
    for (size_t i = 0; i < n; i++) {
        const struct nft_elem *have = f->table ? lookup(f, e[i].set, &e[i].first, now) : NULL;
        e[i].there = have != NULL;
        if (!have)
            continue;
        e[i].expires = have->expires;
        e[i].packets = have->packets;
        e[i].bytes = have->bytes;
    }
    return SK_OK;
}

static int fake_teardown(void *ctx)
{
    struct nft_fake *f = ctx;
    nft_fake_wipe(f);
    f->log.teardowns++;
    return SK_OK;
}

/* It stands while somebody works. */
static int64_t fake_clock(void *ctx)
{
    const struct nft_fake *f = ctx;
    return f->clock;
}

const struct nft_ops nft_fake_ops = {.setup = fake_setup,
                                     .apply = fake_apply,
                                     .list = fake_list,
                                     .list_ranges = fake_list_ranges,
                                     .get = fake_get,
                                     .teardown = fake_teardown,
                                     .clock = fake_clock};

struct nft_fake *nft_fake_create(void)
{
    return calloc(1, sizeof(struct nft_fake));
}

void nft_fake_wipe(struct nft_fake *f)
{
    hosts_flush(f, NFT_HOST4);
    hosts_flush(f, NFT_HOST6);
    f->ranges[0].n = f->ranges[1].n = 0;
    f->table = false;
}

void nft_fake_free(struct nft_fake *f)
{
    if (!f)
        return;
    nft_fake_wipe(f);
    free(f->ranges[0].e);
    free(f->ranges[1].e);
    free(f);
}

const struct nft_fake_log *nft_fake_log(const struct nft_fake *f)
{
    return &f->log;
}

bool nft_fake_drops(struct nft_fake *f, const struct sk_addr *a, int64_t now)
{
    struct nft_elem *hit = NULL;
    struct fake_host **h = host_find(f, a, now);
    if (h)
        hit = &(*h)->e;
    for (int k = 0; !hit && k < 2; k++) {
        size_t i = range_find(&f->ranges[k], a);
        struct nft_elem *e = i < f->ranges[k].n ? &f->ranges[k].e[i] : NULL;
        if (e && e->expires > now && sk_addr_cmp(&e->first, a) <= 0)
            hit = e;
    }
    if (hit) {
        hit->packets++;
        hit->bytes += 60;
    }
    return hit != NULL;
}

static void count_one(void *arg, const struct nft_elem *e)
{
    (void)e;
    ++*(size_t *)arg;
}

size_t nft_fake_count(const struct nft_fake *f, int64_t now)
{
    size_t n = 0;
    struct nft_fake *m = (struct nft_fake *)f;
    struct nft_fake_log log = m->log;
    (void)fake_list(m, now, count_one, &n);
    m->log = log;
    return n;
}

void nft_fake_fail(struct nft_fake *f, unsigned n, int err)
{
    f->fail = n;
    f->fail_err = err;
}

void nft_fake_misshape(struct nft_fake *f)
{
    f->misshapen = true;
}

void nft_fake_slow(struct nft_fake *f, int64_t ns)
{
    f->list_time = ns;
}
