/* Messages and bundles between roles: what is sent arrives; what is wrong is refused without leaking descriptors. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/limits.h"
#include "ipc/blob.h"
#include "ipc/bundle.h"
#include "ipc/listen.h"
#include "ipc/message.h"
#include "ipc/status.h"

static int sv[2];
static struct ipc_msg msg;

static int setup(void **state)
{
    (void)state;
    return ipc_pair(sv, 0);
}

static int teardown(void **state)
{
    (void)state;
    close(sv[0]);
    close(sv[1]);
    return 0;
}

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void a_descriptor_travels(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe(p), 0);
    struct ipc_ring_note note = {.iface = 3, .worker = 2, .name = "eth3"};
    assert_int_equal(ipc_send(sv[0], IPC_RING, &note, &p[1], 1), SK_OK);
    assert_int_equal(ipc_recv(sv[1], &msg), SK_OK);
    assert_int_equal(msg.type, IPC_RING);
    assert_memory_equal(msg.body, &note, sizeof(note));
    assert_int_equal(msg.nfds, 1);
    assert_int_equal(fcntl(msg.fd[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    char c = 0;
    assert_int_equal(write(msg.fd[0], "x", 1), 1);
    assert_int_equal(read(p[0], &c, 1), 1);
    assert_int_equal(c, 'x');
    ipc_msg_close(&msg);
    close(p[0]);
    close(p[1]);
}

static void silence_and_the_end_are_told_apart(void **state)
{
    (void)state;
    struct ipc_empty e = {0};
    assert_int_equal(ipc_recv(sv[1], &msg), SK_EAGAIN);
    assert_int_equal(ipc_send(sv[0], IPC_READY, &e, NULL, 0), SK_OK);
    shutdown(sv[0], SHUT_RDWR);
    assert_int_equal(ipc_recv(sv[1], &msg), SK_OK);
    assert_int_equal(ipc_recv(sv[1], &msg), SK_EEND);
    assert_int_equal(ipc_send(sv[1], IPC_READY, &e, NULL, 0), SK_EEND);
}

static void a_full_socket_says_so_and_blocks_nobody(void **state)
{
    (void)state;
    struct decide_request q = {.target.len = 128};
    int sent = 0, rc;
    while ((rc = ipc_send(sv[0], IPC_BLOCK, &q, NULL, 0)) == SK_OK)
        sent++;
    assert_int_equal(rc, SK_EAGAIN);
    assert_true(sent > 0);
    while (sent-- > 0)
        assert_int_equal(ipc_recv(sv[1], &msg), SK_OK);
    assert_int_equal(ipc_send(sv[0], IPC_BLOCK, &q, NULL, 0), SK_OK);
}

struct raw {
    uint32_t magic;
    uint16_t version, type;
    uint32_t len;
    uint8_t body[sizeof(struct decide_request)];
};

static int decode_with(void (*change)(struct raw *), size_t cut)
{
    struct raw r = {IPC_MAGIC, IPC_VERSION, IPC_BLOCK, sizeof(struct decide_request), {0}};
    change(&r);
    return ipc_decode(&r, offsetof(struct raw, body) + sizeof(struct decide_request) - cut, 0, &msg);
}

static void as_it_is(struct raw *r)
{
    (void)r;
}
static void bad_magic(struct raw *r)
{
    r->magic++;
}
static void bad_version(struct raw *r)
{
    r->version++;
}
static void bad_type(struct raw *r)
{
    r->type = IPC_TYPE_COUNT;
}
static void other_type(struct raw *r)
{
    r->type = IPC_STOP;
}
static void bad_len(struct raw *r)
{
    r->len++;
}
static void bad_prefix(struct raw *r)
{
    r->body[offsetof(struct decide_request, target.len)] = 129;
}
static void bad_evidence(struct raw *r)
{
    uint16_t n = DECIDE_EVIDENCE_MAX + 1;
    memcpy(r->body + offsetof(struct decide_request, evidence_len), &n, sizeof(n));
}
static void unended_text(struct raw *r)
{
    memset(r->body + offsetof(struct decide_request, msg), 'A', DECIDE_MSG_MAX);
}

static void garbage_is_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_with(as_it_is, 0), SK_OK);
    assert_int_equal(decode_with(as_it_is, 1), SK_EPROTO);
    assert_int_equal(decode_with(bad_magic, 0), SK_EPROTO);
    assert_int_equal(decode_with(bad_version, 0), SK_EPROTO);
    assert_int_equal(decode_with(bad_type, 0), SK_EPROTO);
    assert_int_equal(decode_with(other_type, 0), SK_EPROTO);
    assert_int_equal(decode_with(bad_len, 0), SK_EPROTO);
    assert_int_equal(decode_with(bad_prefix, 0), SK_EPROTO);
    assert_int_equal(decode_with(bad_evidence, 0), SK_EPROTO);
    assert_int_equal(decode_with(unended_text, 0), SK_EPROTO);
    assert_int_equal(ipc_decode("x", 1, 0, &msg), SK_EPROTO);
}

static void unwanted_descriptors_are_closed(void **state)
{
    (void)state;
    struct raw r = {IPC_MAGIC, IPC_VERSION, IPC_STOP, sizeof(struct ipc_empty), {0}};
    struct iovec iov = {&r, offsetof(struct raw, body) + sizeof(struct ipc_empty)};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(3 * sizeof(int))] = {0};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(3 * sizeof(int));
    int fds[3] = {0, 1, 2};
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    int before = open_fds();
    assert_true(sendmsg(sv[0], &mh, 0) > 0);
    assert_int_equal(ipc_recv(sv[1], &msg), SK_EPROTO);
    assert_int_equal(open_fds(), before);
}

static void texts_come_out_of_a_bundle_as_they_went_in(void **state)
{
    (void)state;
    struct ipc_bundle *b;
    int fd;
    assert_int_equal(ipc_bundle_create(&b), SK_OK);
    assert_int_equal(ipc_bundle_add(b, IPC_TEXT_CONF, "/etc/sekisho.yaml", "mode: detect\n", 13), SK_OK);
    assert_int_equal(ipc_bundle_add(b, IPC_TEXT_RULES, "a.rules", "x\0y", 3), SK_OK);
    assert_int_equal(ipc_bundle_add(b, IPC_TEXT_CLASSES, "", "", 0), SK_OK);
    assert_int_equal(ipc_bundle_seal(b, &fd), SK_OK);
    assert_int_equal(write(fd, "z", 1), -1); /* nobody can change it any more */
    assert_int_equal(ipc_bundle_open(fd, &b), SK_OK);
    close(fd);
    assert_int_equal(ipc_bundle_count(b), 3);
    struct ipc_text t = ipc_bundle_text(b, 1);
    assert_int_equal(t.kind, IPC_TEXT_RULES);
    assert_string_equal(t.name, "a.rules");
    assert_int_equal(t.len, 3);
    assert_memory_equal(t.text, "x\0y", 4);
    ipc_bundle_free(b);
}

