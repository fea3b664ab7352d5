/* The machine: interfaces and their offloads, clock, memory, disk. */
#include <errno.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>
#include "base/limits.h"
#include "doctor.h"
#include "show.h"

#define MIB UINT64_C(1048576)

/* --- interfaces --- */

static int ethtool_flag(int fd, const char *name, uint32_t cmd, uint32_t *value)
{
    struct ethtool_value v = {.cmd = cmd};
    struct ifreq r = {.ifr_data = (void *)&v};
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    if (ioctl(fd, SIOCETHTOOL, &r) != 0)
        return -1;
    *value = v.data;
    return 0;
}

/* GRO, GSO and unfilled checksums are how frames look that a host hands to its own stack, and are inspected so. LRO
 * forgets where one frame ended. */
static void look_at_offloads(struct doctor *d, int fd, const char *name)
{
    uint32_t flags = 0, gro = 0;
    char remedy[64];
    snprintf(remedy, sizeof(remedy), "ethtool -K %s lro off", name);
    bool lro = ethtool_flag(fd, name, ETHTOOL_GFLAGS, &flags) == 0 && (flags & ETH_FLAG_LRO) != 0;
    if (lro)
        doctor_say(d, DOCTOR_WARN, "interface", remedy, "%s: LRO joins frames and loses what they were", name);
    else
        doctor_say(d, DOCTOR_OK, "interface", NULL, "%s: up, LRO off%s", name,
                   ethtool_flag(fd, name, ETHTOOL_GGRO, &gro) == 0 && gro != 0
                       ? ", GRO on (frames of up to 64 KiB are inspected whole)"
                       : "");
}

static bool is_named(const struct conf_list *l, const char *name)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i], name) == 0)
            return true;
    return false;
}

static bool is_slave(const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/class/net/%.32s/master", name);
    return access(path, F_OK) == 0;
}

static unsigned flags_of(int fd, const char *name)
{
    struct ifreq r = {0};
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    return ioctl(fd, SIOCGIFFLAGS, &r) == 0 ? (unsigned short)r.ifr_flags : 0;
}

static void look_at_named(struct doctor *d, int fd)
{
    const struct conf_list *l = &d->conf->capture.interfaces;
    for (uint32_t i = 0; i < l->n; i++)
        if (if_nametoindex(l->v[i]) == 0)
            doctor_say(d, DOCTOR_WARN, "interface", "correct capture.interfaces, unless it comes later",
                       "%s: there is none of that name", l->v[i]);
        else if ((flags_of(fd, l->v[i]) & IFF_UP) == 0)
            doctor_say(d, DOCTOR_WARN, "interface", "bring it up, or take it out of capture.interfaces", "%s: is down",
                       l->v[i]);
}

void doctor_interfaces(struct doctor *d)
{
    struct if_nameindex *all = if_nameindex();
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const struct conf_list *l = &d->conf->capture.interfaces;
    unsigned n = 0;
    look_at_named(d, fd);
    for (unsigned i = 0; all != NULL && all[i].if_index != 0; i++) {
        const char *name = all[i].if_name;
        unsigned f = flags_of(fd, name);
        bool wanted = l->n > 0 ? is_named(l, name) : (f & IFF_LOOPBACK) == 0 && !is_slave(name);
        if (!wanted || (f & IFF_UP) == 0)
            continue;
        n++;
        look_at_offloads(d, fd, name);
    }
    if (n == 0)
        doctor_say(d, DOCTOR_WARN, "interface", "bring one up, or name them in capture.interfaces",
                   "there is none to watch");
    if (all != NULL)
        if_freenameindex(all);
    if (fd >= 0)
        close(fd);
}

/* --- clock --- */

void doctor_clock(struct doctor *d)
{
    struct timex t = {.modes = 0};
    int rc = adjtimex(&t);
    if (rc < 0)
        doctor_say(d, DOCTOR_WARN, "clock", NULL, "not known whether it is synchronised: %s", strerror(errno));
    else if (rc == TIME_ERROR || (t.status & STA_UNSYNC) != 0)
        doctor_say(d, DOCTOR_WARN, "clock", "install and start chrony (on EC2: server 169.254.169.123)",
                   "nothing keeps it right; certificates and blocks depend on it");
    else
        doctor_say(d, DOCTOR_OK, "clock", NULL, "synchronised, to within %.1f ms", (double)t.maxerror / 1000);
}

/* --- memory --- */

static uint64_t mem_available(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return kib * 1024;
}

