#include "retry.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include "aws/aws.h"
#include "base/clock.h"

#define FIRST (2 * SK_NS_PER_S)
#define MOST  (30 * SK_NS_PER_S)

void retry_begin(struct retry *r, int64_t seconds)
{
    *r = (struct retry){.until = seconds > 0 ? sk_now_mono() + seconds * SK_NS_PER_S : 0};
}

static void sleep_ns(int64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / SK_NS_PER_S), .tv_nsec = (long)(ns % SK_NS_PER_S)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

/* Half of it is certain, half is chance. */
static int64_t pause_before(unsigned n, int64_t at_least)
{
    int64_t most = FIRST;
    for (unsigned i = 1; i < n && most < MOST; i++)
        most = most > MOST / 2 ? MOST : 2 * most;
    return at_least * SK_NS_PER_S + most / 2 + aws_backoff(1, most / 2, most / 2);
}

bool retry_wait(struct retry *r, int64_t at_least, const char *why)
{
    char left[32];
    int64_t now = sk_now_mono(), wait = pause_before(++r->n, at_least);
    if (now >= r->until)
        return false;
    if (wait > r->until - now)
        wait = r->until - now; /* one last try at the end */
    fprintf(stderr, "sekisho: %s; trying again in %.1f s, for %s more\n", why, (double)wait / (double)SK_NS_PER_S,
            sk_duration_format((r->until - now) / SK_NS_PER_S, left));
    sleep_ns(wait);
    return true;
}