static void a_bundle_that_can_still_change_is_refused(void **state)
{
    (void)state;
    struct ipc_bundle *b;
    int fd = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ipc_bundle_open(fd, &b), SK_EPROTO);
    assert_int_equal(write(fd, "garbage garbage garbage", 23), 23);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    assert_int_equal(ipc_bundle_open(fd, &b), SK_EPROTO);
    close(fd);
    struct ipc_status *s;
    fd = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, sizeof(struct ipc_status)), 0);
    assert_int_equal(ipc_status_map(fd, &s), SK_EPROTO);
    close(fd);
}

static void too_many_texts_are_refused(void **state)
{
    (void)state;
    struct ipc_bundle *b;
    assert_int_equal(ipc_bundle_create(&b), SK_OK);
    for (int i = 0; i < IPC_BUNDLE_TEXTS; i++)
        assert_int_equal(ipc_bundle_add(b, IPC_TEXT_SET, "n", "t", 1), SK_OK);
    assert_int_equal(ipc_bundle_add(b, IPC_TEXT_SET, "n", "t", 1), SK_EFULL);
    ipc_bundle_free(b);
}

static void a_blob_is_what_it_was(void **state)
{
    (void)state;
    const void *p;
    size_t len;
    int fd;
    assert_int_equal(ipc_blob_make("test", "hello", 5, &fd), SK_OK);
    assert_int_equal(ipc_blob_map(fd, 5, &p, &len), SK_OK);
    assert_int_equal(len, 5);
    assert_memory_equal(p, "hello", 5);
    ipc_blob_unmap(p, len);
    assert_true(write(fd, "x", 1) < 0);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ipc_blob_map(fd, 4, &p, &len), SK_EPROTO); /* longer than is wanted */
    close(fd);
    fd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0 && write(fd, "hello", 5) == 5);
    assert_int_equal(ipc_blob_map(fd, 5, &p, &len), SK_EPROTO); /* could still change */
    close(fd);
    assert_int_equal(ipc_blob_make("empty", "", 0, &fd), SK_OK);
    assert_int_equal(ipc_blob_map(fd, 5, &p, &len), SK_EPROTO);
    close(fd);
}

