/*
 * Who the client is. A flow from a trusted hop (identity/identity.h) carries the requests of many clients: to rules
 * each of them is the source while its request is under way, and nobody in particular, but from outside, while it is
 * not known.
 *
 *   bytes:      | PROXY header |  request of A  |  request of B  |  ...
 *   rules see:   outside        outside..A.......outside..B......
 *                                      ^ headers complete ^
 */
#include <netinet/in.h>
#include <stdlib.h>

#include "engine_internal.h"
#include "identity/proxy.h"

/*
 * What is taken for a request may stand in the body of one that began before; this has a single answer, which may come
 * before its end, and then the next is taken for one that was hidden (name_client).
 */
#define SYNC_ANSWERS 2

/* --- the pool --- */

static struct engine_hop *hop_get(struct engine_worker *w)
{
    struct engine_hop *h = w->free_hops;
    if (h) {
        w->free_hops = h->next_free;
    } else {
        if (w->nhops >= w->e->conf->flow.max_flows)
            return NULL; /* cannot be: one flow has one */
        h = malloc(sizeof *h);
        if (!h)
            return NULL;
        w->nhops++;
    }
    memset(h, 0, sizeof *h);
    return h;
}

static void hop_put(struct engine_worker *w, struct engine_hop *h)
{
    h->next_free = w->free_hops;
    w->free_hops = h;
}

uint64_t engine_client_memory(const struct engine_worker *w)
{
    return (uint64_t)w->nhops * sizeof(struct engine_hop);
}

void engine_client_free(struct engine_worker *w)
{
    while (w->free_hops) {
        struct engine_hop *h = w->free_hops;
        w->free_hops = h->next_free;
        free(h);
    }
}

/* --- what rules see --- */

/* An address that the list takes: one that nobody has, or else the first of its own. */
static bool pick(const struct rule_addr_spec *s, bool v6, struct sk_addr *out)
{
    /* Documentation prefixes (RFC 5737, RFC 3849): no rule lists them, no network has them. */
    static const char *const candidates[2][4] = {
        {"203.0.113.254", "198.51.100.254", "192.0.2.254", "240.0.0.254"},
        {"2001:db8::fffe", "2001:db8:ffff::fffe", "3fff::fffe", "2001:2::fffe"}};
    for (unsigned i = 0; i < 4; i++)
        if (sk_addr_parse(candidates[v6][i], strlen(candidates[v6][i]), out) == SK_OK && rule_addr_match(s, out))
            return true;
    for (uint32_t i = 0; i < s->npos; i++) {
        *out = s->pos[i].lo;
        if (sk_addr_is_v4(out) != v6 && rule_addr_match(s, out))
            return true;
    }
    return false;
}

void engine_client_outside(struct engine_rules *r, struct rule_loader *l)
{
    const struct rule_addr_spec *s;
    if (rule_loader_addrs(l, "$EXTERNAL_NET", &s) != SK_OK)
        return;
    for (unsigned v6 = 0; v6 < 2; v6++)
        r->has_outside[v6] = pick(s, v6 != 0, &r->outside[v6]);
}

const struct sk_addr *engine_client_on_wire(const struct engine_worker *w, const struct sk_addr *a)
{
    const struct engine_hop *h = w->cur.ef ? w->cur.ef->hop : NULL;
    return h && a == &h->rule_addr ? &w->cur.f->client : a;
}

uint64_t engine_client_offset(const struct engine_flow *ef, int dir, uint64_t offset)
{
    if (ef->hop && ef->hop->conn.state == IDENTITY_UNPROVEN && ef->http)
        return offset - ef->message_from[dir]; /* each request begins a stream */
    return dir == FLOW_TOSERVER ? offset - ef->proxy_len : offset;
}

static struct sk_addr seen_by_rules(const struct engine_worker *w, const struct identity *id)
{
    if (id->state == IDENTITY_PROVEN)
        return id->client;
    bool v6 = !sk_addr_is_v4(&w->cur.f->client);
    return w->rules && w->rules->has_outside[v6] ? w->rules->outside[v6] : w->cur.f->client;
}

