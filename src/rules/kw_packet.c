/* Fields of packets: numbers, flags, options. */
#include <ctype.h>

#include "parse.h"

static uint64_t largest(enum rule_match_type t)
{
    return t == RM_DSIZE || t == RM_TCP_MSS ? UINT16_MAX : 255;
}

static struct draft_match *packet_match(struct rule_parse *p)
{
    return rule_add_match(p, (enum rule_match_type)p->kw->arg, -1);
}

/* N, !N, <N, >N, MIN<>MAX */
int kw_number(struct rule_parse *p)
{
    uint64_t max = largest((enum rule_match_type)p->kw->arg);
    struct rule_num n;
    bool neg;
    if (!text_num(p->val, max, &n, &neg))
        return rule_fail(p, p->val_at, "%s takes N, !N, <N, <=N, >N, >=N or MIN<>MAX with numbers up to %llu",
                         p->kw->name, (unsigned long long)max);
    struct draft_match *d = packet_match(p);
    if (!d)
        return SK_EINVAL;
    d->m.num.n = n;
    d->m.num.negated = neg;
    return SK_OK;
}

/* N or !N */
int kw_value(struct rule_parse *p)
{
    enum rule_match_type t = (enum rule_match_type)p->kw->arg;
    uint64_t max = t == RM_TCP_SEQ || t == RM_TCP_ACK ? UINT32_MAX : t == RM_TOS ? 255 : UINT16_MAX, v;
    bool neg = p->val.p[0] == '!';
    struct sk_span s = neg ? text_trim(sk_span_of(p->val.p + 1, p->val.len - 1)) : p->val;
    if (t == RM_TOS && s.len > 1 && (s.p[0] | 0x20) == 'x') {
        char hex[8] = "0x";
        memcpy(hex + 2, s.p + 1, s.len > 5 ? 4 : s.len - 1);
        if (s.len > 5 || !text_u64(sk_span_str(hex), max, &v))
            return rule_fail(p, p->val_at, "%s takes N or !N up to %llu", p->kw->name, (unsigned long long)max);
    } else if (!text_u64(s, max, &v)) {
        return rule_fail(p, p->val_at, "%s takes N or !N up to %llu", p->kw->name, (unsigned long long)max);
    }
    struct draft_match *d = packet_match(p);
    if (!d)
        return SK_EINVAL;
    d->m.value.value = (uint32_t)v;
    d->m.value.negated = neg;
    return SK_OK;
}

int kw_ip_proto(struct rule_parse *p)
{
    static const struct {
        const char *name;
        uint8_t num;
    } names[] = {{"icmp", 1},   {"igmp", 2},      {"ggp", 3},         {"ipencap", 4}, {"ipip", 4},
                 {"tcp", 6},    {"egp", 8},       {"igp", 9},         {"udp", 17},    {"dccp", 33},
                 {"ipv6", 41},  {"rsvp", 46},     {"gre", 47},        {"esp", 50},    {"ipsec-esp", 50},
                 {"ah", 51},    {"ipsec-ah", 51}, {"ipv6-icmp", 58},  {"icmp6", 58},  {"icmpv6", 58},
                 {"eigrp", 88}, {"ospf", 89},     {"pim", 103},       {"vrrp", 112},  {"l2tp", 115},
                 {"sctp", 132}, {"udplite", 136}, {"mpls-in-ip", 137}};
    struct rule_num n = {.op = RULE_EQ};
    bool neg = false;
    if (!text_num(p->val, 255, &n, &neg)) {
        struct sk_span s = p->val;
        unsigned i = 0, count = sizeof names / sizeof *names;
        if (s.p[0] == '!') {
            n.op = RULE_NE;
            s = text_trim(sk_span_of(s.p + 1, s.len - 1));
        }
        while (i < count && !text_is(s, names[i].name))
            i++;
        if (i == count)
            return rule_fail(p, p->val_at, "ip_proto '%.*s' is neither a number up to 255 nor a known protocol",
                             (int)p->val.len, (const char *)p->val.p);
        n.a = names[i].num;
    }
    struct draft_match *d = packet_match(p);
    if (!d)
        return SK_EINVAL;
    d->m.num.n = n;
    d->m.num.negated = neg;
    return SK_OK;
}

