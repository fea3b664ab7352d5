/* What the API makes of hostile JSON and of items. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "api_priv.h"

#define NOW INT64_C(1800000000000)
#define DAY INT64_C(86400000)

static struct sk_prefix never[2];
static struct item_rules rules = {.never = never, .nnever = 2, .max_block = 7 * DAY};
static struct item it;

static int setup(void **state)
{
    (void)state;
    return sk_prefix_parse("192.0.2.0/24", 12, false, &never[0]) == SK_OK &&
                   sk_prefix_parse("2001:db8::1", 11, false, &never[1]) == SK_OK
               ? 0
               : -1;
}

static bool parses(const char *text)
{
    json_t *j = parse_json(text, strlen(text));
    json_decref(j);
    return j != NULL;
}

static void only_objects_without_tricks_are_taken(void **state)
{
    (void)state;
    assert_true(parses("{}"));
    assert_true(parses("{\"a\":\"}]\\\"[[[[[[[[[[[[[[[[[[[[[[[[\",\"b\":[1,2]}"));
    assert_false(parses("[]"));
    assert_false(parses("\"a\""));
    assert_false(parses(""));
    assert_false(parses("{} {}"));
    assert_false(parses("{\"a\":1,\"a\":2}"));
    assert_true(parses("{\"a\":99999999999999999999}"));
    assert_false(parses("{\"a\":1e999}"));
    assert_false(parses("{\"a\":\"\xff\"}"));
    assert_false(parses("{\"a\":\"\xed\xa0\x80\"}"));
    assert_false(parses("{\"a\":\"\\ud800\"}"));
    assert_false(parses("{\"a\":\"\\u0000\"}"));
    assert_false(parses("{\"a\":NaN}"));
}

static char *nested(unsigned depth)
{
    char *s = (char *)malloc(2 * (size_t)depth + 16), *p = s;
    p += sprintf(p, "{\"a\":");
    for (unsigned i = 1; i < depth; i++)
        *p++ = '[';
    for (unsigned i = 1; i < depth; i++)
        *p++ = ']';
    strcpy(p, "}");
    return s;
}

static void depth_and_number_of_values_are_bounded(void **state)
{
    (void)state;
    char *ok = nested(API_JSON_DEPTH), *deep = nested(API_JSON_DEPTH + 1), *abyss = nested(500000);
    assert_true(parses(ok));
    assert_false(parses(deep));
    assert_false(parses(abyss));
    free(ok);
    free(deep);
    free(abyss);
    size_t n = API_JSON_VALUES + 1;
    char *many = (char *)malloc(2 * n + 16), *p = many + sprintf(many, "{\"a\":[1");
    for (size_t i = 0; i < n; i++)
        p = stpcpy(p, ",1");
    strcpy(p, "]}");
    assert_false(parses(many));
    free(many);
}

static void texts_have_their_sets(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        enum charset set;
        bool fits;
    } v[] = {
        {"web-1.example", SET_HOST, true}, {"web 1", SET_HOST, false},       {"a'--", SET_ID, false},
        {"B:1_x.y-z", SET_ID, true},       {"1.0~rc1+2", SET_VERSION, true}, {"gr\xc3\xbc\xc3\x9f", SET_TEXT, true},
        {"a\nb", SET_TEXT, false},         {"\x7f", SET_TEXT, false},        {"\xc2\x85", SET_TEXT, false},
        {"\xc2\xa0", SET_TEXT, true},      {"Alert", SET_WORD, false},       {"", SET_WORD, false}};
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
        assert_int_equal(text_fits(v[i].s, strlen(v[i].s), v[i].set, 1, 100), v[i].fits);
    assert_false(text_fits("a\0b", 3, SET_HOST, 1, 10));
    assert_false(text_fits("abc", 3, SET_HOST, 1, 2));
}

static void numbers_are_whole_and_within_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        bool ok;
    } v[] = {{"5", true},
             {"5.0", true},
             {"0", true},
             {"10", true},
             {"-1", false},
             {"11", false},
             {"5.5", false},
             {"\"5\"", false},
             {"null", false},
             {"true", false},
             {"1e1", true},
             {"1e300", false},
             {"[5]", false},
             {"9223372036854775807", false},
             {"99999999999999999999", false}};
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        char text[64];
        int64_t n = -7;
        snprintf(text, sizeof(text), "{\"n\":%s}", v[i].s);
        json_t *j = parse_json(text, strlen(text));
        assert_non_null(j);
        assert_int_equal(field_int(j, "n", true, 0, 10, &n), v[i].ok);
        assert_true(v[i].ok ? n >= 0 && n <= 10 : n == -7);
        json_decref(j);
    }
}

/* Returns what became of an item, the fields in `more` behind (and so over) the usual ones. */
static enum item_kind block(const char *target, const char *more)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "{\"type\":\"block\",\"id\":\"B1\",\"target\":\"%s\",\"created_ms\":%lld,\"expires_ms\":%lld,"
             "\"origin\":\"rule\"%s}",
             target, (long long)NOW, (long long)(NOW + DAY), more);
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    item_read(&rules, j, NOW, &it);
    json_decref(j);
    return it.kind;
}

