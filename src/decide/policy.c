#include "decide/policy.h"

const char *policy_verdict_text(enum policy_verdict v)
{
    static const char *const text[] = {
#define X(id, t) t,
        POLICY_VERDICTS(X)
#undef X
    };
    return (unsigned)v < sizeof text / sizeof text[0] ? text[v] : "unknown";
}

static bool host_bits_clear(const struct sk_prefix *p)
{
    struct sk_prefix clean = sk_prefix_make(&p->addr, p->len);
    return sk_addr_eq(&clean.addr, &p->addr);
}

enum policy_verdict policy_check_target(const struct sk_prefix *p)
{
    if (p->len > 128 || !host_bits_clear(p))
        return POLICY_BAD_TARGET;
    bool v4 = sk_addr_is_v4(&p->addr) && p->len >= 96;
    if (v4 ? p->len < 96 + POLICY_MIN_LEN4 : p->len < POLICY_MIN_LEN6)
        return POLICY_TOO_WIDE;
    if (sk_addr_is_special(&p->addr))
        return POLICY_SPECIAL;
    /* IPv6 prefixes that take in ::ffff:0:0/96 would mean all of IPv4. */
    static const struct sk_prefix mapped = {.addr.b = {[10] = 0xff, [11] = 0xff}, .len = 96};
    return !v4 && sk_prefix_overlaps(p, &mapped) ? POLICY_TOO_WIDE : POLICY_OK;
}

bool policy_rule_width(const struct sk_prefix *p)
{
    return p->len >= (sk_addr_is_v4(&p->addr) ? 96 + POLICY_RULE_LEN4 : POLICY_RULE_LEN6);
}

bool policy_fleet_width(const struct sk_prefix *p)
{
    return p->len >= (sk_addr_is_v4(&p->addr) ? 96 + POLICY_FLEET_LEN4 : POLICY_FLEET_LEN6);
}

static void clean_msg(char *dst, const char *src)
{
    size_t i = 0;
    for (; i < DECIDE_MSG_MAX - 1 && src[i]; i++)
        dst[i] = src[i] >= 0x20 && src[i] < 0x7f ? src[i] : '?';
    memset(dst + i, 0, DECIDE_MSG_MAX - i);
}

static int64_t max_seconds(const struct policy_limits *lim)
{
    return lim->max_seconds > 0 && lim->max_seconds < POLICY_MAX_SECONDS ? lim->max_seconds : POLICY_MAX_SECONDS;
}

enum policy_verdict policy_check(const struct policy_limits *lim, const struct decide_request *in,
                                 struct decide_request *out)
{
    enum policy_verdict v = policy_check_target(&in->target);
    if (v != POLICY_OK)
        return v;
    if (in->seconds < POLICY_MIN_SECONDS)
        return POLICY_BAD_DURATION;
    if (in->evidence_len > DECIDE_EVIDENCE_MAX || in->dropped > 1 || in->to_server > 1 || in->kill > 1 ||
        in->reason >= DECIDE_REASON_COUNT || !identity_valid(&in->identity))
        return POLICY_MALFORMED;
    if (!identity_known(&in->identity))
        return POLICY_UNPROVEN;
    if (in->identity.state == IDENTITY_PROVEN && !sk_prefix_contains(&in->target, &in->identity.client))
        return POLICY_MALFORMED; /* proof of somebody else */
    struct decide_request r = *in;
    int64_t max = max_seconds(lim);
    if (r.seconds > max)
        r.seconds = max;
    memset(r.pad, 0, sizeof r.pad);
    clean_msg(r.msg, in->msg);
    memset(r.evidence + r.evidence_len, 0, (size_t)(DECIDE_EVIDENCE_MAX - r.evidence_len));
    *out = r;
    return POLICY_OK;
}

int64_t policy_grown(const struct policy_limits *lim, int64_t seconds, uint32_t n)
{
    int64_t max = max_seconds(lim), factor = lim->repeat_factor > 1 ? lim->repeat_factor : 1;
    for (; n > 0 && factor > 1 && seconds < max; n--)
        seconds = seconds > max / factor ? max : seconds * factor;
    return seconds < max ? seconds : max;
}
