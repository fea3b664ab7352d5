/*
 * Who the client really is. Behind a load balancer every packet comes from the balancer, and many clients share one
 * connection; the offender is a property of a request, not of a flow.
 *
 *   client 203.0.113.9 ---> CloudFront 198.51.100.7 ---> ALB 10.0.1.5 ---> this host
 *      X-Forwarded-For: <what the client wrote>, 203.0.113.9, 198.51.100.7       flow's peer: 10.0.1.5
 *                                                ^ client      ^ a hop             ^ a hop
 *                                                      <------- walked from the right
 *
 * Two kinds of hop are told apart, because each can vouch for one thing only (struct identity_conf): an `http` hop
 * appends its peer's address to one header, at the end of the last line or in a line behind it, and leaves what the
 * client wrote to the left (or it replaces the header); a `proxy` hop begins each connection with a PROXY protocol
 * header and passes the rest through, so what stands in HTTP behind it is as good as its client. The walk begins at the
 * flow's peer and goes on while the address at hand is a trusted hop that vouches for the next one; the first address
 * that is no trusted hop is the client. Whatever breaks the chain makes the client unproven: then rules alert, and
 * nobody is blocked. An address may be a hop of both kinds: when its connection begins with a PROXY header, that is
 * what it vouches with, otherwise the header is.
 *
 * What is not found out: whether a hop does what the configuration says of it. A hop that passes the client's header on
 * as it came (ALB in preserve mode, HAProxy's `forwardfor if-none`) is no http hop; with it goes header "none".
 *
 * Pure: no I/O, no clock, no allocation after identity_rules_create. Knows no HTTP parser: header lines are handed in,
 * so that HTTP/1 and HTTP/2 share it. A struct identity is a plain value; it also travels to the guard in block
 * requests, and is checked there (identity_valid). struct identity_rules is immutable and may be shared by threads.
 */
#ifndef IDENTITY_IDENTITY_H
#define IDENTITY_IDENTITY_H

#include "base/addr.h"
#include "base/span.h"

#define IDENTITY_HOPS_MAX  8    /* hops of a chain; a longer one proves nothing (IDENTITY_WHY_TOO_MANY) */
#define IDENTITY_LINES_MAX 64   /* lines of the header looked at, from the last; a walk beyond them proves nothing */
#define IDENTITY_ENTRIES   1024 /* elements looked at, from the right; a walk beyond them proves nothing */

enum identity_state {
    IDENTITY_DIRECT,   /* the flow's peer is no trusted hop: it is the client itself */
    IDENTITY_PROVEN,   /* behind hops, and each of them vouches for the next: `client` holds */
    IDENTITY_UNPROVEN, /* behind a hop, and nobody knows who it is: `why` says why; `client` is the flow's peer */
    IDENTITY_STATES
};

/* How an address became known. X(identifier, "name in events") */
#define IDENTITY_SOURCES(X)                                                                                            \
    X(PEER, "connection")                                                                                              \
    X(PROXY1, "PROXY v1")                                                                                              \
    X(PROXY2, "PROXY v2")                                                                                              \
    X(XFF, "X-Forwarded-For")                                                                                          \
    X(FORWARDED, "Forwarded")                                                                                          \
    X(HEADER, "header")
enum identity_source {
#define X(id, name) IDENTITY_BY_##id,
    IDENTITY_SOURCES(X)
#undef X
        IDENTITY_SOURCE_COUNT
};

/* X(identifier, "text") */
#define IDENTITY_WHYS(X)                                                                                               \
    X(NONE, "")                                                                                                        \
    X(NOT_YET, "no request has named it yet")                                                                          \
    X(NO_HEADER, "the hop named nobody")                                                                               \
    X(NOT_BELIEVED, "no header of this hop is believed")                                                               \
    X(EXHAUSTED, "every address named is a trusted hop")                                                               \
    X(MALFORMED, "an entry of the header is no address")                                                               \
    X(HIDDEN, "the hop names its client unknown, or by an alias")                                                      \
    X(SPECIAL, "the address named is none that a client can have")                                                     \
    X(TOO_MANY, "more hops or entries than are followed")                                                              \
    X(AMBIGUOUS, "header lines that hop and server may read differently")                                              \
    X(NO_PROXY, "the connection did not begin with a PROXY header")                                                    \
    X(BAD_PROXY, "a PROXY header that is malformed, or that this hop does not write")                                  \
    X(LOCAL, "the hop speaks for itself (PROXY LOCAL or UNKNOWN)")                                                     \
    X(MISFRAMED, "requests of the connection may be framed differently by hop and server")                             \
    X(MIXED, "bytes of several clients")
enum identity_why {
#define X(id, text) IDENTITY_WHY_##id,
    IDENTITY_WHYS(X)
#undef X
        IDENTITY_WHY_COUNT
};

struct identity_hop {
    struct sk_addr addr;
    uint8_t source; /* enum identity_source: how its address became known */
    uint8_t pad[7];
};

struct identity {
    struct sk_addr client;
    uint16_t port;  /* of the client as far as it was named; 0: not known */
    uint8_t state;  /* enum identity_state */
    uint8_t source; /* enum identity_source of `client` */
    uint8_t why;    /* enum identity_why */
    uint8_t nhops;  /* the evidence: each trusted hop from the flow's peer towards the client; DIRECT: none */
    uint8_t pad[2];
    struct identity_hop hop[IDENTITY_HOPS_MAX];
};

