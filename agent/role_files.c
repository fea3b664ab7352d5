/*
 * Which files a role can open: Landlock, a sandbox that needs no privilege. The filter of system calls refuses most
 * roles any open(2); this is what holds the uplink, which needs files, and a second wall for the others. It is there
 * also without a unit of systemd around the agent.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/log.h"
#include "role.h"

/* linux/landlock.h of the oldest system that this is built on lacks half of it. The numbers are those of every
 * architecture. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif
#define ASK_VERSION 1u
#define PATH_BELOW  1

#define FS_EXECUTE     (UINT64_C(1) << 0)
#define FS_WRITE_FILE  (UINT64_C(1) << 1)
#define FS_READ_FILE   (UINT64_C(1) << 2)
#define FS_READ_DIR    (UINT64_C(1) << 3)
#define FS_REMOVE_FILE (UINT64_C(1) << 5)
#define FS_MAKE_REG    (UINT64_C(1) << 8)
#define FS_TRUNCATE    (UINT64_C(1) << 14)
#define FS_OF_FILES    (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE)
#define FS_READ        (FS_READ_FILE | FS_READ_DIR)
#define FS_OWN         (FS_READ | FS_WRITE_FILE | FS_REMOVE_FILE | FS_MAKE_REG | FS_TRUNCATE)

#define NET_BIND_TCP    (UINT64_C(1) << 0)
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ALL       UINT64_C(3) /* abstract sockets, and signals to others */

struct ruleset {
    uint64_t fs, net, scoped;
};

struct __attribute__((packed)) below {
    uint64_t allowed;
    int32_t parent;
};

int role_files_version(void)
{
    long v = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);
    return v > 0 ? (int)v : 0;
}

/* All rights that this kernel knows; what is handled and not allowed by a rule is refused. */
static struct ruleset handled(enum role_kind kind, int version)
{
    static const unsigned fs_rights[] = {0, 13, 14, 15, 15, 16}; /* by version; later ones have no more of files */
    struct ruleset r = {.fs = (UINT64_C(1) << fs_rights[version < 5 ? version : 5]) - 1};
    if (version >= 4)
        r.net = kind == ROLE_UPLINK ? NET_BIND_TCP : NET_BIND_TCP | NET_CONNECT_TCP;
    if (version >= 6)
        r.scoped = SCOPE_ALL;
    return r;
}

/* An older kernel wants a shorter structure, or zeroes where it knows nothing. */
static size_t size_of(int version)
{
    return version >= 6 ? 3 * sizeof(uint64_t) : version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

/* What is not there needs no rule. */
static int allow(int rules, uint64_t handled_fs, const char *path, uint64_t rights)
{
    struct stat st;
    struct below b = {.parent = open(path, O_PATH | O_CLOEXEC)};
    if (b.parent < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -1;
    b.allowed = rights & handled_fs;
    if (fstat(b.parent, &st) == 0 && !S_ISDIR(st.st_mode))
        b.allowed &= FS_OF_FILES;
    long rc = syscall(SYS_landlock_add_rule, rules, PATH_BELOW, &b, 0);
    close(b.parent);
    return (int)rc;
}

/* Where the agent's own libraries are, if not where the system's are: name service loads more of them later. */
static int allow_libraries(int rules, uint64_t handled_fs)
{
    const char *env = getenv("LD_LIBRARY_PATH");
    char *list = strdup(env != NULL ? env : ""), *save = NULL;
    int rc = list != NULL ? 0 : -1;
    for (char *p = list; rc == 0 && (p = strtok_r(p, ":", &save)) != NULL; p = NULL)
        rc = allow(rules, handled_fs, p, FS_READ);
    free(list);
    return rc;
}

/*
 * Its own folder; and to read: what name resolution and TLS look for. resolv.conf is a link to somewhere below /run as
 * a rule, and what is there comes with the network, later than the uplink: so all of /run, as far as its user may.
 */
static int allow_uplink(int rules, uint64_t handled_fs, const char *folder)
{
    static const char *const readable[] = {"/etc", "/usr",        "/lib",         "/lib64",
                                           "/run", "/dev/random", "/dev/urandom", "/proc/sys/crypto/fips_enabled"};
    int rc = allow(rules, handled_fs, folder, FS_OWN);
    for (size_t i = 0; rc == 0 && i < sizeof(readable) / sizeof(readable[0]); i++)
        rc = allow(rules, handled_fs, readable[i], FS_READ);
    if (rc == 0)
        rc = allow(rules, handled_fs, "/dev/null", FS_READ | FS_WRITE_FILE);
    return rc == 0 ? allow_libraries(rules, handled_fs) : rc;
}

bool role_files_enter(enum role_kind kind, const char *folder)
{
    int version = role_files_version();
    if (version == 0)
        return false; /* the guard has said so */
    struct ruleset r = handled(kind, version);
    int rules = (int)syscall(SYS_landlock_create_ruleset, &r, size_of(version), 0);
    int rc = rules >= 0 ? 0 : -1;
    if (rc == 0 && kind == ROLE_UPLINK)
        rc = allow_uplink(rules, r.fs, folder);
    if (rc == 0)
        rc = (int)syscall(SYS_landlock_restrict_self, rules, 0);
    if (rc != 0)
        sk_log(SK_LOG_WARN, "Landlock: %s: files are not confined beyond users and modes", strerror(errno));
    if (rules >= 0)
        close(rules);
    return rc == 0;
}
