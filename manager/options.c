#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/escape.h"
#include "cli.h"
#include "place.h"

/* The letters are for options_parse alone: only -c is one on the command line. */
static const struct option longs[] = {
    {"config", required_argument, NULL, 'c'},
    {"set", required_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},
    {"kind", required_argument, NULL, 'k'},
    {"uses", required_argument, NULL, 'u'},
    {"for", required_argument, NULL, 'f'},
    {"tag", required_argument, NULL, 't'},
    {"role", required_argument, NULL, 'r'},
    {"note", required_argument, NULL, 'n'},
    {"name", required_argument, NULL, 'N'},
    {"state", required_argument, NULL, 'S'},
    {"target", required_argument, NULL, 'T'},
    {"agent", required_argument, NULL, 'a'},
    {"limit", required_argument, NULL, 'l'},
    {"reason", required_argument, NULL, 'R'},
    {"type", required_argument, NULL, 'y'},
    {"after", required_argument, NULL, 'A'},
    {"key", required_argument, NULL, 'K'},
    {"history", no_argument, NULL, 'H'},
    {"pem", no_argument, NULL, 'P'},
    {NULL, 0, NULL, 0},
};

static int add(const struct options *o, const char **list, unsigned *n, unsigned max)
{
    if (*n == max)
        return cli_usage(o->verb, "more than %u of one option", max);
    list[(*n)++] = optarg;
    return CLI_OK;
}

static int take(struct options *o, int c)
{
    switch (c) {
    case 'c': o->conf = optarg; break;
    case 's': return add(o, o->set, &o->nset, OPTIONS_SETS);
    case 't': return add(o, o->tag, &o->ntag, OPTIONS_NAMES);
    case 'N': return add(o, o->name, &o->nname, OPTIONS_NAMES);
    case 'j': o->json = true; break;
    case 'H': o->history = true; break;
    case 'P': o->pem = true; break;
    case 'k': o->kind = optarg; break;
    case 'u': o->uses = optarg; break;
    case 'f': o->duration = optarg; break;
    case 'r': o->role = optarg; break;
    case 'n': o->note = optarg; break;
    case 'S': o->state = optarg; break;
    case 'T': o->target = optarg; break;
    case 'a': o->agent = optarg; break;
    case 'l': o->limit = optarg; break;
    case 'R': o->reason = optarg; break;
    case 'y': o->type = optarg; break;
    case 'A': o->after = optarg; break;
    default: o->key = optarg; break;
    }
    return CLI_OK;
}

int options_parse(struct options *o, int argc, char **argv, const char *which, int min, int max)
{
    int c, index = 0;
    memset(o, 0, sizeof(*o));
    o->verb = argv[0];
    while ((c = getopt_long(argc, argv, ":c:", longs, &index)) != -1) {
        if (c == '?' || c == ':')
            return cli_bad_option(o->verb, argv, c);
        if (c != 'c' && c != 's' && strchr(which, c) == NULL)
            return cli_usage(o->verb, "option '--%s' is for other verbs", longs[index].name);
        int rc = take(o, c);
        if (rc != CLI_OK)
            return rc;
    }
    o->arg = argv + optind;
    o->narg = argc - optind;
    if (o->narg < min)
        return cli_usage(o->verb, "an argument is missing");
    if (max >= 0 && o->narg > max)
        return cli_usage(o->verb, "unexpected argument '%s'", o->arg[max]);
    unsigned limit;
    return options_limit(o, &limit); /* said before anything is opened */
}

int options_settings(struct options *o)
{
    int rc = settings_load(o->conf, &sk_diag_stderr, &o->settings);
    for (unsigned i = 0; rc == SK_OK && i < o->nset; i++)
        rc = settings_set(o->settings, o->set[i], &sk_diag_stderr);
    if (rc == SK_OK)
        rc = settings_check(o->settings, &sk_diag_stderr);
    if (rc == SK_ENOMEM)
        return cli_fail("out of memory");
    return rc == SK_OK ? CLI_OK : CLI_FAILED;
}

/* Who works here: the user, and behind sudo the one who called it. */
static void name_user(struct options *o)
{
    const struct passwd *p = getpwuid(getuid());
    const char *sudo = getuid() == 0 ? getenv("SUDO_USER") : NULL;
    char show[48];
    if (sudo != NULL && sudo[0] != '\0')
        snprintf(o->who, sizeof(o->who), "local:%s", sk_escape(show, sizeof(show), sk_span_str(sudo)));
    else if (p != NULL)
        snprintf(o->who, sizeof(o->who), "local:%s", sk_escape(show, sizeof(show), sk_span_str(p->pw_name)));
    else
        snprintf(o->who, sizeof(o->who), "local:%u", (unsigned)getuid());
}

