#include "instance_conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "inputs.h"

void instance_conf_path(const char *conf_path, char buf[INSTANCE_CONF_PATH])
{
    const char *path = conf_path != NULL ? conf_path : CLI_CONF_PATH;
    const char *slash = strrchr(path, '/');
    int n = slash != NULL ? (int)(slash - path) + 1 : 0;
    snprintf(buf, INSTANCE_CONF_PATH, "%.*sinstance.conf", n, path);
}

static size_t key_length(const char *text)
{
    return strcspn(text, "=");
}

static struct instance_setting *place_for(struct instance_conf *s, const char *text)
{
    size_t n = key_length(text);
    for (unsigned i = 0; i < s->n; i++)
        if (key_length(s->v[i].text) == n && memcmp(s->v[i].text, text, n) == 0)
            return &s->v[i];
    return s->n < INSTANCE_CONF_MAX ? &s->v[s->n] : NULL;
}

int instance_conf_add(struct instance_conf *s, const char *text, const char *origin, unsigned line)
{
    struct instance_setting *x = place_for(s, text);
    if (x == NULL)
        return SK_EFULL;
    char *t = strdup(text), *o = strdup(origin);
    if (t == NULL || o == NULL) {
        free(t);
        free(o);
        return SK_ENOMEM;
    }
    if (x == &s->v[s->n])
        s->n++;
    free(x->text);
    free(x->origin);
    *x = (struct instance_setting){.text = t, .origin = o, .line = line};
    return SK_OK;
}

void instance_conf_clear(struct instance_conf *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        free(s->v[i].text);
        free(s->v[i].origin);
        s->v[i] = (struct instance_setting){0};
    }
    s->n = 0;
}

/* One line, without its end. */
static int take_line(struct instance_conf *s, char *line, unsigned n, char *origin, size_t cap,
                     const struct sk_diag_sink *sink)
{
    line[strcspn(line, "\r")] = '\0';
    if (line[0] == '#') {
        snprintf(origin, cap, "%s", line + 1 + strspn(line + 1, " "));
        return SK_OK;
    }
    if (line[strspn(line, " \t")] == '\0') {
        origin[0] = '\0';
        return SK_OK;
    }
    if (strchr(line, '=') == NULL) {
        sk_diag(sink, SK_DIAG_ERROR, s->path, n, 1, "this is not KEY=VALUE; `sekisho configure` writes this file");
        return SK_EINVAL;
    }
    int rc = instance_conf_add(s, line, origin, n);
    origin[0] = '\0';
    if (rc == SK_EFULL)
        sk_diag(sink, SK_DIAG_ERROR, s->path, n, 1, "more than %d settings", INSTANCE_CONF_MAX);
    return rc;
}

static int take_text(struct instance_conf *s, char *text, const struct sk_diag_sink *sink)
{
    char origin[256] = "";
    int rc = SK_OK;
    unsigned n = 0;
    for (char *line = text, *end; rc == SK_OK && line != NULL; line = end) {
        end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        rc = take_line(s, line, ++n, origin, sizeof(origin), sink);
    }
    return rc;
}

int instance_conf_read(const char *conf_path, const struct sk_diag_sink *sink, struct instance_conf *out)
{
    size_t len;
    *out = (struct instance_conf){.n = 0};
    instance_conf_path(conf_path, out->path);
    char *text = inputs_read_regular(out->path, INSTANCE_CONF_SIZE, &len);
    if (text == NULL && (errno == ENOENT || errno == ENOTDIR))
        return SK_OK;
    if (text == NULL) {
        sk_diag(sink, SK_DIAG_ERROR, out->path, 0, 0, "cannot read: %s", inputs_strerror(errno));
        return SK_EIO;
    }
    int rc = take_text(out, text, sink);
    free(text);
    if (rc != SK_OK)
        instance_conf_clear(out);
    return rc;
}

int instance_conf_apply(const struct instance_conf *s, struct conf *c, const struct sk_diag_sink *sink)
{
    int rc = SK_OK;
    for (unsigned i = 0; i < s->n; i++) {
        int one = conf_set_line(c, s->path, s->v[i].line, s->v[i].text, sink);
        rc = rc == SK_OK ? one : rc;
    }
    return rc;
}
