/* The start of a stream. What is found in a piece of it is found in the whole; an answer comes in PROXY_HEAD_MAX bytes.
 */
#include <stdlib.h>
#include "identity/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static enum proxy_result parse(const uint8_t *data, size_t size, struct proxy_header *h)
{
    uint8_t *exact = (uint8_t *)malloc(size ? size : 1);
    must(exact != NULL);
    memcpy(exact, data, size);
    enum proxy_result r = proxy_parse(sk_span_of(exact, (uint32_t)size), h);
    free(exact);
    return r;
}

static void check(const struct proxy_header *h)
{
    must(h->version == 1 || h->version == 2);
    must(h->command <= PROXY_CMD_UNKNOWN);
    must(h->version == 1 ? h->len >= 15 && h->len <= 107 : h->len >= 16 && h->len <= 16 + 65535);
    static const struct sk_addr none;
    must(h->command == PROXY_CMD_PROXY || (sk_addr_eq(&h->src, &none) && h->sport == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole, part;
    size_t max = size < PROXY_HEAD_MAX + 8 ? size : PROXY_HEAD_MAX + 8;
    enum proxy_result r = parse(data, max, &whole), before = PROXY_MORE;
    if (r == PROXY_FOUND)
        check(&whole);
    must(r != PROXY_MORE || max < PROXY_HEAD_MAX);
    for (size_t n = 0; n < max && before == PROXY_MORE; n++) {
        before = parse(data, n, &part);
        must(before == PROXY_MORE || before == r);
        must(before != PROXY_FOUND || memcmp(&whole, &part, sizeof part) == 0);
    }
    return 0;
}
