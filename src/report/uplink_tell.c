/* What this host tells: events and blocks by way of the spool, and that it lives. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/strbuf.h"
#include "enforce/journal.h"
#include "item.h"
#include "uplink_priv.h"

#define EVENTS_MS       30000
#define BEAT_MS         15000
#define BODY_MAX        (1u << 20)
#define GATHER_EVENTS   (SK_NS_PER_S / 2)  /* an event waits so long for others */
#define GATHER_BLOCKS   (SK_NS_PER_S / 50) /* a block */
#define BATCH_EVERY     (SK_NS_PER_S / 10) /* batches that are not full: the manager counts requests */
#define SPOOL_RETRY     (30 * SK_NS_PER_S)
#define RENEW_EVERY     (60 * SK_NS_PER_S) /* new ids of the spool */
#define PRUNE_EVERY     (60 * SK_NS_PER_S)
#define POISON_MAX      8     /* items that go one after another because the manager refuses them */
#define CLOCK_TOLERANCE 30000 /* ms */

static struct spool_stats spool_now(const struct uplink *u)
{
    struct spool_stats st = {0};
    if (u->spool != NULL)
        spool_stats(u->spool, &st);
    return st;
}

/* --- the spool --- */

int uplink_spool_open(struct uplink *u)
{
    int rc = spool_open(u->spool_path, u->opt.spool_size, &u->spool, NULL);
    if (rc != SK_OK) {
        u->spool = NULL;
        u->spool_retry = sk_now_mono() + SPOOL_RETRY;
    }
    return rc;
}

/* What it has counted is kept. */
static void close_spool(struct uplink *u)
{
    struct spool_stats st = spool_now(u);
    u->lost += st.lost_events + st.lost_blocks;
    spool_close(u->spool);
    u->spool = NULL;
}

/* A batch that may have been sent is lost with it: better than told twice under another number. */
static void replace_damaged(struct uplink *u)
{
    u->lost += spool_now(u).items;
    close_spool(u);
    if (spool_set_aside(u->spool_path) != SK_OK || uplink_spool_open(u) != SK_OK)
        u->spool_retry = sk_now_mono() + SPOOL_RETRY;
}

void uplink_spool_tick(struct uplink *u, int64_t now)
{
    if (u->spool != NULL && spool_damaged(u->spool))
        replace_damaged(u);
    if (u->spool == NULL && now >= u->spool_retry)
        (void)!uplink_spool_open(u);
    if (u->spool == NULL)
        return;
    if (now >= u->next_prune) {
        u->next_prune = now + PRUNE_EVERY;
        spool_prune(u->spool, sk_now_wall() / SK_NS_PER_MS);
    }
    (void)!spool_commit(u->spool); /* what that has lost is counted */
}

bool uplink_has_items(struct uplink *u)
{
    return spool_now(u).items > 0;
}

static void send_within(struct uplink *u, int64_t wait)
{
    int64_t at = sk_now_mono() + wait;
    if (u->last_batch != 0 && at < u->last_batch + BATCH_EVERY)
        at = u->last_batch + BATCH_EVERY;
    if (u->send_at == 0 || at < u->send_at)
        u->send_at = at;
}

void uplink_event(struct uplink *u, const char *line, size_t len)
{
    char *item;
    if (u->spool == NULL || item_event(line, len, sk_now_wall(), &item) != SK_OK) {
        u->lost++;
        return;
    }
    (void)!spool_event(u->spool, item, strlen(item)); /* a failure is counted there */
    free(item);
    send_within(u, GATHER_EVENTS);
}

static void tell_set(struct uplink *u, const struct ipc_block_news *n, const char *target)
{
    char *item;
    int64_t expires_ms = n->expires / SK_NS_PER_MS;
    if (n->origin == BLOCK_FLEET)
        return;
    if (spool_has(u->spool, n->id, expires_ms)) { /* told before */
        spool_see(u->spool, n->id);
        return;
    }
    if (item_block(n, &item) != SK_OK) {
        u->lost++;
        return;
    }
    (void)!spool_set(u->spool, n->id, target, expires_ms, item, strlen(item));
    free(item);
    send_within(u, GATHER_BLOCKS);
}

static void tell_end(struct uplink *u, const char *id, const char *target, int64_t ended, const char *why)
{
    char *item;
    if (item_end(id, ended, why, &item) != SK_OK) {
        u->lost++;
        return;
    }
    (void)!spool_end(u->spool, id, target, item, strlen(item));
    free(item);
    send_within(u, GATHER_BLOCKS);
}

static const char *end_name(uint8_t why)
{
    static const char *const names[] = {
#define X(id, name) name,
        JOURNAL_ENDS(X)
#undef X
    };
    return why < sizeof(names) / sizeof(names[0]) ? names[why] : "unknown";
}

