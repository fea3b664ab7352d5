#include "wafv2_json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"

#define MARKER_MAX 256

/* ---- requests ---- */

const char *wafv2_format(const struct sk_prefix *p, bool v6, char *buf)
{
    char text[SK_ADDR_STRLEN];
    if (v6 && sk_addr_is_v4(&p->addr))
        snprintf(text, sizeof text, "::ffff:%x:%x", p->addr.b[12] << 8 | p->addr.b[13],
                 p->addr.b[14] << 8 | p->addr.b[15]);
    else
        sk_addr_format(&p->addr, text);
    snprintf(buf, 64, "%s/%u", text, v6 ? p->len : p->len - 96u);
    return buf;
}

/* As JSON: of what comes from a configuration or from AWS, nothing is taken on trust. */
static void put_string(struct sk_strbuf *b, const char *s)
{
    sk_strbuf_puts(b, "\"");
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            sk_strbuf_printf(b, "\\%c", c);
        else if (c < 0x20)
            sk_strbuf_printf(b, "\\u%04x", c);
        else
            sk_strbuf_add(b, s, 1);
    }
    sk_strbuf_puts(b, "\"");
}

static void put_field(struct sk_strbuf *b, const char *name, const char *value)
{
    sk_strbuf_printf(b, "%s\"%s\":", b->len > 1 ? "," : "", name);
    put_string(b, value);
}

static void begin(struct sk_strbuf *b, enum wafv2_scope scope)
{
    sk_strbuf_puts(b, "{");
    put_field(b, "Scope", scope == WAFV2_CLOUDFRONT ? "CLOUDFRONT" : "REGIONAL");
}

void wafv2_put_get(struct sk_strbuf *b, const struct wafv2_set *s)
{
    begin(b, s->scope);
    put_field(b, "Name", s->name);
    put_field(b, "Id", s->id);
    sk_strbuf_puts(b, "}");
}

/* The description goes with every change, so that none is lost. */
void wafv2_put_update(struct sk_strbuf *b, const struct wafv2_set *s, const struct sk_prefix *addr, size_t n)
{
    char text[64];
    begin(b, s->scope);
    put_field(b, "Name", s->name);
    put_field(b, "Id", s->id);
    put_field(b, "LockToken", s->lock_token);
    if (s->description[0] != '\0')
        put_field(b, "Description", s->description);
    sk_strbuf_puts(b, ",\"Addresses\":[");
    for (size_t i = 0; i < n; i++)
        sk_strbuf_printf(b, "%s\"%s\"", i > 0 ? "," : "", wafv2_format(&addr[i], s->v6, text));
    sk_strbuf_puts(b, "]}");
}

void wafv2_put_create(struct sk_strbuf *b, const struct wafv2_set *s)
{
    begin(b, s->scope);
    put_field(b, "Name", s->name);
    put_field(b, "IPAddressVersion", s->v6 ? "IPV6" : "IPV4");
    if (s->description[0] != '\0')
        put_field(b, "Description", s->description);
    sk_strbuf_puts(b, ",\"Addresses\":[]}");
}

void wafv2_put_list(struct sk_strbuf *b, enum wafv2_scope scope, const char *marker)
{
    begin(b, scope);
    sk_strbuf_puts(b, ",\"Limit\":100");
    if (marker[0] != '\0')
        put_field(b, "NextMarker", marker);
    sk_strbuf_puts(b, "}");
}

/* ---- answers ---- */

/* Absent is "" unless it is needed. */
static int copy_text(json_t *o, const char *name, bool needed, char *buf, size_t cap)
{
    const char *v = json_string_value(json_object_get(o, name));
    if (v == NULL && needed)
        return SK_EPROTO;
    size_t len = v != NULL ? strlen(v) : 0;
    if (len >= cap || (needed && len == 0))
        return SK_EPROTO;
    memcpy(buf, v != NULL ? v : "", len + 1);
    return SK_OK;
}

