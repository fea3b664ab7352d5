/* action protocol source port direction destination port */
#include <ctype.h>

#include "parse.h"

static const struct {
    const char *name;
    enum rule_action action;
} actions[] = {{"alert", RULE_ALERT},
               {"pass", RULE_PASS},
               {"drop", RULE_DROP},
               {"reject", RULE_REJECT},
               {"rejectsrc", RULE_REJECT_SRC},
               {"rejectdst", RULE_REJECT_DST},
               {"rejectboth", RULE_REJECT_BOTH}};

static const struct {
    const char *name;
    enum rule_proto proto;
} protos[] = {
    {"ip", RULE_P_IP},     {"ip4", RULE_P_IP4},       {"ipv4", RULE_P_IP4},        {"ip6", RULE_P_IP6},
    {"ipv6", RULE_P_IP6},  {"tcp", RULE_P_TCP},       {"tcp-pkt", RULE_P_TCP_PKT}, {"tcp-stream", RULE_P_TCP_STREAM},
    {"udp", RULE_P_UDP},   {"icmp", RULE_P_ICMP},     {"icmpv4", RULE_P_ICMP4},    {"icmpv6", RULE_P_ICMP6},
    {"sctp", RULE_P_SCTP}, {"pkthdr", RULE_P_PKTHDR}, {"http", RULE_P_HTTP}};

static const char *const later[] = {
    "http1",          "http2",  "dns",  "tls",       "ssl",   "smtp",  "ftp",    "ftp-data", "smb",  "ssh",
    "dcerpc",         "nfs",    "tftp", "krb5",      "ikev2", "ike",   "dhcp",   "snmp",     "sip",  "rfb",
    "mqtt",           "modbus", "dnp3", "enip",      "ntp",   "imap",  "telnet", "rdp",      "quic", "pgsql",
    "bittorrent-dht", "ldap",   "pop3", "websocket", "doh2",  "ether", "arp",    "mdns"};

/* One word; brackets may hold blanks. */
static struct sk_span word(struct rule_parse *p, const char **at)
{
    const char *end = p->text + p->len, *s = *at;
    int level = 0;
    while (s < end && isspace((unsigned char)*s))
        s++;
    const char *q = s;
    for (; q < end; q++) {
        if (*q == '[')
            level++;
        else if (*q == ']')
            level--;
        else if (level <= 0 && (isspace((unsigned char)*q) || *q == '('))
            break;
    }
    *at = q;
    return sk_span_of(s, (uint32_t)(q - s));
}

static int missing(struct rule_parse *p, struct sk_span w, const char *what)
{
    return rule_fail(p, (const char *)w.p,
                     "%s is missing; a rule starts: action protocol source port -> destination port (", what);
}

static int set_action(struct rule_parse *p, struct sk_span w)
{
    for (unsigned i = 0; i < sizeof actions / sizeof *actions; i++)
        if (text_is(w, actions[i].name)) {
            p->r.action = actions[i].action;
            return SK_OK;
        }
    return rule_fail(p, (const char *)w.p, "unknown action '%.*s'", (int)(w.len > 40 ? 40 : w.len), (const char *)w.p);
}

static int set_proto(struct rule_parse *p, struct sk_span w)
{
    if (w.len == 0)
        return missing(p, w, "protocol");
    for (unsigned i = 0; i < sizeof protos / sizeof *protos; i++)
        if (text_is(w, protos[i].name)) {
            p->r.proto = protos[i].proto;
            if (p->r.proto == RULE_P_HTTP)
                p->http_at = (const char *)w.p;
            return SK_OK;
        }
    for (unsigned i = 0; i < sizeof later / sizeof *later; i++)
        if (text_is(w, later[i]))
            return rule_unsupported(p, (const char *)w.p, "protocol '%s' is not supported yet", later[i]);
    return rule_fail(p, (const char *)w.p, "unknown protocol '%.*s'", (int)(w.len > 40 ? 40 : w.len),
                     (const char *)w.p);
}

static int set_direction(struct rule_parse *p, struct sk_span w)
{
    if (text_is(w, "->"))
        return SK_OK;
    if (text_is(w, "<>")) {
        p->r.bidir = true;
        return SK_OK;
    }
    if (text_is(w, "<-"))
        return rule_fail(p, (const char *)w.p,
                         "direction '<-' does not exist; exchange source and destination and write '->'");
    if (text_is(w, "=>"))
        return rule_unsupported(p, (const char *)w.p, "direction '=>' (transactional rules) is not supported yet");
    return rule_fail(p, (const char *)w.p, "direction must be '->' or '<>', not '%.*s'", (int)(w.len > 40 ? 40 : w.len),
                     (const char *)w.p);
}

static int set_side(struct rule_parse *p, struct sk_span addr, struct sk_span port, const struct rule_addr_spec **a,
                    const struct rule_port_spec **s)
{
    if (addr.len == 0)
        return missing(p, addr, "address");
    if (!(*a = rule_addr_parse(p, addr)))
        return SK_EINVAL;
    if (port.len == 0)
        return missing(p, port, "port");
    return (*s = rule_port_parse(p, port)) ? SK_OK : SK_EINVAL;
}

int rule_header(struct rule_parse *p, const char **body)
{
    const char *at = p->text;
    struct sk_span w[7];
    for (unsigned i = 0; i < 7; i++)
        w[i] = word(p, &at);
    int rc = set_action(p, w[0]);
    if (rc == SK_OK)
        rc = set_proto(p, w[1]);
    if (rc == SK_OK)
        rc = set_side(p, w[2], w[3], &p->r.src, &p->r.sport);
    if (rc == SK_OK)
        rc = set_direction(p, w[4]);
    if (rc == SK_OK)
        rc = set_side(p, w[5], w[6], &p->r.dst, &p->r.dport);
    if (rc != SK_OK)
        return rc;
    while (at < p->text + p->len && isspace((unsigned char)*at))
        at++;
    if (at == p->text + p->len || *at != '(')
        return rule_fail(p, at, "expected '(' and options after the header");
    *body = at + 1;
    return SK_OK;
}
