/* Records between engine and reporter: what goes in comes out as EVE; nothing hostile gets past event_valid(). */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "event/json.h"

static _Alignas(8) uint8_t buf[EVENT_MAX];
static struct event_builder b;
static const char *const ifaces[] = {"eth0", "eth1"};
static const struct event_json_opts opts = {ifaces, 2, true, true};

static struct sk_addr addr(const char *s)
{
    struct sk_addr a;
    assert_int_equal(sk_addr_parse(s, strlen(s), &a), SK_OK);
    return a;
}

static struct event_rec *begin(enum event_type type)
{
    struct event_rec *r = event_begin(&b, buf, sizeof(buf), type);
    r->ts = INT64_C(1767323045123456000);
    r->flow_id = 42;
    r->has = EVENT_HAS_ADDRS | EVENT_HAS_PORTS;
    r->src = addr("192.0.2.1");
    r->dst = addr("198.51.100.7");
    r->sport = 40000;
    r->dport = 80;
    r->proto = IPPROTO_TCP;
    r->ip_v = 4;
    return r;
}

static json_t *finish(void)
{
    json_t *j = NULL;
    uint32_t len = event_end(&b);
    assert_int_equal(event_to_json(buf, len, &opts, &j), SK_OK);
    return j;
}

/* Value at a dotted path, as text. */
static const char *at(json_t *j, const char *path)
{
    static char out[512];
    char copy[128], *save;
    snprintf(copy, sizeof(copy), "%s", path);
    for (char *k = strtok_r(copy, ".", &save); k != NULL; k = strtok_r(NULL, ".", &save))
        j = json_is_array(j) ? json_array_get(j, (size_t)atoi(k)) : json_object_get(j, k);
    if (j == NULL)
        return "(absent)";
    if (json_is_string(j))
        return json_string_value(j);
    size_t n = json_dumpb(j, out, sizeof(out) - 1, JSON_ENCODE_ANY | JSON_COMPACT);
    out[n < sizeof(out) ? n : 0] = '\0';
    return out;
}

static void alert_has_the_fields_of_eve(void **state)
{
    (void)state;
    struct event_rec *r = begin(EVENT_ALERT);
    r->has |= EVENT_HAS_ALERT | EVENT_HAS_DIR | EVENT_HAS_TX | EVENT_HAS_IFACE | EVENT_HAS_FLOW | EVENT_HAS_STREAM;
    r->flags = EVENT_F_BLOCKED;
    r->iface = 1;
    r->vlan_count = 2;
    r->vlan_id[0] = 7;
    r->vlan_id[1] = 8;
    r->pcap_cnt = 99;
    r->tx_id = 3;
    r->app = EVENT_APP_HTTP;
    r->app_ts = EVENT_APP_HTTP;
    r->app_tc = EVENT_APP_FAILED;
    r->alert.gid = 1;
    r->alert.sid = 1000001;
    r->alert.rev = 2;
    r->alert.severity = 1;
    r->alert.target = EVENT_TARGET_DST;
    r->flow.client = r->src;
    r->flow.server = r->dst;
    r->flow.cport = 40000;
    r->flow.sport = 80;
    r->flow.pkts_ts = 5;
    r->payload_stream = 1;
    event_add_str(&b, EVENT_I_SIGNATURE, "SQL injection");
    event_add_str(&b, EVENT_I_CATEGORY, "Web Application Attack");
    event_add_str(&b, EVENT_I_META_KEY, "tag");
    event_add_str(&b, EVENT_I_META_VALUE, "one");
    event_add_str(&b, EVENT_I_META_KEY, "tag");
    event_add_str(&b, EVENT_I_META_VALUE, "two");
    event_add_str(&b, EVENT_I_FLOWBIT, "traffic/id/mozilla");
    event_add_str(&b, EVENT_I_FLOWBIT, "seen.login");
    event_add(&b, EVENT_I_PAYLOAD, sk_span_of("GO\x01\n", 4));
    json_t *j = finish();
    assert_string_equal(at(j, "timestamp"), "2026-01-02T03:04:05.123456+0000");
    assert_string_equal(at(j, "event_type"), "alert");
    assert_string_equal(at(j, "flow_id"), "42");
    assert_string_equal(at(j, "in_iface"), "eth1");
    assert_string_equal(at(j, "pcap_cnt"), "99");
    assert_string_equal(at(j, "vlan"), "[7,8]");
    assert_string_equal(at(j, "src_ip"), "192.0.2.1");
    assert_string_equal(at(j, "dest_port"), "80");
    assert_string_equal(at(j, "proto"), "TCP");
    assert_string_equal(at(j, "pkt_src"), "wire/pcap");
    assert_string_equal(at(j, "tx_id"), "3");
    assert_string_equal(at(j, "alert.action"), "blocked");
    assert_string_equal(at(j, "alert.signature_id"), "1000001");
    assert_string_equal(at(j, "alert.category"), "Web Application Attack");
    assert_string_equal(at(j, "alert.metadata.tag"), "[\"one\",\"two\"]");
    assert_string_equal(at(j, "alert.source.ip"), "192.0.2.1");
    assert_string_equal(at(j, "alert.target.port"), "80");
    assert_string_equal(at(j, "app_proto"), "http");
    assert_string_equal(at(j, "app_proto_ts"), "(absent)");
    assert_string_equal(at(j, "app_proto_tc"), "failed");
    assert_string_equal(at(j, "direction"), "to_server");
    assert_string_equal(at(j, "flow.pkts_toserver"), "5");
    assert_string_equal(at(j, "flow.src_port"), "40000");
    assert_string_equal(at(j, "flow.state"), "(absent)");
    assert_string_equal(at(j, "metadata.flowbits.1"), "seen.login");
    assert_string_equal(at(j, "traffic.id.0"), "mozilla");
    assert_string_equal(at(j, "payload"), "R08BCg==");
    assert_string_equal(at(j, "payload_printable"), "GO.\n");
    assert_string_equal(at(j, "stream"), "1");
    json_decref(j);
}

