/*
 * Datagrams under reassembly: a fixed array of trackers, found by a keyed hash, each with one growing buffer and the
 * sorted ranges that it holds.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "flow/defrag.h"

#define MAX_RANGES 64    /* runs of bytes between holes; a datagram cut finer is given up (DEFRAG_BAD) */
#define MAX_DATA   65535 /* longest datagram */
#define GROW       2048

struct range {
    uint32_t from, to;
};

struct tracker {
    struct sk_addr src, dst;
    uint32_t id;
    uint8_t proto, vlan_count, depth;
    bool v6, used, dead; /* dead: overlapped; further fragments are swallowed until the time is over */
    uint16_t vlan_id[SK_MAX_VLAN_LAYERS];
    uint64_t hash;
    int64_t first;
    uint32_t total; /* 0: last fragment not seen */
    uint16_t hdr_len;
    uint8_t hdr[60];
    uint32_t nranges;
    struct range range[MAX_RANGES];
    uint8_t *data;
    uint32_t cap;
    struct tracker *hnext, *prev, *next; /* age order, oldest first */
};

struct defrag {
    struct defrag_conf conf;
    struct sk_counters *c;
    struct sk_hash_key key;
    struct tracker *t, *free_, *oldest, *newest;
    struct tracker **bucket;
    uint32_t mask, held;
    uint8_t out[40 + 60 + MAX_DATA];
};

int defrag_create(const struct defrag_conf *conf, struct sk_counters *c, struct defrag **out)
{
    struct defrag *d = calloc(1, sizeof *d);
    if (!d)
        return SK_ENOMEM;
    d->conf = *conf;
    d->c = c;
    sk_hash_key_random(&d->key);
    uint32_t nb = 16;
    while (nb < conf->max_pending && nb < 1u << 20)
        nb *= 2;
    d->mask = nb - 1;
    d->bucket = calloc(nb, sizeof(struct tracker *));
    d->t = calloc(conf->max_pending ? conf->max_pending : 1, sizeof *d->t);
    if (!d->bucket || !d->t) {
        defrag_free(d);
        return SK_ENOMEM;
    }
    for (uint32_t i = 0; i < conf->max_pending; i++) {
        d->t[i].hnext = d->free_;
        d->free_ = &d->t[i];
    }
    *out = d;
    return SK_OK;
}

void defrag_free(struct defrag *d)
{
    if (!d)
        return;
    for (uint32_t i = 0; d->t && i < d->conf.max_pending; i++)
        free(d->t[i].data);
    free(d->t);
    free(d->bucket);
    free(d);
}

static void release(struct defrag *d, struct tracker *t)
{
    for (struct tracker **p = &d->bucket[t->hash & d->mask]; *p; p = &(*p)->hnext) {
        if (*p == t) {
            *p = t->hnext;
            break;
        }
    }
    *(t->prev ? &t->prev->next : &d->oldest) = t->next;
    *(t->next ? &t->next->prev : &d->newest) = t->prev;
    d->held -= t->cap;
    free(t->data);
    *t = (struct tracker){.hnext = d->free_};
    d->free_ = t;
}

static void expire(struct defrag *d, int64_t now)
{
    while (d->oldest && now - d->oldest->first > d->conf.timeout) {
        if (!d->oldest->dead)
            sk_count(d->c, SK_C_DEFRAG_TIMEOUT);
        release(d, d->oldest);
    }
}

static bool same(const struct tracker *t, const struct sk_packet *p)
{
    bool v6 = p->flags & PKT_IPV6;
    return t->id == p->ip_id && t->v6 == v6 && (v6 || t->proto == p->proto) && t->vlan_count == p->vlan_count &&
           t->depth == p->tunnel_depth && sk_addr_eq(&t->src, &p->src) && sk_addr_eq(&t->dst, &p->dst) &&
           memcmp(t->vlan_id, p->vlan_id, sizeof t->vlan_id) == 0;
}

static uint64_t hash_of(const struct defrag *d, const struct sk_packet *p)
{
    uint64_t w[5] = {p->src.q[0], p->src.q[1], p->dst.q[0], p->dst.q[1], p->ip_id};
    return sk_siphash_words(&d->key, w, 5);
}

static struct tracker *begin(struct defrag *d, const struct sk_packet *p, uint64_t h)
{
    if (!d->free_) {
        if (!d->oldest)
            return NULL;
        sk_count(d->c, SK_C_DEFRAG_FULL);
        release(d, d->oldest);
    }
    struct tracker *t = d->free_;
    d->free_ = t->hnext;
    *t = (struct tracker){.src = p->src,
                          .dst = p->dst,
                          .id = p->ip_id,
                          .proto = p->proto,
                          .vlan_count = p->vlan_count,
                          .depth = p->tunnel_depth,
                          .v6 = (p->flags & PKT_IPV6) != 0,
                          .used = true,
                          .hash = h,
                          .first = p->ts};
    memcpy(t->vlan_id, p->vlan_id, sizeof t->vlan_id);
    t->hnext = d->bucket[h & d->mask];
    d->bucket[h & d->mask] = t;
    t->prev = d->newest;
    *(d->newest ? &d->newest->next : &d->oldest) = t;
    d->newest = t;
    return t;
}

static struct tracker *find(struct defrag *d, const struct sk_packet *p)
{
    uint64_t h = hash_of(d, p);
    for (struct tracker *t = d->bucket[h & d->mask]; t; t = t->hnext)
        if (t->hash == h && same(t, p))
            return t;
    return begin(d, p, h);
}

