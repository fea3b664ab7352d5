/*
 * YAML events to the table. The nesting that is read is that of the table's paths, so recursion is bounded by them;
 * whatever else the text nests is skipped with a counter. Anchors may stand, aliases are refused: nobody needs them
 * here, and they make small texts expand to large ones.
 */
#include <stdio.h>
#include <yaml.h>
#include "base/escape.h"
#include "base/strbuf.h"
#include "conf_priv.h"

#define SKIP_DEPTH_MAX  64 /* nesting within a node that is not wanted; beyond, libyaml's time grows with its square */
#define GROUP_DEPTH_MAX 8  /* lists within lists in a group's text; deeper is refused */

struct doc {
    yaml_parser_t parser;
    struct conf_reader *r;
    bool stop; /* syntax error, or enough findings */
};

static unsigned line_of(const yaml_event_t *ev)
{
    return (unsigned)ev->start_mark.line + 1;
}

static unsigned col_of(const yaml_event_t *ev)
{
    return (unsigned)ev->start_mark.column + 1;
}

static void syntax_error(struct doc *d)
{
    const yaml_parser_t *p = &d->parser;
    if (p->error == YAML_MEMORY_ERROR) {
        d->r->fatal = SK_ENOMEM;
        return;
    }
    /* The reader (encoding) knows only an offset; what was parsed last is then the nearest place. */
    const yaml_mark_t *m = p->error == YAML_READER_ERROR ? &p->mark : &p->problem_mark;
    const char *problem = p->problem ? p->problem : "not YAML";
    if (p->context != NULL)
        conf_complain(d->r, (unsigned)m->line + 1, (unsigned)m->column + 1, "%s (%s)", problem, p->context);
    else
        conf_complain(d->r, (unsigned)m->line + 1, (unsigned)m->column + 1, "%s", problem);
}

/* The next event, which the caller deletes; false: nothing more is read. */
static bool next(struct doc *d, yaml_event_t *ev)
{
    if (d->r->fatal != SK_OK || d->r->errors >= CONF_MAX_DIAGS)
        d->stop = true;
    if (!d->stop && !yaml_parser_parse(&d->parser, ev)) {
        syntax_error(d);
        d->stop = true;
    }
    return !d->stop;
}

static bool opens(const yaml_event_t *ev)
{
    return ev->type == YAML_MAPPING_START_EVENT || ev->type == YAML_SEQUENCE_START_EVENT;
}

static bool closes(const yaml_event_t *ev)
{
    return ev->type == YAML_MAPPING_END_EVENT || ev->type == YAML_SEQUENCE_END_EVENT;
}

/* Reads past the rest of a node whose first event was `first`. */
static void skip_rest(struct doc *d, const yaml_event_t *first)
{
    unsigned depth = opens(first);
    yaml_event_t ev;
    while (depth > 0 && next(d, &ev)) {
        depth += opens(&ev);
        depth -= closes(&ev);
        if (depth > SKIP_DEPTH_MAX) {
            conf_complain(d->r, line_of(&ev), col_of(&ev), "nests deeper than %d", SKIP_DEPTH_MAX);
            d->stop = true;
        }
        yaml_event_delete(&ev);
    }
}

static void skip_value(struct doc *d)
{
    yaml_event_t ev;
    if (!next(d, &ev))
        return;
    skip_rest(d, &ev);
    yaml_event_delete(&ev);
}

