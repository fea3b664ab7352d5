#include "base/hash.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct sip {
    uint64_t v0, v1, v2, v3;
};

void sk_hash_key_random(struct sk_hash_key *k)
{
    ssize_t n;
    /* Requests of up to 256 bytes are never cut short (getrandom(2)). */
    do {
        n = getrandom(k, sizeof(*k), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(*k)) {
        perror("getrandom");
        abort();
    }
}

static inline uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

static inline struct sip sip_begin(const struct sk_hash_key *k)
{
    return (struct sip){
        .v0 = k->k0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = k->k1 ^ UINT64_C(0x646f72616e646f6d),
        .v2 = k->k0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = k->k1 ^ UINT64_C(0x7465646279746573),
    };
}

static inline void sip_word(struct sip *s, uint64_t m)
{
    s->v3 ^= m;
    sip_round(s);
    s->v0 ^= m;
}

static inline uint64_t sip_end(struct sip *s)
{
    s->v2 ^= 0xff;
    sip_round(s);
    sip_round(s);
    sip_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

uint64_t sk_siphash(const struct sk_hash_key *k, const void *data, size_t len)
{
    struct sip s = sip_begin(k);
    const uint8_t *p = (const uint8_t *)data;
    uint64_t m;
    size_t left = len;
    for (; left >= 8; left -= 8, p += 8) {
        memcpy(&m, p, 8);
        sip_word(&s, le64toh(m));
    }
    m = (uint64_t)len << 56;
    for (size_t i = 0; i < left; i++)
        m |= (uint64_t)p[i] << (i * 8);
    sip_word(&s, m);
    return sip_end(&s);
}

uint64_t sk_siphash_words(const struct sk_hash_key *k, const uint64_t *w, unsigned n)
{
    struct sip s = sip_begin(k);
    for (unsigned i = 0; i < n; i++)
        sip_word(&s, w[i]);
    sip_word(&s, (uint64_t)n * 8 << 56);
    return sip_end(&s);
}
