/* The parts of an EVE object that belong to one type of event. */
#include <netinet/in.h>
#include <stdio.h>
#include "base/clock.h"
#include "identity/identity.h"
#include "object.h"

#define TRAFFIC_ID    "traffic/id/"
#define TRAFFIC_LABEL "traffic/label/"

/* tcp flag bits in the header's order, with EVE's names */
static const struct {
    uint8_t bit;
    const char *name;
} tcp_flag_names[] = {
    {0x02, "syn"}, {0x01, "fin"}, {0x04, "rst"}, {0x08, "psh"},
    {0x10, "ack"}, {0x20, "urg"}, {0x40, "ecn"}, {0x80, "cwr"},
};

static void write_endpoint(struct writer *w, json_t *alert, const char *key, const struct sk_addr *a, uint16_t port)
{
    json_t *o = put_object(w, alert, key);
    put_addr(w, o, "ip", a);
    if (w->r->has & EVENT_HAS_PORTS)
        put_int(w, o, "port", port);
}

/* `target` says which side is attacked; the other one is the source of the attack. */
static void write_target(struct writer *w, json_t *alert)
{
    const struct event_rec *r = w->r;
    if (r->alert.target == EVENT_TARGET_NONE)
        return;
    bool src = r->alert.target == EVENT_TARGET_SRC;
    write_endpoint(w, alert, "source", src ? &r->dst : &r->src, src ? r->dport : r->sport);
    write_endpoint(w, alert, "target", src ? &r->src : &r->dst, src ? r->sport : r->dport);
}

static void add_meta(struct writer *w, json_t *alert, struct sk_span key, struct sk_span value)
{
    char k[128];
    snprintf(k, sizeof(k), "%.*s", (int)(key.len < sizeof(k) ? key.len : sizeof(k) - 1), (const char *)key.p);
    json_t *check = json_string(k); /* refuses what is not UTF-8 */
    if (check == NULL)
        return;
    json_decref(check);
    json_t *meta = json_object_get(alert, "metadata");
    if (meta == NULL)
        meta = put_object(w, alert, "metadata");
    append(w, put_array(w, meta, k), event_json_bytes(value));
}

static void write_rule_items(struct writer *w, json_t *alert)
{
    uint32_t pos = 0;
    enum event_item id;
    struct sk_span s, key = {0};
    while (event_next_item(w->r, &pos, &id, &s)) {
        if (id == EVENT_I_META_KEY)
            key = s;
        else if (id == EVENT_I_META_VALUE && key.len > 0)
            add_meta(w, alert, key, s);
        else if (id == EVENT_I_REFERENCE)
            append(w, put_array(w, alert, "references"), event_json_bytes(s));
    }
}

void write_alert(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    json_t *o = put_object(w, root, "alert");
    put_str(w, o, "action", r->flags & EVENT_F_BLOCKED ? "blocked" : "allowed");
    put_int(w, o, "gid", r->alert.gid);
    put_int(w, o, "signature_id", r->alert.sid);
    put_int(w, o, "rev", r->alert.rev);
    put_item(w, o, "signature", EVENT_I_SIGNATURE);
    struct sk_span s;
    if (event_find_item(r, EVENT_I_CATEGORY, &s))
        put_span(w, o, "category", s);
    else
        put_str(w, o, "category", "");
    put_int(w, o, "severity", r->alert.severity);
    put_item(w, o, "xff", EVENT_I_XFF);
    write_target(w, o);
    write_rule_items(w, o);
}

