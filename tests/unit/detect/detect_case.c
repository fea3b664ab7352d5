#include "detect_case.h"
#include <stdio.h>

static const struct rule_var addr_vars[] = {{"HOME_NET", "10.0.0.0/8"}, {"EXTERNAL_NET", "!$HOME_NET"}};
static const struct rule_var port_vars[] = {{"HTTP_PORTS", "80"}};
static const struct inspect_conf inspect = {
    .pcre_match_limit = 3500, .pcre_depth_limit = 1500, .pcre_heap_limit_kib = 1024};

static void keep(void *arg, const struct sk_diag *d)
{
    struct rules *r = arg;
    size_t n = strlen(r->said);
    if (d->level != SK_DIAG_NOTE)
        snprintf(r->said + n, sizeof r->said - n, "%s:%u: %s\n", d->file ? d->file : "?", d->line, d->text);
}

static bool known_stream_event(const char *name)
{
    return strcmp(name, "est_invalid_ack") == 0;
}

static struct rules load(const char *text, const char *thresholds)
{
    struct rules r = {0};
    const struct rule_conf rc = {.addr_vars = addr_vars, .naddr = 2, .port_vars = port_vars, .nport = 1};
    const struct sk_diag_sink sink = {keep, &r};
    struct rule_loader *l;
    assert_int_equal(rule_loader_create(&rc, &sink, &l), SK_OK);
    assert_true(rule_loader_rules(l, "t", text, strlen(text)) >= 0);
    if (thresholds)
        assert_true(rule_loader_thresholds(l, "th", thresholds, strlen(thresholds)) >= 0);
    assert_int_equal(rule_loader_finish(l, &r.tree), SK_OK);
    const struct detect_conf dc = {.inspect = inspect, .stream_event_known = known_stream_event};
    assert_int_equal(detect_compile(r.tree, &dc, &sink, &r.set), SK_OK);
    return r;
}

struct rules rules_try(const char *text)
{
    return load(text, NULL);
}

struct rules rules_load(const char *text, const char *thresholds)
{
    struct rules r = load(text, thresholds);
    if (r.said[0])
        fail_msg("%s", r.said);
    return r;
}

void rules_free(struct rules *r)
{
    detect_set_free(r->set);
    rule_set_free(r->tree);
    *r = (struct rules){0};
}

struct sk_addr case_addr(const char *text)
{
    struct sk_addr a;
    assert_int_equal(sk_addr_parse(text, strlen(text), &a), SK_OK);
    return a;
}

void case_open_conf(struct tcase *k, const char *rules, const char *thresholds, const struct detect_thread_conf *conf)
{
    *k = (struct tcase){.client = case_addr("192.0.2.1"), .server = case_addr("10.0.0.1"), .first = {true, true}};
    k->rules = rules_load(rules, thresholds);
    assert_int_equal(detect_thresholds_create(4096, &k->th), SK_OK);
    assert_int_equal(detect_thread_create(conf, &inspect, k->th, &k->c, &k->t), SK_OK);
    assert_int_equal(detect_thread_use(k->t, k->rules.set), SK_OK);
    k->in.now = 1000 * SK_NS_PER_S;
    k->in.proto = IPPROTO_TCP;
    k->in.flow_id = 1;
}

void case_open(struct tcase *k, const char *rules)
{
    const struct detect_thread_conf conf = {.max_alerts = 15, .window_memcap = 1 << 20, .max_tx_nodes = 1024};
    case_open_conf(k, rules, NULL, &conf);
}

void case_close(struct tcase *k)
{
    detect_flow_release(k->t, &k->df);
    detect_thread_free(k->t);
    detect_thresholds_free(k->th);
    rules_free(&k->rules);
}

void case_reload(struct tcase *k, const char *rules)
{
    struct rules old = k->rules;
    k->rules = rules_load(rules, NULL);
    assert_int_equal(detect_thread_use(k->t, k->rules.set), SK_OK);
    rules_free(&old);
}

void case_new_flow(struct tcase *k)
{
    detect_flow_release(k->t, &k->df);
    memset(&k->df, 0, sizeof k->df);
    k->in.flow_id++;
    for (int d = 0; d < 2; d++) {
        k->offset[d] = 0;
        k->first[d] = true;
    }
}

