/* Each call by itself. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "schema.h"

struct bed bed;
struct store *s;

struct store *suite_open(void)
{
    struct store *out = NULL;
    char why[256];
    if (store_open(bed.where, &out, why, sizeof why) != SK_OK)
        print_message("%s\n", why);
    return out;
}

int suite_setup(void **state)
{
    (void)state;
    if (bed.fresh() != 0)
        return -1;
    s = suite_open();
    return s ? 0 : -1;
}

int suite_teardown(void **state)
{
    (void)state;
    store_close(s);
    s = NULL;
    return 0;
}

/* ---- tokens ---- */

struct store_token token(const char *id, const char *hash, int64_t uses)
{
    struct store_token t = {
        .created = T0, .expires = T0 + 1000, .uses_left = uses, .role = "", .tags = "{\"a\":\"b\"}"};
    snprintf(t.id, sizeof t.id, "%s", id);
    snprintf(t.hash, sizeof t.hash, "%s", hash);
    snprintf(t.note, sizeof t.note, "note of %s", id);
    return t;
}

static void a_token_has_its_uses(void **state)
{
    (void)state;
    struct store_token t = token("t1", "h1", 2), got;
    assert_int_equal(store_token_add(s, &t), SK_OK);
    assert_int_equal(store_token_use(s, "h1", STORE_TOKEN_ENROL, T0 + 1, &got), SK_OK);
    assert_int_equal(got.uses_left, 1);
    assert_int_equal(store_token_use(s, "h1", STORE_TOKEN_ENROL, T0 + 2, &got), SK_OK);
    assert_int_equal(store_token_use(s, "h1", STORE_TOKEN_ENROL, T0 + 3, &got), SK_EPERM);
    assert_int_equal(got.uses_left, 0);
    assert_int_equal(got.used, 2);
    assert_int_equal(got.last_used, T0 + 2);
    assert_string_equal(got.note, "note of t1");
    assert_string_equal(got.tags, "{\"a\":\"b\"}");
    assert_int_equal(store_token_use(s, "h2", STORE_TOKEN_ENROL, T0, &got), SK_ENOENT);
    assert_int_equal(store_token_find(s, "h2", &got), SK_ENOENT);
}

static void a_token_ends(void **state)
{
    (void)state;
    struct store_token t = token("t1", "h1", -1), got;
    assert_int_equal(store_token_add(s, &t), SK_OK);
    assert_int_equal(store_token_use(s, "h1", STORE_TOKEN_ENROL, T0 + 999, &got), SK_OK);
    assert_int_equal(got.uses_left, -1);
    assert_int_equal(store_token_use(s, "h1", STORE_TOKEN_ENROL, T0 + 1000, &got), SK_EPERM);
    assert_int_equal(store_token_use(s, "h1", STORE_TOKEN_OPERATOR, T0, &got), SK_ENOENT);
    assert_int_equal(store_token_revoke(s, "t1"), SK_OK);
    assert_int_equal(store_token_use(s, "h1", STORE_TOKEN_ENROL, T0, &got), SK_EPERM);
    assert_true(got.revoked);
    assert_int_equal(store_token_revoke(s, "t9"), SK_ENOENT);
}

static void count_token(void *arg, const struct store_token *t)
{
    char *text = arg;
    strcat(strcat(text, t->id), t->kind == STORE_TOKEN_OPERATOR ? t->role : ";");
}

static void tokens_are_told_apart(void **state)
{
    (void)state;
    struct store_token a = token("t1", "h1", 1), b = token("t1", "h2", 1), c = token("t2", "h1", 1);
    struct store_token d = token("t3", "h3", -1);
    char text[64] = "";
    d.kind = STORE_TOKEN_OPERATOR;
    d.expires = STORE_FOREVER;
    strcpy(d.role, "admin");
    assert_int_equal(store_token_add(s, &a), SK_OK);
    assert_int_equal(store_token_add(s, &b), SK_EEXIST);
    assert_int_equal(store_token_add(s, &c), SK_EEXIST);
    assert_int_equal(store_token_add(s, &d), SK_OK);
    assert_int_equal(store_token_use(s, "h3", STORE_TOKEN_OPERATOR, T0 * 2, &a), SK_OK);
    assert_int_equal(a.expires, STORE_FOREVER);
    assert_int_equal(store_tokens(s, count_token, text), SK_OK);
    assert_string_equal(text, "t1;t3admin");
}

