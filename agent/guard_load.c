/* Configuration and rule files, read by the one who may read them, for the one who parses them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/escape.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "cli.h"
#include "guard.h"
#include "inputs.h"
#include "instance_conf.h"
#include "ipc/bundle.h"

/* Prints a finding, and keeps the first error for the client that asked. */
struct first_error {
    char text[256];
};

static void on_finding(void *arg, const struct sk_diag *d)
{
    struct first_error *f = (struct first_error *)arg;
    char line[512];
    sk_diag_stderr.fn(sk_diag_stderr.arg, d);
    if (d->level != SK_DIAG_ERROR || f->text[0] != '\0')
        return;
    if (d->file != NULL && d->line != 0)
        snprintf(line, sizeof(line), "%s:%u:%u: %s", d->file, d->line, d->col, d->text);
    else
        snprintf(line, sizeof(line), "%s%s%s", d->file != NULL ? d->file : "", d->file != NULL ? ": " : "", d->text);
    sk_escape(f->text, sizeof(f->text), sk_span_str(line));
}

/* KEY=VALUE, for free(3). */
static char *setting_text(const char *key, const char *value)
{
    char *text = NULL;
    return asprintf(&text, "%s=%s", key, value != NULL ? value : "") >= 0 ? text : NULL;
}

/* What the fleet's policy says; --set comes after it and counts more. */
static int apply_policy(json_t *settings, struct conf *c, const struct sk_diag_sink *diag)
{
    const char *key;
    json_t *value;
    int rc = SK_OK;
    json_object_foreach(settings, key, value)
    {
        char *text = rc == SK_OK ? setting_text(key, json_string_value(value)) : NULL;
        if (rc == SK_OK)
            rc = text != NULL ? conf_set_arg(c, text, diag) : SK_ENOMEM;
        free(text);
    }
    return rc;
}

static int apply_sets(const struct guard_options *opt, struct conf *c, const struct sk_diag_sink *diag)
{
    int rc = SK_OK;
    for (unsigned i = 0; i < opt->nsets && rc == SK_OK; i++)
        rc = conf_set_arg(c, opt->sets[i], diag);
    return rc == SK_OK ? conf_check(c, diag) : rc;
}

/* Dropping packets needs them to wait for a verdict, which capture rings do not offer. */
static int check_mode(const struct conf *c, const struct sk_diag_sink *diag)
{
    if (c->mode != CONF_PREVENT)
        return SK_OK;
    sk_diag(diag, SK_DIAG_ERROR, NULL, 0, 0,
            "prevent mode is for replay: `run` cannot hold packets back; use detect mode, in which drop rules block "
            "the source");
    return SK_ENOTSUP;
}

/* A pipe in place of the file would hold the guard for as long as its owner likes. */
static int load_conf_file(const char *path, const struct sk_diag_sink *diag, struct conf **out)
{
    size_t len;
    char *text = inputs_read_regular(path, CONF_MAX_TEXT, &len);
    if (text == NULL) {
        sk_diag(diag, SK_DIAG_ERROR, path, 0, 0, "cannot read: %s", inputs_strerror(errno));
        return SK_EIO;
    }
    int rc = conf_load(path, text, len, diag, out);
    free(text);
    return rc;
}

static int read_conf(const struct guard_options *opt, const struct instance_conf *instance, json_t *policy,
                     const struct sk_diag_sink *diag, struct conf **out)
{
    struct conf *c = NULL;
    int rc;
    if (opt->conf_path != NULL)
        rc = load_conf_file(opt->conf_path, diag, &c);
    else if (access(CLI_CONF_PATH, F_OK) == 0)
        rc = load_conf_file(CLI_CONF_PATH, diag, &c);
    else
        rc = conf_default(&c);
    if (rc == SK_OK)
        rc = instance_conf_apply(instance, c, diag);
    if (rc == SK_OK)
        rc = apply_policy(policy, c, diag);
    if (rc == SK_OK)
        rc = apply_sets(opt, c, diag);
    if (rc == SK_OK)
        rc = check_mode(c, diag);
    if (rc != SK_OK) {
        conf_free(c);
        return rc;
    }
    *out = c;
    return SK_OK;
}

/* Whom this host spares it spares whatever the fleet says. */
static int join_never(struct conf *c, const struct conf_prefixes *own, const struct sk_diag_sink *diag)
{
    char buf[SK_PREFIX_STRLEN];
    struct sk_strbuf b;
    sk_strbuf_init(&b, CONF_MAX_TEXT);
    sk_strbuf_puts(&b, "never=[");
    for (uint32_t i = 0; i < own->n + c->never.n; i++)
        sk_strbuf_printf(&b, "%s%s", i > 0 ? "," : "",
                         sk_prefix_format(i < own->n ? &own->v[i] : &c->never.v[i - own->n], buf));
    sk_strbuf_puts(&b, "]");
    int rc = b.full ? SK_EFULL : conf_set_arg(c, b.p, diag);
    sk_strbuf_free(&b);
    return rc;
}

