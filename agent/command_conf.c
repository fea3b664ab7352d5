/* The configuration of a command: file, then --home, --vars and --set over it. */
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "control_args.h"
#include "inputs.h"
#include "instance_conf.h"
#include "ipc/control.h"

#define DEFAULT_CONF     "/etc/sekisho/sekisho.yaml"
#define NOBODY           65534
#define RELOAD_TIMEOUT_S 600
#define RELOAD_TRIES     60

int command_conf_file(const char *path, const struct sk_diag_sink *sink, struct conf **out)
{
    if (path)
        return conf_load_file(path, sink, out);
    size_t len;
    char *text = inputs_read_file(DEFAULT_CONF, CONF_MAX_TEXT, &len);
    if (!text)
        return errno == ENOENT ? conf_default(out) : conf_load_file(DEFAULT_CONF, sink, out);
    int rc = conf_load(DEFAULT_CONF, text, len, sink, out);
    free(text);
    return rc;
}

static void say_nothing(void *arg, const struct sk_diag *d)
{
    (void)arg, (void)d;
}

struct conf *command_conf_quiet(const char *path)
{
    struct sk_diag_sink quiet = {.fn = say_nothing};
    struct conf *c = NULL;
    if (command_conf_file(path, &quiet, &c) != SK_OK && conf_default(&c) != SK_OK)
        return NULL;
    return c;
}

json_t *command_ask_status(const struct conf *c)
{
    json_t *answer = NULL, *req = json_pack("{s:s}", "verb", "status"), *status = NULL;
    if (ipc_control_call(c->guard.control_socket, req, CONTROL_TIMEOUT_S, &answer) == SK_OK)
        status = json_incref(json_object_get(answer, "status"));
    json_decref(req);
    json_decref(answer);
    return status;
}

/* --home 10.0.0.0/8,192.0.2.1: a list as rules write it. */
static int set_home(struct conf *conf, const char *home, const struct sk_diag_sink *sink)
{
    char *list = NULL;
    if (asprintf(&list, "%s%s%s", home[0] == '[' ? "" : "[", home, home[0] == '[' ? "" : "]") < 0)
        return SK_ENOMEM;
    bool any = strcmp(home, "any") == 0;
    int rc = conf_set(conf, "vars.address-groups.HOME_NET", any ? home : list, sink);
    free(list);
    return rc;
}

static int load_vars(struct conf *conf, const char *path, const struct sk_diag_sink *sink)
{
    size_t len;
    char *text = inputs_read_file(path, CONF_MAX_TEXT, &len);
    if (!text) {
        sk_diag(sink, SK_DIAG_ERROR, path, 0, 0, "cannot read: %s", strerror(errno));
        return SK_EIO;
    }
    int rc = conf_load_vars(conf, path, text, len, sink);
    free(text);
    return rc;
}

static int load_instance(struct conf *conf, const char *path, const struct sk_diag_sink *sink)
{
    struct instance_conf *s = calloc(1, sizeof(*s));
    int rc = s != NULL ? instance_conf_read(path, sink, s) : SK_ENOMEM;
    if (rc == SK_OK)
        rc = instance_conf_apply(s, conf, sink);
    if (s != NULL)
        instance_conf_clear(s);
    free(s);
    return rc;
}

struct conf *command_conf(const char *path, const char *home, const char *const *sets, unsigned nsets, const char *vars,
                          struct findings *f)
{
    struct sk_diag_sink sink = findings_sink(f);
    struct conf *conf = NULL;
    int rc = command_conf_file(path, &sink, &conf);
    if (rc == SK_OK)
        rc = load_instance(conf, path, &sink);
    if (rc == SK_OK && vars)
        rc = load_vars(conf, vars, &sink);
    for (unsigned i = 0; rc == SK_OK && i < nsets; i++)
        rc = conf_set_arg(conf, sets[i], &sink);
    if (rc == SK_OK && home)
        rc = set_home(conf, home, &sink);
    if (rc == SK_OK)
        rc = conf_check(conf, &sink);
    if (rc == SK_OK)
        return conf;
    if (!f->errors)
        fprintf(stderr, "sekisho: configuration: %s\n", sk_strerror(rc));
    conf_free(conf);
    return NULL;
}

void command_uplink_user(const struct conf *c, uid_t *uid, gid_t *gid)
{
    const struct passwd *pw = getpwnam(c->guard.reporter_user);
    bool fit = pw != NULL && pw->pw_uid != 0;
    *uid = fit ? pw->pw_uid : NOBODY;
    *gid = fit ? pw->pw_gid : NOBODY;
}

/* One that has just been started is still loading its rules, and does not load them twice at once. */
static int reload(const char *socket, json_t **answer)
{
    int rc = SK_EAGAIN;
    json_t *req = json_pack("{s:s}", "verb", "reload");
    for (int i = 0; i < RELOAD_TRIES; i++) {
        rc = ipc_control_call(socket, req, RELOAD_TIMEOUT_S, answer);
        if (rc != SK_OK || !json_is_true(json_object_get(*answer, "busy")))
            break;
        (void)poll(NULL, 0, 1000);
        if (i + 1 < RELOAD_TRIES)
            json_decref(*answer);
    }
    json_decref(req);
    return rc;
}

void command_tell_agent(const struct conf *c)
{
    json_t *answer = NULL;
    int rc = reload(c->guard.control_socket, &answer);
    const char *why = json_string_value(json_object_get(answer, "error"));
    if (rc == SK_OK && json_is_true(json_object_get(answer, "ok")))
        puts("The running agent has taken it up.");
    else if (rc == SK_ENOENT)
        puts("The agent is not running; it takes it up when it starts.");
    else
        fprintf(stderr, "sekisho: the running agent has not taken it up (%s): run `sekisho reload`\n",
                rc != SK_OK   ? sk_strerror(rc)
                : why != NULL ? why
                              : "it refuses to reload");
    json_decref(answer);
}