/* ---- agents ---- */

struct store_agent agent(const char *id, const char *instance)
{
    struct store_agent a = {.host = "web-1",
                            .version = "0.1.0",
                            .address = "192.0.2.1",
                            .account = "123456789012",
                            .region = "eu-west-1",
                            .tags = "{}",
                            .token = "t1",
                            .enrolled = T0,
                            .seen = T0,
                            .cert_until = T0 + 30 * MS_PER_DAY,
                            .rules_version = 3,
                            .policy_version = 4,
                            .status = "{\"x\":1}",
                            .serial = "0a"};
    snprintf(a.id, sizeof a.id, "%s", id);
    snprintf(a.instance, sizeof a.instance, "%s", instance);
    return a;
}

static void an_agent_is_kept_whole(void **state)
{
    (void)state;
    struct store_agent a = agent("A1", "i-1"), got;
    assert_int_equal(store_agent_add(s, &a), SK_OK);
    assert_int_equal(store_agent_add(s, &a), SK_EEXIST);
    assert_int_equal(store_agent_get(s, "A1", &got), SK_OK);
    assert_memory_equal(&got, &a, sizeof a);
    assert_int_equal(store_agent_get(s, "A2", &got), SK_ENOENT);
}

static void an_instance_joins_once(void **state)
{
    (void)state;
    struct store_agent a = agent("A1", "i-1"), b = agent("A2", "i-1"), c = agent("A3", ""), d = agent("A4", "");
    assert_int_equal(store_agent_add(s, &a), SK_OK);
    assert_int_equal(store_agent_add(s, &b), SK_EEXIST);
    assert_int_equal(store_agent_add(s, &c), SK_OK);
    assert_int_equal(store_agent_add(s, &d), SK_OK);
    assert_int_equal(store_agent_set_state(s, "A1", STORE_AGENT_REVOKED, T0), SK_OK);
    assert_int_equal(store_agent_add(s, &b), SK_EEXIST);
    assert_int_equal(store_agent_set_state(s, "A1", STORE_AGENT_RETIRED, T0), SK_OK);
    assert_int_equal(store_agent_add(s, &b), SK_OK);
    assert_int_equal(store_agent_set_state(s, "A1", STORE_AGENT_ACTIVE, T0), SK_EEXIST);
    assert_int_equal(store_agent_set_state(s, "A9", STORE_AGENT_RETIRED, T0), SK_ENOENT);
}

static void an_older_certificate_is_over_when_the_new_one_is_used(void **state)
{
    (void)state;
    struct store_agent a = agent("A1", "");
    assert_int_equal(store_agent_add(s, &a), SK_OK);
    assert_int_equal(store_agent_check(s, "A1", "0a"), SK_OK);
    assert_int_equal(store_agent_check(s, "A1", ""), SK_EPERM);
    assert_int_equal(store_agent_renewed(s, "A1", "0b", T0), SK_OK);
    assert_int_equal(store_agent_check(s, "A1", "0a"), SK_OK);
    assert_int_equal(store_agent_renewed(s, "A1", "0c", T0), SK_OK); /* the answer with 0b did not arrive */
    assert_int_equal(store_agent_check(s, "A1", "0a"), SK_OK);
    assert_int_equal(store_agent_check(s, "A1", "0b"), SK_EPERM);
    assert_int_equal(store_agent_check(s, "A1", "0c"), SK_OK);
    assert_int_equal(store_agent_check(s, "A1", "0a"), SK_EPERM);
    assert_int_equal(store_agent_check(s, "A1", "0c"), SK_OK);
    assert_int_equal(store_agent_check(s, "A2", "0c"), SK_ENOENT);
    assert_int_equal(store_agent_renewed(s, "A2", "0c", T0), SK_ENOENT);
    assert_int_equal(store_agent_set_state(s, "A1", STORE_AGENT_REVOKED, T0), SK_OK);
    assert_int_equal(store_agent_check(s, "A1", "0c"), SK_EPERM);
}