const char *options_store_where(const struct settings *s, char *buf)
{
    if (s->store[0] != '\0')
        snprintf(buf, 4200, "%s", s->store);
    else
        snprintf(buf, 4200, "sqlite:%s/manager.db", s->state_dir);
    return buf;
}

int options_store(struct options *o)
{
    char where[4200], why[256];
    int rc = options_settings(o);
    if (rc != CLI_OK)
        return rc;
    name_user(o);
    if (place_become_owner(o->settings->state_dir) != SK_OK)
        return cli_fail("%s: %s%s", o->settings->state_dir, strerror(errno),
                        errno == ENOENT ? "; `sekisho-manager init` makes it" : "");
    if (store_open(options_store_where(o->settings, where), &o->store, why, sizeof(why)) != SK_OK)
        return cli_fail("the database does not open: %s", why);
    return CLI_OK;
}

int options_open(struct options *o, int argc, char **argv, const char *which, int min, int max)
{
    int rc = options_parse(o, argc, argv, which, min, max);
    return rc == CLI_OK ? options_store(o) : rc;
}

int options_close(struct options *o, int rc)
{
    store_close(o->store);
    settings_free(o->settings);
    o->store = NULL;
    o->settings = NULL;
    return rc;
}

int options_store_failed(const struct options *o)
{
    return cli_fail("the database failed: %s", store_error(o->store));
}

int options_limit(const struct options *o, unsigned *limit)
{
    *limit = LIST_LIMIT;
    if (o->limit == NULL)
        return CLI_OK;
    char *end;
    unsigned long n = strtoul(o->limit, &end, 10);
    if (o->limit[0] < '0' || o->limit[0] > '9' || *end != '\0' || n < 1 || n > LIST_MOST)
        return cli_usage(o->verb, "--limit is a number from 1 to %d, not '%s'", LIST_MOST, o->limit);
    *limit = (unsigned)n;
    return CLI_OK;
}

int options_prefix(const char *text, struct sk_prefix *out)
{
    char buf[SK_PREFIX_STRLEN];
    if (sk_prefix_parse(text, strlen(text), false, out) == SK_OK)
        return CLI_OK;
    if (sk_prefix_parse(text, strlen(text), true, out) != SK_OK)
        return cli_fail("not an address or network: '%s'", text);
    return cli_fail("'%s' has bits set behind its length: '%s' is the network", text, sk_prefix_format(out, buf));
}

int options_until(const char *text, bool never, int64_t now_ms, int64_t *until_ms)
{
    int64_t seconds;
    if (never && strcmp(text, "never") == 0) {
        *until_ms = STORE_FOREVER;
        return CLI_OK;
    }
    if (sk_duration_parse(text, &seconds) != SK_OK)
        return cli_fail("not a time from 1s to 3650d%s: '%s' (90s, 15m, 1h, 7d, 2w)", never ? ", or never" : "", text);
    *until_ms = now_ms + seconds * 1000;
    return CLI_OK;
}

int options_word(const struct options *o, const char *option, const char *text, const char *const *words, int *index)
{
    char all[96] = "";
    size_t n = 0;
    *index = 0;
    for (int i = 0; words[i] != NULL; i++) {
        if (text != NULL && strcmp(text, words[i]) == 0) {
            *index = i;
            return CLI_OK;
        }
        n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", n != 0 ? ", " : "", words[i]);
    }
    return text == NULL ? CLI_OK : cli_usage(o->verb, "%s is one of %s, not '%s'", option, all, text);
}

struct search {
    const char *host;
    struct store_agent *out;
    unsigned found;
};

static void by_host(void *arg, const struct store_agent *a)
{
    struct search *s = arg;
    if (a->state != STORE_AGENT_ACTIVE || strcmp(a->host, s->host) != 0)
        return;
    *s->out = *a;
    s->found++;
}

int options_agent(const struct options *o, const char *text, struct store_agent *out)
{
    struct search s = {.host = text, .out = out};
    char show[80];
    int rc = store_agent_get(o->store, text, out);
    if (rc == SK_OK)
        return CLI_OK;
    if (rc == SK_ENOENT)
        rc = store_agents(o->store, by_host, &s);
    if (rc != SK_OK)
        return options_store_failed(o);
    sk_escape(show, sizeof(show), sk_span_str(text));
    if (s.found == 0)
        return cli_fail("no agent has the ID or host name '%s'", show);
    return s.found == 1 ? CLI_OK : cli_fail("%u agents have the host name '%s': name one by its ID", s.found, show);
}

int64_t options_now(void)
{
    return sk_now_wall() / SK_NS_PER_MS;
}