static int cmp_prefix(const void *a, const void *b)
{
    const struct sk_prefix *x = (const struct sk_prefix *)a, *y = (const struct sk_prefix *)b;
    int c = sk_addr_cmp(&x->addr, &y->addr);
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

/* The family is that of the text: ::ffff:192.0.2.1 is IPv6. */
static int read_address(json_t *v, bool v6, struct sk_prefix *out)
{
    const char *s = json_string_value(v);
    size_t len = s != NULL ? json_string_length(v) : 0;
    if (len == 0 || (strchr(s, ':') != NULL) != v6)
        return SK_EPROTO;
    return sk_prefix_parse(s, len, true, out) == SK_OK ? SK_OK : SK_EPROTO;
}

static int read_addresses(json_t *list, struct wafv2_set *s)
{
    if (!json_is_array(list))
        return SK_EPROTO;
    size_t n = json_array_size(list);
    s->addr = (struct sk_prefix *)calloc(n > 0 ? n : 1, sizeof *s->addr);
    if (s->addr == NULL)
        return SK_ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (read_address(json_array_get(list, i), s->v6, &s->addr[i]) != SK_OK)
            return SK_EPROTO;
    s->n = n;
    qsort(s->addr, n, sizeof *s->addr, cmp_prefix);
    return SK_OK;
}

static int read_family(json_t *set, bool *v6)
{
    const char *v = json_string_value(json_object_get(set, "IPAddressVersion"));
    if (v == NULL || (strcmp(v, "IPV4") != 0 && strcmp(v, "IPV6") != 0))
        return SK_EPROTO;
    *v6 = v[3] == '6';
    return SK_OK;
}

static json_t *load(struct sk_span body)
{
    return json_loadb((const char *)body.p, body.len, 0, NULL);
}

void wafv2_set_clear(struct wafv2_set *s)
{
    free(s->addr);
    s->addr = NULL;
    s->n = 0;
}

static int read_set(json_t *o, struct wafv2_set *s)
{
    json_t *set = json_object_get(o, "IPSet");
    int rc = read_family(set, &s->v6);
    if (rc == SK_OK)
        rc = copy_text(o, "LockToken", true, s->lock_token, sizeof s->lock_token);
    if (rc == SK_OK)
        rc = copy_text(set, "ARN", true, s->arn, sizeof s->arn);
    if (rc == SK_OK)
        rc = copy_text(set, "Description", false, s->description, sizeof s->description);
    return rc == SK_OK ? read_addresses(json_object_get(set, "Addresses"), s) : rc;
}

int wafv2_read_get(struct sk_span body, struct wafv2_set *s)
{
    struct wafv2_set fresh = *s;
    fresh.addr = NULL;
    fresh.n = 0;
    wafv2_set_clear(s);
    json_t *o = load(body);
    int rc = read_set(o, &fresh);
    json_decref(o);
    if (rc == SK_OK)
        *s = fresh;
    else
        wafv2_set_clear(&fresh);
    return rc;
}

int wafv2_read_update(struct sk_span body, struct wafv2_set *s)
{
    json_t *o = load(body);
    int rc = copy_text(o, "NextLockToken", true, s->lock_token, sizeof s->lock_token);
    json_decref(o);
    return rc;
}

static int read_summary(json_t *sum, struct wafv2_set *s)
{
    struct wafv2_set fresh = *s;
    if (copy_text(sum, "Id", true, fresh.id, sizeof fresh.id) != SK_OK ||
        copy_text(sum, "ARN", true, fresh.arn, sizeof fresh.arn) != SK_OK ||
        copy_text(sum, "LockToken", true, fresh.lock_token, sizeof fresh.lock_token) != SK_OK ||
        copy_text(sum, "Description", false, fresh.description, sizeof fresh.description) != SK_OK)
        return SK_EPROTO;
    *s = fresh;
    return SK_OK;
}

int wafv2_read_create(struct sk_span body, struct wafv2_set *s)
{
    json_t *o = load(body);
    int rc = read_summary(json_object_get(o, "Summary"), s);
    json_decref(o);
    return rc;
}

static int search_list(json_t *list, struct wafv2_set *s)
{
    size_t i;
    json_t *sum;
    json_array_foreach(list, i, sum)
    {
        const char *name = json_string_value(json_object_get(sum, "Name"));
        if (name != NULL && strcmp(name, s->name) == 0)
            return read_summary(sum, s);
    }
    return SK_ENOENT;
}

int wafv2_read_list(struct sk_span body, struct wafv2_set *s, char *marker)
{
    json_t *o = load(body), *list = json_object_get(o, "IPSets");
    int rc = json_is_array(list) ? search_list(list, s) : SK_EPROTO;
    marker[0] = '\0';
    if (rc == SK_ENOENT && json_array_size(list) > 0 &&
        copy_text(o, "NextMarker", false, marker, MARKER_MAX + 1) != SK_OK)
        rc = SK_EPROTO;
    json_decref(o);
    return rc;
}