static void flow_event_carries_tcp_and_its_end(void **state)
{
    (void)state;
    struct event_rec *r = begin(EVENT_FLOW);
    r->has |= EVENT_HAS_FLOW | EVENT_HAS_TCP;
    r->flow.start = INT64_C(100) * 1000000000 + 900000000;
    r->flow.end = INT64_C(102) * 1000000000;
    r->flow.state = EVENT_FLOW_CLOSED;
    r->flow.reason = EVENT_END_SHUTDOWN;
    r->flow.alerted = 1;
    r->tcp.flags = 0x1b;
    r->tcp.flags_ts = 0x02;
    r->tcp.state = EVENT_TCP_CLOSE_WAIT;
    json_t *j = finish();
    assert_string_equal(at(j, "flow.age"), "2");
    assert_string_equal(at(j, "flow.state"), "closed");
    assert_string_equal(at(j, "flow.reason"), "shutdown");
    assert_string_equal(at(j, "flow.alerted"), "true");
    assert_string_equal(at(j, "tcp.tcp_flags"), "1b");
    assert_string_equal(at(j, "tcp.tcp_flags_ts"), "02");
    assert_string_equal(at(j, "tcp.state"), "close_wait");
    assert_string_equal(at(j, "tcp.syn"), "true");
    assert_string_equal(at(j, "tcp.rst"), "(absent)");
    assert_string_equal(at(j, "pkt_src"), "(absent)");
    json_decref(j);
}

static void ipv6_is_written_in_full(void **state)
{
    (void)state;
    struct event_rec *r = begin(EVENT_HTTP);
    r->src = addr("2001:db8::1");
    r->ip_v = 6;
    r->has |= EVENT_HAS_HTTP | EVENT_HAS_STATUS | EVENT_HAS_LENGTH;
    r->http.status = 302;
    event_add_str(&b, EVENT_I_HTTP_HOST, "example.org");
    event_add_str(&b, EVENT_I_HTTP_REDIRECT, "/next");
    json_t *j = finish();
    assert_string_equal(at(j, "src_ip"), "2001:0db8:0000:0000:0000:0000:0000:0001");
    assert_string_equal(at(j, "http.hostname"), "example.org");
    assert_string_equal(at(j, "http.status"), "302");
    assert_string_equal(at(j, "http.redirect"), "/next");
    assert_string_equal(at(j, "http.length"), "0");
    json_decref(j);
}

