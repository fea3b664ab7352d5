/*
 * The four calls of AWS WAF (wafv2, API of 2019-07-29) that the writer makes. One try each; errors as aws_answer tells.
 * Addresses are sk_prefix: compared in binary, written in canonical form with their length, host bits zero; /0 cannot
 * be written. A set holds one family.
 */
#ifndef WAFV2_WAFV2_H
#define WAFV2_WAFV2_H

#include "aws/aws.h"
#include "base/addr.h"

#define WAFV2_SET_MAX  10000 /* addresses of an IP set; fixed by AWS */
#define WAFV2_NAME_MAX 128
#define WAFV2_ID_MAX   64
#define WAFV2_ARN_MAX  2048

enum wafv2_scope { WAFV2_REGIONAL, WAFV2_CLOUDFRONT };

struct wafv2_set {
    enum wafv2_scope scope;
    char region[32]; /* CLOUDFRONT: always us-east-1 */
    char name[WAFV2_NAME_MAX + 1], id[WAFV2_ID_MAX + 1], arn[WAFV2_ARN_MAX + 1];
    bool v6;
    char description[257];
    char lock_token[64];
    struct sk_prefix *addr; /* n of them, sorted; the caller's: wafv2_set_clear */
    size_t n;
};
void wafv2_set_clear(struct wafv2_set *s);

/* scope, region, name, id in; the rest out. An address that cannot be read is SK_EPROTO (AWS_OTHER). */
SK_MUST_USE int wafv2_get(struct aws *a, struct wafv2_set *s, struct aws_answer *e);
/* Replaces the whole set under s->lock_token, and leaves the next token there. */
SK_MUST_USE int wafv2_update(struct aws *a, struct wafv2_set *s, const struct sk_prefix *addr, size_t n,
                             struct aws_answer *e);
/* scope, region, name, v6, description in; id, arn, lock_token out; empty. */
SK_MUST_USE int wafv2_create(struct aws *a, struct wafv2_set *s, struct aws_answer *e);
/* By name, over all pages. AWS_MISSING. */
SK_MUST_USE int wafv2_find(struct aws *a, struct wafv2_set *s, struct aws_answer *e);

/* These behind a table, so that the writer can be tried without a network. */
struct wafv2_ops {
    int (*get)(void *ctx, struct wafv2_set *s, struct aws_answer *e);
    int (*update)(void *ctx, struct wafv2_set *s, const struct sk_prefix *addr, size_t n, struct aws_answer *e);
    int (*create)(void *ctx, struct wafv2_set *s, struct aws_answer *e);
    int (*find)(void *ctx, struct wafv2_set *s, struct aws_answer *e);
};
extern const struct wafv2_ops wafv2_aws_ops; /* ctx: struct aws */

#endif
