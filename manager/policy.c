#include "policy.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>
#include "base/escape.h"
#include "base/strbuf.h"
#include "conf/conf.h"
#include "pki/bundle.h"

#define DEPTH_MAX 8

struct reader {
    const struct sk_diag_sink *sink;
    const char *name;
    yaml_document_t doc;
    struct conf *conf; /* every value is tried on it */
    json_t *settings;
    const yaml_node_t *at;
    unsigned errors;
};

static void complain(struct reader *r, const yaml_node_t *at, const char *text, const char *what)
{
    char show[160];
    r->errors++;
    sk_diag(r->sink, SK_DIAG_ERROR, r->name, (unsigned)at->start_mark.line + 1, (unsigned)at->start_mark.column + 1,
            "%s%s%s", what != NULL ? sk_escape(show, sizeof(show), sk_span_str(what)) : "", what != NULL ? ": " : "",
            text);
}

/* What the agent's own reader says of a value, at its place in this file. */
static void pass_on(void *arg, const struct sk_diag *d)
{
    struct reader *r = arg;
    sk_diag(r->sink, d->level, r->name, (unsigned)r->at->start_mark.line + 1, (unsigned)r->at->start_mark.column + 1,
            "%s", d->text);
}

static const char *text_of(const yaml_node_t *n)
{
    const char *s = (const char *)n->data.scalar.value;
    return n->type == YAML_SCALAR_NODE && strlen(s) == n->data.scalar.length ? s : NULL;
}

/* A list as --set takes it: [a,[b,c]]. */
static bool list_text(struct reader *r, const yaml_node_t *list, struct sk_strbuf *b, unsigned depth)
{
    bool ok = depth < DEPTH_MAX;
    sk_strbuf_puts(b, "[");
    for (const yaml_node_item_t *i = list->data.sequence.items.start; ok && i < list->data.sequence.items.top; i++) {
        const yaml_node_t *n = yaml_document_get_node(&r->doc, *i);
        if (i != list->data.sequence.items.start)
            sk_strbuf_puts(b, ",");
        if (n->type == YAML_SEQUENCE_NODE)
            ok = list_text(r, n, b, depth + 1);
        else if (text_of(n) != NULL)
            sk_strbuf_puts(b, text_of(n));
        else
            ok = false;
    }
    sk_strbuf_puts(b, "]");
    return ok;
}

static void take(struct reader *r, const char *key, const yaml_node_t *v)
{
    struct sk_strbuf b;
    struct sk_diag_sink sink = {.fn = pass_on, .arg = r};
    sk_strbuf_init(&b, BUNDLE_VALUE_MAX);
    r->at = v;
    if (v->type == YAML_SEQUENCE_NODE && !list_text(r, v, &b, 0))
        complain(r, v, "this list cannot be read", key);
    else if (v->type != YAML_SEQUENCE_NODE && text_of(v) == NULL)
        complain(r, v, "a value cannot hold a NUL", key);
    else if (v->type != YAML_SEQUENCE_NODE)
        sk_strbuf_puts(&b, text_of(v));
    if (b.full)
        complain(r, v, "too long", key);
    const char *text = b.p != NULL ? b.p : "";
    if (r->errors == 0 && conf_set(r->conf, key, text, &sink) != SK_OK)
        r->errors++;
    if (r->errors == 0 && json_object_set_new(r->settings, key, json_string(text)) != 0)
        complain(r, v, "is no UTF-8", key);
    sk_strbuf_free(&b);
}

/* An allowed key, or a part of one: "decide". */
static bool leads_to_allowed(const char *key)
{
    char below[BUNDLE_KEY_MAX + 4];
    if ((size_t)snprintf(below, sizeof(below), "%s.x", key) >= sizeof(below))
        return false;
    return bundle_setting_allowed(key) || bundle_setting_allowed(below) || strcmp(key, "vars") == 0;
}

static void walk(struct reader *r, const char *prefix, const yaml_node_t *map, unsigned depth)
{
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(&r->doc, p->key), *v = yaml_document_get_node(&r->doc, p->value);
        char key[BUNDLE_KEY_MAX + 1];
        const char *name = text_of(k);
        if (name == NULL || depth == DEPTH_MAX ||
            (size_t)snprintf(key, sizeof(key), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", name) >= sizeof(key))
            complain(r, k, "this cannot be a key", NULL);
        else if (!leads_to_allowed(key))
            complain(r, k, "a policy cannot set this: it stays each host's own", key);
        else if (json_object_get(r->settings, key) != NULL)
            complain(r, k, "is there twice", key);
        else if (v->type == YAML_MAPPING_NODE)
            walk(r, key, v, depth + 1);
        else
            take(r, key, v);
    }
}

static void read_document(struct reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    struct sk_diag_sink sink = {.fn = pass_on, .arg = r};
    if (root == NULL || root->type != YAML_MAPPING_NODE) {
        r->errors++;
        sk_diag(r->sink, SK_DIAG_ERROR, r->name, 1, 1, "expected keys");
        return;
    }
    walk(r, "", root, 0);
    r->at = root;
    if (r->errors == 0 && conf_check(r->conf, &sink) != SK_OK)
        r->errors++;
}

int policy_read(const char *name, const char *text, size_t len, const struct sk_diag_sink *sink, json_t **out)
{
    struct reader r = {.sink = sink, .name = name, .settings = json_object()};
    yaml_parser_t p;
    *out = NULL;
    int rc = conf_default(&r.conf);
    if (rc != SK_OK || !yaml_parser_initialize(&p)) {
        json_decref(r.settings);
        return SK_ENOMEM;
    }
    yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
    if (yaml_parser_load(&p, &r.doc)) {
        read_document(&r);
        yaml_document_delete(&r.doc);
    } else {
        r.errors++;
        sk_diag(sink, SK_DIAG_ERROR, name, (unsigned)p.problem_mark.line + 1, (unsigned)p.problem_mark.column + 1, "%s",
                p.problem != NULL ? p.problem : "not YAML");
    }
    yaml_parser_delete(&p);
    conf_free(r.conf);
    if (r.errors > 0) {
        json_decref(r.settings);
        return SK_EINVAL;
    }
    *out = r.settings;
    return SK_OK;
}
