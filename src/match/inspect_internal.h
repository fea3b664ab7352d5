/*
 * Compiled form of a rule's matches, and the state of one evaluation. Private to match.
 *
 * Positions are int64_t relative to the first byte of the buffer given; the whole begins at -input.offset, so a
 * position may be negative: that byte is gone. Values are clamped (POS_MAX) before they are added, so that nothing
 * overflows.
 */
#ifndef MATCH_INSPECT_INTERNAL_H
#define MATCH_INSPECT_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lit.h"
#include "match/inspect.h"

#define INSPECT_MAX_MATCHES 255                /* of one buffer of one rule */
#define INSPECT_STEP_BYTES  256                /* searching this many bytes for a content is one more step */
#define INSPECT_PCRE_BYTES  32                 /* the same for an expression */
#define POS_MAX             (INT64_C(1) << 40) /* farther than any offset; also "no bound" */

struct inspect_op {
    const struct rule_match *m;
    struct match_lit lit; /* RM_CONTENT */
    pcre2_code *re;       /* RM_PCRE */
    bool retry;           /* a later match refers to this one so that its next occurrence may help */
};

struct inspect_prog {
    uint16_t n;
    bool content_only;
    uint8_t *store; /* bytes of the literals */
    struct inspect_op op[];
};

/* A content or expression that matched and may be tried again further on. */
struct frame {
    uint16_t op;
    int64_t cur;  /* relative base before it */
    int64_t next; /* where its next search begins */
};

struct inspect_scratch {
    pcre2_match_data *md;
    pcre2_match_context *mctx;
    pcre2_jit_stack *jit_stack;
    struct sk_counters *c;
    struct sk_span evidence, buf; /* of the last run that succeeded: what matched, and where */
    struct frame frame[INSPECT_MAX_MATCHES];
};

struct run {
    const struct inspect_input *in;
    struct inspect_scratch *s;
    uint64_t *vars;
    int64_t len;   /* of the buffer */
    int64_t base;  /* where the whole begins: -offset */
    int64_t cur;   /* end of the last match: what relative matches count from */
    int64_t steps; /* left */
    int64_t ev_pos, ev_len;
};

enum verdict {
    V_MATCH,
    V_FAIL,  /* an earlier match may be retried */
    V_FATAL, /* nothing can help */
};

static inline int64_t pos_clamp(uint64_t v)
{
    return v > (uint64_t)POS_MAX ? POS_MAX : (int64_t)v;
}

/* The value of a variable, or the constant when there is none. */
static inline int64_t pos_value(const struct run *r, int8_t var, int64_t constant)
{
    return var == RULE_VAR_NONE ? constant : pos_clamp(r->vars[var]);
}

/* byte_*: move r->cur and set variables as they say. */
enum verdict inspect_byte_test(struct run *r, const struct rule_byte_test *t);
enum verdict inspect_byte_jump(struct run *r, const struct rule_byte_jump *j);
enum verdict inspect_byte_extract(struct run *r, const struct rule_byte_extract *x);
enum verdict inspect_byte_math(struct run *r, const struct rule_byte_math *m);

/* Expressions. from: where to search, or -1 for the start; on V_MATCH *next is where a retry begins, -1 for none. */
int inspect_pcre_compile(const struct rule_pcre *p, pcre2_code **out, char *errbuf, size_t errcap);
enum verdict inspect_pcre(struct run *r, const struct inspect_op *op, int64_t from, int64_t *next);

#endif
