/* `sekisho enroll`: this host becomes one of a fleet. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "cli.h"
#include "commands.h"
#include "ipc/control.h"
#include "report/enrol.h"

#define IMDS             "http://169.254.169.254"
#define TAGS_MAX         8
#define RELOAD_TIMEOUT_S 600
#define NOBODY           65534

struct enroll_args {
    const char *conf, *sets[16], *imds;
    unsigned nsets;
    const char *token_file;
    json_t *tags;
    char token[ENROL_TOKEN_MAX + 2];
    bool have_token;
    struct enrol_options o;
};

/* --- options --- */

static int take_token(struct enroll_args *a, const char *text)
{
    size_t len = strlen(text);
    if (len > ENROL_TOKEN_MAX)
        return cli_fail("that is too long for a token");
    memcpy(a->token, text, len + 1);
    a->have_token = true;
    return CLI_OK;
}

/* Its first line. */
static int read_token(struct enroll_args *a, FILE *f, const char *name)
{
    bool got = f != NULL && fgets(a->token, sizeof(a->token), f) != NULL;
    if (f != NULL && f != stdin)
        fclose(f);
    if (!got)
        return cli_fail("%s: %s", name, f == NULL ? strerror(errno) : "no token is in it");
    a->token[strcspn(a->token, " \t\r\n")] = '\0';
    a->have_token = true;
    return CLI_OK;
}

/* Of the option, a file, or the environment; "-" is standard input. On a command line everybody can read it. */
static int find_token(struct enroll_args *a)
{
    const char *env = getenv("SEKISHO_TOKEN");
    if (a->have_token && strcmp(a->token, "-") == 0)
        return read_token(a, stdin, "standard input");
    if (a->have_token)
        return CLI_OK;
    if (a->token_file != NULL)
        return read_token(a, fopen(a->token_file, "re"), a->token_file);
    if (env != NULL && env[0] != '\0')
        return take_token(a, env);
    return cli_usage("enroll", "a token is wanted: --token-file FILE, --token -, or the environment's SEKISHO_TOKEN");
}

/* What stands on the command line is not shown by ps(1) for longer than it must. */
static void hide(char *arg)
{
    if (strcmp(arg, "-") != 0)
        memset(arg, '*', strlen(arg));
}

static int take_tag(struct enroll_args *a, const char *text)
{
    char key[64];
    size_t len = strcspn(text, "=");
    if (text[len] != '=' || len == 0 || len >= sizeof(key) || json_object_size(a->tags) == TAGS_MAX)
        return cli_usage("enroll", "--tag wants KEY=VALUE, %d times at most", TAGS_MAX);
    memcpy(key, text, len);
    key[len] = '\0';
    if (json_object_set_new(a->tags, key, json_string(text + len + 1)) != 0)
        return cli_usage("enroll", "--tag: that is no text");
    return CLI_OK;
}

static int take_option(struct enroll_args *a, int c, char *arg)
{
    int rc = CLI_OK;
    switch (c) {
    case 'c': a->conf = arg; break;
    case 'm': a->o.manager = arg; break;
    case 't':
        rc = take_token(a, arg);
        hide(arg);
        break;
    case 'f': a->token_file = arg; break;
    case 'C': a->o.ca_file = arg; break;
    case 'F': a->o.ca_sha256 = arg; break;
    case 'i': a->o.identity = ENROL_IDENTITY; break;
    case 'I': a->imds = arg; break;
    case 'g': rc = take_tag(a, arg); break;
    case 'a': a->o.again = true; break;
    default:
        if (a->nsets == sizeof(a->sets) / sizeof(a->sets[0]))
            return cli_usage("enroll", "too many --set");
        a->sets[a->nsets++] = arg;
        break;
    }
    return rc;
}

