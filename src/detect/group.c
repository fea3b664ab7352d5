/*
 * Groups: for each (transport, direction, source class, destination class, server port class) the rules that may match
 * there. Most combinations hold the same rules as another; equal lists become one group, equal pattern sets one
 * database.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "detect_internal.h"

struct pat {
    const uint8_t *p;
    uint16_t len;
    bool nocase;
    uint32_t bound;
    uint32_t rank;
};

struct builder {
    struct detect_set *s;
    struct mpm_builder *mpm;
    uint32_t *list; /* ranks of the combination at hand */
    uint32_t n;
    struct pat *pats; /* patterns of the slot at hand */
    uint32_t npats;
    uint32_t cap_groups, cap_dbs;
    uint32_t *hash; /* open addressing: group + 1, by hash of its list */
    uint32_t hash_cap;
    uint32_t **lists; /* of each group, for comparison */
    uint32_t *list_len;
    bool *of_tcp; /* of each group: has stream slots */
};

static int cmp_pat(const void *a, const void *b)
{
    const struct pat *x = a, *y = b;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    if (x->nocase != y->nocase)
        return x->nocase ? 1 : -1;
    int c = memcmp(x->p, y->p, x->len);
    return c ? c : (x->rank > y->rank) - (x->rank < y->rank);
}

static bool same_pat(const struct pat *a, const struct pat *b)
{
    return a->len == b->len && a->nocase == b->nocase && memcmp(a->p, b->p, a->len) == 0;
}

static int remember_db(struct builder *b, struct mpm_db *db)
{
    struct detect_set *s = b->s;
    if (s->ndb == b->cap_dbs) {
        uint32_t cap = b->cap_dbs ? 2 * b->cap_dbs : 64;
        struct mpm_db **p = realloc(s->dbs, cap * sizeof(struct mpm_db *));
        if (!p)
            return SK_ENOMEM;
        s->dbs = p;
        b->cap_dbs = cap;
    }
    s->dbs[s->ndb++] = db;
    return SK_OK;
}

static void add_pat(struct builder *b, const struct det_rule *d, uint32_t rank)
{
    b->pats[b->npats++] =
        (struct pat){.p = d->fp, .len = d->fp_len, .nocase = d->fp_nocase, .bound = d->fp_bound, .rank = rank};
}

/* Compiles the collected patterns into a slot. */
static int close_slot(struct builder *b, struct det_slot *slot)
{
    uint32_t n = b->npats;
    b->npats = 0;
    if (!n)
        return SK_OK;
    struct detect_set *s = b->s;
    qsort(b->pats, n, sizeof *b->pats, cmp_pat);
    uint32_t *first = sk_arena_alloc(&s->arena, (n + 1) * sizeof *first);
    uint32_t *rules = sk_arena_alloc(&s->arena, n * sizeof *rules);
    struct mpm_pattern *mp = calloc(n, sizeof *mp);
    if (!first || !rules || !mp) {
        free(mp);
        return SK_ENOMEM;
    }
    uint32_t np = 0;
    bool bounded = true;
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || !same_pat(&b->pats[i - 1], &b->pats[i])) {
            mp[np] =
                (struct mpm_pattern){.p = b->pats[i].p, .len = b->pats[i].len, .nocase = b->pats[i].nocase, .id = np};
            first[np++] = i;
        }
        rules[i] = b->pats[i].rank;
        bounded &= b->pats[i].bound != 0;
        if (b->pats[i].bound > slot->bound)
            slot->bound = b->pats[i].bound;
    }
    first[np] = n;
    if (!bounded)
        slot->bound = 0;
    char err[256];
    int rc = mpm_build(b->mpm, mp, np, &slot->db, err);
    free(mp);
    if (rc != SK_OK)
        return rc;
    slot->npat = np;
    slot->first = first;
    slot->rules = rules;
    if (np > s->max_patterns)
        s->max_patterns = np;
    return remember_db(b, slot->db);
}

