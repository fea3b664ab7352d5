/*
 * Keyed hashes against collision attacks. SipHash-1-3 (Aumasson, Bernstein) for keys that an attacker chooses;
 * sk_mix64 for spreading what is already unpredictable. Not cryptographic.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct sk_hash_key {
    uint64_t k0, k1;
};

/* From getrandom(2); aborts only if the kernel has no randomness at all. */
void sk_hash_key_random(struct sk_hash_key *k);
uint64_t sk_siphash(const struct sk_hash_key *k, const void *data, size_t len);
/* Two to five 64-bit words, without a length loop; for flow keys. */
uint64_t sk_siphash_words(const struct sk_hash_key *k, const uint64_t *w, unsigned n);

static inline uint64_t sk_mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#endif
