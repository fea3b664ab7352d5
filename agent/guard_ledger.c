/*
 * The guard's half of the ledger (base/ledger.h): what came, as the kernel counts it, and what never reached a living
 * engine. It is the only reader of the kernel's counts, so that none is lost with an engine; what a worker has taken
 * lies in its marks (base/ringmark.h), what became of it in its counters.
 */
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "capture/capture.h"
#include "event/event.h"
#include "guard.h"

static void count(struct guard *g, unsigned w, enum sk_counter c, uint64_t n)
{
    sk_count_add(&g->ledger.own[w], c, n);
}

static const struct sk_counters *of_worker(const struct guard *g, unsigned w)
{
    return &g->status->worker[w].c;
}

/* Why does the kernel drop at present? The counts are read before this changes. */
static enum sk_counter drop_cause(const struct guard *g)
{
    if (!g->child[GUARD_ENGINE].ready)
        return SK_C_LP_ENGINE_DOWN;
    return g->next_conf != NULL ? SK_C_LP_RELOAD : SK_C_LP_RING_DROP;
}

static void read_iface(struct guard *g, struct guard_iface *f, enum sk_counter cause)
{
    for (unsigned w = 0; w < g->workers; w++) {
        uint64_t packets = 0, drops = 0;
        if (f->fd[w] < 0)
            continue;
        capture_ring_stats(f->fd[w], &packets, &drops);
        f->got[w] += packets - drops;
        count(g, w, SK_C_LEDGER_SENT, packets);
        count(g, w, SK_C_KERNEL_PKTS, packets);
        count(g, w, SK_C_KERNEL_DROPS, drops);
        count(g, w, cause, drops);
    }
}

static bool watching(const struct guard *g)
{
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        if (g->iface[i].name[0] != '\0')
            return true;
    return false;
}

static void count_blind(struct guard *g)
{
    struct guard_ledger *l = &g->ledger;
    int64_t now = sk_now_mono();
    if (l->was_blind)
        l->blind += now - l->looked;
    l->looked = now;
    l->was_blind = watching(g) && !g->child[GUARD_ENGINE].ready;
    sk_count_set(&l->own[0], SK_C_LEDGER_BLIND, (uint64_t)(l->blind / SK_NS_PER_S));
}

/* Where the engine's stats events find it. */
static void publish(struct guard *g)
{
    for (unsigned w = 0; w < g->workers; w++)
        for (unsigned c = 0; c < SK_C_COUNT; c++)
            sk_count_set(&g->status->worker[w].guard, (enum sk_counter)c, g->ledger.own[w].v[c]);
}

void guard_ledger_read(struct guard *g)
{
    if (g->status == NULL)
        return;
    enum sk_counter cause = drop_cause(g);
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        read_iface(g, &g->iface[i], cause);
    count_blind(g);
    publish(g);
    g->ledger.next = sk_now_mono() + SK_NS_PER_S;
}

void guard_ledger_ready(struct guard *g, bool ready)
{
    guard_ledger_read(g);
    g->child[GUARD_ENGINE].ready = ready;
    count_blind(g);
}

void guard_ledger_tick(struct guard *g)
{
    if (sk_now_mono() >= g->ledger.next)
        guard_ledger_read(g);
}

/* Frames of a ring that its readers took: never more than the kernel put there, whatever a mark says. */
static uint64_t taken_of(const struct guard *g, const struct guard_iface *f, unsigned w)
{
    uint64_t n = sk_ring_mark_taken(&g->status->worker[w].ring[f - g->iface]);
    return n < f->got[w] ? n : f->got[w];
}

static uint64_t taken_by(const struct guard *g, unsigned w)
{
    uint64_t n = g->ledger.closed[w];
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        n += taken_of(g, &g->iface[i], w);
    return n;
}

