/* From a request of the engine to an element in the kernel. Requests are taken as if an enemy had written them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "enforce/discover.h"
#include "event/event.h"
#include "guard.h"

#define HISTORY_KEEP     (90 * INT64_C(86400) * SK_NS_PER_S)
#define PRUNE_EVERY      (3600 * SK_NS_PER_S)
#define NEW_BLOCKS_BURST 5000 /* from rules, at once */

static const enum event_block_action action_of[] = {
    [ENFORCER_ADDED] = EVENT_BLOCK_SET,       [ENFORCER_CHANGED] = EVENT_BLOCK_SET,
    [ENFORCER_EXPIRED] = EVENT_BLOCK_EXPIRED, [ENFORCER_UNBLOCKED] = EVENT_BLOCK_REMOVED,
    [ENFORCER_LIFTED] = EVENT_BLOCK_REMOVED,  [ENFORCER_ADOPTED] = EVENT_BLOCK_SET,
};

static void send_event(struct guard *g, const struct ipc_event *e)
{
    const struct guard_child *c = &g->child[GUARD_REPORTER];
    if (c->chan < 0 || ipc_send(c->chan, IPC_EVENT, e, NULL, 0) != SK_OK)
        g->events_lost++;
}

/* A line a block, as long as somebody can read them: events tell of each, and status counts. */
static void say_blocked(struct guard *g, const struct block *b, int64_t now)
{
    char buf[SK_PREFIX_STRLEN], span[32];
    if (++g->blocked_lines > GUARD_SAY_BLOCKS)
        return;
    sk_log(SK_LOG_INFO, "blocked %s for %s: %s (%s)", sk_prefix_format(&b->target, buf),
           sk_duration_format((b->expires - now + SK_NS_PER_S - 1) / SK_NS_PER_S, span), b->msg, b->id);
}

static void say_blocked_rest(struct guard *g)
{
    int64_t now = sk_now_mono();
    if (now < g->say_blocked)
        return;
    g->say_blocked = now + GUARD_SAY_EVERY;
    if (g->blocked_lines > GUARD_SAY_BLOCKS)
        sk_log(SK_LOG_INFO, "blocked %u more within %d s", g->blocked_lines - GUARD_SAY_BLOCKS,
               (int)(GUARD_SAY_EVERY / SK_NS_PER_S));
    g->blocked_lines = 0;
}

static void on_block_event(void *arg, enum enforcer_event ev, const struct block *b, int64_t now)
{
    struct guard *g = (struct guard *)arg;
    struct ipc_event e = {0};
    struct event_builder eb;
    struct event_rec *r = event_begin(&eb, e.rec, sizeof(e.rec), EVENT_BLOCK);
    r->ts = now;
    r->flow_id = b->flow_id;
    r->has = EVENT_HAS_BLOCK;
    r->alert.sid = b->sid;
    r->alert.gid = b->gid;
    r->block.action = action_of[ev];
    r->block.target = b->target.addr;
    r->block.plen = b->target.len;
    r->block.expires = b->expires;
    event_add_str(&eb, EVENT_I_BLOCK_ID, b->id);
    event_add_str(&eb, EVENT_I_BLOCK_REASON, b->msg);
    e.len = event_end(&eb);
    send_event(g, &e);
    if (ev == ENFORCER_ADDED)
        say_blocked(g, b, now);
}

static void add_static(struct guard *g)
{
    for (uint32_t i = 0; i < g->conf->never.n; i++)
        (void)!never_add_static(g->never, NEVER_STATIC, &g->conf->never.v[i], "configuration");
}

/* Until the next success often, and said once: whom to spare is the one thing that must be known. */
static void discover_failed(struct guard *g)
{
    g->next_discover = sk_now_mono() + SK_NS_PER_S;
    if (g->discover_failures++ == 0)
        sk_log(SK_LOG_ERROR, "cannot find out this host's addresses, gateways and resolvers: %s; trying again",
               never_complete(g->never) ? "those found before stay protected" : "nothing is blocked until that works");
}

void guard_block_discover(struct guard *g)
{
    bool changed = false;
    size_t before = never_count(g->never);
    g->next_discover = sk_now_mono() + DISCOVER_PERIOD_S * SK_NS_PER_S;
    add_static(g); /* a reload may have brought some; what is there already is ignored */
    bool more = never_count(g->never) != before;
    if (never_discover(g->never, DISCOVER_RESOLV_CONF, NULL, NULL, &changed) != SK_OK)
        discover_failed(g);
    else
        g->discover_failures = 0;
    if ((changed || more) && g->enforcer != NULL) {
        size_t n = enforcer_never_changed(g->enforcer, sk_now_wall());
        if (n > 0)
            sk_log(SK_LOG_WARN, "%zu blocks lifted: their targets are on the never-list now", n);
        (void)!enforcer_flush(g->enforcer, sk_now_wall());
    }
}

