/* Flow state, flowbits, thresholds, application protocol. */
#include <stdlib.h>

#include "parse.h"

static const struct {
    const char *name;
    uint16_t flag;
} flow_words[] = {{"to_server", RULE_FLOW_TOSERVER},      {"from_client", RULE_FLOW_TOSERVER},
                  {"to_client", RULE_FLOW_TOCLIENT},      {"from_server", RULE_FLOW_TOCLIENT},
                  {"established", RULE_FLOW_ESTABLISHED}, {"not_established", RULE_FLOW_NOT_ESTABLISHED},
                  {"stateless", RULE_FLOW_STATELESS},     {"only_stream", RULE_FLOW_ONLY_STREAM},
                  {"no_stream", RULE_FLOW_NO_STREAM},     {"only_frag", RULE_FLOW_ONLY_FRAG},
                  {"no_frag", RULE_FLOW_NO_FRAG}};

static uint16_t flow_flag(struct sk_span w)
{
    for (unsigned i = 0; i < sizeof flow_words / sizeof *flow_words; i++)
        if (text_is(w, flow_words[i].name))
            return flow_words[i].flag;
    return 0;
}

static bool more_than_one(uint16_t v)
{
    return v & (v - 1);
}

int kw_flow(struct rule_parse *p)
{
    struct sk_span rest = p->val, w;
    if (p->seen & SEEN_FLOW)
        return rule_fail(p, p->kw_at, "'flow' is given twice");
    p->seen |= SEEN_FLOW;
    p->flow_at = p->kw_at;
    while (text_next(&rest, ',', &w)) {
        uint16_t f = flow_flag(w);
        const char *at = w.len ? (const char *)w.p : p->val_at;
        if (!f)
            return rule_fail(p, at, "unknown flow option '%.*s'", (int)(w.len > 40 ? 40 : w.len), (const char *)w.p);
        if (p->r.flow & f)
            return rule_fail(p, at, "flow option '%.*s' is given twice", (int)w.len, (const char *)w.p);
        p->r.flow |= f;
        if (more_than_one(p->r.flow & (RULE_FLOW_TOSERVER | RULE_FLOW_TOCLIENT)) ||
            more_than_one(p->r.flow & (RULE_FLOW_ESTABLISHED | RULE_FLOW_NOT_ESTABLISHED | RULE_FLOW_STATELESS)) ||
            more_than_one(p->r.flow & (RULE_FLOW_ONLY_STREAM | RULE_FLOW_NO_STREAM)) ||
            more_than_one(p->r.flow & (RULE_FLOW_ONLY_FRAG | RULE_FLOW_NO_FRAG)))
            return rule_fail(p, at, "flow option '%.*s' contradicts one before it", (int)w.len, (const char *)w.p);
    }
    return SK_OK;
}

int rule_bit_get(struct rule_parse *p, struct sk_span name, uint8_t use, uint16_t *out)
{
    struct rule_loader *l = p->l;
    uintptr_t known = (uintptr_t)intern_get(&l->bits, name);
    if (known) {
        *out = (uint16_t)(known - 1);
        l->bit_use[*out] |= use;
        return SK_OK;
    }
    if (l->nbits >= RULE_MAX_BITS)
        return rule_fail(p, p->val_at, "more than %d flowbits in one set", RULE_MAX_BITS);
    if (l->nbits == l->bit_cap) {
        uint32_t cap = l->bit_cap ? l->bit_cap * 2 : 256;
        void *n = realloc(l->bit_name, cap * sizeof *l->bit_name);
        if (n)
            l->bit_name = n;
        void *u = n ? realloc(l->bit_use, cap) : NULL;
        if (!u)
            return rule_nomem(p);
        l->bit_use = u;
        l->bit_cap = cap;
    }
    char *s = rule_strdup(p, name);
    if (!s || !intern_put(&l->bits, sk_span_of(s, name.len), (void *)(uintptr_t)(l->nbits + 1)))
        return rule_nomem(p);
    l->bit_name[l->nbits] = s;
    l->bit_use[l->nbits] = use;
    *out = (uint16_t)l->nbits++;
    return SK_OK;
}

