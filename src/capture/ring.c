/*
 * The unprivileged half of AF_PACKET: reads the rings of sockets that the guard has made.
 *
 *   block:   | released | lent, all read | being read | filled | filled | kernel fills ...
 *                         ^ first                ^ cur
 *
 * The kernel fills blocks in order and hands each over whole (TP_STATUS_USER). Blocks first..cur-1 have been read to
 * their end; capture_release returns them. The block at cur goes back when its last frame has been released.
 */
#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "internal.h"
#include "ring.h"

enum { LINKTYPE_ETHERNET_ = 1, LINKTYPE_RAW_ = 101, LINKTYPE_USER0_ = 147 };

struct ring {
    int fd; /* the caller's; -1: slot unused */
    uint16_t iface;
    uint8_t *map;
    uint32_t first;    /* oldest block not yet returned */
    uint32_t consumed; /* blocks read to their end and not yet returned: first.. */
    uint32_t left;     /* frames still to read in the current block */
    uint32_t off;      /* of the next frame in it */
    uint64_t at;       /* the frame read last, as marks have it */
    uint64_t resume;   /* what lies up to here was taken by the reader before; 0: nothing */
    const struct sk_ring_mark *mark;
};

struct source {
    struct capture base;
    struct ring rings[SK_MAX_INTERFACES];
    unsigned nrings;
    unsigned turn; /* ring to begin with next time */
    uint32_t block_size, nblocks;
    uint64_t unreadable; /* frames, not yet reported */
};

static struct tpacket_block_desc *block_at(const struct source *s, const struct ring *r, uint32_t i)
{
    return (struct tpacket_block_desc *)(void *)(r->map + (size_t)i * s->block_size);
}

static uint32_t block_status(const struct tpacket_block_desc *b)
{
    return __atomic_load_n(&b->hdr.bh1.block_status, __ATOMIC_ACQUIRE);
}

static uint32_t current_index(const struct source *s, const struct ring *r)
{
    return (r->first + r->consumed) % s->nblocks;
}

/*
 * Where to read on: the oldest block that is ours, by sequence number. When there is none, the newest block is the one
 * that the kernel is filling.
 */
static void find_position(const struct source *s, struct ring *r)
{
    uint32_t oldest = 0, newest = 0;
    uint64_t oldest_seq = UINT64_MAX, newest_seq = 0;
    for (uint32_t i = 0; i < s->nblocks; i++) {
        const struct tpacket_block_desc *b = block_at(s, r, i);
        uint64_t seq = b->hdr.bh1.seq_num;
        if (block_status(b) & TP_STATUS_USER && seq < oldest_seq) {
            oldest_seq = seq;
            oldest = i;
        }
        if (seq > newest_seq) {
            newest_seq = seq;
            newest = i;
        }
    }
    r->first = oldest_seq != UINT64_MAX ? oldest : newest;
    r->consumed = r->left = r->off = 0;
    r->resume = r->mark ? sk_ring_mark_at(r->mark) : 0;
    if (r->resume >> SK_RING_FRAME_BITS > newest_seq)
        r->resume = 0; /* of no block here */
}

/* The rest of the block makes no sense. */
static void lose_block(struct source *s, struct ring *r)
{
    s->unreadable += r->left;
    r->left = 0;
}

/* Past the frame at r->off, which has been read. */
static void advance(struct source *s, struct ring *r, const struct tpacket_block_desc *b)
{
    const struct tpacket3_hdr *h = (const void *)((const uint8_t *)b + r->off);
    r->left--;
    r->at++;
    if (r->left > 0 && h->tp_next_offset > s->block_size - r->off)
        lose_block(s, r);
    else
        r->off += h->tp_next_offset;
}

static bool header_fits(const struct source *s, const struct ring *r)
{
    return r->off <= s->block_size - sizeof(struct tpacket3_hdr);
}

/* Frames of a block just begun that the reader before had taken. */
static void pass_over(struct source *s, struct ring *r, const struct tpacket_block_desc *b)
{
    uint64_t block = r->at >> SK_RING_FRAME_BITS, upto = r->resume >> SK_RING_FRAME_BITS;
    if (block < upto) {
        r->left = 0;
        return;
    }
    while (r->left > 0 && r->at < r->resume && header_fits(s, r))
        advance(s, r, b);
    r->resume = 0;
}

static void begin_block(struct source *s, struct ring *r, const struct tpacket_block_desc *b)
{
    r->left = b->hdr.bh1.num_pkts;
    r->off = b->hdr.bh1.offset_to_first_pkt;
    r->at = b->hdr.bh1.seq_num << SK_RING_FRAME_BITS;
    if (r->resume)
        pass_over(s, r, b);
}

