/* The configuration of a command: file, then --home, --vars and --set over it. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "inputs.h"

#define DEFAULT_CONF "/etc/sekisho/sekisho.yaml"
#define NOBODY       65534

static int load(const char *path, const struct sk_diag_sink *sink, struct conf **out)
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

struct conf *command_conf(const char *path, const char *home, const char *const *sets, unsigned nsets, const char *vars,
                          struct findings *f)
{
    struct sk_diag_sink sink = findings_sink(f);
    struct conf *conf = NULL;
    int rc = load(path, &sink, &conf);
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