struct identity_conf {
    const struct sk_prefix *http, *proxy; /* trusted hops of each kind */
    const struct sk_prefix *opaque;       /* hops that can vouch for nobody, whatever they are besides */
    uint32_t nhttp, nproxy, nopaque;
    const char *header; /* name, case-insensitive; "none" or empty: no header is believed */
};
struct identity_rules;

/* Copies what it needs. Prefixes may overlap and stand in both lists. SK_ENOMEM. */
SK_MUST_USE int identity_rules_create(const struct identity_conf *conf, struct identity_rules **out);
void identity_rules_free(struct identity_rules *r); /* NULL is fine */
/* Is it a trusted hop, of any kind? O(log n). */
bool identity_is_hop(const struct identity_rules *r, const struct sk_addr *a);
/* The header whose lines identity_request wants; NULL: none is believed. */
const char *identity_header_name(const struct identity_rules *r);

/*
 * A connection begins: DIRECT, or UNPROVEN behind its peer, and then why is
 * - NOT_YET: an http hop, requests will name the client;
 * - NO_PROXY: a proxy hop, which vouches in no other way;
 * - NOT_BELIEVED: an http hop whose header is not believed, or an opaque one.
 */
void identity_begin(const struct identity_rules *r, const struct sk_addr *peer, uint16_t port, struct identity *id);

struct proxy_header; /* identity/proxy.h */
/*
 * The connection began with a PROXY header; NULL: with one that is malformed (PROXY_BAD). *id as identity_begin left
 * it; once a header was taken, a further call changes nothing. DIRECT stays DIRECT: a stranger's PROXY header says
 * nothing. Else
 * - from a proxy hop: PROVEN when the address named is no hop and can be a client's, otherwise SPECIAL. When it is a
 *   hop, UNPROVEN and one hop further: NOT_YET if that is an http hop whose header is believed; another proxy hop spoke
 *   to its peer, not to us, and vouches for nobody (NO_PROXY). LOCAL and UNKNOWN headers: LOCAL;
 * - from another hop: BAD_PROXY for the whole connection, headers of requests included. An http hop writes none: either
 *   it passes bytes through, and the line is its client's, or it is a proxy hop in the wrong list, and then the headers
 *   are its client's.
 */
void identity_proxy(const struct identity_rules *r, const struct proxy_header *h, struct identity *id);

/* One line of the header, value without the name. odd: anything that makes two readers disagree about the line: white
 * space before its colon, a continuation line, a NUL or a lone CR in it, bytes that were not captured. */
struct identity_line {
    struct sk_span value;
    bool odd;
};
/*
 * The client of one request: lines of identity_header_name in the order sent (n may be 0; of more than
 * IDENTITY_LINES_MAX the last are read). conn: of the connection; out may be the same. Only when conn is UNPROVEN with
 * NOT_YET are headers asked; otherwise conn is the answer: of a client that is known they are its own words, and
 * behind any other hop nobody vouches for them. misframed: what hop and server take for requests may differ (several
 * lengths, both length and coding, pipelined through a hop, bytes missing); from there to the end of the connection.
 *
 * Elements are walked from the last of the last line to the left, and lines upwards. Empty elements name nobody and are
 * passed over; an address that is an http hop vouches for the element to its left; another hop vouches for nobody here
 * (NO_PROXY, NOT_BELIEVED); no element left: NO_HEADER, or EXHAUSTED if some were hops.
 *
 * A hop writes behind all of the header that it has seen. An odd line it may not have seen: when the walk reaches one,
 * nobody is proven (AMBIGUOUS), since what the hop wrote may stand in a line above. What the walk does not reach is the
 * client's, who cannot hide by it.
 *
 * Elements of Forwarded are those of RFC 7239 section 4, whose `for` counts; without one: NO_HEADER; with two:
 * AMBIGUOUS. A line with a quoted string that has no end is AMBIGUOUS as if it were odd: a client that writes `for="`
 * takes what the hop appends to that line for part of its string, or not, as the reader likes. Other headers are lists
 * of entries between commas, each perhaps in quotes; a comma divides also behind a quote that the client left open,
 * because no hop writes one into its entry.
 *
 * An entry is ADDRESS, ADDRESS:PORT, [ADDRESS6], [ADDRESS6]:PORT or bare IPv6 (which has no port), with spaces and tabs
 * around it. IPv4-mapped IPv6 is IPv4. "unknown" and "_name" are HIDDEN. A zone (%eth0), a leading zero, a port above
 * 65535 and all else are MALFORMED. What no client can have is SPECIAL: sk_addr_is_special, and link-local.
 */
void identity_request(const struct identity_rules *r, const struct identity *conn, const struct identity_line *lines,
                      unsigned n, bool misframed, struct identity *out);

/* What came from another process: enums and counts in bounds; hops, source and why as the state has them (DIRECT: no
 * hop, from the connection; PROVEN: hops, not from the connection; UNPROVEN: hops and a reason; the flow's peer is the
 * first hop and no other); all that is unused is zero. All zero is valid: DIRECT. */
bool identity_valid(const struct identity *id);
/* May its client be blocked at all? Whether a direct client has proven its address is the caller's to know. */
static inline bool identity_known(const struct identity *id)
{
    return id->state != IDENTITY_UNPROVEN;
}

const char *identity_state_name(enum identity_state s); /* "direct", "proven", "unproven" */
const char *identity_source_name(enum identity_source s);
const char *identity_why_text(enum identity_why w);

#endif
