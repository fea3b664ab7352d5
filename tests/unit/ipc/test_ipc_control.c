/* The control socket: real clients in child processes against a server in this one. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "ipc/control.h"

static char path[64];
static struct ipc_control *server;
static uint64_t deferred;
static struct ipc_peer last_peer;

static json_t *echo(void *arg, uint64_t id, const struct ipc_peer *peer, const json_t *request)
{
    (void)arg;
    last_peer = *peer;
    if (json_object_get(request, "later") != NULL) {
        deferred = id;
        return NULL;
    }
    json_int_t n = json_integer_value(json_object_get(request, "size"));
    json_t *a = json_deep_copy(request);
    for (json_int_t i = 0; n > 0 && i < 1; i++) {
        char *text = (char *)malloc((size_t)n);
        memset(text, 'x', (size_t)n);
        json_object_set_new(a, "text", json_stringn(text, (size_t)n));
        free(text);
    }
    return a;
}

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/sekisho-test-%d.sock", (int)getpid());
    deferred = 0;
    return ipc_control_listen(path, (gid_t)-1, echo, NULL, &server);
}

static int teardown(void **state)
{
    (void)state;
    ipc_control_free(server);
    struct stat st;
    return stat(path, &st) == 0; /* the socket file must be gone */
}

/* 0: the answer is the request, with `size` more text. */
static int client(json_int_t size, bool later)
{
    json_t *r = json_pack("{s:s,s:I}", "verb", "status", "size", size), *a = NULL;
    if (later)
        json_object_set_new(r, "later", json_true());
    int rc = ipc_control_call(path, r, 5, &a);
    if (rc != SK_OK)
        return 100 - rc;
    bool good = json_string_length(json_object_get(a, "text")) == (size_t)size;
    json_decref(a);
    json_decref(r);
    return good ? 0 : 1;
}

static pid_t start_client(json_int_t size, bool later)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(client(size, later));
    return pid;
}

/* Serves until the child ends; returns its exit status. */
static int serve(pid_t pid)
{
    int st;
    while (waitpid(pid, &st, WNOHANG) == 0) {
        struct pollfd p = {.fd = ipc_control_fd(server), .events = POLLIN};
        poll(&p, 1, 20);
        ipc_control_run(server, sk_now_mono());
        if (deferred != 0) {
            ipc_control_answer(server, deferred, json_object());
            deferred = 0;
        }
    }
    return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static void a_request_is_answered_and_the_asker_known(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    pid_t pid = start_client(0, false);
    assert_int_equal(serve(pid), 0);
    assert_int_equal(last_peer.pid, pid);
    assert_int_equal(last_peer.uid, getuid());
}

static void a_large_answer_arrives_whole(void **state)
{
    (void)state;
    assert_int_equal(serve(start_client(3000000, false)), 0);
}

static void an_answer_may_come_later(void **state)
{
    (void)state;
    assert_int_equal(serve(start_client(0, true)), 0);
}

static int dial(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    strcpy(sa.sun_path, path);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(s, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return s;
}

static void expect_closed(int s)
{
    for (int i = 0; i < 5; i++)
        ipc_control_run(server, sk_now_mono());
    char c;
    assert_true(recv(s, &c, 1, MSG_DONTWAIT) <= 0);
    assert_int_not_equal(recv(s, &c, 1, MSG_DONTWAIT), -1); /* closed, not merely silent */
    close(s);
}

static void garbage_closes_that_client_only(void **state)
{
    (void)state;
    static const uint32_t bad_magic[2] = {1, 10}, too_long[2] = {IPC_CONTROL_MAGIC, IPC_CONTROL_REQ_MAX + 1};
    struct {
        uint32_t head[2];
        char text[8];
    } not_json = {{IPC_CONTROL_MAGIC, 8}, "nonsense"};
    int s = dial();
    assert_int_equal(send(s, bad_magic, 8, 0), 8);
    expect_closed(s);
    s = dial();
    assert_int_equal(send(s, too_long, 8, 0), 8);
    expect_closed(s);
    s = dial();
    assert_int_equal(send(s, &not_json, sizeof(not_json), 0), sizeof(not_json));
    expect_closed(s);
    assert_int_equal(serve(start_client(0, false)), 0);
}

static void silent_clients_are_closed_in_time_and_the_next_is_served(void **state)
{
    (void)state;
    if (getuid() != 0)
        skip(); /* others than root do not get all slots */
    int s[IPC_CONTROL_CLIENTS];
    for (int i = 0; i < IPC_CONTROL_CLIENTS; i++) {
        s[i] = dial();
        ipc_control_run(server, sk_now_mono());
    }
    pid_t pid = start_client(0, false); /* all slots are taken */
    usleep(50000);
    for (int i = 0; i < 3; i++)
        ipc_control_run(server, sk_now_mono());
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    ipc_control_run(server, sk_now_mono() + (IPC_CONTROL_DEADLINE_S + 1) * SK_NS_PER_S);
    assert_int_equal(serve(pid), 0);
    for (int i = 0; i < IPC_CONTROL_CLIENTS; i++)
        close(s[i]);
}

static void others_do_not_keep_root_out(void **state)
{
    (void)state;
    if (getuid() != 0)
        skip();
    assert_int_equal(chmod(path, 0666), 0);
    int done[2];
    char c;
    assert_int_equal(pipe(done), 0);
    pid_t other = fork();
    if (other == 0) {
        close(done[1]);
        if (setuid(65534) != 0)
            _exit(1);
        for (int i = 0; i < IPC_CONTROL_CLIENTS; i++)
            (void)dial();
        _exit((int)read(done[0], &c, 1)); /* until the parent is through */
    }
    for (int i = 0; i < 50; i++) {
        ipc_control_run(server, sk_now_mono());
        usleep(2000);
    }
    assert_int_equal(serve(start_client(0, false)), 0);
    close(done[0]);
    close(done[1]);
    assert_int_equal(waitpid(other, NULL, 0), other);
}

static void without_descriptors_it_sleeps_and_serves_later(void **state)
{
    (void)state;
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int s = dial(), free_fd = dup(s);
    low = (struct rlimit){(rlim_t)free_fd, old.rlim_max};
    close(free_fd);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int64_t now = sk_now_mono();
    struct pollfd p = {.fd = ipc_control_fd(server), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 1000), 1);
    ipc_control_run(server, now);
    int awake = poll(&p, 1, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(awake, 0);
    ipc_control_run(server, now + 2 * SK_NS_PER_S);
    assert_int_equal(serve(start_client(0, false)), 0);
    close(s);
}

static void nobody_there_is_told_apart(void **state)
{
    (void)state;
    json_t *a = NULL, *r = json_object();
    assert_int_equal(ipc_control_call("/tmp/sekisho-no-such.sock", r, 1, &a), SK_ENOENT);
    json_decref(r);
    struct ipc_control *second;
    assert_int_equal(ipc_control_listen(path, (gid_t)-1, echo, NULL, &second), SK_EEXIST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_is_answered_and_the_asker_known, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_answer_arrives_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_may_come_later, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_closes_that_client_only, setup, teardown),
        cmocka_unit_test_setup_teardown(silent_clients_are_closed_in_time_and_the_next_is_served, setup, teardown),
        cmocka_unit_test_setup_teardown(others_do_not_keep_root_out, setup, teardown),
        cmocka_unit_test_setup_teardown(without_descriptors_it_sleeps_and_serves_later, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_there_is_told_apart, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
