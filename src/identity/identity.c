/* From hop to hop, until an address is named that is none. */
#include "identity_internal.h"

#include "identity/proxy.h"

const char *identity_state_name(enum identity_state s)
{
    static const char *const names[] = {"direct", "proven", "unproven"};
    return (unsigned)s < IDENTITY_STATES ? names[s] : "unknown";
}

const char *identity_source_name(enum identity_source s)
{
    static const char *const names[] = {
#define X(id, name) name,
        IDENTITY_SOURCES(X)
#undef X
    };
    return (unsigned)s < IDENTITY_SOURCE_COUNT ? names[s] : "unknown";
}

const char *identity_why_text(enum identity_why w)
{
    static const char *const texts[] = {
#define X(id, text) text,
        IDENTITY_WHYS(X)
#undef X
    };
    return (unsigned)w < IDENTITY_WHY_COUNT ? texts[w] : "unknown";
}

/* Special, or link-local (169.254.0.0/16, fe80::/10): no hop is reached from there over a network. */
static bool no_client(const struct sk_addr *a)
{
    bool local = sk_addr_is_v4(a) ? a->b[12] == 169 && a->b[13] == 254 : a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
    return local || sk_addr_is_special(a);
}

/* What the last hop, which has not been asked yet, can vouch with. */
static enum identity_why next_by_header(const struct identity_rules *r, const struct sk_addr *hop)
{
    bool http = id_is_http(r, hop), proxy = id_is_proxy(r, hop);
    if (http && r->header != NULL)
        return IDENTITY_WHY_NOT_YET;
    return proxy ? IDENTITY_WHY_NO_PROXY : IDENTITY_WHY_NOT_BELIEVED;
}

static bool add_hop(struct identity *id, const struct sk_addr *a, enum identity_source source)
{
    if (id->nhops >= IDENTITY_HOPS_MAX)
        return false;
    id->hop[id->nhops].addr = *a;
    id->hop[id->nhops++].source = (uint8_t)source;
    return true;
}

void identity_begin(const struct identity_rules *r, const struct sk_addr *peer, uint16_t port, struct identity *id)
{
    memset(id, 0, sizeof *id);
    id->client = *peer;
    id->port = port;
    id->state = IDENTITY_DIRECT;
    id->source = IDENTITY_BY_PEER;
    if (!identity_is_hop(r, peer))
        return;
    id->state = IDENTITY_UNPROVEN;
    add_hop(id, peer, IDENTITY_BY_PEER);
    id->why = (uint8_t)next_by_header(r, peer);
}

bool id_name_next(const struct identity_rules *r, struct identity *id, const struct id_entry *e,
                  enum identity_source source)
{
    if (identity_is_hop(r, &e->addr)) {
        bool added = add_hop(id, &e->addr, source);
        id->why = (uint8_t)(added ? next_by_header(r, &e->addr) : IDENTITY_WHY_TOO_MANY);
        return id->why == IDENTITY_WHY_NOT_YET;
    }
    if (no_client(&e->addr)) {
        id->why = IDENTITY_WHY_SPECIAL;
        return false;
    }
    id->state = IDENTITY_PROVEN;
    id->why = IDENTITY_WHY_NONE;
    id->client = e->addr;
    id->port = e->port;
    id->source = (uint8_t)source;
    return false;
}

/* No PROXY header has been taken yet. */
static bool is_fresh(const struct identity *id)
{
    bool waiting =
        id->why == IDENTITY_WHY_NOT_YET || id->why == IDENTITY_WHY_NO_PROXY || id->why == IDENTITY_WHY_NOT_BELIEVED;
    return id->state == IDENTITY_UNPROVEN && id->nhops == 1 && waiting;
}

