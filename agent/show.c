#include "show.h"

#include <stdio.h>
#include <string.h>
#include "base/clock.h"

const json_t *show_at(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

long long show_num(const json_t *o, const char *key)
{
    return (long long)json_integer_value(show_at(o, key));
}

const char *show_str(const json_t *o, const char *key)
{
    const char *s = json_string_value(show_at(o, key));
    return s != NULL ? s : "";
}

const char *show_bytes(long long n, char buf[24])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    int u = 0;
    for (; v >= 1024 && u < 4; u++)
        v /= 1024;
    snprintf(buf, 24, u == 0 ? "%.0f %s" : "%.1f %s", v, unit[u]);
    return buf;
}

const char *show_span(long long seconds, char buf[32])
{
    return seconds > 0 ? sk_duration_format(seconds, buf) : "0s";
}

static void show_roles(const json_t *roles)
{
    size_t i;
    const json_t *r;
    char t[32];
    json_array_foreach(roles, i, r)
        printf("  %-9s pid %-7lld %-18s up %-8s restarts %lld\n", show_str(r, "name"), show_num(r, "pid"),
               show_str(r, "state"), show_span(show_num(r, "uptime"), t), show_num(r, "restarts"));
}

static void show_workers(const json_t *workers)
{
    size_t i;
    const json_t *w;
    char b[24], m[24];
    printf("  worker %14s %11s %13s %8s %8s %11s\n", "packets", "bytes", "kernel drops", "flows", "alerts", "memory");
    json_array_foreach(workers, i, w) printf(
        "  %-6zu %14lld %11s %13lld %8lld %8lld %11s\n", i, show_num(w, "packets"), show_bytes(show_num(w, "bytes"), b),
        show_num(w, "kernel_drops"), show_num(w, "flows"), show_num(w, "alerts"), show_bytes(show_num(w, "memory"), m));
}

static const char *percent(long long n, long long of, char buf[16])
{
    double p = of > 0 ? 100 * (double)n / (double)of : 0;
    if (n > 0 && p < 0.01)
        return "<0.01%";
    snprintf(buf, 16, "%.2f%%", n < of && p > 99.99 ? 99.99 : p);
    return buf;
}

/* Only those that are not 0. */
static void show_causes(const json_t *causes, long long of)
{
    const char *name;
    const json_t *n;
    char p[16];
    json_object_foreach((json_t *)(uintptr_t)causes, name, n)
    {
        long long v = (long long)json_integer_value(n);
        if (v != 0)
            printf("  %-16s %14lld %8s\n", name, v, percent(v, of, p));
    }
}

static long long sum_of(const json_t *causes)
{
    const char *name;
    const json_t *n;
    long long sum = 0;
    json_object_foreach((json_t *)(uintptr_t)causes, name, n) sum += (long long)json_integer_value(n);
    return sum;
}

static void show_packets(const json_t *p)
{
    char b[16];
    long long sent = show_num(p, "sent"), whole = show_num(p, "inspected");
    bool all = sum_of(show_at(p, "causes")) == 0;
    printf("packets     %lld came, ", sent);
    if (all)
        printf("everything was inspected");
    else
        printf("%lld inspected (%s)", whole, percent(whole, sent, b));
    if (show_num(p, "waiting") != 0)
        printf(", %lld wait", show_num(p, "waiting"));
    puts(all ? "" : "; not, by cause:");
    show_causes(show_at(p, "causes"), sent);
}

static void show_flows(const json_t *f)
{
    bool all = sum_of(show_at(f, "causes")) == 0;
    printf("flows       %lld begun, %lld active, %lld inspected whole%s\n", show_num(f, "begun"), show_num(f, "active"),
           show_num(f, "inspected"), all ? "" : "; others, by cause:");
    show_causes(show_at(f, "causes"), show_num(f, "begun"));
}

static void show_ledger(const json_t *l)
{
    double blind = json_real_value(show_at(l, "blind_seconds"));
    double before = json_real_value(show_at(l, "unwatched_seconds"));
    show_packets(show_at(l, "packets"));
    show_flows(show_at(l, "flows"));
    if (blind > 0)
        printf("blind       %.1f s without an engine\n", blind);
    if (before > 0)
        printf("unwatched   %.2f s before this start, without an agent\n", before);
}

