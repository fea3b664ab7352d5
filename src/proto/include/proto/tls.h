/*
 * TLS records (RFC 8446 section 5.1, RFC 5246 section 6.2.1), only as far as to see where a connection begins to carry
 * encrypted application data: from there on nothing can be matched, and the flow need not be reassembled. Plain values;
 * no memory.
 */
#ifndef PROTO_TLS_H
#define PROTO_TLS_H

#include "base/span.h"

/* One direction; zeroed at the start of the stream. */
struct tls_track {
    uint8_t head[5];  /* of the record whose header has begun */
    uint8_t have;     /* bytes of it */
    uint16_t left;    /* bytes of the record's fragment still to come */
    bool lost;        /* not TLS records, or a gap: nothing can be told any more */
    bool application; /* application data has begun */
};

/* Contiguous bytes. True once application data has begun, or nothing can be told any more. */
bool tls_track_input(struct tls_track *t, struct sk_span data);
/* len bytes are missing. */
void tls_track_gap(struct tls_track *t, uint32_t len);

#endif