void case_begin(struct tcase *k, int dir, const void *payload, uint32_t len)
{
    const struct sk_addr *src = dir == TS ? &k->client : &k->server, *dst = dir == TS ? &k->server : &k->client;
    k->p.flags |= PKT_IPV4;
    k->p.src = *src;
    k->p.dst = *dst;
    k->p.proto = k->in.proto;
    k->p.payload = sk_span_of(payload, len);
    k->in.p = &k->p;
    k->in.src = src;
    k->in.dst = dst;
    k->in.sport = dir == TS ? 40000 : 80;
    k->in.dport = dir == TS ? 80 : 40000;
    k->in.dir = (uint8_t)dir;
    k->in.has_flow = true;
    k->in.first = k->first[dir];
    k->first[dir] = false;
    detect_begin(k->t, &k->df, &k->in);
}

void case_end(struct tcase *k)
{
    unsigned n;
    const struct detect_alert *a = detect_end(k->t, &k->df, &k->in, &n, &k->drop);
    for (unsigned i = 0; i < n; i++) {
        assert_true(k->nfired < CASE_MAX_FIRED);
        k->fired[k->nfired++] = a[i].rule->sid;
    }
}

void case_packet(struct tcase *k, int dir, const char *payload)
{
    uint32_t len = (uint32_t)strlen(payload);
    k->in.in_stream = false;
    uint8_t *copy = malloc(len ? len : 1); /* of the exact size, for the address sanitizer */
    assert_non_null(copy);
    memcpy(copy, payload, len);
    case_begin(k, dir, copy, len);
    detect_packet(k->t, &k->df, &k->in);
    case_end(k);
    free(copy);
}

void case_segment(struct tcase *k, int dir, const void *payload, uint32_t len, bool push)
{
    k->in.proto = IPPROTO_TCP;
    k->in.in_stream = true;
    k->in.established = true;
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, payload, len);
    case_begin(k, dir, copy, len);
    if (detect_wants_stream(&k->df, dir))
        detect_stream_add(k->t, &k->df, &k->in, dir, sk_span_of(copy, len), k->offset[dir]);
    k->offset[dir] += len;
    detect_packet(k->t, &k->df, &k->in);
    detect_stream_flush(k->t, &k->df, &k->in, dir, push, false);
    case_end(k);
    free(copy);
}

void case_text(struct tcase *k, int dir, const char *payload)
{
    case_segment(k, dir, payload, (uint32_t)strlen(payload), true);
}

void case_eof(struct tcase *k, int dir)
{
    case_begin(k, dir, "", 0);
    detect_stream_flush(k->t, &k->df, &k->in, dir, true, true);
    case_end(k);
}

void fake_set(struct fake_tx *tx, enum rule_buf buf, const char *text, bool complete)
{
    tx->buf[buf].data = sk_span_str(text);
    tx->buf[buf].have = DETECT_READY;
    tx->buf[buf].complete = complete;
}

static enum detect_have fake_buffer(void *arg, enum rule_buf buf, int dir, unsigned index, struct inspect_input *in)
{
    struct fake_tx *tx = arg;
    struct fake_buf *b = &tx->buf[buf];
    if (index > 0 || !(rule_buf_info[buf].dir >> dir & 1))
        return DETECT_ABSENT;
    b->asked++;
    if (b->have == DETECT_READY)
        *in = (struct inspect_input){.buf = b->data, .at_start = true, .complete = b->complete};
    return b->have;
}

void case_tx(struct tcase *k, struct fake_tx *tx, int dir, bool done)
{
    k->in.app = DETECT_APP_HTTP;
    k->in.established = true;
    k->in.in_stream = true;
    case_begin(k, dir, "", 0);
    detect_packet(k->t, &k->df, &k->in);
    const struct detect_tx_view v = {.arg = tx, .tx_id = tx->id, .buffer = fake_buffer, .done = done};
    detect_tx(k->t, &k->df, &tx->dt, &k->in, dir, &v);
    case_end(k);
}

unsigned fired(const struct tcase *k, uint32_t sid)
{
    unsigned n = 0;
    for (unsigned i = 0; i < k->nfired; i++)
        n += k->fired[i] == sid;
    return n;
}

uint64_t counted(const struct tcase *k, enum sk_counter c)
{
    return sk_count_read(&k->c, c);
}
