/* `sekisho configure`: settings of this one instance, from its tags, the environment and the command line. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/strbuf.h"
#include "cli.h"
#include "cloud.h"
#include "commands.h"
#include "instance_conf.h"
#include "pki/pki.h"

#define TAG_PREFIX "sekisho:"
#define ENV_PREFIX "SEKISHO_SET_"
#define TAGS_PATH  "/latest/meta-data/tags/instance"
#define TEXT_MAX   4096

extern char **environ;

/* What may be set so: whoever may tag instances may set these. Not: whom it spares, whom it believes, its folders,
 * users and rules. */
static const char *const allowed[] = {
    "capture.interfaces",
    "capture.ring-size",
    "capture.workers",
    "decide.block-duration",
    "decide.block-on-drop",
    "decide.dry-run",
    "decide.flood.action",
    "decide.flood.host-rate",
    "decide.flood.prefix-rate",
    "decide.kill-sockets",
    "decide.max-block-duration",
    "decide.score.enabled",
    "decide.score.threshold",
    "manager.fleet-blocks",
    "manager.forward",
    "manager.policy",
    "manager.rules",
    "manager.spool-size",
    "stats.interval",
    "stream.memcap",
    "vars.address-groups.HOME_NET",
};
#define NALLOWED (sizeof(allowed) / sizeof(allowed[0]))

struct configure_args {
    const char *conf;
    struct cloud_args cloud;
    bool tags, environment, clear, list;
};

static bool may_be_set(const char *text, size_t len)
{
    for (size_t i = 0; i < NALLOWED; i++)
        if (strlen(allowed[i]) == len && memcmp(allowed[i], text, len) == 0)
            return true;
    return false;
}

static bool is_plain(const char *s)
{
    for (; *s != '\0'; s++)
        if (iscntrl((unsigned char)*s))
            return false;
    return true;
}

static int add(struct instance_conf *s, const char *origin, const char *text)
{
    size_t len = strcspn(text, "=");
    if (text[len] != '=' || len == 0)
        return cli_fail("%s: '%.*s' is not KEY=VALUE", origin, 80, text);
    if (!may_be_set(text, len))
        return cli_fail("%s: %.*s may not be set so: `sekisho configure --list` shows what may; the rest is for the "
                        "configuration file",
                        origin, (int)(len < 80 ? len : 80), text);
    if (!is_plain(text))
        return cli_fail("%s: control characters are in it", origin);
    return instance_conf_add(s, text, origin, 0) == SK_OK ? CLI_OK : cli_fail("%s: no room for it", origin);
}

static int add_pair(struct instance_conf *s, const char *origin, const char *key, const char *value)
{
    char text[TEXT_MAX];
    if ((size_t)snprintf(text, sizeof(text), "%s=%s", key, value) >= sizeof(text))
        return cli_fail("%s: that is too long", origin);
    return add(s, origin, text);
}

/* --- the environment: decide.dry-run is SEKISHO_SET_DECIDE_DRY_RUN --- */