/* Two guards would undo each other's work. The kernel drops the lock with the process, however that ends. */
int guard_block_lock(struct guard *g)
{
    const char *dir = g->conf->guard.state_dir;
    struct stat st;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        sk_log(SK_LOG_ERROR, "cannot make %s: %s", dir, strerror(errno));
        return SK_EIO;
    }
    g->lock_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g->lock_fd < 0 || fstat(g->lock_fd, &st) != 0) {
        sk_log(SK_LOG_ERROR, "cannot open %s: %s", dir, strerror(errno));
        return SK_EIO;
    }
    if (flock(g->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        sk_log(SK_LOG_ERROR, "sekisho is running already (it holds %s)", dir);
        return SK_EEXIST;
    }
    if (st.st_mode & 0022)
        sk_log(SK_LOG_WARN, "others may write to %s: whoever can change the journal decides who is blocked", dir);
    return SK_OK;
}

static int open_journal(struct guard *g)
{
    char path[4096];
    bool moved = false;
    if (snprintf(path, sizeof(path), "%s/blocks.db", g->conf->guard.state_dir) >= (int)sizeof(path))
        return SK_EINVAL;
    int rc = journal_open(path, &g->journal, &moved);
    if (rc != SK_OK)
        sk_log(SK_LOG_ERROR, "cannot open the journal %s: %s", path, sk_strerror(rc));
    if (moved)
        sk_log(SK_LOG_WARN, "the journal was damaged: set aside as %s.corrupt-*, and begun anew", path);
    return rc;
}

static int open_kernel(struct guard *g)
{
    int rc = nft_open(&g->nft);
    if (rc == SK_OK)
        rc = nft_monitor_open(g->nft, &g->monitor);
    if (rc != SK_OK)
        sk_log(SK_LOG_ERROR, "cannot reach nftables: %s (needs CAP_NET_ADMIN and a kernel with nf_tables)",
               sk_strerror(rc));
    return rc;
}

static int make_enforcer(struct guard *g)
{
    g->limits = (struct policy_limits){.max_seconds = g->conf->decide.max_block_duration / SK_NS_PER_S,
                                       .max_blocks = g->conf->decide.max_blocks,
                                       .rate = g->conf->decide.brake.rate,
                                       .burst = NEW_BLOCKS_BURST};
    if (g->limits.burst < g->limits.rate)
        g->limits.burst = g->limits.rate;
    g->table = block_table_create(g->conf->decide.max_blocks);
    g->never = never_create();
    if (g->table == NULL || g->never == NULL)
        return SK_ENOMEM;
    guard_block_discover(g);
    struct enforcer_setup s = {.ops = &nft_kernel_ops,
                               .ops_ctx = g->nft,
                               .table = g->table,
                               .journal = g->journal,
                               .never = g->never,
                               .limits = &g->limits,
                               .hook = on_block_event,
                               .hook_arg = g};
    g->enforcer = enforcer_create(&s);
    return g->enforcer != NULL ? SK_OK : SK_ENOMEM;
}

int guard_block_start(struct guard *g)
{
    int rc = open_kernel(g);
    if (rc == SK_OK)
        rc = open_journal(g);
    if (rc == SK_OK)
        rc = make_enforcer(g);
    if (rc != SK_OK)
        return rc;
    rc = enforcer_restore(g->enforcer, sk_now_wall());
    if (rc != SK_OK) {
        sk_log(SK_LOG_ERROR, "table inet %s cannot be set up: %s", NFT_TABLE_NAME, nft_error(g->nft));
        return rc;
    }
    if (block_table_count(g->table) > 0)
        sk_log(SK_LOG_INFO, "%zu blocks from before are in force", block_table_count(g->table));
    return SK_OK;
}

/* Whoever can cause requests must not be able to fill the log with them; status counts every one. */
static bool may_say(int64_t *next)
{
    int64_t now = sk_now_mono();
    if (now < *next)
        return false;
    *next = now + GUARD_SAY_EVERY;
    return true;
}

