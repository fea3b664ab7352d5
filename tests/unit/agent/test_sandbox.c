/* What a taken-over role can still do: each attempt in a child of its own. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "role.h"

#define PACKET_FD 20

/* Wait status of a child that enters the filter and tries. */
static int attempt(enum role_kind kind, int (*what)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int pair[2]; /* stands for a packet socket that the guard handed in */
        if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0 || dup2(pair[0], PACKET_FD) < 0 ||
            dup2(STDERR_FILENO, ROLE_FD_CHANNEL) < 0)
            _exit(98);
        if (sandbox_enter(kind) != SK_OK)
            _exit(99);
        _exit(what());
    }
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    return st;
}

static int do_open(void)
{
    return open("/etc/passwd", O_RDONLY) < 0 && errno == EPERM ? 0 : 1;
}

static int do_unlink(void)
{
    return unlink("/tmp/sekisho-sandbox-none") < 0 && errno == EPERM ? 0 : 1;
}

static int do_kill(void)
{
    return kill(getppid(), 0) < 0 && errno == EPERM ? 0 : 1;
}

/* Descriptor 3 stands for the log, which was opened for appending. */
static int do_overwrite(void)
{
    return fcntl(ROLE_FD_CHANNEL, F_SETFL, 0) < 0 && errno == EPERM && ftruncate(ROLE_FD_CHANNEL, 0) < 0 &&
                   errno == EPERM && fcntl(ROLE_FD_CHANNEL, F_GETFL) >= 0
               ? 0
               : 1;
}

static int do_setrlimit(void)
{
    return syscall(SYS_prlimit64, 0, 7, "0123456789abcdef", NULL) < 0 && errno == EPERM ? 0 : 1;
}

static int do_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static int do_exec(void)
{
    char *argv[] = {(char *)(uintptr_t) "true", NULL};
    execv("/bin/true", argv);
    return 1;
}

static int do_fork(void)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid < 0 && errno == EPERM ? 0 : 1;
}

/* A thread in a namespace of its own: as root the kernel would make it. */
static int do_namespace(void)
{
    static const unsigned long spaces[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                           CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        long rc = syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | spaces[i], 0, 0, 0, 0);
        if (rc >= 0 || errno != EPERM)
            return 1;
    }
    return 0;
}

static int do_ptrace(void)
{
    return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static void *thread(void *arg)
{
    *(int *)arg = 7;
    return NULL;
}

static int do_thread(void)
{
    pthread_t t;
    int v = 0;
    if (pthread_create(&t, NULL, thread, &v) != 0)
        return 1;
    pthread_join(t, NULL);
    return v == 7 ? 0 : 2;
}

/* Memory that is written and then run, as the expression compiler needs it. */
static int do_jit(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

/* Neither new memory to run, nor old made so. */
static int do_no_code(void)
{
    if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED || errno != EPERM)
        return 1;
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0 && errno == EPERM ? 0 : 2;
}

static int do_message(void)
{
    struct ipc_empty e = {0}; /* not a socket here: what counts is that the call is let through */
    return ipc_send(ROLE_FD_CHANNEL, IPC_STOP, &e, NULL, 0) == SK_EIO && errno == ENOTSOCK ? 0 : 1;
}

static bool refused(long rc)
{
    return rc < 0 && errno == EPERM;
}

/* Every way to have the kernel send a frame on a packet socket, and to bring one where sending is allowed. */
static int do_frame(void)
{
    uint8_t frame[60] = {0};
    struct iovec v = {frame, sizeof(frame)};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    if (!refused(write(PACKET_FD, frame, sizeof(frame))) || !refused(writev(PACKET_FD, &v, 1)) ||
        !refused(sendmsg(PACKET_FD, &m, 0)) || !refused(send(PACKET_FD, frame, sizeof(frame), 0)))
        return 1;
    if (!refused(fcntl(PACKET_FD, F_DUPFD, 3)) || !refused(dup2(PACKET_FD, ROLE_FD_CHANNEL)) ||
        !refused(close(ROLE_FD_CHANNEL)) || !refused(syscall(SYS_close, UINT64_C(1) << 32 | ROLE_FD_CHANNEL)))
        return 2;
    return write(PACKET_FD, frame, 8) == 8 && close(PACKET_FD) == 0 ? 0 : 3;
}

/* Reading the counts of a packet socket resets them: that is for the guard. The error of an interface is the engine's.
 */
static int do_counts(void)
{
    uint8_t v[64];
    socklen_t len = sizeof(v);
    if (!refused(getsockopt(PACKET_FD, SOL_PACKET, PACKET_STATISTICS, v, &len)) ||
        !refused(getsockopt(PACKET_FD, SOL_SOCKET, SO_SNDBUF, v, &len)))
        return 1;
    return getsockopt(PACKET_FD, SOL_SOCKET, SO_ERROR, v, &len) == 0 ? 0 : 2;
}

/* Answering on a socket that was handed in, and making none. */
static int do_serve(void)
{
    int fd = accept4(PACKET_FD, NULL, NULL, SOCK_CLOEXEC), on = 1;
    if (fd >= 0 || errno != EOPNOTSUPP) /* not a listening socket here: what counts is that the call is let through */
        return 1;
    if (send(PACKET_FD, "x", 1, 0) != 1 || refused(close(PACKET_FD)))
        return 2;
    return refused(setsockopt(ROLE_FD_CHANNEL, SOL_SOCKET, SO_MARK, &on, sizeof(on))) ? 0 : 3;
}

static int do_accept(void)
{
    return accept4(PACKET_FD, NULL, NULL, SOCK_CLOEXEC) >= 0;
}

/* Connections and names, and no other kind of socket; nothing that waits for others. */
static int do_connect(void)
{
    static const int wrong[][2] = {{AF_UNIX, SOCK_STREAM}, {AF_NETLINK, SOCK_RAW}, {AF_PACKET, SOCK_RAW},
                                   {AF_INET, SOCK_RAW},    {AF_INET6, SOCK_RAW},   {AF_VSOCK, SOCK_STREAM}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (!refused(socket(wrong[i][0], wrong[i][1] | SOCK_CLOEXEC, 0)))
            return 1;
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), udp = socket(AF_INET6, SOCK_DGRAM, 0);
    if (tcp < 0 || (udp < 0 && errno == EPERM))
        return 2;
    return refused(fcntl(tcp, F_SETFL, 0)) && fcntl(tcp, F_SETFL, O_RDWR | O_NONBLOCK) == 0 ? 0 : 3;
}

/* Files as its user may, for the spool. */
static int do_file(void)
{
    char name[] = "/tmp/sekisho-sandbox-file";
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || pwrite(fd, "x", 1, 0) != 1 || fsync(fd) != 0 || fchmod(fd, 0640) != 0)
        return 1;
    if (!refused(fchmod(fd, 04700)) || !refused(fchmod(fd, 02700)) || close(fd) != 0 || unlink(name) != 0 ||
        !refused(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 04700)) || !refused(open("/tmp", O_RDWR | O_TMPFILE, 02700)))
        return 3;
    return refused(symlink("/etc/passwd", name)) && refused(mkdir(name, 0700)) && refused(chmod("/tmp", 0700)) &&
                   refused(chown("/tmp", 0, 0))
               ? 0
               : 2;
}

