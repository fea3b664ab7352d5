/*
 * An alert, a flood or a block as Deep Security's "PayloadLog" (intrusion prevention), names and types as in its
 * documentation "Events in JSON format". All fields that its published firewall sample has are there, so that readers
 * that take one for granted find it; what is not known here is 0 or "".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "output_priv.h"
#include "pki/pki.h"

enum { DS_DENY = 1, DS_LOG_ONLY = 6 };

static const char *text_at(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

static json_int_t number_at(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void put_text(json_t *o, const char *key, const char *s)
{
    json_object_set_new(o, key, json_string(s));
}

static void put_number(json_t *o, const char *key, json_int_t n)
{
    json_object_set_new(o, key, json_integer(n));
}

/* A number that stands for a name: always the same, 31 bits. */
static json_int_t number_of(const char *name)
{
    char hex[65];
    pki_hash_text(name, strlen(name), hex);
    hex[8] = '\0';
    return (json_int_t)(strtoul(hex, NULL, 16) & 0x7fffffff);
}

/* "2016-08-04T01:07:17.080Z" */
static void put_date(json_t *o, int64_t ms)
{
    char day[40], buf[64];
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    if (ms < 0 || gmtime_r(&s, &tm) == NULL || strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        day[0] = '\0';
    snprintf(buf, sizeof(buf), "%s.%03dZ", day, (int)(ms % 1000));
    put_text(o, "LogDate", buf);
    put_number(o, "DriverTime", ms * 1000);
}

/* EVE's 1 is the worst, Deep Security's 4. */
static json_int_t severity_of(const json_t *alert)
{
    json_int_t n = number_at(alert, "severity");
    return n >= 1 && n <= 3 ? 5 - n : 1;
}

static void put_action(json_t *o, int action, json_int_t severity)
{
    put_number(o, "Action", action);
    put_text(o, "ActionString", action == DS_DENY ? "Deny" : "Log Only");
    put_number(o, "Severity", severity);
    put_number(o, "Rank", severity); /* of a host whose asset value is 1 */
}

static const char *group_name(const struct store_agent *a, char *buf, size_t cap)
{
    json_t *tags = json_loads(a->tags[0] != '\0' ? a->tags : "{}", 0, NULL);
    const char *group = text_at(tags, "group");
    snprintf(buf, cap, "%s", group[0] != '\0' ? group : a->region[0] != '\0' ? a->region : "Sekisho");
    json_decref(tags);
    return buf;
}

static void put_host(json_t *o, const struct store_agent *a)
{
    char buf[STORE_TEXT_MAX];
    put_text(o, "Hostname", a->host[0] != '\0' ? a->host : a->id[0] != '\0' ? a->id : "sekisho-manager");
    put_number(o, "HostID", number_of(a->id));
    put_text(o, "HostAgentVersion", a->version);
    put_text(o, "HostAgentGUID", a->id);
    put_number(o, "HostAssetValue", 1);
    put_text(o, "HostCloudType", a->instance[0] != '\0' ? "amazon" : "");
    put_text(o, "HostInstanceID", a->instance);
    put_text(o, "HostOwnerID", a->account);
    put_text(o, "HostOS", "Linux");
    put_text(o, "HostLastIPUsed", a->address);
    put_text(o, "HostGroupName", group_name(a, buf, sizeof(buf)));
    put_number(o, "HostGroupID", number_of(buf));
    put_number(o, "HostSecurityPolicyID", a->policy_version);
    if (a->policy_version > 0)
        snprintf(buf, sizeof(buf), "Sekisho policy %lld", (long long)a->policy_version);
    else
        snprintf(buf, sizeof(buf), "Sekisho, local configuration");
    put_text(o, "HostSecurityPolicyName", buf);
}

static void put_common(json_t *o, const struct store_agent *a, int64_t id, int64_t ms)
{
    put_text(o, "EventType", "PayloadLog");
    put_number(o, "EventID", id);
    put_date(o, ms);
    put_host(o, a);
    put_number(o, "TenantID", 0);
    put_text(o, "TenantName", "Primary");
    put_number(o, "Origin", 0);
    put_text(o, "OriginString", "Agent");
    put_text(o, "Tags", "");
    put_number(o, "Status", 0);
    put_text(o, "Flags", "");
    put_number(o, "PacketSize", 0);
    put_text(o, "SourceMAC", "");
    put_text(o, "DestinationMAC", "");
}

static int protocol_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"TCP", 6}, {"UDP", 17}, {"ICMP", 1}, {"IPv6-ICMP", 58}, {"SCTP", 132}, {"GRE", 47}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcasecmp(known[i].name, name) == 0)
            return known[i].number;
    return 0;
}

