#include "metrics.h"

#include <stdio.h>
#include "base/counters.h"

enum kind { COUNTER, GAUGE };

static const json_t *at(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

static long long num(const json_t *o, const char *key)
{
    return (long long)json_integer_value(at(o, key));
}

static const char *str(const json_t *o, const char *key)
{
    const char *s = json_string_value(at(o, key));
    return s != NULL ? s : "";
}

/* Backslash and line feed, and in label values quotes, are escaped; everything else stands as it is. */
static void put_escaped(struct sk_strbuf *b, const char *s, bool quotes)
{
    for (; *s != '\0'; s++) {
        if (*s == '\n')
            sk_strbuf_puts(b, "\\n");
        else if (*s == '\\' || (quotes && *s == '"'))
            sk_strbuf_printf(b, "\\%c", *s);
        else
            sk_strbuf_add(b, s, 1);
    }
}

static void head(struct sk_strbuf *b, const char *name, enum kind k, const char *help)
{
    sk_strbuf_printf(b, "# HELP sekisho_%s ", name);
    put_escaped(b, help, false);
    sk_strbuf_printf(b, "\n# TYPE sekisho_%s %s\n", name, k == COUNTER ? "counter" : "gauge");
}

/* NAME{LABEL="VALUE"} N */
static void sample(struct sk_strbuf *b, const char *name, const char *label, const char *value, long long n)
{
    sk_strbuf_printf(b, "sekisho_%s", name);
    if (label != NULL) {
        sk_strbuf_printf(b, "{%s=\"", label);
        put_escaped(b, value, true);
        sk_strbuf_puts(b, "\"}");
    }
    sk_strbuf_printf(b, " %lld\n", n);
}

static void one(struct sk_strbuf *b, const char *name, enum kind k, const char *help, long long n)
{
    head(b, name, k, help);
    sample(b, name, NULL, NULL, n);
}

static void put_build(struct sk_strbuf *b, const json_t *s)
{
    head(b, "build_info", GAUGE, "Version of the agent, and its mode; the value is always 1.");
    sk_strbuf_puts(b, "sekisho_build_info{version=\"");
    put_escaped(b, str(s, "version"), true);
    sk_strbuf_puts(b, "\",mode=\"");
    put_escaped(b, str(s, "mode"), true);
    sk_strbuf_puts(b, "\"} 1\n");
    one(b, "uptime_seconds", GAUGE, "Seconds since the agent was started.", num(s, "uptime"));
}

static void put_roles(struct sk_strbuf *b, const json_t *roles)
{
    size_t i;
    const json_t *r;
    head(b, "role_up", GAUGE, "Whether this process of the agent is working.");
    json_array_foreach(roles, i, r)
        sample(b, "role_up", "role", str(r, "name"), strcmp(str(r, "state"), "working") == 0);
    head(b, "role_restarts_total", COUNTER, "How often it was started again.");
    json_array_foreach(roles, i, r) sample(b, "role_restarts_total", "role", str(r, "name"), num(r, "restarts"));
}

/* Inspected first, then each cause, also those that are 0: a series that appears late has no rate. */
static void put_classes(struct sk_strbuf *b, const char *name, const char *help, const json_t *part)
{
    const char *cause;
    const json_t *n;
    head(b, name, COUNTER, help);
    sample(b, name, "class", "inspected", num(part, "inspected"));
    json_object_foreach((json_t *)(uintptr_t)at(part, "causes"), cause, n)
        sample(b, name, "class", cause, (long long)json_integer_value(n));
}

static void put_ledger(struct sk_strbuf *b, const json_t *l)
{
    const json_t *p = at(l, "packets"), *f = at(l, "flows");
    one(b, "packets_sent_total", COUNTER, "Packets that passed the interfaces, as the kernel counts them.",
        num(p, "sent"));
    put_classes(b, "packets_total", "The same packets: inspected, or the first cause why not.", p);
    one(b, "packets_waiting", GAUGE, "Packets that have passed and belong to no class yet.", num(p, "waiting"));
    one(b, "flows_begun_total", COUNTER, "Flows that have begun.", num(f, "begun"));
    put_classes(b, "flows_total", "Flows that have ended: inspected whole, or the first cause why not.", f);
    one(b, "flows_active", GAUGE, "Flows in the table.", num(f, "active"));
    head(b, "blind_seconds_total", COUNTER, "Seconds in which interfaces were watched and no engine was working.");
    sk_strbuf_printf(b, "sekisho_blind_seconds_total %.3f\n", json_real_value(at(l, "blind_seconds")));
    head(b, "unwatched_seconds", GAUGE, "Seconds before this start, since the end of the agent before, without one.");
    sk_strbuf_printf(b, "sekisho_unwatched_seconds %.3f\n", json_real_value(at(l, "unwatched_seconds")));
}

static void per_worker(struct sk_strbuf *b, const json_t *workers, const char *name, enum kind k, const char *help,
                       const char *key)
{
    size_t i;
    const json_t *w;
    char number[24];
    head(b, name, k, help);
    json_array_foreach(workers, i, w)
    {
        snprintf(number, sizeof(number), "%zu", i);
        sample(b, name, "worker", number, num(w, key));
    }
}

static void put_workers(struct sk_strbuf *b, const json_t *w)
{
    per_worker(b, w, "worker_packets_total", COUNTER, "Packets that the worker took from its rings.", "packets");
    per_worker(b, w, "worker_bytes_total", COUNTER, "Bytes on the wire of those packets.", "bytes");
    per_worker(b, w, "worker_kernel_packets_total", COUNTER, "Packets that the kernel offered to the worker.",
               "kernel_packets");
    per_worker(b, w, "worker_kernel_drops_total", COUNTER, "Packets that the kernel dropped, its ring being full.",
               "kernel_drops");
    per_worker(b, w, "worker_alerts_total", COUNTER, "Alerts.", "alerts");
    per_worker(b, w, "worker_flows", GAUGE, "Flows in the worker's table.", "flows");
    per_worker(b, w, "worker_memory_bytes", GAUGE, "Memory of the worker's tables.", "memory");
}

static void put_state(struct sk_strbuf *b, const json_t *s)
{
    const json_t *r = at(s, "rules");
    one(b, "interfaces", GAUGE, "Interfaces that are watched.", (long long)json_array_size(at(s, "interfaces")));
    one(b, "interfaces_unwatched", GAUGE, "Interfaces that should be watched and cannot be.",
        num(s, "interfaces_unwatched"));
    head(b, "memory_bytes", GAUGE, "Memory by what it is for.");
    sample(b, "memory_bytes", "for", "tables_and_rules", num(s, "memory"));
    sample(b, "memory_bytes", "for", "capture_rings", num(s, "ring_memory"));
    head(b, "rules", GAUGE, "Rules in force, rejected, and those that nothing narrows.");
    sample(b, "rules", "state", "loaded", num(r, "loaded"));
    sample(b, "rules", "state", "rejected", num(r, "rejected"));
    sample(b, "rules", "state", "slow", num(r, "slow"));
    one(b, "active_clients", GAUGE, "Different clients within decide.brake.window.", num(s, "active_clients"));
}

static void put_blocks(struct sk_strbuf *b, const json_t *k)
{
    static const char *const refused[] = {"never", "invalid", "full", "rate"};
    char key[32];
    one(b, "blocks", GAUGE, "Blocks in force.", num(k, "in_force"));
    one(b, "blocks_set_total", COUNTER, "Blocks that were set.", num(k, "set"));
    one(b, "blocks_expired_total", COUNTER, "Blocks whose time was over.", num(k, "expired"));
    one(b, "block_requests_total", COUNTER, "Blocks that were asked for.", num(k, "requests"));
    head(b, "block_requests_refused_total", COUNTER, "Blocks that were asked for and refused.");
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        snprintf(key, sizeof(key), "refused_%s", refused[i]);
        sample(b, "block_requests_refused_total", "reason", refused[i], num(k, key));
    }
    one(b, "blocks_degraded", GAUGE, "1: the kernel does not follow.", json_is_true(at(k, "degraded")));
    one(b, "never_list_complete", GAUGE, "0: nothing is blocked, for it is not known whom to spare.",
        json_is_true(at(k, "never_list_complete")));
    one(b, "nftables_repairs_total", COUNTER, "Changes by others to our table that were undone.",
        num(k, "nft_repairs"));
    one(b, "nftables_errors_total", COUNTER, "Failed changes to nftables.", num(k, "nft_errors"));
}

