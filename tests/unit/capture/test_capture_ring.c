/*
 * AF_PACKET against the kernel: a network namespace of its own (it dies with this process, whatever happens), a veth
 * pair in it, and frames of our own making, numbered. Needs root; skips without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "capture/capture.h"

#define SKIP_RC 77
#define BLOCK   (1U << 17)
#define MARK    0x5e415f30U /* in front of a frame's number */
#define HEAD    22          /* Ethernet, mark, number */

static const struct capture_ring_conf both = {
    .ring_size = 8 * BLOCK, .block_size = BLOCK, .block_timeout = 10, .outgoing = true};
static char err[256];
static struct capture_batch batch;

static void run(const char *cmd)
{
    if (system(cmd) != 0)
        fail_msg("%s", cmd);
}

static int ring_on(const char *ifname, const struct capture_ring_conf *conf)
{
    int fd = -1;
    if (capture_ring_socket(ifname, conf, &fd, err) != SK_OK)
        fail_msg("%s", err);
    return fd;
}

static struct capture *source_of(const int *fds, unsigned n, const struct capture_ring_conf *conf)
{
    static const uint16_t idx[4] = {5, 6, 7, 8};
    struct capture *c = NULL;
    if (capture_open_ring(fds, idx, n, conf, &c, err) != SK_OK)
        fail_msg("%s", err);
    return c;
}

/* Sends frames numbered from..from+n-1, of len bytes, out of an interface. */
/* Without pause, whoever else wants the processor: the kernel gives up a block that is not full after a while, and a
 * sender that is cut into pieces uses up a ring that would hold it all. */
static void before_others(bool on)
{
    const struct sched_param p = {.sched_priority = on ? 1 : 0};
    (void)sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &p);
}

static void send_frames(const char *ifname, uint32_t from, uint32_t n, uint32_t len)
{
    static uint8_t frame[1514] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(ifname), .sll_halen = 6};
    uint32_t mark = htonl(MARK);
    memcpy(frame + 14, &mark, 4);
    before_others(true);
    for (uint32_t i = from; i < from + n; i++) {
        memcpy(frame + 18, &i, 4);
        if (sendto(fd, frame, len, 0, (const struct sockaddr *)&to, sizeof to) != (ssize_t)len)
            fail_msg("sendto %s: %s", ifname, strerror(errno));
    }
    before_others(false);
    close(fd);
}

/* The number of one of our frames; -1: somebody else's. */
static int64_t frame_number(const struct sk_frame *f)
{
    uint32_t mark, n;
    if (f->caplen < HEAD)
        return -1;
    memcpy(&mark, f->data + 14, 4);
    memcpy(&n, f->data + 18, 4);
    return ntohl(mark) == MARK ? (int64_t)n : -1;
}

/* What one source gave until it was quiet for a while. */
struct seen {
    unsigned in, out;
    int64_t first, last; /* numbers */
    unsigned gaps;
    unsigned by_iface[16];
};

static void note(struct seen *s, const struct sk_frame *f)
{
    int64_t n = frame_number(f);
    if (n < 0)
        return;
    if (s->in + s->out == 0)
        s->first = n;
    else if (n != s->last + 1)
        s->gaps++;
    s->last = n;
    s->by_iface[f->iface & 15]++;
    if (f->outgoing)
        s->out++;
    else
        s->in++;
}

static struct seen drain(struct capture *c)
{
    struct seen s = {.first = -1, .last = -1};
    for (unsigned quiet = 0; quiet < 3;) {
        int rc = capture_recv(c, &batch, 60);
        if (rc == SK_EAGAIN) {
            quiet++;
            continue;
        }
        assert_int_equal(rc, SK_OK);
        quiet = 0;
        for (unsigned i = 0; i < batch.n; i++)
            note(&s, &batch.f[i]);
        capture_release(c, &batch);
    }
    return s;
}

