#include "enforce/blocktable.h"

#include <stdlib.h>
#include "base/hash.h"

struct block_table {
    struct sk_hash_key key;
    uint32_t max, mask;
    size_t n, prefixes;
    struct block **by_target, **by_id; /* chains through next_target, next_id */
    struct block **heap;               /* [0] expires first; doubles as the list for block_table_at */
    struct block **prefix;             /* those that are not hosts, few beside many */
    uint32_t lens[129];                /* blocks of each prefix length */
    size_t of[BLOCK_ORIGINS][2];       /* [1]: hosts */
};

static uint32_t target_slot(const struct block_table *t, const struct sk_prefix *p)
{
    uint64_t w[3] = {p->addr.q[0], p->addr.q[1], p->len};
    return (uint32_t)sk_siphash_words(&t->key, w, 3) & t->mask;
}

static uint32_t id_slot(const struct block_table *t, const char *id)
{
    return (uint32_t)sk_siphash(&t->key, id, strlen(id)) & t->mask;
}

struct block_table *block_table_create(uint32_t max)
{
    struct block_table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->max = max == 0 || max > BLOCK_TABLE_MAX ? BLOCK_TABLE_MAX : max;
    uint32_t slots = 64;
    while (slots < t->max)
        slots *= 2;
    t->mask = slots - 1;
    sk_hash_key_random(&t->key);
    t->by_target = calloc(slots, sizeof *t->by_target);
    t->by_id = calloc(slots, sizeof *t->by_id);
    t->heap = calloc(t->max, sizeof *t->heap);
    t->prefix = calloc(BLOCK_PREFIXES_MAX, sizeof *t->prefix);
    if (!t->by_target || !t->by_id || !t->heap || !t->prefix) {
        block_table_free(t);
        return NULL;
    }
    return t;
}

void block_free(struct block *b)
{
    if (b)
        free(b->fleet);
    free(b);
}

void block_table_free(struct block_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        block_free(t->heap[i]);
    free(t->by_target);
    free(t->by_id);
    free(t->heap);
    free(t->prefix);
    free(t);
}

/* ---- heap ---- */

static void heap_put(struct block_table *t, size_t pos, struct block *b)
{
    t->heap[pos] = b;
    b->heap_pos = (uint32_t)pos;
}

static void heap_up(struct block_table *t, size_t pos)
{
    struct block *b = t->heap[pos];
    while (pos > 0 && t->heap[(pos - 1) / 2]->expires > b->expires) {
        heap_put(t, pos, t->heap[(pos - 1) / 2]);
        pos = (pos - 1) / 2;
    }
    heap_put(t, pos, b);
}

static void heap_down(struct block_table *t, size_t pos)
{
    struct block *b = t->heap[pos];
    for (;;) {
        size_t c = 2 * pos + 1;
        if (c >= t->n)
            break;
        if (c + 1 < t->n && t->heap[c + 1]->expires < t->heap[c]->expires)
            c++;
        if (t->heap[c]->expires >= b->expires)
            break;
        heap_put(t, pos, t->heap[c]);
        pos = c;
    }
    heap_put(t, pos, b);
}

static void heap_remove(struct block_table *t, size_t pos)
{
    struct block *last = t->heap[--t->n];
    if (pos == t->n)
        return;
    heap_put(t, pos, last);
    heap_up(t, pos);
    heap_down(t, last->heap_pos);
}

static void prefix_put(struct block_table *t, size_t pos, struct block *b)
{
    t->prefix[pos] = b;
    b->prefix_pos = (uint32_t)pos;
}

/* ---- blocks ---- */

static void random_id(char id[BLOCK_ID_LEN])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    struct sk_hash_key k;
    sk_hash_key_random(&k);
    id[0] = 'B';
    for (int i = 1; i < BLOCK_ID_LEN - 1; i++, k.k0 >>= 5)
        id[i] = alphabet[k.k0 & 31];
    id[BLOCK_ID_LEN - 1] = '\0';
}

static unsigned scores_of(const struct decide_request *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < DECIDE_SCORES_MAX; i++)
        n += r->scores[i].ts != 0;
    return n;
}

/* Behind scores and chain come bytes without an alignment. */
_Static_assert(sizeof(struct block) % 8 == 0 && sizeof(struct decide_score_item) % 8 == 0 &&
                   sizeof(struct block_chain) % 8 == 0 && _Alignof(struct block_chain) <= 8,
               "each part ends where the next may begin");

static char *put_scores(struct block *b, const struct decide_request *r, char *at)
{
    struct decide_score_item *to = (struct decide_score_item *)(void *)at;
    b->score = r->score;
    b->threshold = r->threshold;
    b->scores = to;
    for (unsigned i = 0; i < DECIDE_SCORES_MAX; i++)
        if (r->scores[i].ts != 0)
            to[b->nscores++] = r->scores[i];
    return (char *)(to + b->nscores);
}

static size_t chain_size(const struct identity *id)
{
    return id->state == IDENTITY_DIRECT ? 0 : sizeof(struct block_chain) + id->nhops * sizeof id->hop[0];
}

