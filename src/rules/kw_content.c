/* content and what modifies it */
#include <ctype.h>

#include "parse.h"

#define RELATIVE_MAX (1024 * 1024) /* |distance|, within; as Suricata */

static int hexval(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* |41 42|: from the byte after the first bar. Returns the place of the closing bar, or 0 after a diagnostic. */
static uint32_t hex_part(struct rule_parse *p, uint32_t i, uint8_t *out, uint32_t *n)
{
    struct sk_span s = p->val;
    for (; i < s.len && s.p[i] != '|'; i++) {
        if (s.p[i] == ' ')
            continue;
        int hi = hexval(s.p[i]), lo = i + 1 < s.len ? hexval(s.p[i + 1]) : -1;
        if (hi < 0 || lo < 0) {
            (void)rule_fail(p, (const char *)s.p + i,
                            hi < 0 ? "not a hexadecimal digit in |...|"
                                   : "hexadecimal digits in |...| must come in pairs");
            return 0;
        }
        out[(*n)++] = (uint8_t)(hi << 4 | lo);
        i++;
    }
    if (i == s.len) {
        (void)rule_fail(p, p->val_at, "hexadecimal part is not closed with '|'");
        return 0;
    }
    return i;
}

/* The bytes that the text of a content means. */
static int content_bytes(struct rule_parse *p, uint8_t *out, uint32_t *len)
{
    struct sk_span s = p->val;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c == '|') {
            if (!(i = hex_part(p, i + 1, out, &n)))
                return SK_EINVAL;
            continue;
        }
        if (c == '"')
            return rule_fail(p, (const char *)s.p + i, "'\"' inside a content must be written '\\\"'");
        if (c == '\\') {
            if (++i == s.len || !strchr("\\;:\"", s.p[i]))
                return rule_fail(p, (const char *)s.p + i - 1,
                                 "in a content, '\\' may only stand before \\ ; : \" (or write |5C|)");
            c = s.p[i];
        }
        out[n++] = c;
    }
    *len = n;
    return n ? SK_OK : rule_fail(p, p->val_at, "content is empty");
}

static struct draft_match *add_content(struct rule_parse *p, int buf)
{
    if (buf < 0)
        return NULL;
    uint8_t *bytes = sk_arena_alloc(p->l->arena, p->val.len + 1);
    uint32_t len;
    if (!bytes) {
        (void)rule_nomem(p);
        return NULL;
    }
    if (content_bytes(p, bytes, &len) != SK_OK)
        return NULL;
    struct draft_match *d = rule_add_match(p, RM_CONTENT, buf);
    if (!d)
        return NULL;
    d->m.content = (struct rule_content){.p = bytes,
                                         .len = (uint16_t)len,
                                         .flags = p->negated ? RC_NEGATED : 0,
                                         .offset_var = RULE_VAR_NONE,
                                         .depth_var = RULE_VAR_NONE,
                                         .distance_var = RULE_VAR_NONE,
                                         .within_var = RULE_VAR_NONE};
    return d;
}

int kw_content(struct rule_parse *p)
{
    return add_content(p, rule_buf_current(p)) ? SK_OK : SK_EINVAL;
}

int kw_uricontent(struct rule_parse *p)
{
    if (p->cur >= 0)
        return rule_fail(p, p->kw_at, "'uricontent' after a sticky buffer; use content, or pkt_data before it");
    if (!p->http_at)
        p->http_at = p->kw_at;
    return add_content(p, rule_buf_get(p, RULE_BUF_HTTP_URI)) ? SK_OK : SK_EINVAL;
}

int kw_nocase(struct rule_parse *p)
{
    struct draft_match *d = rule_last_content(p);
    if (!d)
        return SK_EINVAL;
    if (d->m.content.flags & RC_NOCASE)
        return rule_fail(p, p->kw_at, "'nocase' is given twice for one content");
    d->m.content.flags |= RC_NOCASE;
    return SK_OK;
}

int kw_rawbytes(struct rule_parse *p)
{
    struct draft_match *d = rule_last_content(p);
    if (!d)
        return SK_EINVAL;
    if (d->m.content.flags & RC_RAWBYTES)
        return rule_fail(p, p->kw_at, "'rawbytes' is given twice for one content");
    if (p->buf[d->buf].buf != RULE_BUF_PAYLOAD)
        return rule_fail(p, p->kw_at, "'rawbytes' does not go with %s", rule_buf_info[p->buf[d->buf].buf].name);
    d->m.content.flags |= RC_RAWBYTES;
    return SK_OK;
}

/* A modifier of position: which it sets, and which it must not meet. NULL after a diagnostic. */
static struct rule_content *position(struct rule_parse *p, uint16_t sets, uint16_t conflicts)
{
    struct draft_match *d = rule_last_content(p);
    if (!d)
        return NULL;
    struct rule_content *c = &d->m.content;
    if (c->flags & RC_STARTSWITH)
        (void)rule_fail(p, p->kw_at, "'%s' does not go with 'startswith'", p->kw->name);
    else if (c->flags & sets)
        (void)rule_fail(p, p->kw_at, "'%s' is given twice for one content", p->kw->name);
    else if (c->flags & conflicts)
        (void)rule_fail(p, p->kw_at, "depth or offset and distance or within do not go together for one content");
    else if (c->flags & RC_FAST_PATTERN_ONLY)
        (void)rule_fail(p, p->kw_at, "'%s' does not go with fast_pattern:only", p->kw->name);
    else if ((c->flags & RC_NEGATED) && (c->flags & RC_FAST_PATTERN))
        (void)rule_fail(p, p->kw_at, "'%s' does not go with a negated fast_pattern content", p->kw->name);
    else {
        c->flags |= sets;
        return c;
    }
    return NULL;
}