static void test_both_directions(void **state)
{
    (void)state;
    int fd = ring_on("va", &both);
    struct capture *c = source_of(&fd, 1, &both);
    uint64_t packets = 0, drops = 0;
    int64_t before = sk_now_wall();
    send_frames("vb", 0, 500, 100);
    send_frames("va", 500, 300, 1514);
    struct seen s = drain(c);
    assert_int_equal(s.in, 500);
    assert_int_equal(s.out, 300);
    assert_int_equal(s.gaps, 0);
    assert_int_equal(s.by_iface[5], 800);
    capture_ring_stats(fd, &packets, &drops);
    assert_int_equal(packets, 800);
    assert_int_equal(drops, 0);
    capture_ring_stats(fd, &packets, &drops);
    assert_int_equal(packets, 800); /* reading resets */

    send_frames("vb", 0, 1, 70);
    assert_int_equal(capture_recv(c, &batch, 2000), SK_OK);
    const struct sk_frame *f = &batch.f[batch.n - 1];
    assert_int_equal(f->caplen, 70);
    assert_int_equal(f->wirelen, 70);
    assert_int_equal(f->linktype, 1);
    assert_int_equal(f->iface, 5);
    assert_true(f->ts >= before && f->ts <= sk_now_wall());
    capture_release(c, &batch);
    capture_close(c);
    close(fd);
}

static void test_incoming_only(void **state)
{
    (void)state;
    struct capture_ring_conf conf = both;
    conf.outgoing = false;
    int fd = ring_on("va", &conf);
    struct capture *c = source_of(&fd, 1, &conf);
    send_frames("va", 0, 50, 100);
    send_frames("vb", 0, 60, 100);
    struct seen s = drain(c);
    assert_int_equal(s.in, 60);
    assert_int_equal(s.out, 0);
    capture_close(c);
    close(fd);
}

static void test_snaplen_and_mute(void **state)
{
    (void)state;
    struct capture_ring_conf conf = both;
    uint64_t packets = 0, drops = 0;
    conf.snaplen = 64;
    int fd = ring_on("va", &conf);
    struct capture *c = source_of(&fd, 1, &conf);
    send_frames("vb", 0, 1, 1000);
    send_frames("vb", 1, 1, 60);
    unsigned n = 0;
    for (unsigned tries = 0; n < 2 && tries < 20; tries++) {
        if (capture_recv(c, &batch, 100) != SK_OK)
            continue;
        for (unsigned i = 0; i < batch.n; i++, n++) {
            assert_int_equal(batch.f[i].caplen, n == 0 ? 64 : 60);
            assert_int_equal(batch.f[i].wirelen, n == 0 ? 1000 : 60);
        }
        capture_release(c, &batch);
    }
    assert_int_equal(n, 2);
    capture_ring_mute(fd);
    send_frames("vb", 2, 10, 1000);
    assert_int_equal(drain(c).in, 0);
    capture_ring_stats(fd, &packets, &drops);
    assert_int_equal(packets, 2);
    assert_int_equal(drops, 0);
    capture_close(c);
    close(fd);
}

static void test_frames_of_a_batch_stay_until_release(void **state)
{
    (void)state;
    int fd = ring_on("va", &both);
    struct capture *c = source_of(&fd, 1, &both);
    send_frames("vb", 0, CAPTURE_BATCH, 1000);
    usleep(50000);
    assert_int_equal(capture_recv(c, &batch, 1000), SK_OK);
    int64_t first = frame_number(&batch.f[0]);
    send_frames("vb", 1000, 5000, 1000); /* several times the ring */
    assert_int_equal(frame_number(&batch.f[0]), first);
    capture_release(c, &batch);
    drain(c);
    capture_close(c);
    close(fd);
}