/* --- which rules of the list go into which part of a group --- */

enum part { PART_PKT_NEED, PART_PKT_ALL, PART_STREAM, PART_STREAM_TAIL };

static bool in_part(const struct det_rule *d, enum part part)
{
    if (d->kind != DET_PAYLOAD || !d->fp)
        return false;
    switch (part) {
    case PART_PKT_NEED: return d->need_packet;
    case PART_PKT_ALL: return !d->stream_only;
    case PART_STREAM: return d->need_stream;
    case PART_STREAM_TAIL: return d->need_stream && d->fp_bound == 0;
    }
    return false;
}

static int payload_slot(struct builder *b, struct det_slot *slot, enum part part)
{
    for (uint32_t i = 0; i < b->n; i++) {
        const struct det_rule *d = &b->s->rules[b->list[i]];
        if (in_part(d, part))
            add_pat(b, d, b->list[i]);
    }
    slot->buf = RULE_BUF_PAYLOAD;
    return close_slot(b, slot);
}

static bool same_buffer(const struct rule_inspect *in, const struct det_slot *slot)
{
    return in->buf == slot->buf && in->nxf == slot->nxf && memcmp(in->xf, slot->xf, in->nxf) == 0;
}

/* One slot for each distinct (buffer, transforms) in which a fast pattern of the list stands. */
static int tx_slots(struct builder *b, struct detect_group *g)
{
    struct det_slot slots[DET_MAX_SLOTS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct det_rule *d = &b->s->rules[b->list[i]];
        if (d->kind != DET_TX || !d->fp)
            continue;
        const struct rule_inspect *in = &d->r->inspect[d->fp_inspect];
        uint32_t k = 0;
        while (k < n && !same_buffer(in, &slots[k]))
            k++;
        if (k == DET_MAX_SLOTS)
            return SK_EFULL;
        if (k == n)
            slots[n++] = (struct det_slot){.buf = in->buf, .nxf = in->nxf, .xf = in->xf};
    }
    if (!n)
        return SK_OK;
    g->tx = sk_arena_zalloc(&b->s->arena, n * sizeof *g->tx);
    if (!g->tx)
        return SK_ENOMEM;
    memcpy(g->tx, slots, n * sizeof *slots);
    g->ntx = n;
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t i = 0; i < b->n; i++) {
            const struct det_rule *d = &b->s->rules[b->list[i]];
            if (d->kind == DET_TX && d->fp && same_buffer(&d->r->inspect[d->fp_inspect], &g->tx[k]))
                add_pat(b, d, b->list[i]);
        }
        int rc = close_slot(b, &g->tx[k]);
        if (rc != SK_OK)
            return rc;
    }
    return SK_OK;
}

static bool is_pkt_rule(const struct det_rule *d)
{
    return d->kind == DET_HEADER || d->kind == DET_PKT || (d->kind == DET_PAYLOAD && !d->fp && !d->stream_only);
}
static bool is_stream_rule(const struct det_rule *d)
{
    return d->kind == DET_PAYLOAD && !d->fp && d->need_stream;
}
static bool is_app_rule(const struct det_rule *d)
{
    return d->kind == DET_APP;
}
static bool is_bare_tx_rule(const struct det_rule *d)
{
    return d->kind == DET_TX && !d->fp;
}

static int pick_list(struct builder *b, bool (*pick)(const struct det_rule *), const uint32_t **out, uint32_t *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < b->n; i++)
        count += pick(&b->s->rules[b->list[i]]);
    if (!count)
        return SK_OK;
    uint32_t *l = sk_arena_alloc(&b->s->arena, count * sizeof *l);
    if (!l)
        return SK_ENOMEM;
    count = 0;
    for (uint32_t i = 0; i < b->n; i++)
        if (pick(&b->s->rules[b->list[i]]))
            l[count++] = b->list[i];
    *out = l;
    *n = count;
    return SK_OK;
}