/* A block of ours with frames left to read; NULL: none. */
static const struct tpacket_block_desc *readable_block(struct source *s, struct ring *r)
{
    while (r->consumed < s->nblocks) {
        const struct tpacket_block_desc *b = block_at(s, r, current_index(s, r));
        if (r->left > 0)
            return b;
        if (!(block_status(b) & TP_STATUS_USER))
            return NULL;
        begin_block(s, r, b);
        if (r->left > 0)
            return b;
        r->consumed++;
    }
    return NULL;
}

/* Ethernet as it is; of other devices (tun, WireGuard, tunnels) what stands behind their link header. */
static int link_type(const struct sockaddr_ll *ll, bool *from_net)
{
    *from_net = ll->sll_hatype != ARPHRD_ETHER && ll->sll_hatype != ARPHRD_LOOPBACK;
    if (!*from_net)
        return LINKTYPE_ETHERNET_;
    bool ip = ll->sll_protocol == htons(ETH_P_IP) || ll->sll_protocol == htons(ETH_P_IPV6);
    return ip ? LINKTYPE_RAW_ : LINKTYPE_USER0_;
}

/* False: the frame's header does not fit in `room` bytes. */
static bool fill_frame(const struct ring *r, const struct tpacket3_hdr *h, uint32_t room, struct sk_frame *f)
{
    const struct sockaddr_ll *ll = (const void *)((const uint8_t *)h + TPACKET_ALIGN(sizeof *h));
    if (room < TPACKET_ALIGN(sizeof *h) + sizeof *ll || h->tp_mac > room || h->tp_snaplen > room - h->tp_mac)
        return false;
    bool from_net;
    int linktype = link_type(ll, &from_net);
    uint32_t cut = from_net && h->tp_net > h->tp_mac ? h->tp_net - h->tp_mac : 0;
    if (cut > h->tp_snaplen)
        cut = h->tp_snaplen;
    *f = (struct sk_frame){
        .data = (const uint8_t *)h + h->tp_mac + cut,
        .caplen = h->tp_snaplen - cut,
        .wirelen = h->tp_len - cut,
        .ts = h->tp_sec * SK_NS_PER_S + h->tp_nsec,
        .linktype = linktype,
        .iface = r->iface,
        .has_vlan_tci = h->tp_status & TP_STATUS_VLAN_VALID,
        .vlan_tci = (uint16_t)h->hv1.tp_vlan_tci,
        .vlan_tpid = h->tp_status & TP_STATUS_VLAN_TPID_VALID ? h->hv1.tp_vlan_tpid : ETH_P_8021Q,
        /* What this host sends is filled in by hardware, or right. What it receives it verifies itself. */
        .csum_unfilled = (h->tp_status & TP_STATUS_CSUMNOTREADY) || ll->sll_pkttype == PACKET_OUTGOING,
        .csum_valid = h->tp_status & TP_STATUS_CSUM_VALID,
        .outgoing = ll->sll_pkttype == PACKET_OUTGOING,
    };
    return true;
}

/* Offsets are checked: a reader that was taken over may have left anything in blocks that were its own. */
static void read_ring(struct source *s, struct ring *r, struct capture_batch *b)
{
    const struct tpacket_block_desc *blk;
    while (b->n < CAPTURE_BATCH && (blk = readable_block(s, r)) != NULL) {
        const struct tpacket3_hdr *h = (const void *)((const uint8_t *)blk + r->off);
        if (header_fits(s, r) && fill_frame(r, h, s->block_size - r->off, &b->f[b->n])) {
            advance(s, r, blk);
            b->mark[b->n++] = r->at;
        } else {
            lose_block(s, r);
        }
        if (r->left == 0)
            r->consumed++;
    }
}

static void read_rings(struct source *s, struct capture_batch *b)
{
    unsigned start = s->turn;
    for (unsigned i = 0; i < s->nrings && b->n < CAPTURE_BATCH; i++) {
        s->turn = (start + i + 1) % s->nrings;
        read_ring(s, &s->rings[(start + i) % s->nrings], b);
    }
}

/* Blocks that gave no frame to the caller (passed over, or empty) can go back at once when nothing is lent. */
static void return_blocks(const struct source *s, struct ring *r)
{
    for (; r->consumed > 0; r->consumed--) {
        struct tpacket_block_desc *b = block_at(s, r, r->first);
        __atomic_store_n(&b->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        r->first = (r->first + 1) % s->nblocks;
    }
}

static void ring_release(struct capture *c, struct capture_batch *b)
{
    struct source *s = (struct source *)c;
    (void)b;
    for (unsigned i = 0; i < s->nrings; i++)
        return_blocks(s, &s->rings[i]);
}

/* An interface that went down: the socket stays bound, and the kernel resumes by itself when it is up again. */
static void take_error(struct source *s, const struct ring *r)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err != 0)
        snprintf(s->base.error, sizeof s->base.error, "interface %u: %s", r->iface, strerror(err));
}