/* The guard does not know it any more: it ended while nobody was there to tell. */
static void end_unseen(void *arg, const char *id, const char *target, int64_t expires_ms)
{
    struct uplink *u = (struct uplink *)arg;
    int64_t now = sk_now_wall();
    if (expires_ms <= now / SK_NS_PER_MS)
        (void)!spool_end(u->spool, id, target, NULL, 0);
    else
        tell_end(u, id, target, now, "gone");
}

void uplink_block(struct uplink *u, const struct ipc_block_news *n)
{
    char target[SK_PREFIX_STRLEN];
    if (u->spool == NULL) {
        u->lost += n->op == IPC_BLOCK_SET || n->op == IPC_BLOCK_END;
        return;
    }
    sk_prefix_format(&n->target, target);
    switch ((enum ipc_block_op)n->op) {
    case IPC_BLOCK_SET: tell_set(u, n, target); return;
    case IPC_BLOCK_END:
        if (n->origin == BLOCK_FLEET)
            return;
        if (n->why == JOURNAL_EXPIRED)
            (void)!spool_end(u->spool, n->id, target, NULL, 0);
        else
            tell_end(u, n->id, target, n->ended, end_name(n->why));
        return;
    case IPC_BLOCK_BEGIN:
        spool_sync_begin(u->spool);
        u->syncing = true;
        return;
    case IPC_BLOCK_DONE:
        if (u->syncing)
            (void)!spool_unseen(u->spool, end_unseen, u);
        u->syncing = false;
        return;
    case IPC_BLOCK_OPS: return;
    }
}

/* --- batches --- */

/* {"spool":"...","seq":N,"items":[...]} */
static int make_body(const struct uplink *u, const struct spool_batch *b, struct sk_strbuf *body)
{
    sk_strbuf_init(body, BODY_MAX);
    sk_strbuf_printf(body, "{\"spool\":\"%s\",\"seq\":%llu,\"items\":[", spool_id(u->spool),
                     (unsigned long long)b->seq);
    sk_strbuf_add(body, b->text, b->len);
    sk_strbuf_puts(body, "]}");
    return body->full ? SK_ENOMEM : SK_OK;
}

static void send_batch(struct uplink *u, const struct spool_batch *b)
{
    struct uplink_job *j = &u->job[JOB_EVENTS];
    struct sk_strbuf body;
    if (make_body(u, b, &body) == SK_OK)
        uplink_start(j, "POST", "/v1/events", body.p, body.len, EVENTS_MS, 0);
    else
        uplink_job_failed(j, -1, "no memory for a batch");
    sk_strbuf_free(&body);
}

/* A full batch, one that has been sent before, or the time has come. */
static bool time_to_send(const struct uplink *u, int64_t now)
{
    return u->draining || u->send_at == 0 || now >= u->send_at || spool_now(u).items >= UPLINK_BATCH_ITEMS;
}

void uplink_tell_events(struct uplink *u, int64_t now)
{
    struct spool_batch b;
    struct uplink_job *j = &u->job[JOB_EVENTS];
    if (!uplink_has_items(u) || !uplink_may_start(u, JOB_EVENTS, now) || !time_to_send(u, now))
        return;
    u->send_at = 0;
    u->last_batch = now;
    int rc = spool_batch(u->spool, UPLINK_BATCH_ITEMS, UPLINK_BATCH_BYTES, &b);
    if (rc == SK_OK)
        send_batch(u, &b);
    else if (rc != SK_EAGAIN)
        uplink_job_failed(j, -1, "the spool cannot be written");
}

static void on_taken(struct uplink *u, const struct fetch_response *r)
{
    struct uplink_job *j = &u->job[JOB_EVENTS];
    struct answer_batch a;
    struct spool_batch b;
    if (spool_batch(u->spool, UPLINK_BATCH_ITEMS, UPLINK_BATCH_BYTES, &b) != SK_OK ||
        answer_batch(r->body, r->body_len, &a) != SK_OK || a.seq < (int64_t)b.seq) {
        uplink_job_failed(j, -1, "an answer that makes no sense");
        return;
    }
    bool behind = a.duplicate && a.seq > (int64_t)b.seq; /* this file is an old copy of itself */
    u->sent += b.items;
    u->poison = 0;
    if (a.refused > 0 && u->refused_items == 0)
        sk_log(SK_LOG_WARN, "the manager has refused items that it was told, for the first time: %lld",
               (long long)a.refused);
    u->refused_items += (uint64_t)a.refused;
    if (spool_answered(u->spool) != SK_OK || (behind && spool_renew(u->spool) != SK_OK))
        uplink_job_failed(j, -1, "the spool cannot be written");
}

