#include "leftover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 3

struct keys {
    char **v;
    size_t n;
    bool failed;
};

static void keys_free(struct keys *k)
{
    for (size_t i = 0; i < k->n; i++)
        free(k->v[i]);
    free(k->v);
}

static void add_key(void *arg, const char *set)
{
    struct keys *k = arg;
    char **more = realloc(k->v, (k->n + 1) * sizeof(*more)), *copy = strdup(set);
    if (more != NULL)
        k->v = more;
    if (more == NULL || copy == NULL) {
        k->failed = true;
        free(copy);
        return;
    }
    k->v[k->n++] = copy;
}

struct held {
    struct sk_prefix *p;
    size_t n, cap;
    bool failed;
};

static void add_held(void *arg, const struct sk_prefix *p)
{
    struct held *h = arg;
    if (h->n == h->cap) {
        size_t cap = h->cap != 0 ? 2 * h->cap : 256;
        struct sk_prefix *more = realloc(h->p, cap * sizeof(*more));
        if (more == NULL) {
            h->failed = true;
            return;
        }
        h->p = more;
        h->cap = cap;
    }
    h->p[h->n++] = *p;
}

static int by_address(const void *va, const void *vb)
{
    const struct sk_prefix *a = va, *b = vb;
    int c = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));
    return c != 0 ? c : (int)a->len - (int)b->len;
}

/* "REGIONAL/eu-west-1/sekisho-v4-0", as the writer calls it. */
static bool take_key(const char *key, struct leftover *l)
{
    const char *slash = strchr(key, '/'), *name = slash != NULL ? strchr(slash + 1, '/') : NULL;
    if (name == NULL || (size_t)(name - slash) > sizeof(l->region) || strlen(name + 1) >= sizeof(l->name))
        return false;
    memset(l, 0, sizeof(*l));
    l->scope = strncmp(key, "CLOUDFRONT/", 11) == 0 ? WAFV2_CLOUDFRONT : WAFV2_REGIONAL;
    memcpy(l->region, slash + 1, (size_t)(name - slash - 1));
    strcpy(l->name, name + 1);
    return true;
}

/* A set of a target that is configured now: also beyond its number of sets, for those are emptied. */
static bool is_named(const struct waf_options *o, const struct leftover *l)
{
    for (unsigned i = 0; i < o->ntargets; i++) {
        const struct waf_target *t = &o->targets[i];
        size_t n = strlen(t->prefix);
        unsigned number;
        int used = 0;
        char family;
        if (t->scope == l->scope && strcmp(t->region, l->region) == 0 && strncmp(l->name, t->prefix, n) == 0 &&
            sscanf(l->name + n, "-v%c-%2u%n", &family, &number, &used) == 2 && l->name[n + used] == '\0' &&
            (family == '4' || family == '6') && number < WAF_SETS_MAX)
            return true;
    }
    return false;
}

typedef int read_call(struct aws *a, struct wafv2_set *s, struct aws_answer *e);

static bool may_pass(enum aws_error e)
{
    return e == AWS_THROTTLED || e == AWS_RETRY || e == AWS_UNAVAILABLE;
}

static bool try_read(struct world *w, read_call *call, struct wafv2_set *set, struct aws_answer *e)
{
    for (int n = 1;; n++) {
        world_pace(w);
        if (call(w->aws, set, e) == SK_OK)
            return true;
        if (n == TRIES || !may_pass(e->error))
            return false;
        aws_answer_free(e);
        wafv2_set_clear(set);
    }
}

static bool read_set(struct world *w, struct wafv2_set *set, struct aws_answer *e)
{
    if (!try_read(w, wafv2_find, set, e))
        return false;
    aws_answer_free(e);
    return try_read(w, wafv2_get, set, e);
}

static size_t count_both(struct held *h, const struct wafv2_set *set)
{
    size_t n = 0;
    if (h->n > 0)
        qsort(h->p, h->n, sizeof(*h->p), by_address);
    for (size_t i = 0; i < set->n && h->n > 0; i++)
        n += bsearch(&set->addr[i], h->p, h->n, sizeof(*h->p), by_address) != NULL;
    return n;
}

/* Is there something of ours in it? Then l says how much. */
static bool look(struct world *w, struct leftover *l, struct held *h)
{
    struct wafv2_set set = {.scope = l->scope};
    struct aws_answer e = {.retry_after = -1};
    strcpy(set.region, l->region);
    strcpy(set.name, l->name);
    bool ok = read_set(w, &set, &e), gone = !ok && e.error == AWS_MISSING;
    l->ours = ok ? count_both(h, &set) : h->n;
    if (!ok)
        snprintf(l->error, sizeof(l->error), "%s%s%s", e.code[0] != '\0' ? e.code : "no answer",
                 e.message[0] != '\0' ? ": " : "", e.message);
    wafv2_set_clear(&set);
    aws_answer_free(&e);
    return !gone && l->ours > 0;
}

int leftover_sets(struct world *w, void (*fn)(void *arg, const struct leftover *l), void *arg)
{
    struct keys k = {.n = 0};
    int rc = store_waf_sets(w->store, add_key, &k);
    if (rc == SK_OK && k.failed)
        rc = SK_ENOMEM;
    for (size_t i = 0; i < k.n && rc == SK_OK; i++) {
        struct leftover l;
        struct held h = {.n = 0};
        if (!take_key(k.v[i], &l) || is_named(w->options, &l))
            continue;
        rc = store_waf_owned(w->store, k.v[i], add_held, &h);
        if (rc == SK_OK && h.failed)
            rc = SK_ENOMEM;
        if (rc == SK_OK && look(w, &l, &h))
            fn(arg, &l);
        free(h.p);
    }
    keys_free(&k);
    return rc;
}
