#include "answer.h"

#include <stdio.h>
#include <string.h>
#include "base/clock.h"

#define MS_MAX       INT64_C(9007199254740991) /* 2^53 - 1 */
#define HEARTBEAT    INT64_C(86400)
#define KEYS_MAX     16
#define KEY_TEXT     44 /* 32 bytes in base64 */
#define SIG_TEXT     88 /* 64 bytes in base64 */
#define AGENT_LEN    27
#define MS_IN_NS_MAX (INT64_MAX / SK_NS_PER_MS)

static json_t *parse(const char *body, size_t len)
{
    json_t *root = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

static bool get_int(const json_t *o, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return false;
    *out = json_integer_value(v);
    return true;
}

static bool get_u32(const json_t *o, const char *name, uint32_t *out)
{
    int64_t v;
    if (!get_int(o, name, 0, UINT32_MAX, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

static bool get_bool(const json_t *o, const char *name, bool *out)
{
    const json_t *v = json_object_get(o, name);
    *out = json_is_true(v);
    return json_is_boolean(v);
}

/* Of a time in ms; later than can be told in ns is the latest. */
static bool get_ms(const json_t *o, const char *name, int64_t *ns)
{
    int64_t ms;
    if (!get_int(o, name, 0, MS_MAX, &ms))
        return false;
    *ns = ms > MS_IN_NS_MAX ? INT64_MAX : ms * SK_NS_PER_MS;
    return true;
}

/* Only of certain characters, 1..cap-1 of them. */
static bool get_word(const json_t *o, const char *name, const char *chars, char *buf, size_t cap)
{
    const char *s = json_string_value(json_object_get(o, name));
    if (s == NULL || s[0] == '\0' || strlen(s) >= cap || s[strspn(s, chars)] != '\0')
        return false;
    memcpy(buf, s, strlen(s) + 1);
    return true;
}

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* Text for people: cut between characters, without control characters. Optional. */
static bool get_text(const json_t *o, const char *name, char *buf, size_t cap)
{
    const json_t *v = json_object_get(o, name);
    buf[0] = '\0';
    if (v == NULL)
        return true;
    if (!json_is_string(v))
        return false;
    const char *s = json_string_value(v);
    size_t len = json_string_length(v);
    if (len >= cap)
        for (len = cap - 1; len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80;)
            len--;
    for (size_t i = 0; i < len; i++)
        buf[i] = (unsigned char)s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i];
    buf[len] = '\0';
    return true;
}

static bool get_prefix(const json_t *o, const char *name, struct sk_prefix *out)
{
    const json_t *v = json_object_get(o, name);
    return json_is_string(v) && sk_prefix_parse(json_string_value(v), json_string_length(v), false, out) == SK_OK &&
           out->len > 0;
}

void answer_error(const char *body, size_t len, char *buf)
{
    json_t *root = parse(body, len);
    buf[0] = '\0';
    if (!get_word(json_object_get(root, "error"), "code", ALNUM "_-", buf, ANSWER_CODE_LEN))
        buf[0] = '\0';
    json_decref(root);
}

int answer_batch(const char *body, size_t len, struct answer_batch *out)
{
    json_t *root = parse(body, len);
    *out = (struct answer_batch){0};
    bool ok = get_int(root, "seq", 1, MS_MAX, &out->seq) && get_bool(root, "duplicate", &out->duplicate);
    (void)get_int(root, "refused", 0, MS_MAX, &out->refused);
    json_decref(root);
    return ok ? SK_OK : SK_EPROTO;
}

int answer_gap(const char *body, size_t len, int64_t *next)
{
    json_t *root = parse(body, len);
    bool ok = get_int(root, "next", 1, MS_MAX, next);
    json_decref(root);
    return ok ? SK_OK : SK_EPROTO;
}

static bool get_news(const json_t *root, struct answer_news *out)
{
    *out = (struct answer_news){0};
    return get_int(root, "rules_version", 0, MS_MAX, &out->rules_version) &&
           get_int(root, "policy_version", 0, MS_MAX, &out->policy_version) && get_bool(root, "renew", &out->renew);
}

int answer_beat(const char *body, size_t len, struct answer_news *out)
{
    json_t *root = parse(body, len);
    bool ok = get_news(root, out) && get_int(root, "heartbeat_s", 1, HEARTBEAT, &out->heartbeat_s) &&
              get_int(root, "time_ms", 0, MS_MAX, &out->time_ms);
    json_decref(root);
    return ok ? SK_OK : SK_EPROTO;
}

int answer_feed(const char *body, size_t len, struct answer_feed *out)
{
    *out = (struct answer_feed){.root = parse(body, len)};
    out->entries = json_object_get(out->root, "entries");
    if (get_word(out->root, "epoch", ALNUM "-", out->epoch, sizeof(out->epoch)) &&
        get_int(out->root, "seq", 0, MS_MAX, &out->seq) && get_bool(out->root, "reset", &out->reset) &&
        get_bool(out->root, "more", &out->more) && get_news(out->root, &out->news) && json_is_array(out->entries))
        return SK_OK;
    answer_feed_free(out);
    return SK_EPROTO;
}

void answer_feed_free(struct answer_feed *f)
{
    json_decref(f->root);
    *f = (struct answer_feed){0};
}

int answer_feed_entry(const struct answer_feed *f, size_t i, const char *own, struct ipc_fleet *out)
{
    const json_t *e = json_array_get(f->entries, i);
    const char *op = json_string_value(json_object_get(e, "op"));
    char agent[AGENT_LEN + 1];
    memset(out, 0, sizeof(*out));
    if (op == NULL || !get_prefix(e, "target", &out->target))
        return SK_EPROTO;
    if (strcmp(op, "del") == 0) {
        out->op = IPC_BLOCK_END;
        return SK_OK;
    }
    if (strcmp(op, "set") != 0 || !get_ms(e, "expires_ms", &out->expires) || !get_ms(e, "created_ms", &out->created) ||
        !get_word(e, "id", ALNUM "_.:-", out->id, sizeof(out->id)) || !get_text(e, "agent", agent, sizeof(agent)) ||
        !get_text(e, "host", out->host, sizeof(out->host)) ||
        !get_text(e, "reason", out->reason, sizeof(out->reason)) || !get_u32(e, "sid", &out->sid) ||
        !get_u32(e, "gid", &out->gid))
        return SK_EPROTO;
    out->op = IPC_BLOCK_SET;
    return strcmp(agent, own) == 0 ? SK_EEXIST : SK_OK;
}

/* --- bundles --- */

static int base64_value(char c)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c != '\0' ? strchr(set, c) : NULL;
    return p != NULL ? (int)(p - set) : -1;
}

/* 86 characters and two '=' to 64 bytes. */
static bool get_signature(const json_t *o, uint8_t sig[64])
{
    const char *s = json_string_value(json_object_get(o, "signature"));
    if (s == NULL || strlen(s) != SIG_TEXT || strcmp(s + SIG_TEXT - 2, "==") != 0)
        return false;
    uint32_t bits = 0;
    unsigned have = 0, n = 0;
    for (unsigned i = 0; i < SIG_TEXT - 2; i++) {
        int v = base64_value(s[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8 && n < 64) {
            have -= 8;
            sig[n++] = (uint8_t)(bits >> have);
        }
    }
    return n == 64;
}

int answer_bundle(const char *body, size_t len, uint32_t kind, const char *name, struct ipc_signed *out, json_t **root,
                  const char **payload, size_t *payload_len)
{
    *root = parse(body, len);
    memset(out, 0, sizeof(*out));
    out->kind = kind;
    const char *said = json_string_value(json_object_get(*root, "kind"));
    const json_t *text = json_object_get(*root, "payload");
    int64_t version;
    if (said == NULL || strcmp(said, name) != 0 || !get_int(*root, "version", 1, MS_MAX, &version) ||
        !json_is_string(text) || json_string_length(text) == 0 || !get_signature(*root, out->sig)) {
        json_decref(*root);
        *root = NULL;
        return SK_EPROTO;
    }
    out->version = (uint64_t)version;
    *payload = json_string_value(text);
    *payload_len = json_string_length(text);
    return SK_OK;
}

/* --- one entry --- */

static bool get_set(const json_t *w, char *buf)
{
    char set[IPC_SET_NAME], scope[16], region[32];
    if (!get_text(w, "set", set, sizeof(set)) || !get_word(w, "scope", ALNUM "_", scope, sizeof(scope)) ||
        !get_text(w, "region", region, sizeof(region)) || set[0] == '\0')
        return false;
    size_t n = (size_t)snprintf(buf, IPC_SET_NAME, "%s %s ", scope, region[0] != '\0' ? region : "-");
    snprintf(buf + n, IPC_SET_NAME - n, "%.*s", (int)(IPC_SET_NAME - 1 - n), set);
    return true;
}

int answer_found(const char *body, size_t len, struct ipc_found *out)
{
    json_t *root = parse(body, len);
    const json_t *waf = json_object_get(root, "waf");
    bool ok = get_ms(root, "expires_ms", &out->expires) && get_u32(root, "agents", &out->agents) &&
              get_text(root, "host", out->host, sizeof(out->host)) &&
              get_word(root, "id", ALNUM "_.:-", out->block, sizeof(out->block)) && json_is_array(waf);
    for (size_t i = 0; ok && i < json_array_size(waf) && out->nsets < IPC_WAF_SETS; i++)
        out->nsets += get_set(json_array_get(waf, i), out->set[out->nsets]);
    out->state = IPC_FOUND_THERE;
    json_decref(root);
    return ok ? SK_OK : SK_EPROTO;
}

/* --- certificates --- */

static const char *get_pem(const json_t *o, const char *name)
{
    static const char head[] = "-----BEGIN CERTIFICATE-----";
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL && strncmp(s, head, sizeof(head) - 1) == 0 ? s : NULL;
}

static bool keys_ok(const json_t *keys)
{
    size_t i, n = json_array_size(keys);
    if (!json_is_array(keys) || n > KEYS_MAX)
        return false;
    for (i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(keys, i));
        if (s == NULL || strlen(s) != KEY_TEXT || s[KEY_TEXT - 1] != '=')
            return false;
        for (unsigned k = 0; k < KEY_TEXT - 1; k++)
            if (base64_value(s[k]) < 0)
                return false;
    }
    return true;
}

static bool agent_ok(const char *s)
{
    return s != NULL && strlen(s) == AGENT_LEN && s[0] == 'A' &&
           s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")] == '\0';
}

int answer_cert(const char *body, size_t len, bool enrolment, struct answer_cert *out)
{
    *out = (struct answer_cert){.root = parse(body, len)};
    out->agent = json_string_value(json_object_get(out->root, "agent"));
    out->certificate = get_pem(out->root, "certificate");
    out->ca = get_pem(out->root, "ca");
    out->keys = json_object_get(out->root, "signing_keys");
    bool ok = out->certificate != NULL && out->ca != NULL && keys_ok(out->keys);
    if (ok && enrolment)
        ok = agent_ok(out->agent) && get_int(out->root, "heartbeat_s", 1, HEARTBEAT, &out->heartbeat_s);
    if (ok)
        return SK_OK;
    answer_cert_free(out);
    return SK_EPROTO;
}

void answer_cert_free(struct answer_cert *a)
{
    json_decref(a->root);
    *a = (struct answer_cert){0};
}