/* What was not kept or not done, beside what the ledger tells. */
static const char *const losses[] = {
    "detect.alert_queue_overflow", "detect.pcre_limit",   "detect.inspect_limit", "detect.threshold_memcap",
    "decide.block_lost",           "decide.score_memcap", "decide.flood_memcap",  "event.lost",
};

static void show_losses(const json_t *counters)
{
    bool any = false;
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
        if (show_num(counters, losses[i]) == 0)
            continue;
        if (!any)
            puts("not kept or not done");
        any = true;
        printf("  %-28s %lld\n", losses[i], show_num(counters, losses[i]));
    }
    if (!any)
        puts("nothing else lost");
}

static void show_names(const char *what, const json_t *names)
{
    size_t i;
    const json_t *n;
    fputs(what, stdout);
    json_array_foreach(names, i, n) printf(" %s", json_string_value(n));
    puts(json_array_size(names) == 0 ? " none" : "");
}

static void show_interfaces(const json_t *s)
{
    show_names("interfaces ", show_at(s, "interfaces"));
    if (json_array_size(show_at(s, "interfaces_missing")) != 0)
        show_names("            NOT THERE YET:", show_at(s, "interfaces_missing"));
    if (show_num(s, "interfaces_unwatched") != 0)
        printf("            %lld MORE CANNOT BE WATCHED\n", show_num(s, "interfaces_unwatched"));
}

static void show_braking(const json_t *b)
{
    if (json_is_true(show_at(b, "braking")))
        printf("brake       BRAKING since %.19s: %lld BLOCKS STOPPED; see `sekisho brake`\n", show_str(b, "since"),
               show_num(b, "stopped"));
}

/* Behind proxies: when nobody is proven, what is declared does not fit them, and nobody is blocked. */
static void show_clients(const json_t *counters)
{
    long long proven = show_num(counters, "identity.proven"), not = show_num(counters, "identity.unproven");
    if (proven + not > 0)
        printf("proxied     %lld requests with a proven client, %lld without, %lld of blocked clients\n", proven, not,
               show_num(counters, "identity.cut"));
}

static void show_bundle(const char *kind, const json_t *b)
{
    const json_t *r = show_at(b, "refused");
    if (show_num(b, "version") != 0)
        printf("            %s %lld in force\n", kind, show_num(b, "version"));
    if (r != NULL)
        printf("            %s %lld REFUSED %.19s: %s\n", kind, show_num(r, "version"), show_str(r, "time"),
               show_str(r, "why"));
}

static void show_manager(const json_t *m)
{
    char t[32];
    const json_t *f = show_at(m, "fleet");
    const char *state = show_str(m, "state");
    if (strcmp(state, "none") == 0)
        return;
    bool up = strcmp(state, "connected") == 0;
    printf("manager     %s: %s%s%.19s\n", show_str(m, "url"),
           up                              ? "connected"
           : strcmp(state, "refused") == 0 ? "REFUSES THIS HOST"
                                           : "NOT CONNECTED",
           show_at(m, "since") != NULL ? " since " : "", show_str(m, "since"));
    if (!up && show_at(m, "failure") != NULL)
        printf("            %s\n", show_str(m, "failure"));
    printf("            %lld told, %lld wait, %lld lost; certificate for %s\n", show_num(m, "sent"),
           show_num(m, "spooled"), show_num(m, "lost") + show_num(m, "events_lost"),
           show_span(show_num(m, "certificate_seconds"), t));
    printf("fleet       %lld in force, %lld refused, %lld unblocked here\n", show_num(f, "in_force"),
           show_num(f, "refused"), show_num(f, "unblocked_here"));
    show_bundle("rules", show_at(m, "rules"));
    show_bundle("policy", show_at(m, "policy"));
}

/* Those of this instance. */
static void show_settings(const json_t *settings)
{
    size_t i;
    json_t *x;
    json_array_foreach(settings, i, x)
        printf("%-11s %s  (%s)\n", i == 0 ? "settings" : "", show_str(x, "setting"), show_str(x, "origin"));
}

