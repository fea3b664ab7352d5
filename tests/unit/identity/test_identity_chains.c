/*
 * Chains of honest hops behind which a client writes whatever it likes: the answer is the true client, or nobody; never
 * a third. Cases are made from a seed, which a failure names.
 */
#include "identity_ask.h"

#define CASES     100000 /* of each kind */
#define TEXT_MAX  2048
#define LINES_MAX 16

static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 32) % n);
}

struct text {
    char p[TEXT_MAX];
    uint32_t len;
    bool odd;
};

static void put(struct text *t, const char *s, size_t n)
{
    assert_true(n <= TEXT_MAX - t->len);
    memcpy(t->p + t->len, s, n);
    t->len += (uint32_t)n;
}

static void puts_text(struct text *t, const char *s)
{
    put(t, s, strlen(s));
}

struct request {
    struct text line[LINES_MAX];
    unsigned n;
};

static struct sk_addr random_addr(const char *net4, const char *net6)
{
    struct sk_addr a = ask_addr(rnd(3) ? net4 : net6);
    a.b[15] = (uint8_t)(1 + rnd(254));
    return a;
}

static struct sk_addr random_hop(void)
{
    return random_addr("10.0.1.0", "2001:db8:1::");
}

/* ---- what the client writes ---- */

static void client_writes(struct request *q)
{
    static const char *const atoms[] = {
        "198.51.100.77",
        "2001:db8:bad::1",
        "10.0.1.9",
        "[2001:db8:1::9]",
        "127.0.0.1",
        "0.0.0.0",
        "unknown",
        "_x",
        "\"",
        "\"",
        "\\",
        ",",
        ",",
        ", ",
        ";",
        "=",
        ":",
        ":80",
        "[",
        "]",
        " ",
        "\t",
        "for=",
        "for=\"",
        "for=198.51.100.77",
        "for=10.0.1.9",
        "\", for=198.51.100.77",
        "by=",
        "proto=http",
        "%eth0",
        "::ffff:",
        "010.0.0.1",
        "10.0.2.9",
        "!",
    };
    q->n = rnd(5);
    for (unsigned i = 0; i < q->n; i++) {
        q->line[i].len = 0;
        q->line[i].odd = rnd(8) == 0;
        for (unsigned k = rnd(9); k > 0; k--) {
            char any = (char)(32 + rnd(224));
            if (rnd(12) == 0)
                put(&q->line[i], &any, 1);
            else
                puts_text(&q->line[i], atoms[rnd(sizeof atoms / sizeof atoms[0])]);
        }
    }
}

static bool has_quote(const struct request *q)
{
    for (unsigned i = 0; i < q->n; i++)
        if (memchr(q->line[i].p, '"', q->line[i].len) != NULL)
            return true;
    return false;
}

static bool has_odd(const struct request *q)
{
    for (unsigned i = 0; i < q->n; i++)
        if (q->line[i].odd)
            return true;
    return false;
}

/* ---- what a hop appends ---- */

/* An entry as lists have it; quotes: perhaps with them. */
static void put_entry(struct text *t, const struct sk_addr *a, uint16_t port, bool quotes)
{
    char addr[SK_ADDR_STRLEN], buf[80];
    bool v6 = !sk_addr_is_v4(a), brackets = v6 && (port != 0 || rnd(2));
    sk_addr_format(a, addr);
    int n = snprintf(buf, sizeof buf, brackets ? "[%s]" : v6 || rnd(8) ? "%s" : "::ffff:%s", addr);
    if (port != 0 && (brackets || strchr(buf, ':') == NULL))
        snprintf(buf + n, sizeof buf - (size_t)n, ":%u", port);
    bool q = quotes && rnd(2);
    puts_text(t, q ? "\"" : "");
    puts_text(t, buf);
    puts_text(t, q ? "\"" : "");
}

static void put_element(struct text *t, const struct sk_addr *a, uint16_t port)
{
    static const char *const before[] = {"", "", "proto=https;", "by=\"[2001:db8::5]\";", "host=\"a, b;for=\\\"x\";"};
    static const char *const after[] = {"", "", ";proto=http", "; by=_me", ";host=\"c,\\\\\""};
    puts_text(t, before[rnd(5)]);
    puts_text(t, rnd(2) ? "for=" : "For=");
    put_entry(t, a, port, true);
    puts_text(t, after[rnd(5)]);
}

static struct text *new_line(struct request *q)
{
    assert_true(q->n < LINES_MAX);
    q->line[q->n].len = 0;
    q->line[q->n].odd = false;
    return &q->line[q->n++];
}

/* The lines that the hop takes for the header become one, in the place of the first; those that it does not stay. */
static unsigned join_lines(struct request *q, bool sees_odd, const char *comma)
{
    unsigned n = 0, first = LINES_MAX;
    for (unsigned i = 0; i < q->n; i++) {
        bool seen = sees_odd || !q->line[i].odd;
        if (seen && first < LINES_MAX) {
            puts_text(&q->line[first], comma);
            put(&q->line[first], q->line[i].p, q->line[i].len);
            q->line[first].odd |= q->line[i].odd;
            continue;
        }
        first = seen ? n : first;
        if (n != i)
            q->line[n] = q->line[i];
        n++;
    }
    q->n = n;
    return first;
}

/* Where a hop appends: in a line of its own (HAProxy), in one line for all (nginx), or in the last that it sees. An odd
 * line it may see or not. */
static struct text *place_to_append(struct request *q)
{
    static const char *const comma[] = {",", ", ", " ,\t"};
    unsigned style = rnd(3), at = LINES_MAX;
    bool sees_odd = rnd(2);
    if (style == 1)
        at = join_lines(q, sees_odd, comma[rnd(2)]);
    for (unsigned i = 0; style == 2 && i < q->n; i++)
        at = sees_odd || !q->line[i].odd ? i : at;
    if (at == LINES_MAX)
        return new_line(q);
    puts_text(&q->line[at], comma[rnd(3)]);
    return &q->line[at];
}

