/* The flow table: slab, buckets, LRU lists. */
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "flow_internal.h"

#define SWEEP_EVERY  32 /* lookups between two looks at the ages */
#define SWEEP_BUDGET 64 /* flows ended by one look: more than can begin between two */

struct lru {
    struct flow *oldest, *newest;
};

struct flow_table {
    struct flow_conf conf;
    flow_end_fn end;
    void *arg;
    struct sk_counters *c;
    struct sk_hash_key key;
    uint64_t ids, id_seed;
    size_t stride, slab_bytes;
    unsigned char *slab;
    uint32_t used;      /* slab entries that have ever been used */
    struct flow *free_; /* given back, through hnext */
    struct flow **bucket;
    uint32_t mask, count;
    unsigned lookups;
    struct lru lru[FLOW_NCLASS];
    bool ending; /* an end callback runs */
};

static const enum flow_class evict_order[] = {FLOW_HALF_OPEN, FLOW_CLOSED, FLOW_ICMP, FLOW_UDP, FLOW_ESTABLISHED};

int flow_table_create(const struct flow_conf *conf, flow_end_fn end, void *arg, struct sk_counters *c,
                      struct flow_table **out)
{
    struct flow_table *t = calloc(1, sizeof *t);
    if (!t)
        return SK_ENOMEM;
    t->conf = *conf;
    t->end = end;
    t->arg = arg;
    t->c = c;
    sk_hash_key_random(&t->key);
    struct sk_hash_key seed; /* not the key: ids are published */
    sk_hash_key_random(&seed);
    t->id_seed = seed.k0;
    t->stride = (sizeof(struct flow) + conf->user_size + 63) & ~(size_t)63;
    t->slab_bytes = t->stride * conf->max_flows;
    uint32_t nb = 64;
    while (nb < conf->max_flows && nb < UINT32_C(1) << 30)
        nb *= 2;
    t->mask = nb - 1;
    t->bucket = calloc(nb, sizeof(struct flow *));
    /* Pages come as flows come; the address space is all that is taken now. */
    void *m = mmap(NULL, t->slab_bytes ? t->slab_bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED || !t->bucket) {
        if (m != MAP_FAILED)
            munmap(m, t->slab_bytes);
        free(t->bucket);
        free(t);
        return SK_ENOMEM;
    }
    t->slab = m;
    *out = t;
    return SK_OK;
}

void flow_table_free(struct flow_table *t)
{
    if (!t)
        return;
    munmap(t->slab, t->slab_bytes ? t->slab_bytes : 1);
    free(t->bucket);
    free(t);
}

/* --- LRU lists --- */

static void lru_remove(struct flow_table *t, struct flow *f)
{
    struct lru *l = &t->lru[f->class_];
    *(f->lru_prev ? &f->lru_prev->lru_next : &l->oldest) = f->lru_next;
    *(f->lru_next ? &f->lru_next->lru_prev : &l->newest) = f->lru_prev;
}

static void lru_append(struct flow_table *t, struct flow *f)
{
    struct lru *l = &t->lru[f->class_];
    f->lru_prev = l->newest;
    f->lru_next = NULL;
    *(l->newest ? &l->newest->lru_next : &l->oldest) = f;
    l->newest = f;
}

void flow_set_class(struct flow_table *t, struct flow *f, enum flow_class c)
{
    if (f->class_ == c)
        return;
    lru_remove(t, f);
    f->class_ = (uint8_t)c;
    lru_append(t, f);
}

/* --- end of flows --- */

static void unlink_bucket(struct flow_table *t, struct flow *f)
{
    for (struct flow **p = &t->bucket[f->hash & t->mask]; *p; p = &(*p)->hnext) {
        if (*p == f) {
            *p = f->hnext;
            return;
        }
    }
}

void flow_end(struct flow_table *t, struct flow *f, enum flow_end why, int64_t now)
{
    unlink_bucket(t, f);
    lru_remove(t, f);
    t->count--;
    t->ending = true;
    if (t->end)
        t->end(t->arg, f, why, now);
    t->ending = false;
    f->hnext = t->free_;
    t->free_ = f;
}

static bool evict(struct flow_table *t, int64_t now)
{
    for (unsigned i = 0; i < FLOW_NCLASS; i++) {
        struct flow *f = t->lru[evict_order[i]].oldest;
        if (!f)
            continue;
        sk_count(t->c, SK_C_FLOW_EVICTED);
        flow_end(t, f, FLOW_END_EVICTED, now);
        return true;
    }
    return false;
}

