/* What the kernel has and lets us do. */
#include <arpa/inet.h>
#include <cap-ng.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "doctor.h"
#include "enforce/nft.h"
#include "enforce/sockkill.h"

#define OLDEST_MAJOR 5
#define OLDEST_MINOR 4 /* enforce/nft.h */

static void look_at_version(struct doctor *d)
{
    struct utsname u;
    int major = 0, minor = 0;
    if (uname(&u) != 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2)
        doctor_say(d, DOCTOR_WARN, "kernel", NULL, "its version is not known");
    else if (major < OLDEST_MAJOR || (major == OLDEST_MAJOR && minor < OLDEST_MINOR))
        doctor_say(d, DOCTOR_FAIL, "kernel", "a newer kernel", "Linux %s; %d.%d is the oldest that works", u.release,
                   OLDEST_MAJOR, OLDEST_MINOR);
    else if (major == 5 && minor < 7)
        doctor_say(d, DOCTOR_OK, "kernel", NULL, "Linux %s: works, but counts no hits of a block (from 5.7)",
                   u.release);
    else
        doctor_say(d, DOCTOR_OK, "kernel", NULL, "Linux %s", u.release);
}

static void look_at_capabilities(struct doctor *d)
{
    static const int needed[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL, CAP_CHOWN};
    char missing[256] = "";
    size_t n = 0;
    capng_clear(CAPNG_SELECT_BOTH);
    if (capng_get_caps_process() != 0) {
        doctor_say(d, DOCTOR_WARN, "capabilities", NULL, "they cannot be read");
        return;
    }
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (!capng_have_capability(CAPNG_EFFECTIVE, (unsigned)needed[i]) && n < sizeof(missing))
            n += (size_t)snprintf(missing + n, sizeof(missing) - n, "%s%s", n > 0 ? ", " : "",
                                  capng_capability_to_name((unsigned)needed[i]));
    if (n > 0)
        doctor_say(d, DOCTOR_FAIL, "capabilities", "run it as root; in a container: --cap-add", "missing: %s", missing);
    else
        doctor_say(d, DOCTOR_OK, "capabilities", NULL, "all that the guard needs");
}

/* A ring as the agent wants it; no frame comes to a socket of protocol 0. */
static void look_at_capture(struct doctor *d)
{
    int v = TPACKET_V3, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0)
        doctor_say(d, DOCTOR_FAIL, "capture", errno == EPERM ? "run it as root; CAP_NET_RAW" : "modprobe af_packet",
                   "no packet socket: %s", strerror(errno));
    else if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &v, sizeof(v)) != 0)
        doctor_say(d, DOCTOR_FAIL, "capture", "a newer kernel", "no TPACKET_V3: %s", strerror(errno));
    else
        doctor_say(d, DOCTOR_OK, "capture", NULL, "AF_PACKET with TPACKET_V3");
    if (fd >= 0)
        close(fd);
}

/* --- tried out where it hurts nobody --- */

enum { STEP_NAMESPACE = 1, STEP_OPEN, STEP_SETUP, STEP_ADD, STEP_TEARDOWN, STEP_KILL };

struct trial {
    int nft_step, nft_rc; /* step that failed; 0 */
    int kill_rc;
};

static int try_nft(struct nft *n, int *rc)
{
    enum nft_setup done;
    struct nft_change c = {.set = NFT_HOST4, .op = NFT_ADD};
    int64_t now = sk_now_wall();
    (void)!sk_addr_parse("192.0.2.1", 9, &c.first);
    c.last = c.first;
    c.expires = now + 60 * SK_NS_PER_S;
    if ((*rc = nft_kernel_ops.setup(n, &done)) != SK_OK)
        return STEP_SETUP;
    if ((*rc = nft_kernel_ops.apply(n, &c, 1, now)) != SK_OK)
        return STEP_ADD;
    if ((*rc = nft_kernel_ops.teardown(n)) != SK_OK)
        return STEP_TEARDOWN;
    return 0;
}