static char *put_chain(struct block *b, const struct identity *id, char *at)
{
    if (id->state == IDENTITY_DIRECT)
        return at;
    struct block_chain *c = (struct block_chain *)(void *)at;
    c->client = id->client;
    c->port = id->port;
    c->source = id->source;
    c->nhops = id->nhops;
    memcpy(c->hop, id->hop, id->nhops * sizeof id->hop[0]);
    b->chain = c;
    return at + chain_size(id);
}

/* One allocation: the block, then what it was decided on, its message and its evidence. */
struct block *block_new(const struct decide_request *r)
{
    size_t msg = strnlen(r->msg, sizeof r->msg - 1);
    size_t ev = r->evidence_len <= DECIDE_EVIDENCE_MAX ? r->evidence_len : DECIDE_EVIDENCE_MAX;
    size_t scores = scores_of(r) * sizeof r->scores[0];
    struct block *b = calloc(1, sizeof *b + scores + chain_size(&r->identity) + msg + 1 + ev);
    if (!b)
        return NULL;
    char *text = put_chain(b, &r->identity, put_scores(b, r, (char *)(b + 1)));
    memcpy(text, r->msg, msg);
    memcpy(text + msg + 1, r->evidence, ev);
    b->msg = text;
    b->evidence = (const uint8_t *)text + msg + 1;
    b->evidence_len = (uint16_t)ev;
    b->reason = r->reason;
    b->target = r->target;
    b->sid = r->sid;
    b->gid = r->gid;
    b->rev = r->rev;
    b->proto = r->proto;
    b->dropped = r->dropped;
    b->to_server = r->to_server;
    b->src = r->src;
    b->dst = r->dst;
    b->sport = r->sport;
    b->dport = r->dport;
    b->flow_id = r->flow_id;
    b->packet = r->packet;
    b->packet_ts = r->ts;
    return b;
}

/* As a place in an array; journals of later versions may know more origins. */
static unsigned origin_of(const struct block *b)
{
    return b->origin < BLOCK_ORIGINS ? b->origin : BLOCK_KERNEL;
}

int block_table_add(struct block_table *t, const struct decide_request *req, const char *id, enum block_origin origin,
                    int64_t created, int64_t expires, struct block **out)
{
    if (block_table_find(t, &req->target) || (id && block_table_find_id(t, id)))
        return SK_EEXIST;
    bool host = req->target.len == 128;
    if (t->n >= t->max || (!host && t->prefixes >= BLOCK_PREFIXES_MAX))
        return SK_EFULL;
    struct block *b = block_new(req);
    if (!b)
        return SK_ENOMEM;
    if (id)
        strncpy(b->id, id, sizeof b->id - 1);
    else
        do
            random_id(b->id);
        while (block_table_find_id(t, b->id));
    b->origin = (uint8_t)origin;
    b->created = b->last = created;
    b->expires = expires;
    b->own = origin == BLOCK_FLEET ? 0 : expires;
    b->requests = 1;
    uint32_t ts = target_slot(t, &b->target), is = id_slot(t, b->id);
    b->next_target = t->by_target[ts];
    t->by_target[ts] = b;
    b->next_id = t->by_id[is];
    t->by_id[is] = b;
    t->lens[b->target.len]++;
    t->of[origin_of(b)][host]++;
    if (!host)
        prefix_put(t, t->prefixes++, b);
    heap_put(t, t->n, b);
    t->n++;
    heap_up(t, t->n - 1);
    *out = b;
    return SK_OK;
}

/* The end follows those who want the block. True: it has moved. */
static bool follow_claims(struct block_table *t, struct block *b)
{
    int64_t fleet = b->fleet ? b->fleet->expires : 0, end = b->own > fleet ? b->own : fleet;
    if (end == b->expires)
        return false;
    b->expires = end;
    heap_up(t, b->heap_pos);
    heap_down(t, b->heap_pos);
    return true;
}

bool block_table_extend(struct block_table *t, struct block *b, int64_t expires)
{
    int64_t *end = b->origin == BLOCK_FLEET && b->fleet ? &b->fleet->expires : &b->own;
    if (expires <= *end)
        return false;
    *end = expires;
    (void)follow_claims(t, b);
    return true;
}

int block_table_claim(struct block_table *t, struct block *b, const struct block_fleet *f, bool *moved)
{
    *moved = false;
    if (f && !b->fleet && !(b->fleet = malloc(sizeof *f)))
        return SK_ENOMEM;
    if (f) {
        *b->fleet = *f;
    } else {
        free(b->fleet);
        b->fleet = NULL;
    }
    *moved = follow_claims(t, b);
    return SK_OK;
}

/* Where the pointer to b stands in each chain. */
static struct block **target_link(struct block_table *t, const struct block *b)
{
    struct block **p = &t->by_target[target_slot(t, &b->target)];
    while (*p != b)
        p = &(*p)->next_target;
    return p;
}

static struct block **id_link(struct block_table *t, const struct block *b)
{
    struct block **p = &t->by_id[id_slot(t, b->id)];
    while (*p != b)
        p = &(*p)->next_id;
    return p;
}

