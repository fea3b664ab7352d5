/* From text to a field: one function a type, and the findings when that fails. */
#include "conf_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/escape.h"
#include "base/strbuf.h"

void conf_complain(struct conf_reader *r, unsigned line, unsigned col, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    r->errors++;
    sk_diag(r->sink, SK_DIAG_ERROR, r->file, line, col, "%s", text);
}

void conf_unknown_key(struct conf_reader *r, unsigned line, unsigned col, const char *path)
{
    char show[CONF_SHOW_MAX];
    sk_escape(show, sizeof(show), sk_span_str(path));
    const char *near = conf_suggest(path);
    if (near != NULL)
        conf_complain(r, line, col, "unknown key \"%s\"; did you mean \"%s\"?", show, near);
    else
        conf_complain(r, line, col, "unknown key \"%s\"", show);
}

static void *alloc(struct conf_reader *r, size_t size)
{
    void *p = sk_arena_zalloc(&r->c->priv->arena, size);
    if (p == NULL)
        r->fatal = SK_ENOMEM;
    return p;
}

char *conf_keep(struct conf_reader *r, const char *s, size_t len)
{
    char *p = (char *)alloc(r, len + 1);
    if (p != NULL)
        memcpy(p, s, len);
    return p;
}

static void bad_value(struct conf_reader *r, const struct conf_entry *e, const struct conf_item *it)
{
    char show[CONF_SHOW_MAX], allowed[96];
    sk_escape(show, sizeof(show), sk_span_str(it->text));
    conf_complain(r, it->line, it->col, "%s: \"%s\" is not valid here; allowed: %s", e->path, show,
                  conf_allowed(e, allowed, sizeof(allowed)));
}

/* Decimal digits only; stops at what is none. */
static bool parse_digits(const char **s, uint64_t *out)
{
    const char *p = *s;
    uint64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (p == *s)
        return false;
    *s = p;
    *out = v;
    return true;
}

static bool parse_number(const char *s, uint64_t *out)
{
    return parse_digits(&s, out) && *s == '\0';
}

/* As Suricata: kb, mb and gb are powers of 1024; "64mb", "32 KiB", "4096". */
static bool parse_size(const char *s, uint64_t *out)
{
    static const char *const unit[][4] = {
        {"", "b", "b", "b"}, {"k", "kb", "kib", "k"}, {"m", "mb", "mib", "m"}, {"g", "gb", "gib", "g"}};
    uint64_t v;
    if (!parse_digits(&s, &v))
        return false;
    struct sk_span rest = sk_span_trim(sk_span_str(s));
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned j = 0; j < 4; j++) {
            if (!sk_span_ieq(rest, unit[i][j]))
                continue;
            if (v > UINT64_MAX >> (10 * i))
                return false;
            *out = v << (10 * i);
            return true;
        }
    }
    return false;
}

static bool parse_bool(const char *s, bool *out)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    struct sk_span t = sk_span_str(s);
    for (unsigned i = 0; i < 4; i++) {
        if (sk_span_ieq(t, yes[i]) || sk_span_ieq(t, no[i])) {
            *out = sk_span_ieq(t, yes[i]);
            return true;
        }
    }
    return false;
}