static void take_request(struct guard *g, const struct decide_request *q)
{
    struct enforce_outcome out;
    char buf[SK_PREFIX_STRLEN];
    enforcer_request(g->enforcer, q, BLOCK_RULE, sk_now_wall(), &out);
    if ((out.result == ENFORCE_REFUSED_RATE || out.result == ENFORCE_REFUSED_FULL) && may_say(&g->say_brake))
        sk_log(SK_LOG_WARN, "not blocked: %s and perhaps others: %s", sk_prefix_format(&q->target, buf),
               out.result == ENFORCE_REFUSED_RATE ? "too many new blocks in a short time"
                                                  : "decide.max-blocks are in force");
    if (out.result == ENFORCE_REFUSED_NEVER && may_say(&g->say_never))
        sk_log(SK_LOG_WARN, "not blocked: %s is on the never-list (%s: %s)", sk_prefix_format(&q->target, buf),
               never_kind_name(out.never->kind), out.never->text);
}

void guard_block_receive(struct guard *g)
{
    static struct ipc_msg m;
    struct guard_child *c = &g->child[GUARD_ENGINE];
    unsigned n = 0;
    for (; n < GUARD_BLOCK_BATCH && c->blocks >= 0; n++) {
        int rc = ipc_recv(c->blocks, &m);
        if (rc == SK_EAGAIN)
            break;
        if (rc == SK_EEND) {
            close(c->blocks);
            c->blocks = -1;
            break;
        }
        bool good = rc == SK_OK && m.type == IPC_BLOCK;
        if (good)
            take_request(g, (const struct decide_request *)(const void *)m.body);
        ipc_msg_close(&m);
        if (!good) {
            guard_child_kill(g, GUARD_ENGINE, "sends garbage as block requests");
            break;
        }
    }
    if (n > 0)
        (void)!enforcer_flush(g->enforcer, sk_now_wall()); /* a failure is counted, and repaired by the next tick */
}

void guard_block_monitor(struct guard *g)
{
    static struct nft_news news;
    if (!nft_monitor_read(g->monitor, &news))
        return;
    g->monitor_wakes++;
    const struct enforcer_stats *s = enforcer_stats(g->enforcer);
    uint64_t before = s->repairs + s->rebuilds + s->adopted;
    (void)!enforcer_heard(g->enforcer, &news, sk_now_wall());
    if (s->repairs + s->rebuilds + s->adopted != before && may_say(&g->say_touched))
        sk_log(SK_LOG_WARN, "somebody changed table inet %s: repaired", NFT_TABLE_NAME);
}

void guard_block_hits(struct guard *g)
{
    int64_t now = sk_now_mono();
    if (now < g->next_hits)
        return;
    enforcer_check_now(g->enforcer);
    (void)!enforcer_tick(g->enforcer, sk_now_wall());
    int64_t end = sk_now_mono();
    g->next_hits = end + 4 * (end - now); /* who asks again and again gets a fifth of the guard's time */
}

/* Not while the clock stands before anything that could have been written. */
static void prune(struct guard *g, int64_t now)
{
    if (sk_now_mono() < g->next_prune)
        return;
    g->next_prune = sk_now_mono() + PRUNE_EVERY;
    if (now > HISTORY_KEEP && journal_prune(g->journal, now - HISTORY_KEEP) != SK_OK)
        sk_log(SK_LOG_WARN, "the journal's history could not be cut");
}

void guard_block_tick(struct guard *g, int64_t now)
{
    prune(g, now);
    say_blocked_rest(g);
    if (enforcer_due(g->enforcer, now))
        (void)!enforcer_tick(g->enforcer, now);
    if (sk_now_mono() >= g->next_discover)
        guard_block_discover(g);
}

void guard_block_stop(struct guard *g)
{
    if (g->enforcer != NULL) {
        /* An agent that never came to work is not one to lift the blocks of those before it. */
        bool keep = (g->conf->guard.keep_blocks_on_stop || !g->have_loaded) && block_table_count(g->table) != 0;
        if (g->stopping && !keep)
            (void)!enforcer_teardown(g->enforcer, sk_now_wall());
        else if (g->stopping)
            sk_log(SK_LOG_INFO, "%zu blocks stay in force until they expire%s", block_table_count(g->table),
                   g->conf->guard.keep_blocks_on_stop ? " (guard.keep-blocks-on-stop)" : "");
        enforcer_free(g->enforcer);
    }
    if (g->journal != NULL)
        journal_close(g->journal);
    if (g->monitor != NULL)
        nft_monitor_close(g->monitor);
    if (g->nft != NULL)
        nft_close(g->nft);
    if (g->table != NULL)
        block_table_free(g->table);
    if (g->never != NULL)
        never_free(g->never);
}