static void test_interface_down_and_up(void **state)
{
    (void)state;
    int fd = ring_on("va", &both);
    struct capture *c = source_of(&fd, 1, &both);
    send_frames("vb", 0, 10, 100);
    assert_int_equal(drain(c).in, 10);
    run("ip link set va down");
    int64_t start = sk_now_mono();
    unsigned rounds = 0;
    while (sk_now_mono() - start < 300 * SK_NS_PER_MS) {
        int rc = capture_recv(c, &batch, 50);
        assert_true(rc == SK_EAGAIN || rc == SK_OK);
        capture_release(c, &batch);
        rounds++;
    }
    assert_in_range(rounds, 1, 20); /* it waits; it does not spin on the error */
    assert_non_null(strstr(capture_error(c), "interface 5: Network is down"));
    run("ip link set va up && sleep 0.1");
    send_frames("vb", 10, 20, 100);
    struct seen s = drain(c);
    assert_int_equal(s.in, 20);
    assert_int_equal(s.first, 10);
    capture_close(c);
    close(fd);
}

/* Drops are counted, and nothing that was kept is lost or comes twice; afterwards it goes on. */
static void test_full_ring(void **state)
{
    (void)state;
    struct capture_ring_conf conf = both;
    conf.ring_size = 2 * BLOCK;
    conf.block_timeout = 100; /* two blocks handed over half empty, on a busy machine, would be all there are */
    int fd = ring_on("va", &conf);
    struct capture *c = source_of(&fd, 1, &conf);
    uint64_t packets = 0, drops = 0;
    send_frames("vb", 0, 3000, 1000);
    struct seen s = drain(c);
    capture_ring_stats(fd, &packets, &drops);
    assert_in_range(s.in, 100, 2999);
    assert_int_equal(packets, 3000);
    assert_int_equal(drops, 3000 - s.in);
    for (unsigned round = 0; round < 5; round++) {
        send_frames("vb", 5000, 100, 1000);
        s = drain(c);
        assert_int_equal(s.in, 100);
        assert_int_equal(s.first, 5000);
        assert_int_equal(s.gaps, 0);
    }
    capture_close(c);
    close(fd);
}

/* In a process of its own: releases `released` batches, takes one more, and dies with it. */
static void reader_dies(int fd, const struct capture_ring_conf *conf, unsigned released)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct capture *c = source_of(&fd, 1, conf);
        for (unsigned i = 0; i <= released; i++) {
            if (capture_recv(c, &batch, 1000) != SK_OK)
                _exit(255);
            if (i < released)
                capture_release(c, &batch);
        }
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_resumption_after_a_reader_died(void **state)
{
    (void)state;
    struct capture_ring_conf conf = both;
    conf.ring_size = 16 * BLOCK;
    for (unsigned released = 0; released <= 8; released += 4) {
        int fd = ring_on("va", &conf);
        send_frames("vb", 0, 1000, 1000); /* nobody reads yet; some 8 blocks */
        usleep(50000);
        reader_dies(fd, &conf, released);
        send_frames("vb", 1000, 200, 1000);
        struct capture *c = source_of(&fd, 1, &conf);
        struct seen s = drain(c);
        /* No frame that was not released is missing; at most what lay in a part-read block comes again. */
        assert_in_range(s.first, 0, released * CAPTURE_BATCH);
        assert_true(s.first + (int64_t)(BLOCK / 1000 + CAPTURE_BATCH) >= released * CAPTURE_BATCH);
        assert_int_equal(s.last, 1199);
        assert_int_equal(s.gaps, 0);
        capture_close(c);
        close(fd);
    }
}

/* What readers leave behind for each other and for the one who counts. */
struct shared {
    struct sk_ring_mark mark;
    uint8_t seen[200000]; /* how often each frame was looked at */
};

static struct shared *share(void)
{
    void *m = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(m != MAP_FAILED);
    return m;
}

static struct capture *source_with(int fd, const struct capture_ring_conf *conf, const struct sk_ring_mark *m)
{
    struct capture *c = source_of(NULL, 0, conf);
    assert_int_equal(capture_ring_add(c, fd, 5, m, err), SK_OK);
    return c;
}

