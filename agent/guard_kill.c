/*
 * What a packet filter cannot do: to end the one connection that carried an attack, also when it is a proxy's, and to
 * tell the engine who is blocked, so that it knows such a client when he comes through a proxy again.
 */
#include "base/clock.h"
#include "base/log.h"
#include <unistd.h>
#include "guard.h"

static int open_kernel(struct guard *g)
{
    int rc = sockkill_diag_open(&g->diag);
    if (rc == SK_OK)
        return rc;
    sk_log(SK_LOG_WARN, "connections cannot be destroyed: %s (sock_diag); blocks are set all the same",
           sk_strerror(rc));
    return rc == SK_ENOMEM ? rc : SK_OK;
}

int guard_kill_start(struct guard *g)
{
    int rc = open_kernel(g);
    if (rc == SK_OK)
        rc = ipc_blocked_create(IPC_BLOCKED_SLOTS, &g->blocked_fd, &g->blocked);
    if (rc != SK_OK) {
        sk_log(SK_LOG_ERROR, "cannot make the set of blocked clients: %s", sk_strerror(rc));
        return rc;
    }
    struct sockkill_setup s = {
        .ops = g->diag != NULL ? &sockkill_kernel_ops : NULL, .ctx = g->diag, .never = g->never, .table = g->table};
    g->kill = sockkill_create(&s);
    return g->kill != NULL ? SK_OK : SK_ENOMEM;
}

void guard_kill_stop(struct guard *g)
{
    sockkill_free(g->kill);
    sockkill_diag_close(g->diag);
    ipc_blocked_free(g->blocked);
    if (g->blocked_fd >= 0)
        close(g->blocked_fd);
}

/* ---- connections ---- */

void guard_kill_ask(struct guard *g, const struct decide_request *q, const struct block *b)
{
    const struct conf_decide *d = &g->conf->decide;
    if (!q->kill || !d->kill_sockets || g->dry_run || g->conf->mode != CONF_DETECT)
        return;
    if (b != NULL || q->reason == DECIDE_BY_AGAIN)
        sockkill_ask(g->kill, q);
}

void guard_kill_run(struct guard *g)
{
    uint64_t failed = sockkill_stats(g->kill)->failed;
    sockkill_run(g->kill, sk_now_wall());
    const struct sockkill_stats *s = sockkill_stats(g->kill);
    if (s->failed == failed || g->diag == NULL || g->kill_unsupported_said)
        return;
    int64_t now = sk_now_mono();
    if (s->unsupported)
        sk_log(SK_LOG_WARN, "this kernel destroys no sockets (CONFIG_INET_DIAG_DESTROY): blocks are set all the same");
    else if (now >= g->say_kill)
        sk_log(SK_LOG_WARN, "a connection could not be destroyed: %s", sk_strerror(s->last_error));
    g->kill_unsupported_said = s->unsupported;
    g->say_kill = now >= g->say_kill ? now + GUARD_SAY_EVERY : g->say_kill;
}

/* ---- who is blocked ---- */

static void enter(struct guard *g, const struct block *b)
{
    (void)!ipc_blocked_put(g->blocked, &b->target, b->expires); /* what does not fit is counted there */
}

void guard_blocked_fill(struct guard *g)
{
    ipc_blocked_clear(g->blocked);
    for (size_t i = 0; i < block_table_count(g->table) && !g->dry_run; i++)
        enter(g, block_table_at(g->table, i));
}

void guard_blocked_event(struct guard *g, enum enforcer_event ev, const struct block *b)
{
    switch (ev) {
    case ENFORCER_ADDED:
    case ENFORCER_CHANGED:
    case ENFORCER_ADOPTED:
        if (!g->dry_run)
            enter(g, b);
        break;
    case ENFORCER_EXPIRED:
    case ENFORCER_UNBLOCKED:
    case ENFORCER_RECALLED:
    case ENFORCER_LIFTED: ipc_blocked_remove(g->blocked, &b->target); break;
    }
}
