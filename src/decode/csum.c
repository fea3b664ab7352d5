/* The Internet checksum, RFC 1071: sums of any word size fold to the same 16 bits, in the machine's own byte order. */
#include "internal.h"

static uint64_t load32(const uint8_t *p)
{
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* 32-bit words into 64-bit sums: no carry is lost below 2^32 words. Four sums let the additions overlap. */
static uint64_t sum_bytes(const uint8_t *p, uint32_t len)
{
    uint64_t a = 0, b = 0, c = 0, e = 0;
    for (; len >= 32; p += 32, len -= 32) {
        a += load32(p) + load32(p + 16);
        b += load32(p + 4) + load32(p + 20);
        c += load32(p + 8) + load32(p + 24);
        e += load32(p + 12) + load32(p + 28);
    }
    for (; len >= 4; p += 4, len -= 4)
        a += load32(p);
    if (len > 0) {
        uint8_t rest[4] = {0};
        memcpy(rest, p, len);
        b += load32(rest);
    }
    return a + b + c + e;
}

static bool folds_to_ones(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff;
}

bool csum_ok(struct sk_span s)
{
    return folds_to_ones(sum_bytes(s.p, s.len));
}

bool csum_ok_pseudo(const struct sk_packet *p, struct sk_span s)
{
    bool v4 = p->flags & PKT_IPV4;
    /* RFC 793 and RFC 8200 section 8.1: addresses, protocol and length; zeroes do not change the sum. */
    uint8_t tail[8] = {
        (uint8_t)(s.len >> 24), (uint8_t)(s.len >> 16), (uint8_t)(s.len >> 8), (uint8_t)s.len, 0, 0, 0, p->proto};
    uint64_t sum = sum_bytes(tail, sizeof tail) + sum_bytes(s.p, s.len);
    sum += v4 ? sum_bytes(p->src.b + 12, 4) + sum_bytes(p->dst.b + 12, 4)
              : sum_bytes(p->src.b, 16) + sum_bytes(p->dst.b, 16);
    return folds_to_ones(sum);
}