/* What it takes at once, and what its tables may grow to beside that. */
static void estimate(const struct conf *c, uint64_t *at_once, uint64_t *most)
{
    long cores = c->capture.workers != 0 ? (long)c->capture.workers : sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t workers = cores < 1 ? 1 : cores > SK_MAX_WORKERS ? SK_MAX_WORKERS : (uint64_t)cores;
    uint64_t interfaces = c->capture.interfaces.n > 0 ? c->capture.interfaces.n : 1;
    *at_once = workers * interfaces * c->capture.ring_size;
    *most = workers * ((uint64_t)c->defrag.memcap + c->stream.memcap + c->http.memcap + c->detect.threshold_memcap);
}

void doctor_memory(struct doctor *d)
{
    static const char remedy[] =
        "smaller capture.ring-size or stream.memcap, fewer capture.workers, or a larger instance";
    char have[24], need[24], grow[24];
    uint64_t available = mem_available(), at_once, most;
    estimate(d->conf, &at_once, &most);
    if (d->status != NULL) { /* its rings are taken already */
        long long used = show_num(d->status, "memory") + show_num(d->status, "ring_memory");
        doctor_say(d, available < 128 * MIB ? DOCTOR_WARN : DOCTOR_OK, "memory", available < 128 * MIB ? remedy : NULL,
                   "the agent has %s, and %s are available", show_bytes(used, need),
                   show_bytes((long long)available, have));
        return;
    }
    show_bytes((long long)available, have);
    show_bytes((long long)at_once, need);
    show_bytes((long long)most, grow);
    if (at_once + 128 * MIB > available)
        doctor_say(d, DOCTOR_FAIL, "memory", remedy, "%s are available, and capture rings take %s", have, need);
    else if (at_once + most + 128 * MIB > available)
        doctor_say(d, DOCTOR_WARN, "memory", remedy, "%s are available; rings take %s, and tables may grow to %s", have,
                   need, grow);
    else
        doctor_say(d, DOCTOR_OK, "memory", NULL, "%s are available; rings take %s, tables up to %s", have, need, grow);
}

/* --- disk --- */

/* Of the folder, or the nearest one above that is there. */
static int stat_nearest(const char *path, struct statvfs *s)
{
    char buf[4400];
    snprintf(buf, sizeof(buf), "%s", path);
    while (statvfs(buf, s) != 0) {
        char *slash = strrchr(buf, '/');
        if (errno != ENOENT || slash == NULL)
            return -1;
        if (slash == buf)
            return statvfs("/", s);
        *slash = '\0';
    }
    return 0;
}

static void look_at_folder(struct doctor *d, const char *what, const char *path, uint64_t wants)
{
    char have[24], need[24];
    struct statvfs s;
    if (stat_nearest(path, &s) != 0) {
        doctor_say(d, DOCTOR_WARN, "disk", NULL, "%s (%s): %s", path, what, strerror(errno));
        return;
    }
    uint64_t left = (uint64_t)s.f_bavail * s.f_frsize;
    show_bytes((long long)left, have);
    show_bytes((long long)wants, need);
    if ((s.f_flag & ST_RDONLY) != 0)
        doctor_say(d, DOCTOR_FAIL, "disk", "mount it read-write, or name another folder", "%s (%s) is read-only", path,
                   what);
    else if (left < 16 * MIB || (s.f_files > 0 && s.f_favail < 16))
        doctor_say(d, DOCTOR_FAIL, "disk", "make room", "%s (%s) is full: %s and %llu files are left", path, what, have,
                   (unsigned long long)s.f_favail);
    else if (left < wants)
        doctor_say(d, DOCTOR_WARN, "disk", "make room", "%s (%s): %s are left, and it may want %s", path, what, have,
                   need);
    else
        doctor_say(d, DOCTOR_OK, "disk", NULL, "%s (%s): %s are left", path, what, have);
}

void doctor_disk(struct doctor *d)
{
    const struct conf *c = d->conf;
    char logs[4400];
    look_at_folder(d, "state", c->guard.state_dir, 64 * MIB);
    if (c->eve.enabled) {
        snprintf(logs, sizeof(logs), "%s", c->eve.path);
        char *slash = strrchr(logs, '/');
        if (slash != NULL && slash != logs)
            *slash = '\0';
        look_at_folder(d, "logs", logs, 512 * MIB);
    }
    if (c->manager.enabled != CONF_NO)
        look_at_folder(d, "spool", c->manager.state_dir, c->manager.spool_size);
}
