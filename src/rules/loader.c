/* The set under construction: files to logical rules, rules to the set. */
#include <ctype.h>
#include <stdlib.h>

#include "parse.h"

/* Text that stands in no file. */
static void stand_nowhere(struct rule_parse *p, const char *text)
{
    static const struct text_seg nowhere;
    p->text = text;
    p->len = strlen(text);
    p->seg = &nowhere;
    p->nseg = 1;
}

int rule_loader_create(const struct rule_conf *conf, const struct sk_diag_sink *sink, struct rule_loader **out)
{
    struct rule_loader *l = calloc(1, sizeof *l);
    if (!l)
        return SK_ENOMEM;
    if (conf)
        l->conf = *conf;
    if (sink)
        l->sink = *sink;
    struct intern *tables[] = {&l->addr_text, &l->addr_canon, &l->port_text, &l->port_canon,
                               &l->bits,      &l->sids,       &l->classes,   &l->strings};
    for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++)
        intern_init(tables[i]);
    l->set = calloc(1, sizeof *l->set);
    if (!l->set) {
        rule_loader_free(l);
        return SK_ENOMEM;
    }
    sk_arena_init(&l->set->arena, 1 << 20, RULE_MAX_ARENA);
    l->arena = &l->set->arena;
    l->p.l = l;
    /* id 0 is "any" */
    static const char any[] = "any";
    stand_nowhere(&l->p, any);
    if (!rule_addr_parse(&l->p, sk_span_str(any)) || !rule_port_parse(&l->p, sk_span_str(any)) ||
        rule_classes_builtin(l) != SK_OK) {
        rule_loader_free(l);
        return SK_ENOMEM;
    }
    *out = l;
    return SK_OK;
}

static void free_tables(struct rule_loader *l)
{
    struct intern *tables[] = {&l->addr_text, &l->addr_canon, &l->port_text, &l->port_canon,
                               &l->bits,      &l->sids,       &l->classes,   &l->strings};
    for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++)
        intern_free(tables[i]);
    free(l->rule);
    free(l->addrs);
    free(l->ports);
    free(l->bit_name);
    free(l->bit_use);
}

void rule_loader_free(struct rule_loader *l)
{
    if (!l)
        return;
    free_tables(l);
    if (l->set)
        rule_set_free(&l->set->pub);
    free(l);
}

void rule_set_free(const struct rule_set *s)
{
    if (!s)
        return;
    struct rule_set_store *st = (struct rule_set_store *)(uintptr_t)s;
    sk_arena_free(&st->arena);
    free(st);
}

/* A physical line, without its end; *pos moves behind it. */
static struct sk_span next_line(const char *text, size_t len, size_t *pos)
{
    size_t start = *pos;
    const char *nl = memchr(text + start, '\n', len - start);
    size_t end = nl ? (size_t)(nl - text) : len;
    *pos = nl ? end + 1 : len;
    while (end > start && isspace((unsigned char)text[end - 1]))
        end--;
    return sk_span_of(text + start, (uint32_t)(end - start));
}

static bool continues(struct sk_span line)
{
    return line.len && line.p[line.len - 1] == '\\';
}

struct file_pos {
    const char *text;
    size_t len, pos;
    uint32_t line;
};

/* Joins the lines of a rule that goes on after a backslash. False: too long; the rest of the rule is skipped. */
static bool join_lines(struct rule_loader *l, struct file_pos *f, struct sk_span line, uint32_t col)
{
    struct rule_parse *p = &l->p;
    bool fits = true;
    p->len = 0;
    p->nseg = 0;
    for (;;) {
        bool more = continues(line);
        uint32_t n = line.len - more;
        if (p->nseg == RULE_MAX_SEGS || n > RULE_MAX_TEXT - p->len)
            fits = false;
        if (fits) {
            l->seg[p->nseg++] = (struct text_seg){.off = (uint32_t)p->len, .line = f->line, .col = col};
            memcpy(l->join + p->len, line.p, n);
            p->len += n;
        }
        if (!more || f->pos >= f->len)
            break;
        line = next_line(f->text, f->len, &f->pos);
        f->line++;
        col = 1;
    }
    while (p->len && isspace((unsigned char)l->join[p->len - 1]))
        p->len--;
    l->join[p->len] = '\0';
    p->text = l->join;
    p->seg = l->seg;
    return fits && p->len > 0;
}