static void keep_settings(struct guard *g, json_t *settings)
{
    json_decref(g->bundles.settings);
    g->bundles.settings = settings;
}

static void put_instance(struct instance_conf **place, struct instance_conf *s)
{
    if (*place != NULL)
        instance_conf_clear(*place);
    free(*place);
    *place = s;
}

/* What was read last is in force now. */
static void adopt_instance(struct guard *g)
{
    if (g->next_instance == NULL)
        return;
    put_instance(&g->instance, g->next_instance);
    g->next_instance = NULL;
}

/*
 * Read without the policy first: the host itself says where it lies, and whether it wants it. A policy in force that no
 * longer fits what the host says does not keep the agent from starting; one on trial is refused.
 */
static int read_with_policy(struct guard *g, const struct instance_conf *instance, const struct sk_diag_sink *diag,
                            struct conf **out)
{
    struct conf *c = NULL;
    int rc = read_conf(&g->opt, instance, NULL, diag, out);
    keep_settings(g, NULL);
    json_t *policy = rc == SK_OK ? guard_bundle_settings(g, *out) : NULL;
    if (policy == NULL)
        return rc;
    rc = read_conf(&g->opt, instance, policy, diag, &c);
    if (rc == SK_OK && json_object_get(policy, "never") != NULL)
        rc = join_never(c, &(*out)->never, diag);
    if (rc == SK_OK) {
        conf_free(*out);
        *out = c;
        keep_settings(g, policy);
        return SK_OK;
    }
    json_decref(policy);
    conf_free(c);
    if (!guard_bundle_on_trial(g)) {
        sk_log(SK_LOG_ERROR, "the policy of the fleet does not fit this host's configuration: left out");
        return SK_OK;
    }
    conf_free(*out);
    *out = NULL;
    return rc;
}

int guard_read_conf(struct guard *g, const struct sk_diag_sink *diag, struct conf **out)
{
    struct instance_conf *s = calloc(1, sizeof(*s));
    int rc = s != NULL ? instance_conf_read(g->opt.conf_path, diag, s) : SK_ENOMEM;
    if (rc == SK_OK)
        rc = read_with_policy(g, s, diag, out);
    if (rc == SK_OK) {
        put_instance(&g->next_instance, s);
        if (g->instance == NULL) /* the first time; later the engine has to agree */
            adopt_instance(g);
        return SK_OK;
    }
    if (s != NULL)
        instance_conf_clear(s);
    free(s);
    return rc;
}

void guard_load_free(struct guard *g)
{
    put_instance(&g->instance, NULL);
    put_instance(&g->next_instance, NULL);
}

json_t *guard_settings_json(const struct guard *g)
{
    json_t *a = json_array();
    for (unsigned i = 0; g->instance != NULL && i < g->instance->n; i++) {
        const struct instance_setting *s = &g->instance->v[i];
        char text[512], origin[512];
        sk_escape(text, sizeof(text), sk_span_str(s->text));
        sk_escape(origin, sizeof(origin), sk_span_str(s->origin));
        json_array_append_new(a, json_pack("{s:s,s:s}", "setting", text, "origin", origin));
    }
    return a;
}

bool guard_home_is_auto(const struct conf *c)
{
    const struct conf_var *v = conf_group(&c->address_groups, "HOME_NET");
    return v != NULL && (!v->given || strcmp(v->text, "auto") == 0);
}

static int file_failed(const char *path, const char *why)
{
    sk_log(SK_LOG_ERROR, "%s: %s", path, why);
    return SK_EINVAL;
}

static int add_file(struct ipc_bundle *b, enum ipc_text_kind kind, const char *path)
{
    size_t len;
    char *text = inputs_read_regular(path, INPUTS_MAX_FILE, &len);
    if (text == NULL)
        return file_failed(path, inputs_strerror(errno));
    int rc = ipc_bundle_add(b, kind, path, text, len);
    free(text);
    return rc;
}

