/* Every key: the one place that the reader, --set and the manual page share. */
#include "settings_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/distance.h"

#define S        UINT64_C(1000) /* times are given in ms here */
#define DAY      (86400 * S)
#define YEAR     (365 * DAY)
#define PATH_LEN 4095 /* PATH_MAX without its NUL */

static const char *const never[] = {"never", NULL}, *const any[] = {"any", NULL};
static const char *const scopes[] = {"REGIONAL", "CLOUDFRONT", NULL};
static const char *const kinds[] = {"sns", "webhook", NULL};

#define F(field) offsetof(struct settings, field)
#define T(field) offsetof(struct waf_target, field)
#define O(field) offsetof(struct output_sink, field)

#define ROW(path, type, off, min, max, def, words, help)                                                               \
    {                                                                                                                  \
        path, type, off, min, max, def, words, help, NULL, 0, 0, 0                                                     \
    }

/* clang-format off */
static const struct settings_entry target_fields[] = {
    ROW("scope", SET_WORD, T(scope), 0, 0, "REGIONAL", scopes, "REGIONAL (load balancers, API Gateway) or CLOUDFRONT"),
    ROW("region", SET_BUFFER, T(region), 0, 31, "", NULL,
        "region of the IP sets; CLOUDFRONT is always us-east-1; empty: the one this instance is in"),
    ROW("prefix", SET_BUFFER, T(prefix), 1, 63, "sekisho", NULL, "sets are named PREFIX-v4-0, PREFIX-v4-1 ..., PREFIX-v6-0 ..."),
    ROW("sets-v4", SET_U32, T(sets_v4), 0, WAF_SETS_MAX, "1", NULL, "IP sets for IPv4, of 10,000 addresses each"),
    ROW("sets-v6", SET_U32, T(sets_v6), 0, WAF_SETS_MAX, "1", NULL, "IP sets for IPv6"),
    ROW("create", SET_BOOL, T(create), 0, 0, "no", NULL, "make sets that are missing"),
};
static const struct settings_entry sink_fields[] = {
    ROW("name", SET_BUFFER, O(name), 1, 63, "", NULL, "name of the output, in status and log"),
    ROW("type", SET_WORD, O(kind), 0, 0, "webhook", kinds,
        "sns: Deep Security's JSON to a topic; webhook: JSON by HTTPS POST"),
    ROW("topic", SET_BUFFER, O(topic_arn), 0, 255, "", NULL, "sns: ARN of the topic"),
    ROW("url", SET_BUFFER, O(url), 0, 511, "", NULL, "webhook: where to POST"),
    ROW("secret-file", SET_BUFFER, O(secret_file), 0, 255, "", NULL,
        "webhook: file of the key that signs the body (X-Sekisho-Signature)"),
    ROW("ca-file", SET_BUFFER, O(ca_file), 0, 255, "", NULL, "webhook: CA of its certificate; empty: the system's"),
    ROW("blocks", SET_BOOL, O(blocks), 0, 0, "yes", NULL, "send new blocks and their ends"),
    ROW("events", SET_BOOL, O(events), 0, 0, "yes", NULL, "send alerts"),
    ROW("dry-run", SET_BOOL, O(dry_run), 0, 0, "no", NULL, "log what would be sent, and send nothing"),
};

