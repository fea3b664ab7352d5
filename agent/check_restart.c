/* `sekisho check --restart`: would this program start in place of the agent that runs? */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli.h"
#include "commands.h"
#include "guard.h"
#include "ipc/control.h"
#include "show.h"

#define WORDS_MAX (64u << 10) /* bytes of its command line */

/* The agent that answers; 0: none does. */
static long running_agent(const char *conf_path)
{
    struct conf *c = command_conf_quiet(conf_path);
    json_t *status;
    if (c == NULL)
        return 0;
    status = command_ask_status(c);
    long pid = (long)show_num(json_array_get(show_at(status, "roles"), 0), "pid");
    json_decref(status);
    conf_free(c);
    return pid;
}

/* Its words, each ended by NUL; NULL: they cannot be read, or it is no agent. */
static char *words_of(long pid, size_t *len)
{
    static const char run[] = "run";
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/cmdline", pid);
    char *text = calloc(1, WORDS_MAX + 1), *verb = text;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = text != NULL && fd >= 0 ? read(fd, text, WORDS_MAX) : -1;
    if (fd >= 0)
        close(fd);
    if (n > 0)
        verb = memchr(text, '\0', (size_t)n);
    if (n <= 0 || verb == NULL || strcmp(verb + 1, run) != 0) {
        free(text);
        return NULL;
    }
    *len = (size_t)n;
    return text;
}

/* As `run` reads them; relative paths begin where it began. */
static int options_of(char *text, size_t len, long pid, struct guard_options *opt)
{
    char *argv[4 * GUARD_ARGS_MAX + 2], path[64];
    int argc = 0;
    for (size_t at = 0; at < len && argc < 4 * GUARD_ARGS_MAX; at += strlen(text + at) + 1)
        argv[argc++] = text + at;
    argv[argc] = NULL;
    snprintf(path, sizeof(path), "/proc/%ld/cwd", pid);
    if (chdir(path) != 0)
        return cli_fail("the agent's folder cannot be entered (%s): run it as root", path);
    return run_options(argc - 1, argv + 1, opt);
}

static int judge(const struct guard_options *opt)
{
    struct findings f = {.quiet_unsupported = true, .quiet_notes = true};
    struct sk_diag_sink sink = findings_sink(&f);
    struct engine_rule_stats st = {0};
    int rc = guard_would_start(opt, &sink, &st);
    if (rc != SK_OK)
        return cli_fail("version " SK_VERSION " would not start: %s", sk_strerror(rc));
    printf("version " SK_VERSION " would start: %u rules loaded, %u rejected\n", st.loaded, st.rejected);
    return CLI_OK;
}

int check_restart(const char *pid_text, const char *conf_path, const char *const *rules, unsigned nrules,
                  const char *const *sets, unsigned nsets)
{
    static struct guard_options opt;
    char *end = NULL, *text = NULL;
    size_t len = 0;
    long pid = pid_text != NULL ? strtol(pid_text, &end, 10) : running_agent(conf_path);
    if (pid_text != NULL && (pid <= 0 || *end != '\0'))
        return cli_usage("check", "not the number of a process: '%s'", pid_text);
    opt = (struct guard_options){.conf_path = conf_path};
    for (; opt.nrules < nrules && opt.nrules < GUARD_ARGS_MAX; opt.nrules++)
        opt.rules[opt.nrules] = rules[opt.nrules];
    for (; opt.nsets < nsets && opt.nsets < GUARD_ARGS_MAX; opt.nsets++)
        opt.sets[opt.nsets] = sets[opt.nsets];
    if (pid > 0) {
        text = words_of(pid, &len);
        if (text == NULL)
            return cli_fail("process %ld is no `sekisho run`", pid);
        int rc = options_of(text, len, pid, &opt);
        if (rc != CLI_OK) {
            free(text);
            return rc;
        }
    }
    int rc = judge(&opt);
    free(text);
    return rc;
}