unsigned flow_sweep(struct flow_table *t, int64_t now, unsigned budget)
{
    unsigned n = 0;
    for (unsigned c = 0; c < FLOW_NCLASS; c++) {
        struct flow *f;
        while ((f = t->lru[c].oldest) && now - f->last_ts > t->conf.timeout[c]) {
            if (budget && n >= budget)
                return n;
            flow_end(t, f, FLOW_END_TIMEOUT, now);
            n++;
        }
    }
    return n;
}

void flow_end_all(struct flow_table *t, enum flow_end why, int64_t now)
{
    for (unsigned c = 0; c < FLOW_NCLASS; c++)
        while (t->lru[c].oldest)
            flow_end(t, t->lru[c].oldest, why, now);
}

/* --- look-up --- */

static bool same_flow(const struct flow *f, const struct flow_ends *e, const struct sk_packet *p)
{
    if (f->proto != e->proto || f->recursion != p->tunnel_depth || f->vlan_count != p->vlan_count ||
        memcmp(f->vlan_id, p->vlan_id, sizeof f->vlan_id) != 0)
        return false;
    return (sk_addr_eq(&f->client, &e->src) && f->kcport == e->sport && sk_addr_eq(&f->server, &e->dst) &&
            f->ksport == e->dport) ||
           (sk_addr_eq(&f->client, &e->dst) && f->kcport == e->dport && sk_addr_eq(&f->server, &e->src) &&
            f->ksport == e->sport);
}

static struct flow *find(const struct flow_table *t, uint64_t h, const struct flow_ends *e, const struct sk_packet *p)
{
    for (struct flow *f = t->bucket[h & t->mask]; f; f = f->hnext)
        if (f->hash == h && same_flow(f, e, p))
            return f;
    return NULL;
}

static struct flow *take_entry(struct flow_table *t, int64_t now)
{
    if (!t->free_ && t->used == t->conf.max_flows && !evict(t, now))
        return NULL;
    struct flow *f = t->free_;
    if (f)
        t->free_ = f->hnext;
    else
        f = (struct flow *)(void *)(t->slab + t->stride * t->used++);
    memset(f, 0, t->stride);
    return f;
}

static enum flow_class first_class(uint8_t proto)
{
    switch (proto) {
    case IPPROTO_TCP: return FLOW_HALF_OPEN;
    case IPPROTO_UDP: return FLOW_UDP;
    default: return FLOW_ICMP;
    }
}

static void count_new(struct flow_table *t, uint8_t proto)
{
    sk_count(t->c, SK_C_FLOWS);
    if (proto == IPPROTO_TCP)
        sk_count(t->c, SK_C_FLOWS_TCP);
    else if (proto == IPPROTO_UDP)
        sk_count(t->c, SK_C_FLOWS_UDP);
    else if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
        sk_count(t->c, SK_C_FLOWS_ICMP);
}

