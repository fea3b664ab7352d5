#include "pg_server.h"

#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS 30000

static void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* The newest of Debian's or RHEL's. */
static const char *find_program(const char *name, char *buf, size_t cap)
{
    glob_t g;
    char pattern[128];
    snprintf(pattern, sizeof pattern, "/usr/lib/postgresql/*/bin/%s", name);
    buf[0] = '\0';
    if (glob(pattern, 0, NULL, &g) == 0 && g.gl_pathc > 0)
        snprintf(buf, cap, "%s", g.gl_pathv[g.gl_pathc - 1]);
    globfree(&g);
    if (!*buf) {
        snprintf(buf, cap, "/usr/bin/%s", name);
        if (access(buf, X_OK) != 0)
            buf[0] = '\0';
    }
    return *buf ? buf : NULL;
}

/* As user postgres, quietly; it gets the signal when we die. */
static pid_t run(const struct pg_server *p, const char *const argv[], int signal_at_death)
{
    const struct passwd *pw = getpwnam("postgres");
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char log[128];
    snprintf(log, sizeof log, "%s/log", p->dir);
    if (initgroups(pw->pw_name, pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0 ||
        chdir(p->dir) != 0)
        _exit(126);
    (void)prctl(PR_SET_PDEATHSIG, signal_at_death);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    setenv("LC_ALL", "C", 1);
    execv(argv[0], (char *const *)argv);
    _exit(127);
}

const char *pg_server_make(struct pg_server *p)
{
    char initdb[128], data[96];
    const struct passwd *pw = getpwnam("postgres");
    memset(p, 0, sizeof *p);
    if (geteuid() != 0)
        return "not root: PostgreSQL is started as its own user";
    if (!pw || !find_program("initdb", initdb, sizeof initdb))
        return "PostgreSQL is not installed";
    snprintf(p->dir, sizeof p->dir, "/tmp/sekisho-pg-XXXXXX");
    if (!mkdtemp(p->dir) || chown(p->dir, pw->pw_uid, pw->pw_gid) != 0)
        return "no temporary folder";
    snprintf(data, sizeof data, "%s/data", p->dir);
    const char *argv[] = {initdb, "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N", NULL};
    int st;
    pid_t pid = run(p, argv, SIGKILL);
    if (waitpid(pid, &st, 0) != pid || st != 0)
        return "initdb failed";
    return NULL;
}

static int answers(const struct pg_server *p)
{
    char where[128];
    snprintf(where, sizeof where, "host=%s user=postgres dbname=postgres", p->dir);
    return PQping(where) == PQPING_OK;
}

const char *pg_server_start(struct pg_server *p)
{
    char program[128], data[96];
    if (!find_program("postgres", program, sizeof program))
        return "PostgreSQL is not installed";
    snprintf(data, sizeof data, "%s/data", p->dir);
    const char *argv[] = {program,
                          "-D",
                          data,
                          "-k",
                          p->dir,
                          "-c",
                          "listen_addresses=",
                          "-c",
                          "fsync=off",
                          "-c",
                          "shared_buffers=32MB",
                          "-c",
                          "max_connections=40",
                          NULL};
    if (run(p, argv, SIGQUIT) < 0)
        return "fork failed";
    for (int i = 0; i < START_MS; i += 20, nap(20))
        if (answers(p))
            return NULL;
    return "the server did not start";
}

static pid_t server_pid(const struct pg_server *p)
{
    char path[96];
    int pid = 0;
    snprintf(path, sizeof path, "%s/data/postmaster.pid", p->dir);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%d", &pid) != 1)
        pid = 0;
    if (f)
        fclose(f);
    return pid;
}

/* It removes its pid file when it is done. It may be another process's child, and stay as a zombie. */
void pg_server_stop(const struct pg_server *p)
{
    pid_t pid = server_pid(p);
    if (pid <= 1)
        return;
    kill(pid, SIGQUIT);
    for (int i = 0; i < START_MS && server_pid(p) == pid; i += 20, nap(20))
        (void)waitpid(pid, NULL, WNOHANG);
}

void pg_server_remove(struct pg_server *p)
{
    if (!*p->dir)
        return;
    pg_server_stop(p);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", "--", p->dir, (char *)NULL);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
}