static void count_states(void *arg, const struct store_agent *a)
{
    unsigned *n = arg;
    n[a->state]++;
}

static void silent_agents_retire(void **state)
{
    (void)state;
    struct store_agent a = agent("A1", ""), b = agent("A2", ""), got;
    unsigned n, states[3] = {0};
    char longest[4096];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(store_agent_add(s, &a) + store_agent_add(s, &b), SK_OK);
    assert_int_equal(store_agent_beat(s, "A2", T0 + 10, "192.0.2.9", "0.2.0", "{}", 7, 8), SK_OK);
    assert_int_equal(store_agent_beat(s, "A3", T0 + 10, "", "", "", 0, 0), SK_ENOENT);
    assert_int_equal(store_agent_beat(s, "A2", T0 + 10, "", "", longest, 0, 0), SK_EFULL);
    assert_int_equal(store_agents_retire(s, T0 + 10, T0 + 20, &n), SK_OK);
    assert_int_equal(n, 1);
    assert_int_equal(store_agents(s, count_states, states), SK_OK);
    assert_int_equal(states[STORE_AGENT_ACTIVE], 1);
    assert_int_equal(states[STORE_AGENT_RETIRED], 1);
    assert_int_equal(store_agent_get(s, "A2", &got), SK_OK);
    assert_int_equal(got.seen, T0 + 10);
    assert_int_equal(got.rules_version, 7);
    assert_string_equal(got.address, "192.0.2.9");
}

/* ---- batches and events ---- */

static void a_batch_is_taken_once(void **state)
{
    (void)state;
    int64_t next;
    assert_int_equal(store_batch(s, "A1", "x", 2, &next), SK_EPROTO);
    assert_int_equal(next, 1);
    assert_int_equal(store_batch(s, "A1", "x", 1, &next), SK_OK);
    assert_int_equal(store_batch(s, "A1", "x", 1, &next), SK_EEXIST);
    assert_int_equal(store_batch(s, "A1", "x", 2, &next), SK_OK);
    assert_int_equal(store_batch(s, "A1", "x", 4, &next), SK_EPROTO);
    assert_int_equal(next, 3);
    assert_int_equal(store_batch(s, "A2", "x", 1, &next), SK_OK);
    assert_int_equal(store_batch(s, "A1", "y", 1, &next), SK_OK);
    assert_int_equal(store_batch(s, "A1", "x", 0, &next), SK_EINVAL);
    assert_int_equal(store_begin(s), SK_OK);
    assert_int_equal(store_batch(s, "A1", "x", 3, &next), SK_OK);
    store_rollback(s);
    assert_int_equal(store_batch(s, "A1", "x", 3, &next), SK_OK);
}

static void spools_are_counted(void **state)
{
    (void)state;
    int64_t next, n;
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        assert_int_equal(store_batch(s, "A1", name, 1, &next), SK_OK);
    }
    assert_int_equal(store_batch(s, "A1", "s19", 2, &next), SK_OK);
    assert_int_equal(store_batch(s, "A1", "s12", 2, &next), SK_OK);
    assert_int_equal(store_batch(s, "A1", "s11", 2, &next), SK_EPROTO);
    assert_int_equal(inside_int(s, "SELECT count(*) FROM spool", NULL, 0, &n), SK_OK);
    assert_int_equal(n, 8);
}

void add_event(const char *agent_id, const char *type, int64_t time)
{
    struct store_event e = {.time = time, .json = "{\"alert\":{}}"};
    snprintf(e.agent, sizeof e.agent, "%s", agent_id);
    snprintf(e.type, sizeof e.type, "%s", type);
    assert_int_equal(store_event_add(s, &e), SK_OK);
}

