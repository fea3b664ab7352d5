/* What AWS, or who sits in its place, answers: errors, IP sets, credentials, header lines; and the files on disk. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "aws_priv.h"
#include "transfer.h"
#include "wafv2_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_error(struct sk_span in)
{
    char type[64];
    struct aws_answer a = {.status = 400};
    snprintf(type, sizeof type, "%.*s", (int)(in.len < 60 ? in.len : 60), (const char *)in.p);
    answer_read_error(&a, type, in);
    if (strlen(a.code) >= sizeof a.code || strlen(a.message) >= sizeof a.message || a.error == AWS_OK)
        abort();
}

static void read_sets(struct sk_span in)
{
    char marker[257];
    struct wafv2_set s = {.name = "n"};
    int rc = wafv2_read_get(in, &s);
    if ((rc == SK_OK) != (s.addr != NULL))
        abort();
    for (size_t i = 1; i < s.n; i++)
        if (sk_addr_cmp(&s.addr[i - 1].addr, &s.addr[i].addr) > 0)
            abort();
    wafv2_set_clear(&s);
    if (wafv2_read_update(in, &s) == SK_OK && s.lock_token[0] == '\0')
        abort();
    (void)!wafv2_read_create(in, &s);
    (void)!wafv2_read_list(in, &s, marker);
}

static void read_creds(struct sk_span in)
{
    struct aws_creds c = {0};
    char why[128], buf[64];
    if (creds_read_json((const char *)in.p, in.len, 0, &c, why, sizeof why) == SK_OK &&
        strpbrk(c.token, " \r\n") != NULL)
        abort();
    (void)!ini_get(in, "default", "aws_access_key_id", buf, sizeof buf);
    (void)!ini_get(in, "profile x", "region", buf, sizeof buf);
}

static void read_headers(struct sk_span in)
{
    struct transfer t = {0};
    const char *p = (const char *)in.p, *end = p + in.len;
    while (p < end) {
        const char *nl = (const char *)memchr(p, '\n', (size_t)(end - p));
        size_t n = nl != NULL ? (size_t)(nl - p) + 1 : (size_t)(end - p);
        transfer_header(&t, p, n);
        p += n;
    }
    if (transfer_retry_after(t.retry_after, t.r.date) < -1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 1 << 20)
        return 0;
    struct sk_span in = sk_span_of(data + 1, (uint32_t)(size - 1));
    switch (data[0] & 3) {
    case 0: read_error(in); break;
    case 1: read_sets(in); break;
    case 2: read_creds(in); break;
    default: read_headers(in); break;
    }
    return 0;
}
