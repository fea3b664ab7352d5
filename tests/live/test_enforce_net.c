/*
 * Real packets: a server in this process's network namespace, clients in that of a child, a veth pair between. Blocked
 * clients are cut off, also in the middle of a connection; others are served; the time of the end is kept. And the
 * never-list's discovery against addresses and routes that the test sets. Needs root and ip(8); skipped otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "enforce/discover.h"
#include "enforce/enforcer.h"

#define PORT    8080
#define TRY_MS  400 /* a connection that has not come by then does not come */
#define S       SK_NS_PER_S
#define SERVER4 "10.9.0.1"
#define SERVER6 "fd09::1"

/* What the child is asked to do; it answers with one int. */
struct order {
    enum {
        CONNECT,
        KEEP,
        SEND
    } what; /* KEEP: connect and hold; SEND: one byte on the held connection, is it echoed? */
    char from[48];
};

static int orders[2], answers[2];
static pid_t child;
static int listener[2] = {-1, -1};

struct rig {
    struct nft *nft;
    struct block_table *table;
    struct never_list *never;
    struct policy_limits limits;
    struct enforcer *e;
};

static socklen_t address(const char *text, uint16_t port, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof *ss);
    struct sockaddr_in *a4 = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)ss;
    if (inet_pton(AF_INET, text, &a4->sin_addr) == 1) {
        a4->sin_family = AF_INET;
        a4->sin_port = htons(port);
        return sizeof *a4;
    }
    if (inet_pton(AF_INET6, text, &a6->sin6_addr) != 1)
        abort();
    a6->sin6_family = AF_INET6;
    a6->sin6_port = htons(port);
    return sizeof *a6;
}

/* ---- the child: clients ---- */

