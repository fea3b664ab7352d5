/* Every rule that must be refused: where, and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "load.h"

/* Options of a rule whose header takes 31 columns, so that options start at column 32. */
#define TCP  "alert tcp any any -> any any ("
#define HTTP "alert http any any -> any any ("
#define UDP  "alert udp any any -> any any ("

static const struct {
    const char *rule;
    const char *said; /* the start of the one diagnostic */
} cases[] = {
    /* header */
    {"alarm tcp any any -> any any (sid:1;)", "1:1: E: unknown action 'alarm'"},
    {"alert dns any any -> any any (sid:1;)", "1:7: U: protocol 'dns' is not supported yet"},
    {"alert tcpp any any -> any any (sid:1;)", "1:7: E: unknown protocol 'tcpp'"},
    {"alert tcp any any <- any any (sid:1;)",
     "1:19: E: direction '<-' does not exist; exchange source and destination and write '->'"},
    {"alert tcp any any => any any (sid:1;)", "1:19: U: direction '=>' (transactional rules) is not supported yet"},
    {"alert tcp any any any any (sid:1;)", "1:19: E: direction must be '->' or '<>', not 'any'"},
    {"alert tcp any any -> any (sid:1;)", "1:26: E: port is missing"},
    {"alert tcp any any -> any any", "1:29: E: expected '('"},
    {"alert", "1:6: E: protocol is missing"},
    {"alert tcp 1.2.3 any -> any any (sid:1;)", "1:11: E: address '1.2.3': is not an address"},
    {"alert tcp 1.2.3.4/33 any -> any any (sid:1;)",
     "1:11: E: address '1.2.3.4/33': is not an address and prefix length"},
    {"alert tcp HOME_NET any -> any any (sid:1;)",
     "1:11: E: address 'HOME_NET': is not an address (variables start with $)"},
    {"alert tcp $NONE any -> any any (sid:1;)", "1:11: E: address '$NONE': is not a known address variable"},
    {"alert tcp $LOOP any -> any any (sid:1;)",
     "1:11: E: address '[1.1.1.1,$LOOP]' in $LOOP: is nested too deeply, or a variable refers to itself"},
    {"alert tcp !any any -> any any (sid:1;)", "1:11: E: address '!any': matches nothing"},
    {"alert tcp [1.1.1.1,!1.1.1.1] any -> any any (sid:1;)", "1:11: E: address '[1.1.1.1,!1.1.1.1]': matches nothing"},
    {"alert tcp [1.1.1.1 any -> any any (sid:1;)",
     "1:11: E: address '[1.1.1.1 any -> any any (sid:1;)': has an unbalanced bracket"},
    {"alert tcp 1.1.1.1] any -> any any (sid:1;)", "1:11: E: address '1.1.1.1]': has an unbalanced bracket"},
    {"alert tcp [1.1.1.1,,2.2.2.2] any -> any any (sid:1;)", "1:11: E: address '': is empty"},
    {"alert tcp 2.2.2.2-1.1.1.1 any -> any any (sid:1;)", "1:11: E: address '2.2.2.2-1.1.1.1': range is reversed"},
    {"alert tcp !!1.1.1.1 any -> any any (sid:1;)", "1:11: E: address '!!1.1.1.1': is negated twice"},
    {"alert tcp any 65536 -> any any (sid:1;)", "1:15: E: port '65536': is not a port from 0 to 65535"},
    {"alert tcp any 90:80 -> any any (sid:1;)", "1:15: E: port '90:80': range is reversed"},
    {"alert tcp any !any -> any any (sid:1;)", "1:15: E: port '!any': matches nothing"},
    {"alert tcp any $NONE -> any any (sid:1;)", "1:15: E: port '$NONE': is not a known port variable"},
    {"alert tcp any $LOOP -> any any (sid:1;)", "1:15: E: port '$LOOP': is nested too deeply"},
    {"alert tcp any : -> any any (sid:1;)", "1:15: E: port ':': is not a range"},
    /* the shape of options */
    {TCP "sid:1;", "1:36: E: rule does not end with ')'"},
    {TCP "sid:1)", "1:31: E: option does not end with ';'"},
    {TCP "sid:1;) x", "1:39: E: rule does not end with ')'"},
    {TCP "msg:\"a\";)", "1:1: E: rule has no sid"},
    {TCP "sid:0;)", "1:35: E: 'sid' must be a number from 1 to 4294967295"},
    {TCP "sid:x;)", "1:35: E: 'sid' must be a number"},
    {TCP "sid:1; sid:2;)", "1:38: E: 'sid' is given twice"},
    {TCP "sid;)", "1:31: E: 'sid' needs a value"},
    {TCP "nocase:1; sid:1;)", "1:38: E: 'nocase' takes no value"},
    {TCP "contnet:\"a\"; sid:1;)", "1:31: E: unknown keyword 'contnet'; did you mean 'content'?"},
    {TCP "zzzzzzzzz; sid:1;)", "1:31: E: unknown keyword 'zzzzzzzzz'\n"},
    {TCP "; sid:1;)", "1:31: E: empty option"},
    {TCP "dns.query; content:\"a\"; sid:1;)", "1:31: U: keyword 'dns.query' is not supported yet"},
    {TCP "xbits:set,a,track ip_src; sid:1;)", "1:31: U: keyword 'xbits' is not supported yet"},
    {TCP "msg:text; sid:1;)", "1:35: E: value of 'msg' must stand in quotes"},
    {TCP "msg:\"text; sid:1;)", "1:35: E: quote is not closed"},
    {TCP "content:\"a;b\"; sid:1;)", "1:39: E: quote is not closed (a ';' inside quotes is written '\\;')"},
    {TCP "classtype:\"bad-unknown\"; sid:1;)", "1:41: E: value of 'classtype' must not stand in quotes"},
    {TCP "msg:\"a\"; msg:\"b\"; sid:1;)", "1:40: E: 'msg' is given twice"},
    {TCP "priority:0; sid:1;)", "1:40: E: 'priority' must be a number from 1 to 255"},
    {TCP "reference:cve; sid:1;)", "1:41: E: reference needs a type and a value"},
    {TCP "target:both; sid:1;)", "1:38: E: target must be src_ip or dest_ip"},
    {TCP "metadata:sekisho_block soon; sid:1;)", "1:54: E: sekisho_block needs 'never' or a duration"},
    {TCP "metadata:sekisho_block 0h; sid:1;)", "1:54: E: sekisho_block needs 'never' or a duration"},
    {TCP "metadata:sekisho_block 1h, sekisho_block 2h; sid:1;)", "1:31: E: 'metadata' is given twice"},
    /* content */
    {TCP "content:\"\"; sid:1;)", "1:40: E: content is empty"},
    {TCP "content:\"||\"; sid:1;)", "1:40: E: content is empty"},
    {TCP "content:abc; sid:1;)", "1:39: E: value of 'content' must stand in quotes"},
    {TCP "content:\"|22 2 22|\"; sid:1;)", "1:44: E: hexadecimal digits in |...| must come in pairs"},
    {TCP "content:\"|2g|\"; sid:1;)", "1:41: E: hexadecimal digits in |...| must come in pairs"},
    {TCP "content:\"|zz|\"; sid:1;)", "1:41: E: not a hexadecimal digit in |...|"},
    {TCP "content:\"a|41\"; sid:1;)", "1:40: E: hexadecimal part is not closed with '|'"},
    {TCP "content:\"a\\nb\"; sid:1;)", "1:41: E: in a content, '\\' may only stand before"},
    {TCP "content:\"a\"b\"; sid:1;)", "1:41: E: '\"' inside a content must be written"},
    {TCP "nocase; sid:1;)", "1:31: E: 'nocase' needs a content before it"},
    {TCP "content:\"a\"; nocase; nocase; sid:1;)", "1:52: E: 'nocase' is given twice for one content"},
    {TCP "content:\"abc\"; depth:2; sid:1;)", "1:52: E: depth 2 is less than the content's length 3"},
    {TCP "content:\"abc\"; depth:5; depth:5; sid:1;)", "1:55: E: 'depth' is given twice"},
    {TCP "content:\"a\"; content:\"abc\"; within:2; sid:1;)", "1:66: E: within 2 is less than the content's length 3"},
    {TCP "content:\"a\"; content:\"b\"; depth:3; distance:1; sid:1;)",
     "1:66: E: depth or offset and distance or within do not go together"},
    {TCP "content:\"a\"; content:\"b\"; distance:1; offset:1; sid:1;)",
     "1:69: E: depth or offset and distance or within do not go together"},
    {TCP "content:\"a\"; depth:65536; sid:1;)", "1:50: E: 'depth' must be a number from 0 to 65535"},
    {TCP "content:\"a\"; offset:-1; sid:1;)", "1:51: E: 'offset' must be a number from 0"},
    {TCP "content:\"a\"; distance:9999999; sid:1;)", "1:53: E: 'distance' must be a number"},
    {TCP "content:\"a\"; offset:var; sid:1;)", "1:51: E: unknown byte_extract or byte_math variable 'var'"},
    {TCP "content:\"a\"; startswith; depth:5; sid:1;)", "1:56: E: 'depth' does not go with 'startswith'"},
    {TCP "content:\"a\"; offset:3; startswith; sid:1;)", "1:54: E: 'startswith' does not go with depth, offset"},
    {TCP "content:\"a\"; startswith; startswith; sid:1;)", "1:56: E: 'startswith' is given twice"},
    {TCP "content:\"a\"; fast_pattern; content:\"b\"; fast_pattern; sid:1;)",
     "1:71: E: fast_pattern is given twice in one rule"},
    {TCP "content:!\"a\"; fast_pattern:only; sid:1;)", "1:58: E: fast_pattern:only does not go with a negated content"},
    {TCP "content:!\"a\"; offset:1; fast_pattern; sid:1;)", "1:55: E: fast_pattern does not go with a negated content"},
    {TCP "content:\"a\"; fast_pattern:only; offset:1; sid:1;)", "1:63: E: 'offset' does not go with fast_pattern:only"},
    {TCP "content:\"abc\"; fast_pattern:1,3; sid:1;)",
     "1:59: E: fast_pattern 1,3 does not lie within the content of 3 bytes"},
    {TCP "content:\"abc\"; fast_pattern:x; sid:1;)", "1:59: E: fast_pattern takes 'only' or offset,length"},
    {TCP "content:\"a\"; rawbytes; http_uri; sid:1;)", "1:54: E: 'http_uri' does not go with 'rawbytes'"},
    {TCP "content:\"abc\"; fast_pattern:only; content:\"b\"; distance:1; sid:1;)",
     "1:65: E: match relative to a content with fast_pattern:only"},
    {TCP "content:\"abc\"; fast_pattern:only; pcre:\"/b/R\"; sid:1;)",
     "1:65: E: match relative to a content with fast_pattern:only"},
    /* buffers */
    {HTTP "http.uri; sid:1;)", "1:32: E: nothing is matched on buffer 'http.uri'"},
    {HTTP "http.uri; http.method; content:\"a\"; sid:1;)", "1:32: E: nothing is matched on buffer 'http.uri'"},
    {HTTP "http.uri; content:\"a\"; http.stat_code; content:\"2\"; sid:1;)",
     "1:55: E: 'http.uri' is about requests and 'http.stat_code' about responses"},
    {HTTP "flow:to_client; http.uri; content:\"a\"; sid:1;)", "1:48: E: buffer 'http.uri' is never in the direction"},
    {HTTP "flow:to_server; file.data; content:\"a\"; http.stat_msg; content:\"a\"; sid:1;)",
     "1:72: E: buffer 'http.stat_msg' is never in the direction"},
    {HTTP "http.uri; content:\"a\"; http_uri; sid:1;)", "1:55: E: 'http_uri' modifies the content before it"},
    {HTTP "content:\"a\"; http_uri; http_header; sid:1;)", "1:55: E: the content already belongs to 'http.uri'"},
    {UDP "content:\"a\"; http_uri; sid:1;)", "1:44: E: HTTP keyword in a rule whose protocol does not carry HTTP"},
    {UDP "http.uri; content:\"a\"; sid:1;)", "1:31: E: HTTP keyword in a rule whose protocol does not carry HTTP"},
    {HTTP "dotprefix; content:\"a\"; sid:1;)", "1:32: E: transform 'dotprefix' must directly follow a sticky buffer"},
    {HTTP "http.uri; content:\"a\"; url_decode; sid:1;)", "1:55: E: transform 'url_decode' must directly follow"},
    {HTTP "http.uri; url_decode; url_decode; url_decode; url_decode; url_decode; content:\"a\"; sid:1;)",
     "1:90: E: more than 4 transforms"},
    {HTTP "file_data; to_lowercase; content:\"A\"; sid:1;)",
     "1:57: E: can never match: content with upper-case letters after to_lowercase"},
    {HTTP "file_data; to_uppercase; content:\"a\"; sid:1;)",
     "1:57: E: can never match: content with lower-case letters after to_uppercase"},
    {HTTP "file_data; strip_whitespace; content:\"a b\"; sid:1;)",
     "1:61: E: can never match: content with white space"},
    {HTTP "http.host; content:\"Example\"; sid:1;)",
     "1:43: E: can never match: content with upper-case letters on http.host"},
    {HTTP "http.method; content:\"GET \"; sid:1;)", "1:45: E: can never match: content on http.method with a blank"},
    {HTTP "bsize:3; sid:1;)", "1:32: E: 'bsize' needs a sticky buffer"},
    {HTTP "http.uri; content:\"abcd\"; bsize:3; sid:1;)",
     "1:58: E: can never match: the contents need 4 bytes, and the size is at most 3"},
    {HTTP "http.uri; content:\"abcd\"; bsize:<4; sid:1;)", "1:58: E: can never match"},
    {HTTP "http.uri; content:\"abcd\"; bsize:5<>2; sid:1;)", "1:64: E: bsize takes"},
    {HTTP "urilen:3; content:\"abcd\"; http_uri; sid:1;)", "1:32: E: can never match: the contents need 4 bytes"},
    {HTTP "urilen:3,both; sid:1;)", "1:39: E: urilen may end with"},
    {UDP "dsize:10; content:\"boom\"; content:\"loom\"; distance:10; sid:1;)",
     "1:31: E: can never match: the contents need 18 bytes, and the size is at most 10"},
    {UDP "dsize:6; content:\"boom\"; content:\"loom\"; distance:2; sid:1;)",
     "1:31: E: can never match: the contents need 10 bytes"},
    {HTTP "http.uri; content:\"a\"; dsize:>3; sid:1;)",
     "1:55: E: keyword about a packet together with buffer 'http.uri'"},
    {TCP "flow:only_stream; dsize:>3; sid:1;)", "1:49: E: keyword about a packet in a rule with flow:only_stream"},
    /* pcre */
    {TCP "pcre:\"abc\"; sid:1;)", "1:37: E: pcre is written /expression/flags"},
    {TCP "pcre:\"/abc\"; sid:1;)", "1:37: E: pcre is written /expression/flags"},
    {TCP "pcre:\"//\"; sid:1;)", "1:37: E: pcre has an empty expression"},
    {TCP "pcre:\"/abc/k\"; sid:1;)", "1:42: E: unknown pcre flag 'k'"},
    {TCP "pcre:\"/abc/UH\"; sid:1;)", "1:43: E: pcre flags name two buffers"},
    {HTTP "http.uri; pcre:\"/a/P\"; sid:1;)",
     "1:42: E: pcre flag means buffer 'http.request_body', but the sticky buffer is 'http.uri'"},
    {HTTP "http.uri; pcre:\"/(a)/, flow:x\"; sid:1;)",
     "1:53: U: pcre that stores what it captures is not supported yet"},
    /* bytes */
    {TCP "isdataat:10,absolute; sid:1;)", "1:43: E: isdataat knows 'relative' and 'rawbytes'"},
    {TCP "isdataat:70000; sid:1;)", "1:40: E: '70000' is not a number from 0 to 65535"},
    {TCP "byte_test:9,>,1,0; sid:1;)", "1:41: E: number of bytes must be from 1 to 8 here"},
    {TCP "byte_test:4,~,1,0; sid:1;)", "1:43: E: '~' is not an operator of byte_test"},
    {TCP "byte_test:4,>,1; sid:1;)", "1:41: E: 'byte_test' needs an offset"},
    {TCP "byte_test:4,>,1,0,dce; sid:1;)", "1:49: U: 'dce' in byte_test is not supported yet"},
    {TCP "byte_test:4,>,1,0,hex; sid:1;)", "1:41: E: hex, dec and oct need 'string'"},
    {TCP "byte_test:4,>,1,0,string,little; sid:1;)", "1:41: E: byte order does not go with 'string'"},
    {TCP "byte_test:4,>,1,0,frobnicate; sid:1;)", "1:49: E: 'frobnicate' is not an option of byte_test"},
    {TCP "byte_test:no_var,=,0x01,5; sid:1;)", "1:41: E: unknown byte_extract or byte_math variable 'no_var'"},
    {TCP "byte_jump:4; sid:1;)", "1:41: E: 'byte_jump' needs an offset"},
    {TCP "byte_jump:4,0,from_beginning,from_end; sid:1;)", "1:41: E: from_beginning and from_end do not go together"},
    {TCP "byte_extract:4,0,9x; sid:1;)", "1:48: E: '9x' is not a variable name"},
    {TCP "byte_extract:4,0,a; byte_extract:4,4,a; sid:1;)", "1:68: E: variable 'a' is set twice"},
    {TCP "byte_extract:4,0,a,align 3; sid:1;)", "1:56: E: align must be 2 or 4"},
    {TCP "byte_math:bytes 4, offset 0, oper +, rvalue 1; sid:1;)",
     "1:41: E: byte_math needs bytes, offset, oper, rvalue and result"},
    {TCP "byte_math:bytes 4, offset 0, oper /, rvalue 0, result r; sid:1;)", "1:75: E: division by zero"},
    {TCP "byte_math:bytes 4, offset 0, oper %, rvalue 2, result r; sid:1;)",
     "1:65: E: '%' is not an operator of byte_math"},
    {HTTP
     "http.cookie; content:\"a\"; byte_extract:4,0,v,relative; http.uri; content:\"b\"; byte_test:4,=,v,0; sid:1;)",
     "1:124: U: variable 'v' of another buffer is not supported yet"},
    {TCP "content:\"a\"; byte_extract:1,4,v; http.connection; byte_jump:v,0; sid:1;)",
     "1:91: E: unknown byte_extract or byte_math variable 'v' in this buffer"},
    {TCP "content:\"a\"; content:\"b\"; byte_extract:1,4,v; http.uri; content:\"c\"; offset:v; sid:1;)",
     "1:87: U: variable 'v' is set on another buffer"},
    {TCP "byte_extract:1,0,a; byte_extract:1,0,b; byte_extract:1,0,c; byte_extract:1,0,d; byte_extract:1,0,e; "
         "byte_extract:1,0,f; "
         "byte_extract:1,0,g; byte_extract:1,0,h; byte_extract:1,0,i; sid:1;)",
     "1:191: E: rule has more than 8 variables"},
    /* flow, bits, rates */
    {TCP "flow:to_server,to_client; sid:1;)", "1:46: E: flow option 'to_client' contradicts one before it"},
    {TCP "flow:established,stateless; sid:1;)", "1:48: E: flow option 'stateless' contradicts"},
    {TCP "flow:sideways; sid:1;)", "1:36: E: unknown flow option 'sideways'"},
    {TCP "flow:to_server; flow:established; sid:1;)", "1:47: E: 'flow' is given twice"},
    {TCP "flowbits:frob,a; sid:1;)", "1:40: E: unknown flowbits command 'frob'"},
    {TCP "flowbits:set; sid:1;)", "1:40: E: flowbits:set needs a name"},
    {TCP "flowbits:set,a|b; sid:1;)", "1:40: E: a list of flowbits goes with isset and isnotset only"},
    {TCP "threshold:type limit, track by_src, count 1; sid:1;)",
     "1:41: E: threshold: needs type, track, count and seconds"},
    {TCP "threshold:type often, track by_src, count 1, seconds 1; sid:1;)", "1:41: E: threshold: type must be"},
    {TCP "threshold:type limit, track by_src, count 0, seconds 1; sid:1;)",
     "1:67: E: threshold: count must be a number from 1"},
    {TCP "detection_filter:track by_src, count 1, seconds 1; threshold:type limit, track by_src, count 1, seconds 1; "
         "sid:1;)",
     "1:82: E: a rule may have one threshold or detection_filter"},
    {TCP "app-layer-protocol:gopher; sid:1;)", "1:50: U: app-layer-protocol 'gopher' is not supported"},
    {TCP "stream_size:middle,<,5; sid:1;)", "1:43: E: stream_size takes"},
    {TCP "prefilter; sid:1;)", "1:31: E: 'prefilter' needs a match before it"},
    /* packet fields */
    {TCP "ttl:256; sid:1;)", "1:35: E: ttl takes N"},
    {TCP "ttl:<0; sid:1;)", "1:35: E: ttl takes N"},
    {TCP "itype:5<>6; sid:1;)", "1:37: E: itype takes N"},
    {TCP "flags:Z; sid:1;)", "1:37: E: flags takes letters"},
    {TCP "fragbits:X; sid:1;)", "1:40: E: fragbits takes letters"},
    {TCP "ipopts:zz; sid:1;)", "1:38: E: unknown IP option 'zz'"},
    {TCP "ip_proto:zz; sid:1;)", "1:40: E: ip_proto 'zz' is neither"},
    {TCP "icmp_id:65536; sid:1;)", "1:39: E: icmp_id takes N or !N up to 65535"},
    {TCP "decode-event:a b; sid:1;)", "1:44: E: 'a b' is not the name of an event"},
};

