/* `sekisho doctor`: looks at everything that the agent needs, one line each, and says what helps. */
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "cli.h"
#include "commands.h"
#include "control_args.h"
#include "doctor.h"

struct doctor_args {
    const char *conf, *sets[16];
    unsigned nsets;
    bool json;
};

static const char *const levels[] = {"ok", "warn", "FAIL"};

void doctor_say(struct doctor *d, enum doctor_level level, const char *check, const char *remedy, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    d->n[level]++;
    json_t *o = json_pack("{s:s,s:s,s:s}", "check", check, "level", level == DOCTOR_FAIL ? "fail" : levels[level],
                          "text", text);
    if (remedy != NULL)
        json_object_set_new(o, "remedy", json_string(remedy));
    json_array_append_new(d->checks, o);
    if (!d->json)
        printf("%-4s  %-13s %s%s%s\n", levels[level], check, text, remedy != NULL ? ": " : "",
               remedy != NULL ? remedy : "");
}

static int parse(struct doctor_args *a, int argc, char **argv)
{
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"set", required_argument, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, ":c:", longs, NULL)) != -1;) {
        if (c == '?' || c == ':')
            return cli_bad_option("doctor", argv, c);
        if (c == 'c')
            a->conf = optarg;
        else if (c == 'j')
            a->json = true;
        else if (a->nsets == sizeof(a->sets) / sizeof(a->sets[0]))
            return cli_usage("doctor", "too many --set");
        else
            a->sets[a->nsets++] = optarg;
    }
    return optind == argc ? CLI_OK : cli_usage("doctor", "too many arguments");
}

static void look(struct doctor *d)
{
    doctor_conf(d);
    doctor_rules(d);
    doctor_agent(d);
    doctor_sandbox(d);
    doctor_kernel(d);
    doctor_interfaces(d);
    doctor_limits(d);
    doctor_memory(d);
    doctor_disk(d);
    doctor_clock(d);
    doctor_fleet(d);
}

static void show_sum(const struct doctor *d)
{
    json_t *o;
    if (!d->json) {
        printf("%u ok, %u warn, %u FAIL\n", d->n[DOCTOR_OK], d->n[DOCTOR_WARN], d->n[DOCTOR_FAIL]);
        return;
    }
    o = json_pack("{s:O,s:i,s:i,s:i}", "checks", d->checks, "ok", (int)d->n[DOCTOR_OK], "warn", (int)d->n[DOCTOR_WARN],
                  "fail", (int)d->n[DOCTOR_FAIL]);
    control_print_json(o);
    json_decref(o);
}

int cmd_doctor(int argc, char **argv)
{
    struct doctor_args a = {0};
    struct findings f = {0};
    struct conf *c = NULL;
    int rc = parse(&a, argc, argv);
    if (rc != CLI_OK)
        return rc;
    sk_log_setup("sekisho", SK_LOG_ERROR, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct doctor d = {.json = a.json, .checks = json_array(), .conf_path = a.conf != NULL ? a.conf : CLI_CONF_PATH};
    c = command_conf(a.conf, NULL, a.sets, a.nsets, NULL, &f);
    d.conf_bad = c == NULL;
    if ((c == NULL && conf_default(&c) != SK_OK) || d.checks == NULL)
        return cli_fail("out of memory");
    d.conf = c;
    d.status = command_ask_status(c);
    look(&d);
    show_sum(&d);
    json_decref(d.status);
    json_decref(d.checks);
    conf_free(c);
    return d.n[DOCTOR_FAIL] > 0 ? CLI_FAILED : CLI_OK;
}
