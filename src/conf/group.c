/* Address and port groups: names that rules use, with the text behind them. */
#include "conf_priv.h"

#include "base/escape.h"

#define GROUP_NAME_MAX 64

/* As rules can write it behind a "$". */
static bool name_ok(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    return len > 0 && len <= GROUP_NAME_MAX && s[len] == '\0';
}

const struct conf_var *conf_group(const struct conf_vars *groups, const char *name)
{
    for (uint32_t i = 0; i < groups->n; i++) {
        if (strcmp(groups->v[i].name, name) == 0)
            return &groups->v[i];
    }
    return NULL;
}

/* The list has room for all that it may hold from the first group on. */
static struct conf_var *slot_for(struct conf_reader *r, struct conf_vars *groups, const char *name)
{
    struct conf_var *v = (struct conf_var *)conf_group(groups, name);
    if (v != NULL)
        return v;
    if (groups->v == NULL) {
        groups->v = (struct conf_var *)sk_arena_zalloc(&r->c->priv->arena, CONF_MAX_VARS * sizeof(*v));
        if (groups->v == NULL) {
            r->fatal = SK_ENOMEM;
            return NULL;
        }
    }
    if (groups->n == CONF_MAX_VARS)
        return NULL;
    v = (struct conf_var *)&groups->v[groups->n];
    v->name = conf_keep(r, name, strlen(name));
    if (v->name == NULL)
        return NULL;
    groups->n++;
    return v;
}

void conf_store_group(struct conf_reader *r, const struct conf_entry *e, const char *name, const struct conf_item *text)
{
    struct conf_vars *groups = (struct conf_vars *)((char *)r->c + e->off);
    char show[CONF_SHOW_MAX];
    sk_escape(show, sizeof(show), sk_span_str(name));
    if (!name_ok(name)) {
        conf_complain(r, text->line, text->col, "%s: \"%s\" cannot name a group; allowed: up to %d of A-Z a-z 0-9 _ -",
                      e->path, show, GROUP_NAME_MAX);
        return;
    }
    if (text->text[0] == '\0') {
        conf_complain(r, text->line, text->col, "%s.%s: no value", e->path, show);
        return;
    }
    struct conf_var *v = slot_for(r, groups, name);
    if (v == NULL) {
        if (r->fatal == SK_OK)
            conf_complain(r, text->line, text->col, "%s: more than %d groups", e->path, CONF_MAX_VARS);
        return;
    }
    v->text = text->text;
    v->given = !r->defaults;
}