/* A number within limits, or the name of a variable. */
static int amount(struct rule_parse *p, int64_t min, int64_t max, int32_t *n, int8_t *var)
{
    int64_t v;
    if (rule_var_name_ok(p->val)) {
        if (!rule_var_find(p, p->val, -1, var))
            return rule_fail(p, p->val_at, "unknown byte_extract or byte_math variable '%.*s'", (int)p->val.len,
                             (const char *)p->val.p);
        return SK_OK;
    }
    if (!text_i64(p->val, min, max, &v))
        return rule_fail(p, p->val_at, "'%s' must be a number from %lld to %lld, or a variable", p->kw->name,
                         (long long)min, (long long)max);
    *n = (int32_t)v;
    return SK_OK;
}

int kw_depth(struct rule_parse *p)
{
    struct rule_content *c = position(p, RC_DEPTH, RC_RELATIVE);
    int rc = c ? amount(p, 0, UINT16_MAX, &c->depth, &c->depth_var) : SK_EINVAL;
    if (rc == SK_OK && c->depth_var == RULE_VAR_NONE && c->depth < c->len)
        return rule_fail(p, p->val_at, "depth %d is less than the content's length %d", c->depth, c->len);
    return rc;
}

int kw_offset(struct rule_parse *p)
{
    struct rule_content *c = position(p, RC_OFFSET, RC_RELATIVE);
    return c ? amount(p, 0, UINT16_MAX, &c->offset, &c->offset_var) : SK_EINVAL;
}

int kw_distance(struct rule_parse *p)
{
    struct rule_content *c = position(p, RC_DISTANCE, RC_DEPTH | RC_OFFSET);
    return c ? amount(p, -RELATIVE_MAX, RELATIVE_MAX, &c->distance, &c->distance_var) : SK_EINVAL;
}

int kw_within(struct rule_parse *p)
{
    struct rule_content *c = position(p, RC_WITHIN, RC_DEPTH | RC_OFFSET);
    int rc = c ? amount(p, -RELATIVE_MAX, RELATIVE_MAX, &c->within, &c->within_var) : SK_EINVAL;
    if (rc == SK_OK && c->within_var == RULE_VAR_NONE && c->within < c->len)
        return rule_fail(p, p->val_at, "within %d is less than the content's length %d", c->within, c->len);
    return rc;
}

int kw_startswith(struct rule_parse *p)
{
    struct draft_match *d = rule_last_content(p);
    if (!d)
        return SK_EINVAL;
    struct rule_content *c = &d->m.content;
    if (c->flags & RC_STARTSWITH)
        return rule_fail(p, p->kw_at, "'startswith' is given twice for one content");
    if (c->flags & (RC_DEPTH | RC_OFFSET | RC_RELATIVE))
        return rule_fail(p, p->kw_at, "'startswith' does not go with depth, offset, distance or within");
    if (c->flags & RC_FAST_PATTERN_ONLY)
        return rule_fail(p, p->kw_at, "'startswith' does not go with fast_pattern:only");
    c->flags |= RC_STARTSWITH | RC_DEPTH;
    c->depth = c->len;
    return SK_OK;
}

int kw_endswith(struct rule_parse *p)
{
    struct draft_match *d = rule_last_content(p);
    if (!d)
        return SK_EINVAL;
    if (d->m.content.flags & RC_ENDSWITH)
        return rule_fail(p, p->kw_at, "'endswith' is given twice for one content");
    d->m.content.flags |= RC_ENDSWITH;
    return SK_OK;
}

static int fast_pattern_part(struct rule_parse *p, struct rule_content *c)
{
    struct sk_span rest = p->val, a, b;
    uint64_t off, len;
    if (!text_next(&rest, ',', &a) || !text_next(&rest, ',', &b) || rest.p || !text_dec(a, UINT16_MAX, &off) ||
        !text_dec(b, UINT16_MAX, &len))
        return rule_fail(p, p->val_at, "fast_pattern takes 'only' or offset,length");
    if (len == 0 || off + len > c->len)
        return rule_fail(p, p->val_at, "fast_pattern %llu,%llu does not lie within the content of %d bytes",
                         (unsigned long long)off, (unsigned long long)len, c->len);
    c->fp_off = (uint16_t)off;
    c->fp_len = (uint16_t)len;
    c->flags |= RC_FAST_PATTERN_CHOP;
    return SK_OK;
}

int kw_fast_pattern(struct rule_parse *p)
{
    struct draft_match *d = rule_last_content(p);
    if (!d)
        return SK_EINVAL;
    struct rule_content *c = &d->m.content;
    for (unsigned i = 0; i < p->n; i++)
        if (p->m[i].m.type == RM_CONTENT && (p->m[i].m.content.flags & RC_FAST_PATTERN))
            return rule_fail(p, p->kw_at, "fast_pattern is given twice in one rule");
    bool placed = c->flags & (RC_DEPTH | RC_OFFSET | RC_RELATIVE);
    if ((c->flags & RC_NEGATED) && placed)
        return rule_fail(p, p->kw_at, "fast_pattern does not go with a negated content that has a position");
    c->flags |= RC_FAST_PATTERN;
    if (!p->has_val)
        return SK_OK;
    if (!text_is(p->val, "only"))
        return fast_pattern_part(p, c);
    if ((c->flags & RC_NEGATED) || placed)
        return rule_fail(p, p->val_at,
                         "fast_pattern:only does not go with a negated content or one that has a position");
    c->flags |= RC_FAST_PATTERN_ONLY;
    return SK_OK;
}