/* As a worker does it: mark, then look. Ends after so many frames in all; quiet: or when nothing comes. */
static void take_frames(struct capture *c, struct shared *sh, uint64_t upto, bool quiet)
{
    for (unsigned idle = 0; sk_ring_mark_taken(&sh->mark) < upto && (!quiet || idle < 3);) {
        int rc = capture_recv(c, &batch, 60);
        idle = rc == SK_OK ? 0 : idle + 1;
        for (unsigned i = 0; rc == SK_OK && i < batch.n && sk_ring_mark_taken(&sh->mark) < upto; i++) {
            sk_ring_mark_take(&sh->mark, batch.mark[i]);
            for (volatile unsigned work = 0; work < 3000; work++) /* as a worker has some */
                ;
            int64_t n = frame_number(&batch.f[i]);
            if (n >= 0 && n < (int64_t)sizeof sh->seen)
                sh->seen[n]++;
        }
        if (rc == SK_OK && sk_ring_mark_taken(&sh->mark) < upto)
            capture_release(c, &batch); /* who stops within a batch releases nothing of it */
    }
}

/* Wherever a reader stops, within a block and within a batch: the next one goes on with the very next frame. */
static void test_resumption_by_mark(void **state)
{
    (void)state;
    struct capture_ring_conf conf = both;
    conf.ring_size = 16 * BLOCK;
    struct shared *sh = share();
    int fd = ring_on("va", &conf);
    send_frames("vb", 0, 1500, 1000);
    usleep(50000);
    for (uint64_t upto = 1; upto < 1500; upto += upto < 300 ? 1 + upto % 7 : 97) {
        pid_t pid = fork();
        if (pid == 0) {
            take_frames(source_with(fd, &conf, &sh->mark), sh, upto, false);
            _exit(0);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(sk_ring_mark_taken(&sh->mark), upto);
    }
    send_frames("vb", 1500, 500, 1000);
    struct capture *c = source_with(fd, &conf, &sh->mark);
    take_frames(c, sh, UINT64_MAX, true);
    assert_int_equal(sk_ring_mark_taken(&sh->mark), 2000);
    for (unsigned i = 0; i < 2000; i++)
        if (sh->seen[i] != 1)
            fail_msg("frame %u was looked at %u times", i, sh->seen[i]);
    capture_close(c);
    close(fd);
    munmap(sh, sizeof *sh);
}

/* A mark that a reader has spoilt costs at most what is in the ring, and does not blind those that follow. */
static void test_spoilt_marks(void **state)
{
    (void)state;
    static const uint64_t spoilt[] = {1, UINT64_MAX, UINT64_C(1) << 63, 5 << SK_RING_FRAME_BITS | SK_RING_FRAME_MASK};
    for (unsigned i = 0; i < sizeof spoilt / sizeof spoilt[0]; i++) {
        struct sk_ring_mark m = {.rec = {{.at = spoilt[i], .done = i}}};
        int fd = ring_on("va", &both);
        struct capture *c = source_with(fd, &both, &m);
        for (unsigned round = 0; round < 20; round++) {
            send_frames("vb", round * 150, 150, 1000);
            struct seen s = drain(c);
            assert_int_equal(s.in, 150);
            assert_int_equal(s.gaps, 0);
        }
        capture_close(c);
        close(fd);
    }
}

/*
 * Readers that are killed at any moment while frames come: none is looked at twice, and at the end the kernel's count
 * is what was dropped and what was taken. Of those taken only the one in hand at each death may be unseen.
 */
static void test_killed_readers(void **state)
{
    (void)state;
    enum { KILLS = 40, BURST = 2000 };
    struct capture_ring_conf conf = both;
    conf.ring_size = 4 * BLOCK;
    struct shared *sh = share();
    int fd = ring_on("va", &conf);
    uint64_t packets = 0, drops = 0, seen = 0;
    uint32_t sent = 0;
    for (unsigned k = 0; k < KILLS; k++) {
        pid_t pid = fork();
        if (pid == 0)
            take_frames(source_with(fd, &conf, &sh->mark), sh, UINT64_MAX, false);
        send_frames("vb", sent, BURST, 300);
        sent += BURST;
        usleep((useconds_t)(rand() % 4000));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        capture_ring_stats(fd, &packets, &drops);
    }
    struct capture *c = source_with(fd, &conf, &sh->mark);
    take_frames(c, sh, UINT64_MAX, true);
    capture_ring_stats(fd, &packets, &drops);
    for (uint32_t i = 0; i < sent; i++) {
        if (sh->seen[i] > 1)
            fail_msg("frame %u was looked at %u times", i, sh->seen[i]);
        seen += sh->seen[i];
    }
    assert_int_equal(packets, sent);
    assert_int_equal(sk_ring_mark_taken(&sh->mark), packets - drops);
    assert_in_range(sk_ring_mark_taken(&sh->mark) - seen, 0, KILLS);
    print_message("%u readers killed: %llu sent, %llu dropped, %llu taken, %llu of them in hand at a death\n", KILLS,
                  (unsigned long long)packets, (unsigned long long)drops,
                  (unsigned long long)sk_ring_mark_taken(&sh->mark),
                  (unsigned long long)(sk_ring_mark_taken(&sh->mark) - seen));
    capture_close(c);
    close(fd);
    munmap(sh, sizeof *sh);
}

/* A ring whose first block has n frames, and where it lies. The ring's timer may end a block at any time: then another.
 */
static int one_block(const struct capture_ring_conf *conf, uint32_t n, uint8_t **map)
{
    for (unsigned left = 20;; left--) {
        int fd = ring_on("va", conf);
        *map = mmap(NULL, conf->ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(*map != MAP_FAILED);
        send_frames("vb", 0, n, 1000);
        usleep(50000);
        if (((struct tpacket_block_desc *)(void *)*map)->hdr.bh1.num_pkts == n || left == 0)
            return fd;
        munmap(*map, conf->ring_size);
        close(fd);
    }
}

/* What the blocks of a reader that was taken over say is not believed; what cannot be read is counted. */
static void test_spoilt_block(void **state)
{
    (void)state;
    uint8_t *map;
    int fd = one_block(&both, 50, &map);
    struct sk_counters k = {0};
    struct tpacket_block_desc *b = (void *)map;
    assert_int_equal(b->hdr.bh1.num_pkts, 50);
    struct tpacket3_hdr *h = (void *)(map + b->hdr.bh1.offset_to_first_pkt);
    for (unsigned i = 0; i < 9; i++)
        h = (void *)((uint8_t *)h + h->tp_next_offset);
    h->tp_next_offset = UINT32_MAX; /* of the tenth frame */
    struct capture *c = source_of(&fd, 1, &both);
    assert_int_equal(drain(c).in, 10);
    capture_count(c, &k);
    assert_int_equal(k.v[SK_C_LP_RING_ERROR], 40);
    send_frames("vb", 50, 50, 1000);
    assert_int_equal(drain(c).in, 50);
    capture_count(c, &k);
    assert_int_equal(k.v[SK_C_LP_RING_ERROR], 40);
    capture_close(c);
    munmap(map, both.ring_size);
    close(fd);
}

/* The position is found wherever in the ring the last reader stopped, with nothing waiting. */
static void test_resumption_of_an_empty_ring(void **state)
{
    (void)state;
    int fd = ring_on("va", &both);
    uint32_t next = 0;
    for (unsigned round = 0; round < 20; round++) {
        struct capture *c = source_of(&fd, 1, &both);
        send_frames("vb", next, 150, 1000);
        struct seen s = drain(c);
        assert_int_equal(s.in, 150);
        assert_int_equal(s.first, next);
        assert_int_equal(s.gaps, 0);
        next += 150;
        capture_close(c);
    }
    close(fd);
}

/* Full and dead: the ring froze, and the next reader gets it going again. */
static void test_resumption_of_a_full_ring(void **state)
{
    (void)state;
    int fd = ring_on("va", &both);
    send_frames("vb", 0, 5000, 1000);
    usleep(50000);
    reader_dies(fd, &both, 0);
    struct capture *c = source_of(&fd, 1, &both);
    struct seen s = drain(c);
    assert_int_equal(s.first, 0);
    assert_int_equal(s.gaps, 0);
    for (unsigned round = 0; round < 3; round++) {
        send_frames("vb", 10000, 300, 1000);
        s = drain(c);
        assert_int_equal(s.in, 300);
        assert_int_equal(s.gaps, 0);
    }
    capture_close(c);
    close(fd);
}

static void test_loopback_once(void **state)
{
    (void)state;
    int fd = ring_on("lo", &both);
    struct capture *c = source_of(&fd, 1, &both);
    int u = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (unsigned i = 0; i < 40; i++)
        sendto(u, "loop", 4, 0, (const struct sockaddr *)&to, sizeof to);
    close(u);
    unsigned n = 0, unfilled = 0;
    while (capture_recv(c, &batch, 200) == SK_OK) {
        for (unsigned i = 0; i < batch.n; i++) {
            const struct sk_frame *f = &batch.f[i];
            if (f->caplen < 46 || f->data[23] != IPPROTO_UDP)
                continue;
            assert_int_equal(f->linktype, 1);
            assert_false(f->outgoing);
            n++;
            unfilled += f->csum_unfilled;
        }
        capture_release(c, &batch);
    }
    uint64_t packets = 0, drops = 0;
    capture_ring_stats(fd, &packets, &drops);
    assert_int_equal(packets, 80); /* 40 datagrams, and as many answers that nobody listens on that port */
    assert_int_equal(n, 40);
    assert_int_equal(unfilled, 40); /* the stack leaves the checksum to a device that has none */
    capture_close(c);
    close(fd);
}

/* A capture of nothing but skipped frames must go on too. */
static void test_loopback_ring_turns_round(void **state)
{
    (void)state;
    int fd = ring_on("lo", &both);
    struct capture *c = source_of(&fd, 1, &both);
    for (unsigned round = 0; round < 10; round++) {
        send_frames("lo", 1000 * round, 300, 1000);
        struct seen s = drain(c);
        assert_int_equal(s.in, 300);
        assert_int_equal(s.out, 0);
        assert_int_equal(s.gaps, 0);
    }
    capture_close(c);
    close(fd);
}

static void test_kernel_vlan_tag(void **state)
{
    (void)state;
    int fd = ring_on("va", &both);
    struct capture *c = source_of(&fd, 1, &both);
    uint8_t frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x81, 0, 0x60, 0x2a, 0x88, 0xb5};
    int tx = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("vb"), .sll_halen = 6};
    assert_int_equal(sendto(tx, frame, sizeof frame, 0, (const struct sockaddr *)&to, sizeof to), sizeof frame);
    close(tx);
    assert_int_equal(capture_recv(c, &batch, 2000), SK_OK);
    const struct sk_frame *f = &batch.f[0];
    assert_true(f->has_vlan_tci);
    assert_int_equal(f->vlan_tci, 0x602a);
    assert_int_equal(f->vlan_tpid, 0x8100);
    assert_int_equal(f->data[12] << 8 | f->data[13], 0x88b5);
    capture_release(c, &batch);
    capture_close(c);
    close(fd);
}

