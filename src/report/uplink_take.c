/* What the fleet tells: blocks of other hosts, signed bundles, and answers to the guard's questions. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "uplink_priv.h"

#define POLL_S        50 /* that the manager lets a poll wait */
#define POLL_MS       (POLL_S * 1000 + 15000)
#define PAGE_MS       30000
#define PAGE_MAX      (16u << 20) /* bytes of a feed's answer */
#define BUNDLE_MS     120000
#define BUNDLE_ANSWER (2u * BUNDLE_MAX)   /* as JSON writes it */
#define BUNDLE_RETRY  (600 * SK_NS_PER_S) /* of one that the guard has refused */
#define LOOK_MS       5000

/* --- feed --- */

static int poll_wait(const struct uplink *u)
{
    return u->epoch[0] != '\0' && !u->begun ? POLL_S : 0; /* not while a snapshot is being read */
}

void uplink_take_feed(struct uplink *u, int64_t now)
{
    char path[160], epoch[ANSWER_EPOCH_LEN + 8] = "";
    int wait = poll_wait(u);
    if (!u->opt.take_blocks || u->draining || u->page.root != NULL || !uplink_may_start(u, JOB_FEED, now))
        return;
    if (u->epoch[0] != '\0')
        snprintf(epoch, sizeof(epoch), "epoch=%s&", u->epoch);
    snprintf(path, sizeof(path), "/v1/feed?%safter=%lld&wait=%d", epoch, (long long)u->feed_seq, wait);
    uplink_start(&u->job[JOB_FEED], "GET", path, NULL, 0, wait > 0 ? POLL_MS : PAGE_MS, PAGE_MAX);
}

/* From the beginning. */
static void forget_feed(struct uplink *u)
{
    u->epoch[0] = '\0';
    u->feed_seq = 0;
    u->begun = false;
}

void uplink_on_feed(struct uplink *u, const struct fetch_response *r)
{
    if (r->status != 200 || answer_feed(r->body, r->body_len, &u->page) != SK_OK) {
        forget_feed(u);
        uplink_job_failed(&u->job[JOB_FEED], -1, "/v1/feed: %d%s", r->status,
                          r->status == 200 ? ", which makes no sense" : "");
        return;
    }
    u->page_at = 0;
    u->page_begun = false;
    uplink_news(u, &u->page.news);
    uplink_hand_on(u);
}

/* The first page of a snapshot, and no other, says reset: also while another one is being read. */
static int begin_snapshot(struct uplink *u)
{
    if (!u->page.reset || u->page_begun)
        return SK_OK;
    struct ipc_fleet f = {.op = IPC_BLOCK_BEGIN};
    int rc = u->sink.fleet(u->sink.arg, &f);
    if (rc == SK_OK)
        u->begun = u->page_begun = true;
    return rc;
}

static int hand_on_entry(struct uplink *u, size_t i)
{
    struct ipc_fleet f;
    int rc = answer_feed_entry(&u->page, i, u->agent, &f);
    if (rc == SK_EPROTO && u->feed_malformed++ == 0)
        sk_log(SK_LOG_WARN, "the manager's feed has an entry that makes no sense; it is passed over");
    return rc == SK_OK ? u->sink.fleet(u->sink.arg, &f) : SK_OK;
}

/* The whole page has been taken over. */
static int end_page(struct uplink *u)
{
    bool whole = u->begun && !u->page.more;
    int rc = whole ? u->sink.fleet_done(u->sink.arg, (uint64_t)u->page.seq) : SK_OK;
    if (rc != SK_OK)
        return rc;
    if (whole)
        u->begun = false;
    snprintf(u->epoch, sizeof(u->epoch), "%s", u->page.epoch);
    u->feed_seq = u->page.seq;
    if (!u->page.more && json_array_size(u->page.entries) == 0 && !u->page.reset)
        u->job[JOB_FEED].next =
            sk_now_mono() + SK_NS_PER_S / 10; /* a manager that does not wait is not asked at once */
    answer_feed_free(&u->page);
    return SK_OK;
}

static void hand_on_page(struct uplink *u)
{
    if (u->page.root == NULL || begin_snapshot(u) != SK_OK)
        return;
    while (u->page_at < json_array_size(u->page.entries)) {
        if (hand_on_entry(u, u->page_at) != SK_OK)
            return; /* no room: at the next turn */
        u->page_at++;
    }
    (void)!end_page(u);
}

/* --- bundles --- */

static const struct {
    enum uplink_kind job;
    const char *path;
} bundle_of[BUNDLE_KINDS] = {
    [BUNDLE_POLICY] = {JOB_POLICY, "/v1/bundles/policy"},
    [BUNDLE_RULES] = {JOB_RULES, "/v1/bundles/rules"},
};

void uplink_news(struct uplink *u, const struct answer_news *n)
{
    u->bundle[BUNDLE_RULES].offered = n->rules_version;
    u->bundle[BUNDLE_POLICY].offered = n->policy_version;
    u->renew_wanted = u->renew_wanted || n->renew;
}

