/* Life of a configuration, --set, and the checks between keys. */
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/escape.h"
#include "conf_priv.h"

#define SET_NAME "--set" /* stands where a file name would, in findings */

void conf_free(struct conf *c)
{
    if (c == NULL)
        return;
    if (c->priv != NULL)
        sk_arena_free(&c->priv->arena);
    free(c->priv);
    free(c);
}

int conf_split(struct conf_reader *r, const char *text, struct conf_value *out)
{
    size_t len = strlen(text);
    out->list = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    struct sk_span rest = sk_span_of(text + out->list, (uint32_t)(len - 2 * out->list));
    uint32_t commas = 0;
    for (uint32_t i = 0; i < rest.len; i++)
        commas += rest.p[i] == ',';
    out->item = (struct conf_item *)sk_arena_zalloc(&r->c->priv->arena, (commas + 1) * sizeof(*out->item));
    if (out->item == NULL)
        return SK_ENOMEM;
    if (sk_span_trim(rest).len == 0)
        return SK_OK;
    for (uint32_t n = 0; n <= commas; n++) {
        const uint8_t *comma = (const uint8_t *)memchr(rest.p, ',', rest.len);
        uint32_t part = comma ? (uint32_t)(comma - rest.p) : rest.len;
        struct sk_span s = sk_span_trim(sk_span_of(rest.p, part));
        out->item[n].text = conf_keep(r, (const char *)s.p, s.len);
        if (out->item[n].text == NULL)
            return SK_ENOMEM;
        out->n++;
        rest.p += part + (comma != NULL);
        rest.len -= part + (comma != NULL);
    }
    return SK_OK;
}

/* "NAME=text NAME=text", the form in which the table holds the default groups. */
static void default_groups(struct conf_reader *r, const struct conf_entry *e)
{
    for (const char *p = e->def; *p != '\0' && r->fatal == SK_OK;) {
        size_t name_len = strcspn(p, "="), text_len = strcspn(p + name_len, " ") - 1;
        const char *name = conf_keep(r, p, name_len);
        struct conf_item text = {.text = conf_keep(r, p + name_len + 1, text_len)};
        if (name == NULL || text.text == NULL)
            return;
        conf_store_group(r, e, name, &text);
        p += name_len + 1 + text_len;
        p += *p == ' ';
    }
}

/* One key from one text without YAML around it. */
static void store_text_value(struct conf_reader *r, const struct conf_entry *e, const char *text, unsigned line,
                             unsigned col)
{
    struct conf_item one = {.text = conf_keep(r, text, strlen(text)), .line = line, .col = col};
    struct conf_value v = {.item = &one, .n = 1, .line = line, .col = col};
    if (one.text == NULL)
        return;
    if (conf_is_list(e->type)) {
        v = (struct conf_value){.line = line, .col = col};
        if (conf_split(r, one.text, &v) != SK_OK) {
            r->fatal = SK_ENOMEM;
            return;
        }
        for (uint32_t i = 0; i < v.n; i++) {
            v.item[i].line = line;
            v.item[i].col = col;
        }
    }
    conf_store(r, e, &v);
}

static int reader_result(const struct conf_reader *r)
{
    return r->fatal != SK_OK ? r->fatal : r->errors > 0 ? SK_EINVAL : SK_OK;
}

static int fill_defaults(struct conf *c)
{
    struct conf_reader r = {.c = c, .defaults = true, .file = "default"};
    for (unsigned i = 0; i < conf_table_len && r.fatal == SK_OK; i++) {
        const struct conf_entry *e = &conf_table[i];
        if (e->type == CONF_T_GROUPS)
            default_groups(&r, e);
        else
            store_text_value(&r, e, e->def, 0, 0);
    }
    return reader_result(&r);
}

int conf_default(struct conf **out)
{
    *out = NULL;
    struct conf *c = (struct conf *)calloc(1, sizeof(*c));
    if (c == NULL)
        return SK_ENOMEM;
    c->priv = (struct conf_priv *)calloc(1, sizeof(*c->priv));
    if (c->priv == NULL) {
        conf_free(c);
        return SK_ENOMEM;
    }
    sk_arena_init(&c->priv->arena, 16384, CONF_ARENA_MAX);
    c->priv->mark = (struct conf_mark *)sk_arena_zalloc(&c->priv->arena, conf_table_len * sizeof(*c->priv->mark));
    int err = c->priv->mark ? fill_defaults(c) : SK_ENOMEM;
    if (err != SK_OK) {
        conf_free(c);
        return err;
    }
    *out = c;
    return SK_OK;
}

