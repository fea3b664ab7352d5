#include "mpm_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* A pattern in canonical form: no padding, so that memcmp orders and compares sets. */
struct canon {
    uint8_t b[MPM_MAX_LEN];
    uint16_t len, nocase;
    uint32_t min_off, max_off;
    uint32_t id;
};
_Static_assert(sizeof(struct canon) == MPM_MAX_LEN + 16, "canon must have no padding");
#define CANON_EXPR_LEN offsetof(struct canon, min_off)

struct built {
    uint64_t hash;
    struct canon *set;
    uint32_t n;
    struct mpm_db *db;
    bool pending; /* compiled by mpm_builder_compile */
};

struct mpm_builder {
    struct sk_hash_key key;
    struct built *built;
    uint32_t n, cap;
    bool defer;
};

int mpm_builder_create(struct mpm_builder **out)
{
    struct mpm_builder *b = calloc(1, sizeof *b);
    if (!b)
        return SK_ENOMEM;
    sk_hash_key_random(&b->key);
    *out = b;
    return SK_OK;
}

void mpm_builder_free(struct mpm_builder *b)
{
    if (!b)
        return;
    for (uint32_t i = 0; i < b->n; i++) {
        free(b->built[i].set);
        mpm_db_release(b->built[i].db);
    }
    free(b->built);
    free(b);
}

static int canon_cmp(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct canon));
}

static bool canon_make(struct canon *c, const struct mpm_pattern *p)
{
    bool letters = false;
    memset(c, 0, sizeof *c);
    for (uint16_t i = 0; i < p->len; i++) {
        c->b[i] = p->nocase ? lit_fold(p->p[i]) : p->p[i];
        letters = letters || (uint8_t)((p->p[i] | 0x20) - 'a') < 26;
    }
    c->len = p->len;
    c->nocase = p->nocase && letters;
    c->min_off = p->min_off;
    c->max_off = p->max_off;
    c->id = p->id;
    /* A pattern whose bounds leave no room never matches. */
    return p->max_off == 0 || (uint64_t)p->min_off + p->len <= p->max_off;
}

/* Sorted without doubles; n is updated. Patterns that can never match are left out. */
static int canon_set(const struct mpm_pattern *pat, uint32_t *n, struct canon **out, char *errbuf)
{
    struct canon *set = malloc(*n * sizeof *set);
    if (!set)
        return SK_ENOMEM;
    uint32_t m = 0;
    for (uint32_t i = 0; i < *n; i++) {
        if (pat[i].len == 0 || pat[i].len > MPM_MAX_LEN) {
            snprintf(errbuf, 256, "pattern of %u bytes; 1 to %d are allowed", pat[i].len, MPM_MAX_LEN);
            free(set);
            return SK_EINVAL;
        }
        if (canon_make(&set[m], &pat[i]))
            m++;
    }
    qsort(set, m, sizeof *set, canon_cmp);
    uint32_t k = 0;
    for (uint32_t i = 0; i < m; i++) {
        if (i == 0 || canon_cmp(&set[k - 1], &set[i]) != 0)
            set[k++] = set[i];
    }
    *n = k;
    *out = set;
    return SK_OK;
}

/* Groups the ids of equal expressions. */
static int group_ids(struct mpm_db *db, const struct canon *set, uint32_t n)
{
    db->first = malloc((n + 1) * sizeof *db->first);
    db->entry = malloc(n * sizeof *db->entry);
    if (!db->first || !db->entry)
        return SK_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || memcmp(&set[i - 1], &set[i], CANON_EXPR_LEN) != 0)
            db->first[db->nexpr++] = i;
        const struct canon *c = &set[i];
        db->entry[i] = (struct mpm_entry){
            .id = c->id,
            .min_end = (uint64_t)c->min_off + c->len,
            .max_end = c->max_off ? c->max_off : UINT64_MAX,
        };
        db->bounded = db->bounded || c->min_off || c->max_off;
    }
    db->first[db->nexpr] = n;
    db->memory += (n + 1) * sizeof *db->first + n * sizeof *db->entry;
    return SK_OK;
}

static int build_tiny(struct mpm_db *db, const struct canon *set)
{
    db->tiny = calloc(db->nexpr, sizeof *db->tiny);
    if (!db->tiny)
        return SK_ENOMEM;
    for (uint32_t i = 0; i < db->nexpr; i++) {
        const struct canon *c = &set[db->first[i]];
        struct mpm_tiny *t = &db->tiny[i];
        lit_init(&t->lit, c->b, c->len, c->nocase, t->store);
    }
    db->memory += db->nexpr * sizeof *db->tiny;
    return SK_OK;
}

