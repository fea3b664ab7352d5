/* Elements into and out of the sets. */
#include "nft_priv.h"

#include <endian.h>
#include <errno.h>
#include <libnftnl/expr.h>
#include <libnftnl/set.h>
#include <stdlib.h>
#include "base/clock.h"
#include "pieces.h"

/* Longest element: nest, flags, timeout, expiration, key of 16 bytes; twice for a range. */
#define ELEM_ROOM 256

/* ---- writing ---- */

/* A message of one kind being filled with elements of one set. */
struct writer {
    struct nft *n;
    struct nlmsghdr *h;
    struct nlattr *list;
    uint16_t type;
    uint8_t set;
};

static void writer_close(struct writer *w)
{
    if (!w->h)
        return;
    if (w->list)
        mnl_attr_nest_end(w->h, w->list);
    nft_txn_done(w->n, w->h);
    w->h = NULL;
    w->list = NULL;
}

static bool writer_open(struct writer *w, uint16_t type, uint8_t set, bool elements)
{
    /* The length of a nest is 16 bits. */
    if (elements && w->h && w->list && w->type == type && w->set == set &&
        w->h->nlmsg_len + ELEM_ROOM < NFT_MSG_ROOM - 1024)
        return true;
    writer_close(w);
    w->h = nft_txn_msg(w->n, type, type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0);
    if (!w->h)
        return false;
    w->type = type;
    w->set = set;
    mnl_attr_put_strz(w->h, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE_NAME);
    mnl_attr_put_strz(w->h, NFTA_SET_ELEM_LIST_SET, nft_sets[set].name);
    w->list = elements ? mnl_attr_nest_start(w->h, NFTA_SET_ELEM_LIST_ELEMENTS) : NULL;
    return true;
}

static void put_elem(struct writer *w, const struct sk_addr *key, uint32_t flags, uint64_t timeout_ms, bool expiration)
{
    size_t len = nft_sets[w->set].key_len;
    struct nlattr *e = mnl_attr_nest_start(w->h, NFTA_LIST_ELEM);
    if (flags)
        mnl_attr_put_u32(w->h, NFTA_SET_ELEM_FLAGS, htobe32(flags));
    if (timeout_ms)
        mnl_attr_put_u64(w->h, NFTA_SET_ELEM_TIMEOUT, htobe64(timeout_ms));
    if (timeout_ms && expiration)
        mnl_attr_put_u64(w->h, NFTA_SET_ELEM_EXPIRATION, htobe64(timeout_ms));
    struct nlattr *k = mnl_attr_nest_start(w->h, NFTA_SET_ELEM_KEY);
    mnl_attr_put(w->h, NFTA_DATA_VALUE, len, key->b + 16 - len);
    mnl_attr_nest_end(w->h, k);
    mnl_attr_nest_end(w->h, e);
}

static bool last_of_family(const struct sk_addr *a, size_t key_len)
{
    for (size_t i = 16 - key_len; i < 16; i++)
        if (a->b[i] != 0xff)
            return false;
    return true;
}

/* An interval set holds a start and, flagged, the first address after the end. */
static void put_range(struct writer *w, const struct nft_change *c, uint64_t timeout_ms)
{
    put_elem(w, &c->first, 0, timeout_ms, false);
    if (last_of_family(&c->last, nft_sets[c->set].key_len))
        return;
    struct sk_addr end = addr_next(&c->last);
    put_elem(w, &end, NFT_SET_ELEM_INTERVAL_END, 0, false);
}

static bool is_host(uint8_t set)
{
    return set == NFT_HOST4 || set == NFT_HOST6;
}

/*
 * PUT on a kernel without updates: add (nothing if present), delete (present now for sure), add. Messages of one set
 * and kind are shared by neighbours, so the three passes go over a run of equal changes.
 */
static void put_pass(struct writer *w, const struct nft_change *c, size_t n, uint16_t type, int64_t now)
{
    for (size_t i = 0; i < n; i++) {
        if (!writer_open(w, type, c[i].set, true))
            return;
        int64_t left = (c[i].expires - now + SK_NS_PER_MS - 1) / SK_NS_PER_MS;
        uint64_t ms = type == NFT_MSG_NEWSETELEM ? (uint64_t)(left > 0 ? left : 1) : 0;
        if (is_host(c[i].set))
            put_elem(w, &c[i].first, 0, ms, c[i].op == NFT_PUT && !w->n->no_update);
        else
            put_range(w, &c[i], ms);
    }
}

static size_t run_length(const struct nft_change *c, size_t n)
{
    size_t i = 1;
    while (i < n && c[i].set == c[0].set && c[i].op == c[0].op)
        i++;
    return i;
}

