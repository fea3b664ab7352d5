/* threshold: and detection_filter: values, and threshold.config. */
#include <ctype.h>
#include <stdlib.h>

#include "parse.h"

static bool word_in(struct sk_span s, const char *const *words, unsigned n, unsigned *out)
{
    for (unsigned i = 0; i < n; i++)
        if (text_is(s, words[i])) {
            *out = i;
            return true;
        }
    return false;
}

static const char *const types[] = {"limit", "threshold", "both", "backoff"};
static const enum rule_threshold_type type_of[] = {RULE_TH_LIMIT, RULE_TH_THRESHOLD, RULE_TH_BOTH, RULE_TH_BACKOFF};
static const char *const tracks[] = {"by_src", "by_dst", "by_both", "by_rule", "by_flow"};

static const char *piece(struct sk_span s, bool with_type, struct threshold_parse *t)
{
    struct sk_span v;
    unsigned i;
    uint64_t n;
    bool *seen;
    if (with_type && text_key(s, "type", &v)) {
        if (!word_in(v, types, 4, &i))
            return "type must be limit, threshold, both or backoff";
        t->t.type = type_of[i];
        seen = &t->type;
    } else if (text_key(s, "track", &v)) {
        if (!word_in(v, tracks, 5, &i))
            return "track must be by_src, by_dst, by_both, by_rule or by_flow";
        t->t.track = (enum rule_track)i;
        seen = &t->track;
    } else if (text_key(s, "count", &v)) {
        if (!text_dec(v, UINT32_MAX, &n) || n == 0)
            return "count must be a number from 1";
        t->t.count = (uint32_t)n;
        seen = &t->count;
    } else if (text_key(s, "seconds", &v)) {
        if (!text_dec(v, UINT32_MAX, &n) || n == 0)
            return "seconds must be a number from 1";
        t->t.seconds = (uint32_t)n;
        seen = &t->seconds;
    } else if (with_type && text_key(s, "multiplier", &v)) {
        if (!text_dec(v, UINT32_MAX, &n) || n < 2)
            return "multiplier must be a number from 2";
        t->t.multiplier = (uint32_t)n;
        return NULL;
    } else {
        return "expected type, track, count or seconds";
    }
    if (*seen)
        return "a part is given twice";
    *seen = true;
    return NULL;
}

const char *threshold_pieces(struct sk_span s, bool with_type, struct threshold_parse *out, struct sk_span *bad)
{
    struct sk_span one;
    *out = (struct threshold_parse){0};
    while (text_next(&s, ',', &one)) {
        const char *why = piece(one, with_type, out);
        if (why) {
            *bad = one;
            return why;
        }
    }
    bool backoff = out->t.type == RULE_TH_BACKOFF;
    if ((with_type && !out->type) || !out->track || !out->count || (!out->seconds && !backoff))
        return with_type ? "needs type, track, count and seconds" : "needs track, count and seconds";
    if (backoff && (out->t.multiplier == 0 || out->t.track != RULE_BY_FLOW))
        return "type backoff needs track by_flow and a multiplier";
    if (!backoff && out->t.multiplier)
        return "multiplier goes with type backoff only";
    return NULL;
}

/* One line of threshold.config */
struct conf_line {
    struct rule_parse *p;
    struct sk_span s; /* after the first word */
    bool gid_all, sid_all;
    uint32_t gid, sid;
    struct sk_span rest; /* after gen_id and sig_id */
};

static bool aims_at(const struct conf_line *c, const struct rule *r)
{
    return (c->gid_all || r->gid == c->gid) && (c->sid_all || r->sid == c->sid);
}

/* gen_id N, sig_id N, and what follows */
static int ids(struct conf_line *c)
{
    struct sk_span a, b, v, w;
    uint64_t g, s;
    c->rest = c->s;
    if (!text_next(&c->rest, ',', &a) || !text_next(&c->rest, ',', &b) || !text_key(a, "gen_id", &v) ||
        !text_key(b, "sig_id", &w) || !text_dec(v, UINT32_MAX, &g) || !text_dec(w, UINT32_MAX, &s))
        return rule_fail(c->p, (const char *)c->s.p, "expected 'gen_id N, sig_id N'");
    c->gid = (uint32_t)g;
    c->sid = (uint32_t)s;
    c->gid_all = g == 0;
    c->sid_all = s == 0;
    if (c->gid_all && !c->sid_all)
        return rule_fail(c->p, (const char *)c->s.p, "gen_id 0 (all) goes with sig_id 0 only");
    return SK_OK;
}

static void unused(struct conf_line *c, unsigned hits)
{
    if (hits == 0)
        rule_warn(c->p, (const char *)c->s.p, "no loaded rule has gen_id %u, sig_id %u", c->gid, c->sid);
}