int kw_sameip(struct rule_parse *p)
{
    return packet_match(p) ? SK_OK : SK_EINVAL;
}

static bool flag_bits(struct sk_span s, uint8_t *bits)
{
    static const char letters[] = "FSRPAUEC";
    *bits = 0;
    for (uint32_t i = 0; i < s.len; i++) {
        char c = (char)toupper(s.p[i]);
        if (c == '0' && s.len == 1)
            return true;
        if (c == '1')
            c = 'C';
        if (c == '2')
            c = 'E';
        const char *q = strchr(letters, c);
        if (!q || !*q)
            return false;
        *bits |= (uint8_t)(1u << (q - letters));
    }
    return s.len > 0;
}

/* [!+*]FLAGS[,IGNORED]; the modifier may stand at either end */
int kw_tcp_flags(struct rule_parse *p)
{
    struct sk_span rest = p->val, f, mask;
    struct rule_tcp_flags t = {0};
    (void)text_next(&rest, ',', &f);
    if (f.len > 1 && strchr("!+*", f.p[0])) {
        t.mod = (char)f.p[0];
        f = text_trim(sk_span_of(f.p + 1, f.len - 1));
    } else if (f.len > 1 && strchr("!+*", f.p[f.len - 1])) {
        t.mod = (char)f.p[f.len - 1];
        f = text_trim(sk_span_of(f.p, f.len - 1));
    }
    bool ok = flag_bits(f, &t.flags);
    if (ok && text_next(&rest, ',', &mask))
        ok = flag_bits(mask, &t.ignore) && !rest.p;
    if (!ok)
        return rule_fail(
            p, p->val_at,
            "flags takes letters of FSRPAUEC12 or 0, with ! + or * before them, and ',' and flags to ignore");
    struct draft_match *d = packet_match(p);
    if (!d)
        return SK_EINVAL;
    d->m.tcp_flags = t;
    return SK_OK;
}

int kw_fragbits(struct rule_parse *p)
{
    struct rule_fragbits f = {0};
    for (uint32_t i = 0; i < p->val.len; i++) {
        char c = (char)toupper(p->val.p[i]);
        if (strchr("!+*", c) && !f.mod)
            f.mod = c;
        else if (c == 'M' || c == 'D' || c == 'R')
            f.bits |= c == 'M' ? 1 : c == 'D' ? 2 : 4;
        else
            return rule_fail(p, p->val_at, "fragbits takes letters of MDR, with ! + or * before them");
    }
    if (!f.bits)
        return rule_fail(p, p->val_at, "fragbits names no bit");
    struct draft_match *d = packet_match(p);
    if (!d)
        return SK_EINVAL;
    d->m.fragbits = f;
    return SK_OK;
}

/* [!<>]N */
int kw_fragoffset(struct rule_parse *p)
{
    struct rule_num n;
    bool neg;
    if (!text_num(p->val, UINT16_MAX, &n, &neg) || n.op == RULE_RANGE)
        return rule_fail(p, p->val_at, "fragoffset takes N, !N, <N or >N");
    struct draft_match *d = packet_match(p);
    if (!d)
        return SK_EINVAL;
    d->m.num.n = n;
    d->m.num.negated = neg;
    return SK_OK;
}

int kw_ipopts(struct rule_parse *p)
{
    static const char *const names[] = {"rr",   "lsrr",  "eol", "nop", "ts",    "sec",   "esec",
                                        "ssrr", "satid", "any", "qs",  "cipso", "rtralt"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (text_is(p->val, names[i])) {
            struct draft_match *d = packet_match(p);
            if (!d)
                return SK_EINVAL;
            d->m.name.name = names[i];
            return SK_OK;
        }
    return rule_fail(p, p->val_at, "unknown IP option '%.*s'", (int)p->val.len, (const char *)p->val.p);
}

int kw_event(struct rule_parse *p)
{
    for (uint32_t i = 0; i < p->val.len; i++)
        if (!isalnum(p->val.p[i]) && !strchr("._-", p->val.p[i]))
            return rule_fail(p, p->val_at, "'%.*s' is not the name of an event", (int)p->val.len,
                             (const char *)p->val.p);
    struct draft_match *d = packet_match(p);
    if (!d || !(d->m.name.name = rule_strdup(p, p->val)))
        return SK_EINVAL;
    return SK_OK;
}
