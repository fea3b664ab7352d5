/* Credentials as text: INI files, JSON, times. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "aws_priv.h"
#include "base/clock.h"

int creds_copy(char *buf, size_t cap, const char *s)
{
    size_t n = 0;
    for (; s[n] != '\0'; n++) {
        if (n + 1 >= cap || s[n] <= 0x20 || s[n] == 0x7f)
            return SK_EPROTO; /* chars above 0x7f are negative, or refused here too */
        if ((unsigned char)s[n] > 0x7e)
            return SK_EPROTO;
    }
    memcpy(buf, s, n + 1);
    return n > 0 ? SK_OK : SK_EPROTO;
}

int aws_time_parse(const char *s, int64_t *out)
{
    struct tm tm = {0};
    const char *rest = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest == NULL)
        return SK_EPROTO;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (strcmp(rest, "Z") != 0 && strcmp(rest, "+00:00") != 0 && strcmp(rest, "+0000") != 0)
        return SK_EPROTO;
    time_t t = timegm(&tm);
    if (t <= 0 || t > INT64_MAX / SK_NS_PER_S)
        return SK_EPROTO;
    *out = (int64_t)t * SK_NS_PER_S;
    return SK_OK;
}

static int copy_field(json_t *o, const char *name, char *buf, size_t cap)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s == NULL ? SK_EPROTO : creds_copy(buf, cap, s);
}

static int read_fields(json_t *o, int64_t now, struct aws_creds *out, char *why, size_t cap)
{
    const char *code = json_string_value(json_object_get(o, "Code"));
    const char *expiration = json_string_value(json_object_get(o, "Expiration"));
    if (code != NULL && strcmp(code, "Success") != 0) {
        snprintf(why, cap, "the source says that it has none now");
        return SK_EPROTO;
    }
    if (copy_field(o, "AccessKeyId", out->access_key, sizeof out->access_key) != SK_OK ||
        copy_field(o, "SecretAccessKey", out->secret_key, sizeof out->secret_key) != SK_OK ||
        copy_field(o, "Token", out->token, sizeof out->token) != SK_OK || expiration == NULL ||
        aws_time_parse(expiration, &out->expires) != SK_OK) {
        snprintf(why, cap, "the answer makes no sense");
        return SK_EPROTO;
    }
    if (out->expires <= now) {
        snprintf(why, cap, "the source gives credentials that have expired");
        return SK_EPROTO;
    }
    return SK_OK;
}

int creds_read_json(const char *body, size_t len, int64_t now, struct aws_creds *out, char *why, size_t cap)
{
    json_t *o = json_loadb(body, len, 0, NULL);
    int rc = SK_EPROTO;
    if (!json_is_object(o))
        snprintf(why, cap, "the answer is not JSON");
    else
        rc = read_fields(o, now, out, why, cap);
    json_decref(o);
    return rc;
}

static struct sk_span next_line(struct sk_span *text)
{
    const uint8_t *nl = text->len > 0 ? (const uint8_t *)memchr(text->p, '\n', text->len) : NULL;
    uint32_t n = nl != NULL ? (uint32_t)(nl - text->p) : text->len;
    struct sk_span line = sk_span_of(text->p, n);
    uint32_t skip = nl != NULL ? n + 1 : n;
    text->p += skip;
    text->len -= skip;
    if (line.len > 0 && line.p[line.len - 1] == '\r')
        line.len--;
    return line;
}

/* "[ name ]", or "[profile name]": compared with one space between the words. */
static bool is_section(struct sk_span line, const char *want)
{
    struct sk_span s = sk_span_trim(line);
    const uint8_t *end = (const uint8_t *)memchr(s.p, ']', s.len);
    if (end == NULL)
        return false;
    s = sk_span_trim(sk_span_of(s.p + 1, (uint32_t)(end - s.p - 1)));
    return sk_span_eq(s, sk_span_str(want));
}

static bool split_setting(struct sk_span line, struct sk_span *key, struct sk_span *value)
{
    const uint8_t *eq = (const uint8_t *)memchr(line.p, '=', line.len);
    if (eq == NULL)
        return false;
    *key = sk_span_trim(sk_span_of(line.p, (uint32_t)(eq - line.p)));
    *value = sk_span_trim(sk_span_of(eq + 1, (uint32_t)(line.p + line.len - eq - 1)));
    return true;
}

int ini_get(struct sk_span text, const char *section, const char *key, char *buf, size_t cap)
{
    bool inside = false;
    int rc = SK_ENOENT;
    while (text.len > 0) {
        struct sk_span line = next_line(&text), k, v;
        if (line.len == 0 || strchr("#; \t", line.p[0]) != NULL)
            continue; /* an indented line belongs to a nested setting */
        if (line.p[0] == '[') {
            inside = is_section(line, section);
        } else if (inside && split_setting(line, &k, &v) && sk_span_ieq(k, key)) {
            if (v.len >= cap || memchr(v.p, '\0', v.len) != NULL)
                return SK_EFULL;
            memcpy(buf, v.p, v.len);
            buf[v.len] = '\0';
            rc = SK_OK;
        }
    }
    return rc;
}