static int write_run(struct writer *w, const struct nft_change *c, size_t n, int64_t now)
{
    switch (c->op) {
    case NFT_ADD: put_pass(w, c, n, NFT_MSG_NEWSETELEM, now); return SK_OK;
    case NFT_DEL: put_pass(w, c, n, NFT_MSG_DELSETELEM, now); return SK_OK;
    case NFT_PUT:
        if (!is_host(c->set))
            return SK_EINVAL;
        if (w->n->no_update) {
            put_pass(w, c, n, NFT_MSG_NEWSETELEM, now);
            put_pass(w, c, n, NFT_MSG_DELSETELEM, now);
        }
        put_pass(w, c, n, NFT_MSG_NEWSETELEM, now);
        return SK_OK;
    case NFT_FLUSH: writer_open(w, NFT_MSG_DELSETELEM, c->set, false); return SK_OK;
    default: return SK_EINVAL;
    }
}

static int send_some(struct nft *n, const struct nft_change *c, size_t count, bool hosts, int64_t now)
{
    struct writer w = {.n = n};
    int rc = SK_OK;
    nft_txn_begin(n);
    for (size_t i = 0; rc == SK_OK && i < count;) {
        size_t run = run_length(c + i, count - i);
        if (c[i].set >= NFT_SET_IDS)
            return SK_EINVAL;
        if (is_host(c[i].set) == hosts)
            rc = write_run(&w, c + i, run, now);
        i += run;
    }
    writer_close(&w);
    return rc == SK_OK ? nft_txn_commit(n, "cannot change the sets") : rc;
}

int nft_elems_apply(void *ctx, const struct nft_change *c, size_t count, int64_t now)
{
    struct nft *n = ctx;
    int64_t began = sk_now_mono();
    int rc = SK_OK;
    for (size_t i = 0; rc == SK_OK && i < count; i += NFT_TXN_ELEMS) {
        size_t part = count - i < NFT_TXN_ELEMS ? count - i : NFT_TXN_ELEMS;
        /* What earlier parts took is gone from the time that is left. */
        rc = send_some(n, c + i, part, true, now + (sk_now_mono() - began));
    }
    return rc == SK_OK ? send_some(n, c, count, false, now + (sk_now_mono() - began)) : rc;
}

/* ---- reading ---- */

/* A dumped element: a host, or one end of a range. */
struct seen {
    struct nft_elem e;
    bool end;
};

struct reader {
    struct nft *n;
    uint8_t set;
    int64_t now, began;
    struct seen *v;
    size_t count, cap;
    bool nomem;
};

static void reader_reset(void *arg)
{
    struct reader *r = arg;
    r->count = 0;
}

static int read_counter(struct nftnl_expr *x, void *arg)
{
    struct nft_elem *e = arg;
    const char *name = nftnl_expr_get_str(x, NFTNL_EXPR_NAME);
    if (name && strcmp(name, "counter") == 0) {
        e->packets = nftnl_expr_get_u64(x, NFTNL_EXPR_CTR_PACKETS);
        e->bytes = nftnl_expr_get_u64(x, NFTNL_EXPR_CTR_BYTES);
    }
    return 0;
}

static int read_elem(struct nftnl_set_elem *el, void *arg)
{
    struct reader *r = arg;
    uint32_t len = 0;
    const uint8_t *key = nftnl_set_elem_get(el, NFTNL_SET_ELEM_KEY, &len);
    uint32_t want = nft_sets[r->set].key_len;
    if (!key || len < want)
        return 0;
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 256;
        struct seen *v = realloc(r->v, cap * sizeof *v);
        if (!v) {
            r->nomem = true;
            return -1;
        }
        r->v = v;
        r->cap = cap;
    }
    struct seen *s = &r->v[r->count++];
    memset(s, 0, sizeof *s);
    s->e.set = r->set;
    s->e.first = want == 4 ? sk_addr_from_v4(key) : sk_addr_from_v6(key);
    s->e.last = s->e.first;
    if (nftnl_set_elem_is_set(el, NFTNL_SET_ELEM_FLAGS))
        s->end = (nftnl_set_elem_get_u32(el, NFTNL_SET_ELEM_FLAGS) & NFT_SET_ELEM_INTERVAL_END) != 0;
    if (nftnl_set_elem_is_set(el, NFTNL_SET_ELEM_EXPIRATION)) {
        uint64_t ms = nftnl_set_elem_get_u64(el, NFTNL_SET_ELEM_EXPIRATION);
        if (ms < (uint64_t)(INT64_MAX / 4 / SK_NS_PER_MS))
            s->e.expires = r->now + (sk_now_mono() - r->began) + (int64_t)ms * SK_NS_PER_MS;
    }
    (void)nftnl_set_elem_expr_foreach(el, read_counter, &s->e);
    return 0;
}

static int read_msg(const struct nlmsghdr *h, void *arg)
{
    struct reader *r = arg;
    struct nftnl_set *s = nftnl_set_alloc();
    if (s && nftnl_set_elems_nlmsg_parse(h, s) == 0)
        (void)nftnl_set_elem_foreach(s, read_elem, r);
    else
        r->nomem = true;
    if (s)
        nftnl_set_free(s);
    return MNL_CB_OK;
}

/* By key; where one range ends at the start of the next, the end comes first. */
static int seen_cmp(const void *x, const void *y)
{
    const struct seen *a = x, *b = y;
    int c = sk_addr_cmp(&a->e.first, &b->e.first);
    return c ? c : (int)b->end - (int)a->end;
}