static int bit_list(struct rule_parse *p, struct sk_span names, struct rule_flowbits *f)
{
    uint16_t tmp[64];
    struct sk_span one;
    uint8_t use = f->op == FB_ISSET || f->op == FB_ISNOTSET ? 2 : f->op == FB_UNSET ? 0 : 1;
    while (text_next(&names, '|', &one)) {
        if (f->nbits == 64)
            return rule_fail(p, p->val_at, "more than 64 flowbits in one list");
        if (one.len == 0 || memchr(one.p, ' ', one.len) || memchr(one.p, ',', one.len))
            return rule_fail(p, p->val_at, "flowbit name is empty or holds a blank or comma");
        int rc = rule_bit_get(p, one, use, &tmp[f->nbits]);
        if (rc != SK_OK)
            return rc;
        f->nbits++;
    }
    if (f->nbits > 1 && use != 2)
        return rule_fail(p, p->val_at, "a list of flowbits goes with isset and isnotset only");
    uint16_t *keep = sk_arena_alloc(p->l->arena, f->nbits * sizeof *keep);
    if (!keep)
        return rule_nomem(p);
    memcpy(keep, tmp, f->nbits * sizeof *keep);
    f->bits = keep;
    return SK_OK;
}

int kw_flowbits(struct rule_parse *p)
{
    static const struct {
        const char *name;
        enum rule_flowbits_op op;
    } ops[] = {
        {"set", FB_SET}, {"unset", FB_UNSET}, {"toggle", FB_TOGGLE}, {"isset", FB_ISSET}, {"isnotset", FB_ISNOTSET}};
    struct sk_span rest = p->val, op;
    struct rule_flowbits f = {0};
    (void)text_next(&rest, ',', &op);
    if (text_is(op, "noalert")) {
        p->r.noalert = true;
        return rest.p ? rule_fail(p, p->val_at, "flowbits:noalert takes no name") : SK_OK;
    }
    unsigned i = 0;
    while (i < 5 && !text_is(op, ops[i].name))
        i++;
    if (i == 5)
        return rule_fail(p, p->val_at, "unknown flowbits command '%.*s'", (int)(op.len > 40 ? 40 : op.len),
                         (const char *)op.p);
    if (!rest.p)
        return rule_fail(p, p->val_at, "flowbits:%s needs a name", ops[i].name);
    f.op = ops[i].op;
    int rc = bit_list(p, text_trim(rest), &f);
    struct draft_match *d = rc == SK_OK ? rule_add_match(p, RM_FLOWBITS, -1) : NULL;
    if (!d)
        return SK_EINVAL;
    d->m.flowbits = f;
    return SK_OK;
}

int kw_alert(struct rule_parse *p)
{
    p->r.pass_alert = true;
    return SK_OK;
}

int kw_noalert(struct rule_parse *p)
{
    p->r.noalert = true;
    return SK_OK;
}

/* Makes the match before it the one by which the rule is found. */
int kw_prefilter(struct rule_parse *p)
{
    if (p->n == 0)
        return rule_fail(p, p->kw_at, "'prefilter' needs a match before it");
    struct draft_match *d = &p->m[p->n - 1];
    if (d->m.type != RM_CONTENT) {
        p->r.prefilter_pkt = true;
        return SK_OK;
    }
    return kw_fast_pattern(p);
}

int kw_threshold(struct rule_parse *p)
{
    struct threshold_parse t;
    struct sk_span bad = p->val;
    const char *why = threshold_pieces(p->val, true, &t, &bad);
    if (why)
        return rule_fail(p, bad.len ? (const char *)bad.p : p->val_at, "threshold: %s", why);
    if (p->r.threshold.type != RULE_TH_NONE || p->r.det_filter.type != RULE_TH_NONE)
        return rule_fail(p, p->kw_at, "a rule may have one threshold or detection_filter");
    p->r.threshold = t.t;
    return SK_OK;
}

