/*
 * PROXY protocol, versions 1 and 2, as HAProxy defines it (doc/proxy-protocol.txt): what stands at the start of a
 * connection before the first byte of its protocol. Stateless; the caller gathers the bytes.
 *
 *   v1  "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"                    at most 107 bytes; TCP6, UNKNOWN
 *   v2  | 0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a | ver,cmd | fam | len u16 | addresses | TLVs |    len up to 65535
 */
#ifndef IDENTITY_PROXY_H
#define IDENTITY_PROXY_H

#include "base/addr.h"
#include "base/span.h"

#define PROXY_HEAD_MAX 232 /* bytes of the start of a stream that decide: v1 whole, v2 up to the longest addresses */

enum proxy_result {
    PROXY_NONE,  /* the stream does not begin with a PROXY header */
    PROXY_MORE,  /* could be one: give more bytes */
    PROXY_FOUND, /* *h is filled */
    PROXY_BAD    /* its signature is there, and the rest is malformed */
};

enum proxy_command {
    PROXY_CMD_PROXY,  /* on behalf of src */
    PROXY_CMD_LOCAL,  /* v2 LOCAL (a health check): the hop speaks for itself */
    PROXY_CMD_UNKNOWN /* v1 UNKNOWN, v2 PROXY of AF_UNSPEC, AF_UNIX, UDP or what is not assigned: no TCP client is named
                       */
};

struct proxy_header {
    uint8_t version;         /* 1, 2 */
    uint8_t command;         /* enum proxy_command */
    struct sk_addr src, dst; /* zero unless PROXY_CMD_PROXY */
    uint16_t sport, dport;
    uint32_t len; /* bytes of the whole header in the stream, TLVs included: the protocol begins behind them. May be
                     more than was given. */
};

/*
 * data begins at the first byte of the stream. Never MORE once PROXY_HEAD_MAX bytes are there.
 *
 * The signature of v1 is "PROXY TCP4 ", "PROXY TCP6 " or "PROXY UNKNOWN" up to a space or CR. PROXY alone is none: a
 * client may choose it as its method, and nginx and HAProxy pass "PROXY / HTTP/1.1" on at the start of a connection
 * that other clients' requests follow. BAD: v1 with anything but single spaces, addresses of the family and canonical
 * ports, or without CRLF in 107 bytes; v2 of another version or command, or too short for its family.
 */
enum proxy_result proxy_parse(struct sk_span data, struct proxy_header *h);

#endif