static bool wanted(const struct uplink *u, enum bundle_kind k, int64_t now)
{
    const struct uplink_bundle *b = &u->bundle[k];
    bool take = k == BUNDLE_RULES ? u->opt.take_rules : u->opt.take_policy;
    if (!take || u->draining || b->offered <= b->in_force || b->root != NULL)
        return false;
    return b->offered > b->handed || now >= b->retry;
}

void uplink_take_bundles(struct uplink *u, int64_t now)
{
    for (int k = 0; k < BUNDLE_KINDS; k++)
        if (wanted(u, (enum bundle_kind)k, now) && uplink_may_start(u, bundle_of[k].job, now))
            uplink_start(&u->job[bundle_of[k].job], "GET", bundle_of[k].path, NULL, 0, BUNDLE_MS, BUNDLE_ANSWER);
}

static void on_bundle(struct uplink *u, enum bundle_kind k, const struct fetch_response *r)
{
    struct uplink_bundle *b = &u->bundle[k];
    struct uplink_job *j = &u->job[bundle_of[k].job];
    if (r->status != 200 || answer_bundle(r->body, r->body_len, k, bundle_kind_name(k), &b->head, &b->root, &b->payload,
                                          &b->len) != SK_OK) {
        uplink_job_failed(j, -1, "%s: %d", bundle_of[k].path, r->status);
        return;
    }
    uplink_hand_on(u);
}

void uplink_on_policy(struct uplink *u, const struct fetch_response *r)
{
    on_bundle(u, BUNDLE_POLICY, r);
}

void uplink_on_rules(struct uplink *u, const struct fetch_response *r)
{
    on_bundle(u, BUNDLE_RULES, r);
}

static void hand_on_bundle(struct uplink *u, struct uplink_bundle *b)
{
    if (b->root == NULL)
        return;
    int rc = u->sink.bundle(u->sink.arg, &b->head, b->payload, b->len);
    if (rc == SK_EAGAIN)
        return;
    b->handed = (int64_t)b->head.version;
    b->retry = sk_now_mono() + BUNDLE_RETRY;
    json_decref(b->root);
    b->root = NULL;
}

void uplink_bundle_done(struct uplink *u, const struct ipc_signed_done *d)
{
    if (d->kind >= BUNDLE_KINDS)
        return;
    struct uplink_bundle *b = &u->bundle[d->kind];
    b->in_force = (int64_t)d->in_force;
    if ((int64_t)d->version != b->handed)
        return;
    b->retry = sk_now_mono() + BUNDLE_RETRY;
    u->job[JOB_BEAT].next = 0; /* the manager learns it now */
}

void uplink_hand_on(struct uplink *u)
{
    hand_on_page(u);
    for (int k = 0; k < BUNDLE_KINDS; k++)
        hand_on_bundle(u, &u->bundle[k]);
}

void uplink_take_free(struct uplink *u)
{
    answer_feed_free(&u->page);
    for (int k = 0; k < BUNDLE_KINDS; k++) {
        json_decref(u->bundle[k].root);
        u->bundle[k].root = NULL;
    }
}

/* --- look-ups --- */

static void found(struct uplink *u, uint64_t id, enum ipc_found_state state)
{
    struct ipc_found f = {.id = id, .state = state};
    u->sink.found(u->sink.arg, &f);
}

static void on_look(void *arg, const struct fetch_response *r)
{
    struct uplink_look *l = (struct uplink_look *)arg;
    struct ipc_found f = {.id = l->id};
    l->active = false;
    if (r->result == FETCH_ANSWERED && r->status == 404)
        f.state = IPC_FOUND_NOT_THERE;
    else if (r->result != FETCH_ANSWERED || r->status != 200 || answer_found(r->body, r->body_len, &f) != SK_OK)
        f = (struct ipc_found){.id = l->id, .state = IPC_FOUND_NO_ANSWER};
    l->u->sink.found(l->u->sink.arg, &f);
}

/* Of a prefix's text only the slash has a meaning in an address of the web. */
static void make_query(const struct sk_prefix *p, char *buf, size_t cap)
{
    char target[SK_PREFIX_STRLEN];
    sk_prefix_format(p, target);
    char *slash = strchr(target, '/');
    if (slash != NULL)
        *slash = '\0';
    snprintf(buf, cap, "/v1/entry?target=%s%s%s", target, slash != NULL ? "%2F" : "", slash != NULL ? slash + 1 : "");
}

void uplink_look_up(struct uplink *u, const struct ipc_look_up *q)
{
    char target[SK_PREFIX_STRLEN], path[128];
    struct uplink_look *l = u->look;
    sk_prefix_format(&q->target, target);
    if (u->spool != NULL && spool_waits(u->spool, target)) {
        found(u, q->id, IPC_FOUND_WAITING);
        return;
    }
    while (l < u->look + UPLINK_LOOK_UPS && l->active)
        l++;
    make_query(&q->target, path, sizeof(path));
    if (u->state != IPC_MANAGER_UP || l == u->look + UPLINK_LOOK_UPS ||
        uplink_ask(u, path, on_look, l, LOOK_MS, &l->fetch) != SK_OK) {
        found(u, q->id, IPC_FOUND_NO_ANSWER);
        return;
    }
    l->u = u;
    l->id = q->id;
    l->active = true;
}