static void a_block_is_taken_with_all_its_fields(void **state)
{
    (void)state;
    assert_int_equal(block("203.0.113.7",
                           ",\"sid\":5,\"gid\":1,\"score\":9,\"repeat\":2,\"reason\":\"x\",\"cause\":\"score\","
                           "\"agent\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAA\""),
                     ITEM_BLOCK);
    assert_string_equal(it.block.agent, ""); /* whose it is, is not the item's to say */
    assert_string_equal(it.block.id, "B1");
    assert_string_equal(it.block.reason, "x");
    assert_int_equal(it.block.sid, 5);
    assert_int_equal(it.block.repeat, 2);
    assert_int_equal(it.block.expires, NOW + DAY);
}

static void blocks_that_would_hurt_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *target, *more;
    } v[] = {{"192.0.2.9", ""},
             {"192.0.0.0/16", ""},
             {"2001:db8::1", ""},
             {"2001:db8::/32", ""},
             {"203.0.112.0/23", ""},
             {"0.0.0.0/0", ""},
             {"::/0", ""},
             {"::/96", ""},
             {"2001:db9::/63", ""},
             {"127.0.0.1", ""},
             {"::1", ""},
             {"224.0.0.1", ""},
             {"255.255.255.255", ""},
             {"203.0.113.7/24", ""},
             {"203.0.113.7/33", ""},
             {"203.0.113", ""},
             {" 203.0.113.7", ""},
             {"", ""},
             {"203.0.113.7'--", ""},
             {"0.0.0.0", ""},
             {"203.0.113.7", ",\"expires_ms\":1800604860001"}, /* seven days, and a minute of grace */
             {"203.0.113.7", ",\"expires_ms\":1799999999999"}, /* before it began */
             {"203.0.113.7", ",\"expires_ms\":-1"},
             {"203.0.113.7", ",\"expires_ms\":\"1800000000001\""},
             {"203.0.113.7", ",\"origin\":\"me\""},
             {"203.0.113.7", ",\"origin\":7"},
             {"203.0.113.7", ",\"id\":\"\""},
             {"203.0.113.7", ",\"id\":\"a b\""},
             {"203.0.113.7", ",\"id\":\"123456789012345678901234\""},
             {"203.0.113.7", ",\"sid\":-1"},
             {"203.0.113.7", ",\"sid\":4294967296"},
             {"203.0.113.7", ",\"score\":1.5"},
             {"203.0.113.7", ",\"reason\":\"a\\nb\""},
             {"203.0.113.7", ",\"reason\":[]"},
             {"203.0.113.7", ",\"cause\":\"A\""}};
    assert_int_equal(block("203.0.113.0/24", ""), ITEM_BLOCK);
    assert_int_equal(block("2001:db9::/64", ""), ITEM_BLOCK);
    assert_int_equal(block("203.0.113.7", ",\"expires_ms\":1800604860000"), ITEM_BLOCK);
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        if (block(v[i].target, v[i].more) != ITEM_WRONG)
            fail_msg("%s %s was taken", v[i].target, v[i].more);
        assert_non_null(it.refused);
    }
}

static enum item_kind item(const char *text)
{
    json_t *j = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(j);
    item_read(&rules, j, NOW, &it);
    json_decref(j);
    return it.kind;
}

static void events_and_ends(void **state)
{
    (void)state;
    assert_int_equal(item("{\"type\":\"event\",\"time_ms\":5,\"event\":{\"event_type\":\"alert\",\"a\":\"\\u0001'\"}}"),
                     ITEM_EVENT);
    assert_string_equal(it.event.type, "alert");
    assert_string_equal(it.event.json, "{\"event_type\":\"alert\",\"a\":\"\\u0001'\"}");
    item_free(&it);
    assert_int_equal(item("{\"type\":\"end\",\"id\":\"B1\",\"ended_ms\":5,\"why\":\"lifted\"}"), ITEM_END);
    static const char *const wrong[] = {
        "5",
        "null",
        "[]",
        "{}",
        "{\"type\":5}",
        "{\"type\":\"event\"}",
        "{\"type\":\"event\",\"time_ms\":5,\"event\":[]}",
        "{\"type\":\"event\",\"time_ms\":5,\"event\":{\"event_type\":\"\"}}",
        "{\"type\":\"event\",\"time_ms\":5,\"event\":{\"event_type\":\"1a\"}}",
        "{\"type\":\"event\",\"time_ms\":5,\"event\":{\"event_type\":\"sixteen-letters-\"}}",
        "{\"type\":\"end\",\"id\":\"B1\",\"ended_ms\":5,\"why\":\"\"}",
        "{\"type\":\"end\",\"id\":5,\"ended_ms\":5,\"why\":\"x\"}"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(item(wrong[i]), ITEM_WRONG);
        item_free(&it);
    }
}