/* Starts and ends to ranges. An end without a start belongs to a range that has expired. */
static void pair_up(struct reader *r, nft_elem_fn *fn, void *arg)
{
    uint8_t ones[16];
    memset(ones, 0xff, sizeof ones);
    struct sk_addr top = nft_sets[r->set].key_len == 4 ? sk_addr_from_v4(ones) : sk_addr_from_v6(ones);
    if (r->count > 1)
        qsort(r->v, r->count, sizeof *r->v, seen_cmp);
    for (size_t i = 0; i < r->count; i++) {
        if (r->v[i].end)
            continue;
        struct nft_elem e = r->v[i].e;
        e.last = i + 1 < r->count ? addr_prev(&r->v[i + 1].e.first) : top;
        fn(arg, &e);
    }
}

static int list_set(struct reader *r, uint8_t set, nft_elem_fn *fn, void *arg)
{
    _Alignas(8) char buf[512];
    struct nlmsghdr *h = nft_query_msg(r->n, buf, NFT_MSG_GETSETELEM, NLM_F_DUMP);
    mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE_NAME);
    mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, nft_sets[set].name);
    r->set = set;
    int rc = nft_query(r->n, h, read_msg, reader_reset, r, "cannot list a set");
    if (rc == SK_OK && r->nomem)
        rc = SK_ENOMEM;
    if (rc != SK_OK)
        return rc;
    if (!is_host(set))
        pair_up(r, fn, arg);
    for (size_t k = 0; is_host(set) && k < r->count; k++)
        fn(arg, &r->v[k].e);
    return SK_OK;
}

int nft_elems_list(void *ctx, int64_t now, nft_elem_fn *fn, void *arg)
{
    struct reader r = {.n = ctx, .now = now, .began = sk_now_mono()};
    int rc = SK_OK;
    for (uint8_t i = 0; rc == SK_OK && i < NFT_SET_IDS; i++)
        rc = list_set(&r, i, fn, arg);
    free(r.v);
    return rc;
}

int nft_elems_list_ranges(void *ctx, enum nft_set_id set, int64_t now, nft_elem_fn *fn, void *arg)
{
    struct reader r = {.n = ctx, .now = now, .began = sk_now_mono()};
    int rc = is_host((uint8_t)set) ? SK_EINVAL : list_set(&r, (uint8_t)set, fn, arg);
    free(r.v);
    return rc;
}

/* ---- asking for some ---- */

/* Elements of one request: their answers wait in the socket's buffer, a page and more each. */
#define GET_MAX 256

static void found(struct nft_elem *e, const struct seen *s)
{
    /* Of a prefix set the kernel names the range that holds the address, which may begin elsewhere. */
    e->there = !s->end && sk_addr_eq(&s->e.first, &e->first);
    if (!e->there)
        return;
    e->expires = s->e.expires;
    e->packets = s->e.packets;
    e->bytes = s->e.bytes;
}

/*
 * Answers come in order, and end at the first element that is not there. *done: how many of e that settles, the missing
 * one included.
 */
static int get_some(struct reader *r, struct nft_elem *e, size_t count, size_t *done)
{
    static _Alignas(8) char buf[NFT_MSG_ROOM];
    struct writer w = {.n = r->n, .set = e->set};
    int err;
    w.h = nft_query_msg(r->n, buf, NFT_MSG_GETSETELEM, 0);
    mnl_attr_put_strz(w.h, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE_NAME);
    mnl_attr_put_strz(w.h, NFTA_SET_ELEM_LIST_SET, nft_sets[e->set].name);
    struct nlattr *list = mnl_attr_nest_start(w.h, NFTA_SET_ELEM_LIST_ELEMENTS);
    for (size_t i = 0; i < count; i++)
        put_elem(&w, &e[i].first, 0, 0, false);
    mnl_attr_nest_end(w.h, list);
    r->set = e->set;
    r->count = 0;
    int rc = nft_exchange(r->n, w.h, read_msg, r, &err);
    if (rc == SK_OK && r->nomem)
        rc = SK_ENOMEM;
    if (rc != SK_OK)
        return rc;
    if (r->count > count || (err != 0 && err != ENOENT) || (err == 0 && r->count < count))
        return nft_fail(r->n, "cannot ask for elements", err != 0 ? err : EPROTO);
    for (size_t i = 0; i < r->count; i++)
        found(&e[i], &r->v[i]);
    *done = r->count + (err != 0);
    return SK_OK;
}

int nft_elems_get(void *ctx, struct nft_elem *e, size_t n, int64_t now)
{
    struct reader r = {.n = ctx, .now = now, .began = sk_now_mono()};
    int rc = SK_OK;
    for (size_t i = 0; i < n; i++)
        e[i].there = false;
    for (size_t i = 0, done; rc == SK_OK && i < n; i += done) {
        size_t run = 1;
        while (run < GET_MAX && i + run < n && e[i + run].set == e[i].set)
            run++;
        done = run;
        rc = e[i].set < NFT_SET_IDS ? get_some(&r, e + i, run, &done) : SK_EINVAL;
    }
    free(r.v);
    return rc;
}
