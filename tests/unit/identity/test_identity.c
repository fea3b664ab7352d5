/* Who vouches for whom: connections, PROXY headers, the walk over the hops of both kinds. */
#include "identity_ask.h"

#define HTTP_HOP  "10.0.1.5"
#define PROXY_HOP "10.0.2.5"
#define BOTH_HOP  "10.0.3.5"
#define STRANGER  "198.18.0.7"
#define CLIENT    "203.0.113.9"

static unsigned whys_seen;

static struct identity_rules *usual(const char *header)
{
    return ask_rules("10.0.1.0/24 10.0.3.0/24 2001:db8:1::/64", "10.0.2.0/24 10.0.3.0/24", header);
}

/* PROXY header as text: "ADDRESS PORT", "LOCAL", "UNKNOWN", "BAD"; NULL: the connection began without one. */
static void proxy_came(const struct identity_rules *r, const char *text, struct identity *id)
{
    struct proxy_header h = {.version = 2, .command = PROXY_CMD_PROXY, .len = 28};
    if (text == NULL)
        return;
    size_t n = strcspn(text, " ");
    if (strcmp(text, "LOCAL") == 0)
        h.command = PROXY_CMD_LOCAL;
    else if (strcmp(text, "UNKNOWN") == 0)
        h.command = PROXY_CMD_UNKNOWN;
    else if (strcmp(text, "BAD") != 0)
        assert_int_equal(sk_addr_parse(text, n, &h.src), SK_OK);
    h.sport = (uint16_t)atoi(text + n);
    identity_proxy(r, strcmp(text, "BAD") == 0 ? NULL : &h, id);
    assert_true(identity_valid(id));
}

struct walk_case {
    const char *peer, *proxy, *header, *want_conn, *want;
};

static void check_walk(const char *header, const struct walk_case *c)
{
    struct identity_rules *r = usual(header);
    struct sk_addr peer = ask_addr(c->peer);
    struct identity conn, id;
    char got_conn[64], got[64];
    identity_begin(r, &peer, 40000, &conn);
    proxy_came(r, c->proxy, &conn);
    id = ask_request(r, &conn, c->header, c->header ? strlen(c->header) : 0, false);
    const char *a = ask_text(&conn, got_conn), *b = ask_text(&id, got);
    whys_seen |= 1u << conn.why | 1u << id.why;
    if (strcmp(a, c->want_conn) != 0 || strcmp(b, c->want) != 0)
        fail_msg("%s, PROXY %s, header \"%s\": \"%s\" then \"%s\"", c->peer, c->proxy ? c->proxy : "-",
                 c->header ? c->header : "-", a, b);
    if (conn.state == IDENTITY_UNPROVEN)
        assert_true(sk_addr_eq(&conn.client, &peer) && conn.port == 40000 && conn.source == IDENTITY_BY_PEER);
    identity_rules_free(r);
}

