/* Records for the reporter. */
#include <netinet/in.h>
#include <stdio.h>

#include "base/clock.h"
#include "engine_internal.h"

static bool wanted(const struct engine_worker *w, enum event_type t)
{
    return w->e->opt.event_mask >> t & 1;
}

static uint8_t ip_version(const struct sk_addr *a)
{
    return sk_addr_is_v4(a) ? 4 : 6;
}

static void put_packet(const struct engine_worker *w, struct event_rec *r)
{
    const struct sk_packet *p = w->cur.p;
    r->ts = w->cur.ts;
    r->pkt_src = (uint8_t)w->cur.src;
    if (p) {
        r->pcap_cnt = p->frame->number;
        r->iface = p->frame->iface;
        if (!w->e->opt.offline)
            r->has |= EVENT_HAS_IFACE;
        r->vlan_count = p->vlan_count;
        memcpy(r->vlan_id, p->vlan_id, sizeof r->vlan_id);
    } else if (w->cur.f) {
        r->vlan_count = w->cur.f->vlan_count;
        memcpy(r->vlan_id, w->cur.f->vlan_id, sizeof r->vlan_id);
    }
}

static void put_addrs(const struct engine_worker *w, struct event_rec *r, int dir)
{
    struct detect_input in;
    engine_input(w, dir, &in);
    r->src = *engine_client_on_wire(w, in.src);
    r->dst = *engine_client_on_wire(w, in.dst);
    r->sport = in.sport;
    r->dport = in.dport;
    r->proto = in.proto;
    r->ip_v = ip_version(in.src);
    r->has |= EVENT_HAS_ADDRS;
    if (in.proto == IPPROTO_TCP || in.proto == IPPROTO_UDP || in.proto == IPPROTO_SCTP)
        r->has |= EVENT_HAS_PORTS;
    if (w->cur.p && (w->cur.p->flags & (PKT_ICMP4 | PKT_ICMP6))) {
        r->icmp_type = w->cur.p->icmp.type;
        r->icmp_code = w->cur.p->icmp.code;
        r->has |= EVENT_HAS_ICMP;
    }
}

static void put_flow(struct event_rec *r, const struct flow *f)
{
    const struct engine_flow *ef = (const struct engine_flow *)(const void *)f->user;
    r->flow_id = f->id;
    r->app = (uint8_t)engine_event_app(ef->app);
    r->app_ts = (uint8_t)engine_event_app(ef->app_dir[0]);
    r->app_tc = (uint8_t)engine_event_app(ef->app_dir[1]);
    r->flow.client = f->client;
    r->flow.server = f->server;
    r->flow.cport = f->cport;
    r->flow.sport = f->sport;
    r->flow.start = f->first_ts;
    r->flow.end = f->last_ts;
    r->flow.pkts_ts = f->pkts[0];
    r->flow.pkts_tc = f->pkts[1];
    r->flow.bytes_ts = f->bytes[0];
    r->flow.bytes_tc = f->bytes[1];
    r->flow.alerted = f->alerted;
    r->flow.swapped = f->swapped;
    r->has |= EVENT_HAS_FLOW;
}

/* Behind a hop: the client, if it is proven, and how it is known or why not. */
static void put_client(struct event_builder *b, const struct identity *id, bool evidence)
{
    char text[SK_ADDR_STRLEN];
    if (!id)
        return;
    if (id->state == IDENTITY_PROVEN)
        event_add_str(b, EVENT_I_XFF, sk_addr_format(&id->client, text));
    if (evidence)
        event_add(b, EVENT_I_IDENTITY, sk_span_of(id, sizeof *id));
}

static void add_span(struct event_builder *b, enum event_item id, struct sk_span s)
{
    if (s.p)
        event_add(b, id, s);
}

