/* What `sekisho status` shows. Values from shared memory are what the engine says of itself. */
#include <unistd.h>
#include "base/clock.h"
#include "guard.h"

static json_t *u64(uint64_t v)
{
    return json_integer((json_int_t)(v > INT64_MAX ? INT64_MAX : v));
}

static json_t *roles(const struct guard *g)
{
    int64_t now = sk_now_mono();
    json_t *a = json_array();
    json_array_append_new(a, json_pack("{s:s,s:i,s:I,s:I,s:s}", "name", "guard", "pid", (int)getpid(), "restarts",
                                       (json_int_t)0, "uptime", (json_int_t)((now - g->started_mono) / SK_NS_PER_S),
                                       "state", "working"));
    for (int r = 0; r < GUARD_ROLES; r++) {
        const struct guard_child *c = &g->child[r];
        if ((r == GUARD_EXPORTER && !guard_metrics_wanted(g)) ||
            (r == GUARD_UPLINK && !g->uplink.wanted && c->pid == 0))
            continue;
        const char *state = c->pid == 0 ? "waiting to restart" : c->ready ? "working" : "starting";
        int64_t up = c->pid != 0 ? (now - c->started) / SK_NS_PER_S : 0;
        json_array_append_new(a, json_pack("{s:s,s:i,s:I,s:I,s:s,s:b}", "name", c->name, "pid", (int)c->pid, "restarts",
                                           (json_int_t)c->restarts, "uptime", (json_int_t)up, "state", state,
                                           "files_confined", c->confined));
    }
    return a;
}

static json_t *interfaces(const struct guard *g)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        if (g->iface[i].name[0] != '\0' && g->iface[i].leave_at == 0)
            json_array_append_new(a, json_string(g->iface[i].name));
    return a;
}

static json_t *workers(const struct guard *g)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < g->workers; i++) {
        const struct ipc_worker_status *w = &g->status->worker[i];
        json_t *o = json_object();
        json_object_set_new(o, "packets", u64(sk_count_read(&w->c, SK_C_PKTS)));
        json_object_set_new(o, "bytes", u64(sk_count_read(&w->c, SK_C_BYTES)));
        json_object_set_new(o, "kernel_packets", u64(g->ledger.own[i].v[SK_C_KERNEL_PKTS]));
        json_object_set_new(o, "kernel_drops", u64(g->ledger.own[i].v[SK_C_KERNEL_DROPS]));
        json_object_set_new(o, "flows", u64(sk_count_read(&w->c, SK_C_FLOWS_ACTIVE)));
        json_object_set_new(o, "alerts", u64(sk_count_read(&w->c, SK_C_DETECT_ALERTS)));
        json_object_set_new(o, "memory", u64(ipc_status_get(&w->memory)));
        json_array_append_new(a, o);
    }
    return a;
}

/* What the kernel holds for capture: it is taken when an interface is opened, and never swapped. */
static uint64_t ring_memory(const struct guard *g)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < SK_MAX_INTERFACES; i++)
        n += g->iface[i].name[0] != '\0';
    return n * g->workers * g->geometry.ring_size;
}

static uint64_t total(const struct guard *g, enum sk_counter c)
{
    return guard_ledger_total(g, c);
}

/* Every counter under its name, so that nothing which was lost or refused stays hidden. */
static json_t *counters(const struct guard *g)
{
    json_t *o = json_object();
    for (unsigned c = 0; c < SK_C_COUNT; c++)
        json_object_set_new(o, sk_counter_name((enum sk_counter)c), u64(total(g, (enum sk_counter)c)));
    return o;
}

static json_t *rules(const struct guard *g)
{
    json_t *o = json_object();
    const struct ipc_loaded *l = &g->loaded;
    json_object_set_new(o, "loaded", u64(l->loaded));
    json_object_set_new(o, "rejected", u64(l->rejected));
    json_object_set_new(o, "slow", u64(l->slow));
    json_object_set_new(o, "groups", u64(l->groups));
    json_object_set_new(o, "databases", u64(l->databases));
    json_object_set_new(o, "memory", u64(l->memory));
    json_object_set_new(o, "generation", u64(l->generation));
    json_object_set_new(o, "load_seconds", json_real(l->parse_seconds + l->compile_seconds));
    return o;
}