static int add_rules(struct ipc_bundle *b, const struct guard_options *opt, const struct conf *conf,
                     const struct sk_diag_sink *diag)
{
    static const enum ipc_text_kind kinds[] = {[ENGINE_RULES] = IPC_TEXT_RULES,
                                               [ENGINE_CLASSES] = IPC_TEXT_CLASSES,
                                               [ENGINE_THRESHOLDS] = IPC_TEXT_THRESHOLDS};
    struct inputs in = {.regular_only = true};
    int rc = inputs_read(&in, conf, opt->rules, opt->nrules, diag);
    for (unsigned i = 0; i < in.n && rc == SK_OK; i++) {
        const struct engine_text *t = &in.v[i];
        rc = ipc_bundle_add(b, kinds[t->kind], t->name, t->text, t->len);
        if (rc == SK_EFULL)
            file_failed(t->name, "too many or too long rule files");
    }
    inputs_free(&in);
    return rc;
}

static int add_policy(struct ipc_bundle *b, json_t *settings)
{
    const char *key;
    json_t *value;
    int rc = SK_OK;
    json_object_foreach(settings, key, value)
    {
        char *text = rc == SK_OK ? setting_text(key, json_string_value(value)) : NULL;
        if (rc == SK_OK)
            rc = text != NULL ? ipc_bundle_add(b, IPC_TEXT_SET, "policy", text, strlen(text)) : SK_ENOMEM;
        free(text);
    }
    return rc;
}

static int add_all(struct guard *g, struct ipc_bundle *b, const struct conf *conf, const struct sk_diag_sink *diag)
{
    const struct guard_options *opt = &g->opt;
    int rc = SK_OK;
    if (opt->conf_path != NULL)
        rc = add_file(b, IPC_TEXT_CONF, opt->conf_path);
    else if (access(CLI_CONF_PATH, F_OK) == 0)
        rc = add_file(b, IPC_TEXT_CONF, CLI_CONF_PATH);
    const struct instance_conf *s = g->next_instance != NULL ? g->next_instance : g->instance;
    for (unsigned i = 0; i < s->n && rc == SK_OK; i++)
        rc = ipc_bundle_add(b, IPC_TEXT_SET, s->path, s->v[i].text, strlen(s->v[i].text));
    if (rc == SK_OK)
        rc = add_policy(b, g->bundles.settings);
    for (unsigned i = 0; i < opt->nsets && rc == SK_OK; i++)
        rc = ipc_bundle_add(b, IPC_TEXT_SET, "--set", opt->sets[i], strlen(opt->sets[i]));
    if (rc == SK_OK && g->home[0] != '\0' && guard_home_is_auto(conf))
        rc = ipc_bundle_add(b, IPC_TEXT_HOME, "HOME_NET", g->home, strlen(g->home));
    if (rc == SK_OK)
        rc = add_rules(b, opt, conf, diag);
    return rc == SK_OK ? guard_bundle_add_rules(g, b, conf) : rc;
}

int guard_make_bundle(struct guard *g, const struct conf *conf, const struct sk_diag_sink *diag, int *fd)
{
    struct ipc_bundle *b;
    int rc = ipc_bundle_create(&b);
    if (rc != SK_OK)
        return rc;
    rc = add_all(g, b, conf, diag);
    if (rc == SK_OK)
        return ipc_bundle_seal(b, fd);
    ipc_bundle_free(b);
    return rc;
}

