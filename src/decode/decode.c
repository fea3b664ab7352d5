/* The way of a frame through the decoder, and what the layers share. */
#include "internal.h"

void dec_event(struct dec *d, enum decode_event ev)
{
    struct sk_packet *p = d->p;
    if (p->nevents < PKT_MAX_EVENTS)
        p->events[p->nevents++] = (uint16_t)ev;
}

void dec_invalid(struct dec *d, enum decode_event ev)
{
    if (d->p->nevents == PKT_MAX_EVENTS) /* why the packet is invalid is worth more than the last oddity */
        d->p->nevents--;
    dec_event(d, ev);
    if (!(d->p->flags & PKT_INVALID))
        sk_count(d->c, SK_C_INVALID);
    d->p->flags |= PKT_INVALID;
}

void dec_add_vlan(struct dec *d, uint16_t id)
{
    struct sk_packet *p = d->p;
    if (p->vlan_count >= SK_MAX_VLAN_LAYERS) {
        dec_invalid(d, DECODE_EV_VLAN_TOO_MANY_LAYERS);
        return;
    }
    p->vlan_id[p->vlan_count++] = id & 0x0fff;
    sk_count(d->c, SK_C_VLAN);
}

bool dec_verify_csum(const struct dec *d)
{
    const struct sk_packet *p = d->p;
    const struct sk_frame *f = p->frame;
    if (!d->conf->verify_csum || f->csum_unfilled || p->flags & (PKT_TRUNCATED | PKT_FRAGMENT))
        return false;
    /* Hardware vouches for the outermost packet as it came, not for what is inside or was put together here. */
    return !f->csum_valid || p->flags & (PKT_TUNNELED | PKT_REASSEMBLED);
}

void dec_bad_csum(struct dec *d)
{
    if (!(d->p->flags & PKT_BAD_CSUM))
        sk_count(d->c, SK_C_BAD_CSUM);
    d->p->flags |= PKT_BAD_CSUM;
}

bool dec_zero_len_ok(const struct dec *d, uint32_t have)
{
    return d->p->frame->outgoing || have > DEC_MTU;
}

static void start_packet(struct dec *d, const struct sk_frame *f)
{
    d->p = &d->out[d->n++];
    d->layers = 0;
    *d->p = (struct sk_packet){.frame = f, .ts = f->ts};
}

static void decode_inner(struct dec *d, const struct dec_inner *in)
{
    if (in->vlan_id != 0)
        dec_add_vlan(d, in->vlan_id);
    switch (in->kind) {
    case INNER_ETHERNET: dec_ethernet(d, in->data); break;
    case INNER_ETHERTYPE: dec_ethertype(d, in->ethertype, in->data); break;
    case INNER_PPP: dec_ppp(d, in->data); break;
    case INNER_NONE: break;
    }
}

/* Each round makes one packet of what the tunnel of the one before holds. */
static void decode_tunnels(struct dec *d)
{
    while (d->inner.kind != INNER_NONE) {
        const struct sk_packet *outer = d->p;
        if (outer->tunnel_depth >= SK_MAX_TUNNEL_DEPTH) {
            dec_event(d, DECODE_EV_TOO_MANY_LAYERS);
            return;
        }
        struct dec_inner in = d->inner;
        d->inner.kind = INNER_NONE;
        start_packet(d, outer->frame);
        d->p->tunnel_depth = (uint8_t)(outer->tunnel_depth + 1);
        d->p->flags = PKT_TUNNELED | (outer->flags & PKT_TRUNCATED) | (in.truncated ? PKT_TRUNCATED : 0);
        d->counted_ip = false;
        sk_count(d->c, SK_C_TUNNEL);
        decode_inner(d, &in);
    }
}

unsigned decode_frame(const struct decode_conf *conf, const struct sk_frame *f, struct sk_packet *out,
                      struct sk_counters *c)
{
    struct dec d = {.conf = conf, .c = c, .out = out};
    sk_count(c, SK_C_PKTS);
    sk_count_add(c, SK_C_BYTES, f->wirelen);
    start_packet(&d, f);
    if (f->wirelen > f->caplen) {
        d.p->flags |= PKT_TRUNCATED;
        sk_count(c, SK_C_TRUNCATED);
    }
    if (f->has_vlan_tci)
        dec_add_vlan(&d, f->vlan_tci);
    dec_link(&d, f->linktype, sk_span_of(f->data, f->caplen));
    if (!(out[0].flags & (PKT_IPV4 | PKT_IPV6 | PKT_INVALID)))
        sk_count(c, SK_C_NON_IP);
    decode_tunnels(&d);
    return d.n;
}

unsigned decode_ip(const struct decode_conf *conf, const struct sk_packet *tmpl, struct sk_span ip,
                   struct sk_packet *out, struct sk_counters *c)
{
    struct dec d = {.conf = conf, .c = c, .out = out, .counted_ip = true};
    const struct sk_packet from = *tmpl;
    start_packet(&d, from.frame);
    d.p->ts = from.ts;
    d.p->flags = PKT_REASSEMBLED | (from.flags & PKT_TUNNELED);
    d.p->tunnel_depth = from.tunnel_depth;
    d.p->vlan_count = from.vlan_count;
    memcpy(d.p->vlan_id, from.vlan_id, sizeof from.vlan_id);
    dec_ip_by_version(&d, ip);
    decode_tunnels(&d);
    return d.n;
}
