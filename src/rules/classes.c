/* Classifications: the built-in table and classification.config. */
#include "parse.h"

/* Names, texts and priorities as Suricata's and ET Open's classification.config have them. */
static const struct class_entry builtin[] = {
    {"not-suspicious", "Not Suspicious Traffic", 3},
    {"unknown", "Unknown Traffic", 3},
    {"bad-unknown", "Potentially Bad Traffic", 2},
    {"attempted-recon", "Attempted Information Leak", 2},
    {"successful-recon-limited", "Information Leak", 2},
    {"successful-recon-largescale", "Large Scale Information Leak", 2},
    {"attempted-dos", "Attempted Denial of Service", 2},
    {"successful-dos", "Denial of Service", 2},
    {"attempted-user", "Attempted User Privilege Gain", 1},
    {"unsuccessful-user", "Unsuccessful User Privilege Gain", 1},
    {"successful-user", "Successful User Privilege Gain", 1},
    {"attempted-admin", "Attempted Administrator Privilege Gain", 1},
    {"successful-admin", "Successful Administrator Privilege Gain", 1},
    {"rpc-portmap-decode", "Decode of an RPC Query", 2},
    {"shellcode-detect", "Executable code was detected", 1},
    {"string-detect", "A suspicious string was detected", 3},
    {"suspicious-filename-detect", "A suspicious filename was detected", 2},
    {"suspicious-login", "An attempted login using a suspicious username was detected", 2},
    {"system-call-detect", "A system call was detected", 2},
    {"tcp-connection", "A TCP connection was detected", 4},
    {"trojan-activity", "A Network Trojan was detected", 1},
    {"unusual-client-port-connection", "A client was using an unusual port", 2},
    {"network-scan", "Detection of a Network Scan", 3},
    {"denial-of-service", "Detection of a Denial of Service Attack", 2},
    {"non-standard-protocol", "Detection of a non-standard protocol or event", 2},
    {"protocol-command-decode", "Generic Protocol Command Decode", 3},
    {"web-application-activity", "access to a potentially vulnerable web application", 2},
    {"web-application-attack", "Web Application Attack", 1},
    {"misc-activity", "Misc activity", 3},
    {"misc-attack", "Misc Attack", 2},
    {"icmp-event", "Generic ICMP event", 3},
    {"policy-violation", "Potential Corporate Privacy Violation", 1},
    {"default-login-attempt", "Attempt to login by a default username and password", 2},
    {"targeted-activity", "Targeted Malicious Activity was Detected", 1},
    {"exploit-kit", "Exploit Kit Activity Detected", 1},
    {"external-ip-check", "Device Retrieving External IP Address Detected", 2},
    {"domain-c2", "Domain Observed Used for C2 Detected", 1},
    {"pup-activity", "Possibly Unwanted Program Detected", 2},
    {"credential-theft", "Successful Credential Theft Detected", 1},
    {"social-engineering", "Possible Social Engineering Attempted", 2},
    {"coin-mining", "Crypto Currency Mining Activity Detected", 2},
    {"command-and-control", "Malware Command and Control Activity Detected", 1},
};

static int put(struct rule_loader *l, const struct class_entry *e)
{
    return intern_put(&l->classes, sk_span_str(e->name), (void *)(uintptr_t)e) ? SK_OK : SK_ENOMEM;
}

int rule_classes_builtin(struct rule_loader *l)
{
    for (unsigned i = 0; i < sizeof builtin / sizeof *builtin; i++)
        if (put(l, &builtin[i]) != SK_OK)
            return SK_ENOMEM;
    return SK_OK;
}

const struct class_entry *rule_class_find(struct rule_loader *l, struct sk_span name)
{
    return intern_get(&l->classes, name);
}

static int bad(struct rule_loader *l, const char *name, uint32_t line, const char *why)
{
    sk_diag(&l->sink, SK_DIAG_ERROR, name, line, 1, "%s", why);
    return SK_EINVAL;
}

/* "config classification: short,text,priority" */
static int class_line(struct rule_loader *l, const char *name, uint32_t line, struct sk_span s)
{
    static const char lead[] = "config classification:";
    struct sk_span shortname, text, prio;
    uint64_t v;
    if (s.len < sizeof lead - 1 || memcmp(s.p, lead, sizeof lead - 1) != 0)
        return bad(l, name, line, "expected 'config classification: name,text,priority'");
    s = sk_span_of(s.p + sizeof lead - 1, s.len - (uint32_t)sizeof lead + 1);
    if (!text_next(&s, ',', &shortname) || !text_next(&s, ',', &text) || !text_next(&s, ',', &prio) ||
        shortname.len == 0 || !text_dec(prio, 255, &v) || v == 0)
        return bad(l, name, line, "classification needs a name, a text and a priority from 1 to 255");
    struct class_entry *e = sk_arena_alloc(l->arena, sizeof *e);
    struct sk_span n = sk_arena_copy(l->arena, shortname), t = sk_arena_copy(l->arena, text);
    if (!e || !n.p || !t.p)
        return SK_ENOMEM;
    *e = (struct class_entry){.name = (const char *)n.p, .text = (const char *)t.p, .priority = (uint8_t)v};
    return put(l, e);
}

int rule_loader_classification(struct rule_loader *l, const char *name, const char *text, size_t len)
{
    struct sk_span rest = sk_span_of(text, (uint32_t)len), raw;
    int rc = SK_OK;
    intern_free(&l->classes);
    for (uint32_t line = 1; rc != SK_ENOMEM && text_next(&rest, '\n', &raw); line++) {
        if (raw.len == 0 || raw.p[0] == '#')
            continue;
        int one = class_line(l, name, line, raw);
        if (one != SK_OK)
            rc = one;
    }
    return rc;
}
