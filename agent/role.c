#include "role.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"

static int failed(const char *what)
{
    sk_log(SK_LOG_ERROR, "%s: %s", what, strerror(errno));
    return SK_EIO;
}

static int become(uid_t uid, gid_t gid)
{
    if (geteuid() == uid)
        return SK_OK; /* an unprivileged guard, for tests: there is nothing to give up */
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return failed("changing user");
    return SK_OK;
}

/* As root, who alone may: none of them could come back, not even with a program that somebody has left lying about. */
static int empty_bounding_set(void)
{
    capng_get_caps_process();
    if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
        return SK_OK; /* no_new_privs holds as well */
    capng_clear(CAPNG_SELECT_BOUNDS);
    return capng_apply(CAPNG_SELECT_BOUNDS) == 0 ? SK_OK : failed("emptying the bounding set");
}

static int drop_capabilities(void)
{
    if (geteuid() == 0)
        return SK_OK;
    capng_clear(CAPNG_SELECT_BOTH);
    if (capng_apply(CAPNG_SELECT_CAPS) != 0)
        return failed("dropping capabilities");
    return SK_OK;
}

static void limit(int resource, rlim_t n)
{
    struct rlimit r = {n, n};
    (void)setrlimit(resource, &r); /* can only lower; a failure leaves the guard's limit */
}

/* Dies with the guard. Set behind the change of user, which clears it; a guard that died before is noticed here. */
static int tie_to_guard(pid_t guard)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return failed("PR_SET_PDEATHSIG");
    if (getppid() != guard)
        return SK_EEND;
    return SK_OK;
}

int role_enter(enum role_kind kind, int argc, char **argv, bool *confined)
{
    static const struct {
        const char *log, *process;
    } names[] = {[ROLE_ENGINE] = {"sekisho engine", "sekisho-engine"},
                 [ROLE_REPORTER] = {"sekisho reporter", "sekisho-report"},
                 [ROLE_EXPORTER] = {"sekisho exporter", "sekisho-export"},
                 [ROLE_UPLINK] = {"sekisho uplink", "sekisho-uplink"}};
    sk_log_setup(names[kind].log, SK_LOG_INFO, getenv("JOURNAL_STREAM") != NULL);
    if (argc != 5) {
        sk_log(SK_LOG_ERROR, "this verb is for sekisho run itself");
        return SK_EINVAL;
    }
    (void)prctl(PR_SET_NAME, names[kind].process);
    if (kind != ROLE_ENGINE)
        role_unhurried();
    int rc = empty_bounding_set();
    if (rc == SK_OK)
        rc = become((uid_t)strtoul(argv[1], NULL, 10), (gid_t)strtoul(argv[2], NULL, 10));
    if (rc == SK_OK)
        rc = drop_capabilities();
    if (rc == SK_OK)
        rc = tie_to_guard((pid_t)strtol(argv[3], NULL, 10));
    if (rc != SK_OK)
        return rc;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0)
        return failed("prctl");
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, ROLE_FILES_MAX);
    umask(077);
    *confined = role_files_enter(kind, argv[4]);
    return sandbox_enter(kind);
}
