/* Life of a configuration: the file, --set, and the checks between keys. */
#include "settings_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/escape.h"

#define SET_NAME  "--set" /* stands where a file name would, in findings */
#define DEPTH_MAX 16      /* nesting of a text that is read; the table needs four */

void settings_free(struct settings *s)
{
    if (s == NULL)
        return;
    if (s->priv != NULL)
        sk_arena_free(&s->priv->arena);
    free(s->priv);
    free(s);
}

static int make_default(struct settings **out)
{
    struct settings *s = calloc(1, sizeof(*s));
    *out = s;
    if (s == NULL || (s->priv = calloc(1, sizeof(*s->priv))) == NULL)
        return SK_ENOMEM;
    sk_arena_init(&s->priv->arena, 16384, SETTINGS_ARENA);
    s->priv->mark = sk_arena_zalloc(&s->priv->arena, settings_table_len * sizeof(*s->priv->mark));
    if (s->priv->mark == NULL)
        return SK_ENOMEM;
    struct settings_reader r = {.s = s};
    settings_defaults(&r, settings_table, settings_table_len, s);
    return r.fatal;
}

static void syntax_error(struct settings_reader *r, const yaml_parser_t *p)
{
    const yaml_mark_t *m = p->error == YAML_READER_ERROR ? &p->mark : &p->problem_mark;
    yaml_node_t at = {.start_mark = *m};
    settings_complain(r, &at, "%s%s%s%s", p->problem != NULL ? p->problem : "not YAML", p->context != NULL ? " (" : "",
                      p->context != NULL ? p->context : "", p->context != NULL ? ")" : "");
}

static void read_mapping(struct settings_reader *r, const char *prefix, const yaml_node_t *map);

static bool seen_before(struct settings_reader *r, const yaml_node_t *map, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = yaml_document_get_node(&r->doc, pair->key);
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *k = yaml_document_get_node(&r->doc, p->key);
        if (k->type == YAML_SCALAR_NODE &&
            strcmp((const char *)k->data.scalar.value, (const char *)key->data.scalar.value) == 0)
            return true;
    }
    return false;
}

/* A section: keys below it, or nothing at all (each commented out). */
static void read_section(struct settings_reader *r, const char *path, const yaml_node_t *v)
{
    char prefix[SETTINGS_KEY_MAX + 1];
    snprintf(prefix, sizeof(prefix), "%s.", path);
    if (v->type == YAML_MAPPING_NODE)
        read_mapping(r, prefix, v);
    else if (v->type != YAML_SCALAR_NODE || v->data.scalar.length != 0)
        settings_complain(r, v, "%s: expected keys below it", path);
}

static void read_pair(struct settings_reader *r, const char *prefix, const yaml_node_t *map, const yaml_node_pair_t *p)
{
    const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key), *v = yaml_document_get_node(&r->doc, p->value);
    const char *name = key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "";
    char path[SETTINGS_KEY_MAX];
    if (key->type != YAML_SCALAR_NODE || strlen(name) != key->data.scalar.length ||
        (size_t)snprintf(path, sizeof(path), "%s%s", prefix, name) >= sizeof(path)) {
        settings_complain(r, key, "this cannot be a key");
        return;
    }
    const struct settings_entry *e = settings_find(settings_table, settings_table_len, path);
    if (e == NULL && !settings_is_section(path))
        settings_unknown(r, key, settings_table, settings_table_len, "", path);
    else if (strchr(name, '.') != NULL)
        settings_complain(r, key, "\"%s\": write the parts of a key as nested keys", path);
    else if (seen_before(r, map, p))
        settings_complain(r, key, "duplicate key \"%s\"", path);
    else if (e != NULL)
        settings_store(r, e, r->s, v);
    else
        read_section(r, path, v);
}

/* Recurses as deep as the table's paths have parts. */
static void read_mapping(struct settings_reader *r, const char *prefix, const yaml_node_t *map)
{
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++)
        if (r->fatal == SK_OK && r->errors < SETTINGS_DIAGS_MAX)
            read_pair(r, prefix, map, p);
}

static void read_root(struct settings_reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (root == NULL || (root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0))
        return;
    if (root->type == YAML_MAPPING_NODE)
        read_mapping(r, "", root);
    else
        settings_complain(r, root, "expected keys");
}

/* Aliases are refused: nobody needs them here, and they make small texts expand to large ones. */
static bool has_alias(struct settings_reader *r, const char *text, size_t len)
{
    yaml_parser_t p;
    yaml_event_t ev;
    bool end = false, found = false;
    unsigned depth = 0;
    if (!yaml_parser_initialize(&p))
        return false;
    yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
    while (!end && !found && yaml_parser_parse(&p, &ev)) {
        depth += ev.type == YAML_MAPPING_START_EVENT || ev.type == YAML_SEQUENCE_START_EVENT;
        depth -= ev.type == YAML_MAPPING_END_EVENT || ev.type == YAML_SEQUENCE_END_EVENT;
        end = ev.type == YAML_STREAM_END_EVENT;
        found = ev.type == YAML_ALIAS_EVENT || depth > DEPTH_MAX;
        yaml_node_t at = {.start_mark = ev.start_mark};
        if (found)
            settings_complain(r, &at, depth > DEPTH_MAX ? "nests too deeply" : "aliases are not supported");
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&p);
    return found;
}

