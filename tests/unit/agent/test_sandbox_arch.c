/*
 * The filter of each role as other architectures get it: compiled here for x86-64 and for AArch64, and asked what it
 * says to calls. Which calls an architecture lacks, and what the C library calls in their place there, is known here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "role.h"

#define INSTRUCTIONS_MAX 4096 /* BPF_MAXINSNS */
#define CALLS            600  /* more than any architecture has */
#define X32              0x40000000

enum arch { X86_64, AARCH64, ARCHS };

static const struct {
    uint32_t library, kernel;
} archs[ARCHS] = {{SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64}, {SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64}};

/* In the order of their numbers. */
static const enum role_kind kinds[] = {ROLE_ENGINE, ROLE_REPORTER, ROLE_EXPORTER, ROLE_UPLINK};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct program {
    struct sock_filter code[INSTRUCTIONS_MAX];
    size_t len;
};

static struct program programs[ARCHS][KINDS];

static void compile(enum arch arch, enum role_kind kind, struct program *p)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    assert_non_null(ctx);
    if (archs[arch].library != seccomp_arch_native()) {
        assert_int_equal(seccomp_arch_add(ctx, archs[arch].library), 0);
        assert_int_equal(seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE), 0);
    }
    assert_int_equal(sandbox_rules(kind, ctx), 0);
    int fd = memfd_create("filter", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(seccomp_export_bpf(ctx, fd), 0);
    seccomp_release(ctx);
    ssize_t n = pread(fd, p->code, sizeof(p->code), 0);
    assert_true(n > 0 && (size_t)n < sizeof(p->code) && (size_t)n % sizeof(p->code[0]) == 0);
    p->len = (size_t)n / sizeof(p->code[0]);
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    for (int a = 0; a < ARCHS; a++)
        for (size_t k = 0; k < KINDS; k++)
            compile((enum arch)a, kinds[k], &programs[a][k]);
    return 0;
}

static bool jumps(const struct sock_filter *i, uint32_t acc)
{
    switch (BPF_OP(i->code)) {
    case BPF_JEQ: return acc == i->k;
    case BPF_JGT: return acc > i->k;
    case BPF_JGE: return acc >= i->k;
    case BPF_JSET: return (acc & i->k) != 0;
    default: fail_msg("no such jump: %#x", i->code); return false;
    }
}

/* What the kernel would do with the call: the instructions that libseccomp makes, and no others. */
static uint32_t judge(const struct program *p, const struct seccomp_data *call)
{
    uint32_t acc = 0;
    for (size_t at = 0; at < p->len; at++) {
        const struct sock_filter *i = &p->code[at];
        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(i->k % 4 == 0 && i->k + 4 <= sizeof(*call));
            memcpy(&acc, (const char *)call + i->k, 4);
            break;
        case BPF_ALU | BPF_AND | BPF_K: acc &= i->k; break;
        case BPF_JMP | BPF_JA: at += i->k; break;
        case BPF_RET | BPF_K: return i->k;
        default:
            assert_int_equal(BPF_CLASS(i->code), BPF_JMP);
            assert_int_equal(BPF_SRC(i->code), BPF_K);
            at += jumps(i, acc) ? i->jt : i->jf;
        }
    }
    fail_msg("the filter comes to no end");
    return 0;
}

static uint32_t ask(enum arch arch, size_t kind, int nr, const uint64_t args[6])
{
    struct seccomp_data call = {.nr = nr, .arch = archs[arch].kernel};
    if (args != NULL)
        memcpy(call.args, args, sizeof(call.args));
    return judge(&programs[arch][kind], &call);
}

static int number(enum arch arch, const char *name)
{
    return seccomp_syscall_resolve_name_arch(archs[arch].library, name);
}

/* Arguments for which some rule says something else than for others; their values are the same on both. */
static const uint64_t arguments[][6] = {
    {0},
    {1, 1, 1},
    {STDERR_FILENO, F_GETFL, 8},
    {ROLE_FD_CHANNEL, F_SETFL, O_NONBLOCK},
    {ROLE_FD_BLOCKS, F_GETLK},
    {ROLE_FD_BLOCKS + 1, F_SETFL, O_NONBLOCK},
    {64, F_SETFL, 0},
    {UINT64_C(1) << 32 | ROLE_FD_CHANNEL, F_DUPFD, 8},
    {CLONE_THREAD},
    {CLONE_THREAD | CLONE_NEWNET},
    {CLONE_VM},
    {CLONE_THREAD | CLONE_NEWUSER},
    {0, O_CREAT, S_ISUID},
    {0, S_ISUID, O_CREAT, S_ISUID},
    {0, 0, O_CREAT, 0600},
    {9, 04700},
    {9, 0, O_CREAT, 02700},
    {9, 0, O_CREAT, 0700},
    {PR_SET_NAME},
    {PR_SET_DUMPABLE},
    {0, 0, PROT_READ | PROT_WRITE},
    {0, 0, PROT_READ | PROT_EXEC},
    {AF_INET, SOCK_STREAM | SOCK_CLOEXEC},
    {AF_INET, SOCK_RAW},
    {AF_INET6, SOCK_DGRAM},
    {AF_UNIX, SOCK_STREAM},
    {AF_PACKET, SOCK_RAW},
    {9, SOL_SOCKET, SO_ERROR},
    {9, SOL_SOCKET, SO_SNDBUF},
    {9, SOL_PACKET},
    {9, 0x541b /* FIONREAD */},
    {9, 0x8914 /* SIOCSIFFLAGS */},
};
#define ARGUMENTS (sizeof(arguments) / sizeof(arguments[0]))