static void put_http(struct event_builder *b, struct event_rec *r, struct http_tx *tx)
{
    struct sk_span v;
    r->has |= EVENT_HAS_HTTP;
    r->tx_id = http_tx_id(tx);
    r->has |= EVENT_HAS_TX;
    add_span(b, EVENT_I_HTTP_HOST, http_tx_hostname(tx));
    add_span(b, EVENT_I_HTTP_URL, http_tx_url(tx));
    if (http_header_get(tx, HTTP_TS, "User-Agent", 0, &v))
        add_span(b, EVENT_I_HTTP_USER_AGENT, v);
    if (http_header_get(tx, HTTP_TC, "Content-Type", 0, &v)) {
        const uint8_t *semi = v.len ? memchr(v.p, ';', v.len) : NULL;
        if (semi)
            v.len = (uint32_t)(semi - v.p);
        add_span(b, EVENT_I_HTTP_CONTENT_TYPE, v);
    }
    if (http_header_get(tx, HTTP_TS, "X-Forwarded-For", 0, &v) && v.len > 0)
        add_span(b, EVENT_I_HTTP_XFF, v);
    if (http_header_get(tx, HTTP_TS, "Referer", 0, &v) && v.len > 0)
        add_span(b, EVENT_I_HTTP_REFERER, v);
    add_span(b, EVENT_I_HTTP_METHOD, http_tx_method(tx));
    add_span(b, EVENT_I_HTTP_PROTOCOL, http_tx_protocol(tx));
    unsigned status = http_tx_status(tx);
    if (status) {
        r->http.status = (uint16_t)status;
        r->has |= EVENT_HAS_STATUS;
        if (status >= 300 && status < 400 && http_header_get(tx, HTTP_TC, "Location", 0, &v))
            add_span(b, EVENT_I_HTTP_REDIRECT, v);
    } else if (http_tx_status_text(tx).len) {
        add_span(b, EVENT_I_HTTP_STATUS_STRING, http_tx_status_text(tx));
    }
    r->http.port = http_tx_port(tx);
    r->http.length = http_body_len(tx, HTTP_TC);
    r->has |= EVENT_HAS_LENGTH;
}

static void put_rule(struct event_builder *b, struct event_rec *r, const struct rule *rule)
{
    r->alert.gid = rule->gid;
    r->alert.sid = rule->sid;
    r->alert.rev = rule->rev;
    r->alert.severity = rule->priority;
    r->alert.target = rule->target == RULE_TARGET_SRC   ? EVENT_TARGET_SRC
                      : rule->target == RULE_TARGET_DST ? EVENT_TARGET_DST
                                                        : EVENT_TARGET_NONE;
    r->has |= EVENT_HAS_ALERT;
    event_add_str(b, EVENT_I_SIGNATURE, rule->msg);
    event_add_str(b, EVENT_I_CATEGORY, rule->class_text);
    for (unsigned i = 0; i < rule->nmeta; i++) {
        event_add_str(b, EVENT_I_META_KEY, rule->meta[2 * i]);
        event_add_str(b, EVENT_I_META_VALUE, rule->meta[2 * i + 1]);
    }
}

static void put_flowbits(struct event_builder *b, const struct engine_flow *ef)
{
    const char *names[DETECT_MAX_FLOWBITS];
    unsigned n = detect_flowbit_names(&ef->det, names, DETECT_MAX_FLOWBITS);
    for (unsigned i = 0; i < n; i++)
        event_add_str(b, EVENT_I_FLOWBIT, names[i]);
}

static void put_payload(struct engine_worker *w, struct event_builder *b, struct event_rec *r,
                        const struct detect_alert *a, int dir)
{
    const struct conf_eve *eve = &w->e->conf->eve;
    if (!eve->payload && !eve->payload_printable)
        return;
    struct sk_span pl = {0};
    if (w->cur.ef && (a->stream || a->has_tx))
        pl = detect_stream_window(&w->cur.ef->det, dir);
    r->payload_stream = pl.len > 0;
    if (!pl.len && w->cur.p)
        pl = w->cur.p->payload;
    r->has |= EVENT_HAS_STREAM;
    if (pl.len)
        event_add(b, EVENT_I_PAYLOAD, pl);
}

void engine_emit_alert(struct engine_worker *w, const struct detect_alert *a, int dir, struct http_tx *tx)
{
    if (!wanted(w, EVENT_ALERT))
        return;
    struct event_builder b;
    struct event_rec *r = event_begin(&b, w->rec, sizeof w->rec, EVENT_ALERT);
    put_packet(w, r);
    put_addrs(w, r, dir);
    if (w->cur.f)
        put_flow(r, w->cur.f);
    r->to_client = dir == FLOW_TOCLIENT;
    r->has |= EVENT_HAS_DIR;
    if (a->drop && w->e->prevent)
        r->flags |= EVENT_F_BLOCKED;
    put_rule(&b, r, a->rule);
    if (tx && a->has_tx)
        put_http(&b, r, tx);
    put_client(&b, engine_client_of(w->cur.ef, tx), true);
    if (w->cur.ef)
        put_flowbits(&b, w->cur.ef);
    put_payload(w, &b, r, a, dir);
    w->sink.event(w->sink.arg, w->rec, event_end(&b));
}

void engine_emit_http(struct engine_worker *w, struct http_tx *tx)
{
    if (!wanted(w, EVENT_HTTP))
        return;
    struct event_builder b;
    struct event_rec *r = event_begin(&b, w->rec, sizeof w->rec, EVENT_HTTP);
    put_packet(w, r);
    put_addrs(w, r, FLOW_TOSERVER);
    put_flow(r, w->cur.f);
    r->has &= ~(uint32_t)EVENT_HAS_FLOW;
    r->app = EVENT_APP_NONE;
    put_http(&b, r, tx);
    put_client(&b, engine_client_of(w->cur.ef, tx), false);
    put_flowbits(&b, w->cur.ef);
    w->sink.event(w->sink.arg, w->rec, event_end(&b));
}