static void test_who_vouches(void **state)
{
    (void)state;
    static const struct walk_case cases[] = {
        /* Strangers are the client, whatever they say. */
        {STRANGER, NULL, NULL, STRANGER " 40000", STRANGER " 40000"},
        {STRANGER, NULL, CLIENT, STRANGER " 40000", STRANGER " 40000"},
        {STRANGER, CLIENT " 1", CLIENT, STRANGER " 40000", STRANGER " 40000"},
        {STRANGER, "BAD", "!" CLIENT, STRANGER " 40000", STRANGER " 40000"},
        /* An http hop vouches by the header alone. */
        {HTTP_HOP, NULL, CLIENT, "NOT_YET", CLIENT},
        {HTTP_HOP, NULL, NULL, "NOT_YET", "NO_HEADER"},
        {HTTP_HOP, NULL, "", "NOT_YET", "NO_HEADER"},
        {HTTP_HOP, CLIENT " 1", STRANGER, "BAD_PROXY", "BAD_PROXY"},
        {HTTP_HOP, "LOCAL", CLIENT, "BAD_PROXY", "BAD_PROXY"},
        {HTTP_HOP, "UNKNOWN", CLIENT, "BAD_PROXY", "BAD_PROXY"},
        {HTTP_HOP, "BAD", CLIENT, "BAD_PROXY", "BAD_PROXY"},
        {HTTP_HOP, HTTP_HOP " 1", CLIENT, "BAD_PROXY", "BAD_PROXY"},
        /* A proxy hop by its PROXY header alone. */
        {PROXY_HOP, CLIENT " 443", NULL, CLIENT " 443", CLIENT " 443"},
        {PROXY_HOP, CLIENT " 443", STRANGER, CLIENT " 443", CLIENT " 443"},
        {PROXY_HOP, CLIENT " 443", "!", CLIENT " 443", CLIENT " 443"},
        {PROXY_HOP, NULL, CLIENT, "NO_PROXY", "NO_PROXY"},
        {PROXY_HOP, "LOCAL", CLIENT, "LOCAL", "LOCAL"},
        {PROXY_HOP, "UNKNOWN", CLIENT, "LOCAL", "LOCAL"},
        {PROXY_HOP, "BAD", CLIENT, "BAD_PROXY", "BAD_PROXY"},
        {PROXY_HOP, "127.0.0.1 9", CLIENT, "SPECIAL", "SPECIAL"},
        {PROXY_HOP, "0.0.0.0 9", CLIENT, "SPECIAL", "SPECIAL"},
        {PROXY_HOP, "169.254.169.254 9", CLIENT, "SPECIAL", "SPECIAL"},
        /* It names a hop: that one is asked next. */
        {PROXY_HOP, HTTP_HOP " 9", CLIENT, "NOT_YET", CLIENT},
        {PROXY_HOP, HTTP_HOP " 9", NULL, "NOT_YET", "NO_HEADER"},
        {PROXY_HOP, PROXY_HOP " 9", CLIENT, "NO_PROXY", "NO_PROXY"},
        {PROXY_HOP, BOTH_HOP " 9", CLIENT, "NOT_YET", CLIENT},
        /* An address in both lists. */
        {BOTH_HOP, CLIENT " 443", STRANGER, CLIENT " 443", CLIENT " 443"},
        {BOTH_HOP, NULL, CLIENT, "NOT_YET", CLIENT},
        {BOTH_HOP, HTTP_HOP " 9", CLIENT, "NOT_YET", CLIENT},
        {BOTH_HOP, PROXY_HOP " 9", CLIENT, "NO_PROXY", "NO_PROXY"},
        {BOTH_HOP, "LOCAL", CLIENT, "LOCAL", "LOCAL"},
        {BOTH_HOP, "BAD", CLIENT, "BAD_PROXY", "BAD_PROXY"},
        /* Hops in the header. */
        {HTTP_HOP, NULL, CLIENT ", 10.0.1.6, 10.0.1.7", "NOT_YET", CLIENT},
        {HTTP_HOP, NULL, CLIENT ", 10.0.3.6", "NOT_YET", CLIENT},
        {HTTP_HOP, NULL, CLIENT ", 10.0.2.6", "NOT_YET", "NO_PROXY"},
        {HTTP_HOP, NULL, "10.0.1.6, 10.0.1.7", "NOT_YET", "EXHAUSTED"},
        {HTTP_HOP, NULL, "127.0.0.1, 10.0.1.7", "NOT_YET", "SPECIAL"},
        {HTTP_HOP, NULL, STRANGER ", " CLIENT, "NOT_YET", CLIENT},
        {HTTP_HOP, NULL, "x, 10.0.1.7", "NOT_YET", "MALFORMED"},
        {HTTP_HOP, NULL, "unknown, 10.0.1.7", "NOT_YET", "HIDDEN"},
        {HTTP_HOP, NULL, "!" CLIENT, "NOT_YET", "AMBIGUOUS"},
        {"2001:db8:1::9", NULL, "2001:db8:2::1, 2001:db8:1::7", "NOT_YET", "2001:db8:2::1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_walk("X-Forwarded-For", &cases[i]);
}

static void test_no_header_is_believed(void **state)
{
    (void)state;
    static const struct walk_case cases[] = {
        {HTTP_HOP, NULL, CLIENT, "NOT_BELIEVED", "NOT_BELIEVED"},
        {HTTP_HOP, CLIENT " 1", CLIENT, "BAD_PROXY", "BAD_PROXY"},
        {BOTH_HOP, NULL, CLIENT, "NO_PROXY", "NO_PROXY"},
        {BOTH_HOP, CLIENT " 443", STRANGER, CLIENT " 443", CLIENT " 443"},
        {PROXY_HOP, HTTP_HOP " 9", CLIENT, "NOT_BELIEVED", "NOT_BELIEVED"},
        {STRANGER, NULL, CLIENT, STRANGER " 40000", STRANGER " 40000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_walk("none", &cases[i]);
        check_walk("", &cases[i]);
    }
    struct identity_rules *r = usual("NONE");
    assert_null(identity_header_name(r));
    identity_rules_free(r);
}

/* A second PROXY header in a connection is its client's own words. */
static void test_one_proxy_header(void **state)
{
    (void)state;
    struct identity_rules *r = usual("X-Forwarded-For");
    static const char *const first[] = {"203.0.113.9 1", "LOCAL", "BAD", "127.0.0.1 1", "10.0.1.5 1", "10.0.2.5 1"};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        struct sk_addr peer = ask_addr(PROXY_HOP);
        struct identity once, twice;
        identity_begin(r, &peer, 1, &once);
        proxy_came(r, first[i], &once);
        twice = once;
        proxy_came(r, "198.18.0.7 2", &twice);
        assert_memory_equal(&once, &twice, sizeof once);
    }
    identity_rules_free(r);
}

static void test_misframed(void **state)
{
    (void)state;
    struct identity_rules *r = usual("X-Forwarded-For");
    struct sk_addr hop = ask_addr(HTTP_HOP), stranger = ask_addr(STRANGER), proxy = ask_addr(PROXY_HOP);
    struct identity conn, id;
    identity_begin(r, &hop, 1, &conn);
    id = ask_request(r, &conn, CLIENT, strlen(CLIENT), true);
    assert_int_equal(id.why, IDENTITY_WHY_MISFRAMED);
    assert_false(identity_known(&id));
    whys_seen |= 1u << id.why;
    /* Where the whole connection is one client's, it is its own business. */
    identity_begin(r, &stranger, 1, &conn);
    id = ask_request(r, &conn, CLIENT, strlen(CLIENT), true);
    assert_int_equal(id.state, IDENTITY_DIRECT);
    identity_begin(r, &proxy, 1, &conn);
    proxy_came(r, CLIENT " 443", &conn);
    id = ask_request(r, &conn, STRANGER, strlen(STRANGER), true);
    assert_int_equal(id.state, IDENTITY_PROVEN);
    assert_true(identity_known(&id));
    identity_rules_free(r);
}

static void test_evidence(void **state)
{
    (void)state;
    struct identity_rules *r = usual("x-forwarded-for");
    struct sk_addr peer = ask_addr(PROXY_HOP);
    struct identity conn;
    identity_begin(r, &peer, 7, &conn);
    proxy_came(r, "10.0.3.5 9", &conn);
    static const char text[] = "127.0.0.1, 203.0.113.9:4711\n10.0.1.6";
    struct identity id = ask_request(r, &conn, text, strlen(text), false);
    static const struct {
        const char *addr;
        enum identity_source source;
    } want[] = {{PROXY_HOP, IDENTITY_BY_PEER}, {"10.0.3.5", IDENTITY_BY_PROXY2}, {"10.0.1.6", IDENTITY_BY_XFF}};
    assert_int_equal(id.state, IDENTITY_PROVEN);
    assert_int_equal(id.source, IDENTITY_BY_XFF);
    assert_int_equal(id.port, 4711);
    assert_int_equal(id.nhops, 3);
    for (unsigned i = 0; i < 3; i++) {
        struct sk_addr a = ask_addr(want[i].addr);
        assert_true(sk_addr_eq(&id.hop[i].addr, &a));
        assert_int_equal(id.hop[i].source, want[i].source);
    }
    /* The connection's identity stays as it is for the next request; out may be the connection's own place. */
    assert_int_equal(conn.why, IDENTITY_WHY_NOT_YET);
    struct identity_line line = {.value = sk_span_str(CLIENT)};
    identity_request(r, &conn, &line, 1, false, &conn);
    assert_int_equal(conn.state, IDENTITY_PROVEN);
    identity_rules_free(r);
}

static void test_proxy_versions(void **state)
{
    (void)state;
    struct identity_rules *r = usual("none");
    struct sk_addr peer = ask_addr(PROXY_HOP);
    for (uint8_t v = 1; v <= 2; v++) {
        struct proxy_header h = {.version = v, .command = PROXY_CMD_PROXY, .src = ask_addr(CLIENT), .sport = 5};
        struct identity id;
        identity_begin(r, &peer, 1, &id);
        identity_proxy(r, &h, &id);
        assert_int_equal(id.source, v == 1 ? IDENTITY_BY_PROXY1 : IDENTITY_BY_PROXY2);
    }
    identity_rules_free(r);
}

/* A chain of `hops` hops: the peer, and the others in the header. */
static const char *long_chain(unsigned hops, char buf[64])
{
    struct identity_rules *r = usual("X-Forwarded-For");
    char text[1024] = CLIENT;
    for (unsigned i = 1; i < hops; i++)
        strcat(text, ", " HTTP_HOP);
    const char *got = ask(r, HTTP_HOP, text, buf);
    identity_rules_free(r);
    return got;
}

static void test_too_many(void **state)
{
    (void)state;
    char buf[64];
    assert_string_equal(long_chain(IDENTITY_HOPS_MAX, buf), CLIENT);
    assert_string_equal(long_chain(IDENTITY_HOPS_MAX + 1, buf), "TOO_MANY");

    /* Empty elements and lines are looked at too. */
    static const char *const headers[] = {"X-Forwarded-For", "Forwarded", "X-Real-IP"};
    for (size_t i = 0; i < 3; i++) {
        struct identity_rules *r = usual(headers[i]);
        char text[IDENTITY_ENTRIES + 64];
        const char *entry = i == 1 ? "for=" CLIENT : CLIENT;
        snprintf(text, sizeof text, "%s", entry);
        memset(text + strlen(entry), ',', IDENTITY_ENTRIES);
        text[strlen(entry) + IDENTITY_ENTRIES - 1] = '\0';
        assert_string_equal(ask(r, HTTP_HOP, text, buf), CLIENT);
        strcat(text, ",");
        assert_string_equal(ask(r, HTTP_HOP, text, buf), "TOO_MANY");

        char lines[IDENTITY_LINES_MAX + 64];
        snprintf(lines, sizeof lines, "%s", entry);
        memset(lines + strlen(entry), '\n', IDENTITY_LINES_MAX);
        lines[strlen(entry) + IDENTITY_LINES_MAX - 1] = '\0';
        assert_string_equal(ask(r, HTTP_HOP, lines, buf), CLIENT);
        strcat(lines, "\n");
        assert_string_equal(ask(r, HTTP_HOP, lines, buf), "TOO_MANY");
        identity_rules_free(r);
    }
    whys_seen |= 1u << IDENTITY_WHY_TOO_MANY;
}

static void test_more_lines_than_are_read(void **state)
{
    (void)state;
    struct identity_rules *r = usual("X-Forwarded-For");
    struct sk_addr peer = ask_addr(HTTP_HOP), client = ask_addr(CLIENT);
    struct identity conn, id;
    static struct identity_line lines[4 * IDENTITY_LINES_MAX];
    identity_begin(r, &peer, 1, &conn);
    for (unsigned i = 0; i < 4 * IDENTITY_LINES_MAX; i++)
        lines[i].value = sk_span_str(STRANGER);
    lines[3 * IDENTITY_LINES_MAX - 1].value = sk_span_str(CLIENT);
    for (unsigned hops = 0; hops < IDENTITY_HOPS_MAX; hops++) {
        identity_request(r, &conn, lines, 3 * IDENTITY_LINES_MAX + hops, false, &id);
        assert_true(id.state == IDENTITY_PROVEN && sk_addr_eq(&id.client, &client) && id.nhops == 1 + hops);
        lines[3 * IDENTITY_LINES_MAX + hops].value = sk_span_str(HTTP_HOP);
    }
    identity_rules_free(r);
}

static bool spoilt(const struct identity *good, size_t offset, uint8_t value)
{
    struct identity id = *good;
    ((uint8_t *)&id)[offset] = value;
    return !identity_valid(&id);
}

static void test_from_another_process(void **state)
{
    (void)state;
    struct identity_rules *r = usual("X-Forwarded-For");
    struct sk_addr peer = ask_addr(HTTP_HOP), stranger = ask_addr(STRANGER);
    struct identity direct, conn, proven, zero = {0};
    identity_begin(r, &stranger, 1, &direct);
    identity_begin(r, &peer, 1, &conn);
    proven = ask_request(r, &conn, CLIENT ", 10.0.1.9", strlen(CLIENT ", 10.0.1.9"), false);
    assert_true(identity_valid(&zero) && identity_valid(&direct) && identity_valid(&conn) && identity_valid(&proven));
    const struct identity *all[] = {&direct, &conn, &proven};
    for (size_t i = 0; i < 3; i++) {
        const struct identity *id = all[i];
        assert_true(spoilt(id, offsetof(struct identity, state), IDENTITY_STATES));
        assert_true(spoilt(id, offsetof(struct identity, source), IDENTITY_SOURCE_COUNT));
        assert_true(spoilt(id, offsetof(struct identity, why), IDENTITY_WHY_COUNT));
        assert_true(spoilt(id, offsetof(struct identity, nhops), IDENTITY_HOPS_MAX + 1));
        assert_true(spoilt(id, offsetof(struct identity, nhops), 255));
        assert_true(spoilt(id, offsetof(struct identity, pad) + 1, 1));
        for (unsigned s = 0; s < IDENTITY_STATES; s++)
            assert_true(s == id->state || spoilt(id, offsetof(struct identity, state), (uint8_t)s));
        /* Nothing is carried in hops that are not there, nor between those that are. */
        for (size_t o = offsetof(struct identity, hop[id->nhops]); o < sizeof *id; o++)
            assert_true(spoilt(id, o, 1));
        for (unsigned h = 0; h < id->nhops; h++) {
            for (size_t b = 0; b < sizeof id->hop[h].pad; b++)
                assert_true(spoilt(id, offsetof(struct identity, hop[h].pad) + b, 1));
            assert_true(spoilt(id, offsetof(struct identity, hop[h].source), IDENTITY_SOURCE_COUNT));
        }
    }
    assert_true(spoilt(&conn, offsetof(struct identity, hop[0].source), IDENTITY_BY_XFF));
    assert_true(spoilt(&proven, offsetof(struct identity, hop[1].source), IDENTITY_BY_PEER));
    identity_rules_free(r);
}

static void test_hops(void **state)
{
    (void)state;
    struct identity_rules *r =
        ask_rules("10.1.0.0/16 10.0.0.0/24 10.0.0.128/25 10.0.0.7 10.0.1.0/24 192.0.2.1 2001:db8::/32 10.1.2.3",
                  "255.255.255.255 0.0.0.0 10.3.0.0/16 ffff::/16 10.2.255.255", "X-Forwarded-For");
    static const char *const in[] = {"10.0.0.0",        "10.0.0.7",
                                     "10.0.0.255",      "10.0.1.0",
                                     "10.0.1.255",      "10.1.0.0",
                                     "10.1.255.255",    "192.0.2.1",
                                     "2001:db8::",      "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                                     "10.3.0.0",        "10.2.255.255",
                                     "10.3.255.255",    "0.0.0.0",
                                     "255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
    static const char *const out[] = {"9.255.255.255",
                                      "10.0.2.0",
                                      "10.2.255.254",
                                      "10.4.0.0",
                                      "192.0.2.0",
                                      "192.0.2.2",
                                      "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
                                      "2001:db9::",
                                      "::",
                                      "0.0.0.1",
                                      "255.255.255.254",
                                      "fffe:ffff::"};
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
        struct sk_addr a = ask_addr(in[i]);
        if (!identity_is_hop(r, &a))
            fail_msg("%s is a hop", in[i]);
    }
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
        struct sk_addr a = ask_addr(out[i]);
        if (identity_is_hop(r, &a))
            fail_msg("%s is no hop", out[i]);
    }
    identity_rules_free(r);
    r = ask_rules("", "", "X-Real-IP");
    struct sk_addr a = ask_addr("10.0.0.1");
    assert_false(identity_is_hop(r, &a));
    assert_string_equal(identity_header_name(r), "X-Real-IP");
    identity_rules_free(r);
    identity_rules_free(NULL);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(identity_state_name(IDENTITY_DIRECT), "direct");
    assert_string_equal(identity_state_name(IDENTITY_UNPROVEN), "unproven");
    assert_string_equal(identity_state_name((enum identity_state)77), "unknown");
    assert_string_equal(identity_source_name(IDENTITY_BY_XFF), "X-Forwarded-For");
    assert_string_equal(identity_source_name((enum identity_source)77), "unknown");
    assert_string_equal(identity_why_text(IDENTITY_WHY_NONE), "");
    assert_string_equal(identity_why_text((enum identity_why)77), "unknown");
}

/* Each reason that this module gives was given above; MIXED is for its callers. */
static void test_every_reason(void **state)
{
    (void)state;
    for (unsigned w = 0; w < IDENTITY_WHY_COUNT; w++)
        if (w != IDENTITY_WHY_MIXED && !(whys_seen & 1u << w))
            fail_msg("never seen: %s", identity_why_text((enum identity_why)w));
}

/* An opaque hop is a hop: nobody behind it is proven, by header or PROXY, whatever other list it is in; and no entry
 * that it would have written is believed. */
static void test_opaque_hops(void **state)
{
    (void)state;
    struct sk_prefix http[2], proxy[1], opaque[2];
    struct identity_conf conf = {.http = http, .proxy = proxy, .opaque = opaque, .header = "X-Forwarded-For"};
    struct identity_rules *r;
    char buf[64];
    conf.nhttp = ask_prefixes("10.0.0.0/24 10.0.5.0/24", http, 2);
    conf.nproxy = ask_prefixes("10.0.5.0/24", proxy, 1);
    conf.nopaque = ask_prefixes("10.0.5.0/24 10.0.6.0/24", opaque, 2);
    assert_int_equal(identity_rules_create(&conf, &r), SK_OK);
    assert_string_equal(ask(r, "10.0.0.1", "192.0.2.1", buf), "192.0.2.1");
    assert_string_equal(ask(r, "10.0.6.1", "192.0.2.1", buf), "NOT_BELIEVED");
    assert_string_equal(ask(r, "10.0.5.1", "192.0.2.1", buf), "NOT_BELIEVED");
    assert_string_equal(ask(r, "10.0.0.1", "192.0.2.1, 10.0.6.1", buf), "NOT_BELIEVED");
    struct sk_addr hop = ask_addr("10.0.5.1");
    assert_true(identity_is_hop(r, &hop));
    struct identity conn;
    struct proxy_header h = {.version = 1, .command = PROXY_CMD_PROXY, .src = ask_addr("192.0.2.1"), .sport = 5};
    identity_begin(r, &hop, 40000, &conn);
    identity_proxy(r, &h, &conn);
    assert_string_equal(ask_text(&conn, buf), "BAD_PROXY");
    identity_rules_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_vouches),
        cmocka_unit_test(test_no_header_is_believed),
        cmocka_unit_test(test_opaque_hops),
        cmocka_unit_test(test_one_proxy_header),
        cmocka_unit_test(test_misframed),
        cmocka_unit_test(test_evidence),
        cmocka_unit_test(test_proxy_versions),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_more_lines_than_are_read),
        cmocka_unit_test(test_from_another_process),
        cmocka_unit_test(test_hops),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_every_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