#define EXPR_SIZE (MPM_MAX_LEN * 4 + 1)

struct exprs {
    char *text; /* EXPR_SIZE each */
    const char **expr;
    unsigned *flags, *ids;
};

static void exprs_free(struct exprs *e)
{
    free(e->text);
    free(e->expr);
    free(e->flags);
    free(e->ids);
}

static int exprs_alloc(struct exprs *e, uint32_t n)
{
    *e = (struct exprs){
        .text = malloc((size_t)n * EXPR_SIZE),
        .expr = malloc(n * sizeof *e->expr),
        .flags = malloc(n * sizeof *e->flags),
        .ids = malloc(n * sizeof *e->ids),
    };
    if (e->text && e->expr && e->flags && e->ids)
        return SK_OK;
    exprs_free(e);
    return SK_ENOMEM;
}

/* The literal API refuses a leading NUL, so each byte becomes \xHH of an ordinary expression. */
static void expr_fill(struct exprs *e, uint32_t i, const struct canon *c)
{
    char *t = e->text + (size_t)i * EXPR_SIZE;
    for (uint16_t k = 0; k < c->len; k++)
        snprintf(t + k * 4, 5, "\\x%02x", c->b[k]);
    e->expr[i] = t;
    /*
     * Not HS_FLAG_SINGLEMATCH: it is no faster with sets from real rules, takes twice the memory, and in
     * Vectorscan 5.4.9 loses matches (50 patterns on web traffic in buffers of 256 bytes: two of five).
     */
    e->flags[i] = c->nocase ? HS_FLAG_CASELESS : 0;
    e->ids[i] = i;
}

/*
 * Vectorscan makes a second automaton for short buffers, a DFA over all patterns, which takes ten times as long to
 * compile as all the rest (900 patterns: 330 ms instead of 35) and was no faster. An expression that asks for the start
 * of its match keeps it from doing so. Its matches are ignored (mpm_scan.c).
 */
#define NO_SMALL_WRITE      "\\xf3\\xf1[\\x80-\\x90]\\xf5\\xf7\\xf1[\\xf0-\\xf8]\\xf1\\xf9"
#define NO_SMALL_WRITE_FROM 16 /* patterns; smaller sets compile fast and gain from it */

static uint32_t add_no_small_write(struct exprs *e, uint32_t n)
{
    if (n < NO_SMALL_WRITE_FROM)
        return n;
    e->expr[n] = NO_SMALL_WRITE;
    e->flags[n] = HS_FLAG_SOM_LEFTMOST;
    e->ids[n] = MPM_IGNORED_ID;
    return n + 1;
}

static int build_hs(struct mpm_db *db, const struct canon *set, char *errbuf)
{
    struct exprs e;
    hs_compile_error_t *err = NULL;
    int rc = exprs_alloc(&e, db->nexpr + 1);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < db->nexpr; i++)
        expr_fill(&e, i, &set[db->first[i]]);
    uint32_t nexpr = add_no_small_write(&e, db->nexpr);
    if (hs_compile_multi(e.expr, e.flags, e.ids, nexpr, HS_MODE_BLOCK, NULL, &db->hs, &err) != HS_SUCCESS) {
        snprintf(errbuf, 256, "%s", err && err->message ? err->message : "pattern set does not compile");
        hs_free_compile_error(err);
        db->hs = NULL;
        rc = SK_EINVAL;
    }
    exprs_free(&e);
    size_t size = 0;
    if (!rc && hs_database_size(db->hs, &size) == HS_SUCCESS)
        db->memory += size;
    return rc;
}

static void db_destroy(struct mpm_db *db)
{
    hs_free_database(db->hs);
    free(db->tiny);
    free(db->first);
    free(db->entry);
    free(db);
}

static int db_create(const struct canon *set, uint32_t n, bool defer, struct mpm_db **out, char *errbuf)
{
    struct mpm_db *db = calloc(1, sizeof *db);
    if (!db)
        return SK_ENOMEM;
    db->refs = 1;
    db->memory = sizeof *db;
    int rc = group_ids(db, set, n);
    if (!rc && db->nexpr <= MPM_TINY_MAX)
        rc = build_tiny(db, set);
    if (!rc && db->nexpr > 1 && !defer)
        rc = build_hs(db, set, errbuf);
    if (rc) {
        db_destroy(db);
        return rc;
    }
    *out = db;
    return SK_OK;
}