static void emit_file(struct engine_worker *w, struct http_tx *tx, int dir, const struct http_file *file)
{
    struct event_builder b;
    struct event_rec *r = event_begin(&b, w->rec, sizeof w->rec, EVENT_FILEINFO);
    put_packet(w, r);
    put_addrs(w, r, dir);
    put_flow(r, w->cur.f);
    r->has &= ~(uint32_t)EVENT_HAS_FLOW;
    put_http(&b, r, tx);
    put_client(&b, engine_client_of(w->cur.ef, tx), false);
    r->has |= EVENT_HAS_FILE;
    r->file.size = file->size;
    r->file.truncated = file->truncated;
    r->file.gaps = file->gaps;
    event_add(&b, EVENT_I_FILE_NAME, file->name);
    w->sink.event(w->sink.arg, w->rec, event_end(&b));
}

void engine_emit_files(struct engine_worker *w, struct http_tx *tx)
{
    if (!wanted(w, EVENT_FILEINFO))
        return;
    struct http_file file;
    for (int dir = 0; dir < 2; dir++)
        for (unsigned i = 0; http_tx_file(tx, dir, i, &file); i++)
            emit_file(w, tx, dir, &file);
}

static enum event_tcp_state tcp_state(enum stream_state s)
{
    switch (s) {
    case STREAM_NONE: return EVENT_TCP_NONE;
    case STREAM_SYN_SENT: return EVENT_TCP_SYN_SENT;
    case STREAM_SYN_RECV: return EVENT_TCP_SYN_RECV;
    case STREAM_ESTABLISHED: return EVENT_TCP_ESTABLISHED;
    case STREAM_FIN_WAIT1: return EVENT_TCP_FIN_WAIT1;
    case STREAM_FIN_WAIT2: return EVENT_TCP_FIN_WAIT2;
    case STREAM_TIME_WAIT: return EVENT_TCP_TIME_WAIT;
    case STREAM_LAST_ACK: return EVENT_TCP_LAST_ACK;
    case STREAM_CLOSE_WAIT: return EVENT_TCP_CLOSE_WAIT;
    case STREAM_CLOSING: return EVENT_TCP_CLOSING;
    case STREAM_CLOSED: return EVENT_TCP_CLOSED;
    }
    return EVENT_TCP_NONE;
}

static enum event_flow_state flow_state(const struct flow *f)
{
    if (f->bypassed)
        return EVENT_FLOW_BYPASSED;
    switch (f->state) {
    case FLOW_EST: return EVENT_FLOW_ESTABLISHED;
    case FLOW_ENDED: return EVENT_FLOW_CLOSED;
    default: return EVENT_FLOW_NEW;
    }
}

static enum event_flow_reason flow_reason(enum flow_end why)
{
    switch (why) {
    case FLOW_END_TIMEOUT: return EVENT_END_TIMEOUT;
    case FLOW_END_SHUTDOWN: return EVENT_END_SHUTDOWN;
    case FLOW_END_EVICTED: return EVENT_END_FORCED;
    case FLOW_END_REUSED: return EVENT_END_TCP_REUSE;
    }
    return EVENT_END_TIMEOUT;
}

void engine_emit_flow(struct engine_worker *w, const struct flow *f, enum flow_end why)
{
    if (!wanted(w, EVENT_FLOW))
        return;
    const struct engine_flow *ef = w->cur.ef;
    struct event_builder b;
    struct event_rec *r = event_begin(&b, w->rec, sizeof w->rec, EVENT_FLOW);
    put_packet(w, r);
    put_addrs(w, r, FLOW_TOSERVER);
    put_flow(r, f);
    r->flow.state = (uint8_t)flow_state(f);
    r->flow.reason = (uint8_t)flow_reason(why);
    r->flow.action = f->dropped       ? EVENT_FLOW_ACTION_DROP
                     : ef->det.passed ? EVENT_FLOW_ACTION_PASS
                                      : EVENT_FLOW_ACTION_NONE;
    if (f->proto == IPPROTO_ICMP || f->proto == IPPROTO_ICMPV6) {
        r->icmp_type = (uint8_t)f->cport;
        r->icmp_code = (uint8_t)f->sport;
        r->has |= EVENT_HAS_ICMP;
    }
    if (f->proto == IPPROTO_TCP) {
        r->tcp.flags_ts = ef->tcp.half[0].tcp_flags;
        r->tcp.flags_tc = ef->tcp.half[1].tcp_flags;
        r->tcp.flags = (uint8_t)(r->tcp.flags_ts | r->tcp.flags_tc);
        r->tcp.state = (uint8_t)tcp_state((enum stream_state)ef->tcp.state);
        r->tcp.ts_gap = ef->tcp.half[0].had_gap;
        r->tcp.tc_gap = ef->tcp.half[1].had_gap;
        r->has |= EVENT_HAS_TCP;
    }
    if (ef->hop && !ef->hop->several)
        put_client(&b, engine_client_of(ef, NULL), false);
    put_flowbits(&b, ef);
    w->sink.event(w->sink.arg, w->rec, event_end(&b));
}