static void set_now(struct engine_worker *w, const struct identity *id)
{
    struct engine_hop *h = w->cur.ef->hop;
    struct sk_addr to = seen_by_rules(w, id);
    h->now = *id;
    if (sk_addr_eq(&to, &h->rule_addr))
        return;
    h->rule_addr = to;
    struct detect_input in;
    engine_input(w, w->cur.dir, &in);
    detect_readdress(w->det, &w->cur.ef->det, &in);
    w->cur.ef->want_stamp = 0; /* the new groups may want other buffers */
}

const struct identity *engine_client_of(const struct engine_flow *ef, struct http_tx *tx)
{
    if (!ef || !ef->hop)
        return NULL;
    if (ef->hop->conn.state == IDENTITY_PROVEN)
        return &ef->hop->conn;
    if (!tx)
        return &ef->hop->now;
    const struct engine_tx *et = http_tx_user(tx);
    return et->known ? &et->id : &ef->hop->conn;
}

/* --- connections --- */

/*
 * Picked up in the middle, a connection may look as if this host had opened it. A hop stands before this host, so the
 * hop is the client, unless somebody saw who began.
 */
static void turn_to_hop(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    struct flow *f = cur->f;
    if (f->dir_certain || f->proto != IPPROTO_TCP || f->pkts[0] + f->pkts[1] != 1 ||
        identity_is_hop(w->e->hops, &f->client) || !identity_is_hop(w->e->hops, &f->server))
        return;
    flow_swap(f);
    cur->dir = !cur->dir;
    cur->ef->tcp.swap_asked = true; /* and stays so, whatever the ports look like */
}

void engine_client_begin(struct engine_worker *w)
{
    struct engine_current *cur = &w->cur;
    struct engine_flow *ef = cur->ef;
    if (ef->client_asked)
        return;
    ef->client_asked = true;
    if (!w->e->hops)
        return;
    turn_to_hop(w);
    if (!identity_is_hop(w->e->hops, &cur->f->client))
        return;
    if (!ef->hop)
        ef->hop = hop_get(w);
    if (!ef->hop)
        return;
    identity_begin(w->e->hops, &cur->f->client, cur->f->cport, &ef->hop->conn);
    ef->hop->now = ef->hop->conn;
    ef->hop->rule_addr = seen_by_rules(w, &ef->hop->conn);
}

void engine_client_end(struct engine_worker *w, struct engine_flow *ef)
{
    if (ef->hop)
        hop_put(w, ef->hop);
    ef->hop = NULL;
}

/* --- PROXY protocol --- */

static void cut_if_blocked(struct engine_worker *w, const struct identity *id)
{
    if (id->state != IDENTITY_PROVEN || !w->sink.is_blocked || !w->sink.is_blocked(w->sink.arg, &id->client, w->cur.ts))
        return;
    sk_count(w->c, SK_C_IDENTITY_CUT);
    if (w->e->prevent) {
        w->cur.drop = true;
        w->cur.drop_flow = true;
    } else {
        engine_request_cut(w, id);
    }
}

static void take_proxy(struct engine_worker *w, const struct proxy_header *ph)
{
    struct engine_flow *ef = w->cur.ef;
    sk_count(w->c, SK_C_IDENTITY_PROXY);
    if (!ef->hop)
        return; /* a stranger's word */
    identity_proxy(w->e->hops, ph, &ef->hop->conn);
    set_now(w, &ef->hop->conn);
    if (ef->hop->conn.state == IDENTITY_PROVEN && ef->handshake)
        engine_judge_client(w, &ef->hop->conn.client);
    cut_if_blocked(w, &ef->hop->conn);
}

static void bad_proxy(const struct engine_worker *w, struct engine_flow *ef)
{
    if (!ef->hop)
        return;
    identity_proxy(w->e->hops, NULL, &ef->hop->conn);
    ef->hop->misframed = true; /* what this host takes for its first request is anybody's guess */
    ef->hop->now = ef->hop->conn;
}

static bool skip_proxy(struct engine_flow *ef, struct sk_span *data)
{
    uint32_t n = data->len < ef->proxy_left ? data->len : ef->proxy_left;
    if (data->p) /* not a hole */
        data->p += n;
    data->len -= n;
    ef->proxy_left -= n;
    if (!ef->proxy_left)
        ef->proxy = ENGINE_PROXY_DONE;
    return data->len > 0;
}

