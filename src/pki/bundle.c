#include "pki/bundle.h"

#include <stdlib.h>
#include <string.h>

#define KEY_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

static const char *const kinds[BUNDLE_KINDS] = {"policy", "rules"};
static const char *const bodies[BUNDLE_KINDS] = {"settings", "files"};

const char *bundle_kind_name(enum bundle_kind k)
{
    return kinds[k];
}

/*
 * "x." is a whole section, anything else one key. Paths (rule-files, threshold-file, outputs.), users, sockets, mode,
 * capture and the manager's own section are not here: who has the signing key can spoil detection, but neither have
 * files read or written nor cut the host off from its owner.
 */
static const char *const allowed[] = {"decide.",           "never",   "proxies.", "vars.address-groups.",
                                      "vars.port-groups.", "detect.", "stream.",  "http.",
                                      "defrag.",           "flow.",   "decoder.", "flow-timeouts."};

bool bundle_setting_allowed(const char *key)
{
    size_t len = strlen(key);
    if (len == 0 || len > BUNDLE_KEY_MAX || strspn(key, KEY_CHARS) != len) /* nor "decide.x=y", for who joins them */
        return false;
    if (strcmp(key, "stream.checksum-validation") == 0) /* Suricata's name for a key of capture's */
        return false;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        size_t n = strlen(allowed[i]);
        bool section = allowed[i][n - 1] == '.';
        if (section ? strncmp(key, allowed[i], n) == 0 && key[n] != '\0' : strcmp(key, allowed[i]) == 0)
            return true;
    }
    return false;
}

/* A text without NUL; lines: with line feeds and the like. */
static bool is_text(const json_t *v, size_t max, bool lines)
{
    if (!json_is_string(v) || json_string_length(v) > max)
        return false;
    const char *s = json_string_value(v);
    for (size_t i = 0; i < json_string_length(v); i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == 0x7f || (c < ' ' && !(lines && (c == '\n' || c == '\r' || c == '\t' || c == '\f'))))
            return false;
    }
    return true;
}

static bool is_file_name(const json_t *v)
{
    if (!json_is_string(v))
        return false;
    const char *s = json_string_value(v);
    size_t len = json_string_length(v);
    return len > 0 && len <= BUNDLE_NAME_MAX && s[0] != '.' &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static int check_settings(const json_t *settings, const char **why)
{
    const char *key;
    json_t *v;
    if (!json_is_object(settings) || json_object_size(settings) > BUNDLE_SETTINGS) {
        *why = "settings is no object, or has too many keys";
        return SK_EINVAL;
    }
    json_object_foreach((json_t *)settings, key, v)
    {
        if (!bundle_setting_allowed(key))
            *why = "a setting that a policy may not hold";
        else if (!is_text(v, BUNDLE_VALUE_MAX, false))
            *why = "a setting's value is no text, too long, or has control characters";
        else
            continue;
        return SK_EINVAL;
    }
    return SK_OK;
}

static bool named_before(const json_t *files, size_t n)
{
    const char *name = json_string_value(json_object_get(json_array_get(files, n), "name"));
    for (size_t i = 0; i < n; i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(files, i), "name")), name) == 0)
            return true;
    return false;
}

static int check_files(const json_t *files, const char **why)
{
    if (!json_is_array(files) || json_array_size(files) > BUNDLE_FILES) {
        *why = "files is no list, or too long";
        return SK_EINVAL;
    }
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *f = json_array_get(files, i);
        if (!is_file_name(json_object_get(f, "name")))
            *why = "a file's name is missing, too long, or not allowed";
        else if (named_before(files, i))
            *why = "two files have the same name";
        else if (!is_text(json_object_get(f, "text"), BUNDLE_MAX, true))
            *why = "a file has no text, or control characters in it";
        else
            continue;
        return SK_EINVAL;
    }
    return SK_OK;
}

static int check_body(enum bundle_kind kind, const json_t *body, const char **why)
{
    return kind == BUNDLE_POLICY ? check_settings(body, why) : check_files(body, why);
}

static int find_kind(const json_t *v, enum bundle_kind *out)
{
    for (unsigned k = 0; k < BUNDLE_KINDS; k++) {
        if (json_is_string(v) && strcmp(json_string_value(v), kinds[k]) == 0) {
            *out = (enum bundle_kind)k;
            return SK_OK;
        }
    }
    return SK_EINVAL;
}

static int check_root(struct bundle *b, const char **why)
{
    const json_t *version = json_object_get(b->root, "version"), *created = json_object_get(b->root, "created_ms");
    const json_t *note = json_object_get(b->root, "note");
    if (find_kind(json_object_get(b->root, "kind"), &b->kind) != SK_OK)
        *why = "no kind that is known";
    else if (!json_is_integer(version) || json_integer_value(version) < 1)
        *why = "version is no number from 1 on";
    else if (!json_is_integer(created) || json_integer_value(created) < 0)
        *why = "created_ms is no time";
    else if (note != NULL && !is_text(note, BUNDLE_NOTE_MAX, false))
        *why = "note is no text, or too long";
    else {
        b->version = json_integer_value(version);
        b->created_ms = json_integer_value(created);
        return check_body(b->kind, json_object_get(b->root, bodies[b->kind]), why);
    }
    return SK_EINVAL;
}

int bundle_parse(const void *payload, size_t len, struct bundle *out, const char **why)
{
    memset(out, 0, sizeof(*out));
    *why = "no JSON object";
    if (len > BUNDLE_MAX) {
        *why = "too large";
        return SK_EINVAL;
    }
    out->root = json_loadb((const char *)payload, len, JSON_REJECT_DUPLICATES, NULL);
    int rc = json_is_object(out->root) ? check_root(out, why) : SK_EINVAL;
    if (rc != SK_OK)
        bundle_free(out);
    else
        *why = "";
    return rc;
}

int bundle_open(const void *payload, size_t len, const uint8_t sig[PKI_ED25519_SIG],
                const uint8_t (*keys)[PKI_ED25519_KEY], unsigned nkeys, struct bundle *out, const char **why)
{
    memset(out, 0, sizeof(*out));
    *why = "too large";
    if (len > BUNDLE_MAX)
        return SK_EINVAL;
    for (unsigned i = 0; i < nkeys; i++)
        if (pki_verify(keys[i], payload, len, sig) == SK_OK)
            return bundle_parse(payload, len, out, why);
    *why = "not signed by a key of this host's enrolment";
    return SK_EPERM;
}

void bundle_free(struct bundle *b)
{
    json_decref(b->root);
    memset(b, 0, sizeof(*b));
}

int bundle_make(enum bundle_kind kind, int64_t version, int64_t created_ms, const char *note, json_t *body,
                char **payload, size_t *len)
{
    const char *why = "";
    struct bundle b = {.kind = kind};
    *payload = NULL;
    b.root = json_pack("{s:s, s:I, s:I, s:s, s:O}", "kind", kinds[kind], "version", (json_int_t)version, "created_ms",
                       (json_int_t)created_ms, "note", note != NULL ? note : "", bodies[kind], body);
    if (b.root == NULL)
        return SK_EINVAL;
    int rc = check_root(&b, &why);
    if (rc == SK_OK && (*payload = json_dumps(b.root, JSON_COMPACT | JSON_SORT_KEYS)) == NULL)
        rc = SK_ENOMEM;
    if (rc == SK_OK && (*len = strlen(*payload)) > BUNDLE_MAX) {
        free(*payload);
        *payload = NULL;
        rc = SK_EFULL;
    }
    bundle_free(&b);
    return rc;
}