static void hostile_bytes_become_valid_json(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        uint32_t len;
        const char *want;
    } cases[] = {
        {"/\xc3\xa9", 3, "/\xc3\xa9"},                   /* UTF-8 stays */
        {"/\xff\"a", 4, "/\\xff\"a"},                    /* anything else is escaped whole */
        {"\xed\xa0\x80", 3, "\\xed\\xa0\\x80"},          /* a surrogate */
        {"\xc0\xaf", 2, "\\xc0\\xaf"},                   /* overlong */
        {"\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80"}, /* past U+10FFFF */
        {"a\xe2\x82", 3, "a\\xe2\\x82"},                 /* cut */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct event_rec *r = begin(EVENT_HTTP);
        r->has |= EVENT_HAS_HTTP;
        event_add(&b, EVENT_I_HTTP_URL, sk_span_of(cases[i].in, cases[i].len));
        struct sk_strbuf line;
        sk_strbuf_init(&line, 1 << 20);
        assert_int_equal(event_to_line(buf, event_end(&b), &opts, &line), SK_OK);
        json_t *j = json_loadb(line.p, line.len, 0, NULL);
        assert_non_null(j);
        assert_string_equal(at(j, "http.url"), cases[i].want);
        json_decref(j);
        sk_strbuf_free(&line);
    }
}

static void what_does_not_fit_is_cut_and_marked(void **state)
{
    (void)state;
    static uint8_t big[EVENT_MAX];
    struct event_rec *r = begin(EVENT_ALERT);
    event_add(&b, EVENT_I_PAYLOAD, sk_span_of(big, sizeof(big)));
    event_add_str(&b, EVENT_I_SIGNATURE, "no room");
    uint32_t len = event_end(&b);
    assert_true(len <= EVENT_MAX);
    assert_true(r->flags & EVENT_F_CUT);
    assert_int_equal(event_valid(buf, len), SK_OK);

    r = begin(EVENT_ALERT);
    for (int i = 0; i < EVENT_ITEMS + 10; i++)
        event_add_str(&b, EVENT_I_FLOWBIT, "x");
    len = event_end(&b);
    assert_int_equal(r->nitems, EVENT_ITEMS);
    assert_true(r->flags & EVENT_F_CUT);
    assert_int_equal(event_valid(buf, len), SK_OK);
}

static void an_item_can_be_filled_in_pieces(void **state)
{
    (void)state;
    begin(EVENT_ALERT);
    uint8_t *p;
    assert_int_equal(event_reserve(&b, 100, &p), 100);
    memcpy(p, "hello", 5);
    event_commit(&b, EVENT_I_PAYLOAD, 5);
    event_add_str(&b, EVENT_I_SIGNATURE, "after");
    json_t *j = finish();
    assert_string_equal(at(j, "payload_printable"), "hello");
    json_decref(j);
}

static void anomalies_carry_their_layer(void **state)
{
    (void)state;
    begin(EVENT_ANOMALY)->anomaly = EVENT_ANOMALY_DECODE;
    event_add_str(&b, EVENT_I_ANOMALY_EVENT, "ipv4.pkt_too_small");
    json_t *j = finish();
    assert_string_equal(at(j, "anomaly.type"), "decode");
    assert_string_equal(at(j, "anomaly.event"), "decoder.ipv4.pkt_too_small");
    json_decref(j);
    begin(EVENT_ANOMALY)->anomaly = EVENT_ANOMALY_STREAM;
    event_add_str(&b, EVENT_I_ANOMALY_EVENT, "stream.3whs_wrong_seq_wrong_ack");
    j = finish();
    assert_string_equal(at(j, "anomaly.event"), "stream.3whs_wrong_seq_wrong_ack");
    json_decref(j);
}

static void files_say_how_much_was_seen(void **state)
{
    (void)state;
    struct event_rec *r = begin(EVENT_FILEINFO);
    r->has |= EVENT_HAS_FILE | EVENT_HAS_TX;
    r->tx_id = 2;
    r->file.size = 70;
    r->file.truncated = r->file.gaps = 1;
    event_add_str(&b, EVENT_I_FILE_NAME, "/a/eicar.txt");
    json_t *j = finish();
    assert_string_equal(at(j, "event_type"), "fileinfo");
    assert_string_equal(at(j, "fileinfo.filename"), "/a/eicar.txt");
    assert_string_equal(at(j, "fileinfo.state"), "TRUNCATED");
    assert_string_equal(at(j, "fileinfo.size"), "70");
    assert_string_equal(at(j, "fileinfo.tx_id"), "2");
    json_decref(j);
}