static void refused(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct loaded l = load(cases[i].rule);
        bool ok = l.set->n == 0 && l.rejected == 1 && l.set->rejected == 1 &&
                  strncmp(l.said, cases[i].said, strlen(cases[i].said)) == 0 && strchr(l.said, '\n')[1] == '\0';
        if (!ok)
            print_error("%s\nexpected: %s\nsaid:     %s\n", cases[i].rule, cases[i].said, l.said);
        wrong += !ok;
        unload(&l);
    }
    assert_int_equal(wrong, 0);
}

/* Positions survive joined lines; the rules around a bad one load. */
static void position_in_joined_lines(void **state)
{
    (void)state;
    struct loaded l = load("\xef\xbb\xbf# first\r\n"
                           "alert tcp any any -> any any (sid:1;)\r\n"
                           "\r\n"
                           "  alert tcp any any -> any any \\\r\n"
                           "    (msg:\"x\"; \\\r\n"
                           "     contents:\"y\"; \\\r\n"
                           "     sid:2;)\r\n"
                           "#alert tcp any any -> any any (sid:7;)\r\n"
                           "alert tcp any any -> any any (sid:3;)");
    assert_int_equal(l.set->n, 2);
    assert_int_equal(l.rejected, 1);
    assert_string_equal(l.said, "6:6: E: unknown keyword 'contents'; did you mean 'content'?\n");
    assert_int_equal(l.set->rules[0]->line, 2);
    assert_int_equal(l.set->rules[1]->line, 9);
    assert_int_equal(l.set->rules[1]->index, 1);
    unload(&l);
}

static void too_long(void **state)
{
    (void)state;
    static char text[70000];
    int n = snprintf(text, sizeof text, "alert tcp any any -> any any (msg:\"");
    memset(text + n, 'a', sizeof text - (size_t)n - 1);
    struct loaded l = load(text);
    assert_int_equal(l.rejected, 1);
    assert_non_null(strstr(l.said, "1:1: E: rule is empty, or longer than 65536 bytes"));
    unload(&l);
}

static void too_many_matches(void **state)
{
    (void)state;
    static char text[8192];
    int n = snprintf(text, sizeof text, "alert tcp any any -> any any (");
    for (int i = 0; i < 257; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "content:\"a\"; ");
    snprintf(text + n, sizeof text - (size_t)n, "sid:1;)");
    struct loaded l = load(text);
    assert_int_equal(l.rejected, 1);
    assert_non_null(strstr(l.said, "E: rule has more than 256 matches"));
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused),
        cmocka_unit_test(position_in_joined_lines),
        cmocka_unit_test(too_long),
        cmocka_unit_test(too_many_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