static int line_threshold(struct conf_line *c)
{
    struct threshold_parse t;
    struct sk_span bad = c->s;
    unsigned hits = 0;
    int rc = ids(c);
    if (rc != SK_OK)
        return rc;
    const char *why = threshold_pieces(c->rest, true, &t, &bad);
    if (why)
        return rule_fail(c->p, bad.len ? (const char *)bad.p : (const char *)c->s.p, "threshold: %s", why);
    for (uint32_t i = 0; i < c->p->l->n; i++) {
        struct rule *r = c->p->l->rule[i];
        if (!r || !aims_at(c, r))
            continue;
        hits++;
        /* A rule's own threshold stands against a line that means all rules. */
        if (!c->sid_all || (r->threshold.type == RULE_TH_NONE && r->det_filter.type == RULE_TH_NONE))
            r->threshold = t.t;
    }
    unused(c, hits);
    return SK_OK;
}

static int add_suppress(struct rule_loader *l, struct rule *r, struct rule_suppress s)
{
    struct rule_suppress *n = sk_arena_alloc(l->arena, (r->nsuppress + 1u) * sizeof *n);
    if (!n || r->nsuppress == UINT16_MAX)
        return SK_ENOMEM;
    if (r->nsuppress)
        memcpy(n, r->suppress, r->nsuppress * sizeof *n);
    n[r->nsuppress++] = s;
    r->suppress = n;
    return SK_OK;
}

/* "track by_src, ip LIST" */
static int suppress_whom(struct conf_line *c, struct rule_suppress *s)
{
    static const char *const whom[] = {"by_src", "by_dst", "by_either"};
    struct sk_span t, v, ip;
    unsigned i;
    if (!text_next(&c->rest, ',', &t) || !text_key(t, "track", &v) || !word_in(v, whom, 3, &i))
        return rule_fail(c->p, (const char *)c->s.p, "suppress: track must be by_src, by_dst or by_either");
    s->track = i == 0 ? RULE_BY_SRC : i == 1 ? RULE_BY_DST : RULE_BY_BOTH;
    if (!c->rest.p || !text_key(text_trim(c->rest), "ip", &ip))
        return rule_fail(c->p, (const char *)c->s.p, "suppress: track needs ', ip ADDRESS|LIST'");
    s->ip = rule_addr_parse(c->p, ip);
    return s->ip ? SK_OK : SK_EINVAL;
}

static int line_suppress(struct conf_line *c)
{
    struct rule_suppress s = {.track = RULE_BY_RULE};
    unsigned hits = 0;
    int rc = ids(c);
    if (rc == SK_OK && c->rest.p)
        rc = suppress_whom(c, &s);
    for (uint32_t i = 0; rc == SK_OK && i < c->p->l->n; i++) {
        struct rule *r = c->p->l->rule[i];
        if (!r || !aims_at(c, r))
            continue;
        hits++;
        rc = add_suppress(c->p->l, r, s);
    }
    if (rc == SK_OK)
        unused(c, hits);
    return rc;
}

static int conf_line(struct rule_parse *p)
{
    struct sk_span all = sk_span_of(p->text, (uint32_t)p->len);
    struct conf_line c = {.p = p};
    if (text_key(all, "threshold", &c.s) || text_key(all, "event_filter", &c.s))
        return line_threshold(&c);
    if (text_key(all, "suppress", &c.s))
        return line_suppress(&c);
    if (text_key(all, "rate_filter", &c.s))
        return rule_unsupported(p, p->text,
                                "rate_filter is not supported: Sekisho's own thresholds and block durations do this");
    return rule_fail(p, p->text, "expected threshold, suppress or rate_filter");
}

/* The text of a line, with those that it continues on, in l->join. Returns physical lines taken. */
static uint32_t gather(struct rule_loader *l, struct sk_span *rest, uint32_t line)
{
    struct rule_parse *p = &l->p;
    struct sk_span raw;
    uint32_t taken = 0;
    p->len = 0;
    p->nseg = 0;
    p->text = l->join;
    p->seg = l->seg;
    while (text_next(rest, '\n', &raw)) {
        bool more = raw.len && raw.p[raw.len - 1] == '\\';
        uint32_t n = raw.len - more;
        if (p->nseg < RULE_MAX_SEGS && n <= RULE_MAX_TEXT - p->len) {
            l->seg[p->nseg++] = (struct text_seg){.off = (uint32_t)p->len, .line = line + taken, .col = 1};
            if (n)
                memcpy(l->join + p->len, raw.p, n);
            p->len += n;
        }
        taken++;
        if (!more)
            break;
    }
    return taken;
}

int rule_loader_thresholds(struct rule_loader *l, const char *name, const char *text, size_t len)
{
    struct sk_span rest = sk_span_of(text, (uint32_t)len);
    int bad = 0;
    uint32_t line = 1;
    l->p.file = sk_arena_strdup(l->arena, name);
    if (!l->p.file)
        return SK_ENOMEM;
    while (rest.p) {
        line += gather(l, &rest, line);
        if (l->p.len == 0 || l->join[0] == '#')
            continue;
        l->p.kw_at = l->p.text;
        if (conf_line(&l->p) != SK_OK)
            bad++;
        if (l->nomem)
            return SK_ENOMEM;
    }
    return bad;
}