static void test_several_interfaces(void **state)
{
    (void)state;
    int fds[2] = {ring_on("va", &both), ring_on("vc", &both)};
    struct capture *c = source_of(fds, 1, &both);
    assert_int_equal(capture_ring_add(c, fds[1], 6, NULL, err), SK_OK);
    send_frames("vb", 0, 500, 200);
    send_frames("vd", 0, 500, 200);
    struct seen s = drain(c);
    assert_int_equal(s.by_iface[5], 500);
    assert_int_equal(s.by_iface[6], 500);

    /* Neither starves while both have plenty. */
    send_frames("vb", 0, 500, 200);
    send_frames("vd", 0, 500, 200);
    usleep(50000);
    memset(&s, 0, sizeof s);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(capture_recv(c, &batch, 1000), SK_OK);
        for (unsigned j = 0; j < batch.n; j++)
            note(&s, &batch.f[j]);
        capture_release(c, &batch);
    }
    assert_in_range(s.by_iface[5], CAPTURE_BATCH, 3 * CAPTURE_BATCH);
    assert_in_range(s.by_iface[6], CAPTURE_BATCH, 3 * CAPTURE_BATCH);
    drain(c);

    capture_ring_remove(c, 5);
    send_frames("vd", 0, 10, 200);
    s = drain(c);
    assert_int_equal(s.by_iface[5], 0);
    assert_int_equal(s.by_iface[6], 10);
    capture_ring_remove(c, 6);
    assert_int_equal(capture_recv(c, &batch, 10), SK_EAGAIN);
    capture_close(c);
    close(fds[0]);
    close(fds[1]);
}

