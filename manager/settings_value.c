/* From a node of YAML to a field: one function a type, and the findings when that fails. */
#include "settings_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/escape.h"

#define SHOW_MAX 80 /* of a bad value in a finding */

void settings_complain(struct settings_reader *r, const yaml_node_t *at, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    r->errors++;
    bool place = r->place && at != NULL;
    sk_diag(r->sink, SK_DIAG_ERROR, r->file, place ? (unsigned)at->start_mark.line + 1 : 0,
            place ? (unsigned)at->start_mark.column + 1 : 0, "%s", text);
}

void settings_unknown(struct settings_reader *r, const yaml_node_t *at, const struct settings_entry *t, unsigned n,
                      const char *prefix, const char *path)
{
    char show[SHOW_MAX], buf[SETTINGS_KEY_MAX];
    sk_escape(show, sizeof(show), sk_span_str(path));
    const char *near = settings_suggest(t, n, path, buf);
    if (near != NULL)
        settings_complain(r, at, "unknown key \"%s%s\"; did you mean \"%s%s\"?", prefix, show, prefix, near);
    else
        settings_complain(r, at, "unknown key \"%s%s\"", prefix, show);
}

void *settings_alloc(struct settings_reader *r, size_t size)
{
    void *p = sk_arena_zalloc(&r->s->priv->arena, size);
    if (p == NULL)
        r->fatal = SK_ENOMEM;
    return p;
}

static const char *text_of(const yaml_node_t *v)
{
    return (const char *)v->data.scalar.value;
}

static void bad(struct settings_reader *r, const struct settings_entry *e, const yaml_node_t *v)
{
    char show[SHOW_MAX], allowed[96];
    settings_allowed(e, allowed, sizeof(allowed));
    if (v->type != YAML_SCALAR_NODE) {
        settings_complain(r, v, "%s: %s is not valid here; allowed: %s", e->path,
                          v->type == YAML_MAPPING_NODE ? "a mapping" : "a list", allowed);
        return;
    }
    sk_escape(show, sizeof(show), sk_span_of(v->data.scalar.value, (uint32_t)v->data.scalar.length));
    settings_complain(r, v, "%s: \"%s\" is not valid here; allowed: %s", e->path, show, allowed);
}

/* A value that C can hold as a string. */
static bool is_text(const yaml_node_t *v)
{
    return v->type == YAML_SCALAR_NODE && strlen(text_of(v)) == v->data.scalar.length;
}

static bool is_nothing(const yaml_node_t *v)
{
    return v->type == YAML_SCALAR_NODE && v->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text_of(v)[0] == '\0' || strcmp(text_of(v), "~") == 0 || strcmp(text_of(v), "null") == 0);
}

static bool parse_number(const char *s, uint64_t *out)
{
    uint64_t v = 0;
    for (const char *p = s; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || v > UINT64_MAX / 10 - 1)
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *out = v;
    return s[0] != '\0';
}

static bool parse_bool(const char *s, bool *out)
{
    static const char *const words[][2] = {{"yes", "no"}, {"true", "false"}, {"on", "off"}, {"1", "0"}};
    for (unsigned i = 0; i < 4; i++)
        for (unsigned no = 0; no < 2; no++)
            if (sk_span_ieq(sk_span_str(s), words[i][no])) {
                *out = no == 0;
                return true;
            }
    return false;
}

/* "90", "90s", "15m" ..., and "200ms"; into ms. */
static bool parse_ms(const char *s, uint64_t *ms)
{
    size_t len = strlen(s);
    char digits[16];
    int64_t seconds;
    if (len > 2 && len < sizeof(digits) && strcmp(s + len - 2, "ms") == 0) {
        snprintf(digits, sizeof(digits), "%.*s", (int)(len - 2), s);
        return parse_number(digits, ms);
    }
    if (strcmp(s, "0") == 0 || strcmp(s, "0s") == 0) {
        *ms = 0;
        return true;
    }
    if (sk_duration_parse(s, &seconds) != SK_OK)
        return false;
    *ms = (uint64_t)seconds * 1000;
    return true;
}

static bool store_time(const struct settings_entry *e, void *field, const char *s)
{
    uint64_t ms;
    if (e->words != NULL && strcmp(s, e->words[0]) == 0)
        ms = 0;
    else if (!parse_ms(s, &ms) || ms < e->min || ms > e->max)
        return false;
    *(int64_t *)field = (int64_t)ms * SK_NS_PER_MS;
    return true;
}

