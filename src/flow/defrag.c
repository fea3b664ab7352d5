/*
 * Datagrams under reassembly: a fixed array of trackers, found by a keyed hash. The data lies in
 * chunks of a fixed pool, each with two bitmaps of its 8-byte units (filled; first of a run), so that a fragment far
 * behind the others costs no more than one beside them. A run is what Linux calls so (inet_frag_queue_insert):
 * fragments that came each behind the last; a fragment within a run is a duplicate, whatever its bytes, and any other
 * overlap ends the datagram.
 */
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "flow/defrag.h"

#define MAX_DATA 65535 /* longest datagram */
#define UNIT     8     /* of a fragment's offset */
#define CHUNK    2048
#define CHUNKS   32
#define UNITS    (CHUNK / UNIT)

struct chunk {
    uint8_t filled[UNITS / 8], first[UNITS / 8];
    uint8_t data[CHUNK];
};

struct tracker {
    struct sk_addr src, dst;
    uint32_t id;
    uint8_t proto, vlan_count, depth;
    uint8_t ecn; /* bit n: ECN codepoint n has been seen */
    bool v6;
    uint16_t vlan_id[SK_MAX_VLAN_LAYERS];
    uint64_t hash;
    int64_t first;
    uint32_t total;  /* 0: last fragment not seen */
    uint32_t end;    /* of the farthest fragment */
    uint32_t meat;   /* bytes held */
    uint32_t frames; /* fragments that came */
    uint16_t hdr_len;
    uint8_t hdr[60];
    struct chunk *chunk[CHUNKS];
    struct tracker *hnext, *prev, *next; /* age order, oldest first */
};