static void set_ends(struct flow *f, const struct sk_packet *p, const struct flow_ends *e)
{
    bool from_server = (p->flags & PKT_TCP) && (p->tcp.flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
    f->client = from_server ? e->dst : e->src;
    f->server = from_server ? e->src : e->dst;
    f->kcport = from_server ? e->dport : e->sport;
    f->ksport = from_server ? e->sport : e->dport;
    f->cport = f->kcport;
    f->sport = f->ksport;
    if (p->flags & (PKT_ICMP4 | PKT_ICMP6)) {
        f->cport = p->icmp.type;
        f->sport = p->icmp.code;
    }
    f->dir_certain = (p->flags & PKT_TCP) && (p->tcp.flags & TCP_SYN);
}

/* A bijection of a counter: unique for a table, and, with the seed, to all likelihood for the host. */
static uint64_t new_id(struct flow_table *t)
{
    t->ids++;
    return t->conf.random_ids ? sk_mix64(t->ids ^ t->id_seed) : t->ids;
}

static struct flow *create(struct flow_table *t, const struct sk_packet *p, const struct flow_ends *e, uint64_t h)
{
    struct flow *f = take_entry(t, p->ts);
    if (!f)
        return NULL;
    set_ends(f, p, e);
    f->proto = p->proto;
    f->ip_version = p->flags & PKT_IPV4 ? 4 : 6;
    f->recursion = p->tunnel_depth;
    f->vlan_count = p->vlan_count;
    memcpy(f->vlan_id, p->vlan_id, sizeof f->vlan_id);
    f->iface = p->frame ? p->frame->iface : 0;
    f->class_ = (uint8_t)first_class(p->proto);
    f->first_ts = f->last_ts = p->ts;
    f->ttl_min[0] = f->ttl_min[1] = UINT8_MAX;
    f->id = new_id(t);
    f->hash = h;
    f->hnext = t->bucket[h & t->mask];
    t->bucket[h & t->mask] = f;
    lru_append(t, f);
    t->count++;
    count_new(t, p->proto);
    return f;
}

static void account(struct flow_table *t, struct flow *f, const struct sk_packet *p, enum flow_dir dir)
{
    if (p->ts > f->last_ts)
        f->last_ts = p->ts;
    f->pkts[dir]++;
    f->bytes[dir] += p->frame && !(p->flags & (PKT_TUNNELED | PKT_REASSEMBLED)) ? p->frame->wirelen : p->ip.len;
    if (p->ttl < f->ttl_min[dir])
        f->ttl_min[dir] = p->ttl;
    if (p->ttl > f->ttl_max[dir])
        f->ttl_max[dir] = p->ttl;
    *(dir == FLOW_TOSERVER ? &f->tos_ts : &f->tos_tc) |= p->tos;
    if (t->lru[f->class_].newest != f) {
        lru_remove(t, f);
        lru_append(t, f);
    }
}

static struct flow *find_by(const struct flow_table *t, const struct sk_packet *p, const struct flow_ends *e,
                            uint64_t *h)
{
    struct flow_key k;
    flow_key_of(p, e, &k);
    *h = flow_key_hash(&t->key, &k);
    return find(t, *h, e, p);
}

static struct flow *find_or_create(struct flow_table *t, const struct sk_packet *p, struct flow_ends *e)
{
    uint64_t h;
    bool error = flow_is_icmp_error(p);
    if (!flow_is_tracked(p) || (error && !p->icmp.has_inner))
        return NULL;
    flow_ends_of(p, error, e);
    struct flow *f = find_by(t, p, e, &h);
    if (f || error)
        return f;
    f = create(t, p, e, h);
    if (!f)
        sk_count(t->c, SK_C_FLOW_NOT_TRACKED);
    return f;
}

struct flow *flow_lookup(struct flow_table *t, const struct sk_packet *p, enum flow_dir *dir)
{
    struct flow_ends e;
    if (t->ending)
        return NULL;
    if (++t->lookups >= SWEEP_EVERY) {
        t->lookups = 0;
        flow_sweep(t, p->ts, SWEEP_BUDGET);
    }
    struct flow *f = find_or_create(t, p, &e);
    if (!f)
        return NULL;
    bool from_client = sk_addr_eq(&f->client, &e.src) && f->kcport == e.sport;
    *dir = from_client ? FLOW_TOSERVER : FLOW_TOCLIENT;
    account(t, f, p, *dir);
    return f;
}

static void swap_u16(uint16_t *a, uint16_t *b)
{
    uint16_t x = *a;
    *a = *b;
    *b = x;
}

static void swap_u8(uint8_t v[2])
{
    uint8_t x = v[0];
    v[0] = v[1];
    v[1] = x;
}

static void swap_u64(uint64_t v[2])
{
    uint64_t x = v[0];
    v[0] = v[1];
    v[1] = x;
}

void flow_swap(struct flow *f)
{
    struct sk_addr a = f->client;
    f->client = f->server;
    f->server = a;
    swap_u16(&f->cport, &f->sport);
    swap_u16(&f->kcport, &f->ksport);
    swap_u16(&f->tos_ts, &f->tos_tc);
    swap_u8(f->ttl_min);
    swap_u8(f->ttl_max);
    swap_u64(f->pkts);
    swap_u64(f->bytes);
    f->swapped = !f->swapped;
}

uint32_t flow_count(const struct flow_table *t)
{
    return t->count;
}

uint64_t flow_memory(const struct flow_table *t)
{
    return (uint64_t)t->used * t->stride + ((uint64_t)t->mask + 1) * sizeof(struct flow *);
}
