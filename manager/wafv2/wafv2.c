#include "wafv2/wafv2.h"

#include <stdio.h>
#include <string.h>
#include "wafv2_json.h"

#define SERVICE     "wafv2"
#define TARGET      "AWSWAF_20190729."
#define REQUEST_MAX (2u << 20)
#define PAGES_MAX   100

static const char *region_of(const struct wafv2_set *s)
{
    return s->scope == WAFV2_CLOUDFRONT ? "us-east-1" : s->region;
}

static void note_region(struct wafv2_set *s)
{
    if (s->scope == WAFV2_CLOUDFRONT)
        snprintf(s->region, sizeof s->region, "us-east-1");
}

/* Sends what b holds, and gives it back. */
static int call(struct aws *a, const struct wafv2_set *s, const char *target, struct sk_strbuf *b, struct aws_answer *e)
{
    int rc = SK_ENOMEM;
    *e = (struct aws_answer){.error = AWS_OTHER, .retry_after = -1, .message = "out of memory"};
    if (!b->full)
        rc = aws_json(a, SERVICE, region_of(s), target, b->p, b->len, e);
    sk_strbuf_free(b);
    return rc;
}

/* The answer came with 200, and is not one: what was asked for may be done. */
static int senseless(struct aws_answer *e, int rc)
{
    e->error = AWS_OTHER;
    snprintf(e->message, sizeof e->message, "the answer of AWS WAF makes no sense");
    return rc;
}

static struct sk_span body_of(const struct aws_answer *e)
{
    return sk_span_of(e->body, (uint32_t)e->body_len);
}

int wafv2_get(struct aws *a, struct wafv2_set *s, struct aws_answer *e)
{
    struct sk_strbuf b;
    note_region(s);
    sk_strbuf_init(&b, REQUEST_MAX);
    wafv2_put_get(&b, s);
    int rc = call(a, s, TARGET "GetIPSet", &b, e);
    if (rc != SK_OK)
        return rc;
    rc = wafv2_read_get(body_of(e), s);
    return rc == SK_OK ? SK_OK : senseless(e, rc);
}

static int refuse(struct aws_answer *e, enum aws_error error, const char *why)
{
    *e = (struct aws_answer){.error = error, .retry_after = -1};
    snprintf(e->message, sizeof e->message, "%s", why);
    return SK_EINVAL;
}

/* What AWS would refuse need not be sent: one wrong address would keep the whole set from being written. */
static int check(const struct wafv2_set *s, const struct sk_prefix *addr, size_t n, struct aws_answer *e)
{
    if (n > WAFV2_SET_MAX)
        return refuse(e, AWS_LIMIT, "more addresses than an IP set may hold");
    for (size_t i = 0; i < n; i++) {
        if (!s->v6 && (!sk_addr_is_v4(&addr[i].addr) || addr[i].len < 96))
            return refuse(e, AWS_INVALID, "an address is not of the set's family");
        if (addr[i].len == (s->v6 ? 0 : 96))
            return refuse(e, AWS_INVALID, "an IP set cannot hold /0");
    }
    return SK_OK;
}

int wafv2_update(struct aws *a, struct wafv2_set *s, const struct sk_prefix *addr, size_t n, struct aws_answer *e)
{
    struct sk_strbuf b;
    int rc = check(s, addr, n, e);
    if (rc != SK_OK)
        return rc;
    note_region(s);
    sk_strbuf_init(&b, REQUEST_MAX);
    wafv2_put_update(&b, s, addr, n);
    rc = call(a, s, TARGET "UpdateIPSet", &b, e);
    if (rc != SK_OK)
        return rc;
    rc = wafv2_read_update(body_of(e), s);
    return rc == SK_OK ? SK_OK : senseless(e, rc);
}

int wafv2_create(struct aws *a, struct wafv2_set *s, struct aws_answer *e)
{
    struct sk_strbuf b;
    note_region(s);
    wafv2_set_clear(s);
    sk_strbuf_init(&b, REQUEST_MAX);
    wafv2_put_create(&b, s);
    int rc = call(a, s, TARGET "CreateIPSet", &b, e);
    if (rc != SK_OK)
        return rc;
    rc = wafv2_read_create(body_of(e), s);
    return rc == SK_OK ? SK_OK : senseless(e, rc);
}

/* One page; SK_ENOENT with marker "" when it was the last one. */
static int find_on_page(struct aws *a, struct wafv2_set *s, char *marker, struct aws_answer *e)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, REQUEST_MAX);
    wafv2_put_list(&b, s->scope, marker);
    int rc = call(a, s, TARGET "ListIPSets", &b, e);
    if (rc != SK_OK)
        return rc;
    rc = wafv2_read_list(body_of(e), s, marker);
    return rc == SK_OK || rc == SK_ENOENT ? rc : senseless(e, rc);
}

int wafv2_find(struct aws *a, struct wafv2_set *s, struct aws_answer *e)
{
    char marker[257] = "", last[257];
    note_region(s);
    for (int page = 0; page < PAGES_MAX; page++) {
        memcpy(last, marker, sizeof last);
        int rc = find_on_page(a, s, marker, e);
        if (rc != SK_ENOENT)
            return rc;
        if (marker[0] == '\0')
            break;
        if (strcmp(marker, last) == 0)
            return senseless(e, SK_EPROTO);
        aws_answer_free(e);
    }
    e->error = AWS_MISSING;
    snprintf(e->message, sizeof e->message, "there is no IP set of this name");
    return SK_EIO;
}

static int op_get(void *ctx, struct wafv2_set *s, struct aws_answer *e)
{
    return wafv2_get((struct aws *)ctx, s, e);
}

static int op_update(void *ctx, struct wafv2_set *s, const struct sk_prefix *addr, size_t n, struct aws_answer *e)
{
    return wafv2_update((struct aws *)ctx, s, addr, n, e);
}

static int op_create(void *ctx, struct wafv2_set *s, struct aws_answer *e)
{
    return wafv2_create((struct aws *)ctx, s, e);
}

static int op_find(void *ctx, struct wafv2_set *s, struct aws_answer *e)
{
    return wafv2_find((struct aws *)ctx, s, e);
}

const struct wafv2_ops wafv2_aws_ops = {.get = op_get, .update = op_update, .create = op_create, .find = op_find};
