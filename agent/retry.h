/* Trying again, for at most so long: exponential, with jitter, so that a fleet that starts at once does not ask at
 * once. */
#ifndef AGENT_RETRY_H
#define AGENT_RETRY_H

#include <stdbool.h>
#include <stdint.h>

struct retry {
    int64_t until; /* monotonic ns */
    unsigned n;    /* tries that have failed */
};

void retry_begin(struct retry *r, int64_t seconds); /* 0: one try */
/* Says on standard error what failed and when the next try is, and sleeps: from 1 s to 30 s, and no less than at_least
 * seconds. false, at once and without a word: the time is over. */
bool retry_wait(struct retry *r, int64_t at_least, const char *why);

#endif
