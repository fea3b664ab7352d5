/* The privileged half of AF_PACKET: packet(7), and packet_mmap.rst in the kernel documentation. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "internal.h"
#include "ring.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23 /* Linux 4.20 */
#endif

int ring_conf_check(const struct capture_ring_conf *conf, char *errbuf)
{
    uint32_t b = conf->block_size;
    if (b < SK_MAX_FRAME / 2 || (b & (b - 1)) != 0) {
        snprintf(errbuf, CAPTURE_ERRLEN, "block size %u: want a power of two of at least %u", b, SK_MAX_FRAME / 2);
        return SK_EINVAL;
    }
    if (conf->ring_size / b < 2) {
        snprintf(errbuf, CAPTURE_ERRLEN, "ring size %u: want at least two blocks of %u bytes", conf->ring_size, b);
        return SK_EINVAL;
    }
    return SK_OK;
}

static int set_int(int fd, int opt, int value)
{
    return setsockopt(fd, SOL_PACKET, opt, &value, sizeof value);
}

static int set_ring(int fd, const struct capture_ring_conf *conf)
{
    struct tpacket_req3 req = {
        .tp_block_size = conf->block_size,
        .tp_block_nr = conf->ring_size / conf->block_size,
        .tp_frame_size = conf->block_size, /* frames are laid out by their size; one must fit */
        .tp_frame_nr = conf->ring_size / conf->block_size,
        .tp_retire_blk_tov = conf->block_timeout,
    };
    return setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof req);
}

static int set_promisc(int fd, int ifindex)
{
    struct packet_mreq m = {.mr_ifindex = ifindex, .mr_type = PACKET_MR_PROMISC};
    return setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m);
}

static int bind_to(int fd, int ifindex)
{
    struct sockaddr_ll sa = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = ifindex,
    };
    return bind(fd, (const struct sockaddr *)&sa, sizeof sa);
}

static int join_fanout(int fd, uint16_t id)
{
    uint32_t arg = id | (uint32_t)(PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_DEFRAG) << 16;
    return setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &arg, sizeof arg);
}

/* bytes of each frame; 0 keeps none, and the frame is not even counted. */
static int keep_bytes(int fd, uint32_t bytes)
{
    struct sock_filter f = BPF_STMT(BPF_RET | BPF_K, bytes);
    struct sock_fprog prog = {.len = 1, .filter = &f};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog);
}

static bool is_loopback(int fd, const char *ifname)
{
    struct ifreq r = {0};
    strncpy(r.ifr_name, ifname, sizeof r.ifr_name - 1);
    return ioctl(fd, SIOCGIFFLAGS, &r) == 0 && (r.ifr_flags & IFF_LOOPBACK);
}

/* The step that failed, NULL when none did. The group takes its direction from its first member: set before joining. */
static const char *set_up(int fd, const char *ifname, int ifindex, const struct capture_ring_conf *conf)
{
    bool outgoing = conf->outgoing && !is_loopback(fd, ifname);
    if (set_int(fd, PACKET_VERSION, TPACKET_V3) != 0)
        return "TPACKET_V3";
    if (set_ring(fd, conf) != 0)
        return "ring";
    if (!outgoing && set_int(fd, PACKET_IGNORE_OUTGOING, 1) != 0)
        return "PACKET_IGNORE_OUTGOING";
    if (conf->snaplen != 0 && keep_bytes(fd, conf->snaplen) != 0)
        return "snaplen";
    if (bind_to(fd, ifindex) != 0)
        return "bind";
    if (conf->promisc && set_promisc(fd, ifindex) != 0)
        return "promiscuous mode";
    if (conf->fanout_id != 0 && join_fanout(fd, conf->fanout_id) != 0)
        return "fanout";
    return NULL;
}

int capture_ring_socket(const char *ifname, const struct capture_ring_conf *conf, int *fd, char *errbuf)
{
    int rc = ring_conf_check(conf, errbuf);
    if (rc != SK_OK)
        return rc;
    unsigned ifindex = if_nametoindex(ifname);
    if (ifindex == 0) {
        snprintf(errbuf, CAPTURE_ERRLEN, "%.32s: %s", ifname, strerror(errno));
        return SK_ENOENT;
    }
    /* Protocol 0: nothing arrives from other interfaces before bind. */
    int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const char *step = s < 0 ? "AF_PACKET socket" : set_up(s, ifname, (int)ifindex, conf);
    if (step) {
        int err = errno;
        snprintf(errbuf, CAPTURE_ERRLEN, "%.32s: %s: %s", ifname, step, strerror(err));
        if (s >= 0)
            close(s);
        return err == EPERM || err == EACCES ? SK_EPERM : err == ENOMEM ? SK_ENOMEM : SK_EIO;
    }
    *fd = s;
    return SK_OK;
}

/* tp_packets counts the dropped ones too. */
void capture_ring_stats(int fd, uint64_t *packets, uint64_t *drops)
{
    struct tpacket_stats_v3 st;
    socklen_t len = sizeof st;
    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &len) != 0)
        return;
    *packets += st.tp_packets;
    *drops += st.tp_drops;
}

void capture_ring_mute(int fd)
{
    (void)keep_bytes(fd, 0); /* if it cannot be, more comes, and is counted */
}