static struct mpm_db *builder_lookup(const struct mpm_builder *b, uint64_t hash, const struct canon *set, uint32_t n)
{
    for (uint32_t i = 0; i < b->n; i++) {
        const struct built *x = &b->built[i];
        if (x->hash == hash && x->n == n && memcmp(x->set, set, n * sizeof *set) == 0)
            return x->db;
    }
    return NULL;
}

static bool builder_reserve(struct mpm_builder *b)
{
    if (b->n < b->cap)
        return true;
    uint32_t cap = b->cap ? b->cap * 2 : 16;
    struct built *p = realloc(b->built, cap * sizeof *p);
    if (!p)
        return false;
    b->built = p;
    b->cap = cap;
    return true;
}

int mpm_build(struct mpm_builder *b, const struct mpm_pattern *pat, uint32_t n, struct mpm_db **out, char *errbuf)
{
    struct canon *set = NULL;
    *out = NULL;
    errbuf[0] = '\0';
    if (n == 0)
        return SK_OK;
    int rc = canon_set(pat, &n, &set, errbuf);
    if (rc || n == 0)
        goto out;
    uint64_t hash = sk_siphash(&b->key, set, n * sizeof *set);
    struct mpm_db *db = builder_lookup(b, hash, set, n);
    if (!db) {
        rc = builder_reserve(b) ? db_create(set, n, b->defer, &db, errbuf) : SK_ENOMEM;
        if (rc)
            goto out;
        b->built[b->n++] =
            (struct built){.hash = hash, .set = set, .n = n, .db = db, .pending = b->defer && db->nexpr > 1};
        set = NULL;
    }
    atomic_fetch_add(&db->refs, 1); /* the caller's; the builder keeps the first */
    *out = db;
out:
    free(set);
    return rc;
}

void mpm_builder_defer(struct mpm_builder *b)
{
    b->defer = true;
}

/* What the compiling threads share. */
struct compile_job {
    struct mpm_builder *b;
    const uint32_t *order; /* largest set first: the threads end together */
    _Atomic uint32_t next;
    _Atomic int rc;
    char *errbuf; /* written by the first that fails */
};

static void *compile_some(void *arg)
{
    struct compile_job *j = arg;
    for (uint32_t i; (i = atomic_fetch_add(&j->next, 1)) < j->b->n && atomic_load(&j->rc) == SK_OK;) {
        struct built *x = &j->b->built[j->order[i]];
        if (!x->pending)
            continue;
        char err[256] = "";
        int rc = build_hs(x->db, x->set, err), ok = SK_OK;
        x->pending = false;
        if (rc != SK_OK && atomic_compare_exchange_strong(&j->rc, &ok, rc))
            memcpy(j->errbuf, err, sizeof err);
    }
    return NULL;
}

static int larger_first(const void *a, const void *b, void *arg)
{
    const struct built *built = arg;
    uint32_t x = built[*(const uint32_t *)a].n, y = built[*(const uint32_t *)b].n;
    return (x < y) - (x > y);
}

int mpm_builder_compile(struct mpm_builder *b, unsigned threads, char *errbuf)
{
    uint32_t *order = malloc((b->n + 1) * sizeof *order);
    if (!order)
        return SK_ENOMEM;
    for (uint32_t i = 0; i < b->n; i++)
        order[i] = i;
    qsort_r(order, b->n, sizeof *order, larger_first, b->built);
    struct compile_job j = {.b = b, .order = order, .errbuf = errbuf};
    pthread_t t[MPM_MAX_COMPILERS];
    unsigned n = 0;
    errbuf[0] = '\0';
    while (n + 1 < threads && n < MPM_MAX_COMPILERS && pthread_create(&t[n], NULL, compile_some, &j) == 0)
        n++;
    compile_some(&j);
    for (unsigned i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    free(order);
    return atomic_load(&j.rc);
}

void mpm_db_release(struct mpm_db *db)
{
    if (db && atomic_fetch_sub(&db->refs, 1) == 1)
        db_destroy(db);
}

uint64_t mpm_db_memory(const struct mpm_db *db)
{
    return db ? db->memory : 0;
}