/* The document of a text, handed to fn. */
static int with_document(struct settings_reader *r, const char *text, size_t len, void (*fn)(struct settings_reader *r))
{
    yaml_parser_t p;
    if (has_alias(r, text, len))
        return SK_EINVAL;
    if (!yaml_parser_initialize(&p))
        return SK_ENOMEM;
    yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
    if (yaml_parser_load(&p, &r->doc)) {
        fn(r);
        yaml_document_delete(&r->doc);
    } else if (p.error == YAML_MEMORY_ERROR) {
        r->fatal = SK_ENOMEM;
    } else {
        syntax_error(r, &p);
    }
    yaml_parser_delete(&p);
    return r->fatal != SK_OK ? r->fatal : r->errors > 0 ? SK_EINVAL : SK_OK;
}

int settings_load_text(const char *name, const char *text, size_t len, const struct sk_diag_sink *sink,
                       struct settings **out)
{
    int rc = make_default(out);
    struct settings_reader r = {.s = *out, .sink = sink, .place = true};
    if (rc == SK_OK && (r.file = sk_arena_strdup(&r.s->priv->arena, name)) == NULL)
        rc = SK_ENOMEM;
    if (rc == SK_OK)
        rc = with_document(&r, text, len, read_root);
    if (rc != SK_OK) {
        settings_free(*out);
        *out = NULL;
    }
    return rc;
}

/* At most max + 1 bytes, so that more is seen. */
static int slurp(const char *path, char *buf, size_t max, size_t *len)
{
    ssize_t n = 0;
    *len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? SK_ENOENT : errno == EACCES ? SK_EPERM : SK_EIO;
    while (*len <= max && (n = read(fd, buf + *len, max + 1 - *len)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        *len += (size_t)n;
    }
    int saved = errno, failed = n < 0;
    close(fd);
    errno = saved;
    return failed ? SK_EIO : SK_OK;
}

int settings_load(const char *path, const struct sk_diag_sink *sink, struct settings **out)
{
    const char *name = path != NULL ? path : SETTINGS_PATH;
    char *text = malloc(SETTINGS_TEXT_MAX + 1);
    size_t len;
    *out = NULL;
    if (text == NULL)
        return SK_ENOMEM;
    int rc = slurp(name, text, SETTINGS_TEXT_MAX, &len);
    if (rc == SK_ENOENT && path == NULL)
        rc = settings_load_text(name, "", 0, sink, out);
    else if (rc != SK_OK)
        sk_diag(sink, SK_DIAG_ERROR, name, 0, 0, "%s", strerror(errno));
    else if (len > SETTINGS_TEXT_MAX)
        sk_diag(sink, SK_DIAG_ERROR, name, 0, 0, "longer than %u bytes", SETTINGS_TEXT_MAX);
    else
        rc = settings_load_text(name, text, len, sink, out);
    free(text);
    return rc == SK_OK && *out == NULL ? SK_EINVAL : rc;
}

/* ---- --set ---- */

static void set_root(struct settings_reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    yaml_node_t nothing = {.type = YAML_SCALAR_NODE};
    nothing.data.scalar.value = (yaml_char_t *)"";
    nothing.data.scalar.style = YAML_PLAIN_SCALAR_STYLE;
    settings_store(r, r->set, r->s, root != NULL ? root : &nothing);
}

/* A text stands for itself: "host=db user=x" and "[::]:8443" are no YAML that means the same. */
static int set_text(struct settings_reader *r, const char *value)
{
    yaml_node_t v = {.type = YAML_SCALAR_NODE};
    v.data.scalar.value = (yaml_char_t *)value;
    v.data.scalar.length = strlen(value);
    v.data.scalar.style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    settings_store(r, r->set, r->s, &v);
    return r->fatal != SK_OK ? r->fatal : r->errors > 0 ? SK_EINVAL : SK_OK;
}

int settings_set(struct settings *s, const char *key_value, const struct sk_diag_sink *sink)
{
    struct settings_reader r = {.s = s, .sink = sink, .file = SET_NAME};
    char key[SETTINGS_KEY_MAX], show[80];
    size_t len = strcspn(key_value, "=");
    if (key_value[len] != '=' || len == 0 || len >= sizeof(key) || strlen(key_value) > SETTINGS_TEXT_MAX) {
        settings_complain(&r, NULL, "\"%s\" is not KEY=VALUE", sk_escape(show, sizeof(show), sk_span_str(key_value)));
        return SK_EINVAL;
    }
    memcpy(key, key_value, len);
    key[len] = '\0';
    r.set = settings_find(settings_table, settings_table_len, key);
    if (r.set == NULL) {
        if (settings_is_section(key))
            settings_complain(&r, NULL, "\"%s\" is a section; name one of its keys", key);
        else
            settings_unknown(&r, NULL, settings_table, settings_table_len, "", key);
        return SK_EINVAL;
    }
    const char *value = key_value + len + 1;
    if (r.set->type == SET_TEXT || (r.set->type != SET_RECORDS && value[0] != '['))
        return set_text(&r, value);
    return with_document(&r, value, strlen(value), set_root);
}

/* ---- keys that must fit each other ---- */

int settings_listen(const char *text, struct sk_addr *addr, uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len) != NULL) {
        return SK_EINVAL;
    }
    if (len == 0 || colon[1] < '0' || colon[1] > '9' || sk_addr_parse(text, len, addr) != SK_OK)
        return SK_EINVAL;
    char *end;
    unsigned long n = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || n > UINT16_MAX)
        return SK_EINVAL;
    *port = (uint16_t)n;
    return SK_OK;
}