/* Two workers: every frame goes to one of them, and a flow to one only. */
static void test_fanout(void **state)
{
    (void)state;
    struct capture_ring_conf conf = both;
    conf.fanout_id = 4711;
    int fds[2] = {ring_on("va", &conf), ring_on("va", &conf)};
    struct capture *c[2] = {source_of(&fds[0], 1, &conf), source_of(&fds[1], 1, &conf)};
    int tx = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("vb"), .sll_halen = 6};
    uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,  0, 0, 0, 0,  9, 8, 0, 0x45, 0, 0, 46, 0, 0,
                     0x40, 0,    64,   17,   0,    0,    10, 9, 0, 1, 10, 9, 0, 2, 0,    0, 0, 80, 0, 26};
    for (unsigned i = 0; i < 256; i++) {
        f[35] = (uint8_t)i;
        assert_int_equal(sendto(tx, f, sizeof f, 0, (const struct sockaddr *)&to, sizeof to), sizeof f);
    }
    close(tx);
    uint8_t seen[256] = {0};
    unsigned got[2] = {0};
    for (unsigned w = 0; w < 2; w++) {
        while (capture_recv(c[w], &batch, 200) == SK_OK) {
            for (unsigned i = 0; i < batch.n; i++)
                if (batch.f[i].caplen == 60 && batch.f[i].data[23] == 17) {
                    seen[batch.f[i].data[35]]++;
                    got[w]++;
                }
            capture_release(c[w], &batch);
        }
        capture_close(c[w]);
        close(fds[w]);
    }
    assert_int_equal(got[0] + got[1], 256);
    assert_true(got[0] > 20 && got[1] > 20);
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(seen[i], 1);
}

