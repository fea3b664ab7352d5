/*
 * Metrics: the guard opens the socket and says what status says; who speaks HTTP with strangers is a role without
 * privileges (role_exporter.c).
 */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "guard.h"
#include "ipc/blob.h"
#include "ipc/listen.h"
#include "metrics.h"

#define BACKLOG    16
#define RETRY      (10 * SK_NS_PER_S) /* of a socket that could not be opened */
#define ASK_WINDOW SK_NS_PER_S
#define ASK_MAX    10 /* within the window; an exporter asks once a second */

static int open_socket(struct guard_metrics *m)
{
    struct conf_listen l;
    const struct group *gr = getgrnam("sekisho");
    if (conf_listen_parse(m->listen, &l) != SK_OK)
        return SK_EINVAL; /* conf_check has said so */
    if (l.path == NULL)
        return ipc_listen_port(&l.addr, l.port, BACKLOG, &m->listen_fd);
    guard_make_folder(l.path, 0755);
    int rc = ipc_listen_path(l.path, gr != NULL ? gr->gr_gid : (gid_t)-1, BACKLOG, &m->listen_fd);
    m->is_path = rc == SK_OK;
    errno = rc == SK_EEXIST ? EADDRINUSE : errno;
    return rc;
}

/* A host is better off without metrics than without the agent: it starts, and the socket is tried again. */
void guard_metrics_tick(struct guard *g)
{
    struct guard_metrics *m = &g->metrics;
    int64_t now = sk_now_mono();
    if (m->listen == NULL || m->listen_fd >= 0 || now < m->retry)
        return;
    if (open_socket(m) == SK_OK) {
        sk_log(SK_LOG_INFO, "metrics are served on %s", m->listen);
        guard_child_start(g, GUARD_EXPORTER);
        return;
    }
    if (m->retry == 0)
        sk_log(SK_LOG_ERROR, "metrics cannot be served on %s: %s; trying again", m->listen, strerror(errno));
    m->retry = now + RETRY;
}

/* False: out of memory. */
bool guard_metrics_start(struct guard *g)
{
    struct guard_metrics *m = &g->metrics;
    m->listen_fd = m->answer_fd = -1;
    if (g->conf->metrics_listen[0] == '\0')
        return true;
    m->listen = strdup(g->conf->metrics_listen); /* the configuration may change; the socket does not */
    return m->listen != NULL;
}

bool guard_metrics_wanted(const struct guard *g)
{
    return g->metrics.listen != NULL;
}

static void forget_answer(struct guard_metrics *m)
{
    if (m->answer_fd >= 0)
        close(m->answer_fd);
    m->answer_fd = -1;
}

static void make_answer(struct guard *g)
{
    struct guard_metrics *m = &g->metrics;
    forget_answer(m);
    json_t *status = guard_status_json(g);
    char *text = json_dumps(status, JSON_COMPACT);
    size_t len = text != NULL ? strlen(text) : 0;
    if (len > 0 && len <= METRICS_MAX && ipc_blob_make("sekisho-metrics", text, len, &m->answer_fd) == SK_OK)
        m->answered = sk_now_mono();
    free(text);
    json_decref(status);
}

bool guard_metrics_ask(struct guard *g)
{
    struct guard_metrics *m = &g->metrics;
    const struct ipc_empty e = {0};
    int64_t now = sk_now_mono();
    if (now - m->window >= ASK_WINDOW) {
        m->window = now;
        m->asked = 0;
    }
    if (++m->asked > ASK_MAX)
        return false;
    if (m->answer_fd < 0 || now - m->answered >= ASK_WINDOW)
        make_answer(g);
    if (m->answer_fd >= 0)
        (void)!ipc_send(g->child[GUARD_EXPORTER].chan, IPC_ANSWER, &e, &m->answer_fd, 1); /* full: it asks again */
    return true;
}

void guard_metrics_stop(struct guard *g)
{
    struct guard_metrics *m = &g->metrics;
    if (m->listen == NULL)
        return;
    if (m->is_path)
        (void)unlink(m->listen);
    if (m->listen_fd >= 0)
        close(m->listen_fd);
    forget_answer(m);
    free(m->listen);
    m->listen = NULL;
}
