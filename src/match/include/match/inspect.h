/*
 * Evaluates the matches of one buffer of one rule: contents, expressions, byte tests, in order, with backtracking over
 * relative matches as Suricata does (a relative content that fails retries the one before it at its next occurrence).
 * Compiled once (immutable, shared by threads); run with a worker's scratch. No allocation when running.
 */
#ifndef MATCH_INSPECT_H
#define MATCH_INSPECT_H

#include "base/counters.h"
#include "rules/rule.h"

/*
 * Work of one evaluation: each match tried is a step, and so is each 256 bytes searched for a content or 32 given to an
 * expression. Beyond: no match, counted (INSPECT_LIMIT).
 */
#define INSPECT_MAX_STEPS 100000

struct inspect_prog; /* compiled matches of one rule_inspect */

struct inspect_conf {
    uint32_t pcre_match_limit, pcre_depth_limit, pcre_heap_limit_kib;
};

/* Fails with a diagnostic (column of the match) when an expression does not compile. `in` must outlive the program. */
SK_MUST_USE int inspect_compile(const struct rule_inspect *in, const struct inspect_conf *conf, const char *file,
                                const struct sk_diag_sink *sink, struct inspect_prog **out);
void inspect_free(struct inspect_prog *p);

struct inspect_scratch; /* one per worker: PCRE2 match data and JIT stack, limits */
SK_MUST_USE int inspect_scratch_create(const struct inspect_conf *conf, struct sk_counters *c,
                                       struct inspect_scratch **out);
void inspect_scratch_free(struct inspect_scratch *s);

/*
 * A window that is not complete leaves undecided, and thus no match yet: endswith, bsize other than a lower bound
 * already reached, !isdataat, byte_jump from_end, a negated expression, and a negated content whose bounds do not end
 * within the window. `$` does not match at its end. A caller that wants those judged on what is there, as Suricata does
 * with streams, says complete = true. What lies before the window is gone: a negated content is judged on the rest of
 * its bounds, and fails when they lie wholly before; `^` matches at a window's beginning only if that is the whole's.
 */
struct inspect_input {
    struct sk_span buf;
    uint64_t offset; /* of buf within the whole (stream window, cut body): offset/depth count from the whole's start */
    bool at_start;   /* buf begins where the whole begins (offset == 0) */
    bool complete;   /* buf ends where the whole ends: endswith, bsize, !isdataat may be decided */
};

/* vars: RULE_MAX_VARS values that byte_extract/byte_math of the rule have set; shared by the buffers of one evaluation.
 */
bool inspect_run(const struct inspect_prog *p, struct inspect_scratch *s, const struct inspect_input *in,
                 uint64_t *vars);

/*
 * The program is one positive content without bounds, short enough to be its rule's whole fast pattern: a prefilter hit
 * of that content on the same buffer is a match and needs no inspect_run.
 */
bool inspect_is_content_only(const struct inspect_prog *p);

/*
 * The longest literal that a buffer must contain for the expression to match. options: PCRE2's. *len: in, room in out;
 * out, bytes written (a longer literal is cut). nocase: the literal is to be searched so. False when there is none that
 * can be told for sure (alternatives, only classes, constructs that it does not follow).
 */
bool inspect_pcre_literal(const char *expr, uint32_t options, uint8_t *out, uint16_t *len, bool *nocase);

/* Offset and length in buf of the last content or expression match of the last successful run (evidence). */
struct sk_span inspect_evidence(const struct inspect_scratch *s);
/* The same with what stands around it in the buffer, at most max bytes: what a person wants to see. */
struct sk_span inspect_context(const struct inspect_scratch *s, uint32_t max);

#endif