static void note_event(void *arg, const struct store_event *e)
{
    char *text = arg;
    assert_string_equal(e->json, "{\"alert\":{}}");
    sprintf(text + strlen(text), "%lld%s%c ", (long long)e->id, e->agent, e->type[0]);
}

const char *events(const char *agent_id, const char *type, int64_t after, unsigned limit)
{
    static char text[256];
    text[0] = '\0';
    assert_int_equal(store_events(s, agent_id, type, after, limit, note_event, text), SK_OK);
    return text;
}

static void events_are_found(void **state)
{
    (void)state;
    add_event("A1", "alert", T0);
    add_event("A2", "alert", T0);
    add_event("A1", "flood", T0);
    add_event("A2", "flood", T0);
    assert_string_equal(events(NULL, NULL, 0, 9), "1A1a 2A2a 3A1f 4A2f ");
    assert_string_equal(events(NULL, NULL, 2, 1), "3A1f ");
    assert_string_equal(events(NULL, NULL, -1, 2), "4A2f 3A1f ");
    assert_string_equal(events("A1", NULL, 0, 9), "1A1a 3A1f ");
    assert_string_equal(events(NULL, "alert", -1, 9), "2A2a 1A1a ");
    assert_string_equal(events("A2", "flood", 0, 9), "4A2f ");
    assert_string_equal(events("A3", NULL, 0, 9), "");
}

static void an_event_has_a_maximum(void **state)
{
    (void)state;
    char *big = malloc(STORE_JSON_MAX + 1);
    memset(big, 'x', STORE_JSON_MAX);
    big[STORE_JSON_MAX] = '\0';
    struct store_event e = {.json = big};
    assert_int_equal(store_event_add(s, &e), SK_EFULL);
    big[STORE_JSON_MAX - 1] = '\0';
    assert_int_equal(store_event_add(s, &e), SK_OK);
    free(big);
}

/* ---- bundles, WAF, memos ---- */

static void note_bundle(void *arg, const struct store_bundle *b)
{
    char *text = arg;
    sprintf(text + strlen(text), "%s%lld:%zu:%02x%02x", b->kind, (long long)b->version, b->len, b->sig[0], b->sig[63]);
    assert_memory_equal(b->payload, "a\0b\xff", 4);
}

static void bundles_only_grow(void **state)
{
    (void)state;
    struct store_bundle b = {.kind = "rules", .version = 5, .created = T0, .payload = "a\0b\xff", .len = 4};
    int64_t v;
    char text[128] = "";
    b.sig[0] = 0xfe;
    b.sig[63] = 0x01;
    assert_int_equal(store_bundle_get(s, "rules", 0, note_bundle, text), SK_ENOENT);
    assert_int_equal(store_bundle_latest(s, "rules", &v), SK_OK);
    assert_int_equal(v, 0);
    assert_int_equal(store_bundle_add(s, &b), SK_OK);
    assert_int_equal(store_bundle_add(s, &b), SK_EEXIST);
    b.version = 4;
    assert_int_equal(store_bundle_add(s, &b), SK_EEXIST);
    b.version = 9;
    assert_int_equal(store_bundle_add(s, &b), SK_OK);
    strcpy(b.kind, "policy");
    b.version = 1;
    assert_int_equal(store_bundle_add(s, &b), SK_OK);
    assert_int_equal(store_bundle_latest(s, "rules", &v), SK_OK);
    assert_int_equal(v, 9);
    assert_int_equal(store_bundle_get(s, "rules", 0, note_bundle, text), SK_OK);
    assert_int_equal(store_bundle_get(s, "rules", 5, note_bundle, text), SK_OK);
    assert_int_equal(store_bundle_get(s, "rules", 6, note_bundle, text), SK_ENOENT);
    assert_string_equal(text, "rules9:4:fe01rules5:4:fe01");
}

