#include "lit.h"

#include <string.h>

typedef uint8_t v16 __attribute__((vector_size(16)));
typedef uint64_t v2 __attribute__((vector_size(16)));

static bool is_alpha(uint8_t c)
{
    return (uint8_t)((c | 0x20) - 'a') < 26;
}

/* How common a byte is in web traffic, roughly; the two rarest of a literal reject most positions at once. */
static unsigned commonness(uint8_t c)
{
    if (c == 0 || c == ' ' || c == '\n' || c == '\r')
        return 8;
    if (strchr("etaoinsr", c | 0x20) && is_alpha(c))
        return 7;
    if (is_alpha(c))
        return (c & 0x20) ? 5 : 4;
    if (c >= '0' && c <= '9')
        return 5;
    if (strchr("/.=-:\"<>&,;%", c))
        return 4;
    return c < 0x80 ? 2 : 1;
}

static void pick_bytes(struct match_lit *l)
{
    unsigned best = 9;
    for (uint16_t i = 0; i < l->len; i++) {
        if (commonness(l->p[i]) < best) {
            best = commonness(l->p[i]);
            l->i1 = i;
        }
    }
    best = 9;
    l->i2 = l->i1;
    /* From the end: bytes that stand apart are less dependent. */
    for (uint16_t i = l->len; i-- > 0;) {
        if (i != l->i1 && commonness(l->p[i]) < best) {
            best = commonness(l->p[i]);
            l->i2 = i;
        }
    }
}

void lit_init(struct match_lit *l, const uint8_t *p, uint16_t len, bool nocase, uint8_t *store)
{
    bool letters = false;
    for (uint16_t i = 0; i < len; i++) {
        store[i] = nocase ? lit_fold(p[i]) : p[i];
        letters = letters || is_alpha(p[i]);
    }
    *l = (struct match_lit){.p = store, .len = len, .nocase = nocase && letters};
    pick_bytes(l);
    l->c1 = store[l->i1];
    l->c2 = store[l->i2];
    l->m1 = l->nocase && is_alpha(l->c1) ? 0x20 : 0;
    l->m2 = l->nocase && is_alpha(l->c2) ? 0x20 : 0;
}

bool lit_at(const struct match_lit *l, const uint8_t *q)
{
    if (!l->nocase)
        return memcmp(q, l->p, l->len) == 0;
    for (uint16_t i = 0; i < l->len; i++) {
        if (lit_fold(q[i]) != l->p[i])
            return false;
    }
    return true;
}

static v16 load16(const uint8_t *p)
{
    v16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static v16 splat(uint8_t c)
{
    return (v16){0} + c;
}

/* hits has 0xff in the byte of each position that deserves a look; the lowest byte is position `base` (little endian).
 */
static size_t check_hits(const struct match_lit *l, const uint8_t *buf, size_t base, uint64_t hits)
{
    while (hits) {
        unsigned i = (unsigned)__builtin_ctzll(hits) >> 3;
        if (lit_at(l, buf + base + i))
            return base + i;
        hits &= ~(UINT64_C(0xff) << (i * 8));
    }
    return LIT_NONE;
}

static size_t find_scalar(const struct match_lit *l, const uint8_t *buf, size_t first, size_t last)
{
    for (size_t i = first; i <= last; i++) {
        if ((buf[i + l->i1] | l->m1) == l->c1 && lit_at(l, buf + i))
            return i;
    }
    return LIT_NONE;
}

size_t lit_find(const struct match_lit *l, const uint8_t *buf, size_t lo, size_t hi)
{
    if (lo > hi || l->len > hi - lo)
        return LIT_NONE;
    size_t last = hi - l->len;
    if (last - lo < 15)
        return find_scalar(l, buf, lo, last);
    v16 c1 = splat(l->c1), c2 = splat(l->c2), m1 = splat(l->m1), m2 = splat(l->m2);
    for (size_t i = lo;;) {
        v16 a = load16(buf + i + l->i1) | m1, b = load16(buf + i + l->i2) | m2;
        v2 r = (v2)((a == c1) & (b == c2));
        if (r[0] | r[1]) {
            size_t at = check_hits(l, buf, i, r[0]);
            if (at == LIT_NONE)
                at = check_hits(l, buf, i + 8, r[1]);
            if (at != LIT_NONE)
                return at;
        }
        if (i >= last - 15)
            return LIT_NONE;
        /* The last block overlaps the one before it, so that no byte past hi is read. */
        i = i + 16 < last - 15 ? i + 16 : last - 15;
    }
}
