#include "decide/never.h"

#include <stdlib.h>

/*
 * An array a layer; a further one takes the next discovered layer while it is built. Some thousand entries at most and
 * a check a block request: a linear scan is fast enough.
 */
struct layer {
    struct never_entry *e;
    size_t n, cap;
};

struct never_list {
    struct layer built_in, fixed, found, next;
    bool building, next_failed;
    bool fixed_full, found_full; /* that layer could not take everything */
    bool known, unknown;         /* a discovery has succeeded; the first one failed */
    struct never_entry overflow, not_known;
};

static const struct {
    const char *prefix;
    enum never_kind kind;
    const char *text;
} built_in[] = {
    {"169.254.169.254", NEVER_METADATA, "EC2 instance metadata service"},
    {"fd00:ec2::254", NEVER_METADATA, "EC2 instance metadata service"},
    {"169.254.169.253", NEVER_RESOLVER, "Amazon DNS"},
    {"fd00:ec2::253", NEVER_RESOLVER, "Amazon DNS"},
    {"169.254.169.123", NEVER_METADATA, "Amazon Time Sync"},
    {"fd00:ec2::123", NEVER_METADATA, "Amazon Time Sync"},
    {"255.255.255.255", NEVER_BROADCAST, "limited broadcast"},
    {"127.0.0.0/8", NEVER_LOOPBACK, "loopback"},
    {"::1", NEVER_LOOPBACK, "loopback"},
    {"0.0.0.0/8", NEVER_UNSPECIFIED, "this network"},
    {"::", NEVER_UNSPECIFIED, "unspecified address"},
    {"224.0.0.0/4", NEVER_MULTICAST, "multicast"},
    {"ff00::/8", NEVER_MULTICAST, "multicast"},
    {"169.254.0.0/16", NEVER_LINK_LOCAL, "link-local"},
    {"fe80::/10", NEVER_LINK_LOCAL, "link-local"},
};

void never_entry_set(struct never_entry *e, enum never_kind kind, const struct sk_prefix *p, const char *text)
{
    memset(e, 0, sizeof *e);
    e->prefix = *p;
    e->kind = kind;
    if (text)
        memcpy(e->text, text, strnlen(text, sizeof e->text - 1)); /* zeroed above: a NUL follows */
}

static int layer_reserve(struct layer *l)
{
    if (l->n < l->cap)
        return SK_OK;
    size_t cap = l->cap ? l->cap * 2 : 32;
    struct never_entry *e = realloc(l->e, cap * sizeof *e);
    if (!e)
        return SK_ENOMEM;
    l->e = e;
    l->cap = cap;
    return SK_OK;
}

static bool layer_has(const struct layer *l, enum never_kind kind, const struct sk_prefix *p)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->e[i].kind == kind && l->e[i].prefix.len == p->len && sk_addr_eq(&l->e[i].prefix.addr, &p->addr))
            return true;
    return false;
}

static int layer_add(struct layer *l, size_t others, enum never_kind kind, const struct sk_prefix *p, const char *text)
{
    if (layer_has(l, kind, p))
        return SK_OK;
    if (l->n + others >= NEVER_MAX)
        return SK_EFULL;
    int rc = layer_reserve(l);
    if (rc == SK_OK)
        never_entry_set(&l->e[l->n++], kind, p, text);
    return rc;
}

struct never_list *never_create(void)
{
    struct never_list *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    struct sk_prefix all = {.len = 0};
    never_entry_set(&l->overflow, NEVER_OVERFLOW, &all, "the never-list does not fit: nothing is blocked");
    never_entry_set(&l->not_known, NEVER_UNKNOWN, &all,
                    "own addresses and gateway are not known yet: nothing is blocked");
    for (size_t i = 0; i < sizeof built_in / sizeof built_in[0]; i++) {
        struct sk_prefix p;
        if (sk_prefix_parse(built_in[i].prefix, strlen(built_in[i].prefix), false, &p) != SK_OK ||
            layer_add(&l->built_in, 0, built_in[i].kind, &p, built_in[i].text) != SK_OK) {
            never_free(l);
            return NULL;
        }
    }
    return l;
}

void never_free(struct never_list *l)
{
    if (!l)
        return;
    free(l->built_in.e);
    free(l->fixed.e);
    free(l->found.e);
    free(l->next.e);
    free(l);
}