/* A device without link header gives raw IP. */
static void test_tun(void **state)
{
    (void)state;
    int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strcpy(ifr.ifr_name, "tun7");
    if (tun < 0 || ioctl(tun, TUNSETIFF, &ifr) != 0) {
        print_message("no tun device here: %s\n", strerror(errno));
        skip();
    }
    run("ip link set tun7 up");
    int fd = ring_on("tun7", &both);
    struct capture *c = source_of(&fd, 1, &both);
    uint8_t ip[24] = {0x45, 0, 0, 24, 0, 0, 0, 0, 64, 253, 0, 0, 10, 8, 0, 1, 10, 8, 0, 2, 't', 'u', 'n', '!'};
    assert_int_equal(write(tun, ip, sizeof ip), sizeof ip);
    assert_int_equal(capture_recv(c, &batch, 2000), SK_OK);
    assert_int_equal(batch.f[0].linktype, 101);
    assert_int_equal(batch.f[0].caplen, sizeof ip);
    assert_memory_equal(batch.f[0].data, ip, sizeof ip);
    capture_release(c, &batch);
    capture_close(c);
    close(fd);
    close(tun);
}

static void expect_no_socket(const char *ifname, const struct capture_ring_conf *conf, int want, const char *why)
{
    int fd = -1;
    assert_int_equal(capture_ring_socket(ifname, conf, &fd, err), want);
    assert_int_equal(fd, -1);
    if (!strstr(err, why))
        fail_msg("\"%s\" does not say \"%s\"", err, why);
}