static int do_listen(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return listen(fd, 1);
}

static int do_bind(void)
{
    struct sockaddr a = {.sa_family = AF_INET};
    return bind(socket(AF_INET, SOCK_DGRAM, 0), &a, sizeof(a));
}

/* What it shares with the others, the log above all, keeps its flags: whether it is appended to, and waited for. */
static int do_flags(void)
{
    return refused(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK)) && refused(fcntl(ROLE_FD_CHANNEL, F_SETFL, O_NONBLOCK)) &&
                   refused((int)syscall(SYS_fcntl, 1L << 32 | STDERR_FILENO, F_SETFL, O_NONBLOCK))
               ? 0
               : 3;
}

static void the_uplink_connects_and_keeps_a_spool(void **state)
{
    (void)state;
    static int (*const deadly[])(void) = {do_exec, do_ptrace, do_listen, do_bind, do_accept};
    assert_int_equal(attempt(ROLE_UPLINK, do_connect), 0);
    assert_int_equal(attempt(ROLE_UPLINK, do_flags), 0);
    assert_int_equal(attempt(ROLE_UPLINK, do_file), 0);
    assert_int_equal(attempt(ROLE_UPLINK, do_thread), 0);
    assert_int_equal(attempt(ROLE_UPLINK, do_namespace), 0);
    assert_int_equal(attempt(ROLE_ENGINE, do_namespace), 0);
    assert_int_equal(attempt(ROLE_UPLINK, do_no_code), 0);
    assert_int_equal(attempt(ROLE_UPLINK, do_message), 0);
    assert_int_equal(attempt(ROLE_UPLINK, do_kill), 0);
    assert_int_equal(attempt(ROLE_UPLINK, do_setrlimit), 0);
    assert_int_equal(attempt(ROLE_UPLINK, do_fork), 0);
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
        int st = attempt(ROLE_UPLINK, deadly[i]);
        assert_true(WIFSIGNALED(st));
        assert_int_equal(WTERMSIG(st), SIGSYS);
    }
}

/* --- files: what Landlock leaves, without the filter --- */

static char own[] = "/tmp/sekisho-own-XXXXXX", other[] = "/tmp/sekisho-other-XXXXXX";

static int make(const char *folder, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : errno;
}

static int move(const char *from, const char *to)
{
    char a[128], b[128];
    snprintf(a, sizeof(a), "%s/a", from);
    snprintf(b, sizeof(b), "%s/b", to);
    return rename(a, b) == 0 ? 0 : errno;
}

static int reads(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : errno;
}

