#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "role.h"

/* Memory, time, threads, signals, and descriptors that are already there. */
static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(lseek),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(membarrier),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(sched_yield),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(tgkill),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(recvmsg),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(getrandom),
    SCMP_SYS(getrusage),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    SCMP_SYS(sched_getaffinity),
};

/* mmap and mprotect: also of memory to run, which expressions are compiled into. */
static const int engine_only[] = {SCMP_SYS(sched_setaffinity), SCMP_SYS(mmap), SCMP_SYS(mprotect)};
static const int reporter_only[] = {SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(sendmsg)};

/* Answering on a socket that is there; no other is made. */
static const int exporter_only[] = {
    SCMP_SYS(write),      SCMP_SYS(writev),      SCMP_SYS(close),      SCMP_SYS(sendmsg),       SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),   SCMP_SYS(accept4),     SCMP_SYS(shutdown),   SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(getsockname)};

/* Its own folder's files (whose owner it is: users and modes say which), connections, and a memfd for what is signed.
 */
static const int uplink_only[] = {
    SCMP_SYS(write),       SCMP_SYS(writev),       SCMP_SYS(close),         SCMP_SYS(sendmsg),   SCMP_SYS(sendto),
    SCMP_SYS(sendmmsg),    SCMP_SYS(recvfrom),     SCMP_SYS(connect),       SCMP_SYS(shutdown),  SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(getsockopt),   SCMP_SYS(pipe2),         SCMP_SYS(eventfd2),  SCMP_SYS(memfd_create),
    SCMP_SYS(select),      SCMP_SYS(pselect6),     SCMP_SYS(stat),          SCMP_SYS(lstat),     SCMP_SYS(statx),
    SCMP_SYS(access),      SCMP_SYS(faccessat),    SCMP_SYS(faccessat2),    SCMP_SYS(readlink),  SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd),      SCMP_SYS(pread64),      SCMP_SYS(pwrite64),      SCMP_SYS(fsync),     SCMP_SYS(fdatasync),
    SCMP_SYS(ftruncate),   SCMP_SYS(fallocate),    SCMP_SYS(rename),        SCMP_SYS(renameat),  SCMP_SYS(renameat2),
    SCMP_SYS(unlink),      SCMP_SYS(unlinkat),     SCMP_SYS(getuid),        SCMP_SYS(geteuid),   SCMP_SYS(getgid),
    SCMP_SYS(getegid),     SCMP_SYS(clock_getres), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
};

static const int deadly[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(ptrace),
};

/* But for the uplink, whose work it is. */
static const int deadly_connections[] = {SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect)};

/* A call that this architecture does not have (-EDOM) needs no rule. */
static int add_all(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int rc = seccomp_rule_add(ctx, action, calls[i], 0);
        if (rc < 0 && rc != -EDOM)
            return rc;
    }
    return 0;
}

#define CLONE_NAMESPACES                                                                                               \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |       \
     (scmp_datum_t)CLONE_NEWTIME)

/*
 * Threads, but no processes, and none in namespaces of its own. clone3 hides its flags from filters; on ENOSYS the C
 * library falls back to clone.
 */
static int add_threads(scmp_filter_ctx ctx)
{
    int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_NAMESPACES, CLONE_THREAD));
    return rc;
}

/*
 * No F_SETFL: the log is open for appending, and stays so for whoever would rather overwrite it; and flags are shared
 * with the other roles, which count on not being held by an empty eventfd. No F_DUPFD (add_engine_output).
 */
static int add_guarded(scmp_filter_ctx ctx)
{
    static const int fcntls[] = {F_GETFD, F_SETFD, F_GETFL, F_GET_SEALS};
    int rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
    if (rc == 0) /* reading limits, not setting them */
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0));
    for (size_t i = 0; rc == 0 && i < sizeof(fcntls) / sizeof(fcntls[0]); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)fcntls[i]));
    return rc;
}

/*
 * Closing what lies behind the channels. The filter compares 64 bits and the kernel closes the lower 32: "greater than
 * 4" would let close(1 << 32 | 3) through. So: any descriptor with a bit from 8 to 2048 set, and 5, 6 and 7 exactly.
 */