int kw_detection_filter(struct rule_parse *p)
{
    struct threshold_parse t;
    struct sk_span bad = p->val;
    const char *why = threshold_pieces(p->val, false, &t, &bad);
    if (why)
        return rule_fail(p, bad.len ? (const char *)bad.p : p->val_at, "detection_filter: %s", why);
    if (p->r.threshold.type != RULE_TH_NONE || p->r.det_filter.type != RULE_TH_NONE)
        return rule_fail(p, p->kw_at, "a rule may have one threshold or detection_filter");
    p->r.det_filter = t.t;
    p->r.det_filter.type = RULE_TH_DETECTION_FILTER;
    return SK_OK;
}

int kw_stream_size(struct rule_parse *p)
{
    static const char *const sides[] = {"server", "client", "both", "either"};
    struct sk_span rest = p->val, side, op, num;
    struct rule_num n;
    bool neg = false;
    char text[32];
    unsigned i = 0;
    if (!text_next(&rest, ',', &side) || !text_next(&rest, ',', &op) || !text_next(&rest, ',', &num) || rest.p ||
        op.len + num.len >= sizeof text || op.len == 0)
        return rule_fail(p, p->val_at, "stream_size is written side,operator,bytes");
    while (i < 4 && !text_is(side, sides[i]))
        i++;
    memcpy(text, op.p, op.len);
    memcpy(text + op.len, num.p, num.len);
    if (i == 4 || !text_num(sk_span_of(text, op.len + num.len), UINT32_MAX, &n, &neg) || n.op == RULE_RANGE)
        return rule_fail(p, p->val_at,
                         "stream_size takes server, client, both or either; < > <= >= = or !=; and a number");
    struct draft_match *d = rule_add_match(p, RM_STREAM_SIZE, -1);
    if (!d)
        return SK_EINVAL;
    d->m.stream_size = (struct rule_stream_size){.which = (uint8_t)i, .op = n.op, .size = (uint32_t)n.a};
    return SK_OK;
}

int kw_app_proto(struct rule_parse *p)
{
    static const char *const protos[] = {"http", "http1",    "http2", "tls",    "dns",     "ssh",   "smtp",
                                         "ftp",  "ftp-data", "smb",   "dcerpc", "unknown", "failed"};
    static const struct {
        const char *name;
        enum rule_app_dir dir;
    } dirs[] = {{"to_server", RULE_APP_TS},  {"toserver", RULE_APP_TS},     {"to_client", RULE_APP_TC},
                {"toclient", RULE_APP_TC},   {"final", RULE_APP_FINAL},     {"original", RULE_APP_ORIGINAL},
                {"either", RULE_APP_EITHER}, {"direction", RULE_APP_PACKET}};
    struct sk_span rest = p->val, name, dir;
    struct rule_name n = {.negated = p->negated, .dir = RULE_APP_PACKET};
    (void)text_next(&rest, ',', &name);
    for (unsigned i = 0; i < sizeof protos / sizeof *protos; i++)
        if (text_is(name, protos[i]))
            n.name = protos[i];
    if (!n.name)
        return rule_unsupported(p, p->val_at, "app-layer-protocol '%.*s' is not supported",
                                (int)(name.len > 40 ? 40 : name.len), (const char *)name.p);
    if (text_next(&rest, ',', &dir)) {
        unsigned i = 0, count = sizeof dirs / sizeof *dirs;
        while (i < count && !text_is(dir, dirs[i].name))
            i++;
        if (i == count || rest.p)
            return rule_fail(p, dir.len ? (const char *)dir.p : p->val_at,
                             "app-layer-protocol may end with to_server, to_client, either, original or final");
        n.dir = dirs[i].dir;
    }
    struct draft_match *d = rule_add_match(p, RM_APP_PROTO, -1);
    if (!d)
        return SK_EINVAL;
    d->m.name = n;
    return SK_OK;
}
