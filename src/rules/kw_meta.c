/* What a rule says of itself: msg, sid, class, references, metadata. */
#include "parse.h"

static int once(struct rule_parse *p, enum seen_once what)
{
    if (p->seen & what)
        return rule_fail(p, p->kw_at, "'%s' is given twice", p->kw->name);
    p->seen |= what;
    return SK_OK;
}

int kw_msg(struct rule_parse *p)
{
    int rc = once(p, SEEN_MSG);
    if (rc != SK_OK)
        return rc;
    char *m = rule_strdup(p, p->val);
    if (!m)
        return SK_ENOMEM;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->val.len; i++) {
        if (m[i] == '\\' && i + 1 < p->val.len && strchr("\\;:\"", m[i + 1]))
            i++;
        m[n++] = m[i];
    }
    m[n] = '\0';
    p->r.msg = m;
    return SK_OK;
}

static int number(struct rule_parse *p, enum seen_once what, uint64_t min, uint64_t max, uint32_t *out)
{
    uint64_t v;
    int rc = once(p, what);
    if (rc != SK_OK)
        return rc;
    if (!text_dec(p->val, max, &v) || v < min)
        return rule_fail(p, p->val_at, "'%s' must be a number from %llu to %llu", p->kw->name, (unsigned long long)min,
                         (unsigned long long)max);
    *out = (uint32_t)v;
    return SK_OK;
}

int kw_sid(struct rule_parse *p)
{
    return number(p, SEEN_SID, 1, UINT32_MAX, &p->r.sid);
}

int kw_rev(struct rule_parse *p)
{
    return number(p, SEEN_REV, 0, UINT32_MAX, &p->r.rev);
}

int kw_gid(struct rule_parse *p)
{
    return number(p, SEEN_GID, 0, UINT32_MAX, &p->r.gid);
}

int kw_priority(struct rule_parse *p)
{
    uint32_t v = 0;
    int rc = number(p, SEEN_PRIO, 1, 255, &v);
    if (rc == SK_OK)
        p->r.priority = (uint8_t)v;
    return rc;
}

int kw_classtype(struct rule_parse *p)
{
    static const struct class_entry unknown = {.text = "", .priority = 3};
    int rc = once(p, SEEN_CLASS);
    if (rc != SK_OK)
        return rc;
    const struct class_entry *e = rule_class_find(p->l, p->val);
    p->r.classtype = e ? e->name : rule_strdup(p, p->val);
    if (!p->r.classtype)
        return SK_ENOMEM;
    if (!e) {
        rule_warn(p, p->val_at, "classtype '%s' is not defined; priority 3", p->r.classtype);
        e = &unknown;
    }
    p->r.class_text = e->text;
    if (!(p->seen & SEEN_PRIO))
        p->r.priority = e->priority;
    return SK_OK;
}

/* "type,value" */
int kw_reference(struct rule_parse *p)
{
    struct sk_span rest = p->val, type;
    if (!text_next(&rest, ',', &type) || !rest.p)
        return rule_fail(p, p->val_at, "reference needs a type and a value: type,value");
    struct sk_span v = text_trim(rest);
    if (type.len == 0 || v.len == 0)
        return rule_fail(p, p->val_at, "reference has an empty type or value");
    if (p->r.nref == RULE_MAX_REF)
        return rule_fail(p, p->kw_at, "rule has more than %d references", RULE_MAX_REF);
    char *s = sk_arena_alloc(p->l->arena, (size_t)type.len + v.len + 2);
    if (!s)
        return rule_nomem(p);
    memcpy(s, type.p, type.len);
    s[type.len] = ',';
    memcpy(s + type.len + 1, v.p, v.len);
    s[type.len + 1 + v.len] = '\0';
    p->ref[p->r.nref++] = s;
    return SK_OK;
}

static int block_for(struct rule_parse *p, struct sk_span v)
{
    int rc = once(p, SEEN_BLOCK);
    if (rc != SK_OK)
        return rc;
    if (text_is(v, "never")) {
        p->r.block_seconds = -1;
        return SK_OK;
    }
    if (!text_duration(v, &p->r.block_seconds))
        return rule_fail(p, (const char *)v.p,
                         "sekisho_block needs 'never' or a duration such as 90s, 30m, 1h, 2d (at most 3660d)");
    return SK_OK;
}

/* Metadata repeats the same few words in every rule: one copy of each. */
static const char *shared(struct rule_parse *p, struct sk_span s)
{
    char *old = intern_get(&p->l->strings, s);
    if (old)
        return old;
    char *c = rule_strdup(p, s);
    if (c && !intern_put(&p->l->strings, sk_span_of(c, s.len), c)) {
        (void)rule_nomem(p);
        return NULL;
    }
    return c;
}

/* "key value, key value" */
int kw_metadata(struct rule_parse *p)
{
    struct sk_span rest = p->val, item;
    while (text_next(&rest, ',', &item)) {
        uint32_t k = 0;
        while (k < item.len && item.p[k] != ' ' && item.p[k] != '\t')
            k++;
        struct sk_span key = sk_span_of(item.p, k), v = text_trim(sk_span_of(item.p + k, item.len - k));
        if (k == 0)
            continue;
        int rc = text_is(key, "sekisho_block") ? block_for(p, v) : SK_OK;
        if (rc != SK_OK)
            return rc;
        if (p->r.nmeta == RULE_MAX_META)
            return rule_fail(p, p->kw_at, "rule has more than %d metadata entries", RULE_MAX_META);
        const char *ks = shared(p, key), *vs = ks ? shared(p, v) : NULL;
        if (!vs)
            return SK_ENOMEM;
        p->meta[2 * p->r.nmeta] = ks;
        p->meta[2 * p->r.nmeta + 1] = vs;
        p->r.nmeta++;
    }
    return SK_OK;
}

int kw_target(struct rule_parse *p)
{
    int rc = once(p, SEEN_TARGET);
    if (rc != SK_OK)
        return rc;
    if (text_is(p->val, "src_ip"))
        p->r.target = RULE_TARGET_SRC;
    else if (text_is(p->val, "dest_ip"))
        p->r.target = RULE_TARGET_DST;
    else
        return rule_fail(p, p->val_at, "target must be src_ip or dest_ip");
    return SK_OK;
}
