/*
 * A byte of settings (1 prevent mode, 2 midstream, 4 little memory, 8 Ethernet instead of raw IP, 16 behind proxies),
 * then frames: two bytes of length (0xffff: a reload of the rules instead), two of time to the frame before in 10 ms,
 * the frame. Whatever comes: no error of a sanitizer, each record is valid, no proxy is ever asked to be blocked, and
 * each frame and each flow is in the ledger once.
 */
#include <stdlib.h>
#include "base/clock.h"
#include "conf/conf.h"
#include "engine/engine.h"
#include "event/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char rules[] =
    "pass ip 203.0.113.99 any -> any any (sid:1;)\n"
    "alert ip [192.0.2.0/24,198.51.100.7] any -> $HOME_NET any (sid:2;)\n"
    "alert tcp any any -> any any (flags:S,CE; window:1024; sid:3;)\n"
    "alert tcp any any -> any any (flow:established,to_server; content:\"evil\"; nocase; sid:4;)\n"
    "drop tcp any any -> any any (flow:established; content:\"attack\"; content:\"now\"; distance:2; within:20; "
    "sid:5;)\n"
    "alert tcp any any -> any [80,8080] (content:\"GET\"; depth:3; pcre:\"/\\/[a-z]+\\.php/R\"; sid:6;)\n"
    "alert tcp-pkt any any -> any any (content:!\"a\"; dsize:>3; sid:7;)\n"
    "alert tcp-stream any any -> any any (content:\"|0d 0a|\"; byte_test:1,>,64,0,relative; sid:8;)\n"
    "alert udp any any -> any any (content:\"|00 01|\"; byte_jump:1,0,relative; isdataat:!10,relative; sid:9;)\n"
    "alert icmp any any -> any any (itype:3; icode:<5; sid:10;)\n"
    "alert ip any any -> any any (fragbits:M; fragoffset:0; sid:11;)\n"
    "alert pkthdr any any -> any any (decode-event:ipv4.trunc_pkt; sid:12;)\n"
    "alert http any any -> any any (http.uri; content:\"/\"; flowbits:set,web; noalert; sid:13;)\n"
    "drop http any any -> any any (flow:to_client; flowbits:isset,web; file.data; content:\"script\"; sid:14;)\n"
    "alert http any any -> any any (http.method; content:\"POST\"; http.request_body; content:\"pass\"; sid:15;)\n"
    "alert http any any -> any any (http.uri; url_decode; to_lowercase; strip_whitespace; content:\"union\"; sid:16;)\n"
    "alert http any any -> any any (http.request_header; content:\"X-\"; startswith; sid:17;)\n"
    "alert http any any -> any any (http.response_body; to_sha256; content:\"|e3|\"; sid:18;)\n"
    "alert http any any -> any any (http.host; content:\".\"; endswith; sid:19;)\n"
    "alert http any any -> any any (http.user_agent; pcre:\"/^[A-Z][a-z]{2,}\\d/\"; sid:20;)\n"
    "alert http any any -> any any (http.stat_code; content:\"40\"; depth:2; threshold:type both, track by_both, count "
    "2, "
    "seconds 9; sid:21;)\n"
    "alert http any any -> any any (http.cookie; byte_extract:1,0,n,string,dec; content:\"=\"; offset:n; sid:22;)\n"
    "alert tcp any any -> any any (stream_size:client,>,50; content:\"x\"; sid:23;)\n"
    "alert tcp any any -> any any (content:\"e\"; detection_filter:track by_src, count 2, seconds 5; sid:24;)\n"
    "reject tcp any any <> any 21 (content:\"USER\"; content:!\"anonymous\"; metadata:sekisho_block 5m; sid:25;)\n"
    "alert http any any -> any any (sid:26;)\n";

static const char other_rules[] = "alert tcp any any -> any any (content:\"e\"; sid:4;)\n"
                                  "alert http any any -> any any (http.uri; content:\"/\"; http.request_body; "
                                  "content:\"a\"; sid:13;)\n"
                                  "alert ip any any -> any any (sid:2;)\n";

enum { PREVENT = 1, MIDSTREAM = 2, SMALL = 4, ETHERNET = 8, HOPS = 16 };

/* 10.0.9.0/24 append a header, 10.0.8.0/24 send PROXY headers. */
static const struct sk_prefix hops[2] = {{.addr.b = {[10] = 0xff, 0xff, 10, 0, 9, 0}, .len = 120},
                                         {.addr.b = {[10] = 0xff, 0xff, 10, 0, 8, 0}, .len = 120}};

struct run {
    uint8_t how;
};

static void on_event(void *arg, const void *rec, uint32_t len)
{
    (void)arg;
    if (event_valid(rec, len) != SK_OK)
        abort();
}

