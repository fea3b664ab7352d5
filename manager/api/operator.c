/* What operators change. Each change is in the audit, in the same transaction. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>
#include "api_priv.h"

#define DAY_S        86400
#define TEN_YEARS_S  INT64_C(315360000)
#define USES_MAX     1000000000
#define SECRET_BYTES 32
#define UNSAID       INT64_C(-2)

/* --- may it? --- */

static enum api_code judge(const struct req *r, const struct store_token *t)
{
    if (t->kind != STORE_TOKEN_OPERATOR)
        return API_TOKEN_UNKNOWN;
    if (t->revoked)
        return API_OP_REVOKED;
    if (t->expires <= now_ms())
        return API_OP_EXPIRED;
    if (t->uses_left == 0)
        return API_OP_USED_UP;
    bool admin = strcmp(t->role, "admin") == 0;
    return r->route->auth == AUTH_ADMIN && !admin ? API_ROLE : API_FINE;
}

int admit_operator(struct api *a, struct req *r)
{
    struct store_token t;
    int rc = store_token_find(a->work.store, r->hash, &t);
    if (rc != SK_OK && rc != SK_ENOENT)
        return SK_EIO;
    enum api_code c = rc == SK_ENOENT ? API_TOKEN_UNKNOWN : judge(r, &t);
    if (rc == SK_OK)
        memcpy(r->who, t.id, sizeof(r->who));
    if (c == API_FINE)
        rc = store_token_use(a->work.store, r->hash, STORE_TOKEN_OPERATOR, now_ms(), &t);
    if (rc == SK_EPERM)
        c = API_OP_USED_UP;
    else if (c == API_FINE && rc != SK_OK)
        return SK_EIO;
    if (c == API_FINE)
        return SK_OK;
    answer_code(r, c, NULL);
    return SK_EPERM;
}

