#include "engine_case.h"
#include <stdio.h>

#define LINKTYPE_RAW 101

static void on_event(void *arg, const void *rec, uint32_t len)
{
    struct ecase *k = arg;
    if (event_valid(rec, len) != SK_OK) {
        k->bad_record = true;
        return;
    }
    const struct event_rec *r = rec;
    k->nevents[r->type]++;
    if (r->type == EVENT_FLOOD)
        k->flood = *r;
    if (r->type == EVENT_ALERT && k->nalerts < ECASE_MAX) {
        k->blocked[k->nalerts] = (r->flags & EVENT_F_BLOCKED) != 0;
        k->sids[k->nalerts++] = r->alert.sid;
    }
}

static void on_block(void *arg, const struct decide_request *q)
{
    struct ecase *k = arg;
    if (k->nblocks < 16)
        k->blocks[k->nblocks++] = *q;
}

void ecase_sink(struct ecase *k, struct engine_sink *sink)
{
    *sink = (struct engine_sink){.event = on_event, .block = on_block, .arg = k};
}

static void set_all(struct conf *c, const char *settings)
{
    char *copy = strdup(settings), *save = NULL;
    assert_non_null(copy);
    for (char *s = strtok_r(copy, ";", &save); s; s = strtok_r(NULL, ";", &save))
        if (conf_set_arg(c, s, NULL) != SK_OK)
            fail_msg("setting %s", s);
    free(copy);
}

static void open_as(struct ecase *k, bool offline, const char *settings, const char *rules)
{
    memset(k, 0, sizeof *k);
    assert_int_equal(conf_default(&k->conf), SK_OK);
    set_all(k->conf, "capture.checksum-validation=no;vars.address-groups.HOME_NET=10.0.0.0/8;flow.max-flows=1024;"
                     "stream.memcap=4mb");
    if (settings)
        set_all(k->conf, settings);
    const struct engine_options opt = {.offline = offline, .fixed_seeds = true, .event_mask = UINT32_MAX};
    assert_int_equal(engine_create(k->conf, &opt, &k->e), SK_OK);
    if (rules)
        assert_int_equal(ecase_load(k, rules, true, NULL), SK_OK);
    ecase_sink(k, &k->sink);
    assert_int_equal(engine_worker_create(k->e, 0, &k->sink, &k->c, &k->w), SK_OK);
    k->now = 1700000000 * SK_NS_PER_S;
}

void ecase_open(struct ecase *k, const char *settings, const char *rules)
{
    open_as(k, true, settings, rules);
}

void ecase_open_live(struct ecase *k, const char *settings, const char *rules)
{
    open_as(k, false, settings, rules);
}

void ecase_close(struct ecase *k)
{
    if (k->w) {
        engine_worker_finish(k->w);
        engine_worker_free(k->w);
        assert_int_equal(sk_count_sum(&k->c, SK_LP_FIRST, SK_LP_LAST), k->c.v[SK_C_PKTS]);
        assert_int_equal(sk_count_sum(&k->c, SK_LF_FIRST, SK_LF_LAST), k->c.v[SK_C_FLOWS]);
    }
    engine_free(k->e);
    conf_free(k->conf);
    assert_false(k->bad_record);
}

int ecase_load(struct ecase *k, const char *rules, bool strict, struct engine_rule_stats *st)
{
    const struct engine_text t = {.kind = ENGINE_RULES, .name = "t", .text = rules, .len = strlen(rules)};
    return engine_load(k->e, &t, 1, strict, NULL, st);
}

void ecase_frame(struct ecase *k, const void *ip, uint32_t len)
{
    uint8_t *copy = malloc(len);
    assert_non_null(copy);
    memcpy(copy, ip, len);
    k->now += 1000000;
    const struct sk_frame f = {.data = copy,
                               .caplen = len,
                               .wirelen = len,
                               .ts = k->now,
                               .number = ++k->number,
                               .linktype = LINKTYPE_RAW,
                               .csum_unfilled = k->csum_unfilled};
    k->dropped = engine_packet(k->w, &f) == ENGINE_DROP;
    free(copy);
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

static void ip4(uint8_t *p, uint32_t len, uint8_t proto, uint32_t src, uint32_t dst)
{
    memset(p, 0, 20);
    p[0] = 0x45;
    put16(p + 2, len);
    p[8] = 64;
    p[9] = proto;
    put32(p + 12, src);
    put32(p + 16, dst);
}

uint32_t tcp_packet(uint8_t *buf, uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport, uint32_t seq,
                    uint32_t ack, uint8_t flags, const void *data, uint32_t len)
{
    ip4(buf, 40 + len, IPPROTO_TCP, src, dst);
    uint8_t *t = buf + 20;
    memset(t, 0, 20);
    put16(t, sport);
    put16(t + 2, dport);
    put32(t + 4, seq);
    put32(t + 8, flags & TCP_ACK ? ack : 0);
    t[12] = 5 << 4;
    t[13] = flags;
    put16(t + 14, 65535);
    if (len)
        memcpy(t + 20, data, len);
    return 40 + len;
}

struct conn conn_make(uint32_t client, uint16_t cport)
{
    return (struct conn){.client = client, .cport = cport, .sport = 80, .seq = {1000, 5000000}};
}

void conn_send(struct ecase *k, struct conn *c, int dir, uint8_t flags, const void *data, uint32_t len)
{
    uint8_t buf[2000]; /* on the stack: tests run this on several threads */
    uint32_t n = dir == TS
                     ? tcp_packet(buf, c->client, SERVER, c->cport, c->sport, c->seq[TS], c->seq[TC], flags, data, len)
                     : tcp_packet(buf, SERVER, c->client, c->sport, c->cport, c->seq[TC], c->seq[TS], flags, data, len);
    ecase_frame(k, buf, n);
    c->seq[dir] += len + (flags & (TCP_SYN | TCP_FIN) ? 1 : 0);
}

void conn_text(struct ecase *k, struct conn *c, int dir, const char *text)
{
    conn_send(k, c, dir, TCP_ACK | TCP_PSH, text, (uint32_t)strlen(text));
}

void conn_handshake(struct ecase *k, struct conn *c)
{
    conn_send(k, c, TS, TCP_SYN, NULL, 0);
    conn_send(k, c, TC, TCP_SYN | TCP_ACK, NULL, 0);
    conn_send(k, c, TS, TCP_ACK, NULL, 0);
}

void conn_bye(struct ecase *k, struct conn *c)
{
    conn_send(k, c, TS, TCP_FIN | TCP_ACK, NULL, 0);
    conn_send(k, c, TC, TCP_FIN | TCP_ACK, NULL, 0);
    conn_send(k, c, TS, TCP_ACK, NULL, 0);
}

void udp_send(struct ecase *k, uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport, const char *text)
{
    uint8_t buf[2000];
    uint32_t len = (uint32_t)strlen(text);
    ip4(buf, 28 + len, IPPROTO_UDP, src, dst);
    put16(buf + 20, sport);
    put16(buf + 22, dport);
    put16(buf + 24, 8 + len);
    put16(buf + 26, 0);
    memcpy(buf + 28, text, len);
    ecase_frame(k, buf, 28 + len);
}

unsigned alerts(const struct ecase *k, uint32_t sid)
{
    unsigned n = 0;
    for (unsigned i = 0; i < k->nalerts; i++)
        n += k->sids[i] == sid;
    return n;
}

uint64_t ecounted(const struct ecase *k, enum sk_counter c)
{
    return sk_count_read(&k->c, c);
}
