/*
 * Whatever the network does to segments of one byte stream (cut, reorder, repeat, merge), the receiver's stream is the
 * original. Seeded; the seed of a failure is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "stream/stream.h"

enum { SIZE = 20000, MAX_SEGMENTS = 2000, ROUNDS = 300 };

struct seg {
    uint32_t at, len;
};

struct side {
    uint8_t sent[SIZE], got[SIZE];
    uint64_t n;
    bool eof, wrong;
    struct seg seg[MAX_SEGMENTS];
    unsigned nseg, done;
    uint32_t isn;
};

struct world {
    struct side side[2];
    uint64_t rng;
};

static uint32_t rnd(struct world *w, uint32_t n)
{
    w->rng = w->rng * UINT64_C(6364136223846793005) + 1442695040888963407U;
    return (uint32_t)(w->rng >> 33) % n;
}

static void on_data(void *arg, int dir, struct sk_span d, uint64_t offset, unsigned flags)
{
    struct side *s = &((struct world *)arg)->side[dir];
    if ((flags & STREAM_DATA_GAP) || offset != s->n || d.len > SIZE - s->n) {
        s->wrong = true;
        return;
    }
    if (d.len)
        memcpy(s->got + s->n, d.p, d.len);
    s->n += d.len;
    s->eof |= (flags & STREAM_DATA_EOF) != 0;
}

static void push(struct side *s, uint32_t at, uint32_t len)
{
    if (s->nseg < MAX_SEGMENTS)
        s->seg[s->nseg++] = (struct seg){at, len};
}

/* Cuts the stream, repeats some of it with other cuts, and shuffles within a distance. */
static void make_segments(struct world *w, struct side *s)
{
    for (uint32_t i = 0; i < SIZE; i++)
        s->sent[i] = (uint8_t)rnd(w, 256);
    uint32_t most = rnd(w, 4) ? 1460 : 9000;
    for (uint32_t at = 0; at < SIZE;) {
        uint32_t n = 1 + rnd(w, most);
        n = n < SIZE - at ? n : SIZE - at;
        push(s, at, n);
        if (rnd(w, 3) == 0) {
            uint32_t from = at > 3000 ? at - rnd(w, 3000) : 0, len = 1 + rnd(w, 4000);
            push(s, from, len < SIZE - from ? len : SIZE - from);
        }
        at += n;
    }
    unsigned distance = 1 + rnd(w, 12);
    for (unsigned i = 0; i + 1 < s->nseg; i++) {
        unsigned k = i + rnd(w, distance);
        k = k < s->nseg ? k : s->nseg - 1;
        struct seg x = s->seg[i];
        s->seg[i] = s->seg[k];
        s->seg[k] = x;
    }
}

static void send(struct world *w, struct stream_ctx *ctx, struct stream_session *ss, int dir, uint8_t flags,
                 uint32_t seq, struct sk_span d)
{
    struct side *me = &w->side[dir], *other = &w->side[!dir];
    struct sk_packet p = {.flags = PKT_IPV4 | PKT_TCP, .proto = 6, .payload = d, .sport = 40000, .dport = 80};
    p.tcp.flags = flags;
    p.tcp.win = 65535;
    p.tcp.seq = me->isn + seq;
    p.tcp.ack = other->isn + 1 + (uint32_t)other->n;
    if (flags == TCP_SYN)
        p.tcp.ack = 0;
    uint8_t ev[4];
    unsigned nev = 0;
    (void)stream_packet(ctx, ss, &p, dir, on_data, w, ev, &nev);
}

static void play(struct world *w, struct stream_ctx *ctx, struct stream_session *ss)
{
    struct sk_span none = {0};
    send(w, ctx, ss, 0, TCP_SYN, 0, none);
    send(w, ctx, ss, 1, TCP_SYN | TCP_ACK, 0, none);
    send(w, ctx, ss, 0, TCP_ACK, 1, none);
    while (w->side[0].done < w->side[0].nseg || w->side[1].done < w->side[1].nseg) {
        int dir = (int)rnd(w, 2);
        struct side *s = &w->side[dir];
        if (s->done == s->nseg)
            continue;
        const struct seg *g = &s->seg[s->done++];
        send(w, ctx, ss, dir, TCP_ACK, 1 + g->at, sk_span_of(s->sent + g->at, g->len));
    }
    send(w, ctx, ss, 0, TCP_FIN | TCP_ACK, 1 + SIZE, none);
    send(w, ctx, ss, 1, TCP_FIN | TCP_ACK, 1 + SIZE, none);
}

static void test_any_order(void **state)
{
    (void)state;
    struct stream_conf conf = {.memcap = 1 << 20, .max_segs = 512};
    struct sk_counters c = {0};
    struct stream_ctx *ctx;
    assert_int_equal(stream_create(&conf, &c, &ctx), SK_OK);
    struct world *w = malloc(sizeof *w);
    assert_non_null(w);
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        memset(w, 0, sizeof *w);
        w->rng = seed;
        for (int d = 0; d < 2; d++) {
            make_segments(w, &w->side[d]);
            w->side[d].isn = rnd(w, 3) ? rnd(w, UINT32_MAX) : UINT32_MAX - rnd(w, SIZE);
        }
        struct stream_session ss = {0};
        play(w, ctx, &ss);
        for (int d = 0; d < 2; d++) {
            struct side *s = &w->side[d];
            if (s->wrong || s->n != SIZE || !s->eof || memcmp(s->sent, s->got, SIZE) != 0)
                fail_msg("seed %u, direction %d: %u of %u bytes", seed, d, (unsigned)s->n, SIZE);
        }
        assert_int_equal(ss.half[0].nsegs + ss.half[1].nsegs, 0);
        assert_int_equal(ss.state, STREAM_LAST_ACK);
        stream_release(ctx, &ss);
    }
    assert_int_equal(c.v[SK_C_TCP_GAP], 0);
    assert_int_equal(c.v[SK_C_TCP_OVERLAP_DIFF], 0);
    assert_true(c.v[SK_C_TCP_OOO] > 1000);
    free(w);
    stream_free(ctx);
}

/* Many sessions that hold all they may: memory stays at its limit, and comes back. */
static void test_pool_is_bounded(void **state)
{
    (void)state;
    struct stream_conf conf = {.memcap = 256 << 10, .max_segs = 16};
    struct sk_counters c = {0};
    struct stream_ctx *ctx;
    assert_int_equal(stream_create(&conf, &c, &ctx), SK_OK);
    static struct stream_session ss[200];
    static struct world w;
    static const uint8_t data[1000];
    memset(ss, 0, sizeof ss);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 200; i++) {
            memset(&w, 0, sizeof w);
            send(&w, ctx, &ss[i], 0, TCP_SYN, 0, (struct sk_span){0});
            send(&w, ctx, &ss[i], 1, TCP_SYN | TCP_ACK, 0, (struct sk_span){0});
            send(&w, ctx, &ss[i], 0, TCP_ACK, 1, (struct sk_span){0});
            for (unsigned k = 0; k < 12; k++)
                send(&w, ctx, &ss[i], 0, TCP_ACK, 2000 + k * 1100, sk_span_of(data, sizeof data));
        }
        assert_true(c.v[SK_C_TCP_SEG_FULL] > 0);
        assert_true(stream_memory(ctx) <= conf.memcap);
        for (unsigned i = 0; i < 200; i++) {
            assert_true(ss[i].half[0].nsegs <= conf.max_segs);
            stream_release(ctx, &ss[i]);
            memset(&ss[i], 0, sizeof ss[i]);
        }
    }
    stream_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_order), cmocka_unit_test(test_pool_is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