static json_t *blocks(const struct guard *g)
{
    const struct enforcer_stats *s = enforcer_stats(g->enforcer);
    json_t *o = json_object();
    json_object_set_new(o, "in_force", u64(block_table_count(g->table)));
    json_object_set_new(o, "requests", u64(s->requests));
    json_object_set_new(o, "set", u64(s->blocked));
    json_object_set_new(o, "extended", u64(s->extended));
    json_object_set_new(o, "covered", u64(s->covered));
    json_object_set_new(o, "expired", u64(s->expired));
    json_object_set_new(o, "unblocked", u64(s->unblocked));
    json_object_set_new(o, "lifted", u64(s->lifted));
    json_object_set_new(o, "adopted", u64(s->adopted));
    json_object_set_new(o, "refused_never", u64(s->refused_never));
    json_object_set_new(o, "refused_invalid", u64(s->refused_invalid));
    json_object_set_new(o, "refused_full", u64(s->refused_full));
    json_object_set_new(o, "refused_brake", u64(s->refused_brake));
    json_object_set_new(o, "refused_rate", u64(s->refused_rate));
    json_object_set_new(o, "again", u64(s->again));
    json_object_set_new(o, "offenders", u64(offenders_known(enforcer_offenders(g->enforcer))));
    json_object_set_new(o, "offenders_forgotten", u64(offenders_forgotten(enforcer_offenders(g->enforcer))));
    json_object_set_new(o, "lost", u64(total(g, SK_C_BLOCK_LOST)));
    json_object_set_new(o, "nft_repairs", u64(s->repairs));
    json_object_set_new(o, "nft_rebuilds", u64(s->rebuilds));
    json_object_set_new(o, "nft_errors", u64(s->kernel_errors));
    json_object_set_new(o, "journal_errors", u64(s->journal_errors));
    json_object_set_new(o, "never_list", u64(never_count(g->never)));
    json_object_set_new(o, "never_list_complete", json_boolean(never_complete(g->never)));
    json_object_set_new(o, "administrators", u64(admins_count(g->admins)));
    json_object_set_new(o, "administrators_dropped", u64(admins_dropped(g->admins)));
    const struct sockkill_stats *k = sockkill_stats(g->kill);
    json_object_set_new(o, "killed", u64(k->killed));
    json_object_set_new(o, "kill_gone", u64(k->gone));
    json_object_set_new(o, "kill_failed", u64(k->failed));
    json_object_set_new(o, "kill_refused", u64(k->refused));
    json_object_set_new(o, "kill_too_fast", u64(k->too_fast));
    json_object_set_new(o, "shared", u64(ipc_blocked_count(g->blocked)));
    json_object_set_new(o, "shared_full", u64(ipc_blocked_refused(g->blocked)));
    json_object_set_new(o, "degraded", json_boolean(enforcer_degraded(g->enforcer)));
    return o;
}

static json_t *events(const struct guard *g)
{
    const struct ipc_reporter_status *r = &g->status->reporter;
    json_t *o = json_object();
    json_object_set_new(o, "written", u64(ipc_status_get(&r->events)));
    json_object_set_new(o, "bytes", u64(ipc_status_get(&r->bytes)));
    json_object_set_new(o, "held_bytes", u64(ipc_status_get(&r->held)));
    json_object_set_new(o, "lost_ring_full", u64(total(g, SK_C_EVENT_LOST)));
    json_object_set_new(o, "lost_write_errors", u64(ipc_status_get(&r->write_errors)));
    json_object_set_new(o, "lost_guard", u64(g->events_lost));
    json_object_set_new(o, "invalid", u64(ipc_status_get(&r->invalid)));
    json_object_set_new(o, "garbage", u64(ipc_status_get(&r->garbage)));
    return o;
}

json_t *guard_status_json(struct guard *g)
{
    json_t *ledger = guard_ledger_json(g); /* first: reads the kernel's counts */
    uint64_t memory = g->loaded.memory;
    for (unsigned i = 0; i < g->workers; i++)
        memory += ipc_status_get(&g->status->worker[i].memory);
    json_t *o = json_object();
    json_object_set_new(o, "version", json_string(SK_VERSION));
    json_object_set_new(o, "program_replaced", json_boolean(guard_program_replaced(&g->program)));
    json_object_set_new(o, "mode", json_string(g->conf->mode == CONF_PREVENT ? "prevent" : "detect"));
    json_object_set_new(o, "dry_run", json_boolean(g->dry_run));
    json_object_set_new(o, "uptime", u64((uint64_t)((sk_now_mono() - g->started_mono) / SK_NS_PER_S)));
    json_object_set_new(o, "roles", roles(g));
    json_object_set_new(o, "interfaces", interfaces(g));
    json_object_set_new(o, "interfaces_missing", guard_iface_missing(g));
    json_object_set_new(o, "interfaces_unwatched", u64(g->iface_unwatched));
    json_object_set_new(o, "workers", workers(g));
    json_object_set_new(o, "ledger", ledger);
    json_object_set_new(o, "active_clients", u64(ipc_status_get(&g->status->engine.active_clients)));
    json_object_set_new(o, "memory", u64(memory));
    json_object_set_new(o, "ring_memory", u64(ring_memory(g)));
    json_object_set_new(o, "rules", rules(g));
    json_object_set_new(o, "blocks", blocks(g));
    json_object_set_new(o, "settings", guard_settings_json(g));
    json_object_set_new(o, "brake", guard_brake_json(g));
    json_object_set_new(o, "manager", guard_uplink_json(g));
    json_object_set_new(o, "events", events(g));
    json_object_set_new(o, "counters", counters(g));
    return o;
}
