#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include "pki_priv.h"

static const char lower[] = "abcdefghijklmnopqrstuvwxyz234567", upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* RFC 4648 section 6 without padding: bits from the left, the last character filled up with zeros. */
static void base32(const uint8_t *p, size_t len, const char *alphabet, char *out)
{
    unsigned bits = 0;
    uint32_t held = 0;
    for (size_t i = 0; i < len; i++) {
        held = held << 8 | p[i];
        for (bits += 8; bits >= 5; bits -= 5)
            *out++ = alphabet[held >> (bits - 5) & 31];
    }
    if (bits > 0)
        *out++ = alphabet[held << (5 - bits) & 31];
    *out = '\0';
}

static int random_base32(size_t len, const char *alphabet, char *buf)
{
    uint8_t raw[PKI_RANDOM_MAX];
    buf[0] = '\0';
    if (len > sizeof(raw))
        return SK_EINVAL;
    if (RAND_bytes(raw, (int)len) != 1) {
        ERR_clear_error();
        return SK_EIO;
    }
    base32(raw, len, alphabet, buf);
    OPENSSL_cleanse(raw, sizeof(raw));
    return SK_OK;
}

int pki_random_text(size_t len, char *buf)
{
    return random_base32(len, lower, buf);
}

int pki_agent_id(char *buf)
{
    buf[0] = 'A';
    return random_base32(16, upper, buf + 1);
}

void pki_agent_id_of(const char *secret, const char *text, char *buf)
{
    uint8_t h[2 * SHA256_DIGEST_LENGTH], md[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)secret, strlen(secret), h);
    SHA256((const unsigned char *)text, strlen(text), h + SHA256_DIGEST_LENGTH);
    SHA256(h, sizeof(h), md);
    buf[0] = 'A';
    base32(md, 16, upper, buf + 1);
}

bool pki_agent_valid(const char *s)
{
    return strnlen(s, PKI_AGENT_LEN) == PKI_AGENT_LEN - 1 && s[0] == 'A' && strspn(s, upper) == PKI_AGENT_LEN - 1;
}

void pki_hash_text(const void *p, size_t len, char buf[65])
{
    uint8_t h[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)p, len, h);
    for (size_t i = 0; i < sizeof(h); i++)
        snprintf(buf + 2 * i, 3, "%02x", h[i]);
}