struct defrag {
    struct defrag_conf conf;
    struct sk_counters *c;
    struct sk_hash_key key;
    struct tracker *t, *free_, *oldest, *newest;
    struct tracker **bucket;
    uint32_t mask;
    struct chunk *pool;
    uint32_t npool, used;
    struct chunk *spare; /* given back; the next one's address is in its data */
    uint32_t due;        /* defrag_frames() */
    uint8_t out[60 + MAX_DATA];
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
    d->npool = conf->memcap / (uint32_t)sizeof(struct chunk) + 1;
    /* Pages come as chunks are first used. */
    void *m = mmap(NULL, (size_t)d->npool * sizeof *d->pool, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    d->pool = m == MAP_FAILED ? NULL : m;
    if (!d->bucket || !d->t || !d->pool) {
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
    if (d->pool)
        munmap(d->pool, (size_t)d->npool * sizeof *d->pool);
    free(d->t);
    free(d->bucket);
    free(d);
}

static struct chunk *chunk_get(struct defrag *d)
{
    struct chunk *c = d->spare;
    if (c)
        memcpy(&d->spare, c->data, sizeof d->spare);
    else if (d->used < d->npool)
        c = &d->pool[d->used++];
    if (c)
        memset(c, 0, offsetof(struct chunk, data));
    return c;
}

static void chunk_put(struct defrag *d, struct chunk *c)
{
    memcpy(c->data, &d->spare, sizeof d->spare);
    d->spare = c;
}

static void release(struct defrag *d, struct tracker *t)
{
    sk_count_add(d->c, SK_C_LP_FRAGMENT, t->frames);
    for (struct tracker **p = &d->bucket[t->hash & d->mask]; *p; p = &(*p)->hnext) {
        if (*p == t) {
            *p = t->hnext;
            break;
        }
    }
    *(t->prev ? &t->prev->next : &d->oldest) = t->next;
    *(t->next ? &t->next->prev : &d->newest) = t->prev;
    for (uint32_t i = 0; i < CHUNKS; i++)
        if (t->chunk[i])
            chunk_put(d, t->chunk[i]);
    *t = (struct tracker){.hnext = d->free_};
    d->free_ = t;
}

static bool is_late(const struct defrag *d, const struct tracker *t, int64_t now)
{
    int64_t limit = t->v6 || !d->conf.timeout4 ? d->conf.timeout : d->conf.timeout4;
    return now - t->first > limit;
}

void defrag_expire(struct defrag *d, int64_t now)
{
    while (d->oldest && is_late(d, d->oldest, now)) {
        sk_count(d->c, SK_C_DEFRAG_TIMEOUT);
        release(d, d->oldest);
    }
}

void defrag_flush(struct defrag *d)
{
    while (d->oldest)
        release(d, d->oldest);
}

uint32_t defrag_frames(const struct defrag *d)
{
    return d->due;
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
    for (struct tracker *t = d->bucket[h & d->mask]; t; t = t->hnext) {
        if (t->hash != h || !same(t, p))
            continue;
        if (!is_late(d, t, p->ts))
            return t;
        sk_count(d->c, SK_C_DEFRAG_TIMEOUT);
        release(d, t);
        break;
    }
    return begin(d, p, h);
}

/* Chunks for [from, to); older datagrams give way. */
static bool make_room(struct defrag *d, struct tracker *t, uint32_t from, uint32_t to)
{
    for (uint32_t i = from / CHUNK; i <= (to - 1) / CHUNK; i++) {
        while (!t->chunk[i] && !(t->chunk[i] = chunk_get(d))) {
            struct tracker *victim = d->oldest != t ? d->oldest : t->next;
            if (!victim)
                return false;
            sk_count(d->c, SK_C_DEFRAG_FULL);
            release(d, victim);
        }
    }
    return true;
}

/* --- which bytes are there --- */

static bool is_filled(const struct tracker *t, uint32_t unit)
{
    return t->chunk[unit / UNITS]->filled[unit % UNITS / 8] >> (unit % 8) & 1;
}

static bool is_first(const struct tracker *t, uint32_t unit)
{
    return t->chunk[unit / UNITS]->first[unit % UNITS / 8] >> (unit % 8) & 1;
}

enum place { PLACE_NEW, PLACE_DUPLICATE, PLACE_OVERLAP };

static enum place place_of(const struct tracker *t, uint32_t from, uint32_t to)
{
    uint32_t a = from / UNIT, b = (to + UNIT - 1) / UNIT, have = 0;
    bool one_run = true;
    for (uint32_t i = a; i < b; i++) {
        have += is_filled(t, i);
        one_run &= i == a || !is_first(t, i);
    }
    if (!have)
        return PLACE_NEW;
    return to <= t->end && have == b - a && one_run ? PLACE_DUPLICATE : PLACE_OVERLAP;
}

static void mark(uint8_t *map, uint32_t i)
{
    map[i / 8] = (uint8_t)(map[i / 8] | 1u << (i % 8));
}

static void fill(struct tracker *t, uint32_t from, struct sk_span data)
{
    uint32_t to = from + data.len;
    if (from != t->end || t->meat == 0)
        mark(t->chunk[from / CHUNK]->first, from % CHUNK / UNIT);
    for (uint32_t i = from / UNIT; i < (to + UNIT - 1) / UNIT; i++)
        mark(t->chunk[i / UNITS]->filled, i % UNITS);
    for (uint32_t at = from; at < to;) {
        uint32_t room = CHUNK - at % CHUNK, n = room < to - at ? room : to - at;
        memcpy(t->chunk[at / CHUNK]->data + at % CHUNK, data.p + (at - from), n);
        at += n;
    }
    t->meat += data.len;
    if (to > t->end)
        t->end = to;
}

/* --- the whole datagram --- */

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
    for (uint32_t at = 0; at < t->total; at += CHUNK)
        memcpy(d->out + hl + at, t->chunk[at / CHUNK]->data, t->total - at < CHUNK ? t->total - at : CHUNK);
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

static bool is_complete(const struct tracker *t)
{
    return t->total && t->hdr_len && t->meat == t->total;
}

/* Fragments of one datagram that disagree whether it is ECN-capable: Linux drops it (ip_frag_ecn_table). */
static bool is_ecn_mixed(const struct tracker *t)
{
    return (t->ecn & 1) && (t->ecn & ~1u);
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

/* RFC 8200 section 4.5: the first fragment carries the whole transport header, else the host drops it. */
static bool lacks_header(const struct sk_packet *p, uint32_t len)
{
    if (!(p->flags & PKT_IPV6) || p->frag_offset != 0)
        return false;
    switch (p->proto) {
    case IPPROTO_TCP: return len < 20;
    case IPPROTO_UDP:
    case IPPROTO_ICMPV6: return len < 8;
    default: return len < 1;
    }
}

/*
 * The fragment's data. Linux cuts what is no multiple of eight off an IPv4 fragment, and drops the IPv6 fragment; what
 * capture has cut or a checksum condemns says nothing about its datagram.
 */
static bool data_of(const struct sk_packet *p, struct sk_span *data)
{
    if (p->ip.len < p->ip_hdr_len || p->flags & (PKT_TRUNCATED | PKT_BAD_CSUM))
        return false;
    *data = sk_span_of(p->ip.p + p->ip_hdr_len, p->ip.len - p->ip_hdr_len);
    if (p->frag_more && data->len % UNIT) {
        if (p->flags & PKT_IPV6)
            return false;
        data->len -= data->len % UNIT;
    }
    return !lacks_header(p, data->len) && (!(p->flags & PKT_IPV6) || p->frag_offset + data->len <= MAX_DATA);
}

/* Is it at odds with where the datagram ends? */
static bool is_bad_end(const struct tracker *t, const struct sk_packet *p, uint32_t from, uint32_t to)
{
    if (from == to || (t->total && to > t->total))
        return true;
    return !p->frag_more && (to < t->end || (t->total && t->total != to));
}

static bool give_up(struct defrag *d, struct tracker *t, enum sk_counter why)
{
    sk_count(d->c, why);
    release(d, t);
    return false;
}

/* Takes the fragment into t. false: t may be gone. */
static bool add(struct defrag *d, struct tracker *t, const struct sk_packet *p, struct sk_span data)
{
    uint32_t from = p->frag_offset, to = from + data.len;
    if (is_bad_end(t, p, from, to))
        return give_up(d, t, SK_C_DEFRAG_BAD);
    if (to > MAX_DATA) { /* Linux keeps it, and drops the whole in the end */
        sk_count(d->c, SK_C_DEFRAG_BAD);
        t->end = to;
        t->total = p->frag_more ? t->total : to;
        return false;
    }
    if (!make_room(d, t, from, to))
        return give_up(d, t, SK_C_DEFRAG_FULL);
    enum place pl = place_of(t, from, to);
    if (pl == PLACE_DUPLICATE)
        return false;
    if (pl == PLACE_OVERLAP)
        return give_up(d, t, SK_C_DEFRAG_OVERLAP);
    fill(t, from, data);
    t->ecn = (uint8_t)(t->ecn | 1u << (p->tos & 3));
    if (from == 0)
        keep_header(t, p);
    if (!p->frag_more)
        t->total = to;
    return true;
}

bool defrag_packet(struct defrag *d, const struct sk_packet *p, struct sk_span *ip)
{
    sk_count(d->c, SK_C_DEFRAG_FRAGS);
    defrag_expire(d, p->ts);
    d->due = 1;
    struct sk_span data;
    if (!data_of(p, &data)) {
        sk_count(d->c, SK_C_DEFRAG_BAD);
        return false;
    }
    struct tracker *t = find(d, p);
    if (!t)
        return false;
    t->frames++;
    d->due = 0;
    if (!add(d, t, p, data) || !is_complete(t))
        return false;
    if (is_ecn_mixed(t) || t->total > MAX_DATA - (t->v6 ? 0u : t->hdr_len))
        return give_up(d, t, SK_C_DEFRAG_BAD);
    *ip = assemble(d, t);
    sk_count(d->c, SK_C_DEFRAG_DONE);
    d->due = t->frames;
    t->frames = 0;
    release(d, t);
    return true;
}