static int misfit(const struct settings *s, const struct sk_diag_sink *sink, const char *key, const char *text)
{
    const struct settings_entry *e = settings_find(settings_table, settings_table_len, key);
    const struct settings_mark *m = &s->priv->mark[e - settings_table];
    sk_diag(sink, SK_DIAG_ERROR, m->file, m->file != NULL && strcmp(m->file, SET_NAME) != 0 ? m->line : 0,
            m->file != NULL && strcmp(m->file, SET_NAME) != 0 ? m->col : 0, "%s: %s", key, text);
    return SK_EINVAL;
}

static int check_targets(const struct settings *s, const struct sk_diag_sink *sink)
{
    int rc = SK_OK;
    if (s->waf.enabled && s->waf.ntargets == 0)
        rc = misfit(s, sink, "waf.enabled", "needs at least one of waf.targets");
    for (uint32_t i = 0; i < s->waf.ntargets; i++) {
        const struct waf_target *t = &s->waf.targets[i];
        if (t->sets_v4 + t->sets_v6 == 0 || t->sets_v4 + t->sets_v6 > WAF_SETS_MAX)
            rc = misfit(s, sink, "waf.targets", "a target has 1 to 50 sets, both families together");
        if (t->prefix[strspn(t->prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")] != '\0')
            rc = misfit(s, sink, "waf.targets", "a prefix has letters, digits, _ and - only");
        if (t->scope == WAFV2_CLOUDFRONT && t->region[0] != '\0' && strcmp(t->region, "us-east-1") != 0)
            rc = misfit(s, sink, "waf.targets", "the region of scope CLOUDFRONT is us-east-1");
        for (uint32_t k = 0; k < i; k++)
            if (t->scope == s->waf.targets[k].scope && strcmp(t->region, s->waf.targets[k].region) == 0 &&
                strcmp(t->prefix, s->waf.targets[k].prefix) == 0)
                rc = misfit(s, sink, "waf.targets", "two targets are the same sets");
    }
    return rc;
}

static int check_outputs(const struct settings *s, const struct sk_diag_sink *sink)
{
    int rc = SK_OK;
    for (uint32_t i = 0; i < s->noutputs; i++) {
        const struct output_sink *o = &s->outputs[i];
        if (o->kind == OUTPUT_SNS && strncmp(o->topic_arn, "arn:", 4) != 0)
            rc = misfit(s, sink, "outputs", "an output of type sns needs the ARN of a topic");
        if (o->kind == OUTPUT_WEBHOOK && strncmp(o->url, "https://", 8) != 0)
            rc = misfit(s, sink, "outputs", "an output of type webhook needs a url that begins with https://");
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(o->name, s->outputs[k].name) == 0)
                rc = misfit(s, sink, "outputs", "two outputs have the same name");
    }
    return rc;
}

int settings_check(const struct settings *s, const struct sk_diag_sink *sink)
{
    struct sk_addr addr;
    uint16_t port;
    int rc = SK_OK;
    if (settings_listen(s->listen, &addr, &port) != SK_OK)
        rc = misfit(s, sink, "listen", "want ADDRESS:PORT, \"0.0.0.0:8443\" or \"[::]:8443\"");
    if ((s->certificate[0] == '\0') != (s->key[0] == '\0'))
        rc = misfit(s, sink, s->key[0] == '\0' ? "certificate" : "key", "certificate and key go together");
    if (s->identity.required && s->identity.certificates[0] == '\0')
        rc = misfit(s, sink, "identity.required", "needs identity.certificates");
    int targets = check_targets(s, sink), outputs = check_outputs(s, sink);
    return rc != SK_OK ? rc : targets != SK_OK ? targets : outputs;
}
