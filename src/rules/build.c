/* A good draft becomes a rule in the set. */
#include <stdlib.h>

#include "parse.h"

struct sid_entry {
    uint64_t key;
    uint32_t at; /* in loader.rule */
};

/* Copies the matches of one buffer (or of the packet, -1) into the arena. */
static const struct rule_match *matches(struct rule_parse *p, int buf, uint16_t *count)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->n; i++)
        n += p->m[i].buf == buf;
    struct rule_match *m = sk_arena_alloc(p->l->arena, n ? n * sizeof *m : 1);
    if (!m)
        return NULL;
    *count = (uint16_t)n;
    n = 0;
    for (unsigned i = 0; i < p->n; i++)
        if (p->m[i].buf == buf)
            m[n++] = p->m[i].m;
    return m;
}

static int inspects(struct rule_parse *p, struct rule *r)
{
    bool done[RULE_MAX_INSPECT] = {false};
    struct rule_inspect *in = sk_arena_zalloc(p->l->arena, p->nbuf ? p->nbuf * sizeof *in : 1);
    if (!in)
        return SK_ENOMEM;
    r->inspect = in;
    for (unsigned i = 0; i < p->n; i++) {
        int b = p->m[i].buf;
        if (b < 0 || done[b])
            continue;
        done[b] = true;
        struct rule_inspect *o = &in[r->ninspect++];
        o->buf = p->buf[b].buf;
        o->nxf = p->buf[b].nxf;
        memcpy(o->xf, p->buf[b].xf, sizeof o->xf);
        if (!(o->m = matches(p, b, &o->n)))
            return SK_ENOMEM;
    }
    r->pkt = matches(p, -1, &r->npkt);
    return r->pkt ? SK_OK : SK_ENOMEM;
}

static const char *const *strings(struct rule_parse *p, const char *const *s, unsigned n)
{
    const char **c = sk_arena_alloc(p->l->arena, n ? n * sizeof *c : 1);
    if (c && n)
        memcpy(c, s, n * sizeof *c);
    return c;
}

static int append(struct rule_loader *l, struct rule *r)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 1024;
        void *n = realloc(l->rule, cap * sizeof *l->rule);
        if (!n)
            return SK_ENOMEM;
        l->rule = n;
        l->cap = cap;
    }
    l->rule[l->n++] = r;
    return SK_OK;
}

static struct sid_entry *known(struct rule_parse *p, uint64_t key)
{
    return intern_get(&p->l->sids, sk_span_of(&key, sizeof key));
}

static int remember(struct rule_parse *p, uint64_t key, struct rule *r)
{
    struct rule_loader *l = p->l;
    struct sid_entry *e = known(p, key);
    if (e) {
        l->rule[e->at] = NULL;
        e->at = l->n;
        return append(l, r);
    }
    e = sk_arena_alloc(l->arena, sizeof *e);
    if (!e)
        return SK_ENOMEM;
    *e = (struct sid_entry){.key = key, .at = l->n};
    if (!intern_put(&l->sids, sk_span_of(&e->key, sizeof e->key), e))
        return SK_ENOMEM;
    return append(l, r);
}

/* The same sid again: the higher revision counts. */
static int duplicate(struct rule_parse *p, uint64_t key)
{
    struct sid_entry *e = known(p, key);
    if (!e)
        return SK_OK;
    const struct rule *old = p->l->rule[e->at];
    if (p->r.rev <= old->rev)
        return rule_fail(p, p->text, "sid %u is already used, with rev %u, at %s:%u", p->r.sid, old->rev, old->file,
                         old->line);
    rule_warn(p, p->text, "sid %u replaces rev %u of it at %s:%u", p->r.sid, old->rev, old->file, old->line);
    return SK_OK;
}

/* The very same rule, word for word, from another file: that is no contradiction. */
static bool same_again(struct rule_parse *p, uint64_t key)
{
    const struct sid_entry *e = known(p, key);
    const struct rule *old = e ? p->l->rule[e->at] : NULL;
    return old && old->rev == p->r.rev && old->file != p->file && strlen(old->raw) == p->len &&
           memcmp(old->raw, p->text, p->len) == 0;
}

static void count_uses(const struct rule *r)
{
    /* The specs are the loader's own until the set is finished. */
    ((struct rule_addr_spec *)(uintptr_t)r->src)->uses++;
    ((struct rule_addr_spec *)(uintptr_t)r->dst)->uses++;
}

int rule_build(struct rule_parse *p)
{
    uint64_t key = (uint64_t)p->r.gid << 32 | p->r.sid;
    if (same_again(p, key))
        return SK_OK;
    int rc = duplicate(p, key);
    if (rc != SK_OK)
        return rc;
    struct rule *r = sk_arena_alloc(p->l->arena, sizeof *r);
    if (!r)
        return rule_nomem(p);
    *r = p->r;
    r->nvars = (uint8_t)p->nvar;
    r->file = p->file;
    r->line = p->seg[0].line;
    r->meta = strings(p, p->meta, 2u * r->nmeta);
    r->ref = strings(p, p->ref, r->nref);
    r->raw = rule_strdup(p, sk_span_of(p->text, (uint32_t)p->len));
    if (!r->meta || !r->ref || !r->raw || inspects(p, r) != SK_OK || remember(p, key, r) != SK_OK)
        return rule_nomem(p);
    count_uses(r);
    return SK_OK;
}