static int client(const char *from)
{
    struct sockaddr_storage me, peer;
    socklen_t n = address(from, 0, &me);
    address(me.ss_family == AF_INET ? SERVER4 : SERVER6, PORT, &peer);
    int s = socket(me.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err = 0;
    socklen_t el = sizeof err;
    if (bind(s, (struct sockaddr *)&me, n) != 0 ||
        (connect(s, (struct sockaddr *)&peer, n) != 0 && errno != EINPROGRESS))
        goto fail;
    struct pollfd p = {.fd = s, .events = POLLOUT};
    if (poll(&p, 1, TRY_MS) == 1 && getsockopt(s, SOL_SOCKET, SO_ERROR, &err, &el) == 0 && err == 0)
        return s;
fail:
    close(s);
    return -1;
}

static int send_one(int s)
{
    char c = 'x';
    struct pollfd p = {.fd = s, .events = POLLIN};
    return send(s, &c, 1, MSG_NOSIGNAL) == 1 && poll(&p, 1, TRY_MS) == 1 && recv(s, &c, 1, 0) == 1;
}

static void child_main(void)
{
    int held = -1, dummy = 0;
    struct order o;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(orders[1]);
    if (unshare(CLONE_NEWNET) != 0 || write(answers[1], &dummy, sizeof dummy) != sizeof dummy)
        _exit(1);
    while (read(orders[0], &o, sizeof o) == sizeof o) {
        int ok = 0;
        if (o.what == SEND) {
            ok = send_one(held);
        } else {
            int s = client(o.from);
            ok = s >= 0;
            if (o.what == KEEP)
                held = s;
            else if (s >= 0)
                close(s);
        }
        if (write(answers[1], &ok, sizeof ok) != sizeof ok)
            break;
    }
    _exit(0);
}

static bool order(int what, const char *from)
{
    struct order o = {.what = what};
    int ok = -1;
    snprintf(o.from, sizeof o.from, "%s", from);
    assert_int_equal(write(orders[1], &o, sizeof o), sizeof o);
    /* The server echoes meanwhile. */
    for (;;) {
        struct pollfd p[3] = {{.fd = answers[0], .events = POLLIN},
                              {.fd = listener[0], .events = POLLIN},
                              {.fd = listener[1], .events = POLLIN}};
        static int conn = -1;
        struct pollfd q = {.fd = conn, .events = POLLIN};
        assert_true(poll(p, 3, 20) >= 0);
        if (p[0].revents & POLLIN)
            break;
        for (int i = 1; i < 3; i++)
            if (p[i].revents & POLLIN) {
                if (conn >= 0)
                    close(conn);
                conn = accept4(p[i].fd, NULL, NULL, SOCK_CLOEXEC);
                q.fd = conn;
            }
        char c;
        if (q.fd >= 0 && poll(&q, 1, 0) == 1 && recv(q.fd, &c, 1, MSG_DONTWAIT) == 1)
            (void)!send(q.fd, &c, 1, MSG_NOSIGNAL);
    }
    assert_int_equal(read(answers[0], &ok, sizeof ok), sizeof ok);
    return ok == 1;
}

static bool served(const char *from)
{
    return order(CONNECT, from);
}

/* ---- set-up ---- */

static int sh(const char *fmt, ...) SK_PRINTF(1, 2);
static int sh(const char *fmt, ...)
{
    char cmd[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    return system(cmd);
}

static int listen_on(const char *text)
{
    struct sockaddr_storage ss;
    socklen_t n = address(text, PORT, &ss);
    int s = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return bind(s, (struct sockaddr *)&ss, n) == 0 && listen(s, 64) == 0 ? s : -1;
}

/* 0, or why it cannot be. */
static const char *world(void)
{
    int dummy;
    if (geteuid() != 0)
        return "network namespaces and nftables need root";
    if (system("ip -V >/dev/null 2>&1") != 0)
        return "no ip(8)";
    if (unshare(CLONE_NEWNET) != 0 || pipe2(orders, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0)
        return "no network namespace";
    child = fork();
    if (child == 0)
        child_main();
    close(orders[0]);
    close(answers[1]);
    if (read(answers[0], &dummy, sizeof dummy) != sizeof dummy)
        return "no second network namespace";
    int pid = (int)child;
    if (sh("ip link set lo up && ip link add v0 type veth peer name v1 netns %d && ip addr add " SERVER4
           "/16 dev v0 && ip addr add " SERVER6 "/64 dev v0 nodad && ip link set v0 up",
           pid) != 0)
        return "no veth pair";
    if (sh("nsenter -t %d -n sh -c 'ip link set v1 up; for i in 2 3 4 5; do ip addr add 10.9.0.$i/16 dev v1;"
           " ip addr add fd09::$i/64 dev v1 nodad; done; ip addr add 10.9.7.7/16 dev v1'",
           pid) != 0)
        return "no addresses in the second namespace";
    listener[0] = listen_on(SERVER4);
    listener[1] = listen_on(SERVER6);
    return listener[0] >= 0 && listener[1] >= 0 ? NULL : "cannot listen";
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_int_equal(nft_open(&r->nft), SK_OK);
    r->table = block_table_create(100);
    r->never = never_create();
    r->limits = (struct policy_limits){.max_seconds = 3600};
    struct enforcer_setup s = {
        .ops = &nft_kernel_ops, .ops_ctx = r->nft, .table = r->table, .never = r->never, .limits = &r->limits};
    r->e = enforcer_create(&s);
    assert_int_equal(enforcer_restore(r->e, sk_now_wall()), SK_OK);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    assert_int_equal(enforcer_teardown(r->e, sk_now_wall()), SK_OK);
    enforcer_free(r->e);
    block_table_free(r->table);
    never_free(r->never);
    nft_close(r->nft);
    free(r);
    return 0;
}

static struct sk_prefix pfx(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static void block(struct rig *r, const char *target, int64_t seconds)
{
    struct decide_request q = {.target = pfx(target), .seconds = seconds};
    struct enforce_outcome o;
    enforcer_request(r->e, &q, BLOCK_RULE, sk_now_wall(), &o);
    assert_int_equal(o.result, ENFORCE_BLOCKED);
    assert_int_equal(enforcer_flush(r->e, sk_now_wall()), SK_OK);
}

/* ---- tests ---- */

static void test_blocked_client_is_cut_off_others_are_served(void **state)
{
    struct rig *r = *state;
    assert_true(served("10.9.0.2") && served("10.9.0.3") && served("fd09::2") && served("fd09::3"));
    block(r, "10.9.0.2", 60);
    block(r, "fd09::2", 60);
    assert_false(served("10.9.0.2"));
    assert_false(served("fd09::2"));
    assert_true(served("10.9.0.3") && served("fd09::3"));
    struct sk_prefix p = pfx("10.9.0.2");
    assert_int_equal(enforcer_resync(r->e, sk_now_wall()), SK_OK);
    assert_true(block_table_find(r->table, &p)->hit_packets > 0);
    assert_true(block_table_find(r->table, &p)->hit_bytes >= 40);
    assert_int_equal(enforcer_unblock(r->e, &p, sk_now_wall()), SK_OK);
    assert_int_equal(enforcer_flush(r->e, sk_now_wall()), SK_OK);
    assert_true(served("10.9.0.2"));
}

static void test_prefix_block(void **state)
{
    struct rig *r = *state;
    block(r, "10.9.7.0/24", 60);
    block(r, "fd09::4/126", 60);
    assert_false(served("10.9.7.7"));
    assert_false(served("fd09::5"));
    assert_true(served("10.9.0.2") && served("fd09::3"));
    assert_int_equal(enforcer_resync(r->e, sk_now_wall()), SK_OK);
    struct sk_prefix p = pfx("10.9.7.0/24");
    assert_true(block_table_find(r->table, &p)->hit_packets > 0);
}

static void test_established_connection_dies(void **state)
{
    struct rig *r = *state;
    assert_true(order(KEEP, "10.9.0.4"));
    assert_true(order(SEND, ""));
    block(r, "10.9.0.4", 60);
    assert_false(order(SEND, ""));
}

static void test_end_is_kept_to_the_second(void **state)
{
    struct rig *r = *state;
    int64_t began = sk_now_mono();
    block(r, "10.9.0.5", 2);
    double took = 0;
    while (took < 6 && !served("10.9.0.5"))
        took = (double)(sk_now_mono() - began) / 1e9;
    took = (double)(sk_now_mono() - began) / 1e9;
    print_message("a block of 2 s let the first connection through after %.2f s\n", took);
    assert_true(took > 1.5 && took < 3.0);
}

static const struct never_entry *spared(struct rig *r, const char *addr)
{
    struct sk_prefix p = pfx(addr);
    return never_check(r->never, &p);
}

static void test_discovery_spares_this_host_and_its_way_out(void **state)
{
    struct rig *r = *state;
    int fd;
    bool changed = false;
    char conf[] = "/tmp/sekisho-resolv-XXXXXX";
    int c = mkstemp(conf);
    struct discover_what what = {.resolv_conf = conf};
    static const char text[] =
        "# x\nnameserver 10.9.0.53\n  nameserver\t2001:db8::53%v0\nsearch example\nnameserver bad\n";
    assert_int_equal(write(c, text, sizeof text - 1), sizeof text - 1);
    close(c);
    assert_int_equal(sh("ip route add default via 10.9.0.3 && ip -6 route add default via fd09::3 &&"
                        " ip route add 198.51.100.0/24 via 10.9.0.4 table 77 &&"
                        " ip route add 203.0.113.0/24 nexthop via 10.9.7.8 nexthop via 10.9.7.9 &&"
                        " ip route add 203.0.113.9 via inet6 fd09::5 dev v0 && ip route add local 192.0.2.0/28 dev lo"),
                     0);
    assert_int_equal(discover_watch_open(&fd), SK_OK);
    assert_int_equal(never_discover(r->never, &what, &changed), SK_OK);
    assert_true(changed);
    assert_int_equal(spared(r, SERVER4)->kind, NEVER_OWN);
    assert_string_equal(spared(r, SERVER6)->text, "address of v0");
    static const char *const gateways[] = {"10.9.0.3", "fd09::3", "10.9.0.4", "10.9.7.8", "10.9.7.9", "fd09::5"};
    for (size_t i = 0; i < sizeof gateways / sizeof gateways[0]; i++) {
        assert_non_null(spared(r, gateways[i]));
        assert_int_equal(spared(r, gateways[i])->kind, NEVER_GATEWAY);
    }
    assert_int_equal(spared(r, "10.9.0.53")->kind, NEVER_RESOLVER);
    assert_int_equal(spared(r, "2001:db8::53")->kind, NEVER_RESOLVER);
    assert_int_equal(spared(r, "10.9.255.255")->kind, NEVER_BROADCAST);
    assert_int_equal(spared(r, "192.0.2.9")->kind, NEVER_OWN);
    assert_null(spared(r, "10.9.0.2"));
    assert_int_equal(never_discover(r->never, &what, &changed), SK_OK);
    assert_false(changed);
    assert_false(discover_watch_read(fd));
    assert_int_equal(sh("ip addr add 10.9.0.99/32 dev v0"), 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 1000), 1);
    assert_true(discover_watch_read(fd));
    assert_int_equal(never_discover(r->never, &what, &changed), SK_OK);
    assert_true(changed);
    assert_int_equal(spared(r, "10.9.0.99")->kind, NEVER_OWN);
    close(fd);
    /* A pipe in its place: not waited for, and the resolvers of before stay spared. */
    unlink(conf);
    assert_int_equal(mkfifo(conf, 0600), 0);
    assert_true(never_discover(r->never, &what, &changed) != SK_OK);
    assert_int_equal(spared(r, "10.9.0.53")->kind, NEVER_RESOLVER);
    unlink(conf);
    assert_int_equal(never_discover(r->never, &what, &changed), SK_OK);
    assert_null(spared(r, "10.9.0.53"));
}

static void add_peer(void *arg, struct never_list *l)
{
    struct sk_prefix p = pfx(arg);
    (void)never_add(l, NEVER_ADMIN, &p, "of the caller");
}

static void test_local_networks_are_spared_on_request(void **state)
{
    struct rig *r = *state;
    char peer[] = "10.9.0.5";
    struct discover_what what = {.resolv_conf = "/nonexistent", .extra = add_peer, .arg = peer};
    assert_int_equal(sh("ip link add d0 type veth peer name d1 && ip link set d1 up && ip addr add 10.8.0.1/24 dev d0 "
                        "&& ip addr add 10.8.7.1 peer"
                        " 10.8.7.2/32 dev d0 && ip link set d0 up && ip route add 198.18.0.0/15 dev d0 &&"
                        " ip route add 198.51.100.0/24 via 10.9.0.4"),
                     0);
    /* One peer, whatever length is written: tun is a point-to-point device. */
    bool tun = sh("ip tuntap add sktun0 mode tun && ip addr add 10.7.0.1/24 dev sktun0 && ip link set sktun0 up") == 0;
    if (!tun)
        print_message("no tun device here: a point-to-point link is not looked at\n");
    assert_int_equal(never_discover(r->never, &what, NULL), SK_OK);
    assert_null(spared(r, "10.9.0.77"));
    what.local_nets = true;
    assert_int_equal(never_discover(r->never, &what, NULL), SK_OK);
    assert_int_equal(spared(r, "10.9.0.77")->kind, NEVER_LOCAL_NET);
    assert_string_equal(spared(r, "10.8.0.9")->text, "network of d0");
    assert_int_equal(spared(r, "fd09::77")->kind, NEVER_LOCAL_NET);
    assert_int_equal(spared(r, "10.8.7.2")->kind, NEVER_OWN); /* the peer of an address */
    assert_null(spared(r, "10.8.7.3"));
    assert_null(spared(r, "198.18.0.1"));   /* by hand */
    assert_null(spared(r, "198.51.100.9")); /* behind a router */
    assert_null(spared(r, "203.0.113.1"));
    if (tun)
        assert_null(spared(r, "10.7.0.2"));
    assert_int_equal(spared(r, SERVER4)->kind, NEVER_OWN); /* each by the name that tells most */
    assert_int_equal(spared(r, peer)->kind, NEVER_ADMIN);
    assert_int_equal(sh("ip link del d0"), 0);
    if (tun)
        assert_int_equal(sh("ip tuntap del sktun0 mode tun"), 0);
}

int main(void)
{
    const char *why = world();
    if (why) {
        fprintf(stderr, "SKIP: %s\n", why);
        if (child > 0)
            kill(child, SIGKILL);
        return 77;
    }
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_blocked_client_is_cut_off_others_are_served),
        TEST(test_prefix_block),
        TEST(test_established_connection_dies),
        TEST(test_end_is_kept_to_the_second),
        TEST(test_discovery_spares_this_host_and_its_way_out),
        TEST(test_local_networks_are_spared_on_request),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    close(orders[1]);
    waitpid(child, NULL, 0);
    return rc;
}