static int SK_PRINTF(4, 5) audit(struct api *a, const struct req *r, const char *what, const char *fmt, ...)
{
    char who[STORE_ID_LEN + 16], detail[STORE_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    snprintf(who, sizeof(who), "operator:%s", r->who);
    return store_audit(a->work.store, now_ms(), who, what, detail);
}

/* --- agents --- */

static int set_state(struct api *a, struct req *r, enum store_agent_state want, const char *what)
{
    struct store_agent g;
    int rc = pki_agent_valid(r->arg) ? store_agent_get(a->work.store, r->arg, &g) : SK_ENOENT;
    if (rc == SK_ENOENT) {
        answer_code(r, API_NOT_FOUND, NULL);
        return SK_OK;
    }
    if (rc == SK_OK && g.state == STORE_AGENT_REVOKED && want != STORE_AGENT_REVOKED) {
        answer_code(r, API_REVOKED, NULL);
        return SK_OK;
    }
    if (rc == SK_OK && g.state != want) {
        rc = store_agent_set_state(a->work.store, r->arg, want, now_ms());
        if (rc == SK_OK)
            rc = audit(a, r, what, "agent %s, host %.256s", g.id, g.host);
    }
    if (rc == SK_EEXIST) { /* it had retired, and its instance has joined again */
        answer_code(r, API_INSTANCE_JOINED, NULL);
        return SK_EAGAIN;
    }
    if (rc != SK_OK)
        return SK_EIO;
    answer_empty(r);
    return SK_OK;
}

int run_agent_revoke(struct api *a, struct req *r)
{
    return set_state(a, r, STORE_AGENT_REVOKED, "agent.revoke");
}

int run_agent_retire(struct api *a, struct req *r)
{
    return set_state(a, r, STORE_AGENT_RETIRED, "agent.retire");
}

/* --- blocks --- */

enum api_code check_block(struct req *r)
{
    bool ok = field_prefix(r->json, "target", &r->in.target) &&
              field_int(r->json, "seconds", true, 1, TEN_YEARS_S, &r->in.seconds) &&
              field_note(r->json, "reason", &r->in.reason);
    return ok ? API_FINE : API_BAD_FIELD;
}

static bool describe_block(const struct req *r, struct store_block *b)
{
    b->target = r->in.target;
    b->created = now_ms();
    b->expires = b->created + r->in.seconds * 1000;
    strcpy(b->origin, "operator");
    strcpy(b->cause, "manual");
    snprintf(b->reason, sizeof(b->reason), "%s", r->in.reason != NULL ? r->in.reason : "");
    b->id[0] = 'M';
    return pki_random_text(8, b->id + 1) == SK_OK; /* as long as agents' own IDs: they keep no longer ones */
}

/* As an agent would send it, for the outputs. */
static void tell_block(struct api *a, const struct store_block *b)
{
    struct sk_strbuf t;
    if (a->o.taken == NULL)
        return;
    sk_strbuf_init(&t, API_BODY_SMALL);
    out_open(&t, NULL, '{');
    out_str(&t, "type", "block");
    out_str(&t, "id", b->id);
    out_prefix(&t, "target", &b->target);
    out_int(&t, "created_ms", b->created);
    out_int(&t, "expires_ms", b->expires);
    out_str(&t, "origin", b->origin);
    out_str(&t, "cause", b->cause);
    out_str(&t, "reason", b->reason);
    out_close(&t, '}');
    if (!t.full)
        a->o.taken(a->o.taken_arg, a->work.store, "", t.p);
    sk_strbuf_free(&t);
}

static void answer_block(struct req *r, const struct store_block *b)
{
    struct sk_strbuf t;
    sk_strbuf_init(&t, 512);
    out_open(&t, NULL, '{');
    out_str(&t, "id", b->id);
    out_prefix(&t, "target", &b->target);
    out_int(&t, "created_ms", b->created);
    out_int(&t, "expires_ms", b->expires);
    out_close(&t, '}');
    answer_json(r, MHD_HTTP_CREATED, &t);
}

int run_block(struct api *a, struct req *r)
{
    struct store_block b = {0};
    char target[SK_PREFIX_STRLEN];
    const char *why = item_target_refused(&a->rules, &r->in.target);
    if (why == NULL && r->in.seconds * 1000 > a->rules.max_block)
        why = "too long a block";
    if (why != NULL) {
        answer_code(r, API_TARGET_REFUSED, why);
        return SK_OK;
    }
    if (!describe_block(r, &b))
        return SK_EIO;
    int rc = store_block_put(a->work.store, &b, b.created);
    if (rc == SK_OK)
        rc = audit(a, r, "block", "%s for %lld s", sk_prefix_format(&b.target, target), (long long)r->in.seconds);
    if (rc != SK_OK)
        return SK_EIO;
    a->work.changed = true;
    tell_block(a, &b);
    answer_block(r, &b);
    return SK_OK;
}

enum api_code check_unblock(struct req *r)
{
    return field_prefix(r->json, "target", &r->in.target) ? API_FINE : API_BAD_FIELD;
}

int run_unblock(struct api *a, struct req *r)
{
    char target[SK_PREFIX_STRLEN];
    unsigned n = 0;
    struct sk_strbuf t;
    int rc = store_unblock(a->work.store, &r->in.target, now_ms(), "unblocked", &n);
    if (rc == SK_ENOENT) {
        answer_code(r, API_NOT_FOUND, NULL);
        return SK_OK;
    }
    if (rc == SK_OK)
        rc = audit(a, r, "unblock", "%s, %u blocks", sk_prefix_format(&r->in.target, target), n);
    if (rc != SK_OK)
        return SK_EIO;
    a->work.changed = true;
    sk_strbuf_init(&t, 256);
    out_open(&t, NULL, '{');
    out_prefix(&t, "target", &r->in.target);
    out_int(&t, "ended", n);
    out_close(&t, '}');
    answer_json(r, MHD_HTTP_OK, &t);
    return SK_OK;
}

/* --- tokens --- */

enum api_code check_token(struct req *r)
{
    struct req_in *in = &r->in;
    const char *kind = NULL, *role = "read";
    in->uses = in->seconds = UNSAID;
    bool ok = field_str(r->json, "kind", true, SET_WORD, 15, &kind) &&
              field_str(r->json, "role", false, SET_WORD, 15, &role) &&
              field_int_null(r->json, "uses", 1, USES_MAX, -1, &in->uses) &&
              field_int_null(r->json, "seconds", 1, TEN_YEARS_S, -1, &in->seconds) &&
              field_note(r->json, "note", &in->reason) && field_tags(r->json, "tags", in->tags);
    if (!ok || (strcmp(role, "read") != 0 && strcmp(role, "admin") != 0))
        return API_BAD_FIELD;
    in->admin = strcmp(role, "admin") == 0;
    in->kind = strcmp(kind, "operator") == 0 ? STORE_TOKEN_OPERATOR : STORE_TOKEN_ENROL;
    return in->kind == STORE_TOKEN_OPERATOR || strcmp(kind, "enrol") == 0 ? API_FINE : API_BAD_FIELD;
}

static void describe_token(const struct req_in *in, struct store_token *t)
{
    bool enrol = in->kind == STORE_TOKEN_ENROL;
    int64_t seconds = in->seconds != UNSAID ? in->seconds : enrol ? DAY_S : -1;
    t->kind = in->kind;
    t->created = now_ms();
    t->expires = seconds < 0 ? STORE_FOREVER : t->created + seconds * 1000;
    t->uses_left = in->uses != UNSAID ? in->uses : enrol ? 1 : -1;
    snprintf(t->role, sizeof(t->role), "%s", enrol ? "" : in->admin ? "admin" : "read");
    snprintf(t->note, sizeof(t->note), "%s", in->reason != NULL ? in->reason : "");
    snprintf(t->tags, sizeof(t->tags), "%s", in->tags);
}

static void out_token(struct sk_strbuf *b, const struct store_token *t)
{
    out_str(b, "id", t->id);
    out_str(b, "kind", t->kind == STORE_TOKEN_ENROL ? "enrol" : "operator");
    out_int(b, "created_ms", t->created);
    if (t->expires == STORE_FOREVER)
        out_raw(b, "expires_ms", "null");
    else
        out_int(b, "expires_ms", t->expires);
    if (t->uses_left < 0)
        out_raw(b, "uses_left", "null");
    else
        out_int(b, "uses_left", t->uses_left);
    out_int(b, "used", t->used);
    out_int(b, "last_used_ms", t->last_used);
    out_bool(b, "revoked", t->revoked);
    out_str(b, "role", t->role);
    out_str(b, "note", t->note);
    out_raw(b, "tags", t->tags[0] == '{' ? t->tags : "{}");
}

static bool make_secret(struct store_token *t, char *secret, size_t cap)
{
    char random[SECRET_BYTES * 8 / 5 + 2];
    t->id[0] = 'T';
    if (pki_random_text(SECRET_BYTES, random) != SK_OK || pki_random_text(10, t->id + 1) != SK_OK)
        return false;
    snprintf(secret, cap, "%s%s", t->kind == STORE_TOKEN_ENROL ? "ske_" : "sko_", random);
    pki_hash_text(secret, strlen(secret), t->hash);
    OPENSSL_cleanse(random, sizeof(random));
    return true;
}

int run_token(struct api *a, struct req *r)
{
    struct store_token t = {0};
    struct sk_strbuf b;
    char secret[80];
    describe_token(&r->in, &t);
    if (!make_secret(&t, secret, sizeof(secret)))
        return SK_EIO;
    int rc = store_token_add(a->work.store, &t);
    if (rc == SK_OK)
        rc = audit(a, r, "token.create", "%s, %s%s%s", t.id, t.kind == STORE_TOKEN_ENROL ? "enrol" : "operator",
                   t.role[0] != '\0' ? ", " : "", t.role);
    if (rc == SK_OK) {
        sk_strbuf_init(&b, API_BODY_SMALL);
        out_open(&b, NULL, '{');
        out_token(&b, &t);
        out_str(&b, "secret", secret);
        out_close(&b, '}');
        answer_json(r, MHD_HTTP_CREATED, &b);
    }
    OPENSSL_cleanse(secret, sizeof(secret));
    return rc == SK_OK ? SK_OK : SK_EIO;
}

int run_token_revoke(struct api *a, struct req *r)
{
    int rc = strlen(r->arg) < STORE_ID_LEN ? store_token_revoke(a->work.store, r->arg) : SK_ENOENT;
    if (rc == SK_ENOENT) {
        answer_code(r, API_NOT_FOUND, NULL);
        return SK_OK;
    }
    if (rc == SK_OK)
        rc = audit(a, r, "token.revoke", "%s", r->arg);
    if (rc != SK_OK)
        return SK_EIO;
    answer_empty(r);
    return SK_OK;
}

static void on_token(void *arg, const struct store_token *t)
{
    struct sk_strbuf *b = (struct sk_strbuf *)arg;
    out_open(b, NULL, '{');
    out_token(b, t);
    out_close(b, '}');
}

int run_tokens(struct api *a, struct req *r)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, API_LIST_BYTES);
    sk_strbuf_puts(&b, "{\"tokens\":[");
    int rc = store_tokens(a->work.store, on_token, &b);
    sk_strbuf_puts(&b, "]}");
    if (rc != SK_OK) {
        sk_strbuf_free(&b);
        return SK_EIO;
    }
    answer_json(r, MHD_HTTP_OK, &b);
    return SK_OK;
}