static uint64_t more(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* What a worker took and did not account for was in its hands; what is in its flow table is gone. */
static void settle_worker(struct guard *g, unsigned w)
{
    const struct sk_counters *c = of_worker(g, w);
    struct guard_ledger *l = &g->ledger;
    uint64_t accounted = sk_count_sum(c, SK_LP_FIRST, SK_LP_LAST) - sk_count_read(c, SK_C_LP_RING_ERROR) + l->hand[w];
    uint64_t hand = more(taken_by(g, w), accounted);
    uint64_t ended = sk_count_sum(c, SK_LF_FIRST, SK_LF_LAST) + l->own[w].v[SK_C_LF_ENGINE_DOWN];
    l->hand[w] += hand;
    count(g, w, SK_C_LP_ENGINE_DOWN, hand);
    count(g, w, SK_C_LF_ENGINE_DOWN, more(sk_count_read(c, SK_C_FLOWS), ended));
    sk_count_set(&g->status->worker[w].c, SK_C_FLOWS_ACTIVE, 0);
}

void guard_ledger_died(struct guard *g)
{
    guard_ledger_ready(g, false);
    for (unsigned w = 0; g->status != NULL && w < g->workers; w++)
        settle_worker(g, w);
}

void guard_ledger_close(struct guard *g, struct guard_iface *f, enum sk_counter cause)
{
    guard_ledger_read(g);
    for (unsigned w = 0; g->status != NULL && w < g->workers; w++) {
        uint64_t taken = taken_of(g, f, w);
        count(g, w, cause, f->got[w] - taken);
        g->ledger.closed[w] += taken;
        f->got[w] = 0;
        memset(&g->status->worker[w].ring[f - g->iface], 0, sizeof(struct sk_ring_mark));
    }
}

/* --- showing it --- */

uint64_t guard_ledger_total(const struct guard *g, enum sk_counter c)
{
    uint64_t n = 0;
    for (unsigned w = 0; w < g->workers; w++)
        n += sk_count_read(of_worker(g, w), c) + g->ledger.own[w].v[c];
    return n;
}

/*
 * All counters, summed. What workers say first, what the kernel says then: a frame that comes in between is one that
 * waits, and never one too many.
 */
static void take_sums(struct guard *g, struct sk_counters *sum)
{
    for (unsigned c = 0; c < SK_C_COUNT; c++) {
        sum->v[c] = 0;
        for (unsigned w = 0; w < g->workers; w++)
            sum->v[c] += sk_count_read(of_worker(g, w), (enum sk_counter)c);
    }
    guard_ledger_read(g);
    for (unsigned c = 0; c < SK_C_COUNT; c++)
        for (unsigned w = 0; w < g->workers; w++)
            sum->v[c] += g->ledger.own[w].v[c];
}

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)(n > INT64_MAX ? INT64_MAX : n));
}

static json_t *causes(const struct sk_counters *sum, unsigned first, unsigned last)
{
    json_t *o = json_object();
    for (unsigned c = first + 1; c <= last; c++) /* the first is what was inspected */
        json_object_set_new(o, sk_counter_leaf((enum sk_counter)c), number(sum->v[c]));
    return o;
}

json_t *guard_ledger_json(struct guard *g)
{
    struct sk_counters sum;
    take_sums(g, &sum);
    uint64_t sent = sum.v[SK_C_LEDGER_SENT], begun = sum.v[SK_C_FLOWS];
    json_t *p = json_object(), *f = json_object(), *o = json_object();
    json_object_set_new(p, "sent", number(sent));
    json_object_set_new(p, "inspected", number(sum.v[SK_C_LP_INSPECTED]));
    json_object_set_new(p, "waiting", number(more(sent, sk_count_sum(&sum, SK_LP_FIRST, SK_LP_LAST))));
    json_object_set_new(p, "causes", causes(&sum, SK_LP_FIRST, SK_LP_LAST));
    json_object_set_new(f, "begun", number(begun));
    json_object_set_new(f, "inspected", number(sum.v[SK_C_LF_INSPECTED]));
    json_object_set_new(f, "active", number(more(begun, sk_count_sum(&sum, SK_LF_FIRST, SK_LF_LAST))));
    json_object_set_new(f, "causes", causes(&sum, SK_LF_FIRST, SK_LF_LAST));
    json_object_set_new(o, "packets", p);
    json_object_set_new(o, "flows", f);
    json_object_set_new(o, "blind_seconds", json_real((double)(g->ledger.blind / SK_NS_PER_MS) / 1000));
    json_object_set_new(o, "unwatched_seconds", json_real((double)(g->gap.before / SK_NS_PER_MS) / 1000));
    return o;
}

static void log_sums(const struct sk_counters *sum)
{
    char text[1024];
    size_t n = 0;
    text[0] = '\0';
    for (unsigned c = SK_LP_FIRST + 1; c <= SK_LP_LAST && n < sizeof(text); c++)
        if (sum->v[c] != 0)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%llu %s", n == 0 ? "; not inspected: " : ", ",
                                  (unsigned long long)sum->v[c], sk_counter_leaf((enum sk_counter)c));
    sk_log(SK_LOG_INFO, "%llu packets came, %llu were inspected%s", (unsigned long long)sum->v[SK_C_LEDGER_SENT],
           (unsigned long long)sum->v[SK_C_LP_INSPECTED], text);
}

static void report_sums(struct guard *g, const struct sk_counters *sum)
{
    struct ipc_event e = {0};
    const struct guard_child *c = &g->child[GUARD_REPORTER];
    int64_t up = (sk_now_mono() - g->started_mono) / SK_NS_PER_S;
    if (!g->conf->eve.enabled || !(g->conf->eve.types & CONF_EVE_STATS) || c->chan < 0)
        return;
    e.len = event_build_stats(e.rec, sizeof(e.rec), sum, sk_now_wall(), up);
    if (ipc_send(c->chan, IPC_EVENT, &e, NULL, 0) != SK_OK)
        g->events_lost++;
}

void guard_ledger_finish(struct guard *g)
{
    struct sk_counters sum;
    if (g->status == NULL || !g->have_loaded)
        return;
    take_sums(g, &sum);
    log_sums(&sum);
    report_sums(g, &sum);
}
