#include "inspect_internal.h"

/* Where a content may lie: [lo, hi). */
struct window {
    int64_t lo, hi;
};

static struct window relative_window(const struct run *r, const struct rule_content *c)
{
    struct window w = {.lo = r->cur, .hi = POS_MAX};
    int64_t distance = c->flags & RC_DISTANCE ? pos_value(r, c->distance_var, c->distance) : 0;
    w.lo += distance;
    if (c->flags & RC_WITHIN)
        w.hi = w.lo + pos_value(r, c->within_var, c->within);
    return w;
}

/* Absolute bounds; they narrow the relative ones where a content has both. */
static struct window content_window(const struct run *r, const struct rule_content *c)
{
    struct window w = {.lo = r->base, .hi = POS_MAX};
    if (c->flags & RC_RELATIVE)
        w = relative_window(r, c);
    int64_t offset = c->flags & RC_OFFSET ? pos_value(r, c->offset_var, c->offset) : 0;
    if (r->base + offset > w.lo)
        w.lo = r->base + offset;
    if (c->flags & RC_DEPTH) {
        int64_t end = r->base + offset + pos_value(r, c->depth_var, c->depth);
        if (end < w.hi)
            w.hi = end;
    }
    return w;
}

/* First occurrence within w at or after from; -1 when there is none. */
static int64_t search(struct run *r, const struct inspect_op *op, struct window w, int64_t from)
{
    int64_t lo = w.lo > from ? w.lo : from;
    int64_t hi = w.hi < r->len ? w.hi : r->len;
    int64_t len = op->lit.len;
    if (lo < 0)
        lo = 0;
    if (hi < lo || len > hi - lo)
        return -1;
    if (op->m->content.flags & RC_ENDSWITH) {
        if (!r->in->complete || hi < r->len || !lit_at(&op->lit, r->in->buf.p + r->len - len))
            return -1;
        return r->len - len;
    }
    size_t at = lit_find(&op->lit, r->in->buf.p, (size_t)lo, (size_t)hi);
    r->steps -= ((at == LIT_NONE ? hi : (int64_t)at) - lo) / INSPECT_STEP_BYTES;
    return at == LIT_NONE ? -1 : (int64_t)at;
}

/* True when the content is absent from its window, and no byte that is still to come can change that. */
static enum verdict negated_content(struct run *r, const struct inspect_op *op, struct window w)
{
    const struct rule_content *c = &op->m->content;
    bool gone = (c->flags & RC_DEPTH) && w.hi <= 0 && r->base < 0;
    if (gone)
        return V_FAIL;
    bool fixed = !(c->flags & RC_RELATIVE) && c->offset_var == RULE_VAR_NONE && c->depth_var == RULE_VAR_NONE;
    if (search(r, op, w, 0) >= 0)
        return fixed ? V_FATAL : V_FAIL;
    bool decided = r->in->complete || (w.hi <= r->len && !(c->flags & RC_ENDSWITH));
    return decided ? V_MATCH : V_FAIL;
}

static enum verdict content(struct run *r, const struct inspect_op *op, int64_t from, int64_t *next)
{
    const struct rule_content *c = &op->m->content;
    struct window w = content_window(r, c);
    *next = -1;
    if (c->flags & RC_NEGATED)
        return negated_content(r, op, w);
    int64_t at = search(r, op, w, from);
    if (at < 0) {
        /* Bounds that leave no room may come from a variable, which an earlier match could set otherwise. */
        bool no_room = w.lo > (w.hi < r->len ? w.hi : r->len);
        return (c->flags & RC_RELATIVE) || no_room ? V_FAIL : V_FATAL;
    }
    r->cur = at + op->lit.len;
    r->ev_pos = at;
    r->ev_len = op->lit.len;
    *next = at + 1;
    return V_MATCH;
}

static enum verdict isdataat(const struct run *r, const struct rule_isdataat *d)
{
    int64_t pos = pos_value(r, d->pos_var, d->pos);
    bool there = d->relative ? r->cur + pos <= r->len : r->base + pos < r->len;
    if (there != d->negated)
        return !d->negated || r->in->complete ? V_MATCH : V_FAIL;
    /* From a later anchor even less data is left; only a missing-data test or a variable may come out otherwise. */
    return d->pos_var != RULE_VAR_NONE || (d->relative && d->negated) ? V_FAIL : V_FATAL;
}