/* It does not know what it was told before: another database, or an older one. */
static void on_gap(struct uplink *u, const struct fetch_response *r)
{
    struct uplink_job *j = &u->job[JOB_EVENTS];
    int64_t next, now = sk_now_mono();
    if (answer_gap(r->body, r->body_len, &next) != SK_OK || now < u->next_renew_spool) {
        uplink_job_failed(j, -1, "the manager wants another batch");
        return;
    }
    u->next_renew_spool = now + RENEW_EVERY;
    sk_log(SK_LOG_WARN, "the manager has lost batches that it had taken: blocks in force are told again");
    if (spool_renew(u->spool) != SK_OK)
        uplink_job_failed(j, -1, "the spool cannot be written");
}

/* By halves to what it does not like; but when it likes nothing at all it is not the items' fault. */
static void on_refused_batch(struct uplink *u, const struct fetch_response *r)
{
    struct uplink_job *j = &u->job[JOB_EVENTS];
    struct spool_batch b;
    char code[ANSWER_CODE_LEN];
    answer_error(r->body, r->body_len, code);
    if (u->poison >= POISON_MAX || spool_batch(u->spool, UPLINK_BATCH_ITEMS, UPLINK_BATCH_BYTES, &b) != SK_OK) {
        uplink_job_failed(j, -1, "the manager refuses what it is told: %s (%d)", code, r->status);
        return;
    }
    if (b.items == 1) {
        u->poison++;
        sk_log(SK_LOG_WARN, "an item is not told, the manager refuses it: %s (%d)", code, r->status);
    }
    if (spool_halve(u->spool) != SK_OK)
        uplink_job_failed(j, -1, "the spool cannot be written");
}

void uplink_on_events(struct uplink *u, const struct fetch_response *r)
{
    if (u->spool == NULL)
        return;
    if (r->status == 200)
        on_taken(u, r);
    else if (r->status == 409)
        on_gap(u, r);
    else if (r->status == 400 || r->status == 413 || r->status == 422)
        on_refused_batch(u, r);
    else
        uplink_job_failed(&u->job[JOB_EVENTS], -1, "/v1/events: %d", r->status);
}

/* --- heartbeat --- */

static char *beat_body(const struct uplink *u, int64_t now)
{
    struct spool_stats st = spool_now(u);
    json_t *status =
        json_pack("{s:I,s:I,s:I,s:I,s:I}", "spooled", (json_int_t)st.items, "spooled_bytes", (json_int_t)st.bytes,
                  "sent", (json_int_t)u->sent, "lost", (json_int_t)(u->lost + st.lost_events + st.lost_blocks),
                  "feed_seq", (json_int_t)u->feed_seq);
    json_t *o = json_pack("{s:s,s:I,s:I,s:I,s:I,s:o}", "version", u->version, "uptime_s",
                          (json_int_t)((now - u->started) / SK_NS_PER_S), "blocks", (json_int_t)st.open,
                          "rules_version", (json_int_t)u->bundle[BUNDLE_RULES].in_force, "policy_version",
                          (json_int_t)u->bundle[BUNDLE_POLICY].in_force, "status", status);
    char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

void uplink_tell_beat(struct uplink *u, int64_t now)
{
    struct uplink_job *j = &u->job[JOB_BEAT];
    if (u->draining || !uplink_may_start(u, JOB_BEAT, now))
        return;
    char *body = beat_body(u, now);
    if (body != NULL)
        uplink_start(j, "POST", "/v1/heartbeat", body, strlen(body), BEAT_MS, 0);
    else
        uplink_job_failed(j, -1, "no memory for a heartbeat");
    free(body);
}

static void check_clock(struct uplink *u, const struct answer_news *n)
{
    int64_t off = sk_now_wall() / SK_NS_PER_MS - n->time_ms;
    bool wrong = off > CLOCK_TOLERANCE || off < -CLOCK_TOLERANCE;
    if (wrong && !u->clock_said)
        sk_log(SK_LOG_WARN, "this host's clock and the manager's differ by %lld s: blocks end too early or too late",
               (long long)(off / 1000));
    u->clock_said = wrong;
}

void uplink_on_beat(struct uplink *u, const struct fetch_response *r)
{
    struct uplink_job *j = &u->job[JOB_BEAT];
    struct answer_news n;
    if (r->status != 200 || answer_beat(r->body, r->body_len, &n) != SK_OK) {
        uplink_job_failed(j, -1, "/v1/heartbeat: %d", r->status);
        return;
    }
    u->heartbeat = n.heartbeat_s * SK_NS_PER_S;
    j->next = sk_now_mono() + u->heartbeat - uplink_random(u->heartbeat / 10);
    check_clock(u, &n);
    uplink_news(u, &n);
}
