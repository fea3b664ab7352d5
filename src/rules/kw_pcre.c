/* pcre:"/expression/flags" */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "parse.h"

#define NO_BUFFER RULE_BUF_COUNT

static const struct {
    char letter;
    enum rule_buf buf;
} letters[] = {{'U', RULE_BUF_HTTP_URI},           {'I', RULE_BUF_HTTP_URI_RAW},    {'P', RULE_BUF_HTTP_REQUEST_BODY},
               {'Q', RULE_BUF_HTTP_RESPONSE_BODY}, {'H', RULE_BUF_HTTP_HEADER},     {'D', RULE_BUF_HTTP_HEADER_RAW},
               {'M', RULE_BUF_HTTP_METHOD},        {'C', RULE_BUF_HTTP_COOKIE},     {'S', RULE_BUF_HTTP_STAT_CODE},
               {'Y', RULE_BUF_HTTP_STAT_MSG},      {'V', RULE_BUF_HTTP_USER_AGENT}, {'W', RULE_BUF_HTTP_HOST},
               {'Z', RULE_BUF_HTTP_HOST_RAW},      {'B', RULE_BUF_PAYLOAD}};

static uint32_t option_of(char c)
{
    switch (c) {
    case 'i': return PCRE2_CASELESS;
    case 'm': return PCRE2_MULTILINE;
    case 's': return PCRE2_DOTALL;
    case 'x': return PCRE2_EXTENDED;
    case 'A': return PCRE2_ANCHORED;
    case 'E': return PCRE2_DOLLAR_ENDONLY;
    case 'G': return PCRE2_UNGREEDY;
    default: return 0;
    }
}

static enum rule_buf letter_of(char c)
{
    for (unsigned i = 0; i < sizeof letters / sizeof *letters; i++)
        if (letters[i].letter == c)
            return letters[i].buf;
    return NO_BUFFER;
}

static int flags(struct rule_parse *p, struct sk_span f, struct rule_pcre *re, enum rule_buf *buf)
{
    *buf = NO_BUFFER;
    for (uint32_t i = 0; i < f.len; i++) {
        char c = (char)f.p[i];
        enum rule_buf b = letter_of(c);
        if (option_of(c)) {
            re->options |= option_of(c);
        } else if (c == 'R') {
            re->flags |= RP_RELATIVE;
        } else if (b != NO_BUFFER) {
            if (*buf != NO_BUFFER && *buf != b)
                return rule_fail(p, (const char *)f.p + i, "pcre flags name two buffers");
            *buf = b;
        } else if (c == ',') {
            return rule_unsupported(p, (const char *)f.p + i, "pcre that stores what it captures is not supported yet");
        } else if (c != 'O' && c != ' ') { /* O: without Suricata's match limit; ours always holds */
            return rule_fail(p, (const char *)f.p + i, "unknown pcre flag '%c'", c);
        }
    }
    return SK_OK;
}

/* The buffer that the expression is matched on: draft index, or -1. */
static int target(struct rule_parse *p, enum rule_buf named)
{
    if (named == NO_BUFFER)
        return rule_buf_current(p);
    if (p->cur < 0) {
        if (named != RULE_BUF_PAYLOAD && !p->http_at)
            p->http_at = p->kw_at;
        return rule_buf_get(p, named);
    }
    enum rule_buf now = p->buf[p->cur].buf;
    if (now == named || (named == RULE_BUF_HTTP_RESPONSE_BODY && now == RULE_BUF_FILE_DATA))
        return rule_buf_current(p);
    (void)rule_fail(
        p, p->kw_at,
        "pcre flag means buffer '%s', but the sticky buffer is '%s'; use the sticky buffer '%s', or pkt_data",
        rule_buf_info[named].name, rule_buf_info[now].name, rule_buf_info[named].name);
    return -1;
}

/* Suricata stores groups with these names; the match itself is the same. */
static void warn_capture(struct rule_parse *p, const char *expr)
{
    static const char *const lead[] = {"(?P<flow_", "(?P<pkt_", "(?P<alert_"};
    for (unsigned i = 0; i < 3; i++)
        if (strstr(expr, lead[i]))
            rule_warn(p, p->val_at, "what pcre captures is not recorded");
}

int kw_pcre(struct rule_parse *p)
{
    struct sk_span s = p->val;
    const uint8_t *last = s.len > 1 ? memrchr(s.p + 1, '/', s.len - 1) : NULL;
    if (s.len == 0 || s.p[0] != '/' || !last)
        return rule_fail(p, p->val_at, "pcre is written /expression/flags");
    struct rule_pcre re = {.flags = p->negated ? RP_NEGATED : 0};
    struct sk_span expr = sk_span_of(s.p + 1, (uint32_t)(last - s.p) - 1);
    if (expr.len == 0)
        return rule_fail(p, p->val_at, "pcre has an empty expression");
    enum rule_buf named;
    int rc = flags(p, sk_span_of(last + 1, s.len - expr.len - 2), &re, &named);
    int buf = rc == SK_OK ? target(p, named) : -1;
    if (buf < 0)
        return SK_EINVAL;
    if (!(re.expr = rule_strdup(p, expr)))
        return SK_ENOMEM;
    warn_capture(p, re.expr);
    struct draft_match *d = rule_add_match(p, RM_PCRE, buf);
    if (!d)
        return SK_EINVAL;
    d->m.pcre = re;
    return SK_OK;
}
