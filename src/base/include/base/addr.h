/*
 * IP addresses and prefixes. An address is always 16 bytes in network order; IPv4 is held in its IPv4-mapped form
 * (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2), so that one comparison, one hash and one set serve both families.
 * A prefix length is counted over the 128 bits: an IPv4 /24 has len 120. Plain values; no ownership.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "base/err.h"

#define SK_ADDR_STRLEN   46 /* longest text, with NUL */
#define SK_PREFIX_STRLEN 50

struct sk_addr {
    union {
        uint8_t b[16];
        uint32_t w[4];
        uint64_t q[2];
    };
};

struct sk_prefix {
    struct sk_addr addr; /* host bits are zero */
    uint8_t len;         /* 0..128 */
};

static inline bool sk_addr_eq(const struct sk_addr *a, const struct sk_addr *b)
{
    return a->q[0] == b->q[0] && a->q[1] == b->q[1];
}

/* Total order, as the bytes. */
static inline int sk_addr_cmp(const struct sk_addr *a, const struct sk_addr *b)
{
    return memcmp(a->b, b->b, 16);
}

static inline bool sk_addr_is_v4(const struct sk_addr *a)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(a->b, mapped, 12) == 0;
}

/* From 4 bytes in network order. */
static inline struct sk_addr sk_addr_from_v4(const void *be4)
{
    struct sk_addr a = {.b = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}};
    memcpy(a.b + 12, be4, 4);
    return a;
}

/* From 16 bytes in network order. */
static inline struct sk_addr sk_addr_from_v6(const void *be16)
{
    struct sk_addr a;
    memcpy(a.b, be16, 16);
    return a;
}

bool sk_prefix_contains(const struct sk_prefix *p, const struct sk_addr *a);
/* b lies wholly in a (or is the same). */
bool sk_prefix_covers(const struct sk_prefix *a, const struct sk_prefix *b);
bool sk_prefix_overlaps(const struct sk_prefix *a, const struct sk_prefix *b);
/* Clears host bits. len is 0..128. */
struct sk_prefix sk_prefix_make(const struct sk_addr *a, uint8_t len);
/* First and last address of a prefix. */
void sk_prefix_range(const struct sk_prefix *p, struct sk_addr *first, struct sk_addr *last);
/* Prefix length in the family's own count: 24 for an IPv4 /24. */
uint8_t sk_prefix_family_len(const struct sk_prefix *p);

/* Text of an address: dotted quad or RFC 5952. No port, no brackets, no zone. */
SK_MUST_USE int sk_addr_parse(const char *s, size_t len, struct sk_addr *out);
/* ADDR or ADDR/LEN; host bits must be zero unless lax, when they are cleared. */
SK_MUST_USE int sk_prefix_parse(const char *s, size_t len, bool lax, struct sk_prefix *out);
/* buf of SK_ADDR_STRLEN / SK_PREFIX_STRLEN; returns buf. A host prefix is written without its length. */
const char *sk_addr_format(const struct sk_addr *a, char *buf);
const char *sk_prefix_format(const struct sk_prefix *p, char *buf);

/* Loopback, unspecified, multicast, broadcast: what cannot be the source of an attack from a network. */
bool sk_addr_is_special(const struct sk_addr *a);

#endif