void write_http(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    json_t *o = put_object(w, root, "http");
    put_item(w, o, "hostname", EVENT_I_HTTP_HOST);
    if (r->http.port != 0)
        put_int(w, o, "http_port", r->http.port);
    put_item(w, o, "url", EVENT_I_HTTP_URL);
    put_item(w, o, "http_user_agent", EVENT_I_HTTP_USER_AGENT);
    put_item(w, o, "http_content_type", EVENT_I_HTTP_CONTENT_TYPE);
    put_item(w, o, "xff", EVENT_I_HTTP_XFF);
    put_item(w, o, "http_refer", EVENT_I_HTTP_REFERER);
    put_item(w, o, "http_method", EVENT_I_HTTP_METHOD);
    put_item(w, o, "protocol", EVENT_I_HTTP_PROTOCOL);
    if (r->has & EVENT_HAS_STATUS)
        put_int(w, o, "status", r->http.status);
    put_item(w, o, "status_string", EVENT_I_HTTP_STATUS_STRING);
    put_item(w, o, "redirect", EVENT_I_HTTP_REDIRECT);
    if (r->has & EVENT_HAS_LENGTH)
        put_int(w, o, "length", r->http.length);
}

void write_file(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    json_t *o = put_object(w, root, "fileinfo");
    put_item(w, o, "filename", EVENT_I_FILE_NAME);
    put_bool(w, o, "gaps", r->file.gaps);
    put_str(w, o, "state", r->file.truncated ? "TRUNCATED" : "CLOSED");
    put_bool(w, o, "stored", false);
    put_int(w, o, "size", r->file.size);
    put_int(w, o, "tx_id", r->tx_id);
}

static void write_flow_end(struct writer *w, json_t *o)
{
    static const char *const states[] = {"new", "established", "closed", "bypassed"};
    static const char *const reasons[] = {"timeout", "shutdown", "forced", "tcp_reuse"};
    const struct event_rec *r = w->r;
    int64_t age = r->flow.end / SK_NS_PER_S - r->flow.start / SK_NS_PER_S;
    put_time(w, o, "end", r->flow.end);
    put_int(w, o, "age", age > 0 ? (uint64_t)age : 0);
    put_str(w, o, "state", states[r->flow.state]);
    put_str(w, o, "reason", reasons[r->flow.reason]);
    put_bool(w, o, "alerted", r->flow.alerted);
    if (r->flow.action != EVENT_FLOW_ACTION_NONE)
        put_str(w, o, "action", r->flow.action == EVENT_FLOW_ACTION_DROP ? "drop" : "pass");
}

static void put_flags(struct writer *w, json_t *o, const char *key, uint8_t flags)
{
    char buf[3];
    snprintf(buf, sizeof(buf), "%02x", flags);
    put_str(w, o, key, buf);
}

static void write_tcp(struct writer *w, json_t *root)
{
    static const char *const states[] = {"none",      "listen",    "syn_sent", "syn_recv",   "established", "fin_wait1",
                                         "fin_wait2", "time_wait", "last_ack", "close_wait", "closing",     "closed"};
    const struct event_rec *r = w->r;
    json_t *o = put_object(w, root, "tcp");
    put_flags(w, o, "tcp_flags", r->tcp.flags);
    put_flags(w, o, "tcp_flags_ts", r->tcp.flags_ts);
    put_flags(w, o, "tcp_flags_tc", r->tcp.flags_tc);
    for (size_t i = 0; i < sizeof(tcp_flag_names) / sizeof(tcp_flag_names[0]); i++)
        if (r->tcp.flags & tcp_flag_names[i].bit)
            put_bool(w, o, tcp_flag_names[i].name, true);
    put_str(w, o, "state", states[r->tcp.state]);
    if (r->tcp.ts_gap)
        put_bool(w, o, "ts_gap", true);
    if (r->tcp.tc_gap)
        put_bool(w, o, "tc_gap", true);
    put_int(w, o, "ts_max_regions", r->tcp.ts_max_regions);
    put_int(w, o, "tc_max_regions", r->tcp.tc_max_regions);
}

