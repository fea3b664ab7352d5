/*
 * Messages between the roles: one SOCK_SEQPACKET datagram each, a fixed header and a body of its type's struct,
 * descriptors beside it (SCM_RIGHTS, unix(7)).
 *
 *   | magic u32 | version u16 | type u16 | len u32 | body: len bytes |
 *
 * Host byte order: both ends are one machine and one executable. The receiver trusts nothing: size, type, body length,
 * and the number of descriptors must be what the type says, else SK_EPROTO: that peer is closed and restarted, nobody
 * else is disturbed. Nothing blocks; a full socket is SK_EAGAIN, and the sender counts what it could not send.
 */
#ifndef IPC_MESSAGE_H
#define IPC_MESSAGE_H

#include "base/err.h"
#include "decide/request.h"

#define IPC_MAGIC    0x534b6970u /* "SKip" */
#define IPC_VERSION  1
#define IPC_BODY_MAX 8192
#define IPC_FDS_MAX  2
#define IPC_NAME_MAX 16 /* IFNAMSIZ */
#define IPC_TEXT_MAX 512

/* X(identifier, body struct, descriptors) */
#define IPC_TYPES(X)                                                                                                   \
    X(HELLO, struct ipc_hello, 0)        /* role to guard: alive, initialised, waiting */                              \
    X(SETUP, struct ipc_setup, 2)        /* guard to role: event rings (memfd), their eventfd */                       \
    X(STATUS, struct ipc_empty, 1)       /* guard to role: status page (memfd), ipc/status.h */                        \
    X(BUNDLE, struct ipc_bundle_note, 1) /* guard to role: configuration and rules (memfd), ipc/bundle.h */            \
    X(RING, struct ipc_ring_note, 1)     /* guard to engine: a capture socket */                                       \
    X(RING_GONE, struct ipc_ring_note, 0)                                                                              \
    X(IFACE, struct ipc_ring_note, 0)  /* guard to reporter: an interface's name */                                    \
    X(LOG, struct ipc_log, 1)          /* guard to reporter: the EVE file, opened for appending */                     \
    X(START, struct ipc_empty, 0)      /* guard to role: everything has been sent */                                   \
    X(LOADED, struct ipc_loaded, 0)    /* role to guard: outcome of a BUNDLE */                                        \
    X(READY, struct ipc_empty, 0)      /* role to guard: working */                                                    \
    X(BLOCK, struct decide_request, 0) /* engine to guard, on its own socket */                                        \
    X(EVENT, struct ipc_event, 0)      /* guard to reporter: a small event record */                                   \
    X(GARBAGE, struct ipc_garbage, 0)  /* reporter to guard: an event ring holds garbage */                            \
    X(STOP, struct ipc_empty, 0)       /* guard to role: finish and exit */                                            \
    X(BLOCKED, struct ipc_empty, 1)    /* guard to engine: who is blocked (memfd), ipc/blocked.h */                    \
    X(LISTEN, struct ipc_empty, 1)     /* guard to exporter: the listening socket */                                   \
    X(ASK, struct ipc_empty, 0)        /* exporter to guard: what does status say? */                                  \
    X(ANSWER, struct ipc_empty, 1)     /* guard to exporter: JSON text (memfd), ipc/blob.h */                          \
    X(ALIVE, struct ipc_empty, 0)      /* exporter to guard, once a second */

enum ipc_type {
    IPC_NONE,
#define X(id, body, nfds) IPC_##id,
    IPC_TYPES(X)
#undef X
        IPC_TYPE_COUNT
};

struct ipc_empty {
    uint32_t zero;
};

struct ipc_hello {
    int32_t pid;
    uint32_t pad;
};

struct ipc_setup {
    uint32_t workers;   /* 1..SK_MAX_WORKERS */
    uint32_t rings;     /* event rings: one a worker, and one for the role's own events */
    uint32_t ring_size; /* bytes of one event ring */
    uint32_t pad;
    uint32_t capture_ring, capture_block, capture_timeout; /* geometry of capture rings (struct capture_ring_conf) */
    uint32_t pad2;
};

struct ipc_bundle_note {
    uint64_t generation; /* counts from 1; LOADED repeats it */
};

struct ipc_ring_note {
    uint16_t iface; /* index, < SK_MAX_INTERFACES */
    uint16_t worker;
    uint32_t serial;         /* of the ring: an index is used again, a serial number is not */
    char name[IPC_NAME_MAX]; /* NUL-terminated */
};

struct ipc_log {
    uint32_t payload, payload_printable; /* 0 or 1: how alerts are written */
};

struct ipc_loaded {
    uint64_t generation;
    int32_t rc; /* enum sk_err */
    uint32_t loaded, rejected, slow, groups, databases;
    uint64_t memory;
    double parse_seconds, compile_seconds;
    char text[IPC_TEXT_MAX]; /* the first finding; NUL-terminated */
};

struct ipc_event {
    uint32_t len, pad;
    _Alignas(8) uint8_t rec[4096]; /* event/event.h; only len bytes count */
};

struct ipc_garbage {
    uint32_t ring, pad;
};

struct ipc_msg {
    enum ipc_type type;
    uint32_t len;
    unsigned nfds;
    int fd[IPC_FDS_MAX]; /* the receiver's, close-on-exec; ipc_msg_close or take them out (-1) */
    _Alignas(8) uint8_t body[IPC_BODY_MAX];
};

/* A connected pair, close-on-exec, non-blocking, with a send buffer of `bytes` (0: the system's). */
SK_MUST_USE int ipc_pair(int sv[2], int bytes);
/* body has the size of the type. SK_EAGAIN: no room now. SK_EEND: the peer is gone. SK_EIO. */
SK_MUST_USE int ipc_send(int fd, enum ipc_type type, const void *body, const int *fds, unsigned nfds);
/* SK_EAGAIN: nothing there. SK_EEND: the peer is gone. SK_EPROTO: garbage; its descriptors have been closed. */
SK_MUST_USE int ipc_recv(int fd, struct ipc_msg *m);
/* Closes descriptors that nobody has taken. */
void ipc_msg_close(struct ipc_msg *m);

/* The checking half of ipc_recv: buf[0..len) came with nfds descriptors. Fills type, len, body. */
SK_MUST_USE int ipc_decode(const void *buf, size_t len, unsigned nfds, struct ipc_msg *m);
uint32_t ipc_body_size(enum ipc_type type);
unsigned ipc_type_fds(enum ipc_type type);
const char *ipc_type_name(enum ipc_type type);

#endif