static void group_facts(struct builder *b, struct detect_group *g)
{
    g->n = b->n;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct det_rule *d = &b->s->rules[b->list[i]];
        if (d->kind == DET_TX) {
            for (unsigned k = 0; k < d->r->ninspect; k++) {
                g->wants |= UINT64_C(1) << d->r->inspect[k].buf;
                g->has_stream |= d->r->inspect[k].buf == RULE_BUF_PAYLOAD;
            }
        }
        if (in_part(d, PART_STREAM) && d->fp_bound > g->stream_bound)
            g->stream_bound = d->fp_bound;
    }
    g->has_stream |= g->stream.db || g->nstream;
}

/* Most patterns of a stream may stand anywhere: then a database of its own for what lies behind stream_bound saves
 * nothing. */
static bool tail_is_smaller(const struct builder *b)
{
    uint32_t all = 0, tail = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        all += in_part(&b->s->rules[b->list[i]], PART_STREAM);
        tail += in_part(&b->s->rules[b->list[i]], PART_STREAM_TAIL);
    }
    return 4 * (uint64_t)tail < 3 * (uint64_t)all;
}

static int tcp_slots(struct builder *b, struct detect_group *g)
{
    int rc = payload_slot(b, &g->pkt, PART_PKT_NEED);
    if (rc == SK_OK)
        rc = payload_slot(b, &g->stream, PART_STREAM);
    g->has_tail = tail_is_smaller(b);
    if (rc == SK_OK && g->has_tail)
        rc = payload_slot(b, &g->stream_tail, PART_STREAM_TAIL);
    return rc;
}

static int fill_group(struct builder *b, struct detect_group *g, bool tcp)
{
    int rc = tcp ? tcp_slots(b, g) : payload_slot(b, &g->pkt, PART_PKT_ALL);
    if (rc == SK_OK)
        rc = tx_slots(b, g);
    if (rc == SK_OK)
        rc = pick_list(b, is_pkt_rule, &g->pkt_rules, &g->npkt);
    if (rc == SK_OK)
        rc = pick_list(b, is_stream_rule, &g->stream_rules, &g->nstream);
    if (rc == SK_OK)
        rc = pick_list(b, is_app_rule, &g->app_rules, &g->napp);
    if (rc == SK_OK)
        rc = pick_list(b, is_bare_tx_rule, &g->tx_rules, &g->ntxr);
    if (rc == SK_OK)
        group_facts(b, g);
    return rc;
}

/* --- combinations --- */

static bool addr_in_class(const struct detect_set *s, const struct rule_addr_spec *spec, uint32_t cls)
{
    int k = det_addr_class_spec(&s->addr, spec);
    return k < 0 || (s->addr.vec[cls] >> k & 1);
}

static bool rule_in_addr(const struct detect_set *s, const struct det_rule *d, uint32_t src, uint32_t dst)
{
    const struct rule *r = d->r;
    if (addr_in_class(s, r->src, src) && addr_in_class(s, r->dst, dst))
        return true;
    return r->bidir && addr_in_class(s, r->src, dst) && addr_in_class(s, r->dst, src);
}

static bool port_in_class(const struct detect_set *s, const struct rule_port_spec *spec, uint32_t cls)
{
    return spec->any || det_port_class_spec(&s->port, spec) < 0 || rule_port_match(spec, s->port.repr[cls]);
}

/* The server's port is the destination of what goes to the server and the source of what comes back. */
static bool rule_in_port(const struct detect_set *s, const struct det_rule *d, int dir, uint32_t cls)
{
    const struct rule *r = d->r;
    const struct rule_port_spec *spec = dir == 0 ? r->dport : r->sport;
    if (d->kind == DET_TX)
        return true; /* the protocol is found on any port: one set of databases serves all; the rule tests the port
                        itself */
    if (port_in_class(s, spec, cls))
        return true;
    return r->bidir && port_in_class(s, dir == 0 ? r->sport : r->dport, cls);
}

