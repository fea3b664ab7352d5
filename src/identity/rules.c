/* Trusted hops: each list of prefixes becomes sorted ranges without overlap, found by bisection. */
#include "identity_internal.h"

#include <stdlib.h>

static int compare_first(const void *a, const void *b)
{
    return sk_addr_cmp(&((const struct id_range *)a)->first, &((const struct id_range *)b)->first);
}

/* v[0..n) is sorted by first. */
static uint32_t merge(struct id_range *v, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (kept > 0 && sk_addr_cmp(&v[i].first, &v[kept - 1].last) <= 0) {
            if (sk_addr_cmp(&v[i].last, &v[kept - 1].last) > 0)
                v[kept - 1].last = v[i].last;
        } else {
            v[kept++] = v[i];
        }
    }
    return kept;
}

static struct id_ranges make_ranges(struct id_range *v, const struct sk_prefix *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sk_prefix_range(&p[i], &v[i].first, &v[i].last);
    if (n > 0)
        qsort(v, n, sizeof v[0], compare_first);
    return (struct id_ranges){.v = v, .n = merge(v, n)};
}

bool id_ranges_has(const struct id_ranges *s, const struct sk_addr *a)
{
    uint32_t lo = 0, hi = s->n; /* the first range that begins behind a lies in lo..hi */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (sk_addr_cmp(&s->v[mid].first, a) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 && sk_addr_cmp(a, &s->v[lo - 1].last) <= 0;
}

static enum identity_source source_of(struct sk_span header)
{
    if (sk_span_ieq(header, "X-Forwarded-For"))
        return IDENTITY_BY_XFF;
    return sk_span_ieq(header, "Forwarded") ? IDENTITY_BY_FORWARDED : IDENTITY_BY_HEADER;
}

int identity_rules_create(const struct identity_conf *conf, struct identity_rules **out)
{
    size_t ranges = (size_t)conf->nhttp + conf->nproxy + conf->nopaque, name = strlen(conf->header) + 1;
    struct identity_rules *r = (struct identity_rules *)malloc(sizeof *r + ranges * sizeof r->storage[0] + name);
    if (r == NULL)
        return SK_ENOMEM;
    struct sk_span header = sk_span_str(conf->header);
    r->http = make_ranges(r->storage, conf->http, conf->nhttp);
    r->proxy = make_ranges(r->storage + conf->nhttp, conf->proxy, conf->nproxy);
    r->opaque = make_ranges(r->storage + conf->nhttp + conf->nproxy, conf->opaque, conf->nopaque);
    r->source = source_of(header);
    r->header = (char *)(r->storage + ranges);
    memcpy(r->header, conf->header, name);
    if (header.len == 0 || sk_span_ieq(header, "none"))
        r->header = NULL;
    *out = r;
    return SK_OK;
}

void identity_rules_free(struct identity_rules *r)
{
    free(r);
}

bool identity_is_hop(const struct identity_rules *r, const struct sk_addr *a)
{
    return id_ranges_has(&r->http, a) || id_ranges_has(&r->proxy, a) || id_ranges_has(&r->opaque, a);
}

bool id_is_http(const struct identity_rules *r, const struct sk_addr *a)
{
    return id_ranges_has(&r->http, a) && !id_ranges_has(&r->opaque, a);
}

bool id_is_proxy(const struct identity_rules *r, const struct sk_addr *a)
{
    return id_ranges_has(&r->proxy, a) && !id_ranges_has(&r->opaque, a);
}

const char *identity_header_name(const struct identity_rules *r)
{
    return r->header;
}
