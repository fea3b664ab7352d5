/* What good rules become. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "load.h"

#define TCP  "alert tcp any any -> any any ("
#define HTTP "alert http any any -> any any ("

static const struct rule *only(const struct loaded *l)
{
    return l->set->rules[0];
}

static const struct rule_inspect *inspect_of(const struct loaded *l, enum rule_buf b)
{
    for (unsigned i = 0; i < only(l)->ninspect; i++)
        if (only(l)->inspect[i].buf == b)
            return &only(l)->inspect[i];
    fail_msg("no inspection of %s", rule_buf_info[b].name);
    return NULL;
}

static void assert_bytes(const struct rule_content *c, const char *bytes, size_t n)
{
    assert_int_equal(c->len, n);
    assert_memory_equal(c->p, bytes, n);
}

static void content_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *bytes;
        size_t n;
    } cases[] = {
        {"abc", "abc", 3},
        {"a|20|b", "a b", 3},
        {"|41 42 43|", "ABC", 3},
        {"|414243|", "ABC", 3},
        {"|0d 0A|x|00|", "\r\nx\0", 4},
        {"a\\;b\\\"c\\\\d\\:e", "a;b\"c\\d:e", 9},
        {"a:b", "a:b", 3},
        {" a ", " a ", 3},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char rule[256];
        snprintf(rule, sizeof rule, TCP "content:\"%s\"; sid:1;)", cases[i].text);
        struct loaded l = load_one(rule);
        assert_int_equal(only(&l)->inspect[0].buf, RULE_BUF_PAYLOAD);
        assert_bytes(&only(&l)->inspect[0].m[0].content, cases[i].bytes, cases[i].n);
        unload(&l);
    }
}

static void content_modifiers(void **state)
{
    (void)state;
    struct loaded l = load_one(TCP "content:\"abcd\"; nocase; offset:3; depth:10; fast_pattern:1,2; content:!\"ef\"; "
                                   "distance:-4; within:9; endswith; content:\"gh\"; startswith; rawbytes; sid:1;)");
    const struct rule_match *m = only(&l)->inspect[0].m;
    assert_int_equal(only(&l)->inspect[0].n, 3);
    assert_int_equal(m[0].content.flags, RC_NOCASE | RC_OFFSET | RC_DEPTH | RC_FAST_PATTERN | RC_FAST_PATTERN_CHOP);
    assert_int_equal(m[0].content.offset, 3);
    assert_int_equal(m[0].content.depth, 10);
    assert_int_equal(m[0].content.fp_off, 1);
    assert_int_equal(m[0].content.fp_len, 2);
    assert_int_equal(m[1].content.flags, RC_NEGATED | RC_RELATIVE | RC_ENDSWITH);
    assert_int_equal(m[1].content.distance, -4);
    assert_int_equal(m[1].content.within, 9);
    assert_int_equal(m[1].content.within_var, RULE_VAR_NONE);
    assert_int_equal(m[2].content.flags, RC_STARTSWITH | RC_DEPTH | RC_RAWBYTES);
    assert_int_equal(m[2].content.depth, 2);
    assert_int_equal(m[0].line, 1);
    assert_int_equal(m[0].col, 31);
    unload(&l);
}

static void sticky_and_legacy_are_the_same(void **state)
{
    (void)state;
    static const char *const rules[] = {
        HTTP "http.method; content:\"POST\"; http.uri; content:\"/a\"; content:\"b\"; distance:1; sid:1;)",
        HTTP "content:\"POST\"; http_method; content:\"/a\"; http_uri; content:\"b\"; http_uri; distance:1; sid:1;)",
        "alert tcp any any -> any any (content:\"POST\"; http_method; uricontent:\"/a\"; uricontent:\"b\"; distance:1; "
        "sid:1;)",
        HTTP "http.method; content:\"POST\"; http.uri; content:\"/a\"; content:\"b\"; distance:1; http.uri; urilen:>1; "
             "sid:1;)"};
    for (unsigned i = 0; i < 3; i++) {
        struct loaded l = load_one(rules[i]);
        assert_int_equal(only(&l)->ninspect, 2);
        assert_int_equal(only(&l)->inspect[0].buf, RULE_BUF_HTTP_METHOD);
        const struct rule_inspect *u = inspect_of(&l, RULE_BUF_HTTP_URI);
        assert_int_equal(u->n, 2);
        assert_bytes(&u->m[0].content, "/a", 2);
        assert_int_equal(u->m[1].content.flags, RC_DISTANCE);
        unload(&l);
    }
}

static void buffers_merge_and_instances_do_not(void **state)
{
    (void)state;
    struct loaded l =
        load_one(HTTP "http.uri; content:\"a\"; http.method; content:\"GET\"; http.uri; content:\"b\"; "
                      "http.uri; url_decode; to_lowercase; content:\"c\"; http.request_header; content:\"d\"; "
                      "http.request_header; content:\"e\"; pkt_data; content:\"f\"; sid:1;)");
    const struct rule *r = only(&l);
    assert_int_equal(r->ninspect, 6);
    assert_int_equal(r->inspect[0].buf, RULE_BUF_HTTP_URI);
    assert_int_equal(r->inspect[0].n, 2);
    assert_int_equal(r->inspect[1].buf, RULE_BUF_HTTP_METHOD);
    assert_int_equal(r->inspect[2].buf, RULE_BUF_HTTP_URI);
    assert_int_equal(r->inspect[2].nxf, 2);
    assert_int_equal(r->inspect[2].xf[0], RULE_XF_URL_DECODE);
    assert_int_equal(r->inspect[2].xf[1], RULE_XF_TO_LOWERCASE);
    assert_int_equal(r->inspect[3].buf, RULE_BUF_HTTP_REQUEST_HEADER);
    assert_int_equal(r->inspect[4].buf, RULE_BUF_HTTP_REQUEST_HEADER);
    assert_int_equal(r->inspect[5].buf, RULE_BUF_PAYLOAD);
    unload(&l);
}

static void every_buffer_name(void **state)
{
    (void)state;
    for (unsigned b = RULE_BUF_PAYLOAD + 1; b < RULE_BUF_COUNT; b++) {
        char rule[256];
        snprintf(rule, sizeof rule, HTTP "%s; content:\"a\"; sid:1;)", rule_buf_info[b].name);
        struct loaded l = load_one(rule);
        assert_int_equal(only(&l)->inspect[0].buf, b);
        unload(&l);
        if (!rule_buf_info[b].legacy)
            continue;
        /* The older names are modifiers or sticky buffers: one of both orders loads. */
        int good = 0;
        const char *const forms[] = {HTTP "%s; content:\"a\"; sid:1;)", HTTP "content:\"a\"; %s; sid:1;)"};
        for (unsigned i = 0; i < 2; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(rule, sizeof rule, forms[i], rule_buf_info[b].legacy);
#pragma GCC diagnostic pop
            struct loaded f = load(rule);
            good += f.set->n == 1 && f.set->rules[0]->inspect[0].buf == b;
            unload(&f);
        }
        assert_int_equal(good, 1);
    }
}

