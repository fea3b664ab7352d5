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
    X(ALIVE, struct ipc_empty, 0)      /* exporter, uplink to guard, once a second */                                  \
    X(FORWARD, struct ipc_setup, 2)    /* guard to reporter and uplink: ring of events for the manager, its eventfd */ \
    X(BLOCK_NEWS, struct ipc_block_news, 0)   /* guard to uplink: a block of this host */                              \
    X(FLEET, struct ipc_fleet, 0)             /* uplink to guard: a block of the fleet */                              \
    X(FLEET_DONE, struct ipc_fleet_done, 0)   /* uplink to guard: a snapshot is whole */                               \
    X(SIGNED, struct ipc_signed, 1)           /* uplink to guard: a signed bundle (memfd), ipc/blob.h */               \
    X(SIGNED_DONE, struct ipc_signed_done, 0) /* guard to uplink: what became of it */                                 \
    X(MANAGER, struct ipc_manager, 0)         /* uplink to guard: state of the connection */                           \
    X(LOOK_UP, struct ipc_look_up, 0)         /* guard to uplink: what does the manager know of this target? */        \
    X(FOUND, struct ipc_found, 0)             /* uplink to guard: the answer */

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
    uint32_t confined; /* Landlock says which files it can open */
};

struct ipc_setup {
    uint32_t workers;   /* 1..SK_MAX_WORKERS */
    uint32_t rings;     /* event rings: one a worker, and one for the role's own events */
    uint32_t ring_size; /* bytes of one event ring */
    uint32_t forward;   /* FORWARD: 1 << enum event_type, of what the reporter passes on (manager.forward) */
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
    uint32_t types, pad;                 /* 1 << enum event_type: others are not written */
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

/*
 * The uplink: its first messages are BUNDLE (configuration and --set options alone), FORWARD and START; it answers
 * READY, and then ALIVE once a second. After READY the guard sends BLOCK_NEWS from BEGIN on. The reporter gets FORWARD
 * before START, or later when the host enrols, and again when manager.forward changes; the ring stays the same: records
 * are lines of EVE JSON, one ring, the reporter produces and the uplink consumes.
 */
#define IPC_HOST_MAX     64 /* a host's name; longer ones are cut */
#define IPC_BLOCK_ID     16 /* enforce/blocktable.h: BLOCK_ID_LEN, and room */
#define IPC_MANAGER_ADDR 8  /* addresses of the manager that are told */
#define IPC_WAF_SETS     4  /* sets that are named */
#define IPC_SET_NAME     136
#define IPC_SIGNED_KINDS 2  /* pki/bundle.h: BUNDLE_KINDS */
#define IPC_ORIGINS      8  /* no fewer than BLOCK_ORIGINS */
#define IPC_WHYS         16 /* nor than JOURNAL_END_COUNT */

/* BEGIN: everything follows, then DONE: blocks that are not among it are over. */
enum ipc_block_op { IPC_BLOCK_SET, IPC_BLOCK_END, IPC_BLOCK_BEGIN, IPC_BLOCK_DONE, IPC_BLOCK_OPS };

struct ipc_block_news {
    uint8_t op;     /* enum ipc_block_op; BEGIN and DONE: the rest is zero */
    uint8_t origin; /* enum block_origin (enforce/blocktable.h) */
    uint8_t cause;  /* enum decide_reason */
    uint8_t why;    /* END: enum journal_end (enforce/journal.h) */
    uint32_t repeat, sid, gid, score, pad;
    struct sk_prefix target;
    int64_t created, expires, ended; /* wall ns */
    char id[IPC_BLOCK_ID];
    char reason[DECIDE_MSG_MAX];
};

struct ipc_fleet {
    uint8_t op; /* IPC_BLOCK_SET, IPC_BLOCK_END (lifted: also where it is this host's own), IPC_BLOCK_BEGIN */
    uint8_t pad[7];
    uint32_t sid, gid;
    struct sk_prefix target;
    int64_t created, expires; /* wall ns */
    char id[IPC_BLOCK_ID];    /* of the block that made it, on its host */
    char host[IPC_HOST_MAX];  /* NUL-terminated: who set it */
    char reason[DECIDE_MSG_MAX];
};

struct ipc_fleet_done {
    uint64_t seq; /* of the feed; shown */
};

struct ipc_signed {
    uint32_t kind; /* enum bundle_kind (pki/bundle.h) */
    uint32_t pad;
    uint64_t version;
    uint8_t sig[64]; /* Ed25519 over the memfd's bytes */
};

struct ipc_signed_done {
    uint32_t kind;
    int32_t rc;              /* enum sk_err: SK_OK it is in force */
    uint64_t version;        /* of the bundle that was sent */
    uint64_t in_force;       /* version of that kind that is in force; 0 none */
    char text[IPC_TEXT_MAX]; /* why not */
};

enum ipc_manager_state { IPC_MANAGER_TRYING, IPC_MANAGER_UP, IPC_MANAGER_REFUSED, IPC_MANAGER_STATES };

/* At each change, and every few seconds. For showing, but for addr: whom the never-list spares as the manager. */
struct ipc_manager {
    uint32_t state; /* enum ipc_manager_state */
    uint32_t naddr;
    struct sk_addr addr[IPC_MANAGER_ADDR];
    int64_t since, last_ok;          /* wall ns */
    uint64_t spooled, spooled_bytes; /* items that wait to be sent */
    uint64_t sent, lost;             /* items since the start; lost: the spool was full */
    uint64_t feed_seq;
    int64_t cert_until;
    char agent[32], url[128];
    char text[IPC_TEXT_MAX]; /* the last failure; "" */
};

struct ipc_look_up {
    uint64_t id;
    struct sk_prefix target;
};

enum ipc_found_state { IPC_FOUND_NO_ANSWER, IPC_FOUND_WAITING, IPC_FOUND_NOT_THERE, IPC_FOUND_THERE, IPC_FOUND_STATES };

struct ipc_found {
    uint64_t id;
    uint32_t state;  /* enum ipc_found_state; WAITING: what we have to say of it is in the spool still */
    uint32_t agents; /* hosts that block it by themselves */
    int64_t expires; /* wall ns */
    uint32_t nsets, pad;
    char set[IPC_WAF_SETS][IPC_SET_NAME]; /* "REGIONAL eu-west-1 NAME": IP sets that hold it */
    char host[IPC_HOST_MAX], block[IPC_BLOCK_ID];
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