static bool store_u32(const struct settings_entry *e, void *field, const char *s)
{
    uint64_t v;
    if (!parse_number(s, &v) || v < e->min || v > e->max)
        return false;
    *(uint32_t *)field = (uint32_t)v;
    return true;
}

static bool store_word(const struct settings_entry *e, void *field, const char *s)
{
    for (int i = 0; e->words[i] != NULL; i++)
        if (sk_span_ieq(sk_span_str(s), e->words[i])) {
            *(int *)field = i;
            return true;
        }
    return false;
}

static const char *keep(struct settings_reader *r, const char *s)
{
    char *p = settings_alloc(r, strlen(s) + 1);
    return p != NULL ? strcpy(p, s) : "";
}

static bool store_scalar(struct settings_reader *r, const struct settings_entry *e, void *field, const char *s)
{
    size_t len = strlen(s);
    switch (e->type) {
    case SET_BOOL: return parse_bool(s, field);
    case SET_U32: return store_u32(e, field, s);
    case SET_TIME: return store_time(e, field, s);
    case SET_WORD: return store_word(e, field, s);
    case SET_TEXT:
        if (len < e->min || len > e->max)
            return false;
        *(const char **)field = keep(r, s);
        return true;
    case SET_BUFFER:
        if (len < e->min || len > e->max)
            return false;
        memcpy(field, s, len + 1);
        return true;
    default: return false;
    }
}

static bool store_prefix(struct settings_reader *r, const struct settings_entry *e, struct sk_prefix *p, const char *s,
                         const yaml_node_t *at)
{
    if (sk_prefix_parse(s, strlen(s), false, p) == SK_OK)
        return true;
    char show[SHOW_MAX], fixed[SK_PREFIX_STRLEN], allowed[96];
    sk_escape(show, sizeof(show), sk_span_str(s));
    if (sk_prefix_parse(s, strlen(s), true, p) == SK_OK)
        settings_complain(r, at, "%s: \"%s\" has bits set behind its length; did you mean \"%s\"?", e->path, show,
                          sk_prefix_format(p, fixed));
    else
        settings_complain(r, at, "%s: \"%s\" is not valid here; allowed: %s", e->path, show,
                          settings_allowed(e, allowed, sizeof(allowed)));
    return false;
}

/* What a list is filled from: a sequence, or one text with commas. */
struct items {
    const char **text;
    const yaml_node_t **at;
    uint32_t n;
};

/* "a, b" without brackets: one item between two commas. The copy is cut up. */
static void split(struct items *it, char *copy, const yaml_node_t *at)
{
    char *rest = copy, *part;
    while ((part = strsep(&rest, ",")) != NULL) {
        part += strspn(part, " \t");
        part[strcspn(part, " \t")] = '\0';
        if (part[0] == '\0')
            continue;
        it->text[it->n] = part;
        it->at[it->n++] = at;
    }
}

static bool gather(struct settings_reader *r, const struct settings_entry *e, const yaml_node_t *v, struct items *it)
{
    bool seq = v->type == YAML_SEQUENCE_NODE;
    size_t most = 1;
    if (seq)
        most = (size_t)(v->data.sequence.items.top - v->data.sequence.items.start);
    else
        for (const char *s = text_of(v); *s != '\0'; s++)
            most += *s == ',';
    it->text = settings_alloc(r, (most + 1) * sizeof(*it->text));
    it->at = settings_alloc(r, (most + 1) * sizeof(*it->at));
    if (it->text == NULL || it->at == NULL)
        return false;
    for (size_t i = 0; seq && i < most; i++) {
        const yaml_node_t *one = yaml_document_get_node(&r->doc, v->data.sequence.items.start[i]);
        if (!is_text(one) || text_of(one)[0] == '\0') {
            bad(r, e, one);
            return false;
        }
        it->text[it->n] = keep(r, text_of(one));
        it->at[it->n++] = one;
    }
    if (!seq && !is_nothing(v))
        split(it, (char *)keep(r, text_of(v)), v);
    if (it->n <= e->max)
        return true;
    char allowed[96];
    settings_complain(r, v, "%s: %u entries are too many; allowed: %s", e->path, it->n,
                      settings_allowed(e, allowed, sizeof(allowed)));
    return false;
}

