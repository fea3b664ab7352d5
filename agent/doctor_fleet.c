/* This host's place in a fleet: certificate, manager, the clocks of both, and what waits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "doctor.h"
#include "report/probe.h"
#include "show.h"

#define ASK_MS      5000
#define DAY         (86400 * SK_NS_PER_S)
#define SKEW_WARN_S 30
#define SKEW_FAIL_S 300

static void look_at_certificate(struct doctor *d, const struct probe *p)
{
    char left[32], until[40];
    int64_t now = sk_now_wall();
    sk_time_format(p->not_after, until);
    if (!p->key_fits)
        doctor_say(d, DOCTOR_FAIL, "certificate", "sekisho enroll --again",
                   "key.pem in %s is not its key, or others may read it", d->conf->manager.state_dir);
    else if (now < p->not_before)
        doctor_say(d, DOCTOR_FAIL, "certificate", "set the clock", "it is not valid yet: this host's clock is behind");
    else if (now >= p->not_after)
        doctor_say(d, DOCTOR_FAIL, "certificate",
                   "start the agent within seven days of that, else sekisho enroll --again", "%s ran out on %.10s",
                   p->agent, until);
    else if (now >= p->not_after - 3 * DAY)
        doctor_say(d, DOCTOR_WARN, "certificate", "start the agent: it renews it", "%s runs out in %s", p->agent,
                   sk_duration_format((p->not_after - now) / SK_NS_PER_S, left));
    else
        doctor_say(d, DOCTOR_OK, "certificate", NULL, "%s, for %s", p->agent,
                   sk_duration_format((p->not_after - now) / SK_NS_PER_S, left));
}

static void look_at_manager(struct doctor *d, const struct probe *p)
{
    const json_t *m = show_at(d->status, "manager");
    if (p->outcome == PROBE_UNTRUSTED)
        doctor_say(d, DOCTOR_FAIL, "manager", "sekisho enroll --again, with its CA",
                   "%s shows a certificate that is not trusted: %s", p->url, p->why);
    else if (p->outcome == PROBE_SILENT)
        doctor_say(d, DOCTOR_FAIL, "manager", "security groups, routes and names on the way; is it running?",
                   "%s cannot be reached: %s", p->url, p->why);
    else if (p->outcome == PROBE_SICK)
        doctor_say(d, DOCTOR_FAIL, "manager", "sekisho-manager status, on its host", "%s: %s", p->url, p->why);
    else if (strcmp(show_str(m, "state"), "refused") == 0)
        doctor_say(d, DOCTOR_FAIL, "manager", "sekisho enroll --again", "%s answers, and does not want this host: %s",
                   p->url, show_str(m, "failure"));
    else
        doctor_say(d, DOCTOR_OK, "manager", NULL, "%s answers%s%s", p->url, m != NULL ? "; the agent is " : "",
                   show_str(m, "state"));
}

/* Its clock is told in whole seconds: half of one is added. */
static void look_at_skew(struct doctor *d, const struct probe *p)
{
    if (p->date == 0)
        return;
    long long s = (long long)((p->asked - p->date - SK_NS_PER_S / 2) / SK_NS_PER_S), off = s < 0 ? -s : s;
    enum doctor_level level = off >= SKEW_FAIL_S ? DOCTOR_FAIL : off >= SKEW_WARN_S ? DOCTOR_WARN : DOCTOR_OK;
    if (level == DOCTOR_OK)
        doctor_say(d, level, "skew", NULL, "the manager's clock and this one agree to within %lld s", off + 1);
    else
        doctor_say(d, level, "skew", "let chrony keep both right", "this host's clock is %lld s %s the manager's", off,
                   s < 0 ? "behind" : "before");
}

static void look_at_spool(struct doctor *d)
{
    char path[4400], used[24], most[24];
    struct stat st;
    snprintf(path, sizeof(path), "%.4200s/spool.db", d->conf->manager.state_dir);
    uint64_t size = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    const json_t *m = show_at(d->status, "manager");
    long long lost = show_num(m, "lost") + show_num(m, "events_lost"), waiting = show_num(m, "spooled");
    show_bytes((long long)size, used);
    show_bytes((long long)d->conf->manager.spool_size, most);
    if (lost > 0)
        doctor_say(d, DOCTOR_WARN, "spool", "a larger manager.spool-size, or a manager that answers",
                   "%lld items were lost before the manager had them", lost);
    else if (size > d->conf->manager.spool_size / 10 * 8)
        doctor_say(d, DOCTOR_WARN, "spool", "see to the manager; the oldest events go when it is full",
                   "%s of %s are taken, %lld items wait", used, most, waiting);
    else
        doctor_say(d, DOCTOR_OK, "spool", NULL, "%s of %s are taken, %lld items wait", used, most, waiting);
}

void doctor_fleet(struct doctor *d)
{
    struct probe *p = calloc(1, sizeof(*p));
    int rc = p != NULL ? probe_manager(d->conf->manager.state_dir, ASK_MS, p) : SK_ENOMEM;
    if (rc == SK_ENOENT) {
        doctor_say(d, DOCTOR_OK, "manager", NULL, "this host has not enrolled with one");
    } else if (rc != SK_OK) {
        doctor_say(d, DOCTOR_FAIL, "manager", "sekisho enroll --again", "%s",
                   p != NULL && p->why[0] != '\0' ? p->why : sk_strerror(rc));
    } else {
        if (d->conf->manager.enabled == CONF_NO)
            doctor_say(d, DOCTOR_WARN, "manager", "manager.enabled: auto",
                       "this host has enrolled, and does not connect");
        look_at_certificate(d, p);
        look_at_manager(d, p);
        look_at_skew(d, p);
        look_at_spool(d);
    }
    free(p);
}