static int parse(struct enroll_args *a, int argc, char **argv)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'}, {"manager", required_argument, NULL, 'm'},
        {"token", required_argument, NULL, 't'},  {"token-file", required_argument, NULL, 'f'},
        {"ca", required_argument, NULL, 'C'},     {"ca-fingerprint", required_argument, NULL, 'F'},
        {"identity", no_argument, NULL, 'i'},     {"imds", required_argument, NULL, 'I'},
        {"tag", required_argument, NULL, 'g'},    {"again", no_argument, NULL, 'a'},
        {"set", required_argument, NULL, 's'},    {NULL, 0, NULL, 0},
    };
    int c, rc = CLI_OK;
    while (rc == CLI_OK && (c = getopt_long(argc, argv, ":c:", longs, NULL)) != -1)
        rc = c == '?' || c == ':' ? cli_bad_option("enroll", argv, c) : take_option(a, c, optarg);
    if (rc == CLI_OK && optind != argc)
        rc = cli_usage("enroll", "too many arguments");
    if (rc == CLI_OK && a->o.manager == NULL)
        rc = cli_usage("enroll", "--manager URL is wanted");
    if (rc == CLI_OK && a->o.ca_file != NULL && a->o.ca_sha256 != NULL)
        rc = cli_usage("enroll", "--ca and --ca-fingerprint do not go together");
    return rc;
}

/* --- */

static bool on_ec2(void)
{
    char vendor[64] = "";
    FILE *f = fopen("/sys/devices/virtual/dmi/id/sys_vendor", "re");
    if (f == NULL)
        return false;
    bool read = fgets(vendor, sizeof(vendor), f) != NULL;
    fclose(f);
    return read && strncmp(vendor, "Amazon EC2", 10) == 0;
}

/* As the guard chooses it. */
static void choose_user(const char *user, struct enrol_options *o)
{
    const struct passwd *pw = getpwnam(user);
    o->uid = pw != NULL && pw->pw_uid != 0 ? pw->pw_uid : NOBODY;
    o->gid = pw != NULL && pw->pw_uid != 0 ? pw->pw_gid : NOBODY;
}

/* A running agent takes it up at once; one that does not run needs nothing. */
static void tell_agent(const struct conf *c)
{
    json_t *answer = NULL, *req = json_pack("{s:s}", "verb", "reload");
    int rc = ipc_control_call(c->guard.control_socket, req, RELOAD_TIMEOUT_S, &answer);
    json_decref(req);
    if (rc == SK_OK && json_is_true(json_object_get(answer, "ok")))
        puts("The running agent has taken it up.");
    else if (rc == SK_ENOENT)
        puts("The agent is not running; it connects when it starts.");
    else
        fprintf(stderr, "sekisho: the running agent has not taken it up (%s): run `sekisho reload`\n",
                rc == SK_OK ? "it refuses to reload" : sk_strerror(rc));
    json_decref(answer);
}

static int enroll(struct enroll_args *a, const struct conf *c)
{
    char agent[32], why[768], *tags = NULL;
    if (geteuid() != 0)
        return cli_fail("enrolling needs root: try sudo");
    choose_user(c->guard.reporter_user, &a->o);
    if (json_object_size(a->tags) > 0)
        tags = json_dumps(a->tags, JSON_COMPACT);
    a->o.tags = tags;
    a->o.token = a->token;
    a->o.dir = c->manager.state_dir;
    a->o.guard_dir = c->guard.state_dir;
    a->o.version = SK_VERSION;
    a->o.imds = a->imds != NULL ? a->imds : IMDS;
    if (a->o.identity == ENROL_NO_IDENTITY && (a->imds != NULL || on_ec2()))
        a->o.identity = ENROL_IF_THERE;
    int rc = enrol(&a->o, agent, why, sizeof(why));
    free(tags);
    if (rc != SK_OK)
        return cli_fail("%s", why[0] != '\0' ? why : sk_strerror(rc));
    printf("Enrolled as %s with %s.\n", agent, a->o.manager);
    if (c->manager.enabled == CONF_NO)
        fprintf(stderr, "sekisho: manager.enabled is no in the configuration: the agent does not connect\n");
    else
        tell_agent(c);
    return CLI_OK;
}

int cmd_enroll(int argc, char **argv)
{
    struct enroll_args a = {.tags = json_object()};
    struct conf *c = NULL;
    sk_log_setup("sekisho", SK_LOG_WARN, 0);
    int rc = parse(&a, argc, argv);
    if (rc == CLI_OK)
        rc = find_token(&a);
    if (rc == CLI_OK) {
        struct findings f = {0};
        c = command_conf(a.conf, NULL, a.sets, a.nsets, NULL, &f);
        rc = c != NULL ? enroll(&a, c) : CLI_FAILED;
    }
    conf_free(c);
    json_decref(a.tags);
    OPENSSL_cleanse(a.token, sizeof(a.token));
    return rc;
}
