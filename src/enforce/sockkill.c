/* Which connections may be destroyed at all; how, is in sockkill_diag.c. */
#include "enforce/sockkill.h"

#include <netinet/in.h>
#include <stdlib.h>
#include "base/rate.h"

struct ask {
    struct sk_prefix target;
    struct sockkill_conn conn;
    bool tcp;
};

struct sockkill {
    struct sockkill_setup s;
    struct sockkill_stats stats;
    struct sk_rate rate;
    unsigned n;
    struct ask queue[SOCKKILL_QUEUE];
};

struct sockkill *sockkill_create(const struct sockkill_setup *s)
{
    struct sockkill *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->s = *s;
    k->stats.unsupported = !s->ops;
    return k;
}

void sockkill_free(struct sockkill *k)
{
    free(k);
}

/* The packet went from src to dst; whose side the server is on tells its direction. */
void sockkill_ask(struct sockkill *k, const struct decide_request *q)
{
    if (k->n == SOCKKILL_QUEUE) {
        k->stats.too_fast++;
        return;
    }
    struct ask *a = &k->queue[k->n++];
    a->target = q->target;
    a->tcp = q->proto == IPPROTO_TCP;
    if (q->to_server)
        a->conn = (struct sockkill_conn){.local = q->dst, .peer = q->src, .lport = q->dport, .pport = q->sport};
    else
        a->conn = (struct sockkill_conn){.local = q->src, .peer = q->dst, .lport = q->sport, .pport = q->dport};
}

static bool may_kill(const struct sockkill *k, const struct ask *a, int64_t now)
{
    if (!a->tcp || a->conn.lport == 0 || a->conn.pport == 0 || a->target.len > 128)
        return false;
    const struct block *b = block_table_covering(k->s.table, &a->target);
    if (!b || b->expires <= now || !never_has(k->s.never, NEVER_OWN, &a->conn.local))
        return false;
    return sk_prefix_contains(&a->target, &a->conn.peer) || never_has(k->s.never, NEVER_PROXY, &a->conn.peer);
}

static void destroy(struct sockkill *k, const struct sockkill_conn *c)
{
    int rc = k->stats.unsupported ? SK_ENOTSUP : k->s.ops->destroy(k->s.ctx, c);
    if (rc == SK_OK) {
        k->stats.killed++;
    } else if (rc == SK_ENOENT) {
        k->stats.gone++;
    } else {
        k->stats.failed++;
        k->stats.last_error = rc;
        k->stats.unsupported = rc == SK_ENOTSUP;
    }
}

void sockkill_run(struct sockkill *k, int64_t now)
{
    for (unsigned i = 0; i < k->n; i++) {
        if (!sk_rate_take(&k->rate, SOCKKILL_RATE, SOCKKILL_RATE, now))
            k->stats.too_fast++;
        else if (!may_kill(k, &k->queue[i], now))
            k->stats.refused++;
        else
            destroy(k, &k->queue[i].conn);
    }
    k->n = 0;
}

const struct sockkill_stats *sockkill_stats(const struct sockkill *k)
{
    return &k->stats;
}