/* Nothing of it where there is no manager. */
static void put_manager(struct sk_strbuf *b, const json_t *m)
{
    const json_t *f = at(m, "fleet");
    if (f == NULL)
        return;
    one(b, "manager_up", GAUGE, "1: connected to the manager.", strcmp(str(m, "state"), "connected") == 0);
    one(b, "manager_spooled", GAUGE, "Events and blocks that wait to be told to the manager.", num(m, "spooled"));
    one(b, "manager_spooled_bytes", GAUGE, "Bytes of them.", num(m, "spooled_bytes"));
    one(b, "manager_sent_total", COUNTER, "Events and blocks that the manager was told, since the uplink began.",
        num(m, "sent"));
    one(b, "manager_lost_total", COUNTER, "Those for which there was no room, since the uplink began.", num(m, "lost"));
    one(b, "manager_events_lost_total", COUNTER, "Events that did not even get as far, the uplink being too slow.",
        num(m, "events_lost"));
    one(b, "manager_certificate_seconds", GAUGE, "Seconds until this host's certificate ends.",
        num(m, "certificate_seconds"));
    one(b, "fleet_blocks", GAUGE, "Blocks in force that only other hosts of the fleet want.", num(f, "in_force"));
    one(b, "fleet_blocks_refused_total", COUNTER, "Blocks of the fleet that this host refused.", num(f, "refused"));
}

