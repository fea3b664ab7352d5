/* One block, and the brake, as text for people. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include "show.h"

/* ---- one block ---- */

static const char *proto(long long p)
{
    return p == IPPROTO_TCP                           ? "TCP"
           : p == IPPROTO_UDP                         ? "UDP"
           : p == IPPROTO_ICMP || p == IPPROTO_ICMPV6 ? "ICMP"
                                                      : "IP";
}

static const char *kind_of_hop(const json_t *hop)
{
    return strcmp(show_str(hop, "trusted_as"), "http") == 0 ? "proxies.http" : "proxies.proxy-protocol";
}

static void show_client(const json_t *c)
{
    size_t i;
    const json_t *h;
    if (c == NULL)
        return;
    if (json_array_size(show_at(c, "hops")) == 0) {
        printf("Client    %s, who sent the packet\n", show_str(c, "address"));
        return;
    }
    printf("Client    %s, known by %s, through\n", show_str(c, "address"), show_str(c, "known_by"));
    json_array_foreach(show_at(c, "hops"), i, h)
    {
        const json_t *by = show_at(h, "trusted_by");
        printf("          %s, known by %s, trusted by %s %s\n", show_str(h, "address"), show_str(h, "known_by"),
               kind_of_hop(h), json_is_string(by) ? json_string_value(by) : "(no longer)");
    }
}

static void show_packet(const json_t *b)
{
    const json_t *p = show_at(b, "packet");
    if (p == NULL)
        return;
    printf("Rule      %lld:%lld:%lld %s\n", show_num(b, "gid"), show_num(b, "signature_id"), show_num(b, "rev"),
           show_str(b, "reason"));
    printf("Packet    %s", show_str(p, "time"));
    if (show_at(p, "number") != NULL)
        printf(", number %lld", show_num(p, "number"));
    printf("  %s %s:%lld -> %s:%lld (%s)%s\n", proto(show_num(p, "proto")), show_str(p, "src_ip"),
           show_num(p, "src_port"), show_str(p, "dest_ip"), show_num(p, "dest_port"), show_str(p, "direction"),
           json_is_true(show_at(p, "dropped")) ? ", dropped" : "");
    printf("Flow      %lld\n", show_num(p, "flow_id"));
    printf("Evidence  %s\n", show_str(b, "evidence"));
}

static void show_score(const json_t *s)
{
    size_t i;
    const json_t *a;
    if (s == NULL)
        return;
    printf("Because   its alerts came to %lld points, of %lld\n", show_num(s, "points"), show_num(s, "threshold"));
    json_array_foreach(show_at(s, "alerts"), i, a)
        printf("          %s  %lld:%lld  %lld points\n", show_str(a, "time"), show_num(a, "gid"),
               show_num(a, "signature_id"), show_num(a, "points"));
}

static void show_cause(const json_t *b)
{
    const json_t *f = show_at(b, "flood");
    const char *cause = show_str(b, "cause");
    show_packet(b);
    show_score(show_at(b, "score"));
    if (f != NULL)
        printf("Because   of a flood: %lld connections and requests a second, of %lld\n", show_num(f, "rate"),
               show_num(f, "limit"));
    else if (strcmp(cause, "policy") == 0)
        puts("Because   decide.policy says so of this rule");
    else if (strcmp(cause, "rule") == 0)
        puts("Because   the rule says so");
    if (show_num(b, "repeat") > 0)
        printf("Repeat    number %lld of this target: each lasts longer than the one before\n",
               show_num(b, "repeat") + 1);
}

static const char *times(long long n, char buf[24])
{
    if (n == 1)
        return "once";
    snprintf(buf, 24, "%lld times", n);
    return buf;
}

static void show_end(const json_t *b)
{
    char t[32], m[24];
    const json_t *nft = show_at(b, "nft"), *dropped = show_at(b, "hits");
    if (show_at(b, "ended") != NULL)
        printf("Ended     %s: %s\n", show_str(b, "ended"), show_str(b, "ended_why"));
    else
        printf("Expires   %s, in %s\n", show_str(b, "expires"), show_span(show_num(b, "seconds_left"), t));
    if (nft != NULL && json_is_true(show_at(b, "dry_run")))
        puts("nftables  DRY RUN: not there");
    else if (nft != NULL)
        printf("nftables  table %s, set %s, element %s: %lld packets, %s dropped\n", show_str(nft, "table"),
               show_str(nft, "set"), show_str(nft, "element"), show_num(nft, "packets"),
               show_bytes(show_num(nft, "bytes"), m));
    else if (dropped != NULL)
        printf("Dropped   %lld packets, %s\n", show_num(dropped, "packets"), show_bytes(show_num(dropped, "bytes"), m));
}

