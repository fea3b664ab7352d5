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
#include "guard.h"

#define PRUNE_EVERY (3600 * SK_NS_PER_S)

/* A line a block, as long as somebody can read them: events tell of each, and status counts. */
static void say_blocked(struct guard *g, const struct block *b, int64_t now)
{
    char buf[SK_PREFIX_STRLEN], span[32];
    if (++g->blocked_lines > GUARD_SAY_BLOCKS)
        return;
    sk_log(SK_LOG_INFO, "%s %s for %s: %s (%s)", g->dry_run ? "dry run: would have blocked" : "blocked",
           sk_prefix_format(&b->target, buf),
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
    guard_event_block(g, ev, b, now);
    guard_blocked_event(g, ev, b);
    guard_news_event(g, ev, b, now);
    if (ev == ENFORCER_ADDED)
        say_blocked(g, b, now);
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

/* Whoever asks for a dry run wants nobody blocked: what an earlier run has left in the kernel goes. */
static int clear_kernel(void)
{
    size_t elements;
    char why[256];
    struct nft *n;
    int rc = nft_open(&n);
    if (rc != SK_OK) {
        sk_log(SK_LOG_WARN, "cannot look for table inet %s of an earlier run: %s", NFT_TABLE_NAME, sk_strerror(rc));
        return SK_OK;
    }
    nft_close(n);
    rc = nft_clear(sk_now_wall(), &elements, why, sizeof(why));
    if (rc != SK_OK)
        sk_log(SK_LOG_ERROR, "dry run, but table inet %s of an earlier run cannot be removed: %s", NFT_TABLE_NAME, why);
    else if (elements > 0)
        sk_log(SK_LOG_WARN, "dry run: table inet %s of an earlier run is removed, with %zu elements", NFT_TABLE_NAME,
               elements);
    return rc;
}

static int open_fake(struct guard *g)
{
    g->fake = nft_fake_create();
    return g->fake != NULL ? clear_kernel() : SK_ENOMEM;
}

void guard_block_configure(struct guard *g)
{
    g->limits = (struct policy_limits){.max_seconds = g->conf->decide.max_block_duration / SK_NS_PER_S,
                                       .max_blocks = g->conf->decide.max_blocks,
                                       .repeat_factor = g->conf->decide.repeat_factor,
                                       .repeat_memory = g->conf->decide.repeat_memory};
    g->brake = g->conf->decide.brake;
}

static int make_enforcer(struct guard *g)
{
    guard_block_configure(g);
    g->table = block_table_create(g->conf->decide.max_blocks);
    g->refusals = refusals_create(guard_event_refused, g);
    if (g->table == NULL || g->refusals == NULL)
        return SK_ENOMEM;
    int rc = guard_never_start(g);
    if (rc == SK_OK)
        rc = guard_kill_start(g);
    if (rc != SK_OK)
        return rc;
    struct enforcer_setup s = {.ops = g->dry_run ? &nft_fake_ops : &nft_kernel_ops,
                               .ops_ctx = g->dry_run ? (void *)g->fake : (void *)g->nft,
                               .table = g->table,
                               .journal = g->journal,
                               .never = g->never,
                               .limits = &g->limits,
                               .brake = &g->brake,
                               .dry_run = g->dry_run,
                               .hook = on_block_event,
                               .active = guard_active,
                               .braked = guard_braked,
                               .hook_arg = g};
    g->enforcer = enforcer_create(&s);
    return g->enforcer != NULL ? SK_OK : SK_ENOMEM;
}

static void say_restored(const struct guard *g)
{
    uint64_t switched = enforcer_stats(g->enforcer)->switched;
    size_t n = block_table_count(g->table);
    if (g->dry_run)
        sk_log(SK_LOG_WARN, "DRY RUN: blocks are decided and recorded, but nobody is blocked (decide.dry-run)");
    if (switched > 0)
        sk_log(SK_LOG_WARN, "%llu blocks %s are over", (unsigned long long)switched,
               g->dry_run ? "that were in force" : "of a dry run");
    if (n > 0)
        sk_log(SK_LOG_INFO, "%zu blocks from before are in force%s", n, g->dry_run ? ", as if" : "");
}

int guard_block_start(struct guard *g)
{
    g->dry_run = g->conf->decide.dry_run;
    int rc = g->dry_run ? open_fake(g) : open_kernel(g);
    if (rc == SK_OK)
        rc = open_journal(g);
    if (rc == SK_OK)
        rc = make_enforcer(g);
    if (rc != SK_OK)
        return rc;
    rc = enforcer_restore(g->enforcer, sk_now_wall());
    if (rc != SK_OK) {
        sk_log(SK_LOG_ERROR, "table inet %s cannot be set up: %s", NFT_TABLE_NAME,
               g->nft != NULL ? nft_error(g->nft) : sk_strerror(rc));
        return rc;
    }
    guard_blocked_fill(g);
    say_restored(g);
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

void guard_block_request(struct guard *g, const struct decide_request *q, enum block_origin origin,
                         struct enforce_outcome *out)
{
    int64_t now = sk_now_wall();
    enforcer_request(g->enforcer, q, origin, now, out);
    refusals_add(g->refusals, q, origin, out, now);
}

/* Of the brake it is said when it begins. */
static void take_request(struct guard *g, const struct decide_request *q)
{
    struct enforce_outcome out;
    char buf[SK_PREFIX_STRLEN];
    guard_block_request(g, q, BLOCK_RULE, &out);
    if ((out.result == ENFORCE_REFUSED_RATE || out.result == ENFORCE_REFUSED_FULL) && may_say(&g->say_brake))
        sk_log(SK_LOG_WARN, "not blocked: %s and perhaps others: %s", sk_prefix_format(&q->target, buf),
               out.result == ENFORCE_REFUSED_RATE ? "more new blocks a second than decide.brake.rate"
                                                  : "decide.max-blocks are in force");
    if (out.result == ENFORCE_REFUSED_NEVER && may_say(&g->say_never))
        sk_log(SK_LOG_WARN, "not blocked: %s is on the never-list (%s: %s)", sk_prefix_format(&q->target, buf),
               never_kind_name(out.never->kind), out.never->text);
    guard_kill_ask(g, q, out.block);
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
    if (n == 0)
        return;
    (void)!enforcer_flush(g->enforcer, sk_now_wall()); /* a failure is counted, and repaired by the next tick */
    guard_kill_run(g);
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
    int64_t now = sk_now_wall();
    enforcer_check_now(g->enforcer, now);
    (void)!enforcer_tick(g->enforcer, now);
}

/* Not while the clock stands before anything that could have been written. */
static void prune(struct guard *g, int64_t now)
{
    if (sk_now_mono() < g->next_prune)
        return;
    g->next_prune = sk_now_mono() + PRUNE_EVERY;
    int64_t keep = g->conf->guard.history;
    if (now > keep && journal_prune(g->journal, now - keep) != SK_OK)
        sk_log(SK_LOG_WARN, "the journal's history could not be cut");
}

void guard_block_tick(struct guard *g, int64_t now)
{
    prune(g, now);
    guard_brake_follow_engine(g);
    if (sk_now_mono() >= g->next_refusals) {
        g->next_refusals = sk_now_mono() + SK_NS_PER_S;
        refusals_tick(g->refusals, false, now);
    }
    say_blocked_rest(g);
    if (enforcer_due(g->enforcer, now))
        (void)!enforcer_tick(g->enforcer, now);
    guard_never_tick(g);
}

void guard_block_stop(struct guard *g)
{
    if (g->enforcer != NULL) {
        /* An agent that never came to work is not one to lift the blocks of those before it. */
        bool keep = (g->conf->guard.keep_blocks_on_stop || !g->have_loaded) && block_table_count(g->table) != 0;
        if (g->stopping && !keep)
            (void)!enforcer_teardown(g->enforcer, sk_now_wall());
        else if (g->stopping && !g->dry_run)
            sk_log(SK_LOG_INFO, "%zu blocks stay in force until they expire%s", block_table_count(g->table),
                   g->conf->guard.keep_blocks_on_stop ? " (guard.keep-blocks-on-stop)" : "");
        enforcer_free(g->enforcer);
    }
    refusals_free(g->refusals);
    nft_fake_free(g->fake);
    if (g->journal != NULL)
        journal_close(g->journal);
    if (g->monitor != NULL)
        nft_monitor_close(g->monitor);
    if (g->nft != NULL)
        nft_close(g->nft);
    if (g->table != NULL)
        block_table_free(g->table);
    guard_never_stop(g);
    guard_kill_stop(g);
}
