/*
 * Is what the table says still in the kernel, with the same ends? Asked element by element, a slice at a time, so that
 * no block waits for it, however many there are. What others add they are heard of (enforcer_heard).
 */
#include "enforcer_priv.h"

#define PERIOD_FACTOR 20                 /* a round takes at most this part of the time */
#define WANTED_FACTOR 4                  /* for whoever wants to see counters: a fifth */
#define ROUND_MAX     (60 * SK_NS_PER_S) /* counted of a round, for that */
#define CHAIN         64                 /* blocks that come beyond a slice, in the same slot of the table */

void enforcer_credit(struct block *b, uint64_t packets, uint64_t bytes, uint64_t *seen_packets, uint64_t *seen_bytes)
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

/* ---- hosts ---- */

struct slice {
    struct block *b[ENFORCER_SLICE + CHAIN];
    struct nft_elem e[ENFORCER_SLICE + CHAIN];
    size_t n;
};

static uint8_t host_set(const struct block *b)
{
    return sk_addr_is_v4(&b->target.addr) ? NFT_HOST4 : NFT_HOST6;
}

static void slice_add(struct slice *s, struct block *b)
{
    if (s->n == sizeof s->b / sizeof s->b[0])
        return;
    s->b[s->n] = b;
    s->e[s->n++] = (struct nft_elem){.set = host_set(b), .first = b->target.addr, .last = b->target.addr};
}

/* Pending blocks are about to be written, and what ends in a moment may have ended. */
static bool to_be_checked(const struct block *b, int64_t now)
{
    return block_is_host(b) && !b->dirty && b->expires > now + ENFORCER_SLACK;
}

struct gathering {
    struct enforcer *e;
    struct slice *ask, *put; /* put: what was in a table that is gone is asked for in vain */
    int64_t now;
};

static void gather(void *arg, struct block *b)
{
    struct gathering *g = arg;
    if (to_be_checked(b, g->now))
        slice_add(b->table_no == g->e->table_no ? g->ask : g->put, b);
}

static void take_answer(struct block *b, const struct nft_elem *el)
{
    b->kernel_expires = !el->there ? 0 : el->expires ? el->expires : INT64_MAX;
    if (el->there)
        enforcer_credit(b, el->packets, el->bytes, &b->seen_packets, &b->seen_bytes);
}

/* Asks for the blocks of the slice; those that differ stay in it. */
static int ask(struct enforcer *e, struct slice *s, int64_t now)
{
    size_t wrong = 0;
    int rc = s->n > 0 ? e->s.ops->get(e->s.ops_ctx, s->e, s->n, now) : SK_OK;
    for (size_t i = 0; rc == SK_OK && i < s->n; i++) {
        struct block *b = s->b[i];
        take_answer(b, &s->e[i]);
        if (enforcer_far(b->kernel_expires, b->expires))
            s->b[wrong++] = b;
    }
    s->n = wrong;
    return rc;
}

static int put(struct enforcer *e, struct slice *s, int64_t now)
{
    int rc = SK_OK;
    for (size_t i = 0; rc == SK_OK && i < s->n; i++)
        rc = enforcer_change_host(e, NFT_PUT, &s->b[i]->target, s->b[i]->expires);
    int sent = enforcer_carry(e, now);
    rc = rc == SK_OK ? sent : rc;
    for (size_t i = 0; rc == SK_OK && i < s->n; i++) {
        struct block *b = s->b[i];
        if (b->kernel_expires == 0 || b->table_no != e->table_no)
            b->seen_packets = b->seen_bytes = 0;
        enforcer_host_put(e, b);
        e->stats.repairs++;
    }
    return rc;
}