static void drops_and_blocks_say_what_and_why(void **state)
{
    (void)state;
    struct event_rec *r = begin(EVENT_DROP);
    r->has |= EVENT_HAS_DROP;
    r->drop.ip_len = 60;
    r->drop.tcp_flags = 0x12;
    r->drop.reason = EVENT_DROP_RULES;
    json_t *j = finish();
    assert_string_equal(at(j, "drop.len"), "60");
    assert_string_equal(at(j, "drop.syn"), "true");
    assert_string_equal(at(j, "drop.fin"), "false");
    assert_string_equal(at(j, "drop.reason"), "rules");
    json_decref(j);
    r = begin(EVENT_BLOCK);
    r->has = EVENT_HAS_BLOCK;
    r->block.target = addr("203.0.113.0");
    r->block.plen = 120;
    r->block.action = EVENT_BLOCK_EXPIRED;
    event_add_str(&b, EVENT_I_BLOCK_ID, "BABC");
    j = finish();
    assert_string_equal(at(j, "block.action"), "expired");
    assert_string_equal(at(j, "block.target"), "203.0.113.0/24");
    assert_string_equal(at(j, "block.id"), "BABC");
    json_decref(j);
}

static void floods_say_who_and_how_much(void **state)
{
    (void)state;
    struct event_rec *r = begin(EVENT_FLOOD);
    r->flow_id = 0;
    r->has = EVENT_HAS_FLOOD;
    r->flood.addr = addr("203.0.113.0");
    r->flood.plen = 120;
    r->flood.level = EVENT_FLOOD_RANGE;
    r->flood.rate = 3210;
    r->flood.limit = 2000;
    r->flood.action = EVENT_FLOOD_BLOCK;
    json_t *j = finish();
    assert_string_equal(at(j, "event_type"), "flood");
    assert_string_equal(at(j, "flood.prefix"), "203.0.113.0/24");
    assert_string_equal(at(j, "flood.level"), "range");
    assert_string_equal(at(j, "flood.rate"), "3210");
    assert_string_equal(at(j, "flood.limit"), "2000");
    assert_string_equal(at(j, "flood.action"), "block");
    assert_string_equal(at(j, "src_ip"), "(absent)");
    json_decref(j);
    r->flood.level = EVENT_FLOOD_LEVEL_COUNT;
    assert_int_equal(event_valid(buf, r->len), SK_EPROTO);
    r->flood.level = EVENT_FLOOD_HOST;
    r->flood.action = EVENT_FLOOD_ACTION_COUNT;
    assert_int_equal(event_valid(buf, r->len), SK_EPROTO);
    r->flood.action = EVENT_FLOOD_ALERT;
    r->flood.plen = 129;
    assert_int_equal(event_valid(buf, r->len), SK_EPROTO);
    r->flood.plen = 128;
    assert_int_equal(event_valid(buf, r->len), SK_OK);
}

static void blocks_say_what_led_to_them(void **state)
{
    (void)state;
    struct event_rec *r = begin(EVENT_BLOCK);
    r->has = EVENT_HAS_BLOCK;
    r->alert.gid = 1;
    r->alert.sid = 9;
    r->block.target = addr("203.0.113.9");
    r->block.plen = 128;
    r->block.action = EVENT_BLOCK_SET;
    r->block.dry_run = 1;
    r->block.repeat = 2;
    r->block.score = 120;
    r->block.threshold = 100;
    event_add_str(&b, EVENT_I_BLOCK_CAUSE, "score");
    event_add_str(&b, EVENT_I_BLOCK_REASON, "m\n");
    json_t *j = finish();
    assert_string_equal(at(j, "block.action"), "set");
    assert_string_equal(at(j, "block.dry_run"), "true");
    assert_string_equal(at(j, "block.repeat"), "2");
    assert_string_equal(at(j, "block.cause"), "score");
    assert_string_equal(at(j, "block.score"), "120");
    assert_string_equal(at(j, "block.threshold"), "100");
    assert_null(json_object_get(json_object_get(j, "block"), "refused_by"));
    json_decref(j);
}

static void refusals_name_who_refused(void **state)
{
    (void)state;
    struct event_rec *r = begin(EVENT_BLOCK);
    r->has = EVENT_HAS_BLOCK;
    r->alert.gid = 1;
    r->alert.sid = 9;
    r->block.target = addr("10.0.0.1");
    r->block.plen = 128;
    r->block.action = EVENT_BLOCK_REFUSED;
    r->block.count = 3;
    event_add_str(&b, EVENT_I_REFUSED_KIND, "gateway");
    event_add_str(&b, EVENT_I_REFUSED_ENTRY, "10.0.0.1");
    event_add_str(&b, EVENT_I_REFUSED_TEXT, "default route via eth0");
    json_t *j = finish();
    assert_string_equal(at(j, "block.action"), "refused");
    assert_string_equal(at(j, "block.target"), "10.0.0.1");
    assert_string_equal(at(j, "block.signature_id"), "9");
    assert_string_equal(at(j, "block.refused_by.kind"), "gateway");
    assert_string_equal(at(j, "block.refused_by.entry"), "10.0.0.1");
    assert_string_equal(at(j, "block.refused_by.text"), "default route via eth0");
    assert_string_equal(at(j, "block.count"), "3");
    json_decref(j);
}