static bool is_null(const yaml_event_t *ev)
{
    const char *s = (const char *)ev->data.scalar.value;
    return ev->type == YAML_SCALAR_EVENT && ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (s[0] == '\0' || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

/* What a person sees of a node: for findings about the wrong kind. */
static const char *kind_of(const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_MAPPING_START_EVENT: return "a mapping";
    case YAML_SEQUENCE_START_EVENT: return "a list";
    case YAML_ALIAS_EVENT: return "an alias";
    case YAML_SCALAR_EVENT: return is_null(ev) ? "nothing" : "a value";
    default: return "the end";
    }
}

/* A scalar that can be used; otherwise a finding. */
static bool scalar_ok(struct doc *d, const char *path, const yaml_event_t *ev)
{
    if (ev->type == YAML_ALIAS_EVENT) {
        conf_complain(d->r, line_of(ev), col_of(ev), "%s: aliases are not supported", path);
        return false;
    }
    if (ev->type != YAML_SCALAR_EVENT) {
        conf_complain(d->r, line_of(ev), col_of(ev), "%s: %s is not valid here", path, kind_of(ev));
        return false;
    }
    /* `!$HOME_NET` without quotes is a tag in YAML, and its value is lost. */
    if (ev->data.scalar.tag != NULL) {
        conf_complain(d->r, line_of(ev), col_of(ev), "%s: put a value that begins with \"!\" in quotes", path);
        return false;
    }
    if (memchr(ev->data.scalar.value, '\0', ev->data.scalar.length) != NULL) {
        conf_complain(d->r, line_of(ev), col_of(ev), "%s: a value cannot hold a NUL", path);
        return false;
    }
    return true;
}

static struct conf_item keep_scalar(struct doc *d, const yaml_event_t *ev)
{
    return (struct conf_item){
        .text = conf_keep(d->r, (const char *)ev->data.scalar.value, ev->data.scalar.length),
        .line = line_of(ev),
        .col = col_of(ev),
    };
}

/* The entries of a list up to its end. */
static bool read_list(struct doc *d, const struct conf_entry *e, struct conf_value *v)
{
    unsigned errors = d->r->errors;
    yaml_event_t ev;
    v->item = (struct conf_item *)sk_arena_zalloc(&d->r->c->priv->arena, CONF_MAX_LIST * sizeof(*v->item));
    if (v->item == NULL)
        d->r->fatal = SK_ENOMEM;
    while (next(d, &ev)) {
        bool end = ev.type == YAML_SEQUENCE_END_EVENT;
        if (end) {
            /* all read */
        } else if (!scalar_ok(d, e->path, &ev)) {
            skip_rest(d, &ev);
        } else if (v->n == CONF_MAX_LIST) {
            conf_complain(d->r, line_of(&ev), col_of(&ev), "%s: more than %d entries", e->path, CONF_MAX_LIST);
            d->stop = true;
        } else {
            v->item[v->n++] = keep_scalar(d, &ev);
        }
        yaml_event_delete(&ev);
        if (end)
            break;
    }
    return !d->stop && d->r->fatal == SK_OK && d->r->errors == errors;
}

static void read_leaf(struct doc *d, const struct conf_entry *e, const yaml_event_t *ev)
{
    struct conf_item one;
    struct conf_value v = {.item = &one, .line = line_of(ev), .col = col_of(ev)};
    if (ev->type == YAML_SEQUENCE_START_EVENT) {
        v.list = true;
        if (!read_list(d, e, &v))
            return;
    } else if (!scalar_ok(d, e->path, ev)) {
        skip_rest(d, ev);
        return;
    } else if (!is_null(ev)) {
        one = keep_scalar(d, ev);
        v.n = 1;
    }
    if (d->r->fatal == SK_OK)
        conf_store(d->r, e, &v);
}

/* One event of a list within a group's text; returns the depth behind it. */
static unsigned list_event(struct doc *d, const char *path, struct sk_strbuf *b, unsigned depth, const yaml_event_t *ev)
{
    if (closes(ev)) {
        sk_strbuf_puts(b, "]");
        return depth - 1;
    }
    if (b->len > 0 && b->p[b->len - 1] != '[')
        sk_strbuf_puts(b, ",");
    if (ev->type == YAML_SEQUENCE_START_EVENT && depth < GROUP_DEPTH_MAX) {
        sk_strbuf_puts(b, "[");
        return depth + 1;
    }
    if (ev->type == YAML_SEQUENCE_START_EVENT) {
        conf_complain(d->r, line_of(ev), col_of(ev), "%s: lists nest deeper than %d", path, GROUP_DEPTH_MAX);
        skip_rest(d, ev);
    } else if (scalar_ok(d, path, ev)) {
        sk_strbuf_puts(b, (const char *)ev->data.scalar.value);
    } else {
        skip_rest(d, ev);
    }
    return depth;
}

/* A list is as good as its text in brackets: [a, [b, c]] is "[a,[b,c]]". Its start was read. */
static void list_to_text(struct doc *d, const char *path, struct sk_strbuf *b)
{
    unsigned depth = 1;
    yaml_event_t ev;
    sk_strbuf_puts(b, "[");
    while (depth > 0 && next(d, &ev)) {
        depth = list_event(d, path, b, depth, &ev);
        yaml_event_delete(&ev);
    }
}

static void read_group(struct doc *d, const struct conf_entry *e, const char *name, const yaml_event_t *ev)
{
    struct conf_item item = {.line = line_of(ev), .col = col_of(ev)};
    char path[CONF_PATH_MAX * 2], show[CONF_SHOW_MAX];
    unsigned errors = d->r->errors;
    snprintf(path, sizeof(path), "%s.%s", e->path, sk_escape(show, sizeof(show), sk_span_str(name)));
    if (ev->type == YAML_SEQUENCE_START_EVENT) {
        struct sk_strbuf b;
        sk_strbuf_init(&b, CONF_MAX_TEXT);
        list_to_text(d, path, &b);
        if (b.full)
            d->r->fatal = SK_ENOMEM; /* the text itself has the same maximum */
        else
            item.text = conf_keep(d->r, b.p, b.len);
        sk_strbuf_free(&b);
    } else if (scalar_ok(d, path, ev)) {
        item.text = is_null(ev) ? "" : keep_scalar(d, ev).text;
    } else {
        skip_rest(d, ev);
    }
    if (item.text != NULL && d->r->errors == errors && !d->stop)
        conf_store_group(d->r, e, name, &item);
}

/* A key as a C string in buf; a finding when it cannot be one. */
static bool read_key(struct doc *d, const yaml_event_t *ev, char *buf, size_t cap)
{
    if (ev->type != YAML_SCALAR_EVENT) {
        conf_complain(d->r, line_of(ev), col_of(ev), "%s cannot be a key", kind_of(ev));
        return false;
    }
    const char *s = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length;
    if (len == 0 || len >= cap || memchr(s, '\0', len) != NULL) {
        char show[CONF_SHOW_MAX];
        sk_escape(show, sizeof(show), sk_span_of(s, (uint32_t)len));
        conf_complain(d->r, line_of(ev), col_of(ev), "unknown key \"%s\"", show);
        return false;
    }
    memcpy(buf, s, len + 1);
    return true;
}

/* Keys that one mapping has had, against duplicates; borrowed from the arena. */
struct seen {
    const char *key[CONF_MAX_VARS];
    unsigned n;
};

static bool seen_before(struct doc *d, struct seen *seen, const char *key, const yaml_event_t *ev)
{
    for (unsigned i = 0; i < seen->n; i++) {
        if (strcmp(seen->key[i], key) == 0) {
            char show[CONF_SHOW_MAX];
            sk_escape(show, sizeof(show), sk_span_str(key));
            conf_complain(d->r, line_of(ev), col_of(ev), "duplicate key \"%s\"", show);
            return true;
        }
    }
    if (seen->n < CONF_MAX_VARS) {
        seen->key[seen->n] = conf_keep(d->r, key, strlen(key));
        seen->n += seen->key[seen->n] != NULL;
    }
    return false;
}

/* What a mapping's pairs are read into: prefix for sections, entry for groups. */
struct target {
    const char *prefix; /* with its dot, or "" */
    const struct conf_entry *groups;
};

static void read_mapping(struct doc *d, const struct target *t);

/* A section's or a group list's value: a mapping, or nothing at all (every key commented out). */
static void read_inner(struct doc *d, const char *path, const struct target *t, const yaml_event_t *ev)
{
    if (ev->type == YAML_MAPPING_START_EVENT) {
        read_mapping(d, t);
    } else if (!is_null(ev)) {
        conf_complain(d->r, line_of(ev), col_of(ev), "%s: expected keys below it, found %s", path, kind_of(ev));
        skip_rest(d, ev);
    }
}

/* The value of a key that is known; val is its first event. */
static void read_known(struct doc *d, const char *path, const yaml_event_t *val)
{
    const struct conf_entry *e = conf_entry_find(path);
    if (e != NULL && e->type != CONF_T_GROUPS) {
        read_leaf(d, e, val);
    } else if (e != NULL) {
        struct target t = {.groups = e};
        read_inner(d, path, &t, val);
    } else {
        char prefix[CONF_PATH_MAX * 2 + 1];
        snprintf(prefix, sizeof(prefix), "%s.", path);
        struct target t = {.prefix = prefix};
        read_inner(d, path, &t, val);
    }
}

static void read_section_pair(struct doc *d, const char *prefix, const char *key, struct seen *seen,
                              const yaml_event_t *ev)
{
    char path[CONF_PATH_MAX * 2];
    snprintf(path, sizeof(path), "%s%s", prefix, key);
    bool known = strlen(path) < CONF_PATH_MAX && (conf_entry_find(path) != NULL || conf_is_section(path));
    if (known && strchr(key, '.') != NULL) {
        /* It would reach past the nesting, and past the search for duplicates. */
        conf_complain(d->r, line_of(ev), col_of(ev), "\"%s\": write the parts of a key as nested keys", path);
        known = false;
    } else if (!known) {
        conf_unknown_key(d->r, line_of(ev), col_of(ev), path);
    }
    yaml_event_t val;
    if (!known || seen_before(d, seen, key, ev)) {
        skip_value(d);
    } else if (next(d, &val)) {
        read_known(d, path, &val);
        yaml_event_delete(&val);
    }
}

static void read_group_pair(struct doc *d, const struct conf_entry *e, const char *name, struct seen *seen,
                            const yaml_event_t *ev)
{
    yaml_event_t val;
    if (seen_before(d, seen, name, ev)) {
        skip_value(d);
    } else if (next(d, &val)) {
        read_group(d, e, name, &val);
        yaml_event_delete(&val);
    }
}

/* The pairs of a mapping whose start was read. Recurses as deep as the table's paths have parts. */
static void read_mapping(struct doc *d, const struct target *t)
{
    struct seen seen = {.n = 0};
    yaml_event_t ev;
    while (next(d, &ev)) {
        char key[CONF_PATH_MAX];
        bool end = ev.type == YAML_MAPPING_END_EVENT;
        if (end) {
            /* all read */
        } else if (!read_key(d, &ev, key, sizeof(key))) {
            skip_rest(d, &ev);
            skip_value(d);
        } else if (t->groups != NULL) {
            read_group_pair(d, t->groups, key, &seen, &ev);
        } else {
            read_section_pair(d, t->prefix, key, &seen, &ev);
        }
        yaml_event_delete(&ev);
        if (end)
            break;
    }
}

/* The root of a --vars text: the two groups, whatever stands beside them is not ours. */
static void read_vars_root(struct doc *d)
{
    struct seen seen = {.n = 0};
    yaml_event_t ev;
    while (next(d, &ev)) {
        bool end = ev.type == YAML_MAPPING_END_EVENT;
        char key[CONF_PATH_MAX], path[CONF_PATH_MAX + 8];
        const struct conf_entry *e = NULL;
        if (!end && ev.type == YAML_SCALAR_EVENT && ev.data.scalar.length < sizeof(key) &&
            read_key(d, &ev, key, sizeof(key))) {
            snprintf(path, sizeof(path), "vars.%s", key);
            e = conf_entry_find(path);
        }
        yaml_event_t val;
        if (e != NULL && !seen_before(d, &seen, key, &ev)) {
            if (next(d, &val)) {
                struct target t = {.groups = e};
                read_inner(d, path, &t, &val);
                yaml_event_delete(&val);
            }
        } else if (!end) {
            skip_rest(d, &ev);
            skip_value(d);
        }
        yaml_event_delete(&ev);
        if (end)
            break;
    }
}

static void read_root(struct doc *d, const yaml_event_t *ev, bool vars_only)
{
    struct target top = {.prefix = ""};
    if (ev->type != YAML_MAPPING_START_EVENT) {
        if (!is_null(ev))
            conf_complain(d->r, line_of(ev), col_of(ev), "expected keys, found %s", kind_of(ev));
        skip_rest(d, ev);
    } else if (vars_only) {
        read_vars_root(d);
    } else {
        read_mapping(d, &top);
    }
}

static void read_stream(struct doc *d, bool vars_only)
{
    unsigned documents = 0;
    yaml_event_t ev;
    while (next(d, &ev)) {
        yaml_event_type_t type = ev.type;
        if (type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
            conf_complain(d->r, line_of(&ev), col_of(&ev), "only one document is read");
            d->stop = true;
        } else if (opens(&ev) || type == YAML_SCALAR_EVENT || type == YAML_ALIAS_EVENT) {
            read_root(d, &ev, vars_only);
        }
        yaml_event_delete(&ev);
        if (type == YAML_STREAM_END_EVENT)
            break;
    }
}

void conf_read_yaml(struct conf_reader *r, const char *text, size_t len, bool vars_only)
{
    struct doc d = {.r = r};
    if (!yaml_parser_initialize(&d.parser)) {
        r->fatal = SK_ENOMEM;
        return;
    }
    yaml_parser_set_input_string(&d.parser, (const unsigned char *)text, len);
    read_stream(&d, vars_only);
    yaml_parser_delete(&d.parser);
}