/* `whole` of the stream is there, the last `fresh` bytes of it new. */
static bool judge_proxy(struct engine_worker *w, struct sk_span whole, struct sk_span *data, uint8_t *held,
                        uint32_t *nheld)
{
    struct engine_flow *ef = w->cur.ef;
    uint32_t before = whole.len < PROTO_PROBE_MAX ? whole.len : PROTO_PROBE_MAX;
    struct proxy_header ph;
    enum proxy_result r = proxy_parse(whole, &ph);
    if (r == PROXY_MORE && whole.len < PROTO_PROBE_MAX) {
        memcpy(held, whole.p, before); /* may be the same bytes */
        memcpy(ef->probe_buf[FLOW_TOSERVER], held, before);
        ef->seen[FLOW_TOSERVER] = (uint8_t)before;
        return false;
    }
    uint32_t old = ef->seen[FLOW_TOSERVER];
    ef->seen[FLOW_TOSERVER] = 0;
    ef->proxy = ENGINE_PROXY_DONE;
    if (r == PROXY_FOUND) {
        ef->proxy = ENGINE_PROXY_SKIP;
        ef->proxy_left = ph.len - old; /* a header is longer than what was not enough to tell */
        ef->message_from[FLOW_TOSERVER] = ph.len;
        take_proxy(w, &ph);
        ef->proxy_shown = !ef->hop || ef->hop->conn.why == IDENTITY_WHY_BAD_PROXY;
        ef->proxy_len = ef->proxy_shown ? 0 : ph.len;
        return skip_proxy(ef, data);
    }
    if (r != PROXY_NONE)
        bad_proxy(w, ef);
    memcpy(held, ef->probe_buf[FLOW_TOSERVER], old);
    *nheld = old;
    return true;
}

bool engine_client_open(struct engine_worker *w, struct sk_span *data, unsigned flags, uint8_t *held, uint32_t *nheld)
{
    struct engine_flow *ef = w->cur.ef;
    uint32_t old = ef->seen[FLOW_TOSERVER];
    *nheld = 0;
    if (ef->proxy == ENGINE_PROXY_SKIP)
        return skip_proxy(ef, data) || (flags & STREAM_DATA_EOF);
    bool start = ef->app == PROTO_UNKNOWN && !ef->tcp.midstream && !(flags & STREAM_DATA_GAP) &&
                 ef->tcp.half[FLOW_TOSERVER].delivered <= (uint64_t)old + data->len;
    if (!start || (flags & STREAM_DATA_EOF)) { /* too late, or too short, to be one */
        ef->proxy = ENGINE_PROXY_DONE;
        memcpy(held, ef->probe_buf[FLOW_TOSERVER], old);
        *nheld = old;
        ef->seen[FLOW_TOSERVER] = 0;
        return true;
    }
    if (!data->len)
        return true;
    if (!old) {
        return judge_proxy(w, *data, data, held, nheld);
    }
    uint8_t whole[PROTO_PROBE_MAX];
    uint32_t n = data->len < sizeof whole - old ? data->len : (uint32_t)sizeof whole - old;
    memcpy(whole, ef->probe_buf[FLOW_TOSERVER], old);
    memcpy(whole + old, data->p, n);
    return judge_proxy(w, sk_span_of(whole, old + n), data, held, nheld);
}

/* --- requests --- */

/* All of what has begun has come, whether it has been answered or not. */
static bool between_requests(const struct engine_flow *ef)
{
    for (const struct http_tx *tx = http_tx_first(ef->http); tx; tx = http_tx_next(tx))
        if (http_tx_progress(tx, HTTP_TS) != HTTP_P_COMPLETE)
            return false;
    return true;
}

/* Behind a hole, bytes need not be of the one whose request came before it. */
static bool is_doubtful(const struct engine_worker *w, const struct identity *id)
{
    return id->state == IDENTITY_PROVEN && http_conn_in_doubt(w->cur.ef->http);
}

