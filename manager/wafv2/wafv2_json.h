/* The bodies of wafv2's calls and answers. Answers are as hostile as whoever can write into the sets. */
#ifndef AWS_WAFV2_JSON_H
#define AWS_WAFV2_JSON_H

#include "wafv2/wafv2.h"
#include "base/span.h"
#include "base/strbuf.h"

/* {"Name", "Scope"} and what else each call wants; the strbuf is full when it does not fit. */
void wafv2_put_get(struct sk_strbuf *b, const struct wafv2_set *s);
void wafv2_put_update(struct sk_strbuf *b, const struct wafv2_set *s, const struct sk_prefix *addr, size_t n);
void wafv2_put_create(struct sk_strbuf *b, const struct wafv2_set *s);
void wafv2_put_list(struct sk_strbuf *b, enum wafv2_scope scope, const char *marker);

/* Into *s, replacing what it holds. SK_EPROTO: not such an answer, and *s is as before but for its addresses. */
SK_MUST_USE int wafv2_read_get(struct sk_span body, struct wafv2_set *s);
SK_MUST_USE int wafv2_read_update(struct sk_span body, struct wafv2_set *s);
SK_MUST_USE int wafv2_read_create(struct sk_span body, struct wafv2_set *s);
/* SK_ENOENT: not on this page; marker (of 257) is "" when there is none after it. */
SK_MUST_USE int wafv2_read_list(struct sk_span body, struct wafv2_set *s, char *marker);

/* One address as AWS takes it: with its length; an IPv4-mapped one in a set of IPv6 in groups. buf of 64. */
const char *wafv2_format(const struct sk_prefix *p, bool v6, char *buf);

#endif