static uint64_t list_hash(const uint32_t *l, uint32_t n)
{
    uint64_t h = n;
    for (uint32_t i = 0; i < n; i++)
        h = sk_mix64(h ^ l[i]) + UINT64_C(0x9e3779b97f4a7c15);
    return h;
}

static int grow_groups(struct builder *b)
{
    struct detect_set *s = b->s;
    if (s->ngroups < b->cap_groups)
        return SK_OK;
    uint32_t cap = b->cap_groups ? 2 * b->cap_groups : 128;
    struct detect_group **g = realloc(s->groups, cap * sizeof(struct detect_group *));
    if (g)
        s->groups = g;
    uint32_t **l = realloc(b->lists, cap * sizeof(uint32_t *));
    if (l)
        b->lists = l;
    uint32_t *len = realloc(b->list_len, cap * sizeof *len);
    if (len)
        b->list_len = len;
    bool *tcp = realloc(b->of_tcp, cap * sizeof *tcp);
    if (tcp)
        b->of_tcp = tcp;
    if (!g || !l || !len || !tcp)
        return SK_ENOMEM;
    b->cap_groups = cap;
    return SK_OK;
}

/* The group of the list at hand: an equal one that exists, or a new one. */
static int group_of_list(struct builder *b, bool tcp, uint32_t *out)
{
    struct detect_set *s = b->s;
    uint32_t at = (uint32_t)list_hash(b->list, b->n) & (b->hash_cap - 1);
    for (; b->hash[at]; at = (at + 1) & (b->hash_cap - 1)) {
        uint32_t g = b->hash[at] - 1;
        if (b->list_len[g] == b->n && b->of_tcp[g] == tcp &&
            memcmp(b->lists[g], b->list, b->n * sizeof *b->list) == 0) {
            *out = g;
            return SK_OK;
        }
    }
    int rc = grow_groups(b);
    struct detect_group *g = rc == SK_OK ? sk_arena_zalloc(&s->arena, sizeof *g) : NULL;
    uint32_t *copy = g ? malloc((b->n + 1) * sizeof *copy) : NULL;
    if (!copy)
        return SK_ENOMEM;
    memcpy(copy, b->list, b->n * sizeof *copy);
    b->lists[s->ngroups] = copy;
    b->list_len[s->ngroups] = b->n;
    b->of_tcp[s->ngroups] = tcp;
    s->groups[s->ngroups] = g;
    b->hash[at] = ++s->ngroups;
    *out = s->ngroups - 1;
    return fill_group(b, g, tcp);
}

static size_t table_index(const struct detect_set *s, uint32_t proto, uint32_t dir, uint32_t src, uint32_t dst,
                          uint32_t port)
{
    return ((((size_t)proto * 2 + dir) * s->addr.n + src) * s->addr.n + dst) * s->port.n + port;
}

static int build_addr_combo(struct builder *b, const uint32_t *base, uint32_t nbase, uint32_t proto, uint32_t dir,
                            uint32_t src, uint32_t dst)
{
    struct detect_set *s = b->s;
    bool ports = proto == DET_TCP || proto == DET_UDP;
    for (uint32_t cls = 0; cls < s->port.n; cls++) {
        uint32_t *slot = &s->table[table_index(s, proto, dir, src, dst, cls)];
        if (!ports && cls > 0) {
            *slot = slot[-1];
            continue;
        }
        b->n = 0;
        for (uint32_t i = 0; i < nbase; i++) {
            const struct det_rule *d = &s->rules[base[i]];
            if (rule_in_addr(s, d, src, dst) && (!ports || rule_in_port(s, d, (int)dir, cls)))
                b->list[b->n++] = base[i];
        }
        int rc = group_of_list(b, proto == DET_TCP, slot);
        if (rc != SK_OK)
            return rc;
    }
    return SK_OK;
}