static void test_refused(void **state)
{
    (void)state;
    struct capture_ring_conf conf = both;
    expect_no_socket("nosuchif", &conf, SK_ENOENT, "nosuchif");
    conf.block_size = BLOCK / 2;
    expect_no_socket("va", &conf, SK_EINVAL, "block size 65536");
    conf.block_size = BLOCK * 3;
    expect_no_socket("va", &conf, SK_EINVAL, "power of two");
    conf.block_size = BLOCK;
    conf.ring_size = BLOCK;
    expect_no_socket("va", &conf, SK_EINVAL, "at least two blocks");

    int fd = ring_on("va", &both);
    static const uint16_t idx = 5;
    struct capture *c = NULL;
    conf.ring_size = 16 * BLOCK; /* not what the socket has */
    assert_int_equal(capture_open_ring(&fd, &idx, 1, &conf, &c, err), SK_EIO);
    assert_non_null(strstr(err, "mapping the ring of interface 5"));
    assert_null(c);
    close(fd);
}

static void test_too_many_interfaces(void **state)
{
    (void)state;
    struct capture_ring_conf conf = both;
    conf.ring_size = 2 * BLOCK;
    int fd = ring_on("va", &conf);
    struct capture *c = source_of(&fd, 1, &conf);
    for (uint16_t i = 1; i < SK_MAX_INTERFACES; i++)
        assert_int_equal(capture_ring_add(c, fd, i, NULL, err), SK_OK);
    assert_int_equal(capture_ring_add(c, fd, 99, NULL, err), SK_EFULL);
    assert_non_null(strstr(err, "more than 16 interfaces"));
    capture_close(c);
    close(fd);
}

static void test_without_privilege(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        int fd;
        if (setuid(65534) != 0)
            _exit(2);
        _exit(capture_ring_socket("va", &both, &fd, err) == SK_EPERM && strstr(err, "va: AF_PACKET socket") ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int setup(void **state)
{
    (void)state;
    return system("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6 &&"
                  "ip link add va type veth peer name vb && ip link add vc type veth peer name vd &&"
                  "for i in lo va vb vc vd; do ip link set $i up || exit 1; done; sleep 0.2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_directions),
        cmocka_unit_test(test_incoming_only),
        cmocka_unit_test(test_snaplen_and_mute),
        cmocka_unit_test(test_frames_of_a_batch_stay_until_release),
        cmocka_unit_test(test_interface_down_and_up),
        cmocka_unit_test(test_full_ring),
        cmocka_unit_test(test_resumption_after_a_reader_died),
        cmocka_unit_test(test_resumption_by_mark),
        cmocka_unit_test(test_spoilt_marks),
        cmocka_unit_test(test_killed_readers),
        cmocka_unit_test(test_spoilt_block),
        cmocka_unit_test(test_resumption_of_an_empty_ring),
        cmocka_unit_test(test_resumption_of_a_full_ring),
        cmocka_unit_test(test_loopback_once),
        cmocka_unit_test(test_loopback_ring_turns_round),
        cmocka_unit_test(test_kernel_vlan_tag),
        cmocka_unit_test(test_several_interfaces),
        cmocka_unit_test(test_fanout),
        cmocka_unit_test(test_tun),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_many_interfaces),
        cmocka_unit_test(test_without_privilege),
    };
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        printf("SKIP: needs root and a network namespace\n");
        return SKIP_RC;
    }
    if (system("ip link show lo >/dev/null 2>&1") != 0) {
        printf("SKIP: needs ip (iproute2)\n");
        return SKIP_RC;
    }
    return cmocka_run_group_tests(tests, setup, NULL);
}