static void an_event_of_more_than_64_kib_is_refused(void **state)
{
    (void)state;
    char *text = (char *)malloc(STORE_JSON_MAX + 256);
    int n = sprintf(text, "{\"type\":\"event\",\"time_ms\":5,\"event\":{\"event_type\":\"alert\",\"a\":\"");
    memset(text + n, 'x', STORE_JSON_MAX);
    strcpy(text + n + STORE_JSON_MAX, "\"}}");
    assert_int_equal(item(text), ITEM_WRONG);
    item_free(&it);
    free(text);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    static const char text[] = "a\"\\\n\t\x01\x7f/\xc3\xa9";
    struct sk_strbuf b;
    sk_strbuf_init(&b, 4096);
    out_open(&b, NULL, '{');
    out_str(&b, "a", text);
    out_int(&b, "b", INT64_MIN);
    out_open(&b, "c", '[');
    out_bool(&b, NULL, true);
    out_open(&b, NULL, '{');
    out_close(&b, '}');
    out_str(&b, NULL, "");
    out_close(&b, ']');
    out_close(&b, '}');
    json_t *j = json_loads(b.p, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "a")), text);
    assert_true(json_integer_value(json_object_get(j, "b")) == INT64_MIN);
    assert_int_equal(json_array_size(json_object_get(j, "c")), 3);
    json_decref(j);
    sk_strbuf_free(&b);
}

static void paths_are_found_and_nothing_else(void **state)
{
    (void)state;
    char arg[32];
    const char *allow = NULL;
    assert_non_null(route_find("GET", "/v1/feed", arg, &allow));
    assert_non_null(route_find("POST", "/v1/operator/agents/ABC/revoke", arg, &allow));
    assert_string_equal(arg, "ABC");
    assert_null(route_find("PUT", "/v1/operator/blocks", arg, &allow));
    assert_string_equal(allow, "GET, HEAD, OPTIONS, POST");
    static const char *const none[] = {"",
                                       "/",
                                       "/v1/feed/",
                                       "/v1/operator/agents/",
                                       "/v1/operator/agents//revoke",
                                       "/v1/operator/agents/a b/revoke",
                                       "/v1/operator/agents/../revoke/x",
                                       "/v1/operator/tokens/12345678901234567890123456789012",
                                       "/V1/feed"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        allow = NULL;
        assert_null(route_find("GET", none[i], arg, &allow));
        assert_null(allow);
    }
}

static void addresses_have_a_rate_and_places_are_bounded(void **state)
{
    (void)state;
    struct limiter l;
    struct sk_addr a = {.b = {0x20, 1, 0xd, 0xb8}}, b = a;
    b.b[15] = 9; /* the same /64 */
    assert_int_equal(limiter_init(&l), SK_OK);
    int64_t now = SK_NS_PER_S;
    for (unsigned i = 0; i < 20; i++)
        assert_true(limiter_take(&l, i % 2 ? &a : &b, false, 2, now));
    assert_false(limiter_take(&l, &a, false, 2, now));
    assert_true(limiter_take(&l, &a, true, 2, now)); /* connections have their own */
    assert_true(limiter_take(&l, &a, false, 2, now + SK_NS_PER_S / 2));
    for (uint32_t i = 0; i < 4 * LIMIT_SLOTS; i++) {
        struct sk_addr c = {
            .b = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 9, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
        assert_true(limiter_take(&l, &c, false, 2, now + SK_NS_PER_S));
    }
    free(l.slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_objects_without_tricks_are_taken),
        cmocka_unit_test(depth_and_number_of_values_are_bounded),
        cmocka_unit_test(texts_have_their_sets),
        cmocka_unit_test(numbers_are_whole_and_within_bounds),
        cmocka_unit_test(a_block_is_taken_with_all_its_fields),
        cmocka_unit_test(blocks_that_would_hurt_are_refused),
        cmocka_unit_test(events_and_ends),
        cmocka_unit_test(an_event_of_more_than_64_kib_is_refused),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(paths_are_found_and_nothing_else),
        cmocka_unit_test(addresses_have_a_rate_and_places_are_bounded),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
