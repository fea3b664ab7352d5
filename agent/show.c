#include "show.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

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

static const char *bytes(long long n, char buf[24])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    int u = 0;
    for (; v >= 1024 && u < 4; u++)
        v /= 1024;
    snprintf(buf, 24, u == 0 ? "%.0f %s" : "%.1f %s", v, unit[u]);
    return buf;
}

static const char *span(long long seconds, char buf[32])
{
    return seconds > 0 ? sk_duration_format(seconds, buf) : "0s";
}

static void show_roles(const json_t *roles)
{
    size_t i;
    const json_t *r;
    char t[32];
    json_array_foreach(roles, i, r)
        printf("  %-9s pid %-7lld %-18s up %-8s restarts %lld\n", str(r, "name"), num(r, "pid"), str(r, "state"),
               span(num(r, "uptime"), t), num(r, "restarts"));
}

static void show_workers(const json_t *workers)
{
    size_t i;
    const json_t *w;
    char b[24], m[24];
    printf("  worker %14s %11s %13s %8s %8s %11s\n", "packets", "bytes", "kernel drops", "flows", "alerts", "memory");
    json_array_foreach(workers, i, w)
        printf("  %-6zu %14lld %11s %13lld %8lld %8lld %11s\n", i, num(w, "packets"), bytes(num(w, "bytes"), b),
               num(w, "kernel_drops"), num(w, "flows"), num(w, "alerts"), bytes(num(w, "memory"), m));
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
    long long sent = num(p, "sent"), whole = num(p, "inspected");
    bool all = sum_of(at(p, "causes")) == 0;
    printf("packets     %lld came, ", sent);
    if (all)
        printf("everything was inspected");
    else
        printf("%lld inspected (%s)", whole, percent(whole, sent, b));
    if (num(p, "waiting") != 0)
        printf(", %lld wait", num(p, "waiting"));
    puts(all ? "" : "; not, by cause:");
    show_causes(at(p, "causes"), sent);
}

static void show_flows(const json_t *f)
{
    bool all = sum_of(at(f, "causes")) == 0;
    printf("flows       %lld begun, %lld active, %lld inspected whole%s\n", num(f, "begun"), num(f, "active"),
           num(f, "inspected"), all ? "" : "; others, by cause:");
    show_causes(at(f, "causes"), num(f, "begun"));
}

static void show_ledger(const json_t *l)
{
    double blind = json_real_value(at(l, "blind_seconds"));
    show_packets(at(l, "packets"));
    show_flows(at(l, "flows"));
    if (blind > 0)
        printf("blind       %.1f s without an engine\n", blind);
}

/* What was not kept or not done, beside what the ledger tells. */
static const char *const losses[] = {
    "detect.alert_queue_overflow", "detect.pcre_limit", "detect.inspect_limit",
    "detect.threshold_memcap",     "decide.block_lost", "event.lost",
};

static void show_losses(const json_t *counters)
{
    bool any = false;
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
        if (num(counters, losses[i]) == 0)
            continue;
        if (!any)
            puts("not kept or not done");
        any = true;
        printf("  %-28s %lld\n", losses[i], num(counters, losses[i]));
    }
    if (!any)
        puts("nothing else lost");
}

static void show_interfaces(const json_t *names)
{
    size_t i;
    const json_t *n;
    fputs("interfaces ", stdout);
    json_array_foreach(names, i, n) printf(" %s", json_string_value(n));
    puts(json_array_size(names) == 0 ? " none" : "");
}

void show_status(const json_t *s)
{
    char t[32], m[24], ring[24];
    const json_t *rules = at(s, "rules"), *blocks = at(s, "blocks"), *ev = at(s, "events");
    printf("sekisho %s, %s mode, up %s\n", str(s, "version"), str(s, "mode"), span(num(s, "uptime"), t));
    show_roles(at(s, "roles"));
    show_interfaces(at(s, "interfaces"));
    if (num(s, "interfaces_unwatched") != 0)
        printf("            %lld MORE CANNOT BE WATCHED\n", num(s, "interfaces_unwatched"));
    show_workers(at(s, "workers"));
    show_ledger(at(s, "ledger"));
    printf("memory      %s of tables and rules, %s of capture rings\n", bytes(num(s, "memory"), m),
           bytes(num(s, "ring_memory"), ring));
    printf("rules       %lld loaded, %lld rejected, %lld slow\n", num(rules, "loaded"), num(rules, "rejected"),
           num(rules, "slow"));
    printf("blocks      %lld in force, %lld set, %lld expired%s\n", num(blocks, "in_force"), num(blocks, "set"),
           num(blocks, "expired"), json_is_true(at(blocks, "degraded")) ? "; THE KERNEL DOES NOT FOLLOW" : "");
    printf("refused     %lld by the never-list, %lld invalid, %lld table full, %lld too fast\n",
           num(blocks, "refused_never"), num(blocks, "refused_invalid"), num(blocks, "refused_full"),
           num(blocks, "refused_rate"));
    if (json_is_false(at(blocks, "never_list_complete")))
        puts("never-list  NOT COMPLETE: nothing is blocked");
    if (num(blocks, "lost") + num(blocks, "journal_errors") != 0)
        printf("            %lld requests lost, %lld journal errors\n", num(blocks, "lost"),
               num(blocks, "journal_errors"));
    printf("nftables    %lld repairs, %lld rebuilds, %lld errors\n", num(blocks, "nft_repairs"),
           num(blocks, "nft_rebuilds"), num(blocks, "nft_errors"));
    printf("events      %lld written, %lld lost\n", num(ev, "written"),
           num(ev, "lost_ring_full") + num(ev, "lost_write_errors") + num(ev, "lost_guard") + num(ev, "invalid") +
               num(ev, "garbage"));
    if (num(ev, "held_bytes") != 0)
        printf("            THE LOG CANNOT BE WRITTEN: %s of them are held back\n", bytes(num(ev, "held_bytes"), m));
    show_losses(at(s, "counters"));
}