int guard_reload(struct guard *g, uint64_t client, char *why, size_t cap)
{
    struct first_error first = {0};
    struct sk_diag_sink diag = {on_finding, &first};
    struct conf *conf = NULL;
    int fd = -1;
    if (g->reload_client != 0 || g->next_conf != NULL || !g->child[GUARD_ENGINE].ready) {
        snprintf(why, cap, "rules are being loaded already");
        return SK_EAGAIN;
    }
    int rc = guard_read_conf(g, &diag, &conf);
    if (rc == SK_OK && conf->decide.dry_run != g->dry_run) {
        snprintf(first.text, sizeof(first.text),
                 "decide.dry-run changes with the next start only: stop the agent and "
                 "start it again");
        rc = SK_ENOTSUP;
    }
    if (rc == SK_OK)
        rc = guard_make_bundle(g, conf, &diag, &fd);
    struct ipc_bundle_note note = {.generation = g->generation + 1};
    if (rc == SK_OK)
        rc = ipc_send(g->child[GUARD_ENGINE].chan, IPC_BUNDLE, &note, &fd, 1);
    if (rc != SK_OK) {
        snprintf(why, cap, "%s", first.text[0] != '\0' ? first.text : sk_strerror(rc));
        conf_free(conf);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    guard_ledger_read(g);
    g->generation++;
    g->next_conf = conf;
    g->reload_client = client;
    g->reload_at = sk_now_mono();
    g->loads_due++;
    g->next_bundle_fd = fd;
    guard_tell_reloading();
    return SK_OK;
}

/* An engine that has to be started again gets the texts that were last known to be good. */
static void settle_bundle(struct guard *g, bool good)
{
    if (g->next_bundle_fd < 0)
        return;
    close(good ? g->bundle_fd : g->next_bundle_fd);
    if (good)
        g->bundle_fd = g->next_bundle_fd;
    g->next_bundle_fd = -1;
}

static void changes_later(json_t *later, const char *keys)
{
    sk_log(SK_LOG_WARN, "%s: changes with the next start", keys);
    json_array_append_new(later, json_string(keys));
}

/* What the guard itself takes from a new configuration; the engine has done its part. later: keys that wait. */
static void adopt_conf(struct guard *g, json_t *later)
{
    struct conf *old = g->conf;
    g->conf = g->next_conf;
    g->next_conf = NULL;
    adopt_instance(g);
    guard_block_configure(g);
    if (g->conf->capture.workers != old->capture.workers)
        changes_later(later, "capture.workers");
    if (g->conf->capture.ring_size != g->geometry.ring_size)
        changes_later(later, "capture.ring-size");
    if (g->conf->capture.snaplen != g->geometry.snaplen)
        changes_later(later, "capture.snaplen");
    if (strcmp(g->conf->metrics_listen, old->metrics_listen) != 0)
        changes_later(later, "metrics.listen");
    guard_log_open(g);
    guard_uplink_reload(g, old);
    guard_never_reload(g);
    conf_free(old);
}

static void answer_client(struct guard *g, const struct ipc_loaded *l, json_t *later)
{
    if (g->reload_client == 0)
        return;
    json_t *a = json_pack("{s:b,s:i,s:i,s:f}", "ok", l->rc == SK_OK, "loaded", (int)l->loaded, "rejected",
                          (int)l->rejected, "seconds", l->parse_seconds + l->compile_seconds);
    json_object_set(a, "later", later);
    if (l->rc != SK_OK)
        json_object_set_new(a, "error", json_string(l->text[0] != '\0' ? l->text : sk_strerror(l->rc)));
    ipc_control_answer(g->control, g->reload_client, a);
    g->reload_client = 0;
}

/* What the engine says of itself goes to people and into JSON: plain text, plain numbers. */
static void make_plain(struct ipc_loaded *l)
{
    for (char *p = l->text; *p != '\0'; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    double *seconds[] = {&l->parse_seconds, &l->compile_seconds};
    for (int i = 0; i < 2; i++)
        if (!(*seconds[i] >= 0 && *seconds[i] < 1e9))
            *seconds[i] = 0;
}

static void load_failed(struct guard *g, const struct ipc_loaded *l, bool reload)
{
    sk_log(SK_LOG_ERROR, "loading failed: %s%s%s", sk_strerror(l->rc), l->text[0] != '\0' ? ": " : "", l->text);
    if (reload) {
        conf_free(g->next_conf);
        g->next_conf = NULL;
        g->home_stale = g->home_stale || g->home_reload;
        g->home_reload = false;
    }
    if (!g->have_loaded)
        guard_stop(g, "there are no rules to work with");
    else if (!g->child[GUARD_ENGINE].ready)
        guard_child_kill(g, GUARD_ENGINE, "cannot load what it had loaded before");
}

void guard_loaded(struct guard *g, const struct ipc_loaded *said)
{
    struct ipc_loaded l = *said;
    json_t *later = json_array();
    make_plain(&l);
    /* An engine that starts answers for its first load also when a reload has followed close behind. */
    bool reload = g->next_conf != NULL && l.generation == g->generation;
    guard_ledger_read(g);
    if (reload)
        settle_bundle(g, l.rc == SK_OK);
    if (l.rc == SK_OK) {
        g->loaded = l;
        g->have_loaded = true;
        sk_log(SK_LOG_INFO, "%u rules loaded, %u rejected, in %.2f s", l.loaded, l.rejected,
               l.parse_seconds + l.compile_seconds);
        if (l.loaded == 0)
            sk_log(SK_LOG_WARN, "no rules are loaded: nothing is looked for (rule-files in the configuration, or -S)");
        if (reload)
            adopt_conf(g, later);
        g->home_reload = g->home_reload && !reload;
    } else {
        load_failed(g, &l, reload);
    }
    if (reload)
        answer_client(g, &l, later);
    if (reload)
        guard_bundle_loaded(g, &l);
    json_decref(later);
    if (reload)
        sd_notifyf(0, "READY=1\nSTATUS=%u rules, %u workers", g->loaded.loaded, g->workers); /* ends RELOADING=1 */
}

void guard_reload_drop(struct guard *g, const char *why)
{
    struct ipc_loaded l = {.generation = g->generation, .rc = SK_EEND};
    if (g->next_conf == NULL)
        return;
    snprintf(l.text, sizeof(l.text), "%s", why);
    guard_loaded(g, &l);
}
