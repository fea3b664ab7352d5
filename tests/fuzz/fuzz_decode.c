/* Byte 0: link type, byte 1: frame flags, the rest: the frame. What comes out must lie inside it. */
#include <stdlib.h>
#include "decode/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int linktypes[] = {1, 0, 9, 12, 101, 104, 108, 113, 228, 229, 276, 14, 50, 147};
static const struct decode_conf conf = {.verify_csum = true, .vxlan = true, .geneve = true, .teredo = true};

static void check_span(const struct sk_frame *f, struct sk_span s)
{
    if (s.len > 0 && (s.p < f->data || s.p > f->data + f->caplen || s.len > (size_t)(f->data + f->caplen - s.p)))
        abort();
}

static void check(const struct sk_frame *f, const struct sk_packet *p, unsigned n)
{
    if (n < 1 || n > DECODE_MAX_PACKETS)
        abort();
    for (unsigned i = 0; i < n; i++, p++) {
        check_span(f, p->ip);
        check_span(f, p->l4);
        check_span(f, p->payload);
        if (p->nevents > PKT_MAX_EVENTS || p->vlan_count > SK_MAX_VLAN_LAYERS)
            abort();
        if (p->flags & (PKT_IPV4 | PKT_IPV6) && !(p->flags & PKT_INVALID) && p->ip_hdr_len > p->ip.len)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > SK_MAX_FRAME)
        return 0;
    struct sk_frame f = {
        .data = data + 2,
        .caplen = (uint32_t)size - 2,
        .wirelen = (uint32_t)size - 2 + (data[1] & 1),
        .linktype = linktypes[data[0] % (sizeof linktypes / sizeof linktypes[0])],
        .outgoing = data[1] & 2,
        .csum_valid = data[1] & 4,
        .has_vlan_tci = data[1] & 8,
    };
    struct sk_counters c = {0};
    struct sk_packet out[DECODE_MAX_PACKETS];
    unsigned n = decode_frame(&conf, &f, out, &c);
    check(&f, out, n);
    struct sk_packet last = out[n - 1];
    if (last.ip.len > 0)
        check(&f, out, decode_ip(&conf, &last, last.ip, out, &c));
    return 0;
}