static void the_brake_tells_its_numbers(void **state)
{
    (void)state;
    static const char *const names[] = {"braked", "released"};
    for (uint8_t i = 0; i < 2; i++) {
        struct event_rec *r = begin(EVENT_BLOCK);
        r->has = EVENT_HAS_BLOCK;
        r->block.action = (uint8_t)(EVENT_BLOCK_BRAKED + i);
        r->brake.set = 50;
        r->brake.limit = 50;
        r->brake.active = 500;
        r->brake.share = 10;
        r->brake.stopped = 7;
        json_t *j = finish();
        assert_string_equal(at(j, "block.action"), names[i]);
        assert_string_equal(at(j, "block.new_blocks"), "50");
        assert_string_equal(at(j, "block.active_clients"), "500");
        assert_string_equal(at(j, "block.share"), "10");
        assert_string_equal(at(j, "block.stopped"), "7");
        assert_null(json_object_get(json_object_get(j, "block"), "target"));
        json_decref(j);
    }
}

static void stats_nest_and_count(void **state)
{
    (void)state;
    struct sk_counters c = {{0}};
    sk_count_add(&c, SK_C_PKTS, 12);
    sk_count_add(&c, SK_C_HTTP_PARSE_ERR, 3);
    uint32_t len = event_build_stats(buf, sizeof(buf), &c, 1, 60);
    json_t *j = NULL;
    assert_int_equal(event_to_json(buf, len, &opts, &j), SK_OK);
    assert_string_equal(at(j, "stats.uptime"), "60");
    assert_string_equal(at(j, "stats.decoder.pkts"), "12");
    assert_string_equal(at(j, "stats.app_layer.error.http.parser"), "3");
    json_decref(j);
}

/* A taken-over engine writes whatever it likes: each single-byte change either is refused or still reads in bounds. */
static void a_hostile_record_is_refused_or_harmless(void **state)
{
    (void)state;
    struct event_rec *r = begin(EVENT_ALERT);
    r->has = UINT32_MAX;
    event_add_str(&b, EVENT_I_SIGNATURE, "s");
    event_add_str(&b, EVENT_I_META_KEY, "k");
    event_add_str(&b, EVENT_I_META_VALUE, "v");
    uint32_t len = event_end(&b), refused = 0;
    for (uint32_t i = 0; i < len; i++) {
        for (unsigned v = 0; v < 256; v += 51) {
            _Alignas(8) uint8_t copy[1024];
            memcpy(copy, buf, len);
            copy[i] = (uint8_t)v;
            json_t *j = NULL;
            if (event_to_json(copy, len, &opts, &j) != SK_OK)
                refused++;
            json_decref(j);
        }
    }
    assert_true(refused > 100);
    assert_int_equal(event_valid(buf, len), SK_OK);
    assert_int_equal(event_valid(buf, len - 4), SK_EPROTO);
    assert_int_equal(event_valid(buf, 8), SK_EPROTO);
    r->nitems++;
    assert_int_equal(event_valid(buf, len), SK_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alert_has_the_fields_of_eve),
        cmocka_unit_test(flow_event_carries_tcp_and_its_end),
        cmocka_unit_test(ipv6_is_written_in_full),
        cmocka_unit_test(hostile_bytes_become_valid_json),
        cmocka_unit_test(what_does_not_fit_is_cut_and_marked),
        cmocka_unit_test(an_item_can_be_filled_in_pieces),
        cmocka_unit_test(anomalies_carry_their_layer),
        cmocka_unit_test(files_say_how_much_was_seen),
        cmocka_unit_test(drops_and_blocks_say_what_and_why),
        cmocka_unit_test(floods_say_who_and_how_much),
        cmocka_unit_test(blocks_say_what_led_to_them),
        cmocka_unit_test(refusals_name_who_refused),
        cmocka_unit_test(the_brake_tells_its_numbers),
        cmocka_unit_test(stats_nest_and_count),
        cmocka_unit_test(a_hostile_record_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