static int one_line(struct rule_loader *l, struct file_pos *f, struct sk_span raw)
{
    struct sk_span line = text_trim(raw);
    if (line.len == 0 || line.p[0] == '#' || line.p[0] == ';')
        return SK_OK;
    uint32_t start = f->line;
    if (l->n >= RULE_MAX_RULES)
        return SK_EFULL;
    if (!join_lines(l, f, line, (uint32_t)(line.p - raw.p) + 1)) {
        sk_diag(&l->sink, SK_DIAG_ERROR, l->p.file, start, 1, "rule is empty, or longer than %d bytes or %d lines",
                RULE_MAX_TEXT, RULE_MAX_SEGS);
        l->rejected++;
        return SK_OK;
    }
    int rc = rule_one(l);
    if (rc != SK_OK)
        l->rejected++;
    return l->nomem ? SK_ENOMEM : SK_OK;
}

int rule_loader_rules(struct rule_loader *l, const char *name, const char *text, size_t len)
{
    struct file_pos f = {.text = text, .len = len};
    uint32_t before = l->rejected;
    l->p.file = sk_arena_strdup(l->arena, name);
    if (!l->p.file)
        return SK_ENOMEM;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        f.pos = 3;
    while (f.pos < f.len) {
        struct sk_span raw = next_line(f.text, f.len, &f.pos);
        f.line++;
        int rc = one_line(l, &f, raw);
        if (rc != SK_OK)
            return rc;
    }
    return (int)(l->rejected - before);
}

int rule_loader_addrs(struct rule_loader *l, const char *text, const struct rule_addr_spec **out)
{
    struct sk_diag_sink to = l->sink;
    l->sink = (struct sk_diag_sink){0};
    stand_nowhere(&l->p, text);
    *out = rule_addr_parse(&l->p, sk_span_str(text));
    l->sink = to;
    return *out ? SK_OK : l->nomem ? SK_ENOMEM : SK_EINVAL;
}

static void note_bits(struct rule_loader *l)
{
    for (uint32_t i = 0; i < l->nbits; i++)
        if (l->bit_use[i] == 2)
            sk_diag(&l->sink, SK_DIAG_NOTE, NULL, 0, 0, "flowbit '%s' is checked and never set", l->bit_name[i]);
}

static void *keep_array(struct rule_loader *l, const void *a, size_t bytes)
{
    void *n = sk_arena_alloc(l->arena, bytes ? bytes : 1);
    if (n && bytes)
        memcpy(n, a, bytes);
    return n;
}

int rule_loader_finish(struct rule_loader *l, const struct rule_set **out)
{
    struct rule_set *s = &l->set->pub;
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n; i++)
        if (l->rule[i]) { /* NULL: replaced by a higher revision */
            l->rule[i]->index = n;
            l->rule[n++] = l->rule[i];
        }
    note_bits(l);
    *s = (struct rule_set){.n = n, .rejected = l->rejected, .nbits = l->nbits, .naddr = l->naddr, .nport = l->nport};
    s->rules = keep_array(l, l->rule, n * sizeof *l->rule);
    s->bit_names = keep_array(l, l->bit_name, l->nbits * sizeof *l->bit_name);
    s->addrs = keep_array(l, l->addrs, l->naddr * sizeof *l->addrs);
    s->ports = keep_array(l, l->ports, l->nport * sizeof *l->ports);
    bool ok = s->rules && s->bit_names && s->addrs && s->ports;
    if (ok) {
        *out = s;
        l->set = NULL;
    }
    rule_loader_free(l);
    return ok ? SK_OK : SK_ENOMEM;
}