static void count_prefix(void *arg, const struct sk_prefix *p)
{
    unsigned *n = arg;
    char buf[SK_PREFIX_STRLEN];
    n[0]++;
    n[1] += strcmp(sk_prefix_format(p, buf), "2001:db8::/48") == 0;
}

static void join_sets(void *arg, const char *set)
{
    strcat(strcat(arg, set), " ");
}

static void ours_in_a_set_is_remembered(void **state)
{
    (void)state;
    char sets[64] = "";
    struct sk_prefix p[3] = {prefix("203.0.113.1"), prefix("203.0.113.0/24"), prefix("2001:db8::/48")};
    unsigned n[2] = {0};
    assert_int_equal(store_waf_own(s, "v4", p, 3, NULL, 0), SK_OK);
    assert_int_equal(store_waf_own(s, "v4", p, 2, NULL, 0), SK_OK);
    assert_int_equal(store_waf_owned(s, "v4", count_prefix, n), SK_OK);
    assert_int_equal(n[0], 3);
    assert_int_equal(n[1], 1);
    assert_int_equal(store_waf_owned(s, "v6", count_prefix, n), SK_OK);
    assert_int_equal(n[0], 3);
    assert_int_equal(store_waf_own(s, "v6", p, 1, NULL, 0), SK_OK);
    assert_int_equal(store_waf_sets(s, join_sets, sets), SK_OK);
    assert_string_equal(sets, "v4 v6 ");
    sets[0] = '\0';
    assert_int_equal(store_waf_own(s, "v6", NULL, 0, p, 1), SK_OK);
    assert_int_equal(store_waf_sets(s, join_sets, sets), SK_OK);
    assert_string_equal(sets, "v4 ");
    assert_int_equal(store_waf_own(s, "v4", p, 1, p, 3), SK_OK);
    n[0] = 0;
    assert_int_equal(store_waf_owned(s, "v4", count_prefix, n), SK_OK);
    assert_int_equal(n[0], 1);
}

static void memos(void **state)
{
    (void)state;
    char *text;
    assert_int_equal(store_memo_get(s, "a", &text), SK_ENOENT);
    assert_null(text);
    assert_int_equal(store_memo_set(s, "a", "one"), SK_OK);
    assert_int_equal(store_memo_set(s, "a", "two"), SK_OK);
    assert_int_equal(store_memo_get(s, "a", &text), SK_OK);
    assert_string_equal(text, "two");
    free(text);
}

/* ---- outgoing, audit ---- */

static void note_out(void *arg, const struct store_out *o)
{
    char *text = arg;
    sprintf(text + strlen(text), "%lld%s%s%d ", (long long)o->id, o->sink, o->payload, o->attempts);
}

const char *due(const char *sink, int64_t now)
{
    static char text[256];
    text[0] = '\0';
    assert_int_equal(store_out_due(s, sink, now, 10, note_out, text), SK_OK);
    return text;
}

static void what_is_to_be_sent_is_sent(void **state)
{
    (void)state;
    assert_int_equal(store_out_add(s, "sns", "p1", T0), SK_OK);
    assert_int_equal(store_out_add(s, "sns", "p2", T0), SK_OK);
    assert_int_equal(store_out_add(s, "web", "p3", T0), SK_OK);
    assert_string_equal(due("sns", T0 - 1), "");
    assert_string_equal(due("sns", T0), "1snsp10 2snsp20 ");
    assert_int_equal(store_out_retry(s, 1, T0 + 500, "503"), SK_OK);
    assert_string_equal(due("sns", T0 + 499), "2snsp20 ");
    assert_string_equal(due("sns", T0 + 500), "2snsp20 1snsp11 ");
    assert_int_equal(store_out_done(s, 2), SK_OK);
    assert_int_equal(store_out_done(s, 2), SK_ENOENT);
    assert_int_equal(store_out_retry(s, 2, T0, ""), SK_ENOENT);
    assert_string_equal(due("sns", T0 + 500), "1snsp11 ");
    assert_string_equal(due("web", T0), "3webp30 ");
}