static int check_hosts(struct enforcer *e, size_t most, size_t *seen, int64_t now)
{
    static struct slice asked, lost;
    struct gathering g = {.e = e, .ask = &asked, .put = &lost, .now = now};
    asked.n = lost.n = 0;
    e->check.hosts_done = !block_table_scan(e->s.table, &e->check.cursor, most, gather, &g);
    *seen = asked.n + lost.n;
    int rc = ask(e, &asked, now);
    if (rc == SK_OK)
        rc = put(e, &asked, now);
    return rc == SK_OK ? put(e, &lost, now) : rc;
}

/* ---- prefix sets ---- */

static size_t piece_from(const struct pieces *ps, const struct sk_addr *a)
{
    size_t lo = 0, hi = ps->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (sk_addr_cmp(&ps->p[mid].first, a) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Ends of ranges are not asked for: only whoever writes netlink by hand can take one away alone, and is heard. */
static int ask_pieces(struct enforcer *e, unsigned fam, size_t from, size_t n, bool *wrong, int64_t now)
{
    static struct nft_elem el[ENFORCER_SLICE];
    struct piece *p = e->shadow[fam].p + from;
    for (size_t i = 0; i < n; i++)
        el[i] = (struct nft_elem){.set = (uint8_t)(NFT_PREFIX4 + fam), .first = p[i].first, .last = p[i].last};
    int rc = n > 0 ? e->s.ops->get(e->s.ops_ctx, el, n, now) : SK_OK;
    for (size_t i = 0; rc == SK_OK && i < n; i++) {
        struct sk_prefix at = sk_prefix_make(&p[i].first, 127);
        int64_t end = !el[i].there ? 0 : el[i].expires ? el[i].expires : INT64_MAX;
        if (el[i].there)
            enforcer_credit(block_table_covering(e->s.table, &at), el[i].packets, el[i].bytes, &p[i].seen_packets,
                            &p[i].seen_bytes);
        *wrong = *wrong || (p[i].expires > now + ENFORCER_SLACK && enforcer_far(end, p[i].expires));
    }
    return rc;
}

static int check_ranges(struct enforcer *e, unsigned fam, size_t most, size_t *seen, int64_t now)
{
    struct check *c = &e->check;
    const struct pieces *ps = &e->shadow[fam];
    size_t from = piece_from(ps, &c->at[fam]), n = ps->n - from < most ? ps->n - from : most;
    bool wrong = false;
    c->done[fam] = from + n == ps->n;
    if (!c->done[fam])
        c->at[fam] = ps->p[from + n].first;
    *seen = n;
    int rc = ask_pieces(e, fam, from, n, &wrong, now);
    if (rc != SK_OK || !wrong)
        return rc;
    c->done[fam] = true;
    return enforcer_repair_ranges(e, fam, now);
}

/* ---- rounds ---- */

static int check_begin(struct enforcer *e, int64_t now)
{
    e->check = (struct check){.running = true, .began = now, .due = INT64_MAX};
    return enforcer_shape(e, now);
}

static void check_end(struct enforcer *e, int64_t now)
{
    int64_t took = now - e->check.began;
    if (took < 0 || took > ROUND_MAX)
        took = ROUND_MAX;
    e->check.running = false;
    e->check_may = now + took * WANTED_FACTOR;
    e->check.due = now + (took * PERIOD_FACTOR > ENFORCER_RESYNC ? took * PERIOD_FACTOR : ENFORCER_RESYNC);
    e->stats.resyncs++;
    enforcer_journal_round(e, now);
}

static int check_step(struct enforcer *e, size_t most, size_t *seen, int64_t now)
{
    struct check *c = &e->check;
    *seen = 0;
    if (!c->hosts_done)
        return check_hosts(e, most, seen, now);
    for (unsigned f = 0; f < 2; f++)
        if (!c->done[f])
            return check_ranges(e, f, most, seen, now);
    check_end(e, now);
    return SK_OK;
}

int enforcer_check_some(struct enforcer *e, int64_t now)
{
    int rc = SK_OK;
    size_t left = ENFORCER_SLICE;
    if (!e->check.running)
        rc = check_begin(e, now);
    while (rc == SK_OK && e->check.running && left > 0) {
        size_t seen;
        rc = check_step(e, left, &seen, now);
        left -= seen < left ? seen : left;
    }
    return rc == SK_OK ? SK_OK : enforcer_failed(e, rc, now);
}

void enforcer_check_anew(struct enforcer *e)
{
    e->check.running = false;
    e->check.due = e->check_may = 0;
}

void enforcer_check_now(struct enforcer *e, int64_t now)
{
    if (!e->check.running && now >= e->check_may)
        e->check.due = now;
}

/* ---- what was heard ---- */

/* Hosts that somebody added or took away, as they are now. */
static int heard_hosts(struct enforcer *e, const struct nft_news *news, int64_t now)
{
    static struct slice known;
    static struct nft_elem el[NFT_NEWS_MAX], foreign[NFT_NEWS_MAX];
    size_t nforeign = 0;
    memcpy(el, news->host, news->nhosts * sizeof el[0]);
    int rc = news->nhosts > 0 ? e->s.ops->get(e->s.ops_ctx, el, news->nhosts, now) : SK_OK;
    known.n = 0;
    for (size_t i = 0; rc == SK_OK && i < news->nhosts; i++) {
        struct sk_prefix p = sk_prefix_make(&el[i].first, 128);
        struct block *b = block_table_find(e->s.table, &p);
        if (!b && el[i].there)
            foreign[nforeign++] = el[i];
        if (!b || !to_be_checked(b, now) || b->table_no != e->table_no)
            continue;
        take_answer(b, &el[i]);
        if (enforcer_far(b->kernel_expires, b->expires))
            slice_add(&known, b);
    }
    if (rc == SK_OK)
        rc = enforcer_adopt_hosts(e, foreign, nforeign, now);
    return rc == SK_OK ? put(e, &known, now) : rc;
}

static int look_at_news(struct enforcer *e, const struct nft_news *news, int64_t now)
{
    int rc = news->shape ? check_begin(e, now) : SK_OK;
    for (unsigned f = 0; rc == SK_OK && f < 2; f++)
        if (news->ranges[f])
            rc = enforcer_repair_ranges(e, f, now);
    if (rc == SK_OK)
        rc = heard_hosts(e, news, now);
    return rc;
}

int enforcer_heard(struct enforcer *e, const struct nft_news *news, int64_t now)
{
    if (e->degraded || e->need_resync) {
        e->need_resync = e->need_resync || news->lost;
        return SK_EAGAIN; /* the next try looks at everything anyway */
    }
    if (news->lost)
        return enforcer_resync(e, now);
    int rc = look_at_news(e, news, now);
    if (rc != SK_OK)
        return enforcer_failed(e, rc, now);
    enforcer_journal_commit(e);
    return e->check.running ? enforcer_check_some(e, now) : SK_OK;
}

/* ---- for showing ---- */

int enforcer_refresh(struct enforcer *e, struct block *b, int64_t now)
{
    unsigned fam = !sk_addr_is_v4(&b->target.addr);
    struct sk_addr first, last;
    bool wrong = false;
    if (block_is_host(b)) {
        struct nft_elem el = {.set = host_set(b), .first = b->target.addr, .last = b->target.addr};
        int rc = e->s.ops->get(e->s.ops_ctx, &el, 1, now);
        if (rc == SK_OK && el.there)
            enforcer_credit(b, el.packets, el.bytes, &b->seen_packets, &b->seen_bytes);
        return rc;
    }
    sk_prefix_range(&b->target, &first, &last);
    size_t from = piece_from(&e->shadow[fam], &first), n = 0;
    while (n < ENFORCER_SLICE && from + n < e->shadow[fam].n &&
           sk_addr_cmp(&e->shadow[fam].p[from + n].first, &last) <= 0)
        n++;
    return ask_pieces(e, fam, from, n, &wrong, now);
}
