/*
 * Packets by hand: payload first, then each header in front of what is there, with lengths and checksums right.
 * And decoding in a heap copy of the exact size, so that the address sanitizer sees a read one byte past the frame.
 */
#ifndef TEST_DECODE_BUILD_H
#define TEST_DECODE_BUILD_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "decode/decode.h"

#define BUILD_CAP 140000

struct build {
    uint8_t mem[BUILD_CAP];
    uint8_t *p;
    uint32_t len;
};

void b_init(struct build *b, const void *payload, uint32_t len);
void b_put(struct build *b, const void *hdr, uint32_t len);
void b_eth(struct build *b, uint16_t type);
void b_vlan(struct build *b, uint16_t id, uint16_t next);
void b_tcp(struct build *b, uint16_t sport, uint16_t dport, uint8_t flags, const void *opts, uint32_t optlen);
void b_udp(struct build *b, uint16_t sport, uint16_t dport);
/* Fills the checksum of TCP, UDP, ICMP and ICMPv6 that stand behind it. 10.0.0.<src> to 10.0.0.<dst>. */
void b_ip4(struct build *b, uint8_t proto, uint8_t src, uint8_t dst, const void *opts, uint32_t optlen);
/* fd00::<src> to fd00::<dst>; l4proto and l4off name the transport behind extension headers, 0 and 0: next itself. */
void b_ip6(struct build *b, uint8_t next, uint8_t src, uint8_t dst, uint8_t l4proto, uint32_t l4off);
/* Recomputes the IPv4 header checksum after a change at b->p + off. */
void b_ip4_fix(struct build *b, uint32_t off);
/* 10.0.0.1:1234 > 10.0.0.2:80, ACK, "hello"; from IPv4 up. */
void b_hello(struct build *b);

/* All tunnels and checksums on. */
extern const struct decode_conf conf_all;

/* A decoded frame; lives until t_free. */
struct tried {
    struct sk_frame frame;
    uint8_t *heap;
    unsigned n;
    struct sk_packet out[DECODE_MAX_PACKETS];
    struct sk_counters c;
};

/* edit may change the frame's flags before decoding; NULL: none. */
void t_decode(struct tried *t, const struct build *b, int linktype, void (*edit)(struct sk_frame *f));
void t_decode_bytes(struct tried *t, const void *p, uint32_t len, uint32_t wirelen, int linktype,
                    void (*edit)(struct sk_frame *f));
void t_free(struct tried *t);
int t_has_event(const struct sk_packet *p, enum decode_event ev);
/* The packet is b_hello's, whole and sound. */
void t_assert_hello(const struct sk_packet *p);

#endif
