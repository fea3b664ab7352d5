/*
 * Sockets of the running kernel, in a network namespace of the test's own: exactly the one connection is destroyed,
 * never a listening socket, whatever the family of the listener. Needs root; skipped otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "enforce/sockkill.h"

#define PORT 8080

static struct sockkill_diag *diag;

/* A listener and two connections to it, all in this process. */
struct pair {
    int listener, client[2], server[2];
    struct sockkill_conn conn[2];
};

static socklen_t address(int family, const char *text, uint16_t port, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof *ss);
    if (family == AF_INET) {
        struct sockaddr_in *a = (struct sockaddr_in *)ss;
        *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        assert_int_equal(inet_pton(AF_INET, text, &a->sin_addr), 1);
        return sizeof *a;
    }
    struct sockaddr_in6 *a = (struct sockaddr_in6 *)ss;
    *a = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET6, text, &a->sin6_addr), 1);
    return sizeof *a;
}

static struct sk_addr plain(const struct sockaddr_storage *ss, uint16_t *port)
{
    const struct sockaddr_in *a4 = (const struct sockaddr_in *)ss;
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)ss;
    *port = ntohs(ss->ss_family == AF_INET ? a4->sin_port : a6->sin6_port);
    return ss->ss_family == AF_INET ? sk_addr_from_v4(&a4->sin_addr) : sk_addr_from_v6(&a6->sin6_addr);
}

static void open_pair(struct pair *p, int lfamily, const char *listen_on, int cfamily, const char *connect_to)
{
    struct sockaddr_storage ss;
    int one = 1, zero = 0;
    socklen_t n = address(lfamily, listen_on, PORT, &ss);
    p->listener = socket(lfamily, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (lfamily == AF_INET6)
        setsockopt(p->listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&ss, n), 0);
    assert_int_equal(listen(p->listener, 8), 0);
    for (int i = 0; i < 2; i++) {
        n = address(cfamily, connect_to, PORT, &ss);
        p->client[i] = socket(cfamily, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(p->client[i], (struct sockaddr *)&ss, n), 0);
        p->server[i] = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
        n = sizeof ss;
        assert_int_equal(getsockname(p->client[i], (struct sockaddr *)&ss, &n), 0);
        p->conn[i].peer = plain(&ss, &p->conn[i].pport);
        n = sizeof ss;
        assert_int_equal(getpeername(p->client[i], (struct sockaddr *)&ss, &n), 0);
        p->conn[i].local = plain(&ss, &p->conn[i].lport);
    }
}

static void close_pair(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        close(p->client[i]);
        close(p->server[i]);
    }
    close(p->listener);
}

/* Does a byte of the server reach the client? */
static bool alive(const struct pair *p, int i)
{
    char c = 'x';
    struct pollfd q = {.fd = p->client[i], .events = POLLIN};
    return send(p->server[i], &c, 1, MSG_NOSIGNAL) == 1 && poll(&q, 1, 1000) == 1 && recv(p->client[i], &c, 1, 0) == 1;
}

static bool listens(const struct pair *p, int family, const char *text)
{
    struct sockaddr_storage ss;
    socklen_t n = address(family, text, PORT, &ss);
    int s = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), a = -1;
    struct pollfd q = {.fd = p->listener, .events = POLLIN};
    bool ok = connect(s, (struct sockaddr *)&ss, n) == 0 && poll(&q, 1, 1000) == 1 &&
              (a = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;
    if (a >= 0)
        close(a);
    close(s);
    return ok;
}

static int kill_conn(const struct sockkill_conn *c)
{
    return sockkill_kernel_ops.destroy(diag, c);
}

