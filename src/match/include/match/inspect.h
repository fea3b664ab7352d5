/*
 * Evaluates the matches of one buffer of one rule: contents, expressions, byte tests, in order, with backtracking over
 * relative matches as Suricata does (a relative content that fails retries the one before it at its next occurrence).
 * Compiled once (immutable, shared by threads); run with a worker's scratch. No allocation when running.
 */
#ifndef MATCH_INSPECT_H
#define MATCH_INSPECT_H

#include "base/counters.h"
#include "rules/rule.h"

#define INSPECT_MAX_STEPS 100000 /* backtracking steps of one evaluation; beyond: no match, counted */

struct inspect_prog; /* compiled matches of one rule_inspect */

struct inspect_conf {
    uint32_t pcre_match_limit, pcre_depth_limit, pcre_heap_limit_kib;
};

/* Fails with a diagnostic (column of the match) when an expression does not compile. `in` must outlive the program. */
SK_MUST_USE int inspect_compile(const struct rule_inspect *in, const struct inspect_conf *conf, const char *file,
                                const struct sk_diag_sink *sink, struct inspect_prog **out);
void inspect_free(struct inspect_prog *p);

struct inspect_scratch; /* one per worker: PCRE2 match data and JIT stack, limits */
SK_MUST_USE int inspect_scratch_create(const struct inspect_conf *conf, struct sk_counters *c, struct inspect_scratch **out);
void inspect_scratch_free(struct inspect_scratch *s);

struct inspect_input {
    struct sk_span buf;
    uint64_t offset; /* of buf within the whole (stream window, cut body): offset/depth count from the whole's start */
    bool at_start;   /* buf begins where the whole begins (offset == 0) */
    bool complete;   /* buf ends where the whole ends: endswith, bsize, !isdataat may be decided */
};

/* vars: RULE_MAX_VARS values that byte_extract/byte_math of the rule have set; shared by the buffers of one evaluation. */
bool inspect_run(const struct inspect_prog *p, struct inspect_scratch *s, const struct inspect_input *in, uint64_t *vars);

/* Offset and length in buf of the last content or expression match of the last successful run (evidence). */
struct sk_span inspect_evidence(const struct inspect_scratch *s);

#endif