const struct settings_entry settings_table[] = {
    ROW("listen", SET_TEXT, F(listen), 1, 64, "0.0.0.0:8443", NULL,
        "address and port of the HTTPS interface; [::]:8443 for IPv6"),
    ROW("names", SET_LIST, F(names), 0, 16, "", NULL,
        "DNS names and addresses in the server's certificate: what agents call the manager; none: those of `init --name`, "
        "else this host's name"),
    ROW("state-dir", SET_TEXT, F(state_dir), 1, PATH_LEN, "/var/lib/sekisho-manager", NULL,
        "CA, keys, database; only its owner may read it"),
    ROW("store", SET_TEXT, F(store), 0, 1023, "", NULL,
        "sqlite:PATH or a PostgreSQL connection string (postgresql://..., host=...); empty: manager.db in state-dir"),
    ROW("certificate", SET_TEXT, F(certificate), 0, PATH_LEN, "", NULL,
        "certificate and chain of the server, PEM; empty: made by the manager's own CA, and renewed"),
    ROW("key", SET_TEXT, F(key), 0, PATH_LEN, "", NULL, "key of `certificate`, PEM; nobody else may read it"),

    ROW("agents.retire-after", SET_TIME, F(agents.retire_after), S, 10 * YEAR, "7d", never,
        "an agent that has been silent for so long is retired: it must enrol again"),
    ROW("agents.follow-instances", SET_BOOL, F(agents.follow_instances), 0, 0, "no", NULL,
        "an agent whose EC2 instance (of its identity document) is terminated is retired; needs ec2:DescribeInstances"),
    ROW("agents.cert-lifetime", SET_TIME, F(agents.cert_lifetime), 60 * S, 10 * YEAR, "30d", NULL,
        "certificates of agents; renewed from two thirds on"),
    ROW("agents.heartbeat", SET_TIME, F(agents.heartbeat), S, 3600 * S, "30s", NULL, "how often agents report"),
    ROW("agents.max-block", SET_TIME, F(agents.max_block), S, YEAR, "7d", NULL, "longest block that is taken from an agent"),
    ROW("agents.max-blocks", SET_U32, F(agents.max_blocks), 1, 1000000, "100000", NULL,
        "blocks, and later ends of them, that are taken from one agent in a day; more are refused, and stay that host's own"),

    ROW("limits.connections", SET_U32, F(limits.connections), 1, 1000000, "16384", NULL,
        "open connections in all; a host has two"),
    ROW("limits.per-address", SET_U32, F(limits.per_address), 1, 1000000, "512", NULL, "open connections of one address"),
    ROW("limits.agent-rate", SET_U32, F(limits.agent_rate), 1, 1000000, "20", NULL,
        "requests a second of one agent; ten times that at once"),
    ROW("limits.address-rate", SET_U32, F(limits.address_rate), 1, 1000000, "200", NULL,
        "requests a second of one address; ten times that at once"),

    ROW("never", SET_PREFIXES, F(never), 0, SETTINGS_LIST_MAX, "", NULL,
        "addresses and networks of which no block is taken, from nobody: load balancers, offices, monitoring"),

    ROW("identity.certificates", SET_TEXT, F(identity.certificates), 0, PATH_LEN, "", NULL,
        "file of the regional certificates of AWS with which instance identity documents are verified"),
    ROW("identity.required", SET_BOOL, F(identity.required), 0, 0, "no", NULL,
        "who enrols must show the identity document of an instance"),
    ROW("identity.accounts", SET_LIST, F(identity.accounts), 0, SETTINGS_WORDS_MAX, "", NULL,
        "AWS accounts whose instances may enrol; none: any"),
    ROW("identity.regions", SET_LIST, F(identity.regions), 0, SETTINGS_WORDS_MAX, "", NULL,
        "regions whose instances may enrol; none: any"),
    ROW("identity.max-age", SET_TIME, F(identity.max_age), S, 10 * YEAR, "1d", any,
        "how long after its start an instance may enrol"),

    ROW("waf.enabled", SET_BOOL, F(waf.enabled), 0, 0, "no", NULL, "write what the fleet blocks into IP sets of AWS WAF"),
    ROW("waf.dry-run", SET_BOOL, F(waf.dry_run), 0, 0, "no", NULL, "read and compare, but write nothing"),
    {"waf.targets", SET_RECORDS, F(waf.targets), 0, SETTINGS_RECORDS_MAX, "", NULL, "where to: one entry a scope and region",
     target_fields, sizeof(target_fields) / sizeof(target_fields[0]), sizeof(struct waf_target), F(waf.ntargets)},
    ROW("waf.aggregate-v4", SET_U32, F(waf.aggregate_v4), 0, 32, "24", NULL,
        "when IPv4 does not fit: widest prefix that neighbours may be put together to; 0: they are not"),
    ROW("waf.aggregate-v6", SET_U32, F(waf.aggregate_v6), 0, 128, "64", NULL, "the same for IPv6"),
    ROW("waf.never", SET_PREFIXES, F(waf.never), 0, SETTINGS_LIST_MAX, "", NULL,
        "never written to AWS WAF, whoever blocks it; beside `never`"),
    ROW("waf.write-gap", SET_TIME, F(waf.write_gap), 0, 60 * S, "1s", NULL,
        "least time between writes; AWS allows one a second for the account and region"),
    ROW("waf.coalesce", SET_TIME, F(waf.coalesce), 0, 60 * S, "200ms", NULL, "how long an addition waits for others"),
    ROW("waf.read-back", SET_TIME, F(waf.read_back), S, DAY, "5m", NULL, "how often a set is read in which nothing changes"),
    ROW("waf.capacity", SET_U32, F(waf.capacity), 1, WAFV2_SET_MAX, "10000", NULL, "addresses of a set"),

    ROW("aws.endpoint", SET_TEXT, F(aws.endpoint), 0, 511, "", NULL, "URL of all services instead of AWS's own"),
    ROW("aws.imds", SET_TEXT, F(aws.imds), 0, 511, "", NULL, "URL of the instance metadata; empty: http://169.254.169.254"),
    ROW("aws.profile", SET_TEXT, F(aws.profile), 0, 127, "", NULL, "of the shared credentials file; empty: AWS_PROFILE or default"),
    ROW("aws.ca-file", SET_TEXT, F(aws.ca_file), 0, PATH_LEN, "", NULL, "CAs of the services; empty: the system's"),
    ROW("aws.timeout", SET_TIME, F(aws.timeout), 100, 300 * S, "10s", NULL, "of one call"),

    {"outputs", SET_RECORDS, F(outputs), 0, SETTINGS_RECORDS_MAX, "", NULL, "who is told of events and blocks",
     sink_fields, sizeof(sink_fields) / sizeof(sink_fields[0]), sizeof(struct output_sink), F(noutputs)},

    ROW("keep.events", SET_TIME, F(keep.events), 60 * S, 10 * YEAR, "30d", NULL, "events are kept for so long"),
    ROW("keep.events-most", SET_U32, F(keep.events_most), 1000, 1000000000, "1000000", NULL,
        "events in all; the oldest go first"),
    ROW("keep.blocks", SET_TIME, F(keep.blocks), 60 * S, 10 * YEAR, "90d", NULL, "blocks that have ended"),
    ROW("keep.audit", SET_TIME, F(keep.audit), 60 * S, 10 * YEAR, "365d", NULL, "audit log"),
    ROW("keep.agents", SET_TIME, F(keep.agents), 60 * S, 10 * YEAR, "90d", NULL, "agents that are retired or revoked"),
};
/* clang-format on */
const unsigned settings_table_len = sizeof(settings_table) / sizeof(settings_table[0]);