bool show_restart_due(const json_t *s)
{
    return json_is_true(show_at(s, "program_replaced")) || strcmp(show_str(s, "version"), SK_VERSION) != 0;
}

static void show_restart(const json_t *s)
{
    if (show_restart_due(s))
        puts("restart     IS DUE: another program is installed than runs (" SK_VERSION " asks); would it start? "
             "`sekisho check --restart`, then systemctl restart sekisho");
}

void show_status(const json_t *s)
{
    char t[32], m[24], ring[24];
    const json_t *rules = show_at(s, "rules"), *blocks = show_at(s, "blocks"), *ev = show_at(s, "events");
    printf("sekisho %s, %s mode%s, up %s\n", show_str(s, "version"), show_str(s, "mode"),
           json_is_true(show_at(s, "dry_run")) ? ", DRY RUN: NOBODY IS BLOCKED" : "",
           show_span(show_num(s, "uptime"), t));
    show_restart(s);
    show_roles(show_at(s, "roles"));
    show_settings(show_at(s, "settings"));
    show_interfaces(s);
    show_workers(show_at(s, "workers"));
    show_ledger(show_at(s, "ledger"));
    printf("memory      %s of tables and rules, %s of capture rings\n", show_bytes(show_num(s, "memory"), m),
           show_bytes(show_num(s, "ring_memory"), ring));
    printf("rules       %lld loaded, %lld rejected, %lld slow\n", show_num(rules, "loaded"),
           show_num(rules, "rejected"), show_num(rules, "slow"));
    printf("blocks      %lld in force, %lld set, %lld expired%s\n", show_num(blocks, "in_force"),
           show_num(blocks, "set"), show_num(blocks, "expired"),
           json_is_true(show_at(blocks, "degraded")) ? "; THE KERNEL DOES NOT FOLLOW" : "");
    printf("refused     %lld never-list, %lld brake, %lld invalid, %lld table full, %lld too fast\n",
           show_num(blocks, "refused_never"), show_num(blocks, "refused_brake"), show_num(blocks, "refused_invalid"),
           show_num(blocks, "refused_full"), show_num(blocks, "refused_rate"));
    show_braking(show_at(s, "brake"));
    show_manager(show_at(s, "manager"));
    show_clients(show_at(s, "counters"));
    printf("connections %lld destroyed, %lld gone before, %lld failed, %lld refused, %lld too fast\n",
           show_num(blocks, "killed"), show_num(blocks, "kill_gone"), show_num(blocks, "kill_failed"),
           show_num(blocks, "kill_refused"), show_num(blocks, "kill_too_fast"));
    if (show_num(blocks, "shared_full") != 0)
        printf("            %lld TIMES A BLOCKED CLIENT WAS NOT MADE KNOWN for requests through proxies\n",
               show_num(blocks, "shared_full"));
    printf("never-list  %lld entries, %lld of administrators\n", show_num(blocks, "never_list"),
           show_num(blocks, "administrators"));
    if (json_is_false(show_at(blocks, "never_list_complete")))
        puts("never-list  NOT COMPLETE: nothing is blocked");
    if (show_num(blocks, "lost") + show_num(blocks, "journal_errors") != 0)
        printf("            %lld requests lost, %lld journal errors\n", show_num(blocks, "lost"),
               show_num(blocks, "journal_errors"));
    printf("nftables    %lld repairs, %lld rebuilds, %lld errors\n", show_num(blocks, "nft_repairs"),
           show_num(blocks, "nft_rebuilds"), show_num(blocks, "nft_errors"));
    printf("events      %lld written, %lld lost\n", show_num(ev, "written"),
           show_num(ev, "lost_ring_full") + show_num(ev, "lost_write_errors") + show_num(ev, "lost_guard") +
               show_num(ev, "invalid") + show_num(ev, "garbage"));
    if (show_num(ev, "held_bytes") != 0)
        printf("            THE LOG CANNOT BE WRITTEN: %s of them are held back\n",
               show_bytes(show_num(ev, "held_bytes"), m));
    show_losses(show_at(s, "counters"));
}