/* A connection that there cannot be in an empty namespace: the kernel looks for it, or says that it never destroys. */
static int try_kill(void)
{
    struct sockkill_diag *k;
    struct sockkill_conn c = {.lport = 1, .pport = 1};
    int rc = sockkill_diag_open(&k);
    if (rc != SK_OK)
        return rc;
    (void)!sk_addr_parse("192.0.2.1", 9, &c.local);
    (void)!sk_addr_parse("192.0.2.2", 9, &c.peer);
    rc = sockkill_kernel_ops.destroy(k, &c);
    sockkill_diag_close(k);
    return rc == SK_ENOENT ? SK_OK : rc;
}

static void child(int fd)
{
    struct trial t = {.nft_step = STEP_NAMESPACE};
    struct nft *n;
    if (unshare(CLONE_NEWNET) == 0) {
        t.nft_rc = nft_open(&n);
        t.nft_step = t.nft_rc == SK_OK ? try_nft(n, &t.nft_rc) : STEP_OPEN;
        if (t.nft_step != STEP_OPEN)
            nft_close(n);
        t.kill_rc = try_kill();
    }
    _exit(write(fd, &t, sizeof(t)) == (ssize_t)sizeof(t) ? 0 : 1);
}

static bool run_trial(struct trial *t)
{
    int fd[2], status;
    if (pipe(fd) != 0)
        return false;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(fd[1]);
    close(fd[1]);
    bool got = pid > 0 && read(fd[0], t, sizeof(*t)) == (ssize_t)sizeof(*t);
    close(fd[0]);
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
    return got;
}

static void pass_over(void *arg, const struct nft_elem *e)
{
    (void)arg;
    (void)e;
}

/* May we ask for tables here? That alone takes the right to change them. */
static int ask_here(void)
{
    struct nft *n;
    int rc = nft_open(&n);
    if (rc != SK_OK)
        return rc;
    rc = nft_kernel_ops.list(n, sk_now_wall(), pass_over, NULL);
    nft_close(n);
    return rc == SK_ENOENT ? SK_OK : rc;
}

static void say_nft(struct doctor *d, const struct trial *t)
{
    static const char *const steps[] = {[STEP_OPEN] = "asking",
                                        [STEP_SETUP] = "making its table",
                                        [STEP_ADD] = "adding an address",
                                        [STEP_TEARDOWN] = "removing its table"};
    int rc = ask_here();
    if (rc != SK_OK)
        doctor_say(d, DOCTOR_FAIL, "nftables", rc == SK_EPERM ? "run it as root; CAP_NET_ADMIN" : "modprobe nf_tables",
                   "the kernel does not answer: %s", sk_strerror(rc));
    else if (t->nft_step == STEP_NAMESPACE)
        doctor_say(d, DOCTOR_OK, "nftables", NULL, "it answers; not tried out, for want of a network namespace");
    else if (t->nft_step != 0)
        doctor_say(d, DOCTOR_FAIL, "nftables", "modprobe nf_tables nft_counter; CONFIG_NF_TABLES_INET", "%s fails: %s",
                   steps[t->nft_step], sk_strerror(t->nft_rc));
    else
        doctor_say(d, DOCTOR_OK, "nftables", NULL,
                   "a table, its sets and chain, and an address can be made and removed");
}

static void say_kill(struct doctor *d, const struct trial *t)
{
    if (t->nft_step == STEP_NAMESPACE)
        return;
    if (!d->conf->decide.kill_sockets)
        doctor_say(d, DOCTOR_OK, "connections", NULL, "those of attackers are not destroyed (decide.kill-sockets)");
    else if (t->kill_rc != SK_OK)
        doctor_say(d, DOCTOR_WARN, "connections", "modprobe tcp_diag; a kernel with CONFIG_INET_DIAG_DESTROY",
                   "those of attackers cannot be destroyed: %s", sk_strerror(t->kill_rc));
    else
        doctor_say(d, DOCTOR_OK, "connections", NULL, "those of attackers can be destroyed");
}

void doctor_kernel(struct doctor *d)
{
    struct trial t = {.nft_step = STEP_NAMESPACE};
    look_at_version(d);
    look_at_capabilities(d);
    look_at_capture(d);
    if (!run_trial(&t))
        t.nft_step = STEP_NAMESPACE;
    say_nft(d, &t);
    say_kill(d, &t);
}