static void note_audit(void *arg, const struct store_audit *a)
{
    char *text = arg;
    sprintf(text + strlen(text), "%lld%s%s%zu ", (long long)a->id, a->who, a->what, strlen(a->detail));
}

static void the_audit_record_takes_everything(void **state)
{
    (void)state;
    char text[256] = "", big[2000];
    memset(big, 'x', sizeof big);
    memcpy(big + STORE_TEXT_MAX - 2, "\xc3\xa4", 2); /* cut in a character */
    big[sizeof big - 1] = '\0';
    assert_int_equal(store_audit(s, T0, "manager", "a", "1"), SK_OK);
    assert_int_equal(store_audit(s, T0, "manager", "b", big), SK_OK);
    assert_int_equal(store_audit(s, T0, "manager", "c", "no \xff UTF-8"), SK_OK);
    assert_int_equal(store_audits(s, 0, 2, note_audit, text), SK_OK);
    assert_string_equal(text, "3managerc10 2managerb510 ");
    text[0] = '\0';
    assert_int_equal(store_audits(s, 2, 10, note_audit, text), SK_OK);
    assert_string_equal(text, "1managera1 ");
}

/* ---- retention ---- */

static unsigned prune(const struct store_keep *k, int64_t now, unsigned most)
{
    bool more = true;
    unsigned calls = 0;
    for (; more && calls < 1000; calls++)
        assert_int_equal(store_prune(s, k, now, most, &more), SK_OK);
    return calls;
}

int64_t count(const char *sql)
{
    int64_t n = -1;
    assert_int_equal(inside_int(s, sql, NULL, 0, &n), SK_OK);
    return n;
}

static void what_is_over_is_forgotten(void **state)
{
    (void)state;
    const struct store_keep k = {.events = 10 * MS_PER_DAY,
                                 .blocks = 10 * MS_PER_DAY,
                                 .audit = 10 * MS_PER_DAY,
                                 .agents = 10 * MS_PER_DAY,
                                 .events_most = 1000};
    struct store_agent a = agent("A1", "i-1"), b = agent("A2", "i-2");
    struct store_token t = token("t1", "h1", 1);
    int64_t next, first, last;
    char epoch[STORE_SPOOL_LEN];
    assert_int_equal(store_agent_add(s, &a) + store_agent_add(s, &b) + store_token_add(s, &t), SK_OK);
    assert_int_equal(store_batch(s, "A1", "x", 1, &next) + store_batch(s, "A2", "x", 1, &next), SK_OK);
    assert_int_equal(store_agent_set_state(s, "A1", STORE_AGENT_RETIRED, T0), SK_OK);
    for (int i = 0; i < 20; i++)
        add_event("A2", "alert", T0 + i * MS_PER_DAY);
    assert_int_equal(store_audit(s, T0, "a", "b", "c") + store_out_add(s, "x", "y", T0), SK_OK);
    put("A1", "run-out", "203.0.113.1", T0 + 1000, T0);
    put("A1", "ended", "203.0.113.2", T0 + 1000, T0);
    put("A1", "long", "203.0.113.3", T0 + 30 * MS_PER_DAY, T0);
    assert_int_equal(store_block_end(s, "A1", "ended", T0 + 1, "lifted"), SK_OK);

    (void)prune(&k, T0 + 5 * MS_PER_DAY, 3); /* the day of the lifted entry is over, and little else */
    assert_int_equal(count("SELECT count(*) FROM block"), 3);
    assert_int_equal(count("SELECT count(*) FROM entry"), 1);
    assert_int_equal(count("SELECT count(*) FROM event"), 20);
    assert_int_equal(count("SELECT count(*) FROM outgoing"), 1);
    assert_int_equal(store_seq(s, &last, &first, epoch), SK_OK);
    assert_int_equal(last, 4);
    assert_int_equal(first, 5);

    assert_true(prune(&k, T0 + 20 * MS_PER_DAY, 3) > 4);
    assert_int_equal(count("SELECT count(*) FROM block"), 1);
    assert_int_equal(count("SELECT count(*) FROM event"), 10);
    assert_int_equal(count("SELECT count(*) FROM agent"), 1);
    assert_int_equal(count("SELECT count(*) FROM spool"), 1);
    assert_int_equal(count("SELECT count(*) FROM audit"), 0);
    assert_int_equal(count("SELECT count(*) FROM outgoing"), 0);
    assert_int_equal(count("SELECT count(*) FROM token"), 1);
    assert_int_equal(entry_end("203.0.113.3", T0 + 20 * MS_PER_DAY), T0 + 30 * MS_PER_DAY);
    (void)prune(&k, T0 + 31 * MS_PER_DAY, 100);
    assert_int_equal(count("SELECT count(*) FROM token"), 0);
    assert_int_equal(count("SELECT count(*) FROM event"), 0);
    add_event("A2", "alert", T0);
    assert_int_equal(count("SELECT max(id) FROM event"), 21); /* numbers are never given twice */
}