static void pcre_forms(void **state)
{
    (void)state;
    static const struct {
        const char *rule, *expr;
        uint32_t options;
        uint8_t flags;
        enum rule_buf buf;
    } cases[] = {
        {TCP "pcre:\"/a\\/b\\;/i\"; sid:1;)", "a\\/b\\;", PCRE2_CASELESS, 0, RULE_BUF_PAYLOAD},
        {TCP "pcre:/x/smAEG; sid:1;)", "x",
         PCRE2_DOTALL | PCRE2_MULTILINE | PCRE2_ANCHORED | PCRE2_DOLLAR_ENDONLY | PCRE2_UNGREEDY, 0, RULE_BUF_PAYLOAD},
        {TCP "content:\"a\"; pcre:!\"/x y/Rx\"; sid:1;)", "x y", PCRE2_EXTENDED, RP_RELATIVE | RP_NEGATED,
         RULE_BUF_PAYLOAD},
        {TCP "pcre:\"/x/Ui\"; sid:1;)", "x", PCRE2_CASELESS, 0, RULE_BUF_HTTP_URI},
        {HTTP "pcre:\"/x/I\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_URI_RAW},
        {HTTP "pcre:\"/x/P\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_REQUEST_BODY},
        {HTTP "pcre:\"/x/Q\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_RESPONSE_BODY},
        {HTTP "pcre:\"/x/H\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_HEADER},
        {HTTP "pcre:\"/x/D\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_HEADER_RAW},
        {HTTP "pcre:\"/x/M\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_METHOD},
        {HTTP "pcre:\"/x/C\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_COOKIE},
        {HTTP "pcre:\"/x/S\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_STAT_CODE},
        {HTTP "pcre:\"/x/Y\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_STAT_MSG},
        {HTTP "pcre:\"/x/V\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_USER_AGENT},
        {HTTP "pcre:\"/x/W\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_HOST},
        {HTTP "pcre:\"/x/Z\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_HOST_RAW},
        {HTTP "pcre:\"/x/B\"; sid:1;)", "x", 0, 0, RULE_BUF_PAYLOAD},
        {HTTP "http.uri; pcre:\"/x/U\"; sid:1;)", "x", 0, 0, RULE_BUF_HTTP_URI},
        {HTTP "file.data; pcre:\"/x/Q\"; sid:1;)", "x", 0, 0, RULE_BUF_FILE_DATA},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct loaded l = load_one(cases[i].rule);
        const struct rule_inspect *in = inspect_of(&l, cases[i].buf);
        const struct rule_match *m = &in->m[in->n - 1];
        assert_int_equal(m->type, RM_PCRE);
        assert_string_equal(m->pcre.expr, cases[i].expr);
        assert_int_equal(m->pcre.options, cases[i].options);
        assert_int_equal(m->pcre.flags, cases[i].flags);
        unload(&l);
    }
}

static void isdataat_forms(void **state)
{
    (void)state;
    struct loaded l = load_one(TCP "content:\"a\"; isdataat:!10,relative; isdataat:30; sid:1;)");
    const struct rule_match *m = only(&l)->inspect[0].m;
    assert_int_equal(m[1].type, RM_ISDATAAT);
    assert_int_equal(m[1].isdataat.pos, 10);
    assert_true(m[1].isdataat.relative && m[1].isdataat.negated);
    assert_false(m[2].isdataat.relative || m[2].isdataat.negated);
    unload(&l);

    l = load_one(TCP "content:\"a\"; isdataat:!1,relative; sid:1;)"); /* is endswith */
    assert_int_equal(only(&l)->inspect[0].n, 1);
    assert_int_equal(only(&l)->inspect[0].m[0].content.flags, RC_ENDSWITH);
    unload(&l);

    l = load_one(TCP "uricontent:\"a\"; isdataat:4,relative; sid:1;)"); /* beside what it is relative to */
    assert_int_equal(only(&l)->ninspect, 1);
    assert_int_equal(inspect_of(&l, RULE_BUF_HTTP_URI)->n, 2);
    unload(&l);
}

static void byte_tests(void **state)
{
    (void)state;
    struct loaded l = load_one(TCP "content:\"a\"; byte_test:4,!&,0x80,-2,relative,little,bitmask 0xff00; "
                                   "byte_test:10,>=,99,5,string,dec; byte_test:2,!=,7,0; sid:1;)");
    const struct rule_match *m = only(&l)->inspect[0].m;
    const struct rule_byte_test *t = &m[1].byte_test;
    assert_int_equal(t->c.nbytes, 4);
    assert_int_equal(t->op, BT_AND);
    assert_true(t->negated && t->c.relative && t->c.little);
    assert_int_equal(t->value, 0x80);
    assert_int_equal(t->c.offset, -2);
    assert_int_equal(t->c.bitmask, 0xff00);
    assert_int_equal(t->c.bitmask_shift, 8);
    assert_int_equal(m[2].byte_test.c.base, BB_DEC);
    assert_int_equal(m[2].byte_test.op, BT_GE);
    assert_true(m[3].byte_test.negated && m[3].byte_test.op == BT_EQ);
    unload(&l);

    l = load_one(HTTP "http.content_len; byte_test:0,=,0,0,string,dec; sid:1;)");
    assert_int_equal(only(&l)->inspect[0].m[0].byte_test.c.nbytes, 0);
    unload(&l);
}

static void byte_jumps(void **state)
{
    (void)state;
    struct loaded l =
        load_one(TCP "content:\"a\"; byte_jump:4,-4,relative,from_beginning,little,align,multiplier 2,post_offset -3; "
                     "byte_jump:2,0,string,from_end; sid:1;)");
    const struct rule_match *m = only(&l)->inspect[0].m;
    const struct rule_byte_jump *j = &m[1].byte_jump;
    assert_true(j->c.relative && j->c.little && j->align && j->from_beginning && !j->from_end);
    assert_int_equal(j->c.offset, -4);
    assert_int_equal(j->multiplier, 2);
    assert_int_equal(j->post_offset, -3);
    assert_int_equal(m[2].byte_jump.c.base, BB_AUTO);
    assert_true(m[2].byte_jump.from_end);
    assert_int_equal(m[2].byte_jump.multiplier, 1);
    unload(&l);
}

static void variables(void **state)
{
    (void)state;
    struct loaded l =
        load_one(TCP "content:\"a\"; byte_extract:1,2,one,string,dec,relative,multiplier 3; "
                     "byte_math:bytes 2, offset 4, oper <<, rvalue one, result two, endian little, bitmask 0xf0; "
                     "content:\"b\"; distance:one; within:two; byte_test:1,>,two,0; byte_jump:one,two; "
                     "isdataat:one,relative; sid:1;)");
    const struct rule_match *m = only(&l)->inspect[0].m;
    assert_int_equal(only(&l)->nvars, 2);
    assert_int_equal(m[1].byte_extract.var, 0);
    assert_int_equal(m[1].byte_extract.multiplier, 3);
    assert_int_equal(m[2].byte_math.result_var, 1);
    assert_int_equal(m[2].byte_math.rvalue_var, 0);
    assert_int_equal(m[2].byte_math.op, BM_LSHIFT);
    assert_true(m[2].byte_math.c.little);
    assert_int_equal(m[2].byte_math.c.bitmask_shift, 4);
    assert_int_equal(m[3].content.distance_var, 0);
    assert_int_equal(m[3].content.within_var, 1);
    assert_int_equal(m[4].byte_test.value_var, 1);
    assert_int_equal(m[5].byte_jump.c.nbytes_var, 0);
    assert_int_equal(m[5].byte_jump.c.offset_var, 1);
    assert_int_equal(m[6].isdataat.pos_var, 0);
    unload(&l);
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *opt;
        enum rule_match_type type;
        int64_t yes, no;
    } cases[] = {{"dsize:5", RM_DSIZE, 5, 6},           {"dsize:<5", RM_DSIZE, 4, 5},
                 {"dsize:>=5", RM_DSIZE, 5, 4},         {"dsize:5<>8", RM_DSIZE, 6, 5},
                 {"dsize:!5", RM_DSIZE, 4, 5},          {"ttl:<=3", RM_TTL, 3, 4},
                 {"itype:!=8", RM_ITYPE, 0, 8},         {"itype:7<>20", RM_ITYPE, 8, 20},
                 {"icode: >2", RM_ICODE, 3, 2},         {"tcp.mss:536-1460", RM_TCP_MSS, 600, 536},
                 {"ip_proto:gre", RM_IP_PROTO, 47, 6},  {"ip_proto:!6", RM_IP_PROTO, 17, 6},
                 {"fragoffset:>0", RM_FRAGOFFSET, 1, 0}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char rule[128];
        snprintf(rule, sizeof rule, "alert ip any any -> any any (%s; sid:1;)", cases[i].opt);
        struct loaded l = load_one(rule);
        const struct rule_match *m = &only(&l)->pkt[0];
        assert_int_equal(m->type, cases[i].type);
        if (!rule_num_match(&m->num.n, cases[i].yes) || rule_num_match(&m->num.n, cases[i].no))
            fail_msg("%s", cases[i].opt);
        unload(&l);
    }
    struct loaded l = load_one("alert ip any any -> any any (dsize:!5<>8; sid:1;)");
    assert_true(only(&l)->pkt[0].num.negated);
    assert_true(rule_num_match(&only(&l)->pkt[0].num.n, 6));
    unload(&l);
}

static void packet_fields(void **state)
{
    (void)state;
    struct loaded l =
        load_one(TCP "seq:5; ack:!7; window:55808; id:1; tos:!x10; sameip; flags:+SA,12; flags:0; fragbits:!MD; "
                     "ipopts:lsrr; tcp.flags:!S; stream_size:both,>=,9; decode-event:ipv4.trunc_pkt; "
                     "stream-event:rst_invalid_ack; sid:1;)");
    const struct rule_match *m = only(&l)->pkt;
    assert_int_equal(only(&l)->npkt, 14);
    assert_true(m[0].type == RM_TCP_SEQ && m[0].value.value == 5 && !m[0].value.negated);
    assert_true(m[1].type == RM_TCP_ACK && m[1].value.value == 7 && m[1].value.negated);
    assert_true(m[2].type == RM_TCP_WINDOW && m[2].value.value == 55808);
    assert_true(m[3].type == RM_IP_ID && m[3].value.value == 1);
    assert_true(m[4].type == RM_TOS && m[4].value.value == 16 && m[4].value.negated);
    assert_int_equal(m[5].type, RM_SAMEIP);
    assert_true(m[6].tcp_flags.flags == 0x12 && m[6].tcp_flags.ignore == 0xc0 && m[6].tcp_flags.mod == '+');
    assert_true(m[7].tcp_flags.flags == 0 && m[7].tcp_flags.mod == 0);
    assert_true(m[8].fragbits.bits == 3 && m[8].fragbits.mod == '!');
    assert_string_equal(m[9].name.name, "lsrr");
    assert_true(m[10].tcp_flags.flags == 2 && m[10].tcp_flags.mod == '!');
    assert_true(m[11].stream_size.which == 2 && m[11].stream_size.op == RULE_GE && m[11].stream_size.size == 9);
    assert_string_equal(m[12].name.name, "ipv4.trunc_pkt");
    assert_string_equal(m[13].name.name, "rst_invalid_ack");
    unload(&l);
}

static void flow_and_protocol(void **state)
{
    (void)state;
    struct loaded l = load_one(TCP "flow: to_server , established,only_stream; app-layer-protocol:!http,final; "
                                   "app-layer-protocol:tls; sid:1;)");
    assert_int_equal(only(&l)->flow, RULE_FLOW_TOSERVER | RULE_FLOW_ESTABLISHED | RULE_FLOW_ONLY_STREAM);
    const struct rule_match *m = only(&l)->pkt;
    assert_string_equal(m[0].name.name, "http");
    assert_true(m[0].name.negated && m[0].name.dir == RULE_APP_FINAL);
    assert_true(!m[1].name.negated && m[1].name.dir == RULE_APP_PACKET);
    unload(&l);
}

static void meta(void **state)
{
    (void)state;
    struct loaded l =
        load_one("alert tcp any any -> any any (msg:\"a \\\"b\\\" \\; c\\\\\"; classtype:web-application-attack; "
                 "reference: url, example.com/a,b; reference:cve,2021-1; metadata:created_at 2020_01_01, "
                 "sekisho_block 90m; target:src_ip; rev:3; gid:2; sid:77;)");
    const struct rule *r = only(&l);
    assert_string_equal(r->msg, "a \"b\" ; c\\");
    assert_string_equal(r->classtype, "web-application-attack");
    assert_string_equal(r->class_text, "Web Application Attack");
    assert_int_equal(r->priority, 1);
    assert_int_equal(r->nref, 2);
    assert_string_equal(r->ref[0], "url,example.com/a,b");
    assert_int_equal(r->nmeta, 2);
    assert_string_equal(r->meta[0], "created_at");
    assert_string_equal(r->meta[1], "2020_01_01");
    assert_int_equal(r->block_seconds, 5400);
    assert_int_equal(r->target, RULE_TARGET_SRC);
    assert_true(r->sid == 77 && r->rev == 3 && r->gid == 2);
    assert_int_equal(strncmp(r->raw, "alert tcp any", 13), 0);
    unload(&l);

    l = load_one("alert tcp any any -> any any (priority:7; classtype:bad-unknown; metadata:sekisho_block never; "
                 "noalert; sid:1;)");
    assert_int_equal(only(&l)->priority, 7);
    assert_int_equal(only(&l)->block_seconds, -1);
    assert_int_equal(only(&l)->gid, 1);
    assert_true(only(&l)->noalert);
    assert_string_equal(only(&l)->msg, "");
    unload(&l);
}

static void rates(void **state)
{
    (void)state;
    struct loaded l = load_one(TCP "threshold: type both , track by_dst,count 5, seconds 60; sid:1;)");
    assert_int_equal(only(&l)->threshold.type, RULE_TH_BOTH);
    assert_int_equal(only(&l)->threshold.track, RULE_BY_DST);
    assert_true(only(&l)->threshold.count == 5 && only(&l)->threshold.seconds == 60);
    unload(&l);
    l = load_one(TCP "detection_filter: track by_src, count 30, seconds 10; sid:1;)");
    assert_int_equal(only(&l)->det_filter.type, RULE_TH_DETECTION_FILTER);
    assert_int_equal(only(&l)->det_filter.count, 30);
    assert_int_equal(only(&l)->threshold.type, RULE_TH_NONE);
    unload(&l);
    l = load_one(TCP "threshold: type backoff, track by_flow, count 2, multiplier 10; sid:1;)");
    assert_int_equal(only(&l)->threshold.multiplier, 10);
    unload(&l);
}

static void prefilter(void **state)
{
    (void)state;
    struct loaded l = load_one("alert icmp any any -> any any (itype:8; prefilter; sid:1;)");
    assert_true(only(&l)->prefilter_pkt);
    unload(&l);
    l = load_one(TCP "content:\"a\"; prefilter; content:\"bcd\"; sid:1;)");
    assert_false(only(&l)->prefilter_pkt);
    assert_int_equal(only(&l)->inspect[0].m[0].content.flags, RC_FAST_PATTERN);
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_text),
        cmocka_unit_test(content_modifiers),
        cmocka_unit_test(sticky_and_legacy_are_the_same),
        cmocka_unit_test(buffers_merge_and_instances_do_not),
        cmocka_unit_test(every_buffer_name),
        cmocka_unit_test(pcre_forms),
        cmocka_unit_test(isdataat_forms),
        cmocka_unit_test(byte_tests),
        cmocka_unit_test(byte_jumps),
        cmocka_unit_test(variables),
        cmocka_unit_test(numbers),
        cmocka_unit_test(packet_fields),
        cmocka_unit_test(flow_and_protocol),
        cmocka_unit_test(meta),
        cmocka_unit_test(rates),
        cmocka_unit_test(prefilter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