const struct settings_entry *settings_find(const struct settings_entry *t, unsigned n, const char *path)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(t[i].path, path) == 0)
            return &t[i];
    return NULL;
}

bool settings_is_section(const char *path)
{
    size_t len = strlen(path);
    for (unsigned i = 0; i < settings_table_len; i++)
        if (strncmp(settings_table[i].path, path, len) == 0 && settings_table[i].path[len] == '.')
            return true;
    return false;
}

/* Its distance from a known path: the key's own name in a wrong section is nearer than any typing error but one. */
static unsigned far_from(const char *known, const char *path)
{
    const char *dot = strrchr(known, '.'), *mine = strrchr(path, '.');
    const char *last = dot != NULL ? dot + 1 : known, *name = mine != NULL ? mine + 1 : path;
    return strcmp(last, name) == 0 ? 1 : sk_distance(known, path);
}

const char *settings_suggest(const struct settings_entry *t, unsigned n, const char *path, char *buf)
{
    const char *result = NULL;
    unsigned best = (unsigned)strlen(path) / 3 + 2; /* farther is no likeness */
    for (unsigned i = 0; i < n; i++) {
        char section[SETTINGS_KEY_MAX];
        size_t len = strcspn(t[i].path, ".");
        memcpy(section, t[i].path, len);
        section[len] = '\0';
        bool top = strchr(path, '.') == NULL && t[i].path[len] == '.';
        if (top && sk_distance(section, path) < best) {
            best = sk_distance(section, path);
            result = strcpy(buf, section);
        }
        if (far_from(t[i].path, path) < best) {
            best = far_from(t[i].path, path);
            result = strcpy(buf, t[i].path);
        }
    }
    return result;
}

static void time_text(uint64_t ms, char *buf)
{
    if (ms % S != 0)
        snprintf(buf, 32, "%" PRIu64 "ms", ms);
    else
        sk_duration_format((int64_t)(ms / S), buf);
}

static void allowed_time(const struct settings_entry *e, char *buf, size_t cap)
{
    char from[32], to[32];
    time_text(e->min, from);
    time_text(e->max, to);
    snprintf(buf, cap, "a time, %s..%s%s%s", from, to, e->words != NULL ? ", or " : "",
             e->words != NULL ? e->words[0] : "");
}

const char *settings_allowed(const struct settings_entry *e, char *buf, size_t cap)
{
    switch (e->type) {
    case SET_BOOL: snprintf(buf, cap, "yes or no"); break;
    case SET_U32: snprintf(buf, cap, "a number, %" PRIu64 "..%" PRIu64, e->min, e->max); break;
    case SET_TIME: allowed_time(e, buf, cap); break;
    case SET_TEXT:
    case SET_BUFFER: snprintf(buf, cap, "a text of %" PRIu64 "..%" PRIu64 " characters", e->min, e->max); break;
    case SET_WORD: snprintf(buf, cap, "%s or %s", e->words[0], e->words[1]); break;
    case SET_LIST: snprintf(buf, cap, "a list of at most %" PRIu64, e->max); break;
    case SET_PREFIXES: snprintf(buf, cap, "a list of at most %" PRIu64 " addresses and networks", e->max); break;
    case SET_RECORDS: snprintf(buf, cap, "a list of at most %" PRIu64 " entries", e->max); break;
    }
    return buf;
}

void settings_describe(void (*fn)(void *arg, const struct settings_key *k), void *arg)
{
    for (unsigned i = 0; i < settings_table_len; i++) {
        const struct settings_entry *e = &settings_table[i];
        struct settings_key k = {.path = e->path, .def = e->def, .help = e->help};
        settings_allowed(e, k.allowed, sizeof(k.allowed));
        fn(arg, &k);
        for (unsigned f = 0; f < e->nfields; f++) {
            char path[2 * SETTINGS_KEY_MAX];
            snprintf(path, sizeof(path), "%s[].%s", e->path, e->fields[f].path);
            k = (struct settings_key){.path = path, .def = e->fields[f].def, .help = e->fields[f].help};
            settings_allowed(&e->fields[f], k.allowed, sizeof(k.allowed));
            fn(arg, &k);
        }
    }
}