static int add_close(scmp_filter_ctx ctx)
{
    int rc = 0;
    for (scmp_datum_t bit = 8; rc == 0 && bit < ROLE_FILES_MAX; bit <<= 1)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(close), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, bit, bit));
    for (scmp_datum_t fd = ROLE_FD_BLOCKS + 1; rc == 0 && fd < 8; fd++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(close), 1, SCMP_A0(SCMP_CMP_EQ, fd));
    return rc;
}

/* The error of an interface that went down. The counts of a packet socket are the guard's: reading resets them. */
static int add_engine_sockopt(scmp_filter_ctx ctx)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(getsockopt), 2, SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET),
                            SCMP_A2(SCMP_CMP_EQ, SO_ERROR));
}

/*
 * The engine holds packet sockets, to which a frame could be written. So it sends on its two channels only, writes
 * logs, and otherwise only the eight bytes that wake an eventfd (a frame has at least fourteen); and no descriptor can
 * come to lie where these are.
 */
static int add_engine_output(scmp_filter_ctx ctx)
{
    static const int channels[] = {ROLE_FD_CHANNEL, ROLE_FD_BLOCKS};
    int rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, SCMP_A0(SCMP_CMP_EQ, STDERR_FILENO));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, SCMP_A2(SCMP_CMP_EQ, sizeof(uint64_t)));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(writev), 1, SCMP_A0(SCMP_CMP_EQ, STDERR_FILENO));
    if (rc == 0)
        rc = add_close(ctx);
    for (size_t i = 0; rc == 0 && i < sizeof(channels) / sizeof(channels[0]); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(sendmsg), 1,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)channels[i]));
    return rc;
}

/* The other roles compile nothing: no new code comes into them. */
static int add_plain_memory(scmp_filter_ctx ctx)
{
    static const int calls[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(calls) / sizeof(calls[0]); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return rc;
}

#define ADD(ctx, action, list) add_all(ctx, action, list, sizeof(list) / sizeof((list)[0]))

/* Of options only those that say how an answer is cut into segments. */
static int add_exporter_output(scmp_filter_ctx ctx)
{
    int rc = ADD(ctx, SCMP_ACT_ALLOW, exporter_only);
    return rc == 0 ? seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 1, SCMP_A1(SCMP_CMP_EQ, IPPROTO_TCP))
                   : rc;
}

#define SOCK_TYPE_MASK 0xf /* of socket(2)'s type, without SOCK_CLOEXEC and SOCK_NONBLOCK */

/*
 * TCP, and UDP for names. What else getaddrinfo(3) tries (netlink, the socket of a cache of names) fails, and it goes
 * on without it.
 */
static int add_sockets(scmp_filter_ctx ctx)
{
    static const int families[] = {AF_INET, AF_INET6}, types[] = {SOCK_STREAM, SOCK_DGRAM};
    int rc = 0;
    for (int i = 0; rc == 0 && i < 4; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i / 2]),
                              SCMP_A1(SCMP_CMP_MASKED_EQ, SOCK_TYPE_MASK, (scmp_datum_t)types[i % 2]));
    if (rc == 0) /* by which a thread of libcurl wakes another */
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
    return rc;
}

static int add_socket_options(scmp_filter_ctx ctx)
{
    static const int levels[] = {SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6}, ioctls[] = {FIONREAD, FIONBIO};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(levels) / sizeof(levels[0]); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 1,
                              SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)levels[i]));
    for (size_t i = 0; rc == 0 && i < sizeof(ioctls) / sizeof(ioctls[0]); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)ioctls[i]));
    return rc;
}

