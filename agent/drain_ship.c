/* What waits goes to the manager, and the manager is asked to retire this agent. */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "cli.h"
#include "commands.h"
#include "drain.h"
#include "fetch/fetch.h"
#include "ipc/control.h"
#include "report/leave.h"

#define STATUS_TIMEOUT_S 15
#define LOOK_MS          200
#define SETTLE_MS        600 /* an event is in the spool so long after it happened */

typedef void leave_fn(const struct leave_options *o, struct leave_result *r);

/* --- from here: as the uplink's user, whose folder it is --- */

static bool become(uid_t uid, gid_t gid)
{
    return setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0;
}

static void run_child(const struct conf *c, int64_t until, leave_fn *fn, int fd)
{
    struct leave_result r = {.outcome = LEAVE_FAILED, .why = "the uplink's user cannot be taken on"};
    const struct leave_options o = {
        .dir = c->manager.state_dir, .spool_size = c->manager.spool_size, .version = SK_VERSION, .until = until};
    uid_t uid;
    gid_t gid;
    command_uplink_user(c, &uid, &gid);
    if (become(uid, gid))
        fn(&o, &r);
    bool told = write(fd, &r, sizeof(r)) == (ssize_t)sizeof(r); /* less than PIPE_BUF: whole */
    _exit(told ? 0 : 1);
}

static void in_child(const struct conf *c, int64_t until, leave_fn *fn, struct leave_result *r)
{
    int fd[2], status;
    *r = (struct leave_result){.outcome = LEAVE_FAILED};
    fetch_thread_end(); /* connections are not shared */
    fflush(NULL);
    if (pipe(fd) != 0) {
        snprintf(r->why, sizeof(r->why), "%s", strerror(errno));
        return;
    }
    pid_t pid = fork();
    if (pid == 0)
        run_child(c, until, fn, fd[1]);
    close(fd[1]);
    if (pid < 0 || read(fd[0], r, sizeof(*r)) != (ssize_t)sizeof(*r)) {
        *r = (struct leave_result){.outcome = LEAVE_FAILED};
        snprintf(r->why, sizeof(r->why), "%s", pid < 0 ? strerror(errno) : "the process for it has died");
    }
    close(fd[0]);
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
}

/* --- through the running agent --- */

struct told {
    bool uplink; /* the agent has one */
    bool fresh;  /* since `began` */
    uint64_t spooled, sent;
    char state[16], failure[512];
};

static void read_told(const json_t *answer, int64_t began, struct told *t)
{
    json_t *m = json_object_get(json_object_get(answer, "status"), "manager");
    const char *state = json_string_value(json_object_get(m, "state"));
    const char *failure = json_string_value(json_object_get(m, "failure"));
    json_t *ago = json_object_get(m, "told_ms_ago");
    snprintf(t->state, sizeof(t->state), "%s", state != NULL ? state : "none");
    snprintf(t->failure, sizeof(t->failure), "%s", failure != NULL ? failure : "the manager has not answered yet");
    t->uplink = strcmp(t->state, "none") != 0;
    t->spooled = (uint64_t)json_integer_value(json_object_get(m, "spooled"));
    t->sent = (uint64_t)json_integer_value(json_object_get(m, "sent"));
    t->fresh = strcmp(t->state, "starting") != 0 && json_is_integer(ago) &&
               sk_now_mono() - json_integer_value(ago) * SK_NS_PER_MS >= began + SETTLE_MS * SK_NS_PER_MS;
}

/* SK_ENOENT: no agent runs. */
static int ask_agent(const struct conf *c, int64_t began, struct told *t)
{
    json_t *answer = NULL, *req = json_pack("{s:s}", "verb", "status");
    int rc = ipc_control_call(c->guard.control_socket, req, STATUS_TIMEOUT_S, &answer);
    json_decref(req);
    if (rc == SK_OK)
        read_told(answer, began, t);
    json_decref(answer);
    return rc;
}

static int say_left(uint64_t left, const char *why)
{
    return cli_fail("%" PRIu64 " items are not told, and wait on this host's disk: %s", left, why);
}

/* What waits now; what happens later is not waited for. The agent sends by itself. */
static int watch_agent(const struct conf *c, int64_t began, struct told *t, int64_t until)
{
    uint64_t goal = 0, first = 0;
    bool have_goal = false;
    for (;;) {
        if (t->fresh && !have_goal) {
            have_goal = true;
            first = t->spooled;
            goal = t->sent + t->spooled;
        }
        if (have_goal && (t->spooled == 0 || t->sent >= goal)) {
            printf("The manager has been told everything (%" PRIu64 " items waited).\n", first);
            return CLI_OK;
        }
        if (strcmp(t->state, "refused") == 0 && t->fresh)
            return say_left(t->spooled, t->failure);
        if (sk_now_mono() >= until)
            return say_left(t->spooled, t->failure);
        (void)poll(NULL, 0, LOOK_MS);
        if (ask_agent(c, began, t) != SK_OK)
            return cli_fail("the agent has ended meanwhile: run it again");
    }
}

static int ship_here(const struct conf *c, int64_t until)
{
    struct leave_result r;
    in_child(c, until, leave_ship, &r);
    switch (r.outcome) {
    case LEAVE_DONE:
        printf("The manager has been told everything (%" PRIu64 " items waited).\n", r.sent);
        return CLI_OK;
    case LEAVE_NOT_ENROLLED: printf("This host has not enrolled: there is nobody to tell.\n"); return CLI_OK;
    case LEAVE_FAILED: return cli_fail("%s", r.why);
    default: return say_left(r.left, r.why);
    }
}

int drain_ship(const struct conf *c, int64_t until)
{
    struct told t = {.uplink = false};
    int64_t began = sk_now_mono();
    int rc = ask_agent(c, began, &t);
    if (rc == SK_OK && t.uplink)
        return watch_agent(c, began, &t, until);
    if (rc != SK_OK && rc != SK_ENOENT)
        return cli_fail("%s: the agent runs and does not answer: %s", c->guard.control_socket, sk_strerror(rc));
    return ship_here(c, until);
}

int drain_retire(const struct conf *c, int64_t until)
{
    struct leave_result r;
    in_child(c, until, leave_retire, &r);
    switch (r.outcome) {
    case LEAVE_DONE: printf("The manager has retired %s.\n", r.agent); return CLI_OK;
    case LEAVE_WAS_DONE: printf("The manager has retired %s before.\n", r.agent); return CLI_OK;
    case LEAVE_NOT_ENROLLED: return CLI_OK;
    case LEAVE_LATE: return cli_fail("the manager does not retire this host in time: %s", r.why);
    default: return cli_fail("the manager does not retire this host: %s", r.why);
    }
}
