/* A record as an EVE object: what all events have in common; the parts of each type are in body.c. */
#include "event/json.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include "object.h"

#define FLOW_ID_MASK ((UINT64_C(1) << 53) - 1)

static const char *const type_names[EVENT_TYPE_COUNT] = {
    [EVENT_ALERT] = "alert", [EVENT_DROP] = "drop",         [EVENT_HTTP] = "http",
    [EVENT_FLOW] = "flow",   [EVENT_STATS] = "stats",       [EVENT_ANOMALY] = "anomaly",
    [EVENT_BLOCK] = "block", [EVENT_FILEINFO] = "fileinfo", [EVENT_FLOOD] = "flood",
};

static const char *const app_names[EVENT_APP_COUNT] = {
    [EVENT_APP_NONE] = "",   [EVENT_APP_FAILED] = "failed", [EVENT_APP_HTTP] = "http",   [EVENT_APP_TLS] = "tls",
    [EVENT_APP_DNS] = "dns", [EVENT_APP_SSH] = "ssh",       [EVENT_APP_HTTP2] = "http2",
};

static const char *const pkt_src_names[EVENT_PKT_SRC_COUNT] = {
    [EVENT_PKT_WIRE] = "wire/pcap",
    [EVENT_PKT_DEFRAG] = "defrag",
    [EVENT_PKT_FLOW_TIMEOUT] = "stream (flow timeout)",
    [EVENT_PKT_STREAM_FLUSH] = "stream (detect/log)",
    [EVENT_PKT_GRE] = "gre tunnel",
    [EVENT_PKT_IPV4_TUNNEL] = "ipv4 tunnel",
    [EVENT_PKT_IPV6_TUNNEL] = "ipv6 tunnel",
    [EVENT_PKT_TEREDO] = "teredo tunnel",
    [EVENT_PKT_VXLAN] = "vxlan encapsulation",
    [EVENT_PKT_GENEVE] = "geneve encapsulation",
    [EVENT_PKT_ERSPAN2] = "erspan2 tunnel",
};

const char *event_type_name(enum event_type t)
{
    return (unsigned)t < EVENT_TYPE_COUNT ? type_names[t] : "unknown";
}

const char *event_app_name(uint8_t app)
{
    return app_names[app];
}

static const char *proto_name(uint8_t proto, char buf[8])
{
    switch (proto) {
    case IPPROTO_TCP: return "TCP";
    case IPPROTO_UDP: return "UDP";
    case IPPROTO_ICMP: return "ICMP";
    case IPPROTO_ICMPV6: return "IPv6-ICMP";
    case IPPROTO_SCTP: return "SCTP";
    case IPPROTO_GRE: return "GRE";
    case IPPROTO_ESP: return "ESP";
    case IPPROTO_AH: return "AH";
    case IPPROTO_IGMP: return "IGMP";
    case IPPROTO_IPV6: return "IPv6";
    default: snprintf(buf, 8, "%u", proto); return buf;
    }
}

static bool is_packet_event(uint8_t type)
{
    return type == EVENT_ALERT || type == EVENT_DROP || type == EVENT_HTTP || type == EVENT_ANOMALY ||
           type == EVENT_FILEINFO;
}

static void write_origin(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    put_time(w, root, "timestamp", r->ts);
    if (r->flow_id != 0)
        put_int(w, root, "flow_id", r->flow_id & FLOW_ID_MASK);
    if ((r->has & EVENT_HAS_IFACE) && w->opt->ifaces != NULL && r->iface < w->opt->nifaces)
        put_str(w, root, "in_iface", w->opt->ifaces[r->iface]);
    if (r->pcap_cnt != 0)
        put_int(w, root, "pcap_cnt", r->pcap_cnt);
    put_str(w, root, "event_type", type_names[r->type]);
    for (unsigned i = 0; i < r->vlan_count; i++)
        append(w, put_array(w, root, "vlan"), json_integer(r->vlan_id[i]));
}

