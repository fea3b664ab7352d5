/*
 * Frames in batches, borrowed: capture_recv() lends up to CAPTURE_BATCH frames, capture_release() gives them back.
 * At most one batch is out at a time. One worker owns a source; nothing here is thread-safe.
 */
#ifndef CAPTURE_CAPTURE_H
#define CAPTURE_CAPTURE_H

#include "base/ringmark.h"
#include "decode/packet.h"

#define CAPTURE_BATCH 64

struct capture;

struct capture_batch {
    unsigned n;
    struct sk_frame f[CAPTURE_BATCH];
    uint64_t mark[CAPTURE_BATCH]; /* rings: where each frame stands, for sk_ring_mark_take() */
};

/*
 * Waits at most timeout_ms (live sources) for frames. SK_OK with n >= 1; SK_EAGAIN: none came; SK_EEND: the file is at
 * its end; SK_ETRUNC / SK_EINVAL: the file is cut or damaged, and every packet before that has been lent (capture_error
 * says where). SK_EIO: the kernel refused to wait. An interface that is down is no failure: none come until it is up.
 */
SK_MUST_USE int capture_recv(struct capture *c, struct capture_batch *b, int timeout_ms);
void capture_release(struct capture *c, struct capture_batch *b);
/* Human text of the last failure; names file or interface. */
const char *capture_error(const struct capture *c);
/* Adds what could not be made sense of since the last call to LP_RING_ERROR. */
void capture_count(struct capture *c, struct sk_counters *k);
void capture_close(struct capture *c);

/* --- capture files (libpcap; pcap and pcapng) --- */
/*
 * Path "-" is standard input; pipes will do. SK_ENOENT, SK_EPERM, SK_EIO: it cannot be opened; SK_EINVAL: no capture
 * file; SK_ENOTSUP: a link type that the decoder does not know. A frame longer than SK_MAX_FRAME is cut. errbuf of 256
 * bytes is filled on failure: the file's name (its end, when long) and what is wrong with it.
 */
SK_MUST_USE int capture_open_file(const char *path, struct capture **out, char *errbuf);
/* Bytes read so far and size of the file, for a progress bar. size 0: unknown. */
void capture_file_progress(const struct capture *c, uint64_t *done, uint64_t *size);

/* --- AF_PACKET, TPACKET_V3 (packet_mmap.rst in the kernel documentation) --- */
struct capture_ring_conf {
    uint32_t ring_size;     /* bytes of one ring */
    uint32_t block_size;    /* bytes of one block; power of two, >= SK_MAX_FRAME / 2 */
    uint32_t block_timeout; /* ms until a part-filled block is handed over */
    uint32_t snaplen;       /* bytes kept of a frame; 0: all */
    uint16_t fanout_id;     /* one group an interface; 0: no fanout */
    bool promisc;
    bool outgoing; /* also what this host sends (both directions) */
};
/*
 * Privileged half (guard; CAP_NET_RAW): makes a socket with its ring, bound to an interface, and joined to the fanout
 * group (PACKET_FANOUT_HASH | FLAG_DEFRAG | FLAG_ROLLOVER off). *fd is the caller's. errbuf as above. All members of
 * a group must agree on `outgoing`; the interface must be up when a group is joined. SK_EPERM: CAP_NET_RAW is missing.
 * The loopback device shows each packet twice; only the incoming copy is taken, whatever `outgoing` says.
 */
SK_MUST_USE int capture_ring_socket(const char *ifname, const struct capture_ring_conf *conf, int *fd, char *errbuf);
/*
 * Adds what such a socket was offered since the last call, and how much of that was dropped because its ring was full.
 * Reading resets: one reader only. With a fanout group a datagram in fragments is offered once, whole.
 */
void capture_ring_stats(int fd, uint64_t *packets, uint64_t *drops);
/* From now on nothing more is offered to it. */
void capture_ring_mute(int fd);
/*
 * Unprivileged half (engine): maps the rings of such sockets; one source may read several interfaces. The ring's
 * geometry is that of conf, which must be the one that made the socket. fds stay the caller's, and
 * open until close or removal.
 * Picks up where the last reader stopped: no frame that it had not released is missed, and those that it had not
 * released come again; with its mark, exactly those come again that it had not taken. Devices without Ethernet header
 * give raw IP (linktype 101).
 */
SK_MUST_USE int capture_open_ring(const int *fds, const uint16_t *iface_idx, unsigned n,
                                  const struct capture_ring_conf *conf, struct capture **out, char *errbuf);
/*
 * A further interface appeared (hot-plugged ENI). mark: of this ring, kept up to date by the caller, who lets it live
 * as long; NULL: none. A mark that cannot be of this ring is passed over. SK_EFULL beyond SK_MAX_INTERFACES.
 */
SK_MUST_USE int capture_ring_add(struct capture *c, int fd, uint16_t iface_idx, const struct sk_ring_mark *mark,
                                 char *errbuf);
/* An interface is gone for good. Not while a batch is out. */
void capture_ring_remove(struct capture *c, uint16_t iface_idx);

/* --- fake, for tests: frames from memory, copied at push --- */
struct capture *capture_open_fake(int linktype);
SK_MUST_USE int capture_fake_push(struct capture *c, const void *data, uint32_t len, int64_t ts);

#endif