/* Flags only so that a descriptor of its own does not block, from 4 on (add_guarded); locks of SQLite, seals. */
static int add_uplink_fcntl(scmp_filter_ctx ctx)
{
    static const int fcntls[] = {F_GETLK, F_SETLK, F_SETLKW, F_ADD_SEALS};
    int rc = 0;
    for (scmp_datum_t bit = ROLE_FD_CHANNEL + 1; rc == 0 && bit < ROLE_FILES_MAX; bit <<= 1) /* as add_close */
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 3, SCMP_A0(SCMP_CMP_MASKED_EQ, bit, bit),
                              SCMP_A1(SCMP_CMP_EQ, F_SETFL), SCMP_A2(SCMP_CMP_MASKED_EQ, O_NONBLOCK, O_NONBLOCK));
    for (size_t i = 0; rc == 0 && i < sizeof(fcntls) / sizeof(fcntls[0]); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)fcntls[i]));
    return rc;
}

#define SETID_BITS (S_ISUID | S_ISGID)

/* A mode counts only where a file is made, and is whatever there happens to be where none is. */
static int add_open(scmp_filter_ctx ctx, int call, unsigned flags_at)
{
    int rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
                              SCMP_CMP(flags_at, SCMP_CMP_MASKED_EQ, O_CREAT | (O_TMPFILE & ~O_DIRECTORY), 0));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1, SCMP_CMP(flags_at + 1, SCMP_CMP_MASKED_EQ, SETID_BITS, 0));
    return rc == -EDOM ? 0 : rc;
}

/* Files, none of which gives whoever runs it its owner's rights. */
static int add_uplink_files(scmp_filter_ctx ctx)
{
    int rc = add_open(ctx, SCMP_SYS(open), 1);
    if (rc == 0)
        rc = add_open(ctx, SCMP_SYS(openat), 2);
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fchmod), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, SETID_BITS, 0));
    return rc;
}

static int add_uplink(scmp_filter_ctx ctx)
{
    int rc = ADD(ctx, SCMP_ACT_ALLOW, uplink_only);
    if (rc == 0)
        rc = add_sockets(ctx);
    if (rc == 0)
        rc = add_socket_options(ctx);
    if (rc == 0)
        rc = add_uplink_fcntl(ctx);
    if (rc == 0)
        rc = add_uplink_files(ctx);
    return rc;
}

static int add_output(scmp_filter_ctx ctx, enum role_kind kind)
{
    static const int accepting[] = {SCMP_SYS(accept4)};
    if (kind == ROLE_EXPORTER)
        return add_exporter_output(ctx);
    if (kind == ROLE_UPLINK) {
        int err = add_uplink(ctx);
        return err == 0 ? ADD(ctx, SCMP_ACT_KILL_PROCESS, accepting) : err;
    }
    int rc = kind == ROLE_ENGINE ? add_engine_output(ctx) : ADD(ctx, SCMP_ACT_ALLOW, reporter_only);
    return rc == 0 ? ADD(ctx, SCMP_ACT_KILL_PROCESS, accepting) : rc;
}

int sandbox_rules(enum role_kind kind, void *ctx)
{
    int rc = ADD(ctx, SCMP_ACT_ALLOW, allowed);
    if (rc == 0)
        rc = ADD(ctx, SCMP_ACT_KILL_PROCESS, deadly);
    if (rc == 0 && kind != ROLE_UPLINK)
        rc = ADD(ctx, SCMP_ACT_KILL_PROCESS, deadly_connections);
    if (rc == 0)
        rc = add_guarded(ctx);
    if (rc == 0 && kind == ROLE_ENGINE)
        rc = ADD(ctx, SCMP_ACT_ALLOW, engine_only);
    if (rc == 0 && kind == ROLE_ENGINE)
        rc = add_engine_sockopt(ctx);
    if (rc == 0 && (kind == ROLE_ENGINE || kind == ROLE_UPLINK))
        rc = add_threads(ctx);
    if (rc == 0 && kind != ROLE_ENGINE)
        rc = add_plain_memory(ctx);
    if (rc == 0)
        rc = add_output(ctx, kind);
    return rc;
}

int sandbox_enter(enum role_kind kind)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (ctx == NULL)
        return SK_ENOMEM;
    int rc = sandbox_rules(kind, ctx);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    if (rc == 0)
        return SK_OK;
    sk_log(SK_LOG_ERROR, "system call filter: %s", strerror(-rc));
    return SK_EIO;
}