void write_flow(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    json_t *o = put_object(w, root, "flow");
    put_int(w, o, "pkts_toserver", r->flow.pkts_ts);
    put_int(w, o, "pkts_toclient", r->flow.pkts_tc);
    put_int(w, o, "bytes_toserver", r->flow.bytes_ts);
    put_int(w, o, "bytes_toclient", r->flow.bytes_tc);
    put_time(w, o, "start", r->flow.start);
    if (r->type == EVENT_FLOW) {
        write_flow_end(w, o);
        if (r->has & EVENT_HAS_TCP)
            write_tcp(w, root);
        return;
    }
    put_addr(w, o, "src_ip", &r->flow.client);
    put_addr(w, o, "dest_ip", &r->flow.server);
    if (r->has & EVENT_HAS_PORTS) {
        put_int(w, o, "src_port", r->flow.cport);
        put_int(w, o, "dest_port", r->flow.sport);
    }
}

static void write_drop_l4(struct writer *w, json_t *o)
{
    const struct event_rec *r = w->r;
    if (r->proto == IPPROTO_TCP) {
        put_int(w, o, "tcpseq", r->drop.tcp_seq);
        put_int(w, o, "tcpack", r->drop.tcp_ack);
        put_int(w, o, "tcpwin", r->drop.tcp_win);
        for (size_t i = 0; i < 6; i++)
            put_bool(w, o, tcp_flag_names[i].name, r->drop.tcp_flags & tcp_flag_names[i].bit);
        put_int(w, o, "tcpres", 0);
        put_int(w, o, "tcpurgp", r->drop.tcp_urp);
    } else if (r->proto == IPPROTO_UDP) {
        put_int(w, o, "udplen", r->drop.udp_len);
    } else if (r->proto == IPPROTO_ICMP || r->proto == IPPROTO_ICMPV6) {
        put_int(w, o, "icmp_id", r->drop.icmp_id);
        put_int(w, o, "icmp_seq", r->drop.icmp_seq);
    }
}

void write_drop(struct writer *w, json_t *root)
{
    static const char *const reasons[] = {"rules",        "flow drop",    "decode error",
                                          "stream error", "defrag error", "applayer error"};
    const struct event_rec *r = w->r;
    json_t *o = put_object(w, root, "drop");
    put_int(w, o, "len", r->drop.ip_len);
    put_int(w, o, r->ip_v == 6 ? "tc" : "tos", r->drop.tos);
    put_int(w, o, r->ip_v == 6 ? "hoplimit" : "ttl", r->drop.ttl);
    if (r->ip_v != 6)
        put_int(w, o, "ipid", r->drop.ip_id);
    write_drop_l4(w, o);
    put_str(w, o, "reason", reasons[r->drop.reason]);
}

/* The engine's names are those of rules; EVE has the layer in front: decoder.ipv4.pkt_too_small. */
static void put_anomaly_event(struct writer *w, json_t *o)
{
    static const char *const prefix[] = {"decoder.", "stream.", ""};
    const char *p = prefix[w->r->anomaly];
    struct sk_span s;
    char name[128];
    if (!event_find_item(w->r, EVENT_I_ANOMALY_EVENT, &s))
        return;
    size_t n = strlen(p);
    if (s.len >= sizeof(name) - n || (s.len >= n && memcmp(s.p, p, n) == 0)) {
        put_span(w, o, "event", s);
        return;
    }
    memcpy(name, p, n);
    memcpy(name + n, s.p, s.len);
    put_span(w, o, "event", sk_span_of(name, (uint32_t)n + s.len));
}

void write_anomaly(struct writer *w, json_t *root)
{
    static const char *const types[] = {"decode", "stream", "applayer"};
    json_t *o = put_object(w, root, "anomaly");
    if (w->r->anomaly == EVENT_ANOMALY_APPLAYER && w->r->app != EVENT_APP_NONE)
        put_str(w, o, "app_proto", event_app_name(w->r->app));
    put_str(w, o, "type", types[w->r->anomaly]);
    put_anomaly_event(w, o);
    put_item(w, o, "layer", EVENT_I_ANOMALY_LAYER);
}

static void write_brake(struct writer *w, json_t *o)
{
    const struct event_rec *r = w->r;
    put_int(w, o, "new_blocks", r->brake.set);
    put_int(w, o, "limit", r->brake.limit);
    put_int(w, o, "active_clients", r->brake.active);
    put_int(w, o, "share", r->brake.share);
    put_int(w, o, "stopped", r->brake.stopped);
}