/* More bytes may come: only a lower bound that is reached already is decided. */
static enum verdict bsize(const struct run *r, const struct rule_match *m)
{
    bool lower = m->num.n.op == RULE_GT || m->num.n.op == RULE_GE;
    if (!r->in->complete && (!lower || m->num.negated))
        return V_FATAL;
    return rule_num_match(&m->num.n, r->len - r->base) != m->num.negated ? V_MATCH : V_FATAL;
}

static enum verdict urilen(const struct run *r, const struct rule_match *m)
{
    int64_t len = r->len - r->base;
    if (len > UINT16_MAX)
        len = UINT16_MAX; /* as Suricata, whose numbers here have 16 bits */
    return rule_num_match(&m->num.n, len) != m->num.negated ? V_MATCH : V_FATAL;
}

/* One match. from: where a retry begins (0: first try); *next: where another retry would, -1 when none is possible. */
static enum verdict step(struct run *r, const struct inspect_op *op, int64_t from, int64_t *next)
{
    const struct rule_match *m = op->m;
    *next = -1;
    switch (m->type) {
    case RM_CONTENT: return content(r, op, from, next);
    case RM_PCRE: return inspect_pcre(r, op, from, next);
    case RM_ISDATAAT: return isdataat(r, &m->isdataat);
    case RM_BYTE_TEST: return inspect_byte_test(r, &m->byte_test);
    case RM_BYTE_JUMP: return inspect_byte_jump(r, &m->byte_jump);
    case RM_BYTE_EXTRACT: return inspect_byte_extract(r, &m->byte_extract);
    case RM_BYTE_MATH: return inspect_byte_math(r, &m->byte_math);
    case RM_BSIZE: return bsize(r, m);
    case RM_URILEN: return urilen(r, m);
    default: return V_FATAL;
    }
}

/*
 * Matches are taken in order. A positive content or expression that a later relative match refers to leaves a frame;
 * when something after it fails, the newest frame is tried again from its next occurrence. A content to which nothing
 * refers cuts: no other occurrence of it or of what stands before it could help.
 */
static bool evaluate(const struct inspect_prog *p, struct run *r)
{
    struct frame *stack = r->s->frame;
    uint16_t i = 0, depth = 0;
    int64_t from = 0, next;
    while (i < p->n) {
        const struct inspect_op *op = &p->op[i];
        int64_t cur = r->cur;
        if (--r->steps < 0) {
            sk_count(r->s->c, SK_C_INSPECT_LIMIT);
            return false;
        }
        enum verdict v = step(r, op, from, &next);
        if (v == V_FATAL || (v == V_FAIL && depth == 0))
            return false;
        if (v == V_FAIL) {
            depth--;
            i = stack[depth].op;
            r->cur = stack[depth].cur;
            from = stack[depth].next;
            continue;
        }
        if (next >= 0 && op->retry)
            stack[depth++] = (struct frame){.op = i, .cur = cur, .next = next};
        else if (next >= 0 && op->m->type == RM_CONTENT)
            depth = 0;
        from = 0;
        i++;
    }
    return true;
}

bool inspect_run(const struct inspect_prog *p, struct inspect_scratch *s, const struct inspect_input *in,
                 uint64_t *vars)
{
    int64_t base = -pos_clamp(in->offset);
    struct run r = {
        .in = in,
        .s = s,
        .vars = vars,
        .len = in->buf.len,
        .base = base,
        .cur = base,
        .steps = INSPECT_MAX_STEPS,
    };
    if (!evaluate(p, &r))
        return false;
    s->buf = in->buf;
    s->evidence = sk_span_of(in->buf.p ? in->buf.p + r.ev_pos : NULL, (uint32_t)r.ev_len);
    return true;
}

struct sk_span inspect_evidence(const struct inspect_scratch *s)
{
    return s->evidence;
}

struct sk_span inspect_context(const struct inspect_scratch *s, uint32_t max)
{
    if (s->buf.len <= max || !s->evidence.p)
        return s->evidence.p ? s->buf : s->evidence;
    uint32_t at = (uint32_t)(s->evidence.p - s->buf.p);
    uint32_t before = s->evidence.len < max ? (max - s->evidence.len) / 2 : 0;
    uint32_t start = at > before ? at - before : 0;
    if (start > s->buf.len - max)
        start = s->buf.len - max;
    return sk_span_of(s->buf.p + start, max);
}