static bool layer_same(const struct layer *a, const struct layer *b)
{
    if (a->n != b->n)
        return false;
    /* In order: the kernel lists in a stable order, and a mere change of order costs no more than one more look. */
    for (size_t i = 0; i < a->n; i++)
        if (a->e[i].kind != b->e[i].kind || a->e[i].prefix.len != b->e[i].prefix.len ||
            !sk_addr_eq(&a->e[i].prefix.addr, &b->e[i].prefix.addr))
            return false;
    return true;
}

int never_add_static(struct never_list *l, enum never_kind kind, const struct sk_prefix *p, const char *text)
{
    int rc = layer_add(&l->fixed, l->built_in.n + l->found.n, kind, p, text);
    if (rc != SK_OK)
        l->fixed_full = true;
    return rc;
}

int never_replace_static(struct never_list *l, const struct never_entry *e, size_t n, bool *changed)
{
    struct layer anew = {0};
    bool was_full = l->fixed_full;
    int rc = SK_OK;
    for (size_t i = 0; rc == SK_OK && i < n; i++)
        rc = layer_add(&anew, l->built_in.n + l->found.n, e[i].kind, &e[i].prefix, e[i].text);
    l->fixed_full = rc != SK_OK;
    bool differs = rc == SK_OK && !layer_same(&l->fixed, &anew);
    if (rc == SK_OK) {
        struct layer old = l->fixed;
        l->fixed = anew;
        anew = old;
    }
    free(anew.e);
    if (changed)
        *changed = differs || was_full != l->fixed_full;
    return rc;
}

void never_begin(struct never_list *l)
{
    l->next.n = 0;
    l->building = true;
    l->next_failed = false;
}

int never_add(struct never_list *l, enum never_kind kind, const struct sk_prefix *p, const char *text)
{
    if (!l->building)
        return SK_EINVAL;
    int rc = layer_add(&l->next, l->built_in.n + l->fixed.n, kind, p, text);
    if (rc != SK_OK)
        l->next_failed = true;
    return rc;
}

bool never_commit(struct never_list *l)
{
    if (!l->building)
        return false;
    bool was_full = l->found_full;
    bool changed = !layer_same(&l->found, &l->next);
    struct layer old = l->found;
    l->found = l->next;
    l->next = old;
    l->building = false;
    l->known = true;
    l->unknown = false;
    l->found_full = l->next_failed;
    return changed || l->found_full != was_full;
}

void never_abort(struct never_list *l)
{
    l->building = false;
    l->unknown = !l->known;
}

static bool is_full(const struct never_list *l)
{
    return l->fixed_full || l->found_full;
}

bool never_complete(const struct never_list *l)
{
    return !is_full(l) && !l->unknown;
}

static bool tells_more(const struct never_entry *a, const struct never_entry *b)
{
    return a->kind != b->kind ? a->kind < b->kind : a->prefix.len > b->prefix.len;
}

static const struct never_entry *layer_check(const struct layer *l, const struct sk_prefix *p,
                                             const struct never_entry *best)
{
    for (size_t i = 0; i < l->n; i++)
        if ((!best || tells_more(&l->e[i], best)) && sk_prefix_overlaps(&l->e[i].prefix, p))
            best = &l->e[i];
    return best;
}

const struct never_entry *never_check(const struct never_list *l, const struct sk_prefix *p)
{
    const struct never_entry *e = layer_check(&l->found, p, NULL);
    e = layer_check(&l->fixed, p, e);
    e = layer_check(&l->built_in, p, e);
    if (!e && is_full(l))
        e = &l->overflow;
    if (!e && l->unknown)
        e = &l->not_known;
    return e;
}

static bool layer_holds(const struct layer *l, enum never_kind kind, const struct sk_addr *a)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->e[i].kind == kind && sk_prefix_contains(&l->e[i].prefix, a))
            return true;
    return false;
}

bool never_has(const struct never_list *l, enum never_kind kind, const struct sk_addr *a)
{
    return layer_holds(&l->found, kind, a) || layer_holds(&l->fixed, kind, a) || layer_holds(&l->built_in, kind, a);
}

size_t never_count(const struct never_list *l)
{
    return l->built_in.n + l->fixed.n + l->found.n;
}

const struct never_entry *never_at(const struct never_list *l, size_t i)
{
    if (i < l->built_in.n)
        return &l->built_in.e[i];
    i -= l->built_in.n;
    return i < l->fixed.n ? &l->fixed.e[i] : &l->found.e[i - l->fixed.n];
}

const char *never_kind_name(enum never_kind k)
{
    static const char *const names[] = {
#define X(id, name) name,
        NEVER_KINDS(X)
#undef X
    };
    return (unsigned)k < NEVER_KIND_COUNT ? names[k] : "unknown";
}
