/*
 * Byte 0 chooses the configuration; then each packet is six bytes (what differs from an ordinary next segment: see
 * step) and up to 15 * 4 bytes of payload. What comes out must be in order, within the depth, and equal to what was
 * sent when nothing was tricky; memory must come back.
 */
#include <stdlib.h>

#include "stream/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sink {
    uint64_t at[2], depth;
    bool ended[2];
    uint32_t sum;
};

static void on_data(void *arg, int dir, struct sk_span d, uint64_t offset, unsigned flags)
{
    struct sink *s = arg;
    if (dir < 0 || dir > 1 || offset != s->at[dir] || s->ended[dir])
        abort();
    if (!(flags & STREAM_DATA_GAP))
        for (uint32_t i = 0; i < d.len; i++)
            s->sum += d.p[i]; /* the sanitizer looks on */
    s->at[dir] += d.len;
    s->ended[dir] = flags & STREAM_DATA_EOF;
    if (s->depth && s->at[dir] > s->depth)
        abort();
}

struct side {
    uint32_t isn, next;
};

static struct sk_packet make(struct side *me, const struct side *other, const uint8_t *b, struct sk_span payload)
{
    struct sk_packet p = {.flags = PKT_IPV4 | PKT_TCP, .proto = 6, .payload = payload, .sport = 40000, .dport = 80};
    static const int32_t steps[] = {0,     1,     -1,     10,      -10,       100, 2000, -2000,
                                    65535, 70000, -70000, 1 << 30, INT32_MIN, 3,   7,    30};
    p.tcp.flags = b[1] & 0x3f;
    p.tcp.seq = me->next + (uint32_t)steps[b[2] & 15];
    p.tcp.ack = p.tcp.flags & TCP_ACK ? other->next + (uint32_t)steps[b[2] >> 4] : 0;
    p.tcp.win = (uint16_t)(b[3] << 8);
    p.tcp.urg = b[4] & 7;
    p.tcp.has_ts = b[4] & 8;
    p.tcp.tsval = b[5];
    p.tcp.has_wscale = b[4] & 16;
    p.tcp.wscale = b[4] >> 4;
    p.tcp.has_tfo = b[4] & 32;
    p.ts = (int64_t)b[5] << 34;
    if (p.tcp.flags & TCP_SYN && b[4] & 64)
        p.tcp.seq = me->isn;
    if ((b[2] & 15) == 0)
        me->next += payload.len + !!(p.tcp.flags & TCP_SYN) + !!(p.tcp.flags & TCP_FIN);
    return p;
}

static void play(struct stream_ctx *ctx, struct stream_session *s, const struct sk_packet *p, int dir,
                 struct sink *sink)
{
    uint8_t ev[4];
    unsigned n = 0;
    unsigned v = stream_packet(ctx, s, p, dir, on_data, sink, ev, &n);
    if (v & STREAM_V_NEW_SESSION) {
        stream_finish(ctx, s, on_data, sink);
        stream_release(ctx, s);
        *s = (struct stream_session){0};
        *sink = (struct sink){.depth = sink->depth};
        n = 0;
        v = stream_packet(ctx, s, p, dir, on_data, sink, ev, &n);
    } else if (v & STREAM_V_SWAP) {
        v = stream_packet(ctx, s, p, !dir, on_data, sink, ev, &n);
    }
    if (n > 4 || v & (STREAM_V_NEW_SESSION | STREAM_V_SWAP))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct stream_conf conf = {.memcap = data[0] & 1 ? 8192 : 1 << 20,
                               .max_segs = data[0] & 2 ? 4 : 64,
                               .depth = data[0] & 4 ? 100 : 0,
                               .midstream = data[0] & 8,
                               .async_oneside = data[0] & 16,
                               .is_inline = data[0] & 32};
    struct sk_counters c = {0};
    struct stream_ctx *ctx;
    if (stream_create(&conf, &c, &ctx) != SK_OK)
        return 0;
    struct stream_session s = {0};
    struct sink sink = {.depth = conf.depth};
    struct side side[2] = {{.isn = UINT32_MAX - 40, .next = UINT32_MAX - 40}, {.isn = 5000, .next = 5000}};
    data++;
    size--;
    while (size >= 6) {
        int dir = data[0] & 1;
        uint32_t len = (uint32_t)(data[0] >> 4) * 4;
        len = len < size - 6 ? len : (uint32_t)size - 6;
        struct sk_packet p = make(&side[dir], &side[!dir], data, sk_span_of(data + 6, len));
        play(ctx, &s, &p, dir, &sink);
        data += 6 + len;
        size -= 6 + len;
    }
    if (stream_memory(ctx) > conf.memcap)
        abort();
    stream_finish(ctx, &s, on_data, &sink);
    stream_release(ctx, &s);
    if (s.half[0].nsegs || s.half[1].nsegs || s.half[0].held || s.half[1].held)
        abort();
    stream_free(ctx);
    return 0;
}
