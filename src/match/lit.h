/* A literal prepared for searching: two of its rarer bytes are compared for 16 positions at a time. Private to match.
 */
#ifndef MATCH_LIT_H
#define MATCH_LIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIT_NONE SIZE_MAX

struct match_lit {
    const uint8_t *p; /* folded to lower case when nocase */
    uint16_t len;     /* at least 1 */
    bool nocase;
    uint16_t i1, i2;        /* the positions compared first */
    uint8_t c1, c2, m1, m2; /* (byte | m) == c */
};

static inline uint8_t lit_fold(uint8_t c)
{
    return (uint8_t)(c - 'A') < 26 ? c | 0x20 : c;
}

/* Copies p to store (len bytes, which must outlive l). A nocase literal without letters becomes an exact one. */
void lit_init(struct match_lit *l, const uint8_t *p, uint16_t len, bool nocase, uint8_t *store);
/* Whether the literal stands at q, where len bytes are readable. */
bool lit_at(const struct match_lit *l, const uint8_t *q);
/* First position >= lo of a literal that ends at or before hi; LIT_NONE when there is none. Reads buf[lo, hi) only. */
size_t lit_find(const struct match_lit *l, const uint8_t *buf, size_t lo, size_t hi);

#endif