static void write_addrs(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    char buf[8];
    put_addr(w, root, "src_ip", &r->src);
    if (r->has & EVENT_HAS_PORTS)
        put_int(w, root, "src_port", r->sport);
    put_addr(w, root, "dest_ip", &r->dst);
    if (r->has & EVENT_HAS_PORTS)
        put_int(w, root, "dest_port", r->dport);
    put_str(w, root, "proto", proto_name(r->proto, buf));
    put_int(w, root, "ip_v", r->ip_v);
    if (r->has & EVENT_HAS_ICMP) {
        put_int(w, root, "icmp_type", r->icmp_type);
        put_int(w, root, "icmp_code", r->icmp_code);
    }
}

static void write_app(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    if (r->app != EVENT_APP_NONE)
        put_str(w, root, "app_proto", app_names[r->app]);
    if (r->app_ts != EVENT_APP_NONE && r->app_ts != r->app)
        put_str(w, root, "app_proto_ts", app_names[r->app_ts]);
    if (r->app_tc != EVENT_APP_NONE && r->app_tc != r->app)
        put_str(w, root, "app_proto_tc", app_names[r->app_tc]);
    if (r->app_orig != EVENT_APP_NONE && r->app_orig != r->app)
        put_str(w, root, "app_proto_orig", app_names[r->app_orig]);
}

static void write_common(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    write_origin(w, root);
    if (r->has & EVENT_HAS_ADDRS)
        write_addrs(w, root);
    if (is_packet_event(r->type))
        put_str(w, root, "pkt_src", pkt_src_names[r->pkt_src]);
    write_metadata(w, root);
    if ((r->has & EVENT_HAS_TX) && r->type != EVENT_FILEINFO)
        put_int(w, root, "tx_id", r->tx_id);
}

static void write_parts(struct writer *w, json_t *root)
{
    const struct event_rec *r = w->r;
    if (r->has & EVENT_HAS_ALERT)
        write_alert(w, root);
    if (r->has & EVENT_HAS_DROP)
        write_drop(w, root);
    if (r->has & EVENT_HAS_HTTP)
        write_http(w, root);
    if (r->type == EVENT_ANOMALY)
        write_anomaly(w, root);
    if (r->type == EVENT_ALERT || r->type == EVENT_DROP || r->type == EVENT_FLOW || r->type == EVENT_FILEINFO)
        write_app(w, root);
    if (r->has & EVENT_HAS_FILE)
        write_file(w, root);
    if (r->has & EVENT_HAS_DIR)
        put_str(w, root, "direction", r->to_client ? "to_client" : "to_server");
    if (r->has & EVENT_HAS_FLOW)
        write_flow(w, root);
    if (r->has & EVENT_HAS_BLOCK)
        write_block(w, root);
    if (r->has & EVENT_HAS_FLOOD)
        write_flood(w, root);
    put_item(w, root, "xff", EVENT_I_XFF);
    write_identity(w, root);
    if (r->type == EVENT_STATS)
        write_stats(w, root);
    write_bytes(w, root);
}

int event_to_json(const void *rec, uint32_t len, const struct event_json_opts *opt, json_t **out)
{
    *out = NULL;
    if (event_valid(rec, len) != SK_OK)
        return SK_EPROTO;
    struct writer w = {.r = (const struct event_rec *)rec, .opt = opt};
    json_t *root = json_object();
    if (root == NULL)
        return SK_ENOMEM;
    write_common(&w, root);
    write_parts(&w, root);
    if (w.bad) {
        json_decref(root);
        return SK_ENOMEM;
    }
    *out = root;
    return SK_OK;
}

static int append_text(const char *p, size_t len, void *arg)
{
    struct sk_strbuf *b = (struct sk_strbuf *)arg;
    sk_strbuf_add(b, p, len);
    return b->full ? -1 : 0;
}

int event_to_line(const void *rec, uint32_t len, const struct event_json_opts *opt, struct sk_strbuf *out)
{
    json_t *root;
    int rc = event_to_json(rec, len, opt, &root);
    if (rc != SK_OK)
        return rc;
    if (json_dump_callback(root, append_text, out, JSON_COMPACT) != 0)
        rc = out->full ? SK_EFULL : SK_ENOMEM;
    json_decref(root);
    if (rc != SK_OK)
        return rc;
    sk_strbuf_puts(out, "\n");
    return out->full ? SK_EFULL : SK_OK;
}