void engine_emit_drop(struct engine_worker *w, bool of_flow)
{
    const struct sk_packet *p = w->cur.p;
    if (!wanted(w, EVENT_DROP) || !p)
        return;
    struct event_builder b;
    struct event_rec *r = event_begin(&b, w->rec, sizeof w->rec, EVENT_DROP);
    put_packet(w, r);
    put_addrs(w, r, w->cur.dir);
    if (w->cur.f)
        r->flow_id = w->cur.f->id;
    r->to_client = w->cur.dir == FLOW_TOCLIENT;
    r->has |= EVENT_HAS_DIR | EVENT_HAS_DROP;
    r->drop.ip_len = (uint16_t)p->ip.len;
    r->drop.tos = p->tos;
    r->drop.ttl = p->ttl;
    r->drop.ip_id = (uint16_t)p->ip_id;
    r->drop.tcp_seq = p->tcp.seq;
    r->drop.tcp_ack = p->tcp.ack;
    r->drop.tcp_win = p->tcp.win;
    r->drop.tcp_urp = p->tcp.urg;
    r->drop.tcp_flags = p->tcp.flags;
    r->drop.udp_len = (uint16_t)p->l4.len;
    r->drop.icmp_id = p->icmp.id;
    r->drop.icmp_seq = p->icmp.seq;
    r->drop.reason = of_flow ? EVENT_DROP_FLOW : EVENT_DROP_RULES;
    if (!of_flow && w->cur.drop_rule) {
        r->flags |= EVENT_F_BLOCKED;
        put_rule(&b, r, w->cur.drop_rule);
    }
    put_client(&b, engine_client_of(w->cur.ef, NULL), false);
    w->sink.event(w->sink.arg, w->rec, event_end(&b));
}

static void emit_anomaly(struct engine_worker *w, enum event_anomaly kind, const char *name)
{
    struct event_builder b;
    struct event_rec *r = event_begin(&b, w->rec, sizeof w->rec, EVENT_ANOMALY);
    put_packet(w, r);
    if (w->cur.f || (w->cur.p->flags & (PKT_IPV4 | PKT_IPV6)))
        put_addrs(w, r, w->cur.dir);
    if (w->cur.f)
        r->flow_id = w->cur.f->id;
    r->anomaly = (uint8_t)kind;
    event_add_str(&b, EVENT_I_ANOMALY_EVENT, name);
    w->sink.event(w->sink.arg, w->rec, event_end(&b));
}

void engine_emit_anomalies(struct engine_worker *w)
{
    if (!wanted(w, EVENT_ANOMALY))
        return;
    const struct sk_packet *p = w->cur.p;
    for (unsigned i = 0; i < p->nevents; i++)
        emit_anomaly(w, EVENT_ANOMALY_DECODE, decode_event_name((enum decode_event)p->events[i]));
    for (unsigned i = 0; i < w->cur.nevents; i++)
        emit_anomaly(w, EVENT_ANOMALY_STREAM, stream_event_name((enum stream_event)w->cur.events[i]));
}

void engine_emit_flood(struct engine_worker *w, const struct flood_found *f, bool block, int64_t now)
{
    static const uint8_t levels[FLOOD_LEVELS] = {EVENT_FLOOD_HOST, EVENT_FLOOD_RANGE, EVENT_FLOOD_WIDE_RANGE};
    if (!wanted(w, EVENT_FLOOD))
        return;
    struct event_builder b;
    struct event_rec *r = event_begin(&b, w->rec, sizeof w->rec, EVENT_FLOOD);
    r->ts = now;
    r->has = EVENT_HAS_FLOOD;
    r->flood.addr = f->prefix.addr;
    r->flood.plen = f->prefix.len;
    r->flood.level = levels[f->level];
    r->flood.rate = (uint64_t)f->rate;
    r->flood.limit = f->limit;
    r->flood.action = block ? EVENT_FLOOD_BLOCK : EVENT_FLOOD_ALERT;
    w->sink.event(w->sink.arg, w->rec, event_end(&b));
}
