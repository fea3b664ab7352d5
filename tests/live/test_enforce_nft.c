/*
 * The nftables backend and the enforcer on the running kernel, in a network namespace of this process alone: it
 * vanishes with the process. Needs root; skipped otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "enforce/enforcer.h"

#define S SK_NS_PER_S

struct rig {
    struct nft *nft, *other; /* other: somebody else on this machine */
    struct nft_monitor *mon;
    struct block_table *table;
    struct never_list *never;
    struct policy_limits limits;
    struct enforcer *e;
    struct journal *journal;
    struct nft_news news; /* what woke it last */
    char dir[64], path[96];
};

static void rig_enforcer(struct rig *r)
{
    r->table = block_table_create(200000);
    assert_int_equal(journal_open(r->path, &r->journal, NULL), SK_OK);
    struct enforcer_setup s = {.ops = &nft_kernel_ops,
                               .ops_ctx = r->nft,
                               .table = r->table,
                               .journal = r->journal,
                               .never = r->never,
                               .limits = &r->limits};
    r->e = enforcer_create(&s);
    assert_non_null(r->e);
}

/* As if the guard had been killed: nothing is said goodbye to. */
static void rig_crash(struct rig *r)
{
    enforcer_free(r->e);
    journal_close(r->journal);
    block_table_free(r->table);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    assert_int_equal(nft_open(&r->nft), SK_OK);
    assert_int_equal(nft_open(&r->other), SK_OK);
    assert_int_equal(nft_monitor_open(r->nft, &r->mon), SK_OK);
    r->never = never_create();
    r->limits = (struct policy_limits){.max_seconds = 86400};
    strcpy(r->dir, "/tmp/sekisho-live-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->path, sizeof r->path, "%s/journal.db", r->dir);
    rig_enforcer(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    rig_crash(r);
    static const char *const suffix[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        char p[128];
        snprintf(p, sizeof p, "%s%s", r->path, suffix[i]);
        unlink(p);
    }
    rmdir(r->dir);
    never_free(r->never);
    nft_monitor_close(r->mon);
    nft_close(r->nft);
    nft_close(r->other);
    free(r);
    return 0;
}

static struct sk_prefix pfx(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static enum enforce_result ask(struct rig *r, const char *target, int64_t seconds, int64_t now)
{
    struct decide_request q = {.target = pfx(target), .seconds = seconds, .sid = 7, .msg = "live"};
    struct enforce_outcome o;
    enforcer_request(r->e, &q, BLOCK_OPERATOR, now, &o);
    return o.result;
}

struct kernel {
    struct nft_elem e[64];
    size_t n, total;
};

static void keep(void *arg, const struct nft_elem *e)
{
    struct kernel *k = arg;
    k->total++;
    if (k->n < 64)
        k->e[k->n++] = *e;
}

static struct kernel look(struct rig *r)
{
    struct kernel k = {.n = 0};
    assert_int_equal(nft_kernel_ops.list(r->other, sk_now_wall(), keep, &k), SK_OK);
    return k;
}

/* Seconds that the kernel keeps dropping this address; 0 if it does not. */
static double left(struct rig *r, const char *addr)
{
    struct kernel k = look(r);
    struct sk_prefix p = pfx(addr);
    double best = 0;
    for (size_t i = 0; i < k.n; i++)
        if (sk_addr_cmp(&k.e[i].first, &p.addr) <= 0 && sk_addr_cmp(&p.addr, &k.e[i].last) <= 0) {
            double l = (double)(k.e[i].expires - sk_now_wall()) / 1e9;
            best = l > best ? l : best;
        }
    return best;
}

static bool woken(struct rig *r)
{
    struct pollfd p = {.fd = nft_monitor_fd(r->mon), .events = POLLIN};
    return poll(&p, 1, 200) > 0 && nft_monitor_read(r->mon, &r->news);
}

static void test_blocks_reach_the_kernel_with_their_expiry(void **state)
{
    struct rig *r = *state;
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    assert_int_equal(ask(r, "192.0.2.1", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "2001:db8::1", 120, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "198.51.100.0/24", 90, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "2001:db8:1::/48", 30, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    assert_true(left(r, "192.0.2.1") > 58 && left(r, "192.0.2.1") <= 60.1);
    assert_true(left(r, "2001:db8::1") > 118 && left(r, "2001:db8::1") <= 120.1);
    assert_true(left(r, "198.51.100.255") > 88 && left(r, "198.51.100.255") <= 90.1);
    assert_true(left(r, "2001:db8:1:ffff::5") > 28);
    assert_true(left(r, "198.51.101.0") == 0 && left(r, "192.0.2.2") == 0);
    assert_int_equal(enforcer_unblock(r->e, &(struct sk_prefix){.addr = pfx("192.0.2.1").addr, .len = 128}, now),
                     SK_OK);
    struct sk_prefix net = pfx("198.51.100.0/24");
    assert_int_equal(enforcer_unblock(r->e, &net, now), SK_OK);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    assert_true(left(r, "192.0.2.1") == 0 && left(r, "198.51.100.7") == 0);
    assert_int_equal(look(r).total, 2);
    assert_int_equal(enforcer_stats(r->e)->kernel_errors, 0);
}

static void extend_one(struct rig *r)
{
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    assert_int_equal(ask(r, "192.0.2.1", 10, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "192.0.2.0/25", 10, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    assert_int_equal(ask(r, "192.0.2.1", 500, now), ENFORCE_EXTENDED);
    assert_int_equal(ask(r, "192.0.2.0/25", 400, now), ENFORCE_EXTENDED);
    usleep(1100000);
    assert_int_equal(enforcer_tick(r->e, sk_now_wall()), SK_OK);
    assert_true(left(r, "192.0.2.1") > 495);
    assert_true(left(r, "192.0.2.2") > 395);
    assert_int_equal(look(r).total, 2);
    assert_int_equal(enforcer_stats(r->e)->kernel_errors, 0);
}

static void test_extension_updates_the_element(void **state)
{
    extend_one(*state);
}

static void test_extension_replaces_the_element_on_old_kernels(void **state)
{
    struct rig *r = *state;
    nft_set_no_update(r->nft);
    extend_one(r);
}

static void test_overlapping_prefixes_each_end_in_their_own_time(void **state)
{
    struct rig *r = *state;
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    assert_int_equal(ask(r, "198.51.100.64/26", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "198.51.100.0/24", 2, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "198.51.100.200", 30, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    assert_true(left(r, "198.51.100.0") > 1 && left(r, "198.51.100.0") < 2.1);
    assert_true(left(r, "198.51.100.127") > 58 && left(r, "198.51.100.128") < 2.1);
    usleep(2300000); /* nobody ticks: the kernel does it alone */
    assert_true(left(r, "198.51.100.0") == 0 && left(r, "198.51.100.255") == 0);
    assert_true(left(r, "198.51.100.64") > 55 && left(r, "198.51.100.200") > 25);
    now = sk_now_wall();
    assert_int_equal(enforcer_tick(r->e, now), SK_OK);
    assert_int_equal(ask(r, "198.51.0.0/16", 20, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    assert_true(left(r, "198.51.0.1") > 18 && left(r, "198.51.100.0") > 18 && left(r, "198.51.100.64") > 50);
    assert_int_equal(enforcer_stats(r->e)->kernel_errors, 0);
}

static void test_flushed_ruleset_is_noticed_and_restored(void **state)
{
    struct rig *r = *state;
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    assert_int_equal(ask(r, "192.0.2.1", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "198.51.100.0/24", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    assert_false(woken(r)); /* own changes are no news */
    assert_int_equal(nft_kernel_ops.teardown(r->other), SK_OK);
    assert_true(woken(r));
    int64_t t = sk_now_mono();
    assert_int_equal(enforcer_resync(r->e, sk_now_wall()), SK_OK);
    print_message("table and elements back after %.2f ms\n", (double)(sk_now_mono() - t) / 1e6);
    assert_true(left(r, "192.0.2.1") > 55 && left(r, "198.51.100.9") > 55);
    assert_int_equal(enforcer_stats(r->e)->rebuilds, 1);
    assert_int_equal(enforcer_stats(r->e)->repairs, 2);
    assert_false(woken(r));
    /* One element alone. */
    struct sk_prefix p = pfx("192.0.2.1");
    struct nft_change del = {.set = NFT_HOST4, .op = NFT_DEL, .first = p.addr, .last = p.addr};
    assert_int_equal(nft_kernel_ops.apply(r->other, &del, 1, sk_now_wall()), SK_OK);
    assert_true(woken(r));
    assert_int_equal(enforcer_resync(r->e, sk_now_wall()), SK_OK);
    assert_true(left(r, "192.0.2.1") > 55);
    assert_int_equal(enforcer_stats(r->e)->repairs, 3);
    assert_int_equal(enforcer_stats(r->e)->rebuilds, 1);
}

static void by_hand(struct rig *r, enum nft_op op, const char *target, int64_t expires)
{
    struct sk_prefix p = pfx(target);
    bool v4 = sk_addr_is_v4(&p.addr);
    struct nft_change c = {.op = (uint8_t)op, .expires = expires};
    c.set = p.len == 128 ? (v4 ? NFT_HOST4 : NFT_HOST6) : (v4 ? NFT_PREFIX4 : NFT_PREFIX6);
    sk_prefix_range(&p, &c.first, &c.last);
    assert_int_equal(nft_kernel_ops.apply(r->other, &c, 1, sk_now_wall()), SK_OK);
}

static bool heard_of(const struct rig *r, uint8_t set, const char *addr)
{
    struct sk_prefix p = pfx(addr);
    for (size_t i = 0; i < r->news.nhosts; i++)
        if (r->news.host[i].set == set && sk_addr_eq(&r->news.host[i].first, &p.addr))
            return true;
    return false;
}

static void test_news_say_what_was_touched(void **state)
{
    struct rig *r = *state;
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    assert_int_equal(ask(r, "192.0.2.1", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "2001:db8::1", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    by_hand(r, NFT_DEL, "192.0.2.1", 0);
    by_hand(r, NFT_ADD, "203.0.113.5", now + 50 * S);
    by_hand(r, NFT_DEL, "2001:db8::1", 0);
    assert_true(woken(r));
    assert_int_equal(r->news.nhosts, 3);
    assert_true(heard_of(r, NFT_HOST4, "192.0.2.1") && heard_of(r, NFT_HOST4, "203.0.113.5"));
    assert_true(heard_of(r, NFT_HOST6, "2001:db8::1"));
    assert_false(r->news.shape || r->news.lost || r->news.ranges[0] || r->news.ranges[1]);
    assert_int_equal(enforcer_heard(r->e, &r->news, sk_now_wall()), SK_OK);
    assert_true(left(r, "192.0.2.1") > 55 && left(r, "2001:db8::1") > 55);
    assert_int_equal(enforcer_stats(r->e)->repairs, 2);
    assert_int_equal(enforcer_stats(r->e)->adopted, 1);
    by_hand(r, NFT_ADD, "2001:db8:5::/48", now + 50 * S);
    assert_true(woken(r));
    assert_true(r->news.ranges[1] && !r->news.ranges[0] && r->news.nhosts == 0);
    assert_int_equal(enforcer_heard(r->e, &r->news, sk_now_wall()), SK_OK);
    assert_int_equal(enforcer_stats(r->e)->adopted, 2);
    assert_false(woken(r));
}

static void test_more_news_than_can_be_held_read_everything(void **state)
{
    struct rig *r = *state;
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    for (unsigned i = 0; i < NFT_NEWS_MAX + 50; i++) {
        char text[32];
        snprintf(text, sizeof text, "11.0.%u.%u", i / 200, 1 + i % 200);
        assert_int_equal(ask(r, text, 60, now), ENFORCE_BLOCKED);
    }
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    struct nft_change all = {.set = NFT_HOST4, .op = NFT_FLUSH};
    assert_int_equal(nft_kernel_ops.apply(r->other, &all, 1, now), SK_OK);
    assert_true(woken(r));
    assert_true(r->news.lost);
    assert_int_equal(enforcer_heard(r->e, &r->news, sk_now_wall()), SK_OK);
    assert_int_equal(look(r).total, NFT_NEWS_MAX + 50);
}

static void test_single_elements_are_told(void **state)
{
    struct rig *r = *state;
    enum { N = 600 };
    static struct nft_elem e[N + 4];
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    for (unsigned i = 0; i < N; i++) {
        char text[32];
        snprintf(text, sizeof text, "11.0.%u.%u", i / 200, 1 + i % 200);
        struct sk_prefix p = pfx(text);
        e[i] = (struct nft_elem){.set = NFT_HOST4, .first = p.addr, .there = i % 3 == 0};
        if (i % 3 != 1)
            assert_int_equal(ask(r, text, 60 + i, now), ENFORCE_BLOCKED);
    }
    assert_int_equal(ask(r, "198.51.100.0/24", 90, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "198.51.101.0/24", 80, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "2001:db8::/64", 70, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    e[N] = (struct nft_elem){.set = NFT_PREFIX4, .first = pfx("198.51.101.0").addr};
    e[N + 1] = (struct nft_elem){.set = NFT_PREFIX4, .first = pfx("198.51.100.0").addr};
    e[N + 2] = (struct nft_elem){.set = NFT_PREFIX4, .first = pfx("198.51.100.64").addr, .there = true};
    e[N + 3] = (struct nft_elem){.set = NFT_PREFIX6, .first = pfx("2001:db8::").addr};
    assert_int_equal(nft_kernel_ops.get(r->other, e, N + 4, sk_now_wall()), SK_OK);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(e[i].there, i % 3 != 1);
        assert_true(!e[i].there || llabs(e[i].expires - (now + (60 + i) * S)) < S);
    }
    assert_true(e[N].there && llabs(e[N].expires - (now + 80 * S)) < S);
    assert_true(e[N + 1].there && llabs(e[N + 1].expires - (now + 90 * S)) < S);
    assert_false(e[N + 2].there); /* within a range, but none begins there */
    assert_true(e[N + 3].there && llabs(e[N + 3].expires - (now + 70 * S)) < S);
    assert_int_equal(nft_kernel_ops.teardown(r->other), SK_OK);
    assert_int_equal(nft_kernel_ops.get(r->nft, e, N + 4, sk_now_wall()), SK_OK);
    for (unsigned i = 0; i < N + 4; i++)
        assert_false(e[i].there);
}

static void test_a_chain_is_mended_without_touching_elements(void **state)
{
    struct rig *r = *state;
    if (access("/usr/sbin/nft", X_OK) != 0)
        skip();
    static const char *const damage[] = {
        "/usr/sbin/nft flush chain inet sekisho guard",
        "/usr/sbin/nft 'flush chain inet sekisho guard; delete chain inet sekisho guard'",
        "/usr/sbin/nft insert rule inet sekisho guard ip saddr 192.0.2.1 accept",
        "/usr/sbin/nft 'flush chain inet sekisho guard; delete chain inet sekisho guard; "
        "add chain inet sekisho guard { type filter hook forward priority 5; }'",
    };
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    assert_int_equal(ask(r, "192.0.2.1", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    /* Known by nobody: it would be gone, had the set been made anew. */
    struct sk_prefix p = pfx("203.0.113.5");
    struct nft_change c = {.op = NFT_ADD, .first = p.addr, .last = p.addr, .expires = now + S};
    for (unsigned i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        c.expires = sk_now_wall() + 1500 * SK_NS_PER_MS;
        assert_int_equal(nft_kernel_ops.apply(r->other, &c, 1, sk_now_wall()), SK_OK);
        (void)woken(r);
        assert_int_equal(system(damage[i]), 0);
        assert_true(woken(r) && r->news.shape);
        assert_int_equal(enforcer_heard(r->e, &r->news, sk_now_wall()), SK_OK);
        assert_int_equal(enforcer_stats(r->e)->rebuilds, i + 1);
        assert_true(left(r, "203.0.113.5") > 0 && left(r, "192.0.2.1") > 50);
        assert_int_equal(
            system("/usr/sbin/nft list chain inet sekisho guard | grep -q 'hook prerouting priority -450'"), 0);
        usleep(1600000);
    }
    assert_int_equal(enforcer_stats(r->e)->repairs, 0);
    /* Somebody's own chain in its place, to which another jumps, cannot be taken away alone. */
    assert_int_equal(system("/usr/sbin/nft 'flush chain inet sekisho guard; delete chain inet sekisho guard; "
                            "add chain inet sekisho guard; add chain inet sekisho other; "
                            "add rule inet sekisho other jump guard'"),
                     0);
    assert_true(woken(r));
    assert_int_equal(enforcer_heard(r->e, &r->news, sk_now_wall()), SK_OK);
    assert_int_equal(enforcer_stats(r->e)->rebuilds, sizeof damage / sizeof damage[0] + 1);
    assert_true(left(r, "192.0.2.1") > 40);
}

/* The kernel's answer names the message that it is about, which is long here. */
static void test_what_is_wrong_is_told_of_long_messages_too(void **state)
{
    struct rig *r = *state;
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    struct nft_change *c = calloc(1000, sizeof *c);
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t a[4] = {198, 51, (uint8_t)(i >> 8), (uint8_t)i};
        c[i] = (struct nft_change){.set = NFT_HOST4, .op = NFT_DEL, .first = sk_addr_from_v4(a)};
        c[i].last = c[i].first;
    }
    assert_int_equal(nft_kernel_ops.apply(r->nft, c, 1000, now), SK_ENOENT);
    free(c);
}

static void test_restart_adopts_what_is_there(void **state)
{
    struct rig *r = *state;
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    assert_int_equal(ask(r, "192.0.2.1", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(ask(r, "198.51.100.0/24", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    char id[BLOCK_ID_LEN];
    struct sk_prefix p = pfx("192.0.2.1"), q = pfx("203.0.113.5"), net = pfx("203.0.113.128/26");
    strcpy(id, block_table_find(r->table, &p)->id);
    struct nft_change foreign[] = {
        {.set = NFT_HOST4, .op = NFT_ADD, .first = q.addr, .last = q.addr, .expires = now + 40 * S},
        {.set = NFT_PREFIX4, .op = NFT_ADD, .first = net.addr, .expires = now + 50 * S},
    };
    sk_prefix_range(&net, &foreign[1].first, &foreign[1].last);
    assert_int_equal(nft_kernel_ops.apply(r->other, foreign, 2, now), SK_OK);
    rig_crash(r);
    rig_enforcer(r);
    assert_int_equal(enforcer_restore(r->e, sk_now_wall()), SK_OK);
    assert_int_equal(block_table_count(r->table), 4);
    assert_string_equal(block_table_find(r->table, &p)->id, id);
    assert_string_equal(block_table_find(r->table, &p)->msg, "live");
    assert_int_equal(block_table_find(r->table, &q)->origin, BLOCK_KERNEL);
    assert_int_equal(block_table_find(r->table, &net)->origin, BLOCK_KERNEL);
    assert_int_equal(look(r).total, 4);
    assert_int_equal(enforcer_stats(r->e)->rebuilds, 0);
    assert_true(left(r, "192.0.2.1") > 55 && left(r, "203.0.113.5") < 41 && left(r, "203.0.113.190") < 51);
    assert_int_equal(enforcer_teardown(r->e, sk_now_wall()), SK_OK);
    struct kernel k = {.n = 0};
    assert_int_equal(nft_kernel_ops.list(r->other, 0, keep, &k), SK_ENOENT);
}

static void test_misshapen_table_is_replaced_and_its_elements_kept(void **state)
{
    struct rig *r = *state;
    if (access("/usr/sbin/nft", X_OK) != 0)
        skip();
    int64_t now = sk_now_wall();
    assert_int_equal(enforcer_restore(r->e, now), SK_OK);
    assert_int_equal(ask(r, "192.0.2.1", 60, now), ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, now), SK_OK);
    static const char *const damage[] = {
        "/usr/sbin/nft flush ruleset",
        "/usr/sbin/nft flush chain inet sekisho guard",
        "/usr/sbin/nft insert rule inet sekisho guard ip saddr 192.0.2.1 accept",
        "/usr/sbin/nft flush chain inet sekisho guard; /usr/sbin/nft delete set inet sekisho block6p",
        "/usr/sbin/nft 'add table inet sekisho { flags dormant; }'",
    };
    for (unsigned i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        assert_int_equal(system(damage[i]), 0);
        assert_true(woken(r));
        assert_int_equal(enforcer_resync(r->e, sk_now_wall()), SK_OK);
        assert_int_equal(enforcer_stats(r->e)->rebuilds, i + 1);
        assert_true(left(r, "192.0.2.1") > 50);
    }
    assert_int_equal(enforcer_resync(r->e, sk_now_wall()), SK_OK);
    assert_int_equal(enforcer_stats(r->e)->rebuilds, sizeof damage / sizeof damage[0]);
    assert_int_equal(system("/usr/sbin/nft list table inet sekisho | grep -q 'ip saddr @block4p counter .* drop'"), 0);
}

/* Listed once, looked up often. */
struct listing {
    struct nft_elem *e;
    size_t n;
};

static void gather(void *arg, const struct nft_elem *e)
{
    struct listing *l = arg;
    assert_true(l->n < 100000);
    l->e[l->n++] = *e;
}

static int64_t kernel_end(const struct listing *l, const struct sk_addr *a)
{
    int64_t end = 0;
    for (size_t i = 0; i < l->n; i++)
        if (sk_addr_cmp(&l->e[i].first, a) <= 0 && sk_addr_cmp(a, &l->e[i].last) <= 0 && l->e[i].expires > end)
            end = l->e[i].expires;
    return end;
}

/* Thousands of overlapping prefixes and hosts: every address has the end that the longest block over it says. */
static void test_many_overlaps(void **state)
{
    struct rig *r = *state;
    enum { N = 12000 };
    struct listing l = {.e = calloc(100000, sizeof *l.e)};
    struct decide_request q = {.sid = 1};
    struct enforce_outcome o;
    uint32_t x = 4711;
    assert_int_equal(enforcer_restore(r->e, sk_now_wall()), SK_OK);
    int64_t now = sk_now_wall();
    double slowest = 0;
    for (int i = 0; i < N; i++) {
        static const uint8_t lens[] = {128, 128, 127, 126, 125, 124, 122, 120, 119, 117};
        x = x * 1664525 + 1013904223;
        uint32_t be = htobe32(0x0b000000u + (x >> 11));
        struct sk_addr a = sk_addr_from_v4(&be);
        q.target = sk_prefix_make(&a, lens[(x >> 5) % sizeof lens]);
        q.seconds = 30 + (x >> 3) % 3000;
        enforcer_request(r->e, &q, BLOCK_RULE, now, &o);
        if (i % 2000 != 1999)
            continue;
        int64_t t = sk_now_mono();
        assert_int_equal(enforcer_flush(r->e, sk_now_wall()), SK_OK);
        double took = (double)(sk_now_mono() - t) / 1e9;
        slowest = took > slowest ? took : slowest;
        usleep(100000);
    }
    usleep(1000000);
    assert_int_equal(enforcer_tick(r->e, sk_now_wall()), SK_OK); /* extensions */
    assert_int_equal(nft_kernel_ops.list(r->other, sk_now_wall(), gather, &l), SK_OK);
    print_message("%zu blocks, %zu elements, slowest batch %.0f ms\n", block_table_count(r->table), l.n, slowest * 1e3);
    for (int i = 0; i < 8000; i++) {
        x = x * 1664525 + 1013904223;
        uint32_t be = htobe32(0x0b000000u + (x >> 11));
        struct sk_addr a = sk_addr_from_v4(&be);
        struct sk_prefix p = sk_prefix_make(&a, 128);
        const struct block *b = block_table_covering(r->table, &p);
        int64_t want = b ? b->expires : 0, got = kernel_end(&l, &a);
        assert_true(llabs(want - got) <= S);
    }
    assert_int_equal(enforcer_stats(r->e)->kernel_errors, 0);
    assert_int_equal(enforcer_resync(r->e, sk_now_wall()), SK_OK);
    assert_int_equal(enforcer_stats(r->e)->repairs, 0);
    free(l.e);
}

/* ---- second by second, against a plain list ---- */

#define ENTRIES 16384
#define SAMPLES 2000
#define SECONDS 12
#define TOL     (S / 2)

static struct {
    struct sk_prefix p;
    int64_t end;
} book[ENTRIES];
static size_t nbook;
static uint64_t dice = 88172645463325252u;

static uint32_t roll(uint32_t below)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (uint32_t)(dice >> 20) % below;
}

static struct sk_addr some_address(void)
{
    if (roll(3)) {
        uint8_t a[4] = {11, 1, (uint8_t)roll(160), (uint8_t)roll(256)};
        return sk_addr_from_v4(a);
    }
    uint8_t a[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, (uint8_t)roll(80), [15] = (uint8_t)roll(256)};
    return sk_addr_from_v6(a);
}

/* Hosts, and nested and adjacent prefixes; few are wide. */
static struct sk_prefix some_target(void)
{
    struct sk_addr a = some_address();
    uint8_t len = roll(2) ? 128 : (uint8_t)(128 - roll(6));
    return sk_prefix_make(&a, roll(200) ? len : 120);
}

/* Longer, or new. */
static void note(const struct sk_prefix *p, int64_t end)
{
    for (size_t i = 0; i < nbook; i++) {
        if (book[i].p.len != p->len || !sk_addr_eq(&book[i].p.addr, &p->addr))
            continue;
        if (book[i].end < end)
            book[i].end = end;
        return;
    }
    assert_true(nbook < ENTRIES);
    book[nbook].p = *p;
    book[nbook++].end = end;
}

static void ask_some(struct rig *r, unsigned count, int64_t now)
{
    struct decide_request q = {.sid = 1};
    struct enforce_outcome o;
    for (unsigned i = 0; i < count && nbook < ENTRIES; i++) {
        q.target = some_target();
        q.seconds = 1 + roll(3 * SECONDS);
        enforcer_request(r->e, &q, BLOCK_OPERATOR, now, &o);
        assert_non_null(o.block);
        if (o.result != ENFORCE_COVERED)
            note(&q.target, now + q.seconds * S);
    }
}

static void unblock_some(struct rig *r, unsigned count, int64_t now)
{
    for (unsigned i = 0; i < count && nbook > 0; i++) {
        size_t k = roll((uint32_t)nbook);
        assert_true(enforcer_unblock(r->e, &book[k].p, now) == SK_OK || book[k].end <= now);
        book[k] = book[--nbook];
    }
}

/* When the last of what covers it ends; 0: nothing ever did. */
static int64_t book_end(const struct sk_addr *a)
{
    int64_t end = 0;
    for (size_t i = 0; i < nbook; i++)
        if (book[i].end > end && sk_prefix_contains(&book[i].p, a))
            end = book[i].end;
    return end;
}

static int by_first(const void *x, const void *y)
{
    return sk_addr_cmp(&((const struct nft_elem *)x)->first, &((const struct nft_elem *)y)->first);
}

/* Of hosts and ranges, each sorted and disjoint: when the kernel lets a go, 0 if it does not hold it. */
static int64_t sets_end(const struct listing *hosts, const struct listing *ranges, const struct sk_addr *a)
{
    int64_t end = 0;
    const struct listing *of[] = {hosts, ranges};
    for (int k = 0; k < 2; k++) {
        size_t lo = 0, hi = of[k]->n;
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            if (sk_addr_cmp(&of[k]->e[mid].last, a) < 0)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo < of[k]->n && sk_addr_cmp(&of[k]->e[lo].first, a) <= 0 && of[k]->e[lo].expires > end)
            end = of[k]->e[lo].expires;
    }
    return end;
}

struct split {
    struct listing hosts, ranges;
};

static void gather_apart(void *arg, const struct nft_elem *e)
{
    struct split *s = arg;
    gather(e->set == NFT_HOST4 || e->set == NFT_HOST6 ? &s->hosts : &s->ranges, e);
}

/* The kernel is read by somebody else. Returns by how much an end in it is off at the most. */
static int64_t compare_samples(struct rig *r, struct split *s)
{
    int64_t worst = 0;
    s->hosts.n = s->ranges.n = 0;
    int64_t now = sk_now_wall();
    assert_int_equal(nft_kernel_ops.list(r->other, now, gather_apart, s), SK_OK);
    int64_t read = sk_now_wall();
    qsort(s->hosts.e, s->hosts.n, sizeof *s->hosts.e, by_first);
    qsort(s->ranges.e, s->ranges.n, sizeof *s->ranges.e, by_first);
    for (int i = 0; i < SAMPLES; i++) {
        struct sk_addr a = some_address();
        int64_t want = book_end(&a), got = sets_end(&s->hosts, &s->ranges, &a);
        if (want > now - TOL && want < read + TOL)
            continue; /* it ends just now */
        assert_int_equal(want > now, got != 0);
        if (got == 0)
            continue;
        worst = llabs(want - got) > worst ? llabs(want - got) : worst;
    }
    return worst;
}

static void test_overlaps_second_by_second(void **state)
{
    struct rig *r = *state;
    struct split s = {{calloc(100000, sizeof(struct nft_elem)), 0}, {calloc(100000, sizeof(struct nft_elem)), 0}};
    int64_t worst = 0;
    nbook = 0;
    assert_int_equal(enforcer_restore(r->e, sk_now_wall()), SK_OK);
    ask_some(r, 17000, sk_now_wall());
    assert_int_equal(enforcer_flush(r->e, sk_now_wall()), SK_OK);
    for (int second = 0; second < SECONDS; second++) {
        int64_t now = sk_now_wall();
        ask_some(r, 300, now);
        unblock_some(r, 40, now);
        for (int64_t end = now + S + TOL; sk_now_wall() < end; usleep(2000)) /* as the guard does */
            if (enforcer_due(r->e, sk_now_wall()))
                assert_int_equal(enforcer_tick(r->e, sk_now_wall()), SK_OK);
        int64_t off = compare_samples(r, &s);
        worst = off > worst ? off : worst;
        if (second % 4 == 0)
            print_message(
                "second %2d: %zu blocks (%zu prefixes), %zu + %zu elements, an end is off by %.0f ms at most\n", second,
                block_table_count(r->table), block_table_prefixes(r->table), s.hosts.n, s.ranges.n, (double)off / 1e6);
        if (second == SECONDS / 2)
            assert_int_equal(nft_kernel_ops.teardown(r->other), SK_OK);
        if (second == SECONDS / 2 && woken(r))
            assert_int_equal(enforcer_heard(r->e, &r->news, sk_now_wall()), SK_OK);
    }
    assert_true(worst <= S);
    assert_int_equal(enforcer_stats(r->e)->kernel_errors, 0);
    assert_int_equal(enforcer_stats(r->e)->rebuilds, 1);
    free(s.hosts.e);
    free(s.ranges.e);
}

static void many(struct rig *r, uint32_t count, int64_t now)
{
    struct decide_request q = {.seconds = 600, .sid = 1};
    struct enforce_outcome o;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t be = htobe32(0x0b000000u + i * 3);
        struct sk_addr a = sk_addr_from_v4(&be);
        q.target = sk_prefix_make(&a, 128);
        enforcer_request(r->e, &q, BLOCK_RULE, now, &o);
        assert_int_equal(o.result, ENFORCE_BLOCKED);
    }
}

static double since(int64_t t)
{
    return (double)(sk_now_mono() - t) / 1e9;
}

static void test_hundred_thousand(void **state)
{
    struct rig *r = *state;
    enum { N = 100000 };
    assert_int_equal(enforcer_restore(r->e, sk_now_wall()), SK_OK);
    int64_t t = sk_now_mono();
    many(r, N, sk_now_wall());
    print_message("%d requests %.2f s", N, since(t));
    t = sk_now_mono();
    assert_int_equal(enforcer_flush(r->e, sk_now_wall()), SK_OK);
    print_message(", into kernel and journal %.2f s", since(t));
    t = sk_now_mono();
    assert_int_equal(look(r).total, N);
    print_message(", listed %.2f s", since(t));
    t = sk_now_mono();
    assert_int_equal(enforcer_resync(r->e, sk_now_wall()), SK_OK);
    print_message(", reconciled %.2f s", since(t));
    assert_int_equal(enforcer_stats(r->e)->repairs, 0);
    assert_false(woken(r));
    assert_int_equal(nft_kernel_ops.teardown(r->other), SK_OK);
    t = sk_now_mono();
    assert_int_equal(enforcer_resync(r->e, sk_now_wall()), SK_OK);
    print_message(", rebuilt after a flush %.2f s", since(t));
    assert_int_equal(look(r).total, N);
    rig_crash(r);
    t = sk_now_mono();
    rig_enforcer(r);
    assert_int_equal(enforcer_restore(r->e, sk_now_wall()), SK_OK);
    print_message(", restored %.2f s\n", since(t));
    assert_int_equal(block_table_count(r->table), N);
    assert_int_equal(look(r).total, N);
    assert_int_equal(enforcer_stats(r->e)->adopted, 0);
}

static int cmp_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_latency_of_single_blocks(void **state)
{
    struct rig *r = *state;
    enum { N = 1000 };
    static double ms[N];
    assert_int_equal(enforcer_restore(r->e, sk_now_wall()), SK_OK);
    for (uint32_t i = 0; i < N; i++) {
        char text[32];
        snprintf(text, sizeof text, "11.1.%u.%u", i / 250, 1 + i % 250);
        int64_t t = sk_now_mono();
        assert_int_equal(ask(r, text, 60, sk_now_wall()), ENFORCE_BLOCKED);
        assert_int_equal(enforcer_flush(r->e, sk_now_wall()), SK_OK);
        ms[i] = since(t) * 1000;
    }
    assert_int_equal(look(r).total, N);
    qsort(ms, N, sizeof ms[0], cmp_double);
    print_message("request to kernel and journal: median %.3f ms, p99 %.3f ms\n", ms[N / 2], ms[N * 99 / 100]);
}

int main(void)
{
    if (geteuid() != 0) {
        fprintf(stderr, "SKIP: network namespaces and nftables need root\n");
        return 77;
    }
    struct nft *probe;
    if (unshare(CLONE_NEWNET) != 0 || nft_open(&probe) != SK_OK) {
        fprintf(stderr, "SKIP: no network namespace or no nftables here\n");
        return 77;
    }
    nft_close(probe);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_blocks_reach_the_kernel_with_their_expiry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extension_updates_the_element, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extension_replaces_the_element_on_old_kernels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlapping_prefixes_each_end_in_their_own_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flushed_ruleset_is_noticed_and_restored, setup, teardown),
        cmocka_unit_test_setup_teardown(test_news_say_what_was_touched, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_news_than_can_be_held_read_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_single_elements_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_chain_is_mended_without_touching_elements, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_wrong_is_told_of_long_messages_too, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart_adopts_what_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_misshapen_table_is_replaced_and_its_elements_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_overlaps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlaps_second_by_second, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hundred_thousand, setup, teardown),
        cmocka_unit_test_setup_teardown(test_latency_of_single_blocks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