static void events_have_a_bound(void **state)
{
    (void)state;
    const struct store_keep k = {.events = MS_PER_DAY, .blocks = MS_PER_DAY, .events_most = 30};
    struct store_counts c;
    assert_int_equal(store_begin(s), SK_OK);
    for (int i = 0; i < 100; i++)
        add_event("A1", "alert", T0);
    assert_int_equal(store_commit(s), SK_OK);
    assert_int_equal(prune(&k, T0, 20), 4);
    assert_int_equal(count("SELECT count(*) FROM event"), 30);
    assert_int_equal(count("SELECT min(id) FROM event"), 71);
    assert_int_equal(store_counts(s, T0, &c), SK_OK);
    assert_int_equal(c.events, 30);
    assert_true(c.bytes > 4096);
}

static void counts(void **state)
{
    (void)state;
    struct store_agent a = agent("A1", ""), b = agent("A2", "");
    struct store_counts c;
    assert_int_equal(store_counts(s, T0, &c), SK_OK);
    assert_int_equal(c.events + c.agents + c.blocks + c.entries + c.outgoing, 0);
    assert_int_equal(store_agent_add(s, &a) + store_agent_add(s, &b), SK_OK);
    assert_int_equal(store_agent_beat(s, "A1", T0 + STORE_SILENT_MS, "", "", "", 0, 0), SK_OK);
    put("A1", "b1", "203.0.113.1", T0 + 1000000, T0);
    put("A2", "b1", "203.0.113.1", T0 + 1000000, T0);
    assert_int_equal(store_out_add(s, "x", "y", T0), SK_OK);
    assert_int_equal(store_counts(s, T0 + STORE_SILENT_MS + 1, &c), SK_OK);
    assert_int_equal(c.agents, 2);
    assert_int_equal(c.silent, 1);
    assert_int_equal(c.blocks, 2);
    assert_int_equal(c.entries, 1);
    assert_int_equal(c.outgoing, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, suite_setup, suite_teardown)

int suite_calls(const char *name)
{
    const struct CMUnitTest tests[] = {
        TEST(a_token_has_its_uses),
        TEST(a_token_ends),
        TEST(tokens_are_told_apart),
        TEST(an_agent_is_kept_whole),
        TEST(an_instance_joins_once),
        TEST(an_older_certificate_is_over_when_the_new_one_is_used),
        TEST(silent_agents_retire),
        TEST(a_batch_is_taken_once),
        TEST(spools_are_counted),
        TEST(events_are_found),
        TEST(an_event_has_a_maximum),
        TEST(bundles_only_grow),
        TEST(ours_in_a_set_is_remembered),
        TEST(memos),
        TEST(what_is_to_be_sent_is_sent),
        TEST(the_audit_record_takes_everything),
        TEST(what_is_over_is_forgotten),
        TEST(events_have_a_bound),
        TEST(counts),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
