/*
 * Time is a parameter: code below the roles takes `now` and never asks the kernel. All times are int64 nanoseconds;
 * wall-clock times count from the Unix epoch.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define SK_NS_PER_S  INT64_C(1000000000)
#define SK_NS_PER_MS INT64_C(1000000)
#define SK_NS_PER_US INT64_C(1000)

int64_t sk_now_wall(void);
int64_t sk_now_mono(void);
/* "90", "90s", "15m", "1h", "7d", "2w" to seconds, 1..10 years. 0 or SK_EINVAL. */
int sk_duration_parse(const char *s, int64_t *seconds);
/* "1d2h3m4s", two largest units; buf of 32. */
const char *sk_duration_format(int64_t seconds, char *buf);
/* ISO 8601 as EVE writes it, UTC: 2026-01-02T03:04:05.123456+0000; buf of 40. */
const char *sk_time_format(int64_t wall_ns, char *buf);

#endif