static void sockets_are_for_this_host(void **state)
{
    (void)state;
    char path[] = "/tmp/sekisho-listen-XXXXXX", sock[64];
    struct stat st;
    struct sk_addr lo;
    int fd, again;
    assert_non_null(mkdtemp(path));
    snprintf(sock, sizeof(sock), "%s/s", path);
    assert_int_equal(ipc_listen_path(sock, (gid_t)-1, 4, &fd), SK_OK);
    assert_int_equal(stat(sock, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_int_equal(ipc_listen_path(sock, (gid_t)-1, 4, &again), SK_EEXIST); /* somebody answers */
    close(fd);
    assert_int_equal(ipc_listen_path(sock, (gid_t)-1, 4, &fd), SK_OK); /* a dead one is replaced */
    close(fd);
    unlink(sock);
    int file = open(sock, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(ipc_listen_path(sock, (gid_t)-1, 4, &fd), SK_EIO); /* a file is not */
    close(file);
    unlink(sock);
    rmdir(path);
    assert_int_equal(sk_addr_parse("127.0.0.1", 9, &lo), SK_OK);
    assert_int_equal(ipc_listen_port(&lo, 0, 4, &fd), SK_OK); /* any port that is free */
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(sa.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(ipc_listen_port(&lo, ntohs(sa.sin_port), 4, &again), SK_EIO);
    assert_int_equal(errno, EADDRINUSE);
    close(fd);
}

static void both_sides_see_the_status_page(void **state)
{
    (void)state;
    int fd;
    struct ipc_status *a, *b;
    assert_int_equal(ipc_status_create(&fd, &a), SK_OK);
    assert_int_equal(ipc_status_map(fd, &b), SK_OK);
    sk_count_add(&a->worker[SK_MAX_WORKERS - 1].c, SK_C_PKTS, 5);
    assert_int_equal(sk_count_read(&b->worker[SK_MAX_WORKERS - 1].c, SK_C_PKTS), 5);
    assert_int_equal(ftruncate(fd, 0), -1); /* a role cannot pull it from under the guard */
    ipc_status_unmap(a);
    ipc_status_unmap(b);
    close(fd);
}

/* What an uplink may say, byte for byte at its limits: lengths, words and texts are looked at before anybody uses them.
 */
static int refuse(enum ipc_type type, const void *body, size_t len)
{
    const int fds[2] = {STDERR_FILENO, STDERR_FILENO};
    assert_int_equal(ipc_body_size(type), len);
    assert_int_equal(ipc_send(sv[0], type, body, fds, ipc_type_fds(type)), SK_OK);
    int rc = ipc_recv(sv[1], &msg);
    if (rc == SK_OK)
        ipc_msg_close(&msg);
    return rc;
}

#define CHECK(type, value, change, want)                                                                               \
    do {                                                                                                               \
        __typeof__(value) v_ = (value);                                                                                \
        __typeof__(value) *m = &v_;                                                                                    \
        change;                                                                                                        \
        assert_int_equal(refuse(type, m, sizeof(*m)), want);                                                           \
    } while (0)

static void what_an_uplink_says_is_looked_at(void **state)
{
    (void)state;
    struct ipc_fleet f = {.target = {.len = 128}, .id = "B", .host = "web-2", .reason = "r"};
    CHECK(IPC_FLEET, f, m->op = IPC_BLOCK_END, SK_OK);
    CHECK(IPC_FLEET, f, m->op = IPC_BLOCK_DONE, SK_EPROTO);
    CHECK(IPC_FLEET, f, m->target.len = 129, SK_EPROTO);
    CHECK(IPC_FLEET, f, m->expires = -1, SK_EPROTO);
    CHECK(IPC_FLEET, f, m->created = INT64_MIN, SK_EPROTO);
    CHECK(IPC_FLEET, f, memset(m->id, 'x', sizeof(m->id)), SK_EPROTO);
    CHECK(IPC_FLEET, f, memset(m->host, 'x', sizeof(m->host)), SK_EPROTO);
    CHECK(IPC_FLEET, f, memset(m->reason, 'x', sizeof(m->reason)), SK_EPROTO);
    struct ipc_manager g = {.naddr = IPC_MANAGER_ADDR};
    CHECK(IPC_MANAGER, g, m->state = IPC_MANAGER_REFUSED, SK_OK);
    CHECK(IPC_MANAGER, g, m->state = IPC_MANAGER_STATES, SK_EPROTO);
    CHECK(IPC_MANAGER, g, m->naddr++, SK_EPROTO);
    CHECK(IPC_MANAGER, g, m->cert_until = -1, SK_EPROTO);
    CHECK(IPC_MANAGER, g, memset(m->url, 'x', sizeof(m->url)), SK_EPROTO);
    CHECK(IPC_MANAGER, g, memset(m->text, 'x', sizeof(m->text)), SK_EPROTO);
    CHECK(IPC_MANAGER, g, memset(m->agent, 'x', sizeof(m->agent)), SK_EPROTO);
    struct ipc_found a = {.nsets = IPC_WAF_SETS};
    CHECK(IPC_FOUND, a, m->state = IPC_FOUND_THERE, SK_OK);
    CHECK(IPC_FOUND, a, m->state = IPC_FOUND_STATES, SK_EPROTO);
    CHECK(IPC_FOUND, a, m->nsets++, SK_EPROTO);
    CHECK(IPC_FOUND, a, m->expires = -1, SK_EPROTO);
    CHECK(IPC_FOUND, a, memset(m->set[3], 'x', IPC_SET_NAME), SK_EPROTO);
    CHECK(IPC_FOUND, a, memset(m->block, 'x', sizeof(m->block)), SK_EPROTO);
    struct ipc_signed s = {.kind = IPC_SIGNED_KINDS - 1};
    CHECK(IPC_SIGNED, s, m->version = UINT64_MAX, SK_OK);
    CHECK(IPC_SIGNED, s, m->kind++, SK_EPROTO);
}

static void what_the_guard_tells_is_looked_at_as_well(void **state)
{
    (void)state;
    struct ipc_block_news n = {.target = {.len = 128}, .id = "B", .reason = "r"};
    CHECK(IPC_BLOCK_NEWS, n, m->op = IPC_BLOCK_DONE, SK_OK);
    CHECK(IPC_BLOCK_NEWS, n, m->op = IPC_BLOCK_OPS, SK_EPROTO);
    CHECK(IPC_BLOCK_NEWS, n, m->origin = IPC_ORIGINS, SK_EPROTO);
    CHECK(IPC_BLOCK_NEWS, n, m->cause = DECIDE_REASON_COUNT, SK_EPROTO);
    CHECK(IPC_BLOCK_NEWS, n, m->why = IPC_WHYS, SK_EPROTO);
    CHECK(IPC_BLOCK_NEWS, n, m->target.len = 200, SK_EPROTO);
    CHECK(IPC_BLOCK_NEWS, n, memset(m->reason, 'x', sizeof(m->reason)), SK_EPROTO);
    struct ipc_setup s = {.rings = 1};
    CHECK(IPC_FORWARD, s, m->forward = 7, SK_OK);
    CHECK(IPC_FORWARD, s, m->rings = 2, SK_EPROTO);
    struct ipc_look_up l = {.id = 1};
    CHECK(IPC_LOOK_UP, l, m->target.len = 128, SK_OK);
    CHECK(IPC_LOOK_UP, l, m->target.len = 129, SK_EPROTO);
    struct ipc_signed_done d = {.version = 3};
    CHECK(IPC_SIGNED_DONE, d, m->kind = 1, SK_OK);
    CHECK(IPC_SIGNED_DONE, d, memset(m->text, 'x', sizeof(m->text)), SK_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_descriptor_travels, setup, teardown),
        cmocka_unit_test_setup_teardown(what_an_uplink_says_is_looked_at, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_guard_tells_is_looked_at_as_well, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_and_the_end_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_socket_says_so_and_blocks_nobody, setup, teardown),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test_setup_teardown(unwanted_descriptors_are_closed, setup, teardown),
        cmocka_unit_test(texts_come_out_of_a_bundle_as_they_went_in),
        cmocka_unit_test(a_bundle_that_can_still_change_is_refused),
        cmocka_unit_test(too_many_texts_are_refused),
        cmocka_unit_test(a_blob_is_what_it_was),
        cmocka_unit_test(sockets_are_for_this_host),
        cmocka_unit_test(both_sides_see_the_status_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