static void write_refusal(struct writer *w, json_t *o)
{
    json_t *by = put_object(w, o, "refused_by");
    put_item(w, by, "kind", EVENT_I_REFUSED_KIND);
    put_item(w, by, "entry", EVENT_I_REFUSED_ENTRY);
    put_item(w, by, "text", EVENT_I_REFUSED_TEXT);
    put_int(w, o, "count", w->r->block.count);
}

static void write_blocked(struct writer *w, json_t *o)
{
    const struct event_rec *r = w->r;
    char buf[SK_PREFIX_STRLEN];
    struct sk_prefix p = sk_prefix_make(&r->block.target, r->block.plen);
    put_item(w, o, "id", EVENT_I_BLOCK_ID);
    put_str(w, o, "target", sk_prefix_format(&p, buf));
    put_item(w, o, "origin", EVENT_I_BLOCK_ORIGIN);
    put_item(w, o, "cause", EVENT_I_BLOCK_CAUSE);
    if (r->alert.sid != 0) {
        put_int(w, o, "gid", r->alert.gid);
        put_int(w, o, "signature_id", r->alert.sid);
    }
    put_item(w, o, "reason", EVENT_I_BLOCK_REASON);
    if (r->block.threshold != 0) {
        put_int(w, o, "score", r->block.score);
        put_int(w, o, "threshold", r->block.threshold);
    }
    if (r->block.repeat != 0)
        put_int(w, o, "repeat", r->block.repeat);
    if (r->block.expires != 0)
        put_time(w, o, "expires", r->block.expires);
}

void write_flood(struct writer *w, json_t *root)
{
    static const char *const levels[] = {"host", "range", "wide-range"}, *const actions[] = {"alert", "block"};
    const struct event_rec *r = w->r;
    char buf[SK_PREFIX_STRLEN];
    struct sk_prefix p = sk_prefix_make(&r->flood.addr, r->flood.plen);
    json_t *o = put_object(w, root, "flood");
    put_str(w, o, "prefix", sk_prefix_format(&p, buf));
    put_str(w, o, "level", levels[r->flood.level]);
    put_int(w, o, "rate", r->flood.rate);
    put_int(w, o, "limit", r->flood.limit);
    put_str(w, o, "action", actions[r->flood.action]);
}

void write_block(struct writer *w, json_t *root)
{
    static const char *const actions[] = {"set", "refused", "removed", "expired", "braked", "released"};
    const struct event_rec *r = w->r;
    json_t *o = put_object(w, root, "block");
    put_str(w, o, "action", actions[r->block.action]);
    if (r->block.dry_run)
        put_bool(w, o, "dry_run", true);
    if (r->block.action == EVENT_BLOCK_BRAKED || r->block.action == EVENT_BLOCK_RELEASED)
        write_brake(w, o);
    else
        write_blocked(w, o);
    if (r->block.action == EVENT_BLOCK_REFUSED)
        write_refusal(w, o);
}

/* Who the client is behind the hops, each with how its address became known. */
void write_identity(struct writer *w, json_t *root)
{
    struct sk_span s;
    struct identity id;
    if (!event_find_item(w->r, EVENT_I_IDENTITY, &s))
        return;
    memcpy(&id, s.p, sizeof(id)); /* event_valid has checked the length */
    json_t *o = put_object(w, root, "identity");
    put_str(w, o, "state", identity_state_name((enum identity_state)id.state));
    if (id.state == IDENTITY_UNPROVEN) {
        put_str(w, o, "why", identity_why_text((enum identity_why)id.why));
    } else {
        put_addr(w, o, "client", &id.client);
        if (id.port != 0)
            put_int(w, o, "client_port", id.port);
        put_str(w, o, "source", identity_source_name((enum identity_source)id.source));
    }
    for (unsigned i = 0; i < id.nhops; i++) {
        json_t *hop = json_object();
        put_addr(w, hop, "addr", &id.hop[i].addr);
        put_str(w, hop, "source", identity_source_name((enum identity_source)id.hop[i].source));
        append(w, put_array(w, o, "hops"), hop);
    }
}

