/* The agent itself: configuration, rules, whether it runs and works, limits of its process. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "commands.h"
#include "doctor.h"
#include "role.h"
#include "show.h"

void doctor_conf(struct doctor *d)
{
    if (geteuid() != 0)
        doctor_say(d, DOCTOR_WARN, "privileges", "run it as root", "much cannot be looked at by this user");
    if (d->conf_bad)
        doctor_say(d, DOCTOR_FAIL, "configuration", "correct what is named above; `sekisho check` shows it again",
                   "%s cannot be used; going on with the defaults", d->conf_path);
    else if (access(d->conf_path, F_OK) != 0)
        doctor_say(d, DOCTOR_OK, "configuration", NULL, "%s is not there: all defaults", d->conf_path);
    else
        doctor_say(d, DOCTOR_OK, "configuration", NULL, "%s", d->conf_path);
}

/* --- rules --- */

static void say_rules(struct doctor *d, long long loaded, long long rejected)
{
    if (loaded == 0)
        doctor_say(d, DOCTOR_FAIL, "rules",
                   "install sekisho-rules, or name files in rule-files; `sekisho check` says more",
                   "none is loaded, %lld rejected", rejected);
    else if (rejected > 0)
        doctor_say(d, DOCTOR_WARN, "rules", "`sekisho check` names each, with file, line and column",
                   "%lld loaded, %lld rejected", loaded, rejected);
    else
        doctor_say(d, DOCTOR_OK, "rules", NULL, "%lld loaded", loaded);
}

/* Those that the running agent has, or those that it would load. */
void doctor_rules(struct doctor *d)
{
    struct engine_rule_stats st = {0};
    const json_t *r = show_at(d->status, "rules");
    if (r != NULL) {
        say_rules(d, show_num(r, "loaded"), show_num(r, "rejected"));
        return;
    }
    struct findings f = {.quiet_unsupported = true, .quiet_notes = true};
    int rc = command_load_rules(d->conf, NULL, 0, &f, &st);
    if (rc != SK_OK)
        doctor_say(d, DOCTOR_FAIL, "rules", "`sekisho check` says more", "they cannot be loaded: %s", sk_strerror(rc));
    else
        say_rules(d, st.loaded, st.rejected);
}

/* --- does it run? --- */

static void look_at_role(struct doctor *d, const json_t *role)
{
    const char *name = show_str(role, "name"), *state = show_str(role, "state");
    long long restarts = show_num(role, "restarts");
    if (strcmp(state, "working") != 0)
        doctor_say(d, DOCTOR_FAIL, "agent", "journalctl -u sekisho tells why", "the %s is %s", name, state);
    else if (restarts > 0)
        doctor_say(d, DOCTOR_WARN, "agent", "journalctl -u sekisho tells why", "the %s was started anew %lld times",
                   name, restarts);
}

static void look_at_losses(struct doctor *d)
{
    static const char *const lost[] = {"lost_ring_full", "lost_write_errors", "lost_guard"};
    const json_t *events = show_at(d->status, "events");
    long long n = 0;
    for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++)
        n += show_num(events, lost[i]);
    if (n > 0)
        doctor_say(d, DOCTOR_WARN, "events", "a disk that is full or slow: `sekisho status`",
                   "%lld were lost since the start", n);
    if (json_is_true(show_at(show_at(d->status, "blocks"), "degraded")))
        doctor_say(d, DOCTOR_FAIL, "blocks", "journalctl -u sekisho tells why",
                   "the kernel does not take blocks at present");
}

/* What holds the roles beside users and system calls, as those that run say, or as the kernel would let them. */
void doctor_sandbox(struct doctor *d)
{
    size_t i;
    json_t *role;
    const char *open = NULL;
    json_array_foreach(show_at(d->status, "roles"), i, role) if (json_is_false(show_at(role, "files_confined")) &&
                                                                 strcmp(show_str(role, "state"), "working") == 0) open =
        show_str(role, "name");
    if (role_files_version() == 0)
        doctor_say(d, DOCTOR_WARN, "sandbox", "a kernel with Landlock: 5.13, with landlock in its lsm= if it has one",
                   "users, modes and the unit alone say which files the uplink can open");
    else if (open != NULL)
        doctor_say(d, DOCTOR_WARN, "sandbox",
                   "journalctl -u sekisho tells why; is there a drop-in with SystemCallFilter=?",
                   "the kernel has Landlock, but the %s runs without it", open);
    else
        doctor_say(d, DOCTOR_OK, "sandbox", NULL, "the roles are confined, their files too (Landlock %d)",
                   role_files_version());
}

void doctor_agent(struct doctor *d)
{
    char up[32];
    size_t i;
    json_t *role;
    if (d->status == NULL) {
        doctor_say(d, DOCTOR_WARN, "agent", "systemctl enable --now sekisho, if this host is to be protected",
                   "it does not run, or does not answer at %s", d->conf->guard.control_socket);
        return;
    }
    unsigned before = d->n[DOCTOR_WARN] + d->n[DOCTOR_FAIL];
    json_array_foreach(show_at(d->status, "roles"), i, role) look_at_role(d, role);
    look_at_losses(d);
    if (show_restart_due(d->status))
        doctor_say(d, DOCTOR_WARN, "restart",
                   "`sekisho check --restart`: would it start? Then systemctl restart sekisho",
                   "version %s runs, and another program is installed (this is %s)", show_str(d->status, "version"),
                   SK_VERSION);
    if (d->n[DOCTOR_WARN] + d->n[DOCTOR_FAIL] == before)
        doctor_say(d, DOCTOR_OK, "agent", NULL, "version %s, runs for %s, in %s mode%s", show_str(d->status, "version"),
                   sk_duration_format(show_num(d->status, "uptime"), up), show_str(d->status, "mode"),
                   json_is_true(show_at(d->status, "dry_run")) ? ", blocks nobody (decide.dry-run)" : "");
}

/* --- limits --- */

/* "Max open files  1024  524288  files" of the guard; of ourselves when none runs. */
static long long open_files(const struct doctor *d, bool *of_guard)
{
    char path[64] = "/proc/self/limits", line[256];
    long long soft, hard = -1;
    long long pid = show_num(json_array_get(show_at(d->status, "roles"), 0), "pid");
    *of_guard = pid > 0;
    if (*of_guard)
        snprintf(path, sizeof(path), "/proc/%lld/limits", pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "Max open files %lld %lld", &soft, &hard) == 2)
            break;
    if (f != NULL)
        fclose(f);
    return hard;
}

void doctor_limits(struct doctor *d)
{
    bool of_guard;
    long long n = open_files(d, &of_guard);
    const char *whose = of_guard ? "the agent" : "this shell";
    if (n < 0)
        doctor_say(d, DOCTOR_WARN, "limits", NULL, "the limits of %s cannot be read", whose);
    else if (n < ROLE_FILES_MAX)
        doctor_say(d, DOCTOR_WARN, "limits", "LimitNOFILE=65536 in a drop-in of sekisho.service, or ulimit -Hn",
                   "%s may open %lld files, of %d that many interfaces and workers need", whose, n, ROLE_FILES_MAX);
    else
        doctor_say(d, DOCTOR_OK, "limits", NULL, "%s may open %lld files", whose, n);
}