/* The lines that the hop sees go; its own stands before those that it does not see, or behind them. */
static struct text *place_to_overwrite(struct request *q)
{
    unsigned n = 0;
    bool sees_odd = rnd(2);
    for (unsigned i = 0; i < q->n; i++)
        if (q->line[i].odd && !sees_odd)
            q->line[n++] = q->line[i];
    q->n = n;
    new_line(q);
    if (rnd(2) || n == 0)
        return &q->line[n];
    q->line[n] = q->line[0];
    q->line[0].len = 0;
    q->line[0].odd = false;
    return &q->line[0];
}

enum kind { APPENDED, OVERWRITTEN, FORWARDED, KINDS };

static void hop_appends(enum kind kind, struct request *q, const struct sk_addr *a)
{
    uint16_t port = rnd(2) ? (uint16_t)(1 + rnd(65535)) : 0;
    struct text *t = kind == OVERWRITTEN ? place_to_overwrite(q) : place_to_append(q);
    if (kind == FORWARDED)
        put_element(t, a, port);
    else
        put_entry(t, a, port, true);
}

/* ---- one case ---- */

struct outcome {
    struct identity id;
    struct sk_addr client;
    unsigned hops;
    bool quote, odd, vouched;
};

static struct identity request(const struct identity_rules *r, const struct identity *conn, const struct request *q)
{
    struct identity_line lines[LINES_MAX];
    struct identity id;
    for (unsigned i = 0; i < q->n; i++)
        lines[i].value = sk_span_of(q->line[i].p, q->line[i].len), lines[i].odd = q->line[i].odd;
    identity_request(r, conn, lines, q->n, false, &id);
    assert_true(identity_valid(&id));
    return id;
}

/* client, some http hops, perhaps a proxy hop that passes their connection through, this host. */
static void run_chain(const struct identity_rules *r, enum kind kind, struct outcome *o)
{
    static struct request q;
    struct identity conn;
    struct sk_addr at = o->client = random_addr("203.0.113.0", "2001:db8:c::");
    unsigned https = kind == OVERWRITTEN ? 1 : rnd(7);
    bool proxy = https == 0 || rnd(3) == 0;
    o->hops = https + proxy;
    o->vouched = true;
    client_writes(&q);
    o->quote = has_quote(&q);
    o->odd = has_odd(&q);
    for (unsigned i = 0; i < https; i++) {
        hop_appends(kind, &q, &at);
        at = random_hop();
        if (kind == APPENDED && rnd(60) == 0) { /* a hop of the other kind where only a header could vouch */
            at = ask_addr("10.0.2.7");
            o->vouched = false;
        }
    }
    struct sk_addr peer = proxy ? ask_addr("10.0.2.5") : at;
    identity_begin(r, &peer, 1, &conn);
    if (proxy) {
        struct proxy_header h = {.version = 1, .command = PROXY_CMD_PROXY, .src = at};
        identity_proxy(r, &h, &conn);
    }
    o->id = request(r, &conn, &q);
}

static void check_chain(const struct outcome *o, enum kind kind, uint64_t start)
{
    char got[64], want[SK_ADDR_STRLEN];
    const struct identity *id = &o->id;
    bool right = id->state == IDENTITY_PROVEN && sk_addr_eq(&id->client, &o->client) && id->nhops == o->hops;
    bool silent = id->state == IDENTITY_UNPROVEN;
    bool may_fail = !o->vouched || o->odd || (kind == FORWARDED && o->quote);
    if (!o->vouched && !silent)
        fail_msg("seed %llx: nobody vouches, yet %s", (unsigned long long)start, ask_text(id, got));
    if (!right && !(silent && may_fail))
        fail_msg("seed %llx: %s, not %s behind %u hops", (unsigned long long)start, ask_text(id, got),
                 sk_addr_format(&o->client, want), o->hops);
}

static void run_kind(enum kind kind, const char *header)
{
    struct identity_rules *r = ask_rules("10.0.1.0/24 2001:db8:1::/64", "10.0.2.0/24", header);
    unsigned proven = 0, unvouched = 0, odd = 0, odd_proven = 0;
    for (unsigned i = 0; i < CASES; i++) {
        static struct outcome o;
        uint64_t start = seed = 0x9e3779b97f4a7c15u * (i + 1) + (uint64_t)kind;
        run_chain(r, kind, &o);
        check_chain(&o, kind, start);
        proven += o.id.state == IDENTITY_PROVEN;
        unvouched += !o.vouched;
        odd += o.odd;
        odd_proven += o.odd && o.id.state == IDENTITY_PROVEN;
    }
    print_message("%s: %u chains, %u clients proven, %u chains with a hop that vouches for nobody, "
                  "%u with odd lines, of which %u proven\n",
                  header, CASES, proven, unvouched, odd, odd_proven);
    assert_true(proven > CASES / 2 && odd > CASES / 50 && odd_proven > odd / 10);
    assert_true(kind != APPENDED || unvouched > CASES / 100);
    identity_rules_free(r);
}

static void test_appended(void **state)
{
    (void)state;
    run_kind(APPENDED, "X-Forwarded-For");
}

static void test_overwritten(void **state)
{
    (void)state;
    run_kind(OVERWRITTEN, "X-Real-IP");
}

static void test_forwarded(void **state)
{
    (void)state;
    run_kind(FORWARDED, "Forwarded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appended),
        cmocka_unit_test(test_overwritten),
        cmocka_unit_test(test_forwarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