static void every_call_that_both_have_is_judged_alike(void **state)
{
    (void)state;
    int both = 0;
    for (int nr = 0; nr < CALLS; nr++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);
        int there = name != NULL ? number(AARCH64, name) : -1;
        for (size_t k = 0; there >= 0 && k < KINDS; k++) {
            for (size_t i = 0; i < ARGUMENTS; i++) {
                uint32_t here = ask(X86_64, k, nr, arguments[i]), said = ask(AARCH64, k, there, arguments[i]);
                if (here != said)
                    fail_msg("%s with arguments %zu, role %d: %#x, on AArch64 %#x", name, i, (int)kinds[k], here, said);
            }
        }
        both += there >= 0;
        free(name);
    }
    assert_true(both > 250);
}

/* Numbers as <asm-generic/unistd.h> has them: what else is said here rests on libseccomp's tables. */
static void numbers_are_those_of_the_kernel(void **state)
{
    (void)state;
    static const struct {
        int nr;
        uint32_t engine, uplink;
    } calls[] = {
        {63 /* read */, SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW},
        {73 /* ppoll */, SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW},
        {98 /* futex */, SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW},
        {222 /* mmap */, SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW},
        {22 /* epoll_pwait */, SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ALLOW},
        {56 /* openat */, SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ALLOW},
        {79 /* newfstatat */, SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW},
        {53 /* fchmodat */, SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ERRNO | EPERM},
        {220 /* clone */, SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ERRNO | EPERM},
        {435 /* clone3 */, SECCOMP_RET_ERRNO | ENOSYS, SECCOMP_RET_ERRNO | ENOSYS},
        {221 /* execve */, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_PROCESS},
        {117 /* ptrace */, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_PROCESS},
        {200 /* bind */, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_PROCESS},
        {203 /* connect */, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW},
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        assert_int_equal(ask(AARCH64, ROLE_ENGINE, calls[i].nr, NULL), calls[i].engine);
        assert_int_equal(ask(AARCH64, ROLE_UPLINK, calls[i].nr, NULL), calls[i].uplink);
    }
}

/* What x86-64 has and AArch64 has not, and what the C library calls there instead. */
static const struct {
    const char *old, *instead;
} substitutes[] = {
    {"access", "faccessat"}, {"epoll_wait", "epoll_pwait"}, {"lstat", "newfstatat"}, {"open", "openat"},
    {"poll", "ppoll"},       {"readlink", "readlinkat"},    {"rename", "renameat"},  {"select", "pselect6"},
    {"stat", "newfstatat"},  {"unlink", "unlinkat"},
};

static const char *substitute(const char *old)
{
    for (size_t i = 0; i < sizeof(substitutes) / sizeof(substitutes[0]); i++)
        if (strcmp(substitutes[i].old, old) == 0)
            return substitutes[i].instead;
    return NULL;
}

static void what_aarch64_lacks_has_a_substitute(void **state)
{
    (void)state;
    int lacking = 0;
    for (int nr = 0; nr < CALLS; nr++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);
        for (size_t k = 0; name != NULL && number(AARCH64, name) < 0 && k < KINDS; k++) {
            if (ask(X86_64, k, nr, NULL) != SECCOMP_RET_ALLOW)
                continue;
            const char *instead = substitute(name);
            if (instead == NULL)
                fail_msg("AArch64 has no %s: what is called there instead?", name);
            if (ask(AARCH64, k, number(AARCH64, instead), NULL) != SECCOMP_RET_ALLOW)
                fail_msg("role %d may %s on x86-64, and not %s on AArch64", (int)kinds[k], name, instead);
            lacking++;
        }
        free(name);
    }
    assert_true(lacking >= 10);
}

/* A process can call the kernel as another architecture's would; none of that gets through. */
static void calls_of_another_architecture_kill(void **state)
{
    (void)state;
    static const uint32_t others[][2] = {
        [X86_64] = {AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64}, [AARCH64] = {AUDIT_ARCH_ARM, AUDIT_ARCH_X86_64}};
    for (int a = 0; a < ARCHS; a++) {
        for (size_t k = 0; k < KINDS; k++) {
            for (int nr = 0; nr < CALLS; nr++) {
                for (int o = 0; o < 2; o++) {
                    struct seccomp_data call = {.nr = nr, .arch = others[a][o]};
                    assert_int_equal(judge(&programs[a][k], &call), SECCOMP_RET_KILL);
                }
                assert_int_not_equal(ask((enum arch)a, k, nr | X32, NULL), SECCOMP_RET_ALLOW);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_that_both_have_is_judged_alike),
        cmocka_unit_test(numbers_are_those_of_the_kernel),
        cmocka_unit_test(what_aarch64_lacks_has_a_substitute),
        cmocka_unit_test(calls_of_another_architecture_kill),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