void identity_proxy(const struct identity_rules *r, const struct proxy_header *h, struct identity *id)
{
    if (!is_fresh(id))
        return;
    if (h == NULL || !id_is_proxy(r, &id->hop[0].addr)) {
        id->why = IDENTITY_WHY_BAD_PROXY;
    } else if (h->command != PROXY_CMD_PROXY) {
        id->why = IDENTITY_WHY_LOCAL;
    } else {
        struct id_entry e = {.addr = h->src, .port = h->sport};
        id_name_next(r, id, &e, h->version == 1 ? IDENTITY_BY_PROXY1 : IDENTITY_BY_PROXY2);
    }
}

bool id_walk_look(struct id_walk *w)
{
    if (w->looked++ < IDENTITY_ENTRIES)
        return true;
    w->id->why = IDENTITY_WHY_TOO_MANY;
    return false;
}

bool id_walk_take(struct id_walk *w, enum identity_why why, const struct id_entry *e)
{
    if (why == IDENTITY_WHY_NONE)
        return id_name_next(w->rules, w->id, e, w->rules->source);
    w->id->why = (uint8_t)why;
    return false;
}

/* False: the walk is over, and id says how. */
static bool walk_line(struct id_walk *w, const struct identity_line *line)
{
    bool forwarded = w->rules->source == IDENTITY_BY_FORWARDED;
    if (line->odd || (forwarded && id_forwarded_open(line->value))) {
        w->id->why = IDENTITY_WHY_AMBIGUOUS;
        return false;
    }
    return forwarded ? id_forwarded_line(w, line->value) : id_list_line(w, line->value);
}

static void walk(const struct identity_rules *r, const struct identity_line *lines, unsigned n, struct identity *id)
{
    struct id_walk w = {.rules = r, .id = id};
    uint8_t known = id->nhops;
    for (unsigned i = 0; i < n && i < IDENTITY_LINES_MAX; i++)
        if (!walk_line(&w, &lines[n - 1 - i]))
            return;
    if (n > IDENTITY_LINES_MAX)
        id->why = IDENTITY_WHY_TOO_MANY;
    else
        id->why = (uint8_t)(id->nhops > known ? IDENTITY_WHY_EXHAUSTED : IDENTITY_WHY_NO_HEADER);
}

void identity_request(const struct identity_rules *r, const struct identity *conn, const struct identity_line *lines,
                      unsigned n, bool misframed, struct identity *out)
{
    *out = *conn;
    if (out->state != IDENTITY_UNPROVEN || out->why != IDENTITY_WHY_NOT_YET)
        return;
    if (misframed)
        out->why = IDENTITY_WHY_MISFRAMED;
    else
        walk(r, lines, n, out);
}

static bool is_zero(const void *p, size_t len)
{
    const uint8_t *b = (const uint8_t *)p;
    for (size_t i = 0; i < len; i++)
        if (b[i] != 0)
            return false;
    return true;
}

static bool hops_valid(const struct identity *id)
{
    for (unsigned i = 0; i < id->nhops; i++) {
        const struct identity_hop *h = &id->hop[i];
        if (h->source >= IDENTITY_SOURCE_COUNT || (h->source == IDENTITY_BY_PEER) != (i == 0) ||
            !is_zero(h->pad, sizeof h->pad))
            return false;
    }
    return is_zero(&id->hop[id->nhops], sizeof id->hop[0] * (size_t)(IDENTITY_HOPS_MAX - id->nhops));
}

bool identity_valid(const struct identity *id)
{
    _Static_assert(sizeof(struct identity) == 24 + IDENTITY_HOPS_MAX * 24,
                   "a hole would carry bytes that nobody checks");
    if (id->state >= IDENTITY_STATES || id->source >= IDENTITY_SOURCE_COUNT || id->why >= IDENTITY_WHY_COUNT ||
        id->nhops > IDENTITY_HOPS_MAX)
        return false;
    bool behind = id->state != IDENTITY_DIRECT, proven = id->state == IDENTITY_PROVEN;
    return (id->nhops > 0) == behind && (id->source != IDENTITY_BY_PEER) == proven &&
           (id->why != IDENTITY_WHY_NONE) == (id->state == IDENTITY_UNPROVEN) && is_zero(id->pad, sizeof id->pad) &&
           hops_valid(id);
}
