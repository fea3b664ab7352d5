#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "role.h"

/* sched_setattr(2), which glibc has no wrapper for; <linux/sched/types.h> cannot be included beside <sched.h>. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

#define SHORT_SLICE (SK_NS_PER_MS / 10) /* the least that the kernel takes (Linux 6.12, sched/syscalls.c) */
#define LATER_NICE  5

/* Without effect before Linux 6.12, and in a service whose manager forbids the call. */
static void slices_of(uint64_t ns)
{
    struct attributes a = {.size = sizeof a, .nice = getpriority(PRIO_PROCESS, 0), .runtime = ns};
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}

void role_urgent(void)
{
    slices_of(SHORT_SLICE);
}

void role_unhurried(void)
{
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + LATER_NICE);
    slices_of(0); /* the kernel's own */
}