/* An address may be a prefix, as blocks have it. */
static void put_packet(json_t *o, const char *src, json_int_t sport, const char *dst, json_int_t dport,
                       const char *proto, bool outgoing)
{
    bool v6 = strchr(src, ':') != NULL;
    put_text(o, "SourceIP", src);
    put_number(o, "SourcePort", sport);
    put_text(o, "DestinationIP", dst);
    put_number(o, "DestinationPort", dport);
    put_number(o, "Protocol", protocol_number(proto));
    put_text(o, "ProtocolString", proto);
    put_number(o, "Frame", v6 ? 0x86dd : 0x0800);
    put_text(o, "FrameString", v6 ? "IPv6" : "IP");
    put_number(o, "Direction", outgoing);
    put_text(o, "DirectionString", outgoing ? "Outgoing" : "Incoming");
    put_number(o, "Flow", outgoing);
    put_text(o, "FlowString", outgoing ? "Reverse Flow" : "Connection Flow");
}

static void put_alert(json_t *o, const json_t *e)
{
    const json_t *alert = json_object_get(e, "alert");
    bool blocked = strcmp(text_at(alert, "action"), "blocked") == 0;
    put_action(o, blocked ? DS_DENY : DS_LOG_ONLY, severity_of(alert));
    put_text(o, "Reason", text_at(alert, "signature"));
    put_packet(o, text_at(e, "src_ip"), number_at(e, "src_port"), text_at(e, "dest_ip"), number_at(e, "dest_port"),
               text_at(e, "proto"), strcmp(text_at(e, "direction"), "to_client") == 0);
    put_text(o, "Interface", text_at(e, "in_iface"));
    put_number(o, "RepeatCount", 1);
    put_number(o, "SekishoSignatureID", number_at(alert, "signature_id"));
    if (json_is_string(json_object_get(e, "xff"))) /* the proven client behind a load balancer */
        put_text(o, "SekishoClientIP", text_at(e, "xff"));
}

static void put_flood(json_t *o, const json_t *e, const struct store_agent *a)
{
    const json_t *flood = json_object_get(e, "flood");
    put_action(o, strcmp(text_at(flood, "action"), "block") == 0 ? DS_DENY : DS_LOG_ONLY, 3);
    put_text(o, "Reason", "Flood of connections and requests");
    put_packet(o, text_at(flood, "prefix"), 0, a->address, 0, "", false);
    put_text(o, "Interface", "");
    put_number(o, "RepeatCount", 1);
}

static void put_block(json_t *o, const json_t *item, const struct store_agent *a)
{
    put_action(o, DS_DENY, 4);
    put_text(o, "Reason", text_at(item, "reason"));
    put_packet(o, text_at(item, "target"), 0, a->address, 0, "", false);
    put_text(o, "Interface", "");
    put_number(o, "RepeatCount", 1 + number_at(item, "repeat"));
    put_number(o, "SekishoSignatureID", number_at(item, "sid"));
    put_text(o, "SekishoBlockID", text_at(item, "id"));
    put_number(o, "SekishoBlockEnds", number_at(item, "expires_ms"));
}

json_t *deep_security_event(const struct store_agent *a, const json_t *item, int64_t id)
{
    const char *type = text_at(item, "type"), *event = text_at(json_object_get(item, "event"), "event_type");
    bool block = strcmp(type, "block") == 0, flood = strcmp(event, "flood") == 0;
    if (!block && !(strcmp(type, "event") == 0 && (flood || strcmp(event, "alert") == 0)))
        return NULL;
    json_t *o = json_object();
    if (o == NULL)
        return NULL;
    put_common(o, a, id, number_at(item, block ? "created_ms" : "time_ms"));
    if (block)
        put_block(o, item, a);
    else if (flood)
        put_flood(o, json_object_get(item, "event"), a);
    else
        put_alert(o, json_object_get(item, "event"));
    return o;
}

int output_deep_security(const struct store_agent *agent, const char *item_json, int64_t id, char **out)
{
    *out = NULL;
    json_t *item = json_loads(item_json, 0, NULL);
    json_t *event = json_is_object(item) ? deep_security_event(agent, item, id) : NULL;
    json_t *list = event != NULL ? json_pack("[o]", event) : NULL;
    int rc = event == NULL ? SK_EINVAL : list == NULL ? SK_ENOMEM : SK_OK;
    if (rc == SK_OK && (*out = json_dumps(list, JSON_COMPACT)) == NULL)
        rc = SK_ENOMEM;
    json_decref(list);
    json_decref(item);
    return rc;
}