static void put_events(struct sk_strbuf *b, const json_t *e)
{
    one(b, "events_written_total", COUNTER, "Events in the EVE log.", num(e, "written"));
    head(b, "events_lost_total", COUNTER, "Events that are not in it, by cause.");
    sample(b, "events_lost_total", "cause", "ring_full", num(e, "lost_ring_full"));
    sample(b, "events_lost_total", "cause", "write_errors", num(e, "lost_write_errors"));
    sample(b, "events_lost_total", "cause", "guard", num(e, "lost_guard"));
    sample(b, "events_lost_total", "cause", "invalid", num(e, "invalid") + num(e, "garbage"));
    one(b, "events_held_bytes", GAUGE, "Bytes of events that wait until the log can be written.", num(e, "held_bytes"));
}

/* The ledger, the kernel's counts and what is in the tables now have metrics of their own. */
static bool is_elsewhere(enum sk_counter c)
{
    const char *name = sk_counter_name(c);
    return strncmp(name, "ledger.", 7) == 0 || strncmp(name, "capture.", 8) == 0 || c == SK_C_FLOWS ||
           c == SK_C_FLOWS_ACTIVE;
}

/* a.b.c of the stats events is sekisho_a_b_c_total. */
static void put_counters(struct sk_strbuf *b, const json_t *counters)
{
    char name[96];
    for (unsigned c = 0; c < SK_C_COUNT; c++) {
        const char *from = sk_counter_name((enum sk_counter)c);
        if (is_elsewhere((enum sk_counter)c))
            continue;
        snprintf(name, sizeof(name), "%s_total", from);
        for (char *p = name; *p != '\0'; p++)
            *p = *p == '.' ? '_' : *p;
        one(b, name, COUNTER, sk_counter_help((enum sk_counter)c), num(counters, from));
    }
}

int metrics_render(const json_t *status, struct sk_strbuf *out)
{
    put_build(out, status);
    put_roles(out, at(status, "roles"));
    put_ledger(out, at(status, "ledger"));
    put_workers(out, at(status, "workers"));
    put_state(out, status);
    put_blocks(out, at(status, "blocks"));
    put_manager(out, at(status, "manager"));
    put_events(out, at(status, "events"));
    put_counters(out, at(status, "counters"));
    return out->full ? SK_EFULL : SK_OK;
}