/* a.b.c becomes nested objects; a name that is both leaf and folder keeps what came first. */
static void put_dotted(struct writer *w, json_t *o, const char *name, uint64_t v)
{
    char part[64];
    const char *dot;
    while ((dot = strchr(name, '.')) != NULL && (size_t)(dot - name) < sizeof(part)) {
        memcpy(part, name, (size_t)(dot - name));
        part[dot - name] = '\0';
        json_t *next = json_object_get(o, part);
        o = next != NULL ? next : put_object(w, o, part);
        if (!json_is_object(o))
            return;
        name = dot + 1;
    }
    if (json_object_get(o, name) == NULL)
        put_int(w, o, name, v);
}

void write_stats(struct writer *w, json_t *root)
{
    struct sk_span s;
    json_t *o = put_object(w, root, "stats");
    put_int(w, o, "uptime", w->r->uptime > 0 ? (uint64_t)w->r->uptime : 0);
    if (!event_find_item(w->r, EVENT_I_COUNTERS, &s))
        return;
    for (uint32_t i = 0; i < SK_C_COUNT && i < s.len / sizeof(uint64_t); i++) {
        uint64_t v;
        memcpy(&v, s.p + i * sizeof(v), sizeof(v));
        put_dotted(w, o, sk_counter_name((enum sk_counter)i), v);
    }
}

/* name begins with prefix: what follows it goes to traffic.KEY */
static void add_traffic(struct writer *w, json_t *root, struct sk_span bit, const char *prefix, const char *key)
{
    uint32_t n = (uint32_t)strlen(prefix);
    if (bit.len <= n || memcmp(bit.p, prefix, n) != 0)
        return;
    json_t *t = json_object_get(root, "traffic");
    if (t == NULL)
        t = put_object(w, root, "traffic");
    append(w, put_array(w, t, key), event_json_bytes(sk_span_of(bit.p + n, bit.len - n)));
}

void write_metadata(struct writer *w, json_t *root)
{
    uint32_t pos = 0;
    enum event_item id;
    struct sk_span s;
    while (event_next_item(w->r, &pos, &id, &s)) {
        if (id != EVENT_I_FLOWBIT)
            continue;
        json_t *meta = json_object_get(root, "metadata");
        if (meta == NULL)
            meta = put_object(w, root, "metadata");
        append(w, put_array(w, meta, "flowbits"), event_json_bytes(s));
        add_traffic(w, root, s, TRAFFIC_ID, "id");
        add_traffic(w, root, s, TRAFFIC_LABEL, "label");
    }
}

static const char *linktype_name(int32_t linktype)
{
    switch (linktype) {
    case 0: return "NULL";
    case 1: return "EN10MB";
    case 12:
    case 14:
    case 101: return "RAW";
    case 113: return "LINUX_SLL";
    case 228: return "IPV4";
    case 229: return "IPV6";
    case 276: return "LINUX_SLL2";
    default: return NULL;
    }
}

void write_bytes(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    struct sk_span s;
    if (event_find_item(r, EVENT_I_PAYLOAD, &s)) {
        if (w->opt->payload)
            put(w, root, "payload", event_json_base64(s));
        if (w->opt->payload_printable)
            put(w, root, "payload_printable", event_json_printable(s));
    }
    if (r->has & EVENT_HAS_STREAM)
        put_int(w, root, "stream", r->payload_stream ? 1 : 0);
    if (!event_find_item(r, EVENT_I_PACKET, &s))
        return;
    put(w, root, "packet", event_json_base64(s));
    json_t *info = put_object(w, root, "packet_info");
    put_int(w, info, "linktype", (uint64_t)(uint32_t)r->linktype);
    const char *name = linktype_name(r->linktype);
    if (name != NULL)
        put_str(w, info, "linktype_name", name);
}
