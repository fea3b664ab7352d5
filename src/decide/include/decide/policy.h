/*
 * What a block request must look like, checked as if an enemy had written it: a compromised engine can ask for
 * anything. Pure functions and plain values; no clock, no memory.
 */
#ifndef DECIDE_POLICY_H
#define DECIDE_POLICY_H

#include "decide/request.h"

#define POLICY_MIN_SECONDS     1
#define POLICY_MIN_LEN4        8  /* IPv4 prefixes wider than /8 are refused */
#define POLICY_MIN_LEN6        32 /* IPv6 prefixes wider than /32 are refused */
#define POLICY_RULE_LEN4       24 /* what rules, and with them a taken-over engine, may ask for at the widest: /24 ... */
#define POLICY_RULE_LEN6       64 /* ... and /64; wider ones are the operator's to ask for */
#define POLICY_FLEET_LEN4      16 /* what the fleet's manager may ask for at the widest: /16 ... */
#define POLICY_FLEET_LEN6      32 /* ... and /32 */
#define POLICY_DEFAULT_SECONDS 3600
#define POLICY_MAX_SECONDS     (365 * 86400) /* configuration may lower, not raise */

struct policy_limits {
    int64_t max_seconds;    /* longer requests are cut to it; 0 = POLICY_MAX_SECONDS */
    uint32_t max_blocks;    /* blocks in force at once (enforce/blocktable.h); 0 = its maximum */
    uint32_t repeat_factor; /* a block lasts so many times as long as the one before of its target; 0, 1 = no growth */
    int64_t repeat_memory;  /* ns: a block that ended longer ago is not one before */
};

/* X(identifier, "text") */
#define POLICY_VERDICTS(X)                                                                                             \
    X(OK, "ok")                                                                                                        \
    X(BAD_TARGET, "target is not an address prefix")                                                                   \
    X(TOO_WIDE, "the network is too wide")                                                                             \
    X(SPECIAL, "target is no address that traffic can come from")                                                      \
    X(BAD_DURATION, "duration is out of range")                                                                        \
    X(MALFORMED, "request is malformed")                                                                               \
    X(UNPROVEN, "the client is not proven")

enum policy_verdict {
#define X(id, text) POLICY_##id,
    POLICY_VERDICTS(X)
#undef X
};

const char *policy_verdict_text(enum policy_verdict v);

/*
 * Checks *in and writes a safe copy to *out: msg NUL-terminated, printable and cut, evidence_len within its array,
 * unused bytes zero, seconds cut to the maximum. *out is written only with POLICY_OK. in and out may be the same.
 */
enum policy_verdict policy_check(const struct policy_limits *lim, const struct decide_request *in,
                                 struct decide_request *out);

/* Is the target narrow enough for a request that no person has made? */
bool policy_rule_width(const struct sk_prefix *p);
/* Is it narrow enough for what comes from the manager? */
bool policy_fleet_width(const struct sk_prefix *p);
/* Width and kind of a target alone (operator commands). */
enum policy_verdict policy_check_target(const struct sk_prefix *p);

/* How long a block lasts whose target has had n before it: seconds * factor^n, at most the maximum. */
int64_t policy_grown(const struct policy_limits *lim, int64_t seconds, uint32_t n);

#endif