static int build_all(struct builder *b)
{
    struct detect_set *s = b->s;
    uint32_t *base = malloc((s->n + 1) * sizeof *base);
    if (!base)
        return SK_ENOMEM;
    int rc = SK_OK;
    for (uint32_t pd = 0; rc == SK_OK && pd < DET_NPROTO * 2; pd++) {
        uint32_t nbase = 0;
        for (uint32_t i = 0; i < s->n; i++) {
            const struct det_rule *d = &s->rules[i];
            if ((d->protos >> (pd / 2) & 1) && (d->dirs >> (pd % 2) & 1) && !d->by_addr_src && !d->by_addr_dst)
                base[nbase++] = i;
        }
        for (uint32_t a = 0; rc == SK_OK && a < s->addr.n * s->addr.n; a++)
            rc = build_addr_combo(b, base, nbase, pd / 2, pd % 2, a / s->addr.n, a % s->addr.n);
    }
    free(base);
    return rc;
}

static int cmp_ptr(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (struct mpm_db *const *)a, y = (uintptr_t) * (struct mpm_db *const *)b;
    return (x > y) - (x < y);
}

/* Databases are shared: each is counted once. */
static void count_dbs(struct detect_set *s)
{
    if (s->ndb) /* qsort(3) wants an array even of nothing */
        qsort(s->dbs, s->ndb, sizeof *s->dbs, cmp_ptr);
    for (uint32_t i = 0; i < s->ndb; i++) {
        if (i > 0 && s->dbs[i] == s->dbs[i - 1])
            continue;
        s->distinct++;
        s->memory += mpm_db_memory(s->dbs[i]);
    }
}

static uint32_t pow2_at_least(size_t n)
{
    uint32_t c = 64;
    while (c < n)
        c *= 2;
    return c;
}

int det_groups_build(struct detect_set *s, unsigned threads)
{
    struct builder b = {.s = s};
    size_t entries = (size_t)DET_NPROTO * 2 * s->addr.n * s->addr.n * s->port.n;
    b.hash_cap = pow2_at_least(2 * entries);
    b.hash = calloc(b.hash_cap, sizeof *b.hash);
    b.list = malloc((s->n + 1) * sizeof *b.list);
    b.pats = malloc((s->n + 1) * sizeof *b.pats);
    s->table = calloc(entries, sizeof *s->table);
    int rc = mpm_builder_create(&b.mpm);
    if (rc == SK_OK && (!b.hash || !b.list || !b.pats || !s->table))
        rc = SK_ENOMEM;
    char err[256];
    if (rc == SK_OK) {
        mpm_builder_defer(b.mpm);
        rc = build_all(&b);
    }
    if (rc == SK_OK)
        rc = mpm_builder_compile(b.mpm, threads, err);
    if (rc == SK_OK)
        count_dbs(s);
    for (uint32_t i = 0; i < s->ngroups; i++)
        free(b.lists[i]);
    free(b.lists);
    free(b.list_len);
    free(b.of_tcp);
    free(b.hash);
    free(b.list);
    free(b.pats);
    mpm_builder_free(b.mpm);
    return rc;
}

void det_groups_free(struct detect_set *s)
{
    for (uint32_t i = 0; i < s->ndb; i++)
        mpm_db_release(s->dbs[i]);
    free(s->dbs);
    free(s->groups);
    free(s->table);
}

const struct detect_group *det_group_find(const struct detect_set *s, enum det_proto proto, int dir,
                                          const struct sk_addr *src, const struct sk_addr *dst, uint16_t server_port)
{
    uint32_t cs = det_addr_map_find(&s->addr.map, src), cd = det_addr_map_find(&s->addr.map, dst);
    uint32_t g = s->table[table_index(s, proto, (uint32_t)dir, cs, cd, s->port.of[server_port])];
    return s->groups[g];
}
