/* Sticky buffers, the older http_* modifiers, transforms, and sizes of buffers. */
#include "parse.h"

/* A sticky buffer that was named last must have got a match. */
static int leave_buffer(struct rule_parse *p)
{
    if (p->cur >= 0 && p->fresh)
        return rule_fail(p, p->buf[p->cur].at, "nothing is matched on buffer '%s'",
                         rule_buf_info[p->buf[p->cur].buf].name);
    return SK_OK;
}

int kw_sticky(struct rule_parse *p)
{
    int rc = leave_buffer(p);
    if (rc != SK_OK)
        return rc;
    if (p->nbuf == RULE_MAX_INSPECT)
        return rule_fail(p, p->kw_at, "rule uses more than %d buffers", RULE_MAX_INSPECT);
    p->buf[p->nbuf] = (struct draft_buf){.buf = p->kw->arg, .sticky = true, .at = p->kw_at};
    p->cur = (int)p->nbuf++;
    p->fresh = true;
    if (!p->http_at)
        p->http_at = p->kw_at;
    return SK_OK;
}

int kw_pkt_data(struct rule_parse *p)
{
    int rc = leave_buffer(p);
    p->cur = -1;
    p->fresh = false;
    return rc;
}

int kw_http_modifier(struct rule_parse *p)
{
    struct draft_match *d;
    if (p->cur >= 0)
        return rule_fail(
            p, p->kw_at,
            "'%s' modifies the content before it and does not go with a sticky buffer; use '%s' or pkt_data",
            p->kw->name, rule_buf_info[p->kw->arg].name);
    if (!(d = rule_last_content(p)))
        return SK_EINVAL;
    if (p->buf[d->buf].buf != RULE_BUF_PAYLOAD)
        return rule_fail(p, p->kw_at, "the content already belongs to '%s'", rule_buf_info[p->buf[d->buf].buf].name);
    if (d->m.content.flags & RC_RAWBYTES)
        return rule_fail(p, p->kw_at, "'%s' does not go with 'rawbytes'", p->kw->name);
    int b = rule_buf_get(p, p->kw->arg);
    if (b < 0)
        return SK_EINVAL;
    d->buf = (int16_t)b;
    p->buf[b].used = true;
    if (!p->http_at)
        p->http_at = p->kw_at;
    return SK_OK;
}

int kw_transform(struct rule_parse *p)
{
    if (p->cur < 0 || !p->fresh)
        return rule_fail(p, p->kw_at, "transform '%s' must directly follow a sticky buffer", p->kw->name);
    struct draft_buf *b = &p->buf[p->cur];
    if (b->nxf == RULE_MAX_TRANSFORMS)
        return rule_fail(p, p->kw_at, "more than %d transforms on one buffer", RULE_MAX_TRANSFORMS);
    b->xf[b->nxf++] = (uint8_t)p->kw->arg;
    return SK_OK;
}

int kw_bsize(struct rule_parse *p)
{
    struct rule_num n;
    bool neg;
    if (p->cur < 0)
        return rule_fail(p, p->kw_at, "'bsize' needs a sticky buffer before it");
    if (!text_num(p->val, UINT32_MAX, &n, &neg))
        return rule_fail(p, p->val_at, "bsize takes N, !N, <N, <=N, >N, >=N or MIN<>MAX");
    struct draft_match *d = rule_add_match(p, RM_BSIZE, rule_buf_current(p));
    if (!d)
        return SK_EINVAL;
    d->m.num.n = n;
    d->m.num.negated = neg;
    return SK_OK;
}

int kw_urilen(struct rule_parse *p)
{
    struct sk_span rest = p->val, num, kind = {0};
    struct rule_num n;
    bool neg;
    (void)text_next(&rest, ',', &num);
    if (!text_num(num, UINT16_MAX, &n, &neg))
        return rule_fail(p, p->val_at, "urilen takes N, <N, >N or MIN<>MAX, then ',raw' or ',norm'");
    bool raw = false;
    if (text_next(&rest, ',', &kind)) {
        raw = text_is(kind, "raw");
        if (rest.p || (!raw && !text_is(kind, "norm")))
            return rule_fail(p, p->val_at, "urilen may end with ',raw' or ',norm' only");
    }
    if (!p->http_at)
        p->http_at = p->kw_at;
    int b = rule_buf_get(p, raw ? RULE_BUF_HTTP_URI_RAW : RULE_BUF_HTTP_URI);
    struct draft_match *d = b < 0 ? NULL : rule_add_match(p, RM_URILEN, b);
    if (!d)
        return SK_EINVAL;
    d->m.num.n = n;
    d->m.num.negated = neg;
    return SK_OK;
}