/* What goes over from one block to the one that takes its place. */
static void inherit(struct block *n, struct block *o)
{
    memcpy(n->id, o->id, sizeof n->id);
    n->dry_run = o->dry_run;
    n->expires = o->expires;
    n->requests = o->requests;
    n->fleet = o->fleet;
    o->fleet = NULL;
    n->hit_packets = o->hit_packets;
    n->hit_bytes = o->hit_bytes;
    n->dirty = o->dirty;
    n->mark = o->mark;
    n->heap_pos = o->heap_pos;
    n->prefix_pos = o->prefix_pos;
    n->table_no = o->table_no;
    n->kernel_expires = o->kernel_expires;
    n->seen_packets = o->seen_packets;
    n->seen_bytes = o->seen_bytes;
    n->next_target = o->next_target;
    n->next_id = o->next_id;
}

int block_table_own(struct block_table *t, struct block **b, const struct decide_request *req, enum block_origin origin,
                    int64_t created, int64_t own)
{
    struct block *o = *b, *n = block_new(req);
    if (!n)
        return SK_ENOMEM;
    *target_link(t, o) = n;
    *id_link(t, o) = n;
    t->heap[o->heap_pos] = n;
    if (!block_is_host(o))
        t->prefix[o->prefix_pos] = n;
    inherit(n, o);
    n->origin = (uint8_t)origin;
    n->created = n->last = created;
    n->own = own;
    t->of[origin_of(o)][block_is_host(o)]--;
    t->of[origin_of(n)][block_is_host(n)]++;
    block_free(o);
    (void)follow_claims(t, n);
    *b = n;
    return SK_OK;
}

size_t block_table_of(const struct block_table *t, enum block_origin origin, bool hosts)
{
    return (unsigned)origin < BLOCK_ORIGINS ? t->of[origin][hosts] : 0;
}

void block_table_remove(struct block_table *t, struct block *b)
{
    *target_link(t, b) = b->next_target;
    *id_link(t, b) = b->next_id;
    t->lens[b->target.len]--;
    t->of[origin_of(b)][block_is_host(b)]--;
    if (!block_is_host(b))
        prefix_put(t, b->prefix_pos, t->prefix[--t->prefixes]);
    heap_remove(t, b->heap_pos);
}

struct block *block_table_find(const struct block_table *t, const struct sk_prefix *target)
{
    struct block *b = t->by_target[target_slot(t, target)];
    while (b && (b->target.len != target->len || !sk_addr_eq(&b->target.addr, &target->addr)))
        b = b->next_target;
    return b;
}

struct block *block_table_find_id(const struct block_table *t, const char *id)
{
    struct block *b = t->by_id[id_slot(t, id)];
    while (b && strcmp(b->id, id) != 0)
        b = b->next_id;
    return b;
}

struct block *block_table_covering(const struct block_table *t, const struct sk_prefix *p)
{
    struct block *best = NULL;
    for (unsigned len = 0; len <= p->len; len++) {
        if (t->lens[len] == 0)
            continue;
        struct sk_prefix wide = sk_prefix_make(&p->addr, (uint8_t)len);
        struct block *b = block_table_find(t, &wide);
        if (b && (!best || b->expires > best->expires))
            best = b;
    }
    return best;
}

struct block *block_table_first(const struct block_table *t)
{
    return t->n ? t->heap[0] : NULL;
}

size_t block_table_count(const struct block_table *t)
{
    return t->n;
}

size_t block_table_prefixes(const struct block_table *t)
{
    return t->prefixes;
}

uint32_t block_table_max(const struct block_table *t)
{
    return t->max;
}

bool block_table_scan(const struct block_table *t, uint32_t *cursor, size_t most, block_table_fn *fn, void *arg)
{
    size_t seen = 0;
    for (; seen < most && *cursor <= t->mask; ++*cursor)
        for (struct block *b = t->by_id[*cursor]; b; b = b->next_id, seen++)
            fn(arg, b);
    return *cursor <= t->mask;
}

struct block *block_table_at(const struct block_table *t, size_t i)
{
    return i < t->n ? t->heap[i] : NULL;
}

void block_identity(const struct block *b, struct identity *out)
{
    *out = (struct identity){.client = b->target.addr, .state = IDENTITY_DIRECT};
    if (sk_prefix_contains(&b->target, &b->src)) {
        out->client = b->src;
        out->port = b->sport;
    } else if (sk_prefix_contains(&b->target, &b->dst)) {
        out->client = b->dst;
        out->port = b->dport;
    }
    if (!b->chain)
        return;
    out->state = IDENTITY_PROVEN; /* others are not blocked */
    out->client = b->chain->client;
    out->port = b->chain->port;
    out->source = b->chain->source;
    out->nhops = b->chain->nhops;
    memcpy(out->hop, b->chain->hop, b->chain->nhops * sizeof out->hop[0]);
}

struct block *block_table_prefix_at(const struct block_table *t, size_t i)
{
    return i < t->prefixes ? t->prefix[i] : NULL;
}

const char *block_origin_name(enum block_origin o)
{
    static const char *const names[] = {"rule", "operator", "fleet", "kernel"};
    return (unsigned)o < BLOCK_ORIGINS ? names[o] : "unknown";
}