static void on_block(void *arg, const struct decide_request *q)
{
    const struct run *r = arg;
    if (q->evidence_len > DECIDE_EVIDENCE_MAX || q->seconds <= 0 || !identity_valid(&q->identity))
        abort();
    if (!(r->how & HOPS))
        return;
    for (unsigned i = 0; i < 2; i++)
        if (sk_prefix_overlaps(&hops[i], &q->target))
            abort();
    if (!identity_known(&q->identity) || !sk_addr_eq(&q->identity.client, &q->target.addr))
        abort();
}

static int set(struct conf *c, const char *key_value)
{
    return conf_set_arg(c, key_value, NULL);
}

static struct conf *make_conf(uint8_t how)
{
    static const char *const small[] = {"flow.max-flows=64", "defrag.memcap=64kb", "defrag.trackers=32",
                                        "stream.memcap=64kb", "http.memcap=256kb"};
    struct conf *c;
    if (conf_default(&c) != SK_OK)
        abort();
    int rc = set(c, "capture.checksum-validation=no");
    if (rc == SK_OK)
        rc = set(c, how & PREVENT ? "mode=prevent" : "mode=detect");
    if (rc == SK_OK && (how & MIDSTREAM))
        rc = set(c, "stream.midstream=yes");
    if (rc == SK_OK && (how & HOPS))
        rc = set(c, "proxies.http=10.0.9.0/24");
    if (rc == SK_OK && (how & HOPS))
        rc = set(c, "proxies.proxy-protocol=10.0.8.0/24");
    if (rc == SK_OK)
        rc = set(c, "outputs.eve.payload=yes");
    for (unsigned i = 0; rc == SK_OK && i < 5; i++)
        if (i < 3 || (how & SMALL))
            rc = set(c, small[i]);
    if (rc != SK_OK)
        abort();
    return c;
}

static void load(struct engine *e, const char *text)
{
    const struct engine_text t = {.kind = ENGINE_RULES, .name = "fuzz", .text = text, .len = strlen(text)};
    if (engine_load(e, &t, 1, true, NULL, NULL) != SK_OK)
        abort();
}

/* One engine a mode: compiling the rules each time would take all the time. */
static struct engine *engine_for(uint8_t how)
{
    static struct engine *engines[2 * HOPS];
    struct engine **e = &engines[how & (PREVENT | MIDSTREAM | SMALL | HOPS)];
    const struct engine_options opt = {.offline = true, .fixed_seeds = true, .event_mask = UINT32_MAX};
    if (*e == NULL) {
        if (engine_create(make_conf(how), &opt, e) != SK_OK)
            abort();
        load(*e, rules);
    }
    return *e;
}

static void run(struct engine *e, struct engine_worker *w, uint8_t how, const uint8_t *p, size_t left)
{
    int64_t now = 1700000000 * SK_NS_PER_S;
    uint64_t number = 0;
    bool reloaded = false;
    while (left >= 4) {
        uint32_t len = (uint32_t)p[0] << 8 | p[1];
        now += ((int64_t)p[2] << 8 | p[3]) * 10000000;
        p += 4;
        left -= 4;
        if (len == 0xffff) {
            if (!reloaded)
                load(e, other_rules);
            reloaded = true;
            engine_worker_idle(w, now);
            continue;
        }
        if (len > left)
            len = (uint32_t)left;
        uint8_t *copy = malloc(len ? len : 1); /* so that a read one byte past the frame is seen */
        if (copy == NULL)
            abort();
        memcpy(copy, p, len);
        const struct sk_frame f = {.data = copy,
                                   .caplen = len,
                                   .wirelen = len,
                                   .ts = now,
                                   .number = ++number,
                                   .linktype = how & ETHERNET ? 1 : 101};
        if (engine_packet(w, &f) == ENGINE_DROP && !(how & PREVENT))
            abort();
        free(copy);
        p += len;
        left -= len;
    }
    engine_worker_finish(w);
    if (reloaded)
        load(e, rules);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sk_counters counters;
    if (size < 1)
        return 0;
    struct engine *e = engine_for(data[0]);
    struct run r = {.how = data[0]};
    const struct engine_sink sink = {.event = on_event, .block = on_block, .arg = &r};
    struct engine_worker *w;
    if (engine_worker_create(e, 0, &sink, &counters, &w) != SK_OK)
        abort();
    run(e, w, data[0], data + 1, size - 1);
    engine_worker_free(w);
    if (sk_count_sum(&counters, SK_LP_FIRST, SK_LP_LAST) != counters.v[SK_C_PKTS] ||
        sk_count_sum(&counters, SK_LF_FIRST, SK_LF_LAST) != counters.v[SK_C_FLOWS])
        abort();
    return 0;
}