static int read_text(struct conf *c, const char *path_name, const char *text, size_t len,
                     const struct sk_diag_sink *sink, bool vars_only)
{
    if (len > CONF_MAX_TEXT) {
        sk_diag(sink, SK_DIAG_ERROR, path_name, 0, 0, "longer than %d bytes", CONF_MAX_TEXT);
        return SK_EFULL;
    }
    struct conf_reader r = {.c = c, .sink = sink};
    r.file = conf_keep(&r, path_name, strlen(path_name));
    if (r.file != NULL)
        conf_read_yaml(&r, text, len, vars_only);
    return reader_result(&r);
}

int conf_load(const char *path_name, const char *text, size_t len, const struct sk_diag_sink *sink, struct conf **out)
{
    struct conf *c;
    *out = NULL;
    int err = conf_default(&c);
    if (err != SK_OK)
        return err;
    err = read_text(c, path_name, text, len, sink, false);
    if (err == SK_OK)
        err = conf_check(c, sink);
    if (err != SK_OK) {
        conf_free(c);
        return err;
    }
    *out = c;
    return SK_OK;
}

int conf_load_vars(struct conf *c, const char *path_name, const char *text, size_t len, const struct sk_diag_sink *sink)
{
    return read_text(c, path_name, text, len, sink, true);
}

/* At most max bytes, and one more to show that there is more. */
static int slurp(int fd, char *buf, size_t max, size_t *len)
{
    *len = 0;
    while (*len <= max) {
        ssize_t n = read(fd, buf + *len, max + 1 - *len);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return SK_EIO;
        if (n > 0)
            *len += (size_t)n;
    }
    return SK_OK;
}

int conf_load_file(const char *path, const struct sk_diag_sink *sink, struct conf **out)
{
    char *buf = NULL;
    size_t len;
    int err = SK_OK;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err = errno == ENOENT ? SK_ENOENT : errno == EACCES ? SK_EPERM : SK_EIO;
        goto out;
    }
    buf = (char *)malloc((size_t)CONF_MAX_TEXT + 1);
    if (buf == NULL) {
        err = SK_ENOMEM;
        goto out;
    }
    err = slurp(fd, buf, CONF_MAX_TEXT, &len);
out:
    if (err != SK_OK)
        sk_diag(sink, SK_DIAG_ERROR, path, 0, 0, "%s", err == SK_ENOMEM ? sk_strerror(err) : strerror(errno));
    else
        err = conf_load(path, buf, len, sink, out);
    free(buf);
    if (fd >= 0)
        close(fd);
    return err;
}

/* vars.address-groups.NAME: the groups' entry, and the name. */
static const struct conf_entry *group_entry(const char *key, const char **name)
{
    for (unsigned i = 0; i < conf_table_len; i++) {
        const struct conf_entry *e = &conf_table[i];
        size_t len = strlen(e->path);
        if (e->type == CONF_T_GROUPS && strncmp(key, e->path, len) == 0 && key[len] == '.') {
            *name = key + len + 1;
            return e;
        }
    }
    return NULL;
}

/* One key from somewhere: line 0, --set. */
static int set_from(struct conf_reader *r, unsigned line, const char *key, const char *value)
{
    const char *name;
    const struct conf_entry *e;
    unsigned col = line > 0;
    if (strlen(value) > CONF_MAX_TEXT) {
        sk_diag(r->sink, SK_DIAG_ERROR, r->file, line, col, "longer than %d bytes", CONF_MAX_TEXT);
        return SK_EFULL;
    }
    if ((e = group_entry(key, &name)) != NULL) {
        struct conf_item text = {.text = conf_keep(r, value, strlen(value)), .line = line, .col = col};
        if (text.text != NULL)
            conf_store_group(r, e, name, &text);
    } else if (conf_is_inert(key)) {
        sk_diag(r->sink, SK_DIAG_NOTE, r->file, line, col, "%s has no effect here", key);
    } else if ((e = conf_entry_find(conf_alias(key))) != NULL && e->type != CONF_T_GROUPS) {
        store_text_value(r, e, value, line, line > 0 ? (unsigned)strlen(key) + 2 : 0);
    } else if (e != NULL || conf_is_section(key)) {
        conf_complain(r, line, col, "\"%s\" is a section; name one of its keys", key);
    } else {
        conf_unknown_key(r, line, col, key);
    }
    return reader_result(r);
}