static void store_list(struct settings_reader *r, const struct settings_entry *e, void *field, const yaml_node_t *v)
{
    struct items it = {.n = 0};
    if (v->type == YAML_MAPPING_NODE || (v->type == YAML_SCALAR_NODE && !is_text(v))) {
        bad(r, e, v);
        return;
    }
    if (!gather(r, e, v, &it))
        return;
    if (e->type == SET_LIST) {
        *(struct settings_list *)field = (struct settings_list){.v = it.text, .n = it.n};
        return;
    }
    struct sk_prefix *p = settings_alloc(r, (it.n + 1) * sizeof(*p));
    for (uint32_t i = 0; p != NULL && i < it.n; i++)
        if (!store_prefix(r, e, &p[i], it.text[i], it.at[i]))
            return;
    if (p != NULL)
        *(struct settings_prefixes *)field = (struct settings_prefixes){.v = p, .n = it.n};
}

/* One mapping of a list of records. */
static void store_record(struct settings_reader *r, const struct settings_entry *e, void *record, const yaml_node_t *v)
{
    char prefix[SETTINGS_KEY_MAX];
    uint64_t had = 0;
    if (v->type != YAML_MAPPING_NODE) {
        settings_complain(r, v, "%s: each entry is a mapping of keys", e->path);
        return;
    }
    snprintf(prefix, sizeof(prefix), "%s[].", e->path);
    for (const yaml_node_pair_t *p = v->data.mapping.pairs.start; p < v->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key);
        const struct settings_entry *f = is_text(key) ? settings_find(e->fields, e->nfields, text_of(key)) : NULL;
        if (f == NULL) {
            settings_unknown(r, key, e->fields, e->nfields, prefix, is_text(key) ? text_of(key) : "?");
            continue;
        }
        if ((had & UINT64_C(1) << (f - e->fields)) != 0)
            settings_complain(r, key, "duplicate key \"%s%s\"", prefix, f->path);
        had |= UINT64_C(1) << (f - e->fields);
        settings_store(r, f, record, yaml_document_get_node(&r->doc, p->value));
    }
    for (unsigned i = 0; i < e->nfields; i++)
        if (e->fields[i].type == SET_BUFFER && e->fields[i].min > 0 && ((char *)record)[e->fields[i].off] == '\0')
            settings_complain(r, v, "%s%s is missing", prefix, e->fields[i].path);
}

static void store_records(struct settings_reader *r, const struct settings_entry *e, void *base, const yaml_node_t *v)
{
    size_t n = 0;
    unsigned before = r->errors;
    if (v->type == YAML_SEQUENCE_NODE) {
        n = (size_t)(v->data.sequence.items.top - v->data.sequence.items.start);
    } else if (!is_nothing(v)) {
        bad(r, e, v);
        return;
    }
    if (n > e->max) {
        bad(r, e, v);
        return;
    }
    char *all = settings_alloc(r, (n + 1) * e->size);
    for (size_t i = 0; all != NULL && i < n; i++) {
        settings_defaults(r, e->fields, e->nfields, all + i * e->size);
        store_record(r, e, all + i * e->size, yaml_document_get_node(&r->doc, v->data.sequence.items.start[i]));
    }
    if (all == NULL || r->errors != before)
        return;
    *(void **)((char *)base + e->off) = all;
    *(uint32_t *)((char *)base + e->count_off) = (uint32_t)n;
}

void settings_store(struct settings_reader *r, const struct settings_entry *e, void *base, const yaml_node_t *v)
{
    void *field = (char *)base + e->off;
    unsigned before = r->errors;
    if (e->type == SET_RECORDS)
        store_records(r, e, base, v);
    else if (e->type == SET_LIST || e->type == SET_PREFIXES)
        store_list(r, e, field, v);
    else if (!is_text(v) || !store_scalar(r, e, field, is_nothing(v) ? "" : text_of(v)))
        bad(r, e, v);
    if (r->errors == before && base == r->s)
        r->s->priv->mark[e - settings_table] = (struct settings_mark){
            .file = r->file, .line = (unsigned)v->start_mark.line + 1, .col = (unsigned)v->start_mark.column + 1};
}

/* Lists are empty unless a file says otherwise; texts that may not be empty have a default or must be given. */
void settings_defaults(struct settings_reader *r, const struct settings_entry *t, unsigned n, void *base)
{
    for (unsigned i = 0; i < n; i++) {
        bool list = t[i].type == SET_LIST || t[i].type == SET_PREFIXES || t[i].type == SET_RECORDS;
        if (list || (t[i].def[0] == '\0' && t[i].type == SET_BUFFER))
            continue;
        if (!store_scalar(r, &t[i], (char *)base + t[i].off, t[i].def))
            r->fatal = SK_EINVAL; /* the table contradicts itself; a test loads it */
    }
}
