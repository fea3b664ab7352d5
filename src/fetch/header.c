#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/span.h"
#include "transfer.h"

#define RETRY_AFTER_MAX (7 * 86400) /* seconds; nobody means more */

static bool named(struct sk_span name, const char *want)
{
    return sk_span_ieq(name, want);
}

static void copy_text(char *buf, size_t cap, struct sk_span v)
{
    size_t n = v.len < cap - 1 ? v.len : cap - 1;
    memcpy(buf, v.p, n);
    buf[n] = '\0';
}

static int64_t parse_date(const char *text)
{
    time_t t = curl_getdate(text, NULL);
    return t <= 0 || t > INT64_MAX / 1000000000 ? 0 : (int64_t)t * 1000000000;
}

static void take_date(struct transfer *t, struct sk_span v)
{
    char text[64];
    copy_text(text, sizeof text, v);
    t->r.date = parse_date(text);
}

/* "WAFOptimisticLockException:http://internal.amazon.com/..." */
static void take_error_type(struct transfer *t, struct sk_span v)
{
    size_t n = 0;
    for (; n < v.len && n < sizeof t->r.error_type - 1; n++) {
        char c = (char)v.p[n];
        if (!isalnum((unsigned char)c) && strchr("._#-", c) == NULL)
            break;
        t->r.error_type[n] = c;
    }
    t->r.error_type[n] = '\0';
}

/* A new status line: what came before was a 1xx answer. */
static void start_over(struct transfer *t)
{
    t->r.date = 0;
    t->r.error_type[0] = '\0';
    t->retry_after[0] = '\0';
}

void transfer_header(struct transfer *t, const char *line, size_t len)
{
    const char *colon = (const char *)memchr(line, ':', len);
    if (len >= 5 && strncasecmp(line, "HTTP/", 5) == 0) {
        start_over(t);
        return;
    }
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    if (colon == NULL || colon >= line + len)
        return;
    struct sk_span name = sk_span_of(line, (uint32_t)(colon - line));
    struct sk_span value = sk_span_trim(sk_span_of(colon + 1, (uint32_t)(line + len - colon - 1)));
    if (named(name, "date"))
        take_date(t, value);
    else if (named(name, "retry-after"))
        copy_text(t->retry_after, sizeof t->retry_after, value);
    else if (named(name, "x-amzn-errortype"))
        take_error_type(t, value);
}

int64_t transfer_retry_after(const char *value, int64_t date)
{
    if (value[0] == '\0')
        return -1;
    size_t digits = strspn(value, "0123456789");
    if (value[digits] == '\0') {
        long long s = strtoll(value, NULL, 10); /* saturates */
        return s > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : s;
    }
    int64_t then = parse_date(value);
    if (then == 0)
        return -1;
    int64_t s = (then - date) / 1000000000;
    return s < 0 ? 0 : s > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : s;
}