int conf_set(struct conf *c, const char *key, const char *value, const struct sk_diag_sink *sink)
{
    struct conf_reader r = {.c = c, .sink = sink, .file = SET_NAME};
    return set_from(&r, 0, key, value);
}

static int set_key_value(struct conf_reader *r, unsigned line, const char *key_value)
{
    char key[CONF_PATH_MAX];
    size_t len = strcspn(key_value, "=");
    if (key_value[len] != '=' || len == 0 || len >= sizeof(key)) {
        char show[CONF_SHOW_MAX];
        sk_diag(r->sink, SK_DIAG_ERROR, r->file, line, line > 0, "\"%s\" is not KEY=VALUE",
                sk_escape(show, sizeof(show), sk_span_str(key_value)));
        return SK_EINVAL;
    }
    memcpy(key, key_value, len);
    key[len] = '\0';
    return set_from(r, line, key, key_value + len + 1);
}

int conf_set_arg(struct conf *c, const char *key_value, const struct sk_diag_sink *sink)
{
    struct conf_reader r = {.c = c, .sink = sink, .file = SET_NAME};
    return set_key_value(&r, 0, key_value);
}

int conf_set_line(struct conf *c, const char *file, unsigned line, const char *key_value,
                  const struct sk_diag_sink *sink)
{
    struct conf_reader r = {.c = c, .sink = sink};
    r.file = conf_keep(&r, file, strlen(file));
    return r.file != NULL ? set_key_value(&r, line, key_value) : reader_result(&r);
}

/* A finding at the place where the key was given; two defaults never disagree. */
static int misfit(const struct conf *c, const struct sk_diag_sink *sink, const char *key, const char *other,
                  const char *text)
{
    const struct conf_mark *m = &c->priv->mark[conf_entry_find(key) - conf_table];
    if (m->file == NULL && other != NULL)
        m = &c->priv->mark[conf_entry_find(other) - conf_table];
    sk_diag(sink, SK_DIAG_ERROR, m->file, m->line, m->col, "%s: %s", key, text);
    return SK_EINVAL;
}

/* A header's name (RFC 9110 section 5.6.2). */
static bool is_token(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s <= ' ' || *s > '~' || strchr("()<>@,;:\\\"/[]?={}", *s) != NULL)
            return false;
    return true;
}

static bool includes_all(const struct conf_prefixes *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (p->v[i].len == 0 || (p->v[i].len == 96 && sk_addr_is_v4(&p->v[i].addr)))
            return true;
    return false;
}

static int check_proxies(const struct conf *c, const struct sk_diag_sink *sink)
{
    int err = SK_OK;
    if (!is_token(c->proxies.header))
        err = misfit(c, sink, "proxies.header", NULL, "is not the name of a header");
    if (includes_all(&c->proxies.http))
        err =
            misfit(c, sink, "proxies.http", NULL, "would believe everybody: name the balancers' addresses or subnets");
    if (includes_all(&c->proxies.opaque))
        err =
            misfit(c, sink, "proxies.opaque", NULL, "would spare everybody: name the balancers' addresses or subnets");
    if (includes_all(&c->proxies.proxy_protocol))
        err = misfit(c, sink, "proxies.proxy-protocol", NULL,
                     "would believe everybody: name the balancers' addresses or subnets");
    return err;
}

int conf_check(const struct conf *c, const struct sk_diag_sink *sink)
{
    int err = SK_OK;
    uint32_t block = c->capture.block_size;
    if ((block & (block - 1)) != 0)
        err = misfit(c, sink, "capture.block-size", NULL, "must be a power of two");
    if (block > c->capture.ring_size / 2)
        err =
            misfit(c, sink, "capture.ring-size", "capture.block-size", "must hold at least two of capture.block-size");
    if (c->decide.block_duration > c->decide.max_block_duration)
        err = misfit(c, sink, "decide.block-duration", "decide.max-block-duration",
                     "must not be longer than decide.max-block-duration");
    struct conf_listen listen;
    if (c->metrics_listen[0] != '\0' && conf_listen_parse(c->metrics_listen, &listen) != SK_OK)
        err = misfit(c, sink, "metrics.listen", NULL,
                     "want the path of a unix socket, or a loopback address with a port: "
                     "\"/run/sekisho/metrics.sock\", \"127.0.0.1:9469\", \"[::1]:9469\"");
    if (c->http.header_limit > c->http.memcap)
        err = misfit(c, sink, "http.header-limit", "http.memcap", "must not be larger than http.memcap");
    int proxies = check_proxies(c, sink);
    return err != SK_OK ? err : proxies;
}