static void show_earlier(const json_t *list)
{
    size_t i;
    const json_t *b;
    json_array_foreach(list, i, b)
        printf("%-9s %s  set %.19s, ended %.19s (%s)%s: %s\n", i == 0 ? "Earlier" : "", show_str(b, "id"),
               show_str(b, "created"), show_str(b, "ended"), show_str(b, "ended_why"),
               json_is_true(show_at(b, "dry_run")) ? ", dry run" : "", show_str(b, "reason"));
}

static void show_fleet(const json_t *f, const char *own)
{
    if (f == NULL)
        return;
    printf("Fleet     until %s, as %s blocked it (%s): %s\n", show_str(f, "expires"), show_str(f, "host"),
           show_str(f, "id"), show_str(f, "reason"));
    if (show_at(f, "signature_id") != NULL)
        printf("          by rule %lld:%lld there\n", show_num(f, "gid"), show_num(f, "signature_id"));
    if (own[0] != '\0')
        printf("          this host by itself until %s\n", own);
}

static void show_sets(const json_t *sets)
{
    size_t i;
    const json_t *s;
    if (json_array_size(sets) == 0)
        puts("AWS WAF   in no IP set");
    json_array_foreach(sets, i, s) printf("%-9s IP set %s, %s %s\n", i == 0 ? "AWS WAF" : "", show_str(s, "set"),
                                          show_str(s, "scope"), show_str(s, "region"));
}

static void show_reported(const json_t *r)
{
    const char *state = show_str(r, "state");
    if (strcmp(state, "no-manager") == 0)
        puts("AWS WAF   no manager");
    else if (strcmp(state, "known") != 0)
        printf("Manager   %s\n", strcmp(state, "waiting") == 0 ? "has not answered for it yet" : "not connected");
    else if (!json_is_true(show_at(r, "in_force")))
        puts("Manager   does not block it");
    else
        printf("Manager   blocks it until %s; hosts that want it: %lld\n", show_str(r, "expires"),
               show_num(r, "hosts"));
    if (json_is_true(show_at(r, "in_force")))
        show_sets(show_at(r, "aws_waf"));
}

void show_block(const json_t *b)
{
    char m[24];
    printf("Block     %s, by %s%s\n", show_str(b, "id"), show_str(b, "origin"),
           json_is_true(show_at(b, "dry_run")) ? ", DRY RUN" : "");
    printf("Target    %s\n", show_str(b, "target"));
    show_client(show_at(b, "client"));
    if (show_at(b, "packet") == NULL)
        printf("Reason    %s\n", show_str(b, "reason"));
    show_cause(b);
    printf("Set       %s, asked for %s\n", show_str(b, "created"), times(show_num(b, "requests"), m));
    show_end(b);
    show_fleet(show_at(b, "fleet"), show_str(b, "own_expires"));
    show_reported(show_at(b, "reported"));
    show_earlier(show_at(b, "earlier"));
}

void show_blocked(const json_t *answer)
{
    char t[32];
    const json_t *b = show_at(answer, "block");
    printf("%s %s for %s (%s)%s\n", show_str(answer, "result"), show_str(b, "target"),
           show_span(show_num(b, "seconds_left"), t), show_str(b, "id"),
           json_is_true(show_at(b, "dry_run")) ? ", DRY RUN: not in the kernel" : "");
    if (show_at(answer, "warning") != NULL)
        fprintf(stderr, "sekisho: %s\n", show_str(answer, "warning"));
}

/* ---- the brake ---- */

void show_brake(const json_t *b)
{
    char t[32];
    show_span(show_num(b, "window"), t);
    if (json_is_true(show_at(b, "braking")))
        printf("BRAKING since %s: %lld BLOCKS STOPPED\n", show_str(b, "since"), show_num(b, "stopped"));
    else if (show_at(b, "since") != NULL)
        printf("not braking; the last time began %s and stopped %lld blocks\n", show_str(b, "since"),
               show_num(b, "stopped"));
    else
        puts("not braking");
    printf("new blocks  %lld of %lld within %s, room for %lld\n", show_num(b, "new_blocks"), show_num(b, "limit"), t,
           show_num(b, "room"));
    printf("clients     %lld were active within %s\n", show_num(b, "active_clients"), t);
    printf("limits      %lld %% of the active clients, at least %lld, and %lld a second\n", show_num(b, "share"),
           show_num(b, "minimum"), show_num(b, "rate"));
    if (json_is_true(show_at(b, "braking")))
        puts("If customers are blocked: `sekisho unblock` them, and correct the rule (`sekisho explain`).\n"
             "If all of them are attackers: `sekisho brake --release`, or a larger decide.brake.share.");
}
