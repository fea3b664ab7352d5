#include "base/clock.h"

#include <stdio.h>
#include <time.h>
#include "base/err.h"

#define MAX_SECONDS (INT64_C(10) * 365 * 86400 + 3 * 86400) /* ten years, leap days among them */

static int64_t now_of(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * SK_NS_PER_S + ts.tv_nsec;
}

int64_t sk_now_wall(void)
{
    return now_of(CLOCK_REALTIME);
}

int64_t sk_now_mono(void)
{
    return now_of(CLOCK_MONOTONIC);
}

/* Seconds of a unit letter; 0 for what is none. */
static int64_t unit_seconds(char c)
{
    switch (c) {
    case 's': return 1;
    case 'm': return 60;
    case 'h': return 3600;
    case 'd': return 86400;
    case 'w': return 7 * 86400;
    default: return 0;
    }
}

int sk_duration_parse(const char *s, int64_t *seconds)
{
    int64_t v = 0;
    const char *p = s;
    for (; *p >= '0' && *p <= '9'; p++) {
        v = v * 10 + (*p - '0');
        if (v > MAX_SECONDS)
            return SK_EINVAL;
    }
    if (p == s)
        return SK_EINVAL;
    int64_t unit = 1;
    if (*p != '\0') {
        unit = unit_seconds(*p);
        if (unit == 0 || p[1] != '\0')
            return SK_EINVAL;
    }
    if (v < 1 || v > MAX_SECONDS / unit)
        return SK_EINVAL;
    *seconds = v * unit;
    return SK_OK;
}

const char *sk_duration_format(int64_t seconds, char *buf)
{
    static const struct {
        int64_t s;
        char c;
    } unit[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    const size_t cap = 32;
    size_t n = 0, shown = 0;
    int64_t left = seconds > 0 ? seconds : 0;
    for (size_t i = 0; i < sizeof(unit) / sizeof(unit[0]) && shown < 2; i++) {
        int64_t v = left / unit[i].s;
        left %= unit[i].s;
        /* Once a unit is shown, the next one counts as the second also when it is zero: 1d5s is "1d". */
        if (v != 0)
            n += (size_t)snprintf(buf + n, cap - n, "%lld%c", (long long)v, unit[i].c);
        if (v != 0 || shown > 0)
            shown++;
    }
    if (n == 0)
        snprintf(buf, cap, "0s");
    return buf;
}

const char *sk_time_format(int64_t wall_ns, char *buf)
{
    int64_t s = wall_ns / SK_NS_PER_S, ns = wall_ns % SK_NS_PER_S;
    if (ns < 0) {
        s--;
        ns += SK_NS_PER_S;
    }
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    /* The remainders change nothing; they tell the compiler that the fields fit. */
    snprintf(buf, 40, "%04u-%02u-%02uT%02u:%02u:%02u.%06u+0000", (unsigned)(tm.tm_year + 1900) % 10000u,
             (unsigned)(tm.tm_mon + 1) % 100u, (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u,
             (unsigned)tm.tm_min % 100u, (unsigned)tm.tm_sec % 100u, (unsigned)(ns / SK_NS_PER_US) % 1000000u);
    return buf;
}