/*
 * The kernel says that there is something, and the block at which we wait is not it: after a resumption the guess of
 * find_position may have been one block off.
 */
static void realign(const struct source *s, struct ring *r)
{
    if (r->left == 0 && r->consumed == 0 && !(block_status(block_at(s, r, r->first)) & TP_STATUS_USER))
        find_position(s, r);
}

static int wait_rings(struct source *s, int timeout_ms)
{
    struct pollfd pfd[SK_MAX_INTERFACES];
    for (unsigned i = 0; i < s->nrings; i++)
        pfd[i] = (struct pollfd){.fd = s->rings[i].fd, .events = POLLIN | POLLERR};
    int n = poll(pfd, s->nrings, timeout_ms);
    if (n < 0 && errno != EINTR) {
        snprintf(s->base.error, sizeof s->base.error, "poll: %s", strerror(errno));
        return SK_EIO;
    }
    for (unsigned i = 0; n > 0 && i < s->nrings; i++) {
        if (pfd[i].revents & POLLERR)
            take_error(s, &s->rings[i]);
        if (pfd[i].revents & POLLIN)
            realign(s, &s->rings[i]);
    }
    return SK_OK;
}

static int ring_recv(struct capture *c, struct capture_batch *b, int timeout_ms)
{
    struct source *s = (struct source *)c;
    read_rings(s, b);
    if (b->n > 0)
        return SK_OK;
    ring_release(c, b); /* blocks of which every frame was passed over */
    int rc = wait_rings(s, timeout_ms);
    if (rc != SK_OK)
        return rc;
    read_rings(s, b);
    if (b->n == 0)
        ring_release(c, b);
    return b->n > 0 ? SK_OK : SK_EAGAIN;
}

static void ring_count(struct capture *c, struct sk_counters *k)
{
    struct source *s = (struct source *)c;
    sk_count_add(k, SK_C_LP_RING_ERROR, s->unreadable);
    s->unreadable = 0;
}

static void unmap(const struct source *s, struct ring *r)
{
    return_blocks(s, r);
    munmap(r->map, (size_t)s->nblocks * s->block_size);
}

static void ring_close(struct capture *c)
{
    struct source *s = (struct source *)c;
    for (unsigned i = 0; i < s->nrings; i++)
        unmap(s, &s->rings[i]);
    free(s);
}

static const struct capture_ops ring_ops = {
    .recv = ring_recv, .release = ring_release, .count = ring_count, .close = ring_close};

int capture_ring_add(struct capture *c, int fd, uint16_t iface_idx, const struct sk_ring_mark *mark, char *errbuf)
{
    struct source *s = (struct source *)c;
    if (s->nrings == SK_MAX_INTERFACES) {
        snprintf(errbuf, CAPTURE_ERRLEN, "more than %d interfaces", SK_MAX_INTERFACES);
        return SK_EFULL;
    }
    void *map = mmap(NULL, (size_t)s->nblocks * s->block_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        snprintf(errbuf, CAPTURE_ERRLEN, "mapping the ring of interface %u: %s", iface_idx, strerror(errno));
        return SK_EIO;
    }
    struct ring *r = &s->rings[s->nrings++];
    *r = (struct ring){.fd = fd, .iface = iface_idx, .map = map, .mark = mark};
    find_position(s, r);
    return SK_OK;
}

void capture_ring_remove(struct capture *c, uint16_t iface_idx)
{
    struct source *s = (struct source *)c;
    for (unsigned i = 0; i < s->nrings;) {
        struct ring *r = &s->rings[i];
        if (r->iface != iface_idx) {
            i++;
            continue;
        }
        unmap(s, r);
        *r = s->rings[--s->nrings];
    }
    s->turn = 0;
}

int capture_open_ring(const int *fds, const uint16_t *iface_idx, unsigned n, const struct capture_ring_conf *conf,
                      struct capture **out, char *errbuf)
{
    int rc = ring_conf_check(conf, errbuf);
    if (rc != SK_OK)
        return rc;
    struct source *s = calloc(1, sizeof *s);
    if (!s) {
        snprintf(errbuf, CAPTURE_ERRLEN, "out of memory");
        return SK_ENOMEM;
    }
    s->base.ops = &ring_ops;
    s->block_size = conf->block_size;
    s->nblocks = conf->ring_size / conf->block_size;
    for (unsigned i = 0; i < n && rc == SK_OK; i++)
        rc = capture_ring_add(&s->base, fds[i], iface_idx[i], NULL, errbuf);
    if (rc != SK_OK)
        ring_close(&s->base);
    else
        *out = &s->base;
    return rc;
}
