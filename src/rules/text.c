/* Small pieces of text: trimming, splitting, numbers. */
#include <ctype.h>
#include <strings.h>

#include "parse.h"

struct sk_span text_trim(struct sk_span s)
{
    while (s.len && isspace(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len && isspace(s.p[s.len - 1]))
        s.len--;
    return s;
}

bool text_next(struct sk_span *rest, char sep, struct sk_span *out)
{
    if (!rest->p)
        return false;
    const uint8_t *q = rest->len ? memchr(rest->p, sep, rest->len) : NULL;
    uint32_t n = q ? (uint32_t)(q - rest->p) : rest->len;
    *out = text_trim(sk_span_of(rest->p, n));
    if (q)
        *rest = sk_span_of(q + 1, rest->len - n - 1);
    else
        *rest = (struct sk_span){0};
    return true;
}

bool text_is(struct sk_span s, const char *word)
{
    return sk_span_ieq(s, word);
}

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static bool digits(struct sk_span s, unsigned base, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (s.len == 0)
        return false;
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned d = (unsigned)digit_of(s.p[i]);
        if (d >= base || v > (UINT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    if (v > max)
        return false;
    *out = v;
    return true;
}

bool text_dec(struct sk_span s, uint64_t max, uint64_t *out)
{
    return digits(s, 10, max, out);
}

bool text_u64(struct sk_span s, uint64_t max, uint64_t *out)
{
    if (s.len > 2 && s.p[0] == '0' && (s.p[1] | 0x20) == 'x')
        return digits(sk_span_of(s.p + 2, s.len - 2), 16, max, out);
    return digits(s, 10, max, out);
}

bool text_i64(struct sk_span s, int64_t min, int64_t max, int64_t *out)
{
    bool neg = s.len && s.p[0] == '-';
    if (neg || (s.len && s.p[0] == '+'))
        s = sk_span_of(s.p + 1, s.len - 1);
    uint64_t u;
    if (!text_u64(s, INT64_MAX, &u))
        return false;
    int64_t v = neg ? -(int64_t)u : (int64_t)u;
    if (v < min || v > max)
        return false;
    *out = v;
    return true;
}

bool text_key(struct sk_span s, const char *key, struct sk_span *val)
{
    uint32_t n = (uint32_t)strlen(key);
    if (s.len <= n || strncasecmp((const char *)s.p, key, n) != 0 || !isspace(s.p[n]))
        return false;
    *val = text_trim(sk_span_of(s.p + n, s.len - n));
    return true;
}

/* The operator at the start of a number, and its length. */
static uint32_t num_op(struct sk_span s, enum rule_cmp *op)
{
    static const struct {
        char text[3];
        enum rule_cmp op;
    } ops[] = {{"<=", RULE_LE}, {">=", RULE_GE}, {"!=", RULE_NE}, {"<", RULE_LT},
               {">", RULE_GT},  {"=", RULE_EQ},  {"!", RULE_NE}};
    for (unsigned i = 0; i < sizeof ops / sizeof *ops; i++) {
        uint32_t n = (uint32_t)strlen(ops[i].text);
        if (s.len >= n && memcmp(s.p, ops[i].text, n) == 0) {
            *op = ops[i].op;
            return n;
        }
    }
    *op = RULE_EQ;
    return 0;
}

/* a<>b or a-b, both exclusive; at least one number must lie between. */
static bool num_range(struct sk_span s, uint64_t max, struct rule_num *n)
{
    for (uint32_t i = 1; i < s.len; i++) {
        uint32_t w = s.p[i] == '-' ? 1 : (s.p[i] == '<' && i + 1 < s.len && s.p[i + 1] == '>') ? 2 : 0;
        if (!w)
            continue;
        uint64_t a, b;
        if (!text_u64(text_trim(sk_span_of(s.p, i)), max, &a) ||
            !text_u64(text_trim(sk_span_of(s.p + i + w, s.len - i - w)), max, &b) || b <= a || b - a < 2)
            return false;
        *n = (struct rule_num){.op = RULE_RANGE, .a = (int64_t)a, .b = (int64_t)b};
        return true;
    }
    return false;
}

bool text_num(struct sk_span s, uint64_t max, struct rule_num *n, bool *negated)
{
    enum rule_cmp op;
    *negated = false;
    s = text_trim(s);
    uint32_t skip = num_op(s, &op);
    struct sk_span v = text_trim(sk_span_of(s.p + skip, s.len - skip));
    uint64_t x;
    if (text_u64(v, max, &x)) {
        if ((op == RULE_LT && x == 0) || (op == RULE_GT && x == max))
            return false; /* can never be */
        *n = (struct rule_num){.op = op, .a = (int64_t)x};
        return true;
    }
    if (op != RULE_EQ && op != RULE_NE)
        return false;
    *negated = op == RULE_NE;
    return num_range(v, max, n);
}

bool text_duration(struct sk_span s, int64_t *seconds)
{
    static const struct {
        char unit;
        uint32_t mul;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    if (s.len < 2)
        return false;
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t v;
        if (s.p[s.len - 1] != (uint8_t)units[i].unit)
            continue;
        if (!text_dec(sk_span_of(s.p, s.len - 1), 10u * 366 * 86400 / units[i].mul, &v) || v == 0)
            return false;
        *seconds = (int64_t)(v * units[i].mul);
        return true;
    }
    return false;
}