static bool fits_variable(const char *key, const char *name, size_t len)
{
    if (strlen(key) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((isalnum((unsigned char)key[i]) ? toupper((unsigned char)key[i]) : '_') != name[i])
            return false;
    return true;
}

static int add_variable(struct instance_conf *s, const char *variable)
{
    char origin[160];
    const char *name = variable + strlen(ENV_PREFIX);
    size_t len = strcspn(name, "=");
    snprintf(origin, sizeof(origin), "environment " ENV_PREFIX "%.*s", (int)(len < 100 ? len : 100), name);
    for (size_t i = 0; i < NALLOWED; i++)
        if (fits_variable(allowed[i], name, len))
            return add_pair(s, origin, allowed[i], name + len + 1);
    return cli_fail("%s: there is no such key, or it may not be set so: `sekisho configure --list`", origin);
}

static int from_environment(struct instance_conf *s)
{
    int rc = CLI_OK;
    for (char **e = environ; *e != NULL; e++)
        if (strncmp(*e, ENV_PREFIX, strlen(ENV_PREFIX)) == 0 && add_variable(s, *e) != CLI_OK)
            rc = CLI_FAILED;
    return rc;
}

/* --- tags --- */

static int add_tag(struct instance_conf *s, struct aws *aws, const char *tag)
{
    char path[512], origin[300], why[512], *value;
    const char *key = tag + strlen(TAG_PREFIX);
    snprintf(origin, sizeof(origin), "tag %.256s", tag);
    if (strlen(tag) > 256 ||
        tag[strspn(tag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:._-")] != '\0')
        return cli_fail("%s: no key has such characters", origin);
    snprintf(path, sizeof(path), TAGS_PATH "/%s", tag);
    if (aws_imds(aws, path, &value, why, sizeof(why)) != SK_OK)
        return cli_fail("%s: %s", origin, why);
    int rc = add_pair(s, origin, key, value);
    free(value);
    return rc;
}

static int from_tags(struct instance_conf *s, struct aws *aws)
{
    char why[512], *list;
    int rc = aws_imds(aws, TAGS_PATH, &list, why, sizeof(why));
    if (rc == SK_ENOENT)
        return cli_fail("this instance's tags are not in its metadata: aws ec2 modify-instance-metadata-options "
                        "--instance-metadata-tags enabled");
    if (rc != SK_OK)
        return cli_fail("%s", why);
    rc = CLI_OK;
    char *rest = list;
    for (char *tag; (tag = strsep(&rest, "\r\n")) != NULL;)
        if (strncmp(tag, TAG_PREFIX, strlen(TAG_PREFIX)) == 0 && add_tag(s, aws, tag) != CLI_OK)
            rc = CLI_FAILED;
    free(list);
    return rc;
}

/* --- what is done with them --- */

/* Over the file, as the agent would do it. */
static int check(const struct configure_args *a, const struct instance_conf *s)
{
    struct findings f = {0};
    struct sk_diag_sink sink = findings_sink(&f);
    struct conf *c = NULL;
    int rc = command_conf_file(a->conf, &sink, &c);
    for (unsigned i = 0; c != NULL && i < s->n; i++)
        if (conf_set_line(c, s->v[i].origin, 0, s->v[i].text, &sink) != SK_OK)
            rc = SK_EINVAL;
    if (rc == SK_OK)
        rc = conf_check(c, &sink);
    conf_free(c);
    return rc == SK_OK ? CLI_OK : cli_fail("%s is left as it was", s->path);
}

static int write_file(const struct instance_conf *s)
{
    struct sk_strbuf b;
    if (s->n == 0)
        return unlink(s->path) == 0 || errno == ENOENT ? CLI_OK : cli_fail("%s: %s", s->path, strerror(errno));
    sk_strbuf_init(&b, INSTANCE_CONF_SIZE);
    sk_strbuf_puts(
        &b,
        "# Settings of this instance, over those of the configuration file. `sekisho configure` writes this anew.\n\n");
    for (unsigned i = 0; i < s->n; i++)
        sk_strbuf_printf(&b, "# %s\n%s\n", s->v[i].origin, s->v[i].text);
    int rc = CLI_OK;
    if (b.full)
        rc = cli_fail("%s: the settings are too long", s->path);
    else if (pki_secret_write(s->path, b.p, true) != SK_OK)
        rc = cli_fail("%s: %s", s->path, strerror(errno));
    sk_strbuf_free(&b);
    return rc;
}

static void show(const struct instance_conf *s)
{
    if (s->n == 0)
        printf("This instance has no settings of its own (%s).\n", s->path);
    for (unsigned i = 0; i < s->n; i++)
        printf("%s  (%s)\n", s->v[i].text, s->v[i].origin);
}

static int show_present(const struct configure_args *a, struct instance_conf *s)
{
    struct findings f = {0};
    struct sk_diag_sink sink = findings_sink(&f);
    if (instance_conf_read(a->conf, &sink, s) != SK_OK)
        return CLI_FAILED;
    show(s);
    return CLI_OK;
}

static int gather(const struct configure_args *a, char **words, int n, struct instance_conf *s)
{
    struct aws *aws = NULL;
    int rc = a->tags ? cloud_open("configure", &a->cloud, &aws) : CLI_OK;
    if (rc == CLI_OK && a->tags)
        rc = from_tags(s, aws);
    aws_close(aws);
    if (rc == CLI_OK && a->environment)
        rc = from_environment(s);
    for (int i = 0; i < n && rc == CLI_OK; i++)
        rc = add(s, "command line", words[i]);
    return rc == CLI_OK ? check(a, s) : rc;
}

static int configure(const struct configure_args *a, char **words, int n, struct instance_conf *s)
{
    if (!a->tags && !a->environment && !a->clear && n == 0)
        return show_present(a, s);
    if (geteuid() != 0)
        return cli_fail("configuring needs root: try sudo");
    instance_conf_path(a->conf, s->path);
    int rc = gather(a, words, n, s);
    if (rc == CLI_OK)
        rc = write_file(s);
    if (rc != CLI_OK)
        return rc;
    show(s);
    struct findings f = {0};
    struct conf *c = command_conf(a->conf, NULL, NULL, 0, NULL, &f);
    if (c != NULL)
        command_tell_agent(c);
    conf_free(c);
    return c != NULL ? CLI_OK : CLI_FAILED;
}

static int parse(struct configure_args *a, int argc, char **argv)
{
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
                                          {"from-tags", no_argument, NULL, 't'},
                                          {"from-environment", no_argument, NULL, 'e'},
                                          {"clear", no_argument, NULL, 'x'},
                                          {"list", no_argument, NULL, 'l'},
                                          {"imds", required_argument, NULL, 'I'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, ":c:", longs, NULL)) != -1;)
        switch (c) {
        case 'c': a->conf = optarg; break;
        case 't': a->tags = true; break;
        case 'e': a->environment = true; break;
        case 'x': a->clear = true; break;
        case 'l': a->list = true; break;
        case 'I': a->cloud.imds = optarg; break;
        default: return cli_bad_option("configure", argv, c);
        }
    if (a->clear && (a->tags || a->environment || optind < argc))
        return cli_usage("configure", "--clear goes with nothing else");
    return CLI_OK;
}

int cmd_configure(int argc, char **argv)
{
    struct configure_args a = {0};
    int rc = parse(&a, argc, argv);
    if (rc != CLI_OK)
        return rc;
    sk_log_setup("sekisho", SK_LOG_WARN, 0);
    if (a.list) {
        for (size_t i = 0; i < NALLOWED; i++)
            puts(allowed[i]);
        return CLI_OK;
    }
    struct instance_conf *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return cli_fail("out of memory");
    rc = configure(&a, argv + optind, argc - optind, s);
    instance_conf_clear(s);
    free(s);
    return rc;
}
