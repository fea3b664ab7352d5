/* Hostile text: JSON within limits, fields and parameters of a declared form. */
#include <math.h>
#include <stdlib.h>
#include "api_priv.h"

#define NOTE_CHARS 120

/* Strings are stepped over; brackets and commas outside of them are counted, before anything is allocated. */
static bool within_limits(const char *p, size_t len)
{
    unsigned depth = 0, values = 1;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '"')
            in_string = true;
        else if ((c == '{' || c == '[') && (++depth > API_JSON_DEPTH || ++values > API_JSON_VALUES))
            return false;
        else if (c == ',' && ++values > API_JSON_VALUES)
            return false;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return true;
}

/* An integer beyond 64 bits is no reason to refuse what we do not read; where it is read it is out of bounds. */
json_t *parse_json(const char *text, size_t len)
{
    if (!within_limits(text, len))
        return NULL;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (j == NULL)
        j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    if (j != NULL && !json_is_object(j)) {
        json_decref(j);
        return NULL;
    }
    return j;
}

/* --- text --- */

static bool is_alnum(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool in_set(unsigned char c, enum charset set)
{
    switch (set) {
    case SET_HOST: return is_alnum(c) || (c != '\0' && strchr("._-", c) != NULL);
    case SET_VERSION: return is_alnum(c) || (c != '\0' && strchr(".+~_-", c) != NULL);
    case SET_ID: return is_alnum(c) || (c != '\0' && strchr("_.:-", c) != NULL);
    case SET_SPOOL: return is_alnum(c) || c == '_' || c == '-';
    case SET_EPOCH: return is_alnum(c) || c == '-';
    case SET_WORD: return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    case SET_TEXT:
    case SET_ANY: return true;
    }
    return false;
}

/* Neither C0, DEL nor C1 (U+0080..U+009F: c2 80..c2 9f). The text is UTF-8. */
static bool has_controls(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && i + 1 < len && (unsigned char)s[i + 1] < 0xa0))
            return true;
    }
    return false;
}

bool text_fits(const char *s, size_t len, enum charset set, size_t min, size_t max)
{
    if (len < min || len > max)
        return false;
    if (set == SET_TEXT)
        return !has_controls(s, len);
    for (size_t i = 0; i < len; i++)
        if (!in_set((unsigned char)s[i], set))
            return false;
    return true;
}

bool field_str(const json_t *o, const char *key, bool must, enum charset set, size_t max, const char **out)
{
    const json_t *v = json_object_get(o, key);
    if (v == NULL)
        return !must;
    if (!json_is_string(v) || !text_fits(json_string_value(v), json_string_length(v), set, must ? 1 : 0, max))
        return false;
    *out = json_string_value(v);
    return true;
}

/* JSON knows no integers: 1.0 is 1. */
static bool int_of(const json_t *v, int64_t *n)
{
    if (json_is_integer(v)) {
        *n = json_integer_value(v);
        return true;
    }
    double d = json_is_real(v) ? json_real_value(v) : NAN;
    if (!(fabs(d) <= (double)API_JSON_INT_MAX) || d != floor(d))
        return false;
    *n = (int64_t)d;
    return true;
}

bool field_int(const json_t *o, const char *key, bool must, int64_t min, int64_t max, int64_t *out)
{
    const json_t *v = json_object_get(o, key);
    int64_t n;
    if (v == NULL)
        return !must;
    if (!int_of(v, &n) || n < min || n > max)
        return false;
    *out = n;
    return true;
}

bool field_int_null(const json_t *o, const char *key, int64_t min, int64_t max, int64_t null_is, int64_t *out)
{
    if (!json_is_null(json_object_get(o, key)))
        return field_int(o, key, false, min, max, out);
    *out = null_is;
    return true;
}

bool prefix_of(const char *s, size_t len, struct sk_prefix *out)
{
    return len < SK_PREFIX_STRLEN && sk_prefix_parse(s, len, false, out) == SK_OK;
}

bool field_prefix(const json_t *o, const char *key, struct sk_prefix *out)
{
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) && prefix_of(json_string_value(v), json_string_length(v), out);
}

bool field_note(const json_t *o, const char *key, const char **out)
{
    const char *s = NULL;
    if (!field_str(o, key, false, SET_TEXT, STORE_TEXT_MAX - 1, &s))
        return false;
    unsigned chars = 0;
    for (const char *p = s; p != NULL && *p != '\0'; p++)
        chars += ((unsigned char)*p & 0xc0) != 0x80;
    if (s != NULL)
        *out = s;
    return chars <= NOTE_CHARS;
}

static bool tag_fits(const char *key, const json_t *v)
{
    size_t n = strlen(key);
    if (n < 1 || n > 32 || !json_is_string(v) || json_string_length(v) > 64)
        return false;
    for (const char *p = key; *p != '\0'; p++)
        if (!is_alnum((unsigned char)*p) && strchr("_.:/-", *p) == NULL)
            return false;
    for (const char *p = json_string_value(v); *p != '\0'; p++)
        if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\')
            return false;
    return true;
}

bool field_tags(const json_t *o, const char *key, char *buf)
{
    json_t *tags = json_object_get(o, key);
    const char *k;
    json_t *v;
    strcpy(buf, "{}");
    if (tags == NULL)
        return true;
    if (!json_is_object(tags) || json_object_size(tags) > 8)
        return false;
    json_object_foreach(tags, k, v) if (!tag_fits(k, v)) return false;
    size_t n = json_dumpb(tags, buf, STORE_TEXT_MAX - 1, JSON_COMPACT | JSON_SORT_KEYS);
    if (n == 0 || n >= STORE_TEXT_MAX)
        return false;
    buf[n] = '\0';
    return true;
}

/* --- parameters --- */

/* *s NULL: not there. false: it holds a NUL, or has no value. */
static bool param(struct req *r, const char *key, const char **s, size_t *len)
{
    *s = NULL;
    if (MHD_lookup_connection_value_n(r->http, MHD_GET_ARGUMENT_KIND, key, strlen(key), s, len) != MHD_YES)
        return true;
    return *s != NULL && strlen(*s) == *len;
}

bool param_str(struct req *r, const char *key, enum charset set, size_t max, char *buf, size_t cap)
{
    const char *s;
    size_t len;
    buf[0] = '\0';
    if (!param(r, key, &s, &len))
        return false;
    if (s == NULL)
        return true;
    if (!text_fits(s, len, set, 1, max) || len >= cap)
        return false;
    memcpy(buf, s, len + 1);
    return true;
}

bool param_int(struct req *r, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const char *s;
    size_t len;
    if (!param(r, key, &s, &len))
        return false;
    if (s == NULL)
        return true;
    if (len < 1 || len > 16 || strspn(s, "0123456789") != len)
        return false;
    int64_t n = strtoll(s, NULL, 10);
    *out = n;
    return n >= min && n <= max;
}

bool param_bool(struct req *r, const char *key, bool *out)
{
    const char *s;
    size_t len;
    if (!param(r, key, &s, &len))
        return false;
    if (s == NULL)
        return true;
    *out = strcmp(s, "true") == 0;
    return *out || strcmp(s, "false") == 0;
}

bool param_prefix(struct req *r, const char *key, bool *given, struct sk_prefix *out)
{
    const char *s;
    size_t len;
    if (!param(r, key, &s, &len))
        return false;
    *given = s != NULL;
    return s == NULL || prefix_of(s, len, out);
}