/* Room for `need` bytes of data; older datagrams give way. */
static bool grow(struct defrag *d, struct tracker *t, uint32_t need)
{
    if (need <= t->cap)
        return true;
    uint32_t cap = t->cap ? t->cap : GROW;
    while (cap < need)
        cap *= 2;
    while (d->held + (cap - t->cap) > d->conf.memcap) {
        struct tracker *victim = d->oldest != t ? d->oldest : t->next;
        if (!victim)
            return false;
        sk_count(d->c, SK_C_DEFRAG_FULL);
        release(d, victim);
    }
    uint8_t *data = realloc(t->data, cap);
    if (!data)
        return false;
    d->held += cap - t->cap;
    t->data = data;
    t->cap = cap;
    return true;
}

enum place { PLACE_NEW, PLACE_DUPLICATE, PLACE_OVERLAP, PLACE_FULL };

/* Enters [from, to) into the sorted ranges, joining neighbours. */
static enum place enter(struct tracker *t, uint32_t from, uint32_t to)
{
    uint32_t i = 0;
    while (i < t->nranges && t->range[i].to < from)
        i++;
    if (i < t->nranges && t->range[i].from <= from && to <= t->range[i].to)
        return from == to ? PLACE_NEW : PLACE_DUPLICATE;
    for (uint32_t k = 0; k < t->nranges; k++)
        if (from < t->range[k].to && t->range[k].from < to)
            return PLACE_OVERLAP;
    bool left = i < t->nranges && t->range[i].to == from;
    uint32_t next = left ? i + 1 : i;
    bool right = next < t->nranges && t->range[next].from == to;
    if (left && right) {
        t->range[i].to = t->range[next].to;
        memmove(&t->range[next], &t->range[next + 1], (t->nranges - next - 1) * sizeof t->range[0]);
        t->nranges--;
    } else if (left) {
        t->range[i].to = to;
    } else if (right) {
        t->range[next].from = from;
    } else {
        if (t->nranges == MAX_RANGES)
            return PLACE_FULL;
        memmove(&t->range[i + 1], &t->range[i], (t->nranges - i) * sizeof t->range[0]);
        t->range[i] = (struct range){from, to};
        t->nranges++;
    }
    return PLACE_NEW;
}

static void give_up(struct defrag *d, struct tracker *t, enum sk_counter why)
{
    sk_count(d->c, why);
    t->dead = true;
    d->held -= t->cap;
    free(t->data);
    t->data = NULL;
    t->cap = 0;
    t->nranges = 0;
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint16_t header_checksum(const uint8_t *p, unsigned len)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i + 1 < len; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Header of the first fragment, made right, and the data behind it. */
static struct sk_span assemble(struct defrag *d, const struct tracker *t)
{
    uint32_t hl = t->v6 ? 40 : t->hdr_len;
    memcpy(d->out, t->hdr, hl);
    memcpy(d->out + hl, t->data, t->total);
    if (t->v6) {
        put16(d->out + 4, t->total);
        d->out[6] = t->proto;
    } else {
        put16(d->out + 2, hl + t->total);
        put16(d->out + 6, 0);
        put16(d->out + 10, 0);
        put16(d->out + 10, header_checksum(d->out, hl));
    }
    return sk_span_of(d->out, hl + t->total);
}

static bool complete(const struct tracker *t)
{
    return t->total && t->hdr_len && t->nranges == 1 && t->range[0].from == 0 && t->range[0].to == t->total;
}

static void keep_header(struct tracker *t, const struct sk_packet *p)
{
    uint32_t n = t->v6 ? 40 : p->ip_hdr_len;
    if (n > sizeof t->hdr || n > p->ip.len)
        return;
    memcpy(t->hdr, p->ip.p, n);
    t->hdr_len = (uint16_t)n;
    t->proto = p->proto;
}

bool defrag_packet(struct defrag *d, const struct sk_packet *p, struct sk_span *ip)
{
    sk_count(d->c, SK_C_DEFRAG_FRAGS);
    expire(d, p->ts);
    if (p->ip.len < p->ip_hdr_len)
        return false;
    struct sk_span data = sk_span_of(p->ip.p + p->ip_hdr_len, p->ip.len - p->ip_hdr_len);
    uint32_t from = p->frag_offset, to = from + data.len;
    uint32_t limit = MAX_DATA - (p->flags & PKT_IPV4 ? p->ip_hdr_len : 0u);
    struct tracker *t = find(d, p);
    if (!t || t->dead)
        return false;
    /* All but the last fragment carry a multiple of eight bytes (RFC 791); nothing lies behind the last. */
    bool bad = to > limit || (p->frag_more && (data.len & 7 || !data.len)) || (t->total && to > t->total) ||
               (!p->frag_more && t->total && t->total != to) ||
               (!p->frag_more && t->nranges && t->range[t->nranges - 1].to > to);
    if (bad) {
        give_up(d, t, SK_C_DEFRAG_BAD);
        return false;
    }
    enum place pl = enter(t, from, to);
    if (pl == PLACE_DUPLICATE && t->data && memcmp(t->data + from, data.p, data.len) == 0)
        return false; /* sent twice */
    if (pl != PLACE_NEW) {
        give_up(d, t, pl == PLACE_FULL ? SK_C_DEFRAG_BAD : SK_C_DEFRAG_OVERLAP);
        return false;
    }
    if (!grow(d, t, to ? to : 1)) {
        give_up(d, t, SK_C_DEFRAG_FULL);
        return false;
    }
    if (data.len)
        memcpy(t->data + from, data.p, data.len);
    if (from == 0)
        keep_header(t, p);
    if (!p->frag_more)
        t->total = to;
    if (!complete(t))
        return false;
    *ip = assemble(d, t);
    sk_count(d->c, SK_C_DEFRAG_DONE);
    release(d, t);
    return true;
}