void engine_client_bytes(struct engine_worker *w, unsigned flags)
{
    struct engine_flow *ef = w->cur.ef;
    struct engine_hop *h = ef->hop;
    if ((flags & STREAM_DATA_GAP) || (ef->tcp.midstream && !h->any))
        h->unsynced = SYNC_ANSWERS;
    if (h->conn.state == IDENTITY_PROVEN || !ef->http)
        return;
    bool between = between_requests(ef);
    if (!is_doubtful(w, &h->now) && (!between || !h->begun))
        return;
    h->begun = false;
    h->misframed |= between && http_tx_first(ef->http) != NULL; /* as in name_client */
    detect_flow_renew(w->det, &ef->det);
    set_now(w, &h->conn);
}

static unsigned header_lines(const struct engine_worker *w, struct http_tx *tx, struct identity_line *lines)
{
    const char *name = identity_header_name(w->e->hops);
    struct http_header_line as_sent[IDENTITY_LINES_MAX + 1];
    unsigned n = name ? http_tx_header_lines(tx, HTTP_TS, name, as_sent, IDENTITY_LINES_MAX + 1) : 0;
    for (unsigned i = 0; i < n; i++)
        lines[i] = (struct identity_line){.value = as_sent[i].value, .odd = as_sent[i].odd};
    return n;
}

static void remember_client(struct engine_hop *h, const struct identity *id)
{
    struct sk_addr who = id->state == IDENTITY_PROVEN ? id->client : (struct sk_addr){0};
    h->several |= h->any && !sk_addr_eq(&who, &h->last);
    h->last = who;
    h->any = true;
}

/* The head of a request is there: whose is it? */
static void name_client(struct engine_worker *w, struct http_tx *tx, struct engine_tx *et)
{
    struct engine_hop *h = w->cur.ef->hop;
    struct identity_line lines[IDENTITY_LINES_MAX + 1];
    unsigned n = header_lines(w, tx, lines);
    /* A hop sends the next request when the last one has been answered: one that comes before was hidden in it. */
    if (http_tx_first(w->cur.ef->http) != tx || http_tx_head_odd(tx))
        h->misframed = true;
    bool doubt = h->misframed || h->unsynced > 0 || http_conn_in_doubt(w->cur.ef->http);
    identity_request(w->e->hops, &h->conn, lines, n, doubt, &et->id);
    et->known = true;
    sk_count(w->c, et->id.state == IDENTITY_PROVEN ? SK_C_IDENTITY_PROVEN : SK_C_IDENTITY_UNPROVEN);
    set_now(w, &et->id);
    remember_client(h, &et->id);
    cut_if_blocked(w, &et->id);
}

void engine_client_tx(struct engine_worker *w, struct http_tx *tx, int dir, enum http_progress progress)
{
    struct engine_flow *ef = w->cur.ef;
    struct engine_hop *h = ef->hop;
    struct engine_tx *et = http_tx_user(tx);
    if (dir == HTTP_TS)
        h->begun = true;
    if (dir == HTTP_TS && progress >= HTTP_P_HEADERS && !et->known)
        name_client(w, tx, et);
    else
        set_now(w, et->known && !is_doubtful(w, &et->id) ? &et->id : &h->conn);
    if (dir == HTTP_TS && progress == HTTP_P_COMPLETE && http_tx_misframed(tx))
        h->misframed = true; /* from the next request on: this one began where its hop said */
}

void engine_client_tx_done(struct engine_worker *w, struct http_tx *tx)
{
    struct engine_hop *h = w->cur.ef->hop;
    if (http_tx_progress(tx, HTTP_TS) == HTTP_P_COMPLETE && http_tx_progress(tx, HTTP_TC) == HTTP_P_COMPLETE &&
        http_tx_status(tx) >= 200 && h->unsynced > 0)
        h->unsynced--; /* at 0 the next byte begins a request */
}

void engine_client_lost(struct engine_worker *w)
{
    struct engine_hop *h = w->cur.ef->hop;
    h->misframed = true;
    set_now(w, &h->conn);
}

void engine_client_tunnel(struct engine_worker *w)
{
    struct engine_hop *h = w->cur.ef->hop;
    if (h->now.state == IDENTITY_PROVEN)
        h->conn = h->now;
    else
        h->misframed = true;
}
