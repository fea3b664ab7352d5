/*
 * Each fragment is five bytes (kind, id, offset in units, length) and its data. A datagram that comes out must have the
 * lengths that its header says, and decode as no fragment.
 */
#include <stdlib.h>
#include <string.h>

#include "decode/decode.h"
#include "flow/defrag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct decode_conf decode_all = {.vxlan = true, .geneve = true, .teredo = true};
static uint8_t ip[70000];

/* The fragment as a frame would have it; data shorter than len repeats. */
static uint32_t build(const uint8_t *b, const uint8_t *data, size_t have, uint32_t len)
{
    uint32_t off = (uint32_t)(b[2] << 8 | b[3]) & 0x1fff, hl = b[0] & 1 ? 48 : 20 + (b[0] >> 5 & 3) * 4u;
    len = len < 65000 ? len : 65000;
    memset(ip, 1, hl); /* options: no-operation */
    if (b[0] & 1) {
        ip[0] = 0x60;
        ip[4] = (uint8_t)((len + 8) >> 8);
        ip[5] = (uint8_t)(len + 8);
        ip[6] = 44;
        ip[40] = b[0] & 16 ? 17 : 58;
        ip[42] = (uint8_t)(off >> 5);
        ip[43] = (uint8_t)(off << 3 | (b[0] >> 1 & 1));
        memset(ip + 44, b[1] & 3, 4);
    } else {
        ip[0] = (uint8_t)(0x40 | hl / 4);
        ip[1] = b[0] >> 2 & 3;
        ip[2] = (uint8_t)((hl + len) >> 8);
        ip[3] = (uint8_t)(hl + len);
        ip[4] = 0;
        ip[5] = b[1] & 3;
        ip[6] = (uint8_t)(off >> 8 | (b[0] << 4 & 0x20));
        ip[7] = (uint8_t)off;
        ip[9] = b[0] & 16 ? 17 : 6;
    }
    for (uint32_t i = 0; i < len; i++)
        ip[hl + i] = have ? data[i % have] : 0;
    return hl + len;
}

static void check(const struct sk_packet *p, struct sk_span whole)
{
    if (whole.len < 20)
        abort();
    uint32_t says = whole.p[0] >> 4 == 6 ? 40u + (uint32_t)(whole.p[4] << 8 | whole.p[5])
                                         : (uint32_t)(whole.p[2] << 8 | whole.p[3]);
    if (says != whole.len)
        abort();
    struct sk_packet out[DECODE_MAX_PACKETS];
    struct sk_counters c = {0};
    unsigned n = decode_ip(&decode_all, p, whole, out, &c);
    if (n < 1 || (out[0].flags & PKT_FRAGMENT && whole.p[0] >> 4 == 4))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct defrag_conf conf = {.memcap = 100 << 10, .max_pending = 3, .timeout = 60, .timeout4 = 30};
    struct sk_counters c = {0};
    struct defrag *d;
    if (defrag_create(&conf, &c, &d) != SK_OK)
        return 0;
    int64_t now = 0;
    while (size >= 6) {
        uint32_t len = (uint32_t)(data[4] << 8 | data[5]), have = len < size - 6 ? len : (uint32_t)size - 6;
        have = have < 64 ? have : 64;
        struct sk_frame f = {.data = ip, .linktype = 101, .ts = now += data[1] >> 4};
        f.caplen = f.wirelen = build(data, data + 6, have, len);
        struct sk_packet p[DECODE_MAX_PACKETS];
        struct sk_span whole;
        unsigned n = decode_frame(&decode_all, &f, p, &c);
        if (n && (p[0].flags & (PKT_FRAGMENT | PKT_INVALID)) == PKT_FRAGMENT && defrag_packet(d, &p[0], &whole))
            check(&p[0], whole);
        data += 6 + have;
        size -= 6 + have;
    }
    defrag_free(d);
    return 0;
}
