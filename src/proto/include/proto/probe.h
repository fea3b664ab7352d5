/*
 * Which protocol do the first bytes of a TCP connection speak? Patterns as Suricata has them; stateless, no memory.
 * Only HTTP is parsed; the others are recognised so that they are never taken for HTTP, are named in EVE app_proto,
 * and can be bypassed (TLS after its handshake).
 *
 * Life cycle: a struct proto_probe (zeroed) per flow; feed it the first bytes of each direction, always from the
 * start of the stream (gathered by the caller, at most PROTO_PROBE_MAX), until it answers something other than
 * PROTO_UNKNOWN. The answer is for the flow: both directions.
 */
#ifndef PROTO_PROBE_H
#define PROTO_PROBE_H

#include "base/span.h"

#define PROTO_PROBE_MAX 128 /* bytes of a direction that a decision may need; more decides nothing */

enum proto_id {
    PROTO_UNKNOWN, /* not decided: give more bytes */
    PROTO_HTTP,
    PROTO_TLS,
    PROTO_DNS,
    PROTO_SSH,
    PROTO_SMTP,
    PROTO_FTP,
    PROTO_SMB,
    PROTO_HTTP2,
    PROTO_FAILED, /* none of these */
    PROTO_COUNT
};

struct proto_probe {
    uint16_t server_port; /* host order; 0 unknown: tells SMTP from FTP, allows DNS */
    bool failed[2];       /* this direction is none of them */
    bool banner_220;      /* the server greeted with "220": SMTP or FTP */
};

/*
 * dir: 0 the client's bytes, 1 the server's. `data` starts at the first byte of the direction. eof: no more will come.
 * Returns PROTO_FAILED only when both directions are nothing known, or this one is and `other_silent` says that the
 * other direction will not tell (one-sided traffic, enough bytes seen).
 */
enum proto_id proto_probe(struct proto_probe *st, int dir, struct sk_span data, bool eof, bool other_silent);

/* EVE app_proto: "http", "tls", …; "failed"; "unknown". */
const char *proto_name(enum proto_id id);

#endif
