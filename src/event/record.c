/* Building and checking of records. An item header is 8 bytes; items are padded to 4. */
#include "event/event.h"

#include <stddef.h>
#include "identity/identity.h"

struct item_head {
    uint16_t id, pad;
    uint32_t len;
};

_Static_assert(sizeof(struct event_rec) % 8 == 0, "items follow the fixed part, aligned");
_Static_assert(sizeof(struct event_rec) <= 512, "the fixed part is copied for each event");

static uint32_t padded(uint32_t len)
{
    return (len + 3u) & ~3u;
}

static struct event_rec *rec_of(const struct event_builder *b)
{
    return (struct event_rec *)(void *)b->buf;
}

struct event_rec *event_begin(struct event_builder *b, void *buf, uint32_t cap, enum event_type type)
{
    if (cap > EVENT_MAX)
        cap = EVENT_MAX;
    *b = (struct event_builder){.buf = (uint8_t *)buf, .cap = cap & ~3u, .len = sizeof(struct event_rec)};
    struct event_rec *r = rec_of(b);
    memset(r, 0, sizeof(*r));
    r->magic = EVENT_MAGIC;
    r->version = EVENT_VERSION;
    r->type = (uint8_t)type;
    return r;
}

uint32_t event_room(const struct event_builder *b)
{
    uint32_t left = b->cap - b->len;
    if (left < sizeof(struct item_head) || b->nitems == EVENT_ITEMS)
        return 0;
    return left - (uint32_t)sizeof(struct item_head);
}

uint32_t event_reserve(struct event_builder *b, uint32_t max, uint8_t **p)
{
    uint32_t room = event_room(b);
    *p = b->buf + b->len + sizeof(struct item_head);
    if (room >= max)
        return max;
    rec_of(b)->flags |= EVENT_F_CUT;
    return room;
}

void event_commit(struct event_builder *b, enum event_item id, uint32_t len)
{
    struct item_head h = {.id = (uint16_t)id, .len = len};
    memcpy(b->buf + b->len, &h, sizeof(h));
    b->len += (uint32_t)sizeof(h);
    memset(b->buf + b->len + len, 0, padded(len) - len); /* nothing of an earlier record travels along */
    b->len += padded(len);
    b->nitems++;
}

void event_add(struct event_builder *b, enum event_item id, struct sk_span s)
{
    if (b->cap - b->len < sizeof(struct item_head) || b->nitems == EVENT_ITEMS) {
        rec_of(b)->flags |= EVENT_F_CUT;
        return;
    }
    uint8_t *p;
    uint32_t n = event_reserve(b, s.len, &p);
    if (n > 0)
        memcpy(p, s.p, n);
    event_commit(b, id, n);
}

void event_add_str(struct event_builder *b, enum event_item id, const char *s)
{
    if (s != NULL)
        event_add(b, id, sk_span_str(s));
}

uint32_t event_end(struct event_builder *b)
{
    struct event_rec *r = rec_of(b);
    r->len = b->len;
    r->nitems = b->nitems;
    return b->len;
}

uint32_t event_build_stats(void *buf, uint32_t cap, const struct sk_counters *sum, int64_t ts, int64_t uptime_s)
{
    struct event_builder b;
    struct event_rec *r = event_begin(&b, buf, cap, EVENT_STATS);
    r->ts = ts;
    r->uptime = uptime_s;
    event_add(&b, EVENT_I_COUNTERS, sk_span_of(sum->v, sizeof(sum->v)));
    return event_end(&b);
}

/* Every number that is later used as an index. */
static bool enums_valid(const struct event_rec *r)
{
    return r->type < EVENT_TYPE_COUNT && r->vlan_count <= SK_MAX_VLAN_LAYERS && r->pkt_src < EVENT_PKT_SRC_COUNT &&
           r->app < EVENT_APP_COUNT && r->app_ts < EVENT_APP_COUNT && r->app_tc < EVENT_APP_COUNT &&
           r->app_orig < EVENT_APP_COUNT && r->alert.target < EVENT_TARGET_COUNT &&
           r->flow.state < EVENT_FLOW_STATE_COUNT && r->flow.reason < EVENT_END_COUNT &&
           r->flow.action < EVENT_FLOW_ACTION_COUNT && r->tcp.state < EVENT_TCP_STATE_COUNT &&
           r->drop.reason < EVENT_DROP_REASON_COUNT && r->anomaly < EVENT_ANOMALY_COUNT &&
           r->block.action < EVENT_BLOCK_ACTION_COUNT && r->block.plen <= 128 &&
           r->flood.level < EVENT_FLOOD_LEVEL_COUNT && r->flood.action < EVENT_FLOOD_ACTION_COUNT &&
           r->flood.plen <= 128;
}

static bool identity_item_valid(const uint8_t *p, uint32_t len)
{
    struct identity id;
    if (len != sizeof id)
        return false;
    memcpy(&id, p, sizeof id); /* items are aligned to 4 only */
    return identity_valid(&id);
}

static bool items_valid(const struct event_rec *r, uint32_t len)
{
    const uint8_t *base = (const uint8_t *)r;
    uint32_t at = sizeof(*r);
    for (uint32_t i = 0; i < r->nitems; i++) {
        struct item_head h;
        if (sizeof(h) > len - at)
            return false;
        memcpy(&h, base + at, sizeof(h));
        at += (uint32_t)sizeof(h);
        if (h.id == EVENT_I_END || h.id >= EVENT_I_COUNT || h.len > len - at || padded(h.len) > len - at)
            return false;
        if (h.id == EVENT_I_COUNTERS && h.len % sizeof(uint64_t) != 0)
            return false;
        if (h.id == EVENT_I_IDENTITY && !identity_item_valid(base + at, h.len))
            return false;
        at += padded(h.len);
    }
    return at == len;
}

int event_valid(const void *rec, uint32_t len)
{
    const struct event_rec *r = (const struct event_rec *)rec;
    if (len < sizeof(*r) || len > EVENT_MAX || len % 4 != 0)
        return SK_EPROTO;
    if (r->magic != EVENT_MAGIC || r->version != EVENT_VERSION || r->len != len || r->nitems > EVENT_ITEMS)
        return SK_EPROTO;
    return enums_valid(r) && items_valid(r, len) ? SK_OK : SK_EPROTO;
}

bool event_next_item(const struct event_rec *r, uint32_t *pos, enum event_item *id, struct sk_span *s)
{
    const uint8_t *base = (const uint8_t *)r;
    uint32_t at = *pos == 0 ? (uint32_t)sizeof(*r) : *pos;
    struct item_head h;
    if (sizeof(h) > r->len - at)
        return false;
    memcpy(&h, base + at, sizeof(h));
    at += (uint32_t)sizeof(h);
    *id = (enum event_item)h.id;
    *s = sk_span_of(base + at, h.len);
    *pos = at + padded(h.len);
    return true;
}

bool event_find_item(const struct event_rec *r, enum event_item id, struct sk_span *s)
{
    uint32_t pos = 0;
    enum event_item got;
    while (event_next_item(r, &pos, &got, s))
        if (got == id)
            return true;
    return false;
}
