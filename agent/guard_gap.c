/*
 * For how long nobody has watched before this start. The state folder keeps until when the last agent did, written each
 * second and when it stops; on the clock that goes on over suspension, which is the same for all that run since boot.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "guard.h"

#define BOOT_ID_LEN 36
#define LINE_LEN    (BOOT_ID_LEN + 22) /* identifier, blank, 20 digits, line feed */

static int64_t now_boot(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_BOOTTIME, &t) == 0 ? t.tv_sec * SK_NS_PER_S + t.tv_nsec : 0;
}

/* False: not to be had, and no gap is known then. */
static bool boot_id(char id[BOOT_ID_LEN + 1])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, id, BOOT_ID_LEN) : -1;
    if (fd >= 0)
        close(fd);
    id[BOOT_ID_LEN] = '\0';
    return n == BOOT_ID_LEN;
}

/* -1: of another boot, or nothing that could be read. */
static int64_t watched_until(int fd, const char *id)
{
    char line[LINE_LEN + 1], other[BOOT_ID_LEN + 1];
    int64_t at;
    ssize_t n = pread(fd, line, LINE_LEN, 0);
    line[n > 0 ? n : 0] = '\0';
    if (n != LINE_LEN || sscanf(line, "%36s %" SCNd64, other, &at) != 2 || strcmp(other, id) != 0)
        return -1;
    return at;
}

void guard_gap_start(struct guard *g, int64_t opened)
{
    struct guard_gap *p = &g->gap;
    p->fd = -1;
    if (!boot_id(p->boot))
        return;
    p->fd = openat(g->lock_fd, "watched", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (p->fd < 0)
        return;
    int64_t until = watched_until(p->fd, p->boot);
    opened += now_boot() - sk_now_mono(); /* on that clock */
    if (until < 0 || until >= opened)
        return;
    p->before = opened - until;
    sk_log(SK_LOG_INFO, "nobody has watched for %.2f s: from the end of the agent before this one to now",
           (double)p->before / SK_NS_PER_S);
}

/* A failure makes the next gap longer than it was. */
static void write_now(struct guard_gap *p)
{
    char line[LINE_LEN + 1];
    int n = snprintf(line, sizeof(line), "%s %020" PRId64 "\n", p->boot, now_boot());
    if (n == LINE_LEN)
        (void)!pwrite(p->fd, line, (size_t)n, 0);
}

void guard_gap_tick(struct guard *g, bool last)
{
    struct guard_gap *p = &g->gap;
    int64_t now = sk_now_mono();
    if (p->fd < 0 || (!last && now < p->next))
        return;
    p->next = now + SK_NS_PER_S;
    write_now(p);
    if (!last)
        return;
    close(p->fd);
    p->fd = -1;
}