static int by_creation(const void *x, const void *y)
{
    const json_t *const *a = x, *const *b = y;
    int d = strcmp(str(*a, "created"), str(*b, "created"));
    return d != 0 ? d : strcmp(str(*a, "target"), str(*b, "target"));
}

/* The newest last, where the reader's eye is. */
void show_blocks(const json_t *blocks)
{
    size_t n = json_array_size(blocks);
    const json_t **v = calloc(n + 1, sizeof(const json_t *));
    int wide = (int)strlen("TARGET");
    char t[32];
    if (n == 0)
        puts("nothing is blocked");
    for (size_t i = 0; v != NULL && i < n; i++) {
        v[i] = json_array_get(blocks, i);
        int len = (int)strlen(str(v[i], "target"));
        wide = len > wide ? len : wide;
    }
    if (v != NULL && n != 0) {
        qsort(v, n, sizeof(const json_t *), by_creation);
        printf("%-14s  %-*s  %-7s %8s  %-8s  %s\n", "ID", wide, "TARGET", "LEFT", "PACKETS", "BY", "REASON");
    }
    for (size_t i = 0; v != NULL && i < n; i++)
        printf("%-14s  %-*s  %-7s %8lld  %-8s  %s\n", str(v[i], "id"), wide, str(v[i], "target"),
               span(num(v[i], "seconds_left"), t), num(at(v[i], "nft"), "packets"), str(v[i], "origin"),
               str(v[i], "reason"));
    free(v);
}

static const char *proto(long long p)
{
    return p == IPPROTO_TCP                           ? "TCP"
           : p == IPPROTO_UDP                         ? "UDP"
           : p == IPPROTO_ICMP || p == IPPROTO_ICMPV6 ? "ICMP"
                                                      : "IP";
}

static void show_cause(const json_t *b)
{
    const json_t *p = at(b, "packet");
    if (p == NULL)
        return;
    printf("Rule      %lld:%lld:%lld %s\n", num(b, "gid"), num(b, "signature_id"), num(b, "rev"), str(b, "reason"));
    printf("Packet    %s  %s %s:%lld -> %s:%lld (%s)%s\n", str(p, "time"), proto(num(p, "proto")), str(p, "src_ip"),
           num(p, "src_port"), str(p, "dest_ip"), num(p, "dest_port"), str(p, "direction"),
           json_is_true(at(p, "dropped")) ? ", dropped" : "");
    printf("Flow      %lld\n", num(p, "flow_id"));
    printf("Evidence  %s\n", str(b, "evidence"));
}

static const char *times(long long n, char buf[24])
{
    if (n == 1)
        return "once";
    snprintf(buf, 24, "%lld times", n);
    return buf;
}

void show_block(const json_t *b)
{
    char t[32], m[24];
    const json_t *nft = at(b, "nft");
    printf("Block     %s, by %s\n", str(b, "id"), str(b, "origin"));
    printf("Target    %s\n", str(b, "target"));
    if (at(b, "packet") == NULL)
        printf("Reason    %s\n", str(b, "reason"));
    show_cause(b);
    printf("Set       %s, asked for %s\n", str(b, "created"), times(num(b, "requests"), m));
    if (at(b, "ended") != NULL)
        printf("Ended     %s: %s\n", str(b, "ended"), str(b, "ended_why"));
    else
        printf("Expires   %s, in %s\n", str(b, "expires"), span(num(b, "seconds_left"), t));
    if (nft != NULL)
        printf("nftables  table %s, set %s, element %s: %lld packets, %s dropped\n", str(nft, "table"), str(nft, "set"),
               str(nft, "element"), num(nft, "packets"), bytes(num(nft, "bytes"), m));
    puts("AWS WAF   no manager");
}

void show_blocked(const json_t *answer)
{
    char t[32];
    const json_t *b = at(answer, "block");
    printf("%s %s for %s (%s)\n", str(answer, "result"), str(b, "target"), span(num(b, "seconds_left"), t),
           str(b, "id"));
    if (at(answer, "warning") != NULL)
        fprintf(stderr, "sekisho: %s\n", str(answer, "warning"));
}