static bool parse_word(const char *const *words, const char *s, unsigned *out)
{
    bool b;
    /* "yes, no" among the words: then also the other spellings of a boolean. */
    const char *want = s;
    if (parse_bool(s, &b))
        want = b ? "yes" : "no";
    for (unsigned i = 0; words[i] != NULL; i++) {
        if (sk_span_ieq(sk_span_str(want), words[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool in_range(const struct conf_entry *e, uint64_t v)
{
    return v >= e->min && v <= e->max;
}

static bool store_u32(const struct conf_entry *e, void *field, const char *s)
{
    uint64_t v;
    bool ok = e->type == CONF_T_U32 ? parse_number(s, &v) : parse_size(s, &v);
    if (!ok || !in_range(e, v) || v > UINT32_MAX)
        return false;
    *(uint32_t *)field = (uint32_t)v;
    return true;
}

static bool store_size64(const struct conf_entry *e, void *field, const char *s)
{
    uint64_t v;
    if (!parse_size(s, &v) || !in_range(e, v))
        return false;
    *(uint64_t *)field = v;
    return true;
}

static bool store_time(const struct conf_entry *e, void *field, const char *s)
{
    int64_t seconds;
    if (sk_duration_parse(s, &seconds) != SK_OK || !in_range(e, (uint64_t)seconds))
        return false;
    *(int64_t *)field = seconds * SK_NS_PER_S;
    return true;
}

static bool store_text(const struct conf_entry *e, void *field, const char *s)
{
    if (!in_range(e, strlen(s)))
        return false;
    *(const char **)field = s;
    return true;
}

static bool store_word(const struct conf_entry *e, void *field, const char *s)
{
    unsigned v;
    if (!parse_word(e->words, s, &v))
        return false;
    memcpy(field, &v, sizeof(v));
    return true;
}

static bool store_scalar(const struct conf_entry *e, void *field, const char *s)
{
    switch (e->type) {
    case CONF_T_BOOL: return parse_bool(s, (bool *)field);
    case CONF_T_U32:
    case CONF_T_SIZE32: return store_u32(e, field, s);
    case CONF_T_SIZE64: return store_size64(e, field, s);
    case CONF_T_TIME: return store_time(e, field, s);
    case CONF_T_TEXT: return store_text(e, field, s);
    case CONF_T_WORD: return store_word(e, field, s);
    default: return false;
    }
}

static void store_flags(struct conf_reader *r, const struct conf_entry *e, void *field, const struct conf_value *v)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < v->n; i++) {
        unsigned word;
        if (!parse_word(e->words, v->item[i].text, &word)) {
            bad_value(r, e, &v->item[i]);
            return;
        }
        bits |= UINT32_C(1) << word;
    }
    *(uint32_t *)field = bits;
}

static void store_list(struct conf_reader *r, const struct conf_entry *e, void *field, const struct conf_value *v)
{
    struct conf_list list = {.n = v->n};
    if (e->words != NULL && v->n == 1 && strcmp(v->item[0].text, e->words[0]) == 0)
        list.n = 0;
    const char **text = (const char **)alloc(r, (size_t)list.n * sizeof(*text));
    if (text == NULL)
        return;
    for (uint32_t i = 0; i < list.n; i++) {
        text[i] = v->item[i].text;
        if (text[i][0] == '\0') {
            bad_value(r, e, &v->item[i]);
            return;
        }
    }
    list.v = text;
    *(struct conf_list *)field = list;
}

static void store_prefixes(struct conf_reader *r, const struct conf_entry *e, void *field, const struct conf_value *v)
{
    struct sk_prefix *p = (struct sk_prefix *)alloc(r, (size_t)v->n * sizeof(*p));
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < v->n; i++) {
        const struct conf_item *it = &v->item[i];
        if (sk_prefix_parse(it->text, strlen(it->text), false, &p[i]) == SK_OK)
            continue;
        if (sk_prefix_parse(it->text, strlen(it->text), true, &p[i]) == SK_OK) {
            char fixed[SK_PREFIX_STRLEN];
            conf_complain(r, it->line, it->col, "%s: \"%s\" has bits set behind its length; did you mean \"%s\"?",
                          e->path, it->text, sk_prefix_format(&p[i], fixed));
        } else {
            bad_value(r, e, it);
        }
        return;
    }
    *(struct conf_prefixes *)field = (struct conf_prefixes){.v = p, .n = v->n};
}

static void store_policy(struct conf_reader *r, const struct conf_entry *e, void *field, const struct conf_value *v)
{
    struct conf_policy *p = (struct conf_policy *)alloc(r, (size_t)v->n * sizeof(*p));
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < v->n; i++) {
        const struct conf_item *it = &v->item[i];
        char why[80], show[CONF_SHOW_MAX];
        if (!conf_parse_policy(r, it->text, &p[i], why)) {
            sk_escape(show, sizeof(show), sk_span_str(it->text));
            conf_complain(r, it->line, it->col, "%s: \"%s\": %s", e->path, show, why);
            return;
        }
    }
    *(struct conf_policies *)field = (struct conf_policies){.v = p, .n = v->n};
}

static void store_ports(struct conf_reader *r, const struct conf_entry *e, void *field, const struct conf_value *v)
{
    uint16_t port[CONF_MAX_PORTS] = {0};
    for (uint32_t i = 0; i < v->n; i++) {
        uint64_t n;
        if (!parse_number(v->item[i].text, &n) || !in_range(e, n)) {
            bad_value(r, e, &v->item[i]);
            return;
        }
        port[i] = (uint16_t)n;
    }
    memcpy(field, port, sizeof(port));
}

static uint32_t max_items(const struct conf_entry *e)
{
    switch (e->type) {
    case CONF_T_LIST:
    case CONF_T_POLICY:
    case CONF_T_PREFIXES: return (uint32_t)e->max;
    case CONF_T_FLAGS: return 64;
    case CONF_T_PORTS: return CONF_MAX_PORTS;
    default: return 1;
    }
}

static bool shape_ok(struct conf_reader *r, const struct conf_entry *e, const struct conf_value *v)
{
    char allowed[96];
    conf_allowed(e, allowed, sizeof(allowed));
    if (!conf_is_list(e->type) && v->list)
        conf_complain(r, v->line, v->col, "%s: a list is not valid here; allowed: %s", e->path, allowed);
    else if (!conf_is_list(e->type) && v->n == 0)
        conf_complain(r, v->line, v->col, "%s: no value; allowed: %s", e->path, allowed);
    else if (v->n > max_items(e))
        conf_complain(r, v->line, v->col, "%s: %u entries are too many; allowed: %s", e->path, v->n, allowed);
    else
        return true;
    return false;
}

void conf_store(struct conf_reader *r, const struct conf_entry *e, const struct conf_value *v)
{
    void *field = (char *)r->c + e->off;
    unsigned before = r->errors;
    if (!shape_ok(r, e, v))
        return;
    switch (e->type) {
    case CONF_T_FLAGS: store_flags(r, e, field, v); break;
    case CONF_T_LIST: store_list(r, e, field, v); break;
    case CONF_T_PREFIXES: store_prefixes(r, e, field, v); break;
    case CONF_T_PORTS: store_ports(r, e, field, v); break;
    case CONF_T_POLICY: store_policy(r, e, field, v); break;
    default:
        if (!store_scalar(e, field, v->item[0].text))
            bad_value(r, e, &v->item[0]);
    }
    if (r->errors == before && !r->defaults)
        r->c->priv->mark[e - conf_table] = (struct conf_mark){.file = r->file, .line = v->line, .col = v->col};
}