static int uplink_files(void)
{
    if (make(own, "a") != 0 || move(own, own) != 0 || make(own, "a") != 0)
        return 1;
    if (make(other, "new") != EACCES || make(other, "a") != EACCES || move(own, other) == 0 || move(other, own) == 0)
        return 2;
    if (reads("/etc/passwd") != 0 || reads("/dev/urandom") != 0 || reads(other) != EACCES ||
        reads("/proc/self/maps") != EACCES)
        return 3;
    return symlink("/etc/passwd", "/etc/sekisho-link") < 0 && mkdir(own, 0700) < 0 ? 0 : 4;
}

static int no_files(void)
{
    return reads("/etc/passwd") == EACCES && reads(own) == EACCES && make(own, "new") == EACCES &&
                   make(other, "a") == EACCES
               ? 0
               : 1;
}

static int enter_files(enum role_kind kind, int (*what)(void))
{
    int st;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        _exit(role_files_enter(kind, own) ? what() : 99);
    }
    assert_int_equal(waitpid(pid, &st, 0), pid);
    return st;
}

/* As root too, whom no mode keeps out. */
static void a_role_opens_the_files_of_its_work(void **state)
{
    char command[256];
    (void)state;
    if (role_files_version() == 0)
        skip();
    assert_non_null(mkdtemp(own));
    assert_non_null(mkdtemp(other));
    assert_int_equal(make(other, "a"), 0);
    int uplink = enter_files(ROLE_UPLINK, uplink_files), reporter = enter_files(ROLE_REPORTER, no_files),
        engine = enter_files(ROLE_ENGINE, no_files), exporter = enter_files(ROLE_EXPORTER, no_files);
    snprintf(command, sizeof(command), "rm -r %s %s", own, other);
    assert_int_equal(system(command), 0);
    assert_int_equal(uplink, 0);
    assert_int_equal(reporter, 0);
    assert_int_equal(engine, 0);
    assert_int_equal(exporter, 0);
}

static void the_exporter_answers_on_what_it_was_given(void **state)
{
    (void)state;
    assert_int_equal(attempt(ROLE_EXPORTER, do_serve), 0);
    for (int kind = ROLE_ENGINE; kind <= ROLE_REPORTER; kind++) {
        int st = attempt((enum role_kind)kind, do_accept);
        assert_true(WIFSIGNALED(st));
        assert_int_equal(WTERMSIG(st), SIGSYS);
    }
}

static void the_engine_sends_no_frames(void **state)
{
    (void)state;
    assert_int_equal(attempt(ROLE_ENGINE, do_frame), 0);
}

static void the_engine_takes_no_counts(void **state)
{
    (void)state;
    assert_int_equal(attempt(ROLE_ENGINE, do_counts), 0);
}

static void roles_do_their_work(void **state)
{
    (void)state;
    assert_int_equal(attempt(ROLE_ENGINE, do_thread), 0);
    assert_int_equal(attempt(ROLE_ENGINE, do_jit), 0);
    assert_int_equal(attempt(ROLE_REPORTER, do_no_code), 0);
    assert_int_equal(attempt(ROLE_EXPORTER, do_no_code), 0);
    assert_int_equal(attempt(ROLE_EXPORTER, do_message), 0);
    assert_int_equal(attempt(ROLE_ENGINE, do_message), 0);
    assert_int_equal(attempt(ROLE_REPORTER, do_message), 0);
}

static void files_and_other_processes_are_out_of_reach(void **state)
{
    (void)state;
    for (int kind = ROLE_ENGINE; kind <= ROLE_EXPORTER; kind++) {
        assert_int_equal(attempt((enum role_kind)kind, do_open), 0);
        assert_int_equal(attempt((enum role_kind)kind, do_unlink), 0);
        assert_int_equal(attempt((enum role_kind)kind, do_kill), 0);
        assert_int_equal(attempt((enum role_kind)kind, do_overwrite), 0);
        assert_int_equal(attempt((enum role_kind)kind, do_setrlimit), 0);
        assert_int_equal(attempt((enum role_kind)kind, do_fork), 0);
    }
}

static void what_only_an_attack_does_kills(void **state)
{
    (void)state;
    static int (*const deadly[])(void) = {do_socket, do_exec, do_ptrace};
    for (int kind = ROLE_ENGINE; kind <= ROLE_EXPORTER; kind++) {
        for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
            int st = attempt((enum role_kind)kind, deadly[i]);
            assert_true(WIFSIGNALED(st));
            assert_int_equal(WTERMSIG(st), SIGSYS);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_do_their_work),
        cmocka_unit_test(the_uplink_connects_and_keeps_a_spool),
        cmocka_unit_test(a_role_opens_the_files_of_its_work),
        cmocka_unit_test(the_exporter_answers_on_what_it_was_given),
        cmocka_unit_test(the_engine_sends_no_frames),
        cmocka_unit_test(the_engine_takes_no_counts),
        cmocka_unit_test(files_and_other_processes_are_out_of_reach),
        cmocka_unit_test(what_only_an_attack_does_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