static void one_of_two(int lfamily, const char *listen_on, int cfamily, const char *connect_to)
{
    struct pair p;
    open_pair(&p, lfamily, listen_on, cfamily, connect_to);
    assert_true(alive(&p, 0) && alive(&p, 1));
    assert_int_equal(kill_conn(&p.conn[0]), SK_OK);
    char c;
    assert_int_equal(recv(p.server[0], &c, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, ECONNABORTED);
    struct pollfd q = {.fd = p.client[0], .events = POLLIN};
    assert_int_equal(poll(&q, 1, 1000), 1); /* the peer hears of it at once */
    assert_int_equal(recv(p.client[0], &c, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_true(alive(&p, 1));
    assert_int_equal(kill_conn(&p.conn[0]), SK_ENOENT); /* once more: nothing, and not the listener */
    assert_true(listens(&p, cfamily, connect_to));
    assert_true(alive(&p, 1));
    close_pair(&p);
}

static void test_one_connection_of_two_ipv4(void **state)
{
    (void)state;
    one_of_two(AF_INET, "0.0.0.0", AF_INET, "127.0.0.1");
    one_of_two(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
}

static void test_one_connection_of_two_ipv6(void **state)
{
    (void)state;
    one_of_two(AF_INET6, "::", AF_INET6, "::1");
}

static void test_an_ipv4_client_of_a_dual_stack_listener(void **state)
{
    (void)state;
    one_of_two(AF_INET6, "::", AF_INET, "127.0.0.1");
}

static void test_numbers_must_fit_exactly(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, AF_INET6, "::", AF_INET, "127.0.0.1");
    struct sockkill_conn c = p.conn[0];
    c.pport = (uint16_t)(p.conn[0].pport ^ 0x4000);
    assert_int_equal(kill_conn(&c), SK_ENOENT);
    c = p.conn[0];
    c.lport = PORT + 1;
    assert_int_equal(kill_conn(&c), SK_ENOENT);
    c = p.conn[0];
    c.peer.b[15] = 2;
    assert_int_equal(kill_conn(&c), SK_ENOENT);
    c = (struct sockkill_conn){.local = p.conn[0].local, .lport = PORT}; /* as the listener's own numbers are */
    assert_int_equal(kill_conn(&c), SK_ENOENT);
    c.local = c.peer;
    assert_int_equal(kill_conn(&c), SK_ENOENT);
    assert_true(alive(&p, 0) && alive(&p, 1) && listens(&p, AF_INET, "127.0.0.1"));
    close_pair(&p);
}

static void test_a_connection_that_has_ended_is_gone(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
    close(p.server[0]); /* the server's side comes to TIME_WAIT */
    close(p.client[0]);
    assert_int_equal(kill_conn(&p.conn[0]), SK_ENOENT);
    p.client[0] = dup(p.client[1]);
    p.server[0] = dup(p.server[1]);
    assert_true(alive(&p, 1));
    close_pair(&p);
}

static void test_half_closed_by_the_client(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
    assert_int_equal(shutdown(p.client[0], SHUT_WR), 0); /* has asked, and waits for the answer */
    assert_true(alive(&p, 0));
    assert_int_equal(kill_conn(&p.conn[0]), SK_OK);
    assert_false(alive(&p, 0));
    close_pair(&p);
}

static bool world(void)
{
    struct ifreq r = {.ifr_name = "lo"};
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
        return false;
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = ioctl(s, SIOCGIFFLAGS, &r) == 0;
    r.ifr_flags |= IFF_UP;
    ok = ok && ioctl(s, SIOCSIFFLAGS, &r) == 0;
    close(s);
    return ok;
}

int main(void)
{
    if (!world()) {
        fprintf(stderr, "SKIP: no network namespace\n");
        return 77;
    }
    int rc = sockkill_diag_open(&diag);
    if (rc == SK_ENOTSUP) {
        fprintf(stderr, "SKIP: this kernel has no inet_diag\n");
        return 77;
    }
    if (rc != SK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_connection_of_two_ipv4),
        cmocka_unit_test(test_one_connection_of_two_ipv6),
        cmocka_unit_test(test_an_ipv4_client_of_a_dual_stack_listener),
        cmocka_unit_test(test_numbers_must_fit_exactly),
        cmocka_unit_test(test_a_connection_that_has_ended_is_gone),
        cmocka_unit_test(test_half_closed_by_the_client),
    };
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    sockkill_diag_close(diag);
    return rc;
}
